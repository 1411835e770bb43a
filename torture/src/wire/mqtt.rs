//! MQTT 3.1.1 and 5 by hand.

use std::time::Duration;

use super::conn::{Conn, Result, Trouble};

/// What the hub says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Packet {
    Publish { topic: String, payload: Vec<u8>, qos: u8, id: u16, again: bool },
    PubAck { id: u16, code: u8 },
    PubRec { id: u16, code: u8 },
    PubRel { id: u16 },
    PubComp { id: u16 },
    SubAck { code: u8 },
    Disconnect { code: u8 },
}

/// Who connects, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connect<'a> {
    pub(crate) name: &'a str,
    pub v5: bool,
    /// The session outlives the connection.
    pub(crate) kept: bool,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Mqtt {
    conn: Conn,
    v5: bool,
}

impl Mqtt {
    /// Connects; also answers whether the session was there.
    pub(crate) fn open(port: u16, connect: &Connect<'_>) -> Result<(Self, bool)> {
        let mut mqtt = Self { conn: Conn::open(port)?, v5: connect.v5 };
        let mut body = vec![0, 4];
        body.extend(b"MQTT");
        body.push(if connect.v5 { 5 } else { 4 });
        body.push(u8::from(!connect.kept) << 1);
        body.extend([0, 0]);
        match (connect.v5, connect.kept) {
            (true, true) => body.extend([5, 0x11, 0, 1, 0x51, 0x80]),
            (true, false) => body.push(0),
            (false, _) => {}
        }
        text(&mut body, connect.name);
        mqtt.put(0x10, &body);
        mqtt.flush()?;
        loop {
            if let Some((0x20, body)) = mqtt.frame() {
                return match body.get(1) {
                    Some(0) => Ok((mqtt, body[0] & 1 == 1)),
                    _ => Trouble::wrong(format!("{} was refused: {body:02x?}", connect.name)),
                };
            }
            mqtt.conn.must("CONNACK")?;
        }
    }

    /// Subscribes, and waits for the answer; messages that come meanwhile are answered.
    pub(crate) fn subscribe(&mut self, filter: &str, qos: u8) -> Result<Vec<Packet>> {
        let mut body = vec![0, 1];
        if self.v5 {
            body.push(0);
        }
        text(&mut body, filter);
        body.push(qos);
        self.put(0x82, &body);
        self.flush()?;
        let mut before = Vec::new();
        loop {
            match self.next()? {
                Some(Packet::SubAck { code }) if code == qos => return Ok(before),
                Some(Packet::SubAck { code }) => return Trouble::wrong(format!("SUBACK says {code:#x}")),
                Some(other) => before.push(other),
                None => self.conn.must("SUBACK")?,
            }
        }
    }

    pub(crate) fn publish(&mut self, topic: &str, payload: &[u8], qos: u8, id: u16, again: bool, retain: bool) {
        let mut body = Vec::with_capacity(topic.len() + payload.len() + 8);
        text(&mut body, topic);
        body.extend(id.to_be_bytes());
        if self.v5 {
            body.push(0);
        }
        body.extend(payload);
        self.put(0x30 | u8::from(again) << 3 | qos << 1 | u8::from(retain), &body);
    }

    /// PUBACK, PUBREC, PUBREL or PUBCOMP.
    pub(crate) fn answer(&mut self, packet: &Packet) {
        let (kind, id) = match *packet {
            Packet::PubAck { id, .. } => (0x40, id),
            Packet::PubRec { id, .. } => (0x50, id),
            Packet::PubRel { id } => (0x62, id),
            Packet::PubComp { id } => (0x70, id),
            _ => return,
        };
        self.put(kind, &id.to_be_bytes());
    }

    pub(crate) fn flush(&mut self) -> Result {
        self.conn.flush()
    }

    /// Reads what comes; false if nothing does.
    pub(crate) fn wait(&mut self, patience: Duration) -> Result<bool> {
        self.conn.wait(patience)
    }

    /// Reads what must come.
    pub(crate) fn must(&mut self, what: &str) -> Result {
        self.conn.must(what)
    }

    /// The next packet that was read.
    pub(crate) fn next(&mut self) -> Result<Option<Packet>> {
        let Some((kind, body)) = self.frame() else { return Ok(None) };
        let id = |at: usize| body.get(at..at + 2).map_or(0, |id| u16::from_be_bytes([id[0], id[1]]));
        let code = body.get(2).copied().unwrap_or(0);
        Ok(Some(match kind >> 4 {
            3 => self.publish_of(kind, &body)?,
            4 => Packet::PubAck { id: id(0), code },
            5 => Packet::PubRec { id: id(0), code },
            6 => Packet::PubRel { id: id(0) },
            7 => Packet::PubComp { id: id(0) },
            9 => Packet::SubAck { code: body.last().copied().unwrap_or(0xff) },
            14 => Packet::Disconnect { code: body.first().copied().unwrap_or(0) },
            _ => return Trouble::wrong(format!("a packet {kind:#x} that nobody asked for")),
        }))
    }

    fn publish_of(&self, kind: u8, body: &[u8]) -> Result<Packet> {
        let cut = || Trouble::Wrong(format!("a PUBLISH that is cut off: {body:02x?}"));
        let length = body.get(..2).map(|at| usize::from(u16::from_be_bytes([at[0], at[1]]))).ok_or_else(cut)?;
        let topic = body.get(2..2 + length).ok_or_else(cut)?;
        let (qos, mut at, mut id) = (kind >> 1 & 3, 2 + length, 0);
        if qos > 0 {
            let found = body.get(at..at + 2).ok_or_else(cut)?;
            (id, at) = (u16::from_be_bytes([found[0], found[1]]), at + 2);
        }
        if self.v5 {
            let (length, bytes) = variable(body.get(at..).unwrap_or_default()).ok_or_else(cut)?;
            at += bytes + length;
        }
        let payload = body.get(at..).ok_or_else(cut)?.to_vec();
        Ok(Packet::Publish { topic: String::from_utf8_lossy(topic).into(), payload, qos, id, again: kind & 8 != 0 })
    }

    fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let buffered = self.conn.buffered();
        let kind = *buffered.first()?;
        let (length, bytes) = variable(&buffered[1..])?;
        let head = 1 + bytes;
        if buffered.len() < head + length {
            return None;
        }
        Some((kind, self.conn.take(head + length)[head..].to_vec()))
    }

    fn put(&mut self, kind: u8, body: &[u8]) {
        let out = &mut self.conn.out;
        out.push(kind);
        let mut left = body.len();
        loop {
            let byte = (left & 0x7f) as u8;
            left >>= 7;
            out.push(if left > 0 { byte | 0x80 } else { byte });
            if left == 0 {
                break;
            }
        }
        out.extend(body);
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u16).to_be_bytes());
    out.extend(text.as_bytes());
}

/// A number of variable length, and how many bytes it takes.
fn variable(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut number = 0;
    for (at, byte) in bytes.iter().take(4).enumerate() {
        number |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((number, at + 1));
        }
    }
    None
}
