//! Anything at all in any order: the books stay right, and nothing is left when the rooms are over.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base::model::{LeaveReason, Participant, ParticipantKind};
use base::{AgentWorkerId, DispatchId, JobId};

use super::world::{World, group, order, takes};
use crate::{Answer, Decision, JobKind, Status};

const SEEDS: u64 = 60;
const STEPS: usize = 400;

struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % sides.max(1)
    }

    fn pick<T: Clone>(&mut self, all: &[T]) -> Option<T> {
        all.get(self.below(all.len())).cloned()
    }
}

/// What the dice know of the world.
#[derive(Default)]
struct Known {
    workers: Vec<AgentWorkerId>,
    /// Workers and jobs that have or had to do with each other.
    jobs: Vec<(AgentWorkerId, JobId)>,
    people: Vec<Arc<Participant>>,
    dispatches: Vec<DispatchId>,
    is_open: bool,
    /// How many workers have each job now, as they were told.
    holders: BTreeMap<JobId, AgentWorkerId>,
}

fn step(world: &mut World, dice: &mut Dice, known: &mut Known) {
    let names = ["", "waiter"];
    let kinds = [JobKind::Room, JobKind::Publisher, JobKind::Participant];
    match dice.below(16) {
        0 if known.workers.len() < 6 => {
            let group = group(kinds[dice.below(3)], names[dice.below(2)]);
            known.workers.push(world.worker(group));
        }
        1 if dice.below(3) == 0 && !known.workers.is_empty() => {
            let worker = known.workers.remove(dice.below(known.workers.len()));
            world.lose(worker);
        }
        2 => {
            if let Some(worker) = dice.pick(&known.workers) {
                world.report(worker, dice.below(3) as f32 / 2.0, dice.below(4) > 0);
            }
        }
        3..=6 => {
            // Mostly one that is open.
            let first = known.jobs.len().saturating_sub(4);
            if let Some((worker, job)) = dice.pick(&known.jobs[first..]) {
                let identity = format!("agent {}", dice.below(4));
                let answers = [takes(&identity), takes("ann"), Answer::Refuses, Answer::Forbids];
                world.answer(worker, job, answers[dice.below(5).saturating_sub(1)].clone());
            }
        }
        7 => {
            if let Some((worker, job)) = dice.pick(&known.jobs) {
                let status = [Status::Running, Status::Succeeded, Status::Failed][dice.below(3)];
                world.update(worker, job, status);
            }
        }
        8 => {
            if let (Some(worker), Some((_, job))) = (dice.pick(&known.workers), dice.pick(&known.jobs)) {
                world.resume(worker, job);
            }
        }
        9 if known.people.len() < 5 => {
            let (name, kind) =
                [("ann", ParticipantKind::Standard), ("agent 1", ParticipantKind::Agent)][dice.below(2)];
            known.people.push(world.join_as(name, kind));
        }
        10 if !known.people.is_empty() => {
            let who = known.people.remove(dice.below(known.people.len()));
            let reasons = [
                LeaveReason::ClientInitiated,
                LeaveReason::DuplicateIdentity,
                LeaveReason::ConnectionTimeout,
                LeaveReason::Moved,
            ];
            world.leave(&who, reasons[dice.below(4)]);
        }
        11 => {
            if let Some(who) = dice.pick(&known.people) {
                world.publish(&who);
            }
        }
        12 if known.dispatches.len() < 4 => {
            known.dispatches.push(world.dispatch("lobby", order(names[dice.below(2)])).id);
        }
        13 if !known.dispatches.is_empty() => {
            let id = known.dispatches.remove(dice.below(known.dispatches.len()));
            world.withdraw("lobby", id);
        }
        14 if !known.is_open || dice.below(8) == 0 => {
            match known.is_open {
                true => world.finish(1, "lobby"),
                false => world.start(1, "lobby", &[]),
            }
            known.is_open = !known.is_open;
            known.people.clear();
        }
        _ => world.wait(Duration::from_millis(dice.below(20_000) as u64)),
    }
    for decision in std::mem::take(&mut world.told) {
        match decision {
            Decision::Ask { worker, job, .. } => known.jobs.push((worker, job.id)),
            Decision::Assign { worker, job, .. } => {
                let before = known.holders.insert(job.id, worker);
                assert!(
                    before.is_none_or(|before| before == worker || !known.workers.contains(&before)),
                    "{} was given to two workers",
                    job.id
                );
            }
            Decision::Ended(job) => drop(known.holders.remove(&job.id)),
            _ => {}
        }
    }
    if known.jobs.len() > 20 {
        known.jobs.drain(..10);
    }
}

#[test]
fn whatever_happens_no_job_is_given_twice_and_nothing_stays_behind() {
    let mut assigned = 0;
    for seed in 0..SEEDS {
        let (mut world, mut dice, mut known) = (World::new(), Dice(seed), Known::default());
        for _ in 0..STEPS {
            step(&mut world, &mut dice, &mut known);
        }
        if known.is_open {
            world.finish(1, "lobby");
        }
        world.wait(Duration::from_secs(600));
        assert!(world.agents.is_empty(), "seed {seed}");
        assigned += world.agents.tally().assigned;
    }
    assert!(assigned > 300, "the dice are unfair: {assigned}");
}
