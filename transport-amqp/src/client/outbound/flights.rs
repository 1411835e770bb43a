//! Messages in flight: how they leave, what is sent again, and what the server says of them.

use bytes::Bytes;
use roadbed_core::client::{Change, StoredMessage};
use roadbed_core::{Condition, Delivery, Key, Message, Outcome, Qos, Reason, TxnId};

use super::keys::{name_tag, split_name, stored_name};
use super::{Keyed, Outbound, Owner, Queued, ended_change, number_tag};
use crate::client::shared::Wakers;
use crate::client::state::{Kind, Session};
use crate::client::wire::Wire;
use crate::codec::{State, Tag};
use crate::{LinkId, SendError, Sending, UnsettledMap, dialect};

/// A message that was sent and that not both ends have forgotten.
pub(in crate::client) struct Flight {
    owner: Option<Owner>,
    qos: Qos,
    pub(super) key: Option<Key>,
    /// `None` once the server has accepted it.
    message: Option<Message>,
    bytes: usize,
    pub(super) tag: Tag,
    txn: Option<(TxnId, Bytes)>,
    /// What it is called on the current attachment.
    number: Option<u64>,
    /// An earlier attachment has brought it to the server, which has not forgotten it.
    known: bool,
}

/// What is to be written.
pub(super) enum Staged {
    /// At most once.
    Plain(Queued),
    Flight {
        sequence: u64,
        resume: bool,
    },
    /// The server may forget it, too.
    Forget(u64),
}

impl Flight {
    /// Whether the server has accepted it, so that only forgetting is left.
    pub(in crate::client) const fn is_decided(&self) -> bool {
        self.message.is_none()
    }
}

impl Session {
    /// Moves what may be sent now from the queue into flight: at most `room` messages.
    pub(in crate::client) fn stage_sends(&mut self, link: u64, room: u32, wire: &Wire<'_>, bytes_max: usize) {
        let (mut room, mut bytes) = (room, wire.out.len());
        while room > 0 && bytes < bytes_max {
            let Some(outbound) = self.outbound(link) else { return };
            if let Some((sequence, resume)) = outbound.resend.pop_front() {
                bytes += outbound.flights.get(&sequence).map_or(0, |flight| flight.bytes);
                outbound.staged.push_back(Staged::Flight { sequence, resume });
                room -= 1;
                continue;
            }
            let Some(queued) = outbound.queue.pop_front() else { return };
            if queued.message.has_expired(wire.now) {
                self.outbox.uncharge(queued.message.payload().len());
                self.settle(queued.owner, queued.key, &Condition::Expired.into(), None, None);
                continue;
            }
            room -= 1;
            bytes += queued.message.payload().len();
            let staged = match queued.qos {
                Qos::AtMostOnce => Staged::Plain(queued),
                _ => Staged::Flight { sequence: self.take_off(link, queued), resume: false },
            };
            if let Some(outbound) = self.outbound(link) {
                outbound.staged.push_back(staged);
            }
        }
    }

    fn take_off(&mut self, link: u64, queued: Queued) -> u64 {
        let sequence = self.outbox.sequence();
        let Queued { owner, message, qos, key, txn } = queued;
        let named = key.as_ref().and_then(name_tag);
        let tag = named.unwrap_or_else(|| number_tag(self.outbox.seed, sequence));
        if let Some(keyed) = key.as_ref().and_then(|key| self.outbox.keys.get_mut(key)) {
            keyed.flight = Some((link, sequence));
        }
        let Some(found) = self.links.get_mut(&link) else { return sequence };
        // What belongs to a transaction ends with its connection.
        if self.terms.kept && txn.is_none() {
            let name = stored_name(&found.name, &tag);
            self.changes.push(Change::Sent(StoredMessage {
                name,
                key: key.clone(),
                qos,
                message: Some(message.clone()),
            }));
        }
        if let Kind::Producer(outbound) = &mut found.kind {
            let bytes = message.payload().len();
            let (message, owner) = (Some(message), Some(owner));
            let flight = Flight { owner, qos, key, message, bytes, tag, txn, number: None, known: false };
            outbound.flights.insert(sequence, flight);
        }
        sequence
    }

