use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use bytestring::ByteString;
use roadbed_core::{Credential, Peer};

use super::GuardSettings;

/// The longest name that is remembered as it is, in bytes; longer ones count by their beginning.
const NAME_BYTES_MAX: usize = 256;

/// Who failed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    Address(IpAddr),
    Name(ByteString),
}

impl Key {
    /// Whom an attempt is counted for. This machine is nobody: behind one proxy on it there are many.
    pub(super) fn of(peer: &Peer, credential: &Credential) -> Vec<Self> {
        let address = peer.address.map(|address| address.ip().to_canonical()).filter(|address| !address.is_loopback());
        let address = address.map(|address| Self::Address(network(address)));
        let name = match credential {
            Credential::Password { user, .. } if !user.is_empty() => {
                let end = (0..=NAME_BYTES_MAX.min(user.len())).rev().find(|end| user.is_char_boundary(*end));
                Some(Self::Name(String::from(&user[..end.unwrap_or_default()]).into()))
            }
            _ => None,
        };
        address.into_iter().chain(name).collect()
    }
}

/// Whoever has one address of IPv6 has 2^64 of them.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        address => address,
    }
}

/// What an attempt costs.
#[derive(Debug, Default)]
pub(super) struct Toll {
    /// How long it waits.
    pub(super) wait: Duration,
    /// How much longer those after it wait.
    added: Vec<(Key, Duration)>,
}

/// Failures not long ago.
pub(super) struct Table {
    settings: GuardSettings,
    entries: HashMap<Key, Entry>,
}

struct Entry {
    failures: u32,
    /// Since when half of them were not forgotten.
    since: Instant,
    /// Before then, nobody is looked at.
    next: Instant,
}

impl Table {
    pub(super) fn new(settings: GuardSettings) -> Self {
        Self { settings, entries: HashMap::new() }
    }

    /// What an attempt has to wait; the one after it waits longer, so that many at once are no quicker. `None`: too long. A name alone refuses nobody,
    /// and makes nobody wait for longer than its most: whoever knows it could lock its owner out.
    pub(super) fn enter(&mut self, keys: &[Key], now: Instant) -> Option<Toll> {
        let (mut wait, settings) = (Duration::ZERO, &self.settings);
        for key in keys {
            if let Some(entry) = self.entries.get_mut(key) {
                entry.forget(settings, now);
                let ahead = entry.next.saturating_duration_since(now);
                let max = most(settings, key);
                if matches!(key, Key::Address(_)) && ahead > max {
                    return None;
                }
                wait = wait.max(ahead.min(max));
            }
        }
        let mut added = Vec::new();
        for key in keys {
            if let Some(entry) = self.entries.get_mut(key) {
                let each = delay(settings, key, entry.failures);
                entry.next = entry.next.max(now) + each;
                if matches!(key, Key::Name(_)) {
                    entry.next = entry.next.min(now + most(settings, key));
                }
                added.push((key.clone(), each));
            }
        }
        Some(Toll { wait, added })
    }

    /// The attempt was no failure: others do not wait for it.
    pub(super) fn give_back(&mut self, toll: &Toll, now: Instant) {
        for (key, each) in &toll.added {
            if let Some(entry) = self.entries.get_mut(key) {
                entry.next = entry.next.checked_sub(*each).map_or(now, |next| next.max(now));
            }
        }
    }

    pub(super) fn fail(&mut self, keys: &[Key], now: Instant) {
        for key in keys {
            self.make_room(now);
            let settings = &self.settings;
            let entry = self.entries.entry(key.clone()).or_insert(Entry { failures: 0, since: now, next: now });
            entry.forget(settings, now);
            entry.failures = entry.failures.saturating_add(1);
            entry.next = entry.next.max(now + delay(settings, key, entry.failures));
        }
    }

