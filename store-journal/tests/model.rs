//! The store beside a plain map: what it says it keeps, it keeps, over any number of reopenings.

mod support;

use std::time::{Duration, Instant};

use roadbed_broker::{Expect, MemoryStore, NewCopy, Op, Row, RowKey, Store, StoreError, Unit};
use roadbed_core::{CopyId, Key, Message, Outcome, Payload, Qos, QueueId, Time};
use roadbed_store_journal::simulation::SimFs;
use roadbed_store_journal::{JournalConfig, JournalError, JournalStore};
use support::{CloneFs as _, Load, Random, commit, config, open, told};

#[test]
fn keeps_what_a_map_keeps() {
    for seed in 0..20 {
        let (fs, mut model) = (SimFs::new(), MemoryStore::new());
        let (mut load, mut random) = (Load::new(seed, 600), Random::new(seed + 1000));
        let (mut store, mut cleaned) = (open(&fs), 0);
        for _ in 0..60 {
            let units: Vec<_> = (0..=random.below(20)).map(|_| load.unit()).collect();
            let answers = commit(&mut store, units.clone());
            assert_eq!(answers, commit(&mut model, units), "seed {seed}");
            if random.below(8) == 0 {
                cleaned += store.stats().cleaned_segments;
                drop(store);
                store = open(&fs);
            }
            if random.below(4) == 0 {
                assert_eq!(told(&mut store).expect("the store"), told(&mut model).expect("the model"), "seed {seed}");
            }
        }
        cleaned += store.stats().cleaned_segments;
        assert!(cleaned > 0, "seed {seed}: nothing was cleaned");
        is_bounded(seed, &store);
    }
}

/// Cleaning goes on between groups, and ends.
fn is_bounded(seed: u64, store: &JournalStore) {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let stats = store.stats();
        if stats.bytes <= 2 * stats.live_bytes + (32 << 10) + 2 * (16 << 10) {
            return;
        }
        assert!(Instant::now() < until, "seed {seed}: {stats:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_large_message_makes_a_large_segment() {
    let fs = SimFs::new();
    let mut load = Load::new(7, 200_000);
    let units: Vec<_> = (0..20).map(|_| load.unit()).collect();
    let mut model = MemoryStore::new();
    assert_eq!(commit(&mut open(&fs), units.clone()), commit(&mut model, units));
    assert_eq!(told(&mut open(&fs)).expect("the store"), told(&mut model).expect("the model"));
}

#[test]
fn an_unmet_precondition_fails_alone() {
    let fs = SimFs::new();
    let put = |id, expects| {
        let ops = vec![Op::Put(RowKey::Broker, Row::Broker { epoch: id as u32, positions: 0 })];
        Unit { expects, ops, ..Unit::new(id) }
    };
    let expect = |revision| vec![Expect::Revision(RowKey::Broker, revision)];
    let mut store = open(&fs);
    let answers = commit(&mut store, vec![put(1, expect(0)), put(2, expect(0)), put(3, expect(1)), put(4, vec![])]);
    let unmet = Err(StoreError::Precondition(Expect::Revision(RowKey::Broker, 0)));
    assert_eq!(answers, [(1, Ok(())), (2, unmet), (3, Ok(())), (4, Ok(()))]);
    let revision = |store: &mut JournalStore| store.get(&RowKey::Broker).expect("read").map(|(_, revision)| revision);
    assert_eq!(revision(&mut store), Some(3));
    drop(store);
    assert_eq!(revision(&mut open(&fs)), Some(3));
}

#[test]
fn a_second_process_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = JournalStore::open(folder.path(), config()).expect("opens");
    let second = JournalStore::open(folder.path(), config());
    assert!(matches!(second, Err(JournalError::Locked)), "{second:?}");
    drop(first);
    JournalStore::open(folder.path(), JournalConfig::default()).expect("opens again");
}

#[test]
fn on_a_real_disk_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut load, mut model) = (Load::new(99, 3000), MemoryStore::new());
    for _ in 0..5 {
        let units: Vec<_> = (0..200).map(|_| load.unit()).collect();
        let mut store = JournalStore::open(folder.path(), config()).expect("opens");
        assert_eq!(commit(&mut store, units.clone()), commit(&mut model, units));
        assert_eq!(told(&mut store).expect("the store"), told(&mut model).expect("the model"));
    }
}

#[test]
fn an_ended_journal_is_whole_without_being_dropped() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut load = Load::new(3, 900);
    let mut store = JournalStore::open(folder.path(), config()).expect("opens");
    let mut units: Vec<_> = (0..50).map(|_| load.unit()).collect();
    let (monitor, count) = (store.monitor(), units.len());
    store.submit(&mut units);
    monitor.end();
    assert!(support::wait(&mut store, count).iter().all(|(_, answer)| answer.is_ok()));
    let kept = told(&mut store).expect("read");
    assert_eq!(told(&mut JournalStore::open(folder.path(), config()).expect("opens")).expect("read"), kept);
    drop(store);
}

/// However little each has that is kept: what tells of it is not garbage, which cleaning would write again and again.
#[test]
fn cleaning_many_small_things_comes_to_its_end() {
    let mut store = JournalStore::open_stepped(SimFs::new().shared(), config()).expect("open");
    let message =
        |n: u64| Message::builder("t".parse().expect("an address"), Payload::from(n.to_le_bytes().to_vec())).build();
    let small = |n: u64| {
        let key = RowKey::SessionKey("alice".into(), "a-session".into(), Key::Number(n as u32));
        let copy = CopyId { queue: QueueId(1), seq: n };
        let new = NewCopy { copy, qos: Qos::AtLeastOnce, retained: false, bindings: Vec::new() };
        vec![
            Op::Put(key, Row::Key { outcome: Outcome::Accepted, order: n, until: None }),
            Op::Enqueue { message: message(n), at: Time::from_millis(n), copies: vec![new] },
            Op::Append { message: message(n), at: Time::from_millis(n), partitions: vec![QueueId(20)] },
        ]
    };
    for n in 1..=4000 {
        store.submit(&mut vec![Unit { ops: small(n), ..Unit::new(n) }]);
        if n % 20 == 0 {
            store.step();
        }
    }
    (0..4000).for_each(|_| store.step());
    let cleaned = store.stats().cleaned_segments;
    (0..1000).for_each(|_| store.step());
    assert_eq!(store.stats().cleaned_segments, cleaned, "it is cleaned although nothing happens");
}
