//! One room on two workers.

use std::time::{Duration, Instant};

use base::model::{TrackSettings, TrackSource};
use base::{CodecKind, MediaKind, ParticipantId, RoomId, TrackId};
use contract::media::{Command, Event, RelayedTrack};
use sfu::Layers;

use super::world::{Client, World};
use crate::Mesh;
use crate::guard::trap;
use crate::relay::link::{Link, Message, Record};

const VIDEO: TrackId = TrackId(1);

/// Two workers; a room begins on the first.
pub(super) fn two() -> (World, World) {
    let mut worlds = World::meshed(2);
    let far = worlds.pop().expect("two");
    (worlds.pop().expect("two"), far)
}

pub(super) fn set_relay(near: &World, room: u64, track: TrackId, to: &[usize]) {
    near.command(Command::SetRelay { room: RoomId(room), track, to: to.to_vec() });
}

pub(super) fn relayed(media: MediaKind, layers: u8) -> RelayedTrack {
    let source = if layers > 0 { TrackSource::Camera } else { TrackSource::Unknown };
    RelayedTrack { from: 0, participant: ParticipantId(1), media, source, layers, sizes: Vec::new() }
}

pub(super) fn set_relayed(far: &World, room: u64, track: TrackId, source: Option<RelayedTrack>) {
    far.command(Command::SetRelayed { room: RoomId(room), track, source });
}

/// A publisher of track 1 (VP8, mid "v") on the first worker, one who receives it there, and one on the second.
fn call(near: &mut World, far: &mut World, room: u64) -> (Client, Client, Client) {
    let id = room * 10;
    let (mut alice, mut bob) = (near.connect(id, room), near.connect(id + 1, room));
    let mut carl = far.connect(id + 2, room);
    alice.publish(near, "v", CodecKind::Vp8, 1);
    bob.subscribe(near, "v", CodecKind::Vp8, 1);
    carl.subscribe(far, "v", CodecKind::Vp8, 1);
    set_relay(near, room, VIDEO, &[1]);
    set_relayed(far, room, VIDEO, Some(relayed(MediaKind::Video, 1)));
    (alice, bob, carl)
}

/// Sends frames until every receiver has a whole one of so many packets.
pub(super) fn deliver(world: &mut World, from: &mut Client, to: &mut [&mut Client], packets: usize) {
    to.iter_mut().for_each(|client| client.got.clear());
    let mut all: Vec<&mut Client> = vec![from];
    all.extend(to.iter_mut().map(|client| &mut **client));
    world.run(&mut all, "a whole frame at all", |_, clients| {
        clients[0].send_frame("v", &vec![900; packets]);
        clients[1..].iter().all(|client| has_frame(client, packets))
    });
}

fn has_frame(client: &Client, packets: usize) -> bool {
    let mut frames = client.got.chunk_by(|(a, _), (b, _)| a.timestamp == b.timestamp);
    frames.any(|frame| frame.len() == packets)
}

pub(super) fn relayed_packets(world: &World, direction: &'static str) -> u64 {
    world.metrics.value("stoa_worker_relayed_packets_total", Some(("direction", direction)))
}

/// Nothing more arrives from now on, though the publisher goes on.
fn gets_nothing(near: &World, far: &World, alice: &mut Client, carl: &mut Client, room: u64) {
    for _ in 0..2 {
        near.snapshot(room);
        far.snapshot(room);
    }
    carl.step();
    carl.got.clear();
    let crossed = relayed_packets(far, "in");
    for _ in 0..5 {
        alice.send_frame("v", &[300; 3]);
        alice.step();
        near.snapshot(room);
        far.snapshot(room);
        carl.step();
    }
    assert!(carl.got.is_empty(), "{:?}", carl.got);
    assert_eq!(relayed_packets(far, "in"), crossed, "nor does anything cross");
}

