//! Nobody gets more than they permit.

use std::collections::BTreeSet;

use roadbed_core::{Grant, Qos};

use crate::client::text;
use crate::world::{World, message, open};

async fn send_numbers(world: &World, count: usize) {
    let mut sender = world.peer().await.sender().await;
    for n in 0..count {
        sender.accepted(message("t", &n.to_string()), Qos::AtLeastOnce).await;
    }
}

/// A consumer gets what it permits and no more; a new grant replaces the old one; a batch is no larger than asked.
pub(super) async fn never_exceeds_credit(world: World) {
    let client = world.client().await;
    let mut receiving = world.follow(&client, "t", world.can().qos_out).await;
    send_numbers(&world, 20).await;
    receiving.nothing("nothing was permitted").await;
    let mut next = 0;
    for (grants, expected) in [(&[3][..], 3), (&[5, 2], 2), (&[1, 1, 1], 1), (&[4, 6], 6)] {
        for credit in grants {
            receiving.grant(*credit);
        }
        for _ in 0..expected {
            let delivery = receiving.next().await;
            assert_eq!(text(&delivery.message), next.to_string());
            receiving.accept(&delivery).await;
            next += 1;
        }
        receiving.nothing("the credit is spent, and settling does not give it back").await;
    }
    receiving.grant(8);
    let mut left = 8;
    while left > 0 {
        let count = receiving.batch(3).await;
        assert!((1..=3.min(left)).contains(&count), "{count} deliveries in a batch of at most 3, {left} permitted");
        for delivery in receiving.take(count).await {
            receiving.accept(&delivery).await;
        }
        left -= count;
    }
    receiving.grant(10);
    receiving.nothing("all 20 have come").await;
}

/// The session's window bounds what is unsettled, over all that its consumers permit; each settlement makes room for one.
pub(super) async fn window_bounds_unsettled(world: World) {
    let client = world.open(roadbed_core::Open { window: 3, ..open("window") }).await;
    let mut receiving = world.follow(&client, "t", Qos::AtLeastOnce).await;
    receiving.grant(100);
    send_numbers(&world, 10).await;
    let mut held: Vec<_> = receiving.take(3).await;
    let mut seen = BTreeSet::new();
    for _ in 3..10 {
        receiving.nothing("the window is full").await;
        let oldest = held.remove(0);
        seen.insert(text(&oldest.message));
        receiving.accept(&oldest).await;
        held.push(receiving.next().await);
    }
    for delivery in held {
        seen.insert(text(&delivery.message));
        receiving.accept(&delivery).await;
    }
    assert_eq!(seen.len(), 10, "every message once");
}

/// Credit that is taken back is not used any more.
pub(super) async fn credit_zero_stops_delivery(world: World) {
    let client = world.client().await;
    let mut receiving = world.follow(&client, "t", world.can().qos_out).await;
    receiving.grant(5);
    receiving.nothing("nothing was sent").await;
    receiving.grant(0);
    send_numbers(&world, 3).await;
    receiving.nothing("no credit, no delivery").await;
    receiving.grant(3);
    for delivery in receiving.take(3).await {
        receiving.accept(&delivery).await;
    }
}

/// A drain gives what there is, says when it has ended, and leaves no credit behind.
pub(super) async fn drain_ends(world: World) {
    let client = world.client().await;
    let mut receiving = world.follow(&client, "t", world.can().qos_out).await;
    send_numbers(&world, 3).await;
    receiving.grant_as(Grant { credit: 10, drain: true, txn: None });
    for n in 0..3 {
        let delivery = receiving.try_next().await.expect("a link that lives").expect("what there is comes first");
        assert_eq!(text(&delivery.message), n.to_string());
        receiving.accept(&delivery).await;
    }
    assert!(receiving.try_next().await.expect("a link that lives").is_none(), "the drain has ended");
    send_numbers(&world, 1).await;
    receiving.nothing("the drained credit has lapsed").await;
    receiving.grant(1);
    receiving.next().await;
}
