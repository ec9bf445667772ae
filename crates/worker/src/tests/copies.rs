//! A track of one room in another.

use std::time::{Duration, Instant};

use base::{CodecKind, MediaKind, RoomId, TrackId};
use contract::media::{Command, Event, ForwardedTrack};
use serde_json::{Value, json};

use super::relay::{deliver, relayed, relayed_packets, set_relay, set_relayed, two};
use super::world::{Client, World, mid};

const VIDEO: TrackId = TrackId(1);

fn forward(world: &World, home: u64, to: u64, track: TrackId, media: MediaKind) {
    let source = ForwardedTrack { home: RoomId(home), track: relayed(media, 1) };
    world.command(Command::SetForwarded { room: RoomId(to), track, source: Some(source) });
}

fn stop(world: &World, to: u64, track: TrackId) {
    world.command(Command::SetForwarded { room: RoomId(to), track, source: None });
}

/// A publisher of track 1 (VP8, mid "v") in a room, one who receives it there, and one who does in the next room.
fn call(world: &mut World, home: u64) -> (Client, Client, Client) {
    let id = home * 10;
    let (mut alice, mut bob) = (world.connect(id, home), world.connect(id + 1, home));
    let mut carl = world.connect(id + 2, home + 1);
    alice.publish(world, "v", CodecKind::Vp8, 1);
    bob.subscribe(world, "v", CodecKind::Vp8, 1);
    carl.subscribe(world, "v", CodecKind::Vp8, 1);
    forward(world, home, home + 1, VIDEO, MediaKind::Video);
    (alice, bob, carl)
}

fn keyframe_requests(client: &Client) -> usize {
    client.events.iter().filter(|event| matches!(event, rtc::Event::KeyframeRequest { .. })).count()
}

#[test]
fn receivers_in_both_rooms_get_the_same_frames_on_unbroken_numbers() {
    let mut world = World::new();
    let (mut alice, mut bob, mut carl) = call(&mut world, 8_001);
    deliver(&mut world, &mut alice, &mut [&mut bob, &mut carl], 4);
    for _ in 0..20 {
        world.run(&mut [&mut alice, &mut bob, &mut carl], "on", |_, clients| {
            clients[0].send_frame("v", &[700, 600, 500]);
            true
        });
    }
    deliver(&mut world, &mut alice, &mut [&mut bob, &mut carl], 4);
    let sequences: Vec<u64> = carl.got.iter().map(|(received, _)| received.sequence).collect();
    assert!(sequences.windows(2).all(|pair| pair[1] == pair[0] + 1), "{sequences:?}");
}

#[test]
fn what_the_other_room_needs_is_asked_of_the_publisher_and_merged_with_what_its_own_needs() {
    let mut world = World::new();
    let (mut alice, mut bob, mut carl) = call(&mut world, 8_011);
    deliver(&mut world, &mut alice, &mut [&mut bob, &mut carl], 2);
    let before = keyframe_requests(&alice);
    let until = Instant::now() + Duration::from_millis(200);
    world.run(&mut [&mut alice, &mut bob, &mut carl], "asked", |_, clients| {
        clients[1..].iter_mut().for_each(|client| client.peer.request_keyframe(Instant::now(), mid("v"), 0));
        keyframe_requests(clients[0]) > before && Instant::now() > until
    });
    let more = keyframe_requests(&alice) - before;
    assert!(more <= 2, "merged over both rooms: {more} more");
}

