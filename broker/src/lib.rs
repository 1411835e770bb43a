//! The in-process endpoint of Roadbed: router, queues, retained values, transactions, over a store.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod broker;
mod commits;
mod consumer;
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
mod mailbox;
mod manage;
mod memory_store;
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

pub use broker::{Broker, Builder};
pub use copy::{CopyEvent, CopyState, NotApplicable};
pub use counters::Counters;
pub use limits::Settings;
pub use memory_store::MemoryStore;
pub use store::{
    Caps, Expect, Level, NewCopy, Op, Prepared, QueueRow, Recovery, Revision, Row, RowKey, SessionRow, Store,
    StoreError, StoredCopy, Unit, UnitId,
};

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Takes a lock. What a panicking thread has left is consistent: no invariant spans a call that can panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
