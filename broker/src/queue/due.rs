//! What becomes due in a queue by itself.

use std::sync::Arc;

use roadbed_core::{Condition, Message, Note, Time};

use super::timeline::Due;
use super::{Dead, Queue, QueueInner, reason};
use crate::broker::Shared;
use crate::copy::{CopyEvent, CopyState, held_on};
use crate::lock;
use crate::mailbox::Effects;

impl Queue {
    /// Does what is due. Whether the queue has been idle for long enough to go.
    pub(crate) fn handle_timeout(
        self: &Arc<Self>,
        shared: &Shared,
        now: Time,
        effects: &mut Effects,
        dead: &mut Vec<Dead>,
        missed: &mut Vec<Message>,
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
                Due::Forget => self.forget_settled(shared, &mut inner, now, effects),
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

impl QueueInner {
    /// The message whose deadline has passed, unless it is settled.
    fn missed(&self, seq: u64) -> Option<Message> {
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
