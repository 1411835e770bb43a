//! The client: takes a server off the wire, as an endpoint.

mod attach;
mod calls;
mod config;
mod consumer;
mod counters;
mod dial;
mod driver;
mod held;
mod inbound;
mod manage;
mod outbound;
mod producer;
mod reading;
mod replies;
mod session;
mod shared;
mod state;
mod transactions;
mod turn;
mod url;
mod wire;
mod words;

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;

use roadbed_core::client::{Change, Connector, StoredSession};
use roadbed_core::{
    Capabilities, Endpoint, Error, ErrorKind, Fut, Limit, Losses, Open, Result, Session, SessionEvent, Transactions,
};
use tokio::sync::oneshot;

pub use config::ClientConfig;
pub use counters::ClientCounts;

#[cfg(feature = "fe2o3")]
pub(crate) use attach::{outcomes, source};
#[cfg(feature = "fe2o3")]
pub(crate) use counters::Counters;
use dial::Dial;
use driver::Driver;
#[cfg(feature = "fe2o3")]
pub(crate) use inbound::Arriving;
#[cfg(feature = "fe2o3")]
pub(crate) use reading::{Read, read};
use session::Attachment;
use shared::{Alive, Ended, Shared};
use state::Terms;
#[cfg(feature = "fe2o3")]
pub(crate) use words::error;

/// A server that speaks AMQP 1.0, as an [`Endpoint`].
///
/// All its sessions share one connection, each with an AMQP session of its own, and a link for each producer and consumer: a gateway may have thousands of them. The
/// connection is opened with the first session and closed with the last. A task keeps it, and opens it again when it is lost: the sessions go on, their links are
/// attached again, and what was sent at least once and is not answered is sent again.
///
/// A session that is opened with a name and an expiry attaches its links so that the server keeps their state (Part 2, section 2.6.13): they go on where they were, and
/// exactly once is once over any number of connections, and over restarts if the [`store`](ClientConfig::store) outlives them. Without a name, what was sent exactly
/// once and is not answered when the connection is lost is told as failed, since nobody can know.
///
/// What AMQP 1.0 cannot do is told by its [`Capabilities`]:
/// - There are no leases, no wills, no prepared transactions, and no settling from another connection.
/// - Bindings, and [`Session::manage`], are requests to the node `$management`. A server without one refuses them.
/// - [`Done`](roadbed_core::Done) comes when the server has settled, on a consumer that takes exactly once, which is the default, from a server that settles last (Part 2,
///   section 2.8.3). Otherwise it comes as soon as the outcome is noted, since nobody confirms it.
/// - *Released* is what a server says of a message that it can route nowhere: told as [`Condition::NoRoute`](roadbed_core::Condition).
///
/// *Cancel safety*: an [`open`](Endpoint::open) that is dropped leaves nothing. A [`close`](Session::close) that is dropped goes on. A producer or consumer that is
/// dropped while it attaches is detached. What was asked of `$management`, and a commit, may happen all the same.
///
/// ```no_run
/// # async fn example() -> roadbed_core::Result<()> {
/// use roadbed_core::{Endpoint, Message, Open, ProducerTerms, Qos, Sender};
/// let client = roadbed_amqp::connect("amqp://localhost".parse()?);
/// let session = client.open(Open::default()).await?;
/// let to = "queues/orders".parse().expect("an address");
/// let sender = Sender::new(session.producer(ProducerTerms::default()).await?.0);
/// let confirm = sender.send(Message::new(to, "one pallet"), Qos::AtLeastOnce).await?;
/// println!("{}", confirm.outcome);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    connector: Option<Arc<dyn Connector>>,
    capabilities: Capabilities,
}

/// The server that the configuration names, over TCP. Nothing is connected before a session is opened.
pub fn connect(config: ClientConfig) -> Client {
    Client::new(config, None)
}

/// A server that is reached by `connector`: over TLS, WebSocket, a pipe. Of host and port of the configuration only the name is told.
///
/// ```
/// # use roadbed_amqp::{ClientConfig, connect_over};
/// let client = connect_over(ClientConfig::default(), || async {
///     tokio::net::TcpStream::connect("localhost:5672").await
/// });
/// ```
pub fn connect_over(config: ClientConfig, connector: impl Connector + 'static) -> Client {
    Client::new(config, Some(Arc::new(connector)))
}

