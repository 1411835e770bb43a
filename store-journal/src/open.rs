//! Opening: a torn end is cut off, the last segment is ended, and what was made ahead is removed.

use crate::error::JournalError;
use crate::fs::Fs;
use crate::index::{Index, SegmentId};
use crate::segment::file_name;
use crate::walk::{Walk, open_file};
use crate::write::seal;

/// A journal that was read.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) index: Index,
    /// The number of the segment that is written next.
    pub(crate) next: SegmentId,
    /// The last record.
    pub(crate) lsn: u64,
}

/// Reads everything but bodies, and makes it ready to be written on. Nothing is changed of a journal that is damaged.
pub(crate) fn open(fs: &dyn Fs) -> Result<Opened, JournalError> {
    let Walk { mut index, next, mut lsn, unended, unused, .. } = Walk::strict(fs)?;
    if let Some((id, mut tail)) = unended {
        let ending = || format!("ending {}", file_name(id));
        let file = open_file(fs, id)?;
        // What was read may have been in the system's memory alone: its end vouches for it.
        file.sync().map_err(JournalError::io(ending()))?;
        let bytes = seal(&*file, &mut tail).map_err(JournalError::io(ending()))?;
        index.set_bytes(id, bytes);
        lsn = tail.lsn;
    }
    for name in unused.into_iter().map(file_name) {
        fs.remove(&name).map_err(JournalError::io(format!("removing {name}")))?;
    }
    fs.sync_names().map_err(JournalError::io("syncing the folder"))?;
    Ok(Opened { index, next, lsn })
}
