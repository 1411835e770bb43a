//! What the sender is told.

use std::sync::Arc;

use roadbed::settlement::{Decision as Cell, Ingress};
use roadbed::{Authenticator, Condition, DenyAll, Endpoint, Outcome, Permissive, Qos, QueueSettings, Reason};
use roadbed_broker::Settings;
use roadbed_http::{HttpConfig, SETTLEMENT};

use super::peer::{ME, Peer, Served};
use crate::Result;
use crate::deciding::{Deciding, Decision};
use crate::stage::{QUEUE, Stage};
use crate::tell::same;

/// What brings a decision about.
struct Scene {
    stage: Stage,
    endpoint: Arc<dyn Endpoint>,
    config: HttpConfig,
    authenticator: Arc<dyn Authenticator>,
    path: &'static str,
    headers: &'static str,
    body: &'static [u8],
    /// How often it is sent.
    times: u16,
    /// How many copies the queue has then.
    copies: u64,
    /// The broker itself decides.
    real: bool,
}

impl Scene {
    fn new(stage: Stage) -> Self {
        let (endpoint, config, authenticator) = (stage.endpoint(), HttpConfig::default(), Arc::new(Permissive));
        let (path, headers, body) = ("queues/q", "", b"hello");
        Self { stage, endpoint, config, authenticator, path, headers, body, times: 1, copies: 0, real: true }
    }

    fn deciding(mut self, decision: Decision) -> Self {
        self.endpoint = Deciding::always(self.endpoint, decision);
        self.real = false;
        self
    }
}

pub(super) async fn cell(cell: &Ingress) -> Result {
    let qos = super::qos(cell.variant);
    play(cell, qos, scene(cell.decision, qos, cell.answer == "n/a").await?).await?;
    match in_words(cell.decision).await? {
        Some(scene) => play(cell, qos, scene).await,
        None => Ok(()),
    }
}

async fn play(cell: &Ingress, qos: Qos, scene: Scene) -> Result {
    // What cannot come up shows as if nothing were the matter.
    let expected = match cell.answer {
        "n/a" => {
            SETTLEMENT.ingress_cell(Cell::Stored, cell.variant).map(|stored| stored.answer).ok_or("no such cell")?
        }
        answer => answer,
    };
    let Scene { stage, endpoint, config, authenticator, path, .. } = scene;
    let served = Served::start(&stage, endpoint, config, authenticator).await?;
    let assurance = match qos {
        Qos::AtMostOnce => "roadbed-qos: 0\r\n",
        Qos::AtLeastOnce => "",
        Qos::ExactlyOnce => "idempotency-key: k1\r\n",
    };
    let headers = format!("{ME}{assurance}{}", scene.headers);
    for _ in 0..scene.times {
        let mut peer = Peer::connect(&served).await?;
        peer.ask("POST", &format!("/v1/messages/{path}"), &headers, scene.body).await?;
        let response = peer.response().await?;
        same("the answer", response.told().as_str(), expected)?;
        if cell.decision == Cell::Unauthenticated {
            same("a challenge", response.header("www-authenticate").is_some(), true)?;
        }
        if response.told().as_bytes()[0] >= b'4' {
            same("the document", response.header("content-type"), Some("application/problem+json"))?;
        }
    }
    same("the copies", stage.copies().await.available, scene.copies)?;
    // What is too long is not read to its end, so that the broker never hears of it.
    let counted = stage.counted(cell.decision).filter(|_| scene.real && cell.decision != Cell::Oversized);
    if let Some(count) = counted {
        same("how often it was counted", count, 1)?;
    }
    Ok(())
}

async fn scene(decision: Cell, qos: Qos, impossible: bool) -> Result<Scene> {
    let queue = QueueSettings::default();
    Ok(match decision {
        Cell::Stored => Scene { copies: 1, ..Scene::new(Stage::with_queue(queue).await?) },
        Cell::Unauthenticated => {
            Scene { authenticator: Arc::new(DenyAll), ..Scene::new(Stage::with_queue(queue).await?) }
        }
        Cell::Repeated => {
            let copies = if impossible { 2 } else { 1 };
            Scene { times: 2, copies, ..Scene::new(Stage::with_queue(queue).await?) }
        }
        Cell::NoRoute => Scene { path: "nobody/listens", ..Scene::new(Stage::new(Settings::default()).await?) },
        Cell::NotFound => {
            let mut settings = Settings::default();
            settings.queue_on_first_use = false;
            Scene { path: "queues/none", ..Scene::new(Stage::new(settings).await?) }
        }
        Cell::Unauthorized => Scene { path: "%24dead/q", ..Scene::new(Stage::with_queue(queue).await?) },
        Cell::Unreadable => Scene { path: "a/%2B/b", ..Scene::new(Stage::with_queue(queue).await?) },
        Cell::InvalidAddress => Scene { path: "queues/", ..Scene::new(Stage::with_queue(queue).await?) },
        Cell::InvalidPayload => {
            let scene = Scene::new(Stage::with_queue(queue).await?);
            let scene = scene.deciding(Decision::rejected(Condition::InvalidPayload));
            Scene { headers: "roadbed-utf8: true\r\n", body: b"\xFF\xFE", ..scene }
        }
        Cell::TooLarge => {
            let config = HttpConfig::default().body_bytes_max(16);
            Scene { config, body: &[b'x'; 17], ..Scene::new(Stage::with_queue(queue).await?) }
        }
        Cell::Oversized => {
            let mut settings = Settings::default();
            settings.message_bytes_max = 16;
            let stage = Stage::new(settings).await?;
            stage.declare(QUEUE, queue).await?;
            Scene { body: &[b'x'; 17], ..Scene::new(stage) }
        }
        Cell::Full => {
            let stage = Stage::with_queue(QueueSettings { messages_max: 1, ..queue }).await?;
            stage.send(QUEUE, "first", Qos::AtLeastOnce).await?;
            Scene { copies: 1, ..Scene::new(stage) }
        }
        Cell::Unavailable => {
            let scene = Scene::new(Stage::with_queue(queue).await?);
            scene.deciding(Decision::released(Condition::Unavailable))
        }
        Cell::NotDurable => {
            let stage = Stage::with_queue(QueueSettings { durable: false, ..queue }).await?;
            Scene { headers: "roadbed-durability: stored\r\n", ..Scene::new(stage) }
        }
        Cell::ExactlyOnceUnsupported => {
            let scene = Scene::new(Stage::with_queue(queue).await?);
            let endpoint = Deciding::at_least_once(scene.endpoint.clone());
            Scene { endpoint, copies: u64::from(qos < Qos::ExactlyOnce), ..scene }
        }
    })
}

/// The same decision by an endpoint that has words for it, and says it as a rejection.
async fn in_words(decision: Cell) -> Result<Option<Scene>> {
    let condition = match decision {
        Cell::NoRoute => Condition::NoRoute,
        Cell::NotFound => Condition::NotFound,
        Cell::Unauthorized => Condition::Unauthorized,
        Cell::InvalidAddress => Condition::InvalidAddress,
        Cell::Full => Condition::Full,
        Cell::Unavailable => Condition::Unavailable,
        Cell::NotDurable => Condition::PreconditionFailed,
        _ => return Ok(None),
    };
    let outcome = Outcome::Rejected(Reason::new(condition, "in other words"));
    let scene = Scene::new(Stage::with_queue(QueueSettings::default()).await?);
    Ok(Some(scene.deciding(Decision { outcome, why: None })))
}
