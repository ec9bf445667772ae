//! Media from one client through the worker to others, and the life of connections.

use std::time::{Duration, Instant};

use base::model::TrackSettings;
use base::{CodecKind, PeerId, RoomId, TrackId};
use contract::media::{Command, DtlsRole, Event, IceCredentials, PeerEnd};

use super::world::{Client, World};

/// A publisher of track 1 (VP8, mid "v") with one subscriber.
fn pair(world: &mut World, room: u64, ids: (u64, u64)) -> (Client, Client) {
    let (mut alice, mut bob) = (world.connect(ids.0, room), world.connect(ids.1, room));
    alice.publish(world, "v", CodecKind::Vp8, 1);
    bob.subscribe(world, "v", CodecKind::Vp8, 1);
    (alice, bob)
}

/// Sends frames until the receiver has one whole frame of them.
fn deliver(world: &mut World, from: &mut Client, to: &mut Client, sizes: &[usize]) -> Vec<Vec<u8>> {
    to.got.clear();
    world.run(&mut [from, to], "a whole frame", |_, clients| {
        clients[0].send_frame("v", sizes);
        whole_frame(clients[1], sizes.len()).is_some()
    });
    whole_frame(to, sizes.len()).expect("just found")
}

/// The payloads of a frame that arrived whole.
fn whole_frame(client: &Client, packets: usize) -> Option<Vec<Vec<u8>>> {
    let frame = client.got.chunk_by(|(a, _), (b, _)| a.timestamp == b.timestamp);
    let whole = frame.into_iter().find(|frame| frame.len() == packets)?;
    Some(whole.iter().map(|(_, payload)| payload.clone()).collect())
}

#[test]
fn video_reaches_a_subscriber_decrypted_in_order_and_in_few_messages() {
    let mut world = World::new();
    let (mut alice, mut bob) = pair(&mut world, 1, (101, 102));
    let sizes = [1_100, 1_100, 1_097, 1_100, 1_100, 1_100, 1_099, 1_100, 1_100, 600];
    let frame = deliver(&mut world, &mut alice, &mut bob, &sizes);
    for (index, payload) in frame.iter().enumerate() {
        assert_eq!(payload.len(), sizes[index], "padding is gone after decryption");
        assert_eq!(payload[payload.len() - 1], index as u8);
    }
    let sequences: Vec<u64> = bob.got.iter().map(|(received, _)| received.sequence).collect();
    assert!(sequences.windows(2).all(|pair| pair[1] == pair[0] + 1), "{sequences:?}");
    let messages = world.metrics.value("stoa_worker_coalesced_messages_sent_total", None);
    assert!(messages > 0, "packets of one tick leave together");
    assert!(world.heard.iter().any(|event| matches!(event, Event::FirstMedia { peer, .. } if peer.0 == 101)));
}

#[test]
fn sound_reaches_all_subscribers_and_not_its_publisher() {
    let mut world = World::new();
    let mut alice = world.connect(111, 1);
    let mut others: Vec<Client> = (112..115).map(|id| world.connect(id, 1)).collect();
    alice.publish(&world, "a", CodecKind::Opus, 5);
    others.iter_mut().for_each(|other| other.subscribe(&world, "a", CodecKind::Opus, 5));
    let mut all: Vec<&mut Client> = others.iter_mut().chain([&mut alice]).collect();
    world.run(&mut all, "sound at all", |_, clients| {
        clients[3].send_sound("a", &[7; 90]);
        clients[..3].iter().all(|other| other.got.len() >= 5)
    });
    assert!(alice.got.is_empty());
    assert!(others.iter().all(|other| other.got.iter().all(|(_, payload)| payload == &[7; 90])));
}

#[test]
fn rooms_do_not_hear_each_other() {
    let mut world = World::new();
    let (mut alice, mut bob) = pair(&mut world, 1, (121, 122));
    let mut eve = world.connect(123, 2);
    eve.subscribe(&world, "v", CodecKind::Vp8, 1);
    deliver(&mut world, &mut alice, &mut bob, &[500; 3]);
    eve.step();
    assert!(eve.got.is_empty());
}

