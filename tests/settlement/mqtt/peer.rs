//! A client on a real socket, by hand.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::server::Served;
use super::wire::{self, Connect, Packet};
use crate::Result;
use crate::tell::{Context as _, same};

/// How long a connection must be quiet for nothing more to be expected.
const QUIET: Duration = Duration::from_millis(150);
/// How long something that should come may take.
const PATIENCE: Duration = Duration::from_secs(8);
/// An answer that takes this long, with the connection open, is withheld.
const WITHHELD: Duration = Duration::from_secs(1);

pub(crate) struct Peer {
    stream: TcpStream,
    read: Vec<u8>,
    pub(crate) v5: bool,
    /// What CONNACK said.
    pub(crate) connack: Packet,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Packet(Packet),
    Closed,
    Nothing,
}

impl Peer {
    /// A client that is let in.
    pub(crate) async fn connect(served: &Served, connect: &Connect) -> Result<Self> {
        let peer = Self::ask(served, connect).await?;
        same("CONNACK", peer.connack.body[1], 0)?;
        Ok(peer)
    }

    /// A connection, and not a byte on it.
    pub(crate) async fn open(served: &Served) -> Result<Self> {
        TcpStream::connect(served.address).await.map(Self::over).during("connect")
    }

    /// The end of this connection: a client's, or a server's.
    pub(crate) fn over(stream: TcpStream) -> Self {
        Self { stream, read: Vec::new(), v5: true, connack: Packet { first: 0, body: Vec::new() } }
    }

    /// A client that has its answer, whatever it is.
    pub(crate) async fn ask(served: &Served, connect: &Connect) -> Result<Self> {
        let mut peer = Self::open(served).await?;
        peer.v5 = connect.v5;
        peer.write(&connect.to_bytes()).await?;
        peer.connack = peer.packet(2).await?;
        Ok(peer)
    }

    pub(crate) fn session_present(&self) -> bool {
        self.connack.body[0] & 1 == 1
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result {
        self.stream.write_all(bytes).await.during("write")
    }

    pub(crate) async fn subscribe(&mut self, filter: &str, qos: u8) -> Result<u8> {
        self.write(&wire::subscribe(self.v5, filter, qos)).await?;
        let suback = self.packet(9).await?;
        suback.body.last().copied().ok_or_else(|| "SUBACK is empty".into())
    }

    /// The next packet, which has to be of this kind.
    pub(crate) async fn packet(&mut self, kind: u8) -> Result<Packet> {
        match self.next(PATIENCE).await? {
            Seen::Packet(packet) if packet.kind() == kind => Ok(packet),
            other => Err(format!("{other:?} instead of a packet of kind {kind}")),
        }
    }

    /// What comes next within this time.
    pub(crate) async fn next(&mut self, patience: Duration) -> Result<Seen> {
        let until = tokio::time::Instant::now() + patience;
        loop {
            if let Some(packet) = Packet::take(&mut self.read) {
                return Ok(Seen::Packet(packet));
            }
            match tokio::time::timeout_at(until, self.stream.read_buf(&mut self.read)).await {
                Err(_) => return Ok(Seen::Nothing),
                Ok(Ok(0)) => return Ok(Seen::Closed),
                Ok(Ok(_)) => {}
                Ok(Err(error)) if error.kind() == ErrorKind::ConnectionReset => return Ok(Seen::Closed),
                Ok(Err(error)) => return Err(error.to_string()),
            }
        }
    }

    /// Everything that comes until the connection is quiet or closed, in the grammar of answers. What is expected says only how long
    /// to wait: never what is seen.
    pub(crate) async fn answer(&mut self, expected: &str) -> Result<String> {
        let asked = Instant::now();
        let mut steps: Vec<String> = Vec::new();
        let due = if expected == "nothing" { 0 } else { expected.split(", then ").count() };
        loop {
            let patience = if steps.len() < due { PATIENCE } else { QUIET };
            match self.next(patience).await? {
                Seen::Packet(packet) => steps.push(packet.told(self.v5)),
                Seen::Nothing => break,
                Seen::Closed => {
                    if steps.is_empty() && asked.elapsed() >= WITHHELD {
                        steps.push("withheld".into());
                    }
                    steps.push("close".into());
                    return Ok(steps.join(", then "));
                }
            }
        }
        self.ping().await?;
        Ok(if steps.is_empty() { "nothing".into() } else { steps.join(", then ") })
    }

    /// The connection goes on, and nothing was left to come.
    pub(crate) async fn ping(&mut self) -> Result {
        self.write(&wire::PINGREQ).await?;
        self.packet(13).await.map(drop)
    }

    /// Waits for the end of the connection.
    pub(crate) async fn closed(&mut self) -> Result {
        same("the connection", self.next(PATIENCE).await?, Seen::Closed)
    }

    /// Ends the connection without a word.
    pub(crate) async fn cut(&mut self) {
        let _ = self.stream.shutdown().await;
        // The server sees it before the next connection comes.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
