//! Normative statements of MQTT 5.0 that only a server on a socket can be held to: a trial each, named `statement/ID`.
//! `transport-mqtt/tests/statements.md` lists all statements with what proves them.

mod auth;
mod client;
mod connect;
mod publish;
mod session;
mod subscribe;

use std::time::Duration;

use libtest_mimic::Trial;
use roadbed_mqtt::ServerConfig;

use super::peer::{Peer, Seen};
use super::server::Served;
use super::wire::{Connect, Publish};
use crate::Result;
use crate::stage::Stage;
use crate::tell::same;

/// How long it is looked whether nothing comes.
const QUIET: Duration = Duration::from_millis(150);

/// Trials of statements that one function proves.
macro_rules! statements {
    ($($function:path: $($id:literal)+;)+) => {
        vec![$($(crate::trial(format!("statement/MQTT-{}", $id), $function),)+)+]
    };
}
use statements;

pub(super) fn trials() -> Vec<Trial> {
    let all = [
        auth::trials(),
        client::trials(),
        connect::trials(),
        publish::trials(),
        session::trials(),
        subscribe::trials(),
    ];
    all.into_iter().flatten().collect()
}

/// A broker and a server for everybody.
struct World {
    stage: Stage,
    served: Served,
}

impl World {
    async fn new() -> Result<Self> {
        Self::with(ServerConfig::permissive()).await
    }

    async fn with(config: ServerConfig) -> Result<Self> {
        let stage = Stage::new(Default::default()).await?;
        let served = Served::start(&stage, stage.endpoint(), config).await?;
        Ok(Self { stage, served })
    }

    /// A client whose session ends with its connection.
    async fn client(&self, id: &str) -> Result<Peer> {
        Peer::connect(&self.served, &Connect::new(true, id)).await
    }

    /// A client whose session outlives its connection.
    async fn kept(&self, id: &str) -> Result<Peer> {
        Peer::connect(&self.served, &Connect::new(true, id).kept()).await
    }

    /// A client that subscribes.
    async fn follower(&self, id: &str, filter: &str, qos: u8) -> Result<Peer> {
        let mut peer = self.client(id).await?;
        same("SUBACK", peer.subscribe(filter, qos).await?, qos)?;
        Ok(peer)
    }
}

/// A PUBLISH of MQTT 5.
fn publish<'a>(topic: &'a str, payload: &'a [u8], qos: u8) -> Publish<'a> {
    Publish { v5: true, qos, id: 9, topic, payload, ..Publish::default() }
}

/// Sends at QoS 1, and waits for the answer.
async fn publish_one(peer: &mut Peer, publish: Publish<'_>) -> Result {
    peer.write(&Publish { qos: 1, ..publish }.to_bytes()).await?;
    peer.packet(super::wire::PUBACK).await.map(drop)
}

async fn nothing_comes(peer: &mut Peer) -> Result {
    same("what comes", peer.next(QUIET).await?, Seen::Nothing)
}

async fn payload_comes(peer: &mut Peer, payload: &[u8]) -> Result<super::wire::Packet> {
    let packet = peer.packet(3).await?;
    same("the payload", packet.payload(), payload)?;
    Ok(packet)
}

/// One property: its identifier, and a string.
fn text(id: u8, text: &str) -> Vec<u8> {
    [vec![id], super::wire::string(text)].concat()
}

/// A user property.
fn user(name: &str, value: &str) -> Vec<u8> {
    [vec![0x26], super::wire::string(name), super::wire::string(value)].concat()
}
