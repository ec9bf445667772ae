//! The state of a room's media as plain values, for people who look for a fault.

use base::model::TrackSettings;
use base::{Bitrate, CodecKind, MediaKind, ParticipantId, TrackId};

use crate::drops::Drops;
use crate::media::Sink;

/// One room on one worker.
#[derive(Clone, PartialEq, Debug)]
pub struct Snapshot<S: Sink> {
    /// By track.
    pub publications: Vec<PublicationSnapshot<S>>,
    /// Those whose connection is known, in their order.
    pub receivers: Vec<ReceiverSnapshot<S>>,
}

/// One connection with an estimate.
#[derive(Clone, PartialEq, Debug)]
pub struct ReceiverSnapshot<S: Sink> {
    /// The connection.
    pub receiver: S::Receiver,
    /// What it carries.
    pub estimate: Bitrate,
    /// What was allocated to video last.
    pub video: Bitrate,
    /// What was kept free for audio then.
    pub audio: Bitrate,
    /// What would be sent if it were carried, as it was told last.
    pub wanted: Bitrate,
}

/// One track.
#[derive(Clone, PartialEq, Debug)]
pub struct PublicationSnapshot<Sink> {
    /// The track.
    pub track: TrackId,
    /// Who publishes it; `None` while it has subscriptions only.
    pub participant: Option<ParticipantId>,
    /// Audio or video.
    pub kind: Option<MediaKind>,
    /// What arrived last.
    pub codec: Option<CodecKind>,
    /// Muted.
    pub muted: bool,
    /// A microphone that is not forwarded, because others are louder.
    pub withheld: bool,
    /// Lowest first.
    pub layers: Vec<LayerSnapshot>,
    /// By sink.
    pub subscriptions: Vec<SubscriptionSnapshot<Sink>>,
    /// What was not forwarded to anybody.
    pub drops: Drops,
}

/// One simulcast layer.
#[derive(Clone, PartialEq, Debug)]
pub struct LayerSnapshot {
    /// Something of it arrived lately.
    pub alive: bool,
    /// Payload bits per second.
    pub bitrate: Bitrate,
    /// Frames per second; packets per second for audio.
    pub frame_rate: f32,
    /// A sender report of it was heard.
    pub has_clock: bool,
    /// Announced size in pixels.
    pub size: Option<(u32, u32)>,
}

/// One receiver.
#[derive(Clone, PartialEq, Debug)]
pub struct SubscriptionSnapshot<Sink> {
    /// The receiver.
    pub sink: Sink,
    /// What it asked for.
    pub settings: TrackSettings,
    /// The layer it is to receive.
    pub target: Option<u8>,
    /// The layer it receives.
    pub current: Option<u8>,
    /// Spatial and temporal layer of that, where its packets tell.
    pub within: Option<(u8, u8)>,
    /// The highest layer that its connection carries, and temporal layer within that; `None`: not limited.
    pub limit: Option<(u8, u8)>,
    /// Its connection does not carry any of it.
    pub paused: bool,
    /// It waits for a keyframe.
    pub waiting: bool,
    /// Packets forwarded.
    pub forwarded: u64,
    /// Beginnings: the first, after each pause, and with each change of layer.
    pub begun: u32,
}
