//! Handing over what waits in a session's own queue.

use std::sync::Arc;
use std::task::{Context, Poll};

use roadbed_core::{
    Delivery, DeliveryId, DeliveryInfo, DeliveryState, Error, ErrorKind, Fence, Grant, Handle, Qos, Result, Time,
    Unsettled, Work,
};

use super::{Inner, SessionCore, has_expired};
use crate::broker::Shared;
use crate::entry::Entry;
use crate::inflight::{Body, Rare};
use crate::queue::{Link, Pull};
use crate::txn::TxnWork;

impl SessionCore {
    pub(crate) fn grant(&self, epoch: u32, grant: Grant) {
        let mut inner = crate::lock(&self.inner);
        if self.epoch() != epoch {
            return;
        }
        let raised = grant.credit > inner.credit || grant.drain;
        (inner.credit, inner.drain) = (grant.credit, grant.drain);
        if grant.txn.is_some() || inner.cold.as_ref().is_some_and(|cold| cold.grant_txn.is_some()) {
            inner.cold().grant_txn = grant.txn;
        }
        let waker = if raised { inner.waker.take() } else { None };
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(crate) fn poll_receive(
        self: &Arc<Self>,
        shared: &Shared,
        epoch: u32,
        cx: &mut Context<'_>,
        into: &mut Vec<Delivery>,
        max: usize,
    ) -> Poll<Result<usize>> {
        let (before, mut now) = (into.len(), None);
        let mut inner = crate::lock(&self.inner);
        if self.epoch() != epoch || inner.ended {
            return Poll::Ready(Err(
                Error::new(ErrorKind::Closed, "receive").detail("the session is not here any more")
            ));
        }
        inner.blocked = false;
        let mut bytes = 0;
        while into.len() - before < max && !inner.ring.is_empty() {
            match self.take_mail(shared, &mut inner, &mut now) {
                Taken::Delivery(delivery) => {
                    bytes += delivery.message.payload().len();
                    into.push(delivery);
                }
                Taken::Dropped => {}
                Taken::Blocked => break,
            }
        }
        let mut dead = Vec::new();
        if inner.cold.as_ref().is_some_and(|cold| !cold.ready.is_empty()) {
            let room = max - (into.len() - before);
            bytes += self.take_links(shared, &mut inner, into, room, &mut dead);
        }
        let taken = into.len() - before;
        let out = if taken > 0 || max == 0 {
            inner.report(shared);
            inner.shrink();
            Poll::Ready(Ok(taken))
        } else if inner.drain {
            (inner.drain, inner.credit) = (false, 0);
            Poll::Ready(Ok(0))
        } else {
            match &mut inner.waker {
                Some(waker) => waker.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
            Poll::Pending
        };
        drop(inner);
        shared.meters.messages_out.add(taken as u64);
        shared.meters.bytes_out.add(bytes as u64);
        shared.bury_all(dead);
        out
    }

    fn take_mail(&self, shared: &Shared, inner: &mut Inner, now: &mut Option<Time>) -> Taken {
        let Some(front) = inner.ring.front() else { return Taken::Blocked };
        let qos = front.qos();
        if inner.credit == 0 || (qos != Qos::AtMostOnce && inner.slab.len() >= usize::from(inner.window)) {
            inner.blocked = true;
            return Taken::Blocked;
        }
        let Some(entry) = inner.ring.pop_front() else { return Taken::Blocked };
        if has_expired(shared, &entry.message, now) {
            inner.bytes -= entry.message.cost();
            inner.forget_stored(shared, &entry);
            shared.meters.dropped_expired.one();
            return Taken::Dropped;
        }
        if inner.credit != u32::MAX {
            inner.credit -= 1;
        }
        if qos == Qos::AtMostOnce {
            inner.bytes -= entry.message.cost();
            let info = self.info(shared, inner, &entry, entry.attempts() + 1);
            shared.meters.accepted.one();
            let (retained, attempt) = (entry.retained(), entry.attempts() + 1);
            return Taken::Delivery(Delivery { message: entry.message, handle: None, qos, retained, attempt, info });
        }
        Taken::Delivery(self.hand_over(shared, inner, entry))
    }

    fn hand_over(&self, shared: &Shared, inner: &mut Inner, entry: Entry) -> Delivery {
        let (attempt, txn) = (entry.attempts() + 1, inner.cold.as_ref().and_then(|cold| cold.grant_txn));
        let mut delivery = self.delivery(shared, inner, &entry, attempt);
        let body = match txn {
            None => Body::Mail(entry),
            Some(txn) => {
                let state = DeliveryState::Enlisted { txn, work: Work::Acquire(None), ended: None };
                Body::Rare(Box::new(Rare { entry, state }))
            }
        };
        let window = inner.window;
        delivery.handle = inner.slab.insert(window, attempt, body);
        if let (Some(txn), Some(handle)) = (txn, delivery.handle) {
            shared.txns.enlist(txn, TxnWork::Mail { session: self.id, handle });
        }
        delivery
    }

    fn delivery(&self, shared: &Shared, inner: &Inner, entry: &Entry, attempt: u32) -> Delivery {
        Delivery {
            message: entry.message.clone(),
            handle: None,
            qos: entry.qos(),
            retained: entry.retained(),
            attempt,
            info: self.info(shared, inner, entry, attempt),
        }
    }

    fn info(&self, shared: &Shared, inner: &Inner, entry: &Entry, attempt: u32) -> Option<Box<DeliveryInfo>> {
        let bindings = entry.extra.as_ref().map_or(&[][..], |extra| &extra.bindings[..]);
        if !inner.info && bindings.is_empty() {
            return None;
        }
        let id = self.delivery_id(shared, inner.full_seq(entry.seq), attempt);
        let enqueued_at = entry.extra.as_ref().map_or(Time::ZERO, |extra| extra.enqueued_at);
        let mut info = DeliveryInfo::new(id, enqueued_at);
        info.bindings = bindings.to_vec();
        info.count = entry.count();
        info.txn = inner.cold.as_ref().and_then(|cold| cold.grant_txn);
        Some(Box::new(info))
    }

    fn delivery_id(&self, shared: &Shared, seq: u64, attempt: u32) -> DeliveryId {
        let copy = roadbed_core::CopyId { queue: self.queue_id(shared), seq };
        DeliveryId { copy, fence: Fence { epoch: shared.boot_epoch, attempt } }
    }

    /// Takes from the queues that the session competes for. The bytes taken.
    fn take_links(
        self: &Arc<Self>,
        shared: &Shared,
        inner: &mut Inner,
        into: &mut Vec<Delivery>,
        mut room: usize,
        dead: &mut Vec<crate::queue::Dead>,
    ) -> usize {
        let (mut bytes, mut pulled) = (0, Vec::new());
        let Some(mut rounds) = inner.cold.as_ref().map(|cold| cold.ready.len()) else { return 0 };
        while rounds > 0 {
            rounds -= 1;
            let slots = usize::from(inner.window) - inner.slab.len().min(usize::from(inner.window));
            let want = room.min(inner.credit as usize).min(slots);
            let cold = inner.cold();
            if want == 0 {
                inner.blocked = true;
                break;
            }
            let Some(link) = cold.ready.pop_front() else { break };
            let txn = cold.grant_txn;
            let more = link.pull(shared, want, txn, &mut pulled, dead);
            room -= pulled.len();
            for pull in pulled.drain(..) {
                bytes += pull.message.payload().len();
                into.push(self.admit(shared, inner, &link, pull));
            }
            if more {
                inner.cold().ready.push_back(link);
            }
        }
        bytes
    }

    /// Gives what was pulled from a queue its slot, if it is to be settled.
    pub(crate) fn admit(&self, shared: &Shared, inner: &mut Inner, link: &Arc<Link>, pull: Pull) -> Delivery {
        if inner.credit != u32::MAX && link.spends_session_credit() {
            inner.credit = inner.credit.saturating_sub(1);
        }
        let window = inner.window;
        let handle = match pull.held {
            false => None,
            true => inner.slab.insert(window, pull.attempt, Body::Pulled { link: link.clone(), seq: pull.seq }),
        };
        if let (Some(txn), Some(handle)) = (pull.txn, handle) {
            shared.txns.enlist(
                txn,
                TxnWork::Pulled { link: link.clone(), seq: pull.seq, attempt: pull.attempt, session: self.id, handle },
            );
        }
        Delivery {
            message: pull.message,
            handle,
            qos: pull.qos,
            retained: false,
            attempt: pull.attempt,
            info: pull.info,
        }
    }

    /// What an earlier attachment left, each as its next attempt.
    pub(crate) fn unsettled(self: &Arc<Self>, shared: &Shared, inner: &mut Inner) -> Vec<Unsettled> {
        let handles = inner.slab.in_order();
        handles.into_iter().filter_map(|handle| self.resume(shared, inner, handle)).collect()
    }

    fn resume(&self, shared: &Shared, inner: &mut Inner, handle: Handle) -> Option<Unsettled> {
        let slot = inner.slab.find(handle)?;
        let attempt = slot.attempt + 1;
        let (seq, state, qos, mut delivery) = match &mut slot.body {
            Body::Free(_) => return None,
            Body::Decided { seq, .. } => {
                let (seq, attempt) = (*seq, slot.attempt);
                let id = self.delivery_id(shared, inner.full_seq(seq), attempt);
                let state = DeliveryState::Decided(roadbed_core::Outcome::Accepted);
                return Some(Unsettled { id, handle, state, qos: Qos::ExactlyOnce, delivery: None });
            }
            Body::Pulled { link, seq } => {
                let (link, seq) = (link.clone(), *seq);
                let again = link.again(shared, seq, slot.attempt)?;
                let id = link.queue().delivery_id(shared, seq, slot.attempt);
                return Some(again.unsettled(id, handle));
            }
            Body::Mail(_) => {
                slot.attempt = attempt;
                let Body::Mail(entry) = &slot.body else { return None };
                let entry = copy_of(entry);
                let delivery = self.delivery(shared, inner, &entry, attempt);
                (entry.seq, DeliveryState::InFlight, entry.qos(), Some(delivery))
            }
            Body::Rare(rare) => {
                let state = rare.state.clone();
                let entry = copy_of(&rare.entry);
                let again = !matches!(state, DeliveryState::Decided(_));
                let delivery = again.then(|| self.delivery(shared, inner, &entry, attempt));
                (entry.seq, state, entry.qos(), delivery)
            }
        };
        if let Some(delivery) = &mut delivery {
            delivery.handle = Some(handle);
        }
        let id = self.delivery_id(shared, inner.full_seq(seq), attempt);
        Some(Unsettled { id, handle, state, qos, delivery })
    }
}

enum Taken {
    Delivery(Delivery),
    Dropped,
    Blocked,
}

fn copy_of(entry: &Entry) -> Entry {
    let mut copy = Entry::new(entry.message.clone(), entry.qos(), entry.retained());
    (copy.seq, copy.share, copy.extra) = (entry.seq, entry.share, entry.extra.clone());
    copy
}
