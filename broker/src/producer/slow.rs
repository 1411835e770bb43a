//! Messages for which something special is asked, and those behind them.

use std::sync::{Arc, Mutex};

use roadbed_core::{Condition, Confirm, Key, Outcome, Outgoing, Qos, TxnId};

use super::{BrokerProducer, Late};
use crate::broker::Shared;
use crate::dispatch::{Plan, Verdict};
use crate::keys::Row;
use crate::lock;
use crate::mailbox::SessionCore;
use crate::store::{Op, StoreError};
use crate::txn::Post;

impl BrokerProducer {
    /// Whether something that was sent waits for the store. What has come back meanwhile takes its place in the order.
    pub(super) fn has_pending(&mut self) -> bool {
        let Some(late) = &self.late else { return false };
        let mut late = lock(&late.0);
        self.confirms.append(&mut late.confirms);
        late.pending > 0
    }

    /// Sends one message whose key is recorded already, with nothing stored.
    pub(super) fn send_planned(&mut self, outgoing: &Outgoing) {
        let broker = self.broker.clone();
        let verdict = self.plan(outgoing).map(|plan| {
            let verdict = plan.verdict();
            plan.apply(broker.shared());
            verdict
        });
        self.confirm(outgoing, verdict.unwrap_or_else(|refused| refused));
    }

    /// Sends one message of any kind.
    pub(super) fn send_special(&mut self, outgoing: &Outgoing, over: bool) {
        let broker = self.broker.clone();
        let shared = broker.shared();
        if let Some(txn) = outgoing.txn {
            return self.post(shared, outgoing, txn);
        }
        if let Some(key) = &outgoing.key {
            match shared.key(&self.session, key) {
                Some(row) => return self.repeat(shared, outgoing, key, row),
                None if !shared.record(&self.session, key) => {
                    return self.answer(outgoing, Verdict::Refused(Condition::Full));
                }
                None => {}
            }
        }
        if over {
            return self.answer(outgoing, Verdict::Refused(Condition::Full));
        }
        match self.plan(outgoing) {
            Ok(plan) if plan.stored => self.send_stored(shared, outgoing, plan),
            Ok(plan) if self.has_pending() => self.send_behind(shared, outgoing, plan),
            Ok(plan) => {
                let verdict = plan.verdict();
                plan.apply(shared);
                if let Some(key) = &outgoing.key {
                    shared.decide(&self.session, key, &verdict.outcome().0, false);
                }
                self.confirm(outgoing, verdict);
            }
            Err(refused) => self.answer(outgoing, refused),
        }
    }

    fn plan(&mut self, outgoing: &Outgoing) -> Result<Plan, Verdict> {
        let broker = self.broker.clone();
        let shared = broker.shared();
        if outgoing.message.payload().len() > shared.settings.message_bytes_max {
            return Err(Verdict::Refused(Condition::TooLarge));
        }
        let route = self.route(outgoing.message.address()).map_err(Verdict::Refused)?;
        Plan::new(shared, &route, &outgoing.message, outgoing.qos, self.session.id)
    }

    /// Answers in the order of sending.
    fn answer(&mut self, outgoing: &Outgoing, verdict: Verdict) {
        if !self.has_pending() {
            return self.confirm(outgoing, verdict);
        }
        let (late, outgoing, session) = (self.wait(), outgoing.clone(), self.session.clone());
        let shared = self.broker.shared();
        let then = move |shared: &Shared, _| finish(shared, &session, &outgoing, verdict, &late);
        shared.commits.after(shared, Box::new(then));
    }

