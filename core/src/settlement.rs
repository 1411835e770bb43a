//! The settlement tables: what each protocol's signals mean, as data.
//!
//! Every protocol crate has one [`Settlement`]. The page `docs/settlement.md` is generated from it, and so are the tests, which
//! bring about every cell on a real socket and compare what they see.

mod copy;
mod egress;
mod ingress;
mod log;

pub use copy::{COPY, CopyRow};
pub use egress::{Copied, Effect, Egress};
pub use ingress::{Decision, Ingress, is_answer};
pub use log::{Reached, Reading};

#[doc(inline)]
pub use crate::{__egress as egress_cells, __ingress as ingress_cells, __readings as reading_cells};

/// The settlement table of one protocol.
#[derive(Clone, Copy, Debug)]
pub struct Settlement {
    /// The protocol's name.
    pub protocol: &'static str,
    /// The columns: versions and assurances between which the answers differ.
    pub variants: &'static [Variant],
    /// What a server tells the sender: one cell for every decision and variant.
    pub ingress: &'static [Ingress],
    /// What the receiver's signal does to the copy.
    pub egress: &'static [Egress],
    /// What a log's reader's signal does to the checkpoint of its group; empty where readers have no groups.
    pub logs: &'static [Reading],
}

/// A column of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variant {
    /// Its name in names of tests, such as `mqtt-5-qos-1`.
    pub slug: &'static str,
    /// Its heading, such as `MQTT 5, QoS 1`.
    pub title: &'static str,
}

impl Settlement {
    /// The cell of a decision and a variant.
    pub fn ingress_cell(&self, decision: Decision, variant: &str) -> Option<&'static Ingress> {
        self.ingress.iter().find(|cell| cell.decision == decision && cell.variant == variant)
    }

    /// The first thing that is wrong with the table itself: a cell that is missing, there twice or of no column, an answer outside
    /// the grammar, a cell marked `n/a` without a reason.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn check(&self) -> Result<(), alloc::string::String> {
        use alloc::format;
        for decision in Decision::ALL {
            for variant in self.variants {
                let cells = self.ingress.iter().filter(|c| c.decision == decision && c.variant == variant.slug).count();
                if cells != 1 {
                    return Err(format!("{} cells for \"{}\" in {}", cells, decision.as_str(), variant.slug));
                }
            }
        }
        for cell in self.ingress {
            let unexplained = cell.answer == "n/a" && cell.note.is_empty();
            if unexplained || !self.has(cell.variant) || !is_answer(cell.answer) {
                return Err(format!("{cell:?}"));
            }
        }
        for cell in self.egress {
            if cell.variants.is_empty() || !cell.variants.iter().all(|v| self.has(v)) || !is_answer(cell.answer) {
                return Err(format!("{cell:?}"));
            }
        }
        for cell in self.logs {
            if !self.has(cell.variant) || !is_answer(cell.answer) {
                return Err(format!("{cell:?}"));
            }
        }
        Ok(())
    }

    fn has(&self, variant: &str) -> bool {
        self.variants.iter().any(|known| known.slug == variant)
    }
}

/// A heading as a part of a test's name: small letters, digits and hyphens.
///
/// ```
/// assert_eq!(roadbed_core::settlement::slug("PUBACK >= 0x80, again"), "puback-0x80-again");
/// ```
pub fn slug(text: &str) -> alloc::string::String {
    let mut out = alloc::string::String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii_alphanumeric() || c == '.' {
            out.push(c.to_ascii_lowercase());
        } else if !out.is_empty() && !out.ends_with('-') {
            out.push('-');
        }
    }
    while out.ends_with(['-', '.']) {
        out.pop();
    }
    out
}

/// The cells of a table of ingress: each decision with an answer, its section and a note for each variant.
#[doc(hidden)]
#[macro_export]
macro_rules! __ingress {
    ($($decision:ident { $($variant:ident: $answer:literal, $section:literal, $note:expr;)+ })+) => {
        &[$($($crate::settlement::Ingress {
            decision: $crate::settlement::Decision::$decision,
            variant: $variant,
            answer: $answer,
            section: $section,
            note: $note,
        },)+)+]
    };
}

/// The cells of a table of egress: each signal with the variants that have it, and what it does.
#[doc(hidden)]
#[macro_export]
macro_rules! __egress {
    ($($signal:literal in [$($variant:ident)+] => $effect:ident, $answer:literal, $section:literal, $note:expr;)+) => {
        &[$($crate::settlement::Egress {
            signal: $signal,
            variants: &[$($variant),+],
            effect: $crate::settlement::Effect::$effect,
            answer: $answer,
            section: $section,
            note: $note,
        },)+]
    };
}
