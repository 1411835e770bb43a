//! The requests on a lock.

use roadbed_core::{Event, Outcome, Reason, Step, Wire, WireDelivery};

/// What a receiver says about a delivery that it holds the lock of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockVerb {
    /// `DELETE /v1/locks/{token}`: it is done.
    Complete,
    /// `POST /v1/locks/{token}/reject`: the message is at fault.
    Reject(Reason),
    /// `POST /v1/locks/{token}/abandon`: tried, and failed, or not to be tried here again.
    Abandon {
        /// Its delivery count grows.
        failed: bool,
        /// Not to this consumer again.
        undeliverable_here: bool,
    },
    /// `POST /v1/locks/{token}/release`: nothing was tried.
    Release,
    /// `POST /v1/locks/{token}/renew`: more time.
    Renew,
}

impl LockVerb {
    /// The step that it asks for.
    pub fn step(self) -> Step {
        match self.outcome() {
            Some(outcome) => Step::Outcome { outcome, settled: true },
            None => Step::Renew,
        }
    }

    /// The verb that says `outcome`.
    pub fn of_outcome(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Accepted => Self::Complete,
            Outcome::Rejected(reason) => Self::Reject(reason.clone()),
            Outcome::Modified { delivery_failed, undeliverable_here } => {
                Self::Abandon { failed: *delivery_failed, undeliverable_here: *undeliverable_here }
            }
            // Released, and what this version does not know: the copy is as it was.
            _ => Self::Release,
        }
    }

    fn outcome(&self) -> Option<Outcome> {
        Some(match self {
            Self::Complete => Outcome::Accepted,
            Self::Reject(reason) => Outcome::Rejected(reason.clone()),
            &Self::Abandon { failed, undeliverable_here } => {
                Outcome::Modified { delivery_failed: failed, undeliverable_here }
            }
            Self::Release => Outcome::Released,
            Self::Renew => return None,
        })
    }
}

impl WireDelivery for LockVerb {
    fn event(&self, _wire: &Wire) -> Option<Event> {
        self.outcome().map(|outcome| Event::Dispose { outcome, settled: true })
    }

    fn write(event: &Event, _wire: &Wire) -> Option<Self> {
        match event {
            Event::Dispose { outcome, settled: true } => Some(Self::of_outcome(outcome)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use roadbed_core::{Condition, Qos, Role};

    use super::*;

    #[test]
    fn every_outcome_comes_back() {
        let wire = Wire { role: Role::Receiver, qos: Qos::AtLeastOnce, first: 0, last: 0 };
        let here = Outcome::Modified { delivery_failed: false, undeliverable_here: true };
        let rejected = Outcome::Rejected(Reason::new(Condition::Refused, "no"));
        for outcome in [Outcome::Accepted, rejected, Outcome::Released, Outcome::FAILED, here] {
            let event = Event::Dispose { outcome, settled: true };
            assert_eq!(LockVerb::write(&event, &wire).unwrap().event(&wire), Some(event));
        }
        assert_eq!(LockVerb::Renew.event(&wire), None);
        assert_eq!(LockVerb::write(&Event::Settle, &wire), None);
    }
}
