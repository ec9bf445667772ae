//! Data tracks: who may have them, and in which order it is told.

use base::model::{DataTrack, Encryption, Permissions};
use base::{Identity, ParticipantId, TrackId};

use super::scene::{Scene, everything, hidden};
use crate::{DataTrackRefused, Limits};

fn data_track(handle: u16, name: &str) -> DataTrack {
    DataTrack {
        id: TrackId(1_000 + u64::from(handle)),
        handle,
        name: name.to_owned(),
        encryption: Encryption::None,
        encoding: None,
        schema: None,
    }
}

fn publish(scene: &mut Scene, id: ParticipantId, handle: u16) -> Result<TrackId, DataTrackRefused> {
    let track = data_track(handle, &format!("track {handle}"));
    let published = scene.room.publish_data_track(scene.now, id, track);
    scene.settle();
    published.map(|track| track.id)
}

fn want(scene: &mut Scene, id: ParticipantId, track: TrackId, wanted: bool) {
    scene.room.update_data_subscription(id, &[(track, wanted)]);
    scene.settle();
}

fn receivers(scene: &Scene, id: ParticipantId, handle: u16) -> Option<(u16, Vec<ParticipantId>)> {
    let route = scene.room.data_route(id, handle)?;
    Some((route.handle, route.receivers.iter().copied().collect()))
}

#[test]
fn a_data_track_is_announced_at_once_and_received_by_who_asks_for_it() {
    let mut scene = Scene::new();
    let (ann, bob, cid) = (scene.join("ann"), scene.join("bob"), scene.join("cid"));
    scene.forget();
    let track = publish(&mut scene, ann, 7).expect("allowed");
    assert_eq!(scene.heard(bob), ["+ann:1"], "without time passing, and nothing is subscribed by itself");
    assert_eq!(scene.heard(ann), ["+ann:1"]);
    assert_eq!(receivers(&scene, ann, 7), Some((1, vec![])));
    want(&mut scene, bob, track, true);
    assert_eq!(scene.heard(bob), ["handles 1=ann"]);
    want(&mut scene, bob, track, true);
    assert!(scene.heard(bob).is_empty(), "no news");
    assert_eq!(receivers(&scene, ann, 7), Some((1, vec![bob])));
    want(&mut scene, bob, track, false);
    assert_eq!(scene.heard(bob), ["handles"]);
    assert_eq!(scene.heard(cid), ["+ann:1"]);
    assert_eq!(scene.room.info().publishers, 1);
}

#[test]
fn who_wants_all_data_tracks_gets_those_that_are_there_and_those_that_come() {
    let mut scene = Scene::new();
    let ann = scene.join("ann");
    let first = publish(&mut scene, ann, 1).expect("allowed");
    let eve = scene.join_with("eve", |eve| eve.auto_subscribe_data = true);
    assert_eq!(scene.heard(eve)[0], "handles 1=ann", "its welcome named the track");
    publish(&mut scene, ann, 2).expect("allowed");
    assert_eq!(scene.heard(eve), ["+ann:2", "handles 1=ann 2=ann"], "all of them, each time");
    want(&mut scene, eve, first, false);
    assert_eq!(scene.heard(eve), ["handles 2=ann"]);
}

#[test]
fn a_data_track_that_goes_closes_its_handle_before_it_is_no_longer_named() {
    let mut scene = Scene::new();
    let ann = scene.join("ann");
    let eve = scene.join_with("eve", |eve| eve.auto_subscribe_data = true);
    publish(&mut scene, ann, 1).expect("allowed");
    publish(&mut scene, ann, 2).expect("allowed");
    scene.forget();
    let gone = scene.room.unpublish_data_track(scene.now, ann, 1);
    assert_eq!(gone.map(|track| track.name), Some("track 1".to_owned()));
    assert_eq!(scene.heard(eve), ["handles 2=ann", "+ann:1"]);
    assert_eq!(scene.room.unpublish_data_track(scene.now, ann, 1), None);
    assert!(receivers(&scene, ann, 1).is_none());
    scene.leave(ann);
    assert_eq!(scene.heard(eve), ["handles", "-ann"]);
}

