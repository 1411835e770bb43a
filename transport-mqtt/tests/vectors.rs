//! Bytes ⇄ values, written out by hand from the standard: every packet type, both versions, every field at least once.

use std::num::NonZeroU16;

use bytes::Bytes;
use roadbed_mqtt::codec::{
    Ack, AckKind, Auth, ConnAck, Connect, Disconnect, Notes, Packet, Publish, QoS, ReasonCode, RetainHandling, SubAck,
    Subscribe, Subscription, UnsubAck, Unsubscribe, Version, Will,
};

mod support;
use support::{decode, encode, id};

use Version::{V5, V31, V311};

#[track_caller]
#[allow(clippy::needless_pass_by_value, reason = "the tables read better")]
fn both(version: Version, bytes: &[u8], packet: Packet) {
    assert_eq!(decode(version, bytes).as_ref(), Ok(&packet));
    assert_eq!(encode(version, &packet), bytes);
}

/// Legal bytes that have a shorter form, which is what we write.
#[track_caller]
#[allow(clippy::needless_pass_by_value, reason = "the tables read better")]
fn long_form(version: Version, bytes: &[u8], packet: Packet, short: &[u8]) {
    assert_eq!(decode(version, bytes).as_ref(), Ok(&packet));
    assert_eq!(encode(version, &packet), short);
}

fn notes() -> Notes {
    Notes { reason_string: Some("no".into()), user: vec![("a".into(), "1".into()), ("a".into(), "2".into())] }
}

const NOTES: &[u8] = b"\x1f\0\x02no\x26\0\x01a\0\x01\x31\x26\0\x01a\0\x01\x32";

