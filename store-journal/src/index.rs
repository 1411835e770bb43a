//! What is kept, and where: all in memory but the bodies.

mod copies;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use hashbrown::HashMap;
use roadbed_broker::{Facts, StoredHold};
use roadbed_core::{CopyId, Gid, QueueId, Time};

use crate::codec::{Entry, KeptCopy, Place};
use crate::error::JournalError;
use crate::fs::FsFile;
use crate::logs::Logs;
use crate::segment::{Reader, file_name};
use copies::{Copies, Rare, detached, own};

/// The number of a segment, growing by one.
pub(crate) type SegmentId = u32;

/// Where a body lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) segment: SegmentId,
    pub(crate) place: Place,
}

/// Everything that is kept.
#[derive(Debug, Default)]
pub(crate) struct Index {
    queues: HashMap<QueueId, Copies>,
    rows: BTreeMap<Bytes, RowSlot>,
    prepared: BTreeMap<Gid, Spot>,
    segments: BTreeMap<SegmentId, Segment>,
    copies: usize,
    logs: Logs,
}

/// A segment's file, and how much of it is of use.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) file: Arc<dyn FsFile>,
    /// What was written of it.
    pub(crate) bytes: u64,
    /// What of that is kept, with what tells of it. A body of several copies counts as often.
    pub(crate) live: u64,
}

/// What is written of a copy beside its body, in bytes, about: in its record, and once more in the digest of the segment.
const COPY_BYTES: u64 = 64;
/// The same of a row, beside its key, which is written as often.
const ROW_BYTES: u64 = 24;

/// The files of segments.
#[derive(Debug)]
pub(crate) struct Files(BTreeMap<SegmentId, Arc<dyn FsFile>>);

impl Files {
    /// Reads a body, and checks it.
    pub(crate) fn body(&self, spot: Spot) -> Result<Bytes, JournalError> {
        Reader { id: spot.segment, file: &**self.file(spot.segment)? }.body(spot.place)
    }

    pub(crate) fn file(&self, id: SegmentId) -> Result<&Arc<dyn FsFile>, JournalError> {
        self.0.get(&id).ok_or_else(|| JournalError::Io {
            operation: format!("reading {}", file_name(id)),
            source: std::io::ErrorKind::NotFound.into(),
        })
    }
}

/// A row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RowSlot {
    pub(crate) spot: Spot,
    pub(crate) revision: u64,
}

/// A copy, and where its body is.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) spot: Spot,
    pub(crate) at: Time,
    pub(crate) facts: Facts,
    pub(crate) kept: KeptCopy,
}

impl Index {
    pub(crate) fn add_segment(&mut self, id: SegmentId, file: Arc<dyn FsFile>, bytes: u64) {
        self.segments.insert(id, Segment { file, bytes, live: 0 });
    }

    pub(crate) fn set_bytes(&mut self, id: SegmentId, bytes: u64) {
        if let Some(segment) = self.segments.get_mut(&id) {
            segment.bytes = bytes;
        }
    }

    pub(crate) fn remove_segment(&mut self, id: SegmentId) {
        self.segments.remove(&id);
    }

    pub(crate) fn segments(&self) -> impl Iterator<Item = (SegmentId, &Segment)> {
        self.segments.iter().map(|(id, segment)| (*id, segment))
    }

    pub(crate) fn file(&self, id: SegmentId) -> Option<Arc<dyn FsFile>> {
        self.segments.get(&id).map(|segment| segment.file.clone())
    }

    /// All files: bodies can be read as the index knows them now, whatever is cleaned meanwhile.
    pub(crate) fn files(&self) -> Files {
        Files(self.segments.iter().map(|(id, segment)| (*id, segment.file.clone())).collect())
    }

    /// The files of these segments.
    pub(crate) fn files_of(&self, ids: impl Iterator<Item = SegmentId>) -> Files {
        let mut files = BTreeMap::new();
        let mut last = None;
        for id in ids {
            if last.replace(id) != Some(id)
                && let Some(file) = self.file(id)
            {
                files.insert(id, file);
            }
        }
        Files(files)
    }

    /// How many bytes are kept.
    pub(crate) fn live(&self) -> u64 {
        self.segments.values().map(|segment| segment.live).sum()
    }

