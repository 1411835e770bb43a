//! One transaction over several endpoints, and a crash at every point of it.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use futures::executor::block_on;
use roadbed_broker::{
    Branches, Broker, Caps, Coordinator, ListedCopy, LogPage, LogRead, LogState, LogStore, MemoryStore, ReadAnswer,
    ReadId, Recovery, Revision, Row, RowKey, Settings, Store, StoreError, StoredCopy, Unit, UnitId,
};
use roadbed_core::*;
use support::*;

/// Burns a little at every step; when it is out, nothing happens any more.
#[derive(Debug, Default)]
struct Fuse {
    left: AtomicUsize,
    dead: AtomicBool,
}

impl Fuse {
    fn new(steps: usize) -> Arc<Self> {
        Arc::new(Self { left: AtomicUsize::new(steps), dead: AtomicBool::new(false) })
    }

    /// Whether this step is one that does not come to pass.
    fn burns_out(&self) -> bool {
        if !self.is_dead() && self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_err()
        {
            self.dead.store(true, Ordering::SeqCst);
        }
        self.is_dead()
    }

    fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }
}

/// Does `step`, unless the crash comes before it; answers, unless the crash comes after it.
fn mortal<T: Send + 'static>(fuse: &Arc<Fuse>, step: impl FnOnce() -> Fut<T> + Send + 'static) -> Fut<T> {
    let fuse = fuse.clone();
    Box::pin(async move {
        if fuse.burns_out() {
            return std::future::pending().await;
        }
        let done = step().await;
        if fuse.burns_out() { std::future::pending().await } else { done }
    })
}

struct MortalTransaction(Box<dyn Transaction>, Arc<Fuse>);

impl Transaction for MortalTransaction {
    fn id(&self) -> TxnId {
        self.0.id()
    }

    fn commit(self: Box<Self>) -> Fut<()> {
        let Self(inner, fuse) = *self;
        mortal(&fuse, move || inner.commit())
    }

    fn rollback(self: Box<Self>) -> Fut<()> {
        self.0.rollback()
    }

    fn prepare(&mut self, gid: Gid) -> Fut<()> {
        if self.1.burns_out() {
            return Box::pin(std::future::pending());
        }
        let (prepared, fuse) = (self.0.prepare(gid), self.1.clone());
        Box::pin(async move {
            let prepared = prepared.await;
            if fuse.burns_out() { std::future::pending().await } else { prepared }
        })
    }
}

#[derive(Debug)]
struct MortalBroker(Broker, Arc<Fuse>);

impl Participant for MortalBroker {
    fn resolve(&self, gid: Gid, commit: bool) -> Fut<()> {
        let broker = self.0.clone();
        mortal(&self.1, move || broker.resolve(gid, commit))
    }

    fn recover(&self) -> Fut<Vec<Gid>> {
        self.0.recover()
    }
}

/// A store of decisions that the crash comes to before a write, or between it and its answer.
struct MortalStore(MemoryStore, Arc<Fuse>);

impl LogStore for MortalStore {
    fn read_log(&mut self, read: LogRead) {
        self.0.read_log(read);
    }

    fn poll_pages(&mut self, into: &mut Vec<LogPage>) {
        self.0.poll_pages(into);
    }

    fn log_state(&mut self, partition: QueueId) -> LogState {
        self.0.log_state(partition)
    }

    fn log_cut(&mut self, partition: QueueId, bytes_max: u64, oldest: Time) -> u64 {
        self.0.log_cut(partition, bytes_max, oldest)
    }
}

impl Store for MortalStore {
    fn caps(&self) -> Caps {
        self.0.caps()
    }

    fn submit(&mut self, units: &mut Vec<Unit>) {
        match self.1.burns_out() {
            true => units.clear(),
            false => self.0.submit(units),
        }
        self.1.burns_out();
    }

    fn poll_commits(&mut self, cx: &mut Context<'_>, into: &mut Vec<(UnitId, Result<(), StoreError>)>) -> Poll<usize> {
        if self.1.is_dead() { Poll::Pending } else { self.0.poll_commits(cx, into) }
    }

    fn read(&mut self, id: ReadId, copies: Vec<CopyId>) {
        self.0.read(id, copies);
    }

    fn poll_reads(&mut self, cx: &mut Context<'_>, into: &mut Vec<ReadAnswer>) -> Poll<usize> {
        self.0.poll_reads(cx, into)
    }

