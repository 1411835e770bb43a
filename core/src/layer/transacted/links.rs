//! Links whose sends and settlements may be part of a transaction.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::task::{Context, Poll};

use super::QOS_OUT;
use super::place::{Enlistment, Place};
use crate::{
    Binding, Condition, Confirm, Consumer, DeliveryRef, Disposition, Done, Fut, Granted, Outcome, Outgoing, Producer,
    Qos, Result, Step, forward,
};

pub(super) struct TransactedProducer {
    inner: Box<dyn Producer>,
    place: Arc<Place>,
    /// What was sent within a transaction, and has no answer from the endpoint.
    sent: BTreeMap<u64, Arc<Enlistment>>,
    /// Answers that wait for the end of their transaction.
    withheld: VecDeque<(Arc<Enlistment>, Confirm)>,
    refused: Vec<Confirm>,
}

impl TransactedProducer {
    pub(super) fn new(inner: Box<dyn Producer>, place: Arc<Place>) -> Self {
        Self { inner, place, sent: BTreeMap::new(), withheld: VecDeque::new(), refused: Vec::new() }
    }

    /// Makes a message part of the transaction. Whether it may be sent.
    fn enlist(&mut self, outgoing: &mut Outgoing, enlisted: &Arc<Enlistment>) -> bool {
        let answered = outgoing.qos > Qos::AtMostOnce;
        if answered && self.sent.len() + self.withheld.len() >= self.place.window {
            self.refused.push(refusal(outgoing.cookie, Condition::Full));
            return false;
        }
        outgoing.txn = Some(enlisted.txn);
        if answered {
            self.sent.insert(outgoing.cookie, Arc::clone(enlisted));
        }
        true
    }

    /// Answers whose transaction has ended, in the order of sending.
    fn release(&mut self, cx: &Context<'_>, into: &mut Vec<Confirm>) {
        while let Some((enlisted, _)) = self.withheld.front()
            && let Poll::Ready(committed) = enlisted.poll_committed(cx)
            && let Some((_, confirm)) = self.withheld.pop_front()
        {
            into.push(match committed {
                true => Confirm { provisional: None, ..confirm },
                false => refusal(confirm.cookie, Condition::RolledBack),
            });
        }
    }

    /// Keeps what is provisional, and passes the rest on.
    fn sort(&mut self, confirm: Confirm, into: &mut Vec<Confirm>) {
        match self.sent.remove(&confirm.cookie) {
            Some(enlisted) if confirm.provisional.is_some() => self.withheld.push_back((enlisted, confirm)),
            // The transaction ended before the message was there.
            Some(_) if confirm.why == Some(Condition::NotFound) => {
                into.push(refusal(confirm.cookie, Condition::RolledBack));
            }
            _ => into.push(confirm),
        }
    }
}

impl Producer for TransactedProducer {
    forward!(Producer: poll_reserve, forget, poll_forgotten, detach);

    fn send(&mut self, batch: &mut Vec<Outgoing>) {
        if let Some(enlisted) = self.place.current() {
            batch.retain_mut(|outgoing| outgoing.txn.is_some() || self.enlist(outgoing, &enlisted));
        }
        self.inner.send(batch);
    }

    fn poll_confirms(&mut self, cx: &mut Context<'_>, into: &mut Vec<Confirm>) -> Poll<Result<usize>> {
        let before = into.len();
        self.release(cx, into);
        into.append(&mut self.refused);
        let mut came = Vec::new();
        while let Poll::Ready(polled) = self.inner.poll_confirms(cx, &mut came) {
            if let Err(error) = polled {
                return Poll::Ready(Err(error));
            }
            came.drain(..).for_each(|confirm| self.sort(confirm, into));
        }
        // What has just come may be due already, and otherwise is waited for.
        self.release(cx, into);
        match into.len() - before {
            0 => Poll::Pending,
            count => Poll::Ready(Ok(count)),
        }
    }
}

pub(super) struct TransactedConsumer {
    inner: Box<dyn Consumer>,
    place: Arc<Place>,
    /// What was acknowledged within a transaction, by the cookie it was given; with the cookie of whoever asked.
    enlisting: BTreeMap<u64, (DeliveryRef, Option<u64>)>,
    next: u64,
}

/// Marks the cookies of this layer.
const OURS: u64 = 1 << 63;

impl TransactedConsumer {
    pub(super) fn new(inner: Box<dyn Consumer>, place: Arc<Place>) -> Self {
        Self { inner, place, enlisting: BTreeMap::new(), next: 0 }
    }

    /// An outcome that ends a delivery is named within the transaction.
    fn enlist(&mut self, disposition: &mut Disposition, enlisted: &Enlistment) {
        let Step::Outcome { outcome, settled: true } = &disposition.step else { return };
        let (txn, outcome) = (enlisted.txn, outcome.clone());
        disposition.step = Step::Enlist { txn, outcome, settled: true };
        self.next += 1;
        let cookie = OURS | self.next;
        self.enlisting.insert(cookie, (disposition.delivery, disposition.cookie.replace(cookie)));
    }

    /// What could not be enlisted is given back: its acknowledgement came too late to count.
    fn sort(&mut self, done: Done, into: &mut Vec<Done>, lost: &mut Vec<Disposition>) {
        let Some((delivery, asked)) = self.enlisting.remove(&done.cookie) else { return into.push(done) };
        if done.result.is_err() {
            let step = Step::Outcome { outcome: Outcome::Released, settled: true };
            lost.push(Disposition { delivery, cookie: None, step });
        }
        into.extend(asked.map(|cookie| Done { cookie, result: done.result }));
    }
}

impl Consumer for TransactedConsumer {
    forward!(Consumer: grant, poll_receive, unbind, backlog, detach);

    fn settle(&mut self, batch: &mut Vec<Disposition>) {
        if let Some(enlisted) = self.place.current() {
            batch.iter_mut().for_each(|disposition| self.enlist(disposition, &enlisted));
        }
        self.inner.settle(batch);
    }

    fn poll_settled(&mut self, cx: &mut Context<'_>, into: &mut Vec<Done>) -> Poll<Result<usize>> {
        let (before, mut came, mut lost) = (into.len(), Vec::new(), Vec::new());
        while let Poll::Ready(polled) = self.inner.poll_settled(cx, &mut came) {
            if let Err(error) = polled {
                return Poll::Ready(Err(error));
            }
            came.drain(..).for_each(|done| self.sort(done, into, &mut lost));
        }
        if !lost.is_empty() {
            self.inner.settle(&mut lost);
        }
        match into.len() - before {
            0 => Poll::Pending,
            count => Poll::Ready(Ok(count)),
        }
    }

    fn bind(&mut self, mut bindings: Vec<Binding>) -> Fut<Vec<Result<Granted>>> {
        bindings.iter_mut().for_each(|binding| binding.qos_max = binding.qos_max.min(QOS_OUT));
        self.inner.bind(bindings)
    }
}

fn refusal(cookie: u64, condition: Condition) -> Confirm {
    Confirm { cookie, outcome: Outcome::rejected(condition), why: Some(condition), provisional: None }
}
