//! What every sans-IO machine looks like.

use bytes::Bytes;

use crate::{Output, Time};

/// A protocol's machine: bytes, commands and the time in; events, bytes and one deadline out.
///
/// It is pulled, one event at a time, so that a driver can stop in the middle of a chunk when credit ends and keep the
/// rest. Commands are plain methods of the machine that take the same [`Output`].
pub trait Protocol: Send {
    /// What the peer did.
    type Event;
    /// What the peer did wrong.
    type Error: core::error::Error + Into<crate::Error>;

    /// Reads on in `chunk` from `*at`, which it moves past what it has consumed. `None`: it needs more bytes than there are;
    /// what is left from `*at` must come again at the start of the next chunk.
    ///
    /// # Errors
    /// If the peer broke the protocol. What the standard wants said before closing is in `out`.
    fn next(
        &mut self,
        now: Time,
        chunk: &Bytes,
        at: &mut usize,
        out: &mut Output,
    ) -> Result<Option<Self::Event>, Self::Error>;

    /// The length of the frame that `rest`, what [`next`](Self::next) has left, begins with: what the caller has to gather. 0: not known yet, or wrong,
    /// which `next` says.
    fn wanted_bytes(&self, rest: &[u8]) -> usize;

    /// Does what is due at `now`: pings, time-outs.
    ///
    /// # Errors
    /// If the peer has been silent for too long.
    fn handle_timeout(&mut self, now: Time, out: &mut Output) -> Result<(), Self::Error>;

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called next.
    fn poll_timeout(&self) -> Option<Time>;
}
