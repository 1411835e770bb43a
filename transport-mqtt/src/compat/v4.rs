use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use mqttbytes::v4::{self as theirs, SubscribeReasonCode};

use super::{login, message_id, packet_id};
use crate::codec::{
    Ack, AckKind, ConnAck, Connect, Disconnect, Notes, Packet, Publish, QoS, ReasonCode, SubAck, Subscribe,
    Subscription, UnsubAck, Unsubscribe, Version, Will,
};
use crate::error::{DecodeError, EncodeError};

impl TryFrom<theirs::Packet> for Packet {
    type Error = DecodeError;

    fn try_from(packet: theirs::Packet) -> Result<Self, DecodeError> {
        use theirs::Packet as P;
        let ack = |kind, id| Ok(Self::Ack(Ack::new(kind, packet_id(id)?)));
        Ok(match packet {
            P::Connect(packet) => Self::Connect(Box::new(packet.into())),
            P::ConnAck(packet) => Self::ConnAck(Box::new(ConnAck {
                session_present: packet.session_present,
                reason: packet.code.into(),
                ..ConnAck::default()
            })),
            P::Publish(packet) => Self::Publish(Box::new(packet.try_into()?)),
            P::PubAck(packet) => return ack(AckKind::PubAck, packet.pkid),
            P::PubRec(packet) => return ack(AckKind::PubRec, packet.pkid),
            P::PubRel(packet) => return ack(AckKind::PubRel, packet.pkid),
            P::PubComp(packet) => return ack(AckKind::PubComp, packet.pkid),
            P::Subscribe(packet) => Self::Subscribe(packet.try_into()?),
            P::SubAck(packet) => Self::SubAck(SubAck {
                packet_id: packet_id(packet.pkid)?,
                notes: Notes::default(),
                codes: packet.return_codes.into_iter().map(code).collect(),
            }),
            P::Unsubscribe(packet) => Self::Unsubscribe(packet.try_into()?),
            P::UnsubAck(packet) => Self::UnsubAck(UnsubAck {
                packet_id: packet_id(packet.pkid)?,
                notes: Notes::default(),
                codes: Vec::new(),
            }),
            P::PingReq => Self::PingReq,
            P::PingResp => Self::PingResp,
            P::Disconnect => Self::Disconnect(Disconnect::default()),
        })
    }
}

impl TryFrom<Packet> for theirs::Packet {
    type Error = EncodeError;

    /// Properties are left out, as on the wire of MQTT 3.
    fn try_from(packet: Packet) -> Result<Self, EncodeError> {
        Ok(match packet {
            Packet::Connect(packet) => Self::Connect((*packet).try_into()?),
            Packet::ConnAck(packet) => Self::ConnAck(theirs::ConnAck {
                session_present: packet.session_present,
                code: packet.reason.try_into()?,
            }),
            Packet::Publish(packet) => Self::Publish((*packet).into()),
            Packet::Ack(ack) if ack.reason.is_failure() => return Err(EncodeError::Unsayable),
            Packet::Ack(ack) => match (ack.kind, ack.packet_id.get()) {
                (AckKind::PubAck, pkid) => Self::PubAck(theirs::PubAck { pkid }),
                (AckKind::PubRec, pkid) => Self::PubRec(theirs::PubRec { pkid }),
                (AckKind::PubRel, pkid) => Self::PubRel(theirs::PubRel { pkid }),
                (AckKind::PubComp, pkid) => Self::PubComp(theirs::PubComp { pkid }),
            },
            Packet::Subscribe(packet) => Self::Subscribe(packet.into()),
            Packet::SubAck(packet) => Self::SubAck(theirs::SubAck {
                pkid: packet.packet_id.get(),
                return_codes: packet.codes.into_iter().map(return_code).collect(),
            }),
            Packet::Unsubscribe(packet) => Self::Unsubscribe(packet.into()),
            Packet::UnsubAck(packet) => Self::UnsubAck(theirs::UnsubAck { pkid: packet.packet_id.get() }),
            Packet::PingReq => Self::PingReq,
            Packet::PingResp => Self::PingResp,
            Packet::Disconnect(_) => Self::Disconnect,
            Packet::Auth(_) => return Err(EncodeError::Unsayable),
        })
    }
}

