//! What of a queue only the store has, and how it comes back.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};
use std::task::Waker;

use roadbed_core::{CopyId, History, Mode, Overflow, Time};

use super::lanes::{Copy, Look};
use super::{Link, Pull, Queue, QueueInner};
use crate::broker::Shared;
use crate::entry::Extra;
use crate::lock;
use crate::paged::REST;
use crate::store::{Facts, ListedCopy, NewCopy, StoredCopy};
use crate::wakers;

/// Messages that are to be read back for a queue, or only to be looked at by one link.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) queue: Arc<Queue>,
    pub(super) seqs: Vec<u64>,
    pub(super) looking: Option<Arc<Link>>,
}

impl Reading {
    /// Asks the store.
    pub(super) fn start(self, shared: &Shared) {
        let Self { queue, seqs, looking } = self;
        let copies: Vec<CopyId> = seqs.iter().map(|seq| queue.copy_id(*seq)).collect();
        let then = move |shared: &Shared, found: Result<Vec<StoredCopy>, _>| match (found, looking) {
            (Ok(found), Some(link)) => queue.looked(shared, &link, &seqs, found),
            (Ok(found), None) => queue.read(shared, &seqs, found),
            // What cannot be read stays where it is, and nobody goes past it: the store has said why.
            (Err(_), looking) => {
                queue.read_failed(shared);
                looking.into_iter().for_each(|link| link.grant(shared, Vec::new()));
            }
        };
        shared.commits.read(shared, copies, Box::new(then));
    }
}

impl Queue {
    /// Messages have come back.
    fn read(&self, shared: &Shared, seqs: &[u64], found: Vec<StoredCopy>) {
        let mut inner = lock(&self.inner);
        inner.fill(seqs, found);
        self.read_ended(shared, inner);
    }

    fn read_ended(&self, shared: &Shared, mut inner: MutexGuard<'_, QueueInner>) {
        inner.paged.reading = false;
        inner.readings += 1;
        let draining = std::mem::take(&mut inner.draining);
        self.release(shared, inner);
        draining.into_iter().for_each(Waker::wake);
    }

    /// It is tried again after a while.
    fn read_failed(&self, shared: &Shared) {
        let mut inner = lock(&self.inner);
        inner.paged.rest();
        inner.timeline.add_read(shared.now() + REST);
        inner.arm(shared, self.id);
        let draining = std::mem::take(&mut inner.draining);
        drop(inner);
        draining.into_iter().for_each(Waker::wake);
    }

    /// Messages have come that one link only looks at.
    fn looked(&self, shared: &Shared, link: &Arc<Link>, seqs: &[u64], found: Vec<StoredCopy>) {
        let inner = lock(&self.inner);
        let there = |found: &StoredCopy| inner.has_waiting(found.copy.copy.seq);
        let as_here = |found| {
            let mut copy = restored(found);
            if let Some(message) = copy.message.take() {
                copy.fill(message, inner.settings.ttl_max);
            }
            self.look(shared, link, &copy)
        };
        let pulls: Vec<Pull> = found.into_iter().filter(there).map(as_here).collect();
        drop(inner);
        if let Some(last) = seqs.last() {
            link.cursor.fetch_max(*last, Ordering::Relaxed);
        }
        link.grant(shared, pulls.into_iter().filter(|pull| !pull.message.has_expired(shared.now())).collect());
    }

    /// A copy as it is shown to who only looks.
    pub(super) fn look(&self, shared: &Shared, link: &Link, copy: &Copy) -> Pull {
        let (attempt, seq, qos) = (copy.attempts() + 1, copy.seq, copy.qos.min(link.qos_max));
        let info = self.info(shared, link, copy, attempt, None, None);
        let message = copy.message.clone().expect("what is looked at is here");
        Pull { message, qos, seq, attempt, held: false, txn: None, info }
    }

    /// Puts back a copy that the store has kept over a restart, without its message.
    pub(crate) fn restore_away(&self, shared: &Shared, listed: &ListedCopy, now: Time) {
        let mut inner = lock(&self.inner);
        let ListedCopy { copy: NewCopy { copy, qos, .. }, mut facts, at, count, attempt, excluded, .. } =
            listed.clone();
        inner.next_seq = inner.next_seq.max(copy.seq);
        inner.bytes += facts.cost as usize;
        inner.paged.add(facts.cost as usize);
        facts.expires_at = inner.expiry(facts.expires_at, at);
        let plain = attempt == 0 && count == 0 && excluded.is_empty() && inner.is_plain(&facts);
        if plain {
            let lane = inner.lane(facts.priority);
            inner.lanes.insert_away(lane, copy.seq, facts.cost);
        } else {
            let extra = extra(attempt, count, excluded);
            let Facts { cost, priority, .. } = facts;
            let copy = Copy { message: None, extra, seq: copy.seq, enqueued_at: at, cost, priority, qos, stored: true };
            inner.make_due(&facts, copy.seq, now);
            inner.insert(copy, facts.deliver_after, now);
        }
        inner.report(shared);
        inner.arm(shared, self.id);
    }

    /// Whether messages are on their way back from the store; if so, `waker` is woken when they have come, whoever is to have them.
    pub(crate) fn is_reading(&self, waker: &Waker) -> bool {
        let mut inner = lock(&self.inner);
        if inner.paged.reading {
            wakers::join(&mut inner.draining, waker);
        }
        inner.paged.reading
    }

    /// How often messages have come back from the store.
    pub(crate) fn readings(&self) -> u64 {
        lock(&self.inner).readings
    }

