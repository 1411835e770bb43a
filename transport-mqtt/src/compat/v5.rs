use alloc::boxed::Box;
use alloc::string::String;
use core::num::NonZeroU16;

use mqttbytes::v5::{self as theirs};

use super::{flag, login, message_id, notes, packet_id, string, strings, text, user};
use crate::codec::{
    Ack, AckKind, ConnAck, Connect, Disconnect, Notes, Packet, Publish, QoS, SubAck, Subscribe, Subscription, UnsubAck,
    Unsubscribe, Version, Will,
};
use crate::error::{DecodeError, EncodeError};

impl TryFrom<theirs::Packet> for Packet {
    type Error = DecodeError;

    fn try_from(packet: theirs::Packet) -> Result<Self, DecodeError> {
        use theirs::Packet as P;
        Ok(match packet {
            P::Connect(packet) => Self::Connect(Box::new(packet.try_into()?)),
            P::ConnAck(packet) => Self::ConnAck(Box::new(packet.try_into()?)),
            P::Publish(packet) => Self::Publish(Box::new(packet.try_into()?)),
            P::PubAck(packet) => Self::Ack(packet.try_into()?),
            P::PubRec(packet) => Self::Ack(packet.try_into()?),
            P::PubRel(packet) => Self::Ack(packet.try_into()?),
            P::PubComp(packet) => Self::Ack(packet.try_into()?),
            P::Subscribe(packet) => Self::Subscribe(packet.try_into()?),
            P::SubAck(packet) => Self::SubAck(packet.try_into()?),
            P::Unsubscribe(packet) => Self::Unsubscribe(packet.try_into()?),
            P::UnsubAck(packet) => Self::UnsubAck(packet.try_into()?),
            P::PingReq => Self::PingReq,
            P::PingResp => Self::PingResp,
            P::Disconnect(packet) => Self::Disconnect(packet.into()),
        })
    }
}

impl TryFrom<Packet> for theirs::Packet {
    type Error = EncodeError;

    fn try_from(packet: Packet) -> Result<Self, EncodeError> {
        Ok(match packet {
            Packet::Connect(packet) => Self::Connect((*packet).try_into()?),
            Packet::ConnAck(packet) => Self::ConnAck((*packet).try_into()?),
            Packet::Publish(packet) => Self::Publish((*packet).into()),
            Packet::Ack(ack) => match ack.kind {
                AckKind::PubAck => Self::PubAck(ack.try_into()?),
                AckKind::PubRec => Self::PubRec(ack.try_into()?),
                AckKind::PubRel => Self::PubRel(ack.try_into()?),
                AckKind::PubComp => Self::PubComp(ack.try_into()?),
            },
            Packet::Subscribe(packet) => Self::Subscribe(packet.into()),
            Packet::SubAck(packet) => Self::SubAck(packet.try_into()?),
            Packet::Unsubscribe(packet) => Self::Unsubscribe(packet.into()),
            Packet::UnsubAck(packet) => Self::UnsubAck(packet.try_into()?),
            Packet::PingReq => Self::PingReq,
            Packet::PingResp => Self::PingResp,
            Packet::Disconnect(packet) => Self::Disconnect(packet.try_into()?),
            Packet::Auth(_) => return Err(EncodeError::Unsayable),
        })
    }
}

/// PUBACK, PUBREC, PUBREL and PUBCOMP: four types of one shape.
macro_rules! acks {
    ($($name:ident, $properties:ident;)*) => {$(
        impl TryFrom<theirs::$name> for Ack {
            type Error = DecodeError;

            fn try_from(packet: theirs::$name) -> Result<Self, DecodeError> {
                let properties = packet.properties.map(|p| notes(p.reason_string, p.user_properties));
                Ok(Self {
                    notes: properties.unwrap_or_default(),
                    ..Self::with_reason(AckKind::$name, packet_id(packet.pkid)?, packet.reason.into())
                })
            }
        }

        impl TryFrom<Ack> for theirs::$name {
            type Error = EncodeError;

            /// The kind must be the same.
            fn try_from(ack: Ack) -> Result<Self, EncodeError> {
                if ack.kind != AckKind::$name {
                    return Err(EncodeError::Unsayable);
                }
                let properties = (!ack.notes.is_empty()).then(|| theirs::$properties {
                    reason_string: string(ack.notes.reason_string),
                    user_properties: strings(ack.notes.user),
                });
                Ok(Self { pkid: ack.packet_id.get(), reason: ack.reason.try_into()?, properties })
            }
        }
    )*};
}

