//! What AMQP's words mean in the core's, both ways.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use roadbed_amqp::codec::{Disposition, State};
use roadbed_amqp::dialect::{Durable, Encoded, Settling, confirm_state, outcome, outcome_state};
use roadbed_core::conversion::AMQP_BODY;
use roadbed_core::{
    Address, Condition, Confirm, Delivery, Durability, Event, Losses, Message, Origin, Outcome, Qos, ReadContext,
    Reason, Role, Time, TxnId, Value, Wire, WireDelivery, WireDurability, WireMessage, WireQos, Work,
};

const NOW: Time = Time::from_millis(1_700_000_000_000);

fn read_pieces(pieces: Vec<Bytes>, to: Option<&str>) -> roadbed_core::Result<Message> {
    let origin = Arc::new(Origin { principal: "dev".into(), protocol: "amqp" });
    let address = to.map(|to| to.parse::<Address>().expect("an address"));
    Encoded { address, ..Encoded::new(pieces) }.read(&ReadContext { origin: &origin, now: NOW })
}

fn read(bytes: &[u8]) -> Message {
    read_pieces(vec![Bytes::copy_from_slice(bytes)], Some("queues/q")).expect("a message")
}

fn write(message: &Message, losses: &mut Losses) -> Bytes {
    let delivery = Delivery {
        message: message.clone(),
        handle: None,
        qos: Qos::AtLeastOnce,
        retained: false,
        attempt: 1,
        info: None,
    };
    Encoded::write(&delivery, NOW, losses).expect("every message can be written").to_bytes()
}

/// Sections of the bare message: each as it comes, in an encoding that we would not choose.
fn bares() -> impl Strategy<Value = Vec<u8>> {
    let properties = prop_oneof![
        Just(vec![]),
        Just(vec![0x00, 0x53, 0x73, 0xc0, 4, 1, 0xa1, 1, b'i']),
        Just(vec![0x00, 0x80, 0, 0, 0, 0, 0, 0, 0, 0x73, 0xd0, 0, 0, 0, 7, 0, 0, 0, 2, 0x53, 9, 0x40]),
    ];
    let application = prop_oneof![
        Just(vec![]),
        Just(vec![0x00, 0x53, 0x74, 0xc1, 9, 2, 0xa1, 1, b'n', 0x71, 0, 0, 0, 5]),
        Just(vec![0x00, 0x53, 0x74, 0xd1, 0, 0, 0, 10, 0, 0, 0, 2, 0xb1, 0, 0, 0, 0, 0x41]),
    ];
    let bytes = proptest::collection::vec(any::<u8>(), 0..300);
    let data = |code: u8, bytes: Vec<u8>| match code {
        0xa0 if bytes.len() < 256 => [&[0x00, 0x53, 0x75, 0xa0, bytes.len() as u8][..], &bytes].concat(),
        _ => [&[0x00, 0x53, 0x75, 0xb0][..], &(bytes.len() as u32).to_be_bytes(), &bytes].concat(),
    };
    let body = prop_oneof![
        (prop_oneof![Just(0xa0), Just(0xb0)], bytes.clone()).prop_map(move |(code, bytes)| data(code, bytes)),
        (bytes.clone(), bytes).prop_map(move |(one, two)| [data(0xa0, one), data(0xa0, two)].concat()),
        Just(vec![0x00, 0x53, 0x77, 0xa1, 2, b'h', b'i']),
        Just(vec![0x00, 0x53, 0x77, 0xc1, 1, 0]),
        Just(vec![0x00, 0x53, 0x76, 0x45, 0x00, 0x53, 0x76, 0xc0, 2, 1, 0x41]),
        Just(vec![
            0x00, 0xa3, 16, b'a', b'm', b'q', b'p', b':', b'd', b'a', b't', b'a', b':', b'b', b'i', b'n', b'a', b'r',
            b'y', 0xa0, 1, 1
        ]),
    ];
    (properties, application, body).prop_map(|(properties, application, body)| [properties, application, body].concat())
}

