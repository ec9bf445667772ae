//! Publishing, subscribing, muting, and the order in which it is told.

use base::model::{
    AudioFeature, Backup, BackupPolicy, BackupStream, Notice, Permissions, Track, TrackChange, TrackSource,
};
use base::{CodecKind, Identity, MediaKind, TrackId};

use super::scene::{Scene, everything, negotiated, track};
use crate::{Limits, MuteRefused, PublishRefused};

#[test]
fn a_track_is_announced_when_it_is_negotiated_and_then_subscribed() {
    let mut scene = Scene::new();
    let (ann, bob) = (scene.join("ann"), scene.join("bob"));
    scene.forget();
    let track = scene.ask_to_publish(ann, TrackSource::Camera, false).expect("allowed");
    assert!(scene.room.owns(ann, track) && !scene.room.owns(bob, track));
    scene.quiet();
    assert!(scene.heard(bob).is_empty(), "nobody hears of a pending track");
    scene.negotiate(ann, track);
    assert_eq!(scene.heard(bob), ["+ann:1", "subscribe ann"], "at once, without time passing");
    assert_eq!(scene.heard(ann), ["+ann:1", "first subscriber"]);
    assert!(scene.room.is_subscribed(bob, track) && !scene.room.is_subscribed(ann, track));
}

#[test]
fn a_publish_overtakes_the_folded_arrival_of_its_publisher() {
    let mut scene = Scene::new();
    let bob = scene.join("bob");
    scene.forget();
    scene.join("burst");
    scene.pass_ms(0);
    let ann = scene.join("ann");
    scene.publish(ann);
    assert_eq!(scene.heard(bob), ["+burst", "+ann:1", "subscribe ann"]);
    scene.quiet();
    assert!(scene.heard(bob).is_empty(), "and is not told twice");
}

#[test]
fn a_newcomer_is_subscribed_to_what_is_there_right_after_its_welcome() {
    let mut scene = Scene::new();
    let ann = scene.join("ann");
    scene.publish(ann);
    scene.publish(ann);
    let newcomer = scene.newcomer("bob");
    let bob = newcomer.id;
    let welcome = scene.enter(newcomer).expect("there is room");
    assert_eq!(welcome.others[0].tracks.len(), 2);
    assert_eq!(scene.heard(bob), ["subscribe ann", "subscribe ann"]);
}

#[test]
fn only_the_first_subscriber_is_told_to_the_publisher() {
    let mut scene = Scene::new();
    let ann = scene.join("ann");
    scene.publish(ann);
    scene.forget();
    scene.join("bob");
    scene.join("cid");
    let first = scene.heard(ann).iter().filter(|heard| *heard == "first subscriber").count();
    assert_eq!(first, 1);
}

#[test]
fn without_auto_subscribe_only_what_is_asked_for_comes() {
    let mut scene = Scene::new();
    let ann = scene.join("ann");
    let (one, two) = (scene.publish(ann), scene.publish(ann));
    let bob = scene.join_with("bob", |newcomer| newcomer.auto_subscribe = false);
    scene.forget();
    assert_eq!(scene.room.update_subscription(scene.now, bob, &[two], true), []);
    assert!(scene.room.is_subscribed(bob, two) && !scene.room.is_subscribed(bob, one));
    assert_eq!(scene.room.update_subscription(scene.now, bob, &[two], false), []);
    assert_eq!(scene.heard(bob), ["subscribe ann", "unsubscribe"]);
}

#[test]
fn what_was_refused_by_its_receiver_stays_away() {
    let mut scene = Scene::new();
    let (ann, bob) = (scene.join("ann"), scene.join("bob"));
    let track = scene.publish(ann);
    scene.room.update_subscription(scene.now, bob, &[track], false);
    scene.room.set_audience(scene.now, ann, true, Vec::new());
    assert!(!scene.room.is_subscribed(bob, track));
}

#[test]
fn unknown_tracks_and_own_tracks_cannot_be_subscribed() {
    let mut scene = Scene::new();
    let ann = scene.join("ann");
    let own = scene.publish(ann);
    let pending = scene.ask_to_publish(ann, TrackSource::Camera, false).expect("allowed");
    let bob = scene.join("bob");
    assert_eq!(scene.room.update_subscription(scene.now, ann, &[own], true), [own]);
    let unknown = TrackId(999);
    assert_eq!(scene.room.update_subscription(scene.now, bob, &[unknown, pending], true), [unknown, pending]);
    assert_eq!(scene.room.update_subscription(scene.now, bob, &[unknown], false), []);
}

