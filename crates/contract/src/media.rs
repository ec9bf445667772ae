//! Control <-> worker: one bounded command queue and one bounded event queue per worker.
//!
//! Commands are idempotent descriptions of wanted state wherever that is possible (`SetSections` carries all sections of
//! a connection), so that the newest one wins and an older one may be dropped unread.
//! The worker never blocks: events that can be folded (speakers, quality, stream states, wanted layers) are, and reliable data that finds no room stays
//! in the SCTP receive window, which slows its sender. A full event queue slows all senders of the worker: control drains it
//! at all times, and slows single senders with `PauseData`.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base::model::{Quality, TrackSettings, TrackSource};
use base::{Codec, ExtensionMap, MediaKind, Mid, ParticipantId, PeerId, Rid, RoomId, TrackId};
use bytes::Bytes;

/// ICE user fragment and password (RFC 8445 section 5.3).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct IceCredentials {
    /// 4 to 256 ICE characters.
    pub ufrag: String,
    /// 22 to 256 ICE characters.
    pub password: String,
}

impl fmt::Debug for IceCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IceCredentials({})", self.ufrag)
    }
}

/// SHA-256 of a DER certificate.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Fingerprint(pub [u8; 32]);

/// Which side starts the DTLS handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DtlsRole {
    /// We wait (`a=setup:passive`): the usual case, in which we choose the SRTP profile.
    Server,
    /// We start (`a=setup:active`).
    Client,
}

/// What a worker tells about itself when it starts; the same for every connection on it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WorkerInfo {
    /// Index of the worker in the process.
    pub index: usize,
    /// Host candidates of its UDP port, best first.
    pub candidates: Vec<SocketAddr>,
    /// Fingerprint of the process's certificate.
    pub fingerprint: Fingerprint,
}

/// A data channel as its label names it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ChannelSpec {
    /// Label in the DCEP OPEN.
    pub label: String,
    /// In order?
    pub ordered: bool,
    /// `None` = reliable; otherwise the most retransmissions of a message.
    pub max_retransmits: Option<u16>,
}

/// One media section in which the other side sends to us.
#[derive(Clone, PartialEq, Debug)]
pub struct ReceiveSection {
    /// Its mid.
    pub mid: Mid,
    /// Audio or video.
    pub media: MediaKind,
    /// Accepted codecs.
    pub codecs: Vec<Codec>,
    /// Header extension ids.
    pub extensions: ExtensionMap,
    /// Simulcast rids, lowest layer first; empty = no simulcast.
    pub rids: Vec<Rid>,
    /// Width and height in pixels of each layer as its publisher announced them, in the order of `rids` (one entry
    /// without simulcast); empty = not said. They tell which layer is large enough for a rendered size.
    pub sizes: Vec<(u32, u32)>,
    /// SSRCs named in SDP: primary and, where there is one, its RTX SSRC.
    pub ssrcs: Vec<(u32, Option<u32>)>,
    /// Where the publication comes from; `Unknown` as long as there is none.
    pub source: TrackSource,
    /// The publication it feeds, once known; packets before that are counted and dropped.
    pub track: Option<TrackId>,
}

impl ReceiveSection {
    /// Simulcast layers that come in this section, 1 or more; sound has one.
    pub fn layers(&self) -> u8 {
        match self.media {
            MediaKind::Audio => 1,
            MediaKind::Video => u8::try_from(self.rids.len().max(1)).unwrap_or(u8::MAX),
        }
    }
}

/// One media section in which we send one track to the other side.
#[derive(Clone, PartialEq, Debug)]
pub struct SendSection {
    /// Its mid.
    pub mid: Mid,
    /// Audio or video.
    pub media: MediaKind,
    /// The track sent.
    pub track: TrackId,
    /// Our SSRC.
    pub ssrc: u32,
    /// Our RTX SSRC.
    pub rtx_ssrc: Option<u32>,
    /// Codecs the receiver accepts, with its payload types.
    pub codecs: Vec<Codec>,
    /// Header extension ids.
    pub extensions: ExtensionMap,
    /// RTCP canonical name: the same for tracks that are to be played in sync.
    pub cname: String,
    /// What the publisher's program appends to each frame for its like is taken off: this receiver does not know it.
    pub strips_trailers: bool,
}

/// All media sections of a connection.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Sections {
    /// What it sends to us.
    pub receive: Vec<ReceiveSection>,
    /// What we send to it.
    pub send: Vec<SendSection>,
}

/// Workers between which tracks are relayed: those with the lowest indexes. A room does not spread further.
pub const MAX_RELAY_WORKERS: usize = 64;

/// A publication as the other workers of its room have to know it.
#[derive(Clone, PartialEq, Debug)]
pub struct RelayedTrack {
    /// Index of the worker that has its publisher.
    pub from: usize,
    /// Who publishes it.
    pub participant: ParticipantId,
    /// Audio or video.
    pub media: MediaKind,
    /// Where it comes from.
    pub source: TrackSource,
    /// Simulcast layers, 1 or more.
    pub layers: u8,
    /// As [`ReceiveSection::sizes`].
    pub sizes: Vec<(u32, u32)>,
}

