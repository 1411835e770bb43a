//! Transactions: atomic, scoped, timed.

mod support;

use futures::executor::block_on;
use roadbed_core::*;
use support::*;

fn begin(client: &Client) -> Box<dyn Transaction> {
    block_on(client.session.transaction()).unwrap()
}

fn within(txn: &dyn Transaction, message: Message) -> Outgoing {
    Outgoing { txn: Some(txn.id()), ..outgoing(message, ONE) }
}

fn enlist(txn: &dyn Transaction, outcome: Outcome, settled: bool) -> Step {
    Step::Enlist { txn: txn.id(), outcome, settled }
}

/// A message taken from `queues/in`.
fn taken(client: &mut Client) -> (Box<dyn Consumer>, Delivery) {
    client.send(text("queues/in", "work"), ONE);
    let mut consumer = client.queue(queue("queues/in"));
    let got = receive(&mut consumer).remove(0);
    (consumer, got)
}

#[test]
fn sends_and_settlements_happen_together() {
    let bench = Bench::new();
    let mut client = bench.anonymous();
    client.follow("out", ONE);
    let (mut consumer, got) = taken(&mut client);
    let txn = begin(&client);
    let confirm = client.send_as(within(&*txn, text("out", "result"))).unwrap();
    assert_eq!((confirm.outcome, confirm.provisional), (Outcome::Accepted, Some(txn.id())));
    step(&mut consumer, &got, enlist(&*txn, Outcome::Accepted, true)).unwrap();
    assert!(client.take().is_empty());
    block_on(txn.commit()).unwrap();
    assert_eq!(payloads(&client.take()), ["result"]);
    consumer.grant(Grant::credit(9));
    assert!(receive(&mut consumer).is_empty());
    assert_eq!(bench.counters().transactions_committed, 1);
}

#[test]
fn rollback_leaves_deliveries_with_their_consumer() {
    let bench = Bench::new();
    let mut client = bench.anonymous();
    let (mut consumer, got) = taken(&mut client);
    let txn = begin(&client);
    client.send_as(within(&*txn, text("queues/out", "never")));
    step(&mut consumer, &got, enlist(&*txn, Outcome::Accepted, false)).unwrap();
    block_on(txn.rollback()).unwrap();
    assert!(receive(&mut client.queue(queue("queues/out"))).is_empty());
    let accepted = Step::Outcome { outcome: Outcome::Accepted, settled: true };
    assert_eq!(step(&mut consumer, &got, accepted).unwrap(), Settled::Applied, "it is still held");
}

#[test]
fn rollback_gives_back_what_was_settled_already() {
    let bench = Bench::new();
    let mut client = bench.anonymous();
    let (mut consumer, got) = taken(&mut client);
    let txn = begin(&client);
    step(&mut consumer, &got, enlist(&*txn, Outcome::Accepted, true)).unwrap();
    drop(txn);
    assert_eq!(payloads(&receive(&mut consumer)), ["work"]);
    assert_eq!(bench.counters().transactions_rolled_back, 1);
}

#[test]
fn a_session_delivery_can_be_part() {
    let bench = Bench::new();
    let mut client = bench.anonymous();
    client.follow("a", TWO);
    for payload in ["1", "2"] {
        client.send(text("a", payload), TWO);
    }
    let got = client.take();
    let txn = begin(&client);
    let consumer = client.consumer.as_mut().unwrap();
    step(consumer, &got[0], enlist(&*txn, Outcome::Released, true)).unwrap();
    step(consumer, &got[1], enlist(&*txn, Outcome::Released, false)).unwrap();
    step(consumer, &got[1], enlist(&*txn, Outcome::Accepted, false)).unwrap();
    block_on(txn.commit()).unwrap();
    assert_eq!(payloads(&client.take()), ["1"]);
    assert_eq!(step(client.consumer.as_mut().unwrap(), &got[1], Step::Settle).unwrap(), Settled::Applied);
}

