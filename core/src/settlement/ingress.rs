/// What a server decides about a message that was sent to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Decision {
    /// Every matched queue has taken its copy.
    Stored,
    /// Exactly once: it was stored before, and comes again.
    Repeated,
    /// The address is legal, and nothing is bound to it.
    NoRoute,
    /// The address names a node that does not exist and is not made.
    NotFound,
    /// The sender has not proven who it is.
    Unauthenticated,
    /// The sender may not send there.
    Unauthorized,
    /// The address cannot be read as one: a wildcard, a bad escape.
    Unreadable,
    /// The address can be read, and is not one to send to.
    InvalidAddress,
    /// The payload contradicts its declared format.
    InvalidPayload,
    /// It is longer than the server reads.
    TooLarge,
    /// It is longer than the endpoint behind the server takes.
    Oversized,
    /// A queue or a quota is full.
    Full,
    /// The store cannot take it now.
    Unavailable,
    /// It asks for durability that its queue does not have.
    NotDurable,
    /// It asks for exactly once where the route cannot.
    ExactlyOnceUnsupported,
}

impl Decision {
    /// Every decision, in the order of the table.
    pub const ALL: [Self; 15] = [
        Self::Stored,
        Self::Repeated,
        Self::NoRoute,
        Self::NotFound,
        Self::Unauthenticated,
        Self::Unauthorized,
        Self::Unreadable,
        Self::InvalidAddress,
        Self::InvalidPayload,
        Self::TooLarge,
        Self::Oversized,
        Self::Full,
        Self::Unavailable,
        Self::NotDurable,
        Self::ExactlyOnceUnsupported,
    ];

    /// The row's heading.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored in all queues",
            Self::Repeated => "exactly once, sent again",
            Self::NoRoute => "valid, nobody routed",
            Self::NotFound => "no such node",
            Self::Unauthenticated => "sender not known",
            Self::Unauthorized => "not authorised",
            Self::Unreadable => "address cannot be read",
            Self::InvalidAddress => "address not legal here",
            Self::InvalidPayload => "payload contradicts its declared format",
            Self::TooLarge => "longer than the server reads",
            Self::Oversized => "longer than the endpoint takes",
            Self::Full => "queue full or over quota",
            Self::Unavailable => "store down, try later",
            Self::NotDurable => "durable message to a volatile queue",
            Self::ExactlyOnceUnsupported => "exactly once asked, route cannot",
        }
    }
}

/// One cell: what the sender is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ingress {
    /// The row.
    pub decision: Decision,
    /// The column: the [slug](super::Variant::slug) of a variant.
    pub variant: &'static str,
    /// What is seen on the wire; see [`is_answer`].
    pub answer: &'static str,
    /// The section of the standard that says so.
    pub section: &'static str,
    /// What else there is to know; for `n/a`, why.
    pub note: &'static str,
}

/// Whether `text` is an answer. An answer is `n/a` (the cell cannot come up), or steps joined by `, then `. A step is
///
/// - `nothing`: no byte comes, and the connection goes on;
/// - `withheld`: no answer comes, though one is due, and the connection goes on for the time being;
/// - `close`: the connection is closed;
/// - an MQTT packet: its name, and its reason code where the version has one: `PUBACK`, `PUBREC 0x97`;
/// - an HTTP status: three digits, and ` Retry-After` if that header is there: `202`, `429 Retry-After`;
/// - an AMQP disposition: its outcome, and the condition if it has one: `accepted`, `rejected amqp:not-found`; `transactional` stands
///   before one that waits for its transaction;
/// - an AMQP `detach`, `end` or `close`, and its condition if it has one: `detach amqp:not-found`;
/// - AMQP's `link-credit` in a flow, and the code of a `sasl-outcome`: `link-credit 0`, `sasl-outcome 1`.
pub fn is_answer(text: &str) -> bool {
    text == "n/a" || text.split(", then ").all(is_step)
}

fn is_step(step: &str) -> bool {
    if matches!(step, "nothing" | "withheld" | "close") {
        return true;
    }
    let step = step.strip_prefix("transactional ").unwrap_or(step);
    let (word, rest) = step.split_once(' ').unwrap_or((step, ""));
    let digits = |text: &str, len: usize, hex: bool| {
        text.len() == len
            && text.bytes().all(|b| if hex { matches!(b, b'0'..=b'9' | b'A'..=b'F') } else { b.is_ascii_digit() })
    };
    if digits(word, 3, false) {
        return matches!(rest, "" | "Retry-After");
    }
    match word {
        "accepted" | "released" | "modified" | "declared" => return rest.is_empty(),
        "rejected" | "detach" | "end" | "close" => return rest.is_empty() || is_condition(rest),
        "link-credit" | "sasl-outcome" => return digits(rest, 1, false),
        _ => {}
    }
    let named = !word.is_empty() && word.bytes().all(|b| b.is_ascii_uppercase());
    named && (rest.is_empty() || rest.strip_prefix("0x").is_some_and(|code| digits(code, 2, true)))
}

/// An AMQP error condition: names joined by colons.
fn is_condition(text: &str) -> bool {
    let is_name = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
    text.contains(':') && text.split(':').all(is_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_takes_answers_and_nothing_else() {
        for good in [
            "n/a",
            "nothing",
            "PUBACK",
            "PUBREC 0x97",
            "DISCONNECT 0x95, then close",
            "withheld, then close",
            "202",
            "429 Retry-After",
            "accepted",
            "rejected amqp:link:message-size-exceeded",
            "transactional released",
            "detach amqp:not-found",
            "sasl-outcome 1, then close",
            "link-credit 0, then rejected amqp:resource-limit-exceeded",
        ] {
            assert!(is_answer(good), "{good}");
        }
        for bad in [
            "",
            "puback",
            "PUBACK 97",
            "PUBACK 0x9",
            "PUBACK 0x9g",
            "20",
            "429 Retry",
            "close, close",
            "n/a, then close",
            "accepted amqp:not-found",
            "detach not-found",
            "rejected amqp:",
            "link-credit",
        ] {
            assert!(!is_answer(bad), "{bad}");
        }
    }
}
