//! From files to a log.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, RwLock};

use super::places::{self, Active, Span};
use super::record::{self, FORMAT, Kind, NoRecord, RECORD, Record};
use super::state::State;
use super::view::View;
use super::{CommitError, Log, Opened, Settings, Staged, begin_segment, checkpoint, read, state_body};
use crate::disk::{Disk, File};
use crate::frame::{self, FRAME, HEAD, Head, name, number_of};
use crate::{OpenError, ReadError};

/// Bytes of a segment that are checked at once, or one commit.
const CHECKED: usize = 1 << 20;

/// Where the files come from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// They are this log's own.
    Own,
    /// They were copied from a backup; what is appended is in the epoch of the settings.
    Backup,
}

/// The newest segment that can be read.
struct Newest {
    number: u64,
    bytes: Vec<u8>,
    /// Where its frames are. There is at least one.
    frames: Vec<usize>,
}

pub(super) fn open<D: Disk>(
    mut disk: D,
    settings: Settings,
    source: Source,
) -> Result<(Log<D>, Opened), OpenError> {
    let names = disk.names().map_err(OpenError::Disk)?;
    if source == Source::Own {
        super::backup::refuse(&names)?;
    }
    let mut opened = Opened::default();
    let numbers: BTreeSet<u64> = names.iter().filter_map(|name| number_of(name)).collect();
    let next = numbers.last().map_or(1, |last| last + 1);
    let (view, body) = match newest(&mut disk, &numbers, settings, &mut opened)? {
        Some(newest) => take_over(&mut disk, newest, &mut opened)?,
        None => begin_anew(&names, settings)?,
    };
    let mut view = view;
    // Of the last commit nobody knows whether it was synced, or whether that failed: as long as it stands where it does, no sync
    // proves anything. So it is written anew, in one frame with the state before it.
    let begun = begin_segment(&mut disk, next, settings.partitions, &body);
    let (file, size) = begun.map_err(|error| match error {
        CommitError::NotTaken(error) | CommitError::Stopped(error) => OpenError::Disk(error),
    })?;
    (view.active, view.size) = (next, size);
    apply_all(&mut view, &body, (HEAD + FRAME) as u64).map_err(|(at, why)| broken(next, at, why))?;
    for (partition, one) in &view.state.partitions {
        one.checkpoint.as_ref().map_or(Ok(()), |one| checkpoint::check(&mut disk, *partition, one))?;
    }
    let (highest, view) = (view.state.epoch, Arc::new(RwLock::new(view)));
    let mut log = Log { disk, settings, view, file, staged: Staged::default(), is_stopped: false };
    if source == Source::Backup {
        begin_epoch(&mut log, highest)?;
    }
    remove_strangers(&mut log, &names);
    Ok((log, opened))
}

/// Goes on in the epoch of the settings, which must be above `highest`.
fn begin_epoch<D: Disk>(log: &mut Log<D>, highest: u32) -> Result<(), OpenError> {
    let asked = log.settings.epoch;
    if asked <= highest {
        return Err(OpenError::OldEpoch { asked, highest });
    }
    let mut view = log.view.write().unwrap_or_else(std::sync::PoisonError::into_inner);
    view.state.begin_epoch(asked);
    drop(view);
    log.roll().map_err(|error| match error {
        CommitError::NotTaken(error) | CommitError::Stopped(error) => OpenError::Disk(error),
    })
}

/// Where there is nothing, or nothing was ever committed.
fn begin_anew(names: &[String], settings: Settings) -> Result<(View, Vec<u8>), OpenError> {
    // A list of places or a checkpoint means that there were full segments, or events.
    let is_trace = |name: &&String| name.ends_with(".idx") || checkpoint::is_name(name);
    if let Some(trace) = names.iter().find(is_trace) {
        return Err(OpenError::Missing { file: format!("the segment that {trace} belongs to") });
    }
    Ok((View::default(), state_body(&State { epoch: settings.epoch, ..State::default() })))
}

