//! The trials can fail: a table that says something else is told.

use libtest_mimic::Trial;
use roadbed::settlement::{Decision, Effect, Egress, Ingress, slug};
use roadbed_http::SETTLEMENT;

use super::{egress, ingress, qos};
use crate::Result;

const ANSWERS: [(Decision, &str, &str); 4] = [
    (Decision::Stored, "http-qos-1", "200"),
    (Decision::NoRoute, "http-qos-1", "202"),
    (Decision::Full, "http-qos-1", "429"),
    (Decision::Unavailable, "http-qos-2", "503"),
];

const EFFECTS: [(&str, Effect); 5] = [
    ("DELETE of the lock", Effect::Reject),
    ("POST abandon", Effect::Release),
    ("POST release", Effect::Fail),
    ("silence", Effect::Accept),
    ("silence until the deadline", Effect::Keep),
];

pub(super) fn trials() -> Vec<Trial> {
    let answers = ANSWERS.into_iter().map(|(decision, variant, answer)| {
        let name = format!("wrong/{variant}/{}/{}", slug(decision.as_str()), slug(answer));
        crate::trial(name, move || async move {
            let cell = SETTLEMENT.ingress_cell(decision, variant).ok_or("no such cell")?;
            told(&ingress::cell(&Ingress { answer, ..*cell }).await)
        })
    });
    let effects = EFFECTS.into_iter().map(|(signal, effect)| {
        let name = format!("wrong/http-qos-1/{}/{}", slug(signal), slug(effect.as_str()));
        crate::trial(name, move || async move {
            let cell = SETTLEMENT.egress.iter().find(|cell| cell.signal == signal).ok_or("no such cell")?;
            told(&egress::cell(&Egress { effect, ..*cell }, qos("http-qos-1")).await)
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
