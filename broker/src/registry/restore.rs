//! Starting with what the store has kept.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytestring::ByteString;
use hashbrown::{HashMap, HashSet};
use roadbed_core::{
    ConsumerTerms, CopyId, Error, ErrorKind, Fence, Hold, Origin, Outcome, Qos, QueueId, Result, Settle, Time,
};

use crate::broker::Shared;
use crate::inflight::{Body, Slot};
use crate::keys::Row as KeyRow;
use crate::lock;
use crate::mailbox::{Life, SessionCore, entry_of};
use crate::queue::{Link, Owner, Queue, restored};
use crate::store::{
    Holder, ListedCopy, NewCopy, Op, Prepared, QueueRow, Recovery, Row, RowKey, SessionRow, StoreError, StoredCopy,
    StoredHold,
};

/// How often the broker has started on this store, and up to where it has perhaps given positions.
pub(crate) fn numbers_of(recovery: &Recovery) -> (u32, u64) {
    let mut numbers = recovery.rows.iter().filter_map(|(_, row)| match row {
        Row::Broker { epoch, positions } => Some((*epoch, *positions)),
        _ => None,
    });
    numbers.next().unwrap_or_default()
}

impl Shared {
    /// Takes over everything that was kept.
    pub(crate) fn restore(self: &Arc<Self>, recovery: Recovery) -> Result<()> {
        // The first that the store is told is the number of this start.
        self.commits.flush(self);
        let now = self.now();
        let (mut keys, mut settled, mut over) = (Vec::new(), Vec::new(), Vec::new());
        let (mut checkpoints, mut epochs, mut wills) = (Vec::new(), Vec::new(), Vec::new());
        let (queues, rows): (Vec<_>, Vec<_>) =
            recovery.rows.into_iter().partition(|(_, row)| matches!(row, Row::Queue(_)));
        // No number of theirs is given again; and queues are there before sessions that compete for them, which would make them anew.
        recovery.queues.iter().for_each(|queue| self.skip_queue_ids(*queue));
        queues.iter().chain(&rows).for_each(|(_, row)| self.skip_numbers(row));
        for (key, row) in queues.into_iter().chain(rows) {
            if row.is_over(now) {
                over.push(Op::Delete(key));
                continue;
            }
            match (key, row) {
                (RowKey::Session(principal, name), Row::Session(row)) => self.restore_session(principal, name, row),
                (RowKey::Queue(address), Row::Queue(row)) => self.restore_queue(address, row),
                (RowKey::Retained(_), Row::Retained(message, qos)) => self.retained.set(self, &message, qos, true),
                (RowKey::Tombstone(delivery), Row::Tombstone { outcome, until }) => {
                    settled.push((until, delivery, outcome));
                }
                (RowKey::Log(address), Row::Log(row)) => self.restore_log(address, row),
                (RowKey::Checkpoint(partition, group), Row::Checkpoint(position)) => {
                    checkpoints.push((partition, group, position));
                }
                (RowKey::GroupEpoch(partition, group), Row::GroupEpoch(epoch)) => {
                    epochs.push((partition, group, epoch));
                }
                (key @ RowKey::Will(..), Row::Will(principal, will)) => wills.push((key, principal, will)),
                (key, Row::Key { outcome, order, until }) => keys.push((key, outcome, order, until)),
                _ => {}
            }
        }
        self.restore_groups(checkpoints, epochs);
        // What is forgotten first is remembered first.
        keys.sort_by_key(|(_, _, _, until)| *until);
        settled.sort_by_key(|(until, ..)| *until);
        for (until, delivery, outcome) in settled {
            match self.registry.queue(delivery.copy.queue) {
                Some(queue) => queue.restore_settled(self, delivery, outcome, until),
                None => over.push(Op::Delete(RowKey::Tombstone(delivery))),
            }
        }
        for (key, outcome, order, until) in keys {
            let row = KeyRow { order, stored: true, outcome: Some(outcome) };
            match key {
                RowKey::SessionKey(principal, name, key) => {
                    let session = self.registry.lock().named.get(&principal, &name).cloned();
                    match session {
                        Some(session) => lock(&session.keys).get_or_insert_default().put(&key, row),
                        None => over.push(Op::Delete(RowKey::SessionKey(principal, name, key))),
                    }
                }
                RowKey::Name(principal, name) => self.remember(principal, &name, row, until.unwrap_or(now)),
                _ => {}
            }
        }
        let sessions: HashMap<_, _> =
            self.registry.lock().named.iter().map(|session| (session.queue_id(self), session.clone())).collect();
        let retires =
            |(_, prepared): &(_, Prepared)| prepared.retires.iter().map(|(copy, _)| *copy).collect::<Vec<_>>();
        let pinned: HashSet<CopyId> = recovery.prepared.iter().flat_map(retires).collect();
        let mut held = Vec::new();
        for queue in recovery.queues {
            if self.registry.queue(queue).is_none() && !sessions.contains_key(&queue) {
                // Its row is gone, and with it whom they were for.
                over.push(Op::RetireQueue { queue });
                continue;
            }
            self.restore_copies(&sessions, &pinned, queue, &mut held).map_err(|error| failed(&error))?;
        }
        held.into_iter().for_each(|(copy, attempt, hold)| self.restore_hold(copy, attempt, hold));
        self.restore_watchers();
        if !over.is_empty() {
            self.commits.submit_unawaited(self, over);
        }
        recovery.prepared.into_iter().for_each(|(gid, prepared)| self.restore_prepared(gid, prepared));
        // The connections of these have ended with us.
        for (key, principal, will) in wills {
            self.send_will(&origin_of(principal), &will, Some(Op::Delete(key)));
        }
        Ok(())
    }