    fn list(&mut self, queue: QueueId, after: u64, max: usize) -> Result<Vec<ListedCopy>, StoreError> {
        self.0.list(queue, after, max)
    }

    fn recover(&mut self) -> Result<Recovery, StoreError> {
        self.0.recover()
    }

    fn fetch(&mut self, copies: &[CopyId]) -> Result<Vec<StoredCopy>, StoreError> {
        self.0.fetch(copies)
    }

    fn get(&mut self, key: &RowKey) -> Result<Option<(Row, Revision)>, StoreError> {
        self.0.get(key)
    }

    fn in_doubt(&mut self) -> Result<Vec<Gid>, StoreError> {
        self.0.in_doubt()
    }
}

/// A broker with a stored order in `queues/in`, held by a client, and a transaction that takes it and sends a result.
struct Site {
    bench: Bench,
    client: Client,
    consumer: Box<dyn Consumer>,
    transaction: Option<Box<dyn Transaction>>,
}

impl Site {
    fn new() -> Self {
        let bench = Bench::new();
        let mut client = bench.named("worker", 0);
        client.send(stored("queues/in", "order"), ONE);
        let mut consumer = client.queue(queue("queues/in"));
        let order = receive(&mut consumer).remove(0);
        let transaction = block_on(client.session.transaction()).unwrap();
        let txn = Some(transaction.id());
        client.send_as(Outgoing { txn, ..outgoing(stored("queues/out", "result"), ONE) });
        let outcome = Outcome::Accepted;
        step(&mut consumer, &order, Step::Enlist { txn: transaction.id(), outcome, settled: true }).unwrap();
        Self { bench, client, consumer, transaction: Some(transaction) }
    }

    fn transaction(&mut self) -> Box<dyn Transaction> {
        self.transaction.take().unwrap()
    }

    /// The power goes, and comes back: nothing that is said while handles are dropped reaches the store.
    fn crash(self) -> Bench {
        let Self { bench, client, consumer, transaction } = self;
        bench.store.refuse(Some(StoreError::Failed("the power is gone".into())));
        drop((consumer, transaction, client));
        let Bench { broker, clock, store } = bench;
        drop(broker);
        store.refuse(None);
        Bench::on(Settings::default(), store, clock)
    }
}

fn stored(to: &str, payload: &'static str) -> Message {
    text(to, payload).to_builder().durability(Durability::Stored).build()
}

/// Whether the transaction has happened at a site; it panics if half of it has.
fn happened(bench: &Bench) -> bool {
    let client = bench.named("auditor", 0);
    let left = |address: &str| match block_on(client.session.manage(Manage::Describe(address.parse().unwrap()))) {
        Ok(Managed::Description(node)) => (node.available, node.held),
        other => panic!("{address}: {other:?}"),
    };
    match (client.exists("queues/out").then(|| left("queues/out")), left("queues/in")) {
        (Some((1, 0)), (0, 0)) => true,
        (None | Some((0, 0)), (1, 0) | (0, 1)) => false,
        half => panic!("half of it: {half:?}"),
    }
}

impl Client {
    fn exists(&self, address: &str) -> bool {
        block_on(self.session.manage(Manage::Describe(address.parse().unwrap()))).is_ok()
    }
}

fn coordinator(log: impl Store + 'static, a: &Broker, b: &Broker) -> Coordinator {
    let builder = Coordinator::builder("c").participant("a", Arc::new(a.clone()));
    block_on(builder.participant("b", Arc::new(b.clone())).open(log)).unwrap()
}

