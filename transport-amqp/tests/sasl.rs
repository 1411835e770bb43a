//! SASL: rounds of the machine at both ends, the `fe2o3-amqp` client with SCRAM, and what hostile clients try.

#[allow(dead_code, reason = "shared with other tests")]
mod support;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use fe2o3_amqp::Connection;
use fe2o3_amqp::sasl_profile::{SaslProfile, SaslScramSha256, SaslScramSha512};
use roadbed_amqp::codec::{ProtocolHeader, SaslCode, SaslFrame, frame, put_sasl};
use roadbed_amqp::{Admission, Error, Event, Listener, MachineConfig, Sasl, Server, ServerConfig};
use roadbed_broker::Broker;
use roadbed_core::{
    AuthExchange, AuthStep, Authenticator, Credential, Error as CoreError, ErrorKind, Identity, Output, Peer, Result,
};
use roadbed_sasl::{ITERATIONS_MIN, ScramHash, ScramServer, ScramStore, Verifier};
use support::Pair;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::TcpListener;

/// `alice` with the password `secret`, by SCRAM and PLAIN; `gateway` by a certificate.
struct Users(ScramServer);

struct Store;

#[async_trait]
impl ScramStore for Store {
    async fn verifier(&self, user: &str, hash: ScramHash) -> Result<Option<Verifier>> {
        // Not at once: the exchange is asynchronous.
        tokio::task::yield_now().await;
        Ok((user == "alice").then(|| Verifier::derive(hash, b"secret", b"sixteen bytes it", ITERATIONS_MIN)))
    }
}

#[async_trait]
impl Authenticator for Users {
    async fn authenticate(&self, _: &Peer, _: &str, credential: &Credential) -> Result<Identity> {
        match credential {
            Credential::Password { user, password } if user == "alice" && password == "secret" => {
                Ok(Identity::new("alice"))
            }
            Credential::Password { user, .. } if user == "later" => {
                Err(CoreError::new(ErrorKind::Unavailable, "authenticate"))
            }
            Credential::Password { user, .. } if user == "never" => std::future::pending().await,
            Credential::External { name } if name == "gateway" => Ok(Identity::new("gateway")),
            _ => Err(CoreError::new(ErrorKind::Unauthenticated, "authenticate")),
        }
    }

    fn mechanisms(&self) -> &[&'static str] {
        &["EXTERNAL", "SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"]
    }

    fn exchange(&self, _: &Peer, _: &str, mechanism: &str) -> Option<Box<dyn AuthExchange>> {
        self.0.exchange(mechanism)
    }
}

fn users() -> Arc<Users> {
    Arc::new(Users(ScramServer::new(Arc::new(Store), [1; 32])))
}

fn server() -> Server {
    Server::new(Arc::new(Broker::new()), ServerConfig::new(users()))
}

// ---- the machine ----------------------------------------------------------------------------------------------------

/// Both machines, with SCRAM between them.
async fn rounds(sasl: Sasl, piece: usize) -> std::result::Result<Vec<&'static str>, Error> {
    let (mut pair, mut said) =
        (Pair::connecting(MachineConfig::default(), MachineConfig::default(), Some(sasl), piece), vec![]);
    let mut exchange = None;
    loop {
        pair.try_at_client()?;
        for event in pair.try_at_server()? {
            let data = match event {
                Event::Sasl { mechanism, response } => {
                    said.push("init");
                    exchange = users().exchange(&Peer::default(), "", &mechanism);
                    response
                }
                Event::SaslResponse(data) => {
                    said.push("response");
                    Some(data)
                }
                Event::Open(_) => return Ok(said),
                other => panic!("{other:?}"),
            };
            let step = exchange.as_mut().expect("SCRAM was chosen").step(data).await;
            match step {
                Ok(AuthStep::Continue(challenge)) => pair.server.challenge(challenge, &mut pair.to_client),
                Ok(AuthStep::Success(_, last)) => pair.server.admit(Admission::Admitted(last), &mut pair.to_client),
                Err(_) => pair.server.admit(Admission::Refused(SaslCode::Auth), &mut pair.to_client),
            }
            .expect("it is the server's turn");
        }
    }
}

fn password(password: &'static str) -> Sasl {
    Sasl::Password { user: "alice".into(), password: password.into() }
}

#[tokio::test]
async fn machines_go_through_the_rounds() {
    for piece in [1, 7, usize::MAX] {
        for sasl in [password("secret"), Sasl::Scram { user: "alice".into(), password: "secret".into() }] {
            assert_eq!(rounds(sasl, piece).await, Ok(vec!["init", "response"]));
        }
        assert_eq!(rounds(password("Secret"), piece).await, Err(Error::SaslRefused(SaslCode::Auth)));
    }
}

