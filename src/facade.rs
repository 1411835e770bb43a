//! An endpoint with one session on it: what most programs need.

use std::fmt;
use std::sync::Arc;

use bytestring::ByteString;
use roadbed_core::{
    Address, Binding, Close, ConsumerTerms, Endpoint, Error, ErrorKind, Filter, LogStart, LogTerms, Open,
    ProducerTerms, Qos, Receiver, Result, Sender, Session, Transaction,
};

/// How many deliveries a receiver keeps permitted.
const PREFETCH: u32 = 32;

/// A session on an [`Endpoint`]: on a server that [`connect`](crate::connect) has reached, or on a broker in this process.
///
/// Cheap to clone; the session ends with the last clone, or in good order with [`close`](Self::close).
#[derive(Clone)]
pub struct Client {
    endpoint: Arc<dyn Endpoint>,
    session: Arc<dyn Session>,
}

impl Client {
    /// Opens a session.
    ///
    /// # Errors
    /// If the endpoint cannot be reached, or refuses.
    pub async fn open(endpoint: Arc<dyn Endpoint>, open: Open) -> Result<Self> {
        let session = endpoint.open(open).await?.into();
        Ok(Self { endpoint, session })
    }

    /// What the session is on.
    pub fn endpoint(&self) -> &Arc<dyn Endpoint> {
        &self.endpoint
    }

    /// The session itself, for what the handles do not cover.
    pub fn session(&self) -> &Arc<dyn Session> {
        &self.session
    }

    /// A sender of messages to any address.
    ///
    /// # Errors
    /// If the session is closed.
    pub async fn sender(&self) -> Result<Sender> {
        let terms = ProducerTerms { qos_max: Qos::ExactlyOnce, ..ProducerTerms::default() };
        Ok(Sender::new(self.session.producer(terms).await?.0))
    }

    /// A sender of messages to one address, with at most the assurance `qos`: a server that does not take that says so here.
    ///
    /// # Errors
    /// If the endpoint refuses.
    pub async fn sender_to(&self, to: Address, qos: Qos) -> Result<Sender> {
        let terms = ProducerTerms { to: Some(to), qos_max: qos, ..ProducerTerms::default() };
        Ok(Sender::new(self.session.producer(terms).await?.0))
    }

    /// A receiver of what is sent to `from`: a queue by its address, a log from its beginning, or all addresses that match a filter, which
    /// `$share/GROUP/FILTER` shares out among a group of receivers. Where logs cannot be read, their partitions are followed from now on.
    ///
    /// Deliveries have at most the assurance `qos`. They are to be settled, and belong to the receiver until it ends.
    ///
    /// # Errors
    /// If `from` is neither an address nor a filter, or the endpoint refuses.
    pub async fn receiver(&self, from: &str, qos: Qos) -> Result<Receiver> {
        let wrong = |error: &dyn fmt::Display| Error::new(ErrorKind::Invalid, "receive").detail(error);
        let (share, filter) = Filter::parse_shared(&ByteString::from(from)).map_err(|error| wrong(&error))?;
        let log = from.parse::<Address>().ok().filter(|address| address.log_place().is_some());
        if let Some(log) = log.filter(|_| self.endpoint.capabilities().logs) {
            return self.log(LogTerms::new(log, LogStart::Earliest), qos).await;
        }
        match from.parse::<Address>().ok().filter(|address| self.is_node(address)) {
            Some(node) => self.attach(ConsumerTerms { qos_max: qos, ..ConsumerTerms::queue(node) }).await,
            None => self.follow(Binding { share, ..Binding::new(filter, qos) }).await,
        }
    }

    /// A receiver of what is in a log, and of what comes: [`LogTerms`] say from where on, and for which group.
    ///
    /// Nothing is taken. For a group, accepting and rejecting moves its checkpoint, up to the first message that is neither; with QoS 0, what is
    /// handed over moves it. Where a delivery stands is in its [`DeliveryInfo::log`](crate::DeliveryInfo::log).
    ///
    /// # Errors
    /// If there is no such log, another reader of the group has a higher epoch, or the endpoint cannot read logs so.
    pub async fn log(&self, log: LogTerms, qos: Qos) -> Result<Receiver> {
        self.attach(ConsumerTerms { qos_max: qos, ..ConsumerTerms::log(log) }).await
    }

    /// Whether messages are received from an address as a node of its own. Over AMQP every address is one, and what it is like is the server's
    /// to know.
    fn is_node(&self, address: &Address) -> bool {
        let capabilities = self.endpoint.capabilities();
        let known = address.queue().or(address.dead_letters()).is_some() || capabilities.protocol == "amqp";
        capabilities.queues && known
    }

    /// A receiver of what a binding brings into the session.
    ///
    /// # Errors
    /// If the endpoint refuses.
    pub async fn follow(&self, binding: Binding) -> Result<Receiver> {
        let receiver = self.attach(ConsumerTerms { info: true, ..ConsumerTerms::session() }).await?;
        for granted in receiver.bind(vec![binding]).await? {
            granted?;
        }
        Ok(receiver)
    }

