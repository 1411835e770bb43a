//! Readers of partitions: their place, their epoch, and how far their group has come.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};

use bytestring::ByteString;
use roadbed_core::{Error, ErrorKind, Outcome, Result};

use super::{Partition, PartitionInner};
use crate::broker::Shared;
use crate::lock;
use crate::store::{LogEntry, Op, Row, RowKey, StoreError};
use crate::wakers::Wakeup;

/// One reader of one partition: shared by its consumer, the partition, and the slots of what it has handed over.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) partition: Arc<Partition>,
    group: Option<ByteString>,
    epoch: Option<u64>,
    stolen: AtomicBool,
    /// One consumer's, whatever number of partitions it reads.
    pub(crate) wakeup: Arc<Wakeup>,
    page: Mutex<Page>,
    window: Mutex<Window>,
}

#[derive(Debug, Default)]
enum Page {
    #[default]
    Idle,
    Asked,
    Come(Result<Vec<LogEntry>, StoreError>),
}

/// What has been handed over and not settled.
#[derive(Debug, Default)]
struct Window {
    unsettled: BTreeSet<u64>,
    /// After the last one that was handed over.
    handed: u64,
    /// What was given back first: the checkpoint stays before it.
    given_back: Option<u64>,
}

impl Reading {
    /// Readers of all of `partitions`, and what the store is to know before they read; none of them if one is refused.
    pub(crate) fn attach(
        shared: &Shared,
        partitions: &[Arc<Partition>],
        group: Option<&ByteString>,
        epoch: Option<u64>,
        wakeup: &Arc<Wakeup>,
    ) -> Result<(Vec<Arc<Self>>, Vec<Op>)> {
        let reading = |partition: &Arc<Partition>| {
            Arc::new(Self {
                partition: partition.clone(),
                group: group.cloned(),
                epoch,
                stolen: AtomicBool::new(false),
                wakeup: wakeup.clone(),
                page: Mutex::default(),
                window: Mutex::default(),
            })
        };
        let (mut attached, mut ops): (Vec<Arc<Self>>, Vec<Op>) = (Vec::with_capacity(partitions.len()), Vec::new());
        for reading in partitions.iter().map(reading) {
            match reading.take_place(shared) {
                Ok(op) => ops.extend(op),
                Err(error) => {
                    attached.iter().for_each(|reading| reading.detach());
                    return Err(error);
                }
            }
            attached.push(reading);
        }
        Ok((attached, ops))
    }

    /// A higher epoch takes the partition from lower ones, the same from the same, and any from none. The highest that a group has had is remembered, so
    /// that a reader with a lower one is refused whether or not the higher one is still there, and over a restart. What the store is to know of that is
    /// returned.
    fn take_place(self: &Arc<Self>, shared: &Shared) -> Result<Option<Op>> {
        let mut inner = lock(&self.partition.inner);
        inner.readers.retain(|reader| reader.strong_count() > 0);
        let of_group: Vec<_> =
            inner.readers.iter().filter_map(Weak::upgrade).filter(|other| other.group == self.group).collect();
        let of_readers = of_group.iter().filter_map(|other| other.epoch).max();
        let known = self.group.as_ref().and_then(|group| inner.epochs.get(group)).copied();
        let highest = of_readers.max(known.filter(|_| self.epoch.is_some()));
        if let Some(higher) = highest.filter(|highest| Some(*highest) > self.epoch) {
            let words = format!("a reader of the same group has taken {} with epoch {higher}", self.partition.address);
            return Err(Error::new(ErrorKind::Stolen, "attach").detail(words));
        }
        let op = self.raise_epoch(shared, &mut inner)?;
        let stolen: Vec<_> = if self.epoch.is_some() { of_group } else { Vec::new() };
        let gone = |other: &Arc<Self>| stolen.iter().any(|stolen| Arc::ptr_eq(stolen, other));
        inner.readers.retain(|reader| !reader.upgrade().is_some_and(|reader| gone(&reader)));
        inner.readers.push(Arc::downgrade(self));
        // Under the lock that moves checkpoints: from here on, a reader that was taken over moves none.
        stolen.iter().for_each(|other| other.stolen.store(true, Ordering::Release));
        drop(inner);
        shared.meters.log_readers_stolen.add(stolen.len() as u64);
        stolen.iter().for_each(|other| other.wakeup.wake());
        Ok(op)
    }

