//! A hub that can be started again on its store, and a client that is the bare machine: it says exactly what a test wants said.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use fe2o3_amqp_types::definitions::{ReceiverSettleMode, Role, SenderSettleMode};
use fe2o3_amqp_types::messaging::{Source, Target, TargetArchetype, TerminusDurability, TerminusExpiryPolicy};
use fe2o3_amqp_types::performatives::Attach;
use roadbed_amqp::codec::{State, Tag};
use roadbed_amqp::dialect::Encoded;
use roadbed_amqp::{
    Event, Incoming, LinkId, Listener, Machine, MachineConfig, Sending, Server, ServerConfig, SessionId, UnsettledMap,
};
use roadbed_broker::{Broker, MemoryStore};
use roadbed_core::{
    Clock, Delivery, Durability, Losses, Message, Origin, Output, Protocol, Qos, ReadContext, SystemClock, WireMessage,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub(crate) struct Hub {
    pub(crate) address: SocketAddr,
    pub(crate) broker: Broker,
    store: MemoryStore,
    task: tokio::task::JoinHandle<std::io::Result<()>>,
    timers: tokio::task::JoinHandle<()>,
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.task.abort();
        self.timers.abort();
    }
}

impl Hub {
    pub(crate) async fn new() -> Self {
        Self::on(MemoryStore::new()).await
    }

    async fn on(store: MemoryStore) -> Self {
        let broker = Broker::builder().store(store.clone()).build().expect("a store that can be read");
        let socket = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = socket.local_addr().expect("bound");
        let server = Server::new(Arc::new(broker.clone()), ServerConfig::permissive());
        let task = tokio::spawn(Listener::new(socket, server).run(std::future::pending()));
        let timers = broker.spawn_timers();
        Self { address, broker, store, task, timers }
    }

    /// The hub crashes, and starts again on what its store has kept.
    pub(crate) async fn restart(self) -> Self {
        self.task.abort();
        self.timers.abort();
        tokio::time::sleep(Duration::from_millis(50)).await;
        Self::on(self.store.clone()).await
    }

    /// How many copies wait in a queue, and how many are held.
    pub(crate) async fn counts(&self, queue: &str) -> (u64, u64) {
        use roadbed_core::{Endpoint, Manage, Managed, Open};
        let session = self.broker.open(Open::default()).await.expect("a session");
        match session.manage(Manage::Describe(queue.parse().expect("an address"))).await {
            Ok(Managed::Description(described)) => (described.available, described.held),
            other => panic!("{other:?}"),
        }
    }

