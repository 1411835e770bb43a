use alloc::sync::Arc;
use core::time::Duration;

use bytestring::ByteString;
use roadbed_core::{
    Binding, Close, Credential, Durability, ErrorKind, Filter, FilterError, Granted, Open, Origin, Qos, ReadContext,
    Result, Scope, Time, Unbind, WireMessage, WireQos,
};

use crate::codec::{Connect, Disconnect, Publish, QoS, ReasonCode, RetainHandling, Subscription, Will};
use crate::machine::session_expiry_secs;

/// What a CONNECT asks for. Relative times of the will count from when it is sent.
///
/// # Errors
/// If the will's topic is not a legal address.
pub fn open(connect: &Connect, origin: &Arc<Origin>, durability: Durability, scope: Scope, now: Time) -> Result<Open> {
    let will = connect.will.as_ref().map(|packet| will(packet, origin, durability, now)).transpose()?;
    Ok(Open {
        origin: origin.clone(),
        name: Some(connect.client_id.clone()).filter(|name| !name.is_empty()),
        resume: !connect.clean_start,
        expiry: duration(session_expiry_secs(connect)),
        will,
        scope,
        window: connect.receive_maximum.map_or(u16::MAX, Into::into),
        ..Open::default()
    })
}

fn will(will: &Will, origin: &Arc<Origin>, durability: Durability, now: Time) -> Result<roadbed_core::Will> {
    let publish = Publish {
        retain: will.retain,
        topic: will.topic.clone(),
        payload_is_text: will.payload_is_text,
        content_type: will.content_type.clone(),
        response_topic: will.response_topic.clone(),
        correlation_data: will.correlation_data.clone(),
        user: will.user.clone(),
        payload: will.payload.clone(),
        ..Publish::default()
    };
    let message = publish.read(&ReadContext { origin, now })?.to_builder().durability(durability).build();
    Ok(roadbed_core::Will {
        message,
        qos: will.qos.read(),
        delay: Duration::from_secs(will.delay_secs.unwrap_or(0).into()),
        ttl: will.message_expiry_secs.map(|secs| Duration::from_secs(secs.into())),
    })
}

/// What a CONNECT proves itself with. An enhanced authentication is not in it.
pub fn credential(connect: &Connect) -> Credential {
    match (&connect.user_name, &connect.password) {
        (None, None) => Credential::Anonymous,
        (user, password) => Credential::Password {
            user: user.clone().unwrap_or_default(),
            password: password.clone().unwrap_or_default(),
        },
    }
}

/// How a DISCONNECT of a client ends the session: every reason but the normal one sends the will [MQTT-3.14.4-3].
pub fn close(packet: &Disconnect) -> Close {
    Close { will: packet.reason != ReasonCode::Success, expiry: packet.session_expiry_secs.map(duration) }
}

/// What a filter of a SUBSCRIBE asks for.
///
/// # Errors
/// [`ReasonCode::TopicFilterInvalid`] for SUBACK.
pub fn binding(subscription: &Subscription, subscription_id: Option<u32>) -> Result<Binding, ReasonCode> {
    let (share, filter) = parse(&subscription.filter)?;
    let mut binding = Binding::new(filter, subscription.qos.read());
    binding.share = share;
    binding.no_local = subscription.no_local;
    binding.retain_as_published = subscription.retain_as_published;
    binding.id = subscription_id;
    binding.retain_handling = match subscription.retain_handling {
        RetainHandling::Send => roadbed_core::RetainHandling::Always,
        RetainHandling::SendIfNew => roadbed_core::RetainHandling::IfNew,
        RetainHandling::DoNotSend => roadbed_core::RetainHandling::Never,
    };
    Ok(binding)
}

/// What a filter of an UNSUBSCRIBE takes away.
///
/// # Errors
/// [`ReasonCode::TopicFilterInvalid`] for UNSUBACK.
pub fn unbind(filter: &ByteString) -> Result<Unbind, ReasonCode> {
    let (share, filter) = parse(filter)?;
    Ok(Unbind { filter, share })
}

fn parse(filter: &ByteString) -> Result<(Option<ByteString>, Filter), ReasonCode> {
    Filter::parse_shared(filter).map_err(|error| match error {
        FilterError::TooDeep => ReasonCode::QuotaExceeded,
        _ => ReasonCode::TopicFilterInvalid,
    })
}

/// The code of SUBACK for what a binding got.
pub fn granted(result: &Result<Granted>) -> ReasonCode {
    match result {
        Ok(granted) => match granted.qos {
            Qos::AtMostOnce => ReasonCode::Success,
            Qos::AtLeastOnce => ReasonCode::GrantedQos1,
            Qos::ExactlyOnce => ReasonCode::GrantedQos2,
        },
        Err(error) => match error.kind() {
            ErrorKind::Unauthorized => ReasonCode::NotAuthorized,
            ErrorKind::Invalid => ReasonCode::TopicFilterInvalid,
            ErrorKind::Exhausted | ErrorKind::StoreFull => ReasonCode::QuotaExceeded,
            ErrorKind::Unavailable | ErrorKind::NotSupported => ReasonCode::ImplementationSpecificError,
            _ => ReasonCode::UnspecifiedError,
        },
    }
}

/// The code of CONNACK for a session that was not opened.
pub fn refusal(error: &roadbed_core::Error) -> ReasonCode {
    match error.kind() {
        ErrorKind::Unauthenticated => ReasonCode::BadUserNameOrPassword,
        ErrorKind::Unauthorized => ReasonCode::NotAuthorized,
        ErrorKind::Invalid => ReasonCode::ClientIdentifierNotValid,
        ErrorKind::Exhausted | ErrorKind::StoreFull => ReasonCode::QuotaExceeded,
        ErrorKind::Unavailable | ErrorKind::Closed | ErrorKind::Disconnected => ReasonCode::ServerUnavailable,
        ErrorKind::TimedOut => ReasonCode::ServerBusy,
        _ => ReasonCode::UnspecifiedError,
    }
}

/// The level of MQTT for one of the core; `None` only for a level that MQTT does not have.
pub fn qos(qos: Qos) -> Option<QoS> {
    QoS::write(qos).ok()
}

/// Seconds that MQTT counts; for ever is `u32::MAX` (section 3.1.2.11.2).
pub(crate) fn duration(secs: u32) -> Duration {
    if secs == u32::MAX { Duration::MAX } else { Duration::from_secs(secs.into()) }
}

/// Undoes [`duration`]; parts of a second count as one.
pub(crate) fn seconds(duration: Duration) -> u32 {
    let whole = duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() != 0));
    u32::try_from(whole).unwrap_or(u32::MAX)
}
