//! One publication, its receivers, and the numbers that they see.

use base::model::TrackSource;
use base::ring::Slot;
use base::{CodecKind, MediaKind};
use sfu::{Full, MAX_PUBLICATIONS, MAX_SUBSCRIPTIONS, Media, PublicationSpec};
use wire::ext::ByteRange;

use crate::support::*;

#[test]
fn a_video_subscription_that_starts_mid_stream_begins_with_a_keyframe() {
    let (mut stage, mut sources) = Stage::camera(1);
    stage.deliver_all(&sources[0].frame(ms(0), true, 3));
    stage.subscribe(CAMERA, BEN);
    assert_eq!(stage.requested_layers(), [0]);
    stage.deliver_all(&sources[0].frame(ms(33), false, 3));
    assert!(stage.take(BEN).is_empty());
    stage.deliver_all(&sources[0].frame(ms(66), true, 3));
    let got = stage.take(BEN);
    assert_eq!(got.len(), 3);
    assert!(got[0].truth.unwrap().keyframe_start);
    assert_eq!(got[0].sequence, u64::from(BEN) * 100, "the number that the worker chose");
}

/// A descriptor that nothing describes is taken off, and that of VP8 is not even kept.
#[test]
fn a_dependency_descriptor_without_a_structure_goes_to_nobody() {
    let (mut stage, mut sources) = Stage::camera(1);
    stage.subscribe(CAMERA, BEN);
    let key = stage.media.key(CAMERA).unwrap();
    let announced = [CodecKind::Vp8, CodecKind::H264].map(|codec| {
        let Sent { mut received, mut payload, .. } = sources[0].frame(ms(0), true, 1).remove(0);
        received.codec = codec;
        received.extensions.dependency_descriptor = Some(ByteRange { start: 20, len: 17 });
        if received.codec == CodecKind::H264 {
            payload[0] = 0x65;
        }
        let mut out = Vec::new();
        let stored = (&[0xC0; 17][..], &payload[..]);
        stage.media.forward(stage.now, key, &received, stored, Slot::default(), &mut out);
        out.iter()
            .map(|decision| (decision.rewrite.descriptor, decision.rewrite.described))
            .collect::<Vec<_>>()
    });
    assert_eq!(announced, [[(0, None)], [(17, None)]]);
}

#[test]
fn an_audio_subscription_starts_with_the_next_packet() {
    let mut stage = Stage::new();
    stage.publish(MICROPHONE, MediaKind::Audio, 1);
    let mut source = Source::audio(stage.begin);
    stage.deliver(MICROPHONE, &source.frame(ms(0), false, 1)[0]);
    stage.subscribe(MICROPHONE, BEN);
    stage.deliver(MICROPHONE, &source.frame(ms(20), false, 1)[0]);
    assert_eq!(stage.take(BEN).len(), 1);
    assert!(stage.requested_layers().is_empty(), "nobody asks a microphone for a keyframe");
}

#[test]
fn subscriptions_made_before_the_publication_are_served_once_it_is_there() {
    let mut stage = Stage::new();
    stage.subscribe(CAMERA, BEN);
    stage.publish(CAMERA, MediaKind::Video, 1);
    let mut source = Source::video(stage.begin, 0);
    stage.deliver_all(&source.frame(ms(0), true, 2));
    assert_eq!(stage.take(BEN).len(), 2);
}

#[test]
fn a_track_published_again_goes_on_in_the_numbering_of_its_subscriptions() {
    let (mut stage, mut sources) = Stage::camera(1);
    stage.subscribe(CAMERA, BEN);
    stage.deliver_all(&sources[0].frame(ms(0), true, 2));
    stage.media.remove_publication(stage.now, CAMERA);
    stage.deliver_all(&sources[0].frame(ms(33), true, 2));
    stage.publish(CAMERA, MediaKind::Video, 1);
    stage.advance(ms(100));
    stage.deliver_all(&sources[0].frame(ms(100), true, 2));
    let got = stage.take(BEN);
    assert_eq!(got.len(), 4, "the frame between was of no publication");
    assert_gap_free(&got);
}

