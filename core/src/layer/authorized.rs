//! Refuses what a principal may not do.

mod consumer;
mod memory;
mod producer;

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::task::{Context, Poll};
use std::sync::{Mutex, PoisonError};

use tower_layer::Layer;

use crate::{
    Action, Address, Attached, Authorizer, Capabilities, Condition, Consumer, ConsumerTerms, Disposition, Done,
    Endpoint, Error, ErrorKind, Fut, Manage, Managed, Message, Node, Open, Producer, ProducerTerms, Result, Rights,
    Session, SessionEvent, forward,
};
use consumer::AuthorizedConsumer;
use memory::Memory;
pub use memory::{Refusals, RefusalsSnapshot};
use producer::AuthorizedProducer;

/// Makes [`Authorized`] endpoints.
#[derive(Clone)]
pub struct AuthorizedLayer {
    authorizer: Arc<dyn Authorizer>,
    refusals: Arc<Refusals>,
}

impl AuthorizedLayer {
    /// A layer that asks `authorizer`, and counts what is refused.
    pub const fn new(authorizer: Arc<dyn Authorizer>, refusals: Arc<Refusals>) -> Self {
        Self { authorizer, refusals }
    }
}

impl core::fmt::Debug for AuthorizedLayer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("AuthorizedLayer").finish_non_exhaustive()
    }
}

impl<E: Endpoint + 'static> Layer<E> for AuthorizedLayer {
    type Service = Authorized<E>;

    fn layer(&self, inner: E) -> Authorized<E> {
        Authorized { inner: Arc::new(inner), layer: self.clone() }
    }
}

/// An endpoint at which everybody does what they may, and nothing else.
///
/// What is checked, and when: the will and the name when a session opens; each address that is sent to, also within transactions, and the reply
/// address of what has a deadline, since the endpoint sends there when it is missed; each filter
/// that is followed, shared or not; each queue and log that is received from; each node that is declared, changed or deleted; and again, at
/// delivery, each address of what comes to a session by its filters: retained values, what waited for a kept session, and what is under way when
/// the rights change. A consumer whose node is not allowed any more ends; a filter that is not is taken away.
pub struct Authorized<E> {
    inner: Arc<E>,
    layer: AuthorizedLayer,
}

impl<E> core::fmt::Debug for Authorized<E> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Authorized").finish_non_exhaustive()
    }
}

impl<E: Endpoint + 'static> Endpoint for Authorized<E> {
    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    fn open(&self, open: Open) -> Fut<Box<dyn Session>> {
        let (inner, layer) = (Arc::clone(&self.inner), self.layer.clone());
        Box::pin(async move {
            let rights = layer.authorizer.rights(&open.origin.principal).await?;
            let right = Right { rights, refusals: layer.refusals, own: Arc::default() };
            let will: Vec<_> = open.will.iter().flat_map(|will| reached(&will.message)).cloned().collect();
            for address in &will {
                right.check("open", Action::Send(address))?;
            }
            let (inner, version) = (inner.open(open).await?, Mutex::new(right.rights.version()));
            Ok(Box::new(AuthorizedSession { inner, right, will, version }) as Box<dyn Session>)
        })
    }
}

/// What a session may do.
#[derive(Clone)]
struct Right {
    rights: Arc<dyn Rights>,
    refusals: Arc<Refusals>,
    /// Nodes that were made for its links: with these it may do what it likes.
    own: Arc<Own>,
}

#[derive(Default)]
struct Own(Mutex<BTreeSet<Address>>);

impl Own {
    fn add(&self, address: &Address) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(address.detach());
    }

    fn has(&self, address: &Address) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(address)
    }
}

impl Right {
    fn allows(&self, action: Action<'_>) -> bool {
        if self.rights.allows(action) {
            return true;
        }
        match action {
            Action::Send(address) | Action::Receive(address) | Action::Manage(address) => self.own.has(address),
            Action::Bind(filter) => filter.as_address().is_some_and(|address| self.own.has(&address)),
        }
    }

    fn check(&self, operation: &'static str, action: Action<'_>) -> Result<()> {
        if self.allows(action) {
            return Ok(());
        }
        self.refusals.count(action);
        Err(Error::new(ErrorKind::Unauthorized, operation).detail(action))
    }
}

struct AuthorizedSession {
    inner: Box<dyn Session>,
    right: Right,
    /// Where the will reaches.
    will: Vec<Address>,
    /// The rights as they were when the will was looked at.
    version: Mutex<u64>,
}

