//! Reconnects: what a kept session goes on with, and what a lost one starts anew.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use roadbed_core::{Endpoint, ErrorKind, Open, Outcome, Qos, SessionEvent};
use roadbed_mqtt::codec::{AckKind, Disconnect, ReasonCode, Version};
use roadbed_mqtt::{Event, connect_over};
use tokio::time::Instant;

use crate::support::{Receiving, VERSIONS, ack, config, hub, kept, message, quiet, scripted, sender, soon, text};

fn publish(event: Event) -> (String, u16, bool) {
    match event {
        Event::Publish(came) => (text(&came.message), came.packet_id.map_or(0, u16::from), came.dup),
        other => panic!("a message was expected: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_in_flight_is_sent_again_in_order_with_dup() {
    for version in VERSIONS {
        let (client, mut waiting) = scripted(config(version));
        let (session, mut peer) = tokio::join!(client.open(kept("s")), waiting.open(false));
        let session = session.unwrap();
        let sender = sender(&*session).await;
        let mut sent = Vec::new();
        let mut sends = Vec::new();
        for (payload, qos) in [("a", Qos::ExactlyOnce), ("b", Qos::AtLeastOnce), ("c", Qos::ExactlyOnce)] {
            let sender = sender.clone();
            sends.push(tokio::spawn(async move { sender.send(message("t", payload), qos).await }));
            sent.push(publish(peer.event().await));
        }
        assert!(sent.iter().all(|(_, _, dup)| !dup));
        peer.acknowledge(ack(AckKind::PubRec, sent[0].1)).await;
        assert_eq!(peer.ack().await, ack(AckKind::PubRel, sent[0].1));
        drop(peer);

        let mut peer = waiting.open(true).await;
        assert_eq!(peer.ack().await, ack(AckKind::PubRel, sent[0].1), "never PUBLISH after PUBREC");
        for (payload, id, _) in &sent[1..] {
            assert_eq!(publish(peer.event().await), (payload.clone(), *id, true), "{version:?}");
        }
        peer.acknowledge(ack(AckKind::PubComp, sent[0].1)).await;
        peer.acknowledge(ack(AckKind::PubAck, sent[1].1)).await;
        peer.acknowledge(ack(AckKind::PubRec, sent[2].1)).await;
        for send in sends {
            assert_eq!(soon(send).await.unwrap().unwrap().outcome, Outcome::Accepted);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_lost_the_session_gets_it_all_anew() {
    for version in VERSIONS {
        let (client, mut waiting) = scripted(config(version));
        let (session, mut peer) = tokio::join!(client.open(kept("s")), waiting.open(false));
        let session = session.unwrap();
        let serve = async {
            let Event::Subscribe(packet) = peer.event().await else { panic!("SUBSCRIBE") };
            let codes = vec![ReasonCode::GrantedQos1];
            peer.say(|machine, out| machine.subscribed(packet.packet_id, codes, Default::default(), out)).await;
        };
        let (mut receiving, ()) =
            tokio::join!(async { Receiving::new(&*session).await.follow("t", Qos::AtLeastOnce).await }, serve);
        let sender = sender(&*session).await;
        let sending = tokio::spawn(async move { sender.send(message("t", "x"), Qos::ExactlyOnce).await });
        publish(peer.event().await);
        peer.deliver("held", Qos::AtLeastOnce, 4, false).await;
        let held = receiving.next().await;
        drop(peer);

        let mut peer = waiting.open(false).await;
        let Event::Subscribe(packet) = peer.event().await else { panic!("SUBSCRIBE comes first") };
        assert_eq!(&*packet.subscriptions[0].filter, "t");
        let (payload, id, dup) = publish(peer.event().await);
        assert_eq!((payload.as_str(), dup), ("x", false), "it is new to this session");
        peer.acknowledge(ack(AckKind::PubRec, id)).await;
        assert_eq!(soon(sending).await.unwrap().unwrap().outcome, Outcome::Accepted);
        assert_eq!(peer.ack().await, ack(AckKind::PubRel, id));
        assert_eq!(receiving.settle(&held, Outcome::Accepted).await, roadbed_core::Settled::Late);
        peer.silent().await;
        assert_eq!(client.counts().sessions_lost, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn messages_wait_while_there_is_no_connection() {
    for version in VERSIONS {
        let hub = hub(config(version));
        let session = hub.client.open(kept("s")).await.unwrap();
        let mut receiving = Receiving::new(&*session).await.follow("t", Qos::AtLeastOnce).await;
        let sender = sender(&*session).await;
        hub.faults.cut();
        tokio::task::yield_now().await;
        for n in 0..5 {
            let qos = if n % 2 == 0 { Qos::AtMostOnce } else { Qos::AtLeastOnce };
            let (sender, message) = (sender.clone(), message("t", n.to_string()));
            tokio::spawn(async move { sender.send(message, qos).await });
            tokio::task::yield_now().await;
        }
        for n in 0..5 {
            let delivery = receiving.next().await;
            assert_eq!(text(&delivery.message), n.to_string());
            if delivery.handle.is_some() {
                receiving.accept(&delivery).await;
            }
        }
        assert_eq!(hub.client.counts().connected, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn pauses_grow_and_end_when_the_session_does() {
    let (times, first) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(None)));
    let (dialed, peers) = (Arc::clone(&times), Arc::clone(&first));
    let client = connect_over(config(Version::V5).reconnect_delay_max(Duration::from_secs(8)), move || {
        dialed.lock().unwrap().push(Instant::now());
        let (near, far) = tokio::io::duplex(1024);
        let is_first = peers.lock().unwrap().replace(far).is_none();
        async move { if is_first { Ok(near) } else { Err(std::io::Error::from(std::io::ErrorKind::ConnectionRefused)) } }
    });
    let opening = tokio::spawn(async move { client.open(Open::default()).await });
    quiet().await;
    let mut far = first.lock().unwrap().take().unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut far, b"\x20\x03\x00\x00\x00").await.unwrap();
    let session = opening.await.unwrap().unwrap();
    first.lock().unwrap().replace(far);
    *first.lock().unwrap() = Some(tokio::io::duplex(1).0);
    tokio::time::sleep(Duration::from_secs(120)).await;
    drop(session);
    let count = times.lock().unwrap().len();
    tokio::time::sleep(Duration::from_secs(120)).await;
    let times = times.lock().unwrap();
    assert_eq!(times.len(), count, "a session that ended does not connect");
    let pauses: Vec<_> = times.windows(2).skip(1).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses.len() >= 10, "{pauses:?}");
    assert!(pauses.iter().all(|pause| *pause <= Duration::from_secs(17)), "twice the longest at the most: {pauses:?}");
    assert!(pauses[pauses.len() - 1] >= Duration::from_secs(8), "the longest pause is reached: {pauses:?}");
}

#[tokio::test(start_paused = true)]
async fn what_happens_from_outside_is_told() {
    let leave = |reason| {
        move |machine: &mut roadbed_mqtt::Machine, out: &mut roadbed_core::Output| {
            machine.disconnect(Disconnect::new(reason), out)
        }
    };
    let (client, mut waiting) = scripted(config(Version::V5));
    let (session, mut peer) = tokio::join!(client.open(kept("s")), waiting.open(false));
    let session = session.unwrap();
    let event = || soon(std::future::poll_fn(|cx| session.poll_event(cx)));
    peer.say(leave(ReasonCode::ServerShuttingDown)).await;
    assert_eq!(event().await, SessionEvent::Draining);
    let mut peer = waiting.open(true).await;
    peer.say(leave(ReasonCode::SessionTakenOver)).await;
    assert_eq!(event().await, SessionEvent::TakenOver);
    let refused = session.producer(Default::default()).await.map(drop).expect_err("the session has ended");
    assert_eq!(refused.kind(), ErrorKind::Closed);
    assert!(refused.to_string().contains("Session taken over"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_right_that_ends_ends_the_session() {
    let (client, mut waiting) = scripted(config(Version::V5));
    let (session, peer) = tokio::join!(client.open(kept("s")), waiting.open(false));
    let session = session.unwrap();
    drop(peer);
    let (mut peer, _) = waiting.peer().await;
    peer.say(|machine, out| machine.refuse(ReasonCode::BadUserNameOrPassword, Default::default(), out)).await;
    let event = soon(std::future::poll_fn(|cx| session.poll_event(cx))).await;
    assert_eq!(event, SessionEvent::Revoked(roadbed_core::Condition::Unauthorized));
    let refused = session.producer(Default::default()).await.map(drop).expect_err("the session has ended");
    assert_eq!(refused.kind(), ErrorKind::Unauthenticated, "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_falls_silent_is_left() {
    for version in VERSIONS {
        let (client, mut waiting) = scripted(config(version).keep_alive_secs(20));
        let (session, peer) = tokio::join!(client.open(kept("s")), waiting.open(false));
        let _session = session.unwrap();
        let started = Instant::now();
        let _other = waiting.open(true).await;
        let elapsed = started.elapsed().as_secs();
        assert!((10..=40).contains(&elapsed), "after a ping that nobody has answered: {elapsed} s");
        drop(peer);
    }
}
