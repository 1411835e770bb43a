//! Application properties as headers: order and duplicates are kept.

use bytestring::ByteString;
use http::{HeaderMap, HeaderName, HeaderValue};
use roadbed_core::{Properties, Value};

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
pub(crate) fn read_cloud(name: &str, value: &HeaderValue, into: &mut Properties) -> Option<ByteString> {
    let value = text::from_value(value).ok()?;
    into.push(format!("{}{name}", names::CLOUD_PROPERTY), Value::Text(value.clone()));
    Some(value)
}

fn header(name: &ByteString, value: &Value) -> Option<(HeaderName, HeaderValue)> {
    if let (Some(attribute), Value::Text(text)) = (cloud_attribute(name), value) {
        return Some((text::to_name(names::CLOUD, attribute)?, text::to_cloud(text)));
    }
    Some((text::to_name(names::PROPERTY, name)?, text::to_value(&value::to_text(value))))
}

/// The attribute's name, if the property is a CloudEvents attribute (lower-case letters and digits).
fn cloud_attribute(name: &str) -> Option<&str> {
    let attribute = name.strip_prefix(names::CLOUD_PROPERTY)?;
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (!attribute.is_empty() && attribute.bytes().all(legal)).then_some(attribute)
}

/// A header for each property; `None` if their order would be lost: headers of one name stand together.
fn headers(properties: &Properties) -> Option<Vec<(HeaderName, HeaderValue)>> {
    if properties.len() > HEADERS_MAX {
        return None;
    }
    let pairs = properties.iter().map(|(name, value)| header(name, value)).collect::<Option<Vec<_>>>()?;
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
