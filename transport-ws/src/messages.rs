//! Messages, with their borders.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::codec::{CloseFrame, Opcode, Violation};
use crate::machine::{Item, Reader, Role};
use crate::speaker::Speaker;

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Text.
    Text(ByteString),
    /// Bytes.
    Binary(Bytes),
}

/// A connection of messages: for protocols whose every message is one.
///
/// Pings are answered while it is read. A peer that breaks the standard, or sends more than is taken, is told so (1002, 1007, 1009).
#[derive(Debug)]
pub struct Messages<S> {
    io: S,
    reader: Reader,
    speaker: Speaker,
    message_bytes_max: usize,
    /// What was read, from `at` on not yet taken apart.
    chunk: Box<[u8]>,
    at: usize,
    end: usize,
    /// The message that comes.
    message: BytesMut,
    /// How much of it is known to be UTF-8.
    checked: usize,
    ended: Option<Result<(), Violation>>,
    /// How the peer has ended it.
    said: Option<CloseFrame>,
}

/// How much is read at once, in bytes.
const CHUNK: usize = 4 << 10;

impl<S: AsyncRead + AsyncWrite + Unpin> Messages<S> {
    /// The connection over `io`, on which the handshake is done. Longer messages are refused; memory grows with what comes.
    pub fn new(io: S, role: Role, message_bytes_max: usize) -> Self {
        Self {
            io,
            reader: Reader::new(role.peer()),
            speaker: Speaker::new(role),
            message_bytes_max,
            chunk: vec![0; CHUNK].into_boxed_slice(),
            at: 0,
            end: 0,
            message: BytesMut::new(),
            checked: 0,
            ended: None,
            said: None,
        }
    }

    /// The next message; `None` when the peer has said that nothing more comes, or is gone.
    ///
    /// *Cancel safety*: nothing is lost.
    ///
    /// # Errors
    /// If the stream fails; [`io::ErrorKind::InvalidData`] with a [`Violation`] if the peer breaks the standard.
    pub async fn receive(&mut self) -> io::Result<Option<Message>> {
        poll_fn(|cx| self.poll_receive(cx)).await
    }

    /// As [`receive`](Self::receive).
    ///
    /// # Errors
    /// See there.
    pub fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Message>>> {
        loop {
            if let Some(message) = self.take() {
                return Poll::Ready(Ok(Some(message)));
            }
            // What the stream does not take is no reason not to read.
            let flushed = self.poll_flush(cx);
            if let Some(ended) = self.ended {
                if flushed.is_pending() {
                    return Poll::Pending;
                }
                return Poll::Ready(ended.map(|()| None).map_err(Into::into));
            }
            let mut buf = ReadBuf::new(&mut self.chunk);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut buf))?;
            (self.at, self.end) = (0, buf.filled().len());
            if self.end == 0 {
                self.ended = Some(Ok(()));
            }
        }
    }

    /// How the peer has ended it, if it did.
    pub const fn closed_with(&self) -> Option<&CloseFrame> {
        self.said.as_ref()
    }

    /// How many bytes wait to be sent.
    pub fn unsent(&self) -> usize {
        self.speaker.waiting()
    }

    /// Adds a message to what is sent by the next flush, or while the connection is read.
    ///
    /// # Errors
    /// [`io::ErrorKind::BrokenPipe`] after the end; without randomness to mask it with.
    pub fn send(&mut self, message: &Message) -> io::Result<()> {
        if self.speaker.is_closed() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let (opcode, payload) = match message {
            Message::Text(text) => (Opcode::Text, text.as_bytes().as_ref()),
            Message::Binary(bytes) => (Opcode::Binary, &bytes[..]),
        };
        self.speaker.say(opcode, std::iter::once(payload), payload.len())
    }

    /// Writes all that was sent.
    ///
    /// # Errors
    /// If the stream fails.
    pub async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// As [`flush`](Self::flush).
    ///
    /// # Errors
    /// See there.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.speaker.poll_drain(&mut self.io, cx))?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// Says that nothing more comes, and waits until the peer has said so, too. What comes meanwhile is dropped.
    ///
    /// # Errors
    /// If the stream fails.
    pub async fn close(&mut self, frame: &CloseFrame) -> io::Result<()> {
        self.speaker.close(frame);
        self.flush().await?;
        while let Ok(Some(_)) = self.receive().await {}
        poll_fn(|cx| Pin::new(&mut self.io).poll_shutdown(cx)).await
    }

    /// Takes apart what was read, until a message is whole.
    fn take(&mut self) -> Option<Message> {
        while self.at < self.end && self.ended.is_none() {
            let bytes = &mut self.chunk[self.at..self.end];
            let step = self.reader.step(bytes).and_then(|(taken, item)| {
                if let Item::Data { at, .. } = &item {
                    if self.message.len() + at.len() > self.message_bytes_max {
                        return Err(Violation::TooLong(self.message_bytes_max));
                    }
                    self.message.extend_from_slice(&bytes[at.clone()]);
                }
                self.at += taken;
                Ok(item)
            });
            match step.and_then(|item| self.act(item)) {
                Ok(None) => {}
                Ok(message) => return message,
                Err(violation) => {
                    self.speaker.refuse(violation);
                    self.ended = Some(Err(violation));
                }
            }
        }
        None
    }

    fn act(&mut self, item: Item) -> Result<Option<Message>, Violation> {
        match item {
            Item::Data { text, last, .. } => return self.grown(text, last),
            Item::Ping(ping) => self.speaker.answer(&ping),
            Item::Close(said) => {
                self.speaker.close_too(said.as_ref());
                (self.ended, self.said) = (Some(Ok(())), said);
            }
            Item::Nothing | Item::Pong(_) => {}
        }
        Ok(None)
    }

    fn grown(&mut self, text: bool, last: bool) -> Result<Option<Message>, Violation> {
        if text {
            self.check(last)?;
        }
        if !last {
            return Ok(None);
        }
        self.checked = 0;
        let whole = self.message.split().freeze();
        Ok(Some(match text {
            true => Message::Text(ByteString::try_from(whole).map_err(|_| Violation::Utf8)?),
            false => Message::Binary(whole),
        }))
    }

    /// Text is refused as soon as it cannot be UTF-8 any more (section 8.1).
    fn check(&mut self, last: bool) -> Result<(), Violation> {
        match core::str::from_utf8(&self.message[self.checked..]) {
            Ok(text) => self.checked += text.len(),
            Err(error) if error.error_len().is_none() && !last => self.checked += error.valid_up_to(),
            Err(_) => return Err(Violation::Utf8),
        }
        Ok(())
    }
}