fn code(code: SubscribeReasonCode) -> ReasonCode {
    match code {
        SubscribeReasonCode::Success(mqttbytes::QoS::AtMostOnce) => ReasonCode::Success,
        SubscribeReasonCode::Success(mqttbytes::QoS::AtLeastOnce) => ReasonCode::GrantedQos1,
        SubscribeReasonCode::Success(mqttbytes::QoS::ExactlyOnce) => ReasonCode::GrantedQos2,
        SubscribeReasonCode::Failure => ReasonCode::UnspecifiedError,
    }
}

fn return_code(code: ReasonCode) -> SubscribeReasonCode {
    match QoS::from_bits(code.byte()) {
        Some(qos) => SubscribeReasonCode::Success(qos.into()),
        None => SubscribeReasonCode::Failure,
    }
}

impl From<theirs::Connect> for Connect {
    fn from(packet: theirs::Connect) -> Self {
        let (user, password) = packet.login.map_or_else(Default::default, |login| (login.username, login.password));
        Self {
            clean_start: packet.clean_session,
            keep_alive_secs: packet.keep_alive,
            will: packet
                .last_will
                .map(|will| Will { retain: will.retain, ..Will::new(will.topic, will.message, will.qos.into()) }),
            user_name: (!user.is_empty()).then(|| user.into()),
            password: (!password.is_empty()).then(|| password.into()),
            ..Self::new(Version::V311, packet.client_id)
        }
    }
}

impl TryFrom<Connect> for theirs::Connect {
    type Error = EncodeError;

    fn try_from(packet: Connect) -> Result<Self, EncodeError> {
        let login = login(&packet.user_name, &packet.password)?;
        if packet.version != Version::V311 {
            return Err(EncodeError::Unsayable);
        }
        Ok(Self {
            protocol: mqttbytes::Protocol::V4,
            keep_alive: packet.keep_alive_secs,
            client_id: packet.client_id.into(),
            clean_session: packet.clean_start,
            last_will: packet.will.map(|will| theirs::LastWill {
                topic: will.topic.into(),
                message: will.payload,
                qos: will.qos.into(),
                retain: will.retain,
            }),
            login: login.map(|(username, password)| theirs::Login { username, password }),
        })
    }
}

impl TryFrom<theirs::Publish> for Publish {
    type Error = DecodeError;

    fn try_from(packet: theirs::Publish) -> Result<Self, DecodeError> {
        let qos = packet.qos.into();
        Ok(Self {
            dup: packet.dup,
            qos,
            retain: packet.retain,
            packet_id: message_id(qos, packet.pkid)?,
            topic: packet.topic.into(),
            payload: packet.payload,
            ..Self::default()
        })
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
        }
    }
}

impl TryFrom<theirs::Subscribe> for Subscribe {
    type Error = DecodeError;

    fn try_from(packet: theirs::Subscribe) -> Result<Self, DecodeError> {
        let subscription = |filter: theirs::SubscribeFilter| Subscription::new(filter.path, filter.qos.into());
        Ok(Self {
            packet_id: packet_id(packet.pkid)?,
            subscription_id: None,
            user: Vec::new(),
            subscriptions: packet.filters.into_iter().map(subscription).collect(),
        })
    }
}

impl From<Subscribe> for theirs::Subscribe {
    fn from(packet: Subscribe) -> Self {
        let filter = |ours: Subscription| theirs::SubscribeFilter::new(ours.filter.into(), ours.qos.into());
        Self { pkid: packet.packet_id.get(), filters: packet.subscriptions.into_iter().map(filter).collect() }
    }
}

impl TryFrom<theirs::Unsubscribe> for Unsubscribe {
    type Error = DecodeError;

    fn try_from(packet: theirs::Unsubscribe) -> Result<Self, DecodeError> {
        let filters = packet.topics.into_iter().map(Into::into).collect();
        Ok(Self { packet_id: packet_id(packet.pkid)?, user: Vec::new(), filters })
    }
}

impl From<Unsubscribe> for theirs::Unsubscribe {
    fn from(packet: Unsubscribe) -> Self {
        Self { pkid: packet.packet_id.get(), topics: packet.filters.into_iter().map(String::from).collect() }
    }
}
