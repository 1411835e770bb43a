//! An endpoint that can die: everything that was opened before ends with its connection, and nobody hears from the dead.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use roadbed_core::{
    Attached, Binding, Capabilities, Close, Confirm, Consumer, ConsumerTerms, Credential, Delivery, Detach,
    Disposition, Done, Endpoint, Error, ErrorKind, Fut, Gid, Grant, Granted, Key, Manage, Managed, Open, Opened,
    Outgoing, Producer, ProducerTerms, Result, Session, SessionEvent, Time, Transaction, TxnId, Unbind,
};

/// An endpoint whose incarnations follow each other.
pub(super) struct Mortal {
    capabilities: Capabilities,
    now: Mutex<Incarnation>,
}

#[derive(Clone)]
struct Incarnation {
    endpoint: Arc<dyn Endpoint>,
    life: Arc<Life>,
}

/// Whether an incarnation lives, and who waits for it.
#[derive(Default)]
struct Life(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    over: bool,
    wakers: BTreeMap<u64, Waker>,
}

impl Mortal {
    pub(super) fn new(endpoint: Arc<dyn Endpoint>) -> Self {
        let capabilities = endpoint.capabilities().clone();
        Self { capabilities, now: Mutex::new(Incarnation { endpoint, life: Arc::default() }) }
    }

    /// The incarnation dies, and `next` takes its place.
    pub(super) fn die(&self, next: Arc<dyn Endpoint>) {
        let next = Incarnation { endpoint: next, life: Arc::default() };
        let dead = std::mem::replace(&mut *self.lock(), next);
        dead.life.end();
    }

    fn lock(&self) -> MutexGuard<'_, Incarnation> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Life {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) {
        let wakers = {
            let mut waiting = self.lock();
            waiting.over = true;
            std::mem::take(&mut waiting.wakers)
        };
        wakers.into_values().for_each(Waker::wake);
    }

    fn is_over(&self) -> bool {
        self.lock().over
    }

    /// Polls as long as it lives; `place` tells those who wait apart.
    fn poll<T>(
        &self,
        place: u64,
        cx: &mut Context<'_>,
        poll: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<Result<T>> {
        {
            let mut waiting = self.lock();
            if waiting.over {
                return Poll::Ready(Err(Error::new(ErrorKind::Disconnected, "reach the endpoint")));
            }
            waiting.wakers.insert(place, cx.waker().clone());
        }
        poll(cx).map(Ok)
    }

    /// A future that ends with the incarnation.
    fn guard<T: Send + 'static>(self: &Arc<Self>, mut future: Fut<T>) -> Fut<T> {
        let (life, place) = (Arc::clone(self), place());
        Box::pin(async move {
            let answer = poll_fn(|cx| life.poll(place, cx, |cx| Pin::new(&mut future).poll(cx))).await;
            life.lock().wakers.remove(&place);
            answer?
        })
    }
}

fn place() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Endpoint for Mortal {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn open(&self, open: Open) -> Fut<Box<dyn Session>> {
        let Incarnation { endpoint, life } = self.lock().clone();
        let opening = life.guard(endpoint.open(open));
        Box::pin(async move {
            let session = opening.await?;
            Ok(Box::new(MortalSession { session, life, place: place() }) as Box<dyn Session>)
        })
    }
}

struct MortalSession {
    session: Box<dyn Session>,
    life: Arc<Life>,
    place: u64,
}

impl Session for MortalSession {
    fn opened(&self) -> &Opened {
        self.session.opened()
    }

    fn producer(&self, terms: ProducerTerms) -> Fut<(Box<dyn Producer>, Attached)> {
        let (attaching, life) = (self.life.guard(self.session.producer(terms)), Arc::clone(&self.life));
        Box::pin(async move {
            let (producer, attached) = attaching.await?;
            Ok((Box::new(MortalProducer { producer, life, place: place() }) as Box<dyn Producer>, attached))
        })
    }

    fn consumer(&self, terms: ConsumerTerms) -> Fut<(Box<dyn Consumer>, Attached)> {
        let (attaching, life) = (self.life.guard(self.session.consumer(terms)), Arc::clone(&self.life));
        Box::pin(async move {
            let (consumer, attached) = attaching.await?;
            let places = [place(), place()];
            Ok((Box::new(MortalConsumer { consumer, life, places }) as Box<dyn Consumer>, attached))
        })
    }

    fn transaction(&self) -> Fut<Box<dyn Transaction>> {
        let (declaring, life) = (self.life.guard(self.session.transaction()), Arc::clone(&self.life));
        Box::pin(async move { Ok(Box::new(MortalTransaction(declaring.await?, life)) as Box<dyn Transaction>) })
    }

