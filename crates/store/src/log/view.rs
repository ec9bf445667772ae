//! What a log holds for certain: the writer changes it after each commit, readers look at it.

use super::checkpoint;
use super::places::{self, Index};
use super::record::{Kind, RECORD, Record};
use super::state::{Checkpoint, MAX_NUMBER, State};
use super::{MAX_PARTITIONS, Position};
use crate::frame;

#[derive(Default)]
pub(super) struct View {
    pub state: State,
    pub index: Index,
    /// The segment that is written to.
    pub active: u64,
    /// Committed bytes of it.
    pub size: u64,
    /// Files that nobody wants any more, but who makes a copy.
    pub obsolete: Vec<String>,
    /// Tries to save a checkpoint since the log was opened.
    pub saves: u32,
    /// Backups that are being made.
    pub copies: usize,
}

impl View {
    /// A record of a frame whose body stands at `place` of the segment that is written to. `false`: it contradicts what came before.
    pub fn apply(&mut self, record: &Record, body: &[u8], place: u64) -> bool {
        let payload = &body[record.payload.clone()];
        let n = record.at.n;
        if record.partition >= MAX_PARTITIONS || n > MAX_NUMBER {
            return false;
        }
        match record.kind {
            Kind::Event => {
                let epoch = self.state.epoch;
                let partition = self.state.partition(record.partition);
                if partition.head + 1 != n || record.at.epoch != epoch {
                    return false;
                }
                partition.head = n;
                let offset = place + (record.payload.start - RECORD) as u64;
                self.index.add(record.partition, n, offset as u32);
            }
            Kind::State => {
                let Some(state) = State::read(payload) else { return false };
                self.state = state;
            }
            Kind::Checkpoint => {
                let Some(checkpoint) = Checkpoint::of_record(record.at, payload) else { return false };
                if n == 0 || n > self.state.head(record.partition) {
                    return false;
                }
                self.replace_checkpoint(record.partition, checkpoint);
            }
            Kind::Trim => {
                let partition = self.state.partition(record.partition);
                if n > partition.head + 1 {
                    return false;
                }
                partition.first = partition.first.max(n);
            }
            Kind::Oldest => self.remove_below(n),
        }
        true
    }

    /// How many segments, from the oldest on, hold nothing that is wanted.
    pub fn unwanted_segments(&self) -> usize {
        if self.copies > 0 {
            return 0;
        }
        let first = |partition: u16| self.state.partitions.get(&partition).map_or(1, |one| one.first);
        let is_unwanted = |(number, _): &&(u64, u64)| self.index.is_unwanted(*number, first);
        self.state.segments.iter().take_while(is_unwanted).count()
    }

    /// Where the partition's next event will be.
    pub fn head(&self, partition: u16) -> Position {
        Position { epoch: self.state.epoch, n: self.state.head(partition) }
    }

    fn replace_checkpoint(&mut self, partition: u16, new: Checkpoint) {
        let one = self.state.partition(partition);
        let (kept, gone) = match one.checkpoint {
            Some(old) if old.at.n >= new.at.n => (old, Some(new)),
            old => (new, old),
        };
        one.checkpoint = Some(kept);
        let gone = gone.filter(|gone| *gone != kept);
        self.obsolete.extend(gone.map(|gone| checkpoint::name(partition, &gone)));
    }

    fn remove_below(&mut self, oldest: u64) {
        let gone = self.state.segments.iter().map(|(number, _)| *number).filter(|number| *number < oldest);
        self.obsolete.extend(gone.flat_map(|number| [frame::name(number), places::name(number)]));
        self.state.segments.retain(|(number, _)| *number >= oldest);
        self.index.forget_below(oldest);
    }
}
