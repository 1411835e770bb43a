//! A disk in virtual time: units are written in order and take a while; what is not written when the power goes is lost.
#![allow(unreachable_pub, reason = "part of a test")]

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use roadbed_broker::{
    Caps, ListedCopy, LogPage, LogRead, LogState, LogStore, MemoryStore, ReadAnswer, ReadId, Recovery, Revision, Row,
    RowKey, Store, StoreError, StoredCopy, Unit, UnitId,
};
use roadbed_conformance::simulation::Random;
use roadbed_core::{CopyId, Gid, QueueId, Time};
use tokio::time::Instant;

type Answer = (UnitId, Result<(), StoreError>);

/// A store on such a disk.
pub struct Disk {
    kept: MemoryStore,
    power: Arc<AtomicBool>,
    random: Random,
    writing: VecDeque<(Instant, Unit)>,
    reading: VecDeque<(Instant, ReadId, Vec<CopyId>)>,
    /// Says that it has written what it has not.
    lies: bool,
    promised: Vec<Answer>,
    waker: Arc<Mutex<Option<Waker>>>,
}

impl Disk {
    /// Writes to `kept` as long as there is `power`.
    pub fn new(kept: MemoryStore, power: Arc<AtomicBool>, random: Random, lies: bool) -> Self {
        let (writing, reading, promised, waker) = (VecDeque::new(), VecDeque::new(), Vec::new(), Arc::default());
        Self { kept, power, random, writing, reading, lies, promised, waker }
    }

    /// Wakes who waits when what was begun now is done.
    fn done_at(&self, at: Instant) {
        let waker = Arc::clone(&self.waker);
        tokio::spawn(async move {
            tokio::time::sleep_until(at).await;
            let waker = waker.lock().expect("no holder of the lock panics").take();
            waker.into_iter().for_each(Waker::wake);
        });
    }
}

impl LogStore for Disk {
    fn read_log(&mut self, read: LogRead) {
        self.kept.read_log(read);
    }

    fn poll_pages(&mut self, into: &mut Vec<LogPage>) {
        self.kept.poll_pages(into);
    }

    fn log_state(&mut self, partition: QueueId) -> LogState {
        self.kept.log_state(partition)
    }

    fn log_cut(&mut self, partition: QueueId, bytes_max: u64, oldest: Time) -> u64 {
        self.kept.log_cut(partition, bytes_max, oldest)
    }
}

impl Store for Disk {
    fn caps(&self) -> Caps {
        self.kept.caps()
    }

    fn submit(&mut self, units: &mut Vec<Unit>) {
        let begun = self.writing.back().map_or_else(Instant::now, |(at, _)| *at);
        let at = begun.max(Instant::now()) + Duration::from_micros(self.random.below(4000));
        if self.lies {
            self.promised.extend(units.iter().map(|unit| (unit.id, Ok(()))));
        }
        self.writing.extend(units.drain(..).map(|unit| (at, unit)));
        self.done_at(at);
    }

    fn poll_commits(&mut self, cx: &mut Context<'_>, into: &mut Vec<Answer>) -> Poll<usize> {
        *self.waker.lock().expect("no holder of the lock panics") = Some(cx.waker().clone());
        if !self.power.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        let now = Instant::now();
        let done = self.writing.iter().take_while(|(at, _)| *at <= now).count();
        let mut units: Vec<Unit> = self.writing.drain(..done).map(|(_, unit)| unit).collect();
        let (before, mut written) = (into.len(), Vec::new());
        if !units.is_empty() {
            self.kept.submit(&mut units);
            let _all = self.kept.poll_commits(&mut Context::from_waker(Waker::noop()), &mut written);
        }
        into.append(if self.lies { &mut self.promised } else { &mut written });
        if into.len() > before { Poll::Ready(into.len() - before) } else { Poll::Pending }
    }

    fn read(&mut self, id: ReadId, copies: Vec<CopyId>) {
        let begun = self.reading.back().map_or_else(Instant::now, |(at, ..)| *at);
        let at = begun.max(Instant::now()) + Duration::from_micros(self.random.below(4000));
        self.reading.push_back((at, id, copies));
        self.done_at(at);
    }

    fn poll_reads(&mut self, cx: &mut Context<'_>, into: &mut Vec<ReadAnswer>) -> Poll<usize> {
        *self.waker.lock().expect("no holder of the lock panics") = Some(cx.waker().clone());
        if !self.power.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        let (now, before) = (Instant::now(), into.len());
        while self.reading.front().is_some_and(|(at, ..)| *at <= now) {
            let Some((_, id, copies)) = self.reading.pop_front() else { break };
            into.push((id, self.kept.fetch(&copies)));
        }
        if into.len() > before { Poll::Ready(into.len() - before) } else { Poll::Pending }
    }

    fn list(&mut self, queue: QueueId, after: u64, max: usize) -> Result<Vec<ListedCopy>, StoreError> {
        self.kept.list(queue, after, max)
    }

    fn recover(&mut self) -> Result<Recovery, StoreError> {
        self.kept.recover()
    }

    fn fetch(&mut self, copies: &[CopyId]) -> Result<Vec<StoredCopy>, StoreError> {
        self.kept.fetch(copies)
    }

    fn get(&mut self, key: &RowKey) -> Result<Option<(Row, Revision)>, StoreError> {
        self.kept.get(key)
    }

    fn in_doubt(&mut self) -> Result<Vec<Gid>, StoreError> {
        self.kept.in_doubt()
    }
}
