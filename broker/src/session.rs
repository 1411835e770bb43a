//! One authenticated attachment to the broker.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use roadbed_core::{
    Attached, Close, Condition, Consumer, ConsumerTerms, Credential, Disposition, Done, Error, ErrorKind, Fut, Manage,
    Managed, Node, Open, Opened, Producer, ProducerTerms, Qos, Result, Scope, Session, SessionEvent, Time, Transaction,
    TxnId,
};

use bytestring::ByteString;

use crate::broker::{Broker, Shared};
use crate::consumer::{LogConsumer, MailConsumer, QueueConsumer};
use crate::lock;
use crate::mailbox::SessionCore;
use crate::producer::BrokerProducer;
use crate::registry::assigned_name;
use crate::settlement::asker;
use crate::store::Op;
use crate::txn::BrokerTransaction;
use crate::waiter::waiter;
use crate::wakers;

/// A session of the broker. Dropped, its connection counts as lost.
#[derive(Debug)]
pub(crate) struct BrokerSession {
    broker: Broker,
    core: Arc<SessionCore>,
    epoch: u32,
    opened: Opened,
}

/// Opens a session; what is returned second waits for the store.
pub(crate) fn open(broker: &Broker, open: Open) -> Result<(BrokerSession, Stored)> {
    let shared = broker.shared();
    let expiry = open.expiry.min(Duration::from_secs(shared.settings.session_expiry_seconds_max));
    let name = name(shared, &open, expiry)?;
    let window = match open.window {
        0 => shared.settings.session_window_max,
        window => window.min(shared.settings.session_window_max),
    };
    let scope = if open.scope == Scope::default() { Scope::unique() } else { open.scope };
    let (core, epoch, resumed) = loop {
        if let Some(claimed) = claim(shared, &open, name.as_ref(), window)? {
            break claimed;
        }
    };
    {
        let mut inner = lock(&core.inner);
        if core.epoch() == epoch {
            inner.scope = scope;
            if !std::mem::replace(&mut inner.connected, true) {
                shared.meters.sessions_connected.one();
            }
            inner.window = window;
            inner.set_expiry(expiry);
            if open.will.is_some() || !open.linger.is_zero() || inner.cold.is_some() {
                let cold = inner.cold();
                (cold.linger, cold.will, cold.life) = (open.linger, open.will, None);
            }
            // What was kept and now ends with its connection is in the store until then: it holds messages that only the store has.
            let kept = expiry > Duration::ZERO || inner.durable.is_some();
            inner.durable = (kept && name.is_some()).then(|| core.queue_id(shared));
        }
    }
    shared.meters.sessions_connected_max.raise_to(shared.meters.sessions_connected.load());
    let in_doubt = lock(&core.keys).as_ref().map_or_else(Vec::new, |keys| keys.in_order());
    let opened = Opened {
        resumed,
        name,
        expiry: lock(&core.inner).expiry(),
        qos_max: Qos::ExactlyOnce,
        message_bytes_max: shared.settings.message_bytes_max,
        in_doubt,
    };
    let stored = stored(broker, &core);
    Ok((BrokerSession { broker: broker.clone(), core, epoch, opened }, stored))
}

/// The session's name, in memory of its own: the given one, or an assigned one if it needs one.
fn name(shared: &Shared, open: &Open, expiry: Duration) -> Result<Option<ByteString>> {
    let mut tables = shared.registry.lock();
    if tables.draining {
        return Err(Error::new(ErrorKind::Closed, "open").detail("the broker is shutting down"));
    }
    Ok(match &open.name {
        Some(name) => Some(String::from(&**name).into()),
        None if expiry > Duration::ZERO => {
            tables.assigned += 1;
            Some(assigned_name(shared.settings.seed, shared.boot_epoch, tables.assigned).into())
        }
        None => None,
    })
}

