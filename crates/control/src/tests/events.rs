//! What those who follow rooms from outside are told.

use std::sync::atomic::Ordering::Relaxed;

use base::events::{Happening, RoomEvent};
use base::model::LeaveReason;
use contract::events::BEHIND_AT;
use contract::session::{AdminRequest, Event, JoinError, PublishRefused, Request};

use super::world::{Person, World, camera, join, lobby, quiet, seconds};

/// What was told since the last call, in a word each.
fn told(world: &World) -> Vec<String> {
    let events = std::iter::from_fn(|| world.follower.try_recv().ok());
    events.map(|event| word(&event)).collect()
}

fn word(event: &RoomEvent) -> String {
    match &event.what {
        Happening::RoomStarted { .. } => "started".to_owned(),
        other @ (Happening::AgentJobStarted(_) | Happening::AgentJobEnded(_)) => {
            panic!("no room says {other:?}")
        }
        Happening::RoomFinished(_) => "finished".to_owned(),
        Happening::ParticipantJoined(who) => format!("{} joined", who.identity),
        Happening::ParticipantLeft(who) => format!("{} left", who.identity),
        Happening::ConnectionAborted(who) => format!("{} aborted", who.identity),
        Happening::TrackPublished { publisher, track } => format!("{} +{}", publisher.identity, track.name),
        Happening::TrackUnpublished { publisher, track } => format!("{} -{}", publisher.identity, track.name),
    }
}

async fn leave(person: &Person) {
    person.ask(Request::Leave(LeaveReason::ClientInitiated)).await;
    quiet().await;
}

#[tokio::test(start_paused = true)]
async fn a_call_is_told_from_its_beginning_to_its_end_in_order_and_without_gaps() {
    let world = World::new();
    let ann = world.connect("ann").await;
    let track = ann.publish().await;
    let bob = world.connect("bob").await;
    ann.ask(Request::Unpublish { track }).await;
    leave(&bob).await;
    leave(&ann).await;
    seconds(30).await;
    let events: Vec<_> = std::iter::from_fn(|| world.follower.try_recv().ok()).collect();
    let words: Vec<String> = events.iter().map(|event| word(event)).collect();
    let expected = [
        "started",
        "ann joined",
        "ann +camera",
        "bob joined",
        "ann -camera",
        "bob left",
        "ann left",
        "finished",
    ];
    assert_eq!(words, expected);
    let room = ann.joined.room.id;
    let numbers: Vec<u64> = events.iter().map(|event| event.id.number).collect();
    assert_eq!(numbers, (1..=8).collect::<Vec<u64>>());
    assert!(events.iter().all(|event| event.id.source == room.0 && event.room.id == room));
    assert_eq!(events[3].room.participants, 2);
    assert_eq!(world.count("stoa_room_events_total", ""), 8);
}

#[tokio::test(start_paused = true)]
async fn who_never_was_active_has_not_joined_and_its_tracks_are_not_told() {
    let world = World::new();
    let ann = world.join("ann").await;
    ann.publish().await;
    leave(&ann).await;
    assert_eq!(told(&world), ["started", "ann aborted"]);
}

#[tokio::test(start_paused = true)]
async fn a_track_that_was_negotiated_before_its_publisher_was_active_is_told_after_it() {
    let world = World::new();
    let ann = world.join("ann").await;
    ann.add_peer(true).await;
    ann.publish().await;
    world.up(ann.peer).await;
    quiet().await;
    assert_eq!(told(&world), ["started", "ann joined", "ann +camera"]);
    leave(&ann).await;
    assert_eq!(told(&world), ["ann -camera", "ann left"]);
}

#[tokio::test(start_paused = true)]
async fn who_is_replaced_by_its_own_identity_has_left_before_the_new_one_joins() {
    let world = World::new();
    let _old = world.connect("ann").await;
    let _new = world.connect("ann").await;
    assert_eq!(told(&world), ["started", "ann joined", "ann left", "ann joined"]);
}

#[tokio::test(start_paused = true)]
async fn a_room_that_is_made_through_the_api_is_told_before_anybody_comes() {
    let world = World::new();
    let create = |reply| AdminRequest::CreateRoom { room: lobby(), options: Default::default(), reply };
    world.handle.admin(create).await.expect("control answers").expect("it is made");
    quiet().await;
    assert_eq!(told(&world), ["started"]);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_room_lets_everybody_leave_before_it_is_finished() {
    let world = World::new();
    let ann = world.connect("ann").await;
    ann.publish().await;
    let _bob = world.join("bob").await;
    let delete = |reply| AdminRequest::DeleteRoom { room: lobby(), reply };
    assert!(world.handle.admin(delete).await.expect("control answers"));
    let mut told = told(&world);
    assert_eq!(told.pop().as_deref(), Some("finished"));
    told.sort();
    assert_eq!(told, ["ann +camera", "ann -camera", "ann joined", "ann left", "bob aborted", "started"]);
}

#[tokio::test(start_paused = true)]
async fn a_room_whose_task_panics_is_told_as_finished() {
    let world = World::new();
    let ann = world.connect("ann").await;
    told(&world);
    world.trap.store(true, Relaxed);
    ann.ask(super::world::add_peer(base::PeerId(7), false)).await;
    quiet().await;
    assert_eq!(told(&world), ["finished"]);
}

#[tokio::test(start_paused = true)]
async fn while_a_follower_is_behind_nothing_begins_and_everything_may_end() {
    let world = World::new();
    let ann = world.connect("ann").await;
    let event = world.follower.try_recv().expect("the room has started");
    world.fill_follower(&event);
    assert_eq!(world.try_join(join("bob")).await.err(), Some(JoinError::Unavailable));
    ann.events().await;
    ann.ask(Request::Publish(camera())).await;
    let refused = Some(PublishRefused::LimitExceeded);
    let outcome = ann.events().await.into_iter().find_map(|event| match event {
        Event::Published { outcome, .. } => outcome.err(),
        _ => None,
    });
    assert_eq!(outcome, refused);
    assert_eq!(world.count("stoa_room_events_held_back_total", ""), 2);
    leave(&ann).await;
    let all = told(&world);
    assert_eq!(all.len(), 2 + BEHIND_AT);
    assert_eq!(all.last().map(String::as_str), Some("ann left"), "it has waited, and is not lost");
    assert!(world.try_join(join("bob")).await.is_ok());
}
