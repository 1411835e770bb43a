//! What HTTP has no place for, for a hub of ours: a header.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue};
use roadbed_core::{Message, Sidecar};

use super::names;
use crate::conversion::HTTP;

/// The header of a message; `None` if nothing is lost, or it is longer than a header may be.
pub(crate) fn write(message: &Message, bytes_max: usize) -> Option<HeaderValue> {
    let bytes = (bytes_max > 0).then(|| Sidecar::encode(message, &HTTP, bytes_max))??;
    HeaderValue::try_from(URL_SAFE_NO_PAD.encode(bytes)).ok()
}

/// What came beside a message.
pub(crate) fn read(headers: &HeaderMap, bytes_max: usize) -> Option<Sidecar> {
    let text = headers.get(names::SIDECAR).filter(|_| bytes_max > 0)?;
    let bytes = URL_SAFE_NO_PAD.decode(text).ok().filter(|bytes| bytes.len() <= bytes_max)?;
    Sidecar::decode(&bytes.into())
}
