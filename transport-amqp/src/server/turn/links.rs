//! Links come and go.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;
use fe2o3_amqp_types::definitions::Role;
use fe2o3_amqp_types::messaging::{TargetArchetype, TerminusExpiryPolicy};
use fe2o3_amqp_types::performatives::Attach;
use roadbed_core::{Close, Detach, Fut, Manage, Output, Result, Session};
use tokio::io::{AsyncRead, AsyncWrite};

use super::super::attach::{Before, Granted, attach};
use super::super::links::{Kind, Link, Links, Rare, Resumable, Suspended};
use super::super::requests::own_link;
use super::requests::REQUESTS_CREDIT;
use super::{CONTROL_CREDIT, Name, Running};
use crate::codec::{Fault, Tag};
use crate::{Detached, LinkId, SessionId, dialect};

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Running<S> {
    /// Asks the endpoint for a link.
    pub(super) fn attach(&mut self, id: LinkId, asked: Attach) {
        let name = (matches!(asked.role, Role::Sender), asked.name.clone());
        self.kept.retain(|(kept, ..)| *kept != name);
        let closing = self.detaching.iter().position(|(closing, _)| closing.as_ref() == Some(&name));
        let closing = closing.map(|at| self.detaching.swap_remove(at).1);
        let suspended = self.suspended.remove(&name).map(|(_, suspended)| suspended);
        self.attached_links += 1;
        let prefix = Bytes::from([self.nonce.to_be_bytes(), self.attached_links.to_be_bytes()].concat());
        let granted = match own_link(&asked) {
            Some(granted) => Box::pin(core::future::ready(Ok(granted))),
            None => {
                self.identities.forget(id);
                let (client, session) = match self.identities.choose(id, address(&asked).as_deref()) {
                    Some(other) => (&other.client, &*other.session),
                    None => (&self.client, &*self.session),
                };
                attach(client, session, asked, Before { closing, suspended, prefix })
            }
        };
        self.attaching.push((id, granted));
    }

    /// Answers the peer with what the endpoint has granted.
    pub(super) fn attached(&mut self, id: LinkId, granted: Result<Granted>, out: &mut Output) {
        let Granted { kind, accept, rare } = match granted {
            Ok(granted) => granted,
            Err(error) => {
                // The peer may have detached meanwhile.
                let _ = self.machine.refuse(id, dialect::error_fault(&error), out);
                return;
            }
        };
        self.requests.attached(id, &kind, accept.source.as_ref());
        if self.machine.accept(id, accept, out).is_err() {
            self.requests.detached(id);
            return;
        }
        let credit = match &kind {
            Kind::Coordinator => CONTROL_CREDIT,
            Kind::Requests(_) => REQUESTS_CREDIT,
            _ => 0,
        };
        let place = self.links.insert(id, kind, rare);
        if credit > 0 {
            let _ = self.machine.grant(id, credit, false, None, out);
        }
        // Credit may have come with the attach.
        let credit = self.machine.credit(id);
        if credit.credit > 0 || credit.drain {
            self.credit(id, credit, out);
        }
        self.links.touch(place);
    }

    /// The peer has detached a link, or has lost it.
    pub(super) fn detached(&mut self, id: LinkId, detached: Detached) {
        let Some(link) = self.forget_link(id) else { return };
        let Detached { name, closed, unsettled, .. } = detached;
        let name = (matches!(link.kind, Kind::Producer { .. }), name);
        match closed {
            true => self.close_link(Some(name), link),
            false => self.suspend(name, link, unsettled),
        }
    }

    /// Ends a link for what its peer or the endpoint did.
    pub(super) fn break_link(&mut self, id: LinkId, fault: Fault, out: &mut Output) {
        // The peer may have detached meanwhile.
        let _ = self.machine.detach(id, true, Some(fault), out);
        if let Some(link) = self.forget_link(id) {
            self.close_link(None, link);
        }
    }

    /// Another connection has attached the link (Part 2, section 2.6.1): nothing that it is here counts any more.
    pub(super) fn stolen(&mut self, id: LinkId, out: &mut Output) {
        let why = Fault::new("amqp:link:stolen", "the link was attached over another connection");
        let _ = self.machine.detach(id, false, Some(why), out);
        drop(self.forget_link(id));
        self.identities.forget(id);
    }

    /// A session is gone, and with it what lives no longer than it does.
    pub(super) fn ended(&mut self, session: SessionId) {
        self.attaching.retain(|(id, _)| id.session != session);
        for id in self.links.of_session(session) {
            let Some(link) = self.forget_link(id) else { continue };
            match link.rare.as_ref().is_some_and(|rare| rare.resumable.is_some()) {
                true => self.suspend((false, String::new()), link, Vec::new()),
                false => self.close_link(None, link),
            }
        }
        self.kept.retain(|(_, of, Resumable { kept, .. })| {
            *of != session || kept.from == TerminusExpiryPolicy::ConnectionClose
        });
        let ended: Vec<Name> =
            self.suspended.iter().filter(|(_, (of, _))| *of == session).map(|(name, _)| name.clone()).collect();
        for (_, suspended) in ended.iter().filter_map(|name| self.suspended.remove(name)) {
            if let Suspended::Receiver { consumer, .. } = suspended {
                self.detaching.push((None, consumer.detach(Detach::Close)));
            }
        }
    }

    fn forget_link(&mut self, id: LinkId) -> Option<Link> {
        self.attaching.retain(|(of, _)| *of != id);
        self.unsaid.retain(|(of, _), _| *of != id);
        self.requests.detached(id);
        let link = self.links.remove(id)?;
        if matches!(link.kind, Kind::Coordinator) {
            self.transactions.end(id);
        }
        Some(link)
    }

    fn close_link(&mut self, name: Option<Name>, link: Link) {
        let Link { id, kind, rare, .. } = link;
        let detaching = match kind {
            Kind::Producer { producer, .. } => producer.detach(Detach::Close),
            Kind::Consumer { consumer, .. } => consumer.detach(Detach::Close),
            Kind::Coordinator | Kind::Requests(_) | Kind::Replies(_) => return,
        };
        self.detaching.push(match rare {
            None => (None, detaching),
            Some(rare) => {
                let owner = self.identities.of(id).map_or(&*self.session, |other| &*other.session);
                (name, rare.end(detaching, owner))
            }
        });
        self.identities.forget(id);
    }

    /// Keeps what can be attached again.
    fn suspend(&mut self, name: Name, link: Link, tags: Vec<Tag>) {
        let Link { id, kind, rare, .. } = link;
        self.identities.forget(id);
        if let Some(resumable) = rare.and_then(|rare| rare.resumable) {
            // The link suspends as it is dropped; its session, when nobody holds it any more.
            drop(kind);
            let starts_later = match resumable.kept.from {
                TerminusExpiryPolicy::LinkDetach | TerminusExpiryPolicy::Never => false,
                TerminusExpiryPolicy::SessionEnd => !name.1.is_empty(),
                TerminusExpiryPolicy::ConnectionClose => true,
            };
            if starts_later {
                self.kept.push((name, id.session, resumable));
            }
            return;
        }
        let suspended = match kind {
            Kind::Producer { prefix, .. } => Suspended::Sender { prefix, tags },
            Kind::Consumer { mut consumer, queue: Some(queue), .. } => {
                consumer.grant(roadbed_core::Grant::credit(0));
                Suspended::Receiver { consumer, queue }
            }
            Kind::Consumer { consumer, .. } => return self.detaching.push((None, consumer.detach(Detach::Close))),
            Kind::Coordinator | Kind::Requests(_) | Kind::Replies(_) => return,
        };
        if self.suspended.len() < self.shared.config.machine.links_max as usize {
            self.suspended.insert(name, (id.session, suspended));
        }
    }
}

