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
}

macro_rules! rows {
    ($($from:literal, $event:literal => $to:literal, $count:literal, $durable:literal;)+) => {
        &[$(CopyRow { from: $from, event: $event, to: $to, count: $count, durable: $durable },)+]
    };
}

/// The states of a copy, the same for every protocol. `Acquired` and `Owned` are the delivery machine's `InFlight` and `Decided`
/// inside a held copy, `Provisional` its `Enlisted`.
pub const COPY: &[CopyRow] = rows! {
    "-", "the send commits" => "Available", "0", "the copy, with the sender's key, as one record";
    "Available", "assigned to a consumer" => "Acquired (owner, deadline)", "same", "only where the receiver remembers across our restart: QoS 2, a lock";
    "Acquired", "the receiver owns it, and has yet to confirm (PUBREC below 0x80)" => "Owned", "same", "the decision: it can end only as it was decided";
    "Acquired, Owned", "accept" => "Retired (accepted)", "same", "the end";
    "Acquired", "reject" => "Retired (rejected), and a dead letter", "+1", "both as one record";
    "Acquired", "release" => "Available, in its old place", "same", "only if its owner was durable";
    "Acquired", "modify" => "Available, without the links it was sent away from", "+1 if it failed", "yes";
    "Acquired", "the deadline of its lock passes" => "Available, as modify (failed)", "+1", "yes";
    "Acquired", "its link is lost" => "Available: modify (failed) once a byte was written, release before that, or what the link's terms say", "+1 if it failed", "yes";
    "Acquired", "an MQTT connection is lost, its session is kept" => "Acquired by that session", "same", "no";
    "Owned", "its session or link ends" => "Retired, as it was decided", "same", "the end";
    "Available", "the delivery count reaches the queue's bound" => "Retired, and a dead letter (delivery-count-exceeded)", "same", "both as one record";
    "Available", "its time to live ends" => "Retired, and a dead letter (expired)", "same", "both as one record";
    "Acquired, Owned", "its time to live ends" => "the same: what is sent does not expire", "same", "no";
    "Available", "no consumer is left that may have it" => "Retired, and a dead letter (undeliverable-here)", "same", "both as one record";
    "Acquired", "a transaction names its outcome" => "Provisional (transaction, outcome)", "at commit", "in the record of the transaction";
    "Retired", "anything" => "Retired", "same", "no: the receiver is told that it comes too late";
};
