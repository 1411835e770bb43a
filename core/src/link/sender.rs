//! Sending, as a future that resolves with the real outcome.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::future::poll_fn;
use core::hash::{BuildHasher, Hasher};
use core::pin::Pin;
use core::sync::atomic::{AtomicU32, Ordering};
use core::task::{Context, Poll, ready};
use std::hash::RandomState;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use futures_sink::Sink;

use super::failure::Failure;
use super::waiters::Waiters;
use crate::{Confirm, Detach, Error, ErrorKind, Key, Message, Outcome, Outgoing, Producer, Qos, Result, TxnId};

/// A handle on a [`Producer`], for many tasks at once.
///
/// ```no_run
/// # async fn example(session: Box<dyn roadbed_core::Session>) -> roadbed_core::Result<()> {
/// use roadbed_core::{Message, Outcome, ProducerTerms, Qos, Sender};
/// let (producer, _) = session.producer(ProducerTerms::default()).await?;
/// let sender = Sender::new(producer);
/// let message = Message::new("plant/7/alarm".parse().expect("a legal address"), "too hot");
/// let confirm = sender.send(message, Qos::AtLeastOnce).await?;
/// assert_eq!(confirm.outcome, Outcome::Accepted);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Sender(Arc<Mutex<State>>);

struct State {
    producer: Option<Box<dyn Producer>>,
    waiters: Waiters<Confirm>,
    outgoing: Vec<Outgoing>,
    confirms: Vec<Confirm>,
    failed: Option<Failure>,
}

impl Sender {
    /// Takes over a producer.
    pub fn new(producer: Box<dyn Producer>) -> Self {
        Self(Arc::new(Mutex::new(State {
            producer: Some(producer),
            waiters: Waiters::default(),
            outgoing: Vec::new(),
            confirms: Vec::new(),
            failed: None,
        })))
    }

    /// Sends a message, and resolves with what became of it. At most once, that is when it was handed over, as Accepted.
    ///
    /// *Cancel safety*: dropped before the message was handed over, nothing is sent; dropped later, the message is sent and its
    /// outcome is not told.
    ///
    /// # Errors
    /// If the link is dead. A refusal is not an error: it is the [`Confirm`]'s outcome.
    pub async fn send(&self, message: Message, qos: Qos) -> Result<Confirm> {
        self.submit(Outgoing { cookie: 0, message, qos, key: None, txn: None }).await
    }

    /// Sends a message within a transaction; the outcome is provisional until it commits.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn send_in(&self, txn: TxnId, message: Message, qos: Qos) -> Result<Confirm> {
        self.submit(Outgoing { cookie: 0, message, qos, key: None, txn: Some(txn) }).await
    }

    /// Sends with everything named but the cookie, which is this handle's own. Exactly once gets a key if it has none, which
    /// is forgotten when the confirm has come.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn submit(&self, mut outgoing: Outgoing) -> Result<Confirm> {
        let waiting = Waiting { sender: self, cookie: self.lock().waiters.enter() };
        outgoing.cookie = waiting.cookie;
        let own_key = (outgoing.key.is_none() && outgoing.qos == Qos::ExactlyOnce).then(own_key);
        if own_key.is_some() {
            outgoing.key.clone_from(&own_key);
        }
        let (qos, txn, mut outgoing) = (outgoing.qos, outgoing.txn, Some(outgoing));
        poll_fn(|cx| waiting.poll_hand_over(cx, &mut outgoing)).await?;
        if qos == Qos::AtMostOnce {
            return Ok(Confirm { cookie: waiting.cookie, outcome: Outcome::Accepted, why: None, provisional: txn });
        }
        let confirm = poll_fn(|cx| waiting.poll_confirm(cx)).await?;
        if let Some(key) = own_key {
            self.lock().forget(key);
        }
        Ok(confirm)
    }

    /// A [`Sink`] of messages with this assurance. Flushing waits for all outcomes; a refusal is an error.
    pub fn sink(&self, qos: Qos) -> SenderSink {
        SenderSink { sender: self.clone(), qos, unconfirmed: VecDeque::new() }
    }

    /// Ends the link for all handles.
    ///
    /// # Errors
    /// If it was ended before, or the endpoint cannot.
    pub async fn detach(self, how: Detach) -> Result<()> {
        let producer = {
            let mut state = self.lock();
            state.fail(Failure::DETACHED);
            state.producer.take()
        };
        match producer {
            Some(producer) => producer.detach(how).await,
            None => Err(Error::new(ErrorKind::Closed, "detach")),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One send under way; gives up its place when dropped.
struct Waiting<'a> {
    sender: &'a Sender,
    cookie: u64,
}

impl Waiting<'_> {
    fn poll_hand_over(&self, cx: &mut Context<'_>, outgoing: &mut Option<Outgoing>) -> Poll<Result<()>> {
        let mut state = self.sender.lock();
        state.waiters.register(self.cookie, cx);
        let bytes = outgoing.as_ref().map_or(0, |outgoing| outgoing.message.payload().len());
        ready!(state.poll_reserve(bytes))?;
        state.hand_over(outgoing)
    }

    fn poll_confirm(&self, cx: &mut Context<'_>) -> Poll<Result<Confirm>> {
        let mut state = self.sender.lock();
        state.waiters.register(self.cookie, cx);
        state.poll_answer(self.cookie)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.sender.lock().waiters.leave(self.cookie);
    }
}