#[test]
fn a_crash_at_any_point_leaves_all_or_nothing() {
    let mut ends = Vec::new();
    for steps in 0.. {
        let (log, fuse) = (MemoryStore::new(), Fuse::new(usize::MAX));
        let (mut a, mut b) = (Site::new(), Site::new());
        let mortal_a = Arc::new(MortalBroker(a.bench.broker.clone(), fuse.clone()));
        let mortal_b = Arc::new(MortalBroker(b.bench.broker.clone(), fuse.clone()));
        let builder = Coordinator::builder("c").participant("a", mortal_a).participant("b", mortal_b);
        let dying = block_on(builder.open(MortalStore(log.clone(), fuse.clone()))).unwrap();
        fuse.left.store(steps, Ordering::SeqCst);
        let branches = Branches::new()
            .branch("a", Box::new(MortalTransaction(a.transaction(), fuse.clone())))
            .branch("b", Box::new(MortalTransaction(b.transaction(), fuse.clone())));
        let mut committing = Box::pin(dying.commit(branches));
        let committed = match committing.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(committed) => committed.is_ok(),
            Poll::Pending => false,
        };
        assert_eq!(!committed, fuse.is_dead());
        let stores = [&a.bench.store, &b.bench.store];
        stores.iter().for_each(|store| store.refuse(Some(StoreError::Failed("the power is gone".into()))));
        drop(committing);
        drop(dying);
        let (a, b) = (a.crash(), b.crash());
        let reopened = coordinator(log.clone(), &a.broker, &b.broker);
        assert_eq!(block_on(reopened.recover()), 0, "{steps} steps");
        for bench in [&a, &b] {
            assert_eq!(block_on(bench.broker.recover()).unwrap(), [], "{steps} steps");
        }
        let end = (happened(&a), happened(&b));
        assert_eq!(end.0, end.1, "{steps} steps");
        assert_eq!(log.rows(), 1, "the decision is forgotten after {steps} steps");
        // Recovering once more changes nothing, and what was done is stored.
        assert_eq!(block_on(reopened.recover()), 0);
        assert_eq!((happened(&a.reopen()), happened(&b.reopen())), end);
        ends.push(end.0);
        if committed {
            break;
        }
    }
    // Before and after each prepare; before the decision is written; and from then on to the end it is committed.
    let first = ends.iter().position(|happened| *happened).unwrap();
    assert_eq!((first, ends.len()), (5, 13), "{ends:?}");
    assert!(ends[first..].iter().all(|happened| *happened), "{ends:?}");
}

#[test]
fn what_cannot_be_promised_rolls_everything_back() {
    let (mut a, mut b) = (Site::new(), Site::new());
    let full = QueueSettings { messages_max: 1, ..QueueSettings::default() };
    block_on(b.client.session.manage(Manage::Declare("queues/out".parse().unwrap(), full))).unwrap();
    b.client.send(text("queues/out", "in the way"), ONE);
    let (log, branches) = (MemoryStore::new(), Branches::new());
    let coordinator = coordinator(log.clone(), &a.bench.broker, &b.bench.broker);
    let branches = branches.branch("a", a.transaction()).branch("b", b.transaction());
    assert_eq!(block_on(coordinator.commit(branches)).unwrap_err().kind(), ErrorKind::RolledBack);
    assert!(!happened(&a.bench));
    assert_eq!((block_on(coordinator.recover()), log.rows()), (0, 1));
}

/// A promise holds although others fill the queue in the meantime, and over a restart.
#[test]
fn room_is_kept_for_what_is_promised() {
    for restart in [false, true] {
        let mut site = Site::new();
        let full = QueueSettings { messages_max: 1, ..QueueSettings::default() };
        block_on(site.client.session.manage(Manage::Declare("queues/out".parse().unwrap(), full))).unwrap();
        let mut transaction = site.transaction();
        block_on(transaction.prepare(Gid("g".into()))).unwrap();
        let refused = site.client.send_as(outgoing(stored("queues/out", "too much"), ONE)).unwrap();
        assert_eq!(refused.why, Some(Condition::Full));
        drop(transaction);
        let bench = if restart { site.crash() } else { site.bench };
        block_on(bench.broker.resolve(Gid("g".into()), true)).unwrap();
        assert!(happened(&bench));
    }
}

/// A key that was used in a prepared transaction is not used again, also after a restart; rolled back, it is free.
#[test]
fn keys_are_promised_too() {
    for commit in [true, false] {
        let bench = Bench::new();
        let mut client = bench.named("sender", 60);
        let mut transaction = block_on(client.session.transaction()).unwrap();
        let key = Some(Key::Number(1));
        let keyed = Outgoing { key: key.clone(), ..outgoing(stored("queues/out", "once"), TWO) };
        client.send_as(Outgoing { txn: Some(transaction.id()), ..keyed.clone() });
        block_on(transaction.prepare(Gid("g".into()))).unwrap();
        drop((transaction, client));
        let bench = bench.reopen();
        assert_eq!(block_on(bench.broker.recover()).unwrap(), [Gid("g".into())]);
        block_on(bench.broker.resolve(Gid("g".into()), commit)).unwrap();
        let mut client = bench.named("sender", 60);
        let again = client.send_as(keyed).unwrap();
        assert_eq!(again.why == Some(Condition::Duplicate), commit, "{again:?}");
        assert_eq!(receive(&mut client.queue(queue("queues/out"))).len(), 1);
    }
}

