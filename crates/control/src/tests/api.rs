//! The server API: what was done is in the next answer.

use base::model::LeaveReason;
use base::{Identity, RoomName};
use contract::media::Command;
use contract::session::{AdminRequest, Request, Unanswered};

use super::world::{World, credentials, join, lobby, quiet, was_removed};

async fn remove(world: &World, room: RoomName, identity: &str) -> bool {
    let identity = Identity::new(identity);
    let call = |reply| AdminRequest::RemoveParticipant { room, identity, revoke_before_s: 0, reply };
    world.handle.admin(call).await.expect("control answers")
}

async fn delete(world: &World) -> bool {
    let call = |reply| AdminRequest::DeleteRoom { room: lobby(), reply };
    world.handle.admin(call).await.expect("control answers")
}

#[tokio::test(start_paused = true)]
async fn who_has_just_joined_or_was_removed_is_in_the_next_list() {
    let world = World::new();
    assert!(world.rooms().await.is_empty());
    let ann = world.join("ann").await;
    assert_eq!(world.rooms().await[0].participants, 1);
    let _bob = world.join("bob").await;
    assert_eq!(world.rooms().await[0].participants, 2);
    assert!(remove(&world, lobby(), "ann").await);
    assert_eq!(world.rooms().await[0].participants, 1);
    assert_eq!(world.participants().await, ["bob"]);
    assert_eq!(ann.closed().await, Some(LeaveReason::ParticipantRemoved));
}

#[tokio::test(start_paused = true)]
async fn removing_nobody_says_so() {
    let world = World::new();
    assert!(!remove(&world, lobby(), "ann").await);
    let _ann = world.join("ann").await;
    assert!(!remove(&world, lobby(), "bob").await);
    assert!(world.participants().await == ["ann"]);
}

#[tokio::test(start_paused = true)]
async fn rooms_are_listed_by_name() {
    let world = World::new();
    let _ann = world.join("ann").await;
    let other = contract::session::Join { room: RoomName::new("other"), ..join("bob") };
    let _bob = world.join_with(other).await;
    let names = vec![RoomName::new("other"), RoomName::new("nowhere")];
    let call = |reply| AdminRequest::ListRooms { names, reply };
    let rooms = world.handle.admin(call).await.expect("control answers");
    assert_eq!(rooms.iter().map(|room| room.name.as_str()).collect::<Vec<_>>(), ["other"]);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_room_closes_everybody_and_its_name_is_free_at_once() {
    let world = World::new();
    let ann = world.connect("ann").await;
    assert!(delete(&world).await);
    assert!(was_removed(&world.told().await, ann.peer));
    assert_eq!(ann.closed().await, Some(LeaveReason::RoomDeleted));
    assert!(world.rooms().await.is_empty() && world.participants().await.is_empty());
    assert!(!delete(&world).await);
    let again = world.join("ann").await;
    assert_ne!(again.joined.room.id, ann.joined.room.id);
    quiet().await;
    assert_eq!(world.rooms().await.len(), 1, "the end of the old room did not take the new one along");
}

#[tokio::test(start_paused = true)]
async fn joins_that_race_with_the_deletion_of_their_room_get_a_room() {
    let world = World::new();
    let _ann = world.join("ann").await;
    let (deleted, bob, cid) =
        tokio::join!(delete(&world), world.try_join(join("bob")), world.try_join(join("cid")));
    assert!(deleted);
    let (bob, cid) = (bob.expect("in"), cid.expect("in"));
    assert_eq!(bob.room.id, cid.room.id);
    assert_eq!(world.participants().await, ["bob", "cid"]);
}

#[tokio::test(start_paused = true)]
async fn hidden_participants_are_listed() {
    let world = World::new();
    let mut ghost = join("ghost");
    ghost.permissions.hidden = true;
    let _ghost = world.join_with(ghost).await;
    assert_eq!(world.participants().await, ["ghost"]);
    assert_eq!(world.rooms().await[0].participants, 0);
}

#[tokio::test(start_paused = true)]
async fn the_state_of_a_room_is_json_with_and_without_its_worker() {
    let world = World::new();
    let call = |reply| AdminRequest::Snapshot { room: lobby(), reply };
    assert_eq!(world.handle.admin(call).await, Ok(None), "there is no room");
    let ann = world.connect("ann").await;
    ann.publish().await;
    world.told().await;
    let asked = world.handle.admin(call);
    let answered = async {
        let Ok(Command::Snapshot { reply, .. }) = world.workers[0].recv().await else { panic!("not asked") };
        reply.send(r#"{"packets":1}"#.to_owned()).await.expect("somebody waits");
    };
    let (text, ()) = tokio::join!(asked, answered);
    let json: serde_json::Value =
        serde_json::from_str(&text.ok().flatten().expect("there is a room")).expect("it is JSON");
    assert_eq!(json["media"][0]["state"]["packets"], 1);
    assert_eq!(json["control"]["participants"][0]["identity"], "ann");
    assert_eq!(json["control"]["participants"][0]["publishes"][0]["codec"], "video/vp8");
    let text = world.handle.admin(call).await.ok().flatten().expect("there is a room");
    assert!(text.contains("\"media\":[{\"state\":null,\"worker\":0}]"), "the worker did not answer: {text}");
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_gave_up_leaves_nobody_in_the_room() {
    let world = World::new();
    let _ann = world.join("ann").await;
    let handle = world.handle.clone();
    let call = tokio::spawn(async move { handle.join(join("bob")).await.map(|_| ()) });
    tokio::task::yield_now().await;
    call.abort();
    quiet().await;
    assert_eq!(world.participants().await, ["ann"]);
}

#[tokio::test(start_paused = true)]
async fn calls_to_a_room_are_answered_while_its_participants_talk() {
    let world = World::new();
    let ann = world.connect("ann").await;
    for id in 0..500 {
        ann.ask(Request::ChangeMetadata { request_id: id, change: Default::default() }).await;
    }
    assert_eq!(world.participants().await, ["ann"]);
}

#[tokio::test(start_paused = true)]
async fn a_call_to_a_room_that_is_too_far_behind_is_not_told_that_the_server_stops() {
    let world = World::new();
    let ann = world.join("ann").await;
    ann.add_peer(true).await;
    // Until the worker's queue is full, and the room waits for it.
    let session = ann.joined.session.clone();
    let peer = ann.peer;
    tokio::spawn(async move {
        let restart = || Request::RestartIce { peer, local: credentials() };
        while session.send(restart()).await.is_ok() {}
    });
    quiet().await;
    let list = |reply| AdminRequest::ListParticipants { room: lobby(), reply };
    for _ in 0..1_024 {
        let handle = world.handle.clone();
        tokio::spawn(async move { handle.admin(list).await.map(|_| ()) });
    }
    quiet().await;
    assert_eq!(world.handle.admin(list).await.err(), Some(Unanswered::Busy));
    // Still there for others.
    assert_eq!(world.rooms().await.len(), 1);
}
