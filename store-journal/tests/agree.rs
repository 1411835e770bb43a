//! Looking for damage, repairing and opening say the same of a journal, whatever has become of its files.

mod support;

use std::io::IoSlice;
use std::sync::Arc;

use roadbed_store_journal::fs::Fs;
use roadbed_store_journal::simulation::SimFs;
use roadbed_store_journal::{JournalStore, Report, check_on, repair_on};
use support::{CloneFs, Load, Random, commit, config, told};

fn filled(seed: u64) -> SimFs {
    let (fs, mut load) = (SimFs::new(), Load::new(seed, 700));
    let mut store = support::open(&fs);
    for _ in 0..20 {
        let units: Vec<_> = (0..8).map(|_| load.unit()).collect();
        assert!(commit(&mut store, units).iter().all(|(_, answer)| answer.is_ok()));
    }
    // Half of them are not ended.
    if seed.is_multiple_of(2) {
        return copied(&fs);
    }
    drop(store);
    fs
}

/// The files as they are now.
fn copied(fs: &SimFs) -> SimFs {
    let copy = SimFs::new();
    fs.names().expect("names").iter().for_each(|name| put(&copy, name, &bytes(fs, name)));
    copy
}

fn bytes(fs: &SimFs, name: &str) -> Vec<u8> {
    let file = fs.open(name).expect("a file");
    let mut bytes = vec![0; file.bytes().expect("a length") as usize];
    file.read_at(0, &mut bytes).expect("read");
    bytes
}

fn put(fs: &SimFs, name: &str, bytes: &[u8]) {
    let file = fs.create(name, bytes.len() as u64).expect("there is room");
    file.write_at(0, &mut [IoSlice::new(bytes)]).expect("there is room");
    file.sync().expect("synced");
}

/// Does something to a file, as disks and people do.
fn harm(fs: &SimFs, random: &mut Random) {
    let names = fs.names().expect("names");
    let Some(name) = names.get(random.below(names.len().max(1) as u64) as usize) else { return };
    let mut found = bytes(fs, name);
    let len = found.len() as u64;
    let at = random.below(len + 1) as usize;
    match random.below(8) {
        0 => return fs.remove(name).expect("removed"),
        1 => found.clear(),
        2 => found.truncate(random.below(40) as usize),
        3 => found.truncate(at),
        4 => found.iter_mut().take(random.below(80) as usize).for_each(|byte| *byte = 0),
        5 => found.iter_mut().skip(at).take(random.below(5000) as usize).for_each(|byte| *byte = 0),
        6 => drop(found.drain(at..(at + random.below(99) as usize).min(len as usize))),
        _ => found.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 16),
    }
    put(fs, name, &found);
}

/// What they say of it; the first is whether it is sound.
fn compared(fs: &SimFs) -> (bool, Report) {
    let report = check_on(fs).expect("it can be read");
    let into = SimFs::new();
    assert_eq!(repair_on(fs, Arc::new(into.clone())).expect("repaired"), report);
    let again = check_on(&into).expect("it can be read");
    assert!(again.damage.is_empty(), "what is repaired is sound: {:?}", again.damage);
    let counts =
        |report: &Report| (report.copies, report.rows, report.logs.iter().map(|log| log.messages).sum::<u64>());
    assert_eq!(counts(&again), counts(&report), "what can be read is there");
    let repaired = told(&mut support::open(&into)).expect("what is repaired can be read");
    let opened = JournalStore::open_on(fs.shared(), config());
    match (opened, report.damage.is_empty()) {
        (Ok(mut store), true) => assert_eq!(told(&mut store).expect("what is sound can be read"), repaired),
        (Err(error), true) => panic!("a sound journal is refused: {error}"),
        (Ok(_) | Err(_), false) => {}
    }
    (report.damage.is_empty(), report)
}

#[test]
fn whatever_has_become_of_the_files() {
    let (mut sound, mut damaged) = (0, 0);
    for seed in 0..150 {
        let (fs, mut random) = (filled(seed), Random::new(seed));
        (0..random.below(3)).for_each(|_| harm(&fs, &mut random));
        match compared(&fs).0 {
            true => sound += 1,
            false => damaged += 1,
        }
    }
    assert!(sound > 30 && damaged > 30, "{sound} were sound, {damaged} damaged");
}

#[test]
fn a_file_that_was_made_and_not_begun_is_no_damage() {
    for made in [&[][..], &[0; 7], &[0; 32], &[0; 4096], b"ROADBED\0"] {
        let first = SimFs::new();
        put(&first, "00000000.journal", made);
        assert_eq!(compared(&first), (true, Report::default()));

        for seed in 0..2 {
            let next = filled(seed);
            let kept = check_on(&next).expect("checked");
            let id = next.names().expect("names").iter().max().map(|name| u32::from_str_radix(&name[..8], 16));
            let id = id.expect("a segment").expect("a number") + 1;
            put(&next, &format!("{id:08x}.journal"), made);
            assert_eq!(compared(&next), (true, kept));
        }
    }
}

#[test]
fn a_segment_without_its_beginning_is_damage_if_others_follow() {
    for made in [&[][..], &[0; 31], &[0; 4096]] {
        let fs = filled(3);
        put(&fs, "00000001.journal", made);
        let (sound, report) = compared(&fs);
        assert!(!sound && report.damage[0].file == "00000001.journal", "{:?}", report.damage);
        assert!(JournalStore::open_on(fs.shared(), config()).is_err(), "it is not opened");
    }
}
