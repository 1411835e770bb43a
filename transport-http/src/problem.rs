//! Problem details (RFC 9457): every error as a document that says what to do.

use std::borrow::Cow;

use http::StatusCode;
use roadbed_core::{Condition, Error, ErrorKind};
use serde::{Deserialize, Serialize};

/// The media type.
pub(crate) const MEDIA_TYPE: &str = "application/problem+json";
/// Before every type of ours.
const TYPE: &str = "urn:roadbed:problem:";

/// The document.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Problem {
    #[serde(rename = "type", default)]
    kind: Cow<'static, str>,
    #[serde(default)]
    pub(crate) title: Cow<'static, str>,
    #[serde(default)]
    pub(crate) status: u16,
    #[serde(default)]
    pub(crate) detail: Cow<'static, str>,
    /// What became of the message: `rejected`, `released` or `modified`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) outcome: Option<Cow<'static, str>>,
    /// Why, in the core's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) condition: Option<Cow<'static, str>>,
}

impl Problem {
    pub(crate) fn new(
        status: StatusCode,
        kind: &'static str,
        title: &'static str,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        let kind = format!("{TYPE}{kind}").into();
        Self {
            kind,
            title: title.into(),
            status: status.as_u16(),
            detail: detail.into(),
            outcome: None,
            condition: None,
        }
    }

    /// What a failed operation is.
    pub(crate) fn of_error(error: &Error) -> Self {
        let kind = error.kind();
        let (slug, help) = words(kind);
        let title = kind.as_str();
        let detail = match error.words() {
            Some(words) => Cow::Owned(format!("{words}. {help}")),
            None => Cow::Borrowed(help),
        };
        Self::new(status(kind), slug, title, detail)
    }

    /// The kind of error that the document names; by its status where it is none of ours.
    pub(crate) fn error_kind(&self) -> ErrorKind {
        let slug = self.kind.strip_prefix(TYPE);
        let known = KINDS.into_iter().find(|&kind| slug == Some(words(kind).0));
        known.unwrap_or_else(|| kind_of_status(self.status))
    }

    /// The bytes of the document.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("text and numbers are JSON")
    }
}

/// The kind of error that a status means.
pub(crate) fn kind_of_status(status: u16) -> ErrorKind {
    match status {
        401 => ErrorKind::Unauthenticated,
        403 => ErrorKind::Unauthorized,
        404 | 410 | 412 => ErrorKind::NotFound,
        409 => ErrorKind::Conflict,
        408 | 504 => ErrorKind::TimedOut,
        413 | 429 => ErrorKind::Exhausted,
        501 => ErrorKind::NotSupported,
        507 => ErrorKind::StoreFull,
        503 => ErrorKind::Unavailable,
        400..=499 => ErrorKind::Invalid,
        500..=599 => ErrorKind::Failed,
        _ => ErrorKind::Protocol,
    }
}

const KINDS: [ErrorKind; 16] = [
    ErrorKind::Invalid,
    ErrorKind::Protocol,
    ErrorKind::Unauthenticated,
    ErrorKind::Unauthorized,
    ErrorKind::NotFound,
    ErrorKind::Conflict,
    ErrorKind::Stolen,
    ErrorKind::NotSupported,
    ErrorKind::Exhausted,
    ErrorKind::StoreFull,
    ErrorKind::Unavailable,
    ErrorKind::TimedOut,
    ErrorKind::Closed,
    ErrorKind::Disconnected,
    ErrorKind::RolledBack,
    ErrorKind::Failed,
];

