//! Subscribers and publishers who ask for too much, say nothing, or change all the time: bounded work and memory, and the
//! others notice nothing. In virtual time.

use std::time::Duration;

use base::MediaKind::{Audio, Video};
use base::model::TrackSettings;
use base::{CodecKind, TrackId};
use contract::media::Command;

use super::lab::{LAYERS, Lab, MS};

const SECOND: Duration = Duration::from_secs(1);
const GOOD: &str = "rate=20mbit,queue=300ms,delay=15ms";

/// Somebody with a camera, somebody who watches it on a good line, and somebody else.
fn room() -> (Lab, [usize; 3]) {
    let mut lab = Lab::new();
    let alice = lab.connect("delay=10ms");
    lab.publish(alice, 1, Video, &LAYERS);
    lab.publish(alice, 2, Audio, &[40]);
    let carol = lab.connect(GOOD);
    lab.subscribe(carol, 1, Video);
    lab.run(3 * SECOND);
    let mallory = lab.connect(GOOD);
    (lab, [alice, carol, mallory])
}

fn assert_unaffected(lab: &Lab, carol: usize, since: std::time::Instant) {
    let decoder = &lab.people[carol].decoders[&1];
    let freeze = decoder.longest_freeze(since, lab.now);
    assert!(freeze < 150 * MS, "{freeze:?}");
    let highest = decoder.shown.iter().filter(|shown| shown.at >= since).all(|shown| shown.layer == 2);
    assert!(highest, "in full all the time");
    assert_eq!(lab.worker.counts.peer_panics + lab.worker.counts.room_panics, 0);
}

#[test]
fn who_acknowledges_nothing_is_sent_less_and_less_and_no_video_in_the_end() {
    let (mut lab, [_, carol, mallory]) = room();
    lab.people[mallory].silent = true;
    lab.subscribe(mallory, 1, Video);
    lab.subscribe(mallory, 2, Audio);
    let began = lab.now;
    for _ in 0..300 {
        lab.run(100 * MS);
        let (packets, time) = lab.waiting(mallory);
        assert!(packets < 1_000 && time < 3 * SECOND, "{packets} packets wait for {time:?}");
    }
    assert_eq!(lab.estimate(mallory), 30, "the floor");
    lab.people[mallory].left.clear();
    lab.people[mallory].got.clear();
    lab.run(10 * SECOND);
    let video = lab.people[mallory].got.iter().filter(|(_, packet)| packet.media == Video).count();
    assert_eq!(video, 0, "paused");
    assert!(lab.people[mallory].got.len() >= 490, "sound goes on");
    let bytes: usize = lab.people[mallory].left.iter().map(|(_, bytes)| bytes).sum();
    assert!(bytes < 100_000, "{bytes} bytes in ten seconds, sound and probes together");
    assert_eq!(lab.waiting(mallory).0, 0);
    assert_unaffected(&lab, carol, began);
}

#[test]
fn who_asks_for_everything_again_gets_no_more_than_a_share() {
    let (mut lab, [_, carol, mallory]) = room();
    lab.subscribe(mallory, 1, Video);
    lab.run(4 * SECOND);
    let began = lab.now;
    let resent = lab.worker.counts.resent;
    lab.people[mallory].left.clear();
    // Of ten packets nine are asked for, again and again.
    lab.people[mallory].deaf = 900;
    lab.run(10 * SECOND);
    let sent: usize = lab.people[mallory].left.iter().map(|(_, bytes)| bytes).sum();
    assert!(sent < 3_000_000, "{sent} bytes in ten seconds");
    let resent = lab.worker.counts.resent - resent;
    assert!(resent > 50 && resent * 3 < lab.people[mallory].left.len() as u64, "{resent} again");
    assert_unaffected(&lab, carol, began);
}

