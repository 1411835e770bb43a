//! What each signal of AMQP means, as data: the cells that `tests/settlement` brings about, and that the documentation is made of.

use roadbed_core::settlement::{
    Egress, Ingress, Reading, Settlement, Variant, egress_cells, ingress_cells, reading_cells,
};

/// The settlement table of AMQP 1.0. Sections are those of the OASIS standard: part, then section.
pub const SETTLEMENT: Settlement =
    Settlement { protocol: "AMQP", variants: VARIANTS, ingress: INGRESS, egress: EGRESS, logs: LOGS };

const A0: &str = "amqp-settled";
const A1: &str = "amqp-first";
const A2: &str = "amqp-second";

const VARIANTS: &[Variant] = &[
    Variant { slug: A0, title: "AMQP, settled" },
    Variant { slug: A1, title: "AMQP, receiver settles first" },
    Variant { slug: A2, title: "AMQP, receiver settles second" },
];

const SILENT: &str = "A settled transfer gets no answer. What is dropped is counted.";
const WAITS: &str = "Not settled until the sender settles: until then the tag is known.";
const NOT_AGAIN: &str = "Only a sender that settles after its receiver is recognised; here it is a new message.";
const NOT_ASKED: &str = "It does not ask for exactly once.";
const ALSO_ATTACH: &str = "Of a message with an address of its own. A link to such an address is refused: attach, then detach with the same condition.";
const AT_ATTACH: &str =
    "Before any credit is given. A message with an address of its own is rejected with the same condition.";
const CREDIT: &str = "A queue that pushes back gives no credit while it is full. What was sent on credit given before, or to a queue that refuses, is rejected.";

const INGRESS: &[Ingress] = ingress_cells! {
    Stored {
        A0: "nothing", "2, 2.6.12", SILENT;
        A1: "accepted", "3, 3.4.2", "Settled.";
        A2: "accepted", "2, 2.8.3; 3, 3.4.2", WAITS;
    }
    Repeated {
        A0: "n/a", "2, 2.6.13", NOT_AGAIN;
        A1: "n/a", "2, 2.6.13", NOT_AGAIN;
        A2: "accepted", "2, 2.6.13", "There is one copy.";
    }
    NoRoute {
        A0: "nothing", "2, 2.6.12", SILENT;
        A1: "released", "3, 3.4.4", "";
        A2: "released", "3, 3.4.4", "";
    }
    NotFound {
        A0: "detach amqp:not-found", "2, 2.6.3, 2.8.15", AT_ATTACH;
        A1: "detach amqp:not-found", "2, 2.6.3, 2.8.15", AT_ATTACH;
        A2: "detach amqp:not-found", "2, 2.6.3, 2.8.15", AT_ATTACH;
    }
    Unauthenticated {
        A0: "sasl-outcome 1, then close", "5, 5.3.3.5, 5.3.3.6", "";
        A1: "sasl-outcome 1, then close", "5, 5.3.3.5, 5.3.3.6", "";
        A2: "sasl-outcome 1, then close", "5, 5.3.3.5, 5.3.3.6", "";
    }
    Unauthorized {
        A0: "nothing", "2, 2.6.12", SILENT;
        A1: "rejected amqp:unauthorized-access", "2, 2.8.15; 3, 3.4.3", ALSO_ATTACH;
        A2: "rejected amqp:unauthorized-access", "2, 2.8.15; 3, 3.4.3", ALSO_ATTACH;
    }
    Unreadable {
        A0: "nothing", "2, 2.6.12", SILENT;
        A1: "rejected amqp:invalid-field", "2, 2.8.15; 3, 3.4.3", ALSO_ATTACH;
        A2: "rejected amqp:invalid-field", "2, 2.8.15; 3, 3.4.3", ALSO_ATTACH;
    }
    InvalidAddress {
        A0: "nothing", "2, 2.6.12", SILENT;
        A1: "rejected amqp:invalid-field", "2, 2.8.15; 3, 3.4.3", ALSO_ATTACH;
        A2: "rejected amqp:invalid-field", "2, 2.8.15; 3, 3.4.3", ALSO_ATTACH;
    }
    InvalidPayload {
        A0: "nothing", "2, 2.6.12", SILENT;
        A1: "rejected amqp:decode-error", "2, 2.8.15; 3, 3.4.3", "";
        A2: "rejected amqp:decode-error", "2, 2.8.15; 3, 3.4.3", "";
    }
    TooLarge {
        A0: "detach amqp:link:message-size-exceeded", "2, 2.7.3, 2.8.18", "The attach names max-message-size.";
        A1: "detach amqp:link:message-size-exceeded", "2, 2.7.3, 2.8.18", "The attach names max-message-size.";
        A2: "detach amqp:link:message-size-exceeded", "2, 2.7.3, 2.8.18", "The attach names max-message-size.";
    }
    Oversized {
        A0: "nothing", "2, 2.6.12", SILENT;
        A1: "rejected amqp:link:message-size-exceeded", "2, 2.8.18; 3, 3.4.3", "";
        A2: "rejected amqp:link:message-size-exceeded", "2, 2.8.18; 3, 3.4.3", "";
    }
    Full {
        A0: "link-credit 0, then nothing", "2, 2.6.7, 2.6.12", SILENT;
        A1: "link-credit 0, then rejected amqp:resource-limit-exceeded", "2, 2.6.7, 2.8.15; 3, 3.4.3", CREDIT;
        A2: "link-credit 0, then rejected amqp:resource-limit-exceeded", "2, 2.6.7, 2.8.15; 3, 3.4.3", CREDIT;
    }
    Unavailable {
        A0: "nothing", "2, 2.6.12", SILENT;
        A1: "released", "3, 3.4.4", "";
        A2: "released", "3, 3.4.4", "";
    }
    NotDurable {
        A0: "nothing", "2, 2.6.12", SILENT;
        A1: "rejected amqp:precondition-failed", "2, 2.8.15; 3, 3.2.1", "";
        A2: "rejected amqp:precondition-failed", "2, 2.8.15; 3, 3.2.1", "";
    }
    ExactlyOnceUnsupported {
        A0: "n/a", "2, 2.8.2", NOT_ASKED;
        A1: "n/a", "2, 2.8.3", NOT_ASKED;
        A2: "detach amqp:not-implemented", "2, 2.6.3, 2.8.3", "Before any credit is given: a sender that settles after its receiver relies on it.";
    }
};

