//! A region's log: a list in memory, or the real segment log on a simulated disk.

use std::sync::Arc;

use messaging::event::{Entry, Event, Record};
use messaging::format::encode;
use messaging::partition::{Append, Appended, State};
use messaging::place::{Cursor, EventId, Place, Region};
use store::Log;
use store::log::{CommitError, Opened, Position, Settings};
use store::simulated::{Faults, SimulatedDisk};

use super::Engine;

/// Small, so that a run goes through many segments.
const SEGMENT: u64 = 8_000;

/// The one partition there is.
const PARTITION: u16 = 0;

/// The log of one region, as everybody reads it.
pub struct RegionLog {
    region: Region,
    /// The number of the first record that is kept.
    first: u64,
    records: Vec<Record>,
    /// The last event that was trimmed.
    floor: Option<Place>,
    trimmed: Vec<EventId>,
    segments: Option<Segments>,
}

struct Segments {
    disk: SimulatedDisk,
    /// `None`: its process has ended.
    log: Option<Log<SimulatedDisk>>,
    tried: Vec<Tried>,
    /// What the disk does when nothing is wrong with it.
    usual: Faults,
    checkpoint: Option<Saved>,
}

/// The region's checkpoint, read back from the disk.
struct Saved {
    n: u64,
    bytes: Vec<u8>,
}

/// An append that waits for a commit.
pub struct Tried {
    pub node: usize,
    pub life: u64,
    pub incarnation: u64,
    /// Its answer arrives.
    pub tell: bool,
    /// The last number that it wants before it.
    expected: u64,
    is_staged: bool,
}

/// What came of a commit.
pub struct Committed {
    pub answers: Vec<(Tried, Appended)>,
    /// Events that everybody may see now.
    pub events: Vec<Arc<Event>>,
    /// Segments that were removed.
    pub reclaimed: usize,
    /// The disk failed: false for a full one, true when the process has to end.
    pub refused: Option<bool>,
}

impl RegionLog {
    pub fn new(region: Region, engine: Engine, lies: bool) -> Self {
        let (records, trimmed) = (Vec::new(), Vec::new());
        let mut log = Self { region, first: 1, records, floor: None, trimmed, segments: None };
        if engine == Engine::Segments {
            let usual = Faults { syncs_lie: lies, ..Faults::default() };
            let (disk, tried) = (SimulatedDisk::default(), Vec::new());
            log.segments = Some(Segments { disk, log: None, tried, usual, checkpoint: None });
            log.open().expect("an empty disk is opened");
        }
        log
    }

    /// Can it be read and appended to?
    pub fn is_open(&self) -> bool {
        self.segments.as_ref().is_none_or(|segments| segments.log.is_some())
    }

    /// The last number.
    pub fn head(&self) -> u64 {
        self.first - 1 + self.records.len() as u64
    }

    /// The last event that is kept no more.
    pub fn floor(&self) -> Option<Place> {
        self.floor
    }

    /// All events that are kept.
    pub fn events(&self) -> impl Iterator<Item = &Arc<Event>> {
        self.records.iter().filter_map(event_of)
    }

    /// All events that were committed, those that were trimmed too.
    pub fn committed(&self) -> impl Iterator<Item = EventId> {
        self.events().map(|event| event.id).chain(self.trimmed.iter().copied())
    }

    fn at(&self, n: u64) -> Option<&Record> {
        self.records.get(n.checked_sub(self.first)? as usize)
    }

    /// What is behind the number expected, as a conflict tells it.
    fn conflict(&self, expected: u64) -> Appended {
        let found = self.at(expected + 1).map(|record| (record.incarnation, record.append));
        Appended::Conflict { found }
    }

    /// In memory: takes an append at once. Without comparing it takes any that is not ahead of it.
    pub fn append(&mut self, append: &Append, compares: bool) -> (Appended, Vec<Arc<Event>>) {
        let head = self.head();
        if head != append.expected && (compares || head < append.expected) {
            return (self.conflict(append.expected), Vec::new());
        }
        self.records.extend(append.records.iter().cloned());
        (Appended::Committed, append.records.iter().filter_map(event_of).cloned().collect())
    }

