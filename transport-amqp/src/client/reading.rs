//! Messages as they come from a server, which is believed what it annotates.

use alloc::vec::Vec;

use bytes::Bytes;
use roadbed_core::{Address, LogPlace, Message, ReadContext, Result, Time, Value, WireMessage};

use super::inbound::Arriving;
use crate::DecodeError;
use crate::codec::{Fields, GuardLimits, Reader, read_value, sections};
use crate::dialect::{ENQUEUED, Encoded, PREFIX, Pieces, SEQUENCE};

/// A message, and what its server says of this delivery.
pub(crate) struct Read {
    pub(crate) message: Message,
    pub(crate) retained: bool,
    /// How many earlier deliveries failed.
    pub(crate) count: u32,
    /// The ids of the bindings that brought it.
    pub(crate) bindings: Vec<u32>,
    /// Where it stands in its log, and since when.
    pub(crate) log: Option<(LogPlace, Time)>,
}

/// Reads a message. One that does not say where it was sent to was sent to `node`.
pub(crate) fn read(pieces: Pieces, node: Option<Address>, context: &Arriving<'_>) -> Result<Read> {
    let first = pieces.first().cloned().unwrap_or_default();
    let total = pieces.iter().map(Bytes::len).sum();
    let told = told(&first, total, &context.guard).unwrap_or_default();
    let said = ReadContext { origin: context.origin, now: context.now };
    let (limits, sidecar_bytes_max) = (context.guard, context.sidecar_bytes_max);
    let encoded = Encoded { address: None, pieces, limits, sidecar_bytes_max };
    let message = match node {
        None => encoded.read(&said)?,
        Some(node) => match encoded.clone().read(&said) {
            Ok(message) => message,
            Err(_) => Encoded { address: Some(node), ..encoded }.read(&said)?,
        },
    };
    let message = match told.annotations.is_empty() {
        true => message,
        false => {
            let add = |(name, value), details: &mut roadbed_core::Details| details.annotations.push(name, value);
            let annotated = |details: &mut _| told.annotations.into_iter().for_each(|named| add(named, details));
            message.to_builder().details(annotated).build()
        }
    };
    let Told { retained, count, bindings, place, .. } = told;
    Ok(Read { message, retained, count, bindings, log: place.of_log(context.now) })
}

#[derive(Default)]
struct Told {
    retained: bool,
    count: u32,
    bindings: Vec<u32>,
    annotations: Vec<(bytestring::ByteString, Value)>,
    place: Place,
}

/// What the annotations of a message of a log say.
#[derive(Default)]
struct Place {
    sequence: Option<u64>,
    enqueued_ms: Option<u64>,
    partition: u32,
}

impl Place {
    fn of_log(&self, now: Time) -> Option<(LogPlace, Time)> {
        let place = LogPlace { partition: self.partition, position: self.sequence? };
        Some((place, self.enqueued_ms.map_or(now, Time::from_millis)))
    }
}

/// The hub's name of an annotation of its own, which says whose it is.
fn own_name(name: &str) -> bytestring::ByteString {
    alloc::format!("roadbed-{name}").into()
}

/// The delivery count of the header, and the hub's annotations.
fn told(bytes: &Bytes, total: usize, limits: &GuardLimits) -> Result<Told, DecodeError> {
    let found = sections(bytes, total, limits)?;
    let mut told = Told::default();
    if let Some(range) = found.header {
        let mut fields = list(&bytes[range])?;
        for _ in 0..4 {
            fields.next()?;
        }
        told.count = fields.u32()?.unwrap_or(0);
    }
    if let Some(range) = found.message_annotations {
        let mut reader = Reader::new(&bytes[range]);
        reader.descriptor()?;
        let mut pairs = reader.raw()?.map()?;
        while pairs.left() > 1 {
            let name = pairs.next()?.and_then(|name| name.symbol().ok());
            let value = pairs.encoded()?;
            let (Some(name), Some(value)) = (name, value) else { continue };
            match name {
                SEQUENCE => told.place.sequence = whole(read_value(value, bytes)?),
                ENQUEUED => told.place.enqueued_ms = whole(read_value(value, bytes)?),
                _ => {}
            }
            let Some(name) = name.strip_prefix(PREFIX) else { continue };
            match (name, read_value(value, bytes)?) {
                ("retained", value) => told.retained = value == Some(Value::Bool(true)),
                ("bindings", _) => told.bindings = numbers(value)?,
                ("partition", value) => {
                    told.place.partition = whole(value).and_then(|number| number.try_into().ok()).unwrap_or_default();
                }
                ("sender" | "sender-protocol" | "sidecar", _) => {}
                (name, value) => told.annotations.extend(value.map(|value| (own_name(name), value))),
            }
        }
    }
    Ok(told)
}

fn whole(value: Option<Value>) -> Option<u64> {
    match value? {
        Value::Int(number) | Value::Timestamp(number) => u64::try_from(number).ok(),
        Value::Uint(number) => Some(number),
        _ => None,
    }
}

fn numbers(encoded: &[u8]) -> Result<Vec<u32>, DecodeError> {
    let mut items = Reader::new(encoded).list()?;
    let mut numbers = Vec::new();
    while items.left() > 0 {
        numbers.extend(items.u32()?);
    }
    Ok(numbers)
}

fn list(section: &[u8]) -> Result<Fields<'_>, DecodeError> {
    let mut reader = Reader::new(section);
    reader.descriptor()?;
    reader.list()
}
