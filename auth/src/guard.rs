//! Slows down who guesses.

mod lanes;
mod table;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use roadbed_core::{AuthExchange, AuthStep, Authenticator, Credential, Error, ErrorKind, Identity, Peer, Result};
use serde::{Deserialize, Serialize};

use lanes::{Lanes, Turn};
use table::{Key, Table, Toll};

/// How those who fail to come in are slowed down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct GuardSettings {
    /// How many failures of one address, or for one name, cost no time; as many attempts of an address, at least one, are looked at at a time. Default 3.
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
    /// How many attempts of one address wait for those that are looked at; more are refused at once. Default 1,000.
    pub waiting_max: usize,
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
            waiting_max: 1000,
        }
    }
}

/// An authenticator that makes whoever has failed wait before the next attempt: by address, where an IPv6 address counts by its first 64 bits,
/// and by name. A name that is not there counts like any other. This machine's own addresses count for nothing, only names do there.
///
/// Of one address few attempts are looked at at a time, so that many connections are no way to guess often before the first failure is known.
pub struct Guard {
    inner: Arc<dyn Authenticator>,
    shared: Arc<Shared>,
}

struct Shared {
    table: Mutex<Table>,
    lanes: Arc<Lanes>,
    meters: Meters,
}

/// An attempt that is looked at.
struct Attempt {
    toll: Toll,
    /// Its turn among those of its address.
    _turn: Option<Turn>,
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
        let lanes = Lanes::new(settings.free, settings.waiting_max);
        let table = Mutex::new(Table::new(settings));
        Self { inner, shared: Arc::new(Shared { table, lanes, meters: Meters::default() }) }
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
    /// Waits for a turn, then as long as whoever tries again has to.
    async fn wait(&self, keys: &[Key]) -> Result<Attempt> {
        let address = keys.iter().find(|key| matches!(key, Key::Address(_)));
        let turn = match address {
            Some(address) => Some(self.lanes.turn(address).await.ok_or_else(|| self.refused())?),
            None => None,
        };
        let toll = self.table().enter(keys, Instant::now()).ok_or_else(|| self.refused())?;
        if !toll.wait.is_zero() {
            one(&self.meters.delayed);
            tokio::time::sleep(toll.wait).await;
        }
        Ok(Attempt { toll, _turn: turn })
    }

    fn refused(&self) -> Error {
        one(&self.meters.throttled);
        Error::new(ErrorKind::Exhausted, "authenticate").detail("too many failed logins")
    }

    /// Counts how it went; what is no answer about the credential counts as nothing.
    fn count<T>(&self, keys: &[Key], peer: &Peer, attempt: &Attempt, went: &Result<T>) {
        match went {
            Err(error) if matches!(error.kind(), ErrorKind::Unauthenticated | ErrorKind::Unauthorized) => {
                one(&self.meters.failed);
                self.table().fail(keys, Instant::now());
                let address = peer.address.map(|address| address.ip().to_string()).unwrap_or_default();
                tracing::info!(target: "roadbed::audit", address, why = %error, "a login has failed");
            }
            went => {
                self.table().give_back(&attempt.toll, Instant::now());
                if went.is_ok() {
                    one(&self.meters.succeeded);
                }
            }
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
        let attempt = self.shared.wait(&keys).await?;
        let went = self.inner.authenticate(peer, name, credential).await;
        if !matches!(credential, Credential::Anonymous) || went.is_ok() {
            self.shared.count(&keys, peer, &attempt, &went);
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
        Some(Box::new(Guarded { inner, shared, peer }))
    }
}

/// An exchange of whoever may have failed before.
struct Guarded {
    inner: Box<dyn AuthExchange>,
    shared: Arc<Shared>,
    peer: Peer,
}

#[async_trait]
impl AuthExchange for Guarded {
    async fn step(&mut self, data: Option<Bytes>) -> Result<AuthStep> {
        // Each step, since nobody knows which one is the guess; a turn is not held while the client has the word.
        let keys = Key::of(&self.peer, &Credential::Anonymous);
        let attempt = self.shared.wait(&keys).await?;
        let went = self.inner.step(data).await;
        match went {
            Ok(AuthStep::Continue(_)) => self.shared.table().give_back(&attempt.toll, Instant::now()),
            _ => self.shared.count(&keys, &self.peer, &attempt, &went),
        }
        went
    }
}

fn one(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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

    /// Looks long at each, as a slow hash does.
    #[derive(Default)]
    struct Slow {
        looks: AtomicU64,
        now: AtomicU64,
        most: AtomicU64,
    }

    #[async_trait]
    impl Authenticator for Slow {
        async fn authenticate(&self, _: &Peer, _: &str, _: &Credential) -> Result<Identity> {
            one(&self.looks);
            self.most.fetch_max(self.now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(100)).await;
            self.now.fetch_sub(1, Ordering::Relaxed);
            Err(Error::new(ErrorKind::Unauthenticated, "authenticate"))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn many_first_guesses_at_once_are_few_guesses() {
        let slow = Arc::new(Slow::default());
        let guard = Arc::new(Guard::new(slow.clone(), GuardSettings::default()));
        let attempts: Vec<_> = (0..4096)
            .map(|_| {
                let guard = Arc::clone(&guard);
                tokio::spawn(async move { attempt(&guard, "192.0.2.1:1", "alice", "guess").await })
            })
            .collect();
        let mut unseen = 0;
        for attempt in attempts {
            unseen += u32::from(attempt.await.unwrap().unwrap_err().kind() == ErrorKind::Exhausted);
        }
        let (looks, most) = (slow.looks.load(Ordering::Relaxed), slow.most.load(Ordering::Relaxed));
        assert!(looks <= 32 && most <= 3 && unseen >= 4000, "{looks} looks, {most} at once, {unseen} unseen");
        assert!(guard.shared.lanes.is_empty());
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
