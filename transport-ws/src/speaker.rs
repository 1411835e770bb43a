//! What this end says of its own: answers, the close frame, and all that must be copied to be masked.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, BytesMut};
use tokio::io::AsyncWrite;

use crate::codec::{CloseCode, CloseFrame, HEADER_BYTES_MAX, Header, Keys, Opcode, Violation, mask};
use crate::machine::{Control, Role};

/// Frames that wait to be written.
#[derive(Debug)]
pub(crate) struct Speaker {
    /// A client's.
    keys: Option<Box<Keys>>,
    out: BytesMut,
    closed: bool,
}

/// How many bytes wait when pings are answered no more: a peer that sends them does not read.
const ANSWERED_MAX: usize = 4 << 10;
/// A buffer that has grown beyond this is given back.
const KEEP: usize = 16 << 10;

impl Speaker {
    pub(crate) fn new(role: Role) -> Self {
        let keys = (role == Role::Client).then(Box::default);
        Self { keys, out: BytesMut::new(), closed: false }
    }

    /// Whether what is sent is masked, and so copied.
    pub(crate) const fn masks(&self) -> bool {
        self.keys.is_some()
    }

    /// Whether it has said that nothing more comes.
    pub(crate) const fn is_closed(&self) -> bool {
        self.closed
    }

    /// How many bytes wait.
    pub(crate) fn waiting(&self) -> usize {
        self.out.len()
    }

    /// Says a whole frame of `len` bytes.
    ///
    /// # Errors
    /// If the system has no randomness to mask it with.
    pub(crate) fn say<'a>(
        &mut self,
        opcode: Opcode,
        payload: impl Iterator<Item = &'a [u8]>,
        len: usize,
    ) -> io::Result<()> {
        let key = self.keys.as_mut().map(|keys| keys.key()).transpose()?;
        let mut head = [0; HEADER_BYTES_MAX];
        let head_len = Header { fin: true, opcode, mask: key, len: len as u64 }.encode(&mut head);
        self.out.reserve(head_len + len);
        self.out.put_slice(&head[..head_len]);
        let start = self.out.len();
        payload.for_each(|piece| self.out.put_slice(piece));
        debug_assert_eq!(self.out.len() - start, len, "as long as was said");
        if let Some(key) = key {
            mask(&mut self.out[start..], key, 0);
        }
        Ok(())
    }

    pub(crate) fn answer(&mut self, ping: &Control) {
        if self.out.len() < ANSWERED_MAX && !self.closed {
            self.control(Opcode::Pong, ping.payload());
        }
    }

    /// Says that nothing more comes, once.
    pub(crate) fn close(&mut self, frame: &CloseFrame) {
        if !std::mem::replace(&mut self.closed, true) {
            self.control(Opcode::Close, &frame.encode());
        }
    }

    /// Answers the peer's close.
    pub(crate) fn close_too(&mut self, said: Option<&CloseFrame>) {
        let code = said.map_or(CloseCode::NORMAL, |said| said.code);
        self.close(&CloseFrame { code, reason: Default::default() });
    }

    /// Says what the peer has done wrong.
    pub(crate) fn refuse(&mut self, violation: Violation) {
        self.close(&CloseFrame { code: violation.close_code(), reason: violation.to_string().into() });
    }

    fn control(&mut self, opcode: Opcode, payload: &[u8]) {
        // Without randomness a client's answer is not sent; its next data fails with the error.
        let _ = self.say(opcode, std::iter::once(payload), payload.len());
    }

    /// Writes all that waits.
    pub(crate) fn poll_drain<S: AsyncWrite + Unpin>(
        &mut self,
        io: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.out.has_remaining() {
            let written = ready!(Pin::new(&mut *io).poll_write(cx, &self.out))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.out.advance(written);
        }
        if self.out.capacity() > KEEP {
            self.out = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}
