use alloc::vec::Vec;
use core::task::{Context, Poll};

use crate::{Condition, Confirm, Outcome, Outgoing, Producer, Qos, Result};

/// What a layer has refused itself: it is told with what the endpoint confirms.
#[derive(Default)]
pub(super) struct Refused(Vec<Confirm>);

impl Refused {
    /// Refuses a message. Who sent it at most once waits for no answer.
    pub(super) fn add(&mut self, outgoing: &Outgoing, why: Condition) {
        if outgoing.qos > Qos::AtMostOnce {
            let outcome = Outcome::rejected(why);
            self.0.push(Confirm { cookie: outgoing.cookie, outcome, why: Some(why), provisional: None });
        }
    }

    /// What was refused here, and what `inner` confirms.
    pub(super) fn poll_confirms(
        &mut self,
        inner: &mut dyn Producer,
        cx: &mut Context<'_>,
        into: &mut Vec<Confirm>,
    ) -> Poll<Result<usize>> {
        let refused = self.0.len();
        into.append(&mut self.0);
        match inner.poll_confirms(cx, into) {
            Poll::Ready(Ok(count)) => Poll::Ready(Ok(refused + count)),
            Poll::Pending if refused > 0 => Poll::Ready(Ok(refused)),
            other => other,
        }
    }
}
