use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use arbitrary::Unstructured;
use roadbed_broker::Broker;
use roadbed_core::{
    Address, Condition, Confirm, Consumer, ConsumerTerms, Delivery, Disposition, Endpoint, Fut, Grant, Hold, Manage,
    Managed, ManualClock, Message, NodeDescription, Open, Outcome, Outgoing, Producer, ProducerTerms, Qos,
    QueueSettings, Session, Settled, Step, Time,
};

use super::model::{DELIVERIES_MAX, MESSAGES_MAX, Model, Place, Sent};
use super::{CONSUMERS, idle};

const QUEUE: &str = "queues/q";

/// A broker with one queue, a producer and consumers, each in a session of its own.
pub(super) struct Rig {
    broker: Broker,
    clock: Arc<ManualClock>,
    session: Box<dyn Session>,
    producer: Box<dyn Producer>,
    takers: Vec<Taker>,
}

struct Taker {
    session: Box<dyn Session>,
    consumer: Box<dyn Consumer>,
    /// Everything that it was ever given to settle, the newest last.
    given: Vec<(Delivery, u32)>,
}

impl Rig {
    pub(super) fn new(priorities: bool) -> Self {
        let clock = Arc::new(ManualClock::at(Time::from_millis(1_700_000_000_000)));
        let broker = Broker::builder().clock(clock.clone()).build().expect("an empty store can be read");
        let session = ready(broker.open(Open::default()));
        let mut settings = QueueSettings::default();
        (settings.messages_max, settings.deliveries_max, settings.priorities) =
            (MESSAGES_MAX, DELIVERIES_MAX, priorities);
        ready(session.manage(Manage::Declare(address(QUEUE), settings)));
        let (producer, _) = ready(session.producer(ProducerTerms::default()));
        let takers = (0..CONSUMERS).map(|by| Taker::new(&broker, by)).collect();
        Self { broker, clock, session, producer, takers }
    }

    pub(super) fn now(&self) -> Time {
        self.broker.now()
    }

    pub(super) fn send(&mut self, sent: &Sent) -> bool {
        let mut message = Message::builder(address(QUEUE), sent.number.to_be_bytes().to_vec())
            .priority(sent.priority)
            .expires_at(sent.expires_at);
        if let Some(at) = sent.deliver_after {
            message = message.details(|details| details.deliver_after = Some(at));
        }
        let (before, qos) = (self.copies_in(), if sent.asks { Qos::AtLeastOnce } else { Qos::AtMostOnce });
        let outgoing = Outgoing { cookie: sent.number.into(), message: message.build(), qos, key: None, txn: None };
        self.producer.send(&mut vec![outgoing]);
        let mut confirms = Vec::new();
        let _ = self.producer.poll_confirms(&mut idle(), &mut confirms);
        let taken = self.copies_in() > before;
        match &confirms[..] {
            [] => assert!(!sent.asks),
            [Confirm { cookie, outcome, .. }] => {
                assert_eq!((*cookie, *outcome == Outcome::Accepted), (sent.number.into(), taken));
            }
            more => panic!("{more:?}"),
        }
        taken
    }

    fn copies_in(&self) -> u64 {
        self.broker.counters().copies_in
    }

    /// Takes what there is for `credit`, and checks each delivery.
    pub(super) fn receive(&mut self, by: usize, credit: u32, model: &mut Model) {
        let taker = &mut self.takers[by];
        taker.consumer.grant(Grant::credit(credit));
        let mut deliveries = Vec::new();
        while let Poll::Ready(got) = taker.consumer.poll_receive(&mut idle(), &mut deliveries, 3) {
            assert_ne!(got.expect("a link that lives"), 0, "nothing was drained");
        }
        for delivery in deliveries.iter() {
            let copy = model.acquire(by, lease(by)).unwrap_or_else(|| panic!("nobody sent {delivery:?}"));
            assert_eq!(number(delivery), copy.sent.number, "the next in order");
            assert_eq!(delivery.attempt, copy.attempts);
            assert_eq!(delivery.handle.is_some(), copy.sent.asks);
            let info = delivery.info.as_ref().expect("asked for");
            assert_eq!(info.count, copy.failures);
        }
        assert!(deliveries.len() as u32 <= credit);
        let left = model.count(|place| *place == Place::Available);
        assert!(left == 0 || deliveries.len() as u32 == credit, "{left} were left behind");
        taker.consumer.grant(Grant::credit(0));
        taker.given.extend(deliveries.into_iter().filter(|d| d.handle.is_some()).map(|d| (d.clone(), d.attempt)));
    }

