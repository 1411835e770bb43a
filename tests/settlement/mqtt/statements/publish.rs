//! PUBLISH: flags, properties, what is retained, order and flow.

use std::time::Duration;

use libtest_mimic::Trial;
use roadbed_mqtt::{MachineConfig, ServerConfig};

use super::{World, nothing_comes, payload_comes, publish, publish_one, statements, text, user};
use crate::Result;
use crate::mqtt::peer::Peer;
use crate::mqtt::wire::{self, Connect, PUBACK, PUBREC, Publish};
use crate::tell::same;

pub(super) fn trials() -> Vec<Trial> {
    statements! {
        byte_order_mark: "1.5.4-3";
        bad_pairs: "1.5.7-1";
        dup_is_per_hop: "3.3.1-3" "4.3.2-2" "4.3.3-2";
        qos_3: "3.3.1-4";
        retained_is_replaced: "3.3.1-5";
        retained_is_removed: "3.3.1-6" "3.3.1-7";
        not_retained: "3.3.1-8";
        retained_when_asked: "3.3.1-9";
        retained_if_new: "3.3.1-10";
        retained_never: "3.3.1-11";
        retain_flag: "3.3.1-12" "3.3.1-13";
        bad_strings: "3.3.2-1" "3.3.2-13" "3.3.2-14" "3.3.2-19";
        topic_as_published: "3.3.2-3" "4.7.3-4";
        properties: "3.3.2-4" "3.3.2-15" "3.3.2-16" "3.3.2-17" "3.3.2-18" "3.3.2-20";
        expired: "3.3.2-5";
        expiry_left: "3.3.2-6";
        aliases_end_with_the_connection: "3.3.2-7";
        alias_values: "3.3.2-8" "3.3.2-9";
        every_alias: "3.3.2-12";
        answers: "3.3.4-1" "2.2.1-5";
        client_names_a_subscription: "3.3.4-6";
        receive_maximum: "3.3.4-9" "3.3.4-10" "4.9.0-1" "4.9.0-2" "4.9.0-3";
        too_many: "3.3.4-7";
        order: "4.6.0-5" "4.6.0-6";
        at_most_once: "4.3.1-1" "2.2.1-2";
        identifiers: "2.2.1-4" "4.3.2-1" "4.3.3-1";
        again_after_puback: "4.3.2-5";
    }
}

async fn byte_order_mark() -> Result {
    let world = World::new().await?;
    let mut follower = world.follower("f", "#", 0).await?;
    publish_one(&mut world.client("a").await?, publish("\u{FEFF}t", b"x", 1)).await?;
    same("the topic", follower.packet(3).await?.parts().0, "\u{FEFF}t".as_bytes())
}

async fn bad_pairs() -> Result {
    for properties in [&[0x26, 0, 1, 0xFF, 0, 1, b'v'], &[0x26, 0, 1, b'n', 0, 1, 0xFF]] {
        refused(Publish { properties, ..publish("t", b"x", 0) }, "DISCONNECT 0x81, then close").await?;
    }
    Ok(())
}

async fn refused(publish: Publish<'_>, expected: &str) -> Result {
    refused_bytes(&publish.to_bytes(), expected).await
}

async fn refused_bytes(bytes: &[u8], expected: &str) -> Result {
    let world = World::new().await?;
    let mut peer = world.client("a").await?;
    peer.write(bytes).await?;
    same("the answer", peer.answer(expected).await?.as_str(), expected)
}

async fn dup_is_per_hop() -> Result {
    let world = World::new().await?;
    for qos in [1, 2] {
        let mut follower = world.follower("f", "t", qos).await?;
        let mut sender = world.client("a").await?;
        sender.write(&Publish { dup: true, ..publish("t", b"x", qos) }.to_bytes()).await?;
        let packet = payload_comes(&mut follower, b"x").await?;
        same("QoS and DUP", (packet.qos(), packet.dup()), (qos, false))?;
    }
    Ok(())
}

