//! Taking copies out of a queue, and settling them.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use bytestring::ByteString;
use roadbed_core::{
    Condition, CopyId, DeliveryId, DeliveryInfo, DeliveryState, Error, ErrorKind, Event, Fence, Handle, Note, Outcome,
    Qos, Reason, Result, Settled, Step, Time, TxnId, Work,
};

use super::timeline::Due;
use super::{Again, Copy, Dead, Held, Link, Owner, Pull, Queue, QueueInner, reason};
use crate::broker::Shared;
use crate::copy::{CopyEvent, CopyState, held_on, settled_or_held};
use crate::lock;
use crate::mailbox::{Effects, enlisted, run_step};
use crate::store::Op;
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

/// What follows from taking copies, to be done when the locks of session and queue are free again.
#[derive(Debug, Default)]
pub(crate) struct After {
    pub(crate) dead: Vec<Dead>,
    /// Links that may find something now.
    pub(crate) links: Vec<Arc<Link>>,
    /// Producers that may find room now.
    wakers: Vec<Waker>,
    handing: Vec<(Arc<Link>, Handing)>,
    /// What was taken and is not handed over.
    pub(crate) returned: Vec<(Arc<Link>, Vec<Pull>)>,
}

/// Copies that are handed over when the store knows that some of them are gone.
#[derive(Debug, Default)]
struct Handing {
    retired: Vec<CopyId>,
    pulls: Vec<Pull>,
}

impl Shared {
    /// Does what follows from taking copies. Whether something was granted meanwhile.
    pub(crate) fn after(&self, after: After) -> bool {
        let After { dead, links, wakers, handing, returned } = after;
        returned.into_iter().for_each(|(link, pulls)| link.give_back(self, pulls));
        wakers.into_iter().for_each(Waker::wake);
        links.iter().for_each(Link::notify);
        self.bury_all(dead);
        let granted = !handing.is_empty();
        for (link, Handing { retired, pulls }) in handing {
            let ops = retired.into_iter().map(|copy| Op::Retire { copy }).collect();
            let then = move |shared: &Shared, result: std::result::Result<(), _>| {
                if result.is_ok() {
                    return link.grant(shared, pulls);
                }
                link.give_back(shared, pulls);
                link.grant(shared, Vec::new());
            };
            self.commits.submit(self, || (Vec::new(), ops), Box::new(then));
        }
        granted
    }
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
    /// Takes at most `want` copies for `link`; whether more are available to it.
    pub(crate) fn acquire(
        self: &Arc<Self>,
        shared: &Shared,
        link: &Arc<Link>,
        want: usize,
        txn: Option<TxnId>,
        out: &mut Vec<Pull>,
        after: &mut After,
    ) -> bool {
        let now = shared.now();
        let mut inner = lock(&self.inner);
        let (mut taken, mut handing) = (0, Handing::default());
        let mut dry = false;
        while taken < want {
            let Some(copy) = inner.next_for(shared, link) else {
                dry = true;
                break;
            };
            if copy.message.as_ref().is_some_and(|message| message.has_expired(now)) {
                self.retire_dead(shared, &mut inner, copy, reason(Condition::Expired), &mut after.dead);
                continue;
            }
            let stored = copy.stored.then(|| self.copy_id(copy.seq));
            let Some(pull) = self.take(shared, &mut inner, link, copy, txn, now) else { continue };
            taken += 1;
            // What is stored and asks for no answer is gone for the store before it is handed over; nothing overtakes it.
            handing.retired.extend(stored.filter(|_| !pull.held));
            if handing.retired.is_empty() { out.push(pull) } else { handing.pulls.push(pull) }
        }
        let left = inner.available();
        after.links.extend(inner.wakes(left).into_iter().filter(|other| !Arc::ptr_eq(other, link)));
        if dry && !inner.deleted {
            inner.wait(link);
        }
        after.wakers.extend(inner.freed());
        inner.report(shared);
        inner.arm(shared, self.id);
        drop(inner);
        if !handing.pulls.is_empty() {
            link.pending.fetch_add(1, std::sync::atomic::Ordering::AcqRel);
            after.handing.push((link.clone(), handing));
        }
        left > 0 && !dry
    }

