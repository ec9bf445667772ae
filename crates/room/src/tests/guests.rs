//! Participants of one room that another one shows, too.

use std::collections::BTreeMap;

use base::model::{KindDetail, LeaveReason, MetadataChange, Permissions, TrackSource};
use base::{Identity, ParticipantId, UnixMillis};

use super::scene::{Scene, data_track, everything, hidden, rooms};
use crate::{Guest, JoinRefused, MoveRefused};

fn guest(home: &Scene, id: ParticipantId) -> Guest {
    home.room.guest(id).expect("she is there")
}

fn admit(home: &Scene, other: &mut Scene, id: ParticipantId) {
    let taken = other.room.admit_guest(other.now, &guest(home, id), UnixMillis(7));
    assert_eq!(taken, Ok(()));
    other.settle();
}

fn update(home: &Scene, other: &mut Scene, id: ParticipantId) {
    other.room.update_guest(other.now, &guest(home, id));
    other.settle();
    other.quiet();
}

#[test]
fn it_is_seen_with_its_tracks_in_both_rooms_and_receives_in_its_own_alone() {
    let (mut home, mut other) = rooms();
    let (ann, bob) = (home.join("ann"), home.join("bob"));
    let track = home.publish(ann);
    let cid = other.join("cid");
    let theirs = other.publish(cid);
    home.forget();
    other.forget();
    other.happened.clear();
    admit(&home, &mut other, ann);
    other.quiet();
    let heard = other.heard(cid);
    assert_eq!(heard, ["+ann:1", "subscribe ann"]);
    assert!(other.room.is_subscribed(cid, track) && other.room.is_guest(ann));
    assert!(!other.room.is_subscribed(ann, theirs), "it hears nothing of this room");
    assert!(other.room.update_subscription(other.now, ann, &[theirs], true) == [theirs]);
    let shown = other.room.participant(ann).expect("shown");
    assert!(shown.kind_details.contains(&KindDetail::Forwarded));
    assert_eq!(shown.joined_at, UnixMillis(7));
    assert_eq!(other.room.addressed(&[], &[]), [cid], "nor is anything sent to it");
    assert_eq!(other.room.receivers(ann, &[], &[]), Some(vec![cid]), "while it may send");
    assert_eq!(other.happened.len(), 2, "it joined, and published a track: {:?}", other.happened);
    assert!(home.heard(bob).is_empty(), "at home nobody notices");
    assert!(!home.room.participant(ann).expect("there").kind_details.contains(&KindDetail::Forwarded));
}

#[test]
fn what_changes_at_home_changes_where_it_is_shown() {
    let (mut home, mut other) = rooms();
    let ann = home.join("ann");
    let (camera, cid) = (home.publish(ann), other.join("cid"));
    admit(&home, &mut other, ann);
    other.forget();
    let before = guest(&home, ann);
    assert!(guest(&home, ann).is_unchanged(&before));
    assert!(home.room.mute(home.now, ann, camera, true));
    assert!(!guest(&home, ann).is_unchanged(&before));
    update(&home, &mut other, ann);
    assert!(other.room.is_muted(camera));
    assert_eq!(other.muted, [(camera, true)], "its media is stopped");

    let microphone = home.ask_to_publish(ann, TrackSource::Microphone, false).expect("allowed");
    home.negotiate(ann, microphone);
    home.quiet();
    let attributes = BTreeMap::from([("hand".to_owned(), "up".to_owned())]);
    let change = MetadataChange { name: Some("Ann".to_owned()), metadata: Some("m".to_owned()), attributes };
    assert!(home.room.change_metadata(home.now, ann, change));
    let version = other.room.participant(ann).expect("shown").version;
    update(&home, &mut other, ann);
    let shown = other.room.participant(ann).expect("shown");
    assert_eq!((shown.name.as_str(), shown.metadata.as_str()), ("Ann", "m"));
    assert_eq!((shown.attributes["hand"].as_str(), shown.tracks.len()), ("up", 2));
    assert!(shown.version > version);
    assert!(other.room.is_subscribed(cid, microphone));

    home.room.unpublish(home.now, ann, camera);
    update(&home, &mut other, ann);
    assert!(other.room.publisher(camera).is_none() && !other.room.is_subscribed(cid, camera));
    let told = other.heard(cid);
    update(&home, &mut other, ann);
    assert!(other.heard(cid).is_empty(), "said again it is no news; before: {told:?}");
}

#[test]
fn who_is_still_connecting_is_shown_so_and_joins_here_when_it_does_at_home() {
    let (mut home, mut other) = rooms();
    let cid = other.join("cid");
    let newcomer = home.newcomer("ann");
    let ann = newcomer.id;
    home.enter(newcomer).expect("there is room");
    other.forget();
    admit(&home, &mut other, ann);
    other.quiet();
    assert_eq!(other.heard(cid), ["?ann"]);
    other.pass_ms(120_000);
    assert!(other.room.participant(ann).is_some(), "how long it may take is for its own room to say");
    other.happened.clear();
    home.room.activate(home.now, ann);
    update(&home, &mut other, ann);
    assert_eq!(other.heard(cid), ["+ann"]);
    assert_eq!(other.happened.len(), 1);
}

