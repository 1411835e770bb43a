//! A TCP listener.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use roadbed_core::Endpoint;
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::Server;
use crate::config::{HttpConfig, ms};
use crate::error::HttpError;

/// How long accepting rests after it failed: for want of file descriptors nearly always.
const REST: Duration = Duration::from_millis(100);

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
        let mut shutdown = pin!(shutdown);
        let places = Arc::new(Semaphore::new(self.0.config.connections_max.min(Semaphore::MAX_PERMITS)));
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                (stream, place) = accept(&listener, &places) => {
                    let server = self.clone();
                    connections.spawn(async move { server.serve_stream(stream, place).await });
                }
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
            }
        }
        drop(listener);
        self.drain();
        let drained = async { while connections.join_next().await.is_some() {} };
        if timeout(ms(self.0.config.shutdown_ms), drained).await.is_err() {
            tracing::warn!("connections were cut off at the end of the shutdown");
        }
    }

    async fn serve_stream(self, stream: TcpStream, _place: OwnedSemaphorePermit) {
        // Answers are small and awaited.
        let _ = stream.set_nodelay(true);
        if let Err(error) = self.serve(stream).await {
            tracing::debug!(%error, cause = ?std::error::Error::source(&error), "connection ended");
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

/// The next connection, once there is a place for it.
async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> (TcpStream, OwnedSemaphorePermit) {
    let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, place),
            Err(error) => {
                tracing::warn!(%error, "cannot accept");
                sleep(REST).await;
            }
        }
    }
}
