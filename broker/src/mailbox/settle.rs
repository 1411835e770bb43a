//! What a session's consumer does with its deliveries.

use std::sync::Arc;

use roadbed_core::{
    CopyId, DeliveryRef, DeliveryState, Disposition, Done, Error, ErrorKind, Event, Handle, Note, Outcome, Result,
    Settled, Step, TxnId, Work,
};

use super::{Inner, SessionCore};
use crate::broker::Shared;
use crate::entry::Entry;
use crate::inflight::{Body, Rare, Removed, Slot};
use crate::log::Reading;
use crate::queue::{Link, QueueStep};
use crate::store::Op;
use crate::txn::TxnWork;

/// What follows a commit.
pub(crate) type Follow = Box<dyn FnOnce(&Shared) + Send>;

/// What follows from settling, to be done when the lock is free again.
#[derive(Default)]
pub(crate) struct Effects {
    /// Answers, in the order of the dispositions that have a cookie.
    pub(crate) dones: Vec<Done>,
    /// Steps on copies that queues hold.
    pub(crate) steps: Vec<QueueStep>,
    /// What was read from logs and is settled, with its outcome.
    pub(crate) read: Vec<(Arc<Reading>, u64, Outcome)>,
    /// What the store is told.
    pub(crate) ops: Vec<Op>,
    /// What follows the commit.
    pub(crate) then: Vec<Follow>,
    /// Whether an answer waits for the store.
    pub(crate) waits: bool,
    /// Counts for the meters.
    pub(crate) accepted: u64,
}

