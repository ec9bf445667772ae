//! An encoder with spatial and temporal layers, whose packets carry the truth about themselves.

use std::time::{Duration, Instant};

use base::{CodecKind, Mid};
use wire::ext::{ByteRange, Extensions};
use wire::media::Received;

use crate::support::Sent;

/// How spatial layers depend on one another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Each picture of a layer refers to the layer below (L3T3).
    Full,
    /// Those of keyframes alone do (L3T3_KEY).
    Key,
}

/// What an encoder makes.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub codec: CodecKind,
    /// With dependency descriptors.
    pub described: bool,
    pub mode: Mode,
    pub spatial: u8,
    /// Its descriptors tell which decode targets are sent.
    pub tells: bool,
    /// Each keyframe brings a structure with other template ids. libwebrtc keeps them while the structure stays the same.
    pub renews: bool,
}

impl Shape {
    pub const fn new(codec: CodecKind, described: bool, mode: Mode, spatial: u8) -> Self {
        Self { codec, described, mode, spatial, tells: true, renews: false }
    }
}

/// Three temporal layers: T0 T2 T1 T2. Pictures back to the one that each refers to.
const TEMPORAL: [(u8, u32); 4] = [(0, 4), (2, 1), (1, 2), (2, 1)];

/// What a packet says about itself, for the test alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Truth {
    pub ssrc: u32,
    pub input: u64,
    /// Names the frame within its stream.
    pub frame: u32,
    pub spatial: u8,
    pub temporal: u8,
    /// The packet's place among those of its frame.
    pub at: u8,
    pub of: u8,
    /// Frames that it refers to; none: it is a keyframe.
    pub references: Vec<u32>,
}

impl Truth {
    fn write(&self) -> Vec<u8> {
        let mut bytes = self.ssrc.to_be_bytes().to_vec();
        bytes.extend(self.input.to_be_bytes());
        bytes.extend(self.frame.to_be_bytes());
        bytes.extend([self.spatial, self.temporal, self.at, self.of, self.references.len() as u8]);
        self.references.iter().for_each(|frame| bytes.extend(frame.to_be_bytes()));
        bytes
    }

    pub fn read(bytes: &[u8]) -> Self {
        let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        let [spatial, temporal, at, of, references] = bytes[16..21].try_into().unwrap();
        Self {
            ssrc: word(0),
            input: u64::from(word(4)) << 32 | u64::from(word(8)),
            frame: word(12),
            spatial,
            temporal,
            at,
            of,
            references: (0..usize::from(references)).map(|n| word(21 + 4 * n)).collect(),
        }
    }
}

pub struct Encoder {
    pub shape: Shape,
    pub layer: u8,
    pub ssrc: u32,
    pub sequence: u64,
    pub frame_number: u16,
    /// So many spatial layers are sent at present.
    pub sent: u8,
    pub timestamp_base: u32,
    begin: Instant,
    pictures: u32,
    since_key: u32,
    picture_id: u16,
    tl0: u8,
    key_idx: u8,
    offset: u8,
    told: u8,
}

/// One frame about to be cut into packets.
struct Frame {
    spatial: u8,
    temporal: u8,
    /// Place in the temporal pattern.
    place: usize,
    key: bool,
    references: Vec<u32>,
    timestamp: u32,
    /// The last of its picture.
    last: bool,
    descriptor: Vec<u8>,
    later_descriptor: Vec<u8>,
}

impl Encoder {
    pub fn new(begin: Instant, shape: Shape, layer: u8) -> Self {
        let n = u32::from(layer);
        Self {
            shape,
            layer,
            ssrc: 2_000 + n,
            sequence: 65_400 + 11 * u64::from(n),
            frame_number: 65_500_u16.wrapping_add(40 * n as u16),
            sent: shape.spatial,
            timestamp_base: 77_777u32.wrapping_mul(n + 3),
            begin,
            pictures: 100,
            since_key: 0,
            picture_id: 32_700 + 9 * n as u16,
            tl0: 250,
            key_idx: 30,
            offset: 60,
            told: shape.spatial,
        }
    }

