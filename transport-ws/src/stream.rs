//! A stream of bytes.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::codec::{CloseCode, CloseFrame, HEADER_BYTES_MAX, Header, Opcode, Violation};
use crate::machine::{Item, Reader, Role};
use crate::speaker::Speaker;

/// A road for a protocol: what is written comes out at the other end, in binary frames. Borders of frames and messages mean nothing, as MQTT ([MQTT-6.0.0-4])
/// and AMQP (WebSocket binding, section 2.4) have it. Nothing is copied but what a client masks, and nothing is allocated by a length that a peer announces.
///
/// Pings are answered while it is read. Text is refused (1003). Shut down, it closes with 1000; a peer that breaks the standard is told so before it is cut.
///
/// *Cancel safety*: that of the stream below.
#[derive(Debug)]
pub struct WsStream<S> {
    io: S,
    reader: Reader,
    speaker: Speaker,
    frame: Frame,
    /// Why nothing more is read.
    ended: Option<Result<(), Violation>>,
}

/// The frame that a server writes: from where its payload lies.
#[derive(Debug, Default)]
struct Frame {
    head: [u8; HEADER_BYTES_MAX],
    head_from: usize,
    head_to: usize,
    /// How much of its payload has not gone.
    left: u64,
}

/// How much a client masks at once, in bytes.
const MASKED_MAX: usize = 64 << 10;
/// How many pieces are written at once.
const PIECES_MAX: usize = 64;

impl<S> WsStream<S> {
    /// The road over `io`, on which the handshake is done.
    pub fn new(io: S, role: Role) -> Self {
        let (speaker, frame) = (Speaker::new(role), Frame::default());
        Self { io, reader: Reader::new(role.peer()), speaker, frame, ended: None }
    }

    /// The stream below.
    pub const fn get_ref(&self) -> &S {
        &self.io
    }

    /// Takes frames apart; the payload of data is moved to the beginning. How long it is.
    fn take(&mut self, bytes: &mut [u8]) -> usize {
        let (mut from, mut kept) = (0, 0);
        while from < bytes.len() && self.ended.is_none() {
            match self.reader.step(&mut bytes[from..]) {
                Ok((taken, item)) => {
                    if let Item::Data { at, text: false, .. } = &item {
                        bytes.copy_within(from + at.start..from + at.end, kept);
                        kept += at.len();
                    }
                    from += taken;
                    self.act(&item);
                }
                Err(violation) => self.fail(violation),
            }
        }
        kept
    }

    fn act(&mut self, item: &Item) {
        match item {
            Item::Data { text: true, .. } => self.fail(Violation::Text),
            Item::Ping(ping) => self.speaker.answer(ping),
            Item::Close(said) => {
                self.speaker.close_too(said.as_ref());
                self.ended = Some(Ok(()));
            }
            Item::Data { .. } | Item::Nothing | Item::Pong(_) => {}
        }
    }

    fn fail(&mut self, violation: Violation) {
        self.speaker.refuse(violation);
        self.ended = Some(Err(violation));
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> WsStream<S> {
    /// Writes what was said, if this is between frames.
    fn poll_said(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.frame.is_under_way() {
            true => Poll::Ready(Ok(())),
            false => self.speaker.poll_drain(&mut self.io, cx),
        }
    }

    /// A client's write: masked into memory of its own, and sent with the next flush or write if not now.
    fn poll_write_masked(&mut self, cx: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        ready!(self.poll_said(cx))?;
        let bytes = length(pieces).min(MASKED_MAX);
        let mut left = bytes;
        let taken = pieces.iter().map(|piece| {
            let piece = &piece[..piece.len().min(left)];
            left -= piece.len();
            piece
        });
        self.speaker.say(Opcode::Binary, taken, bytes)?;
        match self.poll_said(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(bytes)),
        }
    }

    /// A server's write: head and payload in one.
    fn poll_write_plain(&mut self, cx: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        ready!(self.poll_said(cx))?;
        if !self.frame.is_under_way() {
            self.frame = Frame::of(length(pieces));
        }
        loop {
            let written = ready!(self.frame.poll_write(&mut self.io, cx, pieces))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let payload = self.frame.written(written);
            if payload > 0 {
                return Poll::Ready(Ok(payload));
            }
        }
    }
}

impl Frame {
    fn of(bytes: usize) -> Self {
        let mut frame = Self { left: bytes as u64, ..Self::default() };
        let header = Header { fin: true, opcode: Opcode::Binary, mask: None, len: bytes as u64 };
        frame.head_to = header.encode(&mut frame.head);
        frame
    }

    const fn is_under_way(&self) -> bool {
        self.left > 0
    }

    /// Writes what is left of the head, and as much of `pieces` as belongs to the frame.
    fn poll_write<S: AsyncWrite + Unpin>(
        &self,
        io: &mut S,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut all = [IoSlice::new(&[]); PIECES_MAX];
        let head = &self.head[self.head_from..self.head_to];
        all[0] = IoSlice::new(head);
        let (mut count, mut left) = (1, usize::try_from(self.left).unwrap_or(usize::MAX));
        for piece in pieces.iter().filter(|piece| !piece.is_empty()).take(PIECES_MAX - 1) {
            let piece = &piece[..piece.len().min(left)];
            all[count] = IoSlice::new(piece);
            (count, left) = (count + 1, left - piece.len());
        }
        Pin::new(io).poll_write_vectored(cx, &all[usize::from(head.is_empty())..count])
    }

    /// So many bytes were written; how many of them are payload.
    fn written(&mut self, bytes: usize) -> usize {
        let head = bytes.min(self.head_to - self.head_from);
        self.head_from += head;
        self.left -= (bytes - head) as u64;
        bytes - head
    }
}

fn length(pieces: &[IoSlice<'_>]) -> usize {
    pieces.iter().map(|piece| piece.len()).sum()
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WsStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while buf.remaining() > 0 {
            // Reading goes on while the peer does not take its answers: they are bounded.
            let _ = this.poll_said(cx);
            if let Some(ended) = this.ended {
                return Poll::Ready(ended.map_err(Into::into));
            }
            let before = buf.filled().len();
            ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
            if buf.filled().len() == before {
                this.ended = Some(Ok(()));
            }
            let kept = this.take(&mut buf.filled_mut()[before..]);
            buf.set_filled(before + kept);
            if kept > 0 {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WsStream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.speaker.is_closed() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        match pieces.iter().all(|piece| piece.is_empty()) {
            true => Poll::Ready(Ok(0)),
            false if self.speaker.masks() => self.poll_write_masked(cx, pieces),
            false => self.poll_write_plain(cx, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_said(cx))?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Within a frame nothing can be said any more.
        self.speaker.close(&CloseFrame { code: CloseCode::NORMAL, reason: Default::default() });
        ready!(self.poll_said(cx))?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
