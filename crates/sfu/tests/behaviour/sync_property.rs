//! Any schedule of layer deaths, new streams, settings, estimates, mutes, loss, reordering and late reports: sound and
//! picture stay together.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use base::model::TrackSettings;
use base::{Bitrate, CodecKind, MediaKind, TrackId};

use crate::clocks::{SKEW, believed};
use crate::property::Random;
use crate::support::*;

const LAYERS: u8 = 3;

/// What flies from Anna to the server.
enum Flying {
    Packet(TrackId, Sent),
    /// A sender report: layer, SSRC, capture time, timestamp.
    Report(TrackId, u8, u32, Duration, u32),
}

struct Call {
    random: Random,
    /// Thousandths of packets that are lost, a part of them for good.
    lost: u64,
    jitter_ms: u64,
    stage: Stage,
    sources: Vec<Source>,
    microphone: Source,
    sleeping: [bool; LAYERS as usize],
    /// When each layer reports next; the microphone is the last.
    reports: [Duration; LAYERS as usize + 1],
    flying: BTreeMap<(Instant, u64), Flying>,
    sent: u64,
    asked: Vec<u8>,
    muted: bool,
    next_ssrc: u32,
    /// The streams that arrive: of another the transport does not know to which layer a report belongs.
    known: BTreeMap<(TrackId, u8), u32>,
    /// By how much each of Ben's streams is off the truth, in microseconds, as of its newest packet.
    errors: BTreeMap<u32, i64>,
    largest: i64,
    switches: usize,
    layer: Option<u8>,
}

impl Call {
    fn new(seed: u64, lost: u64, jitter_ms: u64) -> Self {
        let (mut stage, sources) = Stage::camera(LAYERS);
        stage.publish(MICROPHONE, MediaKind::Audio, 1);
        stage.subscribe(CAMERA, BEN);
        stage.subscribe(MICROPHONE, BENS_EAR);
        let microphone = Source::audio(stage.begin);
        Self {
            random: Random(seed),
            lost,
            jitter_ms,
            stage,
            sources,
            microphone,
            sleeping: [false; LAYERS as usize],
            reports: [ms(0); LAYERS as usize + 1],
            flying: BTreeMap::new(),
            sent: 0,
            asked: (0..LAYERS).collect(),
            muted: false,
            next_ssrc: 5_000,
            known: BTreeMap::new(),
            errors: BTreeMap::new(),
            largest: 0,
            switches: 0,
            layer: None,
        }
    }

    fn run(mut self, frames: u32) -> Self {
        for _ in 0..frames {
            self.upset();
            self.publish();
            self.arrive(self.stage.now + FRAME);
        }
        self
    }

    fn upset(&mut self) {
        if self.random.permille(40) {
            let settings =
                TrackSettings { disabled: self.random.permille(100), ..quality(self.random.below(3) as u8) };
            self.stage.settle(BEN, &settings);
        }
        if self.random.permille(40) {
            let kbps = [0, 40, 60, 80, 120, 1_000][self.random.below(6) as usize];
            self.stage.estimate(BEN, Some(Bitrate::kbps(kbps)).filter(|_| !self.random.permille(200)));
        }
        if self.random.permille(15) {
            self.sleeping[self.random.below(LAYERS.into()) as usize] ^= true;
        }
        if self.random.permille(if self.muted { 60 } else { 5 }) {
            self.muted ^= true;
            self.stage.mute(CAMERA, self.muted);
        }
        if self.random.permille(4) {
            self.begin_anew();
        }
    }

    /// A layer starts over: another SSRC, other numbers.
    fn begin_anew(&mut self) {
        let layer = self.random.below(LAYERS.into()) as u8;
        let mut source = Source::video(self.stage.begin, layer);
        self.next_ssrc += 1;
        source.ssrc = self.next_ssrc;
        source.timestamp_base = self.random.below(1 << 32) as u32;
        self.sources[usize::from(layer)] = source;
        let of_layer = |flying: &Flying| match flying {
            Flying::Packet(_, sent) => {
                sent.received.layer == layer && sent.received.media == MediaKind::Video
            }
            Flying::Report(track, of, ..) => *track == CAMERA && *of == layer,
        };
        self.flying.retain(|_, flying| !of_layer(flying));
        self.asked.push(layer);
        // libwebrtc reports soon after a stream begins.
        self.reports[usize::from(layer)] = self.stage.elapsed();
    }

