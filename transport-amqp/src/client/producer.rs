use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::task::{Context, Poll};

use roadbed_core::{Attached, Confirm, Detach, Fut, Key, Outgoing, Producer, ProducerTerms, Result};
use tokio::sync::oneshot;

use super::outbound::Outbound;
use super::shared::{Alive, Shared, State, gone};
use super::state::{Kind, Link, LinkStage, Session};

/// A producer of a session: a link that sends.
pub(super) struct Sending {
    alive: Arc<Alive>,
    link: u64,
}

impl Sending {
    pub(super) async fn attach(alive: Arc<Alive>, terms: ProducerTerms) -> Result<(Self, Attached)> {
        let (answer, attached) = oneshot::channel();
        let link = alive.shared.with(|state| {
            let link = state.next();
            let State { sessions, wakers, .. } = state;
            let session = sessions.get_mut(&alive.session).ok_or_else(|| gone("attach"))?;
            session.check("attach")?;
            let link = session.producer(link, &terms, answer);
            wakers.wake_driver();
            state.touch(alive.session);
            Ok::<_, roadbed_core::Error>(link)
        })?;
        // From here on, what is dropped is detached.
        let this = Self { alive, link };
        let attached = attached.await.map_err(|_| gone("attach"))??;
        Ok((this, attached))
    }

    fn shared(&self) -> &Shared {
        &self.alive.shared
    }
}

impl Session {
    /// A link for a producer: one that an earlier producer of a kept session has left, or a new one.
    fn producer(&mut self, new: u64, terms: &ProducerTerms, answer: oneshot::Sender<Result<Attached>>) -> u64 {
        let what = match (&terms.name, &terms.to) {
            (Some(name), _) => alloc::format!("out/{name}"),
            (None, Some(to)) => alloc::format!("out/{to}"),
            (None, None) => "out".into(),
        };
        let mut name = self.link_name(&what, new);
        let left = self.links.iter_mut().find(|(_, link)| link.orphan && link.name == name && link.detach.is_none());
        if let Some((&link, left)) = left {
            left.orphan = false;
            if let Kind::Producer(outbound) = &mut left.kind {
                outbound.adopt();
            }
            match left.stage {
                LinkStage::Attached => drop(answer.send(Ok(left.attached.clone()))),
                _ => left.answer = Some(answer),
            }
            self.touch(link);
            return link;
        }
        let taken =
            |name: &str, links: &alloc::collections::BTreeMap<u64, Link>| links.values().any(|link| link.name == name);
        let mut another = 1;
        while taken(&name, &self.links) {
            another += 1;
            name = self.link_name(&alloc::format!("{what}#{another}"), new);
        }
        let mut link = Link::new(name, Kind::Producer(Box::new(Outbound::new(terms.to.clone()))));
        link.attached = Attached { address: terms.to.clone(), qos_max: terms.qos_max, ..Attached::default() };
        (link.answer, link.purge) = (Some(answer), self.terms.kept && self.terms.fresh);
        self.links.insert(new, link);
        self.producer_restored(new);
        self.touch(new);
        new
    }
}

impl Producer for Sending {
    fn poll_reserve(&mut self, cx: &mut Context<'_>, messages: u32, bytes: usize) -> Poll<Result<u32>> {
        let reserved = self.shared().with_session(self.alive.session, "send", |session, _| {
            Ok(session.poll_reserve(self.link, cx, messages, bytes))
        });
        match reserved {
            Ok(polled) => polled,
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    fn send(&mut self, batch: &mut Vec<Outgoing>) {
        let now = self.shared().config.clock.now();
        // An ended session takes nothing.
        let _ = self.shared().with_session(self.alive.session, "send", |session, around| {
            let scoped = around.transactions.scoped(session.terms.scope);
            session.send(self.link, batch, &scoped, now, around.wakers);
            session.touch(self.link);
            Ok(())
        });
    }

    fn forget(&mut self, keys: &mut Vec<Key>) {
        let _ = self.shared().with_session(self.alive.session, "send", |session, around| {
            session.forget(keys, around.wakers);
            session.touch(self.link);
            Ok(())
        });
        keys.clear();
    }

    fn poll_confirms(&mut self, cx: &mut Context<'_>, into: &mut Vec<Confirm>) -> Poll<Result<usize>> {
        self.shared().with(|state| {
            let State { sessions, wakers, .. } = state;
            match sessions.get_mut(&self.alive.session) {
                Some(session) => session.poll_confirms(self.link, cx, into, wakers),
                None => Poll::Ready(Err(gone("send"))),
            }
        })
    }

    fn detach(self: Box<Self>, _how: Detach) -> Fut<()> {
        drop(self);
        Box::pin(core::future::ready(Ok(())))
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.alive.shared.with(|state| {
            if let Some(session) = state.sessions.get_mut(&self.alive.session)
                && let Some(link) = session.links.get_mut(&self.link)
            {
                // What was sent stays sent: the link goes when all of it is answered.
                link.orphan = true;
                session.touch(self.link);
                state.touch(self.alive.session);
            }
        });
    }
}
