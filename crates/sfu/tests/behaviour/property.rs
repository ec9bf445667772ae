//! Random calls over a bad network: whatever happens, the receivers' numbers are sound.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use base::CodecKind;
use base::model::TrackSettings;

use crate::support::*;

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.draw() % bound
    }

    /// True in so many of a thousand cases.
    pub fn permille(&mut self, chance: u64) -> bool {
        self.below(1_000) < chance
    }
}

/// How bad the network is.
#[derive(Clone, Copy)]
struct Network {
    lost: u64,
    duplicated: u64,
    jitter_ms: u64,
}

const PERFECT: Network = Network { lost: 0, duplicated: 0, jitter_ms: 0 };
const BAD: Network = Network { lost: 50, duplicated: 20, jitter_ms: 45 };

const LAYERS: u8 = 3;
const SINKS: [u32; 3] = [20, 30, 40];

struct Call {
    random: Random,
    network: Network,
    stage: Stage,
    sources: Vec<Source>,
    sleeping: [bool; LAYERS as usize],
    /// In flight, by arrival.
    flying: BTreeMap<(Instant, u64), Sent>,
    sent: u64,
    /// Keyframes that were asked for and are on their way.
    asked: BTreeSet<u8>,
    muted: bool,
    next_ssrc: u32,
    /// Inputs that arrived, and not while muted, by stream.
    arrived: BTreeMap<u32, BTreeSet<u64>>,
}

impl Call {
    fn new(seed: u64, network: Network) -> Self {
        let (mut stage, sources) = Stage::camera(LAYERS);
        SINKS.iter().for_each(|sink| stage.subscribe(CAMERA, *sink));
        Self {
            random: Random(seed),
            network,
            stage,
            sources,
            sleeping: [false; LAYERS as usize],
            flying: BTreeMap::new(),
            sent: 0,
            asked: (0..LAYERS).collect(),
            muted: false,
            next_ssrc: 5_000,
            arrived: BTreeMap::new(),
        }
    }

    fn run(mut self, frames: u32) -> Self {
        for _ in 0..frames {
            self.upset();
            self.publish();
            self.arrive(self.stage.now + FRAME);
        }
        self.arrive(self.stage.now + ms(1_000));
        self
    }

    /// People and networks do something, now and then.
    fn upset(&mut self) {
        let sink = SINKS[self.random.below(3) as usize];
        if self.random.permille(60) {
            let settings =
                TrackSettings { disabled: self.random.permille(150), ..quality(self.random.below(3) as u8) };
            self.stage.settle(sink, &settings);
        }
        if self.random.permille(10) {
            let layer = self.random.below(LAYERS.into()) as usize;
            self.sleeping[layer] ^= true;
        }
        if self.random.permille(if self.muted { 100 } else { 5 }) {
            self.muted ^= true;
            self.stage.mute(CAMERA, self.muted);
        }
        if self.random.permille(30) {
            self.stage.want_keyframe(sink);
        }
        if self.random.permille(4) {
            self.restart_a_source();
        }
    }

    fn restart_a_source(&mut self) {
        let layer = self.random.below(LAYERS.into()) as u8;
        let mut source = Source::video(self.stage.begin, layer);
        self.next_ssrc += 1;
        source.ssrc = self.next_ssrc;
        source.sequence = self.random.below(65_536);
        source.timestamp_base = self.random.draw() as u32;
        source.picture_id = self.random.below(32_768) as u16;
        self.sources[usize::from(layer)] = source;
        // The old stream's stragglers would be taken for a third stream, which costs keyframes and proves nothing here.
        self.flying.retain(|_, sent| sent.received.layer != layer);
        self.asked.insert(layer);
    }

    fn publish(&mut self) {
        for layer in 0..LAYERS {
            if self.sleeping[usize::from(layer)] {
                continue;
            }
            let keyframe = self.asked.remove(&layer) || self.random.permille(10);
            let packets = 1 + self.random.below(4) as usize;
            let capture = self.stage.elapsed();
            let source = &mut self.sources[usize::from(layer)];
            let mut sent = source.frame(capture, keyframe, packets);
            if self.random.permille(150) {
                let padding = 1 + self.random.below(3);
                sent.extend((0..padding).map(|_| source.padding()));
            }
            for sent in sent {
                self.send(sent);
            }
            if self.random.permille(30) {
                self.stage.report(CAMERA, &self.sources[usize::from(layer)]);
            }
        }
    }

