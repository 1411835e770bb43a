//! An endpoint of one queue whose answers the test decides, and requests on it.
#![allow(dead_code, reason = "each test uses some of it")]

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use roadbed_core::{
    Attached, Binding, Capabilities, Close, Confirm, Consumer, ConsumerTerms, CopyId, Credential, Delivery, DeliveryId,
    DeliveryInfo, DeliveryRef, Detach, Disposition, Done, Endpoint, Error, ErrorKind, Fence, Fut, Grant, Granted,
    Handle, Key, Manage, Managed, Message, Open, Opened, Outcome, Outgoing, Producer, ProducerTerms, Qos, QueueId,
    Result, Session, SessionEvent, Settled, Step, Time, Transaction, Unbind,
};
use roadbed_http::{HttpConfig, ResponseBody, Routes, Server};

type Answering = dyn Fn(&Outgoing) -> Option<Confirm> + Send;
type Settling = dyn Fn(&Disposition) -> Result<Settled> + Send;
type Managing = dyn Fn(Manage) -> Result<Managed> + Send;
type Attaching = dyn Fn(&ConsumerTerms) -> Result<()> + Send;

/// The endpoint. Clones share everything.
#[derive(Clone)]
pub(crate) struct Fake(Arc<Mutex<State>>, Arc<Capabilities>);

pub(crate) struct State {
    pub(crate) answer: Box<Answering>,
    pub(crate) sent: Vec<Outgoing>,
    pub(crate) queue: VecDeque<Message>,
    pub(crate) held: HashMap<DeliveryId, (Message, Handle)>,
    pub(crate) settled: Vec<(DeliveryId, Outcome)>,
    pub(crate) settle: Box<Settling>,
    pub(crate) manage: Box<Managing>,
    pub(crate) attach: Box<Attaching>,
    pub(crate) terms: Vec<ConsumerTerms>,
    pub(crate) opened: Vec<Open>,
    pub(crate) consumers: usize,
    next: u64,
    receiving: Vec<Waker>,
}

impl Fake {
    pub(crate) fn new() -> Self {
        Self::with(Capabilities::full("fake"))
    }

