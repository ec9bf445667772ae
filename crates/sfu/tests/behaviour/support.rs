//! A room in virtual time: publishers whose packets carry the truth about themselves, and receivers that read it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use base::model::{TrackSettings, TrackSource};
use base::ring::{PayloadRing, Slot};
use base::{Bitrate, Codec, CodecKind, MediaKind, Mid, NtpTime, ParticipantId, TrackId};
use sfu::{Clock, Event, Media, PublicationSpec, RelaySet, Sink, TrackKey};
use wire::ext::Extensions;
use wire::media::Received;
use wire::vp8::Descriptor;

pub const CAMERA: TrackId = TrackId(1);
pub const MICROPHONE: TrackId = TrackId(2);
pub const ANNA: ParticipantId = ParticipantId(10);
pub const BEN: u32 = 20;
pub const CARL: u32 = 30;
/// Where Ben hears what he sees under `BEN`.
pub const BENS_EAR: u32 = 21;
pub const FRAME: Duration = Duration::from_micros(33_333);

pub fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub fn codec(kind: CodecKind) -> Codec {
    Codec {
        kind,
        payload_type: 96,
        rtx: None,
        nack: true,
        pli: true,
        fir: false,
        transport_cc: true,
        remb: false,
        ccfb: false,
    }
}

pub fn quality(quality: u8) -> TrackSettings {
    TrackSettings { quality, ..TrackSettings::default() }
}

pub const DISABLED: TrackSettings =
    TrackSettings { disabled: true, size: None, quality: 2, fps: 0, priority: 0, firm: false };

/// What a packet says about itself, for the test alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Truth {
    pub layer: u8,
    pub ssrc: u32,
    pub input: u64,
    /// Counts frames of the layer.
    pub frame: u32,
    /// When it was captured, since the room began.
    pub capture: Duration,
    pub keyframe_start: bool,
}

#[derive(Clone, Debug)]
pub struct Sent {
    pub received: Received,
    pub descriptor: Vec<u8>,
    pub payload: Vec<u8>,
}

/// A forwarded packet as it is sent.
#[derive(Clone, Debug)]
pub struct Raw {
    pub sequence: u64,
    pub timestamp: u32,
    pub marker: bool,
    pub codec: CodecKind,
    pub descriptor: Option<Vec<u8>>,
    pub payload: Vec<u8>,
}

/// One encoded stream of a publisher.
pub struct Source {
    pub layer: u8,
    pub codec: CodecKind,
    pub ssrc: u32,
    pub sequence: u64,
    pub timestamp_base: u32,
    pub picture_id: u16,
    pub tl0: u8,
    pub key_idx: u8,
    frames: u32,
    begin: Instant,
    last_timestamp: u32,
}

impl Source {
    fn new(begin: Instant, codec: CodecKind, layer: u8) -> Self {
        let n = u32::from(layer);
        Self {
            layer,
            codec,
            ssrc: 1_000 + n,
            // Each a different distance before its wrap.
            sequence: 65_500 + 7 * u64::from(n),
            timestamp_base: u32::MAX.wrapping_sub(9_000 * n).wrapping_mul(n * 77 + 1),
            picture_id: 32_760 + n as u16,
            tl0: 250 + layer,
            key_idx: 29 + layer % 2,
            frames: 0,
            begin,
            last_timestamp: 0,
        }
    }

    pub fn video(begin: Instant, layer: u8) -> Self {
        Self::new(begin, CodecKind::Vp8, layer)
    }

    pub fn audio(begin: Instant) -> Self {
        Self::new(begin, CodecKind::Opus, 0)
    }

    pub fn timestamp(&self, capture: Duration) -> u32 {
        let ticks = capture.as_nanos() * u128::from(self.codec.clock_rate()) / 1_000_000_000;
        self.timestamp_base.wrapping_add(ticks as u32)
    }

    /// A frame of `packets` packets.
    pub fn frame(&mut self, capture: Duration, keyframe: bool, packets: usize) -> Vec<Sent> {
        self.frames += 1;
        self.picture_id = (self.picture_id + 1) & 0x7FFF;
        self.tl0 = self.tl0.wrapping_add(1);
        self.key_idx = (self.key_idx + u8::from(keyframe)) & 31;
        self.last_timestamp = self.timestamp(capture);
        (0..packets).map(|at| self.packet(capture, keyframe, at == 0, at + 1 == packets)).collect()
    }

    fn packet(&mut self, capture: Duration, keyframe: bool, first: bool, last: bool) -> Sent {
        let mut payload = Vec::new();
        if self.codec == CodecKind::Vp8 {
            let [high, low] = (self.picture_id | 0x8000).to_be_bytes();
            let tag = u8::from(!keyframe);
            payload.extend([0x80 | u8::from(first) << 4, 0xF0, high, low, self.tl0, self.key_idx, tag]);
        } else {
            payload.push(0);
        }
        let keyframe_start = keyframe && first && self.codec == CodecKind::Vp8;
        payload.extend([self.layer, u8::from(keyframe_start)]);
        payload.extend(self.ssrc.to_be_bytes());
        payload.extend(self.sequence.to_be_bytes());
        payload.extend(self.frames.to_be_bytes());
        payload.extend((capture.as_nanos() as u64).to_be_bytes());
        self.send(payload, last)
    }

