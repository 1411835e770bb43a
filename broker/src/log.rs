//! Logs: nodes that messages are appended to, and that are read without taking anything away.
//!
//! A log is divided into partitions. Each has a position for every message, dense and growing in the order of the store's commits: the store
//! counts as it commits, and the broker as it learns of the commits, which is the same order.

mod manage;
mod reading;
mod retention;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use bytestring::ByteString;
use roadbed_core::{Address, Binding, LogSettings, Message, QueueId, Time};

use crate::broker::Shared;
use crate::lock;
use crate::store::{LogEntry, LogState};
pub(crate) use reading::{Moved, Reading, move_all};

/// A log.
#[derive(Debug)]
pub(crate) struct Log {
    address: Address,
    pub(crate) partitions: Vec<Arc<Partition>>,
    pub(crate) inner: Mutex<LogInner>,
}

#[derive(Debug)]
pub(crate) struct LogInner {
    pub(crate) settings: LogSettings,
    pub(crate) bindings: Vec<Binding>,
}

/// A partition of a log.
#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) id: QueueId,
    pub(crate) number: u32,
    pub(crate) address: Address,
    /// When the last message that was submitted was enqueued.
    submitted_at: AtomicU64,
    pub(crate) inner: Mutex<PartitionInner>,
}

#[derive(Debug, Default)]
pub(crate) struct PartitionInner {
    pub(crate) first: u64,
    pub(crate) next: u64,
    pub(crate) bytes: u64,
    pub(crate) last_at: Option<Time>,
    pub(crate) deleted: bool,
    /// Bytes that have come since the retention was looked at.
    fresh: u64,
    /// The newest messages, as long as somebody reads, so that who keeps up does not read the disk.
    tail: VecDeque<LogEntry>,
    tail_bytes: usize,
    pub(crate) readers: Vec<Weak<Reading>>,
    pub(crate) checkpoints: BTreeMap<ByteString, u64>,
    /// The highest epoch that a reader of each group has had.
    pub(crate) epochs: BTreeMap<ByteString, u64>,
}

impl Log {
    pub(crate) fn new(address: Address, settings: LogSettings, partitions: Vec<(QueueId, LogState)>) -> Self {
        let partition = |(n, (id, state)): (usize, (QueueId, LogState))| {
            let of = Address::from_checked(format!("{address}/{n}").into());
            Arc::new(Partition::new(id, n as u32, of, state))
        };
        let partitions = partitions.into_iter().enumerate().map(partition).collect();
        Self { address, partitions, inner: Mutex::new(LogInner { settings, bindings: Vec::new() }) }
    }

    pub(crate) const fn address(&self) -> &Address {
        &self.address
    }

    /// Where a message goes: by its group, or who sent it. Nobody in particular is told apart by session.
    pub(crate) fn partition_for(&self, message: &Message, session: u64) -> &Arc<Partition> {
        let group = if message.has_details() { message.details().group.as_ref() } else { None };
        let principal = message.origin().map(|origin| &origin.principal).filter(|principal| !principal.is_empty());
        let hash = match group.or(principal) {
            Some(key) => hash(key.as_bytes()),
            None => hash(&session.to_be_bytes()),
        };
        &self.partitions[(hash % self.partitions.len() as u64) as usize]
    }
}

impl Partition {
    fn new(id: QueueId, number: u32, address: Address, state: LogState) -> Self {
        let LogState { first, next, bytes, last_at } = state;
        let submitted_at = AtomicU64::new(last_at.map_or(0, Time::as_nanos));
        let inner = PartitionInner { first, next, bytes, last_at, ..PartitionInner::default() };
        Self { id, number, address, submitted_at, inner: Mutex::new(inner) }
    }

    /// The time of a message that is submitted at `now`: never before the one in front of it. Called in the order of submission.
    pub(crate) fn enqueued_at(&self, now: Time) -> Time {
        let before = self.submitted_at.fetch_max(now.as_nanos(), Ordering::Relaxed);
        now.max(Time::from_nanos(before))
    }

    pub(crate) fn is_deleted(&self) -> bool {
        lock(&self.inner).deleted
    }

    /// The store has it: it gets its position, and readers are woken.
    pub(crate) fn appended(&self, shared: &Shared, message: &Message, at: Time) {
        let mut inner = lock(&self.inner);
        let (position, cost) = (inner.next, message.cost() as u64);
        inner.next += 1;
        inner.bytes += cost;
        inner.last_at = Some(at);
        inner.fresh += cost;
        inner.readers.retain(|reader| reader.strong_count() > 0);
        let readers: Vec<_> = inner.readers.iter().filter_map(Weak::upgrade).collect();
        if readers.is_empty() {
            inner.forget_tail();
        } else {
            inner.remember(LogEntry { position, at, message: message.detach() }, shared.settings.log_tail_bytes_max);
        }
        drop(inner);
        shared.meters.log_messages_in.one();
        readers.iter().for_each(|reader| reader.wakeup.wake());
    }
}

impl PartitionInner {
    fn remember(&mut self, entry: LogEntry, bytes_max: usize) {
        if self.tail.back().is_some_and(|last| last.position + 1 != entry.position) {
            self.forget_tail();
        }
        self.tail_bytes += entry.message.cost();
        self.tail.push_back(entry);
        while self.tail_bytes > bytes_max
            && let Some(gone) = self.tail.pop_front()
        {
            self.tail_bytes -= gone.message.cost();
        }
    }

    fn forget_tail(&mut self) {
        (self.tail, self.tail_bytes) = (VecDeque::new(), 0);
    }

    /// The messages from `position` on, if the newest ones begin there or before.
    pub(crate) fn newest(&self, position: u64, max: usize) -> Vec<LogEntry> {
        let Some(front) = self.tail.front().filter(|front| front.position <= position) else { return Vec::new() };
        let from = usize::try_from(position - front.position).unwrap_or(usize::MAX).min(self.tail.len());
        self.tail.range(from..).take(max).cloned().collect()
    }
}

/// The same for ever, since it says in which partition messages are (FNV-1a, and a mix, since its low bits alone tell little apart).
fn hash(key: &[u8]) -> u64 {
    let fnv = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = key.iter().fold(0xcbf2_9ce4_8422_2325, fnv);
    let mixed = (hash ^ (hash >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    mixed ^ (mixed >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_of_keys_never_change() {
        assert_eq!(
            [&b""[..], b"device-1", b"device-2"].map(hash),
            [0xfdbd_f6ac_4fc5_2e7f, 0xcba1_9fc8_07a3_e654, 0x5aaa_a903_8b65_3c64]
        );
    }

    #[test]
    fn keys_are_spread() {
        let mut counts = [0; 4];
        (0..4000).for_each(|n| counts[(hash(format!("device-{n}").as_bytes()) % 4) as usize] += 1);
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
    }
}
