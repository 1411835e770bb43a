//! What a session follows.

use std::sync::Arc;

use roadbed_core::{Binding, Error, ErrorKind, Filter, Granted, Qos, Result, RetainHandling, Unbind};

use super::{Bound, SessionCore};
use crate::broker::Shared;
use crate::entry::Entry;
use crate::lock;
use crate::registry::{is_log_filter, is_queue_filter, own};
use crate::router::{Member, Router, Subscriber, Target};

impl Shared {
    /// Makes a session's own queue follow a filter.
    pub(crate) fn bind_session(&self, session: &Arc<SessionCore>, binding: &Binding) -> Result<Granted> {
        if is_log_filter(&binding.filter) && binding.filter.as_str().split('/').count() < 3 {
            let words = "a filter of logs says which partitions: logs/NAME/N, or logs/NAME/+ for all";
            return Err(Error::new(ErrorKind::Invalid, "bind").detail(words));
        }
        let competes = is_queue_filter(&binding.filter);
        let share = binding.share.as_ref().map(|share| String::from(&**share).into());
        let mut binding = Binding { filter: own(&binding.filter), share, ..binding.clone() };
        let replaced = {
            let mut inner = lock(&session.inner);
            if let Some(most) = inner.cold.as_ref().and_then(|cold| cold.qos_max) {
                binding.qos_max = binding.qos_max.min(most);
            }
            let bound = Bound::new(&binding, competes);
            let known = inner.bindings.iter().position(|known| known.is(&binding.filter, &binding.share));
            match known {
                Some(at) => {
                    inner.bindings[at] = bound;
                    true
                }
                None if inner.bindings.len() >= self.settings.session_bindings_max => {
                    self.meters.bindings_refused.one();
                    return Err(Error::new(ErrorKind::Exhausted, "bind").detail("the session has too many bindings"));
                }
                None => {
                    if inner.bindings.is_empty() {
                        inner.bindings.reserve_exact(1);
                    }
                    inner.bindings.push(bound);
                    false
                }
            }
        };
        if competes {
            if let Err(error) = self.watch(session, &binding) {
                lock(&session.inner).bindings.retain(|known| !known.is(&binding.filter, &binding.share));
                return Err(error);
            }
        } else {
            self.route_session(session, &binding, replaced);
        }
        self.meters.bindings.add(u64::from(!replaced));
        Ok(Granted { qos: binding.qos_max, replaced })
    }

    fn route_session(&self, session: &Arc<SessionCore>, binding: &Binding, replaced: bool) {
        let (qos_max, retain_as_published) = (binding.qos_max, binding.retain_as_published);
        if let Some(share) = &binding.share {
            let member = Member { session: session.clone(), qos_max, retain_as_published, id: binding.id };
            self.router_of(&binding.filter).join(share, &binding.filter, member);
            self.meters.bindings_shared.add(u64::from(!replaced));
            return;
        }
        let ids = binding.id.map(|id| Arc::from([id]));
        let (session, no_local) = (session.clone(), binding.no_local);
        let to = Subscriber { session: session.clone(), qos_max, no_local, retain_as_published, ids };
        self.router_of(&binding.filter).bind(&binding.filter, Target::Session(to), replaced);
        let wanted = match binding.retain_handling {
            _ if is_log_filter(&binding.filter) => false,
            RetainHandling::Always => true,
            RetainHandling::IfNew => !replaced,
            RetainHandling::Never => false,
        };
        if wanted {
            self.send_retained(&session, binding);
        }
    }

    /// Where bindings of this filter are: what follows logs is apart, so that no wildcard of topics has a message twice.
    pub(crate) fn router_of(&self, filter: &Filter) -> &Router {
        if is_log_filter(filter) { &self.followers } else { &self.router }
    }

    fn send_retained(&self, session: &SessionCore, binding: &Binding) {
        if self.meters.retained.load() == 0 {
            return;
        }
        // More than there is room for would only push each other out.
        let room = self.settings.session_messages_max.saturating_sub(lock(&session.inner).ring.len());
        for (message, qos) in self.retained.matching(&binding.filter, self.now(), room) {
            let qos: Qos = qos.min(binding.qos_max);
            let entry = Entry::new(message, qos, true);
            // A full queue has counted what it dropped.
            let _ = session.push_entry(self, entry, binding.id.as_slice());
        }
    }

    /// Makes it stop. Whether it followed the filter.
    pub(crate) fn unbind_session(&self, session: &Arc<SessionCore>, unbind: &Unbind) -> bool {
        let bound = {
            let mut inner = lock(&session.inner);
            let at = inner.bindings.iter().position(|known| known.is(&unbind.filter, &unbind.share));
            at.map(|at| inner.bindings.remove(at))
        };
        let Some(bound) = bound else { return false };
        self.unroute_session(session, &bound);
        true
    }
}

impl Bound {
    fn new(binding: &Binding, competes: bool) -> Self {
        Self {
            filter: binding.filter.clone(),
            share: binding.share.clone().map(Box::new),
            id: binding.id,
            qos_max: binding.qos_max,
            no_local: binding.no_local,
            retain_handling: binding.retain_handling,
            retain_as_published: binding.retain_as_published,
            competes,
        }
    }

    /// As it was asked for.
    pub(crate) fn binding(&self) -> Binding {
        Binding {
            share: self.share.as_deref().cloned(),
            no_local: self.no_local,
            retain_handling: self.retain_handling,
            retain_as_published: self.retain_as_published,
            id: self.id,
            ..Binding::new(self.filter.clone(), self.qos_max)
        }
    }

    fn is(&self, filter: &roadbed_core::Filter, share: &Option<bytestring::ByteString>) -> bool {
        self.filter == *filter && self.share.as_deref() == share.as_ref()
    }
}
