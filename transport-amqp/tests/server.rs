//! The server on a broker, with the `fe2o3-amqp` client over TCP.

use std::sync::Arc;
use std::time::Duration;

use fe2o3_amqp::link::receiver::CreditMode;
use fe2o3_amqp::sasl_profile::SaslProfile;
use fe2o3_amqp::transaction::{
    Controller, Transaction, TransactionAcquisition, TransactionDischarge, TransactionPosting, TransactionRetirement,
};
use fe2o3_amqp::types::definitions::{self, AmqpError, ReceiverSettleMode, SenderSettleMode};
use fe2o3_amqp::types::messaging::{
    ApplicationProperties, Body, Data, Header, Message, Modified, Outcome, Properties, Source,
};
use fe2o3_amqp::types::primitives::{SimpleValue, Value};
use fe2o3_amqp::{Connection, Delivery, Receiver, Sender, Session};
use roadbed_amqp::ServerConfig;

mod hub;

use hub::{Client, Hub};

impl Hub {
    /// A client with a name of its own.
    async fn user(&self, user: &str) -> Client {
        let profile = SaslProfile::Plain { username: user.into(), password: "x".into() };
        let opening = Connection::builder().container_id("client").sasl_profile(profile).open(&*self.url);
        let mut connection = opening.await.expect("a connection");
        let session = Session::begin(&mut connection).await.expect("a session");
        (connection, session)
    }
}

async fn recv(receiver: &mut Receiver) -> Delivery<Body<Value>> {
    tokio::time::timeout(Duration::from_secs(10), receiver.recv()).await.expect("in time").expect("a delivery")
}

fn bytes(delivery: &Delivery<Body<Value>>) -> Vec<u8> {
    match delivery.body() {
        Body::Data(batch) => batch.iter().flat_map(|data| data.0.to_vec()).collect(),
        other => panic!("{other:?}"),
    }
}

fn data(bytes: impl Into<Vec<u8>>) -> Message<Data> {
    Message::from(Data::from(bytes.into()))
}

