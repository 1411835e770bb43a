//! Logs: a sparse index of where their messages lie, and reading them.
//!
//! The index has an entry for each run: messages of one partition that follow each other, within some 64 KiB of a segment. A run is read as a whole, in order,
//! and record by record checked.

mod read;

use std::collections::BTreeMap;

use hashbrown::HashMap;
use roadbed_broker::{LogState, ReadFrom};
use roadbed_core::{QueueId, Time};

use crate::codec::{Entry, LogOp, Run, digest_entries, put_digest};
use crate::index::SegmentId;
pub(crate) use read::{messages, page};

/// How far the records of one run lie apart at most, in bytes, if they are not one record.
pub(crate) const RUN_BYTES_MAX: u32 = 64 << 10;
/// What is written of a message beside its body, in bytes, about.
const MESSAGE_BYTES: u64 = 24;

/// All partitions.
#[derive(Debug, Default)]
pub(crate) struct Logs(HashMap<QueueId, Partition>);

#[derive(Debug, Default)]
struct Partition {
    runs: BTreeMap<u64, Placed>,
    /// What is before this position has come to its end; and the segment that says so.
    low: u64,
    low_in: SegmentId,
    bytes: u64,
}

/// A run, and the segment that it lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) segment: SegmentId,
    pub(crate) run: Run,
}

/// So many bytes of a segment have become of use (`true`), or of no use.
pub(crate) type Moved = (SegmentId, u64, bool);

impl Logs {
    /// Applies what a record in `segment` does to logs.
    pub(crate) fn apply(&mut self, segment: SegmentId, op: LogOp, mut moved: impl FnMut(Moved)) {
        match op {
            LogOp::Append { at, places, body, record } => {
                for (partition, position) in places {
                    let run = Run::one(position, at, record, body);
                    self.0.entry(partition).or_default().add(Placed { segment, run }, &mut moved);
                }
            }
            LogOp::Run { partition, run } => {
                self.0.entry(partition).or_default().add(Placed { segment, run }, &mut moved);
            }
            LogOp::Trim { partition, before } => {
                self.0.entry(partition).or_default().trim(before, segment, &mut moved);
            }
            LogOp::Drop { partition } => {
                let runs = self.0.remove(&partition).unwrap_or_default().runs;
                runs.values().for_each(|placed| moved((placed.segment, live(&placed.run), false)));
            }
        }
    }

    /// The position of the next message of a partition.
    pub(crate) fn next(&self, partition: QueueId) -> u64 {
        self.0.get(&partition).map_or(0, Partition::next)
    }

    pub(crate) fn state(&self, partition: QueueId) -> LogState {
        self.0.get(&partition).map_or_else(LogState::default, |found| {
            let first = found.runs.first_key_value().map_or(found.low, |(first, _)| *first);
            let last_at = found.runs.last_key_value().map(|(_, placed)| placed.run.to);
            LogState { first, next: found.next(), bytes: found.bytes, last_at }
        })
    }

    /// See [`LogStore::log_cut`](roadbed_broker::LogStore::log_cut): whole runs.
    pub(crate) fn cut(&self, partition: QueueId, bytes_max: u64, oldest: Time) -> u64 {
        let Some(found) = self.0.get(&partition) else { return 0 };
        let (mut cut, mut left) = (self.state(partition).first, found.bytes);
        for Placed { run, .. } in found.runs.values() {
            left = left.saturating_sub(run.bytes);
            if run.to >= oldest && left < bytes_max {
                break;
            }
            cut = run.next();
        }
        cut
    }

