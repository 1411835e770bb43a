use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use bytestring::ByteString;
use roadbed_core::{Address, Consumer, Outcome, Producer, ReadySet};

use super::requests::{OwnNode, Replies};
use crate::{LinkId, SessionId};

/// The links of a connection that are attached to the endpoint.
#[derive(Default)]
pub(super) struct Links {
    places: BTreeMap<LinkId, usize>,
    /// The link that was asked for last, which is often the next one.
    last: Option<(LinkId, usize)>,
    links: Vec<Option<Link>>,
    pub(super) ready: ReadySet,
    /// Links that something was done to since they were looked at.
    touched: Vec<usize>,
    /// Links that could not go on for want of a window, or of room to write.
    stalled: Vec<usize>,
}

/// One of them.
pub(super) struct Link {
    pub(super) id: LinkId,
    pub(super) kind: Kind,
    touched: bool,
    stalled: bool,
}

pub(super) enum Kind {
    /// The peer sends, to an address or where each message says.
    Producer { producer: Box<dyn Producer>, to: Option<Address>, name: ByteString },
    /// The peer receives.
    Consumer { consumer: Box<dyn Consumer>, on_lapse: Outcome },
    /// The peer controls transactions.
    Coordinator,
    /// The peer asks a node of the server's own.
    Requests(OwnNode),
    /// The peer hears the answers of such a node.
    Replies(Replies),
}

impl Links {
    pub(super) fn insert(&mut self, id: LinkId, kind: Kind) -> usize {
        let place = self.ready.insert();
        if place >= self.links.len() {
            self.links.resize_with(place + 1, || None);
        }
        self.links[place] = Some(Link { id, kind, touched: false, stalled: false });
        self.places.insert(id, place);
        place
    }

    pub(super) fn remove(&mut self, id: LinkId) -> Option<Link> {
        self.last = None;
        let place = self.places.remove(&id)?;
        self.ready.remove(place);
        self.links.get_mut(place)?.take()
    }

    pub(super) fn place(&mut self, id: LinkId) -> Option<usize> {
        if let Some((_, place)) = self.last.filter(|(last, _)| *last == id) {
            return Some(place);
        }
        let place = self.places.get(&id).copied()?;
        self.last = Some((id, place));
        Some(place)
    }

    pub(super) fn of_session(&self, session: SessionId) -> Vec<LinkId> {
        let (first, last) = (LinkId { session, handle: 0 }, LinkId { session, handle: u32::MAX });
        self.places.range(first..=last).map(|(&id, _)| id).collect()
    }

    pub(super) fn at(&mut self, place: usize) -> Option<&mut Link> {
        self.links.get_mut(place)?.as_mut()
    }

    pub(super) fn get(&mut self, id: LinkId) -> Option<&mut Link> {
        self.place(id).and_then(|place| self.at(place))
    }

    /// Looks at the link in this turn.
    pub(super) fn touch(&mut self, place: usize) {
        if let Some(link) = self.at(place)
            && !core::mem::replace(&mut link.touched, true)
        {
            self.touched.push(place);
        }
    }

    pub(super) fn next_touched(&mut self) -> Option<usize> {
        let place = self.touched.pop()?;
        if let Some(link) = self.at(place) {
            link.touched = false;
        }
        Some(place)
    }

    /// Looks at the links on which answers wait.
    pub(super) fn touch_replies(&mut self) {
        let waits = |link: &Option<Link>| matches!(link, Some(Link { kind: Kind::Replies(replies), .. }) if !replies.is_empty());
        let places: Vec<usize> = (0..self.links.len()).filter(|&place| waits(&self.links[place])).collect();
        places.into_iter().for_each(|place| self.touch(place));
    }

    /// Looks at the link again when something has moved.
    pub(super) fn stall(&mut self, place: usize) {
        if let Some(link) = self.at(place)
            && !core::mem::replace(&mut link.stalled, true)
        {
            self.stalled.push(place);
        }
    }

    pub(super) fn unstall(&mut self) {
        for place in core::mem::take(&mut self.stalled) {
            if let Some(link) = self.at(place) {
                link.stalled = false;
                self.touch(place);
            }
        }
    }
}
