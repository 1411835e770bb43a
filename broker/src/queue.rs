//! A queue: copies that wait, copies that are held, and the links that take them.

mod acquire;
mod due;
mod end;
mod enqueue;
mod hold;
mod lanes;
mod link;
mod page;
mod settled;
mod timeline;
mod tombstones;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::task::Waker;

use bytestring::ByteString;
use hashbrown::HashMap;
use roadbed_core::{
    Address, Binding, Condition, CopyId, DeliveryId, DeliveryState, Error, ErrorKind, Fence, Mode, NodeDescription,
    QueueId, QueueSettings, Reason, Result, Time,
};

use crate::broker::Shared;
use crate::lock;
use crate::paged::Paged;
use crate::timers::Timer;
pub(crate) use acquire::After;
pub(crate) use due::Missed;
pub(crate) use hold::{Asker, QueueStep, StepTarget};
pub(crate) use lanes::Copy;
use lanes::{Item, Lanes};
pub(crate) use link::{Again, Link, Owner, Pull};
pub(crate) use page::restored;
use timeline::Timeline;
use tombstones::Tombstones;

/// A queue with an address.
#[derive(Debug)]
pub(crate) struct Queue {
    id: QueueId,
    address: Address,
    pub(crate) inner: Mutex<QueueInner>,
}

#[derive(Debug)]
pub(crate) struct QueueInner {
    pub(crate) settings: QueueSettings,
    lanes: Lanes,
    /// Copies that some link has sent elsewhere.
    aside: VecDeque<Copy>,
    scheduled: BTreeMap<u64, Copy>,
    held: HashMap<u64, Held>,
    by_key: HashMap<ByteString, u64>,
    next_seq: u64,
    bytes: usize,
    reported: usize,
    paged: Paged,
    /// How often messages have come back from the store.
    readings: u64,
    reserved: (usize, usize),
    /// Links that would take something if it came, longest first.
    waiting: VecDeque<Arc<Link>>,
    /// Links that would look at it.
    looking: Vec<Arc<Link>>,
    links: Vec<Arc<Link>>,
    /// How many copies have come since a link took some.
    untaken: usize,
    pub(crate) bindings: Vec<Binding>,
    timeline: Timeline,
    tombstones: Tombstones,
    producers: Vec<Waker>,
    /// Consumers that drain it, and wait for what is being read.
    draining: Vec<Waker>,
    /// For when the broker's timer is set.
    armed: Time,
    pub(crate) deleted: bool,
}

/// A copy that a consumer has.
#[derive(Debug)]
pub(crate) struct Held {
    copy: Copy,
    state: DeliveryState,
    attempt: u32,
    /// In the name of the delivery.
    epoch: u32,
    owner: Arc<Owner>,
    until: Option<Time>,
}

/// A copy that is to become a dead letter.
#[derive(Debug)]
pub(crate) struct Dead {
    pub(crate) queue: Arc<Queue>,
    pub(crate) copy: Copy,
    pub(crate) reason: Reason,
}

impl Queue {
    pub(crate) fn new(id: QueueId, address: Address, settings: QueueSettings, next_seq: u64) -> Self {
        let inner = QueueInner {
            settings,
            lanes: Lanes::default(),
            aside: VecDeque::new(),
            scheduled: BTreeMap::new(),
            held: HashMap::new(),
            by_key: HashMap::new(),
            next_seq,
            bytes: 0,
            reported: 0,
            paged: Paged::default(),
            readings: 0,
            reserved: (0, 0),
            waiting: VecDeque::new(),
            looking: Vec::new(),
            links: Vec::new(),
            untaken: 0,
            bindings: Vec::new(),
            timeline: Timeline::default(),
            tombstones: Tombstones::default(),
            producers: Vec::new(),
            draining: Vec::new(),
            armed: Time::MAX,
            deleted: false,
        };
        Self { id, address, inner: Mutex::new(inner) }
    }

