//! What the decoder refuses, with the error and the reason code that the peer is owed; and what it must not refuse although other decoders do.

use bytes::{Bytes, BytesMut};
use roadbed_mqtt::codec::{
    Ack, AckKind, ConnAck, Connect, Disconnect, Limits, Packet, Publish, QoS, ReasonCode, SubAck, Version, Will, frame,
};
use roadbed_mqtt::{DecodeError, EncodeError};

mod support;
use support::{decode, decode_with, encode, id, packet};

use DecodeError as E;
use ReasonCode as R;
use Version::{V5, V31, V311};

#[track_caller]
fn refused(version: Version, bytes: &[u8], error: DecodeError, reason: ReasonCode) {
    assert_eq!(decode(version, bytes), Err(error));
    assert_eq!(error.reason(), reason);
}

/// In all versions.
#[track_caller]
fn always_refused(bytes: &[u8], error: DecodeError, reason: ReasonCode) {
    refused(V311, bytes, error, reason);
    refused(V5, bytes, error, reason);
}

/// A v5 CONNECT with these flags, property block and rest.
fn connect5(flags: u8, properties: &[u8], rest: &[u8]) -> Vec<u8> {
    packet(0x10, &[b"\0\x04MQTT\x05", &[flags, 0, 0, properties.len() as u8], properties, rest])
}

fn publish5(first: u8, topic: &str, properties: &[u8], payload: &[u8]) -> Vec<u8> {
    let id: &[u8] = if first & 6 == 0 { b"" } else { b"\0\x01" };
    packet(first, &[&[0, topic.len() as u8], topic.as_bytes(), id, &[properties.len() as u8], properties, payload])
}

#[test]
fn short_disconnects_are_legal() {
    assert_eq!(decode(V5, b"\xe0\0"), Ok(Packet::Disconnect(Disconnect::default())));
    assert_eq!(decode(V5, b"\xe0\x01\x04"), Ok(Packet::Disconnect(Disconnect::new(R::DisconnectWithWill))));
}

#[test]
fn a_packet_that_ends_before_its_property_length_is_malformed_not_incomplete() {
    for bytes in [
        &b"\x20\x02\0\0"[..],
        b"\x30\x03\0\x01t",
        b"\x82\x02\0\x01",
        b"\x90\x02\0\x01",
        b"\xa2\x02\0\x01",
        b"\xf0\x01\0",
    ] {
        let error = decode(V5, bytes).expect_err("cut off");
        assert!(matches!(error.reason(), R::MalformedPacket | R::ProtocolError), "{bytes:x?}: {error}");
    }
    refused(V5, b"\x30\x03\0\x01t", E::Truncated, R::MalformedPacket);
    refused(V5, b"\xe0\x03\0\x01\x11", E::Truncated, R::MalformedPacket);
}

#[test]
fn empty_properties_are_written_with_their_length() {
    assert_eq!(encode(V5, &Packet::ConnAck(Box::default())), b"\x20\x03\0\0\0");
}

#[test]
fn a_disconnect_keeps_its_reason_without_properties() {
    assert_eq!(encode(V5, &Packet::Disconnect(Disconnect::new(R::SessionTakenOver))), b"\xe0\x01\x8e");
}

#[test]
fn connect_leaves_earlier_packets_alone() {
    let mut connect = Connect::new(V311, "d");
    connect.user_name = Some("u".into());
    let mut out = BytesMut::new();
    Packet::PingReq.encode(V311, &mut out).expect("a ping");
    Packet::Connect(Box::new(connect.clone())).encode(V311, &mut out).expect("a connect");
    assert_eq!(&out[..2], b"\xc0\0");
    assert_eq!(decode(V311, &out[2..]), Ok(Packet::Connect(Box::new(connect))));
}

#[test]
fn many_subscription_identifiers_do_not_leak_into_the_payload() {
    let properties = b"\x0b\x01\x0b\x02\x0b\x03\x23\0\x01";
    let Ok(Packet::Publish(publish)) = decode(V5, &publish5(0x30, "t", properties, b"payload")) else {
        panic!("a legal packet")
    };
    assert_eq!(publish.subscription_ids, [1, 2, 3]);
    assert_eq!(publish.payload, "payload");
}