async fn qos_3() -> Result {
    let mut bytes = publish("t", b"x", 2).to_bytes();
    bytes[0] |= 0b110;
    refused_bytes(&bytes, "DISCONNECT 0x81, then close").await
}

fn retained<'a>(payload: &'a [u8]) -> Publish<'a> {
    Publish { retain: true, ..publish("t", payload, 1) }
}

async fn retained_is_replaced() -> Result {
    let world = World::new().await?;
    let mut sender = world.client("a").await?;
    publish_one(&mut sender, retained(b"old")).await?;
    publish_one(&mut sender, retained(b"new")).await?;
    let mut follower = world.follower("f", "t", 1).await?;
    same("RETAIN", payload_comes(&mut follower, b"new").await?.retain(), true)?;
    nothing_comes(&mut follower).await
}

async fn retained_is_removed() -> Result {
    let world = World::new().await?;
    let mut sender = world.client("a").await?;
    publish_one(&mut sender, retained(b"old")).await?;
    publish_one(&mut sender, retained(b"")).await?;
    nothing_comes(&mut world.follower("f", "t", 1).await?).await
}

async fn not_retained() -> Result {
    let world = World::new().await?;
    let mut sender = world.client("a").await?;
    publish_one(&mut sender, publish("t", b"x", 1)).await?;
    nothing_comes(&mut world.follower("f", "t", 1).await?).await?;
    publish_one(&mut sender, retained(b"old")).await?;
    publish_one(&mut sender, publish("t", b"new", 1)).await?;
    payload_comes(&mut world.follower("g", "t", 1).await?, b"old").await.map(drop)
}

/// What a subscription with this retain handling gets when it is new, and when it is made again.
async fn handling(handling: u8) -> Result<(bool, bool)> {
    let world = World::new().await?;
    publish_one(&mut world.client("a").await?, retained(b"x")).await?;
    let mut follower = world.client("f").await?;
    let mut came = [false; 2];
    for came in &mut came {
        follower.write(&wire::subscribe(true, "t", handling << 4)).await?;
        follower.packet(9).await?;
        *came = follower.next(super::QUIET).await? != crate::mqtt::peer::Seen::Nothing;
    }
    Ok((came[0], came[1]))
}

async fn retained_when_asked() -> Result {
    same("new, again", handling(0).await?, (true, true))
}

async fn retained_if_new() -> Result {
    same("new, again", handling(1).await?, (true, false))
}

async fn retained_never() -> Result {
    same("new, again", handling(2).await?, (false, false))
}

async fn retain_flag() -> Result {
    let world = World::new().await?;
    let (mut plain, mut kept) = (world.client("f").await?, world.client("g").await?);
    plain.subscribe("t", 1).await?;
    kept.write(&wire::subscribe(true, "t", 1 | 8)).await?;
    kept.packet(9).await?;
    let mut sender = world.client("a").await?;
    for (publish, as_published) in [(retained(b"x"), true), (publish("t", b"y", 1), false)] {
        publish_one(&mut sender, publish).await?;
        same("RETAIN without Retain As Published", plain.packet(3).await?.retain(), false)?;
        same("RETAIN as published", kept.packet(3).await?.retain(), as_published)?;
    }
    Ok(())
}

async fn bad_strings() -> Result {
    let mut bytes = publish("t", b"x", 0).to_bytes();
    bytes[4] = 0xFF;
    refused_bytes(&bytes, "DISCONNECT 0x81, then close").await?;
    let bad = |id| [id, 0, 1, 0xFF];
    refused(Publish { properties: &bad(0x08), ..publish("t", b"x", 0) }, "DISCONNECT 0x81, then close").await?;
    refused(Publish { properties: &bad(0x03), ..publish("t", b"x", 0) }, "DISCONNECT 0x81, then close").await?;
    refused(Publish { properties: &text(0x08, "a/#"), ..publish("t", b"x", 0) }, "DISCONNECT 0x90, then close").await
}

