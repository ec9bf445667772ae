//! Adapters <-> control: joining, what a participant asks for, what it is told, and the server API.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use base::model::{
    Abilities, AudioFeature, Backup, BackupStream, DataKind, DataTrack, Encryption, KindDetail, LeaveReason,
    MetadataChange, Notice, Participant, ParticipantKind, Permissions, RoomInfo, Track, TrackChange,
    TrackSettings, TrackSource, VideoLayer,
};
pub use base::model::{DataTrackRefused, PublishRefused};
use base::{CodecKind, Identity, MediaKind, Mid, ParticipantId, PeerId, RoomName, TrackId};
use bytes::Bytes;

pub use crate::admin::{AdminRefused, AdminRequest, Reply, RoomOptions, RpcFailure};
use crate::media::{
    ChannelSpec, DtlsRole, Event as MediaEvent, Fingerprint, IceCredentials, Sections, WorkerInfo,
};

/// Everything about a participant that comes in.
#[derive(Clone, Debug)]
pub struct Join {
    /// The room, created when absent if `create`.
    pub room: RoomName,
    /// Create the room when it is absent.
    pub create: bool,
    /// What it is then made with.
    pub options: RoomOptions,
    /// Who.
    pub identity: Identity,
    /// Display name.
    pub name: String,
    /// Metadata.
    pub metadata: String,
    /// Attributes.
    pub attributes: BTreeMap<String, String>,
    /// Kind of program.
    pub kind: ParticipantKind,
    /// More about that.
    pub kind_details: BTreeSet<KindDetail>,
    /// When its token was made, in seconds since 1970; 0: the token does not say.
    pub issued_s: u64,
    /// What it may do.
    pub permissions: Permissions,
    /// Subscribe to everything that is published, but for data tracks.
    pub auto_subscribe: bool,
    /// Subscribe to all data tracks.
    pub auto_subscribe_data: bool,
    /// What the client can do.
    pub abilities: Abilities,
    /// Name and version of the client, for the log line of the join.
    pub client: String,
}

/// Why a join was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JoinError {
    /// The room does not exist and may not be created.
    NoSuchRoom,
    /// The room has all the participants it may have.
    RoomFull,
    /// A name, an identity, metadata or attributes are larger than allowed.
    LimitExceeded,
    /// Its token was taken back when the participant was removed.
    Revoked,
    /// This server takes nothing new: no capacity, or stopping.
    Unavailable,
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSuchRoom => "requested room does not exist",
            Self::RoomFull => "the room has as many participants as it may have",
            Self::LimitExceeded => "a name, the identity, the metadata or the attributes are too large",
            Self::Revoked => "the token was revoked when the participant was removed",
            Self::Unavailable => "this server takes no new participants now; try again or try another",
        })
    }
}

impl std::error::Error for JoinError {}

/// A successful join.
pub struct Joined {
    /// The participant itself.
    pub participant: Arc<Participant>,
    /// The room.
    pub room: RoomInfo,
    /// The visible others. Tracks to subscribe follow as `Notice::Subscribe` events.
    pub others: Vec<Arc<Participant>>,
    /// The worker that will carry the participant's connections.
    pub worker: WorkerInfo,
    /// Requests go in here.
    pub session: Session,
    /// Events come out here, in order. Bounded: a session whose adapter does not drain it is closed.
    pub events: async_channel::Receiver<Event>,
}

/// A participant's handle into its room.
#[derive(Clone, Debug)]
pub struct Session {
    /// Which participant.
    pub participant: ParticipantId,
    requests: async_channel::Sender<(ParticipantId, Request)>,
}

/// The room is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RoomGone;

impl Session {
    /// A handle for `participant` onto its room's queue.
    pub fn new(
        participant: ParticipantId,
        requests: async_channel::Sender<(ParticipantId, Request)>,
    ) -> Self {
        Self { participant, requests }
    }

    /// Queues a request, waiting while the room's queue is full.
    pub async fn send(&self, request: Request) -> Result<(), RoomGone> {
        self.requests.send((self.participant, request)).await.map_err(|_| RoomGone)
    }
}