#[test]
fn a_publisher_decides_who_receives_it() {
    let mut scene = Scene::new();
    let ann = scene.join("ann");
    let (one, two) = (scene.publish(ann), scene.publish(ann));
    let (bob, cid) = (scene.join("bob"), scene.join("cid"));
    scene.forget();
    scene.room.set_audience(scene.now, ann, false, vec![(Identity::new("bob"), vec![two])]);
    let received = |scene: &Scene, id| [one, two].map(|track| scene.room.is_subscribed(id, track));
    assert_eq!((received(&scene, bob), received(&scene, cid)), ([false, true], [false, false]));
    assert_eq!(scene.heard(bob), ["unsubscribe"]);
    assert_eq!(scene.room.update_subscription(scene.now, cid, &[two], true), [two], "not permitted");
    let three = scene.publish(ann);
    assert!(!scene.room.is_subscribed(bob, three), "later tracks are covered too");
    scene.room.set_audience(scene.now, ann, false, vec![(Identity::new("cid"), vec![])]);
    assert_eq!((received(&scene, bob), received(&scene, cid)), ([false, false], [true, true]));
    scene.room.set_audience(scene.now, ann, true, Vec::new());
    assert_eq!((received(&scene, bob), received(&scene, cid)), ([true, true], [true, true]));
}

#[test]
fn a_leaving_publisher_is_unsubscribed_before_it_is_reported_gone() {
    let mut scene = Scene::new();
    let (ann, bob) = (scene.join("ann"), scene.join("bob"));
    scene.publish(ann);
    scene.forget();
    scene.leave(ann);
    assert_eq!(scene.heard(bob), ["unsubscribe", "-ann"], "at once");
}

#[test]
fn a_track_taken_down_is_unsubscribed_before_it_disappears_from_its_publisher() {
    let mut scene = Scene::new();
    let (ann, bob) = (scene.join("ann"), scene.join("bob"));
    let track = scene.publish(ann);
    scene.forget();
    assert!(!scene.room.unpublish(scene.now, bob, track), "not bob's");
    assert!(scene.room.unpublish(scene.now, ann, track));
    assert_eq!(scene.heard(bob), ["unsubscribe", "+ann"]);
    assert_eq!(scene.heard(ann), ["+ann"]);
    assert!(!scene.room.owns(ann, track));
    assert!(!scene.room.unpublish(scene.now, ann, track));
}

#[test]
fn muting_is_told_and_stops_the_forwarding() {
    let mut scene = Scene::new();
    let (ann, bob) = (scene.join("ann"), scene.join("bob"));
    let track = scene.publish(ann);
    scene.forget();
    assert!(!scene.room.mute(scene.now, bob, track, true), "not bob's");
    assert!(scene.room.mute(scene.now, ann, track, true));
    assert!(scene.room.mute(scene.now, ann, track, true));
    scene.quiet();
    let told = scene.told(bob);
    let [Notice::Participants(anns)] = &told[..] else { panic!("{told:?}") };
    assert!(anns[0].tracks[0].muted);
    assert_eq!(scene.muted, [(track, true)]);
    assert!(scene.room.is_muted(track));
}

#[test]
fn a_track_muted_before_it_is_negotiated_is_not_forwarded() {
    let mut scene = Scene::new();
    let ann = scene.join("ann");
    let track = scene.ask_to_publish(ann, TrackSource::Microphone, false).expect("allowed");
    assert!(scene.room.mute(scene.now, ann, track, true));
    scene.negotiate(ann, track);
    assert_eq!(scene.muted, [(track, true)]);
}

#[test]
fn the_server_can_mute_and_only_ask_to_unmute() {
    let mut scene = Scene::with_limits(0, Limits { remote_unmute: true, ..Limits::default() });
    let (ann, bob) = (scene.join("ann"), scene.join("bob"));
    let track = scene.publish(ann);
    scene.forget();
    let mut mute = |id, track, muted| scene.room.server_mute(scene.now, id, track, muted);
    assert!(mute(ann, track, true).is_ok_and(|track| track.muted));
    assert!(mute(ann, track, false).is_ok_and(|track| track.muted), "asked is not done");
    assert_eq!(mute(ann, TrackId(999), true), Err(MuteRefused::NoSuchTrack));
    assert_eq!(mute(bob, track, true), Err(MuteRefused::NoSuchTrack), "it is ann's");
    assert!(scene.room.is_muted(track));
    assert_eq!(scene.heard(ann), ["+ann:1", "mute true", "mute false"]);
    scene.quiet();
    assert_eq!(scene.heard(bob), ["+ann:1"], "the others see it muted");
    assert_eq!(scene.muted, [(track, true)]);
}

