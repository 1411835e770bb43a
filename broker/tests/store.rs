//! What the store keeps: a broker that is killed and started again goes on where it was.

mod support;

use std::collections::HashSet;
use std::time::Duration;

use futures::executor::block_on;
use roadbed_broker::{Settings, StoreError};
use roadbed_core::*;
use support::*;

fn describe(client: &Client, name: &str) -> NodeDescription {
    match block_on(client.session.manage(Manage::Describe(name.parse().unwrap()))).unwrap() {
        Managed::Description(description) => *description,
        other => panic!("{other:?}"),
    }
}

/// A broker that starts on the same store, as if the other had been killed: its sessions have not ended.
fn killed(bench: &Bench) -> Bench {
    Bench::on(Settings::default(), bench.store.clone(), bench.clock.clone())
}

#[test]
fn stored_messages_in_queues_survive_with_their_counts() {
    let bench = Bench::new();
    let mut client = bench.anonymous();
    for message in [stored("queues/q", "1"), text("queues/q", "volatile"), stored("queues/q", "2")] {
        assert_eq!(client.send(message, ONE).unwrap().outcome, Outcome::Accepted);
    }
    let mut consumer = client.queue(queue("queues/q"));
    let got = receive(&mut consumer);
    assert_eq!(payloads(&got), ["1", "volatile", "2"]);
    settle(&mut consumer, &got[2], Outcome::FAILED);
    drop((consumer, client));
    let bench = bench.reopen();
    let client = bench.anonymous();
    let mut consumer = client.queue(queue("queues/q"));
    let got = receive(&mut consumer);
    assert_eq!(payloads(&got), ["1", "2"]);
    let counts: Vec<u32> = got.iter().map(|delivery| delivery.info.as_ref().unwrap().count).collect();
    assert_eq!(counts, [1, 1]);
    got.iter().for_each(|delivery| settle(&mut consumer, delivery, Outcome::Accepted));
    assert_eq!(bench.store.copies(), 0);
}

#[test]
fn names_of_deliveries_are_not_used_again_after_a_restart() {
    let bench = Bench::new();
    let mut client = bench.anonymous();
    client.send(stored("queues/q", "1"), ONE);
    let link = ConsumerTerms { info: true, ..queue("queues/q") };
    let before = receive(&mut client.queue(link.clone())).remove(0).info.unwrap().id;
    drop(client);
    let bench = bench.reopen();
    let client = bench.anonymous();
    let after = receive(&mut client.queue(link)).remove(0).info.unwrap().id;
    assert_eq!(before.copy, after.copy);
    assert_ne!(before, after);
}

#[test]
fn names_of_copies_are_not_used_again_after_a_restart() {
    let mut bench = Bench::new();
    let mut names = HashSet::new();
    for round in 0..4 {
        let mut client = bench.anonymous();
        // What is volatile has a name, too; and a queue that was deleted gives its own to no other.
        for (address, message) in
            [("queues/q", stored as fn(_, _) -> _), ("queues/volatile", text), ("queues/gone", stored)]
        {
            for _ in 0..=round {
                client.send(message(address, "x"), ONE);
            }
            let mut consumer = client.queue(ConsumerTerms { info: true, ..queue(address) });
            for delivery in receive(&mut consumer) {
                assert!(names.insert(delivery.info.as_ref().unwrap().id.copy), "round {round}: {delivery:?}");
                settle(&mut consumer, &delivery, Outcome::Accepted);
            }
        }
        block_on(client.session.manage(Manage::Delete("queues/gone".parse().unwrap()))).unwrap();
        assert_eq!(bench.store.copies(), 0);
        drop(client);
        bench = bench.reopen();
    }
    assert_eq!(names.len(), 30);
}

