//! A payload of 16 KiB that comes by MQTT is handed to hyper from the buffer it was read into.

use std::sync::Arc;

use bytes::Bytes;
use roadbed_benches::http::Client;
use roadbed_benches::{Allocations, Wire, count, pipe};
use roadbed_broker::Broker;
use roadbed_core::Endpoint;
use roadbed_mqtt::codec::{Packet, PacketId, Publish, QoS, Version};
use roadbed_mqtt::{Server, ServerConfig};
use tokio::runtime::Runtime;

const SIZE: usize = 16 << 10;

#[test]
fn a_payload_from_mqtt_is_handed_to_hyper_as_it_was_read() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let broker: Arc<dyn Endpoint> = Arc::new(Broker::new());
    let client = Client::new(broker.clone());
    let server = Server::new(broker, ServerConfig::permissive());
    for version in [Version::V311, Version::V5] {
        let wire = Wire::new(SIZE);
        let publisher = runtime.spawn(server.serve(wire.clone()));
        wire.send(&pipe::hello(version, "p", None));
        // The second time, every buffer is there.
        one(&runtime, &client, &wire, &publish(version));
        for _ in 0..2 {
            let found = one(&runtime, &client, &wire, &publish(version));
            assert!(found.largest < SIZE, "no block for a payload: {found:?}");
        }
        publisher.abort();
    }
}

/// One message through. What it asks for.
fn one(runtime: &Runtime, client: &Client, wire: &Wire, publish: &Bytes) -> Allocations {
    let poller = client.clone();
    let poll = runtime.spawn(async move { poller.poll("queues/orders").await });
    runtime.block_on(settle());
    wire.reads();
    wire.send(publish);
    let (_, found) = count(|| runtime.block_on(settle()));
    assert!(poll.is_finished());
    let (body, token) = runtime.block_on(poll).expect("an answer");
    assert_eq!(body.iter().map(Bytes::len).sum::<usize>(), SIZE);
    let reads = wire.reads();
    for piece in body.iter().map(|piece| piece.as_ptr_range()) {
        let (start, end) = (piece.start as usize, piece.end as usize);
        assert!(reads.iter().any(|read| read.start <= start && end <= read.end), "it lies where it was read");
    }
    runtime.block_on(client.complete(&token));
    found
}

/// Lets all tasks do what they can.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

fn publish(version: Version) -> Bytes {
    let mut out = bytes::BytesMut::new();
    let (qos, packet_id) = (QoS::AtLeastOnce, Some(PacketId::MIN));
    let packet = Publish {
        qos,
        packet_id,
        topic: "queues/orders".into(),
        payload: vec![b'x'; SIZE].into(),
        ..Publish::default()
    };
    Packet::Publish(Box::new(packet)).encode(version, &mut out).expect("a packet that can be written");
    out.freeze()
}
