//! Who gets what when the line is thin, told through [`sfu::Media`]. Publishers of real rates, in virtual time.

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

#[test]
fn without_an_estimate_nothing_is_limited_and_nothing_wanted() {
    let mut room = Room::new();
    room.publish(CAMERA, TrackSource::Camera, &COSTS);
    room.subscribe(CAMERA, BEN);
    room.play(ms(3_000));
    assert_eq!(room.layer(CAMERA, BEN), Some(2));
    assert!(room.wanted.is_empty() && room.states.is_empty());
}

#[test]
fn a_line_gets_the_layer_that_it_carries() {
    for (kbps, layer) in [(170, 0), (580, 0), (700, 1), (1_900, 1), (2_300, 2), (9_000, 2)] {
        let mut room = call(kbps);
        room.play(ms(5_000));
        assert_eq!(room.layer(CAMERA, BEN), Some(layer), "{kbps}");
        let sent = room.sent(BEN / 10, ms(2_000), ms(5_000));
        assert!(sent <= kbps, "{sent} of {kbps}");
        let wanted = room.wanted[&(BEN / 10)];
        assert!((2_000..2_300).contains(&wanted), "what is wanted does not depend on the line: {wanted}");
    }
}

#[test]
fn a_fresh_joiner_climbs_as_fast_as_the_estimate() {
    let mut room = call(300);
    room.play(ms(400));
    assert_eq!(room.layer(CAMERA, BEN), Some(0));
    room.estimate(BEN / 10, 900);
    room.play(ms(300));
    assert_eq!(room.layer(CAMERA, BEN), Some(1));
    room.estimate(BEN / 10, 3_000);
    room.play(ms(300));
    assert_eq!(room.layer(CAMERA, BEN), Some(2));
}

#[test]
fn who_subscribes_over_a_line_that_is_known_gets_its_layer_at_once() {
    let mut room = Room::new();
    room.publish(CAMERA, TrackSource::Camera, &COSTS);
    room.estimate(BEN / 10, 5_000);
    room.play(ms(3_000));
    room.subscribe(CAMERA, BEN);
    room.play(ms(200));
    assert_eq!(room.seen[&(CAMERA, BEN)].layers.last().unwrap().1, 2);
    assert_eq!(room.layer(CAMERA, BEN), Some(2));
}

#[test]
fn a_line_that_collapses_is_relieved_at_once_and_has_everything_back_soon() {
    let mut room = call(300);
    room.play(ms(200));
    room.estimate(BEN / 10, 5_000);
    room.play(ms(8_000));
    assert_eq!(room.layer(CAMERA, BEN), Some(2));
    // As an estimator sees it.
    let fell = room.stage.elapsed();
    for kbps in [1_500, 900, 500, 370] {
        room.estimate(BEN / 10, kbps);
        room.play(ms(200));
    }
    let sent = room.sent(BEN / 10, fell + ms(100), fell + ms(600));
    assert!(sent < 1_000, "{sent}");
    room.play(ms(3_000));
    assert_eq!(room.layer(CAMERA, BEN), Some(0));
    for kbps in [500, 900, 1_600] {
        room.estimate(BEN / 10, kbps);
        room.play(ms(700));
    }
    room.estimate(BEN / 10, 2_500);
    room.play(ms(1_500));
    assert_eq!(room.layer(CAMERA, BEN), Some(2));
    assert!(room.states.is_empty());
}

/// The old layer would delay the keyframe of the new one by more than it saves.
#[test]
fn a_layer_that_is_much_too_large_stops_before_the_lower_one_begins() {
    let mut room = call(5_000);
    room.play(ms(3_000));
    room.estimate(BEN / 10, 300);
    let fell = room.stage.elapsed();
    room.play(ms(1_000));
    let after = room.seen[&(CAMERA, BEN)].bits.range(fell.as_millis() as u64 / 100 + 1..);
    assert!(after.clone().take(2).all(|(_, bits)| *bits < 100_000), "{after:?}");
    assert_eq!(room.layer(CAMERA, BEN), Some(0));
    let begun = room.seen[&(CAMERA, BEN)].layers.last().unwrap().0;
    assert!(begun - fell < ms(200), "{begun:?} {fell:?}");
}