#[test]
fn each_room_is_told_who_speaks_and_mutes_for_itself() {
    let mut world = World::new();
    let (mut alice, mut bob) = (world.connect(80_211, 8_021), world.connect(80_212, 8_021));
    let mut carl = world.connect(80_213, 8_022);
    alice.publish(&world, "a", CodecKind::Opus, 5);
    bob.subscribe(&world, "a", CodecKind::Opus, 5);
    carl.subscribe(&world, "a", CodecKind::Opus, 5);
    forward(&world, 8_021, 8_022, TrackId(5), MediaKind::Audio);
    let speaks = |world: &World, of: u64| {
        let told = |event: &Event| matches!(event, Event::Speakers { room, .. } if *room == RoomId(of));
        world.heard.iter().any(told)
    };
    world.run(&mut [&mut alice, &mut bob, &mut carl], "sound, and who speaks", |world, clients| {
        clients[0].send_loud("a", CodecKind::Opus, 20, &[7; 90]);
        clients[2].got.len() >= 20 && speaks(world, 8_021) && speaks(world, 8_022)
    });
    world.command(Command::SetMuted { room: RoomId(8_022), track: TrackId(5), muted: true });
    world.snapshot(8_022);
    carl.step();
    carl.got.clear();
    bob.got.clear();
    world.run(&mut [&mut alice, &mut bob, &mut carl], "sound in the one room", |_, clients| {
        clients[0].send_loud("a", CodecKind::Opus, 20, &[7; 90]);
        clients[1].got.len() >= 20
    });
    assert!(carl.got.is_empty());
}

#[test]
fn it_crosses_to_the_other_rooms_other_workers() {
    let (mut near, mut far) = two();
    let mut alice = near.connect(80_311, 8_031);
    let mut carl = far.connect(80_312, 8_032);
    alice.publish(&near, "v", CodecKind::Vp8, 1);
    carl.subscribe(&far, "v", CodecKind::Vp8, 1);
    forward(&near, 8_031, 8_032, VIDEO, MediaKind::Video);
    set_relay(&near, 8_032, VIDEO, &[1]);
    set_relayed(&far, 8_032, VIDEO, Some(relayed(MediaKind::Video, 1)));
    deliver(&mut near, &mut alice, &mut [&mut carl], 4);
    assert!(relayed_packets(&far, "in") > 0);
    let before = keyframe_requests(&alice);
    near.run(&mut [&mut alice, &mut carl], "a keyframe is asked for", |_, clients| {
        clients[1].peer.request_keyframe(Instant::now(), mid("v"), 0);
        keyframe_requests(clients[0]) > before
    });
}

#[test]
fn what_is_said_may_come_in_any_order_and_nothing_is_left_when_it_is_over() {
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [2, 0, 1]] {
        let mut world = World::new();
        let (mut alice, mut carl) = (world.connect(80_411, 8_041), world.connect(80_412, 8_042));
        for step in order {
            match step {
                0 => alice.publish(&world, "v", CodecKind::Vp8, 1),
                1 => carl.subscribe(&world, "v", CodecKind::Vp8, 1),
                _ => forward(&world, 8_041, 8_042, VIDEO, MediaKind::Video),
            }
            world.snapshot(8_042);
        }
        deliver(&mut world, &mut alice, &mut [&mut carl], 2);
        assert_eq!(world.snapshot(8_042)["from_other_rooms"][0]["room"], json!(RoomId(8_041).to_string()));
        world.command(Command::RemovePeer { peer: alice.id });
        world.command(Command::RemovePeer { peer: carl.id });
        assert_ne!(world.snapshot(8_041), Value::Null, "held by what is forwarded out of it");
        stop(&world, 8_042, VIDEO);
        assert_eq!(world.snapshot(8_041), Value::Null);
        assert_eq!(world.snapshot(8_042), Value::Null);
    }
}

#[test]
fn after_it_was_stopped_nothing_comes_and_it_can_be_started_again() {
    let mut world = World::new();
    let (mut alice, mut bob, mut carl) = call(&mut world, 8_051);
    deliver(&mut world, &mut alice, &mut [&mut bob, &mut carl], 3);
    stop(&world, 8_052, VIDEO);
    world.snapshot(8_052);
    carl.step();
    carl.got.clear();
    deliver(&mut world, &mut alice, &mut [&mut bob], 3);
    carl.step();
    assert!(carl.got.is_empty(), "{:?}", carl.got);
    forward(&world, 8_051, 8_052, VIDEO, MediaKind::Video);
    deliver(&mut world, &mut alice, &mut [&mut bob, &mut carl], 3);
    world.command(Command::EndRelays { room: RoomId(8_052) });
    assert_eq!(world.snapshot(8_052)["from_other_rooms"], json!([]));
}