#[test]
fn who_is_moved_is_seen_in_the_other_room_and_sees_there_on_the_same_connection() {
    let mut world = World::new();
    let (mut alice, mut bob) = pair(&mut world, 1, (124, 125));
    let mut eve = world.connect(126, 2);
    eve.publish(&world, "v", CodecKind::Vp8, 2);
    eve.subscribe(&world, "s", CodecKind::Vp8, 1);
    deliver(&mut world, &mut alice, &mut bob, &[500; 3]);
    assert!(eve.got.is_empty());

    let connected = |world: &World| {
        let is_it = |event: &&Event| matches!(event, Event::Connected { peer, .. } if peer.0 == 124);
        world.heard.iter().filter(is_it).count()
    };
    world.command(Command::MovePeer { peer: alice.id, room: RoomId(2) });
    alice.subscribe(&world, "s", CodecKind::Vp8, 2);
    deliver(&mut world, &mut alice, &mut eve, &[700; 4]);
    deliver(&mut world, &mut eve, &mut alice, &[600; 2]);
    assert_eq!(connected(&world), 1, "there was no other handshake");
    bob.step();
    bob.got.clear();
    bob.step();
    assert!(bob.got.is_empty(), "she is gone from here");
    assert!(world.snapshot(1)["publications"].as_array().is_none_or(Vec::is_empty), "{}", world.snapshot(1));

    world.command(Command::MovePeer { peer: alice.id, room: RoomId(3) });
    world.command(Command::RemovePeer { peer: bob.id });
    world.command(Command::RemovePeer { peer: eve.id });
    assert!(world.snapshot(1).is_null() && world.snapshot(2).is_null(), "rooms that were left are gone");
}

#[test]
fn what_a_subscriber_lost_is_sent_again() {
    let mut world = World::new();
    let (mut alice, mut bob) = pair(&mut world, 1, (131, 132));
    deliver(&mut world, &mut alice, &mut bob, &[800; 4]);
    bob.got.clear();
    world.run(&mut [&mut alice, &mut bob], "repaired", |_, clients| {
        clients[1].lose = 2;
        clients[0].send_frame("v", &[800; 6]);
        clients[1].got.iter().any(|(received, _)| received.retransmitted)
    });
    assert!(world.metrics.value("stoa_worker_retransmissions_sent_total", None) > 0);
    let repaired = bob.got.iter().find(|(received, _)| received.retransmitted).expect("just found");
    assert_eq!(repaired.1.len(), 800);
}

/// Descriptors that begin and end a frame and carry a structure of one template and one decode target; longer and shorter
/// than 16 bytes, with zeros behind.
fn descriptor(number: u16) -> Vec<u8> {
    let [high, low] = number.to_be_bytes();
    let mut descriptor = vec![0xc0, high, low, 0x80, 0x00, 0xe0];
    descriptor.resize(6 + usize::from(number % 30), 0);
    descriptor
}

#[test]
fn a_dependency_descriptor_reaches_subscribers_of_av1_also_when_sent_again() {
    let mut world = World::new();
    let (mut alice, mut bob) = (world.connect(221, 1), world.connect(222, 1));
    alice.publish(&world, "v", CodecKind::Av1, 1);
    bob.subscribe(&world, "v", CodecKind::Av1, 1);
    let mut number = 0;
    world.run(&mut [&mut alice, &mut bob], "descriptors, first and again", |_, clients| {
        number += 1;
        // Only once something was received is there a stream in which something can be missing.
        clients[1].lose = usize::from(number % 5 == 0 && !clients[1].got.is_empty());
        clients[0].send_described_frame("v", CodecKind::Av1, &descriptor(number));
        let count = |again| clients[1].descriptors.iter().filter(|(_, a, _)| *a == again).count();
        count(false) >= 30 && count(true) >= 3
    });
    assert_eq!(bob.descriptors.len(), bob.got.len(), "one on each packet");
    // The receiver's timestamps and frame numbers differ from the sender's by constants.
    let sent_as = |bytes: &[u8]| u32::from(u16::from_be_bytes([bytes[1], bytes[2]]));
    let (first, _, bytes) = &bob.descriptors[0];
    let zero = first.wrapping_sub(3_000 * sent_as(bytes));
    for (timestamp, again, bytes) in &bob.descriptors {
        let number = timestamp.wrapping_sub(zero) / 3_000;
        assert_eq!(bytes[..6], descriptor(number as u16)[..6], "frame {number}, sent again: {again}");
        assert!(bytes[6..].iter().all(|byte| *byte == 0));
    }
    assert!(bob.descriptors.iter().any(|(.., bytes)| bytes.len() > 16));
    assert!(bob.got.iter().all(|(_, payload)| payload[..2] == [0x08, 0x0a] && payload.len() == 702));
}

