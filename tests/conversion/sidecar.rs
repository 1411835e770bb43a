//! With a sidecar, a message that crosses another protocol and comes back is what it was: arbitrary messages as AMQP's bytes, and what MQTT and HTTP can say.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use libtest_mimic::{Failed, Trial};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use roadbed::{Address, Losses, Message, Origin, ReadContext, Sidecar, Value, WireMessage};
use roadbed_amqp::dialect::Encoded;
use roadbed_http::HttpMessage;
use roadbed_mqtt::codec::Publish;

use crate::dialects::{NOW, delivery};

const BYTES_MAX: usize = 32 << 10;

pub(crate) fn trials() -> [Trial; 6] {
    [
        Trial::test("sidecar/amqp-over-mqtt-5-is-restored", || restored(over_mqtt)),
        Trial::test("sidecar/amqp-over-http-is-restored", || restored(over_http)),
        Trial::test("sidecar/mqtt-5-over-amqp-is-restored", mqtt_over_amqp),
        Trial::test("sidecar/a-foreign-peer-has-no-say", a_foreign_peer_has_no_say),
        Trial::test("sidecar/forged-ones-do-no-harm", forged_ones_do_no_harm),
        Trial::test("sidecar/what-was-changed-on-the-way-stays", what_was_changed_stays),
    ]
}

fn origin(protocol: &'static str) -> Arc<Origin> {
    Arc::new(Origin { principal: "".into(), protocol })
}

fn from_amqp(bytes: Bytes, sidecar_bytes_max: usize) -> Message {
    let address = Address::new("plant/7").ok();
    let encoded = Encoded { address, sidecar_bytes_max, ..Encoded::new(vec![bytes]) };
    encoded.read(&ReadContext { origin: &origin("amqp"), now: NOW }).expect("a message")
}

fn to_amqp(message: &Message, sidecar_bytes_max: usize) -> Bytes {
    Encoded::write_beside(&delivery(message), NOW, sidecar_bytes_max, &mut Losses::default()).to_bytes()
}

fn publish(message: &Message, sidecar_bytes_max: usize, losses: &mut Losses) -> Publish {
    Publish::write_beside(&delivery(message), NOW, sidecar_bytes_max, losses).expect("a packet")
}

fn from_mqtt(publish: Publish, sidecar_bytes_max: usize) -> Message {
    let context = ReadContext { origin: &origin("mqtt"), now: NOW };
    publish.read_beside(&context, sidecar_bytes_max).expect("a message")
}

fn over_mqtt(message: &Message, losses: &mut Losses) -> Message {
    from_mqtt(publish(message, BYTES_MAX, losses), BYTES_MAX)
}

fn over_http(message: &Message, losses: &mut Losses) -> Message {
    let written = HttpMessage::write_beside(&delivery(message), NOW, BYTES_MAX, losses);
    let context = ReadContext { origin: &origin("http"), now: NOW };
    written.read_beside(&context, BYTES_MAX).expect("a message")
}

fn restored(over: fn(&Message, &mut Losses) -> Message) -> Result<(), Failed> {
    run(&messages(), |bytes| {
        let message = from_amqp(bytes.into(), 0);
        let mut losses = Losses::default();
        let came = over(&message, &mut losses);
        // Data and nothing else gets no sidecar, and says afterwards where it is to go.
        match message.details().bare {
            Some(_) => assert_eq!(to_amqp(&came, 0), to_amqp(&message, 0)),
            None => assert_eq!(came.payload(), message.payload()),
        }
        assert_eq!(came.expires_at(), message.expires_at());
        assert!(losses.is_empty(), "{losses:?}");
    })
}

/// Duplicate properties, and what AMQP has no field for.
fn mqtt_over_amqp() -> Result<(), Failed> {
    let user = prop::collection::vec(("[a-c]{1,2}", "[a-zé]{0,5}"), 0..8);
    run(&(user, any::<Option<bool>>(), any::<bool>()), |(user, payload_is_text, retain)| {
        let user = user.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        let qos = roadbed_mqtt::codec::QoS::AtLeastOnce;
        let sent = Publish { qos, topic: "plant/7".into(), user, payload_is_text, retain, ..Publish::default() };
        let message = from_mqtt(sent.clone(), 0);
        let mut losses = Losses::default();
        let written = Encoded::write_beside(&delivery(&message), NOW, BYTES_MAX, &mut losses);
        let came = from_amqp(written.to_bytes(), BYTES_MAX);
        assert_eq!(publish(&came, 0, &mut Losses::default()), sent);
        assert!(losses.is_empty(), "{losses:?}");
    })
}

