//! Workers and agents that are gone.

use std::time::Duration;

use base::agents::Dispatch;
use base::model::{LeaveReason, ParticipantKind};
use base::{AgentWorkerId, JobId};

use super::world::{World, group, order, takes};
use crate::{Decision, JobKind, Status};

const SECOND: Duration = Duration::from_secs(1);

/// A worker that has the one job of a room.
fn at_work() -> (World, AgentWorkerId, JobId) {
    let mut world = World::new();
    let first = world.worker(group(JobKind::Room, ""));
    world.start(1, "lobby", &[]);
    let (_, job) = world.take("agent");
    (world, first, job)
}

#[test]
fn the_jobs_of_a_worker_that_does_not_come_back_go_to_another() {
    let (mut world, first, job) = at_work();
    let second = world.worker(group(JobKind::Room, ""));
    world.lose(first);
    world.wait(9 * SECOND);
    assert!(world.offers().is_empty(), "it may come back");
    world.wait(SECOND);
    let resuming = world.told.iter().any(|d| matches!(d, Decision::Ask { resuming: true, .. }));
    assert!(resuming, "{:?}", world.told);
    assert_eq!(world.take("agent"), (second, job));
    assert_eq!(world.jobs(), [(Status::Running, String::new())]);
}

#[test]
fn an_agent_that_is_in_the_room_keeps_its_job_without_its_worker() {
    let (mut world, first, job) = at_work();
    let agent = world.join_as("agent", ParticipantKind::Agent);
    world.lose(first);
    let second = world.worker(group(JobKind::Room, ""));
    world.wait(600 * SECOND);
    assert!(world.offers().is_empty());
    world.leave(&agent, LeaveReason::ConnectionTimeout);
    assert_eq!(world.take("agent"), (second, job));
}

#[test]
fn an_agent_that_leaves_with_its_worker_is_replaced() {
    let mut world = World::new();
    let first = world.worker(group(JobKind::Room, ""));
    world.start(1, "lobby", &[]);
    world.take("agent");
    let agent = world.join_as("agent", ParticipantKind::Agent);
    world.worker(group(JobKind::Room, ""));
    world.lose(first);
    world.leave(&agent, LeaveReason::ClientInitiated);
    assert!(world.offers().is_empty(), "its worker may come and say that all is done");
    world.wait(10 * SECOND);
    world.offer();
}

#[test]
fn a_worker_that_comes_back_goes_on_with_its_jobs() {
    let (mut world, first, job) = at_work();
    world.lose(first);
    let back = world.worker(group(JobKind::Room, ""));
    world.resume(back, job);
    world.wait(600 * SECOND);
    assert!(world.offers().is_empty());
    assert_eq!(world.agents.running(), 1);
    world.update(back, job, Status::Succeeded);
    assert_eq!(world.jobs(), [(Status::Succeeded, String::new())]);
}

#[test]
fn a_worker_that_comes_back_says_how_a_job_ended_meanwhile() {
    let (mut world, first, job) = at_work();
    world.lose(first);
    let back = world.worker(group(JobKind::Room, ""));
    world.update(back, job, Status::Succeeded);
    world.wait(600 * SECOND);
    assert!(world.offers().is_empty());
    assert_eq!(world.jobs(), [(Status::Succeeded, String::new())]);
}

#[test]
fn a_worker_that_comes_back_too_late_is_told_to_end() {
    let (mut world, first, job) = at_work();
    world.lose(first);
    let second = world.worker(group(JobKind::Room, ""));
    world.wait(10 * SECOND);
    world.take("agent");
    let back = world.worker(group(JobKind::Room, ""));
    world.terminated();
    world.resume(back, job);
    assert_eq!(world.terminated(), [(back, job)]);
    world.update(back, job, Status::Failed);
    assert_eq!(world.jobs(), [(Status::Running, String::new())], "the other has it");
    world.update(second, job, Status::Succeeded);
}

#[test]
fn a_worker_that_is_back_before_its_old_connection_is_missed_gets_its_job_then() {
    let mut world = World::new();
    let old = world.worker(group(JobKind::Room, ""));
    world.start(1, "lobby", &[]);
    let (_, job) = world.take("agent");
    let back = world.worker(group(JobKind::Room, ""));
    world.resume(back, job);
    world.update(back, job, Status::Failed);
    assert_eq!(
        world.jobs(),
        [(Status::Running, String::new())],
        "it is the other's as long as that is there"
    );
    world.lose(old);
    world.wait(600 * SECOND);
    assert!(world.offers().is_empty());
    world.update(back, job, Status::Succeeded);
    assert_eq!(world.jobs(), [(Status::Succeeded, String::new())]);
}

