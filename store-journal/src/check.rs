//! Looking for damage, and giving up what cannot be read.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use hashbrown::HashMap;
use roadbed_broker::{Row, RowKey};
use roadbed_core::{Address, QueueId};

use crate::codec::{Body, CodecError, Entry, LogOp, Take, take_message, take_prepared, take_row, take_row_key};
use crate::error::{Damage, JournalError, in_words};
use crate::fs::{Disk, Fs, Lock};
use crate::index::{Index, Spot};
use crate::logs::{Placed, messages};
use crate::segment::{Reader, segment_id};
use crate::walk::Walk;
use crate::write::Writer;

/// What was found in the segments of a journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Segments that were read.
    pub segments: u64,
    /// Records that are whole.
    pub records: u64,
    /// Copies that can be read.
    pub copies: u64,
    /// Rows that can be read.
    pub rows: u64,
    /// Partitions of logs, in order of their numbers.
    pub logs: Vec<LogReport>,
    /// What cannot be read.
    pub damage: Vec<Damage>,
}

/// What is kept of a partition of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogReport {
    /// Its number.
    pub partition: QueueId,
    /// Its address, if its log is known.
    pub address: Option<Address>,
    /// Messages that can be read.
    pub messages: u64,
    /// The position of the oldest message.
    pub first: u64,
    /// The position of the next message that comes.
    pub next: u64,
    /// What the messages take, in bytes.
    pub bytes: u64,
}

/// Reads every byte of the journal in the folder at `path`, and changes nothing. What it finds no damage in can be opened; opening reads less, and
/// may find less.
///
/// # Errors
/// [`JournalError`]: a process has it open, or it cannot be read at all.
pub fn check(path: impl AsRef<Path>) -> Result<Report, JournalError> {
    let (disk, _lock) = locked(path.as_ref())?;
    Ok(Salvage::read(&disk)?.report)
}

/// As [`check`], on a file system that nobody else uses meanwhile.
///
/// # Errors
/// See [`check`].
pub fn check_on(fs: &dyn Fs) -> Result<Report, JournalError> {
    Ok(Salvage::read(fs)?.report)
}

/// Writes what can be read of the damaged journal at `path` anew, and moves its files into a folder beside it, which is returned. A journal without
/// damage is left alone.
///
/// # Errors
/// [`JournalError`]: a process has it open, or it cannot be read or written at all.
pub fn repair(path: impl AsRef<Path>) -> Result<(Report, Option<PathBuf>), JournalError> {
    let path = path.as_ref();
    let (disk, _lock) = locked(path)?;
    let salvage = Salvage::read(&disk)?;
    if salvage.report.damage.is_empty() {
        return Ok((salvage.report, None));
    }
    let new = path.join("repaired");
    if new.exists() {
        std::fs::remove_dir_all(&new).map_err(JournalError::io("removing an earlier attempt"))?;
    }
    let writing = || format!("writing {}", new.display());
    let into = Disk::new(&new).map_err(JournalError::io(writing()))?;
    salvage.write(Arc::new(into)).map_err(JournalError::io(writing()))?;
    let old = replace(path, &new, &disk).map_err(JournalError::io("putting the repaired journal in place"))?;
    Ok((salvage.report, Some(old)))
}

/// Writes what can be read of the journal on `fs`, damaged or not, into the empty folder `into`.
///
/// # Errors
/// [`JournalError`]: it cannot be read or written at all.
pub fn repair_on(fs: &dyn Fs, into: Arc<dyn Fs>) -> Result<Report, JournalError> {
    let salvage = Salvage::read(fs)?;
    salvage.write(into).map_err(JournalError::io("writing what can be read"))?;
    Ok(salvage.report)
}

fn locked(path: &Path) -> Result<(Disk, Lock), JournalError> {
    match path.metadata() {
        Ok(found) if found.is_dir() => {}
        Ok(_) => return Err(JournalError::NotAFolder(path.into())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(JournalError::Missing(path.into())),
        Err(error) => return Err(JournalError::io(format!("looking for a journal in {}", path.display()))(error)),
    }
    let names = std::fs::read_dir(path).map_err(JournalError::io(format!("reading {}", path.display())))?;
    let is_segment = |name: std::ffi::OsString| segment_id(&name.to_string_lossy()).is_some();
    if !names.filter_map(Result::ok).any(|entry| is_segment(entry.file_name())) {
        return Err(JournalError::Missing(path.into()));
    }
    let disk = Disk::new(path).map_err(JournalError::io(format!("opening {}", path.display())))?;
    let lock = disk.lock().map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock => JournalError::Locked,
        _ => JournalError::io("locking the folder")(error),
    })?;
    Ok((disk, lock))
}