    fn skip_numbers(&self, row: &Row) {
        match row {
            Row::Session(row) => self.skip_queue_ids(row.queue),
            Row::Queue(row) => self.skip_queue_ids(row.queue),
            Row::Log(row) => row.partitions.iter().for_each(|id| self.skip_queue_ids(*id)),
            _ => {}
        }
    }

    fn restore_session(&self, principal: ByteString, name: ByteString, row: SessionRow) {
        let now = self.now();
        let origin = origin_of(principal);
        let id = self.next_session_id();
        let session = Arc::new(SessionCore::new(id, Some(name), origin, u16::MAX, self.positions.first()));
        session.set_queue_id(row.queue);
        let gone_at = row.disconnected_at.unwrap_or(now);
        {
            let mut inner = lock(&session.inner);
            inner.connected = false;
            inner.durable = Some(row.queue);
            inner.set_expiry(row.expiry);
            let will_at = row.will.as_ref().map(|will| gone_at + will.delay.min(row.expiry));
            let cold = inner.cold();
            cold.will = row.will;
            cold.life = Some(Life { linger_until: gone_at, will_at, expires_at: gone_at + row.expiry });
        }
        {
            let mut tables = self.registry.lock();
            tables.all.insert(id, session.clone());
            tables.named.insert(&session);
        }
        self.meters.sessions.one();
        for binding in row.bindings {
            // What was granted before is granted again, unless the settings have become tighter.
            let _ = self.bind_session(&session, &binding);
        }
        self.timers.set(crate::timers::Timer::Session(id), now);
    }

    fn restore_queue(&self, address: roadbed_core::Address, row: QueueRow) {
        let queue = Arc::new(Queue::new(row.queue, address, row.settings, self.positions.first()));
        self.add_queue(&mut self.registry.lock(), &queue);
        for binding in &row.bindings {
            let _ = self.bind_queue(&queue, binding);
        }
    }

    fn restore_copies(
        &self,
        sessions: &HashMap<QueueId, Arc<SessionCore>>,
        pinned: &HashSet<CopyId>,
        queue: QueueId,
        held: &mut Vec<(CopyId, u32, StoredHold)>,
    ) -> Result<(), StoreError> {
        let known = self.registry.queue(queue);
        let keyed = known.is_some_and(|queue| queue.is_keyed());
        let needs_message = |listed: &ListedCopy| keyed || listed.held.is_some() || pinned.contains(&listed.copy.copy);
        let mut after = 0;
        loop {
            let listed = self.commits.list(queue, after, LIST_MAX)?;
            let Some(last) = listed.last() else { return Ok(()) };
            after = last.copy.copy.seq;
            held.extend(listed.iter().filter_map(held_over_restart));
            let names: Vec<_> =
                listed.iter().filter(|listed| needs_message(listed)).map(|listed| listed.copy.copy).collect();
            let mut found = self.commits.fetch(&names)?.into_iter().peekable();
            for listed in listed {
                match found.next_if(|found| found.copy == listed.copy) {
                    Some(found) => {
                        let leaves = listed.held.is_none() && !pinned.contains(&listed.copy.copy);
                        self.restore_copy(sessions, found, leaves);
                    }
                    None => self.restore_away(sessions, &listed),
                }
            }
        }
    }

    /// Puts a copy back, with its message; `leaves`: that is left to the store again.
    fn restore_copy(&self, sessions: &HashMap<QueueId, Arc<SessionCore>>, kept: StoredCopy, leaves: bool) {
        let CopyId { queue, seq } = kept.copy.copy;
        if let Some(queue) = self.registry.queue(queue) {
            queue.restore(self, restored(kept), self.now());
            if leaves {
                queue.leave(self, seq);
            }
        } else if let Some(session) = sessions.get(&queue) {
            restore_mail(self, session, kept);
        }
    }

