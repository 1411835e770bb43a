//! Slows down who guesses.

mod table;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use roadbed_core::{AuthExchange, AuthStep, Authenticator, Credential, Error, ErrorKind, Identity, Peer, Result};
use serde::{Deserialize, Serialize};

use table::{Key, Table};

/// How those who fail to come in are slowed down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct GuardSettings {
    /// How many failures of one address, or for one name, cost no time. Default 3.
    pub free: u32,
    /// How long the next attempt waits after one failure more, in milliseconds; it doubles with each. Default 250.
    pub delay_ms: u64,
    /// The longest that an attempt from an address waits, in milliseconds; one that would wait longer is refused at once. Default 8,000; 0: nobody waits.
    pub delay_ms_max: u64,
    /// The longest that an attempt for a name waits, in milliseconds: little, since whoever knows the name can make its owner wait. Default 1,000.
    pub name_delay_ms_max: u64,
    /// After how long half of the failures are forgotten, in seconds. Default 60.
    pub forget_seconds: u64,
    /// How many addresses and names are remembered. Default 100,000.
    pub entries_max: usize,
}

impl Default for GuardSettings {
    fn default() -> Self {
        Self {
            free: 3,
            delay_ms: 250,
            delay_ms_max: 8000,
            name_delay_ms_max: 1000,
            forget_seconds: 60,
            entries_max: 100_000,
        }
    }
}

/// An authenticator that makes whoever has failed wait before the next attempt: by address, where an IPv6 address counts by its first 64 bits,
/// and by name. A name that is not there counts like any other.
pub struct Guard {
    inner: Arc<dyn Authenticator>,
    shared: Arc<Shared>,
}

struct Shared {
    table: Mutex<Table>,
    meters: Meters,
}

#[derive(Default)]
struct Meters {
    succeeded: AtomicU64,
    failed: AtomicU64,
    delayed: AtomicU64,
    throttled: AtomicU64,
}

/// What a [`Guard`] has seen since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GuardCounters {
    /// Credentials that were right.
    pub succeeded: u64,
    /// Credentials that were wrong.
    pub failed: u64,
    /// Attempts that had to wait.
    pub delayed: u64,
    /// Attempts that were refused unseen, since they would have waited too long.
    pub throttled: u64,
}

impl GuardCounters {
    /// Each figure with its name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let Self { succeeded, failed, delayed, throttled } = *self;
        [("succeeded", succeeded), ("failed", failed), ("delayed", delayed), ("throttled", throttled)].into_iter()
    }
}

impl Guard {
    /// Guards `inner`.
    pub fn new(inner: Arc<dyn Authenticator>, settings: GuardSettings) -> Self {
        Self { inner, shared: Arc::new(Shared { table: Mutex::new(Table::new(settings)), meters: Meters::default() }) }
    }

    /// What it has seen since its start.
    pub fn counters(&self) -> GuardCounters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let meters = &self.shared.meters;
        GuardCounters {
            succeeded: read(&meters.succeeded),
            failed: read(&meters.failed),
            delayed: read(&meters.delayed),
            throttled: read(&meters.throttled),
        }
    }
}

impl core::fmt::Debug for Guard {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Guard").finish_non_exhaustive()
    }
}

impl Shared {
    /// Waits as long as whoever tries again has to.
    async fn wait(&self, keys: &[Key]) -> Result<()> {
        let wait = self.table().enter(keys, Instant::now());
        match wait {
            Some(Duration::ZERO) => {}
            Some(wait) => {
                one(&self.meters.delayed);
                tokio::time::sleep(wait).await;
            }
            None => {
                one(&self.meters.throttled);
                return Err(Error::new(ErrorKind::Exhausted, "authenticate").detail("too many failed logins"));
            }
        }
        Ok(())
    }

    /// Counts how it went; what is no answer about the credential counts as nothing.
    fn count<T>(&self, keys: &[Key], peer: &Peer, went: &Result<T>) {
        match went {
            Ok(_) => one(&self.meters.succeeded),
            Err(error) if matches!(error.kind(), ErrorKind::Unauthenticated | ErrorKind::Unauthorized) => {
                one(&self.meters.failed);
                self.table().fail(keys, Instant::now());
                let address = peer.address.map(|address| address.ip().to_string()).unwrap_or_default();
                tracing::info!(target: "roadbed::audit", address, why = %error, "a login has failed");
            }
            Err(_) => {}
        }
    }

