//! What one principal may use: sessions at a time, messages a second.

mod allowance;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use core::task::{Context, Poll};
use std::sync::{Mutex, PoisonError};

use bytestring::ByteString;
use tower_layer::Layer;

use super::refused::Refused;
use crate::{
    Attached, Capabilities, Clock, Condition, Confirm, Endpoint, Error, ErrorKind, Fut, Open, Outgoing, Producer,
    ProducerTerms, Result, Session, Timer, forward,
};
use allowance::Allowance;

/// What each principal may use; nobody in particular has no ration. 0 is no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rations {
    /// Sessions that are connected at a time; more are refused with [`ErrorKind::Exhausted`].
    pub sessions_max: u32,
    /// Messages a second, over all its sessions. A producer with an address is not read from until it may send again; what others send is rejected with
    /// [`Condition::Full`].
    pub messages_per_second: u32,
    /// Messages that it may send at once after it has been silent; 0: as many as in a second.
    pub burst: u32,
}

/// What was refused, over all principals.
#[derive(Debug, Default)]
pub struct RationMeter {
    sessions: AtomicU64,
    messages: AtomicU64,
}

impl RationMeter {
    /// Sessions and messages that were refused since the start.
    pub fn refused(&self) -> (u64, u64) {
        (self.sessions.load(Ordering::Relaxed), self.messages.load(Ordering::Relaxed))
    }
}

/// Makes [`Rationed`] endpoints. All that come from one layer share what they count.
#[derive(Clone, Debug)]
pub struct RationedLayer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    rations: Rations,
    clock: Arc<dyn Clock>,
    meter: Arc<RationMeter>,
    accounts: Mutex<BTreeMap<ByteString, Arc<Account>>>,
}

/// What a principal uses, as long as it has a session.
#[derive(Debug)]
struct Account {
    sessions: AtomicU64,
    allowance: Allowance,
}

impl RationedLayer {
    /// A layer with these rations.
    pub fn new(rations: Rations, clock: Arc<dyn Clock>, meter: Arc<RationMeter>) -> Self {
        Self(Arc::new(Shared { rations, clock, meter, accounts: Mutex::default() }))
    }
}

impl<E: Endpoint> Layer<E> for RationedLayer {
    type Service = Rationed<E>;

    fn layer(&self, inner: E) -> Rationed<E> {
        Rationed { inner, shared: Arc::clone(&self.0) }
    }
}

/// An endpoint of which nobody gets more than its ration.
#[derive(Debug)]
pub struct Rationed<E> {
    inner: E,
    shared: Arc<Shared>,
}

impl<E: Endpoint> Endpoint for Rationed<E> {
    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    fn open(&self, open: Open) -> Fut<Box<dyn Session>> {
        if open.origin.principal.is_empty() {
            return self.inner.open(open);
        }
        let Some(place) = Place::take(&self.shared, &open.origin.principal) else {
            self.shared.meter.sessions.fetch_add(1, Ordering::Relaxed);
            let words = "this principal has as many sessions as it may have";
            return Box::pin(async move { Err(Error::new(ErrorKind::Exhausted, "open").detail(words)) });
        };
        let opening = self.inner.open(open);
        Box::pin(async move { Ok(Box::new(RationedSession { inner: opening.await?, place }) as Box<dyn Session>) })
    }
}

/// A place among the sessions of a principal, free again when dropped.
struct Place {
    shared: Arc<Shared>,
    principal: ByteString,
    account: Arc<Account>,
}

impl Place {
    fn take(shared: &Arc<Shared>, principal: &ByteString) -> Option<Self> {
        let mut accounts = shared.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let account = match accounts.get(principal) {
            Some(account) => Arc::clone(account),
            None => {
                let Rations { messages_per_second, burst, .. } = shared.rations;
                let allowance = Allowance::new(messages_per_second, burst);
                let account = Arc::new(Account { sessions: AtomicU64::new(0), allowance });
                // In memory of its own: the name may be a slice of what was read.
                let name = ByteString::from(alloc::string::String::from(&**principal));
                accounts.insert(name, Arc::clone(&account));
                account
            }
        };
        let max = u64::from(shared.rations.sessions_max);
        if max > 0 && account.sessions.load(Ordering::Relaxed) >= max {
            return None;
        }
        account.sessions.fetch_add(1, Ordering::Relaxed);
        drop(accounts);
        Some(Self { shared: Arc::clone(shared), principal: principal.clone(), account })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut accounts = self.shared.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let others = self.account.sessions.fetch_sub(1, Ordering::Relaxed) - 1;
        // Who comes back at once must not have a new ration each time.
        if others == 0 && self.account.allowance.is_whole(self.shared.clock.now()) {
            accounts.remove(&self.principal);
        }
        let due = accounts.len() > 1024 && accounts.len().is_power_of_two();
        if due {
            let now = self.shared.clock.now();
            accounts
                .retain(|_, account| account.sessions.load(Ordering::Relaxed) > 0 || !account.allowance.is_whole(now));
        }
    }
}

struct RationedSession {
    inner: Box<dyn Session>,
    place: Place,
}

impl Session for RationedSession {
    forward!(Session: opened, consumer, transaction, discharged, settle, manage, credential, poll_event, close);

    fn producer(&self, terms: ProducerTerms) -> Fut<(Box<dyn Producer>, Attached)> {
        if self.place.shared.rations.messages_per_second == 0 {
            return self.inner.producer(terms);
        }
        let (shared, account) = (Arc::clone(&self.place.shared), Arc::clone(&self.place.account));
        let (addressed, attaching) = (terms.to.is_some(), self.inner.producer(terms));
        Box::pin(async move {
            let (inner, attached) = attaching.await?;
            let (timer, refused) = (Timer::default(), Refused::default());
            let producer = RationedProducer { inner, shared, account, addressed, timer, refused };
            Ok((Box::new(producer) as Box<dyn Producer>, attached))
        })
    }
}

struct RationedProducer {
    inner: Box<dyn Producer>,
    shared: Arc<Shared>,
    account: Arc<Account>,
    addressed: bool,
    timer: Timer,
    refused: Refused,
}

impl Producer for RationedProducer {
    forward!(Producer: forget, poll_forgotten, detach);

    fn poll_reserve(&mut self, cx: &mut Context<'_>, messages: u32, bytes: usize) -> Poll<Result<u32>> {
        if self.addressed {
            let now = self.shared.clock.now();
            let free_at = self.account.allowance.free_at(now);
            if !free_at.has_passed(now) && self.timer.poll(cx, now, Some(free_at)).is_pending() {
                return Poll::Pending;
            }
        }
        self.inner.poll_reserve(cx, messages, bytes)
    }

    fn send(&mut self, batch: &mut Vec<Outgoing>) {
        let allowed = self.account.allowance.take(self.shared.clock.now(), batch.len());
        let over: Vec<_> = batch.drain(allowed..).collect();
        self.shared.meter.messages.fetch_add(over.len() as u64, Ordering::Relaxed);
        over.iter().for_each(|outgoing| self.refused.add(outgoing, Condition::Full));
        self.inner.send(batch);
    }

    fn poll_confirms(&mut self, cx: &mut Context<'_>, into: &mut Vec<Confirm>) -> Poll<Result<usize>> {
        self.refused.poll_confirms(&mut *self.inner, cx, into)
    }
}
