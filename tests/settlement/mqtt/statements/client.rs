//! Statements that bind a client: ours, before a server by hand.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Trial;
use roadbed::{
    Close, ConsumerTerms, Endpoint, Filter, Grant, Message, Open, Outcome, Outgoing, Producer, ProducerTerms, Qos,
    Receiver, Session,
};
use roadbed_mqtt::{ClientConfig, connect};
use tokio::net::TcpListener;

use super::{publish, statements};
use crate::Result;
use crate::mqtt::peer::{Peer, Seen};
use crate::mqtt::wire::{self, PUBACK, PUBREC, PUBREL, Packet, Publish};
use crate::stage::address;
use crate::tell::{Context as _, same};

pub(super) fn trials() -> Vec<Trial> {
    statements! {
        identifiers: "2.2.1-3";
        server_keep_alive: "3.1.2-20" "3.1.2-21" "3.2.2-21";
        unknown_session: "3.2.2-4";
        lost_session: "3.2.2-5";
        receive_maximum: "3.3.4-8";
        publish_again_in_order: "4.6.0-1";
        pubacks_in_order: "4.6.0-2" "4.5.0-2";
        pubrecs_in_order: "4.6.0-3";
        pubrels_in_order: "4.6.0-4";
    }
}

/// How long it is looked whether nothing comes.
const QUIET: Duration = Duration::from_millis(150);

/// A server by hand, and an endpoint of our client on it.
struct World {
    listener: TcpListener,
    client: Arc<dyn Endpoint>,
}

/// A session of our client, and the server's end of its connection.
struct Hop {
    world: World,
    session: Box<dyn Session>,
    peer: Peer,
}

impl World {
    async fn new() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.during("listen")?;
        let port = listener.local_addr().during("listen")?.port();
        let config: ClientConfig = format!("mqtt://127.0.0.1:{port}").parse().during("the URL")?;
        let client = Arc::new(connect(config.reconnect_delay_min(Duration::from_millis(5))));
        Ok(Self { listener, client })
    }

    /// Takes a connection and its CONNECT, and answers with these flags and properties.
    async fn accept(&self, flags: u8, properties: &[u8]) -> Result<Peer> {
        let (stream, _) = tokio::time::timeout(Duration::from_secs(8), self.listener.accept())
            .await
            .during("accept")?
            .during("accept")?;
        let mut peer = Peer::over(stream);
        peer.packet(1).await?;
        let connack = [&[flags, 0, properties.len() as u8], properties].concat();
        peer.write(&wire::packet(0x20, &connack)).await?;
        Ok(peer)
    }

    async fn open(self, properties: &[u8]) -> Result<Hop> {
        let open = Open { name: Some("a".into()), resume: true, expiry: Duration::from_secs(100), ..Open::default() };
        let opening = self.client.open(open);
        let (session, peer) = tokio::join!(opening, self.accept(0, properties));
        Ok(Hop { session: session.during("open")?, peer: peer?, world: self })
    }
}

impl Hop {
    async fn new(properties: &[u8]) -> Result<Self> {
        World::new().await?.open(properties).await
    }

    /// Sends messages of this assurance with payloads `1`, `2`, ..
    async fn send(&self, qos: Qos, count: u32) -> Result<Box<dyn Producer>> {
        let (mut producer, _) = self.session.producer(ProducerTerms::default()).await.during("attach")?;
        let outgoing = |n: u32| {
            let message = Message::new(address("t"), n.to_string());
            let key = (qos == Qos::ExactlyOnce).then_some(roadbed::Key::Number(n));
            Outgoing { cookie: n.into(), message, qos, key, txn: None }
        };
        let mut batch: Vec<_> = (1..=count).map(outgoing).collect();
        while !batch.is_empty() {
            poll_fn(|cx| producer.poll_reserve(cx, 1, 1)).await.during("reserve")?;
            producer.send(&mut batch);
        }
        Ok(producer)
    }

    async fn payloads(&mut self, count: u32) -> Result<Vec<Packet>> {
        let mut seen = Vec::new();
        for n in 1..=count {
            let packet = self.peer.packet(3).await?;
            same("the payload", packet.payload(), n.to_string().as_bytes())?;
            seen.push(packet);
        }
        Ok(seen)
    }

    /// The connection is lost, and the next one finds its session or not.
    async fn again(&mut self, session_present: bool) -> Result {
        self.peer.cut().await;
        self.peer = self.world.accept(session_present.into(), &[]).await?;
        Ok(())
    }
}

async fn identifiers() -> Result {
    let mut hop = Hop::new(&[]).await?;
    let _producer = hop.send(Qos::AtLeastOnce, 20).await?;
    let ids: std::collections::BTreeSet<_> = hop.payloads(20).await?.iter().map(Packet::id).collect();
    same("identifiers, none of them zero", (ids.len(), ids.contains(&0)), (20, false))
}

