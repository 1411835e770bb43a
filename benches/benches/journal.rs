//! The journal: groups of units appended and committed, on a disk and on none; and reopening what it keeps.

use std::hint::black_box;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::thread::Thread;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use roadbed_benches::{criterion, per_message};
use roadbed_broker::{NewCopy, Op, Store, Unit};
use roadbed_core::{CopyId, Message, Qos, QueueId, Time};
use roadbed_store_journal::fs::{Disk, Fs, FsFile, Lock, Space};
use roadbed_store_journal::simulation::{Kept, SimFs};
use roadbed_store_journal::{JournalConfig, JournalStore};

const QUEUE: QueueId = QueueId(7);
/// One message of so many stays.
const KEEP_EVERY: u64 = 1024;

/// Units of one message each, and the end of them all: what it costs a message to be stored and to be gone.
fn append(criterion: &mut Criterion) {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder beside what was built");
    for (name, disk) in [("disk", true), ("no disk", false)] {
        let mut group = criterion.benchmark_group(format!("journal/append/{name}"));
        for (size, label) in [(64, "64 B"), (256, "256 B"), (4096, "4 KiB")] {
            for units in [1, 64, 2048] {
                let fs: Arc<dyn Fs> = match disk {
                    true => Arc::new(Disk::new(folder.path().join(format!("{size}-{units}"))).expect("a folder")),
                    false => Arc::new(NoDisk),
                };
                // Nothing can be cleaned where nothing can be read.
                let garbage = if disk { 64 << 20 } else { u64::MAX };
                let mut journal = Journal::open(fs, garbage);
                let payload = vec![b'x'; size];
                per_message(&mut group, &format!("{label}/{units}"), units, || {
                    journal.put(units, &payload);
                    journal.retire();
                });
            }
        }
    }
}

/// Opening a journal that was killed with so many messages in it: the active segment is read whole, of the others what their ends say.
fn recovery(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("journal/recovery");
    for count in [1_000, 100_000] {
        let fs = SimFs::new();
        let mut journal = Journal::open(Arc::new(fs.clone()), u64::MAX);
        (0..count / 1000).for_each(|_| journal.put(1000, &[b'x'; 64]));
        let killed = || fs.power_cut(Kept::Some(1000), || 0);
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(format!("{count}"), |bencher| {
            let reopen = |fs: SimFs| {
                let mut store = JournalStore::open_on(Arc::new(fs), config(u64::MAX)).expect("it opens");
                let recovery = store.recover().expect("it can be read");
                assert_eq!(recovery.queues, [QUEUE]);
                black_box(store)
            };
            bencher.iter_batched(killed, reopen, BatchSize::PerIteration);
        });
    }
}

fn config(garbage: u64) -> JournalConfig {
    JournalConfig::default().garbage_bytes(garbage).free_min(0, 0)
}

/// A journal, and a thread that waits for its answers.
struct Journal {
    store: JournalStore,
    seq: u64,
    retired: u64,
    unit: u64,
    unanswered: usize,
}

impl Journal {
    fn open(fs: Arc<dyn Fs>, garbage: u64) -> Self {
        let store = JournalStore::open_on(fs, config(garbage)).expect("a journal opens");
        Self { store, seq: 0, retired: 0, unit: 0, unanswered: 0 }
    }

    fn put(&mut self, units: usize, payload: &[u8]) {
        let mut group: Vec<Unit> = (0..units).map(|_| self.message(payload)).collect();
        self.commit(&mut group);
    }

    fn message(&mut self, payload: &[u8]) -> Unit {
        (self.seq, self.unit) = (self.seq + 1, self.unit + 1);
        let copy = CopyId { queue: QUEUE, seq: self.seq };
        let copies = vec![NewCopy { copy, qos: Qos::AtLeastOnce, retained: false, bindings: Vec::new() }];
        let message = Message::new("plant/7/alarm".parse().expect("a legal name"), payload.to_vec());
        Unit { ops: vec![Op::Enqueue { message, at: Time::from_millis(1), copies }], ..Unit::new(self.unit) }
    }

    /// Ends what was put, but for some: a segment of which nothing is kept would be read, to be cleaned.
    fn retire(&mut self) {
        let mut ops = Vec::new();
        while self.retired < self.seq {
            let first = self.retired + 1;
            self.retired = self.seq.min(first | (KEEP_EVERY - 1));
            let last = self.retired - u64::from(self.retired % KEEP_EVERY == KEEP_EVERY - 1);
            if first <= last {
                ops.push(Op::RetireRun { queue: QUEUE, first, last });
            }
        }
        self.unit += 1;
        self.store.submit(&mut vec![Unit { ops, awaited: false, ..Unit::new(self.unit) }]);
        // It is written with the next group.
        self.unanswered += 1;
    }

    fn commit(&mut self, units: &mut Vec<Unit>) {
        let wanted = units.len() + std::mem::take(&mut self.unanswered);
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut answers = Vec::with_capacity(wanted);
        self.store.submit(units);
        while answers.len() < wanted {
            if self.store.poll_commits(&mut Context::from_waker(&waker), &mut answers).is_pending() {
                std::thread::park();
            }
        }
        assert!(answers.iter().all(|(_, answer)| answer.is_ok()));
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// A file system that takes everything and keeps nothing: what is left is the journal's own work.
#[derive(Debug)]
struct NoDisk;

#[derive(Debug)]
struct NoFile(Mutex<u64>);

impl Fs for NoDisk {
    fn lock(&self) -> io::Result<Lock> {
        Ok(Box::new(()))
    }

    fn names(&self) -> io::Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn create(&self, _name: &str, bytes: u64) -> io::Result<Arc<dyn FsFile>> {
        Ok(Arc::new(NoFile(Mutex::new(bytes))))
    }

    fn open(&self, _name: &str) -> io::Result<Arc<dyn FsFile>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn remove(&self, _name: &str) -> io::Result<()> {
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        Ok(())
    }

    fn space(&self) -> io::Result<Space> {
        Ok(Space { free: 1 << 40, total: 1 << 40 })
    }
}

impl FsFile for NoFile {
    fn bytes(&self) -> io::Result<u64> {
        Ok(*self.0.lock().expect("nobody panics with it"))
    }

    fn read_at(&self, _offset: u64, _into: &mut [u8]) -> io::Result<()> {
        Err(io::ErrorKind::UnexpectedEof.into())
    }

    fn write_at(&self, _offset: u64, pieces: &mut [IoSlice<'_>]) -> io::Result<()> {
        black_box(pieces);
        Ok(())
    }

    fn set_bytes(&self, bytes: u64) -> io::Result<()> {
        *self.0.lock().expect("nobody panics with it") = bytes;
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

criterion_group!(name = benches; config = criterion(); targets = append, recovery);
criterion_main!(benches);
