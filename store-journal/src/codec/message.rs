//! Messages: what few have first, the payload last, in one run.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use roadbed_core::{
    Address, Bare, Details, Durability, Message, MessageBuilder, Origin, Payload, Properties, Qos, Time, Value,
};

use super::Gather;
use super::wire::{CodecError, Put, Take};

const RETAIN: u8 = 1;
const LIVE: u8 = 2;
const EXPIRES: u8 = 4;
const ORIGIN: u8 = 8;
const DETAILS: u8 = 16;

/// Writes a message; its payload is shared if it is large.
pub(crate) fn put_message(out: &mut Gather, message: &Message) {
    let origin = message.origin();
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    out.byte(
        flag(message.retain(), RETAIN)
            | flag(message.live(), LIVE)
            | flag(message.expires_at().is_some(), EXPIRES)
            | flag(origin.is_some(), ORIGIN)
            | flag(message.has_details(), DETAILS),
    );
    out.byte(durability_code(message.durability()));
    out.byte(message.priority());
    out.bytes(message.address().as_str().as_bytes());
    if let Some(at) = message.expires_at() {
        put_time(out, at);
    }
    if let Some(origin) = origin {
        out.bytes(origin.principal.as_bytes());
        out.bytes(origin.protocol.as_bytes());
    }
    if message.has_details() {
        put_details(out, message.details());
    }
    put_payload(out, message.payload());
}

/// Reads a message; its text and payload are slices of what it is read from.
pub(crate) fn take_message(from: &mut Take) -> Result<Message, CodecError> {
    let flags = from.byte()?;
    let durability = durability(from.byte()?)?;
    let priority = from.byte()?;
    let address = take_address(from)?;
    let expires = if flags & EXPIRES == 0 { None } else { Some(take_time(from)?) };
    let origin = match flags & ORIGIN {
        0 => None,
        _ => Some(Arc::new(Origin { principal: from.text()?, protocol: interned(&from.text()?) })),
    };
    let details = if flags & DETAILS == 0 { None } else { Some(take_details(from)?) };
    let payload: Payload = from.bytes()?.into();
    let mut builder: MessageBuilder = Message::builder(address, payload)
        .durability(durability)
        .priority(priority)
        .expires_at(expires)
        .retain(flags & RETAIN != 0)
        .live(flags & LIVE != 0);
    if let Some(origin) = origin {
        builder = builder.origin(origin);
    }
    if let Some(kept) = details {
        builder = builder.details(|details| *details = kept);
    }
    Ok(builder.build())
}

pub(crate) fn put_time(out: &mut impl Put, at: Time) {
    out.raw(&at.as_nanos().to_le_bytes());
}

pub(crate) fn take_time(from: &mut Take) -> Result<Time, CodecError> {
    let bytes = from.raw(8)?;
    Ok(Time::from_nanos(u64::from_le_bytes(bytes.as_ref().try_into().map_err(|_| CodecError::Truncated)?)))
}

pub(crate) fn take_address(from: &mut Take) -> Result<Address, CodecError> {
    Address::new(from.text()?).map_err(|_| CodecError::Field("address"))
}

pub(crate) const fn qos_code(qos: Qos) -> u8 {
    match qos {
        Qos::AtMostOnce => 0,
        Qos::AtLeastOnce => 1,
        Qos::ExactlyOnce => 2,
    }
}

pub(crate) const fn qos(code: u8) -> Result<Qos, CodecError> {
    match code {
        0 => Ok(Qos::AtMostOnce),
        1 => Ok(Qos::AtLeastOnce),
        2 => Ok(Qos::ExactlyOnce),
        _ => Err(CodecError::Field("qos")),
    }
}

const fn durability_code(durability: Durability) -> u8 {
    match durability {
        Durability::Session => 1,
        Durability::Stored => 2,
        _ => 0,
    }
}

const fn durability(code: u8) -> Result<Durability, CodecError> {
    match code {
        0 => Ok(Durability::Volatile),
        1 => Ok(Durability::Session),
        2 => Ok(Durability::Stored),
        _ => Err(CodecError::Field("durability")),
    }
}

fn put_payload(out: &mut Gather, payload: &Payload) {
    out.number(payload.len() as u64);
    match payload.shared() {
        Some(segments) => segments.iter().for_each(|segment| out.share(segment)),
        None => payload.segments().for_each(|segment| out.put(segment)),
    }
}

