//! Frames (RFC 6455, section 5): how they begin, how they are masked, and how they end a connection.

mod close;
mod header;
mod mask;

pub use close::{CloseCode, CloseFrame};
pub use header::{CONTROL_BYTES_MAX, HEADER_BYTES_MAX, Header, Opcode};
pub use mask::{Keys, mask};

/// What a peer must not send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// A bit that means something only after an extension was agreed on, and none was (section 5.2).
    #[error("a reserved bit is set")]
    ReservedBit,
    /// A kind of frame that is not defined (section 5.2).
    #[error("there is no opcode {0}")]
    Opcode(u8),
    /// A length that takes more bytes than it needs, or more than 63 bits (section 5.2).
    #[error("the length is not written as it must be")]
    Length,
    /// A client that does not mask, or a server that does (section 5.1).
    #[error("clients mask what they send, and servers do not")]
    Mask,
    /// A control frame that is not the whole of one, or has more than 125 bytes (section 5.5).
    #[error("a control frame is fragmented or too long")]
    Control,
    /// A continuation of nothing, or a message within another (section 5.4).
    #[error("fragments of messages are mixed up")]
    Fragments,
    /// A close frame with half a code, or with one that is never sent (section 7.4).
    #[error("a close frame has no code that can be sent")]
    CloseCode,
    /// Text that is no UTF-8 (section 8.1).
    #[error("text is not UTF-8")]
    Utf8,
    /// Text, where only bytes mean something.
    #[error("text frames mean nothing here")]
    Text,
    /// A message longer than is taken.
    #[error("the message is longer than {0} bytes")]
    TooLong(usize),
}

impl Violation {
    /// What the peer is told (section 7.4.1).
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::Utf8 => CloseCode::INVALID_DATA,
            Self::Text => CloseCode::UNSUPPORTED,
            Self::TooLong(_) => CloseCode::TOO_BIG,
            _ => CloseCode::PROTOCOL_ERROR,
        }
    }
}

impl From<Violation> for std::io::Error {
    fn from(violation: Violation) -> Self {
        Self::new(std::io::ErrorKind::InvalidData, violation)
    }
}
