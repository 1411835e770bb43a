//! Deliveries that are held: how they are settled, and in which order that is told.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::task::{Context, Poll};

use roadbed_core::client::{Change, StoredReceipt};
use roadbed_core::{DeliveryRef, Disposition, Done, Error, ErrorKind, Handle, Outcome, Qos, Settled, Step};

use super::{Entry, Inbound, Stage, Waiting, find};
use crate::Incoming;
use crate::client::OnRelease;
use crate::client::names::name;
use crate::client::session::no_transactions;
use crate::client::shared::Wakers;
use crate::codec::{Ack, AckKind, Notes, PacketId, ReasonCode};
use crate::dialect::{failure, is_sayable};

impl Inbound {
    /// A connection has been opened.
    pub(in crate::client) fn connected(&mut self, resumed: bool, changes: &mut Vec<Change>, wakers: &mut Wakers) {
        self.epoch += 1;
        self.reconnect = false;
        self.order = Default::default();
        self.forgotten.clear();
        if resumed {
            // PUBREL comes again.
            let completed = self.entries.values_mut().filter(|entry| entry.stage == Stage::Completed);
            return completed.for_each(|entry| entry.stage = Stage::Taken);
        }
        // The server knows none of these any more: what is settled now comes too late.
        for (id, entry) in core::mem::take(&mut self.entries) {
            if matches!(entry.stage, Stage::Taken | Stage::Completed) {
                changes.push(Change::Completed(name(id)));
            }
            self.held -= u32::from(entry.stage == Stage::Held);
            self.answer(entry.consumer, entry.cookie, Settled::Late, wakers);
        }
    }

    /// Whether it is one that the server sends again: the same as before, whose acknowledgement is due again.
    pub(super) fn is_known(&mut self, id: PacketId, incoming: &Incoming, wakers: &mut Wakers) -> bool {
        let epoch = self.epoch;
        let Some(entry) = self.entries.get_mut(&id) else { return false };
        // QoS 2 knows its packet identifier until PUBREL, whatever DUP says [MQTT-4.3.3-10].
        let same = entry.qos == incoming.qos && (incoming.dup || entry.qos == Qos::ExactlyOnce);
        if !same {
            self.held -= u32::from(entry.stage == Stage::Held);
            self.entries.remove(&id);
            return false;
        }
        let anew = core::mem::replace(&mut entry.epoch, epoch) != epoch;
        if anew || entry.stage == Stage::Taken {
            self.order[order(entry.qos)].push_back(id);
        }
        match entry.stage {
            Stage::Taken => entry.stage = Stage::Decided(ReasonCode::Success, None),
            Stage::Withheld if anew => {
                entry.stage = Stage::Waiting;
                if let Some(again) = entry.retry() {
                    self.wait(again, wakers);
                }
            }
            _ => {}
        }
        true
    }

    pub(in crate::client) fn settle(&mut self, consumer: u64, batch: &mut Vec<Disposition>, wakers: &mut Wakers) {
        for Disposition { delivery, cookie, step } in batch.drain(..) {
            let answer = match delivery {
                DeliveryRef::Handle(handle) => self.step(consumer, handle, step, cookie, wakers),
                DeliveryRef::Id(_) => Some(Err(unsettled_by_id())),
            };
            if let (Some(result), Some(cookie), Some(link)) = (answer, cookie, self.consumers.get_mut(&consumer)) {
                link.done.push(Done { cookie, result });
                wakers.wake(&mut link.settled);
            }
        }
    }

    /// `None`: the answer comes with PUBREL.
    fn step(
        &mut self,
        consumer: u64,
        handle: Handle,
        step: Step,
        cookie: Option<u64>,
        wakers: &mut Wakers,
    ) -> Option<Result<Settled, Error>> {
        let found = find(&mut self.entries, handle).filter(|(_, entry)| entry.consumer == Some(consumer));
        let Some((id, entry)) = found else { return Some(Ok(Settled::Late)) };
        let (outcome, settled) = match step {
            Step::Outcome { outcome, settled } => (outcome, settled),
            Step::Settle if entry.stage == Stage::Completed => {
                self.forgotten.push(id);
                wakers.wake_driver();
                return Some(Ok(Settled::Applied));
            }
            Step::Settle if entry.stage != Stage::Held => {
                entry.keep = false;
                return Some(Ok(Settled::Applied));
            }
            Step::Settle => (Outcome::Accepted, true),
            Step::Enlist { .. } => return Some(Err(no_transactions())),
            _ => {
                let error = Error::new(ErrorKind::NotSupported, "settle");
                return Some(Err(
                    error.detail("MQTT has no leases to renew: a delivery is held as long as its session")
                ));
            }
        };
        if entry.stage != Stage::Held {
            return Some(Ok(Settled::Repeated));
        }
        self.held -= 1;
        let (reason, text) = match outcome {
            Outcome::Accepted => (ReasonCode::Success, None),
            Outcome::Rejected(_) if !self.version.is_v5() => {
                self.counters.rejections_unsaid();
                (ReasonCode::Success, None)
            }
            Outcome::Rejected(reason) => (failure(reason.condition), reason.text),
            _ => {
                self.release(id, wakers);
                return Some(Ok(Settled::Applied));
            }
        };
        let entry = self.entries.get_mut(&id)?;
        entry.stage = Stage::Decided(reason, text);
        wakers.wake_driver();
        // A place in the window is free, for any consumer.
        self.consumers.values_mut().for_each(|link| wakers.wake(&mut link.receive));
        if entry.qos == Qos::ExactlyOnce && !settled && !reason.is_failure() {
            (entry.cookie, entry.keep) = (cookie, true);
            return None;
        }
        Some(Ok(Settled::Applied))
    }

