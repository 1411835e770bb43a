use alloc::collections::BTreeSet;
use core::sync::atomic::{AtomicU64, Ordering};

use super::Right;
use crate::{Action, Address};

/// How many addresses a link remembers, and how long each may be: what is looked up again is not wrong, only slower.
const ADDRESSES_MAX: usize = 64;
const ADDRESS_BYTES_MAX: usize = 256;

/// What a link may do, and the addresses that it has been found to be allowed, until the rights change.
pub(super) struct Memory {
    pub(super) right: Right,
    version: u64,
    /// The one that was asked for last, which is often the next one.
    last: Option<Address>,
    allowed: BTreeSet<Address>,
}

/// Which of the actions on an address a link remembers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Send,
    Receive,
}

impl Memory {
    pub(super) fn new(right: Right) -> Self {
        let version = right.rights.version();
        Self { right, version, last: None, allowed: BTreeSet::new() }
    }

    /// Forgets everything if the rights have changed since; whether they have.
    pub(super) fn refresh(&mut self) -> bool {
        let version = self.right.rights.version();
        if version == self.version {
            return false;
        }
        (self.version, self.last) = (version, None);
        self.allowed = BTreeSet::new();
        true
    }

    /// Whether this address is allowed. Refusals are looked up each time, since they are dear anyway, and counted.
    pub(super) fn allows(&mut self, way: Way, address: &Address) -> bool {
        if self.last.as_ref() == Some(address) {
            return true;
        }
        if self.allowed.contains(address) {
            // What is kept here is in memory of its own already.
            self.last = self.allowed.get(address).cloned();
            return true;
        }
        let action = match way {
            Way::Send => Action::Send(address),
            Way::Receive => Action::Receive(address),
        };
        let allowed = self.right.allows(action);
        if allowed && address.as_str().len() <= ADDRESS_BYTES_MAX {
            if self.allowed.len() >= ADDRESSES_MAX {
                self.allowed.clear();
            }
            let kept = address.detach();
            self.allowed.insert(kept.clone());
            self.last = Some(kept);
        }
        allowed
    }
}

/// What was refused, over all sessions.
#[derive(Debug, Default)]
pub struct Refusals {
    sends: AtomicU64,
    binds: AtomicU64,
    receives: AtomicU64,
    manages: AtomicU64,
    deliveries: AtomicU64,
    revoked: AtomicU64,
}

/// The figures of [`Refusals`] at one moment. All are totals since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RefusalsSnapshot {
    /// Messages, links and wills to addresses that may not be sent to.
    pub sends: u64,
    /// Filters that may not be followed.
    pub binds: u64,
    /// Queues and logs that may not be received from.
    pub receives: u64,
    /// Nodes that may not be managed.
    pub manages: u64,
    /// Messages that came to somebody who may not, or no longer, have them.
    pub deliveries: u64,
    /// Filters and links that were taken away when rights changed.
    pub revoked: u64,
}

impl Refusals {
    /// The figures now.
    pub fn snapshot(&self) -> RefusalsSnapshot {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RefusalsSnapshot {
            sends: read(&self.sends),
            binds: read(&self.binds),
            receives: read(&self.receives),
            manages: read(&self.manages),
            deliveries: read(&self.deliveries),
            revoked: read(&self.revoked),
        }
    }

    pub(super) fn count(&self, action: Action<'_>) {
        let counter = match action {
            Action::Send(_) => &self.sends,
            Action::Bind(_) => &self.binds,
            Action::Receive(_) => &self.receives,
            Action::Manage(_) => &self.manages,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_delivery(&self) {
        self.deliveries.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_revoked(&self) {
        self.revoked.fetch_add(1, Ordering::Relaxed);
    }
}

impl RefusalsSnapshot {
    /// Each figure with its name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [
            ("sends", self.sends),
            ("binds", self.binds),
            ("receives", self.receives),
            ("manages", self.manages),
            ("deliveries", self.deliveries),
            ("revoked", self.revoked),
        ]
        .into_iter()
    }
}