impl Client {
    fn new(config: ClientConfig, connector: Option<Arc<dyn Connector>>) -> Self {
        let capabilities = capabilities(&config);
        Self(Arc::new(Inner { shared: Arc::new(Shared::new(Arc::new(config))), connector, capabilities }))
    }

    /// What was counted so far.
    pub fn counts(&self) -> ClientCounts {
        self.0.shared.counters.read()
    }

    /// What translations have dropped, over all sessions and connections.
    pub fn losses(&self) -> Losses {
        self.0.shared.ledger.read()
    }
}

impl Endpoint for Client {
    fn capabilities(&self) -> &Capabilities {
        &self.0.capabilities
    }

    fn open(&self, open: Open) -> Fut<Box<dyn Session>> {
        let inner = Arc::clone(&self.0);
        Box::pin(async move { Ok(Box::new(inner.open(open).await?) as Box<dyn Session>) })
    }
}

impl Inner {
    async fn open(&self, open: Open) -> Result<Attachment> {
        if open.will.is_some() {
            let error = Error::new(ErrorKind::NotSupported, "open");
            return Err(error.detail("AMQP 1.0 has no wills: open the session over MQTT, or in the broker's process"));
        }
        let kept = open.name.is_some() && !open.expiry.is_zero();
        let terms = Terms {
            kept,
            fresh: !open.resume,
            expiry: if kept { open.expiry } else { core::time::Duration::ZERO },
            scope: open.scope,
            window: if open.window == 0 { inbound::WINDOW_MAX } else { open.window.into() },
            name: open.name,
        };
        self.take_name(&terms).await;
        let stored = self.load(&terms).await?;
        let (opening, opened) = oneshot::channel();
        let shared = &self.shared;
        let (session, idle) = shared.with(|state| {
            let id = state.next();
            if let Some(name) = &terms.name {
                state.names.insert(name.clone(), id);
            }
            let mut session = state::Session::new(id, terms, stored, &shared.config);
            session.opening = Some(opening);
            state.sessions.insert(id, session);
            state.touch(id);
            (id, !core::mem::replace(&mut state.driven, true))
        });
        let alive = Arc::new(Alive { shared: Arc::clone(shared), session });
        if idle {
            let dial = Dial { config: Arc::clone(&shared.config), connector: self.connector.clone() };
            tokio::spawn(Driver::new(Arc::clone(shared), dial).run());
        }
        let opened = opened.await.map_err(|_| shared::gone("open"))??;
        Ok(Attachment::new(alive, opened))
    }

    /// Takes the name over from a session of this client that has it, and waits until nobody works on that one.
    async fn take_name(&self, terms: &Terms) {
        let Some(name) = &terms.name else { return };
        self.shared.with(|state| {
            let Some(&former) = state.names.get(name) else { return };
            let ended = Ended::new(ErrorKind::Closed, "another session of this client has taken the name over");
            if state.sessions.get(&former).is_some_and(|former| former.ended.is_none()) {
                state.end(former, &ended, Some(SessionEvent::TakenOver));
            }
        });
        self.shared.until(|state| !state.names.contains_key(name)).await;
    }

    /// What the store has of the session; nothing, if it is to start afresh.
    async fn load(&self, terms: &Terms) -> Result<StoredSession> {
        let store = &self.shared.config.store;
        match &terms.name {
            Some(name) if terms.kept && terms.fresh => {
                store.commit(name, alloc::vec![Change::Cleared]).await.map(|()| StoredSession::default())
            }
            Some(name) if terms.kept => store.load(name).await,
            _ => Ok(StoredSession::default()),
        }
    }
}

fn capabilities(config: &ClientConfig) -> Capabilities {
    let mut can = Capabilities::full("amqp");
    can.consumers_per_session = Limit::AtMost(config.consumers_max);
    can.settle_by_id = false;
    (can.leases, can.renew) = (false, false);
    can.transactions = Transactions::Local;
    can.wills = false;
    can
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("config", &self.0.shared.config).finish_non_exhaustive()
    }
}
