//! Exactly once over lost connections: the table of crash points, as far as the broker itself stays up, and its mirror.

use std::time::Duration;

use libtest_mimic::Trial;
use roadbed::{Qos, QueueSettings};
use roadbed_mqtt::ServerConfig;

use super::peer::{Peer, Seen};
use super::server::Served;
use super::wire::{self, Connect, PUBCOMP, PUBREC, PUBREL, Publish};
use crate::Result;
use crate::stage::{Copies, QUEUE, Stage};
use crate::tell::same;

const ID: u16 = 7;
const QUIET: Duration = Duration::from_millis(200);

pub(super) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for (v5, version) in [(false, "mqtt-3.1.1"), (true, "mqtt-5")] {
        let name = |what: &str| format!("crash/{version}/{what}");
        trials.extend([
            crate::trial(name("p0-nothing-sent"), move || p0(v5)),
            crate::trial(name("p1-committed-pubrec-not-seen"), move || p1(v5)),
            crate::trial(name("p2-pubrec-sent-pubrel-not-seen"), move || p2(v5)),
            crate::trial(name("p3-forgotten-pubcomp-not-seen"), move || p3(v5)),
            crate::trial(name("p3-the-identifier-is-free-again"), move || freed(v5)),
            crate::trial(name("in-after-a-refusal-it-is-new"), move || refused_in(v5)),
            crate::trial(name("takeover-in-mid-delivery"), move || taken_over(v5)),
            crate::trial(name("out-publish-again-with-dup"), move || publish_again(v5)),
            crate::trial(name("out-pubrel-again-never-publish"), move || pubrel_again(v5)),
            crate::trial(name("out-pubrel-twice-one-end"), move || pubrel_twice(v5)),
            crate::trial(name("out-a-refusal-frees-the-identifier"), move || refused(v5)),
        ]);
    }
    trials
}

struct Scene {
    v5: bool,
    stage: Stage,
    served: Served,
}

impl Scene {
    async fn new(v5: bool) -> Result<Self> {
        let stage = Stage::with_queue(QueueSettings::default()).await?;
        let served = Served::start(&stage, stage.endpoint(), ServerConfig::permissive()).await?;
        Ok(Self { v5, stage, served })
    }

    async fn connect(&self) -> Result<Peer> {
        Peer::connect(&self.served, &Connect::new(self.v5, "device").kept()).await
    }

    /// A connection that finds its session.
    async fn again(&self) -> Result<Peer> {
        let peer = self.connect().await?;
        same("session present", peer.session_present(), true)?;
        Ok(peer)
    }

    fn publish(&self, dup: bool, payload: &[u8]) -> Vec<u8> {
        Publish { v5: self.v5, qos: 2, dup, id: ID, topic: QUEUE, payload, ..Publish::default() }.to_bytes()
    }

    async fn available(&self, available: u64) -> Result {
        self.stage.settles_as(Copies { available, held: 0, dead: 0 }).await
    }

    fn told(&self, name: &str, code: u8) -> String {
        if self.v5 { format!("{name} 0x{code:02X}") } else { name.into() }
    }

    async fn expect(&self, peer: &mut Peer, kind: u8, told: &str) -> Result {
        let packet = peer.packet(kind).await?;
        same("the answer", packet.told(self.v5).as_str(), told)?;
        same("the identifier", packet.id(), ID)
    }
}

/// Before the commit nothing is kept: the message is handled as new.
async fn p0(v5: bool) -> Result {
    let scene = Scene::new(v5).await?;
    let mut peer = scene.connect().await?;
    let whole = scene.publish(false, b"hello");
    peer.write(&whole[..whole.len() - 1]).await?;
    peer.cut().await;
    scene.available(0).await?;
    let mut peer = scene.again().await?;
    peer.write(&scene.publish(true, b"hello")).await?;
    scene.expect(&mut peer, PUBREC, &scene.told("PUBREC", 0)).await?;
    scene.available(1).await
}

/// Committed, and PUBREC was lost: the PUBLISH that comes again is recognised [MQTT-4.3.3-10].
async fn p1(v5: bool) -> Result {
    let scene = Scene::new(v5).await?;
    let mut peer = scene.connect().await?;
    peer.write(&scene.publish(false, b"hello")).await?;
    scene.available(1).await?;
    peer.cut().await;
    for _ in 0..2 {
        let mut peer = scene.again().await?;
        peer.write(&scene.publish(true, b"hello")).await?;
        scene.expect(&mut peer, PUBREC, &scene.told("PUBREC", 0)).await?;
        peer.cut().await;
    }
    scene.available(1).await?;
    finish(&scene).await
}

