//! A stream whose first bytes are read a second time.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use roadbed::serve::CrowdPlace;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What was read already, and then the stream itself.
#[derive(Debug)]
pub(crate) struct Rewind<S> {
    already: Bytes,
    stream: S,
    /// Its place among all connections: kept as long as the stream is, also by whoever takes it over.
    _place: Option<CrowdPlace>,
}

impl<S> Rewind<S> {
    pub(crate) const fn new(already: Bytes, stream: S) -> Self {
        Self { already, stream, _place: None }
    }

    /// The same, with its place among all connections.
    pub(crate) const fn at(place: CrowdPlace, already: Bytes, stream: S) -> Self {
        Self { already, stream, _place: Some(place) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewind<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.already.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let taken = self.already.len().min(buf.remaining());
        buf.put_slice(&self.already[..taken]);
        self.already.advance(taken);
        if self.already.is_empty() {
            // Lets go of the buffer.
            self.already = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewind<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
