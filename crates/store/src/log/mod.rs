//! The event log: what the partitions of one region appended, in segment files, one behind the other.

mod backup;
mod checkpoint;
mod error;
pub(crate) mod fuzz;
mod places;
mod read;
mod record;
mod recover;
mod state;
mod view;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

pub use backup::{BackedUp, BackupError, restore};
pub use checkpoint::Saved;
pub use error::{CommitError, Refused};
pub use read::{Event, Reader};

use crate::OpenError;
use crate::disk::{Disk, File};
use crate::frame::{self, FRAME, HEAD, name};
use record::{FORMAT, Kind, Record};
use view::View;

/// A place in the log of one partition.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Position {
    /// Changes when the log was lost or restored, so that a place in what was lost is never taken for one in what came after.
    pub epoch: u32,
    /// Counts the partition's events from 1, without gaps, through all epochs that follow each other; 0 is before the first.
    pub n: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.n)
    }
}

/// An epoch of a partition's log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Epoch {
    /// Its number.
    pub epoch: u32,
    /// The last position of the epoch before that this one has. What was after it is lost. `None`: no epoch before is known.
    pub follows: Option<Position>,
}

/// How a log is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Partitions, from 1 to 1,024; their numbers are those below. Fixed when the log is begun.
    pub partitions: u16,
    /// A segment with so many bytes is followed by a new one; at most 256 MiB.
    pub segment_bytes: u64,
    /// Longest payload, in bytes; at most 4 MiB.
    pub payload_bytes: usize,
    /// The epoch of a log that is begun. It must never have been one of this region before, not even of a log that was lost since:
    /// the seconds since 1970 are good.
    pub epoch: u32,
}

impl Default for Settings {
    /// 64 partitions, segments of 64 MiB, payloads of 1 MiB, epoch 1.
    fn default() -> Self {
        Self { partitions: 64, segment_bytes: 64 << 20, payload_bytes: 1 << 20, epoch: 1 }
    }
}

/// Most partitions.
const MAX_PARTITIONS: u16 = 1_024;
/// Largest segment: the places in it then fit into one frame of the file beside it, and into 32 bits.
const MAX_SEGMENT: u64 = 256 << 20;
/// Longest payload, whatever the settings say.
const MAX_PAYLOAD: usize = 4 << 20;
/// With so much staged, further appends wait for a commit. A frame stays far below what recovery takes.
const MAX_STAGED: usize = 8 << 20;

/// What opening has found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Opened {
    /// Bytes that were cut off: a commit that was interrupted.
    pub torn: u64,
    /// Segments whose list of places was absent or damaged, and was made anew.
    pub relisted: usize,
}

/// The end of a log that is written to. One thread owns it, which waits for the disk; [`Reader`]s are for all others.
///
/// **It is driven like this:** stage any number of [`Log::append`]s, [`Log::checkpoint`]s and [`Log::trim`]s, then [`Log::commit`]:
/// one write and one sync for all. What a commit returned `Ok` for survives the end of the process and of the machine, and only then
/// readers see it. After [`CommitError::Stopped`] the process should end.
pub struct Log<D: Disk> {
    disk: D,
    settings: Settings,
    view: Arc<RwLock<View>>,
    /// The segment that is written to.
    file: D::File,
    staged: Staged,
    is_stopped: bool,
}

/// What the next commit writes.
#[derive(Default)]
struct Staged {
    body: Vec<u8>,
    records: Vec<Record>,
    /// Of partitions that something is staged for.
    heads: BTreeMap<u16, u64>,
}

impl<D: Disk> Log<D> {
    /// Opens what is on the disk, and begins a log where there is nothing. Nothing is shown to readers that a crash could still take
    /// back: the last commit, whose sync may never have happened or have failed, is written anew and synced.
    ///
    /// # Errors
    /// When anything but the torn tail of the last segment is not as it was written. What is in other segments is checked when it is
    /// read, or by [`Reader::verify`].
    pub fn open(disk: D, settings: Settings) -> Result<(Self, Opened), OpenError> {
        recover::open(disk, settings.clamped(), recover::Source::Own)
    }

    /// One more reader of this log.
    pub fn reader(&self) -> Reader<D> {
        Reader::new(self.disk.clone(), Arc::clone(&self.view), self.settings.partitions)
    }

