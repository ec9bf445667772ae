//! What is in a log's segments: records in frames.
//!
//! ```text
//! head    magic "STOALOG", version 1 | number of the segment | number of partitions
//! record  version (1) | kind (1) | partition (2) | epoch (4) | n (8) | length of the payload (4) |
//!         checksum of these and the payload (4) | payload
//! ```
//!
//! The first record of every segment is a [`Kind::State`], and nowhere else is one.

use std::ops::Range;

use super::Position;
use crate::frame::{Format, checksum, u16_at, u32_at, u64_at};

/// Segments of a log.
pub(super) const FORMAT: Format = Format { magic: b"STOALOG", version: 1 };
/// The version that records are written in, and the newest that is understood.
const VERSION: u8 = 1;
/// Bytes before the payload of a record.
pub(super) const RECORD: usize = 24;

/// What a record says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// An event of a partition, at its position.
    Event,
    /// All that the log knows, apart from events; see `state`.
    State,
    /// The partition's state up to this position is in a checkpoint; the payload is its size (8), checksum (4) and try (4).
    Checkpoint,
    /// Events of the partition below n are wanted no more.
    Trim,
    /// Segments below n are gone, or are to go.
    Oldest,
}

const KINDS: [Kind; 5] = [Kind::Event, Kind::State, Kind::Checkpoint, Kind::Trim, Kind::Oldest];

/// A record in the body of a frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Record {
    pub kind: Kind,
    pub partition: u16,
    pub at: Position,
    /// Where its payload is in the body.
    pub payload: Range<usize>,
}

/// Why there is no record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NoRecord {
    /// The bytes are not those of one.
    Damaged,
    /// It is of a version that this code does not know.
    Newer(u8),
}

/// Adds a record to the body of a frame.
pub(super) fn push(body: &mut Vec<u8>, kind: Kind, partition: u16, at: Position, payload: &[u8]) {
    let start = body.len();
    let code = KINDS.iter().position(|one| *one == kind).map_or(0, |at| at as u8 + 1);
    body.extend_from_slice(&[VERSION, code]);
    body.extend_from_slice(&partition.to_le_bytes());
    body.extend_from_slice(&at.epoch.to_le_bytes());
    body.extend_from_slice(&at.n.to_le_bytes());
    body.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    let sum = checksum(&[&body[start..], payload]);
    body.extend_from_slice(&sum.to_le_bytes());
    body.extend_from_slice(payload);
}

/// How many bytes the record takes whose first [`RECORD`] bytes these are; what it says is not checked.
pub(super) fn size(head: &[u8]) -> Option<usize> {
    Some(RECORD + u32_at(head, 16)? as usize)
}

/// The record at `at` of a body.
///
/// # Errors
/// See [`NoRecord`].
pub(super) fn read(body: &[u8], at: usize) -> Result<Record, NoRecord> {
    let damaged = NoRecord::Damaged;
    let head = body.get(at..at + RECORD).ok_or(damaged)?;
    let start = at + RECORD;
    let length = u32_at(head, 16).ok_or(damaged)? as usize;
    let payload = start..start + length;
    let sum = checksum(&[&head[..20], body.get(payload.clone()).ok_or(damaged)?]);
    if u32_at(head, 20) != Some(sum) {
        return Err(damaged);
    }
    if head[0] > VERSION {
        return Err(NoRecord::Newer(head[0]));
    }
    let kind = usize::from(head[1]).checked_sub(1).and_then(|code| KINDS.get(code));
    let position = u32_at(head, 4).zip(u64_at(head, 8)).map(|(epoch, n)| Position { epoch, n });
    match (kind, u16_at(head, 2), position) {
        (Some(kind), Some(partition), Some(at)) => Ok(Record { kind: *kind, partition, at, payload }),
        _ => Err(damaged),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_and_one_with_any_bit_changed_does_not() {
        let mut body = vec![9; 3];
        let at = Position { epoch: 7, n: 1 << 40 };
        push(&mut body, Kind::Checkpoint, 513, at, b"payload");
        let expected = Record { kind: Kind::Checkpoint, partition: 513, at, payload: 27..34 };
        assert_eq!(read(&body, 3), Ok(expected));
        for bit in 3 * 8..body.len() * 8 {
            let mut damaged = body.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(&damaged, 3), Err(NoRecord::Damaged), "bit {bit}");
        }
    }

    #[test]
    fn a_record_of_a_later_version_is_not_taken_for_a_damaged_one() {
        let mut body = Vec::new();
        push(&mut body, Kind::Event, 1, Position { epoch: 1, n: 1 }, b"payload");
        body[0] = 2;
        let sum = checksum(&[&body[..20], b"payload"]);
        body[20..24].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(read(&body, 0), Err(NoRecord::Newer(2)));
    }
}
