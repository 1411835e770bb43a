//! Every law over two protocols in a row: a server of the one, whose endpoint is a client of the other, as in a gateway. And over WebSocket and TLS under each of them.

use std::cell::RefCell;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use roadbed::client::{Carrier, Connector};
use roadbed::tls::{Acceptor, ClientSettings, ServerSettings, TlsConnector};
use roadbed::{
    Broker, Capabilities, Clock, Endpoint, Fut, ManualClock, Open, Outcomes, Peer, Session, Time, amqp, mqtt, ws,
};
use roadbed_conformance::{Arguments, Carried, Dialer, Faults, Fixture, World, ignored, run};
use roadbed_tls::make::{Make, make};

std::thread_local! {
    /// The clock of the world that is made on this thread.
    static CLOCK: RefCell<Arc<ManualClock>> = RefCell::default();
}

fn clock() -> Arc<ManualClock> {
    CLOCK.with_borrow(Arc::clone)
}

fn broker() -> World {
    let clock = Arc::new(ManualClock::at(Time::from_millis(1_800_000_000_000)));
    CLOCK.set(clock.clone());
    let broker = Broker::builder().clock(clock.clone()).build().expect("a broker can be built");
    let (ticked, due) = (broker.clone(), clock.clone());
    World::new(Arc::new(broker)).clock(clock).on_advance(move || {
        ticked.handle_timeout(due.now());
    })
}

/// What a protocol runs over.
#[derive(Clone, Copy)]
enum Road {
    Plain,
    WebSocket(&'static str),
    Tls,
    /// WebSocket over TLS.
    Secure(&'static str),
}

/// The folder with the certificates that all use.
static CERTIFICATES: OnceLock<PathBuf> = OnceLock::new();

fn certificate(name: &str) -> PathBuf {
    CERTIFICATES.get().expect("they are made first").join(name)
}

fn acceptor() -> &'static Acceptor {
    static ACCEPTOR: OnceLock<Acceptor> = OnceLock::new();
    ACCEPTOR.get_or_init(|| {
        let (cert, key) = (certificate("server.pem"), certificate("server.key"));
        Acceptor::new(ServerSettings { cert, key, ..ServerSettings::default() }).expect("they are in order")
    })
}

async fn secured<S: Carrier + 'static>(stream: S) -> std::io::Result<Box<dyn Carrier>> {
    Ok(Box::new(acceptor().accept(stream, &[], Peer::default()).await?.stream))
}

async fn dial_securely(dialer: Dialer) -> std::io::Result<Box<dyn Carrier>> {
    let settings = ClientSettings { ca: Some(certificate("ca.pem")), ..ClientSettings::default() };
    let under = dialer.connector();
    TlsConnector::new(&settings, "localhost", &[], under).expect("they are in order").connect().await
}

impl Road {
    /// The road's far end, on a stream that a client has opened.
    async fn accept<S: Carrier + 'static>(self, stream: S) -> std::io::Result<Box<dyn Carrier>> {
        match self {
            Self::Plain => Ok(Box::new(stream)),
            Self::WebSocket(protocol) => Ok(Box::new(ws::accept(stream, &[protocol]).await?.into_stream())),
            Self::Tls => secured(stream).await,
            Self::Secure(protocol) => {
                Ok(Box::new(ws::accept(secured(stream).await?, &[protocol]).await?.into_stream()))
            }
        }
    }

    async fn dial(self, dialer: Dialer) -> std::io::Result<Box<dyn Carrier>> {
        let ask = |protocol: &str| ws::Ask { host: "law".into(), path: "/".into(), protocols: vec![protocol.into()] };
        match self {
            Self::Plain => Ok(Box::new(dialer.dial().await?)),
            Self::WebSocket(protocol) => Ok(Box::new(ws::connect(dialer.dial().await?, &ask(protocol)).await?.0)),
            Self::Tls => dial_securely(dialer).await,
            Self::Secure(protocol) => Ok(Box::new(ws::connect(dial_securely(dialer).await?, &ask(protocol)).await?.0)),
        }
    }
}

fn over_amqp(inner: Arc<dyn Endpoint>, faults: &Faults, road: Road) -> Arc<dyn Endpoint> {
    let machine = || {
        let machine = amqp::MachineConfig::default().sidecar_bytes_max(16 << 10);
        machine.idle_timeout(Duration::from_secs(48 * 3600))
    };
    let config = amqp::ServerConfig::permissive().machine(machine().sasl_required(false)).clock(clock());
    let server = amqp::Server::new(inner, config);
    let (dialer, listener) = faults.listen();
    listener.serve(move |stream| {
        let server = server.clone();
        async move {
            // A client that is cut before it has begun is no fault.
            if let Ok(stream) = road.accept(stream).await {
                let _ = server.serve(stream).await;
            }
        }
    });
    let config = amqp::ClientConfig::default().machine(machine().container_id("law".into())).clock(clock());
    Arc::new(amqp::connect_over(config.reconnect_delay_min(Duration::from_millis(5)).seed(7), move || {
        road.dial(dialer.clone())
    }))
}

fn over_mqtt(inner: Arc<dyn Endpoint>, faults: &Faults, road: Road) -> Arc<dyn Endpoint> {
    let server = mqtt::Server::new(inner, mqtt::ServerConfig::permissive().clock(clock()).seed(1));
    let (dialer, listener) = faults.listen();
    listener.serve(move |stream| {
        let server = server.clone();
        async move {
            // A client that is cut before it has begun is no fault.
            if let Ok(stream) = road.accept(stream).await {
                let _ = server.serve(stream).await;
            }
        }
    });
    let config = mqtt::ClientConfig::default().clock(clock()).reconnect_delay_min(Duration::from_millis(5)).seed(7);
    Arc::new(mqtt::connect_over(config, move || road.dial(dialer.clone())))
}

