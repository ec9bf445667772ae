//! What people see and hear on good and bad lines: the whole worker in virtual time.

use std::time::{Duration, Instant};

use base::MediaKind::{Audio, Video};
use contract::media::Command;
use sim::Schedule;

use super::lab::{FRAME, LAYERS, Lab, MS};

const SECOND: Duration = Duration::from_secs(1);

/// Somebody with a camera and a microphone, who has sent for a while.
fn room() -> (Lab, usize) {
    let mut lab = Lab::new();
    let alice = lab.connect("delay=10ms");
    lab.publish(alice, 1, Video, &LAYERS);
    lab.publish(alice, 2, Audio, &[40]);
    lab.run(2 * SECOND);
    (lab, alice)
}

fn watch(lab: &mut Lab, person: usize) {
    lab.subscribe(person, 1, Video);
    lab.subscribe(person, 2, Audio);
}

fn worst_delay(lab: &Lab, person: usize, from: Instant) -> Duration {
    let delays = lab.people[person].delays.iter().filter(|(at, _)| *at >= from);
    delays.map(|(_, delay)| *delay).max().expect("something was heard")
}

#[test]
fn a_fresh_joiner_on_a_good_network_soon_has_the_full_picture() {
    let (mut lab, _) = room();
    let bob = lab.join("rate=20mbit,queue=300ms,delay=15ms");
    watch(&mut lab, bob);
    let joined = lab.now;
    lab.run(5 * SECOND);
    let decoder = &lab.people[bob].decoders[&1];
    let first = decoder.shown[0].at - joined;
    let full = decoder.first_of(2, joined).map(|at| at - joined);
    // Of which 75 ms are ICE and DTLS.
    assert!(first < 200 * MS, "{first:?}");
    assert!(full.is_some_and(|full| full < 450 * MS), "{full:?}");
    assert!(lab.estimate(bob) > 2_200, "all that is wanted");
    assert!(lab.worker.counts.probes > 0 && lab.worker.counts.padding_bytes > 0);
    assert!(lab.worker.counts.padding_bytes < 100_000, "{}", lab.worker.counts.padding_bytes);
}

#[test]
fn on_a_line_that_carries_all_each_packet_leaves_in_the_tick_in_which_it_came() {
    let (mut lab, alice) = room();
    let bob = lab.connect("rate=20mbit,queue=300ms,delay=15ms");
    watch(&mut lab, bob);
    lab.run(5 * SECOND);
    let (delayed, messages) = (lab.worker.counts.paced_delayed, lab.messages);
    lab.run(10 * SECOND);
    assert_eq!(lab.worker.counts.paced_delayed, delayed);
    assert_eq!(lab.worker.counts.paced_frames_dropped, 0);
    // Frames of 7,080 bytes, and 50 packets of sound, and reports.
    let messages = (lab.messages - messages) / 10;
    assert!(messages <= 100, "{messages} a second: a frame of seven packets is one");
    // A keyframe does not.
    lab.people[alice].source(1, 2).factor = 30;
    lab.people[alice].source(1, 2).keyframe = true;
    let before = lab.now;
    lab.run(SECOND);
    assert!(lab.worker.counts.paced_delayed > delayed);
    assert!(lab.people[bob].decoders[&1].longest_freeze(before, lab.now) < 150 * MS);
}

