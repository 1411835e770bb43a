//! How a delivery ends, and what becomes of its copy.

use std::sync::{Arc, MutexGuard};
use std::task::Waker;

use bytestring::ByteString;
use roadbed_core::{Condition, CopyId, DeliveryState, Outcome, Reason, Time, TxnId};

use super::timeline::Due;
use super::{Copy, Dead, Held, Link, Owner, Queue, QueueInner};
use crate::broker::Shared;
use crate::commit::Foretold;
use crate::copy::{CopyEvent, CopyState, settled_or_held};
use crate::lock;
use crate::mailbox::Effects;
use crate::store::Op;

impl Queue {
    /// Makes a delivery's new state true for its copy.
    #[expect(clippy::too_many_arguments, reason = "what one transition touches")]
    pub(super) fn put_state(
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
        // A release may be lost in a crash: the copy is then delivered again all the same. A count or an end may not, nor the release of a lease, which would
        // come back and end as a failure.
        effects.waits |= copy.stored && (outcome != Outcome::Released || owner.lease.is_some());
        if outcome == Outcome::Accepted {
            effects.accepted += 1;
            inner.forget(&copy);
            if copy.stored {
                effects.ops.push(Op::Retire { copy: self.copy_id(copy.seq) });
            }
            return;
        }
        match outcome {
            Outcome::Rejected(_) => shared.meters.rejected.one(),
            Outcome::Modified { .. } => shared.meters.modified.one(),
            _ => shared.meters.released.one(),
        }
        if let Some(reason) = inner.bad_end(&mut copy, attempt, &owner, outcome, now) {
            // Whoever is told of it is told when it is stored.
            let gone = self.retire_dead(shared, inner, copy, reason, dead);
            return effects.ops.extend(gone.map(|copy| Op::Retire { copy }));
        }
        effects.ops.extend(copy.stored.then(|| self.return_op(&copy)));
        inner.insert_available(copy);
    }

    fn return_op(&self, copy: &Copy) -> Op {
        let (count, attempt, excluded) = (copy.count(), copy.attempts(), copy.excluded().to_vec());
        Op::Return { copy: self.copy_id(copy.seq), count, attempt, excluded }
    }

    /// The copy has come to a bad end: a dead letter, or nothing, of which the store is to be told.
    #[must_use]
    pub(super) fn retire_dead(
        self: &Arc<Self>,
        shared: &Shared,
        inner: &mut QueueInner,
        copy: Copy,
        reason: Reason,
        dead: &mut Vec<Dead>,
    ) -> Option<CopyId> {
        inner.forget(&copy);
        if inner.buries(&reason) {
            dead.push(Dead { queue: self.clone(), copy, reason });
            return None;
        }
        match reason.condition {
            Condition::Expired => shared.meters.dropped_expired.one(),
            Condition::Displaced => shared.meters.dropped_displaced.one(),
            _ => shared.meters.dropped_attempts.one(),
        }
        copy.stored.then(|| self.copy_id(copy.seq))
    }

    /// What the store is told of the end of a held copy's part in a transaction that commits. Nothing is done yet: the copy is pinned until the store has
    /// answered.
    pub(crate) fn foretell(self: &Arc<Self>, shared: &Shared, seq: u64, attempt: u32, txn: TxnId) -> Foretold {
        let (now, inner, mut foretold) = (shared.now(), lock(&self.inner), Foretold::default());
        let held = inner.held.get(&seq).filter(|held| held.attempt == attempt && held.copy.stored);
        let Some(held) = held.filter(|held| !held.copy.is_away()) else { return foretold };
        let copy = self.copy_id(seq);
        let outcome = match held.discharged(txn, true) {
            Some(DeliveryState::Settled(outcome)) => outcome,
            Some(DeliveryState::Decided(outcome)) => {
                foretold.ops.push(Op::Own { copy, slot: 0, outcome });
                return foretold;
            }
            _ => return foretold,
        };
        foretold.ops.extend(self.tombstone_op(shared, held, &outcome, now));
        if outcome == Outcome::Accepted {
            foretold.ops.push(Op::Retire { copy });
            return foretold;
        }
        let mut ended = held.copy.clone();
        let Some(reason) = inner.bad_end(&mut ended, attempt, &held.owner, outcome, now) else {
            foretold.ops.push(self.return_op(&ended));
            return foretold;
        };
        foretold.is_end = true;
        if inner.buries(&reason) {
            foretold.dead = Some(Dead { queue: self.clone(), copy: ended, reason });
        } else {
            foretold.ops.push(Op::Retire { copy });
        }
        foretold
    }

