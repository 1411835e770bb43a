//! The states of a copy: the second machine beside the core's delivery machine, which runs inside [`CopyState::Held`].
//!
//! The table is total: every state with every event has its row, or is `n/a` ([`NotApplicable`]). The whole of it is a snapshot
//! of `tests/copy_table.rs`.

use roadbed_core::{Condition, DeliveryState, Event, Note, Outcome, TxnId, Work};

/// Where a message in a queue stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CopyState {
    /// It waits for its time ([`Details::deliver_after`](roadbed_core::Details)).
    Scheduled,
    /// It waits for a consumer.
    Available,
    /// A consumer has it.
    Held(DeliveryState),
    /// It has come to its end.
    Retired {
        /// How.
        outcome: Outcome,
        /// What becomes of it: nothing, or a dead letter for this reason.
        dead: Option<Condition>,
    },
}

/// What happens to a copy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CopyEvent {
    /// Its time has come.
    Due,
    /// It is assigned to a consumer, perhaps by a transaction; `settled`: no answer is expected.
    Acquire {
        /// The transaction that acquires it.
        txn: Option<TxnId>,
        /// No answer is expected.
        settled: bool,
    },
    /// Something happens to its delivery.
    Delivery(Event),
    /// The delivery has ended as Released or Modified, and the copy's count has reached its bound.
    CountReached,
    /// Its lease ends.
    LeaseEnds,
    /// Its lease starts anew.
    Renew,
    /// Its owner is gone: the link, or the session that outlived its connection. The outcome is the link's default.
    OwnerGone(Outcome),
    /// Its time to live ends.
    Expire,
    /// An administrator removes what is available.
    Purge,
    /// A newer copy takes its place.
    Displace,
    /// No consumer is left that may have it.
    NobodyLeft,
    /// The queue is deleted.
    Delete,
    /// The broker starts again. A hold is as durable as its record.
    Replay {
        /// The hold, or the decision, was stored.
        stored: bool,
    },
}

/// A pair that cannot happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotApplicable;

impl CopyState {
    /// Applies `event`.
    ///
    /// # Errors
    /// [`NotApplicable`] for a pair that cannot happen; the copy stays as it is.
    pub fn on(&self, event: CopyEvent) -> Result<(Self, Note), NotApplicable> {
        use CopyEvent as E;
        let moved = |state| Ok((state, Note::Moved));
        let same = || Ok((self.clone(), Note::Repeat));
        match (self, event) {
            (Self::Retired { .. }, _) => Ok((self.clone(), Note::Late)),

            (Self::Scheduled, E::Due) => moved(Self::Available),
            (Self::Scheduled | Self::Available, E::Expire) => moved(dead(Condition::Expired)),
            (Self::Scheduled | Self::Available, E::Purge) => moved(gone(Condition::Purged)),
            (Self::Scheduled | Self::Available, E::Displace) => moved(gone(Condition::Displaced)),
            (Self::Scheduled | Self::Available | Self::Held(_), E::Delete) => moved(gone(Condition::Purged)),
            (Self::Scheduled | Self::Available, E::Replay { .. }) => same(),

            (Self::Available, E::Acquire { txn: None, settled: true }) => moved(retired(Outcome::Accepted)),
            (Self::Available, E::Acquire { txn: None, settled: false }) => moved(Self::Held(DeliveryState::InFlight)),
            (Self::Available, E::Acquire { txn: Some(txn), .. }) => {
                moved(Self::Held(DeliveryState::Enlisted { txn, work: Work::Acquire(None), ended: None }))
            }
            (Self::Available, E::CountReached) => moved(dead(Condition::DeliveryCountExceeded)),
            (Self::Available, E::NobodyLeft) => moved(dead(Condition::UndeliverableHere)),

            (Self::Held(state), event @ (E::Delivery(_) | E::LeaseEnds | E::OwnerGone(_) | E::Renew)) => {
                let (state, note) = held_on(state.clone(), event)?;
                Ok((settled_or_held(state), note))
            }
            // What is held is not expired, purged or displaced: its consumer decides (MQTT 4.3.3, "no expiry once sent").
            (Self::Held(_), E::Expire | E::Purge | E::Displace) => same(),
            (Self::Held(_), E::Replay { stored: true }) => same(),
            (Self::Held(_), E::Replay { stored: false }) => moved(Self::Available),

            _ => Err(NotApplicable),
        }
    }
}

/// What an event does to the delivery of a held copy. A lease that ends is a failure, whatever the link's default.
pub(crate) fn held_on(state: DeliveryState, event: CopyEvent) -> Result<(DeliveryState, Note), NotApplicable> {
    let event = match event {
        CopyEvent::Delivery(event) => event,
        CopyEvent::LeaseEnds => Event::Lapse(Outcome::FAILED),
        CopyEvent::OwnerGone(outcome) => Event::Lapse(outcome),
        CopyEvent::Renew => {
            let note = if state == DeliveryState::InFlight { Note::Moved } else { Note::Repeat };
            return Ok((state, note));
        }
        _ => return Err(NotApplicable),
    };
    state.on(event).map_err(|_| NotApplicable)
}

/// A delivery that has ended takes its copy along, or gives it back.
pub(crate) fn settled_or_held(state: DeliveryState) -> CopyState {
    match state {
        DeliveryState::Settled(Outcome::Released | Outcome::Modified { .. }) => CopyState::Available,
        DeliveryState::Settled(Outcome::Rejected(reason)) => {
            let dead = Some(reason.condition);
            CopyState::Retired { outcome: Outcome::Rejected(reason), dead }
        }
        DeliveryState::Settled(outcome) => retired(outcome),
        state => CopyState::Held(state),
    }
}

fn retired(outcome: Outcome) -> CopyState {
    CopyState::Retired { outcome, dead: None }
}

fn gone(condition: Condition) -> CopyState {
    CopyState::Retired { outcome: Outcome::rejected(condition), dead: None }
}

fn dead(condition: Condition) -> CopyState {
    CopyState::Retired { outcome: Outcome::rejected(condition), dead: Some(condition) }
}
