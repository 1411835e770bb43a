//! Whose a delivery is, and for how long.

use std::collections::BTreeSet;
use std::time::Duration;

use roadbed_core::{
    Address, ConsumerTerms, CreditKind, Delivery, DeliveryId, Detach, ErrorKind, Hold, Mode, Outcome, Qos,
    QueueSettings, Settled, Step,
};

use crate::client::{Client, Receiving, text};
use crate::world::{World, message};

const LEASE: Duration = Duration::from_secs(2);

async fn filled(world: &World, count: usize) -> Address {
    let queue = world.queue("work", QueueSettings::default()).await;
    let mut sender = world.peer().await.sender().await;
    for n in 0..count {
        sender.accepted(message(queue.as_str(), &n.to_string()), Qos::AtLeastOnce).await;
    }
    queue
}

async fn leasing(client: &Client, queue: &Address) -> Receiving {
    client.receive(ConsumerTerms { hold: Hold::Lease(LEASE), ..ConsumerTerms::queue(queue.clone()) }).await
}

/// Who comes too late is told so, and takes nothing away from the next owner.
pub(super) async fn late_ack_is_harmless(world: World) {
    let queue = filled(&world, 1).await;
    let (slow, quick) = (world.client().await, world.client().await);
    let mut late = leasing(&slow, &queue).await;
    late.grant(1);
    let first = late.next().await;
    world.advance(LEASE * 2).await;
    let mut next = quick.receive_queue(&queue).await;
    next.grant(1);
    let second = next.next().await;
    let answer = late.step(&first, Step::Outcome { outcome: Outcome::Accepted, settled: true }).await;
    assert_eq!(answer.expect("a late settlement is answered"), Settled::Late);
    assert_eq!(world.describe(&queue).await.held, 1, "the next owner still has it");
    next.accept(&second).await;
    let left = world.describe(&queue).await;
    assert_eq!((left.available, left.held), (0, 0), "settled once, by its owner");
}

/// A lease that passes counts as a failure, and the message is there for the next.
pub(super) async fn lease_expires_and_counts(world: World) {
    let queue = filled(&world, 1).await;
    let client = world.client().await;
    let mut receiving = leasing(&client, &queue).await;
    receiving.grant(2);
    for expected in 0..3 {
        let delivery = receiving.next().await;
        assert_eq!(count(&delivery), expected, "each lease that passed counts");
        let until = delivery.info.as_ref().and_then(|info| info.lease_until).expect("a lease has an end");
        assert!(until > world.now(), "which is yet to come");
        receiving.nothing("a leased message is nobody else's").await;
        world.advance(LEASE + Duration::from_millis(100)).await;
        receiving.grant(2);
    }
}

/// A lease is the principal's: it outlives the link and the session, and can be settled by name from another one.
pub(super) async fn lease_outlives_its_connection(world: World) {
    let queue = filled(&world, 2).await;
    let client = world.client().await;
    let mut receiving = leasing(&client, &queue).await;
    receiving.grant(2);
    let names = [id(&receiving.next().await), id(&receiving.next().await)];
    world.cut((receiving, client)).await;
    let other = world.client().await;
    let mut waiting = other.receive_queue(&queue).await;
    waiting.grant(2);
    waiting.nothing("the leases go on").await;
    let accept = Step::Outcome { outcome: Outcome::Accepted, settled: true };
    let answer = other.settle(names[0].into(), accept.clone()).await;
    assert_eq!(answer.expect("it is the same principal's"), Settled::Applied);
    world.advance(LEASE * 2).await;
    let delivery = waiting.next().await;
    assert_eq!((text(&delivery.message).as_str(), count(&delivery)), ("1", 1), "what was not settled lapses in time");
    assert_eq!(other.settle(names[1].into(), accept).await.expect("an answer"), Settled::Late);
    waiting.accept(&delivery).await;
    waiting.nothing("what was settled does not come again").await;
}

fn id(delivery: &Delivery) -> DeliveryId {
    delivery.info.as_ref().expect("a queue's consumer is told of each delivery").id
}

