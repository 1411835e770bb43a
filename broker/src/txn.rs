//! Transactions: sends and settlements that happen together or not at all.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use roadbed_core::{
    Condition, Error, ErrorKind, Fut, Gid, Handle, Key, Message, Qos, Result, Scope, Transaction, TxnId,
};

use crate::broker::{Broker, Shared};
use crate::discharge::Outline;
use crate::lock;
use crate::mailbox::SessionCore;
use crate::queue::{Link, Queue};
use crate::timers::Timer;

/// A delivery that a transaction works on.
#[derive(Debug)]
pub(crate) enum TxnWork {
    /// A copy of a session's own queue.
    Mail { session: u64, handle: Handle },
    /// A copy that a queue holds, acquired by the transaction.
    Pulled { link: Arc<Link>, seq: u64, attempt: u32, session: u64, handle: Handle },
    /// A copy that a queue holds, with an outcome named.
    Held { queue: Arc<Queue>, seq: u64, attempt: u32, slot: Option<(u64, Handle)> },
}

/// A message that a transaction sends.
#[derive(Debug)]
pub(crate) struct Post {
    pub(crate) message: Message,
    pub(crate) qos: Qos,
    pub(crate) key: Option<Key>,
    pub(crate) session: Arc<SessionCore>,
}

/// The sends and deliveries of a transaction, for its record.
pub(crate) type Record = (Vec<(Message, Qos)>, Vec<Outline>);

/// An open transaction.
#[derive(Debug, Default)]
pub(crate) struct Txn {
    pub(crate) owner: (Scope, bytestring::ByteString),
    pub(crate) works: Vec<TxnWork>,
    pub(crate) posts: Vec<Post>,
    pub(crate) prepared: Option<Gid>,
}

/// All transactions that are open or prepared.
#[derive(Debug, Default)]
pub(crate) struct Txns {
    open: Mutex<BTreeMap<u64, Txn>>,
    next: AtomicU64,
}

impl Txns {
    pub(crate) fn begin(&self, shared: &Shared, session: &SessionCore) -> Result<TxnId> {
        let mut open = lock(&self.open);
        if open.len() >= shared.settings.transactions_max {
            return Err(Error::new(ErrorKind::Exhausted, "begin").detail("too many transactions are open"));
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        let owner = (session.scope, session.origin.principal.clone());
        open.insert(id, Txn { owner, ..Txn::default() });
        drop(open);
        let limit = Duration::from_secs(shared.settings.transaction_seconds_max);
        shared.timers.set(Timer::Transaction(id), shared.now() + limit);
        shared.meters.transactions.one();
        Ok(TxnId(id))
    }

    /// Whether there is such a transaction, and it can take more.
    pub(crate) fn check(&self, txn: TxnId) -> Result<()> {
        match lock(&self.open).get(&txn.0) {
            Some(found) if found.prepared.is_none() => Ok(()),
            Some(_) => Err(Error::new(ErrorKind::Conflict, "enlist").detail("the transaction is prepared")),
            None => Err(unknown("enlist")),
        }
    }

    /// Whether the session may use the transaction: principal and scope are those that began it.
    pub(crate) fn check_owner(&self, txn: TxnId, session: &SessionCore) -> Result<()> {
        let open = lock(&self.open);
        let found = open.get(&txn.0).ok_or_else(|| unknown("enlist"))?;
        match found.owner.0 == session.scope && found.owner.1 == session.origin.principal {
            true => Ok(()),
            false => Err(unknown("enlist")),
        }
    }

    /// Adds a delivery; unknown transactions are the caller's to have checked.
    pub(crate) fn enlist(&self, txn: TxnId, work: TxnWork) {
        if let Some(found) = lock(&self.open).get_mut(&txn.0) {
            found.works.push(work);
        }
    }

    pub(crate) fn post(&self, shared: &Shared, txn: TxnId, session: &SessionCore, post: Post) -> Result<(), Condition> {
        self.check_owner(txn, session).map_err(|_| Condition::NotFound)?;
        let mut open = lock(&self.open);
        let found = open.get_mut(&txn.0).filter(|txn| txn.prepared.is_none()).ok_or(Condition::NotFound)?;
        if found.posts.len() + found.works.len() >= shared.settings.transaction_operations_max {
            return Err(Condition::Full);
        }
        found.posts.push(post);
        Ok(())
    }

    /// Makes a transaction wait for its resolution. Its sends and deliveries, for its record.
    pub(crate) fn prepare(&self, shared: &Shared, txn: TxnId, gid: Gid) -> Result<Record> {
        let mut open = lock(&self.open);
        if open.values().any(|known| known.prepared.as_ref() == Some(&gid)) {
            return Err(Error::new(ErrorKind::Conflict, "prepare").detail("the global name is in use"));
        }
        let found = open.get_mut(&txn.0).ok_or_else(|| unknown("prepare"))?;
        found.prepared = Some(gid);
        shared.timers.cancel(Timer::Transaction(txn.0));
        let posts = found.posts.iter().map(|post| (post.message.clone(), post.qos)).collect();
        let works = found.works.iter().map(|work| match work {
            TxnWork::Mail { session, handle } => Outline::Mail(*session, *handle),
            TxnWork::Pulled { link, seq, .. } => Outline::Held(link.queue().clone(), *seq),
            TxnWork::Held { queue, seq, .. } => Outline::Held(queue.clone(), *seq),
        });
        Ok((posts, works.collect()))
    }

    /// The prepared transaction of this name, taken out.
    pub(crate) fn take_prepared(&self, shared: &Shared, gid: &Gid) -> Option<(TxnId, Txn)> {
        let id = {
            let open = lock(&self.open);
            *open.iter().find(|(_, txn)| txn.prepared.as_ref() == Some(gid))?.0
        };
        Some((TxnId(id), self.take(shared, TxnId(id))?))
    }

    pub(crate) fn in_doubt(&self) -> Vec<Gid> {
        let mut gids: Vec<Gid> = lock(&self.open).values().filter_map(|txn| txn.prepared.clone()).collect();
        gids.sort_unstable();
        gids
    }

    /// A transaction that was prepared before a restart.
    pub(crate) fn restore(&self, shared: &Shared, gid: Gid) -> TxnId {
        let id = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        lock(&self.open).insert(id, Txn { prepared: Some(gid), ..Txn::default() });
        shared.meters.transactions.one();
        TxnId(id)
    }

    pub(crate) fn restore_post(&self, txn: TxnId, message: Message, qos: Qos) {
        let origin = message.origin().cloned().unwrap_or_default();
        let session = Arc::new(SessionCore::new(0, None, origin, Scope::default(), 0));
        if let Some(found) = lock(&self.open).get_mut(&txn.0) {
            found.posts.push(Post { message, qos, key: None, session });
        }
    }

    pub(crate) fn take(&self, shared: &Shared, txn: TxnId) -> Option<Txn> {
        let taken = lock(&self.open).remove(&txn.0)?;
        shared.meters.transactions.sub(1);
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
    done: bool,
}

impl BrokerTransaction {
    pub(crate) fn new(broker: Broker, id: TxnId) -> Self {
        Self { broker, id, done: false }
    }
}

impl Transaction for BrokerTransaction {
    fn id(&self) -> TxnId {
        self.id
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
