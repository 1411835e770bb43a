//! What a producer sends: messages that wait, messages in flight, and what became of them.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::task::{Context, Poll, Waker};
use std::collections::HashMap;

use bytes::Bytes;
use roadbed_core::client::{Change, StoredSession};
use roadbed_core::{
    Address, Condition, Confirm, ErrorKind, Key, Message, Origin, Outcome, Outgoing, Qos, Reason, Result, Time, TxnId,
};

use super::ClientConfig;
use super::shared::{Ended, Wakers};
use super::state::{Kind, Session};
use super::transactions::Scoped;
use crate::codec::Tag;

mod flights;
mod keys;

pub(super) use flights::Flight;
use flights::Staged;
pub(super) use keys::{split_name, stored_name};

/// How many sends of one message may wait under its key.
const OWNERS_MAX: usize = 16;
/// How many confirms may wait for a producer before it gets no more room.
const CONFIRMS_MAX: usize = 65_536;

/// Whose message it is: the link of the producer, and its cookie.
type Owner = (u64, u64);

/// A producer's side of the session.
#[derive(Default)]
pub(super) struct Outbound {
    /// Where all its messages go; without it, each says where.
    to: Option<Address>,
    queue: VecDeque<Queued>,
    flights: BTreeMap<u64, Flight>,
    /// In flight since an earlier attachment, in the order of sending; and whether the server has it, too.
    resend: VecDeque<(u64, bool)>,
    /// What is to be written once the store has what it depends on.
    staged: VecDeque<Staged>,
    /// Of that, how much the store has.
    ready: usize,
    reserved: Room,
    confirms: Vec<Confirm>,
    room: Option<Waker>,
    confirm: Option<Waker>,
    /// How many more messages the server takes now.
    credit: u32,
    /// The server is to be told when there is nothing left to send.
    drain: bool,
    qos_max: Qos,
}

/// What the producers of a session share: the bounds, and the keys.
pub(super) struct Outbox {
    charged: Room,
    max: Room,
    keys: HashMap<Key, Keyed>,
    /// Accepted keys, oldest first; those that were forgotten are skipped.
    accepted: VecDeque<Key>,
    keys_max: usize,
    next: u64,
    /// Makes tags that no earlier process has used, and no earlier session of this one.
    seed: (u64, u64),
    /// Confirms on their way to their producers.
    due: Vec<(u64, Confirm)>,
}

/// Messages and the bytes of their payloads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Room {
    messages: usize,
    bytes: usize,
}

struct Queued {
    owner: Owner,
    message: Message,
    qos: Qos,
    key: Option<Key>,
    txn: Option<(TxnId, Bytes)>,
}

/// A key that is not forgotten.
#[derive(Default)]
struct Keyed {
    accepted: bool,
    owners: Vec<Owner>,
    /// The link and the number of its flight, while there is one.
    flight: Option<(u64, u64)>,
}

impl Outbound {
    pub(super) fn new(to: Option<Address>) -> Self {
        Self { to, qos_max: Qos::ExactlyOnce, ..Self::default() }
    }

    pub(super) const fn to(&self) -> Option<&Address> {
        self.to.as_ref()
    }

    pub(super) fn grant(&mut self, qos_max: Qos) {
        self.qos_max = qos_max;
    }

    /// Whether nothing waits and nothing is in flight; what is accepted and not forgotten does not count.
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.staged.is_empty() && self.flights.values().all(Flight::is_decided)
    }

    /// Whether nothing of it is left.
    pub(super) fn is_empty(&self) -> bool {
        self.is_idle() && self.flights.is_empty()
    }

    /// The server has said how many more messages it takes.
    pub(super) fn credit(&mut self, credit: u32, drain: bool, wakers: &mut Wakers) {
        self.credit = credit;
        self.drain = drain;
        if credit as usize > self.queue.len() {
            wakers.wake(&mut self.room);
        }
    }

    /// How much more may be staged, of `room` messages that may be written.
    pub(super) fn free(&self, room: u32) -> u32 {
        room.saturating_sub(u32::try_from(self.staged.len()).unwrap_or(u32::MAX))
    }

    /// The store has everything that was staged.
    pub(super) fn kept(&mut self) {
        self.ready = self.staged.len();
    }

    /// Credit was used.
    pub(super) fn set_credit(&mut self, credit: u32, wakers: &mut Wakers) {
        let drain = self.drain;
        self.credit(credit, drain, wakers);
    }

    /// Whether something waits that could be sent.
    pub(super) fn has_more(&self) -> bool {
        !self.queue.is_empty() || !self.resend.is_empty() || self.ready > 0
    }

    /// A link that somebody else used before is this one's now.
    pub(super) fn adopt(&mut self) {
        self.confirms.clear();
    }

    pub(super) fn wake_all(&mut self, wakers: &mut Wakers) {
        wakers.wake(&mut self.room);
        wakers.wake(&mut self.confirm);
    }
}

