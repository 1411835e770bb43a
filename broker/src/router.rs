//! Which destinations follow an address.
//!
//! Filters without a wildcard are looked up by their text; the others are in a trie. A match visits each node of the trie at
//! most once, and no deeper than the deepest filter ([`Filter::LEVELS_MAX`]), however deep the address is: so its cost is
//! bounded by the number of filter levels bound, which the settings bound.

mod share;
mod trie;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bytestring::ByteString;
use hashbrown::HashMap;
use roadbed_core::{Address, Filter, Qos};

use crate::lock;
use crate::log::Log;
use crate::mailbox::SessionCore;
use crate::queue::Queue;
pub(crate) use share::{Group, Member, Readiness};
use trie::Trie;

/// A destination of a route: each once, whatever number of bindings brought it.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    Session(Subscriber),
    Queue(Arc<Queue>, Qos),
    Group(Arc<Group>),
    /// A log, and the partition if it was named.
    Log(Arc<Log>, Option<u32>),
}

/// A session that follows an address, with what its bindings say together.
#[derive(Clone, Debug)]
pub(crate) struct Subscriber {
    pub(crate) session: Arc<SessionCore>,
    pub(crate) qos_max: Qos,
    pub(crate) no_local: bool,
    pub(crate) retain_as_published: bool,
    pub(crate) ids: Option<Arc<[u32]>>,
}

/// Where an address leads, as of one generation of the router.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) address: Address,
    pub(crate) generation: u64,
    pub(crate) targets: Box<[Target]>,
    /// Every target is a session: nothing can refuse.
    pub(crate) plain: bool,
    /// There is a log among the targets: everything is stored.
    pub(crate) logged: bool,
}

/// The bindings of all sessions and queues.
#[derive(Debug, Default)]
pub(crate) struct Router {
    generation: AtomicU64,
    tables: RwLock<Tables>,
    cache: Mutex<Cache>,
}

/// Routes of one generation, so that the producers of one address share one, and those of many addresses find them.
#[derive(Debug, Default)]
struct Cache {
    generation: u64,
    routes: HashMap<ByteString, Arc<Route>>,
    targets: usize,
}

/// Targets of all cached routes together, beyond which the cache starts anew.
const CACHED_TARGETS_MAX: usize = 1 << 20;

#[derive(Debug, Default)]
struct Tables {
    exact: HashMap<ByteString, Vec<Target>>,
    trie: Trie,
    groups: HashMap<(ByteString, ByteString), Arc<Group>>,
}

impl Drop for Tables {
    /// Groups and their members refer to each other; here the circle is cut, so that a broker that is dropped frees all its memory.
    fn drop(&mut self) {
        self.groups.values().for_each(|group| group.disband());
    }
}

impl Target {
    /// Whether it may keep what it gets over a restart.
    pub(crate) fn is_durable(&self) -> bool {
        match self {
            Self::Session(to) => to.session.is_durable(),
            Self::Queue(..) | Self::Group(_) | Self::Log(..) => true,
        }
    }
}

impl Router {
    /// Grows with every change.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Makes all cached routes stale.
    pub(crate) fn touch(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// Makes `target` follow `filter`. The caller knows whether it does so already.
    pub(crate) fn bind(&self, filter: &Filter, target: Target, replaces: bool) {
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        let list = tables.list(filter);
        let found = if replaces { list.iter_mut().find(|found| found.same_as(&target)) } else { None };
        match found {
            Some(found) => *found = target,
            None => {
                list.reserve_exact(usize::from(list.is_empty()));
                list.push(target);
            }
        }
        drop(tables);
        self.touch();
    }

    /// Makes the destination stop; whether there was such a binding.
    pub(crate) fn unbind(&self, filter: &Filter, gone: impl Fn(&Target) -> bool) -> bool {
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        let list = tables.list(filter);
        let found = list.iter().position(gone);
        if let Some(at) = found {
            list.swap_remove(at);
            if list.len() * 4 < list.capacity() {
                list.shrink_to_fit();
            }
        }
        if list.is_empty() {
            tables.prune(filter);
        }
        drop(tables);
        self.touch();
        found.is_some()
    }

    /// Adds or replaces a member of a shared group; whether it replaced one.
    pub(crate) fn join(&self, share: &ByteString, filter: &Filter, member: Member) -> bool {
        let key = (share.clone(), filter.text().clone());
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        let group = match tables.groups.get(&key) {
            Some(group) => group.clone(),
            None => {
                let group = Arc::new(Group::default());
                tables.groups.insert(key, group.clone());
                tables.list(filter).push(Target::Group(group.clone()));
                group
            }
        };
        let replaced = group.join(member);
        drop(tables);
        self.touch();
        replaced
    }

    /// Takes a member out of a shared group; whether it was one.
    pub(crate) fn leave(&self, share: &ByteString, filter: &Filter, session: u64) -> bool {
        let key = (share.clone(), filter.text().clone());
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        let Some(group) = tables.groups.get(&key).cloned() else { return false };
        let (left, empty) = group.leave(session);
        if empty {
            tables.groups.remove(&key);
            let list = tables.list(filter);
            list.retain(|target| !matches!(target, Target::Group(found) if Arc::ptr_eq(found, &group)));
            if list.is_empty() {
                tables.prune(filter);
            }
        }
        drop(tables);
        self.touch();
        left
    }

    /// Where `address` leads, remembered for as long as nothing changes.
    pub(crate) fn cached(&self, address: &Address, routes_max: usize) -> Arc<Route> {
        if let Some(route) = lock(&self.cache).find(address, self.generation()) {
            return route;
        }
        let route = Arc::new(self.route(address));
        lock(&self.cache).add(&route, routes_max);
        route
    }

    fn route(&self, address: &Address) -> Route {
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        let generation = self.generation();
        let mut lists: Vec<&[Target]> = Vec::new();
        lists.extend(tables.exact.get(address.as_str()).map(|list| &list[..]));
        tables.trie.find(address.as_str(), &mut |list| lists.push(list));
        Route::new(address.detach(), generation, merge(&lists))
    }
}

impl Cache {
    fn find(&self, address: &Address, generation: u64) -> Option<Arc<Route>> {
        let current = self.generation == generation;
        self.routes.get(address.as_str()).filter(|_| current).cloned()
    }