#[test]
fn handles_are_not_given_again_soon_and_never_twice_at_once() {
    let mut scene = Scene::with_limits(0, Limits { data_tracks: 100_000, ..Limits::default() });
    let (ann, bob) = (scene.join("ann"), scene.join("bob"));
    publish(&mut scene, bob, 9).expect("allowed");
    for expected in [2, 3, 4] {
        publish(&mut scene, ann, 1).expect("allowed");
        assert_eq!(receivers(&scene, ann, 1), Some((expected, vec![])));
        scene.room.unpublish_data_track(scene.now, ann, 1);
    }
    scene.room.data.last = u16::MAX;
    publish(&mut scene, ann, 1).expect("allowed");
    assert_eq!(receivers(&scene, ann, 1), Some((2, vec![])), "1 is bob's");
}

#[test]
fn what_may_not_be_published_is_refused_with_its_reason() {
    let mut scene = Scene::with_limits(0, Limits { data_tracks: 2, name_bytes: 10, ..Limits::default() });
    let ann = scene.join("ann");
    let silent = scene.join_with("silent", |one| one.permissions = Permissions::default());
    assert_eq!(publish(&mut scene, silent, 1), Err(DataTrackRefused::NotAllowed));
    publish(&mut scene, ann, 1).expect("allowed");
    assert_eq!(publish(&mut scene, ann, 1), Err(DataTrackRefused::DuplicateHandle));
    let mut named = |handle, name| scene.room.publish_data_track(scene.now, ann, data_track(handle, name));
    assert_eq!(named(2, "track 1"), Err(DataTrackRefused::DuplicateName));
    assert_eq!(named(2, "a name of many bytes"), Err(DataTrackRefused::LimitExceeded));
    assert!(named(2, "two").is_ok());
    assert_eq!(named(3, "three"), Err(DataTrackRefused::LimitExceeded));
}

#[test]
fn permissions_of_both_sides_count_and_what_is_allowed_later_begins_then() {
    let mut scene = Scene::new();
    let (ann, bob) = (scene.join("ann"), scene.join("bob"));
    let track = publish(&mut scene, ann, 5).expect("allowed");
    want(&mut scene, bob, track, true);
    want(&mut scene, ann, track, true);
    scene.forget();
    scene.room.set_audience(scene.now, ann, false, vec![(Identity::new("cid"), Vec::new())]);
    assert_eq!(scene.heard(bob), ["handles"]);
    scene.room.set_audience(scene.now, ann, false, vec![(Identity::new("bob"), vec![track])]);
    assert_eq!(scene.heard(bob), ["handles 1=ann"]);
    let deaf = Permissions { subscribe: false, ..everything() };
    scene.room.set_permissions(scene.now, bob, deaf);
    assert_eq!(receivers(&scene, ann, 5), Some((1, vec![])));
    scene.room.set_permissions(scene.now, bob, everything());
    assert_eq!(receivers(&scene, ann, 5), Some((1, vec![bob])));
    scene.forget();
    let mute = Permissions { publish_data: false, ..everything() };
    scene.room.set_permissions(scene.now, ann, mute);
    assert!(scene.heard(ann).contains(&"data track removed 5".to_owned()));
    assert_eq!(scene.heard(bob)[..2], ["handles", "+ann"]);
}

#[test]
fn nobody_receives_data_tracks_of_somebody_hidden() {
    let mut scene = Scene::new();
    let spy = scene.join_with("spy", |spy| spy.permissions = hidden());
    let eve = scene.join_with("eve", |eve| eve.auto_subscribe_data = true);
    let track = publish(&mut scene, spy, 1).expect("allowed");
    want(&mut scene, eve, track, true);
    assert_eq!(receivers(&scene, spy, 1), Some((1, vec![])));
}

#[test]
fn who_leaves_receives_nothing_and_who_replaces_it_begins_anew() {
    let mut scene = Scene::new();
    let (ann, bob) = (scene.join("ann"), scene.join("bob"));
    let track = publish(&mut scene, ann, 1).expect("allowed");
    want(&mut scene, bob, track, true);
    let again = scene.join("bob");
    assert_eq!(receivers(&scene, ann, 1), Some((1, vec![])));
    want(&mut scene, again, track, true);
    assert_eq!(receivers(&scene, ann, 1), Some((1, vec![again])));
    scene.forget();
    let ann_again = scene.join("ann");
    assert_eq!(scene.heard(again)[0], "handles");
    assert!(receivers(&scene, ann_again, 1).is_none());
}
