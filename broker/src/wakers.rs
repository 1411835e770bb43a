//! Wakers that are kept until there is something to wake for.

use std::sync::Mutex;
use std::task::Waker;

use crate::lock;

/// Keeps the waker of who waits alone: the last one that asked.
pub(crate) fn keep(slot: &mut Option<Waker>, waker: &Waker) {
    match slot {
        Some(known) => known.clone_from(waker),
        none => *none = Some(waker.clone()),
    }
}

/// Adds the waker of one of several who wait.
pub(crate) fn join(wakers: &mut Vec<Waker>, waker: &Waker) {
    if !wakers.iter().any(|known| known.will_wake(waker)) {
        wakers.push(waker.clone());
    }
}

/// One who waits, with a lock of its own.
#[derive(Debug, Default)]
pub(crate) struct Wakeup(Mutex<Option<Waker>>);

impl Wakeup {
    pub(crate) fn register(&self, waker: &Waker) {
        keep(&mut lock(&self.0), waker);
    }

    pub(crate) fn wake(&self) {
        let waker = lock(&self.0).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
