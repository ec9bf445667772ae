//! Agents: programs that take part in rooms because somebody ordered them there.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::model::{Participant, RoomInfo};
use crate::{AgentWorkerId, DispatchId, Identity, JobId, UnixMillis};

/// Longest name of an agent, in bytes.
pub const AGENT_NAME_BYTES: usize = 256;
/// Longest name of a deployment, in bytes.
pub const DEPLOYMENT_BYTES: usize = 64;
/// Most metadata, and as much in attributes, in bytes: as of a participant.
pub const TEXT_BYTES: usize = 64 * 1024;
/// Most orders with which a room is made.
pub const ROOM_DISPATCHES: usize = 64;

/// The order to have an agent in a room. `Default` orders every agent that has no name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Dispatch {
    /// The agent's name; empty: every agent without a name.
    pub agent: String,
    /// Which version of the agent; exactly this one, also when it is empty.
    pub deployment: String,
    /// Free text of the application, for the agent.
    pub metadata: String,
    /// Keys and values of the application, for the agent.
    pub attributes: BTreeMap<String, String>,
    /// An agent whose worker is lost is not started again elsewhere.
    pub never_restart: bool,
}

/// Why a dispatch cannot be carried out as it says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadDispatch {
    /// The agent's name is longer than [`AGENT_NAME_BYTES`].
    AgentName,
    /// See [`check_deployment`].
    Deployment,
    /// The metadata is longer than [`TEXT_BYTES`].
    Metadata,
    /// The attributes are longer than [`TEXT_BYTES`] together.
    Attributes,
    /// A room has more than [`ROOM_DISPATCHES`].
    TooMany,
}

impl fmt::Display for BadDispatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AgentName => write!(f, "the agent's name has more than {AGENT_NAME_BYTES} bytes"),
            Self::Deployment => write!(
                f,
                "the deployment has more than {DEPLOYMENT_BYTES} bytes, an underscore, white space or control characters"
            ),
            Self::Metadata => write!(f, "the dispatch's metadata has more than {TEXT_BYTES} bytes"),
            Self::Attributes => write!(f, "the dispatch's attributes have more than {TEXT_BYTES} bytes"),
            Self::TooMany => write!(f, "a room has at most {ROOM_DISPATCHES} agent dispatches"),
        }
    }
}

impl std::error::Error for BadDispatch {}

impl Dispatch {
    /// Is everything as long as it may be?
    ///
    /// # Errors
    /// [`BadDispatch`], the first.
    pub fn check(&self) -> Result<(), BadDispatch> {
        let attributes: usize = self.attributes.iter().map(|(key, value)| key.len() + value.len()).sum();
        let faults = [
            (self.agent.len() > AGENT_NAME_BYTES, BadDispatch::AgentName),
            (!check_deployment(&self.deployment), BadDispatch::Deployment),
            (self.metadata.len() > TEXT_BYTES, BadDispatch::Metadata),
            (attributes > TEXT_BYTES, BadDispatch::Attributes),
        ];
        faults.into_iter().find(|(faulty, _)| *faulty).map_or(Ok(()), |(_, fault)| Err(fault))
    }
}

/// May a deployment have this name? LiveKit's servers and workers allow the same ones.
pub fn check_deployment(name: &str) -> bool {
    let fits = |byte: u8| byte != b'_' && byte > b' ' && byte != 0x7f;
    name.len() <= DEPLOYMENT_BYTES && name.bytes().all(fits)
}

/// What a worker's agents are there for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum JobKind {
    /// One agent in the room.
    Room,
    /// One for each participant that publishes a track.
    Publisher,
    /// One for each participant.
    Participant,
}

/// Workers of one group are the same to each other: a job of the group goes to any of them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Group {
    /// The agent's name; may be empty.
    pub agent: String,
    /// Which version of it; may be empty.
    pub deployment: String,
    /// Splits workers of one name: each namespace gets its own jobs. May be empty.
    pub namespace: String,
    /// What its agents are there for.
    pub kind: JobKind,
}

impl Group {
    /// Are its workers what this orders?
    pub fn fits(&self, dispatch: &Dispatch) -> bool {
        self.agent == dispatch.agent && self.deployment == dispatch.deployment
    }
}

/// How far a job is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// No worker has it.
    Pending,
    /// A worker has it.
    Running,
    /// It is over.
    Succeeded,
    /// It is over, and not as it should be.
    Failed,
}

impl Status {
    /// Is it over?
    pub fn is_end(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }
}

/// A job, as workers and applications are told it.
#[derive(Clone, PartialEq, Debug)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// What ordered it.
    pub dispatch: DispatchId,
    /// The order.
    pub order: Arc<Dispatch>,
    /// Whose workers take it.
    pub group: Group,
    /// The room.
    pub room: RoomInfo,
    /// The participant that it is about, for kinds that have one.
    pub target: Option<Arc<Participant>>,
    /// How far it is.
    pub status: Status,
    /// What went wrong.
    pub error: String,
    /// When a worker took it.
    pub started_at: Option<UnixMillis>,
    /// When it was over.
    pub ended_at: Option<UnixMillis>,
    /// The last change.
    pub updated_at: UnixMillis,
    /// The agent in the room.
    pub agent: Option<Identity>,
    /// Who has it, or had it last.
    pub worker: Option<AgentWorkerId>,
}

impl Job {
    /// A job that nobody has taken.
    pub fn new(id: JobId, dispatch: DispatchId, order: Arc<Dispatch>, group: Group, room: RoomInfo) -> Self {
        Self {
            id,
            dispatch,
            order,
            group,
            room,
            target: None,
            status: Status::Pending,
            error: String::new(),
            started_at: None,
            ended_at: None,
            updated_at: UnixMillis(0),
            agent: None,
            worker: None,
        }
    }
}
