//! Walking: what the segments say, in order, and whether anything that was promised is missing.
//!
//! This alone decides what is sound. Opening stops at the first thing that is wrong; looking for damage notes all that is, reads every record besides,
//! and goes on with what is left.

use std::sync::Arc;

use bytes::Bytes;

use crate::codec::{CodecError, Entry, HEADER, Header, Kind, digest_entries, put_digest, record_entries};
use crate::error::{Damage, JournalError};
use crate::fs::{Fs, FsFile};
use crate::index::{Index, SegmentId};
use crate::logs::condense;
use crate::segment::{Begin, Footer, HEAD, Reader, file_name, segment_id};
use crate::write::{Digest, Tail};

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    pub(crate) index: Index,
    /// The number of the segment that is written next.
    pub(crate) next: SegmentId,
    /// The last record.
    pub(crate) lsn: u64,
    /// The last segment, if it has no end, and where that is to be.
    pub(crate) unended: Option<(SegmentId, Tail)>,
    /// Files behind the last segment that were made ahead and never used: nothing in them was promised.
    pub(crate) unused: Vec<SegmentId>,
    pub(crate) segments: u64,
    /// Records that are whole, if they were read.
    pub(crate) records: u64,
    /// What is wrong, if that is to be noted.
    pub(crate) noted: Option<Vec<Damage>>,
}

impl Walk {
    /// Reads what opening needs.
    ///
    /// # Errors
    /// Something that was promised is damaged; or the segments cannot be read.
    pub(crate) fn strict(fs: &dyn Fs) -> Result<Self, JournalError> {
        Self::default().all(fs)
    }

    /// Reads every record, and notes what is wrong.
    ///
    /// # Errors
    /// The segments cannot be read.
    pub(crate) fn noting(fs: &dyn Fs) -> Result<Self, JournalError> {
        Self { noted: Some(Vec::new()), ..Self::default() }.all(fs)
    }

    fn all(mut self, fs: &dyn Fs) -> Result<Self, JournalError> {
        let (used, unused) = used(fs)?;
        self.next = used.first().copied().unwrap_or(0);
        for &id in &used {
            let file = open_file(fs, id)?;
            let reader = Reader { id, file: &*file };
            self.begin(&reader, used.first() == Some(&id))?;
            self.segment(&reader, &file, used.last() == Some(&id))?;
        }
        for id in unused {
            self.unused(fs, id)?;
        }
        Ok(self)
    }

    /// Something that was promised is not there.
    fn wrong(&mut self, reader: &Reader<'_>, offset: u64, what: impl Into<String>) -> Result<(), JournalError> {
        let damage = Damage { file: reader.name(), offset, what: what.into() };
        match &mut self.noted {
            Some(noted) => noted.push(damage),
            None => return Err(damage.into()),
        }
        Ok(())
    }

    /// A segment begins where the one before it has ended.
    fn begin(&mut self, reader: &Reader<'_>, mut first: bool) -> Result<(), JournalError> {
        if reader.id != self.next {
            let missing = file_name(self.next);
            self.wrong(reader, 0, format!("the segment {missing} before it is missing"))?;
            first = true;
        }
        self.next = reader.id.saturating_add(1);
        match reader.begin()? {
            Begin::First(number) => {
                if number == 0 || !(first || number == self.lsn + 1) {
                    self.wrong(reader, 16, "records before it are missing")?;
                }
                self.lsn = number.saturating_sub(1);
                Ok(())
            }
            Begin::Blank | Begin::Bad => self.wrong(reader, 0, BAD_BEGIN),
        }
    }

