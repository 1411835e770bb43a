//! The payloads of the demo: empty, one byte, 64 KiB, and bytes that are no text.

use bytes::Bytes;

/// The lengths, in turn.
const LENGTHS: [usize; 4] = [0, 1, 64 << 10, 200];

/// The payload of message `n`: its own, as far as its length allows, so that no other can pass for it.
pub(super) fn of(n: usize) -> Bytes {
    let mut state = n as u64 ^ 0x9E37_79B9_7F4A_7C15;
    let mut bytes: Vec<u8> = Vec::with_capacity(LENGTHS[n % 4] + 8);
    while bytes.len() < LENGTHS[n % 4] {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(LENGTHS[n % 4]);
    if n % 4 == 3 {
        bytes[..2].copy_from_slice(&[0xFF, 0xC0]);
    }
    bytes.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_have_all_lengths_and_some_are_no_text() {
        assert_eq!([0, 1, 2, 3].map(|n| of(n).len()), [0, 1, 65_536, 200]);
        assert!((0..40).skip(3).step_by(4).all(|n| std::str::from_utf8(&of(n)).is_err()));
        assert_eq!(of(2), of(2));
        assert_ne!(of(2), of(6));
    }
}
