//! What is due when: one deadline for each session, queue and transaction that has any.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};

use hashbrown::HashMap;
use roadbed_core::{QueueId, Time};

use crate::lock;

/// Whose deadline it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Timer {
    Session(u64),
    /// When a session's own queue may be read again.
    Mail(u64),
    Queue(QueueId),
    Transaction(u64),
    Names,
    Logs,
}

#[derive(Debug, Default)]
pub(crate) struct Timers(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    order: BTreeSet<(Time, Timer)>,
    set: HashMap<Timer, Time>,
    waker: Option<Waker>,
    /// The deadline that was told last; `None`: none.
    told: Option<Time>,
}

impl Timers {
    /// Sets a timer; an earlier setting of it is void.
    pub(crate) fn set(&self, timer: Timer, at: Time) {
        let mut inner = lock(&self.0);
        if let Some(before) = inner.set.insert(timer, at) {
            inner.order.remove(&(before, timer));
        }
        inner.order.insert((at, timer));
        let earlier = inner.told.is_none_or(|told| at < told);
        let waker = if earlier { inner.waker.take() } else { None };
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(crate) fn cancel(&self, timer: Timer) {
        let mut inner = lock(&self.0);
        if let Some(before) = inner.set.remove(&timer) {
            inner.order.remove(&(before, timer));
        }
    }

    /// The next that is due at `now`.
    pub(crate) fn pop(&self, now: Time) -> Option<Timer> {
        let mut inner = lock(&self.0);
        let (at, timer) = *inner.order.first()?;
        if !at.has_passed(now) {
            return None;
        }
        inner.order.pop_first();
        inner.set.remove(&timer);
        Some(timer)
    }

    pub(crate) fn next(&self) -> Option<Time> {
        lock(&self.0).order.first().map(|(at, _)| *at)
    }

    /// Ready when the next deadline differs from `known`.
    pub(crate) fn poll_change(&self, cx: &mut Context<'_>, known: Option<Time>) -> Poll<Option<Time>> {
        let mut inner = lock(&self.0);
        let next = inner.order.first().map(|(at, _)| *at);
        inner.told = known;
        if next != known && next.is_some_and(|next| known.is_none_or(|known| next < known)) {
            return Poll::Ready(next);
        }
        inner.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}
