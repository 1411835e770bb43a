//! Any packet that a version can say, in the form that decoding gives it.
#![allow(dead_code, reason = "every test file uses its own part")]

use std::num::NonZeroU16;

use bytes::Bytes;
use bytestring::ByteString;
use proptest::collection::vec;
use proptest::option::{of, weighted};
use proptest::prelude::*;
use proptest::sample::select;
use roadbed_mqtt::codec::{
    Ack, AckKind, Auth, ConnAck, Connect, Disconnect, Notes, Packet, PacketId, PacketType, Publish, QoS, ReasonCode,
    RetainHandling, SubAck, Subscribe, Subscription, UnsubAck, Unsubscribe, UserProperties, Version, Will,
};

pub(crate) fn packet(version: Version) -> BoxedStrategy<Packet> {
    let v5 = version.is_v5();
    let auth = if v5 { auth().boxed() } else { Just(Packet::PingReq).boxed() };
    prop_oneof![
        4 => connect(version),
        4 => connack(version),
        8 => publish(version).prop_map(|publish| Packet::Publish(Box::new(publish))),
        4 => ack(version),
        4 => subscribe(version),
        2 => suback(version),
        2 => unsubscribe(version),
        2 => unsuback(version),
        1 => Just(Packet::PingReq),
        1 => Just(Packet::PingResp),
        2 => disconnect(version),
        1 => auth,
    ]
    .boxed()
}

/// A legal string, sometimes long, often not ASCII.
fn text() -> BoxedStrategy<ByteString> {
    prop_oneof![8 => "[a-z/é☃$ ]{0,12}", 1 => "[^\0]{0,40}", 1 => Just("x".repeat(300))]
        .prop_map(ByteString::from)
        .boxed()
}

pub(crate) fn topic() -> BoxedStrategy<ByteString> {
    prop_oneof![8 => "[a-z/é☃$]{1,12}", 1 => "[^\0+#]{1,40}", 1 => Just("x/".repeat(100))]
        .prop_map(ByteString::from)
        .boxed()
}

fn filter() -> BoxedStrategy<ByteString> {
    "[a-z/+#é$]{1,12}".prop_map(ByteString::from).boxed()
}

fn data() -> BoxedStrategy<Bytes> {
    vec(any::<u8>(), 0..200).prop_map(Bytes::from).boxed()
}

fn qos() -> impl Strategy<Value = QoS> {
    select(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][..])
}

fn id() -> impl Strategy<Value = PacketId> {
    any::<PacketId>()
}

/// Only in MQTT 5.0.
fn only<T: Clone + std::fmt::Debug + 'static>(
    version: Version,
    strategy: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<Option<T>> {
    if version.is_v5() { of(strategy).boxed() } else { Just(None).boxed() }
}

fn user(version: Version) -> BoxedStrategy<UserProperties> {
    if version.is_v5() { vec((text(), text()), 0..4).boxed() } else { Just(vec![]).boxed() }
}

fn notes(version: Version) -> impl Strategy<Value = Notes> {
    (only(version, text()), user(version)).prop_map(|(reason_string, user)| Notes { reason_string, user })
}

fn reason(kind: PacketType) -> impl Strategy<Value = ReasonCode> {
    let codes: Vec<_> = ReasonCode::ALL.iter().copied().filter(|code| code.is_allowed_in(kind)).collect();
    select(codes)
}

