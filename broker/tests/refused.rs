//! What the store does not take: it has not happened, and can be done again.

mod support;

use std::time::Duration;

use futures::executor::block_on;
use roadbed_broker::StoreError;
use roadbed_core::*;
use support::*;

const IN: &str = "queues/in";
const OUT: &str = "queues/out";

fn begin(client: &Client) -> Box<dyn Transaction> {
    block_on(client.session.transaction()).unwrap()
}

fn keyed(message: Message, txn: Option<&dyn Transaction>) -> Outgoing {
    Outgoing { key: Some(Key::Name("k1".into())), txn: txn.map(|txn| txn.id()), ..outgoing(message, ONE) }
}

/// Commits while the store is full.
fn refused(bench: &Bench, txn: Box<dyn Transaction>) {
    bench.store.refuse(Some(StoreError::Full));
    assert_eq!(block_on(txn.commit()).unwrap_err().kind(), ErrorKind::StoreFull);
    bench.store.refuse(None);
}

fn resolve(bench: &Bench, gid: &Gid, commit: bool) -> Result<()> {
    block_on(bench.broker.resolve(gid.clone(), commit))
}

fn node(client: &Client, address: &str) -> NodeDescription {
    match block_on(client.session.manage(Manage::Describe(address.parse().unwrap()))) {
        Ok(Managed::Description(node)) => *node,
        other => panic!("{other:?}"),
    }
}

/// What is available there, if there is such a queue.
fn waiting(client: &Client, address: &str) -> u64 {
    match block_on(client.session.manage(Manage::Describe(address.parse().unwrap()))) {
        Ok(Managed::Description(node)) => node.available,
        _ => 0,
    }
}

fn declare(client: &Client, address: &str, settings: QueueSettings) {
    block_on(client.session.manage(Manage::Declare(address.parse().unwrap(), settings))).unwrap();
}

/// A stored message taken from `queues/in`.
fn taken(client: &mut Client, terms: ConsumerTerms) -> (Box<dyn Consumer>, Delivery) {
    client.send(stored(IN, "work"), ONE);
    let mut consumer = client.queue(terms);
    let got = receive(&mut consumer).remove(0);
    (consumer, got)
}

fn accepted() -> Step {
    Step::Outcome { outcome: Outcome::Accepted, settled: true }
}

#[test]
fn a_key_of_a_commit_that_is_refused_is_free() {
    for named in [true, false] {
        let bench = Bench::new();
        let mut client = if named { bench.named("sender", 60) } else { bench.anonymous() };
        let txn = begin(&client);
        client.send_as(keyed(stored(OUT, "x"), Some(&*txn)));
        refused(&bench, txn);
        let txn = begin(&client);
        client.send_as(keyed(stored(OUT, "x"), Some(&*txn)));
        block_on(txn.commit()).unwrap();
        assert_eq!((waiting(&client, OUT), bench.store.copies()), (1, 1), "not taken for sent");
        let again = client.send_as(keyed(stored(OUT, "x"), None)).unwrap();
        assert_eq!((again.outcome, again.why), (Outcome::Accepted, Some(Condition::Duplicate)));
        assert_eq!(waiting(&client, OUT), 1);
    }
}

#[test]
fn a_key_of_what_is_prepared_is_not_accepted_yet() {
    let bench = Bench::new();
    let mut client = bench.anonymous();
    for commit in [false, true] {
        let (gid, mut txn) = (Gid("g".into()), begin(&client));
        client.send_as(keyed(stored(OUT, "x"), Some(&*txn)));
        block_on(txn.prepare(gid.clone())).unwrap();
        let again = client.send_as(keyed(stored(OUT, "x"), None)).unwrap();
        assert_eq!((again.outcome, again.why), (Outcome::Released, Some(Condition::Duplicate)), "nobody knows yet");
        let other = begin(&client);
        client.send_as(keyed(stored(OUT, "x"), Some(&*other)));
        assert_eq!(block_on(other.commit()).unwrap_err().kind(), ErrorKind::RolledBack, "nor does a commit");
        resolve(&bench, &gid, commit).unwrap();
        assert_eq!(waiting(&client, OUT), u64::from(commit));
    }
    let again = client.send_as(keyed(stored(OUT, "x"), None)).unwrap();
    assert_eq!((again.outcome, again.why), (Outcome::Accepted, Some(Condition::Duplicate)));
}

