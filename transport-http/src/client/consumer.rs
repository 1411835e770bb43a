//! Receiving by polling.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::Method;
use roadbed_core::{
    Address, Attached, Binding, Consumer, ConsumerTerms, Delivery, DeliveryRef, Detach, Disposition, Done, Error,
    ErrorKind, Fut, Grant, Granted, Handle, Mode, Node, Outcome, Qos, QueueSettings, Result, Settled, Step, Unbind,
};
use tokio::sync::Notify;

use super::answers::Answers;
use super::lanes::Lanes;
use super::log;
use super::manage;
use super::poller::{self, Plan};
use super::session::Link;
use super::slots::Slots;
use crate::codec::nodes::NodeDoc;

pub(super) struct HttpConsumer {
    link: Link,
    queue: Address,
    shared: Arc<Shared>,
}

/// What the consumer and its task share.
pub(super) struct Shared {
    state: Mutex<State>,
    pub(super) changed: Notify,
}

pub(super) struct State {
    /// What the queue follows by this consumer's doing.
    bound: Vec<Binding>,
    pub(super) credit: u32,
    pub(super) draining: bool,
    /// The server has no more: the drain ends once the buffer is empty.
    pub(super) drained: bool,
    pub(super) buffer: VecDeque<(Delivery, Option<String>)>,
    pub(super) slots: Slots,
    /// Steps on locks, by token.
    pub(super) steps: Lanes<String, Todo>,
    pub(super) done: Answers<Done>,
    pub(super) failed: Option<ErrorKind>,
    pub(super) closed: Option<Detach>,
    pub(super) finished: bool,
    pub(super) backlog: u32,
    pub(super) receiving: Option<Waker>,
    detaching: Option<Waker>,
}

/// A step that is to be done.
pub(super) struct Todo {
    pub(super) step: Step,
    pub(super) cookie: Option<u64>,
    /// The slot that is free once the step is done.
    pub(super) frees: Option<Handle>,
}

/// Attaches a consumer. What HTTP has no word for is refused.
pub(super) async fn attach(link: Link, terms: ConsumerTerms) -> Result<(Box<dyn Consumer>, Attached)> {
    let lacks = |what: &'static str| Err(Error::new(ErrorKind::NotSupported, "attach").detail(what));
    if terms.mode == Mode::Browse {
        return lacks("HTTP takes messages under locks: it cannot browse");
    }
    if terms.exclusive {
        return lacks("between two polls nobody is attached, so no consumer can be the only one");
    }
    let (queue, own) = match &terms.node {
        Node::Address(queue) => (queue.clone(), false),
        Node::Session | Node::Dynamic => {
            (Address::new(format!("queues/http-{}", Link::nonce()?)).map_err(illegal)?, true)
        }
        Node::Log(log) => return log::attach(link, log, &terms).await,
        _ => return lacks("HTTP has no such node"),
    };
    let plan = Plan::new(queue.clone(), own, &terms);
    if let Some(settings) = settings(&link, &terms, own) {
        let name = queue.to_path();
        let name = name.strip_prefix("queues/").ok_or_else(|| illegal("only queues/NAME can be declared"))?;
        let call = link.request(Method::PUT, format!("/v1/queues/{name}")).json(&NodeDoc::new(&settings));
        link.ask(&call, "declare").await?;
    }
    link.ask(&link.request(Method::HEAD, plan.path.clone()), "attach").await?;

    let slots = Slots::new(link.http.config.window, link.budget.clone());
    let shared = Arc::new(Shared { state: Mutex::new(State::new(slots)), changed: Notify::new() });
    tokio::spawn(poller::run(link.clone(), shared.clone(), plan));
    let attached = Attached {
        address: (terms.node != Node::Session).then(|| queue.clone()),
        qos_max: terms.qos_max.min(Qos::AtLeastOnce),
        ..Attached::default()
    };
    Ok((Box::new(HttpConsumer { link, queue, shared }), attached))
}

/// With what settings the queue is to be made, if it is.
fn settings(link: &Link, terms: &ConsumerTerms, own: bool) -> Option<QueueSettings> {
    let expires = Some(Duration::from_millis(link.http.config.session_queue_ms));
    match (&terms.declare, own) {
        (Some(settings), true) => Some(QueueSettings { expires: settings.expires.or(expires), ..settings.clone() }),
        (None, true) => {
            Some(QueueSettings { expires, dead_letters: false, priorities: false, ..QueueSettings::default() })
        }
        (declare, false) => declare.clone(),
    }
}

