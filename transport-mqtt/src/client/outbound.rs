//! What a session sends: messages that wait, messages in flight, and what became of them.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::task::{Context, Poll, Waker};

use roadbed_core::client::{Change, StoredMessage, StoredSession};
use roadbed_core::{Condition, Confirm, Key, Message, Outcome, Outgoing, Qos, Reason, Time};
use std::collections::HashMap;

use super::ClientConfig;
use super::names::packet_id;
use super::shared::Wakers;
use crate::codec::PacketId;

mod flights;

/// How many sends of one message may wait under its key.
const OWNERS_MAX: usize = 16;
/// How many confirms may wait for a producer before it gets no more room.
const CONFIRMS_MAX: usize = 65_536;

/// Whose message it is: the producer, and its cookie.
pub(super) type Owner = (u64, u64);

pub(super) struct Outbound {
    producers: BTreeMap<u64, Link>,
    next_producer: u64,
    queue: VecDeque<Queued>,
    flights: BTreeMap<PacketId, Flight>,
    /// In flight since an earlier connection, in the order of sending, to be sent again first.
    resend: VecDeque<PacketId>,
    next_seq: u64,
    next_id: u16,
    keys: HashMap<Key, Keyed>,
    /// Accepted keys, oldest first; those that were forgotten are skipped.
    accepted: VecDeque<Key>,
    charged: Room,
    max: Room,
    keys_max: usize,
}

/// A producer's side of the session.
#[derive(Default)]
struct Link {
    reserved: Room,
    confirms: Vec<Confirm>,
    room: Option<Waker>,
    confirm: Option<Waker>,
}

/// Messages and the bytes of their payloads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Room {
    messages: usize,
    bytes: usize,
}

struct Queued {
    owner: Option<Owner>,
    message: Message,
    qos: Qos,
    key: Option<Key>,
}

struct Flight {
    seq: u64,
    owner: Option<Owner>,
    qos: Qos,
    key: Option<Key>,
    /// `None` after PUBREC.
    message: Option<Message>,
    bytes: usize,
}

/// A key that is not forgotten.
struct Keyed {
    accepted: bool,
    owners: Vec<Owner>,
}

/// A PUBLISH to be written.
pub(super) struct Publish {
    pub(super) message: Message,
    pub(super) qos: Qos,
    pub(super) packet_id: Option<PacketId>,
    pub(super) dup: bool,
    pub(super) owner: Option<Owner>,
}

/// What is to be written, in order.
pub(super) enum Next {
    Publish(Publish),
    Release(PacketId),
}

impl Outbound {
    pub(super) fn new(config: &ClientConfig, stored: StoredSession) -> Self {
        let max = Room { messages: config.outbox_messages_max.max(1) as usize, bytes: config.outbox_bytes_max };
        let mut this = Self {
            producers: BTreeMap::new(),
            next_producer: 0,
            queue: VecDeque::new(),
            flights: BTreeMap::new(),
            resend: VecDeque::new(),
            next_seq: 0,
            // Not always 1: what an earlier process has left in flight is then rarely hit.
            next_id: (config.seed % u64::from(u16::MAX)) as u16,
            keys: HashMap::new(),
            accepted: VecDeque::new(),
            charged: Room::default(),
            max,
            keys_max: config.keys_max,
        };
        stored.accepted.into_iter().for_each(|key| this.remember(key));
        stored.messages.into_iter().for_each(|message| this.restore(message));
        this
    }

    fn restore(&mut self, stored: StoredMessage) {
        if let Some(key) = &stored.key {
            let accepted = stored.outcome().is_some();
            self.keys.insert(key.clone(), Keyed { accepted, owners: Vec::new() });
        }
        let StoredMessage { name, key, qos, message } = stored;
        let Some(id) = packet_id(&name) else { return };
        let bytes = message.as_ref().map_or(0, |message| message.payload().len());
        self.charged = self.charged.plus(Room { messages: 1, bytes });
        self.flights.insert(id, Flight { seq: self.next_seq, owner: None, qos, key, message, bytes });
        self.next_seq += 1;
    }

