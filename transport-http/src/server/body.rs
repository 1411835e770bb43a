//! Bodies: what comes in, as a payload without a copy, and what goes out.

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use roadbed_core::{Payload, Time};
use tokio::time::{Instant, Sleep, sleep_until};

use super::Shared;
use super::poll::Taken;
use super::reply::Failure;
use super::watch::Active;
use crate::config::HttpConfig;
use crate::machine::{Pace, TooSlow};
use crate::segments::{Rope, Segments};

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
        if rope.len() > bytes_max {
            return Err(BodyError::TooLarge);
        }
    }
    Ok(rope.finish())
}

impl Shared {
    /// What is answered to a body that was not read to its end.
    pub(super) fn body_failed(&self, error: &BodyError, bytes_max: usize) -> Failure {
        match error {
            BodyError::TooLarge => self.meters.bodies_too_large.one(),
            BodyError::TooSlow => self.meters.bodies_too_slow.one(),
            BodyError::Broken => {}
        }
        Failure::of_body(error, bytes_max)
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
    segments: Segments,
    taken: Option<Taken>,
    active: Option<Active>,
}

impl ResponseBody {
    /// The bytes of a payload, shared.
    pub(super) fn payload(payload: &Payload) -> Self {
        Self { segments: payload.into(), ..Self::default() }
    }

    /// With nothing to write there is no moment at which it is written, so the lock stands from here.
    pub(super) fn taken(mut self, taken: Taken) -> Self {
        match self.segments.is_end_stream() {
            true => taken.written(),
            false => self.taken = Some(taken),
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
        Self { segments: bytes.into(), ..Self::default() }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(taken) = self.taken.take() {
            taken.written();
        }
        Pin::new(&mut self.segments).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.segments.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.segments.size_hint()
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").field("segments", &self.segments).finish_non_exhaustive()
    }
}
