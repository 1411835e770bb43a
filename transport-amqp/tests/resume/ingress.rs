//! AMQP in: what the sender and the hub know of a delivery when the connection is lost, or the hub killed.

use roadbed_amqp::UnsettledMap;
use roadbed_amqp::codec::State;

use super::peer::{Hub, Peer, map, named, sender};

const KEPT: u32 = 60;

async fn attached(hub: &Hub, ours: &UnsettledMap) -> (Peer, roadbed_amqp::LinkId, UnsettledMap) {
    let mut peer = Peer::connect(hub).await;
    let (link, theirs) = peer.attach(sender("s", KEPT), ours).await;
    peer.credit().await;
    (peer, link, theirs)
}

/// What a crash is: of the connection, or of the hub.
async fn crash(peer: Peer, hub: Hub, restart: bool) -> Hub {
    peer.cut().await;
    if restart { hub.restart().await } else { hub }
}

#[tokio::test]
async fn p0_what_has_not_come_is_sent_as_new() {
    for restart in [false, true] {
        let hub = Hub::new().await;
        let (peer, ..) = attached(&hub, &UnsettledMap::new()).await;
        let hub = crash(peer, hub, restart).await;
        let (mut peer, link, theirs) = attached(&hub, &map([(named("t"), None)])).await;
        assert_eq!(theirs, UnsettledMap::new(), "the hub has nothing");
        peer.send(link, "t", false);
        assert_eq!(peer.outcome().await, State::Accepted);
        hub.settles("queues/q", (1, 0)).await;
    }
}

#[tokio::test]
async fn p1_what_was_committed_and_not_answered_is_in_the_hubs_map() {
    for restart in [false, true] {
        let hub = Hub::new().await;
        let (mut peer, link, _) = attached(&hub, &UnsettledMap::new()).await;
        peer.send(link, "t", false);
        peer.flush().await;
        hub.settles("queues/q", (1, 0)).await;
        let hub = crash(peer, hub, restart).await;
        let (mut peer, link, theirs) = attached(&hub, &map([(named("t"), None)])).await;
        assert_eq!(theirs, map([(named("t"), Some(State::Accepted))]));
        peer.machine.settle_resumed(link, named("t"), Some(State::Accepted), &mut peer.out).expect("credit");
        peer.flush().await;
        peer.send(link, "another", false);
        assert_eq!(peer.outcome().await, State::Accepted);
        hub.settles("queues/q", (2, 0)).await;
        let hub = crash(peer, hub, restart).await;
        let (_, _, theirs) = attached(&hub, &map([(named("t"), None), (named("another"), None)])).await;
        assert_eq!(theirs, map([(named("another"), Some(State::Accepted))]), "what was settled is forgotten");
    }
}

#[tokio::test]
async fn p1_what_comes_again_all_the_same_is_no_second_copy() {
    for restart in [false, true] {
        let hub = Hub::new().await;
        let (mut peer, link, _) = attached(&hub, &UnsettledMap::new()).await;
        peer.send(link, "t", false);
        peer.flush().await;
        hub.settles("queues/q", (1, 0)).await;
        let hub = crash(peer, hub, restart).await;
        let (mut peer, link, _) = attached(&hub, &map([(named("t"), None)])).await;
        peer.send(link, "t", true);
        assert_eq!(peer.outcome().await, State::Accepted, "the first one's outcome");
        hub.settles("queues/q", (1, 0)).await;
    }
}

#[tokio::test]
async fn p2_what_was_answered_and_not_settled_goes_on_to_be_settled() {
    for restart in [false, true] {
        let hub = Hub::new().await;
        let (mut peer, link, _) = attached(&hub, &UnsettledMap::new()).await;
        peer.send(link, "t", false);
        assert_eq!(peer.outcome().await, State::Accepted);
        let hub = crash(peer, hub, restart).await;
        let known = map([(named("t"), Some(State::Accepted))]);
        let (mut peer, link, theirs) = attached(&hub, &known).await;
        assert_eq!(theirs, known);
        peer.machine.settle_resumed(link, named("t"), Some(State::Accepted), &mut peer.out).expect("credit");
        peer.flush().await;
        hub.settles("queues/q", (1, 0)).await;
    }
}

