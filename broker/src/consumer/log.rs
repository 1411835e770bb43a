//! A reader of a log.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};

use roadbed_core::{
    Attached, Binding, Consumer, ConsumerTerms, CopyId, Delivery, DeliveryId, DeliveryInfo, Detach, Disposition, Done,
    Error, ErrorKind, Fence, Fut, Grant, Granted, LogPlace, LogStart, LogTerms, Qos, Result, Time, Unbind,
};

use super::{Answers, closed, give};
use crate::broker::Broker;
use crate::inflight::{Body, ReadState};
use crate::lock;
use crate::log::Reading;
use crate::mailbox::SessionCore;
use crate::settlement::asker;
use crate::store::{LogEntry, Op, ReadFrom, StoreError};
use crate::wakers::Wakeup;

/// Messages of one page.
const PAGE_MESSAGES_MAX: usize = 1024;

/// Reads partitions of a log, each in its order, and takes nothing away.
#[derive(Debug)]
pub(crate) struct LogConsumer {
    broker: Broker,
    session: Arc<SessionCore>,
    epoch: u32,
    qos_max: Qos,
    grant: Grant,
    wakeup: Arc<Wakeup>,
    cursors: Vec<Cursor>,
    /// With which cursor the next turn begins, so that no partition starves another.
    turn: usize,
    answers: Answers,
}

/// Where a reader stands in one partition.
#[derive(Debug)]
struct Cursor {
    reading: Arc<Reading>,
    next: u64,
    /// The end of the partition when the store was asked for the page that is under way.
    asked_end: u64,
    /// Nothing before this time, until one of it has come.
    not_before: Option<Time>,
    page: VecDeque<LogEntry>,
}

impl LogConsumer {
    /// A reader, and what the store is to know before it reads.
    pub(crate) fn attach(
        broker: &Broker,
        session: &Arc<SessionCore>,
        epoch: u32,
        log: &LogTerms,
        terms: &ConsumerTerms,
    ) -> Result<(Self, Attached, Vec<Op>)> {
        let shared = broker.shared();
        let (found, partitions) = shared.partitions(&log.address)?;
        let wakeup = Arc::new(Wakeup::default());
        let (readings, ops) = Reading::attach(shared, &partitions, log.group.as_ref(), log.epoch, &wakeup)?;
        let cursors = readings.into_iter().map(|reading| Cursor::new(reading, log.from)).collect();
        let qos_max = terms.qos_max.min(Qos::AtLeastOnce);
        let bindings = lock(&found.inner).bindings.clone();
        let attached = Attached { address: Some(log.address.clone()), qos_max, bindings, ..Attached::default() };
        let consumer = Self {
            broker: broker.clone(),
            session: session.clone(),
            epoch,
            qos_max,
            grant: Grant::default(),
            wakeup,
            cursors,
            turn: 0,
            answers: Answers::default(),
        };
        Ok((consumer, attached, ops))
    }

    /// Hands over what has been read; asks for more where there is more.
    fn receive(&mut self, into: &mut Vec<Delivery>, max: usize) -> Result<usize> {
        self.cursors.iter().try_for_each(Cursor::check)?;
        let (mut taken, mut idle) = (0, 0);
        while idle < self.cursors.len() {
            let turn = self.turn;
            let want = max.saturating_sub(taken).min(self.grant.credit as usize);
            if want == 0 || !self.cursors[turn].fill(&self.broker)? {
                idle += 1;
            } else {
                let count = self.hand_over(turn, into, want);
                idle = if count == 0 { idle + 1 } else { 0 };
                taken += count;
                if self.grant.credit != Grant::UNLIMITED {
                    self.grant.credit -= count as u32;
                }
            }
            self.turn = (turn + 1) % self.cursors.len();
        }
        Ok(taken)
    }

