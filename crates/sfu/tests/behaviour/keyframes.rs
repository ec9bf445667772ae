//! How publishers are asked for keyframes.

use sfu::Event;

use crate::support::*;

#[test]
fn requests_of_many_receivers_are_merged() {
    let (mut stage, mut sources) = Stage::camera(1);
    for sink in 0..50 {
        stage.subscribe(CAMERA, sink);
    }
    stage.deliver_all(&sources[0].frame(ms(0), true, 1));
    stage.take_requests();
    for sink in 0..50 {
        stage.want_keyframe(sink);
        stage.advance(ms(1));
    }
    assert_eq!(stage.take_requests().len(), 1);
}

#[test]
fn what_was_asked_in_the_meantime_is_asked_once_the_interval_is_over() {
    let (mut stage, mut sources) = Stage::camera(1);
    stage.subscribe(CAMERA, BEN);
    stage.deliver_all(&sources[0].frame(ms(0), true, 1));
    stage.want_keyframe(BEN);
    stage.advance(ms(200));
    stage.want_keyframe(BEN);
    stage.advance(ms(2_000));
    assert_eq!(stage.take_requests(), [(ms(0), 0), (ms(500), 0)]);
}

#[test]
fn a_keyframe_serves_all_who_asked_before_it() {
    let (mut stage, mut sources) = Stage::camera(1);
    stage.subscribe(CAMERA, BEN);
    stage.deliver_all(&sources[0].frame(ms(0), true, 1));
    stage.want_keyframe(BEN);
    stage.advance(ms(200));
    stage.want_keyframe(BEN);
    stage.advance(ms(100));
    stage.deliver_all(&sources[0].frame(ms(300), true, 1));
    stage.advance(ms(2_000));
    assert_eq!(stage.take_requests(), [(ms(0), 0)]);
}

#[test]
fn while_somebody_cannot_begin_the_publisher_is_asked_every_half_second() {
    let (mut stage, mut sources) = Stage::camera(1);
    stage.deliver_all(&sources[0].frame(ms(0), true, 1));
    stage.subscribe(CAMERA, BEN);
    stage.advance(ms(1_600));
    let at: Vec<_> = stage.take_requests().into_iter().map(|(at, _)| at).collect();
    assert_eq!(at, [ms(0), ms(500), ms(1_000), ms(1_500)]);
    stage.deliver_all(&sources[0].frame(ms(1_600), true, 1));
    stage.advance(ms(2_000));
    assert!(stage.take_requests().is_empty());
}

#[test]
fn a_receiver_that_left_is_not_waited_for() {
    let (mut stage, mut sources) = Stage::camera(1);
    stage.deliver_all(&sources[0].frame(ms(0), true, 1));
    stage.subscribe(CAMERA, BEN);
    stage.take_requests();
    stage.media.remove_subscription(stage.now, CAMERA, To(BEN));
    stage.advance(ms(2_000));
    assert!(stage.take_requests().is_empty());
}

#[test]
fn what_was_asked_before_a_mute_is_not_asked_during_it() {
    let (mut stage, mut sources) = Stage::camera(1);
    stage.subscribe(CAMERA, BEN);
    stage.deliver_all(&sources[0].frame(ms(0), true, 1));
    stage.want_keyframe(BEN);
    stage.want_keyframe(BEN);
    stage.take_requests();
    stage.mute(CAMERA, true);
    stage.advance(ms(3_000));
    assert!(stage.take_requests().is_empty());
    assert_eq!(stage.media.poll_timeout(), None);
}

#[test]
fn what_was_asked_is_forgotten_when_the_track_goes() {
    let (mut stage, mut sources) = Stage::camera(1);
    stage.subscribe(CAMERA, BEN);
    stage.deliver_all(&sources[0].frame(ms(0), true, 1));
    stage.want_keyframe(BEN);
    stage.want_keyframe(BEN);
    stage.take_requests();
    stage.media.remove_publication(stage.now, CAMERA);
    stage.advance(ms(3_000));
    assert!(stage.take_requests().is_empty());
}

#[test]
fn layers_are_asked_for_independently() {
    let (mut stage, mut sources) = Stage::camera(2);
    for source in &mut sources {
        stage.deliver_all(&source.frame(ms(0), true, 1));
    }
    stage.take_requests();
    stage.subscribe(CAMERA, BEN);
    stage.subscribe(CAMERA, CARL);
    stage.settle(CARL, &quality(0));
    assert_eq!(stage.requested_layers(), [1, 0]);
}

#[test]
fn a_layer_that_nobody_heard_is_not_asked() {
    let (mut stage, _) = Stage::camera(3);
    stage.subscribe(CAMERA, BEN);
    stage.want_keyframe(BEN);
    stage.advance(ms(3_000));
    assert!(stage.take_requests().is_empty());
}

#[test]
fn a_receiver_that_lost_pictures_gets_a_keyframe_of_the_layer_it_sees() {
    let (mut stage, mut sources) = Stage::camera(2);
    stage.subscribe(CAMERA, BEN);
    stage.settle(BEN, &quality(0));
    for source in &mut sources {
        stage.deliver_all(&source.frame(ms(0), true, 1));
    }
    stage.advance(ms(1_000));
    stage.take_requests();
    stage.want_keyframe(BEN);
    assert_eq!(stage.requested_layers(), [0]);
}

#[test]
fn who_wants_little_from_the_beginning_makes_nobody_send_more() {
    let (mut stage, mut sources) = Stage::camera(3);
    for _ in 0..30 {
        let capture = stage.elapsed();
        sources.iter_mut().for_each(|source| stage.deliver_all(&source.frame(capture, false, 1)));
        stage.advance(FRAME);
    }
    stage.events.clear();
    let codecs = [codec(base::CodecKind::Vp8)];
    stage.media.set_subscription_as(stage.now, CAMERA, To(BEN), &codecs, 0, &quality(0)).unwrap();
    stage.advance(ms(10));
    while let Some(event) = stage.media.poll_event() {
        stage.events.push((stage.elapsed(), event));
    }
    assert_eq!(stage.requested_layers(), [0]);
    let wanted = |event: &Event<_>| match event {
        Event::WantedLayer { highest, .. } => Some(*highest),
        _ => None,
    };
    assert_eq!(stage.events.iter().filter_map(|(_, event)| wanted(event)).collect::<Vec<_>>(), [Some(0)]);
}
