//! A store that answers late: no promise before its commit, and nothing overtakes.

mod support;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::executor::block_on;
use roadbed_broker::{
    Broker, Caps, ListedCopy, LogPage, LogRead, LogState, LogStore, MemoryStore, Op, ReadAnswer, ReadId, Recovery,
    Revision, Row, RowKey, Settings, Store, StoreError, StoredCopy, Unit, UnitId,
};
use roadbed_core::*;
use support::*;

/// A memory store whose commits wait until they are let go.
#[derive(Clone, Default)]
struct SlowStore(Arc<Mutex<Slow>>);

#[derive(Default)]
struct Slow {
    inner: MemoryStore,
    waiting: VecDeque<Unit>,
    allowed: usize,
    /// Pages of logs are read and not handed over.
    holds_pages: bool,
    /// How long it takes to submit.
    pause: Duration,
    waker: Option<Waker>,
}

impl SlowStore {
    /// Lets this many units commit.
    fn let_go(&self, units: usize) {
        let waker = {
            let mut slow = self.0.lock().unwrap();
            slow.allowed += units;
            slow.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl LogStore for SlowStore {
    fn read_log(&mut self, read: LogRead) {
        self.0.lock().unwrap().inner.read_log(read);
    }

    fn poll_pages(&mut self, into: &mut Vec<LogPage>) {
        let mut slow = self.0.lock().unwrap();
        if !slow.holds_pages {
            slow.inner.poll_pages(into);
        }
    }

    fn log_state(&mut self, partition: QueueId) -> LogState {
        self.0.lock().unwrap().inner.log_state(partition)
    }

    fn log_cut(&mut self, partition: QueueId, bytes_max: u64, oldest: Time) -> u64 {
        self.0.lock().unwrap().inner.log_cut(partition, bytes_max, oldest)
    }
}

impl Store for SlowStore {
    fn caps(&self) -> Caps {
        self.0.lock().unwrap().inner.caps()
    }

    fn submit(&mut self, units: &mut Vec<Unit>) {
        let pause = self.0.lock().unwrap().pause;
        if !pause.is_zero() {
            std::thread::sleep(pause);
        }
        self.0.lock().unwrap().waiting.extend(units.drain(..));
    }

    fn poll_commits(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut Vec<(UnitId, std::result::Result<(), StoreError>)>,
    ) -> Poll<usize> {
        let mut slow = self.0.lock().unwrap();
        let count = slow.allowed.min(slow.waiting.len());
        slow.allowed -= count;
        let mut units: Vec<Unit> = slow.waiting.drain(..count).collect();
        slow.inner.submit(&mut units);
        if slow.inner.poll_commits(cx, into).is_ready() {
            return Poll::Ready(count);
        }
        slow.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn read(&mut self, id: ReadId, copies: Vec<CopyId>) {
        self.0.lock().unwrap().inner.read(id, copies);
    }

    fn poll_reads(&mut self, cx: &mut Context<'_>, into: &mut Vec<ReadAnswer>) -> Poll<usize> {
        self.0.lock().unwrap().inner.poll_reads(cx, into)
    }

    fn list(&mut self, queue: QueueId, after: u64, max: usize) -> std::result::Result<Vec<ListedCopy>, StoreError> {
        self.0.lock().unwrap().inner.list(queue, after, max)
    }

    fn recover(&mut self) -> std::result::Result<Recovery, StoreError> {
        self.0.lock().unwrap().inner.recover()
    }

    fn fetch(&mut self, copies: &[CopyId]) -> std::result::Result<Vec<StoredCopy>, StoreError> {
        self.0.lock().unwrap().inner.fetch(copies)
    }

    fn get(&mut self, key: &RowKey) -> std::result::Result<Option<(Row, Revision)>, StoreError> {
        self.0.lock().unwrap().inner.get(key)
    }

    fn in_doubt(&mut self) -> std::result::Result<Vec<Gid>, StoreError> {
        self.0.lock().unwrap().inner.in_doubt()
    }
}

struct Late {
    store: SlowStore,
    device: Client,
    sender: Client,
    _broker: Broker,
}

/// A kept session that follows `a`, and a sender, with everything committed so far.
fn late() -> Late {
    late_with(Settings::default())
}

fn late_with(settings: Settings) -> Late {
    let store = SlowStore::default();
    store.let_go(100);
    let broker = Broker::builder().settings(settings).store(store.clone()).build().unwrap();
    let open = |name| Client::new(block_on(broker.open(kept(name, 60))).unwrap());
    let mut device = open("device");
    device.follow("a", TWO);
    let sender = open("sender");
    store.0.lock().unwrap().allowed = 0;
    Late { store, device, sender, _broker: broker }
}

#[test]
fn no_confirm_and_no_delivery_before_the_commit() {
    let Late { store, mut device, mut sender, _broker } = late();
    sender.producer.send(&mut vec![outgoing(stored("a", "x"), ONE)]);
    assert!(sender.confirms().is_empty() && device.take().is_empty());
    store.let_go(1);
    assert_eq!(sender.confirms().len(), 1);
    assert_eq!(payloads(&device.take()), ["x"]);
}

#[test]
fn a_key_is_forgotten_when_that_is_committed() {
    let Late { store, device: _device, mut sender, _broker } = late();
    let key = Key::Number(1);
    let (woken, waker) = flag();
    let mut cx = Context::from_waker(&waker);
    sender.producer.send(&mut vec![Outgoing { key: Some(key.clone()), ..outgoing(stored("a", "x"), TWO) }]);
    store.let_go(1);
    assert_eq!(sender.confirms().len(), 1);
    sender.producer.forget(&mut vec![Key::Number(7)]);
    assert!(sender.producer.poll_forgotten(&mut cx, 1).is_ready(), "the store knows nothing of it");
    sender.producer.forget(&mut vec![key]);
    assert!(sender.producer.poll_forgotten(&mut cx, 1).is_ready());
    assert!(sender.producer.poll_forgotten(&mut cx, 2).is_pending());
    assert!(!woken.load(std::sync::atomic::Ordering::Relaxed));
    store.let_go(1);
    assert!(woken.load(std::sync::atomic::Ordering::Relaxed));
    assert!(sender.producer.poll_forgotten(&mut cx, 2).is_ready());
}

#[test]
fn who_polls_is_woken_when_the_store_knows_of_the_hold() {
    let Late { store, mut device, mut sender, _broker } = late();
    sender.producer.send(&mut vec![outgoing(stored("a", "x"), TWO)]);
    store.let_go(1);
    let consumer = device.consumer.as_mut().unwrap();
    let (woken, waker) = flag();
    let (mut cx, mut got) = (Context::from_waker(&waker), Vec::new());
    assert!(consumer.poll_receive(&mut cx, &mut got, 10).is_pending());
    assert!(!woken.load(std::sync::atomic::Ordering::Relaxed));
    store.let_go(1);
    assert!(woken.load(std::sync::atomic::Ordering::Relaxed));
    assert!(consumer.poll_receive(&mut cx, &mut got, 10).is_ready());
    assert_eq!(payloads(&got), ["x"]);
}

#[test]
fn only_who_sends_for_the_store_waits_for_its_backlog() {
    let mut settings = Settings::default();
    settings.store_operations_max = 2;
    let Late { store, mut device, mut sender, _broker } = late_with(settings);
    let mut other = Client::new(block_on(_broker.open(Open::default())).unwrap());
    sender.producer.send(&mut vec![outgoing(stored("a", "1"), ONE), outgoing(stored("a", "2"), ONE)]);
    let (raised, waker) = flag();
    let reserve = |client: &mut Client| client.producer.poll_reserve(&mut Context::from_waker(&waker), 1, 1);
    assert!(reserve(&mut sender).is_pending());
    assert!(reserve(&mut other).is_ready(), "it has sent nothing for the store");
    assert!(!raised.load(std::sync::atomic::Ordering::Relaxed));
    store.let_go(2);
    assert!(raised.load(std::sync::atomic::Ordering::Relaxed));
    assert!(reserve(&mut sender).is_ready());
    // What is settled is not held back.
    sender.producer.send(&mut vec![outgoing(stored("a", "3"), ONE), outgoing(stored("a", "4"), ONE)]);
    assert!(reserve(&mut sender).is_pending());
    let got = device.take();
    let consumer = device.consumer.as_mut().unwrap();
    let accept = |delivery: &Delivery| Disposition {
        delivery: delivery.handle.unwrap().into(),
        cookie: None,
        step: Step::Outcome { outcome: Outcome::Accepted, settled: true },
    };
    consumer.settle(&mut got.iter().map(accept).collect());
    store.let_go(3);
    assert_eq!((sender.confirms().len(), store.0.lock().unwrap().inner.copies()), (4, 2));
}

#[test]
fn a_volatile_message_does_not_overtake_a_stored_one() {
    let Late { store, mut device, mut sender, _broker } = late();
    let numbered = |cookie, message| Outgoing { cookie, ..outgoing(message, ONE) };
    sender.producer.send(&mut vec![
        numbered(1, text("a", "1")),
        numbered(2, stored("a", "2")),
        numbered(3, text("a", "3")),
        numbered(4, text("$dead/a", "refused")),
    ]);
    let cookies = |confirms: Vec<Confirm>| confirms.iter().map(|confirm| confirm.cookie).collect::<Vec<_>>();
    assert_eq!(cookies(sender.confirms()), [1]);
    assert_eq!(payloads(&device.take()), ["1"]);
    sender.producer.send(&mut vec![numbered(5, text("a", "5"))]);
    assert!(sender.confirms().is_empty());
    store.let_go(1);
    assert_eq!(cookies(sender.confirms()), [2, 3, 4, 5]);
    assert_eq!(payloads(&device.take()), ["2", "3", "5"]);
}

#[test]
fn a_duplicate_is_confirmed_behind_the_first_ones_commit() {
    let Late { store, mut device, mut sender, _broker } = late();
    let keyed = |cookie| Outgoing { cookie, key: Some(Key::Number(1)), ..outgoing(stored("a", "x"), TWO) };
    sender.producer.send(&mut vec![keyed(1), keyed(2)]);
    assert!(sender.confirms().is_empty());
    store.let_go(1);
    let confirms = sender.confirms();
    assert_eq!(
        confirms.iter().map(|confirm| (confirm.cookie, confirm.why)).collect::<Vec<_>>(),
        [(1, None), (2, Some(Condition::Duplicate))]
    );
    store.let_go(1);
    assert_eq!(device.take().len(), 1);
}

#[test]
fn an_exactly_once_delivery_is_sent_when_the_store_knows_of_it() {
    let Late { store, mut device, mut sender, _broker } = late();
    sender.producer.send(&mut vec![outgoing(stored("a", "1"), TWO), outgoing(stored("a", "2"), ONE)]);
    store.let_go(2);
    assert!(device.take().is_empty(), "the hold waits for its commit, and what is behind it waits too");
    store.let_go(1);
    let got = device.take();
    assert_eq!(payloads(&got), ["1", "2"]);
    let decided = Step::Outcome { outcome: Outcome::Accepted, settled: false };
    let consumer = device.consumer.as_mut().unwrap();
    let delivery = DeliveryRef::Handle(got[0].handle.unwrap());
    consumer.settle(&mut vec![Disposition { delivery, cookie: Some(1), step: decided }]);
    let mut dones = Vec::new();
    assert!(consumer.poll_settled(&mut cx(), &mut dones).is_pending(), "the decision is recorded first");
    store.let_go(1);
    assert!(consumer.poll_settled(&mut cx(), &mut dones).is_ready());
}

#[test]
fn a_transaction_resolves_when_it_is_committed() {
    let Late { store, mut device, mut sender, _broker } = late();
    let txn = block_on(sender.session.transaction()).unwrap();
    let posted = sender.send_as(Outgoing { txn: Some(txn.id()), ..outgoing(stored("a", "x"), ONE) }).unwrap();
    assert_eq!(posted.provisional, Some(txn.id()));
    let mut commit = txn.commit();
    assert!(commit.as_mut().poll(&mut cx()).is_pending());
    assert!(device.take().is_empty());
    store.let_go(1);
    assert!(commit.as_mut().poll(&mut cx()).is_ready());
    assert_eq!(payloads(&device.take()), ["x"]);
}

#[test]
fn what_asks_for_no_answer_is_gone_for_the_store_before_it_is_handed_over() {
    let Late { store, device: _device, mut sender, _broker } = late();
    store.let_go(3);
    sender.producer.send(&mut vec![outgoing(stored("queues/q", "1"), ONE), outgoing(stored("queues/q", "2"), ONE)]);
    assert_eq!(store.0.lock().unwrap().inner.copies(), 2);
    let mut consumer = sender.queue(ConsumerTerms { qos_max: ZERO, ..queue("queues/q") });
    assert!(receive(&mut consumer).is_empty());
    store.let_go(1);
    assert_eq!(store.0.lock().unwrap().inner.copies(), 0);
    let got = receive(&mut consumer);
    assert_eq!((payloads(&got), got[0].handle), (vec!["1".into(), "2".into()], None));
}

#[test]
fn an_answer_waits_for_what_it_says() {
    for (outcome, again) in [(Outcome::Accepted, 0), (Outcome::FAILED, 1), (Outcome::rejected(Condition::Refused), 0)] {
        let Late { store, mut device, mut sender, _broker } = late();
        sender.producer.send(&mut vec![outgoing(stored("a", "1"), ONE)]);
        store.let_go(1);
        let got = device.take();
        let consumer = device.consumer.as_mut().unwrap();
        let delivery = DeliveryRef::Handle(got[0].handle.unwrap());
        let step = Step::Outcome { outcome, settled: true };
        consumer.settle(&mut vec![Disposition { delivery, cookie: Some(1), step }]);
        let mut dones = Vec::new();
        assert!(consumer.poll_settled(&mut cx(), &mut dones).is_pending());
        store.let_go(1);
        assert!(consumer.poll_settled(&mut cx(), &mut dones).is_ready());
        assert_eq!(store.0.lock().unwrap().inner.copies(), again);
    }
}

#[test]
fn a_session_that_has_sent_much_behind_the_store_is_told_to_stop_and_to_go_on() {
    let mut settings = Settings::default();
    settings.session_behind_bytes_max = 5000;
    let Late { store, device: _device, mut sender, _broker } = late_with(settings);
    let event = |client: &Client| match client.session.poll_event(&mut cx()) {
        Poll::Ready(event) => Some(event),
        Poll::Pending => None,
    };
    let volatile = |client: &mut Client| {
        client.producer.send(&mut vec![outgoing(Message::new("a".parse().unwrap(), vec![7; 1000]), ZERO)]);
    };
    sender.producer.send(&mut vec![outgoing(stored("a", "x"), ONE)]);
    let mut sent = 0;
    let told = loop {
        volatile(&mut sender);
        sent += 1;
        if let Some(event) = event(&sender) {
            break event;
        }
        assert!(sent < 6, "what is behind the store counts, stored or not");
    };
    assert_eq!((told, sent > 2), (SessionEvent::Budget { paused: true }, true));
    volatile(&mut sender);
    assert_eq!(event(&sender), None, "it is told once");
    store.let_go(1);
    assert_eq!(event(&sender), Some(SessionEvent::Budget { paused: false }));
    assert_eq!(sender.confirms().len(), 1);
    volatile(&mut sender);
    assert_eq!(event(&sender), None, "nothing is behind the store");
}

/// Whoever finds a queue that somebody else is making has its message behind the queue's row: what is acknowledged has a queue after a restart.
#[test]
fn the_row_of_a_queue_is_submitted_before_anything_in_it() {
    let store = SlowStore::default();
    let broker = Broker::builder().store(store.clone()).build().unwrap();
    let mut clients: Vec<_> = (0..3).map(|_| Client::new(block_on(broker.open(Open::default())).unwrap())).collect();
    store.0.lock().unwrap().pause = Duration::from_micros(20);
    let mut known = std::collections::HashSet::new();
    for round in 0..200 {
        let start = std::sync::Barrier::new(clients.len());
        let address = format!("queues/{round}");
        std::thread::scope(|scope| {
            for (n, client) in clients.iter_mut().enumerate() {
                // Some keep the way to the store busy, so that the others wait for it.
                let (to, count) = if n % 2 == 0 { (&*address, 1) } else { ("queues/busy", 5) };
                let start = &start;
                scope.spawn(move || {
                    start.wait();
                    (0..count).for_each(|_| client.producer.send(&mut vec![outgoing(stored(to, "x"), ONE)]));
                });
            }
        });
        let waiting = std::mem::take(&mut store.0.lock().unwrap().waiting);
        for op in waiting.into_iter().flat_map(|unit| unit.ops) {
            match op {
                Op::Put(RowKey::Queue(_), Row::Queue(row)) => drop(known.insert(row.queue)),
                Op::Enqueue { copies, .. } => {
                    let queue = copies[0].copy.queue;
                    assert!(known.contains(&queue), "a message without a queue, in round {round}");
                }
                _ => {}
            }
        }
        assert_eq!(known.len(), round + 2);
    }
}

/// What is appended while the store answers that there is nothing of that time is not passed over.
#[test]
fn a_reader_of_a_time_misses_nothing_that_comes_while_it_asks() {
    let (store, clock) = (SlowStore::default(), Arc::new(ManualClock::at(START)));
    store.let_go(1000);
    let broker = Broker::builder().clock(clock.clone()).store(store.clone()).build().unwrap();
    let mut client = Client::new(block_on(broker.open(Open::default())).unwrap());
    block_on(client.session.manage(Manage::DeclareLog("logs/l".parse().unwrap(), LogSettings::default()))).unwrap();
    client.send(text("logs/l", "early"), ONE);
    let start = LogStart::Time(START + Duration::from_secs(10));
    let mut reader = client.queue(ConsumerTerms::log(LogTerms::new("logs/l".parse().unwrap(), start)));
    store.0.lock().unwrap().holds_pages = true;
    assert!(receive(&mut reader).is_empty());
    clock.advance(Duration::from_secs(10));
    client.send(text("logs/l", "in time"), ONE);
    store.0.lock().unwrap().holds_pages = false;
    client.send(stored("queues/q", "so that the page comes"), ONE);
    assert_eq!(payloads(&receive(&mut reader)), ["in time"]);
}

/// What a transaction takes is pinned until its commit is stored; what its consumer does meanwhile is stored before the commit is answered.
#[test]
fn a_commit_pins_its_copies_until_the_store_has_it() {
    let store = SlowStore::default();
    store.let_go(1000);
    let broker = Broker::builder().store(store.clone()).build().unwrap();
    let mut client = Client::new(block_on(broker.open(Open::default())).unwrap());
    client.send(stored("queues/in", "work"), ONE);
    let mut consumer = client.queue(queue("queues/in"));
    let got = receive(&mut consumer).remove(0);
    let txn = block_on(client.session.transaction()).unwrap();
    step(&mut consumer, &got, Step::Enlist { txn: txn.id(), outcome: Outcome::Accepted, settled: false }).unwrap();
    store.0.lock().unwrap().allowed = 0;
    let mut commit = txn.commit();
    assert!(commit.as_mut().poll(&mut cx()).is_pending());
    let released = Step::Outcome { outcome: Outcome::Released, settled: false };
    assert_eq!(step(&mut consumer, &got, released).unwrap_err().kind(), ErrorKind::Conflict, "pinned");
    assert_eq!(step(&mut consumer, &got, Step::Settle).unwrap(), Settled::Applied);
    store.let_go(1);
    assert!(commit.as_mut().poll(&mut cx()).is_pending(), "that it is forgotten is not stored yet");
    store.let_go(1);
    assert_eq!(commit.as_mut().poll(&mut cx()).map(|done| done.is_ok()), Poll::Ready(true));
    assert_eq!(store.0.lock().unwrap().inner.copies(), 0);
}
