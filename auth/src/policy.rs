//! A policy: who may send where, receive from where, and manage what.

mod name;
mod rights;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use roadbed_core::{Authorizer, Filter, Result, Rights};
use serde::{Deserialize, Serialize};

use crate::SetupError;
use name::Name;
use rights::PolicyRights;

/// What stands for the principal in a pattern.
const PLACE: &str = "{id}";

/// A policy as it is written: what none of the rules allows is refused.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// The rules: `[[allow]]`.
    pub allow: Vec<Allow>,
}

/// A rule of a policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Allow {
    /// Whom it is about: names, in which one `*` stands for anything; `*` alone is everybody with a name.
    pub who: Vec<String>,
    /// What they may send to: filters, in which `{id}` is their name.
    pub send: Vec<String>,
    /// What they may follow, take from and read.
    pub receive: Vec<String>,
    /// Which queues and logs they may declare, bind, purge and delete.
    pub manage: Vec<String>,
    /// Whether they may send to temporary queues of others: answers to requests.
    pub reply: bool,
}

/// A policy that is in force, and can be replaced while it is.
#[derive(Debug)]
pub struct PolicyAuthorizer(Arc<Current>);

/// Moved last when the policy is replaced, so that whoever sees it move finds the new one.
#[derive(Debug)]
struct Current {
    rules: RwLock<Arc<Vec<Rule>>>,
    version: AtomicU64,
}

/// A rule that has been checked.
#[derive(Debug)]
struct Rule {
    who: Vec<Name>,
    send: Vec<String>,
    receive: Vec<String>,
    manage: Vec<String>,
    reply: bool,
}

impl PolicyAuthorizer {
    /// Puts `policy` in force.
    ///
    /// # Errors
    /// If one of its patterns is none.
    pub fn new(policy: &Policy) -> core::result::Result<Self, SetupError> {
        let rules = RwLock::new(Arc::new(checked(policy)?));
        Ok(Self(Arc::new(Current { rules, version: AtomicU64::new(0) })))
    }

    /// Puts `policy` in force instead: also for sessions that are open.
    ///
    /// # Errors
    /// If one of its patterns is none; then nothing changes.
    pub fn replace(&self, policy: &Policy) -> core::result::Result<(), SetupError> {
        let rules = Arc::new(checked(policy)?);
        *self.0.rules.write().unwrap_or_else(PoisonError::into_inner) = rules;
        self.0.version.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// What `principal` may do, now and after the policy is replaced.
    pub fn rights_of(&self, principal: &str) -> impl Rights + use<> {
        PolicyRights::new(Arc::clone(&self.0), principal)
    }
}

#[async_trait]
impl Authorizer for PolicyAuthorizer {
    async fn rights(&self, principal: &str) -> Result<Arc<dyn Rights>> {
        Ok(Arc::new(self.rights_of(principal)))
    }
}

fn checked(policy: &Policy) -> core::result::Result<Vec<Rule>, SetupError> {
    policy
        .allow
        .iter()
        .enumerate()
        .map(|(n, allow)| rule(allow).map_err(|why| SetupError::Policy { rule: n + 1, why }))
        .collect()
}

fn rule(allow: &Allow) -> core::result::Result<Rule, String> {
    if allow.who.is_empty() {
        return Err("it says not whom it is about: who = [\"*\"] is everybody".into());
    }
    for pattern in allow.send.iter().chain(&allow.receive).chain(&allow.manage) {
        // As it would be for somebody with a plain name.
        Filter::new(pattern.replace(PLACE, "x")).map_err(|error| format!("`{pattern}`: {error}"))?;
        if pattern.replace(PLACE, "").contains(['{', '}']) {
            return Err(format!("`{pattern}`: only {PLACE} can stand for something"));
        }
    }
    let who = allow.who.iter().map(|text| Name::new(text)).collect::<core::result::Result<_, _>>()?;
    let (send, receive, manage) = (allow.send.clone(), allow.receive.clone(), allow.manage.clone());
    Ok(Rule { who, send, receive, manage, reply: allow.reply })
}

#[cfg(test)]
mod tests {
    use roadbed_core::{Action, Address};

    use super::*;

    fn policy(allow: Vec<Allow>) -> Policy {
        Policy { allow }
    }

    fn devices() -> Allow {
        Allow {
            who: vec!["*".into()],
            send: vec!["devices/{id}/events/#".into()],
            receive: vec!["devices/{id}/commands/#".into(), "news/+".into()],
            ..Allow::default()
        }
    }

    fn backend() -> Allow {
        Allow {
            who: vec!["backend-*".into()],
            receive: vec!["devices/+/events/#".into(), "queues/orders".into()],
            manage: vec!["queues/#".into()],
            reply: true,
            ..Allow::default()
        }
    }

    fn sends(rights: &impl Rights, address: &str) -> bool {
        rights.allows(Action::Send(&address.parse::<Address>().unwrap()))
    }

