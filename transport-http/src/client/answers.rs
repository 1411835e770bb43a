//! What waits to be taken by whoever uses a link.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use roadbed_core::Result;

/// Answers, and who waits for them.
pub(super) struct Answers<T> {
    there: VecDeque<T>,
    taker: Option<Waker>,
}

impl<T> Default for Answers<T> {
    fn default() -> Self {
        Self { there: VecDeque::new(), taker: None }
    }
}

impl<T> Answers<T> {
    /// Puts answers there. Whoever waits is to be woken: see [`waker`](Self::waker).
    pub(super) fn put(&mut self, answers: impl IntoIterator<Item = T>) {
        self.there.extend(answers);
    }

    /// Who waits for what is there, to be woken.
    pub(super) fn waker(&mut self) -> Option<Waker> {
        if self.there.is_empty() { None } else { self.taker.take() }
    }

    /// Who waits, though nothing may come any more.
    pub(super) const fn end(&mut self) -> Option<Waker> {
        self.taker.take()
    }

    /// Takes all that is there, or waits.
    pub(super) fn poll_take(&mut self, cx: &Context<'_>, into: &mut Vec<T>) -> Poll<Result<usize>> {
        if self.there.is_empty() {
            self.taker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = self.there.len();
        into.extend(self.there.drain(..));
        Poll::Ready(Ok(count))
    }
}
