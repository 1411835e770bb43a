//! What was acknowledged, while it is.

use std::sync::atomic::{AtomicU64, Ordering};

/// Acknowledged messages by protocol.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    mqtt: AtomicU64,
    amqp: AtomicU64,
    http: AtomicU64,
    /// Outcomes of transactions.
    transactions: AtomicU64,
    /// Settlements that were confirmed.
    settled: AtomicU64,
}

/// The same at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) mqtt: u64,
    pub(crate) amqp: u64,
    pub(crate) http: u64,
    pub(crate) transactions: u64,
    pub(crate) settled: u64,
}

/// What is counted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Mqtt,
    Amqp,
    Http,
    Transaction,
    Settled,
}

impl Tally {
    pub(crate) fn add(&self, kind: Kind, count: u64) {
        let counter = match kind {
            Kind::Mqtt => &self.mqtt,
            Kind::Amqp => &self.amqp,
            Kind::Http => &self.http,
            Kind::Transaction => &self.transactions,
            Kind::Settled => &self.settled,
        };
        counter.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn counts(&self) -> Counts {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            mqtt: of(&self.mqtt),
            amqp: of(&self.amqp),
            http: of(&self.http),
            transactions: of(&self.transactions),
            settled: of(&self.settled),
        }
    }
}

impl Counts {
    /// Messages that were acknowledged.
    pub(crate) fn messages(&self) -> u64 {
        self.mqtt + self.amqp + self.http
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.mqtt += other.mqtt;
        self.amqp += other.amqp;
        self.http += other.http;
        self.transactions += other.transactions;
        self.settled += other.settled;
    }
}
