//! Spatial and temporal layers within a stream: who gets which, and that nothing is missing to decode them.

use std::collections::BTreeSet;
use std::time::Duration;

use base::model::TrackSettings;
use base::{CodecKind, MediaKind};

use crate::decoder::{Decoded, assemble, check, check_no_gaps, check_no_loss};
use crate::encoder::{Encoder, Mode, Shape};
use crate::support::*;

const AV1: Shape = Shape::new(CodecKind::Av1, true, Mode::Key, 3);
const AV1_FULL: Shape = Shape::new(CodecKind::Av1, true, Mode::Full, 3);
const VP9: Shape = Shape::new(CodecKind::Vp9, false, Mode::Key, 3);
const VP9_FULL: Shape = Shape::new(CodecKind::Vp9, false, Mode::Full, 3);
const VP9_DESCRIBED: Shape = Shape::new(CodecKind::Vp9, true, Mode::Key, 3);
const H264: Shape = Shape::new(CodecKind::H264, true, Mode::Key, 1);
const VP8: Shape = Shape::new(CodecKind::Vp8, false, Mode::Key, 1);
const WITH_SPATIAL: [Shape; 5] = [AV1, AV1_FULL, VP9, VP9_FULL, VP9_DESCRIBED];
const ALL: [Shape; 7] = [AV1, AV1_FULL, VP9, VP9_FULL, VP9_DESCRIBED, H264, VP8];

pub fn fps(fps: u32) -> TrackSettings {
    TrackSettings { fps, ..TrackSettings::default() }
}

/// A camera of so many streams of one shape, and Ben, who watches it.
fn camera(shape: Shape, streams: u8) -> (Stage, Vec<Encoder>) {
    let mut stage = Stage::new();
    stage.publish(CAMERA, MediaKind::Video, streams);
    stage.subscribe(CAMERA, BEN);
    let begin = stage.begin;
    (stage, (0..streams).map(|layer| Encoder::new(begin, shape, layer)).collect())
}

/// Pictures for so long; a stream sends a keyframe when it was asked for one.
fn play(stage: &mut Stage, encoders: &mut [Encoder], time: Duration) {
    let until = stage.now + time;
    while stage.now < until {
        let capture = stage.elapsed();
        let wanted = stage.requested_layers();
        for encoder in encoders.iter_mut() {
            let key = capture.is_zero() || wanted.contains(&encoder.layer);
            stage.deliver_all(&encoder.picture(capture, key, 2));
        }
        stage.advance(FRAME);
    }
}

/// Everything that Ben got, put together and checked.
fn checked(stage: &Stage, shape: Shape) -> Vec<Decoded> {
    let raw = &stage.raw[&BEN];
    check_no_loss(raw);
    let frames = assemble(raw, &mut BTreeSet::new());
    check(&frames, shape.described, &BTreeSet::new());
    if shape.codec == CodecKind::Vp8 {
        check_no_gaps(&frames);
    }
    frames
}

/// The highest layers of the last third of a second.
fn top(frames: &[Decoded]) -> (u8, u8) {
    let last = frames.last().unwrap().timestamp;
    let late = frames.iter().filter(|frame| last.wrapping_sub(frame.timestamp) < 30_000);
    late.fold((0, 0), |(s, t), frame| (s.max(frame.spatial), t.max(frame.temporal)))
}

/// What is encrypted from end to end may look like anything. What the clients leave clear tells enough: the descriptor of the
/// payload, the first byte of a VP8 frame and of an H.264 unit, the dependency descriptor.
#[test]
fn encrypted_frames_are_forwarded_by_what_stays_clear() {
    for shape in ALL {
        let watch = |key: u8| {
            let (mut stage, mut encoders) = camera(shape, 1);
            for picture in 0..60 {
                if picture == 30 {
                    stage.settle(BEN, &TrackSettings { fps: 10, ..quality(0) });
                }
                let key_wanted = picture == 0 || !stage.requested_layers().is_empty();
                let mut packets = encoders[0].picture(stage.elapsed(), key_wanted, 2);
                for sent in &mut packets {
                    let clear = encoders[0].clear(&sent.payload);
                    sent.payload[clear..].iter_mut().for_each(|byte| *byte ^= key);
                }
                stage.deliver_all(&packets);
                stage.advance(FRAME);
            }
            let raw = stage.raw[&BEN].iter();
            raw.map(|raw| (raw.sequence, raw.marker, raw.payload.len(), raw.descriptor.clone()))
                .collect::<Vec<_>>()
        };
        let plain = watch(0);
        assert!(plain.len() > 20, "{shape:?}");
        assert_eq!(watch(0xA5), plain, "{shape:?}");
        assert_eq!(watch(0xFF), plain, "{shape:?}");
    }
}

