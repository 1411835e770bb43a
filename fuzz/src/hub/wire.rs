use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A byte stream in memory, shared with its other end.
#[derive(Clone, Default)]
pub(super) struct Wire(Arc<Mutex<Ends>>);

#[derive(Default)]
struct Ends {
    to_server: Vec<u8>,
    to_client: Vec<u8>,
    reader: Option<Waker>,
    closed: bool,
}

impl Wire {
    pub(super) fn send(&self, bytes: &[u8]) {
        let mut ends = self.ends();
        ends.to_server.extend_from_slice(bytes);
        ends.reader.take().into_iter().for_each(Waker::wake);
    }

    pub(super) fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.ends().to_client)
    }

    pub(super) fn close(&self) {
        let mut ends = self.ends();
        ends.closed = true;
        ends.reader.take().into_iter().for_each(Waker::wake);
    }

    fn ends(&self) -> MutexGuard<'_, Ends> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut ends = self.ends();
        if ends.to_server.is_empty() && !ends.closed {
            ends.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let take = into.remaining().min(ends.to_server.len());
        into.put_slice(&ends.to_server[..take]);
        ends.to_server.drain(..take);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.ends().to_client.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
