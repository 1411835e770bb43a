//! A producer, driven by laws.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use roadbed_core::{Confirm, Detach, Key, Message, Outcome, Outgoing, Producer, Qos, Result, Session, TxnId};

use super::within;
use crate::world::quiet;

/// A producer.
pub struct Sending {
    link: Box<dyn Producer>,
    cookie: u64,
    confirms: Vec<Confirm>,
    session: Arc<dyn Session>,
}

impl Sending {
    pub(super) fn new(link: Box<dyn Producer>, session: Arc<dyn Session>) -> Self {
        Self { link, cookie: 0, confirms: Vec::new(), session }
    }

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

    fn poll_confirm(&mut self, cx: &mut Context<'_>, cookie: u64) -> Poll<Result<Confirm>> {
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
impl std::fmt::Debug for Sending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sending").finish_non_exhaustive()
    }
}
