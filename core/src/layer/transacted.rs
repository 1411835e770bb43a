//! Puts what sessions do into transactions, whatever their protocol knows of them.

mod links;
mod place;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytestring::ByteString;
use tower_layer::Layer;

use self::links::{TransactedConsumer, TransactedProducer};
use self::place::Place;
use crate::{
    Attached, Capabilities, Consumer, ConsumerTerms, Endpoint, Error, ErrorKind, Fut, Open, Producer, ProducerTerms,
    Qos, Result, Session, TxnId, forward,
};

/// Makes [`Transacted`] endpoints.
#[derive(Clone, Copy, Debug)]
pub struct TransactedLayer {
    window: usize,
}

impl Default for TransactedLayer {
    /// A window of 1,024 messages.
    fn default() -> Self {
        Self::new(1024)
    }
}

impl TransactedLayer {
    /// A layer with this window: see [`Transacted::new`].
    pub const fn new(window: usize) -> Self {
        Self { window }
    }
}

impl<E: Endpoint> Layer<E> for TransactedLayer {
    type Service = Transacted<E>;

    fn layer(&self, inner: E) -> Transacted<E> {
        Transacted::new(inner, self.window)
    }
}

/// What a receiver has said that it owns cannot be given back, so an acknowledgement in two halves takes no part in a transaction:
/// deliveries are made at least once at most.
const QOS_OUT: Qos = Qos::AtLeastOnce;

/// An endpoint whose sessions can be put into transactions by the program that serves it: those of MQTT, which has none.
///
/// From [`enlist`](Self::enlist) to the end of the transaction, what the session sends is part of it and is confirmed
/// only then: accepted after a commit, rejected with [`Condition::RolledBack`](crate::Condition::RolledBack) after a rollback, which is reason code 0x83
/// in MQTT 5, and the end of the connection in MQTT 3.1.1. What it acknowledges counts only if the transaction commits; otherwise it is
/// delivered again.
#[derive(Debug)]
pub struct Transacted<E> {
    inner: E,
    capabilities: Capabilities,
    window: usize,
    sessions: Arc<Sessions>,
}

/// The named sessions that are connected.
#[derive(Default)]
struct Sessions(Mutex<BTreeMap<Name, Known>>);

/// Principal and session.
type Name = (ByteString, ByteString);

#[derive(Clone)]
struct Known {
    session: Weak<dyn Session>,
    place: Weak<Place>,
}

impl<E: Endpoint> Transacted<E> {
    /// The endpoint over `inner`, whose sessions may each have at most `window` messages without an answer in a transaction: more are
    /// refused with [`Condition::Full`](crate::Condition::Full).
    pub fn new(inner: E, window: usize) -> Self {
        let mut capabilities = inner.capabilities().clone();
        capabilities.qos_out = capabilities.qos_out.min(QOS_OUT);
        Self { inner, capabilities, window, sessions: Arc::default() }
    }

    /// Puts a connected session into a transaction that its principal may use, wherever that was declared.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such session or transaction, [`ErrorKind::Conflict`] if the session is in one already.
    pub fn enlist(&self, principal: &str, session: &str, txn: TxnId) -> Result<()> {
        let known = self.sessions.find(principal, session);
        let missing = || Error::new(ErrorKind::NotFound, "enlist").detail("there is no such session");
        let (session, place) = known.ok_or_else(missing)?;
        place.enlist(txn, session.discharged(txn))
    }
}

impl<E: Endpoint> Endpoint for Transacted<E> {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn open(&self, open: Open) -> Fut<Box<dyn Session>> {
        let (principal, asked) = (open.origin.principal.clone(), open.name.clone());
        let (opening, sessions, window) = (self.inner.open(open), self.sessions.clone(), self.window);
        Box::pin(async move {
            let inner: Arc<dyn Session> = opening.await?.into();
            let name = inner.opened().name.clone().or(asked).map(|name| (principal, name));
            let place = Arc::new(Place::new(window));
            if let Some(name) = &name {
                let known = Known { session: Arc::downgrade(&inner), place: Arc::downgrade(&place) };
                sessions.lock().insert(name.clone(), known);
            }
            Ok(Box::new(TransactedSession { inner, place, name, sessions }) as Box<dyn Session>)
        })
    }
}

impl Sessions {
    fn find(&self, principal: &str, session: &str) -> Option<(Arc<dyn Session>, Arc<Place>)> {
        let known = self.lock().get(&(principal.into(), session.into())).cloned()?;
        Some((known.session.upgrade()?, known.place.upgrade()?))
    }

    /// The session has gone; another of its name may have come.
    fn forget(&self, name: &Name, place: &Arc<Place>) {
        let mut sessions = self.lock();
        if sessions.get(name).is_some_and(|known| known.place.as_ptr() == Arc::as_ptr(place)) {
            sessions.remove(name);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Name, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl core::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_set().entries(self.lock().keys()).finish()
    }
}

struct TransactedSession {
    inner: Arc<dyn Session>,
    place: Arc<Place>,
    name: Option<Name>,
    sessions: Arc<Sessions>,
}

impl Session for TransactedSession {
    forward!(Session: opened, transaction, discharged, settle, manage, credential, poll_event, close);

    fn producer(&self, terms: ProducerTerms) -> Fut<(Box<dyn Producer>, Attached)> {
        let (attaching, place) = (self.inner.producer(terms), self.place.clone());
        Box::pin(async move {
            let (inner, attached) = attaching.await?;
            Ok((Box::new(TransactedProducer::new(inner, place)) as Box<dyn Producer>, attached))
        })
    }

    fn consumer(&self, mut terms: ConsumerTerms) -> Fut<(Box<dyn Consumer>, Attached)> {
        terms.qos_max = terms.qos_max.min(QOS_OUT);
        let (attaching, place) = (self.inner.consumer(terms), self.place.clone());
        Box::pin(async move {
            let (inner, attached) = attaching.await?;
            Ok((Box::new(TransactedConsumer::new(inner, place)) as Box<dyn Consumer>, attached))
        })
    }
}

impl Drop for TransactedSession {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            self.sessions.forget(name, &self.place);
        }
    }
}