proptest! {
    #[test]
    fn a_bare_message_leaves_as_it_came(bare in bares(), durable: bool, cut: prop::sample::Index) {
        let header = if durable { vec![0x00, 0x53, 0x70, 0xc0, 2, 1, 0x41] } else { vec![] };
        let bytes = Bytes::from([header, bare.clone()].concat());
        let cut = cut.index(bytes.len() + 1);
        let message = read_pieces(vec![bytes.slice(..cut), bytes.slice(cut..)], Some("queues/q")).expect("a message");
        prop_assert_eq!(message.durability() == Durability::Stored, durable);
        for message in [message.clone(), message.detach(), message.to_builder().details(|d| d.annotations.push("why", "x")).build()] {
            let written = write(&message, &mut Losses::default());
            prop_assert!(written.ends_with(&bare), "{:?} of {:?}", written, bare);
            let again = read(&written);
            prop_assert_eq!(again.payload(), message.payload());
        }
    }

    #[test]
    fn what_the_core_says_comes_back(
        payload in proptest::collection::vec(any::<u8>(), 0..400), priority in 0u8..10, ttl in proptest::option::of(1u32..),
        id in proptest::option::of(any::<u64>()), subject in proptest::option::of("[a-z]{0,9}"), text in "[a-zé]{0,300}",
        number: i64, real in -1e9f64..1e9,
    ) {
        let mut sent = Message::builder("plant/7".parse().expect("an address"), payload)
            .priority(priority)
            .durability(Durability::Stored)
            .expires_at(ttl.map(|ttl| NOW + Duration::from_millis(ttl.into())))
            .property("text", Value::from(&*text))
            .property("number", number)
            .property("real", Value::Float(real));
        sent = sent.details(|details| {
            details.message_id = id.map(Value::Uint);
            details.correlation_id = Some(Value::Uuid([7; 16]));
            details.subject = subject.as_deref().map(Into::into);
            details.content_type = Some("text/plain".into());
            details.reply_to = Some("replies/1".parse().expect("an address"));
            details.group = Some("g".into());
            details.created_at = Some(Time::from_millis(5));
        });
        let sent = sent.build();
        let mut losses = Losses::default();
        let bytes = write(&sent, &mut losses);
        prop_assert!(losses.is_empty());
        let came = read_pieces(vec![bytes], None).expect("`to` names the address");
        prop_assert_eq!(came.address(), sent.address());
        prop_assert_eq!(came.payload(), sent.payload());
        prop_assert_eq!((came.priority(), came.durability()), (priority, Durability::Stored));
        prop_assert_eq!(came.expires_at(), sent.expires_at());
        let mut details = came.details().clone();
        details.bare = None;
        prop_assert_eq!(&details, sent.details());
    }

    #[test]
    fn outcomes_come_back(words in proptest::option::of("[a-z]{1,9}"), index: prop::sample::Index, failed: bool, here: bool) {
        let condition = *index.get(Condition::ALL);
        let reason = Reason { condition, text: words.map(Arc::new) };
        let all = [
            Outcome::Accepted,
            Outcome::Released,
            Outcome::Rejected(reason),
            Outcome::Modified { delivery_failed: failed, undeliverable_here: here },
        ];
        for said in all {
            let back = match &said {
                // AMQP has one word for both.
                Outcome::Rejected(Reason { condition: Condition::StoreFull, text }) => {
                    Outcome::Rejected(Reason { condition: Condition::Full, text: text.clone() })
                }
                said => said.clone(),
            };
            prop_assert_eq!(outcome(&outcome_state(&said)), Some(back));
        }
    }

    #[test]
    fn no_message_makes_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut: prop::sample::Index) {
        let bytes = Bytes::from(bytes);
        let cut = cut.index(bytes.len() + 1);
        let _ = read_pieces(vec![bytes.slice(..cut), bytes.slice(cut..)], None);
    }
}

