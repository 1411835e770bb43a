use std::time::Duration;

use arbitrary::{Result, Unstructured};
use roadbed_core::{Outcome, Time};

/// The most messages in the queue.
pub(super) const MESSAGES_MAX: usize = 8;
/// Failed deliveries after which a message is a dead letter.
pub(super) const DELIVERIES_MAX: u32 = 3;

/// A message as it is sent; its number is its payload and its place.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) number: u32,
    pub(super) asks: bool,
    pub(super) priority: u8,
    pub(super) expires_at: Option<Time>,
    pub(super) deliver_after: Option<Time>,
}

impl Sent {
    pub(super) fn read(u: &mut Unstructured<'_>, number: u32, now: Time) -> Result<Self> {
        let bits = u.arbitrary::<u8>()?;
        let mut later = |bit: u8| match bits & bit {
            0 => Ok(None),
            _ => u.arbitrary::<u8>().map(|seconds| Some(now + Duration::from_secs(seconds.into()))),
        };
        let (expires_at, deliver_after) = (later(16)?, later(32)?);
        Ok(Self { number, asks: bits & 64 == 0, priority: bits % 10, expires_at, deliver_after })
    }
}

/// Where a copy is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Place {
    Scheduled,
    Available,
    Held { by: usize, until: Option<Time>, decided: Option<Outcome> },
    Dead,
    Gone,
}

#[derive(Clone, Debug)]
pub(super) struct Copy {
    pub(super) sent: Sent,
    pub(super) place: Place,
    pub(super) attempts: u32,
    pub(super) failures: u32,
}

/// All copies that ever were, in the order in which they were sent.
#[derive(Debug)]
pub(super) struct Model {
    priorities: bool,
    now: Time,
    pub(super) copies: Vec<Copy>,
}

impl Model {
    pub(super) fn new(priorities: bool, now: Time) -> Self {
        Self { priorities, now, copies: Vec::new() }
    }

    pub(super) fn next_number(&self) -> u32 {
        self.copies.len() as u32
    }

    pub(super) fn count(&self, is: impl Fn(&Place) -> bool) -> usize {
        self.copies.iter().filter(|copy| is(&copy.place)).count()
    }

    /// Whether the message is taken.
    pub(super) fn send(&mut self, sent: Sent) -> bool {
        let full = self.count(|place| !matches!(place, Place::Dead | Place::Gone)) >= MESSAGES_MAX;
        let expired = sent.expires_at.is_some_and(|at| at <= self.now);
        let waits = sent.deliver_after.is_some_and(|at| at > self.now);
        let place = match (full || expired, waits) {
            (true, _) => Place::Gone,
            (false, true) => Place::Scheduled,
            (false, false) => Place::Available,
        };
        self.copies.push(Copy { sent, place, attempts: 0, failures: 0 });
        !full && !expired
    }

    /// The next copy, handed over to `by`.
    pub(super) fn acquire(&mut self, by: usize, lease: Option<Duration>) -> Option<&Copy> {
        let priorities = self.priorities;
        let available = self.copies.iter_mut().filter(|copy| copy.place == Place::Available);
        // Of equals, the first is the one that was sent first.
        let next = available.min_by_key(|copy| if priorities { 9 - copy.sent.priority } else { 0 })?;
        next.attempts += 1;
        next.place = match next.sent.asks {
            true => Place::Held { by, until: lease.map(|lease| self.now + lease), decided: None },
            false => Place::Gone,
        };
        Some(next)
    }

    /// A held copy, if it is still this attempt.
    pub(super) fn held(&mut self, number: u32, attempt: u32) -> Option<&mut Copy> {
        let copy = &mut self.copies[number as usize];
        (copy.attempts == attempt && matches!(copy.place, Place::Held { .. })).then_some(copy)
    }

    pub(super) fn end(&mut self, number: u32, outcome: &Outcome) {
        let now = self.now;
        let copy = &mut self.copies[number as usize];
        copy.failures += u32::from(matches!(outcome, Outcome::Modified { delivery_failed: true, .. }));
        let expired = copy.sent.expires_at.is_some_and(|at| at <= now);
        copy.place = match outcome {
            Outcome::Accepted => Place::Gone,
            Outcome::Rejected(_) => Place::Dead,
            _ if expired || copy.failures >= DELIVERIES_MAX => Place::Dead,
            _ => Place::Available,
        };
    }

    /// The time has come to `now`: leases end, then messages expire, then those that waited are available.
    pub(super) fn pass(&mut self, now: Time) {
        self.now = now;
        for number in 0..self.next_number() {
            let copy = &self.copies[number as usize];
            let expired = copy.sent.expires_at.is_some_and(|at| at <= now);
            let place = match copy.place.clone() {
                Place::Held { until: Some(until), decided, .. } if until <= now => {
                    self.end(number, &decided.unwrap_or(Outcome::FAILED));
                    continue;
                }
                Place::Available | Place::Scheduled if expired => Place::Dead,
                Place::Scheduled if copy.sent.deliver_after.is_some_and(|at| at <= now) => Place::Available,
                place => place,
            };
            self.copies[number as usize].place = place;
        }
    }

    pub(super) fn purge(&mut self) -> u64 {
        let mut purged = 0;
        for copy in &mut self.copies {
            if matches!(copy.place, Place::Available | Place::Scheduled) {
                copy.place = Place::Gone;
                purged += 1;
            }
        }
        purged
    }
}
