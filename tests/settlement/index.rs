//! The index of normative statements names tests that exist, and all trials of statements.

use std::collections::BTreeSet;
use std::path::Path;

use libtest_mimic::Trial;
use roadbed::settlement::COPY;

use crate::Result;
use crate::tell::{Context as _, same};

/// The normative statements of a protocol.
struct Index {
    page: &'static str,
    /// What the names of its statements begin with.
    prefix: &'static str,
    statements: usize,
    /// Where tests are that are named without a crate.
    folder: &'static str,
}

const MQTT: Index = Index {
    page: include_str!("../../transport-mqtt/tests/statements.md"),
    prefix: "MQTT-",
    // As many as appendix B has.
    statements: 251,
    folder: "transport-mqtt",
};

const AMQP: Index = Index {
    page: include_str!("../../transport-amqp/tests/statements.md"),
    prefix: "AMQP-",
    statements: 129,
    folder: "transport-amqp",
};

pub(crate) fn trials(names: &BTreeSet<String>) -> [Trial; 3] {
    let (mqtt, amqp, copies) = (names.clone(), names.clone(), names.clone());
    [
        Trial::test("index/normative-statements", move || Ok(check(&MQTT, &mqtt)?)),
        Trial::test("index/normative-statements-of-amqp", move || Ok(check(&AMQP, &amqp)?)),
        Trial::test("index/states-of-a-copy", move || Ok(check_copies(&copies)?)),
    ]
}

fn check_copies(names: &BTreeSet<String>) -> Result {
    let mut proven = BTreeSet::new();
    for row in COPY {
        for &reference in row.proof {
            let exists = names.contains(reference) || is_test(reference, MQTT.folder)?;
            same("it exists", exists, true).during(&format!("{}, {reference}", row.event))?;
            proven.insert(reference);
        }
    }
    let missing: Vec<_> = names.iter().filter(|name| name.starts_with("copy/") && !proven.contains(&***name)).collect();
    same("trials that the table does not name", missing, Vec::new())
}

fn check(index: &Index, names: &BTreeSet<String>) -> Result {
    let mut proven = BTreeSet::new();
    let rows: Vec<_> = index
        .page
        .lines()
        .filter(|line| line.strip_prefix("| ").is_some_and(|row| row.starts_with(index.prefix)))
        .collect();
    for row in &rows {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let (&id, &proof) = (cells.first().ok_or("an empty row")?, cells.last().ok_or("an empty row")?);
        same("columns", cells.len(), 4).during(row)?;
        same("a proof, or a word why there is none", proof.is_empty(), false).during(row)?;
        for reference in proof.split('`').skip(1).step_by(2) {
            let name = if reference == "statement" { format!("statement/{id}") } else { reference.to_owned() };
            let exists = names.contains(&name) || is_law(reference)? || is_test(reference, index.folder)?;
            same("it exists", exists, true).during(&format!("{id}, {reference}"))?;
            proven.insert(name);
        }
    }
    let ids: BTreeSet<_> = rows.iter().filter_map(|row| row.split(' ').nth(1)).collect();
    same("statements", (rows.len(), ids.len()), (index.statements, index.statements))?;
    let prefix = format!("statement/{}", index.prefix);
    let missing: Vec<_> = names.iter().filter(|name| name.starts_with(&prefix) && !proven.contains(*name)).collect();
    same("trials that the index does not name", missing, Vec::new())
}

fn is_law(name: &str) -> Result<bool> {
    let laws = source("conformance/src/laws/mod.rs")?;
    Ok(laws.contains(&format!("::{name} [")))
}

/// `FILE::TEST` of the folder, `core::FILE::TEST` of the core, `broker::FILE::TEST` of the broker.
fn is_test(reference: &str, folder: &str) -> Result<bool> {
    let Some((file, test)) = reference.rsplit_once("::") else { return Ok(false) };
    let (folder, file) = file.split_once("::").unwrap_or((folder, file));
    let path = format!("{folder}/tests/{file}.rs");
    Ok(source(&path)?.contains(&format!("fn {test}(")))
}

fn source(path: &str) -> Result<String> {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).during(path)
}
