//! Answers.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use roadbed_core::{Condition, Confirm, Error, Outcome};
use serde::Serialize;

use super::body::{BodyError, ResponseBody};
use crate::config::HttpConfig;
use crate::dialect::Answer;
use crate::problem::{MEDIA_TYPE, Problem, refusal};

pub(super) type Reply = Response<ResponseBody>;

/// An error as a problem document, with the headers that go with it.
#[derive(Debug)]
pub(super) struct Failure(Box<Inner>);

#[derive(Debug)]
struct Inner {
    problem: Problem,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Failure {
    pub(super) fn new(
        status: StatusCode,
        kind: &'static str,
        title: &'static str,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::from(Problem::new(status, kind, title, detail))
    }

    /// A message that is refused before the endpoint sees it, in the words for `condition`.
    pub(super) fn refused(status: StatusCode, condition: Condition, detail: impl Into<Cow<'static, str>>) -> Self {
        let mut problem = Problem::new(status, condition.as_str(), refusal(Some(condition)).0, detail);
        problem.outcome = Some("rejected".into());
        problem.condition = Some(condition.as_str().into());
        Self::from(problem)
    }

    /// 400.
    pub(super) fn invalid(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", "the request is not legal", detail)
    }

    /// 401, with the challenges that RFC 9110, section 11.6.1 demands.
    pub(super) fn unauthenticated() -> Self {
        let failure = Self::from(Problem::of_error(&Error::new(roadbed_core::ErrorKind::Unauthenticated, "open")));
        failure
            .header(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"roadbed\", charset=\"UTF-8\""))
            .header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
    }

    /// 405 (RFC 9110, section 15.5.6).
    pub(super) fn method(allow: &'static str) -> Self {
        let detail = format!("This resource has the methods {allow}.");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method", "no such method here", detail)
            .header(ALLOW, HeaderValue::from_static(allow))
    }

    /// What an operation on the endpoint ended with.
    pub(super) fn of_error(error: &Error, config: &HttpConfig) -> Self {
        match error.kind() {
            roadbed_core::ErrorKind::Unauthenticated => Self::unauthenticated(),
            _ => Self::from(Problem::of_error(error)).retry_by_status(config),
        }
    }

    /// What became of a message, if it was not accepted.
    pub(super) fn of_confirm(confirm: Confirm, config: &HttpConfig) -> Result<(), Self> {
        let answer = Answer::new(confirm.outcome, confirm.why);
        if answer.outcome == Outcome::Accepted {
            return Ok(());
        }
        let (title, help) = refusal(answer.why);
        let detail = match &answer.outcome {
            Outcome::Rejected(reason) => reason.text.as_ref().map(|text| format!("{text}. {help}").into()),
            _ => None,
        };
        let kind = answer.why.map_or("not-delivered", |why| why.as_str());
        let mut problem = Problem::new(answer.status, kind, title, detail.unwrap_or(Cow::Borrowed(help)));
        problem.outcome = Some(answer.outcome.as_str().into());
        problem.condition = answer.why.map(|why| why.as_str().into());
        Err(Self::from(problem).retry_by_status(config))
    }

    /// What is wrong with a body.
    pub(super) fn of_body(error: &BodyError, bytes_max: usize) -> Self {
        let failure = match error {
            BodyError::TooLarge => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too-large",
                "too large",
                format!("The body has more than {bytes_max} bytes. Send less at once."),
            ),
            BodyError::TooSlow => Self::new(
                StatusCode::REQUEST_TIMEOUT,
                "body-timeout",
                "the body came too slowly",
                "Send the request again, on a connection that is fast enough for it.",
            ),
            BodyError::Broken => Self::invalid("The body ended early or broke its encoding. Send the request again."),
        };
        // What is left of the body stands where the next request would.
        failure.header(CONNECTION, HeaderValue::from_static("close"))
    }

    #[must_use]
    pub(super) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// Adds `Retry-After`, rounded up to seconds.
    #[must_use]
    pub(super) fn retry_after(self, wait: Duration) -> Self {
        let seconds = u64::try_from(wait.as_nanos().div_ceil(1_000_000_000)).unwrap_or(u64::MAX);
        self.header(RETRY_AFTER, seconds.max(1).into())
    }

    /// 429 and 503 say when to come again.
    fn retry_by_status(self, config: &HttpConfig) -> Self {
        match self.0.problem.status {
            429 | 503 | 507 => self.retry_after(Duration::from_secs(config.retry_after_secs.into())),
            _ => self,
        }
    }

    /// The document alone.
    pub(super) fn into_problem(self) -> Problem {
        self.0.problem
    }

    pub(super) fn reply(self) -> Reply {
        let Inner { problem, headers } = *self.0;
        let mut reply = Response::new(ResponseBody::from(Bytes::from(problem.to_json())));
        *reply.status_mut() = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let into = reply.headers_mut();
        into.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        into.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        for (name, value) in headers {
            into.append(name, value);
        }
        reply
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self(Box::new(Inner { problem, headers: Vec::new() }))
    }
}

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(ResponseBody::default());
    *reply.status_mut() = status;
    reply
}

/// An answer in JSON.
pub(super) fn json(status: StatusCode, document: &impl Serialize) -> Reply {
    let bytes = serde_json::to_vec(document).expect("the documents have text keys alone");
    let mut reply = Response::new(ResponseBody::from(Bytes::from(bytes)));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}
