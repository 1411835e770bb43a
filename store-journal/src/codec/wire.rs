//! Numbers, bytes and text.

use bytes::Bytes;
use bytestring::ByteString;

use super::Gather;

/// Why bytes cannot be read, although their checksum is right: they were written by something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CodecError {
    /// It ends in the middle.
    #[error("it ends in the middle of a field")]
    Truncated,
    /// A field has a value that it cannot have.
    #[error("the field `{0}` has a value that it cannot have")]
    Field(&'static str),
}

/// Appends fields.
pub(crate) trait Put {
    fn raw(&mut self, bytes: &[u8]);

    fn byte(&mut self, byte: u8) {
        self.raw(&[byte]);
    }

    fn flag(&mut self, flag: bool) {
        self.byte(u8::from(flag));
    }

    /// A number, seven bits a byte, the lowest first.
    fn number(&mut self, mut number: u64) {
        while number > 0x7f {
            self.byte(number as u8 | 0x80);
            number >>= 7;
        }
        self.byte(number as u8);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.raw(bytes);
    }

    fn option<T>(&mut self, value: Option<T>, put: impl FnOnce(&mut Self, T))
    where
        Self: Sized,
    {
        self.flag(value.is_some());
        if let Some(value) = value {
            put(self, value);
        }
    }

    fn list<T>(&mut self, items: impl ExactSizeIterator<Item = T>, mut put: impl FnMut(&mut Self, T))
    where
        Self: Sized,
    {
        self.number(items.len() as u64);
        items.for_each(|item| put(self, item));
    }
}

impl Put for Gather {
    fn raw(&mut self, bytes: &[u8]) {
        self.put(bytes);
    }
}

impl Put for Vec<u8> {
    fn raw(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Takes fields off bytes. Everything it gives is a slice of them.
#[derive(Debug, Clone)]
pub(crate) struct Take {
    bytes: Bytes,
    at: usize,
}

type Taken<T> = Result<T, CodecError>;

impl Take {
    pub(crate) const fn new(bytes: Bytes) -> Self {
        Self { bytes, at: 0 }
    }

    pub(crate) const fn at(&self) -> usize {
        self.at
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.at == self.bytes.len()
    }

    pub(crate) fn raw(&mut self, len: usize) -> Taken<Bytes> {
        let end = self.at.checked_add(len).filter(|end| *end <= self.bytes.len()).ok_or(CodecError::Truncated)?;
        let taken = self.bytes.slice(self.at..end);
        self.at = end;
        Ok(taken)
    }

    pub(crate) fn skip(&mut self, len: usize) -> Taken<()> {
        self.raw(len).map(drop)
    }

    pub(crate) fn byte(&mut self) -> Taken<u8> {
        let byte = *self.bytes.get(self.at).ok_or(CodecError::Truncated)?;
        self.at += 1;
        Ok(byte)
    }

    pub(crate) fn flag(&mut self) -> Taken<bool> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(CodecError::Field("flag")),
        }
    }

    pub(crate) fn number(&mut self) -> Taken<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(CodecError::Field("number"))
    }

    pub(crate) fn small<T: TryFrom<u64>>(&mut self, field: &'static str) -> Taken<T> {
        self.number()?.try_into().map_err(|_| CodecError::Field(field))
    }

    pub(crate) fn bytes(&mut self) -> Taken<Bytes> {
        let len = self.small("length")?;
        self.raw(len)
    }

    pub(crate) fn text(&mut self) -> Taken<ByteString> {
        ByteString::try_from(self.bytes()?).map_err(|_| CodecError::Field("text"))
    }

    pub(crate) fn option<T>(&mut self, take: impl FnOnce(&mut Self) -> Taken<T>) -> Taken<Option<T>> {
        if self.flag()? { take(self).map(Some) } else { Ok(None) }
    }

    pub(crate) fn list<T>(&mut self, mut take: impl FnMut(&mut Self) -> Taken<T>) -> Taken<Vec<T>> {
        let count: usize = self.small("count")?;
        // No more room ahead than the bytes can fill.
        let mut items = Vec::with_capacity(count.min(self.bytes.len() - self.at));
        for _ in 0..count {
            items.push(take(self)?);
        }
        Ok(items)
    }
}
