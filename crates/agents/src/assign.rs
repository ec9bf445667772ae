//! From the queue to a worker.

use std::sync::Arc;
use std::time::Duration;

use base::{AgentWorkerId, JobId};

use crate::job::{Ending, Phase};
use crate::{Agents, Answer, Decision, Group, Guest, Now, Status};

/// How long a worker may take to answer an offer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// The first rest of a job that everyone refused; each is twice as long as the one before.
const FIRST_REST: Duration = Duration::from_secs(1);
/// The longest rest.
const LONGEST_REST: Duration = Duration::from_secs(60);
/// How often everyone may refuse a job: after some five minutes it is given up. While all workers are full, it waits, and
/// this does not count.
const MAX_RESTS: u32 = 10;

impl Agents {
    /// Offers what waits for workers of this group, as far as there are any that can be asked.
    pub(crate) fn serve(&mut self, now: Now, group: &Group) {
        let Some(queue) = self.queues.get(group) else { return };
        let waiting: Vec<JobId> = queue.iter().map(|(_, id)| *id).collect();
        for id in waiting {
            if !self.has_open(group) {
                return;
            }
            self.offer(now, id);
        }
    }

    fn has_open(&self, group: &Group) -> bool {
        let members = self.groups.get(group).into_iter().flatten();
        members.filter_map(|id| self.workers.get(id)).any(|worker| worker.is_open())
    }

    /// Offers one job to the least loaded worker that has not refused it.
    fn offer(&mut self, now: Now, id: JobId) {
        let Some(entry) = self.jobs.get(&id) else { return };
        let members = self.groups.get(&entry.group).into_iter().flatten();
        let left = members.filter(|member| !entry.refused_by.contains(member));
        let left: Vec<AgentWorkerId> = left.copied().collect();
        let open = left.iter().filter_map(|id| Some((*id, self.workers.get(id)?)));
        let chosen = open.filter(|(_, worker)| worker.is_open()).min_by_key(|(_, worker)| worker.rank());
        match chosen.map(|(worker, _)| worker) {
            Some(worker) => self.ask(now, id, worker),
            None if left.is_empty() && !entry.refused_by.is_empty() => self.rest(now, id),
            None => {}
        }
    }

    fn ask(&mut self, now: Now, id: JobId, chosen: AgentWorkerId) {
        self.enter(id, Phase::Asked(chosen), Some(now.at + ANSWER_WITHIN));
        if let Some(worker) = self.workers.get_mut(&chosen) {
            worker.note_offer();
        }
        if let Some(job) = self.view(id)
            && let Some(entry) = self.jobs.get(&id)
        {
            let resuming = entry.resuming;
            self.decisions.push_back(Decision::Ask { worker: chosen, job: Box::new(job), resuming });
        }
    }

    fn rest(&mut self, now: Now, id: JobId) {
        let Some(entry) = self.jobs.get_mut(&id) else { return };
        entry.refused_by.clear();
        entry.rests += 1;
        if entry.rests > MAX_RESTS {
            let ending = Ending::badly("no worker took it");
            return self.finish(now, id, ending.status, ending.error);
        }
        let rest = FIRST_REST.saturating_mul(1 << (entry.rests - 1)).min(LONGEST_REST);
        self.enter(id, Phase::Resting, Some(now.at + rest));
    }

    /// A worker answers an offer.
    pub fn answer(&mut self, now: Now, worker: AgentWorkerId, id: JobId, answer: Answer) {
        let Some(entry) = self.jobs.get(&id).filter(|entry| is_asked(&entry.phase, worker)) else {
            // It took too long, or the job was called off meanwhile.
            self.tally.out_of_place += 1;
            return;
        };
        let group = entry.group.clone();
        let room = entry.room;
        match answer {
            Answer::Takes(guest) if !self.is_taken(room, &guest.identity) => {
                self.assign(now, id, worker, guest);
            }
            Answer::Refuses | Answer::Takes(_) => {
                self.tally.refused += 1;
                self.pass_on(now, id, worker);
            }
            Answer::Forbids => self.finish(now, id, Status::Succeeded, String::new()),
        }
        // It may be asked for the next one.
        self.serve(now, &group);
    }

    /// A job goes back into the queue, and not to this worker.
    pub(crate) fn pass_on(&mut self, now: Now, id: JobId, but: AgentWorkerId) {
        self.enter(id, Phase::Queued, None);
        if let Some(entry) = self.jobs.get_mut(&id) {
            entry.refused_by.insert(but);
            self.offer(now, id);
        }
    }

    fn assign(&mut self, now: Now, id: JobId, worker: AgentWorkerId, guest: Guest) {
        let Some(entry) = self.jobs.get_mut(&id) else { return };
        let first = entry.started_at.is_none();
        entry.started_at.get_or_insert(now.wall);
        (entry.status, entry.updated_at) = (Status::Running, now.wall);
        (entry.worker, entry.claimed_by) = (Some(worker), None);
        entry.api_key = self.workers.get(&worker).map(|worker| worker.registration.api_key.clone());
        let (room, before) = (entry.room, entry.agent.replace(guest.identity.clone()));
        entry.is_present = false;
        self.enter(id, Phase::Running(worker), None);
        if let Some(before) = before {
            self.dismiss(room, id, before, false);
        }
        self.expect(room, id, guest.identity.clone());
        self.tally.assigned += 1;
        let Some(job) = self.view(id) else { return };
        if first {
            self.decisions.push_back(Decision::Started(Arc::new(job.clone())));
        }
        self.decisions.push_back(Decision::Assign { worker, job: Box::new(job), guest });
    }
}

fn is_asked(phase: &Phase, worker: AgentWorkerId) -> bool {
    matches!(phase, Phase::Asked(asked) if *asked == worker)
}
