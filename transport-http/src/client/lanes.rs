//! Work in lanes: one job of a lane after the other, different lanes at once.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// Jobs by lane.
#[derive(Debug)]
pub(super) struct Lanes<K, J> {
    /// A lane is here while it has jobs waiting or under way.
    lanes: HashMap<K, VecDeque<J>>,
    /// Lanes with a job waiting and none under way.
    ready: VecDeque<K>,
    waiting: usize,
    running: usize,
}

impl<K, J> Default for Lanes<K, J> {
    fn default() -> Self {
        Self { lanes: HashMap::new(), ready: VecDeque::new(), waiting: 0, running: 0 }
    }
}

impl<K: Clone + Eq + Hash, J> Lanes<K, J> {
    /// Puts a job at the end of its lane.
    pub(super) fn push(&mut self, lane: K, job: J) {
        self.waiting += 1;
        if let Some(jobs) = self.lanes.get_mut(&lane) {
            return jobs.push_back(job);
        }
        self.lanes.insert(lane.clone(), VecDeque::from([job]));
        self.ready.push_back(lane);
    }

    /// The next job; its lane rests until it is [`finished`](Self::finished).
    pub(super) fn next(&mut self) -> Option<(K, J)> {
        let lane = self.ready.pop_front()?;
        let job = self.lanes.get_mut(&lane).and_then(VecDeque::pop_front).expect("a ready lane has a job");
        self.waiting -= 1;
        self.running += 1;
        Some((lane, job))
    }

    /// The lane's job is done.
    pub(super) fn finished(&mut self, lane: &K) {
        self.running -= 1;
        match self.lanes.get(lane) {
            Some(jobs) if !jobs.is_empty() => self.ready.push_back(lane.clone()),
            _ => drop(self.lanes.remove(lane)),
        }
    }

    /// How many jobs are waiting or under way.
    pub(super) fn len(&self) -> usize {
        self.waiting + self.running
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_keeps_its_order_and_blocks_no_other() {
        let mut lanes = Lanes::default();
        for (lane, job) in [("a", 1), ("a", 2), ("b", 3)] {
            lanes.push(lane, job);
        }
        assert_eq!(lanes.next(), Some(("a", 1)));
        assert_eq!(lanes.next(), Some(("b", 3)));
        assert_eq!(lanes.next(), None);
        lanes.finished(&"a");
        assert_eq!(lanes.next(), Some(("a", 2)));
        lanes.finished(&"b");
        lanes.finished(&"a");
        assert_eq!((lanes.next(), lanes.len(), lanes.lanes.len()), (None, 0, 0));
    }
}
