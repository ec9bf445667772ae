//! The queue: entries with numbers that only grow, each there until it is finished.

mod carry;
mod error;
mod record;
mod recover;

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

pub use error::{CommitError, Recovered, Refused};

use crate::disk::{Disk, File};
use crate::frame::{self, FRAME, HEAD, MAX_BODY, name};
use crate::{OpenError, ReadError};
use record::{FORMAT, Kind, RECORD};

/// How large things may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// A segment with so many bytes is followed by a new one. A segment is removed when it and all before it hold only what is
    /// finished; the few that are left in old ones are carried forward.
    pub segment_bytes: u64,
    /// All segments together, in bytes, apart from what finishing takes. Further entries are refused.
    pub total_bytes: u64,
    /// One payload, in bytes; at most 16 MiB.
    pub payload_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { segment_bytes: 8 << 20, total_bytes: 1 << 30, payload_bytes: 1 << 20 }
    }
}

/// With more than this staged, further entries wait for a commit; a frame then stays below what recovery takes.
const MAX_STAGED: usize = MAX_BODY / 2;
/// Longest payload, whatever the limits say.
const MAX_PAYLOAD: usize = 16 << 20;

/// A durable queue on `D`. See the crate's documentation for how it is driven.
pub struct Queue<D: Disk> {
    disk: D,
    limits: Limits,
    /// Oldest first. The last one is written to; there is always one.
    segments: VecDeque<Segment<D::File>>,
    /// What is not finished, and where it is.
    entries: BTreeMap<u64, Place>,
    /// The number of the next entry.
    next: u64,
    staged: Staged,
    /// The last segment may hold more than what was committed.
    is_doubtful: bool,
}

struct Segment<F> {
    number: u64,
    file: F,
    /// Committed bytes.
    size: u64,
    /// Entries in it that are not finished.
    unfinished: usize,
}

/// Where an entry's record is.
#[derive(Clone, Copy)]
struct Place {
    segment: u64,
    offset: u64,
    /// Of the record, in bytes.
    size: u32,
}

/// What the next commit writes.
#[derive(Default)]
struct Staged {
    body: Vec<u8>,
    /// New entries, and where their payloads are in the body.
    entries: Vec<(u64, Range<usize>)>,
    /// Entries that are carried forward, likewise.
    carried: Vec<(u64, Range<usize>)>,
    finished: Vec<u64>,
}

impl<D: Disk> Queue<D> {
    /// Opens what is on the disk, and begins a queue where there is nothing.
    ///
    /// # Errors
    /// [`OpenError::Damaged`] when anything but the torn tail of the last segment is not as it was written. Nothing has been changed
    /// then.
    pub fn open(disk: D, limits: Limits) -> Result<(Self, Recovered), OpenError> {
        recover::open(disk, limits)
    }

    /// Stages an entry and returns its number. It is there when a [`Queue::commit`] returns `Ok`.
    ///
    /// # Errors
    /// See [`Refused`]; nothing is staged then.
    pub fn append(&mut self, payload: &[u8]) -> Result<u64, Refused> {
        if payload.len() > self.limits.payload_bytes.min(MAX_PAYLOAD) {
            return Err(Refused::TooLarge);
        }
        if self.staged.body.len() + payload.len() > MAX_STAGED {
            return Err(Refused::CommitFirst);
        }
        let size = (FRAME + RECORD + payload.len()) as u64;
        if self.bytes() + self.staged.body.len() as u64 + size > self.limits.total_bytes {
            return Err(Refused::Full);
        }
        let number = self.next;
        self.next += 1;
        let place = record::push_record(&mut self.staged.body, Kind::Entry, number, payload);
        self.staged.entries.push((number, place));
        Ok(number)
    }

    /// Stages that an entry is done with: it is not [`Queue::pending`] any more, and after a commit never will be again. Before one, a
    /// crash brings it back. `false`: there is no such entry.
    pub fn finish(&mut self, number: u64) -> bool {
        let Some(place) = self.entries.remove(&number) else { return false };
        self.leave(place.segment);
        record::push_record(&mut self.staged.body, Kind::Finished, number, &[]);
        self.staged.finished.push(number);
        true
    }

    /// Is anything staged?
    pub fn is_staged(&self) -> bool {
        !self.staged.body.is_empty()
    }

    /// Writes what is staged and waits until it lasts; then removes segments that nobody needs.
    ///
    /// # Errors
    /// When the disk failed. The staged entries are given up: unless the machine crashes before the next commit they are not there
    /// later. What was staged as finished stays staged. The next commit first cuts
    /// off what may have been written, and does not touch a file again whose sync failed.
    pub fn commit(&mut self) -> Result<(), CommitError> {
        self.stage_carried();
        if self.is_staged() {
            if let Err(error) = self.write() {
                self.is_doubtful = true;
                self.give_up_entries();
                return Err(CommitError(error));
            }
            self.take_over();
        }
        // All that is finished is on the disk as such. What is not removed now is with the next commit.
        let _ = self.remove_finished();
        Ok(())
    }

