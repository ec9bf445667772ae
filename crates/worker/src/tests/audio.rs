//! Sound: redundancy for those who know it, and the loudest few of many microphones.

use std::collections::BTreeSet;

use base::model::TrackSource;
use base::{Codec, CodecKind, MediaKind, TrackId};
use contract::media::SendSection;

use super::world::{Client, World, codec, extensions, mid};

const OPUS: Codec = Codec {
    kind: CodecKind::Opus,
    payload_type: 109,
    rtx: None,
    nack: false,
    pli: false,
    fir: false,
    transport_cc: true,
    remb: false,
    ccfb: false,
};

const RED: Codec = Codec { kind: CodecKind::Red, payload_type: 63, ..OPUS };

/// A redundant packet of two blocks, as a publisher writes it whose Opus has this payload type.
fn redundant(opus: u8, primary: &[u8]) -> Vec<u8> {
    let mut payload = (0x8000_0000 | u32::from(opus) << 24 | 960 << 10 | 30u32).to_be_bytes().to_vec();
    payload.push(opus);
    payload.extend([9; 30]);
    payload.extend(primary);
    payload
}

fn publish(client: &mut Client, world: &World) {
    client.publish(world, "a", CodecKind::Opus, 5);
    client.sections.receive[0].codecs.push(RED);
    client.update(world);
}

#[test]
fn a_receiver_without_redundancy_gets_opus_and_one_with_it_gets_all_in_its_own_payload_types() {
    let mut world = World::new();
    let (mut alice, mut bob, mut carl) =
        (world.connect(601, 1), world.connect(602, 1), world.connect(603, 1));
    publish(&mut alice, &world);
    bob.subscribe(&world, "a", CodecKind::Opus, 5);
    carl.subscribe(&world, "a", CodecKind::Opus, 5);
    carl.sections.send[0].codecs = vec![RED, OPUS];
    carl.update(&world);
    let sent = redundant(codec(CodecKind::Opus).payload_type, &[5; 80]);
    world.run(&mut [&mut alice, &mut bob, &mut carl], "both kinds at both", |_, clients| {
        // Chromium changes between the two.
        clients[0].send_loud("a", CodecKind::Red, 20, &sent);
        clients[0].send_loud("a", CodecKind::Opus, 20, &[6; 70]);
        clients[1..].iter().all(|client| client.got.len() >= 6)
    });
    for (received, payload) in &bob.got {
        assert_eq!(received.codec, CodecKind::Opus);
        assert!(*payload == [5; 80] || *payload == [6; 70], "{payload:?}");
    }
    let redundant = redundant(OPUS.payload_type, &[5; 80]);
    for (received, payload) in &carl.got {
        let expected = if received.codec == CodecKind::Red { &redundant[..] } else { &[6; 70][..] };
        assert_eq!(payload, expected);
    }
    for client in [bob, carl] {
        let numbers: Vec<u64> = client.got.iter().map(|(received, _)| received.sequence).collect();
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
    }
}

#[test]
fn what_the_publisher_lost_is_made_good_from_the_next_packet() {
    let mut world = World::new();
    let (mut alice, mut bob, mut carl) =
        (world.connect(605, 1), world.connect(606, 1), world.connect(607, 1));
    publish(&mut alice, &world);
    bob.subscribe(&world, "a", CodecKind::Opus, 5);
    carl.subscribe(&world, "a", CodecKind::Opus, 5);
    carl.sections.send[0].codecs = vec![RED, OPUS];
    carl.update(&world);
    let sent = redundant(codec(CodecKind::Opus).payload_type, &[5; 80]);
    world.run(&mut [&mut alice, &mut bob, &mut carl], "heard by both", |_, clients| {
        clients[0].send_loud("a", CodecKind::Red, 20, &sent);
        clients[1..].iter().all(|client| client.got.len() >= 3)
    });
    [&mut bob, &mut carl].into_iter().for_each(|client| client.got.clear());
    world.run(&mut [&mut alice, &mut bob, &mut carl], "every other packet lost", |_, clients| {
        clients[0].lose_sound();
        clients[0].send_loud("a", CodecKind::Red, 20, &sent);
        clients[1..].iter().all(|client| client.got.len() >= 10)
    });
    for client in [bob, carl] {
        let numbers: Vec<u64> = client.got.iter().map(|(received, _)| received.sequence).collect();
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
        let times: Vec<u32> = client.got.iter().map(|(received, _)| received.timestamp).collect();
        assert!(times.windows(2).all(|pair| pair[1] == pair[0] + 960), "{times:?}");
        let copies = client.got.iter().filter(|(_, payload)| *payload == [9; 30]).count();
        assert!(copies >= 4, "{copies} of {}", client.got.len());
    }
}