    /// Writes what was staged, as long as the link takes it.
    pub(in crate::client) fn write_sends(&mut self, link: u64, id: LinkId, wire: &mut Wire<'_>, wakers: &mut Wakers) {
        while let Some(staged) = self.outbound(link).and_then(Outbound::pop_ready) {
            let written = match &staged {
                Staged::Plain(queued) => deliver(id, &queued.message, queued.qos, Sending::default(), wire).map(|_| ()),
                Staged::Flight { sequence, resume } => self.write_flight(link, *sequence, *resume, id, wire),
                Staged::Forget(sequence) => {
                    self.write_forget(link, *sequence, id, wire);
                    Ok(())
                }
            };
            match (written, staged) {
                (Ok(()), Staged::Plain(queued)) => self.outbox.uncharge(queued.message.payload().len()),
                (Ok(()), _) => {}
                (Err(error @ SendError::MessageTooLarge { .. }), staged) => self.too_large(link, staged, &error),
                // It waits for credit, or for the link to come back.
                (Err(_), staged) => {
                    if let Some(outbound) = self.outbound(link) {
                        outbound.staged.push_front(staged);
                        outbound.ready += 1;
                    }
                    break;
                }
            }
        }
        self.forget_surplus();
        self.tell_confirms(wakers);
    }

    fn write_flight(
        &mut self,
        link: u64,
        sequence: u64,
        resume: bool,
        id: LinkId,
        wire: &mut Wire<'_>,
    ) -> Result<(), SendError> {
        let flight = self.outbound(link).and_then(|outbound| outbound.flights.get_mut(&sequence));
        let Some((flight, message)) = flight.and_then(|flight| flight.message.clone().map(|it| (flight, it))) else {
            return Ok(());
        };
        let state = flight.txn.as_ref().map(|(_, name)| State::Transactional { txn: name.clone(), outcome: None });
        let first = flight.qos < Qos::ExactlyOnce;
        let sending = Sending { cookie: Some(sequence), tag: Some(flight.tag), resume, first, state };
        flight.number = Some(deliver(id, &message, flight.qos, sending, wire)?);
        Ok(())
    }

    fn write_forget(&mut self, link: u64, sequence: u64, id: LinkId, wire: &mut Wire<'_>) {
        let Some(found) = self.links.get_mut(&link) else { return };
        let Kind::Producer(outbound) = &mut found.kind else { return };
        let Some(flight) = outbound.flights.remove(&sequence) else { return };
        let state = Some(State::Accepted);
        if let Some(number) = flight.number {
            wire.machine.forget(id.session, number, state, wire.out);
        } else if flight.known && wire.machine.settle_resumed(id, flight.tag, state, wire.out).is_err() {
            // It takes a credit; there will be one.
            outbound.flights.insert(sequence, flight);
            outbound.staged.push_back(Staged::Forget(sequence));
            return;
        }
        if self.terms.kept {
            self.changes.push(ended_change(&found.name, &flight, false));
        }
        self.outbox.uncharge(0);
    }

    fn too_large(&mut self, link: u64, staged: Staged, error: &SendError) {
        let reason = Reason::new(Condition::TooLarge, alloc::format!("{error}"));
        match staged {
            Staged::Plain(queued) => {
                self.outbox.uncharge(queued.message.payload().len());
                self.settle(queued.owner, queued.key, &Outcome::Rejected(reason), None, None);
            }
            Staged::Flight { sequence, .. } => {
                let flight = self.outbound(link).and_then(|outbound| outbound.flights.remove(&sequence));
                if let Some(flight) = flight {
                    self.note_end(link, &flight, false);
                    self.flight_ended(flight, &Outcome::Rejected(reason), None, None);
                }
            }
            Staged::Forget(_) => {}
        }
    }

    /// The server says what became of a message.
    pub(in crate::client) fn disposed(
        &mut self,
        link: u64,
        sequence: u64,
        state: Option<&State>,
        settled: bool,
        id: LinkId,
        wire: &mut Wire<'_>,
    ) {
        let Some(outbound) = self.outbound(link) else { return };
        let Some(flight) = outbound.flights.get_mut(&sequence) else { return };
        let (provisional, outcome) = match state {
            Some(State::Transactional { outcome, .. }) => {
                let txn = flight.txn.as_ref().map(|(txn, _)| *txn);
                (txn, outcome.as_deref().and_then(dialect::outcome).unwrap_or(Outcome::Accepted))
            }
            Some(state) => match dialect::outcome(state) {
                Some(outcome) => (None, outcome),
                // Settled without an outcome: the default that our attach has told.
                None if settled => (None, Outcome::Released),
                None => return,
            },
            None => (None, Outcome::Released),
        };
        if flight.is_decided() {
            // It was said again; if it is also settled, nothing is left to be forgotten.
            if settled {
                flight.number = None;
                flight.known = false;
            }
            return;
        }
        let why = (outcome == Outcome::Released).then_some(Condition::NoRoute);
        let keeps = !settled && outcome == Outcome::Accepted && flight.key.is_some() && flight.qos == Qos::ExactlyOnce;
        if keeps && provisional.is_none() {
            return self.released(link, sequence, why);
        }
        let number = flight.number;
        let Some(flight) = outbound.flights.remove(&sequence) else { return };
        if let Some(number) = number.filter(|_| !settled) {
            wire.machine.forget(id.session, number, state.cloned(), wire.out);
        }
        self.note_end(link, &flight, outcome == Outcome::Accepted);
        self.flight_ended(flight, &outcome, why, provisional);
    }