#[test]
fn a_dependency_descriptor_of_vp8_is_not_passed_on() {
    let mut world = World::new();
    let (mut alice, mut bob) = pair(&mut world, 1, (231, 232));
    world.run(&mut [&mut alice, &mut bob], "frames", |_, clients| {
        clients[0].send_described_frame("v", CodecKind::Vp8, &descriptor(20));
        clients[1].got.len() >= 10
    });
    assert!(bob.got.iter().all(|(_, payload)| payload[..2] == [0x10, 0] && payload.len() == 702));
    assert_eq!(bob.descriptors, []);
}

#[test]
fn a_subscription_that_ends_gets_nothing_more_and_goes_on_with_its_numbers_when_it_comes_back() {
    let mut world = World::new();
    let (mut alice, mut bob) = pair(&mut world, 1, (141, 142));
    deliver(&mut world, &mut alice, &mut bob, &[300; 3]);
    let before = bob.got.last().expect("received").0.sequence as u16;
    let section = bob.sections.send.pop().expect("subscribed");
    world.command(Command::SetSections { peer: bob.id, sections: bob.sections.clone() });
    world.snapshot(1);
    bob.step();
    bob.got.clear();
    alice.send_frame("v", &[300; 3]);
    world.snapshot(1);
    bob.step();
    assert!(bob.got.is_empty(), "{:?}", bob.got);
    bob.sections.send.push(section);
    world.command(Command::SetSections { peer: bob.id, sections: bob.sections.clone() });
    deliver(&mut world, &mut alice, &mut bob, &[300; 3]);
    let after = bob.got[0].0.sequence as u16;
    assert!((1..100).contains(&after.wrapping_sub(before)), "{before} then {after}");
}

#[test]
fn a_muted_track_is_not_forwarded() {
    let mut world = World::new();
    let (mut alice, mut bob) = pair(&mut world, 1, (151, 152));
    deliver(&mut world, &mut alice, &mut bob, &[300; 3]);
    let mute = |muted| Command::SetMuted { room: RoomId(1), track: TrackId(1), muted };
    world.command(mute(true));
    world.snapshot(1);
    bob.step();
    bob.got.clear();
    let taken = world.metrics.value("stoa_worker_media_packets_received_total", None);
    alice.send_frame("v", &[300; 3]);
    world.wait("taken", |world| {
        world.metrics.value("stoa_worker_media_packets_received_total", None) >= taken + 3
    });
    bob.step();
    assert!(bob.got.is_empty());
    world.command(mute(false));
    deliver(&mut world, &mut alice, &mut bob, &[300; 3]);
}

#[test]
fn a_removed_peer_is_told_and_forgotten() {
    let mut world = World::new();
    let (mut alice, mut bob) = pair(&mut world, 1, (161, 162));
    deliver(&mut world, &mut alice, &mut bob, &[300; 3]);
    world.command(Command::RemovePeer { peer: bob.id });
    world.run(&mut [&mut bob], "told", |_, clients| clients[0].peer.is_closed());
    world.wait("forgotten", |world| world.metrics.value("stoa_worker_peers", None) == 1);
    let room = world.snapshot(1);
    assert_eq!(room["tracks"][0]["receivers"].as_array().map(Vec::len), Some(0), "{room}");
    assert!(!world.heard.iter().any(|event| matches!(event, Event::Closed { .. })), "control knows");
    world.command(Command::RemovePeer { peer: alice.id });
    world.wait("no room", |world| world.metrics.value("stoa_worker_rooms", None) == 0);
    assert_eq!(world.snapshot(1), serde_json::Value::Null);
}

