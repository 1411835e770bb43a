use roadbed_core::ErrorKind;
use thiserror::Error;

use crate::codec::{PacketType, ReasonCode};

/// Why bytes of a peer are not an MQTT packet. After any of these the connection ends.
///
/// The identifiers in brackets are the conformance statements of MQTT 5.0; 3.1.1 has the same rules under other numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// A variable byte integer has more than four bytes, or more than it needs [MQTT-1.5.5-1].
    #[error("a variable byte integer is not in its shortest form")]
    VariableByteInteger,
    /// The packet is larger than we take [MQTT-3.1.2-24, MQTT-3.2.2-15]. Known from the fixed header alone.
    #[error("a packet of {bytes} bytes is larger than the limit of {bytes_max}")]
    PacketTooLarge {
        /// The whole packet, fixed header included.
        bytes: u32,
        /// The limit.
        bytes_max: u32,
    },
    /// Packet type 0, or 15 before MQTT 5.0 (section 2.1.2).
    #[error("packet type {0} is reserved")]
    ReservedType(u8),
    /// The reserved flags of the fixed header have another value than table 2-2 asks for [MQTT-2.1.3-1].
    #[error("the first byte 0x{0:02X} has reserved flags set wrongly")]
    ReservedFlags(u8),
    /// The remaining length is impossible for this type of packet.
    #[error("{kind:?} cannot have a remaining length of {remaining}")]
    Length {
        /// The type of the packet.
        kind: PacketType,
        /// The remaining length.
        remaining: u32,
    },
    /// A field ends behind its packet or its property block.
    #[error("the packet ends inside a field")]
    Truncated,
    /// The packet goes on after its last field.
    #[error("the packet has bytes after its last field")]
    Trailing,
    /// A string is not well-formed UTF-8 [MQTT-1.5.4-1].
    #[error("a string is not well-formed UTF-8")]
    Utf8,
    /// A string has the character U+0000 [MQTT-1.5.4-2].
    #[error("a string contains U+0000")]
    Nul,
    /// CONNECT names another protocol [MQTT-3.1.2-1].
    #[error("CONNECT names another protocol")]
    ProtocolName,
    /// CONNECT asks for a protocol level we do not speak [MQTT-3.1.2-2].
    #[error("protocol level {0} is not supported")]
    ProtocolLevel(u8),
    /// The reserved bit of the CONNECT flags is set [MQTT-3.1.2-3], or will QoS and will retain are set without a will
    /// [MQTT-3.1.2-11, MQTT-3.1.2-13], or (before MQTT 5.0) a password comes without a user name [MQTT-3.1.2-22 of 3.1.1].
    #[error("the CONNECT flags 0x{0:02X} contradict each other")]
    ConnectFlags(u8),
    /// An empty client identifier without a clean session [MQTT-3.1.3-8 of 3.1.1], or in MQTT 3.1 at all.
    #[error("the client identifier is empty and the session is not clean")]
    ClientId,
    /// Both bits of a QoS are set [MQTT-3.3.1-4, MQTT-3.1.2-12, MQTT-3.8.3-5].
    #[error("QoS 3 does not exist")]
    QoS3,
    /// DUP is set on a QoS 0 message [MQTT-3.3.1-2].
    #[error("DUP is set on a QoS 0 message")]
    DupWithoutQos,
    /// The packet identifier is zero [MQTT-2.2.1-3, MQTT-2.2.1-4].
    #[error("the packet identifier is zero")]
    PacketIdZero,
    /// A topic name contains a wildcard [MQTT-3.3.2-2, MQTT-3.3.2-14], or a will or response topic is empty [MQTT-4.7.3-1].
    #[error("the topic name is empty or contains a wildcard")]
    TopicName,
    /// A PUBLISH has neither a topic name nor a topic alias (section 3.3.2.1).
    #[error("PUBLISH has neither a topic name nor a topic alias")]
    TopicMissing,
    /// A topic alias of zero, or beyond what we offered, or one that was never set [MQTT-3.3.2-8, MQTT-3.3.2-9].
    #[error("topic alias {0} is not valid")]
    TopicAlias(u16),
    /// A topic filter is empty [MQTT-4.7.3-1].
    #[error("a topic filter is empty")]
    FilterEmpty,
    /// SUBSCRIBE or UNSUBSCRIBE without a filter, or its answer without a code [MQTT-3.8.3-2, MQTT-3.10.3-2].
    #[error("the packet has an empty list")]
    ListEmpty,
    /// More filters or reason codes than we take.
    #[error("the packet has more than {0} filters")]
    TooManyFilters(u16),
    /// Reserved bits of the subscription options are set [MQTT-3.8.3-5].
    #[error("the subscription options 0x{0:02X} have reserved bits set")]
    SubscriptionOptions(u8),
    /// Retain handling 3 (section 3.8.3.1).
    #[error("retain handling 3 does not exist")]
    RetainHandling,
    /// No Local on a shared subscription [MQTT-3.8.3-4].
    #[error("No Local is set on a shared subscription")]
    NoLocalOnShare,
    /// A property that does not exist, or does not belong in this packet (section 2.2.2.2).
    #[error("property 0x{0:02X} is not allowed here")]
    PropertyNotAllowed(u8),
    /// A property that may come once came twice (section 2.2.2.2 and the property's own).
    #[error("property 0x{0:02X} comes more than once")]
    PropertyRepeated(u8),
    /// The value of a property is outside what its section allows.
    #[error("property 0x{0:02X} has a value that is not allowed")]
    PropertyValue(u8),
    /// More user properties than we take.
    #[error("the packet has more than {0} user properties")]
    TooManyUserProperties(u16),
    /// Authentication data without a method (section 3.1.2.11.10), or AUTH without a method (section 3.15.2.2.2).
    #[error("authentication data without an authentication method")]
    AuthenticationMethodMissing,
    /// A reason code that the standard does not list for this packet [MQTT-3.4.2-1 and its like].
    #[error("0x{code:02X} is not a reason code of {kind:?}")]
    ReasonCode {
        /// The type of the packet.
        kind: PacketType,
        /// The code.
        code: u8,
    },
    /// Reserved bits of the CONNACK flags are set [MQTT-3.2.2-1].
    #[error("the CONNACK flags 0x{0:02X} have reserved bits set")]
    ConnAckFlags(u8),
    /// CONNACK refuses and claims a present session [MQTT-3.2.2-6].
    #[error("CONNACK refuses the connection and claims a present session")]
    SessionPresent,
}

