//! What a session receives: deliveries that wait, deliveries that are held, and the order in which they are acknowledged.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::task::{Context, Poll, Waker};

use roadbed_core::client::StoredSession;
use roadbed_core::{
    Address, Binding, CopyId, Delivery, DeliveryId, DeliveryInfo, DeliveryState, Done, Fence, Grant, Handle, Message,
    Outcome, Qos, QueueId, RetainHandling, Time, Unbind, Unsettled,
};

use super::counters::Counters;
use super::names::packet_id;
use super::shared::Wakers;
use super::{ClientConfig, OnRelease};
use crate::Incoming;
use crate::codec::{PacketId, ReasonCode, Version};

mod held;

use held::order;

pub(super) struct Inbound {
    /// In the order of attachment.
    consumers: BTreeMap<u64, Link>,
    next_consumer: u64,
    /// Nobody is there to receive these.
    unrouted: VecDeque<Waiting>,
    entries: BTreeMap<PacketId, Entry>,
    /// Of QoS 1 and of QoS 2: what is to be acknowledged, in the order of arrival on this connection \[MQTT-4.6.0-2, MQTT-4.6.0-3\].
    order: [VecDeque<PacketId>; 2],
    /// The application has forgotten these, and PUBCOMP is due.
    forgotten: Vec<PacketId>,
    bindings: Vec<Bound>,
    /// What MQTT 3 does not say has to be found out by the filters.
    emulates: bool,
    generation: u64,
    /// Counts connections.
    epoch: u32,
    held: u32,
    window: u32,
    /// Waiting messages of QoS 0.
    waiting_plain: usize,
    waiting_bytes: usize,
    paused: bool,
    reconnect: bool,
    version: Version,
    on_release: OnRelease,
    plain_max: usize,
    bytes_max: usize,
    counters: Arc<Counters>,
}

/// A consumer's side of the session.
struct Link {
    /// What its node's address follows goes with it.
    own: bool,
    info: bool,
    credit: u32,
    drain: bool,
    waiting: VecDeque<Waiting>,
    done: Vec<Done>,
    receive: Option<Waker>,
    settled: Option<Waker>,
}

/// A filter that a consumer follows.
struct Bound {
    consumer: u64,
    binding: Binding,
}

/// A delivery that waits to be received.
#[derive(Clone)]
struct Waiting {
    message: Message,
    qos: Qos,
    ids: Vec<u32>,
    attempt: u32,
    /// What it is settled by; none at QoS 0.
    handle: Option<Handle>,
}

/// A message of QoS 1 or 2 that has not come to its end.
struct Entry {
    generation: u64,
    epoch: u32,
    qos: Qos,
    stage: Stage,
    /// Who holds it.
    consumer: Option<u64>,
    /// Who wants to know of PUBREL.
    cookie: Option<u64>,
    /// The application will say when it has forgotten the delivery.
    keep: bool,
    /// To deliver it again.
    again: Option<Waiting>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    /// Not received yet.
    Waiting,
    /// Received, and not settled.
    Held,
    /// Not to be acknowledged on this connection.
    Withheld,
    /// To be acknowledged in its turn.
    Decided(ReasonCode, Option<Arc<String>>),
    /// PUBREC was said; PUBREL is awaited.
    Taken,
    /// PUBREL came, and the application has not said that it has forgotten the delivery.
    Completed,
}

impl Inbound {
    pub(super) fn new(config: &ClientConfig, window: u16, stored: &StoredSession, counters: Arc<Counters>) -> Self {
        let mut this = Self {
            consumers: BTreeMap::new(),
            next_consumer: 0,
            unrouted: VecDeque::new(),
            entries: BTreeMap::new(),
            order: Default::default(),
            forgotten: Vec::new(),
            bindings: Vec::new(),
            emulates: false,
            generation: 0,
            epoch: 0,
            held: 0,
            window: window.into(),
            waiting_plain: 0,
            waiting_bytes: 0,
            paused: false,
            reconnect: false,
            version: config.version,
            on_release: config.on_release,
            plain_max: config.inbox_messages_max,
            bytes_max: config.inbox_bytes_max,
            counters,
        };
        for receipt in &stored.received {
            this.generation += 1;
            let entry = Entry { stage: Stage::Taken, keep: receipt.keep, ..this.entry(Qos::ExactlyOnce) };
            this.entries.extend(packet_id(&receipt.name).map(|id| (id, entry)));
        }
        this
    }

