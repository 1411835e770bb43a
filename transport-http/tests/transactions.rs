//! `/v1/transactions`, request by request, on a broker.
#![cfg(feature = "server")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, ETAG, LOCATION};
use http::{Method, Response, StatusCode};
use roadbed_broker::{Broker, MemoryStore, Settings, StoreError};
use roadbed_core::{Authenticator, Credential, Identity, Message, Result};
use roadbed_http::{HttpConfig, Routes, Server};
use serde_json::Value;
use support::{call, request};

struct Bench {
    broker: Broker,
    server: Server,
    store: MemoryStore,
}

impl Bench {
    fn new() -> Self {
        Self::with(Settings::default(), HttpConfig::default())
    }

    fn with(settings: Settings, config: HttpConfig) -> Self {
        let store = MemoryStore::new();
        let broker = Broker::builder().settings(settings).store(store.clone()).build().unwrap();
        let server = Server::builder(Arc::new(broker.clone())).config(config).build().unwrap();
        Self { broker, server, store }
    }

    /// A connection, and what is said on it in a name.
    fn peer(&self, name: &'static str) -> Peer {
        Peer { routes: self.server.routes(), name }
    }
}

struct Peer {
    routes: Routes,
    name: &'static str,
}

impl Peer {
    async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&'static str, &str)],
        body: &'static str,
    ) -> Response<Bytes> {
        let mut request = request(method, path, body);
        if !self.name.is_empty() {
            let basic = format!("Basic {}", STANDARD.encode(format!("{}:x", self.name)));
            request.headers_mut().insert(AUTHORIZATION, basic.parse().unwrap());
        }
        for (name, value) in headers {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        call(&self.routes, request).await
    }

    async fn declare(&self) -> String {
        let answer = self.ask(Method::POST, "/v1/transactions", &[], "").await;
        assert_eq!(answer.status(), StatusCode::CREATED, "{answer:?}");
        let id = document(&answer)["id"].as_str().unwrap().to_owned();
        assert_eq!(answer.headers()[LOCATION], format!("/v1/transactions/{id}"));
        id
    }

    async fn post(&self, to: &str, txn: &str) -> Response<Bytes> {
        self.ask(Method::POST, &format!("/v1/messages/{to}"), &[("roadbed-transaction", txn)], "item").await
    }

    async fn end(&self, id: &str, verb: &str) -> Response<Bytes> {
        self.ask(Method::POST, &format!("/v1/transactions/{id}/{verb}"), &[], "").await
    }

    async fn state(&self, id: &str) -> String {
        let answer = self.ask(Method::GET, &format!("/v1/transactions/{id}"), &[], "").await;
        assert_eq!(answer.status(), StatusCode::OK, "{answer:?}");
        document(&answer)["state"].as_str().unwrap().to_owned()
    }

    /// What waits in a queue.
    async fn backlog(&self, queue: &str) -> String {
        let answer = self.ask(Method::HEAD, &format!("/v1/messages/{queue}"), &[], "").await;
        answer.headers().get("roadbed-backlog").map_or_else(String::new, |count| count.to_str().unwrap().to_owned())
    }

    /// The lock of a message that is put into a queue and polled.
    async fn lock(&self, queue: &str) -> String {
        self.ask(Method::POST, &format!("/v1/messages/{queue}"), &[], "order").await;
        self.poll(queue).await.expect("a message")
    }

    async fn poll(&self, queue: &str) -> Option<String> {
        let answer = self.ask(Method::GET, &format!("/v1/messages/{queue}"), &[], "").await;
        Some(answer.headers().get(ETAG)?.to_str().unwrap().trim_matches('"').to_owned())
    }
}

fn bounds(set: impl FnOnce(&mut Settings)) -> Settings {
    let mut settings = Settings::default();
    set(&mut settings);
    settings
}

fn document(answer: &Response<Bytes>) -> Value {
    serde_json::from_slice(answer.body()).unwrap_or_default()
}

