//! A TCP listener.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use roadbed_core::serve::accept;
use roadbed_core::{Endpoint, Peer};
use tokio::net::{TcpListener, ToSocketAddrs};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Server;
use crate::config::{HttpConfig, ms};
use crate::error::HttpError;

/// A server that listens.
#[derive(Debug)]
pub struct Listener {
    server: Server,
    listener: TcpListener,
}

/// Serves every connection of `listener` until `shutdown` resolves, then drains: see [`Server::drain`].
///
/// # Errors
/// [`HttpError::Randomness`].
pub async fn serve_listener(
    listener: TcpListener,
    endpoint: Arc<dyn Endpoint>,
    config: HttpConfig,
    shutdown: impl Future<Output = ()>,
) -> Result<(), HttpError> {
    Server::new(endpoint, config)?.serve_listener(listener, shutdown).await;
    Ok(())
}

impl Server {
    /// Listens on `address`.
    ///
    /// # Errors
    /// [`HttpError::Listen`] if the address is taken or not this machine's.
    pub async fn bind(&self, address: impl ToSocketAddrs) -> Result<Listener, HttpError> {
        let listener = TcpListener::bind(address).await.map_err(HttpError::Listen)?;
        Ok(Listener { server: self.clone(), listener })
    }

    /// Serves every connection of `listener` until `shutdown` resolves, then [drains](Self::drain), and ends when the last
    /// connection has, at the latest after [`HttpConfig::shutdown_ms`].
    pub async fn serve_listener(&self, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        let serve = |stream, address| {
            let server = self.clone();
            async move {
                if let Err(error) = server.serve_peer(stream, Arc::new(Peer::at(address))).await {
                    tracing::debug!(%error, cause = ?std::error::Error::source(&error), "connection ended");
                }
            }
        };
        let connections = accept(listener, self.0.config.connections_max, shutdown, serve).await;
        self.shut_down(connections).await;
    }

    /// [Drains](Self::drain), and waits until `connections`, and those that have left HTTP, have ended, at the latest for [`HttpConfig::shutdown_ms`]; then they are
    /// cut. For programs that accept connections themselves.
    pub async fn shut_down(&self, mut connections: JoinSet<()>) {
        self.drain();
        let drained = async {
            while connections.join_next().await.is_some() {}
            self.0.upgraded.close();
            self.0.upgraded.wait().await;
        };
        if timeout(ms(self.0.config.shutdown_ms), drained).await.is_err() {
            tracing::warn!("connections were cut off at the end of the shutdown");
            self.0.cut.cancel();
        }
    }
}

impl Listener {
    /// Where it listens.
    ///
    /// # Errors
    /// If the system cannot tell.
    pub fn local_addr(&self) -> Result<SocketAddr, HttpError> {
        self.listener.local_addr().map_err(HttpError::Listen)
    }

    /// Serves until `shutdown` resolves: see [`Server::serve_listener`].
    ///
    /// # Errors
    /// None so far.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> Result<(), HttpError> {
        self.server.serve_listener(self.listener, shutdown).await;
        Ok(())
    }
}
