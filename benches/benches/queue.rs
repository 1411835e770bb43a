//! A queue: a batch of 64 messages is put in, taken and accepted; by one consumer, or by four that compete.

use criterion::{Criterion, criterion_group, criterion_main};
use roadbed_benches::broker::{Receiving, Sending};
use roadbed_benches::{criterion, per_message};
use roadbed_broker::Broker;
use roadbed_core::{Address, Qos};

const BATCH: usize = 64;

fn queue(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("queue");
    let address: Address = "queues/orders".parse().expect("a legal name");
    for (qos, name) in [(Qos::AtMostOnce, "qos 0"), (Qos::AtLeastOnce, "qos 1")] {
        for consumers in [1, 4] {
            let broker = Broker::new();
            let mut takers: Vec<_> = (0..consumers).map(|_| Receiving::taking(&broker, &address)).collect();
            let mut sender = Sending::new(&broker);
            let mut turn = 0;
            per_message(&mut group, &format!("{name}/{consumers}"), BATCH, || {
                sender.send(std::iter::repeat_n(&address, BATCH), &[b'x'; 64], qos);
                turn = (turn + 1) % consumers;
                assert_eq!(takers[turn].take(), BATCH);
            });
        }
    }
}

criterion_group!(name = benches; config = criterion(); targets = queue);
criterion_main!(benches);
