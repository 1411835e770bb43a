//! What a server says went wrong, in the core's words.

use alloc::format;
use alloc::string::String;

use roadbed_core::{Error, ErrorKind};

use crate::codec::Fault;

/// The error of `operation` that a server's condition means (Part 2, sections 2.8.15 to 2.8.18; Part 4, section 4.5.8).
pub(crate) fn error(fault: &Fault, operation: &'static str) -> Error {
    Error::new(kind(&fault.condition), operation).detail(text(fault))
}

/// The condition and its words.
pub(super) fn text(fault: &Fault) -> String {
    match &fault.description {
        Some(words) if !words.is_empty() => format!("{words} ({})", fault.condition),
        _ => fault.condition.clone(),
    }
}

fn kind(condition: &str) -> ErrorKind {
    match condition {
        "amqp:unauthorized-access" => ErrorKind::Unauthorized,
        "amqp:not-found" => ErrorKind::NotFound,
        "amqp:not-implemented" => ErrorKind::NotSupported,
        "amqp:resource-locked" => ErrorKind::Conflict,
        "amqp:resource-limit-exceeded" | "amqp:link:message-size-exceeded" => ErrorKind::Exhausted,
        "amqp:invalid-field" | "amqp:not-allowed" | "amqp:precondition-failed" | "amqp:illegal-state" => {
            ErrorKind::Invalid
        }
        "amqp:decode-error" | "amqp:frame-size-too-small" | "amqp:connection:framing-error" => ErrorKind::Protocol,
        "amqp:transaction:rollback" => ErrorKind::RolledBack,
        "amqp:transaction:timeout" => ErrorKind::TimedOut,
        "amqp:transaction:unknown-id" => ErrorKind::NotFound,
        "amqp:connection:forced" | "amqp:connection:redirect" | "amqp:link:redirect" => ErrorKind::Unavailable,
        "amqp:link:stolen" => ErrorKind::Stolen,
        "amqp:link:detach-forced" | "amqp:resource-deleted" => ErrorKind::Closed,
        _ => ErrorKind::Unavailable,
    }
}
