//! An endpoint that decides as it is told, for what a broker in memory cannot be brought to.

use std::sync::Arc;
use std::task::{Context, Poll};

use roadbed::{
    Attached, Capabilities, Condition, Confirm, Endpoint, Fut, Key, Open, Opened, Outcome, Outgoing, Producer,
    ProducerTerms, Qos, Result, Session, forward,
};

/// What becomes of every message.
#[derive(Clone, Debug)]
pub(crate) struct Decision {
    pub(crate) outcome: Outcome,
    pub(crate) why: Option<Condition>,
}

impl Decision {
    pub(crate) fn rejected(condition: Condition) -> Self {
        Self { outcome: Outcome::rejected(condition), why: Some(condition) }
    }

    pub(crate) fn released(condition: Condition) -> Self {
        Self { outcome: Outcome::Released, why: Some(condition) }
    }
}

/// An endpoint with another's sessions and consumers, and its own mind about what is sent to it.
pub(crate) struct Deciding {
    inner: Arc<dyn Endpoint>,
    capabilities: Capabilities,
    decision: Option<Decision>,
    qos_max: Qos,
}

impl Deciding {
    /// Every message ends as decided.
    pub(crate) fn always(inner: Arc<dyn Endpoint>, decision: Decision) -> Arc<dyn Endpoint> {
        let capabilities = inner.capabilities().clone();
        Arc::new(Self { inner, capabilities, decision: Some(decision), qos_max: Qos::ExactlyOnce })
    }

    /// Messages go through, and none of them exactly once.
    pub(crate) fn at_least_once(inner: Arc<dyn Endpoint>) -> Arc<dyn Endpoint> {
        let mut capabilities = inner.capabilities().clone();
        capabilities.qos_in = Qos::AtLeastOnce;
        Arc::new(Self { inner, capabilities, decision: None, qos_max: Qos::AtLeastOnce })
    }
}

impl Endpoint for Deciding {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn open(&self, open: Open) -> Fut<Box<dyn Session>> {
        let (opening, decision, qos_max) = (self.inner.open(open), self.decision.clone(), self.qos_max);
        Box::pin(async move {
            let inner = opening.await?;
            let mut opened = inner.opened().clone();
            opened.qos_max = opened.qos_max.min(qos_max);
            Ok(Box::new(DecidingSession { inner, opened, decision }) as Box<dyn Session>)
        })
    }
}

struct DecidingSession {
    inner: Box<dyn Session>,
    opened: Opened,
    decision: Option<Decision>,
}

impl Session for DecidingSession {
    forward!(Session: consumer, transaction, discharged, settle, manage, credential, poll_event, close);

    fn opened(&self) -> &Opened {
        &self.opened
    }

    fn producer(&self, terms: ProducerTerms) -> Fut<(Box<dyn Producer>, Attached)> {
        let (attaching, decision) = (self.inner.producer(terms), self.decision.clone());
        Box::pin(async move {
            let (inner, attached) = attaching.await?;
            Ok(match decision {
                Some(decision) => (Box::new(DecidingProducer { inner, decision, confirms: Vec::new() }) as _, attached),
                None => (inner, attached),
            })
        })
    }
}

struct DecidingProducer {
    inner: Box<dyn Producer>,
    decision: Decision,
    confirms: Vec<Confirm>,
}

impl Producer for DecidingProducer {
    forward!(Producer: poll_reserve, detach);

    fn send(&mut self, batch: &mut Vec<Outgoing>) {
        let Decision { outcome, why } = &self.decision;
        self.confirms.extend(batch.drain(..).map(|outgoing| Confirm {
            cookie: outgoing.cookie,
            outcome: outcome.clone(),
            why: *why,
            provisional: None,
        }));
    }

    fn forget(&mut self, keys: &mut Vec<Key>) {
        keys.clear();
    }

    fn poll_confirms(&mut self, cx: &mut Context<'_>, into: &mut Vec<Confirm>) -> Poll<Result<usize>> {
        if self.confirms.is_empty() {
            return self.inner.poll_confirms(cx, into);
        }
        let count = self.confirms.len();
        into.append(&mut self.confirms);
        Poll::Ready(Ok(count))
    }
}
