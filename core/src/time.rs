//! The clock as a value.
//!
//! Machines never read a clock; they are told the time. So a whole hub can run on virtual time.

use core::fmt;
use core::ops::Add;
use core::time::Duration;

/// A point in time: nanoseconds since the Unix epoch, which reach to the year 2554.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The Unix epoch.
    pub const ZERO: Self = Self(0);
    /// Later than every deadline.
    pub const MAX: Self = Self(u64::MAX);

    /// The time `nanos` nanoseconds after the Unix epoch.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// The time `millis` milliseconds after the Unix epoch; saturates at the last whole millisecond, so that it is the same when it is written in
    /// milliseconds and read again.
    pub const fn from_millis(millis: u64) -> Self {
        const LAST: u64 = u64::MAX / 1_000_000;
        Self(if millis < LAST { millis } else { LAST } * 1_000_000)
    }

    /// Nanoseconds since the Unix epoch.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// How much later this is than `earlier`; zero if it is not.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// How long it is from `now` until this time; zero if it has passed.
    pub const fn remaining(self, now: Self) -> Duration {
        self.since(now)
    }

    /// Whether this deadline has passed at `now`.
    pub const fn has_passed(self, now: Self) -> bool {
        self.0 <= now.0
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    /// Saturates at [`Time::MAX`].
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}", self.0 / 1_000_000_000, self.0 % 1_000_000_000)
    }
}

/// Where the time comes from: the system, or a test.
///
/// *Contract*: never goes back.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The time now.
    fn now(&self) -> Time;
}

/// The system's wall clock read once, then carried forward by its monotonic one, so that it never goes back.
#[cfg(feature = "std")]
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    started: std::time::Instant,
    epoch: Time,
}

#[cfg(feature = "std")]
impl Default for SystemClock {
    fn default() -> Self {
        let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self { started: std::time::Instant::now(), epoch: Time::ZERO + wall }
    }
}

#[cfg(feature = "std")]
impl Clock for SystemClock {
    fn now(&self) -> Time {
        self.epoch + self.started.elapsed()
    }
}

/// A clock that moves only when told to.
#[cfg(feature = "std")]
#[derive(Debug, Default)]
pub struct ManualClock(core::sync::atomic::AtomicU64);

#[cfg(feature = "std")]
impl ManualClock {
    /// A clock that stands at `now`.
    pub const fn at(now: Time) -> Self {
        Self(core::sync::atomic::AtomicU64::new(now.as_nanos()))
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        self.0.fetch_add(nanos, core::sync::atomic::Ordering::Relaxed);
    }
}

#[cfg(feature = "std")]
impl Clock for ManualClock {
    fn now(&self) -> Time {
        Time(self.0.load(core::sync::atomic::Ordering::Relaxed))
    }
}
