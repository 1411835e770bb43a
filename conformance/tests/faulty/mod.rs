//! An endpoint that breaks one promise on purpose: what the laws and the simulation must notice.
#![allow(dead_code, unreachable_pub, reason = "each test that includes this file uses a part of it")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use roadbed_core::{
    Attached, Binding, Capabilities, Close, Confirm, Consumer, ConsumerTerms, Credential, Delivery, DeliveryRef,
    Detach, Disposition, Done, Endpoint, Fut, Gid, Grant, Granted, Hold, Key, Manage, Managed, Message, Mode, Open,
    Opened, Origin, Outcome, Outgoing, Producer, ProducerTerms, Qos, Result, RetainHandling, Session, SessionEvent,
    Settled, Step, Time, Transaction, TxnId, Unbind,
};

/// One broken promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Every third message is confirmed and not kept.
    LosesWhatItConfirms,
    /// Every third message is taken twice.
    TakesTwice,
    /// Forgets keys at once, so that a message that comes again is new.
    ForgetsKeys,
    /// A batch comes in reverse.
    Reorders,
    /// A message waits in the producer until the next one, and is confirmed before.
    ConfirmsEarly,
    /// One bit of every large payload is wrong.
    CorruptsPayloads,
    /// Payloads are copied.
    CopiesPayloads,
    /// Properties are sorted.
    SortsProperties,
    /// Priorities are forgotten.
    ForgetsPriority,
    /// Times to live are forgotten.
    ForgetsExpiry,
    /// Retain flags are forgotten.
    ForgetsRetain,
    /// A refusal is told as Accepted.
    HidesRefusals,
    /// Sends of strangers join transactions.
    ForgetsScope,
    /// One more than permitted is handed over.
    ExceedsCredit,
    /// Credit cannot be taken back.
    KeepsCredit,
    /// A drain does not end.
    NeverDrains,
    /// Windows are ignored.
    IgnoresWindow,
    /// Everything is accepted as soon as it is handed over.
    AcksBeforeTheReceiver,
    /// Settlements are answered and not made.
    SwallowsSettlements,
    /// Whatever is settled is told as applied.
    AppliesLate,
    /// Rejected means released.
    ReleasesRejected,
    /// Released means failed.
    CountsReleases,
    /// Failed means released.
    ForgetsFailures,
    /// Leases hold for ever.
    LeasesForEver,
    /// A renewal is answered and not made.
    ForgetsRenewals,
    /// Exclusive means nothing.
    SharesExclusive,
    /// Who browses, takes.
    BrowsingTakes,
    /// A binding in a group is a plain one.
    ForgetsGroups,
    /// A binding cannot be taken away.
    ForgetsUnbind,
    /// Of several bindings, only one id is told.
    ForgetsBindingIds,
    /// Wills are not sent.
    ForgetsWills,
    /// A close in good order sends the will.
    SendsWillAlways,
    /// Sessions are not resumed.
    ForgetsSessions,
    /// Sessions with a name are strangers to each other.
    IgnoresTakeover,
    /// A second close waits for ever.
    HangsOnSecondClose,
    /// A rollback commits.
    CommitsOnRollback,
    /// Sends within a transaction happen at once.
    SendsBeforeCommit,
    /// Browsing is declared as lacking, and there.
    DeclaresLess,
    /// At most once is handed over twice.
    RepeatsAtMostOnce,
    /// A link that is lost takes its unsettled deliveries with it.
    DropAccepts,
    /// Retained values are sent to who asked for none.
    IgnoresRetainHandling,
}

