//! The available copies of a queue, by priority and then by position.

use std::collections::VecDeque;
use std::time::Duration;

use bytestring::ByteString;
use roadbed_core::{Message, Qos, Time};

use crate::entry::Extra;
use crate::paged::{READ_MAX, Run};

/// A copy in a queue.
#[derive(Clone, Debug)]
pub(crate) struct Copy {
    /// `None`: only the store has it.
    pub(crate) message: Option<Message>,
    pub(crate) extra: Option<Box<Extra>>,
    pub(crate) seq: u64,
    pub(crate) enqueued_at: Time,
    /// What it costs the queue, in bytes.
    pub(crate) cost: u32,
    pub(crate) priority: u8,
    pub(crate) qos: Qos,
    pub(crate) stored: bool,
}

impl Copy {
    pub(crate) fn cost(&self) -> usize {
        self.cost as usize
    }

    /// Whether only the store has its message.
    pub(crate) fn is_away(&self) -> bool {
        self.message.is_none()
    }

    pub(crate) fn attempts(&self) -> u32 {
        self.extra.as_ref().map_or(0, |extra| extra.attempts)
    }

    pub(crate) fn count(&self) -> u32 {
        self.extra.as_ref().map_or(0, |extra| extra.count)
    }

    pub(crate) fn excluded(&self) -> &[ByteString] {
        self.extra.as_ref().map_or(&[], |extra| &extra.excluded)
    }

    pub(crate) fn extra(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    /// It has its message again, which lives no longer than the queue allows.
    pub(super) fn fill(&mut self, message: Message, ttl_max: Option<Duration>) {
        self.message = Some(clamped(message, self.enqueued_at, ttl_max));
    }
}

/// The message, to expire no later than the queue allows.
pub(super) fn clamped(message: Message, enqueued_at: Time, ttl_max: Option<Duration>) -> Message {
    let Some(latest) = ttl_max.map(|ttl| enqueued_at + ttl) else { return message };
    if message.expires_at().is_some_and(|at| at <= latest) {
        return message;
    }
    message.to_builder().expires_at(latest).build()
}

/// What stands in a lane.
#[derive(Debug)]
pub(super) enum Item {
    Copy(Copy),
    /// Only the store has these.
    Run(Run),
    /// It was taken out of the middle; the place is skipped.
    Gone(u64),
}

/// What comes next.
#[derive(Debug)]
pub(super) enum Front {
    Copy(Copy),
    /// Only the store has its message.
    Away,
    Nothing,
}

/// What a look finds.
#[derive(Debug)]
pub(super) enum Look<'a> {
    Copy(&'a Copy),
    /// Only the store has the message of the copy at this position; what it costs, about.
    Away(u64, u64),
}

/// What has come back, and what has not.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Filled {
    pub(super) messages: usize,
    /// What it cost while it was away.
    pub(super) away_bytes: usize,
    /// What it costs now.
    pub(super) here_bytes: usize,
}

/// One lane for each priority in use, highest first; places that were emptied in the middle are skipped.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    lanes: Vec<(u8, VecDeque<Item>)>,
    live: usize,
}

const KEEP: usize = 256;
/// How many copies that have their messages are passed over in search of those that have not.
const PASS_MAX: usize = 4096;

impl Item {
    fn first(&self) -> u64 {
        match self {
            Self::Copy(copy) => copy.seq,
            Self::Run(run) => run.first,
            Self::Gone(seq) => *seq,
        }
    }

    fn last(&self) -> u64 {
        match self {
            Self::Run(run) => run.last(),
            other => other.first(),
        }
    }

    fn is_away(&self) -> bool {
        match self {
            Self::Copy(copy) => copy.is_away(),
            Self::Run(_) => true,
            Self::Gone(_) => false,
        }
    }
}

impl Look<'_> {
    pub(super) fn seq(&self) -> u64 {
        match self {
            Self::Copy(copy) => copy.seq,
            Self::Away(seq, _) => *seq,
        }
    }
}

impl Lanes {
    /// How many copies are available.
    pub(super) fn len(&self) -> usize {
        self.live
    }

