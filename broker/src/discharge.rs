//! The end of a transaction, and what else is due by itself.

use roadbed_core::{Error, ErrorKind, Gid, Outcome, Result, Time, TxnId};

use crate::broker::Shared;
use crate::dispatch::Plan;
use crate::lock;
use crate::mailbox::Effects;
use crate::queue::Dead;
use crate::session::{Stored, committed};
use crate::store::{Op, Prepared};
use crate::timers::Timer;
use crate::txn::{Post, Record, Txn, TxnWork};
use crate::waiter::{Waiter, waiter};

impl Shared {
    /// Applies everything of a transaction as one unit. If one message is refused, all is undone.
    pub(crate) fn commit(&self, id: TxnId) -> Result<Stored> {
        let Some(txn) = self.txns.take(self, id) else { return Err(rolled_back("it was rolled back before")) };
        self.apply(id, txn, Vec::new())
    }

    fn apply(&self, id: TxnId, txn: Txn, mut ops: Vec<Op>) -> Result<Stored> {
        let mut plans = Vec::with_capacity(txn.posts.len());
        let mut recorded = Vec::new();
        for post in &txn.posts {
            match self.plan_post(post) {
                Ok(Some(plan)) => {
                    plans.push(plan);
                    recorded.extend(post.key.as_ref().map(|key| (post.session.clone(), key.clone())));
                }
                Ok(None) => {}
                Err(why) => {
                    drop(plans);
                    for (session, key) in recorded {
                        self.decide(&session, &key, &Outcome::Released, true);
                    }
                    self.undo(id, txn);
                    return Err(rolled_back(why));
                }
            }
        }
        let (mut effects, mut dead) = (Effects::default(), Vec::new());
        txn.works.into_iter().for_each(|work| self.discharge(id, work, true, &mut effects, &mut dead));
        self.bury_into(dead, &mut effects);
        self.meters.hot().accepted.add(effects.accepted);
        self.meters.transactions_committed.one();
        ops.extend(std::mem::take(&mut effects.ops));
        let keys: Vec<Op> = txn.posts.iter().filter_map(|post| self.post_key(post)).collect();
        ops.extend(keys);
        let stored = !ops.is_empty() || plans.iter().any(|plan| plan.stored);
        let then = effects.then;
        if !stored {
            plans.into_iter().for_each(|plan| plan.apply(self));
            then.into_iter().for_each(|then| then(self));
            return Ok(Box::pin(std::future::ready(Ok(()))));
        }
        let (answer, waiter): (_, Waiter<Result<()>>) = waiter();
        let slot = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let planned = slot.clone();
        let make = || {
            plans.iter_mut().for_each(|plan| plan.ops(self, &mut ops));
            *lock(&planned) = plans;
            (Vec::new(), ops)
        };
        let done = move |shared: &Shared, result: Result<(), _>| {
            let plans = std::mem::take(&mut *lock(&slot));
            if result.is_ok() {
                plans.into_iter().for_each(|plan: Plan| plan.apply(shared));
                then.into_iter().for_each(|then| then(shared));
            }
            answer.give(committed(result));
        };
        self.commits.submit(self, make, Box::new(done));
        Ok(Box::pin(waiter))
    }

    /// The plan of one message; `None` if it was sent before.
    fn plan_post(&self, post: &Post) -> Result<Option<Plan>, String> {
        if let Some(key) = &post.key {
            if self.key(&post.session, key).is_some() {
                self.meters.duplicates.one();
                return Ok(None);
            }
            if !self.record(&post.session, key) {
                return Err("too many keys are not forgotten".into());
            }
        }
        let address = post.message.address();
        let route = self.route(address).map_err(|condition| format!("{address}: {condition}"))?;
        let plan = Plan::new(self, &route, &post.message, post.qos, post.session.id);
        if let Some(key) = &post.key {
            self.decide(&post.session, key, &Outcome::Accepted, plan.is_err());
        }
        let plan = plan.map_err(|verdict| format!("{address}: {}", verdict.outcome().0))?;
        Ok(Some(plan))
    }

    fn post_key(&self, post: &Post) -> Option<Op> {
        let stored = post.message.durability() == roadbed_core::Durability::Stored;
        post.key.as_ref().filter(|_| stored).and_then(|key| self.key_op(&post.session, key))
    }

    /// Undoes everything; rolling back what has ended changes nothing.
    pub(crate) fn rollback(&self, id: TxnId) -> Result<()> {
        if let Some(txn) = self.txns.take(self, id) {
            self.undo(id, txn);
        }
        Ok(())
    }

    fn undo(&self, id: TxnId, txn: Txn) {
        self.meters.transactions_rolled_back.one();
        let (mut effects, mut dead) = (Effects::default(), Vec::new());
        txn.works.into_iter().for_each(|work| self.discharge(id, work, false, &mut effects, &mut dead));
        self.finish(effects, dead);
    }

