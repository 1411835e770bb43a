//! One transaction over AMQP, HTTP and MQTT: section 7 of the contract, on real sockets.
//!
//! Whoever declares it, the other two take part: all send into one queue, and each settles a delivery of its own.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use libtest_mimic::Trial;
use roadbed::{Authenticator, Credential, Identity, Qos, QueueSettings, Transacted, TxnId};
use roadbed_broker::{Broker, Settings};
use roadbed_http::HttpConfig;

use crate::Result;
use crate::amqp::control::Control;
use crate::amqp::peer::{Attach, Link, Received, state, transactional};
use crate::amqp::wire::Value::{Binary, Described};
use crate::stage::{QUEUE, Stage};
use crate::tell::{Context as _, same};
use crate::{amqp, http, mqtt};

/// Who declares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Controller {
    Amqp,
    Http,
}

/// How it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Commit,
    Rollback,
    /// The controller's connection is lost, which means nothing over HTTP.
    Lost,
    /// Its time is over.
    Late,
}

pub(crate) fn trials() -> Vec<Trial> {
    use {Controller as C, End as E};
    let ends = [
        (C::Amqp, E::Commit, "amqp/commit"),
        (C::Amqp, E::Rollback, "amqp/rollback"),
        (C::Amqp, E::Lost, "amqp/connection-lost"),
        (C::Amqp, E::Late, "amqp/time-out"),
        (C::Http, E::Commit, "http/commit"),
        (C::Http, E::Rollback, "http/rollback"),
        (C::Http, E::Late, "http/time-out"),
    ];
    let ends = ends.map(|(by, end, name)| crate::trial(format!("transaction/{name}"), move || Scene::play(by, end)));
    let more = [
        crate::trial("transaction/mqtt/window".into(), beyond_the_window),
        crate::trial("transaction/mqtt/strangers".into(), strangers_are_not_enlisted),
    ];
    ends.into_iter().chain(more).collect()
}

/// Lets everybody in under one name.
struct Plant;

#[async_trait]
impl Authenticator for Plant {
    async fn authenticate(
        &self,
        _: &roadbed::Peer,
        _name: &str,
        _credential: &Credential,
    ) -> roadbed::Result<Identity> {
        Ok(Identity::new("plant"))
    }
}

/// Three servers on one broker; that of MQTT through the layer.
struct Servers {
    stage: Stage,
    amqp: amqp::server::Served,
    http: http::peer::Served,
    mqtt: mqtt::server::Served,
    transacted: Arc<Transacted<Broker>>,
}

impl Servers {
    async fn start(window: usize) -> Result<Self> {
        let stage = Stage::new(Settings::default()).await?;
        for queue in [QUEUE, "queues/amqp", "queues/http"] {
            stage.declare(queue, QueueSettings::default()).await?;
        }
        let transacted = Arc::new(Transacted::new(stage.broker.clone(), window));
        let machine = roadbed_amqp::MachineConfig::default().sasl_required(false);
        let config = roadbed_amqp::ServerConfig::new(Arc::new(Plant)).machine(machine);
        let amqp = amqp::server::Served::start(&stage, stage.endpoint(), config).await?;
        let http = http::peer::Served::start(&stage, stage.endpoint(), HttpConfig::default(), Arc::new(Plant)).await?;
        let config = roadbed_mqtt::ServerConfig::new(Arc::new(Plant));
        let mqtt = mqtt::server::Served::start(&stage, transacted.clone(), config).await?;
        Ok(Self { stage, amqp, http, mqtt, transacted })
    }

    async fn device(&self, v5: bool, name: &str) -> Result<mqtt::peer::Peer> {
        mqtt::peer::Peer::connect(&self.mqtt, &mqtt::wire::Connect::new(v5, name)).await
    }
}

/// Everybody, with something to settle.
struct Scene {
    servers: Servers,
    amqp: amqp::peer::Peer,
    sender: Link,
    received: Received,
    http: http::peer::Peer,
    lock: String,
    five: mqtt::peer::Peer,
    three: mqtt::peer::Peer,
    command: u16,
}

