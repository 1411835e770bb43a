mod copies;
mod egress;
mod ingress;
mod logs;
pub(crate) mod peer;
mod wrong;

use libtest_mimic::Trial;
use roadbed::Qos;
use roadbed::settlement::slug;
use roadbed_http::SETTLEMENT;

pub(crate) fn trials() -> Vec<Trial> {
    let ingress = SETTLEMENT.ingress.iter().map(|cell| {
        let name = format!("ingress/{}/{}", cell.variant, slug(cell.decision.as_str()));
        crate::trial(name, move || ingress::cell(cell))
    });
    let egress = SETTLEMENT.egress.iter().flat_map(|cell| {
        cell.variants.iter().map(move |&variant| {
            let name = format!("egress/{variant}/{}", slug(cell.signal));
            crate::trial(name, move || egress::cell(cell, qos(variant)))
        })
    });
    let logs = SETTLEMENT.logs.iter().map(|cell| {
        let name = format!("log/{}/{}", cell.variant, slug(cell.signal));
        crate::trial(name, move || logs::cell(cell))
    });
    ingress.chain(egress).chain(logs).chain(copies::trials()).chain(wrong::trials()).collect()
}

/// The assurance of a column.
fn qos(variant: &str) -> Qos {
    let level = variant.as_bytes()[variant.len() - 1] - b'0';
    Qos::from_level(level).expect("the names of the columns end in a QoS")
}
