//! The server: puts an endpoint on the wire.

mod config;
mod connection;
mod listener;
mod open;
mod reauth;
mod subscriptions;
mod turn;

use alloc::sync::Arc;

use bytes::Bytes;
use roadbed_core::{Endpoint, Ledger, Losses, Peer, Result, Socket};
use tokio::io::{AsyncRead, AsyncWrite};

pub use config::ServerConfig;
pub use connection::Connection;
pub use listener::Listener;

/// Serves MQTT over byte streams, with one endpoint behind all of them.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

/// How many steps an enhanced authentication may take.
const AUTH_ROUNDS_MAX: u32 = 16;

/// What all connections of a server share.
struct Shared {
    endpoint: Arc<dyn Endpoint>,
    config: ServerConfig,
    machine: Arc<crate::MachineConfig>,
    assigned: core::sync::atomic::AtomicU64,
    ledger: Ledger,
}

impl Server {
    /// A server for `endpoint`.
    pub fn new(endpoint: Arc<dyn Endpoint>, config: ServerConfig) -> Self {
        let machine = Arc::new(config.machine.clone());
        Self {
            shared: Arc::new(Shared {
                endpoint,
                config,
                machine,
                assigned: Default::default(),
                ledger: Ledger::default(),
            }),
        }
    }

    /// What translations have dropped, over all connections.
    pub fn losses(&self) -> Losses {
        self.shared.ledger.read()
    }

    /// Serves one connection until it ends. Resolves to an error if the peer broke the protocol or was lost; dropping the future
    /// drops the connection, which then counts as lost.
    pub fn serve<S>(&self, stream: S) -> Connection<S>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        self.serve_after(stream, Bytes::new())
    }

    /// As [`serve`](Self::serve), of a stream of which the first bytes have been read.
    pub fn serve_after<S>(&self, stream: S, already: Bytes) -> Connection<S>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        self.serve_peer(stream, already, Arc::default())
    }

    /// As [`serve_after`](Self::serve_after), of a stream of whose other end something is known, which the authenticator is told.
    pub fn serve_peer<S>(&self, stream: S, already: Bytes, peer: Arc<Peer>) -> Connection<S>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        Connection::new(Arc::clone(&self.shared), Socket::new(stream), already, peer)
    }
}

impl core::fmt::Debug for Server {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Server").field("config", &self.shared.config).finish_non_exhaustive()
    }
}

/// Serves one connection; see [`Server::serve`].
///
/// # Errors
/// If the peer broke the protocol, was not let in, or was lost.
pub async fn serve<S>(stream: S, endpoint: Arc<dyn Endpoint>, config: ServerConfig) -> Result<()>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    Server::new(endpoint, config).serve(stream).await
}
