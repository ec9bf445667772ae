//! The domain model of a session: participants, tracks, permissions, and what a room tells its participants.
//!
//! Adapters translate these values to and from their protocol; the `room` crate decides on them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::{CodecKind, Identity, MediaKind, Mid, ParticipantId, RoomId, RoomName, TrackId, UnixMillis};

/// Where a track comes from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub enum TrackSource {
    /// Not said.
    #[default]
    Unknown,
    /// A camera.
    Camera,
    /// A microphone.
    Microphone,
    /// The picture of a shared screen.
    ScreenShare,
    /// The sound of a shared screen.
    ScreenShareAudio,
}

/// What a participant may do. `Default` is nothing at all.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Permissions {
    /// Publish tracks.
    pub publish: bool,
    /// When set, only these sources may be published.
    pub publish_sources: Option<Vec<TrackSource>>,
    /// Subscribe to tracks.
    pub subscribe: bool,
    /// Send data messages.
    pub publish_data: bool,
    /// Change its own name, metadata and attributes.
    pub update_own_metadata: bool,
    /// Never announced to others.
    pub hidden: bool,
    /// Records the room.
    pub recorder: bool,
    /// Is an agent.
    pub agent: bool,
    /// Receives metrics of others.
    pub subscribe_metrics: bool,
}

impl Permissions {
    /// May a track of this source be published?
    pub fn may_publish(&self, source: TrackSource) -> bool {
        self.publish && self.publish_sources.as_ref().is_none_or(|allowed| allowed.contains(&source))
    }
}

/// Life of a participant's session.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub enum ParticipantState {
    /// Signalling is up, nothing else.
    #[default]
    Joining,
    /// Told about the room.
    Joined,
    /// Its primary media connection is up.
    Active,
    /// Gone.
    Disconnected,
}

/// What kind of program a participant is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub enum ParticipantKind {
    /// A person.
    #[default]
    Standard,
    /// A stream brought in.
    Ingress,
    /// A recorder or restreamer.
    Egress,
    /// A telephone.
    Sip,
    /// A program taking part.
    Agent,
    /// A connector of another network.
    Connector,
    /// A bridge to another room.
    Bridge,
}

/// More about what a participant is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum KindDetail {
    /// An agent that somebody else runs for the application.
    CloudAgent,
    /// It is in another room, from which it is seen and heard here too.
    Forwarded,
    /// It talks over WhatsApp.
    ConnectorWhatsapp,
    /// It talks over Twilio.
    ConnectorTwilio,
    /// A camera of another network (RTSP).
    BridgeRtsp,
    /// It is there for a test.
    Simulation,
}

/// Why a session ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum LeaveReason {
    /// The client said so.
    ClientInitiated,
    /// The same identity joined again.
    DuplicateIdentity,
    /// The server is stopping.
    ServerShutdown,
    /// It is to go on at another server.
    Migration,
    /// Removed through the server API.
    ParticipantRemoved,
    /// The room was deleted.
    RoomDeleted,
    /// The room closed by itself.
    RoomClosed,
    /// Client and server disagree about the session's state.
    StateMismatch,
    /// Never got a media connection.
    JoinFailure,
    /// The signal connection broke and was not resumed.
    SignalClosed,
    /// The media connection failed and did not come back.
    ConnectionTimeout,
    /// The media connection could not be negotiated or broke a rule.
    MediaFailure,
    /// It goes on in another room, as the server API asked.
    Moved,
}

/// End-to-end encryption of a track's frames.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub enum Encryption {
    /// None.
    #[default]
    None,
    /// AES-GCM by the client SDK.
    Gcm,
    /// Something of the application's.
    Custom,
}

/// One quality of a video track.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct VideoLayer {
    /// 0 = lowest.
    pub quality: u8,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Bits per second, as announced by the publisher.
    pub bitrate: u32,
    /// SSRC where the publisher said so, else 0.
    pub ssrc: u32,
    /// Spatial layer (index into the simulcast rids or SVC layers), 0 = lowest.
    pub spatial: u8,
}

/// When the publisher's second encoding of a video replaces the first.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub enum BackupPolicy {
    /// For everybody as soon as somebody needs it, where that is possible: one encoding costs the publisher less than two.
    #[default]
    PreferRegression,
    /// For those who cannot decode the first; the others keep it.
    Simulcast,
    /// For everybody as soon as somebody needs it.
    Regression,
}