    fn entry(&self, qos: Qos) -> Entry {
        let (generation, epoch) = (self.generation, self.epoch);
        Entry { generation, epoch, qos, stage: Stage::Waiting, consumer: None, cookie: None, keep: false, again: None }
    }

    /// How many consumers there are.
    pub(super) fn consumers(&self) -> usize {
        self.consumers.len()
    }

    /// Whether the consumer is still there.
    pub(super) fn is_attached(&self, consumer: u64) -> bool {
        self.consumers.contains_key(&consumer)
    }

    /// A new consumer; `own` if what it follows ends with it. Otherwise what waits for nobody is its, and what an earlier one has decided and not
    /// forgotten.
    pub(super) fn attach(&mut self, own: bool, info: bool) -> (u64, Vec<Unsettled>) {
        self.next_consumer += 1;
        let waiting = if own { VecDeque::new() } else { core::mem::take(&mut self.unrouted) };
        let (done, receive, settled) = (Vec::new(), None, None);
        let link = Link { own, info, credit: 0, drain: false, waiting, done, receive, settled };
        self.consumers.insert(self.next_consumer, link);
        let unsettled = if own { Vec::new() } else { self.adopt(self.next_consumer) };
        (self.next_consumer, unsettled)
    }

    fn adopt(&mut self, consumer: u64) -> Vec<Unsettled> {
        let epoch = self.epoch;
        let mut left = Vec::new();
        for (id, entry) in self.entries.iter_mut().filter(|(_, entry)| entry.keep && entry.consumer.is_none()) {
            let Some(handle) = Handle::new(id.get(), entry.generation) else { continue };
            entry.consumer = Some(consumer);
            left.push(Unsettled {
                id: delivery_id(entry.generation, epoch, 1),
                handle,
                state: DeliveryState::Decided(Outcome::Accepted),
                qos: entry.qos,
                delivery: None,
            });
        }
        left.sort_unstable_by_key(|unsettled| unsettled.handle.generation());
        left
    }

    /// The consumer is gone: what it held and what waited for it goes to the others, in the order in which it came. The filters that end with it
    /// are told.
    pub(super) fn detach(&mut self, consumer: u64, wakers: &mut Wakers) -> Vec<Unbind> {
        let Some(link) = self.consumers.remove(&consumer) else { return Vec::new() };
        let mut held: Vec<(u64, Waiting)> = Vec::new();
        for entry in self.entries.values_mut().filter(|entry| entry.consumer == Some(consumer)) {
            (entry.consumer, entry.cookie) = (None, None);
            if entry.stage == Stage::Held {
                entry.stage = Stage::Waiting;
                self.held -= 1;
                held.extend(entry.retry().map(|again| (entry.generation, again)));
            }
        }
        held.sort_unstable_by_key(|(generation, _)| *generation);
        held.into_iter().for_each(|(_, waiting)| self.wait(waiting, wakers));
        for waiting in link.waiting {
            self.charge(&waiting, false);
            self.wait(waiting, wakers);
        }
        let (gone, kept) = core::mem::take(&mut self.bindings)
            .into_iter()
            .partition::<Vec<_>, _>(|bound| bound.consumer == consumer && link.own);
        self.bindings = kept;
        gone.into_iter().map(|Bound { binding, .. }| Unbind { filter: binding.filter, share: binding.share }).collect()
    }

    /// A message came.
    pub(super) fn publish(&mut self, incoming: Incoming, wakers: &mut Wakers) {
        let Some(id) = incoming.packet_id else { return self.plain(incoming, wakers) };
        if self.is_known(id, &incoming, wakers) {
            self.counters.duplicates();
            return;
        }
        self.generation += 1;
        let handle = Handle::new(id.get(), self.generation);
        let waiting = self.waiting(incoming, handle);
        let entry = Entry { again: Some(waiting.clone()), ..self.entry(waiting.qos) };
        self.order[order(entry.qos)].push_back(id);
        match self.is_unwanted(&waiting) {
            true => {
                self.entries.insert(id, Entry { stage: Stage::Decided(ReasonCode::Success, None), ..entry });
            }
            false => {
                self.entries.insert(id, entry);
                self.wait(waiting, wakers);
            }
        }
    }

