//! Sessions and wills.

use std::time::Duration;

use libtest_mimic::Trial;

use super::{World, nothing_comes, payload_comes, publish, publish_one, statements, user};
use crate::Result;
use crate::mqtt::peer::Peer;
use crate::mqtt::wire::{self, Connect, PUBACK, PUBCOMP, PUBREC, PUBREL, Will};
use crate::tell::same;

pub(super) fn trials() -> Vec<Trial> {
    statements! {
        clean_start: "3.1.2-4" "3.1.4-4" "3.2.2-2";
        resumes: "3.1.2-5" "3.1.2-23" "3.1.3-2" "3.2.2-3" "4.1.0-1" "4.5.0-1";
        without_a_session: "3.1.2-6";
        takeover: "3.1.4-3";
        expires: "4.1.0-2";
        will_is_sent: "3.1.2-7" "3.1.2-8";
        will_is_removed: "3.1.2-10" "3.14.4-3";
        will_is_not_retained: "3.1.2-14";
        will_is_retained: "3.1.2-15";
        will_delay: "3.1.3-9";
        will_user_properties: "3.1.3-10";
        in_flight_order: "4.4.0-1";
    }
}

async fn clean_start() -> Result {
    let world = World::new().await?;
    let mut peer = world.kept("a").await?;
    peer.subscribe("t", 1).await?;
    peer.cut().await;
    world.stage.send("t", "before", roadbed::Qos::AtLeastOnce).await?;
    let mut peer = world.client("a").await?;
    same("session present", peer.session_present(), false)?;
    publish_one(&mut world.client("s").await?, publish("t", b"after", 1)).await?;
    nothing_comes(&mut peer).await
}

async fn resumes() -> Result {
    let world = World::new().await?;
    let mut peer = world.kept("a").await?;
    peer.subscribe("t", 1).await?;
    peer.cut().await;
    world.stage.send("t", "meanwhile", roadbed::Qos::AtLeastOnce).await?;
    let mut peer = world.kept("a").await?;
    same("CONNACK", (peer.connack.body[0], peer.connack.body[1]), (1, 0))?;
    let packet = payload_comes(&mut peer, b"meanwhile").await?;
    peer.write(&wire::ack(PUBACK, packet.id(), None)).await?;
    world.stage.send("t", "then", roadbed::Qos::AtLeastOnce).await?;
    payload_comes(&mut peer, b"then").await.map(drop)
}

async fn without_a_session() -> Result {
    let world = World::new().await?;
    let mut peer = world.kept("a").await?;
    same("session present", peer.session_present(), false)?;
    peer.ping().await
}

async fn takeover() -> Result {
    let world = World::new().await?;
    let mut old = world.client("a").await?;
    let mut new = world.client("a").await?;
    let goodbye = "DISCONNECT 0x8E, then close";
    same("the old connection", old.answer(goodbye).await?.as_str(), goodbye)?;
    new.ping().await
}

async fn expires() -> Result {
    let world = World::new().await?;
    let connect = Connect { expiry: 100, ..Connect::new(true, "a").kept() };
    let mut peer = Peer::connect(&world.served, &connect).await?;
    peer.cut().await;
    world.stage.advance(Duration::from_secs(90));
    let mut peer = Peer::connect(&world.served, &connect).await?;
    same("session present after 90 of 100 s", peer.session_present(), true)?;
    peer.cut().await;
    world.stage.advance(Duration::from_secs(101));
    let peer = Peer::connect(&world.served, &connect).await?;
    same("session present after 101 of 100 s", peer.session_present(), false)
}

fn will() -> Will {
    Will { topic: "w".into(), qos: 1, ..Will::default() }
}

fn willing(will: Will) -> Connect {
    Connect { will: Some(will), ..Connect::new(true, "a") }
}

async fn will_is_sent() -> Result {
    let world = World::new().await?;
    let mut watcher = world.follower("watcher", "w", 1).await?;
    let mut peer = Peer::connect(&world.served, &willing(will())).await?;
    nothing_comes(&mut watcher).await?;
    peer.cut().await;
    let packet = payload_comes(&mut watcher, b"gone").await?;
    same("QoS", packet.qos(), 1)
}

