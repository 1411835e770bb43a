//! What is part of a transaction: pinned until its discharge, bounded, and nobody else's.

mod support;

use std::task::Poll;

use futures::executor::block_on;
use roadbed_broker::Settings;
use roadbed_core::*;
use support::*;

const IN: &str = "queues/in";

fn begin(client: &Client) -> Box<dyn Transaction> {
    block_on(client.session.transaction()).unwrap()
}

fn within(txn: TxnId, message: Message) -> Outgoing {
    Outgoing { txn: Some(txn), ..outgoing(message, ONE) }
}

fn enlist(consumer: &mut Box<dyn Consumer>, delivery: &Delivery, txn: TxnId, outcome: Outcome) -> Result<Settled> {
    step(consumer, delivery, Step::Enlist { txn, outcome, settled: false })
}

/// What is available, held and dead.
fn left(client: &Client) -> (u64, u64, u64) {
    let node = |address: &str| match block_on(client.session.manage(Manage::Describe(address.parse().unwrap()))) {
        Ok(Managed::Description(node)) => (node.available, node.held),
        _ => (0, 0),
    };
    (node(IN).0, node(IN).1, node("$dead/in").0)
}

fn bounded(set: impl FnOnce(&mut Settings)) -> Bench {
    let mut settings = Settings::default();
    set(&mut settings);
    Bench::with(settings)
}

#[test]
fn every_outcome_is_applied_at_the_commit_and_none_after_a_rollback() {
    let failed = Outcome::Modified { delivery_failed: true, undeliverable_here: false };
    let rejected = Outcome::rejected(Condition::Refused);
    for (outcome, after, count) in [
        (Outcome::Accepted, (0, 0, 0), None),
        (rejected, (0, 0, 1), None),
        (Outcome::Released, (1, 0, 0), Some(0)),
        (failed, (1, 0, 0), Some(1)),
    ] {
        for commit in [true, false] {
            let bench = Bench::new();
            let mut client = bench.anonymous();
            client.send(text(IN, "work"), ONE);
            let mut consumer = client.queue(queue(IN));
            let got = receive(&mut consumer).remove(0);
            let txn = begin(&client);
            enlist(&mut consumer, &got, txn.id(), outcome.clone()).unwrap();
            assert_eq!(left(&client), (0, 1, 0), "nothing before the end");
            if !commit {
                block_on(txn.rollback()).unwrap();
                assert_eq!(left(&client), (0, 1, 0), "it is its consumer's still");
                continue;
            }
            block_on(txn.commit()).unwrap();
            assert_eq!(step(&mut consumer, &got, Step::Settle).unwrap(), Settled::Applied, "{outcome}");
            assert_eq!(left(&client), after, "{outcome}");
            let again = receive(&mut consumer);
            assert_eq!(again.first().map(|again| again.info.as_ref().unwrap().count), count, "{outcome}");
        }
    }
}

/// MODEL: a copy that is enlisted is not expired, purged or redelivered until discharge.
#[test]
fn nothing_takes_a_copy_from_its_transaction() {
    for commit in [true, false] {
        let bench = Bench::new();
        let mut client = bench.named("worker", 0);
        let expires_at = bench.broker.now() + std::time::Duration::from_secs(10);
        client.send(text(IN, "work").to_builder().expires_at(Some(expires_at)).build(), ONE);
        let lease = Hold::Lease(std::time::Duration::from_secs(5));
        let mut consumer = client.queue(ConsumerTerms { hold: lease, ..queue(IN) });
        let got = receive(&mut consumer).remove(0);
        let txn = begin(&client);
        enlist(&mut consumer, &got, txn.id(), Outcome::Accepted).unwrap();
        let id = DeliveryRef::Id(got.info.as_ref().unwrap().id);
        // Its lease ends, its time to live ends, and what is available is purged.
        bench.advance(20);
        block_on(client.session.manage(Manage::Purge(IN.parse().unwrap()))).unwrap();
        let other = bench.named("other", 0);
        let mut competing = other.queue(queue(IN));
        assert!(receive(&mut competing).is_empty());
        assert_eq!(left(&client), (0, 1, 0), "pinned");
        let refused = step_at(&mut consumer, id, Step::Outcome { outcome: Outcome::Released, settled: true });
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Conflict);
        if commit {
            block_on(txn.commit()).unwrap();
            assert_eq!(left(&client), (0, 0, 0));
            let again = step_at(&mut consumer, id, Step::Outcome { outcome: Outcome::Accepted, settled: true });
            assert_eq!(again.unwrap(), Settled::Repeated, "the owner of a lease has no second half");
        } else {
            block_on(txn.rollback()).unwrap();
            assert_eq!(left(&client), (0, 0, 1), "what was due meanwhile is done now: it had expired");
        }
    }
}

#[test]
fn posts_keep_their_priority_and_their_order() {
    let bench = Bench::new();
    let mut client = bench.anonymous();
    let txn = begin(&client);
    for (payload, priority) in [("low", 1), ("first", 4), ("second", 4), ("high", 9)] {
        client.send_as(within(txn.id(), text(IN, payload).to_builder().priority(priority).build()));
    }
    block_on(txn.commit()).unwrap();
    let mut consumer = client.queue(queue(IN));
    assert_eq!(payloads(&receive(&mut consumer)), ["high", "first", "second", "low"]);
}

/// One that has expired before the commit can no more be delivered than one that is refused: all is undone.
#[test]
fn a_post_that_expires_before_the_commit_undoes_all() {
    let bench = Bench::new();
    let mut client = bench.anonymous();
    let txn = begin(&client);
    client.send_as(within(txn.id(), text(IN, "other")));
    let expires_at = bench.broker.now() + std::time::Duration::from_secs(1);
    client.send_as(within(txn.id(), text(IN, "gone").to_builder().expires_at(Some(expires_at)).build()));
    bench.advance(5);
    assert_eq!(block_on(txn.commit()).unwrap_err().kind(), ErrorKind::RolledBack);
    assert!(receive(&mut client.queue(queue(IN))).is_empty());
}

