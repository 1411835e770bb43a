//! A store that keeps everything in memory, and commits at once.

mod log;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use roadbed_core::{CopyId, Gid, Message, QueueId, Time};

use crate::lock;
use crate::store::{
    Caps, Expect, Facts, Level, ListedCopy, LogPage, LogRead, LogState, LogStore, NewCopy, Op, Prepared, ReadAnswer,
    ReadId, Recovery, Revision, Row, RowKey, Store, StoreError, StoredCopy, StoredHold, Unit, UnitId,
};
use log::Partition;

/// A store in memory. Clones share it: a second broker on the same store goes on where the first one ended.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    rows: BTreeMap<RowKey, (Row, Revision)>,
    copies: BTreeMap<CopyId, StoredCopy>,
    prepared: BTreeMap<Gid, Prepared>,
    logs: BTreeMap<QueueId, Partition>,
    pages: Vec<LogPage>,
    answers: Vec<(UnitId, Result<(), StoreError>)>,
    reads: Vec<ReadAnswer>,
    level: Option<Level>,
    refuse_reads: bool,
    refuse: Option<StoreError>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty store that is taken to survive as much as `level` says: for tests of what a broker does on such a store.
    pub fn at_level(level: Level) -> Self {
        let kept = Kept { level: Some(level), ..Kept::default() };
        Self(Arc::new(Mutex::new(kept)))
    }

    /// From now on every unit is answered with `error`; `None`: as usual again. For tests of failure.
    pub fn refuse(&self, error: Option<StoreError>) {
        lock(&self.0).refuse = error;
    }

    /// From now on nothing can be read back; `false`: as usual again. For tests of failure.
    pub fn refuse_reads(&self, refuse: bool) {
        lock(&self.0).refuse_reads = refuse;
    }

    /// How many copies are kept.
    pub fn copies(&self) -> usize {
        lock(&self.0).copies.len()
    }

    /// How many rows are kept.
    pub fn rows(&self) -> usize {
        lock(&self.0).rows.len()
    }
}

impl Store for MemoryStore {
    fn caps(&self) -> Caps {
        Caps::new(lock(&self.0).level.unwrap_or(Level::Volatile), usize::MAX)
    }

    fn submit(&mut self, units: &mut Vec<Unit>) {
        let mut kept = lock(&self.0);
        for unit in units.drain(..) {
            let id = unit.id;
            let answer = kept.commit(unit);
            kept.answers.push((id, answer));
        }
    }

    fn poll_commits(&mut self, _cx: &mut Context<'_>, into: &mut Vec<(UnitId, Result<(), StoreError>)>) -> Poll<usize> {
        let mut kept = lock(&self.0);
        let count = kept.answers.len();
        into.append(&mut kept.answers);
        if count == 0 { Poll::Pending } else { Poll::Ready(count) }
    }

    fn read(&mut self, id: ReadId, copies: Vec<CopyId>) {
        let refused = || StoreError::Failed("it is not to be read".into());
        let found = if lock(&self.0).refuse_reads { Err(refused()) } else { self.fetch(&copies) };
        lock(&self.0).reads.push((id, found));
    }

    fn poll_reads(&mut self, _cx: &mut Context<'_>, into: &mut Vec<ReadAnswer>) -> Poll<usize> {
        let mut kept = lock(&self.0);
        let count = kept.reads.len();
        into.append(&mut kept.reads);
        if count == 0 { Poll::Pending } else { Poll::Ready(count) }
    }

    fn list(&mut self, queue: QueueId, after: u64, max: usize) -> Result<Vec<ListedCopy>, StoreError> {
        let (first, last) = (CopyId { queue, seq: after.saturating_add(1) }, CopyId { queue, seq: u64::MAX });
        Ok(lock(&self.0).copies.range(first..=last).take(max).map(|(_, copy)| listed(copy)).collect())
    }

    fn recover(&mut self) -> Result<Recovery, StoreError> {
        let mut kept = lock(&self.0);
        kept.answers.clear();
        kept.reads.clear();
        let mut queues: Vec<_> = kept.copies.keys().map(|copy| copy.queue).collect();
        queues.dedup();
        kept.pages.clear();
        Ok(Recovery {
            rows: kept.rows.iter().map(|(key, (row, _))| (key.clone(), row.clone())).collect(),
            queues,
            prepared: kept.prepared.iter().map(|(gid, prepared)| (gid.clone(), prepared.clone())).collect(),
        })
    }

