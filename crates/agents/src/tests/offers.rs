//! Who is asked, and what follows from the answer.

use std::time::Duration;

use base::model::ParticipantKind;

use super::world::{World, group, takes};
use crate::{Answer, Decision, Group, JobKind, Status};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_room_gets_one_agent_of_those_without_a_name() {
    let mut world = World::new();
    world.worker(group(JobKind::Room, ""));
    world.worker(group(JobKind::Room, ""));
    world.start(1, "lobby", &[]);
    let (worker, job) = world.take("agent-1");
    let assigned = world.told.iter().any(|decision| {
        matches!(decision, Decision::Assign { worker: to, job: given, guest }
            if *to == worker && given.id == job && guest.identity.as_str() == "agent-1")
    });
    assert!(assigned, "{:?}", world.told);
    world.join("ann");
    assert!(world.offers().is_empty(), "one is enough");
    assert_eq!(world.jobs(), [(Status::Running, String::new())]);
}

#[test]
fn every_namespace_gets_its_own_job() {
    let mut world = World::new();
    for namespace in ["a", "b", "b"] {
        world.worker(Group { namespace: namespace.to_owned(), ..group(JobKind::Room, "") });
    }
    world.start(1, "lobby", &[]);
    let namespaces: Vec<String> = world.offers().into_iter().map(|(_, job)| job.group.namespace).collect();
    assert_eq!(namespaces, ["a", "b"]);
}

#[test]
fn a_participant_gets_one_agent_and_a_publisher_one_at_its_first_track() {
    let mut world = World::new();
    let per_person = world.worker(group(JobKind::Participant, ""));
    let per_publisher = world.worker(group(JobKind::Publisher, ""));
    world.start(1, "lobby", &[]);
    assert!(world.offers().is_empty());
    let ann = world.join("ann");
    let (worker, job) = world.offer();
    assert_eq!((worker, job.target.as_ref().map(|who| who.identity.as_str())), (per_person, Some("ann")));
    world.publish(&ann);
    let (worker, job) = world.offer();
    assert_eq!((worker, job.target.map(|who| who.identity.to_string())), (per_publisher, Some("ann".into())));
    world.publish(&ann);
    assert!(world.offers().is_empty(), "the second track is nothing new");
    for kind in [ParticipantKind::Agent, ParticipantKind::Egress] {
        let program = world.join_as("program", kind);
        world.publish(&program);
        assert!(world.offers().is_empty(), "{kind:?} has no agents of its own");
    }
}

#[test]
fn a_refused_job_goes_to_the_next_worker_and_a_forbidden_one_to_nobody() {
    let mut world = World::new();
    let first = world.worker(group(JobKind::Room, ""));
    let second = world.worker(group(JobKind::Room, ""));
    world.start(1, "lobby", &[]);
    let (asked, job) = world.offer();
    assert_eq!(asked, first);
    world.answer(first, job.id, Answer::Refuses);
    let (asked, again) = world.offer();
    assert_eq!((asked, again.id), (second, job.id));
    world.answer(first, job.id, takes("late"));
    assert_eq!(world.agents.tally().out_of_place, 1, "it has refused");
    world.answer(second, job.id, Answer::Forbids);
    world.wait(600 * SECOND);
    assert!(world.offers().is_empty());
    assert_eq!(world.jobs(), [(Status::Succeeded, String::new())]);
}

#[test]
fn a_worker_that_does_not_answer_is_passed_over() {
    let mut world = World::new();
    let silent = world.worker(group(JobKind::Room, ""));
    let other = world.worker(group(JobKind::Room, ""));
    world.start(1, "lobby", &[]);
    assert_eq!(world.offer().0, silent);
    world.wait(9 * SECOND);
    assert!(world.offers().is_empty());
    world.wait(SECOND);
    let (asked, job) = world.offer();
    assert_eq!(asked, other);
    world.answer(silent, job.id, takes("late"));
    world.answer(other, job.id, takes("agent"));
    assert_eq!((world.agents.running(), world.agents.tally().assigned), (1, 1));
}

#[test]
fn a_job_that_everyone_refuses_rests_longer_each_time_and_is_given_up() {
    let mut world = World::new();
    world.worker(group(JobKind::Room, ""));
    world.start(1, "lobby", &[]);
    let mut asked = 0;
    let begin = world.now.at;
    while let Some((worker, job)) = world.offers().pop() {
        asked += 1;
        world.answer(worker, job.id, Answer::Refuses);
        let Some(at) = world.agents.poll_timeout() else { break };
        world.wait(at - world.now.at);
    }
    assert_eq!(asked, 11);
    assert_eq!((world.now.at - begin).as_secs(), 1 + 2 + 4 + 8 + 16 + 32 + 4 * 60);
    assert_eq!(world.jobs(), [(Status::Failed, "no worker took it".to_owned())]);
}

#[test]
fn the_least_loaded_worker_is_asked_and_a_full_one_never() {
    let mut world = World::new();
    let workers = [0.9, 0.2, 0.5].map(|load| {
        let worker = world.worker(group(JobKind::Room, ""));
        world.report(worker, load, true);
        worker
    });
    world.start(1, "lobby", &[]);
    assert_eq!(world.take("a").0, workers[1]);
    world.report(workers[1], 0.1, false);
    world.start(2, "hall", &[]);
    assert_eq!(world.take("b").0, workers[2]);
    for worker in workers {
        world.report(worker, 0.0, false);
    }
    world.start(3, "attic", &[]);
    world.wait(3_600 * SECOND);
    assert!(world.offers().is_empty(), "all are full");
    world.report(workers[0], f32::NAN, true);
    assert_eq!(world.take("c").0, workers[0], "as soon as one is not");
}

#[test]
fn jobs_that_come_at_once_are_spread_before_loads_are_told() {
    let mut world = World::new();
    let workers = [(); 4].map(|()| world.worker(group(JobKind::Room, "")));
    for room in 0..8 {
        world.start(room, &format!("room {room}"), &[]);
    }
    let offers = world.offers();
    for worker in workers {
        assert_eq!(offers.iter().filter(|(asked, _)| *asked == worker).count(), 2);
    }
}

#[test]
fn a_worker_has_a_bounded_number_of_offers_open_and_gets_the_rest_as_it_answers() {
    let mut world = World::new();
    let worker = world.worker(group(JobKind::Room, ""));
    for room in 0..100 {
        world.start(room, &format!("room {room}"), &[]);
    }
    let mut offers = world.offers();
    assert_eq!(offers.len(), 16);
    let mut done = 0;
    while let Some((_, job)) = offers.pop() {
        done += 1;
        world.answer(worker, job.id, takes(&format!("agent {done}")));
        offers.extend(world.offers());
    }
    assert_eq!((done, world.agents.running()), (100, 100));
}

#[test]
fn an_agent_does_not_take_the_name_of_somebody_who_is_there() {
    let mut world = World::new();
    world.start(1, "lobby", &[]);
    world.join("ann");
    world.worker(group(JobKind::Room, ""));
    world.take("ann");
    assert_eq!((world.agents.running(), world.agents.tally().refused), (0, 1));
}
