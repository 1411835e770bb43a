pub(crate) mod control;
mod egress;
mod ingress;
mod logs;
mod mismatch;
pub(crate) mod peer;
pub(crate) mod server;
mod statements;
mod transactions;
pub(crate) mod wire;
mod wrong;

use libtest_mimic::Trial;
use roadbed::Qos;
use roadbed::settlement::slug;
use roadbed_amqp::SETTLEMENT;

/// A column of the table.
#[derive(Clone, Copy, Debug)]
struct Variant {
    settled: bool,
    second: bool,
}

pub(crate) fn trials() -> Vec<Trial> {
    let ingress = SETTLEMENT.ingress.iter().map(|cell| {
        let name = format!("ingress/{}/{}", cell.variant, slug(cell.decision.as_str()));
        crate::trial(name, move || ingress::cell(cell))
    });
    let egress = SETTLEMENT.egress.iter().flat_map(|cell| {
        cell.variants.iter().map(move |&variant| {
            let name = format!("egress/{variant}/{}", slug(cell.signal));
            crate::trial(name, move || egress::cell(cell, Variant::named(variant)))
        })
    });
    let logs = SETTLEMENT.logs.iter().map(|cell| {
        let name = format!("log/{}/{}", cell.variant, slug(cell.signal));
        crate::trial(name, move || logs::cell(cell))
    });
    let others = [mismatch::trials(), statements::trials(), transactions::trials(), wrong::trials()];
    ingress.chain(egress).chain(logs).chain(others.into_iter().flatten()).collect()
}

impl Variant {
    fn named(slug: &str) -> Self {
        Self { settled: slug == "amqp-settled", second: slug == "amqp-second" }
    }

    const fn qos(self) -> Qos {
        match (self.settled, self.second) {
            (true, _) => Qos::AtMostOnce,
            (_, false) => Qos::AtLeastOnce,
            (_, true) => Qos::ExactlyOnce,
        }
    }
}