    fn publish(&mut self) {
        let capture = self.stage.elapsed();
        for layer in 0..LAYERS {
            if self.sleeping[usize::from(layer)] {
                continue;
            }
            let keyframe = self.asked.contains(&layer) || self.random.permille(5);
            self.asked.retain(|asked| *asked != layer);
            let source = &mut self.sources[usize::from(layer)];
            let sent = source.frame(capture, keyframe, 2);
            let (ssrc, timestamp) = (source.ssrc, source.timestamp(capture));
            sent.into_iter().for_each(|sent| self.send(CAMERA, sent));
            self.report((CAMERA, layer, ssrc), capture, timestamp);
        }
        let sent = self.microphone.frame(capture, false, 1).remove(0);
        let (ssrc, timestamp) = (self.microphone.ssrc, self.microphone.timestamp(capture));
        self.send(MICROPHONE, sent);
        self.report((MICROPHONE, 0, ssrc), capture, timestamp);
    }

    fn report(&mut self, (track, layer, ssrc): (TrackId, u8, u32), capture: Duration, timestamp: u32) {
        let place = if track == MICROPHONE { usize::from(LAYERS) } else { usize::from(layer) };
        if self.reports[place] <= capture {
            self.reports[place] = capture + ms(700 + self.random.below(600));
            if !self.random.permille(self.lost) {
                let late = ms(self.random.below(self.jitter_ms + 1));
                self.fly(late, Flying::Report(track, layer, ssrc, capture, timestamp));
            }
        }
    }

    fn send(&mut self, track: TrackId, sent: Sent) {
        let mut late = ms(self.random.below(self.jitter_ms + 1));
        if self.random.permille(self.lost) {
            if self.random.permille(300) {
                return;
            }
            late += ms(40 + self.random.below(200));
        }
        self.fly(late, Flying::Packet(track, sent));
    }

    fn fly(&mut self, late: Duration, what: Flying) {
        self.sent += 1;
        self.flying.insert((self.stage.now + ms(10) + late, self.sent), what);
    }

    fn arrive(&mut self, until: Instant) {
        while let Some(entry) = self.flying.first_entry().filter(|entry| entry.key().0 <= until) {
            let ((at, _), flying) = entry.remove_entry();
            self.stage.advance(at - self.stage.now);
            match flying {
                Flying::Packet(track, sent) => {
                    self.known.insert((track, sent.received.layer), sent.received.ssrc);
                    self.stage.deliver(track, &sent);
                }
                Flying::Report(track, layer, ssrc, ..) if self.known.get(&(track, layer)) != Some(&ssrc) => {}
                Flying::Report(track, layer, _, capture, timestamp) => {
                    let (key, ntp) = (self.stage.media.key(track).unwrap(), self.stage.ntp(capture));
                    self.stage.media.sender_report(key, layer, ntp, timestamp, self.stage.now);
                }
            }
            self.look(BEN, CodecKind::Vp8);
            self.look(BENS_EAR, CodecKind::Opus);
            let wanted = self.stage.requested_layers();
            self.asked.extend(wanted);
        }
        self.stage.advance(until - self.stage.now);
        let wanted = self.stage.requested_layers();
        self.asked.extend(wanted);
    }

    /// What arrived is shown when its receiver believes it was captured.
    fn look(&mut self, sink: u32, codec: CodecKind) {
        let got = self.stage.take(sink);
        let Some(clock) = self.stage.clocks(sink).last().copied() else { return };
        for got in got {
            let Some(truth) = got.truth else { continue };
            let error =
                believed(&self.stage, &clock, got.timestamp, codec) - truth.capture.as_micros() as i64;
            self.errors.insert(sink, error);
            if sink == BEN && self.layer.replace(truth.layer).is_some_and(|layer| layer != truth.layer) {
                self.switches += 1;
            }
        }
        if let (Some(seen), Some(heard)) = (self.errors.get(&BEN), self.errors.get(&BENS_EAR)) {
            self.largest = self.largest.max((seen - heard).abs());
        }
    }
}

#[test]
fn sound_and_picture_stay_together_whatever_happens() {
    let mut switches = 0;
    for seed in 0..40 {
        let (lost, jitter) = [(0, 0), (0, 40), (50, 20), (100, 40)][seed as usize % 4];
        let call = Call::new(seed, lost, jitter).run(900);
        switches += call.switches;
        assert!(
            call.largest <= SKEW,
            "{seed}: {} us apart, {lost} permille lost, jitter {jitter}",
            call.largest
        );
    }
    assert!(switches > 250, "{switches}");
}
