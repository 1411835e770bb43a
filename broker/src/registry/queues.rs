//! Finding, making and deleting queues.

use std::sync::Arc;

use roadbed_core::{
    Address, Binding, Condition, ConsumerTerms, Error, ErrorKind, Filter, QueueSettings, Result, Unbind,
};

use super::{Tables, Watcher};
use crate::bindings::unfollow;
use crate::broker::Shared;
use crate::lock;
use crate::mailbox::SessionCore;
use crate::queue::{Link, Queue};
use crate::router::Target;
use crate::store::{Op, QueueRow, Row, RowKey};

/// How the addresses of queues begin that the broker makes for one link.
const TEMPORARY: &str = "queues/tmp-";

impl Shared {
    /// The queue that a message to `address` goes into.
    pub(crate) fn queue_for_sending(&self, address: &Address) -> Result<Arc<Queue>, Condition> {
        self.queue_or_new(address, None).map_err(|error| match error.kind() {
            ErrorKind::Exhausted => Condition::Full,
            _ => Condition::NotFound,
        })
    }

    pub(crate) fn find_queue(&self, address: &Address) -> Option<Arc<Queue>> {
        self.registry.lock().queues.get(address).cloned()
    }

    /// The queue at `address`; made if there is none, and the settings are given or the policy allows it.
    pub(crate) fn queue_or_new(&self, address: &Address, declared: Option<QueueSettings>) -> Result<Arc<Queue>> {
        let mut tables = self.registry.lock();
        if let Some(queue) = tables.queues.get(address) {
            return Ok(queue.clone());
        }
        if address.as_str().starts_with(TEMPORARY) {
            // A late answer to a requester that is gone leaves no queue behind.
            return Err(Error::new(ErrorKind::NotFound, "find a queue").detail(format!("{address} is gone")));
        }
        let settings = match declared {
            Some(settings) => settings,
            None if self.settings.queue_on_first_use => self.settings.queue(),
            None => {
                return Err(Error::new(ErrorKind::NotFound, "find a queue").detail(format!("there is no {address}")));
            }
        };
        let queue = self.make_queue(&mut tables, address.detach(), settings)?;
        let watchers = tables.watchers.clone();
        // Nobody finds it before its row is on the way: what others put into it comes behind.
        self.commits.submit_made_under_lock(self, || queue_op(&queue).into_iter().collect());
        drop(tables);
        self.commits.pump(self);
        for watcher in watchers.iter().filter(|watcher| watcher.filter.matches(address)) {
            if let Some(session) = watcher.session.upgrade() {
                self.compete(&session, &queue, watcher);
            }
        }
        Ok(queue)
    }

    fn make_queue(&self, tables: &mut Tables, address: Address, settings: QueueSettings) -> Result<Arc<Queue>> {
        if tables.queues.len() >= self.settings.queues_max {
            return Err(Error::new(ErrorKind::Exhausted, "make a queue").detail("there are too many queues"));
        }
        let queue = Arc::new(Queue::new(self.next_queue_id(), address, settings, self.positions.first()));
        self.add_queue(tables, &queue);
        Ok(queue)
    }

    pub(super) fn add_queue(&self, tables: &mut Tables, queue: &Arc<Queue>) {
        tables.queues.insert(queue.address().clone(), queue.clone());
        tables.by_id.insert(queue.id(), queue.clone());
        self.meters.queues.one();
    }

    /// A queue for one link.
    pub(crate) fn temporary_queue(&self, settings: Option<QueueSettings>) -> Result<Arc<Queue>> {
        let mut tables = self.registry.lock();
        tables.assigned += 1;
        let name = assigned_name(self.settings.seed, self.boot_epoch, tables.assigned);
        let address = Address::from_checked(format!("{TEMPORARY}{name}").into());
        let temporary = self.settings.temporary_queue();
        let settings = match settings {
            Some(settings) => QueueSettings { durable: false, expires: temporary.expires, ..settings },
            None => temporary,
        };
        self.make_queue(&mut tables, address, settings)
    }

