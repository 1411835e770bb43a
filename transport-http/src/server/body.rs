//! Bodies: what comes in, as a payload without a copy, and what goes out.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use roadbed_core::{Payload, Time};
use tokio::time::{Instant, Sleep, sleep_until};

use super::poll::Taken;
use super::watch::Active;
use crate::config::HttpConfig;
use crate::machine::{Pace, TooSlow};

/// Frames shorter than this are put together: one reference each would cost more than the copy, and a body of many small
/// chunks would cost a multiple of its length.
const SEGMENT_MIN: usize = 4096;

/// Why a body was not read to its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BodyError {
    TooLarge,
    TooSlow,
    Broken,
}

/// Reads a body of at most `bytes_max` bytes. A body in one frame, as hyper makes of most, is taken as it is.
pub(super) async fn read<B>(body: B, bytes_max: usize, config: &HttpConfig) -> Result<Payload, BodyError>
where
    B: Body<Data = Bytes>,
{
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(BodyError::TooLarge);
    }
    let mut body = pin!(body);
    let (mut rope, mut pacer) = (Rope::default(), None);
    while !body.is_end_stream() {
        let frame = poll_fn(|cx| match body.as_mut().poll_frame(cx) {
            Poll::Ready(frame) => Poll::Ready(Ok(frame)),
            Poll::Pending => Pacer::get(&mut pacer, config).as_mut().poll_too_slow(cx).map(Err),
        });
        match frame.await {
            Err(TooSlow) => return Err(BodyError::TooSlow),
            Ok(None) => break,
            Ok(Some(Err(_))) => return Err(BodyError::Broken),
            Ok(Some(Ok(frame))) => {
                // Trailers say nothing about a message.
                let Ok(bytes) = frame.into_data() else { continue };
                if let Some(pacer) = &mut pacer {
                    pacer.as_mut().handle_bytes(bytes.len());
                }
                rope.push(bytes);
            }
        }
        if rope.len > bytes_max {
            return Err(BodyError::TooLarge);
        }
    }
    Ok(rope.finish())
}

#[derive(Default)]
struct Rope {
    segments: Vec<Bytes>,
    tail: BytesMut,
    len: usize,
}

impl Rope {
    fn push(&mut self, bytes: Bytes) {
        self.len += bytes.len();
        let first = self.segments.is_empty() && self.tail.is_empty();
        if bytes.len() < SEGMENT_MIN && !first {
            if let Some(small) = self.segments.pop_if(|last| self.tail.is_empty() && last.len() < SEGMENT_MIN) {
                self.tail.extend_from_slice(&small);
            }
            return self.tail.extend_from_slice(&bytes);
        }
        self.close_tail();
        self.segments.push(bytes);
    }

    fn finish(mut self) -> Payload {
        self.close_tail();
        Payload::from_segments(self.segments)
    }

    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            self.segments.push(self.tail.split().freeze());
        }
    }
}

/// The timer of a body that does not come at once.
struct Pacer {
    started: Instant,
    pace: Pace,
    timer: Pin<Box<Sleep>>,
}

impl Pacer {
    fn get<'a>(slot: &'a mut Option<Pin<Box<Self>>>, config: &HttpConfig) -> &'a mut Pin<Box<Self>> {
        slot.get_or_insert_with(|| {
            let (started, pace) = (Instant::now(), Pace::new(config, Time::ZERO));
            let timer = Box::pin(sleep_until(started + pace.poll_timeout().since(Time::ZERO)));
            Box::pin(Self { started, pace, timer })
        })
    }

    fn handle_bytes(mut self: Pin<&mut Self>, count: usize) {
        self.pace.handle_bytes(count);
    }

    fn poll_too_slow(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<TooSlow> {
        while self.timer.as_mut().poll(cx).is_ready() {
            let now = Time::ZERO + self.started.elapsed();
            if let Err(slow) = self.pace.handle_timeout(now) {
                return Poll::Ready(slow);
            }
            let next = self.started + self.pace.poll_timeout().since(Time::ZERO);
            self.timer.as_mut().reset(next);
        }
        Poll::Pending
    }
}

/// The body of a response: the message's own bytes.
///
/// Dropped before its first byte was asked for, it gives the messages in it back to their queue.
#[derive(Default)]
pub struct ResponseBody {
    segments: VecDeque<Bytes>,
    len: u64,
    taken: Option<Taken>,
    active: Option<Active>,
}

impl ResponseBody {
    /// The bytes of a payload, shared.
    pub(super) fn payload(payload: &Payload) -> Self {
        let segments = match payload.shared() {
            Some(segments) => segments.iter().cloned().collect(),
            None if payload.is_empty() => VecDeque::new(),
            None => VecDeque::from([payload.to_bytes()]),
        };
        Self { segments, len: payload.len() as u64, ..Self::default() }
    }

    /// With nothing to write there is no moment at which it is written, so the lock stands from here.
    pub(super) fn taken(mut self, taken: Taken) -> Self {
        match self.len {
            0 => taken.written(),
            _ => self.taken = Some(taken),
        }
        self
    }

    pub(super) fn active(mut self, active: Option<Active>) -> Self {
        self.active = active;
        self
    }
}

impl From<Bytes> for ResponseBody {
    fn from(bytes: Bytes) -> Self {
        Self { len: bytes.len() as u64, segments: VecDeque::from([bytes]), ..Self::default() }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(taken) = self.taken.take() {
            taken.written();
        }
        let segment = self.segments.pop_front();
        self.len -= segment.as_ref().map_or(0, |segment| segment.len() as u64);
        Poll::Ready(segment.map(|segment| Ok(Frame::data(segment))))
    }

    fn is_end_stream(&self) -> bool {
        self.len == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.len)
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").field("len", &self.len).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_frame_is_taken_as_it_is() {
        let frame = Bytes::from(vec![1; 200]);
        let mut rope = Rope::default();
        rope.push(frame.clone());
        assert_eq!(rope.finish().shared().unwrap()[0].as_ptr(), frame.as_ptr());
    }

    #[test]
    fn small_chunks_are_put_together_and_large_ones_are_not_copied() {
        let large = Bytes::from(vec![7; SEGMENT_MIN]);
        let mut rope = Rope::default();
        for _ in 0..1000 {
            rope.push(Bytes::from_static(b"x"));
        }
        rope.push(large.clone());
        rope.push(Bytes::from_static(b"y"));
        let payload = rope.finish();
        assert_eq!(payload.len(), 1000 + SEGMENT_MIN + 1);
        let segments = payload.shared().unwrap();
        assert_eq!(segments.len(), 3);
        assert_eq!(segments[1].as_ptr(), large.as_ptr());
    }
}
