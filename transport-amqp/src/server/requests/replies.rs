//! Where answers go: to a link of the same connection, or to an address.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::task::{Context, Poll};

use bytes::Bytes;
use roadbed_core::{
    Address, Confirm, Fut, Losses, Message, Outcome, Outgoing, Producer, ProducerTerms, Qos, Session, Time,
};

use super::OwnNode;
use crate::LinkId;

/// How many answers wait for a link's credit, or to be sent to an address.
const WAITING_MAX: usize = 64;

/// The bytes of all answers of a connection that wait.
#[derive(Clone, Default)]
pub(in crate::server) struct Budget(Arc<AtomicUsize>);

/// Some of them, until the answer is gone.
pub(in crate::server) struct Held {
    budget: Budget,
    bytes: usize,
}

impl Budget {
    /// Room for an answer of `bytes`: within `bytes_max`, or if nothing else waits.
    pub(in crate::server) fn hold(&self, bytes: usize, bytes_max: usize) -> Option<Held> {
        let before = self.0.fetch_add(bytes, Ordering::Relaxed);
        let held = Held { budget: self.clone(), bytes };
        (before == 0 || before + bytes <= bytes_max).then_some(held)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A link on which a node answers.
pub(in crate::server) struct Replies {
    pub(super) node: OwnNode,
    /// What requests call it: the address of its target.
    pub(super) name: String,
    /// Answers that wait for credit, and until when.
    waiting: VecDeque<(Time, Bytes, Held)>,
}

impl Replies {
    pub(super) const fn new(node: OwnNode, name: String) -> Self {
        Self { node, name, waiting: VecDeque::new() }
    }

    /// Whether there was room for one more.
    pub(in crate::server) fn push(&mut self, until: Time, message: Bytes, held: Held) -> bool {
        let room = self.waiting.len() < WAITING_MAX;
        if room {
            self.waiting.push_back((until, message, held));
        }
        room
    }

    pub(in crate::server) fn next(&mut self) -> Option<Bytes> {
        self.waiting.pop_front().map(|(_, message, _)| message)
    }

    pub(in crate::server) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Forgets what has waited too long, and says how much that was.
    pub(in crate::server) fn expire(&mut self, now: Time) -> usize {
        let before = self.waiting.len();
        while self.waiting.front().is_some_and(|(until, ..)| until.has_passed(now)) {
            self.waiting.pop_front();
        }
        before - self.waiting.len()
    }

    pub(in crate::server) fn deadline(&self) -> Option<Time> {
        self.waiting.front().map(|(until, ..)| *until)
    }
}

/// Answers that go to an address: as what the client itself sends, so that it gets no further than it may.
#[derive(Default)]
pub(in crate::server) struct Mail {
    producer: Option<Box<dyn Producer>>,
    attaching: Option<Fut<(Box<dyn Producer>, roadbed_core::Attached)>>,
    unsent: Vec<Outgoing>,
    /// The requests whose answers are under way, by cookie.
    asked: BTreeMap<u64, (LinkId, u64, Held)>,
    cookies: u64,
    confirms: Vec<Confirm>,
}

impl Mail {
    /// Takes an answer to the request `delivery` of `link`; false if too many are under way.
    pub(in crate::server) fn post(
        &mut self,
        session: &dyn Session,
        message: Message,
        (link, delivery): (LinkId, u64),
        held: Held,
    ) -> bool {
        if self.asked.len() >= WAITING_MAX {
            return false;
        }
        if self.producer.is_none() && self.attaching.is_none() {
            self.attaching = Some(session.producer(ProducerTerms::default()));
        }
        self.cookies += 1;
        self.asked.insert(self.cookies, (link, delivery, held));
        self.unsent.push(Outgoing { cookie: self.cookies, message, qos: Qos::AtLeastOnce, key: None, txn: None });
        true
    }

    /// Appends the requests whose answers are queued, or cannot be; the latter are noted.
    pub(in crate::server) fn poll(&mut self, cx: &mut Context<'_>, losses: &mut Losses, into: &mut Vec<(LinkId, u64)>) {
        if let Some(attaching) = &mut self.attaching {
            match attaching.as_mut().poll(cx) {
                Poll::Pending => return,
                Poll::Ready(attached) => {
                    self.attaching = None;
                    self.producer = attached.ok().map(|(producer, _)| producer);
                }
            }
        }
        let Some(producer) = &mut self.producer else { return self.give_up(losses, into) };
        if !self.unsent.is_empty() {
            producer.send(&mut self.unsent);
        }
        while let Poll::Ready(polled) = producer.poll_confirms(cx, &mut self.confirms) {
            if polled.is_err() {
                self.producer = None;
                return self.give_up(losses, into);
            }
            for confirm in self.confirms.drain(..) {
                if confirm.outcome != Outcome::Accepted {
                    dropped(losses);
                }
                into.extend(self.asked.remove(&confirm.cookie).map(|(link, delivery, _)| (link, delivery)));
            }
        }
    }

    fn give_up(&mut self, losses: &mut Losses, into: &mut Vec<(LinkId, u64)>) {
        self.unsent.clear();
        for (link, delivery, _) in core::mem::take(&mut self.asked).into_values() {
            dropped(losses);
            into.push((link, delivery));
        }
    }
}

/// An answer has nowhere to go.
pub(in crate::server) fn dropped(losses: &mut Losses) {
    tracing::debug!("the answer to a request has nowhere to go");
    losses.note("an answer that nobody could be given", "AMQP management, section 3.2");
}

/// The address that an answer goes to.
pub(in crate::server) fn address(reply_to: &str) -> Option<Address> {
    Address::new(reply_to).ok().filter(|_| !reply_to.starts_with('$'))
}