#[test]
fn a_wanted_size_or_quality_chooses_the_spatial_layer_of_one_stream() {
    for shape in WITH_SPATIAL {
        let (mut stage, mut encoders) = camera(shape, 1);
        play(&mut stage, &mut encoders, ms(1_500));
        assert_eq!(top(&checked(&stage, shape)), (2, 2), "{shape:?}");
        let sized = TrackSettings { size: Some((640, 360)), ..quality(2) };
        let by_size = shape.described;
        for (settings, layer) in
            [(quality(0), 0), (quality(2), 2), (sized, if by_size { 1 } else { 2 }), (quality(1), 1)]
        {
            stage.settle(BEN, &settings);
            play(&mut stage, &mut encoders, ms(1_500));
            assert_eq!(top(&checked(&stage, shape)), (layer, 2), "{shape:?} {settings:?}");
        }
    }
}

#[test]
fn a_wanted_frame_rate_chooses_the_temporal_layer() {
    for shape in ALL {
        let (mut stage, mut encoders) = camera(shape, 1);
        play(&mut stage, &mut encoders, ms(2_500));
        let spatial = shape.spatial - 1;
        for (settings, layer) in [(fps(15), 1), (fps(7), 0), (fps(0), 2), (fps(5), 0), (fps(30), 2)] {
            stage.settle(BEN, &settings);
            stage.take_requests();
            play(&mut stage, &mut encoders, ms(800));
            assert_eq!(top(&checked(&stage, shape)), (spatial, layer), "{shape:?} {settings:?}");
            assert!(stage.requested_layers().is_empty(), "temporal layers need no keyframe: {shape:?}");
        }
    }
}

#[test]
fn simulcast_with_temporal_layers_goes_on_in_every_number_over_a_switch() {
    let av1 = Shape { spatial: 1, ..AV1 };
    let vp9 = Shape { spatial: 1, ..VP9 };
    for shape in [VP8, H264, av1, vp9, Shape { spatial: 1, ..VP9_DESCRIBED }] {
        let (mut stage, mut encoders) = camera(shape, 3);
        for settings in [quality(2), fps(15), quality(0), fps(7), quality(1), quality(2)] {
            stage.settle(BEN, &settings);
            play(&mut stage, &mut encoders, ms(1_300));
        }
        let frames = checked(&stage, shape);
        let mut streams: Vec<u32> = frames.iter().map(|frame| frame.name.0).collect();
        streams.dedup();
        assert_eq!(streams[streams.len() - 5..], [2_002, 2_000, 2_002, 2_001, 2_002], "{shape:?}");
    }
}

#[test]
fn down_is_at_once_where_the_lower_layers_were_sent_all_along() {
    for shape in [AV1_FULL, VP9, VP9_FULL] {
        let (mut stage, mut encoders) = camera(shape, 1);
        play(&mut stage, &mut encoders, ms(1_500));
        stage.take_requests();
        stage.settle(BEN, &quality(0));
        let before = checked(&stage, shape).len();
        play(&mut stage, &mut encoders, ms(300));
        let frames = checked(&stage, shape);
        let above = frames[before..].iter().filter(|frame| frame.spatial > 0).map(|frame| frame.timestamp);
        assert!(above.collect::<BTreeSet<_>>().len() <= 4, "{shape:?}");
        assert!(stage.requested_layers().is_empty(), "{shape:?}");
    }
}

#[test]
fn a_keyframe_is_asked_for_where_no_other_way_leads_to_the_layer() {
    for (shape, settings) in [(AV1, quality(0)), (VP9_DESCRIBED, quality(1))] {
        let (mut stage, mut encoders) = camera(shape, 1);
        play(&mut stage, &mut encoders, ms(1_500));
        stage.take_requests();
        stage.settle(BEN, &settings);
        assert_eq!(stage.requested_layers(), [0], "{shape:?}");
    }
}

/// The publisher's uplink carries no more, whether it says so or not.
#[test]
fn a_spatial_layer_that_is_sent_no_more_is_left_for_the_one_below() {
    for shape in WITH_SPATIAL.into_iter().chain(WITH_SPATIAL.map(|shape| Shape { tells: false, ..shape })) {
        let (mut stage, mut encoders) = camera(shape, 1);
        play(&mut stage, &mut encoders, ms(1_500));
        encoders[0].sent = 2;
        play(&mut stage, &mut encoders, ms(1_500));
        let frames = checked(&stage, shape);
        assert_eq!(top(&frames), (1, 2), "{shape:?}");
        let mut times: Vec<u32> = frames.iter().map(|frame| frame.timestamp).collect();
        times.dedup();
        let pause = times.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).max().unwrap();
        assert!(pause < 90 * 600, "{shape:?}: nothing for {} ms", pause / 90);
        encoders[0].sent = 3;
        play(&mut stage, &mut encoders, ms(1_500));
        assert_eq!(top(&checked(&stage, shape)), (2, 2), "and back: {shape:?}");
    }
}