impl Scene {
    async fn play(by: Controller, end: End) -> Result {
        let mut scene = Self::set().await?;
        let control = match by {
            Controller::Amqp => Some(Control::declare(&mut scene.amqp).await?),
            Controller::Http => None,
        };
        let id = match &control {
            Some(control) => control.txn.iter().map(|byte| format!("{byte:02x}")).collect(),
            None => scene.declare().await?,
        };
        scene.take_part(&id).await?;
        same("what can be seen before the end", scene.servers.stage.copies().await.available, 0)?;
        if let (Some(control), End::Lost) = (&control, end) {
            let _ = control;
            let Self { servers, amqp, http, lock, five, three, .. } = scene;
            drop(amqp);
            return Rest { servers, http, lock, five, three }.ends_as_it_began(true).await;
        }
        if end == End::Late {
            scene.servers.stage.advance(Duration::from_secs(61));
        }
        let told = match (&control, end) {
            (Some(control), end) => control.discharge(&mut scene.amqp, end == End::Rollback).await?,
            (None, End::Rollback) => scene.end(&id, "rollback").await?,
            (None, _) => scene.end(&id, "commit").await?,
        };
        let expected = match (by, end) {
            (Controller::Amqp, End::Late) => "rejected amqp:transaction:timeout",
            (Controller::Amqp, _) => "accepted",
            (Controller::Http, End::Late) => "409",
            (Controller::Http, _) => "204",
        };
        same("the answer to its end", told.as_str(), expected)?;
        match end {
            End::Commit => scene.has_happened().await,
            _ => scene.has_not_happened().await,
        }
    }

    /// Everybody is connected, and has a delivery.
    async fn set() -> Result<Self> {
        let servers = Servers::start(16).await?;
        let mut amqp = amqp::peer::Peer::connect(&servers.amqp).await?;
        let sender = amqp.link(&Attach::sender("s", QUEUE)).await?;
        amqp.credit(sender, 1).await?;
        let receiver = amqp.link(&Attach::receiver("r", "queues/amqp")).await?;
        amqp.grant(receiver, 0, 10).await?;
        servers.stage.send("queues/amqp", "order", Qos::AtLeastOnce).await?;
        let received = amqp.receive().await?;
        let mut http = http::peer::Peer::connect(&servers.http).await?;
        servers.stage.send("queues/http", "order", Qos::AtLeastOnce).await?;
        let polled = http.call("GET", "/v1/messages/queues/http?lock=300", "").await?;
        let lock = polled.header("etag").ok_or("no lock")?.trim_matches('"').to_owned();
        let (mut five, three) = (servers.device(true, "five").await?, servers.device(false, "three").await?);
        // What a layer of transactions grants is at least once.
        same("granted", five.subscribe("command", 2).await?, 1)?;
        servers.stage.send("command", "go", Qos::ExactlyOnce).await?;
        let command = five.packet(3).await?.id();
        Ok(Self { servers, amqp, sender, received, http, lock, five, three, command })
    }

    async fn declare(&mut self) -> Result<String> {
        let declared = self.http.call("POST", "/v1/transactions", "").await?;
        same("declared", declared.told().as_str(), "201")?;
        let location = declared.header("location").ok_or("no location")?;
        Ok(location.rsplit('/').next().unwrap_or_default().to_owned())
    }

    async fn end(&mut self, id: &str, verb: &str) -> Result<String> {
        Ok(self.http.call("POST", &format!("/v1/transactions/{id}/{verb}"), "").await?.told())
    }

