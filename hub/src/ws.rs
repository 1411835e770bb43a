//! WebSocket: MQTT and AMQP on the HTTP listeners, chosen by subprotocol.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Response, request};
use roadbed::http::{Upgrade, Upgraded};
use roadbed::ws::{Offer, Refused, Role, WsStream, accept_if};
use roadbed::{Error, ErrorKind, Peer, amqp, mqtt};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};

/// What WebSocket is offered for, on the HTTP listeners.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Ws {
    /// Whether MQTT is spoken over it.
    pub mqtt: bool,
    /// Whether AMQP is spoken over it.
    pub amqp: bool,
    /// Where pages that may connect come from, such as `https://panel.example`; `*`: from anywhere; empty: from this server itself. Programs that are no browsers say nothing of it, and may.
    pub origins: Vec<String>,
}

impl Default for Ws {
    fn default() -> Self {
        Self { mqtt: true, amqp: true, origins: Vec::new() }
    }
}

/// What serves a connection that has become WebSocket.
#[derive(Clone)]
enum Courier {
    Mqtt(mqtt::Server),
    Amqp(amqp::Server),
}

/// Decides about requests that want to leave HTTP.
pub(crate) struct Gate {
    couriers: Vec<(&'static str, Courier)>,
    origins: Vec<String>,
}

impl Ws {
    pub(crate) fn gate(&self, mqtt: &mqtt::Server, amqp: &amqp::Server) -> Gate {
        let mut couriers = Vec::new();
        if self.mqtt {
            couriers.extend(["mqtt", "mqttv3.1"].map(|name| (name, Courier::Mqtt(mqtt.clone()))));
        }
        if self.amqp {
            couriers.extend(["amqp", "AMQPWSB10"].map(|name| (name, Courier::Amqp(amqp.clone()))));
        }
        Gate { couriers, origins: self.origins.clone() }
    }
}

impl Gate {
    /// `None` if the request does not want WebSocket.
    pub(crate) fn open(&self, head: &request::Parts) -> Option<Result<Upgrade, Response<Bytes>>> {
        let offer = Offer::of(head)?;
        Some(
            offer
                .and_then(|offer| self.choose(&offer, head))
                .map_err(|refused| refused.response::<String>().map(Bytes::from)),
        )
    }

    /// Serves a connection on which there is nothing but WebSocket.
    ///
    /// # Errors
    /// If it asks for something else, or not within `patience`; or the reason for which it has ended.
    pub(crate) async fn serve<S>(&self, io: S, peer: Arc<Peer>, patience: Duration) -> roadbed::Result<()>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let failed = |error: io::Error| Error::new(ErrorKind::Disconnected, "open").because(error);
        let accepting = accept_if(io, |offer| self.select(offer).map(|(name, _)| Some(*name)));
        let accepted = tokio::time::timeout(patience, accepting).await.map_err(|late| failed(late.into()))?;
        let accepted = accepted.map_err(failed)?;
        let chosen = self.couriers.iter().find(|(name, _)| *name == accepted.protocol);
        let (_, courier) = chosen.ok_or_else(|| Error::new(ErrorKind::NotSupported, "open"))?;
        courier.clone().serve(accepted.io, peer).await
    }

    /// What is served, of what a client offers.
    fn select(&self, offer: &Offer) -> Result<&(&'static str, Courier), Refused> {
        if offer.origin().is_some_and(|origin| !self.admits(offer, origin)) {
            return Err(Refused::Origin);
        }
        let known = |offered| self.couriers.iter().find(|(name, _)| *name == offered);
        offer.protocols().find_map(known).ok_or(Refused::Protocol)
    }

    fn choose(&self, offer: &Offer, head: &request::Parts) -> Result<Upgrade, Refused> {
        let (name, courier) = self.select(offer)?;
        let (name, courier) = (*name, courier.clone());
        let peer = head.extensions.get::<Arc<Peer>>().cloned().unwrap_or_default();
        Ok(Upgrade::new(offer.accepted(Some(name)), move |io| async move {
            if let Err(error) = courier.serve(io, peer).await {
                tracing::debug!(protocol = name, %error, "a connection over WebSocket ended");
            }
        }))
    }

    fn admits(&self, offer: &Offer, origin: &str) -> bool {
        if self.origins.is_empty() {
            return offer.is_same_origin();
        }
        self.origins.iter().any(|admitted| admitted == "*" || admitted.eq_ignore_ascii_case(origin))
    }
}

