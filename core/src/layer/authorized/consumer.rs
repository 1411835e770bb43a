use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::task::{Context, Poll};

use super::memory::{Memory, Way};
use bytestring::ByteString;

use crate::{
    Action, Address, Attached, Binding, Condition, Consumer, Delivery, Disposition, Error, ErrorKind, Filter, Fut,
    Granted, Node, Outcome, Result, Step, Unbind, Unsettled, forward,
};

/// Receives what may be received.
pub(super) struct AuthorizedConsumer {
    inner: Box<dyn Consumer>,
    memory: Memory,
    from: From,
    /// What it follows, as far as that can be taken away again.
    bound: BTreeSet<(Filter, Option<ByteString>)>,
    /// Filters that are being taken away.
    unbinding: Option<Fut<Vec<Result<bool>>>>,
    /// Deliveries that were refused.
    refused: Vec<Disposition>,
}

/// What a consumer receives from.
enum From {
    /// A node that was allowed as a whole.
    Node(Address),
    /// What its filters bring, each message for itself.
    Filters,
}

impl AuthorizedConsumer {
    /// What an earlier attachment has left is looked at again: its owner may have lost rights since.
    pub(super) async fn attach(
        mut inner: Box<dyn Consumer>,
        mut attached: Attached,
        node: Node,
        mut memory: Memory,
    ) -> Result<(Self, Attached)> {
        let from = match node {
            Node::Address(address) => From::Node(address),
            Node::Log(log) => From::Node(log.address),
            Node::Session | Node::Dynamic => From::Filters,
        };
        let mut bound = BTreeSet::new();
        let mut refused = Vec::new();
        if matches!(from, From::Filters) {
            let (kept, foul): (Vec<_>, Vec<_>) =
                attached.bindings.into_iter().partition(|binding| memory.right.allows(Action::Bind(&binding.filter)));
            attached.bindings = kept;
            bound = attached.bindings.iter().map(key).collect();
            if !foul.is_empty() {
                foul.iter().for_each(|_| memory.right.refusals.count_revoked());
                inner.unbind(foul.iter().map(unbind).collect()).await?;
            }
            let foul = |unsettled: &mut Unsettled| {
                let delivery = unsettled.delivery.as_ref();
                delivery.is_some_and(|delivery| !memory.allows(Way::Receive, source(delivery)))
            };
            let foul: Vec<_> =
                attached.unsettled.extract_if(.., foul).filter_map(|unsettled| unsettled.delivery).collect();
            refused.extend(foul.iter().filter_map(give_up));
        }
        refused.iter().for_each(|_| memory.right.refusals.count_delivery());
        if !refused.is_empty() {
            inner.settle(&mut refused);
        }
        Ok((Self { inner, memory, from, bound, unbinding: None, refused }, attached))
    }

    /// The rights have changed: what it may not have any more is taken away.
    fn look_again(&mut self) -> Result<()> {
        match &self.from {
            From::Node(address) if !self.memory.right.allows(Action::Receive(address)) => {
                self.memory.right.refusals.count_revoked();
                Err(Error::new(ErrorKind::Unauthorized, "receive").detail(Action::Receive(address)))
            }
            From::Node(_) => Ok(()),
            From::Filters => {
                let right = &self.memory.right;
                let foul = |(filter, _): &&(Filter, Option<ByteString>)| !right.allows(Action::Bind(filter));
                let foul: BTreeSet<_> = self.bound.iter().filter(foul).cloned().collect();
                if !foul.is_empty() {
                    foul.iter().for_each(|_| right.refusals.count_revoked());
                    self.bound.retain(|bound| !foul.contains(bound));
                    let foul = foul.into_iter().map(|(filter, share)| Unbind { filter, share });
                    self.unbinding = Some(self.inner.unbind(foul.collect()));
                }
                Ok(())
            }
        }
    }

