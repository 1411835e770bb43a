//! The four mapping traits, both ways, and what CONNECT, SUBSCRIBE and DISCONNECT mean to the core.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use roadbed_core::{
    Condition, CopyId, Credential, Delivery, DeliveryId, DeliveryInfo, Durability, Event, Fence, Handle, Losses,
    Origin, Outcome, Qos, QueueId, ReadContext, Role, Scope, Time, Wire, WireDelivery, WireDurability, WireMessage,
    WireQos,
};
use roadbed_mqtt::codec::{
    Ack, AckKind, Connect, Disconnect, Publish, QoS, ReasonCode, RetainHandling, Subscription, Version, Will,
};
use roadbed_mqtt::dialect::{self, PlainAck, PlainPublish, Unsaid};

#[path = "support/strategy.rs"]
mod strategy;
mod support;

use support::id;

const NOW: Time = Time::from_millis(5_000);

fn origin() -> Arc<Origin> {
    Arc::new(Origin { principal: "alice".into(), protocol: "mqtt" })
}

/// The delivery of a message over the hop that brought it.
fn delivery(publish: &Publish, message: roadbed_core::Message) -> Delivery {
    let copy = CopyId { queue: QueueId(0), seq: 0 };
    let mut info = DeliveryInfo::new(DeliveryId { copy, fence: Fence::default() }, NOW);
    info.bindings.clone_from(&publish.subscription_ids);
    Delivery {
        message,
        handle: publish.packet_id.and_then(|id| Handle::new(id.get(), 1)),
        qos: publish.qos.read(),
        retained: publish.retain,
        attempt: 1,
        info: Some(Box::new(info)),
    }
}

proptest! {
    #[test]
    fn a_publish_is_the_same_after_the_way_through_a_message(publish in strategy::publish(Version::V5)) {
        let expected = Publish {
            // These belong to the connection that it came over.
            dup: false,
            topic_alias: None,
            topic: if publish.topic.is_empty() { "t".into() } else { publish.topic.clone() },
            message_expiry_secs: publish.message_expiry_secs.map(|secs| secs.max(1)),
            ..publish
        };
        let origin = origin();
        let message = expected.clone().read(&ReadContext { origin: &origin, now: NOW }).expect("a legal topic");
        prop_assert_eq!(message.origin(), Some(&origin));
        let mut losses = Losses::default();
        let written = Publish::write(&delivery(&expected, message), NOW, &mut losses).expect("sayable");
        prop_assert!(losses.is_empty(), "{:?}", losses);
        prop_assert_eq!(written, expected);
    }

    #[test]
    fn a_plain_publish_keeps_what_mqtt_3_has(publish in strategy::publish(Version::V5)) {
        let topic = if publish.topic.is_empty() { "t".into() } else { publish.topic.clone() };
        let publish = Publish { dup: false, topic, ..publish };
        let message = publish.clone().read(&ReadContext { origin: &origin(), now: NOW }).expect("a legal topic");
        let mut losses = Losses::default();
        let PlainPublish(written) = PlainPublish::write(&delivery(&publish, message), NOW, &mut losses).expect("sayable");
        let Publish { qos, retain, packet_id, topic, payload, .. } = publish.clone();
        prop_assert_eq!(&written, &Publish { qos, retain, packet_id, topic, payload, ..Publish::default() });
        let has_more = publish.message_expiry_secs.is_some()
            || publish.payload_is_text.is_some()
            || publish.content_type.is_some()
            || publish.response_topic.is_some()
            || publish.correlation_data.is_some()
            || !publish.user.is_empty();
        prop_assert_eq!(!losses.is_empty(), has_more, "whatever is dropped is counted");
    }
}

#[test]
fn levels_are_the_same_numbers() {
    for qos in Qos::ALL {
        let wire = QoS::write(qos).expect("MQTT has all three");
        assert_eq!((wire.read(), wire.bits()), (qos, qos.level()));
    }
}

#[test]
fn durability_is_not_said() {
    assert_eq!(Unsaid.read(), Durability::Session);
    assert!(Unsaid::write(Durability::Volatile).is_ok() && Unsaid::write(Durability::Session).is_ok());
    let error = Unsaid::write(Durability::Stored).expect_err("no word for it");
    assert_eq!(error.kind(), roadbed_core::ErrorKind::NotSupported);
}

fn wire(role: Role, qos: Qos) -> Wire {
    Wire { role, qos, first: 7, last: 7 }
}

