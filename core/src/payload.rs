//! The bytes of a message.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use bytes::{BufMut, Bytes, BytesMut};

/// The bytes of a message: a rope that is shared, never copied, except when it is small.
///
/// Up to [`INLINE_MAX`](Self::INLINE_MAX) bytes are kept inline: a slice of that size costs more in reference counts than
/// in bytes, and would pin the whole buffer that it was read into.
#[derive(Clone)]
pub struct Payload(Repr);

#[derive(Clone)]
enum Repr {
    Inline(u8, [u8; Payload::INLINE_MAX]),
    One(Bytes),
    Many(Arc<[Bytes]>),
}

impl Payload {
    /// The longest payload that is kept inline, in bytes.
    pub const INLINE_MAX: usize = 95;
    /// No bytes.
    pub const EMPTY: Self = Self(Repr::Inline(0, [0; Self::INLINE_MAX]));

    /// A copy of `bytes` in memory of its own.
    pub fn copy_from_slice(bytes: &[u8]) -> Self {
        match Self::inline(bytes) {
            Some(inline) => inline,
            None => Self(Repr::One(Bytes::copy_from_slice(bytes))),
        }
    }

    /// The payload that consists of `segments` in order.
    pub fn from_segments(mut segments: Vec<Bytes>) -> Self {
        segments.retain(|segment| !segment.is_empty());
        match segments.len() {
            0 => Self::EMPTY,
            1 => segments.remove(0).into(),
            _ => Self(Repr::Many(segments.into())),
        }
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::Inline(len, _) => usize::from(*len),
            Repr::One(bytes) => bytes.len(),
            Repr::Many(segments) => segments.iter().map(Bytes::len).sum(),
        }
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes, a segment at a time.
    pub fn segments(&self) -> impl Iterator<Item = &[u8]> {
        let (one, many): (&[u8], &[Bytes]) = match &self.0 {
            Repr::Inline(len, bytes) => (&bytes[..usize::from(*len)], &[]),
            Repr::One(bytes) => (bytes, &[]),
            Repr::Many(segments) => (&[], segments),
        };
        core::iter::once(one).chain(many.iter().map(|segment| &**segment)).filter(|segment| !segment.is_empty())
    }

    /// The segments that can be shared without a copy; `None` if the bytes are inline.
    pub fn shared(&self) -> Option<&[Bytes]> {
        match &self.0 {
            Repr::Inline(..) => None,
            Repr::One(bytes) => Some(core::slice::from_ref(bytes)),
            Repr::Many(segments) => Some(segments),
        }
    }

    /// The bytes in one piece: shared if they are in one already, copied if not.
    pub fn to_bytes(&self) -> Bytes {
        match &self.0 {
            Repr::One(bytes) => bytes.clone(),
            _ => {
                let mut out = BytesMut::with_capacity(self.len());
                self.segments().for_each(|segment| out.put_slice(segment));
                out.freeze()
            }
        }
    }

    /// The same bytes in memory of their own, so that they no longer pin the buffer that they were read into.
    #[must_use]
    pub fn detach(&self) -> Self {
        match &self.0 {
            Repr::Inline(..) => self.clone(),
            Repr::One(bytes) => Self(Repr::One(Bytes::copy_from_slice(bytes))),
            Repr::Many(_) => self.to_bytes().into(),
        }
    }

    fn inline(bytes: &[u8]) -> Option<Self> {
        let mut out = [0; Self::INLINE_MAX];
        out.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(Self(Repr::Inline(bytes.len() as u8, out)))
    }
}

impl Default for Payload {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        Self::inline(&bytes).unwrap_or(Self(Repr::One(bytes)))
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<&'static [u8]> for Payload {
    fn from(bytes: &'static [u8]) -> Self {
        Bytes::from_static(bytes).into()
    }
}

impl From<&'static str> for Payload {
    fn from(text: &'static str) -> Self {
        text.as_bytes().into()
    }
}

impl From<alloc::string::String> for Payload {
    fn from(text: alloc::string::String) -> Self {
        text.into_bytes().into()
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len()
            && self
                .segments()
                .flat_map(|segment| segment.iter())
                .eq(other.segments().flat_map(|segment| segment.iter()))
    }
}

impl Eq for Payload {}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} B)", self.len())
    }
}
