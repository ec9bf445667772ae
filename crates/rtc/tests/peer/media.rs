use std::collections::BTreeMap;
use std::time::Duration;

use rtc::{Clock, Event};

use crate::common::net::{BAD, GOOD};
use crate::common::{AUDIO, MS, VIDEO, World, mid, payload, seeds};

/// Runs `packets` packets of audio and of video both ways, 50 per second and stream.
fn call(world: &mut World, first: u64, packets: u64) {
    for number in first..first + packets {
        for stream in 0..2 {
            world.they_send(stream, number, &payload(number));
            world.we_send(stream, number, &payload(number));
        }
        world.run(20 * MS);
    }
    world.run(Duration::from_millis(1_500));
}

/// Payloads of one of our received streams by their number.
fn heard_by_us(world: &World, name: &str) -> BTreeMap<u64, Vec<u8>> {
    let of = world.ours.received.iter().filter(|(received, _)| received.mid == mid(name));
    of.map(|(received, payload)| (received.sequence & 0xffff, payload.clone())).collect()
}

fn heard_by_them(world: &World, ssrc: u32) -> BTreeMap<u64, Vec<u8>> {
    let of = world.theirs.packets.iter().filter(|packet| *packet.header.ssrc == ssrc);
    of.map(|packet| (u64::from(packet.header.sequence_number), packet.payload.to_vec())).collect()
}

/// Says which packets differ instead of printing all their bytes.
#[track_caller]
fn assert_same(heard: &BTreeMap<u64, Vec<u8>>, sent: &BTreeMap<u64, Vec<u8>>, seed: u64) {
    let missing: Vec<_> = sent.keys().filter(|number| !heard.contains_key(number)).collect();
    let wrong: Vec<_> = heard.iter().filter(|(number, bytes)| sent.get(number) != Some(bytes)).collect();
    let wrong: Vec<_> = wrong.iter().map(|(number, _)| number).collect();
    assert!(missing.is_empty() && wrong.is_empty(), "seed {seed}: missing {missing:?}, wrong {wrong:?}");
}

fn sent(first: u64, packets: u64) -> BTreeMap<u64, Vec<u8>> {
    (first..first + packets).map(|number| (number & 0xffff, payload(number))).collect()
}

#[test]
fn media_arrives_unchanged_in_both_directions() {
    let mut world = World::new(1, GOOD);
    world.connect();
    call(&mut world, 100, 200);
    for name in [AUDIO, VIDEO] {
        assert_same(&heard_by_us(&world, name), &sent(100, 200), 1);
    }
    for ssrc in [3_000, 4_000] {
        assert_same(&heard_by_them(&world, ssrc), &sent(100, 200), 1);
    }
    let counters = world.ours.peer.counters();
    assert_eq!(
        (counters.srtp_unauthenticated, counters.srtp_replayed, counters.rtp_unknown_stream),
        (0, 0, 0)
    );
    assert!(world.ours.events.iter().any(|event| matches!(event, Event::FirstMedia)));
}

#[test]
fn lost_video_is_repaired_in_both_directions() {
    for seed in seeds(5) {
        let mut world = World::new(seed, GOOD);
        world.connect();
        // Nobody can miss the first and the last packets of a stream: they go over the good network.
        call(&mut world, 90, 10);
        world.network.conditions = BAD;
        call(&mut world, 100, 400);
        world.network.conditions = GOOD;
        call(&mut world, 500, 20);
        assert_same(&heard_by_us(&world, VIDEO), &sent(90, 430), seed);
        // str0m asks five times; one packet in ten thousand stays missing after that.
        let (heard, sent) = (heard_by_them(&world, 4_000), sent(90, 430));
        assert!(
            heard.len() >= 429 && heard.iter().all(|(n, bytes)| sent.get(n) == Some(bytes)),
            "seed {seed}"
        );
        let counters = *world.ours.peer.counters();
        assert!(counters.nacks_sent > 10 && counters.rtx_sent > 10, "{counters:#?}");
        assert!(world.ours.received.iter().any(|(received, _)| received.retransmitted));
        let lost_audio = 430 - heard_by_us(&world, AUDIO).len();
        assert!((5..80).contains(&lost_audio), "audio is not repaired: {lost_audio}");
    }
}

