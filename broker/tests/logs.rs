//! Logs: what is appended stays, in the order of its key, and is read by as many as want to.
#![allow(missing_docs)]

mod support;

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::executor::block_on;
use roadbed_broker::{Settings, StoreError};
use roadbed_core::*;
use support::*;

fn at(name: &str) -> Address {
    name.parse().unwrap()
}

fn declare(client: &Client, name: &str, settings: LogSettings) {
    block_on(client.session.manage(Manage::DeclareLog(at(name), settings))).unwrap();
}

fn partitions(count: u32) -> LogSettings {
    LogSettings { partitions: count, ..LogSettings::default() }
}

/// A bench with a log of so many partitions.
fn bench(count: u32) -> (Bench, Client) {
    let bench = Bench::new();
    let client = bench.anonymous();
    declare(&client, "logs/l", partitions(count));
    (bench, client)
}

fn of_group(group: &'static str, payload: String) -> Message {
    Message::builder(at("logs/l"), payload).details(|details| details.group = Some(group.into())).build()
}

fn from(address: &str, start: LogStart) -> ConsumerTerms {
    ConsumerTerms::log(LogTerms::new(at(address), start))
}

fn group(address: &str, group: &'static str) -> LogTerms {
    LogTerms::group(at(address), group)
}

fn read(client: &Client, terms: ConsumerTerms) -> Vec<String> {
    payloads(&receive(&mut client.queue(terms)))
}

fn place(delivery: &Delivery) -> LogPlace {
    delivery.info.as_ref().unwrap().log.unwrap()
}

fn described(client: &Client, name: &str) -> LogDescription {
    match block_on(client.session.manage(Manage::Describe(at(name)))).unwrap() {
        Managed::Log(log) => *log,
        other => panic!("{other:?}"),
    }
}

