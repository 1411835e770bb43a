//! How much memory a message may ask for, and that its payload is never copied: counts that must not grow.

use roadbed_benches::count;
use roadbed_benches::mqtt::{NOW, SHAPES, Shape, delivery, flush, publishes, read, serving};
use roadbed_core::{Message, Output, Qos};
use roadbed_mqtt::Event;
use roadbed_mqtt::codec::{QoS, Version};

const MESSAGES: usize = 100;

/// The messages of one read through a warm machine, and what they cost.
fn received(shape: &Shape, qos: QoS, size: usize) -> (Vec<Message>, roadbed_benches::Allocations, bytes::Bytes) {
    let (mut machine, mut out, mut messages) =
        (serving(shape.version), Output::new(), Vec::with_capacity(MESSAGES + 1));
    // The first message names the topic.
    read(&mut machine, &publishes(shape, qos, size, 1), &mut out, |_, _, _| {});
    let chunk = publishes(shape, qos, size, MESSAGES);
    let (_, found) = count(|| {
        read(&mut machine, &chunk, &mut out, |_, event, _| match event {
            Event::Publish(incoming) => messages.push(incoming.message),
            other => panic!("{other:?}"),
        });
    });
    assert_eq!(messages.len(), MESSAGES);
    (messages, found, chunk)
}

#[test]
fn a_message_that_comes_is_one_allocation() {
    for shape in &SHAPES[..2] {
        for (qos, size) in
            [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce].iter().flat_map(|&qos| [(qos, 64), (qos, 16 << 10)])
        {
            let (_, found, _) = received(shape, qos, size);
            assert!(found.count <= MESSAGES as u64, "{} {qos:?} {size}: {found:?}", shape.name);
        }
    }
}

#[test]
fn a_message_that_goes_is_none() {
    for shape in &SHAPES[..2] {
        for (qos, size) in Qos::ALL.iter().flat_map(|&qos| [(qos, 64), (qos, 16 << 10)]) {
            let (messages, ..) = received(shape, QoS::AtMostOnce, size);
            let deliveries: Vec<_> =
                messages.iter().zip(1..).map(|(message, slot)| delivery(message, qos, slot)).collect();
            let (mut machine, mut out) = (serving(shape.version), Output::new());
            let mut deliver = |range: core::ops::Range<usize>| {
                for delivery in &deliveries[range] {
                    machine.deliver(delivery, false, NOW, &mut out).expect("room for a delivery");
                }
                flush(&mut out)
            };
            // The first batch sizes the buffers, which the second has again.
            deliver(0..50);
            let (written, found) = count(|| deliver(50..100));
            assert!(written > 50 * size);
            assert!(found.largest < 16 << 10, "no room for a payload is asked for: {found:?}");
            // Shared pieces close the flat buffer between them; it is taken anew once in a while, not for each.
            assert!(
                found.count <= if size < Output::SHARE_MIN { 0 } else { 5 },
                "{} {qos:?} {size}: {found:?}",
                shape.name
            );
        }
    }
}

#[test]
fn a_payload_of_16_kib_is_not_copied_on_its_way_through_the_machines() {
    for version in [Version::V311, Version::V5] {
        let shape = SHAPES.iter().find(|shape| shape.version == version).expect("a shape of each version");
        let (messages, found, chunk) = received(shape, QoS::AtLeastOnce, 16 << 10);
        assert!(found.largest < 16 << 10, "{found:?}");
        let (mut machine, mut out) = (serving(version), Output::new());
        for message in &messages {
            let [payload] = message.payload().shared().expect("too long to be inline") else { panic!("one piece") };
            assert!(chunk.as_ptr_range().contains(&payload.as_ptr()), "it lies in the read buffer");
            let (_, found) = count(|| machine.deliver(&delivery(message, Qos::AtMostOnce, 1), false, NOW, &mut out));
            assert!(found.largest < 16 << 10, "{found:?}");
            assert!(
                out.shared().any(|piece| piece.as_ptr() == payload.as_ptr()),
                "it is written from where it was read"
            );
            flush(&mut out);
        }
    }
}
