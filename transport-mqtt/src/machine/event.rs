use alloc::boxed::Box;
use alloc::vec::Vec;

use roadbed_core::{Key, Message, Outgoing, Qos};

use crate::codec::{Ack, Auth, ConnAck, Connect, Disconnect, PacketId, SubAck, Subscribe, UnsubAck, Unsubscribe};

/// What a peer did. Pings never show: the machine answers them.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// Server: a client asks to come in. Nothing more is read until [`Machine::accept`](super::Machine::accept) or
    /// [`Machine::refuse`](super::Machine::refuse), except AUTH.
    Connect(Box<Connect>),
    /// Client: the server's answer. If its reason is a failure, the connection is over.
    ConnAck(Box<ConnAck>),
    /// A message came.
    Publish(Incoming),
    /// An answer about a message: PUBACK, PUBREC and PUBCOMP about one we sent, PUBREL about one we took.
    Ack(Ack),
    /// Server: answer with [`Machine::subscribed`](super::Machine::subscribed).
    Subscribe(Subscribe),
    /// Client: the answer to [`Machine::subscribe`](super::Machine::subscribe).
    SubAck(SubAck),
    /// Server: answer with [`Machine::unsubscribed`](super::Machine::unsubscribed).
    Unsubscribe(Unsubscribe),
    /// Client: the answer to [`Machine::unsubscribe`](super::Machine::unsubscribe).
    UnsubAck(UnsubAck),
    /// A step of an enhanced authentication; continue with [`Machine::authenticate`](super::Machine::authenticate).
    Auth(Auth),
    /// The peer is leaving; nothing more will come.
    Disconnect(Disconnect),
}

/// A message that came.
#[derive(Debug, Clone)]
pub struct Incoming {
    /// The message; retained if the packet said so.
    pub message: Message,
    /// The assurance of this hop.
    pub qos: Qos,
    /// It may have been sent before.
    pub dup: bool,
    /// What an answer will name; present exactly for QoS 1 and 2.
    pub packet_id: Option<PacketId>,
    /// Client: the subscriptions that it matched.
    pub subscription_ids: Vec<u32>,
}

impl Incoming {
    /// The number that [`Machine::confirm`](super::Machine::confirm) reads packet identifier and QoS from; 0 for QoS 0.
    pub fn cookie(&self) -> u64 {
        cookie(self.qos, self.packet_id)
    }
}

impl From<Incoming> for Outgoing {
    /// On its way into an endpoint: named by its packet identifier if it must not come twice.
    fn from(incoming: Incoming) -> Self {
        let cookie = incoming.cookie();
        let key = match incoming.packet_id {
            Some(id) if incoming.qos == Qos::ExactlyOnce => Some(Key::Number(id.get().into())),
            _ => None,
        };
        Self { cookie, message: incoming.message, qos: incoming.qos, key, txn: None }
    }
}

pub(crate) fn cookie(qos: Qos, packet_id: Option<PacketId>) -> u64 {
    packet_id.map_or(0, |id| u64::from(qos.level()) << 16 | u64::from(id.get()))
}

/// Undoes [`cookie`].
pub(crate) fn read_cookie(cookie: u64) -> Option<(Qos, PacketId)> {
    let qos = Qos::from_level(u8::try_from(cookie >> 16).ok()?)?;
    Some((qos, PacketId::new(cookie as u16)?)).filter(|_| qos != Qos::AtMostOnce)
}