#[test]
fn nothing_is_delivered_twice() {
    let mut world = World::new(3, GOOD);
    world.connect();
    world.network.conditions = BAD;
    world.network.conditions.duplication = 0.5;
    call(&mut world, 100, 200);
    for name in [AUDIO, VIDEO] {
        let count = world.ours.received.iter().filter(|(received, _)| received.mid == mid(name)).count();
        assert_eq!(count, heard_by_us(&world, name).len());
    }
    assert!(world.ours.peer.counters().srtp_replayed > 50);
}

#[test]
fn the_sequence_number_rolls_over_in_both_directions() {
    let mut world = World::new(4, GOOD);
    world.connect();
    let first = 65_536 - 150;
    call(&mut world, first - 10, 10);
    world.network.conditions = BAD;
    call(&mut world, first, 300);
    world.network.conditions = GOOD;
    call(&mut world, first + 300, 20);
    assert_same(&heard_by_us(&world, VIDEO), &sent(first - 10, 330), 4);
    assert_same(&heard_by_them(&world, 4_000), &sent(first - 10, 330), 4);
    let sequences: Vec<_> =
        world.ours.received.iter().filter(|(r, _)| r.mid == mid(VIDEO)).map(|(r, _)| r.sequence).collect();
    let (low, high) = (sequences.iter().min().unwrap(), sequences.iter().max().unwrap());
    assert_eq!(high - low, 329, "extended over the wrap");
}

#[test]
fn keyframe_requests_pass_in_both_directions() {
    let mut world = World::new(1, GOOD);
    world.connect();
    call(&mut world, 100, 10);
    world.ours.peer.request_keyframe(world.now, mid(VIDEO), 0);
    let mut api = world.theirs.rtc.direct_api();
    let stream = api.stream_rx(&4_000.into()).expect("declared");
    stream.request_keyframe(str0m::media::KeyframeRequestKind::Pli);
    world.theirs.handle_timeout(world.now);
    world.run(200 * MS);
    assert_eq!(world.theirs.keyframe_requests, 1);
    let asked = |e: &Event| matches!(e, Event::KeyframeRequest { mid: m } if *m == mid(VIDEO));
    assert_eq!(world.ours.events.iter().filter(|event| asked(event)).count(), 1);
}

#[test]
fn reports_give_the_clock_the_round_trip_and_the_loss() {
    let mut world = World::new(5, GOOD);
    world.connect();
    let index = world.ours.peer.send_index(mid(VIDEO)).expect("declared");
    let ntp = base::NtpTime::from_unix(Duration::from_secs(1_600_000_000));
    world.ours.peer.set_clock(index, Clock { ntp, rtp: 5, at: world.now });
    world.network.conditions.loss = 0.1;
    call(&mut world, 100, 400);

    let reports = world.ours.events.iter().filter(|e| matches!(e, Event::SenderReport { .. })).count();
    assert!(reports >= 4, "{reports} sender reports of str0m");
    let theirs = world.theirs.packets.iter().rev().find(|packet| *packet.header.ssrc == 4_000).unwrap();
    let info = theirs.last_sender_info.expect("our sender report");
    let wall = info.ntp_time.duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    let since = wall - Duration::from_secs(1_600_000_000);
    assert!((1..10).contains(&since.as_secs()), "the publisher's clock, extrapolated: {since:?}");

    let quality = world.ours.events.iter().rev().find_map(|event| match event {
        Event::Quality { loss, rtt, .. } => Some((*loss, *rtt)),
        _ => None,
    });
    let (_, rtt) = quality.expect("str0m reports on our streams");
    let rtt = rtt.expect("our sender reports were echoed");
    assert!((19 * MS..40 * MS).contains(&rtt), "{rtt:?}");
    let losses: Vec<f32> = world
        .ours
        .events
        .iter()
        .filter_map(|e| if let Event::Quality { loss, .. } = e { Some(*loss) } else { None })
        .collect();
    let mean = losses.iter().sum::<f32>() / losses.len() as f32;
    assert!((0.02..0.3).contains(&mean), "{losses:?}");
}

