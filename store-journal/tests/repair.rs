//! Damage is named, and what is left can be had again.

mod support;

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use roadbed_store_journal::{JournalError, JournalStore, check, repair};
use support::{Load, commit, config, told};

fn filled(path: &Path) -> Vec<String> {
    let mut load = Load::new(5, 900);
    let mut store = JournalStore::open(path, config()).expect("opens");
    let units: Vec<_> = (0..300).map(|_| load.unit()).collect();
    assert!(commit(&mut store, units).iter().all(|(_, answer)| answer.is_ok()));
    told(&mut store).expect("read")
}

fn segments(path: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(path).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|end| end == "journal")).collect();
    files.sort();
    files
}

#[test]
fn a_sound_journal_is_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let kept = filled(folder.path());
    let report = check(folder.path()).expect("checked");
    assert!(report.damage.is_empty(), "{:?}", report.damage);
    let logged: u64 = report.logs.iter().map(|log| log.messages).sum();
    let others = kept.iter().filter(|line| !line.starts_with("Gid") && !line.starts_with("QueueId")).count();
    assert_eq!((report.copies + report.rows + logged) as usize, others);
    assert!(logged > 0);
    assert_eq!(repair(folder.path()).expect("repaired").1, None);
}

#[test]
fn what_is_damaged_is_named_and_the_rest_is_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let kept = filled(folder.path());
    let files = segments(folder.path());
    assert!(files.len() > 2, "{files:?}");
    for file in &files {
        let file = std::fs::OpenOptions::new().write(true).open(file).expect("a segment");
        file.write_all_at(&[0xee; 4000], 5000).expect("written");
    }
    let report = check(folder.path()).expect("checked");
    assert!(!report.damage.is_empty());
    assert!(report.damage[0].to_string().contains("at byte"), "{}", report.damage[0]);
    let opened = JournalStore::open(folder.path(), config());
    let refused = opened
        .map_err(|error| error.to_string())
        .and_then(|mut store| told(&mut store).map(drop).map_err(|error| error.to_string()));
    assert!(refused.expect_err("damage is not passed over").contains("is damaged at byte"));

    let (said, old) = repair(folder.path()).expect("repaired");
    assert_eq!(said.damage, report.damage);
    assert_eq!(segments(&old.expect("moved")).len(), files.len());
    let left = told(&mut JournalStore::open(folder.path(), config()).expect("opens")).expect("read");
    assert!(!left.is_empty() && left.len() < kept.len() + 50);
    assert!(check(folder.path()).expect("checked").damage.is_empty());
}

#[test]
fn an_unknown_format_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    filled(folder.path());
    let first = segments(folder.path()).remove(0);
    let mut bytes = std::fs::read(&first).expect("read");
    bytes[8] = 9;
    let sum = crc32c::crc32c(&bytes[..28]);
    bytes[28..32].copy_from_slice(&sum.to_le_bytes());
    std::fs::write(&first, bytes).expect("written");
    let refused = JournalStore::open(folder.path(), config()).expect_err("refused");
    assert!(matches!(refused, JournalError::Format { found: 9, known: 1, .. }), "{refused}");
}

#[test]
fn a_missing_segment_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    filled(folder.path());
    let files = segments(folder.path());
    std::fs::remove_file(&files[1]).expect("removed");
    let refused = JournalStore::open(folder.path(), config()).expect_err("refused");
    assert!(refused.to_string().contains("is missing"), "{refused}");
}
