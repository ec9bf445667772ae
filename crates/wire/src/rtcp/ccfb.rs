//! Congestion control feedback by RTP stream (RFC 8888 section 3.1).

use std::time::Duration;

use crate::bytes::{read_u16, read_u32};

/// Arrivals older than this are told as "this much or more".
const OFFSET_MAX: u16 = 0x1FFE;
/// The arrival is not known.
const OFFSET_UNKNOWN: u16 = 0x1FFF;
/// Before the first block and after the last.
const SENDER_LEN: usize = 4;
const TIMESTAMP_LEN: usize = 4;
const BLOCK_HEAD: usize = 8;
/// RFC 8888 section 3.1: a block reports on no more packets; more is to be ignored.
const MAX_REPORTS: u16 = 16_384;

/// A parsed report. Its blocks are known to be complete.
#[derive(Clone, Debug)]
pub struct CongestionFeedback<'a> {
    /// Who reports.
    pub sender: u32,
    /// When it was made, on the reporter's clock: the middle 32 bits of an NTP timestamp (1/65,536 s, wraps after 18 hours).
    pub timestamp: u32,
    blocks: &'a [u8],
}

impl<'a> CongestionFeedback<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        let end = body.len().checked_sub(TIMESTAMP_LEN)?;
        let blocks = body.get(SENDER_LEN..end)?;
        let feedback = Self { sender: read_u32(body, 0)?, timestamp: read_u32(body, end)?, blocks };
        let mut rest = blocks;
        while !rest.is_empty() {
            (_, rest) = FeedbackBlock::split(rest)?;
        }
        Some(feedback)
    }

    /// One block per stream, in the order of the packet.
    pub fn blocks(&self) -> FeedbackBlocks<'a> {
        FeedbackBlocks { rest: self.blocks }
    }
}

/// Iterator over the blocks of a report.
#[derive(Clone, Debug)]
pub struct FeedbackBlocks<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for FeedbackBlocks<'a> {
    type Item = FeedbackBlock<'a>;

    fn next(&mut self) -> Option<FeedbackBlock<'a>> {
        let (block, rest) = FeedbackBlock::split(self.rest)?;
        self.rest = rest;
        Some(block)
    }
}

/// What a report says of one stream.
#[derive(Clone, Debug)]
pub struct FeedbackBlock<'a> {
    /// The stream.
    pub ssrc: u32,
    /// RTP sequence number of the first report.
    pub base_sequence: u16,
    reports: &'a [u8],
}

impl<'a> FeedbackBlock<'a> {
    fn split(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let count = read_u16(bytes, 6)?;
        if count > MAX_REPORTS {
            return None;
        }
        let reports = usize::from(count) * 2;
        // Padded to 32 bits.
        let (block, rest) = bytes.split_at_checked(BLOCK_HEAD + reports.next_multiple_of(4))?;
        let reports = block.get(BLOCK_HEAD..BLOCK_HEAD + reports)?;
        Some((Self { ssrc: read_u32(block, 0)?, base_sequence: read_u16(block, 4)?, reports }, rest))
    }

    /// One report per packet; two bytes of the packet each.
    pub fn reports(&self) -> FeedbackReports<'a> {
        FeedbackReports { reports: self.reports, sequence: self.base_sequence }
    }
}

/// What became of one packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FeedbackReport {
    /// Its RTP sequence number.
    pub sequence: u16,
    /// It has arrived.
    pub received: bool,
    /// How long before the report's timestamp it arrived, in 1/1,024 s; at most 8 s are told. `None`: not known.
    pub age: Option<u16>,
    /// Its ECN bits on arrival (RFC 3168 section 5).
    pub ecn: u8,
}

impl FeedbackReport {
    /// [`Self::age`] as time.
    pub fn age(&self) -> Option<Duration> {
        self.age.map(|age| Duration::from_micros(u64::from(age) * 1_000_000 / 1_024))
    }
}

/// Iterator over the reports of a block.
#[derive(Clone, Debug)]
pub struct FeedbackReports<'a> {
    reports: &'a [u8],
    sequence: u16,
}

impl Iterator for FeedbackReports<'_> {
    type Item = FeedbackReport;

    fn next(&mut self) -> Option<FeedbackReport> {
        let (word, rest) = self.reports.split_first_chunk::<2>()?;
        self.reports = rest;
        let word = u16::from_be_bytes(*word);
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        let received = word & 0x8000 != 0;
        let offset = word & OFFSET_UNKNOWN;
        Some(FeedbackReport {
            sequence,
            received,
            age: (received && offset <= OFFSET_MAX).then_some(offset),
            ecn: if received { (word >> 13) as u8 & 3 } else { 0 },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Packet, packets};
    use super::*;

    /// RFC 8888 figure 1 with one block of three reports, padded.
    fn packet() -> Vec<u8> {
        let mut packet = vec![0x8B, 205, 0, 6];
        packet.extend([0, 0, 0, 1]);
        packet.extend([0, 0, 0, 7, 0xFF, 0xFF, 0, 3]);
        packet.extend([0x84, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0, 0]);
        packet.extend([0x12, 0x34, 0x56, 0x78]);
        packet
    }

    #[test]
    fn a_report_is_read_and_its_numbers_wrap() {
        let bytes = packet();
        let Some(Packet::CongestionFeedback(feedback)) = packets(&bytes).next() else {
            panic!("not read");
        };
        assert_eq!((feedback.sender, feedback.timestamp), (1, 0x1234_5678));
        let blocks: Vec<_> = feedback.blocks().collect();
        assert_eq!((blocks.len(), blocks[0].ssrc), (1, 7));
        let reports: Vec<_> = blocks[0].reports().collect();
        let missing = FeedbackReport { sequence: 0, received: false, age: None, ecn: 0 };
        assert_eq!(
            reports,
            [
                FeedbackReport { sequence: 65_535, received: true, age: Some(1_024), ecn: 0 },
                missing,
                FeedbackReport { sequence: 1, received: true, age: None, ecn: 3 },
            ]
        );
        assert_eq!(reports[0].age(), Some(Duration::from_secs(1)));
    }

    #[test]
    fn a_report_that_is_cut_or_claims_too_much_is_malformed() {
        let whole = packet();
        for claimed in [5, 7, 100, 16_385, 65_535u16] {
            let mut bytes = whole.clone();
            bytes[14..16].copy_from_slice(&claimed.to_be_bytes());
            assert!(matches!(packets(&bytes).next(), Some(Packet::Malformed)), "{claimed}");
        }
        let no_blocks = [0x8B, 205, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2];
        assert!(matches!(packets(&no_blocks).next(), Some(Packet::CongestionFeedback(_))));
        let too_short = [0x8B, 205, 0, 1, 0, 0, 0, 1];
        assert!(matches!(packets(&too_short).next(), Some(Packet::Malformed)));
    }
}
