//! The slab of a session's unsettled deliveries. The slot is the MQTT packet identifier.

use std::sync::Arc;

use roadbed_core::{DeliveryState, Handle, TxnId};

use crate::entry::Entry;
use crate::log::Reading;
use crate::queue::Link;

/// What is in a slot.
#[derive(Debug)]
pub(crate) enum Body {
    /// Nothing; the next free slot, 0 for none.
    Free(u16),
    /// A copy of the session's own queue, in flight.
    Mail(Entry),
    /// A copy of the session's own queue that was accepted, and is remembered until the second half. Its message is gone.
    Decided { seq: u32, stored: bool },
    /// A copy that a queue holds for this session.
    Pulled { link: Arc<Link>, seq: u64 },
    /// A message of a log that was handed over to be settled.
    Read { reading: Arc<Reading>, position: u64, state: ReadState },
    /// A copy of the session's own queue in any other state.
    Rare(Box<Rare>),
}

/// Where a message of a log stands with its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadState {
    Open,
    /// A transaction has its outcome.
    Enlisted(TxnId),
    /// Its transaction has committed; the reader has yet to forget it.
    Decided,
}

/// A copy of the session's own queue in a state that the plain path never sees.
#[derive(Debug)]
pub(crate) struct Rare {
    pub(crate) entry: Entry,
    pub(crate) state: DeliveryState,
}

#[derive(Debug)]
pub(crate) struct Slot {
    /// Grows with every transfer of the session: the generation, and the order of sending.
    pub(crate) order: u64,
    pub(crate) attempt: u32,
    pub(crate) body: Body,
}

/// What became of a conditional removal.
#[derive(Debug)]
pub(crate) enum Removed {
    Slot(Slot),
    /// The slot stays as it is.
    Kept,
    /// There is no such delivery any more.
    Missing,
}

/// Slots 1 to the window; used again first in, first out, so that a late answer does not hit the next delivery.
#[derive(Debug, Default)]
pub(crate) struct Slab {
    slots: Vec<Slot>,
    used: u16,
    free: u16,
    head: u16,
    tail: u16,
    order: u64,
}

/// Freed slots rest until this many wait, as long as the window allows.
const REST: u16 = 32;
/// A slab that once had more slots than this gives its memory back when it is empty.
const KEEP: usize = 64;
const ORDER_MAX: u64 = (1 << 48) - 1;

impl Slab {
    pub(crate) fn len(&self) -> usize {
        usize::from(self.used)
    }

    /// Takes a slot, none beyond `window`; `None` if all are in use.
    pub(crate) fn insert(&mut self, window: u16, attempt: u32, body: Body) -> Option<Handle> {
        if self.used >= window {
            return None;
        }
        self.order = if self.order == ORDER_MAX { 1 } else { self.order + 1 };
        let slot = Slot { order: self.order, attempt, body };
        let index = if self.free > REST || (self.free > 0 && self.slots.len() >= usize::from(window)) {
            self.reuse(slot)
        } else {
            self.slots.push(slot);
            self.slots.len() as u16
        };
        self.used += 1;
        Handle::new(index, self.order)
    }

    fn reuse(&mut self, slot: Slot) -> u16 {
        let index = self.head;
        let place = &mut self.slots[usize::from(index) - 1];
        let Body::Free(next) = place.body else { unreachable!("the free list has only free slots") };
        *place = slot;
        self.head = next;
        self.free -= 1;
        if self.head == 0 {
            self.tail = 0;
        }
        index
    }