async fn server_keep_alive() -> Result {
    let mut hop = Hop::new(&[0x13, 0, 1]).await?;
    for _ in 0..2 {
        let came = hop.peer.next(Duration::from_millis(1500)).await?;
        same("PINGREQ within the time", matches!(&came, Seen::Packet(packet) if packet.kind() == 12), true)?;
        hop.peer.write(&[0xD0, 0]).await?;
    }
    Ok(())
}

async fn unknown_session() -> Result {
    let world = World::new().await?;
    // Clean Start: there is nothing that a session could be present of.
    let opening = world.client.open(Open { name: Some("a".into()), ..Open::default() });
    let (session, peer) = tokio::join!(tokio::time::timeout(Duration::from_secs(2), opening), world.accept(1, &[]));
    same("the session is open", matches!(session, Ok(Ok(_))), false)?;
    let mut peer = peer?;
    while let Seen::Packet(_) = peer.next(QUIET).await? {}
    peer.closed().await
}

/// What is sent after the session was lost is sent anew, not again.
async fn lost_session() -> Result {
    let mut hop = Hop::new(&[]).await?;
    let _producer = hop.send(Qos::AtLeastOnce, 1).await?;
    hop.payloads(1).await?;
    hop.again(false).await?;
    match hop.peer.next(QUIET).await? {
        Seen::Nothing => Ok(()),
        Seen::Packet(packet) => same("PUBLISH and DUP", (packet.kind(), packet.dup()), (3, false)),
        Seen::Closed => Err("the connection was closed".into()),
    }
}

/// The server takes one at a time: SUBSCRIBE does not wait for the answer.
async fn receive_maximum() -> Result {
    let mut hop = Hop::new(&[0x21, 0, 1]).await?;
    let _producer = hop.send(Qos::AtLeastOnce, 3).await?;
    let first = hop.payloads(1).await?;
    same("what comes", hop.peer.next(QUIET).await?, Seen::Nothing)?;
    let (consumer, _) = hop.session.consumer(ConsumerTerms::session()).await.during("attach")?;
    let receiver = Receiver::new(consumer, 8);
    let filter: Filter = "t".parse().expect("a filter");
    let binding = receiver.bind(vec![roadbed::Binding::new(filter, Qos::AtLeastOnce)]);
    let subscribed = async {
        let subscribe = hop.peer.packet(8).await?;
        let suback = [&subscribe.body[..2], &[0, 1]].concat();
        hop.peer.write(&wire::packet(0x90, &suback)).await
    };
    let (bound, subscribed) = tokio::join!(binding, subscribed);
    subscribed?;
    bound.during("bind")?;
    hop.peer.write(&wire::ack(PUBACK, first[0].id(), None)).await?;
    same("the next", hop.peer.packet(3).await?.payload(), b"2")
}

async fn publish_again_in_order() -> Result {
    let mut hop = Hop::new(&[]).await?;
    let _producer = hop.send(Qos::AtLeastOnce, 5).await?;
    let first = hop.payloads(5).await?;
    hop.again(true).await?;
    for (again, first) in hop.payloads(5).await?.iter().zip(&first) {
        same("DUP and all else", (again.first, &again.body), (first.first | 8, &first.body))?;
    }
    Ok(())
}

/// Three deliveries, settled last first; the identifiers of the answers.
async fn settled_backwards(qos: u8, kind: u8) -> Result<Vec<u16>> {
    let mut hop = Hop::new(&[]).await?;
    let (mut consumer, _) = hop.session.consumer(ConsumerTerms::session()).await.during("attach")?;
    consumer.grant(Grant::credit(8));
    let receiver = Receiver::new(consumer, 8);
    for id in [11, 12, 13] {
        hop.peer.write(&Publish { id, ..publish("t", b"x", qos) }.to_bytes()).await?;
    }
    let mut received = Vec::new();
    for _ in 0..3 {
        received.push(receiver.receive().await.during("receive")?.ok_or("no delivery")?);
    }
    let settling: Vec<_> = received.into_iter().rev().map(|one| tokio::spawn(one.settle(Outcome::Accepted))).collect();
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(hop.peer.packet(kind).await?.id());
    }
    settling.into_iter().for_each(|task| task.abort());
    hop.session.close(Close::default()).await.during("close")?;
    Ok(ids)
}

async fn pubacks_in_order() -> Result {
    same("PUBACK", settled_backwards(1, PUBACK).await?, vec![11, 12, 13])
}

async fn pubrecs_in_order() -> Result {
    same("PUBREC", settled_backwards(2, PUBREC).await?, vec![11, 12, 13])
}

async fn pubrels_in_order() -> Result {
    let mut hop = Hop::new(&[]).await?;
    let _producer = hop.send(Qos::ExactlyOnce, 3).await?;
    let sent = hop.payloads(3).await?;
    for n in [1, 0, 2] {
        hop.peer.write(&wire::ack(PUBREC, sent[n].id(), None)).await?;
    }
    for n in [1, 0, 2] {
        same("PUBREL", hop.peer.packet(PUBREL).await?.id(), sent[n].id())?;
    }
    Ok(())
}
