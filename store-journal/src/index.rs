//! What is kept, and where: all in memory but the bodies.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use hashbrown::HashMap;
use roadbed_broker::{Holder, NewCopy, StoredHold};
use roadbed_core::{CopyId, Gid, Qos, QueueId, Time};

use crate::codec::{Entry, KeptCopy, Place};
use crate::error::JournalError;
use crate::fs::FsFile;
use crate::segment::{Reader, file_name};

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
    queues: HashMap<QueueId, BTreeMap<u64, Slot>>,
    rows: BTreeMap<Bytes, RowSlot>,
    prepared: BTreeMap<Gid, Spot>,
    segments: BTreeMap<SegmentId, Segment>,
    copies: usize,
}

/// A segment's file, and how much of it is of use.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) file: Arc<dyn FsFile>,
    /// What was written of it.
    pub(crate) bytes: u64,
    /// What of that is kept. A body of several copies counts as often.
    pub(crate) live: u64,
}

/// The files of segments.
#[derive(Debug)]
pub(crate) struct Files(BTreeMap<SegmentId, Arc<dyn FsFile>>);

impl Files {
    /// Reads a body, and checks it.
    pub(crate) fn body(&self, spot: Spot) -> Result<Bytes, JournalError> {
        let file = self.0.get(&spot.segment).ok_or_else(|| JournalError::Io {
            operation: format!("reading {}", file_name(spot.segment)),
            source: std::io::ErrorKind::NotFound.into(),
        })?;
        Reader { id: spot.segment, file: &**file }.body(spot.place)
    }
}

/// A copy.
#[derive(Debug)]
struct Slot {
    spot: Spot,
    at: Time,
    qos: Qos,
    retained: bool,
    rare: Option<Box<Rare>>,
}

/// What few copies have.
#[derive(Debug, Clone, Default, PartialEq)]
struct Rare {
    bindings: Vec<u32>,
    count: u32,
    attempt: u32,
    excluded: Vec<ByteString>,
    held: Option<StoredHold>,
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
        self.queues.get(&copy.queue)?.get(&copy.seq).map(|slot| slot.found(copy))
    }

    /// All copies in order of their names.
    pub(crate) fn all_copies(&self) -> impl Iterator<Item = Found> {
        let mut queues: Vec<_> = self.queues.iter().collect();
        queues.sort_unstable_by_key(|(queue, _)| **queue);
        queues
            .into_iter()
            .flat_map(|(&queue, slots)| slots.iter().map(move |(&seq, slot)| slot.found(CopyId { queue, seq })))
    }

    /// What of `entry` in `segment` is still kept there.
    pub(crate) fn still(&self, segment: SegmentId, entry: &Entry) -> bool {
        let here = |place: &Place| Spot { segment, place: *place };
        let copy = |id: CopyId, body: &Place| {
            let slot = self.queues.get(&id.queue).and_then(|slots| slots.get(&id.seq));
            slot.is_some_and(|slot| slot.spot == here(body))
        };
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
            Entry::Enqueue { at, body, copies } => {
                for copy in copies {
                    let bindings = copy.bindings;
                    let rare = (!bindings.is_empty()).then(|| Box::new(Rare { bindings, ..Rare::default() }));
                    let spot = Spot { segment, place: body };
                    let slot = Slot { spot, at, qos: copy.qos, retained: copy.retained, rare };
                    self.insert(copy.copy, slot);
                }
            }
            Entry::Keep { at, body, copies } => {
                for kept in copies {
                    let (id, spot) = (kept.copy.copy, Spot { segment, place: body });
                    self.insert(id, Slot::kept(spot, at, kept));
                }
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
            Entry::RetireQueue { queue } => {
                let slots = self.queues.remove(&queue).unwrap_or_default();
                self.copies -= slots.len();
                slots.into_values().for_each(|slot| self.dead(slot.spot));
            }
            Entry::Put { key, revision, row } => {
                let spot = Spot { segment, place: row };
                self.live_more(spot);
                let key = Bytes::copy_from_slice(&key);
                if let Some(before) = self.rows.insert(key, RowSlot { spot, revision }) {
                    self.dead(before.spot);
                }
            }
            Entry::Delete { key } => {
                if let Some(before) = self.rows.remove(&key) {
                    self.dead(before.spot);
                }
            }
            Entry::Prepare { gid, body } => {
                let spot = Spot { segment, place: body };
                self.live_more(spot);
                if let Some(before) = self.prepared.insert(Gid(Bytes::copy_from_slice(&gid.0)), spot) {
                    self.dead(before);
                }
            }
            Entry::Resolve { gid } => {
                if let Some(before) = self.prepared.remove(&gid) {
                    self.dead(before);
                }
            }
        }
    }

    fn insert(&mut self, copy: CopyId, slot: Slot) {
        self.live_more(slot.spot);
        match self.queues.entry(copy.queue).or_default().insert(copy.seq, slot) {
            Some(before) => self.dead(before.spot),
            None => self.copies += 1,
        }
    }

    fn change(&mut self, copy: CopyId, change: impl FnOnce(&mut Rare)) {
        let slot = self.queues.get_mut(&copy.queue).and_then(|slots| slots.get_mut(&copy.seq));
        if let Some(slot) = slot {
            change(slot.rare.get_or_insert_default());
        }
    }

    fn retire(&mut self, copy: CopyId) {
        let Some(slots) = self.queues.get_mut(&copy.queue) else { return };
        let Some(slot) = slots.remove(&copy.seq) else { return };
        if slots.is_empty() {
            self.queues.remove(&copy.queue);
        }
        self.copies -= 1;
        self.dead(slot.spot);
    }

    fn live_more(&mut self, spot: Spot) {
        if let Some(segment) = self.segments.get_mut(&spot.segment) {
            segment.live += u64::from(spot.place.len);
        }
    }

    fn dead(&mut self, spot: Spot) {
        if let Some(segment) = self.segments.get_mut(&spot.segment) {
            segment.live = segment.live.saturating_sub(u64::from(spot.place.len));
        }
    }
}

impl Slot {
    fn kept(spot: Spot, at: Time, kept: KeptCopy) -> Self {
        let KeptCopy { copy: NewCopy { qos, retained, bindings, .. }, count, attempt, excluded, held } = kept;
        let excluded = excluded.iter().map(own).collect();
        let held = held.map(|held| StoredHold { holder: held.holder.as_ref().map(detached), ..held });
        let rare = Rare { bindings, count, attempt, excluded, held };
        let rare = (rare != Rare::default()).then(|| Box::new(rare));
        Self { spot, at, qos, retained, rare }
    }

    fn found(&self, copy: CopyId) -> Found {
        let Rare { bindings, count, attempt, excluded, held } = self.rare.as_deref().cloned().unwrap_or_default();
        let copy = NewCopy { copy, qos: self.qos, retained: self.retained, bindings };
        Found { spot: self.spot, at: self.at, kept: KeptCopy { copy, count, attempt, excluded, held } }
    }
}

/// Names in memory of their own: what they were read from is not kept for them.
fn detached(holder: &Holder) -> Holder {
    Holder { principal: own(&holder.principal), session: own(&holder.session), link: own(&holder.link) }
}

fn own(text: &ByteString) -> ByteString {
    String::from(&**text).into()
}
