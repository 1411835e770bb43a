//! Refuses what is too much.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::task::{Context, Poll};

use tower_layer::Layer;

use super::refused::Refused;
use crate::{
    Attached, Capabilities, Condition, Confirm, Endpoint, Error, ErrorKind, Fut, Open, Opened, Outgoing, Producer,
    ProducerTerms, Qos, Result, Session, forward,
};

/// What a [`Limited`] endpoint allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most sessions at a time; more are refused with [`ErrorKind::Exhausted`].
    pub sessions_max: usize,
    /// The longest payload, in bytes; longer ones are rejected with [`Condition::TooLarge`].
    pub message_bytes_max: usize,
    /// The strongest assurance that is taken; more is rejected with [`Condition::NotSupported`].
    pub qos_max: Qos,
}

impl Default for Limits {
    /// 100,000 sessions, 1 MiB, exactly once.
    fn default() -> Self {
        Self { sessions_max: 100_000, message_bytes_max: 1 << 20, qos_max: Qos::ExactlyOnce }
    }
}

/// Makes [`Limited`] endpoints.
#[derive(Clone, Copy, Debug, Default)]
pub struct LimitedLayer {
    limits: Limits,
}

impl LimitedLayer {
    /// A layer with these limits.
    pub const fn new(limits: Limits) -> Self {
        Self { limits }
    }
}

impl<E: Endpoint> Layer<E> for LimitedLayer {
    type Service = Limited<E>;

    fn layer(&self, inner: E) -> Limited<E> {
        let mut capabilities = inner.capabilities().clone();
        capabilities.qos_in = capabilities.qos_in.min(self.limits.qos_max);
        Limited { inner, capabilities, limits: self.limits, sessions: Arc::default() }
    }
}

/// An endpoint that refuses what is too much.
#[derive(Clone, Debug)]
pub struct Limited<E> {
    inner: E,
    capabilities: Capabilities,
    limits: Limits,
    sessions: Arc<AtomicUsize>,
}

impl<E: Endpoint> Endpoint for Limited<E> {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn open(&self, open: Open) -> Fut<Box<dyn Session>> {
        let limits = self.limits;
        let Some(place) = Place::take(&self.sessions, limits.sessions_max) else {
            return Box::pin(async move {
                Err(Error::new(ErrorKind::Exhausted, "open").detail(format_args!(
                    "there are {} sessions already: raise sessions_max, or try later",
                    limits.sessions_max
                )))
            });
        };
        let opening = self.inner.open(open);
        Box::pin(async move {
            let inner = opening.await?;
            let mut opened = inner.opened().clone();
            opened.qos_max = opened.qos_max.min(limits.qos_max);
            opened.message_bytes_max = opened.message_bytes_max.min(limits.message_bytes_max);
            Ok(Box::new(LimitedSession { inner, opened, limits, _place: place }) as Box<dyn Session>)
        })
    }
}

/// A place among the sessions, free again when dropped.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(sessions: &Arc<AtomicUsize>, max: usize) -> Option<Self> {
        let taken = sessions.fetch_add(1, Ordering::Relaxed);
        let place = Self(Arc::clone(sessions));
        (taken < max).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

struct LimitedSession {
    inner: Box<dyn Session>,
    opened: Opened,
    limits: Limits,
    _place: Place,
}

impl Session for LimitedSession {
    forward!(Session: consumer, transaction, discharged, settle, manage, credential, poll_event, close);

    fn opened(&self) -> &Opened {
        &self.opened
    }

    fn producer(&self, terms: ProducerTerms) -> Fut<(Box<dyn Producer>, Attached)> {
        let (attaching, limits) = (self.inner.producer(terms), self.limits);
        Box::pin(async move {
            let (inner, mut attached) = attaching.await?;
            attached.qos_max = attached.qos_max.min(limits.qos_max);
            let producer = LimitedProducer { inner, limits, refused: Refused::default() };
            Ok((Box::new(producer) as Box<dyn Producer>, attached))
        })
    }
}

struct LimitedProducer {
    inner: Box<dyn Producer>,
    limits: Limits,
    refused: Refused,
}

impl LimitedProducer {
    fn why_not(&self, outgoing: &Outgoing) -> Option<Condition> {
        if outgoing.message.payload().len() > self.limits.message_bytes_max {
            return Some(Condition::TooLarge);
        }
        (outgoing.qos > self.limits.qos_max).then_some(Condition::NotSupported)
    }
}

impl Producer for LimitedProducer {
    forward!(Producer: poll_reserve, forget, poll_forgotten, detach);

    fn send(&mut self, batch: &mut Vec<Outgoing>) {
        let refused = batch.extract_if(.., |outgoing| self.why_not(outgoing).is_some()).collect::<Vec<_>>();
        for outgoing in refused {
            if let Some(why) = self.why_not(&outgoing) {
                self.refused.add(&outgoing, why);
            }
        }
        self.inner.send(batch);
    }

    fn poll_confirms(&mut self, cx: &mut Context<'_>, into: &mut Vec<Confirm>) -> Poll<Result<usize>> {
        self.refused.poll_confirms(&mut *self.inner, cx, into)
    }
}
