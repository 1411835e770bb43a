//! A consumer of a queue by its address.

use std::sync::Arc;
use std::task::{Context, Poll};

use roadbed_core::{
    Address, Attached, Binding, Consumer, ConsumerTerms, Delivery, Detach, Disposition, Done, Error, ErrorKind, Fut,
    Grant, Granted, Hold, Node, Outcome, Qos, Result, Step, Unbind, Unsettled,
};

use super::{Answers, closed, give};
use crate::broker::Broker;
use crate::inflight::Body;
use crate::lock;
use crate::mailbox::{Effects, SessionCore};
use crate::queue::{After, Link, Queue, QueueStep};
use crate::settlement::asker;

/// Receives from one queue, in competition with its other consumers.
#[derive(Debug)]
pub(crate) struct QueueConsumer {
    broker: Broker,
    session: Arc<SessionCore>,
    epoch: u32,
    link: Arc<Link>,
    grant: Grant,
    answers: Answers,
    detached: bool,
}

impl QueueConsumer {
    pub(crate) fn attach(
        broker: &Broker,
        session: &Arc<SessionCore>,
        epoch: u32,
        mut terms: ConsumerTerms,
    ) -> Result<(Self, Attached)> {
        let shared = broker.shared();
        let (queue, address) = find(broker, &terms)?;
        let longest = std::time::Duration::from_secs(shared.settings.lease_seconds_max);
        if let Hold::Lease(lease) = &mut terms.hold {
            *lease = (*lease).min(longest);
        }
        let qos_max = terms.qos_max;
        let bindings = lock(&queue.inner).bindings.clone();
        let link = Arc::new(Link::new(queue.clone(), session, terms, None).remembering(shared, session));
        let replaced = queue.attach(&link)?;
        replaced.iter().for_each(|old| shared.detach_link(old));
        let unsettled = resume(broker, session, &link);
        let attached = Attached { address: Some(address), qos_max, unsettled, bindings };
        let consumer = Self {
            broker: broker.clone(),
            session: session.clone(),
            epoch,
            link,
            grant: Grant::default(),
            answers: Answers::default(),
            detached: false,
        };
        Ok((consumer, attached))
    }

    fn receive(&mut self, into: &mut Vec<Delivery>, max: usize) -> usize {
        // Once more, if what was found missing may have come in between.
        match self.receive_once(into, max) {
            (0, true) => self.receive_once(into, max).0,
            (taken, _) => taken,
        }
    }

    /// How many were taken, and whether more may have come since.
    fn receive_once(&mut self, into: &mut Vec<Delivery>, max: usize) -> (usize, bool) {
        let shared = self.broker.shared();
        if self.grant.txn.is_some_and(|txn| shared.txns.check_owner(txn, &self.session).is_err()) {
            // What is granted within a transaction ends with it.
            return (0, false);
        }
        let (mut pulled, mut after) = (Vec::new(), After::default());
        let mut inner = lock(&self.session.inner);
        let room = usize::from(inner.window) - inner.slab.len().min(usize::from(inner.window));
        let want = max.min(self.grant.credit as usize).min(room);
        if want > 0 {
            self.link.pull(shared, want, self.grant.txn, &mut pulled, &mut after);
        }
        let taken = pulled.len();
        let mut bytes = 0;
        for pull in pulled {
            bytes += pull.message.payload().len() as u64;
            into.extend(self.session.admit(shared, &mut inner, &self.link, pull, &mut after));
        }
        drop(inner);
        if self.grant.credit != u32::MAX {
            self.grant.credit -= taken as u32;
        }
        shared.meters.hot().messages_out.add(taken as u64);
        shared.meters.hot().bytes_out.add(bytes);
        if want == 0 && max > 0 {
            self.link.queue().pass_on(&self.link);
        }
        (taken, shared.after(after))
    }

