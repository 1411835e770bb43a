use std::collections::BTreeMap;
use std::num::NonZeroU16;

use arbitrary::{Result, Unstructured};
use bytes::{Bytes, BytesMut};
use roadbed_mqtt::Server;
use roadbed_mqtt::codec::{
    Ack, AckKind, Connect, Limits, Packet, PacketId, Publish, QoS, Subscribe, Subscription, Version, Will, frame,
};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use super::wire::Wire;

const TOPICS: [&str; 4] = ["a", "a/b", "queues/q", "$x"];
const FILTERS: [&str; 6] = ["a", "a/#", "+/b", "queues/q", "$share/g/a", "#"];
/// What the MQTT 5 client takes at once.
const WINDOW: NonZeroU16 = NonZeroU16::new(4).expect("not zero");

/// An MQTT client that says anything, and reads strictly.
pub(super) struct Client {
    version: Version,
    name: &'static str,
    wire: Wire,
    connected: bool,
    /// Bytes that nobody knows the meaning of were sent; the server may answer in any version.
    strange: bool,
    unread: BytesMut,
    /// Messages of QoS 1 and 2 that are not answered, with the next answer.
    open: BTreeMap<PacketId, AckKind>,
    next: u16,
}

impl Client {
    pub(super) fn new(version: Version, name: &'static str) -> Self {
        Self {
            version,
            name,
            wire: Wire::default(),
            connected: false,
            strange: false,
            unread: BytesMut::new(),
            open: BTreeMap::new(),
            next: 0,
        }
    }

    pub(super) fn connect(
        &mut self,
        u: &mut Unstructured<'_>,
        runtime: &Runtime,
        server: &Server,
    ) -> Result<Option<JoinHandle<Option<String>>>> {
        self.lose();
        let bits = u.arbitrary::<u8>()?;
        self.wire = Wire::default();
        let connection = server.serve(self.wire.clone());
        let mut connect = Connect::new(self.version, self.name);
        connect.clean_start = bits & 1 != 0;
        connect.session_expiry_secs = (bits & 2 != 0 && self.version.is_v5()).then_some(60);
        connect.receive_maximum = Some(WINDOW).filter(|_| self.version.is_v5());
        connect.will = (bits & 4 != 0).then(|| Will { topic: "a".into(), qos: QoS::AtLeastOnce, ..Will::default() });
        if bits & 8 == 0 {
            self.write(&Packet::Connect(Box::new(connect)));
        }
        self.connected = true;
        Ok(Some(runtime.spawn(async move {
            let _ = connection.await;
            None
        })))
    }

    /// The connection is lost.
    pub(super) fn lose(&mut self) {
        self.wire.close();
        (self.connected, self.strange) = (false, false);
        self.unread.clear();
        self.open.clear();
    }

    pub(super) fn send(&mut self, bytes: &[u8]) {
        self.strange = true;
        self.wire.send(bytes);
    }

    pub(super) fn publish(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let bits = u.arbitrary::<u8>()?;
        let qos = QoS::from_bits(bits & 3).unwrap_or_default();
        self.next = self.next % 8 + 1;
        let packet = Publish {
            qos,
            retain: bits & 4 != 0,
            packet_id: PacketId::new(self.next).filter(|_| qos != QoS::AtMostOnce),
            topic: TOPICS[usize::from(bits >> 3) % TOPICS.len()].into(),
            message_expiry_secs: (bits & 64 != 0).then_some(5),
            payload: vec![b'x'; if bits & 128 == 0 { 5 } else { 3000 }].into(),
            ..Publish::default()
        };
        self.write(&Packet::Publish(Box::new(packet)));
        Ok(())
    }

    pub(super) fn subscribe(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let bits = u.arbitrary::<u8>()?;
        let qos = QoS::from_bits(bits & 3).unwrap_or_default();
        let filter = FILTERS[usize::from(bits >> 2) % FILTERS.len()];
        let subscriptions = vec![Subscription::new(filter, qos)];
        let subscription_id = (bits & 128 != 0).then_some(7);
        self.write(&Packet::Subscribe(Subscribe {
            packet_id: PacketId::MIN,
            subscription_id,
            user: vec![],
            subscriptions,
        }));
        Ok(())
    }

    /// Says all that is owed.
    pub(super) fn answer(&mut self) {
        for (id, kind) in self.open.clone() {
            self.write(&Packet::Ack(Ack::new(kind, id)));
            match kind {
                AckKind::PubRec => self.open.insert(id, AckKind::PubComp),
                _ => self.open.remove(&id),
            };
        }
    }

    /// Reads what has come.
    pub(super) fn check(&mut self) {
        self.unread.extend_from_slice(&self.wire.take());
        let (chunk, mut at, limits) = (Bytes::copy_from_slice(&self.unread), 0, Limits::default());
        // After strange bytes, the connection may have become one of another version, with other limits.
        if self.strange {
            return self.unread.clear();
        }
        let mut packets = Vec::new();
        while let Some(frame) = frame(&chunk, &mut at, Some(self.version), &limits).expect("a frame") {
            packets.push(Packet::decode(frame, self.version, &limits).expect("a legal packet"));
        }
        assert_eq!(at, chunk.len(), "whole packets are written");
        self.unread.clear();
        packets.iter().for_each(|packet| self.took(packet));
        let window = if self.version.is_v5() { usize::from(WINDOW.get()) } else { usize::MAX };
        assert!(self.open.len() <= window, "no more than the client takes");
    }

    fn took(&mut self, packet: &Packet) {
        match packet {
            Packet::Publish(publish) if publish.qos > QoS::AtMostOnce => {
                let kind = if publish.qos == QoS::AtLeastOnce { AckKind::PubAck } else { AckKind::PubRec };
                let id = publish.packet_id.expect("a message of QoS 1 or 2 has one");
                assert_eq!(self.open.insert(id, kind), None, "an identifier in use is not used again");
            }
            Packet::Ack(ack) if ack.kind == AckKind::PubRec && !ack.reason.is_failure() => {
                self.write(&Packet::Ack(Ack::new(AckKind::PubRel, ack.packet_id)));
            }
            Packet::Ack(ack) if ack.kind == AckKind::PubRel => {
                self.open.insert(ack.packet_id, AckKind::PubComp);
            }
            _ => {}
        }
    }

    fn write(&mut self, packet: &Packet) {
        let mut out = BytesMut::new();
        packet.encode(self.version, &mut out).expect("a packet that can be written");
        self.wire.send(&out);
    }
}