impl Rare {
    /// Closes what a link had beside itself, after it.
    fn end(self, detaching: Fut<()>, session: &dyn Session) -> Fut<()> {
        let Self { resumable, keeper, delete_on_close, .. } = self;
        let deleting = delete_on_close.map(|address| session.manage(Manage::Delete(address)));
        Box::pin(async move {
            detaching.await?;
            drop(keeper);
            if let Some(deleting) = deleting {
                deleting.await?;
            }
            if let Some(Resumable { core, .. }) = resumable {
                core.close(Close { will: false, expiry: Some(core::time::Duration::ZERO) }).await?;
            }
            Ok(())
        })
    }
}

/// Where a link leads.
fn address(asked: &Attach) -> Option<String> {
    match (&asked.role, asked.target.as_deref()) {
        (Role::Sender, Some(TargetArchetype::Target(target))) => target.address.clone(),
        (Role::Sender, _) => None,
        (Role::Receiver, _) => asked.source.as_ref().and_then(|source| source.address.clone()),
    }
}

/// The connection ends: what was closed before is closed, what was made for its links goes, and the rest is lost with it.
pub(super) async fn end_links(links: Links, detaching: Vec<(Option<Name>, Fut<()>)>, session: &dyn Session) {
    for (_, detaching) in detaching {
        // Nobody is left to be told.
        let _ = detaching.await;
    }
    for rare in links.into_rare() {
        if let Some(address) = rare.delete_on_close {
            let _ = session.manage(Manage::Delete(address)).await;
        }
    }
}