#[test]
fn each_subscriber_has_numbers_of_its_own() {
    let (mut stage, mut sources) = Stage::camera(1);
    stage.subscribe(CAMERA, BEN);
    stage.deliver_all(&sources[0].frame(ms(0), true, 2));
    stage.subscribe(CAMERA, CARL);
    stage.deliver_all(&sources[0].frame(ms(33), true, 2));
    let (ben, carl) = (stage.take(BEN), stage.take(CARL));
    assert_eq!((ben.len(), carl.len()), (4, 2));
    assert_eq!(carl[0].sequence, u64::from(CARL) * 100);
    assert_ne!(ben[2].timestamp, carl[0].timestamp);
    assert_gap_free(&ben);
}

#[test]
fn a_marker_stays_on_the_last_packet_of_its_frame() {
    let (mut stage, mut sources) = Stage::camera(1);
    stage.subscribe(CAMERA, BEN);
    stage.deliver_all(&sources[0].frame(ms(0), true, 3));
    let markers: Vec<bool> = stage.take(BEN).iter().map(|got| got.marker).collect();
    assert_eq!(markers, [false, false, true]);
}

#[test]
fn a_reordered_packet_takes_its_own_place() {
    let (mut stage, mut sources) = Stage::camera(1);
    stage.subscribe(CAMERA, BEN);
    let sent = sources[0].frame(ms(0), true, 4);
    for at in [0, 2, 3, 1] {
        stage.deliver(CAMERA, &sent[at]);
    }
    let mut got = stage.take(BEN);
    got.sort_by_key(|got| got.sequence);
    assert_gap_free(&got);
    let inputs: Vec<u64> =
        got.iter().map(|got| got.truth.unwrap().input - sent[0].received.sequence).collect();
    assert_eq!(inputs, [0, 1, 2, 3]);
}

#[test]
fn a_loss_stays_a_gap_until_it_is_repaired() {
    let (mut stage, mut sources) = Stage::camera(1);
    stage.subscribe(CAMERA, BEN);
    let sent = sources[0].frame(ms(0), true, 3);
    stage.deliver(CAMERA, &sent[0]);
    stage.deliver(CAMERA, &sent[2]);
    let got = stage.take(BEN);
    assert_eq!(got[1].sequence, got[0].sequence + 2);
    stage.deliver(CAMERA, &sent[1]);
    assert_eq!(stage.take(BEN)[0].sequence, got[0].sequence + 1);
}

#[test]
fn a_packet_heard_twice_is_forwarded_once() {
    let (mut stage, mut sources) = Stage::camera(1);
    stage.subscribe(CAMERA, BEN);
    let sent = sources[0].frame(ms(0), true, 1);
    stage.deliver_all(&sent);
    stage.deliver_all(&sent);
    assert_eq!(stage.take(BEN).len(), 1);
    assert_eq!(stage.media.snapshot(stage.now).publications[0].drops.duplicate, 1);
}

#[test]
fn padding_is_dropped_and_its_numbers_are_closed_up() {
    let (mut stage, mut sources) = Stage::camera(1);
    stage.subscribe(CAMERA, BEN);
    let source = &mut sources[0];
    stage.deliver_all(&source.frame(ms(0), true, 2));
    stage.deliver(CAMERA, &source.padding());
    stage.deliver_all(&source.frame(ms(33), false, 2));
    for _ in 0..40 {
        stage.deliver(CAMERA, &source.padding());
    }
    stage.deliver_all(&source.frame(ms(66), false, 2));
    let got = stage.take(BEN);
    assert_eq!(got.len(), 6);
    assert_gap_free(&got);
}

#[test]
fn a_loss_just_before_padding_still_finds_its_place() {
    let (mut stage, mut sources) = Stage::camera(1);
    stage.subscribe(CAMERA, BEN);
    let source = &mut sources[0];
    let first = source.frame(ms(0), true, 3);
    let padding: Vec<Sent> = (0..40).map(|_| source.padding()).collect();
    let second = source.frame(ms(33), false, 1);
    stage.deliver_all(&first[..2]);
    stage.deliver_all(&padding);
    stage.deliver_all(&second);
    stage.deliver(CAMERA, &first[2]);
    let mut got = stage.take(BEN);
    got.sort_by_key(|got| got.sequence);
    assert_eq!(got.len(), 4);
    assert_gap_free(&got);
    assert_eq!(got[2].truth.unwrap().input, first[2].received.sequence);
}