#[test]
fn receivers_on_both_workers_get_the_same_frames() {
    let (mut near, mut far) = two();
    let (mut alice, mut bob, mut carl) = call(&mut near, &mut far, 7_001);
    deliver(&mut near, &mut alice, &mut [&mut bob, &mut carl], 4);
    for _ in 0..20 {
        near.run(&mut [&mut alice, &mut bob, &mut carl], "on", |_, clients| {
            clients[0].send_frame("v", &[700, 600, 500]);
            true
        });
    }
    deliver(&mut near, &mut alice, &mut [&mut bob, &mut carl], 4);
    let sequences: Vec<u64> = carl.got.iter().map(|(received, _)| received.sequence).collect();
    assert!(sequences.windows(2).all(|pair| pair[1] == pair[0] + 1), "{sequences:?}");
    let payloads =
        |client: &Client| client.got.iter().map(|(_, payload)| payload[5..].to_vec()).collect::<Vec<_>>();
    let (near_got, far_got) = (payloads(&bob), payloads(&carl));
    let both = near_got.len().min(far_got.len());
    assert_eq!(near_got[near_got.len() - both..], far_got[far_got.len() - both..]);
    assert_eq!(relayed_packets(&near, "out"), relayed_packets(&far, "in"));
}

#[test]
fn a_track_crosses_once_to_each_of_several_workers_however_many_receive_it_there() {
    let mut worlds = World::meshed(3);
    let mut near = worlds.remove(0);
    let mut alice = near.connect(7_121, 7_120);
    alice.publish(&near, "v", CodecKind::Vp8, 1);
    let mut others = Vec::new();
    for (world, id) in [(0, 7_122), (0, 7_123), (1, 7_124), (1, 7_125)] {
        let mut client = worlds[world].connect(id, 7_120);
        client.subscribe(&worlds[world], "v", CodecKind::Vp8, 1);
        others.push(client);
    }
    set_relay(&near, 7_120, VIDEO, &[1, 2]);
    worlds.iter().for_each(|far| set_relayed(far, 7_120, VIDEO, Some(relayed(MediaKind::Video, 1))));
    let mut receivers: Vec<&mut Client> = others.iter_mut().collect();
    deliver(&mut near, &mut alice, &mut receivers, 5);
    let taken = || near.metrics.value("stoa_worker_media_packets_received_total", None);
    assert!(relayed_packets(&near, "out") <= 2 * taken());
    for far in &worlds {
        assert!(relayed_packets(far, "in") <= taken());
    }
}

#[test]
fn sound_crosses_and_its_speaker_is_told_by_the_publishers_worker_alone() {
    let (mut near, mut far) = two();
    let mut alice = near.connect(7_011, 7_010);
    let mut carl = far.connect(7_012, 7_010);
    alice.publish(&near, "a", CodecKind::Opus, 5);
    carl.subscribe(&far, "a", CodecKind::Opus, 5);
    set_relay(&near, 7_010, TrackId(5), &[1]);
    set_relayed(&far, 7_010, TrackId(5), Some(relayed(MediaKind::Audio, 1)));
    let tells = |world: &World| world.heard.iter().any(|event| matches!(event, Event::Speakers { .. }));
    near.run(&mut [&mut alice, &mut carl], "sound, and who speaks", |near, clients| {
        clients[0].send_loud("a", CodecKind::Opus, 20, &[7; 90]);
        clients[1].got.len() >= 20 && tells(near)
    });
    assert!(carl.got.iter().all(|(_, payload)| payload == &[7; 90]));
    far.snapshot(7_010);
    far.listen();
    assert!(!tells(&far));
}

#[test]
fn what_is_said_to_the_workers_may_come_in_any_order() {
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1], [1, 3, 0, 2]] {
        let (mut near, mut far) = two();
        let (mut alice, mut carl) = (near.connect(7_021, 7_020), far.connect(7_022, 7_020));
        for step in order {
            match step {
                0 => alice.publish(&near, "v", CodecKind::Vp8, 1),
                1 => carl.subscribe(&far, "v", CodecKind::Vp8, 1),
                2 => set_relay(&near, 7_020, VIDEO, &[1]),
                _ => set_relayed(&far, 7_020, VIDEO, Some(relayed(MediaKind::Video, 1))),
            }
            near.snapshot(7_020);
            far.snapshot(7_020);
        }
        deliver(&mut near, &mut alice, &mut [&mut carl], 2);
    }
}

