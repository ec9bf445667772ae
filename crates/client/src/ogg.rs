//! Opus in Ogg (RFC 3533, RFC 7845): what `opusenc`, `ffmpeg` and browsers write as `.opus` or `.ogg`.
//!
//! ```
//! use client::ogg::{Writer, read};
//!
//! let mut writer = Writer::new(Vec::new(), 7, 1)?;
//! let silence = [0xf8, 0xff, 0xfe];
//! writer.packet(&silence, 960)?;
//! let file = writer.finish()?;
//! assert_eq!(read(&file)?, [silence]);
//! # Ok::<(), std::io::Error>(())
//! ```

use std::io::{self, Write};

/// Bytes of a page before its table.
const PAGE_HEADER: usize = 27;
/// The first page of a stream, and its last.
const BEGINS: u8 = 2;
const ENDS: u8 = 4;
/// Most bytes of a packet on one page: 255 entries of at most 255, the last one below that.
const MAX_PACKET: usize = 255 * 255 - 1;

/// The Opus packets of a file, in order, without its two headers. What is damaged at the end is left out.
///
/// # Errors
/// It is no Ogg file with Opus.
pub fn read(file: &[u8]) -> io::Result<Vec<Vec<u8>>> {
    let bad = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    let mut packets: Vec<Vec<u8>> = Vec::new();
    let (mut rest, mut packet) = (file, Vec::new());
    while let Some((table, body, after)) = page(rest) {
        let mut at = 0;
        for len in table {
            packet.extend_from_slice(&body[at..at + usize::from(*len)]);
            at += usize::from(*len);
            // A packet ends with the first entry below 255.
            if *len < 255 {
                packets.push(std::mem::take(&mut packet));
            }
        }
        rest = after;
    }
    match packets.first() {
        None => Err(bad("it does not begin like an Ogg file, with OggS")),
        Some(head) if !head.starts_with(b"OpusHead") => Err(bad("its first stream is not Opus")),
        Some(_) => Ok(packets.split_off(packets.len().min(2))),
    }
}

/// The table of lengths, what they are of, and what follows.
fn page(rest: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (head, after) = rest.split_at_checked(PAGE_HEADER)?;
    if !head.starts_with(b"OggS") {
        return None;
    }
    let (table, after) = after.split_at_checked(usize::from(head[26]))?;
    let len = table.iter().map(|len| usize::from(*len)).sum();
    let (body, after) = after.split_at_checked(len)?;
    Some((table, body, after))
}

/// Samples at 48 kHz that an Opus packet lasts (RFC 6716 section 3.1); 0 of an empty one.
pub fn samples(packet: &[u8]) -> u32 {
    let Some(toc) = packet.first() else { return 0 };
    let config = toc >> 3;
    let frame = match config {
        0..=11 => [480, 960, 1_920, 2_880][usize::from(config & 3)],
        12..=15 => [480, 960][usize::from(config & 1)],
        _ => [120, 240, 480, 960][usize::from(config & 3)],
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(packet.get(1).map_or(0, |count| count & 0x3f)),
    };
    frame * frames
}

/// Writes a file, a page for each packet.
pub struct Writer<W> {
    out: W,
    serial: u32,
    page: u32,
    /// Samples at 48 kHz so far.
    position: u64,
    /// The last packet, which is written when it is known whether another follows.
    last: Option<Vec<u8>>,
}

impl<W: Write> Writer<W> {
    /// Writes the headers. `serial`: any number; `channels`: 1 or 2.
    ///
    /// # Errors
    /// Those of the file.
    pub fn new(out: W, serial: u32, channels: u8) -> io::Result<Self> {
        let mut writer = Self { out, serial, page: 0, position: 0, last: None };
        let mut head = b"OpusHead\x01".to_vec();
        head.push(channels);
        // No samples to skip, 48 kHz, no gain, one stream.
        head.extend_from_slice(&[0, 0, 0x80, 0xbb, 0, 0, 0, 0, 0]);
        writer.write(BEGINS, &head)?;
        let mut tags = b"OpusTags".to_vec();
        tags.extend_from_slice(&4u32.to_le_bytes());
        tags.extend_from_slice(b"stoa");
        tags.extend_from_slice(&[0; 4]);
        writer.write(0, &tags)?;
        Ok(writer)
    }