#[test]
fn whom_it_lets_receive_its_tracks_holds_here_too() {
    let (mut home, mut other) = rooms();
    let ann = home.join("ann");
    let (track, cid, eve) = (home.publish(ann), other.join("cid"), other.join("eve"));
    home.room.set_audience(home.now, ann, false, vec![(Identity::new("cid"), Vec::new())]);
    admit(&home, &mut other, ann);
    other.quiet();
    assert!(other.room.is_subscribed(cid, track) && !other.room.is_subscribed(eve, track));
    home.room.set_audience(home.now, ann, true, Vec::new());
    update(&home, &mut other, ann);
    assert!(other.room.is_subscribed(eve, track));
}

#[test]
fn its_data_tracks_come_and_go_under_handles_of_this_room() {
    let (mut home, mut other) = rooms();
    let ann = home.join("ann");
    let cid = other.join_with("cid", |newcomer| newcomer.auto_subscribe_data = true);
    other.room.publish_data_track(other.now, cid, data_track(902, 1)).expect("allowed");
    home.room.publish_data_track(home.now, ann, data_track(900, 7)).expect("allowed");
    admit(&home, &mut other, ann);
    other.quiet();
    let route = other.room.data_route(ann, 7).expect("by its own handle");
    assert_eq!((route.handle, route.receivers.iter().copied().collect::<Vec<_>>()), (2, vec![cid]));
    home.room.unpublish_data_track(home.now, ann, 7);
    home.room.publish_data_track(home.now, ann, data_track(901, 7)).expect("allowed");
    update(&home, &mut other, ann);
    assert_eq!(other.room.data_route(ann, 7).expect("another one").handle, 3);
}

#[test]
fn a_room_shows_nobody_whose_identity_is_taken_or_for_whom_there_is_no_place() {
    let (mut home, mut other) = (Scene::new(), Scene::limited(2));
    for _ in 0..20 {
        home.newcomer("nobody");
    }
    let ann = home.join("ann");
    let check =
        |home: &Scene, other: &Scene| other.room.check_guest(home.room.participant(ann).expect("there"));
    let taken = other.join("ann");
    assert_eq!(check(&home, &other), Err(MoveRefused::IdentityTaken));
    other.leave(taken);
    assert_eq!(check(&home, &other), Ok(false));
    admit(&home, &mut other, ann);
    assert_eq!(check(&home, &other), Ok(true), "it is here");
    let full = other.join("bob");
    let late = other.newcomer("cid");
    assert_eq!(other.enter(late).err(), Some(JoinRefused::Full), "it counts as anybody");
    other.leave(full);
    other.room.leave(other.now, ann, LeaveReason::ParticipantRemoved);
    other.pass_ms(21_000);
    assert_eq!(other.ended, Some(LeaveReason::RoomClosed), "and holds the room open no longer");
    let refused = other.room.admit_guest(other.now, &guest(&home, ann), UnixMillis(0));
    assert_eq!(refused, Err(MoveRefused::Join(JoinRefused::Ended)));
}

#[test]
fn who_joins_itself_takes_the_place_of_what_is_shown_of_it() {
    let (mut home, mut other) = rooms();
    let (ann, cid) = (home.join("ann"), other.join("cid"));
    home.publish(ann);
    admit(&home, &mut other, ann);
    other.forget();
    let own = other.join("ann");
    assert_eq!(other.heard(ann).last().map(String::as_str), Some("closed DuplicateIdentity"));
    assert_eq!(other.room.find(&Identity::new("ann")), Some(own));
    other.quiet();
    assert!(!other.heard(cid).iter().any(|told| told.contains('-')), "to the others it never went");
    other.room.update_guest(other.now, &guest(&home, ann));
    assert!(other.room.participant(ann).is_none(), "what is said of it later comes too late");
}

#[test]
fn a_guest_is_shown_no_further_and_nobody_hears_of_a_hidden_one() {
    let (mut home, mut other) = rooms();
    let ann = home.join("ann");
    admit(&home, &mut other, ann);
    assert!(other.room.guest(ann).is_none());
    let ghost = home.join_with("ghost", |newcomer| newcomer.permissions = hidden());
    let track = home.publish(ghost);
    let cid = other.join("cid");
    other.forget();
    admit(&home, &mut other, ghost);
    other.quiet();
    assert!(other.heard(cid).is_empty() && !other.room.is_subscribed(cid, track));
    assert!(other.room.participant(ghost).is_some());
    let quiet = Permissions { publish_data: false, ..everything() };
    home.room.set_permissions(home.now, ann, quiet);
    update(&home, &mut other, ann);
    assert_eq!(other.room.receivers(ann, &[], &[]), None, "what it may not at home, it may not here");
}
