//! Headers and messages: what is written is read again, and no headers do harm.

use std::sync::Arc;
use std::time::Duration;

use bytestring::ByteString;
use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;
use roadbed_core::{
    Address, Delivery, Durability, Losses, Message, Origin, Payload, Properties, Qos, ReadContext, Time, Value,
    WireDurability, WireMessage, WireQos,
};
use roadbed_http::{HttpDurability, HttpMessage, HttpQos};

const NOW: Time = Time::from_millis(1_700_000_000_000);

fn text() -> impl Strategy<Value = ByteString> {
    prop_oneof!["[a-z]{0,6}", ".{0,10}", " ?.{0,3} ?", "=?[%a:]{0,4}"].prop_map(ByteString::from)
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        text().prop_map(Value::Text),
        any::<i64>().prop_map(Value::Int),
        any::<u64>().prop_map(Value::Uint),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Timestamp),
        any::<[u8; 16]>().prop_map(Value::Uuid),
        proptest::num::f64::NORMAL.prop_map(Value::Float),
        proptest::collection::vec(any::<u8>(), 0..9).prop_map(|bytes| Value::Binary(bytes.into())),
        Just(Value::Null),
    ]
}

fn address() -> impl Strategy<Value = Address> {
    "[^+#\0]{1,24}".prop_map(|name| Address::new(name).unwrap())
}

fn time() -> impl Strategy<Value = Time> {
    (0..4_000_000_000_000_u64).prop_map(Time::from_millis)
}

/// Few names, so that there are duplicates, next to each other and apart.
fn properties() -> impl Strategy<Value = Properties> {
    let name = prop_oneof![Just(ByteString::from("a")), Just("B".into()), Just("cloudEvents:type".into()), text()];
    proptest::collection::vec((name, value()), 0..40).prop_map(|pairs| pairs.into_iter().collect())
}

prop_compose! {
    fn message()(
        address in address(),
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        (ttl, durability, priority, retain, live) in (
            proptest::option::of(0..1_000_000_u64),
            prop_oneof![Just(Durability::Volatile), Just(Durability::Session), Just(Durability::Stored)],
            0..=9_u8, any::<bool>(), any::<bool>(),
        ),
        (content_type, content_encoding, utf8, subject, group) in (
            proptest::option::of(text()), proptest::option::of(text()), proptest::option::of(any::<bool>()),
            proptest::option::of(text()), proptest::option::of(text()),
        ),
        (message_id, correlation_id, reply_to) in (
            proptest::option::of(value()), proptest::option::of(value()), proptest::option::of(address()),
        ),
        (created_at, deliver_after, deadline) in (
            proptest::option::of(time()), proptest::option::of(time()), proptest::option::of(time()),
        ),
        properties in properties(),
    ) -> Message {
        let mut message = Message::builder(address, Payload::from(bytes))
            .durability(durability).priority(priority).retain(retain).live(live)
            .expires_at(ttl.map(|ttl| NOW + Duration::from_millis(ttl)));
        message = message.details(|details| {
            details.content_type = content_type;
            details.content_encoding = content_encoding;
            details.utf8 = utf8;
            details.subject = subject;
            details.group = group;
            details.message_id = message_id;
            details.correlation_id = correlation_id;
            details.reply_to = reply_to;
            details.created_at = created_at;
            details.deliver_after = deliver_after;
            details.deadline = deadline;
            details.properties = properties;
        });
        message.build()
    }
}

fn delivery(message: Message) -> Delivery {
    Delivery { message, handle: None, qos: Qos::AtLeastOnce, retained: false, attempt: 1, info: None }
}

proptest! {
    #[test]
    fn a_message_comes_back(message in message()) {
        let mut losses = Losses::default();
        let frame = HttpMessage::write(&delivery(message.clone()), NOW, &mut losses).unwrap();
        prop_assert!(losses.is_empty(), "{:?}", losses);
        prop_assert!(frame.headers.len() < 90);
        let origin = Arc::new(Origin { principal: "me".into(), protocol: "http" });
        let read = frame.read(&ReadContext { origin: &origin, now: NOW }).unwrap();
        prop_assert_eq!(read.address(), message.address());
        prop_assert_eq!(read.payload(), message.payload());
        prop_assert_eq!(read.expires_at(), message.expires_at());
        prop_assert_eq!(read.durability(), message.durability());
        prop_assert_eq!(read.priority(), message.priority());
        prop_assert_eq!((read.retain(), read.live()), (message.retain(), message.live()));
        prop_assert_eq!(read.details(), message.details());
        prop_assert_eq!(read.origin(), Some(&origin));
    }

    #[test]
    fn no_headers_make_it_panic(headers in proptest::collection::vec((
        prop_oneof!["roadbed-[a-z-]{0,20}", "ce-[a-z]{0,5}", "[a-z-]{1,20}", Just("roadbed-property-a".to_owned())],
        proptest::collection::vec(prop_oneof![0x20..0x7f_u8, 0x80..=0xff_u8], 0..20),
    ), 0..20)) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(&value)) {
                map.append(name, value);
            }
        }
        let frame = HttpMessage { address: "a".parse().unwrap(), headers: map, payload: Payload::EMPTY };
        let _ = frame.read(&ReadContext { origin: &Arc::default(), now: NOW });
    }
}

