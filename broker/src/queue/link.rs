//! A consumer's link to a queue.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::Waker;

use bytestring::ByteString;
use roadbed_core::{
    ConsumerTerms, Delivery, DeliveryId, DeliveryInfo, DeliveryState, Handle, Hold, Message, Mode, Origin, Outcome,
    Qos, Settle, TxnId, Unsettled,
};

use super::{After, Queue};
use crate::broker::Shared;
use crate::lock;
use crate::mailbox::{Effects, SessionCore};
use crate::store::Holder;
use crate::wakers::Wakeup;

/// A consumer's link to a queue: shared by the consumer, the queue and the slots of what it holds.
#[derive(Debug)]
pub(crate) struct Link {
    queue: Arc<Queue>,
    pub(crate) terms: LinkTerms,
    pub(crate) session: Weak<SessionCore>,
    /// Which connection of the session attached it.
    epoch: u32,
    pub(crate) owner: Arc<Owner>,
    /// What the store is told of who holds: only of links that remember what they hold over our restart.
    pub(super) holder: Option<Box<Holder>>,
    /// The session's own consumer takes from it, beside its own queue.
    via_session: bool,
    pub(crate) qos_max: Qos,
    pub(crate) binding: Option<u32>,
    pub(crate) ended: AtomicBool,
    pub(crate) waiting: AtomicBool,
    pub(crate) cursor: AtomicU64,
    wakeup: Wakeup,
    /// Commits that what was taken waits for.
    pub(crate) pending: AtomicUsize,
    /// What was taken, and may be handed over now.
    granted: Mutex<VecDeque<Pull>>,
}

/// What is left of a consumer's terms once it is attached; its name is the owner's.
#[derive(Debug)]
pub(crate) struct LinkTerms {
    pub(crate) hold: Hold,
    pub(crate) mode: Mode,
    pub(crate) settle: Settle,
    pub(crate) exclusive: bool,
    pub(crate) info: bool,
}

/// To whom a hold belongs.
#[derive(Clone, Debug)]
pub(crate) struct Owner {
    pub(crate) session: u64,
    pub(crate) session_name: Option<ByteString>,
    pub(crate) link: Option<ByteString>,
    pub(crate) origin: Arc<Origin>,
    /// How long it may hold, if not as long as it is there.
    pub(crate) lease: Option<std::time::Duration>,
    /// What becomes of its delivery if it forgets it and says nothing that counts.
    pub(crate) on_lapse: Outcome,
}

/// A copy that a link has taken from its queue.
#[derive(Debug)]
pub(crate) struct Pull {
    pub(crate) message: Message,
    pub(crate) qos: Qos,
    pub(crate) seq: u64,
    pub(crate) attempt: u32,
    /// It is to be settled.
    pub(crate) held: bool,
    pub(crate) txn: Option<TxnId>,
    pub(crate) info: Option<Box<DeliveryInfo>>,
}

/// A delivery of an earlier attachment, said again.
#[derive(Debug)]
pub(crate) struct Again {
    pub(crate) state: DeliveryState,
    pub(crate) qos: Qos,
    pub(crate) attempt: u32,
    pub(crate) message: Option<Message>,
    pub(crate) info: Option<Box<DeliveryInfo>>,
}

impl Again {
    pub(crate) fn unsettled(self, id: DeliveryId, handle: Handle) -> Unsettled {
        let Self { state, qos, attempt, message, info } = self;
        let delivery =
            message.map(|message| Delivery { message, handle: Some(handle), qos, retained: false, attempt, info });
        Unsettled { id, handle, state, qos, delivery }
    }
}

impl Link {
    pub(crate) fn new(
        queue: Arc<Queue>,
        session: &Arc<SessionCore>,
        terms: ConsumerTerms,
        via: Option<Option<u32>>,
    ) -> Self {
        let owner = Owner {
            session: session.id,
            session_name: session.name.clone(),
            link: terms.name,
            origin: session.origin.clone(),
            lease: match terms.hold {
                Hold::Lease(lease) => Some(lease),
                _ => None,
            },
            on_lapse: terms.on_lapse,
        };
        Self {
            queue,
            session: Arc::downgrade(session),
            epoch: session.epoch(),
            owner: Arc::new(owner),
            holder: None,
            via_session: via.is_some(),
            qos_max: terms.qos_max,
            terms: LinkTerms {
                hold: terms.hold,
                mode: terms.mode,
                settle: terms.settle,
                exclusive: terms.exclusive,
                info: terms.info,
            },
            binding: via.flatten(),
            ended: AtomicBool::new(false),
            waiting: AtomicBool::new(false),
            cursor: AtomicU64::new(0),
            wakeup: Wakeup::default(),
            pending: AtomicUsize::new(0),
            granted: Mutex::default(),
        }
    }

