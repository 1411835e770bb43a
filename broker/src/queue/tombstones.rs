//! Settled deliveries that are remembered for a while, so that settling one again changes nothing.

use std::collections::VecDeque;

use hashbrown::HashMap;
use roadbed_core::{Fence, Time};

#[derive(Debug, Default)]
pub(crate) struct Tombstones {
    found: HashMap<(u64, Fence), Time>,
    order: VecDeque<(Time, u64, Fence)>,
}

impl Tombstones {
    pub(crate) fn add(&mut self, seq: u64, fence: Fence, now: Time, until: Time, max: usize) {
        while self.order.front().is_some_and(|(until, ..)| until.has_passed(now)) || self.order.len() >= max.max(1) {
            self.forget_oldest();
        }
        if max > 0 {
            self.found.insert((seq, fence), until);
            self.order.push_back((until, seq, fence));
        }
    }

    pub(crate) fn contains(&self, seq: u64, fence: Fence, now: Time) -> bool {
        self.found.get(&(seq, fence)).is_some_and(|until| !until.has_passed(now))
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
