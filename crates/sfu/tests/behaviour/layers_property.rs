//! Any schedule of settings, estimates, layer deaths, keyframes, pauses, loss, reordering and repair: the strict decoder accepts what
//! comes out.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use base::model::TrackSettings;
use base::{Bitrate, CodecKind, MediaKind};

use crate::decoder::{Name, assemble, check, check_no_gaps, check_no_loss};
use crate::encoder::{Encoder, Mode, Shape, Truth};
use crate::property::Random;
use crate::support::*;

const SINKS: [u32; 2] = [20, 30];

struct Call {
    random: Random,
    shape: Shape,
    /// Estimates jump around.
    thin: bool,
    /// Packets of a thousand.
    lost: u64,
    jitter_ms: u64,
    stage: Stage,
    encoders: Vec<Encoder>,
    flying: BTreeMap<(Instant, u64), Sent>,
    sent: u64,
    asked: BTreeSet<u8>,
    muted: bool,
    /// Frames of which a packet was lost or came late.
    damaged: BTreeSet<Name>,
    /// Since when each sink may expect pictures.
    watching: [Option<Instant>; 2],
    disabled: [bool; 2],
    thin_line: [bool; 2],
}

impl Call {
    fn new(seed: u64, shape: Shape, streams: u8, thin: bool, (lost, jitter_ms): (u64, u64)) -> Self {
        let mut stage = Stage::new();
        stage.publish(CAMERA, MediaKind::Video, streams);
        SINKS.iter().for_each(|sink| stage.subscribe(CAMERA, *sink));
        let begin = stage.begin;
        Self {
            random: Random(seed),
            shape,
            thin,
            lost,
            jitter_ms,
            stage,
            encoders: (0..streams).map(|layer| Encoder::new(begin, shape, layer)).collect(),
            flying: BTreeMap::new(),
            sent: 0,
            asked: (0..streams).collect(),
            muted: false,
            damaged: BTreeSet::new(),
            watching: [Some(begin); 2],
            disabled: [false; 2],
            thin_line: [false; 2],
        }
    }

    fn run(mut self, pictures: u32) -> Self {
        for _ in 0..pictures {
            self.upset();
            self.publish();
            self.arrive(self.stage.now + FRAME);
        }
        self.arrive(self.stage.now + ms(1_000));
        self
    }

    fn upset(&mut self) {
        let index = self.random.below(2) as usize;
        let sink = SINKS[index];
        if self.random.permille(50) {
            let fps = [0, 7, 15, 30][self.random.below(4) as usize];
            let (disabled, quality) = (self.random.permille(150), self.random.below(3) as u8);
            self.expect_life();
            self.disabled[index] = disabled;
            self.watch(index, ms(0));
            self.stage.settle(sink, &TrackSettings { disabled, quality, fps, ..TrackSettings::default() });
            self.damage_all_in_flight();
        }
        if self.thin && self.random.permille(100) {
            self.expect_life();
            let kbps = self.random.below(400);
            // Many times what there is, unknown, or too little.
            let estimate = match self.random.below(6) {
                0 => None,
                1 => Some(20_000),
                _ => Some(kbps),
            };
            self.thin_line[index] = estimate.is_some_and(|kbps| kbps < 20_000);
            // What climbs waits for a second.
            self.watch(index, ms(1_100));
            self.stage.estimate(sink, estimate.map(Bitrate::kbps));
            self.damage_all_in_flight();
        }
        if self.random.permille(15) {
            let at = self.random.below(self.encoders.len() as u64) as usize;
            let sent = 1 + self.random.below(u64::from(self.shape.spatial)) as u8;
            // More layers begin with a keyframe.
            if sent > self.encoders[at].sent {
                self.asked.insert(at as u8);
            }
            self.encoders[at].sent = sent;
        }
        if self.random.permille(if self.muted { 100 } else { 5 }) {
            self.expect_life();
            self.watching = self.watching.map(|since| since.map(|_| self.stage.now));
            self.muted ^= true;
            self.stage.mute(CAMERA, self.muted);
            self.damage_all_in_flight();
        }
        if self.random.permille(20) {
            self.stage.want_keyframe(sink);
        }
    }

    /// From then on the sink may expect pictures, if at all.
    fn watch(&mut self, index: usize, after: Duration) {
        let watches = !self.disabled[index] && !self.thin_line[index];
        self.watching[index] = watches.then(|| self.stage.now + after);
    }

    fn publish(&mut self) {
        for at in 0..self.encoders.len() {
            let key = self.asked.remove(&(at as u8)) || self.random.permille(8);
            let packets = 1 + self.random.below(3) as u8;
            let capture = self.stage.elapsed();
            let mut sent = self.encoders[at].picture(capture, key, packets);
            if self.random.permille(100) {
                sent.push(self.encoders[at].padding());
            }
            sent.into_iter().for_each(|sent| self.send(sent));
        }
    }