/// Takes the kept session of this name over, or makes a new one; with its epoch, and whether it was kept. `None` if somebody else
/// was quicker: try again.
fn claim(
    shared: &Shared,
    open: &Open,
    name: Option<&ByteString>,
    window: u16,
) -> Result<Option<(Arc<SessionCore>, u32, bool)>> {
    let principal = &open.origin.principal;
    let known = name.and_then(|name| shared.registry.lock().named.get(principal, name).cloned());
    if let Some(known) = known {
        let resumed = open.resume && lock(&known.inner).expiry() > Duration::ZERO;
        let epoch = shared.take_over(&known, resumed);
        if resumed {
            let ended = lock(&known.inner).ended;
            return Ok((!ended).then_some((known, epoch, true)));
        }
        shared.end_session(&known);
    }
    let mut tables = shared.registry.lock();
    if name.is_some_and(|name| tables.named.get(principal, name).is_some()) {
        return Ok(None);
    }
    if tables.all.len() >= shared.settings.sessions_max {
        shared.meters.sessions_refused.one();
        return Err(Error::new(ErrorKind::Exhausted, "open").detail("there are too many sessions"));
    }
    let id = shared.next_session_id();
    let core = Arc::new(SessionCore::new(id, name.cloned(), open.origin.clone(), window, shared.positions.first()));
    tables.all.insert(id, core.clone());
    tables.named.insert(&core);
    shared.meters.sessions.one();
    Ok(Some((core.clone(), core.epoch(), false)))
}

/// A step that is done when the store has it.
pub(crate) type Stored = std::pin::Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// Tells the store of the session as it is now, if it outlives us, or of its will alone, if that does.
pub(crate) fn stored(broker: &Broker, core: &SessionCore) -> Stored {
    let shared = broker.shared();
    match shared.session_op(core, None).or_else(|| shared.will_op(core)) {
        Some(op) => shared.store(vec![op]),
        None => Box::pin(std::future::ready(Ok(()))),
    }
}

/// What was changed is in the store before it is said to be done: behind everything that was submitted.
fn managed(shared: &Shared, request: Manage) -> Fut<Managed> {
    let changes = !matches!(request, Manage::Describe(_));
    let managed = shared.manage(request);
    if !changes || managed.is_err() {
        return Box::pin(std::future::ready(managed));
    }
    let stored = shared.store(Vec::new());
    Box::pin(async move { stored.await.and(managed) })
}

impl Shared {
    /// Done when the store has the operations, and everything that was submitted before.
    pub(crate) fn store(&self, ops: Vec<Op>) -> Stored {
        let stored = self.store_under_lock(ops);
        self.commits.pump(self);
        stored
    }

    /// The same by who has a lock; see [`submit_under_lock`](crate::commits::Commits::submit_under_lock).
    pub(crate) fn store_under_lock(&self, ops: Vec<Op>) -> Stored {
        let (answer, waiter) = waiter();
        let then = move |_: &Self, result: Result<(), crate::StoreError>| answer.give(committed(result));
        self.commits.submit_under_lock(self, || (Vec::new(), ops), Box::new(then));
        Box::pin(waiter)
    }
}

/// The store's answer in the words of the core.
pub(crate) fn committed(result: Result<(), crate::StoreError>) -> Result<()> {
    result.map_err(|error| {
        let kind = if error == crate::StoreError::Full { ErrorKind::StoreFull } else { ErrorKind::Failed };
        Error::new(kind, "commit").because(error)
    })
}

impl BrokerSession {
    fn check(&self, operation: &'static str) -> Result<()> {
        if self.core.epoch() == self.epoch {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Closed, operation).detail("the session is not here any more"))
    }

    fn attach_queue(&self, terms: ConsumerTerms) -> Result<(Box<dyn Consumer>, Attached)> {
        let (consumer, attached) = QueueConsumer::attach(&self.broker, &self.core, self.epoch, terms)?;
        Ok((Box::new(consumer), attached))
    }

    /// A consumer, and what the store is to know before it has anything.
    fn attach(&self, terms: ConsumerTerms) -> Result<(Box<dyn Consumer>, Attached, Vec<Op>)> {
        self.check("attach")?;
        let (consumer, attached): (Box<dyn Consumer>, _) = match terms.node {
            Node::Session => {
                let (consumer, attached) = MailConsumer::attach(&self.broker, &self.core, self.epoch, terms)?;
                (Box::new(consumer), attached)
            }
            Node::Log(ref log) => {
                let (consumer, attached, ops) = LogConsumer::attach(&self.broker, &self.core, self.epoch, log, &terms)?;
                return Ok((Box::new(consumer), attached, ops));
            }
            _ => self.attach_queue(terms)?,
        };
        Ok((consumer, attached, Vec::new()))
    }
}

impl Session for BrokerSession {
    fn opened(&self) -> &Opened {
        &self.opened
    }