    /// Padding alone: it carries the timestamp of the frame before.
    pub fn padding(&mut self) -> Sent {
        self.send(Vec::new(), false)
    }

    fn send(&mut self, payload: Vec<u8>, marker: bool) -> Sent {
        let received = Received {
            mid: Mid::new(b"0").unwrap(),
            media: self.codec.media(),
            layer: self.layer,
            simulcast: false,
            codec: self.codec,
            ssrc: self.ssrc,
            sequence: self.sequence,
            timestamp: self.last_timestamp,
            marker,
            retransmitted: false,
            extensions: Extensions::default(),
            payload: 0..payload.len(),
            arrival: self.begin,
        };
        self.sequence += 1;
        Sent { received, descriptor: Vec::new(), payload }
    }
}

/// One forwarded packet as its receiver sees it.
#[derive(Clone, Copy, Debug)]
pub struct Got {
    pub at: Instant,
    pub sequence: u64,
    pub timestamp: u32,
    pub marker: bool,
    pub picture_id: Option<u16>,
    pub tl0: Option<u8>,
    pub key_idx: Option<u8>,
    /// `None`: padding.
    pub truth: Option<Truth>,
}

/// A receiving stream. The streams of one receiver differ in their last digit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct To(pub u32);

impl Sink for To {
    type Receiver = u32;

    fn receiver(&self) -> u32 {
        self.0 / 10
    }
}

pub struct Stage {
    pub media: Media<To>,
    pub begin: Instant,
    pub now: Instant,
    pub got: BTreeMap<u32, Vec<Got>>,
    pub raw: BTreeMap<u32, Vec<Raw>>,
    pub events: Vec<(Duration, Event<To>)>,
    /// Who gets the last packet as it arrived.
    pub relayed: RelaySet,
    ring: PayloadRing,
}

impl Stage {
    pub fn new() -> Self {
        let begin = Instant::now();
        Self {
            media: Media::new(7),
            begin,
            now: begin,
            got: BTreeMap::new(),
            raw: BTreeMap::new(),
            events: Vec::new(),
            relayed: RelaySet::default(),
            ring: PayloadRing::new(1 << 16, 1 << 10),
        }
    }

    /// A camera of so many layers, and its sources.
    pub fn camera(layers: u8) -> (Self, Vec<Source>) {
        let mut stage = Self::new();
        stage.publish(CAMERA, MediaKind::Video, layers);
        let begin = stage.begin;
        (stage, (0..layers).map(|layer| Source::video(begin, layer)).collect())
    }

    pub fn publish(&mut self, track: TrackId, kind: MediaKind, layers: u8) -> TrackKey {
        let sizes = [(320, 180), (640, 360), (1280, 720)][..usize::from(layers.min(3))].to_vec();
        let spec = PublicationSpec { participant: ANNA, kind, layers, sizes, source: TrackSource::Unknown };
        let key = self.media.set_publication(self.now, track, spec).unwrap();
        self.drain();
        key
    }

    pub fn subscribe(&mut self, track: TrackId, sink: u32) {
        let codecs = [CodecKind::Vp8, CodecKind::Vp9, CodecKind::H264, CodecKind::Av1, CodecKind::Opus];
        let codecs = codecs.map(codec);
        self.media.set_subscription(self.now, track, To(sink), &codecs, u64::from(sink) * 100).unwrap();
        self.drain();
    }

    pub fn settle(&mut self, sink: u32, settings: &TrackSettings) {
        assert!(self.media.set_settings(self.now, CAMERA, To(sink), settings));
        self.drain();
    }

    /// What the connection of this sink's receiver carries.
    pub fn estimate(&mut self, sink: u32, estimate: Option<Bitrate>) {
        self.media.set_estimate(self.now, To(sink).receiver(), estimate);
        self.drain();
    }

    pub fn mute(&mut self, track: TrackId, muted: bool) {
        self.media.set_muted(self.now, track, muted);
        self.drain();
    }

    pub fn want_keyframe(&mut self, sink: u32) {
        self.media.keyframe_wanted(self.now, CAMERA, To(sink));
        self.drain();
    }

    pub fn elapsed(&self) -> Duration {
        self.now - self.begin
    }

    pub fn ntp(&self, capture: Duration) -> NtpTime {
        NtpTime::from_unix(Duration::from_secs(1_790_000_000)).plus(capture)
    }

    /// The source's sender report as of now arrives.
    pub fn report(&mut self, track: TrackId, source: &Source) {
        let capture = self.elapsed();
        let key = self.media.key(track).unwrap();
        self.media.sender_report(key, source.layer, self.ntp(capture), source.timestamp(capture), self.now);
        self.drain();
    }