#[test]
fn sound_overtakes_the_picture_that_others_are_being_sent() {
    let (mut lab, alice) = room();
    lab.publish(alice, 3, Video, &[7_000]);
    let listeners: Vec<usize> = (0..16).map(|_| lab.connect("rate=100mbit,queue=300ms,delay=5ms")).collect();
    for listener in &listeners {
        lab.subscribe(*listener, 3, Video);
        lab.subscribe(*listener, 2, Audio);
    }
    lab.run(3 * SECOND);
    // Sound comes right behind a frame: 16 times 27 packets are several slices.
    let frame = lab.people[alice].source(3, 0).next;
    lab.people[alice].source(2, 0).next = frame + MS / 10;
    lab.people.iter_mut().for_each(|person| person.left.clear());
    lab.run(frame - lab.now + 14 * MS);
    let left = |listener: &usize| &lab.people[*listener].left;
    let large = |bytes: usize| bytes > 900;
    let pictures = listeners.iter().map(|each| left(each).iter().filter(|(_, bytes)| large(*bytes)));
    let pictures: Vec<Instant> = pictures.flat_map(|each| each.map(|(at, _)| *at)).collect();
    let last = pictures.iter().max().expect("a frame");
    assert!(pictures.iter().min().is_some_and(|first| first < last), "slice by slice");
    for listener in &listeners {
        let sound = left(listener).iter().filter(|(_, bytes)| (100..200).contains(bytes));
        let sound: Vec<Instant> = sound.map(|(at, _)| *at).collect();
        assert!(sound.iter().all(|at| at < last) && !sound.is_empty(), "{sound:?} and {last:?}");
        let of_frame: Vec<usize> =
            left(listener).iter().map(|(_, bytes)| *bytes).filter(|b| large(*b)).collect();
        assert!(of_frame.len() >= 25, "all of it: {of_frame:?}");
    }
}

#[test]
fn sound_never_waits_for_video() {
    let (mut lab, alice) = room();
    let (bob, from) = (thin(&mut lab), lab.now);
    let mut longest = Duration::ZERO;
    lab.people[alice].source(1, 0).factor = 60;
    for number in 0..400 {
        lab.run(10 * MS);
        lab.people[alice].source(1, 0).keyframe |= number % 200 == 0;
        longest = longest.max(lab.waiting(bob).1);
    }
    assert!(longest > 500 * MS, "there was a queue to wait in: {longest:?}");
    let delay = worst_delay(&lab, bob, from);
    assert!((25 * MS..27 * MS).contains(&delay), "{delay:?}, of which 25 ms are the two lines");
}

/// Somebody whose estimate is low, on a line that carries any burst: what waits, waits with us.
fn thin(lab: &mut Lab) -> usize {
    let bob = lab.connect("delay=15ms");
    lab.people[bob].remb = true;
    watch(lab, bob);
    lab.run(8 * SECOND);
    assert!((250..400).contains(&lab.estimate(bob)), "{}", lab.estimate(bob));
    bob
}

#[test]
fn a_large_keyframe_on_a_thin_line_leaves_bit_by_bit() {
    let (mut lab, alice) = room();
    let bob = lab.connect("rate=1mbit,queue=1s,delay=15ms");
    lab.subscribe(bob, 1, Video);
    lab.run(15 * SECOND);
    let estimate = lab.estimate(bob);
    assert!((600..1_100).contains(&estimate), "{estimate}");
    let before = lab.now;
    lab.people[bob].left.clear();
    // 100 kB.
    lab.people[alice].source(1, 1).factor = 48;
    lab.people[alice].source(1, 1).keyframe = true;
    lab.run(SECOND);
    let most = |length| lab.people[bob].most_within(length);
    assert!(most(5 * MS) < 4_000, "{}", most(5 * MS));
    assert!(most(100 * MS) < 30_000, "{}", most(100 * MS));
    assert!(lab.people[bob].decoders[&1].shown.iter().any(|shown| shown.at > before));
}

