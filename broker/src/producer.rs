//! A link on which messages are sent.

mod behind;
mod slow;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use roadbed_core::{
    Address, Condition, Confirm, Detach, Durability, Error, ErrorKind, Fut, Key, Outcome, Outgoing, Producer, Qos,
    Result,
};

use self::behind::Behind;
use crate::broker::{Broker, Shared};
use crate::dispatch::Verdict;
use crate::lock;
use crate::mailbox::{Parked, SessionCore};
use crate::router::{Route, Target};

/// A producer of the broker.
#[derive(Debug)]
pub(crate) struct BrokerProducer {
    broker: Broker,
    session: Arc<SessionCore>,
    epoch: u32,
    to: Option<Box<Address>>,
    /// The route of the last address.
    cached: Option<Arc<Route>>,
    confirms: Vec<Confirm>,
    late: Option<Arc<Late>>,
    /// What of the call of send that is under way is done behind the store.
    behind: Option<Behind>,
    /// How often keys were forgotten.
    forgets: u64,
    scratch: Option<Box<Scratch>>,
}

/// What one run needs beside its messages, kept for the next.
#[derive(Debug, Default)]
struct Scratch {
    parked: Parked,
    refused: Vec<(usize, Condition)>,
}

/// Confirms that wait for the store.
#[derive(Debug, Default)]
pub(crate) struct Late(Mutex<LateInner>);

#[derive(Debug, Default)]
struct LateInner {
    confirms: Vec<Confirm>,
    /// Batches of confirms that are under way.
    pending: usize,
    /// Which calls of forget wait for their commit.
    forgetting: VecDeque<u64>,
    /// One of them has failed: it, and what is behind it, waits for ever.
    forgetting_failed: bool,
    waker: Option<Waker>,
}

impl BrokerProducer {
    pub(crate) fn new(broker: Broker, session: Arc<SessionCore>, epoch: u32, to: Option<Address>) -> Self {
        let to = to.map(Box::new);
        Self {
            broker,
            session,
            epoch,
            to,
            cached: None,
            confirms: Vec::new(),
            late: None,
            behind: None,
            forgets: 0,
            scratch: None,
        }
    }

    fn route(&mut self, address: &Address) -> Result<Arc<Route>, Condition> {
        let shared = self.broker.shared();
        if let Some(route) = &self.cached
            && route.generation == shared.router.generation()
            && same(&route.address, address)
        {
            return Ok(route.clone());
        }
        let route = shared.route(address)?;
        self.cached = Some(route.clone());
        Ok(route)
    }

    /// Sends a run of messages of one address that nothing special is asked for.
    fn send_run(&mut self, shared: &Shared, run: &[Outgoing]) {
        let route = match self.route(run[0].message.address()) {
            Ok(route) => route,
            Err(condition) => return self.confirm_all(run, Verdict::Refused(condition)),
        };
        if route.targets.is_empty() {
            return self.confirm_all(run, Verdict::Unrouted);
        }
        let single = matches!(&route.targets[..], [Target::Queue(..)]);
        if !route.plain && !single {
            return run.iter().for_each(|outgoing| self.send_planned(outgoing));
        }
        let mut scratch = self.scratch.take().map_or_else(Scratch::default, |scratch| *scratch);
        for target in &route.targets {
            match target {
                Target::Session(to) => to.session.push_run(shared, to, run, &mut scratch.parked, self.session.id),
                Target::Queue(queue, qos_max) => {
                    queue.put_run(shared, *qos_max, run, &mut scratch.parked, &mut scratch.refused);
                }
                Target::Group(_) | Target::Log(..) => {}
            }
        }
        shared.meters.hot().copies_in.add((run.len() * usize::from(route.plain) * route.targets.len()) as u64);
        self.confirm_run(run, &scratch.refused);
        scratch.parked.clear();
        scratch.refused.clear();
        if scratch.is_used() {
            self.scratch = Some(Box::new(scratch));
        }
    }

