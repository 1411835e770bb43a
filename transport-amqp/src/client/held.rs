//! What a session holds: deliveries that were handed over and that not both ends have settled.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use roadbed_core::{Handle, Outcome, Qos, TxnId};

use crate::codec::Tag;

/// The slots of a session's deliveries. A slot that was taken is nobody else's until it is given back, whether a delivery is in it or not.
#[derive(Default)]
pub(super) struct Held {
    slots: Vec<Option<Entry>>,
    free: VecDeque<u16>,
    generation: u64,
    /// How many wait for their outcome.
    open: u32,
}

/// Freed slots rest until this many wait: a late answer does not hit the next delivery.
const REST: usize = 32;

pub(super) struct Entry {
    generation: u64,
    pub(super) link: u64,
    /// What it is called on the current attachment of its link.
    pub(super) number: Option<u64>,
    pub(super) tag: Tag,
    pub(super) qos: Qos,
    stage: Stage,
    /// Who asked is told when the server has settled.
    pub(super) cookie: Option<u64>,
    /// The application will say when it has forgotten it.
    pub(super) keep: bool,
}

/// Where a delivery stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The application has it.
    Open,
    /// Its outcome waits for a transaction.
    Enlisted(TxnId, Outcome),
    /// Its outcome is named.
    Said(Outcome),
    /// The server has forgotten it; the application has not.
    Settled(Outcome),
}

impl Entry {
    /// Whether its outcome is named, for good.
    pub(super) const fn is_decided(&self) -> bool {
        matches!(self.stage, Stage::Said(_) | Stage::Settled(_))
    }

    pub(super) const fn stage(&self) -> &Stage {
        &self.stage
    }

    /// The outcome that is named, for good.
    pub(super) const fn outcome(&self) -> Option<&Outcome> {
        match &self.stage {
            Stage::Said(outcome) | Stage::Settled(outcome) => Some(outcome),
            Stage::Open | Stage::Enlisted(..) => None,
        }
    }
}

impl Held {
    /// How many wait for their outcome.
    pub(super) const fn open(&self) -> u32 {
        self.open
    }

    /// Takes a slot; nothing if all are taken.
    pub(super) fn take(&mut self) -> Option<u16> {
        if self.free.len() > REST || self.slots.len() >= usize::from(u16::MAX) {
            return self.free.pop_front();
        }
        self.slots.push(None);
        u16::try_from(self.slots.len()).ok()
    }

    /// Takes a slot that an earlier connection has taken. Whether nobody has it.
    pub(super) fn take_again(&mut self, slot: u16) -> bool {
        let known = self.slots.len();
        if usize::from(slot) > known {
            self.slots.resize_with(usize::from(slot), || None);
            self.free.extend((known + 1..usize::from(slot)).filter_map(|slot| u16::try_from(slot).ok()));
            return true;
        }
        let at = self.free.iter().position(|free| *free == slot);
        at.and_then(|at| self.free.remove(at)).is_some()
    }

    /// Gives a slot back that no delivery is in.
    pub(super) fn give_back(&mut self, slot: u16) {
        self.free.push_back(slot);
    }

    /// Puts a delivery into a slot that was taken for it.
    pub(super) fn put(
        &mut self,
        slot: u16,
        link: u64,
        number: Option<u64>,
        tag: Tag,
        qos: Qos,
        stage: Stage,
    ) -> Option<Handle> {
        let generation = self.generation + 1;
        let place = self.slots.get_mut(usize::from(slot).checked_sub(1)?)?;
        self.open += u32::from(stage.is_open());
        *place = Some(Entry { generation, link, number, tag, qos, stage, cookie: None, keep: false });
        self.generation = generation;
        Handle::new(slot, generation)
    }

    pub(super) fn slot(&mut self, slot: u16) -> Option<&mut Entry> {
        self.slots.get_mut(usize::from(slot).checked_sub(1)?)?.as_mut()
    }

    /// The delivery that a handle names; generation 0 is whoever is there.
    pub(super) fn find(&mut self, handle: Handle) -> Option<&mut Entry> {
        let entry = self.slot(handle.slot())?;
        (handle.generation() == 0 || handle.generation() == entry.generation).then_some(entry)
    }

    pub(super) fn set(&mut self, slot: u16, stage: Stage) {
        let Some(entry) = self.slot(slot) else { return };
        let (was, is) = (u32::from(entry.stage.is_open()), u32::from(stage.is_open()));
        entry.stage = stage;
        self.open = self.open + is - was;
    }

    pub(super) fn remove(&mut self, slot: u16) -> Option<Entry> {
        let entry = self.withdraw(slot)?;
        self.give_back(slot);
        Some(entry)
    }

    /// Takes a delivery out of its slot, which stays its own.
    pub(super) fn withdraw(&mut self, slot: u16) -> Option<Entry> {
        let entry = self.slots.get_mut(usize::from(slot).checked_sub(1)?)?.take()?;
        self.open -= u32::from(entry.stage.is_open());
        Some(entry)
    }

    /// All deliveries of a link, with their handles.
    pub(super) fn of(&self, link: u64) -> impl Iterator<Item = (Handle, &Entry)> {
        self.iter().filter(move |(_, entry)| entry.link == link)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Handle, &Entry)> {
        let slots = self.slots.iter().enumerate().filter_map(|(at, slot)| Some((at, slot.as_ref()?)));
        slots.filter_map(|(at, entry)| Some((Handle::new((at + 1) as u16, entry.generation)?, entry)))
    }
}

impl Stage {
    const fn is_open(&self) -> bool {
        matches!(self, Self::Open | Self::Enlisted(..))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(held: &mut Held, slot: u16) -> Handle {
        held.put(slot, 1, None, Tag::default(), Qos::ExactlyOnce, Stage::Open).expect("a slot that was taken")
    }

    #[test]
    fn a_freed_slot_rests() {
        let mut held = Held::default();
        let slot = held.take().expect("room");
        put(&mut held, slot);
        held.remove(slot).expect("in use");
        for _ in 0..REST {
            let other = held.take().expect("room");
            assert_ne!(other, slot);
            held.give_back(other);
        }
        assert_eq!(held.take(), Some(slot));
    }

    #[test]
    fn a_slot_of_an_earlier_connection_is_nobody_elses() {
        let mut held = Held::default();
        assert!(held.take_again(3));
        assert!(!held.take_again(3), "once");
        assert!(held.take_again(1), "what is below is free");
        let more: Vec<u16> = (0..3).filter_map(|_| held.take()).collect();
        assert!(!more.contains(&3) && !more.contains(&1), "{more:?}");
    }

    #[test]
    fn a_delivery_leaves_and_its_slot_stays_its_own() {
        let mut held = Held::default();
        let slot = held.take().expect("room");
        put(&mut held, slot);
        held.withdraw(slot).expect("in use");
        assert_eq!(held.open(), 0);
        let others: Vec<u16> = (0..2 * REST).filter_map(|_| held.take()).collect();
        assert!(!others.contains(&slot));
    }

    #[test]
    fn every_slot_can_be_taken_once() {
        let mut held = Held::default();
        let all: alloc::collections::BTreeSet<u16> = core::iter::from_fn(|| held.take()).collect();
        assert_eq!(all.len(), usize::from(u16::MAX));
        held.give_back(7);
        assert_eq!((held.take(), held.take()), (Some(7), None));
    }
}
