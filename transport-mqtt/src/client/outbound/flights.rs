//! Messages in flight: what is sent again, and what the server says of them.

use alloc::vec::Vec;

use roadbed_core::client::{Change, StoredMessage};
use roadbed_core::{Condition, Event, Outcome, Qos, Role, Time, Wire, WireDelivery};

use super::{Flight, Next, Outbound, Publish, Queued, Room};
use crate::client::names::name;
use crate::client::shared::Wakers;
use crate::codec::{Ack, AckKind, PacketId, ReasonCode};

impl Outbound {
    /// The server has kept the session: what is in flight is sent again \[MQTT-4.4.0-1\], in order \[MQTT-4.6.0-1\].
    pub(in crate::client) fn resumed(&mut self) {
        let mut ids: Vec<_> = self.flights.iter().map(|(id, flight)| (flight.seq, *id)).collect();
        ids.sort_unstable();
        self.resend = ids.into_iter().map(|(_, id)| id).collect();
    }

    /// The server has no session: what it owns has ended, and what it does not know of is sent anew.
    pub(in crate::client) fn restarted(&mut self, changes: &mut Vec<Change>, wakers: &mut Wakers) {
        self.resumed();
        while let Some(id) = self.resend.pop_back() {
            let Some(flight) = self.flights.remove(&id) else { continue };
            let accepted = flight.message.is_none();
            changes.push(Change::Ended { name: name(id), accepted });
            match flight.message {
                Some(message) => {
                    self.queue.push_front(Queued { owner: flight.owner, message, qos: flight.qos, key: flight.key });
                }
                None => self.charged = self.charged.minus(Room { messages: 1, bytes: 0 }),
            }
        }
        self.room_is_free(wakers);
    }

    /// What is written next, if `quota` more messages of QoS 1 and 2 may be.
    pub(in crate::client) fn next(
        &mut self,
        quota: &mut u16,
        now: Time,
        taken: impl Fn(PacketId) -> bool,
        changes: &mut Vec<Change>,
        wakers: &mut Wakers,
    ) -> Option<Next> {
        if let Some(&id) = self.resend.front() {
            return self.again(id, quota);
        }
        while let Some(queued) = self.queue.front() {
            let asks = queued.qos != Qos::AtMostOnce;
            if queued.message.has_expired(now) {
                let queued = self.queue.pop_front()?;
                self.refuse_queued(queued, Condition::Expired.into(), wakers);
                continue;
            }
            if asks && *quota == 0 {
                return None;
            }
            let Queued { owner, message, qos, key } = self.queue.pop_front()?;
            if !asks {
                self.uncharge(message.payload().len(), wakers);
                return Some(Next::Publish(Publish { message, qos, packet_id: None, dup: false, owner }));
            }
            let Some(id) = self.free_id(taken) else {
                self.queue.push_front(Queued { owner, message, qos, key });
                return None;
            };
            *quota -= 1;
            let stored = StoredMessage { name: name(id), key: key.clone(), qos, message: Some(message.clone()) };
            changes.push(Change::Sent(stored));
            let packet_id = Some(id);
            self.flights.insert(
                id,
                Flight {
                    seq: self.next_seq,
                    owner,
                    qos,
                    key,
                    bytes: message.payload().len(),
                    message: Some(message.clone()),
                },
            );
            self.next_seq += 1;
            return Some(Next::Publish(Publish { message, qos, packet_id, dup: false, owner }));
        }
        None
    }

    fn again(&mut self, id: PacketId, quota: &mut u16) -> Option<Next> {
        let next = match self.flights.get(&id).map(|flight| (&flight.message, flight)) {
            Some((Some(_), _)) if *quota == 0 => return None,
            Some((Some(message), flight)) => {
                *quota -= 1;
                let (message, owner) = (message.clone(), flight.owner);
                Next::Publish(Publish { message, qos: flight.qos, packet_id: Some(id), dup: true, owner })
            }
            _ => Next::Release(id),
        };
        self.resend.pop_front();
        Some(next)
    }

