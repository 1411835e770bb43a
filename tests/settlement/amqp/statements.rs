//! Normative statements of AMQP 1.0 that only a server on a socket can be held to: a trial each, named `statement/ID`.
//! `transport-amqp/tests/statements.md` lists all statements with what proves them.

use libtest_mimic::Trial;
use roadbed::{Permissive, Qos, QueueSettings};
use roadbed_amqp::ServerConfig;

use super::peer::{Attach, Link, PATIENCE, Peer, QUIET, Seen, state};
use super::server::Served;
use super::wire::Value::{self, Binary, Bool, Described, Null, Ubyte, Uint, Ushort};
use super::wire::{self, DETACH, Message, described, symbol};
use crate::Result;
use crate::stage::{Copies, QUEUE, Stage};
use crate::tell::same;

/// Trials of statements that one function proves.
macro_rules! statements {
    ($($function:path: $($id:literal)+;)+) => {
        vec![$($(crate::trial(format!("statement/AMQP-{}", $id), $function),)+)+]
    };
}

pub(super) fn trials() -> Vec<Trial> {
    statements! {
        headers: "2.2-2" "2.2-5" "2.2-6" "2.2-7" "5.2.1-1";
        extended_header: "2.3.2-2";
        before_open: "2.4.1-1" "2.7.1-1";
        closing: "2.4.1-2" "2.4.3-1" "2.4.3-2";
        beginning: "2.5.1-2";
        broken_session: "2.5.4-1" "2.5.4-2" "2.7.4-1";
        handle_in_use: "2.7.3-1";
        stolen: "2.6.1-2";
        termini: "2.6.3-3" "3.5.3-2";
        flow: "2.6.7-2" "2.6.7-3" "2.6.12-2" "2.7.3-4" "2.7.4-2" "2.7.4-3" "2.7.5-1";
        another_number: "2.7.5-2";
        settled_once: "2.7.5-3";
        long_tag: "2.8.7-1";
        priorities: "3.2.1-4";
        empty_sasl_frame: "5.3.2-1";
        unknown_mechanism: "5.3.3.2-1";
    }
}

struct World {
    stage: Stage,
    served: Served,
}

impl World {
    async fn new() -> Result<Self> {
        let stage = Stage::with_queue(QueueSettings::default()).await?;
        let served = Served::permissive(&stage).await?;
        Ok(Self { stage, served })
    }

    async fn sender(&self) -> Result<(Peer, Link)> {
        let mut peer = Peer::connect(&self.served).await?;
        let link = peer.link(&Attach::sender("sender", QUEUE)).await?;
        peer.credit(link, 2).await?;
        Ok((peer, link))
    }
}

const AMQP: &[u8; 8] = b"AMQP\0\x01\0\0";
const SASL: &[u8; 8] = b"AMQP\x03\x01\0\0";

/// Whatever is not spoken here is answered with what is.
async fn headers() -> Result {
    let stage = Stage::with_queue(QueueSettings::default()).await?;
    let strict = ServerConfig::new(std::sync::Arc::new(Permissive));
    for (config, said, answer) in [
        (ServerConfig::permissive(), b"AMQP\0\x01\x01\0", AMQP),
        (ServerConfig::permissive(), b"AMQP\0\0\x09\x01", AMQP),
        (ServerConfig::permissive(), b"GET / HT", AMQP),
        (ServerConfig::permissive(), b"AMQP\x02\x01\0\0", AMQP),
        (strict.clone(), AMQP, SASL),
        (strict, b"AMQP\x03\x01\x01\0", SASL),
    ] {
        let served = Served::start(&stage, stage.endpoint(), config).await?;
        let mut peer = Peer::dial(&served).await?;
        peer.write(said).await?;
        peer.header(answer).await?;
        same("what comes then", peer.next(PATIENCE).await?, Seen::Closed)?;
    }
    Ok(())
}

async fn extended_header() -> Result {
    let world = World::new().await?;
    let mut peer = Peer::connect(&world.served).await?;
    let begin = described(wire::BEGIN, vec![Null, Uint(0), Uint(10), Uint(10)]);
    let mut frame = wire::frame(1, &begin, &[]);
    frame[4] = 3;
    frame.splice(8..8, *b"more");
    let size = (frame.len() as u32).to_be_bytes();
    frame.splice(..4, size);
    peer.write(&frame).await?;
    peer.frame(wire::BEGIN).await.map(drop)
}

async fn before_open() -> Result {
    let world = World::new().await?;
    let mut peer = Peer::dial(&world.served).await?;
    peer.write(AMQP).await?;
    peer.begin(0).await?;
    peer.header(AMQP).await?;
    peer.frame(wire::OPEN).await?;
    same("the answer", peer.answer("close amqp:illegal-state").await?.as_str(), "close amqp:illegal-state")
}