impl DecodeError {
    /// The reason code that DISCONNECT or CONNACK owes the peer: Malformed Packet for what cannot be parsed, Protocol Error for what can but is not
    /// allowed (section 1.2), and the particular code where the standard has one.
    pub const fn reason(&self) -> ReasonCode {
        match self {
            Self::VariableByteInteger
            | Self::ReservedType(_)
            | Self::ReservedFlags(_)
            | Self::Length { .. }
            | Self::Truncated
            | Self::Trailing
            | Self::Utf8
            | Self::Nul
            | Self::ConnectFlags(_)
            | Self::QoS3
            | Self::DupWithoutQos
            | Self::SubscriptionOptions(_)
            | Self::PropertyNotAllowed(_)
            | Self::ConnAckFlags(_) => ReasonCode::MalformedPacket,
            Self::PacketIdZero
            | Self::TopicMissing
            | Self::ListEmpty
            | Self::RetainHandling
            | Self::NoLocalOnShare
            | Self::PropertyRepeated(_)
            | Self::PropertyValue(_)
            | Self::AuthenticationMethodMissing
            | Self::ReasonCode { .. }
            | Self::SessionPresent => ReasonCode::ProtocolError,
            Self::PacketTooLarge { .. } => ReasonCode::PacketTooLarge,
            Self::ProtocolName | Self::ProtocolLevel(_) => ReasonCode::UnsupportedProtocolVersion,
            Self::ClientId => ReasonCode::ClientIdentifierNotValid,
            Self::TopicName => ReasonCode::TopicNameInvalid,
            Self::TopicAlias(_) => ReasonCode::TopicAliasInvalid,
            Self::FilterEmpty => ReasonCode::TopicFilterInvalid,
            Self::TooManyFilters(_) | Self::TooManyUserProperties(_) => ReasonCode::QuotaExceeded,
        }
    }
}

/// Why a packet cannot be written. Nothing of it has been written then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// A string or binary field is longer than 65,535 bytes (sections 1.5.4 and 1.5.6).
    #[error("a field is longer than 65535 bytes")]
    FieldTooLong,
    /// A string contains U+0000 [MQTT-1.5.4-2], or a topic name a wildcard [MQTT-3.3.2-2].
    #[error("a string contains U+0000, or a topic name a wildcard")]
    Text,
    /// The packet is longer than 268,435,455 bytes after its fixed header (section 2.1.4).
    #[error("the packet is longer than MQTT can say")]
    PacketTooLong,
    /// The buffer does not have room for the packet and cannot grow.
    #[error("the buffer has no room for the packet")]
    NoRoom,
    /// This version of MQTT has no way to say it, such as a negative PUBACK before 5.0.
    #[error("this version of MQTT cannot say that")]
    Unsayable,
    /// A PUBLISH of QoS 1 or 2 has no packet identifier [MQTT-2.2.1-2].
    #[error("a message of QoS 1 or 2 has no packet identifier")]
    PacketIdMissing,
    /// A list of filters or codes is empty.
    #[error("the packet would have an empty list")]
    ListEmpty,
}

