//! Reading logs: pages of partitions, and the checkpoints of a group.

mod reader;
mod window;

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use roadbed_core::{
    Attached, Binding, Consumer, ConsumerTerms, Delivery, DeliveryRef, Detach, Disposition, Done, Error, ErrorKind,
    Fut, Grant, Granted, LogDescription, LogPlace, LogTerms, Qos, Result, Settled, Step, Unbind,
};
use tokio::sync::Notify;

use super::answers::Answers;
use super::manage;
use super::session::Link;
use super::slots::Slots;
use reader::Plan;
use window::Windows;

struct LogConsumer {
    shared: Arc<Shared>,
}

/// What the consumer and its task share.
pub(super) struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

struct State {
    /// The consumer is to settle.
    settles: bool,
    qos: Qos,
    credit: u32,
    /// The partitions that may still have something for a drain.
    draining: Option<BTreeSet<u32>>,
    buffer: VecDeque<Delivery>,
    slots: Slots<LogPlace>,
    windows: Windows,
    done: Answers<Done>,
    failed: Option<Failed>,
    closed: bool,
    finished: bool,
    receiving: Option<Waker>,
    detaching: Option<Waker>,
}

/// Why nothing comes any more.
#[derive(Clone)]
struct Failed {
    kind: ErrorKind,
    words: String,
}

/// Attaches a reader. What HTTP has no word for is refused.
pub(super) async fn attach(link: Link, log: &LogTerms, terms: &ConsumerTerms) -> Result<(Box<dyn Consumer>, Attached)> {
    if log.epoch.is_some() {
        let words = "between two reads nobody is attached: over HTTP no reader has a partition for itself";
        return Err(Error::new(ErrorKind::NotSupported, "attach").detail(words));
    }
    let missing = || Error::new(ErrorKind::NotFound, "attach").detail(format!("there is no log {}", log.address));
    let (name, partition) = log.address.log_place().ok_or_else(missing)?;
    let described = manage::describe_log(&link, name).await?;
    if partition.is_some_and(|partition| partition as usize >= described.partitions.len()) {
        return Err(missing());
    }
    let qos_max = terms.qos_max.min(Qos::AtLeastOnce);
    let plan = Plan::new(log, name, partition, &described.partitions);
    let shared = Arc::new(Shared { state: Mutex::new(State::new(&link, qos_max, log)), changed: Notify::new() });
    plan.begin(&mut shared.lock().windows);
    tokio::spawn(reader::run(link, shared.clone(), plan));
    let LogDescription { bindings, .. } = described;
    let attached = Attached { address: Some(log.address.clone()), qos_max, bindings, ..Attached::default() };
    Ok((Box::new(LogConsumer { shared }), attached))
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Consumer for LogConsumer {
    fn grant(&mut self, grant: Grant) {
        let mut state = self.shared.lock();
        // A read takes no part in a transaction.
        state.credit = if grant.txn.is_some() { 0 } else { grant.credit };
        state.draining = grant.drain.then(|| state.windows.partitions().collect());
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
        if let Some(Failed { kind, words }) = state.failed.clone() {
            return Poll::Ready(Err(Error::new(kind, "receive").detail(words)));
        }
        let drained = state.draining.as_ref().is_some_and(|left| left.is_empty() && state.buffer.is_empty());
        if drained || (state.draining.is_some() && state.credit == 0) {
            (state.draining, state.credit) = (None, 0);
            return Poll::Ready(Ok(0));
        }
        state.receiving = Some(cx.waker().clone());
        Poll::Pending
    }

    fn settle(&mut self, batch: &mut Vec<Disposition>) {
        let mut state = self.shared.lock();
        batch.drain(..).for_each(|disposition| state.settle(disposition));
        let waker = state.done.waker();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
        self.shared.changed.notify_one();
    }

    fn poll_settled(&mut self, cx: &mut Context<'_>, into: &mut Vec<Done>) -> Poll<Result<usize>> {
        self.shared.lock().done.poll_take(cx, into)
    }

    fn bind(&mut self, _bindings: Vec<Binding>) -> Fut<Vec<Result<Granted>>> {
        Box::pin(std::future::ready(Err(unbound())))
    }

    fn unbind(&mut self, _bindings: Vec<Unbind>) -> Fut<Vec<Result<bool>>> {
        Box::pin(std::future::ready(Err(unbound())))
    }

    fn backlog(&self) -> u32 {
        u32::try_from(self.shared.lock().buffer.len()).unwrap_or(u32::MAX)
    }

    /// What is not settled stays before the checkpoint, whatever the way.
    fn detach(self: Box<Self>, _how: Detach) -> Fut<()> {
        let shared = self.shared.clone();
        drop(self);
        Box::pin(std::future::poll_fn(move |cx| {
            let mut state = shared.lock();
            state.detaching = Some(cx.waker().clone());
            if state.finished { Poll::Ready(Ok(())) } else { Poll::Pending }
        }))
    }
}

impl Drop for LogConsumer {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_one();
    }
}

