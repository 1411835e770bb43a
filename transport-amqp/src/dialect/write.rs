use bytes::{BufMut, Bytes, BytesMut};
use roadbed_core::{Bare, Delivery, Details, Durability, Losses, Message, Time, Value, WireDurability};

use super::Durable;
use crate::codec::{put_bool, put_described_list, put_map, put_null, put_str, put_symbol, put_u32, put_value};

/// The annotations that only a hub writes.
pub(super) const PREFIX: &str = "x-opt-roadbed-";

/// Writes everything that stands before the payload.
pub(crate) fn write_head(delivery: &Delivery, now: Time, losses: &mut Losses, out: &mut BytesMut) {
    let message = &delivery.message;
    header(delivery, now, losses, out);
    annotations(delivery, out);
    if let Some(bare) = bare(message) {
        return bare.head.segments().for_each(|segment| out.put_slice(segment));
    }
    if !came_plain(message) {
        properties(message, losses, out);
        application_properties(message.details(), losses, out);
    }
    data_header(message.payload().len(), out);
}

/// Whether the head is the whole message already.
pub(crate) fn is_whole(message: &Message) -> bool {
    bare(message).is_some_and(|bare| !bare.around)
}

/// What stands after the payload.
pub(crate) fn bare_tail(message: &Message) -> Option<&Bytes> {
    bare(message).map(|bare| &bare.tail)
}

fn bare(message: &Message) -> Option<&Bare> {
    message.details().bare.as_ref().filter(|bare| bare.protocol == "amqp")
}

/// It came by AMQP as a data section and nothing else, and must leave so.
fn came_plain(message: &Message) -> bool {
    let by_amqp = message.origin().is_some_and(|origin| origin.protocol == "amqp");
    by_amqp && (!message.has_details() || is_unsaid(message.details()))
}

/// Whether the sender has said nothing; the hub may have.
fn is_unsaid(details: &Details) -> bool {
    let Details { content_type, content_encoding, message_id, correlation_id, reply_to, .. } = details;
    let Details { subject, group, created_at, properties, .. } = details;
    content_type.is_none()
        && content_encoding.is_none()
        && message_id.is_none()
        && correlation_id.is_none()
        && reply_to.is_none()
        && subject.is_none()
        && group.is_none()
        && created_at.is_none()
        && properties.is_empty()
}

fn header(delivery: &Delivery, now: Time, losses: &mut Losses, out: &mut BytesMut) {
    let message = &delivery.message;
    let Durable(durable) = Durable::write(message.durability()).unwrap_or_default();
    if message.durability() == Durability::Session {
        losses.note("durability for the session", "AMQP 1.0, Part 3, section 3.2.1");
    }
    let ttl = message.expires_at().map(|at| u32::try_from(at.remaining(now).as_millis()).unwrap_or(u32::MAX));
    let count = delivery.info.as_ref().map_or(0, |info| info.count);
    let priority = message.priority();
    if !durable && ttl.is_none() && count == 0 && priority == Message::PRIORITY_DEFAULT {
        return;
    }
    put_described_list(out, 0x70, 5, |out| {
        put_bool(out, durable);
        out.put_slice(&[0x50, priority]);
        put_u32(out, ttl);
        put_null(out);
        put_u32(out, count);
    });
}

/// What others have annotated, and the hub's own.
fn annotations(delivery: &Delivery, out: &mut BytesMut) {
    let message = &delivery.message;
    let others = bare(message).map(|bare| &bare.annotations[..]).unwrap_or_default();
    let own = &message.details().annotations;
    if others.is_empty() && own.is_empty() && !delivery.retained {
        return;
    }
    out.put_slice(&[0x00, 0x53, 0x72]);
    put_map(out, |out| {
        let mut count = items(others) + 2 * own.len() as u32;
        out.put_slice(others);
        for (name, value) in own.iter() {
            put_symbol(out, &alloc::format!("{PREFIX}{name}"));
            put_value(out, value);
        }
        if delivery.retained {
            put_symbol(out, &alloc::format!("{PREFIX}retained"));
            put_bool(out, true);
            count += 2;
        }
        count
    });
}

