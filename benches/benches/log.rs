//! A log beside a queue: a batch of 64 messages is appended, read and settled, by a reader alone and for a group; and a log that is long is read from its
//! beginning.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use roadbed_benches::broker::{Receiving, Sending, declare_log};
use roadbed_benches::{criterion, per_message};
use roadbed_broker::Broker;
use roadbed_core::{Address, LogStart, LogTerms, Qos};

const BATCH: usize = 64;
/// Messages of the long log: a page is 1024.
const LONG: usize = 16 << 10;

fn log(criterion: &mut Criterion) {
    let (queue, log): (Address, Address) =
        ("queues/orders".parse().expect("a legal name"), "logs/orders/0".parse().expect("a legal name"));
    for (payload, size) in [(&[b'x'; 64][..], "64 B"), (&[b'x'; 4096], "4 KiB")] {
        let mut group = criterion.benchmark_group(format!("log/{size}"));
        {
            let broker = Broker::new();
            let (mut sender, mut taker) = (Sending::new(&broker), Receiving::taking(&broker, &queue));
            per_message(&mut group, "queue, taken", BATCH, || {
                sender.send(std::iter::repeat_n(&queue, BATCH), payload, Qos::AtLeastOnce);
                assert_eq!(taker.take(), BATCH);
            });
        }
        for (of, name) in [(None, "appended, read"), (Some("g"), "appended, read for a group")] {
            let broker = Broker::new();
            declare_log(&broker, "logs/orders", 8 << 20);
            let terms = LogTerms { group: of.map(Into::into), ..LogTerms::new(log.clone(), LogStart::Latest) };
            let (mut sender, mut reader) = (Sending::new(&broker), Receiving::reading(&broker, terms));
            per_message(&mut group, name, BATCH, || {
                sender.send(std::iter::repeat_n(&log, BATCH), payload, Qos::AtLeastOnce);
                assert_eq!(reader.take(), BATCH);
            });
        }
        let broker = Broker::new();
        declare_log(&broker, "logs/orders", 1 << 30);
        let mut sender = Sending::new(&broker);
        (0..LONG / BATCH).for_each(|_| sender.send(std::iter::repeat_n(&log, BATCH), payload, Qos::AtLeastOnce));
        group.throughput(Throughput::Elements(LONG as u64));
        group.bench_function("read from the beginning", |bencher| {
            bencher.iter(|| {
                let terms = LogTerms::new(log.clone(), LogStart::Earliest);
                assert_eq!(Receiving::reading(&broker, terms).take(), LONG);
            });
        });
        group.finish();
    }
}

criterion_group!(name = benches; config = criterion(); targets = log);
criterion_main!(benches);
