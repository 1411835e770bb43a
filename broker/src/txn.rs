//! Transactions: sends and settlements that happen together or not at all.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytestring::ByteString;
use hashbrown::HashMap;
use roadbed_core::{
    Condition, Error, ErrorKind, Fut, Gid, Handle, Key, Message, Outcome, Qos, Result, Scope, Time, Transaction, TxnId,
};

use crate::broker::{Broker, Shared};
use crate::dispatch::Plan;
use crate::lock;
use crate::log::Reading;
use crate::mailbox::SessionCore;
use crate::queue::{Link, Queue};
use crate::timers::Timer;
use crate::waiter::{Answer, Waiter, waiter};

/// A delivery that a transaction works on.
#[derive(Debug)]
pub(crate) enum TxnWork {
    /// A copy of a session's own queue.
    Mail { session: u64, handle: Handle },
    /// A copy that a queue holds, acquired by the transaction.
    Pulled { link: Arc<Link>, seq: u64, attempt: u32, session: u64, handle: Handle },
    /// A copy that a queue holds, with an outcome named.
    Held { queue: Arc<Queue>, seq: u64, attempt: u32, slot: Option<(u64, Handle)> },
    /// A message of a log.
    Read(Read),
}

/// A message of a log, with an outcome named: the checkpoint of its reader's group moves with the transaction.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) reading: Arc<Reading>,
    pub(crate) position: u64,
    pub(crate) outcome: Outcome,
    /// Where its reader has it still.
    pub(crate) slot: Option<(u64, Handle)>,
}

impl Read {
    fn is(&self, reading: &Arc<Reading>, position: u64) -> bool {
        Arc::ptr_eq(&self.reading, reading) && self.position == position
    }
}

/// A message that a transaction sends.
#[derive(Debug)]
pub(crate) struct Post {
    pub(crate) message: Message,
    pub(crate) qos: Qos,
    pub(crate) key: Option<Key>,
    pub(crate) session: Arc<SessionCore>,
}

impl Post {
    /// Whether the other is the same message again.
    pub(crate) fn repeats(&self, other: &Self) -> bool {
        let of_principal = |post: &Self| post.session.name.is_none() && matches!(post.key, Some(Key::Name(_)));
        let same_principal = || self.session.origin.principal == other.session.origin.principal;
        let same_sender = Arc::ptr_eq(&self.session, &other.session)
            || (of_principal(self) && of_principal(other) && same_principal());
        self.key.is_some() && self.key == other.key && same_sender
    }
}

/// Who may use a transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Owner {
    principal: ByteString,
    /// For nobody in particular: the connection.
    scope: Option<Scope>,
}

impl Owner {
    pub(crate) fn of(session: &SessionCore) -> Self {
        let principal = session.origin.principal.clone();
        let scope = principal.is_empty().then(|| session.scope());
        Self { principal, scope }
    }
}

/// An open transaction.
#[derive(Debug, Default)]
pub(crate) struct Txn {
    owner: Owner,
    pub(crate) works: Vec<TxnWork>,
    pub(crate) posts: Vec<Post>,
    /// What its sends hold in memory.
    bytes: usize,
    watchers: Vec<Answer<bool>>,
    prepared: Option<Gid>,
    /// What a prepared transaction sends, with the room for it; `None` while it is being prepared or resolved.
    pub(crate) plans: Option<Vec<Plan>>,
}

impl Txn {
    /// It has ended: tells whoever waits for that.
    pub(crate) fn tell(&mut self, committed: bool) {
        std::mem::take(&mut self.watchers).into_iter().for_each(|watcher| watcher.give(committed));
    }

    fn read(&mut self, reading: &Arc<Reading>, position: u64) -> Option<&mut Read> {
        self.works.iter_mut().find_map(|work| match work {
            TxnWork::Read(read) if read.is(reading, position) => Some(read),
            _ => None,
        })
    }

    /// Whether it has promised to be able to commit.
    pub(crate) const fn is_prepared(&self) -> bool {
        self.prepared.is_some()
    }

    fn operations(&self) -> usize {
        self.posts.len() + self.works.len()
    }
}

/// All transactions that are open or prepared.
#[derive(Debug, Default)]
pub(crate) struct Txns {
    open: Mutex<Open>,
    next: AtomicU64,
}

#[derive(Debug, Default)]
struct Open {
    all: BTreeMap<u64, Txn>,
    /// How many each principal has.
    counts: HashMap<ByteString, usize>,
}

impl Open {
    /// The transaction, if it can take more.
    fn usable(&mut self, txn: TxnId) -> Result<&mut Txn> {
        match self.all.get_mut(&txn.0) {
            Some(found) if found.prepared.is_none() => Ok(found),
            Some(_) => Err(Error::new(ErrorKind::Conflict, "enlist").detail("the transaction is prepared")),
            None => Err(unknown("enlist")),
        }
    }

    fn insert(&mut self, id: u64, txn: Txn) {
        *self.counts.entry(txn.owner.principal.clone()).or_default() += 1;
        self.all.insert(id, txn);
    }

