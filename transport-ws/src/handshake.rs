//! The opening handshake (RFC 6455, section 4), on HTTP/1.1 by hyper.

mod client;
mod server;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, header};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use sha1::{Digest, Sha1};

pub use client::{Ask, connect};
pub use server::{Accepted, Offer, Refused, accept, accept_if};

/// The byte stream of a connection that was upgraded by hyper.
pub type Io = TokioIo<Upgraded>;

/// The version of WebSocket that there is.
const VERSION: &str = "13";

/// What shows that a server has understood the request (section 1.3).
fn proof(key: &[u8]) -> String {
    let mut hash = Sha1::new();
    hash.update(key);
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(hash.finalize())
}

/// Whether a header that is a list has this word, in any case.
fn has(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    list(headers, name).any(|found| found.eq_ignore_ascii_case(word))
}

/// The words of a header that is a list. What is not text is skipped.
fn list<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|word| !word.is_empty())
}

/// Whether the other end goes over to WebSocket.
fn upgrades(headers: &HeaderMap) -> bool {
    has(headers, &header::CONNECTION, "upgrade") && has(headers, &header::UPGRADE, "websocket")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proof_is_that_of_the_standard() {
        assert_eq!(proof(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