    fn fetch(&mut self, copies: &[CopyId]) -> Result<Vec<StoredCopy>, StoreError> {
        let kept = lock(&self.0);
        Ok(copies.iter().filter_map(|copy| kept.copies.get(copy).cloned()).collect())
    }

    fn get(&mut self, key: &RowKey) -> Result<Option<(Row, Revision)>, StoreError> {
        Ok(lock(&self.0).rows.get(key).cloned())
    }

    fn in_doubt(&mut self) -> Result<Vec<Gid>, StoreError> {
        Ok(lock(&self.0).prepared.keys().cloned().collect())
    }
}

fn listed(stored: &StoredCopy) -> ListedCopy {
    let StoredCopy { copy, message, at, count, attempt, excluded, held } = stored.clone();
    ListedCopy { copy, facts: Facts::of(&message), at, count, attempt, excluded, held }
}

impl LogStore for MemoryStore {
    fn read_log(&mut self, read: LogRead) {
        let mut kept = lock(&self.0);
        let entries = Ok(kept.logs.get(&read.partition).map(|log| log.read(&read)).unwrap_or_default());
        kept.pages.push(LogPage { id: read.id, entries });
    }

    fn poll_pages(&mut self, into: &mut Vec<LogPage>) {
        into.append(&mut lock(&self.0).pages);
    }

    fn log_state(&mut self, partition: QueueId) -> LogState {
        lock(&self.0).logs.get(&partition).map(Partition::state).unwrap_or_default()
    }

    fn log_cut(&mut self, partition: QueueId, bytes_max: u64, oldest: Time) -> u64 {
        lock(&self.0).logs.get(&partition).map_or(0, |log| log.cut(bytes_max, oldest))
    }
}

impl Kept {
    fn commit(&mut self, unit: Unit) -> Result<(), StoreError> {
        if let Some(error) = &self.refuse {
            return Err(error.clone());
        }
        for expect in unit.expects {
            let Expect::Revision(key, revision) = &expect;
            if self.rows.get(key).map_or(0, |(_, found)| *found) != *revision {
                return Err(StoreError::Precondition(expect));
            }
        }
        unit.ops.into_iter().for_each(|op| self.apply(op));
        Ok(())
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Enqueue { message, at, copies } => {
                let message = message.detach();
                copies.into_iter().for_each(|copy| self.enqueue(copy, &message, at));
            }
            Op::Hold { copy, attempt, slot, holder } => {
                if let Some(kept) = self.copies.get_mut(&copy) {
                    (kept.attempt, kept.held) = (attempt, Some(StoredHold { slot, holder, outcome: None }));
                }
            }
            Op::Own { copy, slot, outcome } => {
                if let Some(kept) = self.copies.get_mut(&copy) {
                    let holder = kept.held.take().and_then(|held| held.holder);
                    kept.held = Some(StoredHold { slot, holder, outcome: Some(outcome) });
                }
            }
            Op::Return { copy, count, attempt, excluded } => {
                if let Some(kept) = self.copies.get_mut(&copy) {
                    (kept.count, kept.attempt, kept.excluded, kept.held) = (count, attempt, excluded, None);
                }
            }
            Op::Retire { copy } => {
                self.copies.remove(&copy);
            }
            Op::RetireRun { queue, first, last } => {
                self.copies.retain(|copy, _| copy.queue != queue || !(first..=last).contains(&copy.seq));
            }
            Op::RetireQueue { queue } => {
                self.copies.retain(|copy, _| copy.queue != queue);
            }
            Op::Append { message, at, partitions } => {
                let message = message.detach();
                for partition in partitions {
                    self.logs.entry(partition).or_default().append(message.clone(), at);
                }
            }
            Op::TrimLog { partition, before } => {
                if let Some(log) = self.logs.get_mut(&partition) {
                    log.trim(before);
                }
            }
            Op::DropLog { partition } => {
                self.logs.remove(&partition);
            }
            Op::Put(key, row) => {
                let revision = self.rows.get(&key).map_or(1, |(_, revision)| revision + 1);
                self.rows.insert(key, (row, revision));
            }
            Op::Delete(key) => {
                self.rows.remove(&key);
            }
            Op::Prepare(gid, prepared) => {
                self.prepared.insert(gid, prepared);
            }
            Op::Resolve(gid) => {
                self.prepared.remove(&gid);
            }
        }
    }

    fn enqueue(&mut self, copy: NewCopy, message: &Message, at: Time) {
        let name = copy.copy;
        let (message, excluded) = (message.clone(), Vec::new());
        self.copies.insert(name, StoredCopy { copy, message, at, count: 0, attempt: 0, excluded, held: None });
    }
}