#[test]
fn answers_are_events_and_back() {
    let accepted = |settled| Event::Dispose { outcome: Outcome::Accepted, settled };
    let rejected = Event::Dispose { outcome: Outcome::rejected(Condition::Full), settled: true };
    for (role, qos, event, kind, reason) in [
        (Role::Receiver, Qos::AtLeastOnce, accepted(true), AckKind::PubAck, ReasonCode::Success),
        (Role::Receiver, Qos::ExactlyOnce, accepted(false), AckKind::PubRec, ReasonCode::Success),
        (Role::Receiver, Qos::AtLeastOnce, rejected.clone(), AckKind::PubAck, ReasonCode::QuotaExceeded),
        (Role::Receiver, Qos::ExactlyOnce, rejected, AckKind::PubRec, ReasonCode::QuotaExceeded),
        (Role::Sender, Qos::ExactlyOnce, Event::Settle, AckKind::PubRel, ReasonCode::Success),
        (Role::Receiver, Qos::ExactlyOnce, Event::Settle, AckKind::PubComp, ReasonCode::Success),
    ] {
        let wire = wire(role, qos);
        let ack = Ack::write(&event, &wire).expect("MQTT 5 can say it");
        assert_eq!(ack, Ack::with_reason(kind, id(7), reason));
        assert_eq!(ack.event(&wire), Some(event.clone()));
        let plain = PlainAck::write(&event, &wire);
        assert_eq!(
            plain,
            (!reason.is_failure()).then_some(PlainAck { kind, packet_id: id(7) }),
            "no negative answer in MQTT 3"
        );
    }
}

#[test]
fn what_mqtt_cannot_say_is_not_said() {
    let released = Event::Dispose { outcome: Outcome::Released, settled: true };
    let failed = Event::Dispose { outcome: Outcome::FAILED, settled: true };
    let accepted = |settled| Event::Dispose { outcome: Outcome::Accepted, settled };
    for (role, qos, event) in [
        (Role::Receiver, Qos::AtLeastOnce, released),
        (Role::Receiver, Qos::ExactlyOnce, failed),
        (Role::Receiver, Qos::AtMostOnce, accepted(true)),
        (Role::Receiver, Qos::AtLeastOnce, accepted(false)),
        (Role::Receiver, Qos::ExactlyOnce, accepted(true)),
        (Role::Sender, Qos::AtLeastOnce, Event::Settle),
        (Role::Sender, Qos::AtLeastOnce, Event::Transfer { settled: false }),
        (Role::Receiver, Qos::AtLeastOnce, Event::Lapse(Outcome::Released)),
    ] {
        assert_eq!(Ack::write(&event, &wire(role, qos)), None, "{event:?}");
    }
    let range = Wire { last: 8, ..wire(Role::Receiver, Qos::AtLeastOnce) };
    assert_eq!(Ack::write(&accepted(true), &range), None, "one packet, one message");
}

/// Every failure of PUBACK and PUBREC is a refusal: the message is not sent again [MQTT-4.4.0-2].
#[test]
fn every_failure_is_a_refusal() {
    for &reason in ReasonCode::ALL {
        for kind in [AckKind::PubAck, AckKind::PubRec] {
            if !reason.is_allowed_in(kind.packet_type()) {
                continue;
            }
            let event = Ack::with_reason(kind, id(1), reason).event(&wire(Role::Receiver, Qos::ExactlyOnce));
            let Some(Event::Dispose { outcome, settled }) = event else { panic!("{event:?}") };
            assert_eq!(matches!(outcome, Outcome::Rejected(_)), reason.is_failure());
            assert_eq!(settled, reason.is_failure() || kind == AckKind::PubAck);
        }
    }
}

fn open(connect: &Connect) -> roadbed_core::Open {
    dialect::open(connect, &origin(), Durability::Session, Scope::unique(), NOW).expect("a legal will")
}

#[test]
fn connect_asks_for_a_session() {
    let mut connect = Connect::new(Version::V311, "dev");
    let asked = open(&connect);
    assert_eq!((asked.name.as_deref(), asked.resume, asked.expiry), (Some("dev"), false, Duration::ZERO));
    connect.clean_start = false;
    assert_eq!((open(&connect).resume, open(&connect).expiry), (true, Duration::MAX));
    let mut connect = Connect::new(Version::V5, "");
    connect.session_expiry_secs = Some(60);
    connect.receive_maximum = std::num::NonZeroU16::new(5);
    let asked = open(&connect);
    assert_eq!((asked.name, asked.expiry, asked.window), (None, Duration::from_secs(60), 5));
    connect.session_expiry_secs = Some(u32::MAX);
    assert_eq!(open(&connect).expiry, Duration::MAX);
    connect.session_expiry_secs = None;
    assert_eq!(open(&connect).expiry, Duration::ZERO, "whether the start was clean or not");
}

#[test]
fn a_will_lives_from_when_it_is_sent() {
    let mut connect = Connect::new(Version::V5, "dev");
    connect.will = Some(Will {
        retain: true,
        delay_secs: Some(30),
        message_expiry_secs: Some(60),
        user: vec![("k".into(), "v".into())],
        ..Will::new("gone/dev", &b"bye"[..], QoS::AtLeastOnce)
    });
    let will = open(&connect).will.expect("there is one");
    assert_eq!(
        (will.delay, will.ttl, will.qos),
        (Duration::from_secs(30), Some(Duration::from_secs(60)), Qos::AtLeastOnce)
    );
    assert_eq!((will.message.expires_at(), will.message.retain()), (None, true));
    assert_eq!(will.message.origin(), Some(&origin()));
    assert_eq!(will.message.details().properties.len(), 1);
}

