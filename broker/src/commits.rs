//! The way to the store and back: jobs that follow a commit, in the order of submission.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Wake, Waker};

use hashbrown::HashMap;
use roadbed_core::{CopyId, QueueId, Time};

use crate::broker::Shared;
use crate::lock;
use crate::store::{
    Expect, ListedCopy, LogEntry, LogPage, LogRead, LogState, Op, ReadFrom, ReadId, Row, RowKey, Store, StoreError,
    StoredCopy, Unit, UnitId,
};
use crate::wakers;

/// What follows a commit, or its failure.
pub(crate) type Then = Box<dyn FnOnce(&Shared, Result<(), StoreError>) + Send>;

/// What follows a read.
pub(crate) type ThenRead = Box<dyn FnOnce(&Shared, Result<Vec<StoredCopy>, StoreError>) + Send>;

/// What follows a page of a log.
pub(crate) type Come = Box<dyn FnOnce(Result<Vec<LogEntry>, StoreError>) + Send>;

/// Which of several units have failed, in order, and why.
pub(crate) type Failed = [(usize, StoreError)];

/// What follows the answers to several units.
type ThenAll = Box<dyn FnOnce(&Shared, &Failed) + Send>;

pub(crate) struct Commits {
    inner: Mutex<Inner>,
    retired: Mutex<Retired>,
    has_retired: AtomicBool,
    /// Operations and bytes that may wait for the store before senders wait, too.
    max: Load,
    waker: Waker,
}

/// What has come to its end, for which nobody waits.
#[derive(Default)]
struct Retired {
    /// Copies: a queue, and the first and last of positions that follow each other.
    runs: Vec<(QueueId, u64, u64)>,
    /// What the store has refused when it was told.
    refused: Vec<Op>,
}

struct Inner {
    store: Box<dyn Store>,
    next: UnitId,
    jobs: VecDeque<Job>,
    answers: Vec<(UnitId, Result<(), StoreError>)>,
    reads: HashMap<ReadId, ThenRead>,
    next_read: ReadId,
    /// Pages of logs that were asked for.
    log_reads: HashMap<u64, Come>,
    next_log_read: u64,
    units: Vec<Unit>,
    /// What waits for the store.
    load: Load,
    /// Senders that wait until less does.
    senders: Vec<Waker>,
    /// Somebody is doing the jobs.
    busy: bool,
}

/// Some units with the same follow-up.
struct Job {
    units: usize,
    /// How many of them are answered.
    answered: usize,
    load: Load,
    failed: Vec<(usize, StoreError)>,
    follow: Follow,
    /// What of the first unit the store is told again if it refuses that one.
    again: Vec<Op>,
}

enum Follow {
    Nothing,
    One(Then),
    All(ThenAll),
}

/// How much of the store's time something takes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Load {
    pub(crate) operations: usize,
    pub(crate) bytes: usize,
}

/// Units that are submitted together.
#[derive(Debug)]
pub(crate) struct Units<'a> {
    next: &'a mut UnitId,
    units: &'a mut Vec<Unit>,
}

impl Units<'_> {
    /// A unit that somebody waits for.
    pub(crate) fn push(&mut self, ops: Vec<Op>) {
        self.units.push(Unit { ops, ..Unit::new(*self.next) });
        *self.next += 1;
    }
}

/// Wakes by doing the jobs, in the thread that wakes.
struct Pump(Weak<Shared>);

impl Wake for Pump {
    fn wake(self: Arc<Self>) {
        if let Some(shared) = self.0.upgrade() {
            shared.commits.pump(&shared);
        }
    }
}

impl fmt::Debug for Commits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Commits")
    }
}

impl Commits {
    pub(crate) fn new(store: Box<dyn Store>, max: Load, shared: Weak<Shared>) -> Self {
        let inner = Inner {
            store,
            next: 1,
            jobs: VecDeque::new(),
            answers: Vec::new(),
            reads: HashMap::new(),
            next_read: 1,
            log_reads: HashMap::new(),
            next_log_read: 1,
            units: Vec::new(),
            load: Load::default(),
            senders: Vec::new(),
            busy: false,
        };
        let waker = Waker::from(Arc::new(Pump(shared)));
        Self { inner: Mutex::new(inner), retired: Mutex::default(), has_retired: AtomicBool::new(false), max, waker }
    }

    /// Submits one unit, made while no other can be submitted, so that its positions are in the order of submission.
    pub(crate) fn submit(&self, shared: &Shared, make: impl FnOnce() -> (Vec<Expect>, Vec<Op>), then: Then) {
        self.submit_under_lock(shared, make, then);
        self.pump(shared);
    }

