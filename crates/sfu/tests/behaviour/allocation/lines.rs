//! One line and its layers: which is sent, when it changes, when it pauses.

use super::*;

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
