//! The transactions that were declared over HTTP, until some time after their end.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytestring::ByteString;
use roadbed_core::{Error, ErrorKind, Fut, Result, Transaction, TxnId};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

/// How a transaction has ended.
#[derive(Clone, Debug)]
pub(in crate::server) enum End {
    Committed,
    RolledBack,
    /// It was to be committed, and could not be; or it took too long.
    Failed(Arc<Error>),
}

/// All of them, of all connections: a transaction belongs to its principal.
#[derive(Default)]
pub(in crate::server) struct Table(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    all: HashMap<TxnId, Entry>,
    /// Those that have ended, the oldest first.
    ended: VecDeque<TxnId>,
}

struct Entry {
    principal: ByteString,
    expires_at: Instant,
    /// Until somebody ends it.
    transaction: Option<Box<dyn Transaction>>,
    end: watch::Sender<Option<End>>,
}

/// What is known of one.
pub(in crate::server) struct Known {
    pub(in crate::server) expires_in: Duration,
    pub(in crate::server) end: Option<End>,
}

impl Table {
    /// Keeps a transaction for `principal`, until `window` after its end. Dropped, and so rolled back, if there are too many.
    pub(in crate::server) fn insert(
        self: &Arc<Self>,
        principal: ByteString,
        transaction: Box<dyn Transaction>,
        expires_in: Duration,
        elsewhere: Fut<bool>,
        bounds: (usize, Duration),
    ) -> Result<TxnId> {
        let (max, window) = bounds;
        let (id, expires_at) = (transaction.id(), Instant::now() + expires_in);
        let mut entries = self.lock();
        if entries.all.len() >= max && !entries.forget_oldest() {
            return Err(Error::new(ErrorKind::Exhausted, "declare").detail("too many transactions are open"));
        }
        let (end, ended) = watch::channel(None);
        entries.all.insert(id, Entry { principal, expires_at, transaction: Some(transaction), end });
        drop(entries);
        tokio::spawn(attend(Arc::downgrade(self), id, expires_at, elsewhere, ended, window));
        Ok(id)
    }

    /// What is known of a transaction of `principal`.
    pub(in crate::server) fn find(&self, id: TxnId, principal: &str) -> Option<Known> {
        let entries = self.lock();
        let entry = entries.all.get(&id).filter(|entry| entry.principal == principal)?;
        let expires_in = entry.expires_at.saturating_duration_since(Instant::now());
        Some(Known { expires_in, end: entry.end.borrow().clone() })
    }

    /// Ends a transaction of `principal`, or learns how somebody else ends it. It is ended even if nobody waits for it.
    /// `None` if there is none; whether it was this call that ended it.
    pub(in crate::server) async fn end(
        self: &Arc<Self>,
        id: TxnId,
        principal: &str,
        commit: bool,
    ) -> Option<(End, bool)> {
        let (transaction, mut ended) = {
            let mut entries = self.lock();
            let entry = entries.all.get_mut(&id).filter(|entry| entry.principal == principal)?;
            (entry.transaction.take(), entry.end.subscribe())
        };
        let mine = transaction.is_some();
        if let Some(transaction) = transaction {
            tokio::spawn(run(self.clone(), id, transaction, commit));
        }
        let end = ended.wait_for(Option::is_some).await.ok()?.clone();
        Some((end?, mine))
    }

    fn ended(&self, id: TxnId, end: End) {
        let mut entries = self.lock();
        if let Some(entry) = entries.all.get(&id) {
            entry.end.send_replace(Some(end));
            entries.ended.push_back(id);
        }
    }

    fn take(&self, id: TxnId) -> Option<Box<dyn Transaction>> {
        self.lock().all.get_mut(&id)?.transaction.take()
    }

    fn forget(&self, id: TxnId) {
        let mut entries = self.lock();
        entries.all.remove(&id);
        entries.ended.retain(|ended| *ended != id);
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn forget_oldest(&mut self) -> bool {
        let Some(oldest) = self.ended.pop_front() else { return false };
        self.all.remove(&oldest).is_some()
    }
}

async fn run(table: Arc<Table>, id: TxnId, transaction: Box<dyn Transaction>, commit: bool) {
    let end = match commit {
        true => match transaction.commit().await {
            Ok(()) => End::Committed,
            Err(error) => End::Failed(Arc::new(error)),
        },
        false => {
            // Giving up always succeeds: what is not there any more has been rolled back.
            let _ = transaction.rollback().await;
            End::RolledBack
        }
    };
    table.ended(id, end);
}

/// Rolls a transaction back when its time is over, notices if the endpoint has done so, and forgets it in the end.
async fn attend(
    table: Weak<Table>,
    id: TxnId,
    expires_at: Instant,
    elsewhere: Fut<bool>,
    mut ended: watch::Receiver<Option<End>>,
    window: Duration,
) {
    tokio::select! {
        biased;
        _ = ended.wait_for(Option::is_some) => {}
        () = over(expires_at, elsewhere) => {
            if let Some(table) = table.upgrade() && let Some(transaction) = table.take(id) {
                drop(transaction);
                let words = "the transaction was rolled back: it took too long";
                table.ended(id, End::Failed(Arc::new(Error::new(ErrorKind::RolledBack, "commit").detail(words))));
            }
        }
    }
    sleep(window).await;
    if let Some(table) = table.upgrade() {
        table.forget(id);
    }
}

/// The transaction has no more time, by its own word or the endpoint's.
async fn over(expires_at: Instant, elsewhere: Fut<bool>) {
    tokio::select! {
        () = sleep_until(expires_at) => {}
        Ok(_) = elsewhere => {}
    }
}
