//! Every law on a client of a server over the broker: both versions, whole, byte by byte, in pieces, over TCP, and twice in a row.

use std::cell::RefCell;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use roadbed_broker::Broker;
use roadbed_conformance::{Arguments, Carried, Faults, Fixture, Side, Split, World, ignored, run};
use roadbed_core::{Clock, Endpoint, ManualClock, Time};
use roadbed_mqtt::codec::Version;
use roadbed_mqtt::{ClientConfig, Listener, Server, ServerConfig, connect_over};
use tokio::net::{TcpListener, TcpStream};

std::thread_local! {
    /// The clock of the world that is made on this thread.
    static CLOCK: RefCell<Arc<ManualClock>> = RefCell::default();
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

fn server(inner: Arc<dyn Endpoint>) -> Server {
    Server::new(inner, ServerConfig::permissive().clock(CLOCK.with_borrow(Arc::clone)).seed(1))
}

fn config(version: Version) -> ClientConfig {
    ClientConfig::default()
        .version(version)
        .clock(CLOCK.with_borrow(Arc::clone))
        .reconnect_delay_min(Duration::from_millis(5))
        .seed(7)
}

async fn over_pipes(version: Version, inner: Arc<dyn Endpoint>, faults: Faults) -> Arc<dyn Endpoint> {
    let server = server(inner);
    let (dialer, listener) = faults.listen();
    listener.serve(move |stream| server.serve(stream));
    Arc::new(connect_over(config(version), move || {
        let dialer = dialer.clone();
        async move { dialer.dial().await }
    }))
}

async fn over_tcp(version: Version, inner: Arc<dyn Endpoint>, faults: Faults) -> Arc<dyn Endpoint> {
    let (server, config) = (server(inner), config(version));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(Listener::new(listener, server).run(std::future::pending()));
    Arc::new(connect_over(config, move || {
        let faults = faults.clone();
        async move { Ok(faults.carrier(TcpStream::connect(address).await?, Side::Client)) }
    }))
}

fn fixtures(name: &str, version: Version) -> Vec<Box<dyn Fixture>> {
    let pipe = |how: &str| {
        Carried::new(&format!("{name} {how}"), broker, move |inner, faults| over_pipes(version, inner, faults))
    };
    let tcp = Carried::new(&format!("{name} tcp"), broker, move |inner, faults| over_tcp(version, inner, faults));
    let all = [
        pipe("whole"),
        pipe("byte by byte").split(Split::EveryByte),
        pipe("in pieces").split(Split::Random(11)),
        pipe("twice in a row").hops(2),
        tcp.real_time(),
    ];
    let rules = |law: &str| (law == "will_is_sent_once").then_some("no delay of a will: MQTT 3.1.1, section 3.1.2.5");
    all.into_iter()
        .map(|fixture| if version == Version::V5 { fixture } else { fixture.rule_out(rules) })
        .map(|fixture| Box::new(fixture) as Box<dyn Fixture>)
        .collect()
}

fn main() -> ExitCode {
    let (mut all, plain) = (fixtures("mqtt 5", Version::V5), fixtures("mqtt 3.1.1", Version::V311));
    assert_eq!(ignored(&*all[0]), include_str!("conformance/ignored-5.txt"), "what MQTT 5 rules out has been reviewed");
    assert_eq!(ignored(&*plain[0]), include_str!("conformance/ignored-3.1.1.txt"), "and MQTT 3.1.1");
    all.extend(plain);
    run(all, &Arguments::from_args())
}
