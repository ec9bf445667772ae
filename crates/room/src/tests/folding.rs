//! What is folded adds up: a client that only listens knows in the end what it would know had it been told everything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base::model::{MetadataChange, Notice, Participant, ParticipantState};
use base::{ParticipantId, TrackId};

use super::scene::{Scene, hidden};
use crate::fold_window;

/// What one client knows of the others.
#[derive(Default)]
struct View {
    people: BTreeMap<ParticipantId, Arc<Participant>>,
    /// The last version of everybody it ever heard of.
    versions: BTreeMap<ParticipantId, u32>,
    subscribed: BTreeSet<TrackId>,
}

impl View {
    fn of(others: &[Arc<Participant>]) -> Self {
        let mut view = Self::default();
        for other in others {
            view.take(other);
        }
        view
    }

    fn take(&mut self, told: &Arc<Participant>) {
        if let Some(before) = self.versions.insert(told.id, told.version) {
            assert!(told.version > before, "{} {before} -> {}", told.identity, told.version);
        }
        if told.state == ParticipantState::Disconnected {
            // As clients do: by identity, since the session that goes may have replaced the one that is known; and whoever is
            // not known may go.
            self.people.retain(|_, known| known.identity != told.identity);
            return;
        }
        // The same identity in a new session takes the place of the old one.
        self.people.retain(|id, known| *id == told.id || known.identity != told.identity);
        self.people.insert(told.id, Arc::clone(told));
    }

    fn hear(&mut self, own: ParticipantId, notice: &Notice) {
        match notice {
            Notice::Participants(told) => {
                told.iter().filter(|told| told.id != own).for_each(|told| self.take(told));
            }
            Notice::Subscribe { publisher, track } => {
                let known = self.people.get(&publisher.id).expect("its publisher was told before");
                assert!(known.tracks.iter().any(|known| known.id == track.id), "and with the track");
                assert!(self.subscribed.insert(track.id), "once");
            }
            Notice::Unsubscribe { track } => assert!(self.subscribed.remove(track)),
            _ => {}
        }
    }
}

struct Crowd {
    scene: Scene,
    views: BTreeMap<ParticipantId, View>,
    tracks: Vec<(ParticipantId, TrackId)>,
    state: u64,
}

impl Crowd {
    fn dice(&mut self, sides: u64) -> u64 {
        self.state =
            self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) % sides
    }

    fn hear(&mut self) {
        for (id, view) in &mut self.views {
            for notice in self.scene.told(*id) {
                view.hear(*id, &notice);
            }
        }
    }

    fn somebody(&mut self) -> Option<ParticipantId> {
        let present: Vec<ParticipantId> = self.scene.room.participants().map(|person| person.id).collect();
        let at = self.dice(present.len().max(1) as u64) as usize;
        present.get(at).copied()
    }

    fn join(&mut self) {
        let name = format!("person-{}", self.dice(60));
        let ghost = self.dice(10) == 0;
        let mut newcomer = self.scene.newcomer(&name);
        if ghost {
            newcomer.permissions = hidden();
        }
        let id = newcomer.id;
        let welcome = self.scene.enter(newcomer).expect("there is room");
        self.hear();
        self.views.insert(id, View::of(&welcome.others));
        self.hear();
        self.forget_gone();
    }

    /// Who was replaced, or never came up, has nothing more to know.
    fn forget_gone(&mut self) {
        let room = &self.scene.room;
        self.views.retain(|id, _| room.participant(*id).is_some());
    }

    fn step(&mut self) {
        let now = self.scene.now;
        let somebody = self.somebody();
        match (self.dice(10), somebody) {
            (0..=3, _) | (_, None) => self.join(),
            (4, Some(id)) => {
                self.hear();
                self.views.remove(&id);
                self.scene.leave(id);
            }
            (5, Some(id)) => self.scene.room.activate(now, id),
            (6, Some(id)) => {
                let name = Some(format!("name {}", self.dice(1_000)));
                self.scene.room.change_metadata(now, id, MetadataChange { name, ..Default::default() });
            }
            (7, Some(id)) => {
                let asked = self.scene.ask_to_publish(id, base::model::TrackSource::Camera, false);
                if let Ok(track) = asked {
                    self.scene.negotiate(id, track);
                    self.tracks.push((id, track));
                }
            }
            (8, _) if !self.tracks.is_empty() => {
                let at = self.dice(self.tracks.len() as u64) as usize;
                let (id, track) = self.tracks.swap_remove(at);
                self.scene.room.unpublish(now, id, track);
            }
            (_, _) if !self.tracks.is_empty() => {
                let at = self.dice(self.tracks.len() as u64) as usize;
                let (id, track) = self.tracks[at];
                let muted = self.dice(2) == 0;
                self.scene.room.mute(now, id, track, muted);
            }
            _ => {}
        }
        self.hear();
    }

    /// Everybody who is here knows what is so.
    fn agree(&mut self) {
        self.scene.quiet();
        self.hear();
        self.forget_gone();
        let present: BTreeMap<ParticipantId, Arc<Participant>> = self
            .scene
            .room
            .participants()
            .filter(|person| !person.permissions.hidden)
            .map(|person| (person.id, Arc::clone(person)))
            .collect();
        for (id, view) in &self.views {
            let mut expected = present.clone();
            expected.remove(id);
            let names = |people: &BTreeMap<ParticipantId, Arc<Participant>>| -> Vec<String> {
                people.values().map(|one| format!("{} {} {}", one.identity, one.id.0, one.version)).collect()
            };
            assert_eq!(names(&view.people), names(&expected), "what {} knows", id.0);
            assert!(view.people == expected);
            assert_eq!(view.subscribed, self.scene.room.subscriptions(*id).collect());
        }
    }
}