/// A server of our own hand: what a client answers to it.
fn answers(sasl: Sasl, offered: &[&str], said: &[SaslFrame]) -> std::result::Result<Vec<SaslFrame>, Error> {
    let mut pair = Pair::connecting(MachineConfig::default(), MachineConfig::default(), Some(sasl), usize::MAX);
    pair.to_client.put_slice(&ProtocolHeader::Sasl.bytes());
    let offered = SaslFrame::Mechanisms(offered.iter().map(|&name| name.into()).collect());
    let mut heard = vec![];
    for said in std::iter::once(&offered).chain(said) {
        put(&mut pair.to_client, said);
        pair.try_at_client()?;
        let mut bytes = BytesMut::new();
        while bytes::Buf::has_remaining(&pair.to_server) {
            let chunk = bytes::Buf::chunk(&pair.to_server).to_vec();
            bytes::Buf::advance(&mut pair.to_server, chunk.len());
            bytes.extend_from_slice(&chunk);
        }
        let bytes = bytes.freeze();
        let mut at = if bytes.starts_with(b"AMQP") { 8 } else { 0 };
        while let Ok(Some(found)) = frame(&bytes, &mut at, 8192) {
            heard.extend(SaslFrame::decode(&found.body, &Default::default()));
        }
    }
    Ok(heard)
}

fn put(out: &mut Output, said: &SaslFrame) {
    out.put_slice(&encoded(said));
}

fn encoded(said: &SaslFrame) -> BytesMut {
    let mut bytes = BytesMut::from(&[0, 0, 0, 0, 2, 1, 0, 0][..]);
    put_sasl(&mut bytes, said);
    let size = bytes.len() as u32;
    bytes[..4].copy_from_slice(&size.to_be_bytes());
    bytes
}

fn ok(data: Option<&'static [u8]>) -> SaslFrame {
    SaslFrame::Outcome { code: SaslCode::Ok, data: data.map(Bytes::from_static) }
}

#[test]
fn a_client_takes_the_strongest_mechanism_and_never_shows_a_password_that_it_keeps() {
    let chosen = |sasl, offered: &[&str]| match &answers(sasl, offered, &[])?[..] {
        [SaslFrame::Init { mechanism, .. }] => Ok(mechanism.clone()),
        other => panic!("{other:?}"),
    };
    let all = ["ANONYMOUS", "PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512"];
    assert_eq!(chosen(password("x"), &all).as_deref(), Ok("SCRAM-SHA-512"));
    assert_eq!(chosen(password("x"), &all[..4]).as_deref(), Ok("SCRAM-SHA-256"));
    assert_eq!(chosen(password("x"), &all[..3]).as_deref(), Ok("PLAIN"));
    let scram = Sasl::Scram { user: "alice".into(), password: "x".into() };
    assert_eq!(chosen(scram.clone(), &all[..3]), Err(Error::SaslMechanism), "PLAIN would show it");
    assert_eq!(chosen(Sasl::External, &all), Err(Error::SaslMechanism));
    assert!(!format!("{scram:?} {:?}", password("hidden")).contains("hidden"));
}

#[test]
fn a_client_believes_no_server_that_has_not_proved_itself() {
    let offered = ["SCRAM-SHA-256"];
    let challenge = |text: &'static str| SaslFrame::Challenge(Bytes::from_static(text.as_bytes()));
    for said in [
        vec![ok(None)],
        vec![ok(Some(b"v=AAAA"))],
        vec![challenge("")],
        vec![challenge("r=x,s=c2FsdA==,i=4096")],
        vec![SaslFrame::Challenge(Bytes::from(vec![b'x'; 8000]))],
    ] {
        assert_eq!(answers(password("secret"), &offered, &said), Err(Error::SaslServer), "{said:?}");
    }
    let refused = SaslFrame::Outcome { code: SaslCode::SysTemp, data: None };
    let refused = answers(password("secret"), &offered, &[refused]);
    assert_eq!(refused, Err(Error::SaslRefused(SaslCode::SysTemp)));
    assert_eq!(CoreError::from(refused.unwrap_err()).kind(), ErrorKind::Unavailable);
    // A server that asks for ever.
    let asking = vec![challenge(""); 9];
    let heard = answers(Sasl::Plain { user: "u".into(), password: "p".into() }, &["PLAIN"], &asking);
    assert_eq!(heard, Err(Error::Unexpected("another challenge")));
}

