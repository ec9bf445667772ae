//! What the server API changes, and who is told.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::model::{DataKind, LeaveReason, MetadataChange, Notice, Participant, Permissions, RoomInfo, Track};
use base::{Identity, TrackId};
use bytes::Bytes;
use contract::media::Command;
use contract::session::{
    AdminRefused, AdminRequest, DataTarget, Event, JoinError, Request, RoomOptions, RpcFailure, Unanswered,
};

use super::world::{World, join, lobby, quiet, seconds, sending, sent_tracks};
use crate::Config;

async fn create(world: &World, options: RoomOptions) -> Result<RoomInfo, AdminRefused> {
    let call = |reply| AdminRequest::CreateRoom { room: lobby(), options, reply };
    world.handle.admin(call).await.expect("control answers")
}

async fn get(world: &World, identity: &str) -> Result<Arc<Participant>, AdminRefused> {
    let identity = Identity::new(identity);
    let call = |reply| AdminRequest::GetParticipant { room: lobby(), identity, reply };
    world.handle.admin(call).await.expect("control answers")
}

async fn mute(world: &World, identity: &str, track: TrackId, muted: bool) -> Result<Track, AdminRefused> {
    let identity = Identity::new(identity);
    let call = |reply| AdminRequest::MuteTrack { room: lobby(), identity, track, muted, reply };
    world.handle.admin(call).await.expect("control answers")
}

async fn update(
    world: &World,
    identity: &str,
    change: MetadataChange,
    permissions: Option<Permissions>,
) -> Result<Arc<Participant>, AdminRefused> {
    let identity = Identity::new(identity);
    let call =
        |reply| AdminRequest::UpdateParticipant { room: lobby(), identity, change, permissions, reply };
    world.handle.admin(call).await.expect("control answers")
}

async fn subscribe(
    world: &World,
    identity: &str,
    track: TrackId,
    subscribe: bool,
) -> Result<(), AdminRefused> {
    let (identity, tracks) = (Identity::new(identity), vec![track]);
    let call =
        |reply| AdminRequest::UpdateSubscriptions { room: lobby(), identity, tracks, subscribe, reply };
    world.handle.admin(call).await.expect("control answers")
}

async fn send(world: &World, target: DataTarget, payload: Bytes) -> Result<(), AdminRefused> {
    let kind = DataKind::Reliable;
    let call =
        |reply| AdminRequest::SendData { room: lobby(), kind, target, payload, nonce: Vec::new(), reply };
    world.handle.admin(call).await.expect("control answers")
}

async fn set_metadata(world: &World, metadata: String) -> Result<RoomInfo, AdminRefused> {
    let call = |reply| AdminRequest::SetRoomMetadata { room: lobby(), metadata, reply };
    world.handle.admin(call).await.expect("control answers")
}

fn metadata(text: &str) -> MetadataChange {
    MetadataChange { metadata: Some(text.to_owned()), ..MetadataChange::default() }
}

#[tokio::test(start_paused = true)]
async fn a_room_is_made_as_asked_and_one_that_is_there_stays_as_it_is() {
    let world = World::new();
    let options = RoomOptions {
        empty_timeout_s: Some(7),
        max_participants: Some(1),
        metadata: "topic".to_owned(),
        ..RoomOptions::default()
    };
    let made = create(&world, options).await.expect("there is room");
    assert_eq!((made.empty_timeout_s, made.departure_timeout_s, made.max_participants), (7, 20, 1));
    assert_eq!(world.rooms().await, std::slice::from_ref(&made), "at once");
    let _ann = world.join("ann").await;
    assert!(world.try_join(join("bob")).await.is_err(), "one and no more");
    let other = RoomOptions { metadata: "another".to_owned(), ..RoomOptions::default() };
    let again = create(&world, other).await.expect("it is there");
    assert_eq!((again.id, again.metadata.as_str(), again.participants), (made.id, "topic", 1));
}

