//! How the matrix of the demo looks.

use std::fmt;
use std::time::Duration;

use super::pair::{Plan, Tally};
use crate::hub::Running;

/// What is done, before the matrix.
pub(super) fn intro(hub: &Running, messages: usize) -> String {
    format!(
        "A hub in memory: MQTT on {}, HTTP on {}.\n\
         {messages} messages for each pair of protocols and each QoS, of 0 B, 1 B, 64 KiB and 200 B that are no text;\n\
         64 are under way at a time. Times are from send to delivery.\n",
        hub.mqtt()[0],
        hub.http()[0]
    )
}

/// One line of the matrix.
pub(super) struct Row<'a> {
    pub(super) from: &'a str,
    pub(super) to: &'a str,
    pub(super) plan: &'a Plan,
    pub(super) tally: &'a Tally,
}

impl Row<'_> {
    pub(super) const HEAD: &'static str =
        "from          to           QoS  hop   once  intact  settled     p50 ms     p99 ms";
}

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (plan, tally) = (self.plan, self.tally);
        let messages = plan.payloads.len();
        let once = messages.saturating_sub(tally.lost + tally.duplicated);
        let hop = tally.qos.map_or('-', |qos| char::from(b'0' + qos.level()));
        write!(
            f,
            "{:<13} {:<13} {}    {hop}  {once:>5}  {:>6}  {:>7}  {:>9.2}  {:>9.2}",
            self.from,
            self.to,
            plan.qos.level(),
            (messages - tally.lost).saturating_sub(tally.corrupted),
            messages.saturating_sub(tally.unsettled + tally.lost),
            millis(tally.quantile(0.5)),
            millis(tally.quantile(0.99)),
        )?;
        if tally.is_clean() {
            return f.write_str("  ok");
        }
        for (what, count) in tally.faults() {
            write!(f, "  {count} {what}")?;
        }
        Ok(())
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
