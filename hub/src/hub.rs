//! A hub that runs: the broker, its listeners, and what ends them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use roadbed::journal::{JournalMonitor, JournalStore};
use roadbed::serve::{Crowd, accept};
use roadbed::{Authenticator, Broker, Client, Endpoint, Open, http};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tower_layer::Layer;

use crate::access::Gates;
use crate::demo::fault::{self, Fault};
use crate::error::{Failure, Result};
use crate::roads::{Courier, Figures, Gatehouse, Road};
use crate::shutdown::HangUps;
use crate::web::Pages;
use crate::{Config, Listen, Shutdown, listen, nodes, queues, roads, sys, web};

/// A hub that runs, until [`stop`](Self::stop) or its [`Shutdown`] ends it.
pub(crate) struct Running {
    broker: Broker,
    /// Where it listens, with real ports.
    listen: Listen,
    shutdown: Shutdown,
    drain: Duration,
    listeners: JoinSet<()>,
    helpers: JoinSet<()>,
    journal: Option<JournalMonitor>,
}

/// What connections are served with.
pub(crate) struct Serving {
    pub(crate) endpoint: Arc<dyn Endpoint>,
    pub(crate) authenticator: Arc<dyn Authenticator>,
}

impl Running {
    /// Opens all listeners, then serves them.
    ///
    /// # Errors
    /// If the configuration is not in order, or an address cannot be had.
    pub(crate) async fn start(config: &Config, fault: Option<&Fault>) -> Result<Self> {
        Self::start_on(config, fault, || config.store.open()).await
    }

    /// The same on the store that `open` opens, when all addresses are had; in memory without one.
    async fn start_on(
        config: &Config,
        fault: Option<&Fault>,
        open: impl FnOnce() -> Result<Option<JournalStore>>,
    ) -> Result<Self> {
        let gates = Gates::new(config)?;
        let tls = config.tls.acceptor(&config.listen)?;
        let (listeners, listen) = bind(config)?;
        nodes::check(&config.queues)?;
        nodes::check(&config.logs)?;
        let settings = queues::settings(&config.queues, config.broker.clone());
        let (builder, store) = (Broker::builder().settings(settings), open()?);
        let journal = store.as_ref().map(JournalStore::monitor);
        let broker = match store {
            Some(store) => builder.store(store).build()?,
            None => builder.build()?,
        };
        nodes::declare(&config.queues, &broker).await?;
        nodes::declare(&config.logs, &broker).await?;
        let mut hub = Self {
            listen,
            shutdown: Shutdown::default(),
            drain: Duration::from_secs(config.hub.drain_seconds),
            listeners: JoinSet::new(),
            helpers: JoinSet::new(),
            journal,
            broker,
        };
        let serving = |protocol| Serving {
            endpoint: guarded(&gates, fault::layer(Arc::new(hub.broker.clone()), protocol, fault)),
            authenticator: gates.authenticator(),
        };
        let over_mqtt = config.mqtt.server(&serving("mqtt"));
        let over_amqp = config.amqp.server(&serving("amqp"));
        let (by_mqtt, by_amqp) = (over_mqtt.clone(), over_amqp.clone());
        let losses = Box::new(move || vec![("mqtt", by_mqtt.losses()), ("amqp", by_amqp.losses())]);
        let over_http = config.http.clone().token_key(config.store.token_key(config.http.token_key.clone())?);
        let figures = Figures::new(&config.roads, tls.clone());
        let pages =
            Pages::new(hub.broker.clone(), hub.journal.clone(), gates.clone(), losses, figures.clone(), Instant::now());
        let gate = Arc::new(config.ws.gate(&over_mqtt, &over_amqp));
        let over_http = web::server(serving("http"), over_http, gate.clone(), pages)?;
        let gatehouse =
            Gatehouse::new(config, (over_mqtt, over_amqp, over_http.clone()), gate, &figures, hub.shutdown.clone());
        for (road, listener) in listeners {
            hub.serve(road, listener, gatehouse.clone(), over_http.clone(), gates.crowd(), config);
        }
        if let Some(tls) = tls {
            hub.helpers.spawn(roads::reload(tls, config.tls.reload_seconds));
        }
        hub.helpers.spawn(reload(gates, HangUps::new()));
        let timers = hub.broker.clone();
        hub.helpers.spawn(async move { timers.run().await });
        hub.publish_figures(Duration::from_secs(config.hub.sys_interval_seconds)).await?;
        Ok(hub)
    }

