//! One job: its phases, and how it ends.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::agents::Dispatch;
use base::model::{LeaveReason, Participant};
use base::{AgentWorkerId, DispatchId, Identity, JobId, RoomId, UnixMillis};

use crate::{Agents, Decision, Group, Job, Now, Status};

/// How long a worker may stay away before its jobs go to others, unless their agents are in the room. Workers come back at once,
/// and then after 2 and 4 s.
const RETURN_WITHIN: Duration = Duration::from_secs(10);
/// How long an agent whose connection broke may stay away before its job is over. Clients that come back as somebody new do so
/// within seconds.
const AGENT_RETURN_WITHIN: Duration = Duration::from_secs(15);
/// How long a worker may take to say how a job ended whose agent has left by itself.
const LAST_WORD_WITHIN: Duration = Duration::from_secs(10);
/// How long an agent may take to leave when its job was ended from outside.
const LEAVE_WITHIN: Duration = Duration::from_secs(3);
/// How often a job goes to another worker after it lost one: one that brings its workers down must not bring all of them down.
const MAX_RESTARTS: u32 = 3;

/// How far a job is, and who has it.
#[derive(Clone, Debug)]
pub(crate) enum Phase {
    /// It is in its group's queue.
    Queued,
    /// Everyone has refused it. Queued again at the deadline.
    Resting,
    /// It is offered to this worker, which has time until the deadline.
    Asked(AgentWorkerId),
    /// This worker has it. Deadline: its agent's connection broke, and it has to be back by then.
    Running(AgentWorkerId),
    /// Its worker is gone since then. Deadline: when it goes to another one.
    Lost(Instant),
    /// It is to be over. Deadline: when it is, whatever its worker says.
    Ending(Option<AgentWorkerId>, Ending),
    /// It is over.
    Ended,
}

/// What a job that ends is to be when its worker says nothing more.
#[derive(Clone, Debug)]
pub(crate) struct Ending {
    pub status: Status,
    pub error: String,
    /// Its agent is removed from the room if it is still there.
    pub remove: bool,
}

/// A job.
pub(crate) struct Entry {
    /// Jobs are served in the order of these.
    pub number: u64,
    pub dispatch: DispatchId,
    pub order: Arc<Dispatch>,
    pub group: Group,
    pub room: RoomId,
    pub target: Option<Arc<Participant>>,
    pub phase: Phase,
    pub deadline: Option<Instant>,
    /// Who has refused it since it last rested.
    pub refused_by: BTreeSet<AgentWorkerId>,
    /// How often it has rested.
    pub rests: u32,
    pub restarts: u32,
    /// Another worker had it before.
    pub resuming: bool,
    pub status: Status,
    pub error: String,
    pub started_at: Option<UnixMillis>,
    pub ended_at: Option<UnixMillis>,
    pub updated_at: UnixMillis,
    /// Who was sent last.
    pub agent: Option<Identity>,
    /// It is in the room.
    pub is_present: bool,
    pub worker: Option<AgentWorkerId>,
    /// Of the worker that had it last.
    pub api_key: Option<String>,
    /// Who says that it is his, and gets it if the worker that has it is lost.
    pub claimed_by: Option<AgentWorkerId>,
}

/// What a job is about: its slot. No two jobs that are not over have the same.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Slot {
    pub group: Group,
    pub target: Option<Identity>,
}

impl Entry {
    pub fn slot(&self) -> Slot {
        let target = self.target.as_ref().map(|target| target.identity.clone());
        Slot { group: self.group.clone(), target }
    }

    /// No worker has taken it.
    fn is_waiting(&self) -> bool {
        matches!(self.phase, Phase::Queued | Phase::Resting | Phase::Asked(_))
    }
}

