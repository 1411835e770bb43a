//! The positions of copies in their queues: none is given again after a restart, so that the name of a copy never names another, whatever became of the
//! first one, and whether or not it was stored.
//!
//! One mark for all queues is in the store, far ahead of what is given; after a restart, every queue begins behind it.

use std::sync::atomic::{AtomicU64, Ordering};

/// How far ahead of what is given the mark is set.
const AHEAD: u64 = 1 << 16;

#[derive(Debug)]
pub(crate) struct Positions {
    first: u64,
    /// The mark that the store is to know, and the one that it was told.
    mark: AtomicU64,
    told: AtomicU64,
    /// A position from here on moves the mark.
    moves: AtomicU64,
}

impl Positions {
    /// `mark` is what the store has from the last start. The mark of this one is due at once.
    pub(crate) fn new(mark: u64) -> Self {
        let ahead = |by| AtomicU64::new(mark.saturating_add(by));
        Self { first: mark, mark: ahead(AHEAD), told: AtomicU64::new(0), moves: ahead(AHEAD / 2) }
    }

    /// What queues begin behind.
    pub(crate) const fn first(&self) -> u64 {
        self.first
    }

    /// A position is given. If it is stored, that is submitted after this.
    pub(crate) fn given(&self, position: u64) {
        if position >= self.moves.load(Ordering::Acquire) {
            // The mark comes first: who sees the other one sees it, too.
            self.mark.fetch_max(position.saturating_add(AHEAD), Ordering::Release);
            self.moves.fetch_max(position.saturating_add(AHEAD / 2), Ordering::Release);
        }
    }

    pub(crate) fn is_due(&self) -> bool {
        self.mark.load(Ordering::Acquire) > self.told.load(Ordering::Acquire)
    }

    /// The mark, if the store is to be told of it, before anything else. Only while no other thread can submit.
    pub(crate) fn due(&self) -> Option<u64> {
        self.is_due().then(|| {
            let mark = self.mark.load(Ordering::Acquire);
            self.told.store(mark, Ordering::Release);
            mark
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_knows_every_position_before_it_is_used() {
        let positions = Positions::new(0);
        let mut told = positions.due().expect("due at once");
        let mut times = 0;
        for position in 1..=5 * AHEAD {
            positions.given(position);
            if let Some(mark) = positions.due() {
                assert!(mark > told);
                (told, times) = (mark, times + 1);
            }
            assert!(position < told);
        }
        assert!(times < 11, "{times}");
        // All at once, and beyond all numbers.
        positions.given(100 * AHEAD);
        assert!(positions.due().expect("due") > 100 * AHEAD);
        positions.given(u64::MAX);
        assert_eq!((positions.due(), positions.due()), (Some(u64::MAX), None));
        assert_eq!(Positions::new(told).first(), told);
    }
}
