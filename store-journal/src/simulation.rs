//! A file system in memory that forgets, on command, what was not synced; and that fails as real ones do.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::fs::{Fs, FsFile, Lock, Space};

/// What is lost or kept at once: a block of the disk, in bytes.
const BLOCK: usize = 4096;

/// A file system in memory. Clones share it.
#[derive(Clone, Debug)]
pub struct SimFs(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    files: BTreeMap<String, Arc<SimFile>>,
    /// Files as they are after a power cut.
    durable_names: BTreeMap<String, Arc<SimFile>>,
    capacity: u64,
    /// Syncs until one fails.
    fail_sync_in: Option<u64>,
    syncs: u64,
    /// Operations until the power is cut, what is kept then, and the seed of which.
    cut: Option<(u64, Kept, u64)>,
    /// What was there when the power was cut.
    image: Option<SimFs>,
    locked: Arc<()>,
}

/// What a power cut keeps of the blocks that were written and not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Nothing.
    None,
    /// Each with a probability of so many in 1,000. Of the others some are torn: a part of their sectors is kept.
    Some(u32),
}

impl Default for SimFs {
    fn default() -> Self {
        let state = State {
            files: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            capacity: 1 << 40,
            fail_sync_in: None,
            syncs: 0,
            cut: None,
            image: None,
            locked: Arc::new(()),
        };
        Self(Arc::new(Mutex::new(state)))
    }
}

impl SimFs {
    /// An empty one with a lot of room.
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Cuts the power: a copy of what is found afterwards. The original goes on as if nothing had happened, and concerns nobody any more.
    /// `random` decides which blocks are kept.
    #[must_use]
    pub fn power_cut(&self, kept: Kept, random: impl FnMut() -> u32) -> Self {
        self.state().power_cut(kept, random)
    }

    /// Cuts the power before the operation after `operations` more: [`take_cut`](Self::take_cut) has what is found afterwards.
    pub fn cut_after(&self, operations: u64, kept: Kept, seed: u64) {
        let mut state = self.state();
        (state.cut, state.image) = (Some((operations, kept, seed)), None);
    }

    /// What is found after the cut that [`cut_after`](Self::cut_after) has asked for; if it has not come yet, it comes now.
    pub fn take_cut(&self) -> Option<Self> {
        let mut state = self.state();
        if let Some((_, kept, seed)) = state.cut.take() {
            state.image = Some(state.power_cut(kept, chance(seed)));
        }
        state.image.take()
    }

    /// From now on there is room for so many bytes.
    pub fn set_capacity(&self, bytes: u64) {
        self.state().capacity = bytes;
    }

    /// The sync after `syncs` more fails, and all that follow.
    pub fn fail_sync_after(&self, syncs: u64) {
        self.state().fail_sync_in = Some(syncs);
    }

    /// How often a file was synced.
    pub fn syncs(&self) -> u64 {
        self.state().syncs
    }

    /// All files with their lengths.
    pub fn files(&self) -> Vec<(String, u64)> {
        self.state().files.iter().map(|(name, file)| (name.clone(), file.data().bytes.len() as u64)).collect()
    }

    /// Turns one bit of a file around; false if there is no such byte.
    pub fn flip(&self, name: &str, byte: u64, bit: u8) -> bool {
        let state = self.state();
        let Some(file) = state.files.get(name) else { return false };
        let mut data = file.data();
        match data.bytes.get_mut(byte as usize) {
            Some(found) => {
                *found ^= 1 << (bit % 8);
                true
            }
            None => false,
        }
    }
}

/// Numbers by chance.
fn chance(seed: u64) -> impl FnMut() -> u32 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed >> 32) as u32
    }
}

