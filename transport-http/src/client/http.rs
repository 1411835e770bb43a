//! Requests and their answers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body::Body;
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use roadbed_core::{Clock, Credential, Error, ErrorKind, Payload, Result, Time};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::ClientConfig;
use super::dial::{Dial, Dialer, Server};
use crate::codec::fields::digits;
use crate::config::ms;
use crate::problem::{Problem, kind_of_status};
use crate::segments::{Rope, Segments};

/// A server, and the connections to it.
pub(super) struct Http {
    client: Client<Dialer, Segments>,
    base: String,
    pub(super) config: ClientConfig,
    pub(super) clock: Arc<dyn Clock>,
}

/// A request to the server.
pub(super) struct Call {
    pub(super) method: Method,
    /// From `/v1` on.
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Payload,
    /// How long the server may hold it.
    pub(super) wait: Duration,
}

/// What the server answered.
pub(super) struct Answered {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Payload,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Lost {
    /// The request was not sent: doing it again is safe.
    NotSent(legacy::Error),
    /// It may have been done.
    Unknown(Box<dyn std::error::Error + Send + Sync>),
    /// It may have been done; no answer came in time.
    TimedOut,
}

impl Http {
    pub(super) fn new(server: &Server, dial: Arc<dyn Dial>, config: ClientConfig, clock: Arc<dyn Clock>) -> Self {
        let dialer = Dialer { dial, connect: ms(config.connect_ms) };
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(config.idle_connections_max)
            .pool_idle_timeout(ms(config.idle_ms))
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .http2_only(config.http2)
            .build(dialer);
        Self { client, base: format!("{}{}", server.origin, server.prefix), config, clock }
    }

    pub(super) fn now(&self) -> Time {
        self.clock.now()
    }

    /// Sends a request once.
    ///
    /// *Cancel safety*: dropped, the connection is closed (HTTP/1.1) or the stream reset, so that the server stops holding it.
    pub(super) async fn call(&self, call: &Call) -> Result<Answered, Lost> {
        let (config, request) = (&self.config, self.request(call)?);
        let answering = async {
            let response = self.client.request(request).await.map_err(|error| match error.is_connect() {
                true => Lost::NotSent(error),
                false => Lost::Unknown(error.into()),
            })?;
            let (head, body) = response.into_parts();
            let body = collect(body, config.response_bytes_max).await?;
            Ok(Answered { status: head.status, headers: head.headers, body })
        };
        timeout(call.wait.saturating_add(ms(config.request_ms)), answering).await.unwrap_or(Err(Lost::TimedOut))
    }

    /// Sends a request that is safe to repeat until there is an answer, or as often as the configuration says.
    pub(super) async fn insist(&self, call: &Call) -> Result<Answered, Lost> {
        let mut waits = self.backoff();
        loop {
            match (self.call(call).await, waits.next()) {
                (Err(_), Some(wait)) => tokio::time::sleep(wait).await,
                (answer, _) => return answer,
            }
        }
    }

    /// The waits between one request and its repetitions.
    pub(super) fn backoff(&self) -> impl Iterator<Item = Duration> + Send + use<> {
        self.waits().take(self.config.attempts_max.saturating_sub(1))
    }

    /// Waits that grow, without an end.
    pub(super) fn waits(&self) -> impl Iterator<Item = Duration> + Send + use<> {
        let waits = ExponentialBuilder::default()
            .with_min_delay(ms(self.config.backoff_ms_min))
            .with_max_delay(ms(self.config.backoff_ms_max))
            .without_max_times()
            .with_jitter();
        let waits = if self.config.seed == 0 { waits } else { waits.with_jitter_seed(self.config.seed) };
        waits.build()
    }

    fn request(&self, call: &Call) -> Result<Request<Segments>, Lost> {
        let request = Request::builder().method(call.method.clone()).uri(format!("{}{}", self.base, call.path));
        let mut request = request.body(Segments::from(&call.body)).map_err(|error| Lost::Unknown(error.into()))?;
        *request.headers_mut() = call.headers.clone();
        Ok(request)
    }
}

impl Call {
    pub(super) fn new(method: Method, path: impl Into<String>, authorization: Option<&HeaderValue>) -> Self {
        let mut headers = HeaderMap::new();
        if let Some(authorization) = authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        Self { method, path: path.into(), headers, body: Payload::EMPTY, wait: Duration::ZERO }
    }

    pub(super) fn json(mut self, document: &impl Serialize) -> Self {
        let bytes = serde_json::to_vec(document).expect("the documents have text keys alone");
        self.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.body = bytes.into();
        self
    }
}

impl Answered {
    /// The document in the body.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T> {
        let parsed = serde_json::from_slice(&self.body.to_bytes());
        parsed.map_err(|error| Error::new(ErrorKind::Protocol, "read an answer").because(error))
    }

    /// The answer itself if it says that all is well; otherwise what it says.
    pub(super) fn check(self, operation: &'static str) -> Result<Self> {
        if self.status.is_success() {
            return Ok(self);
        }
        Err(self.error(operation))
    }

    pub(super) fn error(&self, operation: &'static str) -> Error {
        match self.problem() {
            Some(problem) => Error::new(problem.error_kind(), operation).detail(problem.detail),
            None => Error::new(kind_of_status(self.status.as_u16()), operation).detail(self.status),
        }
    }

    pub(super) fn problem(&self) -> Option<Problem> {
        let media = self.headers.get(CONTENT_TYPE)?.to_str().ok()?;
        media.starts_with(crate::problem::MEDIA_TYPE).then(|| self.json().ok())?
    }

    /// How long the server asks to wait: `Retry-After` in seconds.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        self.headers.get(RETRY_AFTER)?.to_str().ok().and_then(digits).map(Duration::from_secs)
    }
}

impl Lost {
    pub(super) fn into_error(self, operation: &'static str) -> Error {
        match self {
            Self::NotSent(error) => {
                Error::new(ErrorKind::Disconnected, operation).detail("cannot connect").because(error)
            }
            Self::Unknown(error) => Error::new(ErrorKind::Disconnected, operation).because(error),
            Self::TimedOut => Error::new(ErrorKind::TimedOut, operation),
        }
    }
}

/// How a credential is offered; `None` for no credential, or one that HTTP has no scheme for.
pub(super) fn authorization(credential: &Credential) -> Option<HeaderValue> {
    let text = match credential {
        Credential::Password { user, password } => {
            let pair = [user.as_bytes(), &b":"[..], &**password].concat();
            format!("Basic {}", STANDARD.encode(pair))
        }
        Credential::Token { kind, token } => {
            let scheme = if kind == "sas" { "SharedAccessSignature" } else { "Bearer" };
            format!("{scheme} {}", std::str::from_utf8(token).ok()?)
        }
        _ => return None,
    };
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

async fn collect(body: hyper::body::Incoming, bytes_max: usize) -> Result<Payload, Lost> {
    let (mut body, mut rope) = (std::pin::pin!(body), Rope::default());
    while let Some(frame) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        if let Ok(bytes) = frame.map_err(|error| Lost::Unknown(error.into()))?.into_data() {
            rope.push(bytes);
        }
        if rope.len() > bytes_max {
            return Err(Lost::Unknown("the response is too long".into()));
        }
    }
    Ok(rope.finish())
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("base", &self.base).field("config", &self.config).finish_non_exhaustive()
    }
}