#[test]
fn a_property_does_not_reach_beyond_its_block() {
    // The user property says that it has 5 bytes of value, the block ends after one.
    let bytes = publish5(0x30, "t", b"\x26\0\x01k\0\x05v", b"aluepayload");
    refused(V5, &bytes, E::Truncated, R::MalformedPacket);
    refused(V5, &publish5(0x30, "t", b"\x02\0\0", b"\0\0"), E::Truncated, R::MalformedPacket);
}

#[test]
fn a_property_comes_once() {
    let twice = |property: &[u8]| [property, property].concat();
    refused(V5, &publish5(0x30, "t", &twice(b"\x01\0"), b""), E::PropertyRepeated(0x01), R::ProtocolError);
    refused(V5, &publish5(0x30, "t", &twice(b"\x23\0\x01"), b""), E::PropertyRepeated(0x23), R::ProtocolError);
    refused(V5, &connect5(2, &twice(b"\x21\0\x01"), b"\0\0"), E::PropertyRepeated(0x21), R::ProtocolError);
    let subscribe = packet(0x82, &[b"\0\x01\x04\x0b\x01\x0b\x02", b"\0\x01a\0"]);
    refused(V5, &subscribe, E::PropertyRepeated(0x0b), R::ProtocolError);
}

#[test]
fn a_property_stands_where_the_standard_allows_it() {
    refused(V5, &publish5(0x30, "t", b"\x11\0\0\0\x01", b""), E::PropertyNotAllowed(0x11), R::MalformedPacket);
    refused(V5, &publish5(0x30, "t", b"\x7e", b""), E::PropertyNotAllowed(0x7e), R::MalformedPacket);
    refused(V5, &connect5(2, b"\x0b\x01", b"\0\0"), E::PropertyNotAllowed(0x0b), R::MalformedPacket);
    refused(V5, b"\x40\x06\0\x01\0\x02\x01\x01", E::PropertyNotAllowed(1), R::MalformedPacket);
}

#[test]
fn property_values_are_checked() {
    let publish = |properties: &[u8]| publish5(0x30, "t", properties, b"");
    refused(V5, &publish(b"\x01\x02"), E::PropertyValue(0x01), R::ProtocolError);
    refused(V5, &publish(b"\x0b\0"), E::PropertyValue(0x0b), R::ProtocolError);
    refused(V5, &publish(b"\x0b\x80\0"), E::VariableByteInteger, R::MalformedPacket);
    refused(V5, &publish(b"\x23\0\0"), E::TopicAlias(0), R::TopicAliasInvalid);
    refused(V5, &publish(b"\x08\0\x03a/#"), E::TopicName, R::TopicNameInvalid);
    refused(V5, &publish(b"\x08\0\0"), E::TopicName, R::TopicNameInvalid);
    for (property, id) in [(&b"\x21\0\0"[..], 0x21), (b"\x27\0\0\0\0", 0x27), (b"\x17\x02", 0x17), (b"\x19\x02", 0x19)]
    {
        refused(V5, &connect5(2, property, b"\0\0"), E::PropertyValue(id), R::ProtocolError);
    }
    refused(V5, b"\x20\x05\0\0\x02\x24\x02", E::PropertyValue(0x24), R::ProtocolError);
}

#[test]
fn authentication_data_needs_a_method() {
    refused(V5, &connect5(2, b"\x16\0\0", b"\0\0"), E::AuthenticationMethodMissing, R::ProtocolError);
    refused(V5, b"\xf0\x02\x18\0", E::AuthenticationMethodMissing, R::ProtocolError);
    refused(V5, b"\x20\x06\0\0\x03\x16\0\0", E::AuthenticationMethodMissing, R::ProtocolError);
}

