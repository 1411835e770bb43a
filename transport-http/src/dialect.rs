//! The four mapping traits for HTTP.
//!
//! HTTP has two hops with two kinds of answer, so there are two dialects: [`Push`], in which a request carries the message and
//! a status answers it, and [`Poll`], in which a response carries it and a request on its lock answers.

mod answer;
mod event;
mod frame;
mod verb;

pub use answer::Answer;
pub(crate) use answer::condition;
pub use event::CloudEvent;
pub use frame::HttpMessage;
#[cfg(feature = "client")]
pub(crate) use frame::number;
pub use verb::LockVerb;

use http::HeaderValue;
use roadbed_core::{Dialect, Durability, Qos, Result, WireDurability, WireQos};

/// `POST /v1/messages/{address}`: the answer is the status.
#[derive(Clone, Copy, Debug)]
pub struct Push;

impl Dialect for Push {
    type Frame = HttpMessage;
    type Qos = HttpQos;
    type Durability = HttpDurability;
    type Ack = Answer;
}

/// `GET /v1/messages/{address}`: the answer is a request on the lock.
#[derive(Clone, Copy, Debug)]
pub struct Poll;

impl Dialect for Poll {
    type Frame = HttpMessage;
    type Qos = HttpQos;
    type Durability = HttpDurability;
    type Ack = LockVerb;
}

/// The header `roadbed-qos`: `0`, `1` or `2`. Exactly once needs an `idempotency-key` besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpQos(pub Qos);

impl HttpQos {
    /// Reads the header's text.
    pub fn from_text(text: &str) -> Option<Self> {
        match text {
            "0" => Some(Self(Qos::AtMostOnce)),
            "1" => Some(Self(Qos::AtLeastOnce)),
            "2" => Some(Self(Qos::ExactlyOnce)),
            _ => None,
        }
    }

    /// The header's value.
    pub fn to_value(self) -> HeaderValue {
        HeaderValue::from(u16::from(self.0.level()))
    }
}

impl WireQos for HttpQos {
    fn read(self) -> Qos {
        self.0
    }

    fn write(qos: Qos) -> Result<Self> {
        Ok(Self(qos))
    }
}

/// The header `roadbed-durability`: `volatile`, `session` or `stored`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpDurability(pub Durability);

impl HttpDurability {
    /// Reads the header's text.
    pub fn from_text(text: &str) -> Option<Self> {
        match text {
            "volatile" => Some(Self(Durability::Volatile)),
            "session" => Some(Self(Durability::Session)),
            "stored" => Some(Self(Durability::Stored)),
            _ => None,
        }
    }

    /// The header's value. A promise that this version does not know is written as the strongest, so that nothing is
    /// promised too early.
    pub fn to_value(self) -> HeaderValue {
        HeaderValue::from_static(match self.0 {
            Durability::Volatile => "volatile",
            Durability::Session => "session",
            _ => "stored",
        })
    }
}

impl WireDurability for HttpDurability {
    fn read(self) -> Durability {
        self.0
    }

    fn write(durability: Durability) -> Result<Self> {
        Ok(Self(durability))
    }
}
