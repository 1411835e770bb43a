//! The client on our own server over a broker, by TCP.

mod cut;
mod foreign;
mod slots;

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use roadbed_amqp::{Client, ClientConfig, Listener, Server, ServerConfig, connect};
use roadbed_broker::Broker;
use roadbed_core::{
    Address, ConsumerTerms, Disposition, Endpoint, Grant, Manage, Managed, Message, Open, Outcome, ProducerTerms, Qos,
    Receiver, Sender, Session, Settled, Step,
};
use tokio::net::TcpListener;

async fn hub() -> (Broker, ClientConfig) {
    let broker = Broker::new();
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let port = socket.local_addr().expect("bound").port();
    let server = Server::new(Arc::new(broker.clone()), ServerConfig::permissive());
    tokio::spawn(Listener::new(socket, server).run(std::future::pending()));
    (broker, ClientConfig::default().host("127.0.0.1").port(port))
}

fn address(name: &str) -> Address {
    name.parse().expect("legal")
}

async fn opened(client: &Client) -> Box<dyn Session> {
    tokio::time::timeout(Duration::from_secs(10), client.open(Open::default())).await.expect("in time").expect("open")
}

async fn declare(broker: &Broker, name: &str) {
    let session = broker.open(Open::default()).await.expect("open");
    let declared = Manage::Declare(address(name), Default::default());
    session.manage(declared).await.expect("declared");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sends_and_receives_with_every_assurance() {
    let (broker, config) = hub().await;
    declare(&broker, "queues/q").await;
    let client = connect(config);
    let session = opened(&client).await;
    let terms = ProducerTerms { qos_max: Qos::ExactlyOnce, ..ProducerTerms::default() };
    let sender = Sender::new(session.producer(terms).await.expect("attached").0);
    let consumer = session.consumer(ConsumerTerms::queue(address("queues/q"))).await.expect("attached").0;
    let receiver = Receiver::new(consumer, 10);
    for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
        let sent = sender.send(Message::new(address("queues/q"), format!("{qos:?}")), qos).await.expect("sent");
        assert_eq!(sent.outcome, Outcome::Accepted);
        let received = receiver.receive().await.expect("a link that lives").expect("a delivery");
        assert_eq!(received.message.payload().to_bytes(), format!("{qos:?}"));
        assert_eq!(received.accept().await.expect("settled"), Settled::Applied);
    }
    session.close(Default::default()).await.expect("closed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_amqp_has_no_place_for_is_told() {
    let (broker, config) = hub().await;
    declare(&broker, "queues/q").await;
    let client = connect(config);
    let session = opened(&client).await;
    let sender = Sender::new(session.producer(ProducerTerms::default()).await.expect("attached").0);
    assert!(client.losses().is_empty());
    let message = Message::builder(address("queues/q"), "x").property("unit", "C").property("unit", "F");
    sender.send(message.build(), Qos::AtLeastOnce).await.expect("sent");
    let lost = client.losses();
    let told: Vec<_> = lost.iter().map(|(loss, count)| (loss.what, count)).collect();
    assert_eq!(told, [("a second property of the same name", 1)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_gives_deliveries_back_to_their_consumer() {
    let (broker, config) = hub().await;
    declare(&broker, "queues/from").await;
    let client = connect(config);
    let session = opened(&client).await;
    let sender = Sender::new(session.producer(ProducerTerms::default()).await.expect("attached").0);
    sender.send(Message::new(address("queues/from"), "order"), Qos::AtLeastOnce).await.expect("sent");
    let consumer = session.consumer(ConsumerTerms::queue(address("queues/from"))).await.expect("attached").0;
    let mut consumer = consumer;
    consumer.grant(Grant::credit(1));
    let mut came = Vec::new();
    poll_fn(|cx| consumer.poll_receive(cx, &mut came, 1)).await.expect("a delivery");
    let order = came[0].handle.expect("unsettled");
    for _ in 0..2 {
        let transaction = session.transaction().await.expect("declared");
        let step = Step::Enlist { txn: transaction.id(), outcome: Outcome::Accepted, settled: false };
        consumer.settle(&mut vec![Disposition { delivery: order.into(), cookie: Some(1), step }]);
        let mut done = Vec::new();
        poll_fn(|cx| consumer.poll_settled(cx, &mut done)).await.expect("enlisted");
        transaction.rollback().await.expect("rolled back");
        tokio::time::sleep(Duration::from_millis(100)).await;
        let node = session.manage(Manage::Describe(address("queues/from"))).await.expect("described");
        let Managed::Description(node) = node else { panic!("{node:?}") };
        assert_eq!((node.available, node.held), (0, 1), "the consumer has it still");
    }
    let step = Step::Outcome { outcome: Outcome::Accepted, settled: true };
    consumer.settle(&mut vec![Disposition { delivery: order.into(), cookie: Some(2), step }]);
    let mut done = Vec::new();
    poll_fn(|cx| consumer.poll_settled(cx, &mut done)).await.expect("settled");
    assert_eq!(done[0].result.as_ref().expect("settled"), &Settled::Applied);
}
