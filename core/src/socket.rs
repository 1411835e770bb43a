//! Socket work for drivers: pooled reads, one vectored write, nothing owned while idle.
//!
//! Read buffers belong to the thread, not to the connection: a connection takes one while it is polled, and keeps only
//! the head of a frame that has not come whole. The same holds for what is to be written: only what the socket refused stays
//! with the connection.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::{poll_read_buf, poll_write_buf};

use crate::{Output, Protocol, Time};

/// How much one read takes at most, in bytes.
const READ_MAX: usize = 256 << 10;
/// A buffer with less room than this is retired, in bytes.
const ROOM_MIN: usize = 64 << 10;
/// The size of a read buffer, in bytes.
const CHUNK: usize = 1 << 20;
/// How many retired buffers a thread keeps, to be used again once nothing refers to them.
const RETIRED_MAX: usize = 4;
/// How many output buffers a thread keeps.
const OUTPUTS_MAX: usize = 4;

std::thread_local! {
    static READ: RefCell<ReadBuffers> = RefCell::default();
    static OUTPUTS: RefCell<Vec<Output>> = const { RefCell::new(Vec::new()) };
}

/// A byte stream with the buffers that a driver needs.
#[derive(Debug)]
pub struct Socket<S> {
    stream: S,
    head: Head,
    unsent: Output,
    /// The stream has taken all and keeps some of it itself, as TLS does: it has to be flushed although nothing more is written.
    unflushed: bool,
}

/// The head of a frame that has not come whole.
#[derive(Debug)]
enum Head {
    None,
    /// Short: goes in front of the next read.
    Short(Bytes),
    /// Of a frame longer than a read: grows in memory of its own up to `wanted` bytes.
    Long {
        bytes: BytesMut,
        wanted: usize,
    },
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    /// A socket over `stream`.
    pub fn new(stream: S) -> Self {
        Self { stream, head: Head::None, unsent: Output::new(), unflushed: false }
    }