#[test]
fn nobody_else_speaks_for_a_job() {
    let mut world = World::new();
    world.worker(group(JobKind::Room, ""));
    world.start(1, "lobby", &[]);
    let (_, job) = world.take("agent");
    let same = world.worker(group(JobKind::Room, ""));
    let other = world.worker(group(JobKind::Room, "other"));
    world.update(same, job, Status::Failed);
    world.update(other, job, Status::Failed);
    world.resume(other, job);
    assert_eq!(world.jobs(), [(Status::Running, String::new())]);
    assert_eq!(world.agents.tally().out_of_place, 3);
}

#[test]
fn a_job_that_brings_its_workers_down_does_not_bring_all_of_them_down() {
    let mut world = World::new();
    world.start(1, "lobby", &[]);
    let mut taken = 0;
    for _ in 0..10 {
        let worker = world.worker(group(JobKind::Room, ""));
        if let Some((_, job)) = world.offers().pop() {
            taken += 1;
            world.answer(worker, job.id, takes("agent"));
        }
        world.lose(worker);
        world.wait(10 * SECOND);
    }
    assert_eq!(taken, 4);
    assert_eq!(world.jobs(), [(Status::Failed, "its worker was lost".to_owned())]);
}

#[test]
fn an_order_may_forbid_a_second_try() {
    let mut world = World::new();
    let worker = world.worker(group(JobKind::Room, "waiter"));
    world.start(1, "lobby", &["nobody"]);
    world.dispatch("lobby", Dispatch { never_restart: true, ..order("waiter") });
    world.take("agent");
    world.worker(group(JobKind::Room, "waiter"));
    world.lose(worker);
    world.wait(60 * SECOND);
    assert!(world.offers().is_empty());
    assert_eq!(world.jobs(), [(Status::Failed, "its worker was lost".to_owned())]);
}

#[test]
fn an_agent_that_leaves_has_ended_its_job_even_if_its_worker_says_nothing() {
    for (reason, status) in
        [(LeaveReason::ClientInitiated, Status::Succeeded), (LeaveReason::ParticipantRemoved, Status::Failed)]
    {
        let mut world = World::new();
        let worker = world.worker(group(JobKind::Room, ""));
        world.start(1, "lobby", &[]);
        let (_, job) = world.take("agent");
        let agent = world.join_as("agent", ParticipantKind::Agent);
        world.leave(&agent, reason);
        assert_eq!(world.terminated(), [(worker, job)]);
        assert_eq!(world.jobs()[0].0, Status::Running);
        world.wait(10 * SECOND);
        assert_eq!(world.jobs()[0].0, status);
        assert!(world.told.iter().any(|decision| matches!(decision, Decision::Ended(_))));
    }
}

#[test]
fn an_agent_that_joins_anew_keeps_its_job() {
    let mut world = World::new();
    world.worker(group(JobKind::Room, ""));
    world.start(1, "lobby", &[]);
    world.take("agent");
    let agent = world.join_as("agent", ParticipantKind::Agent);
    world.leave(&agent, LeaveReason::DuplicateIdentity);
    world.wait(14 * SECOND);
    let agent = world.join_as("agent", ParticipantKind::Agent);
    world.wait(600 * SECOND);
    assert_eq!(world.jobs(), [(Status::Running, String::new())]);
    world.leave(&agent, LeaveReason::ConnectionTimeout);
    world.wait(15 * SECOND);
    assert_eq!(world.terminated().len(), 1);
    world.wait(10 * SECOND);
    assert_eq!(world.jobs()[0].0, Status::Failed);
}

#[test]
fn an_offer_to_a_worker_that_is_lost_goes_to_the_next() {
    let mut world = World::new();
    let first = world.worker(group(JobKind::Room, ""));
    let second = world.worker(group(JobKind::Room, ""));
    world.start(1, "lobby", &[]);
    assert_eq!(world.offer().0, first);
    world.lose(first);
    assert_eq!(world.take("agent").0, second);
}
