//! The page `docs/settlement.md`, made of the settlement tables of all protocols. `cargo xtask docs` writes it; otherwise this test compares.
#![cfg(all(feature = "mqtt", feature = "http", feature = "amqp"))]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use roadbed::settlement::{COPY, Copied, Decision, Effect, Settlement};

const TABLES: [&Settlement; 3] = [&roadbed_mqtt::SETTLEMENT, &roadbed_amqp::SETTLEMENT, &roadbed_http::SETTLEMENT];

#[test]
fn the_page_is_that_of_the_data() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/settlement.md");
    let page = page();
    if std::env::var_os("ROADBED_DOCS").is_some_and(|value| value == "write") {
        std::fs::create_dir_all(path.parent().expect("the page lies in a folder")).expect("the folder can be made");
        return std::fs::write(&path, page).expect("the page can be written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = written.lines().zip(page.lines()).position(|(old, new)| old != new);
    let line = differs.unwrap_or_else(|| written.lines().count().min(page.lines().count())) + 1;
    assert!(
        written == page,
        "docs/settlement.md differs from the data at line {line}; write it anew: cargo xtask docs"
    );
}

#[test]
fn every_protocol_has_its_own_columns() {
    let slugs: Vec<_> = TABLES.iter().flat_map(|table| table.variants).map(|variant| variant.slug).collect();
    assert_eq!(slugs.iter().collect::<BTreeSet<_>>().len(), slugs.len());
}

fn page() -> String {
    let mut out = String::from(INTRODUCTION);
    copies(&mut out);
    effects(&mut out);
    ingress(&mut out);
    TABLES.iter().for_each(|table| ingress_notes(&mut out, table));
    out += EGRESS;
    TABLES.iter().for_each(|table| egress(&mut out, table));
    out += LOGS;
    TABLES.iter().filter(|table| !table.logs.is_empty()).for_each(|table| logs(&mut out, table));
    out
}

const INTRODUCTION: &str = "\
# Settlement

What every signal of every protocol does to a message, in both directions. This page is generated from the data in
`core/src/settlement/` and `transport-*/src/settlement.rs` by `cargo xtask docs`; do not edit it. The same data are the list of
the tests: `cargo test --test settlement` brings about every cell on a real socket.

A *message* is immutable and shared. A *copy* is one message in one queue. A *delivery* is one attempt to move a copy over one
hop: it ends, and its copy may be delivered again. How often a message may arrive (QoS) is a promise of each hop; what must be
true before anybody says yes (durability) is a promise of the message. Neither follows from the other.
";

fn copies(out: &mut String) {
    *out += "\n## The states of a copy\n\nThe same for every protocol. A copy has one owner; its end is its end; nothing positive is said before what is durable is written.\n\n";
    *out += "| From | Event | To | Delivery count | Written first | Shown by |\n|---|---|---|---|---|---|\n";
    for row in COPY {
        let proof: Vec<_> = row.proof.iter().map(|name| format!("`{name}`")).collect();
        let (from, event, to, count, durable) = (row.from, row.event, row.to, row.count, row.durable);
        writeln!(out, "| {from} | {event} | {to} | {count} | {durable} | {} |", proof.join(", "))
            .expect("text can be written");
    }
}

fn effects(out: &mut String) {
    *out += "\n## What a signal can do to a copy\n\n| Effect | The copy |\n|---|---|\n";
    for effect in Effect::ALL {
        let copy = match effect.copied() {
            Copied::Available { failures } => {
                format!("available again, in its old place; its count grows by {failures}")
            }
            Copied::Held => "held by its owner".into(),
            Copied::Retired { dead_letter: true } => {
                "at its end; a dead letter is made of it, if its queue keeps dead letters".into()
            }
            Copied::Retired { dead_letter: false } => "at its end".into(),
            Copied::AsItWas => "as it was".into(),
        };
        writeln!(out, "| {} | {copy} |", effect.as_str()).expect("text can be written");
    }
}

fn ingress(out: &mut String) {
    let variants: Vec<_> = TABLES.iter().flat_map(|table| table.variants.iter().map(move |v| (table, v))).collect();
    *out += "\n## Ingress: what the sender is told\n\n`nothing`: no answer, and the connection goes on. `withheld`: an answer is due and does not come. `n/a`: cannot come up; the notes say why.\n\n";
    *out += "| The server's decision |";
    variants.iter().for_each(|(_, variant)| *out += &format!(" {} |", variant.title));
    *out += "\n|---|";
    variants.iter().for_each(|_| *out += "---|");
    *out += "\n";
    for decision in Decision::ALL {
        write!(out, "| {} |", decision.as_str()).expect("text can be written");
        for (table, variant) in &variants {
            let cell = table.ingress_cell(decision, variant.slug).expect("every cell is there");
            write!(out, " {} |", code(cell.answer)).expect("text can be written");
        }
        *out += "\n";
    }
}

/// Decision by decision, what stands behind the answers; columns that say the same stand together.
fn ingress_notes(out: &mut String, table: &Settlement) {
    write!(
        out,
        "\n### {}: where it says so\n\n| Decision | Columns | Section | Note |\n|---|---|---|---|\n",
        table.protocol
    )
    .expect("text can be written");
    for decision in Decision::ALL {
        let mut groups: Vec<(&str, &str, Vec<&str>)> = Vec::new();
        for variant in table.variants {
            let cell = table.ingress_cell(decision, variant.slug).expect("every cell is there");
            match groups.iter_mut().find(|(section, note, _)| (*section, *note) == (cell.section, cell.note)) {
                Some((.., titles)) => titles.push(variant.title),
                None => groups.push((cell.section, cell.note, vec![variant.title])),
            }
        }
        for (section, note, titles) in groups {
            writeln!(out, "| {} | {} | {section} | {note} |", decision.as_str(), titles.join("; "))
                .expect("text can be written");
        }
    }
}

const EGRESS: &str = "
## Egress: what the receiver's signal does to the copy
";

fn egress(out: &mut String, table: &Settlement) {
    write!(out, "\n### {}\n\n| Signal |", table.protocol).expect("text can be written");
    table.variants.iter().for_each(|variant| *out += &format!(" {} |", variant.title));
    *out += " The receiver is told | Section | Note |\n|---|";
    table.variants.iter().for_each(|_| *out += "---|");
    *out += "---|---|---|\n";
    for cell in table.egress {
        write!(out, "| {} |", cell.signal).expect("text can be written");
        for variant in table.variants {
            let says = cell.variants.contains(&variant.slug);
            *out += &format!(" {} |", if says { cell.effect.as_str() } else { "–" });
        }
        writeln!(out, " {} | {} | {} |", code(cell.answer), cell.section, cell.note).expect("text can be written");
    }
}

const LOGS: &str = "
## Logs: what the reader's signal does to the checkpoint of its group

Reading takes nothing from a log, so that no signal does anything to its messages. A group's checkpoint goes past a message as soon as that and everything
before it in its partition is done with. A reader without a group has none, and neither has an MQTT subscription, which follows partitions from now on.
";

fn logs(out: &mut String, table: &Settlement) {
    let protocol = table.protocol;
    write!(out, "\n### {protocol}: readers\n\n| Signal | Column | The checkpoint is | The reader is told | Section | Note |\n|---|---|---|---|---|---|\n")
        .expect("text can be written");
    for cell in table.logs {
        let column =
            table.variants.iter().find(|variant| variant.slug == cell.variant).map_or("", |variant| variant.title);
        let (reached, answer) = (cell.reached.as_str(), code(cell.answer));
        writeln!(out, "| {} | {column} | {reached} | {answer} | {} | {} |", cell.signal, cell.section, cell.note)
            .expect("text can be written");
    }
}

fn code(answer: &str) -> String {
    let steps: Vec<_> = answer.split(", then ").map(|step| format!("`{step}`")).collect();
    steps.join(", then ")
}
