//! The publisher's clock, and that what belongs together stays together.

use std::time::Duration;

use base::{CodecKind, MediaKind};
use sfu::Clock;

use crate::support::*;

/// Lip sync that a person does not notice.
pub const SKEW: i64 = 80_000;

/// When the receiver takes the packet to have been captured, by the newest clock it was told, since the room began; in
/// microseconds.
pub fn believed(stage: &Stage, clock: &Clock, timestamp: u32, codec: CodecKind) -> i64 {
    let ticks = i64::from(timestamp.wrapping_sub(clock.rtp) as i32);
    clock.ntp.micros_since(stage.ntp(Duration::ZERO)) + ticks * 1_000_000 / i64::from(codec.clock_rate())
}

fn error(stage: &Stage, sink: u32, codec: CodecKind) -> i64 {
    let clock = *stage.clocks(sink).last().expect("a clock");
    let got = stage.got[&sink].last().unwrap();
    believed(stage, &clock, got.timestamp, codec) - got.truth.unwrap().capture.as_micros() as i64
}

#[test]
fn a_subscription_that_begins_is_told_the_clock_at_once() {
    let (mut stage, mut sources) = Stage::camera(1);
    stage.report(CAMERA, &sources[0]);
    stage.deliver_all(&sources[0].frame(ms(0), true, 1));
    stage.report(CAMERA, &sources[0]);
    stage.subscribe(CAMERA, BEN);
    assert!(stage.clocks(BEN).is_empty());
    stage.advance(ms(100));
    stage.deliver_all(&sources[0].frame(ms(100), true, 1));
    assert_eq!(stage.clocks(BEN).len(), 1);
    assert!(error(&stage, BEN, CodecKind::Vp8).abs() <= 50);
}

#[test]
fn every_receiver_is_told_when_the_publisher_reports() {
    let (mut stage, mut sources) = Stage::camera(1);
    stage.subscribe(CAMERA, BEN);
    stage.subscribe(CAMERA, CARL);
    stage.deliver_all(&sources[0].frame(ms(0), true, 1));
    stage.advance(ms(1_000));
    stage.report(CAMERA, &sources[0]);
    let (ben, carl) = (stage.clocks(BEN), stage.clocks(CARL));
    assert_eq!((ben.len(), carl.len()), (1, 1));
    assert_eq!((ben[0].ntp, ben[0].at), (carl[0].ntp, stage.now));
    assert_ne!(ben[0].rtp, carl[0].rtp, "each in its own timestamps");
}

#[test]
fn reports_in_a_flood_are_ignored() {
    let (mut stage, mut sources) = Stage::camera(1);
    stage.subscribe(CAMERA, BEN);
    stage.deliver_all(&sources[0].frame(ms(0), true, 1));
    let key = stage.media.key(CAMERA).unwrap();
    let mut taken = 0;
    for _ in 0..500 {
        stage.advance(ms(1));
        stage.report(CAMERA, &sources[0]);
        stage.advance(ms(1));
        let (ntp, rtp) = (stage.ntp(stage.elapsed()), sources[0].timestamp(stage.elapsed()));
        taken += usize::from(stage.media.sender_report(key, 0, ntp, rtp, stage.now));
    }
    assert!(stage.clocks(BEN).len() <= 10);
    assert!(taken <= 10, "and whoever passes them on is told: {taken}");
    stage.advance(ms(200));
    assert!(stage.media.sender_report(key, 0, stage.ntp(stage.elapsed()), 0, stage.now));
}

#[test]
fn reports_of_a_layer_that_a_receiver_does_not_get_do_not_reach_it() {
    let (mut stage, mut sources) = Stage::camera(2);
    stage.subscribe(CAMERA, BEN);
    stage.settle(BEN, &quality(0));
    for source in &mut sources {
        stage.deliver_all(&source.frame(ms(0), true, 1));
    }
    stage.advance(ms(1_000));
    stage.report(CAMERA, &sources[1]);
    assert!(stage.clocks(BEN).is_empty());
}

