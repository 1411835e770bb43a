//! How long links are kept, and what is made for them.

use std::time::Duration;

use fe2o3_amqp_types::messaging::{Target, TargetArchetype, TerminusExpiryPolicy};
use roadbed_amqp::codec::State;
use roadbed_amqp::{Event, UnsettledMap};
use roadbed_core::Durability;

use super::peer::{Hub, Peer, map, receiver, sender};

async fn send_to(hub: &Hub, address: &str, payload: &str) -> State {
    let mut peer = Peer::connect(hub).await;
    let mut attach = sender("filler", 0);
    attach.target =
        Some(Box::new(TargetArchetype::Target(Target { address: Some(address.into()), ..Target::default() })));
    let (link, _) = peer.attach(attach, &UnsettledMap::new()).await;
    peer.credit().await;
    peer.send(link, payload, false);
    peer.outcome().await
}

#[tokio::test]
async fn a_durable_subscription_keeps_what_is_sent_while_it_is_away() {
    for (source, restart) in [("plant/+", false), ("plant/+", true), ("plant/7", false)] {
        let hub = Hub::new().await;
        let mut peer = Peer::connect(&hub).await;
        let (link, _) = peer.attach(receiver("sub", source, 60), &UnsettledMap::new()).await;
        peer.grant(link, 10);
        assert_eq!(send_to(&hub, "plant/7", "here").await, State::Accepted);
        let (incoming, _) = peer.receive().await;
        peer.accept(&incoming).await;
        peer.cut().await;
        assert_eq!(send_to(&hub, "plant/7", "away").await, State::Accepted);
        let hub = if restart { hub.restart().await } else { hub };
        let mut peer = Peer::connect(&hub).await;
        let (link, theirs) = peer.attach(receiver("sub", source, 60), &UnsettledMap::new()).await;
        assert_eq!(theirs, UnsettledMap::new());
        peer.grant(link, 10);
        let (incoming, payload) = peer.receive().await;
        assert_eq!(payload, "away");
        peer.cut().await;
        // Of the session's own queue, too, tags stay the same.
        let mut peer = Peer::connect(&hub).await;
        let (link, theirs) = peer.attach(receiver("sub", source, 60), &map([(incoming.tag, None)])).await;
        assert_eq!(theirs, map([(incoming.tag, None)]));
        peer.grant(link, 10);
        let (again, payload) = peer.receive().await;
        assert_eq!((again.tag, again.resume, payload.as_str()), (incoming.tag, true, "away"));
        peer.accept(&again).await;
        peer.silence().await;
    }
}

#[tokio::test]
async fn a_terminus_is_kept_as_long_as_was_granted() {
    let hub = Hub::new().await;
    assert_eq!(send_to(&hub, "queues/q", "x").await, State::Accepted);
    let mut peer = Peer::connect(&hub).await;
    let session = peer.session;
    let (link, answer) = peer.attach_in(session, receiver("r", "queues/q", 1), &UnsettledMap::new()).await;
    assert_eq!(answer.source.expect("a source").timeout, 1);
    peer.grant(link, 1);
    peer.receive().await;
    peer.cut().await;
    hub.settles("queues/q", (0, 1)).await;
    tokio::time::sleep(Duration::from_millis(1200)).await;
    hub.settles("queues/q", (1, 0)).await;
}

#[tokio::test]
async fn never_is_as_long_as_the_hub_keeps_anything_and_it_says_so() {
    let hub = Hub::new().await;
    let mut peer = Peer::connect(&hub).await;
    let mut attach = receiver("r", "queues/q", 0);
    attach.source.as_mut().expect("a source").expiry_policy = TerminusExpiryPolicy::Never;
    let session = peer.session;
    let (_, answer) = peer.attach_in(session, attach, &UnsettledMap::new()).await;
    let source = answer.source.expect("a source");
    assert_eq!((source.expiry_policy, source.timeout), (TerminusExpiryPolicy::ConnectionClose, 7 * 24 * 3600));
}

