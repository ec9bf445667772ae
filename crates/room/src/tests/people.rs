//! Coming, going, being replaced, and what the others are told.

use std::collections::BTreeMap;
use std::time::Duration;

use base::model::{LeaveReason, MetadataChange, Notice, ParticipantKind, Permissions};
use base::{Identity, ParticipantId};

use super::scene::{Scene, everything, hidden};
use crate::{JoinRefused, Limits, fold_window, track_window};

#[test]
fn a_newcomer_gets_the_others_in_its_welcome_and_no_repetition() {
    let mut scene = Scene::new();
    scene.join("ann");
    let newcomer = scene.newcomer("bob");
    let bob = newcomer.id;
    let welcome = scene.enter(newcomer).expect("there is room");
    assert_eq!(welcome.others.len(), 1);
    assert_eq!(welcome.room.participants, 2);
    scene.quiet();
    assert_eq!(scene.told(bob), []);
}

#[test]
fn the_others_hear_of_an_arrival_and_of_the_departure() {
    let mut scene = Scene::new();
    let ann = scene.join("ann");
    scene.forget();
    let bob = scene.join("bob");
    scene.pass_ms(0);
    assert_eq!(scene.heard(ann), ["+bob"]);
    scene.quiet();
    scene.leave(bob);
    scene.pass_ms(0);
    assert_eq!(scene.heard(ann), ["-bob"]);
    assert_eq!(scene.heard(bob), ["+bob", "closed ClientInitiated"]);
}

#[test]
fn arrivals_in_a_burst_are_told_together() {
    let mut scene = Scene::new();
    let ann = scene.join("ann");
    scene.forget();
    for name in ["b", "c", "d", "e"] {
        scene.join(name);
        scene.pass_ms(1);
    }
    scene.quiet();
    assert_eq!(scene.heard(ann), ["+b", "+c +d +e"]);
}

#[test]
fn the_folding_windows_grow_with_the_room_and_end_at_three_seconds() {
    assert_eq!(fold_window(2), Duration::from_millis(10));
    assert_eq!(fold_window(100), Duration::from_millis(500));
    assert_eq!(fold_window(1_000), Duration::from_secs(1));
    assert_eq!(fold_window(2_000), Duration::from_secs(2));
    assert_eq!(fold_window(usize::MAX), Duration::from_secs(3));
    let windows: Vec<u128> = [10, 100, 1_000].map(|count| track_window(count).as_millis()).into();
    assert_eq!(windows, [10, 100, 200]);
}

#[test]
fn who_comes_and_goes_within_a_window_is_not_told_to_those_who_never_saw_it() {
    let mut scene = Scene::new();
    let ann = scene.join("ann");
    scene.forget();
    scene.join("burst");
    scene.pass_ms(0);
    let bob = scene.join("bob");
    let newcomer = scene.newcomer("cid");
    let cid = newcomer.id;
    let welcome = scene.enter(newcomer).expect("there is room");
    assert_eq!(welcome.others.len(), 3, "cid saw bob");
    scene.leave(bob);
    scene.quiet();
    assert_eq!(scene.heard(ann), ["+burst", "?cid"], "ann never heard of bob");
    assert_eq!(scene.heard(cid), ["-bob"]);
}

#[test]
fn a_session_of_the_same_identity_replaces_the_old_one_without_a_leave() {
    let mut scene = Scene::new();
    let ann = scene.join("ann");
    let old = scene.join("bob");
    scene.forget();
    let new = scene.join("bob");
    assert_eq!(scene.heard(old), ["closed DuplicateIdentity"]);
    scene.quiet();
    let told = scene.told(ann);
    let [Notice::Participants(bobs)] = &told[..] else { panic!("{told:?}") };
    assert_eq!((bobs[0].id, bobs.len()), (new, 1));
    assert_eq!(scene.room.find(&Identity::new("bob")), Some(new));
    assert_eq!(scene.room.participants().len(), 2);
}

#[test]
fn a_replaced_publisher_takes_its_tracks_with_it() {
    let mut scene = Scene::new();
    let ann = scene.join("ann");
    let old = scene.join("bob");
    scene.publish(old);
    scene.forget();
    scene.join("bob");
    assert_eq!(scene.heard(ann)[..2], ["unsubscribe", "?bob"], "told at once");
}

#[test]
fn a_replaced_session_does_not_count_against_the_limit() {
    let mut scene = Scene::limited(2);
    scene.join("ann");
    scene.join("bob");
    let third = scene.newcomer("cid");
    assert_eq!(scene.enter(third).err(), Some(JoinRefused::Full));
    let again = scene.newcomer("bob");
    assert!(scene.enter(again).is_ok());
}

#[test]
fn recorders_do_not_count_against_the_limit() {
    let mut scene = Scene::limited(1);
    scene.join("ann");
    scene.join_with("egress", |newcomer| newcomer.kind = ParticipantKind::Egress);
    assert_eq!(scene.room.participants().len(), 2);
}