    /// Settles one of the last deliveries of `by`, or asks once more about one that has ended.
    pub(super) fn settle(&mut self, u: &mut Unstructured<'_>, by: usize, model: &mut Model) -> arbitrary::Result<()> {
        let (bits, back) = (u.arbitrary::<u8>()?, usize::from(u.arbitrary::<u8>()?));
        let outcome = match bits % 5 {
            0 | 1 => Outcome::Accepted,
            2 => Outcome::rejected(Condition::Refused),
            3 => Outcome::Released,
            _ => Outcome::FAILED,
        };
        let step = match bits & 192 {
            192 => Step::Settle,
            128 => Step::Outcome { outcome, settled: false },
            _ => Step::Outcome { outcome, settled: true },
        };
        let Some((delivery, attempt)) = self.takers[by].pick(back) else { return Ok(()) };
        let settled = self.takers[by].step(&delivery, step.clone());
        let number = number(&delivery);
        let Some(copy) = model.held(number, attempt) else {
            assert!(matches!(settled, Settled::Late | Settled::Repeated), "{settled:?} after the end");
            return Ok(());
        };
        let Place::Held { decided, .. } = &mut copy.place else { unreachable!("it is held") };
        let (answer, ended) = match step {
            Step::Outcome { settled: false, .. } if decided.is_some() => (Settled::Repeated, None),
            Step::Outcome { outcome, settled: false } => {
                *decided = Some(outcome);
                (Settled::Applied, None)
            }
            Step::Outcome { outcome, .. } => (Settled::Applied, Some(decided.take().unwrap_or(outcome))),
            _ => (Settled::Applied, Some(decided.take().unwrap_or(Outcome::Accepted))),
        };
        assert_eq!(settled, answer);
        if let Some(outcome) = ended {
            model.end(number, &outcome);
        }
        Ok(())
    }

    pub(super) fn renew(&mut self, u: &mut Unstructured<'_>, by: usize, model: &mut Model) -> arbitrary::Result<()> {
        let back = usize::from(u.arbitrary::<u8>()?);
        let (Some(lease), Some((delivery, attempt))) = (lease(by), self.takers[by].pick(back)) else { return Ok(()) };
        let (settled, now) = (self.takers[by].step(&delivery, Step::Renew), self.now());
        match model.held(number(&delivery), attempt).map(|copy| &mut copy.place) {
            Some(Place::Held { until, decided: None, .. }) => {
                *until = Some(now + lease);
                assert_eq!(settled, Settled::Renewed(now + lease));
            }
            // Decided, a lease means nothing any more.
            Some(Place::Held { until, .. }) => assert_eq!(Some(settled), until.map(Settled::Renewed)),
            _ => assert!(matches!(settled, Settled::Late | Settled::Repeated), "{settled:?} after the end"),
        }
        Ok(())
    }

    pub(super) fn advance(&mut self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
        self.broker.handle_timeout(self.broker.now());
    }

    /// The connection of `by` is lost, and comes back: what it held without a lease lapses.
    pub(super) fn reattach(&mut self, by: usize, model: &mut Model) {
        self.takers[by] = Taker::new(&self.broker, by);
        for number in 0..model.next_number() {
            match model.copies[number as usize].place.clone() {
                Place::Held { by: owner, until: None, decided } if owner == by => {
                    model.end(number, &decided.unwrap_or(Outcome::FAILED));
                }
                _ => {}
            }
        }
    }