/// Away at first.
#[derive(Debug)]
struct Away(Broker, AtomicUsize);

impl Participant for Away {
    fn resolve(&self, gid: Gid, commit: bool) -> Fut<()> {
        let here = self.1.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_err();
        if here {
            self.0.resolve(gid, commit)
        } else {
            Box::pin(async { Err(Error::new(ErrorKind::Disconnected, "resolve")) })
        }
    }

    fn recover(&self) -> Fut<Vec<Gid>> {
        self.0.recover()
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_gone_is_asked_again() {
    let (mut a, mut b) = (Site::new(), Site::new());
    let (here, away) = (Arc::new(a.bench.broker.clone()), Arc::new(Away(b.bench.broker.clone(), AtomicUsize::new(3))));
    let builder = Coordinator::builder("c").participant("a", here).participant("b", away);
    let coordinator = Arc::new(builder.open(MemoryStore::new()).await.unwrap());
    coordinator.commit(Branches::new().branch("a", a.transaction()).branch("b", b.transaction())).await.unwrap();
    assert!(happened(&a.bench));
    let doubt = coordinator.in_doubt();
    assert_eq!((doubt.len(), &*doubt[0].participants, doubt[0].decided), (1, &["b".into()][..], true));
    let (running, started) = (coordinator.clone(), tokio::time::Instant::now());
    let task = tokio::spawn(async move { running.run().await });
    while !coordinator.in_doubt().is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    task.abort();
    // At once, after two seconds, and after four more.
    assert_eq!(started.elapsed().as_secs(), 6);
    assert!(happened(&b.bench));
}

/// A recovery does not touch what is being prepared, nor what belongs to others.
#[test]
fn only_what_is_abandoned_is_rolled_back() {
    let (mut a, b) = (Site::new(), Site::new());
    let coordinator = coordinator(MemoryStore::new(), &a.bench.broker, &b.bench.broker);
    let mut foreign = a.transaction();
    block_on(foreign.prepare(Gid("cc/1/1".into()))).unwrap();
    let mut other = Site::new();
    struct Slow(Box<dyn Transaction>);
    impl Transaction for Slow {
        fn id(&self) -> TxnId {
            self.0.id()
        }
        fn commit(self: Box<Self>) -> Fut<()> {
            self.0.commit()
        }
        fn rollback(self: Box<Self>) -> Fut<()> {
            self.0.rollback()
        }
        fn prepare(&mut self, gid: Gid) -> Fut<()> {
            let prepared = self.0.prepare(gid);
            Box::pin(async move {
                prepared.await?;
                std::future::pending().await
            })
        }
    }
    let own = Coordinator::builder("c").participant("a", Arc::new(other.bench.broker.clone()));
    let own = block_on(own.open(MemoryStore::new())).unwrap();
    let mut committing = Box::pin(own.commit(Branches::new().branch("a", Box::new(Slow(other.transaction())))));
    assert!(committing.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    block_on(own.recover());
    assert_eq!(block_on(other.bench.broker.recover()).unwrap().len(), 1, "it is being prepared");
    drop(committing);
    block_on(own.recover());
    assert_eq!(block_on(other.bench.broker.recover()).unwrap(), [], "nobody will commit it");
    block_on(coordinator.recover());
    assert_eq!(block_on(a.bench.broker.recover()).unwrap(), [Gid("cc/1/1".into())], "another coordinator's");
}

/// Has no prepared state, as AMQP 1.0 and HTTP; answers as it was told.
struct Last(Option<ErrorKind>);

impl Transaction for Last {
    fn id(&self) -> TxnId {
        TxnId(1)
    }

    fn commit(self: Box<Self>) -> Fut<()> {
        Box::pin(async move { self.0.map_or(Ok(()), |kind| Err(Error::new(kind, "commit"))) })
    }

    fn rollback(self: Box<Self>) -> Fut<()> {
        Box::pin(async { Ok(()) })
    }

    fn prepare(&mut self, _gid: Gid) -> Fut<()> {
        Box::pin(async { Err(Error::new(ErrorKind::NotSupported, "prepare")) })
    }
}

#[test]
fn who_cannot_promise_decides_as_the_last() {
    for (answer, happens) in [(None, true), (Some(ErrorKind::RolledBack), false)] {
        let mut site = Site::new();
        let log = MemoryStore::new();
        let coordinator = coordinator(log.clone(), &site.bench.broker, &Bench::new().broker);
        let branches = Branches::new().branch("a", site.transaction()).last(Box::new(Last(answer)));
        let committed = block_on(coordinator.commit(branches));
        assert_eq!(committed.map_err(|error| error.kind()), answer.map_or(Ok(()), Err));
        assert_eq!((happened(&site.bench), coordinator.in_doubt().len(), log.rows()), (happens, 0, 1));
    }
}

/// The answer of the last one is lost: nothing is guessed, before a restart and after it.
#[test]
fn the_lost_answer_of_the_last_is_in_doubt_until_somebody_decides() {
    for commit in [true, false] {
        let mut site = Site::new();
        let (log, other) = (MemoryStore::new(), Bench::new());
        let lost = coordinator(log.clone(), &site.bench.broker, &other.broker);
        let branches =
            Branches::new().branch("a", site.transaction()).last(Box::new(Last(Some(ErrorKind::Disconnected))));
        assert_eq!(block_on(lost.commit(branches)).unwrap_err().kind(), ErrorKind::Disconnected);
        assert_eq!(block_on(lost.recover()), 1);
        drop(lost);
        let bench = site.crash();
        let again = coordinator(log.clone(), &bench.broker, &other.broker);
        assert_eq!(block_on(again.recover()), 1);
        let doubt = again.in_doubt().remove(0);
        assert_eq!((&*doubt.participants, doubt.decided), (&["a".into()][..], false));
        assert_eq!(block_on(bench.broker.recover()).unwrap(), std::slice::from_ref(&doubt.gid), "still prepared");
        block_on(again.decide(&doubt.gid, commit)).unwrap();
        assert_eq!((happened(&bench), again.in_doubt().len(), log.rows()), (commit, 0, 1));
        assert_eq!(block_on(again.decide(&doubt.gid, commit)).unwrap_err().kind(), ErrorKind::NotFound);
    }
}

#[test]
fn branches_are_of_participants_each_one() {
    let (mut a, b) = (Site::new(), Site::new());
    let coordinator = coordinator(MemoryStore::new(), &a.bench.broker, &b.bench.broker);
    let unknown = Branches::new().branch("a", a.transaction()).branch("http", Box::new(Last(None)));
    assert_eq!(block_on(coordinator.commit(unknown)).unwrap_err().kind(), ErrorKind::Invalid);
    assert!(!happened(&a.bench), "and what was to be part is rolled back");
    let (one, two) =
        (block_on(a.client.session.transaction()).unwrap(), block_on(a.client.session.transaction()).unwrap());
    let twice = Branches::new().branch("a", one).branch("a", two);
    assert_eq!(block_on(coordinator.commit(twice)).unwrap_err().kind(), ErrorKind::Invalid);
    let unprepared = Branches::new().branch("a", Box::new(Last(None)));
    let refused = block_on(coordinator.commit(unprepared)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::RolledBack);
    let name = "x".repeat(33);
    assert!(block_on(Coordinator::builder(name).open(MemoryStore::new())).is_err());
}

/// A store that is full has written nothing; one that has failed may have.
#[test]
fn a_decision_that_is_not_written_is_none() {
    for (error, doubt) in [(StoreError::Full, 0), (StoreError::Failed("broken".into()), 1)] {
        let (mut site, log, other) = (Site::new(), MemoryStore::new(), Bench::new());
        let coordinator = coordinator(log.clone(), &site.bench.broker, &other.broker);
        log.refuse(Some(error));
        assert!(block_on(coordinator.commit(Branches::new().branch("a", site.transaction()))).is_err());
        assert_eq!((block_on(coordinator.recover()), happened(&site.bench)), (doubt, false));
        log.refuse(None);
        let bench = site.crash();
        let again = self::coordinator(log.clone(), &bench.broker, &other.broker);
        assert_eq!((block_on(again.recover()), happened(&bench)), (0, false), "the store had nothing of it");
    }
}
