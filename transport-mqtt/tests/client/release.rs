//! What MQTT cannot say: releases and failures.

use std::time::Duration;

use roadbed_core::{Endpoint, Outcome, Qos, Settled};
use roadbed_mqtt::OnRelease;
use roadbed_mqtt::codec::{AckKind, Version};

use crate::support::{Receiving, VERSIONS, ack, config, hub, kept, message, quiet, scripted, sender, text};

#[tokio::test(start_paused = true)]
async fn a_released_message_comes_again_in_its_place() {
    for version in VERSIONS {
        for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
            let hub = hub(config(version));
            let session = hub.client.open(kept("s")).await.unwrap();
            let mut receiving = Receiving::new(&*session).await.follow("t", qos).await;
            let sender = sender(&*session).await;
            for payload in ["1", "2"] {
                sender.send(message("t", payload), qos).await.unwrap();
            }
            quiet().await;
            for attempt in 1..4 {
                let delivery = receiving.next().await;
                assert_eq!((text(&delivery.message).as_str(), delivery.attempt), ("1", attempt));
                let outcome = if attempt == 1 { Outcome::Released } else { Outcome::FAILED };
                assert_eq!(receiving.settle(&delivery, outcome.clone()).await, Settled::Applied);
                assert_eq!(receiving.settle(&delivery, outcome).await, Settled::Late, "it has another name now");
            }
            for payload in ["1", "2"] {
                let delivery = receiving.next().await;
                assert_eq!(text(&delivery.message), payload);
                receiving.accept(&delivery).await;
            }
            receiving.nothing().await;
            assert_eq!(hub.client.counts().releases_unsaid, 3);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn withheld_it_waits_for_the_next_connection() {
    let (client, mut waiting) = scripted(config(Version::V5).on_release(OnRelease::Withhold));
    let (session, mut peer) = tokio::join!(client.open(kept("s")), waiting.open(false));
    let session = session.unwrap();
    let mut receiving = Receiving::new(&*session).await;
    for (payload, id) in [("1", 1), ("2", 2)] {
        peer.deliver(payload, Qos::AtLeastOnce, id, false).await;
    }
    let (first, second) = (receiving.next().await, receiving.next().await);
    receiving.settle(&first, Outcome::Released).await;
    receiving.accept(&second).await;
    receiving.nothing().await;
    peer.silent().await;
    drop(peer);

    let mut peer = waiting.open(true).await;
    for (payload, id) in [("1", 1), ("2", 2)] {
        peer.deliver(payload, Qos::AtLeastOnce, id, true).await;
    }
    let again = receiving.next().await;
    assert_eq!((text(&again.message).as_str(), again.attempt), ("1", 2));
    receiving.accept(&again).await;
    for id in [1, 2] {
        assert_eq!(peer.ack().await, ack(AckKind::PubAck, id), "what was accepted stays so");
    }
    receiving.nothing().await;
}

#[tokio::test(start_paused = true)]
async fn or_the_connection_is_opened_anew_at_once() {
    for version in VERSIONS {
        let hub = hub(config(version).on_release(OnRelease::Reconnect));
        let session = hub.client.open(kept("s")).await.unwrap();
        let mut receiving = Receiving::new(&*session).await.follow("t", Qos::AtLeastOnce).await;
        sender(&*session).await.send(message("t", "1"), Qos::AtLeastOnce).await.unwrap();
        let first = receiving.next().await;
        receiving.settle(&first, Outcome::Released).await;
        let again = receiving.next().await;
        assert_eq!((text(&again.message).as_str(), again.attempt), ("1", 2));
        receiving.accept(&again).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(hub.client.counts().connected, 2);
    }
}
