//! Everything that the clients have seen, and whether it may be.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use roadbed_core::{Confirm, Delivery, Filter, Outcome, Qos, Settled, Time};

use super::copy::{Copy, Seen};
use super::trace::Trace;
use crate::client::text;

/// The ledger of a run.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) trace: Trace,
    pub(super) violations: Vec<String>,
    /// How much longer a message may seem to live, where times to live are rounded on the way.
    slack: Duration,
    /// What is sent at least once is stored without being asked to.
    stores: bool,
    sent: BTreeMap<u64, Sent>,
    /// How often the broker has died, and had when each was sent.
    crashes: u32,
    born: BTreeMap<u64, u32>,
    copies: BTreeMap<(String, u64), Copy>,
    places: BTreeMap<String, Place>,
    /// The last number that a link has first seen of a source, for the order.
    last: BTreeMap<(String, String), u64>,
}

/// Who settles which delivery.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim<'a> {
    pub(super) place: &'a str,
    pub(super) owner: &'a str,
    pub(super) serial: u64,
    pub(super) attempt: u32,
}

/// Where copies are: a queue, or a session that follows filters.
#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    /// What it follows; a queue has none, and is sent to by its name.
    pub(super) filter: Option<Filter>,
    /// Failed deliveries after which a message is a dead letter; 0: no limit.
    pub(super) deliveries_max: u32,
    /// The strongest assurance it takes.
    pub(super) qos_max: Qos,
    /// A transport is in between: at least once may come again when an acknowledgement is lost.
    pub(super) carried: bool,
    /// Transports take from it ahead of who receives: deliveries may fail that nobody has seen.
    pub(super) hidden: bool,
}

/// A message that some client has sent.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) source: String,
    pub(super) to: String,
    pub(super) qos: Qos,
    pub(super) expires_at: Option<Time>,
    pub(super) fate: Fate,
    /// Sent in a transaction: in order only with its commit.
    pub(super) transacted: bool,
    /// Its transport may send it again when an acknowledgement is lost, and nothing tells the two apart.
    pub(super) may_repeat: bool,
    /// It asked to be stored.
    pub(super) stored: bool,
    /// It was volatile, and the broker has died since.
    pub(super) excused: bool,
}

/// What a sender knows of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// No answer yet, or lost with the connection.
    Unknown,
    /// Taken.
    Accepted,
    /// Not taken, and never to be seen.
    Refused,
    /// At most once: no answer is due.
    Unasked,
}

impl Ledger {
    /// An empty ledger, of a world in which times to live may be rounded up by `slack`, and which `stores` what is sent at least once.
    pub(super) fn new(slack: Duration, stores: bool) -> Self {
        Self { slack, stores, ..Self::default() }
    }

    pub(super) fn note(&mut self, now: Time, who: &str, what: fmt::Arguments<'_>) {
        self.trace.note(now, who, what);
    }

    pub(super) fn violated(&mut self, now: Time, who: &str, what: impl fmt::Display) {
        self.trace.note(now, who, format_args!("VIOLATION {what}"));
        self.violations.push(format!("{who}: {what}"));
    }

    pub(super) fn place(&mut self, name: &str, place: Place) {
        self.places.insert(name.into(), place);
    }

    pub(super) fn send(&mut self, serial: u64, mut sent: Sent) {
        sent.stored |= self.stores && sent.qos > Qos::AtMostOnce;
        self.sent.insert(serial, sent);
        self.born.insert(serial, self.crashes);
    }

