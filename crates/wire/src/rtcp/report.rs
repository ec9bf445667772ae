//! Sender and receiver reports, source descriptions, goodbyes (RFC 3550 section 6.4 to 6.6).

use base::NtpTime;

use crate::bytes::{read_u8, read_u24, read_u32, read_u64};

const BLOCK_LEN: usize = 24;

/// A sender report.
#[derive(Clone, Debug)]
pub struct SenderReport<'a> {
    /// The stream it describes.
    pub ssrc: u32,
    /// Wall clock of the sender.
    pub ntp: NtpTime,
    /// The RTP time at that moment.
    pub rtp: u32,
    /// Packets sent since the stream began, modulo 2^32.
    pub packets: u32,
    /// Payload bytes sent since the stream began, modulo 2^32.
    pub octets: u32,
    /// What the sender receives.
    pub reports: ReportBlocks<'a>,
}

impl<'a> SenderReport<'a> {
    pub(super) fn parse(count: u8, body: &'a [u8]) -> Option<Self> {
        Some(Self {
            ssrc: read_u32(body, 0)?,
            ntp: NtpTime(read_u64(body, 4)?),
            rtp: read_u32(body, 12)?,
            packets: read_u32(body, 16)?,
            octets: read_u32(body, 20)?,
            reports: ReportBlocks::parse(count, body.get(24..)?)?,
        })
    }
}

/// A receiver report.
#[derive(Clone, Debug)]
pub struct ReceiverReport<'a> {
    /// Who reports.
    pub ssrc: u32,
    /// What it receives.
    pub reports: ReportBlocks<'a>,
}

impl<'a> ReceiverReport<'a> {
    pub(super) fn parse(count: u8, body: &'a [u8]) -> Option<Self> {
        Some(Self { ssrc: read_u32(body, 0)?, reports: ReportBlocks::parse(count, body.get(4..)?)? })
    }
}

/// How one stream is received.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ReportBlock {
    /// The stream.
    pub ssrc: u32,
    /// Share lost since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Lost since the beginning, less duplicates: 24 bits, signed.
    pub cumulative_lost: i32,
    /// Highest sequence number received; the upper 16 bits count wraps.
    pub highest_sequence: u32,
    /// Interarrival jitter in timestamp units.
    pub jitter: u32,
    /// Middle 32 bits of the NTP time of the last sender report; 0 = none yet.
    pub last_sender_report: u32,
    /// Time between that report and this one, in 1/65,536 s.
    pub delay: u32,
}

impl ReportBlock {
    fn parse(bytes: &[u8]) -> Option<Self> {
        // Sign-extends 24 bits.
        let cumulative_lost = (read_u24(bytes, 5)? << 8) as i32 >> 8;
        Some(Self {
            ssrc: read_u32(bytes, 0)?,
            fraction_lost: read_u8(bytes, 4)?,
            cumulative_lost,
            highest_sequence: read_u32(bytes, 8)?,
            jitter: read_u32(bytes, 12)?,
            last_sender_report: read_u32(bytes, 16)?,
            delay: read_u32(bytes, 20)?,
        })
    }

    pub(super) fn to_bytes(self) -> [u8; BLOCK_LEN] {
        let mut bytes = [0; BLOCK_LEN];
        bytes[..4].copy_from_slice(&self.ssrc.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.cumulative_lost.clamp(-0x80_0000, 0x7F_FFFF).to_be_bytes());
        bytes[4] = self.fraction_lost;
        bytes[8..12].copy_from_slice(&self.highest_sequence.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.jitter.to_be_bytes());
        bytes[16..20].copy_from_slice(&self.last_sender_report.to_be_bytes());
        bytes[20..].copy_from_slice(&self.delay.to_be_bytes());
        bytes
    }
}

/// Iterator over the report blocks of a report.
#[derive(Clone, Debug)]
pub struct ReportBlocks<'a> {
    rest: &'a [u8],
}

impl<'a> ReportBlocks<'a> {
    /// Profile-specific extensions may follow the blocks; they are not read.
    fn parse(count: u8, bytes: &'a [u8]) -> Option<Self> {
        Some(Self { rest: bytes.get(..usize::from(count) * BLOCK_LEN)? })
    }
}

impl Iterator for ReportBlocks<'_> {
    type Item = ReportBlock;

    fn next(&mut self) -> Option<ReportBlock> {
        let (block, rest) = self.rest.split_at_checked(BLOCK_LEN)?;
        self.rest = rest;
        ReportBlock::parse(block)
    }
}

/// Source descriptions. Only canonical names are read.
#[derive(Clone, Debug)]
pub struct SourceDescription<'a> {
    chunks: u8,
    body: &'a [u8],
}

const SDES_CNAME: u8 = 1;

impl<'a> SourceDescription<'a> {
    pub(super) fn parse(chunks: u8, body: &'a [u8]) -> Self {
        Self { chunks, body }
    }

    /// SSRCs with their canonical name, as far as the packet is well formed.
    pub fn cnames(&self) -> impl Iterator<Item = (u32, &'a [u8])> {
        let mut at = 0;
        let body = self.body;
        (0..self.chunks).map_while(move |_| next_chunk(body, &mut at)).flatten()
    }
}

/// Moves `at` behind the chunk. Outer `None`: cut off; inner `None`: the chunk has no canonical name.
fn next_chunk<'a>(body: &'a [u8], at: &mut usize) -> Option<Option<(u32, &'a [u8])>> {
    let ssrc = read_u32(body, *at)?;
    let mut place = *at + 4;
    let mut cname = None;
    loop {
        let kind = *body.get(place)?;
        if kind == 0 {
            // The list ends with at least one zero and fills up to a whole word.
            *at = (place + 1).next_multiple_of(4);
            return Some(cname.map(|name| (ssrc, name)));
        }
        let len = usize::from(*body.get(place + 1)?);
        let text = body.get(place + 2..place + 2 + len)?;
        if kind == SDES_CNAME {
            cname = Some(text);
        }
        place += 2 + len;
    }
}

/// A goodbye.
#[derive(Clone, Debug)]
pub struct Bye<'a> {
    /// The streams that ended.
    pub ssrcs: Ssrcs<'a>,
    /// Why, when said.
    pub reason: Option<&'a [u8]>,
}

impl<'a> Bye<'a> {
    pub(super) fn parse(count: u8, body: &'a [u8]) -> Option<Self> {
        let (ssrcs, rest) = body.split_at_checked(usize::from(count) * 4)?;
        let reason = rest.first().and_then(|len| rest.get(1..1 + usize::from(*len)));
        Some(Self { ssrcs: Ssrcs { rest: ssrcs }, reason })
    }
}

/// Iterator over a list of SSRCs.
#[derive(Clone, Debug)]
pub struct Ssrcs<'a> {
    pub(super) rest: &'a [u8],
}

impl Iterator for Ssrcs<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let (ssrc, rest) = self.rest.split_first_chunk::<4>()?;
        self.rest = rest;
        Some(u32::from_be_bytes(*ssrc))
    }
}
