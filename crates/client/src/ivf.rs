//! IVF, the simplest file of video frames: VP8 of `ffmpeg`, `vpxenc` and browsers' recorders goes in and out.
//!
//! ```
//! use client::ivf::{Frame, Header, read, write_frame, write_header};
//!
//! let header = Header { codec: *b"VP80", width: 320, height: 180, rate: 30, scale: 1 };
//! let mut file = Vec::new();
//! write_header(&mut file, &header)?;
//! write_frame(&mut file, 7, b"an encoded picture")?;
//! let (read_header, frames) = read(&file)?;
//! assert_eq!(read_header, header);
//! assert_eq!(frames, [Frame { time: 7, payload: b"an encoded picture" }]);
//! # Ok::<(), std::io::Error>(())
//! ```

use std::io::{self, Write};

const HEADER_LEN: usize = 32;
const FRAME_HEADER_LEN: usize = 12;

/// What is in a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Four letters: `VP80`, `H264`, …
    pub codec: [u8; 4],
    /// Pixels.
    pub width: u16,
    /// Pixels.
    pub height: u16,
    /// Units of time in `scale` seconds.
    pub rate: u32,
    /// See `rate`.
    pub scale: u32,
}

/// A frame of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame<'a> {
    /// When it is shown, in units of `scale / rate` seconds.
    pub time: u64,
    /// The encoded picture.
    pub payload: &'a [u8],
}

/// Reads a whole file. Of a frame that is cut off nothing is read.
///
/// # Errors
/// It is no IVF file, or its unit of time is 0.
pub fn read(file: &[u8]) -> io::Result<(Header, Vec<Frame<'_>>)> {
    let bad = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    let (head, _) = file.split_first_chunk::<HEADER_LEN>().ok_or_else(|| bad("it is too short for IVF"))?;
    if &head[..4] != b"DKIF" {
        return Err(bad("it does not begin like an IVF file, with DKIF"));
    }
    let u16_at = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
    let u32_at = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let header = Header {
        codec: [head[8], head[9], head[10], head[11]],
        width: u16_at(12),
        height: u16_at(14),
        rate: u32_at(16),
        scale: u32_at(20),
    };
    if header.rate == 0 || header.scale == 0 {
        return Err(bad("its unit of time is 0"));
    }
    let mut rest = file.get(usize::from(u16_at(6))..).unwrap_or_default();
    let mut frames = Vec::new();
    while let Some((frame, after)) = next(rest) {
        frames.push(frame);
        rest = after;
    }
    Ok((header, frames))
}

fn next(rest: &[u8]) -> Option<(Frame<'_>, &[u8])> {
    let (head, after) = rest.split_first_chunk::<FRAME_HEADER_LEN>()?;
    let (len, time) = head.split_first_chunk::<4>()?;
    let len = u32::from_le_bytes(*len) as usize;
    let time = u64::from_le_bytes(time.try_into().ok()?);
    let (payload, rest) = after.split_at_checked(len)?;
    Some((Frame { time, payload }, rest))
}

/// Writes what comes first. The number of frames is left 0, which readers take as unknown.
///
/// # Errors
/// Those of the file.
pub fn write_header(out: &mut impl Write, header: &Header) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(HEADER_LEN);
    bytes.extend_from_slice(b"DKIF");
    bytes.extend_from_slice(&0u16.to_le_bytes());
    bytes.extend_from_slice(&(HEADER_LEN as u16).to_le_bytes());
    bytes.extend_from_slice(&header.codec);
    bytes.extend_from_slice(&header.width.to_le_bytes());
    bytes.extend_from_slice(&header.height.to_le_bytes());
    bytes.extend_from_slice(&header.rate.to_le_bytes());
    bytes.extend_from_slice(&header.scale.to_le_bytes());
    bytes.extend_from_slice(&[0; 8]);
    out.write_all(&bytes)
}

/// Writes a frame.
///
/// # Errors
/// Those of the file; a frame of 4 GiB or more.
pub fn write_frame(out: &mut impl Write, time: u64, payload: &[u8]) -> io::Result<()> {
    let len = u32::try_from(payload.len()).map_err(io::Error::other)?;
    out.write_all(&len.to_le_bytes())?;
    out.write_all(&time.to_le_bytes())?;
    out.write_all(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_cut_off_ends_with_its_last_whole_frame() {
        let header = Header { codec: *b"VP80", width: 1, height: 2, rate: 30, scale: 1 };
        let mut file = Vec::new();
        write_header(&mut file, &header).expect("memory");
        write_frame(&mut file, 0, &[1; 10]).expect("memory");
        write_frame(&mut file, 1, &[2; 10]).expect("memory");
        for cut in 0..22 {
            let (_, frames) = read(&file[..file.len() - cut]).expect("it has a header");
            assert_eq!(frames.len(), if cut == 0 { 2 } else { 1 }, "{cut} bytes less");
        }
    }

    #[test]
    fn what_is_no_ivf_is_an_error() {
        let mut file = Vec::new();
        let header = Header { codec: *b"VP80", width: 1, height: 2, rate: 0, scale: 1 };
        write_header(&mut file, &header).expect("memory");
        assert!(read(&file).is_err(), "a rate of 0");
        assert!(read(b"RIFF").is_err());
        assert!(read(&[b'x'; 64]).is_err());
    }
}
