//! Connections that leave HTTP for another protocol (RFC 9110, section 7.8).

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode, header, request};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use roadbed_core::Peer;

use super::Shared;
use super::body::ResponseBody;
use super::reply::{Failure, Reply};

/// The byte stream of a connection that has left HTTP.
pub type Upgraded = TokioIo<hyper::upgrade::Upgraded>;

type Serving = Pin<Box<dyn Future<Output = ()> + Send>>;
type Serve = Box<dyn FnOnce(Upgraded) -> Serving + Send>;

/// A connection that leaves HTTP: what its request is answered with, and who serves it from there on.
pub struct Upgrade {
    response: Response<()>,
    serve: Serve,
}

impl Upgrade {
    /// Answers with `response`, which is a 101, and then hands the connection to `serve`. It counts as one of the server's until that ends, and is cut when
    /// the server's shutdown takes too long.
    pub fn new<F>(response: Response<()>, serve: impl FnOnce(Upgraded) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self { response, serve: Box::new(|io| Box::pin(serve(io))) }
    }
}

impl fmt::Debug for Upgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upgrade").field("response", &self.response).finish_non_exhaustive()
    }
}

/// What decides about requests with an `Upgrade` header; `None`: they are answered as any other.
pub(super) type Upgrades = dyn Fn(&request::Parts) -> Option<Result<Upgrade, Response<Bytes>>> + Send + Sync;

impl Shared {
    /// The answer to a request that wants to leave HTTP, if it may.
    pub(super) fn upgrade(&self, head: &mut request::Parts, peer: &Arc<Peer>) -> Option<Result<Reply, Failure>> {
        if !head.headers.contains_key(header::UPGRADE) {
            return None;
        }
        let upgrades = self.upgrades.as_ref()?;
        head.extensions.insert(Arc::clone(peer));
        let upgrade = match upgrades(head)? {
            Ok(upgrade) => upgrade,
            Err(refusal) => return Some(Ok(refusal.map(ResponseBody::from))),
        };
        // HTTP/2 and mounted routes have none.
        let connection = head.extensions.remove::<OnUpgrade>()?;
        if self.upgraded.len() >= self.config.connections_max {
            return Some(Err(too_many()));
        }
        let (cut, serve) = (self.cut.clone(), upgrade.serve);
        self.upgraded.spawn(async move {
            let serving = async move {
                match connection.await {
                    Ok(upgraded) => serve(TokioIo::new(upgraded)).await,
                    Err(error) => tracing::debug!(%error, "a connection ended before it left HTTP"),
                }
            };
            tokio::select! {
                () = serving => {}
                () = cut.cancelled() => {}
            }
        });
        Some(Ok(upgrade.response.map(|()| ResponseBody::from(Bytes::new()))))
    }
}

fn too_many() -> Failure {
    let detail = "The server has as many connections as it takes.";
    Failure::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "there are too many connections", detail)
}
