//! The commit of a transaction: what the store is told comes first, while all its copies are pinned; then it happens.

use std::sync::{Arc, Mutex};

use roadbed_core::{Outcome, Result, TxnId};

use crate::broker::Shared;
use crate::discharge::rolled_back;
use crate::dispatch::{Plan, Verdict};
use crate::lock;
use crate::log::{Moved, move_all};
use crate::mailbox::{Effects, Follow};
use crate::queue::Dead;
use crate::session::{Stored, committed};
use crate::store::Op;
use crate::txn::{Post, Txn, TxnWork};
use crate::waiter::{Waiter, waiter};

/// What the end of one delivery's part in a transaction will be.
#[derive(Debug, Default)]
pub(crate) struct Foretold {
    /// What the store is told of it.
    pub(crate) ops: Vec<Op>,
    /// It comes to a bad end, whatever becomes possible meanwhile.
    pub(crate) is_end: bool,
    /// Its dead letter is told to the store, too.
    pub(crate) dead: Option<Dead>,
}

/// A commit whose answer the store has yet to give.
struct Commit {
    id: TxnId,
    txn: Txn,
    plans: Vec<Plan>,
    /// One for each of the transaction's deliveries.
    foretold: Vec<Foretold>,
    moved: Moved,
    then: Vec<Follow>,
}

impl Shared {
    /// Applies everything of a transaction as one unit. If one message is refused, all is undone.
    pub(crate) fn commit(&self, id: TxnId) -> Result<Stored> {
        let Some(mut txn) = self.txns.take(self, id) else { return Err(rolled_back("it was rolled back before")) };
        let planned = self.plan_all(&mut txn.posts).and_then(|plans| match self.move_read(&txn.works) {
            Ok(moved) => Ok((plans, moved)),
            Err(why) => {
                self.free_keys(&txn.posts);
                Err(why)
            }
        });
        match planned {
            Ok((plans, moved)) => Ok(self.apply(id, txn, plans, Vec::new(), moved)),
            Err(why) => {
                self.undo(id, txn);
                Err(rolled_back(why))
            }
        }
    }

    /// Tells the store, then does what was planned. What the store does not take is undone, or stays prepared.
    pub(crate) fn apply(&self, id: TxnId, txn: Txn, plans: Vec<Plan>, mut ops: Vec<Op>, mut moved: Moved) -> Stored {
        let (mut effects, mut dead) = (Effects::default(), Vec::new());
        let foretold: Vec<_> = txn.works.iter().map(|work| self.foretell(id, work, &mut dead)).collect();
        self.bury_into(dead, &mut effects);
        ops.append(&mut moved.ops);
        ops.extend(foretold.iter().flat_map(|foretold| foretold.ops.iter().cloned()));
        ops.append(&mut effects.ops);
        ops.extend(txn.posts.iter().filter_map(|post| self.post_key(post)));
        let stored = !ops.is_empty() || plans.iter().any(|plan| plan.stored);
        let (answer, waiter): (_, Waiter<Result<()>>) = waiter();
        let commit = Commit { id, txn, plans, foretold, moved, then: effects.then };
        if !stored {
            commit.happens(self, move |result| answer.give(result));
            return Box::pin(waiter);
        }
        let slot = Arc::new(Mutex::new(Some(commit)));
        let planned = slot.clone();
        let make = || {
            if let Some(commit) = &mut *lock(&slot) {
                commit.plans.iter_mut().for_each(|plan| plan.ops(self, &mut ops));
            }
            (Vec::new(), ops)
        };
        let done = move |shared: &Self, result: Result<(), _>| {
            let Some(commit) = lock(&planned).take() else { return };
            if result.is_ok() {
                return commit.happens(shared, move |result| answer.give(result));
            }
            commit.does_not_happen(shared);
            answer.give(committed(result));
        };
        self.commits.submit(self, make, Box::new(done));
        Box::pin(waiter)
    }

    fn foretell(&self, id: TxnId, work: &TxnWork, dead: &mut Vec<Dead>) -> Foretold {
        let mut foretold = match work {
            TxnWork::Mail { session, handle } => {
                let ops = self.live_session(*session).map(|session| session.foretell(self, *handle, id));
                Foretold { ops: ops.unwrap_or_default(), ..Foretold::default() }
            }
            TxnWork::Pulled { link, seq, attempt, .. } => link.queue().foretell(self, *seq, *attempt, id),
            TxnWork::Held { queue, seq, attempt, .. } => queue.foretell(self, *seq, *attempt, id),
            TxnWork::Read(_) => Foretold::default(),
        };
        dead.extend(foretold.dead.take());
        foretold
    }

    /// Moves the checkpoints of what a transaction has read, all or none.
    fn move_read(&self, works: &[TxnWork]) -> Result<Moved, String> {
        let read = works.iter().filter_map(|work| match work {
            TxnWork::Read(read) => Some((&read.reading, read.position, &read.outcome)),
            _ => None,
        });
        move_all(self, &read.collect::<Vec<_>>())
    }

    /// Finds a place for every message, and leaves out what was sent before; or says why one has none, then their keys are free again.
    pub(crate) fn plan_all(&self, posts: &mut Vec<Post>) -> Result<Vec<Plan>, String> {
        let mut plans = Vec::with_capacity(posts.len());
        for post in std::mem::take(posts) {
            match self.plan_post(&post, posts) {
                Ok(Some(plan)) => {
                    plans.push(plan);
                    posts.push(post);
                }
                Ok(None) => {}
                Err(why) => {
                    self.free_keys(posts);
                    posts.clear();
                    return Err(why);
                }
            }
        }
        Ok(plans)
    }

