use std::io;
use std::pin::pin;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Io, VERSION, list, proof, upgrades};
use crate::{Role, WsStream};

/// What a client asks a server for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The server's name, with its port where that is not the usual one.
    pub host: String,
    /// The path, with what follows it: `/mqtt` for instance.
    pub path: String,
    /// The subprotocols that are spoken, the favourite first.
    pub protocols: Vec<String>,
}

/// Makes the connection `io` WebSocket, and says which subprotocol is spoken.
///
/// *Cancel safety*: dropped, the connection is. A deadline is the caller's.
///
/// # Errors
/// If the stream fails, or the server does not answer as it must.
pub async fn connect<S>(io: S, ask: &Ask) -> io::Result<(WsStream<Io>, String)>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut key = [0; 16];
    getrandom::fill(&mut key).map_err(io::Error::other)?;
    let key = STANDARD.encode(key);
    let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await.map_err(io::Error::other)?;
    let mut connection = pin!(connection.with_upgrades());
    let mut answering = pin!(sender.send_request(request(ask, &key)?));
    let (response, ended) = tokio::select! {
        response = &mut answering => (response, None),
        // With the answer, which is then there.
        ended = &mut connection => (answering.await, Some(ended)),
    };
    let response = response.map_err(io::Error::other)?;
    let protocol = check(&response, ask, &key)?;
    match ended {
        Some(ended) => ended,
        None => connection.await,
    }
    .map_err(io::Error::other)?;
    let io = TokioIo::new(hyper::upgrade::on(response).await.map_err(io::Error::other)?);
    Ok((WsStream::new(io, Role::Client), protocol))
}

fn request(ask: &Ask, key: &str) -> io::Result<Request<Empty<Bytes>>> {
    let request = Request::get(&ask.path)
        .header(header::HOST, &ask.host)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_VERSION, VERSION)
        .header(header::SEC_WEBSOCKET_KEY, key)
        .header(header::SEC_WEBSOCKET_PROTOCOL, ask.protocols.join(", "))
        .body(Empty::new());
    request.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

/// Which subprotocol the server has chosen.
fn check(response: &Response<Incoming>, ask: &Ask, key: &str) -> io::Result<String> {
    let (status, headers) = (response.status(), response.headers());
    if status != StatusCode::SWITCHING_PROTOCOLS {
        return Err(refused(format!("the server answers {status} instead of going over to WebSocket")));
    }
    let proves =
        headers.get(header::SEC_WEBSOCKET_ACCEPT) == HeaderValue::from_str(&proof(key.as_bytes())).ok().as_ref();
    if !(proves && upgrades(headers)) {
        return Err(refused("the server has not understood the request for WebSocket"));
    }
    if headers.contains_key(header::SEC_WEBSOCKET_EXTENSIONS) {
        return Err(refused("the server uses extensions that nobody has asked for"));
    }
    let mut chosen = list(headers, &header::SEC_WEBSOCKET_PROTOCOL);
    match (chosen.next(), chosen.next()) {
        (Some(protocol), None) if ask.protocols.iter().any(|offered| offered == protocol) => Ok(protocol.to_owned()),
        _ => Err(refused(format!("the server speaks none of {}", ask.protocols.join(", ")))),
    }
}

fn refused(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}