#[test]
fn a_transaction_is_its_principals() {
    let bench = Bench::new();
    let open = |principal: &str, scope| {
        let origin = std::sync::Arc::new(Origin { principal: principal.into(), protocol: "test" });
        Client::new(bench.session(Open { origin, scope, ..Open::default() }))
    };
    let (one, two) = (Scope::unique(), Scope::unique());
    assert_ne!(one, two);
    for (owner, other, admitted) in [
        (("alice", one), ("alice", two), true),
        (("alice", one), ("bob", one), false),
        (("", one), ("", one), true),
        (("", one), ("", two), false),
        (("", Scope::default()), ("", Scope::default()), false),
        (("", one), ("alice", one), false),
    ] {
        let (owner, mut other) = (open(owner.0, owner.1), open(other.0, other.1));
        let txn = begin(&owner);
        let confirm = other.send_as(within(txn.id(), text("queues/out", "x"))).unwrap();
        assert_eq!(confirm.provisional.is_some(), admitted);
        other.send(text(IN, "work"), ONE);
        let mut consumer = other.queue(queue(IN));
        consumer.grant(Grant { credit: 1, drain: false, txn: Some(txn.id()) });
        assert_eq!(receive(&mut consumer).len(), usize::from(admitted), "acquired");
        let mut ended = other.session.discharged(txn.id());
        match (ended.as_mut().poll(&mut cx()), admitted) {
            (Poll::Pending, true) => {}
            (Poll::Ready(Err(error)), false) => assert_eq!(error.kind(), ErrorKind::NotFound),
            other => panic!("{other:?}"),
        }
        block_on(txn.rollback()).unwrap();
        if admitted {
            assert!(!block_on(ended).unwrap());
        }
    }
}

#[test]
fn whoever_waits_learns_the_end() {
    let bench = Bench::new();
    let client = bench.anonymous();
    for commit in [true, false] {
        let txn = begin(&client);
        let waits = [client.session.discharged(txn.id()), client.session.discharged(txn.id())];
        let ended = if commit { txn.commit() } else { txn.rollback() };
        block_on(ended).unwrap();
        waits.into_iter().for_each(|wait| assert_eq!(block_on(wait).unwrap(), commit));
    }
    let txn = begin(&client);
    let wait = client.session.discharged(txn.id());
    assert!(txn.expires_at().is_some_and(|at| at > bench.broker.now()));
    bench.advance(60);
    assert!(!block_on(wait).unwrap(), "its time was over");
    assert_eq!(block_on(client.session.discharged(txn.id())).unwrap_err().kind(), ErrorKind::NotFound);
}

/// What is granted within a transaction ends with it.
#[test]
fn credit_ends_with_its_transaction() {
    let bench = Bench::new();
    let mut client = bench.anonymous();
    client.follow("t", ONE);
    let txn = begin(&client);
    let mut consumer = client.queue(queue(IN));
    for consumer in [&mut consumer, client.consumer.as_mut().unwrap()] {
        consumer.grant(Grant { credit: 5, drain: false, txn: Some(txn.id()) });
    }
    block_on(txn.commit()).unwrap();
    for to in [IN, "t"] {
        client.send(text(to, "late"), ONE);
    }
    assert!(receive(&mut consumer).is_empty() && client.take().is_empty());
    for consumer in [&mut consumer, client.consumer.as_mut().unwrap()] {
        consumer.grant(Grant::credit(5));
        assert_eq!(payloads(&receive(consumer)), ["late"]);
    }
}

#[test]
fn there_are_bounds() {
    let bench = bounded(|settings| {
        settings.transaction_operations_max = 2;
        settings.principal_transactions_max = 2;
        settings.transactions_max = 3;
    });
    let mut client = bench.anonymous();
    let (one, _two) = (begin(&client), begin(&client));
    let refused = block_on(client.session.transaction()).err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::Exhausted, "for one principal");
    let other = bench.named("other", 0);
    let _three = begin(&other);
    assert!(block_on(bench.named("third", 0).session.transaction()).is_err(), "for all");
    client.send_as(within(one.id(), text("queues/out", "1")));
    for payload in ["a", "b"] {
        client.send(text(IN, payload), ONE);
    }
    let mut consumer = client.queue(queue(IN));
    let got = receive(&mut consumer);
    enlist(&mut consumer, &got[0], one.id(), Outcome::Accepted).unwrap();
    let refused = enlist(&mut consumer, &got[1], one.id(), Outcome::Accepted).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Exhausted);
    settle(&mut consumer, &got[1], Outcome::Accepted);
    let refused = client.send_as(within(one.id(), text("queues/out", "2"))).unwrap();
    assert_eq!(refused.why, Some(Condition::Full));
    drop(one);
    let fresh = begin(&client);
    drop(fresh);
}

#[test]
fn what_a_transaction_sends_is_charged() {
    let bench = bounded(|settings| settings.transaction_bytes_max = 100_000);
    let mut client = bench.anonymous();
    let large = || Message::new("queues/out".parse().unwrap(), vec![0; 60_000]);
    let txn = begin(&client);
    assert!(client.send_as(within(txn.id(), large())).unwrap().provisional.is_some());
    assert!(bench.counters().bytes >= 60_000, "it is in memory");
    let refused = client.send_as(within(txn.id(), large())).unwrap();
    assert_eq!(refused.why, Some(Condition::Full));
    drop(txn);
    assert_eq!(bench.counters().bytes, 0);
}
