//! The handles by which laws drive an endpoint: every answer is awaited with a limit, every silence is listened to.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;

use roadbed_core::{
    Attached, Binding, Close, Confirm, Consumer, ConsumerTerms, Delivery, DeliveryRef, DeliveryState, Detach,
    Disposition, Done, Endpoint, Grant, Key, Manage, Managed, Message, Open, Opened, Outcome, Outgoing, Producer,
    ProducerTerms, Qos, Result, Session, SessionEvent, Settled, Step, Transaction, TxnId, Unbind, Unsettled,
};

use crate::world::{ANSWER, address, filter_of, quiet};

/// A session. Its links keep it open.
pub struct Client {
    session: Arc<dyn Session>,
}

impl Client {
    pub(crate) async fn open(endpoint: &dyn Endpoint, open: Open) -> Self {
        Self::try_open(endpoint, open).await.expect("a session can be opened")
    }

    pub(crate) async fn try_open(endpoint: &dyn Endpoint, open: Open) -> Result<Self> {
        Ok(Self { session: within("opening a session", endpoint.open(open)).await?.into() })
    }

    /// What it was opened as.
    pub fn opened(&self) -> &Opened {
        self.session.opened()
    }

    /// A producer without an address of its own.
    pub async fn sender(&self) -> Sending {
        self.sender_to(None).await
    }

    /// A producer for one address.
    pub async fn sender_to(&self, to: Option<&str>) -> Sending {
        self.try_sender_to(to).await.expect("a producer attaches")
    }

    /// Tries to attach a producer.
    ///
    /// # Errors
    /// What the endpoint answers.
    pub async fn try_sender_to(&self, to: Option<&str>) -> Result<Sending> {
        let terms = ProducerTerms { to: to.map(address), qos_max: Qos::ExactlyOnce, ..ProducerTerms::default() };
        let (link, _) = within("attaching a producer", self.session.producer(terms)).await?;
        Ok(Sending { link, cookie: 0, confirms: Vec::new(), session: Arc::clone(&self.session) })
    }

    /// A consumer of the session's own queue.
    pub async fn receive_session(&self) -> Receiving {
        self.try_receive_session().await.expect("a consumer attaches")
    }

    /// Tries to attach a consumer of the session's own queue.
    ///
    /// # Errors
    /// What the endpoint answers.
    pub async fn try_receive_session(&self) -> Result<Receiving> {
        self.try_receive(ConsumerTerms { info: true, ..ConsumerTerms::session() }).await
    }

    /// A consumer of a queue.
    pub async fn receive_queue(&self, queue: &roadbed_core::Address) -> Receiving {
        self.receive(ConsumerTerms::queue(queue.clone())).await
    }

    /// A consumer.
    pub async fn receive(&self, terms: ConsumerTerms) -> Receiving {
        self.try_receive(terms).await.expect("a consumer attaches")
    }

    /// Tries to attach a consumer.
    ///
    /// # Errors
    /// What the endpoint answers.
    pub async fn try_receive(&self, terms: ConsumerTerms) -> Result<Receiving> {
        let (link, attached) = within("attaching a consumer", self.session.consumer(terms)).await?;
        Ok(Receiving::new(link, attached, Arc::clone(&self.session)))
    }

    /// Declares a transaction.
    ///
    /// # Errors
    /// What the endpoint answers.
    pub async fn transaction(&self) -> Result<Box<dyn Transaction>> {
        within("declaring a transaction", self.session.transaction()).await
    }

    /// Declares, describes, purges, deletes.
    ///
    /// # Errors
    /// What the endpoint answers.
    pub async fn manage(&self, request: Manage) -> Result<Managed> {
        within("managing", self.session.manage(request)).await
    }

    /// Settles by the delivery's durable name.
    ///
    /// # Errors
    /// What the endpoint answers.
    pub async fn settle(&self, delivery: DeliveryRef, step: Step) -> Result<Settled> {
        let batch = vec![Disposition { delivery, cookie: Some(1), step }];
        let mut done = within("settling by id", self.session.settle(batch)).await?;
        assert_eq!(done.len(), 1, "one answer for one disposition");
        done.remove(0).result
    }

    /// What happens to the session from outside.
    pub async fn event(&self) -> SessionEvent {
        within("a session event", poll_fn(|cx| self.session.poll_event(cx))).await
    }

    /// Ends the session.
    ///
    /// # Errors
    /// What the endpoint answers.
    pub async fn close(&self, close: Close) -> Result<()> {
        within("closing", self.session.close(close)).await
    }
}