#[test]
fn the_payload_is_a_slice_of_what_was_read() {
    let mut bytes =
        BytesMut::from(&[0x00, 0x53, 0x73, 0xc0, 4, 1, 0xa1, 1, b'i', 0x00, 0x53, 0x75, 0xb0, 0, 0, 4, 0][..]);
    bytes.resize(17 + 1024, 7);
    let bytes = bytes.freeze();
    let message = read_pieces(vec![bytes.clone()], Some("a")).expect("a message");
    let [payload] = message.payload().shared().expect("long enough to be shared") else { panic!("one piece") };
    assert_eq!(payload.as_ptr(), bytes[17..].as_ptr());
    let two = vec![bytes.slice(..500), bytes.slice(500..)];
    let message = read_pieces(two, Some("a")).expect("a message");
    let [first, second] = message.payload().shared().expect("a rope") else { panic!("two pieces") };
    assert_eq!((first.as_ptr(), second.as_ptr()), (bytes[17..].as_ptr(), bytes[500..].as_ptr()));
}

#[test]
fn text_and_bytes_in_a_value_are_the_payload() {
    assert_eq!(read(&[0x00, 0x53, 0x77, 0xa1, 2, b'h', b'i']).payload().to_bytes(), "hi");
    assert_eq!(read(&[0x00, 0x53, 0x77, 0xa0, 2, 1, 2]).payload().to_bytes(), &[1, 2][..]);
    let five = read(&[0x00, 0x53, 0x77, 0x54, 5]);
    assert_eq!(five.payload().to_bytes(), &[0x00, 0x53, 0x77, 0x54, 5][..], "any other as its section is encoded");
    assert_eq!(five.details().content_type.as_deref(), Some(AMQP_BODY));
}

#[test]
fn a_payload_that_is_an_encoded_body_leaves_as_one() {
    let message = |payload: &'static [u8]| {
        let message = Message::builder("a".parse().expect("an address"), payload);
        message.details(|details| details.content_type = Some(AMQP_BODY.into())).build()
    };
    for body in [&b"\x00\x53\x77\x54\x05"[..], b"\x00\x53\x76\x45\x00\x53\x76\xc0\x03\x01\x54\x01"] {
        let written = write(&message(body), &mut Losses::default());
        assert!(written.ends_with(body));
        assert_eq!(read(&written).payload().to_bytes(), body);
        assert!(read(&written).details().bare.as_ref().is_some_and(|bare| bare.around));
    }
    for bytes in [&b"hello"[..], b"\x00\x53\x75\xa0\x01x", b"\x00\x53\x70\x45\x00\x53\x77\x40", b"\x00\x53\x77"] {
        let again = read(&write(&message(bytes), &mut Losses::default()));
        assert_eq!(again.payload().to_bytes(), bytes, "bytes that only claim to be a body are data");
        assert_eq!(again.details().content_type.as_deref(), Some(AMQP_BODY));
    }
}

#[test]
fn a_time_to_live_is_never_0() {
    let message =
        Message::builder("a".parse().expect("an address"), "x").expires_at(NOW + Duration::from_nanos(1)).build();
    let again = read(&write(&message, &mut Losses::default()));
    assert_eq!(again.expires_at(), Some(NOW + Duration::from_millis(1)));
}

#[test]
fn a_delivery_delay_counts_from_its_arrival() {
    let name = b"x-opt-delivery-delay";
    let mut bytes = vec![0x00, 0x53, 0x72, 0xc1, 25, 2, 0xa3, name.len() as u8];
    bytes.extend(name);
    bytes.extend([0x54, 9, 0x00, 0x53, 0x75, 0xa0, 1, 1]);
    bytes[4] = 1 + 2 + name.len() as u8 + 2;
    assert_eq!(read(&bytes).details().deliver_after, Some(NOW + Duration::from_millis(9)));
}

#[test]
fn an_attribute_of_an_event_has_one_name() {
    let bytes = b"\x00\x53\x74\xc1\x16\x02\xa1\x0ecloudEvents_id\xa1\x031-1\x00\x53\x75\xa0\x01x";
    assert_eq!(read(bytes).details().properties.first("cloudEvents:id"), Some(&"1-1".into()));
    assert!(write(&read(bytes), &mut Losses::default()).ends_with(bytes), "and leaves under that of its sender");
}