const TOLD: &str = "Settled by the sender, when what it says is durable.";
const STAYS: &str = "The outcome is not applied, and the delivery stays with its receiver, who names another.";
const DEFAULT: &str = "The source's default-outcome; where it names none, tried and failed.";
const FOREIGN: &str = "A link that others take from as well: tried, and failed.";

const EGRESS: &[Egress] = egress_cells! {
    "transfer, settled" in [A0] => Accept, "nothing", "2, 2.6.12", "At most once: nothing can come back.";
    "longer than the receiver takes" in [A0] => Accept, "nothing", "2, 2.7.3", "Counts as sent.";
    "longer than the receiver takes" in [A1 A2] => Reject, "nothing", "2, 2.7.3", "Never sent. Dead letter: `too-large`.";
    "accepted" in [A1 A2] => Accept, "accepted", "3, 3.4.2; 2, 2.8.3", TOLD;
    "accepted, settled" in [A1 A2] => Accept, "nothing", "3, 3.4.2", "";
    "accepted, settled, out of order" in [A1 A2] => Accept, "nothing", "2, 2.6.12", "Taken by its number.";
    "accepted, settled, again" in [A1 A2] => Late, "nothing", "2, 2.6.12", "The delivery is over, and its number names no other.";
    "accepted, settled, then connection lost" in [A1 A2] => Accept, "close", "3, 3.4.2", "";
    "rejected" in [A1 A2] => Reject, "rejected", "3, 3.4.3", "Dead letter: `refused`.";
    "rejected, settled" in [A1 A2] => Reject, "nothing", "3, 3.4.3", "Dead letter: `refused`.";
    "rejected amqp:decode-error" in [A1 A2] => Reject, "rejected amqp:decode-error", "3, 3.4.3", "Dead letter: `invalid-payload`.";
    "rejected amqp:unauthorized-access" in [A1 A2] => Reject, "rejected amqp:unauthorized-access", "3, 3.4.3", "Dead letter: `unauthorized`.";
    "rejected amqp:not-found" in [A1 A2] => Reject, "rejected amqp:not-found", "3, 3.4.3", "Dead letter: `not-found`.";
    "rejected amqp:resource-limit-exceeded" in [A1 A2] => Reject, "rejected amqp:resource-limit-exceeded", "3, 3.4.3", "Dead letter: `full`.";
    "rejected amqp:precondition-failed" in [A1 A2] => Reject, "rejected amqp:precondition-failed", "3, 3.4.3", "Dead letter: `precondition-failed`.";
    "rejected example:no-use" in [A1 A2] => Reject, "rejected example:no-use", "3, 3.4.3", "A condition of somebody else is kept in words. Dead letter: `refused`.";
    "released" in [A1 A2] => Release, "released", "3, 3.4.4", TOLD;
    "released, settled" in [A1 A2] => Release, "nothing", "3, 3.4.4", "";
    "modified" in [A1 A2] => Release, "modified", "3, 3.4.5", "Neither flag: as released.";
    "modified delivery-failed" in [A1 A2] => Fail, "modified", "3, 3.4.5", "";
    "modified delivery-failed, settled" in [A1 A2] => Fail, "nothing", "3, 3.4.5", "";
    "modified undeliverable-here" in [A1 A2] => Release, "modified", "3, 3.4.5", "Another link gets it, this one does not.";
    "modified delivery-failed undeliverable-here" in [A1 A2] => Fail, "modified", "3, 3.4.5", "Another link gets it, this one does not.";
    "modified undeliverable-here, with nobody else" in [A1 A2] => Reject, "modified", "3, 3.4.5", "Dead letter: `undeliverable-here`.";
    "received" in [A1 A2] => Keep, "nothing", "3, 3.4.1", "It is no outcome.";
    "received, settled" in [A1 A2] => Fail, "nothing", "3, 3.4.1, 3.5.3", DEFAULT;
    "no state, settled" in [A1 A2] => Fail, "nothing", "3, 3.5.3", DEFAULT;
    "no state, settled, default-outcome accepted" in [A1 A2] => Accept, "nothing", "3, 3.5.3", DEFAULT;
    "no state, settled, default-outcome rejected" in [A1 A2] => Reject, "nothing", "3, 3.5.3", "The source's default-outcome. Dead letter: `refused`.";
    "no state, settled, default-outcome released" in [A1 A2] => Release, "nothing", "3, 3.5.3", DEFAULT;
    "no state, settled, default-outcome modified delivery-failed" in [A1 A2] => Fail, "nothing", "3, 3.5.3", DEFAULT;
    "silence" in [A1 A2] => Keep, "nothing", "2, 2.6.12", "As long as its link is attached.";
    "time to live ends, then silence" in [A1 A2] => Keep, "nothing", "3, 3.2.1", "What is sent does not expire.";
    "credit without a window, then detach" in [A1 A2] => Release, "detach", "2, 2.5.6, 2.6.7; 3, 3.5.3", "Nothing was tried: no byte was written.";
    "credit, then connection lost before a message came" in [A1 A2] => Release, "close", "3, 3.5.3", "Nothing was tried: the message waits for the next link.";
    "detach" in [A1 A2] => Keep, "detach", "2, 2.6.4; 3, 3.5.6", "Until the session ends, the link may be attached again, and has what it had.";
    "detach, then end" in [A1 A2] => Fail, "detach, then end", "2, 2.6.4; 3, 3.5.3, 3.5.6", DEFAULT;
    "detach closed" in [A1 A2] => Fail, "detach", "2, 2.6.6; 3, 3.5.3", DEFAULT;
    "detach closed, default-outcome released" in [A1 A2] => Release, "detach", "2, 2.6.6; 3, 3.5.3", DEFAULT;
    "end" in [A1 A2] => Fail, "end", "2, 2.5.2; 3, 3.5.3", DEFAULT;
    "close" in [A1 A2] => Fail, "close", "2, 2.4.3; 3, 3.5.3", DEFAULT;
    "connection lost" in [A1 A2] => Fail, "close", "2, 2.4; 3, 3.5.3", FOREIGN;
    "connection lost, default-outcome released" in [A1 A2] => Release, "close", "3, 3.5.3", DEFAULT;
    "connection lost, of a link that is kept" in [A1 A2] => Keep, "close", "2, 2.6.13; 3, 3.5.6", "It waits for its link, which is resumed over another connection.";
    "connection lost, of a link that is kept, then its time-out" in [A1 A2] => Fail, "close", "3, 3.5.3, 3.5.6", DEFAULT;
    "drain" in [A1 A2] => Keep, "link-credit 0", "2, 2.6.7", "What was sent stays sent; the rest of the credit lapses.";
    "drain of an empty queue" in [A0 A1 A2] => Unsaid, "link-credit 0", "2, 2.6.7", "Nothing comes later on that credit.";
    "distribution-mode copy, accepted" in [A1 A2] => Unsaid, "nothing", "3, 3.5.2, 3.5.7", "A look takes nothing, and is sent settled.";
    "transactional accepted" in [A1 A2] => Keep, "nothing", "4, 4.4.2", "Applied at commit, and not before.";
    "transactional accepted, then commit" in [A1 A2] => Accept, "accepted", "4, 4.4.2", "";
    "transactional rejected amqp:decode-error, then commit" in [A1 A2] => Reject, "rejected amqp:decode-error", "4, 4.4.2", "Dead letter: `invalid-payload`.";
    "transactional released, then commit" in [A1 A2] => Release, "released", "4, 4.4.2", "";
    "transactional modified delivery-failed, then commit" in [A1 A2] => Fail, "modified", "4, 4.4.2", "";
    "transactional accepted, then rollback" in [A1 A2] => Keep, "nothing", "4, 4.4.2", STAYS;
    "transactional rejected, then rollback" in [A1 A2] => Keep, "nothing", "4, 4.4.2", STAYS;
    "transactional released, then rollback" in [A1 A2] => Keep, "nothing", "4, 4.4.2", STAYS;
    "transactional modified delivery-failed, then rollback" in [A1 A2] => Keep, "nothing", "4, 4.4.2", STAYS;
    "transactional accepted, then rollback, then accepted" in [A1 A2] => Accept, "accepted", "4, 4.4.2, 4.4.4.2", STAYS;
    "transactional accepted, then control link closed" in [A1 A2] => Keep, "nothing", "4, 4.1, 4.4.2", "The transaction rolls back.";
    "transactional accepted, then time-out" in [A1 A2] => Keep, "nothing", "4, 4.4.2, 4.5.8", "The transaction rolls back.";
    "transactional accepted, then connection lost" in [A1 A2] => Fail, "close", "4, 4.1; 3, 3.5.3", "The transaction rolls back, and the link is lost.";
    "transactional accepted, settled, then commit" in [A1 A2] => Accept, "nothing", "4, 4.4.4.2", "";
    "transactional accepted, settled, then rollback" in [A1 A2] => Fail, "nothing", "4, 4.4.4.2", DEFAULT;
    "transactional accepted, settled, default-outcome released, then rollback" in [A1 A2] => Release, "nothing", "4, 4.4.4.2", DEFAULT;
    "transactional accepted, of a transaction that is not known" in [A1 A2] => Fail, "end amqp:transaction:unknown-id", "4, 4.4.2, 4.5.8", "The session ends: nothing of it is left in doubt.";
    "acquired, then rollback" in [A1 A2] => Release, "released", "4, 4.4.3, 4.4.4.3", "The acquisition is undone.";
    "acquired, then commit" in [A1 A2] => Keep, "nothing", "4, 4.4.3, 4.4.4.3", "The delivery is its receiver's, who names the outcome.";
    "acquired, transactional accepted, then commit" in [A1 A2] => Accept, "accepted", "4, 4.4.4.3", "";
    "acquired, transactional accepted, then rollback" in [A1 A2] => Release, "released", "4, 4.4.4.3", "Both the acquisition and the outcome are undone.";
};