#[test]
fn a_keyframe_that_a_far_receiver_needs_is_asked_of_the_publisher() {
    let (mut near, mut far) = two();
    let (mut alice, mut bob, mut carl) = call(&mut near, &mut far, 7_031);
    deliver(&mut near, &mut alice, &mut [&mut bob, &mut carl], 2);
    let asked = |client: &Client| {
        client.events.iter().filter(|event| matches!(event, rtc::Event::KeyframeRequest { .. })).count()
    };
    let before = asked(&alice);
    let until = Instant::now() + Duration::from_millis(200);
    near.run(&mut [&mut alice, &mut carl], "asked", |_, clients| {
        let mid = super::world::mid("v");
        clients[1].peer.request_keyframe(Instant::now(), mid, 0);
        asked(clients[0]) > before && Instant::now() > until
    });
    assert!(asked(&alice) <= before + 2, "merged: {} more", asked(&alice) - before);
}

#[test]
fn what_a_far_receiver_lost_comes_again_from_its_own_worker() {
    let (mut near, mut far) = two();
    let (mut alice, mut bob, mut carl) = call(&mut near, &mut far, 7_041);
    deliver(&mut near, &mut alice, &mut [&mut bob, &mut carl], 4);
    near.run(&mut [&mut alice, &mut carl], "repaired", |_, clients| {
        clients[1].lose = 2;
        clients[0].send_frame("v", &[800; 6]);
        clients[1].got.iter().any(|(received, _)| received.retransmitted)
    });
    let resent = |world: &World| world.metrics.value("stoa_worker_retransmissions_sent_total", None);
    assert_eq!((resent(&near), resent(&far) > 0), (0, true));
}

#[test]
fn a_muted_track_does_not_cross() {
    let (mut near, mut far) = two();
    let (mut alice, mut bob, mut carl) = call(&mut near, &mut far, 7_051);
    deliver(&mut near, &mut alice, &mut [&mut bob, &mut carl], 3);
    let mute = |muted| Command::SetMuted { room: RoomId(7_051), track: VIDEO, muted };
    [&near, &far].into_iter().for_each(|world| world.command(mute(true)));
    gets_nothing(&near, &far, &mut alice, &mut carl, 7_051);
    [&near, &far].into_iter().for_each(|world| world.command(mute(false)));
    deliver(&mut near, &mut alice, &mut [&mut bob, &mut carl], 3);
}

#[test]
fn nothing_crosses_when_the_last_far_receiver_left_and_it_does_again_when_one_comes() {
    let (mut near, mut far) = two();
    let (mut alice, mut bob, mut carl) = call(&mut near, &mut far, 7_061);
    deliver(&mut near, &mut alice, &mut [&mut bob, &mut carl], 3);
    let section = carl.sections.send.pop().expect("subscribed");
    carl.update(&far);
    // Though control has not yet said that it is over.
    far.snapshot(7_061);
    far.wait("not wanted any more", |far| {
        far.snapshot(7_061);
        near.snapshot(7_061)["relays"]["to"][0]["to"][0]["layers"] == serde_json::json!([])
    });
    gets_nothing(&near, &far, &mut alice, &mut carl, 7_061);
    set_relay(&near, 7_061, VIDEO, &[]);
    set_relayed(&far, 7_061, VIDEO, None);
    assert_eq!(near.snapshot(7_061)["relays"]["to"], serde_json::json!([]));
    assert_eq!(far.snapshot(7_061)["relays"]["from"], serde_json::json!([]));
    carl.sections.send.push(section);
    carl.update(&far);
    set_relay(&near, 7_061, VIDEO, &[1]);
    set_relayed(&far, 7_061, VIDEO, Some(relayed(MediaKind::Video, 1)));
    deliver(&mut near, &mut alice, &mut [&mut bob, &mut carl], 3);
}

#[test]
fn a_publisher_that_comes_back_is_received_again_with_numbers_that_go_on() {
    let (mut near, mut far) = two();
    let (mut alice, mut bob, mut carl) = call(&mut near, &mut far, 7_071);
    deliver(&mut near, &mut alice, &mut [&mut bob, &mut carl], 3);
    let before = carl.got.last().expect("received").0.sequence as u16;
    near.command(Command::RemovePeer { peer: alice.id });
    near.snapshot(7_071);
    let mut again = near.connect(7_079, 7_071);
    again.publish(&near, "v", CodecKind::Vp8, 1);
    deliver(&mut near, &mut again, &mut [&mut bob, &mut carl], 3);
    let after = carl.got[0].0.sequence as u16;
    assert!((1..200).contains(&after.wrapping_sub(before)), "{before} then {after}");
}