    fn send(&mut self, sent: Sent) {
        let jitter = self.random.below(self.network.jitter_ms + 1);
        let mut arrival = self.stage.now + ms(10 + jitter);
        if self.random.permille(self.network.lost) {
            if self.random.permille(300) {
                return;
            }
            // Asked for, and sent again.
            arrival += ms(40 + self.random.below(200));
        }
        if self.random.permille(self.network.duplicated) {
            let again = arrival + ms(self.random.below(100));
            self.fly(again, sent.clone());
        }
        self.fly(arrival, sent);
    }

    fn fly(&mut self, arrival: Instant, sent: Sent) {
        self.sent += 1;
        self.flying.insert((arrival, self.sent), sent);
    }

    fn arrive(&mut self, until: Instant) {
        while let Some(entry) = self.flying.first_entry().filter(|entry| entry.key().0 <= until) {
            let ((at, _), sent) = entry.remove_entry();
            self.stage.advance(at - self.stage.now);
            self.stage.deliver(CAMERA, &sent);
            if !self.muted {
                self.arrived.entry(sent.received.ssrc).or_default().insert(sent.received.sequence);
            }
            let wanted = self.stage.requested_layers();
            self.asked.extend(wanted);
        }
        self.stage.advance(until - self.stage.now);
    }

    /// What a receiver has in the end, in the order of its numbers.
    fn received(&self, sink: u32) -> Vec<Got> {
        let mut got = self.stage.got.get(&sink).cloned().unwrap_or_default();
        got.sort_by_key(|got| got.sequence);
        got
    }
}

/// Every output number is used once, and media of one stream keeps the order of its publisher.
fn check_sequence(call: &Call, got: &[Got]) {
    for pair in got.windows(2) {
        assert!(pair[0].sequence < pair[1].sequence, "one number, two packets: {pair:#?}");
        let (Some(a), Some(b)) = (pair[0].truth, pair[1].truth) else { continue };
        if a.ssrc != b.ssrc || b.keyframe_start {
            continue;
        }
        assert!(a.input < b.input, "order changed: {pair:#?}");
        let missing = pair[1].sequence - pair[0].sequence - 1;
        let arrived = &call.arrived[&a.ssrc];
        let lost = (a.input + 1..b.input).filter(|input| !arrived.contains(input)).count() as u64;
        assert!(missing <= lost, "a gap that no loss explains, {missing} > {lost}: {pair:#?}");
    }
}

/// Streams change at keyframes only; with each new frame time goes on, and the picture id goes as the publisher's goes,
/// or by one into a new stream.
fn check_frames(got: &[Got]) {
    let media: Vec<(&Got, Truth)> = got.iter().filter_map(|got| Some((got, got.truth?))).collect();
    if let Some((_, first)) = media.first() {
        assert!(first.keyframe_start);
    }
    for pair in media.windows(2) {
        let [(a, was), (b, is)] = [pair[0], pair[1]];
        let time = b.timestamp.wrapping_sub(a.timestamp) as i32;
        let pictures = b.picture_id.unwrap().wrapping_sub(a.picture_id.unwrap()) & 0x7FFF;
        if was.ssrc != is.ssrc {
            assert!(is.keyframe_start, "a switch in mid-stream: {pair:#?}");
            assert_eq!(pictures, 1, "{pair:#?}");
            assert!(time > 0, "time went back by {time}: {pair:#?}");
        } else if was.frame == is.frame {
            assert_eq!((time, pictures), (0, 0), "{pair:#?}");
        } else {
            let frames = is.frame - was.frame;
            // A pause closes up the picture ids, and returns with a keyframe.
            let closed_up = is.keyframe_start && pictures == 1;
            assert!(u32::from(pictures) == frames || closed_up, "{frames} frames: {pair:#?}");
            assert!(time > 0, "time went back by {time}: {pair:#?}");
            assert!((is.capture - was.capture).as_millis() as i32 * 90 < time + 50_000, "{pair:#?}");
        }
    }
}

#[test]
fn on_a_bad_network_every_receiver_sees_sound_numbers() {
    let mut forwarded = 0;
    for seed in 0..24 {
        let call = Call::new(seed, BAD).run(700);
        for sink in SINKS {
            let got = call.received(sink);
            check_sequence(&call, &got);
            check_frames(&got);
            forwarded += got.len();
        }
    }
    assert!(forwarded > 24 * 3 * 500, "only {forwarded}: the test is not about much");
}