#[test]
fn disconnect_ends_a_session() {
    let close = |packet: Disconnect| dialect::close(&packet);
    assert!(!close(Disconnect::default()).will);
    assert!(close(Disconnect::new(ReasonCode::DisconnectWithWill)).will);
    assert!(close(Disconnect::new(ReasonCode::UnspecifiedError)).will);
    let later = Disconnect { session_expiry_secs: Some(9), ..Disconnect::default() };
    assert_eq!((close(Disconnect::default()).expiry, close(later).expiry), (None, Some(Duration::from_secs(9))));
}

#[test]
fn credentials() {
    let mut connect = Connect::new(Version::V5, "dev");
    assert!(matches!(dialect::credential(&connect), Credential::Anonymous));
    connect.user_name = Some("".into());
    assert!(
        matches!(dialect::credential(&connect), Credential::Password { user, password } if user.is_empty() && password.is_empty())
    );
    connect.password = Some((&b"\xff"[..]).into());
    assert!(matches!(dialect::credential(&connect), Credential::Password { password, .. } if password == b"\xff"[..]));
}

#[test]
fn filters() {
    let subscription = Subscription {
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::SendIfNew,
        ..Subscription::new("a/+", QoS::AtLeastOnce)
    };
    let binding = dialect::binding(&subscription, Some(7)).expect("legal");
    assert_eq!((binding.filter.as_str(), binding.share.as_deref()), ("a/+", None));
    assert_eq!((binding.qos_max, binding.id), (Qos::AtLeastOnce, Some(7)));
    assert!(binding.no_local && binding.retain_as_published);
    assert_eq!(binding.retain_handling, roadbed_core::RetainHandling::IfNew);
    let shared = dialect::unbind(&"$share/g/a/#".into()).expect("legal");
    assert_eq!((shared.filter.as_str(), shared.share.as_deref()), ("a/#", Some("g")));
    for filter in ["a/#/b", "a+", "$share/g", "$share//a", "$share/+/a"] {
        let refused = dialect::binding(&Subscription::new(filter, QoS::AtMostOnce), None);
        assert_eq!(refused, Err(ReasonCode::TopicFilterInvalid), "{filter}");
        assert_eq!(dialect::unbind(&filter.into()), Err(ReasonCode::TopicFilterInvalid));
    }
    let deep = Subscription::new("/".repeat(200), QoS::AtMostOnce);
    assert_eq!(dialect::binding(&deep, None), Err(ReasonCode::QuotaExceeded));
}

fn published(user: &[(&str, &str)]) -> roadbed_core::Message {
    let user = user.iter().map(|&(name, value)| (name.into(), value.into())).collect();
    let publish = Publish { topic: "a".into(), user, ..Publish::default() };
    publish.read(&ReadContext { origin: &origin(), now: Time::ZERO }).expect("a message")
}

fn said(message: roadbed_core::Message) -> Vec<(String, String)> {
    let qos = Qos::AtMostOnce;
    let delivery = Delivery { message, handle: None, qos, retained: false, attempt: 1, info: None };
    let publish = Publish::write(&delivery, Time::ZERO, &mut Losses::default()).expect("a packet");
    publish.user.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

/// CloudEvents MQTT binding 1.0.2, section 3.1; [MQTT-3.3.2-17] and [MQTT-3.3.2-18]: unaltered and in order.
#[test]
fn an_event_has_the_attributes_of_every_protocol_and_leaves_as_it_came() {
    let event = [("Unit-x", "1"), ("id", "1"), ("source", "/s"), ("specversion", "1.0"), ("type", "t"), ("id", "2")];
    let message = published(&event);
    let names: Vec<_> = message.details().properties.iter().map(|(name, _)| name.to_string()).collect();
    assert_eq!(names[..3], ["Unit-x", "cloudEvents:id", "cloudEvents:source"]);
    for user in [
        &event[..],
        &event[..4],
        &[("cloudEvents:id", "1"), ("id", "1"), ("source", "/"), ("specversion", "1.0"), ("type", "t")],
    ] {
        let came: Vec<_> = user.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        assert_eq!(said(published(user)), came);
    }
    assert_eq!(published(&event[..4]).details().properties.first("id"), Some(&"1".into()), "no event without a type");
}

#[test]
fn what_only_a_hub_says_is_taken_away() {
    let forged = [("roadbed-delivery-count", "9"), ("roadbed-sidecar", "AQIBCQ"), ("mine", "1")];
    let message = published(&forged);
    assert_eq!(said(message.clone()), [("mine".to_owned(), "1".to_owned())]);
    assert_eq!(message.priority(), roadbed_core::Message::PRIORITY_DEFAULT);
}
