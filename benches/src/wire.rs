//! A byte stream in memory that knows where the other end's bytes were read to, and from where ours were written.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};
use roadbed_core::Output;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// One end of a connection for a server, whose other end is this handle's owner. Clones share it.
#[derive(Debug, Clone)]
pub struct Wire(Arc<Mutex<Ends>>);

#[derive(Debug, Default)]
struct Ends {
    payload_bytes: usize,
    to_server: VecDeque<Bytes>,
    /// Answers, sent after `to_server`: kept in one buffer, so that the harness allocates nothing for them.
    answers: Vec<u8>,
    answered: usize,
    reader: Option<Waker>,
    written: usize,
    heads: Vec<u8>,
    reads: Vec<Range<usize>>,
    payloads: Vec<Range<usize>>,
}

/// How many places are noted.
const PLACES_MAX: usize = 4096;

impl Wire {
    /// A connection whose messages have payloads of `payload_bytes`: written by themselves, they are noted by where they lie, and not kept.
    pub fn new(payload_bytes: usize) -> Self {
        Self(Arc::new(Mutex::new(Ends { payload_bytes, ..Ends::default() })))
    }

    /// Sends bytes to the server.
    pub fn send(&self, bytes: &Bytes) {
        let mut ends = self.ends();
        ends.to_server.push_back(bytes.clone());
        let reader = ends.reader.take();
        drop(ends);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// Sends what `answer` makes of all that the server has written since the last time but payloads. Says how many bytes the server had written, and how many are
    /// sent.
    pub fn answer(&self, answer: impl FnOnce(&[u8], &mut Vec<u8>)) -> (usize, usize) {
        let mut ends = self.ends();
        let Ends { heads, answers, .. } = &mut *ends;
        answers.clear();
        answer(heads, answers);
        heads.clear();
        let (written, sent) = (std::mem::take(&mut ends.written), ends.answers.len());
        ends.answered = 0;
        let reader = ends.reader.take_if(|_| sent > 0);
        drop(ends);
        if let Some(reader) = reader {
            reader.wake();
        }
        (written, sent)
    }

    /// Where the server has read to since the last time.
    pub fn reads(&self) -> Vec<Range<usize>> {
        std::mem::take(&mut self.ends().reads)
    }

    /// Where the payloads lay that were written by themselves since the last time.
    pub fn payloads(&self) -> Vec<Range<usize>> {
        std::mem::take(&mut self.ends().payloads)
    }

    fn ends(&self) -> std::sync::MutexGuard<'_, Ends> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut ends = self.ends();
        if ends.to_server.is_empty() && ends.answered == ends.answers.len() {
            ends.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let before = into.filled().len();
        while let Some(front) = ends.to_server.front_mut().filter(|_| into.remaining() > 0) {
            let take = front.len().min(into.remaining());
            into.put_slice(&front[..take]);
            front.advance(take);
            if front.is_empty() {
                ends.to_server.pop_front();
            }
        }
        let answers = &ends.answers[ends.answered..];
        let take = answers.len().min(into.remaining());
        into.put_slice(&answers[..take]);
        ends.answered += take;
        if ends.reads.len() < PLACES_MAX {
            let Range { start, end } = into.filled()[before..].as_ptr_range();
            ends.reads.push(start as usize..end as usize);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut ends = self.ends();
        for piece in pieces {
            if piece.len() != ends.payload_bytes || piece.len() < Output::SHARE_MIN {
                ends.heads.extend_from_slice(piece);
            } else if ends.payloads.len() < PLACES_MAX {
                let Range { start, end } = piece.as_ptr_range();
                ends.payloads.push(start as usize..end as usize);
            }
        }
        let written = pieces.iter().map(|piece| piece.len()).sum();
        ends.written += written;
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