    /// The packets of a picture, `packets` for each frame.
    pub fn picture(&mut self, capture: Duration, key: bool, packets: u8) -> Vec<Sent> {
        self.pictures += 1;
        self.picture_id = (self.picture_id + 1) & 0x7FFF;
        self.since_key = if key { 0 } else { self.since_key + 1 };
        self.key_idx = (self.key_idx + u8::from(key)) & 31;
        if key && self.shape.renews {
            self.offset = (self.offset + self.templates()) % 64;
        }
        let place = (self.since_key % 4) as usize;
        self.tl0 = self.tl0.wrapping_add(u8::from(place == 0));
        let ticks = (capture.as_nanos() * 90_000 / 1_000_000_000) as u32;
        let mut sent = Vec::new();
        for spatial in 0..self.sent {
            let frame = self.frame(spatial, place, key, self.timestamp_base.wrapping_add(ticks));
            for at in 0..packets {
                sent.push(self.packet(&frame, at, packets));
            }
        }
        // Frame numbers of layers that are not sent are left out, as distances are fixed.
        self.frame_number = self.frame_number.wrapping_add(u16::from(self.shape.spatial));
        self.told = self.sent;
        sent
    }

    fn id(&self, back: u32, spatial: u8) -> u32 {
        (self.pictures - back) * 4 + u32::from(spatial)
    }

    fn frame(&mut self, spatial: u8, place: usize, key: bool, timestamp: u32) -> Frame {
        let (temporal, back) = TEMPORAL[place];
        let mut references = Vec::new();
        if !key {
            references.push(self.id(back, spatial));
        }
        if spatial > 0 && (key || self.shape.mode == Mode::Full) {
            references.push(self.id(0, spatial - 1));
        }
        let descriptor = self.descriptor(spatial, place, key, true);
        let later_descriptor = self.descriptor(spatial, place, key, false);
        let last = spatial + 1 == self.sent;
        Frame { spatial, temporal, place, key, references, timestamp, last, descriptor, later_descriptor }
    }

    fn packet(&mut self, frame: &Frame, at: u8, of: u8) -> Sent {
        let (first, last) = (at == 0, at + 1 == of);
        let truth = Truth {
            ssrc: self.ssrc,
            input: self.sequence,
            frame: self.id(0, frame.spatial),
            spatial: frame.spatial,
            temporal: frame.temporal,
            at,
            of,
            references: frame.references.clone(),
        };
        let mut payload = match self.shape.codec {
            CodecKind::Vp8 => self.vp8(frame, first),
            CodecKind::Vp9 => self.vp9(frame, first, last),
            CodecKind::H264 => vec![if frame.key && first { 0x65 } else { 0x41 }],
            _ => vec![if frame.key && first && frame.spatial == 0 { 0x18 } else { 0x10 }],
        };
        payload.extend(truth.write());
        let mut descriptor = if first { frame.descriptor.clone() } else { frame.later_descriptor.clone() };
        if let Some(byte) = descriptor.first_mut() {
            *byte |= u8::from(first) << 7 | u8::from(last) << 6;
        }
        self.send(frame.timestamp, descriptor, payload, frame.last && last)
    }

    /// So many bytes at the front of a payload stay clear when its frame is encrypted.
    pub fn clear(&self, payload: &[u8]) -> usize {
        let ssrc = self.ssrc.to_be_bytes();
        payload.windows(ssrc.len()).position(|bytes| bytes == ssrc).expect("the truth begins with it")
    }

    /// Padding alone.
    pub fn padding(&mut self) -> Sent {
        self.send(self.timestamp_base, Vec::new(), Vec::new(), false)
    }

    fn send(&mut self, timestamp: u32, descriptor: Vec<u8>, payload: Vec<u8>, marker: bool) -> Sent {
        let range = ByteRange { start: 0, len: descriptor.len() as u16 };
        let dependency_descriptor = Some(range).filter(|_| !descriptor.is_empty());
        let received = Received {
            mid: Mid::new(b"0").unwrap(),
            media: base::MediaKind::Video,
            layer: self.layer,
            simulcast: false,
            codec: self.shape.codec,
            ssrc: self.ssrc,
            sequence: self.sequence,
            timestamp,
            marker,
            retransmitted: false,
            extensions: Extensions { dependency_descriptor, ..Extensions::default() },
            payload: 0..payload.len(),
            arrival: self.begin,
        };
        self.sequence += 1;
        Sent { received, descriptor, payload }
    }

    fn vp8(&self, frame: &Frame, first: bool) -> Vec<u8> {
        let [high, low] = (self.picture_id | 0x8000).to_be_bytes();
        // All but the last of the pattern refer to the lowest layer alone.
        let sync = u8::from(frame.place == 1 || frame.place == 2) << 5;
        let layer = frame.temporal << 6 | sync | self.key_idx;
        vec![0x80 | u8::from(first) << 4, 0xF0, high, low, self.tl0, layer, u8::from(!frame.key)]
    }