/// A producer.
pub struct Sending {
    link: Box<dyn Producer>,
    cookie: u64,
    confirms: Vec<Confirm>,
    session: Arc<dyn Session>,
}

impl Sending {
    /// Sends, and waits for what became of it. At most once is not confirmed, and counts as accepted.
    pub async fn send(&mut self, message: Message, qos: Qos) -> Confirm {
        let cookie = self.submit(message, qos, None, None).await;
        if qos == Qos::AtMostOnce {
            return Confirm { cookie, outcome: Outcome::Accepted, why: None, provisional: None };
        }
        self.confirm(cookie).await
    }

    /// Sends, and expects it to be accepted.
    pub async fn accepted(&mut self, message: Message, qos: Qos) {
        let confirm = self.send(message, qos).await;
        assert_eq!(confirm.outcome, Outcome::Accepted, "what can be taken is accepted ({:?})", confirm.why);
    }

    /// Sends without waiting for what becomes of it; the cookie is the answer's. Exactly once gets a key that is its cookie,
    /// unless it has one.
    pub async fn submit(&mut self, message: Message, qos: Qos, key: Option<Key>, txn: Option<TxnId>) -> u64 {
        self.try_submit(message, qos, key, txn).await.expect("a producer that lives has room some time")
    }

    /// As [`submit`](Self::submit).
    ///
    /// # Errors
    /// If the link is dead.
    pub async fn try_submit(
        &mut self,
        message: Message,
        qos: Qos,
        key: Option<Key>,
        txn: Option<TxnId>,
    ) -> Result<u64> {
        let bytes = message.payload().len();
        let room = within("room to send", poll_fn(|cx| self.link.poll_reserve(cx, 1, bytes))).await?;
        assert!(room >= 1, "a grant of at least one message");
        self.cookie += 1;
        let cookie = self.cookie;
        let key = key.or_else(|| (qos == Qos::ExactlyOnce).then_some(Key::Number(cookie as u32)));
        let mut batch = vec![Outgoing { cookie, message, qos, key, txn }];
        self.link.send(&mut batch);
        assert!(batch.is_empty(), "what was granted is taken");
        Ok(cookie)
    }

    /// Sends without asking for room. Whether it was taken.
    pub fn push(&mut self, message: Message, qos: Qos) -> bool {
        self.cookie += 1;
        let mut batch = vec![Outgoing { cookie: self.cookie, message, qos, key: None, txn: None }];
        self.link.send(&mut batch);
        batch.is_empty()
    }

    /// What became of a message.
    pub async fn confirm(&mut self, cookie: u64) -> Confirm {
        self.try_confirm(cookie).await.expect("a producer that lives gets its confirms")
    }

    /// What became of a message.
    ///
    /// # Errors
    /// If the link is dead.
    pub async fn try_confirm(&mut self, cookie: u64) -> Result<Confirm> {
        within("a confirm", poll_fn(|cx| self.poll_confirm(cx, cookie))).await
    }

    /// Whether the confirm of a message comes before silence would be believed; it is then expected to be Accepted.
    pub async fn soon(&mut self, cookie: u64) -> bool {
        let confirm = poll_fn(|cx| self.poll_confirm(cx, cookie));
        match tokio::time::timeout(quiet(), confirm).await {
            Ok(Ok(confirm)) => {
                assert_eq!(confirm.outcome, Outcome::Accepted, "what can be taken is accepted ({:?})", confirm.why);
                true
            }
            Ok(Err(_)) | Err(_) => false,
        }
    }

    /// Whether the last message that was sent is accepted before silence would be believed.
    pub async fn soon_accepted(&mut self) -> bool {
        let cookie = self.cookie;
        let confirm = poll_fn(|cx| self.poll_confirm(cx, cookie));
        let confirm = tokio::time::timeout(quiet(), confirm).await;
        matches!(confirm, Ok(Ok(Confirm { outcome: Outcome::Accepted, .. })))
    }

    /// Whether the producer gives room for a message within the time that silence is listened to.
    pub async fn has_room(&mut self, bytes: usize) -> bool {
        let room = poll_fn(|cx| self.link.poll_reserve(cx, 1, bytes));
        tokio::time::timeout(quiet(), room).await.is_ok_and(|room| room.is_ok())
    }

    /// The second half of exactly once.
    pub fn forget(&mut self, key: Key) {
        self.link.forget(&mut vec![key]);
    }

    /// Ends the link.
    ///
    /// # Errors
    /// What the endpoint answers.
    pub async fn detach(self) -> Result<()> {
        let Self { link, session: _open, .. } = self;
        within("detaching a producer", link.detach(Detach::Close)).await
    }