    pub(crate) fn id(&self) -> QueueId {
        self.id
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    pub(crate) fn copy_id(&self, seq: u64) -> CopyId {
        CopyId { queue: self.id, seq }
    }

    pub(crate) fn delivery_id(&self, shared: &Shared, seq: u64, attempt: u32) -> DeliveryId {
        DeliveryId { copy: self.copy_id(seq), fence: Fence { epoch: shared.boot_epoch, attempt } }
    }

    /// Attaches a link. Returns those of the same session whose connection counts no more.
    pub(crate) fn attach(&self, link: &Arc<Link>) -> Result<Vec<Arc<Link>>> {
        let mut inner = lock(&self.inner);
        if inner.deleted {
            return Err(Error::new(ErrorKind::NotFound, "attach").detail("the queue has been deleted"));
        }
        let alone = link.terms.exclusive || inner.settings.exclusive;
        let replaced = |other: &Link| other.owner.session == link.owner.session && other.is_replaced_by(link);
        let old: Vec<_> = inner.links.iter().filter(|other| replaced(other)).cloned().collect();
        let others = inner.links.iter().any(|other| !replaced(other) && (alone || other.terms.exclusive));
        if others && link.terms.mode == Mode::Move {
            let words = format!("{} is held exclusively", self.address);
            return Err(Error::new(ErrorKind::Conflict, "attach").detail(words));
        }
        inner.links.push(link.clone());
        Ok(old)
    }

    /// Detaches a link; what it holds stays. Whether the queue is to be deleted now.
    pub(crate) fn detach(&self, shared: &Shared, link: &Arc<Link>) -> bool {
        link.ended.store(true, Ordering::Release);
        let mut inner = lock(&self.inner);
        inner.links.retain(|other| !Arc::ptr_eq(other, link));
        inner.unwait(link);
        let left = usize::from(inner.available() > 0);
        let wake = inner.wakes(left);
        let idle = if inner.links.is_empty() { inner.settings.expires } else { None };
        if let Some(after) = idle.filter(|after| !after.is_zero()) {
            let at = shared.now() + after;
            inner.timeline.add_idle(at);
            inner.arm(shared, self.id);
        }
        drop(inner);
        wake.into_iter().for_each(|link| link.notify());
        idle.is_some_and(|after| after.is_zero())
    }

    /// A link that was notified cannot take now: somebody else may.
    pub(crate) fn pass_on(&self, link: &Arc<Link>) {
        let mut inner = lock(&self.inner);
        inner.unwait(link);
        let left = inner.available();
        let wake = inner.wakes(left);
        drop(inner);
        wake.into_iter().for_each(|link| link.notify());
    }

    /// Forgets its links: the broker is gone.
    pub(crate) fn let_go(&self) {
        let mut inner = lock(&self.inner);
        let links = (std::mem::take(&mut inner.links), std::mem::take(&mut inner.waiting));
        drop(inner);
        drop(links);
    }

    /// How many copies are available.
    pub(crate) fn backlog(&self) -> usize {
        lock(&self.inner).available()
    }

    /// Takes everything that is available, for the broker itself: it is all due, so that no runs are among it.
    pub(crate) fn take_available(&self, shared: &Shared) -> Vec<Copy> {
        let mut inner = lock(&self.inner);
        let mut taken = Vec::new();
        for item in inner.lanes.drain() {
            if let Item::Copy(copy) = item {
                inner.uncount(&copy);
                taken.push(copy);
            }
        }
        inner.report(shared);
        taken
    }

    /// Removes what is available. How many.
    pub(crate) fn purge(&self, shared: &Shared) -> u64 {
        let mut inner = lock(&self.inner);
        let mut gone = inner.lanes.drain();
        gone.extend(std::mem::take(&mut inner.aside).into_iter().map(Item::Copy));
        gone.extend(std::mem::take(&mut inner.scheduled).into_values().map(Item::Copy));
        inner.by_key.clear();
        let mut count = 0;
        for item in &gone {
            match item {
                Item::Copy(copy) => {
                    inner.uncount(copy);
                    count += 1;
                }
                Item::Run(run) => {
                    inner.bytes = inner.bytes.saturating_sub(run.bytes as usize);
                    inner.paged.sub(run.count as usize, run.bytes as usize);
                    count += u64::from(run.count);
                }
                Item::Gone(_) => {}
            }
        }
        inner.report(shared);
        let wakers = std::mem::take(&mut inner.producers);
        drop(inner);
        shared.meters.dropped_purged.add(count);
        for item in gone {
            match item {
                Item::Copy(copy) if copy.stored => shared.retire_later(self.copy_id(copy.seq)),
                Item::Run(run) => shared.retire_run_later(self.id, &run),
                _ => {}
            }
        }
        wakers.into_iter().for_each(Waker::wake);
        count
    }

    /// Ends the queue: everything in it is gone, its links learn it.
    pub(crate) fn delete(&self, shared: &Shared) -> u64 {
        let gone = self.purge(shared);
        let mut inner = lock(&self.inner);
        inner.deleted = true;
        let held: Vec<Held> = inner.held.drain().map(|(_, held)| held).collect();
        inner.bytes = 0;
        inner.report(shared);
        let links = std::mem::take(&mut inner.links);
        inner.waiting.clear();
        inner.looking.clear();
        drop(inner);
        shared.retire_all(held.iter().filter(|held| held.copy.stored).map(|held| self.copy_id(held.copy.seq)));
        shared.meters.dropped_ended.add(held.len() as u64);
        links.iter().for_each(|link| link.notify());
        gone + held.len() as u64
    }

    pub(crate) fn describe(&self) -> NodeDescription {
        let inner = lock(&self.inner);
        NodeDescription {
            bindings: inner.bindings.clone(),
            available: inner.available() as u64,
            held: inner.held.len() as u64,
            scheduled: inner.scheduled.len() as u64,
            bytes: inner.bytes as u64,
            consumers: inner.links.len() as u32,
            ..NodeDescription::new(self.address.clone(), inner.settings.clone())
        }
    }
}

impl QueueInner {
    fn available(&self) -> usize {
        self.lanes.len() + self.aside.len()
    }

