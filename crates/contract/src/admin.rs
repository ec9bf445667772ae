//! What comes from outside a session: the server API, and questions about rooms.

use std::fmt;
use std::sync::Arc;

use base::agents::Dispatch;
use base::model::{DataKind, MetadataChange, Participant, Permissions, RoomInfo, Track};
use base::{Identity, RoomName, TrackId};
use bytes::Bytes;

use crate::session::{DataTarget, Join, JoinError};

/// The handle for an answer (capacity 1).
pub type Reply<T> = async_channel::Sender<T>;

/// What a room is made with. What is not said is as the server is configured.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RoomOptions {
    /// Seconds that it waits for its first participant.
    pub empty_timeout_s: Option<u32>,
    /// Seconds that it waits after the last one left.
    pub departure_timeout_s: Option<u32>,
    /// Most participants.
    pub max_participants: Option<u32>,
    /// Free text of the application.
    pub metadata: String,
    /// Agents that are ordered into it; empty: those that come to every room.
    pub agents: Vec<Dispatch>,
}

/// The server API, and everything else that comes from outside a session. Each carries its reply handle (capacity 1). What was
/// done is in every later answer.
#[derive(Clone, Debug)]
pub enum AdminRequest {
    /// Would this join be let in now? Nothing follows from the question.
    CheckJoin {
        /// The join.
        join: Box<Join>,
        /// Or why not.
        reply: Reply<Result<(), JoinError>>,
    },
    /// Makes a room. One that is there stays as it is, whatever the options say.
    CreateRoom {
        /// Its name.
        room: RoomName,
        /// What it is made with.
        options: RoomOptions,
        /// The room.
        reply: Reply<Result<RoomInfo, AdminRefused>>,
    },
    /// Rooms, all or those named.
    ListRooms {
        /// Empty = all.
        names: Vec<RoomName>,
        /// The rooms.
        reply: Reply<Vec<RoomInfo>>,
    },
    /// Ends a room. `false`: there is none.
    DeleteRoom {
        /// The room.
        room: RoomName,
        /// Done?
        reply: Reply<bool>,
    },
    /// Changes a room's metadata.
    SetRoomMetadata {
        /// The room.
        room: RoomName,
        /// What it is from now on.
        metadata: String,
        /// The room as it is then.
        reply: Reply<Result<RoomInfo, AdminRefused>>,
    },
    /// Participants of a room, hidden ones too; empty when there is no such room.
    ListParticipants {
        /// The room.
        room: RoomName,
        /// The participants.
        reply: Reply<Vec<Arc<Participant>>>,
    },
    /// One participant.
    GetParticipant {
        /// The room.
        room: RoomName,
        /// Who.
        identity: Identity,
        /// The participant, also a hidden one.
        reply: Reply<Result<Arc<Participant>, AdminRefused>>,
    },
    /// Removes a participant. `false`: there is none.
    RemoveParticipant {
        /// The room.
        room: RoomName,
        /// Who.
        identity: Identity,
        /// As long as this room lives, it does not come in again with a token made before this time, in seconds since 1970; 0: it
        /// may.
        revoke_before_s: u64,
        /// Done?
        reply: Reply<bool>,
    },
    /// Moves a participant into another room, with what it publishes. A client that does not know how to is told to join
    /// there by itself.
    MoveParticipant {
        /// The room.
        room: RoomName,
        /// Who.
        identity: Identity,
        /// The other room.
        destination: RoomName,
        /// Make it when it is absent.
        create: bool,
        /// It is there, or on its way by itself.
        reply: Reply<Result<(), AdminRefused>>,
    },
    /// Shows a participant in another room, too, as long as it is in its own: it is seen and heard there, and sees and hears
    /// nothing. Where it is shown already nothing changes.
    ForwardParticipant {
        /// The room that it is in.
        room: RoomName,
        /// Who.
        identity: Identity,
        /// The other room.
        destination: RoomName,
        /// Make it when it is absent.
        create: bool,
        /// It is there.
        reply: Reply<Result<(), AdminRefused>>,
    },
    /// Changes a participant: all of it or nothing.
    UpdateParticipant {
        /// The room.
        room: RoomName,
        /// Who.
        identity: Identity,
        /// Name, metadata, attributes.
        change: MetadataChange,
        /// What it may do from now on, if that changes.
        permissions: Option<Permissions>,
        /// The participant as it is then.
        reply: Reply<Result<Arc<Participant>, AdminRefused>>,
    },
    /// Mutes a participant's track, or asks the participant to unmute it.
    MuteTrack {
        /// The room.
        room: RoomName,
        /// Who.
        identity: Identity,
        /// The track.
        track: TrackId,
        /// Muted?
        muted: bool,
        /// The track as it is then.
        reply: Reply<Result<Track, AdminRefused>>,
    },
    /// Subscribes or unsubscribes a participant, as if it had asked itself.
    UpdateSubscriptions {
        /// The room.
        room: RoomName,
        /// Who.
        identity: Identity,
        /// The tracks.
        tracks: Vec<TrackId>,
        /// Wanted?
        subscribe: bool,
        /// Done.
        reply: Reply<Result<(), AdminRefused>>,
    },
    /// Sends a message to participants, in the form in which they get it on their data channels. Nobody is its sender.
    SendData {
        /// The room.
        room: RoomName,
        /// Reliable or lossy.
        kind: DataKind,
        /// Where to. Names that are not there are skipped.
        target: DataTarget,
        /// What the receivers' channels carry.
        payload: Bytes,
        /// Names the call: said again, it is answered, and nothing is sent. Empty: it has no name.
        nonce: Vec<u8>,
        /// It is on its way.
        reply: Reply<Result<(), AdminRefused>>,
    },
    /// Calls a procedure of a participant. The answer comes as [`crate::session::Request::RpcAnswer`], or never: whoever
    /// asks gives up by dropping its end of `reply`.
    PerformRpc {
        /// The room.
        room: RoomName,
        /// Who.
        identity: Identity,
        /// Names the call in the answer; random.
        id: String,
        /// What the receiver's channel for reliable messages carries.
        payload: Bytes,
        /// What the participant answers.
        reply: Reply<Result<String, RpcFailure>>,
    },
    /// The room's control and media state as JSON; `None`: there is no such room.
    Snapshot {
        /// The room.
        room: RoomName,
        /// The state.
        reply: Reply<Option<String>>,
    },
}

