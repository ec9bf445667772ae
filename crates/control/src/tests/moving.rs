//! Participants that go on in another room.

use std::sync::Arc;

use base::model::{LeaveReason, Notice, Participant};
use base::{Identity, ParticipantId, RoomName, TrackId};
use contract::media::{Command, Event as MediaEvent, PeerEnd};
use contract::session::{AdminRefused, AdminRequest, Event, Join, Moved, Request, RoomOptions, Session};

use super::data_tracks;
use super::world::{
    Person, World, fed_tracks, join, lobby, quiet, seconds, sending, sent_tracks, was_removed,
};
use crate::Config;

pub(super) fn lounge() -> RoomName {
    RoomName::new("lounge")
}

async fn try_move(world: &World, who: &str, to: &str, create: bool) -> Result<(), AdminRefused> {
    let (identity, destination) = (Identity::new(who), RoomName::new(to));
    let call = |reply| AdminRequest::MoveParticipant { room: lobby(), identity, destination, create, reply };
    world.handle.admin(call).await.expect("control answers")
}

/// Joins the lounge and comes up there.
pub(super) async fn guest(world: &World, identity: &str) -> Person {
    let person = world.join_with(Join { room: lounge(), ..join(identity) }).await;
    person.add_peer(true).await;
    quiet().await;
    world.up(person.peer).await;
    world.channels(person.peer).await;
    quiet().await;
    person
}

/// Asks for the move; the adapter is told, and goes along.
async fn begin(world: &World, person: &Person) -> tokio::task::JoinHandle<Result<(), AdminRefused>> {
    let handle = world.handle.clone();
    let identity = person.joined.participant.identity.clone();
    let call = tokio::spawn(async move {
        let call = |reply| AdminRequest::MoveParticipant {
            room: lobby(),
            identity,
            destination: lounge(),
            create: true,
            reply,
        };
        handle.admin(call).await.expect("control answers")
    });
    let events = person.events().await;
    assert!(matches!(events.last(), Some(Event::Moving { room }) if *room == lounge()), "{events:?}");
    call
}

/// Moves it to the lounge: where it is then, and what it was told on the way.
pub(super) async fn go(world: &World, person: &Person) -> (Moved, Vec<Event>) {
    let call = begin(world, person).await;
    person.ask(Request::MoveOn).await;
    assert_eq!(call.await.expect("no panic"), Ok(()));
    let mut events = person.events().await;
    let at = events.iter().position(|event| matches!(event, Event::Moved(_))).expect("told where it is");
    let after = events.split_off(at + 1);
    let Some(Event::Moved(moved)) = events.pop() else { panic!("just found") };
    let rest = events.into_iter().chain(after).collect();
    (*moved, rest)
}

async fn ask(session: &Session, request: Request) {
    session.send(request).await.expect("the room is there");
    quiet().await;
}

pub(super) async fn people(world: &World, room: RoomName) -> Vec<Arc<Participant>> {
    let list = |reply| AdminRequest::ListParticipants { room, reply };
    world.handle.admin(list).await.expect("control answers")
}

pub(super) fn subscribed(events: &[Event]) -> Vec<TrackId> {
    let track = |event: &Event| match event {
        Event::Notice(Notice::Subscribe { track, .. }) => Some(track.id),
        _ => None,
    };
    events.iter().filter_map(track).collect()
}

fn left(events: &[Event], who: ParticipantId) -> bool {
    events.iter().any(|event| match event {
        Event::Notice(Notice::Participants(told)) => {
            told.iter().any(|one| one.id == who && one.left == Some(LeaveReason::Moved))
        }
        _ => false,
    })
}

