//! Deliveries that are held: what the application does with them, and what the server says to that.

use alloc::vec::Vec;
use core::task::{Context, Poll};

use roadbed_core::client::{Change, StoredReceipt};
use roadbed_core::{
    DeliveryRef, DeliveryState, Disposition, Done, Error, ErrorKind, Handle, Outcome, Qos, Result, Settled, Step,
    TxnId, Unsettled,
};

use super::log::Places;
use super::released;
use crate::client::counters::Counters;
use crate::client::held::Stage;
use crate::client::shared::Wakers;
use crate::client::state::Session;
use crate::client::transactions::Scoped;
use crate::client::wire::Wire;
use crate::codec::{Fault, State};
use crate::dialect::outcome_state;
use crate::{Incoming, LinkId, UnsettledMap};

/// What is to be said of a delivery.
pub(super) struct Said {
    number: u64,
    state: Option<State>,
    settled: bool,
}

impl Said {
    /// Nobody here wants it any more.
    pub(super) fn unwanted(number: u64) -> Self {
        Self { number, state: released(), settled: true }
    }

    /// It was done with before.
    pub(super) const fn done(number: u64) -> Self {
        Self { number, state: Some(State::Accepted), settled: true }
    }

    pub(super) const fn rejected(number: u64, fault: Fault) -> Self {
        Self { number, state: Some(State::Rejected(Some(fault))), settled: true }
    }
}

impl Session {
    pub(in crate::client) fn settle_batch(
        &mut self,
        link: u64,
        batch: &mut Vec<Disposition>,
        transactions: &Scoped<'_>,
        wakers: &mut Wakers,
    ) {
        for Disposition { delivery, cookie, step } in batch.drain(..) {
            let answer = match delivery {
                DeliveryRef::Handle(handle) => self.step(link, handle, step, cookie, transactions),
                DeliveryRef::Id(_) => Some(Err(unsettled_by_id())),
            };
            if let (Some(result), Some(cookie)) = (answer, cookie)
                && let Some(inbound) = self.inbound(link)
            {
                inbound.answer(Done { cookie, result }, wakers);
            }
        }
        self.touch(link);
    }

    /// `None`: the answer comes when the server has settled.
    fn step(
        &mut self,
        link: u64,
        handle: Handle,
        step: Step,
        cookie: Option<u64>,
        transactions: &Scoped<'_>,
    ) -> Option<Result<Settled>> {
        let slot = handle.slot();
        let found = self.held.find(handle).filter(|entry| entry.link == link);
        let Some(stage) = found.map(|entry| entry.stage().clone()) else { return Some(Ok(Settled::Late)) };
        match (step, stage) {
            (Step::Settle, Stage::Settled(_)) => {
                self.let_go(link, slot);
                Some(Ok(Settled::Applied))
            }
            (Step::Settle, Stage::Said(_)) => {
                self.held.slot(slot)?.keep = false;
                Some(Ok(Settled::Applied))
            }
            (Step::Settle, Stage::Open | Stage::Enlisted(..)) => {
                self.decide(link, slot, Outcome::Accepted, true, cookie)
            }
            (Step::Outcome { outcome, settled }, Stage::Open) => self.decide(link, slot, outcome, settled, cookie),
            (Step::Outcome { .. }, _) => Some(Ok(Settled::Repeated)),
            (Step::Enlist { txn, outcome, settled }, Stage::Open | Stage::Enlisted(..)) => {
                Some(self.enlist(link, slot, txn, outcome, settled, transactions))
            }
            (Step::Enlist { .. }, _) => Some(Ok(Settled::Late)),
            _ => Some(Err(Error::new(ErrorKind::NotSupported, "settle").detail("AMQP 1.0 has no leases to renew"))),
        }
    }

    fn decide(
        &mut self,
        link: u64,
        slot: u16,
        outcome: Outcome,
        settled: bool,
        cookie: Option<u64>,
    ) -> Option<Result<Settled>> {
        let entry = self.held.slot(slot)?;
        let (number, tag, qos) = (entry.number, entry.tag, entry.qos);
        // On a link where the receiver settles first, nobody answers; on the other, who wants no answer needs none.
        let answers = self.inbound(link).is_some_and(|inbound| inbound.second);
        let waits = answers && (qos == Qos::ExactlyOnce || cookie.is_some() || !settled);
        let entry = self.held.slot(slot)?;
        (entry.keep, entry.cookie) = (!settled, cookie);
        self.place(link, |places| places.settled(slot, &outcome));
        let name = self.stored_name(link, &tag)?;
        if qos == Qos::ExactlyOnce {
            let receipt = StoredReceipt { name, slot, outcome: Some(outcome.clone()), keep: !settled };
            self.change(|| Change::Received(receipt));
        }
        let state = Some(outcome_state(&outcome));
        if let Some(inbound) = self.inbound(link) {
            inbound.said.extend(number.map(|number| Said { number, state, settled: !waits }));
        }
        if waits || number.is_none() {
            self.held.set(slot, Stage::Said(outcome));
            return None;
        }
        match settled {
            true => self.let_go(link, slot),
            false => self.held.set(slot, Stage::Settled(outcome)),
        }
        Some(Ok(Settled::Applied))
    }

