//! A delivery that comes exactly once has one slot for as long as it lives: an MQTT server over this client says it to its device as the packet identifier.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytestring::ByteString;
use roadbed_amqp::connect;
use roadbed_core::client::{Change, MemoryStore, SessionStore, StoredSession};
use roadbed_core::{
    Attached, Binding, Consumer, ConsumerTerms, Delivery, Disposition, Endpoint, Fut, Grant, Handle, Message, Open,
    Outcome, ProducerTerms, Qos, Sender, Session, Settled, Step,
};

use crate::{address, hub};

/// A store that takes its time.
#[derive(Default)]
struct Slow(MemoryStore);

impl SessionStore for Slow {
    fn load(&self, session: &ByteString) -> Fut<StoredSession> {
        self.0.load(session)
    }

    fn commit(&self, session: &ByteString, changes: Vec<Change>) -> Fut<()> {
        let session = session.clone();
        let kept = self.0.commit(&session, changes);
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            kept.await
        })
    }
}

struct Device {
    session: Box<dyn Session>,
    consumer: Box<dyn Consumer>,
    attached: Attached,
}

impl Device {
    async fn connect(client: &impl Endpoint) -> Self {
        let open = Open { name: Some("device".into()), expiry: Duration::from_secs(60), ..Open::default() };
        let session = soon(client.open(Open { resume: true, ..open })).await.expect("open");
        let terms = ConsumerTerms { qos_max: Qos::ExactlyOnce, ..ConsumerTerms::session() };
        let (mut consumer, attached) = soon(session.consumer(terms)).await.expect("attached");
        consumer.grant(Grant::credit(Grant::UNLIMITED));
        Self { session, consumer, attached }
    }

    async fn receive(&mut self, count: usize) -> Vec<(String, u16)> {
        let mut came: Vec<Delivery> = Vec::new();
        while came.len() < count {
            soon(poll_fn(|cx| self.consumer.poll_receive(cx, &mut came, count))).await.expect("a delivery");
        }
        came.iter().map(|came| (text(came), came.handle.expect("unsettled").slot())).collect()
    }

    async fn step(&mut self, slot: u16, step: Step) {
        let delivery = Handle::new(slot, 0).expect("a slot").into();
        self.consumer.settle(&mut vec![Disposition { delivery, cookie: Some(1), step }]);
        let mut done = Vec::new();
        soon(poll_fn(|cx| self.consumer.poll_settled(cx, &mut done))).await.expect("settled");
        assert_eq!(done.remove(0).result.expect("settled"), Settled::Applied);
    }

    /// The first half.
    async fn accept(&mut self, slot: u16) {
        self.step(slot, Step::Outcome { outcome: Outcome::Accepted, settled: false }).await;
    }

    async fn cut(self) {
        drop((self.consumer, self.session));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn text(delivery: &Delivery) -> String {
    String::from_utf8(delivery.message.payload().to_bytes().to_vec()).expect("text")
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), what).await.expect("in time")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_has_its_slot_on_the_next_connection_too() {
    let (broker, config) = hub().await;
    let store = Arc::new(Slow::default());
    let client = connect(config.store(store.clone()));
    let mut device = Device::connect(&client).await;
    let binding = Binding::new("t".parse().expect("a filter"), Qos::ExactlyOnce);
    assert!(soon(device.consumer.bind(vec![binding])).await.expect("bound").remove(0).is_ok());
    let publisher = broker.open(Open::default()).await.expect("open");
    let sender = Sender::new(publisher.producer(ProducerTerms::default()).await.expect("attached").0);
    let send = async |payload: &'static str| {
        let sent = sender.send(Message::new(address("t"), payload), Qos::ExactlyOnce).await.expect("sent");
        assert_eq!(sent.outcome, Outcome::Accepted);
    };
    for payload in ["over", "undecided", "decided", "open"] {
        send(payload).await;
    }
    let came = device.receive(4).await;
    let stored = store.load(&"device".into()).await.expect("loaded").received;
    let slots = |of: &[(String, u16)]| of.iter().map(|(_, slot)| *slot).collect::<Vec<_>>();
    assert_eq!(stored.iter().map(|it| it.slot).collect::<Vec<_>>(), slots(&came), "the store has it first");
    let [(_, over), undecided, (_, decided), open] = came.try_into().expect("four");
    device.accept(over).await;
    device.step(over, Step::Settle).await;
    device.accept(decided).await;
    device.cut().await;

    for round in ["first", "second"] {
        let mut device = Device::connect(&client).await;
        let left: Vec<u16> = device.attached.unsettled.iter().map(|left| left.handle.slot()).collect();
        assert_eq!(left, [decided], "what was decided has its slot, {round} time");
        send(round).await;
        let again = device.receive(if round == "first" { 3 } else { 4 }).await;
        assert_eq!(again[..2], [undecided.clone(), open.clone()], "and what was not");
        let news = &again[2..];
        assert!(news.iter().all(|(_, slot)| ![undecided.1, decided, open.1].contains(slot)), "{news:?}");
        device.cut().await;
    }

    let mut device = Device::connect(&client).await;
    device.step(decided, Step::Settle).await;
    for (_, slot) in device.receive(4).await {
        device.accept(slot).await;
        device.step(slot, Step::Settle).await;
    }
    device.cut().await;
    let left = store.load(&"device".into()).await.expect("loaded").received;
    assert!(left.is_empty(), "what has come to its end is forgotten: {left:?}");
}
