use core::time::Duration;

/// How a journal is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct JournalConfig {
    /// How long a segment is, in bytes; one message alone may make a longer one. Default 64 MiB.
    pub segment_bytes: u32,
    /// When what was written is synced. Default [`SyncPolicy::Always`].
    pub sync: SyncPolicy,
    /// How many bytes of what has come to its end may lie around before old segments are cleaned, however little is kept;
    /// otherwise as many as are kept. Default 256 MiB.
    pub garbage_bytes: u64,
    /// Nothing new is taken while the file system has less room than this, in bytes, or less than a segment needs; what is kept can still come to its
    /// end. Default 256 MiB.
    pub free_bytes_min: u64,
    /// The same in hundredths of the file system: the smaller of the two counts. Default 5.
    pub free_percent_min: u8,
    /// The longest message that is kept, in bytes. Default 256 MiB.
    pub message_bytes_max: usize,
}

/// When what was written is synced to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum SyncPolicy {
    /// Before anything is promised. A power cut loses nothing that was promised.
    #[default]
    Always,
    /// Every so often. A power cut loses up to as much of what was promised; the end of the process alone loses nothing.
    Every(Duration),
}

impl Default for JournalConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            sync: SyncPolicy::Always,
            garbage_bytes: 256 << 20,
            free_bytes_min: 256 << 20,
            free_percent_min: 5,
            message_bytes_max: 256 << 20,
        }
    }
}

impl JournalConfig {
    /// How long a segment is, in bytes; at least 4 KiB, at most 1 GiB.
    #[must_use]
    pub fn segment_bytes(mut self, bytes: u32) -> Self {
        self.segment_bytes = bytes.clamp(4 << 10, 1 << 30);
        self
    }

    /// When what was written is synced.
    #[must_use]
    pub fn sync(mut self, sync: SyncPolicy) -> Self {
        self.sync = sync;
        self
    }

    /// How many bytes of what has come to its end may lie around.
    #[must_use]
    pub fn garbage_bytes(mut self, bytes: u64) -> Self {
        self.garbage_bytes = bytes;
        self
    }

    /// How much room the file system must have for anything new.
    #[must_use]
    pub fn free_min(mut self, bytes: u64, percent: u8) -> Self {
        (self.free_bytes_min, self.free_percent_min) = (bytes, percent);
        self
    }
}
