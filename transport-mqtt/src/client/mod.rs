//! The client: takes a server off the wire, as an endpoint.

mod config;
mod consumer;
mod counters;
mod dial;
mod driver;
mod inbound;
mod names;
mod outbound;
mod producer;
mod requests;
mod session;
mod shared;
mod turn;
mod url;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytestring::ByteString;
use roadbed_core::{
    Capabilities, CreditKind, Endpoint, Error, ErrorKind, Fut, Limit, Open, Opened, Outcomes, Result, Session,
    SessionEvent, Transactions, WireQos,
};

pub use config::{ClientConfig, OnRelease};
pub use counters::ClientCounts;
pub use roadbed_core::client::{
    Carrier, Change, Connector, MemoryStore, SessionStore, StoredMessage, StoredReceipt, StoredSession,
};

use counters::Counters;
use dial::{Dial, Dialed};
use driver::{Driver, Place};
use inbound::Inbound;
use outbound::Outbound;
use session::Attachment;
use shared::{Alive, Shared};

/// A server that speaks MQTT, as an [`Endpoint`].
///
/// Each session is a connection of its own, since MQTT has one identity per connection: [`Open::name`] is the client identifier. A task keeps the
/// connection, and opens it again when it is lost: the session goes on, what was not answered is sent again, and what was subscribed is subscribed again if the server
/// has lost it. It ends when the last handle of the session is dropped (the server then sends the will) or with [`Session::close`].
///
/// What MQTT cannot do is told by its [`Capabilities`]:
/// - There are no transactions, no management, no reading of queues by their address, and no settling from another connection.
/// - A receiver accepts or, in MQTT 5, rejects. What happens to a release or a failure is [`ClientConfig::on_release`]. A rejection in MQTT 3 is told to the
///   server as accepted, and counted.
/// - Deliveries may be settled in any order. Acknowledgements go out in the order of arrival, as the standard asks: one that is held back holds up those behind
///   it, at most as many as the window.
/// - [`Done`](roadbed_core::Done) comes as soon as the outcome is noted, since MQTT does not confirm an acknowledgement. At QoS 2 an outcome that is not settled
///   (`settled: false`) is answered when the server has confirmed it (PUBREL).
/// - A drain gives what has arrived here, not what the server has.
/// - A server of MQTT 3 does not say that another client has taken the name. Two clients that use one name take it from each other, in ever longer pauses. Within one
///   [`Client`] the later session has it.
///
/// *Cancel safety*: an [`open`](Endpoint::open) that is dropped leaves a connection that is dropped. A [`close`](Session::close) that is dropped goes on as long as any handle
/// lives. A binding that is dropped may be made all the same.
///
/// ```no_run
/// # async fn example() -> roadbed_core::Result<()> {
/// use roadbed_core::{Endpoint, Message, Open, ProducerTerms, Qos, Sender};
/// let client = roadbed_mqtt::connect("mqtt://localhost".parse()?);
/// let session = client.open(Open { name: Some("sensor-7".into()), ..Open::default() }).await?;
/// let sender = Sender::new(session.producer(ProducerTerms::default()).await?.0);
/// let confirm = sender.send(Message::new("plant/7/alarm".parse().expect("an address"), "too hot"), Qos::AtLeastOnce).await?;
/// println!("{}", confirm.outcome);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    config: Arc<ClientConfig>,
    connector: Option<Arc<dyn Connector>>,
    capabilities: Capabilities,
    counters: Arc<Counters>,
    registry: Arc<Registry>,
}

/// The sessions of a client that have a name, so that one of them at a time has it.
#[derive(Default)]
struct Registry(Mutex<BTreeMap<ByteString, Arc<Shared>>>);

/// The server that the configuration names, over TCP. Nothing is connected before a session is opened.
pub fn connect(config: ClientConfig) -> Client {
    Client::new(config, None)
}

/// A server that is reached by `connector`: over TLS, WebSocket, a pipe. Host and port of the configuration are not looked at.
///
/// ```
/// # use roadbed_mqtt::{ClientConfig, connect_over};
/// let client = connect_over(ClientConfig::default(), || async {
///     tokio::net::TcpStream::connect("localhost:1883").await
/// });
/// ```
pub fn connect_over(config: ClientConfig, connector: impl Connector + 'static) -> Client {
    Client::new(config, Some(Arc::new(connector)))
}

impl Client {
    fn new(config: ClientConfig, connector: Option<Arc<dyn Connector>>) -> Self {
        let capabilities = capabilities(&config);
        let (config, counters, registry) = (Arc::new(config), Arc::default(), Arc::default());
        Self(Arc::new(Inner { config, connector, capabilities, counters, registry }))
    }