impl Agents {
    /// The one place where a job's phase changes: what refers to it changes along.
    pub(crate) fn enter(&mut self, id: JobId, phase: Phase, deadline: Option<Instant>) {
        let Some(entry) = self.jobs.get_mut(&id) else { return };
        if let Some(at) = entry.deadline.take() {
            self.deadlines.remove(&(at, id));
        }
        entry.deadline = deadline;
        let place = (entry.number, id);
        match &entry.phase {
            Phase::Queued => {
                if let Some(queue) = self.queues.get_mut(&entry.group) {
                    queue.remove(&place);
                    if queue.is_empty() {
                        self.queues.remove(&entry.group);
                    }
                }
            }
            Phase::Asked(worker) | Phase::Running(worker) | Phase::Ending(Some(worker), _) => {
                if let Some(worker) = self.workers.get_mut(worker) {
                    worker.asked.remove(&id);
                    worker.running.remove(&id);
                }
            }
            Phase::Resting | Phase::Lost(_) | Phase::Ending(None, _) | Phase::Ended => {}
        }
        match &phase {
            Phase::Queued => {
                self.queues.entry(entry.group.clone()).or_default().insert(place);
            }
            Phase::Asked(worker) => {
                if let Some(worker) = self.workers.get_mut(worker) {
                    worker.asked.insert(id);
                }
            }
            Phase::Running(worker) | Phase::Ending(Some(worker), _) => {
                if let Some(worker) = self.workers.get_mut(worker) {
                    worker.running.insert(id);
                }
            }
            Phase::Resting | Phase::Lost(_) | Phase::Ending(None, _) | Phase::Ended => {}
        }
        entry.phase = phase;
        if let Some(at) = deadline {
            self.deadlines.insert((at, id));
        }
    }

