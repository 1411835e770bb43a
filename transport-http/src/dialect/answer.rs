//! The status that answers a message.

use http::StatusCode;
use roadbed_core::{Condition, Event, Outcome, Reason, Wire, WireDelivery};

/// What became of a message that was posted: a status, and in the problem document what the status alone cannot say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The outcome.
    pub outcome: Outcome,
    /// Why.
    pub why: Option<Condition>,
}

impl Answer {
    /// The answer that says `outcome`.
    pub fn new(outcome: Outcome, why: Option<Condition>) -> Self {
        let why = match &outcome {
            Outcome::Rejected(reason) => Some(reason.condition),
            _ => why,
        };
        Self { status: status(&outcome, why), outcome, why }
    }

    /// What a status means that comes without a problem document of ours; `None` if it is not final.
    pub fn of_status(status: StatusCode) -> Option<Self> {
        let rejected = |condition| (Outcome::rejected(condition), Some(condition));
        let (outcome, why) = match status.as_u16() {
            100..=199 => return None,
            200..=299 => (Outcome::Accepted, None),
            404 => (Outcome::Released, Some(Condition::NoRoute)),
            401 | 403 => rejected(Condition::Unauthorized),
            409 => rejected(Condition::PreconditionFailed),
            410 => rejected(Condition::Expired),
            413 => rejected(Condition::TooLarge),
            415 => rejected(Condition::InvalidPayload),
            429 => rejected(Condition::Full),
            507 => rejected(Condition::StoreFull),
            503 => (Outcome::Released, Some(Condition::Unavailable)),
            300..=499 => rejected(Condition::Refused),
            _ => (Outcome::FAILED, Some(Condition::Unavailable)),
        };
        Some(Self { status, outcome, why })
    }

    /// What a status means whose problem document names the outcome and the condition.
    pub(crate) fn of_problem(
        status: StatusCode,
        outcome: &str,
        why: Option<Condition>,
        text: Option<&str>,
    ) -> Option<Self> {
        let outcome = match (outcome, why) {
            ("rejected", Some(condition)) => {
                Outcome::Rejected(text.map_or(Reason::from(condition), |text| Reason::new(condition, text)))
            }
            ("released", _) => Outcome::Released,
            ("modified", _) => Outcome::FAILED,
            _ => return Self::of_status(status),
        };
        Some(Self { status, outcome, why })
    }
}

impl WireDelivery for Answer {
    fn event(&self, _wire: &Wire) -> Option<Event> {
        (!self.status.is_informational()).then(|| Event::Dispose { outcome: self.outcome.clone(), settled: true })
    }

    fn write(event: &Event, _wire: &Wire) -> Option<Self> {
        match event {
            Event::Dispose { outcome, settled: true } => Some(Self::new(outcome.clone(), None)),
            _ => None,
        }
    }
}

/// The condition with this name.
pub(crate) fn condition(name: &str) -> Option<Condition> {
    Condition::ALL.iter().copied().find(|condition| condition.as_str() == name)
}

fn status(outcome: &Outcome, why: Option<Condition>) -> StatusCode {
    use Condition as C;
    match (outcome, why) {
        (Outcome::Accepted, _) => StatusCode::ACCEPTED,
        (_, Some(C::NoRoute | C::NoConsumer | C::NotFound)) => StatusCode::NOT_FOUND,
        (_, Some(C::Unauthorized)) => StatusCode::FORBIDDEN,
        (_, Some(C::InvalidAddress | C::NotSupported)) => StatusCode::BAD_REQUEST,
        (_, Some(C::InvalidPayload)) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        (_, Some(C::TooLarge)) => StatusCode::PAYLOAD_TOO_LARGE,
        (_, Some(C::Full)) => StatusCode::TOO_MANY_REQUESTS,
        (_, Some(C::StoreFull)) => StatusCode::INSUFFICIENT_STORAGE,
        (_, Some(C::Unavailable | C::Busy)) => StatusCode::SERVICE_UNAVAILABLE,
        (_, Some(C::Expired)) => StatusCode::GONE,
        (_, Some(C::DeadlineMissed)) => StatusCode::GATEWAY_TIMEOUT,
        (_, Some(C::Refused)) => StatusCode::UNPROCESSABLE_ENTITY,
        (Outcome::Released | Outcome::Modified { .. }, None) => StatusCode::SERVICE_UNAVAILABLE,
        (_, Some(_)) => StatusCode::CONFLICT,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_is_understood() {
        for &condition in Condition::ALL {
            for outcome in [Outcome::rejected(condition), Outcome::Released, Outcome::FAILED] {
                let answer = Answer::new(outcome.clone(), Some(condition));
                assert!(answer.status.is_client_error() || answer.status.is_server_error(), "{answer:?}");
                let read = Answer::of_problem(answer.status, outcome.as_str(), Some(condition), None).unwrap();
                assert_eq!(read, answer);
            }
        }
        assert_eq!(Answer::new(Outcome::Accepted, None).status, StatusCode::ACCEPTED);
    }

    #[test]
    fn no_status_of_an_error_is_accepted() {
        for status in (300..600).filter_map(|status| StatusCode::from_u16(status).ok()) {
            assert_ne!(Answer::of_status(status).unwrap().outcome, Outcome::Accepted, "{status}");
        }
    }
}