    /// Ends a held copy whose bad end the store knows already, with its dead letter if there is one.
    pub(crate) fn end_as_foretold(
        self: &Arc<Self>,
        shared: &Shared,
        seq: u64,
        attempt: u32,
        txn: TxnId,
        effects: &mut Effects,
    ) {
        let now = shared.now();
        let mut inner = lock(&self.inner);
        let Some(held) = inner.held.get(&seq).filter(|held| held.attempt == attempt) else { return };
        let Some(DeliveryState::Settled(outcome)) = held.discharged(txn, true) else { return };
        match outcome {
            Outcome::Rejected(_) => shared.meters.rejected.one(),
            Outcome::Modified { .. } => shared.meters.modified.one(),
            _ => shared.meters.released.one(),
        }
        self.remember(shared, &mut inner, seq, &DeliveryState::Settled(outcome), now, effects);
        let Some(held) = inner.held.remove(&seq) else { return };
        if let Some(until) = held.until {
            inner.timeline.remove(until, seq, Due::Lease);
        }
        inner.forget(&held.copy);
        self.release(shared, inner);
    }

    /// Lets go of the queue, then wakes whom that concerns.
    pub(super) fn release(&self, shared: &Shared, mut inner: MutexGuard<'_, QueueInner>) {
        let left = inner.available();
        let wake = inner.wakes(left);
        let producers = inner.freed(shared);
        inner.report(shared);
        inner.arm(shared, self.id);
        drop(inner);
        producers.into_iter().for_each(Waker::wake);
        wake.into_iter().for_each(|link| link.notify());
    }
}

impl QueueInner {
    /// Counts the attempt that has ended in `outcome`, which is not Accepted. Why the copy comes to a bad end: it is rejected, expired or spent, or nobody may
    /// have it; if not, it goes back to its place.
    fn bad_end(&self, copy: &mut Copy, attempt: u32, owner: &Owner, outcome: Outcome, now: Time) -> Option<Reason> {
        copy.extra().attempts = attempt;
        copy.extra().count += u32::from(outcome.counts());
        match outcome {
            Outcome::Rejected(reason) => return Some(reason),
            Outcome::Modified { undeliverable_here: true, .. } => copy.extra().excluded.push(owner.name()),
            _ => {}
        }
        let expired = copy.message.as_ref().is_some_and(|message| message.has_expired(now));
        let spent = self.settings.deliveries_max > 0 && copy.count() >= self.settings.deliveries_max;
        let event = if expired {
            CopyEvent::Expire
        } else if spent {
            CopyEvent::CountReached
        } else if self.nobody_left(copy) {
            CopyEvent::NobodyLeft
        } else if self.is_displaced(copy) {
            CopyEvent::Displace
        } else {
            return None;
        };
        let (state, _) = CopyState::Available.on(event).expect("an available copy can end");
        let CopyState::Retired { outcome: Outcome::Rejected(reason), .. } = state else { return None };
        Some(reason)
    }

    /// Whether what comes to such an end becomes a dead letter.
    fn buries(&self, reason: &Reason) -> bool {
        self.settings.dead_letters && reason.condition != Condition::Displaced
    }

    /// The copy is not in the queue any more.
    pub(super) fn forget(&mut self, copy: &Copy) {
        self.uncount(copy);
        let Some(message) = &copy.message else {
            // What it is due for finds nothing any more.
            return self.forget_key(copy.extra.as_ref().and_then(|extra| extra.key.clone()), copy.seq);
        };
        if let Some(at) = message.expires_at() {
            self.timeline.remove(at, copy.seq, Due::Expire);
        }
        if let Some(at) = message.details().deadline {
            self.timeline.remove(at, copy.seq, Due::Deadline);
        }
        self.forget_key(self.key(message), copy.seq);
    }

    fn forget_key(&mut self, key: Option<ByteString>, seq: u64) {
        if let Some(key) = key.filter(|key| self.by_key.get(key) == Some(&seq)) {
            self.by_key.remove(&key);
        }
    }

    /// Whether a newer copy of the same key has come while this one was held.
    fn is_displaced(&self, copy: &Copy) -> bool {
        let known = copy.extra.as_ref().and_then(|extra| extra.key.clone());
        let key = copy.message.as_ref().map_or(known, |message| self.key(message));
        key.is_some_and(|key| self.by_key.get(&key).is_some_and(|newest| *newest != copy.seq))
    }

    /// Whether consumers are attached, and none of them may have this copy.
    fn nobody_left(&self, copy: &Copy) -> bool {
        let excluded = copy.excluded();
        let takes = |link: &&Arc<Link>| link.terms.mode == roadbed_core::Mode::Move && !link.has_ended();
        !excluded.is_empty() && self.links.iter().filter(takes).all(|link| excluded.contains(&link.owner.name()))
    }

    /// Producers that wait for room, if there is some.
    pub(super) fn freed(&mut self, shared: &Shared) -> Vec<Waker> {
        let room = self.total() + self.reserved.0 < self.settings.messages_max
            && self.bytes < self.settings.bytes_max
            && self.here() < shared.settings.queue_memory_bytes_max;
        if room { std::mem::take(&mut self.producers) } else { Vec::new() }
    }
}