async fn closing() -> Result {
    let world = World::new().await?;
    let (mut peer, link) = world.sender().await?;
    let message = Message { payload: b"x", ..Message::default() }.to_bytes();
    peer.send(link, false, &message).await?;
    peer.close().await?;
    let close = peer.frame(wire::CLOSE).await?;
    same("the channel", close.channel, 0)?;
    same("an error", close.field(0), &Null)?;
    same("what comes then", peer.next(PATIENCE).await?, Seen::Closed)
}

async fn beginning() -> Result {
    let world = World::new().await?;
    let mut peer = Peer::connect(&world.served).await?;
    for channel in [5, 3] {
        peer.begin(channel).await?;
        same("the remote channel", peer.frame(wire::BEGIN).await?.field(0), &Ushort(channel))?;
    }
    Ok(())
}

/// A session that its peer has confused ends; what was under way is not looked at, and another begins.
async fn broken_session() -> Result {
    let world = World::new().await?;
    let (mut peer, link) = world.sender().await?;
    let fields = vec![Uint(0), Uint(10), Uint(0), Uint(10), Uint(77), Uint(0), Uint(1)];
    peer.say(&described(wire::FLOW, fields)).await?;
    let message = Message { payload: b"x", ..Message::default() }.to_bytes();
    peer.send(link, false, &message).await?;
    let expected = "end amqp:session:unattached-handle";
    same("the answer", peer.answer(expected).await?.as_str(), expected)?;
    peer.send(link, false, &message).await?;
    same("the answer to what comes then", peer.answer("nothing").await?.as_str(), "nothing")?;
    world.stage.settles_as(Copies::GONE).await?;
    peer.end().await?;
    peer.begin(0).await?;
    peer.frame(wire::BEGIN).await.map(drop)
}

async fn handle_in_use() -> Result {
    let world = World::new().await?;
    let (mut peer, _) = world.sender().await?;
    peer.say(&Attach::sender("another", QUEUE).to_value(0)).await?;
    let expected = "end amqp:session:handle-in-use";
    same("the answer", peer.answer(expected).await?.as_str(), expected)
}

async fn stolen() -> Result {
    let world = World::new().await?;
    let (mut peer, _) = world.sender().await?;
    let again = peer.link(&Attach::sender("sender", QUEUE)).await?;
    same("the answer", peer.frame(DETACH).await?.told().as_str(), "detach amqp:link:stolen")?;
    peer.credit(again, 1).await?;
    let number = peer.send(again, false, &Message { payload: b"x", ..Message::default() }.to_bytes()).await?;
    same("the answer on the new one", peer.told_of(number).await?.0.as_str(), "accepted")
}

/// What was asked for and not made is not said to be there.
async fn termini() -> Result {
    let world = World::new().await?;
    let mut peer = Peer::connect(&world.served).await?;
    let filter = Value::Map(vec![(symbol("f"), Described(1, Box::new(wire::text("x > 1"))))]);
    for copies in [false, true] {
        let name = if copies { "copy" } else { "move" };
        let asked = Attach { copies, filter: Some(filter.clone()), ..Attach::receiver(name, QUEUE) };
        let source = peer.attach(&asked).await?.frame.field(5).clone();
        same("the distribution mode", source.field(6), &symbol(name))?;
        same("the filter", source.field(7), &Null)?;
        same("the capabilities", source.field(10), &Null)?;
    }
    Ok(())
}

async fn flow() -> Result {
    let world = World::new().await?;
    for payload in ["1", "2", "3"] {
        world.stage.send(QUEUE, payload, Qos::AtLeastOnce).await?;
    }
    let mut peer = Peer::connect(&world.served).await?;
    let attached = peer.attach(&Attach::receiver("receiver", QUEUE)).await?;
    let initial = attached.frame.field(9).uint().ok_or("no initial delivery count")?;
    // Without a delivery count: it is the initial one.
    let ours = attached.link.ours;
    let fields = vec![Uint(0), Uint(1000), Uint(0), Uint(10), Uint(ours), Null, Uint(2)];
    peer.say(&described(wire::FLOW, fields)).await?;
    let first = peer.frame(wire::TRANSFER).await?;
    let second = peer.frame(wire::TRANSFER).await?;
    same("the message format", (first.field(3).uint(), second.field(3).uint()), (Some(0), Some(0)))?;
    same("a number for each", first.field(1) == second.field(1), false)?;
    same("a tag for each", matches!(first.field(2), Binary(_)) && first.field(2) != second.field(2), true)?;
    same("what comes without credit", peer.next(QUIET).await?, Seen::Nothing)?;
    let fields = vec![Uint(2), Uint(1000), Uint(0), Uint(10), Uint(ours), Null, Uint(0), Null, Bool(false), Bool(true)];
    peer.say(&described(wire::FLOW, fields)).await?;
    let told = peer.frame(wire::FLOW).await?;
    same("the sender's delivery count", told.field(5), &Uint(initial.wrapping_add(2)))?;
    let fields = vec![Uint(2), Uint(1000), Uint(0), Uint(10), Null, Null, Null, Null, Null, Bool(true)];
    peer.say(&described(wire::FLOW, fields)).await?;
    let told = peer.frame(wire::FLOW).await?;
    let of_links: Vec<_> = (4..8).filter(|&at| *told.field(at) != Null).collect();
    same("fields of links in a flow of the session", (of_links, told.field(8).is_true()), (Vec::new(), false))
}

