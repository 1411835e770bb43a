//! Settled deliveries that are remembered for a while, so that settling one again changes nothing.

use std::collections::VecDeque;

use hashbrown::HashMap;
use roadbed_core::{Fence, Outcome, Step, Time};

#[derive(Debug, Default)]
pub(crate) struct Tombstones {
    found: HashMap<(u64, Fence), (Time, Outcome)>,
    order: VecDeque<(Time, u64, Fence)>,
}

impl Tombstones {
    /// Remembers a delivery that its owner has settled.
    pub(crate) fn add(&mut self, seq: u64, fence: Fence, outcome: Outcome, now: Time, until: Time, max: usize) {
        while self.order.front().is_some_and(|(until, ..)| until.has_passed(now)) || self.order.len() >= max.max(1) {
            self.forget_oldest();
        }
        if max > 0 {
            self.found.insert((seq, fence), (until, outcome));
            self.order.push_back((until, seq, fence));
        }
    }

    /// Whether the delivery was settled in just this way before.
    pub(crate) fn repeats(&self, seq: u64, fence: Fence, step: &Step, now: Time) -> bool {
        let Some((until, first)) = self.found.get(&(seq, fence)) else { return false };
        let same = match step {
            Step::Outcome { outcome, .. } => outcome == first,
            Step::Settle => true,
            _ => false,
        };
        same && !until.has_passed(now)
    }

    fn forget_oldest(&mut self) {
        if let Some((_, seq, fence)) = self.order.pop_front() {
            self.found.remove(&(seq, fence));
        }
        if self.order.is_empty() {
            (self.found, self.order) = (HashMap::new(), VecDeque::new());
        }
    }
}
