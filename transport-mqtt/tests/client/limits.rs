//! Everything is bounded, and what does not fit is refused or counted.

use std::task::Poll;
use std::time::Duration;

use roadbed_core::{
    Condition, Confirm, Endpoint, Grant, Message, Open, Outcome, Outgoing, Producer, ProducerTerms, Qos, TxnId,
};
use roadbed_mqtt::codec::Version;
use roadbed_mqtt::{MachineConfig, ServerConfig};

use crate::support::{Receiving, address, config, hub, message, quiet, reach, sender, soon, text};

fn outgoing(cookie: u64, payload: usize) -> Outgoing {
    let message = Message::new(address("t"), vec![0; payload]);
    Outgoing { cookie, message, qos: Qos::AtLeastOnce, key: None, txn: None }
}

async fn room(producer: &mut dyn Producer, messages: u32, bytes: usize) -> Option<u32> {
    let room = std::future::poll_fn(|cx| producer.poll_reserve(cx, messages, bytes));
    tokio::time::timeout(Duration::from_secs(1), room).await.ok().map(|room| room.unwrap())
}

#[tokio::test(start_paused = true)]
async fn the_outbox_is_bounded_and_what_was_reserved_is_taken() {
    let hub = hub(config(Version::V5)
        .outbox_messages_max(4)
        .outbox_bytes_max(1000)
        .reconnect_delay_min(Duration::from_secs(60)));
    let session = hub.client.open(Open::default()).await.unwrap();
    let (mut one, _) = session.producer(ProducerTerms::default()).await.unwrap();
    let (mut two, _) = session.producer(ProducerTerms::default()).await.unwrap();
    hub.faults.cut();
    quiet().await;
    assert_eq!(room(&mut *one, 3, 300).await, Some(3));
    assert_eq!(room(&mut *one, 3, 300).await, Some(3), "asking again adds nothing");
    assert_eq!(room(&mut *two, 3, 300).await, Some(1), "what the other has reserved is not free");
    let mut batch: Vec<_> = (0..4).map(|n| outgoing(n, 100)).collect();
    one.send(&mut batch);
    assert_eq!(batch.len(), 1, "what was granted is taken, and no more");
    let mut last = vec![outgoing(9, 300)];
    two.send(&mut last);
    assert!(last.is_empty());
    assert_eq!(room(&mut *two, 1, 0).await, None, "no room while nothing is answered");

    let mut confirms: Vec<Confirm> = Vec::new();
    while confirms.len() < 3 {
        soon(std::future::poll_fn(|cx| one.poll_confirms(cx, &mut confirms))).await.unwrap();
    }
    assert_eq!(confirms.iter().map(|confirm| confirm.cookie).collect::<Vec<_>>(), [0, 1, 2]);
    one.send(&mut batch);
    assert!(batch.is_empty(), "there is room again");
}

#[tokio::test(start_paused = true)]
async fn one_message_alone_always_fits() {
    let hub = hub(config(Version::V5).outbox_bytes_max(10));
    let session = hub.client.open(Open::default()).await.unwrap();
    let sender = sender(&*session).await;
    let large = message("t", "x".repeat(10_000));
    let (one, two) = (sender.send(large.clone(), Qos::AtLeastOnce), sender.send(large, Qos::AtLeastOnce));
    let (one, two) = soon(async { tokio::join!(one, two) }).await;
    assert_eq!(
        (one.unwrap().outcome, two.unwrap().outcome),
        (Outcome::Accepted, Outcome::Accepted),
        "one after the other"
    );
}

#[tokio::test(start_paused = true)]
async fn what_nobody_receives_is_dropped_at_qos_0_and_counted() {
    let hub = hub(config(Version::V5).inbox_messages_max(10));
    let session = hub.client.open(Open::default()).await.unwrap();
    let mut receiving = Receiving::new(&*session).await.follow("t", Qos::AtMostOnce).await;
    receiving.link.grant(Grant::credit(0));
    let sender = sender(&*session).await;
    for n in 0..25 {
        sender.send(message("t", n.to_string()), Qos::AtLeastOnce).await.unwrap();
    }
    quiet().await;
    assert_eq!((receiving.link.backlog(), hub.client.counts().dropped), (10, 15));
    receiving.link.grant(Grant::credit(100));
    for n in 0..10 {
        assert_eq!(text(&receiving.next().await.message), n.to_string());
    }
    receiving.nothing().await;
}

