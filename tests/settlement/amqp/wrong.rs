//! What the table of AMQP does not say.

use libtest_mimic::Trial;
use roadbed::settlement::{Decision, Effect};
use roadbed_amqp::SETTLEMENT;

use super::{Variant, egress, ingress};
use crate::wrong::Wrong;

const ANSWERS: &[(Decision, &str, &str)] = &[
    (Decision::Stored, "amqp-first", "released"),
    (Decision::Stored, "amqp-settled", "accepted"),
    (Decision::Repeated, "amqp-second", "released"),
    (Decision::NoRoute, "amqp-second", "nothing"),
    (Decision::Unauthorized, "amqp-first", "rejected amqp:not-found"),
    (Decision::Full, "amqp-first", "link-credit 1, then rejected amqp:resource-limit-exceeded"),
    (Decision::TooLarge, "amqp-settled", "nothing"),
];

const EFFECTS: &[(&str, &str, Effect)] = &[
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
    let wrong = Wrong {
        table: SETTLEMENT,
        answers: ANSWERS,
        effects: EFFECTS,
        ingress: |cell| Box::pin(async move { ingress::cell(&cell).await }),
        egress: |cell, variant| Box::pin(async move { egress::cell(&cell, Variant::named(variant)).await }),
    };
    wrong.trials()
}
