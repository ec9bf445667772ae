//! A publisher: a camera in three layers, as simulcast (VP8) or as SVC (VP9, each layer refers to the one below).

use std::time::{Duration, Instant};

use base::{CodecKind, MediaKind, Mid};
use sim::Random;
use wire::ext::Extensions;
use wire::media::Received;

/// What all layers up to each cost together with SVC, and each alone with simulcast, in kbit/s: LiveKit's presets.
pub const COSTS: [u64; 3] = [150, 500, 1_700];
pub const SIZES: [(u32, u32); 3] = [(320, 180), (640, 360), (1_280, 720)];
const INTERVAL: Duration = Duration::from_nanos(33_333_333);
/// Payload of a packet at most.
const PACKET_BYTES: usize = 1_100;
/// Header, extensions and authentication tag.
pub const OVERHEAD: usize = 44;
/// A keyframe is this many times as large as another frame.
const KEYFRAME: usize = 4;
/// From a request at the server to the keyframe.
const ASKED: Duration = Duration::from_millis(100);
/// A second's rate is off by as much at most, and a frame's once more.
const NOISE: f64 = 0.1;
/// Three temporal layers: T0 T2 T1 T2, and how many pictures back each refers.
const TEMPORAL: [(u8, u8); 4] = [(0, 4), (2, 1), (1, 2), (2, 1)];

/// How the layers are sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layering {
    Simulcast,
    Svc,
}

impl Layering {
    pub const ALL: [Self; 2] = [Self::Simulcast, Self::Svc];
}

/// The source.
pub struct Camera {
    layering: Layering,
    begins: Instant,
    next: Instant,
    random: Random,
    /// Share of the nominal rate in this second.
    level: f64,
    pictures: u32,
    since_key: usize,
    streams: Vec<Stream>,
}

struct Stream {
    sequence: u64,
    /// When a keyframe is due.
    key_at: Option<Instant>,
}

impl Camera {
    pub fn new(begins: Instant, seed: u64, layering: Layering) -> Self {
        let count = if layering == Layering::Simulcast { 3 } else { 1 };
        let stream = |_| Stream { sequence: 1_000, key_at: Some(begins) };
        Self {
            layering,
            begins,
            next: begins,
            random: Random::new(seed),
            level: 1.0,
            pictures: 0,
            since_key: 0,
            streams: (0..count).map(stream).collect(),
        }
    }

    /// Simulcast layers.
    pub fn streams(&self) -> u8 {
        self.streams.len() as u8
    }

    pub fn poll_timeout(&self) -> Instant {
        self.next
    }

    /// Somebody needs a keyframe of a layer.
    pub fn ask(&mut self, now: Instant, layer: u8) {
        if let Some(stream) = self.streams.get_mut(usize::from(layer)) {
            stream.key_at.get_or_insert(now + ASKED);
        }
    }

    /// The picture that is due, in packets with their payloads.
    pub fn poll(&mut self, now: Instant) -> Vec<(Received, Vec<u8>)> {
        let mut packets = Vec::new();
        if self.next > now {
            return packets;
        }
        self.next += INTERVAL;
        if self.pictures.is_multiple_of(30) {
            self.level = 1.0 + NOISE * (2.0 * self.random.share() - 1.0);
        }
        match self.layering {
            Layering::Simulcast => (0..3).for_each(|layer| self.simulcast(now, layer, &mut packets)),
            Layering::Svc => self.svc(now, &mut packets),
        }
        self.pictures += 1;
        packets
    }

    /// Bytes of a frame that costs so many kbit/s on average, with what packets add.
    fn bytes(&mut self, kbps: f64, key: bool) -> usize {
        let noise = 1.0 + NOISE * (2.0 * self.random.share() - 1.0);
        let mean = kbps * 125.0 * INTERVAL.as_secs_f64() * self.level * noise;
        mean as usize * if key { KEYFRAME } else { 1 }
    }