    /// Adds a packet that lasts so many samples at 48 kHz; [`samples`] knows.
    ///
    /// # Errors
    /// Those of the file; a packet that no page holds (65 kB: Opus has none of 8).
    pub fn packet(&mut self, packet: &[u8], samples: u32) -> io::Result<()> {
        if packet.len() > MAX_PACKET {
            return Err(io::Error::other("the packet is too large for a page"));
        }
        if let Some(before) = self.last.replace(packet.to_vec()) {
            self.write(0, &before)?;
        }
        self.position += u64::from(samples);
        Ok(())
    }

    /// Ends the file and returns what it was written to.
    ///
    /// # Errors
    /// Those of the file.
    pub fn finish(mut self) -> io::Result<W> {
        let last = self.last.take().unwrap_or_default();
        self.write(ENDS, &last)?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn write(&mut self, flags: u8, packet: &[u8]) -> io::Result<()> {
        let full = packet.len() / 255;
        let mut page = b"OggS\0".to_vec();
        page.push(flags);
        page.extend_from_slice(&self.position.to_le_bytes());
        page.extend_from_slice(&self.serial.to_le_bytes());
        page.extend_from_slice(&self.page.to_le_bytes());
        page.extend_from_slice(&[0; 4]);
        page.push(full as u8 + 1);
        page.resize(page.len() + full, 255);
        page.push((packet.len() % 255) as u8);
        page.extend_from_slice(packet);
        let sum = checksum(&page);
        page[22..26].copy_from_slice(&sum.to_le_bytes());
        self.page += 1;
        self.out.write_all(&page)
    }
}

/// CRC-32 with the polynomial 0x04c11db7, not reflected, from 0 (RFC 3533 section 6).
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |sum, byte| {
        (0..8).fold(sum ^ (u32::from(*byte) << 24), |sum, _| {
            if sum & 0x8000_0000 != 0 { (sum << 1) ^ 0x04c1_1db7 } else { sum << 1 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_of_all_lengths_come_back_and_positions_count_samples() {
        let packets: Vec<Vec<u8>> = [0, 1, 254, 255, 256, 510, 1_275].map(|len| vec![9; len]).to_vec();
        let mut writer = Writer::new(Vec::new(), 1, 2).expect("memory");
        for packet in &packets {
            writer.packet(packet, 960).expect("memory");
        }
        let file = writer.finish().expect("memory");
        assert_eq!(read(&file).expect("it is Ogg"), packets);
        let pages: Vec<usize> = (0..file.len()).filter(|at| file[*at..].starts_with(b"OggS")).collect();
        assert_eq!(pages.len(), 2 + packets.len());
        let last = pages[pages.len() - 1];
        assert_eq!(file[last + 5], ENDS);
        assert_eq!(file[last + 6..last + 14], (7 * 960u64).to_le_bytes());
    }

    #[test]
    fn pages_carry_the_checksum_that_readers_expect() {
        // The check value of CRC-32/MPEG-2's polynomial with neither initial value nor final inversion.
        assert_eq!(checksum(b"123456789"), 0x89a1_897f);
    }

    #[test]
    fn durations_are_those_of_the_first_byte() {
        for (packet, wanted) in [
            (&[][..], 0),
            (&[0xf8, 0xff, 0xfe], 960),
            (&[0x48, 1], 960),
            (&[0xfb, 3], 2_880),
            (&[0x01], 960),
            (&[0x60], 480),
            (&[0x80], 120),
        ] {
            assert_eq!(samples(packet), wanted, "{packet:02x?}");
        }
    }

    #[test]
    fn what_is_no_opus_is_an_error_and_a_torn_file_ends_early() {
        assert!(read(b"RIFF").is_err());
        let mut writer = Writer::new(Vec::new(), 1, 1).expect("memory");
        writer.packet(&[1; 300], 960).expect("memory");
        writer.packet(&[2; 300], 960).expect("memory");
        let file = writer.finish().expect("memory");
        assert_eq!(read(&file[..file.len() - 1]).expect("its head is whole").len(), 1);
    }
}
