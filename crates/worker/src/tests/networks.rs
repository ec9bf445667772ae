//! People whose network goes away and comes back, or changes: the whole worker in virtual time.

use std::time::{Duration, Instant};

use base::MediaKind::Audio;
use base::PeerId;
use contract::media::{Event, PeerEnd};

use super::lab::{Lab, MS};

const SECOND: Duration = Duration::from_secs(1);

/// Two people who hear each other.
fn talk() -> (Lab, [usize; 2]) {
    let mut lab = Lab::new();
    let people = [lab.connect("delay=20ms"), lab.connect("delay=20ms")];
    for (person, track) in [(people[0], 1), (people[1], 2)] {
        lab.publish(person, track, Audio, &[40]);
    }
    lab.subscribe(people[0], 2, Audio);
    lab.subscribe(people[1], 1, Audio);
    lab.run(3 * SECOND);
    (lab, people)
}

/// How long it takes from this moment until `person` hears something.
fn silence(lab: &Lab, person: usize, from: Instant) -> Duration {
    let heard = lab.people[person].got.iter().map(|(at, _)| *at).find(|at| *at > from);
    heard.map_or(Duration::MAX, |at| at - from)
}

fn told(lab: &Lab, person: usize) -> (usize, Option<PeerEnd>) {
    let id = PeerId(person as u64 + 1);
    let interrupted =
        lab.events.iter().filter(|event| matches!(event, Event::Interrupted { peer } if *peer == id)).count();
    let end = lab.events.iter().find_map(|event| match event {
        Event::Closed { peer, end, .. } if *peer == id => Some(*end),
        _ => None,
    });
    (interrupted, end)
}

/// Sound flows both ways within half a second of the first check from the new address, over the same keys.
fn flows_at_once(lab: &Lab, [alice, bob]: [usize; 2]) {
    let checked = lab.people[bob].heard_at.expect("a check from the new address");
    for person in [alice, bob] {
        let silence = silence(lab, person, checked);
        assert!(silence <= 500 * MS, "silent for {silence:?} after the first check");
    }
    let connected = |event: &&Event| matches!(event, Event::Connected { .. });
    assert_eq!(lab.events.iter().filter(connected).count(), 2, "nobody connects anew");
}

#[test]
fn sound_follows_to_another_network_within_half_a_second_of_the_first_check() {
    for restarts in [false, true] {
        let (mut lab, people) = talk();
        lab.people[people[1]].cut = true;
        lab.run(3 * SECOND);
        lab.change_network(people[1]);
        if restarts {
            lab.restart_ice(people[1]);
        }
        lab.run(4 * SECOND);
        flows_at_once(&lab, people);
        assert_eq!(told(&lab, people[1]), (0, None));
    }
}

#[test]
fn sound_goes_on_while_a_restart_of_ice_is_under_way() {
    let (mut lab, [alice, bob]) = talk();
    let before = lab.now;
    lab.restart_ice(bob);
    lab.run(3 * SECOND);
    for person in [alice, bob] {
        let heard: Vec<Instant> =
            lab.people[person].got.iter().map(|(at, _)| *at).filter(|at| *at > before).collect();
        let longest = heard.windows(2).map(|pair| pair[1] - pair[0]).max();
        assert!(longest.is_some_and(|longest| longest <= 40 * MS), "{longest:?}");
    }
}

#[test]
fn who_is_cut_off_for_a_quarter_of_a_minute_is_told_of_and_comes_back_with_a_restart() {
    let (mut lab, people) = talk();
    lab.people[people[1]].cut = true;
    let cut = lab.now;
    while told(&lab, people[1]) == (0, None) {
        lab.run(SECOND / 10);
    }
    let after = lab.now - cut;
    assert!(after > 10 * SECOND && after <= 15 * SECOND + 200 * MS, "told after {after:?}");
    assert_eq!(told(&lab, people[1]), (1, None));
    lab.change_network(people[1]);
    lab.restart_ice(people[1]);
    lab.run(4 * SECOND);
    flows_at_once(&lab, people);
}

#[test]
fn who_is_cut_off_for_half_a_minute_is_gone() {
    let (mut lab, [_, bob]) = talk();
    lab.people[bob].cut = true;
    lab.run(33 * SECOND);
    assert_eq!(told(&lab, bob), (1, Some(PeerEnd::IceTimeout)));
}