fn is(answer: &Response<Bytes>, status: u16, kind: &str) {
    assert_eq!(answer.status().as_u16(), status, "{answer:?}");
    assert_eq!(document(answer)["type"], format!("urn:roadbed:problem:{kind}"));
}

#[tokio::test]
async fn sends_and_settlements_of_several_connections_happen_together() {
    let bench = Bench::new();
    let (one, two) = (bench.peer("alice"), bench.peer("alice"));
    let lock = one.lock("queues/in").await;
    let id = one.declare().await;
    assert_eq!(one.state(&id).await, "open");
    let posted = two.post("queues/out", &id).await;
    assert_eq!(
        (posted.status(), posted.headers()["roadbed-transaction"].to_str().unwrap()),
        (StatusCode::ACCEPTED, &*id)
    );
    let done = two.ask(Method::DELETE, &format!("/v1/locks/{lock}"), &[("roadbed-transaction", &id)], "").await;
    assert_eq!((done.status(), done.headers()["roadbed-transaction"].to_str().unwrap()), (StatusCode::ACCEPTED, &*id));
    is(&two.ask(Method::DELETE, &format!("/v1/locks/{lock}"), &[], "").await, 409, "conflict");
    assert_eq!(two.backlog("queues/out").await, "0", "nothing before the commit");
    assert_eq!(one.end(&id, "commit").await.status(), StatusCode::NO_CONTENT);
    assert_eq!(two.backlog("queues/out").await, "1", "everything after it");
    assert_eq!(two.state(&id).await, "committed");
    let again = two.end(&id, "commit").await;
    assert_eq!(
        (again.status(), again.headers()["roadbed-repeated"].to_str().unwrap()),
        (StatusCode::NO_CONTENT, "true")
    );
    is(&two.end(&id, "rollback").await, 409, "committed");
    let again = two.ask(Method::DELETE, &format!("/v1/locks/{lock}"), &[], "").await;
    assert_eq!((again.status(), again.headers().contains_key("roadbed-repeated")), (StatusCode::NO_CONTENT, true));
    is(&two.post("queues/out", &id).await, 404, "not-found");
}

#[tokio::test]
async fn every_outcome_waits_for_the_commit() {
    for (verb, body, left) in [("reject", "", ("0", "1")), ("abandon", "", ("1", "0")), ("release", "", ("1", "0"))] {
        let bench = Bench::new();
        let peer = bench.peer("alice");
        let lock = peer.lock("queues/in").await;
        let id = peer.declare().await;
        let path = format!("/v1/locks/{lock}/{verb}");
        let named = peer.ask(Method::POST, &path, &[("roadbed-transaction", &id)], body).await;
        assert_eq!(named.status(), StatusCode::ACCEPTED, "{verb}: {named:?}");
        assert_eq!(peer.backlog("queues/in").await, "0", "{verb}");
        peer.end(&id, "commit").await;
        assert_eq!(peer.backlog("queues/in").await, left.0, "{verb}");
        let dead = peer.backlog("$dead/in").await;
        assert_eq!(if dead.is_empty() { "0" } else { &dead }, left.1, "{verb}");
    }
}

#[tokio::test]
async fn after_a_rollback_the_lock_stands_unless_it_was_given_up() {
    let bench = Bench::new();
    let peer = bench.peer("alice");
    let lock = peer.lock("queues/in").await;
    for settled in [false, true] {
        let id = peer.declare().await;
        peer.post("queues/out", &id).await;
        let mut headers = vec![("roadbed-transaction", &*id)];
        headers.extend(settled.then_some(("roadbed-settled", "true")));
        peer.ask(Method::DELETE, &format!("/v1/locks/{lock}"), &headers, "").await;
        assert_eq!(peer.end(&id, "rollback").await.status(), StatusCode::NO_CONTENT);
        assert_eq!(peer.end(&id, "rollback").await.headers()["roadbed-repeated"], "true");
        is(&peer.end(&id, "commit").await, 409, "rolled-back");
        assert_eq!(peer.state(&id).await, "rolled-back");
        assert_eq!(peer.backlog("queues/in").await, if settled { "1" } else { "0" });
    }
    assert_eq!(peer.backlog("queues/out").await, "0");
    is(&peer.ask(Method::DELETE, &format!("/v1/locks/{lock}"), &[], "").await, 412, "lock-lost");
}

