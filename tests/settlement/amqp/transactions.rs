//! Transactions: what the sections 4.1 to 4.5 of Part 4 promise, beside the cells of the table.

use std::time::Duration;

use libtest_mimic::Trial;
use roadbed::{Overflow, Qos, QueueSettings};

use super::control::{self, Control, UNKNOWN};
use super::peer::{Attach, Link, Peer, state, transactional};
use super::server::Served;
use super::wire::Value::{Binary, Null};
use super::wire::{self, Message, described, symbol, text};
use crate::Result;
use crate::stage::{Copies, QUEUE, Stage};
use crate::tell::same;

/// Longer than a transaction may take.
const BEYOND: Duration = Duration::from_secs(61);
const ACCEPTED: &str = "accepted";
const ROLLBACK: &str = "rejected amqp:transaction:rollback";

pub(super) fn trials() -> Vec<Trial> {
    let name = |what: &str| format!("transaction/amqp/{what}");
    vec![
        crate::trial(name("the-coordinator-says-what-it-can"), capabilities),
        crate::trial(name("a-post-is-answered-provisionally"), || posted("amqp-first", false)),
        crate::trial(name("a-post-is-answered-provisionally-second"), || posted("amqp-second", false)),
        crate::trial(name("a-post-is-void-after-rollback"), || posted("amqp-first", true)),
        crate::trial(name("a-settled-post-waits-for-commit"), || posted("amqp-settled", false)),
        crate::trial(name("a-settled-post-is-void-after-rollback"), || posted("amqp-settled", true)),
        crate::trial(name("a-post-that-cannot-be-kept-fails-the-commit"), || unkept("amqp-first")),
        crate::trial(name("a-settled-post-that-cannot-be-kept-fails-the-commit"), || unkept("amqp-settled")),
        crate::trial(name("a-post-of-several-frames"), several_frames),
        crate::trial(name("a-partial-post-ends-the-control-link"), partial),
        crate::trial(name("rollback-always-succeeds"), rollback_succeeds),
        crate::trial(name("a-commit-that-comes-too-late-is-told-so"), too_late),
        crate::trial(name("an-unknown-transaction-cannot-be-discharged"), unknown),
        crate::trial(name("a-post-to-an-unknown-transaction-ends-its-link"), unknown_post),
        crate::trial(name("the-end-of-the-control-link-rolls-back"), control_link_closed),
        crate::trial(name("two-transactions-on-one-session"), two),
        crate::trial(name("an-outcome-cannot-change-its-transaction"), conflict),
        crate::trial(name("the-last-outcome-named-counts"), renamed),
        crate::trial(name("credit-within-a-transaction-ends-with-it"), credit_ends),
        crate::trial(name("a-settled-declare-ends-the-control-link"), settled_declare),
        crate::trial(name("a-global-name-is-refused"), global),
        crate::trial(name("sends-and-outcomes-happen-together"), together),
    ]
}

struct Scene {
    stage: Stage,
    served: Served,
    peer: Peer,
}

impl Scene {
    async fn new() -> Result<Self> {
        Self::with(QueueSettings::default()).await
    }

    async fn with(settings: QueueSettings) -> Result<Self> {
        let stage = Stage::with_queue(settings).await?;
        let served = Served::permissive(&stage).await?;
        let peer = Peer::connect(&served).await?;
        Ok(Self { stage, served, peer })
    }

    async fn sender(&mut self, variant: &str) -> Result<Link> {
        let variant = super::Variant::named(variant);
        let (settled, second) = (variant.settled, variant.second);
        let link = self.peer.link(&Attach { settled, second, ..Attach::sender("sender", QUEUE) }).await?;
        self.peer.credit(link, 1).await?;
        Ok(link)
    }

    async fn available(&self, available: u64) -> Result {
        self.stage.settles_as(Copies { available, held: 0, dead: 0 }).await
    }

    async fn discharged(&mut self, control: &Control, fail: bool, expected: &str) -> Result {
        same("the answer to discharge", control.discharge(&mut self.peer, fail).await?.as_str(), expected)
    }
}