acks! {
    PubAck, PubAckProperties;
    PubRec, PubRecProperties;
    PubRel, PubRelProperties;
    PubComp, PubCompProperties;
}

impl TryFrom<theirs::Connect> for Connect {
    type Error = DecodeError;

    fn try_from(packet: theirs::Connect) -> Result<Self, DecodeError> {
        let (name, password) = packet.login.map_or_else(Default::default, |login| (login.username, login.password));
        let mut this = Self {
            clean_start: packet.clean_session,
            keep_alive_secs: packet.keep_alive,
            will: packet.last_will.map(Will::try_from).transpose()?,
            user_name: (!name.is_empty()).then(|| name.into()),
            password: (!password.is_empty()).then(|| password.into()),
            ..Self::new(Version::V5, packet.client_id)
        };
        if let Some(p) = packet.properties {
            this.session_expiry_secs = p.session_expiry_interval;
            this.receive_maximum = receive_maximum(p.receive_maximum)?;
            this.maximum_packet_size = packet_size(p.max_packet_size)?;
            this.topic_alias_maximum = p.topic_alias_max;
            this.request_response_information = flag(0x19, p.request_response_info)?;
            this.request_problem_information = flag(0x17, p.request_problem_info)?;
            this.user = user(p.user_properties);
            this.auth_method = text(p.authentication_method);
            this.auth_data = p.authentication_data;
        }
        Ok(this)
    }
}

impl TryFrom<Connect> for theirs::Connect {
    type Error = EncodeError;

    fn try_from(packet: Connect) -> Result<Self, EncodeError> {
        let login = login(&packet.user_name, &packet.password)?;
        if packet.version != Version::V5 {
            return Err(EncodeError::Unsayable);
        }
        Ok(Self {
            protocol: mqttbytes::Protocol::V5,
            keep_alive: packet.keep_alive_secs,
            client_id: packet.client_id.into(),
            clean_session: packet.clean_start,
            last_will: packet.will.map(Into::into),
            login: login.map(|(username, password)| theirs::Login { username, password }),
            properties: Some(theirs::ConnectProperties {
                session_expiry_interval: packet.session_expiry_secs,
                receive_maximum: packet.receive_maximum.map(Into::into),
                max_packet_size: packet.maximum_packet_size,
                topic_alias_max: packet.topic_alias_maximum,
                request_response_info: packet.request_response_information.map(u8::from),
                request_problem_info: packet.request_problem_information.map(u8::from),
                user_properties: strings(packet.user),
                authentication_method: string(packet.auth_method),
                authentication_data: packet.auth_data,
            }),
        })
    }
}

impl TryFrom<theirs::LastWill> for Will {
    type Error = DecodeError;

    fn try_from(will: theirs::LastWill) -> Result<Self, DecodeError> {
        let mut this = Self { retain: will.retain, ..Self::new(will.topic, will.message, will.qos.into()) };
        if let Some(p) = will.properties {
            this.delay_secs = p.delay_interval;
            this.payload_is_text = flag(0x01, p.payload_format_indicator)?;
            this.message_expiry_secs = p.message_expiry_interval;
            this.content_type = text(p.content_type);
            this.response_topic = text(p.response_topic);
            this.correlation_data = p.correlation_data;
            this.user = user(p.user_properties);
        }
        Ok(this)
    }
}

