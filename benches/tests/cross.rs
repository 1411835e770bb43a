//! The same counts over the whole pipeline between protocols: a sender's bytes, a server connection, the broker, a server connection, bytes to the receiver.

use roadbed_benches::count;
use roadbed_benches::cross::{Cross, Speaks};

const MESSAGES: usize = 100;
/// What a turn of a connection may ask for, however many messages it moves: lists that grow to their size, a block for headers, the head of a frame that straddles
/// two reads. One allocation per delivery would be well beyond all turns together.
const TURN: u64 = 10;

const WAYS: [(Speaks, Speaks); 3] =
    [(Speaks::Mqtt, Speaks::Amqp), (Speaks::Amqp, Speaks::Mqtt), (Speaks::Amqp, Speaks::Amqp)];

/// A warm pair.
fn warm(from: Speaks, to: Speaks, size: usize) -> Cross {
    let mut cross = Cross::new(from, to, size, MESSAGES);
    // Until every buffer has the size that it needs, and read buffers are used again.
    for _ in 0..10 {
        cross.send();
        cross.written_where_read();
    }
    cross
}

#[test]
fn a_message_is_one_allocation_and_a_delivery_none() {
    for (from, to) in WAYS {
        for size in [64, 1024, 16 << 10] {
            let mut cross = warm(from, to, size);
            // The batch itself is a copy of the harness.
            let (_, found) = count(|| cross.send());
            let reads = 2 + MESSAGES * size / (256 << 10);
            let bound = MESSAGES as u64 + 1 + TURN * 3 * reads as u64;
            assert!(found.count <= bound, "{from:?} to {to:?}, {size} B: {found:?}, at most {bound}");
        }
    }
}

#[test]
fn a_payload_of_16_kib_goes_out_from_where_it_came_in() {
    for (from, to) in WAYS {
        let mut cross = warm(from, to, 16 << 10);
        cross.prepare();
        let (_, found) = count(|| cross.send());
        assert!(found.largest < 16 << 10, "{from:?} to {to:?}: no block for a payload: {found:?}");
        let places = cross.written_where_read();
        assert_eq!(places.len(), MESSAGES, "{from:?} to {to:?}: all are written by themselves");
        assert!(places.iter().all(|inside| *inside), "{from:?} to {to:?}: each lies in the sender's read buffer");
    }
}
