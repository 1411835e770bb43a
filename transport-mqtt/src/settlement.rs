//! What each signal of MQTT means, as data: the cells that `tests/settlement` brings about, and that the documentation is made of.

use roadbed_core::settlement::{Egress, Ingress, Settlement, Variant, egress_cells, ingress_cells};

/// The settlement table of MQTT 3.1.1 and MQTT 5.
pub const SETTLEMENT: Settlement =
    Settlement { protocol: "MQTT", variants: VARIANTS, ingress: INGRESS, egress: EGRESS, logs: &[] };

const V3_0: &str = "mqtt-3.1.1-qos-0";
const V3_1: &str = "mqtt-3.1.1-qos-1";
const V3_2: &str = "mqtt-3.1.1-qos-2";
const V5_0: &str = "mqtt-5-qos-0";
const V5_1: &str = "mqtt-5-qos-1";
const V5_2: &str = "mqtt-5-qos-2";

const VARIANTS: &[Variant] = &[
    Variant { slug: V3_0, title: "MQTT 3.1.1, QoS 0" },
    Variant { slug: V3_1, title: "MQTT 3.1.1, QoS 1" },
    Variant { slug: V3_2, title: "MQTT 3.1.1, QoS 2" },
    Variant { slug: V5_0, title: "MQTT 5, QoS 0" },
    Variant { slug: V5_1, title: "MQTT 5, QoS 1" },
    Variant { slug: V5_2, title: "MQTT 5, QoS 2" },
];

const SILENT: &str = "QoS 0 gets no answer. What is dropped is counted.";
const NO_WORD: &str =
    "MQTT 3.1.1 has no negative answer, and no PUBACK or PUBREC is ever sent for a message that was not kept.";
const FREE: &str = "The packet identifier is free again at once [MQTT-4.3.3-9].";
const WAITS: &str = "Nothing more is read, so that the client can do nothing wrong; after half its keep-alive the connection is closed, and the client sends again.";
const NOT_AGAIN: &str = "Only QoS 2 recognises a message that comes again; here it is a new one.";
const NO_DURABILITY: &str = "MQTT has no word for durability. A message is promised to outlive its sender's connection (section 4.1), which every queue can do, so it is taken as any other.";
const NOT_ASKED: &str = "It does not ask for exactly once.";
const NO_FORMAT: &str = "MQTT 3.1.1 has no field that declares a format.";
const MAXIMUM_QOS: &str = "CONNACK names the Maximum QoS, and SUBACK grants no more than that.";

