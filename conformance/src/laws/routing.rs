//! Bindings bring each message once.

use std::collections::BTreeSet;

use roadbed_core::{Binding, Qos};

use crate::client::text;
use crate::world::{World, address, filter_of, message};

/// Members of a group share its messages: each goes to one of them; who is not in the group gets them all.
pub(super) async fn shared_binding_delivers_once(world: World) {
    const COUNT: usize = 20;
    let clients = [world.client().await, world.client().await, world.client().await];
    let plain = Binding::new(filter_of("t/+"), world.can().qos_out.min(Qos::AtLeastOnce));
    let shared = Binding { share: Some("group".into()), ..plain.clone() };
    let mut members = Vec::new();
    for client in &clients[..2] {
        let mut member = world.follow_all(client, vec![shared.clone()]).await;
        member.grant(u32::MAX);
        members.push(member);
    }
    let mut other = world.follow_all(&clients[2], vec![plain]).await;
    other.grant(u32::MAX);
    let mut sender = world.peer().await.sender().await;
    for n in 0..COUNT {
        sender.accepted(message("t/x", &n.to_string()), Qos::AtLeastOnce).await;
    }
    for delivery in other.take(COUNT).await {
        other.accept(&delivery).await;
    }
    other.nothing("each once").await;
    let mut seen = BTreeSet::new();
    for member in &mut members {
        while let Some(delivery) = member.soon().await {
            assert!(seen.insert(text(&delivery.message)), "{} went to two", text(&delivery.message));
            member.accept(&delivery).await;
        }
    }
    assert_eq!(seen.len(), COUNT, "every message went to one of the group");
}

/// A message that several bindings of one session bring comes once, with the strongest assurance, and all their ids.
pub(super) async fn overlapping_bindings_deliver_once(world: World) {
    let client = world.client().await;
    let bound = |filter: &str, qos, id| Binding { id: Some(id), ..Binding::new(filter_of(filter), qos) };
    let best = world.can().qos_out;
    let bindings = vec![bound("a/#", Qos::AtMostOnce, 1), bound("a/+", best, 2), bound("b", best, 3)];
    let mut receiving = world.follow_all(&client, bindings).await;
    receiving.grant(10);
    world.peer().await.sender().await.accepted(message("a/b", "once"), Qos::ExactlyOnce).await;
    let delivery = receiving.next().await;
    assert_eq!(delivery.qos, best, "the strongest assurance of the bindings");
    let ids: BTreeSet<u32> = delivery.info.as_ref().expect("the ids were asked for").bindings.iter().copied().collect();
    assert_eq!(ids, BTreeSet::from([1, 2]), "the ids of all that brought it");
    receiving.accept(&delivery).await;
    receiving.nothing("once is enough").await;
}

/// What no binding brings does not come; a binding that is taken away brings nothing more.
pub(super) async fn unbound_is_left_alone(world: World) {
    let client = world.client().await;
    let mut receiving = world.follow(&client, "a/+/c", world.can().qos_out).await;
    receiving.bind(vec![Binding::new(filter_of("d"), world.can().qos_out)]).await;
    receiving.grant(100);
    let mut sender = world.peer().await.sender().await;
    for to in ["a/b", "a/b/c/d", "A/b/c", "x", "queues/a", "$d", "d/"] {
        sender.send(message(to, to), Qos::AtLeastOnce).await;
    }
    receiving.nothing("no binding brings these").await;
    for to in ["a/b/c", "a//c", "d"] {
        sender.accepted(message(to, to), Qos::AtLeastOnce).await;
        let delivery = receiving.next().await;
        assert_eq!(delivery.message.address(), &address(to));
        receiving.accept(&delivery).await;
    }
    assert!(receiving.unbind("d").await, "there was such a binding");
    sender.send(message("d", "late"), Qos::AtLeastOnce).await;
    receiving.nothing("the binding was taken away").await;
    assert!(!receiving.unbind("d").await, "there is none any more");
}