    fn enlist(
        &mut self,
        link: u64,
        slot: u16,
        txn: TxnId,
        outcome: Outcome,
        settled: bool,
        transactions: &Scoped<'_>,
    ) -> Result<Settled> {
        let name = transactions.find(txn).map_err(|condition| {
            Error::new(ErrorKind::NotFound, "settle")
                .detail(format_args!("the transaction cannot be used: {condition}"))
        })?;
        let Some(number) = self.held.slot(slot).and_then(|entry| entry.number) else { return Ok(Settled::Late) };
        self.place(link, |places| places.enlisted(slot, txn, !settled));
        let said = Some(alloc::boxed::Box::new(outcome_state(&outcome)));
        let state = Some(State::Transactional { txn: name, outcome: said });
        if let Some(inbound) = self.inbound(link) {
            inbound.said.push_back(Said { number, state, settled });
        }
        match settled {
            true => self.let_go(link, slot),
            false => self.held.set(slot, Stage::Enlisted(txn, outcome)),
        }
        Ok(Settled::Applied)
    }

    /// A transaction has ended without effect: what was enlisted is its consumers' again.
    pub(in crate::client) fn rolled_back(&mut self, txn: TxnId) {
        let slots: Vec<u16> = self
            .held
            .iter()
            .filter(|(_, entry)| matches!(entry.stage(), Stage::Enlisted(of, _) if *of == txn))
            .map(|(handle, _)| handle.slot())
            .collect();
        slots.into_iter().for_each(|slot| self.held.set(slot, Stage::Open));
        self.discharged(txn, false);
    }

    /// A transaction has ended: what it has settled of logs is done with, or not.
    pub(in crate::client) fn discharged(&mut self, txn: TxnId, committed: bool) {
        let links: Vec<u64> = self.links.keys().copied().collect();
        links.into_iter().for_each(|link| self.place(link, |places| places.discharged(txn, committed)));
    }

    /// If the link reads a log.
    fn place(&mut self, link: u64, change: impl FnOnce(&mut Places)) {
        if let Some(places) = self.inbound(link).and_then(|inbound| inbound.places.as_mut()) {
            change(places);
        }
    }

    /// Writes what was said.
    pub(in crate::client) fn write_said(&mut self, link: u64, id: LinkId, wire: &mut Wire<'_>) {
        let Some(inbound) = self.inbound(link) else { return };
        let ready = core::mem::take(&mut inbound.ready);
        for Said { number, state, settled } in inbound.said.drain(..ready) {
            wire.machine.dispose(id.session, number, state, settled, wire.out);
        }
    }

    /// The server has settled a delivery.
    pub(in crate::client) fn forgotten(&mut self, link: u64, number: u64, wakers: &mut Wakers) {
        let Some(inbound) = self.inbound(link) else { return };
        match inbound.numbers.get(&number).copied() {
            Some(slot) => self.settled(link, slot, wakers),
            // It was not handed over yet, and is nobody's now.
            None => {
                if let Some(tag) = inbound.waits_no_more(number) {
                    self.forget_slot(link, &tag);
                }
            }
        }
        self.touch(link);
    }

    fn settled(&mut self, link: u64, slot: u16, wakers: &mut Wakers) {
        let Some(entry) = self.held.slot(slot) else { return };
        let (cookie, keep, stage) = (entry.cookie.take(), entry.keep, entry.stage().clone());
        entry.number = None;
        let result = match stage {
            Stage::Said(outcome) if keep => {
                self.held.set(slot, Stage::Settled(outcome));
                Settled::Applied
            }
            Stage::Said(_) => {
                self.let_go(link, slot);
                Settled::Applied
            }
            // Its transaction has committed; the application has yet to forget it.
            Stage::Enlisted(_, outcome) => {
                self.held.set(slot, Stage::Settled(outcome));
                Settled::Applied
            }
            // The server has taken it back.
            Stage::Open | Stage::Settled(_) => {
                self.let_go(link, slot);
                Settled::Late
            }
        };
        if let (Some(cookie), Some(inbound)) = (cookie, self.inbound(link)) {
            inbound.answer(Done { cookie, result: Ok(result) }, wakers);
        }
    }