    fn hand_over(&mut self, turn: usize, into: &mut Vec<Delivery>, want: usize) -> usize {
        let shared = self.broker.shared();
        let (mut count, mut bytes) = (0, 0);
        let mut inner = lock(&self.session.inner);
        let cursor = &mut self.cursors[turn];
        let unsettled = self.qos_max > Qos::AtMostOnce;
        while count < want
            && let Some(entry) = cursor.page.front()
        {
            let (position, window) = (entry.position, inner.window);
            let body = || Body::Read { reading: cursor.reading.clone(), position, state: ReadState::Open };
            let handle = if unsettled { inner.slab.insert(window, 1, body()) } else { None };
            if unsettled && handle.is_none() {
                break;
            }
            let Some(entry) = cursor.page.pop_front() else { break };
            cursor.reading.handed(position, unsettled);
            bytes += entry.message.payload().len() as u64;
            count += 1;
            let partition = &cursor.reading.partition;
            let fence = Fence { epoch: shared.boot_epoch, attempt: 1 };
            let id = DeliveryId { copy: CopyId { queue: partition.id, seq: position }, fence };
            let log = Some(LogPlace { partition: partition.number, position });
            let info = Some(Box::new(DeliveryInfo { log, ..DeliveryInfo::new(id, entry.at) }));
            let (message, qos) = (entry.message, self.qos_max);
            into.push(Delivery { message, handle, qos, retained: false, attempt: 1, info });
        }
        drop(inner);
        shared.meters.log_messages_out.add(count as u64);
        shared.meters.hot().messages_out.add(count as u64);
        shared.meters.hot().bytes_out.add(bytes);
        if !unsettled && count > 0 {
            // What asks for no answer is settled as it is handed over.
            let op = self.cursors[turn].reading.moved(shared);
            if let Some(op) = op {
                shared.commits.submit_unawaited(shared, vec![op]);
            }
        }
        count
    }

    /// Whether everything that is there has been handed over.
    fn is_at_end(&self) -> bool {
        self.cursors.iter().all(Cursor::is_at_end)
    }

    fn end(&mut self) {
        let cursors = std::mem::take(&mut self.cursors);
        cursors.iter().for_each(|cursor| cursor.reading.detach());
        let mut inner = lock(&self.session.inner);
        inner.slab.remove_all(|body| match body {
            Body::Read { reading, .. } => cursors.iter().any(|cursor| Arc::ptr_eq(&cursor.reading, reading)),
            _ => false,
        });
    }
}

impl Cursor {
    fn new(reading: Arc<Reading>, from: LogStart) -> Self {
        let inner = lock(&reading.partition.inner);
        let (first, end) = (inner.first, inner.next);
        let checkpoint = reading.group().and_then(|group| inner.checkpoints.get(group).copied());
        drop(inner);
        let (next, not_before) = match from {
            LogStart::Checkpoint => (checkpoint.unwrap_or(first), None),
            LogStart::Latest => (end, None),
            LogStart::Position(position) => (position, None),
            LogStart::Time(time) => (first, Some(time)),
            _ => (first, None),
        };
        Self { reading, next: next.clamp(first, end), asked_end: end, not_before, page: VecDeque::new() }
    }

    /// Whether it still has its partition.
    fn check(&self) -> Result<()> {
        if self.reading.is_stolen() {
            let words = format!("a reader with a higher epoch has taken {}", self.reading.partition.address);
            return Err(Error::new(ErrorKind::Stolen, "receive").detail(words));
        }
        Ok(())
    }

    /// Whether there is something to hand over.
    fn fill(&mut self, broker: &Broker) -> Result<bool> {
        if !self.page.is_empty() {
            return Ok(true);
        }
        match self.reading.take_page() {
            Some(Ok(entries)) => self.take(entries),
            Some(Err(error)) => return Err(unread(error)),
            None => {}
        }
        // What comes may all be of an earlier time than was asked for: then nobody wakes who waits here.
        let mut before = None;
        while self.page.is_empty() && !self.reading.is_asked() && before != Some(self.next) {
            before = Some(self.next);
            self.read_on(broker)?;
        }
        Ok(!self.page.is_empty())
    }

