use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cell::Cell;

use crate::{Confirm, Delivery, Disposition, Done, Key, Outgoing};

/// The vectors that one turn of a connection fills and empties: one set per thread, not per connection.
#[derive(Debug, Default)]
pub struct Batch {
    /// What has come and is not handed over.
    pub outgoing: Vec<Outgoing>,
    /// What the peer has forgotten.
    pub keys: Vec<Key>,
    /// What became of messages that were handed over.
    pub confirms: Vec<Confirm>,
    /// What is to be sent.
    pub deliveries: Vec<Delivery>,
    /// What the peer says of deliveries.
    pub dispositions: Vec<Disposition>,
    /// What became of dispositions.
    pub done: Vec<Done>,
}

std::thread_local! {
    static BATCH: Cell<Option<Box<Batch>>> = const { Cell::new(None) };
}

impl Batch {
    /// The thread's set, empty.
    pub fn take() -> Box<Self> {
        BATCH.take().unwrap_or_default()
    }

    /// Gives the set back. Whatever is left in it, an ended connection has no more use for.
    pub fn give_back(mut self: Box<Self>) {
        self.outgoing.clear();
        self.keys.clear();
        self.confirms.clear();
        self.deliveries.clear();
        self.dispositions.clear();
        self.done.clear();
        BATCH.set(Some(self));
    }
}