/// Moves the old files away and the new ones in. Until the last step the old ones are all somewhere.
fn replace(path: &Path, new: &Path, disk: &Disk) -> std::io::Result<PathBuf> {
    let free = |n: &u32| !path.join(format!("damaged-{n}")).exists();
    let old = path.join(format!("damaged-{}", (1..).find(free).unwrap_or_default()));
    std::fs::create_dir(&old)?;
    for name in disk.names()?.iter().filter(|name| segment_id(name).is_some()) {
        std::fs::rename(path.join(name), old.join(name))?;
    }
    for entry in std::fs::read_dir(new)? {
        let name = entry?.file_name();
        if name.to_string_lossy().ends_with(".journal") {
            std::fs::rename(new.join(&name), path.join(&name))?;
        }
    }
    disk.sync_names()?;
    std::fs::remove_dir_all(new)?;
    Ok(old)
}

/// What can be read.
struct Salvage {
    index: Index,
    report: Report,
    /// What is kept, with its body.
    kept: Vec<(Entry, Option<Spot>)>,
}

impl Salvage {
    fn read(fs: &dyn Fs) -> Result<Self, JournalError> {
        let Walk { index, segments, records, noted, .. } = Walk::noting(fs)?;
        let report = Report { segments, records, damage: noted.unwrap_or_default(), ..Report::default() };
        Self { index, report, kept: Vec::new() }.bodies()
    }

    fn damage(&mut self, reader: &Reader<'_>, offset: u64, what: String) {
        self.report.damage.push(Damage { file: reader.name(), offset, what });
    }

    /// Reads the bodies of what is kept.
    fn bodies(mut self) -> Result<Self, JournalError> {
        let rows: Vec<_> = self.index.rows().map(|(key, slot)| (key.clone(), *slot)).collect();
        for (key, slot) in rows {
            let entry = Entry::Put { key: key.clone(), revision: slot.revision, row: slot.spot.place };
            let of = key.clone();
            let readable = self.keep(slot.spot, entry, "a row", |body| {
                take_row_key(&mut Take::new(of)).and(take_row(&mut Take::new(body)).map(drop))
            })?;
            self.report.rows += u64::from(readable);
        }
        let copies: Vec<_> = self.index.all_copies().collect();
        for found in copies {
            let what = format!("the message {} of queue {}", found.kept.copy.copy.seq, found.kept.copy.copy.queue.0);
            let entry =
                Entry::Keep { at: found.at, facts: found.facts, body: found.spot.place, copies: vec![found.kept] };
            let readable = self.keep(found.spot, entry, &what, |body| take_message(&mut Take::new(body)).map(drop))?;
            self.report.copies += u64::from(readable);
        }
        let prepared: Vec<_> = self.index.prepared().map(|(gid, spot)| (gid.clone(), spot)).collect();
        for (gid, spot) in prepared {
            let readable = |body| take_prepared(&mut Take::new(body)).map(drop);
            self.keep(spot, Entry::Prepare { gid, body: spot.place }, "a prepared transaction", readable)?;
        }
        let names = self.names()?;
        for (partition, low, runs) in self.index.logs().all() {
            self.log(partition, low, &runs, &names)?;
        }
        Ok(self)
    }

    /// The addresses of partitions, of the rows of their logs.
    fn names(&self) -> Result<HashMap<QueueId, Address>, JournalError> {
        let mut names = HashMap::new();
        for (key, slot) in self.index.rows() {
            let Ok(RowKey::Log(address)) = take_row_key(&mut Take::new(key.clone())) else { continue };
            let Some(file) = self.index.file(slot.spot.segment) else { continue };
            let reader = Reader { id: slot.spot.segment, file: &*file };
            // What cannot be read has been told already.
            let Ok(body) = reader.body(slot.spot.place) else { continue };
            let Ok(Row::Log(row)) = take_row(&mut Take::new(body)) else { continue };
            let name = |(n, id): (usize, QueueId)| Some((id, Address::new(format!("{address}/{n}")).ok()?));
            names.extend(row.partitions.into_iter().enumerate().filter_map(name));
        }
        Ok(names)
    }

