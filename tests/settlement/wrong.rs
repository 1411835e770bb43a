//! The trials can fail: a table that says something else is told.

use std::pin::Pin;

use libtest_mimic::Trial;
use roadbed::settlement::{Decision, Effect, Egress, Ingress, Settlement, slug};

use crate::Result;

type Told = Pin<Box<dyn Future<Output = Result>>>;

/// A table with wrong answers and wrong effects, and how the cells of its protocol are brought about.
pub(crate) struct Wrong {
    pub(crate) table: Settlement,
    /// By decision and variant.
    pub(crate) answers: &'static [(Decision, &'static str, &'static str)],
    /// By signal and variant.
    pub(crate) effects: &'static [(&'static str, &'static str, Effect)],
    pub(crate) ingress: fn(Ingress) -> Told,
    pub(crate) egress: fn(Egress, &'static str) -> Told,
}

impl Wrong {
    /// One trial for each wrong cell: it passes if the trial of the cell fails.
    pub(crate) fn trials(self) -> Vec<Trial> {
        let Self { table, answers, effects, ingress, egress } = self;
        let answers = answers.iter().map(|&(decision, variant, answer)| {
            let name = format!("wrong/{variant}/{}/{}", slug(decision.as_str()), slug(answer));
            crate::trial(name, move || async move {
                let cell = table.ingress_cell(decision, variant).ok_or("no such cell")?;
                told(&ingress(Ingress { answer, ..*cell }).await)
            })
        });
        let effects = effects.iter().map(|&(signal, variant, effect)| {
            let name = format!("wrong/{variant}/{}/{}", slug(signal), slug(effect.as_str()));
            crate::trial(name, move || async move {
                let cell = table.egress.iter().find(|cell| cell.signal == signal).ok_or("no such cell")?;
                told(&egress(Egress { effect, ..*cell }, variant).await)
            })
        });
        answers.chain(effects).collect()
    }
}

fn told(result: &Result) -> Result {
    match result {
        Ok(()) => Err("a wrong table was not told".into()),
        Err(_) => Ok(()),
    }
}
