use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::ready;
use core::task::{Context, Poll};

use roadbed_core::{
    Attached, Close, Consumer, ConsumerTerms, Credential, Disposition, Done, Error, ErrorKind, Fut, Manage, Managed,
    Opened, Producer, ProducerTerms, Result, Session, SessionEvent, Time, Transaction,
};

use super::consumer::Receiving;
use super::producer::Sending;
use super::shared::{Alive, Ended};
use super::state::Closing;
use super::{manage, transactions};

/// A session on a server.
pub(super) struct Attachment {
    alive: Arc<Alive>,
    opened: Opened,
}

impl Attachment {
    pub(super) const fn new(alive: Arc<Alive>, opened: Opened) -> Self {
        Self { alive, opened }
    }

    /// What cannot be said when closing.
    fn check(&self, close: &Close) -> Result<()> {
        let error = |words: &str| Err(Error::new(ErrorKind::Invalid, "close").detail(words));
        match close.expiry {
            _ if close.will => error("AMQP 1.0 has no wills"),
            Some(expiry) if !expiry.is_zero() && self.opened.expiry.is_zero() => {
                error("a session that was opened to end with its connection cannot be kept")
            }
            _ => Ok(()),
        }
    }
}

impl Session for Attachment {
    fn opened(&self) -> &Opened {
        &self.opened
    }

    fn producer(&self, terms: ProducerTerms) -> Fut<(Box<dyn Producer>, Attached)> {
        let attaching = Sending::attach(Arc::clone(&self.alive), terms);
        Box::pin(async move {
            let (sending, attached) = attaching.await?;
            Ok((Box::new(sending) as Box<dyn Producer>, attached))
        })
    }

    fn consumer(&self, terms: ConsumerTerms) -> Fut<(Box<dyn Consumer>, Attached)> {
        let attaching = Receiving::attach(Arc::clone(&self.alive), terms);
        Box::pin(async move {
            let (receiving, attached) = attaching.await?;
            Ok((Box::new(receiving) as Box<dyn Consumer>, attached))
        })
    }

    fn transaction(&self) -> Fut<Box<dyn Transaction>> {
        transactions::declare(&self.alive)
    }

    fn settle(&self, _batch: Vec<Disposition>) -> Fut<Vec<Done>> {
        let error = Error::new(ErrorKind::NotSupported, "settle");
        Box::pin(ready(Err(
            error.detail("AMQP settles on the link of the delivery alone: settle by its handle, on its consumer")
        )))
    }

    fn manage(&self, request: Manage) -> Fut<Managed> {
        manage::manage(&self.alive, &request)
    }

    fn credential(&self, credential: Credential) -> Fut<Option<Time>> {
        manage::credential(&self.alive, credential)
    }

    fn poll_event(&self, cx: &mut Context<'_>) -> Poll<SessionEvent> {
        self.alive.shared.with(|state| match state.sessions.get_mut(&self.alive.session) {
            Some(session) => session.poll_event(cx),
            None => Poll::Pending,
        })
    }

    fn close(&self, close: Close) -> Fut<()> {
        let (alive, checked) = (Arc::clone(&self.alive), self.check(&close));
        Box::pin(async move {
            checked?;
            let (shared, id) = (&alive.shared, alive.session);
            shared.with(|state| {
                if let Some(session) = state.sessions.get_mut(&id) {
                    session.closing.get_or_insert(Closing { close, now: false });
                }
                state.touch(id);
            });
            let closed =
                |state: &mut super::shared::State| state.sessions.get(&id).is_none_or(|session| session.finished);
            if tokio::time::timeout(shared.config.close_timeout, shared.until(closed)).await.is_err() {
                shared.with(|state| {
                    if let Some(closing) = state.sessions.get_mut(&id).and_then(|session| session.closing.as_mut()) {
                        closing.now = true;
                    }
                    state.touch(id);
                });
                // Without a connection there is nobody to say it to.
                let closed = tokio::time::timeout(shared.config.close_timeout, shared.until(closed)).await;
                if closed.is_err() {
                    let ended = Ended::new(ErrorKind::Closed, "the session is closed");
                    shared.with(|state| state.end(id, &ended, None));
                }
            }
            // The last session takes the connection with it: a program that ends now has said goodbye.
            let parted = |state: &mut super::shared::State| {
                let last = state.sessions.values().all(|session| session.finished);
                !last || (!state.driven && state.parting == 0)
            };
            let _ = tokio::time::timeout(shared.config.close_timeout, shared.until(parted)).await;
            Ok(())
        })
    }
}
