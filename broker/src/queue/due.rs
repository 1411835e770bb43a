//! What becomes due in a queue by itself.

use std::sync::Arc;

use roadbed_core::{Condition, CopyId, Message, Note, Time};

use super::timeline::Due;
use super::{Copy, Dead, Queue, QueueInner, reason};
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
        missed: &mut Vec<Missed>,
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
                        let gone = self.retire_dead(shared, &mut inner, copy, reason(Condition::Expired), dead);
                        gone.into_iter().for_each(|gone| shared.retire_later(gone));
                    }
                }
                Due::Lease => self.end_lease(shared, &mut inner, seq, now, effects, dead),
                Due::Deadline => missed.extend(self.missed(&inner, seq)),
                Due::Forget => self.forget_settled(shared, &mut inner, now, effects),
                Due::Read => inner.paged.resting = false,
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

    /// The message whose deadline has passed, unless it is settled.
    fn missed(&self, inner: &QueueInner, seq: u64) -> Option<Missed> {
        let missed = |copy: &Copy| copy.message.clone().map_or(Missed::Away(self.copy_id(seq)), Missed::Here);
        if let Some(held) = inner.held.get(&seq) {
            return Some(missed(&held.copy));
        }
        let scheduled = inner.scheduled.get(&seq);
        let aside = inner.aside.iter().find(|copy| copy.seq == seq);
        scheduled.or(aside).or(inner.lanes.get(seq)).map(missed)
    }
}

/// A message whose deadline has passed.
#[derive(Debug)]
pub(crate) enum Missed {
    Here(Message),
    /// Only the store has it.
    Away(CopyId),
}
