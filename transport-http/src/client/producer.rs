//! Sending: one request for each message, in order for each address.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Method};
use roadbed_core::{
    Address, Condition, Confirm, Detach, Fut, Key, Losses, Outcome, Outgoing, Producer, Qos, Reason, Result,
};
use tokio::sync::Notify;

use super::answers::Answers;
use super::http::{Answered, Call, Lost};
use super::lanes::Lanes;
use super::session::Link;
use super::transaction::id_value;
use crate::codec::fields::KEY_BYTES_MAX;
use crate::codec::names;
use crate::dialect::{Answer, HttpMessage, condition};

/// Before the name of a key that is not visible ASCII, or begins like this one.
const ENCODED: &str = "b64:";

pub(super) struct HttpProducer {
    shared: Arc<Shared>,
    to: Option<Address>,
    keys: Keys,
}

struct Shared {
    state: Mutex<State>,
    changed: Notify,
    messages_max: usize,
    bytes_max: usize,
}

#[derive(Default)]
struct State {
    lanes: Lanes<Address, Job>,
    bytes: usize,
    confirms: Answers<Confirm>,
    reserving: Option<Waker>,
    closed: bool,
    done: bool,
    detaching: Option<Waker>,
}

struct Job {
    outgoing: Outgoing,
    key: Option<HeaderValue>,
}

impl HttpProducer {
    /// Starts the task that sends; it ends when the producer is dropped and everything is sent.
    pub(super) fn new(link: Link, to: Option<Address>, nonce: String) -> Self {
        let config = &link.http.config;
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Notify::new(),
            messages_max: config.buffer_messages_max.max(1),
            bytes_max: config.buffer_bytes_max,
        });
        tokio::spawn(run(link, shared.clone()));
        Self { shared, to, keys: Keys::new(nonce) }
    }

    fn job(&mut self, mut outgoing: Outgoing) -> Job {
        if let Some(to) = &self.to
            && outgoing.message.address() != to
        {
            outgoing.message = outgoing.message.to_builder().address(to.clone()).build();
        }
        let key = outgoing.key.as_ref().map(|key| self.keys.header(key));
        Job { outgoing, key }
    }
}

impl Producer for HttpProducer {
    fn poll_reserve(&mut self, cx: &mut Context<'_>, messages: u32, bytes: usize) -> Poll<Result<u32>> {
        let mut state = self.shared.lock();
        let free = self.shared.messages_max.saturating_sub(state.lanes.len());
        let room = state.bytes == 0 || state.bytes.saturating_add(bytes) <= self.shared.bytes_max;
        if free == 0 || !room {
            state.reserving = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(messages.min(u32::try_from(free).unwrap_or(u32::MAX)).max(1)))
    }

    fn send(&mut self, batch: &mut Vec<Outgoing>) {
        let free = self.shared.messages_max.saturating_sub(self.shared.lock().lanes.len());
        for outgoing in batch.drain(..free.min(batch.len())) {
            let job = self.job(outgoing);
            let mut state = self.shared.lock();
            state.bytes += job.outgoing.message.cost();
            state.lanes.push(job.outgoing.message.address().clone(), job);
        }
        self.shared.changed.notify_one();
    }

    fn forget(&mut self, keys: &mut Vec<Key>) {
        keys.drain(..).for_each(|key| self.keys.forget(&key));
    }

    fn poll_confirms(&mut self, cx: &mut Context<'_>, into: &mut Vec<Confirm>) -> Poll<Result<usize>> {
        self.shared.lock().confirms.poll_take(cx, into)
    }

    fn detach(self: Box<Self>, _how: Detach) -> Fut<()> {
        let shared = self.shared.clone();
        drop(self);
        Box::pin(std::future::poll_fn(move |cx| {
            let mut state = shared.lock();
            state.detaching = Some(cx.waker().clone());
            if state.done { Poll::Ready(Ok(())) } else { Poll::Pending }
        }))
    }
}

impl Drop for HttpProducer {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn finished(&self, lane: &Address, cost: usize, confirm: Option<Confirm>) {
        let mut state = self.lock();
        state.lanes.finished(lane);
        state.bytes -= cost;
        let reserving = state.reserving.take();
        state.confirms.put(confirm);
        let confirming = state.confirms.waker();
        drop(state);
        reserving.into_iter().chain(confirming).for_each(Waker::wake);
    }

    fn end(&self) {
        let mut state = self.lock();
        state.done = true;
        if let Some(waker) = state.detaching.take() {
            waker.wake();
        }
    }
}

async fn run(link: Link, shared: Arc<Shared>) {
    let mut sending = FuturesUnordered::new();
    loop {
        while sending.len() < link.http.config.requests_max.max(1) {
            let Some((lane, job)) = shared.lock().lanes.next() else { break };
            let link = &link;
            sending.push(async move {
                let (cost, confirm) = (job.outgoing.message.cost(), link.post(job).await);
                (lane, cost, confirm)
            });
        }
        if sending.is_empty() && shared.lock().closed {
            return shared.end();
        }
        tokio::select! {
            biased;
            Some((lane, cost, confirm)) = sending.next() => shared.finished(&lane, cost, confirm),
            () = shared.changed.notified() => {}
        }
    }
}