impl From<Will> for theirs::LastWill {
    fn from(will: Will) -> Self {
        Self {
            topic: will.topic.into(),
            message: will.payload,
            qos: will.qos.into(),
            retain: will.retain,
            properties: Some(theirs::WillProperties {
                delay_interval: will.delay_secs,
                payload_format_indicator: will.payload_is_text.map(u8::from),
                message_expiry_interval: will.message_expiry_secs,
                content_type: string(will.content_type),
                response_topic: string(will.response_topic),
                correlation_data: will.correlation_data,
                user_properties: strings(will.user),
            }),
        }
    }
}

impl TryFrom<theirs::ConnAck> for ConnAck {
    type Error = DecodeError;

    fn try_from(packet: theirs::ConnAck) -> Result<Self, DecodeError> {
        let mut this = Self { session_present: packet.session_present, reason: packet.code.into(), ..Self::default() };
        if let Some(p) = packet.properties {
            this.session_expiry_secs = p.session_expiry_interval;
            this.receive_maximum = receive_maximum(p.receive_max)?;
            this.maximum_qos = maximum_qos(p.max_qos)?;
            this.retain_available = flag(0x25, p.retain_available)?;
            this.maximum_packet_size = packet_size(p.max_packet_size)?;
            this.assigned_client_id = text(p.assigned_client_identifier);
            this.topic_alias_maximum = p.topic_alias_max;
            this.wildcard_subscription_available = flag(0x28, p.wildcard_subscription_available)?;
            this.subscription_ids_available = flag(0x29, p.subscription_identifiers_available)?;
            this.shared_subscription_available = flag(0x2a, p.shared_subscription_available)?;
            this.server_keep_alive_secs = p.server_keep_alive;
            this.response_information = text(p.response_information);
            this.server_reference = text(p.server_reference);
            this.auth_method = text(p.authentication_method);
            this.auth_data = p.authentication_data;
            this.notes = notes(p.reason_string, p.user_properties);
        }
        Ok(this)
    }
}

impl TryFrom<ConnAck> for theirs::ConnAck {
    type Error = EncodeError;

    /// With properties even if they are empty: without, `mqttbytes` writes a packet that is not legal.
    fn try_from(packet: ConnAck) -> Result<Self, EncodeError> {
        Ok(Self {
            session_present: packet.session_present,
            code: packet.reason.try_into()?,
            properties: Some(theirs::ConnAckProperties {
                session_expiry_interval: packet.session_expiry_secs,
                receive_max: packet.receive_maximum.map(Into::into),
                max_qos: packet.maximum_qos.filter(|&qos| qos != QoS::ExactlyOnce).map(QoS::bits),
                retain_available: packet.retain_available.map(u8::from),
                max_packet_size: packet.maximum_packet_size,
                assigned_client_identifier: string(packet.assigned_client_id),
                topic_alias_max: packet.topic_alias_maximum,
                reason_string: string(packet.notes.reason_string),
                user_properties: strings(packet.notes.user),
                wildcard_subscription_available: packet.wildcard_subscription_available.map(u8::from),
                subscription_identifiers_available: packet.subscription_ids_available.map(u8::from),
                shared_subscription_available: packet.shared_subscription_available.map(u8::from),
                server_keep_alive: packet.server_keep_alive_secs,
                response_information: string(packet.response_information),
                server_reference: string(packet.server_reference),
                authentication_method: string(packet.auth_method),
                authentication_data: packet.auth_data,
            }),
        })
    }
}

fn receive_maximum(value: Option<u16>) -> Result<Option<NonZeroU16>, DecodeError> {
    value.map(|value| NonZeroU16::new(value).ok_or(DecodeError::PropertyValue(0x21))).transpose()
}

fn packet_size(value: Option<u32>) -> Result<Option<u32>, DecodeError> {
    if value == Some(0) { Err(DecodeError::PropertyValue(0x27)) } else { Ok(value) }
}