const INGRESS: &[Ingress] = ingress_cells! {
    Stored {
        V3_0: "nothing", "3.1.1, 4.3.1", SILENT;
        V3_1: "PUBACK", "3.1.1, 4.3.2", "";
        V3_2: "PUBREC", "3.1.1, 4.3.3", "";
        V5_0: "nothing", "4.3.1", SILENT;
        V5_1: "PUBACK 0x00", "3.4.2.1, MQTT-4.3.2-4", "";
        V5_2: "PUBREC 0x00", "3.5.2.1, MQTT-4.3.3-8", "";
    }
    Repeated {
        V3_0: "n/a", "3.1.1, 4.3.1", NOT_AGAIN;
        V3_1: "n/a", "3.1.1, 4.3.2", NOT_AGAIN;
        V3_2: "PUBREC", "3.1.1, 4.3.3", "There is one copy.";
        V5_0: "n/a", "4.3.1", NOT_AGAIN;
        V5_1: "n/a", "MQTT-4.3.2-5", NOT_AGAIN;
        V5_2: "PUBREC 0x00", "MQTT-4.3.3-10", "There is one copy.";
    }
    NoRoute {
        V3_0: "nothing", "3.1.1, 4.3.1", SILENT;
        V3_1: "PUBACK", "3.1.1, 3.3.5", "The server has done what it was asked: nobody subscribes.";
        V3_2: "PUBREC", "3.1.1, 3.3.5", "The server has done what it was asked: nobody subscribes.";
        V5_0: "nothing", "4.3.1", SILENT;
        V5_1: "PUBACK 0x10", "3.4.2.1", "";
        V5_2: "PUBREC 0x10", "3.5.2.1", "";
    }
    NotFound {
        V3_0: "nothing", "3.1.1, 4.3.1", SILENT;
        V3_1: "close", "3.1.1, 3.3.5", NO_WORD;
        V3_2: "close", "3.1.1, 3.3.5", NO_WORD;
        V5_0: "nothing", "4.3.1", SILENT;
        V5_1: "PUBACK 0x90", "3.4.2.1", "";
        V5_2: "PUBREC 0x90", "3.5.2.1", FREE;
    }
    Unauthenticated {
        V3_0: "CONNACK 0x04, then close", "3.1.1, 3.2.2.3", "";
        V3_1: "CONNACK 0x04, then close", "3.1.1, 3.2.2.3", "";
        V3_2: "CONNACK 0x04, then close", "3.1.1, 3.2.2.3", "";
        V5_0: "CONNACK 0x86, then close", "3.2.2.2, MQTT-3.2.2-7", "";
        V5_1: "CONNACK 0x86, then close", "3.2.2.2, MQTT-3.2.2-7", "";
        V5_2: "CONNACK 0x86, then close", "3.2.2.2, MQTT-3.2.2-7", "";
    }
    Unauthorized {
        V3_0: "nothing", "3.1.1, 4.3.1", SILENT;
        V3_1: "close", "3.1.1, 3.3.5, MQTT-3.3.5-2", NO_WORD;
        V3_2: "close", "3.1.1, 3.3.5, MQTT-3.3.5-2", NO_WORD;
        V5_0: "nothing", "4.3.1", SILENT;
        V5_1: "PUBACK 0x87", "3.4.2.1", "";
        V5_2: "PUBREC 0x87", "3.5.2.1", FREE;
    }
    Unreadable {
        V3_0: "close", "3.1.1, 3.3.2.1, MQTT-3.3.2-2", "A topic name with a wildcard; also one that is empty or not UTF-8.";
        V3_1: "close", "3.1.1, 3.3.2.1, MQTT-3.3.2-2", "A topic name with a wildcard; also one that is empty or not UTF-8.";
        V3_2: "close", "3.1.1, 3.3.2.1, MQTT-3.3.2-2", "A topic name with a wildcard; also one that is empty or not UTF-8.";
        V5_0: "DISCONNECT 0x90, then close", "MQTT-3.3.2-2, 4.13", "A topic name with a wildcard. One that is not UTF-8 makes the packet malformed: 0x81.";
        V5_1: "DISCONNECT 0x90, then close", "MQTT-3.3.2-2, 4.13", "A topic name with a wildcard. One that is not UTF-8 makes the packet malformed: 0x81.";
        V5_2: "DISCONNECT 0x90, then close", "MQTT-3.3.2-2, 4.13", "A topic name with a wildcard. One that is not UTF-8 makes the packet malformed: 0x81.";
    }
    InvalidAddress {
        V3_0: "nothing", "3.1.1, 4.3.1", SILENT;
        V3_1: "close", "3.1.1, 3.3.5", NO_WORD;
        V3_2: "close", "3.1.1, 3.3.5", NO_WORD;
        V5_0: "nothing", "4.3.1", SILENT;
        V5_1: "PUBACK 0x90", "3.4.2.1", "";
        V5_2: "PUBREC 0x90", "3.5.2.1", FREE;
    }
    InvalidPayload {
        V3_0: "n/a", "3.1.1, 3.3.3", NO_FORMAT;
        V3_1: "n/a", "3.1.1, 3.3.3", NO_FORMAT;
        V3_2: "n/a", "3.1.1, 3.3.3", NO_FORMAT;
        V5_0: "nothing", "4.3.1", SILENT;
        V5_1: "PUBACK 0x99", "3.3.2.3.2, 3.4.2.1", "";
        V5_2: "PUBREC 0x99", "3.3.2.3.2, 3.5.2.1", FREE;
    }
    TooLarge {
        V3_0: "close", "3.1.1, 4.8", "";
        V3_1: "close", "3.1.1, 4.8", "";
        V3_2: "close", "3.1.1, 4.8", "";
        V5_0: "DISCONNECT 0x95, then close", "MQTT-3.2.2-15, 4.13", "CONNACK names the Maximum Packet Size.";
        V5_1: "DISCONNECT 0x95, then close", "MQTT-3.2.2-15, 4.13", "CONNACK names the Maximum Packet Size.";
        V5_2: "DISCONNECT 0x95, then close", "MQTT-3.2.2-15, 4.13", "CONNACK names the Maximum Packet Size.";
    }
    Oversized {
        V3_0: "nothing", "3.1.1, 4.3.1", SILENT;
        V3_1: "close", "3.1.1, 3.3.5", NO_WORD;
        V3_2: "close", "3.1.1, 3.3.5", NO_WORD;
        V5_0: "nothing", "4.3.1", SILENT;
        V5_1: "PUBACK 0x97", "3.4.2.1", "";
        V5_2: "PUBREC 0x97", "3.5.2.1", FREE;
    }
    Full {
        V3_0: "nothing", "3.1.1, 4.3.1", SILENT;
        V3_1: "withheld, then close", "3.1.1, 3.3.5", WAITS;
        V3_2: "withheld, then close", "3.1.1, 3.3.5", WAITS;
        V5_0: "nothing", "4.3.1", SILENT;
        V5_1: "PUBACK 0x97", "3.4.2.1", "";
        V5_2: "PUBREC 0x97", "3.5.2.1", FREE;
    }
    Unavailable {
        V3_0: "nothing", "3.1.1, 4.3.1", SILENT;
        V3_1: "withheld, then close", "3.1.1, 3.3.5", WAITS;
        V3_2: "withheld, then close", "3.1.1, 3.3.5", WAITS;
        V5_0: "nothing", "4.3.1", SILENT;
        V5_1: "PUBACK 0x83", "3.4.2.1", "";
        V5_2: "PUBREC 0x83", "3.5.2.1", FREE;
    }
    NotDurable {
        V3_0: "n/a", "3.1.1, 4.1", NO_DURABILITY;
        V3_1: "n/a", "3.1.1, 4.1", NO_DURABILITY;
        V3_2: "n/a", "3.1.1, 4.1", NO_DURABILITY;
        V5_0: "n/a", "4.1", NO_DURABILITY;
        V5_1: "n/a", "4.1", NO_DURABILITY;
        V5_2: "n/a", "4.1", NO_DURABILITY;
    }
    ExactlyOnceUnsupported {
        V3_0: "n/a", "3.1.1, 4.3.1", NOT_ASKED;
        V3_1: "n/a", "3.1.1, 4.3.2", NOT_ASKED;
        V3_2: "close", "3.1.1, 4.3.3", "SUBACK grants less; a QoS 2 PUBLISH can only be kept, or the connection closed.";
        V5_0: "n/a", "4.3.1", NOT_ASKED;
        V5_1: "n/a", "4.3.2", NOT_ASKED;
        V5_2: "DISCONNECT 0x9B, then close", "MQTT-3.2.2-9, MQTT-3.2.2-11", MAXIMUM_QOS;
    }
};

