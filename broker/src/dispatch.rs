//! Where one message goes, decided as a whole before any of it happens: a fan-out is one commit.

use std::sync::Arc;

use roadbed_core::{Condition, Message, Outcome, Qos, Time};

use crate::broker::Shared;
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

/// One message on its way to all of its destinations. Room in queues is reserved; given back if the plan is dropped.
#[derive(Debug)]
pub(crate) struct Plan {
    message: Message,
    copies: Vec<Planned>,
    retain: Option<Qos>,
    /// It takes the place of a last value that the store knows.
    supersedes: bool,
    /// It is to be stored where it can be.
    asked: bool,
    /// Something of it is for the store.
    pub(crate) stored: bool,
    unrouted: bool,
    /// When it was appended to logs.
    at: Time,
    /// Bounds do not stand against it.
    owed: bool,
}

#[derive(Debug)]
struct Planned {
    to: To,
    qos: Qos,
    durable: bool,
    seq: Option<u64>,
}

#[derive(Debug)]
enum To {
    Session { session: Arc<SessionCore>, retained: bool, ids: Option<Arc<[u32]>>, group: Option<Arc<Group>> },
    Queue { queue: Arc<Queue>, reserved: bool },
    Log { log: Arc<Log>, partition: Arc<Partition> },
}

impl Plan {
    /// Finds a place for every copy, or says why there is none.
    pub(crate) fn new(shared: &Shared, route: &Route, message: &Message, qos: Qos, from: u64) -> Result<Self, Verdict> {
        Self::make(shared, route, message, qos, from, false)
    }

    /// The plan of a message that is owed: queues take it even if they are full.
    pub(crate) fn promised(
        shared: &Shared,
        route: &Route,
        message: &Message,
        qos: Qos,
        from: u64,
    ) -> Result<Self, Verdict> {
        Self::make(shared, route, message, qos, from, true)
    }