impl State {
    /// See [`SimFs::power_cut`].
    fn power_cut(&self, kept: Kept, mut random: impl FnMut() -> u32) -> SimFs {
        let mut keep = || match kept {
            Kept::None => Fate::Lost(0),
            Kept::Some(per_mille) if random() % 1000 < per_mille => Fate::Kept,
            Kept::Some(_) => match random() {
                torn if torn % 8 == 7 => Fate::Torn(torn as usize / 8 % (BLOCK / SECTOR) * SECTOR),
                version => Fate::Lost(version as usize / 8),
            },
        };
        let mut names = self.durable_names.clone();
        // A name that was not synced is there or not.
        for (name, file) in &self.files {
            if !names.contains_key(name) && keep() == Fate::Kept {
                names.insert(name.clone(), file.clone());
            }
        }
        let files: BTreeMap<_, _> =
            names.into_iter().map(|(name, file)| (name, Arc::new(file.after_cut(&mut keep)))).collect();
        let state = Self {
            durable_names: files.clone(),
            files,
            capacity: self.capacity,
            fail_sync_in: None,
            syncs: 0,
            cut: None,
            image: None,
            locked: Arc::new(()),
        };
        SimFs(Arc::new(Mutex::new(state)))
    }

    /// Before each operation that changes anything.
    fn count(&mut self) {
        match &mut self.cut {
            Some((left @ 1.., ..)) => *left -= 1,
            Some((0, kept, seed)) => {
                let (kept, seed) = (*kept, *seed);
                self.image = Some(self.power_cut(kept, chance(seed)));
                self.cut = None;
            }
            None => {}
        }
    }

    fn used(&self) -> u64 {
        self.files.values().map(|file| file.data().bytes.len() as u64).sum()
    }
}

#[derive(Debug, Default)]
struct SimFile {
    data: Mutex<Data>,
    fs: Option<Weak>,
}

type Weak = std::sync::Weak<Mutex<State>>;

#[derive(Debug, Default)]
struct Data {
    bytes: Vec<u8>,
    /// The blocks that were written since the last sync: what was synced of each, and what it was between writes.
    before: BTreeMap<usize, Vec<Vec<u8>>>,
    synced_len: usize,
}

/// What a disk writes at once, in bytes.
const SECTOR: usize = 512;
/// How many states of a block are remembered between two syncs.
const VERSIONS_MAX: usize = 4;

/// What becomes of a block that was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Kept,
    /// It is as it was before some write.
    Lost(usize),
    /// It has been written up to here.
    Torn(usize),
}

impl Data {
    fn touch(&mut self, from: usize, to: usize) {
        for block in from / BLOCK..to.div_ceil(BLOCK) {
            let (start, end) = (block * BLOCK, ((block + 1) * BLOCK).min(self.bytes.len()));
            let bytes = &self.bytes;
            let versions = self.before.entry(block).or_default();
            if versions.len() < VERSIONS_MAX {
                versions.push(bytes.get(start..end).unwrap_or_default().to_vec());
            }
        }
    }
}

impl SimFile {
    fn data(&self) -> MutexGuard<'_, Data> {
        self.data.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self) {
        if let Some(fs) = self.fs.as_ref().and_then(Weak::upgrade) {
            fs.lock().unwrap_or_else(PoisonError::into_inner).count();
        }
    }

    fn after_cut(&self, keep: &mut impl FnMut() -> Fate) -> Self {
        let data = self.data();
        let mut bytes = data.bytes.clone();
        for (block, versions) in &data.before {
            let (version, from) = match keep() {
                Fate::Kept => continue,
                Fate::Lost(version) => (version % versions.len().max(1), 0),
                Fate::Torn(at) => (0, at),
            };
            let start = block * BLOCK;
            let end = (start + BLOCK).min(bytes.len());
            let (Some(now), Some(before)) = (bytes.get_mut(start..end), versions.get(version)) else { continue };
            for (at, byte) in now.iter_mut().enumerate().skip(from) {
                *byte = before.get(at).copied().unwrap_or(0);
            }
        }
        if bytes.len() != data.synced_len && keep() != Fate::Kept {
            // It had another length, and that was not synced.
            bytes.resize(data.synced_len, 0);
        }
        let synced_len = bytes.len();
        Self { data: Mutex::new(Data { bytes, before: BTreeMap::new(), synced_len }), fs: None }
    }
}

