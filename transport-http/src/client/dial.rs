//! Byte streams to the server.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytestring::ByteString;
use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use roadbed_core::Credential;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A byte stream in both directions.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// Makes byte streams to one server: TLS, a proxy, a pipe in memory.
///
/// Implemented by closures that return such a boxed future.
pub trait Dial: Send + Sync {
    /// Connects.
    fn dial(&self) -> Dialing;
}

type Dialing = Pin<Box<dyn Future<Output = io::Result<Box<dyn ByteStream>>> + Send>>;

impl<F: Fn() -> Dialing + Send + Sync> Dial for F {
    fn dial(&self) -> Dialing {
        self()
    }
}

/// Plain TCP.
pub(super) struct Tcp {
    pub(super) host: String,
    pub(super) port: u16,
}

impl Dial for Tcp {
    fn dial(&self) -> Dialing {
        let (host, port) = (self.host.clone(), self.port);
        Box::pin(async move {
            let stream = TcpStream::connect((host.as_str(), port)).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn ByteStream>)
        })
    }
}

/// What the URL says.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) tls: bool,
    pub(super) host: String,
    pub(super) port: u16,
    /// Scheme, host and port, as requests name them.
    pub(super) origin: String,
    /// Before every path; without a slash at the end.
    pub(super) prefix: String,
    pub(super) credential: Option<Credential>,
}

impl Server {
    pub(super) fn parse(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let tls = match uri.scheme_str()? {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let authority = uri.authority()?;
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let (user, _) = authority.as_str().rsplit_once('@').unzip();
        let host = authority.host();
        let origin = format!("{}://{host}:{port}", uri.scheme_str()?);
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let prefix = uri.path().trim_end_matches('/').to_owned();
        let credential = user.map(password).transpose().ok()?;
        (!host.is_empty() && uri.query().is_none()).then_some(Self { tls, host, port, origin, prefix, credential })
    }
}

/// `user:password`, percent-encoded.
fn password(text: &str) -> Result<Credential, std::str::Utf8Error> {
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    let user = percent_decode_str(user).decode_utf8()?;
    let password = Vec::from_iter(percent_decode_str(password));
    Ok(Credential::Password { user: ByteString::from(&*user), password: password.into() })
}

/// A [`Dial`] as hyper wants it.
#[derive(Clone)]
pub(super) struct Dialer {
    pub(super) dial: Arc<dyn Dial>,
    pub(super) connect: Duration,
}

impl tower_service::Service<Uri> for Dialer {
    type Response = TokioIo<Carrier>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let (dialing, connect) = (self.dial.dial(), self.connect);
        Box::pin(async move { Ok(TokioIo::new(Carrier(timeout(connect, dialing).await??))) })
    }
}

/// A byte stream as hyper wants it.
pub(super) struct Carrier(Box<dyn ByteStream>);

impl Connection for Carrier {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Carrier {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, into)
    }
}

impl AsyncWrite for Carrier {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let server = Server::parse("http://alice:s%20e%3Acret@example.com/iot/").unwrap();
        assert_eq!((&server.host[..], server.port, &server.prefix[..]), ("example.com", 80, "/iot"));
        assert_eq!(server.origin, "http://example.com:80");
        match server.credential {
            Some(Credential::Password { user, password }) => {
                assert_eq!((&user[..], &password[..]), ("alice", &b"s e:cret"[..]));
            }
            other => panic!("{other:?}"),
        }
        let server = Server::parse("https://[::1]:8443").unwrap();
        assert_eq!((&server.host[..], server.port, server.tls), ("::1", 8443, true));
        assert_eq!(server.origin, "https://[::1]:8443");
        for wrong in ["mqtt://x", "localhost:80", "http://", "http://x?y", ""] {
            assert!(Server::parse(wrong).is_none(), "{wrong}");
        }
    }
}
