//! Transactions: declared and discharged on a link to the server's coordinator (Part 4).

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;

use bytes::{Bytes, BytesMut};
use roadbed_core::{Condition, Error, ErrorKind, Fut, Gid, Result, Scope, Transaction, TxnId};
use tokio::sync::oneshot;

use super::calls::{Answer, Call, Calls, Target};
use super::shared::{Alive, State, gone};
use super::state::{Kind, Link, LinkStage, Session};
use crate::codec::Control;

/// How many transactions that have ended are remembered, so that what comes too late is refused here.
const ENDED_MAX: usize = 1024;

/// The transactions of a client.
#[derive(Default)]
pub(super) struct Transactions {
    open: BTreeMap<TxnId, Open>,
    ended: VecDeque<TxnId>,
    made_up: u64,
}

struct Open {
    /// As the server calls it.
    name: Bytes,
    scope: Scope,
    session: u64,
}

/// The transactions that a session may use.
pub(super) struct Scoped<'a> {
    transactions: &'a Transactions,
    scope: Scope,
}

impl Transactions {
    pub(super) const fn scoped(&self, scope: Scope) -> Scoped<'_> {
        Scoped { transactions: self, scope }
    }

    /// A transaction that the server has declared.
    fn declared(&mut self, name: Bytes, scope: Scope, session: u64) -> TxnId {
        let id = crate::dialect::txn_id(&name).unwrap_or_else(|| {
            self.made_up += 1;
            TxnId(u64::MAX - self.made_up)
        });
        self.open.insert(id, Open { name, scope, session });
        id
    }

    fn end(&mut self, txn: TxnId) -> Option<Bytes> {
        let open = self.open.remove(&txn)?;
        self.ended.push_back(txn);
        if self.ended.len() > ENDED_MAX {
            self.ended.pop_front();
        }
        Some(open.name)
    }

    /// The control link of a session is gone: the server rolls back what was declared on it.
    pub(super) fn session_ended(&mut self, session: u64) -> alloc::vec::Vec<TxnId> {
        let gone: alloc::vec::Vec<_> =
            self.open.iter().filter(|(_, open)| open.session == session).map(|(&txn, _)| txn).collect();
        gone.iter().for_each(|&txn| drop(self.end(txn)));
        gone
    }
}

impl Scoped<'_> {
    /// The name of a transaction on the wire. One that was declared elsewhere is the server's to judge.
    pub(super) fn find(&self, txn: TxnId) -> Result<Bytes, Condition> {
        match self.transactions.open.get(&txn) {
            Some(open) if open.scope == self.scope => Ok(open.name.clone()),
            Some(_) => Err(Condition::Unauthorized),
            None if self.transactions.ended.contains(&txn) => Err(Condition::RolledBack),
            None => Ok(crate::dialect::txn_bytes(txn)),
        }
    }
}

/// Declares a transaction.
pub(super) fn declare(alive: &Arc<Alive>) -> Fut<Box<dyn Transaction>> {
    let alive = Arc::clone(alive);
    let (answer, declared) = oneshot::channel();
    let asked = call(
        &alive,
        "begin a transaction",
        Call { message: message(&Control::Declare { global: false }), answer: Answer::Declare(answer) },
    );
    Box::pin(async move {
        asked?;
        let name = declared.await.map_err(|_| gone("begin a transaction"))??;
        let shared = Arc::clone(&alive.shared);
        let id = shared.with(|state| {
            let scope = state.sessions.get(&alive.session).map(|session| session.terms.scope).unwrap_or_default();
            state.transactions.declared(name, scope, alive.session)
        });
        Ok(Box::new(Declared { alive, id, over: false }) as Box<dyn Transaction>)
    })
}

fn call(alive: &Alive, operation: &'static str, call: Call) -> Result<()> {
    let requests_max = alive.shared.config.requests_max;
    alive.shared.with(|state| {
        let link = state.next();
        let State { sessions, wakers, .. } = state;
        let session = sessions.get_mut(&alive.session).ok_or_else(|| gone(operation))?;
        session.check(operation)?;
        let link = session.control(link);
        let Some(Kind::Calls(calls)) = session.links.get_mut(&link).map(|link| &mut link.kind) else {
            return Err(gone(operation));
        };
        calls.push(call, requests_max, operation)?;
        session.touch(link);
        wakers.wake_driver();
        state.touch(alive.session);
        Ok(())
    })
}

impl Session {
    /// The control link, which is attached when it is first needed.
    fn control(&mut self, new: u64) -> u64 {
        let is_control = |link: &Link| {
            matches!(&link.kind, Kind::Calls(calls) if calls.target() == &Target::Coordinator)
                && !matches!(link.stage, LinkStage::Failed(_))
        };
        if let Some((&link, _)) = self.links.iter().find(|(_, link)| is_control(link)) {
            return link;
        }
        let name = self.unique_name("control", new);
        self.links.insert(new, Link::new(name, Kind::Calls(Calls::new(Target::Coordinator))));
        new
    }
}

/// A transaction of the server.
struct Declared {
    alive: Arc<Alive>,
    id: TxnId,
    over: bool,
}

impl Declared {
    fn discharge(&mut self, commit: bool) -> Result<oneshot::Receiver<Result<()>>> {
        self.over = true;
        let operation = if commit { "commit" } else { "roll back" };
        let Self { alive, id, .. } = self;
        let name = alive.shared.with(|state| {
            let name = state.transactions.end(*id);
            if !commit {
                state.rolled_back(*id);
            }
            name
        });
        let Some(name) = name else {
            let lost = Error::new(ErrorKind::RolledBack, operation);
            return Err(lost.detail("the connection was lost, which rolls back what it had declared"));
        };
        let (answer, discharged) = oneshot::channel();
        let answer = Answer::Discharge { txn: *id, commit, answer: Some(answer) };
        let message = message(&Control::Discharge { txn: name, fail: !commit });
        call(alive, operation, Call { message, answer })?;
        Ok(discharged)
    }
}

impl Transaction for Declared {
    fn id(&self) -> TxnId {
        self.id
    }

    fn commit(mut self: Box<Self>) -> Fut<()> {
        let asked = self.discharge(true);
        Box::pin(async move { asked?.await.map_err(|_| gone("commit"))? })
    }

    fn rollback(mut self: Box<Self>) -> Fut<()> {
        let asked = self.discharge(false);
        Box::pin(async move {
            match asked {
                Ok(asked) => asked.await.map_err(|_| gone("roll back"))?,
                Err(error) if error.kind() == ErrorKind::RolledBack => Ok(()),
                Err(error) => Err(error),
            }
        })
    }

    fn prepare(&mut self, _gid: Gid) -> Fut<()> {
        let error = Error::new(ErrorKind::NotSupported, "prepare");
        Box::pin(core::future::ready(Err(
            error.detail("AMQP 1.0 has no prepared transactions: such an endpoint can only be the last to commit")
        )))
    }
}

impl Drop for Declared {
    fn drop(&mut self) {
        if !self.over {
            // Nobody waits for it.
            let _ = self.discharge(false);
        }
    }
}

fn message(control: &Control) -> Bytes {
    let mut message = BytesMut::with_capacity(64);
    control.write(&mut message);
    message.freeze()
}
