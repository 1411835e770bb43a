//! How the matrix of the demo looks.

use std::fmt;
use std::time::Duration;

use super::pair::{Plan, Tally};
use crate::hub::Running;

/// What is done, before the matrix.
pub(super) fn intro(hub: &Running, messages: usize) -> String {
    format!(
        "A hub with its journal in a folder of its own: MQTT on {}, AMQP on {}, HTTP on {}.\n\
         {messages} messages for each pair of protocols and each QoS, of 0 B, 1 B, 64 KiB and 200 B that are no text;\n\
         64 are under way at a time. Times are from send to delivery.\n",
        hub.mqtt()[0],
        hub.amqp()[0],
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

/// What is in the two queues at one step of the transactions.
pub(super) struct Moved<'a> {
    pub(super) step: &'a str,
    pub(super) found: (usize, usize),
    pub(super) wanted: (usize, usize),
}

impl Moved<'_> {
    pub(super) fn head(each: usize) -> String {
        format!(
            "\n{each} messages of MQTT and {each} of HTTP, moved in one AMQP transaction: first it is rolled back, then committed.\n\
             After each the hub is ended, and started again on the same journal.\n\n\
             {:<15} orders  invoices",
            "step"
        )
    }
}

impl fmt::Display for Moved<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (orders, invoices) = self.found;
        write!(f, "{:<15} {orders:>6}  {invoices:>8}", self.step)?;
        match self.found == self.wanted {
            true => f.write_str("  ok"),
            false => write!(f, "  should be {} and {}", self.wanted.0, self.wanted.1),
        }
    }
}
