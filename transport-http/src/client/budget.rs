//! The session's window: how many deliveries may be unsettled over all its consumers.

use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::Notify;

/// The window, and how much of it is used.
#[derive(Debug)]
pub(super) struct Budget {
    max: u32,
    used: AtomicU32,
    /// Somebody has given back.
    pub(super) freed: Notify,
}

impl Budget {
    /// 0 is no bound of the session's own.
    pub(super) fn new(max: u16) -> Self {
        let max = if max == 0 { u32::MAX } else { u32::from(max) };
        Self { max, used: AtomicU32::new(0), freed: Notify::new() }
    }

    pub(super) fn free(&self) -> u32 {
        self.max.saturating_sub(self.used.load(Ordering::Relaxed))
    }

    /// Takes one, if there is one.
    pub(super) fn take(&self) -> bool {
        let more = |used| (used < self.max).then_some(used + 1);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    pub(super) fn give_back(&self, count: usize) {
        if count > 0 {
            self.used.fetch_sub(u32::try_from(count).unwrap_or(u32::MAX), Ordering::Relaxed);
            self.freed.notify_waiters();
        }
    }
}