impl Link {
    /// Sends a message until its outcome is known, as often as that is safe. At most once is told of refusals alone.
    async fn post(&self, job: Job) -> Option<Confirm> {
        let Outgoing { cookie, message, qos, txn, .. } = job.outgoing;
        if qos == Qos::ExactlyOnce && job.key.is_none() {
            return Some(refused(cookie, Condition::NotSupported, "exactly once needs a key"));
        }
        let frame = HttpMessage::request(&message, qos, self.http.now(), &mut Losses::default());
        let mut call = Call::new(Method::POST, format!("/v1/messages/{}", frame.address.to_path()), None);
        call.headers = frame.headers;
        call.body = frame.payload;
        if let Some(authorization) = self.authorization() {
            call.headers.insert(AUTHORIZATION, authorization);
        }
        txn.into_iter().for_each(|txn| drop(call.headers.insert(names::TRANSACTION, id_value(txn))));
        let repeatable = job.key.is_some();
        if let Some(key) = job.key {
            call.headers.remove(names::QOS);
            call.headers.insert(names::IDEMPOTENCY_KEY, key);
        }
        let (outcome, why) = outcome(self.deliver(&call, qos, repeatable).await);
        let told = qos != Qos::AtMostOnce || outcome != Outcome::Accepted;
        let provisional = txn.filter(|_| outcome == Outcome::Accepted);
        told.then_some(Confirm { cookie, outcome, why, provisional })
    }

    async fn deliver(&self, call: &Call, qos: Qos, repeatable: bool) -> Result<Answered, Lost> {
        let mut waits = self.http.backoff();
        loop {
            let answer = self.http.call(call).await;
            let again = match &answer {
                Err(Lost::NotSent(_)) => qos > Qos::AtMostOnce,
                Err(_) => repeatable,
                // The server does not know whether it was taken.
                Ok(answered) => repeatable && matches!(answered.status.as_u16(), 408 | 500 | 502 | 504),
            };
            match waits.next().filter(|_| again) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => {
                    self.watch(&answer);
                    return answer;
                }
            }
        }
    }
}

fn outcome(answer: Result<Answered, Lost>) -> (Outcome, Option<Condition>) {
    let unavailable = Some(Condition::Unavailable);
    let answered = match answer {
        Ok(answered) => answered,
        Err(Lost::NotSent(_)) => return (Outcome::Released, unavailable),
        Err(_) => return (Outcome::FAILED, unavailable),
    };
    let problem = answered.problem();
    let read = problem.as_ref().and_then(|problem| {
        let why = problem.condition.as_deref().and_then(condition);
        Answer::of_problem(answered.status, problem.outcome.as_deref()?, why, Some(&problem.detail))
    });
    match read.or_else(|| Answer::of_status(answered.status)) {
        Some(answer) => (answer.outcome, answer.why),
        None => (Outcome::FAILED, unavailable),
    }
}

fn refused(cookie: u64, condition: Condition, text: &str) -> Confirm {
    let outcome = Outcome::Rejected(Reason::new(condition, text));
    Confirm { cookie, outcome, why: Some(condition), provisional: None }
}

/// From keys to idempotency keys, which the server never forgets within its window.
struct Keys {
    nonce: String,
    /// What stands for each number that is not forgotten; a number that is used again gets another.
    numbers: HashMap<u32, u64>,
    next: u64,
}

impl Keys {
    fn new(nonce: String) -> Self {
        Self { nonce, numbers: HashMap::new(), next: 0 }
    }

    fn header(&mut self, key: &Key) -> HeaderValue {
        let text = match key {
            Key::Number(number) => {
                let next = &mut self.next;
                let stands = self.numbers.entry(*number).or_insert_with(|| {
                    *next += 1;
                    *next
                });
                format!("{}-{stands}", self.nonce)
            }
            Key::Name(name) => named(name),
        };
        HeaderValue::try_from(text).expect("keys are visible ASCII")
    }

    /// Names are the application's: they mean the same for ever.
    fn forget(&mut self, key: &Key) {
        if let Key::Number(number) = key {
            self.numbers.remove(number);
        }
    }
}

/// A key as it is where a header can carry it; no two keys become the same.
fn named(name: &Bytes) -> String {
    let visible = |byte: &u8| byte.is_ascii_graphic() && *byte != b'"';
    match std::str::from_utf8(name) {
        Ok(text)
            if (1..=KEY_BYTES_MAX).contains(&text.len()) && name.iter().all(visible) && !text.starts_with(ENCODED) =>
        {
            text.to_owned()
        }
        _ => format!("{ENCODED}{}", URL_SAFE_NO_PAD.encode(name)),
    }
}

/// How long to wait where the server does not say.
pub(super) const PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_keys_become_the_same() {
        let mut keys = Keys::new("n".into());
        let one = keys.header(&Key::Number(1));
        assert_eq!(keys.header(&Key::Number(1)), one);
        keys.forget(&Key::Number(1));
        assert_ne!(keys.header(&Key::Number(1)), one);
        assert_eq!(keys.numbers.len(), 1);
        let mut name = |name: &'static [u8]| keys.header(&Key::Name(Bytes::from_static(name)));
        assert_eq!(name(b"order-7"), "order-7");
        assert_ne!(name(b"a b"), name(b"b64:YSBi"));
        assert_ne!(name(b"\"x\""), name(b"x"));
    }
}
