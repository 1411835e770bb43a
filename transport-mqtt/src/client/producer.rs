use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::ready;
use core::task::{Context, Poll};

use roadbed_core::{Address, Confirm, Detach, Fut, Key, Outgoing, Producer, Result};

use super::shared::{Alive, Shared};

/// A producer of a session. Those of one session share its connection, its window and its bounds.
pub(super) struct Sending {
    _alive: Arc<Alive>,
    shared: Arc<Shared>,
    id: u64,
    to: Option<Address>,
}

impl Sending {
    pub(super) fn new(alive: Arc<Alive>, to: Option<Address>) -> Self {
        let shared = Arc::clone(&alive.0);
        let id = shared.with(|state| state.outbound.attach());
        Self { _alive: alive, shared, id, to }
    }

    /// Everything goes where the link goes.
    fn address(&self, batch: &mut [Outgoing]) {
        let Some(to) = &self.to else { return };
        for outgoing in batch.iter_mut().filter(|outgoing| outgoing.message.address() != to) {
            outgoing.message = outgoing.message.to_builder().address(to.clone()).build();
        }
    }
}

impl Producer for Sending {
    fn poll_reserve(&mut self, cx: &mut Context<'_>, messages: u32, bytes: usize) -> Poll<Result<u32>> {
        self.shared.with(|state| {
            state.check("send")?;
            state.outbound.poll_reserve(self.id, cx, messages, bytes).map(Ok)
        })
    }

    fn send(&mut self, batch: &mut Vec<Outgoing>) {
        self.address(batch);
        let now = self.shared.config.clock.now();
        self.shared.with(|state| {
            if state.ended.is_none() {
                state.outbound.send(self.id, batch, now, &mut state.wakers);
            }
        });
    }

    fn forget(&mut self, keys: &mut Vec<Key>) {
        self.shared.with(|state| {
            state.outbound.forget(keys, &mut state.changes);
            state.wakers.wake_driver();
        });
    }

    fn poll_confirms(&mut self, cx: &mut Context<'_>, into: &mut Vec<Confirm>) -> Poll<Result<usize>> {
        self.shared.with(|state| match state.outbound.poll_confirms(self.id, cx, into, &mut state.wakers) {
            // What has come is told also after the end.
            Poll::Pending => {
                state.check("send")?;
                Poll::Pending
            }
            told => told.map(Ok),
        })
    }

    fn detach(self: Box<Self>, _how: Detach) -> Fut<()> {
        drop(self);
        Box::pin(ready(Ok(())))
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.shared.with(|state| state.outbound.detach(self.id, &mut state.wakers));
    }
}
