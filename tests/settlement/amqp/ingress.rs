//! What the sender is told.

use std::sync::Arc;

use roadbed::settlement::{Decision as Cell, Ingress};
use roadbed::{Condition, DenyAll, Endpoint, Outcome, Overflow, Qos, QueueSettings, Reason};
use roadbed_amqp::{MachineConfig, SETTLEMENT, ServerConfig};
use roadbed_broker::Settings;

use super::Variant;
use super::peer::{Attach, Peer};
use super::server::Served;
use super::wire::Value::{Binary, Map, Null};
use super::wire::{self, Message, described, symbol};
use crate::Result;
use crate::deciding::{Deciding, Decision};
use crate::stage::{QUEUE, Stage};
use crate::tell::same;

/// What brings a decision about.
struct Scene {
    stage: Stage,
    endpoint: Arc<dyn Endpoint>,
    config: ServerConfig,
    /// Where the link leads; none: to the anonymous terminus.
    address: Option<&'static str>,
    /// The message's own address.
    to: Option<&'static str>,
    durable: bool,
    payload: &'static [u8],
    /// How many copies the queue has then.
    copies: u64,
    /// The broker itself decides.
    real: bool,
}

impl Scene {
    fn new(stage: Stage) -> Self {
        let (endpoint, config) = (stage.endpoint(), ServerConfig::permissive());
        let (address, to, payload): (_, _, &[u8]) = (Some(QUEUE), None, b"hello");
        Self { stage, endpoint, config, address, to, durable: false, payload, copies: 0, real: true }
    }

    /// Each message has an address of its own.
    fn anonymous(mut self, to: &'static str) -> Self {
        (self.address, self.to) = (None, Some(to));
        self
    }

    fn deciding(mut self, decision: Decision) -> Self {
        self.endpoint = Deciding::always(self.endpoint, decision);
        self.real = false;
        self
    }

    fn link(&self, variant: Variant) -> Attach<'static> {
        let (settled, second) = (variant.settled, variant.second);
        Attach { address: self.address, settled, second, ..Attach::sender("sender", "") }
    }
}

pub(super) async fn cell(cell: &Ingress) -> Result {
    let variant = Variant::named(cell.variant);
    match cell.decision {
        Cell::Unauthenticated => return unauthenticated(cell).await,
        Cell::Repeated => return repeated(cell, variant).await,
        Cell::Full => return full(cell, variant).await,
        _ => {}
    }
    play(cell, variant, cell.answer, scene(cell.decision, variant).await?).await?;
    if let Some(scene) = in_words(cell.decision).await? {
        play(cell, variant, cell.answer, scene).await?;
    }
    elsewhere(cell, variant).await
}

async fn play(cell: &Ingress, variant: Variant, answer: &str, scene: Scene) -> Result {
    // What cannot come up shows as if nothing were the matter.
    let expected = match answer {
        "n/a" => {
            SETTLEMENT.ingress_cell(Cell::Stored, cell.variant).map(|stored| stored.answer).ok_or("no such cell")?
        }
        answer => answer,
    };
    let served = Served::start(&scene.stage, scene.endpoint.clone(), scene.config.clone()).await?;
    let mut peer = Peer::connect(&served).await?;
    let attached = peer.attach(&scene.link(variant)).await?;
    if *attached.frame.field(6) == Null {
        same("the answer", peer.answer(expected).await?.as_str(), expected)?;
        return same("credit", peer.credit(attached.link, 0).await?, 0);
    }
    peer.credit(attached.link, 1).await?;
    let message = Message { durable: scene.durable, to: scene.to, payload: scene.payload, ..Message::default() };
    let number = peer.send(attached.link, variant.settled, &message.to_bytes()).await?;
    same("the answer", peer.answer(expected).await?.as_str(), expected)?;
    if let Some(settled) = peer.told_settled {
        same("settled by its receiver", settled, !variant.second)?;
        peer.dispose(false, number, true, Null).await?;
        same("the answer to that", peer.answer("nothing").await?.as_str(), "nothing")?;
    }
    same("the copies", scene.stage.copies().await.available, scene.copies)?;
    if let Some(count) = scene.stage.counted(cell.decision).filter(|_| scene.real && answer != "n/a") {
        same("how often it was counted", count, 1)?;
    }
    Ok(())
}

