//! The machine against itself, in both roles, with every split of the bytes; and against bytes that no good peer sends.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use roadbed_core::{
    Condition, Confirm, CopyId, Delivery, DeliveryId, DeliveryInfo, Fence, Handle, Message, Opened, Origin, Outcome,
    Outgoing, Protocol, Qos, QueueId, Time,
};
use roadbed_mqtt::codec::{
    Ack, AckKind, Connect, Disconnect, Limits, Notes, PacketId, QoS, ReasonCode, Subscribe, Subscription, Unsubscribe,
    Version, Will,
};
use roadbed_mqtt::{DecodeError, Error, Event, Incoming, MachineConfig, Said, SendError, Welcome};

#[path = "support/pair.rs"]
mod pair;
mod support;

use pair::Pair;
use support::id;

use Version::{V5, V31, V311};

const PIECES: [usize; 9] = [1, 2, 3, 4, 5, 7, 11, 64, usize::MAX];

fn everywhere(test: impl Fn(Version, usize)) {
    for version in [V31, V311, V5] {
        PIECES.iter().for_each(|&piece| test(version, piece));
    }
}

fn message(topic: &str, payload: impl Into<roadbed_core::Payload>) -> Message {
    Message::new(topic.parse().expect("a legal address"), payload)
}

fn delivery(message: Message, qos: Qos, slot: u16) -> Delivery {
    let handle = Handle::new(slot, 1).filter(|_| qos != Qos::AtMostOnce);
    Delivery { message, handle, qos, retained: false, attempt: 1, info: None }
}

fn accepted(cookie: u64) -> Confirm {
    Confirm { cookie, outcome: Outcome::Accepted, why: None, provisional: None }
}

#[track_caller]
fn one(events: Vec<Event>) -> Event {
    let [event] = <[Event; 1]>::try_from(events).unwrap_or_else(|events| panic!("{events:?}"));
    event
}

