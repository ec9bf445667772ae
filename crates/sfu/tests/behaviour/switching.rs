//! Which layer a receiver gets, and how it comes to another.

use std::time::Duration;

use base::model::TrackSettings;

use crate::support::*;

/// All layers send frames for so long; a layer sends a keyframe when it was asked for one.
fn play(stage: &mut Stage, sources: &mut [Source], time: Duration) {
    let until = stage.now + time;
    while stage.now < until {
        let capture = stage.elapsed();
        let wanted = stage.requested_layers();
        for source in sources.iter_mut() {
            let keyframe = capture.is_zero() || wanted.contains(&source.layer);
            stage.deliver_all(&source.frame(capture, keyframe, 2));
        }
        stage.advance(FRAME);
    }
}

#[test]
fn a_subscriber_gets_the_best_layer_unless_it_says_otherwise() {
    let (mut stage, mut sources) = Stage::camera(3);
    stage.subscribe(CAMERA, BEN);
    play(&mut stage, &mut sources, ms(500));
    let got = stage.take(BEN);
    assert_eq!(layers(&got), [0, 1, 2], "up with the first packets, as the layers appear");
    assert_gap_free(&got);
}

#[test]
fn a_wanted_quality_and_a_wanted_size_choose_the_layer() {
    let (mut stage, mut sources) = Stage::camera(3);
    stage.subscribe(CAMERA, BEN);
    play(&mut stage, &mut sources, ms(500));
    for (settings, layer) in [
        (quality(1), 1),
        (quality(0), 0),
        (TrackSettings { size: Some((1280, 720)), ..quality(0) }, 2),
        (TrackSettings { size: Some((500, 300)), ..quality(2) }, 1),
    ] {
        stage.settle(BEN, &settings);
        play(&mut stage, &mut sources, ms(500));
        let got = stage.take(BEN);
        assert_eq!(got.last().unwrap().truth.unwrap().layer, layer, "{settings:?}");
    }
}

#[test]
fn the_old_layer_flows_until_the_new_one_has_a_keyframe() {
    let (mut stage, mut sources) = Stage::camera(2);
    stage.subscribe(CAMERA, BEN);
    play(&mut stage, &mut sources, ms(300));
    stage.take(BEN);
    stage.settle(BEN, &quality(0));
    assert_eq!(stage.requested_layers(), [0]);
    for _ in 0..5 {
        let capture = stage.elapsed();
        stage.deliver_all(&sources[0].frame(capture, false, 1));
        stage.deliver_all(&sources[1].frame(capture, false, 1));
        stage.advance(FRAME);
    }
    assert_eq!(layers(&stage.take(BEN)), [1]);
    let capture = stage.elapsed();
    stage.deliver_all(&sources[0].frame(capture, true, 1));
    stage.deliver_all(&sources[1].frame(capture, false, 1));
    assert_eq!(layers(&stage.take(BEN)), [0]);
}

#[test]
fn a_switch_continues_every_number() {
    let (mut stage, mut sources) = Stage::camera(2);
    stage.subscribe(CAMERA, BEN);
    for settings in [quality(1), quality(0), quality(1), quality(0)] {
        stage.settle(BEN, &settings);
        play(&mut stage, &mut sources, ms(400));
    }
    let got = stage.take(BEN);
    assert_eq!(layers(&got), [0, 1, 0, 1, 0]);
    assert_gap_free(&got);
    for pair in got.windows(2) {
        let new_frame = u16::from(pair[0].marker);
        let step = |a: u16, b: u16, bits: u16| b.wrapping_sub(a) & ((1 << bits) - 1);
        assert_eq!(step(pair[0].picture_id.unwrap(), pair[1].picture_id.unwrap(), 15), new_frame);
        assert_eq!(step(pair[0].tl0.unwrap().into(), pair[1].tl0.unwrap().into(), 8), new_frame);
        let keyframe = u16::from(pair[1].truth.unwrap().keyframe_start);
        assert_eq!(step(pair[0].key_idx.unwrap().into(), pair[1].key_idx.unwrap().into(), 5), keyframe);
        let time = pair[1].timestamp.wrapping_sub(pair[0].timestamp);
        assert!(time < 2 * 3_100, "never back: {time}");
        assert_eq!(time > 0, new_frame == 1);
    }
}