#[test]
fn a_line_that_falls_to_400_kbit_and_comes_back() {
    let (mut lab, _) = room();
    let bob = lab.connect("rate=5mbit,queue=300ms,delay=25ms");
    let carol = lab.connect("rate=20mbit,queue=300ms,delay=25ms");
    watch(&mut lab, bob);
    watch(&mut lab, carol);
    lab.run(10 * SECOND);
    let (began, now) = (lab.now, lab.now);
    lab.people[bob].follow(now, &Schedule::rates(&[(0, 400), (20, 5_000)]));
    let (mut most, mut drained) = (Duration::ZERO, true);
    for _ in 0..400 {
        lab.run(100 * MS);
        most = most.max(lab.waiting(bob).1);
        drained = lab.waiting(bob).1 < 100 * MS;
        if lab.now - began > 18 * SECOND && lab.now - began < 20 * SECOND {
            assert!(drained, "what waits is gone: {:?}", lab.waiting(bob));
        }
    }
    let decoder = &lab.people[bob].decoders[&1];
    let freeze = decoder.longest_freeze(began, lab.now);
    let back = decoder.first_of(2, began + 20 * SECOND).expect("in full again") - (began + 20 * SECOND);
    let steady = decoder.longest_freeze(began + 5 * SECOND, began + 20 * SECOND);
    assert!(drained && most < 2 * SECOND, "{most:?}");
    assert!(freeze < 1_500 * MS, "{freeze:?}");
    assert!(steady < 500 * MS, "{steady:?}");
    assert!(back < 10 * SECOND, "{back:?}");
    let others = lab.people[carol].decoders[&1].longest_freeze(began, lab.now);
    assert!(others < 3 * FRAME, "{others:?}");
}

#[test]
fn what_was_lost_is_sent_again_before_the_video_that_waits() {
    let (mut lab, alice) = room();
    let bob = thin(&mut lab);
    lab.people[alice].source(1, 0).factor = 60;
    lab.people[alice].source(1, 0).keyframe = true;
    lab.run(150 * MS);
    assert!(lab.waiting(bob).1 > 200 * MS, "{:?}", lab.waiting(bob));
    // Some packets are lost.
    let lost = lab.now;
    lab.people[bob].deaf = 1_000;
    lab.run(70 * MS);
    lab.people[bob].deaf = 0;
    lab.run(130 * MS);
    assert!(lab.waiting(bob).0 > 10, "there is video that waits: {:?}", lab.waiting(bob));
    let again = |(at, packet): &&(Instant, wire::media::Received)| *at > lost && packet.retransmitted;
    let repaired = lab.people[bob].got.iter().filter(again).count();
    assert!(repaired >= 2, "{repaired}");
}

#[test]
fn who_loses_frames_because_they_waited_too_long_gets_a_keyframe_and_until_then_nothing() {
    let (mut lab, alice) = room();
    lab.publish(alice, 3, Video, &[30]);
    let bob = thin(&mut lab);
    lab.subscribe(bob, 3, Video);
    lab.run(2 * SECOND);
    let keyframes = lab.people[alice].source(3, 0).keyframes;
    // Many times as much from one frame to the next.
    lab.people[alice].source(3, 0).kbps = 6_000;
    lab.run(300 * MS);
    lab.people[alice].source(3, 0).kbps = 30;
    assert!(lab.worker.counts.paced_frames_dropped > 2, "{}", lab.worker.counts.paced_frames_dropped);
    lab.run(SECOND);
    let asked = lab.people[alice].source(3, 0).keyframes - keyframes;
    assert!((1..=3).contains(&asked), "{asked}: by the worker, since nobody else notices");
    // Allocation remembers the rate for a while.
    lab.run(25 * SECOND);
    for (track, decoder) in &lab.people[bob].decoders {
        assert_eq!(decoder.useless, 0, "packets of frames of {track} that cannot be shown");
        assert!(decoder.longest_freeze(lab.now - SECOND, lab.now) < 100 * MS, "{track} goes on");
    }
}

