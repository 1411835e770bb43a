//! The times at which something is due in a queue.

use std::collections::BTreeSet;

use roadbed_core::Time;

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    /// A scheduled copy becomes available.
    Deliver,
    /// A copy's time to live ends.
    Expire,
    /// A lease ends.
    Lease,
    /// A deadline is missed, unless the copy is settled.
    Deadline,
    /// A settled delivery that the store knows of is forgotten.
    Forget,
    /// The queue has been without consumers for long enough.
    Idle,
    /// What could not be read may be asked for again.
    Read,
}

#[derive(Debug, Default)]
pub(crate) struct Timeline(BTreeSet<(Time, u64, Due)>);

impl Timeline {
    pub(crate) fn add(&mut self, at: Time, seq: u64, due: Due) {
        self.0.insert((at, seq, due));
    }

    pub(crate) fn add_forget(&mut self, at: Time) {
        self.0.insert((at, 0, Due::Forget));
    }

    pub(crate) fn add_read(&mut self, at: Time) {
        self.0.insert((at, 0, Due::Read));
    }

    pub(crate) fn add_idle(&mut self, at: Time) {
        self.0.insert((at, 0, Due::Idle));
    }

    pub(crate) fn remove(&mut self, at: Time, seq: u64, due: Due) {
        self.0.remove(&(at, seq, due));
    }

    pub(crate) fn next(&self) -> Option<Time> {
        self.0.first().map(|(at, ..)| *at)
    }

    /// The next that is due at `now`.
    pub(crate) fn pop(&mut self, now: Time) -> Option<(u64, Due)> {
        let (at, seq, due) = *self.0.first()?;
        if !at.has_passed(now) {
            return None;
        }
        self.0.pop_first();
        Some((seq, due))
    }
}
