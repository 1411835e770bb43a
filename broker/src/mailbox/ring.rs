//! The copies that wait in a session's own queue, in order; of some only the store has the message.

use std::collections::VecDeque;

use crate::broker::Shared;
use crate::entry::Entry;
use crate::paged::{Paged, READ_MAX, Run};

/// What waits.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    items: VecDeque<Item>,
    /// How many of these are runs.
    runs: u32,
    /// What of it only the store has; `None`: nothing.
    paged: Option<Box<Paged>>,
}

#[derive(Debug)]
enum Item {
    Here(Entry),
    /// Only the store has these.
    Run(Box<Run>),
}

/// What comes next.
#[derive(Debug)]
pub(crate) enum Front<'a> {
    Here(&'a Entry),
    /// Only the store has its message.
    Away,
}

/// What makes room.
#[derive(Debug)]
pub(crate) enum Oldest {
    Here(Entry),
    /// A position, and what it costs: of those that only the store has, the mean.
    Away(u64, usize),
}

/// A ring that once had more entries than this gives its memory back when it is empty.
const KEEP: usize = 256;

impl Item {
    fn low(&self) -> u32 {
        match self {
            Self::Here(entry) => entry.seq,
            Self::Run(run) => run.first as u32,
        }
    }
}

impl Ring {
    pub(crate) fn len(&self) -> usize {
        self.items.len() - self.runs as usize + self.paged.as_ref().map_or(0, |paged| paged.messages)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(crate) fn front(&self) -> Option<Front<'_>> {
        self.items.front().map(|item| match item {
            Item::Here(entry) => Front::Here(entry),
            Item::Run(_) => Front::Away,
        })
    }

    /// Takes what comes next, if its message is here.
    pub(crate) fn pop_front(&mut self) -> Option<Entry> {
        match self.items.pop_front()? {
            Item::Here(entry) => Some(entry),
            run @ Item::Run(_) => {
                self.items.push_front(run);
                None
            }
        }
    }

    pub(crate) fn pop_oldest(&mut self) -> Option<Oldest> {
        let mut run = match self.items.pop_front()? {
            Item::Here(entry) => return Some(Oldest::Here(entry)),
            Item::Run(run) => run,
        };
        let seq = run.first;
        let cost = run.shift(None) as usize;
        self.paged().sub(1, cost);
        match run.count {
            0 => self.runs -= 1,
            _ => self.items.push_front(Item::Run(run)),
        }
        Some(Oldest::Away(seq, cost))
    }

    pub(crate) fn push_back(&mut self, entry: Entry) {
        self.items.push_back(Item::Here(entry));
    }

    /// Puts a copy at the end of which only the store has the message.
    pub(crate) fn push_away(&mut self, seq: u64, cost: u32) {
        self.paged().add(cost as usize);
        let follows = match self.items.back_mut() {
            Some(Item::Run(run)) => run.extend(seq, cost),
            _ => false,
        };
        if !follows {
            self.items.push_back(Item::Run(Box::new(Run::new(seq, cost))));
            self.runs += 1;
        }
    }

    /// Puts a copy at its place; `newest` is the last position that was given.
    pub(crate) fn insert(&mut self, newest: u64, entry: Entry) {
        let age = |low: u32| (newest as u32).wrapping_sub(low);
        let at = self.items.partition_point(|waiting| age(waiting.low()) > age(entry.seq));
        self.items.insert(at, Item::Here(entry));
    }

    /// Takes the copy with this low half of its position, if its message is here.
    pub(crate) fn take(&mut self, low: u32) -> Option<Entry> {
        let at = self.items.iter().position(|item| matches!(item, Item::Here(entry) if entry.seq == low))?;
        match self.items.remove(at)? {
            Item::Here(entry) => Some(entry),
            Item::Run(_) => None,
        }
    }

