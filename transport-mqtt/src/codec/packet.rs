use alloc::boxed::Box;

use bytes::BufMut;

use super::ack::{Ack, AckKind};
use super::auth::Auth;
use super::connack::ConnAck;
use super::connect::Connect;
use super::disconnect::Disconnect;
use super::frame::Frame;
use super::limits::Limits;
use super::publish::{Publish, PublishView};
use super::sink::{Body, whole};
use super::subscribe::{SubAck, Subscribe};
use super::text::topic;
use super::types::{PacketType, Version};
use super::unsubscribe::{UnsubAck, Unsubscribe};
use crate::error::{DecodeError, EncodeError};

/// Any control packet, owned. Strings are copies, so that a packet that is kept does not pin its read buffer; only the payload of a PUBLISH is a slice of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant is documented at its type")]
pub enum Packet {
    Connect(Box<Connect>),
    ConnAck(Box<ConnAck>),
    Publish(Box<Publish>),
    /// PUBACK, PUBREC, PUBREL or PUBCOMP.
    Ack(Ack),
    Subscribe(Subscribe),
    SubAck(SubAck),
    Unsubscribe(Unsubscribe),
    UnsubAck(UnsubAck),
    PingReq,
    PingResp,
    Disconnect(Disconnect),
    Auth(Auth),
}

impl Packet {
    /// Reads a frame. `version` is that of the connection; CONNECT brings its own.
    ///
    /// # Errors
    /// Whatever the standard forbids in this packet, seen without the state of the connection.
    pub fn decode(frame: Frame<'_>, version: Version, limits: &Limits) -> Result<Self, DecodeError> {
        Ok(match frame.kind() {
            PacketType::Connect => Self::Connect(Box::new(Connect::decode(&frame, limits)?)),
            PacketType::ConnAck => Self::ConnAck(Box::new(ConnAck::decode(&frame, version, limits)?)),
            PacketType::Publish => Self::Publish(Box::new(PublishView::read(frame, version, limits)?.to_packet()?)),
            PacketType::PubAck => Self::Ack(Ack::decode(AckKind::PubAck, &frame, version, limits)?),
            PacketType::PubRec => Self::Ack(Ack::decode(AckKind::PubRec, &frame, version, limits)?),
            PacketType::PubRel => Self::Ack(Ack::decode(AckKind::PubRel, &frame, version, limits)?),
            PacketType::PubComp => Self::Ack(Ack::decode(AckKind::PubComp, &frame, version, limits)?),
            PacketType::Subscribe => Self::Subscribe(Subscribe::decode(&frame, version, limits)?),
            PacketType::SubAck => Self::SubAck(SubAck::decode(&frame, version, limits)?),
            PacketType::Unsubscribe => Self::Unsubscribe(Unsubscribe::decode(&frame, version, limits)?),
            PacketType::UnsubAck => Self::UnsubAck(UnsubAck::decode(&frame, version, limits)?),
            // The framer has checked that these have no body.
            PacketType::PingReq => Self::PingReq,
            PacketType::PingResp => Self::PingResp,
            PacketType::Disconnect => Self::Disconnect(Disconnect::decode(&frame, version, limits)?),
            PacketType::Auth => Self::Auth(Auth::decode(&frame, limits)?),
        })
    }

    /// The type of the packet.
    pub const fn kind(&self) -> PacketType {
        match self {
            Self::Connect(_) => PacketType::Connect,
            Self::ConnAck(_) => PacketType::ConnAck,
            Self::Publish(_) => PacketType::Publish,
            Self::Ack(ack) => ack.kind.packet_type(),
            Self::Subscribe(_) => PacketType::Subscribe,
            Self::SubAck(_) => PacketType::SubAck,
            Self::Unsubscribe(_) => PacketType::Unsubscribe,
            Self::UnsubAck(_) => PacketType::UnsubAck,
            Self::PingReq => PacketType::PingReq,
            Self::PingResp => PacketType::PingResp,
            Self::Disconnect(_) => PacketType::Disconnect,
            Self::Auth(_) => PacketType::Auth,
        }
    }

    /// Appends the packet to `out`, in its shortest form, or nothing at all.
    ///
    /// # Errors
    /// [`EncodeError`] names each case; `out` is as it was.
    pub fn encode<B: BufMut>(&self, version: Version, out: &mut B) -> Result<(), EncodeError> {
        self.check(version)?;
        let first = self.kind().first();
        match self {
            Self::Connect(packet) => packet.encode(first, version, out),
            Self::ConnAck(packet) => packet.encode(first, version, out),
            Self::Publish(packet) => packet.encode(version, out),
            Self::Ack(packet) => Body::encode(packet, first, version, out),
            Self::Subscribe(packet) => packet.encode(first, version, out),
            Self::SubAck(packet) => packet.encode(first, version, out),
            Self::Unsubscribe(packet) => packet.encode(first, version, out),
            Self::UnsubAck(packet) => packet.encode(first, version, out),
            Self::PingReq | Self::PingResp => Empty.encode(first, version, out),
            Self::Disconnect(packet) => packet.encode(first, version, out),
            Self::Auth(packet) => packet.encode(first, version, out),
        }
    }

    /// The length of the whole packet in bytes, which a peer's Maximum Packet Size bounds.
    ///
    /// # Errors
    /// As [`Packet::encode`], except for the room.
    pub fn encoded_len(&self, version: Version) -> Result<usize, EncodeError> {
        self.check(version)?;
        match self {
            Self::Connect(packet) => packet.remaining(version),
            Self::ConnAck(packet) => packet.remaining(version),
            Self::Publish(packet) => return packet.encoded_len(version),
            Self::Ack(packet) => packet.remaining(version),
            Self::Subscribe(packet) => packet.remaining(version),
            Self::SubAck(packet) => packet.remaining(version),
            Self::Unsubscribe(packet) => packet.remaining(version),
            Self::UnsubAck(packet) => packet.remaining(version),
            Self::PingReq | Self::PingResp => Ok(0),
            Self::Disconnect(packet) => packet.remaining(version),
            Self::Auth(packet) => packet.remaining(version),
        }
        .map(whole)
    }

    /// What the version cannot say, or the standard forbids to say.
    fn check(&self, version: Version) -> Result<(), EncodeError> {
        let v5 = version.is_v5();
        match self {
            Self::Ack(ack) if !v5 && ack.reason.is_failure() => Err(EncodeError::Unsayable),
            Self::Auth(_) if !v5 => Err(EncodeError::Unsayable),
            Self::Connect(connect) if !connect.version.is_v5() && connect.password_alone() => {
                Err(EncodeError::Unsayable)
            }
            Self::Publish(publish) => topic(publish.topic.as_bytes()).map(drop).map_err(|_| EncodeError::Text),
            Self::Connect(connect) => match &connect.will {
                Some(will) => topic(will.topic.as_bytes()).map(drop).map_err(|_| EncodeError::Text),
                None => Ok(()),
            },
            Self::Subscribe(packet) if packet.subscriptions.is_empty() => Err(EncodeError::ListEmpty),
            Self::SubAck(packet) if packet.codes.is_empty() => Err(EncodeError::ListEmpty),
            Self::Unsubscribe(packet) if packet.filters.is_empty() => Err(EncodeError::ListEmpty),
            Self::UnsubAck(packet) if v5 && packet.codes.is_empty() => Err(EncodeError::ListEmpty),
            _ => Ok(()),
        }
    }
}

/// The body of PINGREQ and PINGRESP.
struct Empty;

impl Body for Empty {
    fn write<S: super::sink::Sink>(&self, _: Version, _: &mut S) {}
}
