//! The broker without a protocol: its traits, polled by hand on one thread.

use std::fmt;
use std::task::{Context, Poll, Waker};

use roadbed_broker::Broker;
use roadbed_core::{
    Address, Binding, Confirm, Consumer, ConsumerTerms, Delivery, Disposition, Endpoint, Fut, Grant, LogSettings,
    LogTerms, Manage, Message, Open, Outcome, Outgoing, Producer, ProducerTerms, Qos, Session, Step,
};

/// A session that sends.
pub struct Sending {
    producer: Box<dyn Producer>,
    batch: Vec<Outgoing>,
    confirms: Vec<Confirm>,
    _session: Box<dyn Session>,
}

/// A session that receives.
pub struct Receiving {
    consumer: Box<dyn Consumer>,
    deliveries: Vec<Delivery>,
    dispositions: Vec<Disposition>,
    _session: Box<dyn Session>,
}

impl Sending {
    /// A new session of `broker`.
    pub fn new(broker: &Broker) -> Self {
        let session = ready(broker.open(Open::default()));
        let (producer, _) = ready(session.producer(ProducerTerms::default()));
        Self { producer, batch: Vec::new(), confirms: Vec::new(), _session: session }
    }

    /// Sends a message to each address, and waits for its confirm if there will be one.
    pub fn send<'a>(&mut self, addresses: impl Iterator<Item = &'a Address>, payload: &'static [u8], qos: Qos) {
        self.confirms.clear();
        let outgoing = |(cookie, address): (u64, &Address)| {
            let message = Message::new(address.clone(), payload);
            Outgoing { cookie, message, qos, key: None, txn: None }
        };
        self.batch.extend((0..).zip(addresses).map(outgoing));
        let sent = self.batch.len();
        self.producer.send(&mut self.batch);
        assert!(self.batch.is_empty(), "a broker takes all");
        if qos > Qos::AtMostOnce {
            let polled = self.producer.poll_confirms(&mut idle(), &mut self.confirms);
            assert!(polled.is_ready() && self.confirms.len() == sent, "all are confirmed at once");
        }
    }
}

impl Receiving {
    /// A session that follows `filter`.
    pub fn following(broker: &Broker, filter: &str, qos: Qos) -> Self {
        let mut this = Self::on(broker, ConsumerTerms::session());
        let binding = Binding::new(filter.parse().expect("a legal filter"), qos);
        ready(this.consumer.bind(vec![binding]));
        this
    }

    /// A session that takes from the queue at `address`.
    pub fn taking(broker: &Broker, address: &Address) -> Self {
        Self::on(broker, ConsumerTerms { info: false, ..ConsumerTerms::queue(address.clone()) })
    }

    /// A session that reads a log.
    pub fn reading(broker: &Broker, terms: LogTerms) -> Self {
        Self::on(broker, ConsumerTerms::log(terms))
    }

    fn on(broker: &Broker, terms: ConsumerTerms) -> Self {
        let session = ready(broker.open(Open::default()));
        let (mut consumer, _) = ready(session.consumer(terms));
        consumer.grant(Grant::credit(Grant::UNLIMITED));
        Self { consumer, deliveries: Vec::new(), dispositions: Vec::new(), _session: session }
    }

    /// Takes all that there is, settles it, and says how many that were.
    pub fn take(&mut self) -> usize {
        self.deliveries.clear();
        while let Poll::Ready(got) = self.consumer.poll_receive(&mut idle(), &mut self.deliveries, 256) {
            got.expect("a link that lives");
        }
        let handles = self.deliveries.iter().filter_map(|delivery| delivery.handle);
        self.dispositions.extend(handles.map(|handle| Disposition {
            delivery: handle.into(),
            cookie: None,
            step: Step::Outcome { outcome: Outcome::Accepted, settled: true },
        }));
        if !self.dispositions.is_empty() {
            self.consumer.settle(&mut self.dispositions);
        }
        self.deliveries.len()
    }
}

/// A log of one partition, which keeps so many bytes.
pub fn declare_log(broker: &Broker, log: &str, bytes_max: u64) {
    let settings = LogSettings { partitions: 1, bytes_max, ..LogSettings::default() };
    let declared = Manage::DeclareLog(log.parse().expect("a legal name"), settings);
    ready(ready(broker.open(Open::default())).manage(declared));
}

/// What a broker in memory does at once.
pub fn ready<T>(mut future: Fut<T>) -> T {
    match future.as_mut().poll(&mut idle()) {
        Poll::Ready(done) => done.expect("a request that is legal"),
        Poll::Pending => panic!("nothing here waits"),
    }
}

/// A context that wakes nobody: everything here is asked again.
fn idle() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

impl fmt::Debug for Sending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sending").finish_non_exhaustive()
    }
}

impl fmt::Debug for Receiving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiving").finish_non_exhaustive()
    }
}