#[test]
fn a_key_that_was_accepted_before_a_transaction_outlives_its_rollback() {
    let bench = Bench::new();
    let mut client = bench.anonymous();
    client.send_as(keyed(stored(OUT, "x"), None));
    let small = QueueSettings { messages_max: 1, ..QueueSettings::default() };
    declare(&client, "queues/small", small);
    let txn = begin(&client);
    client.send_as(keyed(stored(OUT, "x"), Some(&*txn)));
    for payload in ["1", "2"] {
        client.send_as(Outgoing { txn: Some(txn.id()), ..outgoing(stored("queues/small", payload), ONE) });
    }
    assert_eq!(block_on(txn.commit()).unwrap_err().kind(), ErrorKind::RolledBack);
    let (gid, mut txn) = (Gid("g".into()), begin(&client));
    client.send_as(keyed(stored(OUT, "x"), Some(&*txn)));
    block_on(txn.prepare(gid.clone())).unwrap();
    resolve(&bench, &gid, false).unwrap();
    let again = client.send_as(keyed(stored(OUT, "x"), None)).unwrap();
    assert_eq!(again.why, Some(Condition::Duplicate));
    assert_eq!(waiting(&client, OUT), 1);
}

#[test]
fn what_was_sent_before_is_no_part_of_what_is_prepared() {
    let bench = Bench::new();
    let mut client = bench.anonymous();
    client.send_as(keyed(stored(OUT, "x"), None));
    let (gid, mut txn) = (Gid("g".into()), begin(&client));
    for _ in 0..2 {
        client.send_as(keyed(stored(OUT, "x"), Some(&*txn)));
    }
    client.send_as(Outgoing { txn: Some(txn.id()), ..outgoing(stored(OUT, "y"), ONE) });
    block_on(txn.prepare(gid.clone())).unwrap();
    drop((txn, client));
    let bench = bench.reopen();
    resolve(&bench, &gid, true).unwrap();
    let client = bench.anonymous();
    assert_eq!(payloads(&receive(&mut client.queue(queue(OUT)))), ["x", "y"]);
}

#[test]
fn what_was_taken_is_still_held_after_a_commit_that_is_refused() {
    let rejected = Outcome::rejected(Condition::Refused);
    let failed = Outcome::Modified { delivery_failed: true, undeliverable_here: false };
    for outcome in [Outcome::Accepted, rejected, failed, Outcome::Released] {
        let bench = Bench::new();
        let mut client = bench.named("worker", 0);
        let lease = Hold::Lease(Duration::from_secs(30));
        let (mut consumer, got) = taken(&mut client, ConsumerTerms { hold: lease, ..queue(IN) });
        let txn = begin(&client);
        client.send_as(Outgoing { txn: Some(txn.id()), ..outgoing(stored(OUT, "result"), ONE) });
        let step = Step::Enlist { txn: txn.id(), outcome: outcome.clone(), settled: false };
        support::step(&mut consumer, &got, step).unwrap();
        refused(&bench, txn);
        let held = node(&client, IN);
        assert_eq!((held.available, held.held, bench.store.copies()), (0, 1, 1), "{outcome}");
        assert_eq!(waiting(&client, OUT), 0, "{outcome}");
        let id = DeliveryRef::Id(got.info.as_ref().unwrap().id);
        assert_eq!(step_at(&mut consumer, id, accepted()).unwrap(), Settled::Applied, "{outcome}");
        assert_eq!((node(&client, IN).held, bench.store.copies()), (0, 0), "{outcome}");
        assert_eq!(bench.counters().transactions_committed, 0);
    }
}

