//! What is sent arrives as it was sent.

use std::collections::BTreeMap;

use bytes::Bytes;
use roadbed_core::{Address, Binding, Message, Outcome, Overflow, Payload, Qos, QueueSettings};

use crate::client::text;
use crate::world::{World, address, filter_of, message};

/// Addresses with characters that some protocol or other treats specially.
const ODD: &[&str] =
    &["a", "a b", "a//b", "/a", "a/", "./a/..", "a.b", "*", ">", "a/%2F", "é/温度", "\"q\"", "a\\b", "?x=1&y=<z>"];

fn payloads() -> Vec<Payload> {
    let sized = |len: usize| Payload::from((0..len).map(|n| (n * 7 + len) as u8).collect::<Vec<u8>>());
    let text = |bytes: &'static [u8]| Payload::from(bytes);
    vec![
        sized(0),
        sized(1),
        sized(95),
        sized(96),
        sized(5000),
        sized(64 * 1024),
        text(b"\xff\xfe\x00\xc3\x28"),
        text("ü".as_bytes()),
    ]
}

/// Whatever the payload, the address and the properties are, the receiver sees what the sender said.
pub(super) async fn delivers_what_was_sent(world: World) {
    let (client, peer) = (world.client().await, world.peer().await);
    for qos in Qos::ALL {
        into_the_endpoint(&world, &client, &peer, qos).await;
    }
    let mut receiving = world.follow(&client, "#", world.can().qos_out).await;
    let mut sender = peer.sender().await;
    for message in samples(world.can().properties) {
        receiving.grant(1);
        sender.accepted(message.clone(), world.can().qos_out.min(Qos::AtLeastOnce)).await;
        let delivery = receiving.next().await;
        same(&message, &delivery.message);
        receiving.accept(&delivery).await;
    }
}

async fn into_the_endpoint(world: &World, client: &crate::Client, peer: &crate::Client, qos: Qos) {
    if qos > world.can().qos_in {
        return;
    }
    let mut receiving = peer.receive_session().await;
    receiving.bind(vec![Binding::new(filter_of("#"), qos)]).await;
    let mut sender = client.sender().await;
    for message in samples(world.can().properties) {
        receiving.grant(1);
        sender.accepted(message.clone(), qos).await;
        let delivery = receiving.next().await;
        same(&message, &delivery.message);
        assert_eq!(delivery.qos, qos, "the assurance is what was asked");
        receiving.accept(&delivery).await;
    }
    receiving.detach(roadbed_core::Detach::Close).await.expect("a consumer detaches");
}

fn samples(properties: bool) -> Vec<Message> {
    let mut samples: Vec<_> = payloads().into_iter().map(|payload| Message::new(address("p"), payload)).collect();
    samples.extend(ODD.iter().map(|name| message(name, "odd")));
    if properties {
        let named = Message::builder(address("p"), "properties");
        let twice = named.property("k", "1").property("other", "ü").property("k", "2").property("empty", "");
        samples.push(twice.build());
    }
    samples
}

fn same(sent: &Message, received: &Message) {
    assert_eq!(received.address(), sent.address(), "the address is kept");
    assert_eq!(received.payload(), sent.payload(), "the payload is kept ({})", sent.address());
    let properties = |message: &Message| {
        let list = message.details().properties.iter();
        list.map(|(name, value)| (name.to_string(), value.to_string())).collect::<Vec<_>>()
    };
    assert_eq!(properties(received), properties(sent), "properties keep order and duplicates");
}