    /// Waits until the queue is like this.
    pub(crate) async fn settles(&self, queue: &str, counts: (u64, u64)) {
        for _ in 0..200 {
            if self.counts(queue).await == counts {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(self.counts(queue).await, counts, "of {queue}: available and held");
    }
}

/// A client's connection with one session.
pub(crate) struct Peer {
    stream: TcpStream,
    pub(crate) machine: Machine,
    pub(crate) out: Output,
    pub(crate) session: SessionId,
    events: VecDeque<Event>,
    rest: Vec<u8>,
}

impl Peer {
    pub(crate) async fn connect(hub: &Hub) -> Self {
        let stream = TcpStream::connect(hub.address).await.expect("the hub listens");
        let config = Arc::new(MachineConfig::default().container_id("peer".into()));
        let mut out = Output::new();
        let machine = Machine::client(config, None, None, SystemClock::default().now(), &mut out);
        let (events, rest) = (VecDeque::new(), Vec::new());
        let mut peer = Self { stream, machine, out, session: SessionId(0), events, rest };
        assert!(matches!(peer.next().await, Event::Open(_)));
        peer.session = peer.begin().await;
        peer
    }

    pub(crate) async fn begin(&mut self) -> SessionId {
        let session = self.machine.begin(&mut self.out).expect("open");
        assert_eq!(self.next().await, Event::Begin(session));
        session
    }

    /// Writes what there is to write.
    pub(crate) async fn flush(&mut self) {
        self.machine.flush(&mut self.out);
        let bytes = self.out.copy_to_bytes(self.out.remaining());
        self.stream.write_all(&bytes).await.expect("the hub reads");
    }

    /// What the hub says next.
    pub(crate) async fn next(&mut self) -> Event {
        tokio::time::timeout(Duration::from_secs(10), self.read()).await.expect("in time")
    }

    async fn read(&mut self) -> Event {
        loop {
            self.flush().await;
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            let mut buffer = vec![0; 1 << 16];
            let len = self.stream.read(&mut buffer).await.expect("the hub writes");
            assert!(len > 0, "the hub has closed the connection");
            let (chunk, mut at) = (Bytes::from([&self.rest, &buffer[..len]].concat()), 0);
            let now = SystemClock::default().now();
            while let Some(event) = self.machine.next(now, &chunk, &mut at, &mut self.out).expect("legal") {
                self.events.push_back(event);
            }
            self.rest = chunk[at..].to_vec();
        }
    }

    /// Nothing more is said of links and deliveries within a while.
    pub(crate) async fn silence(&mut self) {
        let said = tokio::time::timeout(Duration::from_millis(300), self.read()).await;
        assert!(said.is_err(), "{said:?}");
    }

    /// The connection is lost without a word.
    pub(crate) async fn cut(mut self) {
        self.flush().await;
        drop(self);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    /// Attaches with our map, and returns the hub's.
    pub(crate) async fn attach(&mut self, attach: Attach, ours: &UnsettledMap) -> (LinkId, UnsettledMap) {
        let (link, answer) = self.attach_in(self.session, attach, ours).await;
        (link, roadbed_amqp::unsettled_map(&answer))
    }

    pub(crate) async fn attach_in(
        &mut self,
        session: SessionId,
        attach: Attach,
        ours: &UnsettledMap,
    ) -> (LinkId, Attach) {
        let link = self.machine.attach(session, attach, ours, &mut self.out).expect("room");
        match self.next().await {
            Event::Attach(id, answer) if id == link => (link, *answer),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn grant(&mut self, link: LinkId, credit: u32) {
        self.machine.grant(link, credit, false, None, &mut self.out).expect("attached");
    }

    pub(crate) async fn credit(&mut self) {
        assert!(matches!(self.next().await, Event::Credit(..)));
    }

    pub(crate) fn send(&mut self, link: LinkId, tag: &str, resume: bool) {
        self.send_as(link, tag, resume, Durability::Stored);
    }

    pub(crate) fn send_as(&mut self, link: LinkId, tag: &str, resume: bool, durability: Durability) {
        let sending = Sending { cookie: Some(1), tag: Some(named(tag)), resume, ..Sending::default() };
        let message = Message::builder("queues/q".parse().expect("an address"), tag.to_owned());
        let delivery = Delivery {
            message: message.durability(durability).build(),
            handle: None,
            qos: Qos::ExactlyOnce,
            retained: false,
            attempt: 1,
            info: None,
        };
        let now = SystemClock::default().now();
        let sent = self.machine.deliver(link, &delivery, sending, now, &mut Losses::default(), &mut self.out);
        sent.expect("credit");
    }

    /// The next delivery, with its payload.
    pub(crate) async fn receive(&mut self) -> (Incoming, String) {
        let incoming = match self.next().await {
            Event::Transfer(incoming) => incoming,
            other => panic!("{other:?}"),
        };
        let origin = Arc::new(Origin::default());
        let address = Some("a".parse().expect("an address"));
        let encoded = Encoded { address, ..Encoded::new(incoming.pieces.clone()) };
        let payload = match incoming.pieces.is_empty() {
            true => Bytes::new(),
            false => {
                let now = SystemClock::default().now();
                let message = encoded.read(&ReadContext { origin: &origin, now }).expect("a message");
                message.payload().to_bytes()
            }
        };
        (incoming, String::from_utf8(payload.to_vec()).expect("text"))
    }

    /// Says an outcome that is not settled, and waits until the hub has settled it.
    pub(crate) async fn accept(&mut self, incoming: &Incoming) {
        self.machine.answer(incoming.link.session, incoming.delivery, State::Accepted, &mut self.out);
        assert!(matches!(self.next().await, Event::Forgotten(_)));
    }

    /// The outcome of the only delivery that is under way.
    pub(crate) async fn outcome(&mut self) -> State {
        match self.next().await {
            Event::Disposed(disposed) => disposed.state.expect("an outcome"),
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) fn named(tag: &str) -> Tag {
    Tag::new(tag.as_bytes()).expect("short")
}

pub(crate) fn map(entries: impl IntoIterator<Item = (Tag, Option<State>)>) -> UnsettledMap {
    entries.into_iter().collect()
}

/// A sender whose target is kept for `timeout` seconds after its connection, and that settles last.
pub(crate) fn sender(name: &str, timeout: u32) -> Attach {
    let durable = if timeout > 0 { TerminusDurability::UnsettledState } else { TerminusDurability::None };
    let target = Target {
        address: Some("queues/q".into()),
        durable,
        expiry_policy: TerminusExpiryPolicy::SessionEnd,
        timeout,
        ..Target::default()
    };
    Attach {
        name: name.into(),
        handle: 0.into(),
        role: Role::Sender,
        snd_settle_mode: SenderSettleMode::Unsettled,
        rcv_settle_mode: ReceiverSettleMode::Second,
        source: Some(Box::default()),
        target: Some(Box::new(TargetArchetype::Target(target))),
        unsettled: None,
        incomplete_unsettled: false,
        initial_delivery_count: Some(0),
        max_message_size: None,
        offered_capabilities: None,
        desired_capabilities: None,
        properties: None,
    }
}

/// A receiver whose source is kept for `timeout` seconds after its connection, and that settles first.
pub(crate) fn receiver(name: &str, from: &str, timeout: u32) -> Attach {
    let durable = if timeout > 0 { TerminusDurability::UnsettledState } else { TerminusDurability::None };
    let source = Source { address: Some(from.into()), durable, timeout, ..Source::default() };
    Attach {
        role: Role::Receiver,
        source: Some(Box::new(source)),
        target: Some(Box::new(TargetArchetype::Target(Target::default()))),
        initial_delivery_count: None,
        ..sender(name, 0)
    }
}
