//! From files to a queue.

use std::collections::{BTreeMap, VecDeque};

use super::record::{self, FORMAT, Kind, RECORD};
use super::{Limits, Place, Queue, Recovered, Segment, Staged, begin_segment};
use crate::OpenError;
use crate::disk::{Disk, File};
use crate::frame::{self, FRAME, HEAD, Head, name, number_of};

/// What the files say so far.
struct Found<F> {
    segments: VecDeque<Segment<F>>,
    entries: BTreeMap<u64, Place>,
    next: u64,
    torn: u64,
    /// The last file has more than what was committed, be it nothing but a name: it is written to no more.
    is_doubtful: bool,
}

pub(super) fn open<D: Disk>(mut disk: D, limits: Limits) -> Result<(Queue<D>, Recovered), OpenError> {
    let numbers = numbers(&disk)?;
    let mut found =
        Found { segments: VecDeque::new(), entries: BTreeMap::new(), next: 1, torn: 0, is_doubtful: false };
    for number in &numbers {
        let file = disk.open(&name(*number)).map_err(OpenError::Disk)?;
        found.segment(*number, file, numbers.last() == Some(number))?;
    }
    let Found { mut segments, entries, next, torn, is_doubtful } = found;
    for place in entries.values() {
        if let Some(segment) = segments.iter_mut().find(|segment| segment.number == place.segment) {
            segment.unfinished += 1;
        }
    }
    if segments.is_empty() {
        // Where a first segment was left half made, there is nothing in it.
        segments.push_back(
            begin_segment(&mut disk, numbers.last().copied().unwrap_or(1), next).map_err(OpenError::Disk)?,
        );
    }
    let recovered = Recovered { pending: entries.len(), torn };
    let queue = Queue { disk, limits, segments, entries, next, staged: Staged::default(), is_doubtful };
    Ok((queue, recovered))
}

/// The segments' numbers, in order and without gaps. Files of other names are not ours.
fn numbers<D: Disk>(disk: &D) -> Result<Vec<u64>, OpenError> {
    let names = disk.names().map_err(OpenError::Disk)?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| number_of(name)).collect();
    numbers.sort_unstable();
    match numbers.windows(2).find(|pair| pair[1] != pair[0] + 1) {
        Some(pair) => Err(OpenError::Missing { file: name(pair[0] + 1) }),
        None => Ok(numbers),
    }
}

impl<F: File> Found<F> {
    fn segment(&mut self, number: u64, mut file: F, is_last: bool) -> Result<(), OpenError> {
        let bytes = frame::read_all(&mut file).map_err(OpenError::Disk)?;
        let damaged =
            |offset: usize, what| OpenError::Damaged { file: name(number), offset: offset as u64, what };
        let head = FORMAT.read_head(&bytes, number);
        if let Head::Newer(version) = head {
            return Err(OpenError::Newer { file: name(number), version, known: FORMAT.version });
        }
        let Head::Good(first) = head else {
            // A segment is begun after all before it have been committed, and written to after its head was.
            if is_last && !frame::any_frame(number, &bytes, 0) {
                self.torn += bytes.len() as u64;
                self.is_doubtful = true;
                return Ok(());
            }
            return Err(damaged(0, "this is no head of a segment"));
        };
        self.next = self.next.max(first);
        let mut at = HEAD;
        while at < bytes.len() {
            let Some(body) = frame::read_frame(number, &bytes, at) else {
                // Every frame was committed before the next was written: only the last may be torn.
                if is_last && !frame::any_frame(number, &bytes, at + 1) {
                    self.torn += (bytes.len() - at) as u64;
                    self.is_doubtful = true;
                    break;
                }
                return Err(damaged(at, "a commit in the middle is not as it was written"));
            };
            self.records(number, at, body).map_err(|at| damaged(at, "a record is not as it was written"))?;
            at += FRAME + body.len();
        }
        self.segments.push_back(Segment { number, file, size: at as u64, unfinished: 0 });
        Ok(())
    }

    /// Takes over the records of a frame at `frame`; the error is the place of a damaged one.
    fn records(&mut self, segment: u64, frame: usize, body: &[u8]) -> Result<(), usize> {
        let mut at = 0;
        while at < body.len() {
            let offset = frame + FRAME + at;
            let record = record::read_record(body, at).ok_or(offset)?;
            match record.kind {
                Kind::Entry => {
                    let size = (RECORD + record.payload.len()) as u32;
                    self.entries.insert(record.number, Place { segment, offset: offset as u64, size });
                    self.next = self.next.max(record.number + 1);
                }
                // Its entry's segment may be gone.
                Kind::Finished => drop(self.entries.remove(&record.number)),
            }
            at = record.payload.end;
        }
        Ok(())
    }
}
