//! Logs over AMQP, with the `fe2o3-amqp` client over TCP: selectors, groups, epochs, transactions.

use std::time::Duration;

use fe2o3_amqp::link::ReceiverAttachError;
use fe2o3_amqp::session::SessionHandle;
use fe2o3_amqp::transaction::{Controller, Transaction, TransactionDischarge, TransactionPosting};
use fe2o3_amqp::types::definitions::{ErrorCondition, Fields, LinkError};
use fe2o3_amqp::types::messaging::annotations::OwnedKey;
use fe2o3_amqp::types::messaging::{Body, Data, Message, Properties, Source};
use fe2o3_amqp::types::primitives::{OrderedMap, Symbol, Value};
use fe2o3_amqp::{Delivery, Receiver, Sender};
use roadbed_core::{Close, Endpoint, LogSettings, Manage, Managed, Open};
use serde_amqp::described::Described;
use serde_amqp::descriptor::Descriptor;

mod hub;

use hub::Hub;

const SELECTOR: &str = "apache.org:selector-filter:string";

impl Hub {
    /// With a log of two partitions.
    async fn logged() -> Self {
        let hub = Hub::new().await;
        let session = hub.broker.open(Open::default()).await.expect("a session");
        let settings = LogSettings { partitions: 2, ..LogSettings::default() };
        session.manage(Manage::DeclareLog("logs/l".parse().expect("an address"), settings)).await.expect("declared");
        session.close(Close::default()).await.expect("closed");
        hub
    }

    async fn next(&self, partition: usize) -> u64 {
        let session = self.broker.open(Open::default()).await.expect("a session");
        match session.manage(Manage::Describe("logs/l".parse().expect("an address"))).await {
            Ok(Managed::Log(log)) => log.partitions[partition].next,
            other => panic!("{other:?}"),
        }
    }
}

fn selector(words: &str) -> Source {
    let described = Described { descriptor: Descriptor::Name(SELECTOR.into()), value: Value::String(words.into()) };
    let mut filters = OrderedMap::new();
    filters.insert(Symbol::from(SELECTOR), Value::Described(Box::new(described)));
    Source { filter: Some(filters), ..Source::default() }
}

fn from(address: &str, words: Option<&str>) -> Source {
    let source = words.map_or_else(Source::default, selector);
    Source { address: Some(address.into()), ..source }
}

async fn attach(
    session: &mut SessionHandle<()>,
    name: &str,
    source: Source,
    epoch: Option<i64>,
) -> Result<Receiver, ReceiverAttachError> {
    let mut properties = Fields::new();
    if let Some(epoch) = epoch {
        properties.insert(Symbol::from("com.microsoft:epoch"), Value::Long(epoch));
    }
    Receiver::builder().name(name).source(source).properties(properties).attach(session).await
}

async fn recv(receiver: &mut Receiver) -> Delivery<Body<Value>> {
    tokio::time::timeout(Duration::from_secs(10), receiver.recv()).await.expect("in time").expect("a delivery")
}

fn text(delivery: &Delivery<Body<Value>>) -> String {
    match delivery.body() {
        Body::Data(batch) => String::from_utf8(batch.iter().flat_map(|data| data.0.to_vec()).collect()).expect("text"),
        other => panic!("{other:?}"),
    }
}

async fn texts(receiver: &mut Receiver, count: usize) -> Vec<String> {
    let mut texts = Vec::new();
    for _ in 0..count {
        let delivery = recv(receiver).await;
        receiver.accept(&delivery).await.expect("accepted");
        texts.push(text(&delivery));
    }
    texts
}

fn annotation(delivery: &Delivery<Body<Value>>, name: &str) -> Option<Value> {
    let annotations = delivery.message().message_annotations.as_ref()?;
    annotations.0.iter().find_map(|(key, value)| match key {
        OwnedKey::Symbol(key) if key.0 == name => Some(value.clone()),
        _ => None,
    })
}

fn data(text: &str) -> Message<Data> {
    Message::from(Data::from(text.as_bytes().to_vec()))
}

