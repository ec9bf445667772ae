//! Reading, beside the writer and without waiting for it.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};

use super::places::{self, Places, Run};
use super::record::{self, Kind, NoRecord, RECORD};
use super::view::View;
use super::{Epoch, Position, recover};
use crate::ReadError;
use crate::disk::{Disk, File};
use crate::frame;

/// Files that a reader keeps open.
const OPEN: usize = 16;
/// Events that are looked up at once.
const LOOKED_UP: usize = 256;
/// Bytes that are read at once, where events of a partition are close together.
const AHEAD: usize = 16 << 10;
/// And where others are between them: what most events take, so that one is one read.
const ALONE: usize = 1 << 10;

/// One event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// Where it is.
    pub at: Position,
    /// What was appended.
    pub payload: Vec<u8>,
}

/// Reads a log. Clones read the same log, each with files of its own.
pub struct Reader<D: Disk> {
    disk: D,
    view: Arc<RwLock<View>>,
    partitions: u16,
    /// By name, the one used last at the end.
    files: VecDeque<(String, D::File)>,
}

impl<D: Disk> Clone for Reader<D> {
    fn clone(&self) -> Self {
        Self::new(self.disk.clone(), Arc::clone(&self.view), self.partitions)
    }
}

/// Where some events are that follow each other in one segment.
struct Located {
    n: u64,
    segment: u64,
    /// Bytes of the segment that count.
    size: u64,
    run: Run,
}

impl<D: Disk> Reader<D> {
    pub(super) fn new(disk: D, view: Arc<RwLock<View>>, partitions: u16) -> Self {
        Self { disk, view, partitions, files: VecDeque::new() }
    }

    /// How many partitions the log has.
    pub fn partitions(&self) -> u16 {
        self.partitions
    }

    /// The last committed position of the partition. Its epoch is the one that the next event will be in.
    pub fn head(&self, partition: u16) -> Position {
        self.with(|view| view.head(partition))
    }

    /// The number of the first event that is kept; one above the head when none is.
    pub fn first(&self, partition: u16) -> u64 {
        self.with(|view| view.state.partitions.get(&partition).map_or(1, |one| one.first))
    }

    /// The epochs of the partition's log, oldest first. Empty: nothing was ever appended.
    pub fn epochs(&self, partition: u16) -> Vec<Epoch> {
        self.with(|view| view.state.partitions.get(&partition).map_or(Vec::new(), |one| one.lineage()))
    }

    /// The position that the partition's checkpoint covers.
    pub fn checkpointed(&self, partition: u16) -> Option<Position> {
        self.with(|view| Some(view.state.partitions.get(&partition)?.checkpoint?.at))
    }

    /// How much memory the log's lists take: spans of full segments, and places in the one that is written to (4 bytes each).
    pub fn weight(&self) -> (usize, usize) {
        self.with(|view| view.index.weight())
    }

    /// Committed events of the partition from number `from` on, in order and without gaps; what retention removed is left out. Up to
    /// `events` of them, and no more once their payloads have `bytes`; at least one when there is one. Empty: there is none yet.
    ///
    /// # Errors
    /// When the disk failed, or has not kept what was written.
    pub fn read(
        &mut self,
        partition: u16,
        from: u64,
        events: usize,
        bytes: usize,
    ) -> Result<Vec<Event>, ReadError> {
        let mut out = Vec::new();
        let mut budget = Budget { events, bytes };
        let mut next = from;
        while budget.events > 0 && budget.bytes > 0 {
            let Some(located) = self.locate(partition, next, budget.events.min(LOOKED_UP)) else { break };
            let n = located.n;
            match self.read_located(partition, located, &mut budget, &mut out) {
                // Retention was faster.
                Err(ReadError::Disk(error))
                    if error.kind() == io::ErrorKind::NotFound && self.first(partition) > n => {}
                read => read?,
            }
            next = out.last().map_or(next, |event: &Event| event.at.n + 1);
        }
        Ok(out)
    }

    /// The segments, oldest first.
    pub fn segments(&self) -> Vec<u64> {
        self.with(|view| view.state.segments.iter().map(|(number, _)| *number).chain([view.active]).collect())
    }

    /// Checks all that is committed in a segment. One that was removed is good.
    ///
    /// # Errors
    /// When the disk failed, or has not kept what was written.
    pub fn verify(&mut self, segment: u64) -> Result<(), ReadError> {
        let size = self.with(|view| {
            let sealed =
                view.state.segments.iter().find(|(number, _)| *number == segment).map(|(_, size)| *size);
            sealed.or((view.active == segment).then_some(view.size))
        });
        let Some(size) = size else { return Ok(()) };
        match recover::check_segment(&mut self.disk, segment, size, &mut |_, _| {}) {
            Err(ReadError::Disk(error))
                if error.kind() == io::ErrorKind::NotFound && !self.segments().contains(&segment) =>
            {
                Ok(())
            }
            checked => checked,
        }
    }

    pub(super) fn disk(&mut self) -> &mut D {
        &mut self.disk
    }

    pub(super) fn view(&self) -> &RwLock<View> {
        &self.view
    }