    /// Remembers the epoch, which is not lower than any before. The store is told even if it is the same: the attach that had it first may have been refused, or
    /// the store may have refused that.
    fn raise_epoch(&self, shared: &Shared, inner: &mut PartitionInner) -> Result<Option<Op>> {
        let (Some(group), Some(epoch)) = (&self.group, self.epoch) else { return Ok(None) };
        if !inner.epochs.contains_key(group) && inner.epochs.len() >= shared.settings.log_groups_max {
            return Err(Error::new(ErrorKind::Exhausted, "attach").detail("there are too many groups"));
        }
        inner.epochs.insert(group.clone(), epoch);
        Ok(Some(Op::Put(RowKey::GroupEpoch(self.partition.id, group.clone()), Row::GroupEpoch(epoch))))
    }

    pub(crate) fn detach(self: &Arc<Self>) {
        let mut inner = lock(&self.partition.inner);
        inner.readers.retain(|reader| reader.upgrade().is_some_and(|reader| !Arc::ptr_eq(&reader, self)));
        if inner.readers.is_empty() {
            inner.forget_tail();
        }
    }

    pub(crate) fn is_stolen(&self) -> bool {
        self.stolen.load(Ordering::Acquire)
    }

    pub(crate) const fn group(&self) -> Option<&ByteString> {
        self.group.as_ref()
    }

    /// Asks for a page, unless one is under way; whether one was asked for.
    pub(crate) fn ask(&self) -> bool {
        let mut page = lock(&self.page);
        let idle = matches!(*page, Page::Idle);
        if idle {
            *page = Page::Asked;
        }
        idle
    }

    pub(crate) fn is_asked(&self) -> bool {
        !matches!(*lock(&self.page), Page::Idle)
    }

    pub(crate) fn come(&self, entries: Result<Vec<LogEntry>, StoreError>) {
        *lock(&self.page) = Page::Come(entries);
        self.wakeup.wake();
    }

    /// The page that has come.
    pub(crate) fn take_page(&self) -> Option<Result<Vec<LogEntry>, StoreError>> {
        let mut page = lock(&self.page);
        match std::mem::take(&mut *page) {
            Page::Come(entries) => Some(entries),
            other => {
                *page = other;
                None
            }
        }
    }

    /// The message at `position` is handed over, to be settled or not.
    pub(crate) fn handed(&self, position: u64, unsettled: bool) {
        let mut window = lock(&self.window);
        window.handed = position + 1;
        if unsettled {
            window.unsettled.insert(position);
        }
    }

    /// What was handed over is settled. The outcome says whether the group has done with it.
    pub(crate) fn settled(&self, position: u64, outcome: &Outcome) {
        let mut window = lock(&self.window);
        window.unsettled.remove(&position);
        if !matches!(outcome, Outcome::Accepted | Outcome::Rejected(_)) {
            window.given_back = Some(window.given_back.map_or(position, |first| first.min(position)));
        }
    }

    /// The checkpoint of the group, if it moves: everything before it is settled.
    pub(crate) fn moved(&self, shared: &Shared) -> Option<Op> {
        let group = self.group.as_ref()?;
        let reached = self.reached();
        let mut inner = lock(&self.partition.inner);
        if self.is_stolen() || inner.deleted {
            return None;
        }
        self.move_to(shared, group, reached, &mut inner)
    }

    fn reached(&self) -> u64 {
        let window = lock(&self.window);
        let open = window.unsettled.first().copied().unwrap_or(window.handed);
        open.min(window.given_back.unwrap_or(u64::MAX))
    }

