//! Putting copies into a queue.

use std::sync::Arc;
use std::task::{Context, Poll};

use roadbed_core::{Condition, Durability, History, Message, Outgoing, Overflow, Qos, Time};

use super::lanes::clamped;
use super::timeline::Due;
use super::{Copy, Queue, QueueInner};
use crate::broker::Shared;
use crate::entry::Extra;
use crate::lock;
use crate::mailbox::Parked;
use crate::store::Facts;
use crate::wakers;

/// A copy on its way in.
struct Incoming {
    message: Message,
    qos: Qos,
    /// The position that was taken for it, if any.
    seq: Option<u64>,
    /// The store knows it by its position.
    stored: bool,
}

impl Queue {
    /// Puts a run of messages into the queue, and writes into `refused` which it does not take, and why.
    pub(crate) fn put_run(
        self: &Arc<Self>,
        shared: &Shared,
        qos_max: Qos,
        run: &[Outgoing],
        parked: &mut Parked,
        refused: &mut Vec<(usize, Condition)>,
    ) {
        let now = shared.now();
        let mut inner = lock(&self.inner);
        let before = inner.available();
        let parks = inner.parks(shared);
        inner.untaken = inner.untaken.saturating_add(run.len());
        for (n, outgoing) in run.iter().enumerate() {
            if let Err(condition) = inner.admits(shared, &outgoing.message, now) {
                refused.push((n, condition));
                continue;
            }
            let message = match parks {
                true => parked.message(shared, &outgoing.message, n),
                false => outgoing.message.clone(),
            };
            let incoming = Incoming { message, qos: outgoing.qos.min(qos_max), seq: None, stored: false };
            self.put_in(shared, &mut inner, incoming, now);
        }
        self.publish(shared, inner, before);
    }

    /// Reserves room for messages, for how many of them there is room: one at least; the copies come with [`put_all`](Self::put_all).
    /// Says whether the queue is durable, too.
    pub(crate) fn reserve(&self, shared: &Shared, messages: &[Message]) -> Result<(usize, bool), Condition> {
        let now = shared.now();
        let mut inner = lock(&self.inner);
        for (n, message) in messages.iter().enumerate() {
            match inner.admits(shared, message, now) {
                Ok(()) => {}
                Err(condition) if n == 0 => return Err(condition),
                Err(_) => return Ok((n, inner.settings.durable)),
            }
            inner.reserved.0 += 1;
            inner.reserved.1 += message.cost();
        }
        Ok((messages.len(), inner.settings.durable))
    }

    /// Gives reserved room back.
    pub(crate) fn unreserve(&self, messages: &[Message]) {
        let mut inner = lock(&self.inner);
        messages.iter().for_each(|message| inner.unreserve(message));
    }

    /// The next position, for a copy that the store is told of first, or that waits behind such a one.
    pub(crate) fn take_seq(&self, shared: &Shared) -> u64 {
        self.take_seqs(shared, 1)
    }

    /// The first of the next `count` positions.
    pub(crate) fn take_seqs(&self, shared: &Shared, count: u64) -> u64 {
        let mut inner = lock(&self.inner);
        let first = inner.next_seq + 1;
        inner.next_seq += count;
        shared.positions.given(inner.next_seq);
        first
    }

    /// Puts a copy in, at a position that was taken for it or not, into room that was reserved for it or not.
    pub(crate) fn put(
        self: &Arc<Self>,
        shared: &Shared,
        message: &Message,
        qos: Qos,
        (seq, stored): (Option<u64>, bool),
        reserved: bool,
    ) {
        self.put_all(shared, std::iter::once((message, seq)), qos, stored, reserved);
    }

    /// Puts copies in, each at a position that was taken for it or not, into room that was reserved for them or not.
    pub(crate) fn put_all<'a>(
        self: &Arc<Self>,
        shared: &Shared,
        messages: impl Iterator<Item = (&'a Message, Option<u64>)>,
        qos: Qos,
        stored: bool,
        reserved: bool,
    ) {
        let now = shared.now();
        let mut inner = lock(&self.inner);
        let before = inner.available();
        for (message, seq) in messages {
            if reserved {
                inner.unreserve(message);
            }
            let stays = !stored || !inner.leaves(shared, message.cost());
            let message = if stays && inner.waiting.is_empty() && message.pins() {
                shared.meters.payloads_detached.one();
                message.detach()
            } else {
                message.clone()
            };
            self.put_in(shared, &mut inner, Incoming { message, qos, seq, stored }, now);
        }
        self.publish(shared, inner, before);
    }

    /// Whether a live message would be handed over at once; if not, why.
    pub(crate) fn live(&self) -> Result<(), Condition> {
        let inner = lock(&self.inner);
        if inner.links.is_empty() {
            return Err(Condition::NoConsumer);
        }
        if inner.waiting.is_empty() { Err(Condition::Busy) } else { Ok(()) }
    }