    /// Carries out what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        while let Some((_, id)) = self.deadlines.first().copied().filter(|(at, _)| *at <= now.at) {
            // Every branch leaves the phase, and with it the deadline.
            self.due(now, id);
        }
        while self.early.front().is_some_and(|early| early.until <= now.at) {
            self.early.pop_front();
        }
    }

    fn due(&mut self, now: Now, id: JobId) {
        let Some(entry) = self.jobs.get(&id) else { return };
        let group = entry.group.clone();
        match entry.phase.clone() {
            Phase::Resting => {
                self.enter(id, Phase::Queued, None);
                self.serve(now, &group);
            }
            Phase::Asked(worker) => {
                self.tally.unanswered += 1;
                self.pass_on(now, id, worker);
                self.serve(now, &group);
            }
            Phase::Running(_) => {
                self.end(now, id, Ending::badly("the agent lost its connection to the room"))
            }
            Phase::Lost(_) => {
                self.hand_on(now, id);
                self.serve(now, &group);
            }
            Phase::Ending(_, ending) => self.finish(now, id, ending.status, ending.error),
            Phase::Queued | Phase::Ended => self.enter(id, entry.phase.clone(), None),
        }
    }

    /// The worker of a running job is gone.
    pub(crate) fn lose(&mut self, now: Now, id: JobId) {
        let Some(entry) = self.jobs.get_mut(&id) else { return };
        entry.updated_at = now.wall;
        match entry.phase.clone() {
            Phase::Ending(_, ending) => {
                let deadline = entry.deadline;
                self.enter(id, Phase::Ending(None, ending), deadline);
            }
            _ if let Some(worker) = entry.claimed_by.filter(|worker| self.workers.contains_key(worker)) => {
                self.take_back(id, worker);
            }
            _ => {
                // While its agent is there, all is well.
                let deadline = (!entry.is_present).then_some(now.at + RETURN_WITHIN);
                self.enter(id, Phase::Lost(now.at), deadline);
            }
        }
    }

    /// A worker goes on with a job that was its own.
    pub(crate) fn take_back(&mut self, id: JobId, worker: AgentWorkerId) {
        let Some(entry) = self.jobs.get_mut(&id) else { return };
        (entry.worker, entry.status, entry.claimed_by) = (Some(worker), Status::Running, None);
        self.enter(id, Phase::Running(worker), None);
    }

    /// A job whose worker is lost goes to another.
    fn hand_on(&mut self, now: Now, id: JobId) {
        let Some(entry) = self.jobs.get_mut(&id) else { return };
        if entry.order.never_restart || entry.restarts >= MAX_RESTARTS {
            return self.finish(now, id, Status::Failed, "its worker was lost".to_owned());
        }
        entry.restarts += 1;
        entry.resuming = true;
        entry.status = Status::Pending;
        entry.updated_at = now.wall;
        entry.refused_by.clear();
        entry.rests = 0;
        self.tally.handed_on += 1;
        self.enter(id, Phase::Queued, None);
    }

    /// Ends a job that nobody may have begun: what is not begun is forgotten.
    pub(crate) fn call_off(&mut self, now: Now, id: JobId, mut ending: Ending) {
        let Some(entry) = self.jobs.get(&id) else { return };
        if entry.is_waiting() && !entry.resuming {
            return self.forget(id);
        }
        ending.remove = true;
        self.end(now, id, ending);
    }

    /// Tells a worker to end a job, and waits for its word.
    pub(crate) fn end(&mut self, now: Now, id: JobId, ending: Ending) {
        let Some(entry) = self.jobs.get(&id) else { return };
        match entry.phase {
            Phase::Running(worker) => {
                self.decisions.push_back(Decision::Terminate { worker, job: id });
                let within = if ending.remove { LEAVE_WITHIN } else { LAST_WORD_WITHIN };
                self.enter(id, Phase::Ending(Some(worker), ending), Some(now.at + within));
            }
            Phase::Lost(_) if entry.is_present && ending.remove => {
                self.enter(id, Phase::Ending(None, ending), Some(now.at + LEAVE_WITHIN));
            }
            Phase::Ending(worker, ref before) => {
                let remove = ending.remove || before.remove;
                let deadline = entry.deadline;
                self.enter(id, Phase::Ending(worker, Ending { remove, ..ending }), deadline);
            }
            Phase::Ended => {}
            _ => self.finish(now, id, ending.status, ending.error),
        }
    }

    /// A job is over.
    pub(crate) fn finish(&mut self, now: Now, id: JobId, status: Status, error: String) {
        let Some(entry) = self.jobs.get_mut(&id) else { return };
        let removes = matches!(&entry.phase, Phase::Ending(_, ending) if ending.remove) && entry.is_present;
        (entry.status, entry.error) = (status, error);
        (entry.ended_at, entry.updated_at) = (Some(now.wall), now.wall);
        let (room, agent, had_started) = (entry.room, entry.agent.clone(), entry.started_at.is_some());
        match status {
            Status::Succeeded => self.tally.succeeded += 1,
            _ => self.tally.failed += 1,
        }
        self.enter(id, Phase::Ended, None);
        if had_started && let Some(job) = self.view(id) {
            self.decisions.push_back(Decision::Ended(Arc::new(job)));
        }
        if let Some(agent) = agent {
            self.dismiss(room, id, agent, removes);
        }
        self.file(id);
    }

    /// An agent's session in the room is over.
    pub(crate) fn agent_left(&mut self, now: Now, id: JobId, reason: Option<LeaveReason>) {
        let Some(entry) = self.jobs.get_mut(&id) else { return };
        entry.is_present = false;
        match entry.phase {
            Phase::Running(worker) => match reason {
                Some(LeaveReason::ClientInitiated) => self.end(now, id, Ending::well()),
                Some(LeaveReason::ParticipantRemoved) => {
                    self.end(now, id, Ending::badly("the agent was removed from the room"));
                }
                // It goes on elsewhere.
                Some(LeaveReason::Moved) => self.enter(id, Phase::Running(worker), None),
                // It comes back as somebody new, under the same name.
                _ => self.enter(id, Phase::Running(worker), Some(now.at + AGENT_RETURN_WITHIN)),
            },
            // Agents that lose their worker leave, too, or are cut off with it; a worker that is only on its way back says so.
            Phase::Lost(since) => {
                let at = match reason {
                    Some(LeaveReason::ClientInitiated) => (since + RETURN_WITHIN).max(now.at),
                    _ => now.at,
                };
                self.enter(id, Phase::Lost(since), Some(at));
                self.handle_timeout(now);
            }
            _ => {}
        }
    }

    /// An agent's session in the room is up.
    pub(crate) fn agent_came(&mut self, id: JobId) {
        let Some(entry) = self.jobs.get_mut(&id) else { return };
        entry.is_present = true;
        let phase = entry.phase.clone();
        if matches!(phase, Phase::Running(_) | Phase::Lost(_)) {
            self.enter(id, phase, None);
        }
    }

    /// As it is told.
    pub(crate) fn view(&self, id: JobId) -> Option<Job> {
        let entry = self.jobs.get(&id)?;
        let room = self.rooms.get(&entry.room)?.info.clone();
        let job = Job::new(id, entry.dispatch, Arc::clone(&entry.order), entry.group.clone(), room);
        Some(Job {
            target: entry.target.clone(),
            status: entry.status,
            error: entry.error.clone(),
            started_at: entry.started_at,
            ended_at: entry.ended_at,
            updated_at: entry.updated_at,
            agent: entry.agent.clone(),
            worker: entry.worker,
            ..job
        })
    }
}
