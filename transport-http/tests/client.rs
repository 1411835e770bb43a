//! The client against a server over the broker, where the laws of endpoints do not look.

mod support;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use roadbed_broker::Broker;
use roadbed_conformance::{Direction, Faults};
use roadbed_core::{
    Address, Authenticator, Binding, Condition, ConsumerTerms, Credential, Detach, Endpoint, Error, ErrorKind, Hold,
    Identity, Key, Manage, Managed, Message, Open, Outcome, Outgoing, Overflow, Producer, ProducerTerms, Qos,
    QueueSettings, Receiver, Result, Sender, Session, SessionEvent, Settled, Unbind,
};
use roadbed_http::{ByteStream, ClientConfig, HttpClient, HttpClientBuilder, HttpConfig, Server, connect};
use support::Fake;

type Boxed<T> = std::pin::Pin<Box<dyn Future<Output = T> + Send>>;

struct World {
    broker: Broker,
    faults: Faults,
    server: Server,
}

impl World {
    fn new() -> Self {
        let broker = Broker::new();
        let server = Server::new(Arc::new(broker.clone()), HttpConfig::default()).unwrap();
        Self { broker, faults: Faults::new(), server }
    }

    fn client(&self) -> HttpClientBuilder {
        let (dialer, listener) = self.faults.listen();
        let server = self.server.clone();
        listener.serve(move |stream| {
            let server = server.clone();
            async move { server.serve(stream).await }
        });
        let dial = move || {
            let dialer = dialer.clone();
            Box::pin(async move { Ok(Box::new(dialer.dial().await?) as Box<dyn ByteStream>) }) as Boxed<_>
        };
        HttpClient::builder("http://broker.example").dial(dial).config(config())
    }

    async fn open(&self) -> Box<dyn Session> {
        self.client().build().unwrap().open(Open::default()).await.unwrap()
    }

    async fn available(&self, queue: &Address) -> u64 {
        self.describe(queue).await.0
    }

    async fn describe(&self, queue: &Address) -> (u64, u64) {
        let session = self.broker.open(Open::default()).await.unwrap();
        match session.manage(Manage::Describe(queue.clone())).await.unwrap() {
            Managed::Description(node) => (node.available, node.held),
            other => panic!("{other:?}"),
        }
    }
}

fn config() -> ClientConfig {
    ClientConfig::default().backoff_ms_min(5).backoff_ms_max(20)
}

fn queue() -> Address {
    "queues/q".parse().unwrap()
}

async fn producer(session: &dyn Session) -> Box<dyn Producer> {
    session.producer(ProducerTerms { qos_max: Qos::ExactlyOnce, ..ProducerTerms::default() }).await.unwrap().0
}

async fn receiver(session: &dyn Session, terms: ConsumerTerms) -> Receiver {
    Receiver::new(session.consumer(terms).await.unwrap().0, 10)
}

