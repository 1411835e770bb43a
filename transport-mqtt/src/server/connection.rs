use alloc::boxed::Box;
use alloc::sync::Arc;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use bytes::Bytes;
use roadbed_core::serve::Driver;
use roadbed_core::{Peer, Result, Socket};
use tokio::io::{AsyncRead, AsyncWrite};

use super::Shared;
use super::open::Opening;
use super::turn::Running;

/// One client's connection: a future that ends when the connection does. See [`Server::serve`](super::Server::serve).
#[derive(Debug)]
#[must_use = "a connection does nothing unless it is polled"]
pub struct Connection<S>(Driver<Running<S>>);

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Connection<S> {
    pub(super) fn new(shared: Arc<Shared>, socket: Socket<S>, already: Bytes, peer: Arc<Peer>) -> Self {
        Self(Driver::new(Box::pin(Opening::new(shared, socket, already, peer).open())))
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Future for Connection<S> {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.0).poll(cx)
    }
}
