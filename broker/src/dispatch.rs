//! Where messages go, decided as a whole before any of it happens: a fan-out is one commit, and a run of messages one batch of them.

use std::sync::Arc;

use roadbed_core::{Condition, CopyId, Message, Outcome, Qos, Time};

use crate::broker::Shared;
use crate::commits::Failed;
use crate::entry::Entry;
use crate::log::{Log, Partition};
use crate::mailbox::SessionCore;
use crate::queue::Queue;
use crate::router::{Group, Route, Target};
use crate::store::{NewCopy, Op, Row, RowKey};

/// What became of a message that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Every destination took its copy.
    Taken,
    /// The address is valid, and nothing is bound to it.
    Unrouted,
    /// Nobody is to blame: a live message found nobody, or the store is not there.
    Released(Condition),
    /// It is refused.
    Refused(Condition),
}

impl Verdict {
    pub(crate) fn outcome(self) -> (Outcome, Option<Condition>) {
        match self {
            Self::Taken => (Outcome::Accepted, None),
            Self::Unrouted => (Outcome::Released, Some(Condition::NoRoute)),
            Self::Released(condition) => (Outcome::Released, Some(condition)),
            Self::Refused(condition) => (Outcome::rejected(condition), Some(condition)),
        }
    }
}

/// Messages of one address on their way to all of its destinations: a run for which nothing special is asked, or one of any kind. Room in queues is
/// reserved; given back if the plan is dropped.
#[derive(Debug)]
pub(crate) struct Plan {
    messages: Vec<Message>,
    copies: Vec<Planned>,
    retain: Option<Qos>,
    /// They take the place of a last value that the store knows.
    supersedes: bool,
    /// They are to be stored where they can be.
    asked: bool,
    /// Something of them is for the store.
    pub(crate) stored: bool,
    unrouted: bool,
    /// When they were appended to logs.
    at: Time,
    /// Bounds do not stand against them.
    owed: bool,
}

/// One destination of all messages of a plan.
#[derive(Debug)]
struct Planned {
    to: To,
    qos: Qos,
    durable: bool,
    /// The queue and the position of the first message; those of the others follow.
    first: Option<CopyId>,
}

#[derive(Debug)]
enum To {
    Session { session: Arc<SessionCore>, retained: bool, ids: Option<Arc<[u32]>>, group: Option<Arc<Group>> },
    Queue { queue: Arc<Queue>, reserved: bool },
    Log { log: Arc<Log>, partition: Arc<Partition> },
}

impl Plan {
    /// Finds a place for every copy of one message, or says why there is none.
    pub(crate) fn new(shared: &Shared, route: &Route, message: &Message, qos: Qos, from: u64) -> Result<Self, Verdict> {
        Self::make(shared, route, vec![message.clone()], qos, from, false)
    }

    /// The plan of a message that is owed: queues take it even if they are full.
    pub(crate) fn promised(
        shared: &Shared,
        route: &Route,
        message: &Message,
        qos: Qos,
        from: u64,
    ) -> Result<Self, Verdict> {
        Self::make(shared, route, vec![message.clone()], qos, from, true)
    }

    /// The plan of a run of messages, all of one address, assurance and durability, for which nothing else is asked; or of one of any kind. It ends before the
    /// first that cannot go with those before it.
    pub(crate) fn run(
        shared: &Shared,
        route: &Route,
        messages: Vec<Message>,
        qos: Qos,
        from: u64,
    ) -> Result<Self, Verdict> {
        Self::make(shared, route, messages, qos, from, false)
    }

