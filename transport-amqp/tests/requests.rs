//! `$management` and `$cbs`, with the `fe2o3-amqp` client over TCP.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use fe2o3_amqp::connection::ConnectionHandle;
use fe2o3_amqp::link::receiver::CreditMode;
use fe2o3_amqp::session::SessionHandle;
use fe2o3_amqp::types::messaging::{
    AmqpValue, ApplicationProperties, Body, Data, Message, MessageId, Outcome, Properties, Source, Target,
};
use fe2o3_amqp::types::primitives::{OrderedMap, SimpleValue, Value};
use fe2o3_amqp::{Connection, Delivery, Receiver, Sender, Session};
use roadbed_amqp::{MachineConfig, ServerConfig};
use roadbed_core::{Authenticator, Clock, Credential, Endpoint, Error, ErrorKind, Identity, Open, Peer, SystemClock};

mod hub;

use hub::Hub;

/// A client with a sender to a node, and a receiver for its answers.
struct Client {
    connection: ConnectionHandle<()>,
    session: SessionHandle<()>,
    sender: Sender,
    receiver: Receiver,
    reply_to: String,
}

struct Reply {
    correlation: Option<MessageId>,
    status: i32,
    words: String,
    body: Value,
}

impl Client {
    /// As the SDKs of other brokers do it: the receiver comes from the node, and its target is a name of the client's own.
    async fn of(hub: &Hub, node: &str) -> Self {
        let mut connection = Connection::open("client", &*hub.url).await.expect("a connection");
        let mut session = Session::begin(&mut connection).await.expect("a session");
        let receiver = Receiver::builder().name("replies").source(node).target(Target::from("my-replies"));
        let receiver = receiver.attach(&mut session).await.expect("attached");
        let sender = Sender::attach(&mut session, "requests", node).await.expect("attached");
        Self { connection, session, sender, receiver, reply_to: "my-replies".into() }
    }

    /// As the standard has it: a dynamic source, whose address is where answers go.
    async fn dynamic(hub: &Hub, node: &str) -> Self {
        let mut connection = Connection::open("client", &*hub.url).await.expect("a connection");
        let mut session = Session::begin(&mut connection).await.expect("a session");
        let source = Source::builder().dynamic(true).build();
        let receiver = Receiver::builder().name("replies").source(source).attach(&mut session).await.expect("attached");
        let reply_to = receiver.source().as_ref().and_then(|source| source.address.clone()).expect("an address");
        let sender = Sender::attach(&mut session, "requests", node).await.expect("attached");
        Self { connection, session, sender, receiver, reply_to }
    }

    fn request(&self, id: impl Into<MessageId>, operation: &str, name: &str, body: Value) -> Message<Body<Value>> {
        Message::builder()
            .properties(Properties::builder().message_id(id.into()).reply_to(self.reply_to.clone()).build())
            .application_properties(
                ApplicationProperties::builder()
                    .insert("operation", operation)
                    .insert("name", name)
                    .insert("type", "queue")
                    .build(),
            )
            .body(Body::Value(AmqpValue(body)))
            .build()
    }

    async fn ask(&mut self, operation: &str, name: &str, body: Value) -> Reply {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = MessageId::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let request = self.request(id.clone(), operation, name, body);
        let reply = self.say(request).await;
        assert_eq!(reply.correlation, Some(id));
        reply
    }

    async fn say(&mut self, request: Message<Body<Value>>) -> Reply {
        let outcome = self.sender.send(request).await.expect("sent");
        assert!(matches!(outcome, Outcome::Accepted(_)), "{outcome:?}");
        self.heard().await
    }

    async fn heard(&mut self) -> Reply {
        let delivery: Delivery<Body<Value>> = tokio::time::timeout(Duration::from_secs(10), self.receiver.recv())
            .await
            .expect("in time")
            .expect("a reply");
        self.receiver.accept(&delivery).await.expect("accepted");
        let message = delivery.into_message();
        let named = message.application_properties.expect("how it went").0;
        let (Some(&SimpleValue::Int(status)), Some(SimpleValue::String(words))) =
            (named.get("statusCode"), named.get("statusDescription"))
        else {
            panic!("{named:?}");
        };
        assert_eq!(named.get("status-code"), Some(&SimpleValue::Int(status)));
        let body = match message.body {
            Body::Value(value) => value.0,
            other => panic!("{other:?}"),
        };
        let correlation = message.properties.and_then(|properties| properties.correlation_id);
        Reply { correlation, status, words: words.clone(), body }
    }

