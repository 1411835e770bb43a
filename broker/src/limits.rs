//! Every bound of the broker, with its default.

use std::time::Duration;

use roadbed_core::{Overflow, QueueSettings};

/// The broker's bounds and habits. Every bound has a counter in [`Counters`](crate::Counters) that tells how often it was hit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct Settings {
    /// The longest payload, in bytes; longer ones are refused as too large.
    pub message_bytes_max: usize,
    /// Bytes of all queues and sessions together in memory; beyond it, new messages are refused as full.
    pub bytes_max: usize,
    /// Bytes of all queues and sessions together in memory from which on the messages of stored copies that wait are left to the store alone, and read back
    /// when it is nearly their turn; one queue or session has at most an eighth of it. What is delivered and not settled stays in memory all the same.
    pub memory_bytes_max: usize,
    /// How many bytes of a queue or session are read back at once.
    pub read_ahead_bytes: usize,
    /// Whether messages sent at least once or exactly once are stored at durable queues and kept sessions although they do not ask for it, if the store
    /// survives a restart.
    pub store_at_least_once: bool,
    /// Filters of addresses whose messages are stored only if they ask for it.
    pub store_on_request: Vec<String>,
    /// Sessions, connected or kept; further ones are refused.
    pub sessions_max: usize,
    /// The longest time that a session is kept after its connection ends, in seconds.
    pub session_expiry_seconds_max: u64,
    /// Messages that wait in one session's own queue.
    pub session_messages_max: usize,
    /// Bytes that wait in one session's own queue.
    pub session_bytes_max: usize,
    /// At-most-once messages that wait in one session's own queue; further ones are dropped.
    pub session_at_most_once_max: usize,
    /// Whether at-most-once messages wait for sessions that are not connected.
    pub session_at_most_once_offline: bool,
    /// What happens to a message that finds a session's queue full: the oldest makes room, or the new one is dropped. Neither
    /// is told to the sender, so that a slow consumer costs only its own queue.
    pub session_drop_oldest: bool,
    /// Attempts after which a message in a session's own queue is dropped; 0: no bound.
    pub session_deliveries_max: u32,
    /// Bindings of one session.
    pub session_bindings_max: usize,
    /// Unsettled deliveries of one session, whatever window it asks for.
    pub session_window_max: u16,
    /// Keys of one session that are not forgotten; further messages with keys are refused as full.
    pub session_keys_max: usize,
    /// Links of one session to queues.
    pub session_links_max: usize,
    /// Bytes that one session has sent and that are behind the store, stored themselves or not: beyond it, the session is told to stop reading until half
    /// of it is done.
    pub session_behind_bytes_max: usize,
    /// How long the outcome under an idempotency name is remembered, in seconds.
    pub key_window_seconds: u64,
    /// Idempotency names that are remembered for one principal; the oldest are forgotten first.
    pub key_window_entries_max: usize,
    /// How long a settled delivery is remembered, so that settling it again changes nothing, in seconds.
    pub tombstone_seconds: u64,
    /// Settled deliveries that are remembered for one queue; the oldest are forgotten first.
    pub tombstones_max: usize,
    /// Queues, dead letters and temporary ones included.
    pub queues_max: usize,
    /// Whether a queue is made on its first use.
    pub queue_on_first_use: bool,
    /// Messages in one queue, unless it is declared otherwise.
    pub queue_messages_max: usize,
    /// Bytes in one queue, unless it is declared otherwise; most of them may be in the store alone.
    pub queue_bytes_max: usize,
    /// Bytes of one queue in memory, where what is not stored stays: beyond it the queue is full.
    pub queue_memory_bytes_max: usize,
    /// Deliveries of a message before it is dead-lettered, unless its queue is declared otherwise.
    pub queue_deliveries_max: u32,
    /// Messages of one queue that some link has sent elsewhere which one receive call looks through.
    pub queue_excluded_scan_max: usize,
    /// Logs; further ones are refused.
    pub logs_max: usize,
    /// Groups of one partition of a log that have a checkpoint.
    pub log_groups_max: usize,
    /// Bytes of the newest messages of one partition that are kept in memory while somebody reads it.
    pub log_tail_bytes_max: usize,
    /// Bytes that one reader of a partition reads at once.
    pub log_page_bytes_max: usize,
    /// How often it is looked whether messages of logs have been kept long enough, in seconds.
    pub log_retention_check_seconds: u64,
    /// Routes that are remembered for all senders; beyond it, they are looked up again.
    pub routes_cached_max: usize,
    /// Bindings of one queue.
    pub queue_bindings_max: usize,
    /// The longest lease, in seconds.
    pub lease_seconds_max: u64,
    /// Whether a consumer may attach to an address that is not a queue: it gets a temporary queue that follows the address.
    /// Otherwise it is told that there is no such queue.
    pub topic_consumers: bool,
    /// Addresses with a retained value.
    pub retained_messages_max: usize,
    /// Bytes of all retained values.
    pub retained_bytes_max: usize,
    /// Transactions that are open or prepared.
    pub transactions_max: usize,
    /// Transactions of one principal that are open or prepared.
    pub principal_transactions_max: usize,
    /// How long a transaction may stay open, in seconds; then it is rolled back.
    pub transaction_seconds_max: u64,
    /// Sends and settlements of one transaction.
    pub transaction_operations_max: usize,
    /// Bytes of the messages that one transaction sends.
    pub transaction_bytes_max: usize,
    /// Messages that wait in a queue before payloads are copied into memory of their own, so that they no longer pin the
    /// buffers that they were read into.
    pub parked_messages_min: usize,
    /// Operations that wait for the store before senders of stored messages wait, too. What is settled or deleted never does.
    pub store_operations_max: usize,
    /// Bytes of payloads that wait for the store before senders of stored messages wait, too.
    pub store_bytes_max: usize,
    /// Seed of the names of temporary queues and assigned sessions.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            message_bytes_max: 16 << 20,
            bytes_max: 4 << 30,
            memory_bytes_max: 128 << 20,
            read_ahead_bytes: 512 << 10,
            store_at_least_once: true,
            store_on_request: Vec::new(),
            sessions_max: 1_000_000,
            session_expiry_seconds_max: 7 * 24 * 3600,
            session_messages_max: 100_000,
            session_bytes_max: 64 << 20,
            session_at_most_once_max: 50_000,
            session_at_most_once_offline: false,
            session_drop_oldest: true,
            session_deliveries_max: 0,
            session_bindings_max: 10_000,
            session_window_max: u16::MAX,
            session_keys_max: 65_535,
            session_links_max: 10_000,
            session_behind_bytes_max: 4 << 20,
            key_window_seconds: 300,
            key_window_entries_max: 100_000,
            tombstone_seconds: 300,
            tombstones_max: 10_000,
            queues_max: 100_000,
            queue_on_first_use: true,
            queue_messages_max: 10_000_000,
            queue_bytes_max: 16 << 30,
            queue_memory_bytes_max: 256 << 20,
            queue_deliveries_max: 10,
            queue_excluded_scan_max: 256,
            logs_max: 10_000,
            log_groups_max: 1000,
            log_tail_bytes_max: 256 << 10,
            log_page_bytes_max: 256 << 10,
            log_retention_check_seconds: 10,
            routes_cached_max: 4096,
            queue_bindings_max: 10_000,
            lease_seconds_max: 3600,
            topic_consumers: true,
            retained_messages_max: 1_000_000,
            retained_bytes_max: 1 << 30,
            transactions_max: 10_000,
            principal_transactions_max: 1_000,
            transaction_seconds_max: 60,
            transaction_operations_max: 10_000,
            transaction_bytes_max: 64 << 20,
            parked_messages_min: 256,
            store_operations_max: 4096,
            store_bytes_max: 1 << 20,
            seed: 0,
        }
    }
}

impl Settings {
    /// The settings of a queue that nobody has declared.
    pub fn queue(&self) -> QueueSettings {
        QueueSettings {
            messages_max: self.queue_messages_max,
            bytes_max: self.queue_bytes_max,
            deliveries_max: self.queue_deliveries_max,
            ..QueueSettings::default()
        }
    }

    /// The settings of a queue that lives as long as its link.
    pub(crate) fn temporary_queue(&self) -> QueueSettings {
        let expires = Some(Duration::ZERO);
        QueueSettings { durable: false, dead_letters: false, overflow: Overflow::DropOldest, expires, ..self.queue() }
    }
}