    /// Puts a copy at its place: nearly always the end.
    pub(super) fn insert(&mut self, priority: u8, copy: Copy) {
        let lane = self.lane(priority);
        if lane.back().is_none_or(|last| last.last() < copy.seq) {
            lane.push_back(Item::Copy(copy));
        } else {
            let at = lane.partition_point(|waiting| waiting.first() < copy.seq);
            lane.insert(at, Item::Copy(copy));
        }
        self.live += 1;
    }

    /// Puts a copy at the end of which only its position is to be known.
    pub(super) fn insert_away(&mut self, priority: u8, seq: u64, cost: u32) {
        let lane = self.lane(priority);
        let follows = match lane.back_mut() {
            Some(Item::Run(run)) => run.extend(seq, cost),
            _ => false,
        };
        if !follows {
            let at = lane.partition_point(|waiting| waiting.first() < seq);
            lane.insert(at, Item::Run(Run::new(seq, cost)));
        }
        self.live += 1;
    }

    /// Whether what came last to some lane is left to the store.
    pub(super) fn ends_away(&self) -> bool {
        self.lanes.iter().any(|(_, lane)| lane.back().is_some_and(Item::is_away))
    }

    fn lane(&mut self, priority: u8) -> &mut VecDeque<Item> {
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
    pub(super) fn pop(&mut self) -> Front {
        for (_, lane) in &mut self.lanes {
            while let Some(item) = lane.pop_front() {
                match item {
                    Item::Gone(_) => {}
                    Item::Copy(copy) if !copy.is_away() => {
                        self.live -= 1;
                        shrink(lane);
                        return Front::Copy(copy);
                    }
                    away => {
                        lane.push_front(away);
                        return Front::Away;
                    }
                }
            }
        }
        Front::Nothing
    }

    /// Takes the oldest copy of the lowest priority.
    pub(super) fn pop_oldest(&mut self) -> Option<Copy> {
        for (priority, lane) in self.lanes.iter_mut().rev() {
            while let Some(item) = lane.pop_front() {
                let copy = match item {
                    Item::Gone(_) => continue,
                    Item::Copy(copy) => copy,
                    Item::Run(mut run) => {
                        let copy = unknown(run.first, run.shift(None), *priority);
                        if run.count > 0 {
                            lane.push_front(Item::Run(run));
                        }
                        copy
                    }
                };
                self.live -= 1;
                shrink(lane);
                return Some(copy);
            }
        }
        None
    }

    /// Takes the copy at `seq`, wherever it is; not of a run, in which nothing is due and nothing held.
    pub(super) fn take(&mut self, seq: u64) -> Option<Copy> {
        let (lane, at) = self.find(seq)?;
        let place = &mut self.lanes[lane].1[at];
        match std::mem::replace(place, Item::Gone(seq)) {
            Item::Copy(copy) => {
                self.live -= 1;
                Some(copy)
            }
            other => {
                *place = other;
                None
            }
        }
    }

    /// The copy at `seq`, if it is in no run.
    pub(super) fn get(&self, seq: u64) -> Option<&Copy> {
        let (lane, at) = self.find(seq)?;
        match &self.lanes[lane].1[at] {
            Item::Copy(copy) => Some(copy),
            _ => None,
        }
    }

    /// Whether there is a copy at `seq`.
    pub(super) fn has(&self, seq: u64) -> bool {
        self.find(seq).is_some_and(|(lane, at)| !matches!(self.lanes[lane].1[at], Item::Gone(_)))
    }

    /// The oldest copy after `seq`: for browsing.
    pub(super) fn after(&self, seq: u64) -> Option<Look<'_>> {
        let next = self.lanes.iter().filter_map(|(_, lane)| {
            let at = lane.partition_point(|item| item.last() <= seq);
            lane.iter().skip(at).find_map(|item| match item {
                Item::Copy(copy) if copy.is_away() => Some(Look::Away(copy.seq, copy.cost.into())),
                Item::Copy(copy) => Some(Look::Copy(copy)),
                Item::Run(run) => Some(Look::Away(run.first.max(seq + 1), run.mean())),
                Item::Gone(_) => None,
            })
        });
        next.min_by_key(Look::seq)
    }

    pub(super) fn any_stored(&self) -> bool {
        let stored = |item: &Item| match item {
            Item::Copy(copy) => copy.stored,
            Item::Run(_) => true,
            Item::Gone(_) => false,
        };
        self.lanes.iter().any(|(_, lane)| lane.iter().any(stored))
    }