    /// Tells the store of a queue that outlives us.
    pub(crate) fn keep_queue(&self, queue: &Queue) {
        self.commits.submit_made(self, || queue_op(queue).into_iter().collect());
    }

    /// Removes a queue and all its messages. How many.
    pub(crate) fn delete_queue(&self, queue: &Arc<Queue>) -> u64 {
        let durable = lock(&queue.inner).settings.durable;
        let mut tables = self.registry.lock();
        if tables.by_id.remove(&queue.id()).is_none() {
            return 0;
        }
        tables.queues.remove(queue.address());
        if durable {
            // Before anybody makes another one there: its row comes behind.
            let row = Op::Delete(RowKey::Queue(queue.address().clone()));
            self.commits.submit_made_under_lock(self, || vec![row]);
        }
        drop(tables);
        self.commits.pump(self);
        self.meters.queues.sub(1);
        let bindings = std::mem::take(&mut lock(&queue.inner).bindings);
        for binding in &bindings {
            self.unroute_queue(queue, &binding.filter);
        }
        self.router.touch();
        let gone = queue.delete(self);
        if durable {
            let mut ops = vec![Op::RetireQueue { queue: queue.id() }];
            ops.extend(queue.forget_all_settled());
            self.commits.submit_unawaited(self, ops);
        }
        gone
    }

    /// Makes a queue follow a filter. Whether it replaced a binding.
    pub(crate) fn bind_queue(&self, queue: &Arc<Queue>, binding: &Binding) -> Result<bool> {
        if is_queue_filter(&binding.filter) || binding.filter.as_str().starts_with("logs/") {
            let words = "a queue follows topics, not queues";
            return Err(Error::new(ErrorKind::Invalid, "bind").detail(words));
        }
        if binding.share.is_some() || binding.no_local {
            let words =
                "a queue is shared by its consumers, and takes from every sender: share and no_local are for sessions";
            return Err(Error::new(ErrorKind::Invalid, "bind").detail(words));
        }
        let binding = Binding { filter: own(&binding.filter), ..binding.clone() };
        let replaced = self.follow(&mut lock(&queue.inner).bindings, &binding, "queue")?;
        self.router.bind(&binding.filter, Target::Queue(queue.clone(), binding.qos_max), replaced);
        self.meters.bindings.add(u64::from(!replaced));
        self.keep_queue(queue);
        Ok(replaced)
    }

    pub(crate) fn unbind_queue(&self, queue: &Arc<Queue>, unbind: &Unbind) -> bool {
        let found = unfollow(&mut lock(&queue.inner).bindings, &unbind.filter);
        if found {
            self.unroute_queue(queue, &unbind.filter);
            self.keep_queue(queue);
        }
        found
    }

    pub(super) fn unroute_queue(&self, queue: &Arc<Queue>, filter: &Filter) {
        let found =
            self.router.unbind(filter, |target| matches!(target, Target::Queue(found, _) if Arc::ptr_eq(found, queue)));
        self.meters.bindings.sub(u64::from(found));
    }

    /// Makes a session compete for all queues that match, now and later.
    pub(crate) fn watch(&self, session: &Arc<SessionCore>, binding: &Binding) -> Result<()> {
        let watcher = Watcher {
            filter: binding.filter.clone(),
            session: Arc::downgrade(session),
            id: session.id,
            qos_max: binding.qos_max,
            binding: binding.id,
        };
        if let Some(address) = binding.filter.as_address().filter(|address| address.queue().is_some()) {
            self.queue_or_new(&address, None)?;
        }
        let mut tables = self.registry.lock();
        tables.watchers.retain(|known| known.id != session.id || known.filter != watcher.filter);
        tables.watchers.push(watcher.clone());
        let matching: Vec<_> =
            tables.queues.values().filter(|queue| watcher.filter.matches(queue.address())).cloned().collect();
        drop(tables);
        matching.iter().for_each(|queue| self.compete(session, queue, &watcher));
        Ok(())
    }

