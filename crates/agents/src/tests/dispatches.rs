//! What orders agents, and what takes the order back.

use std::time::Duration;

use base::agents::Dispatch;
use base::model::{LeaveReason, ParticipantKind};
use base::{DispatchId, RoomName};

use super::world::{World, group, order};
use crate::{Decision, Group, JobKind, MAX_DISPATCHES, Status};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_room_with_agents_of_its_own_gets_those_and_no_others() {
    let mut world = World::new();
    world.worker(group(JobKind::Room, ""));
    let named = world.worker(group(JobKind::Room, "waiter"));
    world.start(1, "lobby", &["waiter", "nobody"]);
    let (worker, job) = world.offer();
    assert_eq!((worker, job.group.agent.as_str()), (named, "waiter"));
}

#[test]
fn an_order_is_carried_out_when_room_and_worker_come_in_whatever_order() {
    for order_of_things in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut world = World::new();
        for thing in order_of_things {
            match thing {
                0 => drop(world.dispatch("lobby", order("waiter"))),
                1 => drop(world.worker(group(JobKind::Room, "waiter"))),
                _ => world.start(1, "lobby", &[]),
            }
        }
        assert_eq!(world.offer().1.order.agent, "waiter", "{order_of_things:?}");
    }
}

#[test]
fn an_order_for_a_room_that_does_not_come_is_forgotten() {
    let mut world = World::new();
    world.worker(group(JobKind::Room, "waiter"));
    world.dispatch("lobby", order("waiter"));
    assert_eq!(world.agents.list(&RoomName::new("lobby"), None).len(), 1);
    world.wait(10 * SECOND);
    assert!(world.agents.list(&RoomName::new("lobby"), None).is_empty());
    world.start(1, "lobby", &[]);
    assert!(world.offers().is_empty());
}

#[test]
fn a_worker_that_comes_late_gets_the_people_who_are_there() {
    let mut world = World::new();
    world.start(1, "lobby", &[]);
    let ann = world.join("ann");
    world.publish(&ann);
    let bob = world.join("bob");
    world.join_as("recorder", ParticipantKind::Egress);
    world.worker(group(JobKind::Publisher, ""));
    assert_eq!(world.offers().len(), 1);
    world.leave(&bob, LeaveReason::ClientInitiated);
    world.worker(group(JobKind::Participant, ""));
    let targets: Vec<_> = world.offers().into_iter().map(|(_, job)| job.target).collect();
    assert_eq!(targets.len(), 1);
    assert!(targets[0].as_ref().is_some_and(|target| target.identity.as_str() == "ann"));
}

#[test]
fn the_deployment_must_be_the_same() {
    let mut world = World::new();
    world.worker(group(JobKind::Room, "waiter"));
    let blue = Group { deployment: "blue".to_owned(), ..group(JobKind::Room, "waiter") };
    let worker = world.worker(blue);
    world.start(1, "lobby", &["nobody"]);
    world.dispatch("lobby", Dispatch { deployment: "blue".to_owned(), ..order("waiter") });
    assert_eq!(world.offer().0, worker);
}

#[test]
fn taking_an_order_back_ends_its_agents_and_removes_those_that_stay() {
    let mut world = World::new();
    let worker = world.worker(group(JobKind::Room, "waiter"));
    world.start(1, "lobby", &["nobody"]);
    let made = world.dispatch("lobby", order("waiter"));
    let (_, job) = world.take("agent");
    world.join_as("agent", ParticipantKind::Agent);
    let gone = world.withdraw("lobby", made.id).expect("it is there");
    assert_eq!((gone.jobs.len(), gone.deleted_at.is_some()), (1, true));
    assert_eq!(world.terminated(), [(worker, job)]);
    assert!(world.agents.list(&RoomName::new("lobby"), Some(made.id)).is_empty());
    world.wait(3 * SECOND);
    let removed = |decision: &Decision| matches!(decision, Decision::Remove { room, agent } if room.as_str() == "lobby" && agent.as_str() == "agent");
    assert!(world.told.iter().any(removed), "{:?}", world.told);
    assert_eq!(world.agents.running(), 0);
    assert!(world.withdraw("lobby", made.id).is_none());
    assert!(world.withdraw("lobby", DispatchId(1)).is_none());
}