    /// How many copies there are, whatever their state.
    fn total(&self) -> usize {
        self.available() + self.scheduled.len() + self.held.len()
    }

    /// Links to be notified of `count` new copies: that many of those that take, and all that look.
    fn wakes(&mut self, count: usize) -> Vec<Arc<Link>> {
        if count == 0 || (self.waiting.is_empty() && self.looking.is_empty()) {
            return Vec::new();
        }
        let mut wake = std::mem::take(&mut self.looking);
        wake.extend(self.waiting.drain(..count.min(self.waiting.len())));
        wake.iter().for_each(|link| link.waiting.store(false, Ordering::Release));
        wake
    }

    /// Forgets that a link waits.
    fn unwait(&mut self, link: &Arc<Link>) {
        if link.waiting.swap(false, Ordering::AcqRel) {
            self.waiting.retain(|other| !Arc::ptr_eq(other, link));
            self.looking.retain(|other| !Arc::ptr_eq(other, link));
        }
    }

    /// Sets the broker's timer, if it is set for later or not at all.
    fn arm(&mut self, shared: &Shared, id: QueueId) {
        if let Some(next) = self.timeline.next().filter(|next| *next < self.armed) {
            self.armed = next;
            shared.timers.set(Timer::Queue(id), next);
        }
    }

    fn wait(&mut self, link: &Arc<Link>) {
        if link.waiting.swap(true, Ordering::AcqRel) {
            return;
        }
        match link.terms.mode {
            Mode::Move => self.waiting.push_back(link.clone()),
            Mode::Browse => self.looking.push(link.clone()),
        }
    }

    /// Keeps the broker's budget up to date, roughly.
    fn report(&mut self, shared: &Shared) {
        self.paged.report(shared);
        let here = self.here();
        let off = here.abs_diff(self.reported);
        if off < shared.report_every() && (here > 0 || self.reported == 0) {
            return;
        }
        shared.meters.bytes.moved(self.reported, here);
        self.reported = here;
    }
}

/// The reason of a dead letter without words.
fn reason(condition: Condition) -> Reason {
    Reason::from(condition)
}