    fn confirm_all(&mut self, run: &[Outgoing], verdict: Verdict) {
        run.iter().for_each(|outgoing| self.confirm(outgoing, verdict));
    }

    fn confirm_run(&mut self, run: &[Outgoing], refused: &[(usize, Condition)]) {
        let mut at = refused.iter().peekable();
        for (n, outgoing) in run.iter().enumerate() {
            let verdict = match at.next_if(|(index, _)| *index == n) {
                Some((_, condition)) => Verdict::Refused(*condition),
                None => Verdict::Taken,
            };
            self.confirm(outgoing, verdict);
        }
    }

    /// Answers one message that is not for the store, and whose key, if it has one, is recorded as accepted.
    fn confirm(&mut self, outgoing: &Outgoing, verdict: Verdict) {
        let refused = matches!(verdict, Verdict::Refused(_) | Verdict::Released(_));
        if verdict != Verdict::Taken {
            self.broker.shared().count_refusal(verdict);
        }
        let (outcome, why) = if verdict == Verdict::Taken { (Outcome::Accepted, None) } else { verdict.outcome() };
        if let (Some(key), false) = (&outgoing.key, verdict == Verdict::Taken) {
            self.broker.shared().decide(&self.session, key, &outcome, refused);
        }
        if outgoing.qos > Qos::AtMostOnce || refused {
            self.confirms.push(Confirm { cookie: outgoing.cookie, outcome, why, provisional: None });
        }
    }

    /// The end of the run of messages to one address, from `start`, for which nothing special is asked.
    /// `kept`: what is not sent at most once is for the store.
    fn run_end(&self, batch: &[Outgoing], start: usize, kept: bool) -> usize {
        let address = batch[start].message.address();
        let max = self.broker.shared().settings.message_bytes_max;
        let plain = |outgoing: &Outgoing| {
            let volatile = !kept || outgoing.qos == Qos::AtMostOnce;
            volatile && is_plain(outgoing, max) && same(address, outgoing.message.address())
        };
        let mut keys = None;
        let mut end = start;
        while let Some(outgoing) = batch.get(end).filter(|outgoing| plain(outgoing)) {
            if let Some(key) = &outgoing.key {
                let keys = keys.get_or_insert_with(|| lock(&self.session.keys));
                let keys = keys.get_or_insert_default();
                let full = keys.len() >= self.broker.shared().settings.session_keys_max;
                if full || matches!(key, Key::Name(_)) || keys.get(key).is_some() {
                    break;
                }
                keys.insert(key, Some(Outcome::Accepted), false);
            }
            end += 1;
        }
        end
    }

    /// Whether something durable follows the address, and the store keeps what does not ask for it.
    fn is_kept(&mut self, address: &Address) -> bool {
        self.broker.shared().keeps(address)
            && self.route(address).is_ok_and(|route| route.targets.iter().any(Target::is_durable))
    }

    /// Whether a log follows the address.
    fn is_logged(&mut self, address: &Address) -> bool {
        self.broker.shared().meters.logs.load() > 0 && self.route(address).is_ok_and(|route| route.logged)
    }

    fn is_closed(&self) -> bool {
        self.session.epoch() != self.epoch
    }
}

impl Producer for BrokerProducer {
    fn poll_reserve(&mut self, cx: &mut Context<'_>, messages: u32, bytes: usize) -> Poll<Result<u32>> {
        if self.is_closed() {
            return Poll::Ready(Err(closed()));
        }
        // Who sends nothing for the store does not wait for it.
        if self.has_pending() && self.broker.shared().commits.poll_room(cx).is_pending() {
            return Poll::Pending;
        }
        let Some(to) = self.to.as_deref().filter(|to| to.queue().is_some()).cloned() else {
            return Poll::Ready(Ok(messages.max(1)));
        };
        let Ok(route) = self.route(&to) else { return Poll::Ready(Ok(messages.max(1))) };
        match route.targets.first() {
            Some(Target::Queue(queue, _)) => queue.poll_room(self.broker.shared(), cx, messages, bytes).map(Ok),
            _ => Poll::Ready(Ok(messages.max(1))),
        }
    }

