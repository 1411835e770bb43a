//! From the sections of a message to the words of the core.

use core::ops::Range;
use core::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use roadbed_core::conversion::AMQP_BODY;
use roadbed_core::{
    Address, Bare, Details, Message, Payload, Properties, ReadContext, Sidecar, Time, Value, WireDurability,
};

use super::Durable;
use super::annotations::{Annotations, SIDECAR};
use crate::DecodeError;
use crate::codec::{Body, Fields, Reader, Sections, read_value, text};

/// Why bytes are no message that can go anywhere.
pub(super) enum Refusal {
    Decode(DecodeError),
    Address(&'static str),
}

impl From<DecodeError> for Refusal {
    fn from(error: DecodeError) -> Self {
        Self::Decode(error)
    }
}

/// A message whose sections have been found.
pub(super) struct Parts<'a> {
    pub(super) bytes: &'a Bytes,
    pub(super) pieces: &'a [Bytes],
    pub(super) found: Sections,
    pub(super) sidecar_bytes_max: usize,
}

/// The header, as far as it is kept.
#[derive(Default)]
struct Header {
    durable: bool,
    priority: Option<u32>,
    ttl: Option<u32>,
}

/// What the properties say beside the details.
#[derive(Default)]
struct Routing {
    to: Option<ByteString>,
    expires: Option<Time>,
}