    /// Nothing of a delivery is left here.
    pub(super) fn let_go(&mut self, link: u64, slot: u16) {
        let Some(entry) = self.held.remove(slot) else { return };
        // Who lets go without an outcome has given it back.
        self.place(link, |places| places.settled(slot, &Outcome::Released));
        if let Some(inbound) = self.inbound(link) {
            entry.number.map(|number| inbound.numbers.remove(&number));
            inbound.tags.remove(&entry.tag);
        }
        if entry.qos == Qos::ExactlyOnce
            && let Some(name) = self.stored_name(link, &entry.tag)
        {
            self.change(|| Change::Completed(name));
        }
    }

    /// The server forgets what this link holds: what is settled now comes too late.
    pub(super) fn release_all(&mut self, link: u64, wakers: &mut Wakers) {
        let held: Vec<u16> = self.held.of(link).map(|(handle, _)| handle.slot()).collect();
        for slot in held {
            let Some(cookie) = self.held.slot(slot).map(|entry| entry.cookie) else { continue };
            self.let_go(link, slot);
            if let (Some(cookie), Some(inbound)) = (cookie, self.inbound(link)) {
                inbound.answer(Done { cookie, result: Ok(Settled::Late) }, wakers);
            }
        }
    }

    /// A delivery comes again that is still held here, or its end.
    pub(super) fn came_again(
        &mut self,
        link: u64,
        slot: u16,
        incoming: &Incoming,
        counters: &Counters,
        wakers: &mut Wakers,
    ) {
        if incoming.settled {
            return self.settled(link, slot, wakers);
        }
        counters.duplicates();
        let Some(entry) = self.held.slot(slot) else { return };
        entry.number = Some(incoming.delivery);
        let state = match entry.stage() {
            Stage::Said(outcome) | Stage::Settled(outcome) => Some(outcome_state(outcome)),
            Stage::Open | Stage::Enlisted(..) => None,
        };
        let Some(inbound) = self.inbound(link) else { return };
        inbound.numbers.insert(incoming.delivery, slot);
        if let Some(state) = state {
            inbound.said.push_back(Said { number: incoming.delivery, state: Some(state), settled: false });
            self.touch(link);
        }
    }

    /// What the link has not settled, for the attach.
    pub(in crate::client) fn consumer_unsettled(&self, link: u64) -> UnsettledMap {
        let state = |stage: &Stage| match stage {
            Stage::Said(outcome) => Some(outcome_state(outcome)),
            _ => None,
        };
        let there = self.held.of(link).filter(|(_, entry)| !matches!(entry.stage(), Stage::Settled(_)));
        there.map(|(_, entry)| (entry.tag, state(entry.stage()))).collect()
    }

    /// The link is attached again: what the server does not know any more has ended there.
    pub(in crate::client) fn consumer_resumed(&mut self, link: u64, theirs: &UnsettledMap, wakers: &mut Wakers) {
        if let Some(inbound) = self.inbound(link) {
            inbound.resuming = u32::try_from(theirs.len()).unwrap_or(u32::MAX);
        }
        let gone: Vec<u16> = self
            .held
            .of(link)
            .filter(|(_, entry)| !theirs.contains_key(&entry.tag) && !matches!(entry.stage(), Stage::Settled(_)))
            .map(|(handle, _)| handle.slot())
            .collect();
        gone.into_iter().for_each(|slot| self.settled(link, slot, wakers));
        self.forget_slots(link, theirs);
    }

    /// What an earlier attachment has decided and not seen to its end.
    pub(in crate::client) fn decided(&self, link: u64) -> Vec<Unsettled> {
        let decided = self.held.of(link).filter_map(|(handle, entry)| {
            let outcome = match entry.stage() {
                Stage::Said(outcome) | Stage::Settled(outcome) => outcome.clone(),
                _ => return None,
            };
            let id = roadbed_core::DeliveryId::from_bytes(&entry.tag)
                .unwrap_or_else(|| super::made_up(u32::MAX, handle.generation()));
            let state = DeliveryState::Decided(outcome);
            entry.keep.then_some(Unsettled { id, handle, state, qos: entry.qos, delivery: None })
        });
        decided.collect()
    }

    pub(in crate::client) fn poll_settled(
        &mut self,
        link: u64,
        cx: &Context<'_>,
        into: &mut Vec<Done>,
    ) -> Poll<Result<usize>> {
        let ended = self.check("settle").and_then(|()| match self.links.get(&link) {
            Some(link) => link.check("settle"),
            None => Ok(()),
        });
        let Some(inbound) = self.inbound(link) else {
            return Poll::Ready(Err(crate::client::shared::gone("settle")));
        };
        if inbound.done.is_empty() {
            ended?;
            inbound.settled = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = inbound.done.len();
        into.append(&mut inbound.done);
        Poll::Ready(Ok(count))
    }
}

fn unsettled_by_id() -> Error {
    Error::new(ErrorKind::NotSupported, "settle")
        .detail("AMQP settles on the link of the delivery alone: settle by its handle, on its consumer")
}