    async fn close(mut self) {
        self.connection.close().await.expect("closed");
    }
}

fn map<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::Map(entries.map(|(key, value)| (Value::from(key), value)).into_iter().collect::<OrderedMap<_, _>>())
}

impl Reply {
    fn at(&self, key: &str) -> Option<&Value> {
        let Value::Map(map) = &self.body else { return None };
        map.get(&Value::from(key))
    }
}

fn filter(text: &str) -> Value {
    map([("filter", text.into())])
}

// ---- management -----------------------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_made_described_changed_purged_and_deleted() {
    let hub = Hub::new().await;
    for mut client in [Client::of(&hub, "$management").await, Client::dynamic(&hub, "$management").await] {
        let settings = map([("messages_max", 10u32.into()), ("durable", false.into()), ("history", 3u8.into())]);
        let made = client.ask("CREATE", "queues/q", settings).await;
        assert_eq!((made.status, made.at("messages_max")), (201, Some(&Value::Ulong(10))), "{}", made.words);
        assert_eq!(client.ask("CREATE", "queues/q", Value::Null).await.status, 200, "it is there already");

        let changed = client.ask("UPDATE", "queues/q", map([("overflow", "drop-oldest".into())])).await;
        assert_eq!((changed.status, changed.at("overflow")), (200, Some(&Value::from("drop-oldest"))));

        assert_eq!(client.ask("BIND", "queues/q", filter("plant/+/temp")).await.status, 200);
        let mut sender = Sender::attach(&mut client.session, "s", "plant/7/temp").await.expect("attached");
        for _ in 0..3 {
            sender.send(Message::from(Data::from(b"hot".to_vec()))).await.expect("sent");
        }
        sender.close().await.expect("closed");
        let described = client.ask("READ", "queues/q", Value::Null).await;
        assert_eq!(described.at("address"), Some(&Value::from("queues/q")));
        assert_eq!(described.at("available"), Some(&Value::Ulong(3)));
        let Some(Value::List(filters)) = described.at("filters") else { panic!("{:?}", described.body) };
        let bound = Reply { body: filters[0].clone(), ..described };
        assert_eq!((bound.at("filter"), bound.at("qos")), (Some(&"plant/+/temp".into()), Some(&Value::Ubyte(1))));

        assert_eq!(client.ask("UNBIND", "queues/q", filter("plant/+/temp")).await.at("found"), Some(&true.into()));
        assert_eq!(client.ask("UNBIND", "queues/q", filter("plant/+/temp")).await.at("found"), Some(&false.into()));
        assert_eq!(client.ask("PURGE", "queues/q", Value::Null).await.at("count"), Some(&Value::Ulong(3)));
        assert_eq!(client.ask("DELETE", "queues/q", Value::Null).await.status, 204);
        assert_eq!(client.ask("READ", "queues/q", Value::Null).await.status, 404);
        client.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_known_by_the_id_of_the_request_in_its_own_type() {
    let hub = Hub::new().await;
    let mut client = Client::of(&hub, "$management").await;
    let ids = [
        MessageId::from(u64::MAX),
        MessageId::from("seven".to_owned()),
        MessageId::Binary(vec![0, 7, 255].into()),
        MessageId::Uuid([9; 16].into()),
    ];
    for id in ids {
        let request = client.request(id.clone(), "READ", "queues/none", Value::Null);
        let reply = client.say(request).await;
        assert_eq!((reply.correlation, reply.status), (Some(id), 404));
    }
    // Pipelined: answered one by one.
    for n in 0..20u64 {
        let request = client.request(n, "CREATE", &format!("queues/{n}"), Value::Null);
        client.sender.send_batchable(request).await.expect("sent");
    }
    for n in 0..20u64 {
        let reply = client.heard().await;
        assert_eq!((reply.correlation, reply.status), (Some(n.into()), 201));
    }
    client.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_is_refused_by_a_number() {
    let hub = Hub::new().await;
    let mut client = Client::of(&hub, "$management").await;
    let nested = (0..20).fold(Value::Null, |inner, _| map([("x", inner)]));
    for (operation, name, body, status) in [
        ("READ", "queues/none", Value::Null, 404),
        ("DELETE", "queues/none", Value::Null, 404),
        ("PURGE", "queues/none", Value::Null, 404),
        ("UPDATE", "queues/none", Value::Null, 404),
        ("UNBIND", "queues/none", filter("a"), 404),
        ("CREATE", "plant/7", Value::Null, 400),
        ("CREATE", "", Value::Null, 400),
        ("CREATE", "queues/q", map([("messages_max", "many".into())]), 400),
        ("CREATE", "queues/q", map([("messages_max", Value::Int(-1))]), 400),
        ("CREATE", "queues/q", map([("messages_max", 0u8.into())]), 400),
        ("CREATE", "queues/q", map([("mesages_max", 1u8.into())]), 400),
        ("CREATE", "queues/q", map([("overflow", "sideways".into())]), 400),
        ("CREATE", "queues/q", "a string".into(), 400),
        ("CREATE", "queues/q", nested, 400),
        ("BIND", "queues/q", Value::Null, 400),
        ("BIND", "queues/q", filter("a/#/b"), 400),
        ("BIND", "queues/q", map([("filter", "a".into()), ("qos", 3u8.into())]), 400),
        ("QUERY", "queues/q", Value::Null, 501),
        ("", "queues/q", Value::Null, 400),
    ] {
        let reply = client.ask(operation, name, body).await;
        assert_eq!(reply.status, status, "{operation} {name}: {}", reply.words);
        assert!(!reply.words.is_empty() && reply.body == Value::Null);
    }
    client.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dynamic_source_is_bound_by_its_link() {
    let hub = Hub::new().await;
    let mut client = Client::of(&hub, "$management").await;
    let mut sender = Sender::attach(&mut client.session, "s", "plant/7/temp").await.expect("attached");
    let source = Source::builder().dynamic(true).build();
    let receiver = Receiver::builder().name("r").source(source).credit_mode(CreditMode::Manual);
    let mut receiver = receiver.attach(&mut client.session).await.expect("attached");
    receiver.set_credit(10).await.expect("credit");
    let address = receiver.source().as_ref().and_then(|source| source.address.clone()).expect("an address");

    let bind = map([("filter", "plant/+/temp".into()), ("qos", 1u8.into()), ("id", 7u32.into())]);
    let bound = client.ask("BIND", &address, bind.clone()).await;
    assert_eq!((bound.status, bound.at("qos"), bound.at("replaced")), (200, Some(&1u8.into()), Some(&false.into())));
    assert_eq!(client.ask("BIND", &address, bind).await.at("replaced"), Some(&true.into()), "only the link knows");
    sender.send(Message::from(Data::from(b"hot".to_vec()))).await.expect("sent");
    let delivery: Delivery<Body<Value>> = receiver.recv().await.expect("a delivery");
    receiver.accept(&delivery).await.expect("accepted");

    let quiet = map([("filter", "plant/+/temp".into()), ("no_local", true.into())]);
    let refused = client.ask("BIND", &address, quiet).await;
    assert_eq!(refused.status, 400, "the broker's queues take from every sender: {}", refused.words);
    assert_eq!(client.ask("UNBIND", &address, filter("plant/+/temp")).await.at("found"), Some(&true.into()));
    sender.send(Message::from(Data::from(b"cold".to_vec()))).await.expect("sent");
    let waited = tokio::time::timeout(Duration::from_millis(300), receiver.recv::<Body<Value>>()).await;
    assert!(waited.is_err(), "{waited:?}");
    // Once the link is gone, so is what it was bound to.
    receiver.close().await.expect("closed");
    assert_eq!(client.ask("READ", &address, Value::Null).await.status, 404);
    client.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_cannot_be_answered_are_rejected() {
    let hub = Hub::new().await;
    let mut client = Client::of(&hub, "$management").await;
    let mut request = client.request(1u64, "CREATE", "queues/q", Value::Null);
    request.properties.as_mut().expect("properties").reply_to = None;
    let outcome = client.sender.send(request).await.expect("sent");
    assert!(matches!(&outcome, Outcome::Rejected(why) if format!("{why:?}").contains("reply-to")), "{outcome:?}");
    // More of them than a link may send ahead: they cost it no credit for good.
    for _ in 0..200 {
        let mut request = client.request(1u64, "CREATE", "queues/q", Value::Null);
        request.properties.as_mut().expect("properties").reply_to = None;
        let sent = tokio::time::timeout(Duration::from_secs(5), client.sender.send(request)).await.expect("in time");
        assert!(matches!(sent.expect("sent"), Outcome::Rejected(_)));
    }
    let deep = (0..40).fold(Value::Null, |inner, _| map([("x", inner)]));
    let request = client.request(2u64, "CREATE", "queues/q", deep);
    let outcome = client.sender.send(request).await.expect("sent");
    assert!(matches!(outcome, Outcome::Rejected(_)), "{outcome:?}");
    let list = Message::builder().sequence(vec![1u8, 2]).build();
    assert!(matches!(client.sender.send(list).await.expect("sent"), Outcome::Rejected(_)));
    assert_eq!(client.ask("READ", "queues/q", Value::Null).await.status, 404, "none of them was carried out");
    client.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_nobody_can_be_given_hold_nothing() {
    let mut config = ServerConfig::permissive();
    config.reply_timeout = Duration::from_millis(300);
    let hub = Hub::with(config).await;
    let mut client = Client::of(&hub, "$management").await;
    // To no node, to one of the server's own, and to a name that is not an address: carried out, and the answer is dropped.
    for reply_to in ["$management", "$nowhere", "a/#", "stranger"] {
        let mut request = client.request(1u64, "CREATE", "queues/q", Value::Null);
        request.properties.as_mut().expect("properties").reply_to = Some(reply_to.into());
        let sent = tokio::time::timeout(Duration::from_secs(5), client.sender.send(request)).await.expect("in time");
        assert!(matches!(sent.expect("sent"), Outcome::Accepted(_)), "{reply_to}");
    }
    // A link without credit: the answers wait for a while and are gone; the link goes on.
    let quiet = Receiver::builder().name("quiet").source("$management").target(Target::from("quiet"));
    let mut quiet = quiet.credit_mode(CreditMode::Manual).attach(&mut client.session).await.expect("attached");
    for n in 0..200u64 {
        let mut request = client.request(n, "READ", "queues/q", Value::Null);
        request.properties.as_mut().expect("properties").reply_to = Some("quiet".into());
        let sent = tokio::time::timeout(Duration::from_secs(5), client.sender.send(request)).await.expect("in time");
        assert!(matches!(sent.expect("sent"), Outcome::Accepted(_)));
    }
    tokio::time::sleep(Duration::from_millis(600)).await;
    quiet.set_credit(100).await.expect("credit");
    let waited = tokio::time::timeout(Duration::from_millis(300), quiet.recv::<Body<Value>>()).await;
    assert!(waited.is_err(), "{waited:?}");
    assert_eq!(client.ask("READ", "queues/q", Value::Null).await.status, 200, "and the connection goes on");
    client.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_wait_are_bounded_in_bytes() {
    let mut config = ServerConfig::permissive();
    config.answer_bytes_max = 2000;
    let hub = Hub::with(config).await;
    let mut client = Client::of(&hub, "$management").await;
    let late = Receiver::builder().name("late").source("$management").target(Target::from("late"));
    let mut late = late.credit_mode(CreditMode::Manual).attach(&mut client.session).await.expect("attached");
    for n in 0..40u64 {
        let mut request = client.request(n, "READ", "queues/none", Value::Null);
        request.properties.as_mut().expect("properties").reply_to = Some("late".into());
        client.sender.send(request).await.expect("sent");
    }
    late.set_credit(100).await.expect("credit");
    let mut count = 0;
    while let Ok(received) = tokio::time::timeout(Duration::from_millis(300), late.recv::<Body<Value>>()).await {
        late.accept(&received.expect("a reply")).await.expect("accepted");
        count += 1;
    }
    assert!((1..40).contains(&count), "{count} of 40 had room");
    assert_eq!(client.ask("READ", "queues/none", Value::Null).await.status, 404, "there is room again");
    client.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_wait_for_credit_in_order() {
    let hub = Hub::new().await;
    let mut client = Client::of(&hub, "$management").await;
    let late = Receiver::builder().name("late").source("$management").target(Target::from("late"));
    let mut late = late.credit_mode(CreditMode::Manual).attach(&mut client.session).await.expect("attached");
    for n in 0..10u64 {
        let mut request = client.request(n, "READ", "queues/q", Value::Null);
        request.properties.as_mut().expect("properties").reply_to = Some("late".into());
        client.sender.send(request).await.expect("sent");
    }
    for n in 0..10u64 {
        late.set_credit(1).await.expect("credit");
        let delivery: Delivery<Body<Value>> =
            tokio::time::timeout(Duration::from_secs(5), late.recv()).await.expect("in time").expect("a reply");
        late.accept(&delivery).await.expect("accepted");
        let correlation = delivery.message().properties.as_ref().and_then(|found| found.correlation_id.clone());
        assert_eq!(correlation, Some(n.into()));
    }
    client.close().await;
}

// ---- tokens ---------------------------------------------------------------------------------------------------------

/// Tokens are `NAME until MILLIS`; everybody comes in as alice, for a while.
struct Tokens(Arc<SystemClock>);

#[async_trait]
impl Authenticator for Tokens {
    async fn authenticate(&self, _: &Peer, name: &str, credential: &Credential) -> roadbed_core::Result<Identity> {
        let refused = || Error::new(ErrorKind::Unauthenticated, "authenticate");
        let (principal, millis) = match credential {
            Credential::Anonymous => ("alice", 1500),
            Credential::Token { kind, token } if kind == "jwt" => {
                assert_eq!(name, "alice", "the token of who is here already");
                let text = std::str::from_utf8(token).map_err(|_| refused())?;
                let (principal, millis) = text.split_once(' ').ok_or_else(refused)?;
                (principal, millis.parse().map_err(|_| refused())?)
            }
            _ => return Err(refused()),
        };
        let mut identity = Identity::new(principal);
        identity.valid_until = Some(self.0.now() + Duration::from_millis(millis));
        Ok(identity)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_renews_the_right_to_be_here_until_it_ends() {
    let clock = Arc::new(SystemClock::default());
    let config = ServerConfig::new(Arc::new(Tokens(clock.clone())))
        .clock(clock)
        .machine(MachineConfig::default().sasl_required(false));
    let hub = Hub::with(config).await;
    let mut client = Client::of(&hub, "$cbs").await;
    let token = |client: &Client, kind: &str, token: Value| {
        let mut request = client.request(1u64, "put-token", "amqp://host/queues/q", token);
        request.application_properties.as_mut().expect("names").0.insert("type".into(), kind.into());
        request
    };
    for (kind, text, status) in [
        ("amqp:jwt", Value::from("alice 2500"), 202),
        ("jwt", "nonsense".into(), 401),
        ("unheard-of", "alice 9999".into(), 401),
        ("jwt", Value::Null, 400),
        ("jwt", map([("x", 1u8.into())]), 400),
    ] {
        let request = token(&client, kind, text);
        assert_eq!(client.say(request).await.status, status, "{kind}");
    }
    assert_eq!(client.ask("delete-token", "x", Value::Null).await.status, 501);
    tokio::time::sleep(Duration::from_millis(1700)).await;
    let request = token(&client, "jwt", Value::Binary(b"alice 300".to_vec().into()));
    assert_eq!(client.say(request).await.status, 202, "longer than without the first token");
    let ended = tokio::time::timeout(Duration::from_secs(5), client.connection.on_close()).await.expect("it ends");
    assert!(format!("{ended:?}").contains("UnauthorizedAccess"), "{ended:?}");
}

/// Nobody comes in but by tokens, `NAME MILLIS`.
struct TokensAlone(Arc<SystemClock>);

#[async_trait]
impl Authenticator for TokensAlone {
    async fn authenticate(&self, peer: &Peer, _: &str, credential: &Credential) -> roadbed_core::Result<Identity> {
        match credential {
            Credential::Token { .. } => Tokens(self.0.clone()).authenticate(peer, "alice", credential).await,
            _ => Err(Error::new(ErrorKind::Unauthenticated, "authenticate")),
        }
    }

    fn takes_tokens(&self) -> bool {
        true
    }
}

/// Whom a message is from, as the broker has stamped it.
async fn sent_by(consumer: &roadbed_core::Receiver) -> String {
    let received = tokio::time::timeout(Duration::from_secs(5), consumer.receive()).await.expect("in time");
    let received = received.expect("alive").expect("a delivery");
    let principal = received.message.origin().expect("stamped").principal.to_string();
    received.accept().await.expect("settled");
    principal
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_identities_on_one_connection_have_each_its_own_links() {
    let clock = Arc::new(SystemClock::default());
    let config = ServerConfig::new(Arc::new(TokensAlone(clock.clone())))
        .clock(clock)
        .machine(MachineConfig::default().sasl_required(false));
    let hub = Hub::with(config).await;
    let mut client = Client::of(&hub, "$cbs").await;
    assert!(Sender::attach(&mut client.session, "early", "devices/d1/x").await.is_err(), "a token comes first");
    let token = |client: &Client, audience: &str, text: &str| {
        let mut request = client.request(1u64, "put-token", audience, Value::from(text));
        request.application_properties.as_mut().expect("names").0.insert("type".into(), "jwt".into());
        request
    };
    for (audience, text) in [
        ("host%2Fdevices%2Fd1", "d1 60000"),
        ("host%2Fdevices%2Fd2", "d2 60000"),
        ("host/devices/d3", "d3 1500"),
        ("host/devices/d2", "d2 60000"),
    ] {
        let request = token(&client, audience, text);
        assert_eq!(client.say(request).await.status, 202, "{text}");
    }
    let session = hub.broker.open(Open::default()).await.expect("a session");
    let (mut consumer, _) = session.consumer(roadbed_core::ConsumerTerms::session()).await.expect("a consumer");
    let binding = roadbed_core::Binding::new("devices/#".parse().expect("a filter"), roadbed_core::Qos::AtLeastOnce);
    consumer.bind(vec![binding]).await.expect("bound");
    let consumer = roadbed_core::Receiver::new(consumer, 16);
    let mut senders = Vec::new();
    for device in ["d1", "d2", "d3"] {
        let address = format!("devices/{device}/events");
        let mut sender = Sender::attach(&mut client.session, format!("to {device}"), address).await.expect("attached");
        sender.send("x").await.expect("sent").accepted_or("refused").expect("accepted");
        assert_eq!(sent_by(&consumer).await, device);
        senders.push(sender);
    }
    // The token of one ends: its link goes, the others and the connection stay.
    tokio::time::sleep(Duration::from_millis(1700)).await;
    assert!(senders[2].send("x").await.is_err(), "its right has ended");
    for (n, device) in ["d1", "d2"].into_iter().enumerate() {
        senders[n].send("x").await.expect("sent").accepted_or("refused").expect("accepted");
        assert_eq!(sent_by(&consumer).await, device);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_shows_no_token_in_time_goes() {
    let clock = Arc::new(SystemClock::default());
    let machine = MachineConfig::default().sasl_required(false).open_timeout(Duration::from_millis(300));
    let hub = Hub::with(ServerConfig::new(Arc::new(TokensAlone(clock.clone()))).clock(clock).machine(machine)).await;
    let mut connection = Connection::open("client", &*hub.url).await.expect("a connection");
    let ended = tokio::time::timeout(Duration::from_secs(5), connection.on_close()).await.expect("it ends");
    assert!(format!("{ended:?}").contains("UnauthorizedAccess"), "{ended:?}");
}

/// Nothing of `$management` goes around the broker.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_made_is_there_for_everybody() {
    let hub = Hub::new().await;
    let mut client = Client::of(&hub, "$management").await;
    client.ask("CREATE", "queues/shared", Value::Null).await;
    let session = hub.broker.open(Open::default()).await.expect("a session");
    let described = session.manage(roadbed_core::Manage::Describe("queues/shared".parse().expect("an address"))).await;
    assert!(matches!(described, Ok(roadbed_core::Managed::Description(_))));
    client.close().await;
}
