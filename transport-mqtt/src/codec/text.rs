//! String checks in words of eight bytes: a scan byte by byte costs more than the rest of the decoder.

use crate::error::DecodeError;

/// A string as section 1.5.4 defines it: well-formed UTF-8 without U+0000.
pub(crate) fn text(bytes: &[u8]) -> Result<&str, DecodeError> {
    if scan(bytes, zeros) {
        return Err(DecodeError::Nul);
    }
    core::str::from_utf8(bytes).map_err(|_| DecodeError::Utf8)
}

/// A topic name: a string without wildcards. It may be empty.
pub(crate) fn topic(bytes: &[u8]) -> Result<&str, DecodeError> {
    if scan(bytes, |word| zeros(word) | equals(word, b'+') | equals(word, b'#')) {
        return Err(if bytes.contains(&0) { DecodeError::Nul } else { DecodeError::TopicName });
    }
    core::str::from_utf8(bytes).map_err(|_| DecodeError::Utf8)
}

pub(crate) fn has_nul(text: &str) -> bool {
    scan(text.as_bytes(), zeros)
}

const ONES: u64 = u64::from_ne_bytes([1; 8]);
const HIGH: u64 = ONES << 7;

/// Whether `hit` finds anything in any word of `bytes`. The last word is padded with `x`, which no caller looks for.
#[inline]
fn scan(bytes: &[u8], hit: impl Fn(u64) -> u64) -> bool {
    let (words, rest) = bytes.as_chunks::<8>();
    let found = words.iter().fold(0, |found, word| found | hit(u64::from_ne_bytes(*word)));
    let mut last = [b'x'; 8];
    last[..rest.len()].copy_from_slice(rest);
    (found | hit(u64::from_ne_bytes(last))) & HIGH != 0
}

/// Non-zero exactly if a byte of `word` is zero.
#[inline]
const fn zeros(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & HIGH
}

/// Non-zero exactly if a byte of `word` is `byte`.
#[inline]
const fn equals(word: u64, byte: u8) -> u64 {
    zeros(word ^ (ONES * byte as u64))
}

#[cfg(test)]
mod tests {
    use std::vec;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn refuses_what_a_string_must_not_have() {
        assert_eq!(text(b"a\0b"), Err(DecodeError::Nul));
        assert_eq!(text(b"\xff"), Err(DecodeError::Utf8));
        assert_eq!(text(b"\xed\xa0\x80"), Err(DecodeError::Utf8), "a surrogate");
        assert_eq!(topic(b"a/+/b"), Err(DecodeError::TopicName));
        assert_eq!(topic(b"a/long/topic/name/#"), Err(DecodeError::TopicName));
        assert_eq!(topic(b"a+\0"), Err(DecodeError::Nul));
    }

    proptest! {
        #[test]
        fn agrees_with_the_plain_definition(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let plain = core::str::from_utf8(&bytes).ok().filter(|s| !s.contains('\0'));
            prop_assert_eq!(text(&bytes).ok(), plain);
            prop_assert_eq!(topic(&bytes).ok(), plain.filter(|s| !s.contains(['+', '#'])));
        }

        #[test]
        fn finds_one_bad_byte_anywhere(len in 1usize..40, at in 0usize..40, bad in prop::sample::select(vec![0u8, b'+', b'#'])) {
            let mut bytes = vec![b'a'; len];
            bytes[at % len] = bad;
            prop_assert!(topic(&bytes).is_err());
            prop_assert_eq!(text(&bytes).is_err(), bad == 0);
        }
    }
}
