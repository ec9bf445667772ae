//! A camera on one worker, receivers on another, and what crosses between them.

use std::time::Duration;

use base::MediaKind;
use base::model::{TrackSettings, TrackSource};
use sfu::{Event, Layers, PublicationSpec};

use crate::support::{
    ANNA, BEN, CAMERA, CARL, DISABLED, FRAME, MICROPHONE, Sent, Source, Stage, To, assert_gap_free, layers,
    ms, quality,
};

/// The relay's number.
const FAR: u8 = 9;

fn set(list: &[u8]) -> Layers {
    list.iter().fold(Layers::default(), |all, layer| all.with(*layer))
}

/// Two workers. Messages cross at once.
struct Two {
    near: Stage,
    far: Stage,
    sources: Vec<Source>,
    /// Packets that crossed, by layer.
    crossed: [usize; 3],
    frames: u32,
}

impl Two {
    /// A camera of three layers on one, Ben on the other.
    fn new() -> Self {
        let (near, sources) = Stage::camera(3);
        let mut two = Self { near, far: Stage::new(), sources, crossed: [0; 3], frames: 0 };
        two.far.begin = two.near.begin;
        two.far.now = two.near.now;
        let sizes = vec![(320, 180), (640, 360), (1280, 720)];
        let spec = PublicationSpec {
            participant: ANNA,
            kind: MediaKind::Video,
            layers: 3,
            sizes,
            source: TrackSource::Camera,
        };
        two.near.media.set_relay(CAMERA, FAR, Some(Layers::default()));
        two.far.media.set_relayed(two.far.now, CAMERA, spec).expect("there is room");
        two.far.subscribe(CAMERA, BEN);
        two.exchange();
        two
    }

    /// What each says reaches the other.
    fn exchange(&mut self) {
        while let Some(event) = self.far.media.poll_event() {
            self.far.events.push((self.far.elapsed(), event));
        }
        for (_, event) in std::mem::take(&mut self.far.events) {
            match event {
                Event::RelayWanted { track, layers } => self.near.media.set_relay(track, FAR, Some(layers)),
                Event::RequestKeyframe { track, layer } => {
                    self.near.media.keyframe_wanted_by_relay(self.near.now, track, layer);
                }
                _ => {}
            }
        }
        self.near.advance(Duration::ZERO);
        while let Some(event) = self.near.media.poll_event() {
            self.near.events.push((self.near.elapsed(), event));
        }
        let tells = |event: &Event<_>| matches!(event, Event::RelayState { track: CAMERA });
        if self.near.events.iter().any(|(_, event)| tells(event)) {
            self.near.events.retain(|(_, event)| !tells(event));
            self.tell();
            self.exchange();
        }
    }

    fn tell(&mut self) {
        let state = self.near.media.relay_state(self.near.now, CAMERA);
        self.far.media.hear_state(self.far.now, CAMERA, &state);
    }

    /// A frame on each of these layers; a keyframe where one was asked for.
    fn frame(&mut self, alive: &[u8]) {
        let requested = self.near.requested_layers();
        for layer in alive {
            let first = self.frames == 0;
            let keyframe = first || requested.contains(layer);
            let capture = self.near.elapsed();
            let sent = self.sources[usize::from(*layer)].frame(capture, keyframe, 2);
            sent.iter().for_each(|sent| self.packet(sent));
        }
        self.frames += 1;
        self.near.advance(FRAME);
        self.far.advance(FRAME);
        if self.frames.is_multiple_of(15) {
            self.tell();
        }
        self.exchange();
    }

    fn packet(&mut self, sent: &Sent) {
        self.near.deliver(CAMERA, sent);
        if self.near.relayed.iter().eq([FAR]) {
            self.crossed[usize::from(sent.received.layer)] += 1;
            self.far.deliver(CAMERA, sent);
        }
        self.exchange();
    }

    fn frames(&mut self, count: u32, alive: &[u8]) {
        (0..count).for_each(|_| self.frame(alive));
    }

    fn settle(&mut self, sink: u32, settings: &TrackSettings) {
        self.far.settle(sink, settings);
        self.exchange();
    }

    fn crossed(&mut self) -> [usize; 3] {
        std::mem::take(&mut self.crossed)
    }
}

#[test]
fn the_first_keyframe_of_a_relayed_track_is_not_missed() {
    let mut two = Two::new();
    two.frame(&[0]);
    let got = two.far.take(BEN);
    assert!(got[0].truth.expect("a packet").keyframe_start);
    assert_eq!(got.len(), 2, "and nobody was asked for another");
    assert!(two.near.requested_layers().is_empty());
}

#[test]
fn only_the_layer_that_is_watched_crosses() {
    let mut two = Two::new();
    two.frames(30, &[0, 1, 2]);
    two.crossed();
    two.frames(30, &[0, 1, 2]);
    assert_eq!(two.crossed(), [0, 0, 60]);
    assert_gap_free(&two.far.take(BEN));
}

#[test]
fn a_layer_that_did_not_cross_can_be_chosen_and_the_old_one_stays_until_it_has_begun() {
    let mut two = Two::new();
    two.frames(60, &[0, 1, 2]);
    two.settle(BEN, &quality(0));
    two.frames(60, &[0, 1, 2]);
    two.crossed();
    two.frames(60, &[0, 1, 2]);
    assert_eq!(two.crossed(), [120, 0, 0]);
    two.settle(BEN, &quality(1));
    two.frames(60, &[0, 1, 2]);
    let got = two.far.take(BEN);
    assert_eq!(layers(&got)[layers(&got).len() - 2..], [0, 1]);
    assert_gap_free(&got);
    two.crossed();
    two.frames(15, &[0, 1, 2]);
    assert_eq!(two.crossed(), [0, 30, 0]);
}

