//! The end of a transaction, and what else is due by itself.

use roadbed_core::{Error, ErrorKind, Gid, Key, Outcome, Result, Time, TxnId};

use crate::broker::Shared;
use crate::dispatch::{Plan, Verdict};
use crate::lock;
use crate::log::move_all;
use crate::mailbox::{Effects, SessionCore};
use crate::queue::Dead;
use crate::session::{Stored, committed};
use crate::store::{Op, Prepared, PreparedPost, RowKey};
use crate::timers::Timer;
use crate::txn::{Post, Read, Txn, TxnWork};
use crate::waiter::{Waiter, waiter};

impl Shared {
    /// Applies everything of a transaction as one unit. If one message is refused, all is undone.
    pub(crate) fn commit(&self, id: TxnId) -> Result<Stored> {
        let Some(txn) = self.txns.take(self, id) else { return Err(rolled_back("it was rolled back before")) };
        let planned = self.plan_all(&txn.posts).and_then(|plans| match self.move_read(&txn.works) {
            Ok(ops) => Ok((plans, ops)),
            Err(why) => {
                self.free_keys(&txn.posts);
                Err(why)
            }
        });
        match planned {
            Ok((plans, ops)) => Ok(self.apply(id, txn, plans, ops)),
            Err(why) => {
                self.undo(id, txn);
                Err(rolled_back(why))
            }
        }
    }

    fn apply(&self, id: TxnId, mut txn: Txn, mut plans: Vec<Plan>, mut ops: Vec<Op>) -> Stored {
        let (mut effects, mut dead) = (Effects::default(), Vec::new());
        let works = std::mem::take(&mut txn.works);
        works.into_iter().for_each(|work| self.discharge(id, work, true, &mut effects, &mut dead));
        self.bury_into(dead, &mut effects);
        self.meters.hot().accepted.add(effects.accepted);
        self.meters.transactions_committed.one();
        ops.extend(std::mem::take(&mut effects.ops));
        ops.extend(txn.posts.iter().filter_map(|post| self.post_key(post)));
        let stored = !ops.is_empty() || plans.iter().any(|plan| plan.stored);
        let then = effects.then;
        if !stored {
            plans.into_iter().for_each(|plan| plan.apply(self));
            then.into_iter().for_each(|then| then(self));
            txn.tell(true);
            return Box::pin(std::future::ready(Ok(())));
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
            txn.tell(result.is_ok());
            answer.give(committed(result));
        };
        self.commits.submit(self, make, Box::new(done));
        Box::pin(waiter)
    }

    /// Finds a place for every message, or says why one of them has none; then their keys are free again.
    fn plan_all(&self, posts: &[Post]) -> Result<Vec<Plan>, String> {
        let (mut plans, mut recorded) = (Vec::with_capacity(posts.len()), Vec::new());
        for post in posts {
            match self.plan_post(post) {
                Ok(Some(plan)) => {
                    plans.push(plan);
                    recorded.push(post);
                }
                Ok(None) => {}
                Err(why) => {
                    self.free_keys(recorded);
                    return Err(why);
                }
            }
        }
        Ok(plans)
    }