#[test]
fn an_agent_that_leaves_when_its_order_is_taken_back_is_not_removed() {
    let mut world = World::new();
    let worker = world.worker(group(JobKind::Room, "waiter"));
    world.start(1, "lobby", &["nobody"]);
    let made = world.dispatch("lobby", order("waiter"));
    let (_, job) = world.take("agent");
    let agent = world.join_as("agent", ParticipantKind::Agent);
    world.withdraw("lobby", made.id);
    world.leave(&agent, LeaveReason::ClientInitiated);
    world.update(worker, job, Status::Succeeded);
    world.wait(10 * SECOND);
    assert!(!world.told.iter().any(|decision| matches!(decision, Decision::Remove { .. })));
    assert_eq!(world.agents.tally().succeeded, 1);
}

#[test]
fn an_offer_of_an_order_that_was_taken_back_leads_to_nothing() {
    let mut world = World::new();
    world.worker(group(JobKind::Room, "waiter"));
    world.start(1, "lobby", &["nobody"]);
    let made = world.dispatch("lobby", order("waiter"));
    let (worker, job) = world.offer();
    world.withdraw("lobby", made.id);
    world.answer(worker, job.id, super::world::takes("agent"));
    assert_eq!((world.agents.running(), world.agents.tally().out_of_place), (0, 1));
}

#[test]
fn the_end_of_a_room_ends_its_jobs_and_its_name_starts_anew() {
    let mut world = World::new();
    let worker = world.worker(group(JobKind::Room, ""));
    world.start(1, "lobby", &[]);
    let (_, job) = world.take("agent");
    world.dispatch("lobby", order("waiter"));
    world.finish(1, "lobby");
    assert_eq!(world.terminated(), [(worker, job)]);
    assert!(world.agents.list(&RoomName::new("lobby"), None).is_empty());
    world.start(2, "lobby", &[]);
    assert_ne!(world.take("agent").1, job);
    world.finish(1, "lobby");
    assert_eq!(world.agents.list(&RoomName::new("lobby"), None).len(), 1, "the old one ended already");
}

#[test]
fn a_person_who_comes_again_gets_an_agent_again_unless_one_is_there() {
    let mut world = World::new();
    let worker = world.worker(group(JobKind::Participant, ""));
    world.start(1, "lobby", &[]);
    let ann = world.join("ann");
    let (_, job) = world.take("agent");
    let again = world.join("ann");
    world.leave(&ann, LeaveReason::DuplicateIdentity);
    assert!(world.offers().is_empty(), "her agent is there");
    world.update(worker, job, Status::Succeeded);
    assert!(world.offers().is_empty(), "it has done its work");
    world.leave(&again, LeaveReason::ClientInitiated);
    world.join("ann");
    assert_ne!(world.offer().1.id, job);
}

#[test]
fn a_job_about_somebody_who_is_gone_is_not_begun() {
    let mut world = World::new();
    world.start(1, "lobby", &[]);
    let worker = world.worker(group(JobKind::Participant, ""));
    world.report(worker, 0.0, false);
    let ann = world.join("ann");
    world.leave(&ann, LeaveReason::ClientInitiated);
    world.report(worker, 0.0, true);
    assert!(world.offers().is_empty());
}

#[test]
fn a_room_takes_a_bounded_number_of_orders_and_lists_a_bounded_number_of_jobs() {
    let mut world = World::new();
    let worker = world.worker(group(JobKind::Participant, ""));
    world.start(1, "lobby", &[]);
    for visit in 0..200 {
        let ann = world.join("ann");
        let (_, job) = world.take(&format!("agent {visit}"));
        world.update(worker, job, Status::Succeeded);
        world.leave(&ann, LeaveReason::ClientInitiated);
    }
    assert_eq!(world.jobs().len(), 64);
    let room = RoomName::new("lobby");
    let made = (0..100).filter(|_| world.agents.dispatch(world.now, &room, order("x")).is_ok()).count();
    assert_eq!(made, MAX_DISPATCHES - 1);
}