#[test]
fn a_layer_that_is_a_little_too_large_goes_on_until_the_lower_one_begins() {
    let mut room = Room::new();
    room.publish(CAMERA, TrackSource::Camera, &[900, 1_000]);
    room.estimate(BEN / 10, 2_000);
    room.subscribe(CAMERA, BEN);
    room.play(ms(3_000));
    assert_eq!(room.layer(CAMERA, BEN), Some(1));
    room.estimate(BEN / 10, 1_000);
    let fell = room.stage.elapsed();
    room.play(ms(1_000));
    let gap = room.seen[&(CAMERA, BEN)].bits.range(fell.as_millis() as u64 / 100..).take(8);
    assert!(gap.clone().count() == 8, "no tenth of a second is empty: {gap:?}");
    assert_eq!(room.layer(CAMERA, BEN), Some(0));
}

/// Its publisher does not send the keyframe, and the line gets thinner still.
#[test]
fn a_layer_that_went_on_stops_when_it_has_become_too_large_though_the_choice_is_the_same() {
    let mut room = Room::new();
    room.publish(CAMERA, TrackSource::Camera, &[900, 1_000]);
    room.estimate(BEN / 10, 2_000);
    room.subscribe(CAMERA, BEN);
    room.play(ms(3_000));
    room.estimate(BEN / 10, 1_000);
    room.play_with(ms(500), |room| room.cameras[0].keys[0] = None);
    assert_eq!(room.layer(CAMERA, BEN), Some(1), "until the keyframe comes");
    room.estimate(BEN / 10, 800);
    room.play_with(ms(300), |room| room.cameras[0].keys[0] = None);
    assert_eq!(room.layer(CAMERA, BEN), None);
    room.play(ms(700));
    assert_eq!(room.layer(CAMERA, BEN), Some(0), "its keyframe is still asked for");
    assert_eq!(room.active(), []);
}

/// Switches of Ben's layer in a minute on a line of about `kbps` that moves up and down by a tenth.
fn switches(kbps: u64, period: Option<Duration>, noise: u64) -> usize {
    let mut room = call(kbps);
    room.cameras[0].noise = noise;
    let mut random = Random(kbps);
    let mut frames = 0;
    room.play_with(ms(60_000), |room| {
        frames += 1;
        if frames % 5 == 0 {
            let part = match period {
                Some(period) => {
                    (room.stage.elapsed().as_secs_f64() / period.as_secs_f64() * std::f64::consts::TAU).sin()
                }
                None => random.below(2_001) as f64 / 1_000.0 - 1.0,
            };
            room.estimate(BEN / 10, (kbps as f64 * (1.0 + 0.1 * part)) as u64);
        }
    });
    room.seen.get(&(CAMERA, BEN)).map_or(0, |seen| seen.layers.len() - 1) + room.states.len()
}

#[test]
fn noise_at_a_borderline_rate_does_not_make_layers_flap() {
    for kbps in [165, 200, 560, 600, 1_900, 2_100] {
        for period in [None, Some(1), Some(4), Some(15), Some(30)] {
            let count = switches(kbps, period.map(Duration::from_secs), 0);
            assert!(count <= 6, "{kbps} kbit/s, period {period:?}: {count} switches in 60 s");
        }
    }
}

#[test]
fn noise_of_the_publisher_does_not_make_layers_flap() {
    for kbps in [560, 620, 1_950, 2_100] {
        let mut room = call(kbps);
        room.cameras[0].noise = 100;
        room.play(ms(60_000));
        let count = room.seen[&(CAMERA, BEN)].layers.len() - 1;
        assert!(count <= 3, "{kbps} kbit/s: {count} switches in 60 s");
    }
}

