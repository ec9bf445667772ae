//! Transport-wide congestion control feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01 section 3.1).

use std::time::Duration;

use super::{FORMAT_TRANSPORT_CC, TRANSPORT_FEEDBACK};
use crate::bytes::{read_u8, read_u16, read_u24, read_u32};

/// The unit of arrival times.
pub const TICK: Duration = Duration::from_micros(250);
/// Ticks in a unit of the reference time, 64 ms.
const TICKS_PER_REFERENCE: i64 = 256;
/// The most packet statuses that [`write_transport_feedback`] puts into one feedback.
pub const MAX_STATUSES: usize = 2_048;
/// Bytes that a written feedback stays under, so that it goes alone into any datagram.
const MAX_BODY: usize = 1_100;

/// A parsed feedback. Its chunks and deltas are known to be complete.
#[derive(Clone, Debug)]
pub struct TransportFeedback<'a> {
    /// Who reports.
    pub sender: u32,
    /// Any of the streams reported on.
    pub media: u32,
    /// Sequence number of the first status.
    pub base_sequence: u16,
    /// How many packets it speaks of.
    pub count: u16,
    /// Time that the arrivals are relative to, in 64 ms; 24 bits, signed, wraps.
    pub reference: i32,
    /// Counts feedbacks, modulo 256.
    pub feedback_count: u8,
    chunks: &'a [u8],
    deltas: &'a [u8],
}

impl<'a> TransportFeedback<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        let count = read_u16(body, 10)?;
        let rest = body.get(16..)?;
        let (chunk_bytes, delta_bytes) = measure(rest, count)?;
        let (chunks, rest) = rest.split_at_checked(chunk_bytes)?;
        Some(Self {
            sender: read_u32(body, 0)?,
            media: read_u32(body, 4)?,
            base_sequence: read_u16(body, 8)?,
            count,
            reference: (read_u24(body, 12)? << 8) as i32 >> 8,
            feedback_count: read_u8(body, 15)?,
            chunks,
            deltas: rest.get(..delta_bytes)?,
        })
    }

    /// One status per packet, `count` of them. A few bytes may stand for 65,535 packets: bound what you do per status.
    pub fn statuses(&self) -> Statuses<'a> {
        Statuses {
            chunks: self.chunks,
            deltas: self.deltas,
            chunk: Chunk::empty(),
            left: self.count,
            sequence: self.base_sequence,
            ticks: i64::from(self.reference) * TICKS_PER_REFERENCE,
        }
    }
}

/// Bytes of the chunks that cover `count` packets, and of the deltas that belong to them.
fn measure(bytes: &[u8], count: u16) -> Option<(usize, usize)> {
    let (mut left, mut at, mut deltas) = (u32::from(count), 0, 0);
    while left > 0 {
        let mut chunk = Chunk::parse(read_u16(bytes, at)?);
        at += 2;
        let used = u32::from(chunk.left).min(left);
        left -= used;
        deltas += match chunk.run {
            Some(symbol) => used as usize * symbol.delta_len(),
            None => (0..used).map(|_| chunk.next().delta_len()).sum(),
        };
    }
    Some((at, deltas))
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Symbol {
    Missing,
    Small,
    Large,
}

impl Symbol {
    /// The reserved fourth symbol has no delta (section 3.1.1).
    fn from_bits(bits: u16) -> Self {
        match bits & 3 {
            1 => Self::Small,
            2 => Self::Large,
            _ => Self::Missing,
        }
    }

    fn delta_len(self) -> usize {
        self as usize
    }
}

/// A status chunk on its way through its symbols.
#[derive(Clone, Copy, Debug)]
struct Chunk {
    /// Of a run length chunk: its symbol.
    run: Option<Symbol>,
    vector: u16,
    bits_per_symbol: u16,
    left: u16,
}

impl Chunk {
    fn empty() -> Self {
        Self { run: None, vector: 0, bits_per_symbol: 1, left: 0 }
    }

    fn parse(word: u16) -> Self {
        if word & 0x8000 == 0 {
            return Self { run: Some(Symbol::from_bits(word >> 13)), left: word & 0x1FFF, ..Self::empty() };
        }
        let two_bits = word & 0x4000 != 0;
        let (bits_per_symbol, left) = if two_bits { (2, 7) } else { (1, 14) };
        Self { run: None, vector: word & 0x3FFF, bits_per_symbol, left }
    }

    fn next(&mut self) -> Symbol {
        self.left = self.left.saturating_sub(1);
        match self.run {
            Some(symbol) => symbol,
            None => {
                let bits = self.vector >> (self.left * self.bits_per_symbol);
                Symbol::from_bits(if self.bits_per_symbol == 1 { bits & 1 } else { bits })
            }
        }
    }
}

/// What a feedback says of one packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PacketStatus {
    /// Its transport-wide sequence number.
    pub sequence: u16,
    /// When it arrived, in [`TICK`]s on the reporter's clock (which wraps with the 24 bits of the reference time);
    /// `None`: it has not.
    pub arrival: Option<i64>,
}

