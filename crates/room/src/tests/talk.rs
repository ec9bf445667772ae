//! Data messages, speakers, connection quality.

use base::model::{Quality, Speaker, TrackSource};
use base::{Identity, ParticipantId};

use super::scene::{Scene, hidden};

fn speaks(participant: ParticipantId, active: bool) -> Speaker {
    Speaker { participant, level: if active { 0.5 } else { 0.0 }, active }
}

#[test]
fn data_goes_to_all_others_or_to_those_named() {
    let mut scene = Scene::new();
    let (ann, bob, cid) = (scene.join("ann"), scene.join("bob"), scene.join("cid"));
    assert_eq!(scene.room.receivers(ann, &[], &[]), Some(vec![bob, cid]));
    let named = [Identity::new("cid"), Identity::new("nobody"), Identity::new("ann")];
    assert_eq!(scene.room.receivers(ann, &named, &[cid, ann, ParticipantId(99)]), Some(vec![cid]));
    assert_eq!(scene.room.receivers(ann, &[Identity::new("nobody")], &[]), Some(vec![]));
}

#[test]
fn hidden_participants_send_and_receive_data() {
    let mut scene = Scene::new();
    let ann = scene.join("ann");
    let ghost = scene.join_with("ghost", |newcomer| newcomer.permissions = hidden());
    assert_eq!(scene.room.receivers(ghost, &[], &[]), Some(vec![ann]));
    assert_eq!(scene.room.receivers(ann, &[], &[]), Some(vec![ghost]));
    assert_eq!(scene.room.addressed(&[], &[]), [ann, ghost], "the server's messages reach everybody");
    assert_eq!(scene.room.addressed(&[Identity::new("ann"), Identity::new("nobody")], &[ann]), [ann]);
    assert!(scene.room.addressed(&[Identity::new("nobody")], &[]).is_empty(), "and not everybody instead");
}

#[test]
fn data_needs_permission() {
    let mut scene = Scene::new();
    let ann = scene.join_with("ann", |newcomer| newcomer.permissions.publish_data = false);
    scene.join("bob");
    assert_eq!(scene.room.receivers(ann, &[], &[]), None);
    assert_eq!(scene.room.receivers(ParticipantId(99), &[], &[]), None);
}

#[test]
fn speakers_are_told_to_themselves_and_to_those_who_hear_them() {
    let mut scene = Scene::new();
    let ann = scene.join("ann");
    scene.publish(ann);
    let bob = scene.join("bob");
    let deaf = scene.join_with("deaf", |newcomer| newcomer.auto_subscribe = false);
    scene.forget();
    scene.room.set_speakers(scene.now, &[speaks(ann, true)]);
    scene.pass_ms(0);
    let started = [format!("speakers {}:true", ann.0)];
    assert_eq!(scene.heard(ann), started);
    assert_eq!(scene.heard(bob), started);
    assert!(scene.heard(deaf).is_empty());
    scene.room.set_speakers(scene.now, &[speaks(ann, true)]);
    scene.quiet();
    assert!(scene.heard(bob).is_empty(), "nothing changed");
    scene.room.set_speakers(scene.now, &[speaks(ann, false)]);
    scene.quiet();
    assert_eq!(scene.heard(bob), [format!("speakers {}:false", ann.0)]);
}

#[test]
fn changes_of_speakers_in_quick_succession_are_told_as_one() {
    let mut scene = Scene::new();
    let (ann, bob) = (scene.join("ann"), scene.join("bob"));
    scene.publish(ann);
    scene.forget();
    for active in [true, false, true, false, true] {
        scene.room.set_speakers(scene.now, &[speaks(ann, active)]);
        scene.pass_ms(10);
    }
    scene.quiet();
    assert_eq!(scene.heard(bob).len(), 1, "that it speaks; in the end nothing changed");
}

#[test]
fn who_starts_to_hear_a_speaker_is_told_that_it_speaks() {
    let mut scene = Scene::new();
    let ann = scene.join("ann");
    let track = scene.publish(ann);
    scene.room.set_speakers(scene.now, &[speaks(ann, true)]);
    scene.forget();
    let bob = scene.join("bob");
    scene.pass_ms(400);
    assert!(scene.heard(bob).contains(&format!("speakers {}:true", ann.0)));
    scene.room.update_subscription(scene.now, bob, &[track], false);
    scene.quiet();
    assert_eq!(scene.heard(bob), ["unsubscribe".to_owned(), format!("speakers {}:false", ann.0)]);
}

#[test]
fn speakers_who_left_or_are_hidden_are_not_told() {
    let mut scene = Scene::new();
    let (ann, bob) = (scene.join("ann"), scene.join("bob"));
    scene.publish(ann);
    let ghost = scene.join_with("ghost", |newcomer| newcomer.permissions = hidden());
    scene.forget();
    scene.room.set_speakers(scene.now, &[speaks(ghost, true), speaks(ParticipantId(99), true)]);
    scene.room.set_speakers(scene.now, &[speaks(ann, true)]);
    scene.pass_ms(0);
    assert_eq!(scene.heard(bob).len(), 1);
    scene.leave(ann);
    scene.quiet();
    assert_eq!(scene.heard(bob), ["unsubscribe", "-ann"]);
}

#[test]
fn quality_is_told_on_change_to_the_participant_and_its_receivers() {
    let mut scene = Scene::new();
    let (ann, bob) = (scene.join("ann"), scene.join("bob"));
    let track = scene.ask_to_publish(ann, TrackSource::Microphone, false).expect("allowed");
    scene.negotiate(ann, track);
    scene.forget();
    scene.room.set_quality(scene.now, ann, Quality::Poor);
    scene.pass_ms(0);
    scene.room.set_quality(scene.now, ann, Quality::Good);
    scene.room.set_quality(scene.now, ann, Quality::Poor);
    scene.room.set_quality(scene.now, bob, Quality::Good);
    scene.quiet();
    let poor = format!("quality {}:Poor", ann.0);
    assert_eq!(scene.heard(ann), [poor.clone(), poor.clone()]);
    assert_eq!(scene.heard(bob), [poor.clone(), format!("{poor} {}:Good", bob.0)]);
    let cid = scene.join("cid");
    scene.quiet();
    assert!(scene.heard(cid).contains(&poor), "who receives from it later is told too");
}