#[test]
fn a_keyframe_whose_payload_is_gone_before_it_left_does_not_hold_up_the_next_one() {
    let (mut lab, alice) = room();
    let bob = thin(&mut lab);
    // Three seconds of the line.
    lab.people[alice].source(1, 0).factor = 200;
    lab.people[alice].source(1, 0).keyframe = true;
    lab.run(100 * MS);
    assert!(lab.waiting(bob).1 > SECOND, "{:?}", lab.waiting(bob));
    // Published anew, it has other rings.
    lab.people[alice].source(1, 0).factor = 6;
    lab.people[alice].sections.receive[0].sizes = vec![(320, 180), (640, 360), (1_280, 720)];
    lab.update(alice);
    let gone = lab.now;
    lab.run(3 * SECOND);
    let shown = lab.people[bob].decoders[&1].shown.iter().find(|shown| shown.at > gone);
    let shown = shown.expect("it goes on").at - gone;
    assert!(lab.worker.counts.dropped_overrun > 0);
    assert!(shown < 700 * MS, "{shown:?}");
    assert!(lab.people[bob].decoders[&1].useless <= 4, "no more than what had left before");
}

#[test]
fn who_wants_video_long_after_sound_sees_it_as_soon_as_who_comes_for_it() {
    let first = |wait: Duration| {
        let (mut lab, alice) = room();
        lab.publish(alice, 3, Video, &[1_500]);
        let bob = lab.connect("rate=20mbit,queue=300ms,delay=15ms");
        lab.subscribe(bob, 2, Audio);
        lab.run(wait);
        // 100 kB.
        lab.people[alice].source(3, 0).factor = 16;
        lab.subscribe(bob, 3, Video);
        let began = lab.now;
        lab.run(5 * SECOND);
        lab.people[bob].decoders[&3].shown[0].at - began
    };
    let (early, late) = (first(SECOND), first(20 * SECOND));
    assert!(late < early + 100 * MS, "{late:?} and {early:?}");
}

#[test]
fn many_streams_that_all_begin_at_once_do_not_burst() {
    let mut lab = Lab::new();
    let alice = lab.connect("delay=10ms");
    (1..=6).for_each(|track| lab.publish(alice, track, Video, &LAYERS));
    lab.run(2 * SECOND);
    let bob = lab.connect("rate=30mbit,queue=300ms,delay=15ms");
    (1..=6).for_each(|track| lab.subscribe(bob, track, Video));
    lab.run(10 * SECOND);
    lab.people[bob].left.clear();
    let rate = lab.pacing(bob) as usize * 125;
    lab.people[alice].sources.iter_mut().for_each(|source| source.keyframe = true);
    lab.run(SECOND);
    let most = lab.people[bob].most_within(5 * MS);
    // A quantum ahead, five milliseconds of the rate, and what is not video.
    assert!(most <= rate / 100 + 3_000, "{most} at {rate}");
    assert!(
        lab.people[bob]
            .decoders
            .values()
            .all(|decoder| decoder.longest_freeze(lab.now - SECOND, lab.now) < 200 * MS)
    );
}

#[test]
fn a_receiver_that_negotiated_remb_alone_and_sends_none_keeps_the_picture() {
    let (mut lab, _) = room();
    let bob = lab.connect("delay=15ms");
    lab.people[bob].remb = true;
    watch(&mut lab, bob);
    lab.run(20 * SECOND);
    let decoder = &lab.people[bob].decoders[&1];
    let freeze = decoder.longest_freeze(lab.now - 19 * SECOND, lab.now);
    assert!(freeze < 500 * MS, "{freeze:?}");
}

#[test]
fn lines_of_all_kinds_that_fall_show_a_picture_soon_again_and_keep_their_sound() {
    for (kbps, delay) in [(400, 40), (600, 25), (400, 100)] {
        let (mut lab, _) = room();
        let bob = lab.connect(&format!("rate=5mbit,queue=300ms,delay={delay}ms"));
        watch(&mut lab, bob);
        lab.run(10 * SECOND);
        let (began, now) = (lab.now, lab.now);
        lab.people[bob].follow(now, &Schedule::rates(&[(0, kbps)]));
        lab.run(15 * SECOND);
        let decoder = &lab.people[bob].decoders[&1];
        let first = decoder.longest_freeze(began, began + 5 * SECOND);
        let later = decoder.longest_freeze(began + 5 * SECOND, lab.now);
        let sound = worst_delay(&lab, bob, began + 3 * SECOND);
        assert!(first < 2 * SECOND, "{kbps} kbit/s, {delay} ms: {first:?}");
        assert!(later < 500 * MS, "{kbps} kbit/s, {delay} ms: {later:?}");
        assert!(sound < delay * MS + 220 * MS, "{kbps} kbit/s, {delay} ms: {sound:?}");
    }
}

