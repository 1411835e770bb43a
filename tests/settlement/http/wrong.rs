//! What the table of HTTP does not say.

use libtest_mimic::Trial;
use roadbed::settlement::{Decision, Effect};
use roadbed_http::SETTLEMENT;

use super::{egress, ingress, qos};
use crate::wrong::Wrong;

const ANSWERS: &[(Decision, &str, &str)] = &[
    (Decision::Stored, "http-qos-1", "200"),
    (Decision::NoRoute, "http-qos-1", "202"),
    (Decision::Full, "http-qos-1", "429"),
    (Decision::Unavailable, "http-qos-2", "503"),
];

const EFFECTS: &[(&str, &str, Effect)] = &[
    ("DELETE of the lock", "http-qos-1", Effect::Reject),
    ("POST abandon", "http-qos-1", Effect::Release),
    ("POST release", "http-qos-1", Effect::Fail),
    ("silence", "http-qos-1", Effect::Accept),
    ("silence until the deadline", "http-qos-1", Effect::Keep),
];

pub(super) fn trials() -> Vec<Trial> {
    let wrong = Wrong {
        table: SETTLEMENT,
        answers: ANSWERS,
        effects: EFFECTS,
        ingress: |cell| Box::pin(async move { ingress::cell(&cell).await }),
        egress: |cell, variant| Box::pin(async move { egress::cell(&cell, qos(variant)).await }),
    };
    wrong.trials()
}
