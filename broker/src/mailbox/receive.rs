//! Handing over what waits in a session's own queue.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use roadbed_core::{
    CopyId, Delivery, DeliveryId, DeliveryInfo, DeliveryState, Error, ErrorKind, Fence, Grant, Handle, Qos, Result,
    Time, TxnId, Unsettled, Work,
};

use super::ring::Front;
use super::{Inner, SessionCore, has_expired};
use crate::broker::Shared;
use crate::entry::{Entry, Extra};
use crate::inflight::{Body, Rare, Slot};
use crate::paged::REST;
use crate::queue::{After, Link, Pull};
use crate::store::{NewCopy, Op, StoreError, StoredCopy};
use crate::timers::Timer;
use crate::txn::TxnWork;
use crate::wakers;

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
        // Once more, if what was found missing may have come in between.
        match self.poll_once(shared, epoch, cx, into, max) {
            (Poll::Pending, true) => self.poll_once(shared, epoch, cx, into, max).0,
            (out, _) => out,
        }
    }

    /// What there is, and whether more may have come since.
    fn poll_once(
        self: &Arc<Self>,
        shared: &Shared,
        epoch: u32,
        cx: &mut Context<'_>,
        into: &mut Vec<Delivery>,
        max: usize,
    ) -> (Poll<Result<usize>>, bool) {
        let mut taking = Taking::new(into, max);
        let mut inner = crate::lock(&self.inner);
        if self.epoch() != epoch || inner.ended {
            let error = Error::new(ErrorKind::Closed, "receive").detail("the session is not here any more");
            return (Poll::Ready(Err(error)), false);
        }
        inner.blocked = false;
        inner.end_grant(shared);
        self.take_granted(shared, &mut inner, &mut taking);
        while taking.left > 0 && !inner.ring.is_empty() && self.take_mail(shared, &mut inner, &mut taking) {}
        let here = inner.here();
        let reading = inner.ring.read_ahead(shared, here, taking.away);
        if inner.cold.as_ref().is_some_and(|cold| !cold.ready.is_empty()) {
            self.take_links(shared, &mut inner, &mut taking);
        }
        let mut taken = max - taking.left;
        // What waits for the store wakes, too.
        inner.wait(cx, taken == taking.held);
        if !taking.holds.is_empty() {
            let holds = std::mem::take(&mut taking.holds);
            inner.cold().holding += holds.len();
            drop(inner);
            self.hold_durably(shared, epoch, holds);
            inner = crate::lock(&self.inner);
            self.take_granted(shared, &mut inner, &mut taking);
            taken = max - taking.left;
        }
        let holding = inner.ring.is_reading() || inner.cold.as_ref().is_some_and(|cold| cold.holding > 0);
        let out = if taken > 0 || max == 0 {
            inner.report(shared);
            inner.ring.shrink();
            Poll::Ready(Ok(taken))
        } else if inner.drain && !holding {
            (inner.drain, inner.credit) = (false, 0);
            Poll::Ready(Ok(0))
        } else {
            Poll::Pending
        };
        drop(inner);
        let Taking { bytes, accepted, after, idle, .. } = taking;
        idle.iter().for_each(|link| link.queue().pass_on(link));
        shared.meters.hot().messages_out.add(taken as u64);
        shared.meters.hot().bytes_out.add(bytes as u64);
        shared.meters.hot().accepted.add(accepted);
        let granted = shared.after(after) || reading.is_some();
        if let Some(seqs) = reading {
            self.read_back(shared, seqs);
        }
        (out, granted)
    }

    /// Takes the front of the queue. Whether to go on.
    fn take_mail(&self, shared: &Shared, inner: &mut Inner, taking: &mut Taking<'_>) -> bool {
        let front = match inner.ring.front() {
            Some(Front::Here(front)) => Some(front),
            Some(Front::Away) => None,
            None => return false,
        };
        // What is in the store is not sent at most once.
        let qos = front.map_or(Qos::AtLeastOnce, Entry::qos);
        if inner.credit == 0 || (qos != Qos::AtMostOnce && inner.slab.len() >= usize::from(inner.window)) {
            inner.blocked = true;
            return false;
        }
        let Some(front) = front else {
            taking.away = true;
            return false;
        };
        // The peer will remember this delivery over our restart, so it is not sent before we do.
        let remembered = qos == Qos::ExactlyOnce && front.stored();
        if !remembered && taking.waits(inner) {
            return false;
        }
        let Some(entry) = inner.ring.pop_front() else { return false };
        if has_expired(shared, &entry.message, &mut taking.now) {
            inner.bytes -= entry.message.cost();
            inner.forget_stored(shared, &entry);
            shared.meters.dropped_expired.one();
            return true;
        }
        if inner.credit != u32::MAX {
            inner.credit -= 1;
        }
        if remembered {
            self.hold(inner, entry, taking);
            return true;
        }
        if qos != Qos::AtMostOnce {
            let delivery = self.hand_over(shared, inner, entry);
            taking.push(delivery);
            return true;
        }
        inner.bytes -= entry.message.cost();
        taking.accepted += 1;
        let (retained, attempt) = (entry.retained(), entry.attempts() + 1);
        let info = self.info(shared, inner, &entry, attempt);
        taking.push(Delivery { message: entry.message, handle: None, qos, retained, attempt, info });
        true
    }

    /// Reads messages back.
    fn read_back(self: &Arc<Self>, shared: &Shared, seqs: Vec<u64>) {
        let session = self.clone();
        let queue = self.queue_id(shared);
        let copies = seqs.iter().map(|seq| CopyId { queue, seq: *seq }).collect();
        let then = move |shared: &Shared, found| session.came_back(shared, &seqs, found);
        shared.commits.read(shared, copies, Box::new(then));
    }

    /// What could not be read is asked for again when the session is polled, which it is now.
    pub(crate) fn read_again(&self) {
        let mut inner = crate::lock(&self.inner);
        inner.ring.rested();
        let waker = inner.waker.take();
        drop(inner);
        waker.into_iter().for_each(Waker::wake);
    }

    /// Messages have come back, or cannot be read: then they stay where they are, nothing goes past them, and it is tried again after a while.
    fn came_back(&self, shared: &Shared, seqs: &[u64], found: std::result::Result<Vec<StoredCopy>, StoreError>) {
        let mut inner = crate::lock(&self.inner);
        let Ok(found) = found else {
            inner.ring.rest();
            let drains = if inner.drain { inner.waker.take() } else { None };
            drop(inner);
            shared.timers.set(Timer::Mail(self.id), shared.now() + REST);
            return drains.into_iter().for_each(Waker::wake);
        };
        let info = inner.info;
        let entries = found.into_iter().map(|found| (found.copy.copy.seq, entry_of(found, info))).collect();
        let (away, here) = inner.ring.fill(seqs, entries);
        inner.bytes = (inner.bytes + here).saturating_sub(away);
        inner.report(shared);
        let waker = inner.waker.take();
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Gives a copy its slot, to be handed over when the store knows.
    fn hold(&self, inner: &mut Inner, entry: Entry, taking: &mut Taking<'_>) {
        let (attempt, window, low) = (entry.attempts() + 1, inner.window, entry.seq);
        let Some(queue) = inner.durable else { return };
        let copy = CopyId { queue, seq: inner.full_seq(low) };
        if let Some(handle) = inner.slab.insert(window, attempt, Body::Mail(entry)) {
            taking.holds.push((handle, Op::Hold { copy, attempt, slot: handle.slot(), holder: None }));
            taking.left -= 1;
            taking.held += 1;
        }
    }

    fn hold_durably(self: &Arc<Self>, shared: &Shared, epoch: u32, holds: Vec<(Handle, Op)>) {
        let (handles, ops): (Vec<Handle>, Vec<Op>) = holds.into_iter().unzip();
        let session = self.clone();
        let then =
            move |_: &Shared, result: std::result::Result<(), _>| session.granted(epoch, handles, result.is_ok());
        shared.commits.submit(shared, || (Vec::new(), ops), Box::new(then));
    }

    /// The store knows that these are held: they may be handed over.
    fn granted(&self, epoch: u32, handles: Vec<Handle>, stored: bool) {
        let mut inner = crate::lock(&self.inner);
        if self.epoch() != epoch || inner.ended {
            return;
        }
        let cold = inner.cold();
        cold.holding -= handles.len();
        if stored {
            cold.granted.extend(handles);
        }
        let waker = inner.waker.take();
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Hands over what the store knows to be held.
    fn take_granted(&self, shared: &Shared, inner: &mut Inner, taking: &mut Taking<'_>) {
        // Those of this very call have been counted.
        taking.left += std::mem::take(&mut taking.held);
        while taking.left > 0 {
            let Some(handle) = inner.cold.as_mut().and_then(|cold| cold.granted.pop_front()) else { return };
            let Some(Slot { attempt, body: Body::Mail(entry), .. }) = inner.slab.find(handle) else { continue };
            let (attempt, entry) = (*attempt, copy_of(entry));
            let mut delivery = self.delivery(shared, inner, &entry, attempt);
            delivery.handle = Some(handle);
            taking.push(delivery);
        }
    }

    fn hand_over(&self, shared: &Shared, inner: &mut Inner, entry: Entry) -> Delivery {
        let (attempt, txn) = (entry.attempts() + 1, inner.cold.as_ref().and_then(|cold| cold.grant_txn));
        let mut delivery = self.delivery(shared, inner, &entry, attempt);
        let window = inner.window;
        delivery.handle = inner.slab.insert(window, attempt, Body::Mail(entry));
        if let (Some(txn), Some(handle)) = (txn, delivery.handle) {
            match shared.txns.enlist(shared, txn, TxnWork::Mail { session: self.id, handle }) {
                Ok(()) => inner.acquired(handle, txn),
                // It has ended just now: the delivery is one like any other.
                Err(_) => delivery.info.iter_mut().for_each(|info| info.txn = None),
            }
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

    /// Takes from the queues that the session competes for.
    fn take_links(self: &Arc<Self>, shared: &Shared, inner: &mut Inner, taking: &mut Taking<'_>) {
        let mut pulled = Vec::new();
        let Some(mut rounds) = inner.cold.as_ref().map(|cold| cold.ready.len()) else { return };
        while rounds > 0 {
            rounds -= 1;
            let slots = usize::from(inner.window) - inner.slab.len().min(usize::from(inner.window));
            let want = taking.left.min(inner.credit as usize).min(slots);
            if want == 0 {
                inner.blocked = true;
                taking.idle.extend(inner.cold().ready.iter().cloned());
                break;
            }
            let cold = inner.cold();
            let Some(link) = cold.ready.pop_front() else { break };
            let txn = cold.grant_txn;
            let more = link.pull(shared, want, txn, &mut pulled, &mut taking.after);
            for pull in pulled.drain(..) {
                if let Some(delivery) = self.admit(shared, inner, &link, pull, &mut taking.after) {
                    taking.push(delivery);
                }
            }
            if more {
                inner.cold().ready.push_back(link);
            }
        }
    }

    /// Gives what was pulled from a queue its slot, if it is to be settled.
    pub(crate) fn admit(
        &self,
        shared: &Shared,
        inner: &mut Inner,
        link: &Arc<Link>,
        pull: Pull,
        after: &mut After,
    ) -> Option<Delivery> {
        if inner.credit != u32::MAX && link.spends_session_credit() {
            inner.credit = inner.credit.saturating_sub(1);
        }
        let window = inner.window;
        let handle = match pull.held {
            false => None,
            true => inner.slab.insert(window, pull.attempt, Body::Pulled { link: link.clone(), seq: pull.seq }),
        };
        if let (Some(txn), Some(handle)) = (pull.txn, handle) {
            let (link, session) = (link.clone(), self.id);
            let work = || TxnWork::Pulled { link: link.clone(), seq: pull.seq, attempt: pull.attempt, session, handle };
            if shared.txns.enlist(shared, txn, work()).is_err() {
                after.orphans.push((txn, work()));
                return None;
            }
        }
        Some(Delivery {
            message: pull.message,
            handle,
            qos: pull.qos,
            retained: false,
            attempt: pull.attempt,
            info: pull.info,
        })
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
            Body::Free(_) | Body::Read { .. } => return None,
            Body::Decided { seq, .. } => {
                let (seq, attempt) = (*seq, slot.attempt);
                let id = self.delivery_id(shared, inner.full_seq(seq), attempt);
                let state = DeliveryState::Decided(roadbed_core::Outcome::Accepted);
                return Some(Unsettled { id, handle, state, qos: Qos::ExactlyOnce, delivery: None });
            }
            Body::Pulled { link, .. } if !link.spends_session_credit() => return None,
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

/// One call of receive.
struct Taking<'a> {
    into: &'a mut Vec<Delivery>,
    left: usize,
    /// Copies that wait for the store, with what it is told.
    holds: Vec<(Handle, Op)>,
    /// How many of this call wait for the store.
    held: usize,
    bytes: usize,
    accepted: u64,
    now: Option<Time>,
    after: After,
    /// Only the store has the message of what comes next.
    away: bool,
    /// Links that could take, if there were credit.
    idle: Vec<Arc<Link>>,
}

impl<'a> Taking<'a> {
    fn new(into: &'a mut Vec<Delivery>, left: usize) -> Self {
        Self {
            into,
            left,
            holds: Vec::new(),
            held: 0,
            bytes: 0,
            accepted: 0,
            now: None,
            after: After::default(),
            away: false,
            idle: Vec::new(),
        }
    }

    fn push(&mut self, delivery: Delivery) {
        self.left -= 1;
        self.bytes += delivery.message.payload().len();
        self.into.push(delivery);
    }

    /// Whether something that came before waits for the store: it is not overtaken.
    fn waits(&self, inner: &Inner) -> bool {
        self.held > 0 || inner.cold.as_ref().is_some_and(|cold| cold.holding > 0)
    }
}

impl Inner {
    /// What is granted within a transaction ends with it.
    fn end_grant(&mut self, shared: &Shared) {
        let txn = self.cold.as_ref().and_then(|cold| cold.grant_txn);
        if txn.is_some_and(|txn| !shared.txns.is_open(txn)) {
            self.cold().grant_txn = None;
            self.credit = 0;
        }
    }

    /// The delivery belongs to the transaction since its transfer.
    fn acquired(&mut self, handle: Handle, txn: TxnId) {
        let Some(slot) = self.slab.find(handle) else { return };
        if let Body::Mail(entry) = std::mem::replace(&mut slot.body, Body::Free(0)) {
            let state = DeliveryState::Enlisted { txn, work: Work::Acquire(None), ended: None };
            slot.body = Body::Rare(Box::new(Rare { entry, state }));
        }
    }

    /// Registers the waker of who found nothing.
    fn wait(&mut self, cx: &mut Context<'_>, nothing: bool) {
        if nothing {
            wakers::keep(&mut self.waker, cx.waker());
        }
    }
}

/// A copy as the store has kept it; `info`: somebody asks when it was enqueued.
pub(crate) fn entry_of(kept: StoredCopy, info: bool) -> Entry {
    let NewCopy { copy, qos, retained, bindings } = kept.copy;
    let mut entry = Entry::new(kept.message, qos, retained);
    entry.set_stored();
    entry.seq = copy.seq as u32;
    if info || kept.attempt > 0 || kept.count > 0 || !bindings.is_empty() {
        let (attempts, count, enqueued_at) = (kept.attempt, kept.count, kept.at);
        entry.extra = Some(Box::new(Extra { bindings, attempts, count, enqueued_at, ..Extra::default() }));
    }
    entry
}

fn copy_of(entry: &Entry) -> Entry {
    let mut copy = Entry::new(entry.message.clone(), entry.qos(), entry.retained());
    (copy.seq, copy.share, copy.extra) = (entry.seq, entry.share, entry.extra.clone());
    copy
}
