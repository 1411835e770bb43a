//! What the receiver's signal does to the copy.

use std::time::Duration;

use roadbed::settlement::{Copied, Effect, Egress};
use roadbed::{Message, Qos, QueueSettings};

use super::Variant;
use super::control::{Control, UNKNOWN};
use super::peer::{Attach, Link, Peer, Received, Seen, state, transactional};
use super::server::Served;
use super::wire::Value::{Binary, Null};
use super::wire::{DETACH, described};
use crate::Result;
use crate::stage::{Copies, QUEUE, Stage, address};
use crate::tell::same;

const QUIET: Duration = super::peer::QUIET;
/// Longer than messages live here and transactions may take.
const BEYOND: Duration = Duration::from_secs(61);
/// How long a link is kept that outlives its connection.
const KEPT: Duration = Duration::from_secs(600);

/// A signal as the table has it, taken apart.
struct Script<'a> {
    steps: Vec<&'a str>,
    /// The receiver forgets with what it says.
    settled: bool,
    default_outcome: Option<&'a str>,
    /// Another link takes from the queue, too.
    others: bool,
    out_of_order: bool,
    /// The source outlives its connection.
    kept: bool,
}

impl<'a> Script<'a> {
    fn new(signal: &'a str) -> Self {
        let mut script = Self {
            steps: Vec::new(),
            settled: false,
            default_outcome: None,
            others: false,
            out_of_order: false,
            kept: false,
        };
        script.others = signal.contains("undeliverable-here") && !signal.contains("nobody else");
        for part in signal.split(", ").map(|part| part.strip_prefix("then ").unwrap_or(part)) {
            match part {
                "settled" => script.settled = true,
                "out of order" => script.out_of_order = true,
                "of a link that is kept" => script.kept = true,
                "with nobody else" => {}
                part => match part.strip_prefix("default-outcome ") {
                    Some(outcome) => script.default_outcome = Some(outcome),
                    None => script.steps.push(part),
                },
            }
        }
        script
    }
}

/// A receiver with one message of the queue in its hands.
struct Hop {
    variant: Variant,
    stage: Stage,
    served: Served,
    peer: Peer,
    link: Link,
    received: Received,
    control: Option<Control>,
}

pub(super) async fn cell(cell: &Egress, variant: Variant) -> Result {
    match cell.signal {
        "transfer, settled" => return settled(cell, variant).await,
        "longer than the receiver takes" => return too_long(cell, variant).await,
        "credit without a window, then detach" => return unsent(cell, variant).await,
        "credit, then connection lost before a message came" => return waiting(cell, variant).await,
        "drain of an empty queue" => return drained(cell, variant).await,
        "distribution-mode copy, accepted" => return browsed(cell, variant).await,
        _ => {}
    }
    let script = Script::new(cell.signal);
    let mut hop = Hop::new(variant, &script).await?;
    for step in &script.steps {
        hop.step(step, &script).await?;
    }
    same("the answer", hop.peer.answer(cell.answer).await?.as_str(), cell.answer)?;
    hop.check(cell, &script).await
}

fn receiver(variant: Variant) -> Attach<'static> {
    Attach { settled: variant.settled, second: variant.second, ..Attach::receiver("receiver", QUEUE) }
}

/// A queue with a message, as strong as the column.
async fn stage(variant: Variant, ttl: Option<Duration>) -> Result<Stage> {
    let stage = Stage::with_queue(QueueSettings::default()).await?;
    let now = stage.broker.now();
    let message = Message::builder(address(QUEUE), "hello").expires_at(ttl.map(|ttl| now + ttl)).build();
    stage.send_message(message, variant.qos().max(Qos::AtLeastOnce)).await?;
    Ok(stage)
}

impl Hop {
    async fn new(variant: Variant, script: &Script<'_>) -> Result<Self> {
        let stage =
            stage(variant, script.steps.contains(&"time to live ends").then_some(Duration::from_secs(60))).await?;
        let served = Served::permissive(&stage).await?;
        let mut peer = Peer::connect(&served).await?;
        let default_outcome = script.default_outcome.map(state);
        let kept = script.kept.then_some((0, "connection-close", KEPT.as_secs() as u32));
        let link = peer.link(&Attach { default_outcome, kept, ..receiver(variant) }).await?;
        if script.others {
            peer.link(&Attach { name: "another", ..receiver(variant) }).await?;
        }
        let mut control = None;
        if script.steps.contains(&"acquired") {
            let controller = Control::declare(&mut peer).await?;
            peer.flow(link, 0, 1, false, Some(&controller.txn)).await?;
            control = Some(controller);
        } else {
            peer.grant(link, 0, 1).await?;
        }
        let received = peer.receive().await?;
        same("the payload", received.payload(), b"hello")?;
        same("settled", received.settled, false)?;
        same("a tag of at most 32 bytes", (1..=32).contains(&received.tag.len()), true)?;
        // Part 4, section 4.4: what is said names the transaction that it belongs to.
        let within =
            control.as_ref().map_or(Null, |control: &Control| described(0x34, vec![Binary(control.txn.clone())]));
        same("the state of the transfer", received.state.field(0), within.field(0))?;
        stage.settles_as(Copies::HELD).await?;
        Ok(Self { variant, stage, served, peer, link, received, control })
    }

