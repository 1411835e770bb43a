//! What a law runs in: the endpoint under test, what is behind it, the faults and the time.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytestring::ByteString;
use roadbed_core::{
    Address, Binding, Capabilities, Clock, Endpoint, Filter, Manage, Managed, ManualClock, Message, NodeDescription,
    Open, Origin, Qos, QueueSettings, SystemClock, Time,
};

use crate::client::{Client, Receiving};
use crate::faults::Faults;

/// A future of this crate's callers.
pub type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Opens fresh worlds around the endpoint under test.
///
/// ```
/// use roadbed_conformance::{Boxed, Fixture, World};
/// # use std::sync::Arc; use roadbed_core::{Endpoint, ManualClock};
/// # fn broker(_: &Arc<ManualClock>) -> Arc<dyn Endpoint> { unimplemented!() }
/// struct Memory;
///
/// impl Fixture for Memory {
///     fn name(&self) -> String {
///         "memory".into()
///     }
///     fn world(&self) -> Boxed<World> {
///         Box::pin(async {
///             let clock = Arc::new(ManualClock::default());
///             World::new(broker(&clock)).clock(clock)
///         })
///     }
/// }
/// ```
pub trait Fixture: Send + Sync + 'static {
    /// Its name in reports.
    fn name(&self) -> String;

    /// A fresh world, in which nothing was sent yet. Called within the runtime in which the law then runs; tasks that serve
    /// a transport are spawned there.
    fn world(&self) -> Boxed<World>;

    /// Whether the runtime's clock is paused, so that waiting costs nothing. Only where all input and output is in memory,
    /// and nothing runs on other threads.
    fn paused(&self) -> bool {
        false
    }

    /// Whether the law with this name does not apply, beyond what the capabilities say: the reason, with the section of the
    /// standard.
    fn ruled_out(&self, law: &str) -> Option<String> {
        let _ = law;
        None
    }
}

/// The surroundings of one law.
pub struct World {
    endpoint: Arc<dyn Endpoint>,
    inner: Arc<dyn Endpoint>,
    faults: Option<Faults>,
    time: Timing,
    advanced: Option<Arc<dyn Fn() + Send + Sync>>,
    kept: Vec<Box<dyn Send + Sync>>,
}

#[derive(Clone)]
enum Timing {
    Real(SystemClock),
    Manual(Arc<ManualClock>),
}

/// How long an answer may take.
pub(crate) const ANSWER: Duration = Duration::from_secs(10);

thread_local! {
    static QUIET: Cell<Duration> = const { Cell::new(QUIET_PAUSED) };
}

/// How long silence must last to be believed, where waiting is free.
pub(crate) const QUIET_PAUSED: Duration = Duration::from_millis(60);
/// How long it must last where time is real, and machines are busy.
pub(crate) const QUIET_REAL: Duration = Duration::from_millis(250);

/// How long silence must last to be believed by the laws of this thread.
pub(crate) fn quiet() -> Duration {
    QUIET.get()
}

/// Sets how long silence must last to be believed by the laws of this thread.
pub(crate) fn set_quiet(quiet: Duration) {
    QUIET.set(quiet);
}

impl World {
    /// The world of an endpoint in this process, on real time.
    pub fn new(endpoint: Arc<dyn Endpoint>) -> Self {
        Self::over(Arc::clone(&endpoint), endpoint)
    }

    /// The world of `endpoint`, a way over some transport to `inner`, on real time.
    pub fn over(inner: Arc<dyn Endpoint>, endpoint: Arc<dyn Endpoint>) -> Self {
        let time = Timing::Real(SystemClock::default());
        Self { endpoint, inner, faults: None, time, advanced: None, kept: Vec::new() }
    }

    /// The inner endpoint runs on this clock.
    #[must_use]
    pub fn clock(mut self, clock: Arc<ManualClock>) -> Self {
        self.time = Timing::Manual(clock);
        self
    }

    /// Called after the clock was moved, so that the endpoint does what is due.
    #[must_use]
    pub fn on_advance(mut self, advanced: impl Fn() + Send + Sync + 'static) -> Self {
        self.advanced = Some(Arc::new(advanced));
        self
    }

    /// The endpoint under test is `endpoint`, a way to the inner one over carriers of these faults.
    #[must_use]
    pub fn reached_by(mut self, endpoint: Arc<dyn Endpoint>, faults: Faults) -> Self {
        self.endpoint = endpoint;
        self.faults = Some(faults);
        self
    }

    /// The endpoint behind the one under test.
    pub fn inner(&self) -> Arc<dyn Endpoint> {
        Arc::clone(&self.inner)
    }

    /// Keeps something alive as long as the world.
    #[must_use]
    pub fn keep(mut self, kept: impl Send + Sync + 'static) -> Self {
        self.kept.push(Box::new(kept));
        self
    }

    /// What the endpoint under test can do.
    pub fn can(&self) -> &Capabilities {
        self.endpoint.capabilities()
    }

