//! Any schedule of settings, estimates, layer deaths, keyframes, pauses, interruptions, loss, reordering and repair: the strict
//! decoder accepts what comes out.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::{Duration, Instant};

use base::model::TrackSettings;
use base::{Bitrate, CodecKind, MediaKind};

use crate::decoder::{Name, assemble, check, check_no_gaps, check_no_loss};
use crate::encoder::{Encoder, Mode, Shape, Truth};
use crate::property::Random;
use crate::support::*;

const SINKS: [u32; 2] = [20, 30];

/// What becomes of packets on their way to the server.
#[derive(Clone, Copy)]
struct Network {
    /// Packets of a thousand that are lost; of most of them a repair comes late.
    lost: u64,
    /// So much later than others they may come.
    jitter_ms: u64,
    /// Packets come one after the other, up to so long apart.
    spread_ms: u64,
}

const PERFECT: Network = Network { lost: 0, jitter_ms: 0, spread_ms: 0 };
const SLOW: Network = Network { spread_ms: 3, ..PERFECT };
const BAD: Network = Network { lost: 80, jitter_ms: 20, spread_ms: 0 };

struct Call {
    random: Random,
    shape: Shape,
    /// Estimates jump around.
    thin: bool,
    network: Network,
    stage: Stage,
    encoders: Vec<Encoder>,
    flying: BTreeMap<(Instant, u64), Sent>,
    sent: u64,
    /// When the last packet of each stream arrives, where none overtakes another.
    tails: Vec<Instant>,
    asked: BTreeSet<u8>,
    muted: bool,
    /// Packets that could not be read.
    unread: u64,
    keyframes: BTreeSet<Name>,
    /// Frames of which a packet never came, or could not be read.
    lost: BTreeSet<Name>,
    /// By sink, those of which a packet came when their stream did not go there.
    cut: [BTreeSet<Name>; 2],
    /// By sink, beginnings, and with which packet the last one was.
    begun: [(u32, (u8, u64)); 2],
    /// Since when each sink may expect pictures.
    watching: [Option<Instant>; 2],
    disabled: [bool; 2],
    thin_line: [bool; 2],
}