/// The longest time without a picture and the seconds with one, of somebody who joins on a line of so many kbit/s, which has room
/// for the 150 of the lowest layer and a voice: after the first ten seconds, of 50.
fn on_a_thin_line(kbps: u64) -> (Duration, usize) {
    let (mut lab, _) = room();
    let bob = lab.connect(&format!("rate={kbps}kbit,queue=300ms,delay=25ms"));
    watch(&mut lab, bob);
    lab.run(10 * SECOND);
    let began = lab.now;
    lab.run(50 * SECOND);
    let decoder = &lab.people[bob].decoders[&1];
    let seconds =
        decoder.shown.iter().filter(|shown| shown.at > began).map(|shown| (shown.at - began).as_secs());
    let seconds: std::collections::BTreeSet<u64> = seconds.collect();
    (decoder.longest_freeze(began, lab.now), seconds.len())
}

#[test]
fn a_line_with_room_for_the_lowest_layer_alone_shows_it() {
    for kbps in [250, 300] {
        let (freeze, seconds) = on_a_thin_line(kbps);
        assert!(freeze < SECOND, "{kbps} kbit/s: {freeze:?}");
        assert_eq!(seconds, 50, "{kbps} kbit/s");
    }
}

#[test]
fn a_line_that_falls_to_room_for_the_lowest_layer_alone_goes_on_with_it() {
    for kbps in [250, 300] {
        let (mut lab, _) = room();
        let bob = lab.connect("rate=5mbit,queue=300ms,delay=25ms");
        watch(&mut lab, bob);
        lab.run(10 * SECOND);
        let (began, now) = (lab.now, lab.now);
        lab.people[bob].follow(now, &Schedule::rates(&[(0, kbps)]));
        lab.run(30 * SECOND);
        let decoder = &lab.people[bob].decoders[&1];
        let freeze = decoder.longest_freeze(began, lab.now);
        assert!(freeze < 1_500 * MS, "{kbps} kbit/s: {freeze:?}");
    }
}

#[test]
fn a_line_that_loses_packets_shows_a_fluent_picture() {
    for (line, least) in [("rate=5mbit,loss=10%", 2), ("rate=5mbit,burst=5%/8", 2), ("rate=1mbit,loss=5%", 1)]
    {
        let (mut lab, _) = room();
        let bob = lab.connect(&format!("{line},queue=300ms,delay=25ms"));
        watch(&mut lab, bob);
        lab.run(10 * SECOND);
        let began = lab.now;
        lab.run(15 * SECOND);
        let decoder = &lab.people[bob].decoders[&1];
        let freeze = decoder.longest_freeze(began, lab.now);
        assert!(freeze < 600 * MS, "{line}: {freeze:?}");
        let shown = decoder.shown.iter().filter(|shown| shown.at > began);
        let (all, good) =
            shown.fold((0, 0), |(all, good), s| (all + 1, good + usize::from(s.layer >= least)));
        assert!(all >= 15 * 25, "{line}: {all} pictures in 15 s");
        assert!(good * 2 > all, "{line}: {good} of {all} in layer {least}");
    }
}

#[test]
fn when_the_last_one_leaves_no_stream_is_told_as_paused() {
    let (mut lab, alice) = room();
    let bob = lab.connect("rate=20mbit,delay=15ms");
    lab.people[bob].silent = true;
    lab.subscribe(bob, 1, Video);
    lab.run(20 * SECOND);
    let publish = |lab: &mut Lab| {
        lab.worker.publish_when_due(lab.now);
        lab.worker.counts.peers = lab.worker.peers.len() as u64;
        lab.now += SECOND;
    };
    (0..2).for_each(|_| publish(&mut lab));
    assert_eq!(lab.worker.counts.paused, 1);
    for person in [alice, bob] {
        let peer = lab.people[person].id;
        lab.command(Command::RemovePeer { peer });
    }
    lab.worker.take_commands(lab.now);
    (0..2).for_each(|_| publish(&mut lab));
    assert_eq!(lab.worker.counts.paused, 0);
}