    fn simulcast(&mut self, now: Instant, layer: u8, packets: &mut Vec<(Received, Vec<u8>)>) {
        let stream = &mut self.streams[usize::from(layer)];
        let key = stream.key_at.take_if(|at| *at <= now).is_some();
        let bytes = self.bytes(COSTS[usize::from(layer)] as f64, key);
        let picture_id = (self.pictures & 0x7FFF) as u16;
        let header = move |first: bool, _: bool| {
            let [high, low] = (picture_id | 0x8000).to_be_bytes();
            // RFC 7741: extended, picture id of 15 bits; then the frame's own first byte, whose lowest bit means no keyframe.
            vec![0x80 | u8::from(first) << 4, 0x80, high, low, u8::from(!key)]
        };
        self.packetise(layer, bytes, CodecKind::Vp8, true, header, packets);
    }

    fn svc(&mut self, now: Instant, packets: &mut Vec<(Received, Vec<u8>)>) {
        let key = self.streams[0].key_at.take_if(|at| *at <= now).is_some();
        self.since_key = if key { 0 } else { self.since_key + 1 };
        let (temporal, back) = TEMPORAL[self.since_key % 4];
        let picture_id = (self.pictures & 0x7FFF) as u16;
        for spatial in 0..3u8 {
            let below = if spatial == 0 { 0 } else { COSTS[usize::from(spatial) - 1] };
            let bytes = self.bytes((COSTS[usize::from(spatial)] - below) as f64, key);
            let header = move |first: bool, last: bool| {
                vp9_header(key, spatial, (temporal, back), picture_id, (first, last))
            };
            self.packetise(0, bytes, CodecKind::Vp9, spatial == 2, header, packets);
        }
    }

    /// Cuts a frame of so many bytes into packets. `ends`: it is the last of its picture.
    fn packetise(
        &mut self,
        layer: u8,
        bytes: usize,
        codec: CodecKind,
        ends: bool,
        header: impl Fn(bool, bool) -> Vec<u8>,
        packets: &mut Vec<(Received, Vec<u8>)>,
    ) {
        let count = bytes.div_ceil(PACKET_BYTES + OVERHEAD).max(1);
        let timestamp = ((self.next - self.begins).as_micros() * 9 / 100) as u32;
        for at in 0..count {
            let (first, last) = (at == 0, at + 1 == count);
            let mut payload = header(first, last);
            payload.resize((bytes / count).saturating_sub(OVERHEAD).max(payload.len()), 0);
            let stream = &mut self.streams[usize::from(layer)];
            stream.sequence += 1;
            let received = Received {
                mid: Mid::new(b"0").expect("one letter"),
                media: MediaKind::Video,
                layer,
                simulcast: self.layering == Layering::Simulcast,
                codec,
                ssrc: 100 + u32::from(layer),
                sequence: stream.sequence,
                timestamp,
                marker: ends && last,
                retransmitted: false,
                extensions: Extensions::default(),
                payload: 0..payload.len(),
                arrival: self.next - INTERVAL,
            };
            packets.push((received, payload));
        }
    }
}

/// RFC 9628 section 4.2, flexible mode.
fn vp9_header(
    key: bool,
    spatial: u8,
    (temporal, back): (u8, u8),
    picture_id: u16,
    (first, last): (bool, bool),
) -> Vec<u8> {
    let structure = key && first && spatial == 0;
    let flags = 0xB0 | u8::from(!key) << 6 | u8::from(first) << 3 | u8::from(last) << 2;
    let [high, low] = (picture_id | 0x8000).to_be_bytes();
    let switch_up = u8::from(temporal < 2) << 4;
    let layer = temporal << 5 | switch_up | spatial << 1 | u8::from(spatial > 0);
    let mut bytes = vec![flags | u8::from(structure) << 1, high, low, layer];
    if !key {
        bytes.push(back << 1);
    }
    if structure {
        // Three spatial layers, without sizes and without a picture group.
        bytes.push(2 << 5);
    }
    bytes
}
