//! Participants that are seen and heard in another room, too.

use base::model::{DataKind, KindDetail, LeaveReason, MetadataChange, Notice, Participant};
use base::{Identity, PeerId, RoomName, TrackId};
use bytes::Bytes;
use contract::media::{Command, DataBacklog, Event as MediaEvent, Sections};
use contract::session::{AdminRefused, AdminRequest, DataTarget, Event, Request, RoomOptions};

use super::data_tracks::{packet, publish, send, sent, subscribe};
use super::moving::{go, guest, lounge, people, subscribed};
use super::world::{Person, World, lobby, quiet, receiving, seconds, sending};
use crate::Config;

async fn forward_to(world: &World, who: &str, to: &str, create: bool) -> Result<(), AdminRefused> {
    let (identity, destination) = (Identity::new(who), RoomName::new(to));
    let call =
        |reply| AdminRequest::ForwardParticipant { room: lobby(), identity, destination, create, reply };
    world.handle.admin(call).await.expect("control answers")
}

async fn forward(world: &World, who: &str) {
    assert_eq!(forward_to(world, who, "lounge", true).await, Ok(()));
    quiet().await;
}

async fn remove(world: &World, room: RoomName, who: &str) -> bool {
    let identity = Identity::new(who);
    let call = |reply| AdminRequest::RemoveParticipant { room, identity, revoke_before_s: 0, reply };
    world.handle.admin(call).await.expect("control answers")
}

async fn names(world: &World, room: RoomName) -> Vec<String> {
    let mut names: Vec<String> =
        people(world, room).await.iter().map(|one| one.identity.to_string()).collect();
    names.sort();
    names
}

async fn shown(world: &World, who: &str) -> Participant {
    let all = people(world, lounge()).await;
    let found = all.iter().find(|one| one.identity.as_str() == who);
    Participant::clone(found.expect("it is shown"))
}

/// What a worker is to publish in the lounge, by what it was told since the last call.
fn forwarded(commands: &[Command]) -> Vec<(TrackId, bool)> {
    let told = commands.iter().filter_map(|command| match command {
        Command::SetForwarded { track, source, .. } => Some((*track, source.is_some())),
        _ => None,
    });
    told.collect()
}

fn asked_for(events: &[Event]) -> Vec<Option<u8>> {
    let highest = events.iter().filter_map(|event| match event {
        Event::WantedLayer { highest, .. } => Some(*highest),
        _ => None,
    });
    highest.collect()
}

fn gone(events: &[Event]) -> Vec<LeaveReason> {
    let told = events.iter().filter_map(|event| match event {
        Event::Notice(Notice::Participants(told)) => Some(told.iter().filter_map(|one| one.left)),
        _ => None,
    });
    told.flatten().collect()
}

async fn says(person: &Person, kind: DataKind, text: &'static str, target: DataTarget) {
    let payload = Bytes::from_static(text.as_bytes());
    person.ask(Request::Data { kind, target, sequence: 0, payload }).await;
}

fn heard(commands: &[Command], peer: PeerId) -> Vec<String> {
    let sent = commands.iter().filter_map(|command| match command {
        Command::SendData { peer: to, payload, .. } if *to == peer => {
            Some(String::from_utf8_lossy(payload).into_owned())
        }
        _ => None,
    });
    sent.collect()
}

