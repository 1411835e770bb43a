//! Settling: by handle or by id, answered after the commit.

use std::sync::Arc;

use roadbed_core::{Disposition, Done, Fence, Outcome, Step};

use crate::broker::Shared;
use crate::log::Reading;
use crate::mailbox::{Effects, Follow, SessionCore};
use crate::queue::{Asker, Dead, QueueStep, StepTarget};
use crate::store::{Op, StoreError};

/// Who settles through this session.
pub(crate) fn asker(session: &SessionCore) -> Asker {
    Asker { session: session.id, session_name: session.name.clone(), principal: session.origin.principal.clone() }
}

impl Shared {
    /// Takes all dispositions out of `batch`; `answer` gets one answer for each that has a cookie, after the commit.
    pub(crate) fn settle(
        &self,
        session: &Arc<SessionCore>,
        epoch: u32,
        asker: &Asker,
        batch: &mut Vec<Disposition>,
        answer: impl FnOnce(&Shared, Vec<Done>) + Send + 'static,
    ) {
        let mut effects = Effects::default();
        batch.retain(|disposition| self.may_enlist(session, disposition, &mut effects));
        session.settle(self, epoch, batch, &mut effects);
        let mut dead = Vec::new();
        for step in std::mem::take(&mut effects.steps) {
            self.step(asker, step, &mut effects, &mut dead);
        }
        self.bury_into(dead, &mut effects);
        self.move_checkpoints(&mut effects);
        let dones = std::mem::take(&mut effects.dones);
        self.meters.hot().accepted.add(effects.accepted);
        if effects.ops.is_empty() {
            answer(self, dones);
        } else if dones.is_empty() || !effects.waits {
            answer(self, dones);
            self.submit_effects(effects.ops, effects.then);
        } else {
            let (ops, then) = (effects.ops, effects.then);
            let done = move |shared: &Shared, result: Result<(), StoreError>| {
                run_all(shared, then);
                answer(shared, fail_if(result, dones));
            };
            self.commits.submit(self, || (Vec::new(), ops), Box::new(done));
        }
        self.commits.flush(self);
    }

    /// Steps whose handles are free already, and that nobody waits for.
    pub(crate) fn settle_held(&self, asker: &Asker, steps: impl Iterator<Item = QueueStep>) {
        let (mut effects, mut dead) = (Effects::default(), Vec::new());
        steps.for_each(|step| self.step(asker, step, &mut effects, &mut dead));
        self.finish(effects, dead);
        self.commits.flush(self);
    }

    /// What follows when nobody waits for an answer.
    pub(crate) fn finish(&self, mut effects: Effects, dead: Vec<Dead>) {
        self.bury_into(dead, &mut effects);
        self.meters.hot().accepted.add(effects.accepted);
        self.submit_effects(effects.ops, effects.then);
    }

    /// Tells the store what nobody waits for but what follows it.
    fn submit_effects(&self, ops: Vec<Op>, then: Vec<Follow>) {
        if !then.is_empty() {
            self.commits.submit(self, || (Vec::new(), ops), Box::new(move |shared, _| run_all(shared, then)));
        } else if !ops.is_empty() {
            self.commits.submit_unawaited(self, ops);
        }
    }

    /// What was read and is settled moves the checkpoints of groups: one row for each.
    fn move_checkpoints(&self, effects: &mut Effects) {
        let mut readings: Vec<Arc<Reading>> = Vec::new();
        for (reading, position, outcome) in std::mem::take(&mut effects.read) {
            effects.accepted += u64::from(outcome == Outcome::Accepted);
            reading.settled(position, &outcome);
            if !readings.iter().any(|known| Arc::ptr_eq(known, &reading)) {
                readings.push(reading);
            }
        }
        let moved = readings.iter().filter_map(|reading| reading.moved(self));
        effects.ops.extend(moved);
        effects.waits |= !readings.is_empty() && !effects.ops.is_empty();
    }

    fn may_enlist(&self, session: &SessionCore, disposition: &Disposition, effects: &mut Effects) -> bool {
        let Step::Enlist { txn, .. } = &disposition.step else { return true };
        let Err(error) = self.txns.check_owner(*txn, session) else { return true };
        if let Some(cookie) = disposition.cookie {
            effects.dones.push(Done { cookie, result: Err(error) });
        }
        false
    }

    fn step(&self, asker: &Asker, step: QueueStep, effects: &mut Effects, dead: &mut Vec<Dead>) {
        let QueueStep { target, step, cookie } = step;
        let (queue, seq, fence, slot) = match target {
            StepTarget::Held { link, seq, attempt, session, handle } => {
                let fence = Fence { epoch: self.boot_epoch, attempt };
                (Some(link.queue().clone()), seq, fence, Some((session, handle)))
            }
            StepTarget::Id(id) => {
                let queue = self.registry.queue(id.copy.queue);
                (queue, id.copy.seq, id.fence, None)
            }
        };
        let result = match queue {
            Some(queue) => queue.step(self, seq, fence, asker, slot, step, effects, dead),
            None => {
                self.meters.late.one();
                Ok(roadbed_core::Settled::Late)
            }
        };
        if let Some(cookie) = cookie {
            effects.dones.push(Done { cookie, result });
        }
    }
}

/// Does what follows the commit.
fn run_all(shared: &Shared, then: Vec<Follow>) {
    then.into_iter().for_each(|then| then(shared));
}

fn fail_if(result: Result<(), StoreError>, dones: Vec<Done>) -> Vec<Done> {
    let Err(error) = result else { return dones };
    let fail = |done: Done| Done { result: crate::session::committed(Err(error.clone())).and(done.result), ..done };
    dones.into_iter().map(fail).collect()
}