    /// The runs that have what is asked for, in order, and from which position on.
    pub(crate) fn find(
        &self,
        partition: QueueId,
        from: ReadFrom,
        messages_max: usize,
        bytes_max: usize,
    ) -> Vec<Placed> {
        let Some(found) = self.0.get(&partition) else { return Vec::new() };
        let (mut messages, mut bytes) = (0, 0);
        let wanted = |placed: &&Placed| match from {
            ReadFrom::Position(position) => placed.run.next() > position,
            ReadFrom::Time(time) => placed.run.to >= time,
        };
        let begin = match from {
            ReadFrom::Position(position) => found.runs.range(..=position).next_back().map_or(0, |(first, _)| *first),
            ReadFrom::Time(_) => 0,
        };
        let some = |placed: &Placed| {
            let enough = messages >= messages_max as u64 || bytes >= bytes_max as u64;
            // The first run may have little of what is asked for.
            let whole = matches!(from, ReadFrom::Position(position) if placed.run.first >= position);
            if whole {
                (messages, bytes) = (messages + placed.run.count, bytes + placed.run.bytes);
            }
            !enough
        };
        found
            .runs
            .range(begin..)
            .map(|(_, placed)| placed)
            .filter(wanted)
            .copied()
            .take_while(some)
            .take(RUNS_MAX)
            .collect()
    }

    /// What of a run that a digest of `segment` tells is still kept there.
    pub(crate) fn still(&self, segment: SegmentId, partition: QueueId, run: &Run) -> Vec<Run> {
        let Some(found) = self.0.get(&partition) else { return Vec::new() };
        let begin = found.runs.range(..=run.first).next_back().map_or(run.first, |(first, _)| *first);
        let runs = found.runs.range(begin..run.next()).map(|(_, placed)| placed);
        // A partition that began anew has the same positions again, elsewhere.
        let overlaps = |found: &Run| found.start < run.end && run.start < found.end;
        runs.filter(|placed| placed.segment == segment && overlaps(&placed.run))
            .filter_map(|placed| part(&placed.run, run.first, run.next()))
            .collect()
    }

    /// Whether this is what says where the partition begins.
    pub(crate) fn says_low(&self, segment: SegmentId, partition: QueueId, before: u64) -> bool {
        self.0.get(&partition).is_some_and(|found| (found.low, found.low_in) == (before, segment))
    }

    /// Whether the segment says where a partition begins.
    pub(crate) fn has_low_in(&self, segment: SegmentId) -> bool {
        self.0.values().any(|found| found.low > 0 && found.low_in == segment)
    }

    /// All partitions in order, each with where it begins, and its runs.
    pub(crate) fn all(&self) -> Vec<(QueueId, u64, Vec<Placed>)> {
        let all = self.0.iter().map(|(id, found)| (*id, found.low, found.runs.values().copied().collect()));
        let mut all: Vec<_> = all.collect();
        all.sort_unstable_by_key(|(id, ..)| *id);
        all
    }

    /// How many messages are kept.
    pub(crate) fn messages(&self) -> u64 {
        self.0.values().flat_map(|found| found.runs.values()).map(|placed| placed.run.count).sum()
    }
}

/// Runs of one page.
const RUNS_MAX: usize = 64;

impl Partition {
    fn next(&self) -> u64 {
        self.runs.last_key_value().map_or(0, |(_, placed)| placed.run.next()).max(self.low)
    }

    /// Adds a run. What it has was perhaps in an older place before: then it has been moved.
    fn add(&mut self, mut placed: Placed, moved: &mut impl FnMut(Moved)) {
        let Some(run) = part(&placed.run, self.low, u64::MAX) else { return };
        placed.run = run;
        self.remove(run.first, run.next(), moved);
        moved((placed.segment, live(&run), true));
        self.bytes += run.bytes;
        let before = self.runs.range_mut(..run.first).next_back().map(|(_, before)| before);
        match before.filter(|before| before.segment == placed.segment && joins(&before.run, &run)) {
            Some(before) => join(&mut before.run, &run),
            None => drop(self.runs.insert(run.first, placed)),
        }
    }

    fn trim(&mut self, before: u64, segment: SegmentId, moved: &mut impl FnMut(Moved)) {
        self.remove(0, before, moved);
        if before >= self.low {
            (self.low, self.low_in) = (before, segment);
        }
    }

