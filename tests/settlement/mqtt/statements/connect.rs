//! CONNECT, CONNACK, DISCONNECT and what becomes of the connection.

use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Trial;
use roadbed::{Condition, DenyAll, Outcome, Reason};
use roadbed_mqtt::codec::QoS;
use roadbed_mqtt::{MachineConfig, ServerConfig};

use super::{World, nothing_comes, payload_comes, publish, publish_one, statements, text};
use crate::Result;
use crate::deciding::{Deciding, Decision};
use crate::mqtt::peer::Peer;
use crate::mqtt::server::Served;
use crate::mqtt::wire::{Connect, PINGREQ, PUBACK, Will};
use crate::stage::{QUEUE, Stage};
use crate::tell::same;

pub(super) fn trials() -> Vec<Trial> {
    statements! {
        first_packet: "3.1.0-1" "3.14.0-1";
        second_connect: "3.1.0-2" "4.13.1-1";
        another_protocol: "3.1.2-1";
        another_version: "3.1.2-2";
        reserved_flag: "3.1.2-3" "3.1.4-1";
        keep_alive: "3.1.2-22" "3.2.2-22";
        no_aliases: "3.1.2-27";
        few_aliases: "3.1.2-26" "3.3.2-11";
        no_response_information: "3.1.2-28";
        problem_information: "3.1.2-29";
        long_reasons: "3.4.2-2" "3.4.2-3";
        names: "3.1.3-5";
        assigned_names: "3.1.3-6" "3.1.3-7" "3.2.2-16";
        refused: "3.1.4-2" "3.2.2-6" "3.2.2-7";
        behind_a_refusal: "3.1.4-6";
        one_connack: "3.1.4-5" "3.2.0-1" "3.2.0-2";
        connack_flags: "3.2.2-1";
        subscriptions_beyond_the_maximum_qos: "3.2.2-10";
        will_qos: "3.2.2-12";
        will_retain: "3.2.2-13";
        goodbye: "3.14.2-2" "3.14.4-1" "3.14.4-2" "4.13.2-1";
        unknown_method: "4.12.0-1";
    }
}

async fn first_packet() -> Result {
    let world = World::new().await?;
    for bytes in [&publish("a", b"x", 0).to_bytes()[..], &PINGREQ, &[0xE0, 0]] {
        let mut peer = Peer::open(&world.served).await?;
        peer.write(bytes).await?;
        same("the answer", peer.answer("close").await?.as_str(), "close")?;
    }
    Ok(())
}

async fn second_connect() -> Result {
    let world = World::new().await?;
    let mut peer = world.client("a").await?;
    peer.write(&Connect::new(true, "a").to_bytes()).await?;
    ends_with(&mut peer, "DISCONNECT 0x82, then close").await
}

async fn ends_with(peer: &mut Peer, expected: &str) -> Result {
    same("the answer", peer.answer(expected).await?.as_str(), expected)
}

/// A CONNECT with one byte changed.
async fn changed(world: &World, at: usize, byte: u8, expected: &str) -> Result {
    let mut bytes = Connect::new(true, "a").to_bytes();
    bytes[at] = byte;
    let mut peer = Peer::open(&world.served).await?;
    peer.write(&bytes).await?;
    ends_with(&mut peer, expected).await
}

async fn another_protocol() -> Result {
    changed(&World::new().await?, 4, b'X', "close").await
}

async fn another_version() -> Result {
    changed(&World::new().await?, 8, 6, "CONNACK 0x84, then close").await
}

async fn reserved_flag() -> Result {
    changed(&World::new().await?, 9, 3, "CONNACK 0x81, then close").await
}

async fn keep_alive() -> Result {
    let world = World::new().await?;
    let connect = Connect { keep_alive: 1, ..Connect::new(true, "a") };
    let mut peer = Peer::connect(&world.served, &connect).await?;
    let since = std::time::Instant::now();
    ends_with(&mut peer, "DISCONNECT 0x8D, then close").await?;
    same("not before one and a half times the keep-alive", since.elapsed() >= Duration::from_millis(1400), true)
}

