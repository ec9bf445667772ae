//! What a client is told.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use base::model::DataKind;
use base::{CodecKind, MediaKind};
use bytes::Bytes;
use livekit_protocol as proto;

/// Events in order. [`Event::Ended`] is the last. Bounded: when they are not read, packets are dropped first, then
/// everything else; both are counted in [`crate::Counters`].
pub type Events = async_channel::Receiver<Event>;

/// What a client is told.
#[derive(Clone, Debug)]
pub enum Event {
    /// Somebody came, or something about them changed.
    Participant(Participant),
    /// Somebody left.
    ParticipantLeft {
        /// Who.
        identity: String,
    },
    /// An RTP packet of a subscribed track, decrypted; retransmitted ones come late.
    Packet(Packet),
    /// A data message.
    Data(Message),
    /// Somebody needs a keyframe of a track of ours.
    KeyframeRequested {
        /// The id that the publication was given by its publisher: [`crate::Publication::cid`].
        cid: Arc<str>,
    },
    /// A track that was to be published with the join was refused.
    PublishRefused {
        /// Its name.
        name: String,
        /// Why.
        reason: String,
    },
    /// The session is over.
    Ended(Ended),
}

/// Somebody else in the room.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Participant {
    /// The session.
    pub sid: String,
    /// Who.
    pub identity: String,
    /// Display name.
    pub name: String,
    /// What they publish.
    pub tracks: Vec<Track>,
}

/// A track of somebody else.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Track {
    /// Its id.
    pub sid: String,
    /// Audio or video.
    pub kind: MediaKind,
    /// Its name.
    pub name: String,
    /// Muted by its publisher.
    pub muted: bool,
}

/// A received RTP packet.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Id of its track.
    pub track: Arc<str>,
    /// Audio or video.
    pub kind: MediaKind,
    /// What the payload is.
    pub codec: CodecKind,
    /// Sequence number, extended over wraps.
    pub sequence: u64,
    /// RTP timestamp.
    pub timestamp: u32,
    /// Marker bit.
    pub marker: bool,
    /// RTP payload, with the codec's payload descriptor.
    pub payload: Bytes,
    /// When it arrived.
    pub arrival: Instant,
}

/// A received data message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// Identity of its sender; empty for the server and for hidden participants.
    pub from: String,
    /// Which channel it came on.
    pub kind: DataKind,
    /// Its topic; empty = none.
    pub topic: String,
    /// What was sent.
    pub payload: Bytes,
}

/// Why a session ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ended {
    /// We left.
    Left,
    /// The server ended it. The text is LiveKit's name of the reason, such as `DUPLICATE_IDENTITY`.
    ByServer(String),
    /// The signal connection broke or fell silent.
    Signal(String),
    /// The media connection ended.
    Media(String),
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Left => f.write_str("we left"),
            Self::ByServer(reason) => write!(f, "the server ended it: {reason}"),
            Self::Signal(reason) => write!(f, "the signal connection broke: {reason}"),
            Self::Media(reason) => write!(f, "the media connection ended: {reason}"),
        }
    }
}

impl Participant {
    pub(crate) fn from_proto(info: &proto::ParticipantInfo) -> Self {
        let track = |track: &proto::TrackInfo| Track {
            sid: track.sid.clone(),
            kind: if track.r#type() == proto::TrackType::Audio { MediaKind::Audio } else { MediaKind::Video },
            name: track.name.clone(),
            muted: track.muted,
        };
        Self {
            sid: info.sid.clone(),
            identity: info.identity.clone(),
            name: info.name.clone(),
            tracks: info.tracks.iter().map(track).collect(),
        }
    }
}
