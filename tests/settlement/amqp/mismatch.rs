//! Where AMQP meets what other protocols promise: one answer each.

use std::time::Duration;

use libtest_mimic::Trial;
use roadbed::{Durability, Message, Qos, QueueSettings};

use super::Variant;
use super::control::Control;
use super::peer::{Attach, Link, Peer, QUIET, Received, Seen, state};
use super::server::Served;
use super::wire::Value::{self, Binary, Bool, Described, Map, Null, Text, Ubyte, Uint, Ulong};
use super::wire::{DETACH, described, symbol, text};
use crate::Result;
use crate::stage::{Copies, QUEUE, Stage, address};
use crate::tell::same;

pub(super) fn trials() -> Vec<Trial> {
    let name = |what: &str| format!("mismatch/amqp/{what}");
    vec![
        crate::trial(name("m1-the-weaker-assurance-counts"), weaker),
        crate::trial(name("m1-durable-and-settled-are-two-things"), durable_and_settled),
        crate::trial(name("m4-time-to-live-is-what-remains"), remaining),
        crate::trial(name("m4-the-earlier-expiry-counts-and-stays-as-it-was"), earlier_expiry),
        crate::trial(name("m5-the-count-of-failures-is-in-the-header"), counted),
        crate::trial(name("m8-no-credit-stops-no-other-link"), || no_room(false)),
        crate::trial(name("m8-no-window-stops-nothing-but-transfers"), || no_room(true)),
        crate::trial(name("m8-a-sender-without-credit-is-ended"), beyond_credit),
        crate::trial(name("m9-the-bare-message-is-not-changed"), bare_message),
        crate::trial(name("m10-no-client-speaks-for-the-hub"), forged),
        crate::trial(name("m11-a-dead-letter-keeps-the-bare-message"), dead_letter),
    ]
}

struct Scene {
    stage: Stage,
    _served: Served,
    peer: Peer,
}

impl Scene {
    async fn new(window: u32) -> Result<Self> {
        let stage = Stage::with_queue(QueueSettings::default()).await?;
        let served = Served::permissive(&stage).await?;
        let peer = Peer::with_window(&served, "peer", window).await?;
        Ok(Self { stage, _served: served, peer })
    }

    async fn sends(&mut self, message: &[u8]) -> Result {
        let link = self.peer.link(&Attach::sender("sender", QUEUE)).await?;
        self.peer.credit(link, 1).await?;
        let number = self.peer.send(link, false, message).await?;
        same("the answer", self.peer.told_of(number).await?.0.as_str(), "accepted")
    }

    async fn receiver(&mut self, name: &str, from: &str) -> Result<Link> {
        self.peer.link(&Attach::receiver(name, from)).await
    }

    async fn receives(&mut self, from: &str) -> Result<Received> {
        let link = self.receiver("receiver", from).await?;
        self.peer.grant(link, 0, 1).await?;
        self.peer.receive().await
    }
}

fn data(payload: &[u8]) -> Value {
    Described(0x75, Box::new(Binary(payload.to_vec())))
}

fn encoded(sections: &[Value]) -> Vec<u8> {
    sections.iter().flat_map(Value::to_bytes).collect()
}

fn map(code: u64, pairs: Vec<(Value, Value)>) -> Value {
    Described(code, Box::new(Map(pairs)))
}

/// The assurance of a delivery is the weaker one of what it was sent with and what its link asks for; it shows in each transfer.
async fn weaker() -> Result {
    for (sent, column, settled, mode) in [
        (Qos::AtLeastOnce, "amqp-second", false, 0),
        (Qos::ExactlyOnce, "amqp-first", false, 0),
        (Qos::ExactlyOnce, "amqp-second", false, 1),
        (Qos::ExactlyOnce, "amqp-settled", true, 0),
    ] {
        let mut scene = Scene::new(1000).await?;
        scene.stage.send(QUEUE, "hello", sent).await?;
        let variant = Variant::named(column);
        let attach = Attach { settled: variant.settled, second: variant.second, ..Attach::receiver("receiver", QUEUE) };
        let link = scene.peer.link(&attach).await?;
        scene.peer.grant(link, 0, 1).await?;
        let received = scene.peer.receive().await?;
        let said = received.mode.unwrap_or(u32::from(variant.second));
        same(&format!("{sent:?} on {column}"), (received.settled, said), (settled, mode))?;
    }
    Ok(())
}