#[test]
fn the_server_asks_nobody_to_unmute_unless_that_is_switched_on() {
    let mut scene = Scene::new();
    let ann = scene.join("ann");
    let track = scene.publish(ann);
    assert!(scene.room.server_mute(scene.now, ann, track, true).is_ok());
    scene.forget();
    assert_eq!(scene.room.server_mute(scene.now, ann, track, false), Err(MuteRefused::UnmuteDisabled));
    assert!(scene.heard(ann).is_empty());
}

#[test]
fn a_track_that_the_server_mutes_before_it_is_negotiated_begins_muted() {
    let mut scene = Scene::new();
    let ann = scene.join("ann");
    let track = scene.ask_to_publish(ann, TrackSource::Camera, false).expect("allowed");
    assert!(scene.room.server_mute(scene.now, ann, track, true).is_ok_and(|track| track.muted));
    scene.negotiate(ann, track);
    assert_eq!(scene.muted, [(track, true)]);
}

#[test]
fn publishing_needs_permission_for_the_source() {
    let mut scene = Scene::new();
    let viewer = scene.join_with("viewer", |newcomer| newcomer.permissions.publish = false);
    assert_eq!(scene.ask_to_publish(viewer, TrackSource::Camera, false), Err(PublishRefused::NotAllowed));
    let caller = scene.join_with("caller", |newcomer| {
        newcomer.permissions.publish_sources = Some(vec![TrackSource::Microphone]);
    });
    assert_eq!(scene.ask_to_publish(caller, TrackSource::Camera, false), Err(PublishRefused::NotAllowed));
    assert!(scene.ask_to_publish(caller, TrackSource::Microphone, false).is_ok());
}

#[test]
fn who_may_use_the_microphone_alone_sends_no_pictures_by_calling_them_sound() {
    let mut scene = Scene::new();
    let caller = scene.join_with("caller", |newcomer| {
        newcomer.permissions.publish_sources = Some(vec![TrackSource::Microphone]);
    });
    let disguised = Track { kind: MediaKind::Video, ..track(TrackId(1), TrackSource::Microphone, false) };
    assert_eq!(scene.room.publish(caller, disguised.clone()), Err(PublishRefused::NotAllowed));
    let ann = scene.join("ann");
    assert!(scene.room.publish(ann, disguised).is_ok(), "where nothing is limited, names are free");
}

#[test]
fn pending_tracks_tracks_and_names_are_bounded() {
    let mut scene = Scene::new();
    let ann = scene.join("ann");
    let mut published = 0;
    for _ in 0..Limits::default().pending_tracks {
        scene.ask_to_publish(ann, TrackSource::Camera, false).expect("below the bound");
    }
    assert_eq!(
        scene.ask_to_publish(ann, TrackSource::Camera, false),
        Err(PublishRefused::LimitExceeded),
        "pending"
    );
    let bob = scene.join("bob");
    while let Ok(track) = scene.ask_to_publish(bob, TrackSource::Camera, false) {
        scene.negotiate(bob, track);
        published += 1;
    }
    assert_eq!(published, Limits::default().tracks);
    let cid = scene.join("cid");
    let mut long = track(TrackId(5_000), TrackSource::Camera, false);
    long.name = "x".repeat(257);
    assert_eq!(scene.room.publish(cid, long).err(), Some(PublishRefused::LimitExceeded));
}

#[test]
fn revoking_the_permission_to_publish_takes_tracks_down() {
    let mut scene = Scene::new();
    let (ann, bob) = (scene.join("ann"), scene.join("bob"));
    scene.publish(ann);
    scene.ask_to_publish(ann, TrackSource::Camera, false).expect("allowed");
    scene.forget();
    scene.room.set_permissions(scene.now, ann, Permissions { publish: false, ..everything() });
    scene.quiet();
    assert_eq!(scene.heard(bob), ["unsubscribe", "+ann", "+ann"]);
    let told = scene.heard(ann);
    assert_eq!(told, ["track removed", "track removed", "+ann", "+ann", "permissions"]);
}

#[test]
fn granting_and_revoking_the_permission_to_subscribe_starts_and_stops_tracks() {
    let mut scene = Scene::new();
    let ann = scene.join("ann");
    let track = scene.publish(ann);
    let bob = scene.join_with("bob", |newcomer| newcomer.permissions.subscribe = false);
    assert!(!scene.room.is_subscribed(bob, track));
    scene.forget();
    scene.room.set_permissions(scene.now, bob, everything());
    assert!(scene.room.is_subscribed(bob, track));
    scene.room.set_permissions(scene.now, bob, Permissions { subscribe: false, ..everything() });
    assert!(!scene.room.is_subscribed(bob, track));
    let told = scene.heard(bob);
    assert_eq!(told, ["subscribe ann", "+bob", "permissions", "unsubscribe", "+bob", "permissions"]);
}

