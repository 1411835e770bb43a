use std::sync::Arc;
use std::time::Duration;

use arbitrary::{Result, Unstructured};
use roadbed_broker::Broker;
use roadbed_core::ManualClock;
use roadbed_core::Time;
use roadbed_http::{HttpConfig, Routes};
use roadbed_mqtt::codec::Version;
use roadbed_mqtt::{Server, ServerConfig};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

mod client;
mod request;
mod wire;

use client::Client;

/// Two MQTT clients and an HTTP client at one broker: whatever they send, no task panics, and what the servers write is MQTT of the client's version within its limits, and
/// HTTP with a status.
pub fn hub(data: &[u8]) {
    let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
    let clock = Arc::new(ManualClock::at(Time::from_millis(1_700_000_000_000)));
    let broker = Broker::builder().clock(clock.clone()).build().expect("an empty store can be read");
    let server = Server::new(Arc::new(broker.clone()), ServerConfig::permissive().clock(clock.clone()));
    let http =
        roadbed_http::Server::builder(Arc::new(broker.clone())).config(HttpConfig::default()).clock(clock.clone());
    let routes = http.build().expect("randomness for a key").routes();
    let clients = [(Version::V311, "a"), (Version::V5, "b")].map(|(version, name)| Client::new(version, name));
    let mut hub = Hub { runtime, clock, broker, server, routes, clients, tasks: Vec::new(), token: String::new() };
    // At the end of the data there is nothing more to do.
    let _ = hub.run(&mut Unstructured::new(data));
    hub.end();
}

struct Hub {
    runtime: Runtime,
    clock: Arc<ManualClock>,
    broker: Broker,
    server: Server,
    routes: Routes,
    clients: [Client; 2],
    tasks: Vec<JoinHandle<Option<String>>>,
    /// The last lock that was given.
    token: String,
}

impl Hub {
    fn run(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        while !u.is_empty() && self.tasks.len() < 64 {
            let op = u.arbitrary::<u8>()?;
            let client = &mut self.clients[usize::from(op >> 7)];
            match op % 10 {
                0 => self.tasks.extend(client.connect(u, &self.runtime, &self.server)?),
                1 => client.send(u.arbitrary::<u8>().and_then(|len| u.bytes(len.into()))?),
                2 | 3 => client.publish(u)?,
                4 => client.subscribe(u)?,
                5 => client.answer(),
                6 => client.lose(),
                7 | 8 => {
                    let request = request::read(u, &self.token)?;
                    self.tasks.push(self.runtime.spawn(request::respond(self.routes.clone(), request)));
                }
                _ => {
                    self.clock.advance(Duration::from_secs(u.arbitrary::<u8>()?.into()));
                    self.broker.handle_timeout(self.broker.now());
                }
            }
            self.settle();
        }
        Ok(())
    }

    /// Lets every task do what it can.
    fn settle(&mut self) {
        self.runtime.block_on(async {
            for _ in 0..12 {
                tokio::task::yield_now().await;
            }
        });
        self.clients.iter_mut().for_each(Client::check);
        let (done, rest) = std::mem::take(&mut self.tasks).into_iter().partition(JoinHandle::is_finished);
        self.tasks = rest;
        let done: Vec<JoinHandle<_>> = done;
        for task in done {
            if let Some(token) = self.runtime.block_on(task).expect("no task panics") {
                self.token = token;
            }
        }
    }

    fn end(mut self) {
        self.clients.iter_mut().for_each(Client::lose);
        self.settle();
    }
}
