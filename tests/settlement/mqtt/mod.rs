mod crash;
mod egress;
mod ingress;
pub(crate) mod peer;
pub(crate) mod server;
mod statements;
pub(crate) mod wire;
mod wrong;

use libtest_mimic::Trial;
use roadbed::Qos;
use roadbed::settlement::slug;
use roadbed_mqtt::SETTLEMENT;

/// A column of the table.
#[derive(Clone, Copy, Debug)]
struct Variant {
    v5: bool,
    qos: Qos,
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
    ingress.chain(egress).chain(crash::trials()).chain(wrong::trials()).chain(statements::trials()).collect()
}

impl Variant {
    const fn new(v5: bool, qos: Qos) -> Self {
        Self { v5, qos }
    }

    fn named(slug: &str) -> Self {
        let level = slug.as_bytes()[slug.len() - 1] - b'0';
        Self::new(slug.starts_with("mqtt-5"), Qos::from_level(level).expect("the names of the columns end in a QoS"))
    }
}
