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
    Expect, ListedCopy, LogEntry, LogPage, LogRead, LogState, Op, ReadFrom, ReadId, Store, StoreError, StoredCopy,
    Unit, UnitId,
};

/// What follows a commit, or its failure.
pub(crate) type Then = Box<dyn FnOnce(&Shared, Result<(), StoreError>) + Send>;

/// What follows a read.
pub(crate) type ThenRead = Box<dyn FnOnce(&Shared, Result<Vec<StoredCopy>, StoreError>) + Send>;

/// What follows a page of a log.
pub(crate) type Come = Box<dyn FnOnce(Result<Vec<LogEntry>, StoreError>) + Send>;

pub(crate) struct Commits {
    inner: Mutex<Inner>,
    /// Copies that have come to their end, for which nobody waits: a queue, and the first and last of positions that follow each other.
    retired: Mutex<Vec<(QueueId, u64, u64)>>,
    has_retired: AtomicBool,
    waker: Waker,
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
    /// Somebody is doing the jobs.
    busy: bool,
}

struct Job {
    unit: Option<UnitId>,
    answer: Option<Result<(), StoreError>>,
    then: Then,
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
    pub(crate) fn new(store: Box<dyn Store>, shared: Weak<Shared>) -> Self {
        let inner = Inner {
            store,
            next: 1,
            jobs: VecDeque::new(),
            answers: Vec::new(),
            reads: HashMap::new(),
            next_read: 1,
            log_reads: HashMap::new(),
            next_log_read: 1,
            busy: false,
        };
        let waker = Waker::from(Arc::new(Pump(shared)));
        Self { inner: Mutex::new(inner), retired: Mutex::default(), has_retired: AtomicBool::new(false), waker }
    }

    /// Submits one unit, made while no other can be submitted, so that its positions are in the order of submission.
    pub(crate) fn submit(&self, shared: &Shared, make: impl FnOnce() -> (Vec<Expect>, Vec<Op>), then: Then) {
        let mut inner = lock(&self.inner);
        let (expects, mut ops) = make();
        self.has_retired.store(false, Ordering::Release);
        ops.extend(std::mem::take(&mut *lock(&self.retired)).into_iter().map(retire));
        let id = inner.next;
        inner.next += 1;
        inner.store.submit(&mut vec![Unit { id, expects, ops }]);
        inner.jobs.push_back(Job { unit: Some(id), answer: None, then });
        drop(inner);
        shared.meters.store_units.one();
        self.pump(shared);
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

    /// Copies of a queue, while the broker starts.
    pub(crate) fn list(&self, queue: QueueId, after: u64, max: usize) -> Result<Vec<ListedCopy>, StoreError> {
        lock(&self.inner).store.list(queue, after, max)
    }

    /// Copies with their messages, while the broker starts: it waits for the disk.
    pub(crate) fn fetch(&self, copies: &[CopyId]) -> Result<Vec<StoredCopy>, StoreError> {
        lock(&self.inner).store.fetch(copies)
    }

    /// Does `then` after everything that was submitted before.
    pub(crate) fn after(&self, shared: &Shared, then: Then) {
        lock(&self.inner).jobs.push_back(Job { unit: None, answer: Some(Ok(())), then });
        self.pump(shared);
    }

    /// The copy has come to its end; the store is told with the next unit or [`flush`](Self::flush).
    pub(crate) fn retire_later(&self, copy: CopyId) {
        self.retire_run_later(copy.queue, copy.seq, copy.seq);
    }

    /// The same for positions that follow each other.
    pub(crate) fn retire_run_later(&self, queue: QueueId, first: u64, last: u64) {
        let mut retired = lock(&self.retired);
        match retired.last_mut() {
            Some(run) if run.0 == queue && run.2 + 1 == first => run.2 = last,
            _ => retired.push((queue, first, last)),
        }
        self.has_retired.store(true, Ordering::Release);
    }

    /// Tells the store what nobody waits for.
    pub(crate) fn flush(&self, shared: &Shared) {
        if self.has_retired.load(Ordering::Acquire) {
            self.submit(shared, Default::default, Box::new(|_, _| {}));
        }
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

    fn pump(&self, shared: &Shared) {
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
            drop(inner);
            for (come, page) in pages {
                come(page.entries);
            }
            for job in ready {
                (job.then)(shared, job.answer.unwrap_or(Ok(())));
            }
            read.into_iter().for_each(|(then, found)| then(shared, found));
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

    /// Takes the jobs whose turn has come.
    fn ready(&mut self, waker: &Waker, shared: &Shared) -> Vec<Job> {
        let mut cx = Context::from_waker(waker);
        while let Poll::Ready(1..) = self.store.poll_commits(&mut cx, &mut self.answers) {}
        let mut answers = std::mem::take(&mut self.answers);
        let mut jobs = self.jobs.iter_mut().filter(|job| job.answer.is_none());
        for (id, answer) in answers.drain(..) {
            shared.meters.store_failures.add(u64::from(answer.is_err()));
            let job = jobs.next();
            debug_assert!(job.as_ref().is_some_and(|job| job.unit == Some(id)), "answers come in order");
            if let Some(job) = job {
                job.answer = Some(answer);
            }
        }
        self.answers = answers;
        let count = self.jobs.iter().take_while(|job| job.answer.is_some()).count();
        self.jobs.drain(..count).collect()
    }
}

fn retire((queue, first, last): (QueueId, u64, u64)) -> Op {
    if first == last { Op::Retire { copy: CopyId { queue, seq: first } } } else { Op::RetireRun { queue, first, last } }
}
