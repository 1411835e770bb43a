use core::time::Duration;

use bytes::BytesMut;
use roadbed_core::Time;

use crate::error::Error;

/// The deadlines of a connection: opening, the peer's silence, our own.
#[derive(Debug)]
pub(super) struct Clock {
    heard: Time,
    sent: bool,
    /// By when the connection must be open, or closed.
    until: Option<Time>,
    listen: Option<(Duration, Time)>,
    beat: Option<(Duration, Time)>,
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    Beat,
}

impl Clock {
    pub(super) fn new(now: Time, open_timeout: Duration) -> Self {
        Self { heard: now, sent: false, until: Some(now + open_timeout), listen: None, beat: None }
    }

    /// The connection is open: the peer may be silent for `ours`, and wants to hear something every `theirs`.
    pub(super) fn open(&mut self, ours: Duration, theirs: Option<Duration>) {
        self.until = None;
        self.listen = (!ours.is_zero()).then(|| (ours, self.heard + ours));
        // A frame just after a look is seen by the next one, so that the longest silence is two thirds.
        self.beat = theirs.map(|theirs| theirs / 3).map(|every| (every, self.heard + every));
    }

    pub(super) fn hear(&mut self, now: Time) {
        self.heard = now;
    }

    pub(super) fn send(&mut self) {
        self.sent = true;
    }

    /// Waits for the peer's close, from when it was last heard.
    pub(super) fn close(&mut self, timeout: Duration) {
        self.until = Some(self.heard + timeout);
        (self.listen, self.beat) = (None, None);
    }

    pub(super) fn stop(&mut self) {
        (self.until, self.listen, self.beat) = (None, None, None);
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        [self.until, self.listen.map(|(_, at)| at), self.beat.map(|(_, at)| at)].into_iter().flatten().min()
    }

    pub(super) fn expire(&mut self, now: Time) -> Result<Due, Error> {
        if self.until.is_some_and(|until| until.has_passed(now)) {
            return Err(Error::OpenTimeout);
        }
        if let Some((wait, at)) = &mut self.listen {
            if (self.heard + *wait).has_passed(now) {
                return Err(Error::IdleTimeout);
            }
            if at.has_passed(now) {
                *at = self.heard + *wait;
            }
        }
        match &mut self.beat {
            Some((every, at)) if at.has_passed(now) => {
                *at = now + *every;
                let silent = !core::mem::replace(&mut self.sent, false);
                Ok(if silent { Due::Beat } else { Due::Nothing })
            }
            _ => Ok(Due::Nothing),
        }
    }
}

/// A frame that says nothing but that we are here.
pub(super) fn beat(out: &mut BytesMut) {
    crate::codec::put_empty_frame(out);
}