impl Outbox {
    pub(super) fn new(session: u64, config: &ClientConfig, stored: &StoredSession) -> Self {
        let max = Room { messages: config.outbox_messages_max.max(1) as usize, bytes: config.outbox_bytes_max };
        let mut this = Self {
            charged: Room::default(),
            max,
            keys: HashMap::new(),
            accepted: VecDeque::new(),
            keys_max: config.keys_max,
            next: 0,
            seed: (config.seed ^ config.clock.now().as_millis().rotate_left(32), session),
            due: Vec::new(),
        };
        stored.accepted.iter().for_each(|key| this.remember(key.clone()));
        this
    }

    fn sequence(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn confirm(&mut self, (link, cookie): Owner, outcome: Outcome, why: Option<Condition>, provisional: Option<TxnId>) {
        self.due.push((link, Confirm { cookie, outcome, why, provisional }));
    }

    fn charge(&mut self, bytes: usize) {
        self.charged = self.charged.plus(Room { messages: 1, bytes });
    }

    fn uncharge(&mut self, bytes: usize) {
        self.charged = self.charged.minus(Room { messages: 1, bytes });
    }
}

impl Session {
    fn outbound(&mut self, link: u64) -> Option<&mut Outbound> {
        match self.links.get_mut(&link).map(|link| &mut link.kind) {
            Some(Kind::Producer(outbound)) => Some(outbound),
            _ => None,
        }
    }

    /// Room for at least one message within the credit and the bounds, or nothing.
    pub(super) fn poll_reserve(
        &mut self,
        link: u64,
        cx: &Context<'_>,
        messages: u32,
        bytes: usize,
    ) -> Poll<Result<u32>> {
        let Some(found) = self.links.get(&link) else { return Poll::Ready(Err(super::shared::gone("send"))) };
        found.check("send")?;
        let used = self.reserved(Some(link));
        let max = self.outbox.max;
        let wanted = Room { messages: (messages as usize).max(1), bytes };
        let Some(outbound) = self.outbound(link) else { return Poll::Pending };
        let credit = (outbound.credit as usize).saturating_sub(outbound.queue.len() + outbound.resend.len());
        let granted = used.left(max, wanted).min(credit);
        if granted == 0 || outbound.confirms.len() >= CONFIRMS_MAX {
            outbound.reserved = Room::default();
            outbound.room = Some(cx.waker().clone());
            return Poll::Pending;
        }
        outbound.reserved = Room { messages: granted, bytes };
        Poll::Ready(Ok(u32::try_from(granted).unwrap_or(u32::MAX)))
    }

    /// What is used and reserved, but for one producer.
    fn reserved(&self, but: Option<u64>) -> Room {
        let others = self.links.iter().filter(|(id, _)| Some(**id) != but);
        let reserved = others.filter_map(|(_, link)| match &link.kind {
            Kind::Producer(outbound) => Some(outbound.reserved),
            _ => None,
        });
        reserved.fold(self.outbox.charged, Room::plus)
    }

    /// Takes messages in order as long as there is room.
    pub(super) fn send(
        &mut self,
        link: u64,
        batch: &mut Vec<Outgoing>,
        transactions: &Scoped<'_>,
        now: Time,
        wakers: &mut Wakers,
    ) {
        let mut taken = 0;
        for outgoing in batch.iter() {
            if !self.submit(link, outgoing, transactions, now) {
                break;
            }
            taken += 1;
        }
        batch.drain(..taken);
        self.tell_confirms(wakers);
    }

    fn submit(&mut self, link: u64, outgoing: &Outgoing, transactions: &Scoped<'_>, now: Time) -> bool {
        let owner = (link, outgoing.cookie);
        let Some(outbound) = self.outbound(link) else { return true };
        let (to, qos_max) = (outbound.to.clone(), outbound.qos_max);
        let txn = outgoing.txn.map(|txn| transactions.find(txn).map(|name| (txn, name))).transpose();
        let txn = match txn {
            Ok(txn) => txn,
            Err(condition) => {
                self.outbox.confirm(owner, condition.into(), None, None);
                return true;
            }
        };
        if let Some(refusal) = refusal(outgoing, qos_max, now) {
            self.outbox.confirm(owner, refusal, None, None);
            return true;
        }
        let key = outgoing.key.clone().filter(|_| outgoing.qos == Qos::ExactlyOnce);
        if let Some(known) = key.as_ref().and_then(|key| self.outbox.keys.get_mut(key)) {
            if known.accepted {
                self.outbox.confirm(owner, Outcome::Accepted, None, None);
                return true;
            }
            let joins = known.owners.len() < OWNERS_MAX;
            if joins {
                known.owners.push(owner);
            }
            return joins;
        }
        let size = Room { messages: 1, bytes: outgoing.message.payload().len() };
        if !self.has_room(link, size) {
            return false;
        }
        self.outbox.charge(size.bytes);
        if let Some(key) = &key {
            let keyed = Keyed { owners: alloc::vec![owner], ..Keyed::default() };
            self.outbox.keys.insert(key.clone(), keyed);
        }
        let message = addressed(&outgoing.message, to.as_ref());
        if let Some(outbound) = self.outbound(link) {
            outbound.queue.push_back(Queued { owner, message, qos: outgoing.qos, key, txn });
        }
        true
    }

