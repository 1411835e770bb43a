//! Power cuts, failing syncs, full disks and turned bits.

mod support;

use std::future::Future;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use roadbed_broker::{NewCopy, Op, Prepared, Store, StoreError, Unit};
use roadbed_core::{CopyId, Gid, Qos, QueueId, Time};
use roadbed_store_journal::simulation::{Kept, SimFs};
use roadbed_store_journal::{JournalStore, check_on};
use support::{CloneFs, Load, Random, commit, config, open, states, told, wait};

/// How many seeds each test tries: more are for long runs.
fn seeds() -> u64 {
    std::env::var("ROADBED_FAULT_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(10)
}

/// After a cut, what is there is the state after some unit that was submitted, and none that was answered is missing.
fn is_a_state(seed: u64, store: &mut JournalStore, units: &[Unit], answered: usize) {
    let found = told(store).expect("the store can be read");
    let at = states(units, answered).iter().position(|state| *state == found);
    assert!(
        at.is_some(),
        "seed {seed}: {answered} units were answered, and the store has none of the states after them"
    );
}

#[test]
fn a_power_cut_loses_nothing_that_was_answered() {
    for (n, kept) in [Kept::None, Kept::Some(500), Kept::Some(10), Kept::Some(990)].into_iter().enumerate() {
        for seed in 0..seeds() {
            let fs = SimFs::new();
            let (mut load, mut random) = (Load::new(seed, 900), Random::new(seed * 7 + n as u64));
            let mut store = open(&fs);
            let (mut units, mut answered) = (Vec::new(), 0);
            for _ in 0..random.below(12) {
                let count = random.below(30) + 1;
                let mut unit = || Unit { awaited: random.below(3) > 0, ..load.unit() };
                let group: Vec<_> = (0..count).map(|_| unit()).collect();
                commit(&mut store, group.clone());
                units.extend(group);
                // What nobody waits for is only sure with what is behind it.
                answered = units.iter().rposition(|unit| unit.awaited).map_or(answered, |last| last + 1);
            }
            // The power goes while these are under way.
            let group: Vec<_> = (0..=random.below(30)).map(|_| load.unit()).collect();
            units.extend(group.clone());
            store.submit(&mut group.clone());
            for _ in 0..random.below(2000) {
                std::hint::spin_loop();
            }
            let mut draw = random.clone();
            let after = fs.power_cut(kept, move || draw.next() as u32);
            drop(store);
            let report = check_on(&after).expect("it can be read");
            assert!(report.damage.is_empty(), "a torn end is no damage: {:?}", report.damage);
            is_a_state(seed, &mut open(&after), &units, answered);
            // And it goes on from there.
            assert_eq!(commit(&mut open(&after), vec![load.unit()])[0].1, Ok(()));
        }
    }
}

/// The end of a segment vouches for records that nobody has waited for: it must not be there before they are.
#[test]
fn a_power_cut_at_the_end_of_a_segment_leaves_nothing_that_is_not_there() {
    for seed in 0..seeds() {
        for operations in 0..24 {
            let fs = SimFs::new();
            let mut load = Load::new(seed, 14_000);
            let mut store = open(&fs);
            let mut units = vec![load.unit()];
            commit(&mut store, units.clone());
            let unawaited: Vec<_> = (0..6).map(|_| Unit { awaited: false, ..load.unit() }).collect();
            units.extend(unawaited.clone());
            fs.cut_after(operations, Kept::Some(700), seed * 100 + operations);
            commit(&mut store, unawaited);
            let after = fs.take_cut().expect("it was cut");
            drop(store);
            let report = check_on(&after).expect("it can be read");
            assert!(report.damage.is_empty(), "seed {seed}, operation {operations}: {:?}", report.damage);
            is_a_state(seed, &mut open(&after), &units, 1);
        }
    }
}

/// Opening finds what a killed process had written and not synced, and ends its segment: the end must not be there before that is.
#[test]
fn a_power_cut_while_opening_after_a_kill_leaves_nothing_that_is_not_there() {
    for seed in 0..seeds() {
        for operations in 0..6 {
            let fs = SimFs::new();
            let mut load = Load::new(seed, 4000);
            let units: Vec<_> = (0..3).map(|_| Unit { awaited: false, ..load.unit() }).collect();
            let mut store = JournalStore::open_stepped(fs.shared(), config()).expect("the journal opens");
            store.submit(&mut units.clone());
            store.step();
            drop(store);
            fs.cut_after(operations, Kept::Some(700), seed * 100 + operations);
            let mut store = open(&fs);
            let after = fs.take_cut().expect("it was cut");
            assert_eq!(told(&mut store).expect("read"), states(&units, units.len()).remove(0), "seed {seed}");
            drop(store);
            let report = check_on(&after).expect("it can be read");
            assert!(report.damage.is_empty(), "seed {seed}, operation {operations}: {:?}", report.damage);
            is_a_state(seed, &mut open(&after), &units, 0);
        }
    }
}

#[test]
fn what_nobody_waits_for_is_synced_a_little_later() {
    let (fs, mut load) = (SimFs::new(), Load::new(1, 900));
    let mut store = open(&fs);
    commit(&mut store, vec![load.unit()]);
    let unit = Unit { awaited: false, ..load.unit() };
    let synced = fs.syncs();
    assert_eq!(commit(&mut store, vec![unit])[0].1, Ok(()));
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while fs.syncs() == synced {
        assert!(std::time::Instant::now() < until, "no sync within a minute");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let after = fs.power_cut(Kept::None, || 0);
    drop(store);
    let mut again = Load::new(1, 900);
    let units = [again.unit(), again.unit()];
    is_a_state(1, &mut open(&after), &units, 2);
}

#[test]
fn after_a_failed_sync_nothing_is_promised() {
    for seed in 0..seeds() {
        let fs = SimFs::new();
        let (mut load, mut random) = (Load::new(seed, 900), Random::new(seed));
        let mut store = open(&fs);
        let monitor = store.monitor();
        fs.fail_sync_after(1 + random.below(20));
        let (mut units, mut answered, mut failed) = (Vec::new(), 0, false);
        for _ in 0..40 {
            let group: Vec<_> = (0..=random.below(10)).map(|_| load.unit()).collect();
            for (_, answer) in commit(&mut store, group.clone()) {
                match answer {
                    Ok(()) => {
                        assert!(!failed, "seed {seed}: a promise after a failure");
                        answered += 1;
                    }
                    Err(StoreError::Failed(_)) => failed = true,
                    Err(other) => panic!("seed {seed}: {other}"),
                }
            }
            units.extend(group);
        }
        assert!(failed, "seed {seed}: the sync did not fail");
        let mut told = std::pin::pin!(monitor.failed());
        assert!(told.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready(), "seed {seed}");
        let mut draw = random.clone();
        let after = fs.power_cut(Kept::Some(500), move || draw.next() as u32);
        drop(store);
        is_a_state(seed, &mut open(&after), &units, answered);
    }
}

#[test]
fn a_full_disk_refuses_the_new_and_lets_the_old_end() {
    let mut ever = 0;
    for seed in 0..seeds() {
        let fs = SimFs::new();
        fs.set_capacity(160 << 10);
        let mut load = Load::new(seed, 2000);
        let mut store = open(&fs);
        let (mut kept, mut refused) = (Vec::new(), 0);
        for _ in 0..400 {
            let unit = load.unit();
            match &commit(&mut store, vec![unit.clone()])[0].1 {
                Ok(()) => kept.push(unit),
                Err(StoreError::Full) => refused += 1,
                Err(other) => panic!("seed {seed}: {other}"),
            }
        }
        ever += refused;
        let found = told(&mut store).expect("read");
        assert_eq!(found, states(&kept, kept.len()).remove(0), "seed {seed}");
        // There is room again.
        fs.set_capacity(100 << 20);
        std::thread::sleep(std::time::Duration::from_millis(if refused > 0 { 510 } else { 0 }));
        assert_eq!(commit(&mut store, vec![load.unit()])[0].1, Ok(()), "seed {seed}");
    }
    assert!(ever > 0, "never full");
}

/// However fast it fills: what is kept can come to its end, after a restart too, and then there is room again.
#[test]
fn a_disk_that_fills_at_once_keeps_room_for_the_end_of_what_is_kept() {
    let fs = SimFs::new();
    fs.set_capacity(200 << 10);
    let mut load = Load::new(1, 900);
    let copies: Vec<_> = (1..=400).map(|seq| CopyId { queue: QueueId(1), seq }).collect();
    let mut enqueue = |copy: &CopyId| {
        let new = NewCopy { copy: *copy, qos: Qos::AtLeastOnce, retained: false, bindings: Vec::new() };
        let op = Op::Enqueue { message: load.message(), at: Time::ZERO, copies: vec![new] };
        Unit { ops: vec![op], ..Unit::new(copy.seq) }
    };
    let units: Vec<_> = copies.iter().map(&mut enqueue).collect();
    let mut store = open(&fs);
    let answers = commit(&mut store, units);
    let kept: Vec<_> =
        copies.iter().zip(&answers).filter(|(_, (_, answer))| answer.is_ok()).map(|(copy, _)| *copy).collect();
    assert!(kept.len() > 100 && kept.len() < 400, "{} are kept", kept.len());

    let after = fs.power_cut(Kept::Some(1000), || 0);
    drop(store);
    let mut store = open(&after);
    let retire = |copy: &CopyId| Unit { ops: vec![Op::Retire { copy: *copy }], ..Unit::new(copy.seq) };
    for copy in &kept {
        assert_eq!(commit(&mut store, vec![retire(copy)])[0].1, Ok(()), "{copy:?}");
    }
    let until = Instant::now() + Duration::from_secs(60);
    let new = CopyId { queue: QueueId(1), seq: 1000 };
    while commit(&mut store, vec![enqueue(&new)])[0].1 != Ok(()) {
        assert!(Instant::now() < until, "no room within a minute");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What was prepared is promised: it can be committed though the disk is full.
#[test]
fn a_full_disk_takes_the_end_of_what_was_prepared() {
    let fs = SimFs::new();
    fs.set_capacity(200 << 10);
    let mut load = Load::new(1, 900);
    let mut enqueue = |seq| {
        let copy = CopyId { queue: QueueId(1), seq };
        let new = NewCopy { copy, qos: Qos::AtLeastOnce, retained: false, bindings: Vec::new() };
        Op::Enqueue { message: load.message(), at: Time::ZERO, copies: vec![new] }
    };
    let mut store = open(&fs);
    let gid = Gid("g".into());
    let prepare = Op::Prepare(gid.clone(), Prepared::default());
    assert_eq!(commit(&mut store, vec![Unit { ops: vec![prepare], ..Unit::new(1) }])[0].1, Ok(()));
    let units = (2..400).map(|seq| Unit { ops: vec![enqueue(seq)], ..Unit::new(seq) }).collect();
    let answers = commit(&mut store, units);
    assert_eq!(answers.last().map(|(_, answer)| answer.clone()), Some(Err(StoreError::Full)));
    let resolve = vec![enqueue(1000), enqueue(1001), Op::Resolve(gid)];
    assert_eq!(commit(&mut store, vec![Unit { ops: resolve, ..Unit::new(400) }])[0].1, Ok(()));
    assert!(store.in_doubt().expect("read").is_empty());
}

#[test]
fn a_turned_bit_is_never_passed_over() {
    let (mut harmless, mut torn, mut refused) = (0, 0, 0);
    for seed in 0..seeds() {
        let fs = SimFs::new();
        let (mut load, mut random) = (Load::new(seed, 900), Random::new(seed));
        let mut store = open(&fs);
        let mut units = Vec::new();
        let mut last = 0;
        for _ in 0..25 {
            let group: Vec<_> = (0..=random.below(10)).map(|_| load.unit()).collect();
            last = commit(&mut store, group.clone()).len();
            units.extend(group);
        }
        let states = states(&units, units.len() - last);
        for _ in 0..20 {
            let copy = fs.power_cut(Kept::Some(1000), || 0);
            let files = copy.files();
            let (name, bytes) = &files[random.below(files.len() as u64) as usize];
            copy.flip(name, random.below(*bytes), random.below(8) as u8);
            let opened = JournalStore::open_on(copy.shared(), config());
            let found = opened.map_err(drop).and_then(|mut store| told(&mut store).map_err(drop));
            let Ok(found) = found else {
                refused += 1;
                continue;
            };
            // The last group may be gone, if the store had no time to say behind it that it was there.
            let at = states.iter().rposition(|state| *state == found);
            match at {
                Some(at) if at == last => harmless += 1,
                Some(_) => torn += 1,
                None => panic!("seed {seed}: {name} lost something silently"),
            }
        }
        drop(wait(&mut store, 0));
    }
    assert!(refused > 0 && harmless > 0, "{harmless} harmless, {torn} in the last group, {refused} refused");
}
