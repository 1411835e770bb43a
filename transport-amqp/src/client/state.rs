//! A session: its links, what it holds, and what it has under way.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use core::task::{Context, Poll, Waker};
use core::time::Duration;

use bytestring::ByteString;
use roadbed_core::client::{Change, StoredSession};
use roadbed_core::{Attached, Close, Detach, Node, Opened, Result, Scope, SessionEvent};
use tokio::sync::oneshot;

use super::ClientConfig;
use super::calls::Calls;
use super::held::Held;
use super::inbound::Inbound;
use super::outbound::{Outbound, Outbox};
use super::replies::Replies;
use super::shared::{Ended, Wakers};
use crate::{LinkId, SessionId};

/// How many session events wait to be seen; the oldest go first.
const EVENTS_MAX: usize = 16;

pub(super) struct Session {
    pub(super) terms: Terms,
    /// Makes the names of links that nobody else has.
    pub(super) seed: u64,
    pub(super) stage: Stage,
    /// The AMQP session that it is, on the current connection.
    pub(super) wire: Option<SessionId>,
    /// Who waits for it to be open, with what is known of it so far.
    pub(super) opening: Option<oneshot::Sender<Result<Opened>>>,
    pub(super) opened: Opened,
    pub(super) ended: Option<Ended>,
    /// Nobody has a handle any more.
    pub(super) forsaken: bool,
    /// The driver has seen its end.
    pub(super) finished: bool,
    pub(super) closing: Option<Closing>,
    pub(super) links: BTreeMap<u64, Link>,
    pub(super) held: Held,
    pub(super) outbox: Outbox,
    /// What is to be kept in the store.
    pub(super) changes: Vec<Change>,
    /// The store works on changes: nothing that depends on them is written before it is done.
    pub(super) committing: bool,
    /// What the store had, as far as no link has taken it over.
    pub(super) stored: StoredSession,
    /// Links that something was done to since the driver looked at them.
    pub(super) touched: Vec<u64>,
    events: VecDeque<SessionEvent>,
    event_waker: Option<Waker>,
}

/// How a session was asked for.
#[derive(Debug, Default)]
pub(super) struct Terms {
    pub(super) name: Option<ByteString>,
    /// It outlives its connection: its links can be resumed, and its state is in the store.
    pub(super) kept: bool,
    /// What the server has kept under its name is to be dropped.
    pub(super) fresh: bool,
    pub(super) expiry: Duration,
    pub(super) scope: Scope,
    /// How many deliveries may be unsettled at once.
    pub(super) window: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It is to begin.
    New,
    /// Begin is said, and not answered.
    Beginning,
    Begun,
}

/// A close that is under way.
pub(super) struct Closing {
    pub(super) close: Close,
    /// Whatever is unanswered.
    pub(super) now: bool,
}

pub(super) struct Link {
    pub(super) name: String,
    pub(super) stage: LinkStage,
    pub(super) wire: Option<LinkId>,
    /// Nobody has a handle; it goes when it has nothing left to do.
    pub(super) orphan: bool,
    /// How it is to be detached.
    pub(super) detach: Option<Detach>,
    /// Who waits for it to be attached.
    pub(super) answer: Option<oneshot::Sender<Result<Attached>>>,
    /// Who waits for it to be detached.
    pub(super) detached: Option<oneshot::Sender<Result<()>>>,
    pub(super) attached: Attached,
    /// What the server has kept under its name is to be dropped first.
    pub(super) purge: bool,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum LinkStage {
    /// It is to be attached.
    New,
    /// Attach is said, and not answered.
    Asking,
    /// The server refuses; why, comes with its detach.
    Refused,
    Attached,
    /// It is dead.
    Failed(Ended),
}

pub(super) enum Kind {
    Producer(Box<Outbound>),
    Consumer(Box<Inbound>),
    Calls(Calls),
    Replies(Replies),
}

impl Session {
    pub(super) fn new(id: u64, terms: Terms, stored: StoredSession, config: &ClientConfig) -> Self {
        let opened = Opened {
            name: terms.name.clone(),
            expiry: terms.expiry,
            qos_max: roadbed_core::Qos::ExactlyOnce,
            message_bytes_max: usize::MAX,
            in_doubt: stored.in_doubt().into_iter().map(|key| (key, None)).collect(),
            ..Opened::default()
        };
        let mut held = Held::default();
        for receipt in &stored.received {
            held.take_again(receipt.slot);
        }
        Self {
            outbox: Outbox::new(id, config, &stored),
            seed: config.seed,
            terms,
            stage: Stage::New,
            wire: None,
            opening: None,
            opened,
            ended: None,
            forsaken: false,
            finished: false,
            closing: None,
            links: BTreeMap::new(),
            held,
            changes: Vec::new(),
            committing: false,
            stored,
            touched: Vec::new(),
            events: VecDeque::new(),
            event_waker: None,
        }
    }

