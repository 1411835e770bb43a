//! The roads into the hub: plain, over TLS, over WebSocket alone, and all of them by one port. Whatever road somebody comes by, the server that it meets is the same.

mod arrivals;
mod rewind;
mod settings;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use roadbed::serve::CrowdPlace;
use roadbed::tls::{Acceptor, Secured, ServerStream};
use roadbed::{Peer, amqp, http, mqtt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::shutdown::HangUps;
use crate::sniff::{SNIFFED_MAX, Sniffed, Spoken, sniff};
use crate::ws::Gate;
use crate::{Config, Shutdown};
use arrivals::{Arrivals, one};
use rewind::Rewind;

pub(crate) use settings::failure;
pub use settings::{Accepted, ClientAuth, Roads, Tls};

/// By which road somebody comes: what a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Road {
    /// Its name, which is that of its flag and of its key.
    pub(crate) name: &'static str,
    /// What is spoken at its end; `None`: whatever the client likes.
    pub(crate) courier: Option<Courier>,
    /// Whether there is TLS under it.
    pub(crate) secure: bool,
}

/// Who serves somebody that has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Courier {
    Mqtt,
    Amqp,
    Http,
    /// WebSocket and nothing else.
    Ws,
}

/// The servers, and how one gets to them.
#[derive(Clone)]
pub(crate) struct Gatehouse(Arc<Shared>);

struct Shared {
    mqtt: mqtt::Server,
    amqp: amqp::Server,
    http: http::Server,
    gate: Arc<Gate>,
    tls: Option<Acceptor>,
    arrivals: Arc<Arrivals>,
    settings: Roads,
    /// How long each courier waits for somebody who says nothing.
    patience: [Duration; 3],
    shutdown: Shutdown,
}

/// Somebody of whom it is known what is spoken.
struct Arrived<S> {
    courier: Courier,
    stream: S,
    already: Bytes,
    peer: Arc<Peer>,
}

type Secure = Box<ServerStream<Rewind<TcpStream>>>;

enum Either {
    Plain(Arrived<TcpStream>),
    Secure(Arrived<Secure>),
}

/// How much is read to see what is spoken, in bytes: most first packets whole.
const FIRST_BYTES: usize = 1024;
/// The end of a connection for who speaks TLS where there is none (RFC 8446, section 6): a fatal alert, `handshake_failure`.
const NO_TLS: &[u8] = b"\x15\x03\x01\x00\x02\x02\x28";
/// For who speaks HTTP where there is TLS.
const NO_PLAIN_HTTP: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: text/plain\r\ncontent-length: 29\r\n\r\nThis port speaks HTTPS only.\n";

impl Road {
    pub(crate) const fn plain(name: &'static str, courier: Courier) -> Self {
        Self { name, courier: Some(courier), secure: false }
    }

    pub(crate) const fn secure(name: &'static str, courier: Courier) -> Self {
        Self { name, courier: Some(courier), secure: true }
    }

    pub(crate) const ANY: Self = Self { name: "any", courier: None, secure: false };
}

impl Gatehouse {
    pub(crate) fn new(
        config: &Config,
        (mqtt, amqp, http): (mqtt::Server, amqp::Server, http::Server),
        gate: Arc<Gate>,
        figures: &Figures,
        shutdown: Shutdown,
    ) -> Self {
        let patience = [
            Duration::from_secs(config.mqtt.connect_timeout_seconds),
            Duration::from_secs(config.amqp.open_timeout_seconds),
            Duration::from_millis(config.http.header_read_ms),
        ];
        let settings = config.roads.clone();
        let Figures(arrivals, tls) = figures.clone();
        Self(Arc::new(Shared { mqtt, amqp, http, gate, tls, arrivals, settings, patience, shutdown }))
    }

    /// Serves one connection until it ends. One that leaves HTTP for another protocol goes on after that, and keeps `place` as long.
    pub(crate) async fn serve(self, road: Road, stream: TcpStream, address: SocketAddr, place: CrowdPlace) {
        // What is needed only while somebody arrives is not kept for as long as the connection lasts.
        let Some(arrived) = Box::pin(self.arrive(road, stream, address)).await else { return };
        match arrived {
            Either::Plain(arrived) => self.hand_over(arrived, address, place).await,
            Either::Secure(arrived) => self.hand_over(arrived, address, place).await,
        }
    }

    async fn arrive(&self, road: Road, stream: TcpStream, address: SocketAddr) -> Option<Either> {
        let (mut arriving, counts) = (self.0.arrivals.enter(), self.0.arrivals.counts());
        let arrival = self.admit(road, stream, address);
        let result = tokio::select! {
            () = arriving.cut() => return None,
            () = self.0.shutdown.started() => return None,
            result = tokio::time::timeout(self.patience(road), arrival) => result,
        };
        match result {
            Ok(Ok(arrived)) => Some(arrived),
            Ok(Err(error)) => {
                tracing::info!(%address, road = road.name, %error, "a connection is not let in");
                None
            }
            Err(_) => {
                one(&counts.late);
                tracing::debug!(%address, road = road.name, "a connection took too long to arrive");
                None
            }
        }
    }

