use alloc::sync::Arc;
use core::future::Future;
use core::pin::pin;
use core::time::Duration;
use std::io;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::Server;

/// Accepts TCP connections and serves each in a task of its own.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    server: Server,
    connections_max: usize,
}

/// How long accepting rests after the system has refused a connection, for want of descriptors for instance.
const REST: Duration = Duration::from_millis(100);

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
    /// If the listener itself fails.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        let places = Arc::new(Semaphore::new(self.connections_max.min(Semaphore::MAX_PERMITS)));
        let (mut shutdown, mut connections) = (pin!(shutdown), JoinSet::new());
        loop {
            let place = tokio::select! {
                () = &mut shutdown => break,
                place = Arc::clone(&places).acquire_owned() => place,
            };
            let accepted = tokio::select! {
                () = &mut shutdown => break,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let connection = self.server.serve(prepared(stream));
                    connections.spawn(async move {
                        if let Err(error) = connection.await {
                            tracing::debug!(%peer, %error, "AMQP connection ended");
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept an AMQP connection");
                    tokio::time::sleep(REST).await;
                }
            }
            while connections.try_join_next().is_some() {}
        }
        while connections.join_next().await.is_some() {}
        Ok(())
    }
}

fn prepared(stream: TcpStream) -> TcpStream {
    // Without it the connection is slower, not wrong.
    let _ = stream.set_nodelay(true);
    stream
}
