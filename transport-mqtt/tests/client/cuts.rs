//! Connections that are cut at every byte, in both directions: nothing is lost, and what is sent exactly once comes once.

use roadbed_conformance::{Direction, Split};
use roadbed_core::{Endpoint, Outcome, Qos};
use roadbed_mqtt::codec::Version;

use crate::support::{Hub, Receiving, VERSIONS, config, hub, kept, message, sender, soon, text};

const COUNT: usize = 3;

/// Sends numbers through the server to itself. What was received, in order.
async fn numbers(hub: &Hub, qos: Qos, cut: Option<(Direction, u64)>) -> Vec<String> {
    let session = hub.client.open(kept("s")).await.unwrap();
    let (sender, mut receiving) = (sender(&*session).await, Receiving::new(&*session).await.follow("t", qos).await);
    if let Some((direction, bytes)) = cut {
        hub.faults.cut_after(direction, bytes);
    }
    let sending = async {
        for n in 0..COUNT {
            let confirm = soon(sender.send(message("t", n.to_string()), qos)).await.unwrap();
            assert_eq!(confirm.outcome, Outcome::Accepted);
        }
        soon(sender.send(message("t", "end"), qos)).await.unwrap();
    };
    let receiving = async {
        let mut seen = Vec::new();
        loop {
            let delivery = receiving.next().await;
            receiving.accept(&delivery).await;
            match text(&delivery.message) {
                end if end == "end" => return seen,
                number => seen.push(number),
            }
        }
    };
    tokio::join!(sending, receiving).1
}

fn expected() -> Vec<String> {
    (0..COUNT).map(|n| n.to_string()).collect()
}

/// How many bytes an undisturbed run takes each way after the cut is armed.
async fn lengths(version: Version, qos: Qos) -> [u64; 2] {
    let hub = hub(config(version));
    assert_eq!(numbers(&hub, qos, None).await, expected());
    [Direction::Up, Direction::Down].map(|direction| hub.faults.passed(direction))
}

#[tokio::test(start_paused = true)]
async fn exactly_once_is_once_wherever_the_connection_is_cut() {
    for version in VERSIONS {
        let lengths = lengths(version, Qos::ExactlyOnce).await;
        for (direction, length) in [Direction::Up, Direction::Down].into_iter().zip(lengths) {
            for bytes in 1..length {
                let hub = hub(config(version));
                let seen = numbers(&hub, Qos::ExactlyOnce, Some((direction, bytes))).await;
                assert_eq!(seen, expected(), "{version:?}, cut {direction:?} after {bytes} bytes");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn at_least_once_is_never_less_wherever_the_connection_is_cut() {
    for version in VERSIONS {
        let lengths = lengths(version, Qos::AtLeastOnce).await;
        for (direction, length) in [Direction::Up, Direction::Down].into_iter().zip(lengths) {
            for bytes in 1..length {
                let hub = hub(config(version));
                let seen = numbers(&hub, Qos::AtLeastOnce, Some((direction, bytes))).await;
                let mut first = Vec::new();
                seen.into_iter().for_each(|number| {
                    if !first.contains(&number) {
                        first.push(number);
                    }
                });
                assert_eq!(first, expected(), "{version:?}, cut {direction:?} after {bytes} bytes");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_cut_in_a_split_stream_changes_nothing() {
    let length = lengths(Version::V5, Qos::ExactlyOnce).await[1];
    for bytes in (1..length).step_by(3) {
        let hub = hub(config(Version::V5));
        hub.faults.split(Split::Random(bytes));
        assert_eq!(numbers(&hub, Qos::ExactlyOnce, Some((Direction::Down, bytes))).await, expected());
        assert!(hub.client.counts().connected >= 1);
    }
}