    fn patience(&self, road: Road) -> Duration {
        let [mqtt, amqp, http] = self.0.patience;
        let most = Duration::from_secs(self.0.settings.arrival_seconds.max(1));
        match road.courier {
            Some(_) if road.secure => most,
            Some(Courier::Mqtt) => most.min(mqtt),
            Some(Courier::Amqp) => most.min(amqp),
            Some(Courier::Http) => most.min(http),
            Some(Courier::Ws) | None => most,
        }
    }

    async fn admit(&self, road: Road, mut stream: TcpStream, address: SocketAddr) -> io::Result<Either> {
        let peer = Peer::at(address);
        let (already, sniffed) = first_bytes(&mut stream, road.courier.is_some()).await?;
        match (sniffed, road.courier) {
            (Sniffed::Is(Spoken::Tls), _) if self.speaks_tls(road) => {
                let secured = self.shake(road, Rewind::new(already, stream), peer).await?;
                self.admit_secured(road, secured).await.map(Either::Secure)
            }
            (Sniffed::Is(Spoken::Tls), _) => {
                let _ = stream.write_all(NO_TLS).await;
                Err(self.refused("it speaks TLS where there is none"))
            }
            (spoken, _) if road.secure => {
                if spoken == Sniffed::Is(Spoken::Http) {
                    let _ = stream.write_all(NO_PLAIN_HTTP).await;
                }
                Err(self.refused("it does not speak TLS, and this port speaks nothing else"))
            }
            (_, None) if !self.0.settings.plain => {
                Err(self.refused("it does not speak TLS, and this port takes nothing else"))
            }
            (_, Some(courier)) => Ok(Either::Plain(Arrived { courier, stream, already, peer: Arc::new(peer) })),
            (sniffed, None) => {
                let courier = self.courier(sniffed)?;
                Ok(Either::Plain(Arrived { courier, stream, already, peer: Arc::new(peer) }))
            }
        }
    }

    async fn admit_secured(&self, road: Road, secured: Secured<Rewind<TcpStream>>) -> io::Result<Arrived<Secure>> {
        let (mut stream, peer) = (Box::new(secured.stream), Arc::new(secured.peer));
        let agreed = match (road.courier, secured.protocol) {
            (Some(courier), _) => Some(courier),
            (None, Some("mqtt")) => Some(Courier::Mqtt),
            (None, Some("amqp")) => Some(Courier::Amqp),
            (None, Some(_)) => Some(self.courier(Sniffed::Is(Spoken::Http))?),
            (None, None) => None,
        };
        if let Some(courier) = agreed {
            return Ok(Arrived { courier, stream, already: Bytes::new(), peer });
        }
        let (already, sniffed) = first_bytes(&mut stream, false).await?;
        let courier = self.courier(sniffed)?;
        Ok(Arrived { courier, stream, already, peer })
    }

    async fn shake(&self, road: Road, stream: Rewind<TcpStream>, peer: Peer) -> io::Result<Secured<Rewind<TcpStream>>> {
        let Some(tls) = &self.0.tls else {
            return Err(self.refused("it speaks TLS, for which there is no certificate"));
        };
        let counts = self.0.arrivals.counts();
        let secured = tls.accept(stream, &self.protocols(road), peer).await;
        one(if secured.is_ok() { &counts.handshakes } else { &counts.handshakes_failed });
        secured.map_err(|error| io::Error::new(error.kind(), format!("the TLS handshake failed: {error}")))
    }

