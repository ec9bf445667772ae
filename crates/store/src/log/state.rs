//! What a log knows apart from the events themselves. Every segment begins with it, so that older ones can go, and opening reads
//! one segment whole and no more.
//!
//! ```text
//! state      epoch (4) | segments (4) | segment … | partitions (2) | partition …
//! segment    number (8) | bytes of it that count (8)
//! partition  number (2) | head (8) | first that is kept (8) | checkpoint: n, 0 for none (8), epoch (4), size (8), checksum (4),
//!            try (4) | epochs (2) | epoch (4), the n after which it begins (8) …
//! ```

use std::collections::BTreeMap;

use super::{Epoch, Position};
use crate::frame::{u16_at, u32_at, u64_at};

/// Epochs that a partition remembers. Each is a restore of a backup, and a position of an older one is as good as unknown.
const EPOCHS: usize = 64;
/// More events than there will ever be; sums of numbers fit.
pub(super) const MAX_NUMBER: u64 = 1 << 62;

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct State {
    /// In which records are appended now.
    pub epoch: u32,
    /// The segments before the one that is written to, oldest first, and how many bytes of them count: what is behind was
    /// written anew in a later one.
    pub segments: Vec<(u64, u64)>,
    pub partitions: BTreeMap<u16, Partition>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Partition {
    /// The last number; 0: none yet.
    pub head: u64,
    /// The first number that is kept, at least 1; one above `head`: none is.
    pub first: u64,
    pub checkpoint: Option<Checkpoint>,
    /// Oldest first: an epoch, and the number after which it begins.
    pub epochs: Vec<(u32, u64)>,
}

/// A file that holds a partition's state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Checkpoint {
    pub at: Position,
    /// Of the payload, in bytes.
    pub size: u64,
    /// Of the payload.
    pub sum: u32,
    /// Tells files of one position apart: each try to save has one of its own.
    pub attempt: u32,
}

impl State {
    pub fn head(&self, partition: u16) -> u64 {
        self.partitions.get(&partition).map_or(0, |one| one.head)
    }

    /// The partition, which is made where it is new.
    pub fn partition(&mut self, partition: u16) -> &mut Partition {
        let epoch = self.epoch;
        let fresh = || Partition { first: 1, epochs: vec![(epoch, 0)], ..Partition::default() };
        self.partitions.entry(partition).or_insert_with(fresh)
    }

    /// From now on records are appended in `epoch`.
    pub fn begin_epoch(&mut self, epoch: u32) {
        self.epoch = epoch;
        for partition in self.partitions.values_mut() {
            partition.epochs.push((epoch, partition.head));
            let excess = partition.epochs.len().saturating_sub(EPOCHS);
            partition.epochs.drain(..excess);
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.extend_from_slice(&(self.segments.len() as u32).to_le_bytes());
        for (number, size) in &self.segments {
            out.extend_from_slice(&number.to_le_bytes());
            out.extend_from_slice(&size.to_le_bytes());
        }
        out.extend_from_slice(&(self.partitions.len() as u16).to_le_bytes());
        for (number, partition) in &self.partitions {
            out.extend_from_slice(&number.to_le_bytes());
            partition.push(&mut out);
        }
        out
    }

    /// `None`: these are not the bytes of one.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let mut from = Bytes(bytes, 0);
        let epoch = from.u32()?;
        let segments = (0..from.u32()?).map(|_| Some((from.u64()?, from.u64()?))).collect::<Option<_>>()?;
        let partitions = (0..from.u16()?)
            .map(|_| Some((from.u16()?, Partition::read(&mut from)?)))
            .collect::<Option<_>>()?;
        let state = Self { epoch, segments, partitions };
        (from.1 == bytes.len() && state.is_possible()).then_some(state)
    }

    /// Checksums say that it is what was written; this, that it was written by something that knew what it did.
    fn is_possible(&self) -> bool {
        let is_of_epoch = |one: &Partition| one.epochs.last().is_some_and(|(epoch, _)| *epoch == self.epoch);
        self.segments.is_sorted_by(|a, b| a.0 < b.0)
            && self
                .partitions
                .iter()
                .all(|(number, one)| *number < super::MAX_PARTITIONS && is_of_epoch(one) && one.is_possible())
    }
}

impl Partition {
    /// Where `n` is, or would be.
    pub fn position(&self, n: u64) -> Position {
        let epoch = self.epochs.iter().rev().find(|(_, after)| *after < n).or(self.epochs.first());
        Position { epoch: epoch.map_or(0, |(epoch, _)| *epoch), n }
    }