    pub(super) fn confirmed(&mut self, now: Time, who: &str, serial: u64, confirm: &Confirm) {
        self.note(now, who, format_args!("{serial} is {} {:?}", confirm.outcome, confirm.why));
        let taken = confirm.outcome == Outcome::Accepted;
        let fate = match confirm.outcome {
            Outcome::Accepted => Fate::Accepted,
            // A transport that has lost the answer and may not ask again.
            Outcome::Modified { .. } => Fate::Unknown,
            _ => Fate::Refused,
        };
        let Some(sent) = self.sent.get_mut(&serial) else { return };
        if sent.fate == Fate::Refused && taken {
            return self.violated(now, who, format_args!("I9: {serial} was refused, and is now accepted"));
        }
        sent.fate = fate;
        let refused = sent.fate == Fate::Refused;
        let seen = self.copies.keys().any(|(_, seen)| *seen == serial);
        if refused && seen {
            self.violated(now, who, format_args!("I9: {serial} is refused, and was delivered"));
        }
    }

    /// The end of a transaction with these sends: `None` if it is not known.
    pub(super) fn discharged(&mut self, serials: &[u64], committed: Option<bool>) {
        for serial in serials {
            if let (Some(sent), Some(committed)) = (self.sent.get_mut(serial), committed) {
                sent.fate = if committed { Fate::Accepted } else { Fate::Refused };
            }
        }
    }

    /// From now on, deliveries from `place` may fail that nobody has seen.
    pub(super) fn hides(&mut self, place: &str) {
        self.places.get_mut(place).into_iter().for_each(|place| place.hidden = true);
    }

    /// A delivery from `place` to `owner`, on the link `link`. Its serial number.
    pub(super) fn delivered(&mut self, now: Time, place: &str, owner: &str, link: &str, delivery: &Delivery) -> u64 {
        let payload = text(&delivery.message).trim_end().to_owned();
        let who = link;
        let count = delivery.info.as_ref().map_or(0, |info| info.count);
        self.note(now, who, format_args!("has {payload} of {place}, attempt {} count {count}", delivery.attempt));
        let Ok(serial) = payload.parse::<u64>() else {
            self.violated(now, who, format_args!("I9: {payload:?} was never sent"));
            return 0;
        };
        if let Err(wrong) = self.judge(now, place, owner, link, serial, delivery) {
            self.violated(now, who, format_args!("{wrong} ({serial} of {place})"));
        }
        serial
    }

    fn judge(
        &mut self,
        now: Time,
        place: &str,
        owner: &str,
        link: &str,
        serial: u64,
        delivery: &Delivery,
    ) -> Result<(), String> {
        let sent = self.sent.get(&serial).ok_or("I9: it was never sent")?;
        if sent.fate == Fate::Refused {
            return Err("I9: it was refused, and is delivered".into());
        }
        // Once it is sent exactly once, it is sent until its end [MQTT-4.3.3-7].
        let under_way = delivery.qos == Qos::ExactlyOnce && delivery.attempt > 1 && self.places[place].filter.is_some();
        if !under_way && sent.expires_at.is_some_and(|at| (at + self.slack).has_passed(now)) {
            return Err("I9: it has expired, and is delivered".into());
        }
        let here = &self.places[place];
        if !here.takes(place, &sent.to) {
            return Err(format!("I9: it was sent to {}", sent.to));
        }
        if delivery.qos > sent.qos.min(here.qos_max) {
            return Err(format!("I9: assurance {:?} was never asked", delivery.qos));
        }
        let seen = if here.hidden { Seen::Some } else { Seen::All };
        let seen = if here.filter.is_none() { seen } else { Seen::Uncounted };
        let crashes = self.crashes - self.born.get(&serial).copied().unwrap_or(0);
        let copy = self.copies.entry((place.into(), serial)).or_insert_with(|| Copy::unseen(crashes));
        if sent.may_repeat || (here.carried && delivery.qos == Qos::AtLeastOnce) {
            copy.repeats();
            return Ok(());
        }
        let first = copy.deliveries == 0 && delivery.attempt <= 1;
        copy.delivered(owner, delivery, now, seen)?;
        if first && !sent.transacted {
            let key = (link.to_owned(), format!("{} to {} {:?}", sent.source, sent.to, delivery.qos));
            let last = self.last.insert(key, serial);
            if let Some(last) = last.filter(|last| *last > serial) {
                return Err(format!("I6: it comes after {last}, of the same source {} to {}", sent.source, sent.to));
            }
        }
        Ok(())
    }