    /// Everybody sends into the one queue, and settles what it has.
    async fn take_part(&mut self, id: &str) -> Result {
        let txn = u64::from_str_radix(id, 16).map_err(|_| format!("{id} is no transaction"))?;
        for device in ["five", "three"] {
            self.servers.transacted.enlist("plant", device, TxnId(txn)).during("enlist")?;
        }
        let bytes = txn.to_be_bytes();
        let message = Described(0x75, Box::new(Binary(b"amqp".to_vec()))).to_bytes();
        let named = transactional(&bytes, amqp::wire::Value::Null);
        let posted = self.amqp.transfer(self.sender, false, named, &message).await?;
        let told = self.amqp.told_of(posted).await?;
        same("a post over AMQP", (told.0.as_str(), told.1), ("transactional accepted", true))?;
        self.amqp.dispose(true, self.received.number, false, transactional(&bytes, state("accepted"))).await?;
        self.amqp.echo_before().await?;
        let header = format!("{}roadbed-transaction: {id}\r\n", http::peer::ME);
        let lock = format!("/v1/locks/{}", self.lock);
        for (method, path, body) in [("POST", "/v1/messages/queues/q", "http"), ("DELETE", &*lock, "")] {
            self.http.ask(method, path, &header, body.as_bytes()).await?;
            let answer = self.http.response().await?;
            same(path, answer.told().as_str(), "202")?;
            same("the transaction", answer.header("roadbed-transaction"), Some(id))?;
        }
        for device in [&mut self.five, &mut self.three] {
            let publish = mqtt::wire::Publish {
                v5: device.v5,
                qos: 1,
                id: 7,
                topic: QUEUE,
                payload: b"mqtt",
                ..Default::default()
            };
            device.write(&publish.to_bytes()).await?;
        }
        self.five.write(&mqtt::wire::ack(mqtt::wire::PUBACK, self.command, None)).await?;
        for device in [&mut self.five, &mut self.three] {
            same("the answer to PUBLISH is withheld", device.answer("nothing").await?.as_str(), "nothing")?;
        }
        Ok(())
    }

    async fn has_happened(mut self) -> Result {
        same("PUBACK", self.five.answer("PUBACK 0x00").await?.as_str(), "PUBACK 0x00")?;
        same("PUBACK", self.three.answer("PUBACK").await?.as_str(), "PUBACK")?;
        let settled = self.amqp.told_settled_of(self.received.number).await?;
        same("the delivery over AMQP", settled.as_str(), "accepted")?;
        let again = self.http.call("DELETE", &format!("/v1/locks/{}", self.lock), "").await?;
        same("the lock", (again.told().as_str(), again.header("roadbed-repeated")), ("204", Some("true")))?;
        let stage = &self.servers.stage;
        same("in the queue", stage.copies().await.available, 4)?;
        for queue in ["queues/amqp", "queues/http"] {
            same(queue, left(stage, queue).await?, (0, 0))?;
        }
        Ok(())
    }

    async fn has_not_happened(mut self) -> Result {
        // What was not settled is still its receiver's.
        same("held over AMQP", left(&self.servers.stage, "queues/amqp").await?, (0, 1))?;
        self.amqp.dispose(true, self.received.number, true, state("accepted")).await?;
        self.amqp.echo_before().await?;
        same("and can be settled", left(&self.servers.stage, "queues/amqp").await?, (0, 0))?;
        let Self { servers, http, lock, five, three, .. } = self;
        Rest { servers, http, lock, five, three }.ends_as_it_began(false).await
    }
}

/// Those who are not the controller.
struct Rest {
    servers: Servers,
    http: http::peer::Peer,
    lock: String,
    five: mqtt::peer::Peer,
    three: mqtt::peer::Peer,
}