    /// Whether a message is waiting, or in flight.
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.flights.is_empty()
    }

    pub(super) fn attach(&mut self) -> u64 {
        self.next_producer += 1;
        self.producers.insert(self.next_producer, Link::default());
        self.next_producer
    }

    pub(super) fn detach(&mut self, producer: u64, wakers: &mut Wakers) {
        self.producers.remove(&producer);
        self.room_is_free(wakers);
    }

    /// Room for at least one message, or nothing.
    pub(super) fn poll_reserve(&mut self, producer: u64, cx: &Context<'_>, messages: u32, bytes: usize) -> Poll<u32> {
        let others = self.producers.iter().filter(|(id, _)| **id != producer).map(|(_, link)| link.reserved);
        let used = others.fold(self.charged, Room::plus);
        let wanted = Room { messages: (messages as usize).max(1), bytes };
        let Some(link) = self.producers.get_mut(&producer) else { return Poll::Pending };
        let granted = used.left(self.max, wanted);
        if granted == 0 || link.confirms.len() >= CONFIRMS_MAX {
            link.reserved = Room::default();
            link.room = Some(cx.waker().clone());
            return Poll::Pending;
        }
        link.reserved = Room { messages: granted, bytes };
        Poll::Ready(u32::try_from(granted).unwrap_or(u32::MAX))
    }

    /// Takes messages in order as long as there is room.
    pub(super) fn send(&mut self, producer: u64, batch: &mut Vec<Outgoing>, now: Time, wakers: &mut Wakers) {
        let mut taken = 0;
        for outgoing in batch.iter() {
            if !self.submit(producer, outgoing, now, wakers) {
                break;
            }
            taken += 1;
        }
        batch.drain(..taken);
        wakers.wake_driver();
    }

    fn submit(&mut self, producer: u64, outgoing: &Outgoing, now: Time, wakers: &mut Wakers) -> bool {
        let owner = (producer, outgoing.cookie);
        if let Some(refusal) = refusal(outgoing, now) {
            self.confirm(owner, refusal, None, wakers);
            return true;
        }
        let key = outgoing.key.clone().filter(|_| outgoing.qos == Qos::ExactlyOnce);
        if let Some(known) = key.as_ref().and_then(|key| self.keys.get_mut(key)) {
            if known.accepted {
                self.confirm(owner, Outcome::Accepted, None, wakers);
                return true;
            }
            if known.owners.len() < OWNERS_MAX {
                known.owners.push(owner);
                return true;
            }
            return false;
        }
        let size = Room { messages: 1, bytes: outgoing.message.payload().len() };
        if !self.has_room(producer, size) {
            return false;
        }
        self.charged = self.charged.plus(size);
        if let Some(key) = &key {
            self.keys.insert(key.clone(), Keyed { accepted: false, owners: alloc::vec![owner] });
        }
        let message = outgoing.message.clone();
        self.queue.push_back(Queued { owner: Some(owner), message, qos: outgoing.qos, key });
        true
    }

    /// Uses up what was reserved; beyond that, whatever is free.
    fn has_room(&mut self, producer: u64, size: Room) -> bool {
        let all = self.producers.values().map(|link| link.reserved).fold(self.charged, Room::plus);
        let Some(link) = self.producers.get_mut(&producer) else { return false };
        let had = link.reserved;
        link.reserved = had.minus(size);
        if had.messages > 0 && had.bytes >= size.bytes {
            return true;
        }
        link.confirms.len() < CONFIRMS_MAX && all.minus(had).left(self.max, size) > 0
    }

    /// Forgets keys. What is in flight under them stays so.
    pub(super) fn forget(&mut self, keys: &mut Vec<Key>, changes: &mut Vec<Change>) {
        for key in keys.drain(..) {
            if self.keys.remove(&key).is_none() {
                continue;
            }
            let flights = self.flights.values_mut().map(|flight| &mut flight.key);
            let queued = self.queue.iter_mut().map(|queued| &mut queued.key);
            flights.chain(queued).filter(|named| named.as_ref() == Some(&key)).for_each(|named| *named = None);
            changes.push(Change::Forgotten(key));
        }
    }

    pub(super) fn poll_confirms(
        &mut self,
        producer: u64,
        cx: &Context<'_>,
        into: &mut Vec<Confirm>,
        wakers: &mut Wakers,
    ) -> Poll<usize> {
        let Some(link) = self.producers.get_mut(&producer) else { return Poll::Pending };
        if link.confirms.is_empty() {
            link.confirm = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = link.confirms.len();
        into.append(&mut link.confirms);
        wakers.wake(&mut link.room);
        Poll::Ready(count)
    }

    /// The message can not be written at all.
    pub(super) fn refuse(&mut self, publish: &Publish, reason: Reason, changes: &mut Vec<Change>, wakers: &mut Wakers) {
        let outcome = Outcome::Rejected(reason);
        match (publish.packet_id, publish.owner) {
            (Some(id), _) => self.end(id, &outcome, None, changes, wakers),
            (None, Some(owner)) => self.confirm(owner, outcome, None, wakers),
            (None, None) => {}
        }
    }

    fn refuse_queued(&mut self, queued: Queued, reason: Reason, wakers: &mut Wakers) {
        self.uncharge(queued.message.payload().len(), wakers);
        self.settle(queued.owner, queued.key, &Outcome::Rejected(reason), None, wakers);
    }

    /// Tells all who asked. A key is remembered only if the message was accepted: what was refused may be tried again.
    fn settle(
        &mut self,
        owner: Option<Owner>,
        key: Option<Key>,
        outcome: &Outcome,
        why: Option<Condition>,
        wakers: &mut Wakers,
    ) {
        let Some(keyed) = key.as_ref().and_then(|key| self.keys.remove(key)) else {
            return owner.into_iter().for_each(|owner| self.confirm(owner, outcome.clone(), why, wakers));
        };
        keyed.owners.into_iter().for_each(|owner| self.confirm(owner, outcome.clone(), why, wakers));
        if let (Some(key), Outcome::Accepted) = (key, outcome) {
            self.remember(key);
        }
    }

    fn remember(&mut self, key: Key) {
        self.keys.insert(key.clone(), Keyed { accepted: true, owners: Vec::new() });
        self.accepted.push_back(key);
        while self.accepted.len() > self.keys_max {
            let oldest = self.accepted.pop_front();
            oldest
                .filter(|key| self.keys.get(key).is_some_and(|keyed| keyed.accepted))
                .map(|key| self.keys.remove(&key));
        }
    }

    fn confirm(&mut self, (producer, cookie): Owner, outcome: Outcome, why: Option<Condition>, wakers: &mut Wakers) {
        let Some(link) = self.producers.get_mut(&producer) else { return };
        link.confirms.push(Confirm { cookie, outcome, why, provisional: None });
        wakers.wake(&mut link.confirm);
    }

    fn uncharge(&mut self, bytes: usize, wakers: &mut Wakers) {
        self.charged = self.charged.minus(Room { messages: 1, bytes });
        self.room_is_free(wakers);
    }

    fn room_is_free(&mut self, wakers: &mut Wakers) {
        self.producers.values_mut().for_each(|link| wakers.wake(&mut link.room));
    }

    pub(super) fn wake_all(&mut self, wakers: &mut Wakers) {
        for link in self.producers.values_mut() {
            wakers.wake(&mut link.room);
            wakers.wake(&mut link.confirm);
        }
    }
}

