//! Bytes to messages: MQTT PUBLISH of QoS 0, as many packets as share a read.

use criterion::{Criterion, criterion_group, criterion_main};
use roadbed_benches::mqtt::{NOW, SHAPES, SIZES, messages_per_read, publishes, serving};
use roadbed_benches::{criterion, per_message};
use roadbed_core::{Output, Protocol};
use roadbed_mqtt::codec::{Limits, PublishView, QoS, frame};
use std::hint::black_box;

/// The packet alone, checked, without a message.
fn view(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode/view");
    for (shape, size) in SHAPES.iter().flat_map(|shape| SIZES.map(|size| (shape, size))) {
        let messages = messages_per_read(size);
        let (chunk, limits) = (publishes(shape, QoS::AtMostOnce, size, messages), Limits::default());
        per_message(&mut group, &format!("{}/{size}", shape.name), messages, || {
            let mut at = 0;
            while let Some(frame) = frame(&chunk, &mut at, Some(shape.version), &limits).expect("a frame") {
                let view = PublishView::read(frame, shape.version, &limits).expect("a legal packet");
                black_box((view.topic().expect("a legal topic"), view.payload_bytes()));
            }
        });
    }
}

/// What a server does: the message, with everything it carries.
fn machine(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode/machine");
    for (shape, size) in SHAPES.iter().flat_map(|shape| SIZES.map(|size| (shape, size))) {
        let messages = messages_per_read(size);
        let chunk = publishes(shape, QoS::AtMostOnce, size, messages);
        let (mut machine, mut out) = (serving(shape.version), Output::new());
        per_message(&mut group, &format!("{}/{size}", shape.name), messages, || {
            let mut at = 0;
            while let Some(event) = machine.next(NOW, &chunk, &mut at, &mut out).expect("legal packets") {
                black_box(event);
            }
        });
    }
}

criterion_group!(name = benches; config = criterion(); targets = view, machine);
criterion_main!(benches);
