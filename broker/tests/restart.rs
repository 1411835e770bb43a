//! What a restart must not undo, and what it must not bring back: leases, tombstones, keys and last values.

mod support;

use std::time::Duration;

use futures::executor::block_on;
use roadbed_broker::{NewCopy, Op, Row, Settings, Store, StoreError, Unit};
use roadbed_core::*;
use support::*;

const LEASE: u64 = 60;

fn leased() -> ConsumerTerms {
    ConsumerTerms { hold: Hold::Lease(Duration::from_secs(LEASE)), info: true, ..queue("queues/q") }
}

/// Takes one message from `queues/q` under a lease, and goes away.
fn take(bench: &Bench) -> DeliveryId {
    let client = bench.named("taker", 0);
    let got = receive(&mut client.queue(leased()));
    assert_eq!(got.len(), 1);
    got[0].info.as_ref().unwrap().id
}

fn settle_as(bench: &Bench, who: &str, id: DeliveryId, step: Step) -> Settled {
    let origin = std::sync::Arc::new(Origin { principal: who.into(), protocol: "test" });
    let session = bench.session(Open { origin, ..Open::default() });
    let disposition = Disposition { delivery: id.into(), cookie: None, step };
    block_on(session.settle(vec![disposition])).unwrap().remove(0).result.unwrap()
}

fn outcome(outcome: Outcome) -> Step {
    Step::Outcome { outcome, settled: true }
}

fn count(bench: &Bench) -> Vec<u32> {
    let client = bench.anonymous();
    let got = receive(&mut client.queue(ConsumerTerms { info: true, ..queue("queues/q") }));
    got.iter().map(|delivery| delivery.info.as_ref().unwrap().count).collect()
}

#[test]
fn a_lease_is_good_after_a_restart_for_its_owner_alone() {
    let bench = Bench::new();
    bench.anonymous().send(stored("queues/q", "x"), ONE);
    let id = take(&bench);
    let bench = bench.reopen();
    assert!(count(&bench).is_empty(), "it is held");
    assert_eq!(settle_as(&bench, "bob", id, outcome(Outcome::Accepted)), Settled::Late);
    assert_eq!(settle_as(&bench, "alice", id, outcome(Outcome::Accepted)), Settled::Applied);
    assert_eq!(settle_as(&bench, "alice", id, outcome(Outcome::Accepted)), Settled::Repeated);
    assert_eq!(bench.store.copies(), 0);
}

#[test]
fn a_lease_begins_anew_at_a_restart_and_its_end_counts() {
    let bench = Bench::new();
    bench.anonymous().send(stored("queues/q", "x"), ONE);
    let id = take(&bench);
    bench.clock.advance(Duration::from_secs(LEASE - 1));
    let bench = bench.reopen();
    bench.advance(LEASE - 1);
    assert!(count(&bench).is_empty(), "a lease is never shorter than it was said to be");
    assert!(matches!(settle_as(&bench, "alice", id, Step::Renew), Settled::Renewed(_)));
    bench.advance(LEASE);
    assert_eq!(settle_as(&bench, "alice", id, outcome(Outcome::Accepted)), Settled::Late);
    let bench = bench.reopen();
    assert_eq!(count(&bench), [1]);
    assert_eq!(settle_as(&bench, "alice", id, outcome(Outcome::Accepted)), Settled::Late);
}

#[test]
fn what_was_settled_under_a_lease_is_remembered_over_restarts_and_not_for_ever() {
    for how in [Outcome::Accepted, Outcome::Released, Outcome::FAILED, Outcome::rejected(Condition::Refused)] {
        let bench = Bench::new();
        bench.anonymous().send(stored("queues/q", "x"), ONE);
        let id = take(&bench);
        assert_eq!(settle_as(&bench, "alice", id, outcome(how.clone())), Settled::Applied);
        let bench = bench.reopen().reopen();
        assert_eq!(settle_as(&bench, "alice", id, outcome(how.clone())), Settled::Repeated, "{how:?}");
        let rows = bench.store.rows();
        bench.advance(301);
        assert_eq!(settle_as(&bench, "alice", id, outcome(how.clone())), Settled::Late, "{how:?}");
        assert_eq!(bench.store.rows(), rows - 1, "nothing of it is left");
    }
}

