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
    /// Whom an attempt is counted for.
    pub(super) fn of(peer: &Peer, credential: &Credential) -> Vec<Self> {
        let address = peer.address.map(|address| Self::Address(network(address.ip())));
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

    /// How long an attempt has to wait; the one after it waits longer, so that many at once are no quicker. `None`: too long.
    pub(super) fn enter(&mut self, keys: &[Key], now: Instant) -> Option<Duration> {
        let max = Duration::from_millis(self.settings.delay_ms_max);
        let mut wait = Duration::ZERO;
        for key in keys {
            let settings = &self.settings;
            if let Some(entry) = self.entries.get_mut(key) {
                entry.forget(settings, now);
                wait = wait.max(entry.next.saturating_duration_since(now));
            }
        }
        if wait > max {
            return None;
        }
        for key in keys {
            let settings = &self.settings;
            if let Some(entry) = self.entries.get_mut(key) {
                entry.next = entry.next.max(now) + delay(settings, key, entry.failures);
            }
        }
        Some(wait)
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
    let max = match key {
        Key::Address(_) => settings.delay_ms_max,
        Key::Name(_) => settings.name_delay_ms_max.min(settings.delay_ms_max),
    };
    match failures.checked_sub(settings.free + 1) {
        None => Duration::ZERO,
        Some(more) => Duration::from_millis(settings.delay_ms.saturating_mul(1 << more.min(32)).min(max)),
    }
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
        assert!(table.enter(&[key(1)], now).is_some_and(|wait| wait >= Duration::from_secs(7)));
        let later = now + Duration::from_secs(3600);
        assert_eq!(table.enter(&[key(1)], later), Some(Duration::ZERO));
        (0..10_000).for_each(|n| table.fail(&[key(n)], later));
        assert!(table.entries.len() <= 100);
    }
}
