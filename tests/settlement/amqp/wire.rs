//! AMQP frames and values by hand: what a client writes, and what it reads.

pub(crate) const OPEN: u64 = 0x10;
pub(crate) const BEGIN: u64 = 0x11;
pub(crate) const ATTACH: u64 = 0x12;
pub(crate) const FLOW: u64 = 0x13;
pub(crate) const TRANSFER: u64 = 0x14;
pub(crate) const DISPOSITION: u64 = 0x15;
pub(crate) const DETACH: u64 = 0x16;
pub(crate) const END: u64 = 0x17;
pub(crate) const CLOSE: u64 = 0x18;
pub(crate) const SASL_MECHANISMS: u64 = 0x40;
pub(crate) const SASL_INIT: u64 = 0x41;
pub(crate) const SASL_OUTCOME: u64 = 0x44;

/// A value of AMQP's type system, as far as trials need it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Ubyte(u8),
    Ushort(u16),
    Uint(u32),
    Ulong(u64),
    Text(String),
    Symbol(String),
    Binary(Vec<u8>),
    List(Vec<Value>),
    Map(Vec<(Value, Value)>),
    Array(Vec<Value>),
    Described(u64, Box<Value>),
    /// Anything else: its constructor, and its bytes.
    Other(u8, Vec<u8>),
}

use Value::{Binary, Bool, Described, List, Map, Null, Symbol, Text, Ubyte, Uint, Ulong, Ushort};

pub(crate) fn text(value: &str) -> Value {
    Text(value.into())
}

pub(crate) fn symbol(value: &str) -> Value {
    Symbol(value.into())
}

pub(crate) fn described(code: u64, fields: Vec<Value>) -> Value {
    Described(code, Box::new(List(fields)))
}

impl Value {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Null => out.push(0x40),
            Bool(value) => out.push(if *value { 0x41 } else { 0x42 }),
            Ubyte(value) => out.extend([0x50, *value]),
            Ushort(value) => {
                out.push(0x60);
                out.extend(value.to_be_bytes());
            }
            Uint(value) => {
                out.push(0x70);
                out.extend(value.to_be_bytes());
            }
            Ulong(value) => {
                out.push(0x80);
                out.extend(value.to_be_bytes());
            }
            Text(value) => sized(0xb1, value.as_bytes(), out),
            Symbol(value) => sized(0xb3, value.as_bytes(), out),
            Binary(value) => sized(0xb0, value, out),
            List(items) => compound(0xd0, items.len(), items.iter(), out),
            Map(pairs) => compound(0xd1, 2 * pairs.len(), pairs.iter().flat_map(|(key, value)| [key, value]), out),
            Described(code, value) => {
                out.extend([0x00, 0x80]);
                out.extend(code.to_be_bytes());
                value.encode(out);
            }
            Value::Other(constructor, bytes) => {
                out.push(*constructor);
                out.extend(bytes);
            }
            // No trial writes one.
            Value::Array(_) => out.push(0x40),
        }
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out
    }

    /// Takes the first value off the bytes.
    pub(crate) fn take(bytes: &mut &[u8]) -> Option<Self> {
        let (&constructor, rest) = bytes.split_first()?;
        *bytes = rest;
        if constructor != 0 {
            return Self::plain(constructor, bytes);
        }
        let code = match Self::take(bytes)? {
            Ulong(code) => code,
            _ => u64::MAX,
        };
        Some(Described(code, Box::new(Self::take(bytes)?)))
    }

    fn plain(constructor: u8, bytes: &mut &[u8]) -> Option<Self> {
        let width = match constructor >> 4 {
            0x4 => 0,
            0x5 => 1,
            0x6 => 2,
            0x7 => 4,
            0x8 => 8,
            0x9 => 16,
            0xa | 0xc | 0xe => usize::from(head(bytes, 1)?[0]),
            _ => number(head(bytes, 4)?) as usize,
        };
        let found = head(bytes, width)?;
        Some(match constructor {
            0x40 => Null,
            0x41 => Bool(true),
            0x42 => Bool(false),
            0x56 => Bool(found[0] == 1),
            0x43 | 0x52 | 0x70 => Uint(number(found) as u32),
            0x44 | 0x53 | 0x80 => Ulong(number(found)),
            0x45 => List(Vec::new()),
            0x50 => Ubyte(found[0]),
            0x60 => Ushort(number(found) as u16),
            0xa0 | 0xb0 => Binary(found.to_vec()),
            0xa1 | 0xb1 => Text(String::from_utf8_lossy(found).into_owned()),
            0xa3 | 0xb3 => Symbol(String::from_utf8_lossy(found).into_owned()),
            0xc0 | 0xd0 | 0xc1 | 0xd1 => {
                let mut found = &found[if constructor < 0xd0 { 1 } else { 4 }..];
                let mut items = Vec::new();
                while !found.is_empty() {
                    items.push(Self::take(&mut found)?);
                }
                match constructor & 1 {
                    0 => List(items),
                    _ => Map(items.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()),
                }
            }
            0xe0 | 0xf0 => {
                let mut found = &found[if constructor < 0xf0 { 1 } else { 4 }..];
                let (&of, rest) = found.split_first()?;
                found = rest;
                let mut items = Vec::new();
                while !found.is_empty() {
                    items.push(Self::plain(of, &mut found)?);
                }
                Self::Array(items)
            }
            _ => Self::Other(constructor, found.to_vec()),
        })
    }

    pub(crate) fn uint(&self) -> Option<u32> {
        match *self {
            Uint(value) => Some(value),
            Ubyte(value) => Some(value.into()),
            Ushort(value) => Some(value.into()),
            Ulong(value) => u32::try_from(value).ok(),
            _ => None,
        }
    }

    pub(crate) fn is_true(&self) -> bool {
        *self == Bool(true)
    }

    /// The field of a composite value; null where it is left out.
    pub(crate) fn field(&self, at: usize) -> &Self {
        match self {
            Described(_, value) => value.field(at),
            List(fields) => fields.get(at).unwrap_or(&Null),
            _ => &Null,
        }
    }

    /// A delivery state or an error, in the grammar of answers.
    pub(crate) fn said(&self) -> String {
        let Described(code, _) = self else { return "settled".into() };
        match code {
            0x1d => match self.field(0) {
                Symbol(condition) => condition.clone(),
                _ => "an error without a condition".into(),
            },
            0x23 => "received".into(),
            0x24 => "accepted".into(),
            0x25 if *self.field(0) == Null => "rejected".into(),
            0x25 => format!("rejected {}", self.field(0).said()),
            0x26 => "released".into(),
            0x27 => "modified".into(),
            0x33 => "declared".into(),
            0x34 => format!("transactional {}", self.field(1).said()),
            other => format!("0x{other:02x}"),
        }
    }
}

