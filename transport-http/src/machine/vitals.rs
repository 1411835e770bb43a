//! Whether a connection is alive: hyper knows no idle time, and one deadline for heads would end idle connections, too.

use std::time::Duration;

use roadbed_core::Time;

use crate::config::{HttpConfig, ms};
use crate::error::HttpError;

/// What a connection was last seen doing. Times are those of the driver's clock.
#[derive(Debug)]
pub(crate) struct Vitals {
    active: usize,
    served: bool,
    multiplexed: bool,
    quiet_since: Time,
    head_since: Option<Time>,
    blocked_since: Option<Time>,
}

/// What becomes of a connection whose time is over.
#[derive(Debug)]
pub(crate) enum Cut {
    /// It was idle: end it in good order.
    Idle,
    /// The peer is at fault.
    Fault(HttpError),
}

impl Vitals {
    pub(crate) fn new(now: Time) -> Self {
        Self { active: 0, served: false, multiplexed: false, quiet_since: now, head_since: None, blocked_since: None }
    }

    /// Bytes have come in. Within a request, and on HTTP/2 between requests, they say nothing.
    pub(crate) fn handle_read(&mut self, now: impl FnOnce() -> Time) {
        if self.active == 0 && self.head_since.is_none() && !(self.multiplexed && self.served) {
            self.head_since = Some(now());
        }
    }

    /// The other end takes what is written, or does not.
    pub(crate) fn handle_write(&mut self, blocked: bool, now: impl FnOnce() -> Time) {
        match (blocked, self.blocked_since) {
            (false, _) => self.blocked_since = None,
            (true, None) => self.blocked_since = Some(now()),
            (true, Some(_)) => {}
        }
    }

    /// A request begins.
    pub(crate) fn begin(&mut self, multiplexed: bool) {
        self.active += 1;
        (self.served, self.multiplexed, self.head_since) = (true, multiplexed, None);
    }

    /// Its response has been handed over.
    pub(crate) fn end(&mut self, now: Time) {
        self.active -= 1;
        self.quiet_since = now;
    }

    /// When to look next, or what to do now.
    pub(crate) fn look(&self, now: Time, config: &HttpConfig) -> Result<Time, Cut> {
        let (header, stall) = (ms(config.header_read_ms), ms(config.write_stall_ms));
        if self.blocked_since.is_some_and(|since| now.since(since) >= stall) {
            return Err(Cut::Fault(HttpError::WriteStalled));
        }
        let late = |since: Time, limit: Duration| now.since(since) >= limit;
        match (self.active, self.head_since, self.served) {
            (1.., ..) => {}
            (0, Some(since), _) if late(since, header) => return Err(Cut::Fault(HttpError::HeaderTimeout)),
            (0, None, false) if late(self.quiet_since, header) => return Err(Cut::Fault(HttpError::HeaderTimeout)),
            (0, None, true) if late(self.quiet_since, ms(config.idle_ms)) => return Err(Cut::Idle),
            (0, ..) => {}
        }
        Ok(now + (header / 2).min(stall / 2).max(ms(10)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> HttpConfig {
        HttpConfig::default().header_read_ms(1_000).idle_ms(5_000).write_stall_ms(2_000)
    }

    fn at(millis: u64) -> Time {
        Time::from_millis(1_000_000 + millis)
    }

    #[test]
    fn a_silent_connection_and_a_slow_head_are_faults() {
        let mut vitals = Vitals::new(at(0));
        assert!(vitals.look(at(999), &config()).is_ok());
        assert!(matches!(vitals.look(at(1_000), &config()), Err(Cut::Fault(HttpError::HeaderTimeout))));
        vitals.handle_read(|| at(900));
        vitals.handle_read(|| at(1_800));
        assert!(vitals.look(at(1_899), &config()).is_ok());
        assert!(matches!(vitals.look(at(1_900), &config()), Err(Cut::Fault(HttpError::HeaderTimeout))));
    }

    #[test]
    fn a_request_may_take_its_time_and_then_the_connection_is_idle() {
        let mut vitals = Vitals::new(at(0));
        vitals.handle_read(|| at(10));
        vitals.begin(false);
        assert!(vitals.look(at(100_000), &config()).is_ok());
        vitals.end(at(100_000));
        assert!(vitals.look(at(104_999), &config()).is_ok());
        assert!(matches!(vitals.look(at(105_000), &config()), Err(Cut::Idle)));
    }

    #[test]
    fn pings_do_not_keep_an_idle_connection() {
        let mut vitals = Vitals::new(at(0));
        vitals.begin(true);
        vitals.end(at(0));
        vitals.handle_read(|| at(4_000));
        assert!(vitals.look(at(4_999), &config()).is_ok());
        assert!(matches!(vitals.look(at(5_000), &config()), Err(Cut::Idle)));
    }

    #[test]
    fn who_never_reads_is_cut() {
        let mut vitals = Vitals::new(at(0));
        vitals.begin(false);
        vitals.handle_write(true, || at(0));
        vitals.handle_write(true, || at(1_500));
        assert!(matches!(vitals.look(at(2_000), &config()), Err(Cut::Fault(HttpError::WriteStalled))));
        vitals.handle_write(false, || at(2_000));
        assert!(vitals.look(at(9_000), &config()).is_ok());
    }
}