    /// The payload of an entry that is not finished. `None`: there is no such entry.
    ///
    /// # Errors
    /// When the disk failed, or has not kept what was written.
    pub fn read(&mut self, number: u64) -> Result<Option<Vec<u8>>, ReadError> {
        let Some(place) = self.entries.get(&number).copied() else { return Ok(None) };
        let Some(segment) = self.segments.iter_mut().find(|segment| segment.number == place.segment) else {
            return Ok(None);
        };
        let mut bytes = vec![0; place.size as usize];
        segment.file.read_at(place.offset, &mut bytes).map_err(ReadError::Disk)?;
        let damaged = || ReadError::Damaged { file: name(place.segment), offset: place.offset };
        let record = record::read_record(&bytes, 0).filter(|record| record.number == number);
        let payload = record.ok_or_else(damaged)?.payload;
        bytes.drain(..payload.start);
        Ok(Some(bytes))
    }

    /// The numbers of all entries that are committed and not finished, oldest first.
    pub fn pending(&self) -> impl DoubleEndedIterator<Item = u64> + ExactSizeIterator {
        self.entries.keys().copied()
    }

    /// Committed bytes on the disk.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.size).sum()
    }

    fn write(&mut self) -> std::io::Result<()> {
        if self.is_doubtful {
            self.repair()?;
        }
        let is_full = |last: &Segment<D::File>| last.size >= self.limits.segment_bytes;
        if self.segments.back().is_none_or(is_full) {
            self.begin_segment()?;
        }
        let last = self.segments.back_mut().ok_or(std::io::ErrorKind::NotFound)?;
        let frame = frame::frame(last.number, last.size, &self.staged.body);
        last.file.append(&frame)?;
        last.file.sync()
    }

    /// The staged frame is on the disk: its entries are there.
    fn take_over(&mut self) {
        let staged = std::mem::take(&mut self.staged);
        let Some(last) = self.segments.back_mut() else { return };
        let body = last.size + FRAME as u64;
        last.size = body + staged.body.len() as u64;
        let segment = last.number;
        last.unfinished += staged.entries.len() + staged.carried.len();
        for (number, payload) in staged.entries.into_iter().chain(staged.carried) {
            let offset = body + (payload.start - RECORD) as u64;
            let size = (payload.len() + RECORD) as u32;
            if let Some(before) = self.entries.insert(number, Place { segment, offset, size }) {
                self.leave(before.segment);
            }
        }
    }

    /// An entry is not in this segment any more.
    fn leave(&mut self, segment: u64) {
        if let Some(segment) = self.segments.iter_mut().find(|one| one.number == segment) {
            segment.unfinished -= 1;
        }
    }

    /// Leaves what is finished staged.
    fn give_up_entries(&mut self) {
        let finished = std::mem::take(&mut self.staged).finished;
        for number in &finished {
            record::push_record(&mut self.staged.body, Kind::Finished, *number, &[]);
        }
        self.staged.finished = finished;
    }

    /// Brings the last segment back to what was committed, and goes on in a new one.
    fn repair(&mut self) -> std::io::Result<()> {
        if let Some(last) = self.segments.back_mut() {
            last.file.truncate(last.size)?;
            last.file.sync()?;
        }
        self.begin_segment()?;
        self.is_doubtful = false;
        Ok(())
    }

    fn begin_segment(&mut self) -> std::io::Result<()> {
        let number = self.segments.back().map_or(1, |last| last.number + 1);
        // What is staged was numbered already.
        let first = self.staged.entries.first().map_or(self.next, |(number, _)| *number);
        let segment = begin_segment(&mut self.disk, number, first)?;
        self.segments.push_back(segment);
        Ok(())
    }

    /// Removes segments from the oldest on, one after the other, so that there is never a gap. A segment must not go while one
    /// before it is there: it may say of that one's entries that they are finished.
    fn remove_finished(&mut self) -> std::io::Result<()> {
        while self.segments.len() > 1 && self.segments.front().is_some_and(|first| first.unfinished == 0) {
            let Some(first) = self.segments.front() else { break };
            self.disk.remove(&name(first.number))?;
            self.segments.pop_front();
            self.disk.sync()?;
        }
        Ok(())
    }
}

/// Makes a segment that lasts, with nothing in it. One of that name that was left half made is replaced.
fn begin_segment<D: Disk>(disk: &mut D, number: u64, first: u64) -> std::io::Result<Segment<D::File>> {
    let mut file = frame::create(disk, &name(number))?;
    file.append(&FORMAT.head(number, first))?;
    file.sync()?;
    disk.sync()?;
    Ok(Segment { number, file, size: HEAD as u64, unfinished: 0 })
}
