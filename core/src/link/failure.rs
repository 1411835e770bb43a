//! Why a link is dead: told to everybody who still asks.

use alloc::string::String;

use crate::{Error, ErrorKind};

/// What a dead link died of.
#[derive(Debug)]
pub(super) struct Failure {
    kind: ErrorKind,
    words: Option<String>,
}

impl Failure {
    /// The link was detached.
    pub(super) const DETACHED: Self = Self { kind: ErrorKind::Closed, words: None };

    /// Whether the link was detached in good order.
    pub(super) const fn is_detached(&self) -> bool {
        matches!(self, Self { kind: ErrorKind::Closed, words: None })
    }

    /// The error of an operation on the dead link.
    pub(super) fn error(&self, operation: &'static str) -> Error {
        match &self.words {
            Some(words) => Error::new(self.kind, operation).detail(words),
            None => Error::new(self.kind, operation),
        }
    }
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        Self { kind: error.kind(), words: error.words().map(String::from) }
    }
}
