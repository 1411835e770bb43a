//! What consumers do with the copies that a queue holds for them.

use std::sync::Arc;

use bytestring::ByteString;
use roadbed_core::{
    CopyId, DeliveryId, DeliveryState, Error, ErrorKind, Event, Fence, Handle, Note, Outcome, Result, Settled, Step,
    Time, TxnId, Work,
};

use super::timeline::Due;
use super::{Again, Dead, Held, Link, Owner, Queue, QueueInner};
use crate::broker::Shared;
use crate::copy::{CopyEvent, held_on};
use crate::lock;
use crate::mailbox::{Effects, enlisted, run_step};
use crate::txn::TxnWork;

/// A step on a copy that a queue holds.
#[derive(Debug)]
pub(crate) struct QueueStep {
    pub(crate) target: StepTarget,
    pub(crate) step: Step,
    pub(crate) cookie: Option<u64>,
}

#[derive(Debug)]
pub(crate) enum StepTarget {
    Held { link: Arc<Link>, seq: u64, attempt: u32, session: u64, handle: Handle },
    Id(DeliveryId),
}

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    pub(crate) session: u64,
    pub(crate) session_name: Option<ByteString>,
    pub(crate) principal: ByteString,
}

impl QueueStep {
    pub(crate) fn by_id(id: DeliveryId, step: Step, cookie: Option<u64>) -> Self {
        Self { target: StepTarget::Id(id), step, cookie }
    }

    pub(crate) fn held(
        link: Arc<Link>,
        seq: u64,
        attempt: u32,
        session: u64,
        handle: Handle,
        step: Step,
        cookie: Option<u64>,
    ) -> Self {
        Self { target: StepTarget::Held { link, seq, attempt, session, handle }, step, cookie }
    }
}

impl Queue {
    /// One step of settling: by the owner's handle, or by id.
    #[expect(clippy::too_many_arguments, reason = "what one settlement depends on")]
    pub(crate) fn step(
        self: &Arc<Self>,
        shared: &Shared,
        seq: u64,
        fence: Fence,
        asker: &Asker,
        slot: Option<(u64, Handle)>,
        step: Step,
        effects: &mut Effects,
        dead: &mut Vec<Dead>,
    ) -> Result<Settled> {
        let now = shared.now();
        let mut inner = lock(&self.inner);
        let current = inner
            .held
            .get(&seq)
            .is_some_and(|held| held.attempt == fence.attempt && held.epoch == fence.epoch && held.belongs_to(asker));
        if !current {
            let known = inner.tombstones.repeats(seq, fence, &step, now);
            if !known {
                shared.meters.late.one();
            }
            return Ok(if known { Settled::Repeated } else { Settled::Late });
        }
        if step == Step::Renew {
            return self.renew(shared, &mut inner, seq, now);
        }
        let held = inner.held.get_mut(&seq).ok_or_else(|| Error::new(ErrorKind::NotFound, "settle"))?;
        let enlists = match &step {
            Step::Enlist { txn, .. } => Some(*txn),
            _ => None,
        };
        let first = !matches!(held.state, DeliveryState::Enlisted { .. });
        let nameable = slot.is_none() || held.owner.outlives_handles();
        let (state, note) = run_step(held.state.clone(), step, held.owner.forgotten())?;
        if note == Note::Repeat {
            return Ok(Settled::Repeated);
        }
        if let (Some(txn), true) = (enlists, first) {
            let work = TxnWork::Held { queue: self.clone(), seq, attempt: fence.attempt, slot };
            shared.txns.enlist(shared, txn, work)?;
        }
        if nameable {
            self.remember(shared, &mut inner, seq, &state, now, effects);
        }
        self.put_state(shared, &mut inner, seq, state, now, effects, dead);
        self.release(shared, inner);
        Ok(Settled::Applied)
    }

