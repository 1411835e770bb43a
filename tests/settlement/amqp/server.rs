//! The server under test, on a port of its own.

use std::net::SocketAddr;
use std::sync::Arc;

use roadbed::Endpoint;
use roadbed_amqp::{Listener, Server, ServerConfig};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::Result;
use crate::stage::Stage;
use crate::tell::Context as _;

/// Listens until it is dropped.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Served {
    pub(crate) async fn start(stage: &Stage, endpoint: Arc<dyn Endpoint>, config: ServerConfig) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.during("listen")?;
        let address = listener.local_addr().during("listen")?;
        let server = Server::new(endpoint, config.clock(stage.clock.clone()));
        let task = tokio::spawn(async move {
            let _ = Listener::new(listener, server).run(std::future::pending()).await;
        });
        Ok(Self { address, task })
    }

    pub(crate) async fn permissive(stage: &Stage) -> Result<Self> {
        Self::start(stage, stage.endpoint(), ServerConfig::permissive()).await
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}