impl Fault {
    /// All of them.
    pub const ALL: &[Self] = {
        use Fault::*;
        &[
            LosesWhatItConfirms,
            TakesTwice,
            ForgetsKeys,
            Reorders,
            ConfirmsEarly,
            CorruptsPayloads,
            CopiesPayloads,
            SortsProperties,
            ForgetsPriority,
            ForgetsExpiry,
            ForgetsRetain,
            HidesRefusals,
            ForgetsScope,
            ExceedsCredit,
            KeepsCredit,
            NeverDrains,
            IgnoresWindow,
            AcksBeforeTheReceiver,
            SwallowsSettlements,
            AppliesLate,
            ReleasesRejected,
            CountsReleases,
            ForgetsFailures,
            LeasesForEver,
            ForgetsRenewals,
            SharesExclusive,
            BrowsingTakes,
            ForgetsGroups,
            ForgetsUnbind,
            ForgetsBindingIds,
            ForgetsWills,
            SendsWillAlways,
            ForgetsSessions,
            IgnoresTakeover,
            HangsOnSecondClose,
            CommitsOnRollback,
            SendsBeforeCommit,
            DeclaresLess,
            RepeatsAtMostOnce,
            DropAccepts,
            IgnoresRetainHandling,
        ]
    };
}

/// Wraps `endpoint`, which then has `fault`.
pub fn faulty(endpoint: Arc<dyn Endpoint>, fault: Fault) -> Arc<dyn Endpoint> {
    let mut capabilities = endpoint.capabilities().clone();
    if fault == Fault::DeclaresLess {
        capabilities.browse = false;
    }
    Arc::new(Faulty { endpoint, fault, capabilities, opened: AtomicU64::new(0) })
}

struct Faulty {
    endpoint: Arc<dyn Endpoint>,
    fault: Fault,
    capabilities: Capabilities,
    opened: AtomicU64,
}

impl Endpoint for Faulty {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn open(&self, mut open: Open) -> Fut<Box<dyn Session>> {
        let number = self.opened.fetch_add(1, Ordering::Relaxed);
        match self.fault {
            Fault::IgnoresWindow => open.window = 0,
            Fault::ForgetsWills => open.will = None,
            Fault::ForgetsSessions => open.resume = false,
            Fault::ForgetsScope => open.origin = open_house(),
            Fault::IgnoresTakeover => open.name = open.name.map(|name| format!("{name} {number}").into()),
            _ => {}
        }
        let (opening, fault) = (self.endpoint.open(open), self.fault);
        Box::pin(async move { Ok(Box::new(FaultySession::new(opening.await?, fault)) as Box<dyn Session>) })
    }
}

/// Everybody is who the strangers are.
fn open_house() -> Arc<Origin> {
    Arc::new(Origin { principal: "peer".into(), protocol: "test" })
}

struct FaultySession {
    session: Box<dyn Session>,
    fault: Fault,
    closed: AtomicBool,
}

impl FaultySession {
    fn new(session: Box<dyn Session>, fault: Fault) -> Self {
        Self { session, fault, closed: AtomicBool::new(false) }
    }
}

impl Session for FaultySession {
    fn opened(&self) -> &Opened {
        self.session.opened()
    }

    fn producer(&self, terms: ProducerTerms) -> Fut<(Box<dyn Producer>, Attached)> {
        let (attaching, fault) = (self.session.producer(terms), self.fault);
        Box::pin(async move {
            let (producer, attached) = attaching.await?;
            Ok((Box::new(FaultyProducer::new(producer, fault)) as Box<dyn Producer>, attached))
        })
    }

    fn consumer(&self, mut terms: ConsumerTerms) -> Fut<(Box<dyn Consumer>, Attached)> {
        let browses = terms.mode == Mode::Browse;
        match self.fault {
            Fault::LeasesForEver => terms.hold = Hold::Link,
            Fault::SharesExclusive => terms.exclusive = false,
            Fault::BrowsingTakes => terms.mode = Mode::Move,
            _ => {}
        }
        let (attaching, fault) = (self.session.consumer(terms), self.fault);
        Box::pin(async move {
            let (consumer, attached) = attaching.await?;
            Ok((Box::new(FaultyConsumer::new(consumer, fault, browses)) as Box<dyn Consumer>, attached))
        })
    }

    fn transaction(&self) -> Fut<Box<dyn Transaction>> {
        let (declaring, fault) = (self.session.transaction(), self.fault);
        Box::pin(async move {
            let transaction = declaring.await?;
            Ok(match fault {
                Fault::CommitsOnRollback => Box::new(Committing(transaction)) as Box<dyn Transaction>,
                _ => transaction,
            })
        })
    }

    fn discharged(&self, txn: TxnId) -> Fut<bool> {
        self.session.discharged(txn)
    }