#[test]
fn a_room_ends_with_its_last_connection_and_its_last_relay() {
    let (mut near, mut far) = two();
    let (alice, bob, carl) = call(&mut near, &mut far, 7_081);
    let rooms = |world: &World| world.metrics.value("stoa_worker_rooms", None);
    far.command(Command::RemovePeer { peer: carl.id });
    far.wait("gone", |far| far.metrics.value("stoa_worker_peers", None) == 0);
    assert_eq!(rooms(&far), 1, "control has not said that nothing crosses any more");
    far.command(Command::EndRelays { room: RoomId(7_081) });
    far.wait("over", |far| rooms(far) == 0);
    set_relay(&near, 7_081, VIDEO, &[]);
    for client in [alice, bob] {
        near.command(Command::RemovePeer { peer: client.id });
    }
    near.wait("over", |near| rooms(near) == 0);
}

#[test]
fn a_panic_on_one_worker_does_not_hurt_the_room_on_the_other() {
    let (mut near, mut far) = two();
    let (mut alice, mut bob, mut carl) = call(&mut near, &mut far, 7_091);
    deliver(&mut near, &mut alice, &mut [&mut bob, &mut carl], 3);
    // The room's work on the second worker.
    trap::set(7_091 + (1 << 32));
    let lost = |event: &Event| matches!(event, Event::RoomLost { worker: 1, room } if room.0 == 7_091);
    far.run(&mut [&mut alice, &mut bob], "lost", |far, clients| {
        clients[0].send_frame("v", &[300; 3]);
        far.heard.iter().any(lost)
    });
    deliver(&mut near, &mut alice, &mut [&mut bob], 3);
    near.listen();
    assert!(!near.heard.iter().any(|event| matches!(event, Event::RoomLost { .. })));
    assert_eq!(near.metrics.value("stoa_worker_recovered_panics_total", None), 0);
}

/// Sends a frame of each layer, as its own section of the client.
fn send_layers(alice: &mut Client) {
    for (layer, size) in [("v0", 200), ("v1", 500), ("v2", 900)] {
        alice.send_frame(layer, &[size; 2]);
    }
}

fn has_size(client: &Client, size: usize) -> bool {
    client.got.iter().any(|(_, payload)| payload.len() == size)
}

#[test]
fn a_far_receiver_is_switched_between_layers_of_which_only_its_own_crosses() {
    let (mut near, mut far) = two();
    let room = 7_101;
    let (mut alice, mut carl) = (near.connect(7_102, room), far.connect(7_103, room));
    alice.publish_layers(&near, "v", 1);
    carl.subscribe(&far, "v", CodecKind::Vp8, 1);
    set_relay(&near, room, VIDEO, &[1]);
    set_relayed(&far, room, VIDEO, Some(relayed(MediaKind::Video, 3)));
    let only = |layers: &[u8], near: &World| {
        near.snapshot(room)["relays"]["to"][0]["to"][0]["layers"] == serde_json::json!(layers)
    };
    for (quality, size) in [(2, 900), (0, 200), (1, 500), (2, 900)] {
        let settings = TrackSettings { quality, ..TrackSettings::default() };
        far.command(Command::SetTrackSettings { peer: carl.id, track: VIDEO, settings });
        carl.got.clear();
        near.run(&mut [&mut alice, &mut carl], "the layer, and no other crosses", |near, clients| {
            send_layers(clients[0]);
            has_size(clients[1], size) && only(&[quality], near)
        });
        let sequences: Vec<u64> = carl.got.iter().map(|(received, _)| received.sequence).collect();
        assert!(sequences.windows(2).all(|pair| pair[1] > pair[0]), "{sequences:?}");
    }
}

/// The end of a second worker that takes nothing, and does not even run.
fn stuck(near: &World, mesh: &Mesh, room: u64) -> (Link, udp::Poller) {
    let poller = udp::Poller::new().expect("a descriptor");
    mesh.join(1, poller.waker());
    set_relay(near, room, VIDEO, &[1]);
    near.snapshot(room);
    let mut link = mesh.open(1, 0).expect("not taken");
    link.sender.message(RoomId(room), VIDEO, Message::Wanted(Layers::default().with(0)));
    link.sender.wake();
    (link, poller)
}

