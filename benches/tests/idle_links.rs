//! What a link keeps that does nothing.

use std::sync::Arc;

use roadbed_amqp::{Server, ServerConfig};
use roadbed_benches::amqp::{attaches, hello};
use roadbed_benches::{Wire, live};
use roadbed_broker::Broker;
use tokio::runtime::Builder;

const LINKS: u32 = 2000;

/// Bytes for each of many links on one connection, with an address that they share.
fn each(receivers: bool) -> i64 {
    let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
    let (wire, server) = (Wire::new(usize::MAX), Server::new(Arc::new(Broker::new()), ServerConfig::permissive()));
    let _connection = runtime.spawn(server.serve(wire.clone()));
    let settle = || {
        runtime.block_on(async {
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
        });
        wire.answer(|_, _| {}).0
    };
    wire.send(&hello("gateway", "queues/q", receivers));
    // The first links are paid for by what the connection has anyhow.
    let (first, others) = (attaches(1, 200, "queues/q", receivers), attaches(201, LINKS, "queues/q", receivers));
    wire.send(&first);
    assert!(settle() > 200 * 50, "attached");
    let before = live();
    wire.send(&others);
    assert!(settle() > LINKS as usize * 50, "attached");
    (live() - before) / i64::from(LINKS)
}

#[test]
fn an_idle_link_is_two_kib_at_most() {
    for receivers in [false, true] {
        let each = each(receivers);
        assert!(each <= 1500, "{each} B each, receivers: {receivers}");
    }
}