    fn settle(&self, batch: Vec<Disposition>) -> Fut<Vec<Done>> {
        self.session.settle(batch)
    }

    fn manage(&self, request: Manage) -> Fut<Managed> {
        self.session.manage(request)
    }

    fn credential(&self, credential: Credential) -> Fut<Option<Time>> {
        self.session.credential(credential)
    }

    fn poll_event(&self, cx: &mut Context<'_>) -> Poll<SessionEvent> {
        self.session.poll_event(cx)
    }

    fn close(&self, close: Close) -> Fut<()> {
        let second = self.closed.swap(true, Ordering::Relaxed);
        match self.fault {
            Fault::HangsOnSecondClose if second => Box::pin(std::future::pending()),
            Fault::SendsWillAlways => self.session.close(Close { will: true, ..close }),
            _ => self.session.close(close),
        }
    }
}

struct Committing(Box<dyn Transaction>);

impl Transaction for Committing {
    fn id(&self) -> TxnId {
        self.0.id()
    }

    fn commit(self: Box<Self>) -> Fut<()> {
        self.0.commit()
    }

    fn rollback(self: Box<Self>) -> Fut<()> {
        self.0.commit()
    }

    fn prepare(&mut self, gid: Gid) -> Fut<()> {
        self.0.prepare(gid)
    }
}

struct FaultyProducer {
    producer: Box<dyn Producer>,
    fault: Fault,
    sent: u64,
    held: Option<Outgoing>,
    /// Confirms of this wrapper's own, and those of the inner one that it keeps to itself.
    own: Vec<Confirm>,
    hidden: Vec<u64>,
    transactions: BTreeMap<u64, TxnId>,
}

/// Marks the cookie of what was sent twice.
const TWICE: u64 = 1 << 63;

impl FaultyProducer {
    fn new(producer: Box<dyn Producer>, fault: Fault) -> Self {
        let (own, hidden, transactions) = (Vec::new(), Vec::new(), BTreeMap::new());
        Self { producer, fault, sent: 0, held: None, own, hidden, transactions }
    }

    fn pretend(&mut self, outgoing: &Outgoing) {
        if outgoing.qos > Qos::AtMostOnce {
            let (cookie, provisional) = (outgoing.cookie, outgoing.txn);
            self.own.push(Confirm { cookie, outcome: Outcome::Accepted, why: None, provisional });
        }
    }

    fn pass(&mut self, mut outgoing: Outgoing, into: &mut Vec<Outgoing>) {
        self.sent += 1;
        outgoing.message = spoilt(&outgoing.message, self.fault);
        match self.fault {
            Fault::LosesWhatItConfirms if self.sent.is_multiple_of(3) => return self.pretend(&outgoing),
            Fault::ConfirmsEarly => {
                self.pretend(&outgoing);
                self.hidden.push(outgoing.cookie);
                into.extend(self.held.replace(outgoing));
                return;
            }
            Fault::TakesTwice if self.sent.is_multiple_of(3) => {
                let key = outgoing.key.as_ref().map(|_| Key::Number(0x8000_0000 | self.sent as u32));
                into.push(Outgoing { cookie: outgoing.cookie | TWICE, key, ..outgoing.clone() });
            }
            Fault::ForgetsKeys => {
                outgoing.key = outgoing.key.map(|_| Key::Name(Bytes::from(fresh().to_string())));
            }
            Fault::SendsBeforeCommit => {
                self.transactions.extend(outgoing.txn.take().map(|txn| (outgoing.cookie, txn)));
            }
            _ => {}
        }
        into.push(outgoing);
    }
}

fn fresh() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn spoilt(message: &Message, fault: Fault) -> Message {
    let builder = message.to_builder();
    match fault {
        Fault::CorruptsPayloads if message.payload().len() > 1000 => {
            let mut bytes = message.payload().to_bytes().to_vec();
            bytes[999] ^= 1;
            builder.payload(bytes).build()
        }
        Fault::CopiesPayloads => message.detach(),
        Fault::SortsProperties if message.has_details() => builder
            .details(|details| {
                let list = details.properties.iter().map(|(name, value)| (name.clone(), value.clone()));
                let mut sorted: Vec<_> = list.collect();
                sorted.sort_by(|(one, _), (two, _)| one.cmp(two));
                details.properties = sorted.into_iter().collect();
            })
            .build(),
        Fault::ForgetsPriority => builder.priority(Message::PRIORITY_DEFAULT).build(),
        Fault::ForgetsExpiry => builder.expires_at(None).build(),
        Fault::ForgetsRetain => builder.retain(false).build(),
        _ => message.clone(),
    }
}

