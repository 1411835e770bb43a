use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;
use roadbed_core::{Address, Consumer, Origin, Outcome, Producer, ReadySet, Session};

use super::again::{Again, Tags};
use super::node::Kept;
use super::requests::{OwnNode, Replies};
use crate::codec::Tag;
use crate::{LinkId, SessionId};

/// The links of a connection that are attached to the endpoint.
#[derive(Default)]
pub(super) struct Links {
    places: BTreeMap<LinkId, usize>,
    /// The link that was asked for last, which is often the next one.
    last: Option<(LinkId, usize)>,
    links: Vec<Option<Box<Link>>>,
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
    pub(super) rare: Option<Box<Rare>>,
    touched: bool,
    stalled: bool,
}

pub(super) enum Kind {
    /// The peer sends, to an address or where each message says. The keys of what comes begin with `prefix`; it is from `origin`.
    Producer { producer: Box<dyn Producer>, to: Option<Address>, prefix: Bytes, origin: Arc<Origin> },
    /// The peer receives, from a queue that it could be attached to again, or from something of its own.
    Consumer { consumer: Box<dyn Consumer>, on_lapse: Outcome, queue: Option<Address> },
    /// The peer controls transactions.
    Coordinator,
    /// The peer asks a node of the server's own.
    Requests(OwnNode),
    /// The peer hears the answers of such a node.
    Replies(Replies),
}

/// What few links have.
#[derive(Default)]
pub(super) struct Rare {
    pub(super) resumable: Option<Resumable>,
    /// Deliveries of an earlier attachment, which go before all others.
    pub(super) again: VecDeque<Again>,
    /// Keeps the node of a dynamic target.
    pub(super) keeper: Option<Box<dyn Consumer>>,
    /// The node that was made for the link, and is deleted with it.
    pub(super) delete_on_close: Option<Address>,
}

/// A link that outlives its connection has a session of its own.
pub(super) struct Resumable {
    pub(super) core: Box<dyn Session>,
    pub(super) kept: Kept,
}

/// A link that was detached, and can be attached again as long as its session is there.
pub(super) enum Suspended {
    /// The peer sent: what begins its keys, and what it has not forgotten.
    Sender { prefix: Bytes, tags: Vec<Tag> },
    /// The peer received, from a queue.
    Receiver { consumer: Box<dyn Consumer>, queue: Address },
}

impl Rare {
    pub(super) fn resumable(core: Box<dyn Session>, kept: Kept, again: VecDeque<Again>) -> Box<Self> {
        Box::new(Self { resumable: Some(Resumable { core, kept }), again, ..Self::default() })
    }

    pub(super) fn with_again(this: Option<Box<Self>>, again: VecDeque<Again>) -> Option<Box<Self>> {
        match (this, again.is_empty()) {
            (this, true) => this,
            (this, false) => Some(Box::new(Self { again, ..this.map_or_else(Self::default, |this| *this) })),
        }
    }
}

impl Link {
    /// What the tags of its deliveries are good for.
    pub(super) fn tags(&self) -> Tags {
        match self.rare.as_ref().is_some_and(|rare| rare.resumable.is_some()) {
            true => Tags::Durable,
            false => Tags::Connection,
        }
    }
}

impl Links {
    pub(super) fn insert(&mut self, id: LinkId, kind: Kind, rare: Option<Box<Rare>>) -> usize {
        let place = self.ready.insert();
        if place >= self.links.len() {
            self.links.resize_with(place + 1, || None);
        }
        self.links[place] = Some(Box::new(Link { id, kind, rare, touched: false, stalled: false }));
        self.places.insert(id, place);
        place
    }

    pub(super) fn remove(&mut self, id: LinkId) -> Option<Link> {
        self.last = None;
        let place = self.places.remove(&id)?;
        self.ready.remove(place);
        self.links.get_mut(place)?.take().map(|link| *link)
    }

    /// Drops all links, and returns what few of them had.
    pub(super) fn into_rare(self) -> Vec<Rare> {
        self.links.into_iter().flatten().filter_map(|link| link.rare).map(|rare| *rare).collect()
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
        self.links.get_mut(place)?.as_deref_mut()
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
        let waits = |link: &Option<Box<Link>>| matches!(link.as_deref(), Some(Link { kind: Kind::Replies(replies), .. }) if !replies.is_empty());
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