/// Why a call of the server API was not carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AdminRefused {
    /// There is no such room.
    NoSuchRoom,
    /// The room has no such participant.
    NoSuchParticipant,
    /// The participant has no such track.
    NoSuchTrack,
    /// This server asks nobody to unmute.
    UnmuteDisabled,
    /// A name, metadata, attributes or a message are larger than allowed.
    LimitExceeded,
    /// This server makes no rooms now: it has as many as it may have, or is stopping.
    Unavailable,
    /// The room that somebody is to be brought into does not exist, and is not made.
    NoDestination,
    /// The room that somebody is to be brought into is the one he is in.
    SameRoom,
    /// Somebody of this identity is in the other room.
    IdentityTaken,
    /// The other room has all the participants it may have.
    RoomFull,
    /// The participant left meanwhile, or is being moved already.
    Left,
    /// The participant is in another room, and only shown in this one.
    Elsewhere,
    /// The participant is shown in as many rooms as it may be.
    ForwardedTooOften,
}

impl fmt::Display for AdminRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSuchRoom => "the requested room does not exist",
            Self::NoSuchParticipant => "the participant does not exist",
            Self::NoSuchTrack => "the participant has no such track",
            Self::UnmuteDisabled => {
                "remote unmute is not enabled: only participants themselves unmute their tracks"
            }
            Self::LimitExceeded => "a name, the metadata, the attributes or the message are too large",
            Self::NoDestination => "the destination room does not exist, and is not made by this call",
            Self::SameRoom => "the destination is the room that the participant is in",
            Self::IdentityTaken => "somebody of this identity is in the destination room",
            Self::RoomFull => "the destination room has as many participants as it may have",
            Self::Left => "the participant left meanwhile, or is being moved already",
            Self::Elsewhere => {
                "the participant is forwarded from another room: ask for this in the room that it is in"
            }
            Self::ForwardedTooOften => "the participant is forwarded to as many rooms as it may be",
            Self::Unavailable => "this server makes no rooms now; try again or try another",
        })
    }
}

impl std::error::Error for AdminRefused {}

/// Why a remote procedure call has no result.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RpcFailure {
    /// The call did not reach a participant.
    Refused(AdminRefused),
    /// The participant left before it answered.
    Left,
    /// What the participant answers instead of a result.
    Error {
        /// 1001 to 1999 are of the clients themselves, others of the application.
        code: u32,
        /// What went wrong.
        message: String,
        /// More, for programs.
        data: String,
    },
}
