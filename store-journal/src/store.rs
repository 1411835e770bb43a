use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use roadbed_broker::{
    Caps, Level, ListedCopy, LogPage, LogRead, LogState, LogStore, ReadAnswer, ReadId, Recovery, Revision, Row, RowKey,
    Store, StoreError, StoredCopy, Unit, UnitId,
};
use roadbed_core::{CopyId, Gid, QueueId, Time};

use crate::codec::{CodecError, KeptCopy, Take, key_bytes, take_prepared, take_row, take_row_key};
use crate::config::{JournalConfig, SyncPolicy};
use crate::error::{JournalError, in_words};
use crate::fs::{Disk, Fs, Lock};
use crate::index::{Files, Found, Index, Spot};
use crate::open::open;
use crate::reader;
use crate::worker::Worker;

/// A store in a folder of files. See the crate's documentation.
///
/// Dropped, it commits what was submitted, ends its last segment, and lets go of the folder.
#[derive(Debug)]
pub struct JournalStore {
    shared: Arc<Shared>,
    config: JournalConfig,
    threads: Vec<JoinHandle<()>>,
    /// Who writes, if there is no thread for it.
    #[cfg(feature = "simulation")]
    stepped: Option<Worker>,
}

/// What the store and its thread share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) index: Mutex<Index>,
    pub(crate) desk: Mutex<Desk>,
    /// The thread that writes waits here for work.
    pub(crate) work: Condvar,
    /// The thread that reads waits here for work.
    pub(crate) asked: Condvar,
    /// Who waits for its end waits here.
    pub(crate) ended: Condvar,
}

/// What goes to the threads, and what comes back.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    pub(crate) submitted: Vec<Unit>,
    /// How many of them somebody waits for.
    pub(crate) awaited: usize,
    /// The thread is to be woken when as many are awaited.
    pub(crate) wanted: usize,
    /// The thread will soon look by itself for what nobody waits for.
    pub(crate) dozing: bool,
    pub(crate) answers: Vec<(UnitId, Result<(), StoreError>)>,
    pub(crate) reads: VecDeque<(ReadId, Vec<CopyId>)>,
    pub(crate) read: Vec<ReadAnswer>,
    pub(crate) log_reads: VecDeque<LogRead>,
    pub(crate) pages: Vec<LogPage>,
    pub(crate) waker: Option<Waker>,
    pub(crate) closing: bool,
    /// The store itself is gone: nobody reads any more.
    pub(crate) dropped: bool,
    pub(crate) ended: bool,
    /// Keeps everybody else out until the journal has ended.
    pub(crate) lock: Option<Lock>,
    pub(crate) stats: Counts,
    /// Bodies that were read for [`Store::read`], and their bytes.
    pub(crate) bodies_read: (u64, u64),
    /// Why nothing is stored any more.
    pub(crate) failed: Option<String>,
    /// Who wants to know when that happens.
    pub(crate) watching: Vec<Waker>,
}

/// What the thread counts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) units: u64,
    pub(crate) syncs: u64,
    pub(crate) written_bytes: u64,
    pub(crate) cleaned_segments: u64,
    pub(crate) refused: u64,
    pub(crate) sync_time: Duration,
    pub(crate) full: bool,
}

/// What a journal is like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct JournalStats {
    /// Segments on the disk.
    pub segments: u64,
    /// What they have been filled with, in bytes.
    pub bytes: u64,
    /// What of it is kept, in bytes.
    pub live_bytes: u64,
    /// Copies that are kept.
    pub copies: u64,
    /// Rows that are kept.
    pub rows: u64,
    /// Messages of logs that are kept.
    pub log_messages: u64,
    /// Units that were committed since it was opened.
    pub units: u64,
    /// How often it has synced since.
    pub syncs: u64,
    /// What it has written since, in bytes.
    pub written_bytes: u64,
    /// Segments that it has cleaned since.
    pub cleaned_segments: u64,
    /// Units that it has refused since, for want of room.
    pub refused: u64,
    /// How long its syncs have taken since.
    pub sync_time: Duration,
    /// It takes nothing new now, for want of room.
    pub full: bool,
    /// Messages that it has read back since.
    pub reads: u64,
    /// What it has read back since, in bytes.
    pub read_bytes: u64,
}

