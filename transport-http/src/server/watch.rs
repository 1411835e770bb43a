//! The connection's byte stream, watched.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use roadbed_core::Time;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::machine::Vitals;

/// The vitals of one connection, with the clock that they are told by: tokio's, so that tests can pause it.
#[derive(Clone, Debug)]
pub(super) struct Watch(Arc<(Instant, Mutex<Vitals>)>);

impl Watch {
    pub(super) fn new() -> Self {
        Self(Arc::new((Instant::now(), Mutex::new(Vitals::new(Time::ZERO)))))
    }

    pub(super) fn now(&self) -> Time {
        Time::ZERO + self.0.0.elapsed()
    }

    /// The instant that `time` stands for.
    pub(super) fn instant(&self, time: Time) -> Instant {
        self.0.0 + time.since(Time::ZERO)
    }

    pub(super) fn vitals(&self) -> MutexGuard<'_, Vitals> {
        self.0.1.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request until what is returned is dropped.
    pub(super) fn request(&self, multiplexed: bool) -> Active {
        self.vitals().begin(multiplexed);
        Active(self.clone())
    }
}

/// A request that is being served.
#[derive(Debug)]
pub(super) struct Active(Watch);

impl Drop for Active {
    fn drop(&mut self) {
        let now = self.0.now();
        self.0.vitals().end(now);
    }
}

/// A byte stream that tells what it does.
#[derive(Debug)]
pub(super) struct Watched<IO> {
    pub(super) io: IO,
    pub(super) watch: Watch,
}

impl<IO: AsyncRead + Unpin> AsyncRead for Watched<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, into);
        if into.filled().len() > before {
            self.watch.vitals().handle_read(|| self.watch.now());
        }
        read
    }
}

impl<IO: Unpin> Watched<IO> {
    fn wrote<T>(&self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        self.watch.vitals().handle_write(result.is_pending(), || self.watch.now());
        result
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Watched<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.wrote(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write_vectored(cx, pieces);
        self.wrote(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
