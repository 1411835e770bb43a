//! SUBSCRIBE, UNSUBSCRIBE, filters and shared subscriptions.

use libtest_mimic::Trial;
use roadbed::Qos;

use super::{World, nothing_comes, payload_comes, publish, publish_one, statements};
use crate::Result;
use crate::mqtt::peer::Peer;
use crate::mqtt::wire::{self, PUBACK, PUBCOMP, PUBREC, PUBREL};
use crate::tell::same;

pub(super) fn trials() -> Vec<Trial> {
    statements! {
        suback: "2.2.1-6" "3.8.4-1" "3.8.4-2" "3.8.4-5" "3.8.4-6" "3.8.4-7" "3.9.3-1" "3.9.3-2";
        no_local: "3.8.3-3";
        replaced: "3.8.4-3" "3.8.4-4";
        effective_qos: "3.8.4-8";
        overlapping: "3.3.4-2" "3.3.4-4";
        identifier: "3.3.4-3";
        unsuback: "3.10.4-4" "3.10.4-5" "3.10.4-6" "3.11.3-1" "3.11.3-2";
        stops: "3.10.4-1" "3.10.4-2";
        completes: "3.10.4-3";
        ping: "3.12.4-1";
        dollar: "4.7.2-1";
        bad_filters: "4.7.1-1" "4.7.1-2" "4.8.2-1" "4.8.2-2";
        shared_qos: "4.8.2-3";
        shared_again: "4.8.2-4";
    }
}

async fn suback() -> Result {
    let world = World::new().await?;
    let mut peer = world.client("a").await?;
    let filters = [("a", 0), ("b/+", 2), ("c/#/d", 1), ("$share/g/e", 1)];
    peer.write(&wire::subscribe_all(true, &[], &filters)).await?;
    let suback = peer.packet(9).await?;
    same("identifier, properties and codes", &suback.body[..], &[0, 1, 0, 0x00, 0x02, 0x8F, 0x01])
}

async fn no_local() -> Result {
    let world = World::new().await?;
    let mut peer = world.client("a").await?;
    peer.write(&wire::subscribe(true, "t", 1 | 4)).await?;
    peer.packet(9).await?;
    peer.write(&publish("t", b"own", 1).to_bytes()).await?;
    peer.packet(PUBACK).await?;
    nothing_comes(&mut peer).await?;
    publish_one(&mut world.client("b").await?, publish("t", b"other", 1)).await?;
    payload_comes(&mut peer, b"other").await.map(drop)
}

async fn replaced() -> Result {
    let world = World::new().await?;
    let mut peer = world.follower("a", "t", 2).await?;
    world.stage.send("t", "before", Qos::ExactlyOnce).await?;
    peer.write(&wire::subscribe(true, "t", 0)).await?;
    same("QoS of what was sent before", payload_comes(&mut peer, b"before").await?.qos(), 2)?;
    peer.packet(9).await?;
    world.stage.send("t", "x", Qos::ExactlyOnce).await?;
    same("QoS", payload_comes(&mut peer, b"x").await?.qos(), 0)?;
    nothing_comes(&mut peer).await
}

async fn effective_qos() -> Result {
    let world = World::new().await?;
    let mut sender = world.client("s").await?;
    for granted in 0..3 {
        let mut peer = world.follower("a", "t", granted).await?;
        for published in 0..3 {
            sender.write(&publish("t", b"x", published).to_bytes()).await?;
            same("QoS", payload_comes(&mut peer, b"x").await?.qos(), granted.min(published))?;
            if published == 2 {
                sender.packet(PUBREC).await?;
                sender.write(&wire::ack(PUBREL, 9, None)).await?;
                sender.packet(PUBCOMP).await?;
            } else if published == 1 {
                sender.packet(PUBACK).await?;
            }
        }
    }
    Ok(())
}

/// One copy, at the highest QoS, with the identifiers of all subscriptions.
async fn overlapping() -> Result {
    let world = World::new().await?;
    let mut peer = world.client("a").await?;
    for (id, filter, qos) in [(1, "t/+", 0), (2, "t/#", 2), (3, "t/x", 1)] {
        peer.write(&wire::subscribe_all(true, &[0x0B, id], &[(filter, qos)])).await?;
        peer.packet(9).await?;
    }
    world.stage.send("t/x", "x", Qos::ExactlyOnce).await?;
    let packet = payload_comes(&mut peer, b"x").await?;
    same("QoS", packet.qos(), 2)?;
    let mut ids: Vec<u8> = packet.parts().1.chunks(2).map(|pair| pair[1]).collect();
    ids.sort_unstable();
    same("the identifiers", ids, vec![1, 2, 3])?;
    nothing_comes(&mut peer).await
}

