//! The file system as far as a journal needs it, behind a trait, so that tests can lose what was not synced.

use core::any::Any;
use core::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FallocateFlags;

/// Keeps everybody else out until it is dropped.
pub type Lock = Box<dyn Any + Send + Sync>;

/// One folder of files.
///
/// *Contract*: what was written and not synced may be lost, in any part and order. A file that was created or removed may not be, or be
/// again, until [`sync_names`](Fs::sync_names).
pub trait Fs: Send + Sync + fmt::Debug {
    /// Keeps everybody else out, for as long as what it returns lives.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if somebody else is in.
    fn lock(&self) -> io::Result<Lock>;

    /// The names of all files.
    ///
    /// # Errors
    /// If the folder cannot be read.
    fn names(&self) -> io::Result<Vec<String>>;

    /// Makes a file of `bytes` bytes of zeros, whose space is there when it is written. One of that name is replaced.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`] if there is no such space.
    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn FsFile>>;

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// If there is none.
    fn open(&self, name: &str) -> io::Result<Arc<dyn FsFile>>;

    /// Removes a file; who has it open may go on reading.
    ///
    /// # Errors
    /// If there is none.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes sure that created files stay, and removed ones stay away.
    ///
    /// # Errors
    /// If that is not known.
    fn sync_names(&self) -> io::Result<()>;

    /// How much room there is.
    ///
    /// # Errors
    /// If that cannot be found out.
    fn space(&self) -> io::Result<Space>;
}

/// One file.
pub trait FsFile: Send + Sync + fmt::Debug {
    /// Its length in bytes.
    ///
    /// # Errors
    /// If that cannot be found out.
    fn bytes(&self) -> io::Result<u64>;

    /// Fills `into` from `offset` on.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] if the file ends before.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()>;

    /// Writes all of `pieces` from `offset` on.
    ///
    /// # Errors
    /// If not all was written; how much was is not known.
    fn write_at(&self, offset: u64, pieces: &mut [IoSlice<'_>]) -> io::Result<()>;

    /// Cuts it off, or fills it up with zeros.
    ///
    /// # Errors
    /// If it was not.
    fn set_bytes(&self, bytes: u64) -> io::Result<()>;

    /// Returns when all that was written cannot be lost any more.
    ///
    /// # Errors
    /// If that is not known: then it never will be.
    fn sync(&self) -> io::Result<()>;
}

/// The room of a file system, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// What may still be written.
    pub free: u64,
    /// All of it.
    pub total: u64,
}

/// A folder of the operating system.
#[derive(Debug, Clone)]
pub struct Disk(PathBuf);

impl Disk {
    /// The folder at `path`, which is made if it does not exist.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn new(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        std::fs::create_dir_all(&path)?;
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            File::open(parent)?.sync_all()?;
        }
        Ok(Self(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Fs for Disk {
    fn lock(&self) -> io::Result<Lock> {
        let file = OpenOptions::new().create(true).append(true).open(self.0.join("LOCK"))?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(file)),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let entries = std::fs::read_dir(&self.0)?;
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn FsFile>> {
        let path = self.0.join(name);
        let file = OpenOptions::new().create(true).truncate(true).read(true).write(true).open(&path)?;
        match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes) {
            Ok(()) => {}
            // A file system that cannot: then the space is found as it is written.
            Err(rustix::io::Errno::OPNOTSUPP) => file.set_len(bytes)?,
            Err(error) => {
                let _ = std::fs::remove_file(&path);
                return Err(error.into());
            }
        }
        Ok(Arc::new(DiskFile(file)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn FsFile>> {
        Ok(Arc::new(DiskFile(OpenOptions::new().read(true).write(true).open(self.0.join(name))?)))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.0.join(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }

    fn space(&self) -> io::Result<Space> {
        let found = rustix::fs::statvfs(&self.0)?;
        Ok(Space { free: found.f_bavail * found.f_frsize, total: found.f_blocks * found.f_frsize })
    }
}

#[derive(Debug)]
struct DiskFile(File);

/// How many pieces the system takes at once.
const PIECES_MAX: usize = 1024;

impl FsFile for DiskFile {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(into, offset)
    }

    fn write_at(&self, mut offset: u64, mut pieces: &mut [IoSlice<'_>]) -> io::Result<()> {
        while !pieces.is_empty() {
            let now = pieces.len().min(PIECES_MAX);
            match rustix::io::pwritev(&self.0, &pieces[..now], offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    offset += written as u64;
                    IoSlice::advance_slices(&mut pieces, written);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn set_bytes(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}
