//! Receiving, as a stream of deliveries that settle themselves.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::future::poll_fn;
use core::ops::Deref;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_core::Stream;

use super::failure::Failure;
use super::waiters::{STREAM, Waiters};
use crate::{
    Binding, Condition, Consumer, Delivery, Detach, Disposition, Done, Error, ErrorKind, Grant, Granted, Outcome,
    Reason, Result, Settled, Step, TxnId, Unbind,
};

/// A handle on a [`Consumer`]: a [`Stream`] of [`Received`].
///
/// It keeps up to `prefetch` deliveries permitted. What it has taken and nobody has settled lapses when the link ends.
#[derive(Clone)]
pub struct Receiver(Arc<Mutex<State>>);

struct State {
    consumer: Option<Box<dyn Consumer>>,
    prefetch: u32,
    credit: u32,
    ready: VecDeque<Delivery>,
    batch: Vec<Delivery>,
    done: Vec<Done>,
    waiters: Waiters<Result<Settled>>,
    failed: Option<Failure>,
}

impl Receiver {
    /// Takes over a consumer, and permits `prefetch` deliveries at a time (at least one).
    pub fn new(consumer: Box<dyn Consumer>, prefetch: u32) -> Self {
        Self(Arc::new(Mutex::new(State {
            consumer: Some(consumer),
            prefetch: prefetch.max(1),
            credit: 0,
            ready: VecDeque::new(),
            batch: Vec::new(),
            done: Vec::new(),
            waiters: Waiters::default(),
            failed: None,
        })))
    }

    /// The next delivery; `None` when the link has been detached.
    ///
    /// *Cancel safety*: a delivery is never lost by dropping the future.
    ///
    /// # Errors
    /// If the link is dead.
    pub async fn receive(&self) -> Result<Option<Received>> {
        poll_fn(|cx| self.poll_receive(cx)).await
    }

    /// Makes the node follow more filters; one answer each.
    ///
    /// # Errors
    /// If the link is dead, or the endpoint cannot.
    pub async fn bind(&self, bindings: Vec<Binding>) -> Result<Vec<Result<Granted>>> {
        let bound = self.lock().consumer()?.bind(bindings);
        bound.await
    }

    /// Makes the node stop following filters; one answer each: whether it did follow it.
    ///
    /// # Errors
    /// If the link is dead, or the endpoint cannot.
    pub async fn unbind(&self, bindings: Vec<Unbind>) -> Result<Vec<Result<bool>>> {
        let unbound = self.lock().consumer()?.unbind(bindings);
        unbound.await
    }

    /// Ends the link for all handles.
    ///
    /// # Errors
    /// If it was ended before, or the endpoint cannot.
    pub async fn detach(self, how: Detach) -> Result<()> {
        let consumer = {
            let mut state = self.lock();
            state.failed = Some(Failure::DETACHED);
            state.waiters.wake_all();
            state.consumer.take()
        };
        match consumer {
            Some(consumer) => consumer.detach(how).await,
            None => Err(Error::new(ErrorKind::Closed, "detach")),
        }
    }

    fn poll_receive(&self, cx: &mut Context<'_>) -> Poll<Result<Option<Received>>> {
        let mut state = self.lock();
        if state.failed.as_ref().is_some_and(Failure::is_detached) {
            return Poll::Ready(Ok(None));
        }
        state.waiters.register(STREAM, cx);
        let delivery = ready!(state.poll_next())?;
        Poll::Ready(Ok(Some(Received { delivery, link: self.clone() })))
    }

    async fn settle(&self, delivery: &Delivery, step: Step) -> Result<Settled> {
        let Some(handle) = delivery.handle else {
            return Ok(Settled::Applied);
        };
        let waiting = Waiting { receiver: self, cookie: self.lock().waiters.enter() };
        let disposition = Disposition { delivery: handle.into(), cookie: Some(waiting.cookie), step };
        self.lock().consumer()?.settle(&mut alloc::vec![disposition]);
        poll_fn(|cx| waiting.poll_done(cx)).await
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stream for Receiver {
    type Item = Result<Received>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_receive(cx).map(Result::transpose)
    }
}

/// One settlement under way; gives up its place when dropped.
struct Waiting<'a> {
    receiver: &'a Receiver,
    cookie: u64,
}

impl Waiting<'_> {
    fn poll_done(&self, cx: &mut Context<'_>) -> Poll<Result<Settled>> {
        let mut state = self.receiver.lock();
        state.waiters.register(self.cookie, cx);
        state.poll_answer(self.cookie)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.receiver.lock().waiters.leave(self.cookie);
    }
}

impl State {
    fn consumer(&mut self) -> Result<&mut Box<dyn Consumer>> {
        match (&self.failed, &mut self.consumer) {
            (None, Some(consumer)) => Ok(consumer),
            (failed, _) => Err(failed.as_ref().unwrap_or(&Failure::DETACHED).error("receive")),
        }
    }