impl Rest {
    async fn ends_as_it_began(mut self, amqp_is_gone: bool) -> Result {
        // The refusal, and the command once more.
        let mut told: Vec<_> = self.five.answer("one, then two").await?.split(", then ").map(str::to_owned).collect();
        told.sort();
        same("MQTT 5", told, vec!["PUBACK 0x83".to_owned(), "PUBLISH".to_owned()])?;
        same("MQTT 3.1.1", self.three.answer("close").await?.as_str(), "close")?;
        let stage = &self.servers.stage;
        if amqp_is_gone {
            same("given back by the lost connection", left(stage, "queues/amqp").await?, (1, 0))?;
        }
        same("the lock stands", left(stage, "queues/http").await?, (0, 1))?;
        let done = self.http.call("DELETE", &format!("/v1/locks/{}", self.lock), "").await?;
        same("and can be settled", (done.told().as_str(), done.header("roadbed-repeated")), ("204", None))?;
        same("nothing was sent", stage.copies().await.available, 0)
    }
}

/// What is available and held in a queue.
async fn left(stage: &Stage, queue: &str) -> Result<(u64, u64)> {
    let node = stage.describe(queue).await.ok_or("no such queue")?;
    Ok((node.available, node.held))
}

/// What a session may have unanswered is bounded: more is refused, and the rest goes on.
async fn beyond_the_window() -> Result {
    let servers = Servers::start(2).await?;
    let (mut http, mut device) = (http::peer::Peer::connect(&servers.http).await?, servers.device(true, "five").await?);
    let declared = http.call("POST", "/v1/transactions", "").await?;
    let id = declared.header("location").and_then(|path| path.rsplit('/').next()).ok_or("no location")?.to_owned();
    let txn = TxnId(u64::from_str_radix(&id, 16).map_err(|error| error.to_string())?);
    servers.transacted.enlist("plant", "five", txn).during("enlist")?;
    for id in [1, 2, 3] {
        let publish = mqtt::wire::Publish { v5: true, qos: 2, id, topic: QUEUE, payload: b"x", ..Default::default() };
        device.write(&publish.to_bytes()).await?;
    }
    same("the third", device.answer("PUBREC 0x97").await?.as_str(), "PUBREC 0x97")?;
    let ended = http.call("POST", &format!("/v1/transactions/{id}/commit"), "").await?;
    same("the commit", ended.told().as_str(), "204")?;
    same("the others", device.answer("one, then two").await?.as_str(), "PUBREC 0x00, then PUBREC 0x00")?;
    same("in the queue", servers.stage.copies().await.available, 2)?;
    // After it, everything is as ever.
    let publish = mqtt::wire::Publish { v5: true, qos: 1, id: 9, topic: QUEUE, payload: b"x", ..Default::default() };
    device.write(&publish.to_bytes()).await?;
    same("outside of a transaction", device.answer("PUBACK 0x00").await?.as_str(), "PUBACK 0x00")
}

/// A session cannot be put into a transaction that its principal may not use, nor into two, nor if it is not there.
async fn strangers_are_not_enlisted() -> Result {
    use roadbed::{Endpoint, ErrorKind, Open};
    let servers = Servers::start(2).await?;
    let mut device = servers.device(true, "five").await?;
    let stranger = servers.stage.broker.open(Open::default()).await.during("open")?;
    let foreign = stranger.transaction().await.during("declare")?;
    let enlist = |name: &str, txn| servers.transacted.enlist("plant", name, txn).map_err(|error| error.kind());
    same("a stranger's", enlist("five", foreign.id()), Err(ErrorKind::NotFound))?;
    same("nobody", enlist("six", foreign.id()), Err(ErrorKind::NotFound))?;
    let origin = Arc::new(roadbed::Origin { principal: "plant".into(), protocol: "memory" });
    let own = servers.stage.broker.open(Open { origin, ..Open::default() }).await.during("open")?;
    let (one, two) = (own.transaction().await.during("declare")?, own.transaction().await.during("declare")?);
    same("its own", enlist("five", one.id()), Ok(()))?;
    same("two at once", enlist("five", two.id()), Err(ErrorKind::Conflict))?;
    one.commit().await.during("commit")?;
    same("one after the other", enlist("five", two.id()), Ok(()))?;
    // The session goes, and its part with it.
    device.cut().await;
    same("gone", enlist("five", two.id()), Err(ErrorKind::NotFound))
}