async fn another_number() -> Result {
    let world = World::new().await?;
    let (mut peer, link) = world.sender().await?;
    peer.transfer_part(link, Null, true, b"\0").await?;
    peer.transfer_part(link, Null, false, b"\0").await?;
    let expected = "end amqp:invalid-field";
    same("the answer", peer.answer(expected).await?.as_str(), expected)?;
    world.stage.settles_as(Copies::GONE).await
}

/// It is said once, and holds for the delivery.
async fn settled_once() -> Result {
    let world = World::new().await?;
    let (mut peer, link) = world.sender().await?;
    let message = Message { payload: b"x", ..Message::default() }.to_bytes();
    for (number, (settled, answer)) in
        [(Bool(true), "nothing"), (Null, "accepted"), (Bool(false), "accepted")].into_iter().enumerate()
    {
        let tag = Binary(vec![number as u8]);
        let first = vec![Uint(link.ours), Uint(number as u32), tag, Uint(0), settled, Bool(true)];
        peer.write(&wire::frame(0, &described(wire::TRANSFER, first), &message[..5])).await?;
        let rest = vec![Uint(link.ours), Null, Null, Null, Null, Bool(false)];
        peer.write(&wire::frame(0, &described(wire::TRANSFER, rest), &message[5..])).await?;
        same("the answer", peer.answer(answer).await?.as_str(), answer)?;
    }
    world.stage.settles_as(Copies { available: 3, held: 0, dead: 0 }).await
}

async fn long_tag() -> Result {
    let world = World::new().await?;
    let (mut peer, link) = world.sender().await?;
    let message = Message { payload: b"x", ..Message::default() }.to_bytes();
    peer.transfer_as(link, &[7; 32], false, Null, false, &message).await?;
    same("the answer", peer.answer("accepted").await?.as_str(), "accepted")?;
    peer.transfer_as(link, &[7; 33], false, Null, false, &message).await?;
    let told = peer.answer("close").await?;
    same(&told, told.starts_with("close amqp:"), true)?;
    world.stage.settles_as(Copies::AVAILABLE).await
}

async fn priorities() -> Result {
    let world = World::new().await?;
    let (mut peer, link) = world.sender().await?;
    for priority in [3, 4, 9, 200] {
        let data = Described(0x75, Box::new(Binary(vec![priority])));
        let message = [described(0x70, vec![Null, Ubyte(priority)]), data].map(|section| section.to_bytes()).concat();
        let number = peer.send(link, false, &message).await?;
        same("the answer", peer.told_of(number).await?.0.as_str(), "accepted")?;
    }
    let link = peer.link(&Attach::receiver("receiver", QUEUE)).await?;
    peer.grant(link, 0, 4).await?;
    for (payload, priority) in [(9, 9), (200, 9), (4, 4), (3, 3)] {
        let received = peer.receive().await?;
        same("the order", received.payload(), &[payload])?;
        // 4 is what a header says that is not there.
        same("the priority", received.section(0x70).field(1).uint().unwrap_or(4), priority)?;
        peer.dispose(true, received.number, true, state("accepted")).await?;
    }
    Ok(())
}

async fn sasl(world: &World) -> Result<Peer> {
    let mut peer = Peer::dial(&world.served).await?;
    peer.write(SASL).await?;
    peer.header(SASL).await?;
    peer.frame(wire::SASL_MECHANISMS).await?;
    Ok(peer)
}

async fn empty_sasl_frame() -> Result {
    let world = World::new().await?;
    let mut peer = sasl(&world).await?;
    peer.write(&[0, 0, 0, 8, 2, 1, 0, 0]).await?;
    same("what comes", peer.next(PATIENCE).await?, Seen::Closed)
}

async fn unknown_mechanism() -> Result {
    let world = World::new().await?;
    let mut peer = sasl(&world).await?;
    peer.write(&wire::sasl(&described(wire::SASL_INIT, vec![symbol("ROT13"), Binary(b"zr".to_vec())]))).await?;
    let expected = "sasl-outcome 1, then close";
    same("the answer", peer.answer(expected).await?.as_str(), expected)
}
