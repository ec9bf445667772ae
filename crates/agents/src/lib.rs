//! Which agent goes into which room: the workers that run agents, the dispatches that order them, and the jobs between.
//!
//! [`Agents`] is a value: told what happens in rooms and what workers say, it returns what workers are to be told. It knows
//! nothing of sockets, tokens or any protocol. The contract with whoever drives it:
//!
//! > After every call, take [`Agents::poll_decision`] until it is empty, then call [`Agents::handle_timeout`] when
//! > [`Agents::poll_timeout`] has passed.
//!
//! # From a dispatch to an agent
//!
//! A **dispatch** orders agents of one name into one room. A room that is made without any gets the dispatch of the empty name.
//! **Workers** register for a [`Group`]: a name, a deployment, a namespace, and a [`JobKind`], which says how many agents
//! of them a room has: one, one for each participant that publishes, or one for each participant. A **job** is one agent
//! in one room; it is there from the moment in which there is a dispatch, a group that matches it, and what the kind asks for,
//! in whatever order these came to be.
//!
//! ```text
//!  queued ──► asked ──► running ──► ending ──► ended
//!    ▲ ▲        │         │ ▲ │                  ▲
//!    │ └────────┘ refused │ │ └──────────────────┘ says the worker
//!    │                    ▼ │ the worker is back
//!    └─────────────────  lost
//! ```
//!
//! A job is offered to one worker of its group after the other, the least loaded first. When all have refused it rests, longer
//! each time, and is given up in the end. A job whose worker is gone goes to another one, but for these: its agent is still in
//! the room, or the worker comes back soon and says that it goes on with it.

mod assign;
mod job;
mod rooms;
#[cfg(test)]
mod tests;
mod workers;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

pub use base::agents::{Group, Job, JobKind, Status};

use base::agents::Dispatch;
use base::model::Permissions;
use base::{AgentWorkerId, DispatchId, Identity, JobId, RoomId, RoomName, UnixMillis};

pub use rooms::TooManyDispatches;
pub use workers::TooManyWorkers;

use job::Entry;
use rooms::{Early, Room};
use workers::Worker;

/// Most workers that are connected at a time: some 50,000 agents.
pub const MAX_WORKERS: usize = 1_000;
/// Most dispatches of one room. Applications use a handful.
pub const MAX_DISPATCHES: usize = base::agents::ROOM_DISPATCHES;
/// Most jobs that are not over. A million participants would not fit on one server either.
const MAX_JOBS: usize = 200_000;

/// The present: the clock for deadlines, and the time for people.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Monotonic.
    pub at: Instant,
    /// Of the calendar.
    pub wall: UnixMillis,
}

/// What a worker says of itself when it comes.
#[derive(Clone, Debug)]
pub struct Registration {
    /// Which jobs it takes.
    pub group: Group,
    /// What its agents may do in rooms.
    pub permissions: Permissions,
    /// The API key that let it in.
    pub api_key: String,
}

/// Whom a worker sends into the room.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Guest {
    /// Who.
    pub identity: Identity,
    /// Display name.
    pub name: String,
    /// Metadata.
    pub metadata: String,
    /// Attributes.
    pub attributes: BTreeMap<String, String>,
}

/// What a worker says to a job that it is offered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// It takes it.
    Takes(Guest),
    /// Somebody else may take it.
    Refuses,
    /// Nobody is to take it.
    Forbids,
}

/// A dispatch with its jobs.
#[derive(Clone, Debug)]
pub struct Ordered {
    /// Its id.
    pub id: DispatchId,
    /// The room.
    pub room: RoomName,
    /// The order.
    pub order: Arc<Dispatch>,
    /// When it was given.
    pub created_at: UnixMillis,
    /// When it was taken back.
    pub deleted_at: Option<UnixMillis>,
    /// Its jobs, oldest first; of those that are over only the last.
    pub jobs: Vec<Job>,
}

/// What is to be done.
#[derive(Clone, Debug)]
pub enum Decision {
    /// Offer a job to a worker.
    Ask {
        /// Whom.
        worker: AgentWorkerId,
        /// What.
        job: Box<Job>,
        /// Another worker had it before.
        resuming: bool,
    },
    /// Give a job to a worker that takes it.
    Assign {
        /// Whom.
        worker: AgentWorkerId,
        /// What.
        job: Box<Job>,
        /// Whom it sends.
        guest: Guest,
    },
    /// Tell a worker to end a job.
    Terminate {
        /// Whom.
        worker: AgentWorkerId,
        /// Which.
        job: JobId,
    },
    /// Remove an agent that stays in the room though its job is over.
    Remove {
        /// The room.
        room: RoomName,
        /// The agent.
        agent: Identity,
    },
    /// A job was given to a worker, for the first time.
    Started(Arc<Job>),
    /// A job that had started is over.
    Ended(Arc<Job>),
}

/// What is counted, from the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Jobs given to workers.
    pub assigned: u64,
    /// Offers that were refused.
    pub refused: u64,
    /// Offers that were not answered in time.
    pub unanswered: u64,
    /// Jobs that were taken from workers that were lost.
    pub handed_on: u64,
    /// Jobs that ended well.
    pub succeeded: u64,
    /// Jobs that ended otherwise.
    pub failed: u64,
    /// What workers said of jobs that are not theirs, and answers to what they were not asked.
    pub out_of_place: u64,
}

/// 64 random bits a call.
pub type Random = Box<dyn FnMut() -> u64 + Send>;

/// Workers, dispatches and jobs of one server.
pub struct Agents {
    random: Random,
    workers: BTreeMap<AgentWorkerId, Worker>,
    groups: BTreeMap<Group, BTreeSet<AgentWorkerId>>,
    /// Jobs that wait for a worker, oldest first. A group without workers may have some.
    queues: BTreeMap<Group, BTreeSet<(u64, JobId)>>,
    rooms: BTreeMap<RoomId, Room>,
    names: BTreeMap<RoomName, RoomId>,
    early: VecDeque<Early>,
    jobs: BTreeMap<JobId, Entry>,
    deadlines: BTreeSet<(Instant, JobId)>,
    /// Jobs and workers that there have been.
    made: u64,
    tally: Tally,
    decisions: VecDeque<Decision>,
}

impl Agents {
    /// Nobody is there. `random` makes ids: workers name jobs by them, so they must not be guessable.
    pub fn new(random: Random) -> Self {
        Self {
            random,
            workers: BTreeMap::new(),
            groups: BTreeMap::new(),
            queues: BTreeMap::new(),
            rooms: BTreeMap::new(),
            names: BTreeMap::new(),
            early: VecDeque::new(),
            jobs: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            made: 0,
            tally: Tally::default(),
            decisions: VecDeque::new(),
        }
    }

    /// The next thing to do, oldest first.
    pub fn poll_decision(&mut self) -> Option<Decision> {
        self.decisions.pop_front()
    }

    /// When time alone changes something.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let job = self.deadlines.first().map(|(at, _)| *at);
        let early = self.early.front().map(|early| early.until);
        job.into_iter().chain(early).min()
    }

    /// What is counted.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Workers that are connected.
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// Jobs that workers have.
    pub fn running(&self) -> usize {
        self.workers.values().map(|worker| worker.running.len()).sum()
    }

    fn next_number(&mut self) -> u64 {
        self.made += 1;
        self.made
    }
}