fn unbound() -> Error {
    Error::new(ErrorKind::NotSupported, "bind").detail("what a log follows is asked of the log, not of a reader")
}

impl State {
    fn new(link: &Link, qos: Qos, log: &LogTerms) -> Self {
        Self {
            settles: qos > Qos::AtMostOnce,
            qos,
            credit: 0,
            draining: None,
            buffer: VecDeque::new(),
            slots: Slots::new(link.http.config.window, link.budget.clone()),
            windows: Windows::new(log.group.is_some()),
            done: Answers::default(),
            failed: None,
            closed: false,
            finished: false,
            receiving: None,
            detaching: None,
        }
    }

    /// How many messages are to be read. What is read ahead is taken from nobody, but needs room here.
    fn wanted(&self, page_max: u32) -> u32 {
        if self.closed || self.failed.is_some() {
            return 0;
        }
        let buffered = u32::try_from(self.buffer.len()).unwrap_or(u32::MAX);
        self.credit.saturating_sub(buffered).min(page_max.max(1))
    }

    fn hand_over(&mut self, into: &mut Vec<Delivery>, max: usize) -> usize {
        let (mut count, most) = (0, max.min(self.credit as usize));
        while count < most
            && let Some(mut delivery) = self.buffer.pop_front()
        {
            let place = delivery.info.as_ref().and_then(|info| info.log);
            if let Some(place) = place {
                if self.settles {
                    let Some(handle) = self.slots.insert(place) else {
                        // The window is full: it waits here.
                        self.buffer.push_front(delivery);
                        break;
                    };
                    delivery.handle = Some(handle);
                }
                self.windows.handed(place, self.settles);
            }
            delivery.qos = self.qos;
            into.push(delivery);
            count += 1;
        }
        if self.credit != Grant::UNLIMITED {
            self.credit -= u32::try_from(count).unwrap_or(u32::MAX);
        }
        count
    }

    fn settle(&mut self, Disposition { delivery, cookie, step }: Disposition) {
        let place = match delivery {
            DeliveryRef::Handle(handle) => self.slots.find(handle).copied().map(|place| (handle, place)),
            DeliveryRef::Id(_) => None,
        };
        let result =
            match (place, step) {
                (None, _) => Ok(Settled::Late),
                (Some((handle, place)), Step::Outcome { outcome, .. }) => {
                    self.slots.remove(handle);
                    if self.windows.settled(place, &outcome, cookie) {
                        // The answer comes when the server has the checkpoint.
                        return;
                    }
                    Ok(Settled::Applied)
                }
                (Some((handle, _)), Step::Settle) => {
                    self.slots.remove(handle);
                    Ok(Settled::Applied)
                }
                (Some(_), Step::Enlist { .. }) => Err(Error::new(ErrorKind::NotSupported, "settle")
                    .detail("over HTTP a checkpoint is a request of its own, and in no transaction")),
                (Some(_), _) => Err(Error::new(ErrorKind::Invalid, "settle")
                    .detail("nothing of a log is held: there is no lease to renew")),
            };
        self.done.put(cookie.map(|cookie| Done { cookie, result }));
    }

    fn fail(&mut self, error: &Error) {
        let words = error.words().unwrap_or(error.kind().as_str()).to_owned();
        self.failed.get_or_insert(Failed { kind: error.kind(), words });
        self.wake();
    }

    fn wake(&mut self) {
        self.receiving.take().into_iter().for_each(Waker::wake);
    }

    fn answer(&mut self, cookies: Vec<u64>, result: &Result<(), Failed>) {
        let told = |cookie| {
            let result = result.clone().map(|()| Settled::Applied);
            Done { cookie, result: result.map_err(|Failed { kind, words }| Error::new(kind, "settle").detail(words)) }
        };
        self.done.put(cookies.into_iter().map(told));
        self.done.waker().into_iter().for_each(Waker::wake);
    }

    fn finish(&mut self) {
        self.finished = true;
        let wakers = [self.detaching.take(), self.receiving.take(), self.done.end()];
        wakers.into_iter().flatten().for_each(Waker::wake);
    }
}
