use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::ready;
use core::task::{Context, Poll};

use roadbed_core::{
    Attached, Close, Consumer, ConsumerTerms, Credential, Disposition, Done, Error, ErrorKind, Fut, Manage, Managed,
    Opened, Producer, ProducerTerms, Session, SessionEvent, Time, Transaction,
};

use super::consumer::Receiving;
use super::producer::Sending;
use super::shared::Alive;

/// A session on a server.
pub(super) struct Attachment {
    alive: Arc<Alive>,
    opened: Opened,
    /// Whether the version can say how long a session is kept, and whether it is kept at all.
    expiry: bool,
}

impl Attachment {
    pub(super) fn new(alive: Arc<Alive>, opened: Opened) -> Self {
        let expiry = alive.0.config.version.is_v5();
        Self { alive, opened, expiry }
    }

    /// What cannot be said when closing.
    fn check(&self, close: &Close) -> Result<(), Error> {
        let Some(expiry) = close.expiry.filter(|expiry| !expiry.is_zero()) else { return Ok(()) };
        match self.expiry && self.opened.expiry.is_zero() {
            true => Err(Error::new(ErrorKind::Invalid, "close").detail(format_args!(
                "a session that was opened to end with its connection cannot be kept for {} s [MQTT-3.14.2-2]",
                expiry.as_secs()
            ))),
            false => Ok(()),
        }
    }
}

impl Session for Attachment {
    fn opened(&self) -> &Opened {
        &self.opened
    }

    fn producer(&self, terms: ProducerTerms) -> Fut<(Box<dyn Producer>, Attached)> {
        let checked = self.alive.0.with(|state| state.check("attach"));
        let qos_max = terms.qos_max.min(self.opened.qos_max);
        let attached = Attached { address: terms.to.clone(), qos_max, ..Attached::default() };
        let sending = checked.map(|()| Sending::new(Arc::clone(&self.alive), terms.to));
        Box::pin(ready(sending.map(|sending| (Box::new(sending) as Box<dyn Producer>, attached))))
    }

    fn consumer(&self, terms: ConsumerTerms) -> Fut<(Box<dyn Consumer>, Attached)> {
        let attaching = Receiving::attach(Arc::clone(&self.alive), terms);
        Box::pin(async move {
            let (receiving, attached) = attaching.await?;
            Ok((Box::new(receiving) as Box<dyn Consumer>, attached))
        })
    }

    fn transaction(&self) -> Fut<Box<dyn Transaction>> {
        Box::pin(ready(Err(no_transactions())))
    }

    fn settle(&self, _batch: Vec<Disposition>) -> Fut<Vec<Done>> {
        let error = Error::new(ErrorKind::NotSupported, "settle");
        Box::pin(ready(Err(
            error.detail("MQTT settles on the connection of the delivery alone: settle by its handle, on its consumer")
        )))
    }

    fn manage(&self, _request: Manage) -> Fut<Managed> {
        let error = Error::new(ErrorKind::NotSupported, "manage");
        Box::pin(ready(Err(
            error.detail("MQTT has no words for it: manage the server over HTTP, or in its own process")
        )))
    }

    fn credential(&self, _credential: Credential) -> Fut<Option<Time>> {
        let error = Error::new(ErrorKind::NotSupported, "renew");
        Box::pin(ready(Err(error.detail("this session was not opened with an enhanced authentication: open it anew"))))
    }

    fn poll_event(&self, cx: &mut Context<'_>) -> Poll<SessionEvent> {
        self.alive.0.with(|state| state.poll_event(cx))
    }

    fn close(&self, close: Close) -> Fut<()> {
        let (alive, checked) = (Arc::clone(&self.alive), self.check(&close));
        Box::pin(async move {
            checked?;
            let shared = &alive.0;
            let over = shared.with(|state| {
                if state.ended.is_none() {
                    state.closing.get_or_insert(close);
                }
                state.wakers.wake_driver();
                state.ended.is_some()
            });
            if !over && tokio::time::timeout(shared.config.close_timeout, shared.stopped()).await.is_err() {
                shared.with(|state| {
                    state.close_now = true;
                    state.wakers.wake_driver();
                });
            }
            shared.stopped().await;
            Ok(())
        })
    }
}

pub(super) fn no_transactions() -> Error {
    Error::new(ErrorKind::NotSupported, "begin a transaction")
        .detail("MQTT has no transactions: send and settle one by one, or use a protocol that has them")
}
