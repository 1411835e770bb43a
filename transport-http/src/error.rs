//! What can go wrong with a connection.

use std::io;

/// Why a connection or a listener ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// The peer broke HTTP, or the connection is lost.
    #[error("the connection failed")]
    Connection(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A request's headers took too long, or none came.
    #[error("no complete request head came in time")]
    HeaderTimeout,
    /// The peer took nothing of what was written to it.
    #[error("the peer did not read its responses")]
    WriteStalled,
    /// The address to listen on cannot be had, or accepting failed for good.
    #[error("cannot listen")]
    Listen(#[source] io::Error),
    /// The system has no randomness.
    #[error("the system has no randomness")]
    Randomness,
    /// The URL is not one of an HTTP server.
    #[error("{0:?} is not the URL of an HTTP server: http://HOST:PORT")]
    Url(String),
}

impl From<HttpError> for roadbed_core::Error {
    fn from(error: HttpError) -> Self {
        use roadbed_core::ErrorKind;
        let kind = match &error {
            HttpError::Url(_) => ErrorKind::Invalid,
            HttpError::Connection(_) => ErrorKind::Disconnected,
            HttpError::HeaderTimeout | HttpError::WriteStalled => ErrorKind::TimedOut,
            HttpError::Listen(_) | HttpError::Randomness => ErrorKind::Unavailable,
        };
        Self::new(kind, "http").detail(&error).because(error)
    }
}