fn bytes(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

#[test]
fn connect_3_1_1() {
    both(V311, b"\x10\x0f\0\x04MQTT\x04\x02\0\x3c\0\x03dev", {
        let mut connect = Connect::new(V311, "dev");
        connect.keep_alive_secs = 60;
        Packet::Connect(Box::new(connect))
    });
    both(V311, b"\x10\x1c\0\x04MQTT\x04\xf4\0\0\0\x01d\0\x01t\0\x02\0\xff\0\x01u\0\x03\xff\0\x01", {
        let mut connect = Connect::new(V311, "d");
        connect.clean_start = false;
        connect.will = Some(Will { retain: true, ..Will::new("t", &b"\0\xff"[..], QoS::ExactlyOnce) });
        connect.user_name = Some("u".into());
        connect.password = Some(Bytes::from_static(b"\xff\0\x01"));
        Packet::Connect(Box::new(connect))
    });
}

#[test]
fn connect_3_1() {
    both(V31, b"\x10\x0f\0\x06MQIsdp\x03\x02\0\0\0\x01d", Packet::Connect(Box::new(Connect::new(V31, "d"))));
}

#[test]
fn connect_with_an_empty_user_name_is_not_one_without() {
    both(V311, b"\x10\x0f\0\x04MQTT\x04\x82\0\0\0\x01d\0\0", {
        let mut connect = Connect::new(V311, "d");
        connect.user_name = Some("".into());
        Packet::Connect(Box::new(connect))
    });
}

#[test]
fn connect_5() {
    both(V5, b"\x10\x0d\0\x04MQTT\x05\0\0\0\0\0\0", {
        let mut connect = Connect::new(V5, "");
        connect.clean_start = false;
        Packet::Connect(Box::new(connect))
    });
    let properties = bytes(&[
        b"\x11\0\0\0\x78\x21\0\x0a\x27\0\0\x10\0\x22\0\x05\x19\x01\x17\0",
        b"\x26\0\x01k\0\x01v\x15\0\x05SCRAM\x16\0\x02\0\xff",
    ]);
    let will = b"\x18\0\0\0\x05\x01\x01\x02\0\0\0\x09\x03\0\x01c\x08\0\x01r\x09\0\x01\xfe\x26\0\x01k\0\x01v";
    let body = bytes(&[
        b"\0\x04MQTT\x05\x4e\0\x0f",
        &[properties.len() as u8],
        &properties,
        b"\0\x01d",
        &[will.len() as u8],
        will,
        b"\0\x01t\0\x01p\0\x02\xff\xfe",
    ]);
    both(V5, &support::packet(0x10, &[&body]), {
        let mut connect = Connect::new(V5, "d");
        connect.keep_alive_secs = 15;
        connect.session_expiry_secs = Some(120);
        connect.receive_maximum = NonZeroU16::new(10);
        connect.maximum_packet_size = Some(4096);
        connect.topic_alias_maximum = Some(5);
        connect.request_response_information = Some(true);
        connect.request_problem_information = Some(false);
        connect.user = vec![("k".into(), "v".into())];
        connect.auth_method = Some("SCRAM".into());
        connect.auth_data = Some(Bytes::from_static(b"\0\xff"));
        // A password without a user name is legal in MQTT 5.0 (section 3.1.2.9).
        connect.password = Some(Bytes::from_static(b"\xff\xfe"));
        connect.will = Some(Will {
            delay_secs: Some(5),
            payload_is_text: Some(true),
            message_expiry_secs: Some(9),
            content_type: Some("c".into()),
            response_topic: Some("r".into()),
            correlation_data: Some(Bytes::from_static(b"\xfe")),
            user: vec![("k".into(), "v".into())],
            ..Will::new("t", &b"p"[..], QoS::AtLeastOnce)
        });
        Packet::Connect(Box::new(connect))
    });
}

#[test]
fn connack() {
    both(V311, b"\x20\x02\x01\0", {
        Packet::ConnAck(Box::new(ConnAck { session_present: true, ..ConnAck::default() }))
    });
    for (code, reason) in [
        (1, ReasonCode::UnsupportedProtocolVersion),
        (2, ReasonCode::ClientIdentifierNotValid),
        (3, ReasonCode::ServerUnavailable),
        (4, ReasonCode::BadUserNameOrPassword),
        (5, ReasonCode::NotAuthorized),
    ] {
        both(V311, &[0x20, 2, 0, code], Packet::ConnAck(Box::new(ConnAck::refused(reason))));
    }
    both(V5, b"\x20\x03\0\x86\0", Packet::ConnAck(Box::new(ConnAck::refused(ReasonCode::BadUserNameOrPassword))));
}

#[test]
fn connack_5_with_everything() {
    let properties = bytes(&[
        b"\x11\0\0\0\x78\x21\0\x0a\x24\x01\x25\0\x27\0\0\x10\0\x12\0\x02id\x22\0\x05",
        NOTES,
        b"\x28\0\x29\0\x2a\0\x13\0\x1e\x1a\0\x01i\x1c\0\x01s\x15\0\x01m\x16\0\x01\xff",
    ]);
    let bytes = support::packet(0x20, &[b"\x01\0", &[properties.len() as u8], &properties]);
    both(
        V5,
        &bytes,
        Packet::ConnAck(Box::new(ConnAck {
            session_present: true,
            reason: ReasonCode::Success,
            session_expiry_secs: Some(120),
            receive_maximum: NonZeroU16::new(10),
            maximum_qos: Some(QoS::AtLeastOnce),
            retain_available: Some(false),
            maximum_packet_size: Some(4096),
            assigned_client_id: Some("id".into()),
            topic_alias_maximum: Some(5),
            wildcard_subscription_available: Some(false),
            subscription_ids_available: Some(false),
            shared_subscription_available: Some(false),
            server_keep_alive_secs: Some(30),
            response_information: Some("i".into()),
            server_reference: Some("s".into()),
            auth_method: Some("m".into()),
            auth_data: Some(Bytes::from_static(b"\xff")),
            notes: notes(),
        })),
    );
}

#[test]
fn connack_of_an_old_server_to_a_new_client() {
    let refused = Packet::ConnAck(Box::new(ConnAck::refused(ReasonCode::UnsupportedProtocolVersion)));
    long_form(V5, b"\x20\x02\0\x01", refused, b"\x20\x03\0\x84\0");
}

#[test]
fn publish_3_1_1() {
    both(V311, b"\x30\x05\0\x03a/b", {
        Packet::Publish(Box::new(Publish { topic: "a/b".into(), ..Publish::default() }))
    });
    both(V311, b"\x3d\x07\0\x01t\0\x07hi", {
        Packet::Publish(Box::new(Publish {
            dup: true,
            qos: QoS::ExactlyOnce,
            retain: true,
            packet_id: Some(id(7)),
            topic: "t".into(),
            payload: Bytes::from_static(b"hi"),
            ..Publish::default()
        }))
    });
}

#[test]
fn publish_5() {
    both(V5, b"\x30\x06\0\x01t\0hi", {
        let payload = Bytes::from_static(b"hi");
        Packet::Publish(Box::new(Publish { topic: "t".into(), payload, ..Publish::default() }))
    });
    let properties = bytes(&[
        b"\x01\x01\x02\0\0\0\x09\x23\0\x03\x08\0\x01r\x09\0\x01\xfe",
        b"\x26\0\x01a\0\x01\x31\x26\0\x01a\0\x01\x32\x0b\x01\x0b\x80\x01\x0b\xff\xff\xff\x7f\x03\0\x01c",
    ]);
    let bytes = support::packet(0x32, &[b"\0\0\0\x07", &[properties.len() as u8], &properties, b"\0\xff"]);
    both(
        V5,
        &bytes,
        Packet::Publish(Box::new(Publish {
            qos: QoS::AtLeastOnce,
            packet_id: Some(id(7)),
            payload_is_text: Some(true),
            message_expiry_secs: Some(9),
            topic_alias: NonZeroU16::new(3),
            response_topic: Some("r".into()),
            correlation_data: Some(Bytes::from_static(b"\xfe")),
            user: vec![("a".into(), "1".into()), ("a".into(), "2".into())],
            subscription_ids: vec![1, 128, 268_435_455],
            content_type: Some("c".into()),
            payload: Bytes::from_static(b"\0\xff"),
            ..Publish::default()
        })),
    );
}

#[test]
fn acks() {
    for (first, kind) in
        [(0x40, AckKind::PubAck), (0x50, AckKind::PubRec), (0x62, AckKind::PubRel), (0x70, AckKind::PubComp)]
    {
        let plain = Packet::Ack(Ack::new(kind, id(0x102)));
        both(V311, &[first, 2, 1, 2], plain.clone());
        both(V5, &[first, 2, 1, 2], plain.clone());
        long_form(V5, &[first, 3, 1, 2, 0], plain.clone(), &[first, 2, 1, 2]);
        long_form(V5, &[first, 4, 1, 2, 0, 0], plain, &[first, 2, 1, 2]);
        let reason = match kind {
            AckKind::PubAck | AckKind::PubRec => ReasonCode::QuotaExceeded,
            AckKind::PubRel | AckKind::PubComp => ReasonCode::PacketIdentifierNotFound,
        };
        let negative = Ack::with_reason(kind, id(0x102), reason);
        both(V5, &[first, 3, 1, 2, reason.byte()], Packet::Ack(negative.clone()));
        let bytes = support::packet(first, &[&[1, 2, reason.byte(), NOTES.len() as u8], NOTES]);
        both(V5, &bytes, Packet::Ack(Ack { notes: notes(), ..negative }));
    }
}

#[test]
fn subscribe() {
    both(V311, b"\x82\x0c\0\x0a\0\x01a\0\0\x03b/#\x02", {
        let subscriptions = vec![Subscription::new("a", QoS::AtMostOnce), Subscription::new("b/#", QoS::ExactlyOnce)];
        Packet::Subscribe(Subscribe { packet_id: id(10), subscription_id: None, user: vec![], subscriptions })
    });
    both(V5, b"\x82\x11\0\x0a\x09\x0b\x81\x01\x26\0\x01k\0\0\0\x02+/\x2d", {
        let subscription = Subscription {
            no_local: true,
            retain_as_published: true,
            retain_handling: RetainHandling::DoNotSend,
            ..Subscription::new("+/", QoS::AtLeastOnce)
        };
        Packet::Subscribe(Subscribe {
            packet_id: id(10),
            subscription_id: Some(129),
            user: vec![("k".into(), "".into())],
            subscriptions: vec![subscription],
        })
    });
}

#[test]
fn suback() {
    let codes =
        vec![ReasonCode::Success, ReasonCode::GrantedQos1, ReasonCode::GrantedQos2, ReasonCode::UnspecifiedError];
    let packet = |notes| Packet::SubAck(SubAck { packet_id: id(10), notes, codes: codes.clone() });
    both(V311, b"\x90\x06\0\x0a\0\x01\x02\x80", packet(Notes::default()));
    both(V5, b"\x90\x07\0\x0a\0\0\x01\x02\x80", packet(Notes::default()));
    let bytes = support::packet(0x90, &[b"\0\x0a", &[NOTES.len() as u8], NOTES, b"\0\x01\x02\x80"]);
    both(V5, &bytes, packet(notes()));
}

#[test]
fn suback_of_3_1_1_has_one_failure() {
    let codes = vec![ReasonCode::NotAuthorized];
    let packet = Packet::SubAck(SubAck { packet_id: id(1), notes: Notes::default(), codes });
    assert_eq!(encode(V311, &packet), b"\x90\x03\0\x01\x80");
}

#[test]
fn unsubscribe_and_unsuback() {
    let filters = || vec!["a".into(), "b/#".into()];
    both(V311, b"\xa2\x0a\0\x0a\0\x01a\0\x03b/#", {
        Packet::Unsubscribe(Unsubscribe { packet_id: id(10), user: vec![], filters: filters() })
    });
    both(V5, b"\xa2\x12\0\x0a\x07\x26\0\x01k\0\x01v\0\x01a\0\x03b/#", {
        let user = vec![("k".into(), "v".into())];
        Packet::Unsubscribe(Unsubscribe { packet_id: id(10), user, filters: filters() })
    });
    both(V311, b"\xb0\x02\0\x0a", {
        Packet::UnsubAck(UnsubAck { packet_id: id(10), notes: Notes::default(), codes: vec![] })
    });
    both(V5, b"\xb0\x05\0\x0a\0\0\x11", {
        let codes = vec![ReasonCode::Success, ReasonCode::NoSubscriptionExisted];
        Packet::UnsubAck(UnsubAck { packet_id: id(10), notes: Notes::default(), codes })
    });
}

#[test]
fn pings() {
    for version in [V31, V311, V5] {
        both(version, b"\xc0\0", Packet::PingReq);
        both(version, b"\xd0\0", Packet::PingResp);
    }
}

#[test]
fn disconnect() {
    let plain = || Packet::Disconnect(Disconnect::default());
    both(V311, b"\xe0\0", plain());
    both(V5, b"\xe0\0", plain());
    long_form(V5, b"\xe0\x01\0", plain(), b"\xe0\0");
    long_form(V5, b"\xe0\x02\0\0", plain(), b"\xe0\0");
    both(V5, b"\xe0\x01\x04", Packet::Disconnect(Disconnect::new(ReasonCode::DisconnectWithWill)));
    let bytes = support::packet(0xe0, &[b"\x9c", &[9 + NOTES.len() as u8], b"\x11\0\0\0\x05", NOTES, b"\x1c\0\x01s"]);
    both(V5, &bytes, {
        Packet::Disconnect(Disconnect {
            reason: ReasonCode::UseAnotherServer,
            session_expiry_secs: Some(5),
            server_reference: Some("s".into()),
            notes: notes(),
        })
    });
}

#[test]
fn auth() {
    both(V5, b"\xf0\0", Packet::Auth(Auth::default()));
    let bytes = support::packet(0xf0, &[b"\x18", &[9 + NOTES.len() as u8], b"\x15\0\x01m\x16\0\x02\0\xff", NOTES]);
    both(V5, &bytes, {
        Packet::Auth(Auth {
            reason: ReasonCode::ContinueAuthentication,
            method: Some("m".into()),
            data: Some(Bytes::from_static(b"\0\xff")),
            notes: notes(),
        })
    });
}
