//! A server on a broker, over TCP.
#![allow(dead_code, reason = "each test has a use for a part of it")]

use std::sync::Arc;

use fe2o3_amqp::connection::ConnectionHandle;
use fe2o3_amqp::session::SessionHandle;
use fe2o3_amqp::{Connection, Session};
use roadbed_amqp::{Listener, Server, ServerConfig};
use roadbed_broker::Broker;
use tokio::net::TcpListener;

pub(crate) type Client = (ConnectionHandle<()>, SessionHandle<()>);

pub(crate) struct Hub {
    pub(crate) url: String,
    pub(crate) broker: Broker,
    task: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Hub {
    pub(crate) async fn new() -> Self {
        Self::with(ServerConfig::permissive()).await
    }

    pub(crate) async fn with(config: ServerConfig) -> Self {
        Self::on(Broker::new(), config).await
    }

    pub(crate) async fn on(broker: Broker, config: ServerConfig) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let url = format!("amqp://{}", socket.local_addr().expect("bound"));
        let server = Server::new(Arc::new(broker.clone()), config);
        let task = tokio::spawn(Listener::new(socket, server).run(std::future::pending()));
        Self { url, broker, task }
    }

    pub(crate) async fn client(&self) -> Client {
        let mut connection = Connection::open("client", &*self.url).await.expect("a connection");
        let session = Session::begin(&mut connection).await.expect("a session");
        (connection, session)
    }
}