/// PUBREC was sent, and PUBREL did not come: it comes on the next connection.
async fn p2(v5: bool) -> Result {
    let scene = Scene::new(v5).await?;
    let mut peer = scene.connect().await?;
    peer.write(&scene.publish(false, b"hello")).await?;
    scene.expect(&mut peer, PUBREC, &scene.told("PUBREC", 0)).await?;
    peer.cut().await;
    finish(&scene).await
}

async fn finish(scene: &Scene) -> Result {
    let mut peer = scene.again().await?;
    peer.write(&wire::ack(PUBREL, ID, None)).await?;
    scene.expect(&mut peer, PUBCOMP, &scene.told("PUBCOMP", 0)).await?;
    scene.available(1).await
}

/// The identifier is forgotten, and PUBCOMP was lost: a PUBREL that is not known is answered all the same.
async fn p3(v5: bool) -> Result {
    let scene = Scene::new(v5).await?;
    let mut peer = scene.connect().await?;
    peer.write(&scene.publish(false, b"hello")).await?;
    scene.expect(&mut peer, PUBREC, &scene.told("PUBREC", 0)).await?;
    peer.write(&wire::ack(PUBREL, ID, None)).await?;
    peer.packet(PUBCOMP).await?;
    peer.cut().await;
    let mut peer = scene.again().await?;
    peer.write(&wire::ack(PUBREL, ID, None)).await?;
    let answer = peer.packet(PUBCOMP).await?;
    same("the identifier", answer.id(), ID)?;
    let told = answer.told(v5);
    let allowed = [scene.told("PUBCOMP", 0), scene.told("PUBCOMP", 0x92)];
    same("PUBCOMP with 0x00 or 0x92", allowed.contains(&told), true)?;
    scene.available(1).await
}

/// After PUBREL the identifier names a new message.
async fn freed(v5: bool) -> Result {
    let scene = Scene::new(v5).await?;
    let mut peer = scene.connect().await?;
    for count in 1..=2 {
        peer.write(&scene.publish(false, b"hello")).await?;
        scene.expect(&mut peer, PUBREC, &scene.told("PUBREC", 0)).await?;
        peer.write(&wire::ack(PUBREL, ID, None)).await?;
        scene.expect(&mut peer, PUBCOMP, &scene.told("PUBCOMP", 0)).await?;
        scene.available(count).await?;
    }
    Ok(())
}

/// MQTT 5: after a negative PUBREC the identifier is free [MQTT-4.3.3-9], and the same PUBLISH is a new message. MQTT 3.1.1: nothing was
/// answered, and what comes again on the next connection is taken if it can be by then.
async fn refused_in(v5: bool) -> Result {
    let stage = Stage::with_queue(QueueSettings { messages_max: 1, ..QueueSettings::default() }).await?;
    stage.send(QUEUE, "first", Qos::AtLeastOnce).await?;
    let served = Served::start(&stage, stage.endpoint(), ServerConfig::permissive()).await?;
    let scene = Scene { v5, stage, served };
    let mut peer = scene.connect().await?;
    peer.write(&scene.publish(false, b"hello")).await?;
    if v5 {
        scene.expect(&mut peer, PUBREC, "PUBREC 0x97").await?;
    } else {
        same("what comes", peer.next(QUIET).await?, Seen::Nothing)?;
        peer.cut().await;
        peer = scene.again().await?;
    }
    scene.stage.purge().await?;
    peer.write(&scene.publish(!v5, b"hello")).await?;
    scene.expect(&mut peer, PUBREC, &scene.told("PUBREC", 0)).await?;
    scene.available(1).await
}

/// A second connection of a session that is connected: the first is closed, MQTT 5 says why, the second goes on where it was
/// [MQTT-3.1.4-3].
async fn taken_over(v5: bool) -> Result {
    let scene = Scene::new(v5).await?;
    let (mut old, publish) = receiving(&scene).await?;
    let mut new = scene.again().await?;
    let again = new.packet(3).await?;
    same("DUP and all else", (again.first, &again.body), (publish.first | 8, &publish.body))?;
    let goodbye = if v5 { "DISCONNECT 0x8E, then close" } else { "close" };
    same("the first connection", old.answer(goodbye).await?.as_str(), goodbye)?;
    same("what comes", new.next(QUIET).await?, Seen::Nothing)?;
    new.ping().await?;
    new.write(&wire::ack(PUBREC, again.id(), None)).await?;
    new.packet(PUBREL).await?;
    new.write(&wire::ack(PUBCOMP, again.id(), None)).await?;
    scene.stage.settles_as(Copies::GONE).await
}