    fn send(&mut self, batch: &mut Vec<Outgoing>) {
        if self.is_closed() {
            batch.clear();
            return;
        }
        let shared = self.broker.clone();
        let shared = shared.shared();
        let bytes: usize = batch.iter().map(|outgoing| outgoing.message.payload().len()).sum();
        let hot = shared.meters.hot();
        hot.messages_in.add(batch.len() as u64);
        hot.bytes_in.add(bytes as u64);
        let over = shared.meters.bytes.load() as usize > shared.settings.bytes_max;
        let mut at = 0;
        while at < batch.len() {
            let queued = over || self.has_pending() || self.is_logged(batch[at].message.address());
            let kept = !queued && self.is_kept(batch[at].message.address());
            let end = if queued { at } else { self.run_end(batch, at, kept) };
            if end > at {
                self.send_run(shared, &batch[at..end]);
                at = end;
            } else {
                at += self.send_special(&batch[at..], over);
            }
        }
        batch.clear();
        self.submit_behind(shared);
        shared.commits.flush(shared);
    }

    fn forget(&mut self, keys: &mut Vec<Key>) {
        if self.is_closed() {
            keys.clear();
            return;
        }
        self.forgets += 1;
        let shared = self.broker.shared();
        let ops = shared.forget(&self.session, keys);
        if !ops.is_empty() {
            let late = self.late.get_or_insert_default().clone();
            lock(&late.0).forgetting.push_back(self.forgets);
            let then = move |_: &Shared, stored: Result<(), _>| late.forgotten(stored.is_ok());
            shared.commits.submit(shared, || (Vec::new(), ops), Box::new(then));
        }
    }

    fn poll_forgotten(&mut self, cx: &mut Context<'_>, calls: u64) -> Poll<Result<()>> {
        if self.is_closed() {
            return Poll::Ready(Err(closed()));
        }
        let Some(late) = &self.late else { return Poll::Ready(Ok(())) };
        let mut late = lock(&late.0);
        if late.forgetting.front().is_none_or(|first| *first > calls) {
            return Poll::Ready(Ok(()));
        }
        late.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn poll_confirms(&mut self, cx: &mut Context<'_>, into: &mut Vec<Confirm>) -> Poll<Result<usize>> {
        if self.is_closed() {
            return Poll::Ready(Err(closed()));
        }
        let before = into.len();
        into.append(&mut self.confirms);
        if let Some(late) = &self.late {
            let mut late = lock(&late.0);
            into.append(&mut late.confirms);
            if into.len() == before {
                late.waker = Some(cx.waker().clone());
            }
        }
        match into.len() - before {
            0 => Poll::Pending,
            count => Poll::Ready(Ok(count)),
        }
    }

    fn detach(self: Box<Self>, _how: Detach) -> Fut<()> {
        Box::pin(std::future::ready(Ok(())))
    }
}

impl Scratch {
    /// Whether it owns memory that is worth keeping.
    fn is_used(&self) -> bool {
        self.parked.is_used() || self.refused.capacity() > 0
    }
}

/// Whether a message takes the plain path: it is ordinary, and not stored.
fn is_plain(outgoing: &Outgoing, bytes_max: usize) -> bool {
    outgoing.message.durability() != Durability::Stored && is_ordinary(outgoing, bytes_max)
}

/// Whether nothing is retained, scheduled or transactional.
fn is_ordinary(outgoing: &Outgoing, bytes_max: usize) -> bool {
    let message = &outgoing.message;
    outgoing.txn.is_none()
        && !message.retain()
        && !message.live()
        && message.payload().len() <= bytes_max
        && !(message.has_details() && message.details().deliver_after.is_some())
}

/// Whether two addresses are one; nearly always the same bytes in memory.
fn same(a: &Address, b: &Address) -> bool {
    let (a, b) = (a.as_str(), b.as_str());
    (a.as_ptr() == b.as_ptr() && a.len() == b.len()) || a == b
}

pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "send").detail("the session is not here any more")
}
