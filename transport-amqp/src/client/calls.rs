//! Requests to nodes of the server: the coordinator of transactions, which answers by its disposition, and nodes that answer by a message.

use alloc::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use roadbed_core::{Error, ErrorKind, Result, TxnId};
use tokio::sync::oneshot;

use super::shared::{Ended, State as Clients};
use super::state::{Kind, Session};
use super::wire::Wire;
use super::words;
use crate::codec::State;
use crate::{LinkId, Sending};

/// Requests on one link.
pub(super) struct Calls {
    target: Target,
    waiting: VecDeque<Call>,
    asked: BTreeMap<u64, Answer>,
    last: u64,
}

/// Where requests go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Coordinator,
    Node(&'static str),
}

/// A request.
pub(super) struct Call {
    pub(super) message: Bytes,
    pub(super) answer: Answer,
}

/// Who is told of an answer.
pub(super) enum Answer {
    Declare(oneshot::Sender<Result<Bytes>>),
    Discharge {
        txn: TxnId,
        commit: bool,
        answer: Option<oneshot::Sender<Result<()>>>,
    },
    /// A reply comes on another link; here, only that none will, and why.
    Reply(oneshot::Sender<Error>),
}

impl Calls {
    pub(super) const fn new(target: Target) -> Self {
        Self { target, waiting: VecDeque::new(), asked: BTreeMap::new(), last: 0 }
    }

    pub(super) const fn target(&self) -> &Target {
        &self.target
    }

    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.asked.is_empty()
    }

    pub(super) fn push(&mut self, call: Call, requests_max: usize, operation: &'static str) -> Result<()> {
        if self.waiting.len() + self.asked.len() >= requests_max {
            let error = Error::new(ErrorKind::Exhausted, operation);
            return Err(error.detail(format_args!("at most {requests_max} requests may be under way")));
        }
        self.waiting.push_back(call);
        Ok(())
    }

    /// Writes what there is credit for.
    pub(super) fn write(&mut self, id: LinkId, wire: &mut Wire<'_>) {
        while wire.machine.room(id) > 0
            && let Some(call) = self.waiting.pop_front()
        {
            self.last += 1;
            let sending = Sending { cookie: Some(self.last), ..Sending::default() };
            match wire.machine.send_encoded(id, &call.message, sending, wire.out) {
                Ok(_) => {
                    self.asked.insert(self.last, call.answer);
                }
                Err(error) => call.answer.fail(&Ended::from(&Error::from(error))),
            }
        }
    }

    /// The connection is lost: what was declared is not there any more, and what was asked may have been done.
    pub(super) fn lost(&mut self) {
        let ended = Ended::new(ErrorKind::Disconnected, "the connection was lost before the server answered");
        core::mem::take(&mut self.asked).into_values().for_each(|answer| answer.fail(&ended));
    }

    /// The link is dead.
    pub(super) fn fail(&mut self, ended: &Ended) {
        let waiting = core::mem::take(&mut self.waiting).into_iter().map(|call| call.answer);
        waiting.chain(core::mem::take(&mut self.asked).into_values()).for_each(|answer| answer.fail(ended));
    }
}

impl Answer {
    fn fail(self, ended: &Ended) {
        match self {
            Self::Declare(answer) => drop(answer.send(Err(ended.error("begin a transaction")))),
            // What is gone has been rolled back.
            Self::Discharge { commit: false, answer: Some(answer), .. } => drop(answer.send(Ok(()))),
            Self::Discharge { answer: Some(answer), .. } => drop(answer.send(Err(ended.error("commit")))),
            Self::Discharge { answer: None, .. } => {}
            Self::Reply(failed) => drop(failed.send(no_node(ended))),
        }
    }
}

impl Clients {
    /// The server answers a request by its disposition.
    pub(super) fn call_answered(&mut self, session: u64, link: u64, cookie: u64, state: Option<&State>) {
        let Some(found) = self.sessions.get_mut(&session) else { return };
        let Some(Kind::Calls(calls)) = found.links.get_mut(&link).map(|link| &mut link.kind) else { return };
        let Some(asked) = calls.asked.remove(&cookie) else { return };
        found.touch(link);
        match (asked, state) {
            (Answer::Declare(answer), Some(State::Declared(name))) => drop(answer.send(Ok(name.clone()))),
            (Answer::Declare(answer), state) => drop(answer.send(Err(refused(state, "begin a transaction")))),
            (Answer::Discharge { txn, commit, answer }, state) => {
                let done = matches!(state, Some(State::Accepted));
                let result = if done { Ok(()) } else { Err(refused(state, "commit")) };
                match (commit, done) {
                    (true, false) => self.rolled_back(txn),
                    (true, true) => self.sessions.values_mut().for_each(|session| session.discharged(txn, true)),
                    (false, _) => {}
                }
                if let Some(answer) = answer {
                    let _ = answer.send(result);
                }
            }
            (Answer::Reply(_), None | Some(State::Accepted)) => {}
            (Answer::Reply(failed), state) => drop(failed.send(refused(state, "manage"))),
        }
    }

    /// A transaction has ended without effect.
    pub(super) fn rolled_back(&mut self, txn: TxnId) {
        self.sessions.values_mut().for_each(|session| session.rolled_back(txn));
    }
}

/// The link to a node of the server's own is dead.
fn no_node(ended: &Ended) -> Error {
    match ended.kind {
        ErrorKind::NotFound | ErrorKind::Invalid | ErrorKind::NotSupported => {
            Ended::new(ErrorKind::NotSupported, alloc::format!("the server has no such node: {}", ended.words))
                .error("manage")
        }
        _ => ended.error("manage"),
    }
}

fn refused(state: Option<&State>, operation: &'static str) -> Error {
    match state {
        Some(State::Rejected(Some(fault))) => words::error(fault, operation),
        _ => Error::new(ErrorKind::Unavailable, operation).detail("the server does not take the request"),
    }
}

impl Session {
    pub(super) fn write_calls(&mut self, link: u64, id: LinkId, wire: &mut Wire<'_>) {
        if let Some(Kind::Calls(calls)) = self.links.get_mut(&link).map(|link| &mut link.kind) {
            calls.write(id, wire);
        }
    }
}