    /// Ends deliveries whose owner has accepted them, by position and attempt. Those of which more is to be said stay in `run`.
    pub(crate) fn accept_run(self: &Arc<Self>, shared: &Shared, run: &mut Vec<(u64, u32, Handle)>) -> u64 {
        let (now, before, mut gone) = (shared.now(), run.len(), Vec::with_capacity(run.len()));
        let mut effects = Effects::default();
        let mut inner = lock(&self.inner);
        run.retain(|&(seq, attempt, _)| {
            let plain = |held: &&Held| held.attempt == attempt && held.is_plain();
            if inner.held.get(&seq).filter(plain).is_none() {
                return true;
            }
            if inner.held.get(&seq).is_some_and(|held| held.owner.outlives_handles()) {
                let accepted = DeliveryState::Settled(Outcome::Accepted);
                self.remember(shared, &mut inner, seq, &accepted, now, &mut effects);
            }
            let Some(held) = inner.held.remove(&seq) else { return true };
            if let Some(until) = held.until {
                inner.timeline.remove(until, seq, Due::Lease);
            }
            inner.forget(&held.copy);
            gone.push(held);
            false
        });
        self.release(shared, inner);
        shared.finish(effects, Vec::new());
        (before - run.len()) as u64
    }

    /// Starts a lease anew.
    fn renew(&self, shared: &Shared, inner: &mut QueueInner, seq: u64, now: Time) -> Result<Settled> {
        let Some(held) = inner.held.get_mut(&seq) else { return Ok(Settled::Late) };
        let Some(lease) = held.owner.lease else {
            return Err(Error::new(ErrorKind::Invalid, "renew").detail("the delivery has no lease"));
        };
        let renewed = held_on(held.state.clone(), CopyEvent::Renew);
        let until = match renewed {
            Ok((_, Note::Moved)) => now + lease,
            _ => held.until.unwrap_or(now),
        };
        if let Some(before) = held.until.replace(until) {
            inner.timeline.remove(before, seq, Due::Lease);
        }
        inner.timeline.add(until, seq, Due::Lease);
        inner.arm(shared, self.id);
        Ok(Settled::Renewed(until))
    }

    /// The hold of `seq` ends, if it is still that attempt's.
    pub(crate) fn lapse(
        self: &Arc<Self>,
        shared: &Shared,
        seq: u64,
        attempt: u32,
        outcome: Outcome,
        effects: &mut Effects,
        dead: &mut Vec<Dead>,
    ) {
        let now = shared.now();
        let mut inner = lock(&self.inner);
        let Some(held) = inner.held.get(&seq).filter(|held| held.attempt == attempt) else { return };
        if let Ok((state, Note::Moved)) = held_on(held.state.clone(), CopyEvent::OwnerGone(outcome)) {
            self.put_state(shared, &mut inner, seq, state, now, effects, dead);
        }
        self.release(shared, inner);
    }

    /// Ends a held copy's part in a transaction. Whether its slot is free now.
    #[expect(clippy::too_many_arguments, reason = "what one discharge depends on")]
    pub(crate) fn discharge(
        self: &Arc<Self>,
        shared: &Shared,
        seq: u64,
        attempt: u32,
        txn: TxnId,
        commit: bool,
        effects: &mut Effects,
        dead: &mut Vec<Dead>,
    ) -> bool {
        let now = shared.now();
        let mut inner = lock(&self.inner);
        let Some(held) = inner.held.get(&seq).filter(|held| held.attempt == attempt) else { return true };
        let Some(state) = held.discharged(txn, commit) else { return false };
        self.remember(shared, &mut inner, seq, &state, now, effects);
        let ended = matches!(state, DeliveryState::Settled(_));
        self.put_state(shared, &mut inner, seq, state, now, effects, dead);
        self.release(shared, inner);
        ended
    }

    /// A stored copy, with the outcome that a prepared transaction would give it.
    pub(crate) fn enlisted_copy(&self, seq: u64) -> Option<(CopyId, Outcome)> {
        let inner = lock(&self.inner);
        let held = inner.held.get(&seq).filter(|held| held.copy.stored)?;
        Some((self.copy_id(seq), enlisted(&held.state)?))
    }

    /// Gives a waiting copy to a transaction that was prepared before a restart. Its attempt.
    pub(crate) fn hold_for(&self, shared: &Shared, seq: u64, txn: TxnId, outcome: Outcome) -> Option<u32> {
        let mut inner = lock(&self.inner);
        if let Some(held) = inner.held.get_mut(&seq) {
            held.state = DeliveryState::Enlisted { txn, work: Work::Retire(outcome), ended: None };
            return Some(held.attempt);
        }
        let copy = inner.lanes.take(seq)?;
        let attempt = copy.attempts() + 1;
        let ended = Some(Outcome::Released);
        let state = DeliveryState::Enlisted { txn, work: Work::Retire(outcome), ended };
        let owner = Owner {
            session: 0,
            session_name: None,
            link: None,
            origin: Arc::default(),
            lease: None,
            on_lapse: Outcome::Released,
        };
        let epoch = shared.boot_epoch;
        inner.held.insert(seq, Held { copy, state, attempt, epoch, owner: Arc::new(owner), until: None });
        Some(attempt)
    }

