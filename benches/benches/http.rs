//! HTTP: headers and messages, and the routes of a server over a broker, without hyper and without a wire.

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use http::HeaderMap;
use roadbed_benches::http::Client;
use roadbed_benches::mqtt::{NOW, SHAPES, delivery, message};
use roadbed_benches::{criterion, per_message};
use roadbed_broker::Broker;
use roadbed_core::{Losses, Origin, Qos, ReadContext, WireMessage};
use roadbed_http::HttpMessage;

const BATCH: usize = 64;

/// The headers of a message, without properties and with two.
fn mapping(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("http/mapping");
    let origin = Arc::new(Origin::default());
    let context = ReadContext { origin: &origin, now: NOW };
    for shape in [&SHAPES[1], &SHAPES[2]] {
        let delivery = delivery(&message(shape, 256), Qos::AtLeastOnce, 1);
        let write = || HttpMessage::write(&delivery, NOW, &mut Losses::default()).expect("HTTP says everything");
        let wire = write();
        per_message(&mut group, &format!("write/{} properties", shape.properties), 1, || drop(black_box(write())));
        per_message(&mut group, &format!("read/{} properties", shape.properties), 1, || {
            let HttpMessage { address, headers, payload } = &wire;
            let (address, headers, payload): (_, HeaderMap, _) = (address.clone(), headers.clone(), payload.clone());
            let message = HttpMessage { address, headers, payload }.read(&context);
            drop(black_box(message.expect("legal headers")));
        });
    }
}

/// A message of 256 B through a queue: post, poll, complete.
fn routes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("http/routes");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let client = runtime.block_on(async { Client::new(Arc::new(Broker::new())) });
    let body = Bytes::from(vec![b'x'; 256]);
    per_message(&mut group, "post, poll, complete", BATCH, || {
        runtime.block_on(async {
            for _ in 0..BATCH {
                client.post("queues/orders", body.clone()).await;
                let (_, token) = client.poll("queues/orders").await;
                client.complete(&token).await;
            }
        });
    });
}

criterion_group!(name = benches; config = criterion(); targets = mapping, routes);
criterion_main!(benches);
