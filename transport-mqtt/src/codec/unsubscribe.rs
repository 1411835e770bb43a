//! UNSUBSCRIBE and UNSUBACK (sections 3.10 and 3.11).

use alloc::vec::Vec;

use bytestring::ByteString;

use super::ack::read_reason;
use super::frame::Frame;
use super::limits::Limits;
use super::property::{Notes, Place, Property, PropertySet, UserProperties, each_user, write_block};
use super::reader::Reader;
use super::reason::ReasonCode;
use super::sink::{Body, Sink};
use super::subscribe::{read_filter, read_list};
use super::types::{PacketId, PacketType, Version};
use crate::error::DecodeError;

/// A request to end subscriptions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsubscribe {
    /// What the UNSUBACK will name.
    pub packet_id: PacketId,
    /// The user properties.
    pub user: UserProperties,
    /// At least one; none is empty.
    pub filters: Vec<ByteString>,
}

/// The answer to an UNSUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsubAck {
    /// The UNSUBSCRIBE that it answers.
    pub packet_id: PacketId,
    /// Text and user properties.
    pub notes: Notes,
    /// One for each filter, in order [MQTT-3.11.3-1]; not on the wire before MQTT 5.0, and empty when decoded from there.
    pub codes: Vec<ReasonCode>,
}

impl Unsubscribe {
    pub(crate) fn decode(frame: &Frame<'_>, version: Version, limits: &Limits) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(frame.body());
        let packet_id = reader.packet_id()?;
        let user = match version {
            Version::V5 => Notes::read(reader.properties()?, Place::Unsubscribe, limits)?.user,
            _ => Vec::new(),
        };
        let filters = read_list(&mut reader, limits, read_filter)?;
        Ok(Self { packet_id, user, filters })
    }
}

impl PropertySet for Unsubscribe {
    fn each(&self, f: &mut impl FnMut(Property<'_>)) {
        each_user(&self.user, f);
    }
}

impl Body for Unsubscribe {
    fn write<S: Sink>(&self, version: Version, sink: &mut S) {
        sink.u16(self.packet_id.get());
        if version.is_v5() {
            write_block(self, sink);
        }
        self.filters.iter().for_each(|filter| sink.text(filter));
    }
}

impl UnsubAck {
    pub(crate) fn decode(frame: &Frame<'_>, version: Version, limits: &Limits) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(frame.body());
        let mut this = Self { packet_id: reader.packet_id()?, notes: Notes::default(), codes: Vec::new() };
        if version.is_v5() {
            this.notes = Notes::read(reader.properties()?, Place::Ack, limits)?;
            this.codes = read_list(&mut reader, limits, |reader| read_reason(reader, PacketType::UnsubAck))?;
        }
        reader.end().map(|()| this)
    }
}

impl Body for UnsubAck {
    fn write<S: Sink>(&self, version: Version, sink: &mut S) {
        sink.u16(self.packet_id.get());
        if version.is_v5() {
            write_block(&self.notes, sink);
            self.codes.iter().for_each(|code| sink.u8(code.byte()));
        }
    }
}
