//! Strangers, garbage and panics cost nobody else anything.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use base::CodecKind;
use contract::media::{Event, PeerEnd};

use super::world::{Client, World};
use crate::guard::trap;

fn sound(world: &World, publisher: &mut Client, subscriber: &mut Client, track: u64) {
    publisher.publish(world, "a", CodecKind::Opus, track);
    subscriber.subscribe(world, "a", CodecKind::Opus, track);
}

/// Sends sound until some more of it arrives.
fn hear(world: &mut World, from: &mut Client, to: &mut Client) {
    to.got.clear();
    world.run(&mut [from, to], "heard", |_, clients| {
        clients[0].send_sound("a", &[1; 60]);
        clients[1].got.len() >= 3
    });
}

fn random_bytes(state: &mut u64, len: usize) -> Vec<u8> {
    let next = || {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 33) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

#[test]
fn random_datagrams_are_counted_and_get_no_answer_and_a_call_goes_on() {
    let mut world = World::new();
    let (mut alice, mut bob) = (world.connect(301, 1), world.connect(302, 1));
    sound(&world, &mut alice, &mut bob, 1);
    hear(&mut world, &mut alice, &mut bob);
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    stranger.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    let dropped = |world: &World| {
        ["unknown_class", "stun_unknown_user", "unvalidated_source"].map(|reason| world.dropped(reason))
    };
    let before: u64 = dropped(&world).iter().sum();
    let mut state = 5;
    let sizes = [1, 2, 12, 20, 28, 100, 1_200, 9_000, 60_000];
    for round in 0..40 {
        for (index, len) in sizes.into_iter().enumerate() {
            let mut bytes = random_bytes(&mut state, len);
            // All classes of RFC 7983 get their share.
            bytes[0] = [0, 1, 22, 64, 128, 160, 191, 255, bytes[0]][(index + round) % 9];
            stranger.send_to(&bytes, world.address()).unwrap();
            // The same from the address of a connected client.
            alice.socket.send_to(&bytes, world.address()).unwrap();
        }
        // No faster than it is read, so that none is lost in the socket's queue.
        let want = before + (round as u64 + 1) * sizes.len() as u64;
        world.wait("counted", |world| dropped(world).iter().sum::<u64>() >= want);
    }
    assert!(dropped(&world).iter().all(|count| *count > 0), "{:?}", dropped(&world));
    assert!(stranger.recv_from(&mut [0; 2_000]).is_err(), "strangers get no answer");
    hear(&mut world, &mut alice, &mut bob);
    assert_eq!(world.metrics.value("stoa_worker_recovered_panics_total", None), 0);
}

#[test]
fn a_stranger_that_asks_for_its_address_is_told_it_and_so_is_a_client() {
    let mut world = World::new();
    let alice = world.connect(303, 1);
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let question = [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[7; 12]].concat();
    for socket in [&stranger, &alice.socket] {
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        socket.send_to(&question, world.address()).unwrap();
        let mut bytes = [0; 100];
        let answer = loop {
            let (len, _) = socket.recv_from(&mut bytes).unwrap();
            // The client gets reports besides.
            if bytes[0] == 1 {
                break &bytes[..len];
            }
        };
        assert_eq!((answer.len(), &answer[8..20]), (question.len() + 12, &[7; 12][..]));
        let port = u16::from_be_bytes([answer[26], answer[27]]) ^ 0x2112;
        assert_eq!(port, socket.local_addr().unwrap().port());
    }
    // An answer may leave before its tick has counted it.
    world.wait("both counted", |world| world.metrics.value("stoa_worker_stun_requests_total", None) == 2);
}

#[test]
fn a_panic_ends_one_peer_and_nobody_else() {
    let mut world = World::new();
    let (mut alice, mut bob) = (world.connect(311, 1), world.connect(312, 1));
    let mut mallory = world.connect(313, 1);
    sound(&world, &mut alice, &mut bob, 1);
    mallory.publish(&world, "a", CodecKind::Opus, 2);
    bob.subscribe(&world, "b", CodecKind::Opus, 2);
    hear(&mut world, &mut alice, &mut bob);
    trap::set(313);
    mallory.send_sound("a", &[9; 60]);
    world.wait("ended", |world| {
        let ended = |event: &Event| matches!(event, Event::Closed { peer, end, .. } if peer.0 == 313 && *end == PeerEnd::Panicked);
        world.heard.iter().any(ended)
    });
    hear(&mut world, &mut alice, &mut bob);
    let panics = "stoa_worker_recovered_panics_total";
    assert_eq!(world.metrics.value(panics, Some(("scope", "peer"))), 1);
    assert_eq!(world.metrics.value(panics, Some(("scope", "room"))), 0);
    assert_eq!(world.metrics.value("stoa_worker_peers", None), 2);
    assert!(
        world.snapshot(1)["tracks"].as_array().unwrap().iter().any(|track| track["participant"].is_null())
    );
}

#[test]
fn a_client_that_forges_anothers_address_cannot_keep_it() {
    let mut world = World::new();
    let (mut alice, mut bob) = (world.connect(331, 1), world.connect(332, 1));
    sound(&world, &mut alice, &mut bob, 1);
    hear(&mut world, &mut alice, &mut bob);
    // Mallory's own check, good in every way, with Alice's address as its source.
    let mut mallory = world.introduce(333, 1);
    world.wait("introduced", |world| world.metrics.value("stoa_worker_peers", None) == 3);
    let (now, mut check) = (Instant::now(), Vec::new());
    mallory.peer.handle_timeout(now);
    mallory.peer.poll_transmit(now, &mut check).expect("her first check");
    alice.socket.send_to(&check, world.address()).unwrap();
    // The tick of the first answer takes the check too, if none did before; the second comes from a later one.
    let _ = (world.snapshot(1), world.snapshot(1));
    alice.send_sound("a", &[1; 60]);
    world.wait("misled", |world| {
        world.metrics.value("stoa_worker_transport_total", Some(("kind", "srtp_before_keys"))) > 0
    });
    hear(&mut world, &mut alice, &mut bob);
}

#[test]
fn a_panic_while_control_does_not_keep_up_ends_one_peer() {
    let mut world = World::with("127.0.0.1:0", &[], 4);
    let (mut alice, mut bob) = (world.connect(341, 1), world.connect(342, 1));
    let mut mallory = world.connect(343, 1);
    sound(&world, &mut alice, &mut bob, 1);
    mallory.peer.open_channel(Instant::now(), "flood", true, None);
    world.run(&mut [&mut mallory], "open", |world, _| {
        world.heard.iter().any(|event| matches!(event, Event::ChannelOpen { peer, .. } if peer.0 == 343))
    });
    trap::set(!343);
    // Nobody listens meanwhile, so that what she says piles up.
    let until = Instant::now() + Duration::from_secs(10);
    while world.metrics.value("stoa_worker_recovered_panics_total", Some(("scope", "peer"))) == 0 {
        assert!(Instant::now() < until, "the trap never sprang");
        let _ = mallory.peer.send_message(Instant::now(), "flood", false, &[3; 4_000]);
        mallory.step();
    }
    hear(&mut world, &mut alice, &mut bob);
}

#[test]
fn a_panic_in_a_rooms_media_ends_that_media_and_no_other_room() {
    let mut world = World::new();
    // The ids of rooms and peers share the trap: these are nobody's.
    let (lost, kept) = (9_321, 9_322);
    let (mut alice, mut bob) = (world.connect(321, lost), world.connect(322, lost));
    let (mut carol, mut dave) = (world.connect(323, kept), world.connect(324, kept));
    sound(&world, &mut alice, &mut bob, 1);
    sound(&world, &mut carol, &mut dave, 1);
    hear(&mut world, &mut alice, &mut bob);
    trap::set(lost);
    alice.send_sound("a", &[9; 60]);
    world.wait("told", |world| {
        world.heard.iter().any(|event| matches!(event, Event::RoomLost { room, .. } if room.0 == lost))
    });
    hear(&mut world, &mut carol, &mut dave);
    bob.step();
    bob.got.clear();
    alice.send_sound("a", &[9; 60]);
    assert_eq!(world.snapshot(lost)["media_lost"], true);
    bob.step();
    assert!(bob.got.is_empty());
    assert!(bob.peer.can_send() && !bob.peer.is_closed(), "its peers stay connected");
    assert_eq!(world.metrics.value("stoa_worker_peers", None), 4);
}

/// CRC-32 of ISO HDLC, for the FINGERPRINT of a check (RFC 8489 section 14.7).
fn crc(bytes: &[u8]) -> u32 {
    let shift = |crc: u32| if crc & 1 == 0 { crc >> 1 } else { (crc >> 1) ^ 0xedb8_8320 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| shift(crc)))
}

