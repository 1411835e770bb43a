//! Messages to bytes: MQTT PUBLISH of QoS 1, a batch of as many as share a write; and the answers to as many.

use criterion::{Criterion, criterion_group, criterion_main};
use roadbed_benches::mqtt::{NOW, SHAPES, SIZES, delivery, flush, message, messages_per_read, read, serving};
use roadbed_benches::{criterion, per_message};
use roadbed_core::{Confirm, Outcome, Output, Qos};
use roadbed_mqtt::codec::{Ack, AckKind, PacketId};
use std::hint::black_box;

fn deliver(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode/deliver");
    for (shape, size) in SHAPES.iter().flat_map(|shape| SIZES.map(|size| (shape, size))) {
        let messages = messages_per_read(size);
        let deliveries: Vec<_> = {
            let message = message(shape, size);
            (1..=messages).map(|slot| delivery(&message, Qos::AtLeastOnce, slot as u16)).collect()
        };
        let acks = acks(messages);
        let (mut machine, mut out) = (serving(shape.version), Output::new());
        per_message(&mut group, &format!("{}/{size}", shape.name), messages, || {
            for delivery in &deliveries {
                machine.deliver(delivery, false, NOW, &mut out).expect("room for a delivery");
            }
            black_box(flush(&mut out));
            // The window must open again; four bytes each.
            read(&mut machine, &acks, &mut out, |_, event, _| drop(black_box(event)));
        });
    }
}

/// PUBACK for each message that was published.
fn confirm(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode/confirm");
    for shape in &SHAPES[..2] {
        let (mut machine, mut out) = (serving(shape.version), Output::new());
        per_message(&mut group, shape.name, 1000, || {
            for id in 1..=1000 {
                // The level of QoS 1 over the packet identifier: what `Incoming::cookie` makes.
                let confirm =
                    Confirm { cookie: 1 << 16 | id, outcome: Outcome::Accepted, why: None, provisional: None };
                let _ = black_box(machine.confirm(&confirm, &mut out)).expect("an open connection");
            }
            black_box(flush(&mut out));
        });
    }
}

fn acks(messages: usize) -> bytes::Bytes {
    let mut out = bytes::BytesMut::new();
    for id in (1..=messages as u16).filter_map(PacketId::new) {
        let ack = Ack::new(AckKind::PubAck, id);
        ack.encode(roadbed_mqtt::codec::Version::V311, &mut out).expect("a packet that can be written");
    }
    out.freeze()
}

criterion_group!(name = benches; config = criterion(); targets = deliver, confirm);
criterion_main!(benches);
