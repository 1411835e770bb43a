//! AMQP 1.0: the codec, the mapping, the machine in both roles, and the machine beside the engine of `fe2o3-amqp`.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use roadbed_amqp::codec::{GuardLimits, Performative, State, frame, sections, walk};
use roadbed_amqp::dialect::Encoded;
use roadbed_amqp::{Event, LinkId, Machine, Sending};
use roadbed_benches::amqp::{Shape, Transfers, accepts, connected, message, serving};
use roadbed_benches::mqtt::{NOW, SHAPES, SIZES, TOPIC, delivery, flush, messages_per_read, read};
use roadbed_benches::peer::Peer;
use roadbed_benches::{criterion, mqtt, per_message};
use roadbed_core::{Address, Losses, Origin, Output, Protocol, Qos, ReadContext, WireMessage};

/// Shapes and sizes, as rows name them.
fn rows() -> impl Iterator<Item = (String, Shape, usize)> {
    Shape::ALL.into_iter().flat_map(|shape| SIZES.map(|size| (format!("{}/{size}", shape.name()), shape, size)))
}

/// Frames found in a read.
fn frames(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("amqp/frame");
    for size in SIZES {
        let messages = messages_per_read(size);
        let chunk = Transfers::new(&message(Shape::Plain, size), false, messages).read();
        per_message(&mut group, &size.to_string(), messages, || {
            let mut at = 0;
            while let Some(frame) = frame(&chunk, &mut at, 1 << 20).expect("legal frames") {
                black_box(frame);
            }
        });
    }
}

/// The guard's walk over what a decoder gets to see.
fn guard(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("amqp/guard");
    let transfer = Transfers::new(&[], false, 1).read().slice(8..);
    let disposition = accepts(7, 9).slice(8..);
    let attach = {
        let mut out = bytes::BytesMut::new();
        Performative::Attach(Box::new(roadbed_benches::amqp::attach("queues/q", true))).encode(&mut out);
        out.freeze()
    };
    for (name, value) in [("transfer", transfer), ("disposition", disposition), ("attach", attach)] {
        per_message(&mut group, name, 1, || {
            black_box(walk(black_box(&value), 0, &GuardLimits::default())).expect("a legal value");
        });
    }
}

/// The sections of a message, found without looking into its payload.
fn find_sections(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("amqp/sections");
    for (row, shape, size) in rows() {
        let message = message(shape, size);
        per_message(&mut group, &row, 1, || {
            black_box(sections(black_box(&message), message.len(), &GuardLimits::default())).expect("a legal message");
        });
    }
}

/// An encoded message to the core's.
fn read_message(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("amqp/read");
    let (address, origin) = (address(), origin());
    for (row, shape, size) in rows() {
        let bytes = Bytes::from(message(shape, size));
        per_message(&mut group, &row, 1, || {
            let encoded = Encoded { address: Some(address.clone()), ..Encoded::new([bytes.clone()]) };
            black_box(encoded.read(&ReadContext { origin: &origin, now: NOW })).expect("a legal message");
        });
    }
}

/// The core's message to an encoded one, that came by MQTT.
fn write_message(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("amqp/write");
    for (shape, size) in SHAPES[1..].iter().flat_map(|shape| SIZES.map(|size| (shape, size))) {
        let delivery = delivery(&mqtt::message(shape, size), Qos::AtLeastOnce, 1);
        per_message(&mut group, &format!("{}/{size}", shape.name), 1, || {
            black_box(Encoded::write(&delivery, NOW, &mut Losses::default())).expect("every message can be written");
        });
    }
}

/// Unsettled transfers in, messages out of them, and their dispositions.
fn receive(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("amqp/receive");
    for (role, machine) in [("server", serving(true)), ("client", connected(true))] {
        let (mut machine, _) = machine;
        let (address, origin, mut first) = (address(), origin(), 0);
        for (row, shape, size) in rows() {
            let messages = messages_per_read(size);
            let mut transfers = Transfers::starting_at(first, &message(shape, size), false, messages);
            let mut out = Output::new();
            per_message(&mut group, &format!("{role}/{row}"), messages, || {
                take(&mut machine, &transfers.read(), &address, &origin, &mut out);
                black_box(flush(&mut out));
            });
            first = transfers.next();
        }
    }
}

fn take(machine: &mut Machine, chunk: &Bytes, address: &Address, origin: &std::sync::Arc<Origin>, out: &mut Output) {
    let context = ReadContext { origin, now: NOW };
    let mut at = 0;
    while let Some(event) = machine.next(NOW, chunk, &mut at, out).expect("legal frames") {
        let Event::Transfer(incoming) = event else { continue };
        let encoded = Encoded { address: Some(address.clone()), ..Encoded::new(incoming.pieces) };
        black_box(encoded.read(&context)).expect("a legal message");
        machine.answer(incoming.link.session, incoming.delivery, State::Accepted, out);
    }
    machine.flush(out);
}

/// Unsettled transfers out, and one disposition for all of them back.
fn send(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("amqp/send");
    for (role, (mut machine, link)) in [("server", serving(false)), ("client", connected(false))] {
        for size in SIZES {
            let messages = messages_per_read(size);
            let delivery = delivery(&mqtt::message(&SHAPES[0], size), Qos::AtLeastOnce, 1);
            let mut out = Output::new();
            per_message(&mut group, &format!("{role}/{size}"), messages, || {
                let (first, last) = deliver(&mut machine, link, &delivery, messages, &mut out);
                black_box(flush(&mut out));
                read(&mut machine, &accepts(first, last), &mut out, |_, event, _| drop(black_box(event)));
            });
        }
    }
}

fn deliver(
    machine: &mut Machine,
    link: LinkId,
    delivery: &roadbed_core::Delivery,
    messages: usize,
    out: &mut Output,
) -> (u32, u32) {
    let mut numbers = (u32::MAX, 0);
    for cookie in 0..messages as u64 {
        let sending = Sending { cookie: Some(cookie), ..Sending::default() };
        let number = machine.deliver(link, delivery, sending, NOW, &mut Losses::default(), out).expect("credit");
        numbers = (numbers.0.min(number as u32), number as u32);
    }
    numbers
}

/// One link that receives 256 B unsettled over a stream in memory, its messages decoded and accepted: ours, and the acceptor of `fe2o3-amqp`.
fn peer(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("amqp/peer");
    let messages = 128;
    let transfers = || Transfers::new(&message(Shape::Plain, 256), false, messages);
    let (mut ours, mut theirs) = (Peer::ours(transfers(), messages), Peer::theirs(transfers(), messages));
    per_message(&mut group, "roadbed", messages, || ours.receive());
    per_message(&mut group, "fe2o3-amqp", messages, || theirs.receive());
}

fn address() -> Address {
    Address::new(TOPIC).expect("a legal name")
}

fn origin() -> std::sync::Arc<Origin> {
    std::sync::Arc::new(Origin { principal: "bench".into(), protocol: "amqp" })
}

criterion_group!(name = benches; config = criterion(); targets = frames, guard, find_sections, read_message, write_message, receive, send, peer);
criterion_main!(benches);