#[tokio::test(start_paused = true)]
async fn a_room_that_a_join_makes_is_made_as_its_token_says_and_one_that_is_there_stays_as_it_is() {
    let world = World::new();
    let as_told = |identity, metadata: &str| {
        let options =
            RoomOptions { max_participants: Some(2), metadata: metadata.to_owned(), ..Default::default() };
        contract::session::Join { options, ..join(identity) }
    };
    let too_large = as_told("ann", &"x".repeat(65_537));
    assert_eq!(world.handle.check_join(too_large.clone()).await, Err(JoinError::LimitExceeded));
    assert_eq!(world.try_join(too_large).await.err(), Some(JoinError::LimitExceeded));
    assert!(world.rooms().await.is_empty(), "nothing is made of what is refused");
    let ann = world.join_with(as_told("ann", "first")).await;
    assert_eq!((ann.joined.room.metadata.as_str(), ann.joined.room.max_participants), ("first", 2));
    let bob = world.join_with(as_told("bob", "second")).await;
    assert_eq!(bob.joined.room.metadata, "first");
    assert!(world.try_join(as_told("cid", "third")).await.is_err(), "two and no more");
}

#[tokio::test(start_paused = true)]
async fn a_made_room_waits_for_its_first_participant_as_long_as_asked() {
    let world = World::new();
    let options = RoomOptions { empty_timeout_s: Some(7), ..RoomOptions::default() };
    create(&world, options).await.expect("there is room");
    seconds(6).await;
    assert_eq!(world.rooms().await.len(), 1);
    seconds(2).await;
    assert!(world.rooms().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn no_room_is_made_beyond_the_limits_or_by_a_server_that_stops() {
    let world = World::with(Config { max_rooms: 0, ..Config::default() }, 1);
    assert_eq!(create(&world, RoomOptions::default()).await, Err(AdminRefused::Unavailable));
    let world = World::new();
    let options = RoomOptions { metadata: "x".repeat(65_537), ..RoomOptions::default() };
    assert_eq!(create(&world, options).await, Err(AdminRefused::LimitExceeded));
    let room = base::RoomName::new("x".repeat(257).as_str());
    let call = |reply| AdminRequest::CreateRoom { room, options: RoomOptions::default(), reply };
    assert_eq!(world.handle.admin(call).await, Ok(Err(AdminRefused::LimitExceeded)));
    world.control.shutdown().await;
    assert_eq!(create(&world, RoomOptions::default()).await, Err(AdminRefused::Unavailable));
}

#[tokio::test(start_paused = true)]
async fn one_participant_is_told_by_identity_also_a_hidden_one() {
    let world = World::new();
    assert_eq!(get(&world, "ann").await, Err(AdminRefused::NoSuchRoom));
    let ann = world.join("ann").await;
    let mut ghost = join("ghost");
    ghost.permissions.hidden = true;
    let _ghost = world.join_with(ghost).await;
    assert_eq!(get(&world, "ann").await.map(|ann| ann.id), Ok(ann.joined.participant.id));
    assert!(get(&world, "ghost").await.is_ok());
    assert_eq!(get(&world, "bob").await, Err(AdminRefused::NoSuchParticipant));
}

#[tokio::test(start_paused = true)]
async fn a_muted_track_is_not_forwarded_and_its_publisher_is_asked_to_mute() {
    let world = World::new();
    let (ann, bob) = (world.connect("ann").await, world.connect("bob").await);
    let track = ann.publish().await;
    world.told().await;
    bob.notices().await;
    assert!(mute(&world, "ann", track, true).await.is_ok_and(|track| track.muted));
    assert!(get(&world, "ann").await.is_ok_and(|ann| ann.tracks[0].muted), "in the next answer");
    assert!(matches!(world.told().await[..], [Command::SetMuted { muted: true, .. }]));
    let asked = |notice: &Notice| matches!(notice, Notice::MuteRequested { muted: true, .. });
    assert!(ann.notices().await.iter().any(asked));
    seconds(1).await;
    assert!(matches!(&bob.notices().await[..], [Notice::Participants(told)] if told[0].tracks[0].muted));
    assert_eq!(mute(&world, "ann", track, false).await, Err(AdminRefused::UnmuteDisabled));
    assert_eq!(mute(&world, "ann", TrackId(9), true).await, Err(AdminRefused::NoSuchTrack));
    assert_eq!(mute(&world, "bob", track, true).await, Err(AdminRefused::NoSuchTrack), "it is ann's");
    assert_eq!(mute(&world, "cid", track, true).await, Err(AdminRefused::NoSuchParticipant));
}

#[tokio::test(start_paused = true)]
async fn a_publisher_is_asked_to_unmute_only_where_that_is_switched_on() {
    let world = World::with(Config { remote_unmute: true, ..Config::default() }, 1);
    let ann = world.connect("ann").await;
    let track = ann.publish().await;
    mute(&world, "ann", track, true).await.expect("it is hers");
    ann.notices().await;
    assert!(mute(&world, "ann", track, false).await.is_ok_and(|track| track.muted), "until she does it");
    assert!(matches!(ann.notices().await[..], [Notice::MuteRequested { muted: false, .. }]));
}

#[tokio::test(start_paused = true)]
async fn an_update_of_a_participant_is_carried_out_whole_or_not_at_all() {
    let world = World::new();
    let ann = world.join("ann").await;
    ann.notices().await;
    let nothing = Some(Permissions::default());
    let too_large = metadata(&"x".repeat(65_537));
    assert_eq!(update(&world, "ann", too_large, nothing.clone()).await, Err(AdminRefused::LimitExceeded));
    assert!(ann.notices().await.is_empty());
    let attributes = BTreeMap::from([("seat".to_owned(), "7".to_owned())]);
    let change = MetadataChange { name: Some("Ann B".to_owned()), attributes, ..metadata("new") };
    let now = update(&world, "ann", change, nothing).await.expect("she is there");
    assert_eq!((now.name.as_str(), now.metadata.as_str(), now.attributes.len()), ("Ann B", "new", 1));
    assert!(!now.permissions.publish && !now.permissions.subscribe);
    assert_eq!(get(&world, "ann").await, Ok(now));
    let told = ann.notices().await;
    assert!(told.iter().any(|notice| matches!(notice, Notice::PermissionsChanged)), "{told:?}");
    assert_eq!(update(&world, "bob", metadata("x"), None).await, Err(AdminRefused::NoSuchParticipant));
}

#[tokio::test(start_paused = true)]
async fn a_participant_that_may_not_publish_any_more_feeds_nothing() {
    let world = World::new();
    let ann = world.connect("ann").await;
    let track = ann.publish().await;
    world.told().await;
    let viewer = Permissions { subscribe: true, ..Permissions::default() };
    let now = update(&world, "ann", MetadataChange::default(), Some(viewer)).await.expect("she is there");
    assert!(now.tracks.is_empty());
    assert_eq!(world.rooms().await[0].publishers, 0, "in the next list");
    assert_eq!(super::world::fed_tracks(&world.told().await, ann.peer), Some(vec![None]));
    let removed = |notice: &Notice| *notice == Notice::TrackRemoved { track };
    assert!(ann.notices().await.iter().any(removed));
}

#[tokio::test(start_paused = true)]
async fn the_server_subscribes_and_unsubscribes_as_a_client_does() {
    let world = World::new();
    let (ann, bob) = (world.connect("ann").await, world.connect("bob").await);
    let track = ann.publish().await;
    bob.ask(Request::SetSections { peer: bob.peer, sections: sending(&[track]) }).await;
    world.told().await;
    bob.events().await;
    assert_eq!(subscribe(&world, "bob", track, false).await, Ok(()));
    assert_eq!(sent_tracks(&world.told().await, bob.peer), Some(vec![]));
    assert_eq!(bob.notices().await, [Notice::Unsubscribe { track }]);
    assert_eq!(subscribe(&world, "bob", track, true).await, Ok(()));
    assert!(matches!(bob.notices().await[..], [Notice::Subscribe { .. }]));
    assert_eq!(subscribe(&world, "bob", TrackId(9), true).await, Ok(()));
    assert!(matches!(bob.events().await[..], [Event::SubscriptionRefused { track: TrackId(9) }]));
    assert_eq!(subscribe(&world, "cid", track, true).await, Err(AdminRefused::NoSuchParticipant));
}

#[tokio::test(start_paused = true)]
async fn data_of_the_server_reaches_those_that_are_named_or_everybody() {
    let world = World::new();
    let target = DataTarget::default();
    assert_eq!(send(&world, target.clone(), Bytes::from_static(b"x")).await, Err(AdminRefused::NoSuchRoom));
    let (ann, bob, cid) =
        (world.connect("ann").await, world.connect("bob").await, world.connect("cid").await);
    world.told().await;
    let receivers = |commands: Vec<Command>| -> Vec<base::PeerId> {
        let data = commands.into_iter().filter_map(|command| match command {
            Command::SendData { peer, .. } => Some(peer),
            _ => None,
        });
        data.collect()
    };
    assert_eq!(send(&world, target.clone(), Bytes::from_static(b"x")).await, Ok(()));
    assert_eq!(receivers(world.told().await).len(), 3);
    let named = DataTarget {
        identities: vec![Identity::new("ann"), Identity::new("nobody")],
        participants: vec![cid.joined.participant.id],
        metrics: false,
    };
    assert_eq!(send(&world, named, Bytes::from_static(b"x")).await, Ok(()));
    let (mut told, mut wanted) = (receivers(world.told().await), [ann.peer, cid.peer]);
    told.sort();
    wanted.sort();
    assert_eq!(told, wanted);
    let absent = DataTarget { identities: vec![Identity::new("nobody")], ..DataTarget::default() };
    assert_eq!(send(&world, absent, Bytes::from_static(b"x")).await, Ok(()));
    assert!(world.told().await.is_empty(), "nobody is not everybody");
    let large = Bytes::from(vec![0; 65_536]);
    assert_eq!(send(&world, target, large).await, Err(AdminRefused::LimitExceeded));
    assert!(bob.notices().await.iter().all(|notice| !matches!(notice, Notice::Closed(_))));
}

#[tokio::test(start_paused = true)]
async fn metadata_of_a_room_is_told_at_once_and_in_the_next_list() {
    let world = World::new();
    assert_eq!(set_metadata(&world, "new".to_owned()).await, Err(AdminRefused::NoSuchRoom));
    let ann = world.join("ann").await;
    ann.notices().await;
    let now = set_metadata(&world, "new".to_owned()).await.expect("there is a room");
    assert_eq!(now.metadata, "new");
    assert_eq!(world.rooms().await[0].metadata, "new");
    assert_eq!(ann.notices().await, [Notice::Room(now)]);
    assert_eq!(set_metadata(&world, "x".repeat(65_537)).await, Err(AdminRefused::LimitExceeded));
}

fn rpc(
    world: &World,
    identity: &'static str,
    id: &'static str,
) -> tokio::task::JoinHandle<Result<Result<String, RpcFailure>, Unanswered>> {
    let handle = world.handle.clone();
    let payload = Bytes::from_static(b"call");
    let call = move |reply| AdminRequest::PerformRpc {
        room: lobby(),
        identity: Identity::new(identity),
        id: id.to_owned(),
        payload,
        reply,
    };
    tokio::spawn(async move { handle.admin(call).await })
}

fn answer(id: &str) -> Request {
    Request::RpcAnswer { id: id.to_owned(), outcome: Ok("result".to_owned()) }
}

#[tokio::test(start_paused = true)]
async fn a_procedure_call_is_answered_by_whom_it_was_made_to_and_nobody_else() {
    let world = World::new();
    let (ann, bob) = (world.connect("ann").await, world.connect("bob").await);
    world.told().await;
    let call = rpc(&world, "ann", "1");
    let told = world.told().await;
    assert!(matches!(told[..], [Command::SendData { peer, .. }] if peer == ann.peer), "{told:?}");
    bob.ask(answer("1")).await;
    ann.ask(answer("2")).await;
    quiet().await;
    assert!(!call.is_finished(), "not bob's, and not another");
    ann.ask(answer("1")).await;
    ann.ask(answer("1")).await;
    assert_eq!(call.await.expect("it ran"), Ok(Ok("result".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn a_procedure_call_to_nobody_or_to_who_leaves_ends_with_the_reason() {
    let world = World::new();
    let refused = |refused| Ok(Err(RpcFailure::Refused(refused)));
    assert_eq!(rpc(&world, "ann", "1").await.expect("ran"), refused(AdminRefused::NoSuchRoom));
    let ann = world.connect("ann").await;
    assert_eq!(rpc(&world, "bob", "1").await.expect("ran"), refused(AdminRefused::NoSuchParticipant));
    let call = rpc(&world, "ann", "1");
    quiet().await;
    ann.ask(Request::Leave(LeaveReason::ClientInitiated)).await;
    assert_eq!(call.await.expect("it ran"), Ok(Err(RpcFailure::Left)));
}

#[tokio::test(start_paused = true)]
async fn procedure_calls_that_wait_are_bounded_and_those_given_up_do_not_count() {
    let world = World::new();
    let _ann = world.connect("ann").await;
    let calls: Vec<_> = (0..1_000)
        .map(|n| {
            let id: &'static str = Box::leak(n.to_string().into_boxed_str());
            rpc(&world, "ann", id)
        })
        .collect();
    quiet().await;
    assert_eq!(rpc(&world, "ann", "more").await.expect("it ran"), Err(Unanswered::Busy));
    calls.iter().for_each(|call| call.abort());
    quiet().await;
    let call = rpc(&world, "ann", "again");
    quiet().await;
    assert!(!call.is_finished(), "it waits for its answer");
}

#[tokio::test(start_paused = true)]
async fn a_message_whose_call_is_repeated_is_sent_once() {
    let world = World::new();
    let ann = world.connect("ann").await;
    world.told().await;
    let send = async |nonce: &[u8]| {
        let (nonce, payload) = (nonce.to_vec(), Bytes::from_static(b"hello"));
        let (kind, target) = (DataKind::Reliable, DataTarget::default());
        let call = |reply| AdminRequest::SendData { room: lobby(), kind, target, payload, nonce, reply };
        world.handle.admin(call).await.expect("control answers")
    };
    assert_eq!(send(b"one").await, Ok(()));
    assert_eq!(send(b"one").await, Ok(()), "the caller did not hear the first answer");
    assert_eq!(send(b"two").await, Ok(()));
    assert_eq!(send(&[0; 65]).await, Err(AdminRefused::LimitExceeded));
    let sent = world.told().await;
    let sent =
        sent.iter().filter(|command| matches!(command, Command::SendData { peer, .. } if *peer == ann.peer));
    assert_eq!(sent.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn who_is_removed_comes_in_again_with_a_new_token_if_the_old_ones_were_revoked() {
    let world = World::new();
    let (_ann, _bob) = (world.join("ann").await, world.join("bob").await);
    let remove = async |revoke_before_s| {
        let identity = Identity::new("ann");
        let call =
            |reply| AdminRequest::RemoveParticipant { room: lobby(), identity, revoke_before_s, reply };
        world.handle.admin(call).await.expect("control answers")
    };
    let with = |issued_s| contract::session::Join { issued_s, ..join("ann") };
    assert!(remove(0).await);
    let _again = world.join_with(with(50)).await;
    assert!(remove(100).await);
    assert_eq!(world.handle.check_join(with(99)).await, Err(JoinError::Revoked));
    assert_eq!(world.try_join(with(99)).await.err(), Some(JoinError::Revoked));
    assert_eq!(world.count("stoa_joins_total", "revoked"), 1);
    let _back = world.join_with(with(100)).await;
    let _other = world.join_with(contract::session::Join { issued_s: 1, ..join("cid") }).await;
}