async fn send(session: &mut SessionHandle<()>, address: &str, texts: &[&str]) {
    let mut sender = Sender::attach(session, format!("to {address} {}", texts[0]), address).await.expect("a sender");
    for text in texts {
        sender.send(data(text)).await.expect("sent").accepted_or_else(|outcome| outcome).expect("accepted");
    }
    sender.close().await.expect("closed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_begins_where_its_selector_says() {
    let hub = Hub::logged().await;
    let (_connection, mut session) = hub.client().await;
    send(&mut session, "logs/l/0", &["zero", "one", "two"]).await;
    let mut all = attach(&mut session, "all", from("logs/l/0", None), None).await.expect("a reader");
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(recv(&mut all).await);
    }
    let of = |name: &str| seen.iter().map(|delivery| annotation(delivery, name)).collect::<Vec<_>>();
    assert_eq!(of("x-opt-sequence-number"), [0, 1, 2].map(|number| Some(Value::Long(number))));
    assert_eq!(of("x-opt-offset"), ["0", "1", "2"].map(|offset| Some(Value::String(offset.into()))));
    let Some(Value::Timestamp(second)) = annotation(&seen[1], "x-opt-enqueued-time") else { panic!("a time") };
    let since = format!("amqp.annotation.x-opt-enqueued-time > '{}'", second.milliseconds() - 60_000);
    for (n, (words, wanted)) in [
        ("amqp.annotation.x-opt-offset > '0'", &["one", "two"][..]),
        ("amqp.annotation.x-opt-offset >= '2'", &["two"]),
        ("amqp.annotation.x-opt-offset > '-1'", &["zero", "one", "two"]),
        ("amqp.annotation.x-opt-sequence-number > '1'", &["two"]),
        (&*since, &["zero", "one", "two"]),
    ]
    .into_iter()
    .enumerate()
    {
        let reader = attach(&mut session, &format!("reader {n}"), from("logs/l/0", Some(words)), None).await;
        assert_eq!(texts(&mut reader.expect("a reader"), wanted.len()).await, wanted, "{words}");
    }
    let latest = Some("amqp.annotation.x-opt-offset > '@latest'");
    let mut live = attach(&mut session, "live", from("logs/l/0", latest), None).await.expect("a reader");
    send(&mut session, "logs/l/0", &["three"]).await;
    assert_eq!(texts(&mut live, 1).await, ["three"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_filters_and_unknown_partitions_are_refused() {
    let hub = Hub::logged().await;
    let (_connection, mut session) = hub.client().await;
    let wrong = attach(&mut session, "wrong", from("logs/l/0", Some("amqp.annotation.x-opt-offset < '3'")), None).await;
    assert!(format!("{wrong:?}").contains("NotImplemented"), "{wrong:?}");
    let (_another, mut session) = hub.client().await;
    let missing = attach(&mut session, "missing", from("logs/l/9", None), None).await;
    assert!(format!("{missing:?}").contains("NotFound"), "{missing:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_goes_on_at_its_checkpoint_on_another_connection() {
    let hub = Hub::logged().await;
    let address = "logs/l/ConsumerGroups/billing/Partitions/1";
    {
        let (mut connection, mut session) = hub.client().await;
        send(&mut session, "logs/l/1", &["a", "b", "c"]).await;
        let mut reader = attach(&mut session, "reader", from(address, None), None).await.expect("a reader");
        assert_eq!(texts(&mut reader, 2).await, ["a", "b"]);
        let mut other =
            attach(&mut session, "other", from("logs/l/ConsumerGroups/audit", None), None).await.expect("one");
        assert_eq!(texts(&mut other, 3).await, ["a", "b", "c"]);
        connection.close().await.expect("closed");
    }
    let (_connection, mut session) = hub.client().await;
    let mut reader = attach(&mut session, "reader", from(address, None), None).await.expect("a reader");
    assert_eq!(texts(&mut reader, 1).await, ["c"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_higher_epoch_steals_the_link_and_a_lower_one_is_refused() {
    let hub = Hub::logged().await;
    let address = "logs/l/ConsumerGroups/g/Partitions/0";
    let (_one, mut first) = hub.client().await;
    let (_two, mut second) = hub.client().await;
    let mut low = attach(&mut first, "low", from(address, None), Some(1)).await.expect("a reader");
    let mut high = attach(&mut second, "high", from(address, None), Some(2)).await.expect("a reader");
    let lost = tokio::time::timeout(Duration::from_secs(10), low.recv::<Body<Value>>()).await.expect("in time");
    let stolen = ErrorCondition::LinkError(LinkError::Stolen);
    assert!(format!("{lost:?}").contains(&format!("{stolen:?}")), "{lost:?}");
    let refused = attach(&mut first, "lower", from(address, None), Some(1)).await;
    assert!(format!("{refused:?}").contains(&format!("{stolen:?}")), "{refused:?}");
    let (_three, mut sender) = hub.client().await;
    send(&mut sender, "logs/l/0", &["for the higher"]).await;
    assert_eq!(texts(&mut high, 1).await, ["for the higher"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_appends_to_a_log_and_a_queue_at_once() {
    let hub = Hub::logged().await;
    let (_connection, mut session) = hub.client().await;
    let mut log = Sender::attach(&mut session, "log", "logs/l/0").await.expect("a sender");
    let mut queue = Sender::attach(&mut session, "queue", "queues/q").await.expect("a sender");
    let controller = Controller::attach(&mut session, "controller").await.expect("a controller");
    for commit in [false, true] {
        let transaction = Transaction::declare(&controller, None).await.expect("declared");
        transaction.post(&mut log, data("logged")).await.expect("posted");
        transaction.post(&mut queue, data("queued")).await.expect("posted");
        assert_eq!(hub.next(0).await, 0);
        match commit {
            true => transaction.commit().await.expect("committed"),
            false => transaction.rollback().await.expect("rolled back"),
        }
    }
    assert_eq!(hub.next(0).await, 1);
    let mut receiver = Receiver::attach(&mut session, "receiver", "queues/q").await.expect("a receiver");
    assert_eq!(texts(&mut receiver, 1).await, ["queued"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_one_group_are_in_one_partition() {
    let hub = Hub::logged().await;
    let (_connection, mut session) = hub.client().await;
    let mut sender = Sender::attach(&mut session, "sender", "logs/l").await.expect("a sender");
    for n in 0..20 {
        let properties = Properties::builder().group_id(format!("key {}", n % 4)).build();
        let message = Message::builder().properties(properties).data(vec![n]).build();
        sender.send(message).await.expect("sent");
    }
    let mut reader = attach(&mut session, "reader", from("logs/l", None), None).await.expect("a reader");
    let (mut partitions, mut last) = (std::collections::HashMap::new(), std::collections::HashMap::new());
    for _ in 0..20 {
        let delivery = recv(&mut reader).await;
        let Some(Value::String(key)) = annotation(&delivery, "x-opt-partition-key") else { panic!("a key") };
        let partition = annotation(&delivery, "x-opt-roadbed-partition");
        assert_eq!(*partitions.entry(key.clone()).or_insert(partition.clone()), partition);
        let Some(Value::Long(number)) = annotation(&delivery, "x-opt-sequence-number") else { panic!("a number") };
        assert!(last.insert(format!("{partition:?}"), number).is_none_or(|before| before < number));
    }
    assert_eq!((hub.next(0).await + hub.next(1).await, partitions.len()), (20, 4));
}