impl JournalStore {
    /// Opens the journal in the folder at `path`, or begins one.
    ///
    /// # Errors
    /// [`JournalError`]: another process has it, it is damaged, or it cannot be read.
    pub fn open(path: impl Into<PathBuf>, config: JournalConfig) -> Result<Self, JournalError> {
        let path = path.into();
        if path.exists() && !path.is_dir() {
            return Err(JournalError::NotAFolder(path));
        }
        let disk = Disk::new(&path).map_err(JournalError::io(format!("making {}", path.display())))?;
        Self::open_on(Arc::new(disk), config)
    }

    /// Opens the journal on `fs`.
    ///
    /// # Errors
    /// See [`open`](Self::open).
    pub fn open_on(fs: Arc<dyn Fs>, config: JournalConfig) -> Result<Self, JournalError> {
        let (mut store, worker) = Self::idle(fs, config)?;
        let (writing, reading) = (store.shared.clone(), store.shared.clone());
        let threads = [
            spawn("roadbed-journal", move || worker.run(&writing)),
            spawn("roadbed-reader", move || reader::run(&reading)),
        ];
        for thread in threads {
            store.threads.push(thread.map_err(JournalError::io("starting a thread"))?);
        }
        Ok(store)
    }

    /// Opens the journal on `fs` without threads: [`step`](Self::step) does their work. For simulations, in which everything happens when it
    /// is said to.
    ///
    /// # Errors
    /// See [`open`](Self::open).
    #[cfg(feature = "simulation")]
    pub fn open_stepped(fs: Arc<dyn Fs>, config: JournalConfig) -> Result<Self, JournalError> {
        let (mut store, worker) = Self::idle(fs, config)?;
        store.stepped = Some(worker);
        Ok(store)
    }

    /// Commits what was submitted, and cleans a little: then the answers are there. Only for a journal that was
    /// [opened](Self::open_stepped) for it. Dropped, such a journal ends as by a power cut.
    #[cfg(feature = "simulation")]
    pub fn step(&mut self) {
        if let Some(worker) = &mut self.stepped {
            worker.step(&self.shared);
        }
    }

    /// A journal that was opened, and who is to write it.
    fn idle(fs: Arc<dyn Fs>, config: JournalConfig) -> Result<(Self, Worker), JournalError> {
        let lock = fs.lock().map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => JournalError::Locked,
            _ => JournalError::io("locking the folder")(error),
        })?;
        let begun = Instant::now();
        let opened = open(&*fs)?;
        log_opened(&opened.index, begun.elapsed());
        let worker = Worker::new(fs, config.clone(), opened.next, opened.lsn);
        let shared = Arc::new(Shared {
            index: Mutex::new(opened.index),
            desk: Mutex::new(Desk { lock: Some(lock), ..Desk::default() }),
            work: Condvar::new(),
            asked: Condvar::new(),
            ended: Condvar::new(),
        });
        let store = Self {
            shared,
            config,
            threads: Vec::new(),
            #[cfg(feature = "simulation")]
            stepped: None,
        };
        Ok((store, worker))
    }

    /// A handle that tells how the journal is, wherever the store itself is.
    pub fn monitor(&self) -> JournalMonitor {
        JournalMonitor(self.shared.clone())
    }

    /// What it is like now.
    pub fn stats(&self) -> JournalStats {
        self.shared.stats()
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.into()).spawn(work)
}

/// Tells how a journal is.
#[derive(Clone, Debug)]
pub struct JournalMonitor(Arc<Shared>);