    /// Ends what `batch` begins with as long as it is plainly accepted.
    fn accept(&mut self, batch: &mut Vec<Disposition>) {
        let Self { broker, session, link, .. } = self;
        let (shared, mut accepted) = (broker.shared(), Vec::with_capacity(batch.len()));
        session.take_accepted(shared, self.epoch, link, batch, &mut accepted);
        if accepted.is_empty() {
            return;
        }
        let count = link.queue().accept_run(shared, &mut accepted);
        shared.meters.hot().accepted.add(count);
        let step = || Step::Outcome { outcome: Outcome::Accepted, settled: true };
        let rest = accepted.into_iter().map(|(seq, attempt, handle)| {
            QueueStep::held(link.clone(), seq, attempt, session.id, handle, step(), None)
        });
        shared.settle_held(&asker(session), rest);
    }

    fn end(&mut self, how: Detach) {
        if std::mem::replace(&mut self.detached, true) {
            return;
        }
        let shared = self.broker.shared();
        let keeps = how == Detach::Suspend && self.link.owner.link.is_some();
        let pulled = match self.link.terms.hold {
            Hold::Link if !keeps => lock(&self.session.inner).take_pulled(Some(&self.link)),
            _ => Vec::new(),
        };
        let (mut effects, mut dead) = (Effects::default(), Vec::new());
        for (link, seq, attempt, _) in pulled {
            link.queue().lapse(shared, seq, attempt, link.on_lapse(), &mut effects, &mut dead);
        }
        shared.finish(effects, dead);
        shared.detach_link(&self.link);
    }
}

/// The queue that the terms ask for, made if need be, and its address as granted.
fn find(broker: &Broker, terms: &ConsumerTerms) -> Result<(Arc<Queue>, Address)> {
    let shared = broker.shared();
    let address = match &terms.node {
        Node::Address(address) => address,
        Node::Dynamic => {
            let queue = shared.temporary_queue(terms.declare.clone())?;
            let address = queue.address().clone();
            return Ok((queue, address));
        }
        _ => return Err(Error::new(ErrorKind::NotSupported, "attach").detail("this kind of node is not known")),
    };
    let missing = || Error::new(ErrorKind::NotFound, "attach").detail(format!("there is no {address}"));
    if address.queue().is_some() {
        return Ok((shared.queue_or_new(address, terms.declare.clone())?, address.clone()));
    }
    if address.dead_letters().is_some() {
        return Ok((shared.find_queue(address).ok_or_else(missing)?, address.clone()));
    }
    if address.log().is_some() || address.as_str().starts_with("queues/") {
        return Err(missing());
    }
    if !shared.settings.topic_consumers {
        let words = format!("{address} is a topic: bind it to a queue, or to the session");
        return Err(Error::new(ErrorKind::NotFound, "attach").detail(words));
    }
    let queue = shared.temporary_queue(terms.declare.clone())?;
    shared.bind_queue(&queue, &Binding::new(address.into(), Qos::ExactlyOnce))?;
    Ok((queue, address.clone()))
}

/// What an earlier attachment of the same link, in the same session, has left unsettled.
fn resume(broker: &Broker, session: &Arc<SessionCore>, link: &Arc<Link>) -> Vec<Unsettled> {
    let shared = broker.shared();
    if link.owner.link.is_none() && link.terms.hold != Hold::Session {
        return Vec::new();
    }
    let mut inner = lock(&session.inner);
    let mut unsettled = Vec::new();
    for handle in inner.slab.in_order() {
        let Some(slot) = inner.slab.find(handle) else { continue };
        let attempt = slot.attempt;
        let Body::Pulled { link: held, seq } = &mut slot.body else { continue };
        let same =
            Arc::ptr_eq(held.queue(), link.queue()) && held.owner.link == link.owner.link && held.is_replaced_by(link);
        if !same {
            continue;
        }
        *held = link.clone();
        let seq = *seq;
        let id = link.queue().delivery_id(shared, seq, attempt);
        unsettled.extend(link.again(shared, seq, attempt).map(|again| again.unsettled(id, handle)));
    }
    unsettled
}

