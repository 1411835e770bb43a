//! The thread that writes: it takes what was submitted, writes it as one group, syncs, and answers.

use std::io;
use std::sync::{Arc, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use roadbed_broker::{Expect, Op, RowKey, StoreError, Unit, UnitId};
use roadbed_core::QueueId;

use crate::clean::Cleaner;
use crate::codec::{Body, Entry, LogOp, key_bytes, split};
use crate::config::{JournalConfig, SyncPolicy};
use crate::fs::Fs;
use crate::index::{Index, SegmentId};
use crate::store::{Counts, Shared};
use crate::write::{Writer, Written};

/// How much is written before it is synced.
const GROUP_BYTES_MAX: usize = 4 << 20;
/// How often a record may need a new segment: one of the usual size, then one of its own.
const ROLLS_MAX: usize = 3;
/// How much is cleaned between two groups.
const CLEAN_BYTES_MAX: usize = 1 << 20;
/// How many units are waited for, at most.
const WANTED_MAX: usize = 4096;
/// How long those who wait for a sync wait for others, at most.
const PATIENCE_MAX: Duration = Duration::from_millis(10);
/// How long what nobody waits for may stay unwritten: it is written with what comes behind it.
const UNWRITTEN_MAX: Duration = Duration::from_millis(2);
/// How long what nobody waits for may stay unsynced.
const UNAWAITED_MAX: Duration = Duration::from_millis(100);
/// How often the room on the disk is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

type Answer = Result<(), StoreError>;

#[derive(Debug)]
pub(crate) struct Worker {
    fs: Arc<dyn Fs>,
    config: JournalConfig,
    writer: Writer,
    cleaner: Cleaner,
    /// Revisions that rows get in this group; 0: they are deleted.
    revisions: HashMap<bytes::Bytes, u64>,
    /// Positions that partitions of logs get next in this group.
    positions: HashMap<QueueId, u64>,
    answers: Vec<(UnitId, Answer)>,
    operations: Vec<(Entry, Option<Body>)>,
    counts: Counts,
    /// Somebody waits until what is gathered is synced.
    awaited: bool,
    /// How many units are awaited in this group, and how many are probably to be in the next: those that this one answers, and those that came meanwhile.
    awaiting: usize,
    wanted: usize,
    /// How long the last sync took.
    sync_took: Duration,
    full: bool,
    looked: Option<Instant>,
    synced: Instant,
    /// Why nothing is committed any more.
    failed: Option<String>,
}

impl Worker {
    pub(crate) fn new(fs: Arc<dyn Fs>, config: JournalConfig, next: SegmentId, lsn: u64) -> Self {
        let writer = Writer::new(fs.clone(), config.segment_bytes, next, lsn);
        Self {
            fs,
            config,
            writer,
            cleaner: Cleaner::default(),
            revisions: HashMap::new(),
            positions: HashMap::new(),
            answers: Vec::new(),
            operations: Vec::new(),
            counts: Counts::default(),
            awaited: false,
            awaiting: 0,
            wanted: 0,
            sync_took: Duration::ZERO,
            full: false,
            looked: None,
            synced: Instant::now(),
            failed: None,
        }
    }

    pub(crate) fn run(mut self, shared: &Shared) {
        let mut units = Vec::new();
        while self.wait(shared, &mut units) {
            self.work(shared, &mut units);
        }
        if self.failed.is_none()
            && let Err(error) = self.close(shared)
        {
            tracing::error!(%error, "the journal was not ended in good order");
        }
        let mut desk = shared.desk();
        // Nothing is written any more: somebody else may have it, who still reads here or not.
        (desk.ended, desk.lock) = (true, None);
        drop(desk);
        shared.ended.notify_all();
    }

    /// One round of work on what was submitted, in the caller's thread. The time that passes outside has no say in it.
    #[cfg(feature = "simulation")]
    pub(crate) fn step(&mut self, shared: &Shared) {
        let mut units = std::mem::take(&mut shared.desk().submitted);
        self.looked = None;
        self.work(shared, &mut units);
    }

    /// Takes what was submitted; false if there is nothing, and will be nothing.
    fn wait(&mut self, shared: &Shared, units: &mut Vec<Unit>) -> bool {
        let mut desk = shared.desk();
        let (begun, mut since) = (Instant::now(), None);
        // What nobody waits for needs no waking so soon after the last group.
        desk.dozing = true;
        loop {
            let idle = if desk.submitted.is_empty() {
                if desk.closing {
                    return false;
                }
                let sleep = || self.until_sync().or_else(|| self.cleaner.is_busy().then_some(Duration::ZERO));
                if desk.dozing && !self.cleaner.is_busy() { Some(UNWRITTEN_MAX) } else { sleep() }
            } else {
                let since = *since.get_or_insert_with(Instant::now);
                let patience = if desk.closing { Duration::ZERO } else { self.patience(desk.awaited) };
                let left = patience.saturating_sub(since.elapsed());
                if left.is_zero() {
                    std::mem::swap(units, &mut desk.submitted);
                    self.awaiting = std::mem::take(&mut desk.awaited);
                    return true;
                }
                desk.wanted = self.wanted;
                Some(left)
            };
            desk = match idle {
                None => shared.work.wait(desk).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => return true,
                Some(idle) => {
                    let waited = shared.work.wait_timeout(desk, idle);
                    let (mut desk, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                    let dozed = timeout.timed_out() && std::mem::take(&mut desk.dozing);
                    if timeout.timed_out() && !dozed && desk.submitted.is_empty() {
                        return true;
                    }
                    // What came without a word has waited for as long.
                    since = since.or(dozed.then_some(begun));
                    desk
                }
            };
        }
    }

    /// How long to wait for more, with `awaited` units there: those who were answered with the last group will mostly be back soon, and a sync
    /// serves them all, with those that came during the last one.
    fn patience(&self, awaited: usize) -> Duration {
        match awaited {
            0 => UNWRITTEN_MAX,
            _ if awaited < self.wanted && self.config.sync == SyncPolicy::Always => {
                (self.sync_took / 2).min(PATIENCE_MAX)
            }
            _ => Duration::ZERO,
        }
    }

    /// How long what was written may stay unsynced.
    fn until_sync(&self) -> Option<Duration> {
        let unsynced = self.writer.is_dirty() && self.failed.is_none();
        unsynced.then(|| self.unsynced_max().saturating_sub(self.synced.elapsed()))
    }

    const fn unsynced_max(&self) -> Duration {
        match self.config.sync {
            SyncPolicy::Always => UNAWAITED_MAX,
            SyncPolicy::Every(every) => every,
        }
    }

    /// Commits units as a group, and cleans a little.
    fn work(&mut self, shared: &Shared, units: &mut Vec<Unit>) {
        let looked = self.look();
        self.check(looked);
        for unit in units.drain(..) {
            let (id, awaited) = (unit.id, unit.awaited);
            let taken = match &self.failed {
                Some(why) => Ok(Err(StoreError::Failed(why.clone()))),
                None => self.take(shared, unit),
            };
            // Taking it may have committed what was gathered before.
            self.awaited |= awaited;
            self.answers.push((id, Ok(())));
            let answer = self.check(taken).unwrap_or(Ok(()));
            if let (Err(error), Some((_, last))) = (answer, self.answers.last_mut()) {
                self.counts.refused += u64::from(error == StoreError::Full);
                *last = Err(error);
            }
            if self.writer.gathered() >= GROUP_BYTES_MAX {
                self.finish(shared);
            }
        }
        self.finish(shared);
        if self.failed.is_none() {
            let cleaned = self.clean(shared);
            self.check(cleaned);
            self.rest(shared);
        }
    }

    /// With nothing to do, says that all was synced.
    fn rest(&mut self, shared: &Shared) {
        if self.failed.is_none() && !self.writer.is_dirty() && shared.desk().submitted.is_empty() {
            let marked = self.writer.mark();
            self.check(marked);
        }
    }

    /// Commits what is gathered, and answers.
    fn finish(&mut self, shared: &Shared) {
        if self.failed.is_none() {
            let committed = self.commit(shared);
            self.check(committed);
        }
        self.answer(shared);
    }

    /// After a failure nothing is committed any more.
    fn check<T>(&mut self, done: io::Result<T>) -> Option<T> {
        done.map_err(|error| self.fail(&error)).ok()
    }

    /// Gathers one unit. Its answer counts once the group is committed.
    fn take(&mut self, shared: &Shared, unit: Unit) -> io::Result<Answer> {
        if let Some(expect) = unit.expects.into_iter().find(|expect| !self.is_met(&shared.index(), expect)) {
            return Ok(Err(StoreError::Precondition(expect)));
        }
        let needs_room = needs_room(&unit.ops);
        if self.full && needs_room {
            return Ok(Err(StoreError::Full));
        }
        self.operations.clear();
        for op in unit.ops {
            let revisions = &mut self.revisions;
            let next = |key: &bytes::Bytes| {
                let before = revisions.get(key).copied().or_else(|| shared.index().row(key).map(|row| row.revision));
                let next = before.unwrap_or(0) + 1;
                revisions.insert(key.clone(), next);
                next
            };
            match split(op, next) {
                Some(operation) => self.operations.push(operation),
                None => return Ok(Err(StoreError::Failed("an operation that this store does not know".into()))),
            }
        }
        self.give_positions(shared);
        self.gather(shared, needs_room)
    }

    /// What is appended gets its positions: the next of its partitions. Nothing is trimmed that has not come yet.
    fn give_positions(&mut self, shared: &Shared) {
        let positions = &mut self.positions;
        for (entry, _) in &mut self.operations {
            match entry {
                Entry::Log(LogOp::Append { places, .. }) => {
                    for (partition, position) in places {
                        let next = next_position(positions, shared, *partition);
                        *position = *next;
                        *next += 1;
                    }
                }
                Entry::Log(LogOp::Trim { partition, before }) => {
                    *before = (*before).min(*next_position(positions, shared, *partition));
                }
                Entry::Log(LogOp::Drop { partition }) => *next_position(positions, shared, *partition) = 0,
                _ => {}
            }
        }
    }

    fn is_met(&self, index: &Index, expect: &Expect) -> bool {
        let revision = |key: &RowKey| {
            let key = key_bytes(key);
            self.revisions.get(&key).copied().or_else(|| index.row(&key).map(|row| row.revision)).unwrap_or(0)
        };
        match expect {
            Expect::Revision(key, wanted) => revision(key) == *wanted,
            _ => false,
        }
    }

    /// Gathers the operations as one record, in a new segment if need be. What `needs_room` does not get the last segment that there is room for.
    fn gather(&mut self, shared: &Shared, needs_room: bool) -> io::Result<Answer> {
        if self.operations.is_empty() {
            return Ok(Ok(()));
        }
        for _ in 0..ROLLS_MAX {
            self.note(shared);
            let Err(bytes) = self.writer.gather(&mut self.operations) else { return Ok(Ok(())) };
            self.commit(shared)?;
            self.answer(shared);
            self.measure()?;
            if self.full && needs_room {
                return Ok(Err(StoreError::Full));
            }
            match self.writer.roll(bytes) {
                Ok(written) => self.apply(shared, written),
                Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                    self.full = true;
                    return Ok(Err(StoreError::Full));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Err(StoreError::Full))
    }

    /// What rows and positions will be when this group is committed.
    fn note(&mut self, shared: &Shared) {
        for (entry, _) in &self.operations {
            match entry {
                Entry::Put { key, revision, .. } => self.revisions.insert(key.clone(), *revision),
                Entry::Delete { key } => self.revisions.insert(key.clone(), 0),
                Entry::Log(LogOp::Append { places, .. }) => {
                    for (partition, position) in places {
                        let next = next_position(&mut self.positions, shared, *partition);
                        *next = (*next).max(position + 1);
                    }
                    None
                }
                Entry::Log(LogOp::Drop { partition }) => self.positions.insert(*partition, 0),
                _ => None,
            };
        }
    }

    /// Writes and syncs what is gathered, and applies it.
    fn commit(&mut self, shared: &Shared) -> io::Result<()> {
        let bytes = self.writer.gathered() as u64;
        let written = if bytes > 0 { Some(self.writer.write()?) } else { None };
        self.counts.written_bytes += bytes;
        let awaited = std::mem::take(&mut self.awaited) && self.config.sync == SyncPolicy::Always;
        if (awaited || self.synced.elapsed() >= self.unsynced_max()) && self.writer.is_dirty() {
            let begun = Instant::now();
            self.writer.sync()?;
            self.synced = Instant::now();
            self.counts.syncs += 1;
            self.sync_took = self.synced - begun;
            self.counts.sync_time += self.sync_took;
        }
        if let Some(written) = written {
            self.apply(shared, written);
        }
        self.revisions.clear();
        self.positions.clear();
        Ok(())
    }

    fn apply(&mut self, shared: &Shared, written: Written) {
        let mut index = shared.index();
        if let Some((id, bytes)) = written.active {
            index.set_bytes(id, bytes);
        }
        let mut entries = written.entries;
        for (segment, entry) in entries.drain(..) {
            index.apply(segment, entry);
        }
        self.writer.keep(entries);
        if let Some((id, file)) = written.begun {
            index.add_segment(id, file, crate::segment::HEAD as u64);
        }
    }

    /// Looks from time to time whether there is room on the disk.
    fn look(&mut self) -> io::Result<()> {
        if self.looked.is_some_and(|looked| looked.elapsed() < LOOK_EVERY) || self.failed.is_some() {
            return Ok(());
        }
        self.measure()
    }

    /// Makes the next segment ahead, and looks whether there is room for another: without one, nothing could come to its end.
    fn measure(&mut self) -> io::Result<()> {
        self.looked = Some(Instant::now());
        let prepared = match self.writer.prepare() {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => false,
            other => other.map(|()| true)?,
        };
        let space = self.fs.space()?;
        let free_min = self.config.free_bytes_min.min(space.total / 100 * u64::from(self.config.free_percent_min));
        let is_full = !prepared || space.free < free_min.max(self.config.segment_bytes.into());
        let was = std::mem::replace(&mut self.full, is_full);
        match (was, self.full) {
            (false, true) => tracing::warn!(free = space.free, "the disk is nearly full: nothing new is stored"),
            (true, false) => tracing::info!(free = space.free, "the disk has room again: what is new is stored"),
            _ => {}
        }
        Ok(())
    }

    /// Goes on with cleaning, if there is too much garbage.
    fn clean(&mut self, shared: &Shared) -> io::Result<()> {
        let garbage = self.config.garbage_bytes;
        let active = self.writer.active();
        if !self.cleaner.begin(&shared.index(), active, garbage) {
            return Ok(());
        }
        let done = self.cleaner.next(shared, CLEAN_BYTES_MAX, &mut self.operations)?;
        if self.gather(shared, false)? == Err(StoreError::Full) {
            // Later, when something has come to its end.
            self.cleaner.give_up();
            return Ok(());
        }
        self.commit(shared)?;
        if done {
            self.writer.sync()?;
            self.writer.mark()?;
            self.counts.cleaned_segments += self.cleaner.remove(shared, &*self.fs)?;
            self.cleaner.begin(&shared.index(), self.writer.active(), garbage);
        }
        Ok(())
    }

    /// Nothing is committed any more: whether what was written is there is not known, and asking again would not tell.
    fn fail(&mut self, error: &io::Error) {
        let why = format!("the journal cannot be written: {error}");
        tracing::error!(%error, "the journal failed; nothing is stored any more");
        let waiting = self.answers.iter_mut().filter(|(_, answer)| answer.is_ok());
        waiting.for_each(|(_, answer)| *answer = Err(StoreError::Failed(why.clone())));
        self.failed = Some(why);
    }

    fn answer(&mut self, shared: &Shared) {
        let mut desk = shared.desk();
        self.counts.units += self.answers.iter().filter(|(_, answer)| answer.is_ok()).count() as u64;
        self.wanted = (self.awaiting + desk.awaited).min(WANTED_MAX);
        desk.stats = Counts { full: self.full, ..self.counts };
        desk.answers.append(&mut self.answers);
        let waker = if desk.answers.is_empty() { None } else { desk.waker.take() };
        let watching = match desk.failed.is_none() && self.failed.is_some() {
            true => std::mem::take(&mut desk.watching),
            false => Vec::new(),
        };
        desk.failed.clone_from(&self.failed);
        drop(desk);
        waker.into_iter().chain(watching).for_each(Waker::wake);
    }

    /// Ends the last segment.
    fn close(&mut self, shared: &Shared) -> io::Result<()> {
        self.writer.sync()?;
        let written = self.writer.end()?;
        self.apply(shared, written);
        self.writer.remove_spare()
    }
}

/// The position that a partition gives next, after all that is gathered.
fn next_position<'a>(positions: &'a mut HashMap<QueueId, u64>, shared: &Shared, partition: QueueId) -> &'a mut u64 {
    positions.entry(partition).or_insert_with(|| shared.index().logs().next(partition))
}

/// Whether a unit keeps more messages than there were: a dead letter takes the place of what it was made of. Sessions and queues are small, and who
/// comes back must find its own. What was prepared was promised when there was room, and its messages take the place of the promise.
fn needs_room(ops: &[Op]) -> bool {
    if ops.iter().any(|op| matches!(op, Op::Resolve(_))) {
        return false;
    }
    let kept = ops.iter().filter(|op| {
        matches!(op, Op::Enqueue { .. } | Op::Append { .. } | Op::Prepare(..) | Op::Put(RowKey::Retained(_), _))
    });
    kept.count() > ops.iter().filter(|op| matches!(op, Op::Retire { .. })).count()
}
