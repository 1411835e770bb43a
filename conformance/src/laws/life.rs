//! Time, priority, last values, and the ends of sessions.

use std::time::Duration;

use roadbed_core::{
    Binding, Close, Detach, Message, Open, Outcome, Qos, QueueSettings, RetainHandling, Settled, Step, Will,
};

use crate::client::{Client, text};
use crate::world::{World, address, filter_of, message, named, open};

/// A message is never handed over at or after its end.
pub(super) async fn expired_is_never_delivered(world: World) {
    let client = world.client().await;
    let mut receiving = world.follow(&client, "t", world.can().qos_out).await;
    let mut senders = [client.sender().await, world.peer().await.sender().await];
    for sender in &mut senders {
        let expires = world.now() + Duration::from_secs(2);
        let short = Message::builder(address("t"), "short").expires_at(expires).build();
        let long = Message::builder(address("t"), "long").expires_at(expires + Duration::from_secs(600)).build();
        let qos = world.can().qos_in.min(Qos::AtLeastOnce);
        sender.accepted(short.clone(), qos).await;
        sender.accepted(long, qos).await;
        world.advance(Duration::from_secs(5)).await;
        receiving.grant(10);
        let delivery = receiving.next().await;
        assert_eq!(text(&delivery.message), "long", "what has expired is not delivered");
        assert!(delivery.message.expires_at().is_some(), "what remains of its time is told");
        receiving.accept(&delivery).await;
        sender.submit(short, qos, None, None).await;
        receiving.nothing("what is expired when it is sent is not delivered").await;
        receiving.grant(0);
        receiving.nothing("no credit").await;
    }
}

/// Of what waits, the higher priority goes first, and the older within one.
pub(super) async fn priority_goes_first(world: World) {
    let queue = world.queue("work", QueueSettings::default()).await;
    let mut sender = world.client().await.sender().await;
    for (priority, payload) in [(4, "c"), (1, "e"), (9, "a"), (4, "d"), (9, "b"), (0, "f")] {
        let message = Message::builder(queue.clone(), payload).priority(priority).build();
        sender.accepted(message, world.can().qos_in.min(Qos::AtLeastOnce)).await;
    }
    world.quiet().await;
    let peer = world.peer().await;
    let receiver = if world.can().queues { world.client().await } else { peer };
    let mut receiving = receiver.receive_queue(&queue).await;
    assert_eq!(receiving.drain().await, ["a", "b", "c", "d", "e", "f"]);
}

/// The last value of an address reaches who follows it later, marked as such, if it wants it.
pub(super) async fn retained_reaches_a_new_binding(world: World) {
    let mut sender = world.client().await.sender().await;
    for payload in ["old", "new"] {
        let value = Message::builder(address("state/1"), payload).retain(true).build();
        sender.accepted(value, world.can().qos_in.min(Qos::AtLeastOnce)).await;
    }
    world.quiet().await;
    let client = world.client().await;
    let mut receiving = world.follow(&client, "state/+", world.can().qos_out).await;
    receiving.grant(10);
    let delivery = receiving.next().await;
    assert_eq!(text(&delivery.message), "new", "the last value");
    assert!(delivery.retained, "is marked as such");
    receiving.accept(&delivery).await;
    receiving.nothing("there is one value").await;
    sender.accepted(Message::builder(address("state/1"), "live").retain(true).build(), Qos::AtMostOnce).await;
    let delivery = receiving.next().await;
    assert_eq!(
        (text(&delivery.message).as_str(), delivery.retained),
        ("live", false),
        "one who follows gets it as news"
    );
    receiving.accept(&delivery).await;

    let other = world.client().await;
    let binding = Binding::new(filter_of("state/1"), Qos::AtLeastOnce);
    let mut never = world.follow_all(&other, vec![Binding { retain_handling: RetainHandling::Never, ..binding }]).await;
    never.grant(10);
    never.nothing("it asked for none").await;
}