#[tokio::test(start_paused = true)]
async fn what_the_server_does_not_take_is_refused_in_words() {
    let config = config(Version::V5);
    let machine = MachineConfig::default().qos_max(roadbed_mqtt::codec::QoS::AtLeastOnce).retain_available(false);
    let machine = machine.limits(roadbed_mqtt::codec::Limits::default().packet_bytes_max(1000));
    let server = ServerConfig::permissive().clock(config.clock.clone()).machine(machine);
    let broker = hub(config.clone()).broker;
    let client = reach(config, std::sync::Arc::new(broker), server, &roadbed_conformance::Faults::new());
    let session = client.open(Open::default()).await.unwrap();
    assert_eq!(session.opened().qos_max, Qos::AtLeastOnce);
    assert_eq!(session.opened().message_bytes_max, 1000);
    let sender = sender(&*session).await;
    let refused = async |message: Message, qos| match sender.send(message, qos).await.unwrap().outcome {
        Outcome::Rejected(reason) => (reason.condition, reason.text.map(|text| text.to_string()).unwrap_or_default()),
        other => panic!("it cannot be {other}"),
    };
    let (condition, words) = refused(message("t", "x"), Qos::ExactlyOnce).await;
    assert!(condition == Condition::NotSupported && words.contains("QoS"), "{words}");
    let retained = Message::builder(address("t"), "x").retain(true).build();
    let (condition, words) = refused(retained, Qos::AtLeastOnce).await;
    assert!(condition == Condition::NotSupported && words.contains("retain"), "{words}");
    let (condition, words) = refused(message("t", "x".repeat(2000)), Qos::AtLeastOnce).await;
    assert!(condition == Condition::TooLarge && words.contains("1000"), "{words}");
    let confirm = sender.send_in(TxnId(1), message("t", "x"), Qos::AtLeastOnce).await.unwrap();
    assert!(matches!(confirm.outcome, Outcome::Rejected(reason) if reason.condition == Condition::NotSupported));
    let confirm = sender.send(message("t", "x"), Qos::AtLeastOnce).await.unwrap();
    assert_eq!(confirm.outcome, Outcome::Accepted, "a refusal harms nobody else");
}

#[tokio::test(start_paused = true)]
async fn what_expires_in_the_outbox_is_told_and_never_sent() {
    let config = config(Version::V5).reconnect_delay_min(Duration::from_secs(60));
    let clock = config.clock.clone();
    let hub = hub(config);
    let session = hub.client.open(Open::default()).await.unwrap();
    let (mut producer, _) = session.producer(ProducerTerms::default()).await.unwrap();
    hub.faults.cut();
    quiet().await;
    let short = Message::builder(address("t"), "x").expires_at(clock.now() + Duration::from_secs(5)).build();
    producer.send(&mut vec![Outgoing { message: short, ..outgoing(1, 0) }]);
    let mut confirms = Vec::new();
    let mut confirmed = std::pin::pin!(std::future::poll_fn(|cx| producer.poll_confirms(cx, &mut confirms)));
    let waker = std::task::Waker::noop();
    assert!(matches!(Future::poll(confirmed.as_mut(), &mut std::task::Context::from_waker(waker)), Poll::Pending));
    soon(confirmed).await.unwrap();
    assert_eq!(confirms[0].outcome, Outcome::rejected(Condition::Expired));
}

#[tokio::test(start_paused = true)]
async fn what_waits_to_be_received_is_bounded_in_bytes() {
    const COUNT: u16 = 200;
    const BYTES: usize = 16 << 10;
    for version in crate::support::VERSIONS {
        let config = config(version).inbox_bytes_max(100_000).keep_alive_secs(0);
        let (client, mut waiting) = crate::support::scripted(config);
        let (session, mut peer) = tokio::join!(client.open(Open::default()), waiting.open(false));
        let mut receiving = Receiving::new(&*session.unwrap()).await;
        let server = tokio::spawn(async move {
            for id in 1..=COUNT {
                peer.deliver(&"x".repeat(BYTES), Qos::AtLeastOnce, id, false).await;
            }
            peer
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        let waiting = receiving.link.backlog() as usize;
        assert!(waiting * BYTES <= 100_000 + 2 * (256 << 10), "{waiting} messages are kept");
        for _ in 0..COUNT {
            let delivery = receiving.next().await;
            receiving.accept(&delivery).await;
        }
        soon(server).await.unwrap();
    }
}