/// An endpoint that says what the whole way can do: a client knows its own protocol alone.
struct Way {
    endpoint: Arc<dyn Endpoint>,
    can: Capabilities,
}

impl Endpoint for Way {
    fn capabilities(&self) -> &Capabilities {
        &self.can
    }

    fn open(&self, open: Open) -> Fut<Box<dyn Session>> {
        self.endpoint.open(open)
    }
}

fn both(endpoint: Arc<dyn Endpoint>, behind: &dyn Endpoint) -> Arc<dyn Endpoint> {
    let (mut can, less) = (endpoint.capabilities().clone(), behind.capabilities());
    can.qos_in = can.qos_in.min(less.qos_in);
    can.qos_out = can.qos_out.min(less.qos_out);
    can.outcomes = Outcomes {
        rejected: can.outcomes.rejected && less.outcomes.rejected,
        released: can.outcomes.released && less.outcomes.released,
        modified: can.outcomes.modified && less.outcomes.modified,
    };
    can.transactions = can.transactions.min(less.transactions);
    for (here, there) in [
        (&mut can.drain, less.drain),
        (&mut can.bind, less.bind),
        (&mut can.queues, less.queues),
        (&mut can.browse, less.browse),
        (&mut can.logs, less.logs),
        (&mut can.resume, less.resume),
        (&mut can.settle_by_id, less.settle_by_id),
        (&mut can.leases, less.leases),
        (&mut can.renew, less.renew),
        (&mut can.refusals, less.refusals),
        (&mut can.manage, less.manage),
        (&mut can.properties, less.properties),
        (&mut can.expiry, less.expiry),
        (&mut can.priority, less.priority),
        (&mut can.wills, less.wills),
        (&mut can.retain, less.retain),
    ] {
        *here &= there;
    }
    Arc::new(Way { endpoint, can })
}

async fn mqtt_behind_amqp(inner: Arc<dyn Endpoint>, faults: Faults) -> Arc<dyn Endpoint> {
    let behind = over_mqtt(inner, &faults, Road::Plain);
    both(over_amqp(Arc::clone(&behind), &faults, Road::Plain), &*behind)
}

async fn amqp_behind_mqtt(inner: Arc<dyn Endpoint>, faults: Faults) -> Arc<dyn Endpoint> {
    let behind = over_amqp(inner, &faults, Road::Plain);
    both(over_mqtt(Arc::clone(&behind), &faults, Road::Plain), &*behind)
}

async fn mqtt_over_websocket(inner: Arc<dyn Endpoint>, faults: Faults) -> Arc<dyn Endpoint> {
    over_mqtt(inner, &faults, Road::WebSocket("mqtt"))
}

async fn amqp_over_websocket(inner: Arc<dyn Endpoint>, faults: Faults) -> Arc<dyn Endpoint> {
    over_amqp(inner, &faults, Road::WebSocket("amqp"))
}

async fn mqtt_over_tls(inner: Arc<dyn Endpoint>, faults: Faults) -> Arc<dyn Endpoint> {
    over_mqtt(inner, &faults, Road::Tls)
}

async fn amqp_over_tls(inner: Arc<dyn Endpoint>, faults: Faults) -> Arc<dyn Endpoint> {
    over_amqp(inner, &faults, Road::Tls)
}

async fn mqtt_over_both(inner: Arc<dyn Endpoint>, faults: Faults) -> Arc<dyn Endpoint> {
    over_mqtt(inner, &faults, Road::Secure("mqtt"))
}

async fn amqp_over_both(inner: Arc<dyn Endpoint>, faults: Faults) -> Arc<dyn Endpoint> {
    over_amqp(inner, &faults, Road::Secure("amqp"))
}

fn main() -> ExitCode {
    let folder = tempfile::tempdir().expect("a folder");
    make(folder.path(), &Make::default()).expect("certificates can be made");
    CERTIFICATES.set(folder.path().to_owned()).expect("once");
    let gateway = Carried::new("mqtt, then amqp", broker, amqp_behind_mqtt).rule_out(|law| match law {
        "unsupported_is_an_error" => Some("no word for a will that is not kept: MQTT 5, section 3.2.2.2"),
        _ => None,
    });
    let uplink = Carried::new("amqp, then mqtt", broker, mqtt_behind_amqp).rule_out(|law| {
        (law == "exactly_once_across_reconnect").then_some("our MQTT client names a copy anew on each connection")
    });
    assert_eq!(ignored(&gateway), include_str!("ignored-gateway.txt"), "what a gateway rules out has been reviewed");
    assert_eq!(ignored(&uplink), include_str!("ignored-uplink.txt"), "and the way back");
    let all: Vec<Box<dyn Fixture>> = vec![
        Box::new(gateway),
        Box::new(uplink),
        Box::new(Carried::new("mqtt over websocket", broker, mqtt_over_websocket)),
        Box::new(Carried::new("amqp over websocket", broker, amqp_over_websocket)),
        Box::new(Carried::new("mqtt over tls", broker, mqtt_over_tls)),
        Box::new(Carried::new("amqp over tls", broker, amqp_over_tls)),
        Box::new(Carried::new("mqtt over websocket over tls", broker, mqtt_over_both)),
        Box::new(Carried::new("amqp over websocket over tls", broker, amqp_over_both)),
    ];
    run(all, &Arguments::from_args())
}
