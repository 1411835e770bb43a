//! Messages by our dialect: through their encoded form, which both libraries know.

use alloc::string::String;
use alloc::sync::Arc;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use fe2o3_amqp_types::messaging::message::__private::{Deserializable, Serializable};
use fe2o3_amqp_types::messaging::{Body, Message as WireMessage};
use roadbed_core::{
    Address, Clock, Condition, Delivery, Error, ErrorKind, Losses, Message, Origin, Outcome, Qos, Result, Time,
};
use serde_amqp::Value;
use smallvec::smallvec;

use crate::client::{Arriving, Counters, Read, read};
use crate::codec::{Fault, GuardLimits, State};
use crate::dialect::{self, Encoded};

/// A message as `fe2o3-amqp` takes and gives it.
pub(super) type Foreign = WireMessage<Body<Value>>;

/// What messages are written and read with.
#[derive(Clone)]
pub(super) struct Dialect {
    pub(super) clock: Arc<dyn Clock>,
    origin: Arc<Origin>,
    losses: Arc<Mutex<Losses>>,
    pub(super) sidecar_bytes_max: usize,
}

impl Dialect {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let origin = Arc::new(Origin { protocol: "amqp", ..Origin::default() });
        Self { clock, origin, losses: Arc::default(), sidecar_bytes_max: 0 }
    }

    pub(super) fn losses(&self) -> Losses {
        self.lock().clone()
    }

    pub(super) fn now(&self) -> Time {
        self.clock.now()
    }

    /// Writes a message that is sent as `qos`, or says why it cannot be sent.
    pub(super) fn write(&self, message: Message, qos: Qos) -> Result<Foreign, Condition> {
        if message.has_expired(self.now()) {
            return Err(Condition::Expired);
        }
        let delivery = Delivery { message, handle: None, qos, retained: false, attempt: 1, info: None };
        let bytes = Encoded::write_beside(&delivery, self.now(), self.sidecar_bytes_max, &mut self.lock()).to_bytes();
        let decoded: Result<Deserializable<Foreign>, _> = serde_amqp::from_slice(&bytes);
        decoded.map(|message| message.0).map_err(|_| Condition::InvalidPayload)
    }

    /// Reads a message. One that does not say where it was sent to was sent to `node`.
    pub(super) fn read(&self, message: Foreign, node: Option<Address>) -> Result<Read> {
        let bytes = serde_amqp::to_vec(&Serializable(message)).map_err(unreadable)?;
        let (guard, counters) = (GuardLimits::default(), Counters::default());
        let (now, sidecar_bytes_max) = (self.now(), self.sidecar_bytes_max);
        let context = Arriving { origin: &self.origin, guard, sidecar_bytes_max, counters: &counters, now };
        read(smallvec![Bytes::from(bytes)], node, &context)
    }

    fn lock(&self) -> MutexGuard<'_, Losses> {
        self.losses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an outcome means.
pub(super) fn outcome(wire: &fe2o3_amqp_types::messaging::Outcome) -> Option<Outcome> {
    let bytes = Bytes::from(serde_amqp::to_vec(wire).ok()?);
    dialect::outcome(&State::read(&bytes, &bytes).ok()?)
}

/// What the peer says went wrong.
pub(super) fn fault(wire: &fe2o3_amqp_types::definitions::Error) -> Fault {
    let condition = match serde_amqp::to_value(&wire.condition) {
        Ok(Value::Symbol(symbol)) => symbol.as_str().into(),
        _ => String::new(),
    };
    Fault { condition, description: wire.description.clone() }
}

fn unreadable(error: serde_amqp::Error) -> Error {
    Error::new(ErrorKind::Protocol, "receive").because(error)
}