    fn poll_next(&mut self) -> Poll<Result<Delivery>> {
        loop {
            if let Some(delivery) = self.ready.pop_front() {
                return Poll::Ready(Ok(delivery));
            }
            self.top_up()?;
            ready!(self.poll_batch())?;
        }
    }

    /// Grants anew when half of the credit is used up.
    fn top_up(&mut self) -> Result<()> {
        if self.credit <= self.prefetch / 2 {
            self.credit = self.prefetch;
            let grant = Grant::credit(self.credit);
            self.consumer()?.grant(grant);
        }
        Ok(())
    }

    fn poll_batch(&mut self) -> Poll<Result<()>> {
        let waker = self.waiters.waker();
        let (mut batch, max) = (core::mem::take(&mut self.batch), self.prefetch as usize);
        let polled = match self.consumer() {
            Ok(consumer) => consumer.poll_receive(&mut Context::from_waker(&waker), &mut batch, max),
            Err(error) => Poll::Ready(Err(error)),
        };
        self.credit = self.credit.saturating_sub(u32::try_from(batch.len()).unwrap_or(u32::MAX));
        self.ready.extend(batch.drain(..));
        self.batch = batch;
        // A settling task may hold the watch next: it must know how to wake the stream, and the other way round.
        self.drain_done();
        polled.map(|result| result.map(|_| ()).inspect_err(|error| self.fail(error)))
    }

    fn poll_answer(&mut self, cookie: u64) -> Poll<Result<Settled>> {
        if let Poll::Ready(answer) = self.waiters.take(cookie) {
            return Poll::Ready(answer);
        }
        if let Some(failure) = &self.failed {
            return Poll::Ready(Err(failure.error("settle")));
        }
        self.drain_done();
        if let Poll::Ready(answer) = self.waiters.take(cookie) {
            return Poll::Ready(answer);
        }
        self.waiters.wake_stream();
        Poll::Pending
    }

    fn drain_done(&mut self) {
        let waker = self.waiters.waker();
        let mut done = core::mem::take(&mut self.done);
        while let Ok(consumer) = self.consumer() {
            match consumer.poll_settled(&mut Context::from_waker(&waker), &mut done) {
                Poll::Ready(Ok(_)) => done.drain(..).for_each(|done| self.waiters.answer(done.cookie, done.result)),
                Poll::Ready(Err(error)) => self.fail(&error),
                Poll::Pending => break,
            }
        }
        self.done = done;
    }

    fn fail(&mut self, error: &Error) {
        self.failed.get_or_insert_with(|| error.into());
        self.waiters.wake_all();
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}

/// A delivery with its link: settled once, by value. Dropped, it stays unsettled until its hold ends.
#[derive(Debug)]
#[must_use = "an unsettled delivery lapses when its hold ends"]
pub struct Received {
    delivery: Delivery,
    link: Receiver,
}

impl Received {
    /// Takes responsibility.
    ///
    /// # Errors
    /// If the link is dead, or the store failed.
    pub async fn accept(self) -> Result<Settled> {
        self.settle(Outcome::Accepted).await
    }

    /// Refuses it for good: it is dead-lettered where there are dead letters.
    ///
    /// # Errors
    /// As [`accept`](Self::accept).
    pub async fn reject(self, why: impl Into<alloc::string::String>) -> Result<Settled> {
        self.settle(Outcome::Rejected(Reason::new(Condition::Refused, why))).await
    }

    /// Gives it back untried.
    ///
    /// # Errors
    /// As [`accept`](Self::accept).
    pub async fn release(self) -> Result<Settled> {
        self.settle(Outcome::Released).await
    }

    /// Gives it back as failed: its delivery count grows.
    ///
    /// # Errors
    /// As [`accept`](Self::accept).
    pub async fn abandon(self) -> Result<Settled> {
        self.settle(Outcome::FAILED).await
    }

    /// Settles with any outcome.
    ///
    /// # Errors
    /// As [`accept`](Self::accept).
    pub async fn settle(self, outcome: Outcome) -> Result<Settled> {
        self.link.settle(&self.delivery, Step::Outcome { outcome, settled: true }).await
    }

    /// Settles with `outcome` when the transaction commits.
    ///
    /// # Errors
    /// As [`accept`](Self::accept), or if it belongs to another transaction.
    pub async fn settle_in(self, txn: TxnId, outcome: Outcome) -> Result<Settled> {
        self.link.settle(&self.delivery, Step::Enlist { txn, outcome, settled: true }).await
    }

    /// Starts its lease anew.
    ///
    /// # Errors
    /// As [`accept`](Self::accept).
    pub async fn renew(&self) -> Result<Settled> {
        self.link.settle(&self.delivery, Step::Renew).await
    }

    /// The delivery alone, to be settled by other means.
    pub fn into_delivery(self) -> Delivery {
        self.delivery
    }
}

impl Deref for Received {
    type Target = Delivery;

    fn deref(&self) -> &Delivery {
        &self.delivery
    }
}
