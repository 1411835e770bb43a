//! What the broker has done, counted by cause.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

macro_rules! counters {
    (hot { $($(#[doc = $hot_doc:literal])+ $hot:ident,)+ } $($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// What the broker has done since its start, and what it holds now. A snapshot.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize))]
        #[non_exhaustive]
        pub struct Counters {
            $($(#[doc = $hot_doc])+ pub $hot: u64,)+
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        /// The live counters.
        #[derive(Debug, Default)]
        pub(crate) struct Meters {
            lines: [Line; LINES],
            $(pub(crate) $name: Meter,)+
        }

        /// Counters that every batch moves, one set for each few threads, each in a cache line of its own.
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub(crate) struct Line { $(pub(crate) $hot: Meter,)+ }

        impl Meters {
            pub(crate) fn snapshot(&self) -> Counters {
                Counters {
                    $($hot: self.lines.iter().map(|line| line.$hot.load()).sum(),)+
                    $($name: self.$name.load(),)+
                }
            }
        }

        impl Counters {
            /// Every counter with its name, in the order of declaration.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($hot), self.$hot),)+ $((stringify!($name), self.$name),)+].into_iter()
            }
        }
    };
}

counters! {
    hot {
        /// Messages that were sent to the broker.
        messages_in,
        /// Payload bytes of these.
        bytes_in,
        /// Deliveries that were handed over.
        messages_out,
        /// Payload bytes of these.
        bytes_out,
        /// Copies put into sessions and queues.
        copies_in,
        /// Copies that ended as accepted, by an answer or by a transfer that asks for none.
        accepted,
    }
    /// Copies that ended as rejected.
    rejected,
    /// Deliveries that were released.
    released,
    /// Deliveries that were modified.
    modified,
    /// Settlements of deliveries that were not the caller's any more.
    late,
    /// Messages that were recognised as sent before.
    duplicates,
    /// Messages that nothing was bound to.
    unrouted,
    /// Messages that were refused: queue or budget full.
    refused_full,
    /// Messages that were refused: too large.
    refused_too_large,
    /// Messages that were refused: no such address, or an illegal one.
    refused_address,
    /// Messages that were refused: a promise that the destination cannot keep.
    refused_precondition,
    /// Messages that were refused: the store failed.
    refused_unavailable,
    /// Live messages that found no consumer, or none with credit.
    refused_live,
    /// At-most-once copies dropped: the session is not connected.
    dropped_offline,
    /// At-most-once copies dropped: too many waited.
    dropped_slow,
    /// Copies dropped: the session's queue was full.
    dropped_full,
    /// Copies dropped: expired.
    dropped_expired,
    /// Copies dropped: their session or queue ended.
    dropped_ended,
    /// Copies dropped: a newer one took their place.
    dropped_displaced,
    /// Copies dropped: purged.
    dropped_purged,
    /// Copies dropped: delivered as often as allowed, without dead letters.
    dropped_attempts,
    /// Copies moved to dead letters.
    dead_lettered,
    /// Leases that ran out.
    leases_lapsed,
    /// Deadlines that were missed.
    deadlines_missed,
    /// Payloads that were copied because their message was parked.
    payloads_detached,
    /// Wills that were sent.
    wills_sent,
    /// Sessions taken over by another connection.
    sessions_taken_over,
    /// Sessions that expired.
    sessions_expired,
    /// Sessions refused: too many.
    sessions_refused,
    /// Bindings refused: too many.
    bindings_refused,
    /// Retained values refused: too many.
    retained_refused,
    /// Transactions committed.
    transactions_committed,
    /// Transactions rolled back.
    transactions_rolled_back,
    /// Transactions that were open too long.
    transactions_timed_out,
    /// Units submitted to the store.
    store_units,
    /// Units that the store refused.
    store_failures,
    /// Messages appended to partitions of logs.
    log_messages_in,
    /// Messages of logs that were handed to readers.
    log_messages_out,
    /// Messages of logs that have been kept long enough, or were trimmed.
    log_messages_gone,
    /// Readers of logs whose place another one has taken by its epoch.
    log_readers_stolen,
    /// Logs now.
    logs,
    /// Sessions now, connected or kept.
    sessions,
    /// Sessions now connected.
    sessions_connected,
    /// The most sessions that were connected at a time.
    sessions_connected_max,
    /// Queues now.
    queues,
    /// Bindings now, shared ones included.
    bindings,
    /// Shared bindings now.
    bindings_shared,
    /// Retained values now.
    retained,
    /// Bytes of retained values now.
    retained_bytes,
    /// Bytes of queues and sessions in memory now, to within 64 KiB a session.
    bytes,
    /// Messages of queues and sessions now that only the store has.
    paged_messages,
    /// Bytes of these.
    paged_bytes,
    /// How often messages were asked back from the store.
    page_reads,
    /// Messages that were read back from the store.
    page_messages_read,
    /// Readings back that have failed.
    page_failures,
    /// Transactions open or prepared now.
    transactions,
}

/// How many sets of hot counters there are.
const LINES: usize = 8;

static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static LINE: usize = THREADS.fetch_add(1, Ordering::Relaxed) % LINES;
}

impl Meters {
    /// The hot counters of this thread.
    pub(crate) fn hot(&self) -> &Line {
        &self.lines[LINE.try_with(|line| *line).unwrap_or_default()]
    }
}

/// One counter.
#[derive(Debug, Default)]
pub(crate) struct Meter(AtomicU64);

impl Meter {
    pub(crate) fn add(&self, count: u64) {
        if count > 0 {
            self.0.fetch_add(count, Ordering::Relaxed);
        }
    }

    pub(crate) fn sub(&self, count: u64) {
        if count > 0 {
            self.0.fetch_sub(count, Ordering::Relaxed);
        }
    }

    /// What was `before` is `now`.
    pub(crate) fn moved(&self, before: usize, now: usize) {
        if now > before { self.add((now - before) as u64) } else { self.sub((before - now) as u64) }
    }

    pub(crate) fn one(&self) {
        self.add(1);
    }

    pub(crate) fn raise_to(&self, value: u64) {
        self.0.fetch_max(value, Ordering::Relaxed);
    }

    pub(crate) fn load(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