async fn identifier() -> Result {
    let world = World::new().await?;
    let mut peer = world.client("a").await?;
    peer.write(&wire::subscribe_all(true, &[0x0B, 0xFF, 0x7F], &[("t", 0)])).await?;
    peer.packet(9).await?;
    world.stage.send("t", "x", Qos::AtMostOnce).await?;
    same("the properties", payload_comes(&mut peer, b"x").await?.parts().1, &[0x0B, 0xFF, 0x7F])
}

async fn unsuback() -> Result {
    let world = World::new().await?;
    let mut peer = world.follower("a", "t", 0).await?;
    peer.write(&wire::unsubscribe(&["none", "t", "a/#/b"])).await?;
    let unsuback = peer.packet(11).await?;
    same("identifier, properties and codes", &unsuback.body[..], &[0, 2, 0, 0x11, 0x00, 0x8F])
}

async fn stops() -> Result {
    let world = World::new().await?;
    let mut peer = world.follower("a", "t", 0).await?;
    peer.subscribe("u", 0).await?;
    peer.write(&wire::unsubscribe(&["t"])).await?;
    peer.packet(11).await?;
    publish_one(&mut world.client("s").await?, publish("t", b"x", 1)).await?;
    publish_one(&mut world.client("s").await?, publish("u", b"y", 1)).await?;
    payload_comes(&mut peer, b"y").await?;
    nothing_comes(&mut peer).await
}

async fn completes() -> Result {
    let world = World::new().await?;
    let mut peer = world.kept("a").await?;
    peer.subscribe("t", 2).await?;
    world.stage.send("t", "x", Qos::ExactlyOnce).await?;
    let packet = payload_comes(&mut peer, b"x").await?;
    peer.write(&wire::unsubscribe(&["t"])).await?;
    peer.packet(11).await?;
    peer.cut().await;
    let mut peer = world.kept("a").await?;
    same("DUP", payload_comes(&mut peer, b"x").await?.dup(), true)?;
    peer.write(&wire::ack(PUBREC, packet.id(), None)).await?;
    same("PUBREL", peer.packet(PUBREL).await?.id(), packet.id())
}

async fn ping() -> Result {
    World::new().await?.client("a").await?.ping().await
}

async fn dollar() -> Result {
    let world = World::new().await?;
    let mut all: Vec<Peer> = Vec::new();
    for filter in ["#", "+/t"] {
        all.push(world.follower(&format!("f{filter}"), filter, 0).await?);
    }
    let mut named = world.follower("g", "$x/#", 0).await?;
    publish_one(&mut world.client("s").await?, publish("$x/t", b"x", 1)).await?;
    payload_comes(&mut named, b"x").await?;
    for peer in &mut all {
        nothing_comes(peer).await?;
    }
    Ok(())
}

async fn bad_filters() -> Result {
    let world = World::new().await?;
    let mut peer = world.client("a").await?;
    for filter in ["a/#/b", "a#", "a+/b", "a/+b", "$share//t", "$share/g+/t", "$share/g/", "$share/g"] {
        same(filter, peer.subscribe(filter, 0).await?, 0x8F)?;
    }
    for filter in ["#", "a/#", "+", "+/b/+", "$share/g/+/#"] {
        same(filter, peer.subscribe(filter, 0).await?, 0)?;
    }
    Ok(())
}

async fn shared_qos() -> Result {
    let world = World::new().await?;
    let mut peer = world.follower("a", "$share/g/t", 1).await?;
    world.stage.send("t", "x", Qos::ExactlyOnce).await?;
    same("QoS", payload_comes(&mut peer, b"x").await?.qos(), 1)
}

/// The server completes a QoS 2 delivery of a shared subscription with the member it was begun with, when that comes back.
async fn shared_again() -> Result {
    let world = World::new().await?;
    let mut peer = world.kept("a").await?;
    peer.subscribe("$share/g/t", 2).await?;
    world.stage.send("t", "x", Qos::ExactlyOnce).await?;
    let packet = payload_comes(&mut peer, b"x").await?;
    let mut other = world.follower("b", "$share/g/t", 2).await?;
    peer.cut().await;
    nothing_comes(&mut other).await?;
    let mut peer = world.kept("a").await?;
    let again = payload_comes(&mut peer, b"x").await?;
    same("identifier and DUP", (again.id(), again.dup()), (packet.id(), true))?;
    peer.write(&wire::ack(PUBREC, packet.id(), None)).await?;
    peer.packet(PUBREL).await?;
    peer.write(&wire::ack(PUBCOMP, packet.id(), None)).await?;
    peer.ping().await?;
    nothing_comes(&mut other).await
}
