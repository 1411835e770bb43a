//! The end of a transaction, and what else is due by itself.

use roadbed_core::{Error, ErrorKind, Gid, Key, Outcome, Result, Time, TxnId};

use crate::broker::Shared;
use crate::dispatch::Plan;
use crate::lock;
use crate::log::Moved;
use crate::mailbox::{Effects, SessionCore};
use crate::queue::Dead;
use crate::session::{Stored, committed};
use crate::store::{Op, Prepared, PreparedPost, RowKey};
use crate::timers::Timer;
use crate::txn::{Post, Read, Txn, TxnWork};
use crate::waiter::{Waiter, waiter};

impl Shared {
    /// Undoes everything; rolling back what has ended changes nothing.
    pub(crate) fn rollback(&self, id: TxnId) -> Result<()> {
        if let Some(txn) = self.txns.take(self, id) {
            self.undo(id, txn);
        }
        Ok(())
    }

    pub(crate) fn undo(&self, id: TxnId, mut txn: Txn) {
        self.meters.transactions_rolled_back.one();
        if txn.plans.take().is_some() {
            self.free_keys(&txn.posts);
        }
        let (mut effects, mut dead) = (Effects::default(), Vec::new());
        let works = std::mem::take(&mut txn.works);
        works.iter().for_each(|work| self.discharge(id, work, false, &mut effects, &mut dead));
        self.finish(effects, dead);
        txn.tell(false);
    }

    /// Undoes one delivery whose transaction had ended before it was enlisted.
    pub(crate) fn orphaned(&self, id: TxnId, work: &TxnWork) {
        let (mut effects, mut dead) = (Effects::default(), Vec::new());
        self.discharge(id, work, false, &mut effects, &mut dead);
        self.finish(effects, dead);
    }

    pub(crate) fn discharge(
        &self,
        id: TxnId,
        work: &TxnWork,
        commit: bool,
        effects: &mut Effects,
        dead: &mut Vec<Dead>,
    ) {
        let (queue, seq, attempt) = match work {
            TxnWork::Mail { session, handle } => {
                if let Some(session) = self.live_session(*session) {
                    session.discharge(self, *handle, id, commit, effects);
                }
                return;
            }
            TxnWork::Pulled { link, seq, attempt, .. } => (link.queue(), *seq, *attempt),
            TxnWork::Held { queue, seq, attempt, .. } => (queue, *seq, *attempt),
            TxnWork::Read(read) => return self.discharge_read(read, commit),
        };
        if queue.discharge(self, seq, attempt, id, commit, effects, dead) {
            self.free_slot(work);
        }
    }

    /// What a queue held has ended: its consumer's slot is free.
    pub(crate) fn free_slot(&self, work: &TxnWork) {
        let slot = match work {
            TxnWork::Pulled { session, handle, .. } => Some((*session, *handle)),
            TxnWork::Held { slot, .. } => *slot,
            TxnWork::Mail { .. } | TxnWork::Read(_) => None,
        };
        if let Some((session, handle)) = slot.and_then(|(session, handle)| Some((self.live_session(session)?, handle)))
        {
            lock(&session.inner).slab.remove(handle);
        }
    }

    /// The checkpoint has moved before, if it was to move.
    fn discharge_read(&self, read: &Read, commit: bool) {
        let slot = read.slot.and_then(|(session, handle)| Some((self.live_session(session)?, handle)));
        let has_it = slot.is_some_and(|(session, handle)| session.discharge_read(handle, commit));
        if !commit && !has_it {
            // Its reader has settled already: there is nobody who could name another outcome.
            read.reading.settled(read.position, &Outcome::Released);
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
        match self.plan_all(&mut txn.posts) {
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

    /// Commits or rolls back what was prepared; doing it twice changes nothing. What the store does not take stays prepared.
    pub(crate) fn resolve(&self, gid: &Gid, commit: bool) -> Result<Stored> {
        let Some((id, mut txn)) = self.txns.begin_resolve(gid)? else {
            return Ok(Box::pin(std::future::ready(Ok(()))));
        };
        let op = Op::Resolve(gid.clone());
        if commit {
            let plans = txn.plans.take().unwrap_or_default();
            return Ok(self.apply(id, txn, plans, vec![op], Moved::default()));
        }
        self.txns.end_resolve(self, id, &mut txn);
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

pub(crate) fn rolled_back(why: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::RolledBack, "commit").detail(format!("the transaction was rolled back: {why}"))
}
