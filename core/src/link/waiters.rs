//! Many tasks on one polled link: the link wakes one of them, which wakes those whose answers it found.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::task::Wake;
use core::task::{Context, Poll, Waker};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Tasks that wait for an answer, by cookie.
#[derive(Debug)]
pub(super) struct Waiters<A> {
    waiting: BTreeMap<u64, Waiting<A>>,
    wakers: Arc<Wakers>,
    next: u64,
}

#[derive(Debug)]
enum Waiting<A> {
    Pending,
    Answered(A),
}

#[derive(Debug, Default)]
struct Wakers(Mutex<BTreeMap<u64, Waker>>);

/// The cookie under which the task that receives registers its waker; never given to an answer.
pub(super) const STREAM: u64 = 0;

impl<A> Default for Waiters<A> {
    fn default() -> Self {
        Self { waiting: BTreeMap::new(), wakers: Arc::default(), next: STREAM + 1 }
    }
}

impl<A> Waiters<A> {
    /// A new cookie, whose answer is awaited.
    pub(super) fn enter(&mut self) -> u64 {
        let cookie = self.next;
        self.next += 1;
        self.waiting.insert(cookie, Waiting::Pending);
        cookie
    }

    /// Nobody waits for this answer any more. Another task takes over the watch.
    pub(super) fn leave(&mut self, cookie: u64) {
        self.waiting.remove(&cookie);
        self.wakers.lock().remove(&cookie);
        self.wakers.wake_one();
    }

    /// The waker to poll the link with: it wakes one of the waiting tasks.
    pub(super) fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.wakers))
    }

    /// Remembers how to wake the task that waits under `cookie`.
    pub(super) fn register(&self, cookie: u64, cx: &Context<'_>) {
        self.wakers.lock().insert(cookie, cx.waker().clone());
    }

    /// Hands an answer to its task. An answer that nobody waits for is dropped.
    pub(super) fn answer(&mut self, cookie: u64, answer: A) {
        if let Some(waiting) = self.waiting.get_mut(&cookie) {
            *waiting = Waiting::Answered(answer);
            let waker = self.wakers.lock().remove(&cookie);
            waker.into_iter().for_each(Waker::wake);
        }
    }

    /// Takes the answer, if it has come. The cookie is then free.
    pub(super) fn take(&mut self, cookie: u64) -> Poll<A> {
        match self.waiting.remove(&cookie) {
            Some(Waiting::Answered(answer)) => {
                self.wakers.lock().remove(&cookie);
                self.wakers.wake_one();
                Poll::Ready(answer)
            }
            Some(Waiting::Pending) => {
                self.waiting.insert(cookie, Waiting::Pending);
                Poll::Pending
            }
            None => Poll::Pending,
        }
    }

    /// Wakes the task that receives.
    pub(super) fn wake_stream(&self) {
        let waker = self.wakers.lock().remove(&STREAM);
        waker.into_iter().for_each(Waker::wake);
    }

    /// Wakes everybody: the link is dead.
    pub(super) fn wake_all(&self) {
        let wakers = core::mem::take(&mut *self.wakers.lock());
        wakers.into_values().for_each(Waker::wake);
    }
}

impl Wakers {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Waker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes one of those who wait for an answer, and the stream: nothing says whether its task still receives, so it alone
    /// is not enough.
    fn wake_one(&self) {
        let (stream, waiting) = {
            let mut wakers = self.lock();
            (wakers.remove(&STREAM), wakers.pop_first())
        };
        stream.into_iter().for_each(Waker::wake);
        waiting.into_iter().for_each(|(_, waker)| waker.wake());
    }
}

impl Wake for Wakers {
    fn wake(self: Arc<Self>) {
        self.wake_one();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wake_one();
    }
}
