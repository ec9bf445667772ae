//! Participants that go on in another room.

use base::model::{LeaveReason, TrackSource};
use base::{ParticipantId, TrackId, UnixMillis};

use super::scene::{Scene, data_track, hidden, rooms};
use crate::{JoinRefused, Limits, MoveRefused};

fn cross(old: &mut Scene, new: &mut Scene, id: ParticipantId) {
    let mover = old.room.move_out(old.now, id).expect("she is there");
    old.settle();
    let taken = new.room.move_in(new.now, mover, UnixMillis(7));
    assert!(taken.is_ok_and(|welcome| welcome.participant.joined_at == UnixMillis(7)));
    new.settle();
}

#[test]
fn to_the_one_room_it_is_a_departure_and_to_the_other_an_arrival_with_tracks() {
    let (mut old, mut new) = rooms();
    let (ann, bob) = (old.join("ann"), old.join("bob"));
    let cid = new.join("cid");
    let track = old.publish(ann);
    let muted = old.ask_to_publish(ann, TrackSource::Microphone, true).expect("allowed");
    old.negotiate(ann, muted);
    for scene in [&mut old, &mut new] {
        scene.forget();
        scene.happened.clear();
    }
    let version = old.room.participant(ann).expect("there").version;
    cross(&mut old, &mut new, ann);
    assert_eq!(old.heard(bob).last().map(String::as_str), Some("-ann"));
    assert!(old.room.find(&base::Identity::new("ann")).is_none() && old.room.publisher(track).is_none());
    let heard = new.heard(cid);
    assert_eq!(heard[0], "+ann:2", "named before they are subscribed: {heard:?}");
    assert!(new.room.is_subscribed(cid, track) && new.room.is_muted(muted));
    assert!(new.room.participant(ann).expect("there").version > version);
    assert_eq!((old.room.info().participants, new.room.info().participants), (1, 2));
    assert_eq!((old.room.info().publishers, new.room.info().publishers), (0, 1));
    assert_eq!((old.happened.len(), new.happened.len()), (3, 3), "two tracks and a person went and came");
}

#[test]
fn what_it_received_and_wished_for_stays_behind() {
    let (mut old, mut new) = rooms();
    let (ann, bob) = (old.join("ann"), old.join("bob"));
    let theirs = old.publish(bob);
    let cid = new.join("cid");
    let new_one = new.publish(cid);
    old.forget();
    cross(&mut old, &mut new, ann);
    assert!(
        old.heard(ann).iter().any(|told| told.contains("unsub") || told.starts_with('-')),
        "told of {theirs}"
    );
    assert_eq!(new.room.subscriptions(ann).collect::<Vec<_>>(), [new_one]);
}

#[test]
fn data_tracks_go_along_under_a_handle_of_the_new_room() {
    let (mut old, mut new) = rooms();
    let (ann, bob) = (old.join("ann"), old.join("bob"));
    let cid = new.join_with("cid", |newcomer| newcomer.auto_subscribe_data = true);
    old.room.publish_data_track(old.now, ann, data_track(900, 7)).expect("allowed");
    old.room.publish_data_track(old.now, bob, data_track(901, 7)).expect("allowed");
    old.room.update_data_subscription(ann, &[(TrackId(901), true)]);
    new.room.publish_data_track(new.now, cid, data_track(902, 1)).expect("allowed");
    old.settle();
    old.forget();
    cross(&mut old, &mut new, ann);
    assert_eq!(old.heard(ann), ["handles"], "it receives none of them any more");
    assert!(old.room.data_route(ann, 7).is_none());
    let route = new.room.data_route(ann, 7).expect("its own handle goes on");
    assert_eq!((route.handle, route.receivers.iter().copied().collect::<Vec<_>>()), (2, vec![cid]));
}

#[test]
fn a_room_takes_nobody_whose_identity_is_taken_or_for_whom_there_is_no_place() {
    let (mut old, mut new) = (Scene::new(), Scene::limited(1));
    let ann = old.join("ann");
    let check = |scene: &Scene| scene.room.check_move(old.room.participant(ann).expect("there"));
    let other = new.join("ann");
    assert_eq!(check(&new), Err(MoveRefused::IdentityTaken));
    new.leave(other);
    new.join("bob");
    assert_eq!(check(&new), Err(MoveRefused::Join(JoinRefused::Full)));
    let mut small = Scene::with_limits(0, Limits { tracks: 0, ..Limits::default() });
    assert_eq!(check(&small), Ok(()));
    small.room.close(LeaveReason::RoomDeleted);
    assert_eq!(check(&small), Err(MoveRefused::Join(JoinRefused::Ended)));
    let mover = old.room.move_out(old.now, ann).expect("she is there");
    let refused = new.room.move_in(new.now, mover, UnixMillis(0)).err().map(|(refused, mover)| {
        assert_eq!(mover.participant().id, ann, "she comes back");
        refused
    });
    assert_eq!(refused, Some(MoveRefused::Join(JoinRefused::Full)));
}

#[test]
fn nobody_hears_of_a_hidden_one_that_moves() {
    let (mut old, mut new) = rooms();
    let ghost = old.join_with("ghost", |newcomer| newcomer.permissions = hidden());
    let (bob, cid) = (old.join("bob"), new.join("cid"));
    old.forget();
    new.forget();
    cross(&mut old, &mut new, ghost);
    assert!(old.heard(bob).is_empty() && new.heard(cid).is_empty());
    assert!(new.room.participant(ghost).is_some());
}