#[test]
fn coming_back_before_the_departure_was_told_looks_like_a_replacement() {
    let mut scene = Scene::new();
    let ann = scene.join("ann");
    let bob = scene.join("bob");
    scene.forget();
    scene.join("burst");
    scene.pass_ms(0);
    scene.leave(bob);
    let bob = scene.join("bob");
    scene.quiet();
    assert_eq!(scene.heard(ann), ["+burst", "+bob"]);
    scene.leave(bob);
    scene.quiet();
    assert_eq!(scene.heard(ann), ["-bob"]);
}

#[test]
fn a_replacement_that_leaves_before_it_was_told_does_not_leave_a_ghost() {
    let mut scene = Scene::new();
    let ann = scene.join("ann");
    scene.join("bob");
    scene.forget();
    scene.join("burst");
    scene.pass_ms(0);
    let bob = scene.join("bob");
    scene.leave(bob);
    scene.quiet();
    assert_eq!(scene.heard(ann), ["+burst", "-bob"]);
}

#[test]
fn hidden_participants_are_told_to_nobody_but_themselves() {
    let mut scene = Scene::new();
    let ann = scene.join("ann");
    scene.forget();
    let ghost = scene.join_with("ghost", |newcomer| newcomer.permissions = hidden());
    scene.publish(ghost);
    scene.room.change_metadata(
        scene.now,
        ghost,
        MetadataChange { name: Some("boo".to_owned()), ..MetadataChange::default() },
    );
    scene.quiet();
    let welcome = {
        let newcomer = scene.newcomer("bob");
        scene.enter(newcomer).expect("there is room")
    };
    assert_eq!(welcome.others.len(), 1);
    assert_eq!(
        scene.heard(ghost),
        ["+ghost", "+ghost:1", "+ghost:1", "permissions"],
        "itself: active, publishing, renamed"
    );
    scene.leave(ghost);
    scene.quiet();
    assert_eq!(scene.heard(ann), ["?bob"]);
    assert_eq!(scene.room.info().participants, 2);
}

#[test]
fn who_never_becomes_active_is_removed_after_a_minute() {
    let mut scene = Scene::new();
    let ann = scene.join("ann");
    let newcomer = scene.newcomer("bob");
    let bob = newcomer.id;
    scene.enter(newcomer).expect("there is room");
    scene.pass(Duration::from_secs(59));
    assert!(scene.room.participant(bob).is_some());
    scene.pass(Duration::from_secs(1));
    assert!(scene.room.participant(bob).is_none());
    assert_eq!(scene.heard(bob), ["closed JoinFailure"]);
    assert!(scene.room.participant(ann).is_some());
}

#[test]
fn a_room_to_which_nobody_comes_ends() {
    let mut scene = Scene::new();
    scene.pass(Duration::from_secs(299));
    assert_eq!(scene.ended, None);
    scene.pass(Duration::from_secs(1));
    assert_eq!(scene.ended, Some(LeaveReason::RoomClosed));
    let late = scene.newcomer("ann");
    assert_eq!(scene.enter(late).err(), Some(JoinRefused::Ended));
}

#[test]
fn a_room_ends_some_time_after_the_last_one_left() {
    let mut scene = Scene::new();
    let ann = scene.join("ann");
    scene.pass(Duration::from_secs(1_000));
    scene.leave(ann);
    scene.pass(Duration::from_secs(19));
    assert_eq!(scene.ended, None);
    let ann = scene.join("ann");
    scene.pass(Duration::from_secs(100));
    assert_eq!(scene.ended, None);
    scene.leave(ann);
    scene.pass(Duration::from_secs(20));
    assert_eq!(scene.ended, Some(LeaveReason::RoomClosed));
}

#[test]
fn a_recorder_alone_does_not_keep_a_room_open() {
    let mut scene = Scene::new();
    let ann = scene.join("ann");
    let recorder =
        scene.join_with("rec", |newcomer| newcomer.permissions = Permissions { recorder: true, ..hidden() });
    assert!(scene.room.info().recording);
    scene.leave(ann);
    scene.pass(Duration::from_secs(20));
    assert_eq!(scene.ended, Some(LeaveReason::RoomClosed));
    assert_eq!(scene.heard(recorder).last().map(String::as_str), Some("closed RoomClosed"));
}

#[test]
fn closing_a_room_closes_everybody_and_nothing_follows() {
    let mut scene = Scene::new();
    let (ann, bob) = (scene.join("ann"), scene.join("bob"));
    scene.publish(ann);
    scene.forget();
    scene.room.close(LeaveReason::RoomDeleted);
    scene.quiet();
    assert_eq!(scene.heard(ann), ["closed RoomDeleted"]);
    assert_eq!(scene.heard(bob), ["closed RoomDeleted"]);
    assert_eq!(scene.ended, Some(LeaveReason::RoomDeleted));
    assert_eq!(scene.room.poll_timeout(), None);
}