fn message() -> Vec<u8> {
    Message { payload: b"hello", ..Message::default() }.to_bytes()
}

fn within(control: &Control) -> wire::Value {
    transactional(&control.txn, Null)
}

async fn capabilities() -> Result {
    let mut scene = Scene::new().await?;
    let asked = Attach { coordinator: true, ..Attach::sender("control", "") };
    let target = scene.peer.attach(&asked).await?.frame.field(6).clone();
    let wire::Value::Array(said) = target.field(0) else { return Err(format!("{target:?} has no capabilities")) };
    let local = ["amqp:local-transactions", "amqp:multi-txns-per-ssn", "amqp:multi-ssns-per-txn"];
    same("the capabilities", said, &local.map(symbol).to_vec())
}

/// The outcome is told before the discharge, with the transaction; the message is there after the commit, and not before.
async fn posted(variant: &'static str, fail: bool) -> Result {
    let mut scene = Scene::new().await?;
    let link = scene.sender(variant).await?;
    let control = Control::declare(&mut scene.peer).await?;
    same("a name of at most 32 bytes", (1..=32).contains(&control.txn.len()), true)?;
    let settled = variant == "amqp-settled";
    let number = scene.peer.transfer(link, settled, within(&control), &message()).await?;
    if !settled {
        let told = scene.peer.state_of(number).await?;
        same("the state", told, transactional(&control.txn, described(0x24, Vec::new())))?;
    }
    scene.peer.echo_before().await?;
    scene.available(0).await?;
    scene.discharged(&control, fail, ACCEPTED).await?;
    scene.available(u64::from(!fail)).await
}

/// Part 4, section 4.4.4.1: what was not kept must not be committed.
async fn unkept(variant: &'static str) -> Result {
    let settings = QueueSettings { messages_max: 1, overflow: Overflow::Refuse, ..QueueSettings::default() };
    let mut scene = Scene::with(settings).await?;
    let link = scene.sender(variant).await?;
    let control = Control::declare(&mut scene.peer).await?;
    let settled = variant == "amqp-settled";
    for _ in 0..2 {
        scene.peer.transfer(link, settled, within(&control), &message()).await?;
    }
    scene.discharged(&control, false, ROLLBACK).await?;
    scene.available(0).await
}

/// Every frame names the transaction.
async fn several_frames() -> Result {
    let mut scene = Scene::new().await?;
    let link = scene.sender("amqp-first").await?;
    let control = Control::declare(&mut scene.peer).await?;
    let message = message();
    let number = scene.peer.transfer_part(link, within(&control), true, &message[..7]).await?;
    scene.peer.transfer_rest(link, within(&control), &message[7..]).await?;
    same("the answer", scene.peer.told_of(number).await?.0.as_str(), "transactional accepted")?;
    scene.available(0).await?;
    scene.discharged(&control, false, ACCEPTED).await?;
    scene.available(1).await
}

/// Part 4, section 4.4.1: it is an error to discharge a transaction with a post that has not come whole.
async fn partial() -> Result {
    let mut scene = Scene::new().await?;
    let link = scene.sender("amqp-first").await?;
    let control = Control::declare(&mut scene.peer).await?;
    let number = scene.peer.transfer(link, false, within(&control), &message()).await?;
    same("the answer to a post", scene.peer.told_of(number).await?.0.as_str(), "transactional accepted")?;
    scene.peer.transfer_part(link, within(&control), true, &message()[..7]).await?;
    let expected = "detach amqp:transaction:rollback";
    scene.peer.send(control.link, false, &control::discharge(&control.txn, false)).await?;
    same("the answer", scene.peer.answer(expected).await?.as_str(), expected)?;
    scene.available(0).await
}

/// Part 4, section 4.3: the coordinator must always be able to give up.
async fn rollback_succeeds() -> Result {
    let mut scene = Scene::new().await?;
    let link = scene.sender("amqp-first").await?;
    let control = Control::declare(&mut scene.peer).await?;
    scene.peer.transfer(link, false, within(&control), &message()).await?;
    scene.peer.echo_before().await?;
    scene.stage.advance(BEYOND);
    scene.discharged(&control, true, ACCEPTED).await?;
    scene.available(0).await
}

