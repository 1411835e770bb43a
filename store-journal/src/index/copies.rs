//! The copies of one queue: 32 bytes each, and more only for those to which something has happened.

use std::collections::{BTreeMap, VecDeque};

use bytestring::ByteString;
use hashbrown::HashMap;
use roadbed_broker::{Facts, Holder, NewCopy, StoredHold};
use roadbed_core::{CopyId, Qos, QueueId, Time};

use super::{Found, Spot};
use crate::codec::KeptCopy;

/// How many positions a chunk is for, as a power of two: what is inside is found by the low bits of the position.
const CHUNK_BITS: u32 = 8;

/// The copies of a queue.
#[derive(Debug, Default)]
pub(super) struct Copies {
    /// By the high bits of their positions; in each, in order.
    chunks: BTreeMap<u64, VecDeque<Slot>>,
    rare: HashMap<u64, Box<Rare>>,
    /// When they expire, if they do.
    expires: BTreeMap<u64, Time>,
}

/// What every copy has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    at: Time,
    pub(super) spot: Spot,
    cost: u32,
    /// The low bits of the position.
    low: u8,
    qos: Qos,
    priority: u8,
    retained: bool,
}

/// What few copies have.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Rare {
    bindings: Vec<u32>,
    pub(super) count: u32,
    pub(super) attempt: u32,
    pub(super) excluded: Vec<ByteString>,
    pub(super) held: Option<StoredHold>,
    deliver_after: Option<Time>,
    deadline: Option<Time>,
}

impl Copies {
    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Puts a copy in; the one of that position, if there was one, is returned.
    pub(super) fn insert(&mut self, found: Found) -> Option<Slot> {
        let seq = found.kept.copy.copy.seq;
        let (slot, expires, rare) = taken_apart(found);
        match expires {
            Some(at) => self.expires.insert(seq, at),
            None => self.expires.remove(&seq),
        };
        match rare == Rare::default() {
            true => self.rare.remove(&seq),
            false => self.rare.insert(seq, Box::new(rare)),
        };
        let chunk = self.chunks.entry(seq >> CHUNK_BITS).or_default();
        match place(chunk, slot.low) {
            Ok(at) => Some(std::mem::replace(&mut chunk[at], slot)),
            Err(at) => {
                chunk.insert(at, slot);
                None
            }
        }
    }

    /// Changes what has happened to a copy, if it is there.
    pub(super) fn change(&mut self, seq: u64, change: impl FnOnce(&mut Rare)) {
        if self.slot(seq).is_some() {
            change(self.rare.entry(seq).or_default());
        }
    }

    /// Takes a copy out.
    pub(super) fn remove(&mut self, seq: u64) -> Option<Slot> {
        let high = seq >> CHUNK_BITS;
        let chunk = self.chunks.get_mut(&high)?;
        let at = place(chunk, seq as u8).ok()?;
        let slot = chunk.remove(at);
        if chunk.is_empty() {
            self.chunks.remove(&high);
        } else if chunk.len() * 4 <= chunk.capacity() {
            chunk.shrink_to(chunk.len() * 2);
        }
        self.forget(seq);
        slot
    }

    /// Takes the copies from `first` to `last` out, each into `gone`.
    pub(super) fn remove_run(&mut self, first: u64, last: u64, mut gone: impl FnMut(Slot)) {
        let highs: Vec<u64> =
            self.chunks.range(first >> CHUNK_BITS..=last >> CHUNK_BITS).map(|(high, _)| *high).collect();
        for high in highs {
            let chunk = self.chunks.remove(&high).unwrap_or_default();
            let (inside, outside): (VecDeque<_>, VecDeque<_>) =
                chunk.into_iter().partition(|slot| (first..=last).contains(&slot.seq(high)));
            if !outside.is_empty() {
                self.chunks.insert(high, outside);
            }
            for slot in inside {
                self.forget(slot.seq(high));
                gone(slot);
            }
        }
    }

    /// All of them.
    pub(super) fn into_slots(self) -> impl Iterator<Item = Slot> {
        self.chunks.into_values().flatten()
    }

    pub(super) fn spot(&self, seq: u64) -> Option<Spot> {
        self.slot(seq).map(|slot| slot.spot)
    }

    pub(super) fn get(&self, copy: CopyId) -> Option<Found> {
        self.slot(copy.seq).map(|slot| self.found(copy, slot))
    }

    /// The copies in order, from behind the position `after`. Their queue is `queue`.
    pub(super) fn list(&self, queue: QueueId, after: u64) -> impl Iterator<Item = Found> {
        let first = after.saturating_add(1);
        let slots = self
            .chunks
            .range(first >> CHUNK_BITS..)
            .flat_map(|(&high, chunk)| chunk.iter().map(move |slot| (slot.seq(high), slot)));
        slots.skip_while(move |(seq, _)| *seq < first).map(move |(seq, slot)| self.found(CopyId { queue, seq }, slot))
    }