#[tokio::test]
async fn payloads_of_every_kind_arrive_whole() {
    let world = World::new();
    let session = world.open().await;
    let sender = Sender::new(producer(&*session).await);
    let payloads = [vec![], vec![0], vec![0xff, 0xfe], b"text".to_vec(), vec![0x80; 64 << 10], vec![b'x'; 1 << 20]];
    for payload in &payloads {
        let message = Message::new(queue(), payload.clone());
        assert_eq!(sender.send(message, Qos::AtLeastOnce).await.unwrap().outcome, Outcome::Accepted);
    }
    let receiver = receiver(&*session, ConsumerTerms::queue(queue())).await;
    for payload in &payloads {
        let received = receiver.receive().await.unwrap().unwrap();
        assert!(received.message.payload().to_bytes() == payload[..]);
        assert_eq!(received.accept().await.unwrap(), Settled::Applied);
    }
    let long = Message::new(queue(), vec![0; (1 << 20) + 1]);
    let confirm = sender.send(long, Qos::AtLeastOnce).await.unwrap();
    assert!(matches!(confirm.outcome, Outcome::Rejected(reason) if reason.condition == Condition::TooLarge));
    assert_eq!(session.opened().message_bytes_max, 1 << 20);
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_only_with_a_key() {
    let world = World::new();
    let session = world.open().await;
    let sender = Sender::new(producer(&*session).await);
    let outgoing = |qos, key| {
        let message = Message::new(queue(), "x");
        Outgoing { cookie: 0, message, qos, key, txn: None }
    };
    for key in [Key::Number(7), Key::Name("order 7".into())] {
        world.faults.cut_after(Direction::Down, 3);
        let confirm = sender.submit(outgoing(Qos::ExactlyOnce, Some(key))).await.unwrap();
        assert_eq!(confirm.outcome, Outcome::Accepted);
    }
    assert_eq!(world.available(&queue()).await, 2, "each once, though each was sent twice");
    world.faults.cut_after(Direction::Down, 3);
    let confirm = sender.submit(outgoing(Qos::AtLeastOnce, None)).await.unwrap();
    assert_eq!((confirm.outcome, confirm.why), (Outcome::FAILED, Some(Condition::Unavailable)));
    assert_eq!(world.available(&queue()).await, 3, "it may have been taken, and it was");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told() {
    let unreachable = || {
        let dial = || Box::pin(async { Err(std::io::ErrorKind::ConnectionRefused.into()) }) as Boxed<_>;
        HttpClient::builder("http://nobody.example").dial(dial).config(config().attempts_max(2)).build().unwrap()
    };
    let refused = unreachable().open(Open::default()).await.err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::Disconnected);
    for url in ["mqtt://x", "nonsense", "https://tls.example"] {
        assert!(connect(url, ClientConfig::default()).is_err(), "{url}");
    }
}

#[tokio::test]
async fn a_server_that_goes_away_is_told_in_the_outcome() {
    let (server_gone, world) = (Arc::new(std::sync::atomic::AtomicBool::new(false)), World::new());
    let (gone, server) = (server_gone.clone(), world.server.clone());
    let dial = move || {
        let (gone, server) = (gone.clone(), server.clone());
        Box::pin(async move {
            if gone.load(std::sync::atomic::Ordering::Relaxed) {
                return Err(std::io::ErrorKind::ConnectionRefused.into());
            }
            let (client, io) = tokio::io::duplex(4096);
            tokio::spawn(async move { server.serve(io).await });
            Ok(Box::new(client) as Box<dyn ByteStream>)
        }) as Boxed<_>
    };
    let client = HttpClient::builder("http://broker.example").dial(dial).config(config().attempts_max(2));
    let session = client.build().unwrap().open(Open::default()).await.unwrap();
    let sender = Sender::new(producer(&*session).await);
    server_gone.store(true, std::sync::atomic::Ordering::Relaxed);
    world.server.drain();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let confirm = sender.send(Message::new(queue(), "x"), Qos::AtLeastOnce).await.unwrap();
    assert_eq!((confirm.outcome, confirm.why), (Outcome::Released, Some(Condition::Unavailable)));
    let attached = session.consumer(ConsumerTerms::queue(queue())).await.map(drop);
    assert_eq!(attached.unwrap_err().kind(), ErrorKind::Disconnected);
}

#[tokio::test(start_paused = true)]
async fn a_consumer_outlasts_an_outage_but_not_a_long_one() {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
    let (fake, gone) = (Fake::new(), Arc::new(AtomicBool::new(false)));
    let (server, off) = (fake.server(HttpConfig::default()), gone.clone());
    let dial = move || {
        let (off, server) = (off.clone(), server.clone());
        Box::pin(async move {
            if off.load(Relaxed) {
                return Err(std::io::ErrorKind::ConnectionRefused.into());
            }
            let (client, io) = tokio::io::duplex(4096);
            tokio::spawn(async move { tokio::time::timeout(Duration::from_secs(60), server.serve(io)).await });
            Ok(Box::new(client) as Box<dyn ByteStream>)
        }) as Boxed<_>
    };
    let client = HttpClient::builder("http://broker.example").dial(dial).build().unwrap();
    let session = client.open(Open::default()).await.unwrap();
    let receiver = receiver(&*session, ConsumerTerms::queue(queue())).await;
    let waiting = tokio::spawn({
        let receiver = receiver.clone();
        async move { receiver.receive().await.unwrap().unwrap().into_delivery() }
    });
    fake.until(|state| state.consumers == 1).await;
    gone.store(true, Relaxed);
    tokio::time::sleep(Duration::from_secs(120)).await;
    gone.store(false, Relaxed);
    fake.put(Message::new(queue(), "at last"));
    assert_eq!(waiting.await.unwrap().message.payload().to_bytes(), "at last");

    gone.store(true, Relaxed);
    let started = tokio::time::Instant::now();
    assert_eq!(receiver.receive().await.unwrap_err().kind(), ErrorKind::Disconnected);
    assert!((120..200).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
}

/// Lets alice in until she is thrown out.
struct Alice(Arc<std::sync::atomic::AtomicBool>);

#[async_trait]
impl Authenticator for Alice {
    async fn authenticate(&self, _: &roadbed_core::Peer, _name: &str, credential: &Credential) -> Result<Identity> {
        let welcome = self.0.load(std::sync::atomic::Ordering::Relaxed);
        match credential {
            Credential::Password { user, password } if welcome && password == "se:cret" => {
                Ok(Identity::new(user.clone()))
            }
            Credential::Token { token, .. } if token == "t0ken" => Ok(Identity::new("alice")),
            _ => Err(Error::new(ErrorKind::Unauthenticated, "authenticate")),
        }
    }
}

#[tokio::test]
async fn credentials_are_shown_and_renewed() {
    let (fake, welcome) = (Fake::new(), Arc::new(std::sync::atomic::AtomicBool::new(true)));
    let config = HttpConfig::default().credential_recheck_ms(0);
    let server = Server::builder(fake.endpoint()).config(config).authenticator(Arc::new(Alice(welcome.clone())));
    let listener = server.build().unwrap().bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(listener.serve(std::future::pending()));
    let connect = |user: &str| connect(&format!("http://{user}{address}"), self::config().attempts_max(1)).unwrap();

    for user in ["", "alice:wrong@"] {
        let refused = connect(user).open(Open::default()).await.err().unwrap();
        assert_eq!(refused.kind(), ErrorKind::Unauthenticated, "{refused}");
    }
    let session = connect("alice:se%3Acret@").open(Open::default()).await.unwrap();
    let sender = Sender::new(producer(&*session).await);
    let send = || sender.send(Message::new(queue(), "x"), Qos::AtLeastOnce);
    assert_eq!(send().await.unwrap().outcome, Outcome::Accepted);
    assert_eq!(fake.state().sent[0].message.origin().unwrap().principal, "alice");

    welcome.store(false, std::sync::atomic::Ordering::Relaxed);
    let confirm = send().await.unwrap();
    assert!(matches!(confirm.outcome, Outcome::Rejected(reason) if reason.condition == Condition::Unauthorized));
    let event = std::future::poll_fn(|cx| session.poll_event(cx)).await;
    assert_eq!(event, SessionEvent::Revoked(Condition::Unauthorized));

    let token = |token: &'static str| Credential::Token { kind: "bearer".into(), token: token.into() };
    assert_eq!(session.credential(token("other")).await.unwrap_err().kind(), ErrorKind::Unauthenticated);
    session.credential(token("t0ken")).await.unwrap();
    assert_eq!(send().await.unwrap().outcome, Outcome::Accepted);
}

#[tokio::test]
async fn a_consumer_that_goes_gives_back_what_it_holds() {
    let world = World::new();
    let session = world.open().await;
    let sender = Sender::new(producer(&*session).await);
    for _ in 0..3 {
        sender.send(Message::new(queue(), "x"), Qos::AtLeastOnce).await.unwrap();
    }
    let receiver = receiver(&*session, ConsumerTerms::queue(queue())).await;
    let first = receiver.receive().await.unwrap().unwrap();
    first.accept().await.unwrap();
    let _held = receiver.receive().await.unwrap().unwrap().into_delivery();
    assert_eq!(world.describe(&queue()).await, (0, 2), "one page of three was taken");
    receiver.detach(Detach::Close).await.unwrap();
    assert_eq!(world.describe(&queue()).await, (2, 0));
}

#[tokio::test]
async fn tasks_end_with_their_handles() {
    let world = World::new();
    let session = world.open().await;
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let before = tasks();
    for _ in 0..10 {
        let _producer = producer(&*session).await;
        let _consumer = session.consumer(ConsumerTerms::queue(queue())).await.unwrap();
    }
    for _ in 0..200 {
        if tasks() <= before + 1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{} tasks before, {} after", before, tasks());
}

#[tokio::test]
async fn a_sessions_own_queue_goes_with_its_consumer() {
    let world = World::new();
    let session = world.open().await;
    let queues = || world.broker.counters().queues;
    let before = queues();
    let receiver = receiver(&*session, ConsumerTerms::session()).await;
    let filter: roadbed_core::Filter = "plant/#".parse().unwrap();
    let granted = receiver.bind(vec![Binding::new(filter.clone(), Qos::ExactlyOnce)]).await.unwrap().remove(0).unwrap();
    assert_eq!((granted.qos, granted.replaced), (Qos::AtLeastOnce, false));
    let again = receiver.bind(vec![Binding::new(filter, Qos::AtLeastOnce)]).await.unwrap().remove(0).unwrap();
    assert!(again.replaced);
    assert_eq!(queues(), before + 1);
    for refused in [
        Binding { no_local: true, ..Binding::new("a".parse().unwrap(), Qos::AtLeastOnce) },
        Binding { share: Some("g".into()), ..Binding::new("a".parse().unwrap(), Qos::AtLeastOnce) },
    ] {
        let granted = receiver.bind(vec![refused]).await.unwrap().remove(0);
        assert_eq!(granted.unwrap_err().kind(), ErrorKind::NotSupported);
    }
    receiver.detach(Detach::Close).await.unwrap();
    assert_eq!(queues(), before);
}

#[tokio::test]
async fn queues_are_managed() {
    let world = World::new();
    let session = world.open().await;
    let settings = QueueSettings {
        messages_max: 5,
        overflow: Overflow::DropOldest,
        ttl_max: Some(Duration::from_millis(60_500)),
        ..QueueSettings::default()
    };
    let done = |managed| match managed {
        Managed::Done(count) => count,
        other => panic!("{other:?}"),
    };
    let name: Address = "queues/a b/ü".parse().unwrap();
    session.manage(Manage::Declare(name.clone(), settings.clone())).await.unwrap();
    let binding = Binding::new("plant/+".parse().unwrap(), Qos::AtLeastOnce);
    session.manage(Manage::Bind(name.clone(), binding)).await.unwrap();
    let sender = Sender::new(producer(&*session).await);
    for to in ["plant/1", "queues/a b/ü"] {
        sender.send(Message::new(to.parse().unwrap(), "x"), Qos::AtLeastOnce).await.unwrap();
    }
    match session.manage(Manage::Describe(name.clone())).await.unwrap() {
        Managed::Description(node) => {
            assert_eq!((&node.address, &node.settings), (&name, &settings));
            assert_eq!((node.available, node.bindings.len()), (2, 1));
            assert_eq!(node.bindings[0].filter.as_str(), "plant/+");
        }
        other => panic!("{other:?}"),
    }
    let unbind = |filter: &str| Manage::Unbind(name.clone(), Unbind { filter: filter.parse().unwrap(), share: None });
    assert_eq!(done(session.manage(unbind("plant/+")).await.unwrap()), 1);
    assert_eq!(done(session.manage(unbind("plant/+")).await.unwrap()), 0);
    assert_eq!(done(session.manage(Manage::Purge(name.clone())).await.unwrap()), 2);
    session.manage(Manage::Delete(name.clone())).await.unwrap();
    let gone = session.manage(Manage::Describe(name)).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
    let topic = session.manage(Manage::Describe("plant/1".parse().unwrap())).await.unwrap_err();
    assert_eq!(topic.kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn many_sends_at_once_keep_their_order_and_bounds() {
    let world = World::new();
    let config = config().buffer_messages_max(8).requests_max(4);
    let session = world.client().config(config).build().unwrap().open(Open::default()).await.unwrap();
    let sender = Sender::new(producer(&*session).await);
    let mut sending = Vec::new();
    for n in 0..100_u32 {
        let (sender, to) = (sender.clone(), format!("queues/{}", n % 3).parse().unwrap());
        let message = Message::new(to, n.to_be_bytes().to_vec());
        sending.push(tokio::spawn(async move { sender.send(message, Qos::AtLeastOnce).await }));
    }
    for sent in sending {
        assert_eq!(sent.await.unwrap().unwrap().outcome, Outcome::Accepted);
    }
    for queue in 0..3 {
        let terms = ConsumerTerms::queue(format!("queues/{queue}").parse().unwrap());
        let receiver = receiver(&*session, terms).await;
        for n in (0..100_u32).filter(|n| n % 3 == queue) {
            let received = receiver.receive().await.unwrap().unwrap();
            assert_eq!(received.message.payload().to_bytes()[..], n.to_be_bytes());
            received.accept().await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_lease_is_settled_by_id_from_another_session() {
    let world = World::new();
    let client = world.client().build().unwrap();
    let (one, other) = (client.open(Open::default()).await.unwrap(), client.open(Open::default()).await.unwrap());
    let sender = Sender::new(producer(&*one).await);
    sender.send(Message::new(queue(), "x"), Qos::AtLeastOnce).await.unwrap();
    let terms = ConsumerTerms { hold: Hold::Lease(Duration::from_secs(30)), ..ConsumerTerms::queue(queue()) };
    let receiver = receiver(&*one, terms).await;
    let id = receiver.receive().await.unwrap().unwrap().into_delivery().info.unwrap().id;
    receiver.detach(Detach::Close).await.unwrap();
    drop(one);
    assert_eq!(world.describe(&queue()).await, (0, 1), "a lease outlives its session");
    let accept = || roadbed_core::Disposition {
        delivery: id.into(),
        cookie: Some(9),
        step: roadbed_core::Step::Outcome { outcome: Outcome::Accepted, settled: true },
    };
    for expected in [Settled::Applied, Settled::Repeated] {
        let done = other.settle(vec![accept()]).await.unwrap().remove(0);
        assert_eq!((done.cookie, done.result.unwrap()), (9, expected));
    }
    assert_eq!(world.describe(&queue()).await, (0, 0));
}
