//! Settlements that are under way when the connection is cut (SETTLEMENT cells P4 and P6 of links that are resumed).

use std::sync::Arc;
use std::time::Duration;

use roadbed_amqp::{Client, ClientConfig, Server, ServerConfig, connect_over};
use roadbed_broker::Broker;
use roadbed_conformance::{Direction, Faults};
use roadbed_core::{
    Binding, Consumer, ConsumerTerms, Delivery, Disposition, Endpoint, Grant, Message, Open, Outcome, ProducerTerms,
    Qos, Sender, Settle, Settled, Step,
};

use super::{address, poll_fn};

fn over(broker: &Broker, faults: &Faults) -> Client {
    let server = Server::new(Arc::new(broker.clone()), ServerConfig::permissive());
    let (dialer, listener) = faults.listen();
    listener.serve(move |stream| server.serve(stream));
    connect_over(ClientConfig::default().reconnect_delay_min(Duration::from_millis(5)), move || {
        let dialer = dialer.clone();
        async move { dialer.dial().await }
    })
}

async fn publish(broker: &Broker, text: &str, qos: Qos) {
    let session = broker.open(Open::default()).await.expect("open");
    let terms = ProducerTerms { qos_max: qos, ..ProducerTerms::default() };
    let sender = Sender::new(session.producer(terms).await.expect("attached").0);
    sender.send(Message::new(address("t/x"), text.to_owned()), qos).await.expect("sent");
}

async fn next(consumer: &mut dyn Consumer) -> Delivery {
    consumer.grant(Grant::credit(1));
    let mut came = Vec::new();
    poll_fn(|cx| consumer.poll_receive(cx, &mut came, 1)).await.expect("a delivery");
    came.remove(0)
}

async fn answer(consumer: &mut dyn Consumer) -> Settled {
    let mut done = Vec::new();
    let answered = poll_fn(|cx| consumer.poll_settled(cx, &mut done));
    tokio::time::timeout(Duration::from_secs(10), answered).await.expect("an answer").expect("a link that lives");
    done.remove(0).result.expect("settled")
}

/// The consumer permits nothing more, so the answer may not wait for credit of its own; and what comes next comes once.
async fn is_answered(qos: Qos, cut: Direction) {
    let (broker, faults) = (Broker::new(), Faults::new());
    let client = over(&broker, &faults);
    let expiry = Duration::from_secs(60);
    let open = Open { name: Some("follower".into()), resume: true, expiry, ..Open::default() };
    let session = client.open(open).await.expect("open");
    let terms = ConsumerTerms { settle: Settle::Second, ..ConsumerTerms::session() };
    let mut consumer = session.consumer(terms).await.expect("attached").0;
    consumer
        .bind(vec![Binding::new("t/#".parse().expect("legal"), qos)])
        .await
        .expect("answered")
        .remove(0)
        .expect("bound");
    publish(&broker, "first", qos).await;
    let first = next(&mut *consumer).await;
    assert_eq!(first.qos, qos);

    faults.cut_after(cut, 1);
    let step = Step::Outcome { outcome: Outcome::Accepted, settled: true };
    let delivery = first.handle.expect("unsettled").into();
    consumer.settle(&mut vec![Disposition { delivery, cookie: Some(1), step }]);
    assert_eq!(answer(&mut *consumer).await, Settled::Applied, "{qos:?}, {cut:?}");

    publish(&broker, "second", qos).await;
    assert_eq!(next(&mut *consumer).await.message.payload().to_bytes(), "second", "{qos:?}, {cut:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outcome_that_is_lost_on_the_way_is_said_again_and_answered() {
    is_answered(Qos::AtLeastOnce, Direction::Up).await;
    is_answered(Qos::ExactlyOnce, Direction::Up).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outcome_whose_answer_is_lost_is_answered_by_the_resumed_link() {
    is_answered(Qos::AtLeastOnce, Direction::Down).await;
    is_answered(Qos::ExactlyOnce, Direction::Down).await;
}