#[test]
fn a_line_below_the_lowest_layer_pauses_and_goes_on_with_room_to_spare() {
    let mut room = call(600);
    room.publish(MICROPHONE, TrackSource::Microphone, &[32]);
    room.subscribe(MICROPHONE, BENS_EAR);
    room.play(ms(5_000));
    room.estimate(BEN / 10, 150);
    room.play(ms(3_000));
    assert_eq!(room.active(), [(CAMERA, false)]);
    assert_eq!(room.layer(CAMERA, BEN), None);
    assert_eq!(room.layer(MICROPHONE, BENS_EAR), Some(0), "sound always goes");
    assert!(room.wanted[&(BEN / 10)] > 2_000, "it is still wanted");
    room.estimate(BEN / 10, 215);
    room.play(ms(3_000));
    assert_eq!(room.active(), [(CAMERA, false)], "no room to spare");
    room.estimate(BEN / 10, 300);
    room.play(ms(1_500));
    assert_eq!(room.active(), [(CAMERA, false), (CAMERA, true)]);
    assert_eq!(room.layer(CAMERA, BEN), Some(0));
}

#[test]
fn a_short_dip_below_the_lowest_layer_pauses_nothing() {
    let mut room = call(600);
    room.play(ms(5_000));
    // What is left of it is a little less than the 150 kbit/s of the lowest layer.
    room.estimate(BEN / 10, 130);
    room.play(ms(1_500));
    assert_eq!(room.layer(CAMERA, BEN), Some(0));
    room.estimate(BEN / 10, 200);
    room.play(ms(5_000));
    room.estimate(BEN / 10, 130);
    room.play(ms(1_500));
    assert_eq!(room.active(), [], "the first dip is over");
    room.play(ms(1_500));
    assert_eq!(room.active(), [(CAMERA, false)]);
}

#[test]
fn a_line_far_below_the_lowest_layer_pauses_at_once() {
    let mut room = call(600);
    room.play(ms(5_000));
    room.estimate(BEN / 10, 80);
    room.play(ms(100));
    assert_eq!(room.active(), [(CAMERA, false)]);
}

#[test]
fn nothing_at_all_is_a_line_too() {
    let mut room = call(0);
    room.play(ms(6_000));
    assert_eq!(room.active(), [(CAMERA, false)]);
    assert!(room.wanted[&(BEN / 10)] > 2_000);
    room.estimate(BEN / 10, 5_000);
    room.play(ms(1_500));
    assert_eq!(room.layer(CAMERA, BEN), Some(2));
}

#[test]
fn the_less_important_is_paused_first_and_comes_back_last() {
    const SCREEN: TrackId = TrackId(7);
    const PINNED: TrackId = TrackId(8);
    let mut room = call(5_000);
    room.publish(SCREEN, TrackSource::ScreenShare, &[200]);
    room.publish(PINNED, TrackSource::Camera, &COSTS);
    room.subscribe(SCREEN, BEN + 1);
    room.subscribe(PINNED, BEN + 2);
    room.settle(PINNED, BEN + 2, &TrackSettings { priority: 9, ..quality(2) });
    room.play(ms(3_000));
    assert_eq!([CAMERA, PINNED].map(|track| room.active().contains(&(track, false))), [false; 2]);
    room.estimate(BEN / 10, 420);
    room.play(ms(3_000));
    assert_eq!(room.active(), [(CAMERA, false)]);
    room.estimate(BEN / 10, 200);
    room.play(ms(3_000));
    assert_eq!(room.active(), [(CAMERA, false), (SCREEN, false)]);
    room.estimate(BEN / 10, 500);
    room.play(ms(3_000));
    assert_eq!(room.active()[2..], [(SCREEN, true)]);
    room.estimate(BEN / 10, 5_000);
    room.play(ms(3_000));
    assert_eq!(room.active()[3..], [(CAMERA, true)]);
    assert_eq!(room.layer(PINNED, BEN + 2), Some(2));
}

#[test]
fn a_stream_without_layers_begins_before_anything_is_known_of_the_line() {
    let mut room = Room::new();
    room.publish(CAMERA, TrackSource::ScreenShare, &[1_500]);
    room.estimate(BEN / 10, 300);
    room.subscribe(CAMERA, BEN);
    room.play(ms(500));
    assert_eq!(room.layer(CAMERA, BEN), Some(0));
    // The estimate does not follow.
    room.play(ms(4_300));
    assert_eq!(room.active(), [(CAMERA, false)]);
    room.estimate(BEN / 10, 2_500);
    room.play(ms(1_500));
    assert_eq!(room.active(), [(CAMERA, false), (CAMERA, true)]);
}

