//! How sessions begin, lose their connection, come back and end.

use std::sync::Arc;
use std::time::Duration;

use roadbed_core::{Close, Origin, Outcome, Qos, Time, Will};

use crate::broker::Shared;
use crate::entry::Entry;
use crate::inflight::Body;
use crate::lock;
use crate::mailbox::{Bound, Cold, Effects, Inner, Life, SessionCore};
use crate::router::{Group, Target};
use crate::store::{Op, Row, RowKey, SessionRow};
use crate::timers::Timer;

impl Shared {
    /// Another connection takes the session over: the older one counts no more. What is due for it, its will above all, is
    /// done as if its connection were lost.
    pub(crate) fn take_over(&self, session: &Arc<SessionCore>, resume: bool) -> u32 {
        let mut inner = lock(&session.inner);
        let epoch = session.next_epoch(&mut inner);
        let was_connected = inner.connected;
        inner.attached = false;
        let wakers = (inner.waker.take(), inner.event_waker.take());
        let idle = inner.idle_links();
        let cold = inner.cold();
        // The older connection sees by its epoch that it is taken over; whatever was to be told to it is not the new one's.
        cold.events.clear();
        session.behind.restart();
        let due = cold.will.take_if(|will| !resume || will.delay.is_zero());
        cold.will = None;
        cold.life = None;
        let due = due.filter(|_| was_connected || !resume);
        let stored = due.as_ref().and_then(|_| self.forget_will(session, cold));
        drop(inner);
        self.timers.cancel(Timer::Session(session.id));
        if was_connected {
            self.meters.sessions_taken_over.one();
        }
        for waker in [wakers.0, wakers.1].into_iter().flatten() {
            waker.wake();
        }
        idle.iter().for_each(|link| link.queue().pass_on(link));
        if let Some(will) = due {
            self.send_will(&session.origin, &will, stored);
        }
        epoch
    }

    /// The connection of a session is gone, in good order or not.
    pub(crate) fn disconnect(&self, session: &Arc<SessionCore>, epoch: u32, close: Option<Close>) {
        let now = self.now();
        let mut inner = lock(&session.inner);
        if session.epoch() != epoch || inner.ended {
            return;
        }
        session.next_epoch(&mut inner);
        inner.attached = false;
        inner.waker = None;
        inner.event_waker = None;
        let idle = inner.idle_links();
        let orderly = close.is_some_and(|close| !close.will);
        if let Some(expiry) = close.and_then(|close| close.expiry) {
            inner.set_expiry(expiry.min(Duration::from_secs(self.settings.session_expiry_seconds_max)));
        }
        let linger = inner.cold.as_ref().map_or(Duration::ZERO, |cold| cold.linger);
        let linger = if close.is_some() { Duration::ZERO } else { linger };
        let (gone_at, expiry) = (now + linger, inner.expiry());
        let will_at = match inner.cold.as_mut().and_then(|cold| cold.will.as_ref()) {
            Some(_) if orderly => None,
            Some(will) => Some(gone_at + will.delay.min(expiry)),
            None => None,
        };
        if will_at.is_none()
            && let Some(cold) = &mut inner.cold
        {
            cold.will = None;
        }
        let life = Life { linger_until: gone_at, will_at, expires_at: gone_at + expiry };
        inner.cold().life = Some(life);
        drop(inner);
        idle.iter().for_each(|link| link.queue().pass_on(link));
        self.keep_session(session, Some(now));
        self.handle_session(session, now);
    }

