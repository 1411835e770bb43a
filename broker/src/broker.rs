//! The broker: an endpoint in this process.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};

use roadbed_core::{
    Address, Capabilities, Clock, Condition, CopyId, Durability, Endpoint, Error, ErrorKind, Filter, Fut, Gid, Message,
    Open, Participant, Qos, QueueId, Result, Session, SystemClock, Time, is_reserved,
};

use crate::commits::{Commits, Load};
use crate::counters::{Counters, Meters};
use crate::dispatch::Verdict;
use crate::exactly_once::Names;
use crate::limits::Settings;
use crate::memory_store::MemoryStore;
use crate::paged::Run;
use crate::positions::Positions;
use crate::registry::Registry;
use crate::retained::Retained;
use crate::router::{Route, Router, Target};
use crate::store::{Level, Store};
use crate::timers::Timers;
use crate::txn::Txns;

/// The broker. Clones share it.
///
/// ```
/// use roadbed_broker::Broker;
/// use roadbed_core::{Binding, ConsumerTerms, Endpoint, Grant, Message, Open, Outgoing, ProducerTerms, Qos};
/// # futures::executor::block_on(async {
/// let broker = Broker::new();
/// let session = broker.open(Open::default()).await?;
/// let (mut consumer, _) = session.consumer(ConsumerTerms::session()).await?;
/// consumer.grant(Grant::credit(10));
/// consumer.bind(vec![Binding::new("plant/+".parse()?, Qos::AtLeastOnce)]).await?;
///
/// let (mut producer, _) = session.producer(ProducerTerms::default()).await?;
/// let message = Message::new("plant/7".parse()?, "too hot");
/// producer.send(&mut vec![Outgoing { cookie: 1, message, qos: Qos::AtLeastOnce, key: None, txn: None }]);
///
/// let mut deliveries = Vec::new();
/// std::future::poll_fn(|cx| consumer.poll_receive(cx, &mut deliveries, 10)).await?;
/// assert_eq!(deliveries.len(), 1);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct Broker(Arc<Shared>);

/// What all handles of one broker share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) capabilities: Capabilities,
    pub(crate) router: Router,
    /// What follows partitions of logs, by their addresses.
    pub(crate) followers: Router,
    pub(crate) meters: Meters,
    pub(crate) retained: Retained,
    pub(crate) registry: Registry,
    pub(crate) timers: Timers,
    pub(crate) txns: Txns,
    pub(crate) names: Names,
    pub(crate) commits: Commits,
    pub(crate) boot_epoch: u32,
    pub(crate) positions: Positions,
    /// The store survives a restart, and keeps what does not ask for it, too.
    keeps: bool,
    /// Where it does not.
    on_request: Vec<Filter>,
    next_queue: AtomicU32,
    next_session: AtomicU64,
}

/// A broker in the making.
#[must_use]
pub struct Builder {
    settings: Settings,
    clock: Arc<dyn Clock>,
    store: Box<dyn Store>,
}

impl Broker {
    /// A broker with default settings, the system's clock and a store in memory.
    #[expect(clippy::new_without_default, reason = "a broker is a resource, not a value")]
    pub fn new() -> Self {
        Self::builder().build().expect("an empty memory store can be read")
    }

    /// Starts a broker.
    pub fn builder() -> Builder {
        Builder {
            settings: Settings::default(),
            clock: Arc::new(SystemClock::default()),
            store: Box::new(MemoryStore::new()),
        }
    }

    /// What it has done since its start, and what it holds now.
    pub fn counters(&self) -> Counters {
        self.0.meters.snapshot()
    }

    /// Its bounds.
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// The time by the broker's clock.
    pub fn now(&self) -> Time {
        self.0.now()
    }

    /// Tells all sessions that the broker is shutting down, and opens no more.
    pub fn drain(&self) {
        self.0.registry.drain();
    }

    /// Does everything that is due at `now`: leases, expiry, wills, sessions, transactions. Returns the next deadline.
    pub fn handle_timeout(&self, now: Time) -> Option<Time> {
        self.0.handle_timeout(now)
    }

