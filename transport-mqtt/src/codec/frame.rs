use core::ops::Range;

use bytes::Bytes;

use super::limits::Limits;
use super::reader::varint;
use super::sink::whole;
use super::types::{PacketType, Version};
use crate::error::DecodeError;

/// One packet as it lies in a chunk: nothing is copied and no refcount is taken.
#[derive(Debug, Clone)]
pub struct Frame<'a> {
    chunk: &'a Bytes,
    kind: PacketType,
    whole: Range<usize>,
    body: usize,
}

/// Cuts the next frame off `chunk`, beginning at `at`, and moves `at` behind it.
///
/// `None` means that the chunk ends before the frame does; `at` stays, and [`frame_bytes`] tells how long the frame will be as soon as
/// its header is there. `version` is `None` until CONNECT has been read; the flags of 3.1 are a little wider, and AUTH is of 5.0.
///
/// # Errors
/// Whatever the fixed header alone shows to be wrong, before the body is there: a length that is not in its shortest form or above the limit,
/// a reserved type, reserved flags, a length that the type cannot have.
pub fn frame<'a>(
    chunk: &'a Bytes,
    at: &mut usize,
    version: Option<Version>,
    limits: &Limits,
) -> Result<Option<Frame<'a>>, DecodeError> {
    let bytes = chunk.get(*at..).unwrap_or_default();
    let Some(header) = Header::read(bytes, version, limits)? else { return Ok(None) };
    if bytes.len() < header.whole() {
        return Ok(None);
    }
    let whole = *at..*at + header.whole();
    *at = whole.end;
    Ok(Some(Frame { chunk, kind: header.kind, body: whole.start + header.len, whole }))
}

/// The length of the frame that `bytes` begins with, as soon as its fixed header is there: what a reader has to gather.
///
/// # Errors
/// As [`frame`].
pub fn frame_bytes(bytes: &[u8], version: Option<Version>, limits: &Limits) -> Result<Option<usize>, DecodeError> {
    Ok(Header::read(bytes, version, limits)?.map(|header| header.whole()))
}

impl<'a> Frame<'a> {
    /// The type of the packet.
    pub fn kind(&self) -> PacketType {
        self.kind
    }

    /// The low four bits of the first byte.
    pub fn flags(&self) -> u8 {
        self.chunk[self.whole.start] & 0x0f
    }

    /// What follows the fixed header.
    pub fn body(&self) -> &'a [u8] {
        &self.chunk[self.body..self.whole.end]
    }

    /// The whole packet as a slice of the chunk.
    pub fn bytes(&self) -> Bytes {
        self.chunk.slice(self.whole.clone())
    }

    /// A part of the body as a slice of the chunk, which it keeps alive.
    pub(crate) fn share(&self, part: &[u8]) -> Bytes {
        self.chunk.slice_ref(part)
    }
}

/// The fixed header (section 2.1).
struct Header {
    kind: PacketType,
    /// Bytes of the header itself.
    len: usize,
    /// Bytes that follow it.
    remaining: usize,
}

impl Header {
    #[inline]
    fn read(bytes: &[u8], version: Option<Version>, limits: &Limits) -> Result<Option<Self>, DecodeError> {
        let Some((&first, rest)) = bytes.split_first() else { return Ok(None) };
        let kind = kind(first, version)?;
        let Some((remaining, len)) = varint(rest)? else { return Ok(None) };
        let header = Self { kind, len: 1 + len, remaining: remaining as usize };
        // At most 2^28 + 4, so that u32 is wide enough.
        let bytes = header.whole() as u32;
        if bytes > limits.packet_bytes_max {
            return Err(DecodeError::PacketTooLarge { bytes, bytes_max: limits.packet_bytes_max });
        }
        if !lengths(kind, version).contains(&remaining) {
            return Err(DecodeError::Length { kind, remaining });
        }
        Ok(Some(header))
    }

    const fn whole(&self) -> usize {
        whole(self.remaining)
    }
}

