//! What the clients know of one copy, and what they may not see of it.

use super::ledger::Claim;
use roadbed_core::{Delivery, Outcome, Qos, Settled, Time};

/// Which deliveries of a place are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// All: the count is exact.
    All,
    /// Some fail before anybody sees them: the count may be higher.
    Some,
    /// Counts are not told, or have no meaning.
    Uncounted,
}

/// A copy, as seen by those who receive it.
#[derive(Clone, Debug, Default)]
pub(super) struct Copy {
    holder: Option<String>,
    lease_until: Option<Time>,
    /// The broker has died since: then the lease has begun anew, and ends later than was told.
    lease_longer: bool,
    /// Whose lease has ended by what was told, and perhaps goes on.
    leaseholder: Option<String>,
    /// It was delivered exactly once, to a session that is kept.
    pub(super) once: bool,
    /// A settlement was asked and its answer is not known.
    asked: Option<Outcome>,
    /// The first half of exactly once was answered.
    decided: bool,
    pub(super) ended: Option<Outcome>,
    /// It may have ended: an answer was lost.
    pub(super) may_have_ended: bool,
    /// It may have been returned: an answer was lost.
    count_min: u32,
    count_max: u32,
    /// The count that was answered: what a crash cannot take back.
    count_kept: u32,
    attempt: u32,
    pub(super) deliveries: u32,
    /// Attempts that were settled while they were the last one, and are not answered yet.
    unanswered: Vec<(String, u32)>,
    /// There may be several of it, which nothing tells apart.
    repeats: bool,
}

impl Copy {
    /// A copy that nobody has seen, although the broker died so often since it was sent.
    pub(super) fn unseen(crashes: u32) -> Self {
        Self { count_max: crashes, ..Self::default() }
    }

    /// It was delivered, and may be delivered again: from now on nothing is known of it but that it arrived.
    pub(super) fn repeats(&mut self) {
        self.repeats = true;
        self.may_have_ended = true;
        self.deliveries += 1;
    }

    /// A delivery of this copy to `owner`.
    pub(super) fn delivered(&mut self, owner: &str, delivery: &Delivery, now: Time, seen: Seen) -> Result<(), String> {
        self.pass(now);
        self.may_be_delivered(owner, delivery, seen)?;
        self.deliveries += 1;
        self.attempt = delivery.attempt;
        self.may_have_ended = false;
        self.asked = None;
        if let Some(count) = delivery.info.as_ref().map(|info| info.count).filter(|_| seen != Seen::Uncounted) {
            (self.count_min, self.count_max) = (count, count);
        }
        self.lease_until = delivery.info.as_ref().and_then(|info| info.lease_until);
        (self.lease_longer, self.leaseholder) = (false, None);
        self.once = delivery.qos == Qos::ExactlyOnce && delivery.handle.is_some();
        if delivery.handle.is_some() {
            self.holder = Some(owner.into());
        } else {
            self.ended = Some(Outcome::Accepted);
        }
        Ok(())
    }

    fn may_be_delivered(&self, owner: &str, delivery: &Delivery, seen: Seen) -> Result<(), String> {
        if let Some(outcome) = &self.ended {
            return Err(format!("I3: it ended, {outcome}, and is delivered again"));
        }
        if let Some(holder) = self.holder.as_ref().filter(|holder| *holder != owner && self.asked.is_none()) {
            return Err(format!("I2: {holder} has it"));
        }
        if delivery.qos == Qos::AtMostOnce && self.deliveries > 0 {
            return Err("I5: at most once, and sent twice".into());
        }
        if self.decided {
            return Err("I5: exactly once, decided, and seen again".into());
        }
        if seen == Seen::Uncounted {
            return Ok(());
        }
        if self.deliveries > 0 && delivery.attempt <= self.attempt && self.holder.as_deref() != Some(owner) {
            return Err(format!("I2: attempt {} after attempt {}", delivery.attempt, self.attempt));
        }
        let count = delivery.info.as_ref().map_or(self.count_min, |info| info.count);
        let max = if seen == Seen::Some { u32::MAX } else { self.count_max };
        if !(self.count_min..=max).contains(&count) {
            return Err(format!("I4: count {count}, not {} to {max}", self.count_min));
        }
        Ok(())
    }

    /// `owner` names an outcome.
    pub(super) fn settling(&mut self, claim: &Claim<'_>, outcome: &Outcome) {
        // After the broker has died, another owner may have an attempt of the same number.
        let another = self.holder.as_deref().is_some_and(|holder| holder != claim.owner);
        if self.repeats || claim.attempt != self.attempt || another {
            return;
        }
        self.unanswered.push((claim.owner.into(), claim.attempt));
        self.asked = Some(outcome.clone());
        self.may_have_ended |= outcome.is_final();
        self.count_max += u32::from(outcome.counts());
    }

