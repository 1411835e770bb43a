/// A row of the copy table: what an event does to a copy, and what is written before anybody is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyRow {
    /// Where the copy stands.
    pub from: &'static str,
    /// What happens to it.
    pub event: &'static str,
    /// Where it stands then.
    pub to: &'static str,
    /// What becomes of the delivery count.
    pub count: &'static str,
    /// What a durable queue has written before the first signal.
    pub durable: &'static str,
    /// What shows it: trials of `tests/settlement` and tests of the broker, `broker::FILE::TEST`.
    pub proof: &'static [&'static str],
}

macro_rules! rows {
    ($($from:literal, $event:literal => $to:literal, $count:literal, $durable:literal, [$($proof:literal)+];)+) => {
        &[$(CopyRow { from: $from, event: $event, to: $to, count: $count, durable: $durable, proof: &[$($proof),+] },)+]
    };
}

/// The states of a copy, the same for every protocol. `Acquired` and `Owned` are the delivery machine's `InFlight` and `Decided`
/// inside a held copy, `Provisional` its `Enlisted`.
pub const COPY: &[CopyRow] = rows! {
    "-", "the send commits" => "Available", "0", "the copy, with the sender's key, as one record", ["ingress/http-qos-2/stored-in-all-queues" "ingress/mqtt-5-qos-2/stored-in-all-queues" "ingress/amqp-second/stored-in-all-queues" "copy/a-fan-out-is-one-commit"];
    "Available", "assigned to a consumer" => "Acquired (owner, deadline)", "same", "only where the receiver remembers across our restart: QoS 2, a lock", ["egress/http-qos-1/silence" "egress/mqtt-5-qos-1/silence" "egress/amqp-first/silence"];
    "Acquired", "the receiver owns it, and has yet to confirm (PUBREC below 0x80)" => "Owned", "same", "the decision: it can end only as it was decided", ["egress/mqtt-5-qos-2/pubrec-0x00"];
    "Acquired, Owned", "accept" => "Retired (accepted)", "same", "the end", ["egress/http-qos-1/delete-of-the-lock" "egress/mqtt-5-qos-2/pubrec-0x00-then-pubcomp-0x00" "egress/amqp-second/accepted"];
    "Acquired", "reject" => "Retired (rejected), and a dead letter", "+1", "both as one record", ["egress/http-qos-1/post-reject" "egress/mqtt-5-qos-1/puback-0x87" "egress/amqp-first/rejected-amqp-decode-error"];
    "Acquired", "release" => "Available, in its old place", "same", "only if its owner was durable", ["egress/http-qos-1/post-release" "egress/amqp-first/released" "copy/released-in-its-old-place"];
    "Acquired", "modify" => "Available, without the links it was sent away from", "+1 if it failed", "yes", ["egress/http-qos-1/post-abandon" "egress/amqp-first/modified-delivery-failed" "egress/amqp-first/modified-undeliverable-here" "broker::queues::an_excluded_link_still_hears_of_others"];
    "Acquired", "the deadline of its lock passes" => "Available, as modify (failed)", "+1", "yes", ["egress/http-qos-1/silence-until-the-deadline"];
    "Acquired", "its link is lost" => "Available: modify (failed) once a byte was written, release before that, or what the link's terms say", "+1 if it failed", "yes", ["egress/mqtt-5-qos-1/connection-lost-session-ends" "egress/http-qos-1/held-poll-connection-lost-before-a-message-came" "egress/amqp-first/connection-lost" "egress/amqp-first/connection-lost-default-outcome-released" "egress/amqp-first/credit-without-a-window-then-detach"];
    "Acquired", "an MQTT connection is lost, its session is kept" => "Acquired by that session", "same", "no", ["egress/mqtt-5-qos-1/connection-lost-session-kept"];
    "Owned", "its session or link ends" => "Retired, as it was decided", "same", "the end", ["egress/mqtt-5-qos-2/pubrec-then-session-ends"];
    "Available", "the delivery count reaches the queue's bound" => "Retired, and a dead letter (delivery-count-exceeded)", "same", "both as one record", ["copy/delivery-count-reached"];
    "Available", "its time to live ends" => "Retired, and a dead letter (expired)", "same", "both as one record", ["copy/time-to-live-ends"];
    "Acquired, Owned", "its time to live ends" => "the same: what is sent does not expire", "same", "no", ["egress/mqtt-5-qos-1/time-to-live-ends-then-silence" "egress/mqtt-5-qos-2/time-to-live-ends-then-silence" "egress/amqp-first/time-to-live-ends-then-silence"];
    "Available", "no consumer is left that may have it" => "Retired, and a dead letter (undeliverable-here)", "same", "both as one record", ["copy/nobody-left" "egress/amqp-first/modified-undeliverable-here-with-nobody-else"];
    "Acquired", "a transaction names its outcome" => "Provisional (transaction, outcome)", "at commit", "in the record of the transaction", ["egress/amqp-first/transactional-accepted" "egress/amqp-first/transactional-accepted-then-commit" "egress/amqp-first/transactional-accepted-then-rollback" "egress/amqp-first/transactional-accepted-settled-then-rollback" "broker::transactions::sends_and_settlements_happen_together" "broker::transactions::rollback_leaves_deliveries_with_their_consumer"];
    "Retired", "anything" => "Retired", "same", "no: the receiver is told that it comes too late", ["egress/http-qos-1/post-release-after-delete" "egress/mqtt-5-qos-1/puback-again" "egress/amqp-first/accepted-settled-again"];
};
