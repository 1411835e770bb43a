//! Topics: a batch of 64 messages of QoS 0 from a producer through the broker to every session that follows.

use criterion::{Criterion, criterion_group, criterion_main};
use roadbed_benches::broker::{Receiving, Sending};
use roadbed_benches::{criterion, per_message};
use roadbed_broker::Broker;
use roadbed_core::{Address, Qos};

const BATCH: usize = 64;

/// `cached`: all messages have one address, as those of most devices. `uncached`: 10,000 addresses in turn, which no route cache holds. Figures are per delivery.
fn route(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("route");
    for (name, topics) in [("cached", 1), ("uncached", 10_000)] {
        for fan_out in [1, 10, 100] {
            let broker = Broker::new();
            let mut subscribers: Vec<_> =
                (0..fan_out).map(|_| Receiving::following(&broker, "plant/+/line/#", Qos::AtMostOnce)).collect();
            let mut publisher = Sending::new(&broker);
            let addresses: Vec<Address> =
                (0..topics).map(|n| format!("plant/{n}/line/3").parse().expect("a legal name")).collect();
            let mut turn = addresses.iter().cycle();
            per_message(&mut group, &format!("{name}/{fan_out}"), BATCH * fan_out, || {
                publisher.send(turn.by_ref().take(BATCH), &[b'x'; 64], Qos::AtMostOnce);
                let taken: usize = subscribers.iter_mut().map(Receiving::take).sum();
                assert_eq!(taken, BATCH * fan_out);
            });
        }
    }
}

criterion_group!(name = benches; config = criterion(); targets = route);
criterion_main!(benches);
