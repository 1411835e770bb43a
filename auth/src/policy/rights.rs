use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use roadbed_core::{Action, Address, Filter, Rights, is_reserved};

use super::{Current, PLACE, Rule};

/// How the addresses of temporary queues begin.
const TEMPORARY: &str = "queues/tmp-";

/// What one principal may do, by the policy that is in force.
pub(super) struct PolicyRights {
    current: Arc<Current>,
    principal: String,
    /// By the policy of this version.
    own: Mutex<(u64, Arc<Own>)>,
}

/// The patterns that are about a principal, with its name in them.
#[derive(Default)]
struct Own {
    send: Vec<Filter>,
    receive: Vec<Filter>,
    manage: Vec<Filter>,
    reply: bool,
}

impl PolicyRights {
    pub(super) fn new(current: Arc<Current>, principal: &str) -> Self {
        let own = Mutex::new(read(&current, principal));
        Self { current, principal: principal.into(), own }
    }

    fn own(&self) -> Arc<Own> {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if own.0 != self.version() {
            *own = read(&self.current, &self.principal);
        }
        Arc::clone(&own.1)
    }
}

impl Rights for PolicyRights {
    fn allows(&self, action: Action<'_>) -> bool {
        let own = self.own();
        match action {
            Action::Send(address) => any(&own.send, address) || (own.reply && address.as_str().starts_with(TEMPORARY)),
            Action::Receive(address) => any(&own.receive, address),
            Action::Manage(address) => any(&own.manage, address),
            Action::Bind(filter) => own.receive.iter().any(|allowed| allowed.covers(filter)),
            _ => false,
        }
    }

    fn version(&self) -> u64 {
        self.current.version.load(Ordering::Acquire)
    }
}

fn any(filters: &[Filter], address: &Address) -> bool {
    filters.iter().any(|filter| filter.matches(address))
}

/// The version is read before the rules: if they are newer than that, they are read once more than needed.
fn read(current: &Current, principal: &str) -> (u64, Arc<Own>) {
    let version = current.version.load(Ordering::Acquire);
    let rules = Arc::clone(&current.rules.read().unwrap_or_else(PoisonError::into_inner));
    let mut own = Own::default();
    for rule in rules.iter().filter(|rule| rule.who.iter().any(|name| name.is(principal))) {
        own.add(rule, principal);
    }
    (version, Arc::new(own))
}

impl Own {
    fn add(&mut self, rule: &Rule, principal: &str) {
        let filters =
            |patterns: &[String]| patterns.iter().filter_map(|pattern| filter(pattern, principal)).collect::<Vec<_>>();
        self.send.extend(filters(&rule.send));
        self.receive.extend(filters(&rule.receive));
        self.manage.extend(filters(&rule.manage));
        self.reply |= rule.reply;
    }
}

/// The filter that a pattern is for `principal`. `None`: the name would be more than a part of a level, or make the address one of those that
/// wildcards do not reach.
fn filter(pattern: &str, principal: &str) -> Option<Filter> {
    if !pattern.contains(PLACE) {
        return Filter::new(pattern).ok();
    }
    if principal.is_empty() || principal.contains(['/', '+', '#', '\0']) {
        return None;
    }
    let filled = pattern.replace(PLACE, principal);
    let meant = is_reserved(&pattern.replace(PLACE, "x"));
    Filter::new(filled).ok().filter(|filter| is_reserved(filter.as_str()) == meant)
}