    fn table(&self) -> std::sync::MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Authenticator for Guard {
    async fn authenticate(&self, peer: &Peer, name: &str, credential: &Credential) -> Result<Identity> {
        let keys = Key::of(peer, credential);
        self.shared.wait(&keys).await?;
        let went = self.inner.authenticate(peer, name, credential).await;
        if !matches!(credential, Credential::Anonymous) || went.is_ok() {
            self.shared.count(&keys, peer, &went);
        }
        went
    }

    fn mechanisms(&self) -> &[&'static str] {
        self.inner.mechanisms()
    }

    fn takes_tokens(&self) -> bool {
        self.inner.takes_tokens()
    }

    fn exchange(&self, peer: &Peer, name: &str, mechanism: &str) -> Option<Box<dyn AuthExchange>> {
        let inner = self.inner.exchange(peer, name, mechanism)?;
        let (shared, peer) = (Arc::clone(&self.shared), peer.clone());
        Some(Box::new(Guarded { inner, shared, peer, waited: false }))
    }
}

/// An exchange of whoever may have failed before.
struct Guarded {
    inner: Box<dyn AuthExchange>,
    shared: Arc<Shared>,
    peer: Peer,
    waited: bool,
}

#[async_trait]
impl AuthExchange for Guarded {
    async fn step(&mut self, data: Option<Bytes>) -> Result<AuthStep> {
        let keys = Key::of(&self.peer, &Credential::Anonymous);
        if !core::mem::replace(&mut self.waited, true) {
            self.shared.wait(&keys).await?;
        }
        let went = self.inner.step(data).await;
        if !matches!(went, Ok(AuthStep::Continue(_))) {
            self.shared.count(&keys, &self.peer, &went);
        }
        went
    }
}

fn one(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use bytestring::ByteString;

    use super::*;

    struct Alice;

    #[async_trait]
    impl Authenticator for Alice {
        async fn authenticate(&self, _: &Peer, _: &str, credential: &Credential) -> Result<Identity> {
            match credential {
                Credential::Password { user, password } if user == "alice" && password == "secret" => {
                    Ok(Identity::new("alice"))
                }
                _ => Err(Error::new(ErrorKind::Unauthenticated, "authenticate")),
            }
        }
    }

    fn guard() -> Guard {
        Guard::new(Arc::new(Alice), GuardSettings::default())
    }

    async fn attempt(guard: &Guard, address: &str, user: &'static str, password: &'static str) -> Result<Identity> {
        let credential = Credential::Password { user: ByteString::from_static(user), password: password.into() };
        guard.authenticate(&Peer::at(address.parse().unwrap()), "", &credential).await
    }

    #[tokio::test(start_paused = true)]
    async fn the_more_fail_the_longer_the_next_one_waits() {
        let guard = guard();
        let mut waits = Vec::new();
        for n in 0..9 {
            let began = tokio::time::Instant::now();
            // As if by many names, so that only the address counts.
            let user = ["a", "b", "c", "d", "e", "f", "g", "h", "i"][n];
            assert!(attempt(&guard, "192.0.2.1:1", user, "guess").await.is_err());
            waits.push(began.elapsed().as_millis());
        }
        assert!(waits[..3].iter().all(|wait| *wait == 0), "{waits:?}");
        assert!(waits[4] > 0 && waits.is_sorted() && waits[8] <= 8001, "{waits:?}");
        let began = tokio::time::Instant::now();
        assert!(attempt(&guard, "192.0.2.2:1", "alice", "secret").await.is_ok(), "another address");
        assert!(began.elapsed().is_zero());
        let counters = guard.counters();
        assert_eq!((counters.succeeded, counters.failed), (1, 9));
        assert!(counters.delayed >= 5);
    }

    #[tokio::test(start_paused = true)]
    async fn many_at_once_do_not_get_more_guesses() {
        let guard = Arc::new(guard());
        let attempts: Vec<_> = (0..200)
            .map(|_| {
                let guard = Arc::clone(&guard);
                tokio::spawn(async move { attempt(&guard, "192.0.2.1:1", "alice", "guess").await })
            })
            .collect();
        for attempt in attempts {
            assert!(attempt.await.unwrap().is_err());
        }
        let _ = attempt(&guard, "192.0.2.1:2", "alice", "guess").await;
        let again: Vec<_> = (0..200)
            .map(|_| {
                let guard = Arc::clone(&guard);
                tokio::spawn(async move { attempt(&guard, "192.0.2.1:1", "alice", "guess").await })
            })
            .collect();
        for attempt in again {
            assert!(attempt.await.unwrap().is_err());
        }
        assert!(guard.counters().throttled >= 190, "{:?}", guard.counters());
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_is_not_there_waits_as_long_as_one_that_is() {
        let mut took = Vec::new();
        for user in ["alice", "nobody"] {
            let guard = guard();
            let began = tokio::time::Instant::now();
            for n in 0..8 {
                let address = format!("192.0.2.{n}:1");
                assert!(attempt(&guard, &address, user, "guess").await.is_err());
            }
            took.push(began.elapsed().as_millis());
        }
        assert!(took[0] > 0 && took[0].abs_diff(took[1]) <= 10, "{took:?}");
    }
}
