use alloc::sync::Arc;
use core::future::Future;
use std::io;

use bytes::Bytes;
use roadbed_core::Peer;
use roadbed_core::serve::accept;
use tokio::net::TcpListener;

use super::Server;

/// Accepts TCP connections and serves each in a task of its own.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    server: Server,
    connections_max: usize,
}

impl Listener {
    /// Serves what `listener` accepts, at most 65,536 connections at a time.
    pub fn new(listener: TcpListener, server: Server) -> Self {
        Self { listener, server, connections_max: 1 << 16 }
    }

    /// How many connections are served at a time; more wait to be accepted.
    #[must_use]
    pub fn connections_max(mut self, connections: usize) -> Self {
        self.connections_max = connections;
        self
    }

    /// Accepts until `shutdown` resolves, then waits until all connections have ended. The endpoint must tell its sessions to go
    /// ([`SessionEvent::Draining`](roadbed_core::SessionEvent)); dropping the future cuts those that do not.
    ///
    /// # Errors
    /// None so far.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        let Self { listener, server, connections_max } = self;
        let serve = |stream, peer| {
            let connection = server.serve_peer(stream, Bytes::new(), Arc::new(Peer::at(peer)));
            async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%peer, %error, "MQTT connection ended");
                }
            }
        };
        let mut connections = accept(listener, connections_max, shutdown, serve).await;
        while connections.join_next().await.is_some() {}
        Ok(())
    }
}