/// The properties of three deliveries of two topics.
async fn aliased(properties: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let world = World::new().await?;
    let connect = Connect { properties: properties.to_vec(), ..Connect::new(true, "a") };
    let mut peer = Peer::connect(&world.served, &connect).await?;
    peer.subscribe("#", 0).await?;
    let mut seen = Vec::new();
    for topic in ["one", "one", "two", "two"] {
        world.stage.send(topic, "x", roadbed::Qos::AtLeastOnce).await?;
        let packet = peer.packet(3).await?;
        let (topic, properties, _) = packet.parts();
        seen.push((topic.to_vec(), properties.to_vec()));
    }
    Ok(seen)
}

async fn no_aliases() -> Result {
    let seen = aliased(&[]).await?;
    same("topics in full", seen.iter().all(|(topic, _)| !topic.is_empty()), true)?;
    same("properties", seen.iter().all(|(_, properties)| properties.is_empty()), true)
}

async fn few_aliases() -> Result {
    let seen = aliased(&[0x22, 0, 1]).await?;
    let aliases = seen.iter().filter(|(_, properties)| !properties.is_empty());
    same("aliases of 1 at the most", aliases.clone().all(|(_, p)| p[..] == [0x23, 0, 1]), true)?;
    same("some", aliases.count() > 0, true)
}

async fn no_response_information() -> Result {
    let world = World::new().await?;
    let peer = world.client("a").await?;
    same("response information", has(&peer, 0x1A), false)
}

/// Whether CONNACK has a property. Its identifiers are unlikely to be values; strings are not looked into.
fn has(peer: &Peer, id: u8) -> bool {
    let mut at = 3;
    let body = &peer.connack.body;
    while let Some(&property) = body.get(at) {
        if property == id {
            return true;
        }
        at += 1 + match property {
            0x11 | 0x27 => 4,
            0x13 | 0x21 | 0x22 => 2,
            0x24 | 0x25 | 0x28 | 0x29 | 0x2A => 1,
            _ => 2 + usize::from(u16::from_be_bytes([body[at + 1], body[at + 2]])),
        };
    }
    false
}

/// The PUBACK of a refusal in words, for a client with these properties.
async fn refusal_in_words(connect: Connect, words: &str) -> Result<Vec<u8>> {
    let stage = Stage::new(Default::default()).await?;
    let outcome = Outcome::Rejected(Reason::new(Condition::Unauthorized, words));
    let endpoint = Deciding::always(stage.endpoint(), Decision { outcome, why: None });
    let served = Served::start(&stage, endpoint, ServerConfig::permissive()).await?;
    let mut peer = Peer::connect(&served, &connect).await?;
    peer.write(&publish("a", b"x", 1).to_bytes()).await?;
    Ok(peer.packet(PUBACK).await?.body)
}

async fn problem_information() -> Result {
    let told = refusal_in_words(Connect::new(true, "a"), "why").await?;
    same("with words", &told[..], &[&[0, 9, 0x87, 6][..], &text(0x1F, "why")].concat()[..])?;
    let silent = Connect { properties: vec![0x17, 0], ..Connect::new(true, "a") };
    same("without words", &refusal_in_words(silent, "why").await?[..], &[0, 9, 0x87])
}

async fn long_reasons() -> Result {
    let small = Connect { packet_max: Some(20), ..Connect::new(true, "a") };
    let told = refusal_in_words(small.clone(), "why").await?;
    same("words that fit", told.len(), 10)?;
    same("words that do not", &refusal_in_words(small, "a long story").await?[..], &[0, 9, 0x87])
}

async fn names() -> Result {
    let world = World::new().await?;
    for name in ["a", "0123456789abcdefghijklm", "NOPQRSTUVWXYZnopqrstuvw"] {
        let mut peer = world.client(name).await?;
        same("an assigned name", has(&peer, 0x12), false)?;
        peer.ping().await?;
    }
    Ok(())
}

async fn assigned_names() -> Result {
    let world = World::new().await?;
    let (one, two) = (world.client("").await?, world.client("").await?);
    same("assigned", (has(&one, 0x12), has(&two, 0x12)), (true, true))?;
    same("the same", one.connack.body == two.connack.body, false)
}