    /// The answer to the outcome that was named by `owner`; `None` if the answer was lost with the link.
    pub(super) fn settled(
        &mut self,
        claim: &Claim<'_>,
        settled: bool,
        answer: Option<Settled>,
        now: Time,
    ) -> Result<(), String> {
        if self.repeats {
            return Ok(());
        }
        let before = self.unanswered.len();
        self.unanswered.retain(|(owner, attempt)| owner != claim.owner || *attempt != claim.attempt);
        let in_time = self.unanswered.len() < before;
        if claim.attempt != self.attempt {
            let applied = answer == Some(Settled::Applied) && !in_time;
            return if applied { Err(format!("I9: attempt {} is over, and settles", claim.attempt)) } else { Ok(()) };
        }
        let Some(outcome) = self.asked.clone() else { return Ok(()) };
        if answer != Some(Settled::Applied) {
            self.pass(now);
        }
        let held = self.holder.as_deref() == Some(claim.owner);
        let may_hold = held || self.leaseholder.as_deref() == Some(claim.owner);
        match answer {
            None => return Ok(()),
            Some(Settled::Applied) if !may_hold => return Err("I9: settled by one who does not have it".into()),
            Some(Settled::Applied | Settled::Repeated) => {}
            Some(other) if held => return Err(format!("I9: its owner settles it, and is answered {other:?}")),
            Some(_) => {
                self.asked = None;
                self.may_have_ended = false;
                return Ok(());
            }
        }
        self.asked = None;
        self.may_have_ended = false;
        if !settled {
            self.decided = true;
            self.asked = Some(outcome);
            return Ok(());
        }
        self.end(outcome);
        Ok(())
    }

    /// The second half of exactly once was answered.
    pub(super) fn finished(&mut self) {
        if let Some(outcome) = self.asked.take() {
            self.decided = true;
            self.end(outcome);
        }
    }

    /// An answer that was lost turns out to have been positive: whether the copy comes again will show.
    pub(super) fn gone(&mut self) {
        self.may_have_ended = true;
        if self.decided {
            self.finished();
        }
    }

    /// An answer that was lost turns out to have been that the outcome is decided.
    pub(super) fn decided(&mut self) {
        self.decided = true;
    }

    fn end(&mut self, outcome: Outcome) {
        self.holder = None;
        self.count_min += u32::from(outcome.counts());
        self.count_max = self.count_max.max(self.count_min);
        if outcome.is_final() {
            self.ended = Some(outcome);
        } else {
            self.count_max = self.count_min;
            self.count_kept = if outcome == Outcome::Released { self.count_kept } else { self.count_min };
        }
    }

    /// A lease that has passed by now lapses.
    pub(super) fn pass(&mut self, now: Time) {
        if !self.unanswered.is_empty() {
            // It may have been settled before: the answer will tell.
            return;
        }
        if self.lease_until.take_if(|until| until.has_passed(now)).is_some() {
            let (holder, count_min) = (self.holder.clone(), self.count_min);
            self.lapsed(holder.as_deref().unwrap_or_default());
            if self.lease_longer {
                (self.leaseholder, self.count_min) = (holder, count_min);
            }
        }
    }

    /// The link of `owner` is gone: what it held lapses as failed, unless an answer was on its way.
    pub(super) fn lapsed(&mut self, owner: &str) {
        if self.holder.as_deref() == Some(owner) && self.ended.is_none() {
            self.holder = None;
            self.count_max = self.count_min + 1;
            if self.asked.is_none() {
                self.count_min += 1;
            }
        }
    }

    /// The broker has died. What was answered stands, if it is stored; what was not may have happened or not. Over a transport, an answer
    /// that had left before may still arrive: `late`.
    pub(super) fn crashed(&mut self, stored: bool, late: bool) {
        if !stored && !self.repeats {
            self.ended = Some(Outcome::Accepted);
        }
        let leased = self.lease_until.is_some() || self.leaseholder.is_some();
        if stored && late && (leased || self.once) {
            // A lease can be settled by its name, and exactly once goes on where it was.
            self.lease_longer = true;
            return;
        }
        // Somebody may have had a lease of it that nobody saw.
        self.count_max += u32::from(!self.decided);
        self.holder = None;
        (self.count_min, self.attempt, self.lease_until) = (self.count_kept, 0, None);
        if !late {
            self.unanswered.clear();
        }
    }

    /// It reached its limit of deliveries: it may be a dead letter now.
    pub(super) fn may_be_dead(&self, limit: u32) -> bool {
        self.count_max >= limit
    }

    /// It surely has as many failures as the limit allows.
    pub(super) fn must_be_dead(&self, limit: u32) -> bool {
        self.count_min >= limit
    }
}
