//! A consumer, driven by laws.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use roadbed_core::{
    Attached, Binding, Consumer, Delivery, DeliveryRef, DeliveryState, Detach, Disposition, Done, Grant, Granted,
    Outcome, Result, Session, Settled, Step, Unbind, Unsettled,
};

use super::{text, within};
use crate::world::{filter_of, quiet};

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
    pub(super) fn new(link: Box<dyn Consumer>, mut attached: Attached, session: Arc<dyn Session>) -> Self {
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
    pub async fn try_bind(&mut self, bindings: Vec<Binding>) -> Result<Vec<Result<Granted>>> {
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

    fn poll_next(&mut self, cx: &mut Context<'_>, max: usize) -> Poll<Result<Option<Delivery>>> {
        if let Some(delivery) = self.ready.pop_front() {
            return Poll::Ready(Ok(Some(delivery)));
        }
        let mut into = Vec::new();
        self.link.poll_receive(cx, &mut into, max).map_ok(|_| {
            self.ready.extend(into);
            self.ready.pop_front()
        })
    }

    fn poll_done(&mut self, cx: &mut Context<'_>, cookie: u64) -> Poll<Result<Settled>> {
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
impl std::fmt::Debug for Receiving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiving").field("attached", &self.attached).finish_non_exhaustive()
    }
}