    /// A receiver by any terms.
    ///
    /// # Errors
    /// If the endpoint refuses.
    pub async fn attach(&self, terms: ConsumerTerms) -> Result<Receiver> {
        let (consumer, _) = self.session.consumer(terms).await?;
        Ok(Receiver::new(consumer, PREFETCH))
    }

    /// Declares a transaction.
    ///
    /// # Errors
    /// If the endpoint has none.
    pub async fn transaction(&self) -> Result<Box<dyn Transaction>> {
        self.session.transaction().await
    }

    /// Ends the session in good order.
    ///
    /// # Errors
    /// If the endpoint cannot be told.
    pub async fn close(self) -> Result<()> {
        self.session.close(Close::default()).await
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("protocol", &self.endpoint.capabilities().protocol).finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "broker"))]
mod tests {
    use roadbed_core::{LogSettings, Manage, Message, Outcome, Settled};

    use super::*;
    use crate::Broker;

    async fn client() -> Client {
        Client::open(Arc::new(Broker::new()), Open::default()).await.unwrap()
    }

    fn message(to: &str, payload: &'static str) -> Message {
        Message::new(to.parse().unwrap(), payload)
    }

    #[tokio::test]
    async fn a_queue_is_taken_from_and_a_filter_is_followed() {
        let client = client().await;
        let sender = client.sender().await.unwrap();
        sender.send(message("queues/jobs", "waits"), Qos::AtLeastOnce).await.unwrap();
        let alarms = client.receiver("plant/+/alarm", Qos::AtLeastOnce).await.unwrap();
        sender.send(message("plant/7/alarm", "hot"), Qos::AtLeastOnce).await.unwrap();
        let alarm = alarms.receive().await.unwrap().unwrap();
        assert_eq!(alarm.message.address().as_str(), "plant/7/alarm");
        assert_eq!(alarm.accept().await.unwrap(), Settled::Applied);
        let jobs = client.receiver("queues/jobs", Qos::AtLeastOnce).await.unwrap();
        let job = jobs.receive().await.unwrap().unwrap();
        assert_eq!(job.message.payload().to_bytes(), "waits");
        job.reject("no").await.unwrap();
        let dead = client.receiver("$dead/jobs", Qos::AtLeastOnce).await.unwrap();
        assert_eq!(dead.receive().await.unwrap().unwrap().message.payload().to_bytes(), "waits");
    }

    #[tokio::test]
    async fn a_log_is_read_and_not_taken_from() {
        let client = client().await;
        let settings = LogSettings { partitions: 1, ..LogSettings::default() };
        client.session().manage(Manage::DeclareLog("logs/l".parse().unwrap(), settings)).await.unwrap();
        let sender = client.sender().await.unwrap();
        for payload in ["a", "b"] {
            sender.send(message("logs/l", payload), Qos::AtLeastOnce).await.unwrap();
        }
        let next = async |receiver: &Receiver| {
            let found = receiver.receive().await.unwrap().unwrap();
            let payload = found.message.payload().to_bytes();
            found.accept().await.unwrap();
            payload
        };
        for _ in 0..2 {
            assert_eq!(next(&client.receiver("logs/l/0", Qos::AtLeastOnce).await.unwrap()).await, "a");
        }
        for payload in ["a", "b"] {
            let group = LogTerms::group("logs/l".parse().unwrap(), "g");
            assert_eq!(next(&client.log(group, Qos::AtLeastOnce).await.unwrap()).await, payload);
        }
    }

    #[tokio::test]
    async fn a_group_shares_what_it_follows() {
        let broker = Arc::new(Broker::new());
        let (one, other) = (Client::open(broker.clone(), Open::default()), Client::open(broker, Open::default()));
        let (one, other) = (one.await.unwrap(), other.await.unwrap());
        let first = one.receiver("$share/workers/jobs/#", Qos::AtLeastOnce).await.unwrap();
        let second = other.receiver("$share/workers/jobs/#", Qos::AtLeastOnce).await.unwrap();
        one.sender().await.unwrap().send(message("jobs/1", "x"), Qos::AtLeastOnce).await.unwrap();
        let shared = tokio::select! {
            job = first.receive() => (job, second),
            job = second.receive() => (job, first),
        };
        shared.0.unwrap().unwrap().accept().await.unwrap();
        let again = tokio::time::timeout(std::time::Duration::from_millis(50), shared.1.receive());
        assert!(again.await.is_err(), "it went to one of them");
    }

    #[tokio::test]
    async fn a_sender_asks_for_any_assurance() {
        let client = client().await;
        let _receiver = client.receiver("t", Qos::ExactlyOnce).await.unwrap();
        let sender = client.sender().await.unwrap();
        for qos in Qos::ALL {
            assert_eq!(sender.send(message("t", "x"), qos).await.unwrap().outcome, Outcome::Accepted);
        }
    }

    #[tokio::test]
    async fn what_is_neither_address_nor_filter_is_refused() {
        let error = client().await.receiver("a/#/b", Qos::AtMostOnce).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
}