    /// Reads the messages of a partition.
    fn log(
        &mut self,
        partition: QueueId,
        low: u64,
        runs: &[Placed],
        names: &HashMap<QueueId, Address>,
    ) -> Result<(), JournalError> {
        let state = self.index.logs().state(partition);
        let mut messages_read = 0;
        if low > 0 {
            self.kept.push((Entry::Log(LogOp::Trim { partition, before: low }), None));
        }
        for Placed { segment, run } in runs {
            let Some(file) = self.index.file(*segment) else { continue };
            let reader = Reader { id: *segment, file: &*file };
            let kept = &mut self.kept;
            let read = messages(&reader, partition, run, |position, at, body, message| {
                let unreadable =
                    |error| reader.corrupt(body.offset.into(), format!("a message cannot be read: {error}"));
                take_message(&mut Take::new(message)).map_err(unreadable)?;
                let places = vec![(partition, position)];
                let entry = Entry::Log(LogOp::Append { at, places, body, record: 0 });
                kept.push((entry, Some(Spot { segment: *segment, place: body })));
                messages_read += 1;
                Ok(ControlFlow::Continue(()))
            });
            match read {
                Ok(()) => {}
                Err(JournalError::Corrupt { offset, .. }) => {
                    let what = format!("messages {} to {} of a log", run.first, run.next() - 1);
                    self.damage(&reader, offset, what);
                }
                Err(error) => return Err(error),
            }
        }
        let (first, next, bytes) = (state.first, state.next, state.bytes);
        let address = names.get(&partition).cloned();
        self.report.logs.push(LogReport { partition, address, messages: messages_read, first, next, bytes });
        Ok(())
    }

    /// Keeps an entry if its body is what was written, and `take` can read it.
    fn keep(
        &mut self,
        spot: Spot,
        entry: Entry,
        what: &str,
        take: impl FnOnce(Bytes) -> Result<(), CodecError>,
    ) -> Result<bool, JournalError> {
        let Some(file) = self.index.file(spot.segment) else { return Ok(false) };
        let reader = Reader { id: spot.segment, file: &*file };
        let (offset, why) = match reader.body(spot.place) {
            Ok(body) => match take(body) {
                Ok(()) => {
                    self.kept.push((entry, Some(spot)));
                    return Ok(true);
                }
                Err(error) => (spot.place.offset.into(), format!("{what}: {error}")),
            },
            Err(JournalError::Corrupt { offset, .. }) => (offset, what.to_owned()),
            Err(error) => return Err(error),
        };
        self.damage(&reader, offset, why);
        Ok(false)
    }

    /// Writes what is kept into a journal of its own, and ends it.
    fn write(&self, fs: Arc<dyn Fs>) -> std::io::Result<()> {
        const SEGMENT_BYTES: u64 = 64 << 20;
        let segment_bytes = (2 * self.index.bytes() + (64 << 10)).min(SEGMENT_BYTES);
        let mut writer = Writer::new(fs, segment_bytes as u32, 0, 0);
        for (entry, spot) in &self.kept {
            let mut operations = vec![(entry.clone(), self.body(*spot)?)];
            while let Err(bytes) = writer.gather(&mut operations) {
                writer.write()?;
                writer.roll(bytes)?;
            }
            if writer.gathered() > 1 << 20 {
                writer.write()?;
            }
        }
        writer.write()?;
        writer.end().map(drop)
    }

    fn body(&self, spot: Option<Spot>) -> std::io::Result<Option<Body>> {
        let Some((spot, file)) = spot.and_then(|spot| Some((spot, self.index.file(spot.segment)?))) else {
            return Ok(None);
        };
        let read = Reader { id: spot.segment, file: &*file }.body(spot.place);
        Ok(Some(Body::Again(read.map_err(|error| std::io::Error::other(in_words(&error)))?)))
    }
}
