//! Paging: copies of which only the store has the message, and reading these back.
//!
//! A queue keeps the messages of its head in memory. Of stored copies behind it only their positions are known, or what makes them due, and
//! the store is asked for their messages before it is their turn.

use std::time::Duration;

use roadbed_core::CopyId;

use crate::broker::Shared;
use crate::store::StoredCopy;

/// How long a queue or session asks for nothing after the store could not read.
pub(crate) const REST: Duration = Duration::from_secs(1);

/// How many messages are read back at once.
pub(crate) const READ_MAX: usize = 1024;

/// Positions that follow each other, of stored copies of which nothing is known but what they cost together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) first: u64,
    pub(crate) count: u32,
    pub(crate) bytes: u64,
}

impl Run {
    pub(crate) const fn new(seq: u64, cost: u32) -> Self {
        Self { first: seq, count: 1, bytes: cost as u64 }
    }

    pub(crate) const fn last(&self) -> u64 {
        self.first + self.count as u64 - 1
    }

    /// Adds the position that follows it; `false` if `seq` is another, or it is full.
    pub(crate) const fn extend(&mut self, seq: u64, cost: u32) -> bool {
        if seq != self.first + self.count as u64 || self.count == u32::MAX {
            return false;
        }
        self.count += 1;
        self.bytes += cost as u64;
        true
    }

    /// What each costs, about.
    pub(crate) const fn mean(&self) -> u64 {
        self.bytes / self.count as u64
    }

    /// Appends its first positions to those that are to be read: as many as `left` bytes are enough for, and one read is for. What is left of the bytes.
    pub(crate) fn want(&self, wanted: &mut Vec<u64>, left: u64) -> u64 {
        let fit = left.div_ceil(self.mean().max(1)).min((READ_MAX - wanted.len()) as u64);
        let count = fit.min(self.count.into());
        wanted.extend(self.first..self.first + count);
        left.saturating_sub(count * self.mean())
    }

    /// Takes its first position off, which costs `cost`, if that is known. What it has cost here.
    pub(crate) fn shift(&mut self, cost: Option<u32>) -> u64 {
        let mean = self.mean();
        let cost = if self.count == 1 { self.bytes } else { cost.map_or(mean, u64::from).min(self.bytes) };
        self.first += 1;
        self.count -= 1;
        self.bytes -= cost;
        cost
    }
}

/// What of one queue only the store has.
#[derive(Debug, Default)]
pub(crate) struct Paged {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
    /// What the broker's counters were told.
    told: (usize, usize),
    /// Some of it is being read.
    pub(crate) reading: bool,
    /// The store could not read it: nothing is asked before some time has passed.
    pub(crate) resting: bool,
}

impl Paged {
    pub(crate) const fn add(&mut self, bytes: usize) {
        self.messages += 1;
        self.bytes += bytes;
    }

    pub(crate) const fn sub(&mut self, messages: usize, bytes: usize) {
        self.messages = self.messages.saturating_sub(messages);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// Whether it is time to read: `now`, or since the head of the queue, of `here` bytes, has become short and there is something.
    pub(crate) const fn is_due(&self, now: bool, here: usize, read_ahead: usize) -> bool {
        !self.reading && !self.resting && (now || (self.messages > 0 && here < read_ahead / 2))
    }

    /// The store could not read it: whoever takes or looks would else ask at once, and for ever.
    pub(crate) const fn rest(&mut self) {
        (self.reading, self.resting) = (false, true);
    }

    /// Keeps the broker's counters up to date.
    pub(crate) fn report(&mut self, shared: &Shared) {
        let (messages, bytes) = std::mem::replace(&mut self.told, (self.messages, self.bytes));
        shared.meters.paged_messages.moved(messages, self.messages);
        shared.meters.paged_bytes.moved(bytes, self.bytes);
    }
}

/// How many messages are read one by one at a time.
const EACH_MAX: usize = 64;

impl Shared {
    /// Whether a stored message that waits is left to the store: its queue would have `here` bytes in memory with it.
    pub(crate) fn is_crowded(&self, here: usize) -> bool {
        let max = self.settings.memory_bytes_max;
        // One long queue leaves room for the heads of others.
        here > max / 8 || self.meters.bytes.load() as usize >= max
    }

    /// What a queue may have in memory although that is crowded, as long as its consumers keep up.
    pub(crate) fn head_bytes(&self) -> usize {
        self.settings.read_ahead_bytes.min(self.settings.memory_bytes_max)
    }

    /// From how many bytes on a queue tells the counters what it has in memory.
    pub(crate) fn report_every(&self) -> usize {
        (self.settings.memory_bytes_max / 1024).min(64 << 10)
    }

    /// Does `each` with the messages of copies that are left to the store, in order, a few at a time.
    pub(crate) fn read_each<T: Send + 'static>(
        &self,
        mut items: Vec<(CopyId, T)>,
        each: fn(&Self, Vec<(T, StoredCopy)>),
    ) {
        if items.is_empty() {
            return;
        }
        let rest = items.split_off(items.len().min(EACH_MAX));
        let copies = items.iter().map(|(copy, _)| *copy).collect();
        let then = move |shared: &Self, found: Result<Vec<StoredCopy>, _>| {
            let mut found = found.unwrap_or_default().into_iter().peekable();
            let pair = |(copy, item)| Some((item, found.next_if(|found| found.copy.copy == copy)?));
            let pairs = items.into_iter().filter_map(pair).collect();
            each(shared, pairs);
            shared.read_each(rest, each);
        };
        self.commits.read(self, copies, Box::new(then));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_costs_what_its_copies_cost() {
        let mut run = Run::new(7, 100);
        assert!(run.extend(8, 50) && !run.extend(10, 50) && run.extend(9, 60));
        assert_eq!((run.last(), run.mean(), run.bytes), (9, 70, 210));
        assert_eq!(run.shift(Some(100)), 100);
        assert_eq!(run.shift(None), 55);
        // Whatever was said before, the last takes the rest.
        assert_eq!(run.shift(Some(1)), 55);
        assert_eq!((run.count, run.bytes), (0, 0));
    }
}