    /// Takes the positions from `first` to before `end` out of all runs.
    fn remove(&mut self, first: u64, end: u64, moved: &mut impl FnMut(Moved)) {
        while let Some((&begin, &placed)) =
            self.runs.range(..end).next_back().filter(|(_, found)| found.run.next() > first)
        {
            self.runs.remove(&begin);
            let (left, right) = (part(&placed.run, 0, first), part(&placed.run, end, u64::MAX));
            let (mut bytes, mut gone) = (placed.run.bytes, live(&placed.run));
            for run in [left, right].into_iter().flatten() {
                (bytes, gone) = (bytes - run.bytes, gone - live(&run));
                self.runs.insert(run.first, Placed { run, ..placed });
            }
            self.bytes -= bytes;
            moved((placed.segment, gone, false));
        }
    }
}

/// What of a segment a run keeps.
const fn live(run: &Run) -> u64 {
    run.bytes + run.count * MESSAGE_BYTES
}

/// The part of a run from position `first` to before `end`, with its share of the bytes: they lie where they did.
fn part(run: &Run, first: u64, end: u64) -> Option<Run> {
    let (first, end) = (run.first.max(first), run.next().min(end));
    if first >= end {
        return None;
    }
    let count = end - first;
    // Rounded down: the shares of the parts are never more than the whole.
    let bytes = (u128::from(run.bytes) * u128::from(count) / u128::from(run.count)) as u64;
    Some(Run { first, count, bytes, ..*run })
}

fn joins(before: &Run, run: &Run) -> bool {
    let near = before.start == run.start || (before.start < run.start && run.end - before.start <= RUN_BYTES_MAX);
    before.next() == run.first && near && before.end <= run.end
}

fn join(before: &mut Run, run: &Run) {
    before.count += run.count;
    before.bytes += run.bytes;
    (before.to, before.end) = (run.to, run.end);
}