    fn make(
        shared: &Shared,
        route: &Route,
        messages: Vec<Message>,
        qos: Qos,
        from: u64,
        owed: bool,
    ) -> Result<Self, Verdict> {
        let first = messages[0].clone();
        let (retain, copies) = (first.retain().then_some(qos), Vec::new());
        let asked = shared.is_stored(&first, qos);
        let supersedes = retain.is_some() && shared.retained.is_stored(first.address());
        let mut plan =
            Self { messages, copies, retain, supersedes, asked, stored: false, unrouted: false, at: Time::ZERO, owed };
        if first.live() {
            plan.add_live(route, from)?;
            return Ok(plan);
        }
        if waits(shared, route, &first) {
            let queue = shared.later().map_err(Verdict::Refused)?;
            (plan.retain, plan.unrouted) = (None, false);
            plan.add(shared, &Target::Queue(queue, Qos::ExactlyOnce), qos, from)?;
        } else {
            for target in &route.targets {
                plan.add(shared, target, qos, from)?;
            }
            plan.unrouted = route.targets.is_empty() && retain.is_none();
        }
        let retained = plan.retain.is_some() && (asked || supersedes);
        plan.stored = plan.copies.iter().any(|copy| copy.durable) || retained;
        Ok(plan)
    }

    /// The bytes of its messages.
    pub(crate) fn cost(&self) -> usize {
        self.messages.iter().map(Message::cost).sum()
    }

    /// How many messages it has: one at least.
    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    /// Leaves the messages from `len` on out.
    pub(crate) fn truncate(&mut self, len: usize) {
        for planned in &self.copies {
            if let To::Queue { queue, reserved: true } = &planned.to {
                queue.unreserve(&self.messages[len..]);
            }
        }
        self.messages.truncate(len);
    }

    fn add(&mut self, shared: &Shared, target: &Target, qos: Qos, from: u64) -> Result<(), Verdict> {
        let (mut stored, asked) = (true, self.asked);
        let (to, qos) = match target {
            Target::Log(log, partition) => return self.add_log(shared, log, *partition, qos, from),
            Target::Session(to) if to.no_local && from == to.session.id => return Ok(()),
            Target::Session(to) => {
                let (session, ids) = (to.session.clone(), to.ids.clone());
                let retained = to.retain_as_published && self.messages[0].retain();
                (To::Session { session, retained, ids, group: None }, qos.min(to.qos_max))
            }
            Target::Queue(queue, qos_max) => {
                let reserved = match queue.reserve(shared, &self.messages) {
                    Err(condition) if !self.owed => return Err(Verdict::Refused(condition)),
                    Err(_) => false,
                    Ok((count, durable)) => {
                        self.truncate(count);
                        stored = durable;
                        true
                    }
                };
                (To::Queue { queue: queue.clone(), reserved }, qos.min(*qos_max))
            }
            Target::Group(group) => {
                let Some(member) = group.choose() else { return Ok(()) };
                // Each is for a member of its own.
                self.truncate(1);
                let retained = member.retain_as_published && self.messages[0].retain();
                let ids = member.id.map(|id| Arc::from([id]));
                let to = To::Session { session: member.session, retained, ids, group: Some(group.clone()) };
                (to, qos.min(member.qos_max))
            }
        };
        let durable = asked
            && stored
            && match &to {
                To::Session { session, .. } => qos > Qos::AtMostOnce && session.is_durable(),
                To::Queue { .. } | To::Log { .. } => true,
            };
        self.copies.push(Planned { to, qos, durable, first: None });
        Ok(())
    }

    /// A log stores everything that it gets, whatever was asked. What follows the partition has its copies by the same plan.
    fn add_log(
        &mut self,
        shared: &Shared,
        log: &Arc<Log>,
        partition: Option<u32>,
        qos: Qos,
        from: u64,
    ) -> Result<(), Verdict> {
        // Each is for a partition of its own.
        self.truncate(1);
        let partition = match partition {
            Some(number) => &log.partitions[number as usize],
            None => log.partition_for(&self.messages[0], from),
        };
        let to = To::Log { log: log.clone(), partition: partition.clone() };
        self.copies.push(Planned { to, qos, durable: true, first: None });
        let followers = shared.followers.cached(&partition.address, shared.settings.routes_cached_max);
        followers.targets.iter().try_for_each(|target| self.add(shared, target, qos, from))
    }

