//! The packets of the `mqttbytes` crate, both ways.
//!
//! For those who hold `mqttbytes` packets and want to give them to a [`Machine`](crate::Machine), or the other way round. What `mqttbytes` lets be and MQTT does not
//! (packet identifier 0, an unknown flag value) is refused with the same [`DecodeError`] as on the wire; what `mqttbytes` has no place for (AUTH, passwords that are not
//! UTF-8, an empty user name) with [`EncodeError::Unsayable`].

use alloc::string::String;
use alloc::vec::Vec;

use bytestring::ByteString;

use crate::codec::{Notes, PacketId, QoS, ReasonCode, RetainHandling, UserProperties};
use crate::error::{DecodeError, EncodeError};

mod v4;
mod v5;

impl From<mqttbytes::QoS> for QoS {
    fn from(qos: mqttbytes::QoS) -> Self {
        match qos {
            mqttbytes::QoS::AtMostOnce => Self::AtMostOnce,
            mqttbytes::QoS::AtLeastOnce => Self::AtLeastOnce,
            mqttbytes::QoS::ExactlyOnce => Self::ExactlyOnce,
        }
    }
}

impl From<QoS> for mqttbytes::QoS {
    fn from(qos: QoS) -> Self {
        match qos {
            QoS::AtMostOnce => Self::AtMostOnce,
            QoS::AtLeastOnce => Self::AtLeastOnce,
            QoS::ExactlyOnce => Self::ExactlyOnce,
        }
    }
}

impl From<mqttbytes::v5::RetainForwardRule> for RetainHandling {
    fn from(rule: mqttbytes::v5::RetainForwardRule) -> Self {
        match rule {
            mqttbytes::v5::RetainForwardRule::OnEverySubscribe => Self::Send,
            mqttbytes::v5::RetainForwardRule::OnNewSubscribe => Self::SendIfNew,
            mqttbytes::v5::RetainForwardRule::Never => Self::DoNotSend,
        }
    }
}

impl From<RetainHandling> for mqttbytes::v5::RetainForwardRule {
    fn from(handling: RetainHandling) -> Self {
        match handling {
            RetainHandling::Send => Self::OnEverySubscribe,
            RetainHandling::SendIfNew => Self::OnNewSubscribe,
            RetainHandling::DoNotSend => Self::Never,
        }
    }
}

/// Both ways between a reason enum of `mqttbytes` and [`ReasonCode`], by the names of both.
macro_rules! reasons {
    ($theirs:ty { $($name:ident = $ours:ident,)* }) => {
        impl From<$theirs> for ReasonCode {
            fn from(reason: $theirs) -> Self {
                match reason {
                    $(<$theirs>::$name => Self::$ours,)*
                }
            }
        }

        impl TryFrom<ReasonCode> for $theirs {
            type Error = EncodeError;

            fn try_from(reason: ReasonCode) -> Result<Self, EncodeError> {
                match reason {
                    $(ReasonCode::$ours => Ok(Self::$name),)*
                    _ => Err(EncodeError::Unsayable),
                }
            }
        }
    };
}

reasons!(mqttbytes::v4::ConnectReturnCode {
    Success = Success,
    RefusedProtocolVersion = UnsupportedProtocolVersion,
    BadClientId = ClientIdentifierNotValid,
    ServiceUnavailable = ServerUnavailable,
    BadUserNamePassword = BadUserNameOrPassword,
    NotAuthorized = NotAuthorized,
});

reasons!(mqttbytes::v5::ConnectReturnCode {
    Success = Success,
    UnspecifiedError = UnspecifiedError,
    MalformedPacket = MalformedPacket,
    ProtocolError = ProtocolError,
    ImplementationSpecificError = ImplementationSpecificError,
    UnsupportedProtocolVersion = UnsupportedProtocolVersion,
    ClientIdentifierNotValid = ClientIdentifierNotValid,
    BadUserNamePassword = BadUserNameOrPassword,
    NotAuthorized = NotAuthorized,
    ServerUnavailable = ServerUnavailable,
    ServerBusy = ServerBusy,
    Banned = Banned,
    BadAuthenticationMethod = BadAuthenticationMethod,
    TopicNameInvalid = TopicNameInvalid,
    PacketTooLarge = PacketTooLarge,
    QuotaExceeded = QuotaExceeded,
    PayloadFormatInvalid = PayloadFormatInvalid,
    RetainNotSupported = RetainNotSupported,
    QoSNotSupported = QosNotSupported,
    UseAnotherServer = UseAnotherServer,
    ServerMoved = ServerMoved,
    ConnectionRateExceeded = ConnectionRateExceeded,
});

reasons!(mqttbytes::v5::PubAckReason {
    Success = Success,
    NoMatchingSubscribers = NoMatchingSubscribers,
    UnspecifiedError = UnspecifiedError,
    ImplementationSpecificError = ImplementationSpecificError,
    NotAuthorized = NotAuthorized,
    TopicNameInvalid = TopicNameInvalid,
    PacketIdentifierInUse = PacketIdentifierInUse,
    QuotaExceeded = QuotaExceeded,
    PayloadFormatInvalid = PayloadFormatInvalid,
});

reasons!(mqttbytes::v5::PubRecReason {
    Success = Success,
    NoMatchingSubscribers = NoMatchingSubscribers,
    UnspecifiedError = UnspecifiedError,
    ImplementationSpecificError = ImplementationSpecificError,
    NotAuthorized = NotAuthorized,
    TopicNameInvalid = TopicNameInvalid,
    PacketIdentifierInUse = PacketIdentifierInUse,
    QuotaExceeded = QuotaExceeded,
    PayloadFormatInvalid = PayloadFormatInvalid,
});