    /// Links a session's own consumer to a queue, unless it is.
    fn compete(&self, session: &Arc<SessionCore>, queue: &Arc<Queue>, watcher: &Watcher) {
        let terms = ConsumerTerms { qos_max: watcher.qos_max, ..ConsumerTerms::session() };
        let link = Arc::new(Link::new(queue.clone(), session, terms, Some(watcher.binding)));
        {
            let mut inner = lock(&session.inner);
            let links = &mut inner.cold().links;
            let known = links.iter().any(|known| Arc::ptr_eq(known.queue(), queue));
            if known || links.len() >= self.settings.session_links_max {
                return;
            }
            links.push(link.clone());
        }
        if queue.attach(&link).is_ok() {
            session.link_ready(&link);
        } else {
            lock(&session.inner).cold().links.retain(|known| !Arc::ptr_eq(known, &link));
        }
    }

    /// Makes a session stop competing by `filter`, except for queues that another of its filters matches.
    pub(crate) fn unwatch(&self, session: &Arc<SessionCore>, filter: &Filter) {
        let mut tables = self.registry.lock();
        tables.watchers.retain(|known| known.id != session.id || known.filter != *filter);
        let others: Vec<Watcher> = tables.watchers.iter().filter(|known| known.id == session.id).cloned().collect();
        tables.watchers.shrink_to_fit();
        drop(tables);
        let gone: Vec<Arc<Link>> = {
            let mut inner = lock(&session.inner);
            let cold = inner.cold();
            let goes = |link: &Arc<Link>| {
                let address = link.queue().address();
                filter.matches(address) && !others.iter().any(|other| other.filter.matches(address))
            };
            let gone = cold.links.iter().filter(|link| goes(link)).cloned().collect();
            cold.links.retain(|link| !goes(link));
            cold.ready.retain(|link| !goes(link));
            gone
        };
        gone.iter().for_each(|link| self.detach_link(link));
    }

    /// Ends a link; what it holds is not touched, what it has not handed over goes back.
    pub(crate) fn detach_link(&self, link: &Arc<Link>) {
        let unused = link.queue().detach(self, link);
        link.give_back_granted(self);
        if unused {
            self.delete_queue(link.queue());
        }
    }

    /// A session of this number, if it still is one.
    pub(crate) fn live_session(&self, id: u64) -> Option<Arc<SessionCore>> {
        self.registry.session(id)
    }
}

/// The row of a queue that outlives us.
fn queue_op(queue: &Queue) -> Option<Op> {
    let inner = lock(&queue.inner);
    let (settings, bindings) = (inner.settings.clone(), inner.bindings.clone());
    let row = settings.durable.then(|| Row::Queue(QueueRow { queue: queue.id(), settings, bindings }))?;
    Some(Op::Put(RowKey::Queue(queue.address().clone()), row))
}

/// Whether a filter is one of queues, so that who follows it competes for their messages.
pub(crate) fn is_queue_filter(filter: &Filter) -> bool {
    filter.as_str().starts_with("queues/") || filter.as_str().starts_with("$dead/")
}

/// Whether a filter is one of partitions of logs.
pub(crate) fn is_log_filter(filter: &Filter) -> bool {
    filter.as_str().starts_with("logs/")
}

/// The same filter in memory of its own, so that it does not pin the buffer that it was read from.
pub(crate) fn own(filter: &Filter) -> Filter {
    Filter::new(String::from(filter.as_str())).unwrap_or_else(|_| filter.clone())
}

/// A name that is not given twice, and not the next of the one before.
pub(crate) fn assigned_name(seed: u64, epoch: u32, count: u64) -> String {
    let mut mixed = seed ^ (u64::from(epoch) << 48) ^ count;
    for _ in 0..2 {
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
    }
    format!("{mixed:016x}")
}
