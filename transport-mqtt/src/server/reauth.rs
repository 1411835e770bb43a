use alloc::boxed::Box;
use alloc::sync::Arc;
use core::task::{Context, Poll};

use bytestring::ByteString;
use roadbed_core::{Error, ErrorKind, Fut, Output, Result, Time};

use super::{AuthExchange, AuthStep};
use crate::Machine;
use crate::codec::{Auth, Notes, ReasonCode};

/// A re-authentication under way (section 4.12.1).
pub(super) struct Reauth {
    exchange: Arc<dyn AuthExchange>,
    client_id: ByteString,
    round: u32,
    step: Option<Fut<AuthStep>>,
}

/// What a re-authentication has come to.
pub(super) enum Reauthenticated {
    /// The client has been asked again.
    Challenged,
    /// The client has the right to be here until this time.
    Until(Option<Time>),
}

impl Reauth {
    pub(super) fn new(exchange: Arc<dyn AuthExchange>, client_id: ByteString) -> Self {
        Self { exchange, client_id, round: 0, step: None }
    }

    /// The client's word: the first one, or the answer to a challenge.
    pub(super) fn hear(&mut self, auth: Auth) -> Result<()> {
        if self.step.is_some() || self.round >= super::AUTH_ROUNDS_MAX {
            return Err(Error::new(ErrorKind::Protocol, "authenticate").detail("it is not the client's turn"));
        }
        let (exchange, client_id, round) = (Arc::clone(&self.exchange), self.client_id.clone(), self.round);
        self.round += 1;
        self.step = Some(Box::pin(async move {
            let method = auth.method.unwrap_or_default();
            exchange.step(&client_id, &method, round, auth.data).await
        }));
        Ok(())
    }

    /// Answers the client, as soon as the exchange has decided. The identity must stay what it was.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        principal: &str,
        machine: &mut Machine,
        out: &mut Output,
    ) -> Poll<Result<Reauthenticated>> {
        let Some(step) = &mut self.step else { return Poll::Pending };
        let Poll::Ready(answer) = step.as_mut().poll(cx) else { return Poll::Pending };
        self.step = None;
        let (reason, data, became) = match answer? {
            AuthStep::Continue(data) => (ReasonCode::ContinueAuthentication, Some(data), Reauthenticated::Challenged),
            AuthStep::Success(identity, data) if identity.principal == *principal => {
                (ReasonCode::Success, data, Reauthenticated::Until(identity.valid_until))
            }
            AuthStep::Success(..) => {
                return Poll::Ready(Err(Error::new(ErrorKind::Unauthenticated, "authenticate")
                    .detail("a client cannot become somebody else")));
            }
        };
        machine.authenticate(reason, data, Notes::default(), out)?;
        Poll::Ready(Ok(became))
    }
}