/// A call of Anna, whose camera's layers number time differently, and whose packets are late by a jitter of up to `jitter`.
/// Returns the largest skew between sound and picture that Ben would see, in microseconds, and by how many ticks the time
/// between two frames was wrong at most, the first second apart.
fn play_with_switches(reports_from: Duration, jitter: u64) -> (i64, u32) {
    let (mut stage, mut sources) = Stage::camera(3);
    stage.publish(MICROPHONE, MediaKind::Audio, 1);
    let mut microphone = Source::audio(stage.begin);
    stage.subscribe(CAMERA, BEN);
    stage.subscribe(MICROPHONE, BENS_EAR);
    let mut random = 1u64;
    let mut largest = 0;
    for n in 0..600u64 {
        let capture = FRAME * n as u32;
        if n % 60 == 0 {
            stage.settle(BEN, &quality([2, 0, 1][(n / 60 % 3) as usize]));
        }
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let late = Duration::from_millis((random >> 33) % (jitter + 1));
        let due = (stage.begin + capture + late).max(stage.now);
        stage.advance(due - stage.now);
        let wanted = stage.requested_layers();
        for source in &mut sources {
            // A layer reports once a second, from some time on.
            if capture >= reports_from && n % 30 == 10 {
                stage.report(CAMERA, source);
            }
            let keyframe = n == 0 || wanted.contains(&source.layer);
            stage.deliver_all(&source.frame(capture, keyframe, 2));
        }
        if n % 30 == 3 {
            stage.report(MICROPHONE, &microphone);
        }
        stage.deliver(MICROPHONE, &microphone.frame(capture, false, 1)[0]);
        if !stage.clocks(BEN).is_empty() && !stage.clocks(BENS_EAR).is_empty() {
            let skew = error(&stage, BEN, CodecKind::Vp8) - error(&stage, BENS_EAR, CodecKind::Opus);
            largest = largest.max(skew.abs());
        }
    }
    let got = stage.take(BEN);
    assert!(layers(&got).len() > 8, "it did switch: {:?}", layers(&got));
    let mut wrong = 0;
    for pair in got.windows(2) {
        let step = pair[1].timestamp.wrapping_sub(pair[0].timestamp) as i32;
        assert!(step >= 0, "time went back by {step} ticks");
        let frame = |got: &Got| got.truth.map(|truth| (truth.layer, truth.frame));
        assert_eq!(step == 0, frame(&pair[0]) == frame(&pair[1]));
        let [was, is] = [pair[0], pair[1]].map(|got| got.truth.unwrap().capture);
        if was > ms(1_000) {
            let truth = ((is - was).as_micros() * 9 / 100) as u32;
            wrong = wrong.max(truth.abs_diff(step as u32));
        }
    }
    (largest, wrong)
}

#[test]
fn sound_and_picture_stay_together_through_layer_switches() {
    let (skew, wrong) = play_with_switches(ms(0), 0);
    assert!(skew <= 1_000, "{skew} us");
    assert!(wrong <= 5, "{wrong} ticks");
}

#[test]
fn alignment_by_reports_does_not_feel_the_jitter_of_the_network() {
    let (skew, wrong) = play_with_switches(ms(0), 60);
    assert!(skew <= 1_000, "{skew} us");
    assert!(wrong <= 5, "{wrong} ticks");
}

#[test]
fn sound_and_picture_stay_together_when_the_first_switches_come_before_any_report() {
    let (skew, wrong) = play_with_switches(ms(7_000), 60);
    assert!(skew <= SKEW, "{skew} us");
    assert!(wrong <= 80 * 90, "{wrong} ticks");
}

#[test]
fn a_stream_that_starts_over_does_not_take_the_old_ones_clock_along() {
    let (mut stage, mut sources) = Stage::camera(1);
    stage.subscribe(CAMERA, BEN);
    stage.deliver_all(&sources[0].frame(ms(0), true, 1));
    stage.report(CAMERA, &sources[0]);
    stage.advance(ms(100));
    let mut again = Source::video(stage.begin, 0);
    (again.ssrc, again.timestamp_base) = (77, 123);
    stage.deliver_all(&again.frame(ms(100), true, 1));
    assert_eq!(stage.clocks(BEN).len(), 1, "the old clock holds until the new stream reports");
    assert!(error(&stage, BEN, CodecKind::Vp8).abs() < 1_000);
    stage.advance(ms(1_000));
    stage.report(CAMERA, &again);
    assert!(error(&stage, BEN, CodecKind::Vp8).abs() < 1_000);
}

#[test]
fn a_report_that_makes_no_sense_does_not_move_the_picture() {
    let (mut stage, mut sources) = Stage::camera(2);
    stage.subscribe(CAMERA, BEN);
    stage.settle(BEN, &quality(0));
    for source in &mut sources {
        stage.deliver_all(&source.frame(ms(0), true, 1));
    }
    stage.report(CAMERA, &sources[0]);
    let key = stage.media.key(CAMERA).unwrap();
    let tomorrow = stage.ntp(Duration::from_secs(86_400));
    stage.media.sender_report(key, 1, tomorrow, sources[1].timestamp(ms(0)), stage.now);
    stage.advance(ms(100));
    stage.settle(BEN, &quality(1));
    stage.deliver_all(&sources[1].frame(ms(100), true, 1));
    let got = stage.take(BEN);
    let step = got[1].timestamp.wrapping_sub(got[0].timestamp);
    assert!(step.abs_diff(9_000) < 10, "{step}");
}

/// The keyframe is of a picture that the receiver has from the other layer already.
#[test]
fn a_keyframe_of_the_same_instant_gets_a_later_timestamp() {
    let (mut stage, mut sources) = Stage::camera(2);
    stage.subscribe(CAMERA, BEN);
    for source in &mut sources {
        stage.report(CAMERA, source);
        stage.deliver_all(&source.frame(ms(0), true, 1));
    }
    let got = stage.take(BEN);
    assert_eq!(layers(&got), [0, 1]);
    assert_eq!(got[1].timestamp.wrapping_sub(got[0].timestamp), 1);
    assert!(error_of(&stage, BEN, &got[1]).abs() < 50, "and the clock knows");
}

fn error_of(stage: &Stage, sink: u32, got: &Got) -> i64 {
    let clock = *stage.clocks(sink).last().unwrap();
    believed(stage, &clock, got.timestamp, CodecKind::Vp8) - got.truth.unwrap().capture.as_micros() as i64
}
