//! AMQP out: what the hub and the receiver know of a delivery when the connection is lost, or the hub killed.

use roadbed_amqp::codec::State;
use roadbed_amqp::{Event, Incoming, LinkId, UnsettledMap};

use super::peer::{Hub, Peer, map, receiver, sender};

const KEPT: u32 = 60;

/// A hub with stored messages in its queue.
async fn filled(payloads: &[&str]) -> Hub {
    let hub = Hub::new().await;
    let mut peer = Peer::connect(&hub).await;
    let (link, _) = peer.attach(sender("filler", 0), &UnsettledMap::new()).await;
    peer.credit().await;
    for payload in payloads {
        peer.send(link, payload, false);
        assert_eq!(peer.outcome().await, State::Accepted);
    }
    peer.cut().await;
    hub
}

async fn attached(hub: &Hub, ours: &UnsettledMap) -> (Peer, LinkId, UnsettledMap) {
    let mut peer = Peer::connect(hub).await;
    let (link, theirs) = peer.attach(receiver("r", "queues/q", KEPT), ours).await;
    peer.grant(link, 10);
    (peer, link, theirs)
}

/// A hub that has sent one message on a resumable link, before the crash.
async fn sent() -> (Hub, Peer, Incoming) {
    let hub = filled(&["x"]).await;
    let (mut peer, _, theirs) = attached(&hub, &UnsettledMap::new()).await;
    assert_eq!(theirs, UnsettledMap::new());
    let (incoming, payload) = peer.receive().await;
    assert_eq!((payload.as_str(), incoming.resume, incoming.second), ("x", false, true));
    (hub, peer, incoming)
}

async fn crash(peer: Peer, hub: Hub, restart: bool) -> Hub {
    peer.cut().await;
    if restart { hub.restart().await } else { hub }
}

#[tokio::test]
async fn p4_what_both_ends_have_goes_on() {
    for restart in [false, true] {
        let (hub, peer, incoming) = sent().await;
        let hub = crash(peer, hub, restart).await;
        assert_eq!(hub.counts("queues/q").await, (0, 1), "nobody else may have it");
        let (mut peer, _, theirs) = attached(&hub, &map([(incoming.tag, None)])).await;
        assert_eq!(theirs, map([(incoming.tag, None)]));
        let (again, payload) = peer.receive().await;
        assert_eq!((again.tag, again.resume, payload.as_str()), (incoming.tag, true, "x"));
        peer.accept(&again).await;
        hub.settles("queues/q", (0, 0)).await;
        peer.silence().await;
    }
}

#[tokio::test]
async fn p4_what_has_not_arrived_is_sent_as_new_under_its_tag() {
    for restart in [false, true] {
        let (hub, peer, incoming) = sent().await;
        let hub = crash(peer, hub, restart).await;
        let (mut peer, ..) = attached(&hub, &UnsettledMap::new()).await;
        let (again, payload) = peer.receive().await;
        assert_eq!((again.tag, again.resume, payload.as_str()), (incoming.tag, false, "x"));
        peer.accept(&again).await;
        hub.settles("queues/q", (0, 0)).await;
    }
}

#[tokio::test]
async fn p4_what_arrived_in_part_is_given_up_and_sent_anew() {
    let (hub, peer, incoming) = sent().await;
    let hub = crash(peer, hub, false).await;
    let (mut peer, ..) = attached(&hub, &map([(incoming.tag, Some(State::Received))])).await;
    let (again, payload) = peer.receive().await;
    assert_eq!((again.tag, again.resume, payload.as_str()), (incoming.tag, false, "x"));
    peer.accept(&again).await;
}

#[tokio::test]
async fn p5_an_outcome_that_the_receiver_says_as_it_attaches_is_applied_and_then_settled() {
    for restart in [false, true] {
        let (hub, peer, incoming) = sent().await;
        let hub = crash(peer, hub, restart).await;
        let known = map([(incoming.tag, Some(State::Accepted))]);
        let (mut peer, _, theirs) = attached(&hub, &known).await;
        assert_eq!(theirs, known);
        assert_eq!(hub.counts("queues/q").await, (0, 0), "retired before the attach was answered");
        let (settled, payload) = peer.receive().await;
        assert!(settled.resume && settled.settled && payload.is_empty());
        assert_eq!((settled.tag, settled.state), (incoming.tag, Some(State::Accepted)));
        peer.silence().await;
        let hub = crash(peer, hub, restart).await;
        let (mut peer, _, theirs) = attached(&hub, &UnsettledMap::new()).await;
        assert_eq!(theirs, UnsettledMap::new());
        peer.silence().await;
    }
}

