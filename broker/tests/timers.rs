//! Deadlines: told in time, done in time, and configuration of the bounds.

mod support;

use std::task::Poll;
use std::time::Duration;

use roadbed_core::*;
use support::*;

#[test]
fn an_earlier_deadline_is_told() {
    let bench = Bench::new();
    let known = bench.broker.handle_timeout(START);
    assert_eq!(known, None);
    let (woken, waker) = flag();
    let mut cx = std::task::Context::from_waker(&waker);
    assert!(bench.broker.poll_timeout(&mut cx, known).is_pending());
    bench.named("device", 60).lose();
    assert!(woken.load(std::sync::atomic::Ordering::Relaxed));
    let due = START + Duration::from_secs(60);
    assert_eq!(bench.broker.poll_timeout(&mut cx, known), Poll::Ready(Some(due)));
    assert!(bench.broker.poll_timeout(&mut cx, Some(due)).is_pending());
    assert_eq!(bench.broker.next_timeout(), Some(due));
}

#[cfg(feature = "tokio")]
#[tokio::test]
async fn the_task_does_what_is_due() {
    let broker = roadbed_broker::Broker::new();
    let timers = broker.spawn_timers();
    let open = Open { name: Some("device".into()), expiry: Duration::from_secs(1), ..Open::default() };
    drop(broker.open(open).await.unwrap());
    assert_eq!(broker.counters().sessions, 1);
    while broker.counters().sessions > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    timers.abort();
}

#[cfg(feature = "serde")]
#[test]
fn settings_are_read_strictly() {
    use roadbed_broker::Settings;
    let settings: Settings = serde_json::from_str(r#"{"queues_max": 7}"#).unwrap();
    assert_eq!(settings.queues_max, 7);
    assert_eq!(settings.retained_messages_max, Settings::default().retained_messages_max);
    assert!(serde_json::from_str::<Settings>(r#"{"queue_max": 7}"#).is_err());
}

/// The same operations on the same clock: the same deliveries, names and counters.
#[test]
fn a_run_repeats_exactly() {
    let run = || {
        let bench = Bench::new();
        let mut clients: Vec<Client> = (0..8).map(|n| bench.named(&format!("client {n}"), 60)).collect();
        for (n, client) in clients.iter_mut().enumerate() {
            client.share("g", "a/+", ONE);
            client.follow(if n % 2 == 0 { "a/#" } else { "queues/+" }, TWO);
        }
        let mut seen = Vec::new();
        for n in 0..200_u64 {
            let from = (n % 8) as usize;
            let address = format!("{}/{}", if n % 3 == 0 { "queues" } else { "a" }, n % 5);
            clients[from].send(Message::new(address.parse().unwrap(), n.to_string()), ONE);
            let to = (n * 7 % 8) as usize;
            for delivery in clients[to].take() {
                let outcome = if n % 4 == 0 { Outcome::FAILED } else { Outcome::Accepted };
                seen.push(format!("{to} {:?} {:?}", delivery.handle, delivery.message.payload().to_bytes()));
                if delivery.handle.is_some() {
                    settle(clients[to].consumer.as_mut().unwrap(), &delivery, outcome);
                }
            }
            if n % 50 == 49 {
                bench.advance(7);
            }
        }
        let dynamic = ConsumerTerms { node: Node::Dynamic, ..ConsumerTerms::default() };
        let (_, attached) = futures::executor::block_on(clients[0].session.consumer(dynamic)).unwrap();
        (seen, attached.address, bench.counters())
    };
    assert_eq!(run(), run());
}
