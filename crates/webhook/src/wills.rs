//! What is to be told if the process dies: for every room, participant and track that has been told, its end. It is kept in the
//! queue beside the event that told its beginning, both or neither, and goes with the one that tells its end. What is left
//! after a crash is told by the next start.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::agents::{Job, Status};
use base::events::{EventId, Happening, RoomEvent};
use base::model::{LeaveReason, Participant, ParticipantState, RoomInfo, Track};

/// Something that has begun.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Begun {
    /// The life of its room.
    life: u64,
    /// What is part of other things has the lower rank.
    pub rank: u8,
    id: u64,
}

impl Begun {
    /// Does it end when `other` does?
    pub fn ends_with(self, other: Self) -> bool {
        self == other || (other.rank == ROOM && self.life == other.life)
    }
}

const TRACK: u8 = 0;
/// Jobs are told by somebody else than their rooms, so that the two have nothing in common but the time at which they end.
const JOB: u8 = TRACK;
const PARTICIPANT: u8 = 1;
const ROOM: u8 = 2;

/// What an event says of beginnings and ends.
pub(crate) enum Mark {
    /// This has begun; if the process dies, the event is to be told.
    Begins(Begun, Box<RoomEvent>),
    /// This has ended, with all that is part of it.
    Ends(Begun),
    Neither,
}

/// The numbers of wills in the queue.
#[derive(Default)]
pub(crate) struct Wills(BTreeMap<Begun, u64>);

impl Wills {
    pub fn keep(&mut self, of: Begun, number: u64) {
        self.0.insert(of, number);
    }

    /// The numbers of the will of what has ended, and of all that is part of a room.
    pub fn of(&self, ended: Begun) -> Vec<u64> {
        if ended.rank < ROOM {
            return self.0.get(&ended).copied().into_iter().collect();
        }
        let first = Begun { life: ended.life, rank: TRACK, id: 0 };
        self.0.range(first..=ended).map(|(_, number)| *number).collect()
    }

    pub fn forget(&mut self, ended: Begun) {
        if ended.rank < ROOM {
            self.0.remove(&ended);
        } else {
            self.0.retain(|begun, _| begun.life != ended.life);
        }
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }
}

/// Ids of these events are the life's with a number that no room counts to: the same however often they are told.
pub(crate) fn mark(event: &RoomEvent) -> Mark {
    let life = event.id.source;
    let begun = |rank, id| Begun { life, rank, id };
    let will = |of: Begun, what| {
        let room = RoomInfo { participants: 0, publishers: 0, recording: false, ..event.room.clone() };
        Mark::Begins(
            of,
            Box::new(RoomEvent { id: EventId { source: life, number: of.id }, at: event.at, room, what }),
        )
    };
    match &event.what {
        Happening::RoomStarted { .. } => {
            will(begun(ROOM, u64::MAX), Happening::RoomFinished(LeaveReason::ServerShutdown))
        }
        Happening::RoomFinished(_) => Mark::Ends(begun(ROOM, u64::MAX)),
        Happening::ParticipantJoined(who) => {
            will(begun(PARTICIPANT, who.id.0), Happening::ParticipantLeft(gone(who)))
        }
        Happening::ParticipantLeft(who) => Mark::Ends(begun(PARTICIPANT, who.id.0)),
        Happening::ConnectionAborted(_) => Mark::Neither,
        Happening::TrackPublished { publisher, track } => {
            will(begun(TRACK, track.id.0), unpublished(publisher, track))
        }
        Happening::TrackUnpublished { track, .. } => Mark::Ends(begun(TRACK, track.id.0)),
        Happening::AgentJobStarted(job) => will(begun(JOB, job.id.0), Happening::AgentJobEnded(cut_off(job))),
        Happening::AgentJobEnded(job) => Mark::Ends(begun(JOB, job.id.0)),
    }
}

fn unpublished(publisher: &Arc<Participant>, track: &Arc<Track>) -> Happening {
    Happening::TrackUnpublished { publisher: gone(publisher), track: Arc::clone(track) }
}

fn cut_off(job: &Arc<Job>) -> Arc<Job> {
    let error = "the server died".to_owned();
    Arc::new(Job { status: Status::Failed, error, ..Job::clone(job) })
}

fn gone(who: &Arc<Participant>) -> Arc<Participant> {
    let mut gone = Participant::clone(who);
    gone.state = ParticipantState::Disconnected;
    gone.left = Some(LeaveReason::ServerShutdown);
    gone.tracks.clear();
    Arc::new(gone)
}