async fn refused() -> Result {
    let world = World::with(ServerConfig::new(Arc::new(DenyAll))).await?;
    let mut peer = Peer::ask(&world.served, &Connect::new(true, "a").kept()).await?;
    same("session present", peer.session_present(), false)?;
    same("a failure", peer.connack.body[1] >= 0x80, true)?;
    peer.closed().await
}

async fn behind_a_refusal() -> Result {
    let stage = Stage::with_queue(Default::default()).await?;
    let served = Served::start(&stage, stage.endpoint(), ServerConfig::new(Arc::new(DenyAll))).await?;
    let mut peer = Peer::open(&served).await?;
    peer.write(&[Connect::new(true, "a").to_bytes(), publish(QUEUE, b"x", 0).to_bytes()].concat()).await?;
    ends_with(&mut peer, "CONNACK 0x86, then close").await?;
    same("copies", stage.copies().await.available, 0)
}

async fn one_connack() -> Result {
    let world = World::new().await?;
    let mut peer = world.client("a").await?;
    same("CONNACK", peer.connack.told(true).as_str(), "CONNACK 0x00")?;
    nothing_comes(&mut peer).await?;
    peer.ping().await
}

async fn connack_flags() -> Result {
    let world = World::new().await?;
    let mut peer = world.kept("a").await?;
    same("the flags", peer.connack.body[0], 0)?;
    peer.cut().await;
    same("the flags", world.kept("a").await?.connack.body[0], 1)
}

fn at_most(qos: QoS) -> ServerConfig {
    ServerConfig::permissive().machine(MachineConfig::default().qos_max(qos))
}

async fn subscriptions_beyond_the_maximum_qos() -> Result {
    let world = World::with(at_most(QoS::AtMostOnce)).await?;
    let mut peer = world.client("a").await?;
    for qos in 0..3 {
        same("SUBACK", peer.subscribe("a", qos).await? <= qos, true)?;
    }
    Ok(())
}

async fn willing(config: ServerConfig, will: Will) -> Result<String> {
    let world = World::with(config).await?;
    let connect = Connect { will: Some(will), ..Connect::new(true, "a") };
    let mut peer = Peer::ask(&world.served, &connect).await?;
    let told = peer.connack.told(true);
    peer.closed().await?;
    Ok(told)
}

async fn will_qos() -> Result {
    let will = Will { topic: "w".into(), qos: 2, ..Will::default() };
    same("CONNACK", willing(at_most(QoS::AtLeastOnce), will).await?.as_str(), "CONNACK 0x9B")
}

async fn will_retain() -> Result {
    let config = ServerConfig::permissive().machine(MachineConfig::default().retain_available(false));
    let will = Will { topic: "w".into(), retain: true, ..Will::default() };
    same("CONNACK", willing(config, will).await?.as_str(), "CONNACK 0x9A")
}

/// The server's DISCONNECT says why, nothing of the session's expiry, and is the last of the connection.
async fn goodbye() -> Result {
    let world = World::new().await?;
    let mut old = world.kept("a").await?;
    let mut new = world.kept("a").await?;
    let packet = old.packet(14).await?;
    same("DISCONNECT", packet.body[0], 0x8E)?;
    same("session expiry", packet.body.contains(&0x11), false)?;
    old.closed().await?;
    new.ping().await?;
    publish_one(&mut new, publish("a", b"x", 1)).await?;
    let mut follower = world.follower("b", "a", 0).await?;
    publish_one(&mut new, publish("a", b"y", 1)).await?;
    payload_comes(&mut follower, b"y").await.map(drop)
}

async fn unknown_method() -> Result {
    let world = World::new().await?;
    let connect = Connect { properties: text(0x15, "CARRIER-PIGEON"), ..Connect::new(true, "a") };
    let mut peer = Peer::ask(&world.served, &connect).await?;
    same("CONNACK", peer.connack.told(true).as_str(), "CONNACK 0x8C")?;
    peer.closed().await
}