/// A receiver with a message in its hands, which is not answered yet.
async fn receiving(scene: &Scene) -> Result<(Peer, wire::Packet)> {
    scene.stage.send(QUEUE, "hello", Qos::ExactlyOnce).await?;
    let mut peer = scene.connect().await?;
    peer.subscribe(QUEUE, 2).await?;
    let publish = peer.packet(3).await?;
    Ok((peer, publish))
}

/// Without PUBREC the PUBLISH comes again, as it was but for DUP [MQTT-4.4.0-1].
async fn publish_again(v5: bool) -> Result {
    let scene = Scene::new(v5).await?;
    let (mut peer, publish) = receiving(&scene).await?;
    peer.cut().await;
    for _ in 0..2 {
        let mut peer = scene.again().await?;
        let again = peer.packet(3).await?;
        same("DUP and all else", (again.first, &again.body), (publish.first | 8, &publish.body))?;
        same("what comes then", peer.next(QUIET).await?, Seen::Nothing)?;
        peer.cut().await;
    }
    scene.stage.settles_as(Copies::HELD).await
}

/// After PUBREC it is PUBREL that comes again, and never PUBLISH [MQTT-4.3.3-6].
async fn pubrel_again(v5: bool) -> Result {
    let scene = Scene::new(v5).await?;
    let (mut peer, publish) = receiving(&scene).await?;
    peer.write(&wire::ack(PUBREC, publish.id(), None)).await?;
    peer.packet(PUBREL).await?;
    peer.cut().await;
    for _ in 0..3 {
        let mut peer = scene.again().await?;
        same("the identifier of PUBREL", peer.packet(PUBREL).await?.id(), publish.id())?;
        same("what comes then", peer.next(QUIET).await?, Seen::Nothing)?;
        peer.cut().await;
    }
    let mut peer = scene.again().await?;
    peer.packet(PUBREL).await?;
    peer.write(&wire::ack(PUBCOMP, publish.id(), None)).await?;
    scene.stage.settles_as(Copies::GONE).await?;
    peer.cut().await;
    let mut peer = scene.again().await?;
    same("what comes after PUBCOMP", peer.next(QUIET).await?, Seen::Nothing)
}

/// PUBCOMP for a PUBREL that was sent twice ends one delivery, once.
async fn pubrel_twice(v5: bool) -> Result {
    let scene = Scene::new(v5).await?;
    let (mut peer, publish) = receiving(&scene).await?;
    for _ in 0..2 {
        peer.write(&wire::ack(PUBREC, publish.id(), None)).await?;
        same("the identifier of PUBREL", peer.packet(PUBREL).await?.id(), publish.id())?;
    }
    for _ in 0..2 {
        peer.write(&wire::ack(PUBCOMP, publish.id(), None)).await?;
    }
    peer.ping().await?;
    scene.stage.settles_as(Copies::GONE).await?;
    same("accepted", scene.stage.broker.counters().accepted, 1)
}

/// MQTT 5: after a PUBREC of 0x80 or above there is no PUBREL, and the identifier names the next message [MQTT-4.3.3-9]. MQTT 3.1.1
/// has no such PUBREC, so there the connection ends.
async fn refused(v5: bool) -> Result {
    let scene = Scene::new(v5).await?;
    let (mut peer, publish) = receiving(&scene).await?;
    peer.write(&wire::ack(PUBREC, publish.id(), Some(0x87))).await?;
    if !v5 {
        peer.closed().await?;
        return scene.stage.settles_as(Copies::HELD).await;
    }
    same("what comes", peer.next(QUIET).await?, Seen::Nothing)?;
    scene.stage.settles_as(Copies::DEAD).await?;
    same("the reason", scene.stage.dead_reason().await?, crate::stage::named(roadbed::Condition::Unauthorized))?;
    scene.stage.send(QUEUE, "next", Qos::ExactlyOnce).await?;
    let next = peer.packet(3).await?;
    same("DUP", next.dup(), false)
}