/// A digest with runs in place of appends.
pub(crate) fn condense(digest: Vec<u8>) -> Vec<u8> {
    let (mut out, mut open) = (Vec::with_capacity(digest.len() / 2), HashMap::<QueueId, Run>::new());
    let mut put = |op| put_digest(&mut out, &mut Entry::Log(op));
    let (mut others, digest) = (Vec::new(), bytes::Bytes::from(digest));
    for entry in digest_entries(digest.clone()) {
        match entry {
            Ok(Entry::Log(LogOp::Append { at, places, body, record })) => {
                for (partition, position) in places {
                    let run = Run::one(position, at, record, body);
                    match open.get_mut(&partition) {
                        Some(before) if joins(before, &run) => join(before, &run),
                        _ => {
                            if let Some(run) = open.insert(partition, run) {
                                put(LogOp::Run { partition, run });
                            }
                        }
                    }
                }
            }
            // Of one partition, everything stays in order.
            Ok(Entry::Log(op @ (LogOp::Drop { partition } | LogOp::Trim { partition, .. }))) => {
                if let Some(run) = open.remove(&partition) {
                    put(LogOp::Run { partition, run });
                }
                put(op);
            }
            Ok(mut entry) => put_digest(&mut others, &mut entry),
            Err(_) => return digest.into(),
        }
    }
    // In order, so that the same records have the same digest.
    let mut open: Vec<_> = open.into_iter().collect();
    open.sort_unstable_by_key(|(partition, _)| *partition);
    open.into_iter().for_each(|(partition, run)| put(LogOp::Run { partition, run }));
    out.append(&mut others);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Place;

    const PARTITION: QueueId = QueueId(7);

    fn append(position: u64, record: u32) -> LogOp {
        let body = Place { offset: record + 40, len: 100 };
        LogOp::Append { at: Time::from_millis(position), places: vec![(PARTITION, position)], body, record }
    }

    fn runs(logs: &Logs) -> Vec<(SegmentId, u64, u64)> {
        let runs = logs.all().pop().map_or_else(Vec::new, |(_, _, runs)| runs);
        runs.iter().map(|placed| (placed.segment, placed.run.first, placed.run.count)).collect()
    }

    #[test]
    fn there_is_an_entry_for_each_64_kib_and_not_for_each_message() {
        let mut logs = Logs::default();
        (0..10_000).for_each(|n| logs.apply(1, append(n, n as u32 * 140), |_| {}));
        let (entries, bytes) = (runs(&logs).len(), 10_000 * 140);
        assert!((bytes / 65_536..=bytes / 65_536 + 2).contains(&entries), "{entries}");
        assert_eq!(logs.state(PARTITION).next, 10_000);
    }

    #[test]
    fn what_is_moved_is_counted_once() {
        let (mut logs, mut live) = (Logs::default(), [0_i64; 3]);
        let mut apply = |logs: &mut Logs, segment, op| {
            logs.apply(segment, op, |(id, bytes, more)| {
                live[id as usize] += if more { bytes as i64 } else { -(bytes as i64) };
            });
        };
        (0..100).for_each(|n| apply(&mut logs, 1, append(n, n as u32 * 140)));
        apply(&mut logs, 1, LogOp::Trim { partition: PARTITION, before: 30 });
        // All of one record, as the cleaner writes it.
        (30..60).for_each(|n| apply(&mut logs, 2, append(n, 0)));
        assert_eq!(runs(&logs), [(2, 30, 30), (1, 60, 40)]);
        (60..100).for_each(|n| apply(&mut logs, 2, append(n, 5000)));
        assert_eq!(live, [0, 0, 70 * (100 + MESSAGE_BYTES as i64)]);
        assert_eq!((logs.state(PARTITION).first, logs.state(PARTITION).bytes), (30, 7000));
        assert!(logs.says_low(1, PARTITION, 30) && !logs.says_low(2, PARTITION, 30));
    }

    #[test]
    fn what_was_dropped_is_not_taken_for_what_came_after_it() {
        let mut logs = Logs::default();
        (0..3).for_each(|n| logs.apply(1, append(n, n as u32 * 140), |_| {}));
        let old = logs.all()[0].2[0].run;
        logs.apply(1, LogOp::Drop { partition: PARTITION }, |_| {});
        (0..2).for_each(|n| logs.apply(1, append(n, 5000 + n as u32 * 140), |_| {}));
        assert_eq!(logs.still(1, PARTITION, &old), []);
        let new = logs.all()[0].2[0].run;
        assert_eq!(logs.still(1, PARTITION, &new), [new]);
    }

    #[test]
    fn a_cut_is_made_between_runs() {
        let mut logs = Logs::default();
        (0..10_000).for_each(|n| logs.apply(1, append(n, n as u32 * 140), |_| {}));
        assert_eq!(logs.cut(PARTITION, u64::MAX, Time::ZERO), 0);
        let cut = logs.cut(PARTITION, 500_000, Time::ZERO);
        assert!((4500..=5000).contains(&cut), "{cut}");
        let cut = logs.cut(PARTITION, u64::MAX, Time::from_millis(3000));
        assert!((2500..=3000).contains(&cut), "{cut}");
        assert_eq!(logs.cut(PARTITION, 1, Time::MAX), 10_000);
    }

    #[test]
    fn a_digest_says_as_much_with_runs_as_with_appends() {
        let mut digest = Vec::new();
        let ops = [append(0, 32), append(1, 200), LogOp::Trim { partition: PARTITION, before: 1 }, append(2, 400)];
        for op in ops.iter().cloned().chain([LogOp::Drop { partition: PARTITION }, append(0, 600), append(1, 800)]) {
            put_digest(&mut digest, &mut Entry::Log(op));
        }
        let told = |digest: Vec<u8>| {
            let mut logs = Logs::default();
            for entry in digest_entries(digest.into()) {
                let Ok(Entry::Log(op)) = entry else { panic!("{entry:?}") };
                logs.apply(3, op, |_| {});
            }
            (runs(&logs), logs.state(PARTITION))
        };
        let condensed = condense(digest.clone());
        assert!(condensed.len() < digest.len(), "{} of {}", condensed.len(), digest.len());
        assert_eq!(told(condensed), told(digest));
    }
}