#[tokio::test]
async fn p5_every_outcome_counts() {
    let released = State::Modified { delivery_failed: true, undeliverable_here: false };
    for (state, left) in [(State::Rejected(None), 0), (State::Released, 1), (released, 1)] {
        let (hub, peer, incoming) = sent().await;
        peer.cut().await;
        let (mut peer, ..) = attached(&hub, &map([(incoming.tag, Some(state))])).await;
        assert!(peer.receive().await.0.settled, "it is over");
        if left == 1 {
            let (again, _) = peer.receive().await;
            assert!(!again.resume && !again.settled, "and then another delivery of the same copy");
            peer.accept(&again).await;
        }
        hub.settles("queues/q", (0, 0)).await;
    }
}

#[tokio::test]
async fn p6_what_was_retired_and_not_settled_is_not_in_the_hubs_map() {
    for restart in [false, true] {
        let (hub, mut peer, incoming) = sent().await;
        let (session, delivery) = (incoming.link.session, incoming.delivery);
        peer.machine.answer(session, delivery, State::Accepted, &mut peer.out);
        peer.flush().await;
        hub.settles("queues/q", (0, 0)).await;
        // The hub has settled, and the word is lost.
        let hub = crash(peer, hub, restart).await;
        let (mut peer, _, theirs) = attached(&hub, &map([(incoming.tag, Some(State::Accepted))])).await;
        assert_eq!(theirs, UnsettledMap::new(), "so the receiver sees that it is settled");
        peer.silence().await;
    }
}

#[tokio::test]
async fn what_goes_on_comes_first_and_in_order_as_there_is_credit() {
    let hub = filled(&["a", "b", "c", "d"]).await;
    let mut peer = Peer::connect(&hub).await;
    let (link, _) = peer.attach(receiver("r", "queues/q", KEPT), &UnsettledMap::new()).await;
    peer.grant(link, 3);
    let mut tags = vec![];
    for _ in 0..3 {
        tags.push(peer.receive().await.0.tag);
    }
    peer.cut().await;
    let mut peer = Peer::connect(&hub).await;
    let (link, theirs) = peer.attach(receiver("r", "queues/q", KEPT), &map([(tags[1], None)])).await;
    assert_eq!(theirs.len(), 3);
    peer.grant(link, 2);
    let mut came = vec![];
    for _ in 0..2 {
        let (incoming, payload) = peer.receive().await;
        came.push((payload, incoming.resume));
    }
    peer.silence().await;
    peer.grant(link, 2);
    for _ in 0..2 {
        let (incoming, payload) = peer.receive().await;
        came.push((payload, incoming.resume));
    }
    let expected = [("a", false), ("b", true), ("c", false), ("d", false)].map(|(text, resume)| (text.into(), resume));
    assert_eq!(came, expected);
}

#[tokio::test]
async fn a_link_that_is_attached_over_another_connection_is_stolen_with_what_it_held() {
    let (hub, mut before, incoming) = sent().await;
    let (mut peer, _, theirs) = attached(&hub, &map([(incoming.tag, None)])).await;
    assert_eq!(theirs, map([(incoming.tag, None)]));
    let Event::Detach(_, detached) = before.next().await else { panic!("detached") };
    assert_eq!(detached.fault.expect("why").condition, "amqp:link:stolen");
    assert!(!detached.closed);
    let (again, _) = peer.receive().await;
    assert!(again.resume);
    peer.accept(&again).await;
    hub.settles("queues/q", (0, 0)).await;
}

#[tokio::test]
async fn an_ordinary_link_goes_on_within_its_session_and_gives_back_at_its_end() {
    let hub = filled(&["x"]).await;
    let mut peer = Peer::connect(&hub).await;
    let session = peer.begin().await;
    let (link, _) = peer.attach_in(session, receiver("r", "queues/q", 0), &UnsettledMap::new()).await;
    peer.grant(link, 1);
    let (incoming, _) = peer.receive().await;
    peer.machine.detach(link, false, None, &mut peer.out).expect("attached");
    let (link, answer) = peer.attach_in(session, receiver("r", "queues/q", 0), &map([(incoming.tag, None)])).await;
    assert_eq!(roadbed_amqp::unsettled_map(&answer), map([(incoming.tag, None)]));
    peer.grant(link, 1);
    let (again, payload) = peer.receive().await;
    assert_eq!((again.tag, again.resume, payload.as_str()), (incoming.tag, true, "x"));
    peer.machine.detach(link, false, None, &mut peer.out).expect("attached");
    peer.flush().await;
    hub.settles("queues/q", (0, 1)).await;
    peer.machine.end_session(session, None, &mut peer.out).expect("begun");
    peer.flush().await;
    hub.settles("queues/q", (1, 0)).await;
}
