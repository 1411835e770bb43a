//! MQTT: kept sessions, exactly once in all its windows, wills and last values.

use std::time::Duration;

use crate::device::{Device, PUBACK, PUBCOMP, PUBREC, PUBREL};
use crate::support::Hub;

const QOS1: u8 = 0b010;
const QOS2: u8 = 0b100;
const DUP: u8 = 0b1000;
const RETAIN: u8 = 1;
/// At most QoS 2, retained as published.
const OPTIONS: u8 = 0b1010;

#[test]
fn a_kept_session_goes_on_with_its_subscriptions_and_what_is_in_flight() {
    let hub = Hub::start();
    let mut device = Device::kept(&hub.mqtt, "device", 600);
    assert!(!device.present);
    device.subscribe("a/#", OPTIONS, 5);
    let mut sender = Device::kept(&hub.mqtt, "sender", 0);
    for (id, (payload, first)) in [("one", QOS1), ("two", QOS2), ("three", QOS2)].into_iter().enumerate() {
        sender.published("a/b", payload, first, id as u16 + 1);
    }
    let came = [device.publish_in(), device.publish_in(), device.publish_in()];
    let payloads = came.each_ref().map(|publish| publish.payload.as_str());
    assert_eq!(payloads, ["one", "two", "three"]);
    assert!(came.iter().all(|publish| publish.properties == [0x0b, 5]), "{came:?}");
    device.ack(PUBREC, came[1].id);
    assert_eq!(device.acked(PUBREL).0, came[1].id);

    let hub = hub.killed();
    let mut device = Device::kept(&hub.mqtt, "device", 600);
    assert!(device.present);
    let (mut released, mut again) = (Vec::new(), Vec::new());
    while released.is_empty() || again.len() < 2 {
        let packet = device.peek();
        match packet {
            PUBREL => released.push(device.acked(PUBREL).0),
            _ => again.push(device.publish_in()),
        }
    }
    assert_eq!(released, [came[1].id], "what was received is not sent again");
    again.sort_by_key(|publish| publish.qos);
    assert_eq!(again.iter().map(|publish| publish.payload.as_str()).collect::<Vec<_>>(), ["one", "three"]);
    assert_eq!((again[1].id, again[1].dup), (came[2].id, true));
    device.ack(PUBACK, again[0].id);
    device.ack(PUBCOMP, came[1].id);
    device.ack(PUBREC, again[1].id);
    assert_eq!(device.acked(PUBREL).0, came[2].id);
    device.ack(PUBCOMP, came[2].id);
    assert!(device.is_quiet());

    let hub = hub.killed();
    let mut device = Device::kept(&hub.mqtt, "device", 600);
    assert!(device.present && device.is_quiet());
    Device::kept(&hub.mqtt, "sender", 0).published("a/c", "four", QOS1 | RETAIN, 1);
    let four = device.publish_in();
    assert_eq!((four.payload.as_str(), four.retain, four.properties), ("four", true, vec![0x0b, 5]));
}

/// What a client does when it cannot know how far its message came, after each step at which the hub may die.
#[test]
fn exactly_once_in_is_so_in_every_window() {
    for window in 0..4 {
        let hub = Hub::start();
        let mut client = Device::kept(&hub.mqtt, "client", 600);
        client.publish("queues/q", "message", QOS2, 7, &[]);
        if window > 0 {
            assert_eq!(client.acked(PUBREC), (7, 0));
        }
        if window > 2 {
            client.ack(PUBREL, 7);
            assert_eq!(client.acked(PUBCOMP).0, 7);
        }
        let hub = hub.killed();
        let mut client = Device::kept(&hub.mqtt, "client", 600);
        assert!(client.present);
        if window < 2 {
            client.publish("queues/q", "message", QOS2 | DUP, 7, &[]);
            assert_eq!(client.acked(PUBREC), (7, 0), "window {window}");
        }
        client.ack(PUBREL, 7);
        assert_eq!(client.acked(PUBCOMP).0, 7, "window {window}");
        client.published("queues/q", "next", QOS2, 7);
        assert_eq!(hub.take_all("queues/q"), ["message", "next"], "window {window}");
    }
}

#[test]
fn a_packet_identifier_that_was_released_is_free_after_a_restart() {
    let hub = Hub::start();
    let mut client = Device::kept(&hub.mqtt, "client", 600);
    for n in 0..20 {
        client.published("queues/q", &n.to_string(), QOS2, 7);
        client.ack(PUBREL, 7);
        assert_eq!(client.acked(PUBCOMP), (7, 0));
    }
    let hub = hub.killed();
    let mut client = Device::kept(&hub.mqtt, "client", 600);
    client.published("queues/q", "20", QOS2, 7);
    assert_eq!(hub.backlog("queues/q"), 21);
}

