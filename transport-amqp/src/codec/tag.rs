use core::fmt;
use core::ops::Deref;

/// The name that a sender gives a delivery (Part 2, section 2.8.7). At most 32 bytes, which are kept inline: a tag costs no allocation, and pins no buffer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Tag {
    bytes: [u8; Tag::LEN_MAX],
    len: u8,
}

impl Tag {
    /// The longest tag, in bytes.
    pub const LEN_MAX: usize = 32;

    /// The tag with these bytes; `None` if there are more than a tag may have.
    pub fn new(tag: &[u8]) -> Option<Self> {
        let mut bytes = [0; Self::LEN_MAX];
        bytes.get_mut(..tag.len())?.copy_from_slice(tag);
        Some(Self { bytes, len: tag.len() as u8 })
    }
}

impl Deref for Tag {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl Ord for Tag {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        (**self).cmp(&**other)
    }
}

impl PartialOrd for Tag {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tag({})", self.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_up_to_32_bytes() {
        assert_eq!(Tag::new(&[7; 32]).as_deref(), Some(&[7; 32][..]));
        assert_eq!(Tag::new(&[7; 33]), None);
        assert_eq!(Tag::new(b"").as_deref(), Some(&b""[..]));
    }

    #[test]
    fn sorts_and_differs_as_bytes_do() {
        let [short, zero, long] = [b"a".as_slice(), b"a\0", b"b"].map(Tag::new);
        assert!(short < zero && zero < long);
        assert_ne!(short, zero);
        assert_eq!(format!("{:?}", zero.unwrap_or_default()), "Tag(a\\x00)");
    }
}
