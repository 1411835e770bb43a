//! Text in header values and names.

use std::borrow::Cow;

use bytestring::ByteString;
use http::{HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, percent_decode, utf8_percent_encode};

/// What a header value cannot carry as it is (RFC 9110, section 5.5), and the escape itself.
const VALUE: &AsciiSet = &CONTROLS.add(b'%');
/// What a `ce-` header encodes (CloudEvents HTTP binding 1.0.2, section 3.1.3.2).
const CLOUD: &AsciiSet = &VALUE.add(b' ').add(b'"');
/// What stands in one part of a list of pairs.
const PART: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// What stands in a header name: lower case, since names have no case.
const NAME: &AsciiSet = &PART
    .add(b'A')
    .add(b'B')
    .add(b'C')
    .add(b'D')
    .add(b'E')
    .add(b'F')
    .add(b'G')
    .add(b'H')
    .add(b'I')
    .add(b'J')
    .add(b'K')
    .add(b'L')
    .add(b'M')
    .add(b'N')
    .add(b'O')
    .add(b'P')
    .add(b'Q')
    .add(b'R')
    .add(b'S')
    .add(b'T')
    .add(b'U')
    .add(b'V')
    .add(b'W')
    .add(b'X')
    .add(b'Y')
    .add(b'Z');

/// An escape that says nothing, or bytes that are no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotText;

/// `text` as a header value.
pub(crate) fn to_value(text: &str) -> HeaderValue {
    encode(text, VALUE)
}

/// `text` as the value of a `ce-` header.
pub(crate) fn to_cloud(text: &str) -> HeaderValue {
    encode(text, CLOUD)
}

/// Reads what [`to_value`] writes, and plain UTF-8.
pub(crate) fn from_value(value: &HeaderValue) -> Result<ByteString, NotText> {
    decode(value.as_bytes())
}

/// A header name: `prefix`, then `name` escaped.
pub(crate) fn to_name(prefix: &str, name: &str) -> Option<HeaderName> {
    let text = format!("{prefix}{}", utf8_percent_encode(name, NAME));
    HeaderName::from_bytes(text.as_bytes()).ok()
}

/// `text` as one side of a pair in a list.
pub(crate) fn to_part(text: &str) -> impl std::fmt::Display + '_ {
    utf8_percent_encode(text, PART)
}

/// Undoes percent-encoding, strictly: an escape is two hexadecimal digits.
pub(crate) fn decode(bytes: &[u8]) -> Result<ByteString, NotText> {
    if !bytes.contains(&b'%') {
        return std::str::from_utf8(bytes).map(ByteString::from).map_err(|_| NotText);
    }
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|&byte| byte == b'%') {
        let digits = rest.get(at + 1..at + 3).ok_or(NotText)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(NotText);
        }
        rest = &rest[at + 3..];
    }
    let bytes = Vec::from(Cow::from(percent_decode(bytes)));
    String::from_utf8(bytes).map(ByteString::from).map_err(|_| NotText)
}

fn encode(text: &str, set: &'static AsciiSet) -> HeaderValue {
    let encoded = Cow::from(utf8_percent_encode(text, set));
    let blank = |c: char| c == ' ';
    let encoded = match encoded.starts_with(blank) || encoded.ends_with(blank) {
        false => encoded,
        true => Cow::Owned(keep_ends(&encoded)),
    };
    HeaderValue::from_str(&encoded).expect("no control characters and nothing beyond ASCII are left")
}

/// White space at the ends is not part of a value (RFC 9110, section 5.5), so it is escaped there.
fn keep_ends(text: &str) -> String {
    let inner = text.trim_matches(' ');
    let lead = text.len() - text.trim_start_matches(' ').len();
    let trail = text.len() - lead - inner.len();
    format!("{}{inner}{}", "%20".repeat(lead), "%20".repeat(trail))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_value_comes_back(text in ".*") {
            prop_assert_eq!(&from_value(&to_value(&text)).unwrap()[..], &text[..]);
            prop_assert_eq!(&from_value(&to_cloud(&text)).unwrap()[..], &text[..]);
        }

        #[test]
        fn a_name_comes_back(text in ".{0,40}") {
            let name = to_name("x-", &text).unwrap();
            prop_assert_eq!(&decode(&name.as_str().as_bytes()[2..]).unwrap()[..], &text[..]);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode(&bytes);
        }
    }

    #[test]
    fn ends_are_kept() {
        assert_eq!(to_value(" a b ").to_str().unwrap(), "%20a b%20");
        assert_eq!(to_value("  ").to_str().unwrap(), "%20%20");
        assert_eq!(to_value("50 %").to_str().unwrap(), "50 %25");
        assert_eq!(to_value("é").to_str().unwrap(), "%C3%A9");
    }

    #[test]
    fn a_broken_escape_is_no_text() {
        for bytes in [&b"50 %"[..], b"%", b"%4", b"%zz", b"%ff", b"\xff"] {
            assert_eq!(decode(bytes), Err(NotText), "{bytes:?}");
        }
    }
}
