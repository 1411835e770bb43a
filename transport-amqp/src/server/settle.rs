//! What receivers say of deliveries, in the core's terms.

use roadbed_core::{Disposition, Handle, Outcome, Step, TxnId};

use super::coordinator::Retired;
use crate::codec::State;
use crate::dialect::{outcome, txn_id};
use crate::{Disposed, LinkId, SentDelivery};

/// What is done with one delivery.
pub(super) struct Disposal {
    pub(super) disposition: Disposition,
    /// It waits for the commit of this transaction, and its receiver waits, too.
    pub(super) retired: Option<(TxnId, Retired)>,
}

/// The transaction that a disposition names; `Err` if its name is none of ours.
pub(super) fn transaction(disposed: &Disposed) -> Result<Option<TxnId>, ()> {
    match &disposed.state {
        Some(State::Transactional { txn, .. }) => txn_id(txn).map(Some).ok_or(()),
        _ => Ok(None),
    }
}

/// What a disposition does to one of its deliveries. `None` if it says nothing that counts yet: a transaction without an outcome.
pub(super) fn disposal(disposed: &Disposed, txn: Option<TxnId>, index: usize, on_lapse: &Outcome) -> Option<Disposal> {
    let SentDelivery { link, number, cookie } = *disposed.deliveries.get(index)?;
    let handle = handle(cookie)?;
    let settled = disposed.settled;
    let named = match &disposed.state {
        None => Some(on_lapse.clone()),
        Some(State::Transactional { outcome: state, .. }) => match state {
            Some(state) => outcome(state),
            None => None,
        },
        // A receiver that settles without an outcome leaves it to the link's default.
        Some(state) => outcome(state).or_else(|| settled.then(|| on_lapse.clone())),
    }?;
    let Some(txn) = txn else {
        // When the outcome is applied, the receiver that has not settled is told so.
        let cookie = (!settled).then_some(number);
        let step = Step::Outcome { outcome: named, settled: true };
        return Some(Disposal { disposition: Disposition { delivery: handle.into(), cookie, step }, retired: None });
    };
    let state = crate::dialect::outcome_state(&named);
    let link = LinkId { session: disposed.session, handle: link };
    let retired = (!settled).then(|| (txn, Retired { link, delivery: number, handle, state }));
    let step = Step::Enlist { txn, outcome: named, settled };
    Some(Disposal { disposition: Disposition { delivery: handle.into(), cookie: None, step }, retired })
}

/// A delivery's handle, as the machine knows it.
pub(super) fn cookie(handle: Handle) -> u64 {
    (handle.generation() << 16) | u64::from(handle.slot())
}

fn handle(cookie: u64) -> Option<Handle> {
    Handle::new(cookie as u16, cookie >> 16)
}
