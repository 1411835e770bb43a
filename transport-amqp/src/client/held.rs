//! What a session holds: deliveries that were handed over and that not both ends have settled.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use roadbed_core::{Handle, Outcome, Qos, TxnId};

use crate::codec::Tag;

/// The slots of a session's deliveries.
#[derive(Default)]
pub(super) struct Held {
    slots: Vec<Option<Entry>>,
    free: VecDeque<u16>,
    generation: u64,
    /// How many wait for their outcome.
    open: u32,
}

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
}

impl Held {
    /// How many wait for their outcome.
    pub(super) const fn open(&self) -> u32 {
        self.open
    }

    /// Puts a delivery into a slot; nothing if all are taken.
    pub(super) fn insert(
        &mut self,
        link: u64,
        number: Option<u64>,
        tag: Tag,
        qos: Qos,
        stage: Stage,
    ) -> Option<Handle> {
        let slot = match self.free.pop_front() {
            Some(slot) => slot,
            None => {
                let slot = u16::try_from(self.slots.len() + 1).ok()?;
                self.slots.push(None);
                slot
            }
        };
        self.generation += 1;
        self.open += u32::from(stage.is_open());
        let entry = Entry { generation: self.generation, link, number, tag, qos, stage, cookie: None, keep: false };
        self.slots[usize::from(slot) - 1] = Some(entry);
        Handle::new(slot, self.generation)
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
        let entry = self.slots.get_mut(usize::from(slot).checked_sub(1)?)?.take()?;
        self.open -= u32::from(entry.stage.is_open());
        self.free.push_back(slot);
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
