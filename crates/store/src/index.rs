//! What is looked up by other things than a number: which events a channel has, which channels a user is in, and values by key. All of it
//! is in the log too, and can be made anew of it; so losing the index costs time and nothing else.
//!
//! It is one keyspace of fjall, keys with the kind first:
//!
//! ```text
//! 0 | "format"                              versions of the index and of the extract (4 + 4, big-endian)
//! 0 | "p" | partition (2)                   up to which event the index lasts: epoch (4), n (8)
//! 1 | length (2) | channel | n (8)          an event of the channel
//! 2 | length (2) | user | channel           a channel of the user -> value
//! 3 | key                                   -> value
//! ```

use std::collections::BTreeMap;
use std::ops::{Bound, Range};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::{fmt, fs, io};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode};

use crate::ReadError;
use crate::disk::Disk;
use crate::log::{Event, Position, Reader};

/// Version of the keys and values here.
const VERSION: u32 = 1;
/// Events that are taken from the log at once.
const EVENTS: usize = 1_024;
/// And no more once their payloads have so many bytes.
const BYTES: usize = 1 << 20;
/// Events after which the index is made to last. As many at most are read again after a crash, from each partition.
const SAVE_AFTER: u64 = 50_000;
/// Blocks that fjall keeps in memory, and entries before it sorts them into a file, in bytes.
const CACHE: u64 = 64 << 20;
const MEMTABLE: u64 = 16 << 20;
/// What fjall may keep in its journal, in bytes.
const JOURNAL: u64 = 128 << 20;

/// The name of a user or of a channel: up to 512 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Name<'a>(&'a [u8]);

impl<'a> Name<'a> {
    /// `None`: it is too long.
    pub fn new(name: &'a (impl AsRef<[u8]> + ?Sized)) -> Option<Self> {
        let name = name.as_ref();
        (name.len() <= 512).then_some(Self(name))
    }
}

/// Says what of a log belongs into its index. The same events must always give the same.
pub trait Extract {
    /// An index that another version made is made anew.
    fn version(&self) -> u32;

    /// An event of the partition. One that `is_covered` is covered by the checkpoint that was shown before: its places are wanted, but
    /// what it says of state is in the checkpoint already, and older.
    fn event(&self, partition: u16, event: &Event, is_covered: bool, changes: &mut Changes<'_>);

    /// The state of the partition at a position, when what came before is not all there.
    fn checkpoint(&self, partition: u16, at: Position, state: &[u8], changes: &mut Changes<'_>);

    /// An event that is about to be removed from the log: takes away what was noted of it alone. Its places go by themselves where this
    /// is not said otherwise.
    fn forget(&self, partition: u16, event: &Event, changes: &mut Changes<'_>) {
        let mut noted = Changes::of(changes.entries);
        self.event(partition, event, true, &mut noted);
        let places = noted.changes.into_keys().filter(|key| key.first() == Some(&PLACE));
        changes.changes.extend(places.map(|key| (key, None)));
    }
}

/// Changes to an index; they become part of it all at once. Of several to one key the last counts.
pub struct Changes<'a> {
    entries: &'a Keyspace,
    changes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

impl<'a> Changes<'a> {
    fn of(entries: &'a Keyspace) -> Self {
        Self { entries, changes: BTreeMap::new() }
    }

    fn set(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.changes.insert(key, value);
    }

    /// What a key's value will be with these changes. What depends on it has to come out the same when the latest events are taken once
    /// more, in their order.
    ///
    /// # Errors
    /// See [`IndexError`].
    pub fn get(&self, key: Name<'_>) -> Result<Option<Vec<u8>>, IndexError> {
        let key = value_key(key);
        match self.changes.get(&key) {
            Some(value) => Ok(value.clone()),
            None => Ok(self.entries.get(key)?.map(|value| value.to_vec())),
        }
    }

    /// The event `n` is one of the channel.
    pub fn place(&mut self, channel: Name<'_>, n: u64) {
        self.set(place_key(channel, n), Some(Vec::new()));
    }

    /// The event `n` of the channel is not there any more.
    pub fn displace(&mut self, channel: Name<'_>, n: u64) {
        self.set(place_key(channel, n), None);
    }

    /// The user is in the channel.
    pub fn join(&mut self, user: Name<'_>, channel: Name<'_>, value: &[u8]) {
        self.set(member_key(user, channel.0), Some(value.to_vec()));
    }

    /// The user is in the channel no more.
    pub fn leave(&mut self, user: Name<'_>, channel: Name<'_>) {
        self.set(member_key(user, channel.0), None);
    }

    /// The value of a key.
    pub fn put(&mut self, key: Name<'_>, value: &[u8]) {
        self.set(value_key(key), Some(value.to_vec()));
    }

    /// The key has no value any more.
    pub fn remove(&mut self, key: Name<'_>) {
        self.set(value_key(key), None);
    }
}

/// A channel that a user is in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Membership {
    /// The channel's name.
    pub channel: Vec<u8>,
    /// What was said of it when the user joined, or later.
    pub value: Vec<u8>,
}

/// The rest of a key, and its value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// The index cannot be used.
#[derive(Debug)]
pub enum IndexError {
    /// fjall failed.
    Index(fjall::Error),
    /// Its directory cannot be used.
    Disk(io::Error),
    /// The log cannot be read.
    Log(ReadError),
}

impl fmt::Display for IndexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index(fjall::Error::Locked) => {
                f.write_str("the index is in use by another process: stop it, or name another directory")
            }
            Self::Index(error) => write!(
                f,
                "the index failed ({error}): look at the disk; its directory may be removed, it is made anew of the log"
            ),
            Self::Disk(error) => write!(f, "the directory of the index cannot be used: {error}"),
            Self::Log(error) => write!(f, "the log cannot be read: {error}"),
        }
    }
}

