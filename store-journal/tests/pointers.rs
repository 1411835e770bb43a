//! The journal writes payloads from where they lie: what the file system is handed is the buffer that the sender's bytes are in.

mod support;

use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use roadbed_broker::{NewCopy, Op, Unit};
use roadbed_core::{CopyId, Durability, Message, Qos, QueueId, Time};
use roadbed_store_journal::JournalStore;
use roadbed_store_journal::fs::{Fs, FsFile, Lock, Space};
use roadbed_store_journal::simulation::SimFs;
use support::{commit, config};

/// Where each piece that was written lay, and how long it was.
type Pieces = Arc<Mutex<Vec<(usize, usize)>>>;

#[derive(Debug)]
struct Watched(SimFs, Pieces);

#[derive(Debug)]
struct WatchedFile(Arc<dyn FsFile>, Pieces);

impl Watched {
    fn file(&self, file: Arc<dyn FsFile>) -> Arc<dyn FsFile> {
        Arc::new(WatchedFile(file, self.1.clone()))
    }
}

impl Fs for Watched {
    fn lock(&self) -> io::Result<Lock> {
        self.0.lock()
    }

    fn names(&self) -> io::Result<Vec<String>> {
        self.0.names()
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn FsFile>> {
        self.0.create(name, bytes).map(|file| self.file(file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn FsFile>> {
        self.0.open(name).map(|file| self.file(file))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }

    fn sync_names(&self) -> io::Result<()> {
        self.0.sync_names()
    }

    fn space(&self) -> io::Result<Space> {
        self.0.space()
    }
}

impl FsFile for WatchedFile {
    fn bytes(&self) -> io::Result<u64> {
        self.0.bytes()
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, into)
    }

    fn write_at(&self, offset: u64, pieces: &mut [IoSlice<'_>]) -> io::Result<()> {
        self.1.lock().unwrap().extend(pieces.iter().map(|piece| (piece.as_ptr() as usize, piece.len())));
        self.0.write_at(offset, pieces)
    }

    fn set_bytes(&self, bytes: u64) -> io::Result<()> {
        self.0.set_bytes(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
}

#[test]
fn payloads_are_written_from_where_they_lie() {
    let pieces = Pieces::default();
    let mut store = JournalStore::open_on(Arc::new(Watched(SimFs::new(), pieces.clone())), config()).expect("opens");
    // As they were read: several payloads in one buffer, with other bytes between.
    let ingress = Bytes::from(vec![7; 8000]);
    let payloads = [ingress.slice(10..2010), ingress.slice(2500..6500)];
    let units: Vec<Unit> = (1..)
        .zip(&payloads)
        .map(|(seq, payload)| {
            let message = Message::builder("plant/7".parse().expect("an address"), payload.clone());
            let message = message.durability(Durability::Stored).build();
            let copy = CopyId { queue: QueueId(1), seq };
            let copies = vec![NewCopy { copy, qos: Qos::AtLeastOnce, retained: false, bindings: Vec::new() }];
            let enqueue = Op::Enqueue { message, at: Time::ZERO, copies };
            Unit { ops: vec![enqueue], ..Unit::new(seq) }
        })
        .collect();
    assert!(commit(&mut store, units).iter().all(|(_, answer)| answer.is_ok()));
    let pieces = pieces.lock().unwrap();
    for payload in &payloads {
        let place = (payload.as_ptr() as usize, payload.len());
        assert!(pieces.contains(&place), "a payload was copied on its way: {place:?} is not in {pieces:?}");
    }
}