    /// The broker.
    pub(crate) const fn broker(&self) -> &Broker {
        &self.broker
    }

    /// Where it listens for MQTT, with real ports.
    pub(crate) fn mqtt(&self) -> &[SocketAddr] {
        &self.listen.mqtt
    }

    /// Where it listens for HTTP, with real ports.
    pub(crate) fn http(&self) -> &[SocketAddr] {
        &self.listen.http
    }

    /// Where it listens for AMQP, with real ports.
    pub(crate) fn amqp(&self) -> &[SocketAddr] {
        &self.listen.amqp
    }

    /// Where it listens, with real ports.
    pub(crate) const fn listen(&self) -> &Listen {
        &self.listen
    }

    /// What ends it.
    pub(crate) const fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Ends it: no new connections, then the open ones, in good order as long as that does not take too long.
    pub(crate) async fn stop(self) -> Result {
        self.shutdown.start();
        self.ended().await
    }

    /// Waits until it is asked to end, and has ended.
    ///
    /// # Errors
    /// If its store has failed: then it has ended at once, since nothing more can be promised.
    pub(crate) async fn ended(mut self) -> Result {
        let journal = self.journal.clone();
        let failed = async {
            match &journal {
                Some(journal) => journal.failed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.shutdown.started() => {}
            why = failed => {
                return Err(Failure::unavailable(why).help("what was acknowledged is kept: start it again when the disk is well"));
            }
        }
        self.broker.drain();
        let drained = async { while self.listeners.join_next().await.is_some() {} };
        if tokio::time::timeout(self.drain, drained).await.is_err() {
            tracing::warn!(seconds = self.drain.as_secs(), "not all connections ended in time");
        }
        self.listeners.shutdown().await;
        self.helpers.shutdown().await;
        if let Some(journal) = self.journal {
            let ended = tokio::task::spawn_blocking(move || journal.end());
            drop(ended.await);
        }
        Ok(())
    }

    fn serve(
        &mut self,
        road: Road,
        listener: TcpListener,
        gatehouse: Gatehouse,
        http: http::Server,
        crowd: &Arc<Crowd>,
        config: &Config,
    ) {
        let connections_max = match road.courier {
            Some(Courier::Mqtt) => config.mqtt.connections_max,
            Some(Courier::Amqp) => config.amqp.connections_max,
            Some(Courier::Http) => config.http.connections_max,
            Some(Courier::Ws) | None => config.roads.connections_max,
        };
        let (shutdown, crowd) = (self.shutdown.clone(), crowd.clone());
        self.listeners.spawn(async move {
            let serve = |stream, address: SocketAddr| {
                // Without a place the connection is closed unheard.
                let place = crowd.enter(address.ip());
                let served = place.map(|place| gatehouse.clone().serve(road, stream, address, place));
                async move {
                    if let Some(served) = served {
                        served.await;
                    }
                }
            };
            let connections = accept(listener, connections_max.max(1), shutdown.started(), serve).await;
            match road.courier {
                Some(Courier::Mqtt | Courier::Amqp) => drop(connections.join_all().await),
                // Those that leave HTTP are no longer among them.
                _ => http.shut_down(connections).await,
            }
        });
    }

    async fn publish_figures(&mut self, interval: Duration) -> Result {
        if interval.is_zero() {
            return Ok(());
        }
        let client = Client::open(Arc::new(self.broker.clone()), Open::default()).await?;
        let (broker, journal, shutdown) = (self.broker.clone(), self.journal.clone(), self.shutdown.clone());
        self.helpers.spawn(async move {
            if let Err(error) = sys::publish(&client, &broker, journal.as_ref(), interval, &shutdown).await {
                tracing::warn!(%error, "the $SYS topics are no longer published");
            }
        });
        Ok(())
    }
}

/// With what the policy allows, if there is one, and what each may use: of which what is not allowed takes its part, too.
fn guarded(gates: &Gates, endpoint: Arc<dyn Endpoint>) -> Arc<dyn Endpoint> {
    let authorized: Arc<dyn Endpoint> = match gates.layer() {
        Some(layer) => Arc::new(layer.layer(endpoint)),
        None => endpoint,
    };
    match gates.rations() {
        Some(rations) => Arc::new(rations.layer(authorized)),
        None => authorized,
    }
}

/// Reads users and policy again at each SIGHUP.
async fn reload(gates: Gates, mut hang_ups: HangUps) {
    loop {
        hang_ups.next().await;
        let gates = gates.clone();
        // Files are read, and hashes are checked.
        let _ = tokio::task::spawn_blocking(move || gates.reload()).await;
    }
}

fn bind(config: &Config) -> Result<(Vec<(Road, TcpListener)>, Listen)> {
    let (mut listeners, mut listen) = (Vec::new(), Listen::NONE);
    for (road, addresses) in config.listen.roads() {
        for address in addresses {
            let listener = listen::bind(&road.name.to_ascii_uppercase(), *address, config.hub.backlog)?;
            let address = listener.local_addr();
            let address = address.map_err(|error| Failure::unavailable(format!("cannot tell an address: {error}")))?;
            listen.of(road).push(address);
            listeners.push((road, listener));
        }
    }
    Ok((listeners, listen))
}

#[cfg(test)]
mod tests {
    use roadbed::journal::JournalConfig;
    use roadbed::{Message, Outcome, Qos, Url};
    use roadbed_store_journal::simulation::SimFs;