#[test]
fn what_was_unwrapped_is_sent_again_unwrapped() {
    let mut world = World::new();
    let (mut alice, mut bob) = (world.connect(611, 1), world.connect(612, 1));
    publish(&mut alice, &world);
    bob.sections.send.push(SendSection {
        mid: mid("a"),
        media: MediaKind::Audio,
        track: TrackId(5),
        ssrc: 0x2000_0001,
        rtx_ssrc: Some(0x2000_0002),
        codecs: vec![Codec { rtx: Some(110), nack: true, ..OPUS }],
        extensions: extensions(),
        cname: "world".to_owned(),
        strips_trailers: false,
    });
    bob.update(&world);
    let sent = redundant(codec(CodecKind::Opus).payload_type, &[5; 80]);
    world.run(&mut [&mut alice, &mut bob], "heard", |_, clients| {
        clients[0].send_loud("a", CodecKind::Red, 20, &sent);
        !clients[1].got.is_empty()
    });
    world.run(&mut [&mut alice, &mut bob], "repaired", |_, clients| {
        clients[1].lose = 1;
        (0..5).for_each(|_| clients[0].send_loud("a", CodecKind::Red, 20, &sent));
        clients[1].got.iter().any(|(received, _)| received.retransmitted)
    });
    let repaired = bob.got.iter().find(|(received, _)| received.retransmitted).expect("just found");
    assert_eq!((repaired.0.codec, &repaired.1), (CodecKind::Opus, &vec![5; 80]));
}

#[test]
fn of_many_microphones_the_loudest_few_are_forwarded() {
    const MICROPHONES: usize = sfu::LOUDEST + 4;
    let mut world = World::new();
    let (mut alice, mut bob) = (world.connect(621, 1), world.connect(622, 1));
    let names: Vec<String> = (0..MICROPHONES).map(|n| format!("a{n}")).collect();
    for (track, name) in (10..).zip(&names) {
        alice.publish(&world, name, CodecKind::Opus, track);
        alice.sections.receive.last_mut().expect("just published").source = TrackSource::Microphone;
        bob.subscribe(&world, name, CodecKind::Opus, track);
    }
    alice.update(&world);
    let mut round = 0;
    let mut play = |world: &mut World, alice: &mut Client, bob: &mut Client, loud: &str| {
        bob.got.clear();
        let mut rounds = 0;
        world.run(&mut [alice, bob], "twenty rounds", |_, clients| {
            (rounds, round) = (rounds + 1, round + 1);
            for name in &names {
                clients[0].send_loud(name, CodecKind::Opus, if name == loud { 20 } else { 90 }, &[7; 40]);
            }
            rounds == 20
        });
        (0..20).for_each(|_| bob.step());
        bob.got.iter().map(|(received, _)| received.mid.to_string()).collect::<BTreeSet<_>>()
    };
    play(&mut world, &mut alice, &mut bob, "");
    let quiet = play(&mut world, &mut alice, &mut bob, "");
    assert_eq!(quiet.len(), sfu::LOUDEST, "{quiet:?}");
    let other = names.iter().find(|name| !quiet.contains(*name)).expect("some are left out");
    let heard = play(&mut world, &mut alice, &mut bob, other);
    assert!(heard.contains(other), "{heard:?}");
    let state = world.snapshot(1).to_string();
    assert!(state.contains("\"withheld\":true"), "{state}");
}