impl SessionCore {
    /// Takes all dispositions by handle out of `batch`, and those by id of the session's own queue.
    pub(crate) fn settle(&self, shared: &Shared, epoch: u32, batch: &mut Vec<Disposition>, effects: &mut Effects) {
        let mut inner = crate::lock(&self.inner);
        let current = self.epoch() == epoch && !inner.ended;
        for Disposition { delivery, cookie, step } in batch.drain(..) {
            let handle = match delivery {
                DeliveryRef::Handle(handle) => Some(handle),
                DeliveryRef::Id(id) if self.has_queue_id(id.copy.queue) => inner.find_copy(id.copy.seq),
                DeliveryRef::Id(id) => {
                    effects.steps.push(QueueStep::by_id(id, step, cookie));
                    continue;
                }
            };
            let result = match handle {
                Some(handle) if current => inner.step(shared, self.id, handle, step, cookie, effects),
                _ => Some(late(shared)),
            };
            if let (Some(cookie), Some(result)) = (cookie, result) {
                effects.dones.push(Done { cookie, result });
            }
        }
        inner.report(shared);
        let waker = if inner.blocked || !inner.ring.is_empty() { inner.waker.take() } else { None };
        drop(inner);
        shared.meters.hot().accepted.add(std::mem::take(&mut effects.accepted));
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Takes what asks for no answer, no store, no queue and no transaction from the front of `batch`: nearly always all of
    /// it. Whether that is all.
    pub(crate) fn settle_plainly(&self, shared: &Shared, epoch: u32, batch: &mut Vec<Disposition>) -> bool {
        let mut inner = crate::lock(&self.inner);
        if self.epoch() != epoch {
            return false;
        }
        let (mut accepted, mut late, mut freed) = (0, 0, 0);
        for disposition in &*batch {
            let DeliveryRef::Handle(handle) = disposition.delivery else { break };
            let second = match disposition.step {
                Step::Outcome { outcome: Outcome::Accepted, settled: true } => false,
                Step::Settle => true,
                _ => break,
            };
            if disposition.cookie.is_some() {
                break;
            }
            let taken = inner.slab.remove_if(handle, |body| match body {
                Body::Mail(entry) => !second && !entry.stored(),
                Body::Decided { stored, .. } => second && !stored,
                _ => false,
            });
            match taken {
                Removed::Slot(Slot { body: Body::Mail(entry), .. }) => {
                    freed += entry.message.cost();
                    accepted += 1;
                }
                Removed::Slot(_) => accepted += 1,
                Removed::Missing => late += 1,
                Removed::Kept => break,
            }
        }
        inner.bytes -= freed;
        inner.report(shared);
        let waker = if inner.blocked && accepted > 0 { inner.waker.take() } else { None };
        drop(inner);
        let done = (accepted + late) as usize;
        batch.drain(..done);
        shared.meters.hot().accepted.add(accepted);
        shared.meters.late.add(late);
        if let Some(waker) = waker {
            waker.wake();
        }
        batch.is_empty()
    }

    /// Takes from the front of `batch` what `link` holds and its consumer has accepted without asking for an answer: nearly always all of it. Position, attempt and
    /// handle of each go into `taken`.
    pub(crate) fn take_accepted(
        &self,
        shared: &Shared,
        epoch: u32,
        link: &Arc<Link>,
        batch: &mut Vec<Disposition>,
        taken: &mut Vec<(u64, u32, Handle)>,
    ) {
        let mut inner = crate::lock(&self.inner);
        if self.epoch() != epoch || inner.ended {
            return;
        }
        let (mut done, mut late) = (0, 0);
        for disposition in &*batch {
            let accepted = disposition.step == Step::Outcome { outcome: Outcome::Accepted, settled: true };
            let (DeliveryRef::Handle(handle), true, None) = (disposition.delivery, accepted, disposition.cookie) else {
                break;
            };
            let of_link = |body: &Body| matches!(body, Body::Pulled { link: held, .. } if Arc::ptr_eq(held, link));
            match inner.slab.remove_if(handle, of_link) {
                Removed::Slot(Slot { attempt, body: Body::Pulled { seq, .. }, .. }) => {
                    taken.push((seq, attempt, handle));
                }
                Removed::Slot(_) => {}
                Removed::Missing => late += 1,
                Removed::Kept => break,
            }
            done += 1;
        }
        let waker = if inner.blocked || !inner.ring.is_empty() { inner.waker.take() } else { None };
        drop(inner);
        batch.drain(..done);
        shared.meters.late.add(late);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// A stored copy, with the outcome that a prepared transaction would give it.
    pub(crate) fn enlisted_copy(&self, handle: Handle) -> Option<(CopyId, Outcome)> {
        let mut inner = crate::lock(&self.inner);
        let queue = inner.durable?;
        let slot = inner.slab.find(handle)?;
        let Body::Rare(rare) = &slot.body else { return None };
        let (outcome, seq) = (enlisted(&rare.state)?, rare.entry.seq);
        let stored = rare.entry.stored();
        stored.then(|| (CopyId { queue, seq: inner.full_seq(seq) }, outcome))
    }

    /// Gives a waiting copy to a transaction that was prepared before a restart.
    pub(crate) fn hold_for(&self, seq: u64, txn: TxnId, outcome: Outcome) -> Option<Handle> {
        let mut inner = crate::lock(&self.inner);
        let entry = inner.ring.take(seq as u32)?;
        let attempt = entry.attempts() + 1;
        let ended = Some(Outcome::Released);
        let state = DeliveryState::Enlisted { txn, work: Work::Retire(outcome), ended };
        inner.slab.insert(u16::MAX, attempt, Body::Rare(Box::new(Rare { entry, state })))
    }

    /// What the store is told of the end of a delivery's part in a transaction that commits. Nothing is done yet.
    pub(crate) fn foretell(&self, shared: &Shared, handle: Handle, txn: TxnId) -> Vec<Op> {
        let mut inner = crate::lock(&self.inner);
        let Some(queue) = inner.durable else { return Vec::new() };
        let Some(Slot { attempt, body: Body::Rare(rare), .. }) = inner.slab.find(handle) else { return Vec::new() };
        let discharged = rare.state.clone().on(Event::Discharge { txn, commit: true });
        let Ok((DeliveryState::Settled(outcome), _)) = discharged else { return Vec::new() };
        if !rare.entry.stored() {
            return Vec::new();
        }
        let (attempt, seq, count) = (*attempt, rare.entry.seq, rare.entry.count());
        let (count, again) = counted(shared, count, &outcome);
        let copy = CopyId { queue, seq: inner.full_seq(seq) };
        vec![if again { Op::Return { copy, count, attempt, excluded: Vec::new() } } else { Op::Retire { copy } }]
    }

    /// Ends a delivery's part in a transaction.
    pub(crate) fn discharge(&self, shared: &Shared, handle: Handle, txn: TxnId, commit: bool, effects: &mut Effects) {
        let mut inner = crate::lock(&self.inner);
        let Some(slot) = inner.slab.find(handle) else { return };
        let Body::Rare(rare) = &mut slot.body else { return };
        let state = std::mem::take(&mut rare.state);
        match state.on(Event::Discharge { txn, commit }) {
            Ok((state, _)) => inner.put_state(shared, handle, state, effects),
            Err(refused) => rare.state = refused.state,
        }
        inner.report(shared);
        let waker = inner.waker.take();
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Inner {
    /// One step; `None` if a queue gives the answer.
    fn step(
        &mut self,
        shared: &Shared,
        session: u64,
        handle: Handle,
        step: Step,
        cookie: Option<u64>,
        effects: &mut Effects,
    ) -> Option<Result<Settled>> {
        let Some(slot) = self.slab.find(handle) else { return Some(late(shared)) };
        match (&mut slot.body, step) {
            (Body::Mail(_), Step::Outcome { outcome: Outcome::Accepted, settled: true }) => {
                self.accept(handle, effects);
                Some(Ok(Settled::Applied))
            }
            (body @ Body::Mail(_), Step::Outcome { outcome: Outcome::Accepted, settled: false }) => {
                if let Body::Mail(entry) = std::mem::replace(body, Body::Free(0)) {
                    self.bytes -= entry.message.cost();
                    *body = Body::Decided { seq: entry.seq, stored: entry.stored() };
                    if let (true, Some(queue)) = (entry.stored(), self.durable) {
                        let copy = CopyId { queue, seq: self.full_seq(entry.seq) };
                        effects.ops.push(Op::Own { copy, slot: handle.slot(), outcome: Outcome::Accepted });
                        effects.waits = true;
                    }
                }
                Some(Ok(Settled::Applied))
            }
            (Body::Decided { .. }, Step::Settle) => {
                self.accept(handle, effects);
                Some(Ok(Settled::Applied))
            }
            (Body::Pulled { link, seq }, step) => {
                let (link, seq, attempt) = (link.clone(), *seq, slot.attempt);
                if frees(&step) {
                    self.slab.remove(handle);
                }
                effects.steps.push(QueueStep::held(link, seq, attempt, session, handle, step, cookie));
                None
            }
            (Body::Read { .. }, step) => Some(self.step_read(shared, session, handle, step, effects)),
            (_, Step::Renew) => {
                Some(Err(Error::new(ErrorKind::Invalid, "settle").detail("there is no lease to renew")))
            }
            (_, step) => Some(self.step_slowly(shared, session, handle, step, effects)),
        }
    }

    /// The copy is accepted, and forgotten.
    fn accept(&mut self, handle: Handle, effects: &mut Effects) {
        let Some(slot) = self.slab.remove(handle) else { return };
        let (seq, stored) = match slot.body {
            Body::Mail(entry) => {
                self.bytes -= entry.message.cost();
                (entry.seq, entry.stored())
            }
            Body::Decided { seq, stored } => (seq, stored),
            _ => return,
        };
        effects.accepted += 1;
        self.retire(seq, stored, effects);
    }

    fn retire(&self, seq: u32, stored: bool, effects: &mut Effects) {
        if let (true, Some(queue)) = (stored, self.durable) {
            effects.ops.push(Op::Retire { copy: CopyId { queue, seq: self.full_seq(seq) } });
            effects.waits = true;
        }
    }

    /// Any step, by the delivery machine.
    fn step_slowly(
        &mut self,
        shared: &Shared,
        session: u64,
        handle: Handle,
        step: Step,
        effects: &mut Effects,
    ) -> Result<Settled> {
        let Some(slot) = self.slab.find(handle) else { return late(shared) };
        let state = state_of(&slot.body);
        let enlists = match &step {
            Step::Enlist { txn, .. } => Some(*txn),
            _ => None,
        };
        let first = !matches!(state, DeliveryState::Enlisted { .. });
        let (state, note) = run_step(state, step, &Outcome::Released)?;
        match note {
            Note::Late => return late(shared),
            Note::Repeat => return Ok(Settled::Repeated),
            Note::Moved => {}
        }
        if let (Some(txn), true) = (enlists, first) {
            shared.txns.enlist(shared, txn, TxnWork::Mail { session, handle })?;
        }
        self.put_state(shared, handle, state, effects);
        Ok(Settled::Applied)
    }

    /// Makes a delivery's new state true for its copy.
    fn put_state(&mut self, shared: &Shared, handle: Handle, state: DeliveryState, effects: &mut Effects) {
        if let DeliveryState::Settled(outcome) = state {
            if let Some(slot) = self.slab.remove(handle) {
                self.end(shared, slot, &outcome, effects);
            }
            return;
        }
        let Some(slot) = self.slab.find(handle) else { return };
        let entry = match std::mem::replace(&mut slot.body, Body::Free(0)) {
            Body::Mail(entry) => entry,
            Body::Rare(rare) => rare.entry,
            decided => {
                slot.body = decided;
                return;
            }
        };
        slot.body = match state {
            DeliveryState::InFlight => Body::Mail(entry),
            state => Body::Rare(Box::new(Rare { entry, state })),
        };
    }

    /// A delivery has ended in `outcome`.
    fn end(&mut self, shared: &Shared, slot: Slot, outcome: &Outcome, effects: &mut Effects) {
        let mut entry = match slot.body {
            Body::Mail(entry) => entry,
            Body::Rare(rare) => rare.entry,
            Body::Decided { seq, stored } => {
                effects.accepted += 1;
                return self.retire(seq, stored, effects);
            }
            _ => return,
        };
        let (count, again) = counted(shared, entry.count(), outcome);
        match outcome {
            Outcome::Accepted => effects.accepted += 1,
            Outcome::Released => shared.meters.released.one(),
            Outcome::Modified { .. } => {
                shared.meters.modified.one();
                shared.meters.dropped_attempts.add(u64::from(!again));
            }
            _ => shared.meters.rejected.one(),
        }
        if !again {
            self.bytes -= entry.message.cost();
            return self.retire(entry.seq, entry.stored(), effects);
        }
        (entry.extra().attempts, entry.extra().count) = (slot.attempt, count);
        if let (true, Some(queue)) = (entry.stored(), self.durable) {
            let copy = CopyId { queue, seq: self.full_seq(entry.seq) };
            // A release may be lost in a crash: the copy is then delivered again all the same. A count may not.
            effects.waits |= *outcome != Outcome::Released;
            effects.ops.push(Op::Return { copy, count: entry.count(), attempt: slot.attempt, excluded: Vec::new() });
        }
        self.put_back(entry);
    }

    /// Back to its place in the queue.
    pub(crate) fn put_back(&mut self, entry: Entry) {
        self.ring.insert(self.next_seq, entry);
    }

    fn find_copy(&self, seq: u64) -> Option<Handle> {
        self.slab.find_body(|body| match body {
            Body::Mail(entry) => entry.seq == seq as u32,
            Body::Rare(rare) => rare.entry.seq == seq as u32,
            Body::Decided { seq: decided, .. } => *decided == seq as u32,
            Body::Free(_) | Body::Pulled { .. } | Body::Read { .. } => false,
        })
    }

    /// Ends everything that the link of the session's own queue holds, each in `outcome`.
    pub(crate) fn lapse_mail(&mut self, shared: &Shared, outcome: &Outcome, effects: &mut Effects) {
        for handle in self.slab.in_order() {
            let Some(slot) = self.slab.find(handle) else { continue };
            if matches!(slot.body, Body::Pulled { .. } | Body::Read { .. } | Body::Free(_)) {
                continue;
            }
            if let Ok((state, Note::Moved)) = state_of(&slot.body).on(Event::Lapse(outcome.clone())) {
                self.put_state(shared, handle, state, effects);
            }
        }
    }

    /// Takes every slot of `link` out of the slab.
    pub(crate) fn take_pulled(&mut self, link: Option<&Arc<Link>>) -> Vec<(Arc<Link>, u64, u32, Handle)> {
        let mut out = Vec::new();
        for handle in self.slab.in_order() {
            let Some(Slot { body: Body::Pulled { link: held, seq }, attempt, .. }) = self.slab.find(handle) else {
                continue;
            };
            if link.is_none_or(|link| Arc::ptr_eq(link, held)) {
                out.push((held.clone(), *seq, *attempt, handle));
                self.slab.remove(handle);
            }
        }
        out
    }
}

/// Applies a receiver's step to a delivery. `forgotten` is what becomes of one that the receiver has forgotten within a transaction, if that
/// rolls back: its link's default outcome.
pub(crate) fn run_step(state: DeliveryState, step: Step, forgotten: &Outcome) -> Result<(DeliveryState, Note)> {
    let kind = if matches!(state, DeliveryState::Enlisted { .. }) { ErrorKind::Conflict } else { ErrorKind::Invalid };
    let on = |state: DeliveryState, event| state.on(event).map_err(|error| Error::new(kind, "settle").because(error));
    match step {
        Step::Outcome { outcome, settled } => on(state, Event::Dispose { outcome, settled }),
        Step::Settle => on(state, Event::Settle),
        Step::Enlist { txn, outcome, settled } => {
            let (state, note) = on(state, Event::Enlist { txn, work: Work::Retire(outcome) })?;
            match (settled, note) {
                (true, Note::Moved) => on(state, Event::Lapse(forgotten.clone())),
                _ => Ok((state, note)),
            }
        }
        _ => Err(Error::new(ErrorKind::NotSupported, "settle")),
    }
}

/// The outcome that a transaction has named for a delivery.
pub(crate) fn enlisted(state: &DeliveryState) -> Option<Outcome> {
    match state {
        DeliveryState::Enlisted { work: Work::Retire(outcome) | Work::Acquire(Some(outcome)), .. } => {
            Some(outcome.clone())
        }
        _ => None,
    }
}

/// How many attempts have failed when one more has ended in `outcome`, and whether the message is delivered again.
fn counted(shared: &Shared, count: u32, outcome: &Outcome) -> (u32, bool) {
    match outcome {
        Outcome::Released => (count, true),
        Outcome::Modified { delivery_failed, undeliverable_here } => {
            let (count, max) = (count + u32::from(*delivery_failed), shared.settings.session_deliveries_max);
            (count, (max == 0 || count < max) && !undeliverable_here)
        }
        _ => (count, false),
    }
}

/// Whether the receiver forgets the delivery with this step.
fn frees(step: &Step) -> bool {
    match step {
        Step::Outcome { settled, .. } | Step::Enlist { settled, .. } => *settled,
        Step::Settle => true,
        _ => false,
    }
}

fn state_of(body: &Body) -> DeliveryState {
    match body {
        Body::Mail(_) => DeliveryState::InFlight,
        Body::Decided { .. } => DeliveryState::Decided(Outcome::Accepted),
        Body::Rare(rare) => rare.state.clone(),
        Body::Free(_) | Body::Pulled { .. } | Body::Read { .. } => DeliveryState::Settled(Outcome::Released),
    }
}

pub(super) fn late(shared: &Shared) -> Result<Settled> {
    shared.meters.late.one();
    Ok(Settled::Late)
}