// ---- the server -----------------------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fe2o3_client_comes_in_by_scram() {
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let url = format!("amqp://{}", socket.local_addr().expect("bound"));
    let task = tokio::spawn(Listener::new(socket, server()).run(std::future::pending()));
    let open = |profile: SaslProfile| {
        let opening = Connection::builder().container_id("c").sasl_profile(profile).open(&*url);
        async { tokio::time::timeout(Duration::from_secs(10), opening).await.expect("in time") }
    };
    for profile in [
        SaslProfile::ScramSha256(SaslScramSha256::new("alice", "secret")),
        SaslProfile::ScramSha512(SaslScramSha512::new("alice", "secret")),
        SaslProfile::from(("alice", "secret")),
    ] {
        let mut connection = open(profile).await.expect("let in");
        connection.close().await.expect("closed");
    }
    for profile in [
        SaslProfile::ScramSha256(SaslScramSha256::new("alice", "Secret")),
        SaslProfile::ScramSha512(SaslScramSha512::new("bob", "secret")),
        SaslProfile::from(("alice", "Secret")),
        SaslProfile::Anonymous,
    ] {
        assert!(open(profile).await.is_err());
    }
    task.abort();
}

/// A client of our own hand.
struct Raw {
    stream: DuplexStream,
    read: BytesMut,
}

impl Raw {
    fn to(server: &Server, known: Option<&'static str>) -> Self {
        let (stream, served) = tokio::io::duplex(1 << 16);
        let connection = match known {
            Some(name) => {
                let mut peer = Peer::default();
                peer.name = Some(name.into());
                server.serve_peer(served, Bytes::new(), Arc::new(peer))
            }
            None => server.serve(served),
        };
        tokio::spawn(async move { connection.await.map_err(drop) });
        Self { stream, read: BytesMut::new() }
    }

    async fn sasl(server: &Server, known: Option<&'static str>) -> (Self, Vec<String>) {
        let mut raw = Self::to(server, known);
        raw.write(&ProtocolHeader::Sasl.bytes()).await;
        assert_eq!(raw.bytes(8).await.expect("a header"), &ProtocolHeader::Sasl.bytes()[..]);
        match raw.heard().await {
            Some(SaslFrame::Mechanisms(mechanisms)) => (raw, mechanisms),
            other => panic!("{other:?}"),
        }
    }

    async fn write(&mut self, bytes: &[u8]) {
        // The server may have gone already.
        let _ = self.stream.write_all(bytes).await;
    }

    async fn say(&mut self, said: &SaslFrame) {
        self.write(&encoded(said)).await;
    }

    async fn init(&mut self, mechanism: &str, response: Option<&[u8]>) {
        let response = response.map(Bytes::copy_from_slice);
        self.say(&SaslFrame::Init { mechanism: mechanism.into(), response, hostname: None }).await;
    }

    async fn bytes(&mut self, len: usize) -> Option<Bytes> {
        while self.read.len() < len {
            let read = tokio::time::timeout(Duration::from_secs(10), self.stream.read_buf(&mut self.read));
            if read.await.expect("in time").ok()? == 0 {
                return None;
            }
        }
        Some(self.read.split_to(len).freeze())
    }

    /// The next SASL frame; `None` at the end.
    async fn heard(&mut self) -> Option<SaslFrame> {
        let size = self.bytes(4).await?;
        let rest = self.bytes(u32::from_be_bytes(size[..].try_into().unwrap()) as usize - 4).await?;
        let (bytes, mut at) = (Bytes::from([&size[..], &rest[..]].concat()), 0);
        let found = frame(&bytes, &mut at, 8192).expect("a frame").expect("whole");
        Some(SaslFrame::decode(&found.body, &Default::default()).expect("a SASL frame"))
    }

    async fn ends_with(mut self, code: SaslCode) {
        assert_eq!(self.heard().await, Some(SaslFrame::Outcome { code, data: None }));
        assert_eq!(self.heard().await, None, "and the connection ends");
    }
}

#[tokio::test]
async fn what_is_offered_is_what_can_be_had() {
    let (_, offered) = Raw::sasl(&server(), None).await;
    assert_eq!(offered, ["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"]);
    let (_, offered) = Raw::sasl(&server(), Some("gateway")).await;
    assert_eq!(offered, ["EXTERNAL", "SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"]);
    let machine = MachineConfig::default().mechanisms(vec!["SCRAM-SHA-256".into(), "GSSAPI".into()]);
    let only = Server::new(Arc::new(Broker::new()), ServerConfig::new(users()).machine(machine));
    assert_eq!(Raw::sasl(&only, None).await.1, ["SCRAM-SHA-256"]);
    assert_eq!(
        Raw::sasl(&Server::new(Arc::new(Broker::new()), ServerConfig::permissive()), None).await.1,
        ["PLAIN", "ANONYMOUS"]
    );
}