#[test]
fn a_line_whose_estimate_falls_is_trusted_no_more() {
    let mut room = Room::new();
    room.publish(CAMERA, TrackSource::ScreenShare, &[1_500]);
    room.estimate(BEN / 10, 300);
    room.subscribe(CAMERA, BEN);
    room.play(ms(500));
    room.estimate(BEN / 10, 280);
    room.play(ms(100));
    assert_eq!(room.active(), [(CAMERA, false)]);
}

#[test]
fn a_wanted_layer_that_is_not_sent_yet_is_probed_for() {
    let mut room = call(800);
    room.cameras[0].rates[2] = 0;
    room.play(ms(2_000));
    let wanted = room.wanted[&(BEN / 10)];
    assert!((1_900..2_500).contains(&wanted), "{wanted}");
    room.estimate(BEN / 10, 2_500);
    room.play(ms(500));
    assert_eq!(room.layer(CAMERA, BEN), Some(1));
    room.cameras[0].rates[2] = 1_700_000;
    room.play(ms(500));
    assert_eq!(room.layer(CAMERA, BEN), Some(2), "and when it comes, all is ready");
}

#[test]
fn a_layer_that_does_not_come_is_not_probed_for_without_end() {
    let mut room = call(800);
    room.cameras[0].rates[2] = 0;
    room.play(ms(15_000));
    let wanted = room.wanted[&(BEN / 10)];
    assert!((500..700).contains(&wanted), "{wanted}");
}

#[test]
fn a_layer_that_dies_is_replaced_by_what_is_there() {
    let mut room = call(5_000);
    room.play(ms(3_000));
    room.cameras[0].rates[2] = 0;
    room.play(ms(2_500));
    assert_eq!(room.layer(CAMERA, BEN), Some(1));
    room.cameras[0].rates[0] = 0;
    room.cameras[0].rates[1] = 0;
    room.cameras[0].rates[2] = 1_700_000;
    room.play(ms(2_500));
    assert_eq!(room.layer(CAMERA, BEN), Some(2));
    assert!(room.states.is_empty());
}

#[test]
fn a_publisher_that_sends_more_is_held_against_the_same_line() {
    let mut room = call(800);
    room.play(ms(3_000));
    assert_eq!(room.layer(CAMERA, BEN), Some(1));
    room.cameras[0].rates[1] = 1_000_000;
    room.play(ms(4_000));
    assert_eq!(room.layer(CAMERA, BEN), Some(0));
}

#[test]
fn a_receiver_that_wants_less_leaves_room_for_others() {
    const SECOND: TrackId = TrackId(7);
    let mut room = call(2_600);
    room.publish(SECOND, TrackSource::Camera, &COSTS);
    room.subscribe(SECOND, BEN + 1);
    room.play(ms(3_000));
    let both = [CAMERA, SECOND].map(|track| room.layer(track, BEN + u32::from(track == SECOND)));
    assert_eq!(both.iter().flatten().sum::<u8>(), 3, "one is large: {both:?}");
    room.settle(CAMERA, BEN, &quality(0));
    room.play(ms(2_500));
    assert_eq!(room.layer(SECOND, BEN + 1), Some(2));
    room.settle(SECOND, BEN + 1, &DISABLED);
    room.settle(CAMERA, BEN, &quality(2));
    room.play(ms(2_500));
    assert_eq!(room.layer(CAMERA, BEN), Some(2));
    assert!(room.states.is_empty(), "who disables a track is not told that it is paused");
}

#[test]
fn muted_and_unmuted_video_comes_back_as_it_was() {
    let mut room = call(2_500);
    room.play(ms(3_000));
    room.stage.mute(CAMERA, true);
    room.play(ms(2_000));
    assert_eq!(room.layer(CAMERA, BEN), None);
    room.stage.mute(CAMERA, false);
    room.play(ms(400));
    assert_eq!(room.layer(CAMERA, BEN), Some(2));
    assert!(room.states.is_empty());
}

