//! Workers: coming, what they say of themselves, going.

use std::collections::BTreeSet;

use base::{AgentWorkerId, JobId};

use crate::job::{Ending, Phase};
use crate::{Agents, Decision, MAX_WORKERS, Now, Registration, Status};

/// Offers that one worker has to answer at a time. Workers answer in milliseconds and then start a process.
const MAX_ASKED: usize = 16;
/// What a job may add to a worker's load, until the worker itself says what it added. Only to spread jobs that come at once.
const GUESSED_LOAD: f32 = 0.05;

/// A connected worker.
pub(crate) struct Worker {
    pub registration: Registration,
    /// It takes jobs now.
    available: bool,
    /// 0 (idle) to 1, or what it says.
    load: f32,
    /// Jobs offered since it said its load.
    since: u16,
    pub asked: BTreeSet<JobId>,
    pub running: BTreeSet<JobId>,
    /// Which registration it was.
    number: u64,
}

impl Worker {
    /// Can it be offered a job?
    pub fn is_open(&self) -> bool {
        self.available && self.asked.len() < MAX_ASKED
    }

    /// The smallest is asked first.
    pub fn rank(&self) -> Rank {
        let load = self.load + GUESSED_LOAD * f32::from(self.since);
        // Thousandths: floating-point numbers have no order. The cast saturates.
        Rank((load * 1_000.0) as u32, self.asked.len() + self.running.len(), self.number)
    }

    pub fn note_offer(&mut self) {
        self.since = self.since.saturating_add(1);
    }
}

/// Load, jobs, and who came first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank(u32, usize, u64);

/// There are as many workers as there may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooManyWorkers;

impl Agents {
    /// A worker comes.
    ///
    /// # Errors
    /// [`TooManyWorkers`] beyond [`MAX_WORKERS`].
    pub fn register(
        &mut self,
        now: Now,
        registration: Registration,
    ) -> Result<AgentWorkerId, TooManyWorkers> {
        if self.workers.len() >= MAX_WORKERS {
            return Err(TooManyWorkers);
        }
        let id = AgentWorkerId((self.random)());
        let group = registration.group.clone();
        let number = self.next_number();
        let worker = Worker {
            registration,
            available: true,
            load: 0.0,
            since: 0,
            asked: BTreeSet::new(),
            running: BTreeSet::new(),
            number,
        };
        self.workers.insert(id, worker);
        let members = self.groups.entry(group.clone()).or_default();
        members.insert(id);
        if members.len() == 1 {
            self.want_all(now, &group);
        }
        self.serve(now, &group);
        Ok(id)
    }

    /// A worker says how busy it is. `available`: it takes jobs; `None`: as before.
    pub fn report(&mut self, now: Now, id: AgentWorkerId, load: f32, available: Option<bool>) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        // What is no number is as good as full.
        worker.load = if load.is_nan() { 1.0 } else { load.clamp(0.0, 1_000.0) };
        worker.since = 0;
        worker.available = available.unwrap_or(worker.available);
        let group = worker.registration.group.clone();
        self.serve(now, &group);
    }

    /// A worker says how one of its jobs goes.
    pub fn update(&mut self, now: Now, id: AgentWorkerId, job: JobId, status: Status, error: String) {
        if !self.may_speak_of(id, job) {
            self.tally.out_of_place += 1;
            return;
        }
        match status {
            Status::Succeeded | Status::Failed => self.finish(now, job, status, error),
            Status::Running | Status::Pending => {
                if let Some(entry) = self.jobs.get_mut(&job) {
                    (entry.error, entry.updated_at) = (error, now.wall);
                }
            }
        }
    }

    /// A worker has come back over another connection and goes on with these jobs.
    pub fn resume(&mut self, now: Now, id: AgentWorkerId, jobs: &[JobId]) {
        for job in jobs {
            let Some(entry) = self.jobs.get(job).filter(|_| self.is_of_same_kind(id, *job)) else {
                self.tally.out_of_place += 1;
                continue;
            };
            match entry.phase {
                Phase::Running(other) if other == id => {}
                // It was given to somebody else meanwhile: two agents would be one too many.
                Phase::Running(_) if entry.resuming => {
                    self.decisions.push_back(Decision::Terminate { worker: id, job: *job });
                }
                // Whose connection may be dead without our knowing it, if he is this worker; if he is not, the job stays his.
                Phase::Running(_) => {
                    if let Some(entry) = self.jobs.get_mut(job) {
                        entry.claimed_by = Some(id);
                    }
                }
                Phase::Ending(_, ref ending) => {
                    let ending = ending.clone();
                    let deadline = entry.deadline;
                    self.enter(*job, Phase::Ending(Some(id), ending), deadline);
                    self.decisions.push_back(Decision::Terminate { worker: id, job: *job });
                }
                Phase::Ended => self.tally.out_of_place += 1,
                Phase::Queued | Phase::Resting | Phase::Asked(_) | Phase::Lost(_) => self.take_back(*job, id),
            }
        }
        if let Some(group) = self.workers.get(&id).map(|worker| worker.registration.group.clone()) {
            self.serve(now, &group);
        }
    }

    /// A worker is gone.
    pub fn lost(&mut self, now: Now, id: AgentWorkerId) {
        let Some(worker) = self.workers.remove(&id) else { return };
        let group = worker.registration.group;
        if let Some(members) = self.groups.get_mut(&group) {
            members.remove(&id);
            if members.is_empty() {
                self.groups.remove(&group);
            }
        }
        for job in worker.asked {
            self.enter(job, Phase::Queued, None);
        }
        for job in worker.running {
            self.lose(now, job);
        }
        self.serve(now, &group);
    }

    /// Its own jobs, and those that its like had before it came back.
    fn may_speak_of(&self, id: AgentWorkerId, job: JobId) -> bool {
        match self.jobs.get(&job).map(|entry| &entry.phase) {
            Some(Phase::Running(worker) | Phase::Ending(Some(worker), _)) => *worker == id,
            Some(Phase::Lost(_) | Phase::Ending(None, _)) => self.is_of_same_kind(id, job),
            _ => false,
        }
    }

    /// Of the job's group, and let in by the key that let in whoever had the job.
    fn is_of_same_kind(&self, id: AgentWorkerId, job: JobId) -> bool {
        let (Some(worker), Some(entry)) = (self.workers.get(&id), self.jobs.get(&job)) else { return false };
        let registration = &worker.registration;
        registration.group == entry.group && entry.api_key.as_ref() == Some(&registration.api_key)
    }
}

/// What a job that ends is to be when its worker says nothing more.
impl Ending {
    pub(crate) fn well() -> Self {
        Self { status: Status::Succeeded, error: String::new(), remove: false }
    }

    pub(crate) fn badly(error: impl Into<String>) -> Self {
        Self { status: Status::Failed, error: error.into(), remove: false }
    }
}