/// Its number was given to a gap; an empty packet there ends the receiver's asking for it.
#[test]
fn padding_that_comes_late_fills_the_gap_that_it_left() {
    let (mut stage, mut sources) = Stage::camera(1);
    stage.subscribe(CAMERA, BEN);
    let source = &mut sources[0];
    stage.deliver_all(&source.frame(ms(0), true, 1));
    let padding = source.padding();
    stage.deliver_all(&source.frame(ms(33), false, 1));
    stage.deliver(CAMERA, &padding);
    let mut got = stage.take(BEN);
    assert!(got[2].truth.is_none());
    got.sort_by_key(|got| got.sequence);
    assert_gap_free(&got);
}

#[test]
fn a_publisher_that_probes_with_padding_behind_every_frame_does_not_lose_late_packets() {
    let (mut stage, mut sources) = Stage::camera(1);
    stage.subscribe(CAMERA, BEN);
    let source = &mut sources[0];
    stage.deliver_all(&source.frame(ms(0), true, 1));
    let lost = source.frame(ms(33), false, 1);
    for n in 2..14 {
        stage.deliver(CAMERA, &source.padding());
        stage.deliver_all(&source.frame(ms(33 * n), false, 1));
    }
    stage.deliver_all(&lost);
    let mut got = stage.take(BEN);
    got.sort_by_key(|got| got.sequence);
    assert_gap_free(&got);
    assert_eq!(got[1].truth.unwrap().frame, 2);
}

#[test]
fn a_muted_track_is_not_forwarded_and_returns_with_a_keyframe_and_no_gap() {
    let (mut stage, mut sources) = Stage::camera(1);
    stage.subscribe(CAMERA, BEN);
    stage.deliver_all(&sources[0].frame(ms(0), true, 2));
    stage.mute(CAMERA, true);
    stage.deliver_all(&sources[0].frame(ms(33), true, 2));
    assert_eq!(stage.take(BEN).len(), 2);
    stage.advance(ms(5_000));
    assert!(stage.requested_layers().is_empty(), "nobody is asked while muted");
    stage.mute(CAMERA, false);
    assert_eq!(stage.requested_layers(), [0]);
    stage.deliver_all(&sources[0].frame(ms(5_000), false, 2));
    assert!(stage.take(BEN).is_empty());
    stage.deliver_all(&sources[0].frame(ms(5_033), true, 2));
    let got = stage.take(BEN);
    assert_eq!(got[0].sequence, u64::from(BEN) * 100 + 2);
    assert_gap_free(&got);
}

#[test]
fn timestamps_count_on_through_a_mute() {
    let mut stage = Stage::new();
    stage.publish(MICROPHONE, MediaKind::Audio, 1);
    stage.subscribe(MICROPHONE, BEN);
    let mut source = Source::audio(stage.begin);
    stage.deliver(MICROPHONE, &source.frame(ms(0), false, 1)[0]);
    stage.mute(MICROPHONE, true);
    stage.advance(ms(4_000));
    stage.mute(MICROPHONE, false);
    stage.deliver(MICROPHONE, &source.frame(ms(4_000), false, 1)[0]);
    let got = stage.take(BEN);
    assert_eq!(got[1].timestamp.wrapping_sub(got[0].timestamp), 4 * 48_000);
}

#[test]
fn a_track_muted_before_it_is_published_is_muted() {
    let mut stage = Stage::new();
    stage.mute(CAMERA, true);
    stage.publish(CAMERA, MediaKind::Video, 1);
    stage.subscribe(CAMERA, BEN);
    let mut source = Source::video(stage.begin, 0);
    stage.deliver_all(&source.frame(ms(0), true, 1));
    assert!(stage.take(BEN).is_empty());
}

#[test]
fn a_publisher_that_starts_over_under_a_new_ssrc_goes_on_for_its_receivers() {
    let (mut stage, mut sources) = Stage::camera(1);
    stage.subscribe(CAMERA, BEN);
    stage.deliver_all(&sources[0].frame(ms(0), true, 2));
    stage.advance(ms(33));
    let mut again = Source::video(stage.begin, 0);
    (again.ssrc, again.sequence, again.timestamp_base) = (77, 3, 123);
    stage.deliver_all(&again.frame(ms(33), false, 2));
    assert_eq!(stage.requested_layers(), [0], "its pictures cannot be decoded without a keyframe");
    stage.advance(ms(33));
    stage.deliver_all(&again.frame(ms(66), true, 2));
    let got = stage.take(BEN);
    assert_eq!(got.len(), 4);
    assert_gap_free(&got);
    let step = got[2].timestamp.wrapping_sub(got[0].timestamp);
    assert!(step.abs_diff(66 * 90) < 20, "{step}");
}

