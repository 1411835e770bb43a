//! Puts an endpoint on the wire.

mod attach;
mod auth;
mod batch;
mod body;
mod connection;
mod counters;
mod info;
mod listener;
mod locks;
mod logs;
mod managing;
mod nodes;
mod poll;
mod post;
mod query;
mod reply;
mod routes;
mod transactions;
mod upgrade;
mod watch;

use std::fmt;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Response, request};
use matchit::Router;
use roadbed_core::{Authenticator, Clock, Endpoint, Permissive, SystemClock};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{HttpConfig, TokenKey, ms};
use crate::error::HttpError;
use crate::machine::{LockTokens, PollPolicy};

pub use body::ResponseBody;
pub use connection::serve;
pub use counters::HttpCounters;
pub use listener::{Listener, serve_listener};
pub use routes::Routes;
pub use upgrade::{Upgrade, Upgraded};

/// What answers requests outside of `/v1`.
type Fallback = dyn Fn(&request::Parts) -> Option<Response<Bytes>> + Send + Sync;

/// An endpoint as an HTTP server. Cheap to clone.
///
/// ```no_run
/// # async fn example(endpoint: std::sync::Arc<dyn roadbed_core::Endpoint>) -> Result<(), roadbed_http::HttpError> {
/// use roadbed_http::{HttpConfig, Server};
/// let server = Server::new(endpoint, HttpConfig::default())?;
/// let listener = server.bind("127.0.0.1:8080").await?;
/// listener.serve(std::future::pending()).await
/// # }
/// ```
#[derive(Clone)]
pub struct Server(Arc<Shared>);

/// What a server is made of, before it starts.
pub struct ServerBuilder {
    endpoint: Arc<dyn Endpoint>,
    config: HttpConfig,
    authenticator: Arc<dyn Authenticator>,
    clock: Arc<dyn Clock>,
    fallback: Option<Arc<Fallback>>,
    upgrades: Option<Arc<upgrade::Upgrades>>,
}

/// What all connections share.
pub(crate) struct Shared {
    endpoint: Arc<dyn Endpoint>,
    config: HttpConfig,
    authenticator: Arc<dyn Authenticator>,
    clock: Arc<dyn Clock>,
    fallback: Option<Arc<Fallback>>,
    upgrades: Option<Arc<upgrade::Upgrades>>,
    /// Connections that have left HTTP.
    upgraded: TaskTracker,
    /// They are cut.
    cut: CancellationToken,
    router: Router<routes::Route>,
    tokens: LockTokens,
    transactions: Arc<transactions::Table>,
    policy: Option<Mutex<PollPolicy>>,
    polls: Arc<Semaphore>,
    draining: CancellationToken,
    meters: counters::Meters,
}

impl Server {
    /// Serves `endpoint` to everybody: see [`ServerBuilder::authenticator`].
    ///
    /// # Errors
    /// [`HttpError::Randomness`] if there is no token key and none can be made.
    pub fn new(endpoint: Arc<dyn Endpoint>, config: HttpConfig) -> Result<Self, HttpError> {
        Self::builder(endpoint).config(config).build()
    }

    /// Starts a server of `endpoint` with other parts than the defaults.
    pub fn builder(endpoint: Arc<dyn Endpoint>) -> ServerBuilder {
        ServerBuilder {
            endpoint,
            config: HttpConfig::default(),
            authenticator: Arc::new(Permissive),
            clock: Arc::new(SystemClock::default()),
            fallback: None,
            upgrades: None,
        }
    }

    /// What it has done since its start.
    pub fn counters(&self) -> HttpCounters {
        self.0.meters.snapshot()
    }

    /// Begins the shutdown: held polls are answered at once with 204, and connections end after the requests that they are
    /// serving.
    pub fn drain(&self) {
        self.0.draining.cancel();
    }
}

impl ServerBuilder {
    /// Sets limits and habits.
    #[must_use]
    pub fn config(mut self, config: HttpConfig) -> Self {
        self.config = config;
        self
    }

    /// Who decides who may come in: [`Permissive`] by default, which lets everybody in under any name.
    #[must_use]
    pub fn authenticator(mut self, authenticator: Arc<dyn Authenticator>) -> Self {
        self.authenticator = authenticator;
        self
    }

    /// The clock by which messages expire and polls are too early; the system's by default. Time-outs of connections run on
    /// tokio's.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// What answers requests outside of `/v1`, such as `/healthz`; `None` is 404. It must not block.
    #[must_use]
    pub fn fallback(
        mut self,
        fallback: impl Fn(&request::Parts) -> Option<Response<Bytes>> + Send + Sync + 'static,
    ) -> Self {
        self.fallback = Some(Arc::new(fallback));
        self
    }

    /// What decides about requests with an `Upgrade` header: `None`, and they are answered as any other; a refusal; or who serves the connection from there on. It
    /// must not block. Only HTTP/1.1 has this.
    #[must_use]
    pub fn upgrades(
        mut self,
        upgrades: impl Fn(&request::Parts) -> Option<Result<Upgrade, Response<Bytes>>> + Send + Sync + 'static,
    ) -> Self {
        self.upgrades = Some(Arc::new(upgrades));
        self
    }

    /// The server.
    ///
    /// # Errors
    /// [`HttpError::Randomness`] if there is no token key and none can be made.
    pub fn build(self) -> Result<Server, HttpError> {
        let config = self.config;
        let key = match &config.token_key {
            Some(key) => key.clone(),
            None => TokenKey::random()?,
        };
        Ok(Server(Arc::new(Shared {
            endpoint: self.endpoint,
            authenticator: self.authenticator,
            clock: self.clock,
            fallback: self.fallback,
            upgrades: self.upgrades,
            upgraded: TaskTracker::new(),
            cut: CancellationToken::new(),
            router: routes::router(),
            tokens: LockTokens::new(&key),
            transactions: Arc::default(),
            policy: PollPolicy::new(ms(config.poll_interval_ms_min), config.poll_entries_max).map(Mutex::new),
            polls: Arc::new(Semaphore::new(config.long_polls_max.min(Semaphore::MAX_PERMITS))),
            draining: CancellationToken::new(),
            meters: counters::Meters::default(),
            config,
        })))
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("config", &self.0.config).finish_non_exhaustive()
    }
}

impl fmt::Debug for ServerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}
