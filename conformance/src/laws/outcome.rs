//! What each outcome does to a message.

use roadbed_core::{Address, Condition, Delivery, Outcome, Qos, QueueSettings, Reason, Settled, Step};

use crate::client::text;
use crate::world::{World, address, message};

/// Settling twice is answered, changes nothing, and harms nobody.
pub(super) async fn settling_twice_is_answered(world: World) {
    let client = world.client().await;
    let mut receiving = world.follow(&client, "t", Qos::AtLeastOnce).await;
    receiving.grant(10);
    let mut sender = world.peer().await.sender().await;
    for payload in ["1", "2"] {
        sender.accepted(message("t", payload), Qos::AtLeastOnce).await;
    }
    let (first, second) = (receiving.next().await, receiving.next().await);
    receiving.accept(&first).await;
    let again = receiving.settle(&first, Outcome::Accepted).await;
    assert!(matches!(again, Settled::Repeated | Settled::Late), "{again:?}");
    receiving.accept(&second).await;
    receiving.nothing("nothing comes back").await;
}

/// A rejected message is not delivered again. Of a queue, it becomes a dead letter with the reason.
pub(super) async fn rejected_is_not_redelivered(world: World) {
    let client = world.client().await;
    let mut receiving = world.follow(&client, "t", Qos::AtLeastOnce).await;
    receiving.grant(10);
    world.peer().await.sender().await.accepted(message("t", "bad"), Qos::AtLeastOnce).await;
    let delivery = receiving.next().await;
    assert_eq!(receiving.settle(&delivery, refused()).await, Settled::Applied);
    receiving.nothing("rejected is rejected").await;
    if world.can().queues {
        dead_letter_of_a_queue(&world).await;
    }
}

async fn dead_letter_of_a_queue(world: &World) {
    let queue = world.queue("work", QueueSettings::default()).await;
    let client = world.client().await;
    let mut receiving = client.receive_queue(&queue).await;
    receiving.grant(10);
    world.peer().await.sender().await.accepted(message(queue.as_str(), "bad"), Qos::AtLeastOnce).await;
    let delivery = receiving.next().await;
    assert_eq!(receiving.settle(&delivery, refused()).await, Settled::Applied);
    receiving.nothing("rejected is rejected").await;
    let mut letters = world.peer().await.receive_queue(&address("$dead/work")).await;
    letters.grant(1);
    let letter = letters.next().await;
    assert_eq!(text(&letter.message), "bad", "a dead letter keeps the payload");
    let told = format!("{:?}", letter.message.details().annotations);
    assert!(told.contains(Condition::Refused.as_str()), "a dead letter says why: {told}");
}

fn refused() -> Outcome {
    Outcome::Rejected(Reason::new(Condition::Refused, "not mine"))
}

/// A released message comes again, in its place, and counts as never tried.
pub(super) async fn released_keeps_the_count(world: World) {
    let queue = world.queue("work", QueueSettings { deliveries_max: 2, ..QueueSettings::default() }).await;
    let client = world.client().await;
    let mut receiving = client.receive_queue(&queue).await;
    let mut sender = world.peer().await.sender().await;
    for payload in ["1", "2"] {
        sender.accepted(message(queue.as_str(), payload), Qos::AtLeastOnce).await;
    }
    for round in 0..4 {
        receiving.grant(1);
        let delivery = receiving.next().await;
        assert_eq!(text(&delivery.message), "1", "released, it keeps its place (round {round})");
        assert_eq!(count(&delivery), 0, "a release does not count");
        assert_eq!(receiving.settle(&delivery, Outcome::Released).await, Settled::Applied);
    }
    assert_eq!(receiving.drain().await, ["1", "2"]);
}

/// Each failure counts; after as many as the queue allows, the message is a dead letter.
pub(super) async fn failed_counts(world: World) {
    let queue = world.queue("work", QueueSettings { deliveries_max: 3, ..QueueSettings::default() }).await;
    let client = world.client().await;
    let mut receiving = client.receive_queue(&queue).await;
    receiving.grant(10);
    world.peer().await.sender().await.accepted(message(queue.as_str(), "hard"), Qos::AtLeastOnce).await;
    let mut attempt = 0;
    for failures in 0..3 {
        let delivery = receiving.next().await;
        assert_eq!(count(&delivery), failures, "the count is the number of failures");
        assert!(delivery.attempt > attempt, "each attempt has its own number");
        attempt = delivery.attempt;
        let step = Step::Outcome { outcome: Outcome::FAILED, settled: true };
        assert_eq!(receiving.step(&delivery, step).await.expect("a failure is taken"), Settled::Applied);
    }
    receiving.nothing("it was delivered as often as the queue allows").await;
    is_dead(&world, "hard", Condition::DeliveryCountExceeded).await;
}

async fn is_dead(world: &World, payload: &str, why: Condition) {
    let letters: Address = address("$dead/work");
    let mut letters = world.peer().await.receive_queue(&letters).await;
    letters.grant(1);
    let letter = letters.next().await;
    assert_eq!(text(&letter.message), payload);
    let told = format!("{:?}", letter.message.details().annotations);
    assert!(told.contains(why.as_str()), "a dead letter says why: {told}");
}

fn count(delivery: &Delivery) -> u32 {
    delivery.info.as_ref().expect("a queue's consumer is told of each delivery").count
}
