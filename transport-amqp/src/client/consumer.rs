use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::task::{Context, Poll};

use roadbed_core::{
    Attached, Binding, Consumer, ConsumerTerms, Delivery, Detach, Disposition, Done, Error, ErrorKind, Fut, Grant,
    Granted, Hold, Node, Qos, Result, Settle, Unbind,
};
use tokio::sync::oneshot;

use super::inbound::{Inbound, node};
use super::shared::{Alive, Shared, State, gone};
use super::state::{Kind, Link, LinkStage, Session};
use crate::log::write::check;

/// A consumer of a session: a link that receives.
pub(super) struct Receiving {
    alive: Arc<Alive>,
    link: u64,
    how: Option<Detach>,
}

impl Receiving {
    pub(super) async fn attach(alive: Arc<Alive>, terms: ConsumerTerms) -> Result<(Self, Attached)> {
        let terms = sayable(terms)?;
        let consumers_max = alive.shared.config.consumers_max as usize;
        let (answer, attached) = oneshot::channel();
        let link = alive.shared.with(|state| {
            let link = state.next();
            let session = state.sessions.get_mut(&alive.session).ok_or_else(|| gone("attach"))?;
            session.check("attach")?;
            if session.consumers() >= consumers_max {
                let error = Error::new(ErrorKind::Exhausted, "attach");
                return Err(error.detail(format_args!("a session has at most {consumers_max} consumers")));
            }
            let link = session.consumer(link, terms, answer);
            state.touch(alive.session);
            Ok(link)
        })?;
        // From here on, what is dropped is detached.
        let this = Self { alive, link, how: None };
        let attached = attached.await.map_err(|_| gone("attach"))??;
        Ok((this, attached))
    }

    fn shared(&self) -> &Shared {
        &self.alive.shared
    }
}

/// What AMQP can say of the terms.
fn sayable(mut terms: ConsumerTerms) -> Result<ConsumerTerms> {
    let no = |words: &str| Err(Error::new(ErrorKind::NotSupported, "attach").detail(words));
    if matches!(terms.hold, Hold::Lease(_)) {
        return no("AMQP 1.0 has no leases: a delivery belongs to its link");
    }
    if terms.declare.is_some() {
        return no("a queue is declared by itself: Session::manage");
    }
    if let Node::Log(log) = &terms.node {
        check(log)?;
        // Reading takes nothing: there is nothing to hand over in two steps.
        (terms.qos_max, terms.settle) = (terms.qos_max.min(Qos::AtLeastOnce), Settle::First);
    }
    if terms.qos_max == Qos::ExactlyOnce || terms.settle == Settle::Second {
        terms.settle = Settle::Second;
    }
    Ok(terms)
}

impl Session {
    /// A link for a consumer: of a kept session's own queue, the one that it has, or a new one.
    fn consumer(&mut self, new: u64, terms: ConsumerTerms, answer: oneshot::Sender<Result<Attached>>) -> u64 {
        let what = match (&terms.name, &terms.node) {
            (Some(name), _) => alloc::format!("in/{name}"),
            (None, Node::Address(address)) => alloc::format!("in/{address}"),
            _ => "in".into(),
        };
        let mut name = match &terms.node {
            Node::Log(_) => self.unique_name("log", new),
            _ => self.link_name(&what, new),
        };
        let left = self.links.iter_mut().find(|(_, link)| {
            let Kind::Consumer(inbound) = &link.kind else { return false };
            let same = link.name == name || (terms.node == Node::Session && inbound.terms.node == Node::Session);
            let free = link.orphan && link.detach != Some(Detach::Close);
            free && same && inbound.terms.node == terms.node && !matches!(link.stage, LinkStage::Failed(_))
        });
        if let Some((&link, own)) = left {
            own.orphan = false;
            // One that is just being left is attached anew, and answered then.
            let is_attached = own.is_attached() && own.detach.is_none();
            if let Kind::Consumer(inbound) = &mut own.kind {
                let settle = inbound.terms.settle;
                inbound.terms = ConsumerTerms { settle, ..terms };
            }
            match is_attached {
                true => drop(answer.send(Ok(self.granted(link)))),
                false => own.answer = Some(answer),
            }
            self.touch(link);
            return link;
        }
        let mut another = 1;
        while self.links.values().any(|link| link.name == name) {
            another += 1;
            name = self.link_name(&alloc::format!("{what}#{another}"), new);
        }
        let address = node(&terms);
        let qos_max = terms.qos_max;
        let mut link = Link::new(name, Kind::Consumer(Box::new(Inbound::new(terms))));
        link.attached = Attached { address, qos_max, ..Attached::default() };
        (link.answer, link.purge) = (Some(answer), self.terms.kept && self.terms.fresh);
        self.links.insert(new, link);
        self.consumer_restored(new);
        self.touch(new);
        new
    }

