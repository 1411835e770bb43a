//! The whole pipeline in memory: PUBLISH packets of a client through its server connection, the broker and the connections of the subscribers, with all
//! acknowledgements. Figures are per delivery; reading what subscribers get, to acknowledge it, is in them.

use criterion::{Criterion, criterion_group, criterion_main};
use roadbed_benches::cross::{Cross, Speaks};
use roadbed_benches::mqtt::{SHAPES, SIZES, Shape, messages_per_read, publishes};
use roadbed_benches::pipe::Pipe;
use roadbed_benches::{criterion, per_message};
use roadbed_mqtt::codec::QoS;

const LEVELS: [(QoS, &str); 2] = [(QoS::AtMostOnce, "qos 0"), (QoS::AtLeastOnce, "qos 1")];

fn pair(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pipe/pair");
    for (qos, level) in LEVELS {
        for (shape, size) in SHAPES.iter().flat_map(|shape| SIZES.map(|size| (shape, size))) {
            row(&mut group, shape, (qos, level), size, 1);
        }
    }
}

fn fan_out(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pipe/fan-out");
    for level in LEVELS {
        for subscribers in [10, 100] {
            row(&mut group, &SHAPES[0], level, 64, subscribers);
        }
    }
}

type Group<'a> = criterion::BenchmarkGroup<'a, criterion::measurement::WallTime>;

fn row(group: &mut Group<'_>, shape: &Shape, (qos, level): (QoS, &str), size: usize, subscribers: usize) {
    let messages = messages_per_read(size) / if subscribers > 1 { 8 } else { 1 };
    let chunk = publishes(shape, qos, size, messages);
    let mut pipe = Pipe::new(shape, qos, size, subscribers);
    let name = format!("{}/{level}/{size}/{subscribers}", shape.name);
    per_message(group, &name, messages * subscribers, || pipe.publish(&chunk, messages));
}

/// From one protocol to another, QoS 1 and unsettled.
fn cross(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pipe/cross");
    for (from, to) in [(Speaks::Mqtt, Speaks::Amqp), (Speaks::Amqp, Speaks::Mqtt), (Speaks::Amqp, Speaks::Amqp)] {
        for size in SIZES {
            let messages = messages_per_read(size);
            let mut cross = Cross::new(from, to, size, messages);
            per_message(&mut group, &format!("{from:?}-{to:?}/{size}"), messages, || cross.send());
        }
    }
}

criterion_group!(name = benches; config = criterion(); targets = pair, fan_out, cross);
criterion_main!(benches);
