//! Termini of the wire: where they lead, and how long they are kept.

use alloc::format;
use core::time::Duration;

use fe2o3_amqp_types::messaging::{Outcome as WireOutcome, Source, TerminusExpiryPolicy};
use roadbed_core::{Address, Condition, Error, ErrorKind, Filter, Outcome, Result};

/// Where a source leads.
pub(super) enum Place {
    /// A queue, by its address.
    Queue(Address),
    /// What is sent to one address that is no queue.
    Topic(Address),
    /// What matches a pattern.
    Pattern(Filter),
    /// A node made for the link.
    Dynamic,
}

/// How long a terminus outlives its link, and from when on that is counted (Part 3, section 3.5.5). One that ends with its session is kept by the
/// session alone.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Kept {
    pub(super) expiry: Duration,
    pub(super) from: TerminusExpiryPolicy,
}

/// Longer than anybody keeps anything; what is granted says how long it really is.
const FOR_EVER: Duration = Duration::from_secs(u32::MAX as u64);

impl Kept {
    /// `None` for a terminus that is gone with its session at the latest.
    pub(super) fn of(policy: &TerminusExpiryPolicy, timeout_secs: u32) -> Option<Self> {
        let expiry = match (policy, timeout_secs) {
            (TerminusExpiryPolicy::Never, _) => FOR_EVER,
            (_, 0) => return None,
            (_, seconds) => Duration::from_secs(seconds.into()),
        };
        Some(Self { expiry, from: policy.clone() })
    }

    /// The policy and the time-out that are granted: what is kept for less than for ever says so.
    pub(super) fn granted(&self, expiry: Duration) -> (TerminusExpiryPolicy, u32) {
        let seconds = u32::try_from(expiry.as_secs()).unwrap_or(u32::MAX);
        match self.from {
            TerminusExpiryPolicy::Never if expiry < FOR_EVER => (TerminusExpiryPolicy::ConnectionClose, seconds),
            TerminusExpiryPolicy::Never => (TerminusExpiryPolicy::Never, 0),
            _ => (self.from.clone(), seconds),
        }
    }
}

/// Where `source` leads.
pub(super) fn place(source: &Source) -> Result<Place> {
    if source.dynamic {
        return Ok(Place::Dynamic);
    }
    let text = source.address.as_deref().filter(|text| !text.is_empty()).ok_or_else(|| invalid("no source address"))?;
    if text.contains(['+', '#']) {
        return Filter::new(text).map(Place::Pattern).map_err(|error| invalid(&format!("{error}")));
    }
    let address = address(text)?;
    Ok(match address.queue().is_some() || address.dead_letters().is_some() {
        true => Place::Queue(address),
        false => Place::Topic(address),
    })
}

/// An address that is not one of the server's own.
pub(super) fn address(text: &str) -> Result<Address> {
    let address = Address::new(text).map_err(|error| invalid(&format!("{error}")))?;
    if text.starts_with('$') && address.dead_letters().is_none() {
        return Err(Error::new(ErrorKind::NotFound, "attach").detail(format!("there is no node {text}")));
    }
    Ok(address)
}

/// What becomes of a delivery whose receiver is gone without a word.
pub(super) fn on_lapse(source: &Source) -> Outcome {
    match &source.default_outcome {
        None => Outcome::FAILED,
        Some(WireOutcome::Accepted(_)) => Outcome::Accepted,
        Some(WireOutcome::Rejected(_)) => Outcome::rejected(Condition::Refused),
        Some(WireOutcome::Modified(modified)) => Outcome::Modified {
            delivery_failed: modified.delivery_failed.unwrap_or(false),
            undeliverable_here: modified.undeliverable_here.unwrap_or(false),
        },
        Some(_) => Outcome::Released,
    }
}

/// The capability that a receiver asks for if nobody else may take from the node.
pub(crate) const EXCLUSIVE: &str = "exclusive-consumer";

/// Whether nobody else may take from the node.
pub(super) fn is_exclusive(source: &Source) -> bool {
    source.capabilities.iter().flat_map(|capabilities| capabilities.iter()).any(|capability| capability.0 == EXCLUSIVE)
}

pub(super) fn invalid(words: &str) -> Error {
    Error::new(ErrorKind::Invalid, "attach").detail(words)
}
