//! Writing: records into the active segment, and the end of segments.

use std::io::{self, IoSlice};
use std::sync::Arc;

use crate::codec::{Body, Entry, Gather, HEADER, Header, Kind, LogOp, finish, put_digest, put_entry};
use crate::fs::{Fs, FsFile};
use crate::index::SegmentId;
use crate::logs::condense;
use crate::segment::{HEAD, file_name, head, trailer};

/// Where a segment stands.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    /// What was written of it.
    pub(crate) at: usize,
    /// The number of the next record.
    pub(crate) lsn: u64,
    /// What its records did.
    pub(crate) digest: Digest,
}

/// What the records of a segment did, without their bodies.
#[derive(Debug, Default)]
pub(crate) struct Digest {
    bytes: Vec<u8>,
    /// There is something in it to be condensed.
    logs: bool,
}

impl Digest {
    pub(crate) fn put(&mut self, entry: &mut Entry) {
        self.logs |= matches!(entry, Entry::Log(_));
        put_digest(&mut self.bytes, entry);
    }

    fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Takes away what was put since it had `len` bytes.
    fn rewind(&mut self, len: usize) {
        self.bytes.truncate(len);
    }

    fn condense(&mut self) {
        if std::mem::take(&mut self.logs) {
            self.bytes = condense(std::mem::take(&mut self.bytes));
        }
    }

    /// Nothing, in the same memory if that is not too much.
    fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(DIGEST_KEEP);
        self.logs = false;
    }
}

/// Ends a segment with its footer; returns its length. The footer says that everything before it was synced, and is believed: that must be so by now.
pub(crate) fn seal(file: &dyn FsFile, tail: &mut Tail) -> io::Result<u64> {
    tail.digest.condense();
    let digest = &tail.digest.bytes;
    let header = Header::of(digest, tail.lsn, tail.lsn - 1, Kind::Footer).bytes();
    let trailer = trailer(tail.at as u32);
    let mut pieces = [&header[..], digest, &trailer].map(IoSlice::new);
    let bytes = (tail.at + header.len() + digest.len() + trailer.len()) as u64;
    file.write_at(tail.at as u64, &mut pieces)?;
    file.set_bytes(bytes)?;
    file.sync()?;
    Ok(bytes)
}

fn write(file: &dyn FsFile, at: usize, out: &Gather) -> io::Result<()> {
    let mut pieces: Vec<IoSlice<'_>> = out.all().map(IoSlice::new).collect();
    file.write_at(at as u64, &mut pieces)
}

/// The end of the journal: records are gathered, written together, and synced.
#[derive(Debug)]
pub(crate) struct Writer {
    fs: Arc<dyn Fs>,
    segment_bytes: u32,
    active: Option<Active>,
    /// Made ahead, so that there is room for what must be written on a full disk.
    spare: Option<Arc<dyn FsFile>>,
    next: SegmentId,
    /// The last record that was written, and the last that was synced.
    lsn: u64,
    synced: u64,
    dirty: bool,
    marked: bool,
    out: Gather,
    /// The memory of the last digest, for the next.
    digest: Digest,
    /// What the gathered records do, with the segment that they are in.
    gathered: Vec<(SegmentId, Entry)>,
}

#[derive(Debug)]
struct Active {
    id: SegmentId,
    file: Arc<dyn FsFile>,
    /// What it may take.
    room: usize,
    tail: Tail,
}

/// What one round of writing has brought.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) entries: Vec<(SegmentId, Entry)>,
    pub(crate) begun: Option<(SegmentId, Arc<dyn FsFile>)>,
    /// The active segment, and how long it is now.
    pub(crate) active: Option<(SegmentId, u64)>,
}

/// A buffer that has grown beyond this is given back.
const BUFFER_KEEP: usize = 4 << 20;
/// The same for what a group does, in operations.
const ENTRIES_KEEP: usize = 16 << 10;
/// The same for the digest, which segments of the usual size are mostly alike in.
const DIGEST_KEEP: usize = 32 << 20;

impl Writer {
    pub(crate) fn new(fs: Arc<dyn Fs>, segment_bytes: u32, next: SegmentId, lsn: u64) -> Self {
        let (out, gathered) = (Gather::default(), Vec::new());
        Self {
            fs,
            segment_bytes,
            active: None,
            spare: None,
            next,
            lsn,
            synced: lsn,
            dirty: false,
            marked: true,
            out,
            digest: Digest::default(),
            gathered,
        }
    }

    /// The segment that is written.
    pub(crate) fn active(&self) -> Option<SegmentId> {
        self.active.as_ref().map(|active| active.id)
    }

    /// Whether something was written that is to be synced.
    pub(crate) const fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// How many bytes are gathered.
    pub(crate) fn gathered(&self) -> usize {
        self.out.len()
    }

