//! Frames ⇄ bytes, for MQTT 3.1, 3.1.1 and 5.0, both directions.
//!
//! [`frame`] cuts one [`Frame`] off a chunk without copying; [`Packet::decode`] reads any frame into an owned packet, and
//! [`PublishView::read`] reads the one that matters for speed, PUBLISH, without an allocation. Every packet is written by
//! [`Packet::encode`]; the header of a PUBLISH is written apart from its payload by [`PublishHeader::encode`].
//!
//! The decoder accepts what the standard allows and nothing else. Each refusal is a [`DecodeError`](crate::DecodeError) that names
//! the statement it rests on and the MQTT 5 reason code that the peer is owed.

mod ack;
mod auth;
mod connack;
mod connect;
mod disconnect;
mod frame;
mod limits;
mod packet;
mod property;
mod publish;
mod reader;
mod reason;
mod sink;
mod subscribe;
mod text;
mod types;
mod unsubscribe;

pub use ack::{Ack, AckKind};
pub use auth::Auth;
pub use connack::ConnAck;
pub use connect::{Connect, Will};
pub use disconnect::Disconnect;
pub use frame::{Frame, frame, frame_bytes};
pub use limits::Limits;
pub use packet::Packet;
pub use property::{Notes, Place, Property, UserProperties};
pub use publish::{Publish, PublishHeader, PublishProperties, PublishView};
pub use reason::ReasonCode;
pub use subscribe::{RetainHandling, SubAck, Subscribe, Subscription};
pub use types::{PacketId, PacketType, QoS, Version};
pub use unsubscribe::{UnsubAck, Unsubscribe};