/// A track that a participant wants to publish.
#[derive(Clone, PartialEq, Debug)]
pub struct PublishTrack {
    /// The publisher's own id for it.
    pub cid: String,
    /// Audio or video.
    pub kind: MediaKind,
    /// Where it comes from.
    pub source: TrackSource,
    /// Its name.
    pub name: String,
    /// Starts muted.
    pub muted: bool,
    /// Pixels; 0 for audio.
    pub width: u32,
    /// Pixels; 0 for audio.
    pub height: u32,
    /// Announced layers.
    pub layers: Vec<VideoLayer>,
    /// Wanted codec.
    pub codec: CodecKind,
    /// No redundancy for audio.
    pub disable_red: bool,
    /// Two channels.
    pub stereo: bool,
    /// No discontinuous transmission.
    pub no_dtx: bool,
    /// How sound is made.
    pub features: BTreeSet<AudioFeature>,
    /// A second codec that the publisher sends on request.
    pub backup: Option<Backup>,
    /// End-to-end encryption.
    pub encryption: Encryption,
    /// Stream name for synchronous playing.
    pub stream: String,
    /// What is appended to each frame: [`Track::trailers`].
    pub trailers: BTreeSet<i32>,
}

impl PublishTrack {
    /// The track as it is asked for; what is negotiated is not known yet.
    pub fn into_track(self, id: TrackId) -> Track {
        Track {
            source: self.source,
            name: self.name,
            muted: self.muted,
            width: self.width,
            height: self.height,
            layers: self.layers,
            cid: self.cid,
            disable_red: self.disable_red,
            stereo: self.stereo,
            no_dtx: self.no_dtx,
            features: self.features,
            backup: self.backup,
            encryption: self.encryption,
            stream: self.stream,
            trailers: self.trailers,
            ..Track::new(id, self.kind, self.codec)
        }
    }
}

/// Where a data message goes.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct DataTarget {
    /// These identities; with `participants` empty too: everybody else.
    pub identities: Vec<Identity>,
    /// These sessions.
    pub participants: Vec<ParticipantId>,
    /// Of those, only participants that may receive metrics of others.
    pub metrics: bool,
}

