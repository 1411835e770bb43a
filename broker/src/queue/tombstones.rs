//! Settled deliveries that are remembered for a while, so that settling one again changes nothing.

use std::collections::VecDeque;

use hashbrown::HashMap;
use roadbed_core::{Fence, Outcome, Step, Time};

#[derive(Debug, Default)]
pub(crate) struct Tombstones {
    found: HashMap<(u64, Fence), Tombstone>,
    order: VecDeque<(Time, u64, Fence)>,
}

/// How a delivery was settled.
#[derive(Debug)]
pub(crate) struct Tombstone {
    pub(crate) until: Time,
    pub(crate) outcome: Outcome,
    /// The store knows of it.
    pub(crate) stored: bool,
}

impl Tombstones {
    /// Remembers a delivery that its owner has settled, if there is room for any.
    pub(crate) fn add(&mut self, seq: u64, fence: Fence, tombstone: Tombstone, max: usize) {
        if max > 0 {
            self.order.push_back((tombstone.until, seq, fence));
            self.found.insert((seq, fence), tombstone);
        }
    }

    /// Forgets those whose time is over, and the oldest beyond `max`; appends those that the store knows to `stored`.
    pub(crate) fn forget_old(&mut self, now: Time, max: usize, stored: &mut Vec<(u64, Fence)>) {
        while self.order.front().is_some_and(|(until, ..)| until.has_passed(now)) || self.order.len() > max {
            let Some((_, seq, fence)) = self.order.pop_front() else { break };
            let gone = self.found.remove(&(seq, fence));
            stored.extend(gone.filter(|gone| gone.stored).map(|_| (seq, fence)));
        }
        if self.order.is_empty() {
            (self.found, self.order) = (HashMap::new(), VecDeque::new());
        }
    }

    /// Whether the delivery was settled in just this way before.
    pub(crate) fn repeats(&self, seq: u64, fence: Fence, step: &Step, now: Time) -> bool {
        let Some(first) = self.found.get(&(seq, fence)) else { return false };
        let same = match step {
            Step::Outcome { outcome, .. } => *outcome == first.outcome,
            Step::Settle => true,
            _ => false,
        };
        same && !first.until.has_passed(now)
    }
}
