use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use bytes::Bytes;

use super::link::{Held, Link};
use super::unsettled::Unsettled;
use crate::codec::{State, Tag, Transfer};

/// One session of a connection.
#[derive(Debug)]
pub(super) struct Session {
    /// The peer's channel, once it has begun.
    pub(super) remote: Option<u16>,
    /// We have ended it, and the peer has not: what comes is not looked at.
    pub(super) ending: bool,
    /// The highest handle that the peer takes.
    pub(super) handle_max: u32,
    /// The transfer that we send next.
    pub(super) next_outgoing: u32,
    /// How many more transfers the peer takes.
    pub(super) remote_window: u32,
    /// The transfer that comes next.
    pub(super) next_incoming: u32,
    /// How many more transfers we take.
    pub(super) window: u32,
    /// The number of the delivery that we send next.
    pub(super) next_sent: u64,
    /// The number of the last delivery that came.
    pub(super) last_got: Option<u64>,
    /// By our handle.
    pub(super) links: Vec<Option<Box<Link>>>,
    /// Our handle for each of the peer's.
    pub(super) handles: BTreeMap<u32, u32>,
    pub(super) sent: Unsettled<Sent>,
    pub(super) got: Unsettled<Got>,
    /// Transfers for which the window has no room.
    pub(super) backlog: VecDeque<(Transfer, Vec<Bytes>)>,
    /// What messages that have not come whole hold.
    pub(super) held: Held,
    /// Answers that are not written yet, since the next may continue them.
    pub(super) answer: Option<Answer>,
}

/// A delivery that we sent and that is not settled.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    pub(super) link: u32,
    /// What the caller calls it, if it wants to know what becomes of it.
    pub(super) cookie: Option<u64>,
}

/// A delivery that came and is not settled.
#[derive(Debug, Clone)]
pub(super) struct Got {
    pub(super) link: u32,
    /// Its name, if the sender settles second.
    pub(super) tag: Option<Tag>,
    pub(super) answered: bool,
}

/// One disposition for a run of deliveries.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answer {
    pub(super) role: roadbed_core::Role,
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) settled: bool,
    pub(super) state: Option<State>,
}

impl Session {
    pub(super) fn new(window: u32) -> Self {
        Self {
            remote: None,
            ending: false,
            handle_max: u32::MAX,
            next_outgoing: 0,
            remote_window: 0,
            next_incoming: 0,
            window,
            next_sent: 0,
            last_got: None,
            links: Vec::new(),
            handles: BTreeMap::new(),
            sent: Unsettled::new(),
            got: Unsettled::new(),
            backlog: VecDeque::new(),
            held: Held::default(),
            answer: None,
        }
    }

    pub(super) fn link(&mut self, handle: u32) -> Option<&mut Link> {
        self.links.get_mut(handle as usize)?.as_deref_mut()
    }

    /// Puts a link under the lowest free handle up to `max`.
    pub(super) fn insert(&mut self, link: Link, max: u32) -> Option<u32> {
        let free = self.links.iter().position(Option::is_none).unwrap_or(self.links.len());
        let handle = u32::try_from(free).ok().filter(|&handle| handle <= max)?;
        if free == self.links.len() {
            self.links.push(None);
        }
        self.links[free] = Some(Box::new(link));
        Some(handle)
    }

    /// Takes everything of a link away that cannot be used any more.
    pub(super) fn clear_link(&mut self, handle: u32) {
        let partial = self.link(handle).and_then(|link| link.partial.take());
        self.held.remove(partial.map_or(Held::default(), |partial| partial.held));
        self.sent.retain(|sent| sent.link != handle);
        self.got.retain(|got| got.link != handle);
        self.backlog.retain(|(transfer, _)| transfer.handle != handle);
    }

    /// The tags of deliveries that have come on a link and that the sender has not forgotten, though it settles last.
    pub(super) fn tags(&self, handle: u32) -> Vec<Tag> {
        let got = self.got.range(0..=u64::MAX).filter(|(_, got)| got.link == handle);
        got.filter_map(|(_, got)| got.tag).collect()
    }

    pub(super) fn remove(&mut self, handle: u32) -> Option<Box<Link>> {
        self.clear_link(handle);
        let link = self.links.get_mut(handle as usize)?.take()?;
        if let Some(remote) = link.remote {
            self.handles.remove(&remote);
        }
        while self.links.last().is_some_and(Option::is_none) {
            self.links.pop();
        }
        Some(link)
    }

    /// Everything of a session that has ended but for its channel.
    pub(super) fn clear(&mut self) {
        let remote = self.remote;
        *self = Self { remote, ending: true, ..Self::new(0) };
    }
}

/// The number of which only the low half is said: the one nearest to `near`.
pub(super) fn widen(low: u32, near: u64) -> Option<u64> {
    let distance = low.wrapping_sub(near as u32) as i32;
    near.checked_add_signed(distance.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_widened_to_the_nearest() {
        assert_eq!(widen(5, 3), Some(5));
        assert_eq!(widen(1, 3), Some(1));
        assert_eq!(widen(u32::MAX, 3), None);
        assert_eq!(widen(2, (1 << 32) - 1), Some((1 << 32) + 2));
        assert_eq!(widen(u32::MAX, 1 << 32), Some((1 << 32) - 1));
    }
}