#[track_caller]
fn incoming(events: Vec<Event>) -> Incoming {
    match one(events) {
        Event::Publish(incoming) => incoming,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn ack(events: Vec<Event>) -> Ack {
    match one(events) {
        Event::Ack(ack) => ack,
        other => panic!("{other:?}"),
    }
}

// ---- the good paths -------------------------------------------------------------------------------------------------

#[test]
fn connects_and_leaves() {
    everywhere(|version, piece| {
        let mut pair = Pair::open(version, piece);
        assert!(pair.server.is_open() && pair.client.is_open());
        pair.client.disconnect(Disconnect::default(), &mut pair.to_server).expect("open");
        assert!(matches!(one(pair.at_server()), Event::Disconnect(packet) if packet == Disconnect::default()));
        assert!(pair.server.is_closed() && pair.client.is_closed());
        assert_eq!(pair.said(), b"", "nothing follows a DISCONNECT");
    });
}

#[test]
fn carries_a_message_up_at_every_qos() {
    everywhere(|version, piece| {
        let mut pair = Pair::open(version, piece);
        for (qos, kind) in [(Qos::AtLeastOnce, AckKind::PubAck), (Qos::ExactlyOnce, AckKind::PubRec)] {
            let sent = message("a/b", vec![7; 300]);
            pair.client
                .publish_message(&sent, qos, Some(id(9)), false, pair.now, &mut pair.to_server)
                .expect("within the limits");
            let came = incoming(pair.at_server());
            assert_eq!((came.qos, came.dup, came.packet_id), (qos, false, Some(id(9))));
            assert_eq!(came.message.address(), sent.address());
            assert_eq!(came.message.payload(), sent.payload());
            let said = pair.server.confirm(&accepted(came.cookie()), &mut pair.to_client).expect("open");
            assert_eq!(said, Said::Yes);
            assert_eq!(ack(pair.at_client()), Ack::new(kind, id(9)));
        }
        pair.client.release(id(9), ReasonCode::Success, &mut pair.to_server).expect("open");
        assert_eq!(ack(pair.at_server()), Ack::new(AckKind::PubRel, id(9)));
        pair.server.complete(id(9), ReasonCode::Success, &mut pair.to_client).expect("open");
        assert_eq!(ack(pair.at_client()), Ack::new(AckKind::PubComp, id(9)));
        let sent = message("a/b", "");
        pair.client
            .publish_message(&sent, Qos::AtMostOnce, None, false, pair.now, &mut pair.to_server)
            .expect("within the limits");
        let came = incoming(pair.at_server());
        assert_eq!((came.packet_id, came.cookie(), came.message.payload().len()), (None, 0, 0));
    });
}

#[test]
fn carries_a_message_down_at_every_qos() {
    everywhere(|version, piece| {
        let mut pair = Pair::open(version, piece);
        for qos in Qos::ALL {
            let sent = delivery(message("down/é", vec![1; 5000]), qos, 3);
            pair.server.deliver(&sent, qos != Qos::AtMostOnce, pair.now, &mut pair.to_client).expect("open");
            let came = incoming(pair.at_client());
            assert_eq!((came.qos, came.dup), (qos, qos != Qos::AtMostOnce));
            assert_eq!(came.packet_id, (qos != Qos::AtMostOnce).then(|| id(3)));
            assert_eq!(came.message.payload(), sent.message.payload());
            if qos == Qos::AtLeastOnce {
                let said = pair.client.confirm(&accepted(came.cookie()), &mut pair.to_server).expect("open");
                assert_eq!(said, Said::Yes);
                assert_eq!(ack(pair.at_server()), Ack::new(AckKind::PubAck, id(3)));
            }
        }
    });
}

#[test]
fn a_message_on_its_way_in_has_the_packet_id_as_its_key() {
    let mut pair = Pair::open(V5, 5);
    for (qos, key) in [(Qos::AtLeastOnce, None), (Qos::ExactlyOnce, Some(roadbed_core::Key::Number(9)))] {
        let sent = message("a", "x");
        pair.client.publish_message(&sent, qos, Some(id(9)), true, pair.now, &mut pair.to_server).expect("open");
        let came = incoming(pair.at_server());
        assert!(came.dup);
        let outgoing = Outgoing::from(came);
        assert_eq!((outgoing.key, outgoing.qos), (key, qos));
    }
}

#[test]
fn subscribes_and_unsubscribes() {
    everywhere(|version, piece| {
        let mut pair = Pair::open(version, piece);
        let subscriptions =
            vec![Subscription::new("a/+", QoS::AtLeastOnce), Subscription::new("$share/g/b", QoS::ExactlyOnce)];
        let packet = Subscribe { packet_id: id(1), subscription_id: None, user: vec![], subscriptions };
        pair.client.subscribe(packet.clone(), &mut pair.to_server).expect("open");
        assert!(matches!(one(pair.at_server()), Event::Subscribe(came) if came == packet));
        let codes = vec![ReasonCode::GrantedQos1, ReasonCode::NotAuthorized];
        pair.server.subscribed(id(1), codes, Notes::default(), &mut pair.to_client).expect("open");
        let Event::SubAck(suback) = one(pair.at_client()) else { panic!("not a SUBACK") };
        let failure = if version.is_v5() { ReasonCode::NotAuthorized } else { ReasonCode::UnspecifiedError };
        assert_eq!(suback.codes, [ReasonCode::GrantedQos1, failure]);

        let packet = Unsubscribe { packet_id: id(2), user: vec![], filters: vec!["a/+".into()] };
        pair.client.unsubscribe(packet.clone(), &mut pair.to_server).expect("open");
        assert!(matches!(one(pair.at_server()), Event::Unsubscribe(came) if came == packet));
        pair.server
            .unsubscribed(id(2), vec![ReasonCode::Success], Notes::default(), &mut pair.to_client)
            .expect("open");
        assert!(matches!(one(pair.at_client()), Event::UnsubAck(came) if came.packet_id == id(2)));
    });
}

#[test]
fn properties_survive_the_way() {
    let mut pair = Pair::open(V5, 3);
    let sent = Message::builder("a".parse().expect("legal"), "x")
        .expires_at(pair.now + Duration::from_millis(4_100))
        .retain(true)
        .property("k", "1")
        .property("k", "2")
        .details(|details| {
            details.content_type = Some("text/plain".into());
            details.utf8 = Some(true);
            details.reply_to = Some("re/ply".parse().expect("legal"));
            details.correlation_id = Some(Bytes::from_static(b"\0\xff").into());
        })
        .build();
    pair.client.publish_message(&sent, Qos::AtMostOnce, None, false, pair.now, &mut pair.to_server).expect("open");
    let came = incoming(pair.at_server()).message;
    assert_eq!(came.details(), sent.details());
    assert!(came.retain());
    // Seconds are rounded up.
    assert_eq!(came.expires_at(), Some(pair.now + Duration::from_secs(5)));
    assert!(pair.client.losses().is_empty());
}

#[test]
fn the_lifetime_left_is_told_on_the_way_out() {
    let mut pair = Pair::open(V5, 64);
    let sent =
        Message::builder("a".parse().expect("legal"), "x").expires_at(pair.now + Duration::from_secs(60)).build();
    pair.now = pair.now + Duration::from_secs(50);
    pair.server
        .deliver(&delivery(sent.clone(), Qos::AtMostOnce, 1), false, pair.now, &mut pair.to_client)
        .expect("open");
    let came = incoming(pair.at_client()).message;
    assert_eq!(came.expires_at(), Some(pair.now + Duration::from_secs(10)));
    // A message that is just being sent is never told to be dead already.
    let late = pair.now + Duration::from_secs(60);
    pair.server.deliver(&delivery(sent, Qos::AtMostOnce, 1), false, late, &mut pair.to_client).expect("open");
    assert_eq!(incoming(pair.at_client()).message.expires_at(), Some(pair.now + Duration::from_secs(1)));
}

#[test]
fn what_mqtt_3_cannot_carry_is_counted() {
    let mut pair = Pair::open(V311, 64);
    let sent = Message::builder("a".parse().expect("legal"), "x").expires_at(Time::MAX).property("k", "v").build();
    pair.server.deliver(&delivery(sent, Qos::AtMostOnce, 1), false, pair.now, &mut pair.to_client).expect("open");
    let lost: Vec<_> = pair.server.losses().iter().map(|(loss, count)| (loss.what, count)).collect();
    assert_eq!(lost, [("expiry", 1), ("properties", 1)]);
    assert!(incoming(pair.at_client()).message.details().properties.is_empty());
}

#[test]
fn deliveries_name_their_subscriptions() {
    let mut pair = Pair::open(V5, 2);
    let copy = CopyId { queue: QueueId(1), seq: 1 };
    let mut info = DeliveryInfo::new(DeliveryId { copy, fence: Fence::default() }, pair.now);
    info.bindings = vec![1, 300, 70_000];
    let sent = Delivery { info: Some(Box::new(info)), ..delivery(message("a", "x"), Qos::AtMostOnce, 1) };
    pair.server.deliver(&sent, false, pair.now, &mut pair.to_client).expect("open");
    assert_eq!(incoming(pair.at_client()).subscription_ids, [1, 300, 70_000]);
}

#[test]
fn the_retain_flag_down_is_the_deliverys_and_up_the_messages() {
    let mut pair = Pair::open(V311, 64);
    let retained = message("a", "x").to_builder().retain(true).build();
    pair.server
        .deliver(&delivery(retained.clone(), Qos::AtMostOnce, 1), false, pair.now, &mut pair.to_client)
        .expect("open");
    assert_eq!(pair.said()[0], 0x30);
    let sent = Delivery { retained: true, ..delivery(message("a", "x"), Qos::AtMostOnce, 1) };
    pair.server.deliver(&sent, false, pair.now, &mut pair.to_client).expect("open");
    assert_eq!(pair.said()[0], 0x31);
    pair.client.publish_message(&retained, Qos::AtMostOnce, None, false, pair.now, &mut pair.to_server).expect("open");
    assert_eq!(pair.client_said()[0], 0x31);
}

#[test]
fn payloads_are_not_copied() {
    let mut pair = Pair::open(V5, usize::MAX);
    let sent = message("a", vec![5; 16 << 10]);
    pair.client.publish_message(&sent, Qos::AtMostOnce, None, false, pair.now, &mut pair.to_server).expect("open");
    // Out: the payload stands beside the header, as it is.
    let shared = sent.payload().shared().expect("too large to be inline")[0].as_ptr();
    assert!(pair.to_server.shared().any(|piece| piece.as_ptr() == shared));
    // In: it is a slice of the chunk.
    let (chunk, mut at) = (Bytes::from(pair.client_said()), 0);
    let event = pair.server.next(pair.now, &chunk, &mut at, &mut pair.to_client).expect("legal");
    let Some(Event::Publish(came)) = event else { panic!("{event:?}") };
    let slice = &came.message.payload().shared().expect("too large to be inline")[0];
    assert!(chunk.as_ptr_range().contains(&slice.as_ptr()));
}

// ---- what both ends agree on ----------------------------------------------------------------------------------------

#[test]
fn connack_says_what_differs() {
    let mut connect = Connect::new(V5, "");
    connect.session_expiry_secs = Some(1000);
    connect.keep_alive_secs = 120;
    let server = MachineConfig::default().qos_max(QoS::AtLeastOnce).retain_available(false).keep_alive_secs_max(60);
    let mut pair = Pair::connecting(connect, server, MachineConfig::default(), 4);
    assert!(matches!(one(pair.at_server()), Event::Connect(_)));
    let opened = Opened {
        resumed: true,
        name: Some("assigned".into()),
        expiry: Duration::from_secs(500),
        qos_max: Qos::ExactlyOnce,
        ..Opened::default()
    };
    pair.server.accept(Welcome::new(Arc::default(), &opened), pair.now, &mut pair.to_client).expect("asked");
    let Event::ConnAck(connack) = one(pair.at_client()) else { panic!("not a CONNACK") };
    assert!(connack.session_present);
    assert_eq!(connack.assigned_client_id.as_deref(), Some("assigned"));
    assert_eq!(connack.session_expiry_secs, Some(500));
    assert_eq!(connack.maximum_qos, Some(QoS::AtLeastOnce));
    assert_eq!(connack.retain_available, Some(false));
    assert_eq!(connack.server_keep_alive_secs, Some(60));
    assert_eq!(connack.receive_maximum, NonZeroU16::new(1024));
    assert_eq!(connack.topic_alias_maximum, Some(16));
    assert_eq!(connack.maximum_packet_size, Some(1 << 20));
    assert_eq!((pair.client.peer().keep_alive_secs, pair.client.peer().session_expiry_secs), (60, 500));

    let refused = pair.client.publish_message(
        &message("a", ""),
        Qos::ExactlyOnce,
        Some(id(1)),
        false,
        pair.now,
        &mut pair.to_server,
    );
    assert_eq!(refused, Err(SendError::Qos));
    let retained = message("a", "").to_builder().retain(true).build();
    let refused = pair.client.publish_message(&retained, Qos::AtMostOnce, None, false, pair.now, &mut pair.to_server);
    assert_eq!(refused, Err(SendError::Retain));
}

#[test]
fn connack_says_nothing_that_the_client_knows() {
    let mut connect = Connect::new(V5, "named");
    connect.session_expiry_secs = Some(7);
    let config = MachineConfig::default().receive_maximum(u16::MAX).topic_aliases_in_max(0);
    let mut pair = Pair::connecting(connect, config.clone(), config, 4);
    assert!(matches!(one(pair.at_server()), Event::Connect(_)));
    let opened = Opened {
        name: Some("named".into()),
        expiry: Duration::from_secs(7),
        qos_max: Qos::ExactlyOnce,
        ..Opened::default()
    };
    pair.server.accept(Welcome::new(Arc::default(), &opened), pair.now, &mut pair.to_client).expect("asked");
    assert_eq!(pair.said(), b"\x20\x08\0\0\x05\x27\0\x10\0\0", "only the largest packet");
}

#[test]
fn refuses() {
    everywhere(|version, piece| {
        let connect = Connect::new(version, "dev");
        let mut pair = Pair::connecting(connect, MachineConfig::default(), MachineConfig::default(), piece);
        assert!(matches!(one(pair.at_server()), Event::Connect(_)));
        pair.server.refuse(ReasonCode::BadUserNameOrPassword, Notes::text("no"), &mut pair.to_client).expect("asked");
        let Event::ConnAck(connack) = one(pair.at_client()) else { panic!("not a CONNACK") };
        assert_eq!(connack.reason, ReasonCode::BadUserNameOrPassword);
        assert_eq!(connack.notes.reason_string.as_deref(), version.is_v5().then_some("no"));
        assert!(pair.server.is_closed() && pair.client.is_closed());
    });
}

#[test]
fn what_follows_connect_waits_for_the_answer() {
    for &piece in &PIECES {
        let connect = Connect::new(V311, "dev");
        let mut pair = Pair::connecting(connect, MachineConfig::default(), MachineConfig::default(), piece);
        let events = pair.inject(b"\x30\x04\0\x01tx").expect("legal");
        assert!(matches!(one(events), Event::Connect(_)));
        assert!(!pair.server.wants_input());
        pair.server.accept(Welcome::default(), pair.now, &mut pair.to_client).expect("asked");
        assert!(pair.server.wants_input());
        assert_eq!(incoming(pair.at_server()).message.address().as_str(), "t");
    }
}

#[test]
fn aliases_replace_topics_both_ways() {
    for &piece in &PIECES {
        let mut connect = Connect::new(V5, "dev");
        connect.clean_start = true;
        let config = MachineConfig::default().topic_aliases_in_max(2);
        let mut pair = Pair::open_with(connect, config.clone(), config, piece);
        let mut lengths = vec![];
        for topic in ["long/topic/one", "long/topic/two", "long/topic/three"].repeat(2) {
            let sent = message(topic, "x");
            pair.client
                .publish_message(&sent, Qos::AtMostOnce, None, false, pair.now, &mut pair.to_server)
                .expect("open");
            lengths.push(pair.to_server.len());
            assert_eq!(incoming(pair.at_server()).message.address().as_str(), topic);
            pair.server
                .deliver(&delivery(sent, Qos::AtMostOnce, 1), false, pair.now, &mut pair.to_client)
                .expect("open");
            assert_eq!(pair.to_client.len(), *lengths.last().expect("just pushed"));
            assert_eq!(incoming(pair.at_client()).message.address().as_str(), topic);
        }
        assert_eq!(lengths, [23, 23, 22, 9, 9, 22], "the third topic finds no alias left");
    }
}

#[test]
fn aliases_that_were_not_offered_or_not_set_are_refused() {
    for (bytes, alias) in [
        (&b"\x30\x06\0\0\x03\x23\0\x01"[..], 1),
        (b"\x30\x07\0\x01t\x03\x23\0\x11", 17),
        (b"\x30\x07\0\x01t\x03\x23\0\0", 0),
    ] {
        let mut pair = Pair::open(V5, 3);
        assert_eq!(pair.inject(bytes).map(drop), Err(DecodeError::TopicAlias(alias).into()));
        assert_eq!(pair.said(), b"\xe0\x01\x94");
    }
}

#[test]
fn an_alias_can_be_set_anew() {
    let mut pair = Pair::open(V5, 64);
    let topics: Vec<_> = pair
        .inject(b"\x30\x07\0\x01a\x03\x23\0\x01\x30\x06\0\0\x03\x23\0\x01\x30\x07\0\x01b\x03\x23\0\x01\x30\x06\0\0\x03\x23\0\x01")
        .expect("legal")
        .into_iter()
        .map(|event| incoming(vec![event]).message.address().to_string())
        .collect();
    assert_eq!(topics, ["a", "a", "b", "b"]);
}

#[test]
fn receive_maximum_is_kept_when_sending() {
    let mut connect = Connect::new(V5, "dev");
    connect.keep_alive_secs = 0;
    let small = MachineConfig::default().receive_maximum(2);
    let mut pair = Pair::open_with(connect, small.clone(), small, 64);
    let sent = |slot| delivery(message("a", "x"), Qos::ExactlyOnce, slot);
    for slot in [1, 2] {
        pair.server.deliver(&sent(slot), false, pair.now, &mut pair.to_client).expect("there is room");
    }
    assert_eq!(pair.server.quota(), 0);
    let refused = pair.server.deliver(&sent(3), false, pair.now, &mut pair.to_client);
    assert_eq!(refused, Err(SendError::ReceiveMaximum));
    // QoS 0 is not counted.
    pair.server
        .deliver(&delivery(message("a", "x"), Qos::AtMostOnce, 1), false, pair.now, &mut pair.to_client)
        .expect("open");
    assert_eq!(pair.at_client().len(), 3);
    // A positive PUBREC does not make room, PUBCOMP does, and so does a negative PUBREC [section 4.9].
    pair.client.acknowledge(Ack::new(AckKind::PubRec, id(1)), &mut pair.to_server).map(|_| ()).expect("open");
    pair.at_server();
    assert_eq!(pair.server.quota(), 0);
    pair.client.complete(id(1), ReasonCode::Success, &mut pair.to_server).expect("open");
    pair.at_server();
    assert_eq!(pair.server.quota(), 1);
    let negative = Ack::with_reason(AckKind::PubRec, id(2), ReasonCode::QuotaExceeded);
    pair.client.acknowledge(negative, &mut pair.to_server).map(|_| ()).expect("open");
    pair.at_server();
    assert_eq!(pair.server.quota(), 2);
    // Answers that answer nothing do not make more room than there was.
    pair.client.complete(id(7), ReasonCode::Success, &mut pair.to_server).expect("open");
    pair.at_server();
    assert_eq!(pair.server.quota(), 2);
}

#[test]
fn receive_maximum_overrun_is_0x93() {
    let config = MachineConfig::default().receive_maximum(2);
    let mut pair = Pair::open_with(Connect::new(V5, "dev"), config, MachineConfig::default(), 3);
    let publish = |id: u8| [0x32, 6, 0, 1, b't', 0, id, 0];
    assert_eq!(pair.inject(&[publish(1), publish(2)].concat()).expect("two are allowed").len(), 2);
    pair.server.confirm(&accepted((1 << 16) | 1), &mut pair.to_client).map(|_| ()).expect("open");
    assert_eq!(pair.inject(&publish(3)).expect("one was answered").len(), 1);
    pair.said();
    assert_eq!(pair.inject(&publish(4)).map(drop), Err(Error::ReceiveMaximum(2)));
    assert_eq!(pair.said(), b"\xe0\x01\x93");
    assert!(pair.server.is_closed());
}

#[test]
fn maximum_packet_size_is_kept_both_ways() {
    let small = MachineConfig::default().limits(Limits::default().packet_bytes_max(60));
    let mut connect = Connect::new(V5, "dev");
    connect.request_problem_information = Some(true);
    let mut pair = Pair::open_with(connect, small.clone(), small, 7);
    // 2 bytes of header, 3 of topic, 1 of property length.
    let fits = message("a", vec![0; 60 - 6]);
    let large = message("a", vec![0; 60 - 5]);
    pair.server
        .deliver(&delivery(large, Qos::AtMostOnce, 1), false, pair.now, &mut pair.to_client)
        .expect_err("too large");
    assert!(pair.to_client.is_empty(), "nothing was written");
    // The first use of a topic carries its alias, three bytes more.
    let with_alias = message("a", vec![0; 60 - 9]);
    pair.server.deliver(&delivery(with_alias, Qos::AtMostOnce, 1), false, pair.now, &mut pair.to_client).expect("fits");
    assert_eq!(pair.to_client.len(), 60);
    assert_eq!(pair.at_client().len(), 1);
    let refused = pair.server.deliver(&delivery(fits, Qos::AtMostOnce, 1), false, pair.now, &mut pair.to_client);
    assert_eq!(refused, Err(SendError::PacketTooLarge { bytes: 62, bytes_max: 60 }));
    // Notes give way before an answer does.
    let ack = Ack {
        notes: Notes::text("x".repeat(80)),
        ..Ack::with_reason(AckKind::PubAck, id(1), ReasonCode::QuotaExceeded)
    };
    assert_eq!(pair.server.acknowledge(ack, &mut pair.to_client), Ok(Said::Yes));
    assert_eq!(pair.said(), b"\x40\x03\0\x01\x97");
    // And on the way in, the header is enough to know.
    assert_eq!(
        pair.inject(b"\x30\x3b").map(drop),
        Err(DecodeError::PacketTooLarge { bytes: 61, bytes_max: 60 }.into())
    );
    assert_eq!(pair.said(), b"\xe0\x01\x95");
}

#[test]
fn problem_information_is_left_out_if_not_wanted() {
    let mut connect = Connect::new(V5, "dev");
    connect.request_problem_information = Some(false);
    let mut pair = Pair::open_with(connect, MachineConfig::default(), MachineConfig::default(), 9);
    let ack = Ack { notes: Notes::text("why"), ..Ack::with_reason(AckKind::PubAck, id(1), ReasonCode::QuotaExceeded) };
    assert_eq!(pair.server.acknowledge(ack, &mut pair.to_client), Ok(Said::Yes));
    pair.server.subscribed(id(1), vec![ReasonCode::Success], Notes::text("why"), &mut pair.to_client).expect("open");
    assert_eq!(pair.said(), b"\x40\x03\0\x01\x97\x90\x04\0\x01\0\0");
    // DISCONNECT may carry it all the same [MQTT-3.1.2-29].
    let packet = Disconnect { notes: Notes::text("why"), ..Disconnect::new(ReasonCode::ServerShuttingDown) };
    pair.server.disconnect(packet, &mut pair.to_client).expect("open");
    assert!(pair.said().ends_with(b"why"));
}

#[test]
fn mqtt_3_has_no_negative_answer() {
    let mut pair = Pair::open(V311, 9);
    let came = incoming(pair.inject(b"\x32\x05\0\x01t\0\x01").expect("legal"));
    let confirm = Confirm { outcome: Outcome::rejected(Condition::Full), ..accepted(came.cookie()) };
    assert_eq!(pair.server.confirm(&confirm, &mut pair.to_client), Ok(Said::Withheld));
    assert_eq!(pair.said(), b"");
    let confirm = Confirm { outcome: Outcome::Released, why: Some(Condition::NoRoute), ..confirm };
    assert_eq!(pair.server.confirm(&confirm, &mut pair.to_client), Ok(Said::Yes), "nobody was there to miss it");
    assert_eq!(pair.said(), b"\x40\x02\0\x01");
    pair.server.disconnect(Disconnect::new(ReasonCode::SessionTakenOver), &mut pair.to_client).expect("open");
    assert_eq!(pair.said(), b"", "nor has its server a DISCONNECT");
}

#[test]
fn refusals_have_their_codes() {
    for (outcome, why, code) in [
        (Outcome::Accepted, None, 0x00),
        (Outcome::Accepted, Some(Condition::Duplicate), 0x00),
        (Outcome::Released, Some(Condition::NoRoute), 0x10),
        (Outcome::rejected(Condition::Unauthorized), None, 0x87),
        (Outcome::rejected(Condition::InvalidAddress), None, 0x90),
        (Outcome::rejected(Condition::InvalidPayload), None, 0x99),
        (Outcome::rejected(Condition::Full), None, 0x97),
        (Outcome::Released, Some(Condition::Full), 0x97),
        (Outcome::Released, Some(Condition::Unavailable), 0x83),
        (Outcome::FAILED, None, 0x83),
    ] {
        let confirm = Confirm { outcome, why, ..accepted(1) };
        let reason = roadbed_mqtt::dialect::confirm_reason(&confirm).expect("an outcome");
        assert_eq!(reason.byte(), code, "{confirm:?}");
    }
}

#[test]
fn authenticates_in_steps() {
    for &piece in &PIECES {
        let mut connect = Connect::new(V5, "dev");
        connect.auth_method = Some("SCRAM".into());
        connect.auth_data = Some(Bytes::from_static(b"1"));
        let mut pair = Pair::connecting(connect, MachineConfig::default(), MachineConfig::default(), piece);
        assert!(matches!(one(pair.at_server()), Event::Connect(connect) if connect.auth_data.as_deref() == Some(b"1")));
        assert!(pair.server.wants_input(), "AUTH may come");
        let data = |text: &'static str| Some(Bytes::from_static(text.as_bytes()));
        let go_on = ReasonCode::ContinueAuthentication;
        pair.server.authenticate(go_on, data("2"), Notes::default(), &mut pair.to_client).expect("there is a method");
        let Event::Auth(auth) = one(pair.at_client()) else { panic!("not an AUTH") };
        assert_eq!((auth.method.as_deref(), auth.data), (Some("SCRAM"), data("2")));
        pair.client.authenticate(go_on, data("3"), Notes::default(), &mut pair.to_server).expect("there is a method");
        assert!(matches!(one(pair.at_server()), Event::Auth(auth) if auth.data == data("3")));
        let welcome = Welcome { auth_data: data("4"), ..Welcome::default() };
        pair.server.accept(welcome, pair.now, &mut pair.to_client).expect("asked");
        let Event::ConnAck(connack) = one(pair.at_client()) else { panic!("not a CONNACK") };
        assert_eq!((connack.auth_method.as_deref(), connack.auth_data), (Some("SCRAM"), data("4")));
        pair.client
            .authenticate(ReasonCode::ReAuthenticate, None, Notes::default(), &mut pair.to_server)
            .expect("open");
        assert!(matches!(one(pair.at_server()), Event::Auth(auth) if auth.reason == ReasonCode::ReAuthenticate));
    }
}

#[test]
fn only_auth_may_come_during_an_authentication() {
    let mut connect = Connect::new(V5, "dev");
    connect.auth_method = Some("m".into());
    let mut pair = Pair::connecting(connect, MachineConfig::default(), MachineConfig::default(), 5);
    pair.at_server();
    let error = pair.inject(b"\xc0\0").map(drop).expect_err("not AUTH");
    assert_eq!(error.reason(), ReasonCode::ProtocolError);
    assert_eq!(pair.said(), b"\x20\x03\0\x82\0", "before CONNACK, CONNACK is the last word");
}

#[test]
fn auth_keeps_to_its_method() {
    let mut pair = Pair::open(V5, 5);
    assert_eq!(pair.inject(b"\xf0\x06\x19\x04\x15\0\x01m").map(drop), Err(Error::AuthMethod));
    assert_eq!(pair.said(), b"\xe0\x01\x82");
    assert_eq!(
        Pair::open(V5, 5).client.authenticate(
            ReasonCode::ReAuthenticate,
            None,
            Notes::default(),
            &mut Default::default()
        ),
        Err(SendError::NotConnected)
    );
}

// ---- time -----------------------------------------------------------------------------------------------------------

#[test]
fn pings_keep_a_silent_connection() {
    everywhere(|version, piece| {
        let mut connect = Connect::new(version, "dev");
        connect.keep_alive_secs = 10;
        let mut pair = Pair::open_with(connect, MachineConfig::default(), MachineConfig::default(), piece);
        pair.pass(Duration::from_secs(1000)).expect("pings go to and fro");
        assert!(pair.server.is_open() && pair.client.is_open());
    });
}

#[test]
fn a_client_is_never_silent_for_a_whole_keep_alive() {
    let mut connect = Connect::new(V311, "dev");
    connect.keep_alive_secs = 10;
    let mut pair = Pair::open_with(connect, MachineConfig::default(), MachineConfig::default(), 64);
    let mut spoken = pair.now;
    for round in 0..100 {
        let next = pair.client.poll_timeout().expect("a ping is due");
        // Now and then a message of the client's own, or an answer that comes late.
        let before = pair.now + Duration::from_millis(137 * round % 4000);
        if before < next && round % 3 == 0 {
            pair.now = before;
            let sent = message("t", "");
            pair.client
                .publish_message(&sent, Qos::AtMostOnce, None, false, before, &mut pair.to_server)
                .expect("open");
        } else {
            pair.now = next;
            pair.client.handle_timeout(next, &mut pair.to_server).expect("answers come");
        }
        if !pair.to_server.is_empty() {
            assert!(pair.now.since(spoken) < Duration::from_secs(10));
            spoken = pair.now;
        }
        pair.at_server();
        pair.now = pair.now + Duration::from_millis(50);
        pair.at_client();
    }
}

#[test]
fn a_silent_client_is_dropped_after_one_and_a_half_times_its_keep_alive() {
    for version in [V311, V5] {
        let mut connect = Connect::new(version, "dev");
        connect.keep_alive_secs = 10;
        let mut pair = Pair::open_with(connect, MachineConfig::default(), MachineConfig::default(), 64);
        let mut out = roadbed_core::Output::new();
        assert_eq!(pair.server.handle_timeout(pair.now + Duration::from_millis(14_999), &mut out), Ok(()));
        let now = pair.now + Duration::from_secs(15);
        assert_eq!(pair.server.poll_timeout(), Some(now));
        assert_eq!(pair.server.handle_timeout(now, &mut out), Err(Error::KeepAlive));
        let said: &[u8] = if version.is_v5() { b"\xe0\x01\x8d" } else { b"" };
        assert_eq!(bytes::Buf::chunk(&out), said);
        assert_eq!(pair.server.poll_timeout(), None);
    }
}

#[test]
fn any_packet_counts_as_a_sign_of_life() {
    let mut connect = Connect::new(V311, "dev");
    connect.keep_alive_secs = 10;
    let mut pair = Pair::open_with(connect, MachineConfig::default(), MachineConfig::default(), 64);
    for _ in 0..10 {
        pair.now = pair.now + Duration::from_secs(14);
        pair.inject(b"\x30\x03\0\x01t").expect("legal");
        pair.server.handle_timeout(pair.now, &mut pair.to_client).expect("heard in time");
    }
    let mut out = roadbed_core::Output::new();
    assert_eq!(pair.server.handle_timeout(pair.now + Duration::from_secs(14), &mut out), Ok(()));
    assert!(pair.server.handle_timeout(pair.now + Duration::from_secs(15), &mut out).is_err());
}

#[test]
fn a_keep_alive_of_zero_is_off() {
    let mut pair = Pair::open(V5, 64);
    assert_eq!((pair.server.poll_timeout(), pair.client.poll_timeout()), (None, None));
    pair.pass(Duration::from_secs(1_000_000)).expect("nothing is due");
}

#[test]
fn a_server_that_does_not_answer_pings_is_dropped() {
    let mut connect = Connect::new(V311, "dev");
    connect.keep_alive_secs = 10;
    let mut pair = Pair::open_with(connect, MachineConfig::default(), MachineConfig::default(), 64);
    let start = pair.now;
    let result = loop {
        let next = pair.client.poll_timeout().expect("a ping or its answer is due");
        let result = pair.client.handle_timeout(next, &mut pair.to_server);
        pair.now = next;
        if result.is_err() {
            break result;
        }
    };
    assert_eq!(result, Err(Error::PingTimeout));
    assert_eq!(pair.client_said(), b"\xc0\0", "one question, no answer");
    assert_eq!(pair.now.since(start), Duration::from_secs(14), "the first look and the time-out");
}

#[test]
fn a_connection_without_connect_is_dropped() {
    let mut server = roadbed_mqtt::Machine::server(Arc::default(), pair::START);
    let due = server.poll_timeout().expect("CONNECT is due");
    assert_eq!(due, pair::START + Duration::from_secs(10));
    assert_eq!(server.handle_timeout(due, &mut Default::default()), Err(Error::ConnectTimeout));
}

// ---- bad input ------------------------------------------------------------------------------------------------------

/// Bytes for an open server, the error, and the last word in MQTT 5.0.
#[track_caller]
fn open_refuses(bytes: &[u8], error: Error, code: u8) {
    for piece in [1, 2, 5, usize::MAX] {
        let mut pair = Pair::open(V5, piece);
        assert_eq!(pair.inject(bytes).map(drop), Err(error));
        assert_eq!(pair.said(), [0xe0, 1, code]);
        assert!(pair.server.is_closed());
        assert_eq!(pair.inject(b"\xc0\0").expect("nothing is read").len(), 0);
        assert_eq!(pair.said(), b"");
    }
}

#[test]
fn disconnect_tells_why() {
    use roadbed_mqtt::codec::PacketType as P;
    open_refuses(b"\x10\x0d\0\x04MQTT\x05\x02\0\0\0\0\0", Error::SecondConnect, 0x82);
    open_refuses(b"\x20\x03\0\0\0", Error::Unexpected(P::ConnAck), 0x82);
    open_refuses(b"\x90\x04\0\x01\0\0", Error::Unexpected(P::SubAck), 0x82);
    open_refuses(b"\xd0\0", Error::Unexpected(P::PingResp), 0x82);
    open_refuses(b"\x30\x06\0\x01t\x02\x0b\x01", Error::SubscriptionId, 0x82);
    open_refuses(b"\xe0\x07\0\x05\x11\0\0\0\x01", Error::SessionExpiry, 0x82);
    open_refuses(b"\x36\x06\0\x01t\0\x01\0", DecodeError::QoS3.into(), 0x81);
    open_refuses(b"\x82\x07\0\x01\0\0\x01a\x40", DecodeError::SubscriptionOptions(0x40).into(), 0x81);
    open_refuses(b"\x30\x04\0\x01#\0", DecodeError::TopicName.into(), 0x90);
    open_refuses(b"\0\0", DecodeError::ReservedType(0).into(), 0x81);
}

#[test]
fn what_is_not_offered_is_refused() {
    let config = MachineConfig::default().qos_max(QoS::AtLeastOnce).retain_available(false);
    for (bytes, error, code) in
        [(&b"\x34\x06\0\x01t\0\x01\0"[..], Error::Qos(2), 0x9b), (b"\x31\x04\0\x01t\0", Error::Retain, 0x9a)]
    {
        let mut pair = Pair::open_with(Connect::new(V5, "d"), config.clone(), MachineConfig::default(), 3);
        assert_eq!(pair.inject(bytes).map(drop), Err(error));
        assert_eq!(pair.said(), [0xe0, 1, code]);
    }
}

#[test]
fn a_will_that_cannot_be_kept_is_refused() {
    let config = MachineConfig::default().qos_max(QoS::AtLeastOnce).retain_available(false);
    for (qos, retain, code) in [(QoS::ExactlyOnce, false, 0x9b), (QoS::AtLeastOnce, true, 0x9a)] {
        let mut connect = Connect::new(V5, "d");
        connect.will = Some(Will { retain, ..Will::new("t", "", qos) });
        let mut pair = Pair::connecting(connect, config.clone(), MachineConfig::default(), 3);
        assert_eq!(pair.try_at_server().map(drop).map_err(|error| error.reason().byte()), Err(code));
        assert_eq!(pair.said(), [0x20, 3, 0, code, 0]);
    }
}

#[test]
fn mqtt_3_is_closed_without_a_word() {
    let mut pair = Pair::open(V311, 3);
    assert!(pair.inject(b"\x36\x05\0\x01t\0\x01").is_err());
    assert_eq!(pair.said(), b"");
    assert!(pair.server.is_closed());
}

#[test]
fn a_connect_that_is_wrong_gets_the_answer_its_version_has() {
    for (bytes, said) in [
        (&b"\x10\x0d\0\x04MQTT\x06\x02\0\0\0\0\0"[..], &b"\x20\x03\0\x84\0"[..]),
        (b"\x10\x0c\0\x04MQTT\x03\x02\0\0\0\0", b"\x20\x02\0\x01"),
        (b"\x10\x0c\0\x04MQTT\x04\0\0\0\0\0", b"\x20\x02\0\x02"),
        (b"\x10\x0d\0\x04MQTT\x05\x03\0\0\0\0\0", b"\x20\x03\0\x81\0"),
        (b"\x10\x10\0\x04MQTT\x05\x02\0\0\x03\x21\0\0\0\0", b"\x20\x03\0\x82\0"),
        (b"\x10\x0c\0\x04MQTT\x04\x03\0\0\0\0", b""),
        (b"\x10\x0c\0\x04HTTP\x04\x02\0\0\0\0", b""),
        (b"\xc0\0", b""),
        (b"GET / HTTP/1.1\r\n\r\n", b""),
    ] {
        for &piece in &PIECES {
            let connect = Connect::new(V5, "unused");
            let mut pair = Pair::connecting(connect, MachineConfig::default(), MachineConfig::default(), piece);
            pair.client_said();
            assert!(pair.inject(bytes).is_err(), "{bytes:x?}");
            assert_eq!(pair.said(), said, "{bytes:x?}");
            assert!(pair.server.is_closed());
        }
    }
}

#[test]
fn a_connect_is_bounded_before_anybody_is_known() {
    let mut server = roadbed_mqtt::Machine::server(Arc::default(), pair::START);
    let chunk = Bytes::from_static(b"\x10\xff\xff\x3f");
    let error = server.next(pair::START, &chunk, &mut 0, &mut Default::default()).map(|_| ());
    assert_eq!(error, Err(DecodeError::PacketTooLarge { bytes: 1_048_579, bytes_max: 64 << 10 }.into()));
}

#[test]
fn a_client_refuses_what_no_server_says() {
    use roadbed_mqtt::codec::PacketType as P;
    for (bytes, error) in [
        (&b"\x82\x07\0\x01\0\0\x01a\0"[..], Error::Unexpected(P::Subscribe)),
        (b"\xc0\0", Error::Unexpected(P::PingReq)),
        (b"\x20\x03\0\0\0", Error::Unexpected(P::ConnAck)),
        (b"\xe0\x07\x8b\x05\x11\0\0\0\x01", Error::SessionExpiry),
        (b"\x30\x06\0\0\x03\x23\0\x01", DecodeError::TopicAlias(1).into()),
    ] {
        let mut pair = Pair::open(V5, 3);
        assert_eq!(pair.inject_client(bytes).map(drop), Err(error));
        assert_eq!(pair.client_said(), [0xe0, 1, error.reason().byte()]);
    }
    assert!(Pair::open(V311, 3).inject_client(b"\xe0\0").is_err(), "3.1.1 has no DISCONNECT from servers");
    let mut early = Pair::connecting(Connect::new(V5, "d"), MachineConfig::default(), MachineConfig::default(), 3);
    assert_eq!(early.inject_client(b"\x30\x04\0\x01t\0").map(drop), Err(Error::Unexpected(P::Publish)));
}

#[test]
fn commands_of_the_other_role_or_out_of_time_are_refused() {
    let mut pair = Pair::open(V5, 64);
    let subscribe = Subscribe {
        packet_id: id(1),
        subscription_id: None,
        user: vec![],
        subscriptions: vec![Subscription::new("a", QoS::AtMostOnce)],
    };
    assert_eq!(pair.server.subscribe(subscribe, &mut pair.to_client), Err(SendError::NotConnected));
    assert_eq!(
        pair.client.subscribed(id(1), vec![], Notes::default(), &mut pair.to_server),
        Err(SendError::NotConnected)
    );
    assert_eq!(pair.server.accept(Welcome::default(), pair.now, &mut pair.to_client), Err(SendError::NotConnected));
    pair.server.disconnect(Disconnect::new(ReasonCode::ServerShuttingDown), &mut pair.to_client).expect("open");
    let late =
        pair.server.deliver(&delivery(message("a", ""), Qos::AtMostOnce, 1), false, pair.now, &mut pair.to_client);
    assert_eq!(late, Err(SendError::NotConnected));
    assert_eq!(pair.said(), b"\xe0\x01\x8b");
}

#[test]
fn everything_that_comes_is_stamped_with_its_origin() {
    let connect = Connect::new(V5, "dev");
    let mut pair = Pair::connecting(connect, MachineConfig::default(), MachineConfig::default(), 64);
    pair.at_server();
    let origin = Arc::new(Origin { principal: "alice".into(), protocol: "mqtt" });
    pair.server
        .accept(Welcome { origin: origin.clone(), ..Welcome::default() }, pair.now, &mut pair.to_client)
        .expect("asked");
    let came = incoming(pair.inject(b"\x30\x04\0\x01t\0").expect("legal"));
    assert_eq!(came.message.origin(), Some(&origin));
}

#[test]
fn packet_ids_are_slots() {
    let mut pair = Pair::open(V311, 64);
    pair.server
        .deliver(&delivery(message("t", ""), Qos::AtLeastOnce, 0x1234), false, pair.now, &mut pair.to_client)
        .expect("open");
    assert_eq!(pair.said(), b"\x32\x05\0\x01t\x12\x34");
    assert_eq!(PacketId::new(0), None);
}