#[test]
fn a_jump_of_the_numbering_that_would_confuse_16_bits_is_closed_up() {
    let (mut stage, mut sources) = Stage::camera(1);
    stage.subscribe(CAMERA, BEN);
    stage.deliver_all(&sources[0].frame(ms(0), true, 1));
    sources[0].sequence += 40_000;
    stage.deliver_all(&sources[0].frame(ms(33), true, 1));
    let got = stage.take(BEN);
    assert_eq!(got.len(), 2);
    assert_gap_free(&got);
}

#[test]
fn codecs_other_than_vp8_are_forwarded_from_a_keyframe_on() {
    let (mut stage, mut sources) = Stage::camera(1);
    stage.subscribe(CAMERA, BEN);
    let mut send = |stage: &mut Stage, nal: u8| {
        let mut sent = sources[0].frame(ms(0), false, 1).remove(0);
        sent.received.codec = CodecKind::H264;
        sent.payload = vec![nal, 0, 0];
        stage.deliver(CAMERA, &sent);
        stage.take(BEN).len()
    };
    assert_eq!(send(&mut stage, 0x41), 0, "a slice");
    assert_eq!(send(&mut stage, 0x67), 1, "a parameter set");
    assert_eq!(send(&mut stage, 0x41), 1);
}

#[test]
fn a_receiver_without_the_codec_gets_nothing_and_nobody_is_asked_for_its_sake() {
    let (mut stage, mut sources) = Stage::camera(1);
    stage.media.set_subscription(stage.now, CAMERA, To(BEN), &[codec(CodecKind::Av1)], 0).unwrap();
    stage.deliver_all(&sources[0].frame(ms(0), true, 1));
    stage.deliver_all(&sources[0].frame(ms(33), false, 1));
    stage.advance(ms(2_000));
    assert!(stage.take(BEN).is_empty());
    assert!(stage.requested_layers().is_empty());
}

#[test]
fn packets_of_a_codec_that_the_receiver_lacks_leave_no_gap() {
    let mut stage = Stage::new();
    stage.publish(MICROPHONE, MediaKind::Audio, 1);
    stage.subscribe(MICROPHONE, BEN);
    let mut source = Source::audio(stage.begin);
    for n in 0..9 {
        let mut sent = source.frame(ms(20 * n), false, 1).remove(0);
        if n % 3 == 1 {
            sent.received.codec = CodecKind::Pcmu;
        }
        stage.deliver(MICROPHONE, &sent);
    }
    let got = stage.take(BEN);
    assert_eq!(got.len(), 6);
    assert_gap_free(&got);
}

#[test]
fn a_late_packet_of_a_codec_that_the_receiver_lacks_is_not_forwarded() {
    let mut stage = Stage::new();
    stage.publish(MICROPHONE, MediaKind::Audio, 1);
    stage.subscribe(MICROPHONE, BEN);
    let mut source = Source::audio(stage.begin);
    let mut sent: Vec<Sent> = (0..3).map(|n| source.frame(ms(20 * n), false, 1).remove(0)).collect();
    sent[1].received.codec = CodecKind::Pcmu;
    for at in [0, 2, 1] {
        stage.deliver(MICROPHONE, &sent[at]);
    }
    assert_eq!(stage.take(BEN).len(), 2);
}

#[test]
fn a_receiver_whose_codec_the_publisher_turns_to_is_asked_for() {
    let (mut stage, mut sources) = Stage::camera(1);
    stage.media.set_subscription(stage.now, CAMERA, To(BEN), &[codec(CodecKind::H264)], 0).unwrap();
    stage.deliver_all(&sources[0].frame(ms(0), true, 1));
    assert!(stage.requested_layers().is_empty());
    let mut sent = sources[0].frame(ms(33), false, 1).remove(0);
    sent.received.codec = CodecKind::H264;
    stage.deliver(CAMERA, &sent);
    assert_eq!(stage.requested_layers(), [0]);
}

