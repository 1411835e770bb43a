//! The thread that reads bodies back, so that nobody else waits for the disk.

use std::sync::PoisonError;
use std::task::Waker;

use bytes::Bytes;
use roadbed_broker::{LogPage, LogRead, ReadId, StoreError, StoredCopy};
use roadbed_core::CopyId;

use crate::codec::{KeptCopy, Take, take_message};
use crate::error::{JournalError, in_words};
use crate::index::{Files, Found};
use crate::logs::page;
use crate::segment::Reader;
use crate::store::Shared;

/// How many bytes are read at once at most, if no body alone is longer.
const SPAN_MAX: u64 = 1 << 20;
/// How many bytes that nobody has asked for are read rather than skipped.
const GAP_MAX: u64 = 16 << 10;

/// Answers what is asked until the store is dropped.
pub(crate) fn run(shared: &Shared) {
    loop {
        let mut desk = shared.desk();
        let (id, copies) = loop {
            if desk.dropped {
                return;
            }
            if let Some(asked) = desk.log_reads.pop_front() {
                drop(desk);
                read_log(shared, &asked);
                desk = shared.desk();
                // Queues have their turn, too.
                match desk.reads.pop_front() {
                    Some(asked) => break asked,
                    None => continue,
                }
            }
            if let Some(asked) = desk.reads.pop_front() {
                break asked;
            }
            desk = shared.asked.wait(desk).unwrap_or_else(PoisonError::into_inner);
        };
        drop(desk);
        answer(shared, id, &copies);
    }
}

/// Answers all that is asked by now.
#[cfg(feature = "simulation")]
pub(crate) fn step(shared: &Shared) {
    loop {
        let (log, copies) = {
            let mut desk = shared.desk();
            (desk.log_reads.pop_front(), desk.reads.pop_front())
        };
        if log.is_none() && copies.is_none() {
            return;
        }
        log.iter().for_each(|asked| read_log(shared, asked));
        copies.iter().for_each(|(id, copies)| answer(shared, *id, copies));
    }
}

fn answer(shared: &Shared, id: ReadId, copies: &[CopyId]) {
    let found = read(shared, copies);
    if let Err(error) = &found {
        tracing::error!(%error, "messages cannot be read back");
    }
    let mut desk = shared.desk();
    desk.read.push((id, found));
    let waker = desk.waker.take();
    drop(desk);
    waker.into_iter().for_each(Waker::wake);
}

/// Answers a reader of a log.
fn read_log(shared: &Shared, asked: &LogRead) {
    let index = shared.index();
    let runs = index.logs().find(asked.partition, asked.from, asked.messages_max, asked.bytes_max);
    let files = index.files_of(runs.iter().map(|placed| placed.segment));
    drop(index);
    let entries = page(&files, asked, &runs).map_err(|error| StoreError::Failed(in_words(&error)));
    if let Err(error) = &entries {
        tracing::error!(%error, "a log cannot be read");
    }
    let mut desk = shared.desk();
    desk.bodies_read.0 += entries.as_ref().map_or(0, Vec::len) as u64;
    desk.bodies_read.1 += runs.iter().map(|placed| u64::from(placed.run.end - placed.run.start)).sum::<u64>();
    desk.pages.push(LogPage { id: asked.id, entries });
    let waker = desk.waker.take();
    drop(desk);
    waker.into_iter().for_each(Waker::wake);
}

/// Reads copies with their messages; those that are not kept are left out.
pub(crate) fn read(shared: &Shared, copies: &[CopyId]) -> Result<Vec<StoredCopy>, StoreError> {
    let index = shared.index();
    let found: Vec<Found> = copies.iter().filter_map(|copy| index.copy(*copy)).collect();
    let files = index.files_of(found.iter().map(|found| found.spot.segment));
    drop(index);
    let (mut stored, mut bytes, mut buffer) = (Vec::with_capacity(found.len()), 0, Vec::new());
    let mut found = found.into_iter().peekable();
    while let Some(first) = found.next() {
        let mut span = Span::new(first);
        while let Some(next) = found.next_if(|next| span.reaches(next)) {
            span.add(next);
        }
        bytes += span.len();
        span.read(&files, &mut buffer, &mut stored).map_err(|error| StoreError::Failed(in_words(&error)))?;
    }
    let mut desk = shared.desk();
    desk.bodies_read.0 += stored.len() as u64;
    desk.bodies_read.1 += bytes as u64;
    Ok(stored)
}

/// Bodies that lie behind each other, nearly or wholly, and are read at once.
struct Span {
    found: Vec<Found>,
    start: u64,
    end: u64,
}

impl Span {
    fn new(first: Found) -> Self {
        let (start, len) = first.spot.place.with_header();
        Self { found: vec![first], start, end: start + len as u64 }
    }

    const fn len(&self) -> usize {
        (self.end - self.start) as usize
    }

    fn reaches(&self, next: &Found) -> bool {
        let (offset, len) = next.spot.place.with_header();
        next.spot.segment == self.found[0].spot.segment
            && (self.end..=self.end + GAP_MAX).contains(&offset)
            && offset + len as u64 - self.start <= SPAN_MAX
    }

    fn add(&mut self, next: Found) {
        let (offset, len) = next.spot.place.with_header();
        self.end = offset + len as u64;
        self.found.push(next);
    }

    /// Reads them into `buffer`, and makes a message of each, in memory of its own: one that is kept does not pin the others.
    fn read(self, files: &Files, buffer: &mut Vec<u8>, into: &mut Vec<StoredCopy>) -> Result<(), JournalError> {
        let (start, len, id) = (self.start, self.len(), self.found[0].spot.segment);
        let file = files.file(id)?;
        let reader = Reader { id, file: &**file };
        buffer.resize(len, 0);
        reader.read_into(start, buffer)?;
        for found in self.found {
            let (offset, len) = found.spot.place.with_header();
            let at = (offset - start) as usize;
            let body = reader.checked(found.spot.place, &Bytes::copy_from_slice(&buffer[at..at + len]))?;
            let message = take_message(&mut Take::new(body))
                .map_err(|error| reader.corrupt(offset, format!("a message cannot be read: {error}")))?;
            let KeptCopy { copy, count, attempt, excluded, held } = found.kept;
            into.push(StoredCopy { copy, message, at: found.at, count, attempt, excluded, held });
        }
        Ok(())
    }
}
