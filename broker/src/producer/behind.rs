//! What one call of send leaves to be done behind the store: one job, one answer to the sender.

use std::sync::Arc;

use roadbed_core::{Condition, Confirm, Key, Outcome};

use super::Late;
use crate::broker::Shared;
use crate::commits::{Failed, Units};
use crate::dispatch::{Plan, Verdict};
use crate::mailbox::SessionCore;
use crate::store::StoreError;

/// In the order of sending: plans, whose stored messages are a unit each, and answers that are known already.
#[derive(Debug)]
pub(super) struct Behind {
    session: Arc<SessionCore>,
    late: Arc<Late>,
    items: Vec<Item>,
}

#[derive(Debug)]
pub(super) enum Item {
    /// Messages of one plan.
    Plan { plan: Plan, sent: Vec<Sent> },
    /// A message that goes nowhere.
    Answer { sent: Sent, verdict: Verdict },
    /// A key that was sent before: its first outcome is known by then.
    Repeat { cookie: u64, key: Key },
}

/// What is left of a message that was sent, once its plan has it.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) cookie: u64,
    pub(super) key: Option<Key>,
    /// An answer is asked for.
    pub(super) asked: bool,
}

impl Behind {
    pub(super) fn new(session: Arc<SessionCore>, late: Arc<Late>) -> Self {
        Self { session, late, items: Vec::new() }
    }

    pub(super) fn push(&mut self, item: Item) {
        self.items.push(item);
    }

    pub(super) fn submit(self, shared: &Shared) {
        self.late.expect();
        let (session, bytes) = (self.session.clone(), self.cost());
        session.goes_behind(shared, bytes);
        let make = |behind: &mut Self, units: &mut Units<'_>| behind.make(shared, units);
        shared.commits.submit_all(shared, self, make, move |shared, behind, failed| {
            behind.finish(shared, failed);
            session.comes_back(shared, bytes);
        });
    }

    /// The bytes of its messages.
    fn cost(&self) -> usize {
        let cost = |item: &Item| if let Item::Plan { plan, .. } = item { plan.cost() } else { 0 };
        self.items.iter().map(cost).sum()
    }

    /// Makes a unit of each stored message; the others take their places.
    fn make(&mut self, shared: &Shared, units: &mut Units<'_>) {
        let now = shared.now();
        for item in &mut self.items {
            let Item::Plan { plan, sent } = item else { continue };
            if !plan.stored {
                plan.take_positions(shared);
                continue;
            }
            plan.take_stored_positions(shared, now);
            for (n, sent) in sent.iter().enumerate() {
                let key = sent.key.as_ref().and_then(|key| shared.key_op(&self.session, key));
                let mut ops = Vec::with_capacity(1 + usize::from(key.is_some()));
                ops.extend(key);
                plan.ops_of(n, now, &mut ops);
                units.push(ops);
            }
        }
    }

    /// Does what follows the commit. The units at `failed` were not committed.
    fn finish(self, shared: &Shared, mut failed: &Failed) {
        let Self { session, late, items } = self;
        let mut confirms = Vec::new();
        let mut unit = 0;
        for item in items {
            match item {
                Item::Plan { plan, sent } => {
                    let units = if plan.stored { plan.len() } else { 0 };
                    let own;
                    (own, failed) = failed.split_at(failed.partition_point(|(at, _)| *at < unit + units));
                    let verdict = plan.verdict();
                    plan.apply_but(shared, own, unit);
                    let mut own = own.iter().peekable();
                    for (n, sent) in sent.iter().enumerate() {
                        let verdict = own.next_if(|(at, _)| *at == unit + n).map_or(verdict, |(_, error)| lost(error));
                        confirms.extend(answered(shared, &session, sent, verdict));
                    }
                    unit += units;
                }
                Item::Answer { sent, verdict } => confirms.extend(answered(shared, &session, &sent, verdict)),
                Item::Repeat { cookie, key } => {
                    let outcome = shared.key(&session, &key).and_then(|row| row.outcome).unwrap_or(Outcome::Released);
                    confirms.push(Confirm { cookie, outcome, why: Some(Condition::Duplicate), provisional: None });
                }
            }
        }
        late.give(confirms);
    }
}

/// What became of a message that the store has not taken.
const fn lost(error: &StoreError) -> Verdict {
    match error {
        StoreError::Full => Verdict::Refused(Condition::StoreFull),
        _ => Verdict::Released(Condition::Unavailable),
    }
}

/// Notes the outcome of a message. What its sender is told, if it is told anything.
fn answered(shared: &Shared, session: &Arc<SessionCore>, sent: &Sent, verdict: Verdict) -> Option<Confirm> {
    let refused = matches!(verdict, Verdict::Refused(_) | Verdict::Released(_));
    shared.count_refusal(verdict);
    let (outcome, why) = verdict.outcome();
    if let Some(key) = &sent.key {
        shared.decide(session, key, &outcome, refused);
    }
    (sent.asked || refused).then_some(Confirm { cookie: sent.cookie, outcome, why, provisional: None })
}
