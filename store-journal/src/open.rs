//! Opening: what the segments say, in order, and whether anything that was promised is missing.

use std::sync::Arc;

use crate::codec::{CodecError, Entry, HEADER, Kind, digest_entries, put_digest, record_entries};
use crate::error::JournalError;
use crate::fs::{Fs, FsFile};
use crate::index::{Index, SegmentId};
use crate::segment::{Begin, HEAD, Reader, file_name, segment_id};
use crate::write::{Tail, seal};

/// A journal that was read.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) index: Index,
    /// The number of the segment that is written next.
    pub(crate) next: SegmentId,
    /// The last record.
    pub(crate) lsn: u64,
}

/// Reads everything but bodies. A torn end is cut off, and the last segment ended.
pub(crate) fn open(fs: &dyn Fs) -> Result<Opened, JournalError> {
    let mut opened = Opened { index: Index::default(), next: 0, lsn: 0 };
    let (used, unused) = used(fs)?;
    opened.next = used.first().copied().unwrap_or(0);
    for (place, &id) in used.iter().enumerate() {
        if id != opened.next {
            let what = format!("the segment {} before it is missing", file_name(opened.next));
            return Err(JournalError::Corrupt { file: file_name(id), offset: 0, what });
        }
        opened.read_segment(fs, id, place == 0, place + 1 == used.len())?;
        opened.next = id + 1;
    }
    for id in unused {
        opened.remove_unused(fs, id)?;
    }
    fs.sync_names().map_err(JournalError::io("syncing the folder"))?;
    Ok(opened)
}

/// The segments that were written, and those behind them whose beginning was not.
fn used(fs: &dyn Fs) -> Result<(Vec<SegmentId>, Vec<SegmentId>), JournalError> {
    let (mut used, mut unused) = (segments(fs)?, Vec::new());
    while let Some(&id) = used.last() {
        let file = open_file(fs, id)?;
        if matches!((Reader { id, file: &*file }).begin()?, Begin::First(_)) {
            break;
        }
        unused.push(id);
        used.pop();
    }
    Ok((used, unused))
}

fn open_file(fs: &dyn Fs, id: SegmentId) -> Result<Arc<dyn FsFile>, JournalError> {
    fs.open(&file_name(id)).map_err(JournalError::io(format!("opening {}", file_name(id))))
}

/// The numbers of all segments, in order.
pub(crate) fn segments(fs: &dyn Fs) -> Result<Vec<SegmentId>, JournalError> {
    let names = fs.names().map_err(JournalError::io("reading the folder"))?;
    let mut ids: Vec<_> = names.iter().filter_map(|name| segment_id(name)).collect();
    ids.sort_unstable();
    Ok(ids)
}

impl Opened {
    fn read_segment(&mut self, fs: &dyn Fs, id: SegmentId, first: bool, last: bool) -> Result<(), JournalError> {
        let file = open_file(fs, id)?;
        let reader = Reader { id, file: &*file };
        match reader.begin()? {
            Begin::First(number) if number > 0 && (first || number == self.lsn + 1) => self.lsn = number - 1,
            Begin::First(_) => return Err(reader.corrupt(16, "records before it are missing")),
            Begin::Blank | Begin::Bad => return Err(reader.corrupt(0, "its beginning is not what was written")),
        }
        self.index.add_segment(id, file.clone(), reader.bytes()?);
        match reader.footer()? {
            Some((header, _, digest)) if header.lsn > self.lsn => {
                self.lsn = header.lsn;
                self.apply_all(&reader, digest_entries(digest))
            }
            _ if last => self.scan(&reader),
            _ => Err(reader.corrupt(reader.bytes()?, "its end is not what was written")),
        }
    }

    /// Removes a file that was made ahead and never used. What was written to it was never promised, unless a record in it says so.
    fn remove_unused(&self, fs: &dyn Fs, id: SegmentId) -> Result<(), JournalError> {
        let file = open_file(fs, id)?;
        let reader = Reader { id, file: &*file };
        if reader.find(HEAD as u64, reader.bytes()?, |header| header.synced > self.lsn)?.is_some() {
            return Err(reader.corrupt(0, "its beginning is not what was written"));
        }
        fs.remove(&file_name(id)).map_err(JournalError::io(format!("removing {}", file_name(id))))
    }

    /// Reads the records of a segment that was not ended.
    fn scan(&mut self, reader: &Reader<'_>) -> Result<(), JournalError> {
        let end = reader.bytes()?;
        let (mut offset, mut digest) = (HEAD as u64, Vec::new());
        while let Some((header, content)) = reader.record(offset, end)?.filter(|(h, _)| h.lsn == self.lsn + 1) {
            if header.kind == Kind::Footer {
                // Its trailer was torn: it is written anew.
                break;
            }
            let begins = offset as u32 + HEADER as u32;
            for entry in record_entries(content, begins) {
                let mut entry = entry.map_err(|error| unreadable(reader, offset, error))?;
                put_digest(&mut digest, &mut entry);
                self.index.apply(reader.id, entry);
            }
            self.lsn = header.lsn;
            offset += HEADER as u64 + u64::from(header.len);
        }
        self.check_tail(reader, offset, end)?;
        let tail = Tail { at: offset as usize, lsn: self.lsn + 1, digest };
        let written = seal(reader.file, &tail).map_err(JournalError::io(format!("ending {}", reader.name())))?;
        self.lsn += 1;
        self.index.set_bytes(reader.id, written);
        Ok(())
    }

    /// What lies behind the last whole record was never promised, unless a later record says so.
    fn check_tail(&self, reader: &Reader<'_>, offset: u64, end: u64) -> Result<(), JournalError> {
        let missing = self.lsn + 1;
        match reader.find(offset, end, |header| header.lsn >= missing && header.synced >= missing)? {
            Some((header, at)) => {
                let what =
                    format!("record {missing} is broken, and record {} at byte {at} knows it as synced", header.lsn);
                Err(reader.corrupt(offset, what))
            }
            None => Ok(()),
        }
    }

    fn apply_all(
        &mut self,
        reader: &Reader<'_>,
        entries: impl Iterator<Item = Result<Entry, CodecError>>,
    ) -> Result<(), JournalError> {
        for entry in entries {
            let entry = entry.map_err(|error| unreadable(reader, 0, error))?;
            self.index.apply(reader.id, entry);
        }
        Ok(())
    }
}

fn unreadable(reader: &Reader<'_>, offset: u64, error: CodecError) -> JournalError {
    reader.corrupt(offset, format!("a record cannot be read: {error}"))
}