#[tokio::test]
async fn p3_what_the_sender_has_settled_the_hub_forgets_though_it_was_not_told() {
    for restart in [false, true] {
        let hub = Hub::new().await;
        let (mut peer, link, _) = attached(&hub, &UnsettledMap::new()).await;
        peer.send(link, "t", false);
        assert_eq!(peer.outcome().await, State::Accepted);
        // It has settled, and the word is lost.
        let hub = crash(peer, hub, restart).await;
        let (mut peer, link, theirs) = attached(&hub, &UnsettledMap::new()).await;
        assert_eq!(theirs, UnsettledMap::new());
        peer.send(link, "t", false);
        assert_eq!(peer.outcome().await, State::Accepted);
        hub.settles("queues/q", (2, 0)).await;
    }
}

#[tokio::test]
async fn a_sender_that_could_not_name_all_has_not_settled_the_others() {
    let hub = Hub::new().await;
    let (mut peer, link, _) = attached(&hub, &UnsettledMap::new()).await;
    for tag in ["a", "b"] {
        peer.send(link, tag, false);
        assert_eq!(peer.outcome().await, State::Accepted);
    }
    peer.cut().await;
    let mut peer = Peer::connect(&hub).await;
    let mut attach = sender("s", KEPT);
    attach.incomplete_unsettled = true;
    let (_, theirs) = peer.attach(attach, &map([(named("a"), None)])).await;
    assert_eq!(theirs.into_keys().collect::<Vec<_>>(), [named("a"), named("b")]);
}

#[tokio::test]
async fn an_ordinary_link_goes_on_within_its_session_and_is_new_after_it() {
    let hub = Hub::new().await;
    let mut peer = Peer::connect(&hub).await;
    let (link, _) = peer.attach(sender("s", 0), &UnsettledMap::new()).await;
    peer.credit().await;
    peer.send(link, "t", false);
    assert_eq!(peer.outcome().await, State::Accepted);
    peer.machine.detach(link, false, None, &mut peer.out).expect("attached");
    let (link, theirs) = peer.attach(sender("s", 0), &map([(named("t"), None)])).await;
    assert_eq!(theirs, map([(named("t"), None)]), "it is here, in whatever state");
    peer.credit().await;
    peer.send(link, "t", true);
    assert_eq!(peer.outcome().await, State::Accepted);
    hub.settles("queues/q", (1, 0)).await;
    peer.machine.detach(link, true, None, &mut peer.out).expect("attached");

    // The same tag on a link that is not the same any more is another delivery: the sender counts from the beginning again.
    let (link, _) = peer.attach(sender("s", 0), &UnsettledMap::new()).await;
    peer.credit().await;
    peer.send(link, "t", false);
    assert_eq!(peer.outcome().await, State::Accepted);
    hub.settles("queues/q", (2, 0)).await;
    peer.cut().await;
    let mut peer = Peer::connect(&hub).await;
    let (link, theirs) = peer.attach(sender("s", 0), &map([(named("t"), None)])).await;
    assert_eq!(theirs, UnsettledMap::new());
    peer.credit().await;
    peer.send(link, "t", false);
    assert_eq!(peer.outcome().await, State::Accepted);
    hub.settles("queues/q", (3, 0)).await;
}

#[tokio::test]
async fn a_link_that_is_closed_leaves_nothing() {
    let hub = Hub::new().await;
    let (mut peer, link, _) = attached(&hub, &UnsettledMap::new()).await;
    peer.send(link, "t", false);
    assert_eq!(peer.outcome().await, State::Accepted);
    peer.machine.detach(link, true, None, &mut peer.out).expect("attached");
    // At once: the new link waits until the old one is closed.
    let (link, theirs) = peer.attach(sender("s", KEPT), &map([(named("t"), None)])).await;
    assert_eq!(theirs, UnsettledMap::new());
    peer.credit().await;
    peer.send(link, "t", false);
    assert_eq!(peer.outcome().await, State::Accepted);
    hub.settles("queues/q", (2, 0)).await;
    peer.silence().await;
}
