//! The least time between two polls of one queue by one principal.

use std::collections::HashMap;
use std::time::Duration;

use bytestring::ByteString;
use roadbed_core::{Address, Time};

type Polled = HashMap<(ByteString, Address), Time>;

/// Who has polled what, and when.
///
/// Entries live for one interval to two: there are two tables, and when the older is older than an interval it is thrown
/// away whole, so that forgetting costs nothing.
#[derive(Debug)]
pub(crate) struct PollPolicy {
    interval: Duration,
    entries_max: usize,
    young: Polled,
    old: Polled,
    turned_at: Time,
}

impl PollPolicy {
    /// `None` if the interval is zero: there is no policy.
    pub(crate) fn new(interval: Duration, entries_max: usize) -> Option<Self> {
        let (young, old) = Default::default();
        (!interval.is_zero()).then_some(Self { interval, entries_max, young, old, turned_at: Time::ZERO })
    }

    /// Counts a poll, or says how long it is too early. One that is too early does not count.
    pub(crate) fn poll(&mut self, now: Time, principal: &ByteString, queue: &Address) -> Result<(), Duration> {
        self.turn(now);
        let key = (principal.clone(), queue.clone());
        let last = self.young.get(&key).or_else(|| self.old.get(&key));
        let wait = last.map_or(Duration::ZERO, |&last| (last + self.interval).remaining(now));
        if !wait.is_zero() {
            return Err(wait);
        }
        if self.young.len() + self.old.len() >= self.entries_max && !self.young.contains_key(&key) {
            return Err(self.interval);
        }
        self.young.insert((key.0, key.1.detach()), now);
        Ok(())
    }

    fn turn(&mut self, now: Time) {
        if now.since(self.turned_at) >= self.interval {
            self.old = std::mem::take(&mut self.young);
            if now.since(self.turned_at) >= 2 * self.interval {
                self.old.clear();
            }
            self.turned_at = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn queue(name: u8) -> Address {
        format!("queues/{name}").parse().unwrap()
    }

    #[test]
    fn twenty_five_minutes_pass_on_a_clock_of_the_tests() {
        let mut policy = PollPolicy::new(25 * 60 * SECOND, 10).unwrap();
        let (start, me) = (Time::from_millis(1_700_000_000_000), ByteString::from("me"));
        assert_eq!(policy.poll(start, &me, &queue(1)), Ok(()));
        assert_eq!(policy.poll(start + 60 * SECOND, &me, &queue(1)), Err(24 * 60 * SECOND));
        assert_eq!(policy.poll(start + 60 * SECOND, &me, &queue(2)), Ok(()));
        assert_eq!(policy.poll(start + 60 * SECOND, &"you".into(), &queue(1)), Ok(()));
        assert_eq!(policy.poll(start + 25 * 60 * SECOND, &me, &queue(1)), Ok(()));
        assert!(PollPolicy::new(Duration::ZERO, 10).is_none());
    }

    #[test]
    fn the_table_is_bounded() {
        let mut policy = PollPolicy::new(SECOND, 3).unwrap();
        let start = Time::from_millis(1_700_000_000_000);
        for name in 0..3 {
            assert_eq!(policy.poll(start, &"me".into(), &queue(name)), Ok(()));
        }
        assert_eq!(policy.poll(start, &"me".into(), &queue(3)), Err(SECOND));
        assert_eq!(policy.poll(start + 2 * SECOND, &"me".into(), &queue(3)), Ok(()));
    }

    proptest! {
        /// Against the obvious: a map that forgets nothing.
        #[test]
        fn as_a_map_that_forgets_nothing(polls in proptest::collection::vec((0..3_u8, 0..4_u64), 1..60)) {
            let mut policy = PollPolicy::new(5 * SECOND, 1000).unwrap();
            let (mut now, mut last) = (Time::from_millis(1_700_000_000_000), HashMap::new());
            for (name, later) in polls {
                now = now + Duration::from_secs(later);
                let early = last.get(&name).is_some_and(|&last: &Time| now.since(last) < 5 * SECOND);
                prop_assert_eq!(policy.poll(now, &"me".into(), &queue(name)).is_err(), early);
                if !early {
                    last.insert(name, now);
                }
            }
        }
    }
}