/// A durable message that is sent settled is kept, and asks for no answer; one that is not durable may be sent at least once.
async fn durable_and_settled() -> Result {
    for (durable, settled) in [(true, true), (false, false)] {
        let mut scene = Scene::new(1000).await?;
        let link = scene.peer.link(&Attach::sender("sender", QUEUE)).await?;
        scene.peer.credit(link, 1).await?;
        let message = encoded(&[described(0x70, vec![Bool(durable)]), data(b"x")]);
        scene.peer.send(link, settled, &message).await?;
        let expected = if settled { "nothing" } else { "accepted" };
        same("the answer", scene.peer.answer(expected).await?.as_str(), expected)?;
        let delivery = scene.stage.take(QUEUE).await?;
        let durability = if durable { Durability::Stored } else { Durability::Volatile };
        same("the durability", delivery.message.durability(), durability)?;
    }
    Ok(())
}

async fn remaining() -> Result {
    let mut scene = Scene::new(1000).await?;
    scene.sends(&encoded(&[described(0x70, vec![Null, Null, Uint(60_000)]), data(b"x")])).await?;
    scene.stage.advance(Duration::from_secs(20));
    let received = scene.receives(QUEUE).await?;
    let ttl = received.section(0x70).field(2).uint().ok_or("no time to live")?;
    same("what remains of a minute after twenty seconds", (35_000..=40_000).contains(&ttl), true)
}

/// properties.absolute-expiry-time is part of the bare message: it is believed, and never changed.
async fn earlier_expiry() -> Result {
    let mut scene = Scene::new(1000).await?;
    let now = scene.stage.broker.now().as_millis();
    let expiry = Value::Other(0x83, (now + 30_000).to_be_bytes().to_vec());
    let mut properties = vec![Null; 8];
    properties.push(expiry.clone());
    let message = encoded(&[described(0x70, vec![Null, Null, Uint(60_000)]), described(0x73, properties), data(b"x")]);
    scene.sends(&message).await?;
    let received = scene.receives(QUEUE).await?;
    let ttl = received.section(0x70).field(2).uint().ok_or("no time to live")?;
    same("the earlier of two", (25_000..=30_000).contains(&ttl), true)?;
    same("the absolute expiry time", received.section(0x73).field(8), &expiry)?;
    scene.peer.dispose(true, received.number, true, state("released")).await?;
    scene.peer.echo_before().await?;
    scene.stage.advance(Duration::from_secs(31));
    scene.stage.settles_as(Copies::DEAD).await
}

/// The count is of failures, not of attempts; a first delivery has none.
async fn counted() -> Result {
    let mut scene = Scene::new(1000).await?;
    scene.sends(&encoded(&[described(0x70, vec![Null, Null, Null, Bool(true), Uint(7)]), data(b"x")])).await?;
    let link = scene.receiver("receiver", QUEUE).await?;
    for (attempt, (outcome, count)) in
        [("released", 0), ("modified delivery-failed", 0), ("released", 1), ("accepted", 1)].into_iter().enumerate()
    {
        scene.peer.grant(link, attempt as u32, 1).await?;
        let received = scene.peer.receive().await?;
        same(&format!("the count at attempt {attempt}"), received.count(), count)?;
        scene.peer.dispose(true, received.number, true, state(outcome)).await?;
    }
    scene.stage.settles_as(Copies::GONE).await
}

/// A link without credit, or a session without a window, holds up its own transfers: not other links, and no other frame.
async fn no_room(no_window: bool) -> Result {
    let mut scene = Scene::new(if no_window { 0 } else { 1000 }).await?;
    scene.stage.declare("queues/other", QueueSettings::default()).await?;
    scene.stage.send(QUEUE, "1", Qos::AtLeastOnce).await?;
    scene.stage.send("queues/other", "2", Qos::AtLeastOnce).await?;
    let idle = scene.receiver("idle", QUEUE).await?;
    let busy = scene.receiver("busy", "queues/other").await?;
    scene.peer.grant(busy, 0, 1).await?;
    if no_window {
        same("what comes", scene.peer.next(QUIET).await?, Seen::Nothing)?;
    } else {
        same("the other link's message", scene.peer.receive().await?.payload(), b"2")?;
    }
    scene.sends(&encoded(&[data(b"x")])).await?;
    let control = Control::declare(&mut scene.peer).await?;
    same("the answer to discharge", control.discharge(&mut scene.peer, false).await?.as_str(), "accepted")?;
    scene.peer.detach(idle, true).await?;
    scene.peer.frame(DETACH).await?;
    scene.peer.echo_before().await?;
    if no_window {
        scene.peer.open_window(10).await?;
        same("what waited for the window", scene.peer.receive().await?.payload(), b"2")?;
    }
    Ok(())
}