    fn make(
        shared: &Shared,
        route: &Route,
        message: &Message,
        qos: Qos,
        from: u64,
        owed: bool,
    ) -> Result<Self, Verdict> {
        let (retain, copies) = (message.retain().then_some(qos), Vec::new());
        let asked = shared.is_stored(message, qos);
        let supersedes = retain.is_some() && shared.retained.is_stored(message.address());
        let (owned, stored, unrouted) = (message.clone(), false, false);
        let mut plan =
            Self { message: owned, copies, retain, supersedes, asked, stored, unrouted, at: Time::ZERO, owed };
        if message.live() {
            plan.add_live(route, from)?;
            return Ok(plan);
        }
        if waits(shared, route, message) {
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

    fn add(&mut self, shared: &Shared, target: &Target, qos: Qos, from: u64) -> Result<(), Verdict> {
        let (mut stored, asked) = (true, self.asked);
        let (to, qos) = match target {
            Target::Log(log, partition) => return self.add_log(shared, log, *partition, qos, from),
            Target::Session(to) if to.no_local && from == to.session.id => return Ok(()),
            Target::Session(to) => {
                let (session, ids) = (to.session.clone(), to.ids.clone());
                let retained = to.retain_as_published && self.message.retain();
                (To::Session { session, retained, ids, group: None }, qos.min(to.qos_max))
            }
            Target::Queue(queue, qos_max) => {
                let reserved = match queue.reserve(shared, &self.message) {
                    Err(condition) if !self.owed => return Err(Verdict::Refused(condition)),
                    Err(_) => false,
                    Ok(durable) => {
                        stored = durable;
                        true
                    }
                };
                (To::Queue { queue: queue.clone(), reserved }, qos.min(*qos_max))
            }
            Target::Group(group) => {
                let Some(member) = group.choose() else { return Ok(()) };
                let retained = member.retain_as_published && self.message.retain();
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
        self.copies.push(Planned { to, qos, durable, seq: None });
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
        let partition = match partition {
            Some(number) => &log.partitions[number as usize],
            None => log.partition_for(&self.message, from),
        };
        let to = To::Log { log: log.clone(), partition: partition.clone() };
        self.copies.push(Planned { to, qos, durable: true, seq: None });
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
                Ok(to) => self.copies.push(Planned { to, qos: Qos::AtMostOnce, durable: false, seq: None }),
                Err(Condition::Busy) => why = Condition::Busy,
                Err(_) => {}
            }
        }
        if self.copies.is_empty() { Err(Verdict::Released(why)) } else { Ok(()) }
    }

    /// What the store is told. Takes positions, so only while nothing else can be submitted.
    pub(crate) fn ops(&mut self, shared: &Shared, ops: &mut Vec<Op>) {
        let (mut copies, mut logs) = (Vec::new(), Vec::new());
        for planned in self.copies.iter_mut().filter(|planned| planned.durable) {
            let (copy, retained, bindings) = match &planned.to {
                To::Session { session, retained, ids, .. } => {
                    let Some(copy) = session.take_copy_id() else { continue };
                    (copy, *retained, ids.as_deref().map_or_else(Vec::new, <[u32]>::to_vec))
                }
                To::Queue { queue, .. } => (queue.copy_id(queue.take_seq()), false, Vec::new()),
                To::Log { partition, .. } => {
                    logs.push(partition.clone());
                    continue;
                }
            };
            planned.seq = Some(copy.seq);
            copies.push(NewCopy { copy, qos: planned.qos, retained, bindings });
        }
        if !copies.is_empty() {
            ops.push(Op::Enqueue { message: self.message.clone(), at: shared.now(), copies });
        }
        let logs: Vec<_> = logs.into_iter().filter(|partition| !partition.is_deleted()).collect();
        if !logs.is_empty() {
            let now = shared.now();
            self.at = logs.iter().map(|partition| partition.enqueued_at(now)).max().unwrap_or(now);
            // None of them has a message of an earlier time behind it.
            for partition in &logs {
                partition.enqueued_at(self.at);
            }
            let partitions = logs.iter().map(|partition| partition.id).collect();
            ops.push(Op::Append { message: self.message.clone(), at: self.at, partitions });
        }
        if let (Some(qos), true) = (self.retain, self.asked || self.supersedes) {
            let key = RowKey::Retained(self.message.address().clone());
            // What is not stored itself must not leave an older value behind, which would be back after a restart.
            ops.push(match self.message.payload().is_empty() || !self.asked {
                true => Op::Delete(key),
                false => Op::Put(key, Row::Retained(self.message.clone(), qos)),
            });
        }
    }

    /// Takes positions for what is not for the store, so that what is sent after it, and stored, stays behind it.
    pub(crate) fn take_positions(&mut self) {
        for planned in &mut self.copies {
            if let To::Queue { queue, .. } = &planned.to {
                planned.seq = Some(queue.take_seq());
            }
        }
    }

    /// What the sender is told when it is done.
    pub(crate) fn verdict(&self) -> Verdict {
        if self.unrouted { Verdict::Unrouted } else { Verdict::Taken }
    }

    /// Does it.
    pub(crate) fn apply(mut self, shared: &Shared) {
        if let Some(qos) = self.retain {
            shared.retained.set(shared, &self.message, qos, self.asked);
        }
        for planned in std::mem::take(&mut self.copies) {
            let Planned { to, qos, durable, seq } = planned;
            match to {
                To::Session { session, retained, ids, group } => {
                    let mut entry = Entry::new(self.message.clone(), qos, retained);
                    if let Some(seq) = seq {
                        entry.set_stored();
                        entry.seq = seq as u32;
                    }
                    let ids = ids.as_deref().unwrap_or_default();
                    match group {
                        Some(group) => session.push_shared(shared, &group, entry, ids.first().copied()),
                        // A full queue has counted what it dropped.
                        None => drop(session.push_entry(shared, entry, ids)),
                    }
                }
                To::Log { log, partition } => {
                    partition.appended(shared, &self.message, self.at);
                    shared.check_room(&log, &partition);
                }
                To::Queue { queue, reserved } => queue.put(shared, &self.message, qos, (seq, durable), reserved),
            }
        }
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
                queue.unreserve(&self.message);
            }
        }
    }
}