impl AuthorizedSession {
    /// Whether there is a will that its owner may not have any more.
    fn has_foul_will(&self) -> bool {
        if self.will.is_empty() {
            return false;
        }
        let mut seen = self.version.lock().unwrap_or_else(PoisonError::into_inner);
        let version = self.right.rights.version();
        if core::mem::replace(&mut *seen, version) == version {
            return false;
        }
        !self.will.iter().all(|address| self.right.allows(Action::Send(address)))
    }
}

/// Where a message reaches: its address, and where the endpoint itself would answer for its sender, who has to be allowed to send there, too.
fn reached(message: &Message) -> impl Iterator<Item = &Address> {
    let details = message.details();
    let answered = details.reply_to.as_ref().filter(|_| details.deadline.is_some());
    core::iter::once(message.address()).chain(answered)
}

impl Session for AuthorizedSession {
    forward!(Session: opened, transaction, discharged, credential, close);

    fn producer(&self, terms: ProducerTerms) -> Fut<(Box<dyn Producer>, Attached)> {
        if let Some(to) = &terms.to
            && let Err(error) = self.right.check("attach", Action::Send(to))
        {
            return Box::pin(async { Err(error) });
        }
        let (attaching, right) = (self.inner.producer(terms), self.right.clone());
        Box::pin(async move {
            let (inner, attached) = attaching.await?;
            Ok((Box::new(AuthorizedProducer::new(inner, Memory::new(right))) as Box<dyn Producer>, attached))
        })
    }

    fn consumer(&self, terms: ConsumerTerms) -> Fut<(Box<dyn Consumer>, Attached)> {
        if let Err(error) = self.may_attach(&terms) {
            return Box::pin(async { Err(error) });
        }
        let (node, right) = (terms.node.clone(), self.right.clone());
        let attaching = self.inner.consumer(terms);
        Box::pin(async move {
            let (inner, attached) = attaching.await?;
            if let (Node::Dynamic, Some(address)) = (&node, &attached.address) {
                right.own.add(address);
            }
            let (consumer, attached) = AuthorizedConsumer::attach(inner, attached, node, Memory::new(right)).await?;
            Ok((Box::new(consumer) as Box<dyn Consumer>, attached))
        })
    }

    fn settle(&self, batch: Vec<Disposition>) -> Fut<Vec<Done>> {
        // Whose a delivery is, the endpoint knows: an owner may always say what became of what it holds.
        self.inner.settle(batch)
    }

    fn manage(&self, request: Manage) -> Fut<Managed> {
        match self.may_manage(&request) {
            Ok(()) => self.inner.manage(request),
            Err(error) => Box::pin(async { Err(error) }),
        }
    }

    fn poll_event(&self, cx: &mut Context<'_>) -> Poll<SessionEvent> {
        if self.has_foul_will() {
            return Poll::Ready(SessionEvent::Revoked(Condition::Unauthorized));
        }
        self.inner.poll_event(cx)
    }
}

impl AuthorizedSession {
    fn may_attach(&self, terms: &ConsumerTerms) -> Result<()> {
        let address = match &terms.node {
            Node::Session | Node::Dynamic => return Ok(()),
            Node::Address(address) => address,
            Node::Log(log) => &log.address,
        };
        self.right.check("attach", Action::Receive(address))?;
        match terms.declare {
            Some(_) => self.right.check("attach", Action::Manage(address)),
            None => Ok(()),
        }
    }

    fn may_manage(&self, request: &Manage) -> Result<()> {
        let check = |action| self.right.check("manage", action);
        match request {
            Manage::Declare(address, _)
            | Manage::Delete(address)
            | Manage::Purge(address)
            | Manage::DeclareLog(address, _)
            | Manage::Trim(address, _)
            | Manage::Unbind(address, _) => check(Action::Manage(address)),
            // What a node follows, its readers get: whoever binds it must be allowed to follow that, too.
            Manage::Bind(address, binding) => {
                check(Action::Manage(address))?;
                check(Action::Bind(&binding.filter))
            }
            Manage::Describe(address) if self.right.allows(Action::Receive(address)) => Ok(()),
            Manage::Describe(address) => check(Action::Manage(address)),
            // Forward is where reading for the group leads, too; back is not.
            Manage::Checkpoint(checkpoint) if checkpoint.set.is_some() && checkpoint.force => {
                check(Action::Manage(&checkpoint.partition))
            }
            Manage::Checkpoint(checkpoint) => check(Action::Receive(&checkpoint.partition)),
        }
    }
}