    fn with<T>(&self, ask: impl FnOnce(&View) -> T) -> T {
        ask(&self.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn locate(&self, partition: u16, from: u64, max: usize) -> Option<Located> {
        self.with(|view| {
            let n = from.max(view.state.partitions.get(&partition)?.first);
            let run = view.index.find(partition, n, max)?;
            let (segment, size) = match &run {
                Run::Active(_) => (view.active, view.size),
                Run::Sealed(span, _) => {
                    *view.state.segments.iter().find(|(number, _)| *number == span.segment)?
                }
            };
            Some(Located { n, segment, size, run })
        })
    }

    fn read_located(
        &mut self,
        partition: u16,
        located: Located,
        budget: &mut Budget,
        out: &mut Vec<Event>,
    ) -> Result<(), ReadError> {
        let Located { n, segment, size, run } = located;
        let places = self.places(run, budget.events.min(LOOKED_UP))?;
        let name = frame::name(segment);
        let file = self.file(&name).map_err(ReadError::Disk)?;
        let mut window = Window::new(file, size, ahead(&places));
        for (place, n) in places.into_iter().zip(n..) {
            let offset = u64::from(place);
            let bytes = window.record(offset)?;
            let event = bytes.and_then(|bytes| event(bytes, partition, n));
            let event = event.ok_or_else(|| ReadError::Damaged { file: name.clone(), offset })?;
            budget.events -= 1;
            budget.bytes = budget.bytes.saturating_sub(event.payload.len());
            out.push(event);
            if budget.bytes == 0 {
                break;
            }
        }
        Ok(())
    }

    fn places(&mut self, run: Run, max: usize) -> Result<Vec<u32>, ReadError> {
        let (span, at) = match run {
            Run::Active(places) => return Ok(places),
            Run::Sealed(span, at) => (span, at as usize),
        };
        let count = max.min(span.count as usize - at);
        match span.places {
            Places::Held(places) => Ok(places[at..at + count].to_vec()),
            Places::Beside(start) => {
                let mut bytes = vec![0; 4 * count];
                let file = self.file(&places::name(span.segment)).map_err(ReadError::Disk)?;
                file.read_at(start + 4 * at as u64, &mut bytes).map_err(ReadError::Disk)?;
                Ok(bytes
                    .chunks_exact(4)
                    .map(|four| u32::from_le_bytes([four[0], four[1], four[2], four[3]]))
                    .collect())
            }
        }
    }

    fn file(&mut self, name: &str) -> io::Result<&mut D::File> {
        match self.files.iter().position(|(open, _)| open == name) {
            Some(at) => {
                let last = self.files.len() - 1;
                self.files.swap(at, last);
            }
            None => {
                let file = self.disk.open(name)?;
                if self.files.len() == OPEN {
                    self.files.pop_front();
                }
                self.files.push_back((name.to_owned(), file));
            }
        }
        let (_, file) = self.files.back_mut().expect("one was pushed or found");
        Ok(file)
    }
}

/// What a read may still bring.
struct Budget {
    events: usize,
    bytes: usize,
}

/// How much to read at once for events at these places.
fn ahead(places: &[u32]) -> usize {
    let length =
        places.last().zip(places.first()).map_or(0, |(last, first)| last.saturating_sub(*first) as usize);
    // At least four of them in what is read; otherwise most of it would be for nothing.
    if length / places.len().max(1) <= AHEAD / 4 { AHEAD } else { ALONE }
}

/// The event in the bytes of a record, if it is this one.
fn event(bytes: &[u8], partition: u16, n: u64) -> Option<Event> {
    let record = record::read(bytes, 0).ok()?;
    let is_it = record.kind == Kind::Event && record.partition == partition && record.at.n == n;
    is_it.then(|| Event { at: record.at, payload: bytes[record.payload].to_vec() })
}

/// A part of a segment in memory: what is close together costs one read.
pub(super) struct Window<'a, F> {
    file: &'a mut F,
    /// Of what counts.
    size: u64,
    /// Bytes that are read at once, where less is asked for.
    ahead: usize,
    start: u64,
    bytes: Vec<u8>,
}

impl<'a, F: File> Window<'a, F> {
    pub fn new(file: &'a mut F, size: u64, ahead: usize) -> Self {
        Self { file, size, ahead, start: 0, bytes: Vec::new() }
    }

    /// The bytes of the record at `offset`; `None`: there is not enough for one.
    fn record(&mut self, offset: u64) -> Result<Option<&[u8]>, ReadError> {
        let Some(head) = self.get(offset, RECORD)? else { return Ok(None) };
        let Some(size) = record::size(head) else { return Ok(None) };
        self.get(offset, size)
    }

    /// `length` bytes at `offset`; `None`: there are not so many.
    pub fn get(&mut self, offset: u64, length: usize) -> Result<Option<&[u8]>, ReadError> {
        let left = self.size.saturating_sub(offset);
        if length as u64 > left {
            return Ok(None);
        }
        let end = self.start + self.bytes.len() as u64;
        if offset < self.start || offset + length as u64 > end {
            let wanted = (length.max(self.ahead) as u64).min(left);
            self.bytes.resize(wanted as usize, 0);
            self.start = offset;
            self.file.read_at(offset, &mut self.bytes).map_err(ReadError::Disk)?;
        }
        let at = (offset - self.start) as usize;
        Ok(self.bytes.get(at..at + length))
    }
}

/// What a reader makes of a record that is none.
pub(super) fn unreadable(file: String, offset: u64, why: NoRecord) -> ReadError {
    match why {
        NoRecord::Damaged => ReadError::Damaged { file, offset },
        NoRecord::Newer(version) => ReadError::Newer { file, offset, version },
    }
}
