//! The bytes of a segment: a head, then frames. All numbers are little-endian; all checksums are CRC-32C (RFC 3720 appendix B.4).
//!
//! ```text
//! head    magic "STOAQUE1" (8) | number of the segment (8) | first entry that it may hold (8) | checksum of these (4)
//! frame   magic "STQF" (4) | length of the body (4) | checksum (4) | body: records
//! record  kind (1) | number (8) | length of the payload (4) | checksum of these and the payload (4) | payload
//! ```
//!
//! A frame is what one commit wrote. Its checksum covers the segment's number and the frame's place, too, so that no bytes but those
//! that were written there for it are taken for it. The `1` in the head's magic is the version of the format.

use std::ops::Range;

use crc::{CRC_32_ISCSI, Crc};

static CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

const HEAD_MAGIC: &[u8; 8] = b"STOAQUE1";
const FRAME_MAGIC: &[u8; 4] = b"STQF";
/// Bytes of a segment's head.
pub(crate) const HEAD: usize = 28;
/// Bytes before the body of a frame.
pub(crate) const FRAME: usize = 12;
/// Bytes before the payload of a record.
pub(crate) const RECORD: usize = 17;
/// Longest body of a frame. Recovery has one in memory.
pub(crate) const MAX_BODY: usize = 64 << 20;

/// What a record says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// There is an entry of this number.
    Entry,
    /// The entry of this number is done with.
    Finished,
}

/// A record in the body of a frame.
pub(crate) struct Record {
    pub kind: Kind,
    pub number: u64,
    /// Where its payload is in the body.
    pub payload: Range<usize>,
}

/// The head of a segment.
pub(crate) fn head(segment: u64, first: u64) -> [u8; HEAD] {
    let mut out = [0; HEAD];
    out[..8].copy_from_slice(HEAD_MAGIC);
    out[8..16].copy_from_slice(&segment.to_le_bytes());
    out[16..24].copy_from_slice(&first.to_le_bytes());
    let sum = CRC.checksum(&out[..24]);
    out[24..].copy_from_slice(&sum.to_le_bytes());
    out
}

/// The first entry that the segment may hold; `None`: this is no head of this segment.
pub(crate) fn read_head(bytes: &[u8], segment: u64) -> Option<u64> {
    let first = u64_at(bytes, 16)?;
    (bytes.get(..HEAD)? == head(segment, first)).then_some(first)
}

/// Adds a record to the body of a frame. Returns where in it the payload is.
pub(crate) fn push_record(body: &mut Vec<u8>, kind: Kind, number: u64, payload: &[u8]) -> Range<usize> {
    let start = body.len();
    body.push(match kind {
        Kind::Entry => 1,
        Kind::Finished => 2,
    });
    body.extend_from_slice(&number.to_le_bytes());
    body.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    let sum = record_sum(&body[start..], payload);
    body.extend_from_slice(&sum.to_le_bytes());
    body.extend_from_slice(payload);
    start + RECORD..body.len()
}

/// The whole frame around a body that will stand at `offset` of its segment.
pub(crate) fn frame(segment: u64, offset: u64, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(FRAME + body.len());
    out.extend_from_slice(FRAME_MAGIC);
    out.extend_from_slice(&(body.len() as u32).to_le_bytes());
    out.extend_from_slice(&frame_sum(segment, offset, body).to_le_bytes());
    out.extend_from_slice(body);
    out
}

/// The body of the frame that stands at `at` in the segment's bytes; `None`: none that is whole.
pub(crate) fn read_frame(segment: u64, bytes: &[u8], at: usize) -> Option<&[u8]> {
    let head = bytes.get(at..at + FRAME)?;
    let length = u32_at(head, 4)? as usize;
    if &head[..4] != FRAME_MAGIC || length > MAX_BODY {
        return None;
    }
    let body = bytes.get(at + FRAME..at + FRAME + length)?;
    (u32_at(head, 8)? == frame_sum(segment, at as u64, body)).then_some(body)
}

/// Is there a whole frame at `from` or anywhere behind?
pub(crate) fn any_frame(segment: u64, bytes: &[u8], from: usize) -> bool {
    let places = from..bytes.len().saturating_sub(FRAME - 1);
    places
        .into_iter()
        .any(|at| bytes[at..].starts_with(FRAME_MAGIC) && read_frame(segment, bytes, at).is_some())
}

/// The record at `at` of a body. `None`: damaged.
pub(crate) fn read_record(body: &[u8], at: usize) -> Option<Record> {
    let head = body.get(at..at + RECORD)?;
    let kind = match head[0] {
        1 => Kind::Entry,
        2 => Kind::Finished,
        _ => return None,
    };
    let start = at + RECORD;
    let payload = start..start + u32_at(head, 9)? as usize;
    let is_whole = u32_at(head, 13)? == record_sum(&head[..13], body.get(payload.clone())?);
    is_whole.then_some(Record { kind, number: u64_at(head, 1)?, payload })
}

fn frame_sum(segment: u64, offset: u64, body: &[u8]) -> u32 {
    let mut digest = CRC.digest();
    digest.update(&segment.to_le_bytes());
    digest.update(&offset.to_le_bytes());
    digest.update(&(body.len() as u32).to_le_bytes());
    digest.update(body);
    digest.finalize()
}

fn record_sum(head: &[u8], payload: &[u8]) -> u32 {
    let mut digest = CRC.digest();
    digest.update(head);
    digest.update(payload);
    digest.finalize()
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}
