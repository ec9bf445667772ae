//! The bytes that all files here are made of: a head, then frames, with checksums. All numbers are little-endian; all checksums are
//! CRC-32C (RFC 3720 appendix B.4).
//!
//! ```text
//! head    magic (7) | version of the format, a digit (1) | number of the file (8) | a number that the format gives a meaning (8) |
//!         checksum of these (4)
//! frame   magic "STQF" (4) | length of the body (4) | checksum (4) | body
//! ```
//!
//! A frame is what one commit wrote. Its checksum covers the file's number and the frame's place, too, so that no bytes but those
//! that were written there for it are taken for it. What the body holds is the format's.

use std::io;

use crc::{CRC_32_ISCSI, Crc, Digest, Table};

/// Sixteen bytes a step: reading a store at its start is bound by this.
static CRC: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

const FRAME_MAGIC: &[u8; 4] = b"STQF";
/// Bytes of a file's head.
pub(crate) const HEAD: usize = 28;
/// Bytes before the body of a frame.
pub(crate) const FRAME: usize = 12;
/// Longest body of a frame. Recovery has one in memory.
pub(crate) const MAX_BODY: usize = 64 << 20;

/// A kind of file.
pub(crate) struct Format {
    /// The first bytes of its head.
    pub magic: &'static [u8; 7],
    /// The version that is written, and the newest that is understood.
    pub version: u8,
}

/// What the beginning of a file says.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Head {
    /// It is a head of this file; this is its second number.
    Good(u64),
    /// It is one of a version that this code does not know. Every version keeps the head's layout, so that this can be told apart
    /// from damage.
    Newer(u8),
    /// It is none.
    Bad,
}

impl Format {
    /// The head of a file.
    pub fn head(&self, number: u64, second: u64) -> [u8; HEAD] {
        self.head_of_version(self.version, number, second)
    }

    /// What stands at the beginning of `bytes`, which should be of the file with this number.
    pub fn read_head(&self, bytes: &[u8], number: u64) -> Head {
        let (Some(head), Some(second)) = (bytes.get(..HEAD), u64_at(bytes, 16)) else { return Head::Bad };
        let version = head[7].wrapping_sub(b'0');
        if version > 9 || head != self.head_of_version(version, number, second) {
            return Head::Bad;
        }
        if version > self.version { Head::Newer(version) } else { Head::Good(second) }
    }

    fn head_of_version(&self, version: u8, number: u64, second: u64) -> [u8; HEAD] {
        let mut out = [0; HEAD];
        out[..7].copy_from_slice(self.magic);
        out[7] = b'0' + version;
        out[8..16].copy_from_slice(&number.to_le_bytes());
        out[16..24].copy_from_slice(&second.to_le_bytes());
        let sum = checksum(&[&out[..24]]);
        out[24..].copy_from_slice(&sum.to_le_bytes());
        out
    }
}

/// The whole frame around a body that will stand at `offset` of its file.
pub(crate) fn frame(file: u64, offset: u64, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(FRAME + body.len());
    out.extend_from_slice(FRAME_MAGIC);
    out.extend_from_slice(&(body.len() as u32).to_le_bytes());
    out.extend_from_slice(&frame_sum(file, offset, body).to_le_bytes());
    out.extend_from_slice(body);
    out
}

/// The body of the frame that stands at `at` in the file's bytes; `None`: none that is whole.
pub(crate) fn read_frame(file: u64, bytes: &[u8], at: usize) -> Option<&[u8]> {
    let bytes = bytes.get(at..)?;
    read_frame_at(file, at as u64, bytes.get(..frame_size(bytes)?)?)
}

/// How many bytes the frame takes whose first [`FRAME`] these are. `None`: it is none.
pub(crate) fn frame_size(head: &[u8]) -> Option<usize> {
    let length = u32_at(head, 4)? as usize;
    (head.starts_with(FRAME_MAGIC) && length <= MAX_BODY).then_some(FRAME + length)
}

/// The body of a frame that stands at `offset` of the file; `None`: it is not as it was written.
pub(crate) fn read_frame_at(file: u64, offset: u64, frame: &[u8]) -> Option<&[u8]> {
    let body = frame.get(FRAME..)?;
    (u32_at(frame, 8)? == frame_sum(file, offset, body)).then_some(body)
}

/// Bytes that the search for a frame may take checksums of: several frames of the longest kind.
const SEARCH: usize = 4 * MAX_BODY;

/// Is there a whole frame at `from` or anywhere behind? Also when that would take too long to say, which is when somebody has filled
/// what he sent with beginnings of frames: then nothing is cut off that may have been committed.
pub(crate) fn any_frame(file: u64, bytes: &[u8], from: usize) -> bool {
    let mut left = SEARCH;
    for at in from..bytes.len().saturating_sub(FRAME - 1) {
        let Some(frame) = frame_size(&bytes[at..]).and_then(|size| bytes[at..].get(..size)) else { continue };
        let Some(rest) = left.checked_sub(frame.len()) else { return true };
        left = rest;
        if read_frame_at(file, at as u64, frame).is_some() {
            return true;
        }
    }
    false
}

/// The checksum of several pieces in a row.
pub(crate) fn checksum(pieces: &[&[u8]]) -> u32 {
    let mut digest = digest();
    pieces.iter().for_each(|piece| digest.update(piece));
    digest.finalize()
}

/// A checksum that is made piece by piece.
pub(crate) fn digest() -> Digest<'static, u32, Table<16>> {
    CRC.digest()
}

fn frame_sum(file: u64, offset: u64, body: &[u8]) -> u32 {
    checksum(&[&file.to_le_bytes(), &offset.to_le_bytes(), &(body.len() as u32).to_le_bytes(), body])
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// The file of a segment. Names sort as numbers do.
pub(crate) fn name(segment: u64) -> String {
    format!("{segment:020}.seg")
}

/// The number of the segment in a file of this name. `None`: it is not one.
pub(crate) fn number_of(name: &str) -> Option<u64> {
    name.strip_suffix(".seg").filter(|digits| digits.len() == 20)?.parse().ok()
}

/// An empty file of this name; one that was left half made is replaced.
pub(crate) fn create<D: crate::Disk>(disk: &mut D, name: &str) -> io::Result<D::File> {
    match disk.create(name) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            disk.remove(name)?;
            disk.create(name)
        }
        other => other,
    }
}

/// All that is in a file.
pub(crate) fn read_all<F: crate::File>(file: &mut F) -> io::Result<Vec<u8>> {
    let size = usize::try_from(file.size()?).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut bytes = vec![0; size];
    file.read_at(0, &mut bytes)?;
    Ok(bytes)
}