/// All that a transaction can make of a stored copy, told to the store before it is done, is done just so.
#[test]
fn what_the_store_was_told_is_what_happens() {
    let rejected = Outcome::rejected(Condition::Refused);
    let failed = Outcome::Modified { delivery_failed: true, undeliverable_here: false };
    for (outcome, dead_letters, left, dead) in [
        (Outcome::Accepted, true, 0, 0),
        (rejected.clone(), true, 0, 1),
        (rejected, false, 0, 0),
        (failed.clone(), true, 0, 1),
        (failed, false, 0, 0),
        (Outcome::Released, true, 1, 0),
    ] {
        for settled in [true, false] {
            let bench = Bench::new();
            let mut client = bench.anonymous();
            declare(&client, IN, QueueSettings { deliveries_max: 1, dead_letters, ..QueueSettings::default() });
            // A store that is full takes the row of a queue all the same; the one of tests takes nothing.
            if dead > 0 {
                let (mut consumer, got) = taken(&mut client, queue(IN));
                settle(&mut consumer, &got, Outcome::rejected(Condition::Refused));
                let mut letters = client.queue(queue("$dead/in"));
                let letter = receive(&mut letters).remove(0);
                settle(&mut letters, &letter, Outcome::Accepted);
            }
            let (mut consumer, got) = taken(&mut client, ConsumerTerms { on_lapse: Outcome::Released, ..queue(IN) });
            let txn = begin(&client);
            step(&mut consumer, &got, Step::Enlist { txn: txn.id(), outcome: outcome.clone(), settled }).unwrap();
            refused(&bench, txn);
            let (got, txn) = (if settled { receive(&mut consumer).remove(0) } else { got }, begin(&client));
            step(&mut consumer, &got, Step::Enlist { txn: txn.id(), outcome: outcome.clone(), settled }).unwrap();
            block_on(txn.commit()).unwrap();
            if !settled {
                assert_eq!(step(&mut consumer, &got, Step::Settle).unwrap(), Settled::Applied);
            }
            drop(consumer);
            let count = |client: &Client| (node(client, IN).available, waiting(client, "$dead/in"));
            assert_eq!(count(&client), (left, dead), "{outcome}, {dead_letters}, {settled}");
            assert_eq!(bench.store.copies() as u64, left + dead, "{outcome}, {dead_letters}, {settled}");
            drop(client);
            let bench = bench.reopen();
            assert_eq!(count(&bench.anonymous()), (left, dead), "{outcome}, {dead_letters}, {settled}");
        }
    }
}

#[test]
fn a_message_of_a_session_is_its_consumers_after_a_commit_that_is_refused() {
    let bench = Bench::new();
    let mut device = bench.named("device", 3600);
    device.follow("a", ONE);
    device.send(stored("a", "x"), ONE);
    let got = device.take().remove(0);
    for commit in [false, true] {
        let txn = begin(&device);
        let consumer = device.consumer.as_mut().unwrap();
        let enlist = Step::Enlist { txn: txn.id(), outcome: Outcome::Accepted, settled: commit };
        assert_eq!(step(consumer, &got, enlist).unwrap(), Settled::Applied);
        device.send_as(Outgoing { txn: Some(txn.id()), ..outgoing(stored(OUT, "result"), ONE) });
        if commit {
            block_on(txn.commit()).unwrap();
        } else {
            refused(&bench, txn);
        }
    }
    assert_eq!(bench.store.copies(), 1, "what was sent");
    device.lose();
    let bench = bench.reopen();
    assert!(bench.named("device", 3600).listen().take().is_empty());
}

