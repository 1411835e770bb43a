use super::guard::{Width, width};
use crate::DecodeError;

/// Reads encoded values one by one, in whichever of its encodings each comes.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// The fields of a list, in order. What is left out at the end is null.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a> {
    reader: Reader<'a>,
    left: u32,
}

/// A value without its constructor.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Raw<'a> {
    pub(crate) code: u8,
    /// The bytes after the constructor and the size.
    pub(crate) bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Where it stands.
    pub(crate) const fn at(&self) -> usize {
        self.at
    }

    /// The next value, which must not be described.
    #[inline]
    pub(crate) fn raw(&mut self) -> Result<Raw<'a>, DecodeError> {
        let code = self.take(1)?[0];
        let bytes = match width(code)? {
            Width::Fixed(width) => self.take(width)?,
            Width::Variable(wide) | Width::Compound { wide, .. } | Width::Array { wide } => {
                let size = self.size(wide)?;
                self.take(size)?
            }
            Width::Described => return Err(DecodeError::Constructor(code)),
        };
        Ok(Raw { code, bytes })
    }

    /// The descriptor of the next value, if it is described; numbers stand for names that are known.
    pub(crate) fn descriptor(&mut self) -> Result<Option<u64>, DecodeError> {
        if self.bytes.get(self.at) != Some(&0) {
            return Ok(None);
        }
        self.at += 1;
        let raw = self.raw()?;
        match raw.code {
            0xa3 | 0xb3 => Ok(Some(named(raw.bytes))),
            _ => raw.u64().map(Some),
        }
    }

    /// The fields of the list that comes next.
    pub(crate) fn list(&mut self) -> Result<Fields<'a>, DecodeError> {
        self.raw()?.list()
    }

    fn size(&mut self, wide: bool) -> Result<usize, DecodeError> {
        Ok(match wide {
            false => usize::from(self.take(1)?[0]),
            true => {
                let size = self.take(4)?;
                u32::from_be_bytes([size[0], size[1], size[2], size[3]]) as usize
            }
        })
    }

    #[inline]
    fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let end = self.at.checked_add(len).ok_or(DecodeError::Truncated)?;
        let taken = self.bytes.get(self.at..end).ok_or(DecodeError::Truncated)?;
        self.at = end;
        Ok(taken)
    }
}

impl<'a> Raw<'a> {
    pub(crate) const fn is_null(self) -> bool {
        self.code == 0x40
    }

    pub(crate) fn bool(self) -> Result<bool, DecodeError> {
        match (self.code, self.bytes) {
            (0x41, _) | (0x56, [1]) => Ok(true),
            (0x42, _) | (0x56, [0]) => Ok(false),
            _ => Err(DecodeError::Type(self.code)),
        }
    }

    /// A ubyte, ushort, uint or ulong.
    pub(crate) fn u64(self) -> Result<u64, DecodeError> {
        match self.code {
            0x43 | 0x44 => Ok(0),
            0x50 | 0x52 | 0x53 | 0x60 | 0x70 | 0x80 => {
                Ok(self.bytes.iter().fold(0, |sum, &byte| (sum << 8) | u64::from(byte)))
            }
            _ => Err(DecodeError::Type(self.code)),
        }
    }

    pub(crate) fn u32(self) -> Result<u32, DecodeError> {
        u32::try_from(self.u64()?).map_err(|_| DecodeError::Type(self.code))
    }

    pub(crate) fn binary(self) -> Result<&'a [u8], DecodeError> {
        match self.code {
            0xa0 | 0xb0 => Ok(self.bytes),
            _ => Err(DecodeError::Type(self.code)),
        }
    }

    /// A string.
    pub(crate) fn str(self) -> Result<&'a str, DecodeError> {
        match self.code {
            0xa1 | 0xb1 => core::str::from_utf8(self.bytes).map_err(|_| DecodeError::Utf8),
            _ => Err(DecodeError::Type(self.code)),
        }
    }

    /// A symbol, which is ASCII (Part 1, section 1.6.21).
    pub(crate) fn symbol(self) -> Result<&'a str, DecodeError> {
        match self.code {
            0xa3 | 0xb3 if self.bytes.is_ascii() => core::str::from_utf8(self.bytes).map_err(|_| DecodeError::Utf8),
            0xa3 | 0xb3 => Err(DecodeError::Utf8),
            _ => Err(DecodeError::Type(self.code)),
        }
    }

    pub(crate) fn list(self) -> Result<Fields<'a>, DecodeError> {
        match self.code {
            0x45 => Ok(Fields { reader: Reader::new(&[]), left: 0 }),
            0xc0 | 0xd0 => self.items(),
            _ => Err(DecodeError::Type(self.code)),
        }
    }

    /// Keys and values, in turn.
    pub(crate) fn map(self) -> Result<Fields<'a>, DecodeError> {
        match self.code {
            0xc1 | 0xd1 => self.items(),
            _ => Err(DecodeError::Type(self.code)),
        }
    }

    fn items(self) -> Result<Fields<'a>, DecodeError> {
        let mut reader = Reader::new(self.bytes);
        let left = reader.size(self.code & 0xf0 == 0xd0)? as u32;
        Ok(Fields { reader, left })
    }
}

