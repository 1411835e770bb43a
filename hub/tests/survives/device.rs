//! MQTT 5.0 by hand.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::support::PATIENCE;

pub(crate) const PUBLISH: u8 = 3;
pub(crate) const PUBACK: u8 = 4;
pub(crate) const PUBREC: u8 = 5;
pub(crate) const PUBREL: u8 = 6;
pub(crate) const PUBCOMP: u8 = 7;
pub(crate) const SUBACK: u8 = 9;

/// A packet: its kind, its flags and its body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) body: Vec<u8>,
}

/// A PUBLISH that came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Publish {
    pub(crate) topic: String,
    pub(crate) qos: u8,
    pub(crate) dup: bool,
    pub(crate) retain: bool,
    pub(crate) id: u16,
    pub(crate) properties: Vec<u8>,
    pub(crate) payload: String,
}

/// A will: topic, payload and delay in seconds.
pub(crate) type Will<'a> = (&'a str, &'a str, u32);

pub(crate) struct Device {
    stream: TcpStream,
    /// Whether the hub had its session.
    pub(crate) present: bool,
}

impl Device {
    /// Connects with a session that is kept for so many seconds, and goes on with what there is of it.
    pub(crate) fn kept(address: &str, name: &str, expiry: u32) -> Self {
        Self::connect(address, name, expiry, false, None)
    }

    pub(crate) fn connect(address: &str, name: &str, expiry: u32, clean: bool, will: Option<Will<'_>>) -> Self {
        let stream = TcpStream::connect(address).expect("the hub listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
        let flags = u8::from(clean) << 1 | if will.is_some() { 0b1100 } else { 0 };
        let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 5, flags, 0, 0, 5, 0x11];
        body.extend(expiry.to_be_bytes());
        text(&mut body, name);
        if let Some((topic, payload, delay)) = will {
            body.extend([5, 0x18]);
            body.extend(delay.to_be_bytes());
            text(&mut body, topic);
            text(&mut body, payload);
        }
        let mut this = Self { stream, present: false };
        this.send(0x10, &body);
        let connack = this.packet();
        assert_eq!((connack.kind, connack.body[1]), (2, 0), "{connack:?}");
        this.present = connack.body[0] == 1;
        this
    }

    /// Subscribes with these options, and a subscription identifier.
    pub(crate) fn subscribe(&mut self, filter: &str, options: u8, identifier: u8) {
        let mut body = vec![0, 1, 2, 0x0b, identifier];
        text(&mut body, filter);
        body.push(options);
        self.send(0x82, &body);
        let suback = self.until(SUBACK);
        assert_eq!(suback.body.last(), Some(&(options & 3)), "{suback:?}");
    }

    /// Sends a PUBLISH with properties.
    pub(crate) fn publish(&mut self, topic: &str, payload: &str, first: u8, id: u16, properties: &[u8]) {
        let mut body = Vec::new();
        text(&mut body, topic);
        if first & 0b110 != 0 {
            body.extend(id.to_be_bytes());
        }
        body.push(u8::try_from(properties.len()).expect("few properties"));
        body.extend(properties);
        body.extend(payload.as_bytes());
        self.send(0x30 | first, &body);
    }

    /// Sends a PUBLISH, and waits for PUBACK or PUBREC, which must be good.
    pub(crate) fn published(&mut self, topic: &str, payload: &str, first: u8, id: u16) {
        self.publish(topic, payload, first, id, &[]);
        let kind = if first & 0b110 == 2 { PUBACK } else { PUBREC };
        let (acked, code) = self.acked(kind);
        assert!(acked == id && code < 0x80, "{payload}: {code:#x} for {acked}");
    }

    /// PUBACK, PUBREC, PUBREL or PUBCOMP for a packet identifier.
    pub(crate) fn ack(&mut self, kind: u8, id: u16) {
        self.send(kind << 4 | if kind == PUBREL { 2 } else { 0 }, &id.to_be_bytes());
    }

    /// The next acknowledgement of that kind: its packet identifier and reason code.
    pub(crate) fn acked(&mut self, kind: u8) -> (u16, u8) {
        let packet = self.until(kind);
        (u16::from_be_bytes([packet.body[0], packet.body[1]]), packet.body.get(2).copied().unwrap_or(0))
    }

    /// The next PUBLISH.
    pub(crate) fn publish_in(&mut self) -> Publish {
        let Packet { flags, body, .. } = self.until(PUBLISH);
        let length = usize::from(u16::from_be_bytes([body[0], body[1]]));
        let topic = String::from_utf8_lossy(&body[2..2 + length]).into_owned();
        let qos = flags >> 1 & 3;
        let (mut at, mut id) = (2 + length, 0);
        if qos > 0 {
            id = u16::from_be_bytes([body[at], body[at + 1]]);
            at += 2;
        }
        let properties = usize::from(body[at]);
        let properties_end = at + 1 + properties;
        Publish {
            topic,
            qos,
            dup: flags & 8 != 0,
            retain: flags & 1 != 0,
            id,
            properties: body[at + 1..properties_end].to_vec(),
            payload: String::from_utf8_lossy(&body[properties_end..]).into_owned(),
        }
    }

    /// The kind of the next packet, which stays.
    pub(crate) fn peek(&mut self) -> u8 {
        let mut byte = [0];
        assert_eq!(self.stream.peek(&mut byte).expect("a packet comes in time"), 1, "the hub hangs up");
        byte[0] >> 4
    }

    /// Leaves in good order.
    pub(crate) fn disconnect(&mut self) {
        self.send(0xe0, &[]);
        assert_eq!(self.stream.read(&mut [0]).expect("the hub hangs up"), 0);
    }

    /// Nothing comes for a while.
    pub(crate) fn is_quiet(&mut self) -> bool {
        self.stream.set_read_timeout(Some(Duration::from_millis(300))).expect("a socket option");
        let quiet = self.stream.peek(&mut [0]).is_err();
        self.stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
        quiet
    }

    /// The next packet of that kind; others are skipped.
    pub(crate) fn until(&mut self, kind: u8) -> Packet {
        loop {
            let packet = self.packet();
            if packet.kind == kind {
                return packet;
            }
            assert_ne!(packet.kind, 14, "DISCONNECT {packet:?}");
        }
    }

    fn packet(&mut self) -> Packet {
        let (mut byte, mut length, mut shift) = ([0], 0usize, 0);
        self.stream.read_exact(&mut byte).expect("a packet comes in time");
        let first = byte[0];
        loop {
            self.stream.read_exact(&mut byte).expect("a packet comes whole");
            length |= usize::from(byte[0] & 0x7f) << shift;
            shift += 7;
            if byte[0] & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).expect("a packet comes whole");
        Packet { kind: first >> 4, flags: first & 0xf, body }
    }

    fn send(&mut self, first: u8, body: &[u8]) {
        let mut packet = vec![first];
        let mut left = body.len();
        loop {
            let low = (left & 0x7f) as u8;
            left >>= 7;
            packet.push(if left > 0 { low | 0x80 } else { low });
            if left == 0 {
                break;
            }
        }
        packet.extend(body);
        self.stream.write_all(&packet).expect("the hub reads");
    }
}

fn text(into: &mut Vec<u8>, text: &str) {
    into.extend(u16::try_from(text.len()).expect("a short text").to_be_bytes());
    into.extend(text.as_bytes());
}