    /// Those who waited long enough are forgotten first; if all are recent, all are: the memory has a bound, whoever attacks from so many
    /// addresses.
    fn make_room(&mut self, now: Instant) {
        if self.entries.len() < self.settings.entries_max.max(1) {
            return;
        }
        let settings = &self.settings;
        self.entries.retain(|_, entry| {
            entry.forget(settings, now);
            entry.failures > 0 && entry.next > now
        });
        if self.entries.len() >= self.settings.entries_max.max(1) {
            self.entries.clear();
        }
    }
}

impl Entry {
    fn forget(&mut self, settings: &GuardSettings, now: Instant) {
        let each = Duration::from_secs(settings.forget_seconds.max(1));
        let halves = (now.saturating_duration_since(self.since).as_secs() / each.as_secs()).min(31) as u32;
        if halves > 0 {
            (self.failures, self.since) = (self.failures >> halves, self.since + each * halves);
        }
        if self.failures == 0 {
            self.since = now;
        }
    }
}

fn delay(settings: &GuardSettings, key: &Key, failures: u32) -> Duration {
    match failures.checked_sub(settings.free.saturating_add(1)) {
        None => Duration::ZERO,
        Some(more) => {
            Duration::from_millis(settings.delay_ms.saturating_mul(1 << more.min(32))).min(most(settings, key))
        }
    }
}

/// The longest that anybody waits for this key.
fn most(settings: &GuardSettings, key: &Key) -> Duration {
    Duration::from_millis(match key {
        Key::Address(_) => settings.delay_ms_max,
        Key::Name(_) => settings.name_delay_ms_max.min(settings.delay_ms_max),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u32) -> Key {
        Key::Address(IpAddr::from(n.to_be_bytes()))
    }

    #[test]
    fn an_ipv6_network_is_one_address() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }

    #[test]
    fn failures_are_forgotten_and_there_is_a_most_that_is_remembered() {
        let settings = GuardSettings { entries_max: 100, ..GuardSettings::default() };
        let (mut table, now) = (Table::new(settings), Instant::now());
        (0..10).for_each(|_| table.fail(&[key(1)], now));
        assert!(table.enter(&[key(1)], now).is_some_and(|toll| toll.wait >= Duration::from_secs(7)));
        let later = now + Duration::from_secs(3600);
        assert_eq!(table.enter(&[key(1)], later).map(|toll| toll.wait), Some(Duration::ZERO));
        (0..10_000).for_each(|n| table.fail(&[key(n)], later));
        assert!(table.entries.len() <= 100);
    }

    #[test]
    fn a_name_refuses_nobody_and_an_address_does() {
        let (mut table, now) = (Table::new(GuardSettings::default()), Instant::now());
        let name = Key::Name(ByteString::from_static("alice"));
        (0..50).for_each(|_| table.fail(std::slice::from_ref(&name), now));
        for _ in 0..1000 {
            let toll = table.enter(std::slice::from_ref(&name), now).expect("not refused");
            assert!(toll.wait <= Duration::from_secs(1), "{toll:?}");
        }
        (0..50).for_each(|_| table.fail(&[key(1)], now));
        assert!((0..10).any(|_| table.enter(&[key(1)], now).is_none()));
    }

    #[test]
    fn what_was_no_failure_costs_those_after_it_nothing() {
        let (mut table, now) = (Table::new(GuardSettings::default()), Instant::now());
        (0..5).for_each(|_| table.fail(&[key(1)], now));
        let first = table.enter(&[key(1)], now).unwrap();
        for _ in 0..100 {
            let later = table.enter(&[key(1)], now).unwrap();
            table.give_back(&later, now);
        }
        let next = table.enter(&[key(1)], now).unwrap();
        assert!(first.wait > Duration::ZERO && next.wait <= first.wait * 2, "{next:?}");
    }

    #[test]
    fn this_machine_is_nobody() {
        let keys = |address: &str| Key::of(&Peer::at(address.parse().unwrap()), &Credential::Anonymous).len();
        assert_eq!((keys("127.0.0.1:1"), keys("[::1]:1"), keys("[::ffff:127.0.0.1]:1")), (0, 0, 0));
        assert_eq!(keys("192.0.2.1:1"), 1);
    }
}
