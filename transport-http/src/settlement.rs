//! What each signal of HTTP means, as data: the cells that `tests/settlement` brings about, and that the documentation is made of.

use roadbed_core::settlement::{
    Egress, Ingress, Reading, Settlement, Variant, egress_cells, ingress_cells, reading_cells,
};

/// The settlement table of HTTP.
pub const SETTLEMENT: Settlement =
    Settlement { protocol: "HTTP", variants: VARIANTS, ingress: INGRESS, egress: EGRESS, logs: LOGS };

const H0: &str = "http-qos-0";
const H1: &str = "http-qos-1";
const H2: &str = "http-qos-2";

const VARIANTS: &[Variant] = &[
    Variant { slug: H0, title: "HTTP, `roadbed-qos: 0`" },
    Variant { slug: H1, title: "HTTP" },
    Variant { slug: H2, title: "HTTP, `Idempotency-Key`" },
];

const EARLY: &str = "Answered when it was read, before anything was decided. What is dropped is counted.";
const WORDS: &str = "The problem document names the condition and the outcome, and says what to do.";
const NOT_AGAIN: &str = "Without an Idempotency-Key a request that comes again is a new message.";
const NOT_ASKED: &str = "It does not ask for exactly once.";
const AGAIN: &str = "Retry-After says when to come again.";

const INGRESS: &[Ingress] = ingress_cells! {
    Stored {
        H0: "202", "RFC 9110, 15.3.3", EARLY;
        H1: "202", "RFC 9110, 15.3.3", "";
        H2: "202", "RFC 9110, 15.3.3", "";
    }
    Repeated {
        H0: "n/a", "RFC 9110, 9.2.2", NOT_AGAIN;
        H1: "n/a", "RFC 9110, 9.2.2", NOT_AGAIN;
        H2: "202", "draft-ietf-httpapi-idempotency-key-header, 2.6", "The first answer is given again, and there is one copy.";
    }
    NoRoute {
        H0: "202", "RFC 9110, 15.3.3", EARLY;
        H1: "404", "RFC 9110, 15.5.5", WORDS;
        H2: "404", "RFC 9110, 15.5.5", WORDS;
    }
    NotFound {
        H0: "202", "RFC 9110, 15.3.3", EARLY;
        H1: "404", "RFC 9110, 15.5.5", WORDS;
        H2: "404", "RFC 9110, 15.5.5", WORDS;
    }
    Unauthenticated {
        H0: "401", "RFC 9110, 15.5.2", "With the challenges that are understood.";
        H1: "401", "RFC 9110, 15.5.2", "With the challenges that are understood.";
        H2: "401", "RFC 9110, 15.5.2", "With the challenges that are understood.";
    }
    Unauthorized {
        H0: "202", "RFC 9110, 15.3.3", EARLY;
        H1: "403", "RFC 9110, 15.5.4", WORDS;
        H2: "403", "RFC 9110, 15.5.4", WORDS;
    }
    Unreadable {
        H0: "400", "RFC 9110, 15.5.1", "A wildcard, or an escape that says nothing.";
        H1: "400", "RFC 9110, 15.5.1", "A wildcard, or an escape that says nothing.";
        H2: "400", "RFC 9110, 15.5.1", "A wildcard, or an escape that says nothing.";
    }
    InvalidAddress {
        H0: "202", "RFC 9110, 15.3.3", EARLY;
        H1: "400", "RFC 9110, 15.5.1", WORDS;
        H2: "400", "RFC 9110, 15.5.1", WORDS;
    }
    InvalidPayload {
        H0: "202", "RFC 9110, 15.3.3", EARLY;
        H1: "415", "RFC 9110, 15.5.16", WORDS;
        H2: "415", "RFC 9110, 15.5.16", WORDS;
    }
    TooLarge {
        H0: "413", "RFC 9110, 15.5.14", "As soon as Content-Length says so; the connection is closed.";
        H1: "413", "RFC 9110, 15.5.14", "As soon as Content-Length says so; the connection is closed.";
        H2: "413", "RFC 9110, 15.5.14", "As soon as Content-Length says so; the connection is closed.";
    }
    Oversized {
        H0: "413", "RFC 9110, 15.5.14", "The server knows what the endpoint takes.";
        H1: "413", "RFC 9110, 15.5.14", "The server knows what the endpoint takes.";
        H2: "413", "RFC 9110, 15.5.14", "The server knows what the endpoint takes.";
    }
    Full {
        H0: "202", "RFC 9110, 15.3.3", EARLY;
        H1: "429 Retry-After", "RFC 6585, 4", AGAIN;
        H2: "429 Retry-After", "RFC 6585, 4", AGAIN;
    }
    Unavailable {
        H0: "202", "RFC 9110, 15.3.3", EARLY;
        H1: "503 Retry-After", "RFC 9110, 15.6.4", AGAIN;
        H2: "503 Retry-After", "RFC 9110, 15.6.4", AGAIN;
    }
    NotDurable {
        H0: "202", "RFC 9110, 15.3.3", EARLY;
        H1: "409", "RFC 9110, 15.5.10", WORDS;
        H2: "409", "RFC 9110, 15.5.10", WORDS;
    }
    ExactlyOnceUnsupported {
        H0: "n/a", "RFC 9110, 9.2.2", NOT_ASKED;
        H1: "n/a", "RFC 9110, 9.2.2", NOT_ASKED;
        H2: "400", "RFC 9110, 15.5.1", WORDS;
    }
};