    /// Uses up what was reserved; beyond that, whatever is free.
    fn has_room(&mut self, link: u64, size: Room) -> bool {
        let others = self.reserved(Some(link));
        let max = self.outbox.max;
        let Some(outbound) = self.outbound(link) else { return false };
        let had = outbound.reserved;
        outbound.reserved = had.minus(size);
        if had.messages > 0 && had.bytes >= size.bytes {
            return true;
        }
        outbound.confirms.len() < CONFIRMS_MAX && others.left(max, size) > 0
    }

    pub(super) fn poll_confirms(
        &mut self,
        link: u64,
        cx: &Context<'_>,
        into: &mut Vec<Confirm>,
        wakers: &mut Wakers,
    ) -> Poll<Result<usize>> {
        let ended = self.check("send").and_then(|()| match self.links.get(&link) {
            Some(link) => link.check("send"),
            None => Ok(()),
        });
        let Some(outbound) = self.outbound(link) else { return Poll::Ready(Err(super::shared::gone("send"))) };
        if outbound.confirms.is_empty() {
            // What has come is told also after the end.
            ended?;
            outbound.confirm = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = outbound.confirms.len();
        into.append(&mut outbound.confirms);
        wakers.wake(&mut outbound.room);
        Poll::Ready(Ok(count))
    }

    /// Hands confirms to their producers, and tells all of them that there may be room.
    pub(super) fn tell_confirms(&mut self, wakers: &mut Wakers) {
        if self.outbox.due.is_empty() {
            return;
        }
        let mut due = core::mem::take(&mut self.outbox.due);
        for (link, confirm) in due.drain(..) {
            let Some(outbound) = self.outbound(link) else { continue };
            outbound.confirms.push(confirm);
            wakers.wake(&mut outbound.confirm);
        }
        self.outbox.due = due;
        self.wake_rooms(wakers);
    }

    fn wake_rooms(&mut self, wakers: &mut Wakers) {
        for link in self.links.values_mut() {
            if let Kind::Producer(outbound) = &mut link.kind {
                wakers.wake(&mut outbound.room);
            }
        }
    }

    /// The link of a producer is dead: nobody will know what became of what it has sent.
    pub(super) fn producer_failed(&mut self, link: u64, ended: &Ended, wakers: &mut Wakers) {
        let why = match ended.kind {
            ErrorKind::Unauthorized => Condition::Unauthorized,
            ErrorKind::NotFound => Condition::NotFound,
            ErrorKind::Exhausted => Condition::TooLarge,
            _ => Condition::Unavailable,
        };
        let Some(outbound) = self.outbound(link) else { return };
        outbound.staged.clear();
        let queued: Vec<_> = outbound.queue.drain(..).collect();
        let flights: Vec<_> = core::mem::take(&mut outbound.flights).into_values().collect();
        outbound.resend.clear();
        for flight in flights {
            let outcome = match flight.is_decided() {
                true => Outcome::Accepted,
                false => Outcome::FAILED,
            };
            self.flight_ended(flight, &outcome, Some(why), None);
        }
        for queued in queued {
            self.outbox.uncharge(queued.message.payload().len());
            self.settle(queued.owner, queued.key, &Outcome::Released, Some(why), None);
        }
        self.tell_confirms(wakers);
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
fn refusal(outgoing: &Outgoing, qos_max: Qos, now: Time) -> Option<Outcome> {
    if outgoing.message.has_expired(now) {
        return Some(Condition::Expired.into());
    }
    let words = "the server does not settle second, which exactly once needs (AMQP Part 2, section 2.8.3)";
    (outgoing.qos > qos_max.max(Qos::AtLeastOnce))
        .then(|| Outcome::Rejected(Reason::new(Condition::NotSupported, words)))
}

/// The message as it leaves. Everything goes where the link goes; on a link without an address the message itself must say where, which one that came by AMQP
/// may not do, or may do otherwise.
fn addressed(message: &Message, to: Option<&Address>) -> Message {
    match to {
        Some(to) if message.address() != to => message.to_builder().address(to.clone()).build(),
        None if message.origin().is_some_and(|origin| origin.protocol == "amqp") => {
            let origin = Origin { principal: Default::default(), protocol: "client" };
            let said = message.to_builder().origin(alloc::sync::Arc::new(origin));
            match message.has_details() {
                true => said.details(|details| details.bare = None).build(),
                false => said.build(),
            }
        }
        _ => message.clone(),
    }
}

/// The tag of a message without a name.
fn number_tag((seed, session): (u64, u64), sequence: u64) -> Tag {
    let mut bytes = [0; 24];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    bytes[8..16].copy_from_slice(&session.to_be_bytes());
    bytes[16..].copy_from_slice(&sequence.to_be_bytes());
    Tag::new(&bytes).unwrap_or_default()
}

pub(super) fn ended_change(link: &str, flight: &Flight, accepted: bool) -> Change {
    Change::Ended { name: stored_name(link, &flight.tag), accepted }
}
