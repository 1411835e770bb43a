//! A session made of questions and answers: the quick way to take a protocol off the wire.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};

use roadbed_core::{
    Attached, Binding, Close, Condition, Confirm, Consumer, ConsumerTerms, Credential, Delivery, DeliveryRef, Detach,
    Disposition, Done, Error, ErrorKind, Fut, Grant, Granted, Handle, Key, Manage, Managed, Node, Opened, Outcome,
    Outgoing, Producer, ProducerTerms, Qos, Result, Session, SessionEvent, Settled, Step, Time, Transaction, Unbind,
};

/// How many questions of one link wait for their answers at a time.
const ASKED_MAX: usize = 64;

/// One connection to a peer that answers every question. [`session`] makes a [`Session`] of it.
///
/// It costs a future per message, which is why the transports of this project do without it: it is for protocols where that
/// does not matter. Such a session has its own queue to receive from, at least once, and nothing beyond: no queues by
/// address, transactions, wills or kept sessions.
///
/// *Contract*: a question counts as asked, and keeps its place among the others, when the function returns; the future is
/// only the answer. Dropped with the session and its links, the connection counts as lost.
pub trait Remote: Send + Sync + 'static {
    /// Sends a message: what became of it.
    fn send(&self, outgoing: Outgoing) -> Fut<(Outcome, Option<Condition>)>;

    /// Asks for the next delivery. There is one such question at a time.
    fn receive(&self) -> Fut<Delivery>;

    /// Settles a delivery.
    fn settle(&self, delivery: Handle, outcome: Outcome) -> Fut<Settled>;

    /// Makes the session follow a filter.
    fn bind(&self, binding: Binding) -> Fut<Granted>;

    /// Makes it stop: whether it did follow it.
    fn unbind(&self, unbind: Unbind) -> Fut<bool>;

    /// Ends the connection in good order.
    fn close(&self, close: Close) -> Fut<()>;
}

/// A session on a connection.
pub fn session(remote: Arc<dyn Remote>, opened: Opened) -> Box<dyn Session> {
    Box::new(RemoteSession { remote, opened, inbox: Arc::default() })
}

struct RemoteSession {
    remote: Arc<dyn Remote>,
    opened: Opened,
    /// Held by the one consumer, too.
    inbox: Arc<()>,
}

impl RemoteSession {
    fn attached(&self) -> Attached {
        Attached { qos_max: self.opened.qos_max.min(Qos::AtLeastOnce), ..Attached::default() }
    }
}

fn lacking<T: 'static>(what: &'static str) -> Fut<T> {
    Box::pin(async move { Err(Error::new(ErrorKind::NotSupported, what)) })
}

impl Session for RemoteSession {
    fn opened(&self) -> &Opened {
        &self.opened
    }

    fn producer(&self, terms: ProducerTerms) -> Fut<(Box<dyn Producer>, Attached)> {
        if terms.to.is_some() {
            return lacking("attach a producer with an address");
        }
        let outbox = Outbox { remote: self.remote.clone(), sent: Answers::default(), confirms: Vec::new() };
        let attached = self.attached();
        Box::pin(async { Ok((Box::new(outbox) as _, attached)) })
    }

    fn consumer(&self, terms: ConsumerTerms) -> Fut<(Box<dyn Consumer>, Attached)> {
        if terms.node != Node::Session {
            return lacking("receive from an address");
        }
        if Arc::strong_count(&self.inbox) > 1 {
            return Box::pin(async { Err(Error::new(ErrorKind::Exhausted, "attach a second consumer")) });
        }
        let (remote, inbox) = (self.remote.clone(), self.inbox.clone());
        let inbox = Inbox { remote, credit: 0, next: None, settled: Answers::default(), _alone: inbox };
        let attached = self.attached();
        Box::pin(async { Ok((Box::new(inbox) as _, attached)) })
    }

    fn transaction(&self) -> Fut<Box<dyn Transaction>> {
        lacking("declare a transaction")
    }

    fn settle(&self, _: Vec<Disposition>) -> Fut<Vec<Done>> {
        lacking("settle by id")
    }

    fn manage(&self, _: Manage) -> Fut<Managed> {
        lacking("manage")
    }

    fn credential(&self, _: Credential) -> Fut<Option<Time>> {
        lacking("renew a credential")
    }

    fn poll_event(&self, _: &mut Context<'_>) -> Poll<SessionEvent> {
        Poll::Pending
    }

    fn close(&self, close: Close) -> Fut<()> {
        self.remote.close(close)
    }
}

/// Answers that are due. All are polled whenever one has come: there are few.
struct Answers<T>(VecDeque<Fut<T>>);

