//! What happens to a copy that no single signal says.

use std::time::Duration;

use libtest_mimic::Trial;
use roadbed::{Condition, Qos, QueueSettings};

use super::peer::{Peer, Response, Served};
use crate::Result;
use crate::stage::{Copies, QUEUE, Stage, named};
use crate::tell::same;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        crate::trial("copy/released-in-its-old-place".into(), old_place),
        crate::trial("copy/delivery-count-reached".into(), count_reached),
        crate::trial("copy/time-to-live-ends".into(), expired),
        crate::trial("copy/nobody-left".into(), nobody_left),
        crate::trial("copy/a-fan-out-is-one-commit".into(), fan_out),
    ]
}

async fn world(settings: QueueSettings) -> Result<(Stage, Served, Peer)> {
    let stage = Stage::with_queue(settings).await?;
    let served = Served::permissive(&stage).await?;
    let peer = Peer::connect(&served).await?;
    Ok((stage, served, peer))
}

async fn poll(peer: &mut Peer) -> Result<(Response, String)> {
    let response = peer.call("GET", "/v1/messages/queues/q", "").await?;
    let etag = response.header("etag").ok_or("there is no lock")?;
    let token = etag.trim_matches('"').to_owned();
    Ok((response, token))
}

async fn old_place() -> Result {
    let (stage, _served, mut peer) = world(QueueSettings::default()).await?;
    for payload in ["1", "2", "3"] {
        stage.send(QUEUE, payload, Qos::AtLeastOnce).await?;
    }
    let (_, first) = poll(&mut peer).await?;
    let (_, second) = poll(&mut peer).await?;
    for token in [second, first] {
        same("release", peer.call("POST", &format!("/v1/locks/{token}/release"), "").await?.told().as_str(), "204")?;
    }
    for payload in ["1", "2", "3"] {
        same("the order", &poll(&mut peer).await?.0.body[..], payload.as_bytes())?;
    }
    Ok(())
}

async fn count_reached() -> Result {
    let (stage, _served, mut peer) = world(QueueSettings { deliveries_max: 2, ..QueueSettings::default() }).await?;
    stage.send(QUEUE, "x", Qos::AtLeastOnce).await?;
    for after in [Copies::AVAILABLE, Copies::DEAD] {
        let (_, token) = poll(&mut peer).await?;
        peer.call("POST", &format!("/v1/locks/{token}/abandon"), "").await?;
        stage.settles_as(after).await?;
    }
    same("the reason", stage.dead_reason().await?, named(Condition::DeliveryCountExceeded))
}

async fn expired() -> Result {
    let (stage, _served, mut peer) = world(QueueSettings::default()).await?;
    let headers = format!("{}roadbed-ttl: 60\r\n", super::peer::ME);
    peer.ask("POST", "/v1/messages/queues/q", &headers, b"x").await?;
    same("the answer", peer.response().await?.told().as_str(), "202")?;
    stage.advance(Duration::from_secs(59));
    stage.settles_as(Copies::AVAILABLE).await?;
    stage.advance(Duration::from_secs(2));
    stage.settles_as(Copies::DEAD).await?;
    same("the reason", stage.dead_reason().await?, named(Condition::Expired))
}

async fn nobody_left() -> Result {
    let (stage, _served, mut peer) = world(QueueSettings::default()).await?;
    stage.send(QUEUE, "x", Qos::AtLeastOnce).await?;
    let (_, token) = poll(&mut peer).await?;
    let elsewhere = r#"{"failed":false,"undeliverable_here":true}"#;
    let path = format!("/v1/locks/{token}/abandon");
    same("the answer", peer.call("POST", &path, elsewhere).await?.told().as_str(), "204")?;
    stage.settles_as(Copies::DEAD).await?;
    same("the reason", stage.dead_reason().await?, named(Condition::UndeliverableHere))
}

/// The sender hears yes if every queue has its copy, and otherwise none has.
async fn fan_out() -> Result {
    let (stage, _served, mut peer) = world(QueueSettings::default()).await?;
    stage.declare("queues/small", QueueSettings { messages_max: 1, ..QueueSettings::default() }).await?;
    stage.bind(QUEUE, "t").await?;
    stage.bind("queues/small", "t").await?;
    same("the first", peer.call("POST", "/v1/messages/t", "1").await?.told().as_str(), "202")?;
    same("the second", peer.call("POST", "/v1/messages/t", "2").await?.told().as_str(), "429 Retry-After")?;
    stage.settles_as(Copies::AVAILABLE).await?;
    same("in the small queue", stage.describe("queues/small").await.map(|node| node.available), Some(1))
}