    fn poll_confirm(&mut self, cx: &mut std::task::Context<'_>, cookie: u64) -> Poll<Result<Confirm>> {
        loop {
            if let Some(at) = self.confirms.iter().position(|confirm| confirm.cookie == cookie) {
                return Poll::Ready(Ok(self.confirms.remove(at)));
            }
            match self.link.poll_confirms(cx, &mut self.confirms) {
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// A consumer.
pub struct Receiving {
    link: Box<dyn Consumer>,
    attached: Attached,
    ready: VecDeque<Delivery>,
    done: Vec<Done>,
    cookie: u64,
    session: Arc<dyn Session>,
}

impl Receiving {
    fn new(link: Box<dyn Consumer>, mut attached: Attached, session: Arc<dyn Session>) -> Self {
        let ready = attached.unsettled.iter_mut().filter_map(|unsettled| unsettled.delivery.take()).collect();
        Self { link, attached, ready, done: Vec::new(), cookie: 0, session }
    }

    /// What the link was granted. Deliveries that an earlier attachment had left in flight come first of all from
    /// [`next`](Self::next).
    pub fn attached(&self) -> &Attached {
        &self.attached
    }

    /// Deliveries whose outcome an earlier attachment had named, but not settled.
    pub fn decided(&self) -> Vec<&Unsettled> {
        self.attached.unsettled.iter().filter(|left| matches!(left.state, DeliveryState::Decided(_))).collect()
    }

    /// Permits this many more deliveries.
    pub fn grant(&mut self, credit: u32) {
        self.link.grant(Grant::credit(credit));
    }

    /// Permits as the grant says.
    pub fn grant_as(&mut self, grant: Grant) {
        self.link.grant(grant);
    }

    /// Makes the node follow filters, and expects each to be granted.
    pub async fn bind(&mut self, bindings: Vec<Binding>) {
        let count = bindings.len();
        let granted = within("binding", self.link.bind(bindings)).await.expect("a link that lives can bind");
        assert_eq!(granted.len(), count, "one answer each");
        for granted in granted {
            granted.expect("the binding is granted");
        }
    }

    /// Tries to make the node follow filters.
    ///
    /// # Errors
    /// What the endpoint answers.
    pub async fn try_bind(&mut self, bindings: Vec<Binding>) -> Result<Vec<Result<roadbed_core::Granted>>> {
        within("binding", self.link.bind(bindings)).await
    }

    /// Makes the node stop following a filter. Whether it did follow it.
    pub async fn unbind(&mut self, filter: &str) -> bool {
        let unbind = vec![Unbind { filter: filter_of(filter), share: None }];
        let mut gone = within("unbinding", self.link.unbind(unbind)).await.expect("a link that lives can unbind");
        assert_eq!(gone.len(), 1, "one answer each");
        gone.remove(0).expect("a binding can be taken away")
    }

    /// The next delivery.
    pub async fn next(&mut self) -> Delivery {
        self.try_next().await.expect("a link that lives receives").expect("a delivery, not the end of a drain")
    }

    /// The next delivery; `None` when a drain has ended.
    ///
    /// # Errors
    /// If the link is dead.
    pub async fn try_next(&mut self) -> Result<Option<Delivery>> {
        within("a delivery", poll_fn(|cx| self.poll_next(cx, usize::MAX))).await
    }

    /// Polls once for at most `max` deliveries; how many came.
    pub async fn batch(&mut self, max: usize) -> usize {
        assert!(self.ready.is_empty(), "a batch of its own");
        let mut into = Vec::new();
        let polled = within("a batch", poll_fn(|cx| self.link.poll_receive(cx, &mut into, max))).await;
        let count = polled.expect("a link that lives receives");
        assert_eq!(count, into.len(), "the count is what was appended");
        self.ready.extend(into);
        count
    }

    /// The next `count` deliveries.
    pub async fn take(&mut self, count: usize) -> Vec<Delivery> {
        let mut taken = Vec::new();
        for _ in 0..count {
            taken.push(self.next().await);
        }
        taken
    }

    /// Grants one by one and accepts whatever comes until it is silent; the payloads.
    pub async fn drain(&mut self) -> Vec<String> {
        let mut payloads = Vec::new();
        self.grant(1);
        while let Some(delivery) = self.soon().await {
            payloads.push(text(&delivery.message));
            self.accept(&delivery).await;
            self.grant(1);
        }
        payloads
    }

    /// The next delivery, if it comes before silence would be believed.
    pub async fn soon(&mut self) -> Option<Delivery> {
        self.try_soon().await.expect("a link that lives receives")
    }

    /// The next delivery, if it comes before silence would be believed.
    ///
    /// # Errors
    /// If the link is dead.
    pub async fn try_soon(&mut self) -> Result<Option<Delivery>> {
        let next = poll_fn(|cx| self.poll_next(cx, usize::MAX));
        tokio::time::timeout(quiet(), next).await.unwrap_or(Ok(None))
    }

    /// As [`try_soon`](Self::try_soon), all deliveries that come at once.
    ///
    /// # Errors
    /// If the link is dead.
    pub async fn try_soon_all(&mut self) -> Result<Vec<Delivery>> {
        let mut all: Vec<_> = self.try_soon().await?.into_iter().collect();
        all.extend(self.ready.drain(..));
        Ok(all)
    }

    /// Expects silence.
    pub async fn nothing(&mut self, why: &str) {
        let next = poll_fn(|cx| self.poll_next(cx, usize::MAX));
        if let Ok(next) = tokio::time::timeout(quiet(), next).await {
            let told = next.as_ref().map(|next| next.as_ref().map(|delivery| text(&delivery.message)));
            panic!("{why}: nothing should come, but {told:?} does");
        }
    }

    /// Whether the link is dead by now.
    pub async fn is_dead(&mut self) -> bool {
        let next = poll_fn(|cx| self.poll_next(cx, usize::MAX));
        matches!(tokio::time::timeout(quiet(), next).await, Ok(Err(_)))
    }

    /// Accepts.
    pub async fn accept(&mut self, delivery: &Delivery) {
        if delivery.handle.is_some() {
            let settled = self.settle(delivery, Outcome::Accepted).await;
            assert_eq!(settled, Settled::Applied, "a delivery that is held can be accepted");
        }
    }

    /// Settles with an outcome.
    pub async fn settle(&mut self, delivery: &Delivery, outcome: Outcome) -> Settled {
        self.step(delivery, Step::Outcome { outcome, settled: true }).await.expect("a link that lives settles")
    }

    /// Takes one step of settling.
    ///
    /// # Errors
    /// What the endpoint answers.
    pub async fn step(&mut self, delivery: &Delivery, step: Step) -> Result<Settled> {
        let handle = delivery.handle.expect("a delivery that is to be settled has a handle");
        self.step_ref(handle.into(), step).await
    }

    /// Takes one step of settling, by any name.
    ///
    /// # Errors
    /// What the endpoint answers.
    pub async fn step_ref(&mut self, delivery: DeliveryRef, step: Step) -> Result<Settled> {
        self.cookie += 1;
        let cookie = self.cookie;
        let mut batch = vec![Disposition { delivery, cookie: Some(cookie), step }];
        self.link.settle(&mut batch);
        assert!(batch.is_empty(), "all dispositions are taken");
        within("the answer to a disposition", poll_fn(|cx| self.poll_done(cx, cookie))).await
    }

    /// How many messages are available, as the link says.
    pub fn backlog(&self) -> u32 {
        self.link.backlog()
    }

    /// Ends the link.
    ///
    /// # Errors
    /// What the endpoint answers.
    pub async fn detach(self, how: Detach) -> Result<()> {
        let Self { link, session: _open, .. } = self;
        within("detaching a consumer", link.detach(how)).await
    }

    fn poll_next(&mut self, cx: &mut std::task::Context<'_>, max: usize) -> Poll<Result<Option<Delivery>>> {
        if let Some(delivery) = self.ready.pop_front() {
            return Poll::Ready(Ok(Some(delivery)));
        }
        let mut into = Vec::new();
        self.link.poll_receive(cx, &mut into, max).map_ok(|_| {
            self.ready.extend(into);
            self.ready.pop_front()
        })
    }

    fn poll_done(&mut self, cx: &mut std::task::Context<'_>, cookie: u64) -> Poll<Result<Settled>> {
        loop {
            if let Some(at) = self.done.iter().position(|done| done.cookie == cookie) {
                return Poll::Ready(self.done.remove(at).result);
            }
            match self.link.poll_settled(cx, &mut self.done) {
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// The payload as text.
pub fn text(message: &Message) -> String {
    String::from_utf8_lossy(&message.payload().to_bytes()).into_owned()
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(ANSWER, future).await {
        Ok(answer) => answer,
        Err(_) => panic!("{what} takes too long"),
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("opened", self.opened()).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Sending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sending").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Receiving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiving").field("attached", &self.attached).finish_non_exhaustive()
    }
}