async fn will_is_removed() -> Result {
    let world = World::new().await?;
    let mut watcher = world.follower("watcher", "w", 1).await?;
    let mut peer = Peer::connect(&world.served, &willing(will())).await?;
    peer.write(&[0xE0, 0]).await?;
    peer.closed().await?;
    nothing_comes(&mut watcher).await?;
    let mut peer =
        Peer::connect(&world.served, &Connect { will: Some(will()), ..Connect::new(true, "a").kept() }).await?;
    peer.cut().await;
    payload_comes(&mut watcher, b"gone").await?;
    world.kept("a").await?.cut().await;
    nothing_comes(&mut watcher).await
}

async fn last_will(retain: bool) -> Result<Peer> {
    let world = World::new().await?;
    let mut watcher = world.follower("watcher", "w", 1).await?;
    Peer::connect(&world.served, &willing(Will { retain, ..will() })).await?.cut().await;
    payload_comes(&mut watcher, b"gone").await?;
    let mut late = world.follower("late", "w", 1).await?;
    match retain {
        true => same("RETAIN", payload_comes(&mut late, b"gone").await?.retain(), true)?,
        false => nothing_comes(&mut late).await?,
    }
    Ok(late)
}

async fn will_is_not_retained() -> Result {
    last_will(false).await.map(drop)
}

async fn will_is_retained() -> Result {
    last_will(true).await.map(drop)
}

async fn will_delay() -> Result {
    let world = World::new().await?;
    let mut watcher = world.follower("watcher", "w", 1).await?;
    let delayed = Will { properties: vec![0x18, 0, 0, 0, 60], ..will() };
    let connect = Connect { will: Some(delayed), ..Connect::new(true, "a").kept() };
    Peer::connect(&world.served, &connect).await?.cut().await;
    world.stage.advance(Duration::from_secs(50));
    let mut peer = Peer::connect(&world.served, &connect).await?;
    world.stage.advance(Duration::from_secs(50));
    nothing_comes(&mut watcher).await?;
    peer.cut().await;
    world.stage.advance(Duration::from_secs(50));
    nothing_comes(&mut watcher).await?;
    world.stage.advance(Duration::from_secs(11));
    payload_comes(&mut watcher, b"gone").await.map(drop)
}

async fn will_user_properties() -> Result {
    let world = World::new().await?;
    let mut watcher = world.follower("watcher", "w", 1).await?;
    let properties = [user("b", "1"), user("a", "2"), user("b", "1")].concat();
    let will = Will { properties: properties.clone(), ..will() };
    Peer::connect(&world.served, &willing(will)).await?.cut().await;
    same("the properties", watcher.packet(3).await?.parts().1, &properties[..])
}

/// What was in flight comes again in its order: PUBLISH and PUBREL as the standard says.
async fn in_flight_order() -> Result {
    let world = World::new().await?;
    let mut sender = world.client("sender").await?;
    let mut peer = world.kept("a").await?;
    peer.subscribe("t", 2).await?;
    let mut ids = Vec::new();
    for payload in [b"1", b"2", b"3", b"4"] {
        sender.write(&publish("t", payload, 2).to_bytes()).await?;
        sender.packet(PUBREC).await?;
        sender.write(&wire::ack(PUBREL, 9, None)).await?;
        sender.packet(PUBCOMP).await?;
        ids.push(payload_comes(&mut peer, payload).await?.id());
    }
    for id in &ids[..2] {
        peer.write(&wire::ack(PUBREC, *id, None)).await?;
        same("PUBREL", peer.packet(PUBREL).await?.id(), *id)?;
    }
    peer.cut().await;
    let mut peer = world.kept("a").await?;
    for id in &ids[..2] {
        same("PUBREL", peer.packet(PUBREL).await?.id(), *id)?;
    }
    for (id, payload) in ids[2..].iter().zip([b"3", b"4"]) {
        let again = payload_comes(&mut peer, payload).await?;
        same("identifier and DUP", (again.id(), again.dup()), (*id, true))?;
    }
    publish_one(&mut sender, publish("nobody", b"x", 1)).await
}
