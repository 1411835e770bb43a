//! The journal on a simulated disk, in virtual time: what was not synced when the power goes is lost, or not, or in part.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use roadbed_broker::{
    Caps, ListedCopy, LogPage, LogRead, LogState, LogStore, ReadAnswer, ReadId, Recovery, Revision, Row, RowKey, Store,
    StoreError, StoredCopy, Unit, UnitId,
};
use roadbed_conformance::simulation::Random;
use roadbed_core::{CopyId, Gid, QueueId, Time};
use roadbed_store_journal::simulation::{Kept, SimFs};
use roadbed_store_journal::{JournalConfig, JournalError, JournalStore};
use tokio::time::Instant;

type Answer = (UnitId, Result<(), StoreError>);

/// How long a write takes at most.
const WRITE_US: u64 = 4000;

/// A store on such a disk. Clones share it.
#[derive(Clone)]
pub(crate) struct Disk(Arc<Mutex<State>>);

struct State {
    journal: JournalStore,
    fs: SimFs,
    /// Nobody hears from a disk without it.
    power: bool,
    /// Says that it has synced what it has not.
    lies: bool,
    random: Random,
    writing: VecDeque<(Instant, Unit)>,
    reading: VecDeque<(Instant, ReadId, Vec<CopyId>)>,
    /// The time at which the write that was begun last is done.
    done: Option<Instant>,
    promised: Vec<Answer>,
    waker: Option<Waker>,
    /// Whether a sync has failed.
    failed: bool,
}

/// How small a journal is, so that segments end, and are cleaned and removed, all the time.
fn config() -> JournalConfig {
    JournalConfig::default().segment_bytes(16 << 10).garbage_bytes(32 << 10).free_min(0, 0)
}

impl Disk {
    /// The journal on this file system.
    pub(crate) fn open(fs: SimFs, random: Random, lies: bool) -> Result<Self, JournalError> {
        let journal = JournalStore::open_stepped(Arc::new(fs.clone()), config())?;
        Ok(Self(Arc::new(Mutex::new(State {
            journal,
            fs,
            power: true,
            lies,
            random,
            writing: VecDeque::new(),
            reading: VecDeque::new(),
            done: None,
            promised: Vec::new(),
            waker: None,
            failed: false,
        }))))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file system, for faults.
    pub(crate) fn fs(&self) -> SimFs {
        self.state().fs.clone()
    }

    /// Whether a sync has failed: then nothing is heard any more.
    pub(crate) fn has_failed(&self) -> bool {
        self.state().failed
    }

    /// Cuts the power amid the writes that are under way: what is found afterwards.
    pub(crate) fn cut(&self, kept: Kept) -> SimFs {
        let mut state = self.state();
        state.power = false;
        let (operations, seed) = (state.random.below(7), state.random.next());
        if state.lies {
            // What it has promised and not yet written is lost.
            return state.fs.power_cut(Kept::None, || 0);
        }
        state.fs.cut_after(operations, kept, seed);
        let mut units: Vec<Unit> = state.writing.drain(..).map(|(_, unit)| unit).collect();
        state.journal.submit(&mut units);
        state.journal.step();
        state.fs.take_cut().expect("a cut was asked for")
    }

    /// Wakes who waits when what was begun now is done.
    fn done_at(&self, at: Instant) {
        let disk = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep_until(at).await;
            let waker = disk.state().waker.take();
            waker.into_iter().for_each(Waker::wake);
        });
    }
}

impl State {
    /// When what is begun now is done.
    fn later(&mut self) -> Instant {
        let now = Instant::now();
        let begun = self.done.map_or(now, |done| done.max(now));
        let at = begun + Duration::from_micros(self.random.below(WRITE_US));
        self.done = Some(at);
        at
    }

    fn register(&mut self, cx: &Context<'_>) {
        self.waker = Some(cx.waker().clone());
    }

    /// Writes what is due.
    fn write(&mut self, into: &mut Vec<Answer>) {
        let now = Instant::now();
        let due = self.writing.iter().take_while(|(at, _)| *at <= now).count();
        if due == 0 {
            return;
        }
        let mut units: Vec<Unit> = self.writing.drain(..due).map(|(_, unit)| unit).collect();
        self.journal.submit(&mut units);
        self.journal.step();
        let mut answers = Vec::new();
        let _all = self.journal.poll_commits(&mut Context::from_waker(Waker::noop()), &mut answers);
        self.failed |= answers.iter().any(|(_, answer)| matches!(answer, Err(StoreError::Failed(_))));
        if self.failed {
            // The process ends, and says nothing more.
            self.power = false;
            return;
        }
        if !self.lies {
            into.append(&mut answers);
        }
    }
}

impl Store for Disk {
    fn caps(&self) -> Caps {
        self.state().journal.caps()
    }

    fn submit(&mut self, units: &mut Vec<Unit>) {
        let at = {
            let mut state = self.state();
            let at = state.later();
            if state.lies {
                state.promised.extend(units.iter().map(|unit| (unit.id, Ok(()))));
            }
            state.writing.extend(units.drain(..).map(|unit| (at, unit)));
            at
        };
        self.done_at(at);
    }

    fn poll_commits(&mut self, cx: &mut Context<'_>, into: &mut Vec<Answer>) -> Poll<usize> {
        let mut state = self.state();
        state.register(cx);
        let before = into.len();
        if state.power {
            state.write(into);
            into.append(&mut state.promised);
        }
        if into.len() > before { Poll::Ready(into.len() - before) } else { Poll::Pending }
    }

    fn read(&mut self, id: ReadId, copies: Vec<CopyId>) {
        let at = {
            let mut state = self.state();
            let at = state.later();
            state.reading.push_back((at, id, copies));
            at
        };
        self.done_at(at);
    }

    fn poll_reads(&mut self, cx: &mut Context<'_>, into: &mut Vec<ReadAnswer>) -> Poll<usize> {
        let mut state = self.state();
        state.register(cx);
        let (now, before) = (Instant::now(), into.len());
        while state.power && state.reading.front().is_some_and(|(at, ..)| *at <= now) {
            let Some((_, id, copies)) = state.reading.pop_front() else { break };
            into.push((id, state.journal.fetch(&copies)));
        }
        if into.len() > before { Poll::Ready(into.len() - before) } else { Poll::Pending }
    }

    fn list(&mut self, queue: QueueId, after: u64, max: usize) -> Result<Vec<ListedCopy>, StoreError> {
        self.state().journal.list(queue, after, max)
    }

    fn recover(&mut self) -> Result<Recovery, StoreError> {
        self.state().journal.recover()
    }

    fn fetch(&mut self, copies: &[CopyId]) -> Result<Vec<StoredCopy>, StoreError> {
        self.state().journal.fetch(copies)
    }

    fn get(&mut self, key: &RowKey) -> Result<Option<(Row, Revision)>, StoreError> {
        self.state().journal.get(key)
    }

    fn in_doubt(&mut self) -> Result<Vec<Gid>, StoreError> {
        self.state().journal.in_doubt()
    }
}

impl LogStore for Disk {
    fn read_log(&mut self, read: LogRead) {
        self.state().journal.read_log(read);
    }

    fn poll_pages(&mut self, into: &mut Vec<LogPage>) {
        self.state().journal.poll_pages(into);
    }

    fn log_state(&mut self, partition: QueueId) -> LogState {
        self.state().journal.log_state(partition)
    }

    fn log_cut(&mut self, partition: QueueId, bytes_max: u64, oldest: Time) -> u64 {
        self.state().journal.log_cut(partition, bytes_max, oldest)
    }
}