#[test]
fn kept_sessions_survive_with_bindings_queue_and_keys() {
    let bench = Bench::new();
    let mut device = bench.named("device", 3600);
    device.bind(Binding { id: Some(5), ..Binding::new("a/+".parse().unwrap(), TWO) });
    device.follow("queues/jobs", ONE);
    device.lose();
    let mut sender = bench.named("sender", 3600);
    sender.send(stored("a/b", "1"), TWO);
    sender.send(text("a/b", "volatile"), ONE);
    let key = Some(Key::Number(9));
    sender.send_as(Outgoing { key: key.clone(), ..outgoing(stored("a/b", "2"), TWO) });
    sender.lose();
    let bench = bench.reopen();
    let mut sender = bench.named("sender", 3600);
    assert_eq!(sender.session.opened().in_doubt, [(Key::Number(9), Some(Outcome::Accepted))]);
    let again = sender.send_as(Outgoing { key, ..outgoing(stored("a/b", "2"), TWO) }).unwrap();
    assert_eq!((again.outcome, again.why), (Outcome::Accepted, Some(Condition::Duplicate)));
    sender.producer.forget(&mut vec![Key::Number(9)]);
    sender.send(stored("queues/jobs", "job"), ONE);
    let mut device = bench.named("device", 3600);
    assert!(device.session.opened().resumed);
    device.listen();
    assert_eq!(device.attached.bindings.len(), 2);
    let mut got = device.take();
    // What came before the restart is read back first.
    got.extend(device.take());
    let (jobs, mail): (Vec<_>, Vec<_>) =
        got.iter().cloned().partition(|delivery| delivery.message.address().queue().is_some());
    assert_eq!((payloads(&jobs), payloads(&mail)), (vec!["job".into()], vec!["1".into(), "2".into()]));
    assert_eq!(mail[0].info.as_ref().unwrap().bindings, [5]);
    got.iter().for_each(|delivery| device.accept(delivery));
    drop((sender, device));
    let bench = bench.reopen();
    assert!(bench.named("sender", 3600).session.opened().in_doubt.is_empty());
    assert_eq!(bench.store.copies(), 0);
}

#[test]
fn a_decided_delivery_stays_decided() {
    let bench = Bench::new();
    let mut device = bench.named("device", 3600);
    device.follow("a", TWO);
    bench.anonymous().send(stored("a", "x"), TWO);
    let got = device.take();
    let decided = Step::Outcome { outcome: Outcome::Accepted, settled: false };
    step(device.consumer.as_mut().unwrap(), &got[0], decided).unwrap();
    device.lose();
    let bench = bench.reopen();
    let mut device = bench.named("device", 3600);
    device.listen();
    let unsettled = device.attached.unsettled.remove(0);
    assert_eq!(unsettled.handle.slot(), got[0].handle.unwrap().slot());
    assert_eq!(unsettled.state, DeliveryState::Decided(Outcome::Accepted));
    assert_eq!(
        step_at(device.consumer.as_mut().unwrap(), unsettled.handle.into(), Step::Settle).unwrap(),
        Settled::Applied
    );
    assert_eq!(bench.store.copies(), 0);
}

#[test]
fn an_exactly_once_delivery_keeps_its_slot_over_a_restart() {
    let bench = Bench::new();
    let mut device = bench.named("device", 3600);
    device.follow("a", TWO);
    bench.anonymous().send(stored("a", "x"), TWO);
    let slot = device.take()[0].handle.unwrap().slot();
    device.lose();
    let bench = bench.reopen();
    let mut device = bench.named("device", 3600);
    device.listen();
    let unsettled = &device.attached.unsettled;
    assert_eq!((unsettled.len(), unsettled[0].handle.slot()), (1, slot));
    assert_eq!(unsettled[0].state, DeliveryState::InFlight);
}