    fn send(&mut self, sent: Sent) {
        let mut arrival = self.stage.now + ms(10 + self.random.below(self.jitter_ms + 1));
        if self.random.permille(self.lost) {
            self.damage(&sent);
            if self.random.permille(300) {
                return;
            }
            arrival += ms(30 + self.random.below(150));
        }
        self.sent += 1;
        self.flying.insert((arrival, self.sent), sent);
    }

    fn unread(&self) -> u64 {
        self.stage.media.snapshot(self.stage.now).publications[0].drops.malformed
    }

    /// Who may expect pictures has some of the last second.
    fn expect_life(&self) {
        if self.lost > 0 {
            // It is for receivers to say what they miss.
            return;
        }
        let now = self.stage.now;
        for (sink, since) in SINKS.iter().zip(self.watching) {
            let patient =
                since.is_some_and(|since| now.saturating_duration_since(since) > ms(1_800)) && !self.muted;
            let last = self.stage.got.get(sink).and_then(|got| got.last());
            let alive = last.is_some_and(|got| now - got.at < ms(1_200));
            let state = || self.stage.media.snapshot(now);
            assert!(
                alive || !patient,
                "{sink}: nothing since {last:?} at {now:?}, {:?} {:?}: {:#?}",
                self.shape,
                self.encoders[0].sent,
                state()
            );
        }
    }

    /// What was in flight over a pause, or over a switch to another stream, may be cut off.
    fn damage_all_in_flight(&mut self) {
        if self.lost > 0 {
            let flying: Vec<Sent> = self.flying.values().cloned().collect();
            flying.iter().for_each(|sent| self.damage(sent));
        }
    }

    fn damage(&mut self, sent: &Sent) {
        if !sent.payload.is_empty() {
            let truth = self.truth(sent);
            self.damaged.insert((truth.ssrc, truth.frame));
        }
    }

    fn truth(&self, sent: &Sent) -> Truth {
        let head = match self.shape.codec {
            CodecKind::Vp8 => 7,
            CodecKind::Vp9 => wire::vp9::Descriptor::parse(&sent.payload).unwrap().len,
            _ => 1,
        };
        Truth::read(&sent.payload[head..])
    }

    fn arrive(&mut self, until: Instant) {
        while let Some(entry) = self.flying.first_entry().filter(|entry| entry.key().0 <= until) {
            let ((at, _), sent) = entry.remove_entry();
            self.stage.advance(at - self.stage.now);
            let unread = self.unread();
            self.stage.deliver(CAMERA, &sent);
            // The structure that describes it was lost, or sent while muted.
            if self.lost > 0 && self.unread() > unread {
                self.damage(&sent);
            }
            if self.encoders.len() > 1 && !sent.payload.is_empty() && self.truth(&sent).references.is_empty()
            {
                self.damage_all_in_flight();
            }
            let wanted = self.stage.requested_layers();
            self.asked.extend(wanted);
        }
        self.stage.advance(until - self.stage.now);
    }
}

fn shapes() -> Vec<(Shape, u8)> {
    let shape = Shape::new;
    let mut shapes = Vec::new();
    for mode in [Mode::Key, Mode::Full] {
        shapes.push((shape(CodecKind::Av1, true, mode, 3), 1));
        shapes.push((Shape { tells: false, ..shape(CodecKind::Vp9, true, mode, 3) }, 1));
        shapes.push((shape(CodecKind::Vp9, false, mode, 3), 1));
        shapes.push((shape(CodecKind::Av1, true, mode, 2), 1));
    }
    for codec in [CodecKind::Av1, CodecKind::Vp9, CodecKind::H264] {
        shapes.push((shape(codec, true, Mode::Key, 1), 3));
    }
    shapes.extend([CodecKind::Vp8, CodecKind::Vp9].map(|codec| (shape(codec, false, Mode::Key, 1), 3)));
    shapes
}

#[test]
fn on_a_perfect_network_everything_that_comes_can_be_decoded_and_nothing_is_missing() {
    for (shape, streams) in shapes() {
        for seed in 0..8 {
            let call = Call::new(seed, shape, streams, seed % 2 == 1, (0, 0)).run(600);
            for sink in SINKS {
                let raw = &call.stage.raw[&sink];
                check_no_loss(raw);
                let frames = assemble(raw, &mut BTreeSet::new());
                assert!(frames.len() > 50, "{seed} {sink} {} {shape:?}", frames.len());
                check(&frames, shape.described, &BTreeSet::new());
                if shape.codec == CodecKind::Vp8 {
                    check_no_gaps(&frames);
                }
            }
        }
    }
}

#[test]
fn on_a_bad_network_nothing_is_missing_but_what_was_lost() {
    for (shape, streams) in shapes() {
        for seed in 0..8 {
            let call = Call::new(seed, shape, streams, seed % 2 == 1, (40, 25)).run(500);
            for sink in SINKS {
                let mut damaged = call.damaged.clone();
                let frames = assemble(&call.stage.raw[&sink], &mut damaged);
                assert!(frames.len() > 30, "{seed} {sink} {} {shape:?}", frames.len());
                check(&frames, shape.described, &damaged);
            }
        }
    }
}
