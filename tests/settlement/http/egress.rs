//! What the receiver's signal does to the copy.

use std::time::Duration;

use roadbed::settlement::{Copied, Effect, Egress};
use roadbed::{Qos, QueueSettings};

use super::peer::{ANOTHER, ME, Peer, Response, Served};
use crate::Result;
use crate::stage::{Copies, QUEUE, Stage};
use crate::tell::same;

const POLL: &str = "/v1/messages/queues/q";
/// Longer than a lock lasts by default.
const BEYOND: Duration = Duration::from_secs(61);

/// A receiver with the lock of a message.
struct Hop {
    stage: Stage,
    served: Served,
    peer: Peer,
    token: String,
    until_ms: u64,
}

pub(super) async fn cell(cell: &Egress, qos: Qos) -> Result {
    match cell.signal {
        "GET of a message without a lock" => return without_lock(cell).await,
        "GET of an empty queue" => return empty(cell).await,
        "held poll, connection lost before a message came" => return held_poll(cell, qos).await,
        _ => {}
    }
    let mut hop = Hop::new(qos).await?;
    let told = match cell.signal {
        "DELETE of the lock" => hop.complete().await?,
        "DELETE of the lock again" => {
            hop.complete().await?;
            hop.stage.settles_as(Copies::GONE).await?;
            hop.complete().await?
        }
        "POST reject" => hop.verb("reject", r#"{"condition":"invalid-payload","reason":"no"}"#).await?,
        "POST abandon" => hop.verb("abandon", "").await?,
        "POST abandon, not failed" => hop.verb("abandon", r#"{"failed":false}"#).await?,
        "POST release" => hop.verb("release", "").await?,
        "POST renew" => return renew(cell, hop).await,
        "silence" => hop.silence().await?,
        "silence until the deadline" => {
            hop.stage.advance(BEYOND);
            hop.silence().await?
        }
        "connection lost after the response" => {
            let peer = Peer::connect(&hop.served).await?;
            std::mem::replace(&mut hop.peer, peer).cut().await;
            "close".into()
        }
        "connection lost, then DELETE on another" => {
            let peer = Peer::connect(&hop.served).await?;
            std::mem::replace(&mut hop.peer, peer).cut().await;
            hop.complete().await?
        }
        "DELETE after the deadline" => {
            hop.stage.advance(BEYOND);
            hop.stage.settles_as(Copies::AVAILABLE).await?;
            hop.complete().await?
        }
        "DELETE by another principal" => hop.delete_as(ANOTHER).await?,
        "DELETE of no lock" => hop.peer.call("DELETE", "/v1/locks/nothing", "").await?.told(),
        "POST release after DELETE" => {
            hop.complete().await?;
            hop.verb("release", "").await?
        }
        other => return Err(format!("nobody knows how to say {other:?}")),
    };
    same("the answer", told.as_str(), cell.answer)?;
    hop.check(cell).await
}

impl Hop {
    async fn new(qos: Qos) -> Result<Self> {
        let stage = Stage::with_queue(QueueSettings::default()).await?;
        stage.send(QUEUE, "hello", qos).await?;
        let served = Served::permissive(&stage).await?;
        let mut peer = Peer::connect(&served).await?;
        let response = peer.call("GET", POLL, "").await?;
        same("the answer", response.told().as_str(), "200")?;
        same("the body", &response.body[..], b"hello")?;
        let token = token(&response)?;
        let until_ms = lock_until(&response)?;
        stage.settles_as(Copies::HELD).await?;
        Ok(Self { stage, served, peer, token, until_ms })
    }

    async fn complete(&mut self) -> Result<String> {
        self.delete_as(ME).await
    }

    async fn delete_as(&mut self, who: &str) -> Result<String> {
        self.peer.ask("DELETE", &format!("/v1/locks/{}", self.token), who, b"").await?;
        Ok(self.peer.response().await?.told())
    }

    async fn verb(&mut self, verb: &str, body: &str) -> Result<String> {
        let path = format!("/v1/locks/{}/{verb}", self.token);
        Ok(self.peer.call("POST", &path, body).await?.told())
    }

    async fn silence(&mut self) -> Result<String> {
        Ok(if self.peer.is_quiet().await { "nothing" } else { "something" }.into())
    }

    async fn check(self, cell: &Egress) -> Result {
        let stage = self.stage;
        match (cell.effect.copied(), cell.signal) {
            (Copied::Held, _) => stage.settles_as(Copies::HELD).await,
            (Copied::Retired { dead_letter: false }, _) => stage.settles_as(Copies::GONE).await,
            (Copied::Retired { dead_letter: true }, _) => {
                stage.settles_as(Copies::DEAD).await?;
                same("the delivery count", stage.dead_count().await?, Some(1_u64.into()))?;
                same("the reason", stage.dead_reason().await?.as_str(), "invalid-payload")
            }
            (Copied::Available { failures }, _) => available(&stage, failures, 2).await,
            (Copied::AsItWas, "DELETE after the deadline") => available(&stage, 1, 2).await,
            (Copied::AsItWas, "DELETE by another principal" | "DELETE of no lock") => {
                stage.settles_as(Copies::HELD).await
            }
            (Copied::AsItWas, _) => stage.settles_as(Copies::GONE).await,
        }
    }
}

/// The copy waits, with this delivery count, and the next attempt is this one.
async fn available(stage: &Stage, failures: u32, attempt: u32) -> Result {
    stage.settles_as(Copies::AVAILABLE).await?;
    let delivery = stage.take(QUEUE).await?;
    same("the delivery count", delivery.info.ok_or("no info")?.count, failures)?;
    same("the attempt", delivery.attempt, attempt)
}

async fn without_lock(cell: &Egress) -> Result {
    let stage = Stage::with_queue(QueueSettings::default()).await?;
    stage.send(QUEUE, "hello", Qos::AtMostOnce).await?;
    let served = Served::permissive(&stage).await?;
    let response = Peer::connect(&served).await?.call("GET", POLL, "").await?;
    same("the answer", response.told().as_str(), cell.answer)?;
    same("a lock", response.header("etag"), None)?;
    same("the effect", cell.effect, Effect::Accept)?;
    stage.settles_as(Copies::GONE).await
}

async fn empty(cell: &Egress) -> Result {
    let stage = Stage::with_queue(QueueSettings::default()).await?;
    let served = Served::permissive(&stage).await?;
    let response = Peer::connect(&served).await?.call("GET", POLL, "").await?;
    same("the answer", response.told().as_str(), cell.answer)?;
    same("the body", response.body.len(), 0)?;
    same("the effect", cell.effect, Effect::Unsaid)
}

async fn renew(cell: &Egress, mut hop: Hop) -> Result {
    hop.stage.advance(BEYOND / 2);
    let path = format!("/v1/locks/{}/renew", hop.token);
    let response = hop.peer.call("POST", &path, "").await?;
    same("the answer", response.told().as_str(), cell.answer)?;
    same("a later deadline", lock_until(&response)? > hop.until_ms, true)?;
    hop.stage.advance(BEYOND / 2 + Duration::from_secs(1));
    same("the effect", cell.effect, Effect::Renew)?;
    hop.check(cell).await
}

async fn held_poll(cell: &Egress, qos: Qos) -> Result {
    let stage = Stage::with_queue(QueueSettings::default()).await?;
    let served = Served::permissive(&stage).await?;
    let mut peer = Peer::connect(&served).await?;
    peer.ask("GET", POLL, &format!("{ME}prefer: wait=30\r\n"), b"").await?;
    same("held", peer.is_quiet().await, true)?;
    peer.cut().await;
    stage.send(QUEUE, "hello", qos).await?;
    same("the effect", cell.effect, Effect::Release)?;
    available(&stage, 0, 1).await
}

fn token(response: &Response) -> Result<String> {
    let etag = response.header("etag").ok_or("no ETag")?;
    Ok(etag.trim_matches('"').to_owned())
}

fn lock_until(response: &Response) -> Result<u64> {
    let text = response.header("roadbed-lock-until-ms").ok_or("no deadline")?;
    text.parse().map_err(|_| format!("{text:?} is no deadline"))
}