/// Iterator over the statuses of a feedback.
#[derive(Clone, Debug)]
pub struct Statuses<'a> {
    chunks: &'a [u8],
    deltas: &'a [u8],
    chunk: Chunk,
    left: u16,
    sequence: u16,
    ticks: i64,
}

impl Iterator for Statuses<'_> {
    type Item = PacketStatus;

    fn next(&mut self) -> Option<PacketStatus> {
        self.left = self.left.checked_sub(1)?;
        while self.chunk.left == 0 {
            let (word, rest) = self.chunks.split_first_chunk::<2>()?;
            self.chunks = rest;
            self.chunk = Chunk::parse(u16::from_be_bytes(*word));
        }
        let symbol = self.chunk.next();
        let (delta, rest) = self.deltas.split_at_checked(symbol.delta_len())?;
        self.deltas = rest;
        let arrival = match *delta {
            [small] => Some(i64::from(small)),
            [high, low] => Some(i64::from(i16::from_be_bytes([high, low]))),
            _ => None,
        }
        .map(|delta| {
            self.ticks += delta;
            self.ticks
        });
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        Some(PacketStatus { sequence, arrival })
    }
}

/// Appends a feedback on the packets from `base_sequence` on: `arrivals[i]` is when packet `base_sequence + i` came, in
/// ticks on our clock, `None` when it has not. Returns how many of them it covers: fewer than given when they are too
/// many or too far apart for one feedback, so that the caller goes on from there; 0 (and nothing appended) when none
/// of them arrived.
pub fn write_transport_feedback(
    out: &mut Vec<u8>,
    sender: u32,
    media: u32,
    feedback_count: u8,
    base_sequence: u16,
    arrivals: &[Option<i64>],
) -> usize {
    let Some(first) = arrivals.iter().flatten().next() else { return 0 };
    let reference = first.div_euclid(TICKS_PER_REFERENCE);
    let mut symbols = [Symbol::Missing; MAX_STATUSES];
    let covered = classify(arrivals, reference * TICKS_PER_REFERENCE, &mut symbols);
    let start = out.len();
    out.extend_from_slice(&[0x80 | FORMAT_TRANSPORT_CC, TRANSPORT_FEEDBACK, 0, 0]);
    out.extend_from_slice(&sender.to_be_bytes());
    out.extend_from_slice(&media.to_be_bytes());
    out.extend_from_slice(&base_sequence.to_be_bytes());
    out.extend_from_slice(&(covered as u16).to_be_bytes());
    out.extend_from_slice(&((reference as u32) << 8 | u32::from(feedback_count)).to_be_bytes());
    write_chunks(out, &symbols[..covered]);
    write_deltas(out, &arrivals[..covered], reference * TICKS_PER_REFERENCE);
    super::write::finish_padded(out, start);
    covered
}

/// Finds the symbol of each status, and how many statuses one feedback can carry.
fn classify(arrivals: &[Option<i64>], reference: i64, symbols: &mut [Symbol; MAX_STATUSES]) -> usize {
    let (mut ticks, mut covered, mut delta_bytes) = (reference, 0, 0);
    for (arrival, symbol) in arrivals.iter().zip(symbols) {
        if let Some(at) = arrival {
            *symbol = match at - ticks {
                0..=255 => Symbol::Small,
                delta if i16::try_from(delta).is_ok() => Symbol::Large,
                _ => break,
            };
            ticks = *at;
        }
        delta_bytes += symbol.delta_len();
        // A chunk of two bytes covers seven statuses at least, but for the last.
        if delta_bytes + 2 * (covered / 7 + 1) > MAX_BODY {
            break;
        }
        covered += 1;
    }
    covered
}

fn write_chunks(out: &mut Vec<u8>, mut symbols: &[Symbol]) {
    while let Some(first) = symbols.first() {
        let run = symbols.iter().take(0x1FFF).take_while(|s| *s == first).count();
        let near = &symbols[..symbols.len().min(14)];
        let (word, used) = if run >= near.len() {
            ((*first as u16) << 13 | run as u16, run)
        } else if !near.contains(&Symbol::Large) {
            (0x8000 | vector(near, 14, 1), near.len())
        } else if run >= 7 {
            ((*first as u16) << 13 | run as u16, run)
        } else {
            let near = &near[..near.len().min(7)];
            (0xC000 | vector(near, 7, 2), near.len())
        };
        out.extend_from_slice(&word.to_be_bytes());
        symbols = &symbols[used..];
    }
}

/// The symbols from the highest bits down, as if `places` of them.
fn vector(symbols: &[Symbol], places: usize, bits: usize) -> u16 {
    symbols.iter().enumerate().fold(0, |word, (i, s)| word | (*s as u16) << (bits * (places - 1 - i)))
}

fn write_deltas(out: &mut Vec<u8>, arrivals: &[Option<i64>], reference: i64) {
    let mut ticks = reference;
    for at in arrivals.iter().flatten() {
        match at - ticks {
            delta @ 0..=255 => out.push(delta as u8),
            delta => out.extend_from_slice(&(delta as i16).to_be_bytes()),
        }
        ticks = *at;
    }
}
