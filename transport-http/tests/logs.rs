//! `/v1/logs`, request by request, on a broker.
#![cfg(feature = "server")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use roadbed_broker::Broker;
use roadbed_http::{Routes, Server};
use serde_json::{Value, json};
use support::{call, request};

struct Peer(Routes);

impl Peer {
    fn new() -> Self {
        Self(Server::builder(Arc::new(Broker::new())).build().unwrap().routes())
    }

    /// With a log of one partition, and messages in it.
    async fn with(texts: &[&'static str]) -> Self {
        let peer = Self::new();
        let made = peer.ask(Method::PUT, "/v1/logs/l", r#"{"log":{"partitions":1}}"#).await;
        assert_eq!(made.status(), StatusCode::CREATED, "{made:?}");
        for text in texts {
            peer.send(text).await;
        }
        peer
    }

    async fn ask(&self, method: Method, path: &str, body: &'static str) -> Response<Bytes> {
        call(&self.0, request(method, path, body)).await
    }

    async fn send(&self, text: &'static str) {
        assert_eq!(self.ask(Method::POST, "/v1/messages/logs/l", text).await.status(), StatusCode::ACCEPTED);
    }

    async fn read(&self, query: &str) -> (Vec<String>, u64) {
        let answer = self.ask(Method::GET, &format!("/v1/logs/l/0{query}"), "").await;
        let next = answer.headers()["roadbed-next"].to_str().unwrap().parse().unwrap();
        if answer.status() == StatusCode::NO_CONTENT {
            return (Vec::new(), next);
        }
        assert_eq!(answer.status(), StatusCode::OK, "{answer:?}");
        let page = document(&answer);
        assert_eq!(page["next"], next);
        let text = |message: &Value| message["data"].as_str().unwrap().to_owned();
        (page["messages"].as_array().unwrap().iter().map(text).collect(), next)
    }
}

fn document(answer: &Response<Bytes>) -> Value {
    serde_json::from_slice(answer.body()).unwrap()
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn a_log_is_declared_described_changed_and_deleted() {
    let peer = Peer::with(&["a"]).await;
    let described = document(&peer.ask(Method::GET, "/v1/logs/l", "").await);
    let partition = &described["partitions"][0];
    assert_eq!(
        (&partition["first"], &partition["next"], &described["log"]["partitions"]),
        (&json!(0), &json!(1), &json!(1))
    );
    let follow = r#"{"log":{"retention_ms":60000},"filters":["plant/#"]}"#;
    let changed = peer.ask(Method::PUT, "/v1/logs/l", follow).await;
    assert_eq!(changed.status(), StatusCode::OK);
    let log = document(&changed);
    assert_eq!((&log["log"]["retention_ms"], &log["log"]["partitions"]), (&json!(60000), &json!(1)));
    assert_eq!(log["filters"][0]["filter"], "plant/#");
    peer.ask(Method::POST, "/v1/messages/plant/7", "from a topic").await;
    assert_eq!(peer.read("").await.0, texts(&["a", "from a topic"]));
    assert!(
        document(&peer.ask(Method::PUT, "/v1/logs/l", r#"{"filters":[]}"#).await)["filters"]
            .as_array()
            .unwrap()
            .is_empty()
    );
    let more = peer.ask(Method::PUT, "/v1/logs/l", r#"{"log":{"partitions":2}}"#).await;
    assert_eq!(more.status(), StatusCode::CONFLICT);
    assert_eq!(peer.ask(Method::DELETE, "/v1/logs/l", "").await.status(), StatusCode::OK);
    assert_eq!(peer.ask(Method::GET, "/v1/logs/l", "").await.status(), StatusCode::NOT_FOUND);
    assert_eq!(peer.ask(Method::GET, "/v1/logs/l/0", "").await.status(), StatusCode::NOT_FOUND);
    assert_eq!(peer.ask(Method::POST, "/v1/messages/logs/l", "late").await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_read_begins_where_it_is_asked_to_and_says_where_to_go_on() {
    let peer = Peer::with(&["a", "b", "c"]).await;
    assert_eq!(peer.read("").await, (texts(&["a", "b", "c"]), 3));
    assert_eq!(peer.read("?from=earliest&max=2").await, (texts(&["a", "b"]), 2));
    assert_eq!(peer.read("?from=2").await, (texts(&["c"]), 3));
    assert_eq!(peer.read("?from=3").await, (Vec::new(), 3));
    assert_eq!(peer.read("?from=latest").await, (Vec::new(), 3));
    assert_eq!(peer.read("?from=2020-01-01T00:00:00Z").await, (texts(&["a", "b", "c"]), 3));
    assert_eq!(peer.read("?from=2100-01-01T00:00:00Z").await, (Vec::new(), 3));
    for wrong in ["?from=x", "?max=0", "?wait=x", "?unknown=1", "?group="] {
        let answer = peer.ask(Method::GET, &format!("/v1/logs/l/0{wrong}"), "").await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{wrong}");
    }
    assert_eq!(peer.ask(Method::GET, "/v1/logs/l/1", "").await.status(), StatusCode::NOT_FOUND);
    assert_eq!(peer.ask(Method::GET, "/v1/logs/l/x", "").await.status(), StatusCode::BAD_REQUEST);
    assert_eq!(peer.ask(Method::POST, "/v1/logs/l/0", "").await.status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn a_held_read_waits_for_the_next_message() {
    let peer = Peer::with(&["a"]).await;
    let late = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        peer.send("b").await;
    };
    let (read, ()) = tokio::join!(peer.read("?from=latest&wait=30"), late);
    assert_eq!(read, (texts(&["b"]), 2));
}

#[tokio::test]
async fn a_page_of_events_has_their_places() {
    let peer = Peer::with(&["a", "b"]).await;
    let mut request = request(Method::GET, "/v1/logs/l/0?from=1", "");
    request.headers_mut().insert("accept", "application/cloudevents-batch+json".parse().unwrap());
    let answer = call(&peer.0, request).await;
    assert_eq!(answer.headers()["content-type"], "application/cloudevents-batch+json");
    let event = &document(&answer)[0];
    assert_eq!((&event["roadbedposition"], &event["roadbedpartition"]), (&json!("1"), &json!("0")));
    assert!(event["roadbedenqueued"].as_str().unwrap().ends_with('Z'));
}

#[tokio::test]
async fn checkpoints_are_told_set_and_never_go_back_by_themselves() {
    let peer = Peer::with(&["a", "b", "c"]).await;
    let path = "/v1/logs/l/groups/billing/0";
    assert_eq!(peer.ask(Method::GET, path, "").await.status(), StatusCode::NOT_FOUND);
    assert_eq!(document(&peer.ask(Method::PUT, path, r#"{"next":2}"#).await), json!({"next": 2}));
    assert_eq!(document(&peer.ask(Method::GET, path, "").await), json!({"next": 2}));
    assert_eq!(peer.read("?group=billing").await, (texts(&["c"]), 3));
    assert_eq!(peer.read("?group=another").await.0.len(), 3);
    assert_eq!(peer.ask(Method::PUT, path, r#"{"next":1}"#).await.status(), StatusCode::CONFLICT);
    assert_eq!(document(&peer.ask(Method::PUT, path, r#"{"next":1,"force":true}"#).await), json!({"next": 1}));
    assert_eq!(peer.read("?group=billing").await, (texts(&["b", "c"]), 3));
    assert_eq!(peer.ask(Method::PUT, path, r#"{"next":9}"#).await.status(), StatusCode::BAD_REQUEST);
    assert_eq!(peer.ask(Method::PUT, path, "").await.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_partition_is_trimmed() {
    let peer = Peer::with(&["a", "b", "c"]).await;
    let trimmed = document(&peer.ask(Method::DELETE, "/v1/logs/l/0?before=1", "").await);
    assert_eq!(trimmed, json!({"purged": 1}));
    assert_eq!(peer.read("?from=0").await, (texts(&["b", "c"]), 3));
    assert_eq!(document(&peer.ask(Method::DELETE, "/v1/logs/l/0", "").await), json!({"purged": 2}));
    assert_eq!(peer.read("?from=0").await, (Vec::new(), 3));
}
