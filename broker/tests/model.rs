//! Session queues and queues against a naive model, which runs the core's delivery machine for every step: so the shortcuts
//! of the plain path are the machine. Checked on every step: a copy has one owner (I2), what has ended stays so (I3), counts
//! are exact (I4), order is kept (I6), bytes charged are bytes held (I7), and nothing is lost or made (I10).

mod support;

use futures::executor::block_on;
use proptest::prelude::*;
use roadbed_core::*;
use support::*;

#[derive(Clone, Debug)]
enum Op {
    Send(u8),
    Receive(usize),
    Step(prop::sample::Index, Step),
    /// The consumer is lost, and attached anew.
    Lose,
    Expire,
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        4 => Just(Outcome::Accepted),
        1 => Just(Outcome::Released),
        1 => Just(Outcome::FAILED),
        1 => Just(Outcome::rejected(Condition::Refused)),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let step = prop_oneof![
        3 => (outcome(), any::<bool>()).prop_map(|(outcome, settled)| Step::Outcome { outcome, settled }),
        1 => Just(Step::Settle),
    ];
    prop_oneof![
        4 => (1..4_u8).prop_map(Op::Send),
        3 => (1..5_usize).prop_map(Op::Receive),
        6 => (any::<prop::sample::Index>(), step).prop_map(|(at, step)| Op::Step(at, step)),
        1 => Just(Op::Lose),
        1 => Just(Op::Expire),
    ]
}

#[derive(Debug)]
enum Place {
    Waiting,
    Held(Handle, DeliveryState),
    Ended,
}

#[derive(Debug)]
struct Copy {
    number: u64,
    count: u32,
    expires: bool,
    place: Place,
}

struct Model {
    bench: Bench,
    client: Client,
    terms: ConsumerTerms,
    address: Address,
    copies: Vec<Copy>,
    /// Every delivery there ever was, with its copy.
    handles: Vec<(Handle, usize)>,
    cost: usize,
}

impl Model {
    fn new(terms: ConsumerTerms, address: &str) -> Self {
        let bench = Bench::new();
        let mut client = bench.anonymous();
        let address: Address = address.parse().unwrap();
        if address.queue().is_some() {
            let settings = QueueSettings { deliveries_max: 0, dead_letters: false, ..QueueSettings::default() };
            block_on(client.session.manage(Manage::Declare(address.clone(), settings))).unwrap();
        }
        client.listen_as(terms.clone());
        if terms.node == Node::Session {
            client.follow(address.as_str(), TWO);
        }
        let cost = Message::new(address.clone(), vec![0; 8]).cost();
        Self { bench, client, terms, address, copies: Vec::new(), handles: Vec::new(), cost }
    }

    fn run(&mut self, op: Op) -> std::result::Result<(), TestCaseError> {
        match op {
            Op::Send(count) => (0..count).for_each(|n| self.send(n == 1)),
            Op::Receive(max) => self.receive(max)?,
            Op::Step(at, step) if !self.handles.is_empty() => {
                let (handle, copy) = self.handles[at.index(self.handles.len())];
                self.step(handle, copy, step)?;
            }
            Op::Step(..) => {}
            Op::Lose => self.lose(),
            Op::Expire => self.expire(),
        }
        self.check()
    }

    fn send(&mut self, expires: bool) {
        let number = self.copies.len() as u64;
        let at = expires.then(|| self.bench.broker.now() + std::time::Duration::from_secs(100));
        let message = Message::builder(self.address.clone(), number.to_be_bytes().to_vec()).expires_at(at).build();
        assert_eq!(self.client.send(message, TWO).unwrap().outcome, Outcome::Accepted);
        self.copies.push(Copy { number, count: 0, expires, place: Place::Waiting });
    }

    fn receive(&mut self, max: usize) -> std::result::Result<(), TestCaseError> {
        let mut got = Vec::new();
        let _ = self.client.consumer.as_mut().unwrap().poll_receive(&mut cx(), &mut got, max);
        let waiting = (0..self.copies.len()).filter(|at| matches!(self.copies[*at].place, Place::Waiting));
        let expected: Vec<usize> = waiting.take(max).collect();
        let numbers: Vec<u64> = got.iter().map(number).collect();
        let wanted: Vec<u64> = expected.iter().map(|at| self.copies[*at].number).collect();
        prop_assert_eq!(numbers, wanted);
        for (delivery, at) in got.iter().zip(expected) {
            let info = delivery.info.as_ref().unwrap();
            prop_assert_eq!(info.count, self.copies[at].count);
            let handle = delivery.handle.unwrap();
            self.copies[at].place = Place::Held(handle, DeliveryState::InFlight);
            self.handles.push((handle, at));
        }
        Ok(())
    }

