//! Cleaning: what is kept of the oldest segment is written again at the end, and its file removed.
//!
//! Segments go in the order of their age alone. So nothing that an old one says can come back to life when a newer one, which took it back, is
//! removed.

use core::fmt;
use std::io;
use std::ops::ControlFlow;

use crate::codec::{Body, CodecError, Entry, LogOp, Place, Run, digest_entries};
use crate::error::JournalError;
use crate::fs::Fs;
use crate::index::{Files, Index, SegmentId, Spot};
use crate::logs::{RUN_BYTES_MAX, messages};
use crate::segment::{Reader, file_name};
use crate::store::Shared;

#[derive(Debug, Default)]
pub(crate) struct Cleaner {
    /// The segment that is cleaned.
    segment: Option<SegmentId>,
    /// What it says, as far as it was not looked at.
    entries: Option<Entries>,
}

/// What a segment says.
struct Entries(Box<dyn Iterator<Item = Result<Entry, JournalError>> + Send>);

impl fmt::Debug for Entries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entries")
    }
}

impl Cleaner {
    pub(crate) const fn is_busy(&self) -> bool {
        self.segment.is_some()
    }

    /// Begins with the oldest segment, if nothing of it is kept or there is too much garbage. Whether there is something to do.
    pub(crate) fn begin(&mut self, index: &Index, active: Option<SegmentId>, garbage_max: u64) -> bool {
        if self.segment.is_none() {
            let oldest = index.segments().next().filter(|(id, _)| Some(*id) != active);
            let (bytes, live) = (index.bytes(), index.live());
            let too_much = bytes.saturating_sub(live) > garbage_max.max(live);
            self.segment = oldest.filter(|(_, segment)| segment.live == 0 || too_much).map(|(id, _)| id);
        }
        self.segment.is_some()
    }

    /// Not now.
    pub(crate) fn give_up(&mut self) {
        *self = Self::default();
    }

    /// Appends what is kept to `into`, about `bytes_max` bytes of it; whether that was the last.
    pub(crate) fn next(
        &mut self,
        shared: &Shared,
        bytes_max: usize,
        into: &mut Vec<(Entry, Option<Body>)>,
    ) -> io::Result<bool> {
        into.clear();
        let Some(segment) = self.segment.filter(|segment| !shared.index().is_spent(*segment)) else { return Ok(true) };
        let Entries(entries) = match &mut self.entries {
            Some(entries) => entries,
            none => none.insert(read(shared, segment).map_err(io::Error::other)?),
        };
        let files = shared.index().files();
        let mut bytes = 0;
        while bytes < bytes_max {
            let Some(entry) = entries.next() else { return Ok(true) };
            let entry = entry.map_err(io::Error::other)?;
            if let Entry::Log(op) = entry {
                bytes += keep_log(shared, &files, segment, op, into).map_err(io::Error::other)?;
                // Runs are read as a whole: they are not to lie in records that are much longer.
                if bytes >= RUN_BYTES_MAX as usize {
                    break;
                }
                continue;
            }
            let kept = keep(&shared.index(), segment, entry);
            if let Some((place, kept)) = kept {
                let body = files.body(Spot { segment, place }).map_err(io::Error::other)?;
                bytes += body.len() + 64;
                into.push((kept, Some(Body::Again(body))));
            }
        }
        Ok(false)
    }

    /// Removes the segment, of which nothing is kept any more; how many were removed.
    pub(crate) fn remove(&mut self, shared: &Shared, fs: &dyn Fs) -> io::Result<u64> {
        let Some(segment) = self.segment else { return Ok(0) };
        self.give_up();
        fs.remove(&file_name(segment))?;
        fs.sync_names()?;
        shared.index().remove_segment(segment);
        Ok(1)
    }
}

/// What a segment says: from its footer.
fn read(shared: &Shared, id: SegmentId) -> Result<Entries, JournalError> {
    let Some(file) = shared.index().file(id) else { return Ok(Entries(Box::new(std::iter::empty()))) };
    let reader = Reader { id, file: &*file };
    let footer = reader.footer()?.ok_or_else(|| reader.corrupt(0, "its end is not what was written"))?;
    let corrupt = move |error: CodecError| JournalError::Corrupt {
        file: file_name(id),
        offset: footer.offset,
        what: error.to_string(),
    };
    Ok(Entries(Box::new(digest_entries(footer.digest).map(move |entry| entry.map_err(corrupt)))))
}

/// What is to be written of an operation on a log, with the messages of a run; how many bytes.
fn keep_log(
    shared: &Shared,
    files: &Files,
    segment: SegmentId,
    op: LogOp,
    into: &mut Vec<(Entry, Option<Body>)>,
) -> Result<usize, JournalError> {
    let runs: Vec<_> = match op {
        LogOp::Append { at, places, body, record } => {
            places.into_iter().map(|(partition, position)| (partition, Run::one(position, at, record, body))).collect()
        }
        LogOp::Run { partition, run } => vec![(partition, run)],
        LogOp::Trim { partition, before } => {
            if shared.index().logs().says_low(segment, partition, before) {
                into.push((Entry::Log(LogOp::Trim { partition, before }), None));
            }
            return Ok(0);
        }
        LogOp::Drop { .. } => return Ok(0),
    };
    let file = files.file(segment)?;
    let reader = Reader { id: segment, file: &**file };
    let mut bytes = 0;
    for (partition, run) in runs {
        let still = shared.index().logs().still(segment, partition, &run);
        for run in still {
            messages(&reader, partition, &run, |position, at, _, body| {
                bytes += body.len() + 64;
                let places = vec![(partition, position)];
                let append = LogOp::Append { at, places, body: Place::default(), record: 0 };
                into.push((Entry::Log(append), Some(Body::Again(body))));
                Ok(ControlFlow::Continue(()))
            })?;
        }
    }
    Ok(bytes)
}

/// What is to be written of an entry so that it stays as it is, and where its body is.
fn keep(index: &Index, segment: SegmentId, entry: Entry) -> Option<(Place, Entry)> {
    if !index.still(segment, &entry) {
        return None;
    }
    let here = |place: Place| Spot { segment, place };
    match entry {
        Entry::Enqueue { at, facts, body, copies } => {
            let ids: Vec<_> = copies.into_iter().map(|new| new.copy).collect();
            Some((body, Entry::Keep { at, facts, body, copies: index.kept(here(body), &ids) }))
        }
        Entry::Keep { at, facts, body, copies } => {
            let ids: Vec<_> = copies.into_iter().map(|kept| kept.copy.copy).collect();
            Some((body, Entry::Keep { at, facts, body, copies: index.kept(here(body), &ids) }))
        }
        Entry::Put { row, .. } | Entry::Prepare { body: row, .. } => Some((row, entry)),
        _ => None,
    }
}
