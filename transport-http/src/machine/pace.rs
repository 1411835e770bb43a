//! Whether a body comes fast enough.

use std::time::Duration;

use roadbed_core::Time;

use crate::config::{HttpConfig, ms};

/// The rate of one body, looked at once in a while.
#[derive(Debug)]
pub(crate) struct Pace {
    started: Time,
    looked: Time,
    bytes: u64,
    grace: Duration,
    longest: Duration,
    per_second: u64,
}

/// The body comes too slowly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooSlow;

impl Pace {
    pub(crate) fn new(config: &HttpConfig, now: Time) -> Self {
        Self {
            started: now,
            looked: now,
            bytes: 0,
            grace: ms(config.body_grace_ms.max(1)),
            longest: ms(config.body_ms_max),
            per_second: config.body_bytes_per_second_min,
        }
    }

    /// Some bytes have come.
    pub(crate) fn handle_bytes(&mut self, count: usize) {
        self.bytes += count as u64;
    }

    /// Looks at the rate if that is due.
    pub(crate) fn handle_timeout(&mut self, now: Time) -> Result<(), TooSlow> {
        if now.since(self.started) >= self.longest {
            return Err(TooSlow);
        }
        let since = now.since(self.looked);
        if since < self.grace {
            return Ok(());
        }
        if u128::from(self.bytes) * 1000 < u128::from(self.per_second) * since.as_millis() {
            return Err(TooSlow);
        }
        (self.looked, self.bytes) = (now, 0);
        Ok(())
    }

    /// When to look next.
    pub(crate) fn poll_timeout(&self) -> Time {
        (self.looked + self.grace).min(self.started + self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(now: Time) -> Pace {
        let config = HttpConfig::default().body_ms_max(60_000).body_grace_ms(5_000).body_bytes_per_second_min(100);
        Pace::new(&config, now)
    }

    #[test]
    fn a_trickle_is_cut_after_the_grace() {
        let start = Time::from_millis(1_000_000);
        let mut pace = pace(start);
        pace.handle_bytes(499);
        assert_eq!(pace.handle_timeout(start + ms(4_999)), Ok(()));
        assert_eq!(pace.poll_timeout(), start + ms(5_000));
        assert_eq!(pace.handle_timeout(start + ms(5_000)), Err(TooSlow));
    }

    #[test]
    fn a_steady_body_is_cut_at_the_longest() {
        let start = Time::from_millis(1_000_000);
        let mut pace = pace(start);
        for tick in 1..12 {
            pace.handle_bytes(500);
            assert_eq!(pace.handle_timeout(start + ms(tick * 5_000)), Ok(()), "{tick}");
        }
        pace.handle_bytes(1 << 20);
        assert_eq!(pace.handle_timeout(start + ms(60_000)), Err(TooSlow));
    }
}