#[test]
fn an_estimate_that_is_forgotten_limits_nothing() {
    let mut room = call(100);
    room.play(ms(6_000));
    assert_eq!(room.active(), [(CAMERA, false)]);
    room.stage.media.set_estimate(room.stage.now, BEN / 10, None);
    room.play(ms(500));
    assert_eq!(room.active(), [(CAMERA, false), (CAMERA, true)]);
    assert_eq!(room.layer(CAMERA, BEN), Some(2));
    room.estimate(BEN / 10, 500);
    room.play(ms(500));
    assert_eq!(room.layer(CAMERA, BEN), Some(0));
    room.stage.media.remove_receiver(BEN / 10);
    room.play(ms(500));
    assert_eq!(room.layer(CAMERA, BEN), Some(2));
}

#[test]
fn who_speaks_comes_before_who_does_not() {
    const SECOND: TrackId = TrackId(7);
    const VOICE: TrackId = TrackId(9);
    let mut room = call(900);
    room.publish(SECOND, TrackSource::Camera, &COSTS);
    let spec = PublicationSpec {
        participant: ParticipantId(10 + SECOND.0),
        kind: MediaKind::Audio,
        layers: 1,
        sizes: vec![],
        source: TrackSource::Microphone,
    };
    let key = room.stage.media.set_publication(room.stage.now, VOICE, spec).unwrap();
    room.subscribe(SECOND, BEN + 1);
    room.play(ms(2_000));
    assert_eq!((room.layer(CAMERA, BEN), room.layer(SECOND, BEN + 1)), (Some(1), Some(0)));
    let mut voice = Source::audio(room.stage.begin);
    room.play_with(ms(4_000), |room| {
        let mut sent = voice.frame(room.stage.elapsed(), false, 1).remove(0);
        sent.received.extensions.audio_level = Some(20);
        let (now, mut out) = (room.stage.now, Vec::new());
        let received = wire::media::Received { arrival: now, ..sent.received };
        room.stage.media.forward(now, key, &received, (&[], &sent.payload), Default::default(), &mut out);
    });
    assert_eq!((room.layer(CAMERA, BEN), room.layer(SECOND, BEN + 1)), (Some(0), Some(1)));
}

#[test]
fn publishers_are_told_what_is_wanted_up_at_once_and_down_after_a_while() {
    let mut room = Room::new();
    room.publish(CAMERA, TrackSource::Camera, &COSTS);
    room.play(ms(6_000));
    assert_eq!(room.demands.pop().map(|(_, _, highest)| highest), Some(None), "nobody is there");
    room.estimate(BEN / 10, 10);
    room.subscribe(CAMERA, BEN);
    assert_eq!(room.demands.pop().map(|(_, _, highest)| highest), Some(Some(2)), "whatever its line");
    room.settle(CAMERA, BEN, &quality(0));
    room.subscribe(CAMERA, CARL);
    room.settle(CAMERA, CARL, &quality(1));
    room.play(ms(4_900));
    assert_eq!(room.demands, []);
    room.play(ms(200));
    assert_eq!(room.demands.pop().map(|(_, _, highest)| highest), Some(Some(1)));
    room.settle(CAMERA, CARL, &DISABLED);
    room.play(ms(3_000));
    room.settle(CAMERA, CARL, &quality(1));
    room.play(ms(9_000));
    assert_eq!(room.demands, [], "who comes back in time is not noticed");
    room.stage.media.remove_subscription(room.stage.now, CAMERA, To(CARL));
    room.stage.media.remove_subscription(room.stage.now, CAMERA, To(BEN));
    room.play(ms(5_100));
    assert_eq!(room.demands.pop().map(|(_, _, highest)| highest), Some(None));
}

#[test]
fn a_room_in_which_nothing_arrives_asks_for_no_time() {
    let mut room = call(700);
    room.play(ms(3_000));
    room.stage.advance(ms(6_000));
    assert_eq!(room.stage.media.poll_timeout(), None);
    room.estimate(BEN / 10, 650);
    room.stage.advance(ms(1_100));
    assert_eq!(room.stage.media.poll_timeout(), None);
}