    /// The store is told of what it holds, if both ends remember that over our restart: by a lease, or with a kept session and the receiver
    /// settling first.
    pub(crate) fn remembering(mut self, shared: &Shared, session: &SessionCore) -> Self {
        let principal = session.origin.principal.clone();
        if let Some(lease) = self.owner.lease {
            let (link, epoch) = (self.owner.link.clone(), shared.boot_epoch);
            self.holder = Some(Box::new(Holder::Lease { principal, link, epoch, lease }));
            return self;
        }
        let remembers = self.terms.hold == Hold::Session && self.terms.settle == Settle::Second && session.is_durable();
        let named = self.owner.link.clone().zip(session.name.clone()).filter(|_| remembers);
        self.holder = named.map(|(link, session)| Box::new(Holder::Link { principal, session, link }));
        self
    }

    pub(crate) fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }

    /// Whether it has taken something that is not handed over yet.
    pub(crate) fn is_taking(&self) -> bool {
        self.pending.load(Ordering::Acquire) > 0 || !lock(&self.granted).is_empty()
    }

    /// Whether what it hands over counts against the credit of the session's own consumer.
    pub(crate) fn spends_session_credit(&self) -> bool {
        self.via_session
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Whether `next` is attached in its place: it has ended, or its connection counts no more.
    pub(crate) fn is_replaced_by(&self, next: &Self) -> bool {
        self.has_ended() || self.epoch != next.epoch
    }

    /// Takes at most `want` copies; whether there are more to be had now. If not, the queue will notify.
    pub(crate) fn pull(
        self: &Arc<Self>,
        shared: &Shared,
        want: usize,
        txn: Option<TxnId>,
        out: &mut Vec<Pull>,
        after: &mut After,
    ) -> bool {
        if self.has_ended() {
            return false;
        }
        if self.pending.load(Ordering::Acquire) > 0 {
            return false;
        }
        let expired = self.take_granted(shared, want, out);
        if !expired.is_empty() {
            after.returned.push((self.clone(), expired));
        }
        if !out.is_empty() {
            return true;
        }
        match self.terms.mode {
            Mode::Move => self.queue.acquire(shared, self, want, txn, out, after),
            Mode::Browse => self.queue.browse(shared, self, want, out, after),
        }
    }

    /// Takes what may be handed over; returns what has expired since it was taken.
    fn take_granted(&self, shared: &Shared, want: usize, out: &mut Vec<Pull>) -> Vec<Pull> {
        let (mut granted, mut expired) = (lock(&self.granted), Vec::new());
        if granted.is_empty() {
            return expired;
        }
        let (now, target) = (shared.now(), out.len() + want);
        while out.len() < target {
            let Some(pull) = granted.pop_front() else { break };
            if pull.message.has_expired(now) { expired.push(pull) } else { out.push(pull) }
        }
        expired
    }

    /// The store knows: what was taken may be handed over, if the link is still there.
    pub(crate) fn grant(self: &Arc<Self>, shared: &Shared, pulls: Vec<Pull>) {
        lock(&self.granted).extend(pulls);
        self.pending.fetch_sub(1, Ordering::AcqRel);
        if self.has_ended() {
            return self.give_back_granted(shared);
        }
        self.notify();
    }

    /// The link has ended: what it has not handed over is as if it had never been taken.
    pub(crate) fn give_back_granted(&self, shared: &Shared) {
        let pulls = std::mem::take(&mut *lock(&self.granted));
        self.give_back(shared, pulls);
    }

    /// What was taken is not handed over. What asks for no answer has come to its end all the same.
    pub(crate) fn give_back(&self, shared: &Shared, pulls: impl IntoIterator<Item = Pull>) {
        let (mut effects, mut dead) = (Effects::default(), Vec::new());
        for pull in pulls.into_iter().filter(|pull| pull.held) {
            self.queue.lapse(shared, pull.seq, pull.attempt, Outcome::Released, &mut effects, &mut dead);
        }
        shared.finish(effects, dead);
    }

    /// What is held in the name of an earlier attachment, to be said again.
    pub(crate) fn again(&self, shared: &Shared, seq: u64, attempt: u32) -> Option<Again> {
        self.queue.again(shared, self, seq, attempt)
    }

    /// What becomes of a delivery whose hold ends.
    pub(crate) fn on_lapse(&self) -> Outcome {
        self.owner.on_lapse.clone()
    }

    pub(crate) fn lease(&self) -> Option<std::time::Duration> {
        self.owner.lease
    }

    pub(crate) fn register(&self, waker: &Waker) {
        self.wakeup.register(waker);
    }

    /// Wakes the consumer: there may be something to take.
    pub(crate) fn notify(self: &Arc<Self>) {
        if self.via_session {
            if let Some(session) = self.session.upgrade() {
                session.link_ready(self);
            }
            return;
        }
        self.wakeup.wake();
    }
}
