//! A peer that sends garbage: whatever bytes come, from whomever, nothing panics and the connection lives.

use std::time::Duration;

use rtc::DtlsVersions;
use str0m::config::DtlsVersion;

use crate::common::net::{GOOD, Random};
use crate::common::{MS, World, address, payload, seeds};

/// First bytes that lead into every branch of the demultiplexer.
const FIRST: [u8; 16] = [0, 1, 3, 4, 19, 20, 21, 22, 23, 25, 63, 64, 127, 128, 144, 191];

/// Datagrams of all classes as the client sent them.
fn capture(world: &mut World) -> Vec<Vec<u8>> {
    world.record = Some(Vec::new());
    for number in 100..160 {
        world.they_send((number % 2) as usize, number, &payload(number));
        world.run(100 * MS);
    }
    let captured = world.record.take().unwrap_or_default();
    assert!(captured.iter().any(|datagram| datagram[0] < 4), "checks");
    assert!(captured.iter().any(|datagram| datagram[0] > 127), "media");
    captured
}

fn random_datagram(random: &mut Random) -> Vec<u8> {
    let longest = if random.chance(0.1) { 1_600 } else { 120 };
    let len = 1 + random.below(longest) as usize;
    let mut bytes: Vec<u8> = (0..len).map(|_| random.next() as u8).collect();
    bytes[0] = FIRST[random.below(16) as usize];
    bytes
}

fn mutated(random: &mut Random, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = seeds[random.below(seeds.len() as u64) as usize].clone();
    match random.below(3) {
        0 => bytes.truncate(1 + random.below(bytes.len() as u64) as usize),
        1 => {
            for _ in 0..=random.below(4) {
                let bit = random.below(bytes.len() as u64 * 8) as usize;
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
        }
        _ => {
            let more = random.below(40);
            bytes.extend((0..more).map(|_| random.next() as u8));
        }
    }
    bytes
}

/// Media and data still pass both ways.
fn assert_alive(world: &mut World) {
    world.run(500 * MS);
    let before = (world.ours.received.len(), world.theirs.packets.len());
    for number in 1_000..1_020 {
        world.they_send(0, number, &payload(number));
        world.we_send(0, number, &payload(number));
        world.run(20 * MS);
    }
    world.run(100 * MS);
    assert_eq!(world.ours.closed(), None, "{:#?}", world.ours.peer.counters());
    assert_eq!(world.ours.received.len() - before.0, 20);
    assert_eq!(world.theirs.packets.len() - before.1, 20);
}

#[test]
fn random_datagrams_from_the_peers_address_change_nothing() {
    for version in [DtlsVersion::Dtls12, DtlsVersion::Dtls13] {
        let mut world = World::with_versions(1, GOOD, DtlsVersions::Automatic, version);
        world.connect();
        world.run(500 * MS);
        let mut random = Random::new(7);
        for _ in 0..20_000 {
            let mut bytes = random_datagram(&mut random);
            world.ours.receive(world.now, world.outside, &mut bytes);
        }
        assert_alive(&mut world);
    }
}

#[test]
fn truncated_and_changed_datagrams_change_nothing() {
    for version in [DtlsVersion::Dtls12, DtlsVersion::Dtls13] {
        let mut world = World::with_versions(2, GOOD, DtlsVersions::Automatic, version);
        world.connect();
        world.ours.peer.open_channel(world.now, "chat", true, None);
        world.run(500 * MS);
        world.ours.peer.send_message(world.now, "chat", true, b"to be acknowledged").expect("open");
        let seeds = capture(&mut world);
        assert!(seeds.iter().any(|datagram| (20..64).contains(&datagram[0])), "DTLS");
        let received = world.ours.received.len();
        let mut random = Random::new(8);
        for _ in 0..20_000 {
            let mut bytes = mutated(&mut random, &seeds);
            world.ours.receive(world.now, world.outside, &mut bytes);
        }
        assert!(world.ours.received.len() - received <= seeds.len(), "nothing forged was accepted");
        assert_alive(&mut world);
    }
}

#[test]
fn garbage_during_the_handshake_does_not_prevent_it() {
    for seed in seeds(8) {
        let version = [DtlsVersion::Dtls12, DtlsVersion::Dtls13, DtlsVersion::Auto][seed as usize % 3];
        let mut world = World::with_versions(seed, GOOD, DtlsVersions::Automatic, version);
        let mut random = Random::new(seed);
        let limit = world.now + Duration::from_secs(20);
        while !(world.ours.is_connected() && world.theirs.connected) {
            assert!(world.now < limit, "seed {seed} {version:?}: {:#?}", world.ours.peer.counters());
            let mut bytes = random_datagram(&mut random);
            world.ours.receive(world.now, world.outside, &mut bytes);
            world.run(2 * MS);
        }
        assert_alive(&mut world);
    }
}

/// A DTLS record of epoch 0, in the clear, as anybody can write it.
fn plaintext_record(kind: u8, sequence: u32, body: &[u8]) -> Vec<u8> {
    let mut record = vec![kind, 0xfe, 0xfd, 0, 0, 0, 0];
    record.extend_from_slice(&sequence.to_be_bytes());
    record.extend_from_slice(&(body.len() as u16).to_be_bytes());
    record.extend_from_slice(body);
    record
}

#[test]
fn plaintext_records_forged_in_the_clients_name_after_the_handshake_change_nothing() {
    // An alert, data, a hello request, and one byte of nothing.
    let bodies: [&[u8]; 4] = [&[2, 40], &[7; 64], &[0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0], &[0]];
    for version in [DtlsVersion::Dtls12, DtlsVersion::Dtls13] {
        let mut world = World::with_versions(3, GOOD, DtlsVersions::Automatic, version);
        world.connect();
        world.run(500 * MS);
        let before = world.ours.peer.counters().sctp_unexpected;
        for kind in 20..64 {
            for number in 0..200 {
                let body = bodies[number as usize % bodies.len()];
                let mut record = plaintext_record(kind, 1_000 + number, body);
                world.ours.receive(world.now, world.outside, &mut record);
            }
            assert_eq!(
                world.ours.peer.counters().sctp_unexpected,
                before,
                "{version:?}: data of kind {kind} was believed"
            );
            assert_eq!(world.ours.closed(), None, "{version:?}: records of kind {kind} ended the peer");
        }
        assert_alive(&mut world);
    }
}

#[test]
fn a_stranger_gets_nothing_and_costs_nothing() {
    let mut world = World::new(1, GOOD);
    world.connect();
    world.run(500 * MS);
    let seeds = capture(&mut world);
    let stranger = address("203.0.113.9:9");
    let mut random = Random::new(9);
    for _ in 0..5_000 {
        for mut bytes in [random_datagram(&mut random), mutated(&mut random, &seeds)] {
            let len = bytes.len();
            world.ours.receive(world.now, stranger, &mut bytes);
            for (to, answer) in world.ours.out.drain(..).filter(|(to, _)| *to == stranger) {
                // Only what looks like a check of ours is answered at all: with a success when it is one that was
                // overheard, with a 401 when its integrity is wrong.
                assert!(answer.len() <= len + 24, "{} bytes for {len} to {to}", answer.len());
            }
        }
    }
    assert_eq!(world.ours.peer.destination(), Some(world.outside), "overheard checks move nothing");
    assert_alive(&mut world);
}