/// A lease that is renewed starts anew.
pub(super) async fn renew_extends_the_lease(world: World) {
    let queue = filled(&world, 1).await;
    let (client, other) = (world.client().await, world.client().await);
    let mut receiving = leasing(&client, &queue).await;
    let mut waiting = other.receive_queue(&queue).await;
    receiving.grant(1);
    let delivery = receiving.next().await;
    waiting.grant(1);
    for _ in 0..3 {
        world.advance(LEASE * 2 / 3).await;
        match receiving.step(&delivery, Step::Renew).await.expect("a lease that runs can be renewed") {
            Settled::Renewed(until) => assert!(until >= world.now() + LEASE / 2, "the lease starts anew"),
            other => panic!("a renewal is answered with the new end, not {other:?}"),
        }
    }
    waiting.nothing("a renewed lease goes on").await;
    receiving.accept(&delivery).await;
    waiting.nothing("it was accepted").await;
}

/// Consumers of one queue share its messages: each goes to one of them.
pub(super) async fn competing_consumers_share(world: World) {
    let queue = filled(&world, 20).await;
    let clients = [world.client().await, world.client().await];
    let mut consumers = [clients[0].receive_queue(&queue).await, clients[1].receive_queue(&queue).await];
    let mut seen = BTreeSet::new();
    for consumer in &mut consumers {
        consumer.grant(10);
    }
    for consumer in &mut consumers {
        let mut count = 0;
        while let Some(delivery) = consumer.soon().await {
            assert!(seen.insert(text(&delivery.message)), "{} went to two", text(&delivery.message));
            consumer.accept(&delivery).await;
            count += 1;
        }
        if world.can().credit == CreditKind::Exact {
            assert_eq!(count, 10, "each gets what it permits");
        }
        consumer.grant(10);
    }
    for consumer in &mut consumers {
        while let Some(delivery) = consumer.soon().await {
            assert!(seen.insert(text(&delivery.message)), "{} went to two", text(&delivery.message));
            consumer.accept(&delivery).await;
        }
    }
    assert_eq!(seen.len(), 20, "every message went to one");
}

/// Where a consumer is exclusive there is no other, until it goes.
pub(super) async fn exclusive_consumer_is_alone(world: World) {
    let queue = filled(&world, 1).await;
    let (client, other) = (world.client().await, world.client().await);
    let terms = ConsumerTerms { exclusive: true, ..ConsumerTerms::queue(queue.clone()) };
    let mut receiving = client.receive(terms.clone()).await;
    for terms in [terms.clone(), ConsumerTerms::queue(queue)] {
        let refused = other.try_receive(terms).await.map(drop).expect_err("somebody has it exclusively");
        assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused}");
    }
    receiving.grant(1);
    let delivery = receiving.next().await;
    receiving.accept(&delivery).await;
    receiving.detach(Detach::Close).await.expect("a consumer detaches");
    other.receive(terms).await;
}

/// Who browses sees everything and takes nothing.
pub(super) async fn browse_takes_nothing(world: World) {
    let queue = filled(&world, 3).await;
    let client = world.client().await;
    let terms = ConsumerTerms { mode: Mode::Browse, ..ConsumerTerms::queue(queue.clone()) };
    let mut browsing = client.receive(terms).await;
    browsing.grant(10);
    for n in 0..3 {
        let seen = browsing.next().await;
        assert_eq!(text(&seen.message), n.to_string());
        assert_eq!(seen.handle, None, "there is nothing to settle");
    }
    browsing.nothing("each is seen once").await;
    assert_eq!(world.describe(&queue).await.available, 3, "nothing was taken");
    let mut receiving = client.receive_queue(&queue).await;
    receiving.grant(3);
    for delivery in receiving.take(3).await {
        assert_eq!(count(&delivery), 0, "a look is no attempt");
        receiving.accept(&delivery).await;
    }
}

fn count(delivery: &Delivery) -> u32 {
    delivery.info.as_ref().expect("a queue's consumer is told of each delivery").count
}