    pub(crate) fn with(capabilities: Capabilities) -> Self {
        let state = State {
            answer: Box::new(|outgoing| Some(confirm(outgoing, Outcome::Accepted))),
            sent: Vec::new(),
            queue: VecDeque::new(),
            held: HashMap::new(),
            settled: Vec::new(),
            settle: Box::new(|_| Ok(Settled::Applied)),
            manage: Box::new(|_| Ok(Managed::Done(0))),
            attach: Box::new(|_| Ok(())),
            terms: Vec::new(),
            opened: Vec::new(),
            consumers: 0,
            next: 0,
            receiving: Vec::new(),
        };
        Self(Arc::new(Mutex::new(state)), Arc::new(capabilities))
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(crate) fn put(&self, message: Message) {
        let mut state = self.state();
        state.queue.push_back(message);
        state.receiving.drain(..).for_each(Waker::wake);
    }

    /// Every message is confirmed like this.
    pub(crate) fn answers(&self, answer: impl Fn(&Outgoing) -> Option<Confirm> + Send + 'static) {
        self.state().answer = Box::new(answer);
    }

    pub(crate) fn endpoint(&self) -> Arc<dyn Endpoint> {
        Arc::new(self.clone())
    }

    pub(crate) fn server(&self, config: HttpConfig) -> Server {
        Server::new(self.endpoint(), config).unwrap()
    }

    pub(crate) fn routes(&self) -> Routes {
        self.server(HttpConfig::default()).routes()
    }

    /// Waits until `done` is true of the state.
    pub(crate) async fn until(&self, done: impl Fn(&State) -> bool) {
        for _ in 0..500 {
            if done(&self.state()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it never came to that");
    }
}

pub(crate) fn confirm(outgoing: &Outgoing, outcome: Outcome) -> Confirm {
    Confirm { cookie: outgoing.cookie, outcome, why: None, provisional: None }
}

/// Sends one request, and reads the whole answer.
pub(crate) async fn call(routes: &Routes, request: Request<Full<Bytes>>) -> Response<Bytes> {
    read(routes.clone().respond(request).await).await
}

pub(crate) async fn read(response: Response<ResponseBody>) -> Response<Bytes> {
    let (head, body) = response.into_parts();
    Response::from_parts(head, body.collect().await.unwrap().to_bytes())
}

pub(crate) fn request(method: Method, path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::builder().method(method).uri(path).body(Full::new(body.into())).unwrap()
}

impl Endpoint for Fake {
    fn capabilities(&self) -> &Capabilities {
        &self.1
    }

    fn open(&self, open: Open) -> Fut<Box<dyn Session>> {
        let fake = self.clone();
        fake.state().opened.push(open);
        let opened = Opened { qos_max: Qos::ExactlyOnce, ..Opened::default() };
        Box::pin(async move { Ok(Box::new(FakeSession { fake, opened }) as Box<dyn Session>) })
    }
}

struct FakeSession {
    fake: Fake,
    opened: Opened,
}

impl Session for FakeSession {
    fn opened(&self) -> &Opened {
        &self.opened
    }

    fn producer(&self, _terms: ProducerTerms) -> Fut<(Box<dyn Producer>, Attached)> {
        let producer = FakeProducer { fake: self.fake.clone(), confirms: Vec::new() };
        Box::pin(async move { Ok((Box::new(producer) as Box<dyn Producer>, Attached::default())) })
    }

    fn consumer(&self, terms: ConsumerTerms) -> Fut<(Box<dyn Consumer>, Attached)> {
        let mut state = self.fake.state();
        let attached = (state.attach)(&terms);
        state.terms.push(terms);
        state.consumers += usize::from(attached.is_ok());
        drop(state);
        let fake = self.fake.clone();
        Box::pin(async move {
            attached?;
            let consumer = FakeConsumer { fake, grant: Grant::default() };
            Ok((Box::new(consumer) as Box<dyn Consumer>, Attached::default()))
        })
    }

    fn transaction(&self) -> Fut<Box<dyn Transaction>> {
        Box::pin(async { Err(Error::new(ErrorKind::NotSupported, "declare")) })
    }

    fn settle(&self, batch: Vec<Disposition>) -> Fut<Vec<Done>> {
        let mut state = self.fake.state();
        let mut done = Vec::new();
        for disposition in batch {
            let result = (state.settle)(&disposition);
            state.take(&disposition);
            done.push(Done { cookie: disposition.cookie.unwrap_or_default(), result });
        }
        Box::pin(async move { Ok(done) })
    }

    fn manage(&self, request: Manage) -> Fut<Managed> {
        let managed = (self.fake.state().manage)(request);
        Box::pin(async move { managed })
    }

    fn credential(&self, _credential: Credential) -> Fut<Option<Time>> {
        Box::pin(async { Ok(None) })
    }

    fn poll_event(&self, _cx: &mut Context<'_>) -> Poll<SessionEvent> {
        Poll::Pending
    }

    fn close(&self, _close: Close) -> Fut<()> {
        Box::pin(async { Ok(()) })
    }
}

struct FakeProducer {
    fake: Fake,
    confirms: Vec<Confirm>,
}

impl Producer for FakeProducer {
    fn poll_reserve(&mut self, _cx: &mut Context<'_>, messages: u32, _bytes: usize) -> Poll<Result<u32>> {
        Poll::Ready(Ok(messages))
    }

    fn send(&mut self, batch: &mut Vec<Outgoing>) {
        let mut state = self.fake.state();
        for outgoing in batch.drain(..) {
            let confirm = (state.answer)(&outgoing);
            self.confirms.extend(confirm.filter(|_| outgoing.qos > Qos::AtMostOnce));
            state.sent.push(outgoing);
        }
    }

    fn forget(&mut self, keys: &mut Vec<Key>) {
        keys.clear();
    }

    fn poll_confirms(&mut self, _cx: &mut Context<'_>, into: &mut Vec<Confirm>) -> Poll<Result<usize>> {
        match self.confirms.len() {
            0 => Poll::Pending,
            count => {
                into.append(&mut self.confirms);
                Poll::Ready(Ok(count))
            }
        }
    }

    fn detach(self: Box<Self>, _how: Detach) -> Fut<()> {
        Box::pin(async { Ok(()) })
    }
}

struct FakeConsumer {
    fake: Fake,
    grant: Grant,
}

impl State {
    /// A disposition takes effect: what is not final goes back to the front.
    fn take(&mut self, disposition: &Disposition) {
        let id = match disposition.delivery {
            DeliveryRef::Id(id) => id,
            DeliveryRef::Handle(handle) => match self.held.iter().find(|(_, (_, held))| *held == handle) {
                Some((id, _)) => *id,
                None => return,
            },
        };
        let Step::Outcome { outcome, .. } = &disposition.step else { return };
        if let Some((message, _)) = self.held.remove(&id) {
            if !outcome.is_final() {
                self.queue.push_front(message);
            }
            self.settled.push((id, outcome.clone()));
        }
    }
}

impl Consumer for FakeConsumer {
    fn grant(&mut self, grant: Grant) {
        self.grant = grant;
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>, into: &mut Vec<Delivery>, max: usize) -> Poll<Result<usize>> {
        let mut state = self.fake.state();
        let count = max.min(self.grant.credit as usize).min(state.queue.len());
        for _ in 0..count {
            let message = state.queue.pop_front().unwrap();
            state.next += 1;
            let copy = CopyId { queue: QueueId(1), seq: state.next };
            let id = DeliveryId { copy, fence: Fence { epoch: 1, attempt: 1 } };
            let handle = Handle::new(state.next as u16, 1).unwrap();
            state.held.insert(id, (message.clone(), handle));
            let info = Some(Box::new(DeliveryInfo::new(id, Time::from_millis(5))));
            let qos = Qos::AtLeastOnce;
            into.push(Delivery { message, handle: Some(handle), qos, retained: false, attempt: 1, info });
        }
        self.grant.credit -= count as u32;
        if count == 0 && !self.grant.drain {
            state.receiving.push(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(count))
    }

    fn settle(&mut self, batch: &mut Vec<Disposition>) {
        let mut state = self.fake.state();
        batch.drain(..).for_each(|disposition| state.take(&disposition));
    }

    fn poll_settled(&mut self, _cx: &mut Context<'_>, _into: &mut Vec<Done>) -> Poll<Result<usize>> {
        Poll::Pending
    }

    fn bind(&mut self, bindings: Vec<Binding>) -> Fut<Vec<Result<Granted>>> {
        let granted = bindings.iter().map(|binding| Ok(Granted { qos: binding.qos_max, replaced: false })).collect();
        Box::pin(async move { Ok(granted) })
    }

    fn unbind(&mut self, bindings: Vec<Unbind>) -> Fut<Vec<Result<bool>>> {
        let unbound = bindings.iter().map(|_| Ok(true)).collect();
        Box::pin(async move { Ok(unbound) })
    }

    fn backlog(&self) -> u32 {
        self.fake.state().queue.len() as u32
    }

    fn detach(self: Box<Self>, _how: Detach) -> Fut<()> {
        Box::pin(async { Ok(()) })
    }
}

impl Drop for FakeConsumer {
    fn drop(&mut self) {
        self.fake.state().consumers -= 1;
    }
}
