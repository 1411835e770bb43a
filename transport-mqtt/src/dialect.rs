//! MQTT ⇄ the words of the core: the four mapping traits, and what CONNECT, SUBSCRIBE and DISCONNECT ask for in the core's terms.

use roadbed_core::{Dialect, Durability, ErrorKind, Qos, Result, WireDurability, WireQos};

use crate::codec::{Ack, Publish, QoS};

mod answer;
mod beside;
mod event;
mod message;
mod session;

pub use answer::{PlainAck, confirm_notes, confirm_reason};
pub use message::PlainPublish;
pub use session::{binding, close, credential, granted, open, qos, refusal, unbind};

#[cfg(feature = "std")]
pub(crate) use answer::failure;
pub(crate) use beside::Beside;
#[cfg(feature = "std")]
pub(crate) use message::is_sayable;
pub(crate) use message::{note_losses, read_view, write_properties};
#[cfg(feature = "std")]
pub(crate) use session::duration;
pub(crate) use session::seconds;

/// The words of MQTT 5.0.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mqtt5;

/// The words of MQTT 3.1 and 3.1.1: no properties, and no negative answer.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mqtt311;

impl Dialect for Mqtt5 {
    type Frame = Publish;
    type Qos = QoS;
    type Durability = Unsaid;
    type Ack = Ack;
}

impl Dialect for Mqtt311 {
    type Frame = PlainPublish;
    type Qos = QoS;
    type Durability = Unsaid;
    type Ack = PlainAck;
}

impl WireQos for QoS {
    fn read(self) -> Qos {
        match self {
            Self::AtMostOnce => Qos::AtMostOnce,
            Self::AtLeastOnce => Qos::AtLeastOnce,
            Self::ExactlyOnce => Qos::ExactlyOnce,
        }
    }

    fn write(qos: Qos) -> Result<Self> {
        Ok(match qos {
            Qos::AtMostOnce => Self::AtMostOnce,
            Qos::AtLeastOnce => Self::AtLeastOnce,
            Qos::ExactlyOnce => Self::ExactlyOnce,
        })
    }
}

/// What MQTT says about the durability of a message: nothing. Section 4.1 promises session state over connections, not over a restart, and that is how it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Unsaid;

impl WireDurability for Unsaid {
    fn read(self) -> Durability {
        Durability::Session
    }

    fn write(durability: Durability) -> Result<Self> {
        match durability {
            Durability::Volatile | Durability::Session => Ok(Self),
            _ => Err(roadbed_core::Error::new(ErrorKind::NotSupported, "send")
                .detail("MQTT has no word for a message that must be stored")),
        }
    }
}
