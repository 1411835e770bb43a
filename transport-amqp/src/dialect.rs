//! AMQP 1.0 ⇄ the words of the core: the four mapping traits, and the conditions of errors.

use roadbed_core::{Dialect, Durability, Qos, Result, WireDurability, WireQos};

use crate::codec::Disposition;
use crate::conversion::AMQP;

mod annotations;
mod answer;
mod message;
mod read;
mod write;

pub use answer::{condition_symbol, confirm_state, error_fault, outcome, outcome_state, symbol_condition};
pub use message::{Encoded, Pieces};

pub(crate) use annotations::{ENQUEUED, PREFIX, SEQUENCE};
pub(crate) use answer::{txn_bytes, txn_id};
pub(crate) use write::{bare_tail, is_whole, write_head};

/// The words of AMQP 1.0.
#[derive(Debug, Clone, Copy, Default)]
pub struct Amqp;

impl Dialect for Amqp {
    type Frame = Encoded;
    type Qos = Settling;
    type Durability = Durable;
    type Ack = Disposition;
}

/// How a delivery is settled: the settle modes of both ends together (Part 2, sections 2.8.2 and 2.8.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Settling {
    /// By the sender, as it is sent.
    Settled,
    /// By the receiver, with its outcome.
    #[default]
    First,
    /// By the receiver, after the sender has heard its outcome.
    Second,
}

impl WireQos for Settling {
    fn read(self) -> Qos {
        match self {
            Self::Settled => Qos::AtMostOnce,
            Self::First => Qos::AtLeastOnce,
            Self::Second => Qos::ExactlyOnce,
        }
    }

    fn write(qos: Qos) -> Result<Self> {
        Ok(match qos {
            Qos::AtMostOnce => Self::Settled,
            Qos::AtLeastOnce => Self::First,
            Qos::ExactlyOnce => Self::Second,
        })
    }
}

/// The field `durable` of the header (Part 3, section 3.2.1). A message that is kept as long as its session is has no word of its own: it is not durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Durable(pub bool);

impl WireDurability for Durable {
    fn read(self) -> Durability {
        if self.0 { Durability::Stored } else { Durability::Volatile }
    }

    fn write(durability: Durability) -> Result<Self> {
        Ok(Self(durability == Durability::Stored))
    }
}