#[tokio::test]
async fn a_stranger_cannot_join_nor_end_it() {
    let bench = Bench::new();
    let (alice, mallory) = (bench.peer("alice"), bench.peer("mallory"));
    let id = alice.declare().await;
    is(&mallory.post("queues/out", &id).await, 404, "not-found");
    let lock = mallory.lock("queues/in").await;
    let stolen = mallory.ask(Method::DELETE, &format!("/v1/locks/{lock}"), &[("roadbed-transaction", &id)], "").await;
    is(&stolen, 404, "no-such-transaction");
    for verb in ["commit", "rollback"] {
        is(&mallory.end(&id, verb).await, 404, "no-such-transaction");
    }
    is(&mallory.ask(Method::GET, &format!("/v1/transactions/{id}"), &[], "").await, 404, "no-such-transaction");
    assert_eq!(alice.end(&id, "commit").await.status(), StatusCode::NO_CONTENT);
    assert_eq!(alice.backlog("queues/out").await, "0");
}

/// Not only in a name of its own choice: nobody in particular is not one peer.
#[tokio::test]
async fn nobody_in_particular_has_no_transactions() {
    struct Anyone;
    #[async_trait::async_trait]
    impl Authenticator for Anyone {
        async fn authenticate(
            &self,
            _: &roadbed_core::Peer,
            _name: &str,
            _credential: &Credential,
        ) -> Result<Identity> {
            Ok(Identity::default())
        }
    }
    let broker: Arc<Broker> = Arc::new(Broker::new());
    let server = Server::builder(broker).authenticator(Arc::new(Anyone)).build().unwrap();
    let nobody = Peer { routes: server.routes(), name: "" };
    is(&nobody.ask(Method::POST, "/v1/transactions", &[], "").await, 401, "unauthenticated");
    is(&nobody.post("queues/out", "0000000000000001").await, 404, "not-found");
}

#[tokio::test]
async fn what_takes_too_long_is_rolled_back() {
    let bench =
        Bench::with(Settings::default(), HttpConfig::default().transaction_ms_max(40).transaction_window_ms(300));
    let peer = bench.peer("alice");
    let id = peer.declare().await;
    peer.post("queues/out", &id).await;
    assert_eq!(peer.state(&id).await, "open");
    tokio::time::sleep(Duration::from_millis(120)).await;
    assert_eq!(peer.state(&id).await, "rolled-back");
    is(&peer.end(&id, "commit").await, 409, "rolled-back");
    assert_eq!(bench.broker.counters().transactions_rolled_back, 1);
    tokio::time::sleep(Duration::from_millis(400)).await;
    is(&peer.end(&id, "commit").await, 404, "no-such-transaction");
}

#[tokio::test]
async fn the_endpoints_own_time_out_shows() {
    let bench = Bench::with(bounds(|settings| settings.transaction_seconds_max = 0), HttpConfig::default());
    let peer = bench.peer("alice");
    let id = peer.declare().await;
    bench.broker.handle_timeout(bench.broker.now());
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(peer.state(&id).await, "rolled-back");
    is(&peer.end(&id, "commit").await, 409, "rolled-back");
}

#[tokio::test]
async fn committed_is_said_when_the_store_has_it() {
    let bench = Bench::new();
    let peer = bench.peer("alice");
    let id = peer.declare().await;
    let stored = [("roadbed-transaction", &*id), ("roadbed-durability", "stored")];
    peer.ask(Method::POST, "/v1/messages/queues/out", &stored, "item").await;
    bench.store.refuse(Some(StoreError::Full));
    is(&peer.end(&id, "commit").await, 507, "store-full");
    assert_eq!(peer.backlog("queues/out").await, "0");
}