#[test]
fn a_tombstone_whose_time_ends_while_nobody_looks_is_gone() {
    let bench = Bench::new();
    bench.anonymous().send(stored("queues/q", "x"), ONE);
    let id = take(&bench);
    settle_as(&bench, "alice", id, outcome(Outcome::Accepted));
    let rows = bench.store.rows();
    bench.clock.advance(Duration::from_secs(301));
    let bench = bench.reopen();
    assert_eq!(settle_as(&bench, "alice", id, outcome(Outcome::Accepted)), Settled::Late);
    assert_eq!(bench.store.rows(), rows - 1);
}

#[test]
fn the_tombstones_of_a_deleted_queue_go_with_it() {
    let bench = Bench::new();
    let mut client = bench.anonymous();
    let rows = bench.store.rows();
    client.send(stored("queues/q", "x"), ONE);
    settle_as(&bench, "alice", take(&bench), outcome(Outcome::Accepted));
    block_on(client.session.manage(Manage::Delete("queues/q".parse().unwrap()))).unwrap();
    assert_eq!(bench.store.rows(), rows);
}

#[test]
fn an_idempotency_name_is_kept_for_its_window_and_no_longer() {
    let mut settings = Settings::default();
    settings.key_window_seconds = 100;
    let bench = Bench::with(settings);
    let send = |bench: &Bench| {
        let key = Some(Key::Name("order-7".into()));
        bench.anonymous().send_as(Outgoing { key, ..outgoing(stored("queues/q", "x"), TWO) }).unwrap().why
    };
    let rows = bench.store.rows();
    assert_eq!(send(&bench), None);
    bench.clock.advance(Duration::from_secs(60));
    let bench = bench.reopen();
    assert_eq!(send(&bench), Some(Condition::Duplicate));
    bench.clock.advance(Duration::from_secs(41));
    let bench = bench.reopen();
    assert_eq!(send(&bench), None, "its time ran while the broker did not");
    bench.advance(101);
    assert_eq!(bench.store.rows(), rows + 1, "the queue's row alone is left");
}

#[test]
fn a_new_session_has_nothing_of_an_older_one_of_its_name() {
    let bench = Bench::new();
    let key = || Some(Key::Number(9));
    let mut sender = bench.named("sender", 3600);
    sender.send_as(Outgoing { key: key(), ..outgoing(stored("queues/q", "first"), TWO) });
    sender.lose();
    drop(bench.session(Open { resume: false, ..kept("sender", 3600) }));
    let bench = bench.reopen();
    let mut sender = bench.named("sender", 3600);
    assert!(sender.session.opened().in_doubt.is_empty());
    let confirm = sender.send_as(Outgoing { key: key(), ..outgoing(stored("queues/q", "second"), TWO) }).unwrap();
    assert_eq!((confirm.outcome, confirm.why), (Outcome::Accepted, None));
    assert_eq!(count(&bench).len(), 2);
}

#[test]
fn an_older_last_value_does_not_come_back() {
    let retained = |message: Message| message.to_builder().retain(true).build();
    for next in [text("a", "volatile"), text("a", "")] {
        let bench = Bench::new();
        let mut client = bench.anonymous();
        client.send(retained(stored("a", "old")), ONE);
        client.send(retained(next), ZERO);
        drop(client);
        let bench = bench.reopen();
        let mut client = bench.anonymous();
        client.follow("a", ONE);
        assert!(client.take().is_empty());
    }
}

#[test]
fn a_last_value_expires_while_nobody_looks() {
    let bench = Bench::new();
    let rows = bench.store.rows();
    let until = Some(START + Duration::from_secs(30));
    bench.anonymous().send(stored("a", "x").to_builder().retain(true).expires_at(until).build(), ONE);
    bench.clock.advance(Duration::from_secs(31));
    let bench = bench.reopen();
    let mut client = bench.anonymous();
    client.follow("a", ONE);
    assert!(client.take().is_empty());
    assert_eq!(bench.store.rows(), rows);
}

