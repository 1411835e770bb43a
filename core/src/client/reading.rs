use alloc::boxed::Box;
use alloc::vec::Vec;
use core::task::{Context, Poll, ready};

use bytes::Bytes;

use super::Carrier;
use crate::{Error, ErrorKind, Output, Protocol, Result, Socket, Time};

/// Reads a chunk, the one that is `held` first if there is one, and appends what it says to `events`. `Pending`: nothing has come. Cancel-safe.
///
/// # Errors
/// If the server has closed the connection, the connection is lost, or the server broke the protocol. What came before is in `events`.
pub fn poll_events<P: Protocol>(
    cx: &mut Context<'_>,
    socket: &mut Socket<Box<dyn Carrier>>,
    machine: &mut P,
    held: &mut Bytes,
    now: Time,
    out: &mut Output,
    events: &mut Vec<P::Event>,
) -> Poll<Result<()>> {
    let chunk = match ready!(socket.poll_held(cx, held)) {
        Ok(Some(chunk)) => chunk,
        Ok(None) => {
            let error = Error::new(ErrorKind::Disconnected, "receive");
            return Poll::Ready(Err(error.detail("the server has closed the connection")));
        }
        Err(error) => return Poll::Ready(Err(Error::new(ErrorKind::Disconnected, "receive").because(error))),
    };
    let mut at = 0;
    while let Some(event) = machine.next(now, &chunk, &mut at, out).map_err(Into::into)? {
        events.push(event);
    }
    let rest = &chunk[at..];
    socket.unread(rest, machine.wanted_bytes(rest));
    Poll::Ready(Ok(()))
}
