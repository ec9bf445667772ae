//! The second encoding of a track is carried like another track, and is the same to the room.

use base::model::{Backup, BackupPolicy, BackupStream, Notice, TrackSettings};
use base::{CodecKind, Mid, TrackId};
use contract::media::{Command, Event as MediaEvent, ReceiveSection, Sections};
use contract::session::{Event, PublishTrack, Request};

use super::world::{Person, World, camera, fed_tracks, quiet, receiving, sending, sent_tracks};

/// A camera in VP9 that could be had in VP8, announced.
async fn publish(person: &Person) -> TrackId {
    let backup = Backup { codec: CodecKind::Vp8, policy: BackupPolicy::Simulcast, stream: None };
    person.ask(Request::Publish(PublishTrack { backup: Some(backup), ..camera() })).await;
    let track = person.published().await.expect("allowed").id;
    person.ask(Request::SetSections { peer: person.peer, sections: receiving(Some(track)) }).await;
    let mid = Mid::new(b"0").expect("a mid");
    let codec = CodecKind::Vp9;
    let negotiated = Request::TrackNegotiated { track, mid, codec, simulcast: false, sdp_cid: String::new() };
    person.ask(negotiated).await;
    quiet().await;
    track
}

/// The second encoding comes in a section of its own.
async fn publish_second(person: &Person, track: TrackId) {
    let mid = Mid::new(b"9").expect("a mid");
    let stream = BackupStream { mid, cid: "second".to_owned(), simulcast: false, layers: Vec::new() };
    person.ask(Request::BackupNegotiated { track, stream }).await;
    let first = receiving(Some(track)).receive.remove(0);
    let second = ReceiveSection { mid, track: Some(track.backup()), ..first.clone() };
    let sections = Sections { receive: vec![first, second], send: Vec::new() };
    person.ask(Request::SetSections { peer: person.peer, sections }).await;
    quiet().await;
}

#[tokio::test(start_paused = true)]
async fn the_publisher_hears_that_its_second_codec_is_needed_from_who_receives_the_track() {
    let world = World::new();
    let (ann, bob, cyd) =
        (world.connect("ann").await, world.connect("bob").await, world.connect("cyd").await);
    let track = publish(&ann).await;
    cyd.ask(Request::UpdateSubscription { tracks: vec![track], subscribe: false }).await;
    ann.events().await;
    cyd.ask(Request::NeedBackup { track }).await;
    let asked = |events: &[Event]| events.iter().any(|event| matches!(event, Event::BackupNeeded { .. }));
    assert!(!asked(&ann.events().await), "cyd does not receive it");
    bob.ask(Request::NeedBackup { track }).await;
    assert!(asked(&ann.events().await));
    let plain = ann.publish().await;
    bob.ask(Request::NeedBackup { track: plain }).await;
    assert!(!asked(&ann.events().await), "there is none");
}

#[tokio::test(start_paused = true)]
async fn a_second_encoding_is_granted_muted_set_and_taken_away_with_its_track() {
    let world = World::new();
    let (ann, bob) = (world.connect("ann").await, world.connect("bob").await);
    let track = publish(&ann).await;
    let low = TrackSettings { quality: 0, ..TrackSettings::default() };
    bob.ask(Request::TrackSettings { tracks: vec![track], settings: low }).await;
    world.told().await;
    publish_second(&ann, track).await;
    assert_eq!(fed_tracks(&world.told().await, ann.peer), Some(vec![Some(track), Some(track.backup())]));
    assert!(bob.notices().await.iter().any(|notice| matches!(notice, Notice::EncodingsChanged { .. })));

    let second = track.backup();
    bob.ask(Request::SetSections { peer: bob.peer, sections: sending(&[second]) }).await;
    let told = world.told().await;
    assert_eq!(sent_tracks(&told, bob.peer), Some(vec![second]));
    let set = |told: &[Command]| {
        told.iter()
            .any(|command| matches!(command, Command::SetTrackSettings { track, .. } if *track == second))
    };
    assert!(set(&told), "what bob wants of the track holds for what he gets of it");
    let high = TrackSettings::default();
    bob.ask(Request::TrackSettings { tracks: vec![track], settings: high }).await;
    assert!(set(&world.told().await));

    ann.ask(Request::Mute { track, muted: true }).await;
    let told = world.told().await;
    let muted: Vec<TrackId> = told
        .iter()
        .filter_map(|command| match command {
            Command::SetMuted { track, muted: true, .. } => Some(*track),
            _ => None,
        })
        .collect();
    assert_eq!(muted, [track, second]);

    world
        .say(MediaEvent::WantedLayer { worker: 0, room: bob.joined.room.id, track: second, highest: Some(1) })
        .await;
    let wanted =
        |event: &Event| matches!(event, Event::WantedLayer { track, highest: Some(1) } if *track == second);
    assert!(ann.events().await.iter().any(wanted));

    ann.ask(Request::SubscriptionPermission { all: false, allowed: Vec::new() }).await;
    assert_eq!(sent_tracks(&world.told().await, bob.peer), Some(vec![]), "shut out of both");
    ann.ask(Request::SubscriptionPermission { all: true, allowed: Vec::new() }).await;
    assert_eq!(sent_tracks(&world.told().await, bob.peer), Some(vec![second]));
    ann.ask(Request::Unpublish { track }).await;
    let told = world.told().await;
    assert_eq!(fed_tracks(&told, ann.peer), Some(vec![None, None]));
    assert_eq!(sent_tracks(&told, bob.peer), Some(vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_second_encoding_ends_alone() {
    let world = World::new();
    let (ann, bob) = (world.connect("ann").await, world.connect("bob").await);
    let track = publish(&ann).await;
    publish_second(&ann, track).await;
    bob.notices().await;
    ann.ask(Request::Unpublish { track: track.backup() }).await;
    let notices = bob.notices().await;
    let gone = |notice: &Notice| matches!(notice, Notice::EncodingsChanged { track } if track.backup_stream().is_none());
    assert!(notices.iter().any(gone), "{notices:?}");
    assert!(!notices.iter().any(|notice| matches!(notice, Notice::Unsubscribe { .. })));
}
