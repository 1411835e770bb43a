//! The transaction that a session is in.

use alloc::sync::Arc;
use core::fmt;
use core::task::{Context, Poll, Waker};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::{Error, ErrorKind, Fut, Result, TxnId};

/// What a session's links share.
#[derive(Debug)]
pub(super) struct Place {
    enlisted: Mutex<Option<Arc<Enlistment>>>,
    pub(super) window: usize,
}

/// A session's part in a transaction.
pub(super) struct Enlistment {
    pub(super) txn: TxnId,
    end: Mutex<End>,
}

enum End {
    Awaited(Fut<bool>, Waker),
    Known(bool),
}

impl Place {
    pub(super) fn new(window: usize) -> Self {
        Self { enlisted: Mutex::new(None), window }
    }

    /// From now on the session is in `txn`.
    pub(super) fn enlist(&self, txn: TxnId, mut ended: Fut<bool>) -> Result<()> {
        let mut enlisted = lock(&self.enlisted);
        if enlisted.as_ref().is_some_and(|enlisted| enlisted.committed().is_none()) {
            let words = "the session is in a transaction already";
            return Err(Error::new(ErrorKind::Conflict, "enlist").detail(words));
        }
        let waker = Waker::noop().clone();
        match ended.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(Err(error)) => Err(error),
            Poll::Ready(Ok(_)) => Err(Error::new(ErrorKind::NotFound, "enlist").detail("the transaction has ended")),
            Poll::Pending => {
                *enlisted = Some(Arc::new(Enlistment { txn, end: Mutex::new(End::Awaited(ended, waker)) }));
                Ok(())
            }
        }
    }

    /// The transaction that the session is in now.
    pub(super) fn current(&self) -> Option<Arc<Enlistment>> {
        let mut enlisted = lock(&self.enlisted);
        if enlisted.as_ref()?.committed().is_some() {
            *enlisted = None;
        }
        enlisted.clone()
    }
}

impl Enlistment {
    /// How the transaction has ended, if it has.
    pub(super) fn committed(&self) -> Option<bool> {
        self.look(None)
    }

    /// Waits for its end; one waker at a time.
    pub(super) fn poll_committed(&self, cx: &Context<'_>) -> Poll<bool> {
        self.look(Some(cx.waker())).map_or(Poll::Pending, Poll::Ready)
    }

    /// Keeps the waker that waits, if there is no other.
    fn look(&self, waker: Option<&Waker>) -> Option<bool> {
        let mut end = lock(&self.end);
        let committed = match &mut *end {
            End::Known(committed) => return Some(*committed),
            End::Awaited(ended, waits) => {
                waker.into_iter().for_each(|waker| waits.clone_from(waker));
                match ended.as_mut().poll(&mut Context::from_waker(waits)) {
                    Poll::Pending => return None,
                    // Who does not know how it has ended must not say that it was committed.
                    Poll::Ready(committed) => committed.unwrap_or(false),
                }
            }
        };
        *end = End::Known(committed);
        Some(committed)
    }
}

impl fmt::Debug for Enlistment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Enlistment").field("txn", &self.txn).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