impl Call {
    fn new(seed: u64, shape: Shape, streams: u8, network: Network) -> Self {
        let mut stage = Stage::new();
        stage.publish(CAMERA, MediaKind::Video, streams);
        SINKS.iter().for_each(|sink| stage.subscribe(CAMERA, *sink));
        let begin = stage.begin;
        Self {
            random: Random(seed),
            shape,
            thin: seed % 2 == 1,
            network,
            stage,
            encoders: (0..streams).map(|layer| Encoder::new(begin, shape, layer)).collect(),
            flying: BTreeMap::new(),
            sent: 0,
            tails: vec![begin; usize::from(streams)],
            asked: (0..streams).collect(),
            muted: false,
            unread: 0,
            keyframes: BTreeSet::new(),
            lost: BTreeSet::new(),
            cut: [BTreeSet::new(), BTreeSet::new()],
            begun: [(0, (0, 0)); 2],
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
        if self.random.permille(120) {
            let fps = [0, 7, 15, 30][self.random.below(4) as usize];
            let (disabled, quality) = (self.random.permille(60), self.random.below(3) as u8);
            self.expect_life();
            self.disabled[index] = disabled;
            self.watch(index, ms(0));
            self.stage.settle(sink, &TrackSettings { disabled, quality, fps, ..TrackSettings::default() });
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
        }
        if self.random.permille(20) {
            self.stage.want_keyframe(sink);
        }
        if self.random.permille(5) {
            self.expect_life();
            self.watching[index] = self.watching[index].map(|_| self.stage.now);
            self.stage.media.interrupt(self.stage.now, CAMERA, To(sink));
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
            if key {
                let name = self.name(&sent[0]);
                self.keyframes.insert(name);
            }
            if self.random.permille(100) {
                sent.push(self.encoders[at].padding());
            }
            sent.into_iter().for_each(|sent| self.send(sent));
        }
    }

    fn send(&mut self, sent: Sent) {
        let Network { lost, jitter_ms, spread_ms } = self.network;
        let mut arrival = self.stage.now + ms(10 + self.random.below(jitter_ms + 1));
        if spread_ms > 0 {
            let tail = &mut self.tails[usize::from(sent.received.layer)];
            arrival = arrival.max(*tail + ms(self.random.below(spread_ms + 1)));
            *tail = arrival;
        }
        if self.random.permille(lost) {
            if self.random.permille(300) {
                self.lose(&sent);
                return;
            }
            arrival += ms(30 + self.random.below(270));
        }
        self.sent += 1;
        self.flying.insert((arrival, self.sent), sent);
    }

    /// Who may expect pictures has some of the last second.
    fn expect_life(&self) {
        if self.network.lost > 0 {
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

    /// It never came, or in vain.
    fn lose(&mut self, sent: &Sent) {
        if !sent.payload.is_empty() {
            self.lost.insert(self.name(sent));
        }
    }

    fn name(&self, sent: &Sent) -> Name {
        let truth = self.truth(sent);
        (truth.ssrc, truth.frame)
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
            self.deliver(&sent);
            let wanted = self.stage.requested_layers();
            self.asked.extend(wanted);
        }
        self.stage.advance(until - self.stage.now);
    }

    fn deliver(&mut self, sent: &Sent) {
        self.stage.deliver(CAMERA, sent);
        let now = self.stage.media.snapshot(self.stage.now).publications.remove(0);
        // The structure that describes it was lost.
        if std::mem::replace(&mut self.unread, now.drops.malformed) < now.drops.malformed {
            self.lose(sent);
        }
        let at = (sent.received.layer, sent.received.sequence);
        for (index, row) in now.subscriptions.iter().enumerate() {
            let (begun, first) = &mut self.begun[index];
            if *begun != row.begun {
                (*begun, *first) = (row.begun, at);
            }
            let goes = !now.muted && row.current == Some(at.0) && first.0 == at.0 && first.1 <= at.1;
            if !goes && !sent.payload.is_empty() {
                let name = self.name(sent);
                self.cut[index].insert(name);
            }
        }
    }
}

/// What came out.
impl Call {
    /// How many frames the sink got.
    fn check_without_loss(&self, index: usize) -> usize {
        let raw = &self.stage.raw[&SINKS[index]];
        check_no_loss(raw);
        let frames = assemble(raw, &mut BTreeSet::new());
        check(&frames, self.shape.described, &self.cut[index]);
        if self.shape.codec == CodecKind::Vp8 {
            check_no_gaps(&frames);
        }
        let (cut, begun) = (frames.iter().filter(|frame| !frame.whole).count(), self.begun[index].0);
        assert!(cut <= begun as usize, "{cut} pictures were cut off by the ends of {begun} stretches");
        frames.len()
    }

    /// How many frames the sink got.
    fn check_with_loss(&self, index: usize) -> usize {
        let Some(raw) = self.stage.raw.get(&SINKS[index]) else { return 0 };
        let known = &self.lost | &self.cut[index];
        let mut damaged = known.clone();
        let frames = assemble(raw, &mut damaged);
        for unreadable in damaged.difference(&known) {
            let begin = self.keyframes.range(..=unreadable).next_back();
            let lost = begin.is_some_and(|begin| begin.0 == unreadable.0 && known.contains(begin));
            assert!(lost, "{unreadable:?} lacks the structure of {begin:?}");
        }
        check(&frames, self.shape.described, &damaged);
        frames.len()
    }
}

fn shapes() -> Vec<(Shape, u8)> {
    let shape = Shape::new;
    let mut shapes = Vec::new();
    let renewed = |codec, mode, spatial| Shape { renews: true, ..shape(codec, true, mode, spatial) };
    for mode in [Mode::Key, Mode::Full] {
        shapes.push((shape(CodecKind::Av1, true, mode, 3), 1));
        shapes.push((Shape { tells: false, ..renewed(CodecKind::Vp9, mode, 3) }, 1));
        shapes.push((shape(CodecKind::Vp9, false, mode, 3), 1));
        shapes.push((renewed(CodecKind::Av1, mode, 2), 1));
    }
    shapes.push((shape(CodecKind::Av1, true, Mode::Key, 1), 3));
    shapes.push((shape(CodecKind::H264, true, Mode::Key, 1), 3));
    shapes.push((renewed(CodecKind::Vp9, Mode::Key, 1), 3));
    shapes.extend([CodecKind::Vp8, CodecKind::Vp9].map(|codec| (shape(codec, false, Mode::Key, 1), 3)));
    shapes
}

/// A few, and many in full tests.
fn seeds() -> Range<u64> {
    let full = std::env::var_os("TEST_FULL").is_some_and(|full| !full.is_empty());
    0..if full { 100 } else { 10 }
}

/// Says of which call it is that a check fails.
struct Named(String);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.0);
        }
    }
}

fn calls(pictures: u32, network: Network, check: impl Fn(&Call)) {
    for (shape, streams) in shapes() {
        for seed in seeds() {
            let _name = Named(format!("seed {seed} of {shape:?}"));
            check(&Call::new(seed, shape, streams, network).run(pictures));
        }
    }
}

#[test]
fn on_a_perfect_network_everything_that_comes_can_be_decoded_and_nothing_is_missing() {
    calls(500, PERFECT, |call| {
        for index in 0..SINKS.len() {
            let frames = call.check_without_loss(index);
            assert!(frames > 50, "{index}: {frames}");
        }
    });
}

#[test]
fn nothing_is_missing_when_pictures_take_their_time() {
    calls(300, SLOW, |call| {
        for index in 0..SINKS.len() {
            call.check_without_loss(index);
        }
    });
}

#[test]
fn on_a_bad_network_nothing_is_missing_but_what_was_lost() {
    let (got, runs) = (Cell::new(0), Cell::new(0));
    calls(400, BAD, |call| {
        for index in 0..SINKS.len() {
            got.set(got.get() + call.check_with_loss(index));
            runs.set(runs.get() + 1);
        }
    });
    assert!(got.get() > 50 * runs.get(), "{got:?} frames in {runs:?} runs");
}
