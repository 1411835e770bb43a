//! The trials can fail: a table that says something else is told.

use libtest_mimic::Trial;
use roadbed::settlement::{Decision, Effect, Egress, Ingress, slug};
use roadbed_amqp::SETTLEMENT;

use super::{Variant, egress, ingress};
use crate::Result;

const ANSWERS: [(Decision, &str, &str); 7] = [
    (Decision::Stored, "amqp-first", "released"),
    (Decision::Stored, "amqp-settled", "accepted"),
    (Decision::Repeated, "amqp-second", "released"),
    (Decision::NoRoute, "amqp-second", "nothing"),
    (Decision::Unauthorized, "amqp-first", "rejected amqp:not-found"),
    (Decision::Full, "amqp-first", "link-credit 1, then rejected amqp:resource-limit-exceeded"),
    (Decision::TooLarge, "amqp-settled", "nothing"),
];

const EFFECTS: [(&str, &str, Effect); 9] = [
    ("accepted", "amqp-first", Effect::Keep),
    ("accepted, settled", "amqp-second", Effect::Reject),
    ("rejected amqp:decode-error", "amqp-first", Effect::Accept),
    ("released", "amqp-first", Effect::Fail),
    ("modified delivery-failed", "amqp-second", Effect::Release),
    ("silence", "amqp-first", Effect::Accept),
    ("connection lost", "amqp-first", Effect::Release),
    ("transactional accepted", "amqp-first", Effect::Accept),
    ("transactional accepted, then rollback", "amqp-second", Effect::Release),
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
