//! Whether a hub may start as it is configured, who then checks credentials, and what everybody may do.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use roadbed::auth::{Guard, GuardCounters, Policy, PolicyAuthorizer};
use roadbed::serve::Crowd;
use roadbed::{Authenticator, AuthorizedLayer, Permissive, RationMeter, RationedLayer, Rations, Refusals, SystemClock};

use crate::Config;
use crate::auth::Door;
use crate::error::{Failure, Result};

/// How the hub lets people in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Those of the configuration.
    Users,
    /// Anybody on this machine: for development.
    Development,
    /// Anybody at all, because somebody said so.
    Insecure,
}

impl Access {
    /// What the configuration means.
    ///
    /// # Errors
    /// If it would let everybody in from other machines without saying so, or take their passwords in the clear.
    pub(crate) fn of(config: &Config) -> Result<Self> {
        let open: Option<&SocketAddr> =
            config.listen.plain(config.roads.plain).find(|address| !address.ip().is_loopback());
        let beyond: Option<&SocketAddr> = config.listen.all().find(|address| !address.ip().is_loopback());
        match (knows(config), beyond) {
            (true, _) => match open.filter(|_| !config.hub.insecure) {
                None => Ok(Self::Users),
                Some(address) => Err(Failure::usage(format!(
                    "refusing to listen on {address} without TLS: whoever is on the way could read passwords and tokens"
                ))
                .help("listen there with TLS, or say --insecure")),
            },
            (false, None) if config.auth.anonymous.is_empty() => Ok(Self::Development),
            (false, Some(_)) if config.hub.insecure && config.auth.anonymous.is_empty() => Ok(Self::Insecure),
            (false, None) => Ok(Self::Users),
            (false, Some(_)) if config.hub.insecure => Ok(Self::Users),
            (false, Some(address)) => Err(Failure::usage(format!(
                "refusing to listen on {address} without authentication: everybody who reaches it could read and write"
            ))
            .help("name [users] in the configuration (`roadbed hash NAME`), or say --insecure")),
        }
    }

    /// Whether the configuration is in order, as far as it is about identities and rights.
    ///
    /// # Errors
    /// If not.
    pub(crate) fn check(config: &Config) -> Result {
        Door::new(config)?;
        policy(config).map(drop)
    }

    /// What is said at the start.
    pub(crate) const fn notice(self) -> &'static str {
        match self {
            Self::Users => "users of the configuration may come in",
            Self::Development => "development mode: on this machine, any or no credentials are accepted",
            Self::Insecure => "INSECURE: everybody who reaches this hub may read and write, without credentials",
        }
    }
}

/// Whether anybody has to say who it is.
fn knows(config: &Config) -> bool {
    let named = !config.users.is_empty() || !config.sas.is_empty() || !config.jwt.is_empty();
    named || !config.auth.users_file.as_os_str().is_empty() || !config.auth.certificate.is_empty()
}

/// The gates of a hub: who comes in, and what they may do then.
#[derive(Clone)]
pub(crate) struct Gates {
    config: Arc<Config>,
    door: Option<Arc<Door>>,
    guard: Option<Arc<Guard>>,
    policy: Option<Arc<PolicyAuthorizer>>,
    refusals: Arc<Refusals>,
    rations: Option<RationedLayer>,
    rationed: Arc<RationMeter>,
    crowd: Arc<Crowd>,
}

impl Gates {
    /// The gates of a configuration.
    ///
    /// # Errors
    /// If something in it, or in one of its files, is not in order.
    pub(crate) fn new(config: &Config) -> Result<Self> {
        let door = match Access::of(config)? {
            Access::Users => Some(Arc::new(Door::new(config)?)),
            Access::Development | Access::Insecure => None,
        };
        let guard = door.clone().map(|door| Arc::new(Guard::new(door, config.guard.clone())));
        let policy = policy(config)?.map(Arc::new);
        let (limits, rationed) = (&config.limits, Arc::new(RationMeter::default()));
        let rations = Rations {
            sessions_max: limits.identity_sessions_max,
            messages_per_second: limits.identity_messages_per_second,
            burst: limits.identity_burst,
        };
        let rations = (rations != Rations::default())
            .then(|| RationedLayer::new(rations, Arc::new(SystemClock::default()), rationed.clone()));
        let crowd = Crowd::new(limits.connections_max, limits.address_connections_max);
        let (config, refusals) = (Arc::new(config.clone()), Arc::default());
        Ok(Self { config, door, guard, policy, refusals, rations, rationed, crowd })
    }

