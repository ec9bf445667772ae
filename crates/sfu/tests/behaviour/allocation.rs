//! Who gets what when the line is thin, told through [`sfu::Media`]. Publishers of real rates, in virtual time.

mod changes;
mod lines;
mod spatial;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base::model::{TrackSettings, TrackSource};
use base::{Bitrate, CodecKind, MediaKind, ParticipantId, TrackId};
use sfu::{Event, PublicationSpec};

use crate::decoder::{assemble, check};
use crate::encoder::{self, Encoder, Mode, Shape};
use crate::property::Random;
use crate::support::*;

/// What the crate takes a packet to cost beside its payload.
const OVERHEAD: usize = 44;
/// LiveKit's presets, in kbit/s.
const COSTS: [u64; 3] = [150, 500, 1_700];
/// From a keyframe request to the keyframe.
const ASKED: Duration = Duration::from_millis(100);

/// A publisher's track.
struct Camera {
    track: TrackId,
    sources: Vec<Source>,
    /// Bits per second of each layer, overhead included; 0: it is not sent.
    rates: Vec<u64>,
    /// When a keyframe is due.
    keys: Vec<Option<Duration>>,
    /// Each second's rate is off by so many thousandths at most.
    noise: u64,
}

/// What happened to one subscription.
#[derive(Clone, Debug, Default)]
struct Seen {
    /// Layers received, with when they began.
    layers: Vec<(Duration, u8)>,
    /// Bits, by hundred milliseconds.
    bits: BTreeMap<u64, u64>,
    last: Duration,
}

struct Room {
    stage: Stage,
    cameras: Vec<Camera>,
    seen: BTreeMap<(TrackId, u32), Seen>,
    /// Newest estimate wanted, by receiver.
    wanted: BTreeMap<u32, u64>,
    /// Pauses and resumptions.
    states: Vec<(Duration, TrackId, u32, bool)>,
    demands: Vec<(Duration, TrackId, Option<u8>)>,
    random: Random,
}

impl Room {
    fn new() -> Self {
        Self {
            stage: Stage::new(),
            cameras: Vec::new(),
            seen: BTreeMap::new(),
            wanted: BTreeMap::new(),
            states: Vec::new(),
            demands: Vec::new(),
            random: Random(5),
        }
    }

    fn publish(&mut self, track: TrackId, source: TrackSource, costs: &[u64]) -> &mut Camera {
        let (kind, all) = if source == TrackSource::Microphone {
            (MediaKind::Audio, vec![])
        } else {
            (MediaKind::Video, vec![(320, 180), (640, 360), (1280, 720)])
        };
        let sizes = all[all.len() - costs.len().min(all.len())..].to_vec();
        let participant = ParticipantId(10 + track.0);
        let spec = PublicationSpec { participant, kind, layers: costs.len() as u8, sizes, source };
        self.stage.media.set_publication(self.stage.now, track, spec).unwrap();
        let begin = self.stage.begin;
        let of = |layer| match kind {
            MediaKind::Audio => Source::audio(begin),
            MediaKind::Video => Source::video(begin, layer),
        };
        let now = self.stage.elapsed();
        self.cameras.push(Camera {
            track,
            sources: (0..costs.len() as u8).map(of).collect(),
            rates: costs.iter().map(|cost| cost * 1_000).collect(),
            keys: vec![Some(now); costs.len()],
            noise: 0,
        });
        self.read();
        self.cameras.last_mut().unwrap()
    }

    fn estimate(&mut self, receiver: u32, kbps: u64) {
        self.stage.media.set_estimate(self.stage.now, receiver, Some(Bitrate::kbps(kbps)));
        self.read();
    }

    fn settle(&mut self, track: TrackId, sink: u32, settings: &TrackSettings) {
        assert!(self.stage.media.set_settings(self.stage.now, track, To(sink), settings));
        self.read();
    }

    fn play(&mut self, time: Duration) {
        self.play_with(time, |_| {});
    }

    /// `each` is called with each frame.
    fn play_with(&mut self, time: Duration, mut each: impl FnMut(&mut Self)) {
        let until = self.stage.elapsed() + time;
        while self.stage.elapsed() < until {
            each(self);
            for at in 0..self.cameras.len() {
                self.frame(at);
            }
            self.stage.advance(FRAME);
            self.read();
        }
    }

