use alloc::boxed::Box;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, ready};

use crate::{Fut, Result};

/// A connection that is open, as its protocol drives it.
pub trait Drive: Send + 'static {
    /// How it ends.
    type Ending: Send;

    /// One turn: everything that can be done without waiting. Ready when the connection ends.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Self::Ending>;

    /// Says the last words, and gives sessions and links back.
    fn close(self: Box<Self>, ending: Self::Ending) -> Fut<()>;
}

/// One peer's connection from the first byte to the last: a future that ends when the connection does. Dropping it drops the connection,
/// which then counts as lost.
///
/// It is a state machine of its own rather than an `async fn`, so that an idle connection is as small as it can be: what only
/// opening and closing need is boxed, and gone in between.
#[must_use = "a connection does nothing unless it is polled"]
pub struct Driver<D>(State<D>);

enum State<D> {
    Opening(Fut<Box<D>>),
    Open(Box<D>),
    Closing(Fut<()>),
    Done,
}

impl<D> Driver<D> {
    /// A connection that is opened by `opening`.
    pub fn new(opening: Fut<Box<D>>) -> Self {
        Self(State::Opening(opening))
    }
}

impl<D: Drive> Future for Driver<D> {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        loop {
            match &mut self.0 {
                State::Opening(opening) => match ready!(opening.as_mut().poll(cx)) {
                    Ok(open) => self.0 = State::Open(open),
                    Err(error) => {
                        self.0 = State::Done;
                        return Poll::Ready(Err(error));
                    }
                },
                State::Open(open) => {
                    let ending = ready!(open.poll_turn(cx));
                    if let State::Open(open) = core::mem::replace(&mut self.0, State::Done) {
                        self.0 = State::Closing(open.close(ending));
                    }
                }
                State::Closing(closing) => {
                    let result = ready!(closing.as_mut().poll(cx));
                    self.0 = State::Done;
                    return Poll::Ready(result);
                }
                State::Done => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl<D> fmt::Debug for Driver<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            State::Opening(_) => "opening",
            State::Open(_) => "open",
            State::Closing(_) => "closing",
            State::Done => "done",
        })
    }
}
