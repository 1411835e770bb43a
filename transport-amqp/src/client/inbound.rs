//! What a consumer receives: deliveries that wait, and how many more the server may send.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::task::{Context, Poll, Waker};

use bytes::Bytes;
use roadbed_core::{
    Address, Binding, ConsumerTerms, CopyId, Delivery, DeliveryId, DeliveryInfo, Done, Fence, Grant, LogTerms, Node,
    Outcome, Qos, QueueId, Result, Time, TxnId,
};

use super::ClientConfig;
use super::counters::Counters;
use super::held::Stage;
use super::reading::{self, Read};
use super::shared::Wakers;
use super::state::{Kind, Session};
use super::wire::Wire;
use crate::codec::{Fault, State, Tag};
use crate::{Incoming, LinkId};

mod log;
mod settling;
mod slots;

use log::Places;
use settling::Said;

/// A consumer's side of the session.
pub(super) struct Inbound {
    pub(super) terms: ConsumerTerms,
    /// The server settles last: it answers what we say of its deliveries.
    pub(super) second: bool,
    /// How many more deliveries the consumer permits.
    permitted: u32,
    drain: Option<Drain>,
    txn: Option<(TxnId, Bytes)>,
    /// How many deliveries of an earlier attachment the server is to say something of: that takes credit, too.
    resuming: u32,
    /// The server is to be told of a grant, whatever it has.
    told: bool,
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    /// How many of them may be handed over, if the session is kept: the store has their slots.
    deliverable: usize,
    /// Slots of deliveries that wait, or are to come again.
    slots: BTreeMap<Tag, slots::Kept>,
    receive: Option<Waker>,
    settled: Option<Waker>,
    done: Vec<Done>,
    /// Slots by the numbers of the current attachment.
    numbers: BTreeMap<u64, u16>,
    /// Slots by tag, of links that can be resumed.
    tags: BTreeMap<Tag, u16>,
    /// What is to be said once the store has what it depends on.
    said: VecDeque<Said>,
    /// Of that, how much the store has.
    ready: usize,
    /// How far it has come, if it reads a log.
    places: Option<Box<Places>>,
    /// What its queue follows, to be asked for anew if the server loses it.
    pub(super) bindings: Vec<Binding>,
    pub(super) backlog: u32,
    epoch: u32,
}

/// A drain that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drain {
    Asked,
    /// Told the server, with so much credit, of which this was used.
    Told {
        granted: u32,
        used: u32,
    },
    Done,
}

/// A delivery that was not handed over yet.
struct Waiting {
    delivery: Delivery,
    /// `None` if it is settled.
    number: Option<u64>,
    tag: Tag,
    bytes: usize,
}

impl Inbound {
    pub(super) fn new(terms: ConsumerTerms) -> Self {
        let places = Places::new(&terms);
        Self {
            terms,
            second: false,
            permitted: 0,
            drain: None,
            txn: None,
            resuming: 0,
            told: false,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            deliverable: 0,
            slots: BTreeMap::new(),
            receive: None,
            settled: None,
            done: Vec::new(),
            numbers: BTreeMap::new(),
            tags: BTreeMap::new(),
            said: VecDeque::new(),
            ready: 0,
            places,
            bindings: Vec::new(),
            backlog: 0,
            epoch: 0,
        }
    }

    /// Whether it reads a log: nothing of such a link is kept for the next but how far it has come.
    pub(super) const fn is_log(&self) -> bool {
        self.places.is_some()
    }

    /// How a log is to be read from here on.
    pub(super) fn log(&self) -> Option<LogTerms> {
        match (&self.terms.node, &self.places) {
            (Node::Log(terms), Some(places)) => Some(places.go_on(terms)),
            _ => None,
        }
    }

    /// Whether everything that was decided is told.
    pub(super) fn is_said(&self) -> bool {
        self.said.is_empty()
    }

    /// Whether its queue was made for it, so that what it followed is followed no more.
    pub(super) fn is_lost(&self) -> bool {
        !matches!(self.terms.node, Node::Address(_)) && !self.bindings.is_empty()
    }

    /// The store has everything that was said.
    pub(super) fn kept(&mut self) {
        (self.ready, self.deliverable) = (self.said.len(), self.waiting.len());
    }

    /// A delivery has ended before it was handed over.
    fn waits_no_more(&mut self, number: u64) -> Option<Tag> {
        let at = self.waiting.iter().position(|waiting| waiting.number == Some(number))?;
        let gone = self.waiting.remove(at)?;
        self.waiting_bytes -= gone.bytes;
        self.deliverable -= usize::from(at < self.deliverable);
        Some(gone.tag)
    }