    /// The server owns the message: accepted, and never sent again. It remembers the key until we forget it.
    fn released(&mut self, link: u64, sequence: u64, why: Option<Condition>) {
        let Some(found) = self.links.get_mut(&link) else { return };
        let Kind::Producer(outbound) = &mut found.kind else { return };
        let Some(flight) = outbound.flights.get_mut(&sequence) else { return };
        flight.message = None;
        let (owner, key, bytes) = (flight.owner.take(), flight.key.clone(), core::mem::take(&mut flight.bytes));
        if self.terms.kept {
            self.changes.push(Change::Released(stored_name(&found.name, &flight.tag)));
        }
        self.outbox.charged.bytes -= bytes;
        self.settle_all(owner, key, &Outcome::Accepted, why, None, Some((link, sequence)));
    }

    fn note_end(&mut self, link: u64, flight: &Flight, accepted: bool) {
        if self.terms.kept
            && flight.txn.is_none()
            && let Some(found) = self.links.get(&link)
        {
            self.changes.push(ended_change(&found.name, flight, accepted));
        }
    }

    pub(super) fn flight_ended(
        &mut self,
        flight: Flight,
        outcome: &Outcome,
        why: Option<Condition>,
        provisional: Option<TxnId>,
    ) {
        self.outbox.uncharge(flight.bytes);
        if !flight.is_decided() {
            self.settle_all(flight.owner, flight.key, outcome, why, provisional, None);
        }
    }

    pub(super) fn settle(
        &mut self,
        owner: Owner,
        key: Option<Key>,
        outcome: &Outcome,
        why: Option<Condition>,
        provisional: Option<TxnId>,
    ) {
        self.settle_all(Some(owner), key, outcome, why, provisional, None);
    }

    /// Tells all who asked. A key is remembered only if the message was accepted: what was refused may be tried again.
    fn settle_all(
        &mut self,
        owner: Option<Owner>,
        key: Option<Key>,
        outcome: &Outcome,
        why: Option<Condition>,
        provisional: Option<TxnId>,
        flight: Option<(u64, u64)>,
    ) {
        let Some(keyed) = key.as_ref().and_then(|key| self.outbox.keys.remove(key)) else {
            return owner.into_iter().for_each(|owner| self.outbox.confirm(owner, outcome.clone(), why, provisional));
        };
        keyed.owners.into_iter().for_each(|owner| self.outbox.confirm(owner, outcome.clone(), why, provisional));
        if let (Some(key), Outcome::Accepted, None) = (key, outcome, provisional) {
            self.outbox.keys.insert(key.clone(), Keyed { flight, ..Keyed::default() });
            self.outbox.remember(key);
        }
    }

    /// The link has lost its connection. Without a name, the server forgets what it has not answered: what was sent at least once is sent again when the link is
    /// back, exactly once cannot be.
    pub(in crate::client) fn producer_lost(&mut self, link: u64) {
        let kept = self.terms.kept;
        let Some(outbound) = self.outbound(link) else { return };
        (outbound.credit, outbound.ready) = (0, 0);
        let staged = core::mem::take(&mut outbound.staged);
        let flights = core::mem::take(&mut outbound.flights);
        outbound.resend.clear();
        for staged in staged.into_iter().rev() {
            match staged {
                Staged::Plain(queued) => outbound.queue.push_front(queued),
                forget @ Staged::Forget(_) => outbound.staged.push_front(forget),
                Staged::Flight { .. } => {}
            }
        }
        for (sequence, flight) in flights {
            let sent_again = kept || (flight.qos == Qos::AtLeastOnce && flight.message.is_some());
            if sent_again && flight.txn.is_none() {
                if let Some(outbound) = self.outbound(link) {
                    outbound.flights.insert(sequence, Flight { number: None, known: false, ..flight });
                }
                continue;
            }
            let outcome = match flight.txn {
                Some(_) => Condition::RolledBack.into(),
                None => Outcome::FAILED,
            };
            self.flight_ended(flight, &outcome, None, None);
        }
    }

