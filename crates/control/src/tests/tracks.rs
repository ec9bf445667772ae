//! Publishing and receiving: what the room allows is what the worker is told.

use base::TrackId;
use base::model::{Notice, TrackSettings};
use contract::media::{Command, Event as MediaEvent, Sections};
use contract::session::{Event, Join, PublishRefused, Request};

use super::world::{World, camera, fed_tracks, join, quiet, receiving, sending, sent_tracks};

#[tokio::test(start_paused = true)]
async fn a_published_track_is_offered_to_the_others_and_sent_when_they_make_a_section_for_it() {
    let world = World::new();
    let (ann, bob) = (world.connect("ann").await, world.connect("bob").await);
    bob.notices().await;
    let track = ann.publish().await;
    let notices = bob.notices().await;
    let [Notice::Participants(_), Notice::Subscribe { publisher, track: offered }] = &notices[..] else {
        panic!("{notices:?}")
    };
    assert_eq!((publisher.identity.as_str(), offered.id), ("ann", track));
    assert_eq!(fed_tracks(&world.told().await, ann.peer), Some(vec![Some(track)]));
    bob.ask(Request::SetSections { peer: bob.peer, sections: sending(&[track]) }).await;
    assert_eq!(sent_tracks(&world.told().await, bob.peer), Some(vec![track]));
}

#[tokio::test(start_paused = true)]
async fn a_section_for_a_track_that_may_not_be_received_is_left_out() {
    let world = World::new();
    let ann = world.connect("ann").await;
    let (one, two) = (ann.publish().await, ann.publish().await);
    let bob = world.connect("bob").await;
    bob.ask(Request::UpdateSubscription { tracks: vec![two], subscribe: false }).await;
    let sections = sending(&[TrackId(1), two, one]);
    bob.ask(Request::SetSections { peer: bob.peer, sections }).await;
    assert_eq!(sent_tracks(&world.told().await, bob.peer), Some(vec![one]));
    assert_eq!(world.count("stoa_sections_refused_total", ""), 1);
}