#[test]
fn a_flood_of_estimates_is_looked_at_twenty_times_a_second() {
    let mut room = call(700);
    room.play(ms(1_000));
    let mut looked = 0;
    let until = room.stage.now + ms(1_000);
    let mut kbps = 700;
    while room.stage.now < until {
        kbps += 1;
        room.stage.media.set_estimate(room.stage.now, BEN / 10, Some(Bitrate::kbps(kbps)));
        if room.stage.media.poll_timeout().is_some_and(|at| at <= room.stage.now) {
            room.stage.media.handle_timeout(room.stage.now);
            looked += 1;
        }
        room.stage.now += ms(1);
    }
    assert!((15..=25).contains(&looked), "{looked}");
}

#[test]
fn every_stream_comes_back_when_bandwidth_does() {
    let mut random = Random(11);
    for round in 0..12 {
        let mut room = Room::new();
        let tracks = 1 + random.below(5);
        for n in 0..tracks {
            let source = if random.permille(300) { TrackSource::ScreenShare } else { TrackSource::Camera };
            let costs = [&COSTS[..], &COSTS[..2], &COSTS[1..2]][random.below(3) as usize];
            room.publish(TrackId(n + 1), source, costs);
            room.subscribe(TrackId(n + 1), BEN + n as u32);
            let settings = TrackSettings { priority: random.below(3) as u32, ..quality(2) };
            room.settle(TrackId(n + 1), BEN + n as u32, &settings);
        }
        for _ in 0..12 {
            let kbps = if random.permille(300) { random.below(300) } else { random.below(6_000) };
            room.estimate(BEN / 10, kbps);
            room.play(ms(200 + random.below(1_500)));
            let told = room.stage.media.snapshot(room.stage.now).receivers.remove(0);
            let trusted = room.stage.elapsed() < ms(4_000);
            // Up to four fifths more for the two seconds before something is paused.
            let within = told.video.0 + told.audio.0 <= told.estimate.0 * 9 / 5;
            assert!(within || trusted, "{round}: {told:?}");
        }
        let wanted = room.wanted[&(BEN / 10)];
        room.estimate(BEN / 10, wanted * 11 / 10);
        // A climb that failed lately is not tried again for two minutes at most; here the line is clearly another.
        room.play(ms(1_000));
        room.estimate(BEN / 10, wanted * 2);
        room.play(ms(3_000));
        let paused: BTreeMap<TrackId, bool> =
            room.states.iter().map(|(_, track, _, active)| (*track, !active)).collect();
        assert!(paused.values().all(|paused| !paused), "{round}: {paused:?}");
        for (n, camera) in room.cameras.iter().enumerate() {
            let best = camera.sources.len() as u8 - 1;
            assert_eq!(room.layer(camera.track, BEN + n as u32), Some(best), "{round} {n}");
        }
    }
}

/// Three spatial layers in one stream, of 150, 350 and 1,200 kbit/s beside one another, each with three temporal layers. Ben's
/// line falls; keyframes come half a second after they are asked for. Returns the frames that he got afterwards, with the
/// spatial and temporal layer of each and whether it was before a keyframe was due.
fn svc(shape: Shape, kbps: u64) -> Vec<(u8, u8, bool)> {
    let mut stage = Stage::new();
    stage.publish(CAMERA, MediaKind::Video, 1);
    stage.estimate(BEN, Some(Bitrate::kbps(5_000)));
    stage.subscribe(CAMERA, BEN);
    let mut encoder = Encoder::new(stage.begin, shape, 0);
    let (mut due, mut before) = (Some(ms(0)), 0);
    for n in 0..210 {
        let now = stage.elapsed();
        if n == 150 {
            before = stage.raw[&BEN].len();
            stage.estimate(BEN, Some(Bitrate::kbps(kbps)));
        }
        let key = due.take_if(|due| *due <= now).is_some();
        for mut sent in encoder.picture(now, key, 1) {
            let size = [600, 1_400, 4_900][usize::from(sent_spatial(&shape, &sent))];
            sent.payload.resize(size, 0);
            sent.received.payload = 0..size;
            stage.deliver(CAMERA, &sent);
        }
        if !stage.requested_layers().is_empty() {
            due.get_or_insert(now + ms(500));
        }
        stage.advance(FRAME);
    }
    let frames = assemble(&stage.raw[&BEN], &mut BTreeSet::new());
    check(&frames, shape.described, &BTreeSet::new());
    let after = &stage.raw[&BEN][before..];
    let truths = after.iter().map(|raw| truth_of(&shape, &raw.payload));
    let mut early = true;
    let seen = truths.map(|truth| {
        early &= !truth.references.is_empty();
        (truth.spatial, truth.temporal, early)
    });
    seen.collect()
}