    pub(super) fn wake_all(&mut self, wakers: &mut Wakers) {
        wakers.wake(&mut self.receive);
        wakers.wake(&mut self.settled);
    }

    fn answer(&mut self, done: Done, wakers: &mut Wakers) {
        self.done.push(done);
        wakers.wake(&mut self.settled);
    }

    /// How many more deliveries the server may send now.
    fn wanted(&self, window_left: u32, config: &ClientConfig) -> u32 {
        if self.waiting_bytes >= config.inbox_bytes_max {
            return 0;
        }
        let waiting = u32::try_from(self.waiting.len()).unwrap_or(u32::MAX);
        let window = match self.terms.mode {
            roadbed_core::Mode::Browse => u32::MAX,
            roadbed_core::Mode::Move => window_left,
        };
        let permitted =
            self.permitted.saturating_sub(waiting).min(config.credit_max.saturating_sub(waiting)).min(window);
        permitted.saturating_add(self.resuming)
    }
}

impl Session {
    pub(super) fn inbound(&mut self, link: u64) -> Option<&mut Inbound> {
        match self.links.get_mut(&link).map(|link| &mut link.kind) {
            Some(Kind::Consumer(inbound)) => Some(inbound),
            _ => None,
        }
    }

    pub(super) fn grant(&mut self, link: u64, grant: Grant, txn: Option<Bytes>, wakers: &mut Wakers) {
        let Some(inbound) = self.inbound(link) else { return };
        inbound.permitted = grant.credit;
        inbound.drain = grant.drain.then_some(Drain::Asked);
        let txn = grant.txn.zip(txn);
        inbound.told |= inbound.txn != txn || grant.drain;
        inbound.txn = txn;
        wakers.wake(&mut inbound.receive);
        self.touch(link);
    }

    /// Hands over at most `max` deliveries, as many as the consumer permits and the window takes.
    pub(super) fn poll_receive(
        &mut self,
        link: u64,
        cx: &Context<'_>,
        into: &mut Vec<Delivery>,
        max: usize,
        now: Time,
        counters: &Counters,
    ) -> Poll<Result<usize>> {
        let Some(found) = self.links.get(&link) else { return Poll::Ready(Err(super::shared::gone("receive"))) };
        found.check("receive")?;
        let before = into.len();
        while into.len() - before < max {
            let (open, window, kept) = (self.held.open(), self.terms.window, self.terms.kept);
            let committing = self.committing;
            let Some(inbound) = self.inbound(link) else { break };
            let settled = inbound.waiting.front().is_some_and(|waiting| waiting.number.is_none());
            let storing = kept && (committing || inbound.deliverable == 0);
            if inbound.permitted == 0 || storing || (!settled && open >= window) {
                break;
            }
            let Some(waiting) = inbound.waiting.pop_front() else { break };
            inbound.waiting_bytes -= waiting.bytes;
            inbound.deliverable = inbound.deliverable.saturating_sub(1);
            let own = inbound.slots.get(&waiting.tag).copied();
            // What was passed on already goes its way to the end.
            if waiting.delivery.message.has_expired(now) && !own.is_some_and(|own| own.delivered) {
                counters.expired();
                inbound.said.extend(waiting.number.map(Said::unwanted));
                self.forget_slot(link, &waiting.tag);
                continue;
            }
            inbound.permitted = inbound.permitted.saturating_sub(u32::from(inbound.permitted != Grant::UNLIMITED));
            let Waiting { mut delivery, number, tag, bytes } = waiting;
            if let Some(number) = number {
                let slot = match own {
                    None if self.keeps_slot(delivery.qos) => None,
                    None => self.held.take(),
                    Some(own) => Some(own.slot),
                };
                let put = |slot| self.held.put(slot, link, Some(number), tag, delivery.qos, Stage::Open);
                let Some(handle) = slot.and_then(put) else {
                    // Every slot was taken.
                    if let Some(inbound) = self.inbound(link) {
                        inbound.permitted += u32::from(inbound.permitted != Grant::UNLIMITED);
                        inbound.waiting_bytes += bytes;
                        let qos = delivery.qos;
                        inbound.waiting.push_front(Waiting { delivery, number: Some(number), tag, bytes });
                        inbound.deliverable = 0;
                        if self.keeps_slot(qos) && self.keep_slot(link, tag) {
                            self.touch(link);
                        }
                    }
                    break;
                };
                delivery.handle = Some(handle);
                if let Some(inbound) = self.inbound(link) {
                    inbound.slots.remove(&tag);
                    inbound.numbers.insert(number, handle.slot());
                    if kept {
                        inbound.tags.insert(tag, handle.slot());
                    }
                }
            }
            if let Some(places) = self.inbound(link).and_then(|inbound| inbound.places.as_mut()) {
                places.handed(delivery.info.as_deref(), delivery.handle.map(|handle| handle.slot()));
            }
            into.push(delivery);
        }
        let count = into.len() - before;
        let Some(inbound) = self.inbound(link) else { return Poll::Pending };
        if count > 0 {
            self.touch(link);
            return Poll::Ready(Ok(count));
        }
        if inbound.drain == Some(Drain::Done) && inbound.waiting.is_empty() {
            (inbound.drain, inbound.permitted) = (None, 0);
            return Poll::Ready(Ok(0));
        }
        inbound.receive = Some(cx.waker().clone());
        if !inbound.said.is_empty() {
            self.touch(link);
        }
        Poll::Pending
    }