    /// The last position of the partition, with what is staged: what an append has to expect.
    pub fn head(&self, partition: u16) -> Position {
        let view = self.view.read().unwrap_or_else(PoisonError::into_inner);
        let committed = view.state.head(partition);
        Position {
            epoch: view.state.epoch,
            n: self.staged.heads.get(&partition).copied().unwrap_or(committed),
        }
    }

    /// Stages events of one partition behind its head, if that is `expected`. After a crash all of them are there or none.
    /// Returns the position of the last.
    ///
    /// # Errors
    /// See [`Refused`]; nothing is staged then.
    pub fn append<P: AsRef<[u8]>>(
        &mut self,
        partition: u16,
        expected: Position,
        payloads: &[P],
    ) -> Result<Position, Refused> {
        let longest = payloads.iter().map(|payload| payload.as_ref().len()).max();
        let bytes: usize = payloads.iter().map(|payload| payload.as_ref().len() + record::RECORD).sum();
        if longest.is_none_or(|longest| longest > self.settings.payload_bytes) || bytes > MAX_STAGED {
            return Err(Refused::Size);
        }
        self.may_stage(partition, bytes)?;
        let head = self.head(partition);
        if head != expected {
            return Err(Refused::Conflict { head });
        }
        let mut at = head;
        for payload in payloads {
            at.n += 1;
            self.stage(Kind::Event, partition, at, payload.as_ref());
        }
        self.staged.heads.insert(partition, at.n);
        Ok(at)
    }

    /// Stages that a partition's state is in a checkpoint that was saved; the one before is removed afterwards. One that does not
    /// reach further than that is given up.
    ///
    /// # Errors
    /// See [`Refused`]; nothing is staged then.
    pub fn checkpoint(&mut self, saved: Saved) -> Result<(), Refused> {
        self.may_stage(saved.partition, 0)?;
        let checkpoint = saved.checkpoint;
        self.stage(Kind::Checkpoint, saved.partition, checkpoint.at, &checkpoint.payload());
        Ok(())
    }

    /// Stages that events of the partition below `first` are wanted no more: readers begin at `first` then, and a later
    /// [`Log::reclaim`] may remove segments.
    ///
    /// # Errors
    /// [`Refused::Uncovered`] when no committed checkpoint covers all that is to go.
    pub fn trim(&mut self, partition: u16, first: u64) -> Result<(), Refused> {
        self.may_stage(partition, 0)?;
        let view = self.view.read().unwrap_or_else(PoisonError::into_inner);
        let upto =
            view.state.partitions.get(&partition).and_then(|one| one.checkpoint).map_or(0, |one| one.at.n);
        let epoch = view.state.epoch;
        drop(view);
        if first > upto + 1 {
            return Err(Refused::Uncovered { upto });
        }
        self.stage(Kind::Trim, partition, Position { epoch, n: first }, &[]);
        Ok(())
    }

    /// Is anything staged?
    pub fn is_staged(&self) -> bool {
        !self.staged.records.is_empty()
    }

    /// Writes what is staged and waits until it lasts. Readers see it then.
    ///
    /// # Errors
    /// See [`CommitError`]. What was staged is given up.
    pub fn commit(&mut self) -> Result<(), CommitError> {
        let staged = std::mem::take(&mut self.staged);
        if self.is_stopped {
            return Err(CommitError::Stopped(std::io::Error::other("it failed before")));
        }
        if !staged.records.is_empty() {
            let written = self.write(&staged.body);
            self.is_stopped = matches!(written, Err(CommitError::Stopped(_)));
            let place = written?;
            let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
            for record in &staged.records {
                view.apply(record, &staged.body, place);
            }
            view.size = place + staged.body.len() as u64;
        }
        self.remove_obsolete();
        Ok(())
    }

    /// Removes the oldest segments as far as nothing in them is wanted. Returns how many. While a backup is made it removes none.
    ///
    /// # Errors
    /// As [`Log::commit`], which it does, too.
    pub fn reclaim(&mut self) -> Result<usize, CommitError> {
        let view = self.view.read().unwrap_or_else(PoisonError::into_inner);
        let unwanted = view.unwanted_segments();
        let position = |n| Position { epoch: view.state.epoch, n };
        let oldest = view.state.segments.get(unwanted).map_or(view.active, |(number, _)| *number);
        let oldest = position(oldest);
        drop(view);
        if unwanted > 0 && !self.is_stopped {
            self.stage(Kind::Oldest, 0, oldest, &[]);
        }
        self.commit()?;
        Ok(unwanted)
    }

