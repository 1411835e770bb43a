//! AUTH (section 3.15), of MQTT 5.0 only.

use bytes::Bytes;
use bytestring::ByteString;

use super::ack::read_reason;
use super::frame::Frame;
use super::limits::Limits;
use super::property::{Notes, Place, Property, PropertySet, Walker, each_text, write_block};
use super::reader::Reader;
use super::reason::ReasonCode;
use super::sink::{Body, Sink};
use super::types::{PacketType, Version};
use crate::error::DecodeError;

/// One step of an enhanced authentication.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Auth {
    /// Success, Continue authentication or Re-authenticate.
    pub reason: ReasonCode,
    /// The method; absent only in the empty form of a plain success.
    pub method: Option<ByteString>,
    /// What the method has to say.
    pub data: Option<Bytes>,
    /// Text and user properties.
    pub notes: Notes,
}

impl Auth {
    pub(crate) fn decode(frame: &Frame<'_>, limits: &Limits) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(frame.body());
        let mut this = Self::default();
        if reader.is_empty() {
            return Ok(this);
        }
        this.reason = read_reason(&mut reader, PacketType::Auth)?;
        for property in Walker::new(reader.properties()?, Place::Auth, limits) {
            match property? {
                Property::AuthMethod(method) => this.method = Some(method.into()),
                Property::AuthData(data) => this.data = Some(Bytes::copy_from_slice(data)),
                note => this.notes.set(&note),
            }
        }
        if this.method.is_none() {
            return Err(DecodeError::AuthenticationMethodMissing);
        }
        reader.end().map(|()| this)
    }
}

impl PropertySet for Auth {
    fn each(&self, f: &mut impl FnMut(Property<'_>)) {
        each_text(&self.method, Property::AuthMethod, f);
        if let Some(data) = &self.data {
            f(Property::AuthData(data));
        }
        self.notes.each(f);
    }
}

impl Body for Auth {
    fn write<S: Sink>(&self, _: Version, sink: &mut S) {
        if *self != Self::default() {
            sink.u8(self.reason.byte());
            write_block(self, sink);
        }
    }
}