    fn frame(&mut self, at: usize) {
        let now = self.stage.elapsed();
        for layer in 0..self.cameras[at].sources.len() {
            let off = self.random.below(2 * self.cameras[at].noise + 1);
            let camera = &mut self.cameras[at];
            if camera.rates[layer] == 0 {
                continue;
            }
            let key = camera.keys[layer].take_if(|due| *due <= now).is_some();
            let rate = camera.rates[layer] * (1_000 + off - camera.noise) / 1_000;
            let bytes = (rate / 240) as usize * if key { 4 } else { 1 };
            let packets = bytes.div_ceil(1_100).max(1);
            let mut sent = camera.sources[layer].frame(now, key, packets);
            for sent in &mut sent {
                sent.payload.resize((bytes / packets).saturating_sub(OVERHEAD).max(sent.payload.len()), 0);
                sent.received.payload = 0..sent.payload.len();
            }
            let track = camera.track;
            sent.iter().for_each(|sent| self.stage.deliver(track, sent));
            self.note(track);
        }
    }

    /// What went out of one frame of a track.
    fn note(&mut self, track: TrackId) {
        let now = self.stage.elapsed();
        for (sink, raw) in std::mem::take(&mut self.stage.raw) {
            let seen = self.seen.entry((track, sink)).or_default();
            let bytes: usize = raw.iter().map(|raw| raw.payload.len() + OVERHEAD).sum();
            *seen.bits.entry(now.as_millis() as u64 / 100).or_default() += bytes as u64 * 8;
            seen.last = now;
            for got in self.stage.take(sink) {
                let layer = got.truth.unwrap().layer;
                if seen.layers.last().is_none_or(|(_, last)| *last != layer) {
                    seen.layers.push((now, layer));
                }
            }
        }
        self.read();
    }

    fn read(&mut self) {
        let now = self.stage.elapsed();
        for (_, event) in std::mem::take(&mut self.stage.events) {
            match event {
                Event::RequestKeyframe { track, layer } => {
                    let camera = self.cameras.iter_mut().find(|camera| camera.track == track).unwrap();
                    camera.keys[usize::from(layer)].get_or_insert(now + ASKED);
                }
                Event::Wanted { receiver, bitrate } => {
                    self.wanted.insert(receiver, bitrate.0 / 1_000);
                }
                Event::StreamState { track, sink, active } => {
                    self.states.push((now, track, sink.0, active));
                }
                Event::WantedLayer { track, highest } => self.demands.push((now, track, highest)),
                _ => {}
            }
        }
    }

    /// The layer that arrives; `None`: nothing in the last fifth of a second.
    fn layer(&self, track: TrackId, sink: u32) -> Option<u8> {
        let seen = self.seen.get(&(track, sink))?;
        let fresh = self.stage.elapsed() - seen.last < ms(200);
        seen.layers.last().filter(|_| fresh).map(|(_, layer)| *layer)
    }

    /// kbit/s that a receiver was sent from one time to another.
    fn sent(&self, receiver: u32, from: Duration, to: Duration) -> u64 {
        let tenths = from.as_millis() as u64 / 100..to.as_millis() as u64 / 100;
        let of = self.seen.iter().filter(|((_, sink), _)| sink / 10 == receiver);
        let bits: u64 =
            of.map(|(_, seen)| seen.bits.range(tenths.clone()).map(|(_, bits)| bits).sum::<u64>()).sum();
        bits / (tenths.end - tenths.start).max(1) / 100
    }

    fn subscribe(&mut self, track: TrackId, sink: u32) {
        self.stage.subscribe(track, sink);
        self.read();
    }

    fn active(&self) -> Vec<(TrackId, bool)> {
        self.states.iter().map(|(_, track, _, active)| (*track, *active)).collect()
    }
}

/// Anna's camera, and Ben who watches it over a line of so many kbit/s.
fn call(kbps: u64) -> Room {
    let mut room = Room::new();
    room.publish(CAMERA, TrackSource::Camera, &COSTS);
    room.estimate(BEN / 10, kbps);
    room.subscribe(CAMERA, BEN);
    room
}
