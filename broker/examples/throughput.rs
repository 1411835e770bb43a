//! CPU of the broker alone, without wire or runtime: `cargo run --release -p roadbed-broker --example throughput`.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use futures::executor::block_on;
use roadbed_broker::Broker;
use roadbed_core::{
    Address, Binding, Confirm, Consumer, ConsumerTerms, Delivery, DeliveryRef, Disposition, Done, Endpoint, Grant, Key,
    Message, Open, Outcome, Outgoing, Payload, Producer, ProducerTerms, Qos, Session, Step,
};

/// Counts allocations and bytes, so that the figures per message and per session are exact.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);
static BYTES: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is handed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        BYTES.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Peer {
    producer: Box<dyn Producer>,
    consumer: Box<dyn Consumer>,
    _session: Box<dyn Session>,
}

fn peer(broker: &Broker, filter: Option<&str>) -> Peer {
    let session = block_on(broker.open(Open { window: 1000, ..Open::default() })).expect("open");
    let (producer, _) = block_on(session.producer(ProducerTerms::default())).expect("producer");
    let (mut consumer, _) = block_on(session.consumer(ConsumerTerms::session())).expect("consumer");
    consumer.grant(Grant::credit(u32::MAX));
    if let Some(filter) = filter {
        let binding = Binding::new(filter.parse().expect("a filter"), Qos::ExactlyOnce);
        block_on(consumer.bind(vec![binding])).expect("bound");
    }
    Peer { producer, consumer, _session: session }
}

#[derive(Default)]
struct Buffers {
    out: Vec<Outgoing>,
    got: Vec<Delivery>,
    steps: Vec<Disposition>,
    second: Vec<Disposition>,
    confirms: Vec<Confirm>,
    dones: Vec<Done>,
    keys: Vec<Key>,
}

/// One turn: `from` sends `batch` messages, each of `to` receives and settles them.
fn turn(from: &mut Peer, to: &mut [Peer], address: &Address, payload: &[u8], qos: Qos, batch: usize, b: &mut Buffers) {
    let mut cx = Context::from_waker(Waker::noop());
    for n in 0..batch {
        let message = Message::new(address.clone(), Payload::copy_from_slice(payload));
        let key = (qos == Qos::ExactlyOnce).then_some(Key::Number(n as u32 + 1));
        b.out.push(Outgoing { cookie: n as u64, message, qos, key, txn: None });
    }
    from.producer.send(&mut b.out);
    let _ = from.producer.poll_confirms(&mut cx, &mut b.confirms);
    if qos == Qos::ExactlyOnce {
        b.keys.extend(b.confirms.iter().map(|confirm| Key::Number(confirm.cookie as u32 + 1)));
        from.producer.forget(&mut b.keys);
    }
    b.confirms.clear();
    for peer in to {
        let _ = peer.consumer.poll_receive(&mut cx, &mut b.got, batch);
        assert_eq!(b.got.len(), batch);
        for delivery in b.got.drain(..) {
            let Some(handle) = delivery.handle else { continue };
            let settled = qos == Qos::AtLeastOnce;
            let step = Step::Outcome { outcome: Outcome::Accepted, settled };
            let cookie = (!settled).then_some(handle.slot().into());
            b.steps.push(Disposition { delivery: DeliveryRef::Handle(handle), cookie, step });
            if !settled {
                let delivery = DeliveryRef::Handle(handle);
                b.second.push(Disposition { delivery, cookie: None, step: Step::Settle });
            }
        }
        if !b.steps.is_empty() {
            peer.consumer.settle(&mut b.steps);
        }
        if !b.second.is_empty() {
            let _ = peer.consumer.poll_settled(&mut cx, &mut b.dones);
            assert_eq!(b.dones.len(), batch);
            b.dones.clear();
            peer.consumer.settle(&mut b.second);
        }
    }
}

fn measure(name: &str, qos: Qos, fan_out: usize, fan_in: usize, batch: usize) {
    let broker = Broker::new();
    let address: Address = "bench/topic".parse().expect("an address");
    let payload = [7; 64];
    let mut from: Vec<Peer> = (0..fan_in).map(|_| peer(&broker, None)).collect();
    let mut to: Vec<Peer> = (0..fan_out).map(|_| peer(&broker, Some("bench/topic"))).collect();
    let mut buffers = Buffers::default();
    let mut run = |rounds: usize, from: &mut Vec<Peer>, to: &mut Vec<Peer>| {
        for round in 0..rounds {
            let from = &mut from[round % fan_in];
            turn(from, to, &address, &payload, qos, batch, &mut buffers);
        }
    };
    run(100, &mut from, &mut to);
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    let rounds = (2_000_000 / (batch * fan_out)).max(1);
    let start = cpu();
    run(rounds, &mut from, &mut to);
    let elapsed = cpu().saturating_sub(start);
    let messages = rounds * batch * fan_out;
    report(name, qos, batch, elapsed, messages, ALLOCATIONS.load(Ordering::Relaxed) - before);
}

/// The CPU time of this process, which a busy machine does not distort much.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let nanos = stat.split_whitespace().next().and_then(|nanos| nanos.parse().ok()).unwrap_or_default();
    Duration::from_nanos(nanos)
}

#[expect(clippy::print_stdout, reason = "the figures are what it is for")]
fn report(name: &str, qos: Qos, batch: usize, elapsed: Duration, messages: usize, allocations: usize) {
    let each = elapsed.as_nanos() as f64 / messages as f64;
    let allocations = allocations as f64 / messages as f64;
    println!("{name:<10} QoS {} batch {batch:>3}: {each:>7.1} ns, {allocations:.3} allocations", qos.level());
}

#[expect(clippy::print_stdout, reason = "the figures are what it is for")]
fn idle() {
    const COUNT: usize = 10_000;
    let broker = Broker::new();
    let before = BYTES.load(Ordering::Relaxed);
    let peers: Vec<Peer> = (0..COUNT).map(|n| peer(&broker, Some(&format!("device/{n}/commands")))).collect();
    let bytes = BYTES.load(Ordering::Relaxed) - before;
    println!("idle session with producer, consumer and one binding: {} B", bytes / peers.len());
}

fn main() {
    for qos in Qos::ALL {
        measure("pair", qos, 1, 1, 64);
    }
    for qos in Qos::ALL {
        measure("pair", qos, 1, 1, 1);
    }
    for qos in [Qos::AtMostOnce, Qos::AtLeastOnce] {
        measure("1 -> 100", qos, 100, 1, 16);
    }
    measure("50 -> 1", Qos::AtLeastOnce, 1, 50, 16);
    idle();
}
