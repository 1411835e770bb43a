//! The client on a server of another making: the acceptor of `fe2o3-amqp`, which knows none of our extensions.

use std::time::Duration;

use fe2o3_amqp::acceptor::{ConnectionAcceptor, LinkAcceptor, LinkEndpoint, SessionAcceptor};
use fe2o3_amqp::types::messaging::{Body, Data, Message as WireMessage, Modified};
use fe2o3_amqp::types::primitives::Value;
use roadbed_amqp::{ClientConfig, connect};
use roadbed_core::{
    Condition, ConsumerTerms, ErrorKind, Manage, Message, Outcome, ProducerTerms, Qos, Receiver, Sender, Settled,
};
use tokio::net::TcpListener;

use crate::{address, opened};

/// Serves one connection with one session: what is sent to it is answered by its payload, and whoever receives gets three messages.
async fn acceptor() -> ClientConfig {
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let port = socket.local_addr().expect("bound").port();
    tokio::spawn(async move {
        let (stream, _) = socket.accept().await.expect("a client");
        let mut connection = ConnectionAcceptor::new("foreign").accept(stream).await.expect("a connection");
        let mut session = SessionAcceptor::default().accept(&mut connection).await.expect("a session");
        let links = LinkAcceptor::default();
        while let Ok(link) = links.accept(&mut session).await {
            match link {
                LinkEndpoint::Receiver(receiver) => drop(tokio::spawn(answer(receiver))),
                LinkEndpoint::Sender(sender) => drop(tokio::spawn(offer(sender))),
            }
        }
    });
    ClientConfig::default().host("127.0.0.1").port(port).sasl(None)
}

async fn answer(mut receiver: fe2o3_amqp::Receiver) {
    while let Ok(delivery) = receiver.recv::<Body<Value>>().await {
        let payload: Vec<u8> = match delivery.body() {
            Body::Data(payload) => payload.iter().flat_map(|data| data.0.to_vec()).collect(),
            _ => Vec::new(),
        };
        let answered = match &*payload {
            b"rejected" => receiver.reject(&delivery, None).await,
            b"released" => receiver.release(&delivery).await,
            b"modified" => {
                let failed =
                    Modified { delivery_failed: Some(true), undeliverable_here: None, message_annotations: None };
                receiver.modify(&delivery, failed).await
            }
            _ => receiver.accept(&delivery).await,
        };
        answered.expect("answered");
    }
}

async fn offer(mut sender: fe2o3_amqp::Sender) {
    for payload in ["one", "two", "three"] {
        let message = WireMessage::from(Data::from(payload.as_bytes().to_vec()));
        sender.send(message).await.expect("settled by the client");
    }
    // The link stays.
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sends_to_a_foreign_server_and_hears_every_outcome() {
    let client = connect(acceptor().await);
    let session = opened(&client).await;
    let to = Some(address("anywhere"));
    let terms = ProducerTerms { to, qos_max: Qos::AtLeastOnce, name: None };
    let sender = Sender::new(session.producer(terms).await.expect("attached").0);
    let send = async |payload: &'static str, qos| {
        sender.send(Message::new(address("anywhere"), payload), qos).await.expect("answered")
    };
    assert_eq!(send("settled", Qos::AtMostOnce).await.outcome, Outcome::Accepted);
    assert_eq!(send("accepted", Qos::AtLeastOnce).await.outcome, Outcome::Accepted);
    let rejected = send("rejected", Qos::AtLeastOnce).await.outcome;
    assert!(matches!(rejected, Outcome::Rejected(reason) if reason.condition == Condition::Refused));
    let released = send("released", Qos::AtLeastOnce).await;
    assert_eq!((released.outcome, released.why), (Outcome::Released, Some(Condition::NoRoute)));
    assert_eq!(send("modified", Qos::AtLeastOnce).await.outcome, Outcome::FAILED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receives_from_a_foreign_server_and_settles() {
    let client = connect(acceptor().await);
    let session = opened(&client).await;
    let terms = ConsumerTerms { qos_max: Qos::AtLeastOnce, ..ConsumerTerms::queue(address("queues/foreign")) };
    let receiver = Receiver::new(session.consumer(terms).await.expect("attached").0, 2);
    for (payload, outcome) in [("one", Outcome::Accepted), ("two", Outcome::Accepted), ("three", Outcome::Accepted)] {
        let received = receiver.receive().await.expect("a link that lives").expect("a delivery");
        assert_eq!(received.message.payload().to_bytes(), payload);
        assert_eq!(received.message.address(), &address("queues/foreign"), "it does not say where it was sent to");
        assert_eq!(received.settle(outcome).await.expect("settled"), Settled::Applied);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_foreign_server_lacks_is_an_error_and_not_silence() {
    let client = connect(acceptor().await.request_timeout(Duration::from_millis(300)));
    let session = opened(&client).await;
    // It takes links to anything, and answers no requests.
    let error = session.manage(Manage::Describe(address("queues/q"))).await.expect_err("nobody answers");
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
    let error = match session.transaction().await {
        Ok(_) => panic!("it has no coordinator"),
        Err(error) => error,
    };
    assert!(!error.to_string().is_empty());
}
