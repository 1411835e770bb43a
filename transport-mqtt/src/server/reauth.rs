use alloc::boxed::Box;
use core::task::{Context, Poll};

use roadbed_core::{AuthExchange, AuthStep, Error, ErrorKind, Fut, Output, Result, Time};

use crate::Machine;
use crate::codec::{Auth, Notes, ReasonCode};

/// A re-authentication under way (section 4.12.1).
pub(super) struct Reauth {
    /// Ours between two steps.
    exchange: Option<Box<dyn AuthExchange>>,
    round: u32,
    step: Option<Fut<(Box<dyn AuthExchange>, AuthStep)>>,
}

/// What a re-authentication has come to.
pub(super) enum Reauthenticated {
    /// The client has been asked again.
    Challenged,
    /// The client has the right to be here until this time.
    Until(Option<Time>),
}

impl Reauth {
    pub(super) const fn new(exchange: Box<dyn AuthExchange>) -> Self {
        Self { exchange: Some(exchange), round: 0, step: None }
    }

    /// The client's word: the first one, or the answer to a challenge.
    pub(super) fn hear(&mut self, auth: Auth) -> Result<()> {
        let Some(mut exchange) = self.exchange.take().filter(|_| self.round < super::AUTH_ROUNDS_MAX) else {
            return Err(Error::new(ErrorKind::Protocol, "authenticate").detail("it is not the client's turn"));
        };
        self.round += 1;
        self.step = Some(Box::pin(async move {
            let step = exchange.step(auth.data).await?;
            Ok((exchange, step))
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
        let (exchange, answer) = answer?;
        self.exchange = Some(exchange);
        let (reason, data, became) = match answer {
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