    /// The protocols that are offered (ALPN).
    fn protocols(&self, road: Road) -> Vec<&'static str> {
        match road.courier {
            Some(Courier::Mqtt) => vec!["mqtt"],
            Some(Courier::Amqp) => vec!["amqp"],
            Some(Courier::Http) => vec!["h2", "http/1.1"],
            // RFC 8441 is not spoken.
            Some(Courier::Ws) => vec!["http/1.1"],
            None => {
                let settings = &self.0.settings;
                let all = [
                    ("mqtt", Accepted::Mqtt),
                    ("amqp", Accepted::Amqp),
                    ("h2", Accepted::Http),
                    ("http/1.1", Accepted::Http),
                    ("http/1.1", Accepted::Ws),
                ];
                all.iter().filter(|(_, needs)| settings.any.contains(needs)).map(|(name, _)| *name).collect()
            }
        }
    }

    fn speaks_tls(&self, road: Road) -> bool {
        road.secure || (road.courier.is_none() && self.0.tls.is_some() && self.0.settings.takes(Spoken::Tls))
    }

    /// Who serves this at the port for all.
    fn courier(&self, sniffed: Sniffed) -> io::Result<Courier> {
        let settings = &self.0.settings;
        match sniffed {
            Sniffed::Is(Spoken::Mqtt) if settings.takes(Spoken::Mqtt) => Ok(Courier::Mqtt),
            Sniffed::Is(Spoken::Amqp) if settings.takes(Spoken::Amqp) => Ok(Courier::Amqp),
            Sniffed::Is(Spoken::Http) if settings.any.contains(&Accepted::Http) => Ok(Courier::Http),
            Sniffed::Is(Spoken::Http) if settings.any.contains(&Accepted::Ws) => Ok(Courier::Ws),
            Sniffed::Is(_) => Err(self.refused("it speaks what this port does not take")),
            Sniffed::Unknown | Sniffed::More => {
                one(&self.0.arrivals.counts().unknown);
                Err(invalid("it speaks nothing that is known here"))
            }
        }
    }

    fn refused(&self, why: &'static str) -> io::Error {
        one(&self.0.arrivals.counts().refused);
        invalid(why)
    }

    async fn hand_over<S>(&self, arrived: Arrived<S>, address: SocketAddr, place: CrowdPlace)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let Arrived { courier, stream, already, peer } = arrived;
        let ended = match courier {
            Courier::Mqtt => {
                let _place = place;
                self.0.mqtt.serve_peer(stream, already, peer).await.map_err(|error| error.to_string())
            }
            Courier::Amqp => {
                let _place = place;
                self.0.amqp.serve_peer(stream, already, peer).await.map_err(|error| error.to_string())
            }
            // Boxed, since a task is as large as the largest of them.
            Courier::Http => {
                let serving = Box::pin(self.0.http.serve_peer(Rewind::at(place, already, stream), peer));
                serving.await.map_err(|error| match std::error::Error::source(&error) {
                    Some(cause) => format!("{error}: {cause}"),
                    None => error.to_string(),
                })
            }
            Courier::Ws => {
                let patience = Duration::from_secs(self.0.settings.arrival_seconds.max(1));
                let serving = Box::pin(self.0.gate.serve(Rewind::at(place, already, stream), peer, patience));
                serving.await.map_err(|error| error.to_string())
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%address, ?courier, %error, "a connection ended");
        }
    }
}

/// What can be told of the roads, before there are servers at their ends: the pages of one of them show it.
#[derive(Clone)]
pub(crate) struct Figures(Arc<Arrivals>, Option<Acceptor>);

impl Figures {
    pub(crate) fn new(settings: &Roads, tls: Option<Acceptor>) -> Self {
        Self(Arrivals::new(settings.arrivals_max), tls)
    }

    /// Totals, with their names.
    pub(crate) fn totals(&self) -> [(&'static str, u64); 6] {
        self.0.counts().read()
    }

    /// How many are arriving now.
    pub(crate) fn now(&self) -> u64 {
        self.0.len()
    }

    /// When the certificate ends, in seconds since 1970.
    pub(crate) fn certificate_ends_at(&self) -> Option<i64> {
        self.1.as_ref().and_then(Acceptor::ends_at)
    }
}

/// Reads certificates and keys again, at SIGHUP and when they have changed. What is wrong is said once, and all stays as it was.
pub(crate) async fn reload(tls: Acceptor, every_seconds: u64) {
    let (mut said, mut hang_ups) = (String::new(), HangUps::new());
    loop {
        let pause = async {
            match every_seconds {
                0 => std::future::pending().await,
                seconds => tokio::time::sleep(Duration::from_secs(seconds)).await,
            }
        };
        let asked = tokio::select! {
            () = pause => false,
            () = hang_ups.next() => true,
        };
        let reading = tls.clone();
        match tokio::task::spawn_blocking(move || reading.reload()).await {
            Ok(Ok(changed)) => {
                said.clear();
                if changed || asked {
                    tracing::info!(changed, "certificates were read again");
                }
            }
            Ok(Err(error)) if asked || said != error.to_string() => {
                said = error.to_string();
                let help = error.help().unwrap_or_default();
                tracing::error!(%error, help, "certificates cannot be read again; the old ones stay");
            }
            _ => {}
        }
    }
}

/// Reads until it is known what is spoken, or, where it matters only whether it is TLS, until that is.
async fn first_bytes<S: AsyncRead + Unpin>(stream: &mut S, tls_or_not: bool) -> io::Result<(Bytes, Sniffed)> {
    let mut read = BytesMut::with_capacity(FIRST_BYTES);
    loop {
        if stream.read_buf(&mut read).await? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it ends before it says anything"));
        }
        let sniffed = sniff(&read);
        if sniffed != Sniffed::More || read.len() >= SNIFFED_MAX || (tls_or_not && read[0] != 0x16) {
            return Ok((read.freeze(), sniffed));
        }
    }
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
