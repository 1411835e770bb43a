//! Folders that were written by a journal, or by anybody else.

use std::io::IoSlice;
use std::sync::Arc;

use roadbed_broker::{LogStore, Store};
use roadbed_store_journal::fs::Fs;
use roadbed_store_journal::simulation::SimFs;
use roadbed_store_journal::{JournalConfig, JournalStore, Report, check_on, repair_on};

/// How many segments there are at most.
const SEGMENTS: usize = 4;

/// A journal in a few segments, each with its length before it. What is sound opens, and repairing it changes nothing; of what is not, all that the
/// report says can be read is there after it was repaired, and nothing else.
pub fn journal(data: &[u8]) {
    let fs = SimFs::new();
    for (n, bytes) in segments(data).into_iter().take(SEGMENTS).enumerate() {
        let file = fs.create(&format!("{n:08x}.journal"), bytes.len() as u64).expect("there is room");
        file.write_at(0, &mut [IoSlice::new(bytes)]).expect("there is room");
    }
    let Ok(report) = check_on(&fs) else {
        assert!(open(&fs).is_err(), "what cannot be read is opened");
        return;
    };
    let repaired = repaired(&fs, &report);
    match open(&fs) {
        Ok(store) if report.damage.is_empty() => assert_eq!(told(store, &report), repaired, "repaired, it is another"),
        Ok(mut store) => drop(store.recover()),
        Err(error) => assert!(!report.damage.is_empty(), "a sound journal is refused: {error}"),
    }
}

/// The codec of records, entries, rows and messages, without the checksums around them.
pub fn journal_codec(data: &[u8]) {
    roadbed_store_journal::fuzz::codec(data);
}

fn segments(mut data: &[u8]) -> Vec<&[u8]> {
    let mut segments = Vec::new();
    while let Some((length, rest)) = data.split_first_chunk::<2>() {
        let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
        let (segment, rest) = rest.split_at(length);
        segments.push(segment);
        data = rest;
    }
    segments
}

fn open(fs: &SimFs) -> Result<JournalStore, roadbed_store_journal::JournalError> {
    JournalStore::open_on(Arc::new(fs.clone()), JournalConfig::default().segment_bytes(4096).free_min(0, 0))
}

/// Repairs it elsewhere: that is sound, and has what the report says; and what is in it.
fn repaired(fs: &SimFs, report: &Report) -> Vec<String> {
    let into = SimFs::new();
    let said = repair_on(fs, Arc::new(into.clone())).expect("there is room");
    assert_eq!(&said, report, "repairing finds what checking does");
    let checked = check_on(&into).expect("it can be read");
    assert!(checked.damage.is_empty(), "repaired, it is damaged: {:?}", checked.damage);
    let messages = |report: &Report| report.logs.iter().map(|log| log.messages).sum::<u64>();
    let counts = |report: &Report| (report.copies, report.rows, messages(report));
    assert_eq!(counts(&checked), counts(report), "what can be read is there");
    told(open(&into).expect("what is repaired opens"), &checked)
}

/// What a broker learns that starts, and every message.
fn told(mut store: JournalStore, report: &Report) -> Vec<String> {
    let recovery = store.recover().expect("what is sound can be read");
    let mut told = vec![format!("{:?} {:?}", recovery.rows, recovery.prepared)];
    for queue in recovery.queues {
        let copies = store.list(queue, 0, usize::MAX).expect("what is sound can be read");
        let names: Vec<_> = copies.iter().map(|listed| listed.copy.copy).collect();
        let messages = store.fetch(&names).expect("what is sound can be read");
        assert_eq!(messages.len(), copies.len(), "each has its message");
        told.extend(copies.iter().map(|listed| format!("{listed:?}")));
        told.extend(messages.iter().map(|found| format!("{:?}", found.message)));
    }
    let begun = report.logs.iter().filter(|log| log.next > 0);
    told.extend(begun.map(|log| {
        let state = store.log_state(log.partition);
        format!("{:?} from {} to {}, {:?}", log.partition, state.first, state.next, state.last_at)
    }));
    told
}