#[test]
fn sessions_expire_over_a_restart_and_their_wills_are_sent() {
    let bench = Bench::new();
    let will = Will { message: stored("wills", "gone"), qos: ONE, delay: Duration::from_secs(30), ttl: None };
    let mut watcher = bench.named("watcher", 3600);
    watcher.follow("wills", ONE);
    drop(bench.session(Open { will: Some(will), ..kept("device", 60) }));
    watcher.lose();
    let bench = bench.reopen();
    bench.advance(31);
    let mut watcher = bench.named("watcher", 3600);
    assert_eq!(payloads(&watcher.listen().take()), ["gone"]);
    bench.advance(60);
    assert!(!bench.named("device", 60).session.opened().resumed);
}

#[test]
fn a_will_of_a_session_that_is_not_kept_is_sent_if_the_broker_ends_before_it() {
    let bench = Bench::new();
    let mut watcher = bench.named("watcher", 3600);
    watcher.follow("wills/#", ONE);
    watcher.lose();
    let rows = bench.store.rows();
    let will = |message, delay| Some(Will { message, qos: ONE, delay: Duration::from_secs(delay), ttl: None });
    let open = |name: &str, message, delay| bench.session(Open { will: will(message, delay), ..kept(name, 0) });
    let connected = open("connected", stored("wills/connected", "x"), 60);
    let volatile = open("volatile", text("wills/volatile", "x"), 0);
    let orderly = open("orderly", stored("wills/orderly", "x"), 0);
    let lost = open("lost", stored("wills/lost", "x"), 0);
    let _older = open("taken", stored("wills/taken-over", "x"), 0);
    let taken = open("taken", stored("wills/taken", "x"), 0);
    block_on(orderly.close(Close::default())).unwrap();
    drop((orderly, lost));
    assert_eq!(bench.store.rows(), rows + 2, "two are connected and have one that is stored");
    let bench = killed(&bench);
    let topics = |watcher: &mut Client| {
        let mut topics: Vec<_> = watcher.take().iter().map(|found| found.message.address().to_string()).collect();
        topics.sort();
        topics
    };
    let mut watcher = bench.named("watcher", 3600);
    assert_eq!(topics(watcher.listen()), ["wills/connected", "wills/lost", "wills/taken", "wills/taken-over"]);
    assert_eq!(bench.store.rows(), rows);
    drop((connected, volatile, taken));
}

#[test]
fn a_kept_session_that_is_to_end_with_its_connection_does_not_come_back() {
    let bench = Bench::new();
    let mut device = bench.named("device", 3600);
    device.follow("a", ONE);
    device.lose();
    bench.anonymous().send(stored("a", "1"), ONE);
    let mut device = bench.named("device", 0);
    assert!(device.session.opened().resumed);
    assert_eq!(payloads(&device.listen().take()), ["1"]);
    let bench = killed(&bench);
    bench.advance(0);
    assert!(!bench.named("device", 3600).session.opened().resumed);
    assert_eq!(bench.store.copies(), 0);
}

#[test]
fn retained_values_and_queues_survive() {
    let bench = Bench::new();
    let mut client = bench.anonymous();
    let retained = |payload| stored("a", payload).to_builder().retain(true).build();
    client.send(retained("1"), ONE);
    client.send(retained("2"), ONE);
    let settings = QueueSettings { deliveries_max: 3, ..QueueSettings::default() };
    block_on(client.session.manage(Manage::Declare("queues/q".parse().unwrap(), settings.clone()))).unwrap();
    let binding = Binding::new("b/#".parse().unwrap(), ONE);
    block_on(client.session.manage(Manage::Bind("queues/q".parse().unwrap(), binding.clone()))).unwrap();
    drop(client);
    let bench = bench.reopen();
    let mut client = bench.anonymous();
    client.follow("a", ONE);
    assert_eq!(payloads(&client.take()), ["2"]);
    let description = describe(&client, "queues/q");
    assert_eq!((description.settings, description.bindings), (settings, vec![binding]));
    client.send(text("b/1", "x"), ONE);
    assert_eq!(describe(&client, "queues/q").available, 1);
}

