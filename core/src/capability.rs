//! What an endpoint can do, declared up front.

use core::fmt;

use crate::{Condition, Outcome, Qos};

/// What an endpoint can do. What it cannot do is declared here and refused with
/// [`ErrorKind::NotSupported`](crate::ErrorKind::NotSupported); it is never a surprise at run time.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// The protocol, `memory` for an endpoint in this process.
    pub protocol: &'static str,
    /// The strongest assurance when sending to it.
    pub qos_in: Qos,
    /// The strongest assurance when receiving from it.
    pub qos_out: Qos,
    /// Which outcomes a receiver can name.
    pub outcomes: Outcomes,
    /// How deliveries are permitted.
    pub credit: CreditKind,
    /// Whether a grant can be drained.
    pub drain: bool,
    /// How many consumers a session may have.
    pub consumers_per_session: Limit,
    /// Whether a consumer follows filters that come and go ([`Consumer::bind`](crate::Consumer::bind)).
    pub bind: bool,
    /// Whether a consumer reads a queue by its address.
    pub queues: bool,
    /// Whether a queue can be read without taking from it.
    pub browse: bool,
    /// Whether logs can be declared and read.
    pub logs: bool,
    /// Whether sessions outlive their connection.
    pub resume: bool,
    /// Whether a delivery can be settled by its [`DeliveryId`](crate::DeliveryId) from another connection.
    pub settle_by_id: bool,
    /// Whether a delivery can belong to its principal for a time ([`Hold::Lease`](crate::Hold)).
    pub leases: bool,
    /// Whether a lease can be renewed.
    pub renew: bool,
    /// Transactions over sends and settlements.
    pub transactions: Transactions,
    /// Whether the confirm of a send says more than Accepted: the real outcome.
    pub refusals: bool,
    /// Whether queues can be declared, purged and deleted.
    pub manage: bool,
    /// Whether a message keeps its application properties.
    pub properties: bool,
    /// Whether a message keeps its time to live.
    pub expiry: bool,
    /// Whether a message keeps its priority.
    pub priority: bool,
    /// Whether a will can be left.
    pub wills: bool,
    /// Whether addresses keep a last value.
    pub retain: bool,
}

/// Which outcomes a receiver can name; the others are downgraded by [`Capabilities::downgrade`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcomes {
    /// [`Outcome::Rejected`].
    pub rejected: bool,
    /// [`Outcome::Released`].
    pub released: bool,
    /// [`Outcome::Modified`].
    pub modified: bool,
}

/// How deliveries are permitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CreditKind {
    /// A grant: spent at transfer, given again by hand (AMQP).
    Exact,
    /// A window of at most this many unsettled deliveries, which comes back at settlement (MQTT, HTTP, XMPP).
    Window(u32),
}

/// How far transactions reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Transactions {
    /// There are none.
    None,
    /// Commit and roll back, without a prepared state: such an endpoint can only be the last participant.
    Local,
    /// Prepared by a [`Gid`](crate::Gid), and recovered.
    Prepared,
}

/// A number, or as many as memory allows within other limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// At most this many.
    AtMost(u32),
    /// No limit of its own.
    Unlimited,
}

impl Capabilities {
    /// Everything that the core can say: the starting point from which an endpoint takes away what it lacks.
    pub const fn full(protocol: &'static str) -> Self {
        Self {
            protocol,
            qos_in: Qos::ExactlyOnce,
            qos_out: Qos::ExactlyOnce,
            outcomes: Outcomes { rejected: true, released: true, modified: true },
            credit: CreditKind::Exact,
            drain: true,
            consumers_per_session: Limit::Unlimited,
            bind: true,
            queues: true,
            browse: true,
            logs: true,
            resume: true,
            settle_by_id: true,
            leases: true,
            renew: true,
            transactions: Transactions::Prepared,
            refusals: true,
            manage: true,
            properties: true,
            expiry: true,
            priority: true,
            wills: true,
            retain: true,
        }
    }

    /// What `outcome` becomes where the protocol cannot say it. Total: never an error, never Accepted for what was not.
    ///
    /// Modified falls to Released, Released to Modified; with neither, the answer is withheld (`None`) and the peer sends
    /// again. Rejected falls to `None` as well: only the sender's silence is left.
    pub fn downgrade(&self, outcome: Outcome) -> Option<Outcome> {
        let can = self.outcomes;
        match outcome {
            Outcome::Accepted => Some(Outcome::Accepted),
            Outcome::Rejected(reason) => can.rejected.then_some(Outcome::Rejected(reason)),
            Outcome::Released if can.released => Some(Outcome::Released),
            Outcome::Released if can.modified => {
                Some(Outcome::Modified { delivery_failed: false, undeliverable_here: false })
            }
            modified @ Outcome::Modified { .. } if can.modified => Some(modified),
            Outcome::Modified { .. } if can.released => Some(Outcome::Released),
            _ => None,
        }
    }
}

/// Something that a translation dropped or downgraded.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Loss {
    /// What was lost: the name of a field or of an outcome.
    pub what: &'static str,
    /// Why: the section of the standard that has no place for it.
    pub section: &'static str,
}

/// The translation ledger: what the translations of one link have dropped or downgraded, counted by cause.
#[derive(Clone, Debug, Default)]
pub struct Losses(alloc::vec::Vec<(Loss, u64)>);

impl Losses {
    /// Counts one loss. The kinds are known at compile time, so the ledger is bounded.
    pub fn note(&mut self, what: &'static str, section: &'static str) {
        let loss = Loss { what, section };
        match self.0.iter_mut().find(|(known, _)| *known == loss) {
            Some((_, count)) => *count += 1,
            None => self.0.push((loss, 1)),
        }
    }

    /// Every loss so far, with its count.
    pub fn iter(&self) -> impl Iterator<Item = (&Loss, u64)> {
        self.0.iter().map(|(loss, count)| (loss, *count))
    }

    /// Whether nothing was lost.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Moves all entries of `other` into this one.
    pub fn absorb(&mut self, other: &mut Self) {
        for (loss, count) in other.0.drain(..) {
            match self.0.iter_mut().find(|(known, _)| *known == loss) {
                Some((_, total)) => *total += count,
                None => self.0.push((loss, count)),
            }
        }
    }
}

/// What many connections have lost together: each moves its own losses here.
#[cfg(feature = "std")]
#[derive(Debug, Default)]
pub struct Ledger(std::sync::Mutex<Losses>);

#[cfg(feature = "std")]
impl Ledger {
    /// Moves all entries of `losses` into it; costs nothing if there are none.
    pub fn absorb(&self, losses: &mut Losses) {
        if !losses.is_empty() {
            self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).absorb(losses);
        }
    }

    /// Every loss so far, with its count.
    pub fn read(&self) -> Losses {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.what, self.section)
    }
}

impl From<Condition> for Outcome {
    fn from(condition: Condition) -> Self {
        Self::rejected(condition)
    }
}