/// The type of a first byte, if its flags are as table 2-2 asks.
fn kind(first: u8, version: Option<Version>) -> Result<PacketType, DecodeError> {
    let kind = PacketType::from_first(first).ok_or(DecodeError::ReservedType(0))?;
    if kind == PacketType::Auth && version != Some(Version::V5) {
        return Err(DecodeError::ReservedType(15));
    }
    // MQTT 3.1 lets a client mark a repeated PUBREL, SUBSCRIBE or UNSUBSCRIBE with DUP.
    let dup = u8::from(version == Some(Version::V31) && kind.first() & 0x0f != 0) << 3;
    if kind != PacketType::Publish && first & !dup != kind.first() {
        return Err(DecodeError::ReservedFlags(first));
    }
    Ok(kind)
}

/// The remaining lengths that a packet of this type can have, as far as the type alone tells.
fn lengths(kind: PacketType, version: Option<Version>) -> core::ops::RangeInclusive<u32> {
    use PacketType::*;
    const ANY: u32 = u32::MAX;
    let v5 = version.is_some_and(Version::is_v5);
    match kind {
        PingReq | PingResp => 0..=0,
        Disconnect | Auth if v5 => 0..=ANY,
        Disconnect | Auth => 0..=0,
        Connect => 12..=ANY,
        Publish => 2..=ANY,
        ConnAck | PubAck | PubRec | PubRel | PubComp | UnsubAck if !v5 => 2..=2,
        Subscribe | SubAck | Unsubscribe | UnsubAck | ConnAck | PubAck | PubRec | PubRel | PubComp => 2..=ANY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(bytes: &'static [u8], version: Version) -> Result<Option<usize>, DecodeError> {
        let mut at = 0;
        let chunk = Bytes::from_static(bytes);
        let found = frame(&chunk, &mut at, Some(version), &Limits::default())?;
        Ok(found.map(|_| at))
    }

    #[test]
    fn waits_for_the_whole_frame() {
        assert_eq!(cut(b"", Version::V5), Ok(None));
        assert_eq!(cut(b"\x30", Version::V5), Ok(None));
        assert_eq!(cut(b"\x30\x80", Version::V5), Ok(None));
        assert_eq!(cut(b"\x30\x03\0\x01", Version::V5), Ok(None));
        assert_eq!(cut(b"\x30\x03\0\x01a\xff", Version::V5), Ok(Some(5)));
    }

    #[test]
    fn tells_the_length_from_the_header() {
        let of = |bytes: &[u8]| frame_bytes(bytes, Some(Version::V5), &Limits::default());
        assert_eq!(of(b"\x30\x80"), Ok(None));
        assert_eq!(of(b"\x30\x80\x01"), Ok(Some(131)));
    }

    #[test]
    fn refuses_a_length_that_is_not_the_shortest() {
        for bytes in [&b"\xc0\x80\x00"[..], b"\x30\x85\x80\x00", b"\x30\xff\xff\xff\x80"] {
            assert_eq!(
                frame_bytes(bytes, None, &Limits::default()),
                Err(DecodeError::VariableByteInteger),
                "{bytes:x?}"
            );
        }
    }

    #[test]
    fn counts_the_whole_packet_against_the_limit() {
        let limits = Limits::default().packet_bytes_max(10);
        assert_eq!(frame_bytes(b"\x30\x08", None, &limits), Ok(Some(10)));
        let error = DecodeError::PacketTooLarge { bytes: 11, bytes_max: 10 };
        assert_eq!(frame_bytes(b"\x30\x09", None, &limits), Err(error));
    }

    #[test]
    fn checks_the_reserved_flags_of_every_type() {
        for first in 0x10..=0xffu8 {
            let found = kind(first, Some(Version::V5));
            let legal = first >> 4 == 3 || first & 0x0f == if matches!(first >> 4, 6 | 8 | 10) { 2 } else { 0 };
            assert_eq!(found.is_ok(), legal, "{first:#x}");
        }
        assert_eq!(kind(0x8a, Some(Version::V31)), Ok(PacketType::Subscribe));
        assert!(kind(0x8a, Some(Version::V311)).is_err());
        assert!(kind(0x48, Some(Version::V31)).is_err());
    }

    #[test]
    fn knows_auth_only_in_version_5() {
        assert_eq!(kind(0xf0, Some(Version::V5)), Ok(PacketType::Auth));
        assert_eq!(kind(0xf0, Some(Version::V311)), Err(DecodeError::ReservedType(15)));
        assert_eq!(kind(0xf0, None), Err(DecodeError::ReservedType(15)));
        assert_eq!(kind(0x00, None), Err(DecodeError::ReservedType(0)));
    }
}