#[test]
fn metadata_and_attributes_change_where_it_is_allowed() {
    let mut scene = Scene::new();
    let ann = scene.join("ann");
    let bob = scene.join_with("bob", |newcomer| {
        newcomer.permissions.update_own_metadata = false;
        newcomer.attributes = BTreeMap::from([("keep".to_owned(), "1".to_owned())]);
    });
    scene.forget();
    let attributes = BTreeMap::from([("hand".to_owned(), "up".to_owned())]);
    let change = MetadataChange { attributes, ..MetadataChange::default() };
    assert!(!scene.room.change_metadata(scene.now, bob, change.clone()));
    assert!(scene.room.change_metadata(scene.now, ann, change.clone()));
    assert!(scene.room.update_participant(scene.now, bob, change), "the server may");
    let lowered = BTreeMap::from([("hand".to_owned(), String::new())]);
    let change = MetadataChange { attributes: lowered, ..MetadataChange::default() };
    assert!(scene.room.change_metadata(scene.now, ann, change));
    scene.quiet();
    let attributes = |id: ParticipantId| scene.room.participant(id).expect("is there").attributes.clone();
    assert!(attributes(ann).is_empty());
    assert_eq!(attributes(bob).len(), 2);
    assert_eq!(scene.heard(bob), ["+bob", "permissions", "+ann"], "what its token says has changed");
}

#[test]
fn metadata_beyond_the_limit_is_refused_and_changes_nothing() {
    let mut scene = Scene::new();
    let ann = scene.join("ann");
    let most = Limits::default().metadata_bytes;
    let metadata = |bytes: usize| MetadataChange {
        metadata: Some("x".repeat(bytes)),
        attributes: BTreeMap::from([("k".to_owned(), "v".to_owned())]),
        name: None,
    };
    assert!(!scene.room.change_metadata(scene.now, ann, metadata(most - 1)));
    assert!(scene.room.participant(ann).expect("is there").metadata.is_empty());
    assert!(scene.room.change_metadata(scene.now, ann, metadata(most - 2)));
    let mut newcomer = scene.newcomer("bob");
    newcomer.metadata = "x".repeat(most + 1);
    assert_eq!(scene.enter(newcomer).err(), Some(JoinRefused::LimitExceeded));
    let mut newcomer = scene.newcomer(&"b".repeat(257));
    newcomer.name = String::new();
    assert_eq!(scene.enter(newcomer).err(), Some(JoinRefused::LimitExceeded));
}

#[test]
fn versions_grow_with_every_change_and_over_a_replacement() {
    let mut scene = Scene::new();
    let ann = scene.join("ann");
    let version = |scene: &Scene, id| scene.room.participant(id).expect("is there").version;
    let mut last = version(&scene, ann);
    for name in ["b", "c", "d"] {
        let change = MetadataChange { name: Some(name.to_owned()), ..MetadataChange::default() };
        scene.room.change_metadata(scene.now, ann, change);
        assert!(version(&scene, ann) > last);
        last = version(&scene, ann);
    }
    scene.publish(ann);
    assert!(version(&scene, ann) > last);
    let again = scene.join("ann");
    assert!(version(&scene, again) > last);
}

#[test]
fn the_room_tells_its_numbers_now_and_then_and_its_metadata_at_once() {
    let mut scene = Scene::new();
    let ann = scene.join("ann");
    scene.forget();
    for name in ["b", "c", "d"] {
        scene.join(name);
        scene.pass_ms(10);
    }
    scene.pass(Duration::from_secs(5));
    let numbers = |notices: Vec<Notice>| {
        let counts = notices.into_iter().filter_map(|notice| match notice {
            Notice::Room(info) => Some(info.participants),
            _ => None,
        });
        counts.collect::<Vec<_>>()
    };
    assert_eq!(numbers(scene.told(ann)), [2, 4]);
    assert!(scene.room.set_metadata(scene.now, "new".to_owned()));
    scene.pass_ms(0);
    assert_eq!(numbers(scene.told(ann)), [4]);
}

#[test]
fn a_room_takes_no_more_than_its_bound_whatever_kind_they_are() {
    let mut scene = Scene::with_limits(0, Limits { participants: 3, ..Limits::default() });
    for name in ["a", "b", "c"] {
        scene.join_with(name, |newcomer| newcomer.kind = ParticipantKind::Agent);
    }
    let newcomer = scene.newcomer("d");
    assert_eq!(scene.enter(newcomer).err(), Some(JoinRefused::Full));
}

#[test]
fn permissions_of_a_hidden_participant_do_not_make_it_visible() {
    let mut scene = Scene::new();
    let ghost = scene.join_with("ghost", |newcomer| newcomer.permissions = hidden());
    assert!(scene.room.set_permissions(scene.now, ghost, everything()));
    assert!(scene.room.participant(ghost).expect("is there").permissions.hidden);
}
