//! The available copies of a queue, by priority and then by position.

use std::collections::VecDeque;

use roadbed_core::{Message, Qos, Time};

use crate::entry::Extra;

/// A copy in a queue.
#[derive(Debug)]
pub(crate) struct Copy {
    /// `None`: it was taken out of the middle; the place is skipped.
    pub(crate) message: Option<Message>,
    pub(crate) extra: Option<Box<Extra>>,
    pub(crate) seq: u64,
    pub(crate) enqueued_at: Time,
    pub(crate) qos: Qos,
    pub(crate) stored: bool,
}

impl Copy {
    pub(crate) fn cost(&self) -> usize {
        self.message.as_ref().map_or(0, Message::cost)
    }

    pub(crate) fn attempts(&self) -> u32 {
        self.extra.as_ref().map_or(0, |extra| extra.attempts)
    }

    pub(crate) fn count(&self) -> u32 {
        self.extra.as_ref().map_or(0, |extra| extra.count)
    }

    pub(crate) fn excluded(&self) -> &[bytestring::ByteString] {
        self.extra.as_ref().map_or(&[], |extra| &extra.excluded)
    }

    pub(crate) fn extra(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }
}

/// One lane for each priority in use, highest first; places that were emptied in the middle are skipped.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    lanes: Vec<(u8, VecDeque<Copy>)>,
    live: usize,
}

const KEEP: usize = 256;

impl Lanes {
    /// How many copies are available.
    pub(crate) fn len(&self) -> usize {
        self.live
    }

    /// Puts a copy at its place: nearly always the end.
    pub(crate) fn insert(&mut self, priority: u8, copy: Copy) {
        let lane = self.lane(priority);
        if lane.back().is_none_or(|last| last.seq < copy.seq) {
            lane.push_back(copy);
        } else {
            let at = lane.partition_point(|waiting| waiting.seq < copy.seq);
            lane.insert(at, copy);
        }
        self.live += 1;
    }

    fn lane(&mut self, priority: u8) -> &mut VecDeque<Copy> {
        let at = match self.lanes.binary_search_by(|(found, _)| priority.cmp(found)) {
            Ok(at) => at,
            Err(at) => {
                self.lanes.insert(at, (priority, VecDeque::new()));
                at
            }
        };
        &mut self.lanes[at].1
    }

    /// Takes the next copy.
    pub(crate) fn pop(&mut self) -> Option<Copy> {
        self.pop_where(false)
    }

    /// Takes the oldest copy of the lowest priority.
    pub(crate) fn pop_oldest(&mut self) -> Option<Copy> {
        self.pop_where(true)
    }

    fn pop_where(&mut self, lowest_first: bool) -> Option<Copy> {
        let count = self.lanes.len();
        for n in 0..count {
            let lane = &mut self.lanes[if lowest_first { count - 1 - n } else { n }].1;
            while let Some(copy) = lane.pop_front() {
                if copy.message.is_some() {
                    self.live -= 1;
                    if lane.is_empty() && lane.capacity() > KEEP {
                        *lane = VecDeque::new();
                    }
                    return Some(copy);
                }
            }
        }
        None
    }

    /// Takes the copy at `seq`, wherever it is.
    pub(crate) fn take(&mut self, seq: u64) -> Option<Copy> {
        for (_, lane) in &mut self.lanes {
            let Ok(at) = lane.binary_search_by_key(&seq, |copy| copy.seq) else { continue };
            let place = &mut lane[at];
            let message = place.message.take()?;
            self.live -= 1;
            let (extra, enqueued_at, qos, stored) = (place.extra.take(), place.enqueued_at, place.qos, place.stored);
            return Some(Copy { message: Some(message), extra, seq, enqueued_at, qos, stored });
        }
        None
    }

    /// The oldest copy after `seq`: for browsing.
    pub(crate) fn after(&self, seq: u64) -> Option<&Copy> {
        let next = self.lanes.iter().filter_map(|(_, lane)| {
            let at = lane.partition_point(|copy| copy.seq <= seq);
            lane.iter().skip(at).find(|copy| copy.message.is_some())
        });
        next.min_by_key(|copy| copy.seq)
    }

    pub(crate) fn any_stored(&self) -> bool {
        self.lanes.iter().any(|(_, lane)| lane.iter().any(|copy| copy.stored && copy.message.is_some()))
    }

    /// Takes everything.
    pub(crate) fn drain(&mut self) -> Vec<Copy> {
        self.live = 0;
        let mut all: Vec<Copy> =
            self.lanes.drain(..).flat_map(|(_, lane)| lane).filter(|copy| copy.message.is_some()).collect();
        all.sort_unstable_by_key(|copy| copy.seq);
        all
    }
}