    fn vp9(&self, frame: &Frame, first: bool, last: bool) -> Vec<u8> {
        let predicted = !frame.key;
        let flags =
            0x80 | u8::from(predicted) << 6 | 0x20 | 0x10 | u8::from(first) << 3 | u8::from(last) << 2;
        let structure = frame.key && first && frame.spatial == 0;
        let inter_layer = frame.spatial > 0 && (frame.key || self.shape.mode == Mode::Full);
        let up = u8::from(frame.temporal < 2) << 4;
        let [high, low] = (self.picture_id | 0x8000).to_be_bytes();
        let layer = frame.temporal << 5 | up | frame.spatial << 1 | u8::from(inter_layer);
        let mut bytes = vec![flags | u8::from(structure) << 1, high, low, layer];
        if predicted {
            bytes.push((TEMPORAL[frame.place].1 as u8) << 1);
        }
        if structure {
            bytes.push((self.shape.spatial - 1) << 5);
        }
        bytes
    }

    /// For each spatial layer: keyframe, T0, T1, and both places of T2.
    fn templates(&self) -> u8 {
        5 * self.shape.spatial
    }

    fn descriptor(&self, spatial: u8, place: usize, key: bool, first: bool) -> Vec<u8> {
        if !self.shape.described {
            return Vec::new();
        }
        let kind = if key { 0 } else { [1, 3, 2, 4][place] };
        let mut bits = Bits::default();
        bits.put(0, 2);
        bits.put(u32::from((self.offset + 5 * spatial + kind) % 64), 6);
        bits.put(u32::from(self.frame_number.wrapping_add(u16::from(spatial))), 16);
        let structured = key && first && spatial == 0;
        let tells = first
            && self.shape.tells
            && (self.told != self.sent || structured && self.sent < self.shape.spatial);
        if structured || tells {
            bits.put(u32::from(structured) << 4 | u32::from(tells) << 3, 5);
        }
        if structured {
            self.structure(&mut bits);
        }
        if tells {
            bits.put((1 << (self.sent * 3)) - 1, usize::from(self.shape.spatial * 3));
        }
        bits.bytes()
    }

    fn structure(&self, bits: &mut Bits) {
        let (layers, targets) = (self.shape.spatial, self.shape.spatial * 3);
        bits.put(u32::from(self.offset), 6);
        bits.put(u32::from(targets - 1), 5);
        for layer in 0..layers {
            [0, 1, 1, 0].iter().for_each(|next| bits.put(*next, 2));
            bits.put(if layer + 1 == layers { 3 } else { 2 }, 2);
        }
        for (layer, kind) in templates(layers) {
            (0..targets).for_each(|target| bits.put(self.indication(layer, kind, target / 3, target % 3), 2));
        }
        for (layer, kind) in templates(layers) {
            let mut differences = Vec::new();
            if layer > 0 && (kind == 0 || self.shape.mode == Mode::Full) {
                differences.push(1);
            }
            if kind > 0 {
                differences.push([4, 2, 1, 1][kind - 1] * u32::from(layers));
            }
            for difference in differences {
                bits.put(1 << 4 | (difference - 1), 5);
            }
            bits.put(0, 1);
        }
        // No chains: a zero below `targets + 1` in the fewest bits.
        bits.put(0, (u32::BITS - u32::from(targets + 1).leading_zeros()) as usize - 1);
        bits.put(1, 1);
        for layer in 0..layers {
            bits.put((320 << layer) - 1, 16);
            bits.put((180 << layer) - 1, 16);
        }
    }

    /// As libwebrtc's encoders say it.
    fn indication(&self, layer: u8, kind: usize, spatial: u8, temporal: u8) -> u32 {
        let own = [0, 0, 1, 2, 2][kind];
        match () {
            () if spatial < layer || temporal < own => 0,
            () if kind == 0 => 2,
            () if spatial == layer && own == temporal && own > 0 => 1,
            () if spatial == layer => 2,
            () if self.shape.mode == Mode::Key => 0,
            () => 3,
        }
    }
}

fn templates(layers: u8) -> impl Iterator<Item = (u8, usize)> {
    (0..layers).flat_map(|layer| (0..5).map(move |kind| (layer, kind)))
}

#[derive(Default)]
struct Bits(Vec<bool>);

impl Bits {
    fn put(&mut self, value: u32, count: usize) {
        (0..count).rev().for_each(|bit| self.0.push(value >> bit & 1 == 1));
    }

    fn bytes(&self) -> Vec<u8> {
        let byte =
            |bits: &[bool]| bits.iter().enumerate().fold(0, |all, (n, bit)| all | u8::from(*bit) << (7 - n));
        self.0.chunks(8).map(byte).collect()
    }
}
