//! Takes the end of a journal away, so that it can be seen whether that is noticed.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Fills the last `bytes` that were written with zeros.
pub(crate) fn cut(data: &Path, bytes: u64) -> io::Result<()> {
    let mut names: Vec<_> = std::fs::read_dir(data)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    names.sort();
    let mut left = bytes;
    for path in names.iter().rev().filter(|path| path.extension().is_some_and(|end| end == "journal")) {
        let content = std::fs::read(path)?;
        let written = content.iter().rposition(|byte| *byte != 0).map_or(0, |at| at as u64 + 1);
        // A segment's own beginning is left, so that this looks like an end that a power cut has torn.
        let from = written.saturating_sub(left).max(32).min(written);
        let file = OpenOptions::new().write(true).open(path)?;
        file.write_all_at(&vec![0; (written - from) as usize], from)?;
        left = left.saturating_sub(written - from);
        if left == 0 || written > 32 {
            break;
        }
    }
    Ok(())
}
