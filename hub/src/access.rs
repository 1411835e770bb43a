//! Whether a hub may start without authentication, and who then checks credentials.

use std::net::SocketAddr;
use std::sync::Arc;

use roadbed::{Authenticator, Permissive};

use crate::error::{Failure, Result};
use crate::{Config, Users};

/// How the hub lets people in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// By the users of the configuration.
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
    /// If it would let everybody in from other machines without saying so.
    pub(crate) fn of(config: &Config) -> Result<Self> {
        let open: Option<&SocketAddr> = config.listen.all().find(|address| !address.ip().is_loopback());
        match open {
            _ if !config.users.is_empty() => Ok(Self::Users),
            None => Ok(Self::Development),
            Some(_) if config.hub.insecure => Ok(Self::Insecure),
            Some(address) => Err(Failure::usage(format!(
                "refusing to listen on {address} without authentication: everybody who reaches it could read and write"
            ))
            .help("name [users] in the configuration (`roadbed hash NAME`), or say --insecure")),
        }
    }

    /// Who checks credentials.
    ///
    /// # Errors
    /// If a password hash of the configuration is not one.
    pub(crate) fn authenticator(self, config: &Config) -> Result<Arc<dyn Authenticator>> {
        Ok(match self {
            Self::Users => Arc::new(Users::new(&config.users)?),
            Self::Development | Self::Insecure => Arc::new(Permissive),
        })
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
        assert_eq!(Access::of(&config("0.0.0.0:80", false, true)).unwrap(), Access::Users);
        assert_eq!(Access::of(&config("[::]:80", true, false)).unwrap(), Access::Insecure);
        let failure = Access::of(&config("192.0.2.1:80", false, false)).unwrap_err().to_string();
        assert!(failure.contains("192.0.2.1:80") && failure.contains("--insecure"), "{failure}");
    }
}
