//! What a lost connection leaves behind.

use roadbed_core::{Close, Key, Outcome, Qos, SessionEvent, Settled, Step};

use crate::client::{Receiving, text};
use crate::faults::Direction;
use crate::world::{World, message};

/// What was not settled comes again, in order, and what was settled does not.
pub(super) async fn redelivers_unsettled_after_reconnect(world: World) {
    let client = world.named("r").await;
    let mut receiving = world.follow(&client, "t", Qos::AtLeastOnce).await;
    receiving.grant(10);
    let mut sender = world.peer().await.sender().await;
    for payload in ["1", "2", "3"] {
        sender.accepted(message("t", payload), Qos::AtLeastOnce).await;
    }
    let taken = receiving.take(3).await;
    receiving.accept(&taken[0]).await;
    world.quiet().await;
    world.cut((receiving, client)).await;

    let client = world.named("r").await;
    assert!(client.opened().resumed, "a session that is kept is resumed");
    let mut receiving = client.receive_session().await;
    receiving.grant(10);
    for payload in ["2", "3"] {
        let again = receiving.next().await;
        assert_eq!(text(&again.message), payload, "unsettled deliveries come again in order");
        receiving.accept(&again).await;
    }
    receiving.nothing("what was settled is over").await;
}

/// A message that is sent exactly once is taken once and received once, wherever the connection is cut.
pub(super) async fn exactly_once_across_reconnect(world: World) {
    let mut sent = Vec::new();
    let follower = world.named("out").await;
    let receiving = world.follow(&follower, "t", Qos::ExactlyOnce).await;
    world.cut((receiving, follower)).await;
    for (n, cut) in cuts(&world).into_iter().enumerate() {
        let payload = format!("{n}");
        send_with(&world, &payload, n as u32, cut).await;
        sent.push(payload);
    }
    let mut inbox = Inbox::default();
    for cut in cuts(&world).into_iter().filter(|cut| *cut != Cut::Never) {
        receive_with(&world, cut, &mut inbox).await;
    }
    receive_with(&world, Cut::Never, &mut inbox).await;
    assert_eq!(inbox.kept, sent, "each message once, in order");
}

/// A receiver that keeps a message before it says so, and knows it again as long as its answer may have been lost.
#[derive(Default)]
struct Inbox {
    kept: Vec<String>,
    unsure: Option<String>,
}

impl Inbox {
    fn keep(&mut self, payload: String) {
        if self.unsure.as_ref() == Some(&payload) {
            return;
        }
        assert!(!self.kept.contains(&payload), "{payload} is seen twice");
        self.unsure = Some(payload.clone());
        self.kept.push(payload);
    }

    fn answered(&mut self) {
        self.unsure = None;
    }
}

/// Where a connection is lost.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cut {
    Never,
    /// Right after it was sent or received.
    AtOnce,
    /// When its first half is confirmed.
    Halfway,
    /// After this many bytes.
    Bytes(Direction, u64),
}

/// Where to cut: everywhere over carriers, at each step in this process.
fn cuts(world: &World) -> Vec<Cut> {
    let mut cuts = vec![Cut::Never, Cut::AtOnce, Cut::Halfway];
    if world.carriers().is_some() {
        for bytes in 0..14 {
            cuts.extend([Direction::Up, Direction::Down].map(|way| Cut::Bytes(way, 1 + bytes * 4)));
        }
    }
    cuts
}

async fn send_with(world: &World, payload: &str, number: u32, cut: Cut) {
    let key = Key::Number(number + 1);
    let client = world.named("in").await;
    let mut sender = client.sender().await;
    if let (Cut::Bytes(way, bytes), Some(faults)) = (cut, world.carriers()) {
        faults.cut_after(way, bytes);
    }
    let cookie = sender.submit(message("t", payload), Qos::ExactlyOnce, Some(key.clone()), None).await;
    let confirmed = match cut {
        Cut::AtOnce => false,
        Cut::Never | Cut::Halfway => {
            assert_eq!(sender.confirm(cookie).await.outcome, Outcome::Accepted);
            true
        }
        Cut::Bytes(..) => sender.soon(cookie).await,
    };
    if cut == Cut::Never {
        sender.forget(key);
        world.quiet().await;
        drop(sender);
        client.close(keep()).await.expect("a session closes");
        return;
    }
    world.cut((sender, client)).await;
    finish_sending(world, payload, key, confirmed).await;
}

/// After a reconnect: what was not confirmed is sent again under its key, then the key is forgotten.
async fn finish_sending(world: &World, payload: &str, key: Key, confirmed: bool) {
    let client = world.named("in").await;
    let mut sender = client.sender().await;
    if !confirmed {
        let cookie = sender.submit(message("t", payload), Qos::ExactlyOnce, Some(key.clone()), None).await;
        let confirm = sender.confirm(cookie).await;
        assert_eq!(confirm.outcome, Outcome::Accepted, "the first answer stands ({:?})", confirm.why);
    }
    sender.forget(key);
    world.quiet().await;
    drop(sender);
    client.close(keep()).await.expect("a session closes");
}