    fn slot(&self, seq: u64) -> Option<&Slot> {
        let chunk = self.chunks.get(&(seq >> CHUNK_BITS))?;
        chunk.get(place(chunk, seq as u8).ok()?)
    }

    fn forget(&mut self, seq: u64) {
        self.rare.remove(&seq);
        self.expires.remove(&seq);
    }

    fn found(&self, copy: CopyId, slot: &Slot) -> Found {
        let Rare { bindings, count, attempt, excluded, held, deliver_after, deadline } =
            self.rare.get(&copy.seq).map_or_else(Rare::default, |rare| Rare::clone(rare));
        let expires_at = self.expires.get(&copy.seq).copied();
        let facts = Facts { cost: slot.cost, priority: slot.priority, expires_at, deliver_after, deadline };
        let copy = NewCopy { copy, qos: slot.qos, retained: slot.retained, bindings };
        let kept = KeptCopy { copy, count, attempt, excluded, held };
        Found { spot: slot.spot, at: slot.at, facts, kept }
    }
}

impl Slot {
    const fn seq(&self, high: u64) -> u64 {
        high << CHUNK_BITS | self.low as u64
    }
}

/// Where the copy with these low bits is in its chunk, or would be.
fn place(chunk: &VecDeque<Slot>, low: u8) -> Result<usize, usize> {
    // New ones come at the end.
    match chunk.back() {
        Some(last) if last.low < low => Err(chunk.len()),
        _ => chunk.binary_search_by_key(&low, |slot| slot.low),
    }
}

fn taken_apart(found: Found) -> (Slot, Option<Time>, Rare) {
    let Found { spot, at, facts, kept } = found;
    let Facts { cost, priority, expires_at, deliver_after, deadline } = facts;
    let KeptCopy { copy: NewCopy { copy, qos, retained, bindings }, count, attempt, excluded, held } = kept;
    let excluded = excluded.iter().map(own).collect();
    let held = held.map(|held| StoredHold { holder: held.holder.as_ref().map(detached), ..held });
    let slot = Slot { at, spot, cost, low: copy.seq as u8, qos, priority, retained };
    (slot, expires_at, Rare { bindings, count, attempt, excluded, held, deliver_after, deadline })
}

/// Names in memory of their own: what they were read from is not kept for them.
pub(super) fn detached(holder: &Holder) -> Holder {
    match holder {
        Holder::Link { principal, session, link } => {
            Holder::Link { principal: own(principal), session: own(session), link: own(link) }
        }
        Holder::Lease { principal, link, epoch, lease } => {
            let link = link.as_ref().map(own);
            Holder::Lease { principal: own(principal), link, epoch: *epoch, lease: *lease }
        }
        other => other.clone(),
    }
}

pub(super) fn own(text: &ByteString) -> ByteString {
    String::from(&**text).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Place;

    fn found(seq: u64) -> Found {
        let copy = NewCopy {
            copy: CopyId { queue: QueueId(1), seq },
            qos: Qos::AtLeastOnce,
            retained: false,
            bindings: vec![],
        };
        let spot = Spot { segment: 1, place: Place { offset: seq as u32, len: 9 } };
        let kept = KeptCopy { copy, count: 0, attempt: 0, excluded: Vec::new(), held: None };
        Found { spot, at: Time::ZERO, facts: Facts::default(), kept }
    }

    fn seqs(copies: &Copies, after: u64) -> Vec<u64> {
        copies.list(QueueId(1), after).map(|found| found.kept.copy.copy.seq).collect()
    }

    #[test]
    fn a_plain_copy_is_32_bytes() {
        assert_eq!(size_of::<Slot>(), 32);
    }

    #[test]
    fn copies_are_found_by_position_however_they_came_and_went() {
        let mut copies = Copies::default();
        for seq in [5, 700, 3, 256, 255, 4, 1000] {
            assert!(copies.insert(found(seq)).is_none());
        }
        assert_eq!(seqs(&copies, 0), [3, 4, 5, 255, 256, 700, 1000]);
        assert_eq!(seqs(&copies, 255), [256, 700, 1000]);
        assert!(copies.remove(4).is_some() && copies.remove(4).is_none());
        let mut gone = 0;
        copies.remove_run(5, 256, |_| gone += 1);
        assert_eq!((gone, seqs(&copies, 0)), (3, vec![3, 700, 1000]));
        copies.change(700, |rare| rare.count = 2);
        copies.change(701, |rare| rare.count = 2);
        assert_eq!(copies.get(CopyId { queue: QueueId(1), seq: 700 }).map(|found| found.kept.count), Some(2));
        assert_eq!(copies.rare.len(), 1);
        copies.remove_run(0, u64::MAX, |_| gone += 1);
        assert!(copies.is_empty() && copies.rare.is_empty() && gone == 6);
    }
}
