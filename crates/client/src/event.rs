//! What a client is told.

use std::collections::BTreeMap;
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
    /// An RTP packet of a subscribed track, decrypted; retransmitted ones come late. With [`crate::Options::packets`].
    Packet(Packet),
    /// A whole frame of a subscribed track. With [`crate::Options::frames`].
    Frame(Frame),
    /// A data message.
    Data(Message),
    /// Somebody needs a keyframe of a track of ours.
    KeyframeRequested {
        /// The id that the publication was given by its publisher: [`crate::Publication::cid`].
        cid: Arc<str>,
        /// Of which simulcast layer, lowest 0.
        layer: u8,
    },
    /// Which simulcast layers of a track of ours somebody watches: what nobody does need not be sent.
    LayersWanted {
        /// The id that the publication was given by its publisher.
        cid: Arc<str>,
        /// Lowest first, as many as the track has.
        layers: Vec<bool>,
    },
    /// The server asks that a track of ours be muted, or unmuted; nothing was done yet ([`crate::Publication::set_muted`]).
    MuteRequested {
        /// The id that the publication was given by its publisher.
        cid: Arc<str>,
        /// Whether it is to be muted.
        muted: bool,
    },
    /// A track that was to be published with the join, or anew after a reconnect, was refused.
    PublishRefused {
        /// Its name.
        name: String,
        /// Why.
        reason: String,
    },
    /// The signal connection or the path of media broke, and is being made anew. What is sent meanwhile on a resumed session
    /// arrives if the path of media still works.
    Reconnecting {
        /// By joining again, rather than by resuming the session.
        full: bool,
        /// What broke.
        why: Ended,
    },
    /// It is made. Publications go on by themselves.
    Reconnected {
        /// By joining again: the server knows us and our tracks by other ids, and messages may be lost. What others have done
        /// meanwhile was told before.
        full: bool,
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
    /// What applications say about them.
    pub metadata: String,
    /// The same as keys and values.
    pub attributes: BTreeMap<String, String>,
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

/// A received frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// Id of its track.
    pub track: Arc<str>,
    /// What it is.
    pub codec: CodecKind,
    /// RTP timestamp: units of the codec's clock (48 kHz audio, 90 kHz video) from an arbitrary start.
    pub timestamp: u32,
    /// It can be decoded without others; always so for audio.
    pub keyframe: bool,
    /// One Opus packet, one VP8 frame, or the NAL units of one H.264 picture with start codes (Annex B).
    pub payload: Bytes,
    /// When its last packet arrived.
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
    /// The server ended it, or does not let us in again. The text is LiveKit's name of the reason, such as `DUPLICATE_IDENTITY`.
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
            metadata: info.metadata.clone(),
            attributes: info.attributes.clone().into_iter().collect(),
            tracks: info.tracks.iter().map(track).collect(),
        }
    }
}
