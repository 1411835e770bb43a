//! MQTT packets by hand: what a client writes, and what it reads.

use crate::Result;

pub(crate) const PUBACK: u8 = 4;
pub(crate) const PUBREC: u8 = 5;
pub(crate) const PUBREL: u8 = 6;
pub(crate) const PUBCOMP: u8 = 7;
const NAMES: [&str; 16] = [
    "RESERVED",
    "CONNECT",
    "CONNACK",
    "PUBLISH",
    "PUBACK",
    "PUBREC",
    "PUBREL",
    "PUBCOMP",
    "SUBSCRIBE",
    "SUBACK",
    "UNSUBSCRIBE",
    "UNSUBACK",
    "PINGREQ",
    "PINGRESP",
    "DISCONNECT",
    "AUTH",
];

/// How a client connects.
#[derive(Clone, Debug)]
pub(crate) struct Connect {
    pub(crate) v5: bool,
    pub(crate) client_id: String,
    pub(crate) clean: bool,
    /// Seconds; MQTT 3 has no word for it and uses `clean`.
    pub(crate) expiry: u32,
    pub(crate) keep_alive: u16,
    pub(crate) packet_max: Option<u32>,
    /// Further properties of MQTT 5, encoded.
    pub(crate) properties: Vec<u8>,
    pub(crate) will: Option<Will>,
}

/// What is said if a client does not leave in good order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Will {
    pub(crate) topic: String,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    /// Of MQTT 5, encoded.
    pub(crate) properties: Vec<u8>,
}

impl Connect {
    pub(crate) fn new(v5: bool, client_id: &str) -> Self {
        Self {
            v5,
            client_id: client_id.into(),
            clean: true,
            expiry: 0,
            keep_alive: 60,
            packet_max: None,
            properties: Vec::new(),
            will: None,
        }
    }

    /// The session outlives its connection.
    pub(crate) fn kept(mut self) -> Self {
        (self.clean, self.expiry) = (false, 3600);
        self
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut body = string("MQTT");
        let will = self.will.as_ref().map_or(0, |will| 4 | will.qos << 3 | u8::from(will.retain) << 5);
        body.extend([if self.v5 { 5 } else { 4 }, u8::from(self.clean) << 1 | will]);
        body.extend(self.keep_alive.to_be_bytes());
        if self.v5 {
            let mut properties = vec![0x11];
            properties.extend(self.expiry.to_be_bytes());
            if let Some(max) = self.packet_max {
                properties.push(0x27);
                properties.extend(max.to_be_bytes());
            }
            properties.extend(&self.properties);
            body.push(properties.len() as u8);
            body.extend(properties);
        }
        body.extend(string(&self.client_id));
        if let Some(will) = &self.will {
            if self.v5 {
                body.push(will.properties.len() as u8);
                body.extend(&will.properties);
            }
            body.extend(string(&will.topic));
            body.extend(string("gone"));
        }
        packet(0x10, &body)
    }
}

/// A PUBLISH as it is written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Publish<'a> {
    pub(crate) v5: bool,
    pub(crate) qos: u8,
    pub(crate) dup: bool,
    pub(crate) retain: bool,
    pub(crate) id: u16,
    pub(crate) topic: &'a str,
    pub(crate) payload: &'a [u8],
    /// Of MQTT 5, encoded.
    pub(crate) properties: &'a [u8],
}

impl Publish<'_> {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut body = string(self.topic);
        if self.qos > 0 {
            body.extend(self.id.to_be_bytes());
        }
        if self.v5 {
            body.push(self.properties.len() as u8);
            body.extend(self.properties);
        }
        body.extend(self.payload);
        packet(0x30 | u8::from(self.dup) << 3 | self.qos << 1 | u8::from(self.retain), &body)
    }
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP; with a reason, even where the version has none.
pub(crate) fn ack(kind: u8, id: u16, reason: Option<u8>) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    body.extend(reason);
    packet(kind << 4 | if kind == PUBREL { 2 } else { 0 }, &body)
}

pub(crate) fn subscribe(v5: bool, filter: &str, qos: u8) -> Vec<u8> {
    subscribe_all(v5, &[], &[(filter, qos)])
}