impl Courier {
    async fn serve(self, io: Upgraded, peer: Arc<Peer>) -> roadbed::Result<()> {
        let stream = WsStream::new(io, Role::Server);
        match self {
            Self::Mqtt(server) => server.serve_peer(stream, Bytes::new(), peer).await,
            Self::Amqp(server) => server.serve_peer(stream, Bytes::new(), peer).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use roadbed::ws::{Ask, connect};
    use roadbed::{Message, Qos, Url};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::config::Listen;
    use crate::hub::Running;
    use crate::{Config, Store};

    async fn hub(ws: Ws) -> (Running, SocketAddr) {
        let http = vec!["127.0.0.1:0".parse().expect("an address")];
        let listen = Listen { http, ..Listen::NONE };
        let config = Config { listen, ws, store: Store::in_memory(), ..Config::default() };
        let hub = Running::start(&config, None).await.expect("it starts");
        let address = hub.http()[0];
        (hub, address)
    }

    #[tokio::test]
    async fn messages_cross_between_protocols_over_websocket_alone() {
        let (hub, address) = hub(Ws::default()).await;
        let to = |scheme: &str| format!("{scheme}://{address}/queues/orders").parse::<Url>().expect("a URL");
        for (from, into) in [("ws+mqtt", "ws+amqp"), ("ws+amqp", "ws+mqtt"), ("http", "ws+amqp")] {
            let sender = roadbed::connect(&to(from)).await.expect("it is let in");
            let receiving = roadbed::connect(&to(into)).await.expect("it is let in");
            let receiver = receiving.receiver("queues/orders", Qos::AtLeastOnce).await.expect("it may");
            let message = Message::new("queues/orders".parse().expect("an address"), from.as_bytes());
            let accepted = sender.sender().await.expect("it may").send(message, Qos::AtLeastOnce).await;
            accepted.expect("it is there");
            let got = receiver.receive().await.expect("legal").expect("one");
            assert_eq!(got.message.payload().to_bytes(), from);
            got.accept().await.expect("it is there");
            receiver.detach(roadbed::Detach::Close).await.expect("it is there");
            sender.close().await.expect("in good order");
            receiving.close().await.expect("in good order");
        }
        hub.stop().await.expect("it ends");
    }

    /// The status of the answer to a request with these headers beside the usual ones.
    async fn answered(address: SocketAddr, more: &str) -> String {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        let request = format!(
            "GET /mqtt HTTP/1.1\r\nHost: hub\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.expect("taken");
        let mut status = [0; 12];
        stream.read_exact(&mut status).await.expect("an answer");
        String::from_utf8_lossy(&status[9..]).into_owned()
    }

    #[tokio::test]
    async fn who_may_not_is_told_in_the_words_of_http() {
        let ws = Ws { amqp: false, origins: vec!["https://panel.example".into()], ..Ws::default() };
        let (hub, address) = hub(ws).await;
        let good = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt";
        for (more, status) in [
            (good.to_owned(), "101"),
            (format!("{good}\r\nOrigin: https://PANEL.example"), "101"),
            (format!("{good}\r\nOrigin: https://evil.example"), "403"),
            (format!("{good}\r\nOrigin: null"), "403"),
            (good.replace("mqtt", "amqp"), "400"),
            (good.replace("13", "12"), "426"),
        ] {
            assert_eq!(answered(address, &more).await, status, "{more}");
        }
        hub.stop().await.expect("it ends");
    }

    #[tokio::test]
    async fn where_nothing_is_said_pages_of_the_hub_itself_may() {
        let good = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\nOrigin: ";
        let origins = |origins: &[&str]| origins.iter().map(|origin| (*origin).to_owned()).collect();
        for (admitted, origin, status) in [
            (origins(&[]), "http://hub", "101"),
            (origins(&[]), "https://HUB", "101"),
            (origins(&[]), "http://hub:81", "403"),
            (origins(&[]), "https://evil.example", "403"),
            (origins(&[]), "null", "403"),
            (origins(&["*"]), "https://evil.example", "101"),
        ] {
            let (hub, address) = hub(Ws { origins: admitted, ..Ws::default() }).await;
            assert_eq!(answered(address, &format!("{good}{origin}")).await, status, "{origin}");
            hub.stop().await.expect("it ends");
        }
    }

    #[tokio::test]
    async fn a_connection_that_has_left_http_keeps_its_place() {
        let http = vec!["127.0.0.1:0".parse().expect("an address")];
        let listen = Listen { http, ..Listen::NONE };
        let mut config = Config { listen, store: Store::in_memory(), ..Config::default() };
        config.limits.connections_max = 1;
        let hub = Running::start(&config, None).await.expect("it starts");
        let address = hub.http()[0];
        let ask = Ask { host: "hub".into(), path: "/mqtt".into(), protocols: vec!["mqtt".into()] };
        let connected = connect(TcpStream::connect(address).await.expect("it listens"), &ask).await;
        let (stream, _) = connected.expect("101");
        let heard = || async {
            let mut stream = TcpStream::connect(address).await.expect("it listens");
            let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n").await;
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
            !answer.is_empty()
        };
        // Time enough for the part that speaks HTTP to end.
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert!(!heard().await, "there is one place");
        }
        drop(stream);
        while !heard().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        hub.stop().await.expect("it ends");
    }

    #[tokio::test]
    async fn a_hub_that_ends_says_so_over_websocket() {
        let (hub, address) = hub(Ws::default()).await;
        let ask = Ask { host: "hub".into(), path: "/mqtt".into(), protocols: vec!["mqtt".into()] };
        let (mut stream, _) = connect(TcpStream::connect(address).await.expect("it listens"), &ask).await.expect("101");
        let connect = b"\x10\x10\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x03dev";
        for byte in connect {
            stream.write_all(&[*byte]).await.expect("taken");
        }
        stream.flush().await.expect("taken");
        let mut connack = [0; 4];
        stream.read_exact(&mut connack).await.expect("an answer");
        assert_eq!((connack[0], connack[3]), (0x20, 0), "success, although every byte came in a frame of its own");
        let ending = tokio::spawn(hub.stop());
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.expect("it is closed in good order");
        assert!(rest.windows(3).any(|bytes| bytes[0] == 0xe0 && bytes[2] == 0x8b), "server shutting down: {rest:x?}");
        drop(stream);
        ending.await.expect("it runs").expect("it ends");
    }
}