#[test]
fn streams_that_began_at_different_times_are_reported_on_together_each_second() {
    let mut world = World::new(7, GOOD);
    world.connect();
    for name in [AUDIO, VIDEO] {
        let index = world.ours.peer.send_index(mid(name)).expect("declared");
        let ntp = base::NtpTime::from_unix(Duration::from_secs(1_600_000_000));
        world.ours.peer.set_clock(index, Clock { ntp, rtp: 5, at: world.now });
    }
    let before = world.ours.peer.counters().rtcp_sent;
    for number in 0..500 {
        world.we_send(0, 100 + number, &payload(number));
        // Video begins 100 ms after audio.
        if number >= 5 {
            world.we_send(1, 100 + number, &payload(number));
        }
        world.run(20 * MS);
    }
    for ssrc in [3_000, 4_000] {
        let of_stream = world.theirs.packets.iter().filter(|packet| *packet.header.ssrc == ssrc);
        let mut times: Vec<_> = of_stream.filter_map(|p| Some(p.last_sender_info?.ntp_time)).collect();
        times.dedup();
        assert!((10..=12).contains(&times.len()), "{} sender reports of {ssrc} in 10 s", times.len());
    }
    let datagrams = world.ours.peer.counters().rtcp_sent - before;
    assert!((10..=13).contains(&datagrams), "{datagrams} datagrams for the reports of two streams");
}

#[test]
fn transport_wide_feedback_passes_in_both_directions() {
    let mut world = World::new(6, GOOD);
    world.connect();
    call(&mut world, 100, 100);
    let feedback = world.ours.peer.snapshot().feedback;
    assert!(feedback.arrived >= 190 && feedback.lost == 0, "{feedback:?}");
    assert!(feedback.rtt.is_some_and(|rtt| (20 * MS..150 * MS).contains(&rtt)), "{feedback:?}");
}

#[test]
fn a_publisher_that_falls_silent_gets_no_more_reports_and_wakes_nobody() {
    let mut world = World::new(6, GOOD);
    world.connect();
    call(&mut world, 100, 100);
    world.run(Duration::from_secs(3));
    let before = world.ours.peer.counters().rtcp_sent;
    world.run(Duration::from_secs(5));
    assert_eq!(world.ours.peer.counters().rtcp_sent, before, "nothing new to report on");
    call(&mut world, 200, 100);
    assert!(world.ours.peer.counters().rtcp_sent > before);
}

#[test]
fn padding_to_a_length_keeps_the_payload() {
    let mut world = World::new(1, GOOD);
    world.connect();
    let index = world.ours.peer.send_index(mid(VIDEO)).expect("declared");
    let rewrite = crate::common::ours::rewrite(7, 7, base::CodecKind::Vp8);
    let bytes = payload(7);
    let len = world.ours.peer.packet_len(index, &rewrite, bytes.len());
    let mut out = Vec::new();
    let padded =
        world.ours.peer.send(world.now, index, &rewrite, Default::default(), &bytes, Some(len + 8), &mut out);
    assert_eq!(padded, Some(len + 8));
    let to = world.ours.peer.destination().expect("connected");
    world.ours.out.push((to, out));
    world.run(100 * MS);
    assert_same(&heard_by_them(&world, 4_000), &sent(7, 1), 1);
}

#[test]
fn a_sequence_number_is_not_sent_twice() {
    let mut world = World::new(1, GOOD);
    world.connect();
    world.we_send(1, 50, b"\x10first");
    let rewrite = crate::common::ours::rewrite(50, 1, base::CodecKind::Vp8);
    assert_eq!(world.ours.send(world.now, mid(VIDEO), &rewrite, b"\x10second"), None);
    assert_eq!(world.ours.peer.counters().srtp_seal_refused, 1);
}
