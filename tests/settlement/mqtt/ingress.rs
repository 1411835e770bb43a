//! What the sender is told.

use std::sync::Arc;

use roadbed::settlement::{Decision as Cell, Ingress};
use roadbed::{Condition, DenyAll, Endpoint, Outcome, Overflow, Qos, QueueSettings, Reason};
use roadbed_broker::Settings;
use roadbed_mqtt::codec::{Limits, QoS};
use roadbed_mqtt::{MachineConfig, SETTLEMENT, ServerConfig};

use super::Variant;
use super::peer::Peer;
use super::server::Served;
use super::wire::{Connect, Publish};
use crate::Result;
use crate::deciding::{Deciding, Decision};
use crate::stage::{QUEUE, Stage};
use crate::tell::same;

/// Seconds; half of it is the patience with a withheld answer.
const KEEP_ALIVE: u16 = 4;

/// What brings a decision about.
struct Scene {
    stage: Stage,
    endpoint: Arc<dyn Endpoint>,
    config: ServerConfig,
    topic: &'static str,
    payload: &'static [u8],
    properties: &'static [u8],
    /// How often it is sent.
    times: u16,
    /// How many copies the queue has then.
    copies: u64,
    /// The broker itself decides.
    real: bool,
}

impl Scene {
    fn new(stage: Stage) -> Self {
        let (endpoint, config) = (stage.endpoint(), ServerConfig::permissive());
        Self {
            stage,
            endpoint,
            config,
            topic: QUEUE,
            payload: b"hello",
            properties: &[],
            times: 1,
            copies: 0,
            real: true,
        }
    }

    fn machine(mut self, machine: MachineConfig) -> Self {
        self.config = self.config.machine(machine);
        self
    }

    fn deciding(mut self, decision: Decision) -> Self {
        self.endpoint = Deciding::always(self.endpoint, decision);
        self.real = false;
        self
    }
}

pub(super) async fn cell(cell: &Ingress) -> Result {
    let variant = Variant::named(cell.variant);
    play(cell, variant, scene(cell.decision, variant, cell.answer == "n/a").await?).await?;
    match in_words(cell.decision).await? {
        Some(scene) => play(cell, variant, scene).await,
        None => Ok(()),
    }
}

async fn play(cell: &Ingress, variant: Variant, scene: Scene) -> Result {
    // What cannot come up shows as if nothing were the matter.
    let expected = match cell.answer {
        "n/a" => {
            SETTLEMENT.ingress_cell(Cell::Stored, cell.variant).map(|stored| stored.answer).ok_or("no such cell")?
        }
        answer => answer,
    };
    let served = Served::start(&scene.stage, scene.endpoint.clone(), scene.config.clone()).await?;
    let connect = Connect { keep_alive: KEEP_ALIVE, ..Connect::new(variant.v5, "sender") };
    if cell.decision == Cell::Unauthenticated {
        let mut peer = Peer::ask(&served, &connect).await?;
        let told = peer.connack.told(variant.v5);
        peer.closed().await?;
        return same("the answer", format!("{told}, then close").as_str(), expected);
    }
    let mut peer = Peer::connect(&served, &connect).await?;
    for time in 0..scene.times {
        let publish = Publish {
            v5: variant.v5,
            qos: variant.qos.level(),
            dup: time > 0 && variant.qos > Qos::AtMostOnce,
            retain: false,
            id: 7,
            topic: scene.topic,
            payload: scene.payload,
            properties: if variant.v5 { scene.properties } else { &[] },
        };
        peer.write(&publish.to_bytes()).await?;
        same("the answer", peer.answer(expected).await?.as_str(), expected)?;
    }
    if cell.decision == Cell::ExactlyOnceUnsupported && variant.v5 {
        // Table 3-? of section 3.2.2.3.4: property 0x24 with the value 1.
        let told = peer.connack.body.windows(2).any(|pair| pair == [0x24, 1]);
        same("CONNACK names the Maximum QoS", told, true)?;
    }
    same("the copies", scene.stage.copies().await.available, scene.copies)?;
    if let Some(count) = scene.stage.counted(cell.decision).filter(|_| scene.real && cell.answer != "n/a") {
        same("how often it was counted", count, 1)?;
    }
    Ok(())
}