    fn send_stored(&mut self, shared: &Shared, outgoing: &Outgoing, plan: Plan) {
        let (late, outgoing, session) = (self.wait(), outgoing.clone(), self.session.clone());
        let slot = Arc::new(Mutex::new(Some(plan)));
        let planned = slot.clone();
        let key_op = outgoing.key.as_ref().and_then(|key| shared.key_op(&session, key));
        let make = || {
            let mut ops: Vec<Op> = key_op.into_iter().collect();
            if let Some(plan) = &mut *lock(&planned) {
                plan.ops(shared, &mut ops);
            }
            (Vec::new(), ops)
        };
        let then = move |shared: &Shared, result: Result<(), _>| {
            let plan = lock(&slot).take();
            let verdict = match (result, plan) {
                (Ok(()), Some(plan)) => {
                    let verdict = plan.verdict();
                    plan.apply(shared);
                    verdict
                }
                (Err(StoreError::Full), _) => Verdict::Refused(Condition::StoreFull),
                _ => Verdict::Released(Condition::Unavailable),
            };
            finish(shared, &session, &outgoing, verdict, &late);
        };
        shared.commits.submit(shared, make, Box::new(then));
    }

    /// Sends a volatile message behind stored ones, so that it does not overtake them.
    fn send_behind(&mut self, shared: &Shared, outgoing: &Outgoing, mut plan: Plan) {
        plan.take_positions();
        let (late, outgoing, session) = (self.wait(), outgoing.clone(), self.session.clone());
        let then = move |shared: &Shared, _| {
            let verdict = plan.verdict();
            plan.apply(shared);
            finish(shared, &session, &outgoing, verdict, &late);
        };
        shared.commits.after(shared, Box::new(then));
    }

    /// A key that was sent before: the first outcome stands, behind its commit.
    fn repeat(&mut self, shared: &Shared, outgoing: &Outgoing, key: &Key, row: Row) {
        shared.meters.duplicates.one();
        let (cookie, why) = (outgoing.cookie, Some(Condition::Duplicate));
        if let Some(outcome) = row.outcome {
            let confirm = Confirm { cookie, outcome, why, provisional: None };
            if !self.has_pending() {
                self.confirms.push(confirm);
                return;
            }
            let late = self.wait();
            return shared.commits.after(shared, Box::new(move |_, _| late.give(Some(confirm))));
        }
        let (late, session, key) = (self.wait(), self.session.clone(), key.clone());
        let then = move |shared: &Shared, _| {
            let first = shared.key(&session, &key).and_then(|row| row.outcome).unwrap_or(Outcome::Released);
            late.give(Some(Confirm { cookie, outcome: first, why, provisional: None }));
        };
        shared.commits.after(shared, Box::new(then));
    }

    fn post(&mut self, shared: &Shared, outgoing: &Outgoing, txn: TxnId) {
        let post = Post {
            message: outgoing.message.clone(),
            qos: outgoing.qos,
            key: outgoing.key.clone(),
            session: self.session.clone(),
        };
        let cookie = outgoing.cookie;
        let posted = match outgoing.message.payload().len() > shared.settings.message_bytes_max {
            true => Err(Condition::TooLarge),
            false => shared.txns.post(shared, txn, post),
        };
        self.confirms.push(match posted {
            Ok(()) => Confirm { cookie, outcome: Outcome::Accepted, why: None, provisional: Some(txn) },
            Err(why) => Confirm { cookie, outcome: Outcome::rejected(why), why: Some(why), provisional: None },
        });
    }

    fn wait(&mut self) -> Arc<Late> {
        let late = self.late.get_or_insert_default();
        lock(&late.0).pending += 1;
        late.clone()
    }
}

impl Late {
    fn give(&self, confirm: Option<Confirm>) {
        let mut late = lock(&self.0);
        late.pending -= 1;
        late.confirms.extend(confirm);
        let waker = late.waker.take();
        drop(late);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

fn finish(shared: &Shared, session: &Arc<SessionCore>, outgoing: &Outgoing, verdict: Verdict, late: &Late) {
    let refused = matches!(verdict, Verdict::Refused(_) | Verdict::Released(_));
    shared.count_refusal(verdict);
    let (outcome, why) = verdict.outcome();
    if let Some(key) = &outgoing.key {
        shared.decide(session, key, &outcome, refused);
    }
    let asked = outgoing.qos > Qos::AtMostOnce || refused;
    late.give(asked.then_some(Confirm { cookie: outgoing.cookie, outcome, why, provisional: None }));
}
