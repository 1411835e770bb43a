use std::collections::VecDeque;

use roadbed_core::{Message, Time};

use crate::store::{LogEntry, LogRead, LogState, ReadFrom};

/// One partition of a log.
#[derive(Debug, Default)]
pub(super) struct Partition {
    first: u64,
    bytes: u64,
    entries: VecDeque<(Time, Message)>,
}

impl Partition {
    pub(super) fn append(&mut self, message: Message, at: Time) {
        self.bytes += message.cost() as u64;
        self.entries.push_back((at, message));
    }

    pub(super) fn trim(&mut self, before: u64) {
        while self.first < before.min(self.next()) {
            if let Some((_, message)) = self.entries.pop_front() {
                self.bytes -= message.cost() as u64;
            }
            self.first += 1;
        }
    }

    pub(super) fn state(&self) -> LogState {
        let last_at = self.entries.back().map(|(at, _)| *at);
        LogState { first: self.first, next: self.next(), bytes: self.bytes, last_at }
    }

    pub(super) fn cut(&self, bytes_max: u64, oldest: Time) -> u64 {
        let (mut cut, mut bytes) = (self.first, self.bytes);
        for (at, message) in &self.entries {
            bytes -= message.cost() as u64;
            if *at >= oldest && bytes < bytes_max {
                break;
            }
            cut += 1;
        }
        cut
    }

    pub(super) fn read(&self, read: &LogRead) -> Vec<LogEntry> {
        let from = match read.from {
            ReadFrom::Position(position) => position.saturating_sub(self.first),
            ReadFrom::Time(time) => self.entries.partition_point(|(at, _)| *at < time) as u64,
        };
        let from = usize::try_from(from).unwrap_or(usize::MAX).min(self.entries.len());
        let mut bytes = 0;
        let some = self.entries.range(from..).take(read.messages_max).take_while(|(_, message)| {
            let before = bytes;
            bytes += message.cost();
            before < read.bytes_max
        });
        let first = self.first + from as u64;
        let entry = |(n, (at, message)): (usize, &(Time, Message))| LogEntry {
            position: first + n as u64,
            at: *at,
            message: message.clone(),
        };
        some.enumerate().map(entry).collect()
    }

    fn next(&self) -> u64 {
        self.first + self.entries.len() as u64
    }
}