    /// Takes the newest messages from memory, or asks the store.
    fn read_on(&mut self, broker: &Broker) -> Result<()> {
        let shared = broker.shared();
        let newest = {
            let inner = lock(&self.reading.partition.inner);
            if inner.deleted {
                return Err(Error::new(ErrorKind::NotFound, "receive").detail("the log has been deleted"));
            }
            self.next = self.next.max(inner.first);
            if self.next >= inner.next {
                return Ok(());
            }
            self.asked_end = inner.next;
            inner.newest(self.next, PAGE_MESSAGES_MAX)
        };
        if !newest.is_empty() {
            self.take(newest);
        } else if self.reading.ask() {
            let from = self.not_before.map_or(ReadFrom::Position(self.next), ReadFrom::Time);
            let (reading, partition) = (self.reading.clone(), self.reading.partition.id);
            let bounds = (PAGE_MESSAGES_MAX, shared.settings.log_page_bytes_max);
            let come = move |entries| reading.come(entries);
            shared.commits.read_log(shared, partition, from, bounds, Box::new(come));
            // A store in memory has answered already.
            if let Some(entries) = self.reading.take_page() {
                self.take(entries.map_err(unread)?);
            }
        }
        Ok(())
    }

    fn take(&mut self, entries: Vec<LogEntry>) {
        let Some(last) = entries.last() else {
            // Nothing of that time had come when the store was asked; what came since is still to be looked at.
            self.next = self.next.max(self.asked_end);
            return;
        };
        let (from, end) = (self.next, last.position + 1);
        let not_before = self.not_before;
        self.page.extend(
            entries
                .into_iter()
                .filter(|entry| entry.position >= from && not_before.is_none_or(|time| entry.at >= time)),
        );
        if !self.page.is_empty() {
            self.not_before = None;
        }
        self.next = end.max(from);
    }

    fn is_at_end(&self) -> bool {
        self.page.is_empty() && !self.reading.is_asked() && self.next >= lock(&self.reading.partition.inner).next
    }
}

impl Consumer for LogConsumer {
    fn grant(&mut self, grant: Grant) {
        self.grant = grant;
        self.wakeup.wake();
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>, into: &mut Vec<Delivery>, max: usize) -> Poll<Result<usize>> {
        if self.session.epoch() != self.epoch {
            return Poll::Ready(Err(closed("receive")));
        }
        self.wakeup.register(cx.waker());
        let taken = match self.receive(into, max) {
            Ok(taken) => taken,
            Err(error) => return Poll::Ready(Err(error)),
        };
        if taken > 0 || max == 0 {
            return Poll::Ready(Ok(taken));
        }
        if self.grant.drain && (self.grant.credit == 0 || self.is_at_end()) {
            (self.grant.drain, self.grant.credit) = (false, 0);
            return Poll::Ready(Ok(0));
        }
        Poll::Pending
    }

    fn settle(&mut self, batch: &mut Vec<Disposition>) {
        let sink = self.answers.sink();
        let answer = move |_: &crate::broker::Shared, dones| give(&sink, dones);
        let shared = self.broker.shared();
        shared.settle(&self.session, self.epoch, &asker(&self.session), batch, answer);
        // There may be room in the session's window now.
        self.wakeup.wake();
    }

    fn poll_settled(&mut self, cx: &mut Context<'_>, into: &mut Vec<Done>) -> Poll<Result<usize>> {
        if self.session.epoch() != self.epoch {
            return Poll::Ready(Err(closed("settle")));
        }
        self.answers.poll(cx, into)
    }

    fn bind(&mut self, _bindings: Vec<Binding>) -> Fut<Vec<Result<Granted>>> {
        Box::pin(std::future::ready(Err(unbound())))
    }

    fn unbind(&mut self, _bindings: Vec<Unbind>) -> Fut<Vec<Result<bool>>> {
        Box::pin(std::future::ready(Err(unbound())))
    }

    fn backlog(&self) -> u32 {
        let left = |cursor: &Cursor| {
            let end = lock(&cursor.reading.partition.inner).next;
            end.saturating_sub(cursor.next) + cursor.page.len() as u64
        };
        u32::try_from(self.cursors.iter().map(left).sum::<u64>()).unwrap_or(u32::MAX)
    }

    fn detach(mut self: Box<Self>, _how: Detach) -> Fut<()> {
        self.end();
        Box::pin(std::future::ready(Ok(())))
    }
}

impl Drop for LogConsumer {
    fn drop(&mut self) {
        self.end();
    }
}

fn unread(error: StoreError) -> Error {
    Error::new(ErrorKind::Failed, "read a log").because(error)
}

fn unbound() -> Error {
    Error::new(ErrorKind::NotSupported, "bind").detail("what a log follows is asked of the log, not of a reader")
}
