use bytestring::ByteString;

use super::{CONTROL_BYTES_MAX, Violation};

/// Why a connection ends (section 7.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseCode(
    /// The number.
    pub u16,
);

impl CloseCode {
    /// All is done.
    pub const NORMAL: Self = Self(1000);
    /// The server goes down, or the page is left.
    pub const GOING_AWAY: Self = Self(1001);
    /// The peer broke the standard.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// The peer sent a kind of data that is not taken here.
    pub const UNSUPPORTED: Self = Self(1003);
    /// Text was no UTF-8.
    pub const INVALID_DATA: Self = Self(1007);
    /// A message was too long.
    pub const TOO_BIG: Self = Self(1009);
    /// The server cannot go on.
    pub const INTERNAL: Self = Self(1011);

    /// Whether it may be sent; the others only say what was seen (section 7.4.1).
    pub const fn can_be_sent(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

/// What a close frame says (section 5.5.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseFrame {
    /// Why.
    pub code: CloseCode,
    /// Why, in words; at most 123 bytes are sent.
    pub reason: ByteString,
}

impl CloseFrame {
    /// What the payload of a close frame says; nothing if it is empty.
    ///
    /// # Errors
    /// [`Violation::CloseCode`], [`Violation::Utf8`].
    pub fn decode(payload: &[u8]) -> Result<Option<Self>, Violation> {
        let Some((code, reason)) = payload.split_first_chunk() else {
            return if payload.is_empty() { Ok(None) } else { Err(Violation::CloseCode) };
        };
        let code = CloseCode(u16::from_be_bytes(*code));
        if !code.can_be_sent() {
            return Err(Violation::CloseCode);
        }
        let reason = core::str::from_utf8(reason).map_err(|_| Violation::Utf8)?;
        Ok(Some(Self { code, reason: reason.into() }))
    }

    /// The payload of the frame.
    pub fn encode(&self) -> Vec<u8> {
        let mut end = self.reason.len().min(CONTROL_BYTES_MAX - 2);
        while !self.reason.is_char_boundary(end) {
            end -= 1;
        }
        [&self.code.0.to_be_bytes()[..], &self.reason.as_bytes()[..end]].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_read_again() {
        assert_eq!(CloseFrame::decode(&[]), Ok(None));
        for code in [1000, 1003, 1007, 1014, 3000, 4999] {
            let frame = CloseFrame { code: CloseCode(code), reason: "über".into() };
            assert_eq!(CloseFrame::decode(&frame.encode()), Ok(Some(frame)));
        }
        let long = CloseFrame { code: CloseCode::NORMAL, reason: "ü".repeat(100).into() };
        let sent = CloseFrame::decode(&long.encode()).expect("legal").expect("a code");
        assert_eq!(sent.reason.len(), 122, "cut at a character");
    }

    #[test]
    fn what_cannot_be_said_is_refused() {
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2999, 5000, 65_535u16] {
            assert_eq!(CloseFrame::decode(&code.to_be_bytes()), Err(Violation::CloseCode), "{code}");
        }
        assert_eq!(CloseFrame::decode(&[3]), Err(Violation::CloseCode));
        assert_eq!(CloseFrame::decode(&[0x03, 0xe8, 0xff]), Err(Violation::Utf8));
    }
}
