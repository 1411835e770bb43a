//! The task behind a consumer: it polls, settles and renews.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{Fuse, FusedFuture, FutureExt};
use futures_util::stream::FuturesUnordered;
use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use roadbed_core::{
    Address, ConsumerTerms, Delivery, Detach, Done, Error, ErrorKind, Handle, Hold, Outcome, Result, Settled, Step,
};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::consumer::{Shared, State, Todo};
use super::http::{Answered, Call, Lost};
use super::producer::PAUSE;
use super::session::Link;
use crate::codec::batch::Page;
use crate::codec::names;
use crate::dialect::number;

/// How a consumer polls.
pub(super) struct Plan {
    /// Of the queue, from `/v1` on.
    pub(super) path: String,
    queue: Address,
    /// The queue is this consumer's own, and goes with it.
    own: bool,
    /// The parameters that every poll has.
    query: String,
    /// What becomes of unsettled deliveries when the link ends; `None`: they keep their locks.
    on_lapse: Option<Outcome>,
}

/// What a poll brought.
enum Polled {
    Messages(Vec<(Delivery, Option<String>)>, u32),
    Nothing {
        held: bool,
    },
    /// Not now: after so long.
    Later(Duration),
    Lost(Lost),
    Failed(Error),
}

impl Plan {
    pub(super) fn new(queue: Address, own: bool, terms: &ConsumerTerms) -> Self {
        let mut query = String::new();
        if let Hold::Lease(lease) = terms.hold {
            query.push_str(&format!("&lock={}", lease.as_secs().max(1)));
        }
        if let Some(name) = &terms.name {
            query.push_str(&format!("&link={}", utf8_percent_encode(name, NON_ALPHANUMERIC)));
        }
        let on_lapse = (terms.hold == Hold::Link).then(|| terms.on_lapse.clone());
        Self { path: format!("/v1/messages/{}", queue.to_path()), queue, own, query, on_lapse }
    }
}

/// Runs until the consumer is dropped or detached, and everything that it said is said.
pub(super) async fn run(link: Link, shared: Arc<Shared>, plan: Plan) {
    let mut poll = std::pin::pin!(Fuse::terminated());
    let (mut settling, mut outage) = (FuturesUnordered::new(), Outage::new(&link));
    let (mut rest, mut poll_drains, mut lapsed) = (Duration::ZERO, false, false);
    let mut renewals = interval(renewal(&link));
    renewals.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        while settling.len() < link.http.config.requests_max.max(1) {
            let Some((token, todo)) = shared.lock().steps.next() else { break };
            settling.push(step(&link, token, todo));
        }
        let (wanted, draining, closed) = {
            let state = shared.lock();
            (state.wanted(link.http.config.page_max), state.draining, state.closed)
        };
        if closed.is_some() && !lapsed {
            lapsed = true;
            poll.set(Fuse::terminated());
            let mut state = shared.lock();
            state.give_back_excess();
            plan.on_lapse.iter().for_each(|on_lapse| state.lapse(on_lapse));
            continue;
        }
        if let Some(how) = closed.filter(|_| settling.is_empty()) {
            return end(&link, &shared, &plan, how).await;
        }
        if draining && !poll_drains {
            // A held poll says nothing about what there is now.
            poll.set(Fuse::terminated());
        }
        if poll.is_terminated() && wanted > 0 {
            poll_drains = draining;
            let delay = std::mem::take(&mut rest);
            poll.set(poll_once(&link, &plan, delay, wanted, draining).fuse());
        }
        tokio::select! {
            biased;
            Some((token, done)) = settling.next() => finished(&shared, &token, done),
            polled = poll.as_mut(), if !poll.is_terminated() => {
                match polled {
                    Polled::Lost(lost) => match outage.wait() {
                        Some(wait) => rest = wait,
                        None => fail(&shared, &lost.into_error("receive")),
                    },
                    polled => {
                        outage = Outage::new(&link);
                        rest = take(&shared, polled, poll_drains, &link);
                    }
                }
            }
            _ = renewals.tick(), if plan.on_lapse.is_some() => shared.lock().renew(),
            () = shared.changed.notified() => {}
            // What waits in the buffer for room in the window.
            () = link.budget.freed.notified() => wake(&mut shared.lock()),
        }
    }
}

/// The time in which the server was not reached.
pub(super) struct Outage {
    waits: Box<dyn Iterator<Item = Duration> + Send>,
    since: Option<Instant>,
    max: Duration,
}

impl Outage {
    pub(super) fn new(link: &Link) -> Self {
        let max = Duration::from_millis(link.http.config.outage_ms_max);
        Self { waits: Box::new(link.http.waits()), since: None, max }
    }

    /// How long to wait before the next attempt; `None` if it has lasted too long.
    pub(super) fn wait(&mut self) -> Option<Duration> {
        let since = *self.since.get_or_insert_with(Instant::now);
        self.waits.next().filter(|_| since.elapsed() < self.max)
    }
}