/// libwebrtc drops keyframes whose frame number, read from 16 bits, lies behind the last.
#[test]
fn a_pause_of_more_than_half_the_frame_numbers_is_none_to_the_receiver() {
    for shape in [AV1, H264, VP9_DESCRIBED, VP9] {
        let (mut stage, mut encoders) = camera(shape, 1);
        play(&mut stage, &mut encoders, ms(1_000));
        stage.settle(BEN, &DISABLED);
        for _ in 0..4 {
            // As if a quarter of an hour had passed.
            encoders[0].frame_number = encoders[0].frame_number.wrapping_add(10_000);
            play(&mut stage, &mut encoders, ms(100));
        }
        stage.settle(BEN, &quality(2));
        play(&mut stage, &mut encoders, ms(1_000));
        checked(&stage, shape);
    }
}

#[test]
fn who_is_not_sent_some_decode_targets_is_told_so() {
    use wire::dd::Descriptor;
    let (mut stage, mut encoders) = camera(AV1, 1);
    play(&mut stage, &mut encoders, ms(1_500));
    for settings in [quality(0), TrackSettings { quality: 1, ..fps(15) }, quality(2), fps(7)] {
        stage.settle(BEN, &settings);
        play(&mut stage, &mut encoders, ms(1_500));
    }
    let (mut structure, mut active, mut told) = (None, 0, Vec::new());
    for raw in &stage.raw[&BEN] {
        let read = Descriptor::parse(raw.descriptor.as_ref().unwrap(), structure.as_ref()).unwrap();
        if let Some(new) = read.structure {
            active = new.all();
            structure = Some(new);
        }
        active = read.active.unwrap_or(active);
        if told.last() != Some(&active) {
            told.push(active);
        }
        assert!(
            (0..9).any(|target| active & 1 << target != 0 && read.frame.is_in(target)),
            "{active:b}: {raw:?}"
        );
    }
    assert_eq!(told[told.len() - 4..], [0b0000_00111, 0b0000_11000, 0b1_1100_0000, 0b0_0100_0000]);
}

/// It left a gap; that is filled, so that nobody asks for it for ever.
#[test]
fn a_withheld_packet_that_comes_late_fills_the_gap_it_left() {
    for shape in WITH_SPATIAL {
        let (mut stage, mut encoders) = camera(shape, 1);
        stage.settle(BEN, &quality(0));
        play(&mut stage, &mut encoders, ms(1_500));
        let picture = encoders[0].picture(stage.elapsed(), false, 2);
        let late = 3;
        for (at, sent) in picture.iter().enumerate().filter(|(at, _)| *at != late) {
            assert!(at != late);
            stage.deliver(CAMERA, sent);
        }
        stage.advance(FRAME);
        play(&mut stage, &mut encoders, ms(100));
        stage.deliver(CAMERA, &picture[late]);
        let raw = stage.raw.get_mut(&BEN).unwrap();
        let last = raw.last().unwrap();
        assert!(last.payload.is_empty() && last.descriptor.is_none() && !last.marker, "{shape:?}: {last:?}");
        raw.sort_by_key(|raw| raw.sequence);
        checked(&stage, shape);
    }
}

#[test]
fn a_publisher_that_changes_its_codec_begins_anew_with_a_keyframe() {
    let (mut stage, mut encoders) = camera(AV1, 1);
    for shape in [AV1, VP9, VP8, VP9_DESCRIBED, H264, AV1_FULL] {
        encoders[0].shape = shape;
        let before = stage.raw.get(&BEN).map_or(0, Vec::len);
        // Mid-stream at first: nothing is forwarded.
        let capture = stage.elapsed();
        if before > 0 {
            stage.deliver_all(&encoders[0].picture(capture, false, 1));
        }
        assert_eq!(stage.raw.get(&BEN).map_or(0, Vec::len), before, "{shape:?}");
        stage.advance(FRAME);
        stage.deliver_all(&encoders[0].picture(stage.elapsed(), true, 1));
        stage.advance(FRAME);
        play(&mut stage, &mut encoders, ms(1_500));
        check_no_loss(&stage.raw[&BEN]);
        let frames = assemble(&stage.raw[&BEN][before..], &mut BTreeSet::new());
        check(&frames, shape.described, &BTreeSet::new());
        assert!(frames.len() > 40, "{shape:?}");
    }
}
