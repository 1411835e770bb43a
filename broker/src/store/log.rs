//! Logs, as a store keeps them.

use roadbed_core::{Binding, LogSettings, Message, QueueId, Time};

use super::StoreError;

/// A log.
#[derive(Clone, Debug)]
pub struct LogRow {
    /// The numbers of its partitions, in order.
    pub partitions: Vec<QueueId>,
    /// Its settings.
    pub settings: LogSettings,
    /// What it follows.
    pub bindings: Vec<Binding>,
}

/// Where a partition stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogState {
    /// The oldest position that is kept.
    pub first: u64,
    /// The position of the next message.
    pub next: u64,
    /// Bytes that are kept.
    pub bytes: u64,
    /// When the last message was enqueued, if it is kept.
    pub last_at: Option<Time>,
}

/// A message of a partition.
#[derive(Clone, Debug)]
pub struct LogEntry {
    /// Its position.
    pub position: u64,
    /// When it was enqueued.
    pub at: Time,
    /// The message.
    pub message: Message,
}

/// A request for messages of a partition.
#[derive(Clone, Copy, Debug)]
pub struct LogRead {
    /// Its number.
    pub id: u64,
    /// The partition.
    pub partition: QueueId,
    /// With which message it begins.
    pub from: ReadFrom,
    /// The most messages that are read.
    pub messages_max: usize,
    /// Nothing more is read after so many bytes.
    pub bytes_max: usize,
}

/// With which message a page begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFrom {
    /// The one at this position, or the first one after it that is kept.
    Position(u64),
    /// The first one that was enqueued at this time or later.
    Time(Time),
}

/// What was read.
#[derive(Debug)]
pub struct LogPage {
    /// The number of the request.
    pub id: u64,
    /// The messages in order, without gaps but those of what is not kept any more. Empty: there is nothing from there on.
    pub entries: Result<Vec<LogEntry>, StoreError>,
}

/// The part of a store that keeps logs.
///
/// *Contract*: what a commit has told of is found. A reader's answer wakes the waker of [`Store::poll_commits`](super::Store::poll_commits).
pub trait LogStore {
    /// Asks for messages; never waits. The answer comes by [`poll_pages`](Self::poll_pages).
    fn read_log(&mut self, read: LogRead);

    /// Appends the pages that have come.
    fn poll_pages(&mut self, into: &mut Vec<LogPage>);

    /// Where a partition stands; of one without messages, where it would begin. Never waits.
    fn log_state(&mut self, partition: QueueId) -> LogState;

    /// The oldest position that is to be kept, if `bytes_max` bytes are to be kept at least, and everything that was enqueued at
    /// `oldest` or later: as near as this can be told without reading. Never waits.
    fn log_cut(&mut self, partition: QueueId, bytes_max: u64, oldest: Time) -> u64;
}