/// What one sender sends to one destination arrives in that order, whatever others do meanwhile.
pub(super) async fn keeps_order_per_sender_and_destination(world: World) {
    const EACH: usize = 50;
    let (client, peer, other) = (world.client().await, world.peer().await, world.client().await);
    let mut receiving = world.follow(&client, "to/#", world.can().qos_out).await;
    receiving.grant(u32::MAX);
    let qos = world.can().qos_in.min(Qos::AtLeastOnce);
    let mut senders = [peer.sender().await, other.sender().await];
    let mut waiting = [Vec::new(), Vec::new()];
    for n in 0..EACH {
        for (who, sender) in senders.iter_mut().enumerate() {
            for to in ["to/a", "to/b"] {
                waiting[who].push(sender.submit(message(to, &format!("{who} {n}")), qos, None, None).await);
            }
        }
    }
    if qos > Qos::AtMostOnce {
        for (sender, cookies) in senders.iter_mut().zip(waiting) {
            for cookie in cookies {
                assert_eq!(sender.confirm(cookie).await.outcome, Outcome::Accepted);
            }
        }
    }
    let mut next = BTreeMap::<(String, String), usize>::new();
    for _ in 0..4 * EACH {
        let delivery = receiving.next().await;
        let payload = text(&delivery.message);
        let (who, n) = payload.split_once(' ').expect("two words");
        let expected = next.entry((who.into(), delivery.message.address().to_string())).or_default();
        assert_eq!(n, expected.to_string(), "sender {who} to {}", delivery.message.address());
        *expected += 1;
        receiving.accept(&delivery).await;
    }
    receiving.nothing("all has come").await;
}

/// A large payload is handed over where it lies.
pub(super) async fn payload_is_not_copied(world: World) {
    let (client, peer) = (world.client().await, world.peer().await);
    let mut receiving = world.follow(&client, "t", Qos::AtLeastOnce).await;
    receiving.grant(10);
    let mut senders = [peer.sender().await, client.sender().await];
    let buffer = Bytes::from(vec![7; 40_000]);
    for (n, qos) in [Qos::AtMostOnce, Qos::AtMostOnce, Qos::AtLeastOnce, Qos::AtLeastOnce].into_iter().enumerate() {
        let payload = buffer.slice(100..100 + 16 * 1024);
        senders[n % 2].accepted(Message::new(address("t"), payload.clone()), qos).await;
        let delivery = receiving.next().await;
        let segments: Vec<_> = delivery.message.payload().segments().collect();
        assert_eq!(segments.len(), 1);
        assert_eq!(segments[0].as_ptr(), payload.as_ptr(), "the payload lies where the sender put it");
        receiving.accept(&delivery).await;
    }
}

/// Once a message is confirmed it is there, for everybody.
pub(super) async fn confirm_means_taken(world: World) {
    let queue = world.queue("taken", QueueSettings::default()).await;
    let mut sender = world.client().await.sender().await;
    for n in 1..=30 {
        sender.accepted(message(queue.as_str(), &n.to_string()), Qos::AtLeastOnce).await;
        let there = world.describe(&queue).await;
        assert_eq!(there.available, n, "what is confirmed can be received");
        assert!(there.bytes > 0, "what is held is charged");
    }
}

/// A consumer that takes nothing neither stops nor slows down the others, and what it costs is bounded.
pub(super) async fn slow_consumer_costs_only_itself(world: World) {
    const COUNT: usize = 500;
    let bounded = QueueSettings { messages_max: 10, overflow: Overflow::DropOldest, ..QueueSettings::default() };
    let queue = slow_queue(&world, bounded).await;
    let (client, slow) = (world.client().await, world.client().await);
    let _idle = if world.can().queues { Some(slow.receive_queue(&queue).await) } else { None };
    let mut receiving = world.follow(&client, "t", world.can().qos_out).await;
    receiving.grant(u32::MAX);
    let mut sender = world.peer().await.sender().await;
    for n in 0..COUNT {
        sender.accepted(message("t", &n.to_string()), Qos::AtLeastOnce).await;
        let delivery = receiving.next().await;
        assert_eq!(text(&delivery.message), n.to_string());
        receiving.accept(&delivery).await;
    }
    let left = world.describe(&queue).await;
    assert!(left.available + left.held <= 10, "{} copies are kept for a consumer that takes none", left.available);
}

async fn slow_queue(world: &World, settings: QueueSettings) -> Address {
    let queue = world.queue("slow", settings).await;
    let binding = Binding::new(filter_of("t"), Qos::AtLeastOnce);
    let bind = roadbed_core::Manage::Bind(queue.clone(), binding);
    world.peer().await.manage(bind).await.expect("a queue can follow a filter");
    queue
}