    /// An owner names an outcome for what it was handed.
    pub(super) fn settling(&mut self, now: Time, claim: &Claim<'_>, outcome: &Outcome) {
        self.note(now, claim.owner, format_args!("settles {}: {outcome}", claim.serial));
        if let Some(copy) = self.copies.get_mut(&(claim.place.to_owned(), claim.serial)) {
            copy.settling(claim, outcome);
        }
    }

    /// The answer to a settlement: `None` if it was lost.
    pub(super) fn settled(&mut self, now: Time, claim: &Claim<'_>, settled: bool, answer: Option<Settled>) {
        let Claim { place, owner, serial, .. } = *claim;
        self.note(now, owner, format_args!("settled {serial}: {answer:?}"));
        let copy = self.copies.get_mut(&(place.to_owned(), serial));
        if let Some(Err(wrong)) = copy.map(|copy| copy.settled(claim, settled, answer, now)) {
            self.violated(now, owner, format_args!("{wrong} ({serial} of {place})"));
        }
    }

    /// What was asked of a session's delivery turns out to be done: it is not there any more.
    pub(super) fn gone(&mut self, place: &str, serial: u64) {
        if let Some(copy) = self.copies.get_mut(&(place.to_owned(), serial)) {
            copy.gone();
        }
    }

    /// What was asked turns out to be decided.
    pub(super) fn decided(&mut self, place: &str, serial: u64) {
        if let Some(copy) = self.copies.get_mut(&(place.to_owned(), serial)) {
            copy.decided();
        }
    }

    /// Nobody has seen these yet.
    pub(super) fn unseen(&mut self, now: Time, who: &str, place: &str, serials: &[u64]) {
        for serial in serials {
            if self.copies.contains_key(&(place.to_owned(), *serial)) {
                self.violated(now, who, format_args!("I1: {serial} is delivered before its transaction commits"));
            }
        }
    }

    /// The second half of exactly once was answered.
    pub(super) fn finished(&mut self, now: Time, place: &str, owner: &str, serial: u64) {
        self.note(now, owner, format_args!("finished {serial}"));
        if let Some(copy) = self.copies.get_mut(&(place.to_owned(), serial)) {
            copy.finished();
        }
    }

    /// A link ended, and what it held lapses.
    pub(super) fn lapsed(&mut self, now: Time, owner: &str) {
        self.note(now, owner, format_args!("is lost"));
        self.copies.values_mut().for_each(|copy| copy.lapsed(owner));
    }

    /// The broker has died: what is volatile is lost with it, and nobody holds anything any more.
    pub(super) fn crashed(&mut self, now: Time) {
        self.note(now, "broker", format_args!("dies, and starts again"));
        self.crashes += 1;
        self.sent.values_mut().for_each(|sent| sent.excused |= !sent.stored);
        for ((place, serial), copy) in &mut self.copies {
            let Some(place) = self.places.get(place) else { continue };
            copy.once &= place.carried;
            copy.crashed(self.sent.get(serial).is_some_and(|sent| sent.stored), place.carried || place.hidden);
        }
    }

    /// How many copies of a queue are surely in it or among its dead letters (I1, I8, I10), and how many may be: by what
    /// senders and receivers know.
    pub(super) fn bounds(&mut self, now: Time, place: &str) -> (u64, u64) {
        self.copies.values_mut().for_each(|copy| copy.pass(now));
        let (mut sure, mut may) = (0, 0);
        for (serial, sent) in self.sent.iter().filter(|(_, sent)| self.places[place].takes(place, &sent.to)) {
            let copy = self.copies.get(&(place.to_owned(), *serial));
            let gone = copy.is_some_and(|copy| copy.ended == Some(Outcome::Accepted));
            if gone || sent.fate == Fate::Refused {
                continue;
            }
            may += if sent.may_repeat { 100 } else { 1 };
            let taken = sent.fate == Fate::Accepted || copy.is_some();
            // On its way to the dead letters it may be nowhere for a moment.
            let limit = self.limit(place);
            let moves =
                copy.is_some_and(|copy| copy.may_have_ended || (copy.ended.is_none() && copy.may_be_dead(limit)));
            let may_be_gone = moves || sent.expires_at.is_some() || sent.excused;
            sure += u64::from(taken && !may_be_gone);
        }
        (sure, may)
    }

