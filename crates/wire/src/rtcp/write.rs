//! Appends RTCP packets to a buffer; several in a row make a compound.

use base::{Bitrate, NtpTime};

use super::feedback::remb_coded;
use super::{
    BYE, FORMAT_APPLICATION, FORMAT_FIR, FORMAT_NACK, FORMAT_PLI, FirEntry, PAYLOAD_FEEDBACK,
    RECEIVER_REPORT, ReportBlock, SENDER_REPORT, SOURCE_DESCRIPTION, TRANSPORT_FEEDBACK,
};

/// The most report blocks in one report.
pub const MAX_BLOCKS: usize = 31;

/// The sender's part of a sender report.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SenderInfo {
    /// The stream.
    pub ssrc: u32,
    /// Wall clock.
    pub ntp: NtpTime,
    /// RTP time of that moment.
    pub rtp: u32,
    /// Packets sent, modulo 2^32.
    pub packets: u32,
    /// Payload bytes sent, modulo 2^32.
    pub octets: u32,
}

/// Appends a sender report; blocks beyond [`MAX_BLOCKS`] are left out.
pub fn write_sender_report(out: &mut Vec<u8>, info: &SenderInfo, blocks: &[ReportBlock]) {
    let blocks = &blocks[..blocks.len().min(MAX_BLOCKS)];
    let start = begin(out, blocks.len() as u8, SENDER_REPORT);
    out.extend_from_slice(&info.ssrc.to_be_bytes());
    out.extend_from_slice(&info.ntp.0.to_be_bytes());
    out.extend_from_slice(&info.rtp.to_be_bytes());
    out.extend_from_slice(&info.packets.to_be_bytes());
    out.extend_from_slice(&info.octets.to_be_bytes());
    write_blocks(out, blocks);
    finish(out, start);
}

/// Appends a receiver report by `ssrc`; blocks beyond [`MAX_BLOCKS`] are left out.
pub fn write_receiver_report(out: &mut Vec<u8>, ssrc: u32, blocks: &[ReportBlock]) {
    let blocks = &blocks[..blocks.len().min(MAX_BLOCKS)];
    let start = begin(out, blocks.len() as u8, RECEIVER_REPORT);
    out.extend_from_slice(&ssrc.to_be_bytes());
    write_blocks(out, blocks);
    finish(out, start);
}

fn write_blocks(out: &mut Vec<u8>, blocks: &[ReportBlock]) {
    for block in blocks {
        out.extend_from_slice(&block.to_bytes());
    }
}

/// Appends a source description with one canonical name, cut at 255 bytes.
pub fn write_sdes(out: &mut Vec<u8>, ssrc: u32, cname: &str) {
    let cname = &cname.as_bytes()[..cname.len().min(255)];
    let start = begin(out, 1, SOURCE_DESCRIPTION);
    out.extend_from_slice(&ssrc.to_be_bytes());
    out.extend_from_slice(&[1, cname.len() as u8]);
    out.extend_from_slice(cname);
    // The list of items ends with at least one zero byte (RFC 3550 section 6.5).
    out.push(0);
    while !(out.len() - start).is_multiple_of(4) {
        out.push(0);
    }
    finish(out, start);
}

/// Appends a goodbye for at most 31 streams.
pub fn write_bye(out: &mut Vec<u8>, ssrcs: &[u32]) {
    let ssrcs = &ssrcs[..ssrcs.len().min(31)];
    let start = begin(out, ssrcs.len() as u8, BYE);
    for ssrc in ssrcs {
        out.extend_from_slice(&ssrc.to_be_bytes());
    }
    finish(out, start);
}

/// Appends a generic NACK for `sequences`, which come in ascending order (modulo 2^16); nothing when there are none.
pub fn write_nack(out: &mut Vec<u8>, sender: u32, media: u32, sequences: impl IntoIterator<Item = u16>) {
    let mut sequences = sequences.into_iter();
    let Some(mut base) = sequences.next() else { return };
    let mut mask = 0u16;
    let start = begin(out, FORMAT_NACK, TRANSPORT_FEEDBACK);
    out.extend_from_slice(&sender.to_be_bytes());
    out.extend_from_slice(&media.to_be_bytes());
    let mut put = |base: u16, mask: u16| {
        out.extend_from_slice(&base.to_be_bytes());
        out.extend_from_slice(&mask.to_be_bytes());
    };
    for sequence in sequences {
        match sequence.wrapping_sub(base) {
            0 => {}
            bit @ 1..=16 => mask |= 1 << (bit - 1),
            _ => {
                put(base, mask);
                (base, mask) = (sequence, 0);
            }
        }
    }
    put(base, mask);
    finish(out, start);
}

/// Appends a picture loss indication.
pub fn write_pli(out: &mut Vec<u8>, sender: u32, media: u32) {
    let start = begin(out, FORMAT_PLI, PAYLOAD_FEEDBACK);
    out.extend_from_slice(&sender.to_be_bytes());
    out.extend_from_slice(&media.to_be_bytes());
    finish(out, start);
}

/// Appends a full intra request.
pub fn write_fir(out: &mut Vec<u8>, sender: u32, entries: &[FirEntry]) {
    let start = begin(out, FORMAT_FIR, PAYLOAD_FEEDBACK);
    out.extend_from_slice(&sender.to_be_bytes());
    // The media SSRC of the common header is unused (RFC 5104 section 4.3.1.2).
    out.extend_from_slice(&[0; 4]);
    for entry in entries {
        out.extend_from_slice(&entry.ssrc.to_be_bytes());
        out.extend_from_slice(&[entry.number, 0, 0, 0]);
    }
    finish(out, start);
}

/// Appends a REMB for at most 255 streams; the bitrate is rounded down to 18 significant bits.
pub fn write_remb(out: &mut Vec<u8>, sender: u32, bitrate: Bitrate, ssrcs: &[u32]) {
    let ssrcs = &ssrcs[..ssrcs.len().min(255)];
    let start = begin(out, FORMAT_APPLICATION, PAYLOAD_FEEDBACK);
    out.extend_from_slice(&sender.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(b"REMB");
    out.extend_from_slice(&((ssrcs.len() as u32) << 24 | remb_coded(bitrate)).to_be_bytes());
    for ssrc in ssrcs {
        out.extend_from_slice(&ssrc.to_be_bytes());
    }
    finish(out, start);
}

/// Appends the common header and returns where the packet begins.
fn begin(out: &mut Vec<u8>, format: u8, packet_type: u8) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0x80 | format & 0x1F, packet_type, 0, 0]);
    start
}

/// Writes the length of the packet that began at `start` and ends here, on a word boundary.
fn finish(out: &mut [u8], start: usize) {
    let words = (out.len() - start) / 4 - 1;
    out[start + 2..start + 4].copy_from_slice(&(words as u16).to_be_bytes());
}

/// Pads the packet that began at `start` to a word boundary, with the P bit, and writes its length.
pub(super) fn finish_padded(out: &mut Vec<u8>, start: usize) {
    let padding = (4 - (out.len() - start) % 4) % 4;
    if padding > 0 {
        out.resize(out.len() + padding, 0);
        if let Some(last) = out.last_mut() {
            *last = padding as u8;
        }
        out[start] |= 0x20;
    }
    finish(out, start);
}