#[test]
fn every_qos_and_durability_comes_back() {
    for qos in Qos::ALL {
        assert_eq!(HttpQos::write(qos).unwrap().read(), qos);
        assert_eq!(HttpQos::from_text(HttpQos(qos).to_value().to_str().unwrap()), Some(HttpQos(qos)));
    }
    for durability in [Durability::Volatile, Durability::Session, Durability::Stored] {
        let wire = HttpDurability::write(durability).unwrap();
        assert_eq!(wire.read(), durability);
        assert_eq!(HttpDurability::from_text(wire.to_value().to_str().unwrap()), Some(wire));
    }
}

fn read(pairs: &[(&'static str, &'static str)]) -> roadbed_core::Result<Message> {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, HeaderValue::from_static(value));
    }
    let frame = HttpMessage { address: "a".parse().unwrap(), headers, payload: Payload::EMPTY };
    frame.read(&ReadContext { origin: &Arc::default(), now: NOW })
}

#[test]
fn a_cloud_event_in_binary_mode_goes_both_ways() {
    let message = read(&[
        ("ce-specversion", "1.0"),
        ("ce-id", "A234-1234-1234"),
        ("ce-source", "/plant/7"),
        ("ce-type", "com.example.alarm"),
        ("ce-subject", "Euro%20%E2%82%AC"),
        ("ce-traceparent", "00-0af7"),
        ("content-type", "application/json"),
    ])
    .unwrap();
    let details = message.details();
    assert_eq!(details.message_id, Some(Value::from("A234-1234-1234")));
    assert_eq!(details.subject.as_deref(), Some("Euro €"));
    assert_eq!(details.content_type.as_deref(), Some("application/json"));
    assert_eq!(details.properties.first("cloudEvents:source"), Some(&Value::from("/plant/7")));
    let frame = HttpMessage::write(&delivery(message.clone()), NOW, &mut Losses::default()).unwrap();
    assert_eq!(frame.headers["ce-subject"], "Euro%20%E2%82%AC");
    assert_eq!(frame.headers["ce-traceparent"], "00-0af7");
    let again = frame.read(&ReadContext { origin: &Arc::default(), now: NOW }).unwrap();
    assert_eq!(again.details(), details);
}

#[test]
fn what_contradicts_itself_is_refused() {
    for pairs in [
        &[("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-type", "t")][..],
        &[("roadbed-priority", "10")],
        &[("roadbed-priority", "4"), ("roadbed-priority", "5")],
        &[("roadbed-ttl", "1"), ("roadbed-ttl-ms", "1000")],
        &[("roadbed-ttl", "-1")],
        &[("roadbed-tll", "1")],
        &[("roadbed-qos", "3")],
        &[("roadbed-reply-to", "a%00")],
        &[("roadbed-subject", "50 %")],
        &[("roadbed-property-level", "=int:high")],
        &[("roadbed-retain", "yes")],
        &[("idempotency-key", "")],
    ] {
        assert!(read(pairs).is_err(), "{pairs:?}");
    }
}

#[test]
fn properties_are_bounded_in_number() {
    let list = |count: usize| HeaderValue::try_from(vec!["a="; count].join("&")).unwrap();
    let read = |count: usize| {
        let headers = HeaderMap::from_iter([(HeaderName::from_static("roadbed-properties"), list(count))]);
        let frame = HttpMessage { address: "a".parse().unwrap(), headers, payload: Payload::EMPTY };
        frame.read(&ReadContext { origin: &Arc::default(), now: NOW })
    };
    assert_eq!(read(256).unwrap().details().properties.len(), 256);
    assert!(read(257).is_err());
}

#[test]
fn nobody_forges_what_the_hub_says() {
    let message = read(&[("roadbed-sender", "admin"), ("roadbed-annotation-reason", "x")]).unwrap();
    assert_eq!(message.origin().unwrap().principal, "");
    assert!(message.details().annotations.is_empty());
}

#[test]
fn times_are_relative_or_absolute() {
    let message =
        read(&[("roadbed-ttl", "5"), ("roadbed-deliver-after-ms", "+250"), ("roadbed-deadline-ms", "7")]).unwrap();
    assert_eq!(message.expires_at(), Some(NOW + Duration::from_secs(5)));
    assert_eq!(message.details().deliver_after, Some(NOW + Duration::from_millis(250)));
    assert_eq!(message.details().deadline, Some(Time::from_millis(7)));
}

#[test]
fn what_does_not_fit_into_headers_is_noted() {
    let address: Address = "a".parse().unwrap();
    let message = Message::builder(address, "").property("big", "x".repeat(64 << 10).as_str()).build();
    let mut losses = Losses::default();
    let frame = HttpMessage::write(&delivery(message), NOW, &mut losses).unwrap();
    assert_eq!(losses.iter().map(|(loss, _)| loss.what).collect::<Vec<_>>(), ["properties"]);
    assert!(!frame.headers.keys().any(|name| name.as_str().starts_with("roadbed-propert")));
}
