//! A disk whose syncs wait, or fail, when they are told to.

use std::io::{self, IoSlice};
use std::sync::{Arc, Condvar, Mutex};

use roadbed_store_journal::fs::{Fs, FsFile, Lock, Space};
use roadbed_store_journal::simulation::SimFs;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Open,
    Shut,
    Broken,
}

/// A file system in memory behind a gate.
#[derive(Clone, Debug)]
pub(crate) struct Gated {
    fs: SimFs,
    gate: Arc<(Mutex<Way>, Condvar)>,
}

impl Gated {
    pub(crate) fn new() -> Self {
        Self { fs: SimFs::new(), gate: Arc::new((Mutex::new(Way::Open), Condvar::new())) }
    }

    pub(crate) fn set(&self, way: Way) {
        *self.gate.0.lock().expect("nobody panics with it") = way;
        self.gate.1.notify_all();
    }

    pub(crate) fn syncs(&self) -> u64 {
        self.fs.syncs()
    }

    fn file(&self, file: Arc<dyn FsFile>) -> Arc<dyn FsFile> {
        Arc::new(GatedFile { file, gate: self.gate.clone() })
    }
}

impl Fs for Gated {
    fn lock(&self) -> io::Result<Lock> {
        self.fs.lock()
    }

    fn names(&self) -> io::Result<Vec<String>> {
        self.fs.names()
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn FsFile>> {
        Ok(self.file(self.fs.create(name, bytes)?))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn FsFile>> {
        Ok(self.file(self.fs.open(name)?))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.fs.remove(name)
    }

    fn sync_names(&self) -> io::Result<()> {
        self.fs.sync_names()
    }

    fn space(&self) -> io::Result<Space> {
        self.fs.space()
    }
}

#[derive(Debug)]
struct GatedFile {
    file: Arc<dyn FsFile>,
    gate: Arc<(Mutex<Way>, Condvar)>,
}

impl FsFile for GatedFile {
    fn bytes(&self) -> io::Result<u64> {
        self.file.bytes()
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, into)
    }

    fn write_at(&self, offset: u64, pieces: &mut [IoSlice<'_>]) -> io::Result<()> {
        self.file.write_at(offset, pieces)
    }

    fn set_bytes(&self, bytes: u64) -> io::Result<()> {
        self.file.set_bytes(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        let way = self.gate.0.lock().expect("nobody panics with it");
        match *self.gate.1.wait_while(way, |way| *way == Way::Shut).expect("nobody panics with it") {
            Way::Broken => Err(io::Error::other("the disk says that it cannot")),
            _ => self.file.sync(),
        }
    }
}