#[test]
fn one_refusal_undoes_all() {
    let bench = Bench::new();
    let mut client = bench.anonymous();
    let settings = QueueSettings { messages_max: 1, ..QueueSettings::default() };
    block_on(client.session.manage(Manage::Declare("queues/small".parse().unwrap(), settings))).unwrap();
    let (mut consumer, got) = taken(&mut client);
    let txn = begin(&client);
    let key = Some(Key::Number(1));
    client.send_as(Outgoing { key: key.clone(), ..within(&*txn, text("queues/small", "1")) });
    client.send_as(within(&*txn, text("queues/small", "2")));
    step(&mut consumer, &got, enlist(&*txn, Outcome::Accepted, false)).unwrap();
    assert_eq!(block_on(txn.commit()).unwrap_err().kind(), ErrorKind::RolledBack);
    assert!(receive(&mut client.queue(queue("queues/small"))).is_empty());
    settle(&mut consumer, &got, Outcome::Accepted);
    let free = Outgoing { key, ..outgoing(text("queues/small", "room"), TWO) };
    let confirm = client.send_as(free).unwrap();
    assert_eq!((confirm.outcome, confirm.why), (Outcome::Accepted, None), "the key was not used");
}

#[test]
fn acquired_by_a_transaction() {
    let bench = Bench::new();
    let mut client = bench.anonymous();
    client.send(text("queues/in", "1"), ONE);
    let mut consumer = client.queue(queue("queues/in"));
    let txn = begin(&client);
    consumer.grant(Grant { credit: 5, drain: false, txn: Some(txn.id()) });
    let got = receive(&mut consumer);
    assert_eq!(got[0].info.as_ref().unwrap().txn, Some(txn.id()));
    block_on(txn.rollback()).unwrap();
    consumer.grant(Grant::credit(5));
    let again = receive(&mut consumer);
    assert_eq!((payloads(&again), again[0].info.as_ref().unwrap().count), (vec!["1".into()], 0));
}

#[test]
fn a_link_that_ends_leaves_its_part_to_the_transaction() {
    let bench = Bench::new();
    let mut client = bench.anonymous();
    let (mut consumer, got) = taken(&mut client);
    let txn = begin(&client);
    step(&mut consumer, &got, enlist(&*txn, Outcome::Accepted, false)).unwrap();
    drop(consumer);
    let mut other = client.queue(queue("queues/in"));
    assert!(receive(&mut other).is_empty(), "pinned until discharge");
    block_on(txn.commit()).unwrap();
    assert!(receive(&mut other).is_empty());
}

#[test]
fn strangers_cannot_join() {
    let bench = Bench::new();
    let mut client = bench.anonymous();
    let (mut consumer, got) = taken(&mut client);
    let foreign = bench.named("stranger", 0);
    let txn = begin(&foreign);
    let refused = client.send_as(within(&*txn, text("queues/out", "x"))).unwrap();
    assert_eq!(refused.why, Some(Condition::NotFound));
    let refused = step(&mut consumer, &got, enlist(&*txn, Outcome::Accepted, false));
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::NotFound);
    let other = begin(&client);
    let mine = begin(&client);
    step(&mut consumer, &got, enlist(&*mine, Outcome::Accepted, false)).unwrap();
    assert!(step(&mut consumer, &got, enlist(&*other, Outcome::Accepted, false)).is_err(), "one at a time");
}

#[test]
fn a_transaction_that_takes_too_long_is_rolled_back() {
    let bench = Bench::new();
    let mut client = bench.anonymous();
    let txn = begin(&client);
    client.send_as(within(&*txn, text("queues/out", "x")));
    bench.advance(60);
    assert_eq!(block_on(txn.commit()).unwrap_err().kind(), ErrorKind::RolledBack);
    let counters = bench.counters();
    assert_eq!((counters.transactions, counters.transactions_timed_out), (0, 1));
}

#[test]
fn a_key_within_a_transaction_is_kept_only_if_it_commits() {
    let bench = Bench::new();
    let mut client = bench.named("sender", 60);
    let keyed = |txn: &dyn Transaction| Outgoing { key: Some(Key::Number(1)), ..within(txn, text("queues/out", "x")) };
    let txn = begin(&client);
    client.send_as(keyed(&*txn));
    block_on(txn.rollback()).unwrap();
    let txn = begin(&client);
    client.send_as(keyed(&*txn));
    block_on(txn.commit()).unwrap();
    let txn = begin(&client);
    client.send_as(keyed(&*txn));
    block_on(txn.commit()).unwrap();
    assert_eq!(receive(&mut client.queue(queue("queues/out"))).len(), 1);
}
