//! The trials can fail: a table that says something else is told.

use libtest_mimic::Trial;
use roadbed::settlement::{Decision, Effect, Egress, Ingress, slug};
use roadbed_mqtt::SETTLEMENT;

use super::{Variant, egress, ingress};
use crate::Result;

const ANSWERS: [(Decision, &str, &str); 7] = [
    (Decision::Stored, "mqtt-5-qos-1", "PUBACK 0x10"),
    (Decision::Stored, "mqtt-5-qos-0", "PUBACK 0x00"),
    (Decision::NoRoute, "mqtt-5-qos-2", "nothing"),
    (Decision::Unauthorized, "mqtt-3.1.1-qos-1", "withheld, then close"),
    (Decision::Full, "mqtt-3.1.1-qos-1", "close"),
    (Decision::Full, "mqtt-5-qos-1", "PUBACK 0x98"),
    (Decision::TooLarge, "mqtt-5-qos-0", "close"),
];

const EFFECTS: [(&str, &str, Effect); 9] = [
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
    let answers = ANSWERS.into_iter().map(|(decision, variant, answer)| {
        let name = format!("wrong/{variant}/{}/{}", slug(decision.as_str()), slug(answer));
        crate::trial(name, move || async move {
            let cell = SETTLEMENT.ingress_cell(decision, variant).ok_or("no such cell")?;
            told(&ingress::cell(&Ingress { answer, ..*cell }).await)
        })
    });
    let effects = EFFECTS.into_iter().map(|(signal, variant, effect)| {
        let name = format!("wrong/{variant}/{}/{}", slug(signal), slug(effect.as_str()));
        crate::trial(name, move || async move {
            let cell = SETTLEMENT.egress.iter().find(|cell| cell.signal == signal).ok_or("no such cell")?;
            told(&egress::cell(&Egress { effect, ..*cell }, Variant::named(variant)).await)
        })
    });
    answers.chain(effects).collect()
}

fn told(result: &Result) -> Result {
    match result {
        Ok(()) => Err("a wrong table was not told".into()),
        Err(_) => Ok(()),
    }
}
