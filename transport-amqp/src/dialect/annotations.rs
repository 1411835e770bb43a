//! Message annotations (Part 3, section 3.2.3): those that mean something to the core, and those of others, which are handed on.

use alloc::string::String;
use core::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use bytestring::ByteString;
use roadbed_core::{Bare, Delivery, Time, Value};

use crate::DecodeError;
use crate::codec::{
    Fields, Raw, Reader, put_bool, put_list, put_map, put_str, put_symbol, put_u32, put_value, read_value, walk,
};

/// The annotations that only a hub writes.
pub(crate) const PREFIX: &str = "x-opt-roadbed-";
/// The delivery annotation that a sidecar is.
pub(super) const SIDECAR: &str = "x-opt-roadbed-sidecar";
/// Not before this time, in milliseconds since the epoch: as JMS clients of AMQP say it.
const DELIVERY_TIME: &str = "x-opt-delivery-time";
/// Not before so many milliseconds have passed.
const DELIVERY_DELAY: &str = "x-opt-delivery-delay";
/// The message becomes the last value of its address.
const RETAIN: &str = "x-opt-retain";
/// The message is for consumers attached now, and for nobody later.
const LIVE: &str = "x-opt-live";

/// It is the last value of its address, sent because somebody began to listen.
const RETAINED: &str = "x-opt-roadbed-retained";
/// The ids of the bindings that brought it: a list of numbers.
const BINDINGS: &str = "x-opt-roadbed-bindings";
/// Who sent it, as the hub that took it in knows.
const SENDER: &str = "x-opt-roadbed-sender";
/// By which protocol.
const SENDER_PROTOCOL: &str = "x-opt-roadbed-sender-protocol";

/// Where a message stands in the partition of its log, by the names that readers of events look for: the sequence number, the same as an
/// offset, and when it was enqueued. Only a hub writes them, when the message is read from a log.
pub(crate) const SEQUENCE: &str = "x-opt-sequence-number";
const OFFSET: &str = "x-opt-offset";
pub(crate) const ENQUEUED: &str = "x-opt-enqueued-time";
/// What the partition was chosen by.
const PARTITION_KEY: &str = "x-opt-partition-key";
/// The number of the partition.
const PARTITION: &str = "x-opt-roadbed-partition";

/// What the annotations of a message say.
#[derive(Debug, Default)]
pub(super) struct Annotations {
    pub(super) deliver_after: Option<Time>,
    pub(super) retain: bool,
    pub(super) live: bool,
    /// What a partition is to be chosen by; the annotation itself is handed on.
    pub(super) partition_key: Option<ByteString>,
    /// The pairs of all others as they are encoded, without those that only a hub may write.
    pub(super) others: Bytes,
}

impl Annotations {
    pub(super) fn read(mut pairs: Fields<'_>, frame: &Bytes, now: Time) -> Result<Self, DecodeError> {
        let (mut read, mut others) = (Self::default(), BytesMut::new());
        while pairs.left() > 1 {
            let key = pairs.encoded()?.ok_or(DecodeError::Missing("key"))?;
            let value = pairs.encoded()?.unwrap_or(&[0x40]);
            let taken = match Reader::new(key).raw()? {
                raw if is_foreign(raw) => match raw.symbol() {
                    Ok(name) => read.set(name, read_value(value, frame)?, now),
                    Err(_) => false,
                },
                _ => true,
            };
            if !taken {
                others.put_slice(key);
                others.put_slice(value);
            }
        }
        read.others = others.freeze();
        Ok(read)
    }

    /// Takes an annotation that means something; whether it does.
    fn set(&mut self, name: &str, value: Option<Value>, now: Time) -> bool {
        match (name, value) {
            (PARTITION_KEY, Some(Value::Text(key))) => {
                self.partition_key = Some(key);
                return false;
            }
            (RETAIN, Some(Value::Bool(retain))) => self.retain = retain,
            (LIVE, Some(Value::Bool(live))) => self.live = live,
            (DELIVERY_TIME, Some(value)) => match millis(&value) {
                Some(millis) => self.deliver_after = Some(Time::from_millis(millis)),
                None => return false,
            },
            (DELIVERY_DELAY, Some(value)) => match millis(&value) {
                Some(millis) => self.deliver_after = Some(now + Duration::from_millis(millis)),
                None => return false,
            },
            _ => return false,
        }
        true
    }
}

fn millis(value: &Value) -> Option<u64> {
    match *value {
        Value::Timestamp(millis) | Value::Int(millis) => u64::try_from(millis).ok(),
        Value::Uint(millis) => Some(millis),
        _ => None,
    }
}

