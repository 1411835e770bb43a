//! Who may come in, and what they may do.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use bytestring::ByteString;

use crate::{Address, Credential, Error, ErrorKind, Filter, Peer, Result, Time};

/// Who somebody turned out to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Identity {
    /// The name: stamped on every message. Empty: anonymous.
    pub principal: ByteString,
    /// When the right to be here ends.
    pub valid_until: Option<Time>,
}

impl Identity {
    /// The identity with this name, for ever.
    pub fn new(principal: impl Into<ByteString>) -> Self {
        Self { principal: principal.into(), valid_until: None }
    }
}

/// Decides who somebody is, before a session is opened.
#[async_trait]
pub trait Authenticator: Send + Sync {
    /// Checks `credential`, offered by `peer`, which calls itself `name` (the MQTT client identifier, ...).
    ///
    /// # Errors
    /// [`ErrorKind::Unauthenticated`] if it is wrong; the reason is not told to the peer.
    async fn authenticate(&self, peer: &Peer, name: &str, credential: &Credential) -> Result<Identity>;

    /// The SASL mechanisms by which somebody can come in, the strongest first. ANONYMOUS, PLAIN and EXTERNAL come as a
    /// [`Credential`]; any other is conducted by [`exchange`](Self::exchange).
    fn mechanisms(&self) -> &[&'static str] {
        &["EXTERNAL", "PLAIN", "ANONYMOUS"]
    }

    /// Whether tokens are taken ([`Credential::Token`]): a protocol in which they come after the connection is open (AMQP's `$cbs`) then lets somebody
    /// who is nobody yet open one.
    fn takes_tokens(&self) -> bool {
        false
    }

    /// Begins to ask `peer`, which calls itself `name`: a SASL mechanism of several rounds, an MQTT 5 authentication method.
    /// `None`: it is not conducted here.
    fn exchange(&self, _peer: &Peer, _name: &str, _mechanism: &str) -> Option<Box<dyn AuthExchange>> {
        None
    }
}

/// Questions and answers that end in an identity: one exchange, for one peer.
#[async_trait]
pub trait AuthExchange: Send {
    /// Takes what the peer says, first or in answer to [`AuthStep::Continue`]; `None` if it has said nothing yet. Not called
    /// again after its end. Dropping the future ends the exchange.
    ///
    /// # Errors
    /// [`ErrorKind::Unauthenticated`] if the peer is not who it says; it is told that and nothing else.
    async fn step(&mut self, data: Option<Bytes>) -> Result<AuthStep>;
}

/// One step of an [`AuthExchange`].
#[derive(Clone, Debug)]
pub enum AuthStep {
    /// Send this, and wait for the peer's answer.
    Continue(Bytes),
    /// The peer is known; the data is the last word to it, by which it knows the server.
    Success(Identity, Option<Bytes>),
}

/// What a principal wants to do.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Action<'a> {
    /// Send to an address.
    Send(&'a Address),
    /// Follow a filter: all that it matches.
    Bind(&'a Filter),
    /// Take from a queue, read a log, or be given what was sent to an address.
    Receive(&'a Address),
    /// Declare, bind, purge or delete a node.
    Manage(&'a Address),
}

impl fmt::Display for Action<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Send(address) => write!(f, "may not send to {address}"),
            Self::Bind(filter) => write!(f, "may not follow all of {filter}"),
            Self::Receive(address) => write!(f, "may not receive from {address}"),
            Self::Manage(address) => write!(f, "may not manage {address}"),
        }
    }
}

/// Decides what identities may do: see [`AuthorizedLayer`](crate::AuthorizedLayer).
#[async_trait]
pub trait Authorizer: Send + Sync {
    /// What `principal` may do. Asked once for each session, when it opens.
    ///
    /// # Errors
    /// [`ErrorKind::Unauthorized`] if it may not even open one.
    async fn rights(&self, principal: &str) -> Result<Arc<dyn Rights>>;
}

/// What one principal may do.
///
/// *Contract*: quick; does not block. As long as the version is the same, so are the answers.
pub trait Rights: Send + Sync {
    /// Whether it may do this.
    fn allows(&self, action: Action<'_>) -> bool;

    /// Moves when answers may have changed, so that sessions ask again what they remember.
    fn version(&self) -> u64 {
        0
    }
}

/// Lets everybody in under the name they give, and lets them do everything: for development.
#[derive(Clone, Copy, Debug, Default)]
pub struct Permissive;

#[async_trait]
impl Authenticator for Permissive {
    async fn authenticate(&self, _peer: &Peer, name: &str, credential: &Credential) -> Result<Identity> {
        Ok(match credential {
            Credential::Password { user, .. } if !user.is_empty() => Identity::new(user.clone()),
            Credential::External { name } => Identity::new(name.clone()),
            _ => Identity::new(ByteString::from(name)),
        })
    }
}

#[async_trait]
impl Authorizer for Permissive {
    async fn rights(&self, _principal: &str) -> Result<Arc<dyn Rights>> {
        Ok(Arc::new(Self))
    }
}

impl Rights for Permissive {
    fn allows(&self, _action: Action<'_>) -> bool {
        true
    }
}

/// Lets nobody in.
#[derive(Clone, Copy, Debug, Default)]
pub struct DenyAll;

#[async_trait]
impl Authenticator for DenyAll {
    async fn authenticate(&self, _peer: &Peer, _name: &str, _credential: &Credential) -> Result<Identity> {
        Err(Error::new(ErrorKind::Unauthenticated, "authenticate"))
    }
}
