//! Records: a checksum, and where in the order of all records it stands.

use super::{Gather, Mark};

/// The bytes before the content of a record.
pub(crate) const HEADER: usize = 28;

/// What stands before the content of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) crc: u32,
    /// The bytes of the content.
    pub(crate) len: u32,
    /// Its number: one more than that of the record before it.
    pub(crate) lsn: u64,
    /// The last record that was known to be synced when this one was written. What is broken at or before it was promised once.
    pub(crate) synced: u64,
    pub(crate) kind: Kind,
}

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The operations of one promise.
    Unit,
    /// Nothing: it says that what stands before it was synced.
    Mark,
    /// The end of a segment: what its records did, without their bodies.
    Footer,
}

impl Header {
    /// The header that `bytes` begins with; `None` if there is none: they end before it does, or say what no header says.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.first_chunk::<HEADER>()?;
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        let kind = match word(24) {
            0x5549_4e54 => Kind::Unit,
            0x4d41_524b => Kind::Mark,
            0x464f_4f54 => Kind::Footer,
            _ => return None,
        };
        // There is always a next number.
        let lsn = Some(long(8)).filter(|lsn| *lsn < u64::MAX)?;
        Some(Self { crc: word(0), len: word(4), lsn, synced: long(16), kind })
    }

    /// The header of `content`.
    pub(crate) fn of(content: &[u8], lsn: u64, synced: u64, kind: Kind) -> Self {
        let mut header = Self { crc: 0, len: content.len() as u32, lsn, synced, kind };
        header.crc = header.checksum(content);
        header
    }

    /// Its bytes.
    pub(crate) fn bytes(&self) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        out[0..4].copy_from_slice(&self.crc.to_le_bytes());
        out[4..8].copy_from_slice(&self.len.to_le_bytes());
        out[8..16].copy_from_slice(&self.lsn.to_le_bytes());
        out[16..24].copy_from_slice(&self.synced.to_le_bytes());
        let kind: u32 = match self.kind {
            Kind::Unit => 0x5549_4e54,
            Kind::Mark => 0x4d41_524b,
            Kind::Footer => 0x464f_4f54,
        };
        out[24..28].copy_from_slice(&kind.to_le_bytes());
        out
    }

    /// Whether `content` is what was written behind it.
    pub(crate) fn fits(&self, content: &[u8]) -> bool {
        self.checksum(content) == self.crc
    }

    /// It covers the header behind itself.
    fn checksum(&self, content: &[u8]) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c(&self.bytes()[4..]), content)
    }
}

/// Fills in the header of the record that begins at `start`, where room was left for it.
pub(crate) fn finish(out: &mut Gather, start: Mark, lsn: u64, synced: u64, kind: Kind) {
    let len = (out.since(start) - HEADER) as u32;
    let mut header = Header { crc: 0, len, lsn, synced, kind };
    out.patch(start, &header.bytes());
    // The checksum covers the header behind itself.
    let mut first = true;
    header.crc = out.pieces(start).fold(0, |crc, piece| {
        let piece = if core::mem::take(&mut first) { &piece[4..] } else { piece };
        crc32c::crc32c_append(crc, piece)
    });
    out.patch(start, &header.crc.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn a_record_is_checked_whole() {
        let mut out = Gather::default();
        out.put(b"before");
        let start = out.mark();
        out.put(&[0; HEADER]);
        out.put(b"small");
        out.share(&Bytes::from(vec![3; 5000]));
        finish(&mut out, start, 9, 7, Kind::Unit);
        let bytes: Vec<u8> = out.pieces(start).flatten().copied().collect();
        let header = Header::read(&bytes).expect("a header");
        assert_eq!((header.len, header.lsn, header.synced, header.kind), (5005, 9, 7, Kind::Unit));
        assert!(header.fits(&bytes[HEADER..]));
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            let fits = Header::read(&bad)
                .is_some_and(|header| header.len as usize == bad.len() - HEADER && header.fits(&bad[HEADER..]));
            assert!(!fits, "bit {at}");
        }
    }
}