fn truth_of(shape: &Shape, payload: &[u8]) -> encoder::Truth {
    let head = match shape.codec {
        CodecKind::Vp9 => wire::vp9::Descriptor::parse(payload).unwrap().len,
        _ => 1,
    };
    encoder::Truth::read(&payload[head..])
}

fn sent_spatial(shape: &Shape, sent: &Sent) -> u8 {
    truth_of(shape, &sent.payload).spatial
}

#[test]
fn spatial_layers_are_left_as_soon_as_the_stream_allows() {
    for shape in [
        Shape::new(CodecKind::Av1, true, Mode::Full, 3),
        Shape::new(CodecKind::Vp9, false, Mode::Full, 3),
        Shape::new(CodecKind::Vp9, false, Mode::Key, 3),
    ] {
        let after = svc(shape, 700);
        let highest = after.iter().skip(9).map(|(spatial, ..)| *spatial).max();
        assert_eq!(highest, Some(1), "{shape:?} {after:?}");
    }
}

#[test]
fn a_spatial_layer_that_cannot_be_left_without_a_keyframe_is_thinned_out_until_it_comes() {
    for codec in [CodecKind::Av1, CodecKind::Vp9] {
        let after = svc(Shape::new(codec, true, Mode::Key, 3), 500);
        let early: Vec<_> = after.iter().filter(|(.., early)| *early).collect();
        assert!(early.len() > 3, "{after:?}");
        let (mut thick, mut thin) = (0, 0);
        early.iter().for_each(|(_, temporal, _)| if *temporal > 0 { thick += 1 } else { thin += 1 });
        assert!(thick <= 3 && thin >= 3, "{early:?}");
        assert_eq!(after.last().map(|(spatial, ..)| *spatial), Some(1), "{after:?}");
    }
}

#[test]
fn a_spatial_layer_that_is_much_too_large_stops_until_the_keyframe_comes() {
    let after = svc(Shape::new(CodecKind::Av1, true, Mode::Key, 3), 170);
    let early = after.iter().filter(|(.., early)| *early).count();
    assert!(early <= 1, "{after:?}");
    assert_eq!(after.last().map(|(spatial, ..)| *spatial), Some(0), "{after:?}");
}

#[test]
fn sizes_that_no_screen_has_do_no_harm() {
    for (announced, rendered) in
        [((u32::MAX, u32::MAX), (1, u32::MAX)), ((0, 0), (0, 0)), ((1, u32::MAX), (u32::MAX, u32::MAX))]
    {
        let mut room = call(300);
        let spec = PublicationSpec {
            participant: ParticipantId(1),
            kind: MediaKind::Video,
            layers: 3,
            sizes: vec![announced; 3],
            source: TrackSource::Unknown,
        };
        room.stage.media.set_publication(room.stage.now, CAMERA, spec).unwrap();
        let settings =
            TrackSettings { size: Some(rendered), priority: u32::MAX, fps: u32::MAX, ..quality(255) };
        room.settle(CAMERA, BEN, &settings);
        for kbps in [300, 5_000, u64::MAX / 1_000, 0, 600] {
            room.estimate(BEN / 10, kbps);
            room.play(ms(1_500));
        }
        assert!(room.layer(CAMERA, BEN).is_some(), "{announced:?} {rendered:?}");
    }
}