#[test]
fn reserved_flags() {
    for first in [0x12, 0x21, 0x41, 0x52, 0x60, 0x68, 0x71, 0x80, 0x91, 0xa0, 0xb4, 0xc1, 0xd8, 0xe1] {
        always_refused(&packet(first, &[&[0; 16]]), E::ReservedFlags(first), R::MalformedPacket);
    }
    refused(V5, b"\xf1\0", E::ReservedFlags(0xf1), R::MalformedPacket);
    refused(V311, b"\xf0\0", E::ReservedType(15), R::MalformedPacket);
    always_refused(b"\0\0", E::ReservedType(0), R::MalformedPacket);
}

#[test]
fn bodies_where_there_are_none() {
    for (first, kind) in
        [(0xc0, roadbed_mqtt::codec::PacketType::PingReq), (0xd0, roadbed_mqtt::codec::PacketType::PingResp)]
    {
        always_refused(&[first, 1, 0], E::Length { kind, remaining: 1 }, R::MalformedPacket);
    }
    let kind = roadbed_mqtt::codec::PacketType::Disconnect;
    refused(V311, b"\xe0\x01\0", E::Length { kind, remaining: 1 }, R::MalformedPacket);
    let kind = roadbed_mqtt::codec::PacketType::PubAck;
    refused(V311, b"\x40\x03\0\x01\0", E::Length { kind, remaining: 3 }, R::MalformedPacket);
    refused(V5, b"\x40\x05\0\x01\0\0\0", E::Trailing, R::MalformedPacket);
    refused(V5, b"\xe0\x03\0\0\0", E::Trailing, R::MalformedPacket);
    refused(V311, b"\x10\x10\0\x04MQTT\x04\x02\0\0\0\x03devX", E::Trailing, R::MalformedPacket);
}

#[test]
fn connect_flags() {
    let connect = |flags: u8| packet(0x10, &[b"\0\x04MQTT\x04", &[flags], b"\0\0\0\x01d\0\x01t\0\x01p\0\x01u\0\x01p"]);
    for flags in [0x01, 0x08, 0x10, 0x20, 0x40] {
        refused(V311, &connect(flags | 2), E::ConnectFlags(flags | 2), R::MalformedPacket);
    }
    refused(V311, &connect(0x1c), E::QoS3, R::MalformedPacket);
}

#[test]
fn passwords_are_bytes() {
    let connect = packet(0x10, &[b"\0\x04MQTT\x04\xc2\0\0\0\x01d\0\x01u\0\x02\xff\xfe"]);
    let Ok(Packet::Connect(connect)) = decode(V311, &connect) else { panic!("a legal packet") };
    assert_eq!(connect.password, Some(Bytes::from_static(b"\xff\xfe")));
}

#[test]
fn versions_are_told_apart_before_anything_is_read() {
    // The will of a 3.1.1 client has no properties, whatever version the caller expects.
    let bytes = packet(0x10, &[b"\0\x04MQTT\x04\x06\0\0\0\x01d\0\x01t\0\x01p"]);
    let mut connect = Connect::new(V311, "d");
    connect.will = Some(Will::new("t", &b"p"[..], QoS::AtMostOnce));
    assert_eq!(decode(V5, &bytes), Ok(Packet::Connect(Box::new(connect))));
    for (name, level) in [("MQTT", 3), ("MQTT", 6), ("MQTT", 0x84), ("MQIsdp", 4), ("MQTT", 0)] {
        let bytes = packet(0x10, &[&[0, name.len() as u8], name.as_bytes(), &[level, 2, 0, 0, 0, 1, b'd']]);
        always_refused(&bytes, E::ProtocolLevel(level), R::UnsupportedProtocolVersion);
    }
    always_refused(&packet(0x10, &[b"\0\x04MQtt\x04\x02\0\0\0\x01d"]), E::ProtocolName, R::UnsupportedProtocolVersion);
    assert!(matches!(decode(V31, b"\x10\x0f\0\x06MQIsdp\x03\x02\0\0\0\x01d"), Ok(Packet::Connect(_))));
}