    /// Drops what is here and not to be kept.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&Entry) -> bool) {
        self.items.retain(|item| match item {
            Item::Here(entry) => keep(entry),
            Item::Run(_) => true,
        });
    }

    /// Takes everything: what is here, and how much is not.
    pub(crate) fn take_all(&mut self) -> (Vec<Entry>, usize) {
        let mut away = 0;
        self.runs = 0;
        let entries = std::mem::take(&mut self.items).into_iter().filter_map(|item| match item {
            Item::Here(entry) => Some(entry),
            Item::Run(run) => {
                away += run.count as usize;
                None
            }
        });
        let entries = entries.collect();
        if let Some(paged) = &mut self.paged {
            paged.sub(paged.messages, paged.bytes);
        }
        (entries, away)
    }

    /// Whether what came last is left to the store.
    pub(crate) fn ends_away(&self) -> bool {
        matches!(self.items.back(), Some(Item::Run(_)))
    }

    /// Bytes of which only the store has the messages.
    pub(crate) fn away_bytes(&self) -> usize {
        self.paged.as_ref().map_or(0, |paged| paged.bytes)
    }

    pub(crate) fn is_reading(&self) -> bool {
        self.paged.as_ref().is_some_and(|paged| paged.reading)
    }

    /// The next copies to be read, if it is time: `now`, or since little is left of `here` bytes.
    pub(crate) fn read_ahead(&mut self, shared: &Shared, here: usize, now: bool) -> Option<Vec<u64>> {
        let bytes = shared.settings.read_ahead_bytes;
        let paged = self.paged.as_mut()?;
        if !paged.is_due(now, here, bytes) {
            return None;
        }
        paged.reading = true;
        let (mut wanted, mut left) = (Vec::new(), bytes as u64);
        for item in &self.items {
            let Item::Run(run) = item else { continue };
            left = run.want(&mut wanted, left);
            if left == 0 || wanted.len() >= READ_MAX {
                break;
            }
        }
        Some(wanted)
    }

    /// Nothing has come back: nothing is asked for before [`rested`](Self::rested).
    pub(crate) fn rest(&mut self) {
        self.paged().rest();
    }

    /// What could not be read may be asked for again.
    pub(crate) fn rested(&mut self) {
        if let Some(paged) = &mut self.paged {
            paged.resting = false;
        }
    }

    /// Gives copies that were asked for their messages, by position; what was not found is not there any more. What they cost while they were
    /// away, and what they cost now.
    pub(crate) fn fill(&mut self, asked: &[u64], found: Vec<(u64, Entry)>) -> (usize, usize) {
        let (mut away, mut here) = (0, 0);
        let (mut asked, mut found) = (asked.iter().copied().peekable(), found.into_iter().peekable());
        while let Some(seq) = asked.next() {
            let mut next = Some(found.next_if(|(at, _)| *at == seq).map(|(_, entry)| entry));
            let begins = |item: &Item| matches!(item, Item::Run(run) if run.first == seq);
            let Some(at) = self.items.iter().position(begins) else { continue };
            let mut behind = self.items.split_off(at);
            let Some(Item::Run(mut run)) = behind.pop_front() else { continue };
            while let Some(entry) = next.take() {
                let cost = entry.as_ref().map(|entry| entry.message.cost());
                let was = run.shift(cost.and_then(|cost| u32::try_from(cost).ok())) as usize;
                self.paged().sub(1, was);
                (away, here) = (away + was, here + cost.unwrap_or(0));
                self.items.extend(entry.map(Item::Here));
                if run.count > 0 && asked.next_if_eq(&run.first).is_some() {
                    next = Some(found.next_if(|(at, _)| *at == run.first).map(|(_, entry)| entry));
                }
            }
            match run.count {
                0 => self.runs -= 1,
                _ => self.items.push_back(Item::Run(run)),
            }
            self.items.append(&mut behind);
        }
        self.paged().reading = false;
        (away, here)
    }

    /// Keeps the broker's counters up to date.
    pub(crate) fn report(&mut self, shared: &Shared) {
        if let Some(paged) = &mut self.paged {
            paged.report(shared);
            if paged.messages == 0 && !paged.reading {
                self.paged = None;
            }
        }
    }

    pub(crate) fn shrink(&mut self) {
        if self.items.is_empty() && self.items.capacity() > KEEP {
            self.items = VecDeque::new();
        }
    }

    fn paged(&mut self) -> &mut Paged {
        self.paged.get_or_insert_default()
    }
}

#[cfg(test)]
mod tests {
    use roadbed_core::{Message, Qos};

    use super::*;

    fn entry(seq: u32) -> Entry {
        let mut entry = Entry::new(Message::new("a".parse().expect("an address"), "x"), Qos::AtLeastOnce, false);
        entry.set_stored();
        entry.seq = seq;
        entry
    }

    fn order(ring: &mut Ring) -> Vec<u64> {
        std::iter::from_fn(|| ring.pop_oldest())
            .map(|oldest| match oldest {
                Oldest::Here(entry) => entry.seq.into(),
                Oldest::Away(seq, _) => seq * 100,
            })
            .collect()
    }

    #[test]
    fn what_waits_is_small() {
        assert_eq!(size_of::<Item>(), 24);
    }

    #[test]
    fn what_comes_back_takes_its_place() {
        let mut ring = Ring::default();
        let cost = entry(1).message.cost();
        ring.push_back(entry(1));
        (2..6).for_each(|seq| ring.push_away(seq, cost as u32));
        ring.push_back(entry(7));
        ring.push_away(8, 9);
        assert_eq!((ring.len(), ring.away_bytes()), (7, 4 * cost + 9));
        // 4 is not there any more, and 8 was dropped from the front of its run in the meantime.
        let found = vec![(2, entry(2)), (3, entry(3)), (5, entry(5))];
        assert_eq!(ring.fill(&[2, 3, 4, 5], found), (4 * cost, 3 * cost));
        assert_eq!((ring.len(), ring.away_bytes(), ring.runs), (6, 9, 1));
        ring.insert(9, entry(6));
        assert_eq!(order(&mut ring), [1, 2, 3, 5, 6, 7, 800]);
        assert_eq!((ring.len(), ring.away_bytes(), ring.runs), (0, 0, 0));
        assert_eq!(ring.fill(&[8], vec![(8, entry(8))]), (0, 0), "it has gone");
    }
}
