//! MQTT without a network: packets, and machines that are connected.

use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use roadbed_core::{Address, Delivery, Handle, Message, Output, Protocol, Qos, Time};
use roadbed_mqtt::codec::{Connect, Packet, PacketId, Publish, QoS, Version};
use roadbed_mqtt::{Event, Machine, MachineConfig, Welcome};

/// The time of all benchmarks.
pub const NOW: Time = Time::from_millis(1_700_000_000_000);

/// The topic of all benchmarks.
pub const TOPIC: &str = "plant/7/line/3/temperature";

/// How the messages of a benchmark look.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Its name in a row.
    pub name: &'static str,
    /// The version of MQTT.
    pub version: Version,
    /// How many user properties each message has; MQTT 5 only.
    pub properties: usize,
}

/// The shapes that are measured.
pub const SHAPES: [Shape; 3] = [
    Shape { name: "v3.1.1", version: Version::V311, properties: 0 },
    Shape { name: "v5", version: Version::V5, properties: 0 },
    Shape { name: "v5+2", version: Version::V5, properties: 2 },
];

/// The payloads that are measured, in bytes.
pub const SIZES: [usize; 3] = [64, 256, 16 << 10];

const PROPERTIES: [(&str, &str); 2] = [("unit", "celsius"), ("sensor", "PT100-17")];

/// As many messages as share one read of 64 KiB, at least one.
pub fn messages_per_read(size: usize) -> usize {
    ((64 << 10) / (size + 64)).max(1)
}

/// A read buffer with `messages` PUBLISH packets; those of QoS 1 and 2 count from packet identifier 1.
pub fn publishes(shape: &Shape, qos: QoS, size: usize, messages: usize) -> Bytes {
    let user = PROPERTIES[..shape.properties].iter().map(|&(name, value)| (name.into(), value.into())).collect();
    encoded(shape.version, qos, messages, &Publish { topic: TOPIC.into(), user, ..payload(size) })
}

/// As [`publishes`], to any topic.
pub fn publishes_to(topic: &'static str, version: Version, qos: QoS, size: usize, messages: usize) -> Bytes {
    encoded(version, qos, messages, &Publish { topic: topic.into(), ..payload(size) })
}

fn payload(size: usize) -> Publish {
    Publish { payload: vec![b'x'; size].into(), ..Publish::default() }
}

fn encoded(version: Version, qos: QoS, messages: usize, publish: &Publish) -> Bytes {
    let mut out = BytesMut::new();
    for n in 1..=messages {
        let packet = Packet::Publish(Box::new(Publish {
            qos,
            packet_id: PacketId::new(n as u16).filter(|_| qos != QoS::AtMostOnce),
            ..publish.clone()
        }));
        packet.encode(version, &mut out).expect("a packet that can be written");
    }
    out.freeze()
}

/// A message as [`publishes`] makes them, in memory of its own.
pub fn message(shape: &Shape, size: usize) -> Message {
    let address = Address::new(TOPIC).expect("a legal name");
    let message = Message::builder(address, vec![b'x'; size]);
    let properties = PROPERTIES[..shape.properties].iter();
    properties.fold(message, |message, &(name, value)| message.property(name, value)).build()
}

/// The delivery of `message` in `slot`.
pub fn delivery(message: &Message, qos: Qos, slot: u16) -> Delivery {
    let handle = Handle::new(slot, 1).filter(|_| qos != Qos::AtMostOnce);
    Delivery { message: message.clone(), handle, qos, retained: false, attempt: 1, info: None }
}

/// A machine that serves a client: CONNECT and CONNACK are done.
pub fn serving(version: Version) -> Machine {
    let config = MachineConfig::default().receive_maximum(u16::MAX);
    let mut machine = Machine::server(Arc::new(config), NOW);
    let (mut connect, mut at, mut out) = (BytesMut::new(), 0, Output::new());
    let packet = Packet::Connect(Box::new(Connect::new(version, "bench")));
    packet.encode(version, &mut connect).expect("a packet that can be written");
    let event = machine.next(NOW, &connect.freeze(), &mut at, &mut out);
    assert!(matches!(event, Ok(Some(Event::Connect(_)))), "{event:?}");
    machine.accept(Welcome::default(), NOW, &mut out).expect("CONNACK");
    machine
}

/// Hands every event of `chunk` to `each`; all of it must be whole packets.
pub fn read<P: Protocol>(
    machine: &mut P,
    chunk: &Bytes,
    out: &mut Output,
    mut each: impl FnMut(&mut P, P::Event, &mut Output),
) {
    let mut at = 0;
    while let Some(event) = machine.next(NOW, chunk, &mut at, out).expect("legal packets") {
        each(machine, event, out);
    }
    assert_eq!(at, chunk.len());
}

/// Throws away what would be written, and says how much it was.
pub fn flush(out: &mut Output) -> usize {
    let len = out.remaining();
    out.advance(len);
    len
}
