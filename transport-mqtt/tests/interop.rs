//! The client against Debian's Mosquitto: `cargo xtask test --only interop`.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use roadbed_conformance::{Direction, Faults, Side};
use roadbed_core::{
    Binding, Close, Delivery, Endpoint, Message, Open, Outcome, ProducerTerms, Qos, Receiver, RetainHandling, Sender,
    Session, Will,
};
use roadbed_mqtt::codec::Version;
use roadbed_mqtt::{Client, ClientConfig, connect_over};
use tokio::net::TcpStream;

const VERSIONS: [Version; 2] = [Version::V5, Version::V311];

/// A server that ends with the test.
struct Mosquitto {
    child: Child,
    port: u16,
}

impl Mosquitto {
    async fn start() -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new(program())
            .args(["-p", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("mosquitto runs");
        let server = Self { child, port };
        for _ in 0..100 {
            if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                return server;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("mosquitto does not listen");
    }

    /// A client whose connections can be cut.
    fn client(&self, version: Version) -> (Client, Faults) {
        let (faults, port) = (Faults::new(), self.port);
        let config = ClientConfig::default().version(version).reconnect_delay_min(Duration::from_millis(5));
        let carriers = faults.clone();
        let client = connect_over(config, move || {
            let faults = carriers.clone();
            async move { Ok(faults.carrier(TcpStream::connect(("127.0.0.1", port)).await?, Side::Client)) }
        });
        (client, faults)
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program() -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = || std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let prefix = std::env::var_os("ROADBED_PEERS").map_or_else(|| target().join("peers"), PathBuf::from);
    let program = prefix.join("bin/mosquitto");
    assert!(program.exists(), "{} is missing; install it by\n  $ cargo xtask install", program.display());
    program
}

fn kept(name: &str) -> Open {
    Open { name: Some(name.into()), resume: true, expiry: Duration::from_secs(3600), ..Open::default() }
}

fn message(to: &str, payload: impl Into<String>) -> Message {
    Message::new(to.parse().expect("an address"), payload.into())
}

async fn sender(session: &dyn Session) -> Sender {
    Sender::new(session.producer(ProducerTerms::default()).await.expect("a producer").0)
}

async fn receiver(session: &dyn Session, bindings: Vec<Binding>) -> Receiver {
    let (consumer, _) = session.consumer(roadbed_core::ConsumerTerms::session()).await.expect("a consumer");
    let receiver = Receiver::new(consumer, 16);
    for granted in receiver.bind(bindings).await.expect("an answer") {
        granted.expect("granted");
    }
    receiver
}

fn follow(filter: &str, qos: Qos) -> Vec<Binding> {
    vec![Binding::new(filter.parse().expect("a filter"), qos)]
}

async fn next(receiver: &Receiver) -> roadbed_core::Received {
    let next = tokio::time::timeout(Duration::from_secs(10), receiver.receive()).await;
    next.expect("it comes").expect("a link that lives").expect("a delivery")
}

async fn nothing(receiver: &Receiver) {
    let next = tokio::time::timeout(Duration::from_millis(300), receiver.receive()).await;
    assert!(next.is_err(), "nothing should come");
}

fn text(delivery: &Delivery) -> String {
    String::from_utf8(delivery.message.payload().to_bytes().to_vec()).expect("text")
}

#[tokio::test]
#[ignore = "needs peers: cargo xtask test --only interop"]
async fn exactly_once_wherever_the_connection_is_cut() {
    let server = Mosquitto::start().await;
    for version in VERSIONS {
        for direction in [Direction::Up, Direction::Down] {
            for bytes in (1..150).step_by(4) {
                let (client, faults) = server.client(version);
                let topic = format!("{direction:?}/{bytes}/{}", version.level());
                let session = client.open(kept(&topic)).await.unwrap();
                let (sender, receiver) =
                    (sender(&*session).await, receiver(&*session, follow(&topic, Qos::ExactlyOnce)).await);
                faults.cut_after(direction, bytes);
                let sending = async {
                    for n in 0..4 {
                        let confirm = sender.send(message(&topic, n.to_string()), Qos::ExactlyOnce).await.unwrap();
                        assert_eq!(confirm.outcome, Outcome::Accepted);
                    }
                };
                let receiving = async {
                    for n in 0..4 {
                        let received = next(&receiver).await;
                        assert_eq!(
                            text(&received),
                            n.to_string(),
                            "{version:?}, cut {direction:?} after {bytes} bytes"
                        );
                        received.accept().await.unwrap();
                    }
                };
                tokio::join!(sending, receiving);
                session.close(Close { will: false, expiry: Some(Duration::ZERO) }).await.unwrap();
            }
        }
    }
}

#[tokio::test]
#[ignore = "needs peers: cargo xtask test --only interop"]
async fn sessions_are_kept_resumed_and_ended() {
    let server = Mosquitto::start().await;
    for version in VERSIONS {
        let ((client, _), name) = (server.client(version), if version.is_v5() { "five" } else { "three" });
        let session = client.open(kept(name)).await.unwrap();
        assert!(!session.opened().resumed);
        drop(receiver(&*session, follow("t", Qos::AtLeastOnce)).await);
        session.close(Close::default()).await.unwrap();
        let other = client.open(Open::default()).await.unwrap();
        let sender = sender(&*other).await;
        for n in 0..3 {
            sender.send(message("t", n.to_string()), Qos::AtLeastOnce).await.unwrap();
        }
        let session = client.open(kept(name)).await.unwrap();
        assert!(session.opened().resumed, "{version:?}");
        let receiver = receiver(&*session, Vec::new()).await;
        for n in 0..3 {
            let received = next(&receiver).await;
            assert_eq!(text(&received), n.to_string());
            received.accept().await.unwrap();
        }
        session.close(Close { will: false, expiry: Some(Duration::ZERO) }).await.unwrap();
        assert!(!client.open(kept(name)).await.unwrap().opened().resumed, "{version:?}");
    }
}

#[tokio::test]
#[ignore = "needs peers: cargo xtask test --only interop"]
async fn a_restart_of_the_server_is_survived() {
    for version in VERSIONS {
        let server = Mosquitto::start().await;
        let port = server.port;
        let (client, _) = server.client(version);
        let session = client.open(kept("s")).await.unwrap();
        let (sender, receiver) = (sender(&*session).await, receiver(&*session, follow("t", Qos::AtLeastOnce)).await);
        drop(server);
        let sending = tokio::spawn(async move { sender.send(message("t", "x"), Qos::ExactlyOnce).await });
        tokio::time::sleep(Duration::from_millis(100)).await;
        let mut child = Command::new(program());
        let child = child.args(["-p", &port.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
        let server = Mosquitto { child: child.spawn().unwrap(), port };
        let received = next(&receiver).await;
        assert_eq!(text(&received), "x", "subscribed again, and sent again");
        received.accept().await.unwrap();
        assert_eq!(sending.await.unwrap().unwrap().outcome, Outcome::Accepted);
        assert_eq!(client.counts().sessions_lost, 1, "{version:?}");
        drop(server);
    }
}

#[tokio::test]
#[ignore = "needs peers: cargo xtask test --only interop"]
async fn bindings_of_every_kind_are_taken() {
    let server = Mosquitto::start().await;
    for version in VERSIONS {
        let (client, _) = server.client(version);
        let session = client.open(Open::default()).await.unwrap();
        let sender = sender(&*session).await;
        let retained = Message::builder("kept/1".parse().unwrap(), "last").retain(true).build();
        sender.send(retained, Qos::AtLeastOnce).await.unwrap();
        let wanted = receiver(&*session, follow("kept/#", Qos::AtLeastOnce)).await;
        let received = next(&wanted).await;
        assert!(received.retained && text(&received) == "last");
        received.accept().await.unwrap();

        let other = client.open(Open::default()).await.unwrap();
        let binding = follow("kept/#", Qos::AtLeastOnce).remove(0);
        let never = Binding { retain_handling: RetainHandling::Never, id: Some(3), ..binding };
        let unwanted = receiver(&*other, vec![never]).await;
        nothing(&unwanted).await;
        sender.send(message("kept/2", "new"), Qos::AtLeastOnce).await.unwrap();
        let received = next(&unwanted).await;
        assert_eq!(received.info.as_ref().unwrap().bindings, [3], "{version:?}");
        received.accept().await.unwrap();

        let shared = Binding { share: Some("g".into()), ..follow("shared", Qos::AtLeastOnce).remove(0) };
        let one = receiver(&*other, vec![shared]).await;
        sender.send(message("shared", "once"), Qos::AtLeastOnce).await.unwrap();
        let received = next(&one).await;
        assert_eq!(text(&received), "once");
        received.accept().await.unwrap();
    }
}

#[tokio::test]
#[ignore = "needs peers: cargo xtask test --only interop"]
async fn refusals_and_wills_are_told() {
    let server = Mosquitto::start().await;
    for version in VERSIONS {
        let (client, _) = server.client(version);
        let watcher = client.open(Open::default()).await.unwrap();
        let watching = receiver(&*watcher, follow("gone", Qos::AtLeastOnce)).await;
        let confirm = sender(&*watcher).await.send(message("nobody", "x"), Qos::AtLeastOnce).await.unwrap();
        assert_eq!(confirm.outcome, Outcome::Accepted);
        assert_eq!(confirm.why.is_some(), version.is_v5(), "only MQTT 5 tells that nobody follows it");
        let will = Will { message: message("gone", "will"), qos: Qos::AtLeastOnce, delay: Duration::ZERO, ttl: None };
        let session = client.open(Open { will: Some(will.clone()), ..Open::default() }).await.unwrap();
        drop(session);
        let received = next(&watching).await;
        assert_eq!(text(&received), "will");
        received.accept().await.unwrap();
        let session = client.open(Open { will: Some(will), ..Open::default() }).await.unwrap();
        session.close(Close { will: true, expiry: None }).await.unwrap();
        next(&watching).await.accept().await.unwrap();
        let endpoint: Arc<dyn Endpoint> = Arc::new(client);
        assert_eq!(endpoint.capabilities().refusals, version.is_v5());
    }
}
