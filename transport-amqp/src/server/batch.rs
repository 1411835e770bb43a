use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cell::Cell;

use roadbed_core::{Confirm, Delivery, Disposition, Done, Key, Outgoing};

/// The vectors that one turn of a connection fills and empties: one set per thread, not per connection.
#[derive(Default)]
pub(super) struct Batch {
    /// What came on one link and is not handed over, with the link's place.
    pub(super) outgoing: Vec<Outgoing>,
    pub(super) of: usize,
    pub(super) keys: Vec<Key>,
    pub(super) confirms: Vec<Confirm>,
    pub(super) deliveries: Vec<Delivery>,
    pub(super) dispositions: Vec<Disposition>,
    pub(super) done: Vec<Done>,
}

std::thread_local! {
    static BATCH: Cell<Option<Box<Batch>>> = const { Cell::new(None) };
}

impl Batch {
    /// The thread's set, empty.
    pub(super) fn take() -> Box<Self> {
        BATCH.take().unwrap_or_default()
    }

    /// Gives the set back. Whatever is left in it, an ended connection has no more use for.
    pub(super) fn give_back(mut self: Box<Self>) {
        self.outgoing.clear();
        self.keys.clear();
        self.confirms.clear();
        self.deliveries.clear();
        self.dispositions.clear();
        self.done.clear();
        BATCH.set(Some(self));
    }
}
