//! How sessions are opened and closed, and what happens to them.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;

use crate::{Condition, Key, Message, Origin, Outcome, Qos, Scope};

/// How a session is opened. The principal is already authenticated.
#[derive(Clone, Debug, Default)]
pub struct Open {
    /// Who it is, and over which protocol: stamped on its messages.
    pub origin: Arc<Origin>,
    /// The session's name; without one it can neither be resumed nor taken over.
    pub name: Option<ByteString>,
    /// Go on with the kept session of this name; otherwise start afresh and drop the old one.
    pub resume: bool,
    /// How long the session is kept after its connection ends; zero ends it at once.
    pub expiry: Duration,
    /// How long the session counts as connected after its connection ends.
    pub linger: Duration,
    /// What is sent if the session does not end in good order.
    pub will: Option<Will>,
    /// The connection: what shares the transactions of nobody in particular.
    pub scope: Scope,
    /// The largest number of unsettled deliveries that the peer takes at once, over all consumers of the session; 0: no bound of its own.
    pub window: u16,
}

/// A message that is sent for a session that did not end in good order.
#[derive(Clone, Debug)]
pub struct Will {
    /// The message; retained if it says so.
    pub message: Message,
    /// How it is sent.
    pub qos: Qos,
    /// How long after the connection's end; a session that comes back in time cancels it.
    pub delay: Duration,
    /// How long the message lives from when it is sent; `None`: as its own expiry says \[MQTT-3.1.3.2.4\].
    pub ttl: Option<Duration>,
}

/// What a session is opened as.
#[derive(Clone, Debug, Default)]
pub struct Opened {
    /// Whether a kept session was found.
    pub resumed: bool,
    /// The session's name, assigned if none was given and one is needed.
    pub name: Option<ByteString>,
    /// How long it is kept after its connection ends.
    pub expiry: Duration,
    /// The strongest assurance that the endpoint takes.
    pub qos_max: Qos,
    /// The longest message that it takes, in bytes.
    pub message_bytes_max: usize,
    /// Keys of messages that were sent and not forgotten, in the order of sending; with the outcome, once it is committed.
    pub in_doubt: Vec<(Key, Option<Outcome>)>,
}

/// How a session is closed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Close {
    /// Send the will all the same.
    pub will: bool,
    /// Keep the session for this long from now, instead of what was agreed.
    pub expiry: Option<Duration>,
}

/// What happens to a session from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionEvent {
    /// Another connection has taken the session's name.
    TakenOver,
    /// Its right to be here has ended.
    Revoked(Condition),
    /// The endpoint is shutting down: finish, then go.
    Draining,
    /// The session's byte budget is used up (`paused`), or free again: stop reading, or go on.
    Budget {
        /// Whether to stop.
        paused: bool,
    },
}

/// What proves who somebody is.
#[derive(Clone)]
#[non_exhaustive]
pub enum Credential {
    /// Nothing was offered.
    Anonymous,
    /// A name and a password.
    Password {
        /// The name.
        user: ByteString,
        /// The password.
        password: Bytes,
    },
    /// What the carrier has proved already: the name in a TLS certificate.
    External {
        /// The name.
        name: ByteString,
    },
    /// A signed token.
    Token {
        /// Its kind: `sas`, `jwt`, ...
        kind: ByteString,
        /// The token.
        token: Bytes,
    },
}

impl core::fmt::Debug for Credential {
    /// Never shows a secret.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Anonymous => f.write_str("Anonymous"),
            Self::Password { user, .. } => write!(f, "Password({user:?})"),
            Self::External { name } => write!(f, "External({name:?})"),
            Self::Token { kind, .. } => write!(f, "Token({kind:?})"),
        }
    }
}