#[test]
fn a_checkpoint_is_where_it_was_after_a_commit_that_is_refused() {
    for settled in [true, false] {
        let bench = Bench::new();
        let mut client = bench.anonymous();
        let log: Address = "logs/l".parse().unwrap();
        block_on(
            client.session.manage(Manage::DeclareLog(log, LogSettings { partitions: 1, ..LogSettings::default() })),
        )
        .unwrap();
        for payload in ["a", "b"] {
            client.send(text("logs/l", payload), ONE);
        }
        let terms = || {
            let partition = "logs/l/0".parse().unwrap();
            ConsumerTerms::log(LogTerms { group: Some("g".into()), ..LogTerms::new(partition, LogStart::Checkpoint) })
        };
        let mut reader = client.queue(terms());
        let got = receive(&mut reader);
        let txn = begin(&client);
        client.send_as(Outgoing { txn: Some(txn.id()), ..outgoing(stored(OUT, "result"), ONE) });
        step(&mut reader, &got[0], Step::Enlist { txn: txn.id(), outcome: Outcome::Accepted, settled }).unwrap();
        refused(&bench, txn);
        settle(&mut reader, &got[1], Outcome::Accepted);
        if !settled {
            let mut other = client.queue(terms());
            assert_eq!(payloads(&receive(&mut other)), ["a", "b"], "the first is not done with");
            settle(&mut reader, &got[0], Outcome::Accepted);
        }
        drop((reader, client));
        let bench = bench.reopen();
        let left = payloads(&receive(&mut bench.anonymous().queue(terms())));
        assert_eq!(left, if settled { vec!["a", "b"] } else { vec![] });
    }
}

#[test]
fn what_is_prepared_stays_so_until_the_store_has_its_end() {
    for restart in [false, true] {
        let bench = Bench::new();
        let mut client = bench.anonymous();
        let (mut consumer, got) = taken(&mut client, queue(IN));
        let (gid, mut txn) = (Gid("g".into()), begin(&client));
        client.send_as(keyed(stored(OUT, "result"), Some(&*txn)));
        step(&mut consumer, &got, Step::Enlist { txn: txn.id(), outcome: Outcome::Accepted, settled: true }).unwrap();
        block_on(txn.prepare(gid.clone())).unwrap();
        bench.store.refuse(Some(StoreError::Full));
        for _ in 0..2 {
            assert_eq!(resolve(&bench, &gid, true).unwrap_err().kind(), ErrorKind::StoreFull);
            assert_eq!(block_on(bench.broker.recover()).unwrap(), std::slice::from_ref(&gid), "in doubt still");
        }
        bench.store.refuse(None);
        assert_eq!((node(&client, IN).held, waiting(&client, OUT)), (1, 0));
        drop((consumer, txn, client));
        let bench = if restart { bench.reopen() } else { bench };
        resolve(&bench, &gid, true).unwrap();
        resolve(&bench, &gid, true).unwrap();
        assert!(block_on(bench.broker.recover()).unwrap().is_empty());
        let client = bench.anonymous();
        assert_eq!((node(&client, IN).held, node(&client, IN).available), (0, 0));
        assert_eq!(payloads(&receive(&mut client.queue(queue(OUT)))), ["result"]);
        assert_eq!(bench.counters().transactions, 0);
    }
}

#[test]
fn an_end_without_a_dead_letter_is_answered_when_it_is_stored() {
    let rejected = Outcome::rejected(Condition::Refused);
    let failed = Outcome::Modified { delivery_failed: true, undeliverable_here: false };
    for outcome in [rejected, failed] {
        let bench = Bench::new();
        let mut client = bench.anonymous();
        let settings = QueueSettings { dead_letters: false, deliveries_max: 1, ..QueueSettings::default() };
        declare(&client, IN, settings);
        let (mut consumer, got) = taken(&mut client, queue(IN));
        bench.store.refuse(Some(StoreError::Failed("broken".into())));
        let answer = step(&mut consumer, &got, Step::Outcome { outcome: outcome.clone(), settled: true });
        assert!(answer.is_err(), "{outcome}: a promise that the store does not keep");
        bench.store.refuse(None);
        let (mut consumer, got) = taken(&mut client, queue(IN));
        settle(&mut consumer, &got, outcome);
        assert_eq!(bench.store.copies(), 1, "the one before is there still");
    }
}
