//! What cannot be done is an error of the right kind, with words that help.

use std::sync::Arc;
use std::time::Duration;

use roadbed_conformance::Faults;
use roadbed_core::{
    Address, ConsumerTerms, DenyAll, Disposition, Endpoint, ErrorKind, Manage, Mode, Node, Open, Result, Session,
};
use roadbed_mqtt::codec::Version;
use roadbed_mqtt::{ServerConfig, connect};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{VERSIONS, config, hub, reach, scripted, soon};

fn failed<T>(result: Result<T>, kind: ErrorKind, words: &str) {
    let error = result.map(drop).expect_err("it cannot succeed");
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(words), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_wrong_password_is_told_as_such() {
    for version in VERSIONS {
        let config = config(version);
        let hub = hub(config.clone());
        let server = ServerConfig::new(Arc::new(DenyAll)).clock(Arc::clone(&config.clock));
        let client = reach(config.login("alice", "wrong"), Arc::new(hub.broker), server, &Faults::new());
        failed(
            client.open(Open::default()).await,
            ErrorKind::Unauthenticated,
            "the user name or the password is wrong",
        );
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let client = connect(config(Version::V5).host("127.0.0.1").port(port));
    failed(client.open(Open::default()).await, ErrorKind::Unavailable, &format!("127.0.0.1:{port} cannot be reached"));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_nothing_is_given_up() {
    let (client, mut waiting) = scripted(config(Version::V5).connect_timeout(Duration::from_secs(3)));
    let (opened, _stream) = tokio::join!(client.open(Open::default()), waiting.raw());
    failed(opened, ErrorKind::TimedOut, "does not answer within 3s");
}

/// What a server says instead of CONNACK.
async fn answered(version: Version, answer: &'static [u8]) -> Result<Box<dyn Session>> {
    let (client, mut waiting) = scripted(config(version));
    let server = async {
        let mut stream = waiting.raw().await;
        stream.read_u8().await.unwrap();
        stream.write_all(answer).await.unwrap();
    };
    let (opened, ()) = tokio::join!(client.open(Open::default()), server);
    opened
}

#[tokio::test(start_paused = true)]
async fn refusals_say_what_to_do() {
    let v5 = Version::V5;
    failed(answered(v5, b"").await, ErrorKind::Disconnected, "closes the connection instead of answering");
    failed(answered(v5, b"HTTP/1.1 400 Bad Request\r\n\r\n").await, ErrorKind::Protocol, "");
    failed(answered(v5, b"\x20\x02\x00\x01").await, ErrorKind::NotSupported, "use version 3.1.1");
    failed(answered(v5, b"\x20\x03\x00\x8a\x00").await, ErrorKind::Unauthorized, "banned");
    failed(answered(v5, b"\x20\x03\x00\x97\x00").await, ErrorKind::Exhausted, "limit");
    failed(answered(v5, b"\x20\x09\x00\x9d\x06\x1c\x00\x03b:1").await, ErrorKind::Conflict, "b:1");
    failed(answered(Version::V311, b"\x20\x02\x00\x04").await, ErrorKind::Unauthenticated, "password");
    failed(answered(Version::V311, b"\x20\x02\x00\x05").await, ErrorKind::Unauthorized, "may not connect");
    failed(answered(Version::V311, b"\x20\x02\x00\x03").await, ErrorKind::Unavailable, "cannot now");
}

#[tokio::test(start_paused = true)]
async fn what_mqtt_cannot_do_is_not_supported() {
    for version in VERSIONS {
        let hub = hub(config(version));
        let session = hub.client.open(Open::default()).await.unwrap();
        let queue: Address = "queues/q".parse().unwrap();
        failed(session.transaction().await, ErrorKind::NotSupported, "no transactions");
        failed(session.manage(Manage::Describe(queue.clone())).await, ErrorKind::NotSupported, "over HTTP");
        failed(session.settle(Vec::<Disposition>::new()).await, ErrorKind::NotSupported, "by its handle");
        let terms = ConsumerTerms::queue(queue);
        failed(session.consumer(terms.clone()).await, ErrorKind::NotSupported, "bind the session's own queue");
        let browse = ConsumerTerms { mode: Mode::Browse, node: Node::Session, ..terms };
        failed(session.consumer(browse).await, ErrorKind::NotSupported, "without taking");
    }
}

#[tokio::test(start_paused = true)]
async fn a_kept_session_of_mqtt_3_needs_a_name() {
    let hub = hub(config(Version::V311));
    let open = Open { expiry: Duration::from_secs(1), ..Open::default() };
    failed(hub.client.open(open.clone()).await, ErrorKind::Invalid, "needs a name");
    let hub = self::hub(config(Version::V5));
    let session = soon(hub.client.open(open)).await.unwrap();
    assert!(session.opened().name.as_ref().is_some_and(|name| !name.is_empty()), "MQTT 5 assigns one");
}