    /// What the link has not settled, for the attach.
    pub(in crate::client) fn producer_unsettled(&self, link: u64) -> UnsettledMap {
        let Some(Kind::Producer(outbound)) = self.links.get(&link).map(|link| &link.kind) else {
            return UnsettledMap::new();
        };
        let state = |flight: &Flight| flight.is_decided().then_some(State::Accepted);
        outbound.flights.values().map(|flight| (flight.tag, state(flight))).collect()
    }

    /// The link is attached again: by both ends' maps, what is in flight is sent again, has ended, or goes on (Part 2, section 2.6.13).
    pub(in crate::client) fn producer_resumed(&mut self, link: u64, theirs: &UnsettledMap) {
        let Some(outbound) = self.outbound(link) else { return };
        let flights: alloc::vec::Vec<_> =
            outbound.flights.iter().map(|(&sequence, flight)| (sequence, flight.tag, flight.is_decided())).collect();
        for (sequence, tag, decided) in flights {
            let known = theirs.get(&tag);
            let outcome = known.and_then(Option::as_ref).and_then(dialect::outcome);
            if let Some(flight) = self.outbound(link).and_then(|outbound| outbound.flights.get_mut(&sequence)) {
                flight.known = known.is_some();
            }
            match outcome {
                _ if decided => {}
                Some(outcome) => self.outcome_known(link, sequence, &outcome),
                None => {
                    if let Some(outbound) = self.outbound(link) {
                        outbound.resend.push_back((sequence, known.is_some()));
                    }
                }
            }
        }
    }

    /// What became of it was said before the connection was lost, and not heard.
    fn outcome_known(&mut self, link: u64, sequence: u64, outcome: &Outcome) {
        let why = (*outcome == Outcome::Released).then_some(Condition::NoRoute);
        let Some(outbound) = self.outbound(link) else { return };
        let keyed = outbound.flights.get(&sequence).is_some_and(|flight| flight.key.is_some());
        if *outcome == Outcome::Accepted && keyed {
            return self.released(link, sequence, why);
        }
        let Some(flight) = outbound.flights.get_mut(&sequence) else { return };
        let (owner, key, bytes) = (flight.owner.take(), flight.key.take(), core::mem::take(&mut flight.bytes));
        flight.message = None;
        outbound.staged.push_back(Staged::Forget(sequence));
        self.outbox.charged.bytes -= bytes;
        self.settle_all(owner, key, outcome, why, None, None);
    }

    /// Takes over what the store has of a link.
    pub(in crate::client) fn producer_restored(&mut self, link: u64) {
        let Some(name) = self.links.get(&link).map(|link| link.name.clone()) else { return };
        let mine = |message: &StoredMessage| split_name(&message.name).is_some_and(|(of, _)| of == name.as_bytes());
        let (stored, rest) = core::mem::take(&mut self.stored.messages).into_iter().partition(mine);
        self.stored.messages = rest;
        let stored: alloc::vec::Vec<StoredMessage> = stored;
        for StoredMessage { name, key, qos, message } in stored {
            let Some((_, tag)) = split_name(&name) else { continue };
            let sequence = self.outbox.sequence();
            let bytes = message.as_ref().map_or(0, |message| message.payload().len());
            self.outbox.charge(bytes);
            if let Some(key) = &key {
                let flight = Some((link, sequence));
                self.outbox.keys.insert(key.clone(), Keyed { flight, ..Keyed::default() });
                if message.is_none() {
                    self.outbox.remember(key.clone());
                }
            }
            if let Some(outbound) = self.outbound(link) {
                let flight =
                    Flight { owner: None, qos, key, message, bytes, tag, txn: None, number: None, known: false };
                // Accepted, and forgotten by the application: the server is still to be told.
                if flight.message.is_none() && flight.key.is_none() {
                    outbound.staged.push_back(Staged::Forget(sequence));
                }
                outbound.flights.insert(sequence, flight);
            }
        }
    }
}

impl Outbound {
    fn pop_ready(&mut self) -> Option<Staged> {
        self.ready = self.ready.checked_sub(1)?;
        self.staged.pop_front()
    }

    /// What is to be done with the link's credit: the server drains it, and there is nothing to send.
    pub(in crate::client) fn takes_drain(&mut self) -> bool {
        let drained = self.drain && self.queue.is_empty() && self.resend.is_empty() && self.staged.is_empty();
        drained && core::mem::take(&mut self.drain)
    }
}

fn deliver(id: LinkId, message: &Message, qos: Qos, sending: Sending, wire: &mut Wire<'_>) -> Result<u64, SendError> {
    let message = message.clone();
    let delivery = Delivery { message, handle: None, qos, retained: false, attempt: 1, info: None };
    wire.machine.deliver(id, &delivery, sending, wire.now, wire.losses, wire.out)
}