impl State {
    fn producer(&mut self) -> Result<&mut Box<dyn Producer>> {
        match (&self.failed, &mut self.producer) {
            (None, Some(producer)) => Ok(producer),
            (failed, _) => Err(failed.as_ref().unwrap_or(&Failure::DETACHED).error("send")),
        }
    }

    fn poll_reserve(&mut self, bytes: usize) -> Poll<Result<u32>> {
        let waker = self.waiters.waker();
        self.producer()?.poll_reserve(&mut Context::from_waker(&waker), 1, bytes)
    }

    fn hand_over(&mut self, outgoing: &mut Option<Outgoing>) -> Poll<Result<()>> {
        let mut batch = core::mem::take(&mut self.outgoing);
        batch.extend(outgoing.take());
        let sent = self.producer().map(|producer| producer.send(&mut batch));
        *outgoing = batch.pop();
        self.outgoing = batch;
        sent?;
        if outgoing.is_some() { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    fn poll_answer(&mut self, cookie: u64) -> Poll<Result<Confirm>> {
        loop {
            if let Poll::Ready(confirm) = self.waiters.take(cookie) {
                return Poll::Ready(Ok(confirm));
            }
            let waker = self.waiters.waker();
            let mut confirms = core::mem::take(&mut self.confirms);
            let polled = match self.producer() {
                Ok(producer) => producer.poll_confirms(&mut Context::from_waker(&waker), &mut confirms),
                Err(error) => return Poll::Ready(Err(error)),
            };
            confirms.drain(..).for_each(|confirm| self.waiters.answer(confirm.cookie, confirm));
            self.confirms = confirms;
            if let Err(error) = ready!(polled) {
                self.fail(Failure::from(&error));
                return Poll::Ready(Err(error));
            }
        }
    }

    fn forget(&mut self, key: Key) {
        if let Ok(producer) = self.producer() {
            producer.forget(&mut alloc::vec![key]);
        }
    }

    fn fail(&mut self, failure: Failure) {
        self.failed.get_or_insert(failure);
        self.waiters.wake_all();
    }
}

/// A key that no other handle of this process uses, nor an earlier process is likely to have used: keys belong to the session, and several handles may share
/// one.
fn own_key() -> Key {
    static NEXT: OnceLock<AtomicU32> = OnceLock::new();
    let next = NEXT.get_or_init(|| AtomicU32::new(RandomState::new().build_hasher().finish() as u32));
    Key::Number(next.fetch_add(1, Ordering::Relaxed))
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

/// A [`Sink`] over a [`Sender`]. It takes up to [`UNCONFIRMED_MAX`](Self::UNCONFIRMED_MAX) messages ahead of their outcomes; a refusal is an error of
/// the next call.
#[derive(Debug)]
pub struct SenderSink {
    sender: Sender,
    qos: Qos,
    unconfirmed: VecDeque<(u64, Option<Key>)>,
}

impl SenderSink {
    /// How many messages may be without an outcome before the sink takes no more.
    pub const UNCONFIRMED_MAX: usize = 1024;

    /// Takes the outcomes that have come, the oldest first; ready when at most `left` are missing.
    fn poll_outcomes(&mut self, cx: &mut Context<'_>, left: usize) -> Poll<Result<()>> {
        let mut state = self.sender.lock();
        while let Some(&(cookie, _)) = self.unconfirmed.front() {
            state.waiters.register(cookie, cx);
            let confirm = match state.poll_answer(cookie) {
                Poll::Ready(confirm) => confirm?,
                Poll::Pending if self.unconfirmed.len() <= left => break,
                Poll::Pending => return Poll::Pending,
            };
            if let Some((_, Some(key))) = self.unconfirmed.pop_front() {
                state.forget(key);
            }
            if confirm.outcome != Outcome::Accepted {
                let error = Error::new(ErrorKind::Unavailable, "send").detail(confirm.outcome);
                return Poll::Ready(Err(error));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Sink<Message> for SenderSink {
    type Error = Error;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_outcomes(cx, Self::UNCONFIRMED_MAX - 1))?;
        let mut state = this.sender.lock();
        state.waiters.register(super::waiters::STREAM, cx);
        state.poll_reserve(0).map_ok(|_| ())
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<()> {
        let qos = self.qos;
        let key = (qos == Qos::ExactlyOnce).then(own_key);
        let cookie = {
            let mut state = self.sender.lock();
            let cookie = state.waiters.enter();
            let outgoing = Outgoing { cookie, message, qos, key: key.clone(), txn: None };
            match state.hand_over(&mut Some(outgoing)) {
                Poll::Ready(sent) => sent?,
                Poll::Pending => return Err(Error::new(ErrorKind::Invalid, "send").detail("poll_ready comes first")),
            }
            if qos == Qos::AtMostOnce {
                state.waiters.leave(cookie);
            }
            cookie
        };
        if qos != Qos::AtMostOnce {
            self.unconfirmed.push_back((cookie, key));
        }
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.get_mut().poll_outcomes(cx, 0)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_flush(cx)
    }
}

impl Drop for SenderSink {
    fn drop(&mut self) {
        let mut state = self.sender.lock();
        self.unconfirmed.iter().for_each(|(cookie, _)| state.waiters.leave(*cookie));
    }
}