    /// A packet identifier that nothing uses, also no request.
    pub(in crate::client) fn free_id(&mut self, taken: impl Fn(PacketId) -> bool) -> Option<PacketId> {
        for _ in 0..u16::MAX {
            self.next_id = self.next_id.checked_add(1).unwrap_or(1);
            let id = PacketId::new(self.next_id).filter(|id| !self.flights.contains_key(id) && !taken(*id));
            if id.is_some() {
                return id;
            }
        }
        None
    }

    /// PUBACK, PUBREC or PUBCOMP. Says what is to be answered.
    pub(in crate::client) fn acknowledged(
        &mut self,
        ack: &Ack,
        changes: &mut Vec<Change>,
        wakers: &mut Wakers,
    ) -> Option<(PacketId, ReasonCode)> {
        let id = ack.packet_id;
        let Some(flight) = self.flights.get_mut(&id) else {
            // The server waits for PUBREL, whatever we know [MQTT-4.3.3-4].
            let asks = ack.kind == AckKind::PubRec && !ack.reason.is_failure();
            return asks.then_some((id, ReasonCode::PacketIdentifierNotFound));
        };
        match (ack.kind, flight.qos) {
            (AckKind::PubAck, Qos::AtLeastOnce) => self.finish(id, ack, changes, wakers),
            (AckKind::PubRec, Qos::ExactlyOnce) if ack.reason.is_failure() && flight.message.is_some() => {
                self.finish(id, ack, changes, wakers);
            }
            (AckKind::PubRec, Qos::ExactlyOnce) if !ack.reason.is_failure() => {
                self.released(id, ack, changes, wakers);
                return Some((id, ReasonCode::Success));
            }
            (AckKind::PubComp, Qos::ExactlyOnce) if flight.message.is_none() => {
                self.flights.remove(&id);
                changes.push(Change::Ended { name: name(id), accepted: true });
                self.uncharge(0, wakers);
            }
            // An answer to something else is the peer's mistake, and changes nothing.
            _ => {}
        }
        None
    }

    /// The server owns the message: accepted, and never sent again \[MQTT-4.3.3-6\].
    fn released(&mut self, id: PacketId, ack: &Ack, changes: &mut Vec<Change>, wakers: &mut Wakers) {
        let Some(flight) = self.flights.get_mut(&id) else { return };
        if flight.message.take().is_none() {
            return;
        }
        let (owner, key) = (flight.owner, flight.key.clone());
        self.charged.bytes -= flight.bytes;
        changes.push(Change::Released(name(id)));
        self.resend.retain(|other| *other != id);
        self.settle(owner, key, &Outcome::Accepted, why(ack.reason), wakers);
        self.room_is_free(wakers);
    }

    fn finish(&mut self, id: PacketId, ack: &Ack, changes: &mut Vec<Change>, wakers: &mut Wakers) {
        let wire = Wire { role: Role::Receiver, qos: Qos::AtLeastOnce, first: id.get().into(), last: id.get().into() };
        let outcome = match ack.event(&wire) {
            Some(Event::Dispose { outcome, .. }) => outcome,
            _ => Outcome::Accepted,
        };
        self.end(id, &outcome, why(ack.reason), changes, wakers);
    }

    pub(super) fn end(
        &mut self,
        id: PacketId,
        outcome: &Outcome,
        why: Option<Condition>,
        changes: &mut Vec<Change>,
        wakers: &mut Wakers,
    ) {
        let Some(flight) = self.flights.remove(&id) else { return };
        self.resend.retain(|other| *other != id);
        changes.push(Change::Ended { name: name(id), accepted: *outcome == Outcome::Accepted });
        self.uncharge(flight.bytes, wakers);
        self.settle(flight.owner, flight.key, outcome, why, wakers);
    }
}

/// What a reason says beyond the outcome.
fn why(reason: ReasonCode) -> Option<Condition> {
    (reason == ReasonCode::NoMatchingSubscribers).then_some(Condition::NoRoute)
}