#[test]
fn on_a_perfect_network_no_receiver_sees_a_gap_whatever_layers_pads_and_mutes_do() {
    let mut forwarded = 0;
    for seed in 100..112 {
        let call = Call::new(seed, PERFECT).run(700);
        for sink in SINKS {
            let got = call.received(sink);
            assert_gap_free(&got);
            check_frames(&got);
            assert!(got.iter().all(|got| got.truth.is_some()), "padding was forwarded");
            let pictures = got
                .windows(2)
                .map(|pair| pair[1].picture_id.unwrap().wrapping_sub(pair[0].picture_id.unwrap()) & 0x7FFF);
            assert!(pictures.max() <= Some(1), "a picture id was left out");
            forwarded += got.len();
        }
    }
    assert!(forwarded > 12 * 3 * 500, "only {forwarded}: the test is not about much");
}

#[test]
fn on_a_bad_network_no_receiver_waits_for_ever() {
    for seed in 200..208 {
        let mut call = Call::new(seed, BAD).run(300);
        (call.sleeping, call.muted) = ([false; 3], false);
        call.stage.mute(CAMERA, false);
        SINKS.iter().for_each(|sink| call.stage.settle(*sink, &quality(2)));
        let wanted = call.stage.requested_layers();
        call.asked.extend(wanted);
        for _ in 0..200 {
            call.publish();
            call.arrive(call.stage.now + FRAME);
        }
        for row in &call.stage.media.snapshot(call.stage.now).publications[0].subscriptions {
            assert_eq!((row.current, row.waiting), (Some(2), false), "seed {seed}: {row:?}");
        }
    }
}

#[test]
fn keyframes_are_never_asked_for_more_often_than_allowed() {
    let mut stage = Stage::new();
    stage.publish(CAMERA, base::MediaKind::Video, 2);
    let mut sources: Vec<Source> = (0..2).map(|layer| Source::video(stage.begin, layer)).collect();
    let mut random = Random(5);
    SINKS.iter().for_each(|sink| stage.subscribe(CAMERA, *sink));
    for _ in 0..20_000 {
        let sink = SINKS[random.below(3) as usize];
        match random.below(4) {
            0 => stage.want_keyframe(sink),
            1 => stage.settle(sink, &quality(random.below(2) as u8)),
            2 => stage.mute(CAMERA, random.permille(300)),
            _ => {
                let source = &mut sources[random.below(2) as usize];
                let sent = source.frame(stage.elapsed(), random.permille(50), 1);
                stage.deliver_all(&sent);
            }
        }
        stage.advance(ms(random.below(20)));
    }
    let requests = stage.take_requests();
    assert!(requests.len() > 200);
    for layer in 0..2 {
        let at: Vec<Duration> = requests.iter().filter(|(_, l)| *l == layer).map(|(at, _)| *at).collect();
        assert!(at.windows(2).all(|pair| pair[1] - pair[0] >= ms(500)));
    }
}

/// Anything at all in every field: nothing panics, and no number is used twice.
#[test]
fn garbage_of_every_kind_is_survived() {
    let mut stage = Stage::new();
    stage.publish(CAMERA, base::MediaKind::Video, 3);
    stage.subscribe(CAMERA, BEN);
    let mut random = Random(11);
    let mut source = Source::video(stage.begin, 0);
    for _ in 0..30_000 {
        let mut sent = source.frame(ms(0), true, 1).remove(0);
        let received = &mut sent.received;
        received.layer = random.below(5) as u8;
        received.ssrc = random.below(3) as u32;
        received.sequence = match random.below(3) {
            0 => random.draw() >> random.below(64),
            1 => u64::MAX - random.below(100),
            _ => random.below(3_000),
        };
        received.timestamp = random.draw() as u32;
        received.codec = [CodecKind::Vp8, CodecKind::H264, CodecKind::Opus][random.below(3) as usize];
        received.extensions.audio_level = Some(random.draw() as u8);
        for byte in &mut sent.payload {
            if random.permille(100) {
                *byte = random.draw() as u8;
            }
        }
        let len = random.below(sent.payload.len() as u64 + 1) as usize;
        if random.permille(300) {
            sent.payload.truncate(len);
        }
        stage.deliver(CAMERA, &sent);
        stage.advance(ms(random.below(30)));
    }
    let got = stage.take(BEN);
    let numbers: BTreeSet<u64> = got.iter().map(|got| got.sequence).collect();
    assert_eq!(numbers.len(), got.len());
    assert!(got.len() > 1_000);
}