async fn nothing(receiver: &mut Receiver) {
    let waited = tokio::time::timeout(Duration::from_millis(300), receiver.recv::<Body<Value>>()).await;
    assert!(waited.is_err(), "{waited:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sends_and_receives() {
    let hub = Hub::new().await;
    let (mut connection, mut session) = hub.client().await;
    let mut sender = Sender::attach(&mut session, "s", "queues/q").await.expect("attached");
    let mut receiver = Receiver::attach(&mut session, "r", "queues/q").await.expect("attached");
    for n in 0..1000u32 {
        let outcome = sender.send(data(n.to_be_bytes())).await.expect("sent");
        assert!(matches!(outcome, Outcome::Accepted(_)));
    }
    for n in 0..1000u32 {
        let delivery = recv(&mut receiver).await;
        assert_eq!(bytes(&delivery), n.to_be_bytes());
        receiver.accept(&delivery).await.expect("accepted");
    }
    nothing(&mut receiver).await;
    sender.close().await.expect("closed");
    receiver.close().await.expect("closed");
    session.end().await.expect("ended");
    connection.close().await.expect("closed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn carries_what_a_message_has_and_large_payloads() {
    let hub = Hub::new().await;
    let (mut connection, mut session) = hub.client().await;
    let mut sender = Sender::attach(&mut session, "s", "queues/q").await.expect("attached");
    let mut receiver = Receiver::attach(&mut session, "r", "queues/q").await.expect("attached");
    let payload: Vec<u8> = (0..1_000_000u32).map(|n| n as u8).collect();
    let message = Message::builder()
        .header(Header { durable: true, priority: 7.into(), ttl: Some(60_000), ..Header::default() })
        .properties(
            Properties::builder()
                .message_id(5u64)
                .subject("s")
                .correlation_id("c".to_owned())
                .content_type("text/plain")
                .build(),
        )
        .application_properties(ApplicationProperties::builder().insert("k", "v").insert("n", 7i32).build())
        .data(payload.clone())
        .build();
    sender.send(message.clone()).await.expect("sent");
    let delivery = recv(&mut receiver).await;
    assert_eq!(bytes(&delivery), payload);
    let came = delivery.message();
    let header = came.header.as_ref().expect("a header");
    assert!(header.durable && header.ttl.is_some_and(|ttl| ttl <= 60_000) && header.delivery_count == 0);
    assert_eq!(header.priority, 7.into());
    assert_eq!(came.properties, message.properties);
    assert_eq!(came.application_properties, message.application_properties);
    let n = came.application_properties.as_ref().and_then(|properties| properties.0.get("n"));
    assert_eq!(n, Some(&SimpleValue::Int(7)), "also of a type that the core does not tell apart");
    receiver.accept(&delivery).await.expect("accepted");
    connection.close().await.expect("closed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_outcome_does_what_it_says() {
    let hub = Hub::new().await;
    let (mut connection, mut session) = hub.client().await;
    let mut sender = Sender::attach(&mut session, "s", "queues/q").await.expect("attached");
    let mut receiver = Receiver::attach(&mut session, "r", "queues/q").await.expect("attached");
    sender.send(data("one")).await.expect("sent");

    let delivery = recv(&mut receiver).await;
    receiver.release(&delivery).await.expect("released");
    let delivery = recv(&mut receiver).await;
    let count = |delivery: &Delivery<_>| {
        let message: &Message<Body<Value>> = delivery.message();
        message.header.as_ref().map_or(0, |header| header.delivery_count)
    };
    assert_eq!(count(&delivery), 0, "releasing does not count");
    let failed = Modified { delivery_failed: Some(true), undeliverable_here: None, message_annotations: None };
    receiver.modify(&delivery, failed).await.expect("modified");
    let delivery = recv(&mut receiver).await;
    assert_eq!(count(&delivery), 1, "a failure counts");
    let error = definitions::Error::new(AmqpError::DecodeError, Some("not for me".into()), None);
    receiver.reject(&delivery, error).await.expect("rejected");
    nothing(&mut receiver).await;

    let mut dead = Receiver::attach(&mut session, "d", "$dead/q").await.expect("attached");
    let delivery = recv(&mut dead).await;
    assert_eq!(bytes(&delivery), b"one");
    dead.accept(&delivery).await.expect("accepted");
    connection.close().await.expect("closed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settle_modes_are_kept() {
    let hub = Hub::new().await;
    let (mut connection, mut session) = hub.client().await;
    let mut settled = Sender::builder()
        .name("settled")
        .target("queues/q")
        .sender_settle_mode(SenderSettleMode::Settled)
        .attach(&mut session)
        .await
        .expect("attached");
    let mut second = Sender::builder()
        .name("second")
        .target("queues/q")
        .receiver_settle_mode(ReceiverSettleMode::Second)
        .attach(&mut session)
        .await
        .expect("attached");
    settled.send(data("a")).await.expect("sent");
    settled.send(data("b")).await.expect("sent");
    let sent = tokio::time::timeout(Duration::from_secs(5), second.send(data("c"))).await.expect("in time");
    assert!(matches!(sent.expect("sent"), Outcome::Accepted(_)));

    let mut first = Receiver::builder()
        .name("at most once")
        .source("queues/q")
        .sender_settle_mode(SenderSettleMode::Settled)
        .attach(&mut session)
        .await
        .expect("attached");
    let mut got = vec![];
    for _ in 0..3 {
        got.push(bytes(&recv(&mut first).await));
    }
    got.sort();
    assert_eq!(got, [b"a", b"b", b"c"]);
    first.close().await.expect("closed");

    let mut receiver = Receiver::builder()
        .name("exactly once")
        .source("queues/q")
        .receiver_settle_mode(ReceiverSettleMode::Second)
        .attach(&mut session)
        .await
        .expect("attached");
    settled.send(data("d")).await.expect("sent");
    let delivery = recv(&mut receiver).await;
    receiver.accept(&delivery).await.expect("accepted");
    nothing(&mut receiver).await;
    receiver.close().await.expect("closed");
    let mut last = Receiver::attach(&mut session, "last", "queues/q").await.expect("attached");
    nothing(&mut last).await;
    connection.close().await.expect("closed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_patterns_and_the_anonymous_terminus() {
    let hub = Hub::new().await;
    let (mut connection, mut session) = hub.client().await;
    let mut exact = Receiver::attach(&mut session, "exact", "plant/7").await.expect("attached");
    let mut pattern = Receiver::attach(&mut session, "pattern", "plant/+").await.expect("attached");
    let mut sender = Sender::attach(&mut session, "s", "plant/7").await.expect("attached");
    sender.send(data("x")).await.expect("sent");
    for receiver in [&mut exact, &mut pattern] {
        let delivery = recv(receiver).await;
        assert_eq!(bytes(&delivery), b"x");
        receiver.accept(&delivery).await.expect("accepted");
    }
    let mut anonymous = Sender::builder()
        .name("anonymous")
        .target(fe2o3_amqp::types::messaging::Target::default())
        .attach(&mut session)
        .await
        .expect("attached");
    let to = |to: &str| Message::builder().properties(Properties::builder().to(to).build()).data(b"y".to_vec()).build();
    anonymous.send(to("plant/8")).await.expect("sent");
    assert_eq!(bytes(&recv(&mut pattern).await), b"y");
    let outcome = anonymous.send(to("nobody/there")).await.expect("answered");
    assert!(matches!(outcome, Outcome::Released(_)), "{outcome:?}");
    let outcome = anonymous.send(data("nowhere")).await.expect("answered");
    assert!(matches!(outcome, Outcome::Rejected(_)), "{outcome:?}");
    connection.close().await.expect("closed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dynamic_nodes_have_an_address_to_reply_to() {
    let hub = Hub::new().await;
    let (mut connection, mut session) = hub.client().await;
    let mut replies = Receiver::builder()
        .name("replies")
        .source(Source::builder().dynamic(true).build())
        .attach(&mut session)
        .await
        .expect("attached");
    let address = replies.source().as_ref().and_then(|source| source.address.clone()).expect("an address");
    let mut sender = Sender::attach(&mut session, "s", address).await.expect("attached");
    sender.send(data("reply")).await.expect("sent");
    assert_eq!(bytes(&recv(&mut replies).await), b"reply");
    connection.close().await.expect("closed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_is_refused_in_the_standards_words() {
    let hub = Hub::new().await;
    let (mut connection, mut session) = hub.client().await;
    for (address, condition) in [("$nothing", "NotFound"), ("a\0b", "InvalidField"), ("a/+", "InvalidField")] {
        // This client uses a refused link's handle again before its own detach is out, and so trips over itself within one session.
        let mut alone = Session::begin(&mut connection).await.expect("a session");
        let refused = Sender::attach(&mut alone, "s", address).await.expect_err("refused");
        assert!(format!("{refused:?}").contains(condition), "{refused:?}");
    }
    let mut sender = Sender::attach(&mut session, "fine", "queues/q").await.expect("the connection goes on");
    sender.send(data("x")).await.expect("sent");
    connection.close().await.expect("closed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_are_asked_for() {
    struct OnlyDev;
    #[async_trait::async_trait]
    impl roadbed_core::Authenticator for OnlyDev {
        async fn authenticate(
            &self,
            _: &roadbed_core::Peer,
            name: &str,
            credential: &roadbed_core::Credential,
        ) -> roadbed_core::Result<roadbed_core::Identity> {
            match credential {
                roadbed_core::Credential::Password { user, password } if user == "dev" && password == "pw" => {
                    Ok(roadbed_core::Identity::new(name))
                }
                _ => Err(roadbed_core::Error::new(roadbed_core::ErrorKind::Unauthenticated, "authenticate")),
            }
        }
    }
    let hub = Hub::with(ServerConfig::new(Arc::new(OnlyDev))).await;
    let open = |user: &'static str, password: &'static str| {
        let profile = SaslProfile::Plain { username: user.into(), password: password.into() };
        Connection::builder().container_id("c").sasl_profile(profile).open(&*hub.url)
    };
    let mut connection = open("dev", "pw").await.expect("let in");
    let mut session = Session::begin(&mut connection).await.expect("a session");
    let mut sender = Sender::attach(&mut session, "s", "queues/q").await.expect("attached");
    sender.send(data("x")).await.expect("sent");
    sender.close().await.expect("closed");
    session.end().await.expect("ended");
    connection.close().await.expect("closed");
    assert!(open("dev", "wrong").await.is_err());
    assert!(Connection::open("c", &*hub.url).await.is_err(), "without SASL");
    let anonymous = Connection::builder().container_id("c").sasl_profile(SaslProfile::Anonymous).open(&*hub.url);
    assert!(anonymous.await.is_err());
}

// ---- transactions ---------------------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn posts_happen_together_or_not_at_all() {
    let hub = Hub::new().await;
    let (mut connection, mut session) = hub.client().await;
    let mut receiver = Receiver::attach(&mut session, "r", "queues/q").await.expect("attached");
    let mut sender = Sender::attach(&mut session, "s", "queues/q").await.expect("attached");
    let controller = Controller::attach(&mut session, "c").await.expect("a coordinator");

    let txn = Transaction::declare(&controller, None).await.expect("declared");
    for payload in ["a", "b"] {
        let outcome = txn.post(&mut sender, data(payload)).await.expect("posted");
        assert!(matches!(outcome, Outcome::Accepted(_)), "{outcome:?}");
    }
    nothing(&mut receiver).await;
    txn.commit().await.expect("committed");
    for payload in ["a", "b"] {
        let delivery = recv(&mut receiver).await;
        assert_eq!(bytes(&delivery), payload.as_bytes());
        receiver.accept(&delivery).await.expect("accepted");
    }

    let txn = Transaction::declare(&controller, None).await.expect("declared");
    txn.post(&mut sender, data("void")).await.expect("posted");
    txn.rollback().await.expect("rolled back");
    let txn = Transaction::declare(&controller, None).await.expect("declared");
    txn.post(&mut sender, data("kept".repeat(50_000))).await.expect("posted");
    txn.commit().await.expect("committed");
    assert_eq!(bytes(&recv(&mut receiver).await).len(), 200_000, "the one before was rolled back");
    nothing(&mut receiver).await;
    connection.close().await.expect("closed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outcomes_are_applied_at_commit() {
    let hub = Hub::new().await;
    let (mut connection, mut session) = hub.client().await;
    let mut sender = Sender::attach(&mut session, "s", "queues/q").await.expect("attached");
    let mut receiver = Receiver::attach(&mut session, "r", "queues/q").await.expect("attached");
    let controller = Controller::attach(&mut session, "c").await.expect("a coordinator");
    sender.send(data("work")).await.expect("sent");

    let delivery = recv(&mut receiver).await;
    let txn = Transaction::declare(&controller, None).await.expect("declared");
    txn.accept(&mut receiver, &delivery).await.expect("retired");
    txn.post(&mut sender, data("result")).await.expect("posted");
    txn.commit().await.expect("committed");
    let delivery = recv(&mut receiver).await;
    assert_eq!(bytes(&delivery), b"result");

    let txn = Transaction::declare(&controller, None).await.expect("declared");
    txn.accept(&mut receiver, &delivery).await.expect("retired");
    txn.rollback().await.expect("rolled back");
    receiver.close().await.expect("closed");
    let mut other = Receiver::attach(&mut session, "other", "queues/q").await.expect("attached");
    let delivery = recv(&mut other).await;
    assert_eq!(bytes(&delivery), b"result", "not taken after all");
    other.accept(&delivery).await.expect("accepted");
    connection.close().await.expect("closed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_controller_rolls_back() {
    let hub = Hub::new().await;
    let (_connection, mut session) = hub.client().await;
    let mut receiver = Receiver::attach(&mut session, "r", "queues/q").await.expect("attached");
    {
        let (mut connection, mut session) = hub.client().await;
        let mut sender = Sender::attach(&mut session, "s", "queues/q").await.expect("attached");
        let controller = Controller::attach(&mut session, "c").await.expect("a coordinator");
        let txn = Transaction::declare(&controller, None).await.expect("declared");
        txn.post(&mut sender, data("void")).await.expect("posted");
        std::mem::forget(txn);
        connection.close().await.expect("closed");
    }
    nothing(&mut receiver).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deliveries_are_acquired_within_a_transaction() {
    let hub = Hub::new().await;
    let (mut connection, mut session) = hub.client().await;
    let mut sender = Sender::attach(&mut session, "s", "queues/q").await.expect("attached");
    sender.send(data("a")).await.expect("sent");
    sender.send(data("b")).await.expect("sent");
    let mut receiver = Receiver::builder()
        .name("r")
        .source("queues/q")
        .credit_mode(CreditMode::Manual)
        .attach(&mut session)
        .await
        .expect("attached");
    let controller = Controller::attach(&mut session, "c").await.expect("a coordinator");
    let txn = Transaction::declare(&controller, None).await.expect("declared");
    let mut acquisition = txn.acquire(&mut receiver, 2).await.expect("credit within the transaction");
    for payload in [b"a", b"b"] {
        let delivery: Delivery<Body<Value>> = acquisition.recv().await.expect("a delivery");
        assert_eq!(bytes(&delivery), payload);
        acquisition.accept(&delivery).await.expect("accepted");
    }
    acquisition.commit().await.expect("committed");
    receiver.close().await.expect("closed");
    let mut other = Receiver::attach(&mut session, "other", "queues/q").await.expect("attached");
    nothing(&mut other).await;
    connection.close().await.expect("closed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_transaction_spans_sessions_and_unknown_ones_are_refused() {
    let hub = Hub::new().await;
    let (mut connection, mut session) = hub.client().await;
    let mut second = Session::begin(&mut connection).await.expect("a session");
    let mut receiver = Receiver::attach(&mut session, "r", "queues/q").await.expect("attached");
    let mut here = Sender::attach(&mut session, "here", "queues/q").await.expect("attached");
    let mut there = Sender::attach(&mut second, "there", "queues/q").await.expect("attached");
    let controller = Controller::attach(&mut session, "c").await.expect("a coordinator");
    let txn = Transaction::declare(&controller, None).await.expect("declared");
    txn.post(&mut here, data("a")).await.expect("posted");
    txn.post(&mut there, data("b")).await.expect("posted");
    nothing(&mut receiver).await;
    txn.commit().await.expect("committed");
    let mut came = vec![bytes(&recv(&mut receiver).await), bytes(&recv(&mut receiver).await)];
    came.sort();
    assert_eq!(came, [b"a", b"b"]);

    // One of nobody in particular belongs to its connection.
    let (_other, mut session) = hub.client().await;
    let mut stranger = Sender::attach(&mut session, "stranger", "queues/q").await.expect("attached");
    let txn = Transaction::declare(&controller, None).await.expect("declared");
    let refused = txn.post(&mut stranger, data("c")).await.expect_err("not its own");
    assert!(format!("{refused:?}").contains("UnknownId"), "{refused:?}");
    txn.rollback().await.expect("rolled back");
    connection.close().await.expect("closed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_principals_transaction_may_be_used_on_its_other_connections() {
    let hub = Hub::new().await;
    let (mut one, mut declaring) = hub.user("dev").await;
    let (mut two, mut using) = hub.user("dev").await;
    let (_connection, mut stranger) = hub.user("mallory").await;
    let controller = Controller::attach(&mut declaring, "c").await.expect("a coordinator");
    let mut sender = Sender::attach(&mut using, "s", "queues/out").await.expect("attached");
    let mut orders = Sender::attach(&mut using, "orders", "queues/in").await.expect("attached");
    let mut receiver = Receiver::attach(&mut using, "r", "queues/in").await.expect("attached");
    let mut results = Receiver::attach(&mut using, "results", "queues/out").await.expect("attached");
    let mut stolen = Sender::attach(&mut stranger, "s", "queues/out").await.expect("attached");
    for commit in [false, true] {
        orders.send(data("order")).await.expect("sent");
        let delivery = recv(&mut receiver).await;
        let txn = Transaction::declare(&controller, None).await.expect("declared");
        txn.post(&mut sender, data("result")).await.expect("posted");
        txn.accept(&mut receiver, &delivery).await.expect("retired");
        nothing(&mut results).await;
        if !commit {
            txn.rollback().await.expect("rolled back");
            nothing(&mut results).await;
            continue;
        }
        let refused = txn.post(&mut stolen, data("x")).await.expect_err("a stranger's");
        assert!(format!("{refused:?}").contains("UnknownId"), "{refused:?}");
        txn.commit().await.expect("committed");
        assert_eq!(bytes(&recv(&mut results).await), b"result");
        nothing(&mut results).await;
    }
    receiver.close().await.expect("closed");
    let mut left = Receiver::attach(&mut using, "left", "queues/in").await.expect("attached");
    let rolled_back = recv(&mut left).await;
    left.accept(&rolled_back).await.expect("accepted");
    nothing(&mut left).await;

    // Lost with its controller, what others did in it never happened.
    let txn = Transaction::declare(&controller, None).await.expect("declared");
    txn.post(&mut sender, data("void")).await.expect("posted");
    std::mem::forget(txn);
    one.close().await.expect("closed");
    nothing(&mut results).await;
    assert_eq!(hub.broker.counters().transactions, 0);
    two.close().await.expect("closed");
}

// ---- with others on the same broker -----------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_lost_connection_held_is_delivered_again() {
    let hub = Hub::new().await;
    let (mut connection, mut session) = hub.client().await;
    let mut sender = Sender::attach(&mut session, "s", "queues/q").await.expect("attached");
    sender.send(data("x")).await.expect("sent");
    let (lost, mut its_session) = hub.client().await;
    let mut holder = Receiver::attach(&mut its_session, "holder", "queues/q").await.expect("attached");
    assert_eq!(bytes(&recv(&mut holder).await), b"x");
    let mut next = Receiver::attach(&mut session, "next", "queues/q").await.expect("attached");
    nothing(&mut next).await;
    drop((holder, its_session, lost));
    let delivery = recv(&mut next).await;
    assert_eq!(bytes(&delivery), b"x");
    next.accept(&delivery).await.expect("accepted");
    connection.close().await.expect("closed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_of_another_protocol_says_where_it_was_sent() {
    use roadbed_core::{ConsumerTerms, Endpoint, Open, ProducerTerms, Qos};
    let hub = Hub::new().await;
    let (mut connection, mut session) = hub.client().await;
    let mut receiver = Receiver::attach(&mut session, "r", "plant/+").await.expect("attached");
    let inside = hub.broker.open(Open::default()).await.expect("a session");
    let (producer, _) = inside.producer(ProducerTerms::default()).await.expect("a producer");
    let sender = roadbed_core::Sender::new(producer);
    let address = "plant/7".parse().expect("an address");
    let message = roadbed_core::Message::builder(address, "too hot").property("unit", "celsius").build();
    sender.send(message, Qos::AtLeastOnce).await.expect("sent");
    let delivery = recv(&mut receiver).await;
    assert_eq!(bytes(&delivery), b"too hot");
    let to = delivery.message().properties.as_ref().and_then(|properties| properties.to.clone());
    assert_eq!(to.as_deref(), Some("plant/7"));
    let properties = delivery.message().application_properties.as_ref().expect("properties");
    assert_eq!(properties.0.get("unit"), Some(&SimpleValue::String("celsius".into())));
    receiver.accept(&delivery).await.expect("accepted");

    let terms = ConsumerTerms::queue("queues/q".parse().expect("an address"));
    let (consumer, _) = inside.consumer(terms).await.expect("a consumer");
    let inside = roadbed_core::Receiver::new(consumer, 10);
    let mut sender = Sender::attach(&mut session, "s", "queues/q").await.expect("attached");
    let message = Message::builder()
        .properties(Properties::builder().message_id("id".to_owned()).content_type("text/plain").build())
        .application_properties(ApplicationProperties::builder().insert("n", 7i32).build())
        .data(b"from AMQP".to_vec())
        .build();
    sender.send(message).await.expect("sent");
    let received = inside.receive().await.expect("alive").expect("a delivery");
    let message = received.message.clone();
    assert_eq!(message.payload().to_bytes(), "from AMQP");
    assert_eq!(message.details().message_id, Some("id".into()));
    assert_eq!(message.details().content_type.as_deref(), Some("text/plain"));
    assert_eq!(message.details().properties.first("n"), Some(&roadbed_core::Value::Int(7)));
    assert_eq!(message.origin().map(|origin| origin.protocol), Some("amqp"));
    received.accept().await.expect("accepted");
    connection.close().await.expect("closed");
}
