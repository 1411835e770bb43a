//! PUBACK, PUBREC, PUBREL and PUBCOMP (sections 3.4 to 3.7): one shape, four meanings.

use bytes::BufMut;

use super::frame::Frame;
use super::limits::Limits;
use super::property::{Notes, Place, write_block};
use super::reader::Reader;
use super::reason::ReasonCode;
use super::sink::{Body, Sink};
use super::types::{PacketId, PacketType, Version};
use crate::error::{DecodeError, EncodeError};

/// Which of the four answers it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AckKind {
    /// PUBACK: the end of QoS 1.
    PubAck,
    /// PUBREC: the receiver of QoS 2 owns the message, or refuses it.
    PubRec,
    /// PUBREL: the sender of QoS 2 will not send it again.
    PubRel,
    /// PUBCOMP: the end of QoS 2.
    PubComp,
}

impl AckKind {
    /// The packet type.
    pub const fn packet_type(self) -> PacketType {
        match self {
            Self::PubAck => PacketType::PubAck,
            Self::PubRec => PacketType::PubRec,
            Self::PubRel => PacketType::PubRel,
            Self::PubComp => PacketType::PubComp,
        }
    }

    /// The kind of a packet type; `None` for all but the four.
    pub const fn from_packet_type(kind: PacketType) -> Option<Self> {
        Some(match kind {
            PacketType::PubAck => Self::PubAck,
            PacketType::PubRec => Self::PubRec,
            PacketType::PubRel => Self::PubRel,
            PacketType::PubComp => Self::PubComp,
            _ => return None,
        })
    }
}

/// An answer in the flow of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// Which answer.
    pub kind: AckKind,
    /// Which message.
    pub packet_id: PacketId,
    /// The reason; always [`ReasonCode::Success`] before MQTT 5.0.
    pub reason: ReasonCode,
    /// Text and user properties.
    pub notes: Notes,
}

impl Ack {
    /// A positive answer without more.
    pub const fn new(kind: AckKind, packet_id: PacketId) -> Self {
        Self::with_reason(kind, packet_id, ReasonCode::Success)
    }

    /// An answer with a reason.
    pub const fn with_reason(kind: AckKind, packet_id: PacketId, reason: ReasonCode) -> Self {
        let notes = Notes { reason_string: None, user: alloc::vec::Vec::new() };
        Self { kind, packet_id, reason, notes }
    }

    pub(crate) fn decode(
        kind: AckKind,
        frame: &Frame<'_>,
        version: Version,
        limits: &Limits,
    ) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(frame.body());
        let mut ack = Self::new(kind, reader.packet_id()?);
        if version.is_v5() && !reader.is_empty() {
            ack.reason = read_reason(&mut reader, kind.packet_type())?;
            if !reader.is_empty() {
                ack.notes = Notes::read(reader.properties()?, Place::Ack, limits)?;
            }
        }
        reader.end().map(|()| ack)
    }

    /// Appends the packet to `out`, in its shortest form.
    ///
    /// # Errors
    /// [`EncodeError::Unsayable`] for a negative answer before MQTT 5.0; else as [`super::Packet::encode`].
    pub fn encode<B: BufMut>(&self, version: Version, out: &mut B) -> Result<(), EncodeError> {
        if !version.is_v5() && self.reason.is_failure() {
            return Err(EncodeError::Unsayable);
        }
        Body::encode(self, self.kind.packet_type().first(), version, out)
    }
}

/// A reason code that the standard lists for this type of packet.
pub(crate) fn read_reason(reader: &mut Reader<'_>, kind: PacketType) -> Result<ReasonCode, DecodeError> {
    let code = reader.u8()?;
    ReasonCode::from_byte(code)
        .filter(|reason| reason.is_allowed_in(kind))
        .ok_or(DecodeError::ReasonCode { kind, code })
}

impl Body for Ack {
    fn write<S: Sink>(&self, version: Version, sink: &mut S) {
        sink.u16(self.packet_id.get());
        if version.is_v5() && !(self.reason == ReasonCode::Success && self.notes.is_empty()) {
            sink.u8(self.reason.byte());
            if !self.notes.is_empty() {
                write_block(&self.notes, sink);
            }
        }
    }
}