impl Fs for SimFs {
    fn lock(&self) -> io::Result<Lock> {
        let state = self.state();
        match Arc::strong_count(&state.locked) {
            1 => Ok(Box::new(state.locked.clone())),
            _ => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.state().files.keys().cloned().collect())
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn FsFile>> {
        let mut state = self.state();
        state.count();
        state.files.remove(name);
        if state.used() + bytes > state.capacity {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let data = Data { bytes: vec![0; bytes as usize], before: BTreeMap::new(), synced_len: 0 };
        let file = Arc::new(SimFile { data: Mutex::new(data), fs: Some(Arc::downgrade(&self.0)) });
        state.files.insert(name.into(), file.clone());
        Ok(file)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn FsFile>> {
        let mut state = self.state();
        let file = state.files.get_mut(name).ok_or(io::ErrorKind::NotFound)?;
        if file.fs.is_none() {
            let data = std::mem::take(&mut *file.data());
            let with_fs = Arc::new(SimFile { data: Mutex::new(data), fs: Some(Arc::downgrade(&self.0)) });
            *file = with_fs.clone();
            if let Some(durable) = state.durable_names.get_mut(name) {
                *durable = with_fs.clone();
            }
            return Ok(with_fs);
        }
        Ok(file.clone())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.count();
        state.files.remove(name).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut state = self.state();
        state.count();
        state.durable_names = state.files.clone();
        Ok(())
    }

    fn space(&self) -> io::Result<Space> {
        let state = self.state();
        Ok(Space { free: state.capacity.saturating_sub(state.used()), total: state.capacity })
    }
}

impl FsFile for SimFile {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.data().bytes.len() as u64)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let data = self.data();
        let start = offset as usize;
        let found = data.bytes.get(start..start + into.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        into.copy_from_slice(found);
        Ok(())
    }

    fn write_at(&self, offset: u64, pieces: &mut [IoSlice<'_>]) -> io::Result<()> {
        self.count();
        let mut data = self.data();
        let mut at = offset as usize;
        for piece in pieces {
            let end = at + piece.len();
            if end > data.bytes.len() {
                data.bytes.resize(end, 0);
            }
            data.touch(at, end);
            data.bytes[at..end].copy_from_slice(piece);
            at = end;
        }
        Ok(())
    }

    fn set_bytes(&self, bytes: u64) -> io::Result<()> {
        self.count();
        let mut data = self.data();
        let (now, then) = (data.bytes.len(), bytes as usize);
        data.touch(then.min(now), now);
        data.bytes.resize(then, 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        if let Some(fs) = self.fs.as_ref().and_then(Weak::upgrade) {
            let mut state = fs.lock().unwrap_or_else(PoisonError::into_inner);
            state.count();
            state.syncs += 1;
            match &mut state.fail_sync_in {
                Some(0) => return Err(io::Error::other("the disk says that it cannot")),
                Some(left) => *left -= 1,
                None => {}
            }
        }
        let mut data = self.data();
        data.before.clear();
        data.synced_len = data.bytes.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_power_cut_takes_back_what_was_not_synced() {
        let fs = SimFs::new();
        let file = fs.create("a", 3 * BLOCK as u64).expect("made");
        fs.sync_names().expect("synced");
        file.write_at(0, &mut [IoSlice::new(b"kept")]).expect("written");
        file.sync().expect("synced");
        file.write_at(0, &mut [IoSlice::new(b"lost")]).expect("written");
        let after = fs.power_cut(Kept::None, || 0).open("a").expect("there");
        let mut found = [0; 4];
        after.read_at(0, &mut found).expect("read");
        assert_eq!(&found, b"kept");
        let all = fs.power_cut(Kept::Some(1000), || 0).open("a").expect("there");
        all.read_at(0, &mut found).expect("read");
        assert_eq!(&found, b"lost");
    }
}
