//! Logs on the journal: their disk is bounded, and a broker finds them again.

mod support;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use roadbed_broker::{Broker, LogStore, Op, ReadFrom, Unit};
use roadbed_core::{
    Consumer, ConsumerTerms, Delivery, Disposition, Endpoint, Grant, LogSettings, LogStart, LogTerms, Manage, Message,
    Open, Outcome, Outgoing, ProducerTerms, Qos, Session, Step, Time,
};
use roadbed_store_journal::simulation::{Kept, SimFs};
use support::{LOGS, commit, log, open, page};

fn append(id: u64, len: usize) -> Unit {
    let message = Message::new("logs/l".parse().expect("an address"), vec![id as u8; len]);
    let ops = vec![Op::Append { message, at: Time::from_millis(id), partitions: vec![LOGS[0]] }];
    Unit { ops, ..Unit::new(id) }
}

#[test]
fn what_is_trimmed_gives_its_disk_back() {
    let fs = SimFs::new();
    let mut store = open(&fs);
    let (mut next, kept) = (1, 100 << 10);
    for _ in 0..50 {
        let units = (0..200).map(|n| append(next + n, 500)).collect();
        assert!(commit(&mut store, units).iter().all(|(_, answer)| answer.is_ok()));
        next += 200;
        let before = store.log_cut(LOGS[0], kept, Time::ZERO);
        let trim = Unit { ops: vec![Op::TrimLog { partition: LOGS[0], before }], ..Unit::new(next) };
        next += 1;
        assert_eq!(commit(&mut store, vec![trim])[0].1, Ok(()));
    }
    let state = store.log_state(LOGS[0]);
    assert_eq!(state.next, 10_000);
    assert!(state.bytes >= kept && state.bytes < 2 * kept, "{state:?}");
    // 5 MB have gone through; twice what is kept, and some segments, may lie there.
    let until = Instant::now() + Duration::from_secs(20);
    while store.stats().bytes > 2 * state.bytes + (96 << 10) {
        assert!(Instant::now() < until, "{:?}", store.stats());
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(store);
    let mut store = open(&fs);
    assert_eq!(store.log_state(LOGS[0]), state);
    let entries = log(&mut store, LOGS[0], 100).expect("read");
    assert_eq!(entries.first().map(|entry| entry.position), Some(state.first));
    assert_eq!(entries.last().map(|entry| entry.position), Some(9_999));
    assert!(entries.iter().zip(state.first..).all(|(entry, position)| entry.position == position));
}

#[test]
fn a_page_is_no_longer_than_asked_for() {
    let fs = SimFs::new();
    let mut store = open(&fs);
    commit(&mut store, (1..=500).map(|n| append(n, 1000)).collect());
    let read = page(&mut store, LOGS[0], ReadFrom::Position(3), 1000).expect("read");
    assert!(read[0].position == 3 && (50..80).contains(&read.len()), "{}", read.len());
    assert!(store.stats().read_bytes < 300 << 10, "{:?}", store.stats());
}

#[test]
fn a_broker_finds_its_logs_and_checkpoints_again_after_a_power_cut() {
    let mut fs = SimFs::new();
    for round in 0..5_u64 {
        let broker = broker(&fs);
        let session = wait(broker.open(Open::default())).expect("a session");
        let settings = LogSettings { partitions: 1, ..LogSettings::default() };
        wait(session.manage(Manage::DeclareLog("logs/l".parse().expect("an address"), settings))).expect("declared");
        // What was settled before the cut does not come again, and what was answered is there.
        let mut reader = read(&*session, LogTerms::group("logs/l/0".parse().expect("an address"), "g"));
        send(&*session, round * 10..round * 10 + 10);
        let deliveries = take(&mut *reader, 10);
        let positions: Vec<_> = deliveries.iter().map(position).collect();
        assert_eq!(positions, (round * 10..round * 10 + 10).collect::<Vec<_>>());
        settle(&mut *reader, &deliveries);
        let from = LogTerms::new("logs/l/0".parse().expect("an address"), LogStart::Earliest);
        assert_eq!(take(&mut *read(&*session, from), 1000).len() as u64, round * 10 + 10);
        let mut draw = round;
        fs = fs.power_cut(Kept::Some(500), move || {
            draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (draw >> 33) as u32
        });
    }
}

fn broker(fs: &SimFs) -> Broker {
    Broker::builder().store(open(fs)).build().expect("a broker")
}

fn read(session: &dyn Session, terms: LogTerms) -> Box<dyn Consumer> {
    let (mut reader, _) = wait(session.consumer(ConsumerTerms::log(terms))).expect("a reader");
    reader.grant(Grant { credit: 10_000, drain: true, txn: None });
    reader
}

fn send(session: &dyn Session, numbers: std::ops::Range<u64>) {
    let (mut producer, _) = wait(session.producer(ProducerTerms::default())).expect("a producer");
    for cookie in numbers {
        let message = Message::new("logs/l".parse().expect("an address"), cookie.to_string());
        producer.send(&mut vec![Outgoing { cookie, message, qos: Qos::AtLeastOnce, key: None, txn: None }]);
        let mut confirms = Vec::new();
        wait(std::future::poll_fn(|cx| producer.poll_confirms(cx, &mut confirms))).expect("a confirm");
        assert_eq!(confirms[0].outcome, Outcome::Accepted);
    }
}

/// Takes what there is, at most so many.
fn take(reader: &mut dyn Consumer, max: usize) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    while deliveries.len() < max {
        let want = max - deliveries.len();
        if wait(std::future::poll_fn(|cx| reader.poll_receive(cx, &mut deliveries, want))).expect("deliveries") == 0 {
            break;
        }
    }
    deliveries
}

fn position(delivery: &Delivery) -> u64 {
    delivery.info.as_ref().and_then(|info| info.log).expect("a place").position
}

fn settle(reader: &mut dyn Consumer, deliveries: &[Delivery]) {
    let step = Step::Outcome { outcome: Outcome::Accepted, settled: true };
    let accept = |delivery: &Delivery| {
        let handle = delivery.handle.expect("to be settled");
        Disposition { delivery: handle.into(), cookie: Some(1), step: step.clone() }
    };
    reader.settle(&mut deliveries.iter().map(accept).collect());
    let mut dones = Vec::new();
    while dones.len() < deliveries.len() {
        wait(std::future::poll_fn(|cx| reader.poll_settled(cx, &mut dones))).expect("settled");
    }
    assert!(dones.iter().all(|done| done.result.is_ok()));
}

/// Waits for a future in this thread.
fn wait<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let (mut future, mut cx) = (pin!(future), Context::from_waker(&waker));
    loop {
        match future.as_mut().poll(&mut cx) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park_timeout(Duration::from_secs(20)),
        }
    }
}
