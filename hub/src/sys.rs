//! `$SYS`: the broker's figures as retained topics, by the names that Mosquitto uses.
//!
//! They count messages and their payloads over all protocols, since the broker knows no packets.

use std::time::{Duration, Instant};

use roadbed::broker::Counters;
use roadbed::journal::{Figure, JournalMonitor, JournalStats};
use roadbed::{Broker, Client, Message, Qos, Result, Sender};

use crate::Shutdown;

/// Over how many minutes the loads are averaged, and what a topic calls that.
const WINDOWS: [(f64, &str); 3] = [(1.0, "1min"), (5.0, "5min"), (15.0, "15min")];

/// Publishes the figures every `interval`, until the shutdown starts.
///
/// # Errors
/// If the broker refuses the session or its messages.
pub(crate) async fn publish(
    client: &Client,
    broker: &Broker,
    journal: Option<&JournalMonitor>,
    interval: Duration,
    shutdown: &Shutdown,
) -> Result<()> {
    let (start, sender) = (Instant::now(), client.sender().await?);
    say(&sender, "version", concat!("roadbed version ", env!("CARGO_PKG_VERSION"))).await?;
    let mut loads = Loads::new(broker.counters());
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.started() => return Ok(()),
            _ = ticks.tick() => {}
        }
        let now = broker.counters();
        say(&sender, "uptime", format!("{} seconds", start.elapsed().as_secs())).await?;
        for (name, value) in figures(&now) {
            say(&sender, name, value.to_string()).await?;
        }
        for (name, figure) in journal.map(JournalMonitor::stats).iter().flat_map(JournalStats::iter) {
            let value = match figure {
                Figure::Now(value) | Figure::Total(value) => value.to_string(),
                Figure::Seconds(time) => format!("{:.3} seconds", time.as_secs_f64()),
                _ => continue,
            };
            say(&sender, &format!("store/journal/{}", name.replace('_', " ")), value).await?;
        }
        for (name, value) in loads.advance(now, interval) {
            say(&sender, &name, format!("{value:.2}")).await?;
        }
    }
}

async fn say(sender: &Sender, name: &str, value: impl Into<roadbed::Payload>) -> Result<()> {
    let address = format!("$SYS/broker/{name}").parse().expect("the names are legal");
    let message = Message::builder(address, value).retain(true).build();
    sender.send(message, Qos::AtMostOnce).await.map(|_| ())
}

/// The topics that hold one figure each.
fn figures(now: &Counters) -> [(&'static str, u64); 18] {
    [
        ("clients/total", now.sessions),
        ("clients/connected", now.sessions_connected),
        ("clients/active", now.sessions_connected),
        ("clients/disconnected", now.sessions.saturating_sub(now.sessions_connected)),
        ("clients/inactive", now.sessions.saturating_sub(now.sessions_connected)),
        ("clients/maximum", now.sessions_connected_max),
        ("clients/expired", now.sessions_expired),
        ("messages/received", now.messages_in),
        ("messages/sent", now.messages_out),
        ("publish/messages/received", now.messages_in),
        ("publish/messages/sent", now.messages_out),
        ("publish/messages/dropped", dropped(now)),
        ("publish/bytes/received", now.bytes_in),
        ("publish/bytes/sent", now.bytes_out),
        ("retained messages/count", now.retained),
        ("store/messages/bytes", now.bytes + now.retained_bytes),
        ("subscriptions/count", now.bindings),
        ("shared_subscriptions/count", now.bindings_shared),
    ]
}

fn dropped(now: &Counters) -> u64 {
    now.iter().filter(|(name, _)| name.starts_with("dropped_")).map(|(_, value)| value).sum()
}

/// Averages per minute that forget exponentially, as a system's load does.
struct Loads {
    last: Counters,
    averages: [[f64; WINDOWS.len()]; Self::NAMES.len()],
}

impl Loads {
    const NAMES: [&'static str; 3] = ["publish/received", "publish/sent", "publish/dropped"];

    fn new(now: Counters) -> Self {
        Self { last: now, averages: Default::default() }
    }

    fn totals(of: &Counters) -> [u64; Self::NAMES.len()] {
        [of.messages_in, of.messages_out, dropped(of)]
    }

    fn advance(&mut self, now: Counters, interval: Duration) -> Vec<(String, f64)> {
        let minutes = interval.as_secs_f64() / 60.0;
        let (before, after) = (Self::totals(&self.last), Self::totals(&now));
        self.last = now;
        let mut topics = Vec::with_capacity(Self::NAMES.len() * WINDOWS.len());
        for (n, name) in Self::NAMES.iter().enumerate() {
            let rate = after[n].saturating_sub(before[n]) as f64 / minutes;
            for (average, (window, label)) in self.averages[n].iter_mut().zip(WINDOWS) {
                *average += (rate - *average) * (1.0 - (-minutes / window).exp());
                topics.push((format!("load/{name}/{label}"), *average));
            }
        }
        topics
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_load_converges_and_the_short_window_is_first() {
        let mut now = Counters::default();
        let mut loads = Loads::new(now);
        let mut topics = Vec::new();
        for _ in 0..30 {
            now.messages_in += 100;
            topics = loads.advance(now, Duration::from_secs(10));
        }
        let value = |name: &str| topics.iter().find(|(found, _)| found == name).unwrap().1;
        assert!((value("load/publish/received/1min") - 600.0).abs() < 10.0);
        assert!(value("load/publish/received/15min") < value("load/publish/received/5min"));
        assert!(value("load/publish/sent/1min").abs() < f64::EPSILON);
    }
}
