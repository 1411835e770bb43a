//! The page `docs/conversion.md`, made of the tables. `cargo xtask docs` writes it; otherwise this compares.

use std::fmt::Write as _;
use std::path::Path;

use libtest_mimic::{Failed, Trial};
use roadbed::conversion::{Cell, Fate, Field};

use crate::dialects::{ALL, Dialect};
use crate::expect::crosses;

pub(crate) fn trial() -> Trial {
    Trial::test("page/is-that-of-the-data", the_page_is_that_of_the_data)
}

fn the_page_is_that_of_the_data() -> Result<(), Failed> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/conversion.md");
    let page = page();
    if std::env::var_os("ROADBED_DOCS").is_some_and(|value| value == "write") {
        return Ok(std::fs::write(&path, page)?);
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    match written == page {
        true => Ok(()),
        false => Err("docs/conversion.md differs from the data; write it anew: cargo xtask docs".into()),
    }
}

const INTRODUCTION: &str = "\
# Messages between protocols

Where every part of a message goes, and what is lost on the way. This page is generated from the data in `transport-*/src/conversion.rs`
by `cargo xtask docs`; do not edit it. The same data are the list of the tests: `cargo test --test conversion` writes and reads a message
for every cell, and for every ordered pair.

A message that leaves by the protocol that it came by is what it was: AMQP's bare message byte for byte, MQTT's user properties all and in
order. What is *lost* or changed in a way that matters is counted for every connection, under the name in the table. Between hubs that
trust each other a sidecar carries what a protocol has no place for, so that nothing is lost: `sidecar_bytes_max`, off by default.

A *sidecar* is one user property `roadbed-sidecar` (MQTT 5), one delivery annotation `x-opt-roadbed-sidecar` (AMQP) or one header
`roadbed-sidecar` (HTTP); base64url, binary in AMQP. It is a version byte, 1, and items of a tag byte, a length (LEB128) and that many bytes;
items of unknown tags are skipped. Who does not trust the peer takes it away unread. It never has the sender or the hub's annotations in it, and
properties that somebody has changed on the way stay as they now are.

An AMQP body that is neither bytes nor text has the media type `application/vnd.roadbed.amqp-body` in other protocols: the payload is its
`amqp-value` section, or its `amqp-sequence` sections, as AMQP encodes them (Part 3, sections 3.2.7 and 3.2.8). A payload of that type that
leaves by AMQP is that body again.
";

fn page() -> String {
    let mut out = String::from(INTRODUCTION);
    overview(&mut out);
    ALL.iter().for_each(|dialect| table(&mut out, dialect));
    for first in ALL {
        for second in ALL.iter().filter(|second| second.table.slug != first.table.slug) {
            pair(&mut out, first, second);
        }
    }
    out
}

/// One glance: what is kept where.
fn overview(out: &mut String) {
    *out += "\n## At a glance\n\n`=` the same, `~` in another form, `–` lost and counted, a blank: not a sender's to say.\n\n| |";
    ALL.iter().for_each(|dialect| *out += &format!(" {} |", dialect.table.title));
    *out += "\n|---|";
    ALL.iter().for_each(|_| *out += "---|");
    *out += "\n";
    for &field in Field::ALL {
        *out += &format!("| {} |", field.as_str());
        for dialect in ALL {
            let mark = match cell(dialect, field).fate {
                Fate::Kept => "=",
                Fate::As { .. } => "~",
                Fate::Lost(_) => "–",
                Fate::Unsaid => "",
            };
            *out += &format!(" {mark} |");
        }
        *out += "\n";
    }
}

fn table(out: &mut String, dialect: &Dialect) {
    *out += &format!(
        "\n## {}\n\n| | Where | Comes back as | Section | Note |\n|---|---|---|---|---|\n",
        dialect.table.title
    );
    for cell in dialect.table.cells {
        let (name, place, fate) = (cell.field.as_str(), cell.place, fate(cell));
        writeln!(out, "| {name} | {place} | {fate} | {} | {} |", cell.section, cell.note).expect("text can be written");
    }
}

fn pair(out: &mut String, first: Dialect, second: &Dialect) {
    let (from, to) = (first.table.title, second.table.title);
    *out += &format!("\n## {from} → {to}\n\n| | {from} | {to} | |\n|---|---|---|---|\n");
    for &field in Field::ALL.iter().filter(|&&field| crosses(first, field)) {
        let (here, there) = (cell(first, field), cell(*second, field));
        let (name, place) = (field.as_str(), if there.place.is_empty() { "–" } else { there.place });
        writeln!(out, "| {name} | {} | {place} | {} |", here.place, fate(there)).expect("text can be written");
    }
}

fn fate(cell: &Cell) -> String {
    match cell.fate {
        Fate::Kept => "the same".into(),
        Fate::As { form, counted: None } => form.as_str().into(),
        Fate::As { form, counted: Some(what) } => format!("{}; counted: *{what}*", form.as_str()),
        Fate::Lost(what) => format!("lost; counted: *{what}*"),
        Fate::Unsaid => "not a sender's to say".into(),
    }
}

fn cell(dialect: Dialect, field: Field) -> &'static Cell {
    dialect.table.cell(field).expect("the table is whole")
}
