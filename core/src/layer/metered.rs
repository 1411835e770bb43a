//! Counts what passes.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use core::task::{Context, Poll};

use tower_layer::Layer;

use crate::{
    Attached, Capabilities, Confirm, Consumer, ConsumerTerms, Delivery, Disposition, Done, Endpoint, Fut, Open,
    Outcome, Outgoing, Producer, ProducerTerms, Result, Session, forward,
};

/// What has passed through a [`Metered`] endpoint; shared by all its sessions, written once per batch.
#[derive(Debug, Default)]
pub struct Meter {
    sessions_opened: AtomicU64,
    messages_sent: AtomicU64,
    bytes_sent: AtomicU64,
    confirms_accepted: AtomicU64,
    confirms_refused: AtomicU64,
    messages_received: AtomicU64,
    bytes_received: AtomicU64,
    dispositions: AtomicU64,
}

/// The figures of a [`Meter`] at one moment. All are totals since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MeterSnapshot {
    /// Sessions opened.
    pub sessions_opened: u64,
    /// Messages sent into the endpoint.
    pub messages_sent: u64,
    /// Their payload, in bytes.
    pub bytes_sent: u64,
    /// Confirms that said Accepted.
    pub confirms_accepted: u64,
    /// Confirms that said anything else.
    pub confirms_refused: u64,
    /// Deliveries received from the endpoint.
    pub messages_received: u64,
    /// Their payload, in bytes.
    pub bytes_received: u64,
    /// Dispositions made.
    pub dispositions: u64,
}

impl Meter {
    /// The figures now.
    pub fn snapshot(&self) -> MeterSnapshot {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        MeterSnapshot {
            sessions_opened: read(&self.sessions_opened),
            messages_sent: read(&self.messages_sent),
            bytes_sent: read(&self.bytes_sent),
            confirms_accepted: read(&self.confirms_accepted),
            confirms_refused: read(&self.confirms_refused),
            messages_received: read(&self.messages_received),
            bytes_received: read(&self.bytes_received),
            dispositions: read(&self.dispositions),
        }
    }
}

fn add(counter: &AtomicU64, count: usize) {
    if count > 0 {
        counter.fetch_add(count as u64, Ordering::Relaxed);
    }
}

/// Makes [`Metered`] endpoints that count into one [`Meter`].
#[derive(Clone, Debug, Default)]
pub struct MeteredLayer {
    meter: Arc<Meter>,
}

impl MeteredLayer {
    /// A layer that counts into `meter`.
    pub const fn new(meter: Arc<Meter>) -> Self {
        Self { meter }
    }
}

impl<E> Layer<E> for MeteredLayer {
    type Service = Metered<E>;

    fn layer(&self, inner: E) -> Metered<E> {
        Metered { inner, meter: Arc::clone(&self.meter) }
    }
}

/// An endpoint whose traffic is counted.
#[derive(Clone, Debug)]
pub struct Metered<E> {
    inner: E,
    meter: Arc<Meter>,
}

impl<E: Endpoint> Endpoint for Metered<E> {
    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    fn open(&self, open: Open) -> Fut<Box<dyn Session>> {
        let (opening, meter) = (self.inner.open(open), Arc::clone(&self.meter));
        Box::pin(async move {
            let inner = opening.await?;
            add(&meter.sessions_opened, 1);
            Ok(Box::new(MeteredSession { inner, meter }) as Box<dyn Session>)
        })
    }
}

struct MeteredSession {
    inner: Box<dyn Session>,
    meter: Arc<Meter>,
}

impl Session for MeteredSession {
    forward!(Session: opened, transaction, discharged, manage, credential, poll_event, close);

    fn producer(&self, terms: ProducerTerms) -> Fut<(Box<dyn Producer>, Attached)> {
        let (attaching, meter) = (self.inner.producer(terms), Arc::clone(&self.meter));
        Box::pin(async move {
            let (inner, attached) = attaching.await?;
            Ok((Box::new(MeteredProducer { inner, meter }) as Box<dyn Producer>, attached))
        })
    }

    fn consumer(&self, terms: ConsumerTerms) -> Fut<(Box<dyn Consumer>, Attached)> {
        let (attaching, meter) = (self.inner.consumer(terms), Arc::clone(&self.meter));
        Box::pin(async move {
            let (inner, attached) = attaching.await?;
            Ok((Box::new(MeteredConsumer { inner, meter }) as Box<dyn Consumer>, attached))
        })
    }

    fn settle(&self, batch: Vec<Disposition>) -> Fut<Vec<Done>> {
        add(&self.meter.dispositions, batch.len());
        self.inner.settle(batch)
    }
}

struct MeteredProducer {
    inner: Box<dyn Producer>,
    meter: Arc<Meter>,
}

impl Producer for MeteredProducer {
    forward!(Producer: poll_reserve, forget, poll_forgotten, detach);

    fn send(&mut self, batch: &mut Vec<Outgoing>) {
        let sizes = |batch: &[Outgoing]| batch.iter().map(|sent| sent.message.payload().len()).sum::<usize>();
        let (messages, bytes) = (batch.len(), sizes(batch));
        self.inner.send(batch);
        add(&self.meter.messages_sent, messages - batch.len());
        add(&self.meter.bytes_sent, bytes - sizes(batch));
    }

    fn poll_confirms(&mut self, cx: &mut Context<'_>, into: &mut Vec<Confirm>) -> Poll<Result<usize>> {
        let known = into.len();
        let polled = self.inner.poll_confirms(cx, into);
        let new = &into[known..];
        let accepted = new.iter().filter(|confirm| confirm.outcome == Outcome::Accepted).count();
        add(&self.meter.confirms_accepted, accepted);
        add(&self.meter.confirms_refused, new.len() - accepted);
        polled
    }
}

struct MeteredConsumer {
    inner: Box<dyn Consumer>,
    meter: Arc<Meter>,
}

impl Consumer for MeteredConsumer {
    forward!(Consumer: grant, poll_settled, bind, unbind, backlog, detach);

    fn poll_receive(&mut self, cx: &mut Context<'_>, into: &mut Vec<Delivery>, max: usize) -> Poll<Result<usize>> {
        let known = into.len();
        let polled = self.inner.poll_receive(cx, into, max);
        let new = &into[known..];
        add(&self.meter.messages_received, new.len());
        add(&self.meter.bytes_received, new.iter().map(|delivery| delivery.message.payload().len()).sum());
        polled
    }

    fn settle(&mut self, batch: &mut Vec<Disposition>) {
        add(&self.meter.dispositions, batch.len());
        self.inner.settle(batch);
    }
}