async fn scene(decision: Cell, variant: Variant, impossible: bool) -> Result<Scene> {
    let queue = QueueSettings::default();
    Ok(match decision {
        Cell::Stored | Cell::Unauthenticated => {
            let scene = Scene::new(Stage::with_queue(queue).await?);
            match decision {
                Cell::Stored => Scene { copies: 1, ..scene },
                _ => Scene { config: ServerConfig::new(Arc::new(DenyAll)), ..scene },
            }
        }
        Cell::Repeated => {
            let copies = if impossible { 2 } else { 1 };
            Scene { times: 2, copies, ..Scene::new(Stage::with_queue(queue).await?) }
        }
        Cell::NoRoute => Scene { topic: "nobody/listens", ..Scene::new(Stage::new(Settings::default()).await?) },
        Cell::NotFound => {
            let mut settings = Settings::default();
            settings.queue_on_first_use = false;
            Scene { topic: "queues/none", ..Scene::new(Stage::new(settings).await?) }
        }
        Cell::Unauthorized => Scene { topic: "$dead/q", ..Scene::new(Stage::with_queue(queue).await?) },
        Cell::Unreadable => Scene { topic: "a/+/b", ..Scene::new(Stage::with_queue(queue).await?) },
        Cell::InvalidAddress => Scene { topic: "queues/", ..Scene::new(Stage::with_queue(queue).await?) },
        Cell::InvalidPayload if impossible => {
            Scene { payload: b"\xFF\xFE", copies: 1, ..Scene::new(Stage::with_queue(queue).await?) }
        }
        Cell::InvalidPayload => {
            // Payload Format Indicator 1: it is UTF-8, and it is not.
            let scene = Scene::new(Stage::with_queue(queue).await?);
            let scene = scene.deciding(Decision::rejected(Condition::InvalidPayload));
            Scene { payload: b"\xFF\xFE", properties: &[1, 1], ..scene }
        }
        Cell::TooLarge => {
            let machine = MachineConfig::default().limits(Limits::default().packet_bytes_max(64));
            Scene { payload: &[b'x'; 64], ..Scene::new(Stage::with_queue(queue).await?) }.machine(machine)
        }
        Cell::Oversized => {
            let mut settings = Settings::default();
            settings.message_bytes_max = 16;
            let stage = Stage::new(settings).await?;
            stage.declare(QUEUE, queue).await?;
            Scene { payload: &[b'x'; 17], ..Scene::new(stage) }
        }
        Cell::Full => {
            let stage =
                Stage::with_queue(QueueSettings { messages_max: 1, overflow: Overflow::Refuse, ..queue }).await?;
            stage.send(QUEUE, "first", Qos::AtLeastOnce).await?;
            Scene { copies: 1, ..Scene::new(stage) }
        }
        Cell::Unavailable => {
            let scene = Scene::new(Stage::with_queue(queue).await?);
            scene.deciding(Decision::released(Condition::Unavailable))
        }
        Cell::NotDurable => {
            Scene { copies: 1, ..Scene::new(Stage::with_queue(QueueSettings { durable: false, ..queue }).await?) }
        }
        Cell::ExactlyOnceUnsupported => {
            let scene = Scene::new(Stage::with_queue(queue).await?);
            let endpoint = Deciding::at_least_once(scene.endpoint.clone());
            let machine = MachineConfig::default().qos_max(QoS::ExactlyOnce);
            Scene { endpoint, copies: u64::from(variant.qos < Qos::ExactlyOnce), ..scene.machine(machine) }
        }
    })
}

/// The same decision by an endpoint that has words for it, and says it as a rejection.
async fn in_words(decision: Cell) -> Result<Option<Scene>> {
    let condition = match decision {
        Cell::NotFound => Condition::NotFound,
        Cell::Unauthorized => Condition::Unauthorized,
        Cell::InvalidAddress => Condition::InvalidAddress,
        Cell::Oversized => Condition::TooLarge,
        Cell::Full => Condition::Full,
        Cell::Unavailable => Condition::Unavailable,
        _ => return Ok(None),
    };
    let outcome = Outcome::Rejected(Reason::new(condition, "in other words"));
    let scene = Scene::new(Stage::with_queue(QueueSettings::default()).await?);
    Ok(Some(scene.deciding(Decision { outcome, why: None })))
}