    async fn step(&mut self, step: &str, script: &Script<'_>) -> Result {
        let (number, settled) = (self.received.number, script.settled);
        match step {
            "acquired" | "silence" => Ok(()),
            "time to live ends" => {
                self.stage.advance(BEYOND);
                Ok(())
            }
            "its time-out" => {
                self.stage.settles_as(Copies::HELD).await?;
                self.stage.advance(KEPT + Duration::from_secs(1));
                Ok(())
            }
            "again" => {
                self.stage.settles_as(Copies::GONE).await?;
                self.peer.dispose(true, number, true, state("released")).await
            }
            "drain" => self.peer.flow(self.link, 1, 5, true, None).await,
            "detach" => self.peer.detach(self.link, false).await,
            "detach closed" => self.peer.detach(self.link, true).await,
            "end" => self.peer.end().await,
            "close" => self.peer.close().await,
            "connection lost" => {
                self.peer.cut().await;
                Ok(())
            }
            "commit" | "rollback" | "control link closed" | "time-out" => self.discharge(step).await,
            "of a transaction that is not known" => Ok(()),
            _ if step.starts_with("transactional ") => self.enlist(step, script).await,
            _ if script.out_of_order => {
                self.stage.send(QUEUE, "second", self.variant.qos()).await?;
                self.peer.grant(self.link, 1, 1).await?;
                let second = self.peer.receive().await?;
                self.peer.dispose(true, second.number, settled, state(step)).await?;
                self.stage.settles_as(Copies::HELD).await?;
                self.peer.dispose(true, number, settled, state(step)).await
            }
            // The last outcome of a script is not settled by its receiver, nor is one after a transaction.
            _ => self.peer.dispose(true, number, settled, state(step)).await,
        }
    }

    /// Names an outcome within a transaction.
    async fn enlist(&mut self, step: &str, script: &Script<'_>) -> Result {
        let outcome = state(step.strip_prefix("transactional ").unwrap_or(step));
        if script.steps.contains(&"of a transaction that is not known") {
            return self
                .peer
                .dispose(true, self.received.number, script.settled, transactional(&UNKNOWN, outcome))
                .await;
        }
        if self.control.is_none() {
            self.control = Some(Control::declare(&mut self.peer).await?);
        }
        let txn = self.control.as_ref().map(|control| control.txn.clone()).unwrap_or_default();
        self.peer.dispose(true, self.received.number, script.settled, transactional(&txn, outcome)).await?;
        self.peer.echo_before().await?;
        self.stage.settles_as(Copies::HELD).await
    }

    async fn discharge(&mut self, how: &str) -> Result {
        let control = self.control.as_ref().ok_or("there is no transaction")?;
        match how {
            "commit" => {
                same("the answer to commit", control.discharge(&mut self.peer, false).await?.as_str(), "accepted")
            }
            "rollback" => {
                same("the answer to rollback", control.discharge(&mut self.peer, true).await?.as_str(), "accepted")
            }
            "control link closed" => {
                self.peer.detach(control.link, true).await?;
                self.peer.frame(DETACH).await.map(drop)
            }
            _ => {
                self.stage.advance(BEYOND);
                Ok(())
            }
        }
    }

    async fn check(mut self, cell: &Egress, script: &Script<'_>) -> Result {
        if script.others {
            self.stage.settles_as(Copies::AVAILABLE).await?;
            self.peer.grant(self.link, 1, 1).await?;
            same("what comes on the same link", self.peer.next(QUIET).await?, Seen::Nothing)?;
        }
        drop(self.served);
        match (cell.effect.copied(), cell.signal) {
            (Copied::AsItWas, _) => self.stage.settles_as(Copies::GONE).await,
            _ => check(&self.stage, cell, 2).await,
        }
    }
}