async fn topic_as_published() -> Result {
    let world = World::new().await?;
    let mut follower = world.follower("f", "Plant/+/#", 0).await?;
    let mut sender = world.client("a").await?;
    for topic in ["Plant/7/T", "Plant//x", "Plant/ 7/e\u{301}"] {
        publish_one(&mut sender, publish(topic, b"x", 1)).await?;
        same("the topic", follower.packet(3).await?.parts().0, topic.as_bytes())?;
    }
    publish_one(&mut sender, publish("plant/7/T", b"x", 1)).await?;
    nothing_comes(&mut follower).await
}

async fn properties() -> Result {
    let world = World::new().await?;
    let mut follower = world.follower("f", "t", 1).await?;
    let correlation = [vec![0x09, 0, 3], vec![0, 0xFF, 7]].concat();
    let properties = [
        vec![0x01, 1],
        text(0x03, "text/plain"),
        text(0x08, "reply/here"),
        correlation,
        user("z", "1"),
        user("a", "2"),
        user("z", "1"),
        user("", ""),
    ];
    publish_one(&mut world.client("a").await?, Publish { properties: &properties.concat(), ..publish("t", b"x", 1) })
        .await?;
    let packet = follower.packet(3).await?;
    same("the properties", packet.parts().1, &properties.concat()[..])
}

async fn expired() -> Result {
    let world = World::new().await?;
    let mut peer = world.kept("f").await?;
    peer.subscribe("t", 1).await?;
    peer.cut().await;
    let mut sender = world.client("a").await?;
    let expiry = [0x02, 0, 0, 0, 10];
    publish_one(&mut sender, Publish { properties: &expiry, ..publish("t", b"short", 1) }).await?;
    publish_one(&mut sender, publish("t", b"long", 1)).await?;
    world.stage.advance(Duration::from_secs(11));
    payload_comes(&mut world.kept("f").await?, b"long").await.map(drop)
}

async fn expiry_left() -> Result {
    let world = World::new().await?;
    let mut peer = world.kept("f").await?;
    peer.subscribe("t", 1).await?;
    peer.cut().await;
    let expiry = [0x02, 0, 0, 0, 100];
    publish_one(&mut world.client("a").await?, Publish { properties: &expiry, ..publish("t", b"x", 1) }).await?;
    world.stage.advance(Duration::from_secs(40));
    let packet = world.kept("f").await?.packet(3).await?;
    let left = packet.parts().1;
    same("Message Expiry Interval", (left[0], (55..=60).contains(&left[4])), (0x02, true))
}

fn aliased<'a>(topic: &'a str, properties: &'a [u8; 3]) -> Publish<'a> {
    Publish { properties, ..publish(topic, b"x", 1) }
}

async fn aliases_end_with_the_connection() -> Result {
    let world = World::new().await?;
    let mut follower = world.follower("f", "t", 0).await?;
    let mut peer = world.kept("a").await?;
    publish_one(&mut peer, aliased("t", &[0x23, 0, 1])).await?;
    publish_one(&mut peer, aliased("", &[0x23, 0, 1])).await?;
    for _ in 0..2 {
        same("the topic", follower.packet(3).await?.parts().0, b"t")?;
    }
    peer.cut().await;
    let mut peer = world.kept("a").await?;
    peer.write(&aliased("", &[0x23, 0, 1]).to_bytes()).await?;
    let expected = "DISCONNECT 0x94, then close";
    same("the answer", peer.answer(expected).await?.as_str(), expected)
}

async fn alias_values() -> Result {
    refused(aliased("t", &[0x23, 0, 0]), "DISCONNECT 0x94, then close").await?;
    refused(aliased("t", &[0x23, 0, 17]), "DISCONNECT 0x94, then close").await
}

async fn every_alias() -> Result {
    let world = World::new().await?;
    let mut peer = world.client("a").await?;
    for alias in 1..=16 {
        publish_one(&mut peer, aliased("t", &[0x23, 0, alias])).await?;
    }
    Ok(())
}

async fn answers() -> Result {
    let world = World::new().await?;
    let mut peer = world.client("a").await?;
    peer.write(&publish("t", b"x", 0).to_bytes()).await?;
    nothing_comes(&mut peer).await?;
    for (qos, kind) in [(1, PUBACK), (2, PUBREC)] {
        peer.write(&publish("t", b"x", qos).to_bytes()).await?;
        same("the identifier", peer.packet(kind).await?.id(), 9)?;
    }
    Ok(())
}

