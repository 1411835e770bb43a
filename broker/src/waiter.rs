//! A future for one answer that comes after a commit.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use crate::lock;

/// The end that waits.
#[derive(Debug)]
pub(crate) struct Waiter<T>(Arc<Mutex<Slot<T>>>);

/// The end that answers.
#[derive(Debug)]
pub(crate) struct Answer<T>(Arc<Mutex<Slot<T>>>);

#[derive(Debug)]
struct Slot<T> {
    value: Option<T>,
    waker: Option<Waker>,
}

pub(crate) fn waiter<T>() -> (Answer<T>, Waiter<T>) {
    let slot = Arc::new(Mutex::new(Slot { value: None, waker: None }));
    (Answer(slot.clone()), Waiter(slot))
}

impl<T> Answer<T> {
    pub(crate) fn give(self, value: T) {
        let mut slot = lock(&self.0);
        slot.value = Some(value);
        let waker = slot.waker.take();
        drop(slot);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Future for Waiter<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let mut slot = lock(&self.0);
        match slot.value.take() {
            Some(value) => Poll::Ready(value),
            None => {
                slot.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}