    /// Makes a copy the link's.
    fn take(
        &self,
        shared: &Shared,
        inner: &mut QueueInner,
        link: &Arc<Link>,
        mut copy: Copy,
        txn: Option<TxnId>,
        now: Time,
    ) -> Option<Pull> {
        let message = copy.message.clone()?;
        let (seq, attempt, qos) = (copy.seq, copy.attempts() + 1, copy.qos.min(link.qos_max));
        let settled = qos == Qos::AtMostOnce;
        let until = link.lease().filter(|_| !settled).map(|lease| now + lease);
        let info = self.info(shared, link, &copy, attempt, until, txn);
        let state = CopyState::Available.on(CopyEvent::Acquire { txn, settled: settled && txn.is_none() });
        let (state, _) = state.expect("an available copy can be acquired");
        let held = match state {
            CopyState::Held(state) => {
                if let Some(until) = until {
                    inner.timeline.add(until, seq, Due::Lease);
                }
                copy.message = Some(message.clone());
                let (owner, lease) = (link.owner.clone(), link.lease());
                inner.held.insert(seq, Held { copy, state, attempt, owner, lease, until });
                true
            }
            _ => {
                shared.meters.hot().accepted.one();
                inner.forget(&copy);
                false
            }
        };
        Some(Pull { message, qos, seq, attempt, held, txn, info })
    }

    fn info(
        &self,
        shared: &Shared,
        link: &Link,
        copy: &Copy,
        attempt: u32,
        lease_until: Option<Time>,
        txn: Option<TxnId>,
    ) -> Option<Box<DeliveryInfo>> {
        if !link.terms.info && link.binding.is_none() {
            return None;
        }
        let mut info = DeliveryInfo::new(self.delivery_id(shared, copy.seq, attempt), copy.enqueued_at);
        info.bindings.extend(link.binding);
        info.count = copy.count();
        (info.lease_until, info.txn) = (lease_until, txn);
        Some(Box::new(info))
    }