    fn free_keys<'a>(&self, posts: impl IntoIterator<Item = &'a Post>) {
        for post in posts {
            if let Some(key) = &post.key {
                self.decide(&post.session, key, &Outcome::Released, true);
            }
        }
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
        let plan = self
            .route(address)
            .map_err(Verdict::Refused)
            .and_then(|route| Plan::new(self, &route, &post.message, post.qos, post.session.id));
        if let Some(key) = &post.key {
            self.decide(&post.session, key, &Outcome::Accepted, plan.is_err());
        }
        plan.map(Some).map_err(|verdict| format!("{address}: {}", verdict.outcome().0))
    }

    fn post_key(&self, post: &Post) -> Option<Op> {
        let stored = self.is_stored(&post.message, post.qos);
        post.key.as_ref().filter(|_| stored).and_then(|key| self.key_op(&post.session, key))
    }

    /// Undoes everything; rolling back what has ended changes nothing.
    pub(crate) fn rollback(&self, id: TxnId) -> Result<()> {
        if let Some(txn) = self.txns.take(self, id) {
            self.undo(id, txn);
        }
        Ok(())
    }

    fn undo(&self, id: TxnId, mut txn: Txn) {
        self.meters.transactions_rolled_back.one();
        if txn.plans.take().is_some() {
            self.free_keys(&txn.posts);
        }
        let (mut effects, mut dead) = (Effects::default(), Vec::new());
        let works = std::mem::take(&mut txn.works);
        works.into_iter().for_each(|work| self.discharge(id, work, false, &mut effects, &mut dead));
        self.finish(effects, dead);
        txn.tell(false);
    }

    /// Undoes one delivery whose transaction had ended before it was enlisted.
    pub(crate) fn orphaned(&self, id: TxnId, work: TxnWork) {
        let (mut effects, mut dead) = (Effects::default(), Vec::new());
        self.discharge(id, work, false, &mut effects, &mut dead);
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
            TxnWork::Read(read) => return self.discharge_read(&read, commit),
        };
        let ended = queue.discharge(self, seq, attempt, id, commit, effects, dead);
        let session = slot.filter(|_| ended).and_then(|(session, handle)| Some((self.live_session(session)?, handle)));
        if let Some((session, handle)) = session {
            lock(&session.inner).slab.remove(handle);
        }
    }

    /// Moves the checkpoints of what a transaction has read, all or none.
    fn move_read(&self, works: &[TxnWork]) -> Result<Vec<Op>, String> {
        let read = works.iter().filter_map(|work| match work {
            TxnWork::Read(read) => Some((&read.reading, read.position, &read.outcome)),
            _ => None,
        });
        move_all(self, &read.collect::<Vec<_>>())
    }

    /// The checkpoint has moved before, if it was to move.
    fn discharge_read(&self, read: &Read, commit: bool) {
        let slot = read.slot.and_then(|(session, handle)| Some((self.live_session(session)?, handle)));
        match slot {
            Some((session, handle)) => session.discharge_read(handle, commit),
            // Its reader has settled already: there is nobody who could name another outcome.
            None if !commit => read.reading.settled(read.position, &Outcome::Released),
            None => {}
        }
    }

    /// Promises to be able to commit, also after a restart: there is room for every message, and it stays reserved.
    pub(crate) fn prepare(&self, id: TxnId, gid: Gid) -> Result<Stored> {
        if gid.0.len() > GID_BYTES_MAX {
            return Err(Error::new(ErrorKind::Invalid, "prepare").detail("the global name is too long"));
        }
        if self.txns.has_read(id) {
            let words =
                "a checkpoint of a log can be moved by a transaction of this endpoint alone, and is not prepared";
            return Err(Error::new(ErrorKind::NotSupported, "prepare").detail(words));
        }
        let mut txn = self.txns.begin_prepare(self, id, &gid)?;
        match self.plan_all(&txn.posts) {
            Ok(plans) => txn.plans = Some(plans),
            Err(why) => {
                self.txns.take(self, id);
                self.undo(id, txn);
                return Err(rolled_back(why));
            }
        }
        let ops = vec![Op::Prepare(gid, self.describe(&txn))];
        if let Some(txn) = self.txns.put_back(id, txn) {
            self.undo(id, txn);
            return Err(rolled_back("it was resolved before it was prepared"));
        }
        let (answer, waiter): (_, Waiter<Result<()>>) = waiter();
        let then = move |shared: &Shared, result: Result<(), _>| {
            if result.is_err() {
                // Nothing was promised.
                let _ = shared.rollback(id);
            }
            answer.give(committed(result));
        };
        self.commits.submit(self, || (Vec::new(), ops), Box::new(then));
        Ok(Box::pin(waiter))
    }

    /// What of a transaction outlives us.
    fn describe(&self, txn: &Txn) -> Prepared {
        let retires = txn.works.iter().filter_map(|work| match work {
            TxnWork::Pulled { link, seq, .. } => link.queue().enlisted_copy(*seq),
            TxnWork::Held { queue, seq, .. } => queue.enlisted_copy(*seq),
            TxnWork::Mail { session, handle } => self.live_session(*session)?.enlisted_copy(*handle),
            TxnWork::Read(_) => None,
        });
        let posts = txn.posts.iter().map(|post| {
            let key = post.key.as_ref().and_then(|key| self.row_key(&post.session, key));
            PreparedPost { message: post.message.clone(), qos: post.qos, key }
        });
        Prepared { posts: posts.collect(), retires: retires.collect() }
    }

    /// Commits or rolls back what was prepared; doing it twice changes nothing.
    pub(crate) fn resolve(&self, gid: &Gid, commit: bool) -> Result<Stored> {
        let Some((id, mut txn)) = self.txns.take_prepared(self, gid) else {
            return Ok(Box::pin(std::future::ready(Ok(()))));
        };
        let op = Op::Resolve(gid.clone());
        if commit {
            let plans = txn.plans.take().unwrap_or_default();
            return Ok(self.apply(id, txn, plans, vec![op]));
        }
        self.undo(id, txn);
        Ok(self.store(vec![op]))
    }

    /// Takes a prepared transaction over from before a restart: its copies are held by it until it is resolved, and there is
    /// room for its messages.
    pub(crate) fn restore_prepared(&self, gid: Gid, prepared: Prepared) {
        let posts: Vec<Post> = prepared.posts.into_iter().map(|post| self.restore_post(post)).collect();
        let plans = posts.iter().filter_map(|post| self.plan_promised(post)).collect();
        let id = self.txns.restore(self, gid, posts, plans);
        for (copy, outcome) in prepared.retires {
            if let Some(queue) = self.registry.queue(copy.queue) {
                if let Some(attempt) = queue.hold_for(self, copy.seq, id, outcome) {
                    self.txns.restore_work(id, TxnWork::Held { queue, seq: copy.seq, attempt, slot: None });
                }
                continue;
            }
            let session = self.registry.named(|session| session.has_queue_id(copy.queue));
            if let Some(session) = session
                && let Some(handle) = session.hold_for(copy.seq, id, outcome)
            {
                self.txns.restore_work(id, TxnWork::Mail { session: session.id, handle });
            }
        }
    }

    fn restore_post(&self, post: PreparedPost) -> Post {
        let PreparedPost { message, qos, key } = post;
        let (session, key) = match key {
            Some(RowKey::SessionKey(principal, name, key)) => {
                (self.registry.lock().named.get(&principal, &name).cloned(), Some(key))
            }
            Some(RowKey::Name(_, name)) => (None, Some(Key::Name(name))),
            _ => (None, None),
        };
        let nobody = || {
            let origin = message.origin().cloned().unwrap_or_default();
            std::sync::Arc::new(SessionCore::new(0, None, origin, 0, 0))
        };
        Post { session: session.unwrap_or_else(nobody), message, qos, key }
    }

    /// The plan of a message that was promised before a restart: no bound of a queue stands against it.
    fn plan_promised(&self, post: &Post) -> Option<Plan> {
        if let Some(key) = &post.key {
            self.record(&post.session, key);
            self.decide(&post.session, key, &Outcome::Accepted, false);
        }
        let route = self.route(post.message.address()).ok()?;
        Plan::promised(self, &route, &post.message, post.qos, post.session.id).ok()
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
                Timer::Mail(id) => {
                    if let Some(session) = self.registry.session(id) {
                        session.read_again();
                    }
                }
                Timer::Queue(id) => self.handle_queue(id, now),
                Timer::Transaction(id) => {
                    self.meters.transactions_timed_out.one();
                    // A transaction that is gone needs nothing.
                    let _ = self.rollback(TxnId(id));
                }
                Timer::Names => self.names.forget_old(self, now),
                Timer::Logs => self.handle_logs(now),
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
        self.feed_back_all(missed);
        if idle {
            self.delete_queue(&queue);
        }
    }
}

/// The longest global name of a transaction, in bytes, as in XA.
const GID_BYTES_MAX: usize = 64;

fn rolled_back(why: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::RolledBack, "commit").detail(format!("the transaction was rolled back: {why}"))
}