const GIVEN_BACK: &str =
    "It comes again when somebody attaches for the group anew, and holds the checkpoint back until then.";

const LOGS: &[Reading] = reading_cells! {
    "transfer, settled" in A0 => Past, "nothing", "2, 2.6.12", "At most once: as it is written.";
    "accepted" in A1 => Past, "accepted", "3, 3.4.2", TOLD;
    "accepted, settled" in A1 => Past, "nothing", "3, 3.4.2", "";
    "rejected" in A1 => Past, "rejected", "3, 3.4.3", "The group has done with it. There is no dead letter: the message stays in the log.";
    "released" in A1 => Before, "released", "3, 3.4.4", GIVEN_BACK;
    "released, settled" in A1 => Before, "nothing", "3, 3.4.4", GIVEN_BACK;
    "modified delivery-failed" in A1 => Before, "modified", "3, 3.4.5", GIVEN_BACK;
    "modified undeliverable-here" in A1 => Before, "modified", "3, 3.4.5", GIVEN_BACK;
    "no state, settled" in A1 => Before, "nothing", "3, 3.5.3", DEFAULT;
    "no state, settled, default-outcome accepted" in A1 => Past, "nothing", "3, 3.5.3", DEFAULT;
    "silence" in A1 => Before, "nothing", "2, 2.6.12", "";
    "detach closed" in A1 => Before, "detach", "2, 2.6.6", "";
    "connection lost" in A1 => Before, "close", "3, 3.5.3", "";
    "transactional accepted" in A1 => Before, "nothing", "4, 4.4.2", "The outcome waits for the commit.";
    "transactional accepted, then commit" in A1 => Past, "accepted", "4, 4.4.2", "In the record of the transaction.";
    "transactional accepted, then rollback" in A1 => Before, "nothing", "4, 4.4.4", STAYS;
    "transactional accepted, settled, then commit" in A1 => Past, "nothing", "4, 4.4.2", "In the record of the transaction.";
    "transactional accepted, settled, then rollback" in A1 => Before, "nothing", "4, 4.4.4", GIVEN_BACK;
    "transactional released, then commit" in A1 => Before, "released", "4, 4.4.2", GIVEN_BACK;
};

#[cfg(test)]
mod tests {
    #[test]
    fn the_table_is_whole() {
        super::SETTLEMENT.check().unwrap();
    }
}
