//! Declaring, describing, trimming and deleting logs; and the checkpoints of their groups.

use std::sync::Arc;

use bytestring::ByteString;
use hashbrown::HashMap;
use roadbed_core::{
    Address, Binding, Checkpoint, Error, ErrorKind, LogDescription, LogSettings, Manage, Managed, PartitionDescription,
    QueueId, Result, Unbind,
};

use super::reading::checkpoint_op;
use super::{Log, Partition};
use crate::bindings::unfollow;
use crate::broker::Shared;
use crate::lock;
use crate::registry::own;
use crate::router::Target;
use crate::session::Stored;
use crate::store::{LogRow, Op, Row, RowKey};
use crate::waiter::waiter;

/// What is answered when it is stored.
type Answered = std::pin::Pin<Box<dyn Future<Output = Result<Managed>> + Send>>;

impl Shared {
    /// Answers a request about a log; `None`: it is about something else.
    pub(crate) fn manage_log(&self, request: &Manage) -> Option<Result<Answered>> {
        let address = match request {
            Manage::DeclareLog(address, settings) => return Some(self.declare_log(address, *settings)),
            Manage::Checkpoint(asked) => return Some(self.checkpoint(asked)),
            Manage::Delete(address) | Manage::Purge(address) | Manage::Describe(address) => address,
            Manage::Bind(address, _) | Manage::Unbind(address, _) | Manage::Trim(address, _) => address,
            _ => return None,
        };
        address.log()?;
        Some(self.existing_log(address).and_then(|(log, partition)| self.manage_existing(request, &log, partition)))
    }

    fn manage_existing(&self, request: &Manage, log: &Arc<Log>, partition: Option<u32>) -> Result<Answered> {
        let whole = || match partition {
            None => Ok(()),
            Some(_) => Err(invalid("this is asked of a log as a whole: logs/NAME")),
        };
        match request {
            Manage::Purge(_) => Ok(self.trim_all(log, partition, u64::MAX)),
            Manage::Trim(_, before) => Ok(self.trim_all(log, partition, *before)),
            Manage::Describe(_) => Ok(now(Managed::Log(Box::new(log.describe())))),
            Manage::Delete(_) => whole().map(|()| self.delete_log(log)),
            Manage::Bind(_, binding) => whole().and_then(|()| self.bind_log(log, binding)),
            Manage::Unbind(_, unbind) => whole().map(|()| self.unbind_log(log, unbind)),
            _ => Err(Error::new(ErrorKind::NotSupported, "manage")),
        }
    }

    /// The log at an address, and the partition that it names.
    pub(crate) fn existing_log(&self, address: &Address) -> Result<(Arc<Log>, Option<u32>)> {
        let missing = || Error::new(ErrorKind::NotFound, "find a log").detail(format!("there is no log {address}"));
        let (name, partition) = address.log_place().ok_or_else(missing)?;
        let of = Address::from_checked(format!("logs/{name}").into());
        let log = self.registry.lock().logs.get(&of).cloned().ok_or_else(missing)?;
        let there = partition.is_none_or(|partition| (partition as usize) < log.partitions.len());
        if there { Ok((log, partition)) } else { Err(missing()) }
    }

    /// The partitions that an address names.
    pub(crate) fn partitions(&self, address: &Address) -> Result<(Arc<Log>, Vec<Arc<Partition>>)> {
        let (log, partition) = self.existing_log(address)?;
        let partitions = match partition {
            None => log.partitions.clone(),
            Some(partition) => vec![log.partitions[partition as usize].clone()],
        };
        Ok((log, partitions))
    }

    fn declare_log(&self, address: &Address, settings: LogSettings) -> Result<Answered> {
        if !matches!(address.log_place(), Some((_, None))) {
            return Err(invalid(&format!("{address} is not a log: logs are at logs/NAME, and a name has no slash")));
        }
        if settings.partitions == 0 || settings.partitions > LogSettings::PARTITIONS_MAX || settings.bytes_max == 0 {
            let words = "a log has 1 to 1024 partitions, and room for a message";
            return Err(invalid(words));
        }
        let mut tables = self.registry.lock();
        let log = match tables.logs.get(address) {
            Some(log) => {
                let mut inner = lock(&log.inner);
                if inner.settings.partitions != settings.partitions {
                    let words = format!("{address} has {} partitions, and keeps them", inner.settings.partitions);
                    return Err(Error::new(ErrorKind::Conflict, "declare").detail(words));
                }
                inner.settings = settings;
                drop(inner);
                log.clone()
            }
            None => {
                if tables.logs.len() >= self.settings.logs_max {
                    return Err(Error::new(ErrorKind::Exhausted, "declare").detail("there are too many logs"));
                }
                let partitions = (0..settings.partitions).map(|_| (self.next_queue_id(), Default::default()));
                let log = Arc::new(Log::new(address.detach(), settings, partitions.collect()));
                tables.logs.insert(log.address().clone(), log.clone());
                self.meters.logs.one();
                log
            }
        };
        // Nobody finds it before its row is on the way: what others append comes behind.
        let stored = self.store_under_lock(vec![log.row()]);
        drop(tables);
        self.commits.pump(self);
        self.router.touch();
        self.watch_logs(self.now());
        Ok(answered(stored, Managed::Done(0)))
    }