/// The second codec with which a publisher encodes a video on request, for receivers that cannot decode the first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Backup {
    /// What it is encoded with.
    pub codec: CodecKind,
    /// For whom it is.
    pub policy: BackupPolicy,
    /// Set while it is sent.
    pub stream: Option<BackupStream>,
}

/// The second encoding of a track, as it was negotiated. It is forwarded under [`TrackId::backup`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BackupStream {
    /// The publisher's media section.
    pub mid: Mid,
    /// The publisher's id for the media.
    pub cid: String,
    /// More than one rid is sent.
    pub simulcast: bool,
    /// The announced layers, lowest first.
    pub layers: Vec<VideoLayer>,
}

/// How a receiver gets a track.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Encoding {
    /// The encoding that is forwarded under this id.
    Sent(TrackId),
    /// In its second codec, when its publisher has been asked for it.
    OnRequest,
    /// It is sent in no codec that the receiver knows.
    Unknown,
}

/// What an application knows of how sound was made.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum AudioFeature {
    /// Two channels.
    Stereo,
    /// Discontinuous transmission is switched off.
    NoDtx,
    /// The gain is adjusted.
    AutoGainControl,
    /// Echo is taken out.
    EchoCancellation,
    /// Noise is taken out.
    NoiseSuppression,
    /// Noise is taken out by more than the browser's own means.
    EnhancedNoiseCancellation,
    /// It was recorded before the connection was there.
    PreconnectBuffer,
}

/// What a publisher changes of a track that it publishes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TrackChange {
    /// How sound is made, all of it.
    Audio(BTreeSet<AudioFeature>),
    /// Largest width and height of a video in pixels.
    Video(u32, u32),
}

/// A published track, as it is told to others.
#[derive(Clone, PartialEq, Debug)]
pub struct Track {
    /// Its id.
    pub id: TrackId,
    /// Audio or video.
    pub kind: MediaKind,
    /// Where it comes from.
    pub source: TrackSource,
    /// The publisher's name for it.
    pub name: String,
    /// Muted by its publisher or through the server.
    pub muted: bool,
    /// Largest width in pixels; 0 for audio.
    pub width: u32,
    /// Largest height in pixels; 0 for audio.
    pub height: u32,
    /// The layers the publisher announced, lowest first.
    pub layers: Vec<VideoLayer>,
    /// More than one rid is sent.
    pub simulcast: bool,
    /// What it is encoded with, once negotiated.
    pub codec: CodecKind,
    /// The publisher's media section, once negotiated.
    pub mid: Option<Mid>,
    /// The publisher's own id for the media (the browser's track id).
    pub cid: String,
    /// The id of the media in the publisher's session description, where it is another one.
    pub sdp_cid: String,
    /// A second codec, on request.
    pub backup: Option<Backup>,
    /// Audio: redundancy switched off by the publisher.
    pub disable_red: bool,
    /// Audio: two channels.
    pub stereo: bool,
    /// Audio: discontinuous transmission switched off.
    pub no_dtx: bool,
    /// Audio: how it is made, as its publisher says.
    pub features: BTreeSet<AudioFeature>,
    /// End-to-end encryption.
    pub encryption: Encryption,
    /// Tracks of one stream name are played in sync.
    pub stream: String,
    /// Video: what its publisher's program appends to each frame for its like. Numbers of the client protocol, passed on as they are.
    pub trailers: BTreeSet<i32>,
}

impl Track {
    /// A track of which nothing is known but what it carries.
    pub fn new(id: TrackId, kind: MediaKind, codec: CodecKind) -> Self {
        Self {
            id,
            kind,
            source: TrackSource::Unknown,
            name: String::new(),
            muted: false,
            width: 0,
            height: 0,
            layers: Vec::new(),
            simulcast: false,
            codec,
            mid: None,
            cid: String::new(),
            sdp_cid: String::new(),
            backup: None,
            disable_red: false,
            stereo: false,
            no_dtx: false,
            features: BTreeSet::new(),
            encryption: Encryption::None,
            stream: String::new(),
            trailers: BTreeSet::new(),
        }
    }

