//! A session's own queue: what its bindings bring, and what it has not settled.
//!
//! Publishers push into it, the session's consumer takes out of it; each takes the one small lock once per batch.

mod bind;
mod budget;
mod read;
mod receive;
mod ring;
mod settle;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Waker;
use std::time::Duration;

use bytestring::ByteString;
use roadbed_core::{
    Condition, CopyId, Filter, Origin, Outgoing, Qos, QueueId, RetainHandling, Scope, SessionEvent, Time, TxnId, Will,
};

use crate::broker::Shared;
use crate::entry::{Entry, Extra};
use crate::inflight::Slab;
use crate::keys::Keys;
use crate::lock;
use crate::queue::Link;
use crate::router::{Group, Readiness, Subscriber};

use budget::Budget;
pub(crate) use receive::entry_of;
use ring::{Oldest, Ring};
pub(crate) use settle::{Effects, Follow, enlisted, run_step};

/// What a session is, apart from its connection.
#[derive(Debug)]
pub(crate) struct SessionCore {
    pub(crate) id: u64,
    pub(crate) name: Option<ByteString>,
    pub(crate) origin: Arc<Origin>,
    queue: AtomicU32,
    /// Grows at each takeover and resumption: what an older connection does counts no more. Changed under the lock.
    epoch: AtomicU32,
    /// What it has sent that is behind the store.
    pub(crate) behind: Budget,
    pub(crate) inner: Mutex<Inner>,
    pub(crate) keys: Mutex<Option<Box<Keys>>>,
}

/// The session's own queue and slab, behind its lock.
#[derive(Debug, Default)]
pub(crate) struct Inner {
    pub(crate) ring: Ring,
    pub(crate) slab: Slab,
    pub(crate) waker: Option<Waker>,
    pub(crate) event_waker: Option<Waker>,
    pub(crate) bindings: Vec<Bound>,
    pub(crate) cold: Option<Box<Cold>>,
    pub(crate) next_seq: u64,
    pub(crate) bytes: usize,
    reported: usize,
    pub(crate) credit: u32,
    pub(crate) window: u16,
    pub(crate) drain: bool,
    /// A consumer of the session's own queue is attached.
    pub(crate) attached: bool,
    /// The session counts as connected.
    pub(crate) connected: bool,
    /// The session is no more; nothing is kept for it.
    pub(crate) ended: bool,
    /// The queue's number, if stored copies stay stored, since the session outlives its connection.
    pub(crate) durable: Option<QueueId>,
    /// Every delivery comes with its info.
    pub(crate) info: bool,
    /// How long the session is kept after its connection ends, in seconds; of fractions, the whole.
    expiry_seconds: u32,
    /// The connection that the session has now, or had last.
    pub(crate) scope: Scope,
    /// The last receive stopped for want of credit or of slots.
    blocked: bool,
}

/// A binding of the session's own queue.
#[derive(Clone, Debug)]
pub(crate) struct Bound {
    filter: Filter,
    share: Option<Box<ByteString>>,
    id: Option<u32>,
    qos_max: Qos,
    no_local: bool,
    retain_handling: RetainHandling,
    retain_as_published: bool,
    /// For a filter of queues: the session competes for them.
    pub(crate) competes: bool,
}

/// What few sessions have.
#[derive(Debug, Default)]
pub(crate) struct Cold {
    pub(crate) events: VecDeque<SessionEvent>,
    pub(crate) links: Vec<Arc<Link>>,
    pub(crate) ready: VecDeque<Arc<Link>>,
    /// The shared groups that have brought copies; an entry's `share` is an index plus one.
    pub(crate) shares: Vec<Arc<Group>>,
    pub(crate) will: Option<Will>,
    /// The store has the will in a row of its own, since the session is not kept.
    pub(crate) will_stored: bool,
    pub(crate) grant_txn: Option<TxnId>,
    /// The strongest assurance that the session's consumer takes.
    pub(crate) qos_max: Option<Qos>,
    /// Deliveries that the store does not know to be held yet.
    pub(crate) holding: usize,
    /// Deliveries that it knows to be held, and that are not handed over yet.
    pub(crate) granted: VecDeque<roadbed_core::Handle>,
    /// How long the session counts as connected after its connection ends.
    pub(crate) linger: Duration,
    /// What is due when the connection is gone.
    pub(crate) life: Option<Life>,
}

/// What is due for a session whose connection is gone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Life {
    /// The session counts as connected until then.
    pub(crate) linger_until: Time,
    pub(crate) will_at: Option<Time>,
    pub(crate) expires_at: Time,
}

