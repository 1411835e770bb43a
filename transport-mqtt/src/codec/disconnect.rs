//! DISCONNECT (section 3.14).

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

/// The last packet of a connection. Before MQTT 5.0 it is empty and only clients send it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Disconnect {
    /// Why.
    pub reason: ReasonCode,
    /// Seconds that the session lives on; only from clients [MQTT-3.14.2-2].
    pub session_expiry_secs: Option<u32>,
    /// Another server to use.
    pub server_reference: Option<ByteString>,
    /// Text and user properties.
    pub notes: Notes,
}

impl Disconnect {
    /// A DISCONNECT with a reason and no more.
    pub fn new(reason: ReasonCode) -> Self {
        Self { reason, ..Self::default() }
    }

    /// Both short forms are legal: without reason and properties, and without properties (sections 3.14.2.1 and 3.14.2.2.1).
    pub(crate) fn decode(frame: &Frame<'_>, version: Version, limits: &Limits) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(frame.body());
        let mut this = Self::default();
        if version.is_v5() && !reader.is_empty() {
            this.reason = read_reason(&mut reader, PacketType::Disconnect)?;
            if !reader.is_empty() {
                this.read_properties(reader.properties()?, limits)?;
            }
        }
        reader.end().map(|()| this)
    }

    fn read_properties(&mut self, block: &[u8], limits: &Limits) -> Result<(), DecodeError> {
        for property in Walker::new(block, Place::Disconnect, limits) {
            match property? {
                Property::SessionExpiry(seconds) => self.session_expiry_secs = Some(seconds),
                Property::ServerReference(text) => self.server_reference = Some(text.into()),
                note => self.notes.set(&note),
            }
        }
        Ok(())
    }

    fn has_properties(&self) -> bool {
        self.session_expiry_secs.is_some() || self.server_reference.is_some() || !self.notes.is_empty()
    }
}

impl PropertySet for Disconnect {
    fn each(&self, f: &mut impl FnMut(Property<'_>)) {
        if let Some(seconds) = self.session_expiry_secs {
            f(Property::SessionExpiry(seconds));
        }
        self.notes.each(f);
        each_text(&self.server_reference, Property::ServerReference, f);
    }
}

impl Body for Disconnect {
    fn write<S: Sink>(&self, version: Version, sink: &mut S) {
        if !version.is_v5() {
            return;
        }
        let has_properties = self.has_properties();
        if has_properties || self.reason != ReasonCode::Success {
            sink.u8(self.reason.byte());
        }
        if has_properties {
            write_block(self, sink);
        }
    }
}