/// Whether the copy of the queue is where the effect puts it; a dead letter has the reason that the note names.
async fn check(stage: &Stage, cell: &Egress, attempt: u32) -> Result {
    let reason = cell.note.split_once("Dead letter: `").and_then(|(_, rest)| rest.split('`').next());
    same("a reason with a dead letter", reason.is_some(), cell.effect == Effect::Reject)?;
    match cell.effect.copied() {
        Copied::Held => stage.settles_as(Copies::HELD).await,
        Copied::Retired { dead_letter: false } => stage.settles_as(Copies::GONE).await,
        Copied::Retired { dead_letter: true } => {
            stage.settles_as(Copies::DEAD).await?;
            if cell.signal.contains("rejected") {
                same("the delivery count", stage.dead_count().await?, Some(1_u64.into()))?;
            }
            same("the reason", stage.dead_reason().await?.as_str(), reason.unwrap_or_default())
        }
        Copied::Available { failures } => {
            stage.settles_as(Copies::AVAILABLE).await?;
            let delivery = stage.take(QUEUE).await?;
            same("the delivery count", delivery.info.ok_or("the delivery has no info")?.count, failures)?;
            same("the attempt", delivery.attempt, attempt)
        }
        Copied::AsItWas => Err("the cell has to say what it was".into()),
    }
}

/// A receiver with nothing in its hands.
async fn attached(stage: &Stage, window: u32, attach: &Attach<'_>) -> Result<(Served, Peer, Link)> {
    let served = Served::permissive(stage).await?;
    let mut peer = Peer::with_window(&served, "peer", window).await?;
    let link = peer.link(attach).await?;
    Ok((served, peer, link))
}

async fn settled(cell: &Egress, variant: Variant) -> Result {
    let stage = stage(variant, None).await?;
    let (_served, mut peer, link) = attached(&stage, 1000, &receiver(variant)).await?;
    peer.grant(link, 0, 1).await?;
    let received = peer.receive().await?;
    same("the transfer", (received.payload(), received.settled), (&b"hello"[..], true))?;
    same("the answer", peer.answer(cell.answer).await?.as_str(), cell.answer)?;
    check(&stage, cell, 1).await
}

async fn too_long(cell: &Egress, variant: Variant) -> Result {
    let stage = stage(variant, None).await?;
    let attach = Attach { message_bytes_max: Some(8), ..receiver(variant) };
    let (_served, mut peer, link) = attached(&stage, 1000, &attach).await?;
    peer.grant(link, 0, 1).await?;
    same("the answer", peer.answer(cell.answer).await?.as_str(), cell.answer)?;
    check(&stage, cell, 1).await
}

/// The session has no room for a transfer, so that none is tried.
async fn unsent(cell: &Egress, variant: Variant) -> Result {
    let stage = stage(variant, None).await?;
    let (_served, mut peer, link) = attached(&stage, 0, &receiver(variant)).await?;
    peer.grant(link, 0, 1).await?;
    same("what comes", peer.next(QUIET).await?, Seen::Nothing)?;
    peer.detach(link, true).await?;
    same("the answer", peer.answer(cell.answer).await?.as_str(), cell.answer)?;
    check(&stage, cell, 1).await
}

async fn waiting(cell: &Egress, variant: Variant) -> Result {
    let stage = Stage::with_queue(QueueSettings::default()).await?;
    let (_served, mut peer, link) = attached(&stage, 1000, &receiver(variant)).await?;
    peer.grant(link, 0, 1).await?;
    same("what comes", peer.next(QUIET).await?, Seen::Nothing)?;
    peer.cut().await;
    same("the answer", peer.answer(cell.answer).await?.as_str(), cell.answer)?;
    stage.send(QUEUE, "hello", variant.qos()).await?;
    check(&stage, cell, 1).await
}

async fn drained(cell: &Egress, variant: Variant) -> Result {
    let stage = Stage::with_queue(QueueSettings::default()).await?;
    let (_served, mut peer, link) = attached(&stage, 1000, &receiver(variant)).await?;
    peer.flow(link, 0, 5, true, None).await?;
    same("the answer", peer.answer(cell.answer).await?.as_str(), cell.answer)?;
    same("the effect", cell.effect, Effect::Unsaid)?;
    stage.send(QUEUE, "late", Qos::AtLeastOnce).await?;
    same("what comes", peer.next(QUIET).await?, Seen::Nothing)?;
    stage.settles_as(Copies::AVAILABLE).await
}

async fn browsed(cell: &Egress, variant: Variant) -> Result {
    let stage = stage(variant, None).await?;
    let (_served, mut peer, link) = attached(&stage, 1000, &Attach { copies: true, ..receiver(variant) }).await?;
    peer.grant(link, 0, 1).await?;
    let received = peer.receive().await?;
    same("the transfer", (received.payload(), received.settled), (&b"hello"[..], true))?;
    peer.dispose(true, received.number, true, state("accepted")).await?;
    same("the answer", peer.answer(cell.answer).await?.as_str(), cell.answer)?;
    same("the effect", cell.effect, Effect::Unsaid)?;
    stage.settles_as(Copies::AVAILABLE).await
}
