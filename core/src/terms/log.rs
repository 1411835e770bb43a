//! Logs: what they are like, how they are read, and what is asked about them.

use alloc::vec::Vec;
use core::str::FromStr;
use core::time::Duration;

use bytestring::ByteString;

use crate::cloudevents::read_rfc3339;
use crate::{Address, Binding, Error, ErrorKind, Result, Time};

/// Bounds of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// Into how many partitions its messages are divided: by their group, or by who sent them. It cannot be changed.
    pub partitions: u32,
    /// How long a message is kept at least; `None`: as long as there is room. Messages go in chunks, oldest first.
    pub retention: Option<Duration>,
    /// How many bytes of each partition are kept at least, if it has as many; the oldest go first.
    pub bytes_max: u64,
}

impl LogSettings {
    /// The most partitions that a log can have.
    pub const PARTITIONS_MAX: u32 = 1024;

    /// These settings with others in place of some, as protocols name them: the retention in milliseconds, 0 for as long as there is room.
    #[must_use]
    pub fn changed(self, partitions: Option<u32>, retention_ms: Option<u64>, bytes_max: Option<u64>) -> Self {
        let retention = match retention_ms {
            None => self.retention,
            Some(millis) => (millis > 0).then(|| Duration::from_millis(millis)),
        };
        Self {
            partitions: partitions.unwrap_or(self.partitions),
            retention,
            bytes_max: bytes_max.unwrap_or(self.bytes_max),
        }
    }

    /// The retention in milliseconds; 0 for as long as there is room.
    pub fn retention_ms(&self) -> u64 {
        self.retention.map_or(0, |kept| u64::try_from(kept.as_millis()).unwrap_or(u64::MAX))
    }
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { partitions: 4, retention: Some(Duration::from_secs(7 * 24 * 3600)), bytes_max: 1 << 30 }
    }
}

/// How a log is read. Reading takes nothing away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogTerms {
    /// The log, `logs/NAME`, or one of its partitions, `logs/NAME/N`. Without a partition all are read, each in its order.
    pub address: Address,
    /// Where it begins.
    pub from: LogStart,
    /// Whose checkpoints are moved by settling; without a group nothing is remembered.
    pub group: Option<ByteString>,
    /// Takes the partitions for itself: from readers of the same group with a lower epoch, the same, or none. One with a lower epoch is
    /// refused, also when the higher one is not there any more, and over a restart; a reader without one only while it is there.
    pub epoch: Option<u64>,
}

impl LogTerms {
    /// Reads `address` from `from` on, and remembers nothing.
    pub const fn new(address: Address, from: LogStart) -> Self {
        Self { address, from, group: None, epoch: None }
    }

    /// Reads `address` for a group, from its checkpoint on.
    pub fn group(address: Address, group: impl Into<ByteString>) -> Self {
        Self { address, from: LogStart::Checkpoint, group: Some(group.into()), epoch: None }
    }
}

/// Where a reader of a log begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogStart {
    /// At the group's checkpoint; with the oldest message if there is none.
    #[default]
    Checkpoint,
    /// With the oldest message.
    Earliest,
    /// With the next message that comes.
    Latest,
    /// With the message at this position, or the first one after it.
    Position(u64),
    /// With the first message that was enqueued at this time or later.
    Time(Time),
}

/// As people write it: `earliest`, `latest`, `checkpoint`, a position, or a time such as `2026-01-31T12:00:00Z`.
impl FromStr for LogStart {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let position = || text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
        let time = || Some(Time::from_millis(u64::try_from(read_rfc3339(text)?).unwrap_or(0)));
        let start = match text {
            "earliest" => Some(Self::Earliest),
            "latest" => Some(Self::Latest),
            "checkpoint" => Some(Self::Checkpoint),
            _ => position().map(Self::Position).or_else(|| time().map(Self::Time)),
        };
        let words =
            "the start of a log is a position, earliest, latest, checkpoint, or a time such as 2026-01-31T12:00:00Z";
        start.ok_or_else(|| Error::new(ErrorKind::Invalid, "read a log").detail(words))
    }
}

/// Where in its log a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogPlace {
    /// The partition, from 0.
    pub partition: u32,
    /// The position within it, from 0 without gaps: its sequence number, and its offset.
    pub position: u64,
}

/// A question about the checkpoint of a group, or a new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// One partition, `logs/NAME/N`.
    pub partition: Address,
    /// The group.
    pub group: ByteString,
    /// Where it is to go on: at this position. `None`: only tell.
    pub set: Option<u64>,
    /// It may also go back.
    pub force: bool,
}

/// What a log is like.
#[derive(Clone, Debug)]
pub struct LogDescription {
    /// Its address.
    pub address: Address,
    /// Its settings.
    pub settings: LogSettings,
    /// What it follows.
    pub bindings: Vec<Binding>,
    /// Its partitions, in order.
    pub partitions: Vec<PartitionDescription>,
}

/// What a partition of a log is like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionDescription {
    /// The position of the oldest message.
    pub first: u64,
    /// The position of the next message that comes.
    pub next: u64,
    /// Bytes that are kept.
    pub bytes: u64,
    /// When the last message was enqueued; `None` before the first.
    pub last_enqueued_at: Option<Time>,
    /// Attached readers.
    pub readers: u32,
    /// Groups with their checkpoints.
    pub groups: Vec<(ByteString, u64)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_as_people_write_them() {
        for (text, start) in [
            ("earliest", LogStart::Earliest),
            ("latest", LogStart::Latest),
            ("checkpoint", LogStart::Checkpoint),
            ("0", LogStart::Position(0)),
            ("18446744073709551615", LogStart::Position(u64::MAX)),
            ("1970-01-01T00:00:01.5Z", LogStart::Time(Time::from_millis(1500))),
        ] {
            assert_eq!(text.parse::<LogStart>().expect("legal"), start, "{text}");
        }
        for wrong in ["", "-1", "+1", "18446744073709551616", "yesterday", "Earliest"] {
            assert_eq!(wrong.parse::<LogStart>().expect_err(wrong).kind(), ErrorKind::Invalid);
        }
    }
}