    pub(super) fn purge(&mut self) -> u64 {
        match ready(self.session.manage(Manage::Purge(address(QUEUE)))) {
            Managed::Done(count) => count,
            other => panic!("{other:?}"),
        }
    }

    /// The queue has what the model has.
    pub(super) fn compare(&self, model: &Model) {
        let node = self.describe(QUEUE);
        let found = [node.available, node.held, node.scheduled];
        let available = model.count(|place| *place == Place::Available);
        let held = model.count(|place| matches!(place, Place::Held { .. }));
        let scheduled = model.count(|place| *place == Place::Scheduled);
        assert_eq!(found, [available, held, scheduled].map(|count| count as u64), "{model:#?}");
        assert_eq!(node.bytes == 0, found == [0; 3], "no bytes without messages");
    }

    fn describe(&self, name: &str) -> NodeDescription {
        match ready(self.session.manage(Manage::Describe(address(name)))) {
            Managed::Description(node) => *node,
            other => panic!("{other:?}"),
        }
    }

    /// The dead letters are those of the model, each once.
    pub(super) fn autopsy(&mut self, model: &Model) {
        let dead: Vec<_> =
            model.copies.iter().filter(|copy| copy.place == Place::Dead).map(|c| c.sent.number).collect();
        if dead.is_empty() {
            return assert_eq!(self.broker.counters().dead_lettered, 0);
        }
        let (mut consumer, _) = ready(self.session.consumer(ConsumerTerms::queue(address("$dead/q"))));
        consumer.grant(Grant::credit(Grant::UNLIMITED));
        let mut deliveries = Vec::new();
        while let Poll::Ready(got) = consumer.poll_receive(&mut idle(), &mut deliveries, 100) {
            got.expect("a link that lives");
        }
        let mut found: Vec<_> = deliveries.iter().map(number).collect();
        found.sort_unstable();
        assert_eq!(found, dead);
    }
}

impl Taker {
    fn new(broker: &Broker, by: usize) -> Self {
        let session = ready(broker.open(Open::default()));
        let hold = lease(by).map_or(Hold::Link, Hold::Lease);
        let terms = ConsumerTerms { hold, ..ConsumerTerms::queue(address(QUEUE)) };
        let (consumer, _) = ready(session.consumer(terms));
        Self { session, consumer, given: Vec::new() }
    }

    fn pick(&self, back: usize) -> Option<(Delivery, u32)> {
        self.given.iter().rev().nth(back % self.given.len().clamp(1, 8)).cloned()
    }

    /// By the handle, or from elsewhere by the durable name.
    fn step(&mut self, delivery: &Delivery, step: Step) -> Settled {
        let handle = delivery.handle.expect("to be settled");
        let id = delivery.info.as_ref().expect("asked for").id;
        let by_id = step == Step::Renew;
        let delivery = if by_id { id.into() } else { handle.into() };
        let batch = vec![Disposition { delivery, cookie: Some(7), step }];
        let mut dones = Vec::new();
        if by_id {
            dones = ready(self.session.settle(batch));
        } else {
            self.consumer.settle(&mut { batch });
            assert!(self.consumer.poll_settled(&mut idle(), &mut dones).is_ready(), "an answer");
        }
        let [done] = <[_; 1]>::try_from(dones).expect("one answer");
        done.result.expect("a step that is legal")
    }
}

/// The second and the third hold by lease.
fn lease(by: usize) -> Option<Duration> {
    [None, Some(Duration::from_secs(5)), Some(Duration::from_secs(60))][by]
}

fn number(delivery: &Delivery) -> u32 {
    let bytes = delivery.message.payload().to_bytes();
    u32::from_be_bytes(bytes[..].try_into().expect("a number as the payload"))
}

fn address(name: &str) -> Address {
    Address::new(name).expect("a legal name")
}

/// What a broker in memory does at once.
fn ready<T>(mut future: Fut<T>) -> T {
    match future.as_mut().poll(&mut idle()) {
        Poll::Ready(done) => done.expect("a request that is legal"),
        Poll::Pending => panic!("nothing here waits"),
    }
}