    /// The same by who has a lock that others may want who follow a commit: they are done by [`pump`](Self::pump), which comes when it is free.
    pub(crate) fn submit_under_lock(&self, shared: &Shared, make: impl FnOnce() -> (Vec<Expect>, Vec<Op>), then: Then) {
        let mut inner = lock(&self.inner);
        let (expects, mut ops) = make();
        inner.tell_numbers(shared);
        let again = self.take_retired(&mut ops);
        inner.submit_one(shared, |id| Unit { id, expects, ops, awaited: true }, Follow::One(then), again);
    }

    /// Reads copies with their messages; `then` may follow before this returns.
    pub(crate) fn read(&self, shared: &Shared, copies: Vec<CopyId>, then: ThenRead) {
        let mut inner = lock(&self.inner);
        let id = inner.next_read;
        inner.next_read += 1;
        inner.reads.insert(id, then);
        inner.store.read(id, copies);
        drop(inner);
        shared.meters.page_reads.one();
        self.pump(shared);
    }

    /// Submits what nobody waits for.
    pub(crate) fn submit_unawaited(&self, shared: &Shared, ops: Vec<Op>) {
        self.submit_made(shared, || ops);
    }

    /// The same, made while no other can be submitted.
    pub(crate) fn submit_made(&self, shared: &Shared, make: impl FnOnce() -> Vec<Op>) {
        self.submit_made_under_lock(shared, make);
        self.pump(shared);
    }

    /// The same by who has a lock; see [`submit_under_lock`](Self::submit_under_lock).
    pub(crate) fn submit_made_under_lock(&self, shared: &Shared, make: impl FnOnce() -> Vec<Op>) {
        let mut inner = lock(&self.inner);
        let mut ops = make();
        inner.tell_numbers(shared);
        self.add_retired(&mut ops);
        if !ops.is_empty() {
            let again = ops.iter().filter(|op| is_end(op)).cloned().collect();
            inner.submit_one(
                shared,
                |id| Unit { id, expects: Vec::new(), ops, awaited: false },
                Follow::Nothing,
                again,
            );
        }
    }

    /// Submits the units that `make` makes of `what`, while no other can be submitted; none is right, too. `then` follows when all are answered.
    pub(crate) fn submit_all<T: Send + 'static>(
        &self,
        shared: &Shared,
        mut what: T,
        make: impl FnOnce(&mut T, &mut Units<'_>),
        then: impl FnOnce(&Shared, T, &Failed) + Send + 'static,
    ) {
        let mut inner = lock(&self.inner);
        let Inner { next, units, .. } = &mut *inner;
        // A number is left for what the store must know before them.
        *next += 1;
        make(&mut what, &mut Units { next, units });
        let again = units.first_mut().map(|first| self.take_retired(&mut first.ops)).unwrap_or_default();
        inner.tell_numbers(shared);
        inner.submit_units(shared, Follow::All(Box::new(move |shared, failed| then(shared, what, failed))), again);
        drop(inner);
        self.pump(shared);
    }

    /// Copies of a queue, while the broker starts.
    pub(crate) fn list(&self, queue: QueueId, after: u64, max: usize) -> Result<Vec<ListedCopy>, StoreError> {
        lock(&self.inner).store.list(queue, after, max)
    }

    /// Copies with their messages, while the broker starts: it waits for the disk.
    pub(crate) fn fetch(&self, copies: &[CopyId]) -> Result<Vec<StoredCopy>, StoreError> {
        lock(&self.inner).store.fetch(copies)
    }

    /// The copy has come to its end; the store is told with the next unit or [`flush`](Self::flush).
    pub(crate) fn retire_later(&self, copy: CopyId) {
        self.retire_run_later(copy.queue, copy.seq, copy.seq);
    }

    /// The same for positions that follow each other.
    pub(crate) fn retire_run_later(&self, queue: QueueId, first: u64, last: u64) {
        let runs = &mut lock(&self.retired).runs;
        match runs.last_mut() {
            Some(run) if run.0 == queue && run.2 + 1 == first => run.2 = last,
            _ => runs.push((queue, first, last)),
        }
        self.has_retired.store(true, Ordering::Release);
    }

    /// Tells the store what nobody waits for.
    pub(crate) fn flush(&self, shared: &Shared) {
        if self.has_retired.load(Ordering::Acquire) || shared.positions.is_due() {
            self.submit_unawaited(shared, Vec::new());
        }
    }