#[test]
fn a_new_payload_is_not_hidden_by_what_was_sent() {
    let message = read(&[0x00, 0x53, 0x73, 0xc0, 4, 1, 0xa1, 1, b'i', 0x00, 0x53, 0x75, 0xa0, 1, 1]);
    assert!(message.details().bare.is_some());
    let changed = message.to_builder().payload("other").build();
    let again = read(&write(&changed, &mut Losses::default()));
    assert_eq!(again.payload().to_bytes(), "other");
    assert_eq!(again.details().message_id, Some("i".into()));
}

#[test]
fn annotations_travel_and_those_of_a_hub_cannot_be_forged() {
    let forged = b"x-opt-roadbed-why";
    let mut bytes = vec![0x00, 0x53, 0x72, 0xc1, 26, 4, 0xa3, 1, b'k', 0x41, 0xa3, forged.len() as u8];
    bytes.extend(forged);
    bytes.extend([0x54, 9]);
    bytes.extend([0x00, 0x53, 0x75, 0xa0, 1, 1]);
    let written = write(&read(&bytes), &mut Losses::default());
    let told = b"\xa3\x14x-opt-roadbed-sender\xa1\x03dev\xa3\x1dx-opt-roadbed-sender-protocol\xa1\x04amqp";
    let head = [0x00, 0x53, 0x72, 0xc1, 5 + told.len() as u8, 6, 0xa3, 1, b'k', 0x41];
    assert_eq!(&written[..], [&head[..], told, &[0x00, 0x53, 0x75, 0xa0, 1, 1]].concat());
}

#[test]
fn an_annotation_of_the_hub_says_once_whose_it_is() {
    let message = read(&[0x00, 0x53, 0x75, 0xa0, 1, 1]);
    let annotated = message.to_builder().details(|details| details.annotations.push("roadbed-reason", "expired"));
    let written = write(&annotated.build(), &mut Losses::default());
    let said = b"\xa3\x14x-opt-roadbed-reason\xa1\x07expired";
    assert!(written.windows(said.len()).any(|part| part == said), "{written:?}");
}

#[test]
fn assurance_and_durability_have_their_words() {
    for (settling, qos) in [
        (Settling::Settled, Qos::AtMostOnce),
        (Settling::First, Qos::AtLeastOnce),
        (Settling::Second, Qos::ExactlyOnce),
    ] {
        assert_eq!((settling.read(), Settling::write(qos).expect("all can be said")), (qos, settling));
    }
    assert_eq!(Durable(true).read(), Durability::Stored);
    assert_eq!(Durable::write(Durability::Session).expect("said as not durable"), Durable(false));
}

#[test]
fn dispositions_are_events_and_back() {
    let wire = Wire { role: Role::Receiver, qos: Qos::AtLeastOnce, first: 3, last: 5 };
    let enlist = Event::Enlist { txn: TxnId(7), work: Work::Retire(Outcome::Released) };
    for event in [Event::Dispose { outcome: Outcome::FAILED, settled: false }, Event::Settle, enlist] {
        let said = Disposition::write(&event, &wire).expect("AMQP can say it");
        assert_eq!((said.first, said.last), (3, Some(5)));
        assert_eq!(said.event(&wire), Some(event));
    }
    assert_eq!(Disposition::write(&Event::Lapse(Outcome::Released), &wire), None);
}

#[test]
fn senders_are_told_what_became_of_their_messages() {
    let confirm = |outcome, why| Confirm { cookie: 1, outcome, why, provisional: None };
    assert_eq!(confirm_state(&confirm(Outcome::Accepted, None)), State::Accepted);
    assert_eq!(confirm_state(&confirm(Outcome::Accepted, Some(Condition::NoRoute))), State::Released);
    assert_eq!(confirm_state(&confirm(Outcome::rejected(Condition::Unavailable), None)), State::Released);
    let full = confirm_state(&confirm(Outcome::rejected(Condition::Full), None));
    assert!(matches!(full, State::Rejected(Some(fault)) if fault.condition == "amqp:resource-limit-exceeded"));
    let posted = Confirm { provisional: Some(TxnId(9)), ..confirm(Outcome::Accepted, None) };
    let State::Transactional { txn, outcome } = confirm_state(&posted) else { panic!("provisional") };
    assert_eq!((&txn[..], outcome.as_deref()), (&9u64.to_be_bytes()[..], Some(&State::Accepted)));
}
