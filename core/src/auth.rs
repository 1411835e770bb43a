//! Who may come in, and what they may do.

use alloc::boxed::Box;
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
    /// Follow a filter.
    Bind(&'a Filter),
    /// Take from a queue.
    Receive(&'a Address),
    /// Declare, purge or delete a node.
    Manage(&'a Address),
}

/// Decides what an identity may do.
#[async_trait]
pub trait Authorizer: Send + Sync {
    /// Whether `principal` may do `action`.
    ///
    /// # Errors
    /// [`ErrorKind::Unauthorized`] if not.
    async fn authorize(&self, principal: &str, action: Action<'_>) -> Result<()>;
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
    async fn authorize(&self, _principal: &str, _action: Action<'_>) -> Result<()> {
        Ok(())
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
