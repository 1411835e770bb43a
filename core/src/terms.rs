//! What is asked for, and what is granted, when sessions and links are opened.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;

use crate::{
    Address, Condition, DeliveryId, DeliveryState, Filter, Handle, Key, Message, Origin, Outcome, Properties, Qos,
    Scope, Time, TxnId,
};

/// How a session is opened. The principal is already authenticated.
#[derive(Clone, Debug, Default)]
pub struct Open {
    /// Who it is, and over which protocol: stamped on its messages.
    pub origin: Arc<Origin>,
    /// The session's name; without one it can neither be resumed nor taken over.
    pub name: Option<ByteString>,
    /// Go on with the kept session of this name; otherwise start afresh and drop the old one.
    pub resume: bool,
    /// How long the session is kept after its connection ends; zero ends it at once.
    pub expiry: Duration,
    /// How long the session counts as connected after its connection ends.
    pub linger: Duration,
    /// What is sent if the session does not end in good order.
    pub will: Option<Will>,
    /// The connection: what shares the transactions of nobody in particular.
    pub scope: Scope,
    /// The largest number of unsettled deliveries that the peer takes at once, over all consumers of the session; 0: no bound of its own.
    pub window: u16,
}

/// A message that is sent for a session that did not end in good order.
#[derive(Clone, Debug)]
pub struct Will {
    /// The message; retained if it says so.
    pub message: Message,
    /// How it is sent.
    pub qos: Qos,
    /// How long after the connection's end; a session that comes back in time cancels it.
    pub delay: Duration,
    /// How long the message lives from when it is sent; `None`: as its own expiry says \[MQTT-3.1.3.2.4\].
    pub ttl: Option<Duration>,
}

/// What a session is opened as.
#[derive(Clone, Debug, Default)]
pub struct Opened {
    /// Whether a kept session was found.
    pub resumed: bool,
    /// The session's name, assigned if none was given and one is needed.
    pub name: Option<ByteString>,
    /// How long it is kept after its connection ends.
    pub expiry: Duration,
    /// The strongest assurance that the endpoint takes.
    pub qos_max: Qos,
    /// The longest message that it takes, in bytes.
    pub message_bytes_max: usize,
    /// Keys of messages that were sent and not forgotten, in the order of sending; with the outcome, once it is committed.
    pub in_doubt: Vec<(Key, Option<Outcome>)>,
}

/// How a session is closed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Close {
    /// Send the will all the same.
    pub will: bool,
    /// Keep the session for this long from now, instead of what was agreed.
    pub expiry: Option<Duration>,
}

/// What happens to a session from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionEvent {
    /// Another connection has taken the session's name.
    TakenOver,
    /// Its right to be here has ended.
    Revoked(Condition),
    /// The endpoint is shutting down: finish, then go.
    Draining,
    /// The session's byte budget is used up (`paused`), or free again: stop reading, or go on.
    Budget {
        /// Whether to stop.
        paused: bool,
    },
}

/// How a producer is attached.
#[derive(Clone, Debug, Default)]
pub struct ProducerTerms {
    /// Where all its messages go; `None`: each message has its own address, and none of them can be pushed back.
    pub to: Option<Address>,
    /// The link's durable name.
    pub name: Option<ByteString>,
    /// The strongest assurance it will ask for.
    pub qos_max: Qos,
}

/// Where a consumer takes its messages from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Node {
    /// The session's own queue: what its bindings bring.
    #[default]
    Session,
    /// A queue, by its address.
    Address(Address),
    /// A queue made for this link; its name is granted.
    Dynamic,
}

/// To whom an unsettled delivery belongs, and for how long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hold {
    /// To the link: it lapses when the link ends.
    #[default]
    Link,
    /// To the session: it outlives the connection as long as the session is kept.
    Session,
    /// To the principal, for this long: settled by id from any connection of its.
    Lease(Duration),
}

/// Whether a consumer takes from the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// A delivery is this consumer's alone.
    #[default]
    Move,
    /// A look: nothing is taken, and nothing is to be settled.
    Browse,
}

/// Who settles first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Settle {
    /// The receiver's outcome ends the delivery (QoS 1).
    #[default]
    First,
    /// The receiver's outcome is confirmed before it forgets (QoS 2).
    Second,
}