    /// An error if the session has ended.
    pub(super) fn check(&self, operation: &'static str) -> Result<()> {
        match &self.ended {
            Some(ended) => Err(ended.error(operation)),
            None => Ok(()),
        }
    }

    /// The driver is to look at a link.
    pub(super) fn touch(&mut self, link: u64) {
        if self.touched.last() != Some(&link) {
            self.touched.push(link);
        }
    }

    pub(super) fn tell(&mut self, event: SessionEvent, wakers: &mut Wakers) {
        if self.events.len() >= EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event);
        wakers.wake(&mut self.event_waker);
    }

    pub(super) fn poll_event(&mut self, cx: &Context<'_>) -> Poll<SessionEvent> {
        match self.events.pop_front() {
            Some(event) => Poll::Ready(event),
            None => {
                self.event_waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    pub(super) fn end(&mut self, ended: &Ended, wakers: &mut Wakers) {
        if self.ended.is_some() {
            return;
        }
        self.ended = Some(ended.clone());
        if let Some(opening) = self.opening.take() {
            let _ = opening.send(Err(ended.error("open")));
        }
        for link in self.links.values_mut() {
            link.fail(ended, wakers);
        }
    }

    /// A change that the store is to know, if the session is kept.
    pub(super) fn change(&mut self, change: impl FnOnce() -> Change) {
        if self.terms.kept {
            self.changes.push(change());
        }
    }

    /// The store has everything that a link depends on.
    pub(super) fn kept(&mut self, link: u64) {
        match self.links.get_mut(&link).map(|link| &mut link.kind) {
            Some(Kind::Producer(outbound)) => outbound.kept(),
            Some(Kind::Consumer(inbound)) => inbound.kept(),
            _ => {}
        }
    }

    /// What whoever has attached a link is told.
    pub(super) fn granted(&self, link: u64) -> Attached {
        let Some(found) = self.links.get(&link) else { return Attached::default() };
        let (mut attached, unsettled) = (found.attached.clone(), self.decided(link));
        if let Kind::Consumer(inbound) = &found.kind {
            attached.bindings.clone_from(&inbound.bindings);
            if inbound.terms.node == Node::Session {
                attached.address = None;
            }
        }
        Attached { unsettled, ..attached }
    }

    /// A link is detached, for good if it is `closed`: what it holds is not this session's any more.
    pub(super) fn link_gone(&mut self, link: u64, closed: bool) {
        self.forget_held(link, closed);
        self.links.remove(&link);
    }

    /// How many consumers there are.
    pub(super) fn consumers(&self) -> usize {
        self.links.values().filter(|link| !link.orphan && matches!(link.kind, Kind::Consumer(_))).count()
    }

    /// Whether everything is sent and answered, and every link is attached.
    pub(super) fn is_idle(&self) -> bool {
        let idle = |link: &Link| match &link.kind {
            _ if !link.is_attached() => false,
            Kind::Producer(outbound) => outbound.is_idle(),
            Kind::Consumer(inbound) => inbound.is_said(),
            Kind::Calls(calls) => calls.is_idle(),
            Kind::Replies(_) => true,
        };
        let alive = |link: &&Link| !matches!(link.stage, LinkStage::Failed(_));
        self.changes.is_empty() && !self.committing && self.links.values().filter(alive).all(idle)
    }
}

impl Link {
    pub(super) fn new(name: String, kind: Kind) -> Self {
        Self {
            name,
            stage: LinkStage::New,
            wire: None,
            orphan: false,
            detach: None,
            answer: None,
            detached: None,
            attached: Attached::default(),
            purge: false,
            kind,
        }
    }

    pub(super) const fn is_attached(&self) -> bool {
        matches!(self.stage, LinkStage::Attached)
    }

    /// An error if the link is dead.
    pub(super) fn check(&self, operation: &'static str) -> Result<()> {
        match &self.stage {
            LinkStage::Failed(ended) => Err(ended.error(operation)),
            _ => Ok(()),
        }
    }

    /// It is dead, for all who use it.
    pub(super) fn fail(&mut self, ended: &Ended, wakers: &mut Wakers) {
        if let Some(answer) = self.answer.take() {
            let _ = answer.send(Err(ended.error("attach")));
        }
        if let Some(detached) = self.detached.take() {
            let _ = detached.send(Ok(()));
        }
        if !matches!(self.stage, LinkStage::Failed(_)) {
            self.stage = LinkStage::Failed(ended.clone());
        }
        match &mut self.kind {
            Kind::Producer(outbound) => outbound.wake_all(wakers),
            Kind::Consumer(inbound) => inbound.wake_all(wakers),
            Kind::Calls(calls) => calls.fail(ended),
            Kind::Replies(replies) => replies.fail(ended),
        }
    }
}