#[test]
fn a_prepared_transaction_and_a_lease_hold_the_same_copy_over_a_restart() {
    for commit in [true, false] {
        let bench = Bench::new();
        bench.anonymous().send(stored("queues/q", "x"), ONE);
        let id = take(&bench);
        let client = bench.named("one", 0);
        let mut txn = block_on(client.session.transaction()).unwrap();
        let enlist = Step::Enlist { txn: txn.id(), outcome: Outcome::Accepted, settled: false };
        let disposition = Disposition { delivery: id.into(), cookie: None, step: enlist };
        block_on(client.session.settle(vec![disposition])).unwrap().remove(0).result.unwrap();
        let gid = Gid("g".into());
        block_on(txn.prepare(gid.clone())).unwrap();
        drop((txn, client));
        let bench = bench.reopen();
        assert!(count(&bench).is_empty());
        block_on(bench.broker.resolve(gid, commit)).unwrap();
        let after = settle_as(&bench, "alice", id, outcome(Outcome::Accepted));
        assert_eq!(after, if commit { Settled::Repeated } else { Settled::Applied });
    }
}

/// Who competes for a queue is restored, too: not before the queue, which it would make anew under another number.
#[test]
fn a_session_that_competes_for_a_queue_finds_it_again_after_every_restart() {
    let bench = Bench::new();
    // Numbers are given in the order of making.
    let mut worker = bench.named("worker", 3600);
    bench.anonymous().send(stored("queues/other", "other"), ONE);
    worker.follow("queues/q", ONE);
    worker.lose();
    bench.anonymous().send(stored("queues/q", "x"), ONE);
    let bench = bench.reopen().reopen().reopen();
    let mut worker = bench.named("worker", 3600);
    assert_eq!(payloads(&worker.listen().take()), ["x"]);
    assert_eq!(payloads(&receive(&mut bench.anonymous().queue(queue("queues/other")))), ["other"]);
}

/// What is left of a queue whose row is gone: nobody can have it, and no new queue gets it.
#[test]
fn a_copy_without_a_queue_is_given_up_and_its_number_is_not_given_again() {
    let bench = Bench::new();
    let copy = CopyId { queue: QueueId(3), seq: 1 };
    let new = NewCopy { copy, qos: ONE, retained: false, bindings: Vec::new() };
    let op = Op::Enqueue { message: stored("queues/gone", "old"), at: START, copies: vec![new] };
    bench.store.clone().submit(&mut vec![Unit { ops: vec![op], ..Unit::new(99) }]);
    assert_eq!(bench.store.copies(), 1);
    let mut bench = bench.reopen();
    assert_eq!(bench.store.copies(), 0);
    let mut client = bench.anonymous();
    for queue in ["queues/a", "queues/b", "queues/c", "queues/d"] {
        client.send(stored(queue, "new"), ONE);
    }
    let rows = bench.store.recover().unwrap().rows;
    let numbers: Vec<_> =
        rows.iter().filter_map(|(_, row)| if let Row::Queue(row) = row { Some(row.queue) } else { None }).collect();
    assert!(numbers.len() == 4 && numbers.iter().all(|number| number.0 > 3), "{numbers:?}");
}

/// What was purged is purged, though the store was full when it was told; it is told again, alone.
#[test]
fn what_came_to_its_end_while_the_store_refused_does_not_come_back() {
    let bench = Bench::new();
    let mut client = bench.anonymous();
    for text in ["1", "2"] {
        client.send(stored("queues/q", text), ONE);
    }
    bench.store.refuse(Some(StoreError::Full));
    block_on(client.session.manage(Manage::Purge("queues/q".parse().unwrap()))).unwrap_err();
    assert_eq!(client.send(stored("queues/q", "3"), ONE).unwrap().why, Some(Condition::StoreFull));
    block_on(client.session.manage(Manage::Delete("queues/q".parse().unwrap()))).unwrap_err();
    assert_eq!(bench.store.copies(), 2);
    bench.store.refuse(None);
    client.send(text("topic", "anything"), ONE);
    assert_eq!(bench.store.copies(), 0);
}
