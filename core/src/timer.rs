//! A driver's one timer.

use alloc::boxed::Box;
use core::future::{Future, poll_fn};
use core::pin::{Pin, pin};
use core::task::{Context, Poll};

use tokio::time::{Instant, Sleep, sleep_until};

use crate::{Error, ErrorKind, Result, Time};

/// One timer for a deadline that mostly moves away: it is set anew when it fires, not when the deadline moves.
#[derive(Debug, Default)]
pub struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    set_for: Option<Time>,
}

impl Timer {
    /// Ready when `deadline` has passed; wakes the task when it does.
    pub fn poll(&mut self, cx: &mut Context<'_>, now: Time, deadline: Option<Time>) -> Poll<()> {
        let Some(deadline) = deadline else { return Poll::Pending };
        if deadline.has_passed(now) {
            return Poll::Ready(());
        }
        if self.set_for.is_none_or(|set_for| deadline < set_for) {
            self.set(now, deadline);
        }
        while let Some(sleep) = &mut self.sleep {
            if sleep.as_mut().poll(cx).is_pending() {
                break;
            }
            self.set(now, deadline);
        }
        Poll::Pending
    }

    /// What `asked` answers, or [`ErrorKind::TimedOut`] once the deadline has passed; `times` says, whenever it is polled, what time it is and when that is.
    ///
    /// # Errors
    /// What `asked` says, and if it is late.
    ///
    /// # Cancel safety
    /// Dropping it drops `asked`.
    pub async fn limit<T>(
        &mut self,
        operation: &'static str,
        asked: impl Future<Output = Result<T>>,
        times: impl Fn() -> (Time, Option<Time>),
    ) -> Result<T> {
        let mut asked = pin!(asked);
        poll_fn(|cx| {
            if let Poll::Ready(answer) = asked.as_mut().poll(cx) {
                return Poll::Ready(answer);
            }
            let (now, deadline) = times();
            self.poll(cx, now, deadline).map(|()| Err(Error::new(ErrorKind::TimedOut, operation)))
        })
        .await
    }

    fn set(&mut self, now: Time, deadline: Time) {
        // A millisecond more than is left, so that the deadline has passed when the timer fires.
        let at = Instant::now() + deadline.remaining(now) + core::time::Duration::from_millis(1);
        self.set_for = Some(deadline);
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(at),
            None => self.sleep = Some(Box::pin(sleep_until(at))),
        }
    }
}