async fn scene(decision: Cell, variant: Variant) -> Result<Scene> {
    let queue = QueueSettings::default();
    Ok(match decision {
        Cell::Stored => Scene { copies: 1, ..Scene::new(Stage::with_queue(queue).await?) },
        Cell::NoRoute => {
            Scene { address: Some("nobody/listens"), ..Scene::new(Stage::new(Settings::default()).await?) }
        }
        Cell::NotFound => Scene { address: Some("queues/none"), ..Scene::new(closed_world().await?) },
        Cell::Unauthorized => Scene::new(Stage::with_queue(queue).await?).anonymous("$dead/q"),
        Cell::Unreadable => Scene::new(Stage::with_queue(queue).await?).anonymous("a/+/b"),
        Cell::InvalidAddress => Scene::new(Stage::with_queue(queue).await?).anonymous("queues/"),
        Cell::InvalidPayload => {
            let scene = Scene::new(Stage::with_queue(queue).await?);
            scene.deciding(Decision::rejected(Condition::InvalidPayload))
        }
        Cell::TooLarge => {
            let scene = Scene::new(Stage::with_queue(queue).await?);
            let machine = MachineConfig::default().message_bytes_max(64).sasl_required(false);
            Scene { payload: &[b'x'; 64], config: scene.config.clone().machine(machine), ..scene }
        }
        Cell::Oversized => {
            let mut settings = Settings::default();
            settings.message_bytes_max = 16;
            let stage = Stage::new(settings).await?;
            stage.declare(QUEUE, queue).await?;
            Scene { payload: &[b'x'; 17], ..Scene::new(stage) }
        }
        Cell::Unavailable => {
            let scene = Scene::new(Stage::with_queue(queue).await?);
            scene.deciding(Decision::released(Condition::Unavailable))
        }
        Cell::NotDurable => {
            let stage = Stage::with_queue(QueueSettings { durable: false, ..queue }).await?;
            Scene { durable: true, ..Scene::new(stage) }
        }
        Cell::ExactlyOnceUnsupported => {
            let scene = Scene::new(Stage::with_queue(queue).await?);
            let endpoint = Deciding::at_least_once(scene.endpoint.clone());
            Scene { endpoint, copies: u64::from(!variant.second), ..scene }
        }
        Cell::Unauthenticated | Cell::Repeated | Cell::Full => return Err("it has a trial of its own".into()),
    })
}

/// A broker that makes no queue by itself.
async fn closed_world() -> Result<Stage> {
    let mut settings = Settings::default();
    settings.queue_on_first_use = false;
    Stage::new(settings).await
}

/// The same decision by an endpoint that has words for it, and says it as a rejection.
async fn in_words(decision: Cell) -> Result<Option<Scene>> {
    let condition = match decision {
        Cell::NoRoute => Condition::NoRoute,
        Cell::Unauthorized => Condition::Unauthorized,
        Cell::InvalidAddress => Condition::InvalidAddress,
        Cell::Oversized => Condition::TooLarge,
        Cell::Unavailable => Condition::Unavailable,
        Cell::NotDurable => Condition::PreconditionFailed,
        _ => return Ok(None),
    };
    let outcome = Outcome::Rejected(Reason::new(condition, "in other words"));
    let scene = Scene::new(Stage::with_queue(QueueSettings::default()).await?);
    Ok(Some(scene.deciding(Decision { outcome, why: None })))
}

/// The same decision where the other of link and message says the address.
async fn elsewhere(cell: &Ingress, variant: Variant) -> Result {
    let (scene, condition) = match cell.decision {
        Cell::NotFound => {
            let answer = if variant.settled { "nothing" } else { "rejected amqp:not-found" };
            (Scene::new(closed_world().await?).anonymous("queues/none"), answer)
        }
        Cell::Unauthorized => (at("$dead/q").await?, "detach amqp:unauthorized-access"),
        Cell::Unreadable => (at("a/+/b").await?, "detach amqp:invalid-field"),
        Cell::InvalidAddress => (at("queues/").await?, "detach amqp:invalid-field"),
        _ => return Ok(()),
    };
    play(cell, variant, condition, Scene { real: false, ..scene }).await
}

async fn at(address: &'static str) -> Result<Scene> {
    Ok(Scene { address: Some(address), ..Scene::new(Stage::with_queue(QueueSettings::default()).await?) })
}

