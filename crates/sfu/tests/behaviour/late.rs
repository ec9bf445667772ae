//! Packets of layered streams that come late: they are judged by what held when they were sent.

use std::collections::BTreeSet;

use base::model::TrackSettings;
use base::{CodecKind, MediaKind};

use crate::decoder::{Decoded, assemble, check, check_no_loss};
use crate::encoder::{Encoder, Mode, Shape};
use crate::layers::fps;
use crate::support::*;

const AV1: Shape = Shape::new(CodecKind::Av1, true, Mode::Key, 3);
const AV1_FULL: Shape = Shape::new(CodecKind::Av1, true, Mode::Full, 3);
const VP9: Shape = Shape::new(CodecKind::Vp9, false, Mode::Key, 3);
const VP8: Shape = Shape::new(CodecKind::Vp8, false, Mode::Key, 1);
const ALL: [Shape; 5] = [AV1, Shape { renews: true, ..AV1 }, AV1_FULL, VP9, VP8];

struct Scene {
    shape: Shape,
    stage: Stage,
    encoder: Encoder,
}

impl Scene {
    /// A call that has gone on for some time.
    fn new(shape: Shape, settings: &TrackSettings) -> Self {
        let mut stage = Stage::new();
        stage.publish(CAMERA, MediaKind::Video, 1);
        stage.subscribe(CAMERA, BEN);
        let encoder = Encoder::new(stage.begin, shape, 0);
        let mut scene = Self { shape, stage, encoder };
        scene.play(40);
        scene.stage.settle(BEN, settings);
        scene.play(40);
        scene
    }

    /// The next picture, of two packets in each spatial layer.
    fn picture(&mut self, key: bool) -> Vec<Sent> {
        self.stage.advance(FRAME);
        self.encoder.picture(self.stage.elapsed(), key, 2)
    }

    fn play(&mut self, pictures: u32) {
        for _ in 0..pictures {
            let key = self.stage.elapsed().is_zero() || !self.stage.requested_layers().is_empty();
            let picture = self.picture(key);
            self.stage.deliver_all(&picture);
        }
    }

    /// What Ben has in the end: nothing is missing.
    fn checked(&mut self) -> Vec<Decoded> {
        let raw = self.stage.raw.get_mut(&BEN).unwrap();
        raw.sort_by_key(|raw| raw.sequence);
        check_no_loss(raw);
        let frames = assemble(raw, &mut BTreeSet::new());
        check(&frames, self.shape.described, &BTreeSet::new());
        frames
    }
}

/// The picture that comes late was sent while others that it refers to were withheld, or went out before others that refer to it;
/// meanwhile more is sent, or less, or both by turns.
#[test]
fn a_picture_that_comes_late_is_not_judged_by_layers_chosen_since() {
    let changes: [(u32, &[u32]); 4] = [(7, &[0]), (0, &[7]), (15, &[7, 0]), (0, &[7, 0, 15, 7, 0])];
    for shape in ALL {
        for (before, after) in changes {
            for place in 0..4 {
                let mut scene = Scene::new(shape, &fps(before));
                scene.play(place);
                let late = scene.picture(false);
                for settings in after {
                    scene.stage.settle(BEN, &fps(*settings));
                    scene.play(5);
                }
                scene.play(5);
                scene.stage.deliver_all(&late);
                scene.play(5);
                scene.checked();
            }
        }
    }
}

#[test]
fn a_repair_that_comes_behind_the_next_keyframe_still_reaches_those_who_wait_for_it() {
    for shape in ALL {
        for place in 0..4 {
            let mut scene = Scene::new(shape, &fps(0));
            scene.play(place);
            let late = scene.picture(false);
            scene.play(3);
            let key = scene.picture(true);
            scene.stage.deliver_all(&key);
            scene.stage.deliver_all(&late);
            scene.play(3);
            scene.checked();
        }
    }
}

/// With another selection behind the pause than before it.
#[test]
fn a_repair_from_before_a_pause_finds_its_place() {
    for shape in ALL {
        let mut scene = Scene::new(shape, &fps(0));
        let picture = scene.picture(false);
        scene.stage.deliver_all(&picture[1..]);
        scene.stage.settle(BEN, &DISABLED);
        scene.play(1);
        scene.stage.settle(BEN, &fps(7));
        scene.play(3);
        scene.stage.deliver_all(&picture[..1]);
        scene.play(3);
        scene.checked();
    }
}

