//! What the receiver's signal does to the copy.

use std::time::Duration;

use roadbed::settlement::{Copied, Effect, Egress};
use roadbed::{Message, Qos, QueueSettings};
use roadbed_mqtt::ServerConfig;

use super::Variant;
use super::peer::{Peer, Seen};
use super::server::Served;
use super::wire::{self, Connect, PUBACK, PUBCOMP, PUBREC, PUBREL, Packet};
use crate::Result;
use crate::stage::{Copies, QUEUE, Stage, address};
use crate::tell::same;

/// How long a session is kept; the clock is moved past it where it is to end.
const EXPIRY: Duration = Duration::from_secs(3600);
/// How long it is looked whether nothing comes.
const QUIET: Duration = Duration::from_millis(200);

/// A subscriber with one message of the queue in its hands.
struct Hop {
    variant: Variant,
    stage: Stage,
    served: Served,
    peer: Peer,
    publish: Packet,
}

pub(super) async fn cell(cell: &Egress, variant: Variant) -> Result {
    let (signal, answer) = (cell.signal, cell.answer);
    match signal {
        "written to the socket" => written(cell, variant).await,
        "longer than the client takes" => too_long(cell, variant).await,
        "PUBACK out of order" => out_of_order(cell, variant).await,
        "PUBACK 0x87, shared subscription" => shared_refusal(cell, variant).await,
        "PUBACK again" => acknowledged_again(cell, variant).await,
        "PUBREC again" => received_again(cell, variant).await,
        "a refusal" => refusal(cell, variant).await,
        "silence" => silence(cell, Hop::new(variant, None).await?).await,
        "time to live ends, then silence" => outlived(cell, variant).await,
        "connection lost, session kept" => lost_and_kept(cell, variant).await,
        "PUBREC, then connection lost, session kept" => owned_and_lost(cell, variant).await,
        "connection lost, session ends" => {
            let hop = Hop::new(variant, None).await?;
            hop.cut_for_good().await?.check(cell.effect).await
        }
        "PUBREC, then session ends" => {
            let mut hop = Hop::new(variant, None).await?;
            hop.receive().await?;
            hop.cut_for_good().await?.check(cell.effect).await
        }
        "connection lost, session ends, own queue" => own_queue(cell, variant).await,
        "session ends, shared subscription" | "session ends, shared subscription, QoS 2" => {
            shared_end(cell, variant).await
        }
        _ => {
            let mut hop = Hop::new(variant, None).await?;
            let mut told = Vec::new();
            for step in signal.split(", then ") {
                hop.say(step).await?;
                if let Some(answer) = hop.told(answer).await? {
                    told.push(answer);
                }
            }
            hop.peer.ping().await?;
            same("the answer", said(&told), answer.to_owned())?;
            hop.check_reason(cell).await
        }
    }
}

impl Hop {
    /// A subscriber of the queue, with a message in its hands.
    async fn new(variant: Variant, ttl: Option<Duration>) -> Result<Self> {
        let stage = Stage::with_queue(QueueSettings::default()).await?;
        let now = stage.broker.now();
        let message = Message::builder(address(QUEUE), "hello").expires_at(ttl.map(|ttl| now + ttl)).build();
        stage.send_message(message, variant.qos.max(Qos::AtLeastOnce)).await?;
        let served = Served::start(&stage, stage.endpoint(), ServerConfig::permissive()).await?;
        let mut peer = Peer::connect(&served, &Connect::new(variant.v5, "receiver").kept()).await?;
        same("SUBACK", peer.subscribe(QUEUE, variant.qos.level()).await?, variant.qos.level())?;
        let publish = peer.packet(3).await?;
        same("QoS", publish.qos(), variant.qos.level())?;
        same("DUP", publish.dup(), false)?;
        stage.settles_as(Copies::HELD).await?;
        Ok(Self { variant, stage, served, peer, publish })
    }