#[tokio::test(start_paused = true)]
async fn who_is_forwarded_is_in_both_rooms_and_its_worker_publishes_its_tracks_in_both() {
    let world = World::new();
    let (ann, cid) = (world.connect("ann").await, guest(&world, "cid").await);
    let camera = ann.publish().await;
    for person in [&ann, &cid] {
        person.events().await;
    }
    world.told().await;
    forward(&world, "ann").await;
    assert_eq!(names(&world, lobby()).await, ["ann"]);
    assert_eq!(names(&world, lounge()).await, ["ann", "cid"]);
    let told = cid.events().await;
    assert_eq!(subscribed(&told), [camera]);
    let copy = shown(&world, "ann").await;
    assert!(copy.kind_details.contains(&KindDetail::Forwarded));
    assert_eq!(copy.id, ann.joined.participant.id, "what it sends names it so");
    let commands = world.told().await;
    let home = ann.joined.room.id;
    assert!(
        commands
            .iter()
            .any(|command| matches!(command, Command::SetForwarded { track, source: Some(source), room }
        if *track == camera && source.home == home && *room == cid.joined.room.id)),
        "{commands:?}"
    );
    let events = ann.events().await;
    assert!(
        matches!(&events[..], [Event::Notice(Notice::FirstSubscriber { track })] if *track == camera),
        "all that it hears is that somebody receives it: {events:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn tracks_mutes_and_names_follow_and_tracks_that_go_are_taken_down() {
    let world = World::new();
    let (ann, cid) = (world.connect("ann").await, guest(&world, "cid").await);
    forward(&world, "ann").await;
    cid.events().await;
    world.told().await;
    let camera = ann.publish().await;
    assert_eq!(subscribed(&cid.events().await), [camera]);
    assert_eq!(forwarded(&world.told().await), [(camera, true)]);
    ann.ask(Request::Mute { track: camera, muted: true }).await;
    let change = MetadataChange { metadata: Some("new".to_owned()), ..MetadataChange::default() };
    ann.ask(Request::ChangeMetadata { request_id: 1, change }).await;
    seconds(1).await;
    let copy = shown(&world, "ann").await;
    assert!(copy.tracks[0].muted && copy.metadata == "new");
    let mutes = world.told().await.into_iter().filter_map(|command| match command {
        Command::SetMuted { room, muted, .. } => Some((room, muted)),
        _ => None,
    });
    let expected = [(ann.joined.room.id, true), (cid.joined.room.id, true)];
    assert_eq!(mutes.collect::<Vec<_>>(), expected);
    ann.ask(Request::Unpublish { track: camera }).await;
    quiet().await;
    assert_eq!(forwarded(&world.told().await), [(camera, false)]);
    assert!(shown(&world, "ann").await.tracks.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_track_that_is_muted_when_it_comes_is_so_there() {
    let world = World::new();
    let (ann, _cid) = (world.connect("ann").await, guest(&world, "cid").await);
    let camera = ann.publish().await;
    ann.ask(Request::Mute { track: camera, muted: true }).await;
    world.told().await;
    forward(&world, "ann").await;
    seconds(1).await;
    let commands = world.told().await;
    let at = commands.iter().position(|command| matches!(command, Command::SetForwarded { .. }));
    let later = &commands[at.expect("it is published there")..];
    assert!(
        later.iter().any(|command| matches!(command, Command::SetMuted { muted: true, .. })),
        "{later:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_publisher_sends_what_anybody_in_any_of_the_rooms_asks_for() {
    let world = World::new();
    let (ann, bob) = (world.connect("ann").await, world.connect("bob").await);
    let cid = guest(&world, "cid").await;
    let track = ann.publish().await;
    forward(&world, "ann").await;
    ann.events().await;
    let say = |room, highest| MediaEvent::WantedLayer { worker: 0, room, track, highest };
    let (here, there) = (bob.joined.room.id, cid.joined.room.id);
    for (room, highest, told) in [
        (here, None, vec![None]),
        (there, Some(1), vec![Some(1)]),
        (here, Some(0), vec![]),
        (here, Some(2), vec![Some(2)]),
        (there, None, vec![]),
        (here, None, vec![None]),
        (there, Some(2), vec![Some(2)]),
    ] {
        world.say(say(room, highest)).await;
        assert_eq!(asked_for(&ann.events().await), told, "{room:?} {highest:?}");
    }
    assert!(remove(&world, lounge(), "ann").await);
    assert_eq!(asked_for(&ann.events().await), [None], "there nobody wants anything any more");
}

#[tokio::test(start_paused = true)]
async fn what_it_says_to_everybody_is_heard_in_both_rooms_and_what_it_says_to_some_in_its_own() {
    let world = World::new();
    let (ann, bob) = (world.connect("ann").await, world.connect("bob").await);
    let cid = guest(&world, "cid").await;
    forward(&world, "ann").await;
    world.told().await;
    says(&ann, DataKind::Reliable, "1", DataTarget::default()).await;
    says(&ann, DataKind::Lossy, "2", DataTarget::default()).await;
    let private = DataTarget { identities: vec![Identity::new("cid")], ..DataTarget::default() };
    says(&ann, DataKind::Reliable, "3", private).await;
    says(&cid, DataKind::Reliable, "4", DataTarget::default()).await;
    let commands = world.told().await;
    assert_eq!(heard(&commands, cid.peer), ["1", "2"]);
    assert_eq!(heard(&commands, bob.peer), ["1", "2"]);
    assert!(heard(&commands, ann.peer).is_empty(), "she hears nothing of the other room");
}

#[tokio::test(start_paused = true)]
async fn packets_of_its_data_tracks_reach_those_in_the_other_room() {
    let world = World::new();
    let (ann, cid) = (world.connect("ann").await, guest(&world, "cid").await);
    cid.ask(publish(4, 1)).await;
    ann.ask(publish(5, 7)).await;
    forward(&world, "ann").await;
    subscribe(&cid, 5).await;
    quiet().await;
    world.told().await;
    send(&world, ann.peer, packet(7, "hello")).await;
    let commands = world.told().await;
    let expected = Bytes::from(packet(2, "hello"));
    assert_eq!(sent(&commands), [(cid.peer, &expected)]);
}

#[tokio::test(start_paused = true)]
async fn it_leaves_the_other_room_when_it_leaves_its_own() {
    let world = World::new();
    let (ann, cid) = (world.connect("ann").await, guest(&world, "cid").await);
    let track = ann.publish().await;
    forward(&world, "ann").await;
    cid.events().await;
    world.told().await;
    says(&ann, DataKind::Reliable, "bye", DataTarget::default()).await;
    ann.ask(Request::Leave(LeaveReason::ClientInitiated)).await;
    seconds(1).await;
    let commands = world.told().await;
    assert_eq!(heard(&commands, cid.peer), ["bye"], "what it said last is still heard");
    assert_eq!(forwarded(&commands), [(track, false)]);
    assert_eq!(gone(&cid.events().await), [LeaveReason::ClientInitiated]);
    assert_eq!(names(&world, lounge()).await, ["cid"]);
}

#[tokio::test(start_paused = true)]
async fn who_is_moved_is_not_shown_any_more_where_it_was() {
    let world = World::new();
    let (ann, bob) = (world.connect("ann").await, world.connect("bob").await);
    assert_eq!(forward_to(&world, "ann", "stage", true).await, Ok(()));
    let _moved = go(&world, &ann).await;
    seconds(1).await;
    assert!(names(&world, RoomName::new("stage")).await.is_empty());
    assert_eq!(names(&world, lounge()).await, ["ann"]);
    drop(bob);
}

#[tokio::test(start_paused = true)]
async fn removing_what_is_shown_ends_the_forwarding_alone_and_it_can_begin_again() {
    let world = World::new();
    let (ann, cid) = (world.connect("ann").await, guest(&world, "cid").await);
    let track = ann.publish().await;
    for _ in 0..40 {
        forward(&world, "ann").await;
        world.told().await;
        assert!(remove(&world, lounge(), "ann").await);
        assert_eq!(forwarded(&world.told().await), [(track, false)]);
        assert_eq!(names(&world, lounge()).await, ["cid"]);
    }
    assert_eq!(names(&world, lobby()).await, ["ann"]);
    assert_eq!(ann.closed().await, None);
    assert!(gone(&cid.events().await).contains(&LeaveReason::ParticipantRemoved));
    assert!(remove(&world, lobby(), "ann").await);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_other_room_ends_the_forwarding_alone() {
    let world = World::new();
    let ann = world.connect("ann").await;
    let track = ann.publish().await;
    forward(&world, "ann").await;
    world.told().await;
    let delete = |reply| AdminRequest::DeleteRoom { room: lounge(), reply };
    assert_eq!(world.handle.admin(delete).await, Ok(true));
    assert_eq!(forwarded(&world.told().await), [(track, false)]);
    assert_eq!(ann.closed().await, None);
    says(&ann, DataKind::Reliable, "to nobody", DataTarget::default()).await;
    forward(&world, "ann").await;
    assert_eq!(names(&world, lounge()).await, ["ann"], "in a new room of that name");
    seconds(400).await;
    assert_eq!(names(&world, lounge()).await, ["ann"], "which it holds open");
}

#[tokio::test(start_paused = true)]
async fn forwarding_twice_is_once_and_nothing_changes_when_it_cannot_be() {
    let world = World::new();
    let ann = world.connect("ann").await;
    assert_eq!(forward_to(&world, "nobody", "lounge", true).await, Err(AdminRefused::NoSuchParticipant));
    assert_eq!(world.rooms().await.len(), 1, "no room is made for nobody");
    assert_eq!(forward_to(&world, "ann", "lobby", true).await, Err(AdminRefused::SameRoom));
    assert_eq!(forward_to(&world, "ann", "lounge", false).await, Err(AdminRefused::NoDestination));
    let other = guest(&world, "ann").await;
    assert_eq!(forward_to(&world, "ann", "lounge", true).await, Err(AdminRefused::IdentityTaken));
    other.ask(Request::Leave(LeaveReason::ClientInitiated)).await;
    quiet().await;
    forward(&world, "ann").await;
    forward(&world, "ann").await;
    assert_eq!(names(&world, lounge()).await, ["ann"]);
    let options = RoomOptions { max_participants: Some(1), ..RoomOptions::default() };
    let create = |reply| AdminRequest::CreateRoom { room: RoomName::new("small"), options, reply };
    world.handle.admin(create).await.expect("control answers").expect("there is room");
    let bob = world.connect("bob").await;
    assert_eq!(forward_to(&world, "bob", "small", true).await, Ok(()));
    assert_eq!(forward_to(&world, "ann", "small", true).await, Err(AdminRefused::RoomFull));
    for number in 2..=16 {
        assert_eq!(forward_to(&world, "ann", &format!("room {number}"), true).await, Ok(()), "{number}");
    }
    assert_eq!(forward_to(&world, "ann", "one more", true).await, Err(AdminRefused::ForwardedTooOften));
    drop((ann, bob));
}

#[tokio::test(start_paused = true)]
async fn what_is_shown_is_changed_moved_and_forwarded_in_its_own_room_alone() {
    let world = World::new();
    let ann = world.connect("ann").await;
    let track = ann.publish().await;
    forward(&world, "ann").await;
    let (who, to) = (Identity::new("ann"), RoomName::new("elsewhere"));
    let refused = Some(AdminRefused::Elsewhere);
    let change = MetadataChange::default();
    let update = |reply| AdminRequest::UpdateParticipant {
        room: lounge(),
        identity: who.clone(),
        change,
        permissions: None,
        reply,
    };
    assert_eq!(world.handle.admin(update).await.expect("answers").err(), refused);
    let mute =
        |reply| AdminRequest::MuteTrack { room: lounge(), identity: who.clone(), track, muted: true, reply };
    assert_eq!(world.handle.admin(mute).await.expect("answers").err(), refused);
    let on = |reply| AdminRequest::ForwardParticipant {
        room: lounge(),
        identity: who.clone(),
        destination: to.clone(),
        create: true,
        reply,
    };
    assert_eq!(world.handle.admin(on).await.expect("answers").err(), refused);
    let go = |reply| AdminRequest::MoveParticipant {
        room: lounge(),
        identity: who.clone(),
        destination: to.clone(),
        create: true,
        reply,
    };
    assert_eq!(world.handle.admin(go).await.expect("answers").err(), refused);
}

#[tokio::test(start_paused = true)]
async fn who_joins_itself_takes_the_place_of_what_is_shown() {
    let world = World::new();
    let (ann, cid) = (world.connect("ann").await, guest(&world, "cid").await);
    let track = ann.publish().await;
    forward(&world, "ann").await;
    world.told().await;
    let own = guest(&world, "ann").await;
    assert_eq!(forwarded(&world.told().await), [(track, false)]);
    assert_eq!(shown(&world, "ann").await.id, own.joined.participant.id);
    assert_eq!((ann.closed().await, own.closed().await, cid.closed().await), (None, None, None));
}

#[tokio::test(start_paused = true)]
async fn its_tracks_cross_to_the_workers_of_the_other_room() {
    let world = World::with(Config { spread_at: 1, ..Config::default() }, 2);
    let ann = world.connect("ann").await;
    // As much to do here as there, so that the lounge begins on the other worker.
    let cid = guest(&world, "cid").await;
    let (near, far) = (ann.joined.worker.index, cid.joined.worker.index);
    assert_ne!(near, far);
    let track = ann.publish().await;
    forward(&world, "ann").await;
    cid.ask(Request::SetSections { peer: cid.peer, sections: sending(&[track]) }).await;
    quiet().await;
    let told = |worker: usize| -> Vec<Command> {
        std::iter::from_fn(|| world.workers[worker].try_recv().ok()).collect()
    };
    let (at_home, there) = (told(near), told(far));
    assert_eq!(forwarded(&at_home), [(track, true)]);
    assert!(forwarded(&there).is_empty());
    let room = cid.joined.room.id;
    assert!(at_home.iter().any(|command| matches!(command,
        Command::SetRelay { room: of, to, .. } if *of == room && *to == [far])));
    assert!(there.iter().any(|command| matches!(command,
        Command::SetRelayed { room: of, source: Some(source), .. } if *of == room && source.from == near)));
    // What is wanted on that worker is heard at home.
    world.say(MediaEvent::WantedLayer { worker: far, room, track, highest: Some(1) }).await;
    assert_eq!(asked_for(&ann.events().await), [Some(1)]);
}

#[tokio::test(start_paused = true)]
async fn who_sends_to_a_room_in_which_somebody_is_behind_waits_and_nothing_is_lost() {
    let world = World::new();
    let (ann, cid) = (world.connect("ann").await, guest(&world, "cid").await);
    forward(&world, "ann").await;
    let report = |backlog| world.say(MediaEvent::DataBacklog { peer: cid.peer, backlog });
    report(DataBacklog::Behind).await;
    quiet().await;
    world.told().await;
    let (mut got, mut paused) = (0, false);
    let mut look = async || {
        for command in world.told().await {
            match command {
                Command::SendData { peer, .. } if peer == cid.peer => got += 1,
                Command::PauseData { peer, paused: is } if peer == ann.peer => paused = is,
                _ => {}
            }
        }
        (got, paused)
    };
    let mut said = 0;
    while !look().await.1 && said < 1_000 {
        says(&ann, DataKind::Reliable, "x", DataTarget::default()).await;
        said += 1;
    }
    assert!((20..200).contains(&said), "she is not read any more after {said}");
    report(DataBacklog::CaughtUp).await;
    quiet().await;
    quiet().await;
    assert_eq!(look().await, (said, false), "all of it arrives, and she is read again");
}

#[tokio::test(start_paused = true)]
async fn who_receives_there_alone_may_ask_for_the_second_codec() {
    let world = World::new();
    let (ann, cid) = (world.connect("ann").await, guest(&world, "cid").await);
    let backup = base::model::Backup {
        codec: base::CodecKind::Vp8,
        policy: base::model::BackupPolicy::Simulcast,
        stream: None,
    };
    let camera = contract::session::PublishTrack {
        codec: base::CodecKind::Vp9,
        backup: Some(backup),
        ..super::world::camera()
    };
    ann.ask(Request::Publish(camera)).await;
    let track = ann.published().await.expect("allowed").id;
    let sections: Sections = receiving(Some(track));
    ann.ask(Request::SetSections { peer: ann.peer, sections }).await;
    ann.ask(Request::TrackNegotiated {
        track,
        mid: base::Mid::new(b"0").expect("a valid mid"),
        codec: base::CodecKind::Vp9,
        simulcast: false,
        sdp_cid: String::new(),
    })
    .await;
    forward(&world, "ann").await;
    ann.events().await;
    cid.ask(Request::NeedBackup { track }).await;
    let events = ann.events().await;
    assert!(events.iter().any(|event| matches!(event, Event::BackupNeeded { track: of } if *of == track)));
}

#[tokio::test(start_paused = true)]
async fn who_joins_its_own_room_anew_is_shown_on() {
    let world = World::with(Config { spread_at: 1, ..Config::default() }, 2);
    let (ann, cid) = (world.connect("ann").await, guest(&world, "cid").await);
    let old = ann.publish().await;
    forward(&world, "ann").await;
    cid.events().await;
    let again = world.connect("ann").await;
    assert_eq!(ann.closed().await, Some(LeaveReason::DuplicateIdentity));
    assert_eq!(shown(&world, "ann").await.id, again.joined.participant.id);
    let new = again.publish().await;
    seconds(1).await;
    let told = cid.events().await;
    assert_eq!((subscribed(&told), gone(&told)), (vec![new], vec![]), "to the others it never went");
    let own = again.joined.worker.index;
    let commands: Vec<Command> = std::iter::from_fn(|| world.workers[own].try_recv().ok()).collect();
    assert!(forwarded(&commands).contains(&(new, true)), "{commands:?}");
    let all = std::iter::from_fn(|| world.workers[ann.joined.worker.index].try_recv().ok());
    let commands: Vec<Command> = commands.into_iter().chain(all).collect();
    assert!(forwarded(&commands).contains(&(old, false)), "{commands:?}");
    says(&again, DataKind::Reliable, "it is me", DataTarget::default()).await;
    world
        .say(MediaEvent::WantedLayer { worker: own, room: cid.joined.room.id, track: new, highest: Some(1) })
        .await;
    assert_eq!(asked_for(&again.events().await), [Some(1)]);
    again.ask(Request::Leave(LeaveReason::ClientInitiated)).await;
    quiet().await;
    assert_eq!(names(&world, lounge()).await, ["cid"]);
}
