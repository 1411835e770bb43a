//! A connection of `fe2o3-amqp` that the program already has, as an endpoint (feature `fe2o3`).
//!
//! For programs that have such a connection, with a profile of SASL, a TLS set-up or a proxy of their own. Who has none uses
//! [`connect`](crate::connect): it opens the connection again when it is lost, and does more with less.
//!
//! Messages are said in the words of [`dialect`](crate::dialect), as by the client and the server of this crate.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;
use core::hash::{BuildHasher, Hasher};
use core::sync::atomic::{AtomicU64, Ordering};
use std::hash::RandomState;

use fe2o3_amqp::connection::ConnectionHandle;
use roadbed_core::{
    Capabilities, Clock, Endpoint, Error, ErrorKind, Fut, Losses, Open, Qos, Result, Session, SystemClock, Transactions,
};
use tokio::sync::Mutex;

mod consumer;
mod message;
mod producer;
mod session;
mod words;

use message::Dialect;
use session::Attachment;

/// A connection of `fe2o3-amqp` as an [`Endpoint`]: each session is an AMQP session on it, each producer and consumer a link with a
/// task of its own.
///
/// What it cannot do is told by its [`Capabilities`]:
/// - There are no bindings, no management, no transactions, no leases, no wills; nothing is resumed, and the connection is not opened again.
/// - The best assurance is at least once: `fe2o3-amqp` settles without waiting for the other end.
/// - It does not tell when a drain has ended, and whether a delivery came settled. A consumer asks for one or the other, so what was sent at most
///   once comes to a consumer of more as at least once.
/// - It loses the reason of some refused links, which are told as [`ErrorKind::Unavailable`].
/// - Credit that was granted is not taken back: with less, what is under way waits until it is permitted again.
///
/// `fe2o3-amqp` decodes nested values by recursion, without a limit: keep it to servers that you trust.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use roadbed_amqp::fe2o3::Fe2o3;
/// use roadbed_core::{Endpoint, Message, Open, ProducerTerms, Qos, Sender};
/// let connection = fe2o3_amqp::Connection::open("my-container", "amqp://localhost:5672").await?;
/// let session = Fe2o3::new(connection).open(Open::default()).await?;
/// let sender = Sender::new(session.producer(ProducerTerms::default()).await?.0);
/// let confirm = sender.send(Message::new("queues/orders".parse()?, "one pallet"), Qos::AtLeastOnce).await?;
/// println!("{}", confirm.outcome);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Fe2o3 {
    shared: Arc<Shared>,
    dialect: Dialect,
    capabilities: Capabilities,
}

/// What the sessions of a connection share.
struct Shared {
    connection: Mutex<ConnectionHandle<()>>,
    names: Names,
}

/// Names of links, which nobody else on the connection has.
struct Names {
    seed: u64,
    next: AtomicU64,
}

impl Fe2o3 {
    /// Takes over the connection. It is closed when the endpoint and its sessions are dropped.
    pub fn new(connection: ConnectionHandle<()>) -> Self {
        let names = Names { seed: RandomState::new().build_hasher().finish(), next: AtomicU64::new(0) };
        let shared = Shared { connection: Mutex::new(connection), names };
        let dialect = Dialect::new(Arc::new(SystemClock::default()));
        Self { shared: Arc::new(shared), dialect, capabilities: capabilities() }
    }

    /// The clock by which messages expire. The system's, unless it is set.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.dialect.clock = clock;
        self
    }

    /// The longest sidecar, in bytes, that is sent and believed: what AMQP has no place for, between ends that trust each other. 0, which is none, unless
    /// it is set.
    #[must_use]
    pub fn sidecar_bytes_max(mut self, bytes: usize) -> Self {
        self.dialect.sidecar_bytes_max = bytes;
        self
    }

    /// What of the messages sent so far AMQP has no place for.
    pub fn losses(&self) -> Losses {
        self.dialect.losses()
    }
}

impl Endpoint for Fe2o3 {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// *Cancel safety*: a session that was begun when the future is dropped is ended.
    fn open(&self, open: Open) -> Fut<Box<dyn Session>> {
        let (shared, dialect) = (Arc::clone(&self.shared), self.dialect.clone());
        Box::pin(async move {
            check(&open)?;
            let attachment = Attachment::begin(shared, dialect, open).await?;
            Ok(Box::new(attachment) as Box<dyn Session>)
        })
    }
}

/// What cannot be said when opening.
fn check(open: &Open) -> Result<()> {
    let no = |words: &str| Err(Error::new(ErrorKind::NotSupported, "open").detail(words));
    if open.will.is_some() {
        return no("AMQP 1.0 has no wills: open the session over MQTT, or in the broker's process");
    }
    if open.resume {
        return no("nothing is kept here for a session to be resumed: use roadbed_amqp::connect");
    }
    Ok(())
}

fn capabilities() -> Capabilities {
    let mut can = Capabilities::full("amqp");
    (can.qos_in, can.qos_out) = (Qos::AtLeastOnce, Qos::AtLeastOnce);
    (can.bind, can.manage, can.drain) = (false, false, false);
    can.logs = false;
    (can.resume, can.settle_by_id, can.wills) = (false, false, false);
    (can.leases, can.renew) = (false, false);
    can.transactions = Transactions::None;
    can
}

impl Names {
    fn next(&self, what: &str) -> String {
        alloc::format!("{:016x}/{}/{what}", self.seed, self.next.fetch_add(1, Ordering::Relaxed))
    }
}

impl fmt::Debug for Fe2o3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fe2o3").finish_non_exhaustive()
    }
}