    /// Puts a copy back of which the message is left to the store.
    fn restore_away(&self, sessions: &HashMap<QueueId, Arc<SessionCore>>, listed: &ListedCopy) {
        let CopyId { queue, seq } = listed.copy.copy;
        if let Some(queue) = self.registry.queue(queue) {
            queue.restore_away(self, listed, self.now());
        } else if let Some(session) = sessions.get(&queue) {
            let mut inner = lock(&session.inner);
            inner.next_seq = inner.next_seq.max(seq);
            inner.bytes += listed.facts.cost as usize;
            inner.ring.push_away(seq, listed.facts.cost);
            inner.report(self);
        }
    }

    /// A copy of a queue is held again by whom the store says.
    fn restore_hold(&self, copy: CopyId, attempt: u32, hold: StoredHold) {
        let StoredHold { holder, outcome, .. } = hold;
        let Some(queue) = self.registry.queue(copy.queue) else { return };
        match holder {
            Some(Holder::Link { principal, session, link }) => {
                let session = self.registry.lock().named.get(&principal, &session).cloned();
                if let Some(session) = session {
                    self.restore_link(&queue, &session, link, (copy.seq, attempt), outcome);
                }
            }
            Some(Holder::Lease { principal, link, epoch, lease }) => {
                let lease = lease.min(Duration::from_secs(self.settings.lease_seconds_max));
                let origin = origin_of(principal);
                let owner = Owner {
                    session: 0,
                    session_name: None,
                    link,
                    origin,
                    lease: Some(lease),
                    on_lapse: Outcome::FAILED,
                };
                queue.hold_again(self, Arc::new(owner), copy.seq, Fence { epoch, attempt }, outcome);
            }
            None => {}
        }
    }

    /// A link of a kept session holds a copy of a queue; it is attached again sooner or later, or its session expires.
    fn restore_link(
        &self,
        queue: &Arc<Queue>,
        session: &Arc<SessionCore>,
        link: ByteString,
        (seq, attempt): (u64, u32),
        outcome: Option<Outcome>,
    ) {
        let terms = ConsumerTerms {
            name: Some(link),
            hold: Hold::Session,
            settle: Settle::Second,
            ..ConsumerTerms::queue(queue.address().clone())
        };
        let link = Arc::new(Link::new(queue.clone(), session, terms, None));
        link.ended.store(true, Ordering::Release);
        let fence = Fence { epoch: self.boot_epoch, attempt };
        if queue.hold_again(self, link.owner.clone(), seq, fence, outcome) {
            let body = Body::Pulled { link, seq };
            lock(&session.inner).slab.insert(u16::MAX, attempt, body);
        }
    }

    /// Competing consumers find their queues again.
    fn restore_watchers(&self) {
        let watchers = self.registry.lock().watchers.clone();
        for watcher in watchers {
            if let Some(session) = watcher.session.upgrade() {
                let binding = roadbed_core::Binding {
                    id: watcher.binding,
                    ..roadbed_core::Binding::new(watcher.filter.clone(), watcher.qos_max)
                };
                let _ = self.watch(&session, &binding);
            }
        }
    }
}

fn origin_of(principal: ByteString) -> Arc<Origin> {
    Arc::new(Origin { principal, protocol: "" })
}

/// How many copies are looked at at a time.
const LIST_MAX: usize = 1024;

fn failed(error: &StoreError) -> Error {
    Error::new(ErrorKind::Failed, "open the store").because(error.clone())
}

impl Row {
    /// Whether its time ended while nobody looked.
    fn is_over(&self, now: Time) -> bool {
        match self {
            Self::Key { until, .. } => until.is_some_and(|until| until.has_passed(now)),
            Self::Tombstone { until, .. } => until.has_passed(now),
            Self::Retained(message, _) => message.has_expired(now),
            _ => false,
        }
    }
}

fn held_over_restart(kept: &ListedCopy) -> Option<(CopyId, u32, StoredHold)> {
    let hold = kept.held.clone().filter(|hold| hold.holder.is_some())?;
    Some((kept.copy.copy, kept.attempt, hold))
}

fn restore_mail(shared: &Shared, session: &SessionCore, kept: StoredCopy) {
    let (NewCopy { copy, qos, .. }, attempt, held) = (kept.copy.clone(), kept.attempt, kept.held.clone());
    let mut inner = lock(&session.inner);
    inner.next_seq = inner.next_seq.max(copy.seq);
    let entry = entry_of(kept, false);
    match held {
        Some(StoredHold { slot, outcome: Some(_), .. }) if slot > 0 => {
            let (order, body) = (copy.seq, Body::Decided { seq: entry.seq, stored: true });
            inner.slab.restore(slot, Slot { order, attempt: attempt.max(1), body });
        }
        Some(StoredHold { slot, outcome: None, .. }) if slot > 0 && qos == Qos::ExactlyOnce => {
            inner.bytes += entry.message.cost();
            let body = Body::Mail(entry);
            inner.slab.restore(slot, Slot { order: copy.seq, attempt: attempt.max(1), body });
        }
        _ => {
            inner.bytes += entry.message.cost();
            inner.put_back(entry);
        }
    }
    inner.report(shared);
}
