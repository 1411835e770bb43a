//! Folders that were written by a journal, or by anybody else.

use std::io::IoSlice;
use std::sync::Arc;

use roadbed_broker::Store;
use roadbed_store_journal::fs::Fs;
use roadbed_store_journal::simulation::SimFs;
use roadbed_store_journal::{JournalConfig, JournalStore, check_on};

/// How many segments there are at most.
const SEGMENTS: usize = 4;

/// A journal in a few segments, each with its length before it: what is sound opens, and what is not is refused.
pub fn journal(data: &[u8]) {
    let fs = SimFs::new();
    for (n, bytes) in segments(data).into_iter().take(SEGMENTS).enumerate() {
        let file = fs.create(&format!("{n:08x}.journal"), bytes.len() as u64).expect("there is room");
        file.write_at(0, &mut [IoSlice::new(bytes)]).expect("there is room");
    }
    let checked = check_on(&fs);
    let config = JournalConfig::default().segment_bytes(4096).free_min(0, 0);
    let opened = JournalStore::open_on(Arc::new(fs), config);
    let sound = checked.is_ok_and(|report| report.damage.is_empty());
    match opened {
        Ok(mut store) => drop(store.recover()),
        Err(error) => assert!(!sound, "a sound journal is refused: {error}"),
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