    fn plain(&mut self, incoming: Incoming, wakers: &mut Wakers) {
        let waiting = self.waiting(incoming, None);
        if self.is_unwanted(&waiting) {
            return;
        }
        if self.waiting_plain >= self.plain_max || self.waiting_bytes >= self.bytes_max {
            self.counters.dropped();
            return;
        }
        self.wait(waiting, wakers);
    }

    fn waiting(&self, incoming: Incoming, handle: Option<Handle>) -> Waiting {
        let mut ids = incoming.subscription_ids;
        if self.emulates {
            // MQTT 3 does not tell which subscriptions matched, but the filters are known.
            let matching = self.matching(incoming.message.address());
            ids.extend(matching.filter_map(|bound| bound.binding.id));
        }
        Waiting { message: incoming.message, qos: incoming.qos, ids, attempt: 1 + u32::from(incoming.dup), handle }
    }

    fn matching<'a>(&'a self, address: &'a Address) -> impl Iterator<Item = &'a Bound> {
        self.bindings.iter().filter(move |bound| bound.binding.filter.matches(address))
    }

    /// A retained value that nobody asked for, which MQTT 3 sends all the same.
    fn is_unwanted(&self, waiting: &Waiting) -> bool {
        if !self.emulates || !waiting.message.retain() {
            return false;
        }
        let mut matching = self.matching(waiting.message.address()).peekable();
        let wants = |bound: &Bound| bound.binding.retain_handling != RetainHandling::Never;
        matching.peek().is_some() && !matching.any(wants)
    }

    /// Gives it to whom it is for.
    fn wait(&mut self, waiting: Waiting, wakers: &mut Wakers) {
        self.charge(&waiting, true);
        match self.route(waiting.message.address()).and_then(|consumer| self.consumers.get_mut(&consumer)) {
            Some(link) => {
                link.waiting.push_back(waiting);
                wakers.wake(&mut link.receive);
            }
            None => self.unrouted.push_back(waiting),
        }
    }

    fn charge(&mut self, waiting: &Waiting, on: bool) {
        let (bytes, plain) = (waiting.message.payload().len(), usize::from(waiting.handle.is_none()));
        match on {
            true => (self.waiting_bytes, self.waiting_plain) = (self.waiting_bytes + bytes, self.waiting_plain + plain),
            false => {
                self.waiting_bytes = self.waiting_bytes.saturating_sub(bytes);
                self.waiting_plain = self.waiting_plain.saturating_sub(plain);
            }
        }
    }

    /// The first consumer that follows the address; else the first of the session's own queue.
    fn route(&self, address: &Address) -> Option<u64> {
        if self.consumers.len() > 1
            && let Some(bound) = self.matching(address).find(|bound| self.consumers.contains_key(&bound.consumer))
        {
            return Some(bound.consumer);
        }
        self.consumers.iter().find(|(_, link)| !link.own).or_else(|| self.consumers.iter().next()).map(|(id, _)| *id)
    }

    pub(super) fn grant(&mut self, consumer: u64, grant: Grant, wakers: &mut Wakers) {
        if let Some(link) = self.consumers.get_mut(&consumer) {
            link.credit = grant.credit;
            link.drain = grant.drain;
            wakers.wake(&mut link.receive);
        }
    }

    pub(super) fn poll_receive(
        &mut self,
        consumer: u64,
        cx: &Context<'_>,
        into: &mut Vec<Delivery>,
        max: usize,
        now: Time,
        wakers: &mut Wakers,
    ) -> Poll<usize> {
        let mut count = 0;
        while count < max
            && let Some(waiting) = self.pop(consumer)
        {
            self.charge(&waiting, false);
            if waiting.message.has_expired(now) {
                self.lapse(&waiting, wakers);
                continue;
            }
            into.push(self.hand_over(consumer, waiting, now));
            count += 1;
        }
        if self.paused && self.waiting_bytes < self.bytes_max {
            self.paused = false;
            wakers.wake_driver();
        }
        let Some(link) = self.consumers.get_mut(&consumer) else { return Poll::Pending };
        if count > 0 {
            return Poll::Ready(count);
        }
        if link.drain && link.waiting.is_empty() {
            (link.drain, link.credit) = (false, 0);
            return Poll::Ready(0);
        }
        link.receive = Some(cx.waker().clone());
        Poll::Pending
    }

