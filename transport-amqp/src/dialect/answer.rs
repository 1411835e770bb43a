use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;

use bytes::Bytes;
use roadbed_core::{
    Condition, Confirm, Error, ErrorKind, Event, Outcome, Reason, Role, TxnId, Wire, WireDelivery, Work,
};

use crate::codec::{Disposition, Fault, State};

/// Conditions that AMQP has a word for (Part 2, sections 2.8.15 to 2.8.18; Part 4, section 4.5.8); the others are `roadbed:NAME`.
const CONDITIONS: &[(Condition, &str)] = &[
    (Condition::NotFound, "amqp:not-found"),
    (Condition::Unauthorized, "amqp:unauthorized-access"),
    (Condition::InvalidAddress, "amqp:invalid-field"),
    (Condition::InvalidPayload, "amqp:decode-error"),
    (Condition::TooLarge, "amqp:link:message-size-exceeded"),
    (Condition::Full, "amqp:resource-limit-exceeded"),
    (Condition::StoreFull, "amqp:resource-limit-exceeded"),
    (Condition::PreconditionFailed, "amqp:precondition-failed"),
    (Condition::NotSupported, "amqp:not-implemented"),
    (Condition::RolledBack, "amqp:transaction:rollback"),
];

const OWN: &str = "roadbed:";

/// The symbol of a condition.
pub fn condition_symbol(condition: Condition) -> String {
    match CONDITIONS.iter().find(|(known, _)| *known == condition) {
        Some((_, symbol)) => (*symbol).into(),
        None => format!("{OWN}{condition}"),
    }
}

/// The condition of a symbol; [`Condition::Refused`] for words of other applications.
pub fn symbol_condition(symbol: &str) -> Condition {
    if let Some((condition, _)) = CONDITIONS.iter().find(|(_, known)| *known == symbol) {
        return *condition;
    }
    let own = symbol.strip_prefix(OWN);
    let own = own.and_then(|name| Condition::ALL.iter().find(|condition| condition.as_str() == name));
    own.copied().unwrap_or(Condition::Refused)
}

/// The outcome that a state names, if it names one.
pub fn outcome(state: &State) -> Option<Outcome> {
    Some(match state {
        State::Accepted => Outcome::Accepted,
        State::Released => Outcome::Released,
        &State::Modified { delivery_failed, undeliverable_here } => {
            Outcome::Modified { delivery_failed, undeliverable_here }
        }
        State::Rejected(None) => Outcome::rejected(Condition::Refused),
        State::Rejected(Some(fault)) => {
            let condition = symbol_condition(&fault.condition);
            let foreign = condition == Condition::Refused && !fault.condition.starts_with(OWN);
            let words = match &fault.description {
                None => foreign.then(|| fault.condition.clone()),
                Some(words) if foreign => Some(format!("{}: {words}", fault.condition)),
                Some(words) => Some(words.clone()),
            };
            Outcome::Rejected(Reason { condition, text: words.map(Arc::new) })
        }
        State::Received | State::Declared(_) | State::Transactional { .. } => return None,
    })
}

/// The state that says an outcome.
pub fn outcome_state(outcome: &Outcome) -> State {
    match outcome {
        Outcome::Accepted => State::Accepted,
        Outcome::Rejected(reason) => State::Rejected(Some(fault(reason))),
        &Outcome::Modified { delivery_failed, undeliverable_here } => {
            State::Modified { delivery_failed, undeliverable_here }
        }
        _ => State::Released,
    }
}

/// The state that tells a sender what became of its message: nobody there, or nobody who can take it now, is *released*.
pub fn confirm_state(confirm: &Confirm) -> State {
    let why = match &confirm.outcome {
        Outcome::Rejected(reason) => confirm.why.or(Some(reason.condition)),
        _ => confirm.why,
    };
    let nobody = matches!(why, Some(Condition::NoRoute | Condition::NoConsumer | Condition::Busy));
    let outcome = match &confirm.outcome {
        _ if nobody => State::Released,
        Outcome::Rejected(_) if why == Some(Condition::Unavailable) => State::Released,
        outcome => outcome_state(outcome),
    };
    match confirm.provisional {
        None => outcome,
        Some(txn) => State::Transactional { txn: txn_bytes(txn), outcome: Some(Box::new(outcome)) },
    }
}

/// An error of an endpoint in the standard's words.
pub fn error_fault(error: &Error) -> Fault {
    let condition = match error.kind() {
        ErrorKind::Invalid => "amqp:invalid-field",
        ErrorKind::Protocol => "amqp:decode-error",
        ErrorKind::Unauthenticated | ErrorKind::Unauthorized => "amqp:unauthorized-access",
        ErrorKind::NotFound => "amqp:not-found",
        ErrorKind::Conflict => "amqp:resource-locked",
        ErrorKind::Stolen => "amqp:link:stolen",
        ErrorKind::NotSupported => "amqp:not-implemented",
        ErrorKind::Exhausted | ErrorKind::StoreFull => "amqp:resource-limit-exceeded",
        ErrorKind::Closed => "amqp:connection:forced",
        ErrorKind::RolledBack => "amqp:transaction:rollback",
        _ => "amqp:internal-error",
    };
    Fault::new(condition, format!("{error}"))
}

/// A transaction's name on the wire.
pub(crate) fn txn_bytes(txn: TxnId) -> Bytes {
    Bytes::copy_from_slice(&txn.0.to_be_bytes())
}

/// The transaction with this name; `None` if none of ours can have it.
pub(crate) fn txn_id(bytes: &[u8]) -> Option<TxnId> {
    bytes.try_into().ok().map(|bytes| TxnId(u64::from_be_bytes(bytes)))
}

impl WireDelivery for Disposition {
    fn event(&self, _wire: &Wire) -> Option<Event> {
        match (self.role, &self.state) {
            (Role::Receiver, Some(State::Transactional { txn, outcome: Some(state) })) => {
                let (txn, outcome) = (txn_id(txn)?, outcome(state)?);
                Some(Event::Enlist { txn, work: Work::Retire(outcome) })
            }
            (Role::Receiver, Some(state)) => {
                let outcome = outcome(state);
                match outcome {
                    Some(outcome) => Some(Event::Dispose { outcome, settled: self.settled }),
                    None => self.settled.then_some(Event::Settle),
                }
            }
            (_, _) => self.settled.then_some(Event::Settle),
        }
    }

    fn write(event: &Event, wire: &Wire) -> Option<Self> {
        let (settled, state) = match event {
            Event::Dispose { outcome, settled } => (*settled, Some(outcome_state(outcome))),
            Event::Settle => (true, None),
            Event::Enlist { txn, work: Work::Retire(outcome) } => {
                let outcome = Some(Box::new(outcome_state(outcome)));
                (false, Some(State::Transactional { txn: txn_bytes(*txn), outcome }))
            }
            _ => return None,
        };
        let last = (wire.last != wire.first).then_some(wire.last);
        Some(Self { role: wire.role, first: wire.first, last, settled, state, batchable: false })
    }
}

fn fault(reason: &Reason) -> Fault {
    let description = reason.text.as_ref().map(|text| String::clone(text));
    Fault { condition: condition_symbol(reason.condition), description }
}
