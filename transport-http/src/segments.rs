//! Payloads on their way into and out of hyper: shared, not copied.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use roadbed_core::Payload;

/// Frames shorter than this are put together: one reference each would cost more than the copy, and a body of many small
/// chunks would cost a multiple of its length.
const SEGMENT_MIN: usize = 4096;

/// A body that is known already.
#[derive(Debug, Default)]
pub(crate) struct Segments {
    segments: VecDeque<Bytes>,
    len: u64,
}

impl From<&Payload> for Segments {
    fn from(payload: &Payload) -> Self {
        let segments = match payload.shared() {
            Some(segments) => segments.iter().cloned().collect(),
            None if payload.is_empty() => VecDeque::new(),
            None => VecDeque::from([payload.to_bytes()]),
        };
        Self { segments, len: payload.len() as u64 }
    }
}

impl From<Bytes> for Segments {
    fn from(bytes: Bytes) -> Self {
        Self { len: bytes.len() as u64, segments: VecDeque::from([bytes]) }
    }
}

impl Body for Segments {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
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

/// The frames of a body that comes in. A body in one frame, as hyper makes of most, is taken as it is.
#[derive(Debug, Default)]
pub(crate) struct Rope {
    segments: Vec<Bytes>,
    tail: BytesMut,
    len: usize,
}

impl Rope {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn push(&mut self, bytes: Bytes) {
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

    pub(crate) fn finish(mut self) -> Payload {
        self.close_tail();
        Payload::from_segments(self.segments)
    }

    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            self.segments.push(self.tail.split().freeze());
        }
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
