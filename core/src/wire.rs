//! The four mapping traits: one for each word of the model, implemented by every protocol for its own wire types.
//!
//! A translation is written once per protocol, never per pair. All of them are pure and total, and property-tested both
//! ways.

use alloc::sync::Arc;

use crate::{Delivery, Durability, Event, Losses, Message, Origin, Qos, Result, Time};

/// What a frame is read with.
#[derive(Clone, Debug)]
pub struct ReadContext<'a> {
    /// Who sent it.
    pub origin: &'a Arc<Origin>,
    /// When it arrived: relative times become absolute by it.
    pub now: Time,
}

/// A frame that carries a message.
pub trait WireMessage: Sized {
    /// Reads the frame as a message, without copying its payload.
    ///
    /// # Errors
    /// If the frame names an address that is not legal, or contradicts itself.
    fn read(self, context: &ReadContext<'_>) -> Result<Message>;

    /// Writes a delivery as a frame. What the protocol cannot carry is noted in `losses`.
    ///
    /// # Errors
    /// If the protocol cannot carry the message at all.
    fn write(delivery: &Delivery, now: Time, losses: &mut Losses) -> Result<Self>;
}

/// A protocol's word for how often a delivery may arrive.
pub trait WireQos: Sized {
    /// What it means.
    fn read(self) -> Qos;
    /// How it is said.
    ///
    /// # Errors
    /// If the protocol cannot promise it.
    fn write(qos: Qos) -> Result<Self>;
}

/// A protocol's word for what must be true before Accepted.
pub trait WireDurability: Sized {
    /// What it means.
    fn read(self) -> Durability;
    /// How it is said.
    ///
    /// # Errors
    /// If the protocol cannot ask for it.
    fn write(durability: Durability) -> Result<Self>;
}

/// A protocol's acknowledgement.
pub trait WireDelivery: Sized {
    /// Which event of the delivery machine it is; `None` if it is none at all.
    fn event(&self, wire: &Wire) -> Option<Event>;
    /// How the event is said; `None` where the protocol cannot say it.
    fn write(event: &Event, wire: &Wire) -> Option<Self>;
}

/// Which hop and delivery an acknowledgement is about: without it none survives the round trip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wire {
    /// Who says it.
    pub role: Role,
    /// The delivery's assurance.
    pub qos: Qos,
    /// The first delivery it is about, by the protocol's own number.
    pub first: u32,
    /// The last one; the same, unless the protocol has ranges.
    pub last: u32,
}

/// An end of a hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// It sends the message.
    Sender,
    /// It receives the message.
    Receiver,
}

/// A protocol's own types for the four words, together.
pub trait Dialect {
    /// Carries a message.
    type Frame: WireMessage;
    /// Says how often.
    type Qos: WireQos;
    /// Says how durably.
    type Durability: WireDurability;
    /// Acknowledges.
    type Ack: WireDelivery;
}
