//! A message as an event in JSON.

use bytes::Bytes;
use roadbed_core::{Address, Delivery, Error, ErrorKind, Losses, Message, ReadContext, Result, Time, WireMessage};

use crate::codec::EventError;
use crate::codec::event;
use crate::codec::fields::Fields;

/// A CloudEvent in structured mode (`application/cloudevents+json`).
#[derive(Clone, Debug)]
pub struct CloudEvent {
    /// Where it was sent to, which no event says itself.
    pub address: Address,
    /// The document.
    pub json: Bytes,
}

impl CloudEvent {
    /// The events of a batch (`application/cloudevents-batch+json`) of at most `events_max` events; each is a slice of it.
    ///
    /// # Errors
    /// [`EventError`] if it is no JSON array, or has more events.
    pub fn split(batch: &Bytes, events_max: usize) -> Result<Vec<Bytes>, EventError> {
        event::split(batch, events_max)
    }
}

impl WireMessage for CloudEvent {
    fn read(self, context: &ReadContext<'_>) -> Result<Message> {
        let mut fields = Fields::default();
        let payload = fields.take_event(&self.json);
        let payload = payload.map_err(|error| Error::new(ErrorKind::Invalid, "read an event").detail(error))?;
        Ok(fields.message(self.address, payload, Some(context.origin.clone()), context.now))
    }

    fn write(delivery: &Delivery, _now: Time, losses: &mut Losses) -> Result<Self> {
        let json = event::write(delivery, None, losses).into();
        Ok(Self { address: delivery.message.address().clone(), json })
    }
}