#[test]
fn a_prepared_transaction_survives_until_it_is_resolved() {
    for commit in [true, false] {
        let bench = Bench::new();
        let mut client = bench.anonymous();
        client.send(stored("queues/in", "work"), ONE);
        let mut consumer = client.queue(queue("queues/in"));
        let got = receive(&mut consumer);
        let mut txn = block_on(client.session.transaction()).unwrap();
        let id = txn.id();
        client.send_as(Outgoing { txn: Some(id), ..outgoing(stored("queues/out", "result"), ONE) });
        let enlist = Step::Enlist { txn: id, outcome: Outcome::Accepted, settled: false };
        step(&mut consumer, &got[0], enlist).unwrap();
        let gid = Gid("g1".into());
        block_on(txn.prepare(gid.clone())).unwrap();
        drop((txn, consumer, client));
        let bench = bench.reopen();
        assert_eq!(block_on(bench.broker.recover()).unwrap(), std::slice::from_ref(&gid));
        let client = bench.anonymous();
        let mut consumer = client.queue(queue("queues/in"));
        assert!(receive(&mut consumer).is_empty(), "held until resolved");
        block_on(bench.broker.resolve(gid.clone(), commit)).unwrap();
        block_on(bench.broker.resolve(gid, !commit)).unwrap();
        let (work, result) = (receive(&mut consumer), receive(&mut client.queue(queue("queues/out"))));
        assert_eq!((work.len(), result.len()), if commit { (0, 1) } else { (1, 0) });
        assert_eq!(block_on(bench.broker.recover()).unwrap(), []);
        assert_eq!(bench.store.copies(), 1);
    }
}

#[test]
fn dead_letters_and_ends_are_one_unit() {
    let bench = Bench::new();
    let mut client = bench.anonymous();
    client.send(stored("queues/q", "x"), ONE);
    let mut consumer = client.queue(queue("queues/q"));
    let got = receive(&mut consumer);
    settle(&mut consumer, &got[0], Outcome::rejected(Condition::Refused));
    drop((consumer, client));
    let bench = bench.reopen();
    let client = bench.anonymous();
    assert!(receive(&mut client.queue(queue("queues/q"))).is_empty());
    assert_eq!(receive(&mut client.queue(queue("$dead/q"))).len(), 1);
}

#[test]
fn what_waits_for_its_time_survives() {
    let bench = Bench::new();
    let mut device = bench.named("device", 3600);
    device.follow("a", ONE);
    let later = Some(START + Duration::from_secs(10));
    let message = stored("a", "x").to_builder().details(|details| details.deliver_after = later).build();
    assert_eq!(bench.anonymous().send(message, ONE).unwrap().outcome, Outcome::Accepted);
    device.lose();
    let bench = bench.reopen();
    let mut device = bench.named("device", 3600);
    assert!(device.listen().take().is_empty());
    bench.advance(10);
    assert_eq!(payloads(&device.take()), ["x"]);
    assert_eq!(bench.store.copies(), 1);
}

#[test]
fn no_promise_is_given_when_the_store_fails() {
    let bench = Bench::new();
    let mut device = bench.named("device", 3600);
    device.follow("a", ONE);
    let mut sender = bench.anonymous();
    bench.store.refuse(Some(StoreError::Full));
    let failed = sender.send(stored("a", "x"), ONE).unwrap();
    let full = Condition::StoreFull;
    assert_eq!((failed.outcome, failed.why), (Outcome::rejected(full), Some(full)));
    bench.store.refuse(Some(StoreError::Failed("broken".into())));
    let failed = sender.send(stored("a", "x"), ONE).unwrap();
    assert_eq!((failed.outcome, failed.why), (Outcome::Released, Some(Condition::Unavailable)));
    assert!(device.take().is_empty());
    assert_eq!(sender.send(text("a", "volatile"), ONE).unwrap().outcome, Outcome::Accepted);
    bench.store.refuse(None);
    sender.send(stored("a", "y"), ONE);
    assert_eq!(payloads(&device.take()), ["volatile", "y"]);
    let counters = bench.counters();
    assert_eq!((counters.store_failures, counters.refused_full, counters.refused_unavailable), (2, 1, 1));
}