    fn may_stage(&self, partition: u16, bytes: usize) -> Result<(), Refused> {
        if self.is_stopped {
            return Err(Refused::Stopped);
        }
        if partition >= self.settings.partitions {
            return Err(Refused::NoPartition);
        }
        if self.is_staged() && self.staged.body.len() + bytes > MAX_STAGED {
            return Err(Refused::CommitFirst);
        }
        Ok(())
    }

    fn stage(&mut self, kind: Kind, partition: u16, at: Position, payload: &[u8]) {
        let body = &mut self.staged.body;
        record::push(body, kind, partition, at, payload);
        let payload = body.len() - payload.len()..body.len();
        self.staged.records.push(Record { kind, partition, at, payload });
    }

    /// Makes a frame last. Returns where its body is.
    fn write(&mut self, body: &[u8]) -> Result<u64, CommitError> {
        let view = self.view.read().unwrap_or_else(PoisonError::into_inner);
        let is_full = view.size >= self.settings.segment_bytes;
        drop(view);
        if is_full {
            self.roll()?;
        }
        let view = self.view.read().unwrap_or_else(PoisonError::into_inner);
        let (segment, size) = (view.active, view.size);
        drop(view);
        if let Err(error) = self.file.append(&frame::frame(segment, size, body)) {
            // No sync has failed: what was written is cut off, and cannot come back as a whole frame.
            self.file.truncate(size).map_err(CommitError::Stopped)?;
            return Err(CommitError::NotTaken(error));
        }
        self.file.sync().map_err(CommitError::Stopped)?;
        Ok(size + FRAME as u64)
    }

    /// Goes on in a new segment.
    fn roll(&mut self) -> Result<(), CommitError> {
        let view = self.view.read().unwrap_or_else(PoisonError::into_inner);
        let (old, size) = (view.active, view.size);
        let mut state = view.state.clone();
        drop(view);
        state.segments.push((old, size));
        let (file, begun) =
            begin_segment(&mut self.disk, old + 1, self.settings.partitions, &state_body(&state))?;
        // The writer alone changes the view, so nothing has changed since; readers go on.
        let view = self.view.read().unwrap_or_else(PoisonError::into_inner);
        let spans = places::seal(&mut self.disk, old, size, &view.index.active);
        drop(view);
        let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
        view.index.active.clear();
        view.index.add_sealed(spans);
        view.state = state;
        (view.active, view.size) = (old + 1, begun);
        self.file = file;
        Ok(())
    }

    /// What cannot be removed now is when the log is opened again.
    fn remove_obsolete(&mut self) {
        let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
        if view.copies > 0 || view.obsolete.is_empty() {
            return;
        }
        let names = std::mem::take(&mut view.obsolete);
        drop(view);
        for name in names {
            let _ = self.disk.remove(&name);
        }
    }
}

impl Settings {
    fn clamped(self) -> Self {
        Self {
            partitions: self.partitions.clamp(1, MAX_PARTITIONS),
            segment_bytes: self.segment_bytes.min(MAX_SEGMENT),
            payload_bytes: self.payload_bytes.min(MAX_PAYLOAD),
            epoch: self.epoch,
        }
    }
}

/// The first record of a segment.
fn state_body(state: &state::State) -> Vec<u8> {
    let mut body = Vec::new();
    record::push(&mut body, Kind::State, 0, Position { epoch: state.epoch, n: 0 }, &state.bytes());
    body
}

/// Makes a segment that lasts, with one frame. Returns its bytes, too.
fn begin_segment<D: Disk>(
    disk: &mut D,
    number: u64,
    partitions: u16,
    body: &[u8],
) -> Result<(D::File, u64), CommitError> {
    let mut file = frame::create(disk, &name(number)).map_err(CommitError::NotTaken)?;
    let mut bytes = FORMAT.head(number, u64::from(partitions)).to_vec();
    bytes.extend_from_slice(&frame::frame(number, HEAD as u64, body));
    if let Err(error) = file.append(&bytes) {
        // One that stays is replaced by the next of this number, or not looked at by recovery: nothing in it is whole.
        let _ = disk.remove(&name(number));
        return Err(CommitError::NotTaken(error));
    }
    file.sync().map_err(CommitError::Stopped)?;
    disk.sync().map_err(CommitError::Stopped)?;
    Ok((file, bytes.len() as u64))
}
