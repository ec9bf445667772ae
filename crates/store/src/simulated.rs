//! A disk for tests: what was not synced may vanish or tear at a crash, and it fails when it is told to.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::{Disk, File};

/// What a disk writes at once: a crash leaves each of them old or new.
const SECTOR: usize = 512;

/// How the disk misbehaves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Bytes that it holds; beyond, a write fails after a part of it was written.
    pub capacity: Option<usize>,
    /// Syncs fail, and what they should have written is lost, though reading still shows it.
    pub syncs_fail: bool,
    /// Syncs say that they did something and do nothing: for tests that must fail then.
    pub syncs_lie: bool,
    /// The power goes in the middle of the next sync: it fails, and a crash, which has to be the next that happens, decides what of it is
    /// there.
    pub power_goes: bool,
}

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Default)]
pub struct SimulatedDisk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    faults: Faults,
    /// Contents by file; files that were removed stay as long as a crash may bring them back.
    contents: Vec<Content>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    syncs: u64,
}

#[derive(Clone, Default)]
struct Content {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    /// Ranges of `bytes` that no sync writes any more.
    lost: Vec<Range<usize>>,
}

/// A file of a [`SimulatedDisk`].
pub struct SimulatedFile {
    disk: SimulatedDisk,
    content: usize,
}

impl SimulatedDisk {
    /// From now on it misbehaves like this.
    pub fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// How often files were synced.
    pub fn syncs(&self) -> u64 {
        self.state().syncs
    }

    /// The bytes of a file as they are read now.
    pub fn bytes_of(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.state();
        state.names.get(name).map(|content| state.contents[*content].bytes.clone())
    }

    /// Bytes in all files as they are now.
    pub fn used(&self) -> usize {
        self.state().used()
    }

    /// Changes a file behind its owner's back, lastingly.
    pub fn tamper(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        let Some(content) = state.names.get(name).copied() else { return };
        let content = &mut state.contents[content];
        change(&mut content.bytes);
        content.durable.clone_from(&content.bytes);
    }

    /// A disk of its own with the same files, all of them lasting.
    pub fn copy(&self) -> Self {
        let state = self.state();
        let mut contents = state.contents.clone();
        for content in &mut contents {
            content.durable.clone_from(&content.bytes);
        }
        let (names, durable_names) = (state.names.clone(), state.names.clone());
        Self(Arc::new(Mutex::new(State { contents, names, durable_names, ..State::default() })))
    }

    /// The power goes: of what was not synced, a part that `seed` decides is there afterwards. Open files are good for nothing then.
    pub fn crash(&self, seed: u64) {
        let mut random = Random(seed);
        let mut state = self.state();
        for content in &mut state.contents {
            content.crash(&mut random);
        }
        let (names, durable) = (state.names.clone(), state.durable_names.clone());
        let mut left = BTreeMap::new();
        for name in names.keys().chain(durable.keys()) {
            let kept = if random.coin() { names.get(name) } else { durable.get(name) };
            left.extend(kept.map(|content| (name.clone(), *content)));
        }
        state.names.clone_from(&left);
        state.durable_names = left;
        state.faults = Faults::default();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A test that panicked is over.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn used(&self) -> usize {
        self.names.values().map(|content| self.contents[*content].bytes.len()).sum()
    }
}

impl Content {
    /// What a sync that succeeds writes.
    fn synced(&self) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        for range in &self.lost {
            let end = range.end.min(bytes.len());
            bytes[range.start.min(end)..end].fill(0);
        }
        bytes
    }

    fn crash(&mut self, random: &mut Random) {
        let (old, new) = (std::mem::take(&mut self.durable), self.synced());
        let shorter = old.len().min(new.len());
        let size = shorter + random.below(old.len().max(new.len()) - shorter + 1);
        let byte = |bytes: &[u8], at: usize| bytes.get(at).copied().unwrap_or_default();
        let mut left = Vec::with_capacity(size);
        while left.len() < size {
            let sector = left.len()..(left.len() + SECTOR - left.len() % SECTOR).min(size);
            let from = if random.coin() { &new } else { &old };
            left.extend(sector.map(|at| byte(from, at)));
        }
        self.durable.clone_from(&left);
        self.bytes = left;
        self.lost.clear();
    }
}

impl Disk for SimulatedDisk {
    type File = SimulatedFile;

    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.state().names.keys().cloned().collect())
    }

    fn create(&mut self, name: &str) -> io::Result<SimulatedFile> {
        let mut state = self.state();
        if state.names.contains_key(name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let content = state.contents.len();
        state.contents.push(Content::default());
        state.names.insert(name.to_owned(), content);
        drop(state);
        Ok(SimulatedFile { disk: self.clone(), content })
    }

    fn open(&mut self, name: &str) -> io::Result<SimulatedFile> {
        let content = *self.state().names.get(name).ok_or(ErrorKind::NotFound)?;
        Ok(SimulatedFile { disk: self.clone(), content })
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.state().names.remove(name).map(drop).ok_or(ErrorKind::NotFound.into())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.state();
        if state.faults.syncs_fail || state.faults.power_goes {
            return Err(io::Error::other("simulated"));
        }
        if !state.faults.syncs_lie {
            state.durable_names = state.names.clone();
        }
        Ok(())
    }
}

impl File for SimulatedFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.disk.state().contents[self.content].bytes.len() as u64)
    }

    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let state = self.disk.state();
        let bytes = &state.contents[self.content].bytes;
        let start = usize::try_from(offset).map_err(|_| ErrorKind::UnexpectedEof)?;
        let from = bytes.get(start..start + into.len()).ok_or(ErrorKind::UnexpectedEof)?;
        into.copy_from_slice(from);
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        let used = state.used();
        let free = state.faults.capacity.map_or(usize::MAX, |capacity| capacity.saturating_sub(used));
        let fits = bytes.len().min(free);
        state.contents[self.content].bytes.extend_from_slice(&bytes[..fits]);
        if fits < bytes.len() { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn truncate(&mut self, size: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        let content = &mut state.contents[self.content];
        content.bytes.truncate(size as usize);
        content.lost.retain_mut(|range| {
            range.end = range.end.min(size as usize);
            range.start < range.end
        });
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.disk.state();
        let faults = state.faults;
        state.syncs += 1;
        let content = &mut state.contents[self.content];
        if faults.syncs_fail {
            let same = content.bytes.iter().zip(&content.durable).take_while(|(a, b)| a == b).count();
            content.lost.push(same..content.bytes.len());
            return Err(io::Error::other("simulated"));
        }
        if faults.power_goes {
            return Err(io::Error::other("simulated"));
        }
        if !faults.syncs_lie {
            content.durable = content.synced();
        }
        Ok(())
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn coin(&mut self) -> bool {
        self.next() & 1 == 1
    }
}