    use super::*;
    use crate::Store;

    #[tokio::test]
    async fn what_is_refused_costs_its_sender_as_much_as_what_is_not() {
        let policy = std::env::temp_dir().join(format!("roadbed-policy-{}.toml", std::process::id()));
        std::fs::write(&policy, "[[allow]]\nwho = [\"d1\"]\nsend = [\"own\"]\n").unwrap();
        let mut config = Config { listen: Listen::NONE, store: Store::in_memory(), ..Config::default() };
        config.auth.policy = policy.clone();
        (config.limits.identity_messages_per_second, config.limits.identity_burst) = (1, 2);
        let gates = Gates::new(&config).unwrap();
        std::fs::remove_file(policy).unwrap();
        let endpoint = guarded(&gates, Arc::new(Broker::new()));
        let origin = Arc::new(roadbed::Origin { principal: "d1".into(), protocol: "test" });
        let client = Client::open(endpoint, Open { origin, ..Open::default() }).await.unwrap();
        let sender = client.sender().await.unwrap();
        let mut told = Vec::new();
        for to in ["other", "other", "own"] {
            let sent = sender.send(Message::new(to.parse().unwrap(), "x"), Qos::AtLeastOnce).await;
            told.push(sent.unwrap().why);
        }
        use roadbed::Condition::{Full, Unauthorized};
        assert_eq!(told, [Some(Unauthorized), Some(Unauthorized), Some(Full)]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_hub_whose_disk_fails_ends_and_says_why() {
        let mut config = Config { listen: Listen::NONE, store: Store::in_memory(), ..Config::default() };
        config.listen.mqtt = vec!["127.0.0.1:0".parse().unwrap()];
        config.hub.sys_interval_seconds = 0;
        let fs = SimFs::new();
        let open = || {
            let journal = JournalConfig::default().segment_bytes(1 << 20).free_min(0, 0);
            Ok(Some(JournalStore::open_on(Arc::new(fs.clone()), journal).unwrap()))
        };
        let hub = Running::start_on(&config, None, open).await.unwrap();
        let url: Url = format!("mqtt://{}", hub.mqtt()[0]).parse().unwrap();
        let client = roadbed::connect(&url).await.unwrap();
        let sender = client.sender().await.unwrap();
        let send = || sender.send(Message::new("queues/q".parse().unwrap(), "x"), Qos::AtLeastOnce);
        assert_eq!(send().await.unwrap().outcome, Outcome::Accepted);
        fs.fail_sync_after(0);
        let (sent, ended) = tokio::join!(tokio::time::timeout(Duration::from_secs(5), send()), hub.ended());
        assert!(!matches!(sent, Ok(Ok(confirm)) if confirm.outcome == Outcome::Accepted));
        let failure = ended.expect_err("a hub that cannot promise anything ends");
        assert_eq!(failure.kind(), crate::Kind::Unavailable);
        let words = failure.to_string();
        assert!(words.contains("cannot be written") && words.contains("start it again"), "{words}");
    }
}
