use alloc::boxed::Box;
use alloc::vec::Vec;
use core::task::{Context, Poll};

use super::memory::{Memory, Way};
use crate::{Action, Condition, Confirm, Detach, Fut, Key, Outcome, Outgoing, Producer, Qos, Result};

/// Sends what may be sent. Each message is looked at, since it says itself where it goes.
pub(super) struct AuthorizedProducer {
    inner: Box<dyn Producer>,
    memory: Memory,
    refused: Vec<Confirm>,
}

impl AuthorizedProducer {
    pub(super) const fn new(inner: Box<dyn Producer>, memory: Memory) -> Self {
        Self { inner, memory, refused: Vec::new() }
    }

    fn refuse(&mut self, outgoing: &Outgoing) {
        self.memory.right.refusals.count(Action::Send(outgoing.message.address()));
        if outgoing.qos > Qos::AtMostOnce {
            let (outcome, why) = (Outcome::rejected(Condition::Unauthorized), Some(Condition::Unauthorized));
            self.refused.push(Confirm { cookie: outgoing.cookie, outcome, why, provisional: None });
        }
    }
}

impl Producer for AuthorizedProducer {
    fn poll_reserve(&mut self, cx: &mut Context<'_>, messages: u32, bytes: usize) -> Poll<Result<u32>> {
        self.inner.poll_reserve(cx, messages, bytes)
    }

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

    fn forget(&mut self, keys: &mut Vec<Key>) {
        self.inner.forget(keys);
    }

    fn poll_forgotten(&mut self, cx: &mut Context<'_>, calls: u64) -> Poll<Result<()>> {
        self.inner.poll_forgotten(cx, calls)
    }

    fn poll_confirms(&mut self, cx: &mut Context<'_>, into: &mut Vec<Confirm>) -> Poll<Result<usize>> {
        let refused = self.refused.len();
        into.append(&mut self.refused);
        match self.inner.poll_confirms(cx, into) {
            Poll::Ready(Ok(count)) => Poll::Ready(Ok(refused + count)),
            Poll::Pending if refused > 0 => Poll::Ready(Ok(refused)),
            other => other,
        }
    }

    fn detach(self: Box<Self>, how: Detach) -> Fut<()> {
        self.inner.detach(how)
    }
}
