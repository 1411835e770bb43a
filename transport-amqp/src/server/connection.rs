use alloc::boxed::Box;
use alloc::sync::Arc;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, ready};

use roadbed_core::{Fut, Result, Socket};
use tokio::io::{AsyncRead, AsyncWrite};

use super::Shared;
use super::open::Opening;
use super::turn::Running;

/// One client's connection: a future that ends when the connection does. See [`Server::serve`](super::Server::serve).
///
/// It is a state machine of its own rather than an `async fn`, so that an idle connection is as small as it can be: what only
/// opening and closing need is boxed, and gone in between.
#[must_use = "a connection does nothing unless it is polled"]
pub struct Connection<S>(State<S>);

enum State<S> {
    Opening(Fut<Box<Running<S>>>),
    Running(Box<Running<S>>),
    Closing(Fut<()>),
    Done,
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Connection<S> {
    pub(super) fn new(shared: Arc<Shared>, socket: Socket<S>) -> Self {
        Self(State::Opening(Box::pin(Opening::new(shared, socket).open())))
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Future for Connection<S> {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        loop {
            match &mut self.0 {
                State::Opening(opening) => match ready!(opening.as_mut().poll(cx)) {
                    Ok(running) => self.0 = State::Running(running),
                    Err(error) => {
                        self.0 = State::Done;
                        return Poll::Ready(Err(error));
                    }
                },
                State::Running(running) => {
                    let ending = ready!(running.poll(cx));
                    if let State::Running(running) = core::mem::replace(&mut self.0, State::Done) {
                        self.0 = State::Closing(Box::pin(running.close(ending)));
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

impl<S> core::fmt::Debug for Connection<S> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let state = match self.0 {
            State::Opening(_) => "opening",
            State::Running(_) => "running",
            State::Closing(_) => "closing",
            State::Done => "done",
        };
        f.debug_tuple("Connection").field(&state).finish()
    }
}