    /// Does what is due for a session without a connection.
    pub(crate) fn handle_session(&self, session: &Arc<SessionCore>, now: Time) {
        let mut inner = lock(&session.inner);
        let Some(mut life) = inner.cold.as_ref().and_then(|cold| cold.life) else { return };
        if inner.connected && life.linger_until.has_passed(now) {
            inner.connected = false;
            self.meters.sessions_connected.sub(1);
            if !self.settings.session_at_most_once_offline {
                inner.drop_at_most_once(self);
            }
        }
        let mut will = None;
        if life.will_at.is_some_and(|at| at.has_passed(now)) {
            let cold = inner.cold();
            will = cold.will.take().map(|will| (will, self.forget_will(session, cold)));
            life.will_at = None;
        }
        let ends = life.expires_at.has_passed(now);
        inner.cold().life = Some(life);
        let kept = inner.expiry() > Duration::ZERO;
        let linger = inner.connected.then_some(life.linger_until);
        drop(inner);
        if let Some((will, stored)) = will {
            self.send_will(&session.origin, &will, stored.or_else(|| self.session_op(session, Some(now))));
        }
        if ends {
            self.meters.sessions_expired.add(u64::from(kept));
            return self.end_session(session);
        }
        let next = [linger, life.will_at, Some(life.expires_at)].into_iter().flatten().min();
        if let Some(next) = next {
            self.timers.set(Timer::Session(session.id), next);
        }
    }

    /// The session is no more: what it holds lapses, what it shares moves on, what it was to get is gone.
    pub(crate) fn end_session(&self, session: &Arc<SessionCore>) {
        let mut effects = Effects::default();
        let mut inner = lock(&session.inner);
        if inner.ended {
            return;
        }
        inner.ended = true;
        session.next_epoch(&mut inner);
        if std::mem::take(&mut inner.connected) {
            self.meters.sessions_connected.sub(1);
        }
        let bindings = std::mem::take(&mut inner.bindings);
        let pulled = inner.take_pulled(None);
        let orphans = inner.take_all(self);
        let mut cold = inner.cold.take().unwrap_or_default();
        inner.report(self);
        let will = cold.will.take().filter(|_| cold.life.is_some_and(|life| life.will_at.is_some()));
        let stored = self.forget_will(session, &mut cold);
        let durable = inner.durable.take();
        drop(inner);
        let keys = lock(&session.keys).take();
        self.timers.cancel(Timer::Session(session.id));
        bindings.iter().for_each(|bound| self.unroute_session(session, bound));
        {
            let mut tables = self.registry.lock();
            tables.all.remove(&session.id);
            tables.watchers.retain(|watcher| watcher.id != session.id);
            tables.named.remove(session);
        }
        self.meters.sessions.sub(1);
        let mut dead = Vec::new();
        // A lease is the principal's, not the session's: it goes on until its deadline, or until it is settled by id.
        for (link, seq, attempt, _) in pulled.into_iter().filter(|(link, ..)| link.lease().is_none()) {
            let outcome =
                if link.terms.settle == roadbed_core::Settle::Second { Outcome::FAILED } else { link.on_lapse() };
            link.queue().lapse(self, seq, attempt, outcome, &mut effects, &mut dead);
        }
        cold.links.iter().for_each(|link| self.detach_link(link));
        for (group, entry) in orphans {
            group.hand_on(self, entry);
        }
        match will {
            Some(will) => self.send_will(&session.origin, &will, stored),
            None => effects.ops.extend(stored),
        }
        self.finish(effects, dead);
        if let (Some(queue), Some(name)) = (durable, &session.name) {
            let principal = &session.origin.principal;
            let key = |key| Op::Delete(RowKey::SessionKey(principal.clone(), name.clone(), key));
            // A session of the same name must not take what its peer sends for what this one's has sent.
            let mut ops: Vec<Op> = keys.iter().flat_map(|keys| keys.stored()).map(key).collect();
            ops.extend([Op::RetireQueue { queue }, Op::Delete(RowKey::Session(principal.clone(), name.clone()))]);
            self.commits.submit_unawaited(self, ops);
        }
        self.commits.flush(self);
    }

    /// Takes one binding of a session out of the router.
    pub(crate) fn unroute_session(&self, session: &Arc<SessionCore>, bound: &Bound) {
        let binding = bound.binding();
        let router = self.router_of(&binding.filter);
        if bound.competes {
            self.unwatch(session, &binding.filter);
        } else if let Some(share) = &binding.share {
            router.leave(share, &binding.filter, session.id);
            self.meters.bindings_shared.sub(1);
        } else {
            let own = |target: &Target| matches!(target, Target::Session(to) if Arc::ptr_eq(&to.session, session));
            router.unbind(&binding.filter, own);
        }
        self.meters.bindings.sub(1);
    }

