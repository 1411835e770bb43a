//! Links on which messages are received.

mod log;
mod mail;
mod queue;

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use roadbed_core::{Done, Error, ErrorKind, Result};

use crate::{lock, wakers};
pub(crate) use log::LogConsumer;
pub(crate) use mail::MailConsumer;
pub(crate) use queue::QueueConsumer;

/// Answers to settlements: those of now, and those that wait for the store.
#[derive(Debug, Default)]
struct Answers {
    /// Who waits, until there is something to wait for.
    waker: Option<Waker>,
    inner: Option<Arc<Mutex<AnswersInner>>>,
}

#[derive(Debug, Default)]
struct AnswersInner {
    dones: Vec<Done>,
    waker: Option<Waker>,
}

impl Answers {
    /// Where the answers of one batch go.
    fn sink(&mut self) -> Arc<Mutex<AnswersInner>> {
        let waker = &mut self.waker;
        let inner = self.inner.get_or_insert_with(|| {
            let waker = waker.take();
            Arc::new(Mutex::new(AnswersInner { dones: Vec::new(), waker }))
        });
        inner.clone()
    }

    fn poll(&mut self, cx: &mut Context<'_>, into: &mut Vec<Done>) -> Poll<Result<usize>> {
        let Some(inner) = &self.inner else {
            wakers::keep(&mut self.waker, cx.waker());
            return Poll::Pending;
        };
        let mut inner = lock(inner);
        let count = inner.dones.len();
        into.append(&mut inner.dones);
        if count > 0 {
            return Poll::Ready(Ok(count));
        }
        wakers::keep(&mut inner.waker, cx.waker());
        Poll::Pending
    }
}

fn give(sink: &Mutex<AnswersInner>, mut dones: Vec<Done>) {
    if dones.is_empty() {
        return;
    }
    let mut inner = lock(sink);
    inner.dones.append(&mut dones);
    let waker = inner.waker.take();
    drop(inner);
    if let Some(waker) = waker {
        waker.wake();
    }
}

fn closed(operation: &'static str) -> Error {
    Error::new(ErrorKind::Closed, operation).detail("the session is not here any more")
}