    /// The own queue of a kept session: what its bindings bring is kept from the beginning, whether it has a consumer or not.
    pub(super) fn own_queue(&mut self, new: u64) {
        let terms = ConsumerTerms { settle: Settle::Second, ..ConsumerTerms::session() };
        let (answer, _nobody) = oneshot::channel();
        let link = self.consumer(new, terms, answer);
        if let Some(link) = self.links.get_mut(&link) {
            link.orphan = true;
        }
    }
}

impl Consumer for Receiving {
    fn grant(&mut self, grant: Grant) {
        let _ = self.shared().with_session(self.alive.session, "receive", |session, around| {
            let scoped = around.transactions.scoped(session.terms.scope);
            let txn = grant.txn.and_then(|txn| scoped.find(txn).ok());
            session.grant(self.link, grant, txn, around.wakers);
            Ok(())
        });
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>, into: &mut Vec<Delivery>, max: usize) -> Poll<Result<usize>> {
        let now = self.shared().config.clock.now();
        let counters = &self.shared().counters;
        let received = self.shared().with_session(self.alive.session, "receive", |session, _| {
            Ok(session.poll_receive(self.link, cx, into, max, now, counters))
        });
        match received {
            Ok(polled) => polled,
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    fn settle(&mut self, batch: &mut Vec<Disposition>) {
        let _ = self.shared().with_session(self.alive.session, "settle", |session, around| {
            let scoped = around.transactions.scoped(session.terms.scope);
            session.settle_batch(self.link, batch, &scoped, around.wakers);
            Ok(())
        });
        batch.clear();
    }

    fn poll_settled(&mut self, cx: &mut Context<'_>, into: &mut Vec<Done>) -> Poll<Result<usize>> {
        self.shared().with(|state| match state.sessions.get_mut(&self.alive.session) {
            Some(session) => session.poll_settled(self.link, cx, into),
            None => Poll::Ready(Err(gone("settle"))),
        })
    }

    fn bind(&mut self, bindings: Vec<Binding>) -> Fut<Vec<Result<Granted>>> {
        super::manage::bind(&self.alive, self.link, bindings)
    }

    fn unbind(&mut self, unbinds: Vec<Unbind>) -> Fut<Vec<Result<bool>>> {
        super::manage::unbind(&self.alive, self.link, unbinds)
    }

    fn backlog(&self) -> u32 {
        let backlog = self.shared().with_session(self.alive.session, "receive", |session, _| {
            Ok(session.inbound(self.link).map_or(0, |inbound| inbound.backlog))
        });
        backlog.unwrap_or(0)
    }

    fn detach(mut self: Box<Self>, how: Detach) -> Fut<()> {
        self.how = Some(how);
        let (said, detached) = oneshot::channel();
        let (alive, link) = (Arc::clone(&self.alive), self.link);
        alive.shared.with(|state| {
            let State { sessions, .. } = state;
            let link = sessions.get_mut(&alive.session).and_then(|session| session.links.get_mut(&link));
            if let Some(link) = link.filter(|link| !matches!(link.stage, LinkStage::Failed(_))) {
                link.detached = Some(said);
            }
        });
        drop(self);
        Box::pin(async move {
            // If nobody answers, the link or its session is gone anyway.
            detached.await.unwrap_or(Ok(()))
        })
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        self.alive.shared.with(|state| {
            if let Some(session) = state.sessions.get_mut(&self.alive.session)
                && let Some(link) = session.links.get_mut(&self.link)
            {
                let kept = session.terms.kept;
                link.orphan = true;
                // Dropped, a link of a kept session keeps what it holds for the next.
                link.detach = Some(self.how.unwrap_or(if kept { Detach::Suspend } else { Detach::Close }));
                session.touch(self.link);
                state.touch(self.alive.session);
            }
        });
    }
}