fn sized(constructor: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(constructor);
    out.extend((bytes.len() as u32).to_be_bytes());
    out.extend(bytes);
}

fn compound<'a>(constructor: u8, count: usize, items: impl Iterator<Item = &'a Value>, out: &mut Vec<u8>) {
    let mut body = (count as u32).to_be_bytes().to_vec();
    items.for_each(|item| item.encode(&mut body));
    sized(constructor, &body, out);
}

fn head<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (head, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(head)
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

/// A frame as it was read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Frame {
    pub(crate) channel: u16,
    pub(crate) code: u64,
    pub(crate) body: Value,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// Takes the first frame off the bytes, once it is whole; a frame without a body is passed over.
    pub(crate) fn take(bytes: &mut Vec<u8>) -> Option<Self> {
        loop {
            let size = number(bytes.get(..4)?) as usize;
            let frame = bytes.get(..size)?.to_vec();
            bytes.drain(..size);
            let mut rest = &frame[usize::from(frame[4]) * 4..];
            if rest.is_empty() {
                continue;
            }
            let body = Value::take(&mut rest)?;
            let Described(code, _) = body else { return None };
            let channel = number(&frame[6..8]) as u16;
            return Some(Self { channel, code, body, payload: rest.to_vec() });
        }
    }

    pub(crate) fn field(&self, at: usize) -> &Value {
        self.body.field(at)
    }

    /// In the grammar of answers.
    pub(crate) fn told(&self) -> String {
        let with_error = |name: &str, at: usize| match self.field(at) {
            Null => name.to_owned(),
            error => format!("{name} {}", error.said()),
        };
        match self.code {
            TRANSFER => "transfer".into(),
            DISPOSITION => self.field(4).said(),
            DETACH => with_error("detach", 2),
            END => with_error("end", 0),
            CLOSE => with_error("close", 0),
            SASL_OUTCOME => format!("sasl-outcome {}", self.field(0).uint().unwrap_or(u32::MAX)),
            other => format!("0x{other:02x}"),
        }
    }
}

/// A frame of the AMQP layer.
pub(crate) fn frame(channel: u16, body: &Value, payload: &[u8]) -> Vec<u8> {
    frame_of(0, channel, body, payload)
}

/// A frame of the SASL layer.
pub(crate) fn sasl(body: &Value) -> Vec<u8> {
    frame_of(1, 0, body, &[])
}

fn frame_of(kind: u8, channel: u16, body: &Value, payload: &[u8]) -> Vec<u8> {
    let body = body.to_bytes();
    let mut out = ((8 + body.len() + payload.len()) as u32).to_be_bytes().to_vec();
    out.extend([2, kind]);
    out.extend(channel.to_be_bytes());
    out.extend(body);
    out.extend(payload);
    out
}

/// What is sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message<'a> {
    pub(crate) durable: bool,
    pub(crate) ttl_ms: Option<u32>,
    /// Its own address, for the anonymous terminus.
    pub(crate) to: Option<&'a str>,
    pub(crate) payload: &'a [u8],
}

impl Message<'_> {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if self.durable || self.ttl_ms.is_some() {
            let header = vec![Bool(self.durable), Null, self.ttl_ms.map_or(Null, Uint)];
            described(0x70, header).encode(&mut out);
        }
        if let Some(to) = self.to {
            described(0x73, vec![Null, Null, text(to)]).encode(&mut out);
        }
        Described(0x75, Box::new(Binary(self.payload.to_vec()))).encode(&mut out);
        out
    }
}

/// The payload of the data section of an encoded message, and its sections by their codes.
pub(crate) fn sections(mut bytes: &[u8]) -> Vec<(u64, Value)> {
    let mut out = Vec::new();
    while let Some(Described(code, value)) = Value::take(&mut bytes) {
        out.push((code, *value));
    }
    out
}