    /// `Pending` while more waits for the store than may; `Ready` is for a batch, however large.
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = lock(&self.inner);
        if inner.load.operations < self.max.operations && inner.load.bytes < self.max.bytes {
            return Poll::Ready(());
        }
        wakers::join(&mut inner.senders, cx.waker());
        Poll::Pending
    }

    /// Adds what has come to its end to a unit, which may be refused: it is returned, too, to be told again then.
    fn take_retired(&self, ops: &mut Vec<Op>) -> Vec<Op> {
        let own = ops.len();
        self.add_retired(ops);
        ops[own..].to_vec()
    }

    /// Adds what has come to its end to a unit.
    fn add_retired(&self, ops: &mut Vec<Op>) {
        if self.has_retired.swap(false, Ordering::AcqRel) {
            let Retired { runs, refused } = std::mem::take(&mut *lock(&self.retired));
            ops.extend(refused.into_iter().chain(runs.into_iter().map(retire)));
        }
    }

    /// A unit with these ends was refused. What was told with something else is told alone, which needs no room; what was alone waits for the next unit.
    fn retire_again(&self, shared: &Shared, ops: Vec<Op>, alone: bool) {
        if !alone {
            return self.submit_unawaited(shared, ops);
        }
        lock(&self.retired).refused.extend(ops);
        self.has_retired.store(true, Ordering::Release);
    }

    /// Reads a page of a partition: at most so many messages, and not much more than so many bytes.
    pub(crate) fn read_log(
        &self,
        shared: &Shared,
        partition: QueueId,
        from: ReadFrom,
        (messages_max, bytes_max): (usize, usize),
        come: Come,
    ) {
        let mut inner = lock(&self.inner);
        let id = inner.next_log_read;
        inner.next_log_read += 1;
        inner.log_reads.insert(id, come);
        inner.store.read_log(LogRead { id, partition, from, messages_max, bytes_max });
        drop(inner);
        self.pump(shared);
    }

    /// Where a partition stands.
    pub(crate) fn log_state(&self, partition: QueueId) -> LogState {
        lock(&self.inner).store.log_state(partition)
    }

    /// The oldest position of a partition that is to be kept.
    pub(crate) fn log_cut(&self, partition: QueueId, bytes_max: u64, oldest: Time) -> u64 {
        lock(&self.inner).store.log_cut(partition, bytes_max, oldest)
    }

    /// Does the jobs whose turn has come.
    pub(crate) fn pump(&self, shared: &Shared) {
        let mut inner = lock(&self.inner);
        if inner.busy {
            return;
        }
        inner.busy = true;
        loop {
            let ready = inner.ready(&self.waker, shared);
            let (read, pages) = (inner.read(&self.waker, shared), inner.pages());
            if ready.is_empty() && read.is_empty() && pages.is_empty() {
                inner.busy = false;
                return;
            }
            let room = inner.load.operations < self.max.operations && inner.load.bytes < self.max.bytes;
            let senders = if room { std::mem::take(&mut inner.senders) } else { Vec::new() };
            drop(inner);
            for (come, page) in pages {
                come(page.entries);
            }
            ready.into_iter().for_each(|job| job.follow(shared));
            read.into_iter().for_each(|(then, found)| then(shared, found));
            senders.into_iter().for_each(Waker::wake);
            inner = lock(&self.inner);
        }
    }
}

impl Inner {
    /// Takes what was read.
    fn read(&mut self, waker: &Waker, shared: &Shared) -> Vec<(ThenRead, Result<Vec<StoredCopy>, StoreError>)> {
        if self.reads.is_empty() {
            return Vec::new();
        }
        let (mut cx, mut answers) = (Context::from_waker(waker), Vec::new());
        while let Poll::Ready(1..) = self.store.poll_reads(&mut cx, &mut answers) {}
        for (_, found) in &answers {
            match found {
                Ok(copies) => shared.meters.page_messages_read.add(copies.len() as u64),
                Err(_) => shared.meters.page_failures.one(),
            }
        }
        answers.into_iter().filter_map(|(id, found)| Some((self.reads.remove(&id)?, found))).collect()
    }

    /// Takes the pages that have come, with who waits for them.
    fn pages(&mut self) -> Vec<(Come, LogPage)> {
        if self.log_reads.is_empty() {
            return Vec::new();
        }
        let mut pages = Vec::new();
        self.store.poll_pages(&mut pages);
        pages.into_iter().filter_map(|page| Some((self.log_reads.remove(&page.id)?, page))).collect()
    }

