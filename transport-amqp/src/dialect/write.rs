//! From the words of the core to the sections of a message.

use bytes::{BufMut, Bytes, BytesMut};
use roadbed_core::conversion::AMQP_BODY;
use roadbed_core::{Bare, Delivery, Details, Losses, Message, Sidecar, Time, Value, WireDurability};

use super::annotations::{self, SIDECAR};
use super::{AMQP, Durable};
use crate::codec::{
    Body, put_binary, put_bool, put_described_list, put_map, put_null, put_str, put_symbol, put_u32, put_value,
    sections,
};

/// Writes everything that stands before the payload, with a sidecar of at most so many bytes.
pub(crate) fn write_head(
    delivery: &Delivery,
    now: Time,
    sidecar_bytes_max: usize,
    losses: &mut Losses,
    out: &mut BytesMut,
) {
    let message = &delivery.message;
    let bare = bare(message);
    header(delivery, now, out);
    // What a sidecar has is not lost.
    let mut saved = Losses::default();
    let losses = if sidecar_bytes_max > 0 && sidecar(message, sidecar_bytes_max, out) { &mut saved } else { losses };
    annotations::write(delivery, bare, out);
    if let Some(bare) = bare {
        return bare.head.segments().for_each(|segment| out.put_slice(segment));
    }
    let encoded = is_encoded_body(message);
    if !came_plain(message) {
        properties(message, encoded, losses, out);
        application_properties(message.details(), losses, out);
    }
    if !encoded {
        data_header(message.payload().len(), out);
    }
}

/// What AMQP has no place for, as a delivery annotation: for the next hop alone (section 3.2.2). Whether there is one.
fn sidecar(message: &Message, bytes_max: usize, out: &mut BytesMut) -> bool {
    let Some(sidecar) = Sidecar::encode(message, &AMQP, bytes_max) else { return false };
    out.put_slice(&[0x00, 0x53, 0x71]);
    put_map(out, |out| {
        put_symbol(out, SIDECAR);
        put_binary(out, &sidecar);
        2
    });
    true
}

/// Whether the payload is an encoded body, and not bytes that claim to be one.
fn is_encoded_body(message: &Message) -> bool {
    if message.details().content_type.as_deref() != Some(AMQP_BODY) {
        return false;
    }
    let bytes = message.payload().to_bytes();
    let found = sections(&bytes, bytes.len(), &Default::default());
    found.is_ok_and(|found| matches!(found.body, Body::Value(_) | Body::Sequence(_)) && found.bare == (0..bytes.len()))
}

/// Whether the head is the whole message already.
pub(crate) fn is_whole(message: &Message) -> bool {
    bare(message).is_some_and(|bare| !bare.around)
}

/// What stands after the payload.
pub(crate) fn bare_tail(message: &Message) -> Option<&Bytes> {
    bare(message).map(|bare| &bare.tail)
}

/// The message as AMQP wrote it. What a sidecar brought is looked at: whoever wrote it may have written anything.
fn bare(message: &Message) -> Option<&Bare> {
    let bare = message.details().bare.as_ref().filter(|bare| bare.protocol == "amqp")?;
    let ours = message.origin().is_some_and(|origin| origin.protocol == "amqp");
    (ours || is_bare_message(bare, message)).then_some(bare)
}

/// Whether head, payload and tail are the sections of one bare message, and a footer.
fn is_bare_message(bare: &Bare, message: &Message) -> bool {
    let (head, payload) = (bare.head.to_bytes(), message.payload());
    let total = head.len() + payload.len() + bare.tail.len();
    let found = sections(&head, total, &Default::default());
    let found = match found {
        Ok(found) if bare.tail.is_empty() => Ok(found),
        _ => {
            let mut whole = BytesMut::with_capacity(total);
            whole.put_slice(&head);
            payload.segments().for_each(|segment| whole.put_slice(segment));
            whole.put_slice(&bare.tail);
            sections(&whole, total, &Default::default())
        }
    };
    found.is_ok_and(|found| {
        let before = [&found.header, &found.delivery_annotations, &found.message_annotations];
        before.into_iter().all(Option::is_none)
    })
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

fn header(delivery: &Delivery, now: Time, out: &mut BytesMut) {
    let message = &delivery.message;
    let Durable(durable) = Durable::write(message.durability()).unwrap_or_default();
    let ttl = message.expires_at().map(|at| millis_left(at, now));
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

/// Rounded up, and never 0: a message that is sent has not expired.
fn millis_left(at: Time, now: Time) -> u32 {
    let millis = at.remaining(now).as_nanos().div_ceil(1_000_000);
    u32::try_from(millis).unwrap_or(u32::MAX).max(1)
}

fn properties(message: &Message, encoded: bool, losses: &mut Losses, out: &mut BytesMut) {
    let details = message.details();
    if details.utf8.is_some() {
        losses.note("payload format indicator", "AMQP 1.0, Part 3, section 3.2.4");
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
        symbol(details.content_type.as_deref().filter(|_| !encoded), losses, out);
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