    /// In memory: the last record was never there.
    pub fn lose_last(&mut self) {
        self.records.pop();
    }

    /// A state to go on from, and the records behind it, those that a lagging copy of the log would not have left out.
    pub fn read(&self, lag: u64) -> (State, Vec<Record>) {
        let start = State::new(self.region, 1);
        let upto = self.head().saturating_sub(lag);
        let checkpoint = self.segments.as_ref().and_then(|segments| segments.checkpoint.as_ref());
        let state = match checkpoint {
            Some(saved) => decode(&saved.bytes),
            None if self.segments.is_some() => start,
            // In memory checkpoints are made when they are read.
            None => {
                let mut early = start;
                let half = self.records[..upto as usize / 2].iter();
                half.for_each(|record| early.replay(record));
                decode(&early.checkpoint())
            }
        };
        let rest = (state.head.n + 1..=upto).filter_map(|n| self.at(n).cloned()).collect();
        (state, rest)
    }

    /// Where the checkpoint stands in a channel.
    pub fn base(&self, channel: &base::ChannelId) -> Cursor {
        let cursor = self.covered().and_then(|state| Some(state.channels.get(channel)?.causal().cursor()));
        cursor.unwrap_or_default()
    }

    /// What the last checkpoint that lasts had applied.
    pub fn covered(&self) -> Option<State> {
        let saved = self.segments.as_ref()?.checkpoint.as_ref()?;
        Some(decode(&saved.bytes))
    }

    // The real log.

    fn segments(&mut self) -> &mut Segments {
        self.segments.as_mut().expect("a log in memory has no disk to fail")
    }

    /// An append arrives; it is answered when all is committed that it was held against. False: nobody is there to take it.
    pub fn stage(&mut self, append: &Append, node: usize, life: u64, tell: bool) -> bool {
        let segments = self.segments();
        let Some(log) = &mut segments.log else { return false };
        let payloads: Vec<Vec<u8>> = append.records.iter().map(encode).collect();
        let head = Position { n: append.expected, ..log.head(PARTITION) };
        let is_staged = log.append(PARTITION, head, &payloads).is_ok();
        let incarnation = append.records.first().map_or(0, |record| record.incarnation);
        segments.tried.push(Tried { node, life, incarnation, tell, expected: append.expected, is_staged });
        true
    }

    /// One write and one sync for all that is staged.
    pub fn commit(&mut self) -> Committed {
        let segments = self.segments();
        let tried = std::mem::take(&mut segments.tried);
        let mut done = Committed { answers: Vec::new(), events: Vec::new(), reclaimed: 0, refused: None };
        let outcome = segments.log.as_mut().map(Log::reclaim);
        match outcome {
            Some(Ok(reclaimed)) => {
                done.reclaimed = reclaimed;
                // With syncs that work this does not fail; with others the log is found out when it is opened again.
                done.events = self.refresh().unwrap_or_default();
            }
            Some(Err(CommitError::NotTaken(_))) => done.refused = Some(false),
            Some(Err(CommitError::Stopped(_))) => {
                segments.log = None;
                done.refused = Some(true);
            }
            None => {}
        }
        let is_good = done.refused.is_none() && self.is_open();
        for tried in tried {
            let answer = match tried.is_staged {
                _ if !is_good => Appended::Unknown,
                true => Appended::Committed,
                false => self.conflict(tried.expected),
            };
            done.answers.push((tried, answer));
        }
        done
    }