async fn beyond_credit() -> Result {
    let settings = QueueSettings { messages_max: 1, overflow: roadbed::Overflow::PushBack, ..QueueSettings::default() };
    let stage = Stage::with_queue(settings).await?;
    let served = Served::permissive(&stage).await?;
    let mut peer = Peer::connect(&served).await?;
    let link = peer.link(&Attach::sender("sender", QUEUE)).await?;
    same("credit", peer.credit(link, 1).await?, 1)?;
    let number = peer.send(link, false, &encoded(&[data(b"x")])).await?;
    same("the answer", peer.told_of(number).await?.0.as_str(), "accepted")?;
    peer.send(link, false, &encoded(&[data(b"x")])).await?;
    let expected = "detach amqp:link:transfer-limit-exceeded";
    same("the answer", peer.answer(expected).await?.as_str(), expected)
}

/// A message with everything, in an encoding that is not ours.
fn foreign() -> (Vec<u8>, Vec<u8>) {
    let mut properties = vec![Ulong(7), Binary(b"me".to_vec()), text("elsewhere"), text("subject")];
    properties.extend([Null, text("correlation"), symbol("text/plain")]);
    let list = Value::List(vec![Ubyte(1), Value::Other(0x72, vec![0x40, 0x49, 0x0f, 0xdb])]);
    let bare = encoded(&[
        described(0x73, properties),
        map(0x74, vec![(text("k"), Text("v".into())), (text("n"), list)]),
        data(b"first"),
        data(b"second"),
    ]);
    let header = encoded(&[described(0x70, vec![Bool(false)])]);
    (bare.clone(), [header, bare].concat())
}

/// The bytes from the properties to the end of the body.
fn bare_of(received: &Received) -> &[u8] {
    let mut rest = &received.bytes[..];
    loop {
        let before = rest;
        match Value::take(&mut rest) {
            Some(Described(0x70..=0x72, _)) => {}
            _ => return before,
        }
    }
}

async fn bare_message() -> Result {
    let mut scene = Scene::new(1000).await?;
    let (bare, message) = foreign();
    scene.sends(&message).await?;
    same("the bare message", bare_of(&scene.receives(QUEUE).await?), &bare[..])
}

/// Annotations of the hub are the hub's: what a client writes under their names is dropped, and its own go through.
async fn forged() -> Result {
    let mut scene = Scene::new(1000).await?;
    let annotations = vec![(symbol("x-opt-roadbed-reason"), text("forged")), (symbol("x-opt-mine"), text("kept"))];
    scene.sends(&encoded(&[map(0x72, annotations), data(b"x")])).await?;
    let received = scene.receives(QUEUE).await?;
    same("the annotations", received.section(0x72), &Map(vec![(symbol("x-opt-mine"), text("kept"))]))
}

async fn dead_letter() -> Result {
    let mut scene = Scene::new(1000).await?;
    let (bare, message) = foreign();
    scene.sends(&message).await?;
    let received = scene.receives(QUEUE).await?;
    scene.peer.dispose(true, received.number, true, state("rejected amqp:decode-error")).await?;
    scene.stage.settles_as(Copies::DEAD).await?;
    let link = scene.receiver("undertaker", "$dead/q").await?;
    scene.peer.grant(link, 0, 1).await?;
    let letter = scene.peer.receive().await?;
    same("the bare message", bare_of(&letter), &bare[..])?;
    let Map(annotations) = letter.section(0x72) else { return Err("no annotations".into()) };
    let said = |name: &str| {
        let name = format!("x-opt-roadbed-{name}");
        let is = |key: &Value| matches!(key, Value::Symbol(key) if *key == name);
        let found = annotations.iter().find(|(key, _)| is(key));
        found.map_or(&Null, |(_, value)| value)
    };
    same("the reason", said("reason"), &text("invalid-payload"))?;
    same("the source", said("source"), &text(QUEUE))?;
    same("the count", said("count").uint(), Some(1))?;
    same("the receiver's words", said("error"), &text("no"))?;
    same("the time", *said("time") == Null, false)?;
    scene.peer.dispose(true, letter.number, true, state("accepted")).await?;
    scene.stage.settles_as(Copies::GONE).await?;
    // Made inside, so that the address is one that nobody may send to.
    let inside = Message::new(address("$dead/q"), "x");
    same("a letter sent by hand", scene.stage.send_message(inside, Qos::AtLeastOnce).await.is_err(), true)
}
