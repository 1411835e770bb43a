//! Logs: what is appended stays in its order, and is read from any place by as many as want to.

use std::collections::BTreeMap;
use std::time::Duration;

use roadbed_core::{
    Address, Checkpoint, ConsumerTerms, Delivery, ErrorKind, Grant, LogDescription, LogPlace, LogSettings, LogStart,
    LogTerms, Manage, Managed, Outcome, Qos, QueueSettings, Settled, Step, Time,
};

use crate::client::{Client, Receiving, text};
use crate::world::{World, address, message};

const LOG: &str = "logs/l";
const PARTITION: &str = "logs/l/0";
const GROUP: &str = "billing";

/// What is sent in one group is in one partition, in the order of sending; positions have no gaps.
pub(super) async fn log_keeps_order_per_group(world: World) {
    declare(&world, LogSettings { partitions: 4, ..LogSettings::default() }).await;
    let client = world.client().await;
    let mut sender = client.sender().await;
    for n in 0..24 {
        let group = format!("group {}", n % 3);
        let sent = message(LOG, &format!("{n:02}")).to_builder();
        let sent = sent.details(|details| details.group = Some(group.into())).build();
        sender.accepted(sent, Qos::AtLeastOnce).await;
    }
    let peer = world.peer().await;
    let all = read(&mut reader(&peer, LogTerms::new(address(LOG), LogStart::Earliest)).await).await;
    assert_eq!(all.len(), 24, "everything is there, once");
    let (mut partitions, mut groups) = (BTreeMap::<u32, Vec<&Delivery>>::new(), BTreeMap::<u32, u32>::new());
    all.iter().for_each(|found| partitions.entry(place(found).partition).or_default().push(found));
    for (&partition, found) in &partitions {
        let positions: Vec<u64> = found.iter().map(|found| place(found).position).collect();
        assert_eq!(positions, (0..found.len() as u64).collect::<Vec<_>>(), "positions have no gaps");
        for found in found {
            let n: u32 = text(&found.message).parse().expect("a number was sent");
            assert_eq!(*groups.entry(n % 3).or_insert(partition), partition, "a group is in one partition");
        }
        for group in 0..3 {
            let own = |n: &u32| n % 3 == group;
            let sent: Vec<u32> =
                found.iter().filter_map(|found| text(&found.message).parse().ok()).filter(own).collect();
            assert!(sent.is_sorted(), "a group keeps its order: {sent:?}");
        }
    }
}