    /// The next deadline; `None` if there is none.
    pub fn next_timeout(&self) -> Option<Time> {
        self.0.timers.next()
    }

    /// Waits until there is a deadline before `known`, the last one that the caller was told; resolves to it. One waker at a
    /// time.
    pub fn poll_timeout(&self, cx: &mut Context<'_>, known: Option<Time>) -> Poll<Option<Time>> {
        self.0.timers.poll_change(cx, known)
    }

    /// Does what is due when it is due, for ever. Cancel-safe.
    #[cfg(feature = "tokio")]
    pub async fn run(&self) {
        loop {
            let next = self.handle_timeout(self.now());
            let changed = std::future::poll_fn(|cx| self.poll_timeout(cx, next));
            match next {
                None => drop(changed.await),
                Some(next) => {
                    // A timer never fires early, so round up to its millisecond.
                    let wait = next.remaining(self.now()) + std::time::Duration::from_micros(500);
                    let _ = tokio::time::timeout(wait, changed).await;
                }
            }
        }
    }

    /// Runs [`run`](Self::run) as a task, until the handle is aborted or the last other handle of the broker is gone and its
    /// runtime ends.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[cfg(feature = "tokio")]
    pub fn spawn_timers(&self) -> tokio::task::JoinHandle<()> {
        let broker = self.clone();
        tokio::spawn(async move { broker.run().await })
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker").field("epoch", &self.0.boot_epoch).finish_non_exhaustive()
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Builder {
    /// Sets the bounds.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Sets where the time comes from.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Sets where promises are kept.
    pub fn store(mut self, store: impl Store + 'static) -> Self {
        self.store = Box::new(store);
        self
    }

    /// Opens the store, and starts the broker with what is in it.
    ///
    /// # Errors
    /// [`ErrorKind::Failed`] if the store cannot be read.
    pub fn build(self) -> Result<Broker> {
        let Self { settings, clock, mut store } = self;
        let recovery =
            store.recover().map_err(|error| Error::new(ErrorKind::Failed, "open the store").because(error))?;
        let message_bytes_max = settings.message_bytes_max.min(store.caps().message_bytes_max);
        let settings = Settings { message_bytes_max, ..settings };
        let keeps = settings.store_at_least_once && store.caps().level > Level::Volatile;
        let load_max = Load { operations: settings.store_operations_max, bytes: settings.store_bytes_max };
        let on_request = filters(&settings.store_on_request)?;
        let (epoch, positions) = crate::registry::numbers_of(&recovery);
        let shared = Arc::new_cyclic(|me| Shared {
            capabilities: Capabilities::full("memory"),
            router: Router::default(),
            followers: Router::default(),
            meters: Meters::default(),
            retained: Retained::default(),
            registry: Registry::default(),
            timers: Timers::default(),
            txns: Txns::default(),
            names: Names::default(),
            commits: Commits::new(store, load_max, me.clone()),
            boot_epoch: epoch + 1,
            positions: Positions::new(positions),
            keeps,
            on_request,
            next_queue: AtomicU32::new(1),
            next_session: AtomicU64::new(1),
            settings,
            clock,
        });
        shared.restore(recovery)?;
        Ok(Broker(shared))
    }
}

impl Endpoint for Broker {
    fn capabilities(&self) -> &Capabilities {
        &self.0.capabilities
    }

    fn open(&self, open: Open) -> Fut<Box<dyn Session>> {
        let opened = crate::session::open(self, open);
        Box::pin(async move {
            let (session, stored) = opened?;
            stored.await?;
            Ok(Box::new(session) as Box<dyn Session>)
        })
    }
}

impl Participant for Broker {
    fn resolve(&self, gid: Gid, commit: bool) -> Fut<()> {
        let resolved = self.0.resolve(&gid, commit);
        Box::pin(async move { resolved?.await })
    }

    fn recover(&self) -> Fut<Vec<Gid>> {
        Box::pin(std::future::ready(Ok(self.0.txns.in_doubt())))
    }
}

impl Shared {
    pub(crate) fn now(&self) -> Time {
        self.clock.now()
    }

    /// Whether what is sent to `address` is stored although it does not ask for it, if it is not sent at most once.
    pub(crate) fn keeps(&self, address: &Address) -> bool {
        self.keeps && !self.on_request.iter().any(|filter| filter.matches(address))
    }

    /// Whether a message is stored where it can be.
    pub(crate) fn is_stored(&self, message: &Message, qos: Qos) -> bool {
        message.durability() == Durability::Stored || (qos > Qos::AtMostOnce && self.keeps(message.address()))
    }

    pub(crate) fn next_queue_id(&self) -> QueueId {
        QueueId(self.next_queue.fetch_add(1, Ordering::Relaxed))
    }

    /// Numbers up to `used` are taken.
    pub(crate) fn skip_queue_ids(&self, used: QueueId) {
        self.next_queue.fetch_max(used.0.saturating_add(1), Ordering::Relaxed);
    }

    pub(crate) fn next_session_id(&self) -> u64 {
        self.next_session.fetch_add(1, Ordering::Relaxed)
    }

    /// Where `address` leads.
    pub(crate) fn route(&self, address: &Address) -> Result<Arc<Route>, Condition> {
        let cached = || self.router.cached(address, self.settings.routes_cached_max);
        if !is_reserved(address.as_str()) {
            return Ok(cached());
        }
        let generation = self.router.generation();
        if address.queue().is_some() {
            let queue = self.queue_for_sending(address)?;
            let targets = vec![Target::Queue(queue, Qos::ExactlyOnce)];
            return Ok(Arc::new(Route::new(address.clone(), generation, targets)));
        }
        let text = address.as_str();
        if text.starts_with("queues/") || text.starts_with("$share") {
            return Err(Condition::InvalidAddress);
        }
        if text.starts_with("$dead/") {
            return Err(Condition::Unauthorized);
        }
        if text.starts_with("logs/") {
            let (log, partition) = self.existing_log(address).map_err(|_| Condition::NotFound)?;
            return Ok(Arc::new(Route::new(address.clone(), generation, vec![Target::Log(log, partition)])));
        }
        Ok(cached())
    }

    pub(crate) fn count_refusal(&self, verdict: Verdict) {
        let condition = match verdict {
            Verdict::Refused(condition) | Verdict::Released(condition) => condition,
            Verdict::Unrouted => Condition::NoRoute,
            Verdict::Taken => return,
        };
        let meter = match condition {
            Condition::NoRoute => &self.meters.unrouted,
            Condition::Full | Condition::StoreFull => &self.meters.refused_full,
            Condition::TooLarge => &self.meters.refused_too_large,
            Condition::NoConsumer | Condition::Busy => &self.meters.refused_live,
            Condition::PreconditionFailed => &self.meters.refused_precondition,
            Condition::Unavailable => &self.meters.refused_unavailable,
            Condition::Expired => &self.meters.dropped_expired,
            _ => &self.meters.refused_address,
        };
        meter.one();
    }

    /// The copy has come to its end; nobody waits for the store to know.
    pub(crate) fn retire_later(&self, copy: CopyId) {
        self.commits.retire_later(copy);
    }

    /// The same for positions that follow each other.
    pub(crate) fn retire_run_later(&self, queue: QueueId, run: &Run) {
        self.commits.retire_run_later(queue, run.first, run.last());
    }

    pub(crate) fn retire_all(&self, copies: impl Iterator<Item = CopyId>) {
        copies.for_each(|copy| self.retire_later(copy));
    }
}

fn filters(texts: &[String]) -> Result<Vec<Filter>> {
    let filter = |text: &String| {
        let invalid = |error| Error::new(ErrorKind::Invalid, "read the settings").detail(format!("{text}: {error}"));
        Filter::new(text.as_str()).map_err(invalid)
    };
    texts.iter().map(filter).collect()
}
