//! The same counts over the whole pipeline: a client's bytes, a server connection, the broker, a server connection, bytes to the subscribers.

use roadbed_benches::mqtt::{SHAPES, Shape, publishes};
use roadbed_benches::pipe::Pipe;
use roadbed_benches::{Allocations, count};
use roadbed_mqtt::codec::{QoS, Version};

const MESSAGES: usize = 100;
/// What a turn of a connection may ask for, however many messages it moves: lists that grow to their size, a block for headers, the head of a frame that straddles
/// two reads. One allocation per delivery would be well beyond all turns together.
const TURN: u64 = 8;

/// What a round through a warm pipe asks for.
fn round(shape: &Shape, qos: QoS, size: usize, subscribers: usize) -> (Allocations, Pipe) {
    let mut pipe = Pipe::new(shape, qos, size, subscribers);
    let chunk = publishes(shape, qos, size, MESSAGES);
    // Until every buffer has the size that it needs, and read buffers are used again.
    for _ in 0..10 {
        pipe.publish(&chunk, MESSAGES);
        pipe.written_where_read();
    }
    let (_, found) = count(|| pipe.publish(&chunk, MESSAGES));
    (found, pipe)
}

#[test]
fn a_message_is_one_allocation_and_a_delivery_none() {
    for shape in &SHAPES[..2] {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
            for (size, subscribers) in [(64, 1), (64, 10), (1024, 1), (16 << 10, 1), (16 << 10, 10)] {
                let (found, _) = round(shape, qos, size, subscribers);
                let reads = 2 + MESSAGES * size / (256 << 10);
                let bound = MESSAGES as u64 + TURN * (reads * (2 + subscribers)) as u64;
                assert!(found.count <= bound, "{} {qos:?} {size} B to {subscribers}: {found:?}", shape.name);
            }
        }
    }
}

#[test]
fn a_payload_of_16_kib_goes_out_from_where_it_came_in() {
    for version in [Version::V311, Version::V5] {
        let shape = SHAPES.iter().find(|shape| shape.version == version).expect("a shape of each version");
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
            let (found, pipe) = round(shape, qos, 16 << 10, 2);
            assert!(found.largest < 16 << 10, "no block for a payload: {found:?}");
            let places = pipe.written_where_read();
            assert_eq!(places.len(), 2 * MESSAGES, "all are written by themselves");
            assert!(places.iter().all(|inside| *inside), "each lies in the publisher's read buffer");
        }
    }
}
