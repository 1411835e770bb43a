//! Every law on a connection of `fe2o3-amqp` to a server over the broker: in memory, and over TCP.

use std::cell::RefCell;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use roadbed_amqp::fe2o3::Fe2o3;
use roadbed_amqp::{MachineConfig, Server, ServerConfig};
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

fn server(inner: Arc<dyn Endpoint>) -> Server {
    let machine =
        MachineConfig::default().idle_timeout(IDLE_TIMEOUT).sidecar_bytes_max(SIDECAR_BYTES_MAX).sasl_required(false);
    Server::new(inner, ServerConfig::permissive().machine(machine).clock(CLOCK.with_borrow(Arc::clone)))
}

async fn connected<S>(stream: S) -> Arc<dyn Endpoint>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + std::fmt::Debug + 'static,
{
    let builder = fe2o3_amqp::Connection::builder().container_id("law").hostname("law");
    let connection = builder.open_with_stream(stream).await.expect("a connection");
    Arc::new(Fe2o3::new(connection).clock(CLOCK.with_borrow(Arc::clone)).sidecar_bytes_max(SIDECAR_BYTES_MAX))
}

async fn over_pipes(inner: Arc<dyn Endpoint>, faults: Faults) -> Arc<dyn Endpoint> {
    let server = server(inner);
    let (dialer, listener) = faults.listen();
    listener.serve(move |stream| server.serve(stream));
    connected(dialer.dial().await.expect("a pipe")).await
}

async fn over_tcp(inner: Arc<dyn Endpoint>, faults: Faults) -> Arc<dyn Endpoint> {
    let server = server(inner);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(roadbed_amqp::Listener::new(listener, server).run(std::future::pending()));
    connected(faults.carrier(TcpStream::connect(address).await.expect("connected"), Side::Client)).await
}

/// What a law asks for that the library does not tell.
fn lost(law: &str) -> Option<&'static str> {
    (law == "exclusive_consumer_is_alone").then_some("refused, but fe2o3-amqp does not tell why")
}

fn fixtures() -> Vec<Box<dyn Fixture>> {
    let all = [
        Carried::new("fe2o3 whole", broker, over_pipes),
        Carried::new("fe2o3 in pieces", broker, over_pipes).split(Split::Random(11)),
        Carried::new("fe2o3 tcp", broker, over_tcp).real_time(),
    ];
    all.into_iter().map(|fixture| Box::new(fixture.rule_out(lost)) as Box<dyn Fixture>).collect()
}

fn main() -> ExitCode {
    let all = fixtures();
    assert_eq!(ignored(&*all[0]), include_str!("conformance/fe2o3_ignored.txt"), "what it rules out has been reviewed");
    run(all, &Arguments::from_args())
}