    /// A log of before a restart.
    pub(crate) fn restore_log(&self, address: Address, row: LogRow) {
        let LogRow { partitions, settings, bindings } = row;
        let partitions = partitions.into_iter().map(|id| (id, self.commits.log_state(id))).collect();
        let log = Arc::new(Log::new(address, settings, partitions));
        self.registry.lock().logs.insert(log.address().clone(), log.clone());
        self.meters.logs.one();
        bindings.iter().for_each(|binding| self.route_log(&log, binding, false));
        lock(&log.inner).bindings = bindings;
        self.watch_logs(self.now());
    }

    /// Checkpoints and epochs of before a restart; of a log that is gone, nothing is left.
    pub(crate) fn restore_groups(
        &self,
        checkpoints: Vec<(QueueId, ByteString, u64)>,
        epochs: Vec<(QueueId, ByteString, u64)>,
    ) {
        let logs: Vec<_> = self.registry.lock().logs.values().cloned().collect();
        let by_id = logs.iter().flat_map(|log| &log.partitions).map(|partition| (partition.id, partition));
        let partitions: HashMap<QueueId, &Arc<Partition>> = by_id.collect();
        for (id, group, position) in checkpoints {
            if let Some(partition) = partitions.get(&id) {
                lock(&partition.inner).checkpoints.insert(group, position);
            }
        }
        for (id, group, epoch) in epochs {
            if let Some(partition) = partitions.get(&id) {
                lock(&partition.inner).epochs.insert(group, epoch);
            }
        }
    }

    fn delete_log(&self, log: &Arc<Log>) -> Answered {
        let mut tables = self.registry.lock();
        if tables.logs.get(log.address()).is_none_or(|found| !Arc::ptr_eq(found, log)) {
            return now(Managed::Done(0));
        }
        tables.logs.remove(log.address());
        self.meters.logs.sub(1);
        let (mut ops, mut gone, mut readers) = (vec![Op::Delete(RowKey::Log(log.address().clone()))], 0, Vec::new());
        for partition in &log.partitions {
            let mut inner = lock(&partition.inner);
            inner.deleted = true;
            gone += inner.next - inner.first;
            let checkpoints = std::mem::take(&mut inner.checkpoints).into_keys();
            ops.extend(checkpoints.map(|group| Op::Delete(RowKey::Checkpoint(partition.id, group))));
            let epochs = std::mem::take(&mut inner.epochs).into_keys();
            ops.extend(epochs.map(|group| Op::Delete(RowKey::GroupEpoch(partition.id, group))));
            ops.push(Op::DropLog { partition: partition.id });
            readers.extend(inner.readers.iter().filter_map(std::sync::Weak::upgrade));
        }
        // Before anybody makes another one there: its row comes behind.
        let stored = self.store_under_lock(ops);
        drop(tables);
        self.commits.pump(self);
        let bindings = std::mem::take(&mut lock(&log.inner).bindings);
        bindings.iter().for_each(|binding| self.unroute_log(log, &binding.filter));
        self.router.touch();
        readers.iter().for_each(|reader| reader.wakeup.wake());
        answered(stored, Managed::Done(gone))
    }

    fn trim_all(&self, log: &Log, partition: Option<u32>, before: u64) -> Answered {
        let partitions =
            log.partitions.iter().filter(|found| partition.is_none_or(|partition| partition == found.number));
        let waiters: Vec<_> = partitions
            .map(|partition| {
                let (answer, waiter) = waiter();
                let end = lock(&partition.inner).next;
                self.trim(partition, before.min(end), Box::new(|gone| answer.give(gone)));
                waiter
            })
            .collect();
        Box::pin(async move {
            let mut gone = 0;
            for waiter in waiters {
                gone += waiter.await?;
            }
            Ok(Managed::Done(gone))
        })
    }