    /// Looks at copies after the link's cursor; whether there are more.
    pub(crate) fn browse(&self, shared: &Shared, link: &Arc<Link>, want: usize, out: &mut Vec<Pull>) -> bool {
        use std::sync::atomic::Ordering;
        let now = shared.now();
        let mut inner = lock(&self.inner);
        for _ in 0..want {
            let cursor = link.cursor.load(Ordering::Relaxed);
            let aside = inner.aside.iter().find(|copy| copy.seq > cursor);
            let next = inner.lanes.after(cursor).into_iter().chain(aside).min_by_key(|copy| copy.seq);
            let Some((copy, message)) = next.and_then(|copy| Some((copy, copy.message.clone()?))) else {
                inner.wait(link);
                return false;
            };
            link.cursor.store(copy.seq, Ordering::Relaxed);
            if message.has_expired(now) {
                continue;
            }
            let (attempt, seq, qos) = (copy.attempts() + 1, copy.seq, copy.qos.min(link.qos_max));
            let info = self.info(shared, link, copy, attempt, None, None);
            out.push(Pull { message, qos, seq, attempt, held: false, txn: None, info });
        }
        true
    }

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
        let current = inner.held.get(&seq).is_some_and(|held| {
            held.attempt == fence.attempt && fence.epoch == shared.boot_epoch && held.belongs_to(asker)
        });
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
        if let Some(txn) = enlists {
            shared.txns.check(txn)?;
        }
        let first = !matches!(held.state, DeliveryState::Enlisted { .. });
        let (state, note) = run_step(held.state.clone(), step)?;
        if note == Note::Repeat {
            return Ok(Settled::Repeated);
        }
        if let (Some(txn), true) = (enlists, first) {
            shared.txns.enlist(txn, TxnWork::Held { queue: self.clone(), seq, attempt: fence.attempt, slot });
        }
        if let DeliveryState::Settled(outcome) = &state {
            let until = now + Duration::from_secs(shared.settings.tombstone_seconds);
            inner.tombstones.add(seq, fence, outcome.clone(), now, until, shared.settings.tombstones_max);
        }
        self.put_state(shared, &mut inner, seq, state, now, effects, dead);
        self.release(shared, inner);
        Ok(Settled::Applied)
    }

    /// Starts a lease anew.
    fn renew(&self, shared: &Shared, inner: &mut QueueInner, seq: u64, now: Time) -> Result<Settled> {
        let Some(held) = inner.held.get_mut(&seq) else { return Ok(Settled::Late) };
        let Some(lease) = held.lease else {
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
        let discharge = CopyEvent::Delivery(Event::Discharge { txn, commit });
        let Ok((state, _)) = held_on(held.state.clone(), discharge) else { return false };
        let ended = matches!(state, DeliveryState::Settled(_));
        self.put_state(shared, &mut inner, seq, state, now, effects, dead);
        self.release(shared, inner);
        ended
    }

    /// The outcome that a prepared transaction would give a stored copy.
    pub(crate) fn enlisted_outcome(&self, seq: u64) -> Option<Outcome> {
        let inner = lock(&self.inner);
        let held = inner.held.get(&seq).filter(|held| held.copy.stored)?;
        enlisted(&held.state)
    }

    /// Gives a waiting copy to a transaction that was prepared before a restart. Its attempt.
    pub(crate) fn hold_for(&self, seq: u64, txn: TxnId, outcome: Outcome) -> Option<u32> {
        let mut inner = lock(&self.inner);
        let copy = inner.lanes.take(seq)?;
        let attempt = copy.attempts() + 1;
        let ended = Some(Outcome::Released);
        let state = DeliveryState::Enlisted { txn, work: Work::Retire(outcome), ended };
        let owner = Owner { session: 0, session_name: None, link: None, origin: Arc::default() };
        inner.held.insert(seq, Held { copy, state, attempt, owner, lease: None, until: None });
        Some(attempt)
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

    /// Makes a delivery's new state true for its copy.
    #[expect(clippy::too_many_arguments, reason = "what one transition touches")]
    fn put_state(
        self: &Arc<Self>,
        shared: &Shared,
        inner: &mut QueueInner,
        seq: u64,
        state: DeliveryState,
        now: Time,
        effects: &mut Effects,
        dead: &mut Vec<Dead>,
    ) {
        let Some(held) = inner.held.get_mut(&seq) else { return };
        let next = settled_or_held(state.clone());
        let outcome = match state {
            DeliveryState::Settled(outcome) => outcome,
            state => {
                if let (DeliveryState::Decided(outcome), true) = (&state, held.copy.stored) {
                    let copy = self.copy_id(seq);
                    effects.ops.push(Op::Own { copy, slot: 0, outcome: outcome.clone() });
                    effects.waits = true;
                }
                held.state = state;
                return;
            }
        };
        let Some(held) = inner.held.remove(&seq) else { return };
        if let Some(until) = held.until {
            inner.timeline.remove(until, seq, Due::Lease);
        }
        debug_assert_eq!(next == CopyState::Available, !outcome.is_final(), "the copy table says what ends");
        self.end(shared, inner, held, outcome, now, effects, dead);
    }

    /// A delivery has ended in `outcome`.
    #[expect(clippy::too_many_arguments, reason = "what one outcome touches")]
    fn end(
        self: &Arc<Self>,
        shared: &Shared,
        inner: &mut QueueInner,
        held: Held,
        outcome: Outcome,
        now: Time,
        effects: &mut Effects,
        dead: &mut Vec<Dead>,
    ) {
        let Held { mut copy, attempt, owner, .. } = held;
        // A release may be lost in a crash: the copy is then delivered again all the same. A count or an end may not.
        effects.waits |= copy.stored && outcome != Outcome::Released;
        copy.extra().attempts = attempt;
        copy.extra().count += u32::from(outcome.counts());
        match outcome {
            Outcome::Accepted => {
                effects.accepted += 1;
                inner.forget(&copy);
                if copy.stored {
                    effects.ops.push(Op::Retire { copy: self.copy_id(copy.seq) });
                }
                return;
            }
            Outcome::Rejected(reason) => {
                shared.meters.rejected.one();
                return self.retire_dead(shared, inner, copy, reason, dead);
            }
            Outcome::Modified { undeliverable_here, .. } => {
                shared.meters.modified.one();
                if undeliverable_here {
                    copy.extra().excluded.push(owner.name());
                }
            }
            _ => shared.meters.released.one(),
        }
        self.give_back(shared, inner, copy, now, effects, dead);
    }

    /// Back to its place, unless it is expired, spent, or nobody may have it.
    fn give_back(
        self: &Arc<Self>,
        shared: &Shared,
        inner: &mut QueueInner,
        copy: Copy,
        now: Time,
        effects: &mut Effects,
        dead: &mut Vec<Dead>,
    ) {
        let expired = copy.message.as_ref().is_some_and(|message| message.has_expired(now));
        let spent = inner.settings.deliveries_max > 0 && copy.count() >= inner.settings.deliveries_max;
        let event = if expired {
            Some(CopyEvent::Expire)
        } else if spent {
            Some(CopyEvent::CountReached)
        } else if inner.nobody_left(&copy) {
            Some(CopyEvent::NobodyLeft)
        } else if inner.is_displaced(&copy) {
            Some(CopyEvent::Displace)
        } else {
            None
        };
        if let Some(event) = event {
            let (state, _) = CopyState::Available.on(event).expect("an available copy can end");
            let CopyState::Retired { outcome: Outcome::Rejected(reason), .. } = state else { return };
            return self.retire_dead(shared, inner, copy, reason, dead);
        }
        if copy.stored {
            let (count, attempt, excluded) = (copy.count(), copy.attempts(), copy.excluded().to_vec());
            effects.ops.push(Op::Return { copy: self.copy_id(copy.seq), count, attempt, excluded });
        }
        inner.insert_available(copy);
    }

    /// The copy has come to a bad end: a dead letter, or nothing.
    fn retire_dead(
        self: &Arc<Self>,
        shared: &Shared,
        inner: &mut QueueInner,
        copy: Copy,
        reason: Reason,
        dead: &mut Vec<Dead>,
    ) {
        inner.forget(&copy);
        let kept = inner.settings.dead_letters && reason.condition != Condition::Displaced;
        if kept {
            dead.push(Dead { queue: self.clone(), copy, reason });
            return;
        }
        match reason.condition {
            Condition::Expired => shared.meters.dropped_expired.one(),
            Condition::Displaced => shared.meters.dropped_displaced.one(),
            _ => shared.meters.dropped_attempts.one(),
        }
        if copy.stored {
            shared.retire_later(self.copy_id(copy.seq));
        }
    }

    /// Lets go of the queue, then wakes whom that concerns.
    fn release(&self, shared: &Shared, mut inner: std::sync::MutexGuard<'_, QueueInner>) {
        let left = inner.available();
        let wake = inner.wakes(left);
        let producers = inner.freed();
        inner.report(shared);
        inner.arm(shared, self.id);
        drop(inner);
        producers.into_iter().for_each(Waker::wake);
        wake.into_iter().for_each(|link| link.notify());
    }

    /// Does what is due. Whether the queue has been idle for long enough to go.
    pub(crate) fn handle_timeout(
        self: &Arc<Self>,
        shared: &Shared,
        now: Time,
        effects: &mut Effects,
        dead: &mut Vec<Dead>,
        missed: &mut Vec<roadbed_core::Message>,
    ) -> bool {
        let mut inner = lock(&self.inner);
        let mut idle = false;
        while let Some((seq, due)) = inner.timeline.pop(now) {
            match due {
                Due::Deliver => {
                    if let Some(copy) = inner.scheduled.remove(&seq) {
                        let due = CopyState::Scheduled.on(CopyEvent::Due);
                        debug_assert_eq!(due, Ok((CopyState::Available, Note::Moved)));
                        inner.insert_available(copy);
                    }
                }
                Due::Expire => {
                    let at = inner.aside.iter().position(|copy| copy.seq == seq);
                    let found = inner.lanes.take(seq).or_else(|| inner.scheduled.remove(&seq));
                    if let Some(copy) = found.or_else(|| at.and_then(|at| inner.aside.remove(at))) {
                        self.retire_dead(shared, &mut inner, copy, reason(Condition::Expired), dead);
                    }
                }
                Due::Lease => self.end_lease(shared, &mut inner, seq, now, effects, dead),
                Due::Deadline => missed.extend(inner.missed(seq)),
                Due::Idle => idle = inner.links.is_empty(),
            }
        }
        inner.armed = Time::MAX;
        self.release(shared, inner);
        idle
    }

    fn end_lease(
        self: &Arc<Self>,
        shared: &Shared,
        inner: &mut QueueInner,
        seq: u64,
        now: Time,
        effects: &mut Effects,
        dead: &mut Vec<Dead>,
    ) {
        let Some(held) = inner.held.get(&seq) else { return };
        if held.until.is_none_or(|until| !until.has_passed(now)) {
            return;
        }
        let Ok((state, Note::Moved)) = held_on(held.state.clone(), CopyEvent::LeaseEnds) else { return };
        shared.meters.leases_lapsed.one();
        self.put_state(shared, inner, seq, state, now, effects, dead);
    }
}

impl Held {
    fn belongs_to(&self, asker: &Asker) -> bool {
        if self.owner.session == asker.session {
            return true;
        }
        let same_principal = self.owner.origin.principal == asker.principal;
        let same_session = self.owner.session_name.is_some() && self.owner.session_name == asker.session_name;
        same_principal && (self.lease.is_some() || same_session)
    }
}

impl super::Owner {
    /// What `undeliverable_here` excludes: the durable name of the link, or as a makeshift its session.
    pub(crate) fn name(&self) -> ByteString {
        self.link.clone().unwrap_or_else(|| format!("session {}", self.session).into())
    }
}

impl QueueInner {
    /// The next copy that `link` may have.
    fn next_for(&mut self, shared: &Shared, link: &Link) -> Option<Copy> {
        if !self.aside.is_empty() {
            let name = link.owner.name();
            let scan = shared.settings.queue_excluded_scan_max;
            let at = self.aside.iter().take(scan).position(|copy| !copy.excluded().contains(&name));
            if let Some(at) = at {
                return self.aside.remove(at);
            }
        }
        self.lanes.pop()
    }

    /// The copy is not in the queue any more.
    fn forget(&mut self, copy: &Copy) {
        let Some(message) = &copy.message else { return };
        self.bytes -= message.cost();
        if let Some(at) = message.expires_at() {
            self.timeline.remove(at, copy.seq, Due::Expire);
        }
        if let Some(at) = message.details().deadline {
            self.timeline.remove(at, copy.seq, Due::Deadline);
        }
        if let Some(key) = self.key(message).filter(|key| self.by_key.get(key) == Some(&copy.seq)) {
            self.by_key.remove(&key);
        }
    }

    /// Whether a newer copy of the same key has come while this one was held.
    fn is_displaced(&self, copy: &Copy) -> bool {
        let key = copy.message.as_ref().and_then(|message| self.key(message));
        key.is_some_and(|key| self.by_key.get(&key).is_some_and(|newest| *newest != copy.seq))
    }

    /// Whether consumers are attached, and none of them may have this copy.
    fn nobody_left(&self, copy: &Copy) -> bool {
        let excluded = copy.excluded();
        let takes = |link: &&Arc<Link>| link.terms.mode == roadbed_core::Mode::Move && !link.has_ended();
        !excluded.is_empty() && self.links.iter().filter(takes).all(|link| excluded.contains(&link.owner.name()))
    }

    /// Producers that wait for room, if there is some.
    fn freed(&mut self) -> Vec<Waker> {
        let room = self.total() + self.reserved.0 < self.settings.messages_max && self.bytes < self.settings.bytes_max;
        if room { std::mem::take(&mut self.producers) } else { Vec::new() }
    }

    /// The message whose deadline has passed, unless it is settled.
    fn missed(&self, seq: u64) -> Option<roadbed_core::Message> {
        if let Some(held) = self.held.get(&seq) {
            return held.copy.message.clone();
        }
        let scheduled = self.scheduled.get(&seq);
        let aside = self.aside.iter().find(|copy| copy.seq == seq);
        let before = seq.saturating_sub(1);
        let lane = self.lanes.after(before).filter(|copy| copy.seq == seq);
        scheduled.or(aside).or(lane).and_then(|copy| copy.message.clone())
    }
}