    /// The slot that `handle` names, unless it is free or of another generation.
    pub(crate) fn find(&mut self, handle: Handle) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(usize::from(handle.slot()) - 1)?;
        let current = handle.generation() == 0 || handle.generation() == slot.order;
        (current && !matches!(slot.body, Body::Free(_))).then_some(slot)
    }

    /// Empties the slot that `handle` names, if `wanted` says so.
    pub(crate) fn remove_if(&mut self, handle: Handle, wanted: impl FnOnce(&Body) -> bool) -> Removed {
        let Some(slot) = self.find(handle) else { return Removed::Missing };
        if !wanted(&slot.body) {
            return Removed::Kept;
        }
        let body = std::mem::replace(&mut slot.body, Body::Free(0));
        let out = Slot { order: slot.order, attempt: slot.attempt, body };
        self.release(handle.slot());
        Removed::Slot(out)
    }

    /// Empties the slot that `handle` names.
    pub(crate) fn remove(&mut self, handle: Handle) -> Option<Slot> {
        let slot = self.find(handle)?;
        let out =
            Slot { order: slot.order, attempt: slot.attempt, body: std::mem::replace(&mut slot.body, Body::Free(0)) };
        self.release(handle.slot());
        Some(out)
    }

    fn release(&mut self, index: u16) {
        self.used -= 1;
        self.link_free(index);
        if self.used == 0 && self.slots.len() > KEEP {
            (self.slots, self.free, self.head, self.tail) = (Vec::new(), 0, 0, 0);
        }
    }

    fn link_free(&mut self, index: u16) {
        self.free += 1;
        match self.tail {
            0 => self.head = index,
            tail => self.slots[usize::from(tail) - 1].body = Body::Free(index),
        }
        self.tail = index;
    }

    /// The slot whose body this is. Looks at every slot: not for the plain path.
    pub(crate) fn find_body(&self, is: impl Fn(&Body) -> bool) -> Option<Handle> {
        let at = self.slots.iter().position(|slot| is(&slot.body))?;
        Handle::new(at as u16 + 1, self.slots[at].order)
    }

    /// Empties every slot of which this is so.
    pub(crate) fn remove_all(&mut self, is: impl Fn(&Body) -> bool) {
        for handle in self.in_order() {
            self.remove_if(handle, &is);
        }
    }

    /// Every used slot with its handle, in the order of sending.
    pub(crate) fn in_order(&self) -> Vec<Handle> {
        let mut found: Vec<(u64, u16)> = self
            .slots
            .iter()
            .enumerate()
            .filter(|(_, slot)| !matches!(slot.body, Body::Free(_)))
            .map(|(n, slot)| (slot.order, n as u16 + 1))
            .collect();
        found.sort_unstable();
        found.into_iter().filter_map(|(order, slot)| Handle::new(slot, order)).collect()
    }

    /// Puts a slot back as it was before a restart.
    pub(crate) fn restore(&mut self, index: u16, slot: Slot) {
        while self.slots.len() < usize::from(index) {
            self.slots.push(Slot { order: 0, attempt: 0, body: Body::Free(0) });
            self.link_free(self.slots.len() as u16);
        }
        self.unlink(index);
        self.order = self.order.max(slot.order);
        self.slots[usize::from(index) - 1] = slot;
        self.used += 1;
    }

    fn unlink(&mut self, index: u16) {
        let (mut before, mut at) = (0, self.head);
        while at != 0 {
            let Body::Free(next) = self.slots[usize::from(at) - 1].body else { return };
            if at == index {
                match before {
                    0 => self.head = next,
                    before => self.slots[usize::from(before) - 1].body = Body::Free(next),
                }
                if self.tail == index {
                    self.tail = before;
                }
                self.free -= 1;
                return;
            }
            (before, at) = (at, next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slab(count: u16) -> (Slab, Vec<Handle>) {
        let mut slab = Slab::default();
        let handles = (0..count)
            .map(|seq| slab.insert(u16::MAX, 1, Body::Decided { seq: seq.into(), stored: false }).expect("room"))
            .collect();
        (slab, handles)
    }

    #[test]
    fn a_freed_slot_rests() {
        let (mut slab, handles) = slab(1);
        slab.remove(handles[0]).expect("in use");
        for _ in 0..REST {
            let handle = slab.insert(u16::MAX, 1, Body::Decided { seq: 0, stored: false }).expect("room");
            assert_ne!(handle.slot(), 1);
            slab.remove(handle).expect("in use");
        }
        let reused = slab.insert(u16::MAX, 1, Body::Decided { seq: 0, stored: false }).expect("room");
        assert_eq!(reused.slot(), 1);
        assert!(slab.find(handles[0]).is_none(), "the old generation is gone");
    }

    #[test]
    fn the_window_bounds_the_slots() {
        let mut slab = Slab::default();
        let body = || Body::Decided { seq: 0, stored: false };
        let first = slab.insert(2, 1, body()).expect("room");
        let second = slab.insert(2, 1, body()).expect("room");
        assert!(slab.insert(2, 1, body()).is_none());
        slab.remove(second).expect("in use");
        slab.remove(first).expect("in use");
        assert_eq!(slab.insert(2, 1, body()).map(Handle::slot), Some(2), "first in, first out");
    }

    #[test]
    fn memory_is_given_back() {
        let (mut slab, handles) = slab(1000);
        handles.into_iter().for_each(|handle| assert!(slab.remove(handle).is_some()));
        assert_eq!(slab.len(), 0);
        assert_eq!(slab.slots.capacity(), 0);
    }

    #[test]
    fn restored_slots_are_not_free() {
        let mut slab = Slab::default();
        slab.restore(3, Slot { order: 9, attempt: 1, body: Body::Decided { seq: 4, stored: true } });
        assert_eq!(slab.in_order().len(), 1);
        let next: Vec<u16> = (0..2)
            .filter_map(|_| slab.insert(3, 1, Body::Decided { seq: 0, stored: false }))
            .map(Handle::slot)
            .collect();
        assert_eq!(next, [1, 2]);
        assert!(slab.insert(3, 1, Body::Decided { seq: 0, stored: false }).is_none());
    }
}
