//! The consumer of a session's own queue.

use std::sync::Arc;
use std::task::{Context, Poll};

use roadbed_core::{
    Attached, Binding, Consumer, ConsumerTerms, Delivery, Detach, Disposition, Done, Error, ErrorKind, Fut, Grant,
    Granted, Hold, Result, Unbind,
};

use super::{Answers, closed, give};
use crate::broker::Broker;
use crate::lock;
use crate::mailbox::{Bound, Effects, SessionCore};
use crate::session::stored;
use crate::settlement::asker;

/// Receives what a session's bindings bring, and from the queues that it competes for.
#[derive(Debug)]
pub(crate) struct MailConsumer {
    broker: Broker,
    session: Arc<SessionCore>,
    epoch: u32,
    hold: Hold,
    on_lapse: roadbed_core::Outcome,
    answers: Answers,
    detached: bool,
}

impl MailConsumer {
    pub(crate) fn attach(
        broker: &Broker,
        session: &Arc<SessionCore>,
        epoch: u32,
        terms: ConsumerTerms,
    ) -> Result<(Self, Attached)> {
        let mut inner = lock(&session.inner);
        if inner.attached {
            let words = "the session's own queue has a consumer already";
            return Err(Error::new(ErrorKind::Conflict, "attach").detail(words));
        }
        (inner.attached, inner.info) = (true, terms.info);
        (inner.credit, inner.drain) = (0, false);
        if let Some(cold) = &mut inner.cold {
            cold.holding = 0;
            cold.granted.clear();
            cold.ready = cold.links.iter().cloned().collect();
        }
        if terms.qos_max < roadbed_core::Qos::ExactlyOnce {
            inner.cold().qos_max = Some(terms.qos_max);
        }
        let unsettled = session.unsettled(broker.shared(), &mut inner);
        let bindings = inner.bindings.iter().map(Bound::binding).collect();
        drop(inner);
        let attached = Attached { address: None, qos_max: terms.qos_max, unsettled, bindings };
        let consumer = Self {
            broker: broker.clone(),
            session: session.clone(),
            epoch,
            hold: terms.hold,
            on_lapse: terms.on_lapse,
            answers: Answers::default(),
            detached: false,
        };
        Ok((consumer, attached))
    }

    fn end(&mut self, suspend: bool) {
        if std::mem::replace(&mut self.detached, true) || self.session.epoch() != self.epoch {
            return;
        }
        let shared = self.broker.shared();
        let mut effects = Effects::default();
        let mut inner = lock(&self.session.inner);
        (inner.attached, inner.credit, inner.waker) = (false, 0, None);
        let idle = inner.idle_links();
        let keeps = suspend || self.hold == Hold::Session;
        let pulled = if keeps {
            Vec::new()
        } else {
            inner.lapse_mail(shared, &self.on_lapse, &mut effects);
            inner.take_pulled(None).into_iter().filter(|(link, ..)| link.spends_session_credit()).collect()
        };
        drop(inner);
        idle.iter().for_each(|link| link.queue().pass_on(link));
        let mut dead = Vec::new();
        for (link, seq, attempt, _) in pulled {
            link.queue().lapse(shared, seq, attempt, self.on_lapse.clone(), &mut effects, &mut dead);
        }
        shared.finish(effects, dead);
    }
}

impl Consumer for MailConsumer {
    fn grant(&mut self, mut grant: Grant) {
        let txns = &self.broker.shared().txns;
        if grant.txn.is_some_and(|txn| txns.check_owner(txn, &self.session).is_err()) {
            (grant.credit, grant.txn) = (0, None);
        }
        self.session.grant(self.epoch, grant);
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>, into: &mut Vec<Delivery>, max: usize) -> Poll<Result<usize>> {
        let shared = self.broker.shared();
        let polled = self.session.poll_receive(shared, self.epoch, cx, into, max);
        shared.commits.flush(shared);
        polled
    }

    fn settle(&mut self, batch: &mut Vec<Disposition>) {
        let shared = self.broker.shared();
        if self.session.settle_plainly(shared, self.epoch, batch) {
            return;
        }
        let sink = self.answers.sink();
        let answer = move |_: &crate::broker::Shared, dones| give(&sink, dones);
        shared.settle(&self.session, self.epoch, &asker(&self.session), batch, answer);
    }

    fn poll_settled(&mut self, cx: &mut Context<'_>, into: &mut Vec<Done>) -> Poll<Result<usize>> {
        if self.session.epoch() != self.epoch {
            return Poll::Ready(Err(closed("settle")));
        }
        self.answers.poll(cx, into)
    }

    fn bind(&mut self, bindings: Vec<Binding>) -> Fut<Vec<Result<Granted>>> {
        if self.session.epoch() != self.epoch {
            return Box::pin(std::future::ready(Err(closed("bind"))));
        }
        let shared = self.broker.shared();
        let granted: Vec<_> = bindings.iter().map(|binding| shared.bind_session(&self.session, binding)).collect();
        let stored = stored(&self.broker, &self.session);
        Box::pin(async move { stored.await.map(|()| granted) })
    }

    fn unbind(&mut self, bindings: Vec<Unbind>) -> Fut<Vec<Result<bool>>> {
        if self.session.epoch() != self.epoch {
            return Box::pin(std::future::ready(Err(closed("unbind"))));
        }
        let shared = self.broker.shared();
        let found: Vec<_> = bindings.iter().map(|unbind| Ok(shared.unbind_session(&self.session, unbind))).collect();
        let stored = stored(&self.broker, &self.session);
        Box::pin(async move { stored.await.map(|()| found) })
    }

    fn backlog(&self) -> u32 {
        let inner = lock(&self.session.inner);
        let links = inner.cold.as_ref().map_or(&[][..], |cold| &cold.links[..]);
        let queued: usize = links.iter().map(|link| link.queue().backlog()).sum();
        u32::try_from(inner.ring.len() + queued).unwrap_or(u32::MAX)
    }

    fn detach(mut self: Box<Self>, how: Detach) -> Fut<()> {
        self.end(how == Detach::Suspend);
        Box::pin(std::future::ready(Ok(())))
    }
}

impl Drop for MailConsumer {
    fn drop(&mut self) {
        self.end(false);
    }
}