async fn client_names_a_subscription() -> Result {
    refused(Publish { properties: &[0x0B, 1], ..publish("t", b"x", 0) }, "DISCONNECT 0x82, then close").await
}

/// A client that takes two at a time gets two; all but PUBLISH goes on meanwhile. QoS 0 may be suspended as well (section 4.9), and is.
async fn receive_maximum() -> Result {
    let world = World::new().await?;
    let connect = Connect { properties: vec![0x21, 0, 2], ..Connect::new(true, "f") };
    let mut follower = Peer::connect(&world.served, &connect).await?;
    follower.subscribe("t", 2).await?;
    for payload in ["1", "2", "3"] {
        world.stage.send("t", payload, roadbed::Qos::AtLeastOnce).await?;
    }
    let first = payload_comes(&mut follower, b"1").await?;
    payload_comes(&mut follower, b"2").await?;
    nothing_comes(&mut follower).await?;
    follower.ping().await?;
    follower.subscribe("u", 0).await?;
    follower.write(&wire::ack(PUBACK, first.id(), None)).await?;
    payload_comes(&mut follower, b"3").await?;
    nothing_comes(&mut follower).await
}

/// The server takes two at a time, and a client that sends three is cut off.
async fn too_many() -> Result {
    let config = ServerConfig::permissive().machine(MachineConfig::default().receive_maximum(2));
    let world = World::with(config).await?;
    let mut peer = world.client("a").await?;
    let mut bytes = Vec::new();
    for id in 1..=3 {
        bytes.extend(Publish { id, ..publish("t", b"x", 2) }.to_bytes());
    }
    peer.write(&bytes).await?;
    let mut told = String::new();
    while !told.ends_with("close") {
        told = peer.answer("DISCONNECT 0x93, then close").await?;
    }
    same("the last word", told.contains("DISCONNECT 0x93"), true)
}

async fn order() -> Result {
    let world = World::new().await?;
    let mut follower = world.follower("f", "t/#", 2).await?;
    let mut sender = world.client("a").await?;
    let mut bytes = Vec::new();
    for n in 0..200_u16 {
        let topic = if n % 2 == 0 { "t/1" } else { "t/2" };
        bytes.extend(Publish { id: n + 1, ..publish(topic, &n.to_be_bytes(), 1) }.to_bytes());
    }
    sender.write(&bytes).await?;
    for n in 0..200_u16 {
        payload_comes(&mut follower, &n.to_be_bytes()).await?;
    }
    Ok(())
}

async fn at_most_once() -> Result {
    let world = World::new().await?;
    let mut follower = world.follower("f", "t", 2).await?;
    world.client("a").await?.write(&publish("t", b"x", 0).to_bytes()).await?;
    let packet = follower.packet(3).await?;
    same("the first byte", packet.first, 0x30)?;
    // Topic, no identifier, no properties, payload.
    same("the rest", &packet.body[..], b"\0\x01t\0x")
}

async fn identifiers() -> Result {
    let world = World::new().await?;
    let mut follower = world.follower("f", "t", 2).await?;
    let mut ids = std::collections::BTreeSet::new();
    for qos in [roadbed::Qos::AtLeastOnce, roadbed::Qos::ExactlyOnce] {
        for _ in 0..20 {
            world.stage.send("t", "x", qos).await?;
            let id = follower.packet(3).await?.id();
            same("an identifier that is not in use", (id > 0, ids.insert(id)), (true, true))?;
        }
    }
    Ok(())
}

async fn again_after_puback() -> Result {
    let world = World::new().await?;
    let mut follower = world.follower("f", "t", 0).await?;
    let mut sender = world.client("a").await?;
    for dup in [false, true] {
        publish_one(&mut sender, Publish { dup, ..publish("t", b"x", 1) }).await?;
        payload_comes(&mut follower, b"x").await?;
    }
    Ok(())
}