/// The newest segment in which anything is. Those after it were begun, and that was interrupted.
fn newest<D: Disk>(
    disk: &mut D,
    numbers: &BTreeSet<u64>,
    settings: Settings,
    opened: &mut Opened,
) -> Result<Option<Newest>, OpenError> {
    for number in numbers.iter().rev().copied() {
        let mut file = disk.open(&name(number)).map_err(OpenError::Disk)?;
        let bytes = frame::read_all(&mut file).map_err(OpenError::Disk)?;
        let is_whole = check_head(&bytes, number, Some(settings.partitions))?;
        let frames = if is_whole { frames(&bytes, number) } else { Vec::new() };
        let end = frames.last().map_or(if is_whole { HEAD } else { 0 }, |last| *last);
        let end = frame::read_frame(number, &bytes, end).map_or(end, |body| end + FRAME + body.len());
        // A frame is written after the one before it lasts: none can follow one that is torn.
        if end < bytes.len() && frame::any_frame(number, &bytes, end + usize::from(is_whole)) {
            let what = if is_whole {
                "a commit in the middle is not as it was written"
            } else {
                "this is no head of a segment"
            };
            return Err(OpenError::Damaged { file: name(number), offset: end as u64, what });
        }
        if !frames.is_empty() {
            opened.torn += (bytes.len() - end) as u64;
            return Ok(Some(Newest { number, bytes, frames }));
        }
        opened.torn += bytes.len() as u64;
    }
    Ok(None)
}

/// The places of the frames from the beginning to the first that is not whole.
fn frames(bytes: &[u8], number: u64) -> Vec<usize> {
    let mut at = HEAD;
    let mut frames = Vec::new();
    while let Some(body) = frame::read_frame(number, bytes, at) {
        frames.push(at);
        at += FRAME + body.len();
    }
    frames
}

/// Is this the head of the segment? `Ok(false)`: it is none at all.
fn check_head(bytes: &[u8], number: u64, partitions: Option<u16>) -> Result<bool, OpenError> {
    match (FORMAT.read_head(bytes, number), partitions) {
        (Head::Newer(version), _) => {
            Err(OpenError::Newer { file: name(number), version, known: FORMAT.version })
        }
        (Head::Good(made), Some(asked)) if made != u64::from(asked) => {
            Err(OpenError::Partitions { made: made as u16, asked })
        }
        (Head::Good(_), _) => Ok(true),
        (Head::Bad, _) => Ok(false),
    }
}

/// What the log holds but for its last commit, and the first frame of a new segment: the state so far, and that commit.
fn take_over<D: Disk>(
    disk: &mut D,
    newest: Newest,
    opened: &mut Opened,
) -> Result<(View, Vec<u8>), OpenError> {
    let Newest { number, bytes, frames } = newest;
    let (last, earlier) = frames.split_last().expect("a newest segment has a frame");
    let mut view = View { active: number, ..View::default() };
    let body_at = |at: usize| frame::read_frame(number, &bytes, at).unwrap_or_default();
    for at in earlier {
        let place = (at + FRAME) as u64;
        apply_all(&mut view, body_at(*at), place).map_err(|(at, why)| broken(number, at, why))?;
    }
    let mut tail = body_at(*last);
    if earlier.is_empty() {
        // Its only frame: the new segment takes the place of it all.
        let first = record::read(tail, 0).map_err(|why| broken(number, (last + FRAME) as u64, why))?;
        if first.kind != Kind::State || !view.apply(&first, tail, 0) {
            return Err(broken(number, (last + FRAME) as u64, NoRecord::Damaged));
        }
        tail = &tail[first.payload.end..];
    }
    // Segments that the last commit says are gone may be.
    each_record(tail, |record| {
        if record.kind == Kind::Oldest {
            view.apply(record, tail, 0);
        }
        true
    })
    .map_err(|(at, why)| broken(number, (last + FRAME + at) as u64, why))?;
    let events = std::mem::take(&mut view.index.active);
    for (number, size) in view.state.segments.clone() {
        let spans = sealed(disk, number, size, opened)?;
        view.index.add_sealed(spans);
    }
    if !earlier.is_empty() {
        let size = *last as u64;
        view.index.add_sealed(places::seal(disk, number, size, &events));
        view.state.segments.push((number, size));
    }
    let mut body = state_body(&view.state);
    body.extend_from_slice(tail);
    Ok((view, body))
}

/// Applies all records of a frame whose body stands at `place` of the segment that is written to. The error has the place of the one
/// that is wrong.
fn apply_all(view: &mut View, body: &[u8], place: u64) -> Result<(), (u64, NoRecord)> {
    each_record(body, |record| view.apply(record, body, place)).map_err(|(at, why)| (place + at as u64, why))
}

/// Shows all records of a body. The error has the place of the first that is none, or for which `take` returns `false`.
fn each_record(body: &[u8], mut take: impl FnMut(&Record) -> bool) -> Result<(), (usize, NoRecord)> {
    let mut at = 0;
    while at < body.len() {
        let record = record::read(body, at).map_err(|why| (at, why))?;
        if !take(&record) {
            return Err((at, NoRecord::Damaged));
        }
        at = record.payload.end;
    }
    Ok(())
}

