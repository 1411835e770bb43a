#![doc = include_str!("../README.md")]
//!
//! # Inside
//!
//! There is no router thread, no task and no channel: a sender puts copies into the queues of those who follow, a consumer takes
//! them out; each takes one small lock a batch, and wakes at most one waker. Locks are taken in this order, and none is held while
//! a waker is called: registry, store, session, queue; router, shared group, session. All others are leaves.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod bindings;
mod broker;
mod commit;
mod commits;
mod consumer;
mod coordinator;
mod copy;
mod counters;
mod dead;
mod discharge;
mod dispatch;
mod entry;
mod exactly_once;
mod inflight;
mod keys;
mod later;
mod limits;
mod log;
mod mailbox;
mod manage;
mod memory_store;
mod paged;
mod positions;
mod producer;
mod queue;
mod registry;
mod retained;
mod router;
mod session;
mod settlement;
mod store;
mod timers;
mod txn;
mod waiter;
mod wakers;

pub use broker::{Broker, Builder};
pub use coordinator::{Branches, Coordinator, CoordinatorBuilder, InDoubt};
pub use copy::{CopyEvent, CopyState, NotApplicable};
pub use counters::Counters;
pub use limits::Settings;
pub use memory_store::MemoryStore;
pub use store::{
    Caps, Expect, Facts, Holder, Level, ListedCopy, LogEntry, LogPage, LogRead, LogRow, LogState, LogStore, NewCopy,
    Op, Prepared, PreparedPost, QueueRow, ReadAnswer, ReadFrom, ReadId, Recovery, Revision, Row, RowKey, SessionRow,
    Store, StoreError, StoredCopy, StoredHold, Unit, UnitId,
};

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Takes a lock. What a panicking thread has left is consistent: no invariant spans a call that can panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