    /// What its end says that its records did, if it has one; otherwise what they say. All but the last have one.
    fn segment(&mut self, reader: &Reader<'_>, file: &Arc<dyn FsFile>, last: bool) -> Result<(), JournalError> {
        let bytes = reader.bytes()?;
        self.index.add_segment(reader.id, file.clone(), bytes);
        self.segments += 1;
        match reader.footer()? {
            Some(footer) if footer.header.lsn > self.lsn => {
                let before = self.lsn;
                if self.ended(reader, &footer)? {
                    return if self.noted.is_some() { self.verify(reader, &footer, before) } else { Ok(()) };
                }
            }
            _ if last => {}
            _ => self.wrong(reader, bytes, "its end is not what was written")?,
        }
        self.records(reader, bytes, last)
    }

    /// Applies what the end of a segment says; false if it cannot be read.
    fn ended(&mut self, reader: &Reader<'_>, footer: &Footer) -> Result<bool, JournalError> {
        let entries = || digest_entries(footer.digest.clone()).map(|entry| placed(entry, footer.offset));
        let unreadable = |error| format!("what it says cannot be read: {error}");
        // If something is left, it is that of its records: all or nothing of this.
        if self.noted.is_some()
            && let Some(error) = entries().find_map(Result::err)
        {
            self.wrong(reader, footer.offset, unreadable(error))?;
            return Ok(false);
        }
        for entry in entries() {
            match entry {
                Ok(entry) => self.index.apply(reader.id, entry),
                Err(error) => self.wrong(reader, footer.offset, unreadable(error))?,
            }
        }
        self.lsn = footer.header.lsn;
        Ok(true)
    }

    /// Whether the records of a segment are what its end says of them.
    fn verify(&mut self, reader: &Reader<'_>, footer: &Footer, mut lsn: u64) -> Result<(), JournalError> {
        let (mut offset, mut digest, mut whole) = (HEAD as u64, Vec::new(), true);
        while let Some((header, at, content)) = record_above(reader, lsn, offset, footer.offset)? {
            if at != offset || header.lsn != lsn + 1 {
                whole = false;
                self.wrong(reader, offset, only_the_end(lsn + 1, header.lsn - 1))?;
            }
            self.records += 1;
            for entry in record_entries(content, at as u32 + HEADER as u32) {
                match entry {
                    Ok(mut entry) => put_digest(&mut digest, &mut entry),
                    Err(error) => {
                        whole = false;
                        self.wrong(reader, at, format!("the rest of a record: {error}"))?;
                        break;
                    }
                }
            }
            (lsn, offset) = (header.lsn, at + HEADER as u64 + u64::from(header.len));
        }
        if lsn + 1 != footer.header.lsn || offset != footer.offset {
            return self.wrong(reader, offset, only_the_end(lsn + 1, footer.header.lsn - 1));
        }
        if whole && condense(digest) != footer.digest {
            self.wrong(reader, footer.offset, "its end does not say what its records did")?;
        }
        Ok(())
    }

    /// Reads the records of a segment that has no end.
    fn records(&mut self, reader: &Reader<'_>, end: u64, last: bool) -> Result<(), JournalError> {
        let (mut offset, mut digest) = (HEAD as u64, Digest::default());
        loop {
            let next = self.lsn + 1;
            // A footer here has lost what comes behind it: it is written anew.
            let is_next = |(header, _): &(Header, Bytes)| header.lsn == next && header.kind != Kind::Footer;
            if let Some((header, content)) = reader.record(offset, end)?.filter(is_next) {
                self.record(reader, offset, content, &mut digest)?;
                self.lsn = header.lsn;
                offset += HEADER as u64 + u64::from(header.len);
            } else if let Some((header, at)) = self.behind(reader, offset, end, last)? {
                (self.lsn, offset) = (header.lsn - 1, at);
            } else {
                break;
            }
        }
        let tail = Tail { at: offset as usize, lsn: self.lsn + 1, digest };
        self.unended = last.then_some((reader.id, tail));
        Ok(())
    }

