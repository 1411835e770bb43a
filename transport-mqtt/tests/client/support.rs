//! A broker with a server and a client over pipes that can be cut, all in virtual time; and a server that is written out packet by packet.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use roadbed_broker::Broker;
use roadbed_conformance::Faults;
use roadbed_core::{
    Address, Binding, Clock, Consumer, ConsumerTerms, Delivery, DeliveryRef, Disposition, Done, Endpoint, Grant,
    Message, Open, Outcome, Output, ProducerTerms, Protocol, Qos, Result, Sender, Session, Settled, Step, Time,
};
use roadbed_mqtt::codec::{Ack, AckKind, Connect, Version};
use roadbed_mqtt::{Client, ClientConfig, Event, Machine, MachineConfig, Server, ServerConfig, Welcome, connect_over};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;
use tokio::time::Instant;

pub(crate) const VERSIONS: [Version; 2] = [Version::V5, Version::V311];

/// The runtime's clock, which is paused and jumps.
#[derive(Debug)]
pub(crate) struct Virtual(Instant);

impl Virtual {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Instant::now()))
    }
}

impl Clock for Virtual {
    fn now(&self) -> Time {
        Time::from_millis(1_800_000_000_000) + self.0.elapsed()
    }
}

/// A configuration in virtual time.
pub(crate) fn config(version: Version) -> ClientConfig {
    ClientConfig::default()
        .version(version)
        .clock(Virtual::new())
        .reconnect_delay_min(Duration::from_millis(10))
        .seed(1)
}

/// A broker that can be reached, also by others.
pub(crate) struct Hub {
    pub(crate) broker: Broker,
    pub(crate) faults: Faults,
    pub(crate) client: Client,
}

pub(crate) fn hub(config: ClientConfig) -> Hub {
    let clock = Arc::clone(&config.clock);
    let broker = Broker::builder().clock(Arc::clone(&clock)).build().expect("a broker can be built");
    let faults = Faults::new();
    let server = ServerConfig::permissive().clock(clock).seed(1);
    let client = reach(config, Arc::new(broker.clone()), server, &faults);
    Hub { broker, faults, client }
}

/// A client of a server for `endpoint`.
pub(crate) fn reach(
    config: ClientConfig,
    endpoint: Arc<dyn Endpoint>,
    server: ServerConfig,
    faults: &Faults,
) -> Client {
    let server = Server::new(endpoint, server);
    let (dialer, listener) = faults.listen();
    listener.serve(move |stream| server.serve(stream));
    connect_over(config, move || {
        let dialer = dialer.clone();
        async move { dialer.dial().await }
    })
}

/// A session that is kept for an hour.
pub(crate) fn kept(name: &str) -> Open {
    Open { name: Some(name.into()), resume: true, expiry: Duration::from_secs(3600), ..Open::default() }
}

pub(crate) fn address(name: &str) -> Address {
    name.parse().expect("a legal address")
}

pub(crate) fn message(to: &str, payload: impl Into<String>) -> Message {
    Message::new(address(to), payload.into())
}

pub(crate) fn text(message: &Message) -> String {
    String::from_utf8(message.payload().to_bytes().to_vec()).expect("text")
}

pub(crate) async fn sender(session: &dyn Session) -> Sender {
    let terms = ProducerTerms { qos_max: Qos::ExactlyOnce, ..ProducerTerms::default() };
    Sender::new(session.producer(terms).await.expect("a producer attaches").0)
}

/// Whatever takes longer than any of this should is a hang.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(600), future).await.expect("it comes to an end")
}

/// Lets everything come to rest.
pub(crate) async fn quiet() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// A consumer with all the credit there is.
pub(crate) struct Receiving {
    pub(crate) link: Box<dyn Consumer>,
    ready: Vec<Delivery>,
    done: Vec<Done>,
    cookie: u64,
}

impl Receiving {
    pub(crate) async fn new(session: &dyn Session) -> Self {
        Self::with(session, ConsumerTerms::session()).await
    }

    pub(crate) async fn with(session: &dyn Session, terms: ConsumerTerms) -> Self {
        let (mut link, _) = session.consumer(terms).await.expect("a consumer attaches");
        link.grant(Grant::credit(u32::MAX));
        Self { link, ready: Vec::new(), done: Vec::new(), cookie: 0 }
    }

    pub(crate) async fn follow(mut self, filter: &str, qos: Qos) -> Self {
        let binding = Binding::new(filter.parse().expect("a legal filter"), qos);
        soon(self.link.bind(vec![binding])).await.expect("bound").remove(0).expect("granted");
        self
    }

    pub(crate) async fn next(&mut self) -> Delivery {
        soon(self.try_next()).await.expect("a link that lives")
    }

    pub(crate) async fn try_next(&mut self) -> Result<Delivery> {
        while self.ready.is_empty() {
            std::future::poll_fn(|cx| self.link.poll_receive(cx, &mut self.ready, 1)).await?;
        }
        Ok(self.ready.remove(0))
    }

    pub(crate) async fn nothing(&mut self) {
        let next = tokio::time::timeout(Duration::from_secs(1), self.try_next()).await;
        assert!(next.is_err(), "nothing should come, but {next:?} does");
    }

    pub(crate) async fn settle(&mut self, delivery: &Delivery, outcome: Outcome) -> Settled {
        soon(self.step(delivery, Step::Outcome { outcome, settled: true })).await.expect("settled")
    }

