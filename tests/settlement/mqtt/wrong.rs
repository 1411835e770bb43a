//! What the table of MQTT does not say.

use libtest_mimic::Trial;
use roadbed::settlement::{Decision, Effect};
use roadbed_mqtt::SETTLEMENT;

use super::{Variant, egress, ingress};
use crate::wrong::Wrong;

const ANSWERS: &[(Decision, &str, &str)] = &[
    (Decision::Stored, "mqtt-5-qos-1", "PUBACK 0x10"),
    (Decision::Stored, "mqtt-5-qos-0", "PUBACK 0x00"),
    (Decision::NoRoute, "mqtt-5-qos-2", "nothing"),
    (Decision::Unauthorized, "mqtt-3.1.1-qos-1", "withheld, then close"),
    (Decision::Full, "mqtt-3.1.1-qos-1", "close"),
    (Decision::Full, "mqtt-5-qos-1", "PUBACK 0x98"),
    (Decision::TooLarge, "mqtt-5-qos-0", "close"),
];

const EFFECTS: &[(&str, &str, Effect)] = &[
    ("PUBACK 0x00", "mqtt-5-qos-1", Effect::Keep),
    ("PUBACK 0x00", "mqtt-5-qos-1", Effect::Reject),
    ("PUBACK 0x97", "mqtt-5-qos-1", Effect::Accept),
    ("PUBREC 0x00", "mqtt-5-qos-2", Effect::Accept),
    ("PUBREC 0x00, then PUBCOMP 0x00", "mqtt-5-qos-2", Effect::Own),
    ("silence", "mqtt-3.1.1-qos-1", Effect::Accept),
    ("connection lost, session ends", "mqtt-5-qos-1", Effect::Release),
    ("connection lost, session ends", "mqtt-5-qos-1", Effect::Accept),
    ("session ends, shared subscription", "mqtt-5-qos-1", Effect::End),
];

pub(super) fn trials() -> Vec<Trial> {
    let wrong = Wrong {
        table: SETTLEMENT,
        answers: ANSWERS,
        effects: EFFECTS,
        ingress: |cell| Box::pin(async move { ingress::cell(&cell).await }),
        egress: |cell, variant| Box::pin(async move { egress::cell(&cell, Variant::named(variant)).await }),
    };
    wrong.trials()
}