    /// Gathers one record.
    ///
    /// # Errors
    /// The active segment has no room for so many bytes: write what is gathered, and [`roll`](Self::roll).
    pub(crate) fn gather(&mut self, operations: &mut Vec<(Entry, Option<Body>)>) -> Result<(), usize> {
        let Some(active) = &mut self.active else { return Err(0) };
        let (start, digest) = (self.out.mark(), active.tail.digest.len());
        self.out.put(&[0; HEADER]);
        let record = (active.tail.at + self.out.len() - HEADER) as u32;
        for (entry, body) in operations.iter_mut() {
            if let Entry::Log(LogOp::Append { record: begins, .. }) = entry {
                *begins = record;
            }
            put_entry(&mut self.out, active.tail.at, entry, body.as_ref());
            active.tail.digest.put(entry);
        }
        if active.tail.at + self.out.len() + active.tail.digest.len() + 2 * HEAD > active.room {
            let bytes = self.out.since(start) + active.tail.digest.len() - digest;
            self.out.rewind(start);
            active.tail.digest.rewind(digest);
            return Err(bytes);
        }
        self.lsn += 1;
        active.tail.lsn = self.lsn + 1;
        finish(&mut self.out, start, self.lsn, self.synced, Kind::Unit);
        let id = active.id;
        self.gathered.extend(operations.drain(..).map(|(entry, _)| (id, entry)));
        Ok(())
    }

    /// Writes what is gathered.
    pub(crate) fn write(&mut self) -> io::Result<Written> {
        let Some(active) = &mut self.active else { return Ok(Written::default()) };
        write(&*active.file, active.tail.at, &self.out)?;
        self.dirty = true;
        active.tail.at += self.out.len();
        self.out.clear();
        self.out.shrink(BUFFER_KEEP);
        let entries = std::mem::take(&mut self.gathered);
        Ok(Written { entries, begun: None, active: Some((active.id, active.tail.at as u64)) })
    }

    /// Takes the memory back that [`write`](Self::write) has given.
    pub(crate) fn keep(&mut self, entries: Vec<(SegmentId, Entry)>) {
        debug_assert!(entries.is_empty(), "they were applied");
        if self.gathered.capacity() < entries.capacity()
            && entries.capacity() <= ENTRIES_KEEP
            && self.gathered.is_empty()
        {
            self.gathered = entries;
        }
    }

    /// Returns when what was written cannot be lost any more.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        if !self.dirty {
            return Ok(());
        }
        if let Some(active) = &self.active {
            active.file.sync()?;
        }
        (self.synced, self.dirty, self.marked) = (self.lsn, false, false);
        Ok(())
    }

    /// Writes that everything before was synced, so that damage to the last of it is not taken for a torn end. That itself need not be synced.
    pub(crate) fn mark(&mut self) -> io::Result<()> {
        debug_assert_eq!(self.out.len(), 0, "what is gathered is written first");
        let Some(active) = self.active.as_mut().filter(|active| active.tail.at + 4 * HEADER < active.room) else {
            return Ok(());
        };
        if std::mem::replace(&mut self.marked, true) {
            return Ok(());
        }
        let start = self.out.mark();
        self.out.put(&[0; HEADER]);
        self.lsn += 1;
        active.tail.lsn = self.lsn + 1;
        finish(&mut self.out, start, self.lsn, self.synced, Kind::Mark);
        write(&*active.file, active.tail.at, &self.out)?;
        active.tail.at += self.out.len();
        self.out.clear();
        Ok(())
    }

    /// Makes the next segment's file ahead of time. [`io::ErrorKind::StorageFull`]: there is no room for it.
    pub(crate) fn prepare(&mut self) -> io::Result<()> {
        if self.spare.is_none() {
            self.spare = Some(self.fs.create(&file_name(self.next), self.segment_bytes.into())?);
        }
        Ok(())
    }

    /// Ends the active segment, and begins one that takes a record of `bytes` bytes.
    /// [`io::ErrorKind::StorageFull`]: there is no room for one; everything is as before.
    pub(crate) fn roll(&mut self, bytes: usize) -> io::Result<Written> {
        debug_assert_eq!(self.out.len(), 0, "what is gathered is written first");
        let room = (bytes + 8 * HEAD).max(self.segment_bytes as usize);
        let file = match self.spare.take() {
            Some(file) if room == self.segment_bytes as usize => file,
            _ => self.fs.create(&file_name(self.next), room as u64)?,
        };
        let mut written = self.end()?;
        let (id, first) = (self.next, self.lsn + 1);
        file.write_at(0, &mut [IoSlice::new(&head(id, first))])?;
        self.fs.sync_names()?;
        self.next += 1;
        let tail = Tail { at: HEAD, lsn: first, digest: std::mem::take(&mut self.digest) };
        self.active = Some(Active { id, file: file.clone(), room, tail });
        written.begun = Some((id, file));
        Ok(written)
    }

    /// Removes what was made ahead.
    pub(crate) fn remove_spare(&mut self) -> io::Result<()> {
        match self.spare.take() {
            Some(_) => self.fs.remove(&file_name(self.next)),
            None => Ok(()),
        }
    }

    /// Ends the active segment with its footer.
    pub(crate) fn end(&mut self) -> io::Result<Written> {
        let Some(mut active) = self.active.take() else { return Ok(Written::default()) };
        self.lsn = active.tail.lsn;
        let id = active.id;
        // Even if nothing is dirty: a mark may be unsynced.
        active.file.sync()?;
        let bytes = seal(&*active.file, &mut active.tail)?;
        active.tail.digest.clear();
        self.digest = active.tail.digest;
        (self.synced, self.dirty) = (self.lsn, false);
        Ok(Written { active: Some((id, bytes)), ..Written::default() })
    }
}
