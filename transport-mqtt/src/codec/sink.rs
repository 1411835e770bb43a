//! Writing: every packet describes its body once, to a [`Sink`]. The first pass counts and checks, the second writes, so that a length and
//! its bytes cannot disagree and nothing of a refused packet is ever written.

use bytes::BufMut;

use super::text::has_nul;
use super::types::Version;
use crate::error::EncodeError;

/// The largest value of a variable byte integer, and so the largest remaining length.
pub(crate) const VARINT_MAX: usize = 268_435_455;

pub(crate) trait Sink {
    fn put(&mut self, bytes: &[u8]);

    /// A field with a length of two bytes: strings and binary data.
    fn field(&mut self, bytes: &[u8]);

    /// A string, which must not contain U+0000 [MQTT-1.5.4-2].
    fn text(&mut self, text: &str) {
        self.field(text.as_bytes());
    }

    fn u8(&mut self, value: u8) {
        self.put(&[value]);
    }

    fn u16(&mut self, value: u16) {
        self.put(&value.to_be_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.put(&value.to_be_bytes());
    }

    #[inline]
    fn varint(&mut self, mut value: usize) {
        while value >= 0x80 {
            self.u8((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.u8(value as u8);
    }
}

/// Counts what would be written.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counter {
    len: usize,
    too_long: bool,
    nul: bool,
}

impl Counter {
    /// The counted length, if it can be a remaining length.
    pub(crate) fn finish(self) -> Result<usize, EncodeError> {
        match self {
            Self { too_long: true, .. } => Err(EncodeError::FieldTooLong),
            Self { nul: true, .. } => Err(EncodeError::Text),
            Self { len, .. } if len > VARINT_MAX => Err(EncodeError::PacketTooLong),
            Self { len, .. } => Ok(len),
        }
    }

    pub(crate) const fn len(self) -> usize {
        self.len
    }
}

impl Sink for Counter {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.len += bytes.len();
    }

    #[inline]
    fn field(&mut self, bytes: &[u8]) {
        self.len += 2 + bytes.len();
        self.too_long |= bytes.len() > usize::from(u16::MAX);
    }

    #[inline]
    fn text(&mut self, text: &str) {
        self.field(text.as_bytes());
        self.nul |= has_nul(text);
    }
}

/// Writes into a buffer whose room and whose fields a [`Counter`] has checked.
pub(crate) struct Writer<'a, B>(pub(crate) &'a mut B);

impl<B: BufMut> Sink for Writer<'_, B> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.0.put_slice(bytes);
    }

    #[inline]
    fn field(&mut self, bytes: &[u8]) {
        debug_assert!(bytes.len() <= usize::from(u16::MAX), "a Counter has checked the length of every field");
        self.0.put_u16(bytes.len() as u16);
        self.0.put_slice(bytes);
    }
}

/// A few bytes of a header, on the stack.
#[derive(Debug, Default)]
pub(crate) struct Head {
    bytes: [u8; 8],
    len: usize,
}

impl Head {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Sink for Head {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.len..][..bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    fn field(&mut self, bytes: &[u8]) {
        self.u16(bytes.len() as u16);
        self.put(bytes);
    }
}

/// What follows the fixed header.
pub(crate) trait Body {
    fn write<S: Sink>(&self, version: Version, sink: &mut S);

    /// The length of the body in bytes.
    fn remaining(&self, version: Version) -> Result<usize, EncodeError> {
        let mut counter = Counter::default();
        self.write(version, &mut counter);
        counter.finish()
    }

    /// Writes fixed header and body, or nothing.
    fn encode<B: BufMut>(&self, first: u8, version: Version, out: &mut B) -> Result<(), EncodeError> {
        let remaining = self.remaining(version)?;
        if out.remaining_mut() < whole(remaining) {
            return Err(EncodeError::NoRoom);
        }
        let mut writer = Writer(out);
        writer.u8(first);
        writer.varint(remaining);
        self.write(version, &mut writer);
        Ok(())
    }
}

/// The length of a whole packet with this remaining length.
pub(crate) const fn whole(remaining: usize) -> usize {
    1 + varint_len(remaining) + remaining
}

pub(crate) const fn varint_len(value: usize) -> usize {
    match value {
        0..=127 => 1,
        128..=16_383 => 2,
        16_384..=2_097_151 => 3,
        _ => 4,
    }
}