    /// Takes out of `into`, from `known` on, what may not be received.
    fn sift(&mut self, into: &mut Vec<Delivery>, known: usize) {
        let memory = &mut self.memory;
        let mut allowed = |delivery: &Delivery| memory.allows(Way::Receive, source(delivery));
        if into[known..].iter().all(&mut allowed) {
            return;
        }
        let foul: Vec<_> = into.extract_if(known.., |delivery| !allowed(delivery)).collect();
        foul.iter().for_each(|_| self.memory.right.refusals.count_delivery());
        self.refused.extend(foul.iter().filter_map(give_up));
        if !self.refused.is_empty() {
            self.inner.settle(&mut self.refused);
        }
    }
}

impl Consumer for AuthorizedConsumer {
    forward!(Consumer: grant, settle, poll_settled, backlog, detach);

    fn poll_receive(&mut self, cx: &mut Context<'_>, into: &mut Vec<Delivery>, max: usize) -> Poll<Result<usize>> {
        if self.memory.refresh() {
            self.look_again()?;
        }
        if let Some(unbinding) = &mut self.unbinding
            && unbinding.as_mut().poll(cx).is_ready()
        {
            self.unbinding = None;
        }
        let known = into.len();
        match self.inner.poll_receive(cx, into, max) {
            // A drain has ended.
            Poll::Ready(Ok(0)) => Poll::Ready(Ok(0)),
            Poll::Ready(Ok(_)) if matches!(self.from, From::Filters) => {
                self.sift(into, known);
                if into.len() > known {
                    return Poll::Ready(Ok(into.len() - known));
                }
                // What went back may come again as long as its filter is being taken away: others have their turn.
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            other => other,
        }
    }

    fn bind(&mut self, bindings: Vec<Binding>) -> Fut<Vec<Result<Granted>>> {
        let right = &self.memory.right;
        let checked: Vec<_> =
            bindings.iter().map(|binding| right.check("bind", Action::Bind(&binding.filter)).err()).collect();
        let allowed =
            bindings.into_iter().zip(&checked).filter(|(_, error)| error.is_none()).map(|(binding, _)| binding);
        let allowed: Vec<_> = allowed.collect();
        self.bound.extend(allowed.iter().map(key));
        let binding = self.inner.bind(allowed);
        Box::pin(async move {
            let mut granted = binding.await?.into_iter();
            let missing = || Err(Error::new(ErrorKind::Failed, "bind"));
            Ok(checked
                .into_iter()
                .map(|error| error.map_or_else(|| granted.next().unwrap_or_else(missing), Err))
                .collect())
        })
    }

    fn unbind(&mut self, bindings: Vec<Unbind>) -> Fut<Vec<Result<bool>>> {
        for binding in &bindings {
            self.bound.remove(&(binding.filter.clone(), binding.share.clone()));
        }
        self.inner.unbind(bindings)
    }
}

fn key(binding: &Binding) -> (Filter, Option<ByteString>) {
    (binding.filter.clone(), binding.share.clone())
}

fn unbind(binding: &Binding) -> Unbind {
    Unbind { filter: binding.filter.clone(), share: binding.share.clone() }
}

/// What has to be allowed for it: the queue that it was taken from, else its own address.
fn source(delivery: &Delivery) -> &Address {
    let node = delivery.info.as_ref().and_then(|info| info.node.as_ref());
    node.unwrap_or(delivery.message.address())
}

/// What is not allowed is refused; but a copy of a queue is there for all who follow it, and goes back.
fn give_up(delivery: &Delivery) -> Option<Disposition> {
    let address = source(delivery);
    let pulled = address.queue().is_some() || address.dead_letters().is_some();
    let outcome = if pulled { Outcome::Released } else { Outcome::rejected(Condition::Unauthorized) };
    let step = Step::Outcome { outcome, settled: true };
    delivery.handle.map(|handle| Disposition { delivery: handle.into(), cookie: None, step })
}