#[test]
fn client_identifiers() {
    let old = packet(0x10, &[b"\0\x04MQTT\x04\0\0\0\0\0"]);
    refused(V311, &old, E::ClientId, R::ClientIdentifierNotValid);
    assert!(decode(V311, &packet(0x10, &[b"\0\x04MQTT\x04\x02\0\0\0\0"])).is_ok());
    refused(V31, &packet(0x10, &[b"\0\x06MQIsdp\x03\x02\0\0\0\0"]), E::ClientId, R::ClientIdentifierNotValid);
    assert!(decode(V5, &connect5(0, b"", b"\0\0")).is_ok());
}

#[test]
fn strings() {
    always_refused(&packet(0xa2, &[b"\0\x01", b"\0\0\0\x01"]), E::FilterEmpty, R::TopicFilterInvalid);
    refused(V311, &packet(0xa2, &[b"\0\x01\0\x02a\0"]), E::Nul, R::MalformedPacket);
    refused(V311, &packet(0xa2, &[b"\0\x01\0\x02\xc3\x28"]), E::Utf8, R::MalformedPacket);
    refused(V311, &packet(0x30, &[b"\0\x02a\0"]), E::Nul, R::MalformedPacket);
    refused(V5, &publish5(0x30, "t", b"\x26\0\x01\0\0\x01v", b""), E::Nul, R::MalformedPacket);
    refused(V5, &connect5(2, b"", b"\0\x01\xff"), E::Utf8, R::MalformedPacket);
    refused(V5, &connect5(2, b"", b"\0\x01\0"), E::Nul, R::MalformedPacket);
    // A surrogate is not a character [MQTT-1.5.4-1]; U+FEFF is one, and stays [MQTT-1.5.4-3].
    refused(V311, &packet(0x30, &[b"\0\x03\xed\xa0\x80"]), E::Utf8, R::MalformedPacket);
    let Ok(Packet::Publish(publish)) = decode(V311, &packet(0x30, &[b"\0\x04\xef\xbb\xbft"])) else { panic!("legal") };
    assert_eq!(publish.topic, "\u{feff}t");
}

#[test]
fn publish() {
    always_refused(b"\x36\x06\0\x01t\0\x01\0", E::QoS3, R::MalformedPacket);
    always_refused(b"\x38\x04\0\x01t\0", E::DupWithoutQos, R::MalformedPacket);
    always_refused(b"\x32\x06\0\x01t\0\0\0", E::PacketIdZero, R::ProtocolError);
    for topic in ["a/#", "+", "a+b"] {
        refused(V5, &publish5(0x30, topic, b"", b""), E::TopicName, R::TopicNameInvalid);
        let bytes = packet(0x30, &[&[0, topic.len() as u8], topic.as_bytes()]);
        refused(V311, &bytes, E::TopicName, R::TopicNameInvalid);
    }
    refused(V311, b"\x30\x02\0\0", E::TopicName, R::TopicNameInvalid);
    refused(V5, b"\x30\x03\0\0\0", E::TopicMissing, R::ProtocolError);
    assert!(decode(V5, &publish5(0x30, "", b"\x23\0\x01", b"")).is_ok());
    refused(V5, b"\x30\x04\0\x09t\0", E::Truncated, R::MalformedPacket);
}

#[test]
fn subscribe_and_unsubscribe() {
    let subscribe = |id: u8, rest: &[u8]| packet(0x82, &[&[0, id, 0], rest]);
    refused(V5, &subscribe(0, b"\0\x01a\0"), E::PacketIdZero, R::ProtocolError);
    refused(V5, &subscribe(1, b""), E::ListEmpty, R::ProtocolError);
    refused(V5, &subscribe(1, b"\0\0\0"), E::FilterEmpty, R::TopicFilterInvalid);
    refused(V5, &subscribe(1, b"\0\x01a\x03"), E::QoS3, R::MalformedPacket);
    refused(V5, &subscribe(1, b"\0\x01a\x40"), E::SubscriptionOptions(0x40), R::MalformedPacket);
    refused(V5, &subscribe(1, b"\0\x01a\x80"), E::SubscriptionOptions(0x80), R::MalformedPacket);
    refused(V5, &subscribe(1, b"\0\x01a\x30"), E::RetainHandling, R::ProtocolError);
    refused(V5, &subscribe(1, b"\0\x0a$share/g/a\x04"), E::NoLocalOnShare, R::ProtocolError);
    refused(V5, &subscribe(1, b"\0\x01a"), E::Truncated, R::MalformedPacket);
    for bit in 2..8 {
        let options = 1 << bit;
        let bytes = packet(0x82, &[b"\0\x01\0\x01a", &[options]]);
        refused(V311, &bytes, E::SubscriptionOptions(options), R::MalformedPacket);
    }
    refused(V311, b"\x82\x02\0\x01", E::ListEmpty, R::ProtocolError);
    refused(V311, b"\xa2\x02\0\x01", E::ListEmpty, R::ProtocolError);
    refused(V311, b"\xa2\x05\0\0\0\x01a", E::PacketIdZero, R::ProtocolError);
    refused(V5, b"\xa2\x03\0\x01\0", E::ListEmpty, R::ProtocolError);
}