    /// Reads what there is, up to 256 KiB, after what was [unread](Self::unread). `None` at the end of the stream.
    ///
    /// # Errors
    /// If the stream fails.
    pub fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        if let Head::Long { bytes, wanted } = &mut self.head {
            while bytes.len() < *wanted {
                let room = (*wanted - bytes.len()).min(bytes.len().max(READ_MAX));
                bytes.reserve(room);
                if ready!(poll_read_buf(Pin::new(&mut self.stream), cx, &mut bytes.limit(room)))? == 0 {
                    return Poll::Ready(Ok(None));
                }
            }
            let whole = core::mem::take(bytes).freeze();
            self.head = Head::None;
            return Poll::Ready(Ok(Some(whole)));
        }
        let read = READ.with_borrow_mut(|buffers| {
            let head: &[u8] = if let Head::Short(head) = &self.head { head } else { &[] };
            let buffer = buffers.with_room(head.len() + ROOM_MIN);
            buffer.put_slice(head);
            match poll_read_buf(Pin::new(&mut self.stream), cx, &mut buffer.limit(READ_MAX)) {
                Poll::Ready(Ok(1..)) => Poll::Ready(Ok(Some(buffer.split().freeze()))),
                other => {
                    buffer.clear();
                    other.map_ok(|_| None)
                }
            }
        });
        if let Poll::Ready(Ok(Some(_))) = read {
            self.head = Head::None;
        }
        read
    }

    /// What of an earlier chunk is `held`, or else the next chunk: see [`poll_chunk`](Self::poll_chunk).
    ///
    /// # Errors
    /// If the stream fails.
    pub fn poll_held(&mut self, cx: &mut Context<'_>, held: &mut Bytes) -> Poll<io::Result<Option<Bytes>>> {
        match held.is_empty() {
            true => self.poll_chunk(cx),
            false => Poll::Ready(Ok(Some(core::mem::take(held)))),
        }
    }

    /// Gives back the rest of a chunk, to come again at the start of the next one. `wanted` is how long the frame will be that
    /// starts there, in bytes, or 0 if that is not known. Memory grows with what arrives, not with what is announced.
    pub fn unread(&mut self, rest: &[u8], wanted: usize) {
        self.head = if rest.is_empty() {
            Head::None
        } else if wanted > ROOM_MIN && wanted > rest.len() {
            Head::Long { bytes: BytesMut::from(rest), wanted }
        } else {
            // A copy, so that a connection that falls silent does not pin its thread's buffer.
            Head::Short(Bytes::copy_from_slice(rest))
        };
    }

    /// The next event in what was read and is `held`; `None` when more must be read, with what the machine has left [unread](Self::unread). With nothing held, what
    /// was unread before stays.
    ///
    /// # Errors
    /// If the peer broke the protocol.
    pub fn next_event<P: Protocol>(
        &mut self,
        machine: &mut P,
        held: &mut Bytes,
        now: Time,
        out: &mut Output,
    ) -> Result<Option<P::Event>, P::Error> {
        if held.is_empty() {
            return Ok(None);
        }
        let (chunk, mut at) = (core::mem::take(held), 0);
        let event = machine.next(now, &chunk, &mut at, out)?;
        match event {
            Some(_) => *held = chunk.slice(at..),
            None => self.unread(&chunk[at..], machine.wanted_bytes(&chunk[at..])),
        }
        Ok(event)
    }

    /// The output to write into while polled: what the socket refused before, or an empty one of the thread's.
    /// Give it back with [`poll_flush`](Self::poll_flush).
    pub fn output(&mut self) -> Output {
        if !self.unsent.is_empty() {
            return core::mem::take(&mut self.unsent);
        }
        OUTPUTS.with_borrow_mut(Vec::pop).unwrap_or_default()
    }

    /// Writes `out`, in as few vectored writes as the socket takes. What it refuses stays here, and is in the next
    /// [`output`](Self::output). Tells how many bytes were written, and whether all were.
    ///
    /// # Errors
    /// If the stream fails.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>, mut out: Output) -> io::Result<Flushed> {
        let before = out.len();
        while out.has_remaining() {
            match poll_write_buf(Pin::new(&mut self.stream), cx, &mut out) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => {
                    let written = before - out.len();
                    self.unsent = out;
                    return Ok(Flushed { written, done: false });
                }
            }
        }
        give_back(out);
        if before > 0 || self.unflushed {
            self.unflushed = Pin::new(&mut self.stream).poll_flush(cx)?.is_pending();
        }
        Ok(Flushed { written: before, done: !self.unflushed })
    }

    /// How many bytes the socket has refused so far.
    pub fn unsent(&self) -> usize {
        self.unsent.len()
    }

    /// Flushes and closes the writing side.
    ///
    /// # Errors
    /// If the stream fails.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let out = core::mem::take(&mut self.unsent);
        if !out.is_empty() && !self.poll_flush(cx, out)?.done {
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    /// The stream.
    pub const fn stream(&self) -> &S {
        &self.stream
    }
}

/// What a flush has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flushed {
    /// How many bytes the socket took.
    pub written: usize,
    /// Whether nothing is left.
    pub done: bool,
}

fn give_back(out: Output) {
    OUTPUTS.with_borrow_mut(|outputs| {
        if outputs.len() < OUTPUTS_MAX && out.capacity() <= CHUNK {
            outputs.push(out);
        }
    });
}

/// A thread's read buffers: the current one first, then full ones that wait for their slices to be dropped.
#[derive(Default)]
struct ReadBuffers(VecDeque<BytesMut>);

impl ReadBuffers {
    /// A buffer with room for at least `room` bytes.
    fn with_room(&mut self, room: usize) -> &mut BytesMut {
        if self.0.front().is_none_or(|current| current.capacity() < room) {
            let size = CHUNK.max(room);
            let free = self.0.iter_mut().position(|buffer| buffer.try_reclaim(size));
            let next = free.and_then(|n| self.0.remove(n)).unwrap_or_else(|| BytesMut::with_capacity(size));
            self.0.push_front(next);
            // The oldest is the one whose slices somebody keeps: its memory is theirs now.
            self.0.truncate(1 + RETIRED_MAX);
        }
        self.0.front_mut().expect("a buffer was put there if there was none")
    }
}

