//! What receivers say of deliveries.

use roadbed_core::Output;
use roadbed_core::serve::Batch;
use tokio::io::{AsyncRead, AsyncWrite};

use super::super::coordinator::{rolled_back, unknown};
use super::super::links::Kind;
use super::super::settle;
use super::Running;
use crate::{LinkId, SentDelivery, SessionId};

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Running<S> {
    pub(super) fn disposed(&mut self, disposed: &crate::Disposed, batch: &mut Batch, out: &mut Output) {
        let txn = settle::transaction(disposed);
        let txn = match txn {
            Ok(Some(txn)) if !self.shared.admits(&mut self.transactions, &*self.session, txn) => Err(()),
            txn => txn,
        };
        let Ok(txn) = txn else {
            // Nothing of a session is left in doubt that confuses its transactions.
            let _ = self.machine.end_session(disposed.session, Some(unknown()), out);
            return self.ended(disposed.session);
        };
        let mut current = None;
        for (index, &SentDelivery { link: handle, number, .. }) in disposed.deliveries.iter().enumerate() {
            if current != Some(handle) {
                self.settle_batch(disposed.session, current, batch);
                current = Some(handle);
            }
            let id = LinkId { session: disposed.session, handle };
            if let Some(control) = txn.and_then(|txn| self.transactions.conflict(txn, id, number)) {
                // A controller that is elsewhere cannot be told here, but its receiver can.
                self.break_link(control.unwrap_or(id), rolled_back("a delivery is in another transaction"), out);
                continue;
            }
            let Some(Kind::Consumer { on_lapse, .. }) = self.links.get(id).map(|link| &link.kind) else { continue };
            let Some(disposal) = settle::disposal(disposed, txn, index, on_lapse) else { continue };
            if disposal.disposition.cookie.is_some()
                && let Some(state) = &disposed.state
            {
                self.unsaid.insert((id, number), state.clone());
            }
            if let Some((txn, retired)) = disposal.retired {
                self.transactions.retire(txn, retired);
            }
            batch.dispositions.push(disposal.disposition);
        }
        self.settle_batch(disposed.session, current, batch);
    }

    fn settle_batch(&mut self, session: SessionId, handle: Option<u32>, batch: &mut Batch) {
        let place = handle.and_then(|handle| self.links.place(LinkId { session, handle }));
        match place.and_then(|place| self.links.at(place)).map(|link| &mut link.kind) {
            Some(Kind::Consumer { consumer, .. }) => consumer.settle(&mut batch.dispositions),
            _ => batch.dispositions.clear(),
        }
        if let Some(place) = place {
            self.links.touch(place);
        }
    }
}