#[test]
fn a_worker_that_is_stuck_loses_packets_and_delays_nobody() {
    let (mesh, room) = (Mesh::default(), 7_111);
    let mut near = World::spawn("127.0.0.1:0", &[], 1_024, 0, &mesh);
    let (mut link, _poller) = stuck(&near, &mesh, room);
    let (mut alice, mut bob) = (near.connect(7_112, room), near.connect(7_113, room));
    alice.publish(&near, "v", CodecKind::Vp8, 1);
    bob.subscribe(&near, "v", CodecKind::Vp8, 1);
    near.run(&mut [&mut alice, &mut bob], "too much", |near, clients| {
        clients[0].send_frame("v", &[1_100; 20]);
        near.dropped("relay_full") > 100
    });
    deliver(&mut near, &mut alice, &mut [&mut bob], 4);
    let is_request = |event: &rtc::Event| matches!(event, rtc::Event::KeyframeRequest { .. });
    alice.events.retain(|event| !is_request(event));
    let (mut bytes, mut packets) = (Vec::new(), 0);
    // The worker may still have datagrams to read, which find room as soon as something is taken out.
    near.wait("all there that was not lost", |near| {
        while let Some(record) = link.receiver.next(&mut bytes) {
            packets += u64::from(matches!(record, Record::Packet(_)));
        }
        packets == relayed_packets(near, "out")
    });
    near.run(
        &mut [&mut alice, &mut bob],
        "asked for a keyframe once it takes packets again",
        |_, clients| {
            clients[0].send_frame("v", &[1_100; 2]);
            clients[0].events.iter().any(is_request)
        },
    );
    near.run(&mut [&mut alice, &mut bob], "relayed again", |near, clients| {
        clients[0].send_frame("v", &[1_100; 2]);
        relayed_packets(near, "out") > packets
    });
}

/// The end of a first worker that does not run, towards a second one that does.
fn unheard(room: u64) -> (World, Link, udp::Poller) {
    let mesh = Mesh::default();
    let poller = udp::Poller::new().expect("a descriptor");
    mesh.join(0, poller.waker());
    let far = World::spawn("127.0.0.1:0", &[], 1_024, 1, &mesh);
    set_relayed(&far, room, VIDEO, Some(relayed(MediaKind::Video, 3)));
    far.snapshot(room);
    let link = mesh.open(0, 1).expect("not taken");
    (far, link, poller)
}

/// What the second worker says of its wishes, oldest first.
fn wishes(link: &mut Link) -> Vec<Layers> {
    let mut bytes = Vec::new();
    let records = std::iter::from_fn(|| link.receiver.next(&mut bytes));
    let wished = records.filter_map(|record| match record {
        Record::Message(_, VIDEO, Message::Wanted(layers)) => Some(layers),
        _ => None,
    });
    wished.collect()
}

#[test]
fn who_did_not_hear_what_is_wanted_is_told_again_when_he_says_so() {
    let room = 7_131;
    let (mut far, mut link, _poller) = unheard(room);
    let mut carl = far.connect(7_132, room);
    carl.subscribe(&far, "v", CodecKind::Vp8, 1);
    let all = [0, 1, 2].iter().fold(Layers::default(), |all, layer| all.with(*layer));
    // What he believes to be wanted; the answer to the last of it ends it.
    for (believed, what) in [
        (&[][..], "nothing is known of it, so it may be any"),
        (&[Layers::default()], "he has not heard it"),
        (&[all, Layers::default().with(1)], "once, where he did not know"),
    ] {
        for relayed in believed.iter().copied() {
            let state = sfu::RelayState::default();
            link.sender.message(RoomId(room), VIDEO, Message::State { state, relayed });
        }
        link.sender.wake();
        let mut answers = Vec::new();
        far.wait(what, |_| {
            answers.extend(wishes(&mut link));
            !answers.is_empty()
        });
        assert_eq!(answers, [all], "{what}");
    }
}

#[test]
fn a_track_that_is_published_here_stays_when_it_comes_no_more_from_elsewhere() {
    let room = 7_141;
    let (mut far, _link, _poller) = unheard(room);
    let (mut alice, mut carl) = (far.connect(7_142, room), far.connect(7_143, room));
    alice.publish(&far, "v", CodecKind::Vp8, 1);
    carl.subscribe(&far, "v", CodecKind::Vp8, 1);
    set_relayed(&far, room, VIDEO, None);
    deliver(&mut far, &mut alice, &mut [&mut carl], 3);
}
