//! The client on our own server over a broker, by TCP.

use std::sync::Arc;
use std::time::Duration;

use roadbed_amqp::{Client, ClientConfig, Listener, Server, ServerConfig, connect};
use roadbed_broker::Broker;
use roadbed_core::{
    Address, ConsumerTerms, Endpoint, Message, Open, Outcome, ProducerTerms, Qos, Receiver, Sender, Session, Settled,
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
    let declared = roadbed_core::Manage::Declare(address(name), Default::default());
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