impl JournalMonitor {
    /// What it is like now.
    pub fn stats(&self) -> JournalStats {
        self.0.stats()
    }

    /// Commits what was submitted, syncs it, and ends the last segment, as dropping the store does: for a process that ends without dropping
    /// everything. Returns when that is done; nothing is stored any more.
    pub fn end(&self) {
        let mut desk = self.0.desk();
        desk.closing = true;
        self.0.work.notify_all();
        while !desk.ended {
            desk = self.0.ended.wait(desk).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Resolves when the journal has failed, to why: nothing is stored any more, and the process should end and be started again. Cancel-safe.
    pub async fn failed(&self) -> String {
        core::future::poll_fn(|cx| {
            let mut desk = self.0.desk();
            if let Some(why) = &desk.failed {
                return Poll::Ready(why.clone());
            }
            if !desk.watching.iter().any(|waker| waker.will_wake(cx.waker())) {
                desk.watching.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await
    }
}

impl Desk {
    fn register(&mut self, cx: &Context<'_>) {
        match &mut self.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
    }
}

impl Shared {
    pub(crate) fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stats(&self) -> JournalStats {
        let desk = self.desk();
        let (counts, (reads, read_bytes)) = (desk.stats, desk.bodies_read);
        drop(desk);
        let index = self.index();
        JournalStats {
            segments: index.segments().count() as u64,
            bytes: index.bytes(),
            live_bytes: index.live(),
            copies: index.copies() as u64,
            rows: index.rows().count() as u64,
            log_messages: index.logs().messages(),
            units: counts.units,
            syncs: counts.syncs,
            written_bytes: counts.written_bytes,
            cleaned_segments: counts.cleaned_segments,
            refused: counts.refused,
            sync_time: counts.sync_time,
            full: counts.full,
            reads,
            read_bytes,
        }
    }
}

fn log_opened(index: &Index, took: Duration) {
    let (segments, bytes, copies, rows) =
        (index.segments().count(), index.bytes(), index.copies(), index.rows().count());
    let millis = took.as_millis() as u64;
    tracing::info!(segments, bytes, copies, rows, millis, "the journal is open");
}

fn read<T>(files: &Files, spot: Spot, take: impl FnOnce(&mut Take) -> Result<T, CodecError>) -> Result<T, StoreError> {
    let body = files.body(spot).map_err(|error| StoreError::Failed(in_words(&error)))?;
    take(&mut Take::new(body)).map_err(|error| StoreError::Failed(format!("a body cannot be read: {error}")))
}

fn listed(found: Found) -> ListedCopy {
    let Found { at, facts, kept: KeptCopy { copy, count, attempt, excluded, held }, .. } = found;
    ListedCopy { copy, facts, at, count, attempt, excluded, held }
}

impl Store for JournalStore {
    fn caps(&self) -> Caps {
        let level = if self.config.sync == SyncPolicy::Always { Level::Fsynced } else { Level::Volatile };
        Caps::new(level, self.config.message_bytes_max)
    }

    fn submit(&mut self, units: &mut Vec<Unit>) {
        let mut desk = self.shared.desk();
        let (idle, before) = (desk.submitted.is_empty(), desk.awaited);
        desk.awaited += units.iter().filter(|unit| unit.awaited).count();
        desk.submitted.append(units);
        let fresh = desk.awaited > 0 && (before == 0 || (before < desk.wanted && desk.awaited >= desk.wanted));
        let awake = desk.dozing;
        drop(desk);
        if fresh || (idle && !awake) {
            self.shared.work.notify_one();
        }
    }

    fn poll_commits(&mut self, cx: &mut Context<'_>, into: &mut Vec<(UnitId, Result<(), StoreError>)>) -> Poll<usize> {
        let mut desk = self.shared.desk();
        let count = desk.answers.len();
        into.append(&mut desk.answers);
        if count > 0 {
            return Poll::Ready(count);
        }
        desk.register(cx);
        Poll::Pending
    }

    fn read(&mut self, id: ReadId, copies: Vec<CopyId>) {
        self.shared.desk().reads.push_back((id, copies));
        self.shared.asked.notify_one();
        #[cfg(feature = "simulation")]
        if self.stepped.is_some() {
            reader::step(&self.shared);
        }
    }

    fn poll_reads(&mut self, cx: &mut Context<'_>, into: &mut Vec<ReadAnswer>) -> Poll<usize> {
        let mut desk = self.shared.desk();
        let count = desk.read.len();
        into.append(&mut desk.read);
        if count > 0 {
            return Poll::Ready(count);
        }
        desk.register(cx);
        Poll::Pending
    }

    fn list(&mut self, queue: QueueId, after: u64, max: usize) -> Result<Vec<ListedCopy>, StoreError> {
        Ok(self.shared.index().list(queue, after).take(max).map(listed).collect())
    }

    fn recover(&mut self) -> Result<Recovery, StoreError> {
        let index = self.shared.index();
        let rows: Vec<_> = index.rows().map(|(key, slot)| (key.clone(), slot.spot)).collect();
        let queues = index.queues();
        let prepared: Vec<_> = index.prepared().map(|(gid, spot)| (gid.clone(), spot)).collect();
        let files = index.files();
        drop(index);
        let mut recovery = Recovery { queues, ..Recovery::default() };
        for (key, spot) in rows {
            let key = take_row_key(&mut Take::new(key)).map_err(|error| StoreError::Failed(error.to_string()))?;
            recovery.rows.push((key, read(&files, spot, take_row)?));
        }
        recovery.rows.sort_by(|(one, _), (other, _)| one.cmp(other));
        for (gid, spot) in prepared {
            recovery.prepared.push((gid, read(&files, spot, take_prepared)?));
        }
        Ok(recovery)
    }

    fn fetch(&mut self, copies: &[CopyId]) -> Result<Vec<StoredCopy>, StoreError> {
        reader::read(&self.shared, copies)
    }

    fn get(&mut self, key: &RowKey) -> Result<Option<(Row, Revision)>, StoreError> {
        let index = self.shared.index();
        let (slot, files) = (index.row(&key_bytes(key)), index.files());
        drop(index);
        let Some(slot) = slot else { return Ok(None) };
        Ok(Some((read(&files, slot.spot, take_row)?, slot.revision)))
    }

    fn in_doubt(&mut self) -> Result<Vec<Gid>, StoreError> {
        Ok(self.shared.index().prepared().map(|(gid, _)| gid.clone()).collect())
    }
}

impl LogStore for JournalStore {
    fn read_log(&mut self, read: LogRead) {
        self.shared.desk().log_reads.push_back(read);
        self.shared.asked.notify_one();
        #[cfg(feature = "simulation")]
        if self.stepped.is_some() {
            reader::step(&self.shared);
        }
    }

    fn poll_pages(&mut self, into: &mut Vec<LogPage>) {
        into.append(&mut self.shared.desk().pages);
    }

    fn log_state(&mut self, partition: QueueId) -> LogState {
        self.shared.index().logs().state(partition)
    }

    fn log_cut(&mut self, partition: QueueId, bytes_max: u64, oldest: Time) -> u64 {
        self.shared.index().logs().cut(partition, bytes_max, oldest)
    }
}

impl Drop for JournalStore {
    fn drop(&mut self) {
        let mut desk = self.shared.desk();
        (desk.closing, desk.dropped) = (true, true);
        drop(desk);
        self.shared.work.notify_one();
        self.shared.asked.notify_one();
        let me = thread::current().id();
        if self.threads.iter().any(|thread| thread.thread().id() == me) {
            // It was a thread of the store that let go of it last: it ends by itself, and the folder is free then.
            return;
        }
        for thread in self.threads.drain(..) {
            // A thread that has panicked has nothing more to write.
            let _ = thread.join();
        }
        self.shared.desk().lock = None;
    }
}
