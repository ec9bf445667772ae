//! Joining and the ways a session ends.

use base::model::{LeaveReason, Notice, ParticipantState};
use contract::media::{Event as MediaEvent, PeerEnd};
use contract::session::{Event, JoinError, Request};

use super::world::{World, join, quiet, seconds, was_removed};
use crate::Config;

#[tokio::test(start_paused = true)]
async fn a_room_is_made_for_the_first_who_may_make_it() {
    let world = World::new();
    let absent = world.try_join(contract::session::Join { create: false, ..join("ann") }).await;
    assert_eq!(absent.err(), Some(JoinError::NoSuchRoom));
    let ann = world.join("ann").await;
    let bob = world.join_with(contract::session::Join { create: false, ..join("bob") }).await;
    assert_eq!(bob.joined.room.id, ann.joined.room.id);
    assert_eq!(bob.joined.others.len(), 1);
    assert_eq!(world.count("stoa_joins_total", "ok"), 2);
    assert_eq!(world.count("stoa_joins_total", "no_such_room"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_full_room_refuses() {
    let world = World::with(Config { max_participants: 1, ..Config::default() }, 1);
    let _ann = world.join("ann").await;
    assert_eq!(world.try_join(join("bob")).await.err(), Some(JoinError::RoomFull));
}

#[tokio::test(start_paused = true)]
async fn too_many_rooms_and_too_long_names_are_refused() {
    let world = World::with(Config { max_rooms: 1, ..Config::default() }, 1);
    let _ann = world.join("ann").await;
    let named = |name: String| contract::session::Join { room: base::RoomName::new(name), ..join("bob") };
    assert_eq!(world.try_join(named("other".to_owned())).await.err(), Some(JoinError::Unavailable));
    assert_eq!(world.try_join(named("x".repeat(257))).await.err(), Some(JoinError::LimitExceeded));
}

#[tokio::test(start_paused = true)]
async fn whether_a_join_would_be_let_in_is_answered_like_the_join() {
    let config = Config { max_participants: 1, max_rooms: 2, ..Config::default() };
    let world = World::with(config, 1);
    let named =
        |room: &str, who: &str| contract::session::Join { room: base::RoomName::new(room), ..join(who) };
    let absent = contract::session::Join { create: false, ..named("absent", "ann") };
    let check = |join| world.handle.check_join(join);
    assert_eq!(check(named("lobby", "ann")).await, Ok(()));
    assert_eq!(check(absent).await, Err(JoinError::NoSuchRoom));
    assert!(world.rooms().await.is_empty(), "asking makes no room");
    assert_eq!(check(named(&"x".repeat(257), "ann")).await, Err(JoinError::LimitExceeded));
    assert_eq!(check(named("lobby", &"x".repeat(10_000))).await, Err(JoinError::LimitExceeded));
    let _ann = world.join("ann").await;
    assert_eq!(check(named("lobby", "bob")).await, Err(JoinError::RoomFull));
    assert_eq!(check(named("lobby", "ann")).await, Ok(()), "she would replace herself");
    assert_eq!(check(named("lobby", &"x".repeat(10_000))).await, Err(JoinError::LimitExceeded));
    let _cid = world.join_with(named("two", "cid")).await;
    assert_eq!(check(named("three", "dan")).await, Err(JoinError::Unavailable));
    assert_eq!(world.participants().await, ["ann"]);
    world.control.shutdown().await;
    assert_eq!(check(named("lobby", "ann")).await, Err(JoinError::Unavailable));
}

#[tokio::test(start_paused = true)]
async fn a_participant_is_active_when_its_primary_connection_is_up() {
    let world = World::new();
    let ann = world.join("ann").await;
    ann.add_peer(true).await;
    quiet().await;
    world.up(ann.peer).await;
    let notices = ann.notices().await;
    let Some(Notice::Participants(own)) = notices.first() else { panic!("{notices:?}") };
    assert_eq!(own[0].state, ParticipantState::Active);
    assert_eq!(world.count("stoa_joins_total", "dtls"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_second_connection_does_not_make_active() {
    let world = World::new();
    let ann = world.join("ann").await;
    ann.add_peer(false).await;
    quiet().await;
    world.up(ann.peer).await;
    assert!(ann.notices().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_primary_connection_ends_the_session_with_its_reason() {
    let cases = [
        (false, PeerEnd::IceTimeout, LeaveReason::JoinFailure),
        (true, PeerEnd::IceTimeout, LeaveReason::ConnectionTimeout),
        (false, PeerEnd::DtlsFailed, LeaveReason::MediaFailure),
        (true, PeerEnd::SctpFailed, LeaveReason::MediaFailure),
        (true, PeerEnd::Panicked, LeaveReason::StateMismatch),
    ];
    for (connected, end, reason) in cases {
        let world = World::new();
        let ann = world.join("ann").await;
        ann.add_peer(true).await;
        quiet().await;
        if connected {
            world.up(ann.peer).await;
        }
        world.down(ann.peer, end).await;
        assert_eq!(ann.closed().await, Some(reason), "{end:?} {connected}");
        assert!(world.participants().await.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_broken_path_is_told_to_the_adapter_which_decides() {
    let world = World::new();
    let ann = world.join("ann").await;
    ann.add_peer(true).await;
    quiet().await;
    world.up(ann.peer).await;
    ann.events().await;
    world.say(MediaEvent::Interrupted { peer: ann.peer }).await;
    let told = ann.events().await;
    assert!(matches!(told[..], [Event::Media(MediaEvent::Interrupted { .. })]), "{told:?}");
    assert_eq!(world.participants().await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_closes_its_media_stays_until_its_adapter_hears_what_it_means() {
    let world = World::new();
    let ann = world.connect("ann").await;
    ann.events().await;
    world.down(ann.peer, PeerEnd::ClosedByRemote).await;
    let events = ann.events().await;
    let told = |event: &contract::session::Event| {
        matches!(event, contract::session::Event::Media(MediaEvent::Closed { .. }))
    };
    assert!(events.iter().any(told), "{events:?}");
    assert_eq!(world.participants().await, ["ann"]);
    ann.ask(Request::Leave(LeaveReason::ConnectionTimeout)).await;
    assert_eq!(ann.closed().await, Some(LeaveReason::ConnectionTimeout));
}

#[tokio::test(start_paused = true)]
async fn failed_joins_are_counted_by_the_stage_they_reached() {
    let world = World::new();
    let stages = [("ice", None), ("dtls", Some(std::time::Duration::from_millis(3)))];
    for (identity, ice) in stages {
        let person = world.join(identity).await;
        person.add_peer(true).await;
        quiet().await;
        let times = contract::media::SetupTimes { ice, ..Default::default() };
        world.say(MediaEvent::Closed { peer: person.peer, end: PeerEnd::DtlsFailed, times }).await;
        quiet().await;
    }
    let mut failed = Vec::new();
    world.control.metrics().for_each(|name, labels, value| {
        if name == "stoa_joins_total" && labels.contains(&("outcome", "failed")) {
            failed.push((labels[0].1, value));
        }
    });
    assert_eq!(failed, [("ice", 1), ("dtls", 1)]);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_another_connection_is_only_told() {
    let world = World::new();
    let ann = world.connect("ann").await;
    let second = super::world::Person { joined: ann.joined, peer: base::PeerId(7) };
    second.add_peer(false).await;
    quiet().await;
    world.down(second.peer, PeerEnd::IceTimeout).await;
    assert_eq!(world.participants().await, ["ann"]);
    let events = second.events().await;
    assert!(
        events.iter().any(|event| matches!(
            event,
            contract::session::Event::Media(MediaEvent::Closed { peer, .. }) if *peer == second.peer
        )),
        "{events:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn who_never_gets_a_connection_is_removed_after_a_minute() {
    let world = World::new();
    let ann = world.join("ann").await;
    seconds(59).await;
    assert_eq!(world.participants().await, ["ann"]);
    seconds(2).await;
    assert_eq!(ann.closed().await, Some(LeaveReason::JoinFailure));
}

#[tokio::test(start_paused = true)]
async fn an_adapter_that_goes_without_a_word_ends_a_session_without_media_at_once() {
    let world = World::new();
    let ann = world.join("ann").await;
    drop(ann);
    quiet().await;
    assert!(world.participants().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_adapter_that_goes_without_a_word_ends_a_session_with_media_after_five_seconds() {
    let world = World::new();
    let ann = world.connect("ann").await;
    let peer = ann.peer;
    drop(ann);
    seconds(4).await;
    assert_eq!(world.participants().await, ["ann"]);
    seconds(2).await;
    assert!(world.participants().await.is_empty());
    assert!(was_removed(&world.told().await, peer));
}

#[tokio::test(start_paused = true)]
async fn a_leave_removes_the_connections_and_ends_the_events() {
    let world = World::new();
    let ann = world.connect("ann").await;
    ann.ask(Request::Leave(LeaveReason::ClientInitiated)).await;
    assert!(was_removed(&world.told().await, ann.peer));
    assert_eq!(ann.closed().await, Some(LeaveReason::ClientInitiated));
    assert!(ann.joined.events.is_closed(), "nothing follows");
    assert_eq!(world.count("stoa_participants", ""), 0);
}

#[tokio::test(start_paused = true)]
async fn the_same_identity_replaces_the_old_session_and_its_connections() {
    let world = World::new();
    let old = world.connect("ann").await;
    let new = world.connect("ann").await;
    assert_eq!(old.closed().await, Some(LeaveReason::DuplicateIdentity));
    assert!(was_removed(&world.told().await, old.peer));
    assert_eq!(world.participants().await, ["ann"]);
    assert_eq!(new.closed().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_adapter_does_not_read_is_closed_and_the_others_go_on() {
    let world = World::new();
    let slow = world.connect("slow").await;
    let ann = world.connect("ann").await;
    for at in 0..2_000u32 {
        let mut change = base::model::MetadataChange::default();
        change.attributes.insert("at".to_owned(), at.to_string());
        ann.ask(Request::ChangeMetadata { request_id: at, change }).await;
        seconds(1).await;
        ann.events().await;
    }
    assert_eq!(world.participants().await, ["ann"]);
    assert_eq!(world.count("stoa_slow_sessions_closed_total", ""), 1);
    let mut unread = 0;
    while slow.joined.events.recv().await.is_ok() {
        unread += 1;
    }
    assert!(unread <= 1_024 + 1, "{unread}");
}

#[tokio::test(start_paused = true)]
async fn a_room_ends_after_the_last_one_left_and_its_name_can_be_used_again() {
    let world = World::new();
    let ann = world.join("ann").await;
    ann.ask(Request::Leave(LeaveReason::ClientInitiated)).await;
    seconds(19).await;
    assert_eq!(world.rooms().await.len(), 1);
    seconds(2).await;
    assert!(world.rooms().await.is_empty());
    assert_eq!(world.count("stoa_rooms", ""), 0);
    let again = world.join("ann").await;
    assert_ne!(again.joined.room.id, ann.joined.room.id);
    let request = Request::Leave(LeaveReason::ClientInitiated);
    assert!(ann.joined.session.send(request).await.is_err(), "the old room is gone");
}

#[tokio::test(start_paused = true)]
async fn shutting_down_closes_everybody_and_lets_nobody_in() {
    let world = World::new();
    let (ann, bob) = (world.connect("ann").await, world.connect("bob").await);
    world.control.shutdown().await;
    assert_eq!(ann.closed().await, Some(LeaveReason::ServerShutdown));
    assert_eq!(bob.closed().await, Some(LeaveReason::ServerShutdown));
    let told = world.told().await;
    assert!(was_removed(&told, ann.peer) && was_removed(&told, bob.peer));
    assert_eq!(world.try_join(join("cid")).await.err(), Some(JoinError::Unavailable));
    assert!(world.rooms().await.is_empty());
    world.control.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn lost_media_state_asks_everybody_to_come_again() {
    let world = World::new();
    let ann = world.connect("ann").await;
    world.say(MediaEvent::RoomLost { worker: 0, room: ann.joined.room.id }).await;
    assert_eq!(ann.closed().await, Some(LeaveReason::StateMismatch));
    let again = world.join("ann").await;
    assert_ne!(again.joined.room.id, ann.joined.room.id);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_gone_ends_its_rooms_and_gets_no_more() {
    let mut world = World::with(Config::default(), 2);
    let ann = world.join("ann").await;
    let gone = ann.joined.worker.index;
    world.workers[gone].close();
    world.workers.remove(gone);
    ann.add_peer(true).await;
    assert_eq!(ann.closed().await, Some(LeaveReason::StateMismatch));
    let again = world.join("ann").await;
    assert_ne!(again.joined.worker.index, gone);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_one_room_costs_that_room_alone() {
    let world = World::new();
    let ann = world.connect("ann").await;
    let other = contract::session::Join { room: base::RoomName::new("other"), ..join("bob") };
    let bob = world.join_with(other).await;
    world.told().await;
    world.trap.store(true, std::sync::atomic::Ordering::Relaxed);
    ann.ask(super::world::add_peer(base::PeerId(7), false)).await;
    ann.events().await;
    assert!(ann.joined.events.is_closed(), "its adapter sees the end");
    assert!(was_removed(&world.told().await, ann.peer));
    assert_eq!((world.count("stoa_participants", ""), world.count("stoa_rooms", "")), (1, 1));
    assert_eq!(world.count("stoa_recovered_panics_total", "room_task"), 1);
    bob.add_peer(true).await;
    assert_eq!(world.told().await.len(), 2, "the other room goes on");
    let again = world.join("ann").await;
    assert_ne!(again.joined.room.id, ann.joined.room.id);
}

#[tokio::test(start_paused = true)]
async fn rooms_go_to_the_worker_with_the_least_to_do() {
    let world = World::with(Config::default(), 2);
    let ann = world.join("ann").await;
    let bob = world.join("bob").await;
    assert_eq!(ann.joined.worker, bob.joined.worker, "a room stays on its worker");
    let in_room =
        |name: &str, who: &str| contract::session::Join { room: base::RoomName::new(name), ..join(who) };
    let cid = world.join_with(in_room("two", "cid")).await;
    let dan = world.join_with(in_room("three", "dan")).await;
    assert_ne!(cid.joined.worker, ann.joined.worker);
    assert_eq!(cid.joined.worker, dan.joined.worker, "two participants and a room against one and a room");
}
