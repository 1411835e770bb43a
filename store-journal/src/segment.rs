//! Segments: how they begin, how they end, and how they are read.

use std::io;

use bytes::{Bytes, BytesMut};

use crate::codec::{HEADER, Header, Kind, Place};
use crate::error::JournalError;
use crate::fs::FsFile;
use crate::index::SegmentId;

/// The format that this version writes, and the only one that it reads.
pub(crate) const FORMAT: u32 = 1;
/// The bytes before the first record: magic, format, number of the segment, number of its first record, checksum.
pub(crate) const HEAD: usize = 32;
const MAGIC: &[u8; 8] = b"ROADBED\0";

/// The bytes after the footer: where it begins, and that it does.
const TRAILER: usize = 12;
const TRAILER_MAGIC: &[u8; 8] = b"RBFOOTER";

/// The file name of a segment.
pub(crate) fn file_name(id: SegmentId) -> String {
    format!("{id:08x}.journal")
}

/// The segment with this file name.
pub(crate) fn segment_id(name: &str) -> Option<SegmentId> {
    let digits = name.strip_suffix(".journal").filter(|digits| digits.len() == 8)?;
    u32::from_str_radix(digits, 16).ok()
}

/// How a segment begins.
pub(crate) fn head(id: SegmentId, first: u64) -> [u8; HEAD] {
    let mut out = [0; HEAD];
    out[..8].copy_from_slice(MAGIC);
    out[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    out[12..16].copy_from_slice(&id.to_le_bytes());
    out[16..24].copy_from_slice(&first.to_le_bytes());
    let crc = crc32c::crc32c(&out[..28]);
    out[28..].copy_from_slice(&crc.to_le_bytes());
    out
}

/// How the footer that begins at `offset` ends its segment.
pub(crate) fn trailer(offset: u32) -> [u8; TRAILER] {
    let mut out = [0; TRAILER];
    out[..4].copy_from_slice(&offset.to_le_bytes());
    out[4..].copy_from_slice(TRAILER_MAGIC);
    out
}

/// What a segment's beginning says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begin {
    /// The number of its first record.
    First(u64),
    /// It was made and never written.
    Blank,
    /// It is not what was written.
    Bad,
}

/// How a segment ends.
#[derive(Debug, Clone)]
pub(crate) struct Footer {
    pub(crate) header: Header,
    /// Where its record begins.
    pub(crate) offset: u64,
    /// What the records before it did.
    pub(crate) digest: Bytes,
}

/// A segment's file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    pub(crate) id: SegmentId,
    pub(crate) file: &'a dyn FsFile,
}

impl Reader<'_> {
    pub(crate) fn name(&self) -> String {
        file_name(self.id)
    }

    pub(crate) fn corrupt(&self, offset: u64, what: impl Into<String>) -> JournalError {
        JournalError::Corrupt { file: self.name(), offset, what: what.into() }
    }

    pub(crate) fn bytes(&self) -> Result<u64, JournalError> {
        self.file.bytes().map_err(JournalError::io(format!("looking at {}", self.name())))
    }

    /// How it begins. An unknown format is an error.
    pub(crate) fn begin(&self) -> Result<Begin, JournalError> {
        let mut found = [0; HEAD];
        match self.file.read_at(0, &mut found) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Begin::Blank),
            Err(error) => return Err(JournalError::io(format!("reading {}", self.name()))(error)),
        }
        if found.iter().all(|byte| *byte == 0) {
            return Ok(Begin::Blank);
        }
        let word = |at: usize| u32::from_le_bytes([found[at], found[at + 1], found[at + 2], found[at + 3]]);
        if found[..8] == *MAGIC && word(8) != FORMAT && word(28) == crc32c::crc32c(&found[..28]) {
            return Err(JournalError::Format { file: self.name(), found: word(8), known: FORMAT });
        }
        let first = u64::from(word(16)) | u64::from(word(20)) << 32;
        Ok(if found == head(self.id, first) { Begin::First(first) } else { Begin::Bad })
    }

    /// The footer, if the segment has its end.
    pub(crate) fn footer(&self) -> Result<Option<Footer>, JournalError> {
        let bytes = self.bytes()?;
        let Some(at) = bytes.checked_sub(TRAILER as u64) else { return Ok(None) };
        let end = self.read(at, TRAILER)?;
        let offset = u32::from_le_bytes([end[0], end[1], end[2], end[3]]);
        let offset = u64::from(offset);
        if end[4..] != *TRAILER_MAGIC || offset < HEAD as u64 || offset + HEADER as u64 > at {
            return Ok(None);
        }
        let record = self.read(offset, (at - offset) as usize)?;
        let header = Header::read(&record).filter(|header| {
            let content = &record[HEADER..];
            header.kind == Kind::Footer && header.len as usize == content.len() && header.fits(content)
        });
        Ok(header.map(|header| Footer { header, offset, digest: record.slice(HEADER..) }))
    }

    /// The record at `offset`, if there is a whole one.
    pub(crate) fn record(&self, offset: u64, end: u64) -> Result<Option<(Header, Bytes)>, JournalError> {
        let room = end.saturating_sub(offset);
        if room < HEADER as u64 {
            return Ok(None);
        }
        let head = self.read(offset, HEADER)?;
        let Some(header) = Header::read(&head).filter(|header| u64::from(header.len) <= room - HEADER as u64) else {
            return Ok(None);
        };
        let content = self.read(offset + HEADER as u64, header.len as usize)?;
        Ok(header.fits(&content).then_some((header, content)))
    }

    /// The body at a place, if it is what was written.
    pub(crate) fn body(&self, place: Place) -> Result<Bytes, JournalError> {
        let (offset, len) = place.with_header();
        self.checked(place, &self.read(offset, len)?)
    }

    /// The body in what was read with its header, if it is what was written.
    pub(crate) fn checked(&self, place: Place, read: &Bytes) -> Result<Bytes, JournalError> {
        place.body(read).ok_or_else(|| self.corrupt(place.with_header().0, "a body is not what was written"))
    }

    pub(crate) fn read(&self, offset: u64, len: usize) -> Result<Bytes, JournalError> {
        let mut bytes = BytesMut::zeroed(len);
        self.read_into(offset, &mut bytes)?;
        Ok(bytes.freeze())
    }

    pub(crate) fn read_into(&self, offset: u64, into: &mut [u8]) -> Result<(), JournalError> {
        self.file.read_at(offset, into).map_err(JournalError::io(format!("reading {}", self.name())))
    }

    /// The first whole record from `from` on of which `wanted` is true: what shows that bytes before it were there once.
    pub(crate) fn find(
        &self,
        from: u64,
        end: u64,
        wanted: impl Fn(&Header) -> bool,
    ) -> Result<Option<(Header, u64)>, JournalError> {
        const WINDOW: u64 = 1 << 20;
        let mut at = from;
        while at + HEADER as u64 <= end {
            let window = self.read(at, (end - at).min(WINDOW + HEADER as u64) as usize)?;
            let places = window.len() + 1 - HEADER;
            for place in (0..places).filter(|place| window[*place + 24] != 0) {
                let candidate = Header::read(&window[place..]).filter(&wanted);
                if candidate.is_some()
                    && let Some((header, _)) = self.record(at + place as u64, end)?
                {
                    return Ok(Some((header, at + place as u64)));
                }
            }
            at += places as u64;
        }
        Ok(None)
    }
}
