//! Application properties as headers: order and duplicates are kept.

use bytestring::ByteString;
use http::{HeaderMap, HeaderName, HeaderValue};
use roadbed_core::{Properties, Value, cloudevents};

use super::fields::COUNT_MAX;
use super::{names, text, value};

/// How many properties are written as a header each; more go into one list, since servers and proxies limit how many
/// headers there are.
const HEADERS_MAX: usize = 32;

/// Appends `properties`; `None` if they would take more than `bytes_max` bytes, and then none of them.
pub(crate) fn write(properties: &Properties, into: &mut HeaderMap, bytes_max: usize) -> Option<()> {
    let list = || Some(vec![(names::PROPERTIES, HeaderValue::try_from(list(properties)).ok()?)]);
    let pairs = headers(properties).or_else(list)?;
    let bytes: usize = pairs.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if bytes > bytes_max || pairs.len() + into.len() > COUNT_MAX {
        return None;
    }
    for (name, value) in pairs {
        into.append(name, value);
    }
    Some(())
}

/// Appends annotations, which have no order that matters.
pub(crate) fn write_annotations(annotations: &Properties, into: &mut HeaderMap, bytes_max: usize) -> Option<()> {
    for (name, value) in annotations.iter() {
        let name = text::to_name(names::ANNOTATION, name)?;
        let value = text::to_value(&value::to_text(value));
        if value.len() > bytes_max || (into.len() >= COUNT_MAX && bytes_max != usize::MAX) {
            return None;
        }
        into.append(name, value);
    }
    Some(())
}

/// Reads the header of one property; `None` if its value has no meaning.
pub(crate) fn read(name: &str, value: &HeaderValue, into: &mut Properties) -> Option<()> {
    let name = text::decode(name.as_bytes()).ok()?;
    into.push(name, value::from_text(text::from_value(value).ok()?)?);
    Some(())
}

/// Reads a list of properties: `name=value&name=value`.
pub(crate) fn read_list(value: &HeaderValue, into: &mut Properties) -> Option<()> {
    for pair in value.as_bytes().split(|&byte| byte == b'&').filter(|pair| !pair.is_empty()) {
        let at = pair.iter().position(|&byte| byte == b'=')?;
        let (name, value) = (text::decode(&pair[..at]).ok()?, text::decode(&pair[at + 1..]).ok()?);
        into.push(name, value::from_text(value)?);
    }
    Some(())
}

/// Reads a `ce-` header.
pub(crate) fn read_cloud(name: &str, value: &HeaderValue, into: &mut Properties) -> Option<()> {
    into.push(format!("{}{name}", cloudevents::PREFIX), Value::Text(text::from_value(value).ok()?));
    Some(())
}

/// In an event, times and the like are text; elsewhere they keep what they are.
fn header(name: &ByteString, value: &Value, is_event: bool) -> Option<(HeaderName, HeaderValue)> {
    let sayable = value.as_str().is_some() || (is_event && is_typed(value));
    match cloudevents::attribute(name).filter(|_| sayable) {
        Some(attribute) => Some((text::to_name(names::CLOUD, attribute)?, text::to_cloud(&cloudevents::text(value)))),
        None => Some((text::to_name(names::PROPERTY, name)?, text::to_value(&value::to_text(value)))),
    }
}

/// Whether an attribute of an event is written as text that is none.
pub(crate) fn has_typed_attribute(properties: &Properties) -> bool {
    let typed = |(name, value): (&ByteString, &Value)| is_typed(value) && cloudevents::attribute(name).is_some();
    cloudevents::is_event(properties) && properties.iter().any(typed)
}

fn is_typed(value: &Value) -> bool {
    matches!(value, Value::Timestamp(_) | Value::Bool(_) | Value::Int(_))
}

/// A header for each property; `None` if their order would be lost: headers of one name stand together.
fn headers(properties: &Properties) -> Option<Vec<(HeaderName, HeaderValue)>> {
    if properties.len() > HEADERS_MAX {
        return None;
    }
    let is_event = cloudevents::is_event(properties);
    let pairs = properties.iter().map(|(name, value)| header(name, value, is_event)).collect::<Option<Vec<_>>>()?;
    let returns = |at: usize| {
        let same = |other: usize| pairs[at].0 == pairs[other].0;
        !same(at - 1) && (0..at - 1).any(same)
    };
    (!(2..pairs.len()).any(returns)).then_some(pairs)
}

fn list(properties: &Properties) -> String {
    let pair = |(name, value): (&ByteString, &Value)| {
        format!("{}={}", text::to_part(name), text::to_part(&value::to_text(value)))
    };
    properties.iter().map(pair).collect::<Vec<_>>().join("&")
}