#[tokio::test]
async fn a_certificate_is_as_good_as_a_password_but_for_nobody_else() {
    for said in [Some(&b""[..]), None, Some(b"gateway")] {
        let (mut raw, _) = Raw::sasl(&server(), Some("gateway")).await;
        raw.init("EXTERNAL", said).await;
        assert_eq!(raw.heard().await, Some(SaslFrame::Outcome { code: SaslCode::Ok, data: None }));
    }
    for (known, said) in [(Some("gateway"), "alice"), (Some("stranger"), ""), (None, ""), (None, "gateway")] {
        let (mut raw, _) = Raw::sasl(&server(), known).await;
        raw.init("EXTERNAL", Some(said.as_bytes())).await;
        raw.ends_with(SaslCode::Auth).await;
    }
}

#[tokio::test]
async fn who_says_nothing_first_is_asked() {
    let (mut raw, _) = Raw::sasl(&server(), None).await;
    raw.init("PLAIN", None).await;
    assert_eq!(raw.heard().await, Some(SaslFrame::Challenge(Bytes::new())));
    raw.say(&SaslFrame::Response(Bytes::from_static(b"\0alice\0secret"))).await;
    assert_eq!(raw.heard().await, Some(SaslFrame::Outcome { code: SaslCode::Ok, data: None }));
}

#[tokio::test]
async fn refusals_say_whether_to_try_again_and_nothing_else() {
    for (mechanism, said, code) in [
        ("PLAIN", "\0alice\0Secret", SaslCode::Auth),
        ("PLAIN", "\0nobody\0secret", SaslCode::Auth),
        ("PLAIN", "bob\0alice\0secret", SaslCode::Auth),
        ("PLAIN", "alice", SaslCode::Auth),
        ("PLAIN", "\0later\0x", SaslCode::SysTemp),
        ("SCRAM-SHA-256", "p=tls-exporter,,n=alice,r=x", SaslCode::Auth),
        ("SCRAM-SHA-256", "n", SaslCode::Auth),
        ("SCRAM-SHA-1", "n,,n=alice,r=x", SaslCode::Auth),
        ("ANONYMOUS", "", SaslCode::Auth),
        ("", "", SaslCode::Auth),
    ] {
        let (mut raw, _) = Raw::sasl(&server(), None).await;
        raw.init(mechanism, Some(said.as_bytes())).await;
        raw.ends_with(code).await;
    }
}

#[tokio::test]
async fn a_credential_that_is_never_checked_does_not_hold_the_connection() {
    let machine = MachineConfig::default().open_timeout(Duration::from_millis(200));
    let impatient = Server::new(Arc::new(Broker::new()), ServerConfig::new(users()).machine(machine));
    let (mut raw, _) = Raw::sasl(&impatient, None).await;
    raw.init("PLAIN", Some(b"\0never\0x")).await;
    raw.ends_with(SaslCode::SysTemp).await;
}

#[tokio::test]
async fn frames_out_of_turn_end_the_connection() {
    let response = SaslFrame::Response(Bytes::from_static(b"x"));
    for said in
        [response.clone(), SaslFrame::Challenge(Bytes::new()), ok(None), SaslFrame::Mechanisms(vec!["PLAIN".into()])]
    {
        let (mut raw, _) = Raw::sasl(&server(), None).await;
        raw.say(&said).await;
        assert_eq!(raw.heard().await, None, "{said:?}");
    }
    // A second init, where the answer to a challenge is due; and thousands of them.
    let (mut raw, _) = Raw::sasl(&server(), None).await;
    raw.init("SCRAM-SHA-256", Some(b"n,,n=alice,r=abcdefgh")).await;
    assert!(matches!(raw.heard().await, Some(SaslFrame::Challenge(_))));
    for _ in 0..5000 {
        raw.init("SCRAM-SHA-256", Some(b"n,,n=alice,r=abcdefgh")).await;
    }
    assert_eq!(raw.heard().await, None);
    // An AMQP frame within SASL.
    let (mut raw, _) = Raw::sasl(&server(), None).await;
    raw.write(&[0, 0, 0, 8, 2, 0, 0, 0]).await;
    assert_eq!(raw.heard().await, None);
}

#[tokio::test]
async fn nobody_who_is_not_known_makes_the_server_gather_much() {
    let (mut raw, _) = Raw::sasl(&server(), None).await;
    raw.init(&"X".repeat(1 << 20), Some(b"")).await;
    assert_eq!(raw.heard().await, None, "a mechanism of a megabyte");
    let (mut raw, _) = Raw::sasl(&server(), None).await;
    raw.init("PLAIN", Some(&vec![0; 1 << 20])).await;
    assert_eq!(raw.heard().await, None, "a response of a megabyte");
    // A client that never says its part of SCRAM.
    let (mut raw, _) = Raw::sasl(&server(), None).await;
    raw.init("SCRAM-SHA-256", Some(b"")).await;
    assert_eq!(raw.heard().await, Some(SaslFrame::Challenge(Bytes::new())));
    raw.say(&SaslFrame::Response(Bytes::new())).await;
    raw.ends_with(SaslCode::Auth).await;
}
