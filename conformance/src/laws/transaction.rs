//! Everything together, or nothing.

use std::time::Duration;

use roadbed_core::{Address, Condition, ErrorKind, Manage, Managed, Outcome, Qos, QueueSettings, Step, TxnId};

use crate::client::{Client, text};
use crate::world::{World, address, message};

async fn queues(world: &World, names: [&str; 3]) -> [Address; 3] {
    let mut queues = Vec::new();
    for name in names {
        queues.push(world.queue(name, QueueSettings::default()).await);
    }
    queues.try_into().expect("three of three")
}

async fn available(world: &World, queue: &Address) -> u64 {
    world.describe(queue).await.available
}

/// Before the commit nothing has happened; after it, everything has: sends to several queues, and settlements.
pub(super) async fn commit_is_atomic(world: World) {
    let [one, two, from] = queues(&world, ["one", "two", "from"]).await;
    world.peer().await.sender().await.accepted(message(from.as_str(), "order"), Qos::AtLeastOnce).await;
    let client = world.client().await;
    let (mut sender, mut receiving) = (client.sender().await, client.receive_queue(&from).await);
    receiving.grant(1);
    let order = receiving.next().await;
    let transaction = client.transaction().await.expect("a transaction is declared");
    let txn = transaction.id();
    for to in [&one, &two, &one] {
        let cookie = sender.submit(message(to.as_str(), "item"), Qos::AtLeastOnce, None, Some(txn)).await;
        let confirm = sender.confirm(cookie).await;
        assert_eq!((confirm.outcome, confirm.provisional), (Outcome::Accepted, Some(txn)), "told as not yet applied");
    }
    let step = Step::Enlist { txn, outcome: Outcome::Accepted, settled: true };
    receiving.step(&order, step).await.expect("a delivery can be enlisted");
    world.quiet().await;
    assert_eq!((available(&world, &one).await, available(&world, &two).await), (0, 0), "nothing before the commit");
    assert_eq!(world.describe(&from).await.held, 1, "nothing before the commit");
    transaction.commit().await.expect("the transaction commits");
    assert_eq!((available(&world, &one).await, available(&world, &two).await), (2, 1), "everything after it");
    let left = world.describe(&from).await;
    assert_eq!((left.available, left.held), (0, 0), "everything after it");
}

/// Rolled back, by word or by dropping it, nothing has happened: what was sent never was, and what was settled is the
/// consumer's again.
pub(super) async fn rollback_returns_messages(world: World) {
    let [to, from, _] = queues(&world, ["to", "from", "other"]).await;
    world.peer().await.sender().await.accepted(message(from.as_str(), "order"), Qos::AtLeastOnce).await;
    let client = world.client().await;
    let (mut sender, mut receiving) = (client.sender().await, client.receive_queue(&from).await);
    receiving.grant(1);
    let order = receiving.next().await;
    for dropped in [false, true] {
        let transaction = client.transaction().await.expect("a transaction is declared");
        let txn = transaction.id();
        let cookie = sender.submit(message(to.as_str(), "item"), Qos::AtLeastOnce, None, Some(txn)).await;
        sender.confirm(cookie).await;
        let step = Step::Enlist { txn, outcome: Outcome::Accepted, settled: false };
        receiving.step(&order, step).await.expect("a delivery can be enlisted, again after a rollback");
        match dropped {
            true => drop(transaction),
            false => transaction.rollback().await.expect("a transaction can be rolled back"),
        }
        world.quiet().await;
        assert_eq!(available(&world, &to).await, 0, "what was sent never was");
        let left = world.describe(&from).await;
        assert_eq!((left.available, left.held), (0, 1), "what was settled is the consumer's again");
    }
    receiving.accept(&order).await;
    assert_eq!(world.describe(&from).await.held, 0, "and can be settled");
    receiving.nothing("it was settled").await;
}