    fn record(
        &mut self,
        reader: &Reader<'_>,
        offset: u64,
        content: Bytes,
        digest: &mut Digest,
    ) -> Result<(), JournalError> {
        self.records += 1;
        for entry in record_entries(content, offset as u32 + HEADER as u32) {
            match entry {
                Ok(mut entry) => {
                    digest.put(&mut entry);
                    self.index.apply(reader.id, entry);
                }
                Err(error) => return self.wrong(reader, offset, format!("the rest of a record: {error}")),
            }
        }
        Ok(())
    }

    /// What lies behind the last whole record was never promised, unless a later record says so: then this is where to go on. All of a segment that is
    /// not the last was promised.
    fn behind(
        &mut self,
        reader: &Reader<'_>,
        offset: u64,
        end: u64,
        last: bool,
    ) -> Result<Option<(Header, u64)>, JournalError> {
        let missing = self.lsn + 1;
        let knows = |header: &Header| header.lsn >= missing && (!last || header.synced >= missing);
        let Some((header, at)) = reader.find(offset, end, knows)? else { return Ok(None) };
        let what = format!("record {missing} is broken, and record {} at byte {at} knows it as synced", header.lsn);
        self.wrong(reader, offset, what)?;
        reader.find(offset, end, |header| header.lsn >= missing && header.kind != Kind::Footer)
    }

    /// A file behind the last segment, without a beginning. What was written to it was never promised, unless a record in it says so.
    fn unused(&mut self, fs: &dyn Fs, id: SegmentId) -> Result<(), JournalError> {
        let file = open_file(fs, id)?;
        let reader = Reader { id, file: &*file };
        let lsn = self.lsn;
        if reader.find(HEAD as u64, reader.bytes()?, |header| header.synced > lsn)?.is_none() {
            self.unused.push(id);
            return Ok(());
        }
        self.wrong(&reader, 0, BAD_BEGIN)?;
        self.segment(&reader, &file, false)
    }
}

const BAD_BEGIN: &str = "its beginning is not what was written";

fn only_the_end(first: u64, last: u64) -> String {
    format!("the records from {first} to {last} are not what was written; the end of the segment says what they did")
}

/// The next whole record of a higher number, wherever it begins.
fn record_above(
    reader: &Reader<'_>,
    lsn: u64,
    offset: u64,
    end: u64,
) -> Result<Option<(Header, u64, Bytes)>, JournalError> {
    if let Some((header, content)) = reader.record(offset, end)?.filter(|(header, _)| header.lsn > lsn) {
        return Ok(Some((header, offset, content)));
    }
    let Some((header, at)) = reader.find(offset, end, |header| header.lsn > lsn)? else { return Ok(None) };
    Ok(Some((header, at, reader.read(at + HEADER as u64, header.len as usize)?)))
}

/// An entry whose body lies where bodies lie: before the end of its segment.
fn placed(entry: Result<Entry, CodecError>, end: u64) -> Result<Entry, CodecError> {
    entry.and_then(|entry| if entry.lies_before(end) { Ok(entry) } else { Err(CodecError::Field("place")) })
}

/// The segments that were written, and those behind them whose beginning was not.
fn used(fs: &dyn Fs) -> Result<(Vec<SegmentId>, Vec<SegmentId>), JournalError> {
    let names = fs.names().map_err(JournalError::io("reading the folder"))?;
    let mut used: Vec<_> = names.iter().filter_map(|name| segment_id(name)).collect();
    used.sort_unstable();
    let mut count = used.len();
    while let Some(&id) = used[..count].last() {
        let file = open_file(fs, id)?;
        if matches!((Reader { id, file: &*file }).begin()?, Begin::First(_)) {
            break;
        }
        count -= 1;
    }
    let unused = used.split_off(count);
    Ok((used, unused))
}

pub(crate) fn open_file(fs: &dyn Fs, id: SegmentId) -> Result<Arc<dyn FsFile>, JournalError> {
    fs.open(&file_name(id)).map_err(JournalError::io(format!("opening {}", file_name(id))))
}