/// How a consumer is attached.
#[derive(Clone, Debug)]
pub struct ConsumerTerms {
    /// Where it takes from.
    pub node: Node,
    /// The link's durable name: what `undeliverable_here` excludes.
    pub name: Option<ByteString>,
    /// To whom unsettled deliveries belong.
    pub hold: Hold,
    /// Take, or look.
    pub mode: Mode,
    /// Who settles first.
    pub settle: Settle,
    /// What becomes of a delivery whose hold ends (AMQP's default-outcome).
    pub on_lapse: Outcome,
    /// The strongest assurance it takes.
    pub qos_max: Qos,
    /// No other consumer may take from the node.
    pub exclusive: bool,
    /// Every delivery comes with its [`DeliveryInfo`]. Otherwise those do that were delivered before, came by a binding with an identifier, or belong to a transaction.
    pub info: bool,
    /// Makes the node with these settings if it does not exist.
    pub declare: Option<QueueSettings>,
}

impl Default for ConsumerTerms {
    fn default() -> Self {
        Self {
            node: Node::Session,
            name: None,
            hold: Hold::Link,
            mode: Mode::Move,
            settle: Settle::First,
            on_lapse: Outcome::FAILED,
            qos_max: Qos::ExactlyOnce,
            exclusive: false,
            info: false,
            declare: None,
        }
    }
}

impl ConsumerTerms {
    /// Takes from the queue at `address`.
    pub fn queue(address: Address) -> Self {
        Self { node: Node::Address(address), info: true, ..Self::default() }
    }

    /// Takes from the session's own queue, and keeps what is unsettled as long as the session.
    pub fn session() -> Self {
        Self { hold: Hold::Session, ..Self::default() }
    }
}

/// What an attached link has.
#[derive(Clone, Debug, Default)]
pub struct Attached {
    /// The node's address: the granted one, if it is dynamic. `None` for a session's own queue.
    pub address: Option<Address>,
    /// The strongest assurance granted.
    pub qos_max: Qos,
    /// Deliveries of an earlier attachment that are not settled, in the order of sending.
    pub unsettled: Vec<Unsettled>,
    /// What the node follows.
    pub bindings: Vec<Binding>,
}

/// A delivery that an earlier attachment has left unsettled.
#[derive(Clone, Debug)]
pub struct Unsettled {
    /// Its durable name.
    pub id: DeliveryId,
    /// Its slot, unchanged.
    pub handle: Handle,
    /// [`InFlight`](DeliveryState::InFlight): send it again. [`Decided`](DeliveryState::Decided): say the second half again.
    pub state: DeliveryState,
    /// The effective assurance.
    pub qos: Qos,
    /// The message; `None` once decided.
    pub delivery: Option<Delivery>,
}

/// A filter whose messages a queue follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Which addresses.
    pub filter: Filter,
    /// Messages are shared out among all consumers with this group and filter.
    pub share: Option<ByteString>,
    /// The strongest assurance for what comes by this binding.
    pub qos_max: Qos,
    /// Leave out what this session sent itself.
    pub no_local: bool,
    /// Which retained values are sent when the binding is made.
    pub retain_handling: RetainHandling,
    /// Keep the publisher's retain flag.
    pub retain_as_published: bool,
    /// Told with every delivery that comes by this binding; MQTT 5's subscription identifier.
    pub id: Option<u32>,
}

impl Binding {
    /// Follows `filter` with every default.
    pub fn new(filter: Filter, qos_max: Qos) -> Self {
        Self {
            filter,
            share: None,
            qos_max,
            no_local: false,
            retain_handling: RetainHandling::Always,
            retain_as_published: false,
            id: None,
        }
    }
}

/// Which retained values are sent when a binding is made \[MQTT-3.3.1-9\] to \[MQTT-3.3.1-11\].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RetainHandling {
    /// All that match.
    #[default]
    Always,
    /// All that match, if the binding is new.
    IfNew,
    /// None.
    Never,
}

/// What a binding got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// The strongest assurance granted.
    pub qos: Qos,
    /// Whether it replaced a binding of the same filter and group.
    pub replaced: bool,
}

/// Which bindings to take away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unbind {
    /// The filter.
    pub filter: Filter,
    /// The group, if shared.
    pub share: Option<ByteString>,
}

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
}