#[test]
fn whatever_is_folded_everybody_knows_in_the_end_what_is_so() {
    for seed in 1..=20 {
        let mut crowd =
            Crowd { scene: Scene::new(), views: BTreeMap::new(), tracks: Vec::new(), state: seed << 32 };
        for _ in 0..8 {
            for _ in 0..40 {
                crowd.step();
                let wait = crowd.dice(40);
                crowd.scene.pass_ms(wait);
                crowd.hear();
            }
            crowd.agree();
        }
    }
}

#[test]
fn somebody_hidden_who_takes_a_visible_ones_place_is_told_as_its_departure() {
    for (leaves, settles) in [(false, false), (false, true), (true, false)] {
        let mut scene = Scene::new();
        let listener = scene.join("listener");
        let person = scene.join("person");
        if settles {
            scene.quiet();
        }
        scene.forget();
        scene.join("burst");
        if leaves {
            scene.leave(person);
        }
        let ghost = scene.join_with("person", |newcomer| newcomer.permissions = hidden());
        scene.quiet();
        let heard = scene.heard(listener).join(" ");
        assert!(heard.contains("-person"), "{leaves} {settles}: {heard}");
        scene.leave(ghost);
        scene.quiet();
        assert!(scene.heard(listener).is_empty());
    }
}

#[test]
fn tracks_of_many_publishers_are_told_together_and_each_before_it_is_subscribed() {
    let mut scene = Scene::new();
    let listener = scene.join("listener");
    let publishers: Vec<ParticipantId> = (0..100).map(|n| scene.join(&format!("p{n}"))).collect();
    scene.forget();
    for id in &publishers {
        scene.publish(*id);
    }
    scene.quiet();
    let told = scene.told(listener);
    let updates = told.iter().filter(|notice| matches!(notice, Notice::Participants(_))).count();
    assert_eq!(updates, 9, "eight at once, and then one for the rest");
    let mut view = View::default();
    told.iter().for_each(|notice| view.hear(listener, notice));
    assert_eq!(view.subscribed.len(), 100);
}

#[test]
fn a_track_taken_down_before_it_was_announced_is_never_heard_of() {
    let mut scene = Scene::new();
    let listener = scene.join("listener");
    let publisher = scene.join("publisher");
    for _ in 0..8 {
        scene.publish(publisher);
    }
    scene.told(listener);
    let late = scene.publish(publisher);
    assert!(scene.room.owns(publisher, late) && scene.room.publisher(late).is_none());
    assert!(scene.told(listener).is_empty(), "it waits");
    scene.room.unpublish(scene.now, publisher, late);
    let newcomer = scene.newcomer("newcomer");
    let welcome = scene.enter(newcomer).expect("there is room");
    assert!(welcome.others.iter().flat_map(|other| &other.tracks).all(|track| track.id != late));
    scene.quiet();
    let subscribed = scene.heard(listener).iter().filter(|told| told.starts_with("subscribe")).count();
    assert_eq!(subscribed, 0);
}

#[test]
fn what_one_participant_is_told_in_a_second_is_bounded_whatever_the_others_do() {
    let mut scene = Scene::new();
    let listener = scene.join("listener");
    let others: Vec<ParticipantId> = (0..400).map(|n| scene.join(&format!("p{n}"))).collect();
    scene.forget();
    for round in 0..10u64 {
        for (at, id) in others.iter().enumerate() {
            let name = Some(format!("{round} {at}"));
            scene.room.change_metadata(scene.now, *id, MetadataChange { name, ..Default::default() });
            if at % 40 == 0 {
                scene.publish(*id);
            }
            scene.pass_ms(at as u64 % 3);
        }
    }
    scene.quiet();
    // 10 rounds of 400 ms, with a window of 200 ms for tracks and of a second for all else.
    assert_eq!(fold_window(401).as_millis(), 1_000);
    let updates =
        scene.told(listener).iter().filter(|notice| matches!(notice, Notice::Participants(_))).count();
    assert!(updates <= 8 + 4 * 5 + 4, "{updates}");
}