    /// What MQTT cannot say: the configuration knows what happens instead.
    fn release(&mut self, id: PacketId, wakers: &mut Wakers) {
        self.counters.releases_unsaid();
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let consumer = entry.consumer.take();
        match (self.on_release, &entry.again) {
            (OnRelease::Redeliver, Some(again)) => {
                self.generation += 1;
                let handle = Handle::new(id.get(), self.generation);
                let again = Waiting { attempt: again.attempt + 1, handle, ..again.clone() };
                (entry.stage, entry.generation) = (Stage::Waiting, self.generation);
                entry.again = Some(again.clone());
                // In its place: before all that came later.
                self.charge(&again, true);
                let consumer = consumer.filter(|consumer| self.consumers.contains_key(consumer));
                match consumer.and_then(|consumer| self.consumers.get_mut(&consumer)) {
                    Some(link) => {
                        link.waiting.push_front(again);
                        wakers.wake(&mut link.receive);
                    }
                    None => self.unrouted.push_front(again),
                }
            }
            (on_release, _) => {
                entry.stage = Stage::Withheld;
                if on_release == OnRelease::Reconnect {
                    self.reconnect = true;
                    wakers.wake_driver();
                }
            }
        }
    }

    pub(in crate::client) fn poll_settled(
        &mut self,
        consumer: u64,
        cx: &Context<'_>,
        into: &mut Vec<Done>,
    ) -> Poll<usize> {
        let Some(link) = self.consumers.get_mut(&consumer) else { return Poll::Pending };
        if link.done.is_empty() {
            link.settled = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = link.done.len();
        into.append(&mut link.done);
        Poll::Ready(count)
    }

    /// The acknowledgements whose turn it is.
    pub(in crate::client) fn acknowledge(&mut self, into: &mut Vec<Ack>, changes: &mut Vec<Change>) {
        for (order, kind) in self.order.iter_mut().zip([AckKind::PubAck, AckKind::PubRec]) {
            while let Some(&id) = order.front() {
                let (reason, text) = match self.entries.get(&id).map(|entry| &entry.stage) {
                    Some(Stage::Decided(reason, text)) => (*reason, text.clone()),
                    Some(Stage::Waiting | Stage::Held | Stage::Withheld) => break,
                    // It was given up, or acknowledged by a repetition.
                    Some(Stage::Taken | Stage::Completed) | None => {
                        order.pop_front();
                        continue;
                    }
                };
                order.pop_front();
                let notes =
                    text.filter(|text| is_sayable(text)).map_or_else(Notes::default, |text| Notes::text(&**text));
                into.push(Ack { notes, ..Ack::with_reason(kind, id, reason) });
                if kind == AckKind::PubAck || reason.is_failure() {
                    self.entries.remove(&id);
                } else if let Some(entry) = self.entries.get_mut(&id) {
                    (entry.stage, entry.again) = (Stage::Taken, None);
                    changes.push(Change::Received(StoredReceipt {
                        name: name(id),
                        slot: id.get(),
                        outcome: Some(Outcome::Accepted),
                        keep: entry.keep,
                    }));
                }
            }
        }
        for id in self.forgotten.drain(..) {
            if self.entries.remove(&id).is_some() {
                changes.push(Change::Completed(name(id)));
                into.push(Ack::new(AckKind::PubComp, id));
            }
        }
    }

    /// PUBREL came: the server will not send it again. Says PUBCOMP's reason, unless the application has not forgotten the delivery yet.
    pub(in crate::client) fn complete(
        &mut self,
        id: PacketId,
        changes: &mut Vec<Change>,
        wakers: &mut Wakers,
    ) -> Option<ReasonCode> {
        let Some(entry) = self.entries.get_mut(&id) else { return Some(ReasonCode::PacketIdentifierNotFound) };
        if entry.stage != Stage::Taken {
            return None;
        }
        let (cookie, consumer, keep) = (entry.cookie.take(), entry.consumer, entry.keep);
        entry.stage = Stage::Completed;
        self.answer(consumer, cookie, Settled::Applied, wakers);
        if keep {
            return None;
        }
        self.entries.remove(&id);
        changes.push(Change::Completed(name(id)));
        Some(ReasonCode::Success)
    }

    fn answer(&mut self, consumer: Option<u64>, cookie: Option<u64>, settled: Settled, wakers: &mut Wakers) {
        let link = consumer.and_then(|consumer| self.consumers.get_mut(&consumer));
        if let (Some(cookie), Some(link)) = (cookie, link) {
            link.done.push(Done { cookie, result: Ok(settled) });
            wakers.wake(&mut link.settled);
        }
    }

    /// Whether the connection is to be opened anew.
    pub(in crate::client) const fn wants_reconnect(&self) -> bool {
        self.reconnect
    }

    /// Whether every decision has been said.
    pub(in crate::client) fn is_said(&self) -> bool {
        let front = |order: &VecDeque<PacketId>| order.front().and_then(|id| self.entries.get(id));
        let decided = |entry: &Entry| matches!(entry.stage, Stage::Decided(..));
        self.forgotten.is_empty() && !self.order.iter().any(|order| front(order).is_some_and(decided))
    }
}

impl Entry {
    /// What is delivered once more.
    pub(super) fn retry(&mut self) -> Option<Waiting> {
        let again = self.again.as_mut()?;
        again.attempt += 1;
        Some(again.clone())
    }
}

/// Which of the two orders.
pub(super) const fn order(qos: Qos) -> usize {
    matches!(qos, Qos::ExactlyOnce) as usize
}

fn unsettled_by_id() -> Error {
    Error::new(ErrorKind::NotSupported, "settle")
        .detail("MQTT settles on the connection of the delivery alone: settle by its handle")
}