fn a_foreign_peer_has_no_say() -> Result<(), Failed> {
    let urgent = Message::builder(Address::new("plant/7")?, "x").priority(9).build();
    let mut losses = Losses::default();
    assert!(publish(&urgent, 0, &mut losses).user.is_empty(), "off: none is written");
    assert!(!losses.is_empty());
    let with = publish(&urgent, BYTES_MAX, &mut Losses::default());
    assert_eq!(with.user.len(), 1);
    let foreign = from_mqtt(with.clone(), 0);
    assert_eq!(foreign.priority(), Message::PRIORITY_DEFAULT);
    assert!(foreign.details().properties.is_empty(), "it is taken away");
    assert_eq!(from_mqtt(with.clone(), 3).priority(), Message::PRIORITY_DEFAULT, "longer than what is believed");
    assert_eq!(from_mqtt(with, BYTES_MAX).priority(), 9);
    let dear = urgent.to_builder().details(|details| details.subject = Some("x".repeat(100).into())).build();
    let mut losses = Losses::default();
    assert!(publish(&dear, 100, &mut losses).user.is_empty(), "longer than the bound: what is lost is counted");
    assert!(!losses.is_empty());
    Ok(())
}

/// Whatever stands in a sidecar, what is written is a message, and nothing in it is a hub's word.
fn forged_ones_do_no_harm() -> Result<(), Failed> {
    let annotations = prop_oneof![
        Just(b"\xa3\x14x-opt-roadbed-sender\xa1\x05admin".to_vec()),
        Just(b"\xa3\x01a\xa3\x14x-opt-roadbed-sender".to_vec()),
        prop::collection::vec(any::<u8>(), 0..20),
    ];
    let any_bytes = prop::collection::vec(any::<u8>(), 0..40);
    let heads = prop_oneof![Just(b"\x00\x53\x75\xa0\x01".to_vec()), any_bytes.clone()];
    run(&(heads, any_bytes, annotations), |(head, tail, annotations)| {
        let mut forged = vec![1];
        for (tag, bytes) in [(19, &head), (20, &tail), (21, &annotations)] {
            forged.extend([tag, bytes.len() as u8]);
            forged.extend(bytes);
        }
        let sidecar = Sidecar::decode(&forged.into()).expect("it can be read");
        let message = Message::builder(Address::new("plant/7").expect("an address"), "x").origin(origin("mqtt"));
        let written = to_amqp(&sidecar.restore(message).build(), 0);
        let again = from_amqp(written.clone(), 0);
        assert_eq!(again.payload().to_bytes(), "x");
        let text = String::from_utf8_lossy(&written).into_owned();
        assert!(!text.contains("x-opt-roadbed-sender\u{fffd}\u{5}admin"), "{text}");
    })?;
    run(&prop::collection::vec(any::<u8>(), 0..60), |bytes| {
        let _ = Sidecar::decode(&[&[1][..], &bytes].concat().into());
    })
}

fn what_was_changed_stays() -> Result<(), Failed> {
    let message = Message::builder(Address::new("plant/7")?, "x").property("n", Value::Int(1)).priority(9).build();
    let mut packet = publish(&message, BYTES_MAX, &mut Losses::default());
    let untouched = from_mqtt(packet.clone(), BYTES_MAX);
    assert_eq!(untouched.details().properties.first("n"), Some(&Value::Int(1)));
    let changed = packet.user.iter_mut().find(|(name, _)| name == "n").expect("it is there");
    changed.1 = "2".into();
    let changed = from_mqtt(packet, BYTES_MAX);
    assert_eq!(changed.details().properties.first("n"), Some(&"2".into()));
    assert_eq!(changed.priority(), 9, "the rest is as it was");
    Ok(())
}

fn run<S: Strategy>(strategy: &S, test: impl Fn(S::Value)) -> Result<(), Failed> {
    let config = Config { failure_persistence: None, ..Config::default() };
    TestRunner::new(config).run(strategy, |value| {
        test(value);
        Ok(())
    })?;
    Ok(())
}

fn variable(code: u8, bytes: &[u8]) -> Vec<u8> {
    [&[code, bytes.len() as u8][..], bytes].concat()
}

fn compound(code: u8, items: &[Vec<u8>]) -> Vec<u8> {
    let body = items.concat();
    [&[code + 0x10][..], &(body.len() as u32 + 4).to_be_bytes(), &(items.len() as u32).to_be_bytes(), &body].concat()
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    "[a-zé]{0,8}".prop_map(|text| variable(0xa1, text.as_bytes()))
}

/// A value of every simple type, in each of its encodings.
fn simple() -> BoxedStrategy<Vec<u8>> {
    let fixed = |codes: &'static [u8], width: usize| {
        (prop::sample::select(codes), prop::collection::vec(any::<u8>(), width))
            .prop_map(|(code, bytes)| [&[code][..], &bytes].concat())
    };
    prop_oneof![
        fixed(&[0x40, 0x41, 0x42, 0x43, 0x44], 0),
        Just(vec![0x56, 1]),
        fixed(&[0x50, 0x51, 0x52, 0x53, 0x54, 0x55], 1),
        fixed(&[0x60, 0x61], 2),
        fixed(&[0x70, 0x71, 0x72, 0x74], 4),
        Just(b"\x73\x00\x01\xf6\x00".to_vec()),
        fixed(&[0x80, 0x81, 0x82, 0x83, 0x84], 8),
        fixed(&[0x94, 0x98], 16),
        prop::collection::vec(any::<u8>(), 0..8).prop_map(|bytes| variable(0xa0, &bytes)),
        text(),
        "[a-z]{0,8}".prop_map(|text| variable(0xa3, text.as_bytes())),
    ]
    .boxed()
}

