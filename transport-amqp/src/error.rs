use roadbed_core::ErrorKind;
use thiserror::Error;

use crate::codec::SaslCode;

/// Why bytes of a peer are not AMQP. After any of these the connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The connection does not begin as AMQP 1.0 does (Part 2, section 2.2).
    #[error("this is not the protocol header of AMQP 1.0")]
    ProtocolHeader,
    /// A frame smaller than its header (Part 2, section 2.3.1).
    #[error("a frame of {0} bytes is smaller than its header")]
    FrameTooSmall(u32),
    /// A frame larger than we take (Part 2, section 2.7.1).
    #[error("a frame of {bytes} bytes is larger than the limit of {bytes_max}")]
    FrameTooLarge {
        /// The whole frame.
        bytes: u32,
        /// The limit.
        bytes_max: u32,
    },
    /// A data offset before the end of the header, or behind the end of the frame (Part 2, section 2.3.1).
    #[error("the data offset {0} is outside the frame")]
    DataOffset(u8),
    /// A frame type that is not known (Part 2, section 2.3.1).
    #[error("frame type {0} is not known")]
    FrameType(u8),
    /// A value that ends behind its container.
    #[error("a value is cut short")]
    Truncated,
    /// A container whose items do not fill it.
    #[error("the items of a container do not fill it")]
    Size,
    /// Bytes after a performative that has no payload.
    #[error("there are bytes after the performative")]
    Trailing,
    /// Nested deeper than we take.
    #[error("values are nested deeper than {0}")]
    TooDeep(usize),
    /// More values than we take.
    #[error("there are more than {0} values")]
    TooManyValues(u32),
    /// A map with a key that has no value.
    #[error("a map has an odd number of items")]
    OddMap,
    /// A constructor that is not known, or not allowed here (Part 1, section 1.2).
    #[error("constructor 0x{0:02X} is not known here")]
    Constructor(u8),
    /// A value of another type than its field's.
    #[error("a value with constructor 0x{0:02X} is of the wrong type")]
    Type(u8),
    /// A string that is not UTF-8, or a symbol that is not ASCII.
    #[error("a string or symbol is not well-formed")]
    Utf8,
    /// A mandatory field is null.
    #[error("the field {0} is missing")]
    Missing(&'static str),
    /// A field has a value that is not allowed.
    #[error("the field {0} has a value that is not allowed")]
    Field(&'static str),
    /// A frame that begins with no performative of its layer.
    #[error("the frame has no performative")]
    Performative,
    /// A delivery state that is not known, or not allowed here.
    #[error("this is not a delivery state")]
    State,
    /// A performative that the type library refuses.
    #[error("a performative cannot be decoded")]
    Malformed,
    /// A message whose sections are unknown, repeated or out of order (Part 3, section 3.2).
    #[error("the sections of a message are not in order")]
    Section,
}

/// Why a connection ended: what the peer did, or did not do.
///
/// What the standard wants said before closing, a close with [`Error::condition`], has already been written when a machine returns this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Error {
    /// Its bytes are not AMQP.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// It wants TLS within the connection, or leaves out SASL where that is required; it was told what is spoken here (Part 2, section 2.2).
    #[error("the connection must begin with another protocol header")]
    ProtocolHeader,
    /// A frame that does not belong here (Part 2, section 2.4; Part 5, section 5.3).
    #[error("{0} was not expected")]
    Unexpected(&'static str),
    /// A channel that has no session, or already has one, or is above the limit (Part 2, section 2.7.2).
    #[error("channel {0} cannot be used for this")]
    Channel(u16),
    /// A handle above the limit (Part 2, section 2.7.2).
    #[error("handle {0} is above the limit")]
    Handle(u32),
    /// Its idle time-out is too short to be kept, or its largest frame is smaller than 512 bytes (Part 2, sections 2.4.5 and 2.7.1).
    #[error("{0} is below what can be served")]
    TooLittle(&'static str),
    /// The connection was not open in time.
    #[error("the connection was not opened in time")]
    OpenTimeout,
    /// Nothing came for as long as it may be silent (Part 2, section 2.4.5).
    #[error("nothing came for as long as the idle time-out")]
    IdleTimeout,
    /// The server does not let us in, with this code (Part 5, section 5.3.3.6).
    #[error("the server refused our credentials ({0})")]
    SaslRefused(SaslCode),
    /// The two ends have no mechanism in common.
    #[error("there is no SASL mechanism that both ends have")]
    SaslMechanism,
    /// Our user name cannot be said by the mechanism.
    #[error("the user name cannot be used with SCRAM")]
    SaslCredentials,
    /// The server has not proved that it knows our password, or asked for more work than we do for it.
    #[error("the server has not proved who it is")]
    SaslServer,
}

impl Error {
    /// The condition that is owed to the peer (Part 2, sections 2.8.15 and 2.8.16).
    pub const fn condition(&self) -> &'static str {
        match self {
            Self::Decode(
                DecodeError::FrameTooSmall(_)
                | DecodeError::FrameTooLarge { .. }
                | DecodeError::DataOffset(_)
                | DecodeError::FrameType(_),
            )
            | Self::Handle(_)
            | Self::Channel(_) => "amqp:connection:framing-error",
            Self::Decode(_) => "amqp:decode-error",
            Self::TooLittle(_) => "amqp:not-allowed",
            Self::OpenTimeout | Self::IdleTimeout => "amqp:resource-limit-exceeded",
            Self::ProtocolHeader
            | Self::Unexpected(_)
            | Self::SaslRefused(_)
            | Self::SaslMechanism
            | Self::SaslCredentials
            | Self::SaslServer => "amqp:illegal-state",
        }
    }
}

impl From<Error> for roadbed_core::Error {
    fn from(error: Error) -> Self {
        let kind = match error {
            Error::OpenTimeout | Error::IdleTimeout => ErrorKind::TimedOut,
            Error::SaslRefused(SaslCode::Sys | SaslCode::SysTemp) => ErrorKind::Unavailable,
            Error::SaslRefused(_) | Error::SaslMechanism | Error::SaslServer => ErrorKind::Unauthenticated,
            Error::SaslCredentials => ErrorKind::Invalid,
            _ => ErrorKind::Protocol,
        };
        Self::new(kind, "receive").detail(error).because(error)
    }
}

/// Why a command was not carried out. Nothing has been written, and the connection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SendError {
    /// There is no such connection, session or link any more, or not yet.
    #[error("the connection, session or link is not open for this")]
    NotAttached,
    /// The peer takes no more sessions, or the session no more links.
    #[error("the peer takes no more sessions or links")]
    Exhausted,
    /// The link has no credit.
    #[error("the link has no credit")]
    NoCredit,
    /// The message is larger than the peer takes (Part 2, section 2.7.3).
    #[error("a message of {bytes} bytes is larger than the peer's limit of {bytes_max}")]
    MessageTooLarge {
        /// The whole message.
        bytes: u64,
        /// The peer's limit.
        bytes_max: u64,
    },
}

impl From<SendError> for roadbed_core::Error {
    fn from(error: SendError) -> Self {
        let kind = match error {
            SendError::NotAttached => ErrorKind::Disconnected,
            _ => ErrorKind::Exhausted,
        };
        Self::new(kind, "send").detail(error).because(error)
    }
}
