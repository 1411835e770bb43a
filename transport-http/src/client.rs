//! Takes an endpoint off the wire.

mod answers;
mod budget;
mod config;
mod consumer;
mod dial;
mod http;
mod lanes;
mod locks;
mod log;
mod manage;
mod poller;
mod producer;
mod session;
mod slots;
mod tokens;
mod transaction;

use std::fmt;
use std::sync::Arc;

use roadbed_core::{
    Capabilities, Clock, Credential, CreditKind, Endpoint, Fut, Open, Qos, Session, SystemClock, Transactions,
};

use self::dial::Tcp;
use self::http::Http;
use self::session::HttpSession;
use self::tokens::Tokens;
use crate::error::HttpError;

pub use config::ClientConfig;
pub use dial::{ByteStream, Dial};

/// A server as an endpoint: `http://host:port`, or `http://user:password@host:port/prefix`.
///
/// Nothing is connected before a session is opened.
///
/// ```no_run
/// # async fn example() -> roadbed_core::Result<()> {
/// use roadbed_core::{Endpoint, Message, Open, ProducerTerms, Qos, Sender};
/// let endpoint = roadbed_http::connect("http://alice:secret@127.0.0.1:8080", Default::default())?;
/// let session = endpoint.open(Open::default()).await?;
/// let sender = Sender::new(session.producer(ProducerTerms::default()).await?.0);
/// let message = Message::new("queues/orders".parse().expect("a legal address"), "one");
/// println!("{}", sender.send(message, Qos::AtLeastOnce).await?.outcome);
/// # Ok(()) }
/// ```
///
/// # Errors
/// [`HttpError::Url`] if it is no such URL; `https` needs a [`Dial`] that does TLS.
pub fn connect(url: &str, config: ClientConfig) -> Result<HttpClient, HttpError> {
    HttpClient::builder(url).config(config).build()
}

/// A server of HTTP as an [`Endpoint`] that polls. Cheap to clone.
///
/// What it lacks is told by its [`Capabilities`]: no wills, resumed sessions or browsing; a consumer's window is
/// bounded by [`ClientConfig::window`]; exactly once only when sending, by key.
#[derive(Clone)]
pub struct HttpClient(Arc<Inner>);

struct Inner {
    http: Arc<Http>,
    credential: Credential,
    capabilities: Capabilities,
    tokens: Arc<Tokens>,
}

/// A client in the making.
pub struct HttpClientBuilder {
    url: String,
    config: ClientConfig,
    credential: Option<Credential>,
    dial: Option<Arc<dyn Dial>>,
    clock: Arc<dyn Clock>,
}

impl HttpClient {
    /// Starts a client of the server at `url`.
    pub fn builder(url: impl Into<String>) -> HttpClientBuilder {
        HttpClientBuilder {
            url: url.into(),
            config: ClientConfig::default(),
            credential: None,
            dial: None,
            clock: Arc::new(SystemClock::default()),
        }
    }
}

impl HttpClientBuilder {
    /// Sets limits and habits.
    #[must_use]
    pub fn config(mut self, config: ClientConfig) -> Self {
        self.config = config;
        self
    }

    /// Who the client is, instead of what the URL says.
    #[must_use]
    pub fn credential(mut self, credential: Credential) -> Self {
        self.credential = Some(credential);
        self
    }

    /// How byte streams to the server are made, instead of by TCP.
    #[must_use]
    pub fn dial(mut self, dial: impl Dial + 'static) -> Self {
        self.dial = Some(Arc::new(dial));
        self
    }

    /// The clock by which times to live are counted; the system's by default.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The client.
    ///
    /// # Errors
    /// [`HttpError::Url`] if the URL is not one of an HTTP server.
    pub fn build(self) -> Result<HttpClient, HttpError> {
        let server = dial::Server::parse(&self.url).ok_or_else(|| HttpError::Url(self.url.clone()))?;
        let dial = match self.dial {
            Some(dial) => dial,
            None if server.tls => return Err(HttpError::Url(self.url)),
            None => Arc::new(Tcp { host: server.host.clone(), port: server.port }),
        };
        let credential = self.credential.or(server.credential.clone()).unwrap_or(Credential::Anonymous);
        let (capabilities, tokens) = (capabilities(&self.config), Tokens::new(self.config.tokens_max));
        let http = Arc::new(Http::new(&server, dial, self.config, self.clock));
        Ok(HttpClient(Arc::new(Inner { http, credential, capabilities, tokens: Arc::new(tokens) })))
    }
}

fn capabilities(config: &ClientConfig) -> Capabilities {
    let mut capabilities = Capabilities::full("http");
    capabilities.qos_out = Qos::AtLeastOnce;
    capabilities.credit = CreditKind::Window(config.window.into());
    capabilities.browse = false;
    capabilities.resume = false;
    capabilities.transactions = Transactions::Local;
    capabilities.wills = false;
    capabilities
}

impl Endpoint for HttpClient {
    fn capabilities(&self) -> &Capabilities {
        &self.0.capabilities
    }

    fn open(&self, open: Open) -> Fut<Box<dyn Session>> {
        let inner = self.0.clone();
        Box::pin(async move {
            let session = HttpSession::open(inner.http.clone(), &inner.credential, inner.tokens.clone(), open).await?;
            Ok(Box::new(session) as Box<dyn Session>)
        })
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient").field("server", &self.0.http).finish_non_exhaustive()
    }
}

impl fmt::Debug for HttpClientBuilder {
    /// Never shows the URL, which may have a password in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClientBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}