/// What an adapter asks on behalf of a participant.
#[derive(Clone, Debug)]
pub enum Request {
    /// Make a connection on the participant's worker.
    AddPeer {
        /// Chosen by the adapter, random.
        peer: PeerId,
        /// Our ICE credentials.
        local: IceCredentials,
        /// Data channels to open from our side.
        channels: Vec<ChannelSpec>,
        /// It is the one that makes the participant active and carries data to it.
        primary: bool,
    },
    /// See [`crate::media::Command::SetRemote`].
    SetRemote {
        /// The connection.
        peer: PeerId,
        /// Its ICE credentials.
        remote: IceCredentials,
        /// Its certificate.
        fingerprint: Fingerprint,
        /// Our role in DTLS.
        role: DtlsRole,
    },
    /// See [`crate::media::Command::RestartIce`].
    RestartIce {
        /// The connection.
        peer: PeerId,
        /// Our new credentials.
        local: IceCredentials,
    },
    /// See [`crate::media::Command::SetSections`].
    SetSections {
        /// The connection.
        peer: PeerId,
        /// All its sections.
        sections: Sections,
    },
    /// Publish a track. Answered by [`Event::Published`].
    Publish(PublishTrack),
    /// The track's media section is negotiated: announce it to the others.
    TrackNegotiated {
        /// The track.
        track: TrackId,
        /// The section.
        mid: Mid,
        /// The codec that was negotiated.
        codec: CodecKind,
        /// More than one rid.
        simulcast: bool,
        /// The id of the media in the session description, where it is not the track's `cid`.
        sdp_cid: String,
    },
    /// The second encoding of an own track is negotiated: those who need it are told. It is unpublished as
    /// [`TrackId::backup`] of the track.
    BackupNegotiated {
        /// The track.
        track: TrackId,
        /// The second encoding.
        stream: BackupStream,
    },
    /// Of a subscribed track the participant can decode the second codec alone, and it is not sent yet.
    NeedBackup {
        /// The track.
        track: TrackId,
    },
    /// An own track is not what it was when it was published.
    ChangeTrack {
        /// The track.
        track: TrackId,
        /// What changed.
        change: TrackChange,
    },
    /// Take a track down.
    Unpublish {
        /// The track.
        track: TrackId,
    },
    /// Mute or unmute an own track.
    Mute {
        /// The track.
        track: TrackId,
        /// Muted?
        muted: bool,
    },
    /// Subscribe or unsubscribe tracks.
    UpdateSubscription {
        /// The tracks.
        tracks: Vec<TrackId>,
        /// Wanted?
        subscribe: bool,
    },
    /// What is wanted of subscribed tracks.
    TrackSettings {
        /// The tracks.
        tracks: Vec<TrackId>,
        /// The settings.
        settings: TrackSettings,
    },
    /// Who may subscribe to the sender's tracks.
    SubscriptionPermission {
        /// Everybody.
        all: bool,
        /// Otherwise: these identities, and of each these tracks (empty = all of them).
        allowed: Vec<(Identity, Vec<TrackId>)>,
    },
    /// Change own name, metadata, attributes. Answered by [`Event::MetadataChanged`].
    ChangeMetadata {
        /// Returned in the answer.
        request_id: u32,
        /// The change.
        change: MetadataChange,
    },
    /// Send a message, already in the form in which receivers get it on their data channel.
    Data {
        /// Reliable or lossy.
        kind: DataKind,
        /// Where to.
        target: DataTarget,
        /// The sender's own numbering of its reliable messages, which grows; 0: it does not number them.
        sequence: u32,
        /// What the receivers' channels carry.
        payload: Bytes,
    },
    /// The participant is back after its connections broke: it is to get the reliable messages that it has missed, before newer
    /// ones, as far as they are still known.
    ReplayData {
        /// The last `sequence` that it has of each sender. Of senders that are not named it has nothing. Empty: it does not
        /// say, and gets only what was handed to no connection of its.
        received: Vec<(ParticipantId, u32)>,
    },
    /// Publish a data track. Its id is chosen by the adapter, random. Answered by [`Event::DataTrackPublished`].
    PublishDataTrack(DataTrack),
    /// Take a data track down. Answered by [`Event::DataTrackUnpublished`].
    UnpublishDataTrack {
        /// The publisher's own handle.
        handle: u16,
    },
    /// Subscribe or unsubscribe data tracks.
    UpdateDataSubscription {
        /// The tracks, and whether each is wanted. Those that are not there are ignored.
        updates: Vec<(TrackId, bool)>,
    },
    /// The answer to a remote procedure call of the server API.
    RpcAnswer {
        /// The call's id.
        id: String,
        /// What the participant answers.
        outcome: Result<String, RpcFailure>,
    },
    /// Answer to [`Event::Moving`]: all that was to be asked in this room has been asked, and nothing follows until
    /// [`Event::Moved`]. Who cannot be moved leaves with [`LeaveReason::Moved`] instead.
    MoveOn,
    /// The participant leaves.
    Leave(LeaveReason),
}