async fn unauthenticated(cell: &Ingress) -> Result {
    let stage = Stage::with_queue(QueueSettings::default()).await?;
    let served = Served::start(&stage, stage.endpoint(), ServerConfig::new(Arc::new(DenyAll))).await?;
    let mut peer = Peer::dial(&served).await?;
    peer.write(b"AMQP\x03\x01\0\0").await?;
    peer.header(b"AMQP\x03\x01\0\0").await?;
    peer.frame(wire::SASL_MECHANISMS).await?;
    let init = vec![symbol("PLAIN"), Binary(b"\0me\0secret".to_vec())];
    peer.write(&wire::sasl(&described(wire::SASL_INIT, init))).await?;
    same("the answer", peer.answer(cell.answer).await?.as_str(), cell.answer)
}

/// A sender that has not heard the answer attaches its link again with the tag in its unsettled map, and sends again.
async fn repeated(cell: &Ingress, variant: Variant) -> Result {
    let scene = Scene::new(Stage::with_queue(QueueSettings::default()).await?);
    let served = Served::permissive(&scene.stage).await?;
    let mut peer = Peer::connect(&served).await?;
    let message = Message { payload: b"hello", ..Message::default() }.to_bytes();
    let stored = if variant.settled { "nothing" } else { "accepted" };
    let expected = if cell.answer == "n/a" { stored } else { cell.answer };
    for unsettled in [None, Some(Map(vec![(Binary(b"tag".to_vec()), Null)]))] {
        let link = peer.link(&Attach { unsettled, ..scene.link(variant) }).await?;
        peer.credit(link, 1).await?;
        peer.transfer_as(link, b"tag", variant.settled, Null, false, &message).await?;
        same("the answer", peer.answer(expected).await?.as_str(), expected)?;
        peer.detach(link, false).await?;
        peer.frame(wire::DETACH).await?;
    }
    same("the copies", scene.stage.copies().await.available, if variant.second { 1 } else { 2 })
}

/// Room for one message, and three links: one fills it, one has credit from before, and one comes too late for any.
async fn full(cell: &Ingress, variant: Variant) -> Result {
    let (credit, told) = cell.answer.split_once(", then ").ok_or("two steps are expected")?;
    let settings = QueueSettings { messages_max: 1, overflow: Overflow::PushBack, ..QueueSettings::default() };
    let scene = Scene::new(Stage::with_queue(settings.clone()).await?);
    let served = Served::permissive(&scene.stage).await?;
    let mut peer = Peer::connect(&served).await?;
    let message = Message { payload: b"hello", ..Message::default() }.to_bytes();
    let first = peer.link(&Attach { name: "first", ..scene.link(variant) }).await?;
    let second = peer.link(&Attach { name: "second", ..scene.link(variant) }).await?;
    peer.credit(first, 1).await?;
    peer.credit(second, 1).await?;
    let stored = if variant.settled { "nothing" } else { "accepted" };
    peer.send(first, variant.settled, &message).await?;
    same("the answer to the first", peer.answer(stored).await?.as_str(), stored)?;
    peer.send(second, variant.settled, &message).await?;
    same("the answer to the second", peer.answer(told).await?.as_str(), told)?;
    let third = peer.link(&Attach { name: "third", ..scene.link(variant) }).await?;
    same("the credit of the third", format!("link-credit {}", peer.credit(third, 0).await?).as_str(), credit)?;
    same("the copies", scene.stage.copies().await.available, 1)?;
    same("how often it was counted", scene.stage.counted(Cell::Full), Some(1))?;
    scene.stage.purge().await?;
    same("credit, once there is room", peer.credit(third, 1).await? > 0, true)?;

    let refusing = Scene::new(Stage::with_queue(QueueSettings { overflow: Overflow::Refuse, ..settings }).await?);
    refusing.stage.send(QUEUE, "first", Qos::AtLeastOnce).await?;
    let full = Condition::Full;
    play(cell, variant, told, Scene { copies: 1, ..refusing }).await?;
    let outcome = Outcome::Rejected(Reason::new(full, "in other words"));
    let deciding = Scene::new(Stage::with_queue(QueueSettings::default()).await?);
    play(cell, variant, told, deciding.deciding(Decision { outcome, why: None })).await
}