    /// One packet arrives now.
    pub fn deliver(&mut self, track: TrackId, sent: &Sent) {
        let received = Received { arrival: self.now, ..sent.received.clone() };
        let slot = self.ring.push_joined(&sent.descriptor, &sent.payload).unwrap();
        let (mut out, stored) = (Vec::new(), (&sent.descriptor[..], &sent.payload[..]));
        if let Some(key) = self.media.key(track) {
            self.relayed = self.media.forward(self.now, key, &received, stored, slot, &mut out);
        }
        for decision in out {
            assert_eq!(decision.slot, slot);
            let raw = self.write(decision.slot, &decision.rewrite);
            self.raw.entry(decision.sink.0).or_default().push(raw);
            let got = self.read(decision.slot, &decision.rewrite);
            self.got.entry(decision.sink.0).or_default().push(got);
        }
        self.drain();
    }

    pub fn deliver_all(&mut self, sent: &[Sent]) {
        sent.iter().for_each(|sent| self.deliver(CAMERA, sent));
    }

    /// What is sent of a packet.
    fn write(&self, slot: Slot, rewrite: &wire::media::Rewrite) -> Raw {
        let (descriptor, payload) = rewrite.split(self.ring.get(slot).unwrap());
        let mut payload = payload.to_vec();
        rewrite.vp8.inspect(|patch| patch.apply(&mut payload));
        rewrite.vp9.inspect(|patch| patch.apply(&mut payload));
        let descriptor = descriptor.map(|descriptor| {
            let mut out = [0; 255];
            let len = rewrite.described.unwrap().write(descriptor, &mut out);
            out[..len].to_vec()
        });
        let &wire::media::Rewrite { sequence, timestamp, marker, codec, .. } = rewrite;
        Raw { sequence, timestamp, marker, codec, descriptor, payload }
    }

    fn read(&self, slot: Slot, rewrite: &wire::media::Rewrite) -> Got {
        let mut payload = rewrite.split(self.ring.get(slot).unwrap()).1.to_vec();
        if let Some(patch) = rewrite.vp8 {
            patch.apply(&mut payload);
        }
        let vp8 = rewrite.vp8.map(|_| Descriptor::parse(&payload).unwrap());
        let at = vp8.map_or(1, |vp8| vp8.len + 1);
        Got {
            at: self.now,
            sequence: rewrite.sequence,
            timestamp: rewrite.timestamp,
            marker: rewrite.marker,
            picture_id: vp8.and_then(|vp8| vp8.picture_id),
            tl0: vp8.and_then(|vp8| vp8.tl0),
            key_idx: vp8.and_then(|vp8| vp8.key_idx),
            truth: payload.get(at..).and_then(truth),
        }
    }

    /// Lets time pass, and what is due happen.
    pub fn advance(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(due) = self.media.poll_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.media.handle_timeout(self.now);
            self.drain();
            assert!(self.media.poll_timeout() > Some(due) || self.media.poll_timeout().is_none(), "it spins");
        }
        self.now = until;
    }

    fn drain(&mut self) {
        while let Some(event) = self.media.poll_event() {
            self.events.push((self.now - self.begin, event));
        }
    }

    /// What a sink got since it was last asked.
    pub fn take(&mut self, sink: u32) -> Vec<Got> {
        self.got.remove(&sink).unwrap_or_default()
    }

    /// Layers for which keyframes were asked since last asked, and when.
    pub fn take_requests(&mut self) -> Vec<(Duration, u8)> {
        let requests = self.events.iter().filter_map(|(at, event)| match event {
            Event::RequestKeyframe { layer, .. } => Some((*at, *layer)),
            _ => None,
        });
        let requests = requests.collect();
        self.events.retain(|(_, event)| !matches!(event, Event::RequestKeyframe { .. }));
        requests
    }

    pub fn requested_layers(&mut self) -> Vec<u8> {
        self.take_requests().into_iter().map(|(_, layer)| layer).collect()
    }

    pub fn clocks(&self, sink: u32) -> Vec<Clock> {
        let clocks = self.events.iter().filter_map(|(_, event)| match event {
            Event::Clock { sink: to, clock } if to.0 == sink => Some(*clock),
            _ => None,
        });
        clocks.collect()
    }
}

/// What a payload says of itself, from behind its codec's header.
pub fn truth(bytes: &[u8]) -> Option<Truth> {
    let (head, rest) = bytes.split_at_checked(2)?;
    let ssrc = u32::from_be_bytes(rest.get(..4)?.try_into().ok()?);
    let input = u64::from_be_bytes(rest.get(4..12)?.try_into().ok()?);
    let frame = u32::from_be_bytes(rest.get(12..16)?.try_into().ok()?);
    let capture = Duration::from_nanos(u64::from_be_bytes(rest.get(16..24)?.try_into().ok()?));
    Some(Truth { layer: head[0], ssrc, input, frame, capture, keyframe_start: head[1] != 0 })
}

/// Layers of what was got, without repetition.
pub fn layers(got: &[Got]) -> Vec<u8> {
    let mut layers: Vec<u8> = got.iter().filter_map(|got| Some(got.truth?.layer)).collect();
    layers.dedup();
    layers
}

/// Asserts that output sequence numbers follow one another in order of arrival.
pub fn assert_gap_free(got: &[Got]) {
    for pair in got.windows(2) {
        assert_eq!(pair[1].sequence, pair[0].sequence + 1, "{pair:#?}");
    }
}