/// With the properties of MQTT 5, encoded, and the options of each filter. The packet identifier is 1.
pub(crate) fn subscribe_all(v5: bool, properties: &[u8], filters: &[(&str, u8)]) -> Vec<u8> {
    let mut body = vec![0, 1];
    if v5 {
        body.push(properties.len() as u8);
        body.extend(properties);
    }
    for (filter, options) in filters {
        body.extend(string(filter));
        body.push(*options);
    }
    packet(0x82, &body)
}

/// The packet identifier is 2.
pub(crate) fn unsubscribe(filters: &[&str]) -> Vec<u8> {
    let mut body = vec![0, 2, 0];
    filters.iter().for_each(|filter| body.extend(string(filter)));
    packet(0xA2, &body)
}

pub(crate) const PINGREQ: [u8; 2] = [0xC0, 0];

/// Ends the session with the connection, where the version can say so.
pub(crate) fn disconnect(v5: bool) -> Vec<u8> {
    if v5 { packet(0xE0, &[0, 5, 0x11, 0, 0, 0, 0]) } else { packet(0xE0, &[]) }
}

pub(crate) fn string(text: &str) -> Vec<u8> {
    let mut out = (text.len() as u16).to_be_bytes().to_vec();
    out.extend(text.as_bytes());
    out
}

pub(crate) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    let mut left = body.len();
    loop {
        let more = left > 127;
        out.push((left % 128) as u8 | u8::from(more) << 7);
        left /= 128;
        if !more {
            break;
        }
    }
    out.extend(body);
    out
}

/// A packet as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) first: u8,
    pub(crate) body: Vec<u8>,
}

impl Packet {
    /// Takes the first packet off the bytes, once it is whole.
    pub(crate) fn take(bytes: &mut Vec<u8>) -> Option<Self> {
        let first = *bytes.first()?;
        let (mut length, mut at) = (0, 1);
        loop {
            let byte = usize::from(*bytes.get(at)?);
            length |= (byte & 127) << (7 * (at - 1));
            at += 1;
            if byte & 128 == 0 {
                break;
            }
        }
        let end = at + length;
        let body = bytes.get(at..end)?.to_vec();
        bytes.drain(..end);
        Some(Self { first, body })
    }

    pub(crate) fn kind(&self) -> u8 {
        self.first >> 4
    }

    pub(crate) fn dup(&self) -> bool {
        self.first & 8 != 0
    }

    pub(crate) fn qos(&self) -> u8 {
        self.first >> 1 & 3
    }

    /// Its packet identifier; of PUBLISH only at QoS 1 and 2.
    pub(crate) fn id(&self) -> u16 {
        let at = match self.kind() {
            3 => 2 + usize::from(self.word(0)),
            _ => 0,
        };
        self.word(at)
    }

    pub(crate) fn retain(&self) -> bool {
        self.first & 1 == 1
    }

    /// The topic, the properties and the payload of a PUBLISH of MQTT 5.
    pub(crate) fn parts(&self) -> (&[u8], &[u8], &[u8]) {
        let topic = usize::from(self.word(0));
        let at = 2 + topic + if self.qos() > 0 { 2 } else { 0 };
        let properties = usize::from(self.body[at]);
        (&self.body[2..2 + topic], &self.body[at + 1..at + 1 + properties], &self.body[at + 1 + properties..])
    }

    pub(crate) fn payload(&self) -> &[u8] {
        self.parts().2
    }

    /// In the grammar of answers: its name, and its code where the version has one.
    pub(crate) fn told(&self, v5: bool) -> String {
        let name = NAMES[usize::from(self.kind())];
        let at = match self.kind() {
            2 => Some(1),
            PUBACK..=PUBCOMP if v5 => Some(2),
            14 if v5 => Some(0),
            _ => None,
        };
        match at {
            Some(at) => format!("{name} 0x{:02X}", self.body.get(at).copied().unwrap_or(0)),
            None => name.into(),
        }
    }

    fn word(&self, at: usize) -> u16 {
        let byte = |at: usize| self.body.get(at).copied().unwrap_or(0);
        u16::from_be_bytes([byte(at), byte(at + 1)])
    }
}

/// The code in the grammar of answers, `0x87`.
pub(crate) fn code(text: &str) -> Result<u8> {
    let digits = text.strip_prefix("0x").ok_or_else(|| format!("{text} is no code"))?;
    u8::from_str_radix(digits, 16).map_err(|error| error.to_string())
}
