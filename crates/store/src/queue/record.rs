//! What is in a queue's segments: records in frames.
//!
//! ```text
//! head    magic "STOAQUE", version 1 | number of the segment | first entry that it may hold
//! record  kind (1) | number (8) | length of the payload (4) | checksum of these and the payload (4) | payload
//! ```

use std::ops::Range;

use crate::frame::{Format, checksum, u32_at, u64_at};

/// Segments of a queue.
pub(super) const FORMAT: Format = Format { magic: b"STOAQUE", version: 1 };
/// Bytes before the payload of a record.
pub(super) const RECORD: usize = 17;

/// What a record says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// There is an entry of this number.
    Entry,
    /// The entry of this number is done with.
    Finished,
}

/// A record in the body of a frame.
pub(super) struct Record {
    pub kind: Kind,
    pub number: u64,
    /// Where its payload is in the body.
    pub payload: Range<usize>,
}

/// Adds a record to the body of a frame. Returns where in it the payload is.
pub(super) fn push_record(body: &mut Vec<u8>, kind: Kind, number: u64, payload: &[u8]) -> Range<usize> {
    let start = body.len();
    body.push(match kind {
        Kind::Entry => 1,
        Kind::Finished => 2,
    });
    body.extend_from_slice(&number.to_le_bytes());
    body.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    let sum = checksum(&[&body[start..], payload]);
    body.extend_from_slice(&sum.to_le_bytes());
    body.extend_from_slice(payload);
    start + RECORD..body.len()
}

/// The record at `at` of a body. `None`: damaged.
pub(super) fn read_record(body: &[u8], at: usize) -> Option<Record> {
    let head = body.get(at..at + RECORD)?;
    let kind = match head[0] {
        1 => Kind::Entry,
        2 => Kind::Finished,
        _ => return None,
    };
    let start = at + RECORD;
    let payload = start..start + u32_at(head, 9)? as usize;
    let is_whole = u32_at(head, 13)? == checksum(&[&head[..13], body.get(payload.clone())?]);
    is_whole.then_some(Record { kind, number: u64_at(head, 1)?, payload })
}