    /// Takes everything, each lane in order.
    pub(super) fn drain(&mut self) -> Vec<Item> {
        self.live = 0;
        self.lanes.drain(..).flat_map(|(_, lane)| lane).filter(|item| !matches!(item, Item::Gone(_))).collect()
    }

    /// The next copies, in the order in which they are taken, whose messages only the store has: about `bytes` of them, and one at least.
    pub(super) fn wanted(&self, bytes: usize) -> Vec<u64> {
        let (mut wanted, mut left, mut passed) = (Vec::new(), bytes as u64, 0);
        for item in self.lanes.iter().flat_map(|(_, lane)| lane) {
            match item {
                Item::Copy(copy) if copy.is_away() => {
                    wanted.push(copy.seq);
                    left = left.saturating_sub(copy.cost.into());
                }
                Item::Run(run) => left = run.want(&mut wanted, left),
                _ => passed += 1,
            }
            if left == 0 || wanted.len() >= READ_MAX || passed > PASS_MAX {
                break;
            }
        }
        wanted
    }

    /// Gives copies that were asked for the messages that were found. What was not found is not there any more.
    pub(super) fn fill(&mut self, asked: &[u64], found: Vec<Copy>, ttl_max: Option<Duration>) -> Filled {
        let (mut filled, mut found) = (Filled::default(), found.into_iter().peekable());
        let mut asked = asked.iter().copied().peekable();
        while let Some(seq) = asked.next() {
            let fresh = found.next_if(|copy| copy.seq == seq);
            let Some((lane, at)) = self.find(seq) else { continue };
            let items = &mut self.lanes[lane].1;
            match &mut items[at] {
                Item::Copy(copy) if copy.is_away() => {
                    filled.messages += 1;
                    filled.away_bytes += copy.cost();
                    match fresh.and_then(|fresh| fresh.message) {
                        Some(message) => {
                            copy.fill(message, ttl_max);
                            filled.here_bytes += copy.cost();
                        }
                        None => {
                            items[at] = Item::Gone(seq);
                            self.live -= 1;
                        }
                    }
                }
                Item::Run(run) if run.first == seq => {
                    let (mut run, mut fresh) = (*run, Some(fresh));
                    let mut copies = Vec::new();
                    while let Some(next) = fresh.take() {
                        filled.messages += 1;
                        filled.away_bytes += run.shift(next.as_ref().map(|copy| copy.cost)) as usize;
                        filled.here_bytes += next.as_ref().map_or(0, Copy::cost);
                        self.live -= usize::from(next.is_none());
                        copies.extend(next);
                        if run.count > 0 && asked.next_if_eq(&run.first).is_some() {
                            fresh = Some(found.next_if(|copy| copy.seq == run.first));
                        }
                    }
                    replace(items, at, copies, run);
                }
                _ => {}
            }
        }
        filled
    }

    /// The lane, and the place in it, of the item that has the position `seq`.
    fn find(&self, seq: u64) -> Option<(usize, usize)> {
        self.lanes.iter().enumerate().find_map(|(n, (_, lane))| {
            let at = lane.partition_point(|item| item.last() < seq);
            (lane.get(at)?.first() <= seq).then_some((n, at))
        })
    }
}

/// Puts copies, and what is left of it, in the place of a run.
fn replace(items: &mut VecDeque<Item>, at: usize, copies: Vec<Copy>, left: Run) {
    let mut behind = items.split_off(at);
    behind.pop_front();
    if left.count > 0 {
        behind.push_front(Item::Run(left));
    }
    items.extend(copies.into_iter().map(Item::Copy));
    items.append(&mut behind);
}

/// A copy of which only its position was known.
fn unknown(seq: u64, cost: u64, priority: u8) -> Copy {
    let cost = u32::try_from(cost).unwrap_or(u32::MAX);
    let (message, extra, enqueued_at, qos) = (None, None, Time::ZERO, Qos::AtLeastOnce);
    Copy { message, extra, seq, enqueued_at, cost, priority, qos, stored: true }
}

fn shrink(lane: &mut VecDeque<Item>) {
    if lane.is_empty() && lane.capacity() > KEEP {
        *lane = VecDeque::new();
    }
}
