//! SASL at the server: who a client is, by as many rounds as its mechanism takes.

use core::future::Future;

use bytes::Bytes;
use bytestring::ByteString;
use roadbed_core::{AuthStep, Credential, Error, ErrorKind, Identity, Protocol, Result};
use tokio::io::{AsyncRead, AsyncWrite};

use super::open::Opening;
use crate::codec::SaslCode;
use crate::{Admission, Event};

/// How many steps an exchange may take.
const ROUNDS_MAX: usize = 16;

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Opening<S> {
    /// From the client's choice of a mechanism to the outcome. `None`: it is nobody, and may be here to show a token.
    pub(super) async fn sasl(&mut self, mechanism: &str, response: Option<Bytes>) -> Result<Option<Identity>> {
        let nobody =
            |error: &Error| error.kind() == ErrorKind::Unauthenticated && matches!(mechanism, "ANONYMOUS" | "MSSBCBS");
        let (admission, identity) = match self.conduct(mechanism, response).await {
            Ok((identity, data)) => (Admission::Admitted(data), Ok(Some(identity))),
            Err(error) if nobody(&error) && self.shared.config.authenticator.takes_tokens() => {
                (Admission::Admitted(None), Ok(None))
            }
            Err(error) => (Admission::Refused(code(&error)), Err(error)),
        };
        let mut out = self.socket.output();
        let said = self.machine.admit(admission, &mut out);
        if identity.is_err() {
            self.socket.farewell(out, self.shared.config.close_timeout).await;
            return identity;
        }
        said?;
        self.flush(out).await?;
        identity
    }

    async fn conduct(&mut self, mechanism: &str, response: Option<Bytes>) -> Result<(Identity, Option<Bytes>)> {
        let Some(mut exchange) = self.shared.config.authenticator.exchange(&self.peer, "", mechanism) else {
            return self.credential(mechanism, response).await.map(|identity| (identity, None));
        };
        let mut data = response;
        for _ in 0..ROUNDS_MAX {
            match self.in_time(exchange.step(data)).await? {
                AuthStep::Success(identity, last) => return Ok((identity, last)),
                AuthStep::Continue(challenge) => data = Some(self.ask(challenge).await?),
            }
        }
        Err(Error::new(ErrorKind::Unauthenticated, "authenticate").detail("the exchange does not end"))
    }

    /// The mechanisms of one message.
    async fn credential(&mut self, mechanism: &str, response: Option<Bytes>) -> Result<Identity> {
        let (name, credential) = match mechanism {
            "ANONYMOUS" | "MSSBCBS" => (ByteString::new(), Credential::Anonymous),
            "EXTERNAL" => external(self.peer.name.as_ref(), &response.unwrap_or_default()).ok_or_else(malformed)?,
            "PLAIN" => {
                let response = match response {
                    Some(response) => response,
                    None => self.ask(Bytes::new()).await?,
                };
                plain(&response).ok_or_else(malformed)?
            }
            _ => return Err(malformed()),
        };
        let (shared, peer) = (self.shared.clone(), self.peer.clone());
        self.in_time(shared.config.authenticator.authenticate(&peer, &name, &credential)).await
    }

    async fn ask(&mut self, challenge: Bytes) -> Result<Bytes> {
        let mut out = self.socket.output();
        self.machine.challenge(challenge, &mut out)?;
        self.flush(out).await?;
        match self.next().await? {
            Event::SaslResponse(data) => Ok(data),
            _ => Err(Error::new(ErrorKind::Protocol, "authenticate").detail("a response was expected")),
        }
    }

    /// What looks credentials up may take no longer than the client may.
    pub(super) async fn in_time<T>(&mut self, asked: impl Future<Output = Result<T>>) -> Result<T> {
        let times = || (self.shared.config.clock.now(), self.machine.poll_timeout());
        self.timer.limit("authenticate", asked, times).await
    }
}

/// What a client is told of why it is not let in: whether to try again, and nothing else.
fn code(error: &Error) -> SaslCode {
    match error.kind() {
        ErrorKind::Unavailable | ErrorKind::TimedOut | ErrorKind::Exhausted | ErrorKind::StoreFull => SaslCode::SysTemp,
        ErrorKind::Failed | ErrorKind::NotSupported => SaslCode::Sys,
        _ => SaslCode::Auth,
    }
}

/// PLAIN (RFC 4616): who to act as, who it is, and the password, between NULs. Nobody acts as somebody else.
fn plain(response: &Bytes) -> Option<(ByteString, Credential)> {
    let mut parts = response.split(|&byte| byte == 0);
    let (act_as, user, password) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || !(act_as.is_empty() || act_as == user) {
        return None;
    }
    let user = ByteString::try_from(response.slice_ref(user)).ok()?;
    Some((user.clone(), Credential::Password { user, password: response.slice_ref(password) }))
}

/// EXTERNAL (RFC 4422, appendix A): who to act as, or nothing.
fn external(known: Option<&ByteString>, act_as: &[u8]) -> Option<(ByteString, Credential)> {
    let name = known.filter(|name| act_as.is_empty() || act_as == name.as_bytes())?.clone();
    Some((name.clone(), Credential::External { name }))
}

fn malformed() -> Error {
    Error::new(ErrorKind::Unauthenticated, "authenticate").detail("malformed credentials")
}
