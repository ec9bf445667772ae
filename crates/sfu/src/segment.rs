//! A stretch of one input stream that is forwarded with constant differences, and the bounded memory of past ones.

use wire::media::Rewrite;
use wire::{dd, vp8, vp9};

use crate::packet::{Indices, Packet};

/// Which run of sequence numbers a packet belongs to. A layer whose numbering starts over gets a new epoch, so that two
/// runs are never taken for one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stream {
    pub layer: u8,
    pub epoch: u32,
}

/// Differences of the running indices of VP8 and VP9 and of the dependency descriptor, modulo their width.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Shift {
    pub picture_id: u16,
    pub tl0: u8,
    pub key_idx: u8,
    pub frame: u16,
}

impl Shift {
    fn vp8(self, indices: vp8::Patch) -> vp8::Patch {
        vp8::Patch {
            picture_id: self.picture_id(indices.picture_id),
            tl0: self.tl0(indices.tl0),
            key_idx: indices.key_idx.map(|key| key.wrapping_add(self.key_idx) & 0x1F),
        }
    }

    fn vp9(self, indices: vp9::Patch) -> vp9::Patch {
        vp9::Patch { picture_id: self.picture_id(indices.picture_id), tl0: self.tl0(indices.tl0) }
    }

    fn picture_id(self, id: Option<u16>) -> Option<u16> {
        id.map(|id| id.wrapping_add(self.picture_id) & 0x7FFF)
    }

    fn tl0(self, tl0: Option<u8>) -> Option<u8> {
        tl0.map(|tl0| tl0.wrapping_add(self.tl0))
    }
}

/// Input sequence numbers `first..end` of `stream`; the output is the input plus the shifts, modulo their width.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Segment {
    pub stream: Stream,
    pub first: u64,
    /// One past the highest input that has an output number.
    pub end: u64,
    pub sequence: u64,
    pub timestamp: u32,
    pub indices: Shift,
}

impl Segment {
    pub fn contains(&self, stream: Stream, sequence: u64) -> bool {
        self.stream == stream && (self.first..self.end).contains(&sequence)
    }

    /// Admits no more late packets to the output numbers from `end` on.
    fn cut(&mut self, end: u64) {
        if self.end.wrapping_add(self.sequence) > end {
            self.end = end.wrapping_sub(self.sequence).max(self.first);
        }
    }

    pub fn apply(&self, packet: &Packet<'_>) -> Rewrite {
        let received = packet.received;
        let (vp8, vp9) = match packet.content.indices {
            Indices::None => (None, None),
            Indices::Vp8(indices) => (Some(self.indices.vp8(indices)), None),
            Indices::Vp9(indices) => (None, Some(self.indices.vp9(indices))),
        };
        let described = packet
            .content
            .frame_number()
            .map(|number| dd::Patch { frame_number: number.wrapping_add(self.indices.frame), active: None });
        Rewrite {
            sequence: received.sequence.wrapping_add(self.sequence),
            timestamp: received.timestamp.wrapping_add(self.timestamp),
            marker: received.marker,
            codec: received.codec,
            vp8,
            vp9,
            descriptor: received.passed_descriptor().map_or(0, |range| range.len as u8),
            described,
            cut: 0,
            blank: false,
            audio_level: received.extensions.audio_level,
            abs_capture_time: received.extensions.abs_capture_time,
        }
    }
}

/// The last closed segments of a subscription: where late packets find their place. The ranges of one stream are
/// disjoint, in input and output alike.
#[derive(Debug)]
pub(crate) struct Past {
    segments: Vec<Segment>,
    oldest: usize,
    kept: usize,
}

impl Past {
    /// Closed segments kept. A publisher that probes with one padding packet behind every frame closes 30 a second; 16
    /// are then half a second, more than a retransmission takes.
    const KEPT: usize = 16;
    /// So many where layers are withheld: with every picture another one ends, of 60 a second.
    const KEPT_OF_LAYERS: usize = 64;

    /// Takes the memory for the usual number now, so that forwarding takes none.
    pub fn new() -> Self {
        Self { segments: Vec::with_capacity(Self::KEPT), oldest: 0, kept: Self::KEPT }
    }

    /// Layers may be withheld from now on. Memory is taken once they are, since most receivers get all there is: it would be a
    /// third of what a subscription holds.
    #[cold]
    pub fn keep_more(&mut self) {
        if self.kept < Self::KEPT_OF_LAYERS {
            self.kept = Self::KEPT_OF_LAYERS;
            self.segments.rotate_left(self.oldest);
            self.oldest = 0;
        }
    }

    #[cold]
    fn make_room(&mut self) {
        self.segments.reserve_exact(self.kept - self.segments.len());
    }

    pub fn push(&mut self, segment: Segment) {
        if segment.first == segment.end {
            return;
        }
        if self.segments.len() < self.kept {
            if self.segments.len() == self.segments.capacity() {
                self.make_room();
            }
            self.segments.push(segment);
        } else {
            self.segments[self.oldest] = segment;
            self.oldest = (self.oldest + 1) % self.kept;
        }
    }

    /// Admits no more late packets to the output numbers from `end` on: frames that were lost at the very end of a stretch.
    /// What begins now has taken their sequence numbers and picture ids.
    pub fn cut(&mut self, end: u64) {
        self.segments.iter_mut().for_each(|segment| segment.cut(end));
    }

    pub fn find(&self, stream: Stream, sequence: u64) -> Option<&Segment> {
        self.segments.iter().find(|segment| segment.contains(stream, sequence))
    }
}