impl SessionCore {
    pub(crate) fn new(id: u64, name: Option<ByteString>, origin: Arc<Origin>, window: u16, next_seq: u64) -> Self {
        let inner = Inner { window, next_seq, ..Inner::default() };
        let keys = Mutex::new(None);
        let (queue, epoch) = (AtomicU32::new(0), AtomicU32::new(1));
        let behind = Budget::default();
        Self { id, name, origin, queue, epoch, behind, inner: Mutex::new(inner), keys }
    }

    /// Which connection the session has now.
    pub(crate) fn epoch(&self) -> u32 {
        self.epoch.load(Ordering::Acquire)
    }

    /// The connection.
    pub(crate) fn scope(&self) -> Scope {
        lock(&self.inner).scope
    }

    /// The session has a new connection, or none; the older ones count no more. Under the lock.
    pub(crate) fn next_epoch(&self, _locked: &mut Inner) -> u32 {
        self.epoch.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// The number of the session's own queue, given on first use.
    pub(crate) fn queue_id(&self, shared: &Shared) -> QueueId {
        match self.queue.load(Ordering::Acquire) {
            0 => {
                let fresh = shared.next_queue_id();
                let taken = self.queue.compare_exchange(0, fresh.0, Ordering::AcqRel, Ordering::Acquire);
                taken.map_or_else(QueueId, |_| fresh)
            }
            id => QueueId(id),
        }
    }

    pub(crate) fn set_queue_id(&self, id: QueueId) {
        self.queue.store(id.0, Ordering::Release);
    }

    pub(crate) fn has_queue_id(&self, id: QueueId) -> bool {
        self.queue.load(Ordering::Acquire) == id.0 && id.0 != 0
    }

    /// Whether stored copies in the session's own queue stay stored.
    pub(crate) fn is_durable(&self) -> bool {
        lock(&self.inner).durable.is_some()
    }

    /// The first of the next `count` positions of a durable session's queue, for copies that the store is told of first.
    pub(crate) fn take_copy_ids(&self, shared: &Shared, count: u64) -> Option<CopyId> {
        let mut inner = lock(&self.inner);
        let queue = inner.durable?;
        let seq = inner.next_seq + 1;
        inner.next_seq += count;
        shared.positions.given(inner.next_seq);
        Some(CopyId { queue, seq })
    }

    /// Puts a run of messages of one address into the queue.
    pub(crate) fn push_run(&self, shared: &Shared, to: &Subscriber, run: &[Outgoing], parked: &mut Parked, from: u64) {
        if to.no_local && from == self.id {
            return;
        }
        let mut inner = lock(&self.inner);
        for (n, outgoing) in run.iter().enumerate() {
            let qos = outgoing.qos.min(to.qos_max);
            inner.push(shared, &outgoing.message, qos, to, parked, n);
        }
        inner.report(shared);
        let waker = if inner.ring.is_empty() { None } else { inner.waker.take() };
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Puts one copy, ready-made, into the queue.
    pub(crate) fn push_entry(&self, shared: &Shared, entry: Entry, bindings: &[u32]) -> Result<(), Condition> {
        let mut inner = lock(&self.inner);
        let pushed = inner.push_entry(shared, entry, bindings);
        inner.report(shared);
        let waker = inner.waker.take();
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
        pushed
    }

    /// Puts copies, ready-made, into the queue; what it has no room for is counted as dropped.
    pub(crate) fn push_entries(&self, shared: &Shared, entries: impl Iterator<Item = Entry>, bindings: &[u32]) {
        let mut inner = lock(&self.inner);
        for entry in entries {
            let _ = inner.push_entry(shared, entry, bindings);
        }
        inner.report(shared);
        let waker = inner.waker.take();
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Puts a copy that came by a shared binding into the queue.
    pub(crate) fn push_shared(&self, shared: &Shared, group: &Arc<Group>, mut entry: Entry, id: Option<u32>) {
        let mut inner = lock(&self.inner);
        let shares = &mut inner.cold().shares;
        let known = shares.iter().position(|known| Arc::ptr_eq(known, group));
        let at = known.unwrap_or_else(|| match shares.iter().position(|old| old.is_empty()) {
            // A group without members takes nothing back, so its place is free.
            Some(at) => {
                shares[at] = group.clone();
                at
            }
            None => {
                shares.push(group.clone());
                shares.len() - 1
            }
        });
        entry.share = u16::try_from(at + 1).unwrap_or(0);
        drop(inner);
        // A full queue has counted what it dropped.
        let _ = self.push_entry(shared, entry, id.as_slice());
    }

    /// How well the session could take a message now.
    pub(crate) fn readiness(&self) -> Readiness {
        let inner = lock(&self.inner);
        if inner.ended {
            Readiness::Ended
        } else if !inner.connected || !inner.attached {
            Readiness::Offline
        } else if inner.credit as usize > inner.ring.len()
            && inner.slab.len() + inner.ring.len() < usize::from(inner.window)
        {
            Readiness::Ready
        } else {
            Readiness::Busy
        }
    }

    /// Whether a live message would be handed over at once; if not, why.
    pub(crate) fn live(&self) -> Result<(), Condition> {
        let inner = lock(&self.inner);
        if inner.ended || !inner.attached || !inner.connected {
            return Err(Condition::NoConsumer);
        }
        if inner.credit as usize <= inner.ring.len() { Err(Condition::Busy) } else { Ok(()) }
    }

    /// Tells the session's connection that something has happened.
    pub(crate) fn notify(&self, event: SessionEvent) {
        let mut inner = lock(&self.inner);
        let events = &mut inner.cold().events;
        if events.contains(&event) {
            return;
        }
        events.push_back(event);
        let waker = inner.event_waker.take();
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// `bytes` more that it has sent are behind the store.
    pub(crate) fn goes_behind(&self, shared: &Shared, bytes: usize) {
        let max = shared.settings.session_behind_bytes_max;
        if self.behind.more(bytes) > max && !self.behind.is_paused() {
            self.tell_budget(max);
        }
    }

    /// And so many are not any more.
    pub(crate) fn comes_back(&self, shared: &Shared, bytes: usize) {
        let max = shared.settings.session_behind_bytes_max;
        if self.behind.less(bytes) <= max / 2 && self.behind.is_paused() {
            self.tell_budget(max);
        }
    }

    /// Tells the session's connection to stop reading, or to go on.
    fn tell_budget(&self, max: usize) {
        let mut inner = lock(&self.inner);
        let Some(paused) = self.behind.changes(max) else { return };
        let events = &mut inner.cold().events;
        events.retain(|event| !matches!(event, SessionEvent::Budget { .. }));
        events.push_back(SessionEvent::Budget { paused });
        let waker = inner.event_waker.take();
        drop(inner);
        waker.into_iter().for_each(Waker::wake);
    }

    /// Marks a link of the session as having something to take, and wakes its consumer.
    pub(crate) fn link_ready(&self, link: &Arc<Link>) {
        let mut inner = lock(&self.inner);
        if inner.ended || !inner.attached {
            drop(inner);
            return link.queue().pass_on(link);
        }
        inner.cold().ready.push_back(link.clone());
        let waker = inner.waker.take();
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Inner {
    /// How long the session is kept after its connection ends.
    pub(crate) fn expiry(&self) -> Duration {
        Duration::from_secs(self.expiry_seconds.into())
    }

    pub(crate) fn set_expiry(&mut self, expiry: Duration) {
        let up = expiry.as_secs() + u64::from(expiry.subsec_nanos() > 0);
        self.expiry_seconds = u32::try_from(up).unwrap_or(u32::MAX);
    }

    pub(crate) fn cold(&mut self) -> &mut Cold {
        self.cold.get_or_insert_default()
    }

    /// The links of a session whose consumer is gone: they take nothing until the next one comes.
    pub(crate) fn idle_links(&mut self) -> Vec<Arc<Link>> {
        let Some(cold) = &mut self.cold else { return Vec::new() };
        cold.ready.clear();
        cold.links.clone()
    }

    fn push(
        &mut self,
        shared: &Shared,
        message: &roadbed_core::Message,
        qos: Qos,
        to: &Subscriber,
        parked: &mut Parked,
        n: usize,
    ) {
        if self.refuses(shared, qos) {
            return;
        }
        let message = if self.parks(shared) { parked.message(shared, message, n) } else { message.clone() };
        let retained = to.retain_as_published && message.retain();
        let mut entry = Entry::new(message, qos, retained);
        if to.ids.is_some() || self.info {
            let bindings = to.ids.as_deref().map_or_else(Vec::new, <[u32]>::to_vec);
            entry.extra = Some(Box::new(Extra { bindings, enqueued_at: shared.now(), ..Extra::default() }));
        }
        self.append(shared, entry);
    }

    fn push_entry(&mut self, shared: &Shared, mut entry: Entry, bindings: &[u32]) -> Result<(), Condition> {
        if self.refuses(shared, entry.qos()) {
            self.forget_stored(shared, &entry);
            return Err(Condition::Full);
        }
        let cost = entry.message.cost();
        if entry.stored() && entry.share == 0 && self.leaves(shared, cost) {
            self.bytes += cost;
            self.ring.push_away(self.full_seq(entry.seq), u32::try_from(cost).unwrap_or(u32::MAX));
            return Ok(());
        }
        if entry.message.pins() && self.parks(shared) {
            entry.message = entry.message.detach();
            shared.meters.payloads_detached.one();
        }
        if !bindings.is_empty() || self.info {
            let extra = entry.extra();
            extra.bindings = bindings.to_vec();
            extra.enqueued_at = shared.now();
        }
        self.append(shared, entry);
        Ok(())
    }

    fn append(&mut self, shared: &Shared, mut entry: Entry) {
        if !entry.stored() {
            entry.seq = self.take_seq(shared) as u32;
        }
        self.bytes += entry.message.cost();
        self.ring.push_back(entry);
    }

    fn take_seq(&mut self, shared: &Shared) -> u64 {
        self.next_seq += 1;
        shared.positions.given(self.next_seq);
        self.next_seq
    }

    /// The whole position of which `low` is the low half.
    pub(crate) fn full_seq(&self, low: u32) -> u64 {
        self.next_seq - u64::from((self.next_seq as u32).wrapping_sub(low))
    }

    /// Makes room, or says that there is none for a copy at `qos`.
    fn refuses(&mut self, shared: &Shared, qos: Qos) -> bool {
        let (settings, meters) = (&shared.settings, &shared.meters);
        if self.ended {
            meters.dropped_ended.one();
            return true;
        }
        if qos == Qos::AtMostOnce {
            if !self.connected && !settings.session_at_most_once_offline {
                meters.dropped_offline.one();
                return true;
            }
            if self.ring.len() >= settings.session_at_most_once_max || self.bytes >= settings.session_bytes_max {
                meters.dropped_slow.one();
                return true;
            }
            return false;
        }
        while self.ring.len() >= settings.session_messages_max || self.bytes >= settings.session_bytes_max {
            let oldest = if settings.session_drop_oldest { self.ring.pop_oldest() } else { None };
            meters.dropped_full.one();
            match oldest {
                None => return true,
                Some(Oldest::Here(oldest)) => {
                    self.bytes -= oldest.message.cost();
                    self.forget_stored(shared, &oldest);
                }
                Some(Oldest::Away(seq, cost)) => {
                    self.bytes = self.bytes.saturating_sub(cost);
                    self.durable.into_iter().for_each(|queue| shared.retire_later(CopyId { queue, seq }));
                }
            }
        }
        false
    }

    /// Whether what comes now will wait, so that it must not pin the buffer that it was read into.
    fn parks(&self, shared: &Shared) -> bool {
        !self.attached || self.credit == 0 || self.ring.len() >= shared.settings.parked_messages_min
    }

    /// How many bytes it has in memory.
    fn here(&self) -> usize {
        self.bytes.saturating_sub(self.ring.away_bytes())
    }

    /// Whether a stored copy that comes now is left to the store.
    fn leaves(&self, shared: &Shared, cost: usize) -> bool {
        let here = self.here() + cost;
        let wanted = self.attached && self.credit > 0 && self.ring.is_empty() && self.waker.is_some();
        // A consumer that keeps up takes it before long.
        let taken_soon = wanted || (!self.parks(shared) && here <= shared.head_bytes());
        self.durable.is_some() && !taken_soon && (self.ring.ends_away() || shared.is_crowded(here))
    }

    /// Tells the store that a copy is no more; nobody waits for that.
    fn forget_stored(&self, shared: &Shared, entry: &Entry) {
        if let (true, Some(queue)) = (entry.stored(), self.durable) {
            shared.retire_later(CopyId { queue, seq: self.full_seq(entry.seq) });
        }
    }

    /// Keeps the broker's budget up to date, roughly.
    pub(crate) fn report(&mut self, shared: &Shared) {
        self.ring.report(shared);
        let here = self.here();
        let off = here.abs_diff(self.reported);
        if off < shared.report_every() && (here > 0 || off == 0 || self.reported == 0) {
            return;
        }
        shared.meters.bytes.moved(self.reported, here);
        self.reported = here;
    }
}

/// The parked form of each message of a run, made once for all queues that park it.
#[derive(Debug, Default)]
pub(crate) struct Parked(Vec<Option<roadbed_core::Message>>);

impl Parked {
    pub(crate) fn message(
        &mut self,
        shared: &Shared,
        message: &roadbed_core::Message,
        n: usize,
    ) -> roadbed_core::Message {
        if !message.pins() {
            return message.clone();
        }
        if self.0.len() <= n {
            self.0.resize(n + 1, None);
        }
        self.0[n]
            .get_or_insert_with(|| {
                shared.meters.payloads_detached.one();
                message.detach()
            })
            .clone()
    }

    pub(crate) fn is_used(&self) -> bool {
        self.0.capacity() > 0
    }

    /// Forgets the run.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

/// When a copy's time to live ends, if it has ended.
pub(crate) fn has_expired(shared: &Shared, message: &roadbed_core::Message, now: &mut Option<Time>) -> bool {
    message.expires_at().is_some_and(|at| at.has_passed(*now.get_or_insert_with(|| shared.now())))
}