    /// A message has come.
    pub(super) fn arrived(&mut self, link: u64, incoming: Incoming, context: &Arriving<'_>, wakers: &mut Wakers) {
        let kept = self.terms.kept;
        let address = self.links.get(&link).and_then(|link| link.attached.address.clone());
        let Some(inbound) = self.inbound(link) else { return };
        if let Some(Drain::Told { used, .. }) = &mut inbound.drain {
            *used += 1;
        }
        inbound.resuming = inbound.resuming.saturating_sub(1);
        if kept && let Some(&slot) = inbound.tags.get(&incoming.tag) {
            return self.came_again(link, slot, &incoming, context.counters, wakers);
        }
        if incoming.resume && incoming.settled {
            return;
        }
        let Incoming { delivery: number, tag, settled, second, pieces, .. } = incoming;
        let number = (!settled).then_some(number);
        let Read { message, retained, count, bindings, log } = match reading::read(pieces, address, context) {
            Ok(read) => read,
            Err(error) => {
                context.counters.unreadable();
                let fault = Fault::new("amqp:decode-error", alloc::format!("{error}"));
                inbound.said.extend(number.map(|number| Said::rejected(number, fault)));
                return self.touch(link);
            }
        };
        let bytes = message.payload().len();
        let qos = match (settled, second) {
            (true, _) => Qos::AtMostOnce,
            (false, false) => Qos::AtLeastOnce,
            (false, true) => Qos::ExactlyOnce,
        };
        let rare = count > 0 || !bindings.is_empty() || inbound.txn.is_some() || log.is_some();
        let info = (rare || inbound.terms.info).then(|| {
            let id = DeliveryId::from_bytes(&tag).unwrap_or_else(|| made_up(inbound.epoch, number.unwrap_or_default()));
            let txn = inbound.txn.as_ref().map(|(txn, _)| *txn);
            let (log, enqueued_at) = log.map_or((None, context.now), |(place, at)| (Some(place), at));
            Box::new(DeliveryInfo { bindings, count, txn, log, ..DeliveryInfo::new(id, enqueued_at) })
        });
        if inbound.places.as_ref().is_some_and(|places| places.knows(info.as_deref())) {
            inbound.said.extend(number.map(Said::done));
            return self.touch(link);
        }
        let attempt = DeliveryId::from_bytes(&tag).map_or(count.saturating_add(1), |id| id.fence.attempt.max(1));
        let delivery = Delivery { message, handle: None, qos, retained, attempt, info };
        inbound.waiting.push_back(Waiting { delivery, number, tag, bytes });
        inbound.waiting_bytes += bytes;
        if !kept {
            return wakers.wake(&mut inbound.receive);
        }
        if number.is_some() && self.keeps_slot(qos) {
            self.keep_slot(link, tag);
        }
        self.touch(link);
    }

    /// The server has used up the credit that was to be drained, or has nothing for it.
    pub(super) fn drained(&mut self, link: u64, wakers: &mut Wakers) {
        let Some(inbound) = self.inbound(link) else { return };
        if let Some(Drain::Told { granted, used }) = inbound.drain {
            // It had at least as many as it was permitted: there may be more.
            inbound.drain = Some(if used >= granted && granted > 0 { Drain::Asked } else { Drain::Done });
            wakers.wake(&mut inbound.receive);
            self.touch(link);
        }
    }

