//! What moves on links: messages in, deliveries out, and what becomes of both.

use alloc::vec::Vec;

use crate::{Address, Condition, DeliveryId, Handle, Key, LogPlace, Message, Outcome, Qos, Time, TxnId};

/// How many deliveries a consumer permits. Absolute: a new grant replaces the old one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// How many more deliveries may be handed over; [`Grant::UNLIMITED`] never runs out.
    pub credit: u32,
    /// Give what there is now, then let the rest of the credit lapse; the end shows as `Ready(0)`.
    pub drain: bool,
    /// What is handed over is acquired by this transaction.
    pub txn: Option<TxnId>,
}

impl Grant {
    /// Credit that never runs out.
    pub const UNLIMITED: u32 = u32::MAX;

    /// A plain grant of `credit` deliveries.
    pub const fn credit(credit: u32) -> Self {
        Self { credit, drain: false, txn: None }
    }
}

/// One attempt to hand a message over.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The message, shared.
    pub message: Message,
    /// The name to settle it by; `None` if it is settled already (at most once, or browsed).
    pub handle: Option<Handle>,
    /// The effective assurance: the minimum of what was sent, bound and asked.
    pub qos: Qos,
    /// The retain flag of this copy: set for a retained value sent to a new binding, or if kept as published.
    pub retained: bool,
    /// Which attempt over this hop it is, from 1.
    pub attempt: u32,
    /// What is rare, or asked for.
    pub info: Option<alloc::boxed::Box<DeliveryInfo>>,
}

/// What only some consumers want to know of a delivery.
#[derive(Clone, Debug)]
pub struct DeliveryInfo {
    /// The durable name.
    pub id: DeliveryId,
    /// The ids of all bindings that brought it.
    pub bindings: Vec<u32>,
    /// How many earlier deliveries failed.
    pub count: u32,
    /// When it was enqueued.
    pub enqueued_at: Time,
    /// When the lease ends.
    pub lease_until: Option<Time>,
    /// The transaction that acquired it.
    pub txn: Option<TxnId>,
    /// Where it stands, if it was read from a log.
    pub log: Option<LogPlace>,
    /// The queue that it was taken from by a filter of the session, if the message has another address: it came there by a binding of the queue.
    pub node: Option<Address>,
}

impl DeliveryInfo {
    /// The info of a first delivery.
    pub const fn new(id: DeliveryId, enqueued_at: Time) -> Self {
        Self { id, bindings: Vec::new(), count: 0, enqueued_at, lease_until: None, txn: None, log: None, node: None }
    }
}

/// What a consumer does with a delivery.
#[derive(Clone, Debug)]
pub struct Disposition {
    /// Which delivery.
    pub delivery: crate::DeliveryRef,
    /// Comes back in [`Done`]; `None` asks for no answer.
    pub cookie: Option<u64>,
    /// What is done.
    pub step: Step,
}

/// One step of settling.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// Names the outcome.
    Outcome {
        /// The outcome.
        outcome: Outcome,
        /// The receiver has forgotten the delivery; otherwise [`Step::Settle`] follows.
        settled: bool,
    },
    /// Names the outcome that is applied when the transaction commits.
    Enlist {
        /// The transaction.
        txn: TxnId,
        /// The outcome.
        outcome: Outcome,
        /// The receiver has forgotten the delivery.
        settled: bool,
    },
    /// The second half: forget it.
    Settle,
    /// Starts the lease anew.
    Renew,
}

/// The answer to a [`Disposition`], after its commit.
#[derive(Debug)]
pub struct Done {
    /// The disposition's cookie.
    pub cookie: u64,
    /// How it went.
    pub result: crate::Result<Settled>,
}

/// How a disposition went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// As asked.
    Applied,
    /// The same had been asked before; nothing changed.
    Repeated,
    /// The delivery is not the caller's any more: lapsed, or never was (HTTP 412).
    Late,
    /// The lease now ends at this time.
    Renewed(Time),
}

/// A message on its way into an endpoint.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Comes back in [`Confirm`]. At most once asks for no confirm and gets none, unless it is refused by a producer that has
    /// `refusals`.
    pub cookie: u64,
    /// The message.
    pub message: Message,
    /// The assurance asked.
    pub qos: Qos,
    /// The name by which it is recognised when it comes again; needed for exactly once.
    pub key: Option<Key>,
    /// Sent within this transaction.
    pub txn: Option<TxnId>,
}

/// What became of a message that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confirm {
    /// The cookie of the [`Outgoing`].
    pub cookie: u64,
    /// What became of it.
    pub outcome: Outcome,
    /// Why, where the outcome alone does not say.
    pub why: Option<Condition>,
    /// Not applied until this transaction commits.
    pub provisional: Option<TxnId>,
}