#[test]
fn volatile_messages_never_touch_the_store() {
    let bench = Bench::new();
    let mut device = bench.named("device", 3600);
    device.follow("a", TWO);
    let mut sender = bench.anonymous();
    let before = bench.counters().store_units;
    for n in 0..100 {
        sender.send_as(Outgoing { key: Some(Key::Number(n)), ..outgoing(text("a", "x"), TWO) });
    }
    let got = device.take();
    got.iter().for_each(|delivery| device.accept(delivery));
    assert_eq!((got.len(), bench.counters().store_units), (100, before));
}

#[test]
fn a_stored_message_is_not_for_a_queue_that_forgets() {
    let bench = Bench::new();
    let mut client = bench.anonymous();
    let settings = QueueSettings { durable: false, ..QueueSettings::default() };
    block_on(client.session.manage(Manage::Declare("queues/q".parse().unwrap(), settings))).unwrap();
    let refused = client.send(stored("queues/q", "x"), ONE).unwrap();
    assert_eq!(refused.why, Some(Condition::PreconditionFailed));
    assert_eq!(client.send(text("queues/q", "x"), ONE).unwrap().outcome, Outcome::Accepted);
}

/// A consumer of a queue that settles second, on a link of a kept session: how AMQP's durable links are.
fn durable_link(client: &Client) -> (Box<dyn Consumer>, Attached) {
    let terms = ConsumerTerms {
        name: Some("link".into()),
        hold: Hold::Session,
        settle: Settle::Second,
        ..ConsumerTerms::queue("queues/q".parse().unwrap())
    };
    let (mut consumer, attached) = block_on(client.session.consumer(terms)).unwrap();
    consumer.grant(Grant::credit(u32::MAX));
    (consumer, attached)
}

#[test]
fn what_a_durable_link_holds_of_a_queue_it_holds_after_a_restart() {
    let bench = Bench::new();
    let mut sender = bench.named("sender", 3600);
    for payload in ["a", "b", "c"] {
        sender.send(stored("queues/q", payload), TWO);
    }
    let keeper = bench.named("keeper", 3600);
    let (mut consumer, attached) = durable_link(&keeper);
    assert!(attached.unsettled.is_empty());
    let took = receive(&mut consumer);
    assert_eq!(took.len(), 3);
    settle(&mut consumer, &took[1], Outcome::Accepted);
    drop((consumer, keeper, sender));

    let bench = bench.reopen();
    let stranger = bench.anonymous();
    let mut competing = stranger.queue(ConsumerTerms::queue("queues/q".parse().unwrap()));
    assert!(receive(&mut competing).is_empty(), "they are the link's");
    let keeper = bench.named("keeper", 3600);
    let (mut consumer, attached) = durable_link(&keeper);
    let again: Vec<_> = attached.unsettled.iter().map(|unsettled| unsettled.delivery.clone().unwrap()).collect();
    let payloads: Vec<_> = again.iter().map(|delivery| delivery.message.payload().to_bytes()).collect();
    assert_eq!(payloads, ["a", "c"]);
    let copies = |deliveries: &[Delivery]| -> Vec<_> {
        deliveries.iter().map(|delivery| delivery.info.as_ref().unwrap().id.copy).collect()
    };
    assert_eq!(copies(&again), [copies(&took)[0], copies(&took)[2]], "under their names");
    settle(&mut consumer, &again[0], Outcome::Accepted);
    settle(&mut consumer, &again[1], Outcome::Released);
    assert_eq!(receive(&mut competing).len() + receive(&mut consumer).len(), 1);
    drop((consumer, keeper, competing, stranger));
    let bench = bench.reopen();
    let described = describe(&bench.anonymous(), "queues/q");
    assert_eq!((described.available, described.held), (1, 0), "what was released is nobody's");
}

