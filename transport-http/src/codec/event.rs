//! CloudEvents in JSON (JSON event format 1.0.2), read and written.

mod read;
mod write;

pub(crate) use read::{read, split};
pub(crate) use write::write;

/// What is wrong with an event in JSON.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// The bytes are not JSON, or not an object; or, of a batch, not an array of them.
    #[error("it is no JSON object: {0}")]
    Json(String),
    /// A required attribute is missing, or empty.
    #[error("the attribute {0} is missing")]
    Missing(&'static str),
    /// The version is not 1.0.
    #[error("specversion is 1.0")]
    Version,
    /// A name has other characters than small letters and digits, or is there twice.
    #[error("{0:?} is no name of an attribute, which has small letters and digits, or it is there twice")]
    Name(String),
    /// A value is of a type that attributes do not have.
    #[error("the attribute {0} is text, true, false or a number of 32 bits; the core attributes are text")]
    Value(String),
    /// The data is said twice, or its base64 is none.
    #[error("the data is in data, or in base64 in data_base64")]
    Data,
    /// A batch has more events than the limit.
    #[error("a batch has at most {0} events")]
    TooMany(usize),
}

/// Whether a media type is one of JSON (JSON event format, section 3.1): `*/json` or `*/*+json`.
fn is_json(media_type: &str) -> bool {
    let essence = essence(media_type);
    let subtype = essence.split_once('/').map_or("", |(_, subtype)| subtype);
    subtype.eq_ignore_ascii_case("json") || subtype.to_ascii_lowercase().ends_with("+json")
}

/// Whether a media type is one of text.
fn is_text(media_type: &str) -> bool {
    essence(media_type).get(..5).is_some_and(|start| start.eq_ignore_ascii_case("text/"))
}

/// A media type without its parameters.
pub(crate) fn essence(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or_default().trim()
}
