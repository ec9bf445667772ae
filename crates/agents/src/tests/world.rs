//! A server's agents, people and workers, driven by hand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::agents::Dispatch;
use base::events::{EventId, Happening, RoomEvent};
use base::model::{LeaveReason, Participant, ParticipantKind, Permissions, RoomInfo, Track};
use base::{
    AgentWorkerId, CodecKind, DispatchId, Identity, JobId, MediaKind, ParticipantId, RoomId, RoomName,
    TrackId, UnixMillis,
};

use crate::{Agents, Answer, Decision, Group, Guest, Job, JobKind, Now, Ordered, Registration, Status};

pub struct World {
    pub agents: Agents,
    pub now: Now,
    next: u64,
    /// Decisions that no test has looked at.
    pub told: Vec<Decision>,
}

pub fn group(kind: JobKind, agent: &str) -> Group {
    Group { agent: agent.to_owned(), deployment: String::new(), namespace: String::new(), kind }
}

pub fn order(agent: &str) -> Dispatch {
    Dispatch { agent: agent.to_owned(), ..Dispatch::default() }
}

pub fn takes(identity: &str) -> Answer {
    Answer::Takes(Guest {
        identity: Identity::new(identity),
        name: String::new(),
        metadata: String::new(),
        attributes: BTreeMap::new(),
    })
}

impl World {
    pub fn new() -> Self {
        let mut id = 1_000;
        let random = move || {
            id += 1;
            id
        };
        let now = Now { at: Instant::now(), wall: UnixMillis(1_700_000_000_000) };
        Self { agents: Agents::new(Box::new(random)), now, next: 0, told: Vec::new() }
    }

    pub fn wait(&mut self, time: Duration) {
        let end = self.now.at + time;
        while let Some(at) = self.agents.poll_timeout().filter(|at| *at <= end) {
            self.now = Now { at, wall: self.now.wall };
            self.agents.handle_timeout(self.now);
        }
        self.now.at = end;
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(decision) = self.agents.poll_decision() {
            self.told.push(decision);
        }
        self.agents.check();
    }

    pub fn worker(&mut self, group: Group) -> AgentWorkerId {
        let registration =
            Registration { group, permissions: Permissions::default(), api_key: "key".to_owned() };
        let id = self.agents.register(self.now, registration).expect("there is room");
        self.drain();
        id
    }

    pub fn report(&mut self, worker: AgentWorkerId, load: f32, available: bool) {
        self.agents.report(self.now, worker, load, Some(available));
        self.drain();
    }

    pub fn lose(&mut self, worker: AgentWorkerId) {
        self.agents.lost(self.now, worker);
        self.drain();
    }

    pub fn update(&mut self, worker: AgentWorkerId, job: JobId, status: Status) {
        self.agents.update(self.now, worker, job, status, String::new());
        self.drain();
    }

    pub fn resume(&mut self, worker: AgentWorkerId, job: JobId) {
        self.agents.resume(self.now, worker, &[job]);
        self.drain();
    }

    pub fn answer(&mut self, worker: AgentWorkerId, job: JobId, answer: Answer) {
        self.agents.answer(self.now, worker, job, answer);
        self.drain();
    }

    /// The offers since last asked.
    pub fn offers(&mut self) -> Vec<(AgentWorkerId, Job)> {
        let (offers, others) =
            std::mem::take(&mut self.told).into_iter().partition(|d| matches!(d, Decision::Ask { .. }));
        self.told = others;
        let offers: Vec<Decision> = offers;
        let offer = |decision| match decision {
            Decision::Ask { worker, job, .. } => Some((worker, *job)),
            _ => None,
        };
        offers.into_iter().filter_map(offer).collect()
    }

    /// The one offer since last asked.
    pub fn offer(&mut self) -> (AgentWorkerId, Job) {
        let mut offers = self.offers();
        assert_eq!(offers.len(), 1, "{offers:?}");
        offers.remove(0)
    }

    /// The one offer, taken by whoever got it.
    pub fn take(&mut self, identity: &str) -> (AgentWorkerId, JobId) {
        let (worker, job) = self.offer();
        self.answer(worker, job.id, takes(identity));
        (worker, job.id)
    }

    /// Jobs that workers were told to end since last asked.
    pub fn terminated(&mut self) -> Vec<(AgentWorkerId, JobId)> {
        let told = std::mem::take(&mut self.told).into_iter();
        let ended = told.filter_map(|decision| match decision {
            Decision::Terminate { worker, job } => Some((worker, job)),
            _ => None,
        });
        ended.collect()
    }