#[tokio::test(start_paused = true)]
async fn who_is_moved_leaves_the_one_room_and_is_in_the_other_with_its_tracks_and_connection() {
    let world = World::new();
    let (ann, bob) = (world.connect("ann").await, world.connect("bob").await);
    let cid = guest(&world, "cid").await;
    let (track, theirs, bobs) = (ann.publish().await, cid.publish().await, bob.publish().await);
    ann.ask(Request::SetSections {
        peer: ann.peer,
        sections: contract::media::Sections {
            send: sending(&[bobs]).send,
            ..super::world::receiving(Some(track))
        },
    })
    .await;
    for person in [&ann, &bob, &cid] {
        person.events().await;
    }
    world.told().await;

    let (moved, told) = go(&world, &ann).await;
    assert_eq!((moved.room.name.as_str(), moved.room.participants), ("lounge", 2));
    assert_eq!(moved.participant.tracks.len(), 1);
    assert_eq!(moved.others.iter().map(|other| other.id).collect::<Vec<_>>(), [cid.joined.participant.id]);
    assert!(
        told.iter()
            .any(|event| matches!(event, Event::Notice(Notice::Unsubscribe { track }) if *track == bobs))
    );
    assert_eq!(subscribed(&told), [theirs]);

    assert!(left(&bob.events().await, ann.joined.participant.id));
    let seen = cid.events().await;
    assert_eq!(subscribed(&seen), [track]);
    assert_eq!(people(&world, lobby()).await.len(), 1);
    assert_eq!(people(&world, lounge()).await.len(), 2);

    let commands = world.told().await;
    let to = moved.room.id;
    let is_move = |command: &Command| matches!(command, Command::MovePeer { peer, room } if *peer == ann.peer && *room == to);
    let at = commands.iter().position(is_move).expect("the worker moves the connection");
    assert!(!was_removed(&commands, ann.peer), "it is the same one");
    assert_eq!(fed_tracks(&commands[at..], ann.peer), Some(vec![Some(track)]), "and publishes there");
    assert_eq!(sent_tracks(&commands[at..], ann.peer), Some(Vec::new()));

    ask(&moved.session, Request::Mute { track, muted: true }).await;
    assert!(
        people(&world, lounge())
            .await
            .iter()
            .any(|one| one.tracks.iter().any(|each| each.id == track && each.muted))
    );
}

#[tokio::test(start_paused = true)]
async fn what_its_connections_say_between_two_rooms_reaches_it_in_order() {
    let world = World::new();
    let ann = world.connect("ann").await;
    let call = begin(&world, &ann).await;
    let say = |text: &'static [u8]| MediaEvent::Data {
        peer: ann.peer,
        label: "_reliable".into(),
        text: false,
        payload: bytes::Bytes::from_static(text),
    };
    for text in [&b"1"[..], b"2"] {
        world.say(say(text)).await;
    }
    ann.ask(Request::MoveOn).await;
    for text in [&b"3"[..], b"4"] {
        world.say(say(text)).await;
    }
    assert_eq!(call.await.expect("no panic"), Ok(()));
    let heard: Vec<u8> = ann
        .events()
        .await
        .into_iter()
        .filter_map(|event| match event {
            Event::Media(MediaEvent::Data { payload, .. }) => Some(payload[0]),
            _ => None,
        })
        .collect();
    assert_eq!(heard, b"1234");
    world.down(ann.peer, PeerEnd::IceTimeout).await;
    assert_eq!(ann.closed().await, Some(LeaveReason::ConnectionTimeout), "the new room hears of its end");
}

