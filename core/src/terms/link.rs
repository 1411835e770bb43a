//! How links are attached and detached.

use alloc::vec::Vec;
use core::time::Duration;

use bytestring::ByteString;

use crate::{Address, Binding, Delivery, DeliveryId, DeliveryState, Handle, LogTerms, Outcome, Qos, QueueSettings};

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
    /// A log, which is read and not taken from.
    Log(alloc::boxed::Box<LogTerms>),
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
    /// Every delivery comes with its [`DeliveryInfo`](crate::DeliveryInfo). Otherwise those do that were delivered before, came by a binding with an identifier, or belong to a transaction.
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

    /// Reads a log.
    pub fn log(terms: LogTerms) -> Self {
        Self { node: Node::Log(alloc::boxed::Box::new(terms)), info: true, ..Self::default() }
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

/// How a link is detached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Detach {
    /// Keep what it holds for a later attachment of the same name.
    Suspend,
    /// It is done.
    #[default]
    Close,
}