/// Reading takes nothing: everybody who reads reads everything, with the same positions and times.
pub(super) async fn log_readers_take_nothing(world: World) {
    single(&world, &["a", "b", "c"]).await;
    let client = world.client().await;
    let mut seen = Vec::new();
    for named in [PARTITION, LOG, PARTITION] {
        let mut reader = reader(&client, LogTerms::new(address(named), LogStart::Earliest)).await;
        let found = read(&mut reader).await;
        assert_eq!(texts(&found), ["a", "b", "c"]);
        seen.push(found.iter().map(|found| (place(found), enqueued_at(found))).collect::<Vec<_>>());
    }
    if world.can().drain {
        let mut reader = reader(&client, LogTerms::new(address(LOG), LogStart::Earliest)).await;
        reader.grant_as(Grant { credit: 10, drain: true, txn: None });
        assert_eq!(texts(&reader.take(3).await), ["a", "b", "c"]);
        assert!(reader.try_next().await.expect("a drain ends well").is_none(), "there is no more");
    }
    assert_eq!(seen[0].iter().map(|(place, _)| place.position).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(seen[0].is_sorted_by_key(|(_, at)| *at), "times follow positions");
    assert!(seen.iter().all(|other| *other == seen[0]), "the same places, whoever reads: {seen:?}");
}

/// A reader has exactly what stands at its start or after it, and then what comes.
pub(super) async fn log_is_read_from_any_place(world: World) {
    single(&world, &["a", "b"]).await;
    world.advance(Duration::from_secs(2)).await;
    append(&world, &["c", "d"]).await;
    let client = world.client().await;
    let mut all = reader(&client, LogTerms::new(address(PARTITION), LogStart::Earliest)).await;
    let third = enqueued_at(&read(&mut all).await[2]);
    let later = third + Duration::from_secs(100);
    for (from, wanted) in [
        (LogStart::Earliest, &["a", "b", "c", "d"][..]),
        (LogStart::Checkpoint, &["a", "b", "c", "d"]),
        (LogStart::Position(0), &["a", "b", "c", "d"]),
        (LogStart::Position(3), &["d"]),
        (LogStart::Position(4), &[]),
        (LogStart::Time(third), &["c", "d"]),
        (LogStart::Time(later), &[]),
        (LogStart::Latest, &[]),
    ] {
        let mut reader = reader(&client, LogTerms::new(address(PARTITION), from)).await;
        assert_eq!(texts(&read(&mut reader).await), wanted, "{from:?}");
        reader.detach(roadbed_core::Detach::Close).await.expect("a reader can leave");
    }
    let mut live = reader(&client, LogTerms::new(address(PARTITION), LogStart::Latest)).await;
    live.grant(10);
    live.nothing("nothing has come since").await;
    append(&world, &["e"]).await;
    let next = live.next().await;
    assert_eq!((&*text(&next.message), place(&next).position), ("e", 4), "what comes is read on");
}

/// Groups do not see each other, nor do readers without a group.
pub(super) async fn log_groups_read_independently(world: World) {
    single(&world, &["a", "b", "c"]).await;
    let client = world.client().await;
    for (group, wanted) in [("billing", "a"), ("audit", "a"), ("billing", "b"), ("audit", "b"), ("other", "a")] {
        assert_eq!(one_of(&client, group).await, wanted, "{group} goes on where it was");
    }
    let mut plain = reader(&client, LogTerms::new(address(PARTITION), LogStart::Checkpoint)).await;
    assert_eq!(texts(&read(&mut plain).await), ["a", "b", "c"], "without a group nothing is remembered");
}

/// A group goes on after what it has settled, in another session too; what was given back or not settled comes again.
pub(super) async fn log_checkpoint_resumes(world: World) {
    single(&world, &["a", "b", "c", "d"]).await;
    let client = world.client().await;
    let mut reader = group(&client, GROUP).await;
    reader.grant(3);
    let [a, b, c] = <[Delivery; 3]>::try_from(reader.take(3).await).expect("three of three");
    assert_eq!(reader.settle(&c, Outcome::Accepted).await, Settled::Applied);
    world.quiet().await;
    assert_eq!(checkpoint(&world, GROUP).await.unwrap_or(0), 0, "not beyond what is not settled");
    assert_eq!(reader.settle(&a, Outcome::Accepted).await, Settled::Applied);
    world.quiet().await;
    assert_eq!(checkpoint(&world, GROUP).await, Some(1), "everything before it is settled");
    reader.settle(&b, Outcome::Released).await;
    world.quiet().await;
    assert_eq!(checkpoint(&world, GROUP).await, Some(1), "what was given back is not done with");
    world.cut((reader, client)).await;
    let client = world.client().await;
    let mut again = group(&client, GROUP).await;
    let found = read(&mut again).await;
    assert_eq!(texts(&found), ["b", "c", "d"], "from the checkpoint on");
    for found in &found {
        let rejected = again.settle(found, Outcome::rejected(roadbed_core::Condition::Refused)).await;
        assert_eq!(rejected, Settled::Applied, "rejected, it is done with as well");
    }
    world.quiet().await;
    assert_eq!(checkpoint(&world, GROUP).await, Some(4));
}

/// A reader that outlives a lost connection misses nothing, and what it was done with does not come again: of one partition or all,
/// for a group or not.
pub(super) async fn log_reader_goes_on_after_reconnect(world: World) {
    declare(&world, LogSettings { partitions: 1, ..LogSettings::default() }).await;
    append(&world, &["a", "b", "c"]).await;
    let client = world.client().await;
    let mut readers = Vec::new();
    for address in [LOG, PARTITION].map(address) {
        readers.push(reader(&client, LogTerms::new(address.clone(), LogStart::Earliest)).await);
        let group = if address.as_str() == LOG { "all" } else { "one" };
        readers.push(reader(&client, LogTerms::group(address, group)).await);
    }
    for reader in &mut readers {
        reader.grant(2);
        for found in reader.take(2).await {
            reader.accept(&found).await;
        }
    }
    world.quiet().await;
    if let Some(carriers) = world.carriers() {
        carriers.cut();
    }
    append(&world, &["d"]).await;
    for reader in &mut readers {
        reader.grant(10);
        assert_eq!(texts(&reader.take(2).await), ["c", "d"], "where it was");
        reader.nothing("nothing comes twice").await;
    }
}

/// A reader with a higher epoch takes the partition from those of its group with a lower one, who are told; a lower one is refused.
pub(super) async fn log_higher_epoch_takes_over(world: World) {
    single(&world, &["a"]).await;
    let (one, two) = (world.client().await, world.client().await);
    let with = |epoch| LogTerms { epoch: Some(epoch), ..LogTerms::group(address(PARTITION), GROUP) };
    let mut low = reader(&one, with(1)).await;
    low.grant(10);
    let held = low.next().await;
    let mut high = reader(&two, with(2)).await;
    high.grant(10);
    assert_eq!(text(&high.next().await.message), "a", "it begins at the checkpoint");
    let lost = low.try_soon().await.expect_err("the lower one is told");
    assert_eq!(lost.kind(), ErrorKind::Stolen, "{lost}");
    // It may learn that, or that it comes too late; but it settles nothing for its group.
    if let Some(handle) = held.handle {
        let _ = low.step_ref(handle.into(), Step::Outcome { outcome: Outcome::Accepted, settled: true }).await;
    }
    world.quiet().await;
    assert_eq!(checkpoint(&world, GROUP).await.unwrap_or(0), 0, "who has lost the partition moves no checkpoint");
    let refused = one.try_receive(ConsumerTerms::log(with(1))).await.expect_err("a lower epoch is refused");
    assert_eq!(refused.kind(), ErrorKind::Stolen, "{refused}");
    let other = LogTerms { epoch: Some(1), ..LogTerms::group(address(PARTITION), "other") };
    let mut other = reader(&two, other).await;
    assert_eq!(texts(&read(&mut other).await), ["a"], "another group is another matter");
    append(&world, &["b"]).await;
    assert_eq!(text(&high.next().await.message), "b", "the higher one reads on");
}

/// A log is declared, described, given checkpoints and trimmed through the endpoint as it is behind it.
pub(super) async fn log_is_managed(world: World) {
    let client = world.client().await;
    let settings = LogSettings { partitions: 2, retention: Some(Duration::from_secs(3600)), bytes_max: 1 << 20 };
    client.manage(Manage::DeclareLog(address(LOG), settings)).await.expect("a log can be declared");
    append(&world, &["a", "b", "c"]).await;
    let binding = roadbed_core::Binding::new(crate::world::filter_of("plant/#"), Qos::ExactlyOnce);
    client.manage(Manage::Bind(address(LOG), binding)).await.expect("a log follows topics");
    let behind = described(&world).await;
    let partition = behind.partitions.iter().position(|found| found.next == 3).expect("one sender, one partition");
    let asked = |set| {
        let partition = address(&format!("{LOG}/{partition}"));
        Manage::Checkpoint(Checkpoint { partition, group: GROUP.into(), set, force: false })
    };
    let told = |managed| match managed {
        Ok(Managed::Checkpoint(position)) => position,
        other => panic!("a group has a checkpoint or none: {other:?}"),
    };
    assert_eq!(told(client.manage(asked(None)).await), None);
    assert_eq!(told(client.manage(asked(Some(2))).await), Some(2));
    assert_eq!(told(client.manage(asked(None)).await), Some(2));
    let back = client.manage(asked(Some(1))).await.expect_err("a checkpoint does not go back");
    assert_eq!(back.kind(), ErrorKind::Conflict, "{back}");
    let trimmed = client.manage(Manage::Trim(address(&format!("{LOG}/{partition}")), 1)).await;
    assert!(matches!(trimmed, Ok(Managed::Done(1))), "{trimmed:?}");
    let (behind, seen) = (described(&world).await, describe(&client).await);
    assert_eq!((&seen.address, seen.settings), (&behind.address, settings));
    assert_eq!(seen.bindings.len(), 1);
    for (seen, behind) in seen.partitions.iter().zip(&behind.partitions) {
        assert_eq!((seen.first, seen.next, seen.bytes), (behind.first, behind.next, behind.bytes));
        assert_eq!(seen.groups, behind.groups);
    }
    assert_eq!((seen.partitions.len(), seen.partitions[partition].first), (2, 1));
    client.manage(Manage::Delete(address(LOG))).await.expect("a log can be deleted");
    let gone = client.try_receive(ConsumerTerms::log(LogTerms::new(address(LOG), LogStart::Earliest))).await;
    assert_eq!(gone.expect_err("it is gone").kind(), ErrorKind::NotFound);
}

/// What is removed is the oldest, and nothing else: by hand, and by how long and how much a log keeps.
pub(super) async fn log_loses_only_the_oldest(world: World) {
    single(&world, &["a", "b", "c", "d"]).await;
    let client = world.client().await;
    let peer = world.peer().await;
    assert_eq!(one_of(&client, GROUP).await, "a");
    peer.manage(Manage::Trim(address(PARTITION), 2)).await.expect("a partition can be trimmed");
    for from in [LogStart::Earliest, LogStart::Position(0), LogStart::Position(1)] {
        let mut reader = reader(&client, LogTerms::new(address(PARTITION), from)).await;
        let found = read(&mut reader).await;
        assert_eq!((texts(&found), place(&found[0]).position), (vec!["c".into(), "d".into()], 2), "{from:?}");
    }
    assert_eq!(one_of(&client, GROUP).await, "c", "a group whose place is gone goes on with the oldest");
    let kept = LogSettings { retention: Some(Duration::from_secs(60)), ..described(&world).await.settings };
    peer.manage(Manage::DeclareLog(address(LOG), kept)).await.expect("a log can be changed");
    world.advance(Duration::from_secs(if world.is_manual() { 40 } else { 1 })).await;
    append(&world, &["e", "f"]).await;
    world.advance(Duration::from_secs(if world.is_manual() { 40 } else { 1 })).await;
    append(&world, &["g"]).await;
    let mut reader = reader(&client, LogTerms::new(address(PARTITION), LogStart::Earliest)).await;
    let found = texts(&read(&mut reader).await);
    assert!(["c", "d", "e", "f", "g"].ends_with(&found.iter().map(|text| &**text).collect::<Vec<_>>()), "{found:?}");
    assert!(found.ends_with(&["e".into(), "f".into(), "g".into()]), "what is young is kept: {found:?}");
}

/// What a transaction appends is there after its commit, at one place, and never after a rollback.
pub(super) async fn log_append_waits_for_the_commit(world: World) {
    single(&world, &["before"]).await;
    let (client, peer) = (world.client().await, world.peer().await);
    let mut sender = client.sender().await;
    let mut live = reader(&peer, LogTerms::new(address(PARTITION), LogStart::Latest)).await;
    live.grant(10);
    for commit in [false, true] {
        let transaction = client.transaction().await.expect("a transaction is declared");
        for payload in ["one", "two"] {
            let cookie = sender.submit(message(LOG, payload), Qos::AtLeastOnce, None, Some(transaction.id())).await;
            assert_eq!(sender.confirm(cookie).await.outcome, Outcome::Accepted);
        }
        live.nothing("nothing before the commit").await;
        match commit {
            true => transaction.commit().await.expect("the transaction commits"),
            false => transaction.rollback().await.expect("the transaction rolls back"),
        }
    }
    let found = live.take(2).await;
    assert_eq!(texts(&found), ["one", "two"]);
    assert_eq!(found.iter().map(|found| place(found).position).collect::<Vec<_>>(), [1, 2], "no gap of what never was");
}

/// What a transaction has settled moves the checkpoint with everything else that it does, and not at all after a rollback.
pub(super) async fn log_checkpoint_waits_for_the_commit(world: World) {
    single(&world, &["a", "b", "c"]).await;
    let out = world.queue("out", QueueSettings::default()).await;
    let client = world.client().await;
    let (mut sender, mut reader) = (client.sender().await, group(&client, GROUP).await);
    reader.grant(3);
    let found = reader.take(3).await;
    for commit in [false, true] {
        let transaction = client.transaction().await.expect("a transaction is declared");
        let txn = transaction.id();
        let cookie = sender.submit(message(out.as_str(), "done"), Qos::AtLeastOnce, None, Some(txn)).await;
        assert_eq!(sender.confirm(cookie).await.outcome, Outcome::Accepted);
        for found in &found[..2] {
            let step = Step::Enlist { txn, outcome: Outcome::Accepted, settled: false };
            reader.step(found, step).await.expect("what was read can be enlisted, again after a rollback");
        }
        world.quiet().await;
        assert_eq!(checkpoint(&world, GROUP).await.unwrap_or(0), 0, "nothing before the commit");
        match commit {
            true => transaction.commit().await.expect("the transaction commits"),
            false => transaction.rollback().await.expect("the transaction rolls back"),
        }
        world.quiet().await;
        let (moved, sent) = if commit { (2, 1) } else { (0, 0) };
        assert_eq!(checkpoint(&world, GROUP).await.unwrap_or(0), moved, "committed: {commit}");
        assert_eq!(world.describe(&out).await.available, sent, "committed: {commit}");
    }
    reader.accept(&found[2]).await;
    world.quiet().await;
    assert_eq!(checkpoint(&world, GROUP).await, Some(3), "and so it goes on");
}

/// A log with these settings, beside what is its own.
async fn declare(world: &World, settings: LogSettings) {
    let declared = world.peer().await.manage(Manage::DeclareLog(address(LOG), settings)).await;
    declared.expect("a log can be declared");
}

/// A log of one partition with messages in it.
async fn single(world: &World, texts: &[&str]) {
    declare(world, LogSettings { partitions: 1, ..LogSettings::default() }).await;
    append(world, texts).await;
}

async fn append(world: &World, texts: &[&str]) {
    let mut sender = world.peer().await.sender().await;
    for text in texts {
        sender.accepted(message(LOG, text), Qos::AtLeastOnce).await;
    }
}

async fn reader(client: &Client, terms: LogTerms) -> Receiving {
    client.receive(ConsumerTerms::log(terms)).await
}

async fn group(client: &Client, group: &'static str) -> Receiving {
    reader(client, LogTerms::group(address(PARTITION), group)).await
}

/// Everything that there is now.
async fn read(reader: &mut Receiving) -> Vec<Delivery> {
    reader.grant(100);
    let mut found = Vec::new();
    while let Some(next) = reader.soon().await {
        found.push(next);
    }
    found
}

/// A reader of a group comes, accepts one message, and leaves.
async fn one_of(client: &Client, name: &'static str) -> String {
    let mut reader = group(client, name).await;
    reader.grant(1);
    let found = reader.next().await;
    reader.accept(&found).await;
    reader.detach(roadbed_core::Detach::Close).await.expect("a reader can leave");
    text(&found.message)
}

async fn described(world: &World) -> LogDescription {
    describe(&world.peer().await).await
}

async fn describe(client: &Client) -> LogDescription {
    match client.manage(Manage::Describe(address(LOG))).await {
        Ok(Managed::Log(log)) => *log,
        other => panic!("{LOG} cannot be described: {other:?}"),
    }
}

async fn checkpoint(world: &World, group: &'static str) -> Option<u64> {
    let asked = Checkpoint { partition: partition(), group: group.into(), set: None, force: false };
    match world.peer().await.manage(Manage::Checkpoint(asked)).await {
        Ok(Managed::Checkpoint(position)) => position,
        other => panic!("{group} has no place: {other:?}"),
    }
}

fn partition() -> Address {
    address(PARTITION)
}

fn texts(found: &[Delivery]) -> Vec<String> {
    found.iter().map(|found| text(&found.message)).collect()
}

fn place(delivery: &Delivery) -> LogPlace {
    delivery.info.as_ref().and_then(|info| info.log).expect("a message of a log says where it stands")
}

fn enqueued_at(delivery: &Delivery) -> Time {
    delivery.info.as_ref().map(|info| info.enqueued_at).expect("a message of a log says when it came")
}