    fn producer(&self, terms: ProducerTerms) -> Fut<(Box<dyn Producer>, Attached)> {
        let attached = self.check("attach").and_then(|()| {
            if let Some(to) = &terms.to {
                self.broker.shared().route(to).map_err(|condition| {
                    Error::new(refusal(condition), "attach").detail(format!("{to}: {condition}"))
                })?;
            }
            let producer = BrokerProducer::new(self.broker.clone(), self.core.clone(), self.epoch, terms.to.clone());
            let attached = Attached { address: terms.to, qos_max: Qos::ExactlyOnce, ..Attached::default() };
            Ok((Box::new(producer) as Box<dyn Producer>, attached))
        });
        Box::pin(std::future::ready(attached))
    }

    fn consumer(&self, terms: ConsumerTerms) -> Fut<(Box<dyn Consumer>, Attached)> {
        match self.attach(terms) {
            Ok((consumer, attached, ops)) if !ops.is_empty() => {
                let stored = self.broker.shared().store(ops);
                Box::pin(async move { stored.await.map(|()| (consumer, attached)) })
            }
            attached => Box::pin(std::future::ready(attached.map(|(consumer, attached, _)| (consumer, attached)))),
        }
    }

    fn transaction(&self) -> Fut<Box<dyn Transaction>> {
        let shared = self.broker.shared();
        let begun = self.check("begin").and_then(|()| shared.txns.begin(shared, &self.core));
        let transaction = begun.map(|(id, until)| {
            Box::new(BrokerTransaction::new(self.broker.clone(), id, until)) as Box<dyn Transaction>
        });
        Box::pin(std::future::ready(transaction))
    }

    fn discharged(&self, txn: TxnId) -> Fut<bool> {
        let ended = self.check("wait").and_then(|()| self.broker.shared().txns.watch(txn, &self.core));
        Box::pin(async move { Ok(ended?.await) })
    }

    fn settle(&self, mut batch: Vec<Disposition>) -> Fut<Vec<Done>> {
        if let Err(error) = self.check("settle") {
            return Box::pin(std::future::ready(Err(error)));
        }
        let cookies: Vec<u64> = batch.iter().map(|disposition| disposition.cookie.unwrap_or_default()).collect();
        for (n, disposition) in batch.iter_mut().enumerate() {
            disposition.cookie = Some(n as u64);
        }
        let (answer, waiter) = waiter();
        let shared = self.broker.shared();
        shared.settle(&self.core, self.epoch, &asker(&self.core), &mut batch, move |_, dones| answer.give(dones));
        Box::pin(async move {
            let mut dones: Vec<Done> = waiter.await;
            dones.sort_by_key(|done| done.cookie);
            for (done, cookie) in dones.iter_mut().zip(cookies) {
                done.cookie = cookie;
            }
            Ok(dones)
        })
    }

    fn manage(&self, request: Manage) -> Fut<Managed> {
        let shared = self.broker.shared();
        if let Err(error) = self.check("manage") {
            return Box::pin(std::future::ready(Err(error)));
        }
        match shared.manage_log(&request) {
            Some(answered) => Box::pin(async move { answered?.await }),
            None => managed(shared, request),
        }
    }

    fn credential(&self, _credential: Credential) -> Fut<Option<Time>> {
        // Who may be here is for a layer to say; to the broker, every principal is authenticated.
        Box::pin(std::future::ready(Ok(None)))
    }

    fn poll_event(&self, cx: &mut Context<'_>) -> Poll<SessionEvent> {
        let mut inner = lock(&self.core.inner);
        if self.core.epoch() != self.epoch {
            return Poll::Ready(SessionEvent::TakenOver);
        }
        if let Some(event) = inner.cold.as_mut().and_then(|cold| cold.events.pop_front()) {
            return Poll::Ready(event);
        }
        wakers::keep(&mut inner.event_waker, cx.waker());
        Poll::Pending
    }

    fn close(&self, close: Close) -> Fut<()> {
        self.broker.shared().disconnect(&self.core, self.epoch, Some(close));
        Box::pin(std::future::ready(Ok(())))
    }
}

/// What kind of error it is that nothing can be sent to an address.
const fn refusal(condition: Condition) -> ErrorKind {
    match condition {
        Condition::Unauthorized => ErrorKind::Unauthorized,
        Condition::InvalidAddress => ErrorKind::Invalid,
        Condition::NotSupported => ErrorKind::NotSupported,
        _ => ErrorKind::NotFound,
    }
}

impl Drop for BrokerSession {
    fn drop(&mut self) {
        self.broker.shared().disconnect(&self.core, self.epoch, None);
    }
}