impl std::error::Error for IndexError {}

impl From<fjall::Error> for IndexError {
    fn from(error: fjall::Error) -> Self {
        Self::Index(error)
    }
}

/// What opening did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Caught {
    /// There was none, or one that was of no use: damaged, of another version, of another log, or far behind.
    pub is_new: bool,
    /// Events that were taken from the log.
    pub events: u64,
}

/// An index of a [`crate::Log`]. Any number of threads may use it; all of it blocks.
pub struct Index {
    database: Database,
    entries: Keyspace,
    progress: Mutex<Progress>,
}

/// How far the index is, by partition.
#[derive(Default)]
struct Progress {
    applied: BTreeMap<u16, Position>,
    /// Events since it was made to last.
    unsaved: u64,
}

impl Index {
    /// Opens the index in `path`, and takes from the log what it does not have. One that is of no use is removed and made anew.
    ///
    /// # Errors
    /// See [`IndexError`].
    pub fn open<D: Disk>(
        path: &Path,
        reader: &mut Reader<D>,
        extract: &impl Extract,
    ) -> Result<(Self, Caught), IndexError> {
        let mut caught = Caught::default();
        let index = match Self::open_there(path, reader, extract)? {
            Some(index) => index,
            None => {
                caught.is_new = true;
                remove(path)?;
                Self::begin(path, extract.version())?
            }
        };
        for partition in 0..reader.partitions() {
            caught.events += index.catch_up(partition, reader, extract)?;
        }
        index.save()?;
        Ok((index, caught))
    }

    /// Takes from the log what the index does not have of the partition. Returns how many events.
    ///
    /// # Errors
    /// See [`IndexError`].
    pub fn catch_up<D: Disk>(
        &self,
        partition: u16,
        reader: &mut Reader<D>,
        extract: &impl Extract,
    ) -> Result<u64, IndexError> {
        let mut progress = self.progress();
        let mut changes = Changes::of(&self.entries);
        let mut covered = 0;
        if !progress.applied.contains_key(&partition)
            && let Some((at, state)) = reader.checkpoint(partition).map_err(IndexError::Log)?
        {
            extract.checkpoint(partition, at, &state, &mut changes);
            covered = at.n;
        }
        let mut taken = 0;
        loop {
            let from = progress.applied.get(&partition).map_or(1, |at| at.n + 1);
            let events = reader.read(partition, from, EVENTS, BYTES).map_err(IndexError::Log)?;
            for event in &events {
                extract.event(partition, event, event.at.n <= covered, &mut changes);
            }
            self.write(std::mem::replace(&mut changes, Changes::of(&self.entries)))?;
            let Some(last) = events.last() else { break };
            progress.applied.insert(partition, last.at);
            progress.unsaved += events.len() as u64;
            taken += events.len() as u64;
            if progress.unsaved >= SAVE_AFTER {
                self.save_progress(&mut progress)?;
            }
        }
        // All that a checkpoint covers may be gone from the log.
        let at = progress.applied.entry(partition).or_insert(Position { epoch: 0, n: 0 });
        if at.n < covered {
            *at = Position { n: covered, ..reader.head(partition) };
        }
        Ok(taken)
    }

