//! The figures of a journal by their names: for metrics.

use core::time::Duration;

use crate::store::JournalStats;

/// One figure of [`JournalStats::iter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Figure {
    /// How it is now.
    Now(u64),
    /// How much it was since the journal was opened.
    Total(u64),
    /// How long it took since then.
    Seconds(Duration),
}

impl JournalStats {
    /// All figures, with names in lower case and underscores.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, Figure)> {
        use Figure::{Now, Seconds, Total};
        [
            ("segments", Now(self.segments)),
            ("bytes", Now(self.bytes)),
            ("live_bytes", Now(self.live_bytes)),
            ("copies", Now(self.copies)),
            ("rows", Now(self.rows)),
            ("full", Now(self.full.into())),
            ("units", Total(self.units)),
            ("syncs", Total(self.syncs)),
            ("sync", Seconds(self.sync_time)),
            ("written_bytes", Total(self.written_bytes)),
            ("cleaned_segments", Total(self.cleaned_segments)),
            ("refused", Total(self.refused)),
            ("reads", Total(self.reads)),
            ("read_bytes", Total(self.read_bytes)),
        ]
        .into_iter()
    }
}
