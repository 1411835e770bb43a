//! What the tests of the codec share.
#![allow(dead_code, reason = "every test file uses its own part")]

use bytes::{Bytes, BytesMut};
use roadbed_mqtt::DecodeError;
use roadbed_mqtt::codec::{Limits, Packet, PacketId, Version, frame};

pub(crate) fn id(id: u16) -> PacketId {
    PacketId::new(id).expect("a packet identifier is not zero")
}

/// Decodes exactly one packet.
pub(crate) fn decode(version: Version, bytes: &[u8]) -> Result<Packet, DecodeError> {
    decode_with(version, bytes, &Limits::default())
}

pub(crate) fn decode_with(version: Version, bytes: &[u8], limits: &Limits) -> Result<Packet, DecodeError> {
    let (chunk, mut at) = (Bytes::copy_from_slice(bytes), 0);
    let frame = frame(&chunk, &mut at, Some(version), limits)?.expect("the frame is whole");
    assert_eq!(at, bytes.len(), "one packet");
    Packet::decode(frame, version, limits)
}

pub(crate) fn encode(version: Version, packet: &Packet) -> Vec<u8> {
    let mut out = BytesMut::from(&b"before"[..]);
    packet.encode(version, &mut out).expect("a packet that can be written");
    assert!(out.starts_with(b"before"), "encoding only appends");
    let bytes = out[6..].to_vec();
    assert_eq!(packet.encoded_len(version), Ok(bytes.len()));
    bytes
}

/// Puts a fixed header before a body.
pub(crate) fn packet(first: u8, body: &[&[u8]]) -> Vec<u8> {
    let body = body.concat();
    let mut out = vec![first];
    let mut len = body.len();
    loop {
        let more = len >= 128;
        out.push((len & 0x7f) as u8 | if more { 0x80 } else { 0 });
        len >>= 7;
        if !more {
            break;
        }
    }
    out.extend(body);
    out
}