    pub(crate) async fn accept(&mut self, delivery: &Delivery) {
        assert_eq!(self.settle(delivery, Outcome::Accepted).await, Settled::Applied);
    }

    pub(crate) async fn step(&mut self, delivery: &Delivery, step: Step) -> Result<Settled> {
        self.step_ref(delivery.handle.expect("it is to be settled").into(), step).await
    }

    pub(crate) async fn step_ref(&mut self, delivery: DeliveryRef, step: Step) -> Result<Settled> {
        self.cookie += 1;
        let cookie = self.cookie;
        self.link.settle(&mut vec![Disposition { delivery, cookie: Some(cookie), step }]);
        loop {
            if let Some(at) = self.done.iter().position(|done| done.cookie == cookie) {
                return self.done.remove(at).result;
            }
            std::future::poll_fn(|cx| self.link.poll_settled(cx, &mut self.done)).await?;
        }
    }
}

/// Connections that wait for a server that is written out packet by packet.
pub(crate) struct Waiting(mpsc::Receiver<DuplexStream>);

/// A client, and the place where its connections arrive.
pub(crate) fn scripted(config: ClientConfig) -> (Client, Waiting) {
    let (connect, accept) = mpsc::channel(4);
    let client = connect_over(config, move || {
        let connect = connect.clone();
        async move {
            let (near, far) = tokio::io::duplex(1 << 20);
            connect.send(far).await.map_err(|_| std::io::ErrorKind::ConnectionRefused)?;
            Ok(near)
        }
    });
    (client, Waiting(accept))
}

impl Waiting {
    /// The next connection, raw.
    pub(crate) async fn raw(&mut self) -> DuplexStream {
        soon(self.0.recv()).await.expect("the client connects")
    }

    /// The next connection, its CONNECT not answered yet.
    pub(crate) async fn peer(&mut self) -> (Peer, Connect) {
        let (stream, config) = (self.raw().await, Arc::new(MachineConfig::default()));
        let machine = Machine::server(config, Time::from_millis(1));
        let mut peer = Peer { stream, machine, held: Bytes::new() };
        match peer.event().await {
            Event::Connect(connect) => (peer, *connect),
            other => panic!("CONNECT was expected: {other:?}"),
        }
    }

    /// The next connection, let in.
    pub(crate) async fn open(&mut self, session_present: bool) -> Peer {
        let (mut peer, _) = self.peer().await;
        let welcome = Welcome { session_present, session_expiry_secs: 3600, ..Welcome::default() };
        peer.say(|machine, out| machine.accept(welcome, Time::from_millis(1), out)).await;
        peer
    }
}

/// The server's end of a connection.
pub(crate) struct Peer {
    stream: DuplexStream,
    machine: Machine,
    held: Bytes,
}

impl Peer {
    pub(crate) async fn event(&mut self) -> Event {
        soon(self.try_event()).await.expect("the connection goes on")
    }

    /// The next thing that the client says; nothing at the end of the connection.
    pub(crate) async fn try_event(&mut self) -> Option<Event> {
        loop {
            let (chunk, mut at, mut out) = (std::mem::take(&mut self.held), 0, Output::new());
            let event = self.machine.next(Time::from_millis(1), &chunk, &mut at, &mut out).expect("legal packets");
            self.held = chunk.slice(at..);
            self.stream.write_all(&out.copy_to_bytes(out.remaining())).await.ok()?;
            if event.is_some() {
                return event;
            }
            let mut more = self.held.to_vec();
            if self.stream.read_buf(&mut more).await.ok()? == 0 {
                return None;
            }
            self.held = more.into();
        }
    }

    pub(crate) async fn ack(&mut self) -> Ack {
        match self.event().await {
            Event::Ack(ack) => ack,
            other => panic!("an acknowledgement was expected: {other:?}"),
        }
    }

    pub(crate) async fn silent(&mut self) {
        let event = tokio::time::timeout(Duration::from_secs(1), self.try_event()).await;
        assert!(event.is_err(), "nothing should come, but {event:?} does");
    }

    pub(crate) async fn say<E: std::fmt::Debug>(
        &mut self,
        say: impl FnOnce(&mut Machine, &mut Output) -> Result<(), E>,
    ) {
        let mut out = Output::new();
        say(&mut self.machine, &mut out).expect("it can be said");
        self.stream.write_all(&out.copy_to_bytes(out.remaining())).await.expect("the client reads");
    }

    pub(crate) async fn acknowledge(&mut self, ack: Ack) {
        self.say(|machine, out| machine.acknowledge(ack, out).map(|_said| ())).await;
    }

    /// Sends a message under a packet identifier.
    pub(crate) async fn deliver(&mut self, payload: &str, qos: Qos, id: u16, dup: bool) {
        let delivery = Delivery {
            message: message("t", payload),
            handle: roadbed_core::Handle::new(id, 1).filter(|_| qos != Qos::AtMostOnce),
            qos,
            retained: false,
            attempt: 1,
            info: None,
        };
        self.say(|machine, out| machine.deliver(&delivery, dup, Time::from_millis(1), out)).await;
    }
}

pub(crate) fn ack(kind: AckKind, id: u16) -> Ack {
    Ack::new(kind, id.try_into().expect("not zero"))
}