fn connect(version: Version) -> impl Strategy<Value = Packet> {
    let properties = (
        only(version, any::<u32>()),
        only(version, any::<NonZeroU16>()),
        only(version, 1u32..),
        only(version, any::<u16>()),
        only(version, any::<bool>()),
        only(version, any::<bool>()),
        only(version, (text(), of(data()))),
        user(version),
    );
    let rest = (any::<bool>(), any::<u16>(), text(), of(will(version)), of(text()), of(data()));
    (properties, rest).prop_map(move |(properties, rest)| {
        let (
            session_expiry_secs,
            receive_maximum,
            maximum_packet_size,
            topic_alias_maximum,
            response,
            problem,
            auth,
            user,
        ) = properties;
        let (clean_start, keep_alive_secs, client_id, will, user_name, password) = rest;
        let nameless = client_id.is_empty() && !version.is_v5();
        let (auth_method, auth_data) = auth.map_or((None, None), |(method, data)| (Some(method), data));
        Packet::Connect(Box::new(Connect {
            version,
            clean_start: clean_start || nameless,
            keep_alive_secs,
            client_id: if nameless && version == Version::V31 { "x".into() } else { client_id },
            will,
            password: password.filter(|_| version.is_v5() || user_name.is_some()),
            user_name,
            session_expiry_secs,
            receive_maximum,
            maximum_packet_size,
            topic_alias_maximum,
            request_response_information: response,
            request_problem_information: problem,
            auth_method,
            auth_data,
            user,
        }))
    })
}

fn will(version: Version) -> impl Strategy<Value = Will> {
    let properties = (
        only(version, any::<u32>()),
        only(version, any::<bool>()),
        only(version, any::<u32>()),
        only(version, text()),
        only(version, topic()),
        only(version, data()),
        user(version),
    );
    (topic(), data(), qos(), any::<bool>(), properties).prop_map(|(topic, payload, qos, retain, properties)| {
        let (delay_secs, payload_is_text, message_expiry_secs, content_type, response_topic, correlation_data, user) =
            properties;
        Will {
            topic,
            payload,
            qos,
            retain,
            delay_secs,
            payload_is_text,
            message_expiry_secs,
            content_type,
            response_topic,
            correlation_data,
            user,
        }
    })
}

fn connack(version: Version) -> BoxedStrategy<Packet> {
    let reason = if version.is_v5() {
        reason(PacketType::ConnAck).boxed()
    } else {
        (0u8..6).prop_map(|code| ReasonCode::from_return_code(code).expect("a return code")).boxed()
    };
    let numbers = (
        only(version, any::<u32>()),
        only(version, any::<NonZeroU16>()),
        only(version, select(&[QoS::AtMostOnce, QoS::AtLeastOnce][..])),
        only(version, any::<bool>()),
        only(version, 1u32..),
        only(version, any::<u16>()),
        only(version, any::<u16>()),
    );
    let flags = (only(version, any::<bool>()), only(version, any::<bool>()), only(version, any::<bool>()));
    let texts =
        (only(version, text()), only(version, text()), only(version, text()), only(version, (text(), of(data()))));
    (any::<bool>(), reason, numbers, flags, texts, notes(version))
        .prop_map(move |(present, reason, numbers, flags, texts, notes)| {
            let (auth_method, auth_data) = texts.3.map_or((None, None), |(method, data)| (Some(method), data));
            Packet::ConnAck(Box::new(ConnAck {
                session_present: present && !reason.is_failure() && version != Version::V31,
                reason,
                session_expiry_secs: numbers.0,
                receive_maximum: numbers.1,
                maximum_qos: numbers.2,
                retain_available: numbers.3,
                maximum_packet_size: numbers.4,
                assigned_client_id: texts.0,
                topic_alias_maximum: numbers.5,
                wildcard_subscription_available: flags.0,
                subscription_ids_available: flags.1,
                shared_subscription_available: flags.2,
                server_keep_alive_secs: numbers.6,
                response_information: texts.1,
                server_reference: texts.2,
                auth_method,
                auth_data,
                notes,
            }))
        })
        .boxed()
}