    /// One step of a signal, such as `PUBREC 0x00`.
    async fn say(&mut self, step: &str) -> Result {
        let (name, code) = step.split_once(' ').unwrap_or((step, ""));
        let kind = match name {
            "PUBACK" => PUBACK,
            "PUBREC" => PUBREC,
            "PUBCOMP" => PUBCOMP,
            _ => return Err(format!("nobody knows how to say {step:?}")),
        };
        let reason = if code.is_empty() { None } else { Some(wire::code(code)?) };
        self.peer.write(&wire::ack(kind, self.publish.id(), reason)).await
    }

    /// What is told for that, if anything is.
    async fn told(&mut self, expected: &str) -> Result<Option<String>> {
        let patience = if expected == "nothing" { QUIET } else { Duration::from_secs(2) };
        match self.peer.next(patience).await? {
            Seen::Packet(packet) => {
                same("the identifier", packet.id(), self.publish.id())?;
                Ok(Some(packet.told(self.variant.v5)))
            }
            Seen::Closed => Ok(Some("close".into())),
            Seen::Nothing => Ok(None),
        }
    }

    /// PUBREC and its PUBREL.
    async fn receive(&mut self) -> Result {
        self.say("PUBREC").await?;
        let release = self.peer.packet(PUBREL).await?;
        same("the identifier", release.id(), self.publish.id())
    }

    async fn reconnect(&mut self) -> Result {
        self.peer = Peer::connect(&self.served, &Connect::new(self.variant.v5, "receiver").kept()).await?;
        same("session present", self.peer.session_present(), true)
    }

    /// The connection is lost, and the time of its session passes.
    async fn cut_for_good(self) -> Result<Ended> {
        let Self { stage, served, mut peer, .. } = self;
        peer.cut().await;
        stage.advance(8 * 24 * 3600 * Duration::from_secs(1) + EXPIRY);
        Ok(Ended { stage, _served: served })
    }

    /// Checks the copy, and of a dead letter the reason that the note names.
    async fn check_reason(self, cell: &Egress) -> Result {
        let reason = cell.note.split_once("Dead letter: `").and_then(|(_, rest)| rest.split('`').next());
        same("a reason with a dead letter", reason.is_some(), cell.effect == Effect::Reject)?;
        if let Some(reason) = reason {
            check(&self.stage, cell.effect).await?;
            same("the reason", self.stage.dead_reason().await?.as_str(), reason)?;
        }
        self.check(cell.effect).await
    }

    async fn check(self, effect: Effect) -> Result {
        let owned = effect == Effect::Own;
        let (stage, mut peer, id) = (self.stage, self.peer, self.publish.id());
        check(&stage, effect).await?;
        if owned {
            peer.write(&wire::ack(PUBCOMP, id, None)).await?;
            stage.settles_as(Copies::GONE).await?;
        }
        Ok(())
    }
}

/// A hop whose session has ended.
struct Ended {
    stage: Stage,
    _served: Served,
}

impl Ended {
    async fn check(self, effect: Effect) -> Result {
        check(&self.stage, effect).await
    }
}

/// Whether the copy of the queue is where the effect puts it.
async fn check(stage: &Stage, effect: Effect) -> Result {
    match effect.copied() {
        Copied::Held => stage.settles_as(Copies::HELD).await,
        Copied::Retired { dead_letter: false } => stage.settles_as(Copies::GONE).await,
        Copied::Retired { dead_letter: true } => stage.settles_as(Copies::DEAD).await,
        Copied::Available { failures } => {
            stage.settles_as(Copies::AVAILABLE).await?;
            let delivery = stage.take(QUEUE).await?;
            let info = delivery.info.ok_or("the delivery has no info")?;
            same("the delivery count", info.count, failures)?;
            same("the attempt", delivery.attempt, 2)
        }
        Copied::AsItWas => Err("the cell has to say what it was".into()),
    }
}

fn said(told: &[String]) -> String {
    if told.is_empty() { "nothing".into() } else { told.join(", then ") }
}

async fn written(cell: &Egress, variant: Variant) -> Result {
    let stage = Stage::with_queue(QueueSettings::default()).await?;
    stage.send(QUEUE, "hello", Qos::AtLeastOnce).await?;
    let served = Served::start(&stage, stage.endpoint(), ServerConfig::permissive()).await?;
    let mut peer = Peer::connect(&served, &Connect::new(variant.v5, "receiver")).await?;
    peer.subscribe(QUEUE, 0).await?;
    same("QoS", peer.packet(3).await?.qos(), 0)?;
    same("the answer", peer.answer("nothing").await?.as_str(), cell.answer)?;
    check(&stage, cell.effect).await
}