/// A track of another room, as its worker has to know it to publish it in a second one.
#[derive(Clone, PartialEq, Debug)]
pub struct ForwardedTrack {
    /// The room that it comes from.
    pub home: RoomId,
    /// The track; its `from` is the worker that is told.
    pub track: RelayedTrack,
}

/// Control -> worker.
#[derive(Clone, Debug)]
pub enum Command {
    /// A new connection. It answers ICE checks to these credentials from now on.
    AddPeer {
        /// Its id.
        peer: PeerId,
        /// Whose media state it joins.
        room: RoomId,
        /// Who it belongs to.
        participant: ParticipantId,
        /// Our ICE credentials.
        local: IceCredentials,
    },
    /// What the other side said about itself; may be said again when it restarts ICE.
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
    /// New local ICE credentials; the old ones hold until a pair with the new ones is nominated.
    RestartIce {
        /// The connection.
        peer: PeerId,
        /// Our new ICE credentials.
        local: IceCredentials,
    },
    /// The wanted media sections, all of them.
    SetSections {
        /// The connection.
        peer: PeerId,
        /// The sections.
        sections: Sections,
    },
    /// Open a data channel from our side as soon as SCTP is up.
    OpenChannel {
        /// The connection.
        peer: PeerId,
        /// The channel.
        channel: ChannelSpec,
    },
    /// Send a message on the channel with this label; dropped and counted when there is none.
    SendData {
        /// The connection.
        peer: PeerId,
        /// The channel's label.
        label: Arc<str>,
        /// True for a text message (PPID 51).
        text: bool,
        /// At most 64 kB.
        payload: Bytes,
    },
    /// Read no more messages from this connection, or go on. Unread, reliable ones stay in the SCTP receive window, which slows
    /// their sender, and nobody else. What was read before still comes.
    PauseData {
        /// The connection.
        peer: PeerId,
        /// Paused?
        paused: bool,
    },
    /// What the receiver wants of a subscribed track.
    SetTrackSettings {
        /// The receiving connection.
        peer: PeerId,
        /// The track.
        track: TrackId,
        /// Wanted.
        settings: TrackSettings,
    },
    /// Muted tracks are not forwarded.
    SetMuted {
        /// The room.
        room: RoomId,
        /// The track.
        track: TrackId,
        /// Muted?
        muted: bool,
    },
    /// To which other workers the publisher's worker relays a track: all of them, by index below [`MAX_RELAY_WORKERS`]. They
    /// say themselves which of its layers they want.
    SetRelay {
        /// The room.
        room: RoomId,
        /// The track, which may be published later.
        track: TrackId,
        /// The others' indexes; empty ends it.
        to: Vec<usize>,
    },
    /// A track that comes to this worker from another one: a publication like those of its own connections.
    SetRelayed {
        /// The room.
        room: RoomId,
        /// The track.
        track: TrackId,
        /// Where it comes from, and what is to be known of it; `None`: it comes no more.
        source: Option<RelayedTrack>,
    },
    /// A track of another room that comes to this worker, from a connection of its own, is a publication of this room, too.
    SetForwarded {
        /// The room that gets it.
        room: RoomId,
        /// The track, which has the same id in both.
        track: TrackId,
        /// What is to be known of it; `None`: it is published here no more.
        source: Option<ForwardedTrack>,
    },
    /// The room relays nothing any more, gets nothing relayed on this worker, and gets nothing from other rooms.
    EndRelays {
        /// The room.
        room: RoomId,
    },
    /// The connection belongs to another room from now on. What it publishes is taken down and what it receives is stopped; the
    /// next [`Command::SetSections`] says what of it goes on there, without a new connection.
    MovePeer {
        /// The connection.
        peer: PeerId,
        /// Whose media state it joins.
        room: RoomId,
    },
    /// Close the connection (DTLS close_notify) and forget it.
    RemovePeer {
        /// The connection.
        peer: PeerId,
    },
    /// Describe this room's media state as JSON.
    Snapshot {
        /// The room.
        room: RoomId,
        /// Where the text goes; capacity 1.
        reply: async_channel::Sender<String>,
    },
    /// Stop the worker: close all connections and end the thread.
    Stop,
}

/// Why a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PeerEnd {
    /// The other side closed it.
    ClosedByRemote,
    /// No ICE check for too long.
    IceTimeout,
    /// The DTLS handshake failed or its certificate was not the announced one.
    DtlsFailed,
    /// The association broke a rule of SCTP or DCEP beyond repair.
    SctpFailed,
    /// Its state made the worker panic; this connection was dropped, nothing else.
    Panicked,
}

/// How long each stage of setting up a connection took, from `AddPeer`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SetupTimes {
    /// First authenticated ICE check.
    pub ice: Option<Duration>,
    /// DTLS done, SRTP keys known.
    pub dtls: Option<Duration>,
    /// First authenticated RTP packet.
    pub first_media: Option<Duration>,
}

