//! How sessions end.

use std::time::Duration;

use roadbed_core::{Close, Endpoint, ErrorKind, Open, Qos, SessionEvent, Will};
use roadbed_mqtt::Event;
use roadbed_mqtt::codec::{ReasonCode, Version};

use crate::support::{Receiving, VERSIONS, config, hub, kept, message, scripted, sender, soon, text};

#[tokio::test(start_paused = true)]
async fn what_was_handed_over_leaves_before_the_goodbye() {
    for version in VERSIONS {
        let (client, mut waiting) = scripted(config(version));
        let (session, mut peer) = tokio::join!(client.open(Open::default()), waiting.open(false));
        let session = session.unwrap();
        let sender = sender(&*session).await;
        for n in 0..100 {
            sender.send(message("t", n.to_string()), Qos::AtMostOnce).await.unwrap();
        }
        let closing = session.close(Close::default());
        let server = async {
            for n in 0..100 {
                assert!(matches!(peer.event().await, Event::Publish(came) if text(&came.message) == n.to_string()));
            }
            assert!(matches!(peer.event().await, Event::Disconnect(packet) if packet.reason == ReasonCode::Success));
        };
        soon(async { tokio::join!(closing, server) }).await.0.unwrap();
        soon(session.close(Close::default())).await.expect("closing twice is harmless");
        let error = sender.send(message("t", "late"), Qos::AtMostOnce).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed);
    }
}

#[tokio::test(start_paused = true)]
async fn closing_waits_for_answers_but_not_for_ever() {
    let (client, mut waiting) = scripted(config(Version::V5).close_timeout(Duration::from_secs(3)));
    let (session, mut peer) = tokio::join!(client.open(kept("s")), waiting.open(false));
    let session = session.unwrap();
    let sender = sender(&*session).await;
    let sending = tokio::spawn(async move { sender.send(message("t", "x"), Qos::AtLeastOnce).await });
    assert!(matches!(peer.event().await, Event::Publish(_)));
    let started = tokio::time::Instant::now();
    let server = async move { assert!(matches!(peer.event().await, Event::Disconnect(_))) };
    soon(async { tokio::join!(session.close(Close::default()), server) }).await.0.unwrap();
    assert_eq!(started.elapsed().as_secs(), 3);
    assert_eq!(soon(sending).await.unwrap().unwrap_err().kind(), ErrorKind::Closed, "nobody knows what became of it");
}

#[tokio::test(start_paused = true)]
async fn a_close_says_what_becomes_of_will_and_session() {
    let (client, mut waiting) = scripted(config(Version::V5));
    let (session, mut peer) = tokio::join!(client.open(kept("s")), waiting.open(false));
    let session = session.unwrap();
    let close = Close { will: true, expiry: Some(Duration::from_secs(7)) };
    let server = async {
        let Event::Disconnect(packet) = peer.event().await else { panic!("DISCONNECT") };
        assert_eq!((packet.reason, packet.session_expiry_secs), (ReasonCode::DisconnectWithWill, Some(7)));
    };
    soon(async { tokio::join!(session.close(close), server) }).await.0.unwrap();

    let (session, _peer) = tokio::join!(client.open(Open::default()), waiting.open(false));
    // The scripted server has named an expiry of its own; one of our own names none.
    drop(session);
    let hub = hub(config(Version::V5));
    let session = hub.client.open(Open::default()).await.unwrap();
    let error = session.close(close).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
}

#[tokio::test(start_paused = true)]
async fn handles_that_are_dropped_leave_the_will() {
    for version in VERSIONS {
        let hub = hub(config(version));
        let watcher = hub.client.open(Open::default()).await.unwrap();
        let mut watching = Receiving::new(&*watcher).await.follow("gone", Qos::AtLeastOnce).await;
        let will = Will { message: message("gone", "will"), qos: Qos::AtLeastOnce, delay: Duration::ZERO, ttl: None };
        let session = hub.client.open(Open { will: Some(will.clone()), ..Open::default() }).await.unwrap();
        let (one, receiving) = (sender(&*session).await, Receiving::new(&*session).await);
        drop((session, receiving));
        watching.nothing().await;
        one.send(message("t", "x"), Qos::AtLeastOnce).await.expect("a link keeps its session");
        drop(one);
        let delivery = watching.next().await;
        assert_eq!(text(&delivery.message), "will");
        watching.accept(&delivery).await;

        let session = hub.client.open(Open { will: Some(will), ..Open::default() }).await.unwrap();
        soon(session.close(Close::default())).await.unwrap();
        watching.nothing().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_is_one_sessions_own() {
    for version in VERSIONS {
        let hub = hub(config(version));
        let first = hub.client.open(kept("s")).await.unwrap();
        let second = hub.client.open(kept("s")).await.unwrap();
        assert!(second.opened().resumed);
        let event = soon(std::future::poll_fn(|cx| first.poll_event(cx))).await;
        assert_eq!(event, SessionEvent::TakenOver);
        tokio::time::sleep(Duration::from_secs(100)).await;
        assert_eq!(hub.client.counts().connected, 2, "they do not fight for it");
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_of_mqtt_3_is_started_afresh_and_ended_for_good() {
    let hub = hub(config(Version::V311));
    let open = async |resume| hub.client.open(Open { resume, ..kept("s") }).await.unwrap();
    drop(open(true).await);
    assert!(open(true).await.opened().resumed);
    assert!(!open(false).await.opened().resumed);
    let session = open(true).await;
    assert!(session.opened().resumed, "afresh, but kept");
    let close = Close { will: false, expiry: Some(Duration::ZERO) };
    soon(session.close(close)).await.unwrap();
    assert!(!open(true).await.opened().resumed);
}