    /// What was counted so far.
    pub fn counts(&self) -> ClientCounts {
        self.0.counters.read()
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
        let client_id = open.name.clone().or_else(|| self.config.client_id.clone()).unwrap_or_default();
        let (kept, v5) = (!open.expiry.is_zero(), self.config.version.is_v5());
        if kept && client_id.is_empty() && !v5 {
            let error = Error::new(ErrorKind::Invalid, "open");
            return Err(error.detail("a session that is to be kept needs a name in MQTT 3.1.1"));
        }
        let mut dial = Dial::new(Arc::clone(&self.config), self.connector.clone(), client_id.clone(), &open)?;
        let (shared, place) = self.take_place(&client_id, &open).await;
        let stored = self.load(&client_id, &open).await?;
        if kept && !open.resume && !v5 {
            dial.purge().await?;
        }
        let dialed = dial.dial(open.resume).await?;
        if let Some(assigned) = &dialed.connack.assigned_client_id {
            dial.client_id = assigned.clone();
        }
        let opened = opened(&dialed, &dial, &stored, v5);
        shared.with(|state| {
            state.check("open")?;
            let window = dial::window(&self.config, &open);
            state.inbound = Inbound::new(&self.config, window, &stored, Arc::clone(&self.counters));
            state.outbound = Outbound::new(&self.config, stored);
            Ok::<_, Error>(())
        })?;
        let driver = Driver::new(Arc::clone(&shared), dial, place);
        tokio::spawn(driver.run(dialed));
        Ok(Attachment::new(Arc::new(Alive(shared)), opened))
    }

    /// Takes the name over from a session of this client that has it, and waits until that one works no more.
    async fn take_place(&self, client_id: &ByteString, open: &Open) -> (Arc<Shared>, Place) {
        let inbound = Inbound::new(
            &self.config,
            dial::window(&self.config, open),
            &StoredSession::default(),
            Arc::clone(&self.counters),
        );
        let outbound = Outbound::new(&self.config, StoredSession::default());
        let shared = Arc::new(Shared::new(Arc::clone(&self.config), Arc::clone(&self.counters), outbound, inbound));
        let place = Place::new(Arc::clone(&shared), Arc::downgrade(&self.registry), client_id.clone());
        let former = (!client_id.is_empty()).then(|| self.registry.enter(client_id, &shared)).flatten();
        if let Some(former) = former {
            former.with(|state| {
                if state.ended.is_none() {
                    state.tell(SessionEvent::TakenOver);
                    state.end(ErrorKind::Closed, "another session of this client has taken the name over");
                }
            });
            former.stopped().await;
        }
        (shared, place)
    }

    /// What the store has of the session; nothing, if it is to start afresh.
    async fn load(&self, client_id: &ByteString, open: &Open) -> Result<StoredSession> {
        if client_id.is_empty() || open.expiry.is_zero() {
            return Ok(StoredSession::default());
        }
        if open.resume {
            return self.config.store.load(client_id).await;
        }
        let cleared: Vec<_> = alloc::vec![Change::Cleared];
        self.config.store.commit(client_id, cleared).await.map(|()| StoredSession::default())
    }
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<ByteString, Arc<Shared>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says who had the name before.
    fn enter(&self, client_id: &ByteString, shared: &Arc<Shared>) -> Option<Arc<Shared>> {
        self.lock().insert(client_id.clone(), Arc::clone(shared))
    }

    fn leave(&self, client_id: &ByteString, shared: &Arc<Shared>) {
        let mut sessions = self.lock();
        if sessions.get(client_id).is_some_and(|current| Arc::ptr_eq(current, shared)) {
            sessions.remove(client_id);
        }
    }
}

/// What the server said, and what the store has.
fn opened(dialed: &Dialed, dial: &Dial, stored: &StoredSession, v5: bool) -> Opened {
    let peer = dialed.machine.peer();
    let expiry = match (v5, dial.is_kept()) {
        (true, _) => crate::dialect::duration(peer.session_expiry_secs),
        // MQTT 3 does not say for how long.
        (false, true) => Duration::MAX,
        (false, false) => Duration::ZERO,
    };
    Opened {
        resumed: dialed.connack.session_present,
        name: Some(dial.client_id.clone()).filter(|name| !name.is_empty()),
        expiry,
        qos_max: peer.qos_max.read(),
        message_bytes_max: usize::try_from(peer.packet_bytes_max).unwrap_or(usize::MAX),
        in_doubt: stored.in_doubt().into_iter().map(|key| (key, None)).collect(),
    }
}

fn capabilities(config: &ClientConfig) -> Capabilities {
    let v5 = config.version.is_v5();
    let mut can = Capabilities::full("mqtt");
    can.outcomes = Outcomes { rejected: v5, released: false, modified: false };
    can.credit = CreditKind::Window(config.machine.receive_maximum.into());
    can.drain = false;
    can.consumers_per_session = Limit::AtMost(config.consumers_max);
    can.queues = false;
    (can.browse, can.logs) = (false, false);
    can.settle_by_id = false;
    (can.leases, can.renew) = (false, false);
    can.transactions = Transactions::None;
    can.refusals = v5;
    can.manage = false;
    can.properties = v5;
    can.expiry = v5;
    can.priority = false;
    can
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("config", &self.0.config).finish_non_exhaustive()
    }
}