#[test]
fn a_packet_of_the_old_layer_that_was_lost_before_the_switch_still_finds_its_place() {
    let (mut stage, mut sources) = Stage::camera(2);
    stage.subscribe(CAMERA, BEN);
    play(&mut stage, &mut sources, ms(200));
    stage.settle(BEN, &quality(0));
    let frame = sources[1].frame(stage.elapsed(), false, 3);
    stage.deliver(CAMERA, &frame[0]);
    stage.deliver(CAMERA, &frame[2]);
    let keyframe = sources[0].frame(stage.elapsed(), true, 2);
    stage.deliver_all(&keyframe);
    stage.deliver(CAMERA, &frame[1]);
    let mut got = stage.take(BEN);
    assert_eq!(got.last().unwrap().truth.unwrap().input, frame[1].received.sequence);
    got.sort_by_key(|got| got.sequence);
    assert_gap_free(&got);
}

/// It has no gap there: the number went to the keyframe.
#[test]
fn what_the_old_layer_sent_after_the_switch_is_not_forwarded_however_late() {
    let (mut stage, mut sources) = Stage::camera(2);
    stage.subscribe(CAMERA, BEN);
    play(&mut stage, &mut sources, ms(200));
    stage.settle(BEN, &quality(0));
    let frame = sources[1].frame(stage.elapsed(), false, 2);
    stage.deliver_all(&sources[0].frame(stage.elapsed(), true, 1));
    stage.take(BEN);
    stage.deliver(CAMERA, &frame[1]);
    stage.deliver(CAMERA, &frame[0]);
    assert!(stage.take(BEN).is_empty());
}

/// What followed the start was not forwarded when it came, and would be missing.
#[test]
fn a_keyframe_whose_start_comes_late_starts_nothing() {
    let (mut stage, mut sources) = Stage::camera(1);
    stage.subscribe(CAMERA, BEN);
    let keyframe = sources[0].frame(ms(0), true, 3);
    for at in [1, 2, 0] {
        stage.deliver(CAMERA, &keyframe[at]);
    }
    assert!(stage.take(BEN).is_empty());
    stage.take_requests();
    stage.advance(ms(500));
    assert_eq!(stage.requested_layers(), [0], "asked again");
}

#[test]
fn a_layer_that_falls_silent_is_left_for_the_best_below_it() {
    let (mut stage, mut sources) = Stage::camera(3);
    stage.subscribe(CAMERA, BEN);
    play(&mut stage, &mut sources, ms(500));
    stage.take(BEN);
    play(&mut stage, &mut sources[..2], ms(1_700));
    let got = stage.take(BEN);
    assert_eq!(layers(&got), [1]);
    assert!(got[0].at - stage.begin < ms(2_000), "{:?}", got[0].at - stage.begin);
    // And back, once it returns.
    play(&mut stage, &mut sources, ms(500));
    assert_eq!(layers(&stage.take(BEN)), [1, 2]);
}

#[test]
fn padding_alone_keeps_no_layer_alive() {
    let (mut stage, mut sources) = Stage::camera(2);
    stage.subscribe(CAMERA, BEN);
    play(&mut stage, &mut sources, ms(300));
    stage.take(BEN);
    for _ in 0..60 {
        let keyframe = stage.requested_layers() == [0];
        let low = sources[0].frame(stage.elapsed(), keyframe, 1);
        stage.deliver_all(&low);
        let padding = sources[1].padding();
        stage.deliver(CAMERA, &padding);
        stage.advance(FRAME);
    }
    assert_eq!(layers(&stage.take(BEN)), [0]);
}