    /// The messages are where they belong: whoever sends one again learns that.
    fn accept_keys(&self, posts: &[Post]) {
        for (post, key) in posts.iter().filter_map(|post| Some((post, post.key.as_ref()?))) {
            self.decide(&post.session, key, &Outcome::Accepted, false);
        }
    }

    pub(crate) fn free_keys(&self, posts: &[Post]) {
        for (post, key) in posts.iter().filter_map(|post| Some((post, post.key.as_ref()?))) {
            self.decide(&post.session, key, &Outcome::Released, true);
        }
    }

    /// The plan of one message; `None` if it was sent before. `earlier` are those of its transaction before it.
    fn plan_post(&self, post: &Post, earlier: &[Post]) -> Result<Option<Plan>, String> {
        if let Some(key) = &post.key {
            if let Some(row) = self.key(&post.session, key) {
                if row.outcome.is_none() && !earlier.iter().any(|earlier| earlier.repeats(post)) {
                    return Err("a message of the same key is under way, and may yet be refused".into());
                }
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
        if let (Some(key), Err(_)) = (&post.key, &plan) {
            self.decide(&post.session, key, &Outcome::Released, true);
        }
        plan.map(Some).map_err(|verdict| format!("{address}: {}", verdict.outcome().0))
    }

    fn post_key(&self, post: &Post) -> Option<Op> {
        let stored = self.is_stored(&post.message, post.qos);
        post.key.as_ref().filter(|_| stored).and_then(|key| self.key_op(&post.session, key))
    }
}

impl Commit {
    /// The store has it, or has no part in it. What came in between and goes beyond what was foretold follows, and the answer follows that.
    fn happens(mut self, shared: &Shared, answer: impl FnOnce(Result<()>) + Send + 'static) {
        shared.meters.transactions_committed.one();
        let (mut effects, mut dead) = (Effects::default(), Vec::new());
        for (work, foretold) in std::mem::take(&mut self.txn.works).iter().zip(&self.foretold) {
            self.end(shared, work, foretold, &mut effects, &mut dead);
        }
        shared.bury_into(dead, &mut effects);
        shared.meters.hot().accepted.add(effects.accepted);
        self.plans.into_iter().for_each(|plan| plan.apply(shared));
        shared.accept_keys(&self.txn.posts);
        self.then.into_iter().for_each(|then| then(shared));
        let mut txn = self.txn;
        if txn.is_prepared() {
            shared.txns.end_resolve(shared, self.id, &mut txn);
        }
        let (ops, then) = (effects.ops, effects.then);
        if ops.is_empty() {
            txn.tell(true);
            return answer(Ok(()));
        }
        let done = move |shared: &Shared, result: Result<(), _>| {
            then.into_iter().for_each(|then| then(shared));
            txn.tell(true);
            answer(committed(result));
        };
        shared.commits.submit(shared, || (Vec::new(), ops), Box::new(done));
    }

    fn end(&self, shared: &Shared, work: &TxnWork, foretold: &Foretold, effects: &mut Effects, dead: &mut Vec<Dead>) {
        let mut own = Effects::default();
        match work {
            TxnWork::Pulled { link, seq, attempt, .. } if foretold.is_end => {
                link.queue().end_as_foretold(shared, *seq, *attempt, self.id, &mut own);
                shared.free_slot(work);
            }
            TxnWork::Held { queue, seq, attempt, .. } if foretold.is_end => {
                queue.end_as_foretold(shared, *seq, *attempt, self.id, &mut own);
                shared.free_slot(work);
            }
            _ => shared.discharge(self.id, work, true, &mut own, dead),
        }
        own.ops.retain(|op| !foretold.ops.iter().any(|told| says_the_same(op, told)));
        effects.ops.append(&mut own.ops);
        effects.accepted += own.accepted;
    }

    /// The store has not taken it: copies are their consumers' again, and keys are free, unless it stays prepared.
    fn does_not_happen(mut self, shared: &Shared) {
        let ops = self.moved.back();
        if !ops.is_empty() {
            shared.commits.submit_unawaited(shared, ops);
        }
        if !self.txn.is_prepared() {
            shared.free_keys(&self.txn.posts);
            return shared.undo(self.id, self.txn);
        }
        self.txn.plans = Some(std::mem::take(&mut self.plans));
        if let Some(txn) = shared.txns.put_back(self.id, self.txn) {
            shared.undo(self.id, txn);
        }
    }
}

/// Whether the store is told the same of the end of one delivery.
fn says_the_same(op: &Op, told: &Op) -> bool {
    match (op, told) {
        (Op::Retire { copy }, Op::Retire { copy: other }) => copy == other,
        (Op::Own { copy, outcome, .. }, Op::Own { copy: other, outcome: decided, .. }) => {
            (copy, outcome) == (other, decided)
        }
        (Op::Return { copy, count, .. }, Op::Return { copy: other, count: counted, .. }) => {
            (copy, count) == (other, counted)
        }
        (Op::Put(key, _), Op::Put(other, _)) => key == other,
        _ => false,
    }
}