    /// Gives a waiting copy back to the owner that held it before a restart, under the name of `fence`; a lease begins anew. Whether it was there.
    pub(crate) fn hold_again(
        &self,
        shared: &Shared,
        owner: Arc<Owner>,
        seq: u64,
        fence: Fence,
        decided: Option<Outcome>,
    ) -> bool {
        let mut inner = lock(&self.inner);
        let aside = inner.aside.iter().position(|copy| copy.seq == seq);
        let copy = inner.lanes.take(seq).or_else(|| inner.aside.remove(aside?));
        let Some(copy) = copy else { return false };
        let state = decided.map_or(DeliveryState::InFlight, DeliveryState::Decided);
        let until = owner.lease.map(|lease| shared.now() + lease);
        if let Some(until) = until {
            inner.timeline.add(until, seq, Due::Lease);
            inner.arm(shared, self.id);
        }
        let Fence { epoch, attempt } = fence;
        inner.held.insert(seq, Held { copy, state, attempt, epoch, owner, until });
        true
    }

    /// Whether something in it is in the store.
    pub(crate) fn holds_stored(&self, inner: &QueueInner) -> bool {
        inner.held.values().any(|held| held.copy.stored)
            || inner.scheduled.values().chain(&inner.aside).any(|copy| copy.stored)
            || inner.lanes.any_stored()
    }

    /// What is held for a link's earlier attachment.
    pub(crate) fn again(&self, shared: &Shared, link: &Link, seq: u64, attempt: u32) -> Option<Again> {
        let inner = lock(&self.inner);
        let held = inner.held.get(&seq).filter(|held| held.attempt == attempt)?;
        let decided = matches!(held.state, DeliveryState::Decided(_));
        let message = held.copy.message.clone().filter(|_| !decided);
        let info = self.info(shared, link, &held.copy, attempt, held.until, None);
        let qos = held.copy.qos.min(link.qos_max);
        Some(Again { state: held.state.clone(), qos, attempt, message, info })
    }
}

impl Held {
    /// Which attempt it is, in the name of the delivery.
    pub(super) const fn fence(&self) -> Fence {
        Fence { epoch: self.epoch, attempt: self.attempt }
    }

    /// Its state when its transaction ends.
    pub(super) fn discharged(&self, txn: TxnId, commit: bool) -> Option<DeliveryState> {
        let discharge = CopyEvent::Delivery(Event::Discharge { txn, commit });
        let (state, _) = held_on(self.state.clone(), discharge).ok()?;
        if let (DeliveryState::Decided(_), Some(_)) = (&state, self.owner.lease) {
            // The owner of a lease keeps nothing between its requests: there is no second half.
            let settled = held_on(state, CopyEvent::Delivery(Event::Settle));
            return Some(settled.map_or_else(|_| self.state.clone(), |(to, _)| to));
        }
        Some(state)
    }

    fn belongs_to(&self, asker: &Asker) -> bool {
        if self.owner.session == asker.session {
            return true;
        }
        let same_principal = self.owner.origin.principal == asker.principal;
        let same_session = self.owner.session_name.is_some() && self.owner.session_name == asker.session_name;
        same_principal && (self.owner.lease.is_some() || same_session)
    }

    /// Accepted, it only goes: nobody else is to be told.
    fn is_plain(&self) -> bool {
        self.state == DeliveryState::InFlight && !self.copy.stored
    }
}

impl super::Owner {
    /// Whether a delivery can be named once the session that had its handle is gone, and be settled again.
    fn outlives_handles(&self) -> bool {
        self.lease.is_some() || self.session_name.is_some()
    }

    /// What becomes of a delivery that the owner has forgotten within a transaction, if that rolls back. It is nobody's fault where nothing but
    /// a lease says who the owner is.
    fn forgotten(&self) -> &Outcome {
        if self.lease.is_some() { &Outcome::Released } else { &self.on_lapse }
    }

    /// What `undeliverable_here` excludes: the durable name of the link, or as a makeshift its session.
    pub(crate) fn name(&self) -> ByteString {
        self.link.clone().unwrap_or_else(|| format!("session {}", self.session).into())
    }
}