#[test]
fn a_session_that_expires_gives_back_what_its_links_held_before_a_restart() {
    let bench = Bench::new();
    bench.anonymous().send(stored("queues/q", "a"), TWO);
    let keeper = bench.named("keeper", 60);
    let (mut consumer, _) = durable_link(&keeper);
    assert_eq!(receive(&mut consumer).len(), 1);
    drop((consumer, keeper));
    let bench = bench.reopen();
    let stranger = bench.anonymous();
    let mut other = stranger.queue(ConsumerTerms::queue("queues/q".parse().unwrap()));
    assert!(receive(&mut other).is_empty());
    bench.advance(61);
    assert_eq!(receive(&mut other).len(), 1);
}

#[test]
fn a_link_that_is_attached_over_another_connection_takes_over_what_it_held() {
    let bench = Bench::new();
    bench.anonymous().send(stored("queues/q", "a"), TWO);
    let before = bench.named("keeper", 60);
    let (mut consumer, _) = durable_link(&before);
    assert_eq!(receive(&mut consumer).len(), 1);
    let now = bench.named("keeper", 60);
    let (mut next, attached) = durable_link(&now);
    assert_eq!(attached.unsettled.len(), 1, "though the first connection has not noticed yet");
    drop((consumer, before));
    let delivery = attached.unsettled[0].delivery.clone().unwrap();
    settle(&mut next, &delivery, Outcome::Accepted);
    assert_eq!(describe(&bench.anonymous(), "queues/q").held, 0);
}

#[test]
fn what_was_taken_for_later_is_not_refused_when_its_time_has_come() {
    let bench = Bench::new();
    let mut client = bench.anonymous();
    let q: Address = "queues/q".parse().unwrap();
    let settings = QueueSettings { messages_max: 1, overflow: Overflow::Refuse, ..QueueSettings::default() };
    block_on(client.session.manage(Manage::Declare(q.clone(), settings))).unwrap();
    block_on(client.session.manage(Manage::Bind(q, Binding::new("a".parse().unwrap(), ONE)))).unwrap();
    let later = Some(START + Duration::from_secs(10));
    let message = stored("a", "later").to_builder().details(|details| details.deliver_after = later).build();
    assert_eq!(client.send(message, ONE).unwrap().outcome, Outcome::Accepted);
    assert_eq!(client.send(stored("a", "now"), ONE).unwrap().outcome, Outcome::Accepted);
    assert_eq!(client.send(stored("a", "refused"), ONE).unwrap().why, Some(Condition::Full));
    bench.advance(10);
    let bench = bench.reopen();
    assert_eq!(payloads(&receive(&mut bench.anonymous().queue(queue("queues/q")))), ["now", "later"]);
}

#[test]
fn a_key_whose_end_the_store_refused_is_never_said_to_be_forgotten() {
    let bench = Bench::new();
    let mut client = bench.named("sender", 60);
    let keys = [Key::Number(1), Key::Number(2), Key::Number(3)];
    for key in &keys {
        client.send_as(Outgoing { key: Some(key.clone()), ..outgoing(stored("queues/q", "x"), TWO) }).unwrap();
    }
    let [one, two, three] = keys;
    client.producer.forget(&mut vec![one]);
    bench.store.refuse(Some(StoreError::Full));
    client.producer.forget(&mut vec![two]);
    bench.store.refuse(None);
    client.producer.forget(&mut vec![three]);
    let mut is_forgotten = |calls| client.producer.poll_forgotten(&mut cx(), calls).is_ready();
    assert!(is_forgotten(1));
    assert!(!is_forgotten(2) && !is_forgotten(3));
}
