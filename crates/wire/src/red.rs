//! Redundant audio (RFC 2198): one payload with the newest frame and copies of earlier ones.
//!
//! ```text
//!  F PT(7) | timestamp offset(14) | block length(10)   once for each redundant block, F = 1
//!  0 PT(7)                                             of the primary block
//!  redundant blocks, in the order of their headers, then the primary block
//! ```

use std::ops::Range;

use crate::bytes::{read_u8, read_u32};

/// A redundant block's header.
const HEADER_LEN: usize = 4;
/// The primary block's header.
const LAST_HEADER_LEN: usize = 1;
const MORE: u8 = 0x80;
const PAYLOAD_TYPE: u8 = 0x7F;

/// What the headers of a payload tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Red {
    /// Redundant blocks.
    pub redundant: usize,
    /// Payload type of the primary block, in the sender's numbering.
    pub payload_type: u8,
    /// Where the primary block begins; it goes on to the end of the payload, and is not empty.
    pub primary: usize,
}

/// An earlier frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Block {
    /// Its payload type, in the sender's numbering.
    pub payload_type: u8,
    /// So many ticks before the packet's timestamp, below 2^14.
    pub offset: u16,
    /// Where it lies in the payload, at most 1,023 bytes long.
    pub range: Range<usize>,
}

impl Red {
    /// `None`: headers or blocks are cut off, or there is no primary block.
    #[inline]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let (mut at, mut redundant, mut blocks) = (0, 0, 0);
        loop {
            let first = read_u8(payload, at)?;
            if first & MORE == 0 {
                let primary = at + LAST_HEADER_LEN + blocks;
                let whole = primary < payload.len();
                return whole.then_some(Self { redundant, payload_type: first, primary });
            }
            blocks += (read_u32(payload, at)? & 0x3FF) as usize;
            redundant += 1;
            at += HEADER_LEN;
        }
    }

    /// The redundant blocks of the payload that this was parsed from, oldest first as senders write them.
    pub fn blocks(self, payload: &[u8]) -> impl Iterator<Item = Block> {
        let mut start = self.redundant * HEADER_LEN + LAST_HEADER_LEN;
        (0..self.redundant).map_while(move |block| {
            let header = read_u32(payload, block * HEADER_LEN)?;
            let range = start..start + (header & 0x3FF) as usize;
            start = range.end;
            let payload_type = (header >> 24) as u8 & PAYLOAD_TYPE;
            Some(Block { payload_type, offset: (header >> 10 & 0x3FFF) as u16, range })
        })
    }
}

/// Gives all blocks the payload type, 0..=127, that their codec has for the receiver. A payload that is cut off is
/// changed as far as it goes.
#[inline]
pub fn set_payload_type(payload: &mut [u8], payload_type: u8) {
    let mut at = 0;
    while let Some(first) = payload.get_mut(at) {
        let more = *first & MORE;
        *first = more | payload_type & PAYLOAD_TYPE;
        if more == 0 {
            return;
        }
        at += HEADER_LEN;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Rng, damaged};

    /// As its sender writes it: earlier frames with their offsets, then the newest.
    fn payload(earlier: &[(u16, &[u8])], newest: &[u8]) -> Vec<u8> {
        let mut payload = Vec::new();
        for (offset, block) in earlier {
            let header = 0x8000_0000 | 111 << 24 | u32::from(*offset) << 10 | block.len() as u32;
            payload.extend(header.to_be_bytes());
        }
        payload.push(111);
        earlier.iter().for_each(|(_, block)| payload.extend_from_slice(block));
        payload.extend_from_slice(newest);
        payload
    }

    #[test]
    fn the_primary_block_is_the_last_and_the_redundant_ones_come_before_it() {
        let bytes = payload(&[(1_920, b"old"), (960, b"newer")], b"newest");
        let red = Red::parse(&bytes).expect("whole");
        assert_eq!((red.redundant, red.payload_type), (2, 111));
        assert_eq!(&bytes[red.primary..], b"newest");
        let blocks: Vec<_> = red.blocks(&bytes).map(|block| (block.offset, &bytes[block.range])).collect();
        assert_eq!(blocks, [(1_920, &b"old"[..]), (960, &b"newer"[..])]);
        let alone = payload(&[], b"x");
        assert_eq!(Red::parse(&alone), Some(Red { redundant: 0, payload_type: 111, primary: 1 }));
    }

    #[test]
    fn an_empty_redundant_block_is_a_block() {
        let bytes = payload(&[(960, b"")], b"newest");
        let red = Red::parse(&bytes).expect("whole");
        assert_eq!((red.redundant, &bytes[red.primary..]), (1, &b"newest"[..]));
    }

    #[test]
    fn lengths_that_do_not_add_up_are_malformed() {
        let good = payload(&[(960, &[7; 100])], b"n");
        assert!(Red::parse(&good).is_some());
        for len in 0..good.len() {
            assert_eq!(Red::parse(&good[..len]), None, "cut at {len}");
        }
        assert_eq!(Red::parse(&payload(&[(960, b"old")], b"")), None, "no primary block");
        assert_eq!(Red::parse(&[0xFF; 1_500]), None, "headers without end");
        assert_eq!(Red::parse(&[0x80, 0, 0x03, 0xFF, 111, 1, 2, 3]), None, "longer than the payload");
    }

    #[test]
    fn all_blocks_get_the_receivers_payload_type_and_nothing_else_changes() {
        let mut bytes = payload(&[(1_920, b"old"), (960, b"newer")], b"newest");
        let before = bytes.clone();
        set_payload_type(&mut bytes, 96);
        let red = Red::parse(&bytes).expect("whole");
        assert_eq!(red.payload_type, 96);
        assert!(red.blocks(&bytes).all(|block| block.payload_type == 96));
        set_payload_type(&mut bytes, 111);
        assert_eq!(bytes, before);
        set_payload_type(&mut [], 1);
        set_payload_type(&mut [0x80, 0], 1);
    }

    fn is_sound(bytes: &[u8]) {
        let Some(red) = Red::parse(bytes) else { return };
        assert!(red.primary < bytes.len());
        let blocks: Vec<Block> = red.blocks(bytes).collect();
        assert_eq!(blocks.len(), red.redundant);
        let mut at = red.redundant * HEADER_LEN + LAST_HEADER_LEN;
        for block in blocks {
            assert_eq!(block.range.start, at);
            at = block.range.end;
        }
        assert_eq!(at, red.primary, "blocks lie one behind the other");
    }

    #[test]
    fn any_bytes_are_read_without_harm() {
        let good = payload(&[(1_920, &[1; 40]), (960, &[2; 50])], &[3; 60]);
        damaged(&good, is_sound);
        let mut rng = Rng::new(2_198);
        for _ in 0..20_000 {
            let len = rng.below(80) as usize;
            let mut bytes = rng.bytes(len);
            // Short blocks, so that some of it is whole.
            bytes.iter_mut().step_by(4).skip(1).for_each(|byte| *byte &= 0x8F);
            is_sound(&bytes);
            set_payload_type(&mut bytes, 200);
        }
    }
}
