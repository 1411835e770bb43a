//! Taking copies out of a queue, and looking at them.

use std::sync::Arc;
use std::task::Waker;

use roadbed_core::{Condition, CopyId, DeliveryInfo, Message, Qos, Time, TxnId};

use super::lanes::{Front, Look};
use super::page::Reading;
use super::timeline::Due;
use super::{Copy, Dead, Held, Link, Pull, Queue, QueueInner, reason};
use crate::broker::Shared;
use crate::copy::{CopyEvent, CopyState};
use crate::lock;
use crate::store::Op;
use crate::txn::TxnWork;

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
    /// What was taken for transactions that have ended meanwhile.
    pub(crate) orphans: Vec<(TxnId, TxnWork)>,
    readings: Vec<Reading>,
}

/// Copies that are handed over when the store knows what becomes of some of them: gone, or held for whoever remembers over our restart.
#[derive(Debug, Default)]
struct Handing {
    ops: Vec<Op>,
    pulls: Vec<Pull>,
}

impl Shared {
    /// Does what follows from taking copies. Whether something may have been granted or read meanwhile.
    pub(crate) fn after(&self, after: After) -> bool {
        let After { dead, links, wakers, handing, returned, orphans, readings } = after;
        orphans.into_iter().for_each(|(txn, work)| self.orphaned(txn, &work));
        returned.into_iter().for_each(|(link, pulls)| link.give_back(self, pulls));
        wakers.into_iter().for_each(Waker::wake);
        links.iter().for_each(Link::notify);
        self.bury_all(dead);
        let granted = !handing.is_empty() || !readings.is_empty();
        for (link, Handing { ops, pulls }) in handing {
            let then = move |shared: &Shared, result: std::result::Result<(), _>| {
                if result.is_ok() {
                    return link.grant(shared, pulls);
                }
                link.give_back(shared, pulls);
                link.grant(shared, Vec::new());
            };
            self.commits.submit(self, || (Vec::new(), ops), Box::new(then));
        }
        readings.into_iter().for_each(|reading| reading.start(self));
        granted
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
        let (mut dry, mut away) = (false, false);
        out.reserve(want.min(inner.available()));
        while taken < want {
            let copy = match inner.next_for(shared, link) {
                Front::Copy(copy) => copy,
                front => {
                    (dry, away) = (true, matches!(front, Front::Away));
                    break;
                }
            };
            if copy.message.as_ref().is_some_and(|message| message.has_expired(now)) {
                let gone = self.retire_dead(shared, &mut inner, copy, reason(Condition::Expired), &mut after.dead);
                gone.into_iter().for_each(|gone| shared.retire_later(gone));
                continue;
            }
            let stored = copy.stored.then(|| self.copy_id(copy.seq));
            let Some(pull) = self.take(shared, &mut inner, link, copy, txn, now) else { continue };
            taken += 1;
            // The store is told before they are handed over; nothing overtakes them.
            handing.ops.extend(stored.and_then(|copy| told(copy, &pull, link)));
            if handing.ops.is_empty() { out.push(pull) } else { handing.pulls.push(pull) }
        }
        inner.untaken = if taken > 0 || dry { 0 } else { inner.untaken };
        after.readings.extend(inner.read_ahead(shared, self, away));
        // Nobody finds anything before the store has answered.
        let left = if away { 0 } else { inner.available() };
        after.links.extend(inner.wakes(left).into_iter().filter(|other| !Arc::ptr_eq(other, link)));
        if dry && !inner.deleted {
            inner.wait(link);
        }
        after.wakers.extend(inner.freed(shared));
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
                let (epoch, owner) = (shared.boot_epoch, link.owner.clone());
                inner.held.insert(seq, Held { copy, state, attempt, epoch, owner, until });
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

    pub(super) fn info(
        &self,
        shared: &Shared,
        link: &Link,
        copy: &Copy,
        attempt: u32,
        lease_until: Option<Time>,
        txn: Option<TxnId>,
    ) -> Option<Box<DeliveryInfo>> {
        // Whoever follows the queue by a filter has to be told what it was, where the message does not say.
        let came_by_binding = |message: &Message| message.address() != self.address();
        let foreign = link.spends_session_credit() && copy.message.as_ref().is_some_and(came_by_binding);
        let plain = copy.extra.is_none() && txn.is_none() && link.binding.is_none() && !foreign;
        if !link.terms.info && plain {
            return None;
        }
        let mut info = DeliveryInfo::new(self.delivery_id(shared, copy.seq, attempt), copy.enqueued_at);
        info.bindings.extend(link.binding);
        info.count = copy.count();
        (info.lease_until, info.txn) = (lease_until, txn);
        info.node = foreign.then(|| self.address().clone());
        Some(Box::new(info))
    }

    /// Looks at copies after the link's cursor; whether there are more.
    pub(crate) fn browse(
        self: &Arc<Self>,
        shared: &Shared,
        link: &Arc<Link>,
        want: usize,
        out: &mut Vec<Pull>,
        after: &mut After,
    ) -> bool {
        use std::sync::atomic::Ordering;
        let now = shared.now();
        let mut inner = lock(&self.inner);
        for _ in 0..want {
            match inner.look_after(link.cursor.load(Ordering::Relaxed)) {
                Some(Look::Copy(copy)) => {
                    link.cursor.store(copy.seq, Ordering::Relaxed);
                    if copy.message.as_ref().is_some_and(|message| !message.has_expired(now)) {
                        out.push(self.look(shared, link, copy));
                    }
                }
                // Its turn comes when what was seen before it is handed over.
                Some(Look::Away(..)) if !out.is_empty() => return true,
                Some(Look::Away(..)) => {
                    match inner.read_behind(shared, self, link, want) {
                        Some(reading) => {
                            link.pending.fetch_add(1, Ordering::AcqRel);
                            after.readings.push(reading);
                        }
                        None => inner.wait(link),
                    }
                    return false;
                }
                None => {
                    inner.wait(link);
                    return false;
                }
            }
        }
        true
    }
}

/// What the store is told of a stored copy that is taken: what asks for no answer is gone, what its receiver remembers is held.
fn told(copy: CopyId, pull: &Pull, link: &Link) -> Option<Op> {
    if !pull.held {
        return Some(Op::Retire { copy });
    }
    let holder = link.holder.as_deref().cloned()?;
    Some(Op::Hold { copy, attempt: pull.attempt, slot: 0, holder: Some(holder) })
}

impl QueueInner {
    /// The next copy that `link` may have.
    fn next_for(&mut self, shared: &Shared, link: &Link) -> Front {
        if !self.aside.is_empty() {
            let name = link.owner.name();
            let scan = shared.settings.queue_excluded_scan_max;
            let at = self.aside.iter().take(scan).position(|copy| !copy.excluded().contains(&name));
            match at {
                Some(at) if self.aside[at].is_away() => return Front::Away,
                Some(at) => return self.aside.remove(at).map_or(Front::Nothing, Front::Copy),
                None => {}
            }
        }
        self.lanes.pop()
    }
}
