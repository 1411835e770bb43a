//! Slots of deliveries that both ends remember: a delivery has the same one on every connection, and hands it on to nobody until it has come to its end.

use alloc::vec::Vec;

use roadbed_core::Qos;
use roadbed_core::client::{Change, StoredReceipt};

use crate::UnsettledMap;
use crate::client::outbound::{split_name, stored_name};
use crate::client::shared::Wakers;
use crate::client::state::Session;
use crate::codec::Tag;

/// The slot of a delivery that the application does not have now.
#[derive(Clone, Copy)]
pub(super) struct Kept {
    pub(super) slot: u16,
    /// The application has had it: an earlier connection may have passed it on.
    pub(super) delivered: bool,
}

impl Session {
    /// Whether a delivery keeps its slot for as long as it is unsettled.
    pub(super) fn keeps_slot(&self, qos: Qos) -> bool {
        self.terms.kept && qos == Qos::ExactlyOnce
    }

    /// Takes a slot for a delivery that has none, and tells the store. Whether there was one.
    pub(super) fn keep_slot(&mut self, link: u64, tag: Tag) -> bool {
        if self.inbound(link).is_none_or(|inbound| inbound.slots.contains_key(&tag)) {
            return false;
        }
        let (Some(slot), Some(name)) = (self.held.take(), self.stored_name(link, &tag)) else { return false };
        if let Some(inbound) = self.inbound(link) {
            inbound.slots.insert(tag, Kept { slot, delivered: false });
        }
        self.change(|| Change::Delivered(StoredReceipt { name, slot, outcome: None, keep: false }));
        true
    }

    /// A delivery that the application does not have has come to its end.
    pub(super) fn forget_slot(&mut self, link: u64, tag: &Tag) {
        let Some(kept) = self.inbound(link).and_then(|inbound| inbound.slots.remove(tag)) else { return };
        self.held.give_back(kept.slot);
        if let Some(name) = self.stored_name(link, tag) {
            self.change(|| Change::Completed(name));
        }
    }

    /// The same for all that the server does not know any more.
    pub(super) fn forget_slots(&mut self, link: u64, theirs: &UnsettledMap) {
        let Some(inbound) = self.inbound(link) else { return };
        let gone: Vec<Tag> = inbound.slots.keys().filter(|tag| !theirs.contains_key(*tag)).copied().collect();
        gone.iter().for_each(|tag| self.forget_slot(link, tag));
    }

    /// Takes a delivery from the application, which is to have it in the same slot again.
    pub(super) fn take_back(&mut self, link: u64, slot: u16) {
        let Some((tag, qos)) = self.held.slot(slot).map(|entry| (entry.tag, entry.qos)) else { return };
        let keeps = self.keeps_slot(qos);
        match keeps {
            true => self.held.withdraw(slot),
            false => self.held.remove(slot),
        };
        let Some(inbound) = self.inbound(link) else { return };
        inbound.tags.remove(&tag);
        if keeps {
            inbound.slots.insert(tag, Kept { slot, delivered: true });
        }
    }

    /// Its link is gone. If it was closed, so are its deliveries; if not, whoever attaches it again finds them in their slots.
    pub(in crate::client) fn forget_held(&mut self, link: u64, closed: bool) {
        let held: Vec<u16> = self.held.of(link).map(|(handle, _)| handle.slot()).collect();
        if closed || !self.terms.kept {
            held.into_iter().for_each(|slot| self.let_go(link, slot));
            return self.forget_slots(link, &UnsettledMap::default());
        }
        for slot in held {
            self.put_away(link, slot);
        }
        let slots = self.inbound(link).map(|inbound| core::mem::take(&mut inbound.slots)).unwrap_or_default();
        for (tag, Kept { slot, .. }) in slots {
            let Some(name) = self.stored_name(link, &tag) else { continue };
            self.stored.received.push(StoredReceipt { name, slot, outcome: None, keep: false });
        }
    }

    fn put_away(&mut self, link: u64, slot: u16) {
        let Some(qos) = self.held.slot(slot).map(|entry| entry.qos) else { return };
        if !self.keeps_slot(qos) {
            return drop(self.held.remove(slot));
        }
        let Some(entry) = self.held.withdraw(slot) else { return };
        let Some(name) = self.stored_name(link, &entry.tag) else { return };
        let outcome = entry.outcome().cloned();
        self.stored.received.push(StoredReceipt { name, slot, outcome, keep: entry.keep });
    }

    /// Takes over what the store has of a link.
    pub(in crate::client) fn consumer_restored(&mut self, link: u64) {
        let Some(name) = self.links.get(&link).map(|link| link.name.clone()) else { return };
        let mine = |receipt: &StoredReceipt| split_name(&receipt.name).is_some_and(|(of, _)| of == name.as_bytes());
        let (stored, rest) = core::mem::take(&mut self.stored.received).into_iter().partition(mine);
        self.stored.received = rest;
        let stored: Vec<StoredReceipt> = stored;
        stored.into_iter().for_each(|receipt| self.restore(link, receipt));
    }

    fn restore(&mut self, link: u64, receipt: StoredReceipt) {
        let StoredReceipt { name, slot, outcome, keep } = receipt;
        let Some((_, tag)) = split_name(&name) else { return };
        let Some(outcome) = outcome else {
            if let Some(inbound) = self.inbound(link) {
                inbound.slots.insert(tag, Kept { slot, delivered: true });
            }
            return;
        };
        if self.held.put(slot, link, None, tag, Qos::ExactlyOnce, super::Stage::Said(outcome)).is_none() {
            return;
        }
        if let Some(entry) = self.held.slot(slot) {
            entry.keep = keep;
        }
        if let Some(inbound) = self.inbound(link) {
            inbound.tags.insert(tag, slot);
        }
    }

    /// What waits and is in the store can be handed over.
    pub(in crate::client) fn tell_waiting(&mut self, link: u64, wakers: &mut Wakers) {
        let kept = self.terms.kept;
        if let Some(inbound) = self.inbound(link).filter(|inbound| kept && inbound.deliverable > 0) {
            wakers.wake(&mut inbound.receive);
        }
    }

    pub(super) fn stored_name(&self, link: u64, tag: &Tag) -> Option<roadbed_core::Key> {
        self.links.get(&link).map(|link| stored_name(&link.name, tag))
    }
}