#[test]
fn negotiating_again_updates_the_track_and_announces_nothing_new() {
    let mut scene = Scene::new();
    let (ann, bob) = (scene.join("ann"), scene.join("bob"));
    let track = scene.publish(ann);
    scene.forget();
    scene.negotiate(ann, track);
    scene.quiet();
    assert!(scene.heard(bob).is_empty());
    let mid = base::Mid::new(b"7").expect("a valid mid");
    assert!(scene.room.negotiated(scene.now, ann, track, negotiated(mid, base::CodecKind::Vp8, true)));
    scene.quiet();
    assert_eq!(scene.heard(bob), ["+ann:1"]);
    assert!(
        !scene.room.negotiated(scene.now, bob, track, negotiated(mid, base::CodecKind::Vp8, true)),
        "not bob's"
    );
}

fn second(sent: bool) -> Option<BackupStream> {
    let mid = base::Mid::new(b"9").expect("a mid");
    sent.then(|| BackupStream { mid, cid: "second".to_owned(), simulcast: true, layers: Vec::new() })
}

#[test]
fn receivers_are_told_when_a_second_encoding_comes_and_goes() {
    let mut scene = Scene::new();
    let (ann, bob, cyd) = (scene.join("ann"), scene.join("bob"), scene.join("cyd"));
    let camera = track(TrackId(77), TrackSource::Camera, true);
    let backup = Backup { codec: CodecKind::Vp8, policy: BackupPolicy::Simulcast, stream: None };
    let camera = Track { backup: Some(backup), ..camera };
    let id = scene.room.publish(ann, camera).expect("allowed").id;
    let mid = base::Mid::new(b"0").expect("a mid");
    assert!(!scene.room.backup_negotiated(scene.now, ann, id, second(true)), "not before the first");
    assert!(scene.room.negotiated(scene.now, ann, id, negotiated(mid, CodecKind::Vp9, false)));
    scene.room.update_subscription(scene.now, cyd, &[id], false);
    scene.quiet();
    scene.forget();
    scene.muted.clear();
    assert!(!scene.room.backup_negotiated(scene.now, bob, id, second(true)), "not bob's");
    assert!(scene.room.backup_negotiated(scene.now, ann, id, second(true)));
    assert!(scene.heard(bob).contains(&"encodings true".to_owned()));
    assert!(!scene.heard(cyd).contains(&"encodings true".to_owned()), "cyd does not receive it");
    assert_eq!(scene.muted, [(id, true)], "what is muted is muted in every encoding");
    assert!(scene.room.has_backup(id));
    assert!(scene.room.backup_negotiated(scene.now, ann, id, None));
    assert!(scene.heard(bob).contains(&"encodings false".to_owned()));
    assert!(scene.room.offers_backup(id) && !scene.room.has_backup(id), "it may come again");
}

#[test]
fn a_track_that_is_sent_in_its_second_codec_alone_has_no_other() {
    let mut scene = Scene::new();
    let ann = scene.join("ann");
    let backup = Backup { codec: CodecKind::Vp8, policy: BackupPolicy::Simulcast, stream: None };
    let camera = Track { backup: Some(backup), ..track(TrackId(77), TrackSource::Camera, false) };
    let id = scene.room.publish(ann, camera).expect("allowed").id;
    let mid = base::Mid::new(b"0").expect("a mid");
    assert!(scene.room.negotiated(scene.now, ann, id, negotiated(mid, CodecKind::Vp8, false)));
    assert!(!scene.room.offers_backup(id));
}

#[test]
fn a_publisher_changes_its_own_tracks_as_their_kind_allows() {
    let mut scene = Scene::new();
    let (ann, bob) = (scene.join("ann"), scene.join("bob"));
    let camera = scene.publish(ann);
    let small = || TrackChange::Video(320, 180);
    assert!(scene.room.change_track(scene.now, ann, camera, small()));
    assert!(!scene.room.change_track(scene.now, bob, camera, small()), "not bob's");
    let stereo = TrackChange::Audio([AudioFeature::Stereo].into());
    assert!(!scene.room.change_track(scene.now, ann, camera, stereo), "a picture");
    let value = &scene.room.participant(ann).expect("here").tracks[0];
    assert_eq!((value.width, value.height), (320, 180));
    let pending = scene.ask_to_publish(ann, TrackSource::Microphone, false).expect("allowed");
    let stereo = TrackChange::Audio([AudioFeature::Stereo].into());
    assert!(scene.room.change_track(scene.now, ann, pending, stereo));
    scene.negotiate(ann, pending);
    assert!(scene.room.participant(ann).expect("here").tracks[1].stereo);
}