impl Room {
    const fn plus(self, other: Self) -> Self {
        Self { messages: self.messages + other.messages, bytes: self.bytes.saturating_add(other.bytes) }
    }

    const fn minus(self, other: Self) -> Self {
        Self { messages: self.messages.saturating_sub(other.messages), bytes: self.bytes.saturating_sub(other.bytes) }
    }

    /// For how many of the wanted messages there is room beyond what is used. One that is alone always has room.
    fn left(self, max: Self, wanted: Self) -> usize {
        let messages = max.messages.saturating_sub(self.messages).min(wanted.messages);
        let fits = self.bytes.saturating_add(wanted.bytes) <= max.bytes;
        match fits || self.messages == 0 {
            true => messages,
            // Not all of it: the first one perhaps, if it is no larger than the others.
            false if self.bytes + wanted.bytes / wanted.messages <= max.bytes => messages.min(1),
            false => 0,
        }
    }
}

/// Why a message cannot be sent at all.
fn refusal(outgoing: &Outgoing, now: Time) -> Option<Outcome> {
    if outgoing.txn.is_some() {
        return Some(Outcome::Rejected(Reason::new(Condition::NotSupported, "MQTT has no transactions")));
    }
    outgoing.message.has_expired(now).then(|| Condition::Expired.into())
}