#[test]
fn the_snapshot_tells_why_a_picture_is_small() {
    let (mut lab, _) = room();
    thin(&mut lab);
    let key = lab.worker.rooms.find(base::RoomId(1)).expect("there");
    let room = lab.worker.rooms.get(key).map(|room| (key, room));
    let text = crate::snapshot::room(lab.now, room, &lab.worker.peers);
    let told: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let receiver = &told["tracks"][0]["receivers"][0];
    assert_eq!((receiver["limit"][0].as_u64(), &receiver["paused"]), (Some(0), &false.into()), "{text}");
    let line = &told["allocation"][0];
    assert_eq!(line["peer"], receiver["peer"]);
    let rate = |name: &str| line[name].as_u64().expect("a number");
    assert!(rate("video_bits_per_second") + rate("audio_bits_per_second") < rate("estimate_bits_per_second"));
    assert!(rate("estimate_bits_per_second") < rate("wanted_bits_per_second"));
}

/// A line that changes, loses and is cut at random, beside a publisher whose streams stop, go on and begin with large keyframes.
fn torment(lab: &mut Lab, alice: usize, bob: usize, random: &mut sim::Random) {
    let mut one_of = |values: &[u64]| values[random.number() as usize % values.len()];
    for _ in 0..12 {
        let now = lab.now;
        let kbps = one_of(&[50, 120, 300, 700, 1_500, 5_000]);
        lab.people[bob].follow(now, &Schedule::rates(&[(0, kbps)]));
        lab.people[bob].deaf = one_of(&[0, 0, 0, 50, 300, 1_000]) as u32;
        let (track, layer, factor) = [(1, 0, 60), (3, 0, 6), (4, 2, 6)][one_of(&[0, 1, 2]) as usize];
        let source = lab.people[alice].source(track, layer);
        (source.factor, source.keyframe, source.off) = (factor, true, !source.off && factor == 6);
        lab.run(one_of(&[200, 700, 1_500, 3_000]) as u32 * MS);
    }
    lab.people[bob].deaf = 0;
    lab.people[alice].sources.iter_mut().for_each(|source| (source.factor, source.off) = (6, false));
}

#[test]
fn whatever_happened_on_a_line_everything_is_back_when_it_is_good_again() {
    for seed in 0..3 {
        let (mut lab, alice) = room();
        lab.publish(alice, 3, Video, &[800]);
        lab.publish(alice, 4, Video, &LAYERS);
        let bob = lab.connect("rate=5mbit,queue=300ms,delay=25ms");
        watch(&mut lab, bob);
        lab.subscribe(bob, 3, Video);
        lab.subscribe(bob, 4, Video);
        torment(&mut lab, alice, bob, &mut sim::Random::new(seed));
        let now = lab.now;
        lab.people[bob].follow(now, &Schedule::rates(&[(0, 10_000)]));
        lab.run(40 * SECOND);
        let from = lab.now - SECOND;
        for (track, highest) in [(1, 2), (3, 0), (4, 2)] {
            let decoder = &lab.people[bob].decoders[&track];
            let freeze = decoder.longest_freeze(from, lab.now);
            assert!(freeze < 100 * MS, "{seed}: {track} stands still for {freeze:?}");
            let low = decoder.shown.iter().any(|shown| shown.at >= from && shown.layer < highest);
            assert!(!low, "{seed}: {track} is not in full");
        }
        let sound = worst_delay(&lab, bob, from);
        assert!(sound < 150 * MS, "{seed}: {sound:?}");
    }
}
