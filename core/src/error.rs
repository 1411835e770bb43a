//! The one error of the core.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use core::fmt;

/// What an operation on an endpoint ends with if it does not succeed.
pub type Result<T, E = Error> = core::result::Result<T, E>;

/// An operation that failed: what kind of failure, of what, and why.
///
/// Shows its own level only; [`source`](core::error::Error::source) has the next one.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    operation: &'static str,
    detail: Option<String>,
    source: Option<Box<dyn core::error::Error + Send + Sync>>,
}

/// The kinds of failure that a caller may want to tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The caller asked for something that is not legal.
    Invalid,
    /// The peer broke its protocol.
    Protocol,
    /// The principal is not known, or its credential is wrong.
    Unauthenticated,
    /// The principal may not do this.
    Unauthorized,
    /// There is no such address, session, delivery or transaction.
    NotFound,
    /// Somebody else holds it exclusively, or the terms contradict the existing ones.
    Conflict,
    /// Another reader has taken the link's place, by a higher epoch.
    Stolen,
    /// The endpoint cannot do this: see its capabilities.
    NotSupported,
    /// A limit is reached.
    Exhausted,
    /// The store takes nothing new until there is room again.
    StoreFull,
    /// It cannot be done now.
    Unavailable,
    /// It took too long.
    TimedOut,
    /// The session was taken over, or the endpoint is shutting down.
    Closed,
    /// The connection is lost.
    Disconnected,
    /// The transaction was rolled back.
    RolledBack,
    /// A promise cannot be kept any more: the store failed.
    Failed,
}

/// What a caller can do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Recovery {
    /// Try the same again, later.
    Retry,
    /// Open the link again.
    Reattach,
    /// Open the connection again.
    Reconnect,
    /// Nothing helps but a change of the request.
    GiveUp,
}

impl Error {
    /// An error of `kind` in `operation` (a verb: `"attach"`).
    pub fn new(kind: ErrorKind, operation: &'static str) -> Self {
        Self(Box::new(Inner { kind, operation, detail: None, source: None }))
    }

    /// Adds words for a person: what was wrong, and what to do.
    #[must_use]
    pub fn detail(mut self, detail: impl fmt::Display) -> Self {
        self.0.detail = Some(detail.to_string());
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn core::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What was being done.
    pub fn operation(&self) -> &'static str {
        self.0.operation
    }

    /// The words for a person alone, if there are any.
    pub fn words(&self) -> Option<&str> {
        self.0.detail.as_deref()
    }

    /// What the caller can do about it.
    pub fn recovery(&self) -> Recovery {
        match self.0.kind {
            ErrorKind::Exhausted
            | ErrorKind::StoreFull
            | ErrorKind::Unavailable
            | ErrorKind::TimedOut
            | ErrorKind::RolledBack => Recovery::Retry,
            ErrorKind::NotFound => Recovery::Reattach,
            ErrorKind::Disconnected => Recovery::Reconnect,
            _ => Recovery::GiveUp,
        }
    }
}

impl ErrorKind {
    /// Its name in words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "the request is not legal",
            Self::Protocol => "the peer broke its protocol",
            Self::Unauthenticated => "not authenticated",
            Self::Unauthorized => "not authorised",
            Self::NotFound => "not found",
            Self::Conflict => "in conflict with another owner",
            Self::Stolen => "another reader has taken its place",
            Self::NotSupported => "not supported",
            Self::Exhausted => "a limit is reached",
            Self::StoreFull => "the store is full",
            Self::Unavailable => "not available now",
            Self::TimedOut => "timed out",
            Self::Closed => "closed",
            Self::Disconnected => "the connection is lost",
            Self::RolledBack => "rolled back",
            Self::Failed => "the store failed",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.0.operation)?;
        match &self.0.detail {
            Some(detail) => f.write_str(detail),
            None => f.write_str(self.0.kind.as_str()),
        }
    }
}

impl core::error::Error for Error {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}
