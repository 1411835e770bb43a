//! Several messages in one JSON document.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use roadbed_core::{Address, Payload};
use serde::{Deserialize, Serialize};

use crate::dialect::HttpMessage;

/// What `GET /v1/messages/{address}?max=N` answers.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Page {
    pub(crate) messages: Vec<Item>,
}

/// One message of a page: the headers that it would have alone, and its bytes.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Item {
    /// The lock token; none if it is settled already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<String>,
    pub(crate) headers: Vec<(String, String)>,
    /// The bytes, if they are UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    data: Option<String>,
    /// The bytes, if they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
}

impl Item {
    pub(crate) fn new(message: &HttpMessage, token: Option<String>) -> Self {
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = message.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        let bytes: Cow<'_, [u8]> = match message.payload.shared() {
            Some([one]) => Cow::Borrowed(one),
            _ => Cow::Owned(message.payload.to_bytes().into()),
        };
        let (data, data_base64) = match std::str::from_utf8(&bytes) {
            Ok(text) => (Some(text.to_owned()), None),
            Err(_) => (None, Some(STANDARD.encode(&bytes))),
        };
        Self { token, headers, data, data_base64 }
    }

    /// The message; `None` if a header or the bytes cannot be read.
    pub(crate) fn message(self) -> Option<HttpMessage> {
        let mut headers = HeaderMap::with_capacity(self.headers.len());
        for (name, value) in &self.headers {
            headers.append(HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?);
        }
        let payload = match (self.data, self.data_base64) {
            (Some(text), None) => Payload::from(text),
            (None, Some(text)) => Payload::from(STANDARD.decode(text).ok()?),
            (None, None) => Payload::EMPTY,
            _ => return None,
        };
        let address: Address = HttpMessage::address_of(&headers)?;
        Some(HttpMessage { address, headers, payload })
    }
}
