//! Many threads on one broker: nothing is lost, doubled or reordered.

mod support;

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use futures::executor::block_on;
use roadbed_broker::Broker;
use roadbed_core::*;
use support::*;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Receives until `count` messages have come, settling as it goes.
fn drain(consumer: &mut Box<dyn Consumer>, count: usize) -> Vec<(u8, u32)> {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    let (mut all, mut got, mut batch) = (Vec::new(), Vec::new(), Vec::new());
    while all.len() < count {
        match consumer.poll_receive(&mut cx, &mut got, 64) {
            Poll::Pending => thread::park(),
            Poll::Ready(polled) => {
                polled.unwrap();
                for delivery in got.drain(..) {
                    let bytes = delivery.message.payload().to_bytes();
                    all.push((bytes[0], u32::from_be_bytes(bytes[1..5].try_into().unwrap())));
                    if let Some(handle) = delivery.handle {
                        let step = Step::Outcome { outcome: Outcome::Accepted, settled: true };
                        batch.push(Disposition { delivery: handle.into(), cookie: None, step });
                    }
                }
                consumer.settle(&mut batch);
            }
        }
    }
    all
}

fn receive_all(mut client: Client, count: usize) -> Vec<(u8, u32)> {
    drain(client.consumer.as_mut().unwrap(), count)
}

fn publish(broker: &Broker, address: &str, publisher: u8, count: u32, durability: Durability) {
    let mut client = Client::new(block_on(broker.open(Open::default())).unwrap());
    let address: Address = address.parse().unwrap();
    for n in 0..count {
        let mut payload = vec![publisher];
        payload.extend(n.to_be_bytes());
        let message = Message::builder(address.clone(), payload).durability(durability).build();
        client.producer.send(&mut vec![outgoing(message, ONE)]);
    }
}

fn in_order(all: &[(u8, u32)]) {
    for publisher in 0..4 {
        let numbers: Vec<u32> = all.iter().filter(|(from, _)| *from == publisher).map(|(_, n)| *n).collect();
        assert!(numbers.is_sorted(), "in order for each publisher");
    }
}

const EACH: u32 = 3_000;

fn fan(address: &str, terms: &ConsumerTerms, durability: Durability, consumers: usize) -> Vec<Vec<(u8, u32)>> {
    let broker = Broker::new();
    let total = 4 * EACH as usize;
    let shared = terms.node != Node::Session;
    let share = if shared { total / consumers } else { total };
    let ready: Vec<Client> = (0..consumers)
        .map(|n| {
            let mut client = Client::new(block_on(broker.open(kept(&n.to_string(), 60))).unwrap());
            client.listen_as(terms.clone());
            if !shared {
                client.follow(address, ONE);
            }
            client.consumer.as_mut().unwrap().grant(Grant::credit(share as u32));
            client
        })
        .collect();
    thread::scope(|scope| {
        for publisher in 0..4 {
            let broker = &broker;
            scope.spawn(move || publish(broker, address, publisher, EACH, durability));
        }
        let receiving: Vec<_> =
            ready.into_iter().map(|client| scope.spawn(move || receive_all(client, share))).collect();
        receiving.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn every_session_gets_everything_in_order() {
    for durability in [Durability::Volatile, Durability::Stored] {
        for mut all in fan("a/b", &ConsumerTerms::session(), durability, 2) {
            in_order(&all);
            all.sort_unstable();
            all.dedup();
            assert_eq!(all.len(), 4 * EACH as usize);
        }
    }
}

#[test]
fn competitors_share_without_loss() {
    for durability in [Durability::Volatile, Durability::Stored] {
        let taken = fan("queues/q", &queue("queues/q"), durability, 3);
        taken.iter().for_each(|all| in_order(all));
        let mut all: Vec<_> = taken.into_iter().flatten().collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 4 * EACH as usize);
    }
}

#[test]
fn sessions_that_compete_by_a_filter_share_without_loss() {
    let broker = Broker::new();
    let total = 4 * EACH as usize;
    let taken = std::sync::atomic::AtomicUsize::new(0);
    let ready: Vec<Client> = (0..3)
        .map(|_| {
            let mut client = Client::new(block_on(broker.open(Open::default())).unwrap());
            client.follow("queues/+", ONE);
            client.share("g", "shared", ONE);
            client
        })
        .collect();
    thread::scope(|scope| {
        for publisher in 0..4 {
            let (broker, address) = (&broker, if publisher % 2 == 0 { "queues/q" } else { "shared" });
            scope.spawn(move || publish(broker, address, publisher, EACH, Durability::Volatile));
        }
        for mut client in ready {
            let taken = &taken;
            scope.spawn(move || {
                let (mut session, mut got) = (client.consumer.take().unwrap(), Vec::new());
                while taken.load(std::sync::atomic::Ordering::SeqCst) < total {
                    let polled = session.poll_receive(&mut cx(), &mut got, 16);
                    assert!(!matches!(polled, Poll::Ready(Err(_))));
                    for delivery in got.drain(..) {
                        settle(&mut session, &delivery, Outcome::Accepted);
                        taken.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    }
                    thread::yield_now();
                }
                drop((session, client));
            });
        }
    });
    assert_eq!(taken.into_inner(), total);
    assert_eq!(broker.counters().accepted, total as u64);
}

/// Of connections that open one name at the same time, one has the session in the end, and it works.
#[test]
fn one_of_many_takes_a_name() {
    let broker = Broker::new();
    for round in 0..50_u64 {
        let resume = round % 2 == 0;
        let expiry = std::time::Duration::from_secs(round % 3);
        let open = || Open { resume, expiry, ..kept("device", 0) };
        let sessions: Vec<Box<dyn Session>> = thread::scope(|scope| {
            let opening: Vec<_> = (0..4).map(|_| scope.spawn(|| block_on(broker.open(open())).unwrap())).collect();
            opening.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(
            sessions.iter().filter(|session| session.poll_event(&mut cx()).is_pending()).count(),
            1,
            "round {round}"
        );
        assert_eq!((broker.counters().sessions, broker.counters().sessions_connected), (1, 1));
        for session in sessions {
            block_on(session.close(Close::default())).unwrap();
        }
        assert_eq!(broker.counters().sessions_connected, 0);
        block_on(block_on(broker.open(kept("device", 0))).unwrap().close(Close::default())).unwrap();
        assert_eq!(broker.counters().sessions, 0);
    }
}