    /// Only to consumers that are attached and have credit now, and at most once.
    fn add_live(&mut self, route: &Route, from: u64) -> Result<(), Verdict> {
        let mut why = Condition::NoConsumer;
        for target in &route.targets {
            let live = match target {
                Target::Log(..) => continue,
                Target::Session(to) if to.no_local && from == to.session.id => continue,
                Target::Session(to) => to.session.live().map(|()| {
                    let (session, ids) = (to.session.clone(), to.ids.clone());
                    To::Session { session, retained: false, ids, group: None }
                }),
                Target::Queue(queue, _) => queue.live().map(|()| To::Queue { queue: queue.clone(), reserved: false }),
                Target::Group(group) => group.choose().ok_or(Condition::NoConsumer).and_then(|member| {
                    member.session.live()?;
                    let (session, group) = (member.session, Some(group.clone()));
                    Ok(To::Session { session, retained: false, ids: None, group })
                }),
            };
            match live {
                Ok(to) => self.copies.push(Planned { to, qos: Qos::AtMostOnce, durable: false, first: None }),
                Err(Condition::Busy) => why = Condition::Busy,
                Err(_) => {}
            }
        }
        if self.copies.is_empty() { Err(Verdict::Released(why)) } else { Ok(()) }
    }

    /// What the store is told of one message, as part of a larger unit. Takes positions, so only while nothing else can be submitted.
    pub(crate) fn ops(&mut self, shared: &Shared, ops: &mut Vec<Op>) {
        debug_assert_eq!(self.len(), 1, "a run is a unit for each message");
        self.take_stored_positions(shared, shared.now());
        self.ops_of(0, shared.now(), ops);
    }

    /// Takes positions for what is for the store; only while nothing else can be submitted.
    pub(crate) fn take_stored_positions(&mut self, shared: &Shared, now: Time) {
        let count = self.messages.len() as u64;
        for planned in self.copies.iter_mut().filter(|planned| planned.durable) {
            planned.first = match &planned.to {
                To::Session { session, .. } => session.take_copy_ids(shared, count),
                To::Queue { queue, .. } => Some(queue.copy_id(queue.take_seqs(shared, count))),
                To::Log { .. } => None,
            };
        }
        self.at = self.latest(now);
        // None of the logs has a message of an earlier time behind it.
        self.latest(self.at);
    }

    /// The time of what is appended at `at` by the clocks of the logs.
    fn latest(&self, at: Time) -> Time {
        self.partitions().map(|partition| partition.enqueued_at(at)).max().unwrap_or(at)
    }

    fn partitions(&self) -> impl Iterator<Item = &Arc<Partition>> {
        self.copies.iter().filter_map(|planned| match &planned.to {
            To::Log { partition, .. } => Some(partition),
            _ => None,
        })
    }

    /// What the store is told of the message at `n`, enqueued at `at`.
    pub(crate) fn ops_of(&self, n: usize, at: Time, ops: &mut Vec<Op>) {
        let message = &self.messages[n];
        let mut copies = Vec::new();
        for planned in self.copies.iter().filter(|planned| planned.durable) {
            let Some(copy) = planned.copy(n) else { continue };
            let (retained, bindings) = match &planned.to {
                To::Session { retained, ids, .. } => (*retained, ids.as_deref().map_or_else(Vec::new, <[u32]>::to_vec)),
                To::Queue { .. } | To::Log { .. } => (false, Vec::new()),
            };
            copies.push(NewCopy { copy, qos: planned.qos, retained, bindings });
        }
        if !copies.is_empty() {
            ops.push(Op::Enqueue { message: message.clone(), at, copies });
        }
        let logs = self.partitions().filter(|partition| !partition.is_deleted());
        let partitions: Vec<_> = logs.map(|partition| partition.id).collect();
        if !partitions.is_empty() {
            ops.push(Op::Append { message: message.clone(), at: self.at, partitions });
        }
        if let (Some(qos), true) = (self.retain, self.asked || self.supersedes) {
            let key = RowKey::Retained(message.address().clone());
            // What is not stored itself must not leave an older value behind, which would be back after a restart.
            ops.push(match message.payload().is_empty() || !self.asked {
                true => Op::Delete(key),
                false => Op::Put(key, Row::Retained(message.clone(), qos)),
            });
        }
    }