fn illegal(why: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Invalid, "attach").detail(why)
}

impl Consumer for HttpConsumer {
    fn grant(&mut self, grant: Grant) {
        let mut state = self.shared.lock();
        // A poll takes no part in a transaction.
        state.credit = if grant.txn.is_some() { 0 } else { grant.credit };
        (state.draining, state.drained) = (grant.drain, false);
        state.give_back_excess();
        drop(state);
        self.shared.changed.notify_one();
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>, into: &mut Vec<Delivery>, max: usize) -> Poll<Result<usize>> {
        let mut state = self.shared.lock();
        let count = state.hand_over(into, max);
        if count > 0 {
            drop(state);
            self.shared.changed.notify_one();
            return Poll::Ready(Ok(count));
        }
        if let Some(kind) = state.failed {
            return Poll::Ready(Err(Error::new(kind, "receive")));
        }
        if state.draining && (state.drained || state.credit == 0) {
            (state.draining, state.drained, state.credit) = (false, false, 0);
            return Poll::Ready(Ok(0));
        }
        if state.receiving.replace(cx.waker().clone()).is_none() {
            drop(state);
            self.shared.changed.notify_one();
        }
        Poll::Pending
    }

    fn settle(&mut self, batch: &mut Vec<Disposition>) {
        let mut state = self.shared.lock();
        for disposition in batch.drain(..) {
            state.settle(disposition, &self.link);
        }
        let waker = state.done.waker();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
        self.shared.changed.notify_one();
    }

    fn poll_settled(&mut self, cx: &mut Context<'_>, into: &mut Vec<Done>) -> Poll<Result<usize>> {
        self.shared.lock().done.poll_take(cx, into)
    }

    fn bind(&mut self, bindings: Vec<Binding>) -> Fut<Vec<Result<Granted>>> {
        let bindings = self.shared.lock().follow(bindings);
        let (link, queue) = (self.link.clone(), self.queue.clone());
        Box::pin(async move {
            let mut granted = Vec::with_capacity(bindings.len());
            for (known, binding) in bindings {
                granted.push(bind(&link, &queue, known, binding).await);
            }
            Ok(granted)
        })
    }

    fn unbind(&mut self, bindings: Vec<Unbind>) -> Fut<Vec<Result<bool>>> {
        let gone = |old: &Binding| bindings.iter().any(|gone| same(old, &gone.filter, gone.share.as_deref()));
        self.shared.lock().bound.retain(|old| !gone(old));
        let (link, queue) = (self.link.clone(), self.queue.clone());
        Box::pin(async move {
            let mut unbound = Vec::with_capacity(bindings.len());
            for unbind in bindings {
                unbound.push(manage::unbind(&link, &queue, &unbind).await.map(|count| count > 0));
            }
            Ok(unbound)
        })
    }

    fn backlog(&self) -> u32 {
        let state = self.shared.lock();
        state.backlog.saturating_add(u32::try_from(state.buffer.len()).unwrap_or(u32::MAX))
    }

    fn detach(self: Box<Self>, how: Detach) -> Fut<()> {
        let shared = self.shared.clone();
        shared.lock().closed = Some(how);
        drop(self);
        Box::pin(std::future::poll_fn(move |cx| {
            let mut state = shared.lock();
            state.detaching = Some(cx.waker().clone());
            if state.finished { Poll::Ready(Ok(())) } else { Poll::Pending }
        }))
    }
}

impl Drop for HttpConsumer {
    fn drop(&mut self) {
        self.shared.lock().closed.get_or_insert(Detach::Close);
        self.shared.changed.notify_one();
    }
}

async fn bind(link: &Link, queue: &Address, known: bool, binding: Binding) -> Result<Granted> {
    let lacks = |what: &'static str| Err(Error::new(ErrorKind::NotSupported, "bind").detail(what));
    if binding.no_local {
        return lacks("what a session sends over HTTP cannot be told from what others send");
    }
    if binding.share.is_some() {
        return lacks(
            "over HTTP a group shares a queue: make one with PUT /v1/subscriptions/NAME, and let all poll it",
        );
    }
    let replaced = manage::bind(link, queue, &binding).await? > 0 || known;
    Ok(Granted { qos: binding.qos_max.min(Qos::AtLeastOnce), replaced })
}

/// Whether the consumer forgets the delivery with this step.
fn frees(step: &Step) -> bool {
    matches!(step, Step::Outcome { settled: true, .. } | Step::Enlist { settled: true, .. })
}

