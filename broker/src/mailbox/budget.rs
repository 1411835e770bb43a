//! How much of what a session has sent the broker holds for want of an answer of the store.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

#[derive(Debug, Default)]
pub(crate) struct Budget {
    bytes: AtomicUsize,
    paused: AtomicBool,
}

impl Budget {
    /// What it is now.
    pub(super) fn more(&self, bytes: usize) -> usize {
        self.bytes.fetch_add(bytes, Ordering::AcqRel) + bytes
    }

    /// What it is now.
    pub(super) fn less(&self, bytes: usize) -> usize {
        self.bytes.fetch_sub(bytes, Ordering::AcqRel) - bytes
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Acquire)
    }

    /// Whether the session is to stop now, or to go on; `None`: as before. Under the session's lock: the last one to look sees what is so.
    pub(super) fn changes(&self, max: usize) -> Option<bool> {
        let bytes = self.bytes.load(Ordering::Acquire);
        let paused = self.is_paused();
        let changes = if paused { bytes <= max / 2 } else { bytes > max };
        changes.then(|| {
            self.paused.store(!paused, Ordering::Release);
            !paused
        })
    }

    /// The session has a new connection, which was told nothing.
    pub(crate) fn restart(&self) {
        self.paused.store(false, Ordering::Release);
    }
}