#[test]
fn a_client_that_says_goodbye_is_reported() {
    let mut world = World::new();
    let mut alice = world.connect(171, 1);
    alice.peer.close(Instant::now());
    alice.transmit();
    world.wait("reported", |world| {
        let closed = |event: &Event| matches!(event, Event::Closed { peer, end, .. } if peer.0 == 171 && *end == PeerEnd::ClosedByRemote);
        world.heard.iter().any(closed)
    });
    world.wait("forgotten", |world| world.metrics.value("stoa_worker_peers", None) == 0);
}

#[test]
fn a_wrong_certificate_ends_the_connection() {
    let mut world = World::new();
    let mut alice = world.introduce(181, 1);
    world.command(Command::RemovePeer { peer: alice.id });
    world.command(Command::AddPeer {
        peer: alice.id,
        room: RoomId(1),
        participant: base::ParticipantId(1),
        local: alice.server.clone(),
    });
    world.command(Command::SetRemote {
        peer: alice.id,
        remote: alice.own.clone(),
        fingerprint: contract::media::Fingerprint([9; 32]),
        role: DtlsRole::Server,
    });
    world.run(&mut [&mut alice], "refused", |world, _| {
        world.heard.iter().any(|event| matches!(event, Event::Closed { end: PeerEnd::DtlsFailed, .. }))
    });
}

#[test]
fn checks_with_restarted_credentials_find_their_peer() {
    let mut world = World::new();
    let (mut alice, mut bob) = pair(&mut world, 1, (191, 192));
    deliver(&mut world, &mut alice, &mut bob, &[300; 3]);
    let fresh = |side: &str| IceCredentials {
        ufrag: format!("{side}fresh"),
        password: format!("{side}-fresh-password-of-enough-length"),
    };
    let (own, server) = (fresh("c"), fresh("s"));
    world.command(Command::RestartIce { peer: bob.id, local: server.clone() });
    let now = Instant::now();
    bob.peer.restart_ice(now, crate::translate::credentials(&own));
    let remote = crate::translate::credentials(&server);
    bob.peer.set_remote(now, remote, world.handle.info.fingerprint.0, rtc::DtlsRole::Client);
    bob.peer.add_remote_candidate(now, bob.server_address);
    let checks = || world.metrics.value("stoa_worker_dropped_total", Some(("reason", "stun_unknown_user")));
    let unknown = checks();
    deliver(&mut world, &mut alice, &mut bob, &[300; 3]);
    assert_eq!(world.dropped("stun_unknown_user"), unknown);
}

#[test]
fn restarts_that_never_come_through_do_not_cut_off_the_credentials_in_use() {
    let mut world = World::new();
    let alice = world.connect(193, 1);
    let fresh = |number: u32| IceCredentials {
        ufrag: format!("fresh{number}"),
        password: format!("password-{number}-of-enough-length"),
    };
    for number in 1..=6 {
        world.command(Command::RestartIce { peer: alice.id, local: fresh(number) });
    }
    // No more of a check than tells its user: what counts is whether it finds the peer.
    let ask = |world: &World, user: &str| {
        let name = format!("{user}:somebody");
        let mut check = [&[0; 20][..], &[0, 6, 0, name.len() as u8], name.as_bytes()].concat();
        check.resize(check.len().next_multiple_of(4), 0);
        alice.socket.send_to(&check, world.address()).expect("loopback takes it");
    };
    let before = world.dropped("stun_unknown_user");
    for user in [&alice.server.ufrag, &fresh(6).ufrag, &fresh(1).ufrag, &fresh(5).ufrag] {
        ask(&world, user);
    }
    world.wait("counted", |world| world.dropped("stun_unknown_user") >= before + 2);
    ask(&world, "nobody");
    world.wait("counted", |world| world.dropped("stun_unknown_user") >= before + 3);
    assert_eq!(world.dropped("stun_unknown_user"), before + 3, "the first and the last are answered to");
}

#[test]
fn a_worker_on_all_addresses_answers_from_the_one_that_was_asked() {
    let mut world = World::with("0.0.0.0:0", &["127.0.0.7:0"], 1_024);
    assert_eq!(world.address().ip().to_string(), "127.0.0.7");
    // The full agent takes an answer only from where it asked.
    let (mut alice, mut bob) = pair(&mut world, 1, (201, 202));
    deliver(&mut world, &mut alice, &mut bob, &[300; 3]);
}