pub(crate) fn publish(version: Version) -> impl Strategy<Value = Publish> {
    let properties = (
        only(version, any::<bool>()),
        only(version, any::<u32>()),
        only(version, any::<NonZeroU16>()),
        only(version, topic()),
        only(version, data()),
        user(version),
        if version.is_v5() { vec(1u32..=268_435_455, 0..4).boxed() } else { Just(vec![]).boxed() },
        only(version, text()),
    );
    let payload = prop_oneof![8 => data(), 1 => vec(any::<u8>(), 16_300..16_500).prop_map(Bytes::from)];
    (any::<bool>(), qos(), any::<bool>(), id(), weighted(0.9, topic()), properties, payload).prop_map(
        move |(dup, qos, retain, id, topic, properties, payload)| {
            let asks = qos != QoS::AtMostOnce;
            let topic_alias = properties.2;
            let topic = topic.filter(|topic| !topic.is_empty());
            Publish {
                dup: dup && asks,
                qos,
                retain,
                packet_id: asks.then_some(id),
                topic: match topic {
                    Some(topic) => topic,
                    None if topic_alias.is_some() => "".into(),
                    None => "t".into(),
                },
                payload_is_text: properties.0,
                message_expiry_secs: properties.1,
                topic_alias,
                response_topic: properties.3,
                correlation_data: properties.4,
                user: properties.5,
                subscription_ids: properties.6,
                content_type: properties.7,
                payload,
            }
        },
    )
}

fn ack(version: Version) -> BoxedStrategy<Packet> {
    select(&[AckKind::PubAck, AckKind::PubRec, AckKind::PubRel, AckKind::PubComp][..])
        .prop_flat_map(move |kind| {
            let reason =
                if version.is_v5() { reason(kind.packet_type()).boxed() } else { Just(ReasonCode::Success).boxed() };
            (id(), reason, notes(version))
                .prop_map(move |(packet_id, reason, notes)| Packet::Ack(Ack { kind, packet_id, reason, notes }))
        })
        .boxed()
}

fn subscribe(version: Version) -> impl Strategy<Value = Packet> {
    let subscription = (filter(), qos(), any::<bool>(), any::<bool>(), 0u8..3).prop_map(
        move |(filter, qos, no_local, retain_as_published, handling)| {
            if !version.is_v5() {
                return Subscription::new(filter, qos);
            }
            let no_local = no_local && !filter.starts_with("$share/");
            let retain_handling =
                [RetainHandling::Send, RetainHandling::SendIfNew, RetainHandling::DoNotSend][usize::from(handling)];
            Subscription { filter, qos, no_local, retain_as_published, retain_handling }
        },
    );
    (id(), only(version, 1u32..=268_435_455), user(version), vec(subscription, 1..5)).prop_map(
        |(packet_id, subscription_id, user, subscriptions)| {
            Packet::Subscribe(Subscribe { packet_id, subscription_id, user, subscriptions })
        },
    )
}

fn suback(version: Version) -> impl Strategy<Value = Packet> {
    let code = reason(PacketType::SubAck).prop_map(move |code| match code.is_failure() && !version.is_v5() {
        true => ReasonCode::UnspecifiedError,
        false => code,
    });
    (id(), notes(version), vec(code, 1..5))
        .prop_map(|(packet_id, notes, codes)| Packet::SubAck(SubAck { packet_id, notes, codes }))
}

fn unsubscribe(version: Version) -> impl Strategy<Value = Packet> {
    (id(), user(version), vec(filter(), 1..5))
        .prop_map(|(packet_id, user, filters)| Packet::Unsubscribe(Unsubscribe { packet_id, user, filters }))
}

fn unsuback(version: Version) -> impl Strategy<Value = Packet> {
    (id(), notes(version), vec(reason(PacketType::UnsubAck), 1..5)).prop_map(move |(packet_id, notes, codes)| {
        let codes = if version.is_v5() { codes } else { vec![] };
        Packet::UnsubAck(UnsubAck { packet_id, notes, codes })
    })
}

fn disconnect(version: Version) -> BoxedStrategy<Packet> {
    if !version.is_v5() {
        return Just(Packet::Disconnect(Disconnect::default())).boxed();
    }
    (reason(PacketType::Disconnect), of(any::<u32>()), of(text()), notes(version))
        .prop_map(|(reason, session_expiry_secs, server_reference, notes)| {
            Packet::Disconnect(Disconnect { reason, session_expiry_secs, server_reference, notes })
        })
        .boxed()
}

fn auth() -> impl Strategy<Value = Packet> {
    (reason(PacketType::Auth), text(), of(data()), notes(Version::V5))
        .prop_map(|(reason, method, data, notes)| Packet::Auth(Auth { reason, method: Some(method), data, notes }))
}