    fn add(&mut self, route: &Arc<Route>, routes_max: usize) {
        let full = self.routes.len() >= routes_max || self.targets + route.targets.len() > CACHED_TARGETS_MAX;
        if self.generation != route.generation || full {
            *self = Self { generation: route.generation, ..Self::default() };
        }
        self.targets += route.targets.len();
        self.routes.insert(route.address.name().clone(), route.clone());
    }
}

impl Tables {
    fn list(&mut self, filter: &Filter) -> &mut Vec<Target> {
        if filter.has_wildcard() {
            return self.trie.list(filter.as_str());
        }
        self.exact.entry_ref(filter.text()).or_default()
    }

    fn prune(&mut self, filter: &Filter) {
        if filter.has_wildcard() {
            self.trie.prune(filter.as_str());
        } else {
            self.exact.remove(filter.as_str());
            if self.exact.len() * 4 < self.exact.capacity() {
                self.exact.shrink_to_fit();
            }
        }
    }
}

impl Route {
    pub(crate) fn new(address: Address, generation: u64, targets: Vec<Target>) -> Self {
        let plain = targets.iter().all(|target| matches!(target, Target::Session(_)));
        let logged = targets.iter().any(|target| matches!(target, Target::Log(..)));
        Self { address, generation, targets: targets.into(), plain, logged }
    }
}

impl Target {
    fn same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Session(a), Self::Session(b)) => Arc::ptr_eq(&a.session, &b.session),
            (Self::Queue(a, _), Self::Queue(b, _)) => Arc::ptr_eq(a, b),
            (Self::Group(a), Self::Group(b)) => Arc::ptr_eq(a, b),
            (Self::Log(a, _), Self::Log(b, _)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }

    /// What tells destinations apart; shared groups are each their own.
    fn identity(&self) -> Option<(bool, u64)> {
        match self {
            Self::Session(to) => Some((false, to.session.id)),
            Self::Queue(queue, _) => Some((true, queue.id().0.into())),
            // Partitions have numbers of queues.
            Self::Log(log, _) => Some((true, log.partitions[0].id.0.into())),
            Self::Group(_) => None,
        }
    }

    /// Takes up another binding of the same destination: the highest assurance, and all ids.
    fn absorb(&mut self, other: &Self) {
        match (self, other) {
            (Self::Session(to), Self::Session(more)) => {
                to.qos_max = to.qos_max.max(more.qos_max);
                to.no_local &= more.no_local;
                to.retain_as_published |= more.retain_as_published;
                if let Some(more) = &more.ids {
                    let ids = to.ids.iter().flat_map(|ids| ids.iter()).chain(more.iter()).copied();
                    to.ids = Some(ids.collect());
                }
            }
            (Self::Queue(_, qos_max), Self::Queue(_, more)) => *qos_max = (*qos_max).max(*more),
            _ => {}
        }
    }
}

fn merge(lists: &[&[Target]]) -> Vec<Target> {
    if let [one] = lists {
        return one.to_vec();
    }
    let mut merged: Vec<Target> = Vec::with_capacity(lists.iter().map(|list| list.len()).sum());
    let mut seen = HashMap::new();
    for target in lists.iter().copied().flatten() {
        let known = target.identity().and_then(|identity| match seen.entry(identity) {
            hashbrown::hash_map::Entry::Occupied(at) => Some(*at.get()),
            hashbrown::hash_map::Entry::Vacant(place) => {
                place.insert(merged.len());
                None
            }
        });
        match known {
            Some(at) => merged[at].absorb(target),
            None => merged.push(target.clone()),
        }
    }
    merged
}