    /// Tells the store of the broker's own numbers if they are due: before the units that are about to be submitted, and alone, so that it knows them
    /// whatever becomes of the others.
    fn tell_numbers(&mut self, shared: &Shared) {
        let Some(positions) = shared.positions.due() else { return };
        let behind = std::mem::take(&mut self.units);
        let id = behind.first().map_or(self.next, |first| first.id - 1);
        self.next = self.next.max(id + 1);
        let ops = vec![Op::Put(RowKey::Broker, Row::Broker { epoch: shared.boot_epoch, positions })];
        self.units.push(Unit { id, expects: Vec::new(), ops, awaited: false });
        self.submit_units(shared, Follow::Nothing, Vec::new());
        self.units = behind;
    }

    fn submit_one(&mut self, shared: &Shared, unit: impl FnOnce(UnitId) -> Unit, follow: Follow, again: Vec<Op>) {
        self.units.push(unit(self.next));
        self.next += 1;
        self.submit_units(shared, follow, again);
    }

    /// Submits what is in `units` as one job.
    fn submit_units(&mut self, shared: &Shared, follow: Follow, again: Vec<Op>) {
        shared.meters.store_units.add(self.units.len() as u64);
        self.units.iter_mut().for_each(|unit| join_runs(&mut unit.ops));
        let load = Load::of(&self.units);
        let job = Job { units: self.units.len(), answered: 0, load, failed: Vec::new(), follow, again };
        (self.load.operations, self.load.bytes) =
            (self.load.operations + load.operations, self.load.bytes + load.bytes);
        if !self.units.is_empty() {
            self.store.submit(&mut self.units);
        }
        self.jobs.push_back(job);
    }

    /// Takes the jobs whose turn has come.
    fn ready(&mut self, waker: &Waker, shared: &Shared) -> Vec<Job> {
        let mut cx = Context::from_waker(waker);
        while let Poll::Ready(1..) = self.store.poll_commits(&mut cx, &mut self.answers) {}
        let mut count = 0;
        let mut answers = self.answers.drain(..);
        for job in &mut self.jobs {
            for (_, answer) in answers.by_ref().take(job.units - job.answered) {
                if let Err(error) = answer {
                    shared.meters.store_failures.one();
                    job.failed.push((job.answered, error));
                }
                job.answered += 1;
            }
            if job.answered < job.units {
                break;
            }
            count += 1;
        }
        drop(answers);
        let ready: Vec<Job> = self.jobs.drain(..count).collect();
        for Job { load, .. } in &ready {
            self.load.operations -= load.operations;
            self.load.bytes -= load.bytes;
        }
        ready
    }
}

impl Job {
    fn follow(mut self, shared: &Shared) {
        // A store that has failed is told nothing any more.
        let refused =
            self.failed.first().is_some_and(|(at, error)| *at == 0 && !matches!(error, StoreError::Failed(_)));
        if refused && !self.again.is_empty() {
            shared.commits.retire_again(shared, self.again, matches!(self.follow, Follow::Nothing));
        }
        match self.follow {
            Follow::Nothing => {}
            Follow::One(then) => then(shared, self.failed.pop().map_or(Ok(()), |(_, error)| Err(error))),
            Follow::All(then) => then(shared, &self.failed),
        }
    }
}

impl Load {
    fn of(units: &[Unit]) -> Self {
        let mut load = Self::default();
        for op in units.iter().flat_map(|unit| &unit.ops) {
            load.operations += 1;
            if let Op::Enqueue { message, .. } | Op::Append { message, .. } = op {
                load.bytes += message.payload().len();
            }
        }
        load
    }
}

/// Whether an operation ends something for good: it may be told again, behind whatever.
const fn is_end(op: &Op) -> bool {
    matches!(op, Op::Retire { .. } | Op::RetireRun { .. } | Op::RetireQueue { .. } | Op::DropLog { .. })
}

/// Copies of one queue that come to their end one after the other, as they mostly do, are one operation.
fn join_runs(ops: &mut Vec<Op>) {
    ops.dedup_by(|next, before| {
        let Op::Retire { copy: CopyId { queue, seq } } = *next else { return false };
        let first = match *before {
            Op::Retire { copy } if copy.queue == queue && copy.seq + 1 == seq => copy.seq,
            Op::RetireRun { queue: same, first, last } if same == queue && last + 1 == seq => first,
            _ => return false,
        };
        *before = Op::RetireRun { queue, first, last: seq };
        true
    });
}

fn retire((queue, first, last): (QueueId, u64, u64)) -> Op {
    if first == last { Op::Retire { copy: CopyId { queue, seq: first } } } else { Op::RetireRun { queue, first, last } }
}
