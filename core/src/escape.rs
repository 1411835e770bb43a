//! Bytes that stand as a mark and two hexadecimal digits.

use alloc::string::String;
use alloc::vec::Vec;

/// Writes `byte` as `mark` and two hexadecimal digits.
pub(crate) fn escape(out: &mut String, mark: char, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    const LOWER: &[u8; 16] = b"0123456789abcdef";
    let digits = if mark == '%' { HEX } else { LOWER };
    out.push(mark);
    out.push(digits[usize::from(byte >> 4)] as char);
    out.push(digits[usize::from(byte & 15)] as char);
}

/// The bytes of `text` with every `mark` and two hexadecimal digits replaced by the byte that they say; of a URL, the mark is `%` (RFC 3986, section
/// 2.1).
///
/// # Errors
/// Where a mark stands without its two digits.
pub fn unescape(text: &str, mark: char) -> Result<Vec<u8>, usize> {
    let (bytes, mut out, mut at) = (text.as_bytes(), Vec::with_capacity(text.len()), 0);
    while let Some(&byte) = bytes.get(at) {
        if byte != mark as u8 {
            out.push(byte);
            at += 1;
            continue;
        }
        let digit = |at: usize| bytes.get(at).and_then(|&digit| (digit as char).to_digit(16));
        let (Some(high), Some(low)) = (digit(at + 1), digit(at + 2)) else { return Err(at) };
        out.push((high * 16 + low) as u8);
        at += 3;
    }
    Ok(out)
}