#[test]
fn who_knows_a_fragment_and_no_password_cannot_make_the_server_answer_without_end() {
    let mut world = World::new();
    let mut alice = world.introduce(351, 1);
    world.wait("introduced", |world| world.metrics.value("stoa_worker_peers", None) == 1);
    let (now, mut check) = (Instant::now(), Vec::new());
    alice.peer.handle_timeout(now);
    alice.peer.poll_transmit(now, &mut check).expect("her first check");
    // Another transaction, so that the integrity is wrong, with a right fingerprint.
    check[19] ^= 1;
    let covered = check.len() - 8;
    let fingerprint = crc(&check[..covered]) ^ 0x5354_554e;
    check[covered + 4..].copy_from_slice(&fingerprint.to_be_bytes());
    let mallory = UdpSocket::bind("127.0.0.1:0").unwrap();
    mallory.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let began = Instant::now();
    for _ in 0..500 {
        mallory.send_to(&check, world.address()).unwrap();
    }
    let mut answers = 0;
    let mut buffer = [0; 2_000];
    while let Ok(len) = mallory.recv(&mut buffer) {
        assert!(buffer[..2] == [1, 0x11] && len <= 160, "{:?}", &buffer[..len]);
        answers += 1;
    }
    let most = 50 + began.elapsed().as_millis() as u64 / 20 + 1;
    assert!((50..=most).contains(&answers), "{answers} of at most {most}");
    world.wait("counted", |world| world.dropped("stun_refusal_rate") >= 500 - answers);
}
