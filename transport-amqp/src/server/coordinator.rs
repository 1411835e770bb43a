//! Transactions of a connection: declare and discharge.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::task::{Context, Poll, Waker};

use roadbed_core::{Error, ErrorKind, Fut, Handle, Output, Session, Time, Transaction, TxnId};

use crate::codec::{Control, Fault, GuardLimits, State};
use crate::dialect::{txn_bytes, txn_id};
use crate::{Incoming, LinkId, Machine, dialect};

/// The transactions that a connection uses, and what waits for the endpoint.
#[derive(Default)]
pub(super) struct Transactions {
    open: BTreeMap<TxnId, Open>,
    asked: Vec<Asked>,
}

struct Open {
    origin: Origin,
    /// By link and number: the last outcome named counts.
    retired: BTreeMap<(LinkId, u64), Retired>,
    acquired: Vec<Retired>,
}

/// Where a transaction was declared, which is where it ends.
enum Origin {
    /// By a controller of this connection.
    Here { control: LinkId, transaction: Box<dyn Transaction> },
    /// By the same principal elsewhere, over any protocol.
    Elsewhere(Fut<bool>),
}

/// A delivery whose outcome waits for the discharge, and whose receiver has not settled it.
pub(super) struct Retired {
    pub(super) link: LinkId,
    pub(super) delivery: u64,
    pub(super) handle: Handle,
    pub(super) state: State,
}

struct Asked {
    control: LinkId,
    delivery: u64,
    work: Work,
}

enum Work {
    Declare(Fut<Box<dyn Transaction>>),
    /// Retired deliveries are settled after a commit, acquired ones released after a rollback.
    Discharge {
        done: Fut<()>,
        commit: bool,
        /// It took too long.
        late: bool,
        retired: Vec<Retired>,
        acquired: Vec<Retired>,
    },
    /// Known to fail already; answered in its turn.
    Refuse(Fault),
}

impl Transactions {
    /// Whether the peer may use the transaction: it was declared here, or the endpoint says so.
    pub(super) fn admits(&mut self, txn: TxnId, session: &dyn Session, transactions_max: usize) -> bool {
        if self.open.contains_key(&txn) {
            return true;
        }
        if self.open.len() >= transactions_max {
            return false;
        }
        let mut ended = session.discharged(txn);
        // An endpoint far away answers later, and refuses what is sent in the meantime.
        if ended.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
            return false;
        }
        self.open.insert(txn, Open::new(Origin::Elsewhere(ended)));
        true
    }

    pub(super) fn waiting(&self) -> usize {
        self.asked.len()
    }

    pub(super) fn retire(&mut self, txn: TxnId, retired: Retired) {
        if let Some(open) = self.open.get_mut(&txn) {
            open.retired.insert((retired.link, retired.delivery), retired);
        }
    }

    /// A delivery belongs to a transaction since it was sent.
    pub(super) fn acquire(&mut self, txn: TxnId, acquired: Retired) {
        if let Some(open) = self.open.get_mut(&txn) {
            open.acquired.push(acquired);
        }
    }

    /// The control link of a transaction to which a delivery cannot come, since it is in another one that is not discharged (Part 4, section 4.4.2);
    /// `Some(None)` if that link is not here.
    pub(super) fn conflict(&self, txn: TxnId, link: LinkId, delivery: u64) -> Option<Option<LinkId>> {
        if self.open.len() < 2 {
            return None;
        }
        let holds = |open: &Open| {
            let acquired = || open.acquired.iter().any(|held| (held.link, held.delivery) == (link, delivery));
            open.retired.contains_key(&(link, delivery)) || acquired()
        };
        let elsewhere = self.open.iter().any(|(&other, open)| other != txn && holds(open));
        self.open.get(&txn).filter(|_| elsewhere).map(Open::control)
    }

    /// Takes a message of a controller.
    ///
    /// # Errors
    /// What ends the control link, and rolls back what was declared on it.
    pub(super) fn hear(
        &mut self,
        session: &dyn Session,
        transactions_max: usize,
        now: Time,
        machine: &Machine,
        incoming: &Incoming,
    ) -> Result<(), Fault> {
        if incoming.settled {
            return Err(Fault::new("amqp:not-allowed", "nobody would hear what became of it"));
        }
        let message = dialect::Encoded::new(incoming.pieces.clone()).to_bytes();
        let work = match Control::read(&message, &GuardLimits::default()) {
            Err(error) => Work::Refuse(Fault::new("amqp:decode-error", alloc::format!("{error}"))),
            Ok(Control::Declare { global: true }) => {
                Work::Refuse(Fault::new("amqp:not-implemented", "transactions have no global names here"))
            }
            Ok(Control::Declare { .. }) if self.open.len() + self.asked.len() >= transactions_max => {
                Work::Refuse(Fault::new("amqp:resource-limit-exceeded", "too many transactions are open"))
            }
            Ok(Control::Declare { .. }) => Work::Declare(session.transaction()),
            Ok(Control::Discharge { txn, fail }) => match txn_id(&txn).filter(|&txn| self.is_ours(txn)) {
                None => Work::Refuse(unknown()),
                Some(txn) if !fail && machine.is_posting(txn) => {
                    return Err(rolled_back("a message of it has not come whole"));
                }
                Some(txn) => {
                    let open = self.open.remove(&txn);
                    open.and_then(|open| open.discharge(fail, now)).unwrap_or_else(|| Work::Refuse(unknown()))
                }
            },
        };
        self.asked.push(Asked { control: incoming.link, delivery: incoming.delivery, work });
        Ok(())
    }

    /// Answers what the endpoint has done; says whether anything was. What was retired by a commit is appended to `retired`.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        machine: &mut Machine,
        retired: &mut Vec<Retired>,
        out: &mut Output,
    ) -> bool {
        let (mut moved, mut waiting) = (self.poll_elsewhere(cx, retired), Vec::new());
        for mut asked in core::mem::take(&mut self.asked) {
            let state = match asked.poll(cx, &mut self.open, retired) {
                Poll::Pending => {
                    waiting.push(asked);
                    continue;
                }
                Poll::Ready(state) => state,
            };
            machine.answer(asked.control.session, asked.delivery, state, out);
            moved = true;
        }
        self.asked = waiting;
        moved
    }

    /// The control link has ended: what was declared on it rolls back (Part 4, section 4.2).
    pub(super) fn end(&mut self, control: LinkId) {
        self.open.retain(|_, open| open.control() != Some(control));
        self.asked.retain(|asked| asked.control != control || matches!(asked.work, Work::Discharge { .. }));
    }

    /// Whether it was declared here, and so ends here.
    fn is_ours(&self, txn: TxnId) -> bool {
        self.open.get(&txn).is_some_and(|open| open.control().is_some())
    }

    /// What follows from the end of transactions that were declared elsewhere. Whether one has ended.
    fn poll_elsewhere(&mut self, cx: &mut Context<'_>, retired: &mut Vec<Retired>) -> bool {
        let before = self.open.len();
        self.open.retain(|_, open| {
            let Origin::Elsewhere(ended) = &mut open.origin else { return true };
            let Poll::Ready(ended) = ended.as_mut().poll(cx) else { return true };
            match ended {
                Ok(true) => retired.extend(core::mem::take(&mut open.retired).into_values()),
                _ => retired.append(&mut open.acquired),
            }
            false
        });
        self.open.len() < before
    }
}

