//! The same by the `fe2o3-amqp` client: links are detached, and resumed on another connection.

use fe2o3_amqp::connection::ConnectionHandle;
use fe2o3_amqp::session::SessionHandle;
use fe2o3_amqp::types::definitions::ReceiverSettleMode;
use fe2o3_amqp::types::messaging::{Body, Data, Header, Message, Outcome, Source, Target, TerminusDurability};
use fe2o3_amqp::types::primitives::Value;
use fe2o3_amqp::{Connection, Receiver, Sender, Session};

use super::peer::Hub;

async fn client(hub: &Hub) -> (ConnectionHandle<()>, SessionHandle<()>) {
    let url = format!("amqp://{}", hub.address);
    let mut connection = Connection::open("client", &*url).await.expect("a connection");
    let session = Session::begin(&mut connection).await.expect("a session");
    (connection, session)
}

fn stored(payload: &str) -> Message<Data> {
    let header = Header { durable: true, ..Header::default() };
    Message::builder().header(header).data(payload.as_bytes().to_vec()).build()
}

async fn durable_sender(session: &mut SessionHandle<()>) -> Sender {
    let target = Target::builder().address("queues/q").durable(TerminusDurability::UnsettledState).timeout(60).build();
    let sender = Sender::builder().name("s").target(target).receiver_settle_mode(ReceiverSettleMode::Second);
    sender.attach(session).await.expect("attached")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_learns_what_became_of_its_delivery_on_the_next_connection() {
    for restart in [false, true] {
        let mut hub = Hub::new().await;
        let (connection, mut session) = client(&hub).await;
        let mut sender = durable_sender(&mut session).await;
        let outcome = sender.send_batchable(stored("x")).await.expect("sent");
        hub.settles("queues/q", (1, 0)).await;
        let detached = sender.detach().await.expect("detached");
        drop((session, connection));
        if restart {
            hub = hub.restart().await;
        }
        let (mut connection, session) = client(&hub).await;
        let mut sender = detached.resume_on_session(&session).await.expect("resumed");
        let outcome = tokio::time::timeout(std::time::Duration::from_secs(10), outcome).await.expect("in time");
        assert!(matches!(outcome.expect("an outcome"), Outcome::Accepted(_)));
        sender.send(stored("y")).await.expect("the link goes on");
        hub.settles("queues/q", (2, 0)).await;
        connection.close().await.expect("closed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_gets_what_it_has_not_settled_again_on_the_next_connection() {
    for restart in [false, true] {
        let mut hub = Hub::new().await;
        let (connection, mut session) = client(&hub).await;
        let mut sender = durable_sender(&mut session).await;
        sender.send(stored("x")).await.expect("sent");
        let source = Source::builder().address("queues/q").durable(TerminusDurability::UnsettledState).timeout(60);
        let receiver = Receiver::builder().name("r").source(source.build());
        let receiver = receiver.receiver_settle_mode(ReceiverSettleMode::Second).attach(&mut session).await;
        let mut receiver = receiver.expect("attached");
        let delivery = receiver.recv::<Body<Value>>().await.expect("a delivery");
        let detached = receiver.detach().await.expect("detached");
        drop((sender, session, connection));
        if restart {
            hub = hub.restart().await;
        }
        let (mut connection, session) = client(&hub).await;
        let mut receiver = detached.resume_on_session(&session).await.expect("resumed").into_receiver();
        let again = tokio::time::timeout(std::time::Duration::from_secs(10), receiver.recv::<Body<Value>>()).await;
        let again = again.expect("in time").expect("the delivery");
        assert_eq!(again.delivery_tag(), delivery.delivery_tag());
        receiver.accept(&again).await.expect("accepted");
        hub.settles("queues/q", (0, 0)).await;
        connection.close().await.expect("closed");
    }
}