#[test]
fn receivers_of_different_layers_let_each_cross_once() {
    let mut two = Two::new();
    two.far.subscribe(CAMERA, CARL);
    two.far.subscribe(CAMERA, CARL + 10);
    two.settle(CARL, &quality(0));
    two.settle(CARL + 10, &quality(0));
    two.frames(60, &[0, 1, 2]);
    two.crossed();
    two.frames(30, &[0, 1, 2]);
    assert_eq!(two.crossed(), [60, 0, 60]);
}

#[test]
fn nothing_crosses_while_nobody_watches() {
    let mut two = Two::new();
    two.frames(30, &[0, 1, 2]);
    two.settle(BEN, &DISABLED);
    two.crossed();
    two.frames(30, &[0, 1, 2]);
    assert_eq!(two.crossed(), [0; 3]);
    two.settle(BEN, &quality(2));
    two.frames(30, &[0, 1, 2]);
    assert!(two.crossed()[2] > 30);
    two.far.media.remove_subscription(two.far.now, CAMERA, To(BEN));
    two.exchange();
    two.crossed();
    two.frames(30, &[0, 1, 2]);
    assert_eq!(two.crossed(), [0; 3]);
}

#[test]
fn when_the_watched_layer_dies_a_lower_one_crosses() {
    let mut two = Two::new();
    two.frames(60, &[0, 1, 2]);
    two.far.take(BEN);
    two.frames(90, &[0, 1]);
    let got = two.far.take(BEN);
    assert_eq!(layers(&got), [1]);
    assert!(got[0].at < two.far.begin + ms(60 * 34 + 1_800), "after {:?}", got[0].at - two.far.begin);
    two.crossed();
    two.frames(90, &[0, 1, 2]);
    assert_eq!(layers(&two.far.take(BEN)), [1, 2]);
}

#[test]
fn nothing_crosses_that_no_line_carries_and_it_comes_again_when_one_does() {
    let mut two = Two::new();
    let ben = sfu::Sink::receiver(&To(BEN));
    two.frames(60, &[0, 1, 2]);
    let estimate = |two: &mut Two, bits| {
        two.far.media.set_estimate(two.far.now, ben, Some(base::Bitrate(bits)));
    };
    estimate(&mut two, 1_000);
    // Pausing is the last resort, and waits a while.
    two.frames(240, &[0, 1, 2]);
    two.crossed();
    two.frames(60, &[0, 1, 2]);
    assert_eq!(two.crossed(), [0; 3]);
    two.far.take(BEN);
    // Up from the smallest, as an estimate grows.
    for step in 0..20 {
        estimate(&mut two, 100_000 << step.min(6));
        two.frames(15, &[0, 1, 2]);
    }
    let got = two.far.take(BEN);
    assert_eq!(layers(&got).last(), Some(&2), "{:?}", layers(&got));
    two.crossed();
    two.frames(15, &[0, 1, 2]);
    assert_eq!(two.crossed(), [0, 0, 30]);
}

#[test]
fn keyframe_requests_of_both_workers_are_one_to_the_publisher() {
    let mut two = Two::new();
    two.near.subscribe(CAMERA, CARL);
    two.frames(60, &[0, 1, 2]);
    two.near.take_requests();
    for _ in 0..10 {
        two.near.want_keyframe(CARL);
        two.far.want_keyframe(BEN);
        two.exchange();
    }
    assert_eq!(two.near.requested_layers(), [2]);
}

#[test]
fn what_is_wanted_can_be_said_again() {
    let mut two = Two::new();
    assert_eq!(two.far.media.relay_wanted(CAMERA), set(&[0, 1, 2]), "nothing is known yet");
    two.frames(60, &[0, 1, 2]);
    assert_eq!(two.far.media.relay_wanted(CAMERA), set(&[2]));
}

#[test]
fn a_muted_track_does_not_cross() {
    let mut two = Two::new();
    two.frames(30, &[0]);
    two.near.mute(CAMERA, true);
    two.crossed();
    two.frames(10, &[0]);
    assert_eq!(two.crossed(), [0; 3]);
    two.near.mute(CAMERA, false);
    two.frames(10, &[0]);
    assert_eq!(two.crossed(), [20, 0, 0]);
}

#[test]
fn who_comes_from_another_worker_is_not_told_as_a_speaker() {
    let speaks = |relayed: bool| {
        let mut stage = Stage::new();
        let spec = PublicationSpec {
            participant: ANNA,
            kind: MediaKind::Audio,
            layers: 1,
            sizes: Vec::new(),
            source: TrackSource::Microphone,
        };
        let added = match relayed {
            true => stage.media.set_relayed(stage.now, MICROPHONE, spec),
            false => stage.media.set_publication(stage.now, MICROPHONE, spec),
        };
        added.expect("there is room");
        let mut source = Source::audio(stage.begin);
        for _ in 0..100 {
            let mut sent = source.frame(stage.elapsed(), false, 1).remove(0);
            sent.received.extensions.audio_level = Some(0x80 | 20);
            stage.deliver(MICROPHONE, &sent);
            stage.advance(ms(20));
        }
        stage.events.iter().any(|(_, event)| matches!(event, Event::Speakers(_)))
    };
    assert!(speaks(false));
    assert!(!speaks(true));
}

#[test]
fn relays_hold_a_track_until_they_end_and_then_it_is_forgotten() {
    let mut stage = Stage::new();
    stage.media.set_relay(CAMERA, FAR, Some(set(&[0])));
    assert!(!stage.media.is_empty());
    stage.publish(CAMERA, MediaKind::Video, 1);
    stage.media.remove_publication(stage.now, CAMERA);
    assert!(!stage.media.is_empty());
    stage.media.set_relay(CAMERA, FAR, None);
    assert!(stage.media.is_empty());
}
