//! Which sessions and queues there are.

mod life;
mod named;
mod queues;
mod restore;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};

use hashbrown::HashMap;
use roadbed_core::{Address, Filter, Qos, QueueId, SessionEvent};

use crate::lock;
use crate::log::Log;
use crate::mailbox::SessionCore;
use crate::queue::Queue;
use named::Named;
pub(crate) use queues::{assigned_name, is_log_filter, is_queue_filter, own};
pub(crate) use restore::numbers_of;

#[derive(Debug, Default)]
pub(crate) struct Registry(Mutex<Tables>);

#[derive(Debug, Default)]
pub(crate) struct Tables {
    /// Sessions that can be resumed or taken over.
    pub(crate) named: Named,
    /// All sessions, in the order of opening.
    pub(crate) all: BTreeMap<u64, Arc<SessionCore>>,
    pub(crate) queues: BTreeMap<Address, Arc<Queue>>,
    pub(crate) by_id: HashMap<QueueId, Arc<Queue>>,
    pub(crate) logs: BTreeMap<Address, Arc<Log>>,
    /// Sessions that compete for queues that match, also later ones.
    pub(crate) watchers: Vec<Watcher>,
    pub(crate) draining: bool,
    /// How many temporary queues and assigned names there were.
    pub(crate) assigned: u64,
}

/// A session that competes for all queues that match.
#[derive(Clone, Debug)]
pub(crate) struct Watcher {
    pub(crate) filter: Filter,
    pub(crate) session: Weak<SessionCore>,
    pub(crate) id: u64,
    pub(crate) qos_max: Qos,
    pub(crate) binding: Option<u32>,
}

impl Drop for Tables {
    /// Queues and links refer to each other; here the circle is cut, so that a broker that is dropped frees all its memory.
    fn drop(&mut self) {
        self.by_id.values().for_each(|queue| queue.let_go());
    }
}

impl Registry {
    pub(crate) fn lock(&self) -> std::sync::MutexGuard<'_, Tables> {
        lock(&self.0)
    }

    pub(crate) fn session(&self, id: u64) -> Option<Arc<SessionCore>> {
        self.lock().all.get(&id).cloned()
    }

    pub(crate) fn queue(&self, id: QueueId) -> Option<Arc<Queue>> {
        self.lock().by_id.get(&id).cloned()
    }

    /// The kept session for which this is so.
    pub(crate) fn named(&self, is: impl Fn(&SessionCore) -> bool) -> Option<Arc<SessionCore>> {
        self.lock().named.iter().find(|session| is(session)).cloned()
    }

    pub(crate) fn drain(&self) {
        let mut tables = self.lock();
        tables.draining = true;
        let sessions: Vec<_> = tables.all.values().cloned().collect();
        drop(tables);
        sessions.iter().for_each(|session| session.notify(SessionEvent::Draining));
    }
}