/// How many values there are in a row; we have written them, so they are whole.
fn items(encoded: &[u8]) -> u32 {
    let (mut at, mut count) = (0, 0);
    while let Some(end) = (at < encoded.len()).then(|| crate::codec::walk(encoded, at, &Default::default())) {
        let Ok(end) = end else { break };
        (at, count) = (end, count + 1);
    }
    count
}

fn properties(message: &Message, losses: &mut Losses, out: &mut BytesMut) {
    let details = message.details();
    if details.utf8.is_some() {
        losses.note("payload format indicator", "AMQP 1.0, Part 3, section 3.2.4");
    }
    if details.deliver_after.is_some() {
        losses.note("delivery time", "AMQP 1.0, Part 3, section 3.2.4");
    }
    if details.deadline.is_some() {
        losses.note("deadline", "AMQP 1.0, Part 3, section 3.2.4");
    }
    put_described_list(out, 0x73, 13, |out| {
        id(details.message_id.as_ref(), losses, out);
        put_null(out);
        put_str(out, message.address().as_str());
        string(details.subject.as_deref(), out);
        string(details.reply_to.as_ref().map(roadbed_core::Address::as_str), out);
        id(details.correlation_id.as_ref(), losses, out);
        symbol(details.content_type.as_deref(), losses, out);
        symbol(details.content_encoding.as_deref(), losses, out);
        put_null(out);
        match details.created_at {
            Some(at) => put_value(out, &Value::Timestamp(i64::try_from(at.as_millis()).unwrap_or(i64::MAX))),
            None => put_null(out),
        }
        string(details.group.as_deref(), out);
        put_null(out);
        put_null(out);
    });
}

/// A map has each key once: of properties with one name, the first is sent.
fn application_properties(details: &Details, losses: &mut Losses, out: &mut BytesMut) {
    if details.properties.is_empty() {
        return;
    }
    out.put_slice(&[0x00, 0x53, 0x74]);
    put_map(out, |out| {
        let mut count = 0;
        for (n, (name, value)) in details.properties.iter().enumerate() {
            if details.properties.iter().take(n).any(|(earlier, _)| earlier == name) {
                losses.note("a second property of the same name", "AMQP 1.0, Part 3, section 3.2.5");
                continue;
            }
            put_str(out, name);
            put_value(out, value);
            count += 2;
        }
        count
    });
}

fn data_header(len: usize, out: &mut BytesMut) {
    match u8::try_from(len) {
        Ok(len) => out.put_slice(&[0x00, 0x53, 0x75, 0xa0, len]),
        Err(_) => {
            out.put_slice(&[0x00, 0x53, 0x75, 0xb0]);
            out.put_u32(len as u32);
        }
    }
}

/// Message ids are numbers, UUIDs, bytes or text (section 3.2.11).
fn id(value: Option<&Value>, losses: &mut Losses, out: &mut BytesMut) {
    match value {
        None | Some(Value::Null) => put_null(out),
        Some(value @ (Value::Uint(_) | Value::Uuid(_) | Value::Binary(_) | Value::Text(_))) => put_value(out, value),
        Some(other) => {
            losses.note("the type of a message id", "AMQP 1.0, Part 3, section 3.2.11");
            put_str(out, &alloc::format!("{other}"));
        }
    }
}

fn string(text: Option<&str>, out: &mut BytesMut) {
    match text {
        Some(text) => put_str(out, text),
        None => put_null(out),
    }
}

/// A symbol is ASCII.
fn symbol(text: Option<&str>, losses: &mut Losses, out: &mut BytesMut) {
    match text {
        Some(text) if text.is_ascii() => put_symbol(out, text),
        Some(_) => {
            losses.note("a content type or encoding that is not ASCII", "AMQP 1.0, Part 1, section 1.6.21");
            put_null(out);
        }
        None => put_null(out),
    }
}