#[test]
fn hostile_packets_are_counted_and_dropped() {
    let (mut stage, mut sources) = Stage::camera(2);
    stage.subscribe(CAMERA, BEN);
    stage.deliver_all(&sources[0].frame(ms(0), true, 1));
    stage.take(BEN);
    let mut sent = sources[0].frame(ms(33), true, 1).remove(0);
    sent.payload = vec![0x90, 0xF0, 0x80];
    stage.deliver(CAMERA, &sent);
    sent.received.layer = 2;
    stage.deliver(CAMERA, &sent);
    sent.received.layer = 255;
    sent.payload = vec![0x10, 0];
    stage.deliver(CAMERA, &sent);
    sent.received.layer = 0;
    sent.received.sequence -= 5_000;
    stage.deliver(CAMERA, &sent);
    assert!(stage.take(BEN).is_empty());
    let drops = stage.media.snapshot(stage.now).publications[0].drops;
    assert_eq!((drops.malformed, drops.unknown_layer, drops.too_late), (2, 1, 1));
}

#[test]
fn a_removed_subscription_receives_nothing_more() {
    let (mut stage, mut sources) = Stage::camera(1);
    stage.subscribe(CAMERA, BEN);
    stage.subscribe(CAMERA, CARL);
    stage.media.remove_subscription(stage.now, CAMERA, To(BEN));
    stage.deliver_all(&sources[0].frame(ms(0), true, 1));
    assert!(stage.take(BEN).is_empty());
    assert_eq!(stage.take(CARL).len(), 1);
}

#[test]
fn a_stale_key_forwards_nothing() {
    let (mut stage, mut sources) = Stage::camera(1);
    let stale = stage.media.key(CAMERA).unwrap();
    stage.media.remove_publication(stage.now, CAMERA);
    assert!(stage.media.is_empty());
    assert_ne!(stage.publish(CAMERA, MediaKind::Video, 1), stale);
    stage.subscribe(CAMERA, BEN);
    let sent = sources[0].frame(ms(0), true, 1).remove(0);
    let mut out = Vec::new();
    stage.media.forward(stage.now, stale, &sent.received, (&[], &sent.payload), Default::default(), &mut out);
    assert!(out.is_empty());
}

#[test]
fn the_tables_are_bounded() {
    let mut stage = Stage::new();
    let mut media: Media<To> = Media::new(0);
    let spec = |layers| PublicationSpec {
        participant: ANNA,
        kind: MediaKind::Video,
        layers,
        sizes: vec![],
        source: TrackSource::Camera,
    };
    for n in 0..MAX_PUBLICATIONS as u64 {
        media.set_publication(stage.now, base::TrackId(n), spec(255)).unwrap();
    }
    assert_eq!(media.set_publication(stage.now, base::TrackId(u64::MAX), spec(1)), Err(Full));
    stage.publish(CAMERA, MediaKind::Video, 0);
    for sink in 0..MAX_SUBSCRIPTIONS as u32 {
        stage.media.set_subscription(stage.now, CAMERA, To(sink), &[], 0).unwrap();
    }
    assert_eq!(stage.media.set_subscription(stage.now, CAMERA, To(u32::MAX), &[], 0), Err(Full));
}

#[test]
fn the_snapshot_tells_rates_and_rows() {
    let (mut stage, mut sources) = Stage::camera(2);
    stage.subscribe(CAMERA, BEN);
    let mut bytes = 0;
    for n in 0..120 {
        let sent = sources[1].frame(stage.elapsed(), n == 0, 4);
        bytes += sent.iter().map(|sent| sent.payload.len() as u64).sum::<u64>();
        stage.deliver_all(&sent);
        stage.advance(FRAME);
    }
    let snapshot = stage.media.snapshot(stage.now).publications.remove(0);
    let layer = &snapshot.layers[1];
    assert!((layer.frame_rate - 30.0).abs() < 1.5, "{}", layer.frame_rate);
    assert!(layer.bitrate.0.abs_diff(bytes * 8 / 4) < bytes / 4, "{}", layer.bitrate);
    assert_eq!((snapshot.layers[0].alive, layer.alive), (false, true));
    assert_eq!(snapshot.subscriptions[0].current, Some(1));
    assert_eq!(snapshot.subscriptions[0].forwarded, 480);
    stage.advance(ms(10_000));
    assert_eq!(stage.media.snapshot(stage.now).publications[0].layers[1].bitrate.0, 0);
}

#[test]
fn an_idle_room_asks_for_no_time() {
    let (mut stage, mut sources) = Stage::camera(3);
    stage.subscribe(CAMERA, BEN);
    for source in &mut sources {
        stage.deliver_all(&source.frame(ms(0), true, 1));
    }
    stage.advance(ms(3_000));
    assert_eq!(stage.media.poll_timeout(), None);
}
