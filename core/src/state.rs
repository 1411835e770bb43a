//! The delivery machine: where one attempt stands, at either end of a hop.
//!
//! Every server, client and bridge runs this machine; a protocol only says which [`Event`] a frame is. The whole
//! table, with every pair that is not legal, is a snapshot of `tests/transitions.rs`.

use crate::{Outcome, TxnId};

/// What a transaction does to a delivery.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Work {
    /// The message is sent within the transaction.
    Post,
    /// The delivery belongs to the transaction since its transfer, with the outcome named since.
    Acquire(Option<Outcome>),
    /// The outcome is applied at commit.
    Retire(Outcome),
}

/// Where a delivery stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum DeliveryState {
    /// Not sent yet.
    #[default]
    Ready,
    /// Sent; no outcome is known.
    InFlight,
    /// Pinned by a transaction until its discharge.
    Enlisted {
        /// The transaction.
        txn: TxnId,
        /// What it does.
        work: Work,
        /// The outcome then due if the link has ended meanwhile.
        ended: Option<Outcome>,
    },
    /// The outcome is known and can no longer change; the sender has yet to confirm it.
    Decided(Outcome),
    /// At its end.
    Settled(Outcome),
}

/// What happens to a delivery.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// It is sent, or sent again.
    Transfer {
        /// No answer is expected.
        settled: bool,
    },
    /// The receiver names its outcome.
    Dispose {
        /// The outcome.
        outcome: Outcome,
        /// The receiver has forgotten it.
        settled: bool,
    },
    /// It joins a transaction.
    Enlist {
        /// The transaction.
        txn: TxnId,
        /// What the transaction does.
        work: Work,
    },
    /// Its transaction ends.
    Discharge {
        /// The transaction.
        txn: TxnId,
        /// Commit, or roll back.
        commit: bool,
    },
    /// The other end forgets it.
    Settle,
    /// Its owner is gone or out of time; the outcome is the link's default.
    Lapse(Outcome),
}

/// What a transition means beyond its new state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Note {
    /// The state has moved.
    Moved,
    /// Nothing new: say your answer again.
    Repeat,
    /// The delivery was settled before: HTTP 412; count it.
    Late,
}

/// An event that cannot happen in this state: the caller's error, or its peer's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a delivery that is {state:?} cannot take {event:?}")]
pub struct InvalidTransition {
    /// The state, unchanged.
    pub state: DeliveryState,
    /// The event that was refused.
    pub event: Event,
}

impl DeliveryState {
    /// Applies `event`.
    ///
    /// # Errors
    /// [`InvalidTransition`] for a pair that no protocol may produce; the state is in it.
    pub fn on(self, event: Event) -> Result<(Self, Note), InvalidTransition> {
        use DeliveryState as S;
        use Event as E;
        let moved = |state| Ok((state, Note::Moved));
        match (self, event) {
            (state @ S::Settled(_), _) => Ok((state, Note::Late)),

            (S::Ready, E::Transfer { settled: true }) => moved(S::Settled(Outcome::Accepted)),
            (S::Ready, E::Transfer { settled: false }) => moved(S::InFlight),
            (S::InFlight, E::Transfer { settled: true } | E::Settle) => moved(S::Settled(Outcome::Accepted)),
            (state, E::Transfer { settled: false }) => Ok((state, Note::Repeat)),

            (S::InFlight, E::Dispose { outcome, settled: true }) => moved(S::Settled(outcome)),
            (S::InFlight, E::Dispose { outcome, settled: false }) => moved(S::Decided(outcome)),
            (state @ S::Decided(_), E::Dispose { settled: false, .. }) => Ok((state, Note::Repeat)),
            (S::Decided(first), E::Dispose { settled: true, .. } | E::Settle | E::Lapse(_)) => moved(S::Settled(first)),

            (S::Ready, E::Enlist { txn, work: work @ (Work::Post | Work::Acquire(None)) })
            | (S::InFlight, E::Enlist { txn, work: work @ (Work::Post | Work::Retire(_)) }) => {
                moved(S::Enlisted { txn, work, ended: None })
            }
            (S::Enlisted { txn, work, ended }, E::Enlist { txn: other, work: Work::Retire(outcome) })
                if txn == other && work != Work::Post =>
            {
                moved(S::Enlisted { txn, work: renamed(&work, outcome), ended })
            }
            // Settled without an outcome: nothing says that it was handled, so a rollback gives it back.
            (S::Enlisted { txn, work, .. }, E::Settle) => {
                moved(S::Enlisted { txn, work, ended: Some(Outcome::Released) })
            }
            (S::Enlisted { txn, work, .. }, E::Lapse(outcome)) => {
                moved(S::Enlisted { txn, work, ended: Some(outcome) })
            }
            (S::Enlisted { txn, work, ended }, E::Discharge { txn: other, commit }) if txn == other => {
                moved(if commit { committed(work, ended) } else { rolled_back(&work, ended) })
            }

            (S::InFlight, E::Lapse(outcome)) => moved(S::Settled(outcome)),
            (S::Ready, E::Lapse(_)) => moved(S::Settled(Outcome::Released)),
            (state, event) => Err(InvalidTransition { state, event }),
        }
    }

    /// The outcome, once it can no longer change.
    pub const fn outcome(&self) -> Option<&Outcome> {
        match self {
            Self::Decided(outcome) | Self::Settled(outcome) => Some(outcome),
            _ => None,
        }
    }
}

/// The last outcome named within a transaction wins.
fn renamed(work: &Work, outcome: Outcome) -> Work {
    match work {
        Work::Acquire(_) => Work::Acquire(Some(outcome)),
        _ => Work::Retire(outcome),
    }
}

fn committed(work: Work, ended: Option<Outcome>) -> DeliveryState {
    match (work, ended) {
        (Work::Post, _) => DeliveryState::Settled(Outcome::Accepted),
        (Work::Retire(outcome) | Work::Acquire(Some(outcome)), None) => DeliveryState::Decided(outcome),
        (Work::Retire(outcome) | Work::Acquire(Some(outcome)), Some(_)) => DeliveryState::Settled(outcome),
        (Work::Acquire(None), None) => DeliveryState::InFlight,
        (Work::Acquire(None), Some(ended)) => DeliveryState::Settled(ended),
    }
}

fn rolled_back(work: &Work, ended: Option<Outcome>) -> DeliveryState {
    match (work, ended) {
        (Work::Post | Work::Acquire(_), _) => DeliveryState::Settled(Outcome::Released),
        (Work::Retire(_), None) => DeliveryState::InFlight,
        (Work::Retire(_), Some(ended)) => DeliveryState::Settled(ended),
    }
}
