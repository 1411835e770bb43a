//! Remembering how deliveries were settled, for who settles them again.

use std::time::Duration;

use roadbed_core::{DeliveryId, DeliveryState, Fence, Outcome, Time};

use super::tombstones::Tombstone;
use super::{Held, Queue, QueueInner};
use crate::broker::Shared;
use crate::lock;
use crate::mailbox::Effects;
use crate::store::{Op, Row, RowKey};

impl Queue {
    /// Remembers how the delivery that is held was settled, if it is; in the store, too, if its owner is known by the delivery's name alone.
    pub(super) fn remember(
        &self,
        shared: &Shared,
        inner: &mut QueueInner,
        seq: u64,
        state: &DeliveryState,
        now: Time,
        effects: &mut Effects,
    ) {
        let (DeliveryState::Settled(outcome), Some(held)) = (state, inner.held.get(&seq)) else { return };
        let until = tombstone_until(shared, now);
        let (fence, op) = (held.fence(), self.tombstone_op(shared, held, outcome, now));
        let tombstone = Tombstone { until, outcome: outcome.clone(), stored: op.is_some() };
        inner.tombstones.add(seq, fence, tombstone, shared.settings.tombstones_max);
        if let Some(op) = op {
            effects.ops.push(op);
            inner.timeline.add_forget(until);
        }
        self.forget_settled(shared, inner, now, effects);
    }

    /// What the store is told of how a delivery was settled.
    pub(super) fn tombstone_op(&self, shared: &Shared, held: &Held, outcome: &Outcome, now: Time) -> Option<Op> {
        let stored = held.copy.stored && held.owner.lease.is_some() && shared.settings.tombstones_max > 0;
        let row = || Row::Tombstone { outcome: outcome.clone(), until: tombstone_until(shared, now) };
        stored.then(|| Op::Put(self.tombstone_key(held.copy.seq, held.fence()), row()))
    }

    /// Forgets what was settled long ago.
    pub(super) fn forget_settled(&self, shared: &Shared, inner: &mut QueueInner, now: Time, effects: &mut Effects) {
        let mut gone = Vec::new();
        inner.tombstones.forget_old(now, shared.settings.tombstones_max, &mut gone);
        effects.ops.extend(gone.into_iter().map(|(seq, fence)| Op::Delete(self.tombstone_key(seq, fence))));
    }

    /// Forgets everything that was settled; what the store is told of it.
    pub(crate) fn forget_all_settled(&self) -> Vec<Op> {
        let mut gone = Vec::new();
        lock(&self.inner).tombstones.forget_old(Time::MAX, 0, &mut gone);
        gone.into_iter().map(|(seq, fence)| Op::Delete(self.tombstone_key(seq, fence))).collect()
    }

    /// Remembers what was settled before a restart.
    pub(crate) fn restore_settled(&self, shared: &Shared, delivery: DeliveryId, outcome: Outcome, until: Time) {
        let mut inner = lock(&self.inner);
        let tombstone = Tombstone { until, outcome, stored: true };
        inner.tombstones.add(delivery.copy.seq, delivery.fence, tombstone, shared.settings.tombstones_max);
        inner.timeline.add_forget(until);
        inner.arm(shared, self.id);
    }

    fn tombstone_key(&self, seq: u64, fence: Fence) -> RowKey {
        RowKey::Tombstone(DeliveryId { copy: self.copy_id(seq), fence })
    }
}

fn tombstone_until(shared: &Shared, now: Time) -> Time {
    now + Duration::from_secs(shared.settings.tombstone_seconds)
}