    /// Asks for room; `Pending` while a queue that pushes back is full.
    pub(crate) fn poll_room(&self, shared: &Shared, cx: &mut Context<'_>, messages: u32, bytes: usize) -> Poll<u32> {
        let mut inner = lock(&self.inner);
        if inner.settings.overflow != Overflow::PushBack || inner.deleted {
            return Poll::Ready(messages.max(1));
        }
        let (used, used_bytes) = (inner.total() + inner.reserved.0, inner.bytes + inner.reserved.1);
        let room = inner.settings.messages_max.saturating_sub(used);
        let fits = inner.settings.bytes_max.saturating_sub(used_bytes) >= bytes || inner.bytes == 0;
        if room == 0 || !fits || inner.here() >= shared.settings.queue_memory_bytes_max {
            wakers::join(&mut inner.producers, cx.waker());
            return Poll::Pending;
        }
        Poll::Ready(messages.clamp(1, u32::try_from(room).unwrap_or(u32::MAX)))
    }

    fn put_in(self: &Arc<Self>, shared: &Shared, inner: &mut QueueInner, incoming: Incoming, now: Time) {
        let Incoming { message, qos, seq, stored } = incoming;
        let message = clamped(message, now, inner.settings.ttl_max);
        let seq = seq.unwrap_or_else(|| {
            inner.next_seq += 1;
            shared.positions.given(inner.next_seq);
            inner.next_seq
        });
        let facts = Facts::of(&message);
        let away = stored && inner.leaves(shared, facts.cost as usize);
        inner.bytes += facts.cost as usize;
        shared.meters.hot().copies_in.one();
        inner.make_due(&facts, seq, now);
        let key = inner.key(&message);
        if let Some(key) = key.clone() {
            let replaced = inner.by_key.insert(key, seq);
            inner.displace(shared, self, replaced);
        }
        let Facts { cost, priority, deliver_after, .. } = facts;
        let (mut extra, mut here) = (None, Some(message));
        if away {
            inner.paged.add(cost as usize);
            here = None;
            extra = key.map(|key| Box::new(Extra { key: Some(key), ..Extra::default() }));
        }
        if away && inner.is_plain(&facts) {
            let lane = inner.lane(priority);
            inner.lanes.insert_away(lane, seq, cost);
        } else {
            let copy = Copy { message: here, extra, seq, enqueued_at: now, cost, priority, qos, stored };
            inner.insert(copy, deliver_after, now);
        }
        inner.trim(shared, self);
    }

    /// Lets go of the queue, then wakes whom that concerns.
    fn publish(&self, shared: &Shared, mut inner: std::sync::MutexGuard<'_, QueueInner>, before: usize) {
        let fresh = inner.available().saturating_sub(before);
        let wake = inner.wakes(fresh);
        inner.report(shared);
        inner.arm(shared, self.id);
        drop(inner);
        wake.into_iter().for_each(|link| link.notify());
    }

    /// Puts back a copy that the store has kept over a restart.
    pub(crate) fn restore(&self, shared: &Shared, mut copy: Copy, now: Time) {
        let mut inner = lock(&self.inner);
        inner.next_seq = inner.next_seq.max(copy.seq);
        inner.bytes += copy.cost();
        let Some(message) = copy.message.take() else { return };
        let message = clamped(message, copy.enqueued_at, inner.settings.ttl_max);
        let facts = Facts::of(&message);
        inner.make_due(&facts, copy.seq, now);
        if let Some(key) = inner.key(&message) {
            inner.by_key.insert(key, copy.seq);
        }
        copy.message = Some(message);
        inner.insert(copy, facts.deliver_after, now);
        inner.report(shared);
        inner.arm(shared, self.id);
    }

    /// Leaves the message of a copy that was just put back to the store.
    pub(crate) fn leave(&self, shared: &Shared, seq: u64) {
        let mut inner = lock(&self.inner);
        if let Some(mut copy) = inner.lanes.take(seq) {
            let message = copy.message.take();
            copy.extra().key = message.and_then(|message| inner.key(&message));
            inner.paged.add(copy.cost());
            inner.insert_available(copy);
        }
        inner.report(shared);
    }
}