async fn too_late() -> Result {
    let mut scene = Scene::new().await?;
    let link = scene.sender("amqp-first").await?;
    let control = Control::declare(&mut scene.peer).await?;
    scene.peer.transfer(link, false, within(&control), &message()).await?;
    scene.peer.echo_before().await?;
    scene.stage.advance(BEYOND);
    scene.discharged(&control, false, "rejected amqp:transaction:timeout").await?;
    scene.available(0).await
}

async fn unknown() -> Result {
    let mut scene = Scene::new().await?;
    let control = Control::declare(&mut scene.peer).await?;
    scene.discharged(&control, false, ACCEPTED).await?;
    for txn in [control.txn.clone(), UNKNOWN.to_vec(), vec![1]] {
        let stranger = Control { link: control.link, txn };
        scene.discharged(&stranger, false, "rejected amqp:transaction:unknown-id").await?;
    }
    Ok(())
}

async fn unknown_post() -> Result {
    let mut scene = Scene::new().await?;
    let link = scene.sender("amqp-first").await?;
    scene.peer.transfer(link, false, transactional(&UNKNOWN, Null), &message()).await?;
    let expected = "detach amqp:transaction:unknown-id";
    same("the answer", scene.peer.answer(expected).await?.as_str(), expected)?;
    scene.available(0).await
}

async fn control_link_closed() -> Result {
    let mut scene = Scene::new().await?;
    let link = scene.sender("amqp-first").await?;
    let control = Control::declare(&mut scene.peer).await?;
    scene.peer.transfer(link, false, within(&control), &message()).await?;
    scene.peer.detach(control.link, true).await?;
    scene.peer.frame(wire::DETACH).await?;
    scene.available(0).await?;
    // What is done in its name afterwards fails.
    scene.peer.transfer(link, false, within(&control), &message()).await?;
    let expected = "transactional accepted, then detach amqp:transaction:unknown-id";
    same("the answer", scene.peer.answer(expected).await?.as_str(), expected)?;
    scene.available(0).await
}

/// Each is discharged on its own.
async fn two() -> Result {
    let mut scene = Scene::new().await?;
    let link = scene.sender("amqp-first").await?;
    let first = Control::declare(&mut scene.peer).await?;
    let second = Control::declare_on(&mut scene.peer, first.link).await?;
    same("one name for both", first.txn == second.txn, false)?;
    for control in [&first, &second, &first] {
        scene.peer.transfer(link, false, within(control), &message()).await?;
    }
    scene.discharged(&second, true, ACCEPTED).await?;
    scene.available(0).await?;
    scene.discharged(&first, false, ACCEPTED).await?;
    scene.available(2).await
}

/// A receiver with a message of the queue in its hands.
async fn receiving(scene: &mut Scene) -> Result<(Link, u32)> {
    scene.stage.send(QUEUE, "hello", Qos::AtLeastOnce).await?;
    let link = scene.peer.link(&Attach::receiver("receiver", QUEUE)).await?;
    scene.peer.grant(link, 0, 1).await?;
    Ok((link, scene.peer.receive().await?.number))
}

/// Part 4, section 4.4.2: not of another transaction that is not discharged; otherwise the control link ends.
async fn conflict() -> Result {
    let mut scene = Scene::new().await?;
    let (_, number) = receiving(&mut scene).await?;
    let first = Control::declare(&mut scene.peer).await?;
    let link = Control::attach(&mut scene.peer, "another").await?;
    let second = Control::declare_on(&mut scene.peer, link).await?;
    scene.peer.dispose(true, number, false, transactional(&first.txn, state("accepted"))).await?;
    scene.peer.dispose(true, number, false, transactional(&second.txn, state("released"))).await?;
    let expected = "detach amqp:transaction:rollback";
    same("the answer", scene.peer.answer(expected).await?.as_str(), expected)?;
    scene.stage.settles_as(Copies::HELD).await?;
    scene.discharged(&first, false, ACCEPTED).await?;
    scene.stage.settles_as(Copies::GONE).await
}