    /// Which of its encodings a receiver gets that `accepts` these codecs.
    pub fn encoding_for(&self, accepts: impl Fn(CodecKind) -> bool) -> Encoding {
        let second = self.backup.as_ref().filter(|backup| accepts(backup.codec));
        let sent = second.filter(|backup| backup.stream.is_some());
        let replaced = sent.is_some_and(|backup| backup.policy != BackupPolicy::Simulcast);
        match (accepts(self.codec) && !replaced, sent, second) {
            (true, ..) => Encoding::Sent(self.id),
            (false, Some(_), _) => Encoding::Sent(self.id.backup()),
            (false, None, Some(_)) => Encoding::OnRequest,
            (false, None, None) => Encoding::Unknown,
        }
    }

    /// Its second encoding, while that is sent.
    pub fn backup_stream(&self) -> Option<&BackupStream> {
        self.backup.as_ref()?.stream.as_ref()
    }
}

/// Why a track may not be published.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PublishRefused {
    /// The participant is unknown, or its permissions forbid it.
    NotAllowed,
    /// Too many tracks, or too long names.
    LimitExceeded,
}

/// A data track, as it is told to others: a stream of small frames that may be lost on the way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DataTrack {
    /// Its id.
    pub id: TrackId,
    /// The publisher's own number for it, which its packets carry; never 0.
    pub handle: u16,
    /// The publisher's name for it; no two of one publisher are the same.
    pub name: String,
    /// End-to-end encryption.
    pub encryption: Encryption,
    /// How its frames are encoded, if the publisher says so.
    pub encoding: Option<DataEncoding>,
    /// What its frames look like, if the publisher says so.
    pub schema: Option<DataSchema>,
}

/// Why a data track may not be published.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DataTrackRefused {
    /// The participant is unknown, or may not send data.
    NotAllowed,
    /// It has a data track with this handle.
    DuplicateHandle,
    /// It has a data track of this name.
    DuplicateName,
    /// Too many data tracks, or too long a name.
    LimitExceeded,
}

/// An encoding of frames or schemas.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DataEncoding {
    /// A number of the client protocol's list.
    Listed(i32),
    /// The application's own.
    Custom(String),
}

/// A schema of frames.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DataSchema {
    /// Its name.
    pub name: String,
    /// How it is written.
    pub encoding: Option<DataEncoding>,
}

/// A data track that somebody receives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DataHandle {
    /// What its packets are called for the receiver; never 0.
    pub handle: u16,
    /// The track.
    pub track: TrackId,
    /// Who publishes it.
    pub publisher: ParticipantId,
    /// The publisher's identity.
    pub identity: Identity,
}

/// What a client can do as far as other clients have to know it: how to call its procedures, which data it can decode. Numbers of
/// the client protocol, passed on as they are.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Abilities {
    /// Version of what clients do among themselves.
    pub version: i32,
    /// Single features.
    pub features: Vec<i32>,
}

/// A participant, as it is told to others.
#[derive(Clone, PartialEq, Debug)]
pub struct Participant {
    /// Its session.
    pub id: ParticipantId,
    /// Who it is.
    pub identity: Identity,
    /// Display name.
    pub name: String,
    /// Free text of the application.
    pub metadata: String,
    /// Keys and values of the application.
    pub attributes: BTreeMap<String, String>,
    /// Life of the session.
    pub state: ParticipantState,
    /// What kind of program it is.
    pub kind: ParticipantKind,
    /// More about that.
    pub kind_details: BTreeSet<KindDetail>,
    /// What it may do.
    pub permissions: Permissions,
    /// Announced tracks, in order of publication.
    pub tracks: Vec<Track>,
    /// Data tracks, in order of publication.
    pub data_tracks: Vec<DataTrack>,
    /// What its client can do.
    pub abilities: Abilities,
    /// When it joined.
    pub joined_at: UnixMillis,
    /// Grows with every change of this value.
    pub version: u32,
    /// Why it is gone, when it is.
    pub left: Option<LeaveReason>,
}

impl Participant {
    /// Somebody who has just joined, of whom nothing is known but who it is.
    pub fn new(id: ParticipantId, identity: Identity) -> Self {
        Self {
            id,
            identity,
            name: String::new(),
            metadata: String::new(),
            attributes: BTreeMap::new(),
            state: ParticipantState::Joined,
            kind: ParticipantKind::Standard,
            kind_details: BTreeSet::new(),
            permissions: Permissions::default(),
            tracks: Vec::new(),
            data_tracks: Vec::new(),
            abilities: Abilities::default(),
            joined_at: UnixMillis(0),
            version: 1,
            left: None,
        }
    }

