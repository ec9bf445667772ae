//! What a client is told when it connects.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base::MediaKind;
use base::model::TrackSource;

/// A track to publish. Audio is Opus, video is VP8, without simulcast.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LocalTrack {
    /// Audio or video.
    pub kind: MediaKind,
    /// Where it comes from.
    pub source: TrackSource,
    /// Its name.
    pub name: String,
    /// Pixels; 0 for audio.
    pub width: u32,
    /// Pixels; 0 for audio.
    pub height: u32,
}

impl LocalTrack {
    /// A microphone.
    pub fn microphone() -> Self {
        Self {
            kind: MediaKind::Audio,
            source: TrackSource::Microphone,
            name: "microphone".to_owned(),
            width: 0,
            height: 0,
        }
    }

    /// A camera of this size in pixels.
    pub fn camera(width: u32, height: u32) -> Self {
        Self { kind: MediaKind::Video, source: TrackSource::Camera, name: "camera".to_owned(), width, height }
    }
}

/// How to connect. `Default` subscribes to everything and publishes nothing.
#[derive(Clone, Debug)]
pub struct Options {
    /// Tracks that are published with the join itself, which saves a round trip: see [`crate::Room::published`].
    pub publish: Vec<LocalTrack>,
    /// Subscribe to everything that others publish.
    pub auto_subscribe: bool,
    /// Media sections for receiving in the first offer, audio and video. When they run out the server asks for more,
    /// which costs a round trip.
    pub receive: (usize, usize),
    /// Hand out received packets as events; without, they are counted only.
    pub packets: bool,
    /// Certificates (DER) that `wss://` trusts: the server's own or that of its authority. There are no others.
    pub trust: Vec<Vec<u8>>,
    /// The local address for media; by default the one from which the server is reached.
    pub ip: Option<IpAddr>,
    /// DTLS certificate and settings, to be shared by the clients of a process; by default fresh ones are made, which
    /// takes a millisecond or two.
    pub transport: Option<Arc<rtc::Config>>,
    /// How long connecting may take in all.
    pub timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            publish: Vec::new(),
            auto_subscribe: true,
            receive: (3, 3),
            packets: true,
            trust: Vec::new(),
            ip: None,
            transport: None,
            timeout: Duration::from_secs(10),
        }
    }
}
