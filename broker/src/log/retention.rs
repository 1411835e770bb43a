//! What is kept of logs, and for how long.

use std::sync::Arc;
use std::time::Duration;

use roadbed_core::Time;

use super::{Log, Partition};
use crate::broker::Shared;
use crate::lock;
use crate::store::Op;
use crate::timers::Timer;

/// A partition is looked at when this much of its room has come: an eighth.
const FRESH_SHARE: u64 = 8;

impl Shared {
    /// Removes what has been kept long enough from all logs.
    pub(crate) fn handle_logs(&self, now: Time) {
        let logs: Vec<Arc<Log>> = self.registry.lock().logs.values().cloned().collect();
        for log in &logs {
            let settings = lock(&log.inner).settings;
            let oldest = settings.retention.map_or(Time::ZERO, |kept| earlier(now, kept));
            log.partitions.iter().for_each(|partition| self.retain(partition, settings.bytes_max, oldest));
        }
        if !logs.is_empty() {
            self.watch_logs(now);
        }
    }

    pub(crate) fn watch_logs(&self, now: Time) {
        let seconds = self.settings.log_retention_check_seconds.max(1);
        self.timers.set(Timer::Logs, now + Duration::from_secs(seconds));
    }

    /// Much has come: there may be too much now.
    pub(crate) fn check_room(&self, log: &Log, partition: &Arc<Partition>) {
        let settings = lock(&log.inner).settings;
        let due = {
            let mut inner = lock(&partition.inner);
            let due = inner.bytes > settings.bytes_max && inner.fresh > settings.bytes_max / FRESH_SHARE;
            if due {
                inner.fresh = 0;
            }
            due
        };
        if due {
            self.retain(partition, settings.bytes_max, Time::ZERO);
        }
    }

    fn retain(&self, partition: &Arc<Partition>, bytes_max: u64, oldest: Time) {
        let cut = self.commits.log_cut(partition.id, bytes_max, oldest);
        if cut > lock(&partition.inner).first {
            self.trim(partition, cut, Box::new(|_| {}));
        }
    }

    /// Removes the messages before a position; `done` is told when that is stored: how many they were, or that it failed.
    pub(crate) fn trim(&self, partition: &Arc<Partition>, before: u64, done: Trimmed) {
        let partition = partition.clone();
        let op = Op::TrimLog { partition: partition.id, before };
        let then = move |shared: &Shared, result: Result<(), _>| {
            done(crate::session::committed(result).map(|()| partition.trimmed(shared, before)));
        };
        self.commits.submit(self, || (Vec::new(), vec![op]), Box::new(then));
    }
}

/// Who is told of a trim.
pub(crate) type Trimmed = Box<dyn FnOnce(roadbed_core::Result<u64>) + Send>;

impl Partition {
    fn trimmed(&self, shared: &Shared, before: u64) -> u64 {
        let state = shared.commits.log_state(self.id);
        let mut inner = lock(&self.inner);
        let before = before.min(inner.next);
        let gone = before.saturating_sub(inner.first);
        inner.first = inner.first.max(before);
        inner.bytes = state.bytes;
        while inner.tail.front().is_some_and(|entry| entry.position < before)
            && let Some(entry) = inner.tail.pop_front()
        {
            inner.tail_bytes -= entry.message.cost();
        }
        drop(inner);
        shared.meters.log_messages_gone.add(gone);
        gone
    }
}

fn earlier(now: Time, by: Duration) -> Time {
    Time::from_nanos(now.as_nanos().saturating_sub(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
}
