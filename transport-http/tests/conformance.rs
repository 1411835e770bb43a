//! Every law on a client of a server over the broker: whole, byte by byte, in pieces, over HTTP/2, over TCP, and twice in a row.

use std::process::ExitCode;
use std::sync::Arc;

use roadbed_broker::Broker;
use roadbed_conformance::{Arguments, Boxed, Dialer, Faults, Fixture, Listener, Side, Split, World, ignored, run};
use roadbed_core::{Clock, Credential, Endpoint, ManualClock, Time};
use roadbed_http::{ByteStream, ClientConfig, HttpClient, HttpConfig, Server};
use tokio::net::{TcpListener, TcpStream};

/// A client of a server over the broker.
#[derive(Clone, Copy)]
struct Http {
    name: &'static str,
    split: Split,
    tcp: bool,
    version_2: bool,
    hops: usize,
}

const PIPE: Http = Http { name: "http/1.1 pipe", split: Split::None, tcp: false, version_2: false, hops: 1 };

impl Fixture for Http {
    fn name(&self) -> String {
        self.name.into()
    }

    fn world(&self) -> Boxed<World> {
        let Self { split, tcp, hops, .. } = *self;
        let this = *self;
        Box::pin(async move {
            let clock = Arc::new(ManualClock::at(Time::from_millis(1_800_000_000_000)));
            let broker = Broker::builder().clock(clock.clone()).build().expect("a broker can be built");
            let faults = Faults::new();
            faults.split(split);
            let mut endpoint: Arc<dyn Endpoint> = Arc::new(broker.clone());
            for _ in 0..hops {
                let server = Server::builder(endpoint).config(HttpConfig::default()).clock(clock.clone()).build();
                let server = server.expect("a server can be built");
                endpoint = match tcp {
                    false => Arc::new(this.over_pipes(server, &clock, &faults)),
                    true => Arc::new(this.over_tcp(server, &clock, &faults).await),
                };
            }
            let (ticked, due) = (broker.clone(), clock.clone());
            let world = World::new(Arc::new(broker)).clock(clock).on_advance(move || {
                ticked.handle_timeout(due.now());
            });
            world.reached_by(endpoint, faults)
        })
    }

    fn paused(&self) -> bool {
        !self.tcp
    }

    fn ruled_out(&self, law: &str) -> Option<String> {
        let why = match law {
            "exclusive_consumer_is_alone" => {
                "between two polls nobody is attached: settlement, section 4, lock deadline"
            }
            "log_checkpoint_waits_for_the_commit" => {
                "a checkpoint is a request of its own: settlement, section 4, logs"
            }
            "log_higher_epoch_takes_over" => "between two reads nobody is attached: settlement, section 4, logs",
            "shared_binding_delivers_once" => "a group shares a queue instead: settlement, section 5, M8",
            "retained_reaches_a_new_binding" => {
                "a queue takes what is sent from its binding on: settlement, section 5, M6"
            }
            _ => return None,
        };
        Some(why.into())
    }
}

impl Http {
    fn client(&self, clock: &Arc<ManualClock>) -> roadbed_http::HttpClientBuilder {
        let config = ClientConfig::default().http2(self.version_2).backoff_ms_min(5);
        let user = Credential::Password { user: "law".into(), password: "".into() };
        HttpClient::builder("http://law.example").config(config).credential(user).clock(clock.clone())
    }

    fn over_pipes(&self, server: Server, clock: &Arc<ManualClock>, faults: &Faults) -> HttpClient {
        let (dialer, listener) = faults.listen();
        accept(server, listener);
        let dial = move || Box::pin(dial(dialer.clone())) as Boxed<_>;
        self.client(clock).dial(dial).build().expect("the URL is one")
    }

    async fn over_tcp(&self, server: Server, clock: &Arc<ManualClock>, faults: &Faults) -> HttpClient {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let (address, faults) = (listener.local_addr().expect("it is bound"), faults.clone());
        tokio::spawn(async move { server.serve_listener(listener, std::future::pending()).await });
        let dial = move || {
            let faults = faults.clone();
            Box::pin(async move {
                let stream = faults.carrier(TcpStream::connect(address).await?, Side::Client);
                Ok(Box::new(stream) as Box<dyn ByteStream>)
            }) as Boxed<_>
        };
        self.client(clock).dial(dial).build().expect("the URL is one")
    }
}

fn accept(server: Server, listener: Listener) {
    listener.serve(move |stream| {
        let server = server.clone();
        async move { server.serve(stream).await }
    });
}

async fn dial(dialer: Dialer) -> std::io::Result<Box<dyn ByteStream>> {
    Ok(Box::new(dialer.dial().await?))
}

/// The laws that do not apply, with their cells: reviewed, so that a law is never lost in silence.
const IGNORED: &str = include_str!("conformance.ignored.txt");

fn main() -> ExitCode {
    assert_eq!(ignored(&PIPE), IGNORED, "the laws that do not apply");
    let fixtures = [
        PIPE,
        Http { name: "http/1.1 bytes", split: Split::EveryByte, ..PIPE },
        Http { name: "http/1.1 pieces", split: Split::Random(11), ..PIPE },
        Http { name: "http/2 pipe", version_2: true, ..PIPE },
        Http { name: "http/2 pieces", split: Split::Random(12), version_2: true, ..PIPE },
        Http { name: "http/1.1 tcp", tcp: true, ..PIPE },
        Http { name: "http/1.1 twice", hops: 2, ..PIPE },
    ];
    run(fixtures.map(|fixture| Box::new(fixture) as Box<dyn Fixture>).into(), &Arguments::from_args())
}