/// The will of a session that did not end in good order is sent, and sent once.
pub(super) async fn will_is_sent_once(world: World) {
    let watcher = world.peer().await;
    let mut watching = watcher.receive_session().await;
    watching.bind(vec![Binding::new(filter_of("gone/#"), Qos::AtLeastOnce)]).await;
    watching.grant(100);

    let lost = world.open(with_will("lost", Duration::ZERO)).await;
    world.cut(lost).await;
    assert_eq!(text(&watching.next().await.message), "lost");

    let closed = world.open(with_will("closed", Duration::ZERO)).await;
    closed.close(Close::default()).await.expect("a session closes");
    let asked = world.open(with_will("asked", Duration::ZERO)).await;
    asked.close(Close { will: true, expiry: None }).await.expect("a session closes");
    assert_eq!(text(&watching.next().await.message), "asked", "one that closed in good order leaves no will");
    watching.nothing("each will is sent once").await;

    if world.can().resume {
        delayed_will(&world, &mut watching).await;
    }
}

/// A session that comes back within the delay has not gone; one that does not has, once.
async fn delayed_will(world: &World, watching: &mut crate::client::Receiving) {
    let delay = Duration::from_secs(2);
    let first = world.open(with_will("late", delay)).await;
    world.cut(first).await;
    let second = world.open(with_will("late", delay)).await;
    world.advance(delay * 2).await;
    watching.nothing("a session that came back in time has not gone").await;
    world.cut(second).await;
    watching.nothing("the will waits").await;
    world.advance(delay * 2).await;
    assert_eq!(text(&watching.next().await.message), "late");
    world.advance(delay * 2).await;
    watching.nothing("a will is sent once").await;
}

fn with_will(name: &str, delay: Duration) -> Open {
    let will = Will { message: message(&format!("gone/{name}"), name), qos: Qos::AtLeastOnce, ttl: None, delay };
    let open = if delay.is_zero() { open(name) } else { named(name) };
    Open { will: Some(will), ..open }
}

/// Ending what has ended is answered, and harms nobody.
pub(super) async fn close_is_idempotent(world: World) {
    let client = world.client().await;
    let sender = client.sender().await;
    let receiving = world.follow(&client, "t", world.can().qos_out).await;
    sender.detach().await.expect("a producer detaches");
    receiving.detach(Detach::Close).await.expect("a consumer detaches");
    client.close(Close::default()).await.expect("a session closes");
    for _ in 0..2 {
        // Whether the second time is an error is the endpoint's own choice; that it is answered is the law.
        let _answered = client.close(Close::default()).await;
    }
    drop(client);
    still_works(&world, &world.client().await).await;
}

async fn still_works(world: &World, client: &Client) {
    let mut receiving = world.follow(client, "still", world.can().qos_out).await;
    receiving.grant(1);
    world.peer().await.sender().await.accepted(message("still", "here"), Qos::AtLeastOnce).await;
    assert_eq!(text(&receiving.next().await.message), "here");
}

/// A session that is dropped counts as lost: what it held lapses to others, and what it sent stays sent.
pub(super) async fn drop_is_a_lost_connection(world: World) {
    let client = world.client().await;
    let mut sender = client.sender().await;
    let queue = world.queue("work", QueueSettings::default()).await;
    for payload in ["1", "2"] {
        sender.accepted(message(queue.as_str(), payload), world.can().qos_in.min(Qos::AtLeastOnce)).await;
    }
    if world.can().queues {
        let mut receiving = client.receive_queue(&queue).await;
        receiving.grant(2);
        let first = receiving.next().await;
        receiving.next().await;
        let step = Step::Outcome { outcome: Outcome::Accepted, settled: true };
        assert_eq!(receiving.step(&first, step).await.expect("a link that lives settles"), Settled::Applied);
        drop(receiving);
    }
    drop((sender, client));
    world.quiet().await;
    let mut receiving = world.peer().await.receive_queue(&queue).await;
    let left = receiving.drain().await;
    assert_eq!(
        left,
        if world.can().queues { vec!["2"] } else { vec!["1", "2"] },
        "what was held lapses, what was settled does not"
    );
    still_works(&world, &world.client().await).await;
}