#[test]
fn who_always_asks_for_keyframes_does_not_get_one_each_time() {
    let (mut lab, [alice, carol, mallory]) = room();
    lab.subscribe(mallory, 1, Video);
    lab.run(2 * SECOND);
    let (began, before) = (lab.now, lab.people[alice].source(1, 2).keyframes);
    let section = super::world::mid("s1");
    for _ in 0..2_000 {
        let now = lab.now;
        lab.people[mallory].peer.request_keyframe(now, section, 0);
        lab.run(5 * MS);
    }
    let keyframes = lab.people[alice].source(1, 2).keyframes - before;
    assert!((10..=21).contains(&keyframes), "{keyframes} in ten seconds");
    assert_unaffected(&lab, carol, began);
}

#[test]
fn who_wants_something_else_all_the_time_disturbs_nobody() {
    let (mut lab, [alice, carol, mallory]) = room();
    lab.subscribe(mallory, 1, Video);
    lab.run(2 * SECOND);
    let (began, peer) = (lab.now, lab.people[mallory].id);
    let keyframes = |lab: &mut Lab| [0, 1, 2].map(|layer| lab.people[alice].source(1, layer).keyframes);
    let before = keyframes(&mut lab);
    for round in 0..2_000u32 {
        let settings = TrackSettings {
            disabled: round % 7 == 0,
            quality: (round % 3) as u8,
            priority: round % 5,
            fps: round % 40,
            ..TrackSettings::default()
        };
        lab.command(Command::SetTrackSettings { peer, track: TrackId(1), settings });
        lab.run(5 * MS);
    }
    let asked = keyframes(&mut lab).into_iter().zip(before).map(|(after, before)| after - before);
    let most = asked.max().expect("three layers");
    assert!((5..=21).contains(&most), "{most} keyframes of a layer in ten seconds");
    assert_unaffected(&lab, carol, began);
}

#[test]
fn a_publisher_that_changes_codec_ssrc_and_layers_all_the_time_disturbs_nobody_else() {
    let (mut lab, [_, carol, mallory]) = room();
    lab.publish(mallory, 3, Video, &[300, 700]);
    let bob = lab.connect(GOOD);
    lab.subscribe(bob, 3, Video);
    lab.subscribe(bob, 1, Video);
    lab.run(SECOND);
    let began = lab.now;
    for round in 0..200u32 {
        let person = &mut lab.people[mallory];
        match round % 4 {
            0 => {
                let other = if round % 8 == 0 { CodecKind::H264 } else { CodecKind::Vp8 };
                person.sources.iter_mut().for_each(|source| source.codec = other);
            }
            1 => person.sources.iter_mut().for_each(|source| source.ssrc += 2),
            2 => person.sources.iter_mut().for_each(|source| source.layer = 1 - source.layer),
            _ => person.sources.iter_mut().for_each(|source| source.kbps = 1_200 - source.kbps),
        }
        let ssrcs = person.sources.iter().map(|source| (source.ssrc, None)).collect();
        person.sections.receive[0].ssrcs = ssrcs;
        person.sources.iter_mut().for_each(|source| source.keyframe = true);
        // Every other change is told; the others are found in the packets.
        if round % 2 == 0 {
            lab.update(mallory);
        } else {
            let now = lab.now;
            lab.people[mallory].update(now);
        }
        lab.run(50 * MS);
    }
    assert_unaffected(&lab, carol, began);
    let freeze = lab.people[bob].decoders[&1].longest_freeze(began, lab.now);
    assert!(freeze < 600 * MS, "the same receiver's other track: {freeze:?}");
    let mut sequences: Vec<u64> =
        lab.people[bob].got.iter().filter(|(_, p)| p.mid.as_str() == "s3").map(|(_, p)| p.sequence).collect();
    sequences.sort_unstable();
    sequences.dedup();
    assert!(sequences.windows(2).all(|pair| pair[1] == pair[0] + 1), "no gap");
    assert!(sequences.len() > 500, "{}", sequences.len());
}
