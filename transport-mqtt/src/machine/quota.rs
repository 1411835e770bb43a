//! Receive Maximum (section 4.9): how many QoS 1 and 2 messages may be unanswered, in one direction of one connection.

/// A count of unanswered messages with its bound.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quota {
    used: u16,
    max: u16,
}

impl Quota {
    pub(crate) const fn new(max: u16) -> Self {
        Self { used: 0, max }
    }

    /// Counts one more; false, and nothing is counted, if that is one too many.
    #[must_use]
    pub(crate) fn take(&mut self) -> bool {
        let free = self.used < self.max;
        self.used += u16::from(free);
        free
    }

    /// One was answered. An answer to a message of an earlier connection counts nothing below zero, as section 4.9 says.
    pub(crate) fn give(&mut self) {
        self.used = self.used.saturating_sub(1);
    }

    pub(crate) const fn left(self) -> u16 {
        self.max - self.used
    }
}