    fn receives(rights: &impl Rights, address: &str) -> bool {
        rights.allows(Action::Receive(&address.parse::<Address>().unwrap()))
    }

    fn follows(rights: &impl Rights, filter: &str) -> bool {
        rights.allows(Action::Bind(&filter.parse().unwrap()))
    }

    #[test]
    fn a_device_sends_as_itself_and_follows_what_is_its_own() {
        let authorizer = PolicyAuthorizer::new(&policy(vec![devices(), backend()])).unwrap();
        let d1 = authorizer.rights_of("d1");
        assert!(sends(&d1, "devices/d1/events/hot") && sends(&d1, "devices/d1/events"));
        assert!(!sends(&d1, "devices/d2/events/hot") && !sends(&d1, "devices/d1/commands/x") && !sends(&d1, "$SYS/x"));
        assert!(follows(&d1, "devices/d1/commands/#") && follows(&d1, "devices/d1/commands/+/now"));
        for wider in
            ["#", "+/#", "devices/#", "devices/+/commands/#", "devices/d1/#", "devices/d2/commands/#", "news/#"]
        {
            assert!(!follows(&d1, wider), "{wider}");
        }
        assert!(receives(&d1, "news/today") && !receives(&d1, "news/a/b") && !receives(&d1, "queues/orders"));
        assert!(!d1.allows(Action::Manage(&"queues/d1".parse().unwrap())));
    }

    #[test]
    fn a_back_end_sees_all_devices_and_manages_queues() {
        let authorizer = PolicyAuthorizer::new(&policy(vec![devices(), backend()])).unwrap();
        let backend = authorizer.rights_of("backend-7");
        assert!(follows(&backend, "devices/+/events/#") && follows(&backend, "devices/d1/events/hot"));
        assert!(!follows(&backend, "devices/+/+/#"));
        assert!(receives(&backend, "queues/orders") && !receives(&backend, "queues/other"));
        assert!(backend.allows(Action::Manage(&"queues/new".parse().unwrap())));
        assert!(!backend.allows(Action::Manage(&"logs/new".parse().unwrap())));
        assert!(sends(&backend, "queues/tmp-1-2") && !sends(&authorizer.rights_of("d1"), "queues/tmp-1-2"));
    }

    #[test]
    fn a_name_cannot_make_a_pattern_wider() {
        let everything =
            Allow { who: vec!["*".into()], send: vec!["{id}/#".into(), "devices/{id}/#".into()], ..Allow::default() };
        let authorizer = PolicyAuthorizer::new(&policy(vec![everything])).unwrap();
        assert!(sends(&authorizer.rights_of("d1"), "d1/x"));
        for name in ["#", "+", "d1/../d2", "a/b", "$SYS", "queues", "logs", "\0", ""] {
            let rights = authorizer.rights_of(name);
            for address in ["devices/d1/x", "$SYS/x", "queues/x", "logs/x", "a/b/x", "d1/x"] {
                assert!(!sends(&rights, address), "{name:?} {address}");
            }
        }
    }

    #[test]
    fn nobody_in_particular_is_not_everybody() {
        let authorizer = PolicyAuthorizer::new(&policy(vec![Allow { send: vec!["#".into()], ..devices() }])).unwrap();
        assert!(sends(&authorizer.rights_of("d1"), "a") && !sends(&authorizer.rights_of(""), "a"));
        let nobody = Allow { who: vec![String::new()], send: vec!["hello".into()], ..Allow::default() };
        let authorizer = PolicyAuthorizer::new(&policy(vec![nobody])).unwrap();
        assert!(sends(&authorizer.rights_of(""), "hello") && !sends(&authorizer.rights_of("d1"), "hello"));
    }

    #[test]
    fn a_policy_is_replaced_for_those_who_are_there() {
        let authorizer = PolicyAuthorizer::new(&policy(vec![devices()])).unwrap();
        let d1 = authorizer.rights_of("d1");
        let before = d1.version();
        assert!(sends(&d1, "devices/d1/events/x"));
        authorizer.replace(&policy(vec![])).unwrap();
        assert!(d1.version() != before && !sends(&d1, "devices/d1/events/x"));
        let broken = Allow { send: vec!["a/#/b".into()], ..devices() };
        assert!(authorizer.replace(&policy(vec![broken])).is_err());
        assert_eq!(d1.version(), before + 1, "a broken policy changes nothing");
    }

    #[test]
    fn mistakes_are_named() {
        for (allow, says) in [
            (Allow { who: vec![], ..devices() }, "whom"),
            (Allow { who: vec!["a*b*".into()], ..devices() }, "a*b*"),
            (Allow { send: vec!["a/b#".into()], ..devices() }, "a/b#"),
            (Allow { receive: vec!["a/{name}".into()], ..devices() }, "{name}"),
        ] {
            let error = PolicyAuthorizer::new(&policy(vec![devices(), allow])).unwrap_err().to_string();
            assert!(error.contains("rule 2") && error.contains(says), "{error}");
        }
    }
}
