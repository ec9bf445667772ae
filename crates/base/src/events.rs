//! What happens in rooms, told to whoever follows them from outside: webhooks, dispatchers of agents.

use std::fmt;
use std::sync::Arc;

use crate::UnixMillis;
use crate::agents::{Dispatch, Job};
use crate::model::{LeaveReason, Participant, RoomInfo, Track};

/// Names one event for ever: who tells it, and its number there, from 1 without gaps. Whoever tells for a room has that
/// room's id, so that a follower sees from the ids alone whether it has missed something of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct EventId {
    /// Random: a [`crate::RoomId`], or the teller's own.
    pub source: u64,
    /// Its number there.
    pub number: u64,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", crate::RoomId(self.source), self.number)
    }
}

/// Something that happened in a room.
#[derive(Clone, PartialEq, Debug)]
pub struct RoomEvent {
    /// Stays the same however often it is told.
    pub id: EventId,
    /// When.
    pub at: UnixMillis,
    /// The room just after.
    pub room: RoomInfo,
    /// What.
    pub what: Happening,
}

/// What happened. In one room: `RoomStarted` is the first and `RoomFinished` the last; a participant's `ParticipantJoined` comes
/// before its tracks' `TrackPublished`, and their `TrackUnpublished` before its `ParticipantLeft`. Each of these pairs is complete
/// unless the process dies. Hidden participants are told, too: followers act for the application.
///
/// Jobs of agents are told by whoever gives them out, in their own order: the end of one may come after its room's.
#[derive(Clone, PartialEq, Debug)]
pub enum Happening {
    /// The room is there.
    RoomStarted {
        /// The agents that its maker ordered; empty: those that come to every room.
        agents: Vec<Dispatch>,
    },
    /// The room is over, and empty.
    RoomFinished(LeaveReason),
    /// A participant's primary media connection is up for the first time.
    ParticipantJoined(Arc<Participant>),
    /// A participant that had joined is gone. It says why.
    ParticipantLeft(Arc<Participant>),
    /// A participant was let in and is gone before its media connection was up. It says why.
    ConnectionAborted(Arc<Participant>),
    /// A track is there for others to subscribe.
    TrackPublished {
        /// The publisher just after.
        publisher: Arc<Participant>,
        /// The track.
        track: Arc<Track>,
    },
    /// A track is gone.
    TrackUnpublished {
        /// The publisher just after.
        publisher: Arc<Participant>,
        /// The track as it last was.
        track: Arc<Track>,
    },
    /// A worker has taken the job of an agent.
    AgentJobStarted(Arc<Job>),
    /// The job of an agent that had started is over.
    AgentJobEnded(Arc<Job>),
}
