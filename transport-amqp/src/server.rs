//! AMQP over byte streams, with an endpoint behind.

mod again;
mod attach;
mod config;
mod connection;
mod coordinator;
mod dynamic;
mod identities;
mod links;
mod listener;
mod node;
mod open;
mod requests;
mod sasl;
mod settle;
mod turn;

use alloc::sync::Arc;

use bytes::Bytes;
use roadbed_core::{Endpoint, Ledger, Losses, Peer, Result, Socket};
use tokio::io::{AsyncRead, AsyncWrite};

pub use config::ServerConfig;
pub use connection::Connection;
pub use listener::Listener;
pub(crate) use node::EXCLUSIVE;

/// Serves AMQP over byte streams, with one endpoint behind all of them.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

/// What all connections of a server share.
struct Shared {
    endpoint: Arc<dyn Endpoint>,
    config: ServerConfig,
    machine: Arc<crate::MachineConfig>,
    /// For connections whose carrier knows the client.
    machine_external: Arc<crate::MachineConfig>,
    ledger: Ledger,
}

impl Server {
    /// What translations have dropped, over all connections.
    pub fn losses(&self) -> Losses {
        self.shared.ledger.read()
    }

    /// A server for `endpoint`.
    pub fn new(endpoint: Arc<dyn Endpoint>, config: ServerConfig) -> Self {
        let offering = |external| Arc::new(offering(&config, external));
        let (machine, machine_external) = (offering(false), offering(true));
        Self { shared: Arc::new(Shared { endpoint, config, machine, machine_external, ledger: Ledger::default() }) }
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

    /// As [`serve_after`](Self::serve_after), of a stream of whose other end something is known, which the authenticator is told. A client that has a name in
    /// its TLS certificate is offered EXTERNAL, too.
    pub fn serve_peer<S>(&self, stream: S, already: Bytes, peer: Arc<Peer>) -> Connection<S>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        Connection::new(Arc::clone(&self.shared), Socket::new(stream), already, peer)
    }
}

/// The mechanisms that are configured, and by which somebody can come in.
fn offering(config: &ServerConfig, external: bool) -> crate::MachineConfig {
    let mut machine = config.machine.clone();
    let possible = config.authenticator.mechanisms();
    machine.mechanisms.retain(|name| possible.contains(&&**name) && (external || name != "EXTERNAL"));
    machine
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