/// Though there are more layers in it than before, and whatever the order in which its packets come.
#[test]
fn a_picture_has_one_end() {
    for shape in [AV1, AV1_FULL, VP9] {
        for late in 1..6 {
            let mut scene = Scene::new(shape, &quality(2));
            scene.encoder.sent = 2;
            scene.play(30);
            scene.encoder.sent = 3;
            let mut picture = scene.picture(true);
            let late = picture.remove(late);
            picture.push(late);
            scene.stage.deliver_all(&picture);
            scene.play(3);
            scene.checked();
        }
    }
}

#[test]
fn a_picture_that_is_over_is_not_climbed_in_though_an_older_one_ends_after_it() {
    let mut scene = Scene::new(AV1, &quality(1));
    let mut older = scene.picture(false);
    let end = older.remove(3);
    scene.stage.deliver_all(&older);
    let picture = scene.picture(true);
    scene.stage.deliver_all(&picture[..4]);
    scene.stage.deliver(CAMERA, &end);
    scene.stage.settle(BEN, &quality(2));
    scene.stage.deliver_all(&picture[4..]);
    scene.play(3);
    assert_eq!(scene.checked().iter().map(|frame| frame.spatial).max(), Some(2));
}

/// Its end comes first, and cannot be read before its beginning.
#[test]
fn the_end_of_a_keyframe_that_overtakes_its_beginning_is_its_end() {
    for after in [0, 2] {
        let mut scene = Scene::new(Shape { renews: true, ..AV1 }, &quality(0));
        let picture = scene.picture(true);
        scene.stage.deliver(CAMERA, &picture[1]);
        scene.stage.settle(BEN, &quality(after));
        scene.stage.deliver(CAMERA, &picture[0]);
        scene.stage.deliver_all(&picture[2..]);
        scene.play(3);
        scene.checked();
    }
}

/// Its structure is the one that was known; what follows it was sent on already.
#[test]
fn a_keyframe_whose_beginning_is_repaired_late_interrupts_nothing() {
    for shape in [AV1, AV1_FULL, VP9, VP8] {
        let mut scene = Scene::new(shape, &fps(0));
        scene.stage.take_requests();
        let picture = scene.picture(true);
        scene.stage.deliver_all(&picture[1..]);
        scene.play(4);
        scene.stage.deliver(CAMERA, &picture[0]);
        scene.play(9);
        assert!(scene.stage.requested_layers().is_empty(), "{shape:?}");
        let frames = scene.checked();
        let pictures: BTreeSet<u32> = frames.iter().map(|frame| frame.name.1 / 4).collect();
        let last: Vec<&u32> = pictures.iter().rev().take(20).collect();
        assert_eq!(last[0] - last[19], 19, "{shape:?}: {last:?}");
    }
}

#[test]
fn which_decode_targets_are_sent_is_heard_from_a_packet_that_comes_late() {
    for (sent, told) in [(1, 0), (2, 1)] {
        let mut scene = Scene::new(AV1_FULL, &quality(2));
        scene.encoder.sent = sent;
        let picture = scene.picture(false);
        scene.stage.deliver_all(&picture[1..]);
        scene.play(2);
        scene.stage.deliver(CAMERA, &picture[0]);
        scene.play(3);
        let snapshot = scene.stage.media.snapshot(scene.stage.now);
        assert_eq!(snapshot.publications[0].subscriptions[0].within, Some((told, 2)));
    }
}

/// Others have brought other structures meanwhile, but its end was sent on.
#[test]
fn the_beginning_of_a_keyframe_that_comes_behind_other_keyframes_joins_its_end() {
    let shape = Shape { renews: true, ..Shape::new(CodecKind::H264, true, Mode::Key, 1) };
    let mut scene = Scene::new(shape, &quality(0));
    let picture = scene.picture(true);
    scene.stage.deliver(CAMERA, &picture[1]);
    for _ in 0..2 {
        let next = scene.picture(true);
        scene.stage.deliver_all(&next);
    }
    scene.stage.deliver(CAMERA, &picture[0]);
    scene.play(3);
    scene.checked();
}
