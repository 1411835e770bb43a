use std::convert::Infallible;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header, request};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Io, VERSION, list, proof, upgrades};
use crate::{Role, WsStream};

/// What a client asks for: the beginning of a connection (section 4.2.1).
#[derive(Clone, Debug)]
pub struct Offer {
    key: HeaderValue,
    protocols: Vec<String>,
    origin: Option<String>,
    host: Option<String>,
}

/// Why a request for WebSocket is not answered with 101.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// It is no `GET` of HTTP/1.1.
    #[error("WebSocket begins with GET of HTTP/1.1")]
    Method,
    /// Another version of WebSocket.
    #[error("the version of WebSocket is 13")]
    Version,
    /// The key is missing, or not 16 bytes in base64.
    #[error("Sec-WebSocket-Key is not 16 bytes in base64")]
    Key,
    /// Nothing that is offered is spoken here.
    #[error("no subprotocol that is offered is spoken here")]
    Protocol,
    /// A page of that origin may not connect.
    #[error("pages of this origin may not connect")]
    Origin,
}

impl Offer {
    /// What a request asks for; `None` if it does not ask for WebSocket.
    ///
    /// # Errors
    /// It does, and not as it must.
    pub fn of(head: &request::Parts) -> Option<Result<Self, Refused>> {
        upgrades(&head.headers).then(|| Self::read(head))
    }

    fn read(head: &request::Parts) -> Result<Self, Refused> {
        if head.method != Method::GET || head.version != Version::HTTP_11 {
            return Err(Refused::Method);
        }
        if head.headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != VERSION) {
            return Err(Refused::Version);
        }
        let key = head.headers.get(header::SEC_WEBSOCKET_KEY).ok_or(Refused::Key)?;
        if STANDARD.decode(key).map_or(0, |key| key.len()) != 16 {
            return Err(Refused::Key);
        }
        let protocols = list(&head.headers, &header::SEC_WEBSOCKET_PROTOCOL).map(Into::into).collect();
        let origin = head.headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok()).map(Into::into);
        let host = head.headers.get(header::HOST).and_then(|host| host.to_str().ok()).map(Into::into);
        Ok(Self { key: key.clone(), protocols, origin, host })
    }

    /// The subprotocols that the client speaks, its favourite first.
    pub fn protocols(&self) -> impl Iterator<Item = &str> {
        self.protocols.iter().map(String::as_str)
    }

    /// Where the page comes from, if a browser asks.
    pub fn origin(&self) -> Option<&str> {
        self.origin.as_deref()
    }

    /// Whether a page of this very server asks (RFC 6454, section 4): its origin has the host and port that are asked. What is in front of the server and changes
    /// `Host` makes every page a foreign one.
    pub fn is_same_origin(&self) -> bool {
        let authority = self.origin().and_then(|origin| origin.split_once("://")).map(|(_, authority)| authority);
        authority.zip(self.host.as_deref()).is_some_and(|(authority, host)| authority.eq_ignore_ascii_case(host))
    }

    /// The answer with which the connection becomes WebSocket. `protocol` is one that was offered, or none.
    pub fn accepted<B: Default>(&self, protocol: Option<&str>) -> Response<B> {
        let mut response = Response::new(B::default());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        if let Ok(proof) = HeaderValue::from_str(&proof(self.key.as_bytes())) {
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, proof);
        }
        if let Some(Ok(protocol)) = protocol.map(HeaderValue::from_str) {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
        }
        response
    }
}

impl Refused {
    /// The answer to the request.
    pub fn response<B: From<String>>(self) -> Response<B> {
        let mut response = Response::new(B::from(format!("{self}\n")));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        *response.status_mut() = match self {
            Self::Version => {
                headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static(VERSION));
                StatusCode::UPGRADE_REQUIRED
            }
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Origin => StatusCode::FORBIDDEN,
            _ => StatusCode::BAD_REQUEST,
        };
        response
    }
}

/// A connection that has become WebSocket.
#[derive(Debug)]
pub struct Accepted {
    /// The connection.
    pub io: Io,
    /// The subprotocol; empty if none is spoken.
    pub protocol: String,
    /// How it was asked for.
    pub request: request::Parts,
}

impl Accepted {
    /// As a stream of bytes.
    pub fn into_stream(self) -> WsStream<Io> {
        WsStream::new(self.io, Role::Server)
    }
}

/// Waits for the request of one client on `io`, and speaks the first of its subprotocols that is among `protocols`; with none there, the client may come whatever it speaks.
///
/// *Cancel safety*: dropped, the connection is.
///
/// # Errors
/// If the stream fails or the client asks for something else; it has its answer by then. A deadline is the caller's.
pub async fn accept<S>(io: S, protocols: &[&str]) -> io::Result<Accepted>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    accept_if(io, |offer| choose(offer, protocols)).await
}

/// As [`accept`], if `choose` lets the client in: it names the subprotocol, one that was offered, or none.
///
/// *Cancel safety*: that of [`accept`].
///
/// # Errors
/// As [`accept`].
pub async fn accept_if<'p, S>(
    io: S,
    choose: impl Fn(&Offer) -> Result<Option<&'p str>, Refused>,
) -> io::Result<Accepted>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (chosen, refused) = (Mutex::new(None), Mutex::new(None));
    let service = service_fn(|mut request: Request<Incoming>| {
        let upgrade = hyper::upgrade::on(&mut request);
        let (head, _) = request.into_parts();
        let offer = Offer::of(&head).unwrap_or(Err(Refused::Method));
        let response = match offer.and_then(|offer| choose(&offer).map(|protocol| (offer, protocol))) {
            Ok((offer, protocol)) => {
                *lock(&chosen) = Some((upgrade, protocol.unwrap_or_default().to_owned(), head));
                offer.accepted(protocol)
            }
            Err(why) => {
                *lock(&refused) = Some(why);
                let mut response: Response<Full<Bytes>> = why.response();
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                response
            }
        };
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(io), service);
    connection.with_upgrades().await.map_err(io::Error::other)?;
    let Some((upgrade, protocol, request)) = lock(&chosen).take() else {
        let why = lock(&refused).take();
        return Err(why.map_or_else(
            || io::ErrorKind::UnexpectedEof.into(),
            |why| io::Error::new(io::ErrorKind::InvalidData, why),
        ));
    };
    let upgraded = upgrade.await.map_err(io::Error::other)?;
    Ok(Accepted { io: TokioIo::new(upgraded), protocol, request })
}

/// The first subprotocol of the client's that is spoken here.
fn choose<'a>(offer: &Offer, protocols: &[&'a str]) -> Result<Option<&'a str>, Refused> {
    if protocols.is_empty() {
        return Ok(None);
    }
    let chosen = offer.protocols().find_map(|offered| protocols.iter().find(|spoken| **spoken == offered));
    chosen.copied().map(Some).ok_or(Refused::Protocol)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