/// What an adapter is told about its participant, in order.
#[derive(Clone, Debug)]
pub enum Event {
    /// From the room.
    Notice(Notice),
    /// Answer to [`Request::Publish`]: the track, or why not. `cid` is the request's.
    Published {
        /// The request's cid.
        cid: String,
        /// The outcome.
        outcome: Result<Arc<base::model::Track>, PublishRefused>,
    },
    /// Answer to [`Request::ChangeMetadata`].
    MetadataChanged {
        /// The request's id.
        request_id: u32,
        /// False: not allowed.
        allowed: bool,
    },
    /// Answer to [`Request::PublishDataTrack`]: the data track, or why not.
    DataTrackPublished {
        /// The publisher's own handle.
        handle: u16,
        /// The outcome.
        outcome: Result<Arc<DataTrack>, DataTrackRefused>,
    },
    /// Answer to [`Request::UnpublishDataTrack`].
    DataTrackUnpublished {
        /// The publisher's own handle.
        handle: u16,
        /// What it was; `None`: there is none.
        track: Option<Arc<DataTrack>>,
    },
    /// A track may not be received: unknown, or not permitted.
    SubscriptionRefused {
        /// The track.
        track: TrackId,
    },
    /// The highest layer that anybody asks for of a video track that the participant publishes, over all workers; see
    /// [`MediaEvent::WantedLayer`]. Changes only.
    WantedLayer {
        /// The track.
        track: TrackId,
        /// `None`: nobody wants any.
        highest: Option<u8>,
    },
    /// Somebody who receives a track of the participant needs its second codec, which is not sent yet.
    BackupNeeded {
        /// The track.
        track: TrackId,
    },
    /// The participant is to go on in another room. Its adapter answers with [`Request::MoveOn`], and goes on hearing of this room
    /// until [`Event::Moved`].
    Moving {
        /// The other room.
        room: RoomName,
    },
    /// The participant is in another room, with the same connections and the same tracks; what it received before has been
    /// unsubscribed. Everything that follows is about that room.
    Moved(Box<Moved>),
    /// From one of the participant's connections: `Connected`, `ChannelOpen`, `Data`, `StreamState`, `Closed`.
    Media(MediaEvent),
}

/// Where a participant is that was moved.
#[derive(Clone, Debug)]
pub struct Moved {
    /// The participant itself.
    pub participant: Arc<Participant>,
    /// The room.
    pub room: RoomInfo,
    /// The visible others.
    pub others: Vec<Arc<Participant>>,
    /// Requests go in here from now on.
    pub session: Session,
}

/// Why a call of the server API got no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unanswered {
    /// The control plane is gone.
    Gone,
    /// The room has as many calls waiting as it may have, or lost its state while this one waited.
    Busy,
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gone => "the server is stopping",
            Self::Busy => "the room is too busy to answer; try again",
        })
    }
}

impl std::error::Error for Unanswered {}

/// A join with the handle for its answer (capacity 1).
pub struct JoinCall {
    /// The join.
    pub join: Join,
    /// The answer.
    pub reply: async_channel::Sender<Result<Joined, JoinError>>,
}

/// What control's front door takes.
pub enum Call {
    /// A participant comes.
    Join(Box<JoinCall>),
    /// The server API asks.
    Admin(AdminRequest),
}

/// The adapters' handle to the control plane.
#[derive(Clone)]
pub struct ControlHandle {
    calls: async_channel::Sender<Call>,
}

impl ControlHandle {
    /// A handle onto control's call queue.
    pub fn new(calls: async_channel::Sender<Call>) -> Self {
        Self { calls }
    }

    /// Joins a participant.
    pub async fn join(&self, join: Join) -> Result<Joined, JoinError> {
        let (reply, answer) = async_channel::bounded(1);
        let call = Call::Join(Box::new(JoinCall { join, reply }));
        self.calls.send(call).await.map_err(|_| JoinError::Unavailable)?;
        answer.recv().await.map_err(|_| JoinError::Unavailable)?
    }

    /// Would it be let in now?
    ///
    /// # Errors
    /// As [`Self::join`] has now.
    pub async fn check_join(&self, join: Join) -> Result<(), JoinError> {
        let join = Box::new(join);
        let answer = self.admin(|reply| AdminRequest::CheckJoin { join, reply }).await;
        answer.map_err(|_| JoinError::Unavailable)?
    }

    /// Asks through the server API.
    ///
    /// # Errors
    /// [`Unanswered`] when there is nobody to answer, or too much to do.
    pub async fn admin<T>(
        &self,
        request: impl FnOnce(async_channel::Sender<T>) -> AdminRequest,
    ) -> Result<T, Unanswered> {
        let (reply, answer) = async_channel::bounded(1);
        self.calls.send(Call::Admin(request(reply))).await.map_err(|_| Unanswered::Gone)?;
        // A call that was taken and not answered was dropped, or its control plane with it.
        let gone = || if self.calls.is_closed() { Unanswered::Gone } else { Unanswered::Busy };
        answer.recv().await.map_err(|_| gone())
    }
}
