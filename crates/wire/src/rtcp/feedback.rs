//! NACK, FIR and REMB.

use base::Bitrate;

use super::Ssrcs;
use crate::bytes::{read_u8, read_u24, read_u32};

/// Generic NACK (RFC 4585 section 6.2.1).
#[derive(Clone, Debug)]
pub struct Nack<'a> {
    /// Who asks.
    pub sender: u32,
    /// Of which stream.
    pub media: u32,
    entries: &'a [u8],
}

impl<'a> Nack<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        let entries = body.get(8..).filter(|entries| !entries.is_empty() && entries.len() % 4 == 0)?;
        Some(Self { sender: read_u32(body, 0)?, media: read_u32(body, 4)?, entries })
    }

    /// The sequence numbers asked for, in the order of the packet; at most 17 per four bytes of it.
    pub fn sequences(&self) -> NackSequences<'a> {
        NackSequences { entries: self.entries, base: 0, mask: 0 }
    }
}

/// Iterator over the sequence numbers of a NACK.
#[derive(Clone, Debug)]
pub struct NackSequences<'a> {
    entries: &'a [u8],
    base: u16,
    mask: u16,
}

impl Iterator for NackSequences<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        if self.mask == 0 {
            let ([p0, p1, m0, m1], rest) = self.entries.split_first_chunk::<4>()?;
            self.entries = rest;
            self.base = u16::from_be_bytes([*p0, *p1]);
            self.mask = u16::from_be_bytes([*m0, *m1]);
            return Some(self.base);
        }
        let bit = self.mask.trailing_zeros() as u16;
        self.mask &= self.mask - 1;
        Some(self.base.wrapping_add(bit + 1))
    }
}

/// Full intra request (RFC 5104 section 4.3.1).
#[derive(Clone, Debug)]
pub struct Fir<'a> {
    /// Who asks.
    pub sender: u32,
    /// Of which streams.
    pub entries: FirEntries<'a>,
}

impl<'a> Fir<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        let entries = body.get(8..).filter(|entries| !entries.is_empty() && entries.len() % 8 == 0)?;
        Some(Self { sender: read_u32(body, 0)?, entries: FirEntries { rest: entries } })
    }
}

/// One request of a FIR.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FirEntry {
    /// The stream.
    pub ssrc: u32,
    /// A repeated request has the number of the first.
    pub number: u8,
}

/// Iterator over the requests of a FIR.
#[derive(Clone, Debug)]
pub struct FirEntries<'a> {
    rest: &'a [u8],
}

impl Iterator for FirEntries<'_> {
    type Item = FirEntry;

    fn next(&mut self) -> Option<FirEntry> {
        let (entry, rest) = self.rest.split_at_checked(8)?;
        self.rest = rest;
        Some(FirEntry { ssrc: read_u32(entry, 0)?, number: read_u8(entry, 4)? })
    }
}

/// Receiver estimated maximum bitrate (draft-alvestrand-rmcat-remb-03).
#[derive(Clone, Debug)]
pub struct Remb<'a> {
    /// Who estimates.
    pub sender: u32,
    /// The estimate for all listed streams together.
    pub bitrate: Bitrate,
    /// The streams.
    pub ssrcs: Ssrcs<'a>,
}

impl<'a> Remb<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        let count = usize::from(read_u8(body, 12)?);
        let coded = read_u24(body, 13)?;
        let (exponent, mantissa) = (coded >> 18, u64::from(coded & 0x3_FFFF));
        // 18 bits shifted by up to 63: what leaves the 64 bits is more than any link.
        let bitrate = if mantissa.leading_zeros() >= exponent { mantissa << exponent } else { u64::MAX };
        let rest = body.get(16..16 + count * 4)?;
        Some(Self { sender: read_u32(body, 0)?, bitrate: Bitrate(bitrate), ssrcs: Ssrcs { rest } })
    }
}

/// Exponent and mantissa of a bitrate in REMB's 6 + 18 bits, rounded down.
pub(super) fn remb_coded(bitrate: Bitrate) -> u32 {
    let bits = 64 - bitrate.0.leading_zeros();
    let exponent = bits.saturating_sub(18);
    exponent << 18 | (bitrate.0 >> exponent) as u32
}