#[tokio::test]
async fn a_timer_starts_when_its_policy_says() {
    for (policy, runs) in [
        (TerminusExpiryPolicy::LinkDetach, true),
        (TerminusExpiryPolicy::SessionEnd, false),
        (TerminusExpiryPolicy::ConnectionClose, false),
    ] {
        let hub = Hub::new().await;
        assert_eq!(send_to(&hub, "queues/q", "x").await, State::Accepted);
        let mut peer = Peer::connect(&hub).await;
        let mut attach = receiver("r", "queues/q", 1);
        attach.source.as_mut().expect("a source").expiry_policy = policy.clone();
        let session = peer.begin().await;
        let (link, _) = peer.attach_in(session, attach, &UnsettledMap::new()).await;
        peer.grant(link, 1);
        peer.receive().await;
        peer.machine.detach(link, false, None, &mut peer.out).expect("attached");
        peer.flush().await;
        tokio::time::sleep(Duration::from_millis(1300)).await;
        assert_eq!(hub.counts("queues/q").await, if runs { (1, 0) } else { (0, 1) }, "{policy:?}");
        peer.machine.end_session(session, None, &mut peer.out).expect("begun");
        peer.flush().await;
        tokio::time::sleep(Duration::from_millis(1300)).await;
        let ended = policy != TerminusExpiryPolicy::ConnectionClose;
        assert_eq!(hub.counts("queues/q").await, if ended { (1, 0) } else { (0, 1) }, "{policy:?}");
        peer.cut().await;
        tokio::time::sleep(Duration::from_millis(1300)).await;
        hub.settles("queues/q", (1, 0)).await;
    }
}

#[tokio::test]
async fn a_closed_link_gives_back_what_it_held_at_once() {
    let hub = Hub::new().await;
    assert_eq!(send_to(&hub, "queues/q", "x").await, State::Accepted);
    let mut peer = Peer::connect(&hub).await;
    let (link, _) = peer.attach(receiver("r", "queues/q", 60), &UnsettledMap::new()).await;
    peer.grant(link, 1);
    peer.receive().await;
    peer.machine.detach(link, true, None, &mut peer.out).expect("attached");
    peer.flush().await;
    hub.settles("queues/q", (1, 0)).await;
}

#[tokio::test]
async fn a_dynamic_target_is_a_queue_as_long_as_its_link() {
    let hub = Hub::new().await;
    let mut peer = Peer::connect(&hub).await;
    let mut attach = sender("made", 0);
    attach.target = Some(Box::new(TargetArchetype::Target(Target { dynamic: true, ..Target::default() })));
    let session = peer.session;
    let (link, answer) = peer.attach_in(session, attach, &UnsettledMap::new()).await;
    let Some(TargetArchetype::Target(target)) = answer.target.map(|target| *target) else { panic!("a target") };
    let address = target.address.expect("an address");
    assert!(format!("{:?}", target.dynamic_node_properties).contains("lifetime-policy"));
    peer.credit().await;
    peer.send_as(link, "x", false, Durability::Volatile);
    assert_eq!(peer.outcome().await, State::Accepted);
    assert_eq!(hub.counts(&address).await, (1, 0));
    let (reader, _) = peer.attach(receiver("r", &address, 0), &UnsettledMap::new()).await;
    peer.grant(reader, 2);
    assert_eq!(peer.receive().await.1, "x");
    peer.machine.detach(link, true, None, &mut peer.out).expect("attached");
    let Event::Detach(gone, detached) = peer.next().await else { panic!("its reader is told") };
    assert_eq!((gone, detached.fault.expect("why").condition.as_str()), (reader, "amqp:not-found"));
}

#[tokio::test]
async fn a_dynamic_source_that_is_kept_has_the_same_address_again() {
    let hub = Hub::new().await;
    let mut addresses = vec![];
    for payload in ["first", "second"] {
        let mut peer = Peer::connect(&hub).await;
        let mut attach = receiver("replies", "", 60);
        let source = attach.source.as_mut().expect("a source");
        (source.address, source.dynamic) = (None, true);
        let session = peer.session;
        let (link, answer) = peer.attach_in(session, attach, &UnsettledMap::new()).await;
        let address = answer.source.expect("a source").address.expect("an address");
        if addresses.is_empty() {
            peer.cut().await;
            assert_eq!(send_to(&hub, &address, payload).await, State::Accepted);
        } else {
            peer.grant(link, 2);
            let (incoming, came) = peer.receive().await;
            assert_eq!(came, "first", "what came while it was away");
            peer.accept(&incoming).await;
        }
        addresses.push(address);
    }
    assert_eq!(addresses[0], addresses[1]);
}