    fn discharged(&self, txn: TxnId) -> Fut<bool> {
        self.life.guard(self.session.discharged(txn))
    }

    fn settle(&self, batch: Vec<Disposition>) -> Fut<Vec<Done>> {
        self.life.guard(self.session.settle(batch))
    }

    fn manage(&self, request: Manage) -> Fut<Managed> {
        self.life.guard(self.session.manage(request))
    }

    fn credential(&self, credential: Credential) -> Fut<Option<Time>> {
        self.life.guard(self.session.credential(credential))
    }

    fn poll_event(&self, cx: &mut Context<'_>) -> Poll<SessionEvent> {
        match self.life.poll(self.place, cx, |cx| self.session.poll_event(cx)) {
            Poll::Ready(Ok(event)) => Poll::Ready(event),
            // The links tell.
            Poll::Ready(Err(_)) | Poll::Pending => Poll::Pending,
        }
    }

    fn close(&self, close: Close) -> Fut<()> {
        self.life.guard(self.session.close(close))
    }
}

struct MortalProducer {
    producer: Box<dyn Producer>,
    life: Arc<Life>,
    place: u64,
}

impl Producer for MortalProducer {
    fn poll_reserve(&mut self, cx: &mut Context<'_>, messages: u32, bytes: usize) -> Poll<Result<u32>> {
        flat(self.life.poll(self.place, cx, |cx| self.producer.poll_reserve(cx, messages, bytes)))
    }

    fn send(&mut self, batch: &mut Vec<Outgoing>) {
        match self.life.is_over() {
            true => batch.clear(),
            false => self.producer.send(batch),
        }
    }

    fn forget(&mut self, keys: &mut Vec<Key>) {
        if !self.life.is_over() {
            self.producer.forget(keys);
        }
    }

    fn poll_forgotten(&mut self, cx: &mut Context<'_>, calls: u64) -> Poll<Result<()>> {
        flat(self.life.poll(self.place, cx, |cx| self.producer.poll_forgotten(cx, calls)))
    }

    fn poll_confirms(&mut self, cx: &mut Context<'_>, into: &mut Vec<Confirm>) -> Poll<Result<usize>> {
        flat(self.life.poll(self.place, cx, |cx| self.producer.poll_confirms(cx, into)))
    }

    fn detach(self: Box<Self>, how: Detach) -> Fut<()> {
        self.life.guard(self.producer.detach(how))
    }
}

struct MortalConsumer {
    consumer: Box<dyn Consumer>,
    life: Arc<Life>,
    places: [u64; 2],
}

impl Consumer for MortalConsumer {
    fn grant(&mut self, grant: Grant) {
        if !self.life.is_over() {
            self.consumer.grant(grant);
        }
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>, into: &mut Vec<Delivery>, max: usize) -> Poll<Result<usize>> {
        flat(self.life.poll(self.places[0], cx, |cx| self.consumer.poll_receive(cx, into, max)))
    }

    fn settle(&mut self, batch: &mut Vec<Disposition>) {
        match self.life.is_over() {
            true => batch.clear(),
            false => self.consumer.settle(batch),
        }
    }

    fn poll_settled(&mut self, cx: &mut Context<'_>, into: &mut Vec<Done>) -> Poll<Result<usize>> {
        flat(self.life.poll(self.places[1], cx, |cx| self.consumer.poll_settled(cx, into)))
    }

    fn bind(&mut self, bindings: Vec<Binding>) -> Fut<Vec<Result<Granted>>> {
        self.life.guard(self.consumer.bind(bindings))
    }

    fn unbind(&mut self, bindings: Vec<Unbind>) -> Fut<Vec<Result<bool>>> {
        self.life.guard(self.consumer.unbind(bindings))
    }

    fn backlog(&self) -> u32 {
        self.consumer.backlog()
    }

    fn detach(self: Box<Self>, how: Detach) -> Fut<()> {
        self.life.guard(self.consumer.detach(how))
    }
}

struct MortalTransaction(Box<dyn Transaction>, Arc<Life>);

impl Transaction for MortalTransaction {
    fn id(&self) -> TxnId {
        self.0.id()
    }

    fn expires_at(&self) -> Option<Time> {
        self.0.expires_at()
    }

    fn commit(self: Box<Self>) -> Fut<()> {
        self.1.guard(self.0.commit())
    }

    fn rollback(self: Box<Self>) -> Fut<()> {
        self.1.guard(self.0.rollback())
    }

    fn prepare(&mut self, gid: Gid) -> Fut<()> {
        self.1.guard(self.0.prepare(gid))
    }
}

fn flat<T>(polled: Poll<Result<Result<T>>>) -> Poll<Result<T>> {
    polled.map(|answer| answer?)
}