/// How a receiver gets along with the reliable messages that are sent to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DataBacklog {
    /// Much waits for it, from now on.
    Behind,
    /// Much still waits. Said every second.
    Draining {
        /// Bits per second that it has taken since the last report, headers included.
        bps: u64,
    },
    /// Little waits any more.
    CaughtUp,
}

/// Worker -> control.
#[derive(Clone, Debug)]
pub enum Event {
    /// ICE and DTLS are up.
    Connected {
        /// The connection.
        peer: PeerId,
        /// Stage durations so far.
        times: SetupTimes,
    },
    /// The first authenticated media packet of the connection arrived.
    FirstMedia {
        /// The connection.
        peer: PeerId,
        /// Stage durations.
        times: SetupTimes,
    },
    /// A data channel is open in both directions.
    ChannelOpen {
        /// The connection.
        peer: PeerId,
        /// The channel.
        channel: ChannelSpec,
    },
    /// A message arrived.
    Data {
        /// The connection.
        peer: PeerId,
        /// The channel's label.
        label: Arc<str>,
        /// It was a text message.
        text: bool,
        /// The message.
        payload: Bytes,
    },
    /// The receiver takes reliable messages more slowly than they are sent to it, or has caught up. Of several reports that
    /// wait the newest holds.
    DataBacklog {
        /// The receiving connection.
        peer: PeerId,
        /// How it gets along.
        backlog: DataBacklog,
    },
    /// Who speaks in a room: only changes, and those who stopped with `active: false`.
    Speakers {
        /// The room.
        room: RoomId,
        /// Changes.
        speakers: Vec<base::model::Speaker>,
    },
    /// How well a participant's connection does; on change.
    Quality {
        /// The connection.
        peer: PeerId,
        /// Its quality.
        quality: Quality,
    },
    /// A video track that the receiver is subscribed to is paused, because its connection does not carry it, or goes on.
    /// Changes only; a subscription begins active.
    StreamState {
        /// The receiving connection.
        peer: PeerId,
        /// The track.
        track: TrackId,
        /// False: paused.
        active: bool,
    },
    /// The highest layer of a video track that any of its subscribers on this worker asks for. Changes only; control takes the
    /// highest that the workers of a room say. Until a worker has said something of a track, it is not known what is wanted.
    WantedLayer {
        /// Index of the worker in the process.
        worker: usize,
        /// The room.
        room: RoomId,
        /// The track.
        track: TrackId,
        /// Simulcast rid in the order of [`ReceiveSection::rids`], or spatial layer of an SVC stream, 0 = lowest. `None`:
        /// nobody wants any.
        highest: Option<u8>,
    },
    /// No ICE check has come over the connection for 15 s: its path is broken, or the other side gone. It still answers, also
    /// to new credentials; without a check it is closed 15 s later.
    Interrupted {
        /// The connection.
        peer: PeerId,
    },
    /// The connection is gone.
    Closed {
        /// The connection.
        peer: PeerId,
        /// Why.
        end: PeerEnd,
        /// Stage durations as far as it came.
        times: SetupTimes,
    },
    /// Media state of a room on one worker panicked and was dropped; the participants that it has there must reconnect.
    RoomLost {
        /// Index of the worker in the process.
        worker: usize,
        /// The room.
        room: RoomId,
    },
}

impl Event {
    /// The connection that it is about; `None` when it is about a room.
    pub fn peer(&self) -> Option<PeerId> {
        match self {
            Self::Connected { peer, .. }
            | Self::FirstMedia { peer, .. }
            | Self::ChannelOpen { peer, .. }
            | Self::Data { peer, .. }
            | Self::DataBacklog { peer, .. }
            | Self::Quality { peer, .. }
            | Self::StreamState { peer, .. }
            | Self::Interrupted { peer }
            | Self::Closed { peer, .. } => Some(*peer),
            Self::Speakers { .. } | Self::WantedLayer { .. } | Self::RoomLost { .. } => None,
        }
    }
}

/// Control's handle to a worker.
#[derive(Clone)]
pub struct WorkerHandle {
    /// What it says about itself.
    pub info: WorkerInfo,
    commands: async_channel::Sender<Command>,
    wake: Arc<dyn Fn() + Send + Sync>,
}

/// The worker is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WorkerGone;

impl WorkerHandle {
    /// `wake` makes a sleeping worker look at its command queue; it must be cheap and never block.
    pub fn new(
        info: WorkerInfo,
        commands: async_channel::Sender<Command>,
        wake: Arc<dyn Fn() + Send + Sync>,
    ) -> Self {
        Self { info, commands, wake }
    }

    /// Queues a command, waiting while the queue is full.
    pub async fn send(&self, command: Command) -> Result<(), WorkerGone> {
        self.commands.send(command).await.map_err(|_| WorkerGone)?;
        (self.wake)();
        Ok(())
    }

    /// Queues a command without waiting; `false` when the queue is full or the worker gone.
    pub fn try_send(&self, command: Command) -> bool {
        let sent = self.commands.try_send(command).is_ok();
        (self.wake)();
        sent
    }
}
