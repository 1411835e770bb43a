use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use crate::Time;

/// So many messages a second, and so many at once: the generic cell rate algorithm, whose whole state is one time. It is shared by tasks without a
/// lock.
#[derive(Debug)]
pub(super) struct Allowance {
    /// When everything that was sent would have been sent at the steady rate, in nanoseconds.
    paid_until: AtomicU64,
    /// What one message costs, in nanoseconds.
    each: u64,
    /// How far ahead of now that may be, in nanoseconds.
    ahead_max: u64,
}

impl Allowance {
    pub(super) fn new(per_second: u32, burst: u32) -> Self {
        // Nobody sends more often than that.
        let each = (1_000_000_000 / u64::from(per_second.max(1))).max(1);
        let burst = if burst == 0 { per_second.max(1) } else { burst };
        Self { paid_until: AtomicU64::new(0), each, ahead_max: each * u64::from(burst) }
    }

    /// Pays for as many of `wanted` messages as may be sent now, and says how many.
    pub(super) fn take(&self, now: Time, wanted: usize) -> usize {
        let (now, mut taken) = (now.as_nanos(), 0);
        let pay = |paid_until: u64| {
            let from = paid_until.max(now);
            let room = (now + self.ahead_max).saturating_sub(from) / self.each;
            taken = room.min(wanted as u64);
            (taken > 0).then(|| from + taken * self.each)
        };
        let _ = self.paid_until.fetch_update(Ordering::Relaxed, Ordering::Relaxed, pay);
        taken as usize
    }

    /// When the next message may be sent.
    pub(super) fn free_at(&self, now: Time) -> Time {
        let paid_until = self.paid_until.load(Ordering::Relaxed);
        let ahead = (paid_until + self.each).saturating_sub(now.as_nanos() + self.ahead_max);
        now + Duration::from_nanos(ahead)
    }

    /// Whether nothing of it is used up.
    pub(super) fn is_whole(&self, now: Time) -> bool {
        self.paid_until.load(Ordering::Relaxed) <= now.as_nanos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_millis(1_700_000_000_000);

    #[test]
    fn a_burst_and_then_the_rate() {
        let allowance = Allowance::new(10, 25);
        assert_eq!((allowance.take(NOW, 20), allowance.take(NOW, 20), allowance.take(NOW, 1)), (20, 5, 0));
        assert_eq!(allowance.free_at(NOW), NOW + Duration::from_millis(100));
        let second = NOW + Duration::from_secs(1);
        assert_eq!((allowance.take(second, 100), allowance.take(second, 100)), (10, 0));
        assert!(!allowance.is_whole(second));
        let minute = NOW + Duration::from_secs(60);
        assert!(allowance.is_whole(minute));
        assert_eq!((allowance.free_at(minute), allowance.take(minute, 100)), (minute, 25));
    }

    #[test]
    fn no_rate_is_too_high() {
        let allowance = Allowance::new(u32::MAX, 0);
        assert_eq!(allowance.take(NOW, 1000), 1000);
        assert_eq!(allowance.free_at(NOW), NOW);
    }
}