/// A transaction belongs to its principal: another session of it may take part, a stranger may not.
pub(super) async fn transactions_have_a_scope(world: World) {
    let owner = world.client().await;
    let (sibling, stranger) = (world.client().await, world.peer().await);
    let mut receiving = world.follow(&owner, "t", Qos::AtLeastOnce).await;
    receiving.grant(10);
    let transaction = owner.transaction().await.expect("a transaction is declared");
    assert!(post(&sibling, "sibling", transaction.id()).await, "a session of the same principal may take part");
    assert!(!post(&stranger, "stranger", transaction.id()).await, "a stranger may not");
    receiving.nothing("nothing before the commit").await;
    transaction.commit().await.expect("a stranger cannot spoil it");
    assert_eq!(text(&receiving.next().await.message), "sibling");
    receiving.nothing("the stranger's message is in no transaction").await;
}

async fn post(client: &Client, payload: &str, txn: TxnId) -> bool {
    let mut sender = client.sender().await;
    let cookie = sender.submit(message("t", payload), Qos::AtLeastOnce, None, Some(txn)).await;
    sender.try_confirm(cookie).await.is_ok_and(|confirm| confirm.outcome == Outcome::Accepted)
}

/// Every outcome that is named within a transaction waits for its commit, and then means what it means without one.
pub(super) async fn outcomes_wait_for_the_commit(world: World) {
    let failed = Outcome::Modified { delivery_failed: true, undeliverable_here: false };
    for (n, (outcome, available, dead)) in [
        (Outcome::Accepted, 0, 0),
        (Outcome::rejected(Condition::Refused), 0, 1),
        (Outcome::Released, 1, 0),
        (failed, 1, 0),
    ]
    .into_iter()
    .enumerate()
    {
        let from = world.queue(&format!("from{n}"), QueueSettings::default()).await;
        world.peer().await.sender().await.accepted(message(from.as_str(), "order"), Qos::AtLeastOnce).await;
        let client = world.client().await;
        let mut receiving = client.receive_queue(&from).await;
        receiving.grant(1);
        let order = receiving.next().await;
        let transaction = client.transaction().await.expect("a transaction is declared");
        let step = Step::Enlist { txn: transaction.id(), outcome: outcome.clone(), settled: true };
        receiving.step(&order, step).await.expect("a delivery can be enlisted");
        world.quiet().await;
        assert_eq!(world.describe(&from).await.held, 1, "{outcome}: nothing before the commit");
        transaction.commit().await.expect("the transaction commits");
        let left = world.describe(&from).await;
        assert_eq!((left.available, left.held), (available, 0), "{outcome}: after the commit");
        let dead_letters = address(&format!("$dead/from{n}"));
        let peer = world.peer().await;
        let buried = matches!(peer.manage(Manage::Describe(dead_letters)).await, Ok(Managed::Description(node)) if node.available == 1);
        assert_eq!(buried, dead == 1, "{outcome}: a dead letter");
    }
}

/// What was settled by its receiver before the rollback is nobody's: it is available again.
pub(super) async fn what_was_given_up_comes_back_after_a_rollback(world: World) {
    let [from, _, _] = queues(&world, ["from", "other", "third"]).await;
    world.peer().await.sender().await.accepted(message(from.as_str(), "order"), Qos::AtLeastOnce).await;
    let client = world.client().await;
    let mut receiving = client.receive_queue(&from).await;
    receiving.grant(1);
    let order = receiving.next().await;
    let transaction = client.transaction().await.expect("a transaction is declared");
    let step = Step::Enlist { txn: transaction.id(), outcome: Outcome::Accepted, settled: true };
    receiving.step(&order, step).await.expect("a delivery can be enlisted");
    transaction.rollback().await.expect("a transaction can be rolled back");
    receiving.grant(1);
    assert_eq!(text(&receiving.next().await.message), "order");
}

/// A transaction whose time is over is rolled back, and its commit is told so.
pub(super) async fn transactions_time_out(world: World) {
    let [to, _, _] = queues(&world, ["to", "other", "third"]).await;
    let client = world.client().await;
    let mut sender = client.sender().await;
    let transaction = client.transaction().await.expect("a transaction is declared");
    let cookie = sender.submit(message(to.as_str(), "item"), Qos::AtLeastOnce, None, Some(transaction.id())).await;
    sender.confirm(cookie).await;
    world.advance(Duration::from_secs(3601)).await;
    let refused = transaction.commit().await.expect_err("its time is over");
    assert!(matches!(refused.kind(), ErrorKind::RolledBack | ErrorKind::TimedOut), "{refused}");
    assert_eq!(available(&world, &to).await, 0, "what was sent never was");
}
