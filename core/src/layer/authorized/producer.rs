use alloc::boxed::Box;
use alloc::vec::Vec;
use core::task::{Context, Poll};

use super::super::refused::Refused;
use super::memory::{Memory, Way};
use crate::{Action, Condition, Confirm, Outgoing, Producer, Result, forward};

/// Sends what may be sent. Each message is looked at, since it says itself where it goes.
pub(super) struct AuthorizedProducer {
    inner: Box<dyn Producer>,
    memory: Memory,
    refused: Refused,
}

impl AuthorizedProducer {
    pub(super) fn new(inner: Box<dyn Producer>, memory: Memory) -> Self {
        Self { inner, memory, refused: Refused::default() }
    }

    fn refuse(&mut self, outgoing: &Outgoing) {
        self.memory.right.refusals.count(Action::Send(outgoing.message.address()));
        self.refused.add(outgoing, Condition::Unauthorized);
    }
}

impl Producer for AuthorizedProducer {
    forward!(Producer: poll_reserve, forget, poll_forgotten, detach);

    fn send(&mut self, batch: &mut Vec<Outgoing>) {
        self.memory.refresh();
        let memory = &mut self.memory;
        let allowed = |outgoing: &Outgoing, memory: &mut Memory| {
            super::reached(&outgoing.message).all(|address| memory.allows(Way::Send, address))
        };
        if !batch.iter().all(|outgoing| allowed(outgoing, memory)) {
            let refused: Vec<_> = batch.extract_if(.., |outgoing| !allowed(outgoing, memory)).collect();
            refused.iter().for_each(|outgoing| self.refuse(outgoing));
        }
        self.inner.send(batch);
    }

    fn poll_confirms(&mut self, cx: &mut Context<'_>, into: &mut Vec<Confirm>) -> Poll<Result<usize>> {
        self.refused.poll_confirms(&mut *self.inner, cx, into)
    }
}
