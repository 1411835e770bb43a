//! The plain path: sessions follow filters, queues are competed for.

mod support;

use roadbed_core::*;
use support::*;

#[test]
fn a_session_gets_what_it_follows() {
    let bench = Bench::new();
    let mut subscriber = bench.anonymous();
    subscriber.follow("plant/+/alarm", ONE);
    let mut publisher = bench.anonymous();
    let confirm = publisher.send(text("plant/7/alarm", "hot"), ONE).unwrap();
    assert_eq!((confirm.outcome, confirm.why), (Outcome::Accepted, None));
    let none = publisher.send(text("plant/7/ok", "cold"), ONE).unwrap();
    assert_eq!((none.outcome, none.why), (Outcome::Released, Some(Condition::NoRoute)));
    assert_eq!(publisher.send(text("plant/8/alarm", "warm"), ZERO), None);
    let got = subscriber.take();
    assert_eq!(payloads(&got), ["hot", "warm"]);
    assert_eq!(got[0].handle.map(Handle::slot), Some(1));
    assert_eq!(got[1].handle, None);
    subscriber.accept(&got[0]);
    assert_eq!(bench.counters().accepted, 2);
}

#[test]
fn overlapping_bindings_bring_one_copy() {
    let bench = Bench::new();
    let mut client = bench.anonymous();
    for (filter, qos, id) in [("a/#", ZERO, 1), ("a/+", TWO, 2), ("a/b", ONE, 3)] {
        client.bind(Binding { id: Some(id), ..Binding::new(filter.parse().unwrap(), qos) });
    }
    client.send(text("a/b", "x"), TWO);
    let got = client.take();
    assert_eq!(got.len(), 1);
    assert_eq!(got[0].qos, TWO);
    let mut ids = got[0].info.as_ref().unwrap().bindings.clone();
    ids.sort_unstable();
    assert_eq!(ids, [1, 2, 3]);
}

#[test]
fn no_local_leaves_out_its_own() {
    let bench = Bench::new();
    let mut client = bench.anonymous();
    client.bind(Binding { no_local: true, ..Binding::new("a".parse().unwrap(), ONE) });
    client.send(text("a", "own"), ONE);
    bench.anonymous().send(text("a", "other"), ONE);
    assert_eq!(payloads(&client.take()), ["other"]);
}

#[test]
fn consumers_compete_for_a_queue() {
    let bench = Bench::new();
    let mut sender = bench.anonymous();
    for payload in ["1", "2", "3", "4"] {
        sender.send(text("queues/work", payload), ONE);
    }
    let client = bench.anonymous();
    let (mut one, mut two) = (client.queue(queue("queues/work")), client.queue(queue("queues/work")));
    one.grant(Grant::credit(2));
    two.grant(Grant::credit(2));
    let (first, second) = (receive(&mut one), receive(&mut two));
    assert_eq!((payloads(&first), payloads(&second)), (vec!["1".into(), "2".into()], vec!["3".into(), "4".into()]));
    settle(&mut one, &first[0], Outcome::Released);
    assert_eq!(step(&mut one, &first[0], Step::Settle).unwrap(), Settled::Late);
    two.grant(Grant::credit(1));
    assert_eq!(payloads(&receive(&mut two)), ["1"]);
}

#[test]
fn the_window_bounds_what_is_unsettled() {
    let bench = Bench::new();
    let mut client = Client::new(bench.session(Open { window: 2, ..Open::default() }));
    client.follow("a", ONE);
    for payload in ["1", "2", "3"] {
        client.send(text("a", payload), ONE);
    }
    let got = client.take();
    assert_eq!(payloads(&got), ["1", "2"]);
    assert!(client.take().is_empty());
    client.accept(&got[1]);
    assert_eq!(payloads(&client.take()), ["3"]);
}

#[test]
fn a_filter_of_queues_makes_the_session_compete() {
    let bench = Bench::new();
    let mut sender = bench.anonymous();
    sender.send(text("queues/a", "before"), ONE);
    let mut client = bench.anonymous();
    client.follow("queues/+", ONE);
    sender.send(text("queues/b", "later"), ONE);
    let got = client.take();
    let mut all = payloads(&got);
    all.sort_unstable();
    assert_eq!(all, ["before", "later"]);
    client.accept(&got[0]);
    client.lose();
    let other = bench.anonymous();
    let mut a = receive(&mut other.queue(queue("queues/a")));
    a.extend(receive(&mut other.queue(queue("queues/b"))));
    assert_eq!(a.len(), 1, "what was not settled went back");
    assert_eq!(a[0].info.as_ref().unwrap().count, 1);
}

#[test]
fn a_session_that_ends_is_forgotten() {
    let bench = Bench::new();
    let mut client = bench.anonymous();
    client.follow("a", ONE);
    client.close();
    let mut sender = bench.anonymous();
    assert_eq!(sender.send(text("a", "x"), ONE).unwrap().why, Some(Condition::NoRoute));
    let counters = bench.counters();
    assert_eq!((counters.sessions, counters.bindings), (1, 0));
}