    fn move_to(&self, shared: &Shared, group: &ByteString, reached: u64, inner: &mut PartitionInner) -> Option<Op> {
        let known = inner.checkpoints.contains_key(group);
        if !known && inner.checkpoints.len() >= shared.settings.log_groups_max {
            return None;
        }
        let checkpoint = inner.checkpoints.entry(group.clone()).or_default();
        if reached <= *checkpoint {
            return None;
        }
        *checkpoint = reached;
        Some(checkpoint_op(&self.partition, group, reached))
    }
}

/// Settles what a transaction has read, and moves the checkpoints: all, or none if a reader has lost its partition meanwhile.
pub(crate) fn move_all(shared: &Shared, read: &[(&Arc<Reading>, u64, &Outcome)]) -> Result<Moved, String> {
    let mut partitions: Vec<&Arc<Partition>> = read.iter().map(|(reading, ..)| &reading.partition).collect();
    // Nobody else has the locks of two partitions at once, and who has one waits for no other: in one order, there is no circle.
    partitions.sort_unstable_by_key(|partition| partition.id.0);
    partitions.dedup_by_key(|partition| partition.id);
    let mut locked: Vec<_> = partitions.iter().map(|partition| (partition.id, lock(&partition.inner))).collect();
    let gone = |id| locked.iter().any(|(known, inner)| *known == id && inner.deleted);
    if let Some((reading, ..)) = read.iter().find(|(reading, ..)| reading.is_stolen() || gone(reading.partition.id)) {
        return Err(format!("{}: its reader has lost it", reading.partition.address));
    }
    let mut moved = Moved::default();
    for (reading, position, outcome) in read {
        moved.read.push(((*reading).clone(), *position, lock(&reading.window).given_back));
        reading.settled(*position, outcome);
    }
    for (reading, ..) in read {
        let Some(group) = &reading.group else { continue };
        let Some((_, inner)) = locked.iter_mut().find(|(id, _)| *id == reading.partition.id) else { continue };
        let (before, to) = (inner.checkpoints.get(group).copied(), reading.reached());
        if let Some(op) = reading.move_to(shared, group, to, inner) {
            moved.ops.push(op);
            moved.checkpoints.push(((*reading).clone(), before, to));
        }
    }
    Ok(moved)
}

/// What a transaction has read is settled, and checkpoints have moved, before the store has it: what reads next stays behind that.
#[derive(Debug, Default)]
pub(crate) struct Moved {
    pub(crate) ops: Vec<Op>,
    /// What was settled, and what was given back first before.
    read: Vec<(Arc<Reading>, u64, Option<u64>)>,
    /// From where to where a checkpoint has moved.
    checkpoints: Vec<(Arc<Reading>, Option<u64>, u64)>,
}

impl Moved {
    /// The store has not taken it: nothing of it is settled, and checkpoints are where they were. What the store is told of that: others may have moved
    /// them further meanwhile.
    pub(crate) fn back(self) -> Vec<Op> {
        for (reading, position, given_back) in self.read.into_iter().rev() {
            let mut window = lock(&reading.window);
            window.unsettled.insert(position);
            if window.given_back == Some(position) {
                window.given_back = given_back;
            }
        }
        let mut ops = Vec::new();
        for (reading, before, to) in self.checkpoints.into_iter().rev() {
            let Some(group) = &reading.group else { continue };
            let mut inner = lock(&reading.partition.inner);
            let Some(checkpoint) = inner.checkpoints.get_mut(group).filter(|checkpoint| **checkpoint >= to) else {
                continue;
            };
            let further = *checkpoint > to;
            *checkpoint = before.unwrap_or_default();
            if further || !ops.is_empty() {
                ops.push(checkpoint_op(&reading.partition, group, *checkpoint));
            } else if before.is_none() {
                inner.checkpoints.remove(group);
            }
        }
        ops
    }
}

pub(crate) fn checkpoint_op(partition: &Partition, group: &ByteString, position: u64) -> Op {
    Op::Put(RowKey::Checkpoint(partition.id, group.clone()), Row::Checkpoint(position))
}