async fn receive_with(world: &World, cut: Cut, inbox: &mut Inbox) {
    let client = world.named("out").await;
    assert!(client.opened().resumed, "the session is kept");
    let mut receiving = client.receive_session().await;
    finish_decided(&mut receiving, inbox).await;
    if let (Cut::Bytes(way, bytes), Some(faults)) = (cut, world.carriers()) {
        faults.cut_after(way, bytes);
    }
    receiving.grant(if cut == Cut::Never { u32::MAX } else { 1 });
    while let Ok(Some(delivery)) = receiving.try_soon().await {
        assert_eq!(delivery.qos, Qos::ExactlyOnce);
        if cut == Cut::AtOnce {
            break;
        }
        inbox.keep(text(&delivery.message));
        let first = Step::Outcome { outcome: Outcome::Accepted, settled: false };
        if receiving.step(&delivery, first).await.is_err() {
            break;
        }
        inbox.answered();
        if cut == Cut::Halfway || receiving.step(&delivery, Step::Settle).await.is_err() {
            break;
        }
    }
    world.cut((receiving, client)).await;
}

/// The second half of what was decided before the connection was lost.
async fn finish_decided(receiving: &mut Receiving, inbox: &mut Inbox) {
    let handles: Vec<_> = receiving.decided().iter().map(|left| left.handle).collect();
    for handle in handles {
        let settled = receiving.step_ref(handle.into(), Step::Settle).await.expect("a decided delivery is settled");
        assert!(matches!(settled, Settled::Applied | Settled::Repeated), "{settled:?}");
        inbox.answered();
    }
}

/// What was sent at most once is not sent again, even if nobody can know that it arrived.
pub(super) async fn at_most_once_is_never_sent_twice(world: World) {
    let client = world.named("amo").await;
    let mut receiving = world.follow(&client, "t", Qos::AtMostOnce).await;
    receiving.grant(10);
    let mut sender = world.peer().await.sender().await;
    for payload in ["1", "2"] {
        sender.accepted(message("t", payload), Qos::AtLeastOnce).await;
    }
    for payload in ["1", "2"] {
        let delivery = receiving.next().await;
        assert_eq!((text(&delivery.message).as_str(), delivery.qos), (payload, Qos::AtMostOnce));
        assert_eq!(delivery.handle, None, "what is sent at most once is settled already");
    }
    world.cut((receiving, client)).await;
    let client = world.named("amo").await;
    let mut receiving = client.receive_session().await;
    receiving.grant(10);
    receiving.nothing("at most once is never sent twice").await;
}

/// A kept session gets what came while its connection was away, by the bindings it had.
pub(super) async fn session_resumes(world: World) {
    let client = world.named("s").await;
    assert!(!client.opened().resumed, "there was none before");
    let receiving = world.follow(&client, "t", Qos::AtLeastOnce).await;
    world.cut((receiving, client)).await;
    let mut sender = world.peer().await.sender().await;
    for payload in ["1", "2", "3"] {
        sender.accepted(message("t", payload), Qos::AtLeastOnce).await;
    }
    let client = world.named("s").await;
    assert!(client.opened().resumed, "a kept session is found");
    let mut receiving = client.receive_session().await;
    receiving.grant(10);
    for payload in ["1", "2", "3"] {
        let delivery = receiving.next().await;
        assert_eq!(text(&delivery.message), payload);
        receiving.accept(&delivery).await;
    }
    drop(receiving);
    client.close(Close { will: false, expiry: Some(std::time::Duration::ZERO) }).await.expect("a session closes");
    world.quiet().await;
    assert!(!world.named("s").await.opened().resumed, "a session that was ended is gone");
}

/// Who opens a session's name owns it: the other is told, and nothing it does takes effect any more.
pub(super) async fn takeover_fences_the_loser(world: World) {
    let loser = world.named("one").await;
    let mut lost = world.follow(&loser, "t", Qos::AtLeastOnce).await;
    let mut losing = loser.sender().await;
    lost.grant(10);
    world.peer().await.sender().await.accepted(message("t", "first"), Qos::AtLeastOnce).await;
    let delivery = lost.next().await;

    let winner = world.named("one").await;
    assert!(winner.opened().resumed);
    let mut receiving = winner.receive_session().await;
    receiving.grant(10);
    assert_eq!(loser.event().await, SessionEvent::TakenOver);
    let settled = lost.step(&delivery, Step::Outcome { outcome: Outcome::Accepted, settled: true }).await;
    assert!(!matches!(settled, Ok(Settled::Applied)), "the loser settles nothing: {settled:?}");
    if losing.push(message("t", "of the loser"), Qos::AtLeastOnce) {
        assert!(!losing.soon_accepted().await, "the loser sends nothing");
    }
    let again = receiving.next().await;
    assert_eq!(text(&again.message), "first", "the winner has what the loser had");
    receiving.accept(&again).await;
    receiving.nothing("the loser sends nothing").await;
}

fn keep() -> Close {
    Close { will: false, expiry: Some(std::time::Duration::from_secs(3600)) }
}