#[cfg(test)]
mod tests {
    use std::vec;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;
    use core::future::poll_fn;

    #[tokio::test]
    async fn a_frame_longer_than_a_read_comes_whole() {
        let (near, mut far) = duplex(1 << 10);
        let mut socket = Socket::new(near);
        let frame: Vec<u8> = (0..200_000u32).map(|n| n as u8).collect();
        let sent = frame.clone();
        let writer = tokio::spawn(async move { far.write_all(&sent).await });
        let first = poll_fn(|cx| socket.poll_chunk(cx)).await.unwrap().unwrap();
        socket.unread(&first, frame.len());
        let whole = poll_fn(|cx| socket.poll_chunk(cx)).await.unwrap().unwrap();
        assert_eq!(whole, frame);
        writer.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_short_rest_stands_in_front_of_the_next_read() {
        let (near, mut far) = duplex(1 << 10);
        let mut socket = Socket::new(near);
        far.write_all(b"abc").await.unwrap();
        let chunk = poll_fn(|cx| socket.poll_chunk(cx)).await.unwrap().unwrap();
        socket.unread(&chunk.slice(1..), 0);
        let waiting = core::future::poll_fn(|cx| Poll::Ready(socket.poll_chunk(cx).is_pending())).await;
        assert!(waiting, "the rest alone is nothing new");
        far.write_all(b"def").await.unwrap();
        assert_eq!(poll_fn(|cx| socket.poll_chunk(cx)).await.unwrap().unwrap(), "bcdef");
        drop(far);
        assert_eq!(poll_fn(|cx| socket.poll_chunk(cx)).await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_the_socket_refuses_is_written_first_the_next_time() {
        let (near, mut far) = duplex(4);
        let mut socket = Socket::new(near);
        let mut out = socket.output();
        out.put_slice(b"123456");
        let flushed = poll_fn(|cx| Poll::Ready(socket.poll_flush(cx, core::mem::take(&mut out)))).await.unwrap();
        assert_eq!(flushed, Flushed { written: 4, done: false });
        let mut out = socket.output();
        out.put_slice(b"78");
        let mut read = vec![0; 4];
        far.read_exact(&mut read).await.unwrap();
        assert!(poll_fn(|cx| Poll::Ready(socket.poll_flush(cx, core::mem::take(&mut out)))).await.unwrap().done);
        let mut rest = vec![0; 4];
        far.read_exact(&mut rest).await.unwrap();
        assert_eq!((read.as_slice(), rest.as_slice()), (&b"1234"[..], &b"5678"[..]));
    }

    #[tokio::test]
    async fn what_the_stream_keeps_is_flushed_although_nothing_more_is_written() {
        let (near, mut far) = duplex(4);
        let mut socket = Socket::new(tokio::io::BufWriter::new(near));
        let mut out = socket.output();
        out.put_slice(b"123456");
        let flushed = poll_fn(|cx| Poll::Ready(socket.poll_flush(cx, core::mem::take(&mut out)))).await.unwrap();
        assert_eq!(flushed, Flushed { written: 6, done: false });
        let mut read = [0; 4];
        far.read_exact(&mut read).await.unwrap();
        let flushed = poll_fn(|cx| Poll::Ready(socket.poll_flush(cx, Output::new()))).await.unwrap();
        assert!(flushed.done);
        let mut rest = [0; 2];
        far.read_exact(&mut rest).await.unwrap();
        assert_eq!((read, rest), (*b"1234", *b"56"));
    }

    #[test]
    fn buffers_are_used_again_when_nothing_refers_to_them() {
        let mut buffers = ReadBuffers::default();
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..100 {
            let buffer = buffers.with_room(ROOM_MIN);
            buffer.put_bytes(1, CHUNK - ROOM_MIN + 1);
            let slice = buffer.split().freeze();
            seen.insert(slice.as_ptr() as usize);
        }
        assert!(seen.len() <= 1 + RETIRED_MAX, "{} buffers", seen.len());
    }
}