async fn renamed() -> Result {
    let mut scene = Scene::new().await?;
    let (_, number) = receiving(&mut scene).await?;
    let control = Control::declare(&mut scene.peer).await?;
    for outcome in ["accepted", "released"] {
        scene.peer.dispose(true, number, false, transactional(&control.txn, state(outcome))).await?;
    }
    scene.discharged(&control, false, ACCEPTED).await?;
    same("the answer", scene.peer.answer("released").await?.as_str(), "released")?;
    scene.stage.settles_as(Copies::AVAILABLE).await
}

/// Part 4, section 4.4.3: the transaction of a link is cleared by the discharge. What comes on credit that was left belongs to none.
async fn credit_ends() -> Result {
    let mut scene = Scene::new().await?;
    let link = scene.peer.link(&Attach::receiver("receiver", QUEUE)).await?;
    let control = Control::declare(&mut scene.peer).await?;
    scene.peer.flow(link, 0, 2, false, Some(&control.txn)).await?;
    scene.stage.send(QUEUE, "1", Qos::AtLeastOnce).await?;
    let first = scene.peer.receive().await?;
    same("the transaction of the first", first.state.field(0), &Binary(control.txn.clone()))?;
    let outcome = transactional(&control.txn, state("accepted"));
    scene.peer.dispose(true, first.number, true, outcome).await?;
    scene.discharged(&control, false, ACCEPTED).await?;
    scene.peer.grant(link, 1, 1).await?;
    scene.stage.send(QUEUE, "2", Qos::AtLeastOnce).await?;
    let second = scene.peer.receive().await?;
    same("the state of the second", second.state, Null)?;
    scene.stage.settles_as(Copies::HELD).await
}

/// Part 4, section 4.2: there would be nobody to hear the answer.
async fn settled_declare() -> Result {
    let mut scene = Scene::new().await?;
    let link = Control::attach(&mut scene.peer, "control").await?;
    scene.peer.send(link, true, &control::declare()).await?;
    let told = scene.peer.answer("detach amqp:not-allowed").await?;
    same("the answer", told.as_str(), "detach amqp:not-allowed")
}

/// Part 4, section 4.5.2: only for coordinators with that capability.
async fn global() -> Result {
    let mut scene = Scene::new().await?;
    let link = Control::attach(&mut scene.peer, "control").await?;
    let declare = wire::Value::Described(0x77, Box::new(described(0x31, vec![text("everywhere")]))).to_bytes();
    let number = scene.peer.send(link, false, &declare).await?;
    same("the answer", scene.peer.told_of(number).await?.0.as_str(), "rejected amqp:not-implemented")
}

/// What is taken and what is sent, by two connections of which one cuts off before the end: nothing of that happens.
async fn together() -> Result {
    let mut scene = Scene::new().await?;
    scene.stage.declare("queues/out", QueueSettings::default()).await?;
    for commit in [false, true] {
        let (_, number) = {
            scene.stage.purge().await?;
            receiving(&mut scene).await?
        };
        let control = Control::declare(&mut scene.peer).await?;
        let link = scene.peer.link(&Attach::sender("out", "queues/out")).await?;
        scene.peer.credit(link, 1).await?;
        scene.peer.dispose(true, number, false, transactional(&control.txn, state("accepted"))).await?;
        scene.peer.transfer(link, false, within(&control), &message()).await?;
        if commit {
            scene.discharged(&control, false, ACCEPTED).await?;
            scene.available(0).await?;
        } else {
            scene.peer.echo_before().await?;
            scene.peer.cut().await;
            scene.available(1).await?;
            scene.peer = Peer::connect(&scene.served).await?;
        }
        let out = scene.stage.describe("queues/out").await.map(|node| node.available);
        same("what was sent", out, Some(u64::from(commit)))?;
    }
    Ok(())
}