fn send_all(client: &mut Client, texts: &[&'static str]) {
    for text in texts {
        let confirm = client.send(support::text("logs/l", text), ONE).expect("a confirm");
        assert_eq!(confirm.outcome, Outcome::Accepted);
    }
}

#[test]
fn what_is_appended_is_read_again_and_again() {
    let (_bench, mut client) = bench(1);
    send_all(&mut client, &["a", "b", "c"]);
    for _ in 0..2 {
        assert_eq!(read(&client, from("logs/l/0", LogStart::Earliest)), ["a", "b", "c"]);
        assert_eq!(read(&client, from("logs/l", LogStart::Earliest)), ["a", "b", "c"]);
    }
    assert_eq!(read(&client, from("logs/l/0", LogStart::Position(1))), ["b", "c"]);
    assert_eq!(read(&client, from("logs/l/0", LogStart::Position(99))), [""; 0]);
    assert_eq!(read(&client, from("logs/l/0", LogStart::Latest)), [""; 0]);
}

#[test]
fn positions_are_dense_and_times_are_told() {
    let (bench, mut client) = bench(1);
    send_all(&mut client, &["a"]);
    bench.advance(5);
    send_all(&mut client, &["b", "c"]);
    let read_at = |time| receive(&mut client.queue(from("logs/l/0", LogStart::Time(time))));
    let all = read_at(START);
    assert_eq!(all.iter().map(|delivery| place(delivery).position).collect::<Vec<_>>(), [0, 1, 2]);
    let times: Vec<_> = all.iter().map(|delivery| delivery.info.as_ref().unwrap().enqueued_at).collect();
    assert_eq!(times, [START, START + Duration::from_secs(5), START + Duration::from_secs(5)]);
    assert_eq!(payloads(&read_at(START + Duration::from_secs(1))), ["b", "c"]);
    assert_eq!(payloads(&read_at(START + Duration::from_secs(9))), [""; 0]);
}

#[test]
fn a_reader_of_a_time_to_come_has_nothing_before_it() {
    let (bench, mut client) = bench(1);
    let mut reader = client.queue(from("logs/l/0", LogStart::Time(START + Duration::from_secs(10))));
    send_all(&mut client, &["early"]);
    assert!(receive(&mut reader).is_empty());
    bench.advance(10);
    send_all(&mut client, &["in time"]);
    assert_eq!(payloads(&receive(&mut reader)), ["in time"]);
}

#[test]
fn a_reader_of_a_time_passes_over_pages_of_earlier_times() {
    let mut settings = Settings::default();
    settings.log_tail_bytes_max = 10 << 20;
    let bench = Bench::with(settings);
    let mut client = bench.anonymous();
    declare(&client, "logs/l", partitions(1));
    let mut reader = client.queue(from("logs/l/0", LogStart::Time(START + Duration::from_secs(10))));
    send_all(&mut client, &["early"; 3000]);
    bench.advance(10);
    send_all(&mut client, &["in time"]);
    assert_eq!(payloads(&receive(&mut reader)), ["in time"]);
}

#[test]
fn an_epoch_of_an_attach_that_was_refused_is_stored_when_it_comes_again() {
    let (bench, client) = bench(2);
    let attach = |client: &Client, address: &str, epoch| {
        let terms = ConsumerTerms::log(LogTerms { epoch: Some(epoch), ..group(address, "g") });
        block_on(client.session.consumer(terms)).map(drop).map_err(|error| error.kind())
    };
    assert_eq!(attach(&client, "logs/l/1", 9), Ok(()));
    assert_eq!(attach(&client, "logs/l", 5), Err(ErrorKind::Stolen));
    assert_eq!(attach(&client, "logs/l/0", 5), Ok(()));
    drop(client);
    let bench = bench.reopen();
    assert_eq!(attach(&bench.anonymous(), "logs/l/0", 4), Err(ErrorKind::Stolen));
}

#[test]
fn a_reader_follows_the_end_and_is_woken() {
    let (_bench, mut client) = bench(1);
    let mut reader = client.queue(from("logs/l/0", LogStart::Latest));
    let (woken, waker) = flag();
    let mut deliveries = Vec::new();
    assert!(reader.poll_receive(&mut Context::from_waker(&waker), &mut deliveries, 10).is_pending());
    send_all(&mut client, &["now"]);
    assert!(woken.load(Ordering::Relaxed));
    assert_eq!(payloads(&receive(&mut reader)), ["now"]);
}

#[test]
fn each_key_keeps_its_order_in_one_partition() {
    let (_bench, mut client) = bench(8);
    let keys = ["k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7", "k8", "k9", "k10", "k11"];
    for n in 0..100 {
        for key in keys {
            client.send(of_group(key, format!("{key} {n}")), ONE).expect("a confirm");
        }
    }
    let mut seen: HashMap<String, (u32, u32)> = HashMap::new();
    let mut reader = client.queue(from("logs/l", LogStart::Earliest));
    let mut count = 0;
    loop {
        let page = receive(&mut reader);
        if page.is_empty() {
            break;
        }
        for delivery in &page {
            let text = payloads(std::slice::from_ref(delivery)).remove(0);
            let (key, number) = text.split_once(' ').unwrap();
            let (partition, next) = *seen.entry(key.into()).or_insert((place(delivery).partition, 0));
            assert_eq!((place(delivery).partition, number.parse::<u32>().unwrap()), (partition, next));
            seen.insert(key.into(), (partition, next + 1));
            count += 1;
        }
    }
    assert_eq!(count, 1200);
    let used: std::collections::HashSet<u32> = seen.values().map(|(partition, _)| *partition).collect();
    assert!(used.len() > 3, "{used:?}");
}

#[test]
fn a_topic_bound_to_logs_and_a_queue_is_one_commit() {
    let (bench, mut client) = bench(1);
    let bind = |node, filter: &str| Manage::Bind(at(node), Binding::new(filter.parse().unwrap(), TWO));
    declare(&client, "logs/other", partitions(2));
    for node in ["logs/l", "logs/other", "queues/q"] {
        block_on(client.session.manage(bind(node, "plant/+"))).unwrap();
    }
    let units = bench.counters().store_units;
    client.send(stored("plant/7", "hot"), ONE).expect("a confirm");
    assert_eq!(bench.counters().store_units, units + 1);
    assert_eq!(read(&client, from("logs/l", LogStart::Earliest)), ["hot"]);
    assert_eq!(read(&client, from("logs/other", LogStart::Earliest)), ["hot"]);
    assert_eq!(payloads(&receive(&mut client.queue(queue("queues/q")))), ["hot"]);
    let unbind = Unbind { filter: "plant/+".parse().unwrap(), share: None };
    block_on(client.session.manage(Manage::Unbind(at("logs/l"), unbind))).unwrap();
    client.send(stored("plant/7", "cold"), ONE).expect("a confirm");
    assert_eq!(read(&client, from("logs/l", LogStart::Earliest)), ["hot"]);
}

#[test]
fn volatile_messages_are_kept_too_and_answered_as_their_contract_says() {
    let (bench, mut client) = bench(1);
    assert_eq!(client.send(text("logs/l", "unanswered"), ZERO), None);
    assert_eq!(client.send(text("logs/l", "answered"), ONE).unwrap().outcome, Outcome::Accepted);
    drop(client);
    let bench = bench.reopen();
    assert_eq!(read(&bench.anonymous(), from("logs/l", LogStart::Earliest)), ["unanswered", "answered"]);
}

#[test]
fn a_message_that_comes_again_is_appended_once() {
    let (_bench, mut client) = bench(1);
    for _ in 0..2 {
        let key = Some(Key::Name("once".into()));
        client.producer.send(&mut vec![Outgoing { key, ..outgoing(text("logs/l", "a"), TWO) }]);
    }
    assert_eq!(client.confirms().len(), 2);
    assert_eq!(read(&client, from("logs/l", LogStart::Earliest)), ["a"]);
}

#[test]
fn what_the_store_refuses_has_no_position() {
    let (bench, mut client) = bench(1);
    send_all(&mut client, &["a"]);
    bench.store.refuse(Some(StoreError::Full));
    assert_ne!(client.send(text("logs/l", "lost"), ONE).unwrap().outcome, Outcome::Accepted);
    bench.store.refuse(None);
    send_all(&mut client, &["b"]);
    let mut reader = client.queue(from("logs/l/0", LogStart::Earliest));
    let deliveries = receive(&mut reader);
    assert_eq!(payloads(&deliveries), ["a", "b"]);
    assert_eq!(place(&deliveries[1]).position, 1);
}

#[test]
fn a_transaction_appends_to_logs_and_queues_or_to_neither() {
    let (_bench, mut client) = bench(2);
    for commit in [false, true] {
        let transaction = block_on(client.session.transaction()).unwrap();
        let txn = Some(transaction.id());
        for message in [text("logs/l/1", "in the log"), text("queues/q", "in the queue")] {
            let confirm = client.send_as(Outgoing { txn, ..outgoing(message, ONE) }).unwrap();
            assert_eq!(confirm.provisional, txn);
        }
        assert!(read(&client, from("logs/l", LogStart::Earliest)).is_empty());
        match commit {
            true => block_on(transaction.commit()).unwrap(),
            false => block_on(transaction.rollback()).unwrap(),
        }
    }
    assert_eq!(read(&client, from("logs/l/1", LogStart::Earliest)), ["in the log"]);
    assert_eq!(described(&client, "logs/l").partitions[1].next, 1);
    assert_eq!(payloads(&receive(&mut client.queue(queue("queues/q")))), ["in the queue"]);
}

#[test]
fn a_transaction_whose_reader_has_lost_its_partition_does_nothing() {
    let (bench, mut client) = bench(1);
    send_all(&mut client, &["a"]);
    let with = |epoch| ConsumerTerms::log(LogTerms { epoch: Some(epoch), ..group("logs/l/0", "g") });
    let mut low = client.queue(with(1));
    let delivery = receive(&mut low).remove(0);
    let transaction = block_on(client.session.transaction()).unwrap();
    let txn = transaction.id();
    client.send_as(Outgoing { txn: Some(txn), ..outgoing(text("queues/q", "done"), ONE) }).unwrap();
    step(&mut low, &delivery, Step::Enlist { txn, outcome: Outcome::Accepted, settled: true }).unwrap();
    let other = bench.anonymous();
    let mut high = other.queue(with(2));
    let refused = block_on(transaction.commit()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::RolledBack, "{refused}");
    assert!(receive(&mut client.queue(queue("queues/q"))).is_empty());
    assert!(described(&client, "logs/l").partitions[0].groups.is_empty());
    assert_eq!(payloads(&receive(&mut high)), ["a"]);
}

#[test]
fn what_was_read_is_in_one_transaction_with_its_last_outcome_and_is_not_prepared() {
    let (_bench, mut client) = bench(1);
    send_all(&mut client, &["a", "b"]);
    let mut reader = client.queue(ConsumerTerms::log(group("logs/l/0", "g")));
    let deliveries = receive(&mut reader);
    let enlist = |txn: &dyn Transaction, outcome| Step::Enlist { txn: txn.id(), outcome, settled: false };
    let (mut one, two) =
        (block_on(client.session.transaction()).unwrap(), block_on(client.session.transaction()).unwrap());
    step(&mut reader, &deliveries[0], enlist(&*one, Outcome::Released)).unwrap();
    let other = step(&mut reader, &deliveries[0], enlist(&*two, Outcome::Accepted)).unwrap_err();
    assert_eq!(other.kind(), ErrorKind::Invalid);
    let plain = Step::Outcome { outcome: Outcome::Accepted, settled: true };
    assert_eq!(step(&mut reader, &deliveries[0], plain).unwrap_err().kind(), ErrorKind::Invalid);
    step(&mut reader, &deliveries[0], enlist(&*one, Outcome::Accepted)).unwrap();
    let prepared = block_on(one.prepare(Gid("g".into()))).unwrap_err();
    assert_eq!(prepared.kind(), ErrorKind::NotSupported, "and it goes on as it was");
    block_on(one.commit()).unwrap();
    assert_eq!(described(&client, "logs/l").partitions[0].groups, [("g".into(), 1)]);
    assert_eq!(step(&mut reader, &deliveries[0], Step::Settle).unwrap(), Settled::Applied);
    settle(&mut reader, &deliveries[1], Outcome::Accepted);
    assert_eq!(described(&client, "logs/l").partitions[0].groups, [("g".into(), 2)]);
}

#[test]
fn groups_are_independent_and_go_on_at_their_checkpoints() {
    let (bench, mut client) = bench(1);
    send_all(&mut client, &["a", "b", "c", "d"]);
    let mut one = client.queue(ConsumerTerms::log(group("logs/l/0", "one")));
    let mut two = client.queue(ConsumerTerms::log(group("logs/l/0", "two")));
    let (ours, theirs) = (receive(&mut one), receive(&mut two));
    assert_eq!((payloads(&ours), payloads(&theirs)), (payloads(&theirs), payloads(&ours)));
    // Out of order: the checkpoint stays before what is not settled.
    settle(&mut one, &ours[1], Outcome::Accepted);
    settle(&mut one, &ours[0], Outcome::rejected(Condition::Refused));
    settle(&mut one, &ours[3], Outcome::Accepted);
    settle(&mut two, &theirs[0], Outcome::Accepted);
    settle(&mut two, &theirs[1], Outcome::Released);
    settle(&mut two, &theirs[2], Outcome::Accepted);
    drop((one, two, client));
    let bench = bench.reopen();
    let client = bench.anonymous();
    assert_eq!(read(&client, ConsumerTerms::log(group("logs/l/0", "one"))), ["c", "d"]);
    assert_eq!(read(&client, ConsumerTerms::log(group("logs/l/0", "two"))), ["b", "c", "d"]);
    assert_eq!(read(&client, ConsumerTerms::log(group("logs/l/0", "three"))), ["a", "b", "c", "d"]);
    let groups = &described(&client, "logs/l").partitions[0].groups;
    assert_eq!(*groups, [("one".into(), 2), ("two".into(), 1)]);
}

#[test]
fn a_checkpoint_goes_back_only_by_force() {
    let (_bench, mut client) = bench(1);
    send_all(&mut client, &["a", "b", "c"]);
    let ask = |set, force| {
        let asked = Checkpoint { partition: at("logs/l/0"), group: "g".into(), set, force };
        block_on(client.session.manage(Manage::Checkpoint(asked)))
    };
    let told = |answer| match answer {
        Ok(Managed::Checkpoint(position)) => position,
        other => panic!("{other:?}"),
    };
    assert_eq!(told(ask(None, false)), None);
    assert_eq!(told(ask(Some(2), false)), Some(2));
    assert_eq!(ask(Some(1), false).unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(told(ask(None, false)), Some(2));
    assert_eq!(told(ask(Some(1), true)), Some(1));
    assert_eq!(ask(Some(9), true).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(read(&client, ConsumerTerms::log(group("logs/l/0", "g"))), ["b", "c"]);
}

#[test]
fn at_most_once_moves_the_checkpoint_as_it_is_handed_over() {
    let (_bench, mut client) = bench(1);
    send_all(&mut client, &["a", "b"]);
    let terms = || ConsumerTerms { qos_max: ZERO, ..ConsumerTerms::log(group("logs/l/0", "g")) };
    let mut reader = client.queue(terms());
    assert!(receive(&mut reader).iter().all(|delivery| delivery.handle.is_none()));
    drop(reader);
    assert!(read(&client, terms()).is_empty());
}

#[test]
fn a_higher_epoch_takes_over_and_a_lower_one_is_refused() {
    let (bench, mut client) = bench(2);
    send_all(&mut client, &["a"]);
    let with = |epoch| ConsumerTerms::log(LogTerms { epoch, ..group("logs/l/0", "g") });
    let reader = bench.anonymous();
    let attach = |epoch| block_on(reader.session.consumer(with(epoch))).map(|(consumer, _)| consumer);
    let mut plain = attach(None).unwrap();
    let mut first = attach(Some(5)).unwrap();
    assert_eq!(lost(&mut plain), Some(ErrorKind::Stolen));
    assert_eq!(attach(Some(4)).err().map(|error| error.kind()), Some(ErrorKind::Stolen));
    assert_eq!(attach(None).err().map(|error| error.kind()), Some(ErrorKind::Stolen));
    first.grant(Grant::credit(10));
    let held = client.send(text("logs/l/0", "b"), ONE);
    assert_eq!(held.unwrap().outcome, Outcome::Accepted);
    let deliveries = receive(&mut first);
    assert!(!deliveries.is_empty());
    let mut second = attach(Some(6)).unwrap();
    assert_eq!(lost(&mut first), Some(ErrorKind::Stolen));
    // What the lower one settles now moves nothing.
    settle(&mut first, &deliveries[0], Outcome::Accepted);
    assert!(described(&client, "logs/l").partitions[0].groups.is_empty());
    assert_eq!(lost(&mut second), None);
    // Another group, and another partition, are not concerned.
    let other = LogTerms { epoch: Some(1), ..group("logs/l/1", "g") };
    assert!(block_on(client.session.consumer(ConsumerTerms::log(other))).is_ok());
    let other = LogTerms { epoch: Some(1), ..group("logs/l/0", "other") };
    assert!(block_on(client.session.consumer(ConsumerTerms::log(other))).is_ok());
    // Of the whole log, all or nothing.
    let whole = LogTerms { epoch: Some(5), ..group("logs/l", "g") };
    assert!(block_on(client.session.consumer(ConsumerTerms::log(whole))).is_err());
    assert_eq!(described(&client, "logs/l").partitions[1].readers, 0);
    assert_eq!(bench.counters().log_readers_stolen, 2);
}

#[test]
fn an_epoch_is_remembered() {
    let (bench, client) = bench(2);
    let attach = |client: &Client, at, epoch| {
        let terms = LogTerms { epoch, ..group(at, "g") };
        block_on(client.session.consumer(ConsumerTerms::log(terms))).map(drop).map_err(|error| error.kind())
    };
    assert_eq!(attach(&client, "logs/l/0", Some(5)), Ok(()));
    // Its reader is gone; that of another partition was never there.
    assert_eq!(attach(&client, "logs/l/0", Some(4)), Err(ErrorKind::Stolen));
    assert_eq!(attach(&client, "logs/l/1", Some(4)), Ok(()));
    drop(client);
    let bench = bench.reopen();
    let client = bench.anonymous();
    assert_eq!(attach(&client, "logs/l/0", Some(4)), Err(ErrorKind::Stolen));
    assert_eq!(attach(&client, "logs/l", Some(4)), Err(ErrorKind::Stolen));
    assert_eq!(attach(&client, "logs/l/0", None), Ok(()));
    assert_eq!(attach(&client, "logs/l/0", Some(5)), Ok(()));
    assert_eq!(attach(&client, "logs/l/1", Some(4)), Ok(()));
    // With the log, it is forgotten.
    block_on(client.session.manage(Manage::Delete(at("logs/l")))).unwrap();
    declare(&client, "logs/l", partitions(1));
    assert_eq!(attach(&client, "logs/l/0", Some(1)), Ok(()));
}

fn lost(consumer: &mut Box<dyn Consumer>) -> Option<ErrorKind> {
    match consumer.poll_receive(&mut cx(), &mut Vec::new(), 0) {
        Poll::Ready(Err(error)) => Some(error.kind()),
        _ => None,
    }
}

#[test]
fn retention_by_size_and_by_time() {
    let bench = Bench::new();
    let mut client = bench.anonymous();
    let settings = LogSettings { partitions: 1, retention: Some(Duration::from_secs(100)), bytes_max: 20_000 };
    declare(&client, "logs/l", settings);
    for _ in 0..500 {
        client.send(Message::new(at("logs/l"), vec![7; 1000]), ONE).expect("a confirm");
    }
    let partition = described(&client, "logs/l").partitions.remove(0);
    assert_eq!(partition.next, 500);
    assert!(partition.bytes >= 20_000 && partition.bytes < 30_000, "{partition:?}");
    assert!(partition.first > 470, "{partition:?}");
    bench.advance(60);
    send_all(&mut client, &["young"]);
    bench.advance(50);
    let partition = described(&client, "logs/l").partitions.remove(0);
    assert_eq!((partition.first, partition.next), (500, 501));
    bench.advance(60);
    drop(client);
    // Positions go on, also where nothing is left.
    let bench = bench.reopen();
    let mut client = bench.anonymous();
    bench.advance(10);
    send_all(&mut client, &["next"]);
    let mut reader = client.queue(from("logs/l/0", LogStart::Earliest));
    assert_eq!(place(&receive(&mut reader)[0]).position, 501);
}

#[test]
fn trimmed_purged_and_deleted() {
    let (bench, mut client) = bench(1);
    send_all(&mut client, &["a", "b", "c"]);
    let manage = |client: &Client, request| match block_on(client.session.manage(request)) {
        Ok(Managed::Done(count)) => count,
        other => panic!("{other:?}"),
    };
    assert_eq!(manage(&client, Manage::Trim(at("logs/l/0"), 1)), 1);
    assert_eq!(read(&client, from("logs/l", LogStart::Earliest)), ["b", "c"]);
    assert_eq!(manage(&client, Manage::Purge(at("logs/l"))), 2);
    send_all(&mut client, &["d"]);
    let mut reader = client.queue(from("logs/l", LogStart::Earliest));
    assert_eq!(place(&receive(&mut reader)[0]).position, 3);
    let many = Manage::DeclareLog(at("logs/l"), partitions(2));
    assert_eq!(block_on(client.session.manage(many)).unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(manage(&client, Manage::Delete(at("logs/l"))), 1);
    let read = reader.poll_receive(&mut cx(), &mut Vec::new(), 1);
    assert!(matches!(read, Poll::Ready(Err(error)) if error.kind() == ErrorKind::NotFound));
    let refused = client.send(text("logs/l", "late"), ONE).unwrap();
    assert_eq!(refused.why, Some(Condition::NotFound));
    assert_eq!(bench.counters().logs, 0);
    declare(&client, "logs/l", partitions(1));
    send_all(&mut client, &["new"]);
    assert_eq!(described(&client, "logs/l").partitions[0].next, 1);
}

#[test]
fn a_session_follows_partitions_and_is_kept() {
    let (bench, mut client) = bench(2);
    let mut device = bench.named("device", 60);
    device.follow("logs/l/1", ONE);
    let mut all = bench.anonymous();
    all.follow("#", ONE);
    all.follow("logs/l/+", ONE);
    client.send(text("logs/l/0", "zero"), ONE);
    client.send(text("logs/l/1", "one"), ONE);
    let deliveries = device.take();
    assert_eq!(payloads(&deliveries), ["one"]);
    device.accept(&deliveries[0]);
    assert_eq!(payloads(&all.take()), ["zero", "one"]);
    device.lose();
    client.send(stored("logs/l/1", "while away"), ONE);
    drop((client, all));
    let bench = bench.reopen();
    let mut device = bench.named("device", 60);
    device.listen();
    assert_eq!(payloads(&device.take()), ["while away"]);
    let consumer = device.consumer.as_mut().unwrap();
    let whole = Binding::new("logs/l".parse().unwrap(), ONE);
    assert!(block_on(consumer.bind(vec![whole])).unwrap()[0].is_err());
}

#[test]
fn the_window_of_a_session_bounds_what_is_unsettled() {
    let bench = Bench::with(Settings::default());
    let open = Open { window: 2, ..Open::default() };
    let mut client = Client::new(bench.session(open));
    declare(&client, "logs/l", partitions(1));
    send_all(&mut client, &["a", "b", "c"]);
    let mut reader = client.queue(from("logs/l", LogStart::Earliest));
    let deliveries = receive(&mut reader);
    assert_eq!(payloads(&deliveries), ["a", "b"]);
    assert!(receive(&mut reader).is_empty());
    settle(&mut reader, &deliveries[0], Outcome::Accepted);
    assert_eq!(payloads(&receive(&mut reader)), ["c"]);
}

#[test]
fn a_drain_ends_when_everything_was_handed_over() {
    let (_bench, mut client) = bench(4);
    for n in 0..4 {
        client.send(Message::new(at(&format!("logs/l/{n}")), "m"), ONE);
    }
    let mut reader = client.queue(from("logs/l", LogStart::Earliest));
    reader.grant(Grant { credit: 100, drain: true, txn: None });
    let mut deliveries = Vec::new();
    while let Poll::Ready(Ok(1..)) = reader.poll_receive(&mut cx(), &mut deliveries, 2) {}
    assert_eq!(deliveries.len(), 4);
}