#[test]
fn packet_identifiers_of_answers() {
    for first in [0x40, 0x50, 0x62, 0x70] {
        always_refused(&[first, 2, 0, 0], E::PacketIdZero, R::ProtocolError);
    }
    always_refused(b"\x90\x04\0\0\0\0", E::PacketIdZero, R::ProtocolError);
    refused(V311, b"\xb0\x02\0\0", E::PacketIdZero, R::ProtocolError);
}

#[test]
fn reason_codes_belong_to_their_packet() {
    use roadbed_mqtt::codec::PacketType as P;
    for (bytes, kind, code) in [
        (&b"\x40\x03\0\x01\x92"[..], P::PubAck, 0x92),
        (b"\x62\x03\0\x01\x80", P::PubRel, 0x80),
        (b"\xe0\x01\x18", P::Disconnect, 0x18),
        (b"\xe0\x01\x7f", P::Disconnect, 0x7f),
        (b"\x20\x03\0\x8d\0", P::ConnAck, 0x8d),
        (b"\x90\x04\0\x01\0\x04", P::SubAck, 4),
        (b"\xb0\x04\0\x01\0\x01", P::UnsubAck, 1),
    ] {
        refused(V5, bytes, E::ReasonCode { kind, code }, R::ProtocolError);
    }
    refused(V311, b"\x90\x03\0\x01\x87", E::ReasonCode { kind: P::SubAck, code: 0x87 }, R::ProtocolError);
    refused(V311, b"\x20\x02\0\x06", E::ReasonCode { kind: P::ConnAck, code: 6 }, R::ProtocolError);
}

#[test]
fn connack_flags() {
    always_refused(&packet(0x20, &[&[2, 0, 0][..2], &[][..]])[..], E::ConnAckFlags(2), R::MalformedPacket);
    refused(V311, b"\x20\x02\x01\x05", E::SessionPresent, R::ProtocolError);
    refused(V5, b"\x20\x03\x01\x87\0", E::SessionPresent, R::ProtocolError);
}

#[test]
fn lengths() {
    always_refused(b"\xc0\x80\0", E::VariableByteInteger, R::MalformedPacket);
    always_refused(b"\x30\x80\x80\x80\x80\x01", E::VariableByteInteger, R::MalformedPacket);
    // The property length is a variable byte integer, too.
    refused(V5, b"\x30\x05\0\x01t\x80\0", E::VariableByteInteger, R::MalformedPacket);
    let limits = Limits::default().packet_bytes_max(7);
    assert!(decode_with(V311, b"\x30\x05\0\x03a/b", &limits).is_ok());
    let error = E::PacketTooLarge { bytes: 8, bytes_max: 7 };
    assert_eq!(decode_with(V311, b"\x30\x06\0\x04a/bc", &limits), Err(error));
    assert_eq!(error.reason(), R::PacketTooLarge);
}

#[test]
fn a_packet_that_is_too_large_is_refused_by_its_header() {
    let (chunk, mut at) = (Bytes::from_static(b"\x30\xff\xff\xff\x7f"), 0);
    let error = frame(&chunk, &mut at, Some(V5), &Limits::default()).expect_err("too large");
    assert_eq!(error, E::PacketTooLarge { bytes: 268_435_460, bytes_max: 1 << 20 });
}

