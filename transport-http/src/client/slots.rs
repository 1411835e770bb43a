//! The unsettled deliveries of a consumer.

use std::collections::VecDeque;
use std::sync::Arc;

use roadbed_core::Handle;

use super::budget::Budget;

/// What is held, by slot: lock tokens, or places in a log. Slots are reused first in, first out.
#[derive(Debug)]
pub(super) struct Slots<T = String> {
    entries: Vec<Entry<T>>,
    free: VecDeque<u16>,
    max: u16,
    session: Arc<Budget>,
}

#[derive(Debug)]
struct Entry<T> {
    generation: u64,
    token: Option<T>,
}

impl<T: Clone> Slots<T> {
    /// At most `max`, and no more than the session permits.
    pub(super) fn new(max: u16, session: Arc<Budget>) -> Self {
        Self { entries: Vec::new(), free: VecDeque::new(), max: max.max(1), session }
    }

    /// How many more there is room for.
    pub(super) fn free(&self) -> u32 {
        let used = self.entries.len() - self.free.len();
        let own = usize::from(self.max).saturating_sub(used);
        u32::try_from(own).unwrap_or(u32::MAX).min(self.session.free())
    }

    /// Takes a slot; `None` if there is none.
    pub(super) fn insert(&mut self, token: T) -> Option<Handle> {
        if self.free() == 0 || !self.session.take() {
            return None;
        }
        if self.entries.len() < usize::from(self.max) {
            self.entries.push(Entry { generation: 1, token: Some(token) });
            return Handle::new(u16::try_from(self.entries.len()).ok()?, 1);
        }
        let slot = self.free.pop_front()?;
        let entry = &mut self.entries[usize::from(slot) - 1];
        entry.generation += 1;
        entry.token = Some(token);
        Handle::new(slot, entry.generation)
    }

    /// The token of whoever is in the slot, if it is who is meant.
    pub(super) fn find(&self, handle: Handle) -> Option<&T> {
        let entry = self.entries.get(usize::from(handle.slot()) - 1)?;
        let meant = handle.generation() == 0 || handle.generation() == entry.generation;
        entry.token.as_ref().filter(|_| meant)
    }

    pub(super) fn remove(&mut self, handle: Handle) {
        if self.find(handle).is_some() {
            self.entries[usize::from(handle.slot()) - 1].token = None;
            self.free.push_back(handle.slot());
            self.session.give_back(1);
        }
    }

    /// Everything that is held.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Handle, &T)> {
        self.entries
            .iter()
            .zip(1..)
            .filter_map(|(entry, slot)| Some((Handle::new(slot, entry.generation)?, entry.token.as_ref()?)))
    }

    /// Empties every slot.
    pub(super) fn drain(&mut self) -> Vec<(Handle, T)> {
        let held: Vec<_> = self.iter().map(|(handle, token)| (handle, token.clone())).collect();
        held.iter().for_each(|(handle, _)| self.remove(*handle));
        held
    }
}

impl<T> Drop for Slots<T> {
    fn drop(&mut self) {
        self.session.give_back(self.entries.len() - self.free.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_handle_opens_nothing() {
        let session = Arc::new(Budget::new(3));
        let mut slots = Slots::<String>::new(2, session.clone());
        let one = slots.insert("1".into()).unwrap();
        let two = slots.insert("2".into()).unwrap();
        assert_eq!((slots.insert("3".into()), slots.free()), (None, 0));
        slots.remove(one);
        assert_eq!(slots.find(one), None);
        let three = slots.insert("3".into()).unwrap();
        assert_eq!((three.slot(), slots.find(one)), (one.slot(), None));
        assert_eq!(slots.find(three).unwrap(), "3");
        assert_eq!(slots.find(Handle::new(two.slot(), 0).unwrap()).unwrap(), "2");
        slots.remove(one);
        assert_eq!(slots.drain().len(), 2);
        assert_eq!(slots.free(), 2);
        assert_eq!(slots.find(Handle::new(9, 0).unwrap()), None);

        let mut other = Slots::<String>::new(9, session.clone());
        let held = ["1", "2", "3"].map(|token| other.insert(token.into()));
        assert!(held.iter().all(Option::is_some));
        assert_eq!((slots.insert("4".into()), other.insert("4".into())), (None, None));
        drop(other);
        assert_eq!(session.free(), 3);
    }
}