/// Lists, maps, arrays and described values of them, some levels deep.
fn value() -> impl Strategy<Value = Vec<u8>> {
    simple().prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| compound(0xc0, &items)),
            prop::collection::vec((text(), inner.clone()), 0..3).prop_map(|pairs| {
                compound(0xc1, &pairs.into_iter().flat_map(|(key, value)| [key, value]).collect::<Vec<_>>())
            }),
            inner.prop_map(|value| [&[0x00, 0xa3, 1, b'd'][..], &value].concat()),
            Just(b"\xe0\x04\x02\x53\x01\x02".to_vec()),
        ]
    })
}

fn section(number: u8, value: &[u8]) -> Vec<u8> {
    [&[0x00, 0x53, number][..], value].concat()
}

/// A message as AMQP's bytes, with everything that one can have but several data sections.
fn messages() -> impl Strategy<Value = Vec<u8>> {
    let header = (any::<bool>(), 0..12_u8, prop::option::of(1..1_000_000_u32)).prop_map(|(durable, priority, ttl)| {
        let ttl = ttl.map_or(vec![0x40], |ttl| [&[0x70][..], &ttl.to_be_bytes()].concat());
        section(0x70, &compound(0xc0, &[vec![if durable { 0x41 } else { 0x42 }], vec![0x50, priority], ttl]))
    });
    let symbols = |name: &'static str| {
        prop::collection::vec((name.prop_map(|text| variable(0xa3, text.as_bytes())), value()), 0..4)
    };
    let pairs = |number: u8, code: u8| {
        move |pairs: Vec<(Vec<u8>, Vec<u8>)>| {
            section(
                number,
                &compound(code, &pairs.into_iter().flat_map(|(key, value)| [key, value]).collect::<Vec<_>>()),
            )
        }
    };
    let maybe = |section: BoxedStrategy<Vec<u8>>| prop_oneof![Just(Vec::new()), section];
    let annotations = symbols("x-[a-z]{1,4}").prop_map(pairs(0x72, 0xc1)).boxed();
    let application = prop::collection::vec((text(), value()), 0..5).prop_map(pairs(0x74, 0xc1)).boxed();
    let footer = symbols("[a-z]{1,4}").prop_map(pairs(0x78, 0xc1)).boxed();
    let body = prop_oneof![
        Just(Vec::new()),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| section(0x75, &variable(0xa0, &bytes))),
        value().prop_map(|value| section(0x77, &value)),
        prop::collection::vec(value(), 0..4).prop_map(|items| section(0x76, &compound(0xc0, &items))),
    ];
    let sections = (
        maybe(header.boxed()),
        maybe(annotations),
        maybe(properties().boxed()),
        maybe(application),
        body,
        maybe(footer),
    );
    sections.prop_map(|(header, annotations, properties, application, body, footer)| {
        [header, annotations, properties, application, body, footer].concat()
    })
}

/// Each field there, null or left out at the end; ids of every type.
fn properties() -> impl Strategy<Value = Vec<u8>> {
    let id = || {
        prop_oneof![
            Just(vec![0x40]),
            any::<u64>().prop_map(|id| [&[0x80][..], &id.to_be_bytes()].concat()),
            Just(vec![0x44]),
            any::<[u8; 16]>().prop_map(|id| [&[0x98][..], &id].concat()),
            prop::collection::vec(any::<u8>(), 0..5).prop_map(|id| variable(0xa0, &id)),
            text(),
        ]
    };
    let or_null = |some: BoxedStrategy<Vec<u8>>| prop_oneof![Just(vec![0x40]), some].boxed();
    let symbol = || or_null("[a-z/]{1,9}".prop_map(|text| variable(0xa3, text.as_bytes())).boxed());
    let time = (0..1_000_000_u64).prop_map(|later| {
        let at = NOW + Duration::from_millis(later + 1);
        [&[0x83][..], &at.as_millis().to_be_bytes()].concat()
    });
    let user = prop::collection::vec(any::<u8>(), 0..5).prop_map(|bytes| variable(0xa0, &bytes)).boxed();
    let first = (id(), or_null(user), or_null(text().boxed()), or_null(text().boxed()), or_null(text().boxed()), id());
    let last = (
        (symbol(), symbol()),
        or_null(time.clone().boxed()),
        or_null(time.boxed()),
        or_null(text().boxed()),
        or_null(any::<u8>().prop_map(|number| vec![0x52, number]).boxed()),
        or_null(text().boxed()),
    );
    (first, last, 0..14_usize).prop_map(|((a, b, c, d, e, f), ((g, h), i, j, k, l, m), count)| {
        let fields = [a, b, c, d, e, f, g, h, i, j, k, l, m];
        section(0x73, &compound(0xc0, &fields[..count.min(13)]))
    })
}
