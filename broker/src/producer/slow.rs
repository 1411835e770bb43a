//! Messages for which something special is asked, those that are stored, and those behind them.

use roadbed_core::{Condition, Confirm, Durability, Key, Message, Outcome, Outgoing, Qos, TxnId};

use super::behind::{Behind, Item, Sent};
use super::{BrokerProducer, Late, is_ordinary, same};
use crate::broker::Shared;
use crate::dispatch::{Plan, Verdict};
use crate::keys::Row;
use crate::lock;
use crate::txn::Post;

impl BrokerProducer {
    /// Whether something that was sent waits for the store. What has come back meanwhile takes its place in the order.
    pub(super) fn has_pending(&mut self) -> bool {
        let Some(late) = &self.late else { return self.behind.is_some() };
        let mut late = lock(&late.0);
        self.confirms.append(&mut late.confirms);
        late.pending > 0 || self.behind.is_some()
    }

    /// Sends one message whose key is recorded already, with nothing stored.
    pub(super) fn send_planned(&mut self, outgoing: &Outgoing) {
        let broker = self.broker.clone();
        let verdict = self.plan(std::slice::from_ref(outgoing)).map(|plan| {
            let verdict = plan.verdict();
            plan.apply(broker.shared());
            verdict
        });
        self.confirm(outgoing, verdict.unwrap_or_else(|refused| refused));
    }

    /// Sends the first message of `batch`, of any kind, and those behind it that are like it. How many that were.
    pub(super) fn send_special(&mut self, batch: &[Outgoing], over: bool) -> usize {
        let (broker, outgoing) = (self.broker.clone(), &batch[0]);
        let shared = broker.shared();
        if let Some(txn) = outgoing.txn {
            self.post(shared, outgoing, txn);
            return 1;
        }
        if let Some(key) = &outgoing.key {
            match shared.key(&self.session, key) {
                Some(row) => {
                    self.repeat(shared, outgoing, key, row);
                    return 1;
                }
                None if !shared.record(&self.session, key) => {
                    self.answer(outgoing, Verdict::Refused(Condition::Full));
                    return 1;
                }
                None => {}
            }
        }
        if over {
            self.answer(outgoing, Verdict::Refused(Condition::Full));
            return 1;
        }
        let alike = 1 + batch[1..].iter().take_while(|next| self.is_like(outgoing, next)).count();
        match self.plan(&batch[..alike]) {
            Ok(plan) => self.send_plan(shared, batch, plan),
            Err(refused) => {
                self.answer(outgoing, refused);
                1
            }
        }
    }

    /// Sends what `plan` has of `batch`, whose first key is recorded.
    fn send_plan(&mut self, shared: &Shared, batch: &[Outgoing], mut plan: Plan) -> usize {
        let fresh = |outgoing: &&Outgoing| match &outgoing.key {
            None => true,
            Some(key) => shared.key(&self.session, key).is_none() && shared.record(&self.session, key),
        };
        let len = 1 + batch[1..plan.len()].iter().take_while(fresh).count();
        if len < plan.len() {
            plan.truncate(len);
        }
        let sent = &batch[..len];
        if plan.stored || self.has_pending() {
            let sent = sent.iter().map(Sent::from).collect();
            self.behind().push(Item::Plan { plan, sent });
            return len;
        }
        let verdict = plan.verdict();
        plan.apply(shared);
        for outgoing in sent {
            if let Some(key) = &outgoing.key {
                shared.decide(&self.session, key, &verdict.outcome().0, false);
            }
            self.confirm(outgoing, verdict);
        }
        len
    }

    fn plan(&mut self, run: &[Outgoing]) -> Result<Plan, Verdict> {
        let broker = self.broker.clone();
        let (shared, first) = (broker.shared(), &run[0]);
        if first.message.payload().len() > shared.settings.message_bytes_max {
            return Err(Verdict::Refused(Condition::TooLarge));
        }
        let route = self.route(first.message.address()).map_err(Verdict::Refused)?;
        let messages: Vec<Message> = run.iter().map(|outgoing| outgoing.message.clone()).collect();
        Plan::run(shared, &route, messages, first.qos, self.session.id)
    }

    /// Whether a message goes the way of `first`, and nothing else is asked for either.
    fn is_like(&self, first: &Outgoing, next: &Outgoing) -> bool {
        let max = self.broker.shared().settings.message_bytes_max;
        let stored = |outgoing: &Outgoing| outgoing.message.durability() == Durability::Stored;
        first.qos == next.qos
            && stored(first) == stored(next)
            && is_ordinary(first, max)
            && is_ordinary(next, max)
            && same(first.message.address(), next.message.address())
    }

    /// Answers in the order of sending.
    fn answer(&mut self, outgoing: &Outgoing, verdict: Verdict) {
        if !self.has_pending() {
            return self.confirm(outgoing, verdict);
        }
        self.behind().push(Item::Answer { sent: outgoing.into(), verdict });
    }

    /// A key that was sent before: the first outcome stands, behind its commit.
    fn repeat(&mut self, shared: &Shared, outgoing: &Outgoing, key: &Key, row: Row) {
        shared.meters.duplicates.one();
        let (cookie, why) = (outgoing.cookie, Some(Condition::Duplicate));
        if let (Some(outcome), false) = (row.outcome, self.has_pending()) {
            return self.confirms.push(Confirm { cookie, outcome, why, provisional: None });
        }
        self.behind().push(Item::Repeat { cookie, key: key.clone() });
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

    /// What of this call of send is done behind the store.
    fn behind(&mut self) -> &mut Behind {
        let late = self.late.get_or_insert_default();
        self.behind.get_or_insert_with(|| Behind::new(self.session.clone(), late.clone()))
    }

    /// Hands over what is to be done behind the store.
    pub(super) fn submit_behind(&mut self, shared: &Shared) {
        if let Some(behind) = self.behind.take() {
            behind.submit(shared);
        }
    }
}

impl Late {
    /// One more batch of confirms is under way.
    pub(super) fn expect(&self) {
        lock(&self.0).pending += 1;
    }

    pub(super) fn give(&self, mut confirms: Vec<Confirm>) {
        let mut late = lock(&self.0);
        late.pending -= 1;
        late.confirms.append(&mut confirms);
        let waker = late.waker.take();
        drop(late);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The first call of forget that waits has come to its commit; if that failed, nothing is promised any more.
    pub(super) fn forgotten(&self, stored: bool) {
        let mut late = lock(&self.0);
        late.forgetting_failed |= !stored;
        if late.forgetting_failed {
            return;
        }
        late.forgetting.pop_front();
        let waker = late.waker.take();
        drop(late);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl From<&Outgoing> for Sent {
    fn from(outgoing: &Outgoing) -> Self {
        let asked = outgoing.qos > Qos::AtMostOnce;
        Self { cookie: outgoing.cookie, key: outgoing.key.clone(), asked }
    }
}