    /// Whether the messages of its copies are to be read when the broker starts: it must know their keys.
    pub(crate) fn is_keyed(&self) -> bool {
        lock(&self.inner).settings.history == History::LastByKey
    }
}

impl QueueInner {
    /// How many bytes it has in memory.
    pub(super) fn here(&self) -> usize {
        self.bytes.saturating_sub(self.paged.bytes)
    }

    /// Whether a stored copy that comes now is left to the store.
    pub(super) fn leaves(&self, shared: &Shared, cost: usize) -> bool {
        let here = self.here() + cost;
        // Consumers that keep up take it before long.
        let taken_soon = !self.parks(shared) && here <= shared.head_bytes();
        !taken_soon && self.waiting.is_empty() && (self.lanes.ends_away() || shared.is_crowded(here))
    }

    /// Whether nothing need be known of a message while it waits but its position.
    pub(super) fn is_plain(&self, facts: &Facts) -> bool {
        let due = facts.expires_at.or(facts.deliver_after).or(facts.deadline);
        due.is_none() && self.settings.history == History::All && self.settings.overflow != Overflow::DropOldest
    }

    /// The lane of a priority.
    pub(super) fn lane(&self, priority: u8) -> u8 {
        if self.settings.priorities { priority } else { roadbed_core::Message::PRIORITY_DEFAULT }
    }

    /// Begins to read, if what comes next is only in the store, or soon will be.
    pub(super) fn read_ahead(&mut self, shared: &Shared, queue: &Arc<Queue>, now: bool) -> Option<Reading> {
        let bytes = shared.settings.read_ahead_bytes;
        if !self.paged.is_due(now, self.here(), bytes) {
            return None;
        }
        let mut seqs: Vec<u64> = self.aside.iter().filter(|copy| copy.is_away()).take(1).map(|copy| copy.seq).collect();
        seqs.extend(self.lanes.wanted(bytes));
        self.paged.reading = !seqs.is_empty();
        self.paged.reading.then(|| Reading { queue: queue.clone(), seqs, looking: None })
    }

    /// What a link looks at next, if only the store has it.
    pub(super) fn read_behind(
        &self,
        shared: &Shared,
        queue: &Arc<Queue>,
        link: &Arc<Link>,
        want: usize,
    ) -> Option<Reading> {
        debug_assert_eq!(link.terms.mode, Mode::Browse, "who takes waits for its turn");
        if self.paged.resting {
            return None;
        }
        let (mut seqs, mut bytes) = (Vec::new(), 0);
        let mut cursor = link.cursor.load(Ordering::Relaxed);
        while let Some(Look::Away(seq, cost)) = self.look_after(cursor) {
            if seqs.len() >= want || bytes > shared.settings.read_ahead_bytes as u64 {
                break;
            }
            seqs.push(seq);
            (cursor, bytes) = (seq, bytes + cost);
        }
        (!seqs.is_empty()).then(|| Reading { queue: queue.clone(), seqs, looking: Some(link.clone()) })
    }

    /// The oldest available copy after `cursor`.
    pub(super) fn look_after(&self, cursor: u64) -> Option<Look<'_>> {
        let aside = self.aside.iter().find(|copy| copy.seq > cursor).map(|copy| match copy.is_away() {
            true => Look::Away(copy.seq, copy.cost.into()),
            false => Look::Copy(copy),
        });
        self.lanes.after(cursor).into_iter().chain(aside).min_by_key(Look::seq)
    }

    fn has_waiting(&self, seq: u64) -> bool {
        self.lanes.has(seq) || self.aside.iter().any(|copy| copy.seq == seq)
    }

    fn fill(&mut self, seqs: &[u64], found: Vec<StoredCopy>) {
        let ttl_max = self.settings.ttl_max;
        let mut copies: Vec<Copy> = found.into_iter().map(restored).collect();
        if let Some(at) = seqs.first().and_then(|seq| self.aside.iter().position(|copy| copy.seq == *seq)) {
            let copy = &mut self.aside[at];
            self.paged.sub(1, copy.cost());
            match copies.first().is_some_and(|found| found.seq == copy.seq).then(|| copies.remove(0).message).flatten()
            {
                Some(message) => copy.fill(message, ttl_max),
                None => self.bytes -= self.aside.remove(at).map_or(0, |copy| copy.cost()),
            }
        }
        let filled = self.lanes.fill(seqs, copies, ttl_max);
        self.paged.sub(filled.messages, filled.away_bytes);
        self.bytes = (self.bytes + filled.here_bytes).saturating_sub(filled.away_bytes);
    }

    /// The copy does not count any more.
    pub(super) fn uncount(&mut self, copy: &Copy) {
        self.bytes -= copy.cost();
        if copy.is_away() {
            self.paged.sub(1, copy.cost());
        }
    }
}

/// A copy as the store has kept it.
pub(crate) fn restored(kept: StoredCopy) -> Copy {
    let StoredCopy { copy: NewCopy { copy, qos, .. }, message, at, count, attempt, excluded, .. } = kept;
    let Facts { cost, priority, .. } = Facts::of(&message);
    let extra = extra(attempt, count, excluded);
    Copy { message: Some(message), extra, seq: copy.seq, enqueued_at: at, cost, priority, qos, stored: true }
}

fn extra(attempts: u32, count: u32, excluded: Vec<bytestring::ByteString>) -> Option<Box<Extra>> {
    let plain = attempts == 0 && count == 0 && excluded.is_empty();
    (!plain).then(|| Box::new(Extra { attempts, count, excluded, ..Extra::default() }))
}