async fn too_long(cell: &Egress, variant: Variant) -> Result {
    let stage = Stage::with_queue(QueueSettings::default()).await?;
    stage.send(QUEUE, &"x".repeat(200), variant.qos).await?;
    let served = Served::start(&stage, stage.endpoint(), ServerConfig::permissive()).await?;
    let connect = Connect { packet_max: Some(100), ..Connect::new(variant.v5, "receiver") };
    let mut peer = Peer::connect(&served, &connect).await?;
    peer.subscribe(QUEUE, variant.qos.level()).await?;
    same("the answer", peer.answer("nothing").await?.as_str(), cell.answer)?;
    check(&stage, cell.effect).await
}

async fn out_of_order(cell: &Egress, variant: Variant) -> Result {
    let mut hop = Hop::new(variant, None).await?;
    hop.stage.send(QUEUE, "second", variant.qos).await?;
    let second = hop.peer.packet(3).await?;
    hop.peer.write(&wire::ack(PUBACK, second.id(), None)).await?;
    same("the answer", hop.peer.answer("nothing").await?.as_str(), cell.answer)?;
    hop.stage.settles_as(Copies::HELD).await?;
    hop.say("PUBACK").await?;
    hop.check(cell.effect).await
}

async fn acknowledged_again(cell: &Egress, variant: Variant) -> Result {
    let mut hop = Hop::new(variant, None).await?;
    hop.say("PUBACK").await?;
    hop.stage.settles_as(Copies::GONE).await?;
    hop.say("PUBACK").await?;
    same("the answer", hop.peer.answer("nothing").await?.as_str(), cell.answer)?;
    same("the effect", cell.effect, Effect::Late)?;
    hop.stage.settles_as(Copies::GONE).await
}

async fn received_again(cell: &Egress, variant: Variant) -> Result {
    let mut hop = Hop::new(variant, None).await?;
    hop.receive().await?;
    hop.receive().await?;
    hop.peer.ping().await?;
    same("the effect", (cell.effect, cell.answer), (Effect::Repeat, "PUBREL"))?;
    hop.check(Effect::Own).await
}

/// MQTT 3.1.1 has no refusal: what looks like one ends the connection, and the copy stays with its session.
async fn refusal(cell: &Egress, variant: Variant) -> Result {
    let mut hop = Hop::new(variant, None).await?;
    let kind = if variant.qos == Qos::ExactlyOnce { PUBREC } else { PUBACK };
    hop.peer.write(&wire::ack(kind, hop.publish.id(), Some(0x87))).await?;
    same("the answer", hop.peer.answer(cell.answer).await?.as_str(), cell.answer)?;
    same("the effect", cell.effect, Effect::Unsaid)?;
    hop.stage.settles_as(Copies::HELD).await?;
    hop.reconnect().await?;
    let again = hop.peer.packet(3).await?;
    same("DUP and identifier", (again.dup(), again.id()), (true, hop.publish.id()))
}

async fn silence(cell: &Egress, mut hop: Hop) -> Result {
    same("the answer", hop.peer.answer("nothing").await?.as_str(), cell.answer)?;
    hop.check(cell.effect).await
}

async fn outlived(cell: &Egress, variant: Variant) -> Result {
    let hop = Hop::new(variant, Some(Duration::from_secs(60))).await?;
    hop.stage.advance(Duration::from_secs(120));
    silence(cell, hop).await
}

async fn lost_and_kept(cell: &Egress, variant: Variant) -> Result {
    let mut hop = Hop::new(variant, None).await?;
    hop.stage.send(QUEUE, "second", variant.qos).await?;
    let second = hop.peer.packet(3).await?;
    hop.peer.cut().await;
    hop.reconnect().await?;
    for sent in [&hop.publish, &second] {
        let again = hop.peer.packet(3).await?;
        same("DUP", again.dup(), true)?;
        same("all but DUP", (again.first & !8, &again.body), (sent.first, &sent.body))?;
    }
    hop.stage.settles_as(Copies { available: 0, held: 2, dead: 0 }).await?;
    same("the effect", cell.effect, Effect::Keep)
}