impl QueueInner {
    /// Whether there is room, or can be made, for a message that this queue may take.
    fn admits(&self, shared: &Shared, message: &Message, now: Time) -> Result<(), Condition> {
        if self.deleted {
            return Err(Condition::NotFound);
        }
        if message.durability() == Durability::Stored && !self.settings.durable {
            return Err(Condition::PreconditionFailed);
        }
        if message.has_expired(now) {
            return Err(Condition::Expired);
        }
        let cost = message.cost();
        let fits = self.total() + self.reserved.0 < self.settings.messages_max
            && self.bytes + self.reserved.1 + cost <= self.settings.bytes_max
            && self.here() + self.reserved.1 + cost <= shared.settings.queue_memory_bytes_max;
        let makes_room = self.can_drop() && self.available() > 0;
        if !fits && !makes_room {
            return Err(Condition::Full);
        }
        if shared.meters.bytes.load() as usize > shared.settings.bytes_max {
            return Err(Condition::Full);
        }
        Ok(())
    }

    /// Whether older messages make room for newer ones.
    fn can_drop(&self) -> bool {
        self.settings.overflow == Overflow::DropOldest || self.settings.history != History::All
    }

    /// Whether what comes now will wait, so that it must not pin the buffer that it was read into: unless somebody waits for it, or takes what there is, and
    /// little is left.
    pub(super) fn parks(&self, shared: &Shared) -> bool {
        let few = self.available().max(self.untaken) < shared.settings.parked_messages_min;
        self.waiting.is_empty() && (self.links.is_empty() || !few)
    }

    fn unreserve(&mut self, message: &Message) {
        self.reserved.0 -= 1;
        self.reserved.1 -= message.cost();
    }

    pub(super) fn insert_available(&mut self, copy: Copy) {
        if !copy.excluded().is_empty() {
            let at = self.aside.partition_point(|waiting| waiting.seq < copy.seq);
            return self.aside.insert(at, copy);
        }
        self.lanes.insert(self.lane(copy.priority), copy);
    }

    /// Puts a copy among those that are available, or that wait for their time.
    pub(super) fn insert(&mut self, copy: Copy, deliver_after: Option<Time>, now: Time) {
        match deliver_after {
            Some(at) if !at.has_passed(now) => {
                self.scheduled.insert(copy.seq, copy);
            }
            _ => self.insert_available(copy),
        }
    }

    /// When a message expires in this queue.
    pub(super) fn expiry(&self, expires_at: Option<Time>, enqueued_at: Time) -> Option<Time> {
        let latest = self.settings.ttl_max.map(|ttl| enqueued_at + ttl);
        expires_at.into_iter().chain(latest).min()
    }

    pub(super) fn make_due(&mut self, facts: &Facts, seq: u64, now: Time) {
        if let Some(at) = facts.expires_at {
            self.timeline.add(at, seq, Due::Expire);
        }
        if let Some(at) = facts.deliver_after.filter(|at| !at.has_passed(now)) {
            self.timeline.add(at, seq, Due::Deliver);
        }
        if let Some(at) = facts.deadline {
            self.timeline.add(at, seq, Due::Deadline);
        }
    }

    /// What the message is conflated by.
    pub(super) fn key(&self, message: &Message) -> Option<bytestring::ByteString> {
        (self.settings.history == History::LastByKey)
            .then(|| message.details().group.as_ref().unwrap_or(message.address().name()))
            .map(|key| String::from(&**key).into())
    }

    fn displace(&mut self, shared: &Shared, queue: &Queue, seq: Option<u64>) {
        let Some(seq) = seq else { return };
        let gone = self.lanes.take(seq).or_else(|| self.scheduled.remove(&seq));
        self.drop_copy(shared, queue, gone.as_ref(), &shared.meters.dropped_displaced);
    }

    /// Makes room: by the history, then by the overflow policy. A queue that refuses when it is full drops nothing for what it was owed beyond its bounds.
    fn trim(&mut self, shared: &Shared, queue: &Queue) {
        if let History::Last(keep) = self.settings.history {
            while self.available() > keep {
                let gone = self.pop_oldest();
                if !self.drop_copy(shared, queue, gone.as_ref(), &shared.meters.dropped_displaced) {
                    break;
                }
            }
        }
        let memory_max = shared.settings.queue_memory_bytes_max;
        if !self.can_drop() {
            return;
        }
        while self.total() > self.settings.messages_max
            || self.bytes > self.settings.bytes_max
            || self.here() > memory_max
        {
            let gone = self.pop_oldest();
            if !self.drop_copy(shared, queue, gone.as_ref(), &shared.meters.dropped_full) {
                break;
            }
        }
    }

    fn pop_oldest(&mut self) -> Option<Copy> {
        self.aside.pop_front().or_else(|| self.lanes.pop_oldest())
    }

    fn drop_copy(
        &mut self,
        shared: &Shared,
        queue: &Queue,
        gone: Option<&Copy>,
        meter: &crate::counters::Meter,
    ) -> bool {
        let Some(gone) = gone else { return false };
        self.uncount(gone);
        meter.one();
        if gone.stored {
            shared.retire_later(queue.copy_id(gone.seq));
        }
        true
    }
}
