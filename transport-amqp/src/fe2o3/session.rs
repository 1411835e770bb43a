//! A session: an AMQP session on the connection, and another after each refused link.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::ready;
use core::task::{Context, Poll};

use fe2o3_amqp::session::SessionHandle;
use roadbed_core::{
    Attached, Close, Consumer, ConsumerTerms, Credential, Disposition, Done, Error, ErrorKind, Fut, Hold, Manage,
    Managed, Mode, Node, Opened, Producer, ProducerTerms, Qos, Result, Session, SessionEvent, Settle, Time,
    Transaction,
};
use tokio::sync::{Mutex, Semaphore};

use super::consumer::Receiving;
use super::message::Dialect;
use super::producer::Sending;
use super::{Shared, words};

pub(super) struct Attachment {
    shared: Arc<Shared>,
    sessions: Arc<Mutex<Sessions>>,
    dialect: Dialect,
    /// How many more deliveries may be unsettled, over all links.
    window: Arc<Semaphore>,
    opened: Opened,
}

/// The AMQP sessions of one session.
struct Sessions {
    /// New links are attached here.
    current: SessionHandle<()>,
    /// A link was refused on each of these. The library may give such a link's handle to the next one before it has let go of it, which ends the
    /// AMQP session; so none is attached there any more.
    former: Vec<SessionHandle<()>>,
}

impl Sessions {
    async fn begin(shared: &Shared) -> Result<SessionHandle<()>> {
        let mut connection = shared.connection.lock().await;
        fe2o3_amqp::Session::begin(&mut connection).await.map_err(words::begin)
    }

    /// What `attached` says, after a new AMQP session is begun if it is a refusal. If none can be, the old one has to do.
    async fn after<T>(&mut self, attached: Result<T>, shared: &Shared) -> Result<T> {
        if attached.is_err()
            && let Ok(next) = Self::begin(shared).await
        {
            self.former.push(core::mem::replace(&mut self.current, next));
        }
        attached
    }

    async fn end(&mut self) -> Result<()> {
        for former in self.former.iter_mut().filter(|former| !former.is_ended()) {
            // It may have been ended meanwhile.
            let _ = former.end().await;
        }
        if !self.current.is_ended() {
            self.current.end().await.map_err(words::end)?;
        }
        Ok(())
    }
}

impl Attachment {
    pub(super) async fn begin(shared: Arc<Shared>, dialect: Dialect, open: roadbed_core::Open) -> Result<Self> {
        let sessions = Sessions { current: Sessions::begin(&shared).await?, former: Vec::new() };
        let window = if open.window == 0 { u16::MAX } else { open.window };
        let window = Arc::new(Semaphore::new(window.into()));
        let opened =
            Opened { name: open.name, qos_max: Qos::AtLeastOnce, message_bytes_max: usize::MAX, ..Opened::default() };
        Ok(Self { shared, sessions: Arc::new(Mutex::new(sessions)), dialect, window, opened })
    }
}

impl Session for Attachment {
    fn opened(&self) -> &Opened {
        &self.opened
    }

    fn producer(&self, terms: ProducerTerms) -> Fut<(Box<dyn Producer>, Attached)> {
        let (sessions, dialect, shared) = (Arc::clone(&self.sessions), self.dialect.clone(), Arc::clone(&self.shared));
        Box::pin(async move {
            let mut sessions = sessions.lock().await;
            let attached = Sending::attach(&mut sessions.current, shared.names.next("out"), terms, &dialect).await;
            let (sending, attached) = sessions.after(attached, &shared).await?;
            Ok((Box::new(sending) as Box<dyn Producer>, attached))
        })
    }

    fn consumer(&self, terms: ConsumerTerms) -> Fut<(Box<dyn Consumer>, Attached)> {
        let (sessions, dialect, shared) = (Arc::clone(&self.sessions), self.dialect.clone(), Arc::clone(&self.shared));
        let window = Arc::clone(&self.window);
        Box::pin(async move {
            let terms = sayable(terms)?;
            let (mut sessions, name) = (sessions.lock().await, shared.names.next("in"));
            let attached = Receiving::attach(&mut sessions.current, name, terms, &dialect, window).await;
            let (receiving, attached) = sessions.after(attached, &shared).await?;
            Ok((Box::new(receiving) as Box<dyn Consumer>, attached))
        })
    }

    fn transaction(&self) -> Fut<Box<dyn Transaction>> {
        no("declare", "there are no transactions here: use roadbed_amqp::connect")
    }

    fn settle(&self, _batch: Vec<Disposition>) -> Fut<Vec<Done>> {
        no("settle", "AMQP settles on the link of the delivery alone: settle by its handle, on its consumer")
    }

    fn manage(&self, _request: Manage) -> Fut<Managed> {
        no("manage", "nodes are not managed here: use roadbed_amqp::connect")
    }

    fn credential(&self, _credential: Credential) -> Fut<Option<Time>> {
        no("renew", "credentials are given when the connection is opened")
    }

    /// Tells nothing: what ends the session is told by its links.
    fn poll_event(&self, _cx: &mut Context<'_>) -> Poll<SessionEvent> {
        Poll::Pending
    }

    fn close(&self, close: Close) -> Fut<()> {
        let sessions = Arc::clone(&self.sessions);
        Box::pin(async move {
            if close.will {
                return Err(Error::new(ErrorKind::Invalid, "close").detail("AMQP 1.0 has no wills"));
            }
            sessions.lock().await.end().await
        })
    }
}

/// What can be said of the terms.
fn sayable(mut terms: ConsumerTerms) -> Result<ConsumerTerms> {
    let no = |words: &str| Err(Error::new(ErrorKind::NotSupported, "attach").detail(words));
    match terms.node {
        Node::Address(_) | Node::Dynamic => {}
        _ => return no("a session has no queue of its own here, since it cannot bind: name an address"),
    }
    if matches!(terms.hold, Hold::Lease(_)) {
        return no("AMQP 1.0 has no leases: a delivery belongs to its link");
    }
    if terms.declare.is_some() {
        return no("nodes are not managed here: use roadbed_amqp::connect");
    }
    // What is looked at is nobody's to settle.
    let most = if terms.mode == Mode::Browse { Qos::AtMostOnce } else { Qos::AtLeastOnce };
    terms.qos_max = terms.qos_max.min(most);
    terms.settle = Settle::First;
    Ok(terms)
}

fn no<T: Send + 'static>(operation: &'static str, words: &str) -> Fut<T> {
    Box::pin(ready(Err(Error::new(ErrorKind::NotSupported, operation).detail(words))))
}