async fn owned_and_lost(cell: &Egress, variant: Variant) -> Result {
    let mut hop = Hop::new(variant, None).await?;
    hop.receive().await?;
    hop.peer.cut().await;
    hop.reconnect().await?;
    let again = hop.peer.packet(PUBREL).await?;
    same("the identifier", again.id(), hop.publish.id())?;
    same("what comes after PUBREL", hop.peer.next(QUIET).await?, Seen::Nothing)?;
    hop.check(cell.effect).await
}

async fn own_queue(cell: &Egress, variant: Variant) -> Result {
    let stage = Stage::with_queue(QueueSettings::default()).await?;
    let served = Served::start(&stage, stage.endpoint(), ServerConfig::permissive()).await?;
    let connect = Connect::new(variant.v5, "receiver").kept();
    let mut peer = Peer::connect(&served, &connect).await?;
    peer.subscribe("t", variant.qos.level()).await?;
    stage.send("t", "hello", variant.qos).await?;
    peer.packet(3).await?;
    peer.cut().await;
    stage.advance(8 * 24 * Duration::from_secs(3600) + EXPIRY);
    let mut peer = Peer::connect(&served, &connect).await?;
    same("session present", peer.session_present(), false)?;
    peer.subscribe("t", variant.qos.level()).await?;
    same("what comes", peer.next(QUIET).await?, Seen::Nothing)?;
    same("sessions", stage.broker.counters().sessions, 2)?;
    same("the effect", cell.effect, Effect::End)
}

/// Two members of a group; the first has the message, the second waits.
async fn group(variant: Variant) -> Result<(Stage, Served, Peer, Peer, Packet)> {
    const FILTER: &str = "$share/group/t";
    let stage = Stage::with_queue(QueueSettings::default()).await?;
    let served = Served::start(&stage, stage.endpoint(), ServerConfig::permissive()).await?;
    let mut first = Peer::connect(&served, &Connect::new(variant.v5, "first").kept()).await?;
    first.subscribe(FILTER, variant.qos.level()).await?;
    stage.send("t", "hello", variant.qos).await?;
    let publish = first.packet(3).await?;
    let mut second = Peer::connect(&served, &Connect::new(variant.v5, "second").kept()).await?;
    second.subscribe(FILTER, variant.qos.level()).await?;
    Ok((stage, served, first, second, publish))
}

async fn shared_refusal(cell: &Egress, variant: Variant) -> Result {
    let (stage, _served, mut first, mut second, publish) = group(variant).await?;
    first.write(&wire::ack(PUBACK, publish.id(), Some(0x87))).await?;
    same("the answer", first.answer("nothing").await?.as_str(), cell.answer)?;
    same("what the other member gets", second.next(QUIET).await?, Seen::Nothing)?;
    same("rejected", stage.broker.counters().rejected, 1)?;
    same("the effect", cell.effect, Effect::Reject)
}

async fn shared_end(cell: &Egress, variant: Variant) -> Result {
    let (_stage, served, mut first, mut second, publish) = group(variant).await?;
    if variant.v5 {
        first.write(&wire::disconnect(true)).await?;
        first.closed().await?;
    } else {
        // MQTT 3.1.1 has no word for it: a clean session of the same name ends the kept one.
        first.cut().await;
        let clean = Connect::new(false, "first");
        Peer::connect(&served, &clean).await?;
    }
    match cell.effect {
        Effect::Release => {
            let again = second.packet(3).await?;
            same("DUP", again.dup(), false)?;
            same("the payload", again.body.ends_with(b"hello"), true)?;
            second.write(&wire::ack(PUBACK, again.id(), None)).await?;
            second.ping().await
        }
        Effect::End => {
            same("what the other member gets", second.next(QUIET).await?, Seen::Nothing)?;
            same("what was sent", publish.qos(), 2)
        }
        other => Err(format!("nobody knows how to see {other:?}")),
    }
}