impl Consumer for QueueConsumer {
    fn grant(&mut self, grant: Grant) {
        self.grant = grant;
        self.link.notify();
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>, into: &mut Vec<Delivery>, max: usize) -> Poll<Result<usize>> {
        if self.session.epoch() != self.epoch {
            return Poll::Ready(Err(closed("receive")));
        }
        if lock(&self.link.queue().inner).deleted {
            let words = "the queue has been deleted";
            return Poll::Ready(Err(Error::new(ErrorKind::NotFound, "receive").detail(words)));
        }
        self.link.register(cx.waker());
        loop {
            let readings = self.grant.drain.then(|| self.link.queue().readings());
            let taken = self.receive(into, max);
            if taken > 0 || max == 0 {
                return Poll::Ready(Ok(taken));
            }
            // What is taken comes when the store knows of it, and what only the store has when it is read, before the drain ends.
            if readings.is_none() || self.link.is_taking() || self.link.queue().is_reading(cx.waker()) {
                return Poll::Pending;
            }
            // What has come back since it looked is looked at, too.
            if readings == Some(self.link.queue().readings()) {
                (self.grant.drain, self.grant.credit) = (false, 0);
                return Poll::Ready(Ok(0));
            }
        }
    }

    fn settle(&mut self, batch: &mut Vec<Disposition>) {
        self.accept(batch);
        if batch.is_empty() {
            return self.link.notify();
        }
        let sink = self.answers.sink();
        let answer = move |_: &crate::broker::Shared, dones| give(&sink, dones);
        let shared = self.broker.shared();
        shared.settle(&self.session, self.epoch, &asker(&self.session), batch, answer);
        self.link.notify();
    }

    fn poll_settled(&mut self, cx: &mut Context<'_>, into: &mut Vec<Done>) -> Poll<Result<usize>> {
        if self.session.epoch() != self.epoch {
            return Poll::Ready(Err(closed("settle")));
        }
        self.answers.poll(cx, into)
    }

    fn bind(&mut self, bindings: Vec<Binding>) -> Fut<Vec<Result<Granted>>> {
        let shared = self.broker.shared();
        let bind = |binding: &Binding| {
            let replaced = shared.bind_queue(self.link.queue(), binding)?;
            Ok(Granted { qos: binding.qos_max, replaced })
        };
        Box::pin(std::future::ready(Ok(bindings.iter().map(bind).collect())))
    }

    fn unbind(&mut self, bindings: Vec<Unbind>) -> Fut<Vec<Result<bool>>> {
        let shared = self.broker.shared();
        let unbind = |unbind: &Unbind| Ok(shared.unbind_queue(self.link.queue(), unbind));
        Box::pin(std::future::ready(Ok(bindings.iter().map(unbind).collect())))
    }

    fn backlog(&self) -> u32 {
        u32::try_from(self.link.queue().backlog()).unwrap_or(u32::MAX)
    }

    fn detach(mut self: Box<Self>, how: Detach) -> Fut<()> {
        self.end(how);
        Box::pin(std::future::ready(Ok(())))
    }
}

impl Drop for QueueConsumer {
    fn drop(&mut self) {
        let lost = !self.detached;
        self.end(Detach::Suspend);
        if lost && self.link.terms.hold == Hold::Link {
            // Lost, not suspended: what it holds lapses.
            let shared = self.broker.shared();
            let pulled = lock(&self.session.inner).take_pulled(Some(&self.link));
            let (mut effects, mut dead) = (Effects::default(), Vec::new());
            for (link, seq, attempt, _) in pulled {
                link.queue().lapse(shared, seq, attempt, link.on_lapse(), &mut effects, &mut dead);
            }
            shared.finish(effects, dead);
        }
    }
}