impl<T> Default for Answers<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> Answers<T> {
    /// Appends all answers that have come, and says how many; pending if there are none.
    fn poll(&mut self, cx: &mut Context<'_>, into: &mut Vec<T>) -> Poll<Result<usize>> {
        let (before, mut failed) = (into.len(), None);
        self.0.retain_mut(|answer| match answer.as_mut().poll(cx) {
            Poll::Pending => true,
            Poll::Ready(Ok(answer)) => {
                into.push(answer);
                false
            }
            Poll::Ready(Err(error)) => {
                failed = Some(error);
                false
            }
        });
        match (failed, into.len() - before) {
            (Some(error), _) => Poll::Ready(Err(error)),
            (None, 0) => Poll::Pending,
            (None, count) => Poll::Ready(Ok(count)),
        }
    }
}

struct Outbox {
    remote: Arc<dyn Remote>,
    sent: Answers<Confirm>,
    confirms: Vec<Confirm>,
}

impl Producer for Outbox {
    fn poll_reserve(&mut self, cx: &mut Context<'_>, messages: u32, _: usize) -> Poll<Result<u32>> {
        while self.sent.0.len() >= ASKED_MAX {
            match self.sent.poll(cx, &mut self.confirms) {
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        let room = u32::try_from(ASKED_MAX - self.sent.0.len()).unwrap_or(u32::MAX);
        Poll::Ready(Ok(messages.clamp(1, room)))
    }

    fn send(&mut self, batch: &mut Vec<Outgoing>) {
        for outgoing in batch.drain(..) {
            let (cookie, qos) = (outgoing.cookie, outgoing.qos);
            let became = self.remote.send(outgoing);
            if qos > Qos::AtMostOnce {
                self.sent.0.push_back(Box::pin(async move {
                    let (outcome, why) = became.await?;
                    Ok(Confirm { cookie, outcome, why, provisional: None })
                }));
            }
        }
    }

    fn forget(&mut self, keys: &mut Vec<Key>) {
        keys.clear();
    }

    fn poll_confirms(&mut self, cx: &mut Context<'_>, into: &mut Vec<Confirm>) -> Poll<Result<usize>> {
        if self.confirms.is_empty() {
            return self.sent.poll(cx, into);
        }
        let count = self.confirms.len();
        into.append(&mut self.confirms);
        Poll::Ready(Ok(count))
    }

    fn detach(self: Box<Self>, _: Detach) -> Fut<()> {
        Box::pin(async { Ok(()) })
    }
}

struct Inbox {
    remote: Arc<dyn Remote>,
    credit: u32,
    /// Asked for, and kept when the credit is taken back meanwhile.
    next: Option<Fut<Delivery>>,
    settled: Answers<Done>,
    _alone: Arc<()>,
}

impl Consumer for Inbox {
    fn grant(&mut self, grant: Grant) {
        self.credit = grant.credit;
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>, into: &mut Vec<Delivery>, max: usize) -> Poll<Result<usize>> {
        let before = into.len();
        while self.credit > 0 && into.len() - before < max {
            let next = self.next.get_or_insert_with(|| self.remote.receive());
            match next.as_mut().poll(cx) {
                Poll::Pending => break,
                Poll::Ready(delivery) => {
                    self.next = None;
                    into.push(delivery?);
                    self.credit -= 1;
                }
            }
        }
        match into.len() - before {
            0 => Poll::Pending,
            count => Poll::Ready(Ok(count)),
        }
    }

    fn settle(&mut self, batch: &mut Vec<Disposition>) {
        for Disposition { delivery, cookie, step } in batch.drain(..) {
            let settled = match (delivery, step) {
                (DeliveryRef::Handle(handle), Step::Outcome { outcome, .. }) => self.remote.settle(handle, outcome),
                _ => lacking("settle in that way"),
            };
            if let Some(cookie) = cookie {
                self.settled.0.push_back(Box::pin(async move { Ok(Done { cookie, result: settled.await }) }));
            }
        }
    }

    fn poll_settled(&mut self, cx: &mut Context<'_>, into: &mut Vec<Done>) -> Poll<Result<usize>> {
        self.settled.poll(cx, into)
    }

    fn bind(&mut self, bindings: Vec<Binding>) -> Fut<Vec<Result<Granted>>> {
        all(bindings.into_iter().map(|binding| self.remote.bind(binding)).collect())
    }

    fn unbind(&mut self, bindings: Vec<Unbind>) -> Fut<Vec<Result<bool>>> {
        all(bindings.into_iter().map(|unbind| self.remote.unbind(unbind)).collect())
    }

    fn backlog(&self) -> u32 {
        0
    }

    fn detach(self: Box<Self>, _: Detach) -> Fut<()> {
        Box::pin(async { Ok(()) })
    }
}

/// One answer each; all have been asked already.
fn all<T: Send + 'static>(asked: Vec<Fut<T>>) -> Fut<Vec<Result<T>>> {
    Box::pin(async {
        let mut answers = Vec::with_capacity(asked.len());
        for answer in asked {
            answers.push(answer.await);
        }
        Ok(answers)
    })
}
