//! Every law on a client of a server over the broker: whole, byte by byte, in pieces, over TCP, and twice in a row.

use std::cell::RefCell;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use roadbed_amqp::{ClientConfig, Listener, MachineConfig, Server, ServerConfig, connect_over};
use roadbed_broker::Broker;
use roadbed_conformance::{Arguments, Carried, Faults, Fixture, Side, Split, World, ignored, run};
use roadbed_core::{Clock, Endpoint, ManualClock, Time};
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

/// Both ends trust each other with a sidecar, for several properties of one name.
const SIDECAR_BYTES_MAX: usize = 16 << 10;

/// The clock of a law jumps by hours, in which nobody has fallen silent.
const IDLE_TIMEOUT: Duration = Duration::from_secs(48 * 3600);

fn machine() -> MachineConfig {
    MachineConfig::default().sidecar_bytes_max(SIDECAR_BYTES_MAX).idle_timeout(IDLE_TIMEOUT)
}

fn server(inner: Arc<dyn Endpoint>) -> Server {
    let machine = machine().sasl_required(false);
    Server::new(inner, ServerConfig::permissive().machine(machine).clock(CLOCK.with_borrow(Arc::clone)))
}

fn config() -> ClientConfig {
    ClientConfig::default()
        .machine(machine().container_id("law".into()))
        .clock(CLOCK.with_borrow(Arc::clone))
        .reconnect_delay_min(Duration::from_millis(5))
        .seed(7)
}

async fn over_pipes(inner: Arc<dyn Endpoint>, faults: Faults) -> Arc<dyn Endpoint> {
    let server = server(inner);
    let (dialer, listener) = faults.listen();
    listener.serve(move |stream| server.serve(stream));
    Arc::new(connect_over(config(), move || {
        let dialer = dialer.clone();
        async move { dialer.dial().await }
    }))
}

async fn over_tcp(inner: Arc<dyn Endpoint>, faults: Faults) -> Arc<dyn Endpoint> {
    let (server, config) = (server(inner), config());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(Listener::new(listener, server).run(std::future::pending()));
    Arc::new(connect_over(config, move || {
        let faults = faults.clone();
        async move { Ok(faults.carrier(TcpStream::connect(address).await?, Side::Client)) }
    }))
}

fn fixtures() -> Vec<Box<dyn Fixture>> {
    let pipe = |how: &str| Carried::new(&format!("amqp {how}"), broker, over_pipes);
    let all = [
        pipe("whole"),
        pipe("byte by byte").split(Split::EveryByte),
        pipe("in pieces").split(Split::Random(11)),
        pipe("twice in a row").hops(2),
        Carried::new("amqp tcp", broker, over_tcp).real_time(),
    ];
    all.into_iter().map(|fixture| Box::new(fixture) as Box<dyn Fixture>).collect()
}

fn main() -> ExitCode {
    let all = fixtures();
    assert_eq!(ignored(&*all[0]), include_str!("conformance/ignored.txt"), "what AMQP rules out has been reviewed");
    run(all, &Arguments::from_args())
}
