//! What happened, a line each.

use std::fmt::{self, Write as _};

use roadbed_core::Time;

/// The record of a run: every send, confirm, delivery and settlement, with its virtual time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    lines: Vec<String>,
}

impl Trace {
    pub(super) fn note(&mut self, now: Time, who: &str, what: fmt::Arguments<'_>) {
        let mut line = String::new();
        let micros = now.as_nanos() / 1000;
        let _infallible = write!(line, "{:>6}.{:06} {who:<10} {what}", micros / 1_000_000, micros % 1_000_000);
        self.lines.push(line);
    }

    /// How many lines there are.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether nothing happened.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The lines that contain `word`, in order.
    pub fn about(&self, word: &str) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str).filter(move |line| line.contains(word))
    }

    /// The first violation, and the `count` lines before it; the last ones, if there is none.
    pub fn what_led_to_it(&self, count: usize) -> String {
        let violation = self.lines.iter().position(|line| line.contains("VIOLATION"));
        let end = violation.map_or(self.lines.len(), |at| at + 1);
        self.lines[end.saturating_sub(count)..end].join("\n")
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}