    /// Its epochs, oldest first.
    pub fn lineage(&self) -> Vec<Epoch> {
        let before = std::iter::once(None).chain(self.epochs.iter().map(|(epoch, _)| Some(*epoch)));
        let follows = |(before, (epoch, n)): (Option<u32>, &(u32, u64))| Epoch {
            epoch: *epoch,
            follows: before.map(|epoch| Position { epoch, n: *n }),
        };
        before.zip(&self.epochs).map(follows).collect()
    }

    fn is_possible(&self) -> bool {
        let is_within = |n: u64| n <= self.head;
        self.head <= MAX_NUMBER
            && self.first >= 1
            && is_within(self.first - 1)
            && self.checkpoint.is_none_or(|checkpoint| is_within(checkpoint.at.n))
            && self.epochs.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1)
            && self.epochs.last().is_some_and(|(_, after)| is_within(*after))
    }

    fn push(&self, out: &mut Vec<u8>) {
        let none = Checkpoint { at: Position { epoch: 0, n: 0 }, size: 0, sum: 0, attempt: 0 };
        let checkpoint = self.checkpoint.unwrap_or(none);
        out.extend_from_slice(&self.head.to_le_bytes());
        out.extend_from_slice(&self.first.to_le_bytes());
        out.extend_from_slice(&checkpoint.at.n.to_le_bytes());
        out.extend_from_slice(&checkpoint.at.epoch.to_le_bytes());
        out.extend_from_slice(&checkpoint.payload());
        out.extend_from_slice(&(self.epochs.len() as u16).to_le_bytes());
        for (epoch, after) in &self.epochs {
            out.extend_from_slice(&epoch.to_le_bytes());
            out.extend_from_slice(&after.to_le_bytes());
        }
    }

    fn read(from: &mut Bytes<'_>) -> Option<Self> {
        let (head, first, n, epoch) = (from.u64()?, from.u64()?, from.u64()?, from.u32()?);
        let (size, sum, attempt) = (from.u64()?, from.u32()?, from.u32()?);
        let checkpoint = Checkpoint { at: Position { epoch, n }, size, sum, attempt };
        let epochs = (0..from.u16()?).map(|_| Some((from.u32()?, from.u64()?))).collect::<Option<_>>()?;
        Some(Self { head, first, checkpoint: (n > 0).then_some(checkpoint), epochs })
    }
}

impl Checkpoint {
    /// What a record says of it.
    pub fn payload(&self) -> [u8; 16] {
        let mut out = [0; 16];
        out[..8].copy_from_slice(&self.size.to_le_bytes());
        out[8..12].copy_from_slice(&self.sum.to_le_bytes());
        out[12..].copy_from_slice(&self.attempt.to_le_bytes());
        out
    }

    /// `None`: this is not the payload of its record.
    pub fn of_record(at: Position, payload: &[u8]) -> Option<Self> {
        Some(Self { at, size: u64_at(payload, 0)?, sum: u32_at(payload, 8)?, attempt: u32_at(payload, 12)? })
    }
}

/// Bytes, and how many of them were read.
struct Bytes<'a>(&'a [u8], usize);

impl Bytes<'_> {
    fn u16(&mut self) -> Option<u16> {
        self.1 += 2;
        u16_at(self.0, self.1 - 2)
    }

    fn u32(&mut self) -> Option<u32> {
        self.1 += 4;
        u32_at(self.0, self.1 - 4)
    }

    fn u64(&mut self) -> Option<u64> {
        self.1 += 8;
        u64_at(self.0, self.1 - 8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_comes_back_and_half_of_one_does_not() {
        let mut state = State { epoch: 3, segments: vec![(1, 28), (4, 900)], ..State::default() };
        state.partition(9).head = 12;
        state.partition(7).head = 4;
        state.partition(7).checkpoint =
            Some(Checkpoint { at: Position { epoch: 3, n: 4 }, size: 5, sum: 6, attempt: 7 });
        state.begin_epoch(8);
        let bytes = state.bytes();
        assert_eq!(State::read(&bytes), Some(state));
        assert!((0..bytes.len()).all(|size| State::read(&bytes[..size]).is_none()));
    }

    #[test]
    fn numbers_belong_to_the_epoch_that_was_when_they_were_given() {
        let mut state = State { epoch: 2, ..State::default() };
        state.partition(0).head = 10;
        state.begin_epoch(5);
        state.partition(0).head = 11;
        let partition = &state.partitions[&0];
        assert_eq!([1, 10, 11, 12].map(|n| partition.position(n).epoch), [2, 2, 5, 5]);
        let follows = Some(Position { epoch: 2, n: 10 });
        assert_eq!(partition.lineage(), [Epoch { epoch: 2, follows: None }, Epoch { epoch: 5, follows }]);
    }
}