fn put_details(out: &mut Gather, details: &Details) {
    let text = |out: &mut Gather, text: &bytestring::ByteString| out.bytes(text.as_bytes());
    out.option(details.content_type.as_ref(), text);
    out.option(details.content_encoding.as_ref(), text);
    out.option(details.utf8, Put::flag);
    out.option(details.message_id.as_ref(), put_value);
    out.option(details.correlation_id.as_ref(), put_value);
    out.option(details.reply_to.as_ref(), |out, to| out.bytes(to.as_str().as_bytes()));
    out.option(details.subject.as_ref(), text);
    out.option(details.group.as_ref(), text);
    out.option(details.created_at, put_time);
    out.option(details.deliver_after, put_time);
    out.option(details.deadline, put_time);
    put_properties(out, &details.properties);
    put_properties(out, &details.annotations);
    out.option(details.bare.as_ref(), |out, bare| {
        out.bytes(bare.protocol.as_bytes());
        put_payload(out, &bare.head);
        out.flag(bare.around);
        out.bytes(&bare.tail);
        out.bytes(&bare.annotations);
        out.list(bare.only.iter(), |out, name| out.bytes(name.as_bytes()));
    });
}

fn take_details(from: &mut Take) -> Result<Details, CodecError> {
    let mut details = Details::default();
    details.content_type = from.option(Take::text)?;
    details.content_encoding = from.option(Take::text)?;
    details.utf8 = from.option(Take::flag)?;
    details.message_id = from.option(take_value)?;
    details.correlation_id = from.option(take_value)?;
    details.reply_to = from.option(take_address)?;
    details.subject = from.option(Take::text)?;
    details.group = from.option(Take::text)?;
    details.created_at = from.option(take_time)?;
    details.deliver_after = from.option(take_time)?;
    details.deadline = from.option(take_time)?;
    details.properties = take_properties(from)?;
    details.annotations = take_properties(from)?;
    details.bare = from.option(|from| {
        let protocol = interned(&from.text()?);
        let head = from.bytes()?.into();
        let around = from.flag()?;
        let (tail, annotations) = (from.bytes()?, from.bytes()?);
        let only = from.list(|from| Ok(interned(&from.text()?)))?;
        Ok(Bare { protocol, head, around, tail, annotations, only })
    })?;
    Ok(details)
}

pub(crate) fn put_properties(out: &mut Gather, properties: &Properties) {
    out.number(properties.len() as u64);
    for (name, value) in properties.iter() {
        out.bytes(name.as_bytes());
        put_value(out, value);
    }
}

pub(crate) fn take_properties(from: &mut Take) -> Result<Properties, CodecError> {
    Ok(from.list(|from| Ok((from.text()?, take_value(from)?)))?.into_iter().collect())
}

fn put_value(out: &mut Gather, value: &Value) {
    match value {
        Value::Bool(value) => out.raw(&[1, u8::from(*value)]),
        Value::Int(value) => tagged(out, 2, &value.to_le_bytes()),
        Value::Uint(value) => tagged(out, 3, &value.to_le_bytes()),
        Value::Float(value) => tagged(out, 4, &value.to_le_bytes()),
        Value::Text(text) => {
            out.byte(5);
            out.bytes(text.as_bytes());
        }
        Value::Binary(bytes) => {
            out.byte(6);
            out.bytes(bytes);
        }
        Value::Timestamp(value) => tagged(out, 7, &value.to_le_bytes()),
        Value::Uuid(id) => tagged(out, 8, id),
        _ => out.byte(0),
    }
}

fn tagged(out: &mut Gather, tag: u8, bytes: &[u8]) {
    out.byte(tag);
    out.raw(bytes);
}

fn take_value(from: &mut Take) -> Result<Value, CodecError> {
    Ok(match from.byte()? {
        0 => Value::Null,
        1 => Value::Bool(from.flag()?),
        2 => Value::Int(i64::from_le_bytes(fixed(from)?)),
        3 => Value::Uint(u64::from_le_bytes(fixed(from)?)),
        4 => Value::Float(f64::from_le_bytes(fixed(from)?)),
        5 => Value::Text(from.text()?),
        6 => Value::Binary(from.bytes()?),
        7 => Value::Timestamp(i64::from_le_bytes(fixed(from)?)),
        8 => Value::Uuid(fixed(from)?),
        _ => return Err(CodecError::Field("value")),
    })
}

fn fixed<const N: usize>(from: &mut Take) -> Result<[u8; N], CodecError> {
    let bytes: Bytes = from.raw(N)?;
    bytes.as_ref().try_into().map_err(|_| CodecError::Truncated)
}

/// The names of protocols, and of what they lose: they live as long as the process, and there are only so many.
fn interned(name: &str) -> &'static str {
    const KNOWN: [&str; 6] = ["mqtt", "amqp", "http", "ws", "xmpp", ""];
    const OTHERS_MAX: usize = 256;
    if let Some(known) = KNOWN.iter().find(|known| **known == name) {
        return known;
    }
    static OTHERS: OnceLock<Mutex<Vec<&'static str>>> = OnceLock::new();
    let mut others = OTHERS.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = others.iter().find(|known| **known == name) {
        return known;
    }
    if others.len() >= OTHERS_MAX {
        return "";
    }
    let name: &'static str = Box::leak(name.into());
    others.push(name);
    name
}