    fn happened(&mut self, room: u64, name: &str, what: Happening) {
        self.next += 1;
        let info = RoomInfo {
            id: RoomId(room),
            name: RoomName::new(name),
            metadata: String::new(),
            empty_timeout_s: 300,
            departure_timeout_s: 20,
            max_participants: 0,
            created_at: UnixMillis(0),
            participants: 0,
            publishers: 0,
            recording: false,
        };
        let id = EventId { source: room, number: self.next };
        self.agents.happened(self.now, &RoomEvent { id, at: self.now.wall, room: info, what });
        self.drain();
    }

    pub fn start(&mut self, room: u64, name: &str, agents: &[&str]) {
        let agents = agents.iter().map(|agent| order(agent)).collect();
        self.happened(room, name, Happening::RoomStarted { agents });
    }

    pub fn finish(&mut self, room: u64, name: &str) {
        self.happened(room, name, Happening::RoomFinished(LeaveReason::RoomClosed));
    }

    pub fn join(&mut self, identity: &str) -> Arc<Participant> {
        self.join_as(identity, ParticipantKind::Standard)
    }

    pub fn join_as(&mut self, identity: &str, kind: ParticipantKind) -> Arc<Participant> {
        self.next += 1;
        let id = ParticipantId(self.next);
        let who = Arc::new(Participant { kind, ..Participant::new(id, Identity::new(identity)) });
        self.happened(1, "lobby", Happening::ParticipantJoined(Arc::clone(&who)));
        who
    }

    pub fn leave(&mut self, who: &Arc<Participant>, why: LeaveReason) {
        let mut gone = Participant::clone(who);
        gone.left = Some(why);
        self.happened(1, "lobby", Happening::ParticipantLeft(Arc::new(gone)));
    }

    pub fn publish(&mut self, who: &Arc<Participant>) {
        self.next += 1;
        let track = Arc::new(Track::new(TrackId(self.next), MediaKind::Audio, CodecKind::Opus));
        self.happened(1, "lobby", Happening::TrackPublished { publisher: Arc::clone(who), track });
    }

    pub fn dispatch(&mut self, room: &str, order: Dispatch) -> Ordered {
        let made = self.agents.dispatch(self.now, &RoomName::new(room), order).expect("there is room");
        self.drain();
        made
    }

    pub fn withdraw(&mut self, room: &str, id: DispatchId) -> Option<Ordered> {
        let gone = self.agents.withdraw(self.now, &RoomName::new(room), id);
        self.drain();
        gone
    }

    /// Status and error of all jobs in the lobby, over or not.
    pub fn jobs(&self) -> Vec<(Status, String)> {
        let dispatches = self.agents.list(&RoomName::new("lobby"), None);
        let jobs = dispatches.into_iter().flat_map(|dispatch| dispatch.jobs);
        jobs.map(|job| (job.status, job.error)).collect()
    }
}

impl Agents {
    /// Nothing is there but workers, and they have nothing to do.
    pub fn is_empty(&self) -> bool {
        let idle = self.workers.values().all(|worker| worker.asked.is_empty() && worker.running.is_empty());
        let nothing = self.jobs.is_empty() && self.queues.is_empty() && self.deadlines.is_empty();
        idle && nothing && self.rooms.is_empty() && self.names.is_empty() && self.early.is_empty()
    }

    /// What must hold between any two calls.
    fn check(&self) {
        for (id, entry) in &self.jobs {
            let queue = self.queues.get(&entry.group);
            let queued = queue.is_some_and(|queue| queue.contains(&(entry.number, *id)));
            assert_eq!(queued, matches!(entry.phase, crate::job::Phase::Queued), "{id}");
            assert_eq!(
                entry.deadline.is_some_and(|at| self.deadlines.contains(&(at, *id))),
                entry.deadline.is_some()
            );
        }
        assert_eq!(self.deadlines.len(), self.jobs.values().filter(|entry| entry.deadline.is_some()).count());
        let of_workers = self.workers.values().flat_map(|worker| worker.asked.iter().chain(&worker.running));
        assert!(
            of_workers.into_iter().all(|job| self.jobs.contains_key(job)),
            "a worker has a job that is gone"
        );
        assert!(self.queues.values().all(|queue| !queue.is_empty()), "an empty queue stays");
        let queued: usize = self.queues.values().map(|queue| queue.len()).sum();
        assert!(queued <= self.jobs.len());
    }
}