    /// What is wrong when everything has come to rest and was received: lost messages (I10), and dead letters that are
    /// missing or too many (I8).
    pub(super) fn at_rest(&mut self, now: Time, dead: &BTreeMap<String, Vec<u64>>) {
        self.copies.values_mut().for_each(|copy| copy.pass(now));
        let mut wrong = Vec::new();
        for (name, place) in &self.places {
            let letters = dead.get(name).cloned().unwrap_or_default();
            let distinct: BTreeSet<u64> = letters.iter().copied().collect();
            let repeats = |serial| letters.iter().filter(|letter| *letter == serial).count() > 1;
            let once = |serial: &&u64| self.sent.get(serial).is_none_or(|sent| !sent.may_repeat);
            if distinct.iter().filter(once).any(repeats) {
                wrong.push(format!("I8: {name} has a dead letter twice: {letters:?}"));
            }
            for (serial, sent) in self.sent.iter().filter(|(_, sent)| place.takes(name, &sent.to)) {
                let copy = self.copies.get(&(name.clone(), *serial));
                if let Err(why) = self.is_over(name, sent, copy, distinct.contains(serial)) {
                    wrong.push(format!("{why} ({serial} of {name})"));
                }
            }
        }
        for wrong in wrong {
            self.violated(now, "at rest", wrong);
        }
    }

    fn is_over(&self, name: &str, sent: &Sent, copy: Option<&Copy>, dead: bool) -> Result<(), String> {
        let queue = self.places[name].filter.is_none();
        if sent.excused || (sent.may_repeat && (copy.is_some() || dead)) {
            return Ok(());
        }
        let ended = copy.and_then(|copy| copy.ended.as_ref());
        let must_be_dead = copy.is_some_and(|copy| queue && copy.must_be_dead(self.limit(name)) && ended.is_none());
        let failed = copy.is_some_and(|copy| copy.may_be_dead(self.limit(name)) || copy.may_have_ended);
        let may_be_dead = queue && (failed || self.places[name].hidden);
        match (ended, dead) {
            (Some(Outcome::Accepted), true) => Err("I9: it was accepted, and is a dead letter".into()),
            (Some(Outcome::Rejected(_)), false) if queue => Err("I8: it was rejected, and is no dead letter".into()),
            (Some(_), _) => Ok(()),
            (None, true) if may_be_dead || sent.expires_at.is_some() => Ok(()),
            (None, true) => Err("I8: it is a dead letter, and nobody knows why".into()),
            (None, false) if must_be_dead && sent.expires_at.is_none() => {
                Err("I8: it failed too often, and is no dead letter".into())
            }
            (None, false) => {
                let excused = copy.is_some_and(|copy| copy.may_have_ended) || sent.expires_at.is_some();
                let due = sent.fate == Fate::Accepted && sent.qos.min(self.places[name].qos_max) > Qos::AtMostOnce;
                if due && !excused { Err("I10: it was accepted, and is lost".into()) } else { Ok(()) }
            }
        }
    }

    fn limit(&self, place: &str) -> u32 {
        match self.places[place].deliveries_max {
            0 => u32::MAX,
            limit => limit,
        }
    }
}

impl Place {
    fn takes(&self, name: &str, to: &str) -> bool {
        match &self.filter {
            None => name == to,
            Some(filter) => to.parse().is_ok_and(|to| filter.matches(&to)),
        }
    }
}