#[test]
fn lists_are_bounded() {
    let limits = Limits::default().filters_max(2).user_properties_max(2);
    let subscribe = |n| packet(0x82, &[b"\0\x01\0", &b"\0\x01a\0".repeat(n)]);
    assert!(decode_with(V5, &subscribe(2), &limits).is_ok());
    assert_eq!(decode_with(V5, &subscribe(3), &limits), Err(E::TooManyFilters(2)));
    let publish = |n| publish5(0x30, "t", &b"\x26\0\x01a\0\0".repeat(n), b"");
    assert!(decode_with(V5, &publish(2), &limits).is_ok());
    assert_eq!(decode_with(V5, &publish(3), &limits), Err(E::TooManyUserProperties(2)));
    assert_eq!(E::TooManyFilters(2).reason(), R::QuotaExceeded);
    assert_eq!(E::TooManyUserProperties(2).reason(), R::QuotaExceeded);
}

#[test]
fn fields_that_are_too_long_are_refused_before_anything_is_written() {
    let long = "x".repeat(65_536);
    let mut connect = Connect::new(V5, long.as_str());
    let publish = Publish { topic: long.as_str().into(), ..Publish::default() };
    let user = Publish { topic: "t".into(), user: vec![("k".into(), long.as_str().into())], ..Publish::default() };
    for packet in [
        Packet::Connect(Box::new(connect.clone())),
        Packet::Publish(Box::new(publish)),
        Packet::Publish(Box::new(user)),
    ] {
        let mut out = BytesMut::new();
        assert_eq!(packet.encode(V5, &mut out), Err(EncodeError::FieldTooLong));
        assert!(out.is_empty());
    }
    connect.client_id = long[1..].into();
    assert!(Packet::Connect(Box::new(connect)).encode(V5, &mut BytesMut::new()).is_ok());
}

#[test]
fn nothing_is_written_of_a_packet_that_cannot_be() {
    let refused = |version, packet: Packet| {
        let mut out = BytesMut::new();
        let error = packet.encode(version, &mut out).expect_err("not sayable");
        assert!(out.is_empty(), "{packet:?}");
        assert_eq!(packet.encoded_len(version), Err(error));
        error
    };
    let publish = Publish { qos: QoS::AtLeastOnce, topic: "t".into(), ..Publish::default() };
    assert_eq!(refused(V5, Packet::Publish(Box::new(publish))), EncodeError::PacketIdMissing);
    let negative = Ack::with_reason(AckKind::PubAck, id(1), R::QuotaExceeded);
    assert_eq!(refused(V311, Packet::Ack(negative)), EncodeError::Unsayable);
    assert_eq!(refused(V311, Packet::Auth(Default::default())), EncodeError::Unsayable);
    for topic in ["a/#", "a\0"] {
        let publish = Publish { topic: topic.into(), ..Publish::default() };
        assert_eq!(refused(V5, Packet::Publish(Box::new(publish))), EncodeError::Text);
    }
    assert_eq!(refused(V5, Packet::Connect(Box::new(Connect::new(V5, "\0")))), EncodeError::Text);
    let empty = SubAck { packet_id: id(1), notes: Default::default(), codes: vec![] };
    assert_eq!(refused(V5, Packet::SubAck(empty)), EncodeError::ListEmpty);
    let mut password = Connect::new(V311, "d");
    password.password = Some(Bytes::from_static(b"p"));
    assert_eq!(refused(V311, Packet::Connect(Box::new(password))), EncodeError::Unsayable);
}

#[test]
fn a_buffer_that_cannot_grow_is_not_overrun() {
    let mut room = [0; 4];
    let packet = Packet::ConnAck(Box::new(ConnAck::refused(R::Banned)));
    assert_eq!(packet.encode(V5, &mut &mut room[..]), Err(EncodeError::NoRoom));
    assert_eq!(room, [0; 4]);
    assert_eq!(packet.encode(V311, &mut &mut room[..]), Ok(()));
    assert_eq!(room, [0x20, 2, 0, 5]);
}
