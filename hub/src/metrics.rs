//! `/metrics`: what the broker and the HTTP server have counted, in the Prometheus text format.
//!
//! The counters are read when somebody asks, so that they cost nothing per message.

use std::fmt::{Display, Write};

use roadbed::Losses;
use roadbed::broker::Counters;
use roadbed::http::HttpCounters;
use roadbed::journal::{Figure, JournalStats};

use crate::roads::Figures;

/// The media type of the format.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What the broker holds now; all its other counters are totals.
const NOW: &[&str] = &[
    "sessions",
    "sessions_connected",
    "sessions_connected_max",
    "queues",
    "logs",
    "bindings",
    "bindings_shared",
    "retained",
    "retained_bytes",
    "bytes",
    "transactions",
];

/// All metrics as text.
pub(crate) fn render(
    counters: &Counters,
    journal: Option<JournalStats>,
    http: &HttpCounters,
    (gates, connections): &(Vec<(String, u64)>, usize),
    losses: &[(&'static str, Losses)],
    roads: &Figures,
    uptime_seconds: u64,
) -> String {
    let mut out = Text(String::with_capacity(8192));
    for (name, value) in counters.iter() {
        let words = name.replace('_', " ");
        match NOW.contains(&name) {
            true => out.gauge(&format!("roadbed_broker_{name}"), &format!("The broker's {words}, now."), value),
            false => out.counter(&format!("roadbed_broker_{name}_total"), &format!("The broker's {words}."), value),
        }
    }
    for (name, figure) in journal.iter().flat_map(JournalStats::iter) {
        let words = name.replace('_', " ");
        match figure {
            Figure::Now(value) => {
                out.gauge(&format!("roadbed_journal_{name}"), &format!("The journal's {words}, now."), value);
            }
            Figure::Total(value) => {
                out.counter(&format!("roadbed_journal_{name}_total"), &format!("The journal's {words}."), value);
            }
            Figure::Seconds(time) => {
                let help = format!("The journal's {words}, in seconds.");
                out.counter(&format!("roadbed_journal_{name}_seconds_total"), &help, time.as_secs_f64());
            }
            _ => {}
        }
    }
    for (name, value) in http.iter() {
        let words = name.replace('_', " ");
        out.counter(&format!("roadbed_http_{name}_total"), &format!("The HTTP server's {words}."), value);
    }
    for (name, value) in gates {
        out.counter(&format!("roadbed_{name}_total"), &format!("At the gates: {}.", name.replace('_', " ")), value);
    }
    for (name, value) in roads.totals() {
        let words = name.replace('_', " ");
        out.counter(&format!("roadbed_roads_{name}_total"), &format!("The roads' {words}."), value);
    }
    out.gauge("roadbed_roads_arriving", "Connections of which it is not known what they speak, now.", roads.now());
    if let Some(at) = roads.certificate_ends_at() {
        out.gauge("roadbed_tls_certificate_ends_seconds", "When the certificate ends, in seconds since 1970.", at);
    }
    out.gauge("roadbed_connections", "Connections, now.", connections);
    out.losses(losses);
    out.gauge("roadbed_uptime_seconds", "Seconds since the hub started.", uptime_seconds);
    out.gauge(&format!("roadbed_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION")), "What runs; always 1.", 1);
    out.0
}

struct Text(String);

impl Text {
    fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.metric("counter", name, help, value);
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.metric("gauge", name, help, value);
    }

    /// What messages had and a protocol has no place for, by what and why.
    fn losses(&mut self, losses: &[(&'static str, Losses)]) {
        let name = "roadbed_losses_total";
        self.0 += &format!("# HELP {name} What messages lost in translation, by cause.\n# TYPE {name} counter\n");
        for (protocol, losses) in losses {
            for (loss, count) in losses.iter() {
                let labels = format!("protocol=\"{protocol}\",what=\"{}\",section=\"{}\"", loss.what, loss.section);
                writeln!(self.0, "{name}{{{labels}}} {count}").expect("writing to a string does not fail");
            }
        }
    }

    fn metric(&mut self, kind: &str, name: &str, help: &str, value: impl Display) {
        let family = name.split('{').next().unwrap_or(name);
        writeln!(self.0, "# HELP {family} {help}\n# TYPE {family} {kind}\n{name} {value}")
            .expect("writing to a string does not fail");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_has_its_help_and_type_and_a_legal_name() {
        let mut lost = Losses::default();
        lost.note("subject", "MQTT 3.1.1, section 3.3");
        let gates = (vec![("logins_failed".to_owned(), 7)], 2);
        let roads = Figures::new(&crate::Roads::default(), None);
        let text = render(
            &Counters::default(),
            Some(JournalStats::default()),
            &HttpCounters::default(),
            &gates,
            &[("mqtt", lost)],
            &roads,
            3,
        );
        let sample = "roadbed_losses_total{protocol=\"mqtt\",what=\"subject\",section=\"MQTT 3.1.1, section 3.3\"} 1\n";
        assert!(text.contains(sample), "{text}");
        assert!(
            text.contains("\nroadbed_journal_full 0\n") && text.contains("\nroadbed_journal_sync_seconds_total 0\n")
        );
        assert!(
            text.contains("\nroadbed_broker_messages_in_total 0\n") && text.contains("\nroadbed_uptime_seconds 3\n")
        );
        assert!(text.contains("\nroadbed_logins_failed_total 7\n") && text.contains("\nroadbed_connections 2\n"));
        let mut lines = text.lines();
        while let (Some(help), Some(kind), Some(sample)) = (lines.next(), lines.next(), lines.next()) {
            let name = sample.split([' ', '{']).next().unwrap();
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            assert!(help.starts_with(&format!("# HELP {name} ")), "{help}");
            let total = name.ends_with("_total");
            assert_eq!(kind, format!("# TYPE {name} {}", if total { "counter" } else { "gauge" }));
        }
    }

    #[test]
    fn what_is_now_is_a_counter_of_the_broker() {
        let names: Vec<_> = Counters::default().iter().map(|(name, _)| name).collect();
        assert!(NOW.iter().all(|name| names.contains(name)));
    }
}