    /// Whether the endpoint under test is the inner one itself: what one side sends is handed to the other in this process.
    pub fn is_direct(&self) -> bool {
        Arc::ptr_eq(&self.endpoint, &self.inner)
    }

    /// The faults of the transport's carriers, if there are any.
    pub fn carriers(&self) -> Option<&Faults> {
        self.faults.as_ref()
    }

    /// The time of the inner endpoint.
    pub fn now(&self) -> Time {
        match &self.time {
            Timing::Real(clock) => clock.now(),
            Timing::Manual(clock) => clock.now(),
        }
    }

    /// Whether its time passes only as it is told.
    pub fn is_manual(&self) -> bool {
        matches!(self.time, Timing::Manual(_))
    }

    /// Lets `by` pass: at once where the clock is manual, by waiting where it is not.
    pub async fn advance(&self, by: Duration) {
        match &self.time {
            Timing::Real(_) => tokio::time::sleep(by).await,
            Timing::Manual(clock) => {
                self.quiet().await;
                clock.advance(by);
                if let Some(advanced) = &self.advanced {
                    advanced();
                }
                self.quiet().await;
            }
        }
    }

    /// Lets everything come to rest.
    pub async fn quiet(&self) {
        tokio::time::sleep(quiet()).await;
    }

    /// A session of the endpoint under test, without a name.
    pub async fn client(&self) -> Client {
        self.open(open("law")).await
    }

    /// A session of the endpoint under test that is kept for an hour, and resumed if it was kept.
    pub async fn named(&self, name: &str) -> Client {
        self.open(named(name)).await
    }

    /// A session of the endpoint under test.
    pub async fn open(&self, open: Open) -> Client {
        Client::open(&*self.endpoint, open).await
    }

    /// Tries to open a session of the endpoint under test.
    ///
    /// # Errors
    /// What the endpoint answers.
    pub async fn try_open(&self, open: Open) -> roadbed_core::Result<Client> {
        Client::try_open(&*self.endpoint, open).await
    }

    /// A session of the inner endpoint.
    pub async fn peer(&self) -> Client {
        Client::open(&*self.inner, open("peer")).await
    }

    /// A queue of the inner endpoint, declared with these settings.
    pub async fn queue(&self, name: &str, settings: QueueSettings) -> Address {
        let queue = address(&format!("queues/{name}"));
        self.peer().await.manage(Manage::Declare(queue.clone(), settings)).await.expect("a queue can be declared");
        queue
    }

    /// What the inner endpoint says of a queue.
    pub async fn describe(&self, queue: &Address) -> NodeDescription {
        match self.peer().await.manage(Manage::Describe(queue.clone())).await {
            Ok(Managed::Description(description)) => *description,
            other => panic!("{queue} cannot be described: {other:?}"),
        }
    }

    /// Receives through the endpoint under test what is sent to `filter`: by a binding of the session's own, or over a
    /// queue where the protocol has no such thing.
    pub async fn follow(&self, client: &Client, filter: &str, qos: Qos) -> Receiving {
        self.follow_all(client, vec![Binding::new(filter_of(filter), qos)]).await
    }

    /// As [`follow`](Self::follow), with bindings of any kind.
    pub async fn follow_all(&self, client: &Client, bindings: Vec<Binding>) -> Receiving {
        if self.can().bind {
            let mut receiving = client.receive_session().await;
            receiving.bind(bindings).await;
            return receiving;
        }
        let queue = self.queue("followed", QueueSettings::default()).await;
        let peer = self.peer().await;
        for binding in bindings {
            peer.manage(Manage::Bind(queue.clone(), binding)).await.expect("a queue can follow a filter");
        }
        client.receive_queue(&queue).await
    }

    /// Loses a connection with everything on it: the carriers are cut, then the handles are dropped.
    pub async fn cut<T>(&self, handles: T) {
        if let Some(faults) = &self.faults {
            faults.cut();
        }
        drop(handles);
        self.quiet().await;
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("can", self.can()).finish_non_exhaustive()
    }
}

/// A legal address.
///
/// # Panics
/// If it is not.
pub fn address(name: &str) -> Address {
    name.parse().unwrap_or_else(|error| panic!("{name:?}: {error}"))
}

/// A legal filter.
///
/// # Panics
/// If it is not.
pub fn filter_of(text: &str) -> Filter {
    text.parse().unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

/// A message with a short payload.
pub fn message(to: &str, payload: &str) -> Message {
    Message::new(address(to), payload.to_owned())
}

/// How a nameless session of `principal` is opened.
pub fn open(principal: &str) -> Open {
    let origin = Origin { principal: ByteString::from(principal), protocol: "test" };
    Open { origin: Arc::new(origin), ..Open::default() }
}

/// How a session is opened that is kept for an hour.
pub fn named(name: &str) -> Open {
    Open { name: Some(name.into()), resume: true, expiry: Duration::from_secs(3600), ..open(name) }
}