/// Padding behind it had kept its number free; the keyframe takes it.
#[test]
fn a_frame_lost_at_the_very_end_of_a_layer_does_not_come_after_its_successor() {
    let (mut stage, mut sources) = Stage::camera(2);
    stage.subscribe(CAMERA, BEN);
    play(&mut stage, &mut sources, ms(200));
    stage.settle(BEN, &quality(0));
    let lost = sources[1].frame(stage.elapsed(), false, 1);
    let padding = sources[1].padding();
    stage.deliver(CAMERA, &padding);
    let capture = stage.elapsed();
    stage.deliver_all(&sources[0].frame(capture, true, 1));
    stage.deliver_all(&lost);
    let got = stage.take(BEN);
    assert_eq!(layers(&got), [0, 1, 0]);
    assert_gap_free(&got);
}

#[test]
fn when_nothing_is_alive_below_the_wanted_layer_the_lowest_alive_is_sent() {
    let (mut stage, mut sources) = Stage::camera(3);
    stage.subscribe(CAMERA, BEN);
    stage.settle(BEN, &quality(0));
    play(&mut stage, &mut sources[1..], ms(300));
    assert_eq!(layers(&stage.take(BEN)), [1]);
}

#[test]
fn a_publisher_that_pauses_altogether_loses_no_layer() {
    let (mut stage, mut sources) = Stage::camera(3);
    stage.subscribe(CAMERA, BEN);
    play(&mut stage, &mut sources, ms(500));
    stage.take(BEN);
    stage.advance(ms(20_000));
    assert!(stage.requested_layers().is_empty());
    play(&mut stage, &mut sources, ms(300));
    let got = stage.take(BEN);
    assert_eq!(layers(&got), [2], "it needs no keyframe to go on");
    assert_gap_free(&got);
}

/// A shared screen on which nothing moves.
#[test]
fn layers_of_one_frame_a_second_stay_alive() {
    let (mut stage, mut sources) = Stage::camera(2);
    stage.subscribe(CAMERA, BEN);
    for n in 0..12 {
        let (low, high) = sources.split_at_mut(1);
        stage.deliver_all(&low[0].frame(stage.elapsed(), n == 0, 1));
        stage.advance(ms(5));
        stage.deliver_all(&high[0].frame(stage.elapsed(), n == 0, 1));
        // Uneven, as frames of a screen are.
        stage.advance(ms(if n % 2 == 0 { 900 } else { 1_080 }));
    }
    assert!(
        stage.take_requests().iter().all(|(at, _)| *at < ms(2_500)),
        "settled once the frame rate is known"
    );
    assert_eq!(*layers(&stage.take(BEN)).last().unwrap(), 1);
}

#[test]
fn a_disabled_track_is_not_sent_and_returns_without_a_gap() {
    let (mut stage, mut sources) = Stage::camera(2);
    stage.subscribe(CAMERA, BEN);
    play(&mut stage, &mut sources, ms(300));
    stage.settle(BEN, &DISABLED);
    let before = stage.take(BEN);
    play(&mut stage, &mut sources, ms(700));
    assert!(stage.take(BEN).is_empty());
    assert!(stage.requested_layers().is_empty());
    stage.settle(BEN, &quality(1));
    play(&mut stage, &mut sources, ms(300));
    let after = stage.take(BEN);
    assert!(after[0].truth.unwrap().keyframe_start);
    assert_eq!(after[0].sequence, before.last().unwrap().sequence + 1);
    assert_gap_free(&after);
}

#[test]
fn a_change_of_mind_before_the_switch_needs_no_keyframe() {
    let (mut stage, mut sources) = Stage::camera(2);
    stage.subscribe(CAMERA, BEN);
    play(&mut stage, &mut sources, ms(300));
    stage.settle(BEN, &quality(0));
    stage.settle(BEN, &quality(1));
    stage.take(BEN);
    stage.take_requests();
    stage.deliver_all(&sources[1].frame(stage.elapsed(), false, 1));
    assert_eq!(stage.take(BEN).len(), 1);
    stage.advance(ms(2_000));
    assert!(stage.requested_layers().is_empty());
}