fn same(binding: &Binding, filter: &roadbed_core::Filter, share: Option<&str>) -> bool {
    binding.filter == *filter && binding.share.as_deref() == share
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn new(slots: Slots) -> Self {
        Self {
            bound: Vec::new(),
            credit: 0,
            draining: false,
            drained: false,
            buffer: VecDeque::new(),
            slots,
            steps: Lanes::default(),
            done: Answers::default(),
            failed: None,
            closed: None,
            finished: false,
            backlog: 0,
            receiving: None,
            detaching: None,
        }
    }

    /// How many deliveries a poll may ask for. None while nobody waits for one: a message that is taken ahead of its time is
    /// locked for all others, and comes out of order if it is given back.
    pub(super) fn wanted(&self, page_max: u32) -> u32 {
        let asleep = self.receiving.is_none() || self.closed.is_some();
        if asleep || self.failed.is_some() || self.drained {
            return 0;
        }
        let buffered = u32::try_from(self.buffer.len()).unwrap_or(u32::MAX);
        let room = self.slots.free().saturating_sub(buffered);
        self.credit.saturating_sub(buffered).min(page_max.max(1)).min(room)
    }

    /// Notes what the queue is to follow; each with whether it did before.
    fn follow(&mut self, bindings: Vec<Binding>) -> Vec<(bool, Binding)> {
        let noted = bindings.into_iter().map(|binding| {
            let before = self.bound.len();
            self.bound.retain(|old| !same(old, &binding.filter, binding.share.as_deref()));
            let known = self.bound.len() < before;
            self.bound.push(binding.clone());
            (known, binding)
        });
        noted.collect()
    }

    /// What came in without credit goes back, as if nothing had been tried.
    pub(super) fn give_back_excess(&mut self) {
        let keep = if self.closed.is_some() { 0 } else { self.credit as usize };
        while self.buffer.len() > keep {
            if let Some((_, Some(token))) = self.buffer.pop_back() {
                let step = Step::Outcome { outcome: Outcome::Released, settled: true };
                self.steps.push(token, Todo { step, cookie: None, frees: None });
            }
        }
    }

    /// The outcome of every delivery that is held: its link has ended.
    pub(super) fn lapse(&mut self, on_lapse: &Outcome) {
        for (_, token) in self.slots.drain() {
            let step = Step::Outcome { outcome: on_lapse.clone(), settled: true };
            self.steps.push(token, Todo { step, cookie: None, frees: None });
        }
    }

    pub(super) fn renew(&mut self) {
        let held: Vec<_> = self.slots.iter().map(|(_, token)| token.clone()).collect();
        for token in held {
            self.steps.push(token, Todo { step: Step::Renew, cookie: None, frees: None });
        }
    }

    pub(super) fn finish(&mut self) {
        self.finished = true;
        let wakers = [self.detaching.take(), self.receiving.take(), self.done.end()];
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    fn hand_over(&mut self, into: &mut Vec<Delivery>, max: usize) -> usize {
        let (mut count, most) = (0, max.min(self.credit as usize));
        while count < most
            && let Some((mut delivery, token)) = self.buffer.pop_front()
        {
            if let Some(token) = token {
                // The window is full: it waits here.
                let Some(handle) = self.slots.insert(token.clone()) else {
                    self.buffer.push_front((delivery, Some(token)));
                    break;
                };
                delivery.handle = Some(handle);
            }
            if let Some(info) = &mut delivery.info {
                let brought = self.bound.iter().filter(|binding| binding.filter.matches(delivery.message.address()));
                info.bindings = brought.filter_map(|binding| binding.id).collect();
            }
            into.push(delivery);
            count += 1;
        }
        self.credit -= u32::try_from(count).unwrap_or(u32::MAX);
        count
    }

    fn settle(&mut self, disposition: Disposition, link: &Link) {
        let Disposition { delivery, cookie, step } = disposition;
        let (token, held) = match delivery {
            DeliveryRef::Handle(handle) => (self.slots.find(handle).cloned(), Some(handle)),
            DeliveryRef::Id(id) => (link.tokens.find(&id), None),
        };
        let answer = match (token, &step) {
            (None, _) => Ok(Settled::Late),
            (Some(_), Step::Settle) => {
                held.into_iter().for_each(|handle| self.slots.remove(handle));
                Ok(Settled::Applied)
            }
            (Some(token), step) => {
                let frees = held.filter(|_| frees(step));
                return self.steps.push(token, Todo { step: step.clone(), cookie, frees });
            }
        };
        self.done.put(cookie.map(|cookie| Done { cookie, result: answer }));
    }
}