#[tokio::test]
async fn a_refused_message_undoes_all() {
    let bench = Bench::new();
    let peer = bench.peer("alice");
    peer.ask(Method::PUT, "/v1/queues/small", &[], r#"{"queue":{"messages_max":1}}"#).await;
    let id = peer.declare().await;
    peer.post("queues/small", &id).await;
    peer.post("queues/small", &id).await;
    is(&peer.end(&id, "commit").await, 409, "rolled-back");
    assert_eq!(peer.backlog("queues/small").await, "0");
}

#[tokio::test]
async fn there_are_bounds() {
    let settings = bounds(|settings| {
        settings.transaction_bytes_max = 9;
        settings.principal_transactions_max = 2;
    });
    let bench = Bench::with(settings, HttpConfig::default());
    let peer = bench.peer("alice");
    let (one, two) = (peer.declare().await, peer.declare().await);
    is(&peer.ask(Method::POST, "/v1/transactions", &[], "").await, 429, "exhausted");
    assert_eq!(bench.peer("bob").declare().await.len(), 16, "the bound is each principal's own");
    let message = Message::new("queues/out".parse().unwrap(), "item");
    assert!(message.cost() > 9, "a message takes more than its payload");
    is(&peer.post("queues/out", &one).await, 429, "full");
    for id in [one, two] {
        assert_eq!(peer.end(&id, "rollback").await.status(), StatusCode::NO_CONTENT);
    }
    peer.declare().await;
}

#[tokio::test]
async fn ended_transactions_give_way_to_new_ones() {
    let bench = Bench::with(Settings::default(), HttpConfig::default().transactions_max(2));
    let peer = bench.peer("alice");
    let (one, two) = (peer.declare().await, peer.declare().await);
    is(&peer.ask(Method::POST, "/v1/transactions", &[], "").await, 429, "exhausted");
    assert_eq!(bench.broker.counters().transactions, 2, "what is not kept is rolled back");
    peer.end(&one, "commit").await;
    let three = peer.declare().await;
    is(&peer.end(&one, "commit").await, 404, "no-such-transaction");
    for id in [two, three] {
        assert_eq!(peer.end(&id, "commit").await.status(), StatusCode::NO_CONTENT);
    }
}

#[tokio::test]
async fn ids_and_verbs_are_checked() {
    let bench = Bench::new();
    let peer = bench.peer("alice");
    let id = peer.declare().await;
    for bad in ["", "1", "000000000000000G"] {
        is(&peer.post("queues/out", bad).await, 400, "invalid");
    }
    let twice = [("roadbed-transaction", &*id), ("roadbed-transaction", &*id)];
    is(&peer.ask(Method::POST, "/v1/messages/queues/out", &twice, "x").await, 400, "invalid");
    let unsaid = [("roadbed-transaction", &*id), ("roadbed-qos", "0")];
    is(&peer.ask(Method::POST, "/v1/messages/queues/out", &unsaid, "x").await, 400, "invalid");
    let lock = peer.lock("queues/in").await;
    let renewed = peer.ask(Method::POST, &format!("/v1/locks/{lock}/renew"), &[("roadbed-transaction", &id)], "").await;
    is(&renewed, 400, "invalid");
    is(&peer.end(&id, "prepare").await, 404, "no-such-verb");
    is(&peer.end("1", "commit").await, 404, "no-such-transaction");
    assert_eq!(peer.ask(Method::DELETE, "/v1/transactions", &[], "").await.status(), StatusCode::METHOD_NOT_ALLOWED);
}

/// A client that gives up waiting has not stopped the commit.
#[tokio::test]
async fn two_commits_at_once_are_one() {
    let bench = Bench::new();
    let peer = bench.peer("alice");
    let id = peer.declare().await;
    peer.post("queues/out", &id).await;
    let (one, two) = tokio::join!(peer.end(&id, "commit"), peer.end(&id, "commit"));
    assert_eq!((one.status(), two.status()), (StatusCode::NO_CONTENT, StatusCode::NO_CONTENT));
    let repeated = [&one, &two].map(|answer| answer.headers().contains_key("roadbed-repeated"));
    assert_eq!(repeated.iter().filter(|repeated| **repeated).count(), 1);
    assert_eq!(peer.backlog("queues/out").await, "1");
}