const EGRESS: &[Egress] = egress_cells! {
    "written to the socket" in [V3_0 V5_0] => Accept, "nothing", "4.3.1", "At most once: nothing can come back.";
    "longer than the client takes" in [V5_0 V5_1 V5_2] => Accept, "nothing", "MQTT-3.1.2-24, MQTT-3.1.2-25", "Counts as sent, as the standard asks.";
    "PUBACK" in [V3_1] => Accept, "nothing", "3.1.1, 4.3.2", "";
    "PUBACK 0x00" in [V5_1] => Accept, "nothing", "MQTT-4.3.2-3", "";
    "PUBACK 0x10" in [V5_1] => Accept, "nothing", "3.4.2.1", "Below 0x80: the receiver has it.";
    "PUBACK out of order" in [V3_1 V5_1] => Accept, "nothing", "4.6, MQTT-4.6.0-2", "Taken by its packet identifier: the order is the client's duty.";
    "PUBACK 0x80" in [V5_1] => Reject, "nothing", "3.4.2.1, MQTT-4.4.0-2", "A refusal is an acknowledgement too: the message is not sent again. Dead letter: `refused`.";
    "PUBACK 0x83" in [V5_1] => Reject, "nothing", "3.4.2.1, MQTT-4.4.0-2", "Dead letter: `unavailable`.";
    "PUBACK 0x87" in [V5_1] => Reject, "nothing", "3.4.2.1, MQTT-4.4.0-2", "Dead letter: `unauthorized`.";
    "PUBACK 0x90" in [V5_1] => Reject, "nothing", "3.4.2.1, MQTT-4.4.0-2", "Dead letter: `invalid-address`.";
    "PUBACK 0x91" in [V5_1] => Reject, "nothing", "3.4.2.1, MQTT-4.4.0-2", "Dead letter: `refused`.";
    "PUBACK 0x97" in [V5_1] => Reject, "nothing", "3.4.2.1, MQTT-4.4.0-2", "Dead letter: `full`.";
    "PUBACK 0x99" in [V5_1] => Reject, "nothing", "3.4.2.1, MQTT-4.4.0-2", "Dead letter: `invalid-payload`.";
    "PUBACK 0x87, shared subscription" in [V5_1] => Reject, "nothing", "MQTT-4.8.2-6", "No other member of the group gets it. It is no dead letter: a session's own queue has none.";
    "PUBACK again" in [V3_1 V5_1] => Late, "nothing", "4.3.2", "The delivery is over. The identifier of another delivery is not looked for.";
    "PUBREC" in [V3_2] => Own, "PUBREL", "3.1.1, 4.3.3", "Never sent again from here on; PUBREL is.";
    "PUBREC 0x00" in [V5_2] => Own, "PUBREL 0x00", "MQTT-4.3.3-4", "Never sent again from here on [MQTT-4.3.3-6]; PUBREL is.";
    "PUBREC 0x10" in [V5_2] => Own, "PUBREL 0x00", "3.5.2.1", "Below 0x80: the receiver has it.";
    "PUBREC, then PUBCOMP" in [V3_2] => Accept, "PUBREL", "3.1.1, 4.3.3", "";
    "PUBREC 0x00, then PUBCOMP 0x00" in [V5_2] => Accept, "PUBREL 0x00", "4.3.3", "";
    "PUBREC 0x00, then PUBCOMP 0x92" in [V5_2] => Accept, "PUBREL 0x00", "3.7.2.1", "The receiver has forgotten the identifier; it was decided before.";
    "PUBREC again" in [V3_2 V5_2] => Repeat, "PUBREL", "4.3.3", "The answer is given again: the first decision stands.";
    "PUBREC 0x80" in [V5_2] => Reject, "nothing", "3.5.2.1, MQTT-4.4.0-2", "No PUBREL follows, and the identifier is free. Dead letter: `refused`.";
    "PUBREC 0x83" in [V5_2] => Reject, "nothing", "3.5.2.1, MQTT-4.4.0-2", "Dead letter: `unavailable`.";
    "PUBREC 0x87" in [V5_2] => Reject, "nothing", "3.5.2.1, MQTT-4.4.0-2", "Dead letter: `unauthorized`.";
    "PUBREC 0x90" in [V5_2] => Reject, "nothing", "3.5.2.1, MQTT-4.4.0-2", "Dead letter: `invalid-address`.";
    "PUBREC 0x91" in [V5_2] => Reject, "nothing", "3.5.2.1, MQTT-4.4.0-2", "Dead letter: `refused`.";
    "PUBREC 0x97" in [V5_2] => Reject, "nothing", "3.5.2.1, MQTT-4.4.0-2", "Dead letter: `full`.";
    "PUBREC 0x99" in [V5_2] => Reject, "nothing", "3.5.2.1, MQTT-4.4.0-2", "Dead letter: `invalid-payload`.";
    "a refusal" in [V3_1 V3_2] => Unsaid, "close", "3.1.1, 3.4, 3.5", "An answer with a reason code is not MQTT 3.1.1: the connection is closed, and the copy stays with the session.";
    "silence" in [V3_1 V3_2 V5_1 V5_2] => Keep, "nothing", "MQTT-4.4.0-1", "As long as the connection lasts, nothing is sent again.";
    "time to live ends, then silence" in [V5_1 V5_2] => Keep, "nothing", "MQTT-4.3.3-7, MQTT-4.3.3-13", "What is sent does not expire.";
    "connection lost, session kept" in [V3_1 V3_2 V5_1 V5_2] => Keep, "close", "MQTT-4.4.0-1", "Sent again with DUP on the next connection, in the first order.";
    "PUBREC, then connection lost, session kept" in [V3_2 V5_2] => Own, "close", "MQTT-4.4.0-1, MQTT-4.3.3-6", "PUBREL is sent again on the next connection, the PUBLISH never.";
    "connection lost, session ends" in [V3_1 V3_2 V5_1 V5_2] => Fail, "close", "4.1", "From a queue that others take from as well: tried, and failed.";
    "PUBREC, then session ends" in [V3_2 V5_2] => Accept, "close", "4.1", "A decision outlives its session.";
    "connection lost, session ends, own queue" in [V3_1 V3_2 V5_1 V5_2] => End, "close", "4.1", "The session's queue is part of its state.";
    "session ends, shared subscription" in [V3_1 V5_1] => Release, "close", "MQTT-4.8.2-4", "Another member of the group gets it.";
    "session ends, shared subscription, QoS 2" in [V3_2 V5_2] => End, "close", "MQTT-4.8.2-4, MQTT-4.8.2-5", "No other member gets what was sent to this one.";
};

#[cfg(test)]
mod tests {
    #[test]
    fn the_table_is_whole() {
        super::SETTLEMENT.check().unwrap();
    }
}
