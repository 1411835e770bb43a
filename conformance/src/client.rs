//! The handles by which laws drive an endpoint: every answer is awaited with a limit, every silence is listened to.

use std::future::{Future, poll_fn};
use std::sync::Arc;

use roadbed_core::{
    Close, ConsumerTerms, DeliveryRef, Disposition, Endpoint, Manage, Managed, Message, Open, Opened, ProducerTerms,
    Qos, Result, Session, SessionEvent, Settled, Step, Transaction,
};

use crate::world::{ANSWER, address};

mod receiving;
mod sending;

pub use receiving::Receiving;
pub use sending::Sending;

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
        Ok(Sending::new(link, Arc::clone(&self.session)))
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