    /// The next delivery that the consumer's credit and the session's window permit.
    fn pop(&mut self, consumer: u64) -> Option<Waiting> {
        let (held, window) = (self.held, self.window);
        let link = self.consumers.get_mut(&consumer).filter(|link| link.credit > 0)?;
        let asks = link.waiting.front()?.handle.is_some();
        let waiting = if asks && held >= window { None } else { link.waiting.pop_front() };
        if link.waiting.is_empty() && link.waiting.capacity() > 64 {
            link.waiting = VecDeque::new();
        }
        waiting
    }

    fn hand_over(&mut self, consumer: u64, waiting: Waiting, now: Time) -> Delivery {
        if let Some((_, entry)) = waiting.handle.and_then(|handle| find(&mut self.entries, handle)) {
            entry.stage = Stage::Held;
            entry.consumer = Some(consumer);
            self.held += 1;
        }
        let epoch = self.epoch;
        let info = self.consumers.get_mut(&consumer).is_some_and(|link| {
            link.credit -= 1;
            link.info
        });
        let Waiting { message, qos, ids, attempt, handle } = waiting;
        let info = (info || !ids.is_empty()).then(|| {
            let id = delivery_id(handle.map_or(0, Handle::generation), epoch, attempt);
            Box::new(DeliveryInfo { bindings: ids, ..DeliveryInfo::new(id, now) })
        });
        Delivery { retained: message.retain(), message, handle, qos, attempt, info }
    }

    /// Its time has passed before anybody received it.
    fn lapse(&mut self, waiting: &Waiting, wakers: &mut Wakers) {
        self.counters.expired();
        if let Some((_, entry)) = waiting.handle.and_then(|handle| find(&mut self.entries, handle)) {
            entry.stage = Stage::Decided(ReasonCode::Success, None);
            wakers.wake_driver();
        }
    }

    pub(super) fn backlog(&self, consumer: u64) -> u32 {
        self.consumers.get(&consumer).map_or(0, |link| u32::try_from(link.waiting.len()).unwrap_or(u32::MAX))
    }

    /// Whether nothing more is to be read for now.
    pub(super) fn is_full(&mut self) -> bool {
        self.paused = self.waiting_bytes >= self.bytes_max;
        self.paused
    }

    /// The server follows a filter for a consumer. Whether it did before.
    pub(super) fn bound(&mut self, consumer: u64, binding: Binding) -> bool {
        let same = |bound: &Bound| bound.binding.filter == binding.filter && bound.binding.share == binding.share;
        let before = self.bindings.iter().position(same);
        if let Some(at) = before {
            self.bindings.remove(at);
        }
        let asks = binding.id.is_some() || binding.retain_handling == RetainHandling::Never;
        self.emulates |= asks && !self.version.is_v5();
        self.bindings.push(Bound { consumer, binding });
        before.is_some()
    }

    /// The server has stopped. Whether it followed the filter before, as far as is known here.
    pub(super) fn unbound(&mut self, unbind: &Unbind) -> bool {
        let count = self.bindings.len();
        self.bindings.retain(|Bound { binding, .. }| binding.filter != unbind.filter || binding.share != unbind.share);
        self.bindings.len() < count
    }

    /// Everything that is followed.
    pub(super) fn bindings(&self) -> impl Iterator<Item = (u64, &Binding)> {
        self.bindings.iter().map(|bound| (bound.consumer, &bound.binding))
    }

    pub(super) fn wake_all(&mut self, wakers: &mut Wakers) {
        for link in self.consumers.values_mut() {
            wakers.wake(&mut link.receive);
            wakers.wake(&mut link.settled);
        }
    }
}

/// A name that no other delivery of the session has. MQTT has none that outlives the connection.
const fn delivery_id(seq: u64, epoch: u32, attempt: u32) -> DeliveryId {
    DeliveryId { copy: CopyId { queue: QueueId(0), seq }, fence: Fence { epoch, attempt } }
}

/// The message that a handle names; generation 0 is whoever is there.
fn find(entries: &mut BTreeMap<PacketId, Entry>, handle: Handle) -> Option<(PacketId, &mut Entry)> {
    let id = PacketId::new(handle.slot())?;
    let entry = entries.get_mut(&id)?;
    (handle.generation() == 0 || handle.generation() == entry.generation).then_some((id, entry))
}
