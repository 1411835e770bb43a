//! What a client is told that is not let in: whether its credentials are wrong, or were not looked at.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use roadbed_broker::Broker;
use roadbed_core::{Authenticator, Credential, Error, ErrorKind, Identity, Peer, Result};
use roadbed_mqtt::{MachineConfig, Server, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Refuses everybody in one way; without one it does not answer.
struct Refuses(Option<ErrorKind>);

#[async_trait]
impl Authenticator for Refuses {
    async fn authenticate(&self, _: &Peer, _: &str, _: &Credential) -> Result<Identity> {
        match self.0 {
            Some(kind) => Err(Error::new(kind, "authenticate")),
            None => std::future::pending().await,
        }
    }
}

/// The code of CONNACK.
async fn told(kind: Option<ErrorKind>, version: u8) -> u8 {
    let (mut stream, served) = tokio::io::duplex(4096);
    let machine =
        MachineConfig::default().connect_timeout(Duration::from_millis(if kind.is_some() { 60_000 } else { 50 }));
    let server = Server::new(Arc::new(Broker::new()), ServerConfig::new(Arc::new(Refuses(kind))).machine(machine));
    tokio::spawn(async move { server.serve(served).await.map_err(drop) });
    let properties: &[u8] = if version == 5 { &[0] } else { &[] };
    let body = [&[0, 4, b'M', b'Q', b'T', b'T', version, 2, 0, 60], properties, &[0, 1, b'c']].concat();
    stream.write_all(&[&[0x10, body.len() as u8], &body[..]].concat()).await.expect("written");
    let mut answer = Vec::new();
    let reading = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut answer));
    reading.await.expect("it is closed").expect("in order");
    assert_eq!(answer[0], 0x20, "CONNACK");
    answer[3]
}

#[tokio::test]
async fn wrong_credentials_are_told_from_those_nobody_looked_at() {
    for (kind, in_5, in_3) in [
        (Some(ErrorKind::Unauthenticated), 0x86, 4),
        (Some(ErrorKind::Exhausted), 0x97, 3),
        (Some(ErrorKind::Unavailable), 0x88, 3),
        (Some(ErrorKind::TimedOut), 0x88, 3),
        (None, 0x88, 3),
    ] {
        assert_eq!((told(kind, 5).await, told(kind, 4).await), (in_5, in_3), "{kind:?}");
    }
}