impl Producer for FaultyProducer {
    fn poll_reserve(&mut self, cx: &mut Context<'_>, messages: u32, bytes: usize) -> Poll<Result<u32>> {
        self.producer.poll_reserve(cx, messages, bytes)
    }

    fn send(&mut self, batch: &mut Vec<Outgoing>) {
        let mut passed = Vec::new();
        for outgoing in batch.drain(..) {
            self.pass(outgoing, &mut passed);
        }
        self.producer.send(&mut passed);
        *batch = passed;
    }

    fn forget(&mut self, keys: &mut Vec<Key>) {
        self.producer.forget(keys);
    }

    fn poll_forgotten(&mut self, cx: &mut Context<'_>, calls: u64) -> Poll<Result<()>> {
        self.producer.poll_forgotten(cx, calls)
    }

    fn poll_confirms(&mut self, cx: &mut Context<'_>, into: &mut Vec<Confirm>) -> Poll<Result<usize>> {
        let before = into.len();
        into.append(&mut self.own);
        let mut found = Vec::new();
        while let Poll::Ready(polled) = self.producer.poll_confirms(cx, &mut found) {
            polled?;
        }
        found.retain(|confirm| confirm.cookie & TWICE == 0 && !self.hidden.contains(&confirm.cookie));
        for mut confirm in found {
            if self.fault == Fault::HidesRefusals {
                confirm = Confirm { outcome: Outcome::Accepted, why: None, ..confirm };
            }
            confirm.provisional = confirm.provisional.or(self.transactions.get(&confirm.cookie).copied());
            into.push(confirm);
        }
        if into.len() > before { Poll::Ready(Ok(into.len() - before)) } else { Poll::Pending }
    }

    fn detach(self: Box<Self>, how: Detach) -> Fut<()> {
        self.producer.detach(how)
    }
}

struct FaultyConsumer {
    /// `None` only while it is being dropped or detached.
    consumer: Option<Box<dyn Consumer>>,
    fault: Fault,
    browses: bool,
    unsettled: Vec<DeliveryRef>,
    own: Vec<Done>,
}

impl FaultyConsumer {
    fn new(consumer: Box<dyn Consumer>, fault: Fault, browses: bool) -> Self {
        Self { consumer: Some(consumer), fault, browses, unsettled: Vec::new(), own: Vec::new() }
    }

    fn inner(&mut self) -> &mut dyn Consumer {
        &mut **self.consumer.as_mut().expect("a consumer that is used is there")
    }

    fn accept(&mut self, delivery: DeliveryRef) {
        let step = Step::Outcome { outcome: Outcome::Accepted, settled: true };
        self.inner().settle(&mut vec![Disposition { delivery, cookie: None, step }]);
    }

    fn spoil(&mut self, mut delivery: Delivery, into: &mut Vec<Delivery>) {
        self.unsettled.extend(delivery.handle.map(DeliveryRef::from));
        match self.fault {
            Fault::AcksBeforeTheReceiver => {
                if let Some(handle) = delivery.handle {
                    self.accept(handle.into());
                }
            }
            Fault::BrowsingTakes if self.browses => delivery.handle = None,
            Fault::RepeatsAtMostOnce if delivery.handle.is_none() => into.push(delivery.clone()),
            Fault::ForgetsBindingIds => {
                delivery.info.iter_mut().for_each(|info| info.bindings.truncate(1));
            }
            _ => {}
        }
        into.push(delivery);
    }

