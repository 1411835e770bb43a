use alloc::vec::Vec;

use bytes::{BufMut, Bytes, BytesMut};
use bytestring::ByteString;
use core::time::Duration;
use roadbed_core::{
    Address, Bare, Delivery, Details, Error, ErrorKind, Losses, Message, Payload, ReadContext, Result, Time,
    WireDurability, WireMessage,
};
use smallvec::{SmallVec, smallvec};

use super::Durable;
use super::write::{self, PREFIX};
use crate::DecodeError;
use crate::codec::{Body, Fields, GuardLimits, Reader, Sections, read_value, sections, text};

/// The payloads of a message's transfers: nearly always one.
pub type Pieces = SmallVec<[Bytes; 1]>;

/// An encoded message: the payloads of its transfers.
#[derive(Debug, Clone)]
pub struct Encoded {
    /// Where its link leads; without it the message's own `to` counts (the anonymous terminus).
    pub address: Option<Address>,
    /// Its bytes, a transfer's payload at a time.
    pub pieces: Pieces,
    /// Bounds of what is looked into.
    pub limits: GuardLimits,
}

impl Encoded {
    /// The message that `pieces` are.
    pub fn new(pieces: impl Into<Pieces>) -> Self {
        Self { address: None, pieces: pieces.into(), limits: GuardLimits::default() }
    }

    /// The bytes in one piece.
    pub fn to_bytes(&self) -> Bytes {
        match &self.pieces[..] {
            [one] => one.clone(),
            pieces => {
                let mut joined = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
                pieces.iter().for_each(|piece| joined.put_slice(piece));
                joined.freeze()
            }
        }
    }

    fn decode(mut self, context: &ReadContext<'_>) -> Result<Message, Refusal> {
        if let (Some(address), Some(payload)) = (&self.address, self.only_payload()) {
            return Ok(Message::builder(address.clone(), payload).origin(context.origin.clone()).build());
        }
        let total = self.pieces.iter().map(Bytes::len).sum();
        self.pieces.retain(|piece| !piece.is_empty());
        let first = self.pieces.first().cloned().unwrap_or_default();
        let found = match sections(&first, total, &self.limits) {
            // The sections before the payload straddle two frames: only then is anything copied.
            Err(DecodeError::Truncated) if self.pieces.len() > 1 => {
                let joined = self.to_bytes();
                self.pieces = smallvec![joined];
                sections(&self.pieces[0], total, &self.limits)?
            }
            found => found?,
        };
        let first = self.pieces.first().cloned().unwrap_or_default();
        Parts { bytes: &first, pieces: &self.pieces, found }.read(self.address, context)
    }
}

impl Encoded {
    /// The payload of a message that is one data section in its shortest form and nothing else: what most devices send.
    fn only_payload(&self) -> Option<Bytes> {
        let [bytes] = &self.pieces[..] else { return None };
        let (start, len) = match **bytes {
            [0x00, 0x53, 0x75, 0xa0, len, ..] => (5, usize::from(len)),
            [0x00, 0x53, 0x75, 0xb0, a, b, c, d, ..] if [a, b, c] != [0, 0, 0] => {
                (8, u32::from_be_bytes([a, b, c, d]) as usize)
            }
            _ => return None,
        };
        (start + len == bytes.len()).then(|| bytes.slice(start..))
    }
}

impl WireMessage for Encoded {
    fn read(self, context: &ReadContext<'_>) -> Result<Message> {
        self.decode(context).map_err(|refusal| match refusal {
            Refusal::Decode(error) => Error::new(ErrorKind::Protocol, "receive").detail(error).because(error),
            Refusal::Address(words) => Error::new(ErrorKind::Invalid, "receive").detail(words),
        })
    }

    fn write(delivery: &Delivery, now: Time, losses: &mut Losses) -> Result<Self> {
        let mut head = BytesMut::new();
        write::write_head(delivery, now, losses, &mut head);
        let mut pieces: Pieces = smallvec![head.freeze()];
        match delivery.message.payload().shared() {
            Some(segments) => pieces.extend(segments.iter().cloned()),
            None => pieces.push(delivery.message.payload().to_bytes()),
        }
        if write::is_whole(&delivery.message) {
            pieces.truncate(1);
        }
        pieces.extend(write::bare_tail(&delivery.message).filter(|tail| !tail.is_empty()).cloned());
        Ok(Self::new(pieces))
    }
}

