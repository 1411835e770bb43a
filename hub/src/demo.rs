//! `roadbed demo`: a hub, and every protocol to every other through it, over real sockets.

pub(crate) mod fault;
mod moved;
mod pair;
mod payload;
mod report;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use roadbed::broker::Counters;
use roadbed::{Client, Qos, Url};

use self::fault::Fault;
use self::moved::Parties;
use self::pair::Plan;
use self::report::Row;
use crate::cli;
use crate::error::{Failure, Result};
use crate::hub::Running;
use crate::output::say;
use crate::{Config, Listen, Store};

/// A client of one protocol.
struct Peer {
    name: &'static str,
    client: Client,
}

/// A hub, and everybody who is connected to it.
struct Site {
    hub: Running,
    peers: Vec<Peer>,
}

impl Site {
    async fn start(data: &Path, fault: Option<&Fault>) -> Result<Self> {
        let hub = start_hub(data, fault).await?;
        let peers = connect(&hub).await?;
        Ok(Self { hub, peers })
    }

    /// All connections end, then the hub.
    async fn stop(self) -> Result {
        for peer in self.peers {
            peer.client.close().await?;
        }
        self.hub.stop().await
    }

    fn parties(&self) -> Parties<'_> {
        let [_, mqtt, amqp, http] = &self.peers[..] else { unreachable!("there are four") };
        Parties { mqtt: &mqtt.client, amqp: &amqp.client, http: &http.client }
    }
}

/// Runs the demo, and prints the matrix.
///
/// # Errors
/// If a message did not arrive once, intact and settled.
pub(crate) async fn run(options: &cli::Demo) -> Result {
    let fault: Option<Fault> = options.fault.as_deref().map(str::parse).transpose().map_err(Failure::usage)?;
    let start = Instant::now();
    let data = tempfile::tempdir().map_err(|error| Failure::unavailable(format!("no folder for the demo: {error}")))?;
    let site = Site::start(data.path(), fault.as_ref()).await?;
    if let Some(fault) = &fault {
        say(fault)?;
    }
    say(report::intro(&site.hub, options.messages))?;
    let mut faults = matrix(&site.hub, &site.peers, options.messages).await?;
    faults += moved::run(site, data.path()).await?;
    let seconds = start.elapsed().as_secs_f64();
    match faults {
        0 => say(format_args!("\nEvery message arrived once, intact and settled. {seconds:.1} s")),
        faults => Err(Failure::refused(format!("{faults} rows are not clean"))),
    }
}

/// A hub on free ports, with its journal in `data`. It publishes no figures of its own, so that all that it counts is the demo's.
async fn start_hub(data: &Path, fault: Option<&Fault>) -> Result<Running> {
    let any = || vec!["127.0.0.1:0".parse().expect("an address")];
    let listen = Listen { mqtt: any(), http: any(), amqp: any(), ..Listen::NONE };
    let mut config = Config { listen, ..Config::default() };
    config.hub.sys_interval_seconds = 0;
    config.store = Store { data: data.into(), ..Store::default() };
    Running::start(&config, fault).await
}

async fn connect(hub: &Running) -> Result<Vec<Peer>> {
    let (mqtt, http, amqp) = (hub.mqtt()[0], hub.http()[0], hub.amqp()[0]);
    let mut peers = Vec::new();
    for (name, url) in [
        ("MQTT 3.1.1", format!("mqtt://{mqtt}?version=3.1.1&client_id=demo-3.1.1")),
        ("MQTT 5.0", format!("mqtt://{mqtt}?version=5&client_id=demo-5")),
        ("AMQP 1.0", format!("amqp://{amqp}?container_id=demo")),
        ("HTTP", format!("http://{http}")),
    ] {
        let url: Url = url.parse()?;
        peers.push(Peer { name, client: roadbed::connect(&url).await? });
    }
    Ok(peers)
}

/// Runs all pairs at all assurances; answers how many were not clean.
async fn matrix(hub: &Running, peers: &[Peer], messages: usize) -> Result<usize> {
    say(Row::HEAD)?;
    let payloads: Arc<[_]> = (0..messages).map(payload::of).collect();
    let (mut run, mut faults) = (0, 0);
    for from in peers {
        for to in peers {
            for qos in Qos::ALL {
                run += 1;
                let before = hub.broker().counters();
                let plan = Plan { run, qos, payloads: payloads.clone() };
                let mut tally = pair::run(&from.client, &to.client, &plan).await?;
                tally.unsettled = tally.unsettled.max(unsettled(hub, &before, messages).await);
                say(Row { from: from.name, to: to.name, plan: &plan, tally: &tally })?;
                faults += usize::from(!tally.is_clean());
            }
        }
    }
    Ok(faults)
}

/// How many of the messages have not ended as accepted, as the broker sees it. The last answers may still be under way.
async fn unsettled(hub: &Running, before: &Counters, messages: usize) -> usize {
    let missing = || messages.saturating_sub((hub.broker().counters().accepted - before.accepted) as usize);
    for _ in 0..500 {
        if missing() == 0 {
            return 0;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    missing()
}