#[test]
fn a_session_expires_while_the_hub_is_down() {
    let hub = Hub::start();
    Device::kept(&hub.mqtt, "short", 1).subscribe("a", QOS1 >> 1, 1);
    Device::kept(&hub.mqtt, "long", 600).subscribe("a", QOS1 >> 1, 1);
    // Nobody waits for the word that they have gone: it is stored within a moment.
    std::thread::sleep(Duration::from_millis(400));
    let hub = hub.down(Duration::from_millis(1500));
    assert!(!Device::kept(&hub.mqtt, "short", 1).present);
    assert!(Device::kept(&hub.mqtt, "long", 600).present);
}

#[test]
fn a_session_that_was_ended_does_not_come_back() {
    let hub = Hub::start();
    let mut device = Device::kept(&hub.mqtt, "device", 600);
    device.subscribe("a", QOS1 >> 1, 1);
    device.published("queues/q", "before", QOS2, 3);
    let device = Device::connect(&hub.mqtt, "device", 600, true, None);
    assert!(!device.present);
    let hub = hub.killed();
    Device::kept(&hub.mqtt, "sender", 0).published("a", "x", QOS1, 1);
    let mut device = Device::kept(&hub.mqtt, "device", 600);
    assert!(device.present && device.is_quiet(), "the new session follows nothing");
    device.published("queues/q", "after", QOS2, 3);
    assert_eq!(hub.take_all("queues/q"), ["before", "after"], "the new session has sent nothing");
}

#[test]
fn wills_that_are_not_due_yet_are_sent_when_they_are() {
    let hub = Hub::start();
    Device::kept(&hub.mqtt, "watcher", 600).subscribe("wills/#", QOS1 >> 1, 1);
    let will = |topic, delay| Some((topic, "gone", delay));
    drop(Device::connect(&hub.mqtt, "lost", 600, false, will("wills/lost", 1)));
    let connected = Device::connect(&hub.mqtt, "connected", 600, false, will("wills/connected", 1));
    let mut leaving = Device::connect(&hub.mqtt, "leaving", 600, false, will("wills/leaving", 1));
    leaving.disconnect();
    let back = Device::connect(&hub.mqtt, "back", 600, false, will("wills/back", 600));

    let hub = hub.down(Duration::from_millis(1500));
    drop((connected, back));
    let _back = Device::kept(&hub.mqtt, "back", 600);
    let mut watcher = Device::kept(&hub.mqtt, "watcher", 600);
    let mut topics = [watcher.publish_in().topic, watcher.publish_in().topic];
    topics.sort();
    assert_eq!(topics, ["wills/connected", "wills/lost"]);
    assert!(watcher.is_quiet());
}

#[test]
fn wills_of_sessions_that_are_not_kept_are_sent_after_a_kill() {
    let hub = Hub::start();
    Device::kept(&hub.mqtt, "watcher", 600).subscribe("wills/#", QOS1 >> 1, 1);
    let will = |topic| Some((topic, "gone", 0));
    let connected = Device::connect(&hub.mqtt, "connected", 0, true, will("wills/connected"));
    let mut leaving = Device::connect(&hub.mqtt, "leaving", 0, true, will("wills/leaving"));
    leaving.disconnect();
    // Nobody is told that it has left: it is stored within a moment.
    std::thread::sleep(Duration::from_millis(400));
    let mut hub = hub;
    for round in 0..2 {
        hub = hub.killed();
        let mut watcher = Device::kept(&hub.mqtt, "watcher", 600);
        if round == 0 {
            let came = watcher.publish_in();
            assert_eq!(came.topic, "wills/connected");
            watcher.ack(PUBACK, came.id);
        }
        assert!(watcher.is_quiet(), "round {round}");
    }
    drop(connected);
}

#[test]
fn last_values_stay_and_removed_ones_stay_away() {
    let hub = Hub::start();
    let mut sender = Device::kept(&hub.mqtt, "sender", 0);
    for (topic, payload, first) in [
        ("v/kept", "old", QOS1 | RETAIN),
        ("v/kept", "new", QOS1 | RETAIN),
        ("v/removed", "old", QOS1 | RETAIN),
        ("v/removed", "", QOS1 | RETAIN),
        ("v/removed-at-most-once", "old", QOS1 | RETAIN),
    ] {
        sender.published(topic, payload, first, 1);
    }
    sender.publish("v/removed-at-most-once", "", RETAIN, 0, &[]);
    sender.publish("v/expires", "old", QOS1 | RETAIN, 2, &[2, 0, 0, 0, 1]);
    assert_eq!(sender.acked(PUBACK), (2, 0));
    let hub = hub.down(Duration::from_millis(1500));
    let mut reader = Device::kept(&hub.mqtt, "reader", 0);
    reader.subscribe("v/#", QOS1 >> 1, 1);
    let value = reader.publish_in();
    assert_eq!((value.topic.as_str(), value.payload.as_str(), value.retain), ("v/kept", "new", true));
    assert!(reader.is_quiet());
}
