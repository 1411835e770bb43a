//! What `fe2o3-amqp` says went wrong, in the core's words.

use alloc::string::String;
use alloc::sync::Arc;
use std::sync::OnceLock;

use fe2o3_amqp::connection::ConnectionStopReason;
use fe2o3_amqp::link::{
    DetachError, DispositionError, LinkStateError, ReceiverAttachError, RecvError, SendError, SenderAttachError,
    SessionStopReason,
};
use fe2o3_amqp::session::{BeginError, Error as SessionError};
use fe2o3_amqp_types::definitions;
use roadbed_core::{Error, ErrorKind};

use super::message::fault;
use crate::client::error;

/// What a link died of, for everybody who asks.
#[derive(Clone, Default)]
pub(super) struct Death(Arc<OnceLock<(ErrorKind, Option<String>)>>);

impl Death {
    pub(super) fn note(&self, error: &Error) {
        let _ = self.0.set((error.kind(), error.words().map(String::from)));
    }

    pub(super) fn error(&self, operation: &'static str) -> Error {
        match self.0.get() {
            Some((kind, Some(words))) => Error::new(*kind, operation).detail(words),
            Some((kind, None)) => Error::new(*kind, operation),
            None => Error::new(ErrorKind::Closed, operation),
        }
    }
}

pub(super) fn begin(found: BeginError) -> Error {
    match &found {
        BeginError::RemoteEndedWithError(told) => said(told, "open"),
        BeginError::ConnectionStopped(reason) => connection(reason, "open"),
        BeginError::ConnectionNotOpened => other(ErrorKind::Disconnected, "open", found),
        BeginError::LocalChannelMaxReached => other(ErrorKind::Exhausted, "open", found),
        _ => other(ErrorKind::Unavailable, "open", found),
    }
}

pub(super) fn end(found: SessionError) -> Error {
    other(ErrorKind::Disconnected, "close", found)
}

pub(super) fn sender_attach(found: SenderAttachError) -> Error {
    match &found {
        SenderAttachError::RemoteClosedWithError(told) => said(told, "attach"),
        SenderAttachError::SessionStopped(reason) => session(reason, "attach"),
        SenderAttachError::DuplicatedLinkName => other(ErrorKind::Conflict, "attach", found),
        SenderAttachError::SessionNotMapped => other(ErrorKind::Closed, "attach", found),
        SenderAttachError::IncomingTargetIsNone | SenderAttachError::IllegalState => refused(found),
        _ => other(ErrorKind::Protocol, "attach", found),
    }
}

pub(super) fn receiver_attach(found: ReceiverAttachError) -> Error {
    match &found {
        ReceiverAttachError::RemoteClosedWithError(told) => said(told, "attach"),
        ReceiverAttachError::SessionStopped(reason) => session(reason, "attach"),
        ReceiverAttachError::DuplicatedLinkName => other(ErrorKind::Conflict, "attach", found),
        ReceiverAttachError::SessionNotMapped => other(ErrorKind::Closed, "attach", found),
        ReceiverAttachError::IncomingSourceIsNone | ReceiverAttachError::IllegalState => refused(found),
        _ => other(ErrorKind::Protocol, "attach", found),
    }
}

pub(super) fn send(found: SendError) -> Error {
    match found {
        SendError::LinkStateError(state) => link(state, "send"),
        SendError::Detached(state) => link(state.into(), "send"),
        SendError::MessageSizeExceeded(_) => other(ErrorKind::Exhausted, "send", found),
        _ => other(ErrorKind::Protocol, "send", found),
    }
}

pub(super) fn receive(found: RecvError) -> Error {
    match found {
        RecvError::LinkStateError(state) => link(state, "receive"),
        _ => other(ErrorKind::Protocol, "receive", found),
    }
}

pub(super) fn disposition(found: DispositionError) -> Error {
    match &found {
        DispositionError::SessionStopped(reason) => session(reason, "settle"),
        _ => other(ErrorKind::Closed, "settle", found),
    }
}

pub(super) fn detach(found: DetachError) -> Error {
    link(found.into(), "detach")
}

pub(super) fn link(found: LinkStateError, operation: &'static str) -> Error {
    match &found {
        LinkStateError::RemoteDetachedWithError(told) | LinkStateError::RemoteClosedWithError(told) => {
            said(told, operation)
        }
        LinkStateError::SessionStopped(reason) => session(reason, operation),
        _ => other(ErrorKind::Closed, operation, found),
    }
}

fn session(reason: &SessionStopReason, operation: &'static str) -> Error {
    match reason {
        SessionStopReason::RemoteEndedWithError(told) => said(told, operation),
        SessionStopReason::ConnectionStopped(reason) => connection(reason, operation),
        _ => Error::new(ErrorKind::Closed, operation).detail("the session has ended"),
    }
}

fn connection(reason: &ConnectionStopReason, operation: &'static str) -> Error {
    let lost = Error::new(ErrorKind::Disconnected, operation);
    match reason {
        ConnectionStopReason::ClosedWithError(told) | ConnectionStopReason::RemoteClosedWithError(told) => {
            lost.detail(said(told, operation))
        }
        _ => lost,
    }
}

/// A refusal whose detach came before its attach had been looked at.
fn refused(found: impl core::error::Error + Send + Sync + 'static) -> Error {
    let words = "the link is refused, and fe2o3-amqp does not tell why";
    Error::new(ErrorKind::Unavailable, "attach").detail(words).because(found)
}

fn said(told: &definitions::Error, operation: &'static str) -> Error {
    error(&fault(told), operation)
}

fn other(kind: ErrorKind, operation: &'static str, found: impl core::error::Error + Send + Sync + 'static) -> Error {
    Error::new(kind, operation).detail(&found).because(found)
}
