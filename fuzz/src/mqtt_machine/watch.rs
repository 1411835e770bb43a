use bytes::Bytes;
use roadbed_core::Qos;
use roadbed_mqtt::codec::{Ack, AckKind, Limits, Packet, PacketId, QoS, Version, frame};
use roadbed_mqtt::{Event, Incoming, Machine};

use super::end::is_of_end;

/// What was seen on a connection from both sides of the machine.
#[derive(Default)]
pub(super) struct Watch {
    server: bool,
    /// The caller has let the client in.
    pub(super) accepted: bool,
    opened: bool,
    ended: bool,
    /// Messages that came and are not answered.
    pub(super) unanswered: Vec<Incoming>,
    /// Messages of QoS 2 that came and are not complete.
    pub(super) received: Vec<PacketId>,
    /// SUBSCRIBE (true) and UNSUBSCRIBE with the number of filters.
    pub(super) asked: Vec<(bool, PacketId, usize)>,
    sent: u32,
}

impl Watch {
    pub(super) fn new(server: bool) -> Self {
        Self { server, ..Self::default() }
    }

    pub(super) fn took(&mut self, event: &Event) {
        match event {
            Event::Publish(incoming) if incoming.qos > Qos::AtMostOnce => self.unanswered.push(incoming.clone()),
            Event::Ack(ack) if ends(ack) => self.sent = self.sent.saturating_sub(1),
            Event::Subscribe(packet) => self.asked.push((true, packet.packet_id, packet.subscriptions.len())),
            Event::Unsubscribe(packet) => self.asked.push((false, packet.packet_id, packet.filters.len())),
            _ => {}
        }
    }

    /// What a machine writes is MQTT of its version and its end, within the limits of the peer, and stops with its connection.
    pub(super) fn said(&mut self, machine: &Machine, bytes: &Bytes) {
        let (peer, mut at) = (machine.peer(), 0);
        while at < bytes.len() {
            assert!(!self.ended, "a word after the end");
            let begin = at;
            // A server that refuses a CONNECT it cannot read chooses the version of its answer.
            let refused = machine.is_closed() && !self.opened;
            let packet = match read(bytes, &mut at, peer.version) {
                None if refused => read(bytes, &mut at, Version::V5),
                packet => packet,
            };
            let packet =
                packet.unwrap_or_else(|| panic!("not a packet of {:?}: {:x}", peer.version, bytes.slice(begin..)));
            assert!(is_of_end(&packet, self.server), "{packet:?}");
            assert!(refused || (at - begin) as u64 <= u64::from(peer.packet_bytes_max), "too large for the peer");
            self.count(machine, &packet);
        }
        self.ended |= machine.is_closed();
        let waiting = self.unanswered.len() + self.received.len();
        assert!(!peer.version.is_v5() || waiting <= 3, "more unanswered messages than were allowed");
        assert!(self.sent <= u32::from(peer.receive_maximum), "more messages than the peer takes");
    }

    fn count(&mut self, machine: &Machine, packet: &Packet) {
        match packet {
            Packet::ConnAck(connack) => {
                self.opened = !connack.reason.is_failure();
                assert!(self.opened || machine.is_closed(), "who is refused does not come in");
                assert_eq!(self.opened, self.accepted, "who is accepted comes in");
            }
            Packet::Publish(publish) => {
                assert!(self.opened || !self.server, "nothing before CONNACK");
                self.sent += u32::from(publish.qos > QoS::AtMostOnce);
                let alias = publish.topic_alias.map_or(0, Into::into);
                assert!(alias <= machine.peer().topic_alias_maximum.min(2));
            }
            _ => {}
        }
    }
}

fn read(bytes: &Bytes, at: &mut usize, version: Version) -> Option<Packet> {
    let mut end = *at;
    let frame = frame(bytes, &mut end, Some(version), &Limits::default()).ok()??;
    let packet = Packet::decode(frame, version, &Limits::default()).ok()?;
    *at = end;
    Some(packet)
}

/// Whether the answer is the last word about a message.
fn ends(ack: &Ack) -> bool {
    match ack.kind {
        AckKind::PubAck | AckKind::PubComp => true,
        AckKind::PubRec => ack.reason.is_failure(),
        AckKind::PubRel => false,
    }
}