    fn bind_log(&self, log: &Arc<Log>, binding: &Binding) -> Result<Answered> {
        let first = binding.filter.as_str().split('/').next().unwrap_or_default();
        if matches!(first, "queues" | "logs" | "$dead") || binding.share.is_some() || binding.no_local {
            return Err(invalid("a log follows topics, for all its readers: neither queues nor logs, and not shared"));
        }
        let binding = Binding { filter: own(&binding.filter), ..binding.clone() };
        let replaced = self.follow(&mut lock(&log.inner).bindings, &binding, "log")?;
        self.route_log(log, &binding, replaced);
        Ok(self.stored(vec![log.row()], Managed::Done(0)))
    }

    fn route_log(&self, log: &Arc<Log>, binding: &Binding, replaced: bool) {
        self.router.bind(&binding.filter, Target::Log(log.clone(), None), replaced);
        self.meters.bindings.add(u64::from(!replaced));
    }

    fn unbind_log(&self, log: &Arc<Log>, unbind: &Unbind) -> Answered {
        if !unfollow(&mut lock(&log.inner).bindings, &unbind.filter) {
            return now(Managed::Done(0));
        }
        self.unroute_log(log, &unbind.filter);
        self.stored(vec![log.row()], Managed::Done(1))
    }

    fn unroute_log(&self, log: &Arc<Log>, filter: &roadbed_core::Filter) {
        let own = |target: &Target| matches!(target, Target::Log(found, _) if Arc::ptr_eq(found, log));
        self.meters.bindings.sub(u64::from(self.router.unbind(filter, own)));
    }

    fn checkpoint(&self, asked: &Checkpoint) -> Result<Answered> {
        let (log, Some(number)) = self.existing_log(&asked.partition)? else {
            return Err(invalid("a checkpoint is one of a partition: logs/NAME/N"));
        };
        let partition = &log.partitions[number as usize];
        let mut inner = lock(&partition.inner);
        let known = inner.checkpoints.get(&asked.group).copied();
        let Some(position) = asked.set else { return Ok(now(Managed::Checkpoint(known))) };
        if position > inner.next {
            return Err(invalid(&format!("the next position of {} is {}", asked.partition, inner.next)));
        }
        if known.is_some_and(|known| position < known) && !asked.force {
            let words = "the group has come further: a checkpoint goes back only by force";
            return Err(Error::new(ErrorKind::Conflict, "checkpoint").detail(words));
        }
        if known.is_none() && inner.checkpoints.len() >= self.settings.log_groups_max {
            return Err(Error::new(ErrorKind::Exhausted, "checkpoint").detail("there are too many groups"));
        }
        inner.checkpoints.insert(asked.group.clone(), position);
        drop(inner);
        let op = checkpoint_op(partition, &asked.group, position);
        Ok(self.stored(vec![op], Managed::Checkpoint(Some(position))))
    }

    /// The answer, when the store has the operations.
    fn stored(&self, ops: Vec<Op>, answer: Managed) -> Answered {
        answered(self.store(ops), answer)
    }
}

impl Log {
    fn row(&self) -> Op {
        let inner = lock(&self.inner);
        let partitions = self.partitions.iter().map(|partition| partition.id).collect();
        let row = LogRow { partitions, settings: inner.settings, bindings: inner.bindings.clone() };
        Op::Put(RowKey::Log(self.address.clone()), Row::Log(row))
    }

    fn describe(&self) -> LogDescription {
        let (settings, bindings) = {
            let inner = lock(&self.inner);
            (inner.settings, inner.bindings.clone())
        };
        let partitions = self.partitions.iter().map(|partition| partition.describe()).collect();
        LogDescription { address: self.address.clone(), settings, bindings, partitions }
    }
}

impl Partition {
    fn describe(&self) -> PartitionDescription {
        let inner = lock(&self.inner);
        PartitionDescription {
            first: inner.first,
            next: inner.next,
            bytes: inner.bytes,
            last_enqueued_at: inner.last_at,
            readers: inner.readers.iter().filter(|reader| reader.strong_count() > 0).count() as u32,
            groups: inner.checkpoints.iter().map(|(group, position)| (group.clone(), *position)).collect(),
        }
    }
}

fn answered(stored: Stored, answer: Managed) -> Answered {
    Box::pin(async move { stored.await.map(|()| answer) })
}

fn now(answer: Managed) -> Answered {
    Box::pin(std::future::ready(Ok(answer)))
}

fn invalid(words: &str) -> Error {
    Error::new(ErrorKind::Invalid, "manage").detail(words)
}