impl DeliveryInfo {
    /// The info of a first delivery.
    pub const fn new(id: DeliveryId, enqueued_at: Time) -> Self {
        Self { id, bindings: Vec::new(), count: 0, enqueued_at, lease_until: None, txn: None }
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

/// How a link is detached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Detach {
    /// Keep what it holds for a later attachment of the same name.
    Suspend,
    /// It is done.
    #[default]
    Close,
}

/// Bounds and habits of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueSettings {
    /// The most copies it keeps.
    pub messages_max: usize,
    /// The most bytes it keeps.
    pub bytes_max: usize,
    /// What happens to a message that finds it full.
    pub overflow: Overflow,
    /// Which messages it keeps.
    pub history: History,
    /// How often a message is delivered before it is dead-lettered.
    pub deliveries_max: u32,
    /// The longest time to live, from enqueueing.
    pub ttl_max: Option<Duration>,
    /// What its messages may ask for.
    pub durable: bool,
    /// Whether dead letters are kept, at `$dead/NAME`.
    pub dead_letters: bool,
    /// Deliver by priority, then by age; otherwise by age alone.
    pub priorities: bool,
    /// Whether only one consumer may be attached at a time.
    pub exclusive: bool,
    /// Deleted after it has been without consumers for this long.
    pub expires: Option<Duration>,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self {
            messages_max: 100_000,
            bytes_max: 256 << 20,
            overflow: Overflow::Refuse,
            history: History::All,
            deliveries_max: 10,
            ttl_max: None,
            durable: true,
            dead_letters: true,
            priorities: true,
            exclusive: false,
            expires: None,
        }
    }
}

/// What happens to a message that finds its queue full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// It is refused: [`Condition::Full`].
    #[default]
    Refuse,
    /// The oldest available one makes room.
    DropOldest,
    /// Its producer, if it has an address, gets no credit until there is room; others are refused.
    PushBack,
}

/// Which messages a queue keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum History {
    /// All.
    #[default]
    All,
    /// The last this many.
    Last(usize),
    /// The last of each group; by address where there is no group.
    LastByKey,
}

/// A request about a node.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Manage {
    /// Makes a queue with these settings, or changes the settings of an existing one.
    Declare(Address, QueueSettings),
    /// Removes a queue and all its messages.
    Delete(Address),
    /// Removes all available messages.
    Purge(Address),
    /// Tells its counts and settings.
    Describe(Address),
    /// Makes the node, a queue, follow a filter.
    Bind(Address, Binding),
    /// Makes it stop.
    Unbind(Address, Unbind),
}

/// The answer to [`Manage`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Managed {
    /// Done. Of a purge: how many messages are gone.
    Done(u64),
    /// What a node is like.
    Description(alloc::boxed::Box<NodeDescription>),
}

/// What a node is like.
#[derive(Clone, Debug)]
pub struct NodeDescription {
    /// Its address.
    pub address: Address,
    /// Its settings.
    pub settings: QueueSettings,
    /// What it follows.
    pub bindings: Vec<Binding>,
    /// Messages that may be delivered now.
    pub available: u64,
    /// Messages that are held by a consumer.
    pub held: u64,
    /// Messages that wait for their time.
    pub scheduled: u64,
    /// Bytes charged to it.
    pub bytes: u64,
    /// Attached consumers.
    pub consumers: u32,
    /// Anything else that the endpoint tells.
    pub extra: Properties,
}

impl NodeDescription {
    /// The description of an empty node.
    pub const fn new(address: Address, settings: QueueSettings) -> Self {
        Self {
            address,
            settings,
            bindings: Vec::new(),
            available: 0,
            held: 0,
            scheduled: 0,
            bytes: 0,
            consumers: 0,
            extra: Properties::EMPTY,
        }
    }
}

/// What proves who somebody is.
#[derive(Clone)]
#[non_exhaustive]
pub enum Credential {
    /// Nothing was offered.
    Anonymous,
    /// A name and a password.
    Password {
        /// The name.
        user: ByteString,
        /// The password.
        password: Bytes,
    },
    /// What the carrier has proved already: the name in a TLS certificate.
    External {
        /// The name.
        name: ByteString,
    },
    /// A signed token.
    Token {
        /// Its kind: `sas`, `jwt`, ...
        kind: ByteString,
        /// The token.
        token: Bytes,
    },
}

impl core::fmt::Debug for Credential {
    /// Never shows a secret.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Anonymous => f.write_str("Anonymous"),
            Self::Password { user, .. } => write!(f, "Password({user:?})"),
            Self::External { name } => write!(f, "External({name:?})"),
            Self::Token { kind, .. } => write!(f, "Token({kind:?})"),
        }
    }
}