    /// Takes positions for what is not for the store, so that what is sent after it, and stored, stays behind it.
    pub(crate) fn take_positions(&mut self, shared: &Shared) {
        for planned in &mut self.copies {
            if let To::Queue { queue, .. } = &planned.to {
                planned.first = Some(queue.copy_id(queue.take_seqs(shared, self.messages.len() as u64)));
            }
        }
    }

    /// What the sender is told when it is done.
    pub(crate) fn verdict(&self) -> Verdict {
        if self.unrouted { Verdict::Unrouted } else { Verdict::Taken }
    }

    /// Does it.
    pub(crate) fn apply(self, shared: &Shared) {
        self.apply_but(shared, &[], 0);
    }

    /// Does it, but for the messages at `failed`, in order, less `base`, which the store has not taken.
    pub(crate) fn apply_but(mut self, shared: &Shared, failed: &Failed, base: usize) {
        let kept = |n: &usize| failed.binary_search_by_key(&(base + n), |(at, _)| *at).is_err();
        let messages = std::mem::take(&mut self.messages);
        if let Some(qos) = self.retain {
            (0..messages.len()).filter(kept).for_each(|n| shared.retained.set(shared, &messages[n], qos, self.asked));
        }
        for planned in std::mem::take(&mut self.copies) {
            let incoming =
                (0..messages.len()).filter(kept).map(|n| (&messages[n], planned.copy(n).map(|copy| copy.seq)));
            match &planned.to {
                To::Session { session, retained, ids, group } => {
                    let entries = incoming.map(|(message, seq)| {
                        let mut entry = Entry::new(message.clone(), planned.qos, *retained);
                        if let Some(seq) = seq {
                            entry.set_stored();
                            entry.seq = seq as u32;
                        }
                        entry
                    });
                    let ids = ids.as_deref().unwrap_or_default();
                    match group {
                        Some(group) => {
                            entries.for_each(|entry| session.push_shared(shared, group, entry, ids.first().copied()));
                        }
                        // A full queue has counted what it dropped.
                        None => session.push_entries(shared, entries, ids),
                    }
                }
                To::Log { log, partition } => {
                    for (message, _) in incoming {
                        partition.appended(shared, message, self.at);
                        shared.check_room(log, partition);
                    }
                }
                To::Queue { queue, reserved } => {
                    queue.put_all(shared, incoming, planned.qos, planned.durable, *reserved);
                    if *reserved {
                        failed.iter().for_each(|(at, _)| queue.unreserve(&messages[at - base..=at - base]));
                    }
                }
            }
        }
    }
}

impl Planned {
    /// The name of its copy of the message at `n`, if that is known before it is put.
    fn copy(&self, n: usize) -> Option<CopyId> {
        self.first.map(|first| CopyId { seq: first.seq + n as u64, ..first })
    }
}

/// Whether a message is for later, and not to a queue, which keeps its own time.
fn waits(shared: &Shared, route: &Route, message: &Message) -> bool {
    let later = message.has_details() && message.details().deliver_after.is_some_and(|at| !at.has_passed(shared.now()));
    later && message.address().queue().is_none() && (message.retain() || !route.targets.is_empty())
}

impl Drop for Plan {
    fn drop(&mut self) {
        for planned in &self.copies {
            if let To::Queue { queue, reserved: true } = &planned.to {
                queue.unreserve(&self.messages);
            }
        }
    }
}