    /// Takes events that were committed a moment ago, from whoever has them at hand: what `fill` says of them all, at once, and that the index
    /// now reaches to these positions, each behind the one before of its partition; `events` is how many they are.
    ///
    /// # Errors
    /// See [`IndexError`].
    pub fn apply(
        &self,
        upto: impl IntoIterator<Item = (u16, Position)>,
        events: u64,
        fill: impl FnOnce(&mut Changes<'_>),
    ) -> Result<(), IndexError> {
        let mut progress = self.progress();
        let mut changes = Changes::of(&self.entries);
        fill(&mut changes);
        self.write(changes)?;
        progress.applied.extend(upto);
        progress.unsaved += events;
        if progress.unsaved >= SAVE_AFTER { self.save_progress(&mut progress) } else { Ok(()) }
    }

    /// Up to which position of the partition the index reaches.
    pub fn applied(&self, partition: u16) -> Position {
        self.progress().applied.get(&partition).copied().unwrap_or(Position { epoch: 0, n: 0 })
    }

    /// Changes values beside what the log says; the caller makes sure that losing them does no harm.
    ///
    /// # Errors
    /// See [`IndexError`].
    pub fn note(&self, fill: impl FnOnce(&mut Changes<'_>)) -> Result<(), IndexError> {
        let _alone = self.progress();
        let mut changes = Changes::of(&self.entries);
        fill(&mut changes);
        self.write(changes)
    }

    /// Removes what was noted of events of the partition below number `first`: to be called before they are trimmed from the log. What a
    /// crash leaves of them does no harm, lookups are given a beginning.
    ///
    /// # Errors
    /// See [`IndexError`].
    pub fn forget<D: Disk>(
        &self,
        partition: u16,
        first: u64,
        reader: &mut Reader<D>,
        extract: &impl Extract,
    ) -> Result<(), IndexError> {
        let mut from = reader.first(partition);
        while from < first {
            let events = reader.read(partition, from, EVENTS, BYTES).map_err(IndexError::Log)?;
            let Some(last) = events.last() else { break };
            from = last.at.n + 1;
            let mut changes = Changes::of(&self.entries);
            for event in events.iter().filter(|event| event.at.n < first) {
                extract.forget(partition, event, &mut changes);
            }
            self.write(changes)?;
        }
        Ok(())
    }

    /// Makes the index last as it is, so that less is read from the log when it is opened again.
    ///
    /// # Errors
    /// See [`IndexError`].
    pub fn save(&self) -> Result<(), IndexError> {
        self.save_progress(&mut self.progress())
    }

    /// Numbers of the channel's events in `within`, the lowest first, or the highest when `is_newest_first`; up to `max`.
    ///
    /// # Errors
    /// See [`IndexError`].
    pub fn events(
        &self,
        channel: Name<'_>,
        within: Range<u64>,
        is_newest_first: bool,
        max: usize,
    ) -> Result<Vec<u64>, IndexError> {
        if within.is_empty() {
            return Ok(Vec::new());
        }
        let mut found = self.entries.range(place_key(channel, within.start)..place_key(channel, within.end));
        let next = || if is_newest_first { found.next_back() } else { found.next() };
        let keys = std::iter::from_fn(next).take(max).map(|entry| Ok(number(&entry.key()?)));
        keys.collect()
    }

    /// The user's channels after `after` in the order of their names, with their values; up to `max`.
    ///
    /// # Errors
    /// See [`IndexError`].
    pub fn channels(
        &self,
        user: Name<'_>,
        after: Option<Name<'_>>,
        max: usize,
    ) -> Result<Vec<Membership>, IndexError> {
        let prefix = member_key(user, &[]);
        let mut from = prefix.clone();
        if let Some(after) = after {
            from.extend_from_slice(after.0);
            // The first key that is larger.
            from.push(0);
        }
        let mut found = Vec::new();
        for entry in self.entries.range(from..).take(max) {
            let (key, value) = entry.into_inner()?;
            let Some(channel) = key.strip_prefix(&prefix[..]) else { break };
            found.push(Membership { channel: channel.to_vec(), value: value.to_vec() });
        }
        Ok(found)
    }

    /// Keys with values that begin with `prefix` and lie in `within` behind it, the lowest first, or the highest when `is_newest_first`, without
    /// the prefix; up to `max`.
    ///
    /// # Errors
    /// See [`IndexError`].
    pub fn scan(
        &self,
        prefix: Name<'_>,
        within: (Bound<&[u8]>, Bound<&[u8]>),
        is_newest_first: bool,
        max: usize,
    ) -> Result<Vec<Entry>, IndexError> {
        let start = value_key(prefix);
        let at = |rest: &[u8]| [&start[..], rest].concat();
        let from = within.0.map(at);
        let from = if from == Bound::Unbounded { Bound::Included(start.clone()) } else { from };
        let upto = within.1.map(at);
        // Behind all that begin with the prefix: its last byte is raised, and it never is the highest, for keys begin with their kind.
        let mut end = start.clone();
        while end.last() == Some(&u8::MAX) {
            end.pop();
        }
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        let upto = if upto == Bound::Unbounded { Bound::Excluded(end) } else { upto };
        let mut found = self.entries.range((from, upto));
        let next = || if is_newest_first { found.next_back() } else { found.next() };
        let entries = std::iter::from_fn(next).take(max).map(|entry| {
            let (key, value) = entry.into_inner()?;
            Ok((key.get(start.len()..).unwrap_or_default().to_vec(), value.to_vec()))
        });
        entries.collect()
    }

    /// The value of a key.
    ///
    /// # Errors
    /// See [`IndexError`].
    pub fn get(&self, key: Name<'_>) -> Result<Option<Vec<u8>>, IndexError> {
        Ok(self.entries.get(value_key(key))?.map(|value| value.to_vec()))
    }

    /// `None`: what is there is of no use.
    fn open_there<D: Disk>(
        path: &Path,
        reader: &mut Reader<D>,
        extract: &impl Extract,
    ) -> Result<Option<Self>, IndexError> {
        if !path.exists() {
            return Ok(None);
        }
        let index = match Self::open_any(path) {
            Ok(index) => index,
            Err(error @ fjall::Error::Locked) => return Err(error.into()),
            Err(fjall::Error::Io(error)) if is_of_the_machine(&error) => return Err(IndexError::Disk(error)),
            // Damaged, or of another version of fjall: what is in it is in the log.
            Err(_) => return Ok(None),
        };
        let Ok(Some(format)) = index.entries.get(FORMAT_KEY) else { return Ok(None) };
        if *format != format_value(extract.version()) {
            return Ok(None);
        }
        let mut applied = BTreeMap::new();
        for partition in 0..reader.partitions() {
            let Ok(at) = index.entries.get(progress_key(partition)) else { return Ok(None) };
            let at = at.and_then(|at| position(&at)).unwrap_or(Position { epoch: 0, n: 0 });
            if !is_of_log(reader, partition, at) {
                return Ok(None);
            }
            applied.insert(partition, at);
        }
        index.progress().applied = applied;
        Ok(Some(index))
    }

    fn begin(path: &Path, version: u32) -> Result<Self, IndexError> {
        fs::create_dir_all(path).map_err(IndexError::Disk)?;
        let index = Self::open_any(path)?;
        index.entries.insert(FORMAT_KEY, format_value(version))?;
        Ok(index)
    }

    fn open_any(path: &Path) -> Result<Self, fjall::Error> {
        let database =
            Database::builder(path).cache_size(CACHE).max_journaling_size(JOURNAL).worker_threads(2);
        let database = database.open()?;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE);
        let entries = database.keyspace("index", options)?;
        Ok(Self { database, entries, progress: Mutex::default() })
    }

    fn write(&self, changes: Changes<'_>) -> Result<(), IndexError> {
        if changes.changes.is_empty() {
            return Ok(());
        }
        let mut batch: OwnedWriteBatch = self.database.batch();
        for (key, value) in changes.changes {
            match value {
                Some(value) => batch.insert(&self.entries, key, value),
                None => batch.remove(&self.entries, key),
            }
        }
        Ok(batch.commit()?)
    }

    /// fjall hands what is written to the system and no further. So a position is written only after everything up to it was
    /// synced: after a loss of power what was between is taken from the log again, which changes nothing where it was there.
    fn save_progress(&self, progress: &mut Progress) -> Result<(), IndexError> {
        self.database.persist(PersistMode::SyncAll)?;
        for (partition, at) in &progress.applied {
            let mut value = at.epoch.to_be_bytes().to_vec();
            value.extend_from_slice(&at.n.to_be_bytes());
            self.entries.insert(progress_key(*partition), value)?;
        }
        progress.unsaved = 0;
        Ok(())
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const PLACE: u8 = 1;
const FORMAT_KEY: &[u8] = b"\0format";

/// Is what the index has up to `at` what the log has, and does the log go on from there?
fn is_of_log<D: Disk>(reader: &Reader<D>, partition: u16, at: Position) -> bool {
    let epochs = reader.epochs(partition);
    let known = epochs.iter().position(|epoch| epoch.epoch == at.epoch);
    let end = |of: usize| {
        epochs.get(of + 1).and_then(|next| next.follows).map_or(reader.head(partition).n, |last| last.n)
    };
    let is_known = match known {
        Some(of) => at.n <= end(of),
        None => at.n == 0,
    };
    is_known && at.n + 1 >= reader.first(partition)
}

/// Errors that a new index would meet as well.
fn is_of_the_machine(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::StorageFull | io::ErrorKind::ReadOnlyFilesystem
    )
}

fn remove(path: &Path) -> Result<(), IndexError> {
    let path: PathBuf = path.to_owned();
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(IndexError::Disk(error)),
        _ => Ok(()),
    }
}

fn format_value(version: u32) -> [u8; 8] {
    let mut value = [0; 8];
    value[..4].copy_from_slice(&VERSION.to_be_bytes());
    value[4..].copy_from_slice(&version.to_be_bytes());
    value
}

fn position(value: &[u8]) -> Option<Position> {
    let epoch = u32::from_be_bytes(value.get(..4)?.try_into().ok()?);
    Some(Position { epoch, n: u64::from_be_bytes(value.get(4..)?.try_into().ok()?) })
}

fn progress_key(partition: u16) -> [u8; 4] {
    let [high, low] = partition.to_be_bytes();
    [0, b'p', high, low]
}

fn place_key(channel: Name<'_>, n: u64) -> Vec<u8> {
    let mut key = named(PLACE, channel);
    key.extend_from_slice(&n.to_be_bytes());
    key
}

fn member_key(user: Name<'_>, channel: &[u8]) -> Vec<u8> {
    let mut key = named(2, user);
    key.extend_from_slice(channel);
    key
}

fn value_key(key: Name<'_>) -> Vec<u8> {
    [&[3], key.0].concat()
}

fn named(kind: u8, name: Name<'_>) -> Vec<u8> {
    let mut key = Vec::with_capacity(3 + name.0.len() + 8);
    key.push(kind);
    key.extend_from_slice(&(name.0.len() as u16).to_be_bytes());
    key.extend_from_slice(name.0);
    key
}

/// The number at the end of a key.
fn number(key: &[u8]) -> u64 {
    key.last_chunk().map_or(0, |last| u64::from_be_bytes(*last))
}