fn maximum_qos(value: Option<u8>) -> Result<Option<QoS>, DecodeError> {
    Ok(flag(0x24, value)?.map(|one| if one { QoS::AtLeastOnce } else { QoS::AtMostOnce }))
}

fn subscription_id(id: usize) -> Result<u32, DecodeError> {
    u32::try_from(id).ok().filter(|id| (1..1 << 28).contains(id)).ok_or(DecodeError::PropertyValue(0x0b))
}

impl TryFrom<theirs::Publish> for Publish {
    type Error = DecodeError;

    fn try_from(packet: theirs::Publish) -> Result<Self, DecodeError> {
        let qos = packet.qos.into();
        let mut this = Self {
            dup: packet.dup,
            qos,
            retain: packet.retain,
            packet_id: message_id(qos, packet.pkid)?,
            topic: packet.topic.into(),
            payload: packet.payload,
            ..Self::default()
        };
        if let Some(p) = packet.properties {
            this.payload_is_text = flag(0x01, p.payload_format_indicator)?;
            this.message_expiry_secs = p.message_expiry_interval;
            let alias = |alias| NonZeroU16::new(alias).ok_or(DecodeError::TopicAlias(alias));
            this.topic_alias = p.topic_alias.map(alias).transpose()?;
            this.response_topic = text(p.response_topic);
            this.correlation_data = p.correlation_data;
            this.user = user(p.user_properties);
            this.subscription_ids =
                p.subscription_identifiers.into_iter().map(subscription_id).collect::<Result<_, _>>()?;
            this.content_type = text(p.content_type);
        }
        Ok(this)
    }
}

impl From<Publish> for theirs::Publish {
    fn from(packet: Publish) -> Self {
        Self {
            dup: packet.dup,
            qos: packet.qos.into(),
            retain: packet.retain,
            topic: packet.topic.into(),
            pkid: packet.packet_id.map_or(0, Into::into),
            payload: packet.payload,
            properties: Some(theirs::PublishProperties {
                payload_format_indicator: packet.payload_is_text.map(u8::from),
                message_expiry_interval: packet.message_expiry_secs,
                topic_alias: packet.topic_alias.map(Into::into),
                response_topic: string(packet.response_topic),
                correlation_data: packet.correlation_data,
                user_properties: strings(packet.user),
                subscription_identifiers: packet.subscription_ids.into_iter().map(|id| id as usize).collect(),
                content_type: string(packet.content_type),
            }),
        }
    }
}

impl TryFrom<theirs::Subscribe> for Subscribe {
    type Error = DecodeError;

    fn try_from(packet: theirs::Subscribe) -> Result<Self, DecodeError> {
        let (id, theirs) = packet.properties.map_or_else(Default::default, |p| (p.id, p.user_properties));
        Ok(Self {
            packet_id: packet_id(packet.pkid)?,
            subscription_id: id.map(subscription_id).transpose()?,
            user: user(theirs),
            subscriptions: packet.filters.into_iter().map(Subscription::from).collect(),
        })
    }
}

impl From<theirs::SubscribeFilter> for Subscription {
    fn from(filter: theirs::SubscribeFilter) -> Self {
        Self {
            no_local: filter.nolocal,
            retain_as_published: filter.preserve_retain,
            retain_handling: filter.retain_forward_rule.into(),
            ..Self::new(filter.path, filter.qos.into())
        }
    }
}

impl From<Subscribe> for theirs::Subscribe {
    fn from(packet: Subscribe) -> Self {
        Self {
            pkid: packet.packet_id.get(),
            filters: packet.subscriptions.into_iter().map(Into::into).collect(),
            properties: Some(theirs::SubscribeProperties {
                id: packet.subscription_id.map(|id| id as usize),
                user_properties: strings(packet.user),
            }),
        }
    }
}

impl From<Subscription> for theirs::SubscribeFilter {
    fn from(ours: Subscription) -> Self {
        Self {
            path: ours.filter.into(),
            qos: ours.qos.into(),
            nolocal: ours.no_local,
            preserve_retain: ours.retain_as_published,
            retain_forward_rule: ours.retain_handling.into(),
        }
    }
}