/// Why a connection ended: what the peer did, or did not do.
///
/// What the standard wants said before closing, DISCONNECT or CONNACK with [`Error::reason`], has already been written when a machine returns this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Error {
    /// Its bytes are not MQTT.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The first packet was not CONNECT [MQTT-3.1.0-1].
    #[error("the first packet was {0:?}, not CONNECT")]
    NotConnected(PacketType),
    /// A second CONNECT [MQTT-3.1.0-2].
    #[error("a second CONNECT")]
    SecondConnect,
    /// A packet that this end never takes, or not now (section 4.13).
    #[error("{0:?} was not expected")]
    Unexpected(PacketType),
    /// CONNECT or CONNACK did not come in time.
    #[error("the connection was not opened in time")]
    ConnectTimeout,
    /// Nothing came for one and a half times the keep-alive [MQTT-3.1.2-22].
    #[error("nothing came for one and a half times the keep-alive")]
    KeepAlive,
    /// PINGRESP did not come in time (section 3.1.2.10).
    #[error("a ping was not answered in time")]
    PingTimeout,
    /// More QoS 1 and 2 messages at once than we take (section 4.9) [MQTT-3.3.4-7, MQTT-3.3.4-9].
    #[error("more unanswered messages than the Receive Maximum of {0}")]
    ReceiveMaximum(u16),
    /// A message of a higher QoS than we take [MQTT-3.2.2-11].
    #[error("QoS {0} is not supported")]
    Qos(u8),
    /// A retained message, which we do not take [MQTT-3.2.2-14].
    #[error("retained messages are not supported")]
    Retain,
    /// A client named a subscription identifier [MQTT-3.3.4-6].
    #[error("a client sent a subscription identifier")]
    SubscriptionId,
    /// DISCONNECT brought a session to life that CONNECT had ended at once (section 3.14.2.2.2), or a server named a session expiry [MQTT-3.14.2-2].
    #[error("DISCONNECT changes a session expiry that it must not change")]
    SessionExpiry,
    /// AUTH without, or with another, method than CONNECT [MQTT-4.12.0-6, MQTT-4.12.1-1].
    #[error("AUTH names another authentication method than CONNECT")]
    AuthMethod,
}

impl Error {
    /// The reason code that is owed to the peer.
    pub const fn reason(&self) -> ReasonCode {
        match self {
            Self::Decode(error) => error.reason(),
            Self::NotConnected(_)
            | Self::SecondConnect
            | Self::Unexpected(_)
            | Self::SubscriptionId
            | Self::SessionExpiry
            | Self::AuthMethod => ReasonCode::ProtocolError,
            Self::ConnectTimeout | Self::PingTimeout => ReasonCode::UnspecifiedError,
            Self::KeepAlive => ReasonCode::KeepAliveTimeout,
            Self::ReceiveMaximum(_) => ReasonCode::ReceiveMaximumExceeded,
            Self::Qos(_) => ReasonCode::QosNotSupported,
            Self::Retain => ReasonCode::RetainNotSupported,
        }
    }
}

impl From<Error> for roadbed_core::Error {
    fn from(error: Error) -> Self {
        let kind = match error {
            Error::ConnectTimeout | Error::KeepAlive | Error::PingTimeout => ErrorKind::TimedOut,
            Error::Decode(DecodeError::PacketTooLarge { .. }) | Error::ReceiveMaximum(_) => ErrorKind::Exhausted,
            _ => ErrorKind::Protocol,
        };
        Self::new(kind, "receive").detail(error).because(error)
    }
}

/// Why a command was not carried out. Nothing has been written, and the connection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SendError {
    /// The packet cannot be written at all.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// There is no connection (any more, or yet), or the command belongs to the other role.
    #[error("the connection is not open for this")]
    NotConnected,
    /// The packet is larger than the peer takes; the message counts as delivered [MQTT-3.1.2-25].
    #[error("a packet of {bytes} bytes is larger than the peer's limit of {bytes_max}")]
    PacketTooLarge {
        /// The whole packet.
        bytes: usize,
        /// The peer's limit.
        bytes_max: u32,
    },
    /// As many messages are unanswered as the peer takes [MQTT-3.3.4-7].
    #[error("as many messages are unanswered as the peer takes")]
    ReceiveMaximum,
    /// The server does not take this QoS [MQTT-3.2.2-11].
    #[error("the peer does not take this QoS")]
    Qos,
    /// The server does not retain messages [MQTT-3.2.2-14].
    #[error("the peer does not retain messages")]
    Retain,
    /// The server does not take such subscriptions (sections 3.2.2.3.11 to 3.2.2.3.13).
    #[error("the peer does not take such subscriptions")]
    Subscription,
}

impl From<SendError> for roadbed_core::Error {
    fn from(error: SendError) -> Self {
        let kind = match error {
            SendError::Encode(_) => ErrorKind::Invalid,
            SendError::NotConnected => ErrorKind::Disconnected,
            SendError::PacketTooLarge { .. } | SendError::ReceiveMaximum => ErrorKind::Exhausted,
            SendError::Qos | SendError::Retain | SendError::Subscription => ErrorKind::NotSupported,
        };
        Self::new(kind, "send").detail(error).because(error)
    }
}