impl Parts<'_> {
    pub(super) fn read(&self, address: Option<Address>, context: &ReadContext<'_>) -> Result<Message, Refusal> {
        let header = self.header()?;
        let mut details = Details::default();
        let mut only = Vec::new();
        let routing = self.properties(&mut details, &mut only)?;
        self.application_properties(&mut details, &mut only)?;
        let annotations = self.annotations(context.now)?;
        let address = destination(address, routing.to, &mut only)?;
        let payload = self.payload(&mut details)?;
        let ttl = header.ttl.map(|millis| context.now + Duration::from_millis(millis.into()));
        let mut builder = Message::builder(address, payload)
            .durability(Durable(header.durable).read())
            .priority(header.priority.map_or(Message::PRIORITY_DEFAULT, |priority| priority.min(9) as u8))
            .expires_at(ttl.into_iter().chain(routing.expires).min())
            .retain(annotations.retain)
            .live(annotations.live)
            .origin(context.origin.clone());
        details.deliver_after = annotations.deliver_after;
        details.group = details.group.or(annotations.partition_key);
        let plain = self.is_plain() && annotations.others.is_empty();
        if !plain {
            only.extend((!annotations.others.is_empty()).then_some("annotations of others"));
            details.bare = Some(self.bare(annotations.others, only));
        }
        if !plain || details.deliver_after.is_some() {
            builder = builder.details(|kept| *kept = details);
        }
        Ok(match self.sidecar()? {
            Some(sidecar) => sidecar.restore(builder).build(),
            None => builder.build(),
        })
    }

    fn header(&self) -> Result<Header, DecodeError> {
        let Some(range) = self.found.header.clone() else { return Ok(Header::default()) };
        let mut fields = list(&self.bytes[range])?;
        Ok(Header { durable: fields.bool()?, priority: fields.u32()?, ttl: fields.u32()? })
    }

    fn properties(&self, details: &mut Details, only: &mut Vec<&'static str>) -> Result<Routing, DecodeError> {
        let Some(range) = self.found.properties.clone() else { return Ok(Routing::default()) };
        let mut fields = list(&self.bytes[range])?;
        let fields = &mut fields;
        details.message_id = self.value(fields)?;
        only.extend(fields.binary()?.map(|_| "user-id"));
        let to = self.string(fields)?;
        details.subject = self.string(fields)?;
        if let Some(reply_to) = self.string(fields)? {
            details.reply_to = Address::new(reply_to).ok();
            only.extend(details.reply_to.is_none().then_some("a reply-to that is no address"));
        }
        details.correlation_id = self.value(fields)?;
        details.content_type = self.symbol(fields)?;
        details.content_encoding = self.symbol(fields)?;
        let expires = self.time(fields)?;
        details.created_at = self.time(fields)?;
        details.group = self.string(fields)?;
        only.extend(fields.u32()?.map(|_| "group sequence"));
        only.extend(fields.next()?.map(|_| "reply-to group"));
        Ok(Routing { to, expires })
    }

    fn value(&self, fields: &mut Fields<'_>) -> Result<Option<Value>, DecodeError> {
        match fields.encoded()? {
            Some(encoded) => read_value(encoded, self.bytes),
            None => Ok(None),
        }
    }

    fn string(&self, fields: &mut Fields<'_>) -> Result<Option<ByteString>, DecodeError> {
        fields.next()?.map(|raw| raw.str().map(|found| text(found, self.bytes))).transpose()
    }

    fn symbol(&self, fields: &mut Fields<'_>) -> Result<Option<ByteString>, DecodeError> {
        fields.next()?.map(|raw| raw.symbol().map(|found| text(found, self.bytes))).transpose()
    }

    fn time(&self, fields: &mut Fields<'_>) -> Result<Option<Time>, DecodeError> {
        Ok(match self.value(fields)? {
            Some(Value::Timestamp(millis)) => Some(Time::from_millis(u64::try_from(millis).unwrap_or(0))),
            _ => None,
        })
    }

    fn application_properties(&self, details: &mut Details, only: &mut Vec<&'static str>) -> Result<(), DecodeError> {
        let Some(range) = self.found.application_properties.clone() else { return Ok(()) };
        let mut pairs = map(&self.bytes[range])?;
        let mut nested = false;
        while pairs.left() > 1 {
            let name = pairs.next()?.ok_or(DecodeError::Missing("key"))?.str()?;
            let value = match pairs.encoded()? {
                Some(encoded) => read_value(encoded, self.bytes)?,
                None => Some(Value::Null),
            };
            match value {
                Some(value) => put_property(&mut details.properties, text(name, self.bytes), value),
                None => nested = true,
            }
        }
        only.extend(nested.then_some("a property that is no simple value"));
        Ok(())
    }

    fn annotations(&self, now: Time) -> Result<Annotations, DecodeError> {
        match self.found.message_annotations.clone() {
            Some(range) => Annotations::read(map(&self.bytes[range])?, self.bytes, now),
            None => Ok(Annotations::default()),
        }
    }

    /// What a hub of ours sent along; annotations for this hop go no further.
    fn sidecar(&self) -> Result<Option<Sidecar>, DecodeError> {
        let Some(range) = self.found.delivery_annotations.clone().filter(|_| self.sidecar_bytes_max > 0) else {
            return Ok(None);
        };
        let mut pairs = map(&self.bytes[range])?;
        while pairs.left() > 1 {
            let name = pairs.next()?.ok_or(DecodeError::Missing("key"))?;
            let value = pairs.encoded()?.unwrap_or(&[0x40]);
            if name.symbol() == Ok(SIDECAR) {
                let bytes = Reader::new(value).raw()?.binary()?;
                let fits = bytes.len() <= self.sidecar_bytes_max;
                return Ok(fits.then(|| Sidecar::decode(&self.bytes.slice_ref(bytes))).flatten());
            }
        }
        Ok(None)
    }

    /// The bytes, and what they are where the message does not say it.
    fn payload(&self, details: &mut Details) -> Result<Payload, DecodeError> {
        Ok(match &self.found.body {
            Body::Empty => Payload::EMPTY,
            Body::Data(data) if data.len() == 1 && self.pieces.len() == 1 => self.bytes.slice(data[0].clone()).into(),
            Body::Data(pieces) => {
                Payload::from_segments(pieces.iter().flat_map(|piece| self.slices(piece.clone())).collect())
            }
            Body::Sequence(_) | Body::Value(_) => {
                let (range, kind) = self.body()?;
                match kind {
                    Kind::Text => {
                        details.utf8 = Some(true);
                        details.content_type.get_or_insert_with(|| ByteString::from_static("text/plain"));
                    }
                    Kind::Bytes => {}
                    Kind::Sections => details.content_type = Some(ByteString::from_static(AMQP_BODY)),
                }
                self.bytes.slice(range).into()
            }
        })
    }

    /// Of text and bytes, what is in them; of any other body, how it is encoded.
    fn body(&self) -> Result<(Range<usize>, Kind), DecodeError> {
        let before = [&self.found.properties, &self.found.application_properties];
        let start = before.into_iter().flatten().map(|range| range.end).max().unwrap_or(self.found.bare.start);
        let whole = (start..self.found.bare.end, Kind::Sections);
        let Body::Value(value) = &self.found.body else { return Ok(whole) };
        let encoded = &self.bytes[value.clone()];
        let kind = match encoded.first() {
            Some(0xa1 | 0xb1) => Kind::Text,
            Some(0xa0 | 0xb0) => Kind::Bytes,
            _ => return Ok(whole),
        };
        let raw = Reader::new(encoded).raw()?;
        if kind == Kind::Text {
            raw.str()?;
        }
        Ok((value.end - raw.bytes.len()..value.end, kind))
    }

    /// Whether the message is written the same from the fields: one data section in its shortest form, and nothing after it.
    fn is_plain(&self) -> bool {
        let Body::Data(data) = &self.found.body else { return false };
        let [data] = &data[..] else { return false };
        let header = if data.len() < 256 { 5 } else { 8 };
        let bare = &self.found.bare;
        let shortest = data.start - bare.start == header && self.bytes.get(bare.start + 1) == Some(&0x53);
        shortest && data.end == bare.end && self.found.footer.is_none()
    }

    fn bare(&self, annotations: Bytes, mut only: Vec<&'static str>) -> Bare {
        only.extend(self.found.footer.as_ref().map(|_| "footer"));
        let bare = self.found.bare.clone();
        let end = self.found.footer.as_ref().map_or(bare.end, |footer| footer.end);
        let payload = match &self.found.body {
            Body::Data(data) if data.len() > 1 => None,
            Body::Data(data) => data.first().cloned(),
            Body::Empty => Some(bare.end..bare.end),
            Body::Value(_) | Body::Sequence(_) => self.body().ok().map(|(range, _)| range),
        };
        let run = |range| Payload::from_segments(self.slices(range));
        let protocol = "amqp";
        match payload {
            Some(payload) => {
                let (head, tail) = (run(bare.start..payload.start).detach(), run(payload.end..end).detach());
                Bare { protocol, head, around: true, tail: tail.to_bytes(), annotations, only }
            }
            None => {
                only.push("the bounds of data sections");
                Bare { protocol, head: run(bare.start..end), around: false, tail: Bytes::new(), annotations, only }
            }
        }
    }

    /// The bytes of a range, over all pieces.
    fn slices(&self, range: Range<usize>) -> Vec<Bytes> {
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

/// What a body of one value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Bytes,
    Sections,
}

/// The link's address, or without one the message's own (the anonymous terminus).
fn destination(
    link: Option<Address>,
    to: Option<ByteString>,
    only: &mut Vec<&'static str>,
) -> Result<Address, Refusal> {
    match (link, to) {
        (Some(address), to) => {
            only.extend(to.filter(|to| **to != *address.as_str()).map(|_| "to"));
            Ok(address)
        }
        (None, Some(to)) => Address::new(to).map_err(|_| Refusal::Address("the address in `to` is not legal")),
        (None, None) => Err(Refusal::Address("the message says nowhere where it is to go")),
    }
}

/// Attributes of CloudEvents have one name in the core, whichever of the two the sender has used.
fn put_property(properties: &mut Properties, name: ByteString, value: Value) {
    use roadbed_core::cloudevents::{PREFIX, PREFIX_JMS, is_attribute_name};
    match name.strip_prefix(PREFIX_JMS).filter(|attribute| is_attribute_name(attribute)) {
        Some(attribute) => properties.push(format!("{PREFIX}{attribute}"), value),
        None => properties.push(name, value),
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