#[tokio::test(start_paused = true)]
async fn nothing_changes_when_the_other_room_does_not_take_it() {
    let world = World::new();
    let ann = world.connect("ann").await;
    ann.events().await;
    assert_eq!(try_move(&world, "nobody", "lounge", true).await, Err(AdminRefused::NoSuchParticipant));
    assert_eq!(world.rooms().await.len(), 1, "no room is made for nobody");
    assert_eq!(try_move(&world, "ann", "lobby", true).await, Err(AdminRefused::SameRoom));
    assert_eq!(try_move(&world, "ann", "lounge", false).await, Err(AdminRefused::NoDestination));
    let options = RoomOptions { max_participants: Some(1), ..RoomOptions::default() };
    let create = |reply| AdminRequest::CreateRoom { room: lounge(), options, reply };
    world.handle.admin(create).await.expect("control answers").expect("there is room");
    let other = guest(&world, "ann").await;
    assert_eq!(try_move(&world, "ann", "lounge", true).await, Err(AdminRefused::IdentityTaken));
    other.ask(Request::Leave(LeaveReason::ClientInitiated)).await;
    let _cid = guest(&world, "cid").await;
    assert_eq!(try_move(&world, "ann", "lounge", true).await, Err(AdminRefused::RoomFull));
    assert!(
        ann.events().await.iter().all(|event| !matches!(event, Event::Moving { .. })),
        "it has heard nothing"
    );
    assert_eq!(people(&world, lobby()).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_cannot_be_moved_goes_by_itself_and_one_that_leaves_is_not_moved() {
    let world = World::new();
    let (ann, bob) = (world.connect("ann").await, world.connect("bob").await);
    let call = begin(&world, &ann).await;
    ann.ask(Request::Leave(LeaveReason::Moved)).await;
    assert_eq!(call.await.expect("no panic"), Ok(()));
    seconds(1).await;
    assert!(left(&bob.events().await, ann.joined.participant.id));
    let call = begin(&world, &bob).await;
    assert_eq!(try_move(&world, "bob", "lounge", true).await, Err(AdminRefused::Left), "one move at a time");
    bob.ask(Request::Leave(LeaveReason::ClientInitiated)).await;
    assert_eq!(call.await.expect("no panic"), Err(AdminRefused::Left));
    assert!(people(&world, lobby()).await.is_empty() && people(&world, lounge()).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_arrives_where_no_room_is_any_more_is_told_to_come_again() {
    let world = World::new();
    let ann = world.connect("ann").await;
    let call = begin(&world, &ann).await;
    let delete = |reply| AdminRequest::DeleteRoom { room: lounge(), reply };
    assert_eq!(world.handle.admin(delete).await, Ok(true));
    ann.ask(Request::MoveOn).await;
    assert!(call.await.expect("no panic").is_err());
    assert_eq!(ann.closed().await, Some(LeaveReason::StateMismatch));
    assert!(was_removed(&world.told().await, ann.peer));
    assert!(people(&world, lobby()).await.is_empty());
    assert_eq!(world.count("stoa_participants", ""), 0);
}

#[tokio::test(start_paused = true)]
async fn a_participant_stays_on_its_worker_and_its_tracks_cross_to_those_of_the_new_room() {
    let world = World::with(Config { spread_at: 1, ..Config::default() }, 2);
    let ann = world.connect("ann").await;
    // As much to do here as there, so that the lounge begins on the other worker.
    let cid = guest(&world, "cid").await;
    assert_ne!(ann.joined.worker.index, cid.joined.worker.index);
    let track = ann.publish().await;
    let (moved, _) = go(&world, &ann).await;
    cid.ask(Request::SetSections { peer: cid.peer, sections: sending(&[track]) }).await;
    quiet().await;
    let commands: Vec<Command> =
        std::iter::from_fn(|| world.workers[cid.joined.worker.index].try_recv().ok()).collect();
    let comes = commands.iter().any(|command| match command {
        Command::SetRelayed { room, track: of, source: Some(source) } => {
            (*room, *of, source.from) == (moved.room.id, track, ann.joined.worker.index)
        }
        _ => false,
    });
    assert!(comes, "{commands:?}");
}

#[tokio::test(start_paused = true)]
async fn the_room_that_everybody_was_moved_out_of_ends() {
    let world = World::new();
    let ann = world.connect("ann").await;
    let _moved = go(&world, &ann).await;
    seconds(21).await;
    let names: Vec<String> = world.rooms().await.iter().map(|room| room.name.to_string()).collect();
    assert_eq!(names, ["lounge"]);
}

#[tokio::test(start_paused = true)]
async fn data_tracks_of_who_is_moved_go_on_in_the_new_room_and_are_not_heard_in_the_old_one() {
    let world = World::new();
    let (ann, bob) = (world.connect("ann").await, world.connect("bob").await);
    let cid = guest(&world, "cid").await;
    cid.ask(data_tracks::publish(4, 1)).await;
    ann.ask(data_tracks::publish(5, 7)).await;
    data_tracks::subscribe(&bob, 5).await;
    let (moved, told) = go(&world, &ann).await;
    assert_eq!(moved.participant.data_tracks.len(), 1);
    assert!(
        !told.iter().any(|event| matches!(event, Event::DataTrackPublished { .. })),
        "nothing is published again: {told:?}"
    );
    data_tracks::subscribe(&cid, 5).await;
    quiet().await;
    let handles = cid.notices().await.into_iter().rev().find_map(|notice| match notice {
        Notice::DataHandles(handles) => Some(handles),
        _ => None,
    });
    let handle = handles.expect("told")[0].handle;
    world.told().await;
    data_tracks::send(&world, ann.peer, data_tracks::packet(7, "still me")).await;
    let commands = world.told().await;
    let expected = bytes::Bytes::from(data_tracks::packet(handle, "still me"));
    assert_eq!(data_tracks::sent(&commands), [(cid.peer, &expected)]);
    // And it receives those of the new room.
    ask(&moved.session, Request::UpdateDataSubscription { updates: vec![(TrackId(4), true)] }).await;
    world.told().await;
    data_tracks::send(&world, cid.peer, data_tracks::packet(1, "welcome")).await;
    let commands = world.told().await;
    assert_eq!(data_tracks::sent(&commands).iter().map(|(peer, _)| *peer).collect::<Vec<_>>(), [ann.peer]);
}