    fn discharge(&self, id: TxnId, work: TxnWork, commit: bool, effects: &mut Effects, dead: &mut Vec<Dead>) {
        let (queue, seq, attempt, slot) = match work {
            TxnWork::Mail { session, handle } => {
                if let Some(session) = self.live_session(session) {
                    session.discharge(self, handle, id, commit, effects);
                }
                return;
            }
            TxnWork::Pulled { link, seq, attempt, session, handle } => {
                (link.queue().clone(), seq, attempt, Some((session, handle)))
            }
            TxnWork::Held { queue, seq, attempt, slot } => (queue, seq, attempt, slot),
        };
        let ended = queue.discharge(self, seq, attempt, id, commit, effects, dead);
        let session = slot.filter(|_| ended).and_then(|(session, handle)| Some((self.live_session(session)?, handle)));
        if let Some((session, handle)) = session {
            lock(&session.inner).slab.remove(handle);
        }
    }

    /// Promises to be able to commit, also after a restart.
    pub(crate) fn prepare(&self, id: TxnId, gid: Gid) -> Result<Stored> {
        let prepared = self.txns.prepare(self, id, gid.clone())?;
        let prepared = self.describe(prepared);
        let (answer, waiter): (_, Waiter<Result<()>>) = waiter();
        let ops = vec![Op::Prepare(gid, prepared)];
        let then = move |_: &Shared, result: Result<(), _>| answer.give(committed(result));
        self.commits.submit(self, || (Vec::new(), ops), Box::new(then));
        Ok(Box::pin(waiter))
    }

    /// What of a transaction outlives us.
    fn describe(&self, (posts, works): Record) -> Prepared {
        let retires = works.into_iter().filter_map(|outline| match outline {
            Outline::Held(queue, seq) => {
                let outcome = queue.enlisted_outcome(seq)?;
                Some((queue.copy_id(seq), outcome))
            }
            Outline::Mail(session, handle) => {
                let session = self.live_session(session)?;
                session.enlisted_outcome(handle)
            }
        });
        Prepared { posts, retires: retires.collect() }
    }

    /// Commits or rolls back what was prepared; doing it twice changes nothing.
    pub(crate) fn resolve(&self, gid: &Gid, commit: bool) -> Result<Stored> {
        let Some((id, txn)) = self.txns.take_prepared(self, gid) else {
            return Ok(Box::pin(std::future::ready(Ok(()))));
        };
        let op = Op::Resolve(gid.clone());
        if commit {
            return self.apply(id, txn, vec![op]);
        }
        self.undo(id, txn);
        let (answer, waiter): (_, Waiter<Result<()>>) = waiter();
        let then = move |_: &Shared, result: Result<(), _>| answer.give(committed(result));
        self.commits.submit(self, || (Vec::new(), vec![op]), Box::new(then));
        Ok(Box::pin(waiter))
    }

    /// Takes a prepared transaction over from before a restart: its copies are held by it until it is resolved.
    pub(crate) fn restore_prepared(&self, gid: Gid, prepared: Prepared) {
        let id = self.txns.restore(self, gid);
        for (message, qos) in prepared.posts {
            self.txns.restore_post(id, message, qos);
        }
        for (copy, outcome) in prepared.retires {
            if let Some(queue) = self.registry.queue(copy.queue) {
                if let Some(attempt) = queue.hold_for(copy.seq, id, outcome) {
                    self.txns.enlist(id, TxnWork::Held { queue, seq: copy.seq, attempt, slot: None });
                }
                continue;
            }
            let session = self.registry.named(|session| session.has_queue_id(copy.queue));
            if let Some(session) = session
                && let Some(handle) = session.hold_for(copy.seq, id, outcome)
            {
                self.txns.enlist(id, TxnWork::Mail { session: session.id, handle });
            }
        }
    }

    /// Does everything that is due. The next deadline.
    pub(crate) fn handle_timeout(&self, now: Time) -> Option<Time> {
        while let Some(timer) = self.timers.pop(now) {
            match timer {
                Timer::Session(id) => {
                    if let Some(session) = self.live_session(id) {
                        self.handle_session(&session, now);
                    }
                }
                Timer::Queue(id) => self.handle_queue(id, now),
                Timer::Transaction(id) => {
                    self.meters.transactions_timed_out.one();
                    // A transaction that is gone needs nothing.
                    let _ = self.rollback(TxnId(id));
                }
                Timer::Names => self.names.forget_old(self, now),
            }
        }
        self.commits.flush(self);
        self.timers.next()
    }

    fn handle_queue(&self, id: roadbed_core::QueueId, now: Time) {
        let Some(queue) = self.registry.queue(id) else { return };
        let (mut effects, mut dead, mut missed) = (Effects::default(), Vec::new(), Vec::new());
        let idle = queue.handle_timeout(self, now, &mut effects, &mut dead, &mut missed);
        self.finish(effects, dead);
        self.send_due(&queue);
        missed.iter().for_each(|message| self.feed_back(message, now));
        if idle {
            self.delete_queue(&queue);
        }
    }
}

/// A delivery of a transaction, for its record.
pub(crate) enum Outline {
    Held(std::sync::Arc<crate::queue::Queue>, u64),
    Mail(u64, roadbed_core::Handle),
}

fn rolled_back(why: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::RolledBack, "commit").detail(format!("the transaction was rolled back: {why}"))
}