    /// The disposition as it is passed on; `None`: it is answered here.
    fn replace(&mut self, mut disposition: Disposition) -> Option<Disposition> {
        let failed = |outcome: &Outcome| matches!(outcome, Outcome::Modified { delivery_failed: true, .. });
        match (self.fault, &mut disposition.step) {
            (Fault::SwallowsSettlements | Fault::AcksBeforeTheReceiver, Step::Outcome { .. } | Step::Settle) => {
                self.answer(&disposition, Settled::Applied);
                return None;
            }
            (Fault::ForgetsRenewals, Step::Renew) => {
                self.answer(&disposition, Settled::Renewed(Time::MAX));
                return None;
            }
            (Fault::ReleasesRejected, Step::Outcome { outcome: outcome @ Outcome::Rejected(_), .. }) => {
                *outcome = Outcome::Released;
            }
            (Fault::CountsReleases, Step::Outcome { outcome: outcome @ Outcome::Released, .. }) => {
                *outcome = Outcome::FAILED;
            }
            (Fault::ForgetsFailures, Step::Outcome { outcome, .. }) if failed(outcome) => *outcome = Outcome::Released,
            _ => {}
        }
        Some(disposition)
    }

    fn answer(&mut self, disposition: &Disposition, settled: Settled) {
        self.own.extend(disposition.cookie.map(|cookie| Done { cookie, result: Ok(settled) }));
    }
}

impl Consumer for FaultyConsumer {
    fn grant(&mut self, mut grant: Grant) {
        match self.fault {
            Fault::ExceedsCredit => grant.credit = grant.credit.saturating_add(1),
            Fault::KeepsCredit if grant.credit == 0 => return,
            Fault::NeverDrains => grant.drain = false,
            _ => {}
        }
        self.inner().grant(grant);
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>, into: &mut Vec<Delivery>, max: usize) -> Poll<Result<usize>> {
        let (mut received, before) = (Vec::new(), into.len());
        let polled = self.inner().poll_receive(cx, &mut received, max);
        if self.fault == Fault::Reorders && received.len() > 1 {
            received.reverse();
        }
        for delivery in received {
            self.spoil(delivery, into);
        }
        polled.map_ok(|_| into.len() - before)
    }

    fn settle(&mut self, batch: &mut Vec<Disposition>) {
        let mut passed = Vec::new();
        for disposition in batch.drain(..) {
            self.unsettled.retain(|delivery| *delivery != disposition.delivery);
            passed.extend(self.replace(disposition));
        }
        self.inner().settle(&mut passed);
    }

    fn poll_settled(&mut self, cx: &mut Context<'_>, into: &mut Vec<Done>) -> Poll<Result<usize>> {
        let before = into.len();
        into.append(&mut self.own);
        if into.len() > before {
            return Poll::Ready(Ok(into.len() - before));
        }
        let polled = self.inner().poll_settled(cx, into);
        if self.fault == Fault::AppliesLate {
            for done in &mut into[before..] {
                if let Ok(settled @ (Settled::Late | Settled::Repeated)) = &mut done.result {
                    *settled = Settled::Applied;
                }
            }
        }
        polled
    }

    fn bind(&mut self, mut bindings: Vec<Binding>) -> Fut<Vec<Result<Granted>>> {
        for binding in &mut bindings {
            match self.fault {
                Fault::ForgetsGroups => binding.share = None,
                Fault::IgnoresRetainHandling => binding.retain_handling = RetainHandling::Always,
                _ => {}
            }
        }
        self.inner().bind(bindings)
    }

    fn unbind(&mut self, bindings: Vec<Unbind>) -> Fut<Vec<Result<bool>>> {
        if self.fault == Fault::ForgetsUnbind {
            return Box::pin(async move { Ok(bindings.iter().map(|_| Ok(true)).collect()) });
        }
        self.inner().unbind(bindings)
    }

    fn backlog(&self) -> u32 {
        self.consumer.as_ref().map_or(0, |consumer| consumer.backlog())
    }

    fn detach(mut self: Box<Self>, how: Detach) -> Fut<()> {
        self.consumer.take().expect("a consumer that is used is there").detach(how)
    }
}

impl Drop for FaultyConsumer {
    fn drop(&mut self) {
        if self.fault == Fault::DropAccepts && self.consumer.is_some() {
            for delivery in std::mem::take(&mut self.unsettled) {
                self.accept(delivery);
            }
        }
    }
}