const EGRESS: &[Egress] = egress_cells! {
    "GET of a message without a lock" in [H0] => Accept, "200", "RFC 9110, 9.3.1", "At most once: written is delivered. The response has no ETag.";
    "GET of an empty queue" in [H0 H1 H2] => Unsaid, "204", "RFC 9110, 15.3.5", "";
    "DELETE of the lock" in [H1 H2] => Accept, "204", "RFC 9110, 9.3.5", "Complete.";
    "DELETE of the lock again" in [H1 H2] => Repeat, "204", "RFC 9110, 9.2.2", "DELETE is idempotent, as long as the queue remembers the lock.";
    "POST reject" in [H1 H2] => Reject, "204", "RFC 9110, 9.3.3", "The reason goes to the dead letter.";
    "POST abandon" in [H1 H2] => Fail, "204", "RFC 9110, 9.3.3", "Tried, and failed.";
    "POST abandon, not failed" in [H1 H2] => Release, "204", "RFC 9110, 9.3.3", "With `{\"failed\":false}`.";
    "POST release" in [H1 H2] => Release, "204", "RFC 9110, 9.3.3", "Nothing was tried.";
    "POST renew" in [H1 H2] => Renew, "204", "RFC 9110, 9.3.3", "roadbed-lock-until-ms names the new deadline.";
    "silence" in [H1 H2] => Keep, "nothing", "RFC 9110, 9.3.1", "That a response was written says nothing: the lock stands until its deadline.";
    "silence until the deadline" in [H1 H2] => Fail, "nothing", "RFC 9110, 9.3.1", "";
    "connection lost after the response" in [H1 H2] => Keep, "close", "RFC 9110, 9.3.1", "The lock is the principal's, not the connection's.";
    "connection lost, then DELETE on another" in [H1 H2] => Accept, "204", "RFC 9110, 3.3", "HTTP has no state of a connection.";
    "held poll, connection lost before a message came" in [H1 H2] => Release, "close", "RFC 9110, 9.3.1", "Nothing was tried: the message waits for the next poll.";
    "DELETE after the deadline" in [H1 H2] => Late, "412", "RFC 9110, 15.5.13", "The lock is lost, and the message may have another owner.";
    "DELETE by another principal" in [H1 H2] => Late, "412", "RFC 9110, 15.5.13", "A token opens for its owner alone.";
    "DELETE of no lock" in [H1 H2] => Late, "400", "RFC 9110, 15.5.1", "What was never a token.";
    "POST release after DELETE" in [H1 H2] => Late, "412", "RFC 9110, 15.5.13", "The first outcome stands.";
};

const LOGS: &[Reading] = reading_cells! {
    "GET of the partition" in H1 => Before, "200", "RFC 9110, 9.2.1", "Reading is safe: it settles nothing.";
    "PUT of the checkpoint" in H1 => Past, "200", "RFC 9110, 9.3.4", "";
    "PUT of the checkpoint, again" in H1 => Past, "200", "RFC 9110, 9.2.2", "Idempotent.";
    "PUT of the checkpoint, then of an earlier one" in H1 => Past, "409", "RFC 9110, 15.5.10", "A reader that comes late does not take back what another has done.";
    "PUT of the checkpoint, then of an earlier one by force" in H1 => Back, "200", "RFC 9110, 9.3.4", "";
    "PUT of a checkpoint beyond the end" in H1 => Before, "400", "RFC 9110, 15.5.1", "";
};

#[cfg(test)]
mod tests {
    #[test]
    fn the_table_is_whole() {
        super::SETTLEMENT.check().unwrap();
    }
}