/// What is in a segment of which `size` bytes count: by the file beside it, or else by itself.
fn sealed<D: Disk>(
    disk: &mut D,
    number: u64,
    size: u64,
    opened: &mut Opened,
) -> Result<Vec<(u16, Span)>, OpenError> {
    let mut file = match disk.open(&name(number)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(OpenError::Missing { file: name(number) });
        }
        file => file.map_err(OpenError::Disk)?,
    };
    let damaged = |offset, what| Err(OpenError::Damaged { file: name(number), offset, what });
    let found = file.size().map_err(OpenError::Disk)?;
    if found < size {
        return damaged(found, "the segment was longer");
    }
    let mut head = [0; HEAD];
    file.read_at(0, &mut head).map_err(OpenError::Disk)?;
    if !check_head(&head, number, None)? {
        return damaged(0, "this is no head of a segment");
    }
    if let Some(spans) = places::load(disk, number, size) {
        return Ok(spans);
    }
    opened.relisted += 1;
    let mut events = Active::default();
    let mut list = |record: &Record, place| {
        if record.kind == Kind::Event {
            events.entry(record.partition).or_insert((record.at.n, Vec::new())).1.push(place);
        }
    };
    check_segment(disk, number, size, &mut list).map_err(|error| match error {
        ReadError::Disk(error) => OpenError::Disk(error),
        ReadError::Damaged { file, offset } => {
            OpenError::Damaged { file, offset, what: "a commit in the middle is not as it was written" }
        }
        ReadError::Newer { file, version, .. } => OpenError::Newer { file, version, known: FORMAT.version },
    })?;
    Ok(places::seal(disk, number, size, &events))
}

/// Checks the first `size` bytes of a segment, which are whole frames, and shows each record with its place.
pub(super) fn check_segment<D: Disk>(
    disk: &mut D,
    number: u64,
    size: u64,
    seen: &mut dyn FnMut(&Record, u32),
) -> Result<(), ReadError> {
    let mut file = disk.open(&name(number)).map_err(ReadError::Disk)?;
    let found = file.size().map_err(ReadError::Disk)?.min(size);
    let mut window = read::Window::new(&mut file, found, CHECKED);
    let damaged = |offset| ReadError::Damaged { file: name(number), offset };
    let head = window.get(0, HEAD)?.unwrap_or_default();
    if !matches!(FORMAT.read_head(head, number), Head::Good(_)) {
        return Err(damaged(0));
    }
    let mut at = HEAD as u64;
    while at < size {
        let length = window.get(at, FRAME)?.and_then(frame::frame_size).ok_or_else(|| damaged(at))?;
        let frame = window.get(at, length)?.unwrap_or_default();
        let body = frame::read_frame_at(number, at, frame).ok_or_else(|| damaged(at))?;
        let start = at + FRAME as u64;
        let checked = each_record(body, |record| {
            seen(record, (start as usize + record.payload.start - RECORD) as u32);
            true
        });
        checked.map_err(|(inner, why)| read::unreadable(name(number), start + inner as u64, why))?;
        at += length as u64;
    }
    Ok(())
}

/// Removes what a crash left: segments, lists and checkpoints that the log does not know. What cannot be removed does no harm.
fn remove_strangers<D: Disk>(log: &mut Log<D>, names: &[String]) {
    let view = log.view.read().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut known: BTreeSet<String> = BTreeSet::from([name(view.active)]);
    known.extend(view.state.segments.iter().flat_map(|(number, _)| [name(*number), places::name(*number)]));
    let checkpoints =
        view.state.partitions.iter().filter_map(|(number, one)| Some((*number, one.checkpoint?)));
    known.extend(checkpoints.map(|(partition, one)| checkpoint::name(partition, &one)));
    drop(view);
    let is_ours =
        |name: &&String| number_of(name).is_some() || name.ends_with(".idx") || checkpoint::is_name(name);
    for name in names.iter().filter(is_ours).filter(|name| !known.contains(*name)) {
        let _ = log.disk.remove(name);
    }
}

fn broken(number: u64, offset: u64, why: NoRecord) -> OpenError {
    match why {
        NoRecord::Newer(version) => OpenError::Newer { file: name(number), version, known: FORMAT.version },
        NoRecord::Damaged => {
            OpenError::Damaged { file: name(number), offset, what: "a record is not as it was written" }
        }
    }
}