impl TryFrom<theirs::SubAck> for SubAck {
    type Error = DecodeError;

    fn try_from(packet: theirs::SubAck) -> Result<Self, DecodeError> {
        let notes = packet.properties.map(|p| notes(p.reason_string, p.user_properties));
        let codes = packet.return_codes.into_iter().map(Into::into).collect();
        Ok(Self { packet_id: packet_id(packet.pkid)?, notes: notes.unwrap_or_default(), codes })
    }
}

impl TryFrom<SubAck> for theirs::SubAck {
    type Error = EncodeError;

    fn try_from(packet: SubAck) -> Result<Self, EncodeError> {
        let Notes { reason_string, user } = packet.notes;
        Ok(Self {
            pkid: packet.packet_id.get(),
            return_codes: packet.codes.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            properties: Some(theirs::SubAckProperties {
                reason_string: string(reason_string),
                user_properties: strings(user),
            }),
        })
    }
}

impl TryFrom<theirs::Unsubscribe> for Unsubscribe {
    type Error = DecodeError;

    fn try_from(packet: theirs::Unsubscribe) -> Result<Self, DecodeError> {
        Ok(Self {
            packet_id: packet_id(packet.pkid)?,
            user: user(packet.properties.map(|p| p.user_properties).unwrap_or_default()),
            filters: packet.filters.into_iter().map(Into::into).collect(),
        })
    }
}

impl From<Unsubscribe> for theirs::Unsubscribe {
    fn from(packet: Unsubscribe) -> Self {
        Self {
            pkid: packet.packet_id.get(),
            filters: packet.filters.into_iter().map(String::from).collect(),
            properties: Some(theirs::UnsubscribeProperties { user_properties: strings(packet.user) }),
        }
    }
}

impl TryFrom<theirs::UnsubAck> for UnsubAck {
    type Error = DecodeError;

    fn try_from(packet: theirs::UnsubAck) -> Result<Self, DecodeError> {
        let notes = packet.properties.map(|p| notes(p.reason_string, p.user_properties));
        let codes = packet.reasons.into_iter().map(Into::into).collect();
        Ok(Self { packet_id: packet_id(packet.pkid)?, notes: notes.unwrap_or_default(), codes })
    }
}

impl TryFrom<UnsubAck> for theirs::UnsubAck {
    type Error = EncodeError;

    fn try_from(packet: UnsubAck) -> Result<Self, EncodeError> {
        let Notes { reason_string, user } = packet.notes;
        Ok(Self {
            pkid: packet.packet_id.get(),
            reasons: packet.codes.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            properties: Some(theirs::UnsubAckProperties {
                reason_string: string(reason_string),
                user_properties: strings(user),
            }),
        })
    }
}

impl From<theirs::Disconnect> for Disconnect {
    fn from(packet: theirs::Disconnect) -> Self {
        let mut this = Self::new(packet.reason_code.into());
        if let Some(p) = packet.properties {
            this.session_expiry_secs = p.session_expiry_interval;
            this.server_reference = text(p.server_reference);
            this.notes = notes(p.reason_string, p.user_properties);
        }
        this
    }
}

impl TryFrom<Disconnect> for theirs::Disconnect {
    type Error = EncodeError;

    /// Without properties if they are empty: with, `mqttbytes` loses the reason.
    fn try_from(packet: Disconnect) -> Result<Self, EncodeError> {
        let Disconnect { reason, session_expiry_secs, server_reference, notes } = packet;
        let empty = session_expiry_secs.is_none() && server_reference.is_none() && notes.is_empty();
        Ok(Self {
            reason_code: reason.try_into()?,
            properties: (!empty).then(|| theirs::DisconnectProperties {
                session_expiry_interval: session_expiry_secs,
                reason_string: string(notes.reason_string),
                user_properties: strings(notes.user),
                server_reference: string(server_reference),
            }),
        })
    }
}
