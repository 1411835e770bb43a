//! What the handles of a client share with its driver: one small mutex, taken once per batch by each side.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::task::{Context, Waker};
use std::sync::{Mutex, PoisonError};

use bytestring::ByteString;
use roadbed_core::{Error, ErrorKind, Ledger, Result, SessionEvent};

use super::ClientConfig;
use super::counters::Counters;
use super::state::Session;
use super::transactions::Transactions;

/// A client's state with its mutex.
pub(super) struct Shared {
    pub(super) config: Arc<ClientConfig>,
    pub(super) counters: Counters,
    pub(super) ledger: Ledger,
    /// A session has ended, and nobody works on it any more.
    pub(super) finished: tokio::sync::Notify,
    state: Mutex<State>,
}

/// All sessions of a client, which share its connection.
#[derive(Default)]
pub(super) struct State {
    pub(super) sessions: BTreeMap<u64, Session>,
    /// Who has a name.
    pub(super) names: BTreeMap<ByteString, u64>,
    pub(super) transactions: Transactions,
    /// Sessions that something was done to since the driver looked at them.
    pub(super) touched: Vec<u64>,
    /// A driver runs.
    pub(super) driven: bool,
    /// Connections that are saying goodbye, since no session is left.
    pub(super) parting: u32,
    pub(super) wakers: Wakers,
    last: u64,
}

/// What is around a session.
pub(super) struct Around<'a> {
    pub(super) transactions: &'a Transactions,
    pub(super) wakers: &'a mut Wakers,
}

/// Who is to be woken: the driver, and those that the current turn has found.
#[derive(Default)]
pub(super) struct Wakers {
    driver: Option<Waker>,
    due: Vec<Waker>,
}

/// Why a session or a link has ended.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    pub(super) kind: ErrorKind,
    pub(super) words: String,
}

impl Shared {
    pub(super) fn new(config: Arc<ClientConfig>) -> Self {
        Self {
            config,
            counters: Counters::default(),
            ledger: Ledger::default(),
            finished: tokio::sync::Notify::new(),
            state: Mutex::default(),
        }
    }

    /// Works on the state, then wakes whom that concerns.
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        let (result, mut due) = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            (work(&mut state), core::mem::take(&mut state.wakers.due))
        };
        due.drain(..).for_each(Waker::wake);
        result
    }

    /// Resolves when `done` holds, which only the end of a session can bring about.
    pub(super) async fn until(&self, mut done: impl FnMut(&mut State) -> bool) {
        loop {
            let finished = self.finished.notified();
            tokio::pin!(finished);
            finished.as_mut().enable();
            if self.with(&mut done) {
                return;
            }
            finished.await;
        }
    }

    /// Works on a session, which the driver then looks at; an error of `operation` if it has ended.
    pub(super) fn with_session<T>(
        &self,
        session: u64,
        operation: &'static str,
        work: impl FnOnce(&mut Session, Around<'_>) -> Result<T>,
    ) -> Result<T> {
        self.with(|state| {
            let found = state.sessions.get_mut(&session).ok_or_else(|| gone(operation))?;
            found.check(operation)?;
            let around = Around { transactions: &state.transactions, wakers: &mut state.wakers };
            let result = work(found, around);
            if !found.touched.is_empty() {
                state.touch(session);
            }
            result
        })
    }
}

impl State {
    /// A number that no session or link of this client had before.
    pub(super) fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// The driver is to look at a session.
    pub(super) fn touch(&mut self, session: u64) {
        if self.touched.last() != Some(&session) {
            self.touched.push(session);
        }
        self.wakers.wake_driver();
    }

    /// Nobody works on a session any more; it is forgotten when nobody has a handle.
    pub(super) fn finished(&mut self, session: u64) {
        let Some(found) = self.sessions.get_mut(&session) else { return };
        found.finished = true;
        let name = found.terms.name.clone();
        if found.forsaken {
            self.sessions.remove(&session);
        }
        if let Some(name) = name
            && self.names.get(&name) == Some(&session)
        {
            self.names.remove(&name);
        }
    }

    /// Ends a session for all its handles; the first reason stands. It is gone when the driver has seen it.
    pub(super) fn end(&mut self, session: u64, ended: &Ended, event: Option<SessionEvent>) {
        let Some(found) = self.sessions.get_mut(&session) else { return };
        if let Some(event) = event {
            found.tell(event, &mut self.wakers);
        }
        found.end(ended, &mut self.wakers);
        for txn in self.transactions.session_ended(session) {
            self.rolled_back(txn);
        }
        self.touch(session);
    }
}

impl Wakers {
    /// The driver is to be polled again.
    pub(super) fn wake_driver(&mut self) {
        self.due.extend(self.driver.take());
    }

    /// Somebody is to be polled again.
    pub(super) fn wake(&mut self, waker: &mut Option<Waker>) {
        self.due.extend(waker.take());
    }

    pub(super) fn watch_driver(&mut self, cx: &Context<'_>) {
        if !self.driver.as_ref().is_some_and(|driver| driver.will_wake(cx.waker())) {
            self.driver = Some(cx.waker().clone());
        }
    }
}

impl Ended {
    pub(super) fn new(kind: ErrorKind, words: impl Into<String>) -> Self {
        Self { kind, words: words.into() }
    }

    pub(super) fn error(&self, operation: &'static str) -> Error {
        Error::new(self.kind, operation).detail(&self.words)
    }
}

impl From<&Error> for Ended {
    fn from(error: &Error) -> Self {
        Self::new(error.kind(), error.words().unwrap_or(error.kind().as_str()))
    }
}

pub(super) fn gone(operation: &'static str) -> Error {
    Error::new(ErrorKind::Closed, operation).detail("the session is closed")
}

/// What every handle of a session holds: when the last one is dropped, its connection counts as lost.
pub(super) struct Alive {
    pub(super) shared: Arc<Shared>,
    pub(super) session: u64,
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.shared.with(|state| {
            let ended = Ended::new(ErrorKind::Disconnected, "all handles of the session were dropped");
            state.end(self.session, &ended, None);
            let finished = state.sessions.get_mut(&self.session).is_some_and(|session| {
                session.forsaken = true;
                session.finished
            });
            if finished {
                state.sessions.remove(&self.session);
            }
        });
    }
}