#[tokio::test(start_paused = true)]
async fn nobody_can_feed_the_track_of_another() {
    let world = World::new();
    let (ann, bob) = (world.connect("ann").await, world.connect("bob").await);
    let track = ann.publish().await;
    bob.ask(Request::SetSections { peer: bob.peer, sections: receiving(Some(track)) }).await;
    assert_eq!(fed_tracks(&world.told().await, bob.peer), Some(vec![None]));
    bob.ask(Request::SetSections { peer: ann.peer, sections: Sections::default() }).await;
    assert!(world.told().await.is_empty(), "nor touch the connection of another");
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_is_shut_out_stops_receiving_without_its_adapter() {
    let world = World::new();
    let (ann, bob) = (world.connect("ann").await, world.connect("bob").await);
    let track = ann.publish().await;
    bob.ask(Request::SetSections { peer: bob.peer, sections: sending(&[track]) }).await;
    world.told().await;
    ann.ask(Request::SubscriptionPermission { all: false, allowed: Vec::new() }).await;
    assert_eq!(sent_tracks(&world.told().await, bob.peer), Some(vec![]));
    ann.ask(Request::SubscriptionPermission { all: true, allowed: Vec::new() }).await;
    assert_eq!(sent_tracks(&world.told().await, bob.peer), Some(vec![track]));
}

#[tokio::test(start_paused = true)]
async fn a_track_taken_down_is_fed_and_sent_no_more() {
    let world = World::new();
    let (ann, bob) = (world.connect("ann").await, world.connect("bob").await);
    let track = ann.publish().await;
    bob.ask(Request::SetSections { peer: bob.peer, sections: sending(&[track]) }).await;
    world.told().await;
    ann.ask(Request::Unpublish { track }).await;
    let told = world.told().await;
    assert_eq!(fed_tracks(&told, ann.peer), Some(vec![None]));
    assert_eq!(sent_tracks(&told, bob.peer), Some(vec![]));
}

#[tokio::test(start_paused = true)]
async fn settings_hold_from_the_moment_the_track_is_negotiated() {
    let world = World::new();
    let (ann, bob) = (world.connect("ann").await, world.connect("bob").await);
    let track = ann.publish().await;
    let low = TrackSettings { quality: 0, ..TrackSettings::default() };
    bob.ask(Request::TrackSettings { tracks: vec![track, TrackId(1)], settings: low }).await;
    assert!(!world.told().await.iter().any(|command| matches!(command, Command::SetTrackSettings { .. })));
    bob.ask(Request::SetSections { peer: bob.peer, sections: sending(&[track]) }).await;
    let told = world.told().await;
    let [.., Command::SetTrackSettings { track: set, settings, .. }, Command::SetSections { .. }] = &told[..]
    else {
        panic!("before the sections, so that nothing else is asked of anybody: {told:?}")
    };
    assert_eq!((*set, *settings), (track, low));
    let off = TrackSettings { disabled: true, ..low };
    bob.ask(Request::TrackSettings { tracks: vec![track], settings: off }).await;
    let told = world.told().await;
    assert!(matches!(told[..], [Command::SetTrackSettings { .. }]), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn settings_hold_again_for_who_was_shut_out_and_let_in() {
    let world = World::new();
    let (ann, bob) = (world.connect("ann").await, world.connect("bob").await);
    let track = ann.publish().await;
    let low = TrackSettings { quality: 0, ..TrackSettings::default() };
    bob.ask(Request::SetSections { peer: bob.peer, sections: sending(&[track]) }).await;
    bob.ask(Request::TrackSettings { tracks: vec![track], settings: low }).await;
    for all in [false, true] {
        world.told().await;
        ann.ask(Request::SubscriptionPermission { all, allowed: Vec::new() }).await;
    }
    let told = world.told().await;
    assert!(
        matches!(
            told[..],
            [Command::SetTrackSettings { settings, .. }, Command::SetSections { .. }] if settings == low
        ),
        "{told:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_mute_reaches_the_worker_even_when_it_comes_before_the_section() {
    let world = World::new();
    let ann = world.connect("ann").await;
    ann.ask(Request::Publish(camera())).await;
    let track = ann.published().await.expect("allowed").id;
    ann.ask(Request::Mute { track, muted: true }).await;
    let mid = base::Mid::new(b"0").expect("a valid mid");
    let negotiated = Request::TrackNegotiated {
        track,
        mid,
        codec: base::CodecKind::Vp8,
        simulcast: false,
        sdp_cid: String::new(),
    };
    ann.ask(negotiated).await;
    world.told().await;
    ann.ask(Request::SetSections { peer: ann.peer, sections: receiving(Some(track)) }).await;
    let told = world.told().await;
    assert!(
        matches!(told[..], [Command::SetSections { .. }, Command::SetMuted { muted: true, .. }]),
        "{told:?}"
    );
    ann.ask(Request::Mute { track, muted: false }).await;
    let told = world.told().await;
    assert!(matches!(told[..], [Command::SetMuted { muted: false, .. }]), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn refusals_are_answered() {
    let world = World::new();
    let mut viewer = join("viewer");
    viewer.permissions.publish = false;
    viewer.permissions.update_own_metadata = false;
    let viewer = world.join_with(Join { ..viewer }).await;
    viewer.ask(Request::Publish(camera())).await;
    viewer.ask(Request::UpdateSubscription { tracks: vec![TrackId(1)], subscribe: true }).await;
    let change = Default::default();
    viewer.ask(Request::ChangeMetadata { request_id: 7, change }).await;
    let events = viewer.events().await;
    let [
        Event::Published { outcome: Err(PublishRefused::NotAllowed), .. },
        Event::SubscriptionRefused { track: TrackId(1) },
        Event::MetadataChanged { request_id: 7, allowed: false },
    ] = &events[..]
    else {
        panic!("{events:?}")
    };
}

#[tokio::test(start_paused = true)]
async fn the_tracks_of_a_full_room_all_reach_a_newcomer() {
    let world = World::new();
    let mut publishers = Vec::new();
    for at in 0..15 {
        let publisher = world.connect(&format!("p{at}")).await;
        for _ in 0..100 {
            publisher.publish().await;
            for other in &publishers {
                super::world::Person::events(other).await;
            }
        }
        publishers.push(publisher);
    }
    let late = world.join("late").await;
    let subscribed = late.notices().await.into_iter().filter(|n| matches!(n, Notice::Subscribe { .. }));
    assert_eq!(subscribed.count(), 1_500, "more than may wait later on");
}

/// What a publisher was told is wanted of its tracks.
async fn wanted(person: &super::world::Person) -> Vec<(TrackId, Option<u8>)> {
    let wanted = |event| match event {
        Event::WantedLayer { track, highest } => Some((track, highest)),
        _ => None,
    };
    person.events().await.into_iter().filter_map(wanted).collect()
}

#[tokio::test(start_paused = true)]
async fn a_publisher_hears_the_most_that_is_wanted_on_any_worker_and_nobody_else_hears_it() {
    let world = World::with(crate::Config { spread_at: 1, ..crate::Config::default() }, 2);
    let (ann, bob) = (world.connect("ann").await, world.connect("bob").await);
    assert_eq!((ann.joined.worker.index, bob.joined.worker.index), (0, 1));
    let track = ann.publish().await;
    bob.ask(Request::SetSections { peer: bob.peer, sections: sending(&[track]) }).await;
    quiet().await;
    let room = world.rooms().await[0].id;
    let say = |worker, highest| world.say(MediaEvent::WantedLayer { worker, room, track, highest });
    say(0, None).await;
    say(1, Some(0)).await;
    say(0, Some(2)).await;
    say(1, Some(1)).await;
    say(0, None).await;
    assert_eq!(wanted(&ann).await, [None, Some(0), Some(2), Some(1)].map(|highest| (track, highest)));
    assert_eq!(wanted(&bob).await, []);
    say(0, Some(0)).await;
    quiet().await;
    bob.ask(Request::SetSections { peer: bob.peer, sections: sending(&[]) }).await;
    assert_eq!(wanted(&ann).await, [(track, Some(0))], "nobody is left on the other worker");
    say(1, Some(2)).await;
    assert_eq!(wanted(&ann).await, [], "which said this before it knew");
    ann.ask(Request::Unpublish { track }).await;
    ann.events().await;
    say(1, Some(2)).await;
    let (room, stranger) = (room, TrackId(7));
    world.say(MediaEvent::WantedLayer { worker: 0, room, track: stranger, highest: Some(2) }).await;
    assert_eq!(wanted(&ann).await, [], "of tracks that are not there nothing is told");
}

#[tokio::test(start_paused = true)]
async fn a_paused_stream_is_told_to_its_receiver_alone() {
    let world = World::new();
    let (ann, bob) = (world.connect("ann").await, world.connect("bob").await);
    let track = ann.publish().await;
    ann.events().await;
    bob.events().await;
    world.say(MediaEvent::StreamState { peer: bob.peer, track, active: false }).await;
    let told = bob.events().await;
    assert!(matches!(told[..], [Event::Media(MediaEvent::StreamState { active: false, .. })]), "{told:?}");
    assert!(ann.events().await.is_empty());
}