/// Writes what others have annotated, what the message asks for, and the hub's own.
pub(super) fn write(delivery: &Delivery, bare: Option<&Bare>, out: &mut BytesMut) {
    let message = &delivery.message;
    let sender = message.origin().filter(|origin| !origin.principal.is_empty());
    let (details, others) = (message.details(), others(message, bare));
    let asks = message.retain() || message.live() || details.deliver_after.is_some();
    let bindings = delivery.info.as_ref().map_or(&[][..], |info| &info.bindings);
    let log = delivery.info.as_ref().and_then(|info| Some((info.log?, info.enqueued_at)));
    let told = delivery.retained || sender.is_some() || !bindings.is_empty() || log.is_some();
    if others.is_empty() && details.annotations.is_empty() && !asks && !told {
        return;
    }
    out.put_slice(&[0x00, 0x53, 0x72]);
    put_map(out, |out| {
        let mut count = items(others);
        out.put_slice(others);
        let mut key = |out: &mut BytesMut, name: &str| {
            put_symbol(out, name);
            count += 2;
        };
        if message.retain() {
            key(out, RETAIN);
            put_bool(out, true);
        }
        if message.live() {
            key(out, LIVE);
            put_bool(out, true);
        }
        if let Some(at) = details.deliver_after {
            key(out, DELIVERY_TIME);
            put_value(out, &Value::Timestamp(i64::try_from(at.as_millis()).unwrap_or(i64::MAX)));
        }
        for (name, value) in details.annotations.iter() {
            key(out, &wire_name(name));
            put_value(out, value);
        }
        if let Some((place, at)) = log {
            key(out, SEQUENCE);
            put_value(out, &Value::Int(i64::try_from(place.position).unwrap_or(i64::MAX)));
            key(out, OFFSET);
            put_str(out, &alloc::format!("{}", place.position));
            key(out, ENQUEUED);
            put_value(out, &Value::Timestamp(i64::try_from(at.as_millis()).unwrap_or(i64::MAX)));
            key(out, PARTITION);
            put_u32(out, place.partition);
            if let Some(group) = details.group.as_deref().filter(|_| !names(others, PARTITION_KEY)) {
                key(out, PARTITION_KEY);
                put_str(out, group);
            }
        }
        if delivery.retained {
            key(out, RETAINED);
            put_bool(out, true);
        }
        if !bindings.is_empty() {
            key(out, BINDINGS);
            put_list(out, bindings.len() as u32, |out| bindings.iter().for_each(|&id| put_u32(out, id)));
        }
        if let Some(sender) = sender {
            key(out, SENDER);
            put_str(out, &sender.principal);
            key(out, SENDER_PROTOCOL);
            put_str(out, sender.protocol);
        }
        count
    });
}

/// The name of an annotation of the hub, which may say already whose it is.
fn wire_name(name: &str) -> String {
    alloc::format!("{PREFIX}{}", name.strip_prefix("roadbed-").unwrap_or(name))
}

/// The annotations of others. Those that came by a sidecar are looked at first: its sender may have written anything.
fn others<'a>(message: &roadbed_core::Message, bare: Option<&'a Bare>) -> &'a [u8] {
    let Some(bare) = bare else { return &[] };
    let ours = message.origin().is_some_and(|origin| origin.protocol == "amqp");
    let harmless = ours || is_harmless(&bare.annotations);
    if harmless { &bare.annotations } else { &[] }
}

fn is_harmless(pairs: &[u8]) -> bool {
    let mut at = 0;
    while at < pairs.len() {
        let foreign = Reader::new(&pairs[at..]).raw().is_ok_and(is_foreign);
        let value = walk(pairs, at, &Default::default()).ok().filter(|_| foreign);
        match value.and_then(|value| walk(pairs, value, &Default::default()).ok()) {
            Some(end) => at = end,
            None => return false,
        }
    }
    true
}

/// A key is a symbol or an unsigned long (Part 3, section 3.2.10), and none that only a hub writes.
fn is_foreign(key: Raw<'_>) -> bool {
    let of_hub = |name: &str| name.starts_with(PREFIX) || matches!(name, SEQUENCE | OFFSET | ENQUEUED);
    key.symbol().map_or_else(|_| key.u64().is_ok(), |name| !of_hub(name))
}

/// Whether there is an annotation of this name among those of others, which have been walked before.
fn names(pairs: &[u8], wanted: &str) -> bool {
    let mut at = 0;
    while at < pairs.len() {
        if Reader::new(&pairs[at..]).raw().is_ok_and(|key| key.symbol() == Ok(wanted)) {
            return true;
        }
        let value = walk(pairs, at, &Default::default());
        match value.and_then(|value| walk(pairs, value, &Default::default())) {
            Ok(end) => at = end,
            Err(_) => return false,
        }
    }
    false
}

/// How many values there are in a row; they have been walked before, so they are whole.
fn items(encoded: &[u8]) -> u32 {
    let (mut at, mut count) = (0, 0);
    while let Some(end) = (at < encoded.len()).then(|| walk(encoded, at, &Default::default())) {
        let Ok(end) = end else { break };
        (at, count) = (end, count + 1);
    }
    count
}