    /// Who checks credentials.
    pub(crate) fn authenticator(&self) -> Arc<dyn Authenticator> {
        match &self.guard {
            Some(guard) => guard.clone(),
            None => Arc::new(Permissive),
        }
    }

    /// What checks rights; `None` if everybody has all.
    pub(crate) fn layer(&self) -> Option<AuthorizedLayer> {
        self.policy.clone().map(|policy| AuthorizedLayer::new(policy, self.refusals.clone()))
    }

    /// What gives each principal its ration; `None` if there are none.
    pub(crate) fn rations(&self) -> Option<RationedLayer> {
        self.rations.clone()
    }

    /// Who is connected, over all listeners.
    pub(crate) const fn crowd(&self) -> &Arc<Crowd> {
        &self.crowd
    }

    /// Reads users, keys and policy again. What is not in order is logged, and the old stays.
    pub(crate) fn reload(&self) {
        let door = self.door.as_ref().map_or(Ok(()), |door| door.reload(&self.config));
        let policy = match &self.policy {
            Some(policy) => read(&self.config.auth.policy)
                .and_then(|read| policy.replace(&read).map_err(|error| named(&self.config.auth.policy, error))),
            None => Ok(()),
        };
        for failure in [door, policy].into_iter().filter_map(Result::err) {
            tracing::error!(%failure, "users or policy are not read again: the old ones stay");
        }
        tracing::info!("users and policy have been read again");
    }

    /// What was let in, and what was refused: as counters, with how many connections there are now.
    pub(crate) fn counters(&self) -> (Vec<(String, u64)>, usize) {
        let logins = self.guard.as_ref().map(|guard| guard.counters());
        let logins = logins.iter().flat_map(GuardCounters::iter).map(|(name, count)| (format!("logins_{name}"), count));
        let refused = self.refusals.snapshot();
        let refused = refused.iter().map(|(name, count)| (format!("refused_{name}"), count));
        let ((sessions, messages), (here, connections)) = (self.rationed.refused(), self.crowd.counts());
        let over = [("connections", connections), ("sessions", sessions), ("messages", messages)];
        let over = over.into_iter().map(|(name, count)| (format!("over_limit_{name}"), count));
        (logins.chain(refused).chain(over).collect(), here)
    }
}

fn policy(config: &Config) -> Result<Option<PolicyAuthorizer>> {
    let path = &config.auth.policy;
    if path.as_os_str().is_empty() {
        return Ok(None);
    }
    PolicyAuthorizer::new(&read(path)?).map(Some).map_err(|error| named(path, error))
}

fn read(path: &Path) -> Result<Policy> {
    let name = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("cannot read the policy {name}: {error}")))?;
    toml::from_str(&text).map_err(|error| named(path, error.message()))
}

fn named(path: &Path, error: impl std::fmt::Display) -> Failure {
    Failure::usage(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(address: &str, insecure: bool, users: bool) -> Config {
        let mut config = Config::default();
        config.listen.http = vec![address.parse().unwrap()];
        config.hub.insecure = insecure;
        if users {
            config.users.insert("alice".into(), "hash".into());
        }
        config
    }

    #[test]
    fn beyond_this_machine_somebody_has_to_say_who_may_come_in() {
        assert_eq!(Access::of(&config("[::1]:80", false, false)).unwrap(), Access::Development);
        assert_eq!(Access::of(&config("[::1]:80", false, true)).unwrap(), Access::Users);
        assert_eq!(Access::of(&config("[::]:80", true, false)).unwrap(), Access::Insecure);
        let failure = Access::of(&config("192.0.2.1:80", false, false)).unwrap_err().to_string();
        assert!(failure.contains("192.0.2.1:80") && failure.contains("--insecure"), "{failure}");
    }

    #[test]
    fn beyond_this_machine_no_password_is_taken_in_the_clear() {
        let failure = Access::of(&config("0.0.0.0:80", false, true)).unwrap_err().to_string();
        assert!(failure.contains("0.0.0.0:80") && failure.contains("TLS"), "{failure}");
        assert_eq!(Access::of(&config("0.0.0.0:80", true, true)).unwrap(), Access::Users, "and users all the same");
    }

    #[test]
    fn somebody_anonymous_is_no_authentication() {
        let mut config = config("0.0.0.0:80", false, false);
        config.auth.anonymous = "guest".into();
        assert!(Access::of(&config).is_err());
    }
}