    /// Sends a will; that it is sent is in the store together with it.
    pub(crate) fn send_will(&self, origin: &Arc<Origin>, will: &Will, sent: Option<Op>) {
        self.meters.wills_sent.one();
        let mut message = will.message.clone();
        if message.origin().is_none() {
            message = message.to_builder().origin(origin.clone()).build();
        }
        if let Some(ttl) = will.ttl {
            message = message.to_builder().expires_at(self.now() + ttl).build();
        }
        self.publish_with(&message, will.qos, sent);
    }

    /// Tells the store of the will of a session that ends with its connection, if the message is one to be stored: so that it is sent although we do not
    /// see the end of the connection.
    pub(crate) fn will_op(&self, session: &SessionCore) -> Option<Op> {
        let mut inner = lock(&session.inner);
        let cold = inner.cold.as_mut()?;
        let will = cold.will.clone().filter(|will| self.is_stored(&will.message, will.qos))?;
        cold.will_stored = true;
        let row = Row::Will(session.origin.principal.clone(), will);
        Some(Op::Put(RowKey::Will(self.boot_epoch, session.id), row))
    }

    /// The store is to forget the will, if it has it.
    fn forget_will(&self, session: &SessionCore, cold: &mut Cold) -> Option<Op> {
        let stored = std::mem::take(&mut cold.will_stored);
        stored.then(|| Op::Delete(RowKey::Will(self.boot_epoch, session.id)))
    }

    /// Tells the store of a session that outlives us.
    pub(crate) fn keep_session(&self, session: &SessionCore, disconnected_at: Option<Time>) {
        if let Some(op) = self.session_op(session, disconnected_at) {
            self.commits.submit_unawaited(self, vec![op]);
        }
    }

    pub(crate) fn session_op(&self, session: &SessionCore, disconnected_at: Option<Time>) -> Option<Op> {
        let inner = lock(&session.inner);
        let (queue, name) = (inner.durable?, session.name.clone()?);
        let row = SessionRow {
            queue,
            bindings: inner.bindings.iter().map(Bound::binding).collect(),
            expiry: inner.expiry(),
            disconnected_at,
            will: inner.cold.as_ref().and_then(|cold| cold.will.clone()),
        };
        Some(Op::Put(RowKey::Session(session.origin.principal.clone(), name), Row::Session(row)))
    }
}

impl Inner {
    /// At-most-once copies do not wait for a session that is not connected.
    fn drop_at_most_once(&mut self, shared: &Shared) {
        let mut freed = 0;
        let before = self.ring.len();
        self.ring.retain(|entry| {
            let keep = entry.qos() > Qos::AtMostOnce;
            freed += if keep { 0 } else { entry.message.cost() };
            keep
        });
        self.bytes -= freed;
        shared.meters.dropped_offline.add((before - self.ring.len()) as u64);
        self.report(shared);
    }

    /// Empties the queue and the slab. What came by shared bindings and may move on is returned: what was not sent, and
    /// what was sent at least once; not what was sent exactly once \[MQTT-4.8.2-4\], \[MQTT-4.8.2-5\].
    fn take_all(&mut self, shared: &Shared) -> Vec<(Arc<Group>, Entry)> {
        let mut entries: Vec<Entry> = Vec::new();
        for handle in self.slab.in_order() {
            let Some(slot) = self.slab.remove(handle) else { continue };
            match slot.body {
                Body::Mail(entry) if entry.qos() < Qos::ExactlyOnce => entries.push(entry),
                Body::Mail(_) | Body::Rare(_) => shared.meters.dropped_ended.one(),
                _ => {}
            }
        }
        let (waiting, away) = self.ring.take_all();
        entries.extend(waiting);
        shared.meters.dropped_ended.add(away as u64);
        self.bytes = 0;
        let shares = self.cold.as_ref().map_or(&[][..], |cold| &cold.shares[..]);
        let moves = |entry: Entry| {
            let group = usize::from(entry.share).checked_sub(1).and_then(|at| shares.get(at)).cloned();
            if group.is_none() {
                shared.meters.dropped_ended.one();
            }
            Some((group?, entry))
        };
        entries.into_iter().filter_map(moves).collect()
    }
}