impl<'a> Fields<'a> {
    pub(crate) const fn left(&self) -> u32 {
        self.left
    }

    /// The bytes of all that is left.
    pub(crate) fn rest(&self) -> &'a [u8] {
        &self.reader.bytes[self.reader.at..]
    }

    /// The next field; `None` if it is null or left out.
    pub(crate) fn next(&mut self) -> Result<Option<Raw<'a>>, DecodeError> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let raw = self.reader.raw()?;
        Ok((!raw.is_null()).then_some(raw))
    }

    /// Whether the next field is described.
    pub(crate) fn is_described(&self) -> bool {
        self.left > 0 && self.reader.bytes.get(self.reader.at) == Some(&0)
    }

    /// The next field as it is encoded, described or not; `None` if it is null or left out.
    pub(crate) fn encoded(&mut self) -> Result<Option<&'a [u8]>, DecodeError> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let rest = &self.reader.bytes[self.reader.at..];
        let len = super::walk(rest, 0, &super::GuardLimits { values_max: u32::MAX, ..Default::default() })?;
        self.reader.at += len;
        Ok((rest[0] != 0x40).then_some(&rest[..len]))
    }

    pub(crate) fn u32(&mut self) -> Result<Option<u32>, DecodeError> {
        self.next()?.map(Raw::u32).transpose()
    }

    pub(crate) fn bool(&mut self) -> Result<bool, DecodeError> {
        Ok(self.next()?.map(Raw::bool).transpose()?.unwrap_or(false))
    }

    pub(crate) fn binary(&mut self) -> Result<Option<&'a [u8]>, DecodeError> {
        self.next()?.map(Raw::binary).transpose()
    }
}

/// The numbers of the descriptors that are read by hand; other names are no number at all.
fn named(name: &[u8]) -> u64 {
    const NAMES: &[(&[u8], u64)] = &[
        (b"amqp:open:list", 0x10),
        (b"amqp:begin:list", 0x11),
        (b"amqp:attach:list", 0x12),
        (b"amqp:flow:list", 0x13),
        (b"amqp:transfer:list", 0x14),
        (b"amqp:disposition:list", 0x15),
        (b"amqp:detach:list", 0x16),
        (b"amqp:end:list", 0x17),
        (b"amqp:close:list", 0x18),
        (b"amqp:error:list", 0x1d),
        (b"amqp:received:list", 0x23),
        (b"amqp:accepted:list", 0x24),
        (b"amqp:rejected:list", 0x25),
        (b"amqp:released:list", 0x26),
        (b"amqp:modified:list", 0x27),
        (b"amqp:declare:list", 0x31),
        (b"amqp:discharge:list", 0x32),
        (b"amqp:declared:list", 0x33),
        (b"amqp:transactional-state:list", 0x34),
        (b"amqp:sasl-mechanisms:list", 0x40),
        (b"amqp:sasl-init:list", 0x41),
        (b"amqp:sasl-challenge:list", 0x42),
        (b"amqp:sasl-response:list", 0x43),
        (b"amqp:sasl-outcome:list", 0x44),
        (b"amqp:header:list", 0x70),
        (b"amqp:delivery-annotations:map", 0x71),
        (b"amqp:message-annotations:map", 0x72),
        (b"amqp:properties:list", 0x73),
        (b"amqp:application-properties:map", 0x74),
        (b"amqp:data:binary", 0x75),
        (b"amqp:amqp-sequence:list", 0x76),
        (b"amqp:amqp-value:*", 0x77),
        (b"amqp:footer:map", 0x78),
    ];
    NAMES.iter().find(|(known, _)| *known == name).map_or(u64::MAX, |&(_, number)| number)
}
