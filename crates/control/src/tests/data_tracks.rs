//! Data tracks from connection to connection.

use base::model::{DataTrack, Encryption, Notice};
use base::{PeerId, TrackId};
use bytes::Bytes;
use contract::media::{Command, Event as MediaEvent};
use contract::session::{DataTrackRefused, Event, Request};

use super::world::{Person, World};

pub(super) fn publish(id: u64, handle: u16) -> Request {
    Request::PublishDataTrack(DataTrack {
        id: TrackId(id),
        handle,
        name: handle.to_string(),
        encryption: Encryption::None,
        encoding: None,
        schema: None,
    })
}

/// A packet of the track with this handle.
pub(super) fn packet(handle: u16, text: &str) -> Vec<u8> {
    let mut packet = vec![0b0001_1000, 0];
    packet.extend(handle.to_be_bytes());
    packet.extend([0; 8]);
    packet.extend(text.as_bytes());
    packet
}

pub(super) async fn send(world: &World, peer: PeerId, packet: Vec<u8>) {
    let event = MediaEvent::Data { peer, label: "_data_track".into(), text: false, payload: packet.into() };
    world.say(event).await;
}

pub(super) async fn subscribe(person: &Person, track: u64) {
    person.ask(Request::UpdateDataSubscription { updates: vec![(TrackId(track), true)] }).await;
}

pub(super) fn sent(commands: &[Command]) -> Vec<(PeerId, &Bytes)> {
    let data = |command| match command {
        &Command::SendData { peer, ref label, text: false, ref payload } if **label == *"_data_track" => {
            Some((peer, payload))
        }
        _ => None,
    };
    commands.iter().filter_map(data).collect()
}

#[tokio::test(start_paused = true)]
async fn packets_reach_those_who_receive_the_track_under_the_handle_that_they_were_told() {
    let world = World::new();
    let (ann, bob) = (world.connect("ann").await, world.connect("bob").await);
    let (cid, _dan) = (world.connect("cid").await, world.connect("dan").await);
    ann.ask(publish(5, 7)).await;
    bob.ask(publish(6, 7)).await;
    subscribe(&bob, 5).await;
    subscribe(&cid, 6).await;
    bob.events().await;
    let told = cid.notices().await;
    let handle = told.iter().find_map(|notice| match notice {
        Notice::DataHandles(handles) => Some(handles[0].handle),
        _ => None,
    });
    let handle = handle.expect("told");
    world.told().await;
    send(&world, bob.peer, packet(7, "hello")).await;
    let told = world.told().await;
    assert_eq!(sent(&told), [(cid.peer, &Bytes::from(packet(handle, "hello")))]);
    assert!(bob.events().await.is_empty(), "no adapter is bothered");
}

#[tokio::test(start_paused = true)]
async fn one_packet_is_one_buffer_for_all_receivers() {
    let world = World::new();
    let ann = world.connect("ann").await;
    let (bob, cid) = (world.connect("bob").await, world.connect("cid").await);
    ann.ask(publish(1, 1)).await;
    subscribe(&bob, 1).await;
    subscribe(&cid, 1).await;
    world.told().await;
    send(&world, ann.peer, packet(1, "hello")).await;
    let told = world.told().await;
    let sent = sent(&told);
    assert_eq!((sent.len(), sent[0].1.as_ptr()), (2, sent[1].1.as_ptr()));
}

#[tokio::test(start_paused = true)]
async fn packets_of_tracks_that_are_not_published_go_nowhere() {
    let world = World::new();
    let (ann, bob) = (world.connect("ann").await, world.connect("bob").await);
    ann.ask(publish(1, 1)).await;
    subscribe(&bob, 1).await;
    world.told().await;
    send(&world, bob.peer, packet(1, "as if it were ann")).await;
    send(&world, ann.peer, packet(2, "hello")).await;
    send(&world, ann.peer, vec![0; 5]).await;
    ann.ask(Request::UnpublishDataTrack { handle: 1 }).await;
    assert!(sent(&world.told().await).is_empty());
    send(&world, ann.peer, packet(1, "late")).await;
    assert!(sent(&world.told().await).is_empty());
    assert_eq!(world.count("stoa_data_track_packets_unknown_total", ""), 4);
}

#[tokio::test(start_paused = true)]
async fn a_publication_is_answered_also_when_it_is_refused() {
    let world = World::new();
    let ann = world.connect("ann").await;
    let outcome = |events: Vec<Event>| {
        events.into_iter().find_map(|event| match event {
            Event::DataTrackPublished { handle, outcome } => Some((handle, outcome.map(|track| track.id))),
            _ => None,
        })
    };
    ann.ask(publish(3, 3)).await;
    assert_eq!(outcome(ann.events().await), Some((3, Ok(TrackId(3)))));
    ann.ask(publish(3, 3)).await;
    assert_eq!(outcome(ann.events().await), Some((3, Err(DataTrackRefused::DuplicateHandle))));
    ann.ask(Request::UnpublishDataTrack { handle: 4 }).await;
    let events = ann.events().await;
    assert!(matches!(events[..], [Event::DataTrackUnpublished { handle: 4, track: None }]), "{events:?}");
}