/// Why bytes are no message that can go anywhere.
enum Refusal {
    Decode(DecodeError),
    Address(&'static str),
}

impl From<DecodeError> for Refusal {
    fn from(error: DecodeError) -> Self {
        Self::Decode(error)
    }
}

struct Parts<'a> {
    bytes: &'a Bytes,
    pieces: &'a [Bytes],
    found: Sections,
}

/// The header, as far as it is kept.
#[derive(Default)]
struct Header {
    durable: bool,
    priority: Option<u32>,
    ttl: Option<u32>,
}

impl Parts<'_> {
    fn read(&self, address: Option<Address>, context: &ReadContext<'_>) -> Result<Message, Refusal> {
        let header = self.header()?;
        let mut details = Details::default();
        let (mut to, mut expires) = (None, None);
        if self.found.properties.is_some() {
            (to, expires) = self.properties(&mut details)?;
        }
        self.application_properties(&mut details)?;
        let annotations = self.annotations()?;
        let address = match (address, to) {
            (Some(address), _) => address,
            (None, Some(to)) => Address::new(to).map_err(|_| Refusal::Address("the address in `to` is not legal"))?,
            (None, None) => return Err(Refusal::Address("the message says nowhere where it is to go")),
        };
        let payload = self.payload()?;
        let ttl = header.ttl.map(|millis| context.now + Duration::from_millis(millis.into()));
        let mut builder = Message::builder(address, payload)
            .durability(Durable(header.durable).read())
            .priority(header.priority.map_or(Message::PRIORITY_DEFAULT, |priority| priority.min(9) as u8))
            .expires_at(ttl.into_iter().chain(expires).min())
            .origin(context.origin.clone());
        if !self.is_plain() || !annotations.is_empty() {
            details.bare = Some(self.bare(annotations));
            builder = builder.details(|kept| *kept = details);
        }
        Ok(builder.build())
    }

    fn header(&self) -> Result<Header, DecodeError> {
        let Some(range) = self.found.header.clone() else { return Ok(Header::default()) };
        let mut fields = list(&self.bytes[range])?;
        Ok(Header { durable: fields.bool()?, priority: fields.u32()?, ttl: fields.u32()? })
    }

    /// Fills in the properties; returns where the message is to go, and when it expires.
    fn properties(&self, details: &mut Details) -> Result<(Option<ByteString>, Option<Time>), DecodeError> {
        let Some(range) = self.found.properties.clone() else { return Ok((None, None)) };
        let mut fields = list(&self.bytes[range])?;
        let value = |fields: &mut Fields<'_>| match fields.encoded()? {
            Some(encoded) => read_value(encoded, self.bytes),
            None => Ok(None),
        };
        let string = |fields: &mut Fields<'_>| -> Result<Option<ByteString>, DecodeError> {
            fields.next()?.map(|raw| raw.str().map(|found| text(found, self.bytes))).transpose()
        };
        let symbol = |fields: &mut Fields<'_>| -> Result<Option<ByteString>, DecodeError> {
            fields.next()?.map(|raw| raw.symbol().map(|found| text(found, self.bytes))).transpose()
        };
        let time = |fields: &mut Fields<'_>| -> Result<Option<Time>, DecodeError> {
            Ok(match value(fields)? {
                Some(roadbed_core::Value::Timestamp(millis)) => {
                    Some(Time::from_millis(u64::try_from(millis).unwrap_or(0)))
                }
                _ => None,
            })
        };
        details.message_id = value(&mut fields)?;
        fields.binary()?;
        let to = string(&mut fields)?;
        details.subject = string(&mut fields)?;
        details.reply_to = string(&mut fields)?.and_then(|reply_to| Address::new(reply_to).ok());
        details.correlation_id = value(&mut fields)?;
        details.content_type = symbol(&mut fields)?;
        details.content_encoding = symbol(&mut fields)?;
        let expires = time(&mut fields)?;
        details.created_at = time(&mut fields)?;
        details.group = string(&mut fields)?;
        Ok((to, expires))
    }

    fn application_properties(&self, details: &mut Details) -> Result<(), DecodeError> {
        let Some(range) = self.found.application_properties.clone() else { return Ok(()) };
        let mut pairs = map(&self.bytes[range])?;
        while pairs.left() > 1 {
            let name = pairs.next()?.ok_or(DecodeError::Missing("key"))?.str()?;
            let value = match pairs.encoded()? {
                Some(encoded) => read_value(encoded, self.bytes)?,
                None => Some(roadbed_core::Value::Null),
            };
            // What is no simple value stays in the bare message alone.
            if let Some(value) = value {
                details.properties.push(text(name, self.bytes), value);
            }
        }
        Ok(())
    }

    /// The pairs of the message annotations, as they are encoded, without those that only a hub may write. A key is a symbol or an
    /// unsigned long (Part 3, section 3.2.10).
    fn annotations(&self) -> Result<Bytes, DecodeError> {
        let Some(range) = self.found.message_annotations.clone() else { return Ok(Bytes::new()) };
        let mut pairs = map(&self.bytes[range])?;
        let mut kept = BytesMut::new();
        while pairs.left() > 1 {
            let key = pairs.encoded()?.ok_or(DecodeError::Missing("key"))?;
            let value = pairs.encoded()?.unwrap_or(&[0x40]);
            let name = Reader::new(key).raw()?;
            if name.symbol().map_or_else(|_| name.u64().is_ok(), |name| !name.starts_with(PREFIX)) {
                kept.put_slice(key);
                kept.put_slice(value);
            }
        }
        Ok(kept.freeze())
    }

    fn payload(&self) -> Result<Payload, DecodeError> {
        Ok(match &self.found.body {
            Body::Empty => Payload::EMPTY,
            Body::Data(data) if data.len() == 1 && self.pieces.len() == 1 => self.bytes.slice(data[0].clone()).into(),
            Body::Data(pieces) => {
                Payload::from_segments(pieces.iter().flat_map(|piece| self.slices(piece.clone())).collect())
            }
            Body::Sequence(_) => self.bytes.slice(self.body_range()).into(),
            Body::Value(value) => self.bytes.slice(self.value_range(value.clone())?).into(),
        })
    }

    /// Of text and bytes, what is in them; of any other value, how it is encoded.
    fn value_range(&self, value: core::ops::Range<usize>) -> Result<core::ops::Range<usize>, DecodeError> {
        let encoded = &self.bytes[value.clone()];
        if !matches!(encoded.first(), Some(0xa0 | 0xa1 | 0xb0 | 0xb1)) {
            return Ok(value);
        }
        let raw = Reader::new(encoded).raw()?;
        Ok(value.end - raw.bytes.len()..value.end)
    }

    /// Whether the bare message is written the same from the fields: one data section in its shortest form.
    fn is_plain(&self) -> bool {
        let Body::Data(data) = &self.found.body else { return false };
        let [data] = &data[..] else { return false };
        let header = if data.len() < 256 { 5 } else { 8 };
        let bare = &self.found.bare;
        data.start - bare.start == header && data.end == bare.end && self.bytes.get(bare.start + 1) == Some(&0x53)
    }

    fn bare(&self, annotations: Bytes) -> Bare {
        let whole = self.found.bare.clone();
        let around = match &self.found.body {
            Body::Data(data) => match &data[..] {
                [data] => Some(data.clone()),
                _ => None,
            },
            Body::Value(value) => self.value_range(value.clone()).ok(),
            Body::Empty | Body::Sequence(_) => None,
        };
        let run = |range| Payload::from_segments(self.slices(range));
        let protocol = "amqp";
        match around {
            Some(data) => {
                let tail = self.bytes.get(data.end..whole.end).map_or_else(Bytes::new, Bytes::copy_from_slice);
                let head = run(whole.start..data.start).detach();
                Bare { protocol, head, around: true, tail, annotations }
            }
            None => Bare { protocol, head: run(whole), around: false, tail: Bytes::new(), annotations },
        }
    }

    fn body_range(&self) -> core::ops::Range<usize> {
        match &self.found.body {
            Body::Sequence(pieces) => match (pieces.first(), pieces.last()) {
                (Some(first), Some(last)) => first.start..last.end,
                _ => 0..0,
            },
            _ => 0..0,
        }
    }

    /// The bytes of a range, over all pieces.
    fn slices(&self, range: core::ops::Range<usize>) -> Vec<Bytes> {
        let mut slices = Vec::with_capacity(1);
        let mut start = 0;
        for piece in self.pieces {
            let end = start + piece.len();
            let (from, to) = (range.start.max(start), range.end.min(end));
            if from < to {
                slices.push(piece.slice(from - start..to - start));
            }
            start = end;
        }
        slices
    }
}

fn list(section: &[u8]) -> Result<Fields<'_>, DecodeError> {
    let mut reader = Reader::new(section);
    reader.descriptor()?;
    reader.list()
}

fn map(section: &[u8]) -> Result<Fields<'_>, DecodeError> {
    let mut reader = Reader::new(section);
    reader.descriptor()?;
    reader.raw()?.map()
}