fn status(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::Invalid => StatusCode::BAD_REQUEST,
        ErrorKind::Unauthenticated => StatusCode::UNAUTHORIZED,
        ErrorKind::Unauthorized => StatusCode::FORBIDDEN,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Conflict | ErrorKind::Stolen | ErrorKind::RolledBack => StatusCode::CONFLICT,
        ErrorKind::NotSupported => StatusCode::NOT_IMPLEMENTED,
        ErrorKind::Exhausted => StatusCode::TOO_MANY_REQUESTS,
        ErrorKind::StoreFull => StatusCode::INSUFFICIENT_STORAGE,
        ErrorKind::Unavailable | ErrorKind::Closed | ErrorKind::Disconnected => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::TimedOut => StatusCode::GATEWAY_TIMEOUT,
        ErrorKind::Protocol => StatusCode::BAD_GATEWAY,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn words(kind: ErrorKind) -> (&'static str, &'static str) {
    match kind {
        ErrorKind::Invalid => ("invalid", "Correct the request."),
        ErrorKind::Protocol => ("protocol", "The endpoint behind this server broke its protocol: tell its operator."),
        ErrorKind::Unauthenticated => ("unauthenticated", "Send valid credentials in Authorization (Basic or Bearer)."),
        ErrorKind::Unauthorized => ("unauthorized", "Ask the operator for the right, or use other credentials."),
        ErrorKind::NotFound => ("not-found", "Check the address, or make the queue with PUT /v1/queues/NAME."),
        ErrorKind::Conflict => ("conflict", "Wait until the other owner is gone, or use the existing settings."),
        ErrorKind::Stolen => {
            ("stolen", "Another reader of the group has a higher epoch: read with a higher one, or not at all.")
        }
        ErrorKind::NotSupported => ("not-supported", "This endpoint cannot do it: GET /v1 tells what it can do."),
        ErrorKind::Exhausted => ("exhausted", "Try again after the time in Retry-After."),
        ErrorKind::StoreFull => {
            ("store-full", "Try again after the time in Retry-After; the operator has to make room on the disk.")
        }
        ErrorKind::Unavailable => ("unavailable", "Try again after the time in Retry-After."),
        ErrorKind::TimedOut => ("timed-out", "Try again; what was asked may have been done."),
        ErrorKind::Closed => ("closed", "The endpoint is shutting down: try again after the time in Retry-After."),
        ErrorKind::Disconnected => ("disconnected", "The endpoint behind this server is not reached: try again."),
        ErrorKind::RolledBack => ("rolled-back", "Do the whole transaction again."),
        _ => ("failed", "The store failed: tell the operator."),
    }
}

/// What went wrong with a message, and what its sender can do.
pub(crate) fn refusal(why: Option<Condition>) -> (&'static str, &'static str) {
    use Condition as C;
    match why {
        Some(C::NoRoute) => (
            "nothing is bound to this address",
            "The address is legal, and no queue or subscriber follows it, so the message was not kept. Make a subscription with \
             PUT /v1/subscriptions/NAME, or send to queues/NAME.",
        ),
        Some(C::NoConsumer) => {
            ("no consumer is attached", "The message is for consumers attached now: send it again later.")
        }
        Some(C::Busy) => {
            ("no consumer is free", "The consumers are busy: send it again after the time in Retry-After.")
        }
        Some(C::Full) => {
            ("the queue is full", "Send it again after the time in Retry-After, or have the queue emptied.")
        }
        Some(C::StoreFull) => (
            "the server has no room to store it",
            "Send it again after the time in Retry-After; the operator has to make room on the disk.",
        ),
        Some(C::Duplicate) => ("it was here before", "The first answer stands: do not send it again."),
        Some(C::NotFound) => {
            ("there is no such address", "Check the address, or make the queue with PUT /v1/queues/NAME.")
        }
        Some(C::Unauthorized) => {
            ("not allowed to send here", "Ask the operator for the right, or use other credentials.")
        }
        Some(C::Unavailable) => ("not possible now", "Send it again after the time in Retry-After."),
        Some(C::TooLarge) => ("too large", "Send less at once: GET /v1 tells the longest message."),
        Some(C::InvalidAddress) => {
            ("the address is not legal", "An address has no +, # or NUL, and all but its slashes is percent-encoded.")
        }
        Some(C::InvalidPayload) => {
            ("the body is not what it is declared to be", "Correct Content-Type and roadbed-utf8, or the body.")
        }
        Some(C::PreconditionFailed) => (
            "the destination cannot keep this promise",
            "Send with a weaker roadbed-durability, or declare the queue durable.",
        ),
        Some(C::NotSupported) => {
            ("the route cannot carry this", "Send without Idempotency-Key, or with roadbed-qos: 1.")
        }
        Some(C::Expired) => ("its time to live has passed", "Send it with a longer roadbed-ttl."),
        Some(C::DeadlineMissed) => ("its deadline was missed", "Send it again with a later roadbed-deadline-ms."),
        Some(C::DeliveryCountExceeded) => {
            ("delivered as often as the queue allows", "Look into the queue's dead letters for the reason.")
        }
        Some(C::UndeliverableHere) => ("no consumer may have it", "Look into the queue's dead letters for the reason."),
        Some(C::Displaced) => {
            ("a newer message took its place", "Nothing is to be done: the queue keeps the last ones.")
        }
        Some(C::Purged) => ("removed by an administrator", "Ask the operator."),
        Some(C::SessionEnded) => ("its session ended", "Send it again once the receiver is back."),
        Some(C::RolledBack) => ("its transaction was rolled back", "Do the whole transaction again."),
        Some(C::Refused) => {
            ("the receiver refused it", "Correct the message: the receiver's reason is in its dead letter.")
        }
        _ => ("not delivered", "Send it again after the time in Retry-After."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_error_comes_back() {
        for kind in KINDS {
            let problem = Problem::of_error(&Error::new(kind, "attach").detail("because"));
            let read: Problem = serde_json::from_slice(&problem.to_json()).unwrap();
            assert_eq!(read.error_kind(), kind);
            assert!(read.detail.starts_with("because. "), "{read:?}");
        }
    }

    #[test]
    fn every_condition_has_words_of_its_own() {
        let titles: std::collections::BTreeSet<_> = Condition::ALL.iter().map(|&why| refusal(Some(why)).0).collect();
        assert_eq!(titles.len(), Condition::ALL.len());
        assert!(!titles.contains(refusal(None).0));
    }
}
