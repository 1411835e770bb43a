use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use roadbed_core::cloudevents::{self, PREFIX, REQUIRED};
use roadbed_core::{Details, Payload, Value};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{EventError, is_json};

/// How many attributes an event may have: each takes more memory than it has bytes.
const ATTRIBUTES_MAX: usize = 256;

/// Reads one event: its attributes become properties of `details`, its data is the payload. JSON is a slice of the document.
pub(crate) fn read(json: &Bytes, details: &mut Details) -> Result<Payload, EventError> {
    let Members(members) = serde_json::from_slice(json).map_err(|error| EventError::Json(error.to_string()))?;
    let (mut data, mut base64) = (None, None);
    let before = details.properties.len();
    for (name, raw) in members {
        match &*name {
            "data" => set_once(&mut data, raw)?,
            "data_base64" => set_once(&mut base64, raw)?,
            name => attribute(name, raw, before, details)?,
        }
    }
    check(details)?;
    match (data, base64) {
        (Some(_), Some(_)) => Err(EventError::Data),
        (None, None) => Ok(Payload::EMPTY),
        (Some(data), None) => payload(json, data, details.content_type.as_deref()),
        (None, Some(base64)) => {
            let text: Cow<'_, str> = serde_json::from_str::<Text<'_>>(base64.get()).map_err(|_| EventError::Data)?.0;
            STANDARD.decode(text.as_bytes()).map(Payload::from).map_err(|_| EventError::Data)
        }
    }
}

/// The events of a batch, each as its own document, a slice of this one.
pub(crate) fn split(json: &Bytes, events_max: usize) -> Result<Vec<Bytes>, EventError> {
    let mut reader = serde_json::Deserializer::from_slice(json);
    let events = serde::de::DeserializeSeed::deserialize(Batch { events_max }, &mut reader);
    let events = events.and_then(|events| reader.end().map(|()| events));
    let events = events.map_err(|error| EventError::Json(error.to_string()))?;
    match events.len() > events_max {
        true => Err(EventError::TooMany(events_max)),
        false => Ok(events.into_iter().map(|raw| json.slice_ref(raw.get().as_bytes())).collect()),
    }
}

fn set_once<'a>(member: &mut Option<&'a RawValue>, raw: &'a RawValue) -> Result<(), EventError> {
    match member.replace(raw) {
        None => Ok(()),
        Some(_) => Err(EventError::Data),
    }
}

fn attribute(name: &str, raw: &RawValue, before: usize, details: &mut Details) -> Result<(), EventError> {
    let property = format!("{PREFIX}{name}");
    let repeated = |details: &Details| details.properties.iter().skip(before).any(|(earlier, _)| *earlier == *property);
    if !cloudevents::is_attribute_name(name) || repeated(details) || details.properties.len() - before >= ATTRIBUTES_MAX
    {
        return Err(EventError::Name(name.chars().take(64).collect()));
    }
    let wrong = || EventError::Value(name.to_owned());
    let value = match serde_json::from_str::<Scalar<'_>>(raw.get()).map_err(|_| wrong())? {
        // An attribute that is null is not there (section 2.3).
        Scalar::Null => return Ok(()),
        Scalar::Text(text) => Value::Text(text.into_owned().into()),
        _ if CORE.contains(&name) => return Err(wrong()),
        Scalar::Bool(value) => Value::Bool(value),
        Scalar::Number(number) => Value::Int(number.into()),
    };
    match (name, value) {
        ("datacontenttype", Value::Text(text)) => match details.content_type.replace(text) {
            None => Ok(()),
            Some(_) => Err(EventError::Name(name.to_owned())),
        },
        (_, value) => {
            details.properties.push(property, value);
            Ok(())
        }
    }
}

/// Attributes that are text.
const CORE: [&str; 8] = ["specversion", "id", "source", "type", "datacontenttype", "dataschema", "subject", "time"];

fn check(details: &Details) -> Result<(), EventError> {
    for required in REQUIRED {
        cloudevents::find(&details.properties, required).ok_or(EventError::Missing(required))?;
    }
    match cloudevents::find(&details.properties, "specversion") {
        Some("1.0") => Ok(()),
        _ => Err(EventError::Version),
    }
}

/// A string is its text, unless the data is said to be JSON; every other value is JSON (section 3.1).
fn payload(json: &Bytes, data: &RawValue, content_type: Option<&str>) -> Result<Payload, EventError> {
    let text = data.get();
    if text.starts_with('"') && content_type.is_some_and(|content_type| !is_json(content_type)) {
        let Text(text) = serde_json::from_str(text).map_err(|_| EventError::Data)?;
        return Ok(Payload::from(text.into_owned()));
    }
    Ok(Payload::from(json.slice_ref(text.as_bytes())))
}

/// The members of an object, in order, undecoded.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an event")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((Text(name), value)) = map.next_entry()? {
                    if members.len() > ATTRIBUTES_MAX + 2 {
                        return Err(serde::de::Error::custom("too many attributes"));
                    }
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

/// The elements of an array, undecoded: one more than there may be, at most.
struct Batch {
    events_max: usize,
}

impl<'de> serde::de::DeserializeSeed<'de> for Batch {
    type Value = Vec<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Batch {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut events = Vec::new();
        while let Some(event) = seq.next_element::<&RawValue>()? {
            if events.len() <= self.events_max {
                events.push(event);
            }
        }
        Ok(events)
    }
}

/// Text, borrowed where it has no escapes.
#[derive(serde::Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// What an attribute can be (section 2.2).
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Scalar<'a> {
    Null,
    Bool(bool),
    Number(i32),
    #[serde(borrow)]
    Text(Cow<'a, str>),
}
