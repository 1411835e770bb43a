//! A connection of `fe2o3-amqp`, opened by the program itself, to our own server over the broker, by TCP.

use std::sync::Arc;
use std::time::Duration;

use roadbed_amqp::fe2o3::Fe2o3;
use roadbed_amqp::{Listener, Server, ServerConfig};
use roadbed_broker::Broker;
use roadbed_core::{
    Address, ConsumerTerms, Endpoint, ErrorKind, Manage, Message, Open, Outcome, ProducerTerms, Qos, Receiver, Sender,
    Session, Settled,
};
use tokio::net::TcpListener;

const QUEUE: &str = "queues/q";

fn queue() -> Address {
    QUEUE.parse().expect("legal")
}

async fn endpoint() -> Fe2o3 {
    let broker = Broker::new();
    let session = broker.open(Open::default()).await.expect("open");
    session.manage(Manage::Declare(queue(), Default::default())).await.expect("declared");
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = socket.local_addr().expect("bound");
    let server = Server::new(Arc::new(broker), ServerConfig::permissive());
    tokio::spawn(Listener::new(socket, server).run(std::future::pending()));
    let url = format!("amqp://anonymous:anonymous@{address}");
    Fe2o3::new(fe2o3_amqp::Connection::open("links", url.as_str()).await.expect("a connection"))
}

async fn sender(session: &dyn Session, to: Option<Address>) -> Sender {
    let terms = ProducerTerms { to, qos_max: Qos::AtLeastOnce, name: None };
    Sender::new(session.producer(terms).await.expect("attached").0)
}

async fn receiver(session: &dyn Session) -> Receiver {
    Receiver::new(session.consumer(ConsumerTerms::queue(queue())).await.expect("attached").0, 10)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sends_with_both_assurances_to_an_address_and_to_none() {
    let endpoint = endpoint().await;
    let session = endpoint.open(Open::default()).await.expect("open");
    let receiver = receiver(&*session).await;
    for to in [None, Some(queue())] {
        let sender = sender(&*session, to).await;
        for qos in [Qos::AtMostOnce, Qos::AtLeastOnce] {
            let message = Message::builder(queue(), "body").property("number", 7_i64).build();
            assert_eq!(sender.send(message, qos).await.expect("sent").outcome, Outcome::Accepted);
            let received = receiver.receive().await.expect("a link that lives").expect("a delivery");
            assert_eq!(received.message.payload().to_bytes(), "body");
            assert_eq!(received.message.details().properties.len(), 1);
            assert_eq!(received.accept().await.expect("settled"), Settled::Applied);
        }
    }
    session.close(Default::default()).await.expect("closed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_outcome_reaches_the_broker() {
    let endpoint = endpoint().await;
    let session = endpoint.open(Open::default()).await.expect("open");
    let (sender, receiver) = (sender(&*session, Some(queue())).await, receiver(&*session).await);
    sender.send(Message::new(queue(), "again"), Qos::AtLeastOnce).await.expect("sent");
    for (outcome, count) in
        [(Outcome::Released, 0), (Outcome::FAILED, 0), (Outcome::rejected(roadbed_core::Condition::Refused), 1)]
    {
        let received = receiver.receive().await.expect("a link that lives").expect("a delivery");
        assert_eq!(received.info.as_ref().expect("asked for").count, count, "before {outcome}");
        assert_eq!(received.settle(outcome).await.expect("settled"), Settled::Applied);
    }
    let nothing = tokio::time::timeout(Duration::from_millis(200), receiver.receive()).await;
    assert!(nothing.is_err(), "what is rejected does not come again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_link_is_an_error_and_the_session_goes_on() {
    let endpoint = endpoint().await;
    let session = endpoint.open(Open::default()).await.expect("open");
    let terms = ConsumerTerms { exclusive: true, ..ConsumerTerms::queue(queue()) };
    let _alone = session.consumer(terms.clone()).await.expect("attached");
    match session.consumer(terms).await {
        Ok(_) => panic!("somebody has it exclusively"),
        Err(error) => {
            assert!(matches!(error.kind(), ErrorKind::Conflict | ErrorKind::Unavailable), "{error}");
        }
    }
    let sent = sender(&*session, None).await.send(Message::new(queue(), "after"), Qos::AtLeastOnce).await;
    assert_eq!(sent.expect("sent").outcome, Outcome::Accepted);
}