#[test]
fn a_worker_on_all_addresses_without_a_candidate_does_not_start() {
    let config = crate::WorkerConfig {
        index: 0,
        bind: "0.0.0.0:0".parse().unwrap(),
        candidates: Vec::new(),
        rtc: std::sync::Arc::new(rtc::Config::new(rtc::Certificate::generate([1; 16]).unwrap()).unwrap()),
        seed: 1,
        commands: 1,
        metrics: std::sync::Arc::default(),
        mesh: crate::Mesh::default(),
        loudest: sfu::LOUDEST,
    };
    let (events, _receiver) = async_channel::bounded(1);
    assert!(crate::spawn(config, events).is_err());
}

#[test]
fn a_stopped_worker_says_goodbye_and_ends() {
    let mut world = World::new();
    let mut alice = world.connect(211, 1);
    world.command(Command::Stop);
    world.join_thread();
    world.run(&mut [&mut alice], "told", |_, clients| clients[0].peer.is_closed());
    assert_eq!(world.metrics.cpu_time(), None, "the thread is gone");
}

#[test]
fn a_worker_whose_control_is_gone_ends() {
    let metrics = std::sync::Arc::new(crate::Metrics::default());
    let config = crate::WorkerConfig {
        index: 0,
        bind: "127.0.0.1:0".parse().unwrap(),
        candidates: Vec::new(),
        rtc: std::sync::Arc::new(rtc::Config::new(rtc::Certificate::generate([2; 16]).unwrap()).unwrap()),
        seed: 1,
        commands: 1,
        metrics,
        mesh: crate::Mesh::default(),
        loudest: sfu::LOUDEST,
    };
    let (events, _receiver) = async_channel::bounded(1);
    let (handle, thread) = crate::spawn(config, events).unwrap();
    let other = handle.clone();
    drop(handle);
    drop(other);
    thread.join().unwrap();
}

#[test]
fn an_idle_worker_sleeps() {
    let mut world = World::new();
    let mut alice = world.connect(221, 1);
    // Whatever the connection's beginning left to do, it ends: some half a second passes without a millisecond of work.
    world.run(&mut [&mut alice], "idle", |world, clients| {
        let before = world.metrics.cpu_time().expect("it runs");
        let until = Instant::now() + Duration::from_millis(500);
        while Instant::now() < until {
            clients[0].step();
        }
        let spent = world.metrics.cpu_time().expect("it runs") - before;
        spent < Duration::from_millis(2)
    });
}

#[test]
fn a_check_that_came_before_its_connection_was_known_is_answered_when_it_is() {
    let mut world = World::new();
    let mut client = world.unknown(401);
    client.step();
    world.wait("counted", |world| world.dropped("stun_unknown_user") == 1);
    world.make_known(&client, 1);
    // Not a word more from the client.
    client.socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut answer = [0; 200];
    client.socket.recv_from(&mut answer).expect("an answer to the first check");
    assert_eq!(answer[..2], [0x01, 0x01], "a success response");
    // The answer leaves before the tick is counted.
    world.wait("counted", |world| world.metrics.value("stoa_worker_early_checks_total", None) == 1);
}

#[test]
fn what_a_receiver_wants_holds_from_its_first_moment() {
    let mut world = World::new();
    let (mut alice, mut bob) = (world.connect(301, 30), world.connect(302, 30));
    alice.publish_layers(&world, "v", 1);
    let low = TrackSettings { quality: 0, ..TrackSettings::default() };
    let set = |track| Command::SetTrackSettings { peer: PeerId(302), track, settings: low };
    // However many tracks it named that it never received.
    for track in 2..5_002 {
        world.command(set(TrackId(track)));
        if track % 1_000 == 0 {
            world.snapshot(30);
        }
    }
    world.command(set(TrackId(1)));
    bob.subscribe(&world, "v", CodecKind::Vp8, 1);
    let wanted = |event: &Event| match event {
        Event::WantedLayer { highest, .. } => Some(*highest),
        _ => None,
    };
    world.wait("said what is wanted", |world| world.heard.iter().any(|event| wanted(event).is_some()));
    let wanted: Vec<_> = world.heard.iter().filter_map(wanted).collect();
    assert_eq!(wanted, [Some(0)], "no more is wanted of its publisher at any time");
}