    /// Tells the server how many more deliveries are permitted, if that makes a difference.
    pub(super) fn say_credit(
        &mut self,
        link: u64,
        id: LinkId,
        config: &ClientConfig,
        wire: &mut Wire<'_>,
        wakers: &mut Wakers,
    ) {
        let waiting: u32 = self.waiting();
        let left = self.terms.window.saturating_sub(self.held.open().saturating_add(waiting));
        let Some(inbound) = self.inbound(link) else { return };
        let wanted = inbound.wanted(left, config);
        let has = wire.machine.credit(id).credit;
        let drain = match inbound.drain {
            Some(Drain::Asked) if wanted > 0 => {
                inbound.drain = Some(Drain::Told { granted: wanted, used: 0 });
                true
            }
            Some(Drain::Asked) if inbound.permitted as usize <= inbound.waiting.len() => {
                inbound.drain = Some(Drain::Done);
                wakers.wake(&mut inbound.receive);
                return;
            }
            Some(Drain::Told { granted, used }) if used >= granted => {
                inbound.drain = Some(Drain::Asked);
                return self.touch(link);
            }
            Some(_) => return,
            None => false,
        };
        let differs = wanted < has || (wanted > has && has <= wanted / 2);
        if !(drain || differs || inbound.told && wanted != has) {
            return;
        }
        inbound.told = false;
        let txn = inbound.txn.as_ref().map(|(_, name)| name.clone());
        // The link is attached.
        let _ = wire.machine.grant(id, wanted, drain, txn, wire.out);
    }

    /// How many deliveries wait to be handed over and count to the window.
    fn waiting(&self) -> u32 {
        if self.terms.window >= WINDOW_MAX {
            return 0;
        }
        let links = self.links.values().filter_map(|link| match &link.kind {
            Kind::Consumer(inbound) => Some(&inbound.waiting),
            _ => None,
        });
        links.flatten().filter(|waiting| waiting.number.is_some()).count() as u32
    }

    /// Nobody has the consumer any more, and its link goes on without it: what was not decided is the server's again.
    pub(super) fn consumer_left(&mut self, link: u64, wakers: &mut Wakers) {
        self.consumer_lost(link, wakers);
        let open: Vec<u16> =
            self.held.of(link).filter(|(_, entry)| !entry.is_decided()).map(|(it, _)| it.slot()).collect();
        open.into_iter().for_each(|slot| self.take_back(link, slot));
        if let Some(inbound) = self.inbound(link) {
            inbound.waiting.clear();
            inbound.deliverable = 0;
            (inbound.waiting_bytes, inbound.permitted, inbound.drain, inbound.txn) = (0, 0, None, None);
            inbound.done.clear();
        }
    }

    /// The link has lost its connection. What was not handed over comes again, if the server keeps it.
    pub(super) fn consumer_lost(&mut self, link: u64, wakers: &mut Wakers) {
        let kept = self.terms.kept;
        let Some(inbound) = self.inbound(link) else { return };
        let kept = kept && !inbound.is_log();
        if let Some(places) = &mut inbound.places {
            places.lost();
            inbound.waiting.clear();
        }
        inbound.waiting.retain(|waiting| waiting.number.is_none());
        inbound.waiting_bytes = inbound.waiting.iter().map(|waiting| waiting.bytes).sum();
        inbound.deliverable = inbound.waiting.len();
        wakers.wake(&mut inbound.receive);
        inbound.numbers.clear();
        inbound.said.clear();
        (inbound.ready, inbound.resuming) = (0, 0);
        inbound.epoch += 1;
        if inbound.drain.is_some_and(|drain| drain != Drain::Done) {
            inbound.drain = Some(Drain::Asked);
        }
        if !kept {
            return self.release_all(link, wakers);
        }
        let slots: Vec<u16> = self.held.of(link).map(|(handle, _)| handle.slot()).collect();
        for slot in slots {
            if let Some(entry) = self.held.slot(slot) {
                entry.number = None;
            }
            // Its transaction ended with the connection.
            if matches!(self.held.slot(slot).map(|entry| entry.stage().clone()), Some(Stage::Enlisted(..))) {
                self.held.set(slot, Stage::Open);
            }
        }
    }
}

/// From this window on, deliveries that wait are not counted.
pub(super) const WINDOW_MAX: u32 = u16::MAX as u32;

/// What a message needs to be read.
pub(crate) struct Arriving<'a> {
    pub(crate) origin: &'a alloc::sync::Arc<roadbed_core::Origin>,
    pub(crate) guard: crate::codec::GuardLimits,
    pub(crate) sidecar_bytes_max: usize,
    pub(crate) counters: &'a Counters,
    pub(crate) now: Time,
}

/// A name for a delivery whose tag is none of ours; good as long as its attachment.
const fn made_up(epoch: u32, number: u64) -> DeliveryId {
    DeliveryId { copy: CopyId { queue: QueueId(0), seq: number }, fence: Fence { epoch, attempt: 1 } }
}

/// What a message without an owner is told to be: somebody else's.
pub(super) fn released() -> Option<State> {
    Some(crate::dialect::outcome_state(&Outcome::Released))
}

/// Where a delivery came from if its message does not say.
pub(super) fn node(terms: &ConsumerTerms) -> Option<Address> {
    match &terms.node {
        Node::Address(address) => Some(address.clone()),
        Node::Log(log) => Some(log.address.clone()),
        _ => None,
    }
}
