//! Settling what was read from a log: alone, or in a transaction.

use roadbed_core::{Error, ErrorKind, Handle, Outcome, Result, Settled, Step};

use super::settle::late;
use super::{Effects, Inner, SessionCore};
use crate::broker::Shared;
use crate::inflight::{Body, ReadState, Slot};
use crate::txn::Read;

impl SessionCore {
    /// The transaction of a message has ended, and its reader, if it has it still, forgets it or names another outcome. Whether it has it still.
    pub(crate) fn discharge_read(&self, handle: Handle, commit: bool) -> bool {
        let mut inner = crate::lock(&self.inner);
        let Some(Slot { body: Body::Read { state, .. }, .. }) = inner.slab.find(handle) else { return false };
        *state = if commit { ReadState::Decided } else { ReadState::Open };
        true
    }
}

impl Inner {
    /// Settles a message of a log.
    pub(super) fn step_read(
        &mut self,
        shared: &Shared,
        session: u64,
        handle: Handle,
        step: Step,
        effects: &mut Effects,
    ) -> Result<Settled> {
        let Some(Slot { body: Body::Read { reading, position, state }, .. }) = self.slab.find(handle) else {
            return late(shared);
        };
        let (reading, position) = (reading.clone(), *position);
        let wrong = |words: &str| Err(Error::new(ErrorKind::Invalid, "settle").detail(words));
        match (*state, step) {
            (ReadState::Open, Step::Outcome { outcome, .. }) => effects.read.push((reading, position, outcome)),
            (ReadState::Open, Step::Settle) => effects.read.push((reading, position, Outcome::Released)),
            (ReadState::Decided, Step::Settle) => {}
            (ReadState::Decided, Step::Outcome { .. }) => return Ok(Settled::Repeated),
            (ReadState::Decided, Step::Enlist { .. }) => return late(shared),
            (ReadState::Enlisted(txn), Step::Settle) => shared.txns.end_read(txn, &reading, position),
            (ReadState::Enlisted(of), Step::Enlist { txn, .. }) if txn != of => {
                return wrong("the delivery is in another transaction");
            }
            (_, Step::Enlist { txn, outcome, settled }) => {
                *state = ReadState::Enlisted(txn);
                let slot = (!settled).then_some((session, handle));
                let read = Read { reading, position, outcome, slot };
                let enlisted = shared.txns.enlist_read(shared, txn, read);
                if enlisted.is_err() || !settled {
                    if let (Err(_), Some(Slot { body: Body::Read { state, .. }, .. })) =
                        (&enlisted, self.slab.find(handle))
                    {
                        *state = ReadState::Open;
                    }
                    return enlisted.map(|()| Settled::Applied);
                }
            }
            (ReadState::Enlisted(_), Step::Outcome { .. }) => return wrong("the delivery is in a transaction"),
            _ => return wrong("nothing of a log is held: there is no lease to renew"),
        }
        self.slab.remove(handle);
        Ok(Settled::Applied)
    }
}
