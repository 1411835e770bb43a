//! Enhanced authentication (section 4.12) by SCRAM, which is the core's hook and knows nothing of MQTT.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use roadbed_broker::Broker;
use roadbed_core::{AuthExchange, Authenticator, Credential, Error, ErrorKind, Identity, Result};
use roadbed_mqtt::{Server, ServerConfig};
use roadbed_sasl::{ITERATIONS_MIN, ScramClient, ScramHash, ScramServer, ScramStore, Verifier};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

const METHOD: &str = "SCRAM-SHA-256";

struct Users;

#[async_trait]
impl ScramStore for Users {
    async fn verifier(&self, user: &str, hash: ScramHash) -> Result<Option<Verifier>> {
        let known = matches!(user, "alice" | "bob");
        Ok(known.then(|| Verifier::derive(hash, b"secret", b"sixteen bytes it", ITERATIONS_MIN)))
    }
}

struct Scram(ScramServer);

#[async_trait]
impl Authenticator for Scram {
    async fn authenticate(&self, _: &roadbed_core::Peer, _: &str, _: &Credential) -> Result<Identity> {
        Err(Error::new(ErrorKind::Unauthenticated, "authenticate"))
    }

    fn exchange(&self, _: &roadbed_core::Peer, _: &str, mechanism: &str) -> Option<Box<dyn AuthExchange>> {
        self.0.exchange(mechanism)
    }
}

struct Peer {
    stream: DuplexStream,
    scram: ScramClient,
}

impl Peer {
    fn new(password: &str) -> Self {
        let (stream, served) = tokio::io::duplex(4096);
        let scram = Arc::new(Scram(ScramServer::new(Arc::new(Users), [1; 32])));
        let server = Server::new(Arc::new(Broker::new()), ServerConfig::new(scram));
        tokio::spawn(async move { server.serve(served).await.map_err(drop) });
        Self { stream, scram: client("alice", password) }
    }

    async fn connect(&mut self, method: &str) {
        let first = self.scram.step(b"").expect("first words");
        let connect = [&b"\x00\x04MQTT\x05\x02\x00\x00"[..], &properties(method, &first), b"\x00\x01c"].concat();
        self.packet(0x10, &connect).await;
    }

    async fn auth(&mut self, reason: u8, data: &[u8]) {
        self.packet(0xF0, &[vec![reason], properties(METHOD, data)].concat()).await;
    }

    async fn packet(&mut self, kind: u8, body: &[u8]) {
        let len = body.len();
        let head = if len < 128 { vec![kind, len as u8] } else { vec![kind, len as u8 | 0x80, (len >> 7) as u8] };
        self.stream.write_all(&[head, body.to_vec()].concat()).await.expect("written");
    }

    /// The next packet: its kind, and its body.
    async fn read(&mut self) -> (u8, Bytes) {
        let reading = async {
            let kind = self.stream.read_u8().await.expect("a packet");
            let (mut len, mut shift) = (0, 0);
            loop {
                let byte = self.stream.read_u8().await.expect("a length");
                len |= usize::from(byte & 0x7F) << shift;
                shift += 7;
                if byte < 0x80 {
                    break;
                }
            }
            let mut body = vec![0; len];
            self.stream.read_exact(&mut body).await.expect("a body");
            (kind, body.into())
        };
        tokio::time::timeout(Duration::from_secs(10), reading).await.expect("in time")
    }

    /// Answers the server's challenge.
    async fn prove(&mut self) {
        let (kind, body) = self.read().await;
        assert_eq!((kind, body[0]), (0xF0, 0x18), "AUTH, continue");
        let proof = self.scram.step(&data(&body)).expect("a challenge");
        self.auth(0x18, &proof).await;
    }
}

fn client(user: &str, password: &str) -> ScramClient {
    ScramClient::new(ScramHash::Sha256, user, password.as_bytes(), 10_000).expect("a client")
}

fn properties(method: &str, data: &[u8]) -> Vec<u8> {
    let text = |id: u8, bytes: &[u8]| [&[id, 0, bytes.len() as u8], bytes].concat();
    let all = [text(0x15, method.as_bytes()), text(0x16, data)].concat();
    assert!(all.len() < 128);
    [vec![all.len() as u8], all].concat()
}

/// The authentication data of a packet: behind its method.
fn data(body: &[u8]) -> Bytes {
    let method = [&[0x15, 0, METHOD.len() as u8], METHOD.as_bytes()].concat();
    let find = |what: &[u8]| body.windows(what.len()).position(|window| window == what);
    assert!(find(&method).is_some(), "the method is said again [MQTT-4.12.0-5]");
    let at = find(&[0x16, 0]).expect("data");
    let len = usize::from(u16::from_be_bytes([body[at + 1], body[at + 2]]));
    Bytes::copy_from_slice(&body[at + 3..at + 3 + len])
}

#[tokio::test]
async fn a_client_comes_in_by_scram_and_again() {
    let mut peer = Peer::new("secret");
    peer.connect(METHOD).await;
    peer.prove().await;
    let (kind, body) = peer.read().await;
    assert_eq!((kind, body[1]), (0x20, 0x00), "CONNACK, success");
    peer.scram.step(&data(&body)).expect("the server has proved itself, too");
    assert!(peer.scram.is_done());
    // Section 4.12.1: the same once more, on the open connection.
    peer.scram = client("alice", "secret");
    let first = peer.scram.step(b"").expect("first words");
    peer.auth(0x19, &first).await;
    peer.prove().await;
    let (kind, body) = peer.read().await;
    assert_eq!((kind, body[0]), (0xF0, 0x00), "AUTH, success");
    peer.scram.step(&data(&body)).expect("proved again");
    // And as somebody else: no.
    peer.scram = client("bob", "secret");
    let first = peer.scram.step(b"").expect("first words");
    peer.auth(0x19, &first).await;
    peer.prove().await;
    let (kind, body) = peer.read().await;
    assert_eq!((kind, body[0]), (0xE0, 0x87), "DISCONNECT, not authorized");
}

#[tokio::test]
async fn a_wrong_password_is_not_authorized() {
    let mut peer = Peer::new("Secret");
    peer.connect(METHOD).await;
    peer.prove().await;
    let (kind, body) = peer.read().await;
    assert_eq!((kind, body[1]), (0x20, 0x87));
}

#[tokio::test]
async fn an_unknown_method_is_a_bad_one() {
    let mut peer = Peer::new("secret");
    peer.connect("SCRAM-SHA-1").await;
    let (kind, body) = peer.read().await;
    assert_eq!((kind, body[1]), (0x20, 0x8C));
}