/// How often the locks of a link that holds them as long as it lives are renewed.
fn renewal(link: &Link) -> Duration {
    Duration::from_millis((link.info.lock_ms / 3).max(1_000))
}

async fn poll_once(link: &Link, plan: &Plan, delay: Duration, wanted: u32, draining: bool) -> Polled {
    if !delay.is_zero() {
        sleep(delay).await;
    }
    let mut call = link.request(Method::GET, format!("{}?max={wanted}{}", plan.path, plan.query));
    if !draining {
        call.wait = link.wait();
        let wait = format!("wait={}", call.wait.as_secs());
        call.headers.insert(names::PREFER, wait.try_into().expect("digits are ASCII"));
    }
    let answered = link.http.call(&call).await;
    link.watch(&answered);
    match answered {
        Ok(answered) => read(link, &answered),
        Err(lost) => Polled::Lost(lost),
    }
}

fn read(link: &Link, answered: &Answered) -> Polled {
    match answered.status.as_u16() {
        200 => messages(link, answered).unwrap_or_else(Polled::Failed),
        204 => Polled::Nothing { held: answered.headers.contains_key(names::PREFERENCE_APPLIED) },
        429 | 503 => Polled::Later(answered.retry_after().unwrap_or(PAUSE)),
        _ => Polled::Failed(answered.error("receive")),
    }
}

fn messages(link: &Link, answered: &Answered) -> Result<Polled> {
    let now = link.http.now();
    let broken = || Error::new(ErrorKind::Protocol, "receive").detail("a message of the server cannot be read");
    let page: Page = answered.json()?;
    let messages = page.messages.into_iter().map(|mut item| {
        let token = item.token.take();
        let delivery = item.message().and_then(|message| message.into_delivery(now)).ok_or_else(broken)?;
        keep(link, &delivery, token.as_ref());
        Ok((delivery, token))
    });
    let backlog = number(&answered.headers, names::BACKLOG).unwrap_or_default();
    Ok(Polled::Messages(messages.collect::<Result<_>>()?, backlog))
}

fn keep(link: &Link, delivery: &Delivery, token: Option<&String>) {
    if let (Some(info), Some(token)) = (&delivery.info, token) {
        let now = link.http.now();
        let until = info.lease_until.unwrap_or(now + Duration::from_millis(link.info.lock_ms));
        link.tokens.keep(info.id, token.clone(), until, now);
    }
}

/// Takes in what a poll brought; says how long to rest before the next.
fn take(shared: &Shared, polled: Polled, drains: bool, link: &Link) -> Duration {
    let mut state = shared.lock();
    let rest = match polled {
        Polled::Messages(messages, backlog) => {
            state.buffer.extend(messages);
            state.backlog = backlog;
            state.give_back_excess();
            Duration::ZERO
        }
        Polled::Nothing { held } => {
            state.backlog = 0;
            state.drained = drains && state.draining;
            if held || drains { Duration::ZERO } else { Duration::from_millis(link.http.config.rest_ms) }
        }
        Polled::Later(after) => after,
        Polled::Lost(_) => Duration::ZERO,
        Polled::Failed(error) => {
            drop(state);
            fail(shared, &error);
            return Duration::ZERO;
        }
    };
    if state.drained || !state.buffer.is_empty() {
        wake(&mut state);
    }
    rest
}

fn fail(shared: &Shared, error: &Error) {
    tracing::debug!(%error, "a consumer has failed");
    let mut state = shared.lock();
    state.failed = Some(error.kind());
    wake(&mut state);
}

fn wake(state: &mut State) {
    state.receiving.take().into_iter().for_each(Waker::wake);
}

async fn step(link: &Link, token: String, todo: Todo) -> (String, (Todo, Result<Settled>)) {
    let settled = link.settle(&token, todo.step.clone()).await;
    (token, (todo, settled))
}

fn finished(shared: &Shared, token: &String, (todo, result): (Todo, Result<Settled>)) {
    let mut state = shared.lock();
    state.steps.finished(token);
    if matches!(todo.step, Step::Renew) && matches!(result, Ok(Settled::Late)) {
        // Its lock is lost: nothing is held any more.
        let lost: Vec<Handle> =
            state.slots.iter().filter(|(_, held)| *held == token).map(|(handle, _)| handle).collect();
        lost.into_iter().for_each(|handle| state.slots.remove(handle));
    }
    todo.frees.into_iter().for_each(|handle| state.slots.remove(handle));
    if let Some(cookie) = todo.cookie {
        state.done.put([Done { cookie, result }]);
        state.done.waker().into_iter().for_each(Waker::wake);
    }
}

async fn end(link: &Link, shared: &Shared, plan: &Plan, how: Detach) {
    if plan.own && how == Detach::Close {
        let name = plan.queue.to_path();
        let name = name.strip_prefix("queues/").unwrap_or(&name);
        let call: Call = link.request(Method::DELETE, format!("/v1/queues/{name}"));
        if let Err(error) = link.http.call(&call).await {
            tracing::debug!(?error, "a queue is left to its expiry");
        }
    }
    shared.lock().finish();
}
