//! What the broker's tests share: a broker on a clock that stands still, and its traits driven by hand.
#![allow(
    dead_code,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    reason = "each test binary uses its own part"
)]

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::executor::block_on;
use roadbed_broker::{Broker, Builder, Counters, MemoryStore, Settings};
use roadbed_core::*;

pub const START: Time = Time::from_millis(1_700_000_000_000);

pub struct Bench {
    pub broker: Broker,
    pub clock: Arc<ManualClock>,
    pub store: MemoryStore,
}

impl Bench {
    pub fn new() -> Self {
        Self::with(Settings::default())
    }

    pub fn with(settings: Settings) -> Self {
        Self::on(settings, MemoryStore::new(), Arc::new(ManualClock::at(START)))
    }

    pub fn on(settings: Settings, store: MemoryStore, clock: Arc<ManualClock>) -> Self {
        let builder: Builder = Broker::builder().settings(settings).clock(clock.clone()).store(store.clone());
        Self { broker: builder.build().unwrap(), clock, store }
    }

    /// The same store, in a broker that starts anew.
    pub fn reopen(self) -> Self {
        let Self { broker, clock, store } = self;
        let settings = broker.settings().clone();
        drop(broker);
        Self::on(settings, store, clock)
    }

    pub fn session(&self, open: Open) -> Box<dyn Session> {
        block_on(self.broker.open(open)).unwrap()
    }

    pub fn anonymous(&self) -> Client {
        Client::new(self.session(Open::default()))
    }

    pub fn named(&self, name: &str, expiry_seconds: u64) -> Client {
        Client::new(self.session(kept(name, expiry_seconds)))
    }

    pub fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
        self.broker.handle_timeout(self.broker.now());
    }

    pub fn counters(&self) -> Counters {
        self.broker.counters()
    }
}

pub fn kept(name: &str, expiry_seconds: u64) -> Open {
    Open {
        name: Some(name.into()),
        resume: true,
        expiry: Duration::from_secs(expiry_seconds),
        origin: Arc::new(Origin { principal: "alice".into(), protocol: "test" }),
        ..Open::default()
    }
}

/// A session with a producer without an address and, once asked for, its own consumer.
pub struct Client {
    pub consumer: Option<Box<dyn Consumer>>,
    pub producer: Box<dyn Producer>,
    pub attached: Attached,
    pub session: Box<dyn Session>,
}

impl Client {
    pub fn new(session: Box<dyn Session>) -> Self {
        let (producer, _) = block_on(session.producer(ProducerTerms::default())).unwrap();
        Self { session, producer, consumer: None, attached: Attached::default() }
    }

    pub fn listen(&mut self) -> &mut Self {
        self.listen_as(ConsumerTerms::session())
    }

    pub fn listen_as(&mut self, terms: ConsumerTerms) -> &mut Self {
        let (mut consumer, attached) = block_on(self.session.consumer(terms)).unwrap();
        consumer.grant(Grant::credit(u32::MAX));
        (self.consumer, self.attached) = (Some(consumer), attached);
        self
    }

    pub fn queue(&self, terms: ConsumerTerms) -> Box<dyn Consumer> {
        let (mut consumer, _) = block_on(self.session.consumer(terms)).unwrap();
        consumer.grant(Grant::credit(u32::MAX));
        consumer
    }

    pub fn bind(&mut self, binding: Binding) -> Granted {
        if self.consumer.is_none() {
            self.listen();
        }
        let consumer = self.consumer.as_mut().unwrap();
        block_on(consumer.bind(vec![binding])).unwrap().remove(0).unwrap()
    }

    pub fn follow(&mut self, filter: &str, qos: Qos) -> Granted {
        self.bind(Binding::new(filter.parse().unwrap(), qos))
    }

    pub fn share(&mut self, group: &str, filter: &str, qos: Qos) -> Granted {
        self.bind(Binding { share: Some(group.into()), ..Binding::new(filter.parse().unwrap(), qos) })
    }

    pub fn send(&mut self, message: Message, qos: Qos) -> Option<Confirm> {
        self.send_as(outgoing(message, qos))
    }

    pub fn send_as(&mut self, outgoing: Outgoing) -> Option<Confirm> {
        self.producer.send(&mut vec![outgoing]);
        self.confirms().pop()
    }

    pub fn confirms(&mut self) -> Vec<Confirm> {
        let mut confirms = Vec::new();
        let polled = self.producer.poll_confirms(&mut cx(), &mut confirms);
        assert!(!matches!(polled, Poll::Ready(Err(_))), "{polled:?}");
        confirms
    }

    pub fn take(&mut self) -> Vec<Delivery> {
        receive(self.consumer.as_mut().unwrap())
    }

    pub fn accept(&mut self, delivery: &Delivery) {
        settle(self.consumer.as_mut().unwrap(), delivery, Outcome::Accepted);
    }

    pub fn close(self) {
        let Self { consumer, producer, session, .. } = self;
        drop((consumer, producer));
        block_on(session.close(Close::default())).unwrap();
    }

    /// The connection is lost.
    pub fn lose(self) {
        drop(self);
    }
}

pub fn cx() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

pub fn outgoing(message: Message, qos: Qos) -> Outgoing {
    Outgoing { cookie: 1, message, qos, key: None, txn: None }
}

pub fn text(address: &str, payload: &'static str) -> Message {
    Message::new(address.parse().unwrap(), payload)
}

pub fn stored(address: &str, payload: &'static str) -> Message {
    Message::builder(address.parse().unwrap(), payload).durability(Durability::Stored).build()
}

pub fn receive(consumer: &mut Box<dyn Consumer>) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    let polled = consumer.poll_receive(&mut cx(), &mut deliveries, 1_000_000);
    assert!(!matches!(polled, Poll::Ready(Err(_))), "{polled:?}");
    deliveries
}

pub fn settle(consumer: &mut Box<dyn Consumer>, delivery: &Delivery, outcome: Outcome) {
    step(consumer, delivery, Step::Outcome { outcome, settled: true }).unwrap();
}

pub fn step(consumer: &mut Box<dyn Consumer>, delivery: &Delivery, step: Step) -> Result<Settled> {
    let handle = delivery.handle.expect("to be settled");
    step_at(consumer, handle.into(), step)
}

pub fn step_at(consumer: &mut Box<dyn Consumer>, delivery: DeliveryRef, step: Step) -> Result<Settled> {
    consumer.settle(&mut vec![Disposition { delivery, cookie: Some(7), step }]);
    let mut dones = Vec::new();
    assert!(consumer.poll_settled(&mut cx(), &mut dones).is_ready(), "an answer");
    assert_eq!(dones.len(), 1);
    dones.remove(0).result
}

pub fn payloads(deliveries: &[Delivery]) -> Vec<String> {
    let text = |delivery: &Delivery| String::from_utf8(delivery.message.payload().to_bytes().to_vec()).unwrap();
    deliveries.iter().map(text).collect()
}

pub fn queue(name: &str) -> ConsumerTerms {
    ConsumerTerms::queue(name.parse().unwrap())
}

pub const ONE: Qos = Qos::AtLeastOnce;
pub const TWO: Qos = Qos::ExactlyOnce;
pub const ZERO: Qos = Qos::AtMostOnce;

/// A waker that raises a flag.
pub fn flag() -> (Arc<std::sync::atomic::AtomicBool>, Waker) {
    struct Flag(Arc<std::sync::atomic::AtomicBool>);
    impl std::task::Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    }
    let raised = Arc::new(std::sync::atomic::AtomicBool::new(false));
    (raised.clone(), Waker::from(Arc::new(Flag(raised))))
}