    fn step(&mut self, handle: Handle, at: usize, what: Step) -> std::result::Result<(), TestCaseError> {
        let answer = step_at(self.client.consumer.as_mut().unwrap(), handle.into(), what.clone());
        let state = match &self.copies[at].place {
            Place::Held(current, state) if *current == handle => state.clone(),
            _ => {
                prop_assert!(matches!(answer, Ok(Settled::Late | Settled::Repeated)), "{:?}", answer);
                return Ok(());
            }
        };
        let event = match what {
            Step::Outcome { outcome, settled } => Event::Dispose { outcome, settled },
            _ => Event::Settle,
        };
        match state.on(event) {
            Err(_) => prop_assert!(answer.is_err()),
            Ok((_, Note::Repeat)) => prop_assert_eq!(answer.unwrap(), Settled::Repeated),
            Ok((state, _)) => {
                prop_assert_eq!(answer.unwrap(), Settled::Applied);
                self.put(at, handle, state);
            }
        }
        Ok(())
    }

    fn put(&mut self, at: usize, handle: Handle, state: DeliveryState) {
        let copy = &mut self.copies[at];
        copy.place = match state {
            DeliveryState::Settled(outcome) if outcome.is_final() => Place::Ended,
            DeliveryState::Settled(outcome) => {
                copy.count += u32::from(outcome.counts());
                Place::Waiting
            }
            state => Place::Held(handle, state),
        };
    }

    fn lose(&mut self) {
        self.client.consumer = None;
        for at in 0..self.copies.len() {
            if let Place::Held(handle, state) = &self.copies[at].place {
                let (handle, state) = (*handle, state.clone());
                let (state, _) = state.on(Event::Lapse(Outcome::FAILED)).unwrap();
                self.put(at, handle, state);
            }
        }
        self.client.listen_as(self.terms.clone());
    }

    fn expire(&mut self) {
        self.bench.advance(100);
        for copy in &mut self.copies {
            if std::mem::take(&mut copy.expires) && matches!(copy.place, Place::Waiting) {
                copy.place = Place::Ended;
            } else if matches!(copy.place, Place::Held(..)) {
                copy.expires = false;
            }
        }
    }

    fn check(&self) -> std::result::Result<(), TestCaseError> {
        if self.terms.node == Node::Session {
            return Ok(());
        }
        let Managed::Description(description) =
            block_on(self.client.session.manage(Manage::Describe(self.address.clone()))).unwrap()
        else {
            unreachable!("a description was asked for")
        };
        let waiting = self.copies.iter().filter(|copy| matches!(copy.place, Place::Waiting)).count();
        let held = self.copies.iter().filter(|copy| matches!(copy.place, Place::Held(..))).count();
        prop_assert_eq!((description.available, description.held), (waiting as u64, held as u64));
        prop_assert_eq!(description.bytes, ((waiting + held) * self.cost) as u64);
        Ok(())
    }
}

fn number(delivery: &Delivery) -> u64 {
    let bytes = delivery.message.payload().to_bytes();
    u64::from_be_bytes(bytes[..].try_into().unwrap())
}

fn no_expiry(ops: Vec<Op>) -> Vec<Op> {
    // A held copy that has expired ends when it is given back; the model keeps to what cannot expire.
    ops.into_iter().filter(|op| !matches!(op, Op::Expire)).collect()
}

proptest! {
    #[test]
    fn a_queue_is_its_model(ops in prop::collection::vec(op(), 1..60)) {
        let mut model = Model::new(queue("queues/q"), "queues/q");
        for op in no_expiry(ops) {
            model.run(op)?;
        }
    }

    #[test]
    fn a_session_queue_is_its_model(ops in prop::collection::vec(op(), 1..60)) {
        let terms = ConsumerTerms { info: true, hold: Hold::Link, ..ConsumerTerms::session() };
        let mut model = Model::new(terms, "a/b");
        for op in no_expiry(ops) {
            model.run(op)?;
        }
    }

    #[test]
    fn what_waits_expires(ops in prop::collection::vec(op(), 1..60)) {
        let mut model = Model::new(queue("queues/q"), "queues/q");
        for op in ops {
            if !matches!(op, Op::Receive(_)) {
                model.run(op)?;
            }
        }
        model.receive(1000)?;
    }
}