    /// Is or has been publishing.
    pub fn is_publisher(&self) -> bool {
        !self.tracks.is_empty() || !self.data_tracks.is_empty()
    }
}

/// A room, as it is told to participants and to the server API.
#[derive(Clone, PartialEq, Debug)]
pub struct RoomInfo {
    /// This life of the room.
    pub id: RoomId,
    /// Its name.
    pub name: RoomName,
    /// Free text of the application.
    pub metadata: String,
    /// Seconds an empty room waits for its first participant.
    pub empty_timeout_s: u32,
    /// Seconds an empty room waits after the last one left.
    pub departure_timeout_s: u32,
    /// 0 = no limit.
    pub max_participants: u32,
    /// When it came to be.
    pub created_at: UnixMillis,
    /// Visible participants.
    pub participants: u32,
    /// Participants that publish.
    pub publishers: u32,
    /// A recorder is present.
    pub recording: bool,
}

/// How good a participant's media connection is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Quality {
    /// Nothing arrives.
    Lost,
    /// Much is lost.
    Poor,
    /// Some is lost.
    Good,
    /// As it should be.
    Excellent,
}

/// Who speaks, how loud.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Speaker {
    /// The participant.
    pub participant: ParticipantId,
    /// 0.0 (silent) to 1.0 (loudest).
    pub level: f32,
    /// False in the one update that says that it stopped.
    pub active: bool,
}

/// Reliable or not.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum DataKind {
    /// Ordered, retransmitted.
    Reliable,
    /// Unordered, sent once.
    Lossy,
}

/// Which quality of a video subscription its receiver wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TrackSettings {
    /// Send nothing.
    pub disabled: bool,
    /// Rendered size in pixels, when known; preferred over `quality`.
    pub size: Option<(u32, u32)>,
    /// Highest wanted quality: 0 low, 1 medium, 2 high.
    pub quality: u8,
    /// Highest wanted frame rate; 0 = any.
    pub fps: u32,
    /// Larger is more important; 0 = not said.
    pub priority: u32,
    /// It is not paused for want of bandwidth: its lowest layer is sent whatever the connection carries.
    pub firm: bool,
}

impl Default for TrackSettings {
    fn default() -> Self {
        Self { disabled: false, size: None, quality: 2, fps: 0, priority: 0, firm: false }
    }
}

/// A change that a participant asks for itself.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct MetadataChange {
    /// New display name.
    pub name: Option<String>,
    /// New metadata.
    pub metadata: Option<String>,
    /// Attributes to set; an empty value deletes.
    pub attributes: BTreeMap<String, String>,
}

/// What a room tells one participant. Order matters and is kept.
#[derive(Clone, PartialEq, Debug)]
pub enum Notice {
    /// Others (or the participant itself) changed, came, or went.
    Participants(Vec<Arc<Participant>>),
    /// The room's own data changed.
    Room(RoomInfo),
    /// Start receiving this track: make a media section for it. Always preceded by the `Participants` that names it.
    Subscribe {
        /// The publisher as of now.
        publisher: Arc<Participant>,
        /// The track.
        track: Arc<Track>,
    },
    /// Stop receiving this track: its section goes inactive.
    Unsubscribe {
        /// The track.
        track: TrackId,
    },
    /// To a receiver: of a track that it receives, another encoding came or went.
    EncodingsChanged {
        /// The track as of now.
        track: Arc<Track>,
    },
    /// To a publisher: somebody subscribed to this track for the first time.
    FirstSubscriber {
        /// The track.
        track: TrackId,
    },
    /// To a publisher: the room took this track down.
    TrackRemoved {
        /// The track.
        track: TrackId,
    },
    /// The data tracks that the participant receives: all of them, each time. Always preceded by the `Participants` that
    /// name them.
    DataHandles(Vec<DataHandle>),
    /// To a publisher: the room took this data track down.
    DataTrackRemoved(Arc<DataTrack>),
    /// To a publisher: the server muted or unmuted this track.
    MuteRequested {
        /// The track.
        track: TrackId,
        /// What is asked for.
        muted: bool,
    },
    /// The participant's own permissions or token claims changed.
    PermissionsChanged,
    /// Loudness changed.
    Speakers(Vec<Speaker>),
    /// Connection quality changed.
    Quality(Vec<(ParticipantId, Quality)>),
    /// The session is over; nothing follows.
    Closed(LeaveReason),
}