    /// How many bytes the segments have.
    pub(crate) fn bytes(&self) -> u64 {
        self.segments.values().map(|segment| segment.bytes).sum()
    }

    pub(crate) fn copies(&self) -> usize {
        self.copies
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = (&Bytes, &RowSlot)> {
        self.rows.iter()
    }

    pub(crate) fn row(&self, key: &[u8]) -> Option<RowSlot> {
        self.rows.get(key).copied()
    }

    pub(crate) fn prepared(&self) -> impl Iterator<Item = (&Gid, Spot)> {
        self.prepared.iter().map(|(gid, spot)| (gid, *spot))
    }

    /// A copy, if it is kept.
    pub(crate) fn copy(&self, copy: CopyId) -> Option<Found> {
        self.queues.get(&copy.queue)?.get(copy)
    }

    /// Where the body of a copy is, if it is kept.
    fn spot(&self, copy: CopyId) -> Option<Spot> {
        self.queues.get(&copy.queue)?.spot(copy.seq)
    }

    /// The copies of a queue in order, from behind the position `after`.
    pub(crate) fn list(&self, queue: QueueId, after: u64) -> impl Iterator<Item = Found> {
        self.queues.get(&queue).into_iter().flat_map(move |copies| copies.list(queue, after))
    }

    /// The queues that copies are in, in order.
    pub(crate) fn queues(&self) -> Vec<QueueId> {
        let mut queues: Vec<_> = self.queues.keys().copied().collect();
        queues.sort_unstable();
        queues
    }

    /// All copies in order of their names.
    pub(crate) fn all_copies(&self) -> impl Iterator<Item = Found> {
        self.queues().into_iter().flat_map(|queue| self.list(queue, 0))
    }

    pub(crate) const fn logs(&self) -> &Logs {
        &self.logs
    }

    /// Whether nothing that a segment says is of use any more.
    pub(crate) fn is_spent(&self, id: SegmentId) -> bool {
        self.segments.get(&id).is_some_and(|segment| segment.live == 0) && !self.logs.has_low_in(id)
    }

    /// What of `entry` in `segment` is still kept there.
    pub(crate) fn still(&self, segment: SegmentId, entry: &Entry) -> bool {
        let here = |place: &Place| Spot { segment, place: *place };
        let copy = |id: CopyId, body: &Place| self.spot(id) == Some(here(body));
        match entry {
            Entry::Enqueue { body, copies, .. } => copies.iter().any(|new| copy(new.copy, body)),
            Entry::Keep { body, copies, .. } => copies.iter().any(|kept| copy(kept.copy.copy, body)),
            Entry::Put { key, row, .. } => self.rows.get(key).is_some_and(|slot| slot.spot == here(row)),
            Entry::Prepare { gid, body } => self.prepared.get(gid).is_some_and(|spot| *spot == here(body)),
            _ => false,
        }
    }

    /// Those of the copies whose body is at `spot`, as they are now.
    pub(crate) fn kept(&self, spot: Spot, copies: &[CopyId]) -> Vec<KeptCopy> {
        let found = copies.iter().filter_map(|copy| self.copy(*copy));
        found.filter(|found| found.spot == spot).map(|found| found.kept).collect()
    }

    /// Applies what a record in `segment` does.
    pub(crate) fn apply(&mut self, segment: SegmentId, entry: Entry) {
        match entry {
            Entry::Enqueue { at, facts, body, copies } => {
                let spot = Spot { segment, place: body };
                for copy in copies {
                    let kept = KeptCopy { copy, count: 0, attempt: 0, excluded: Vec::new(), held: None };
                    self.insert(Found { spot, at, facts, kept });
                }
            }
            Entry::Keep { at, facts, body, copies } => {
                let spot = Spot { segment, place: body };
                copies.into_iter().for_each(|kept| self.insert(Found { spot, at, facts, kept }));
            }
            Entry::Hold { copy, attempt, slot, holder } => self.change(copy, |rare| {
                let holder = holder.map(|holder| detached(&holder));
                (rare.attempt, rare.held) = (attempt, Some(StoredHold { slot, holder, outcome: None }));
            }),
            Entry::Own { copy, slot, outcome } => self.change(copy, |rare| {
                let holder = rare.held.take().and_then(|held| held.holder);
                rare.held = Some(StoredHold { slot, holder, outcome: Some(outcome) });
            }),
            Entry::Return { copy, count, attempt, excluded } => self.change(copy, |rare| {
                let excluded = excluded.iter().map(own).collect();
                (rare.count, rare.attempt, rare.excluded, rare.held) = (count, attempt, excluded, None);
            }),
            Entry::Retire { copy } => self.retire(copy),
            Entry::RetireRun { queue, first, last } => {
                let Some(copies) = self.queues.get_mut(&queue) else { return };
                copies.remove_run(first, last, |slot| {
                    self.copies -= 1;
                    dead(&mut self.segments, slot.spot, COPY_BYTES);
                });
                if copies.is_empty() {
                    self.queues.remove(&queue);
                }
            }
            Entry::RetireQueue { queue } => {
                for slot in self.queues.remove(&queue).into_iter().flat_map(Copies::into_slots) {
                    self.copies -= 1;
                    dead(&mut self.segments, slot.spot, COPY_BYTES);
                }
            }
            Entry::Put { key, revision, row } => {
                let (spot, beside) = (Spot { segment, place: row }, row_bytes(&key));
                self.live_more(spot, beside);
                let key = Bytes::copy_from_slice(&key);
                if let Some(before) = self.rows.insert(key, RowSlot { spot, revision }) {
                    self.dead(before.spot, beside);
                }
            }
            Entry::Delete { key } => {
                if let Some(before) = self.rows.remove(&key) {
                    self.dead(before.spot, row_bytes(&key));
                }
            }
            Entry::Prepare { gid, body } => {
                let (spot, beside) = (Spot { segment, place: body }, row_bytes(&gid.0));
                self.live_more(spot, beside);
                if let Some(before) = self.prepared.insert(Gid(Bytes::copy_from_slice(&gid.0)), spot) {
                    self.dead(before, beside);
                }
            }
            Entry::Resolve { gid } => {
                if let Some(before) = self.prepared.remove(&gid) {
                    self.dead(before, row_bytes(&gid.0));
                }
            }
            Entry::Log(op) => {
                let segments = &mut self.segments;
                self.logs.apply(segment, op, |(id, bytes, more)| {
                    let Some(segment) = segments.get_mut(&id) else { return };
                    segment.live = if more { segment.live + bytes } else { segment.live.saturating_sub(bytes) };
                });
            }
        }
    }

    fn insert(&mut self, found: Found) {
        self.live_more(found.spot, COPY_BYTES);
        match self.queues.entry(found.kept.copy.copy.queue).or_default().insert(found) {
            Some(before) => self.dead(before.spot, COPY_BYTES),
            None => self.copies += 1,
        }
    }

    fn change(&mut self, copy: CopyId, change: impl FnOnce(&mut Rare)) {
        if let Some(copies) = self.queues.get_mut(&copy.queue) {
            copies.change(copy.seq, change);
        }
    }

    fn retire(&mut self, copy: CopyId) {
        let Some(copies) = self.queues.get_mut(&copy.queue) else { return };
        let Some(slot) = copies.remove(copy.seq) else { return };
        if copies.is_empty() {
            self.queues.remove(&copy.queue);
        }
        self.copies -= 1;
        self.dead(slot.spot, COPY_BYTES);
    }

    /// What is at `spot` is kept, and `beside` bytes tell of it.
    fn live_more(&mut self, spot: Spot, beside: u64) {
        if let Some(segment) = self.segments.get_mut(&spot.segment) {
            segment.live += u64::from(spot.place.len) + beside;
        }
    }

    fn dead(&mut self, spot: Spot, beside: u64) {
        dead(&mut self.segments, spot, beside);
    }
}

fn dead(segments: &mut BTreeMap<SegmentId, Segment>, spot: Spot, beside: u64) {
    if let Some(segment) = segments.get_mut(&spot.segment) {
        segment.live = segment.live.saturating_sub(u64::from(spot.place.len) + beside);
    }
}

/// What is written of a row with this key, or of a transaction with this name, beside its body.
const fn row_bytes(key: &[u8]) -> u64 {
    2 * key.len() as u64 + ROW_BYTES
}