    /// Reads what was committed and not read yet, and forgets what is not there any more.
    fn refresh(&mut self) -> Result<Vec<Arc<Event>>, String> {
        let from = self.head() + 1;
        let Some(log) = &self.segments().log else { return Ok(Vec::new()) };
        let mut reader = log.reader();
        let lost = |error: store::ReadError| format!("3: {error}");
        let read = reader.read(PARTITION, from, usize::MAX, usize::MAX).map_err(lost)?;
        let new = read.iter().map(|event| Record::read(&event.payload)).collect::<Result<Vec<_>, _>>();
        let new = new.map_err(|error| format!("3: {error}"))?;
        let events = new.iter().filter_map(event_of).cloned().collect();
        let first = reader.first(PARTITION);
        let checkpoint = reader.checkpoint(PARTITION).map_err(lost)?;
        self.segments().checkpoint = checkpoint.map(|(at, bytes)| Saved { n: at.n, bytes });
        self.records.extend(new);
        let gone = (first - self.first).min(self.records.len() as u64) as usize;
        let gone: Vec<EventId> =
            self.records.drain(..gone).filter_map(|record| event_of(&record).map(|event| event.id)).collect();
        self.first = first;
        self.floor = gone.last().map(|id| id.place).or(self.floor);
        self.trimmed.extend(gone);
        Ok(events)
    }

    /// Saves the state of an owner at `n`, and puts it to use with the next commit. False: the disk failed, or there is one as new.
    pub fn checkpoint(&mut self, n: u64, state: &[u8]) -> bool {
        let Some(log) = &mut self.segments().log else { return false };
        let saved = log.reader().save_checkpoint(PARTITION, n, state);
        saved.is_ok_and(|saved| log.checkpoint(saved).is_ok())
    }

    /// Wants what is below `first` no more, from the next commit on.
    pub fn trim(&mut self, first: u64) -> bool {
        let covered = self.segments().checkpoint.as_ref().map_or(0, |saved| saved.n);
        let is_new = first > self.first && first <= covered + 1;
        let Some(log) = self.segments().log.as_mut().filter(|_| is_new) else { return false };
        log.trim(PARTITION, first).is_ok()
    }

    /// Is anything waiting for a commit?
    pub fn is_waiting(&self) -> bool {
        let segments = self.segments.as_ref();
        segments.is_some_and(|segments| {
            !segments.tried.is_empty() || segments.log.as_ref().is_some_and(Log::is_staged)
        })
    }

    /// Its process ends: who waits for an answer learns nothing. With the power gone the disk keeps what it likes of what was not synced.
    pub fn end(&mut self, power: Option<u64>) -> Vec<Tried> {
        let segments = self.segments();
        segments.log = None;
        if let Some(seed) = power {
            segments.disk.crash(seed);
        }
        std::mem::take(&mut segments.tried)
    }

    /// Its process begins: everything is read anew from the disk.
    pub fn open(&mut self) -> Result<Opened, String> {
        let kept = self.first;
        let segments = self.segments();
        segments.disk.set_faults(segments.usual);
        let settings = Settings { partitions: 1, segment_bytes: SEGMENT, ..Settings::default() };
        let (log, opened) =
            Log::open(segments.disk.clone(), settings).map_err(|error| format!("3: {error}"))?;
        let first = log.reader().first(PARTITION);
        if first < kept {
            return Err("3: what was trimmed is there again".to_owned());
        }
        segments.log = Some(log);
        // What is below was trimmed by a commit whose answer nobody heard.
        let unheard = (first - self.first).min(self.records.len() as u64) as usize;
        let below: Vec<EventId> =
            self.records[..unheard].iter().filter_map(event_of).map(|event| event.id).collect();
        self.floor = below.last().map(|id| id.place).or(self.floor);
        self.trimmed.extend(below);
        self.records.clear();
        self.first = first;
        self.refresh()?;
        Ok(opened)
    }

    /// From now on the disk misbehaves, until the log is opened again or [`Self::cure`]d.
    pub fn fail(&mut self, faults: Faults) {
        let segments = self.segments();
        let usual = segments.usual.syncs_lie;
        segments.disk.set_faults(Faults { syncs_lie: usual, ..faults });
    }

    /// Bytes on the disk.
    pub fn used(&mut self) -> usize {
        self.segments().disk.used()
    }

    /// The disk is good again.
    pub fn cure(&mut self) {
        let segments = self.segments();
        segments.disk.set_faults(segments.usual);
    }
}

fn decode(bytes: &[u8]) -> State {
    State::restore(bytes).expect("a checkpoint that was written is read")
}

pub fn event_of(record: &Record) -> Option<&Arc<Event>> {
    match &record.entry {
        Entry::Event { event } => Some(event),
        _ => None,
    }
}