    fn remove(&mut self, id: u64) -> Option<Txn> {
        let txn = self.all.remove(&id)?;
        if let Some(count) = self.counts.get_mut(&txn.owner.principal) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&txn.owner.principal);
            }
        }
        Some(txn)
    }
}

impl Txns {
    /// Begins a transaction; says when it is rolled back by itself.
    pub(crate) fn begin(&self, shared: &Shared, session: &SessionCore) -> Result<(TxnId, Time)> {
        let (owner, settings) = (Owner::of(session), &shared.settings);
        let mut open = lock(&self.open);
        let own = open.counts.get(&owner.principal).copied().unwrap_or_default();
        if open.all.len() >= settings.transactions_max || own >= settings.principal_transactions_max {
            return Err(Error::new(ErrorKind::Exhausted, "begin").detail("too many transactions are open"));
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        open.insert(id, Txn { owner, ..Txn::default() });
        drop(open);
        let expires_at = shared.now() + Duration::from_secs(settings.transaction_seconds_max);
        shared.timers.set(Timer::Transaction(id), expires_at);
        shared.meters.transactions.one();
        Ok((TxnId(id), expires_at))
    }

    /// Whether the session may use the transaction. A stranger learns no more than that there is none.
    pub(crate) fn check_owner(&self, txn: TxnId, session: &SessionCore) -> Result<()> {
        let owner = Owner::of(session);
        match lock(&self.open).all.get(&txn.0) {
            Some(found) if found.owner == owner => Ok(()),
            _ => Err(unknown("enlist")),
        }
    }

    /// Whether a transaction settles messages of logs.
    pub(crate) fn has_read(&self, txn: TxnId) -> bool {
        let open = lock(&self.open);
        open.all.get(&txn.0).is_some_and(|found| found.works.iter().any(|work| matches!(work, TxnWork::Read(_))))
    }

    /// Whether deliveries can be enlisted in the transaction.
    pub(crate) fn is_open(&self, txn: TxnId) -> bool {
        lock(&self.open).usable(txn).is_ok()
    }

    /// What waits for the end of a transaction that the session may use.
    pub(crate) fn watch(&self, txn: TxnId, session: &SessionCore) -> Result<Waiter<bool>> {
        let owner = Owner::of(session);
        let mut open = lock(&self.open);
        let found = open.all.get_mut(&txn.0).filter(|found| found.owner == owner);
        let (answer, waiter) = waiter();
        found.ok_or_else(|| unknown("wait for a transaction"))?.watchers.push(answer);
        Ok(waiter)
    }

    /// Adds a delivery. Its state changes after that, under the lock of its queue, which a discharge takes, too: so no
    /// delivery stays in a transaction that has ended meanwhile.
    pub(crate) fn enlist(&self, shared: &Shared, txn: TxnId, work: TxnWork) -> Result<()> {
        let mut open = lock(&self.open);
        let found = open.usable(txn)?;
        if found.operations() >= shared.settings.transaction_operations_max {
            return Err(Error::new(ErrorKind::Exhausted, "enlist").detail("the transaction has too many operations"));
        }
        found.works.push(work);
        Ok(())
    }

    /// Adds a message of a log; named again, its last outcome stands.
    pub(crate) fn enlist_read(&self, shared: &Shared, txn: TxnId, read: Read) -> Result<()> {
        {
            let mut open = lock(&self.open);
            let known = open.usable(txn)?.read(&read.reading, read.position);
            if let Some(known) = known {
                *known = read;
                return Ok(());
            }
        }
        self.enlist(shared, txn, TxnWork::Read(read))
    }

    /// Its reader has forgotten it.
    pub(crate) fn end_read(&self, txn: TxnId, reading: &Arc<Reading>, position: u64) {
        let mut open = lock(&self.open);
        if let Some(read) = open.all.get_mut(&txn.0).and_then(|found| found.read(reading, position)) {
            read.slot = None;
        }
    }

    pub(crate) fn post(&self, shared: &Shared, txn: TxnId, post: Post) -> Result<(), Condition> {
        let (settings, cost, owner) = (&shared.settings, post.message.cost(), Owner::of(&post.session));
        let mut open = lock(&self.open);
        let found = open.usable(txn).ok().filter(|found| found.owner == owner).ok_or(Condition::NotFound)?;
        let many = found.operations() >= settings.transaction_operations_max;
        let large = found.bytes.saturating_add(cost) > settings.transaction_bytes_max;
        if many || large || shared.meters.bytes.load() as usize > settings.bytes_max {
            return Err(Condition::Full);
        }
        found.bytes += cost;
        shared.meters.bytes.add(cost as u64);
        found.posts.push(post);
        Ok(())
    }

    /// From now on nothing can be added; the transaction, to be put back when it has promised to be able to commit.
    pub(crate) fn begin_prepare(&self, shared: &Shared, txn: TxnId, gid: &Gid) -> Result<Txn> {
        let mut open = lock(&self.open);
        if open.all.values().any(|known| known.prepared.as_ref() == Some(gid)) {
            return Err(Error::new(ErrorKind::Conflict, "prepare").detail("the global name is in use"));
        }
        let found = open.usable(txn)?;
        let meanwhile = Txn { owner: found.owner.clone(), prepared: Some(gid.clone()), ..Txn::default() };
        let mut taken = std::mem::replace(found, meanwhile);
        taken.prepared = Some(gid.clone());
        shared.timers.cancel(Timer::Transaction(txn.0));
        Ok(taken)
    }

    /// Gives it back if it was resolved meanwhile.
    pub(crate) fn put_back(&self, txn: TxnId, mut prepared: Txn) -> Option<Txn> {
        match lock(&self.open).all.get_mut(&txn.0) {
            None => Some(prepared),
            Some(found) => {
                // Whoever began to wait meanwhile.
                prepared.watchers.append(&mut found.watchers);
                *found = prepared;
                None
            }
        }
    }

    /// The prepared transaction of this name, if there is one. Its name stays in use until [`end_resolve`](Self::end_resolve), or until it is
    /// [put back](Self::put_back): whoever asks again meanwhile must not take it for resolved.
    pub(crate) fn begin_resolve(&self, gid: &Gid) -> Result<Option<(TxnId, Txn)>> {
        let mut open = lock(&self.open);
        let named = open.all.iter_mut().find(|(_, txn)| txn.prepared.as_ref() == Some(gid));
        let Some((id, found)) = named else { return Ok(None) };
        if found.plans.is_none() {
            return Err(Error::new(ErrorKind::Conflict, "resolve").detail("it is being prepared, or resolved"));
        }
        let meanwhile = Txn { owner: found.owner.clone(), prepared: Some(gid.clone()), ..Txn::default() };
        Ok(Some((TxnId(*id), std::mem::replace(found, meanwhile))))
    }

    /// It is resolved: its name is free. Whoever began to wait meanwhile is told together with the others.
    pub(crate) fn end_resolve(&self, shared: &Shared, txn: TxnId, resolved: &mut Txn) {
        if let Some(mut meanwhile) = self.take(shared, txn) {
            shared.meters.bytes.sub(std::mem::take(&mut resolved.bytes) as u64);
            resolved.watchers.append(&mut meanwhile.watchers);
        }
    }

    pub(crate) fn in_doubt(&self) -> Vec<Gid> {
        let mut gids: Vec<Gid> = lock(&self.open).all.values().filter_map(|txn| txn.prepared.clone()).collect();
        gids.sort_unstable();
        gids
    }

    /// A transaction that was prepared before a restart.
    pub(crate) fn restore(&self, shared: &Shared, gid: Gid, posts: Vec<Post>, plans: Vec<Plan>) -> TxnId {
        let id = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        lock(&self.open).insert(id, Txn { prepared: Some(gid), posts, plans: Some(plans), ..Txn::default() });
        shared.meters.transactions.one();
        TxnId(id)
    }

    /// Gives a delivery back to a transaction that was prepared before a restart.
    pub(crate) fn restore_work(&self, txn: TxnId, work: TxnWork) {
        if let Some(found) = lock(&self.open).all.get_mut(&txn.0) {
            found.works.push(work);
        }
    }

    pub(crate) fn take(&self, shared: &Shared, txn: TxnId) -> Option<Txn> {
        let taken = lock(&self.open).remove(txn.0)?;
        shared.meters.transactions.sub(1);
        shared.meters.bytes.sub(taken.bytes as u64);
        shared.timers.cancel(Timer::Transaction(txn.0));
        Some(taken)
    }
}

fn unknown(operation: &'static str) -> Error {
    Error::new(ErrorKind::NotFound, operation).detail("there is no such transaction")
}

/// A transaction of the broker; dropped, it rolls back.
#[derive(Debug)]
pub(crate) struct BrokerTransaction {
    broker: Broker,
    id: TxnId,
    expires_at: Time,
    done: bool,
}

impl BrokerTransaction {
    pub(crate) fn new(broker: Broker, id: TxnId, expires_at: Time) -> Self {
        Self { broker, id, expires_at, done: false }
    }
}

impl Transaction for BrokerTransaction {
    fn id(&self) -> TxnId {
        self.id
    }

    fn expires_at(&self) -> Option<Time> {
        Some(self.expires_at)
    }

    fn commit(mut self: Box<Self>) -> Fut<()> {
        self.done = true;
        let committed = self.broker.shared().commit(self.id);
        Box::pin(async move { committed?.await })
    }

    fn rollback(mut self: Box<Self>) -> Fut<()> {
        self.done = true;
        let rolled_back = self.broker.shared().rollback(self.id);
        Box::pin(std::future::ready(rolled_back))
    }

    fn prepare(&mut self, gid: Gid) -> Fut<()> {
        let prepared = self.broker.shared().prepare(self.id, gid);
        self.done = prepared.is_ok();
        Box::pin(async move { prepared?.await })
    }
}

impl Drop for BrokerTransaction {
    fn drop(&mut self) {
        if !self.done {
            // Rolling back what timed out meanwhile changes nothing.
            let _ = self.broker.shared().rollback(self.id);
        }
    }
}