impl Open {
    fn new(origin: Origin) -> Self {
        Self { origin, retired: BTreeMap::new(), acquired: Vec::new() }
    }

    fn control(&self) -> Option<LinkId> {
        match self.origin {
            Origin::Here { control, .. } => Some(control),
            Origin::Elsewhere(_) => None,
        }
    }

    fn discharge(self, fail: bool, now: Time) -> Option<Work> {
        let Self { origin: Origin::Here { transaction, .. }, retired, acquired } = self else { return None };
        let late = transaction.expires_at().is_some_and(|at| at.has_passed(now));
        let done = if fail { transaction.rollback() } else { transaction.commit() };
        Some(Work::Discharge { done, commit: !fail, late, retired: retired.into_values().collect(), acquired })
    }
}

impl Asked {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        open: &mut BTreeMap<TxnId, Open>,
        retired: &mut Vec<Retired>,
    ) -> Poll<State> {
        match &mut self.work {
            Work::Refuse(fault) => Poll::Ready(State::Rejected(Some(fault.clone()))),
            Work::Declare(declared) => declared.as_mut().poll(cx).map(|declared| match declared {
                Err(error) => State::Rejected(Some(dialect::error_fault(&error))),
                Ok(transaction) => {
                    let id = transaction.id();
                    open.insert(id, Open::new(Origin::Here { control: self.control, transaction }));
                    State::Declared(txn_bytes(id))
                }
            }),
            Work::Discharge { done, commit, late, retired: due, acquired } => {
                done.as_mut().poll(cx).map(|done| match done {
                    Ok(()) if *commit => {
                        retired.append(due);
                        State::Accepted
                    }
                    // Giving up always succeeds: what is not there any more has been rolled back.
                    done => {
                        retired.append(acquired);
                        match done {
                            Err(error) if *commit => State::Rejected(Some(refused(&error, *late))),
                            _ => State::Accepted,
                        }
                    }
                })
            }
        }
    }
}

pub(super) fn unknown() -> Fault {
    Fault::new("amqp:transaction:unknown-id", "there is no such transaction")
}

/// The transaction was rolled back for what its controller did.
pub(super) fn rolled_back(words: &str) -> Fault {
    Fault::new(ROLLBACK, words)
}

const ROLLBACK: &str = "amqp:transaction:rollback";

/// A commit that did not come about (Part 4, section 4.5.8).
fn refused(error: &Error, late: bool) -> Fault {
    let condition = if late || error.kind() == ErrorKind::TimedOut { "amqp:transaction:timeout" } else { ROLLBACK };
    Fault::new(condition, alloc::format!("{error}"))
}