reasons!(mqttbytes::v5::PubRelReason {
    Success = Success,
    PacketIdentifierNotFound = PacketIdentifierNotFound,
});

reasons!(mqttbytes::v5::PubCompReason {
    Success = Success,
    PacketIdentifierNotFound = PacketIdentifierNotFound,
});

reasons!(mqttbytes::v5::SubscribeReasonCode {
    QoS0 = Success,
    QoS1 = GrantedQos1,
    QoS2 = GrantedQos2,
    Unspecified = UnspecifiedError,
    ImplementationSpecific = ImplementationSpecificError,
    NotAuthorized = NotAuthorized,
    TopicFilterInvalid = TopicFilterInvalid,
    PkidInUse = PacketIdentifierInUse,
    QuotaExceeded = QuotaExceeded,
    SharedSubscriptionsNotSupported = SharedSubscriptionsNotSupported,
    SubscriptionIdNotSupported = SubscriptionIdentifiersNotSupported,
    WildcardSubscriptionsNotSupported = WildcardSubscriptionsNotSupported,
});

reasons!(mqttbytes::v5::UnsubAckReason {
    Success = Success,
    NoSubscriptionExisted = NoSubscriptionExisted,
    UnspecifiedError = UnspecifiedError,
    ImplementationSpecificError = ImplementationSpecificError,
    NotAuthorized = NotAuthorized,
    TopicFilterInvalid = TopicFilterInvalid,
    PacketIdentifierInUse = PacketIdentifierInUse,
});

reasons!(mqttbytes::v5::DisconnectReasonCode {
    NormalDisconnection = Success,
    DisconnectWithWillMessage = DisconnectWithWill,
    UnspecifiedError = UnspecifiedError,
    MalformedPacket = MalformedPacket,
    ProtocolError = ProtocolError,
    ImplementationSpecificError = ImplementationSpecificError,
    NotAuthorized = NotAuthorized,
    ServerBusy = ServerBusy,
    ServerShuttingDown = ServerShuttingDown,
    KeepAliveTimeout = KeepAliveTimeout,
    SessionTakenOver = SessionTakenOver,
    TopicFilterInvalid = TopicFilterInvalid,
    TopicNameInvalid = TopicNameInvalid,
    ReceiveMaximumExceeded = ReceiveMaximumExceeded,
    TopicAliasInvalid = TopicAliasInvalid,
    PacketTooLarge = PacketTooLarge,
    MessageRateTooHigh = MessageRateTooHigh,
    QuotaExceeded = QuotaExceeded,
    AdministrativeAction = AdministrativeAction,
    PayloadFormatInvalid = PayloadFormatInvalid,
    RetainNotSupported = RetainNotSupported,
    QoSNotSupported = QosNotSupported,
    UseAnotherServer = UseAnotherServer,
    ServerMoved = ServerMoved,
    SharedSubscriptionNotSupported = SharedSubscriptionsNotSupported,
    ConnectionRateExceeded = ConnectionRateExceeded,
    MaximumConnectTime = MaximumConnectTime,
    SubscriptionIdentifiersNotSupported = SubscriptionIdentifiersNotSupported,
    WildcardSubscriptionsNotSupported = WildcardSubscriptionsNotSupported,
});

fn packet_id(id: u16) -> Result<PacketId, DecodeError> {
    PacketId::new(id).ok_or(DecodeError::PacketIdZero)
}

/// The identifier of a message: needed from QoS 1 on, absent below.
fn message_id(qos: QoS, id: u16) -> Result<Option<PacketId>, DecodeError> {
    if qos == QoS::AtMostOnce { Ok(None) } else { packet_id(id).map(Some) }
}

fn flag(id: u8, value: Option<u8>) -> Result<Option<bool>, DecodeError> {
    match value {
        None => Ok(None),
        Some(0) => Ok(Some(false)),
        Some(1) => Ok(Some(true)),
        Some(_) => Err(DecodeError::PropertyValue(id)),
    }
}

fn text(text: Option<String>) -> Option<ByteString> {
    text.map(ByteString::from)
}

fn string(text: Option<ByteString>) -> Option<String> {
    text.map(String::from)
}

fn user(theirs: Vec<(String, String)>) -> UserProperties {
    theirs.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
}

fn strings(ours: UserProperties) -> Vec<(String, String)> {
    ours.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
}

fn notes(reason_string: Option<String>, theirs: Vec<(String, String)>) -> Notes {
    Notes { reason_string: text(reason_string), user: user(theirs) }
}

/// A login as `mqttbytes` writes it: an empty half is none.
fn login(
    user_name: &Option<ByteString>,
    password: &Option<bytes::Bytes>,
) -> Result<Option<(String, String)>, EncodeError> {
    let unsayable = EncodeError::Unsayable;
    match (user_name, password) {
        (None, None) => Ok(None),
        (Some(name), _) if name.is_empty() => Err(unsayable),
        (_, Some(password)) if password.is_empty() => Err(unsayable),
        (name, password) => {
            let name = name.as_deref().map(String::from).unwrap_or_default();
            let password = String::from_utf8(password.as_deref().unwrap_or_default().to_vec());
            Ok(Some((name, password.map_err(|_| unsayable)?)))
        }
    }
}
